#include "base/list.h"

#include "harness.h"

struct item {
    int value;
    struct tc_list node;
    struct tc_link link;
};

static struct item make(int value)
{
    struct item item = {.value = value};

    return item;
}

static int value_of(const struct tc_list *node)
{
    return tc_container_of(node, struct item, node)->value;
}

/* Check that the list holds exactly values[0..n), seen from both ends (L1). */
static void check_order(struct tc_list *list, const int *values, size_t n)
{
    struct tc_list *it;
    size_t i = 0;

    TC_LIST_FOR_EACH (it, list) {
        TC_CHECK(i < n);
        TC_CHECK_EQ(value_of(it), values[i]);
        i++;
    }
    TC_CHECK_EQ(i, n);
    for (it = list->prev; it != list; it = it->prev) {
        i--;
        TC_CHECK_EQ(value_of(it), values[i]);
    }
    TC_CHECK_EQ(i, 0u);
}

TC_TEST(test_list_push_at_both_ends_keeps_order)
{
    struct tc_list list;
    struct item a = make(1), b = make(2), c = make(3);

    tc_list_init(&list);
    TC_CHECK(tc_list_is_empty(&list));
    tc_list_push_back(&list, &b.node);
    tc_list_push_back(&list, &c.node);
    tc_list_push_front(&list, &a.node);
    check_order(&list, (int[]){1, 2, 3}, 3);
}

/* L2 */
TC_TEST(test_list_remove_twice_is_harmless)
{
    struct tc_list list;
    struct item a = make(1), b = make(2), c = make(3);

    tc_list_init(&list);
    tc_list_push_back(&list, &a.node);
    tc_list_push_back(&list, &b.node);
    tc_list_push_back(&list, &c.node);
    tc_list_remove(&b.node);
    TC_CHECK(tc_list_is_empty(&b.node));
    tc_list_remove(&b.node);
    check_order(&list, (int[]){1, 3}, 2);
}

TC_TEST(test_list_pop_front_drains_in_order_then_null)
{
    struct tc_list list;
    struct item a = make(1), b = make(2);

    tc_list_init(&list);
    tc_list_push_back(&list, &a.node);
    tc_list_push_back(&list, &b.node);
    TC_CHECK(tc_list_pop_front(&list) == &a.node);
    TC_CHECK(tc_list_is_empty(&a.node));
    TC_CHECK(tc_list_pop_front(&list) == &b.node);
    TC_CHECK(tc_list_pop_front(&list) == NULL);
    TC_CHECK(tc_list_is_empty(&list));
}

TC_TEST(test_list_splice_appends_and_empties_the_source)
{
    struct tc_list left, right;
    struct item a = make(1), b = make(2), c = make(3);

    tc_list_init(&left);
    tc_list_init(&right);
    tc_list_splice_back(&left, &right);
    TC_CHECK(tc_list_is_empty(&left));
    tc_list_push_back(&right, &a.node);
    tc_list_push_back(&right, &b.node);
    tc_list_splice_back(&left, &right);
    TC_CHECK(tc_list_is_empty(&right));
    tc_list_push_back(&right, &c.node);
    tc_list_splice_back(&left, &right);
    check_order(&left, (int[]){1, 2, 3}, 3);
}

TC_TEST(test_list_for_each_safe_survives_removal_of_the_visited)
{
    struct tc_list list, *it, *tmp;
    struct item items[6];

    tc_list_init(&list);
    for (int i = 0; i < 6; i++) {
        items[i] = make(i);
        tc_list_push_back(&list, &items[i].node);
    }
    TC_LIST_FOR_EACH_SAFE (it, tmp, &list) {
        if (value_of(it) % 2 == 0) {
            tc_list_remove(it);
        }
    }
    check_order(&list, (int[]){1, 3, 5}, 3);
}

/* L3 */
TC_TEST(test_list_fifo_pops_in_push_order_and_counts)
{
    struct tc_fifo fifo;
    struct item items[3];

    tc_fifo_init(&fifo);
    TC_CHECK(tc_fifo_pop(&fifo) == NULL);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < 3; i++) {
            tc_fifo_push(&fifo, &items[i].link);
            TC_CHECK_EQ(fifo.count, i + 1);
        }
        for (size_t i = 0; i < 3; i++) {
            TC_CHECK(tc_fifo_pop(&fifo) == &items[i].link);
            TC_CHECK(items[i].link.next == NULL);
        }
        TC_CHECK(tc_fifo_is_empty(&fifo));
        TC_CHECK(fifo.tail == NULL);
        TC_CHECK_EQ(fifo.count, 0u);
    }
}

TC_TEST(test_list_fifo_append_joins_and_empties_the_source)
{
    struct tc_fifo left, right;
    struct item items[4];

    tc_fifo_init(&left);
    tc_fifo_init(&right);
    tc_fifo_append(&left, &right);
    TC_CHECK(tc_fifo_is_empty(&left));
    tc_fifo_push(&right, &items[0].link);
    tc_fifo_push(&right, &items[1].link);
    tc_fifo_append(&left, &right);
    tc_fifo_push(&right, &items[2].link);
    tc_fifo_append(&left, &right);
    TC_CHECK(tc_fifo_is_empty(&right));
    tc_fifo_push(&left, &items[3].link);
    TC_CHECK_EQ(left.count, 4u);
    for (size_t i = 0; i < 4; i++) {
        TC_CHECK(tc_fifo_pop(&left) == &items[i].link);
    }
}
