/* Waits of a loop's operations that others end. */
#include "python/wakeup.h"
#include "python/loop.h"
#include "python/operation.h"

#include "base/mem.h"
#include "base/slab.h"

/* Type-stable memory must outlive every source that may still look at a record, and those know
 * nothing of modules: hence one slab per process, never freed. */
static struct tc_slab wakeup_slab;

/* ---- two ends ---------------------------------------------------------------------------- */

static void wakeup_destroy(struct tc_py_wakeup *wakeup)
{
    if (wakeup->memory != NULL) {
        tc_mem_free(wakeup->memory, wakeup->size);
    }
    tc_slab_free(&wakeup_slab, wakeup);
}

/* Let one end go. Returns true to whoever comes second. */
static bool wakeup_let_go(struct tc_py_wakeup *wakeup)
{
    /* acq_rel [wakeup-ends]: publishes our use, if we are first; sees all that the first did, if we
     * are second and free. */
    return tc_exchange_acq_rel(&wakeup->is_let_go, 1) != 0;
}

/* The message has arrived, or is dropped because the mailbox is closed. */
static void wakeup_deliver(struct tc_py_message *message, struct tc_py_loop *loop)
{
    struct tc_py_wakeup *wakeup = tc_container_of(message, struct tc_py_wakeup, message);

    if (wakeup_let_go(wakeup)) {
        wakeup_destroy(wakeup);
    } else if (loop != NULL || tc_py_mailbox_is_guest_open(wakeup->mailbox)) {
        wakeup->arrived(wakeup->operation, wakeup);
        wakeup_destroy(wakeup);
    }
    /* Otherwise the operation, whose loop is closed, still points here. */
}

/* A source has claimed the waiter; any thread. The record belongs to its message from here on, and
 * may be free before post() has woken the loop, so its reference to the mailbox becomes ours. */
static void wakeup_claimed(struct tc_waiter *waiter, struct tc_worker *worker)
{
    struct tc_py_wakeup *wakeup = tc_container_of(waiter, struct tc_py_wakeup, waiter);
    struct tc_py_mailbox *mailbox = wakeup->mailbox;
    struct tc_py_loop *loop = tc_py_loop_running();

    (void)worker;
    if (loop != NULL && loop->mailbox == mailbox) {
        wakeup_deliver(&wakeup->message, loop); /* a task of the same loop: no detour */
    } else {
        tc_py_mailbox_post(mailbox, &wakeup->message);
    }
    tc_py_mailbox_release(mailbox);
}

/* ---- the owner ---------------------------------------------------------------------------- */

static void wakeup_construct(void *object)
{
    struct tc_py_wakeup *wakeup = object;

    tc_waiter_core_init(&wakeup->waiter.word);
    wakeup->waiter.kind = TC_WAITER_CALLBACK;
    wakeup->waiter.callback = wakeup_claimed;
    wakeup->message.deliver = wakeup_deliver;
}

void tc_py_wakeup_setup(void)
{
    void *first;

    if (wakeup_slab.name != NULL) {
        return;
    }
    tc_slab_init(&wakeup_slab, "python wakeups", sizeof(struct tc_py_wakeup),
                 _Alignof(struct tc_py_wakeup), wakeup_construct);
    /* The first chunk now, so that the books of a program balance from its first wait on. */
    first = tc_slab_alloc(&wakeup_slab);
    if (first != NULL) {
        tc_slab_free(&wakeup_slab, first);
    }
}

struct tc_py_wakeup *tc_py_wakeup_new(struct tc_py_mailbox *mailbox, struct tc_py_operation *op,
                                      void (*arrived)(struct tc_py_operation *op,
                                                      struct tc_py_wakeup *wakeup))
{
    struct tc_py_wakeup *wakeup = tc_slab_alloc(&wakeup_slab);

    if (wakeup == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    tc_py_mailbox_acquire(mailbox);
    wakeup->mailbox = mailbox;
    wakeup->operation = op;
    wakeup->arrived = arrived;
    wakeup->memory = NULL;
    wakeup->waiter.result = 0;
    tc_store_relaxed(&wakeup->is_let_go, 0); /* relaxed: nobody else knows the record */
    return wakeup;
}

void tc_py_wakeup_free(struct tc_py_wakeup *wakeup)
{
    struct tc_py_mailbox *mailbox = wakeup->mailbox;

    wakeup_destroy(wakeup);
    tc_py_mailbox_release(mailbox);
}

void tc_py_wakeup_abandon(struct tc_py_wakeup *wakeup)
{
    if (wakeup_let_go(wakeup)) {
        wakeup_destroy(wakeup);
    }
}
