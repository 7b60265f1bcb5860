/* The context switch: what it must preserve, what it passes, and that it does what swapcontext(3)
 * does. */
#include "arch/ctx.h"
#include "harness.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unwind.h>

enum { STACK_BYTES = 128 * 1024 };

/* A context with a stack, and where its entry function goes when it wants out. */
struct fiber {
    struct tc_ctx ctx;
    struct tc_ctx *home;
    char *stack;
    void (*body)(struct fiber *self, void *arg);
    uintptr_t result;
};

static void fiber_entry(void *user, void *arg)
{
    struct fiber *self = user;

    self->body(self, arg);
    tc_ctx_exit(&self->ctx, self->home, NULL);
}

static void fiber_init(struct fiber *fiber, struct tc_ctx *home,
                       void (*body)(struct fiber *self, void *arg))
{
    fiber->home = home;
    fiber->body = body;
    fiber->result = 0;
    fiber->stack = malloc(STACK_BYTES);
    TC_CHECK(fiber->stack != NULL);
    tc_ctx_init(&fiber->ctx, fiber->stack, STACK_BYTES, fiber_entry, fiber);
}

static void fiber_fini(struct fiber *fiber)
{
    tc_ctx_fini(&fiber->ctx);
    free(fiber->stack);
}

/* Run one fiber to its end without ever resuming it in between. */
static uintptr_t run_to_end(void (*body)(struct fiber *self, void *arg), void *arg)
{
    struct tc_ctx home;
    struct fiber fiber;

    tc_ctx_init_thread(&home);
    fiber_init(&fiber, &home, body);
    TC_CHECK(tc_ctx_switch(&home, &fiber.ctx, arg) == NULL);
    fiber_fini(&fiber);
    tc_ctx_fini_thread(&home);
    return fiber.result;
}

/* ---- entry ----------------------------------------------------------------------------------- */

static void body_stores_argument(struct fiber *self, void *arg)
{
    self->result = (uintptr_t)arg;
}

TC_TEST(test_ctx_first_switch_passes_user_and_argument)
{
    TC_CHECK_EQ(run_to_end(body_stores_argument, (void *)0x1234), (uintptr_t)0x1234);
}

static void entry_stores_alignment(void *user, void *arg)
{
    struct fiber *self = user;

    (void)arg;
    /* The frame address is where the ABI wants a multiple of 16, on both processors. */
    self->result = (uintptr_t)__builtin_frame_address(0) % 16;
    tc_ctx_exit(&self->ctx, self->home, NULL);
}

TC_TEST(test_ctx_entry_has_aligned_stack_pointer_for_any_stack_end)
{
    for (size_t cut = 0; cut < 64; cut += 8) {
        struct tc_ctx home;
        struct fiber fiber = {.home = &home, .result = 99};

        tc_ctx_init_thread(&home);
        fiber.stack = malloc(STACK_BYTES);
        TC_CHECK(fiber.stack != NULL);
        tc_ctx_init(&fiber.ctx, fiber.stack, STACK_BYTES - cut, entry_stores_alignment, &fiber);
        (void)tc_ctx_switch(&home, &fiber.ctx, NULL);
        TC_CHECK_EQ(fiber.result, (uintptr_t)0);
        fiber_fini(&fiber);
    }
}

static _Unwind_Reason_Code count_frame(struct _Unwind_Context *context, void *arg)
{
    (void)context;
    *(uintptr_t *)arg += 1;
    return *(uintptr_t *)arg < 100 ? _URC_NO_REASON : _URC_NORMAL_STOP;
}

static void body_counts_frames(struct fiber *self, void *arg)
{
    (void)arg;
    (void)_Unwind_Backtrace(count_frame, &self->result); /* the count says how it went */
}

TC_TEST(test_ctx_unwind_ends_below_entry)
{
    uintptr_t frames = run_to_end(body_counts_frames, NULL);

    /* This body, fiber_entry, the start label, perhaps a wrapper; not the frames of the thread. */
    TC_CHECK(frames >= 2);
    TC_CHECK(frames <= 6);
}

TC_TEST(test_ctx_stack_is_reusable_after_exit)
{
    for (uintptr_t i = 0; i < 1000; i++) {
        TC_CHECK_EQ(run_to_end(body_stores_argument, (void *)i), i);
    }
}

/* ---- what a switch carries and keeps --------------------------------------------------------- */

static void body_increments(struct fiber *self, void *arg)
{
    uintptr_t value = (uintptr_t)arg;

    while (value != 0) {
        self->result++;
        value = (uintptr_t)tc_ctx_switch(&self->ctx, self->home, (void *)(value + 1));
    }
}

