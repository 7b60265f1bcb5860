/* tests/model/mutex.c — three threads and a mutex: one holder at a time, nobody left in the queue.
 *
 * Thread 0 acquires and releases twice, so that it can barge, the others once; who finds the mutex
 * taken queues under the queue's lock, is woken, and tries again from the front, as sync/mutex.c
 * does. The queue is an array of three, the lock a flag that is awaited.
 *
 * Shapes: message passing (the critical section, [mutex-word]); the single word that decides
 * between "I queue" and "I release".
 * TC_WEAKEN=1: release looks for QUEUED first and, a moment later, frees with a plain store.
 * Visible on any hardware: a waiter that queues in between is never woken.
 * TC_WEAKEN=2: a woken waiter that is beaten keeps WOKEN. Visible on any hardware: the next release
 * takes it for one that is on its way.
 */
#include "base/atomic.h"
#include "sync/mutex_core.h"

#include "model.h"

enum { THREADS = 3, SECTIONS = 4 };

static struct tc_mutex_word word;
static _Atomic uint32_t queue_lock;
static int queue[THREADS]; /* under queue_lock: who waits, first first */
static int queued; /* under queue_lock */
static _Atomic int woken[THREADS]; /* 0, or 1 + enum tc_mutex_pass */
/* Plain: under the mutex. Not static: gcc 12 (-fipa-reference) keeps a static variable in a
 * register over a call of a static function that does not name it, whatever that function
 * synchronizes with. */
int entered;

static void lock_queue(void)
{
    unsigned spins = 0;

    while (tc_exchange_acquire(&queue_lock, 1) != 0) { /* acquire: stands for tc_lock */
        model_await(&spins);
    }
}

static void unlock_queue(void)
{
    tc_store_release(&queue_lock, 0); /* release: stands for tc_lock */
}

static void push(int who, bool at_front)
{
    if (at_front) {
        for (int i = queued; i > 0; i--) {
            queue[i] = queue[i - 1];
        }
        queue[0] = who;
    } else {
        queue[queued] = who;
    }
    queued++;
}

static void acquire(int who)
{
    bool was_woken = false;

    if (tc_mutex_core_try_acquire(&word)) {
        return;
    }
    for (;;) {
        uint32_t spent = was_woken && TC_WEAKEN != 2 ? TC_MUTEX_WOKEN : 0;
        unsigned spins = 0;
        int how;
        lock_queue();
        if (tc_mutex_core_announce(&word, was_woken && who == 2 ? TC_MUTEX_STARVING : 0, spent)) {
            unlock_queue();
            return;
        }
        push(who, was_woken);
        unlock_queue();
        while ((how = tc_load_acquire(&woken[who])) == 0) { /* acquire: stands for the park */
            model_await(&spins);
        }
        tc_store_relaxed(&woken[who], 0); /* relaxed: ours until we queue again */
        if (how == 1 + TC_MUTEX_OVER) {
            return;
        }
        was_woken = true;
    }
}

static bool release_fast(void)
{
    if (TC_WEAKEN != 1) {
        return tc_mutex_core_release(&word);
    }
    uint32_t found = tc_load_relaxed(&word.value);
    if ((found & (TC_MUTEX_QUEUED | TC_MUTEX_STARVING)) != 0) {
        return false;
    }
    for (int i = 0; i < 300 && !TC_MODEL_CHECKER; i++) {
        atomic_signal_fence(memory_order_seq_cst); /* a moment */
    }
    tc_store_release(&word.value, found & ~(uint32_t)TC_MUTEX_LOCKED);
    return true;
}

static void release(void)
{
    while (!release_fast()) {
        lock_queue();
        if (queued == 0) {
            tc_mutex_core_leave(&word);
            unlock_queue();
            continue;
        }
        int who = queue[0];
        queued--;
        for (int i = 0; i < queued; i++) {
            queue[i] = queue[i + 1];
        }
        enum tc_mutex_pass how = tc_mutex_core_is_starving(&word) ? TC_MUTEX_OVER : TC_MUTEX_FREE;
        tc_mutex_core_pass_on(&word, how, queued == 0);
        unlock_queue();
        tc_store_release(&woken[who], 1 + (int)how); /* release: stands for ready */
        return;
    }
}

static void use(int who)
{
    acquire(who);
    entered++;
    release();
}

static void thread_0(void)
{
    use(0);
    use(0);
}

static void thread_1(void)
{
    use(1);
}

static void thread_2(void)
{
    use(2);
}

static void setup(void)
{
    tc_mutex_core_init(&word);
    tc_atomic_init(&queue_lock, 0);
    queued = 0;
    entered = 0;
    for (int i = 0; i < THREADS; i++) {
        tc_atomic_init(&woken[i], 0);
    }
}

static void check(void)
{
    MODEL_CHECK(entered == SECTIONS);
    MODEL_CHECK(queued == 0);
    MODEL_CHECK(tc_load_relaxed(&word.value) == 0); /* relaxed: threads are done */
}

int main(int argc, char **argv)
{
    static const struct model model = {
        "mutex", THREADS, setup, {thread_0, thread_1, thread_2}, check};

    return model_main(&model, argc, argv);
}
