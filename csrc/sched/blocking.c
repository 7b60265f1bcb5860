#include "sched/blocking.h"

#include <errno.h>
#include <pthread.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/sys.h"
#include "sched/fiber.h"
#include "sched/runtime_internal.h"

enum { BLOCKING_STACK_BYTES = 256 * 1024 };

struct job {
    struct tc_link link;
    struct tc_blocking *pool;
    int64_t (*fn)(void *arg);
    void *arg;
    int64_t result;
    struct tc_waiter *waiter; /* of the parked fiber, for wait `seq`                            */
    uint64_t seq;
};

struct pool_thread {
    struct tc_blocking *pool;
    struct tc_list node;      /* in pool->all or pool->left                                     */
    struct tc_list idle_node; /* in pool->idle while is_idle                                    */
    bool is_idle;             /* under the pool's lock                                          */
    struct tc_parker parker;
    pthread_t thread;
};

void tc_blocking_init(struct tc_blocking *pool)
{
    tc_lock_init(&pool->lock, TC_RANK_BLOCKING);
    tc_fifo_init(&pool->jobs);
    tc_list_init(&pool->idle);
    tc_list_init(&pool->all);
    tc_list_init(&pool->left);
    tc_atomic_init(&pool->threads, 0);
    pool->wanted = 0;
    pool->available = 0;
    pool->stopping = false;
}

/* Wait for a job or the end. Enters locked, drops the lock while it sleeps, returns locked. */
static struct job *next_job_locked(struct tc_blocking *pool, struct pool_thread *self)
{
    int64_t deadline = tc_deadline_after_ns(TC_BLOCKING_LINGER_NS);

    for (;;) {
        struct tc_link *link = tc_fifo_pop(&pool->jobs);
        if (link != NULL) {
            pool->wanted--;
            pool->available--;
            return tc_container_of(link, struct job, link);
        }
        if (pool->stopping || tc_clock_now_ns() >= deadline) {
            return NULL;
        }
        self->is_idle = true;
        tc_list_push_front(&pool->idle, &self->idle_node);
        tc_lock_release(&pool->lock);
        TC_IGNORE(tc_parker_park(&self->parker,
                                 deadline)); /* whatever ended it, the queue decides */
        tc_lock_acquire(&pool->lock);
        if (self->is_idle) {
            self->is_idle = false;
            tc_list_remove(&self->idle_node);
        }
    }
}

static void *pool_thread_main(void *arg)
{
    struct pool_thread *self = arg;
    struct tc_blocking *pool = self->pool;
    struct job *job;

    tc_lock_acquire(&pool->lock);
    while ((job = next_job_locked(pool, self)) != NULL) {
        tc_lock_release(&pool->lock);
        job->result = job->fn(job->arg);
        struct tc_waiter *waiter = job->waiter;
        /* The wait is shielded and has no deadline: nobody else can have claimed it. */
        bool claimed = tc_waiter_claim(waiter, job->seq);
        tc_assert(claimed);
        tc_ready_from(NULL, waiter, 0); /* B1: the job is gone with the fiber's stack */
        tc_lock_acquire(&pool->lock);
        pool->available++;
    }
    pool->available--;
    tc_list_remove(&self->node);
    tc_list_push_back(&pool->left, &self->node);
    /* relaxed: written under the lock */
    tc_store_relaxed(&pool->threads, tc_load_relaxed(&pool->threads) - 1);
    tc_lock_release(&pool->lock);
    return NULL;
}

/* Join what has left. Enters locked, drops the lock while it joins, returns locked. */
static void reap_locked(struct tc_blocking *pool)
{
    struct tc_list *node;

    while ((node = tc_list_pop_front(&pool->left)) != NULL) {
        struct pool_thread *thread = tc_container_of(node, struct pool_thread, node);
        tc_lock_release(&pool->lock);
        (void)tc_sys_thread_join(thread->thread, NULL);
        tc_mem_free(thread, sizeof *thread);
        tc_lock_acquire(&pool->lock);
    }
}

