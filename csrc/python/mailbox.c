#include "python/mailbox.h"

#include "base/mem.h"

#include <errno.h>

/* ---- life ------------------------------------------------------------------------------- */

int tc_py_mailbox_new(struct tc_py_mailbox **out)
{
    struct tc_py_mailbox *mailbox = tc_mem_zalloc(sizeof(*mailbox));
    int error;

    if (mailbox == NULL) {
        return -ENOMEM;
    }
    error = tc_poller_open(&mailbox->poller);
    if (error < 0) {
        tc_mem_free(mailbox, sizeof(*mailbox));
        return error;
    }
    tc_inbox_init(&mailbox->inbox);
    tc_parker_core_init(&mailbox->parker);
    tc_atomic_init(&mailbox->references, 1);
    tc_atomic_init(&mailbox->is_closed, false);
    *out = mailbox;
    return 0;
}

int tc_py_mailbox_new_guest(struct tc_py_mailbox **out)
{
    int error = tc_py_mailbox_new(out);

    if (error == 0) {
        (*out)->is_guest = true;
        TC_IGNORE(tc_parker_core_begin(&(*out)->parker)); /* asleep from the start: no token yet */
    }
    return error;
}

static void deliver_all(struct tc_py_mailbox *mailbox, struct tc_py_loop *loop)
{
    struct tc_link *link = tc_inbox_drain(&mailbox->inbox);

    while (link != NULL) {
        struct tc_py_message *message = tc_container_of(link, struct tc_py_message, link);

        link = link->next;
        message->deliver(message, loop);
    }
}

void tc_py_mailbox_acquire(struct tc_py_mailbox *mailbox)
{
    /* relaxed: the caller's own reference keeps it alive. */
    (void)tc_fetch_add_relaxed(&mailbox->references, 1);
}

void tc_py_mailbox_release(struct tc_py_mailbox *mailbox)
{
    /* release [mailbox-last]: our last use, before the free of whoever is last. */
    if (tc_fetch_sub_release(&mailbox->references, 1) != 1) {
        return;
    }
    /* acquire [mailbox-last]: we are last; what all others did is done. */
    (void)tc_load_acquire(&mailbox->references);
    deliver_all(mailbox, NULL);
    tc_poller_close(&mailbox->poller);
    tc_mem_free(mailbox, sizeof(*mailbox));
}

/* ---- sending ---------------------------------------------------------------------------- */

static void wake(_Atomic uint32_t *state, void *arg)
{
    (void)state; /* the poller is always woken the same way */
    tc_poller_wake(arg);
}

void tc_py_mailbox_post(struct tc_py_mailbox *mailbox, struct tc_py_message *message)
{
    if (tc_inbox_push(&mailbox->inbox, &message->link)) {
        tc_parker_core_unpark(&mailbox->parker, wake, &mailbox->poller);
    }
}

void tc_py_mailbox_interrupt(struct tc_py_mailbox *mailbox)
{
    tc_parker_core_unpark(&mailbox->parker, wake, &mailbox->poller);
}

void tc_py_mailbox_post_attached(struct tc_py_mailbox *mailbox, struct tc_py_message *message)
{
    tc_py_mailbox_post(mailbox, message);
    /* fence [mailbox-close]: our push, before our look; close does the reverse. */
    tc_fence_seq_cst();
    if (tc_load_seq_cst(&mailbox->is_closed)) {
        deliver_all(mailbox, NULL);
    }
}

/* ---- receiving -------------------------------------------------------------------------- */

void tc_py_mailbox_drain(struct tc_py_mailbox *mailbox, struct tc_py_loop *loop)
{
    deliver_all(mailbox, loop);
}

void tc_py_mailbox_drain_guest(struct tc_py_mailbox *mailbox)
{
    struct tc_poller_event events[TC_POLLER_BATCH];

    (void)tc_poller_wait(&mailbox->poller, events, 0); /* takes the edge */
    (void)tc_parker_core_end(&mailbox->parker);
    do {
        deliver_all(mailbox, NULL);
    } while (!tc_parker_core_begin(&mailbox->parker));
}

int tc_py_mailbox_sleep(struct tc_py_mailbox *mailbox, struct tc_poller_event *events,
                        int64_t timeout_ns)
{
    int count;

    if (timeout_ns <= 0) {
        return tc_poller_wait(&mailbox->poller, events, 0);
    }
    if (!tc_parker_core_begin(&mailbox->parker)) {
        return tc_poller_wait(&mailbox->poller, events, 0);
    }
    count = tc_poller_wait(&mailbox->poller, events, timeout_ns);
    (void)tc_parker_core_end(&mailbox->parker); /* the caller drains in any case */
    for (int i = 0; i < count; i++) {
        if (events[i].tag == 0) { /* the wake-up itself is no event */
            events[i] = events[--count];
            break;
        }
    }
    return count;
}

void tc_py_mailbox_close(struct tc_py_mailbox *mailbox)
{
    tc_store_seq_cst(&mailbox->is_closed, true);
    /* fence [mailbox-close]: our store, before we empty the inbox. */
    tc_fence_seq_cst();
    deliver_all(mailbox, NULL);
}
