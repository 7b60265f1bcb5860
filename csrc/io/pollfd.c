#include "io/pollfd.h"

#include <errno.h>

#include "arch/cpu.h"
#include "base/assert.h"
#include "base/chaos.h"
#include "base/sys.h"
#include "io/io_internal.h"

/* The tag of an event: the slot's address in the low 48 bits, the low bits of its generation above.
 * User addresses have at most 47 bits unless a program asks the kernel for more; slots come from
 * the heap, which does not. */
enum { TAG_ADDRESS_BITS = 48 };

/* Bits of slot->users: 1 << direction while a fiber is inside tc_pollfd_wait, and: */
enum {
    USER_CLOSING = 4, /* close has begun: nobody waits here again                               */
    USER_CLOSED = 8,  /* and is through with the words: who leaves last gives the slot back     */
};

static uint64_t tag_of(struct tc_pollfd *slot, uint16_t generation)
{
    uint64_t address = (uint64_t)(uintptr_t)slot;

    tc_assert_debug(address >> TAG_ADDRESS_BITS == 0);
    return address | (uint64_t)generation << TAG_ADDRESS_BITS;
}

static struct tc_pollfd *slot_of(uint64_t tag)
{
    return (struct tc_pollfd *)(uintptr_t)(tag & (((uint64_t)1 << TAG_ADDRESS_BITS) - 1));
}

static bool is_current(struct tc_pollfd *slot, uint64_t tag)
{
    /* acquire [slot-generation]: pairs with close's bump, which precedes the slot's next use */
    return tc_load_acquire(&slot->generation) == tag >> TAG_ADDRESS_BITS;
}

/* Prepare a word for the slot's next descriptor. No plain stores: a poller that fetched an event of
 * the former one may be on its way to the word, see tc_pollfd_close. */
static void reset_word(struct tc_readiness *word, bool ready)
{
    if (ready) {
        tc_readiness_restore(word);
    } else {
        TC_IGNORE(tc_readiness_consume(word)); /* READY or not, it is IDLE now */
    }
}

/* The slot's last user gives it back. */
static void release_slot(struct tc_pollfd *slot)
{
    tc_store_relaxed(&slot->users, 0); /* relaxed: the slab's lock publishes it */
    tc_slab_free(tc__io_slots(), slot);
}

int tc_pollfd_open(struct tc_worker *home, int fd, uint32_t flags,
                   void (*before)(struct tc_pollfd *slot, void *arg), void *arg,
                   struct tc_pollfd **out)
{
    struct tc_io *io = tc__io_of(home);
    struct tc_pollfd *slot = tc_slab_alloc(tc__io_slots());
    bool ready = (flags & (TC_POLLFD_REST | TC_POLLFD_LEVEL)) == 0;

    if (slot == NULL) {
        return -ENOMEM;
    }
    reset_word(&slot->word[TC_READ], ready);
    reset_word(&slot->word[TC_WRITE], ready);
    slot->home = home;
    tc_store_relaxed(&slot->latched, 0); /* relaxed: published by the registration */
    tc_store_relaxed(&slot->fd, fd);     /* relaxed: as above */
    *out = slot;
    if (before != NULL) {
        before(slot, arg);
    }
    /* relaxed: only close changes it, and there is no close yet */
    uint64_t tag = tag_of(slot, tc_load_relaxed(&slot->generation));
    tc_fetch_add_relaxed(&io->descriptors, 1); /* relaxed: a count */
    int rc = tc_poller_add(&io->poller, fd, tag, (flags & TC_POLLFD_LEVEL) != 0);
    if (rc != 0) {
        tc_fetch_sub_relaxed(&io->descriptors, 1); /* relaxed: a count */
        tc_fetch_add_relaxed(&slot->generation, 1); /* relaxed: no event was ever possible */
        tc_store_relaxed(&slot->fd, -1);            /* relaxed: for the fork handler only */
        *out = NULL;
        /* What `before` installed; nobody else has seen it. */
        tc_readiness_withdraw(&slot->word[TC_READ], slot->word[TC_READ].waiter);
        tc_readiness_withdraw(&slot->word[TC_WRITE], slot->word[TC_WRITE].waiter);
        tc_slab_free(tc__io_slots(), slot);
    }
    return rc;
}

void tc__pollfd_prefetch(uint64_t tag)
{
    __builtin_prefetch(slot_of(tag), 1);
}

