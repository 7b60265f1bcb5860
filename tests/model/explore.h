/* tests/model/explore.h — runs a model program in every order of its steps, within bounds.
 *
 * The threads of the program are coroutines of one thread; each atomic operation is a step. An
 * execution is the sequence of answers to a few questions: who goes on? is this store seen at once?
 * All answers are tried in turn, depth first, by running the program again with the last answer
 * changed (stateless model checking). Two bounds keep that to seconds: how often a thread that
 * could go on is made to wait, and how many stores are delayed. Almost all errors need very few of
 * either:
 *
 *   Musuvathi, Qadeer: Iterative context bounding for systematic testing of multithreaded programs,
 *   PLDI 2007.
 *
 * What is modelled: all interleavings, and stores that are delayed in their thread's buffer, also
 * past later stores to other places where the order allows it (partial store order, what x86-64
 * does and more). What is not: loads that are done early, and plain fields; TSan looks at these.
 *
 *   PROG [PREEMPTIONS [DELAYS]]      default: 2 and 1
 *
 * Prints how many executions there were. A failed check, or threads that all wait for each other,
 * abort with the steps that led there.
 */
#ifndef TC_TESTS_MODEL_EXPLORE_H
#define TC_TESTS_MODEL_EXPLORE_H

#include <string.h>
#include <ucontext.h>

#include "base/atomic.h"

enum {
    EXPLORE_STACK_BYTES = 128 * 1024,
    EXPLORE_QUESTIONS_MAX = 4096,
    EXPLORE_BUFFER_MAX = 64, /* stores of one thread in one execution, those written included */
    EXPLORE_LOOKS_MAX = 8,   /* who reads a place so often in a row waits for it to change      */
    EXPLORE_NOBODY = MODEL_THREADS_MAX,
};

struct explore_entry {
    volatile void *ptr;
    unsigned char bytes[8];
    size_t size;
    unsigned after; /* the entries before this one are written first                         */
    bool is_written;
};

struct explore_thread {
    ucontext_t context;
    enum { EXPLORE_READY, EXPLORE_WAITING, EXPLORE_ENDED } state;
    struct explore_entry entries[EXPLORE_BUFFER_MAX];
    unsigned count;
    unsigned fenced;              /* entries before the last release fence                    */
    const volatile void *looked_at; /* by its last operation: a change there ends a wait      */
    unsigned looks;                 /* how often in a row it has read that place              */
    bool has_missed;                /* another thread changed something since the last wait   */
    bool has_yielded;               /* others go first                                        */
    char *stack;
};

static struct {
    struct explore_thread threads[MODEL_THREADS_MAX];
    ucontext_t main;
    unsigned current; /* EXPLORE_NOBODY: setup or check                                        */
    struct {
        unsigned char answer, answers;
    } questions[EXPLORE_QUESTIONS_MAX];
    unsigned asked; /* in this execution                                                       */
    unsigned known; /* whose answers are given                                                 */
    unsigned preemptions, preemptions_max;
    unsigned delays, delays_max;
    uint64_t executions;
    unsigned variant;
} explore = {.current = EXPLORE_NOBODY};

static unsigned explore_ask(unsigned answers)
{
    if (answers < 2) {
        return 0;
    }
    if (explore.asked == explore.known) {
        if (explore.known == EXPLORE_QUESTIONS_MAX) {
            model_fail("the program ends", __LINE__);
        }
        explore.questions[explore.known].answer = 0;
        explore.questions[explore.known++].answers = (unsigned char)answers;
    }
    return explore.questions[explore.asked++].answer;
}

/* Go to the next execution: the last question that has another answer gets it. */
static bool explore_advance(void)
{
    while (explore.known > 0) {
        if (++explore.questions[explore.known - 1].answer <
            explore.questions[explore.known - 1].answers) {
            return true;
        }
        explore.known--;
    }
    return false;
}

static void explore_explain(void)
{
    fprintf(stderr, "variant %u, execution %llu, answers", explore.variant,
            (unsigned long long)explore.executions);
    for (unsigned i = 0; i < explore.asked && i < 200; i++) {
        fprintf(stderr, " %u/%u", explore.questions[i].answer, explore.questions[i].answers);
    }
    fputc('\n', stderr);
}

/* ---- buffers ------------------------------------------------------------------------------ */

static void explore_changed(const volatile void *ptr, unsigned by)
{
    for (unsigned i = 0; i < model_running->thread_count; i++) {
        struct explore_thread *thread = &explore.threads[i];
        thread->has_missed |= i != by;
        if (thread->state == EXPLORE_WAITING && thread->looked_at == ptr) {
            thread->state = EXPLORE_READY;
        }
    }
}

static void explore_apply(struct explore_entry *entry, unsigned by)
{
    entry->is_written = true;
    if (memcmp((const void *)entry->ptr, entry->bytes, entry->size) != 0) {
        memcpy((void *)entry->ptr, entry->bytes, entry->size);
        explore_changed(entry->ptr, by);
    }
}

static unsigned explore_index(const struct explore_thread *thread)
{
    return (unsigned)(thread - explore.threads);
}