TC_TEST(test_ctx_values_pass_both_ways_over_a_million_switches)
{
    struct tc_ctx home;
    struct fiber fiber;
    uintptr_t value = 1;

    tc_ctx_init_thread(&home);
    fiber_init(&fiber, &home, body_increments);
    while (value < 1000000) {
        value = (uintptr_t)tc_ctx_switch(&home, &fiber.ctx, (void *)value);
        value++;
    }
    TC_CHECK_EQ(fiber.result, (uintptr_t)500000);
    TC_CHECK(tc_ctx_switch(&home, &fiber.ctx, NULL) == NULL);
    fiber_fini(&fiber);
}

/* registers_roundtrip(in, out, fn, arg): load every register that the ABI preserves from `in`, call
 * fn(arg), store what they hold then to `out`. */
#if defined(__x86_64__)
enum { SAVED_REGISTERS = 6 };
__asm__(".text\n"
        ".type registers_roundtrip, @function\n"
        "registers_roundtrip:\n"
        "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n    pushq %r13\n"
        "    pushq %r14\n    pushq %r15\n    pushq %rsi\n"
        "    movq 0(%rdi), %rbp\n    movq 8(%rdi), %rbx\n    movq 16(%rdi), %r12\n"
        "    movq 24(%rdi), %r13\n    movq 32(%rdi), %r14\n    movq 40(%rdi), %r15\n"
        "    movq %rcx, %rdi\n    call *%rdx\n    popq %rsi\n"
        "    movq %rbp, 0(%rsi)\n    movq %rbx, 8(%rsi)\n    movq %r12, 16(%rsi)\n"
        "    movq %r13, 24(%rsi)\n    movq %r14, 32(%rsi)\n    movq %r15, 40(%rsi)\n"
        "    popq %r15\n    popq %r14\n    popq %r13\n    popq %r12\n    popq %rbx\n    popq %rbp\n"
        "    ret\n"
        ".size registers_roundtrip, . - registers_roundtrip\n");
#else
enum { SAVED_REGISTERS = 19 };
__asm__(".text\n"
        ".type registers_roundtrip, %function\n"
        "registers_roundtrip:\n"
        "    stp x29, x30, [sp, #-176]!\n    stp x19, x20, [sp, #16]\n"
        "    stp x21, x22, [sp, #32]\n    stp x23, x24, [sp, #48]\n    stp x25, x26, [sp, #64]\n"
        "    stp x27, x28, [sp, #80]\n    stp d8, d9, [sp, #96]\n    stp d10, d11, [sp, #112]\n"
        "    stp d12, d13, [sp, #128]\n    stp d14, d15, [sp, #144]\n    str x1, [sp, #160]\n"
        "    ldp x19, x20, [x0, #0]\n    ldp x21, x22, [x0, #16]\n    ldp x23, x24, [x0, #32]\n"
        "    ldp x25, x26, [x0, #48]\n    ldp x27, x28, [x0, #64]\n    ldp d8, d9, [x0, #80]\n"
        "    ldp d10, d11, [x0, #96]\n    ldp d12, d13, [x0, #112]\n"
        "    ldp d14, d15, [x0, #128]\n    ldr x29, [x0, #144]\n"
        "    mov x0, x3\n    blr x2\n    ldr x1, [sp, #160]\n"
        "    stp x19, x20, [x1, #0]\n    stp x21, x22, [x1, #16]\n    stp x23, x24, [x1, #32]\n"
        "    stp x25, x26, [x1, #48]\n    stp x27, x28, [x1, #64]\n    stp d8, d9, [x1, #80]\n"
        "    stp d10, d11, [x1, #96]\n    stp d12, d13, [x1, #112]\n"
        "    stp d14, d15, [x1, #128]\n    str x29, [x1, #144]\n"
        "    ldp x19, x20, [sp, #16]\n    ldp x21, x22, [sp, #32]\n    ldp x23, x24, [sp, #48]\n"
        "    ldp x25, x26, [sp, #64]\n    ldp x27, x28, [sp, #80]\n    ldp d8, d9, [sp, #96]\n"
        "    ldp d10, d11, [sp, #112]\n    ldp d12, d13, [sp, #128]\n"
        "    ldp d14, d15, [sp, #144]\n    ldp x29, x30, [sp], #176\n    ret\n"
        ".size registers_roundtrip, . - registers_roundtrip\n");
#endif
void registers_roundtrip(const uint64_t *in, uint64_t *out, void (*fn)(void *), void *arg);

/* Which side of a pair a registers_roundtrip belongs to, and where it switches. */
struct side {
    struct tc_ctx *from;
    struct tc_ctx *to;
};

static void switch_once(void *arg)
{
    struct side *side = arg;

    (void)tc_ctx_switch(side->from, side->to, NULL);
}

