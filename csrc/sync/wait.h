/* sync/wait.h — to wait in a queue, as a fiber, as a plain thread, or with a callback.
 *
 * The objects of this layer differ in what they hand over, not in how they wait. A wait begins
 * under the object's lock, which is released once the node is in the queue: by the commit callback
 * of the park, on the next stack, on the same thread. So what the waiter found under the lock is
 * still true when it becomes findable, and one acquire and one release serve an operation that
 * parks. No other lock of the layer is taken in between, and the ranks of those that the switch
 * itself may need lie inside.
 *
 * A callback waiter belongs to the caller, who embeds a struct tc_waiter and a struct tc_wait_node
 * in an object of its own, with type-stable memory (W1). It starts a wait, and then one of three
 * things happens once: the object claims the waiter, and the callback finds node->done; a source of
 * the caller's own claims it (a deadline), and the caller withdraws; or the caller withdraws. Each
 * X of the layer has for that
 *
 *   tc_X_start     0 or an error at once, or -EINPROGRESS: the callback will be called
 *   tc_X_withdraw  true: the wait is over and nothing was handed over
 *                  false: delivery won; the callback has been called or is about to be
 *
 * INVARIANTS
 *  Q1  A node is in no queue when the function that put it there returns, or when a started wait
 *      is done or withdrawn.
 *  Q2  Nobody is readied under a lock of this layer: callbacks may enter it again.
 *
 * WHO MAY CALL: the other files of the layer; the lock is that of the queue's object.
 */
#ifndef TC_SYNC_WAIT_H
#define TC_SYNC_WAIT_H

#include <errno.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/lock.h"
#include "sched/fiber.h"
#include "sync/wait_core.h"

struct tc_worker;

/* Where and why to wait. */
struct tc__wait {
    struct tc_lock *lock;      /* held                                                         */
    struct tc_waitq *queue;
    struct tc_wait_node *node; /* in no queue                                                  */
    const void *object;        /* for dumps                                                    */
    int64_t deadline_ns;
    enum tc_wait_reason reason;
    bool at_front;
    bool published; /* written by the commit: the lock has been released                       */
};

/* Park the calling fiber or block the calling thread with any commit of its own.
 * Parks: may   Returns as tc_fiber_park or tc_thread_park. */
TC_MAY_PARK TC_NODISCARD int tc__park(const struct tc_park *park);

/* Wait in the queue. Entered with the lock held.
 * Returns 0 with the lock released: the wait was claimed, the node is done. Otherwise -ETIMEDOUT,
 * -ECANCELED, -ENOMEM (no timer), -EINTR (threads), with the lock held and the node in no queue. */
TC_MAY_PARK TC_NODISCARD int tc__wait_in(struct tc__wait *wait);

/* Begin and publish a wait of a callback waiter. Entered with the lock held, which is released. */
void tc__wait_start(struct tc_lock *lock, struct tc_waitq *queue, struct tc_wait_node *node,
                    struct tc_waiter *waiter);

/* End a started wait. Returns true with the lock held and the node in no queue, or false without
 * it: delivery won. */
TC_NODISCARD bool tc__wait_withdraw(struct tc_lock *lock, struct tc_wait_node *node);

/* Wake who was claimed. No lock is held. */
void tc__wait_ready(struct tc_wait_node *node);

/* Wake the nodes of a list made by tc_waitq_take_all, in its order. More than one wake a single
 * worker, which wakes the next if it finds too much. */
void tc__wait_ready_all(struct tc_wait_node *list);

/* The waiter of a node that has been published. */
static inline struct tc_waiter *tc__wait_waiter(const struct tc_wait_node *node)
{
    return tc_container_of(node->word, struct tc_waiter, word);
}

#endif