static bool explore_may_apply(const struct explore_thread *thread, unsigned index)
{
    const struct explore_entry *entry = &thread->entries[index];

    for (unsigned i = 0; i < index; i++) {
        if (!thread->entries[i].is_written &&
            (i < entry->after || thread->entries[i].ptr == entry->ptr)) {
            return false;
        }
    }
    return !entry->is_written;
}

static bool explore_drain(struct explore_thread *thread)
{
    bool any = false;

    for (unsigned i = 0; i < thread->count; i++) {
        if (!thread->entries[i].is_written) {
            explore_apply(&thread->entries[i], explore_index(thread));
            any = true;
        }
    }
    return any;
}

/* Write what is buffered for one place, and what has to be written before it. */
static void explore_drain_place(struct explore_thread *thread, const volatile void *ptr)
{
    unsigned until = 0;

    for (unsigned i = 0; i < thread->count; i++) {
        if (!thread->entries[i].is_written && thread->entries[i].ptr == ptr) {
            until = thread->entries[i].after;
        }
    }
    for (unsigned i = 0; i < thread->count; i++) {
        if (!thread->entries[i].is_written && (i < until || thread->entries[i].ptr == ptr)) {
            explore_apply(&thread->entries[i], explore_index(thread));
        }
    }
}

/* ---- who goes on -------------------------------------------------------------------------- */

static void explore_go_on(unsigned next)
{
    unsigned from = explore.current;

    for (unsigned t = 0; t < model_running->thread_count; t++) {
        struct explore_thread *thread = &explore.threads[t];
        for (unsigned i = 0; i < thread->count; i++) {
            if (explore_may_apply(thread, i) && explore_ask(2) == 1) {
                explore_apply(&thread->entries[i], t);
            }
        }
    }
    if (next != from) {
        explore.current = next;
        swapcontext(from == EXPLORE_NOBODY ? &explore.main : &explore.threads[from].context,
                    next == EXPLORE_NOBODY ? &explore.main : &explore.threads[next].context);
    }
}

/* The ready threads but for one; returns how many. */
static unsigned explore_others(unsigned but, unsigned *others)
{
    unsigned count = 0;

    for (unsigned i = 0; i < model_running->thread_count; i++) {
        if (i != but && explore.threads[i].state == EXPLORE_READY) {
            others[count++] = i;
        }
    }
    return count;
}

/* The current thread cannot go on. */
static void explore_leave(void)
{
    unsigned ready[MODEL_THREADS_MAX];
    unsigned count = explore_others(EXPLORE_NOBODY, ready);
    bool any = false;

    if (count == 0) {
        for (unsigned i = 0; i < model_running->thread_count; i++) {
            any |= explore_drain(&explore.threads[i]);
        }
        count = explore_others(EXPLORE_NOBODY, ready);
    }
    if (count != 0) {
        explore_go_on(ready[explore_ask(count)]);
        return;
    }
    for (unsigned i = 0; i < model_running->thread_count; i++) {
        if (explore.threads[i].state != EXPLORE_ENDED) {
            model_fail("the wait ends", __LINE__);
        }
    }
    explore_go_on(EXPLORE_NOBODY);
}

static void explore_step(void)
{
    unsigned others[MODEL_THREADS_MAX];

    if (explore.current == EXPLORE_NOBODY || explore.preemptions == explore.preemptions_max) {
        return;
    }
    unsigned count = explore_others(explore.current, others);
    unsigned answer = explore_ask(count + 1);
    if (answer != 0) {
        explore.preemptions++;
        explore_go_on(others[answer - 1]);
    }
}

/* The current thread has looked at a place in vain, and waits for a change there. */
static void explore_wait(void)
{
    struct explore_thread *thread = &explore.threads[explore.current];

    thread->state = EXPLORE_WAITING;
    explore_leave();
    thread->has_missed = false;
    thread->looks = 0;
}

/* The current thread tries again, once all others that can have gone on: a schedule without end, in
 * which two threads wait for a third that is never chosen, is none. */
static void explore_yield(void)
{
    unsigned ready[MODEL_THREADS_MAX];
    unsigned fresh[MODEL_THREADS_MAX];
    unsigned count = explore_others(EXPLORE_NOBODY, ready);
    unsigned others = 0;

    explore.threads[explore.current].has_yielded = true;
    for (unsigned i = 0; i < count; i++) {
        if (!explore.threads[ready[i]].has_yielded) {
            fresh[others++] = ready[i];
        }
    }
    if (others != 0) {
        explore_go_on(fresh[explore_ask(others)]);
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        explore.threads[ready[i]].has_yielded = false;
        (void)explore_drain(&explore.threads[ready[i]]);
    }
    explore_go_on(ready[explore_ask(count)]);
}

/* ---- operations --------------------------------------------------------------------------- */