/* Set a direction READY and resume whoever waits there. */
static void notify(struct tc_worker *worker, struct tc_readiness *word, int result)
{
    struct tc_waiter *waiter;
    uint64_t seq;

    if (tc_readiness_notify(word, &waiter, &seq)) {
        tc_chaos_yield(8); /* chaos: another source claims first, and the owner waits for us */
        bool claimed = tc_waiter_claim(waiter, seq);
        tc_chaos_yield(8); /* chaos: the owner is cancelled or closes meanwhile */
        tc_readiness_unlock(word);
        if (claimed) {
            tc_ready_from(worker, waiter, result);
        }
    }
}

int tc__pollfd_deliver(struct tc_worker *worker, uint64_t tag, uint32_t bits)
{
    struct tc_pollfd *slot = slot_of(tag);

    if (!is_current(slot, tag)) {
        return 0;
    }
    if (bits & TC_POLLER_HANGUP) {
        tc_store_relaxed(&slot->latched, 1); /* relaxed: the notify below releases it */
    }
    if (bits & TC_POLLER_WRITE) {
        notify(worker, &slot->word[TC_WRITE], 0);
    }
    if (bits & TC_POLLER_READ) {
        notify(worker, &slot->word[TC_READ], 0);
    }
    return 1;
}

void tc_pollfd_poke(struct tc_worker *worker, struct tc_pollfd *slot)
{
    notify(worker, &slot->word[TC_READ], 0);
}

/* End the wait in one direction; whoever else is looking at its waiter has finished on return. */
static void end_wait(struct tc_worker *worker, struct tc_readiness *word)
{
    notify(worker, word, -ECANCELED);
    while (!tc_readiness_try_withdraw(word, NULL)) {
        tc_cpu_relax();
    }
}

void tc_pollfd_close(struct tc_pollfd *slot)
{
    struct tc_worker *worker = tc_worker_current();
    struct tc_io *io = tc__io_of(slot->home);
    int fd = tc_load_relaxed(&slot->fd); /* relaxed: only open and close write it */

    if (worker != NULL && worker->runtime != slot->home->runtime) {
        worker = NULL; /* who waits here belongs to another runtime's queues */
    }

    /* Deregister first: from here on no new event is made. Then move the generation, so that events
     * already fetched by a poller are dropped. A poller that compared the generation before it
     * moved may still notify; the words are type-stable and the claim decides, so the worst it can
     * do to the slot's next descriptor is one spurious READY. */
    tc_poller_remove(&io->poller, fd);
    tc_fetch_add_release(&slot->generation, 1); /* release [slot-generation]: P3 */
    /* release [slot-users]: before the words, so that whom we wake there, or who was about to park
     * and finds READY, does not wait again behind our back. */
    (void)tc_fetch_or_release(&slot->users, USER_CLOSING);
    end_wait(worker, &slot->word[TC_READ]);
    end_wait(worker, &slot->word[TC_WRITE]);
    tc_store_relaxed(&slot->fd, -1); /* relaxed: for the fork handler only */
    tc_fetch_sub_relaxed(&io->descriptors, 1); /* relaxed: a count */
    /* acq_rel [slot-users]: who is still inside tc_pollfd_wait gives the slot back instead; his
     * system calls on the descriptor are over before the number is free */
    bool is_unused = tc_fetch_or_acq_rel(&slot->users, USER_CLOSED) == USER_CLOSING;
    tc_sys_close(fd);
    if (is_unused) {
        release_slot(slot);
    }
}

int tc_pollfd_wait(struct tc_pollfd *slot, enum tc_direction direction, int64_t deadline_ns,
                   enum tc_wait_reason reason)
{
    uint8_t bit = (uint8_t)(1 << direction);
    int rc = -ECANCELED;

    /* release [slot-users]: our system calls so far, before close releases the number */
    if ((tc_fetch_or_release(&slot->users, bit) & USER_CLOSING) == 0) {
        rc = tc__fiber_wait_readiness(&slot->word[direction], reason, slot, deadline_ns);
    }
    /* acq_rel [slot-users]: the last one out gives a closed slot back */
    uint8_t users = tc_fetch_and_acq_rel(&slot->users, (uint8_t)~bit);
    if (users == (USER_CLOSING | USER_CLOSED | bit)) {
        release_slot(slot);
    }
    /* An event may have ended this wait just before close did, with 0; and the other direction may
     * still be inside, so that it gives the slot back. It is gone for us in any case. */
    return (users & USER_CLOSING) != 0 ? -ECANCELED : rc;
}

int tc_pollfd_set_enabled(struct tc_pollfd *slot, bool enabled)
{
    struct tc_io *io = tc__io_of(slot->home);
    /* relaxed: the caller excludes close, which alone changes both */
    int fd = tc_load_relaxed(&slot->fd);
    uint64_t tag = tag_of(slot, tc_load_relaxed(&slot->generation)); /* relaxed: as above */

    return tc_poller_enable(&io->poller, fd, tag, enabled);
}