static void check_registers_survive(struct tc_ctx *from, struct tc_ctx *to, uint64_t seed)
{
    struct side side = {from, to};
    uint64_t in[SAVED_REGISTERS];
    uint64_t out[SAVED_REGISTERS];

    for (size_t i = 0; i < SAVED_REGISTERS; i++) {
        in[i] = (seed + i) * UINT64_C(0x9e3779b97f4a7c15);
    }
    registers_roundtrip(in, out, switch_once, &side);
    for (size_t i = 0; i < SAVED_REGISTERS; i++) {
        TC_CHECK_EQ(out[i], in[i]);
    }
}

static void body_scrambles_registers(struct fiber *self, void *arg)
{
    (void)arg;
    for (uint64_t i = 0; i < 1000; i++) {
        check_registers_survive(&self->ctx, self->home, 1000000 + i * 100);
    }
}

TC_TEST(test_ctx_callee_saved_registers_survive_on_both_sides)
{
    struct tc_ctx home;
    struct fiber fiber;

    tc_ctx_init_thread(&home);
    fiber_init(&fiber, &home, body_scrambles_registers);
    for (uint64_t i = 0; i < 1001; i++) {
        check_registers_survive(&home, &fiber.ctx, i * 100);
    }
    fiber_fini(&fiber);
}

/* Vectors are caller-saved, so the compiler has to spill them: this fails if it ever believes that
 * a switch leaves them alone. */
typedef double vector __attribute__((vector_size(32)));

static double sum_across_switches(struct tc_ctx *from, struct tc_ctx *to, double start)
{
    vector sum = {start, start + 1, start + 2, start + 3};
    const vector step = {1, 2, 3, 4};

    for (int i = 0; i < 1000; i++) {
        sum += step;
        (void)tc_ctx_switch(from, to, NULL);
        sum = sum * 1.0 + step;
    }
    return sum[0] + sum[1] + sum[2] + sum[3];
}

static void body_sums(struct fiber *self, void *arg)
{
    (void)arg;
    self->result = (uintptr_t)sum_across_switches(&self->ctx, self->home, 1000000);
}

TC_TEST(test_ctx_vectors_live_across_a_switch_keep_their_value)
{
    struct tc_ctx home;
    struct fiber fiber;

    tc_ctx_init_thread(&home);
    fiber_init(&fiber, &home, body_sums);
    TC_CHECK_EQ(sum_across_switches(&home, &fiber.ctx, 0), 6.0 + 20000.0);
    (void)tc_ctx_switch(&home, &fiber.ctx, NULL);
    TC_CHECK_EQ(fiber.result, (uintptr_t)(4000006 + 20000));
    fiber_fini(&fiber);
}

/* Switch away at every level on the way down and on the way up. */
static __attribute__((noinline)) uintptr_t descend(struct fiber *self, uintptr_t depth)
{
    volatile uintptr_t here = depth;
    uintptr_t below = 0;

    (void)tc_ctx_switch(&self->ctx, self->home, (void *)depth);
    if (depth > 0) {
        below = descend(self, depth - 1);
    }
    (void)tc_ctx_switch(&self->ctx, self->home, (void *)depth);
    return below + here;
}

static void body_descends(struct fiber *self, void *arg)
{
    self->result = descend(self, (uintptr_t)arg);
}

TC_TEST(test_ctx_deep_frames_survive_switches_at_every_level)
{
    const uintptr_t depth = 200;
    struct tc_ctx home;
    struct fiber fiber;
    uintptr_t switches = 0;
    void *arg = (void *)depth;

    tc_ctx_init_thread(&home);
    fiber_init(&fiber, &home, body_descends);
    while (fiber.result == 0) {
        arg = tc_ctx_switch(&home, &fiber.ctx, arg);
        switches++;
    }
    TC_CHECK_EQ(fiber.result, depth * (depth + 1) / 2);
    TC_CHECK_EQ(switches, 2 * (depth + 1) + 1);
    fiber_fini(&fiber);
}

/* ---- threads --------------------------------------------------------------------------------- */

static void *resume_on_this_thread(void *arg)
{
    struct fiber *fiber = arg;
    struct tc_ctx home;

    tc_ctx_init_thread(&home);
    fiber->home = &home;
    (void)tc_ctx_switch(&home, &fiber->ctx, (void *)1);
    tc_ctx_fini_thread(&home);
    return NULL;
}

