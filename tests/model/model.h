/* tests/model/model.h — runs a small closed program once for a model checker, or many times as a
 * stress test.
 *
 * A model program includes one NAME_core.h and defines two or three threads over a few atomics, a
 * setup and a final check. It has no loop without a bound except model_await. Built with
 * -DTC_MODEL_CHECKER=1, main() runs one iteration and leaves all interleavings and reorderings
 * to the checker. Otherwise
 *
 *   PROG [ITERATIONS]      default: 3 seconds
 *
 * repeats it, with the threads lined up by a spinning barrier before each iteration, so that their
 * few instructions meet. Prints the number of iterations; a failed check aborts.
 *
 * -DTC_MODEL_EXPLORE=1 runs it in every order of its steps, within bounds: explore.h. A program
 * with several scenarios defines MODEL_VARIANTS and asks model_variant() which one to set up.
 *
 * -DTC_WEAKEN=1 selects a deliberately broken variant, which must fail: under the explorer or TSan,
 * as tests of their own see to, on the hardware too, as each program says (docs/MEMORY_ORDER.md).
 */
#ifndef TC_TESTS_MODEL_MODEL_H
#define TC_TESTS_MODEL_MODEL_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#ifndef TC_WEAKEN
#define TC_WEAKEN 0
#endif
#ifndef TC_MODEL_EXPLORE
#define TC_MODEL_EXPLORE 0
#endif
#ifndef TC_MODEL_CHECKER
#define TC_MODEL_CHECKER TC_MODEL_EXPLORE
#endif
#ifndef MODEL_VARIANTS
#define MODEL_VARIANTS 1
#endif

enum { MODEL_THREADS_MAX = 3, MODEL_DEFAULT_SECONDS = 3, MODEL_YIELDS_MAX = 4000000 };

struct model {
    const char *name;
    unsigned thread_count;
    void (*setup)(void);         /* alone, before each iteration                              */
    void (*threads[MODEL_THREADS_MAX])(void);
    void (*check)(void);         /* alone, after each iteration                               */
};

/* State of the harness, not of the modelled program. */
static const struct model *model_running;
static _Atomic uint64_t model_round;       /* main: the iteration that threads may run        */
static _Atomic unsigned model_finished;    /* threads: done with this round                   */
static _Atomic bool model_over;

#if TC_MODEL_EXPLORE
static void explore_explain(void);
static void explore_wait(void);
static void explore_yield(void);
#endif

#define MODEL_CHECK(cond) ((cond) ? (void)0 : model_fail(#cond, __LINE__))

_Noreturn static inline void model_fail(const char *what, int line)
{
    fprintf(stderr, "%s: line %d: %s is false, iteration %llu\n", model_running->name, line, what,
            (unsigned long long)atomic_load_explicit(&model_round, memory_order_relaxed));
#if TC_MODEL_EXPLORE
    explore_explain();
#endif
    abort();
}

/* What a failed tc_assert calls, for programs that take a core header alone. Weak: the library's
 * own is as good where a build links it. */
_Noreturn void tc__assert_failed(const char *cond, const char *file, int line);
__attribute__((weak)) _Noreturn void tc__assert_failed(const char *cond, const char *file, int line)
{
    fprintf(stderr, "%s: ", file);
    model_fail(cond, line);
}

static inline double model_seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Body of a loop that waits for another thread; *spins starts at 0. Somebody who gives
 * the CPU away millions of times waits for a wake-up that was lost. */
static inline void model_await(unsigned *spins)
{
#if TC_MODEL_EXPLORE
    explore_wait();
#endif
    ++*spins;
    if (!TC_MODEL_CHECKER && *spins % 128 == 0) {
        sched_yield();
        if (*spins / 128 > MODEL_YIELDS_MAX) {
            model_fail("the wait ends", __LINE__);
        }
    }
}

#if TC_MODEL_EXPLORE
#include "explore.h"
#endif

/* Which of the MODEL_VARIANTS scenarios setup() has to make: under the explorer each in turn, in a
 * stress test round about. */
static inline unsigned model_variant(void)
{
#if TC_MODEL_EXPLORE
    return explore.variant;
#else
    return (unsigned)(atomic_load_explicit(&model_round, memory_order_relaxed) % MODEL_VARIANTS);
#endif
}

/* The same where the loop looks at several places. */
static inline void model_await_any(void)
{
#if TC_MODEL_EXPLORE
    explore_yield();
#else
    sched_yield();
#endif
}

/* Spend a different short time in each thread and round: the barrier's own delay would otherwise
 * let the threads pass each other always in the same order. */
static inline void model_stagger(uint64_t round, unsigned thread)
{
    uint64_t hash = (round * MODEL_THREADS_MAX + thread) * UINT64_C(0x9e3779b97f4a7c15);

    for (unsigned i = (unsigned)(hash >> 56); i > 0; i--) {
        atomic_signal_fence(memory_order_seq_cst);
    }
}

static void *model_thread(void *arg)
{
    unsigned thread = (unsigned)(uintptr_t)arg;
    void (*body)(void) = model_running->threads[thread];

    if (TC_MODEL_CHECKER) {
        body();
        return NULL;
    }
    for (uint64_t round = 1;; round++) {
        unsigned spins = 0;

        while (atomic_load_explicit(&model_round, memory_order_acquire) < round) {
            if (atomic_load_explicit(&model_over, memory_order_relaxed)) {
                return NULL;
            }
            model_await(&spins);
        }
        model_stagger(round, thread);
        body();
        atomic_fetch_add_explicit(&model_finished, 1, memory_order_acq_rel);
    }
}

static inline void model_run_rounds(const struct model *model, uint64_t rounds)
{
    double end = model_seconds() + MODEL_DEFAULT_SECONDS;
    uint64_t round = 0;

    while (rounds != 0 ? round < rounds : round % 256 != 0 || model_seconds() < end) {
        unsigned spins = 0;

        atomic_store_explicit(&model_finished, 0, memory_order_relaxed);
        model->setup();
        atomic_store_explicit(&model_round, ++round, memory_order_release);
        model_stagger(round, 0);
        model->threads[0](); /* main is thread 0: one CPU less to share */
        while (atomic_load_explicit(&model_finished, memory_order_acquire) !=
               model->thread_count - 1) {
            model_await(&spins);
        }
        model->check();
    }
    printf("%s: %llu iterations\n", model->name, (unsigned long long)round);
}

static inline int model_main(const struct model *model, int argc, char **argv)
{
    pthread_t threads[MODEL_THREADS_MAX];
    uint64_t rounds = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;

    model_running = model;
#if TC_MODEL_EXPLORE
    return explore_main(argc, argv);
#endif
    if (TC_MODEL_CHECKER) {
        model->setup();
    }
    for (uintptr_t i = 1; i < model->thread_count; i++) {
        if (pthread_create(&threads[i], NULL, model_thread, (void *)i) != 0) {
            return 2;
        }
    }
    if (TC_MODEL_CHECKER) {
        model->threads[0]();
    } else {
        model_run_rounds(model, rounds);
    }
    atomic_store(&model_over, true);
    for (unsigned i = 1; i < model->thread_count; i++) {
        pthread_join(threads[i], NULL);
    }
    if (TC_MODEL_CHECKER) {
        model->check();
    }
    return 0;
}

#endif
