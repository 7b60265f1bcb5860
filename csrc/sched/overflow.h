/* sched/overflow.h — say which fiber overflowed its stack, instead of only dying of it.
 *
 * A handler for SIGSEGV and SIGBUS, on an alternate stack because the fiber's own is full, looks
 * the fault address up among the stacks. If it lies in a guard, it prints
 *
 *     tinycoro: fiber 17 "upload" overflowed its 64 KiB stack
 *
 * and in every case hands the signal to whoever handled it before: a handler is called, the default
 * action is restored and taken, so that the core and the exit status are those of the fault.
 *
 * Other handlers of this kind (faulthandler's is one) put their predecessor back, print, and raise
 * the signal again from inside their handler. If they came before us they are called by us. If they
 * came after us, we see a signal without an address, raised while a handler runs on the alternate
 * stack or pending on return to the edge of a stack: we return from it, the other handler returns
 * too, the faulting instruction runs once more and faults for us.
 *
 * INVARIANTS
 *  V1  The handler takes no lock, allocates nothing and touches no thread-local.
 *  V2  A handler installed above ours may keep a pointer to ours for ever: what ours needs is
 *      static and stays valid after uninstall.
 *
 *  install, uninstall, set_describe    one caller at a time (the runtime's start and stop)
 *  thread_init, thread_fini            the thread itself
 */
#ifndef TC_SCHED_OVERFLOW_H
#define TC_SCHED_OVERFLOW_H

#include "base/defs.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

/* What the report prints about the owner of a stack. */
struct tc_overflow_info {
    uint64_t id;
    char name[32]; /* NUL-terminated; unprintable bytes are shown as '?' */
};

/* The alternate signal stack of one thread; fields belong to the functions below. */
struct tc_overflow_thread {
    void *memory;   /* mapping with a guard page at its low end; NULL: none                   */
    size_t bytes;
    stack_t before; /* what the thread had: sanitizers bring their own and want it back       */
};

/* From now on `describe` tells about the owner that tc_stack_set_owner() named; NULL: stacks are
 * reported without id and name. It runs in the signal handler of the thread that overflowed, so V1
 * holds for it too, and returns false if the owner cannot be described.
 * Parks: never   Threads: one at a time */
void tc_overflow_set_describe(bool (*describe)(const void *owner, struct tc_overflow_info *info));

/* Put our handler in place, once per process: installing it again, or beneath handlers that were
 * put above it since, changes nothing.
 * Parks: never   Threads: one at a time   Returns 0 or -errno; on failure nothing is installed. */
TC_NODISCARD int tc_overflow_install(void);

/* Take our handlers away where they are still the ones in place; where somebody's lies above, ours
 * stays beneath it and passes everything on.
 * Parks: never   Threads: one at a time */
void tc_overflow_uninstall(void);

/* Give the calling thread an alternate stack of at least 64 KiB. A thread without one still runs
 * fibers, but dies silently of an overflow.
 * Parks: never   Threads: the thread itself   Owns: until thread_fini   Returns 0 or -errno. */
TC_NODISCARD int tc_overflow_thread_init(struct tc_overflow_thread *thread);

/* Put the former alternate stack back; after a failed init nothing happens.
 * Parks: never   Threads: the thread itself */
void tc_overflow_thread_fini(struct tc_overflow_thread *thread);

#endif
