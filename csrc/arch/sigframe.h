/* arch/sigframe.h — what a signal handler can learn from the frame that it interrupted.
 *
 * `frame` is the third argument of an SA_SIGINFO handler.
 *
 * WHO MAY CALL: any handler, with the frame that it was given, which is only read; nothing parks.
 */
#ifndef TC_ARCH_SIGFRAME_H
#define TC_ARCH_SIGFRAME_H

#include <stdbool.h>
#include <stdint.h>
#include <ucontext.h>

/* The stack pointer of the interrupted instruction. */
#if defined(__x86_64__)
static inline uintptr_t tc_sigframe_sp(const ucontext_t *frame)
{
    return (uintptr_t)frame->uc_mcontext.gregs[REG_RSP];
}
#else
static inline uintptr_t tc_sigframe_sp(const ucontext_t *frame)
{
    return (uintptr_t)frame->uc_mcontext.sp;
}
#endif

/* Whether the signal arrived while another handler ran on the thread's alternate stack. Uses what
 * the kernel saved, not thread-locals, which a handler cannot safely touch. */
static inline bool tc_sigframe_is_nested(const ucontext_t *frame)
{
    uintptr_t offset = tc_sigframe_sp(frame) - (uintptr_t)frame->uc_stack.ss_sp;

    return offset < frame->uc_stack.ss_size;
}

#endif
