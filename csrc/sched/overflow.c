#include "sched/overflow.h"

#include "arch/sigframe.h"
#include "base/atomic.h"
#include "base/mem.h"
#include "base/sys.h"
#include "sched/stack.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    ALT_STACK_BYTES = 64 * 1024,
    LINE_BYTES = 128,
    EDGE_BYTES = 1024, /* how far above a guard an instruction may stand that writes into it     */
};

/* What we know about one signal. Written by install and uninstall, read by the handler, which can
 * only run once it is complete. */
struct chain {
    int signal;
    bool is_installed; /* ours is in place, or beneath a handler that was put above it           */
    struct sigaction previous;
};

/* Static because a handler has no argument, and because of V2. */
static struct chain chains[] = {{.signal = SIGSEGV}, {.signal = SIGBUS}};
static bool (*_Atomic describe_owner)(const void *owner, struct tc_overflow_info *info);
static _Atomic bool was_passed_over; /* a signal raised by another handler was returned from      */

/* ---- report ---------------------------------------------------------------------------------- */

struct line {
    size_t length;
    char text[LINE_BYTES];
};

static void line_add_char(struct line *line, char c)
{
    if (line->length < sizeof(line->text)) {
        line->text[line->length++] = c;
    }
}

static void line_add(struct line *line, const char *text)
{
    while (*text) {
        line_add_char(line, *text++);
    }
}

static void line_add_number(struct line *line, uint64_t number)
{
    char digits[20];
    size_t count = 0;

    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    while (count > 0) {
        line_add_char(line, digits[--count]);
    }
}

static void line_add_owner(struct line *line, const void *owner)
{
    /* acquire [overflow-describe]: what the function uses was set up before it was given to us. */
    bool (*describe)(const void *, struct tc_overflow_info *) = tc_load_acquire(&describe_owner);
    struct tc_overflow_info info = {0};

    if (!owner || !describe || !describe(owner, &info)) {
        line_add(line, "a fiber");
        return;
    }
    line_add(line, "fiber ");
    line_add_number(line, info.id);
    line_add(line, " \"");
    for (size_t i = 0; i < sizeof(info.name) && info.name[i]; i++) {
        bool is_printable = info.name[i] >= ' ' && info.name[i] <= '~';

        line_add_char(line, is_printable ? info.name[i] : '?');
    }
    line_add_char(line, '"');
}

static void report(const void *address)
{
    struct tc_stack_place place;
    struct line line = {0};

    if (!tc_stack_find(address, &place) || !place.is_guard) {
        return;
    }
    line_add(&line, "tinycoro: ");
    line_add_owner(&line, place.owner);
    line_add(&line, " overflowed its ");
    line_add_number(&line, place.slot_bytes / 1024);
    line_add(&line, " KiB stack\n");
    TC_IGNORE(tc_sys_write(STDERR_FILENO, line.text, line.length)); /* nobody else to tell */
}

/* ---- handler --------------------------------------------------------------------------------- */

static bool is_from_kernel(const siginfo_t *info)
{
    return info->si_code > 0;
}

/* Take the default action. A fault happens again as soon as the handler returns, now without a
 * handler; a signal that somebody sent has to be sent again, and arrives when the handler returns.
 */
static void die(int signal_number, const siginfo_t *info)
{
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    action.sa_handler = SIG_DFL;
    TC_IGNORE(tc_sys_sigaction(signal_number, &action, NULL)); /* cannot fail for these signals */
    if (!is_from_kernel(info)) {
        (void)raise(signal_number);
    }
}

static void pass_on(const struct chain *chain, siginfo_t *info, void *frame)
{
    const struct sigaction *previous = &chain->previous;

    if (previous->sa_flags & SA_SIGINFO) {
        previous->sa_sigaction(chain->signal, info, frame);
    } else if (previous->sa_handler == SIG_IGN && !is_from_kernel(info)) {
        return;
    } else if (previous->sa_handler == SIG_DFL || previous->sa_handler == SIG_IGN) {
        /* The kernel does not let a process ignore a fault either. */
        die(chain->signal, info);
    } else {
        previous->sa_handler(chain->signal);
    }
}

/* Whether a signal without an address was raised by a handler that had a fault before us: either it
 * is still running, on the alternate stack, or it blocked the signal and has returned to the
 * instruction that overflows. */
static bool is_raised_by_handler(const ucontext_t *frame)
{
    const uintptr_t sp = tc_sigframe_sp(frame);
    struct tc_stack_place place;

    if (tc_sigframe_is_nested(frame)) {
        return true;
    }
    return (tc_stack_find((const void *)sp, &place) && place.is_guard) ||
           (tc_stack_find((const void *)(sp - EDGE_BYTES), &place) && place.is_guard);
}

