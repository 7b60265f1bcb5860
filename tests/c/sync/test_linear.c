/* The checker of histories is itself a program that can be wrong: what it must accept and
 * refuse. */
#include "linear.h"

#include <stdlib.h>
#include <string.h>

#include "base/rand.h"
#include "harness.h"

static enum linear_verdict verdict_on(const char *text)
{
    static struct linear_history history;
    FILE *file = fmemopen((void *)text, strlen(text), "r");
    unsigned stuck;
    int line = 0;

    TC_CHECK(file != NULL);
    TC_CHECK_EQ(linear_read(&history, file, &line), 1);
    TC_CHECK_EQ(linear_read(&(struct linear_history){0}, file, &line), 0);
    fclose(file);
    return linear_check(&history, &stuck);
}

#define ACCEPTED(text) TC_CHECK_EQ(verdict_on(text), LINEAR_YES)
#define REFUSED(text) TC_CHECK_EQ(verdict_on(text), LINEAR_NO)

TC_TEST(test_linear_queue_one_after_the_other)
{
    ACCEPTED("channel 0 2\n1 2 send 0 7 ok\n3 4 send 0 8 ok\n5 6 send 0 9 full\n"
             "7 8 recv 0 7 ok\n9 10 recv 0 8 ok\n11 12 recv 0 - empty\n");
    ACCEPTED("channel 0 0\n");
    REFUSED("channel 0 2\n1 2 send 0 7 ok\n3 4 send 0 8 full\n");
    REFUSED("channel 0 2\n1 2 send 0 7 ok\n3 4 send 0 8 ok\n5 6 send 0 9 ok\n");
}

TC_TEST(test_linear_lost_item_is_refused)
{
    REFUSED("channel 0 2\n1 2 send 0 7 ok\n3 4 recv 0 - empty\n");
    REFUSED("channel 0 2\n1 2 send 0 7 ok\n3 4 send 0 8 ok\n5 6 recv 0 8 ok\n");
    REFUSED("channel 0 2\n1 2 send 0 7 ok\n3 4 close 0 - ok\n5 6 recv 0 - closed\n");
}

TC_TEST(test_linear_duplicated_or_invented_item_is_refused)
{
    REFUSED("channel 0 2\n1 2 send 0 7 ok\n3 4 recv 0 7 ok\n5 6 recv 0 7 ok\n");
    REFUSED("channel 0 2\n1 9 send 0 7 ok\n2 4 recv 0 7 ok\n3 6 recv 0 7 ok\n");
    REFUSED("channel 0 2\n1 2 send 0 7 ok\n3 4 recv 0 8 ok\n");
    REFUSED("channel 0 1\n1 2 recv 0 7 ok\n3 4 send 0 7 ok\n"); /* before it was sent */
}

TC_TEST(test_linear_reordered_items_are_refused)
{
    REFUSED("channel 0 2\n1 2 send 0 7 ok\n3 4 send 0 8 ok\n5 6 recv 0 8 ok\n7 8 recv 0 7 ok\n");
    /* concurrent sends may go either way, but then the receives follow */
    ACCEPTED("channel 0 2\n1 4 send 0 7 ok\n2 3 send 0 8 ok\n5 6 recv 0 8 ok\n7 8 recv 0 7 ok\n");
    REFUSED("channel 0 3\n1 4 send 0 7 ok\n2 3 send 0 8 ok\n5 6 send 0 9 ok\n"
            "7 8 recv 0 8 ok\n9 10 recv 0 9 ok\n11 12 recv 0 7 ok\n");
}

TC_TEST(test_linear_waiting_sender_needs_room)
{
    ACCEPTED("channel 0 1\n1 2 send 0 7 ok\n3 6 send 0 8 ok\n4 5 recv 0 7 ok\n7 8 recv 0 8 ok\n");
    REFUSED("channel 0 1\n1 2 send 0 7 ok\n3 4 send 0 8 ok\n5 6 recv 0 7 ok\n7 8 recv 0 8 ok\n");
}

TC_TEST(test_linear_capacity_zero_needs_both_at_once)
{
    ACCEPTED("channel 0 0\n1 4 send 0 7 ok\n2 3 recv 0 7 ok\n");
    ACCEPTED("channel 0 0\n1 3 recv 0 7 ok\n2 4 send 0 7 ok\n");
    REFUSED("channel 0 0\n1 2 send 0 7 ok\n3 4 recv 0 7 ok\n");
    REFUSED("channel 0 0\n1 2 send 0 7 ok\n");
    ACCEPTED("channel 0 0\n1 2 send 0 7 full\n3 4 recv 0 - empty\n");
    /* while 7 waits for its receiver, 8 cannot overtake it and return */
    REFUSED("channel 0 0\n1 9 send 0 7 ok\n2 3 send 0 8 ok\n4 8 recv 0 7 ok\n5 6 recv 0 8 ok\n");
}

TC_TEST(test_linear_close_drains_and_then_says_so)
{
    ACCEPTED("channel 0 1\n1 2 send 0 7 ok\n3 4 close 0 - ok\n5 6 close 0 - closed\n"
             "7 8 send 0 8 closed\n9 10 recv 0 7 ok\n11 12 recv 0 - closed\n");
    REFUSED("channel 0 1\n1 2 close 0 - ok\n3 4 send 0 8 ok\n5 6 recv 0 8 ok\n");
    REFUSED("channel 0 1\n1 2 close 0 - ok\n3 4 close 0 - ok\n");
    REFUSED("channel 0 1\n1 2 send 0 8 closed\n3 4 close 0 - ok\n");
    REFUSED("channel 0 1\n1 2 close 0 - ok\n3 4 recv 0 - empty\n");
}

