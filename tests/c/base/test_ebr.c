#include "base/ebr.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/mem.h"
#include "harness.h"

/* Over-aligned objects are static in these tests: gcc 12 misaligns locals beyond 64 bytes when ASan
 * watches stack use after return (each test is a process of its own, so nothing is shared). */

struct object {
    struct tc_ebr_node node;
    int freed;
};

static void mark_freed(struct tc_ebr_node *node)
{
    tc_container_of(node, struct object, node)->freed++;
}

TC_TEST(test_ebr_object_stays_while_another_slot_is_not_quiescent)
{
    static struct tc_ebr domain;
    struct tc_ebr_slot *reader, *writer;
    struct object object = {.freed = 0};

    TC_CHECK_EQ(tc_ebr_init(&domain, 2), 0);
    reader = tc_ebr_slot_at(&domain, 0);
    writer = tc_ebr_slot_at(&domain, 1);
    tc_ebr_online(reader);
    tc_ebr_online(writer);
    tc_ebr_retire(writer, &object.node, mark_freed);
    for (int i = 0; i < 100; i++) {
        tc_ebr_quiescent(writer);
    }
    TC_CHECK_EQ(object.freed, 0);
    TC_CHECK_EQ(tc_ebr_backlog(&domain), 1u);
    for (int i = 0; i < 3; i++) {
        tc_ebr_quiescent(reader);
        tc_ebr_quiescent(writer);
    }
    TC_CHECK_EQ(object.freed, 1);
    TC_CHECK_EQ(tc_ebr_backlog(&domain), 0u);
    tc_ebr_offline(reader);
    tc_ebr_offline(writer);
    tc_ebr_fini(&domain);
    TC_CHECK_EQ(object.freed, 1);
    TC_CHECK_EQ(tc_mem_bytes_in_use(), 0u);
}

TC_TEST(test_ebr_offline_slot_holds_nothing_back)
{
    static struct tc_ebr domain;
    struct tc_ebr_slot *writer;
    struct object object = {.freed = 0};

    TC_CHECK_EQ(tc_ebr_init(&domain, 2), 0);
    tc_ebr_online(tc_ebr_slot_at(&domain, 0));
    tc_ebr_offline(tc_ebr_slot_at(&domain, 0));
    writer = tc_ebr_slot_at(&domain, 1);
    tc_ebr_online(writer);
    tc_ebr_retire(writer, &object.node, mark_freed);
    tc_ebr_quiescent(writer);
    tc_ebr_quiescent(writer);
    tc_ebr_quiescent(writer);
    TC_CHECK_EQ(object.freed, 1);
    tc_ebr_offline(writer);
    tc_ebr_fini(&domain);
}

TC_TEST(test_ebr_orphan_is_freed_at_once_when_all_sleep)
{
    static struct tc_ebr domain;
    struct object object = {.freed = 0};

    TC_CHECK_EQ(tc_ebr_init(&domain, 3), 0);
    tc_ebr_retire_orphan(&domain, &object.node, mark_freed);
    TC_CHECK_EQ(object.freed, 1);
    tc_ebr_fini(&domain);
}

TC_TEST(test_ebr_orphan_is_adopted_by_workers)
{
    static struct tc_ebr domain;
    struct tc_ebr_slot *slots[2];
    struct object object = {.freed = 0};

    TC_CHECK_EQ(tc_ebr_init(&domain, 2), 0);
    for (uint32_t i = 0; i < 2; i++) {
        slots[i] = tc_ebr_slot_at(&domain, i);
        tc_ebr_online(slots[i]);
    }
    tc_ebr_retire_orphan(&domain, &object.node, mark_freed);
    TC_CHECK_EQ(object.freed, 0);
    for (int turn = 0; turn < 4; turn++) {
        tc_ebr_quiescent(slots[0]);
        tc_ebr_quiescent(slots[1]);
    }
    TC_CHECK_EQ(object.freed, 1);
    tc_ebr_offline(slots[0]);
    tc_ebr_offline(slots[1]);
    tc_ebr_fini(&domain);
}

