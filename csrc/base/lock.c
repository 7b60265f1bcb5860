#include "base/lock.h"

#include "arch/cpu.h"
#include "base/sys.h"

/* Critical sections are some tens of instructions, so the holder is done within a few pauses
 * unless it was preempted; beyond that, sleeping is cheaper for everybody. */
#define SPINS 32

void tc__lock_acquire_slow(struct tc_lock *lock)
{
    for (int i = 0; i < SPINS; i++) {
        uint32_t free_word = 0;

        tc_cpu_relax();
        /* relaxed: a hint; the CAS decides. acquire [lock-word]: as in tc_lock_acquire. */
        if (tc_load_relaxed(&lock->word) == 0 && tc_cas_acquire(&lock->word, &free_word, 1)) {
            return;
        }
    }
    /* Whoever gets the lock this way leaves 2 behind even if it was the last sleeper: it
     * cannot know, and one needless wake is the price (K2). acquire [lock-word]: as in
     * tc_lock_acquire. */
    while (tc_exchange_acquire(&lock->word, 2) != 0) {
        /* Whatever ended the sleep, the swap finds out whether the lock is free. */
        (void)!tc_sys_futex_wait(&lock->word, 2, TC_NEVER);
    }
}

void tc__lock_wake_slow(struct tc_lock *lock)
{
    /* The lock may be free and its memory reused by now; a wake on a stale address is harmless. */
    (void)tc_sys_futex_wake(&lock->word, 1);
}

#if TC_DEBUG >= 1

/* A select holds the lock of each of its channels: TC_SELECT_CASES_MAX, and a few inner ones. */
#define MAX_HELD 272

/* Locks the calling thread holds, in order of acquisition. Reached only from the out-of-line
 * functions below, so that no fiber keeps its address across a switch. */
struct held_locks {
    int32_t thread; /* cached thread id, 0 = not asked yet */
    int count;
    struct tc_lock *locks[MAX_HELD];
};

static _Thread_local struct held_locks held;

void tc_lock_init(struct tc_lock *lock, enum tc_rank rank)
{
    tc_assert(rank >= TC_RANK_HTTP_STREAM && rank <= TC_RANK_EBR); /* first and last */
    tc_atomic_init(&lock->word, 0);
    lock->rank = rank;
    tc_atomic_init(&lock->owner, 0);
}

TC_NOINLINE int tc_lock_held_count(void)
{
    return held.count;
}

TC_NOINLINE void tc__lock_check_rank(const struct tc_lock *lock)
{
    for (int i = 0; i < held.count; i++) {
        if (held.locks[i]->rank >= lock->rank) {
            tc_panic("lock of rank %u acquired while holding rank %u", lock->rank,
                     held.locks[i]->rank);
        }
    }
}

TC_NOINLINE void tc__lock_check_peer(const struct tc_lock *lock)
{
    for (int i = 0; i < held.count; i++) {
        const struct tc_lock *other = held.locks[i];

        if (other->rank > lock->rank || (other->rank == lock->rank && other >= lock)) {
            tc_panic("lock %p of rank %u acquired while holding %p of rank %u", (const void *)lock,
                     lock->rank, (const void *)other, other->rank);
        }
    }
}

TC_NOINLINE void tc__lock_note_acquired(struct tc_lock *lock)
{
    tc_assert(held.count < MAX_HELD);
    if (held.thread == 0) {
        held.thread = (int32_t)tc_sys_gettid();
    }
    held.locks[held.count++] = lock;
    /* relaxed: for debuggers, and for the holder's own check. */
    tc_store_relaxed(&lock->owner, held.thread);
}

TC_NOINLINE void tc__lock_note_released(struct tc_lock *lock)
{
    int i = held.count - 1;

    while (i >= 0 && held.locks[i] != lock) {
        i--;
    }
    if (i < 0) {
        /* relaxed: only printed. */
        tc_panic("lock of rank %u released by a thread that does not hold it (thread %d does)",
                 lock->rank, tc_load_relaxed(&lock->owner));
    }
    /* relaxed: for debuggers. */
    tc_store_relaxed(&lock->owner, 0);
    held.count--;
    for (; i < held.count; i++) {
        held.locks[i] = held.locks[i + 1];
    }
}

#else

void tc_lock_init(struct tc_lock *lock, enum tc_rank rank)
{
    (void)rank;
    tc_atomic_init(&lock->word, 0);
}

int tc_lock_held_count(void)
{
    return 0;
}

#endif