static void handle(int signal_number, siginfo_t *info, void *frame)
{
    const struct chain *chain = signal_number == SIGSEGV ? &chains[0] : &chains[1];

    if (is_from_kernel(info)) {
        /* relaxed: one thread's fault and its repetition. */
        tc_store_relaxed(&was_passed_over, false);
        report(info->si_addr);
    } else if (is_raised_by_handler(frame) && !tc_exchange_relaxed(&was_passed_over, true)) {
        /* relaxed, as above. The other handler is done and the fault will come back with its
         * address; the flag keeps a signal that is not of this kind from being lost twice. */
        return;
    }
    pass_on(chain, info, frame);
}

/* ---- install --------------------------------------------------------------------------------- */

static bool is_ours(const struct sigaction *action)
{
    return (action->sa_flags & SA_SIGINFO) && action->sa_sigaction == handle;
}

static bool is_a_handler(const struct sigaction *action)
{
    return (action->sa_flags & SA_SIGINFO) ||
           (action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN);
}

static int chain_install(struct chain *chain)
{
    struct sigaction action;
    struct sigaction current;
    int error = tc_sys_sigaction(chain->signal, NULL, &current);

    if (error) {
        return error;
    }
    /* Beneath a foreign handler ours is assumed to be reached still. Going above it once more would
     * close a circle: its predecessor is ours, and ours would be it. */
    if (is_ours(&current) || (chain->is_installed && is_a_handler(&current))) {
        return 0;
    }
    chain->previous = current; /* complete before the handler can run */
    memset(&action, 0, sizeof(action));
    action.sa_sigaction = handle;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    error = tc_sys_sigaction(chain->signal, &action, NULL);
    chain->is_installed = error == 0;
    return error;
}

static void chain_uninstall(struct chain *chain)
{
    struct sigaction current;

    if (!chain->is_installed || tc_sys_sigaction(chain->signal, NULL, &current) ||
        !is_ours(&current)) {
        return;
    }
    chain->is_installed = tc_sys_sigaction(chain->signal, &chain->previous, NULL) != 0;
}

void tc_overflow_set_describe(bool (*describe)(const void *owner, struct tc_overflow_info *info))
{
    /* release [overflow-describe]: see line_add_owner. */
    tc_store_release(&describe_owner, describe);
}

int tc_overflow_install(void)
{
    for (size_t i = 0; i < TC_ARRAY_LEN(chains); i++) {
        int error = chain_install(&chains[i]);

        if (error) {
            tc_overflow_uninstall();
            return error;
        }
    }
    return 0;
}

void tc_overflow_uninstall(void)
{
    for (size_t i = 0; i < TC_ARRAY_LEN(chains); i++) {
        chain_uninstall(&chains[i]);
    }
}

/* ---- alternate stacks ------------------------------------------------------------------------ */

/* The system's own wish grows with the registers that a signal frame has to hold. */
#if defined(_SC_SIGSTKSZ)
static long wanted_by_system(void)
{
    return sysconf(_SC_SIGSTKSZ);
}
#else
static long wanted_by_system(void)
{
    return (long)SIGSTKSZ;
}
#endif

int tc_overflow_thread_init(struct tc_overflow_thread *thread)
{
    const size_t page = tc_mem_page_size();
    const long wanted = wanted_by_system();
    size_t usable = wanted > ALT_STACK_BYTES ? (size_t)wanted : ALT_STACK_BYTES;
    stack_t stack = {0};
    void *memory;
    int error;

    *thread = (struct tc_overflow_thread){0};
    usable = (usable + page - 1) / page * page;
    error = tc_sys_mmap(NULL, page + usable, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, &memory);
    if (error) {
        return error;
    }
    error = tc_sys_mprotect(memory, page, PROT_NONE);
    if (error) {
        goto unmap_memory;
    }
    stack.ss_sp = (char *)memory + page;
    stack.ss_size = usable;
    error = tc_sys_sigaltstack(&stack, &thread->before);
    if (error) {
        goto unmap_memory;
    }
    thread->memory = memory;
    thread->bytes = page + usable;
    return 0;

unmap_memory:
    (void)tc_sys_munmap(memory, page + usable); /* nothing else can be done about it */
    return error;
}

void tc_overflow_thread_fini(struct tc_overflow_thread *thread)
{
    if (!thread->memory) {
        return;
    }
    /* If the kernel still uses the stack it must stay mapped: better 64 KiB lost than a fault in
     * the next handler. */
    if (tc_sys_sigaltstack(&thread->before, NULL) == 0) {
        (void)tc_sys_munmap(thread->memory, thread->bytes); /* nothing can be done about it */
    }
    thread->memory = NULL;
}
