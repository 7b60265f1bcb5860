/* arch/ctx.h — switch the processor from one stack to another.
 *
 * A context is a saved stack pointer; everything else lies on the stack it points to. The compiler
 * believes that it calls a function, so only what a function must preserve is saved:
 *
 *   x86-64    rbx rbp r12-r15, return address                   56 bytes, ends in an indirect jump
 *   aarch64   x19-x28 x29 x30 d8-d15                           160 bytes, ends in ret
 *   not saved: MXCSR and x87 control word, FPCR (each thread sets them once, nobody changes them),
 *              the signal mask (the same on all workers), thread-locals
 *
 * The jump is a jump and not a return, because the return predictor can only be wrong there, while
 * an indirect jump has a branch history. The frame has the same layout on both sides, which keeps
 * the unwind tables true at every instruction of the switch; the frame below a fiber's entry
 * function is marked as the outermost.
 *
 * `arg` travels with the switch: whoever runs next gets it as the result of its own switch, or as
 * the second argument of its entry function. By then the registers of the side that left are
 * saved, so the next side may publish that context; the side that leaves must not.
 *
 * Shadow stacks (SHSTK) are not supported and not claimed; indirect branch tracking and BTI are.
 *
 * INVARIANTS
 *  X1  A context is either running (`sp` is stale) or saved (`sp` is valid). A saved one is resumed
 *      exactly once before it is saved again.
 *  X2  Between init and the first switch to it a context does not move; later its holder may copy
 *      it and go on with the copy. Its stack is not freed before fini.
 *  X3  Nothing here allocates, calls the system, reads a thread-local or touches an atomic; the
 *      hand-over of a context between threads needs the caller's release and acquire.
 *
 *   init_thread ─► running ◄─switch─► saved       init ─► saved ◄─switch─► running ─► exit ─► fini
 *
 * WHO MAY CALL WHAT: a context belongs to one caller at a time. switch and exit: the thread that
 * runs on `from`, holding `to` exclusively. fini: any thread, after exit (or before the first
 * switch), from another stack; fini_thread: the thread itself.
 *
 * CMake's TC_CTX=ucontext replaces the assembly by swapcontext(3). That is slow and meant for
 * tests, where it is the oracle, and for bringing up another processor.
 */
#ifndef TC_ARCH_CTX_H
#define TC_ARCH_CTX_H

#include "arch/ctx_san.h"

#include <stddef.h>

/* 1 selects ctx_ucontext.c instead of the assembly; set by the build. */
#ifndef TC_CTX_UCONTEXT
#define TC_CTX_UCONTEXT 0
#endif

struct tc_ctx {
    void *sp; /* valid while saved (X1); written by the switch, read by the next one */
    struct tc_ctx_san san; /* empty in a build without sanitizers                                 */
};

/* How much larger a context is than in a release build. */
#define TC_CTX_SANITIZER_BYTES (sizeof(struct tc_ctx) - sizeof(void *))

/* ---- what the processor's file provides; call the functions below instead -------------------- */

#pragma GCC visibility push(hidden)

/* ctx_x86_64.S, ctx_aarch64.S. make: build the first frame below `top` and return its sp. */
void *tc__ctx_asm_make(void *top, void (*entry)(void *, void *), void *user);
void *tc__ctx_asm_swap(void **save_sp, void *load_sp, void *arg);

/* ctx_ucontext.c: the same two; `lo` is what makecontext wants to know. */
void *tc__ctx_uc_make(void *lo, size_t size, void (*entry)(void *, void *), void *user);
void *tc__ctx_uc_swap(void **save_sp, void *load_sp, void *arg);

#pragma GCC visibility pop

static inline void *tc__ctx_make(void *lo, size_t size, void (*entry)(void *, void *), void *user)
{
    if (TC_CTX_UCONTEXT) {
        return tc__ctx_uc_make(lo, size, entry, user);
    }
    return tc__ctx_asm_make((char *)lo + size, entry, user);
}

__attribute__((always_inline)) static inline void *tc__ctx_swap(void **save_sp, void *load_sp,
                                                                void *arg)
{
    if (TC_CTX_UCONTEXT) {
        return tc__ctx_uc_swap(save_sp, load_sp, arg);
    }
    return tc__ctx_asm_swap(save_sp, load_sp, arg);
}

/* ---- contexts -------------------------------------------------------------------------------- */

/* Adopt the stack that the calling thread runs on; `ctx` counts as running.
 * Parks: never   Threads: the thread itself */
static inline void tc_ctx_init_thread(struct tc_ctx *ctx)
{
    ctx->sp = NULL;
    tc__ctx_san_init_thread(&ctx->san);
}

/* Undo tc_ctx_init_thread, on the same thread and stack. */
static inline void tc_ctx_fini_thread(struct tc_ctx *ctx)
{
    tc__ctx_san_fini_thread(&ctx->san);
}

/* Prepare a fiber's context: the first switch to it calls entry(user, arg) on the `size` usable
 * bytes from `stack_lo` (the guard excluded). entry must end in tc_ctx_exit. It starts with the
 * alignment of the ABI and a zero frame pointer. Costs seven stores to the top of the stack.
 * Parks: never   Threads: any   Owns: the stack is lent until fini */
static inline void tc_ctx_init(struct tc_ctx *ctx, void *stack_lo, size_t size,
                               void (*entry)(void *user, void *arg), void *user)
{
    tc__ctx_san_init(&ctx->san, stack_lo, size, entry, user);
    ctx->sp = tc__ctx_make(stack_lo, size, tc__ctx_san_entry_of(&ctx->san, entry),
                           tc__ctx_san_user_of(&ctx->san, user));
}

/* Save the caller in `from` and continue `to`. Returns, when somebody switches back to `from`, the
 * `arg` of that switch; the thread may then be another. About 2 ns: seven stores, seven loads.
 * Parks: this is what parking is made of   Threads: see the header */
static inline void *tc_ctx_switch(struct tc_ctx *from, struct tc_ctx *to, void *arg)
{
    void *load_sp = to->sp;
    void *result;

    tc__ctx_san_before(&from->san, &to->san);
    result = tc__ctx_swap(&from->sp, load_sp, arg);
    tc__ctx_san_after(&from->san);
    return result;
}

/* Leave `from` for the last time: its stack is free as soon as `to` runs. */
_Noreturn static inline void tc_ctx_exit(struct tc_ctx *from, struct tc_ctx *to, void *arg)
{
    void *load_sp = to->sp;

    tc__ctx_san_before_exit(&from->san, &to->san);
    (void)tc__ctx_swap(&from->sp, load_sp, arg);
    __builtin_trap(); /* somebody resumed a context that is gone */
}

/* Forget a context that has exited or never ran; must not be called on its own stack.
 * Parks: never   Threads: any   Owns: the stack is the caller's again */
static inline void tc_ctx_fini(struct tc_ctx *ctx)
{
    tc__ctx_san_fini(&ctx->san);
    ctx->sp = NULL;
}

#endif
