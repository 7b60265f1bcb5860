/* arch/ctx_san.h — tell sanitizers and valgrind that the stack changes; for arch/ctx.h only.
 *
 * Each tool needs something else, and no build has two of them, so this file holds four sets of the
 * same hooks: AddressSanitizer, ThreadSanitizer, valgrind (only if the build defines TC_VALGRIND as
 * 1), and the empty one.
 *
 *   hook                      called by            where
 *   init_thread, fini_thread  the same in ctx.h    on the thread
 *   init, fini                the same in ctx.h    on any stack but the fiber's own
 *   before(from, to)          switch               last thing before the registers are saved
 *   before_exit(from, to)     exit                 the same, and `from` is never resumed
 *   after(self)               switch               first thing on the stack that runs now
 *   entry_of, user_of         init                 what the first frame really calls
 *
 * before, after and the swap between them are always inlined: a call of their own would be entered
 * on one shadow stack and left on the other.
 */
#ifndef TC_ARCH_CTX_SAN_H
#define TC_ARCH_CTX_SAN_H

#include <stddef.h>

#ifndef TC_VALGRIND
#define TC_VALGRIND 0
#endif

#if defined(__SANITIZE_ADDRESS__)
#define TC_CTX_SAN_ADDRESS 1
#elif defined(__SANITIZE_THREAD__)
#define TC_CTX_SAN_THREAD 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TC_CTX_SAN_ADDRESS 1
#elif __has_feature(thread_sanitizer)
#define TC_CTX_SAN_THREAD 1
#endif
#endif

#if defined(TC_CTX_SAN_ADDRESS)

/* ---- AddressSanitizer ------------------------------------------------------------------------ */

#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>

struct tc_ctx_san {
    void *fake_stack; /* of a saved context: ASan's frames that outlive their function          */
    void *lo;         /* bounds of the stack; set once at init                                  */
    size_t size;
    void (*entry)(void *, void *); /* what the wrapper below calls at the first switch          */
    void *user;
};

static inline void tc__ctx_san_init_thread(struct tc_ctx_san *san)
{
    pthread_attr_t attr;

    *san = (struct tc_ctx_san){0};
    if (pthread_getattr_np(pthread_self(), &attr) == 0) {
        (void)pthread_attr_getstack(&attr, &san->lo, &san->size); /* cannot fail on a valid attr */
        (void)pthread_attr_destroy(&attr);
    }
}

static inline void tc__ctx_san_fini_thread(struct tc_ctx_san *san)
{
    (void)san;
}

/* A recycled stack still carries the poison of the frames that were on it when its last fiber
 * left. Registering it as a root lets the leak check see what suspended fibers point to. */
static inline void tc__ctx_san_init(struct tc_ctx_san *san, void *lo, size_t size,
                                    void (*entry)(void *, void *), void *user)
{
    *san = (struct tc_ctx_san){.lo = lo, .size = size, .entry = entry, .user = user};
    __asm__("" : "+r"(lo)); /* or gcc warns that uninitialized memory is passed to be read */
    __asan_unpoison_memory_region(lo, size);
    __lsan_register_root_region(lo, size);
}

static inline void tc__ctx_san_fini(struct tc_ctx_san *san)
{
    __lsan_unregister_root_region(san->lo, san->size);
    __asan_unpoison_memory_region(san->lo, san->size);
}

__attribute__((always_inline)) static inline void tc__ctx_san_before(struct tc_ctx_san *from,
                                                                     const struct tc_ctx_san *to)
{
    __sanitizer_start_switch_fiber(&from->fake_stack, to->lo, to->size);
}

/* NULL instead of a place to save makes ASan free the fake stack of the side that leaves. */
__attribute__((always_inline)) static inline void tc__ctx_san_before_exit(
    struct tc_ctx_san *from, const struct tc_ctx_san *to)
{
    (void)from;
    __sanitizer_start_switch_fiber(NULL, to->lo, to->size);
}

__attribute__((always_inline)) static inline void tc__ctx_san_after(struct tc_ctx_san *self)
{
    __sanitizer_finish_switch_fiber(self->fake_stack, NULL, NULL);
}

/* A new fiber must finish the switch before any instrumented frame exists on its stack. */
static inline void tc__ctx_san_start(void *user, void *arg)
{
    struct tc_ctx_san *self = (struct tc_ctx_san *)user;

    __sanitizer_finish_switch_fiber(NULL, NULL, NULL);
    self->entry(self->user, arg);
}

static inline void (*tc__ctx_san_entry_of(struct tc_ctx_san *san,
                                          void (*entry)(void *, void *)))(void *, void *)
{
    (void)san;
    (void)entry;
    return tc__ctx_san_start;
}

