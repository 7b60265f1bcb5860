#include "parked.h"

#include "support.h"

static struct slot {
    struct tc_fiber *fiber;
    struct tc_waiter *waiter;
    uint64_t seq;
} slots[PARKED_MAX];

static _Atomic unsigned parked;
static _Atomic unsigned resumed;
static _Atomic bool shall_overflow;

static bool publish(struct tc_waiter *waiter, uint64_t seq, void *arg)
{
    struct slot *slot = arg;

    slot->waiter = waiter;
    slot->seq = seq;
    tc_fetch_add_seq_cst(&parked, 1u);
    return true;
}

/* Without end, which the compiler cannot know: nobody writes 1. Not a tail call either. */
static TC_NOINLINE unsigned recurse(volatile unsigned char *above)
{
    volatile unsigned char frame[256];

    if (above[0] == 1) {
        return 0;
    }
    frame[0] = above[0];
    frame[255] = (unsigned char)(recurse(frame) + 1);
    return frame[0] + frame[255];
}

static void stay(void *arg)
{
    struct tc_park park = {
        .reason = TC_WAIT_TEST, .deadline_ns = TC_NEVER, .commit = publish, .arg = arg};
    volatile unsigned char byte = 0;

    CHECK(tc_fiber_park(&park) == 0);
    if (tc_load_seq_cst(&shall_overflow)) {
        (void)recurse(&byte);
    }
    tc_fetch_add_seq_cst(&resumed, 1u);
}

void parked_touch(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        slots[i].seq = 1;
    }
}

uint64_t parked_start(struct tc_runtime *runtime, unsigned count, enum tc_stack_class last)
{
    int64_t limit = tc_deadline_after_ns(SECONDS(120));

    CHECK(count >= 1 && count <= PARKED_MAX);
    tc_store_seq_cst(&parked, 0u);
    tc_store_seq_cst(&resumed, 0u);
    for (unsigned i = 0; i < count; i++) {
        struct tc_spawn_options options = {
            .name = i + 1 == count ? "deep" : "stays",
            .stack_class = i + 1 == count ? last : TC_STACK_DEFAULT,
        };
        CHECK(tc_fiber_spawn(runtime, stay, &slots[i], &options, &slots[i].fiber) == 0);
    }
    while (tc_load_seq_cst(&parked) < count) {
        CHECK(tc_clock_now_ns() < limit);
        pause_ms(1);
    }
    return tc_load_relaxed(&slots[count - 1].fiber->id); /* relaxed: it does not change */
}

unsigned parked_end(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        CHECK(tc_waiter_claim(slots[i].waiter, slots[i].seq));
        tc_ready(slots[i].waiter, 0);
    }
    for (unsigned i = 0; i < count; i++) {
        CHECK(tc_fiber_join(slots[i].fiber, tc_deadline_after_ns(SECONDS(60))) == 0);
    }
    return tc_load_seq_cst(&resumed);
}

_Noreturn void parked_overflow_last(unsigned count)
{
    tc_store_seq_cst(&shall_overflow, true);
    CHECK(tc_waiter_claim(slots[count - 1].waiter, slots[count - 1].seq));
    tc_ready(slots[count - 1].waiter, 0);
    for (;;) {
        pause_ms(1000);
    }
}
