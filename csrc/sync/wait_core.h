/* sync/wait_core.h — queues of waiters, and how one is taken out of a queue.
 *
 * Every object of this layer has a short lock and one or two queues. A wait is in a queue as a
 * node; a select has one node per case, in several queues. Nodes belong to who waits and may lie on
 * its stack; the waiter's word is elsewhere, in type-stable memory (sched/waiter_core.h).
 *
 *   owner                                   whoever has something to give
 *     under the lock: nothing to be had       under the lock: first node of the queue
 *     node ► queue, wait published             unlink it; claim its wait
 *     lock released                            claimed: fill the node in, done = true
 *     ... parked ...                           lock released
 *     resumed; unless its node is done:        claimed: ready
 *     under the lock: unlink the node
 *
 * WHY IT IS RIGHT
 *   1. A node is read and written by others only under the lock, while it is linked or in the
 *      critical section that unlinked it; and after that by who claimed its wait, until ready. The
 *      owner leaves only after it was resumed, and after it has unlinked the node under that lock
 *      if it is not done. So a node may lie on the owner's stack.
 *   2. The claim decides between a hand-off, a deadline and a cancel. What a claimer hands over
 *      it writes after the claim: nothing is given to a waiter that has left, and nothing is lost.
 *   3. A node whose wait is over already (a select that another channel has won, a deadline) is
 *      unlinked and passed over. Its owner finds it unlinked, which is what it wants.
 *
 * INVARIANTS
 *   N1  node->queue is the queue that holds the node, NULL if none does.
 *   N2  `done` is set by the claimer, in the critical section in which it unlinks the node; at most
 *       one node of a wait is done.
 *   N3  A queue is in order of arrival, but for nodes pushed to the front.
 *
 * WHO MAY CALL: every function under the lock of the object that owns the queue.
 */
#ifndef TC_SYNC_WAIT_CORE_H
#define TC_SYNC_WAIT_CORE_H

#include "base/assert.h"
#include "base/atomic.h"
#include "base/defs.h"
#include "sched/waiter_core.h"
#include "sync/value.h"

struct tc_waitq;

/* One wait in one queue. The fields of the second group are the owner's while the node is in no
 * queue, the claimer's between claim and ready. */
struct tc_wait_node {
    struct tc_wait_node *next;   /* towards the back; also links claimed nodes, see take_all   */
    struct tc_wait_node *prev;   /* towards the front                                          */
    struct tc_waitq *queue;      /* N1                                                         */
    struct tc_waiter_word *word; /* borrowed: the waiter's; set when the wait is published     */
    uint64_t seq;                /* of the wait                                                */

    struct tc_value value; /* to send, or received                                             */
    int64_t since_ns;      /* when the owner began to wait; the mutex's                        */
    int32_t result;        /* what the owner's call returns, as the object defines it          */
    bool done;             /* N2                                                               */
};

struct tc_waitq {
    struct tc_wait_node *head; /* who is next; NULL: nobody                                    */
    struct tc_wait_node *tail;
};

static inline void tc_waitq_init(struct tc_waitq *queue)
{
    queue->head = NULL;
    queue->tail = NULL;
}

static inline bool tc_waitq_is_empty(const struct tc_waitq *queue)
{
    return queue->head == NULL;
}

/* Make wait `seq` findable at the back of the queue. */
static inline void tc_waitq_push(struct tc_waitq *queue, struct tc_wait_node *node,
                                 struct tc_waiter_word *word, uint64_t seq)
{
    node->word = word;
    node->seq = seq;
    node->done = false;
    node->queue = queue;
    node->next = NULL;
    node->prev = queue->tail;
    if (queue->tail == NULL) {
        queue->head = node;
    } else {
        queue->tail->next = node;
    }
    queue->tail = node;
}

/* The same at the front: for one that has had its turn and lost it. */
static inline void tc_waitq_push_front(struct tc_waitq *queue, struct tc_wait_node *node,
                                       struct tc_waiter_word *word, uint64_t seq)
{
    node->word = word;
    node->seq = seq;
    node->done = false;
    node->queue = queue;
    node->prev = NULL;
    node->next = queue->head;
    if (queue->head == NULL) {
        queue->tail = node;
    } else {
        queue->head->prev = node;
    }
    queue->head = node;
}

/* Unlink the node, from wherever it is; no effect if it is in no queue. */
static inline void tc_waitq_remove(struct tc_wait_node *node)
{
    struct tc_waitq *queue = node->queue;

    if (queue == NULL) {
        return;
    }
    if (node->prev == NULL) {
        queue->head = node->next;
    } else {
        node->prev->next = node->next;
    }
    if (node->next == NULL) {
        queue->tail = node->prev;
    } else {
        node->next->prev = node->prev;
    }
    node->queue = NULL;
}

/* Unlink waits from the front up to the first that can be claimed.
 * Returns its node, claimed and done, for the caller to fill in and, after the lock, to ready; NULL
 * if the queue is empty now. */
static inline struct tc_wait_node *tc_waitq_take(struct tc_waitq *queue)
{
    struct tc_wait_node *node;

    while ((node = queue->head) != NULL) {
        queue->head = node->next;
        if (node->next == NULL) {
            queue->tail = NULL;
        } else {
            node->next->prev = NULL;
        }
        node->queue = NULL;
        if (tc_waiter_core_claim(node->word, node->seq)) {
            node->done = true;
            return node;
        }
    }
    return NULL;
}

/* Take every wait that can be claimed, and give each the result. Adds the nodes, linked by `next`,
 * behind *last; returns the new last link. */
static inline struct tc_wait_node **tc_waitq_take_all(struct tc_waitq *queue, int32_t result,
                                                      struct tc_wait_node **last)
{
    struct tc_wait_node *node;

    while ((node = tc_waitq_take(queue)) != NULL) {
        node->result = result;
        node->next = NULL;
        *last = node;
        last = &node->next;
    }
    return last;
}

/* Walk the queue and check N1 and the links. */
static inline bool tc_waitq_is_valid(const struct tc_waitq *queue)
{
    const struct tc_wait_node *before = NULL;

    for (const struct tc_wait_node *node = queue->head; node != NULL; node = node->next) {
        if (node->queue != queue || node->prev != before) {
            return false;
        }
        before = node;
    }
    return queue->tail == before;
}

#endif