TC_TEST(test_linear_default_of_a_select_looks_at_all_at_one_moment)
{
    ACCEPTED("channel 0 1\nchannel 1 1\n1 2 none recv:0 recv:1\n3 4 send 0 7 ok\n");
    REFUSED("channel 0 1\nchannel 1 1\n1 2 send 1 7 ok\n3 4 none recv:0 recv:1\n");
    ACCEPTED("channel 0 1\nchannel 1 1\n1 2 send 1 7 ok\n3 4 none recv:0 send:1\n");
    /* each was empty for a moment, but never both: the item moved from 0 to 1 between the two */
    REFUSED("channel 0 1\nchannel 1 1\n1 2 send 0 7 ok\n3 20 none recv:0 recv:1\n"
            "4 5 send 1 8 ok\n6 7 recv 0 7 ok\n21 22 recv 1 8 ok\n");
}

TC_TEST(test_linear_text_that_is_wrong_names_its_line)
{
    static const struct {
        const char *text;
        int line;
    } cases[] = {
        {"channel 1 1\n", 1},
        {"channel 0 17\n", 1},
        {"channel 0 1\n\n", 0},
        {"channel 0 1\n2 1 send 0 7 ok\n", 2},
        {"channel 0 1\n1 2 send 1 7 ok\n", 2},
        {"channel 0 1\n1 2 send 0 - ok\n", 2},
        {"channel 0 1\n1 2 recv 0 7 empty\n", 2},
        {"channel 0 1\n# a comment\n1 2 take 0 7 ok\n", 3},
        {"channel 0 1\n1 2 send 0 7 done\n", 2},
        {"channel 0 1\n1 2 none take:0\n", 2},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        FILE *file = fmemopen((void *)cases[i].text, strlen(cases[i].text), "r");
        struct linear_history history;
        int line = 0;
        int found = linear_read(&history, file, &line);
        TC_CHECK_EQ(found, cases[i].line == 0 ? 1 : -1);
        TC_CHECK(cases[i].line == 0 || line == cases[i].line);
        fclose(file);
    }
}

/* ---- against a simulation ------------------------------------------------------------------- */

enum { OPS = 120 };

/* A run of one channel, with calls and returns pulled apart around each moment. */
static void simulate(struct linear_history *history, struct tc_rand *rand)
{
    unsigned capacity = 1 + tc_rand_below(rand, 3);
    unsigned items[4];
    unsigned inside = 0;
    unsigned next = 1;

    history->channels = 1;
    history->capacity[0] = capacity;
    history->count = OPS;
    for (int i = 0; i < OPS; i++) {
        struct linear_op *op = &history->ops[i];
        int64_t moment = (i + 1) * 1000;
        *op = (struct linear_op){
            .called = moment - (int64_t)tc_rand_below(rand, 4000),
            .returned = moment + (int64_t)tc_rand_below(rand, 4000),
        };
        if (tc_rand_below(rand, 2) == 0) {
            op->kind = LINEAR_SEND;
            op->item = next++;
            op->result = inside == capacity ? LINEAR_NOTHING : LINEAR_OK;
            if (op->result == LINEAR_OK) {
                items[inside++] = op->item;
            }
        } else {
            op->kind = LINEAR_RECV;
            op->result = inside == 0 ? LINEAR_NOTHING : LINEAR_OK;
            if (inside != 0) {
                op->item = items[0];
                memmove(items, items + 1, --inside * sizeof items[0]);
            }
        }
    }
}

static void write_and_read(struct linear_history *history)
{
    char text[OPS * 40];
    FILE *file = fmemopen(text, sizeof text, "w+");
    int line = 0;

    TC_CHECK(file != NULL);
    linear_print(history, file, 5);
    rewind(file);
    TC_CHECK_EQ(linear_read(history, file, &line), 1);
    fclose(file);
}

TC_TEST(test_linear_simulated_histories_are_accepted_and_broken_ones_mostly_refused)
{
    static struct linear_history history;
    struct tc_rand rand;
    unsigned stuck;
    int refused = 0;

    tc_rand_init(&rand, tc_test_seed());
    for (int round = 0; round < 300; round++) {
        simulate(&history, &rand);
        if (round % 10 == 0) {
            write_and_read(&history);
        }
        TC_CHECK_EQ(linear_check(&history, &stuck), LINEAR_YES);
        /* Two receives, far apart, change their items: nothing else of the history knows. */
        struct linear_op *received[2] = {NULL, NULL};
        for (int i = 0; i < OPS; i++) {
            struct linear_op *op = &history.ops[i];
            if (op->kind == LINEAR_RECV && op->result == LINEAR_OK) {
                received[received[0] != NULL] = op;
            }
        }
        unsigned item = received[0]->item;
        received[0]->item = received[1]->item;
        received[1]->item = item;
        refused += linear_check(&history, &stuck) == LINEAR_NO;
    }
    TC_CHECK_EQ(refused, 300);
}