static inline void *tc__ctx_san_user_of(struct tc_ctx_san *san, void *user)
{
    (void)user;
    return san;
}

#else

/* The other tools need no wrapper around the entry function. */

struct tc_ctx_san;

static inline void (*tc__ctx_san_entry_of(struct tc_ctx_san *san,
                                          void (*entry)(void *, void *)))(void *, void *)
{
    (void)san;
    return entry;
}

static inline void *tc__ctx_san_user_of(struct tc_ctx_san *san, void *user)
{
    (void)san;
    return user;
}

#if defined(TC_CTX_SAN_THREAD)

/* ---- ThreadSanitizer ------------------------------------------------------------------------- */

#include <sanitizer/tsan_interface.h>

/* 0 orders the two sides of every switch. With __tsan_switch_to_fiber_no_sync (1) they are not
 * ordered, so that fibers which happen to share a worker cannot hide a race; but then what passes
 * through `arg` and commit callbacks is reported too. For hunting, not for a lane; set by hand. */
#ifndef TC_CTX_TSAN_FLAGS
#define TC_CTX_TSAN_FLAGS 0
#endif

struct tc_ctx_san {
    void *fiber; /* TSan's state of this stack; owned from init to fini, a thread's is borrowed */
};

static inline void tc__ctx_san_init_thread(struct tc_ctx_san *san)
{
    san->fiber = __tsan_get_current_fiber();
}

static inline void tc__ctx_san_fini_thread(struct tc_ctx_san *san)
{
    san->fiber = NULL;
}

static inline void tc__ctx_san_init(struct tc_ctx_san *san, void *lo, size_t size,
                                    void (*entry)(void *, void *), void *user)
{
    (void)lo;
    (void)size;
    (void)entry;
    (void)user;
    san->fiber = __tsan_create_fiber(0);
}

static inline void tc__ctx_san_fini(struct tc_ctx_san *san)
{
    __tsan_destroy_fiber(san->fiber);
    san->fiber = NULL;
}

/* Nothing may be called between this and the swap: TSan already counts it to the other stack. */
__attribute__((always_inline)) static inline void tc__ctx_san_before(struct tc_ctx_san *from,
                                                                     const struct tc_ctx_san *to)
{
    (void)from;
    __tsan_switch_to_fiber(to->fiber, TC_CTX_TSAN_FLAGS);
}

__attribute__((always_inline)) static inline void tc__ctx_san_before_exit(
    struct tc_ctx_san *from, const struct tc_ctx_san *to)
{
    tc__ctx_san_before(from, to);
}

__attribute__((always_inline)) static inline void tc__ctx_san_after(struct tc_ctx_san *self)
{
    (void)self;
}

#else

/* ---- valgrind, or nothing -------------------------------------------------------------------- */

#if TC_VALGRIND && defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#define TC_CTX_SAN_VALGRIND 1
#endif
#endif

#if defined(TC_CTX_SAN_VALGRIND)

struct tc_ctx_san {
    unsigned stack_id; /* valgrind's handle, so that it does not take a switch for a huge frame */
};

static inline void tc__ctx_san_init(struct tc_ctx_san *san, void *lo, size_t size,
                                    void (*entry)(void *, void *), void *user)
{
    (void)entry;
    (void)user;
    san->stack_id = VALGRIND_STACK_REGISTER(lo, (char *)lo + size);
}

static inline void tc__ctx_san_fini(struct tc_ctx_san *san)
{
    VALGRIND_STACK_DEREGISTER(san->stack_id);
}

#else

struct tc_ctx_san {};

static inline void tc__ctx_san_init(struct tc_ctx_san *san, void *lo, size_t size,
                                    void (*entry)(void *, void *), void *user)
{
    (void)san;
    (void)lo;
    (void)size;
    (void)entry;
    (void)user;
}

static inline void tc__ctx_san_fini(struct tc_ctx_san *san)
{
    (void)san;
}

#endif

static inline void tc__ctx_san_init_thread(struct tc_ctx_san *san)
{
    (void)san;
}

static inline void tc__ctx_san_fini_thread(struct tc_ctx_san *san)
{
    (void)san;
}

__attribute__((always_inline)) static inline void tc__ctx_san_before(struct tc_ctx_san *from,
                                                                     const struct tc_ctx_san *to)
{
    (void)from;
    (void)to;
}

__attribute__((always_inline)) static inline void tc__ctx_san_before_exit(
    struct tc_ctx_san *from, const struct tc_ctx_san *to)
{
    (void)from;
    (void)to;
}

__attribute__((always_inline)) static inline void tc__ctx_san_after(struct tc_ctx_san *self)
{
    (void)self;
}

#endif
#endif
#endif