static void explore_look(const volatile void *ptr)
{
    if (explore.current == EXPLORE_NOBODY) {
        return;
    }
    struct explore_thread *thread = &explore.threads[explore.current];
    thread->looks = thread->looked_at == ptr ? thread->looks + 1 : 0;
    thread->looked_at = ptr;
    if (thread->looks == EXPLORE_LOOKS_MAX && !thread->has_missed) {
        explore_wait();
    } else if (thread->looks == EXPLORE_LOOKS_MAX) {
        thread->looks = 0;
        thread->has_missed = false;
    }
}

/* What the thread's own buffer holds for a place. */
static void explore_read(const volatile void *ptr, void *value, size_t size)
{
    if (explore.current == EXPLORE_NOBODY) {
        return;
    }
    const struct explore_thread *thread = &explore.threads[explore.current];
    for (unsigned i = 0; i < thread->count; i++) {
        if (!thread->entries[i].is_written && thread->entries[i].ptr == ptr) {
            memcpy(value, thread->entries[i].bytes, size);
        }
    }
}

static void explore_write(volatile void *ptr, const void *value, size_t size,
                          enum explore_order order)
{
    struct explore_entry entry = {.ptr = ptr, .size = size};

    memcpy(entry.bytes, value, size);
    if (explore.current == EXPLORE_NOBODY) {
        explore_apply(&entry, EXPLORE_NOBODY);
        return;
    }
    struct explore_thread *thread = &explore.threads[explore.current];
    if (thread->count == EXPLORE_BUFFER_MAX) {
        model_fail("the program has few stores", __LINE__);
    }
    if (order == EXPLORE_SEQ_CST) {
        explore_drain(thread);
    }
    entry.after = order == EXPLORE_RELAXED ? thread->fenced : thread->count;
    thread->entries[thread->count++] = entry;
    if (order != EXPLORE_SEQ_CST && explore.delays < explore.delays_max && explore_ask(2) == 1) {
        explore.delays++;
        return;
    }
    /* Seen at once, unless it comes after one that is delayed. */
    if (explore_may_apply(thread, thread->count - 1)) {
        explore_apply(&thread->entries[thread->count - 1], explore.current);
    }
}

static void explore_before_rmw(volatile void *ptr, enum explore_order order)
{
    if (explore.current == EXPLORE_NOBODY) {
        return;
    }
    struct explore_thread *thread = &explore.threads[explore.current];
    thread->looked_at = ptr;
    if (order == EXPLORE_RELEASE || order == EXPLORE_SEQ_CST) {
        explore_drain(thread);
    } else {
        explore_drain_place(thread, ptr);
    }
}

static void explore_after_rmw(volatile void *ptr, bool changed)
{
    if (changed) {
        explore_changed(ptr, explore.current);
    }
}

static void explore_fence(enum explore_order order)
{
    if (explore.current == EXPLORE_NOBODY) {
        return;
    }
    struct explore_thread *thread = &explore.threads[explore.current];
    explore_step();
    if (order == EXPLORE_SEQ_CST) {
        explore_drain(thread);
    } else if (order == EXPLORE_RELEASE) {
        thread->fenced = thread->count;
    }
}

/* ---- executions --------------------------------------------------------------------------- */

static void explore_thread_main(void)
{
    model_running->threads[explore.current]();
    explore.threads[explore.current].state = EXPLORE_ENDED;
    explore_leave();
}

static void explore_once(void)
{
    explore.asked = 0;
    explore.preemptions = 0;
    explore.delays = 0;
    explore.executions++;
    model_running->setup();
    for (unsigned i = 0; i < model_running->thread_count; i++) {
        struct explore_thread *thread = &explore.threads[i];
        getcontext(&thread->context);
        thread->context.uc_stack.ss_sp = thread->stack;
        thread->context.uc_stack.ss_size = EXPLORE_STACK_BYTES;
        thread->context.uc_link = NULL;
        makecontext(&thread->context, explore_thread_main, 0);
        thread->state = EXPLORE_READY;
        thread->count = 0;
        thread->fenced = 0;
        thread->looked_at = NULL;
        thread->looks = 0;
        thread->has_missed = false;
        thread->has_yielded = false;
    }
    explore_go_on(explore_ask(model_running->thread_count));
    model_running->check();
}

static int explore_main(int argc, char **argv)
{
    explore.preemptions_max = argc > 1 ? (unsigned)atoi(argv[1]) : 2;
    explore.delays_max = argc > 2 ? (unsigned)atoi(argv[2]) : 1;
    for (unsigned i = 0; i < model_running->thread_count; i++) {
        explore.threads[i].stack = malloc(EXPLORE_STACK_BYTES);
        if (explore.threads[i].stack == NULL) {
            return 2;
        }
    }
    for (explore.variant = 0; explore.variant < MODEL_VARIANTS; explore.variant++) {
        explore.known = 0;
        do {
            explore_once();
        } while (explore_advance());
    }
    printf("%s: %llu executions, with at most %u preemptions and %u delayed stores\n",
           model_running->name, (unsigned long long)explore.executions, explore.preemptions_max,
           explore.delays_max);
    for (unsigned i = 0; i < model_running->thread_count; i++) {
        free(explore.threads[i].stack);
    }
    return 0;
}

#endif
