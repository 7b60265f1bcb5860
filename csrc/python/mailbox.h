/* python/mailbox.h — where a loop thread sleeps, and how any thread reaches it there.
 *
 * The loop thread is the only reader. Everybody else posts a message: a callback from another
 * Python thread, the end of a wait that a C fiber decided. A post is one compare-and-swap; only the
 * one that finds the inbox empty wakes the loop, and only if it sleeps does that cost a system
 * call.
 *
 * The mailbox is plain C memory, apart from the loop object, because whoever ends a wait may be a
 * worker, which knows no Python reference counts, and may do so when the loop object is gone. It
 * lives as long as anybody holds a reference to it.
 *
 * A guest's mailbox stands in for the sleep of a loop that is not ours (python/guest.h): that loop
 * watches a descriptor, and tc_py_mailbox_drain_guest is what it calls then. Such a mailbox counts
 * as asleep at all times but during the drain.
 *
 * A closed mailbox: close() publishes `is_closed`, then empties the inbox; a Python thread posts,
 * then looks at `is_closed` and empties the inbox itself. Both orders are seq_cst, so one of the
 * two sees the message. After close the batch is taken by exchange, so it does not matter who takes
 * it. A worker does not look: what it posts late is dropped when the last reference goes.
 *
 * INVARIANTS
 *  MB1  A message that owns Python objects is posted by attached threads only, through
 *       tc_py_mailbox_post_attached.
 *  MB2  Every message posted is delivered exactly once, with the loop or, dropped, with NULL.
 *  MB3  The descriptors are closed when the last reference is dropped, not before: a late waker
 *       must not write to a number that means something else by now.
 *
 *                    post, acquire, release   sleep, drain   close      -  safe together
 *   post, acq, rel            -                    -           -        o  the loop's thread only
 *   sleep, drain              -                    o           o
 */
#ifndef TC_PYTHON_MAILBOX_H
#define TC_PYTHON_MAILBOX_H

#include "base/atomic.h"
#include "base/defs.h"
#include "base/inbox.h"
#include "base/parker_core.h"
#include "io/poller.h"

#include <stdbool.h>
#include <stdint.h>

struct tc_py_loop;
struct tc_py_message;

/* Called on the loop's thread, attached; with loop == NULL by a guest; or with loop == NULL when
 * the loop is closed: then it
 * releases what the message owns and, unless MB1 holds for it, touches no Python object. */
typedef void tc_py_deliver_fn(struct tc_py_message *message, struct tc_py_loop *loop);

/* Embedded in what is sent; may be posted again once it was delivered. */
struct tc_py_message {
    struct tc_link link;
    tc_py_deliver_fn *deliver;
};

struct tc_py_mailbox {
    struct tc_inbox inbox; /* anybody pushes; the loop, or who finds it closed, drains  */
    struct tc_parker_core parker; /* the loop's sleep                                          */
    struct tc_poller poller; /* where it sleeps; constant until the last release          */
    _Atomic uint32_t references;
    _Atomic bool is_closed; /* written once, by close                                    */
    bool is_guest; /* constant                                                  */
};

/* Make a mailbox with one reference. Parks: never   Threads: any   Returns 0 or -errno. */
TC_NODISCARD int tc_py_mailbox_new(struct tc_py_mailbox **out);

/* The same for a guest. Parks: never   Threads: any   Returns 0 or -errno. */
TC_NODISCARD int tc_py_mailbox_new_guest(struct tc_py_mailbox **out);

/* The descriptor that becomes readable when a guest's mailbox has got messages.
 * Parks: never   Threads: holders */
static inline int tc_py_mailbox_guest_fd(const struct tc_py_mailbox *mailbox)
{
    return mailbox->poller.queue_fd;
}

/* Whether it is a guest's, and open. Parks: never   Threads: holders */
static inline bool tc_py_mailbox_is_guest_open(struct tc_py_mailbox *mailbox)
{
    /* relaxed: only the thread that closes it acts on the answer */
    return mailbox->is_guest && !tc_load_relaxed(&mailbox->is_closed);
}

/* One more holder. Parks: never   Threads: holders */
void tc_py_mailbox_acquire(struct tc_py_mailbox *mailbox);

/* One holder less; the last drops the messages that are left and frees everything.
 * Parks: never   Threads: any, workers too */
void tc_py_mailbox_release(struct tc_py_mailbox *mailbox);

/* Send a message that owns no Python object. The caller holds a reference until this returns.
 * Parks: never   Threads: any   Owns: the message passes to whoever delivers it */
void tc_py_mailbox_post(struct tc_py_mailbox *mailbox, struct tc_py_message *message);

/* The same for a message that may own Python objects. On a closed mailbox it is dropped at once.
 * Parks: never   Threads: attached   Owns: as above */
void tc_py_mailbox_post_attached(struct tc_py_mailbox *mailbox, struct tc_py_message *message);

/* End the present or next sleep without a message: for a signal handler, which runs on the loop's
 * own thread. Parks: never   Threads: any */
void tc_py_mailbox_interrupt(struct tc_py_mailbox *mailbox);

/* Deliver everything posted so far. Parks: never   Threads: the loop's, attached */
void tc_py_mailbox_drain(struct tc_py_mailbox *mailbox, struct tc_py_loop *loop);

/* The same for a guest, which also stops being readable. Threads: the guest loop's, attached */
void tc_py_mailbox_drain_guest(struct tc_py_mailbox *mailbox);

/* Sleep until a post, a descriptor, a signal or timeout_ns (0: only look).
 * Parks: never (blocks the thread)   Threads: the loop's, detached
 * Returns the number of events, 0 if the mailbox was the reason. */
int tc_py_mailbox_sleep(struct tc_py_mailbox *mailbox, struct tc_poller_event *events,
                        int64_t timeout_ns);

/* Refuse messages from now on and drop those there are. Parks: never   Threads: attached */
void tc_py_mailbox_close(struct tc_py_mailbox *mailbox);

#endif
