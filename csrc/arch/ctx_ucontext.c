/* arch/ctx_ucontext.c — the switch by swapcontext(3): the fallback, and the oracle of the tests.
 *
 * The saved stack pointer points to a struct saved: on the stack of the function that switched
 * away, or, before the first switch, at the top of the fiber's stack. The fields that `arg` and the
 * entry function travel in lie beside the ucontext, because makecontext passes integers only.
 */
#include "arch/ctx.h"

#include <stdint.h>
#include <ucontext.h>

struct saved {
    ucontext_t registers;
    void *arg; /* written by the switch that resumes this context, read by the resumed side */
    void (*entry)(void *user, void *arg);
    void *user;
};

/* A pointer in two halves, the only form in which makecontext is sure to pass it. */
static void start(unsigned high, unsigned low)
{
    struct saved *self = (struct saved *)(((uintptr_t)high << 32) | low);

    self->entry(self->user, self->arg);
    __builtin_trap(); /* the entry function must not return */
}

void *tc__ctx_uc_make(void *lo, size_t size, void (*entry)(void *, void *), void *user)
{
    uintptr_t top = ((uintptr_t)lo + size - sizeof(struct saved)) & ~(uintptr_t)63;
    struct saved *first = (struct saved *)top;

    (void)getcontext(&first->registers); /* cannot fail: it only stores registers */
    first->registers.uc_stack.ss_sp = lo;
    first->registers.uc_stack.ss_size = (size_t)(top - (uintptr_t)lo);
    first->registers.uc_link = NULL;
    first->entry = entry;
    first->user = user;
    makecontext(&first->registers, (void (*)(void))start, 2, (unsigned)(top >> 32),
                (unsigned)(top & UINT32_MAX));
    return first;
}

void *tc__ctx_uc_swap(void **save_sp, void *load_sp, void *arg)
{
    struct saved self;
    struct saved *target = (struct saved *)load_sp;

    /* swapcontext leaves this field alone, and AddressSanitizer reads it when we are resumed. */
    self.registers.uc_stack = (stack_t){0};
    *save_sp = &self;
    target->arg = arg;
    (void)swapcontext(&self.registers, &target->registers); /* fails only for want of a stack */
    return self.arg;
}