TC_TEST(test_ctx_fiber_continues_on_another_thread)
{
    struct fiber fiber;

    fiber_init(&fiber, NULL, body_increments);
    for (uintptr_t i = 1; i <= 50; i++) {
        pthread_t thread;

        TC_CHECK_EQ(pthread_create(&thread, NULL, resume_on_this_thread, &fiber), 0);
        TC_CHECK_EQ(pthread_join(thread, NULL), 0);
        TC_CHECK_EQ(fiber.result, i);
    }
    fiber_fini(&fiber);
}

/* ---- oracle ---------------------------------------------------------------------------------- */

enum { SCRIPT_FIBERS = 7, SCRIPT_STEPS = 20000 };

/* The two operations that the fallback replaces, so that one script runs over either. */
struct operations {
    void (*init)(struct tc_ctx *ctx, void *lo, size_t size, void (*entry)(void *, void *),
                 void *user);
    void *(*swap)(struct tc_ctx *from, struct tc_ctx *to, void *arg);
};

struct script {
    const struct operations *operations;
    uint64_t random;
    uint64_t hash;
    uintptr_t step;
    struct tc_ctx ctx[SCRIPT_FIBERS + 1]; /* the last is the thread's */
    char *stack[SCRIPT_FIBERS];
};

struct actor {
    struct script *script;
    unsigned index;
};

static void plain_init(struct tc_ctx *ctx, void *lo, size_t size, void (*entry)(void *, void *),
                       void *user)
{
    tc_ctx_init(ctx, lo, size, entry, user);
}

static void *plain_swap(struct tc_ctx *from, struct tc_ctx *to, void *arg)
{
    return tc_ctx_switch(from, to, arg);
}

static void oracle_init(struct tc_ctx *ctx, void *lo, size_t size, void (*entry)(void *, void *),
                        void *user)
{
    tc__ctx_san_init(&ctx->san, lo, size, entry, user);
    ctx->sp = tc__ctx_uc_make(lo, size, tc__ctx_san_entry_of(&ctx->san, entry),
                              tc__ctx_san_user_of(&ctx->san, user));
}

static void *oracle_swap(struct tc_ctx *from, struct tc_ctx *to, void *arg)
{
    void *load_sp = to->sp;
    void *result;

    tc__ctx_san_before(&from->san, &to->san);
    result = tc__ctx_uc_swap(&from->sp, load_sp, arg);
    tc__ctx_san_after(&from->san);
    return result;
}

static void record(struct script *script, uint64_t value)
{
    script->hash = (script->hash ^ value) * UINT64_C(0x100000001b3);
}

/* Note who runs and what it was given, then go to a random other context. */
static void act(struct script *script, unsigned index, uintptr_t arg)
{
    uint64_t mine = index;

    while (script->step < SCRIPT_STEPS) {
        unsigned next;

        mine = mine * 31 + arg;
        record(script, mine);
        script->random = script->random * UINT64_C(6364136223846793005) + 1442695040888963407;
        next = (unsigned)(script->random >> 33) % SCRIPT_FIBERS;
        next = next == index ? SCRIPT_FIBERS : next;
        script->step++;
        arg = (uintptr_t)script->operations->swap(&script->ctx[index], &script->ctx[next],
                                                  (void *)(script->step * 8 + index));
    }
}

static void actor_entry(void *user, void *arg)
{
    struct actor *actor = user;

    act(actor->script, actor->index, (uintptr_t)arg);
    (void)actor->script->operations->swap(&actor->script->ctx[actor->index],
                                          &actor->script->ctx[SCRIPT_FIBERS], NULL);
    abort();
}

static uint64_t run_script(const struct operations *operations, uint64_t seed)
{
    struct script script = {.operations = operations, .random = seed};
    struct actor actors[SCRIPT_FIBERS];

    tc_ctx_init_thread(&script.ctx[SCRIPT_FIBERS]);
    for (unsigned i = 0; i < SCRIPT_FIBERS; i++) {
        actors[i] = (struct actor){&script, i};
        script.stack[i] = malloc(STACK_BYTES);
        TC_CHECK(script.stack[i] != NULL);
        operations->init(&script.ctx[i], script.stack[i], STACK_BYTES, actor_entry, &actors[i]);
    }
    act(&script, SCRIPT_FIBERS, 0);
    for (unsigned i = 0; i < SCRIPT_FIBERS; i++) {
        tc_ctx_fini(&script.ctx[i]);
        free(script.stack[i]);
    }
    return script.hash;
}

TC_TEST(test_ctx_random_script_leaves_the_trace_of_ucontext)
{
    static const struct operations plain = {plain_init, plain_swap};
    static const struct operations oracle = {oracle_init, oracle_swap};

    for (uint64_t i = 0; i < 5; i++) {
        uint64_t seed = tc_test_seed() + i;

        TC_CHECK_EQ(run_script(&plain, seed), run_script(&oracle, seed));
    }
}
