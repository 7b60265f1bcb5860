/* tests/model/inbox.c — two senders, one reader that is woken by tokens. Whoever finds the inbox
 * empty leaves a token; the reader drains once for each token. Everything arrives, complete.
 *
 * Shape: message passing through a chain of read-modify-writes ([inbox-head]): one acquire sees
 * the content of every message in the batch, not only of the newest.
 * TC_WEAKEN: pushes are relaxed. Not visible on x86-64, where a CAS is a full barrier; TSan (plain
 * payload) and a model checker see it.
 */
#include "base/atomic.h"

#include "model.h"

#if TC_WEAKEN
#undef tc_cas_release
#define tc_cas_release(ptr, expected, desired) tc_cas_relaxed(ptr, expected, desired)
#endif

#include "base/inbox_core.h"

enum { SENDERS = 2 };

struct tc_link {
    struct tc_link *next;
    int payload; /* plain: written before the push */
    int received;
};

static struct tc_inbox_core inbox;
static struct tc_link links[SENDERS];
static _Atomic int tokens;

static struct tc_link **next_of(struct tc_link *link)
{
    return &link->next;
}

static void receive(void)
{
    for (struct tc_link *link = tc_inbox_core_drain(&inbox, next_of); link != NULL;
         link = link->next) {
        MODEL_CHECK(link->payload == 1);
        link->received++;
    }
}

static void send(struct tc_link *link)
{
    link->payload = 1;
    if (tc_inbox_core_push(&inbox, link, next_of)) {
        tc_fetch_add_relaxed(&tokens, 1); /* relaxed: the order must come from the inbox */
    }
}

static void sender_0(void)
{
    send(&links[0]);
}

static void sender_1(void)
{
    send(&links[1]);
}

/* The first look may come at any time; the second has something to see, in every round, also where
 * the senders share the reader's processor and begin only when it waits. */
static void reader(void)
{
    unsigned spins = 0;

    receive();
    while (tc_load_relaxed(&tokens) == 0) { /* relaxed: the order must come from the inbox */
        model_await(&spins);
    }
    receive();
}

static void setup(void)
{
    tc_inbox_core_init(&inbox);
    tc_atomic_init(&tokens, 0);
    for (int i = 0; i < SENDERS; i++) {
        links[i] = (struct tc_link){NULL, 0, 0};
    }
}

static void check(void)
{
    bool left = !tc_inbox_core_is_empty(&inbox);
    int token_count = tc_load_relaxed(&tokens); /* relaxed: threads are done */

    MODEL_CHECK(token_count >= 1 && token_count <= SENDERS);
    /* What is left was announced: there were more tokens than batches received so far. */
    receive();
    for (int i = 0; i < SENDERS; i++) {
        MODEL_CHECK(links[i].received == 1);
    }
    MODEL_CHECK(!left || token_count >= 1);
}

int main(int argc, char **argv)
{
    static const struct model model = {"inbox", 3, setup, {reader, sender_0, sender_1}, check};

    return model_main(&model, argc, argv);
}