/* Create one more thread. Enters locked, returns locked. */
static int add_thread_locked(struct tc_blocking *pool)
{
    struct pool_thread *thread = tc_mem_zalloc(sizeof *thread);

    if (thread == NULL) {
        return -ENOMEM;
    }
    thread->pool = pool;
    tc_parker_init(&thread->parker);
    int rc = tc_sys_thread_create(&thread->thread, BLOCKING_STACK_BYTES, pool_thread_main, thread);
    if (rc != 0) {
        tc_mem_free(thread, sizeof *thread);
        return rc;
    }
    pool->available++;
    tc_list_push_back(&pool->all, &thread->node);
    /* relaxed: written under the lock */
    tc_store_relaxed(&pool->threads, tc_load_relaxed(&pool->threads) + 1);
    return 0;
}

/* A job is about to be submitted: see that there is a thread for it. On the caller's own stack,
 * since creating a thread is no work for the stack on which a commit happens to run. Enters locked,
 * returns locked. 0, or an error if nobody would ever come for the queue. */
static int announce_job_locked(struct tc_blocking *pool)
{
    uint32_t threads = tc_load_relaxed(&pool->threads); /* relaxed: written under the lock */

    reap_locked(pool);
    pool->wanted++;
    if (pool->wanted <= pool->available || threads >= TC_BLOCKING_THREADS_MAX) {
        return 0;
    }
    int rc = add_thread_locked(pool);
    if (rc != 0 && threads == 0) {
        pool->wanted--;
        return rc;
    }
    return 0;
}

static bool commit_job(struct tc_waiter *waiter, uint64_t seq, void *arg)
{
    struct job *job = arg;
    struct tc_blocking *pool = job->pool;

    job->waiter = waiter;
    job->seq = seq;
    tc_lock_acquire(&pool->lock);
    tc_fifo_push(&pool->jobs, &job->link);
    struct tc_list *node = tc_list_pop_front(&pool->idle);
    if (node != NULL) {
        struct pool_thread *thread = tc_container_of(node, struct pool_thread, idle_node);
        thread->is_idle = false;
        tc_parker_unpark(&thread->parker);
    }
    tc_lock_release(&pool->lock);
    return true;
}

int64_t tc_blocking_run(int64_t (*fn)(void *arg), void *arg)
{
    struct tc_blocking *pool = &tc_fiber_current()->runtime->blocking;
    struct job job = {.pool = pool, .fn = fn, .arg = arg, .result = 0};
    struct tc_park park = {
        .reason = TC_WAIT_BLOCKING,
        .object = NULL,
        .deadline_ns = TC_NEVER,
        .commit = commit_job,
        .arg = &job,
    };

    tc_lock_acquire(&pool->lock);
    int rc = announce_job_locked(pool);
    tc_lock_release(&pool->lock);
    if (rc != 0) {
        return rc;
    }
    tc_fiber_shield();
    rc = tc_fiber_park(&park);
    tc_fiber_unshield();
    tc_assert(rc == 0);
    return job.result;
}

void tc_blocking_fini(struct tc_blocking *pool)
{
    struct tc_list *it;

    tc_lock_acquire(&pool->lock);
    pool->stopping = true;
    TC_LIST_FOR_EACH (it, &pool->all) {
        tc_parker_unpark(&tc_container_of(it, struct pool_thread, node)->parker);
    }
    while (!tc_list_is_empty(&pool->all) || !tc_list_is_empty(&pool->left)) {
        struct tc_list *list = tc_list_is_empty(&pool->left) ? &pool->all : &pool->left;
        struct pool_thread *thread = tc_container_of(list->next, struct pool_thread, node);
        pthread_t handle = thread->thread;
        tc_lock_release(&pool->lock);
        (void)tc_sys_thread_join(handle, NULL); /* afterwards the record is in `left` */
        tc_lock_acquire(&pool->lock);
        tc_list_remove(&thread->node);
        tc_mem_free(thread, sizeof *thread);
    }
    tc_lock_release(&pool->lock);
}