TC_TEST(test_ebr_worker_that_sleeps_lets_another_adopt_the_orphan)
{
    static struct tc_ebr domain;
    struct tc_ebr_slot *slots[2];
    struct object object = {.freed = 0};

    TC_CHECK_EQ(tc_ebr_init(&domain, 2), 0);
    for (uint32_t i = 0; i < 2; i++) {
        slots[i] = tc_ebr_slot_at(&domain, i);
        tc_ebr_online(slots[i]);
    }
    tc_ebr_retire_orphan(&domain, &object.node, mark_freed);
    tc_ebr_offline(slots[0]);
    for (int turn = 0; turn < 3; turn++) {
        tc_ebr_quiescent(slots[1]);
    }
    TC_CHECK_EQ(object.freed, 1);
    tc_ebr_offline(slots[1]);
    tc_ebr_fini(&domain);
}

TC_TEST(test_ebr_quiescent_without_news_does_not_move_the_epoch)
{
    static struct tc_ebr domain;
    struct tc_ebr_slot *slot;
    uint64_t epoch;

    TC_CHECK_EQ(tc_ebr_init(&domain, 1), 0);
    slot = tc_ebr_slot_at(&domain, 0);
    tc_ebr_online(slot);
    epoch = tc_load_relaxed(&domain.core.epoch); /* relaxed: alone */
    for (int i = 0; i < 10; i++) {
        TC_CHECK(!tc_ebr_core_is_unsettled(slot));
        tc_ebr_quiescent(slot);
    }
    TC_CHECK_EQ(tc_load_relaxed(&domain.core.epoch), epoch); /* relaxed: alone */
    tc_ebr_offline(slot);
    tc_ebr_fini(&domain);
}

TC_TEST(test_ebr_fini_frees_what_is_not_due)
{
    static struct tc_ebr domain;
    struct tc_ebr_slot *reader, *writer;
    struct object objects[2] = {{.freed = 0}, {.freed = 0}};

    TC_CHECK_EQ(tc_ebr_init(&domain, 2), 0);
    reader = tc_ebr_slot_at(&domain, 0);
    writer = tc_ebr_slot_at(&domain, 1);
    tc_ebr_online(reader);
    tc_ebr_online(writer);
    tc_ebr_retire(writer, &objects[0].node, mark_freed);
    tc_ebr_retire_orphan(&domain, &objects[1].node, mark_freed);
    tc_ebr_core_offline(reader);
    tc_ebr_core_offline(writer);
    TC_CHECK_EQ(objects[0].freed + objects[1].freed, 0);
    tc_ebr_fini(&domain);
    TC_CHECK_EQ(objects[0].freed, 1);
    TC_CHECK_EQ(objects[1].freed, 1);
}

/* EB5 */
static struct tc_ebr_slot *chain_slot;
static struct object chained;

static void free_and_retire_another(struct tc_ebr_node *node)
{
    mark_freed(node);
    tc_ebr_retire(chain_slot, &chained.node, mark_freed);
}

TC_TEST(test_ebr_free_function_may_retire_again)
{
    static struct tc_ebr domain;
    struct object object = {.freed = 0};

    TC_CHECK_EQ(tc_ebr_init(&domain, 1), 0);
    chain_slot = tc_ebr_slot_at(&domain, 0);
    tc_ebr_online(chain_slot);
    tc_ebr_retire(chain_slot, &object.node, free_and_retire_another);
    for (int turn = 0; turn < 6; turn++) {
        tc_ebr_quiescent(chain_slot);
    }
    TC_CHECK_EQ(object.freed, 1);
    TC_CHECK_EQ(chained.freed, 1);
    tc_ebr_offline(chain_slot);
    tc_ebr_fini(&domain);
}
