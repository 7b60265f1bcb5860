/* Values and reference-counted buffers. */
#include "support.h"

#include "sync/value.h"

TC_TEST(test_value_made_from_each_kind_keeps_it)
{
    int here;

    TC_CHECK_EQ(tc_value_none().kind, TC_VALUE_NONE);
    TC_CHECK_EQ(tc_value_int(INT64_MIN).as_int, INT64_MIN);
    TC_CHECK_EQ(tc_value_double(0.5).as_double, 0.5);
    TC_CHECK(tc_value_pointer(&here).as_pointer == &here);
    TC_CHECK_EQ(tc_value_pointer(&here).kind, TC_VALUE_POINTER);
}

TC_TEST(test_value_buf_release_of_last_reference_frees)
{
    size_t before = tc_mem_bytes_in_use();
    struct tc_buf *buf = tc_buf_new("abc", 3);

    TC_CHECK(buf != NULL);
    TC_CHECK_EQ(buf->size, 3);
    TC_CHECK(memcmp(buf->bytes, "abc", 3) == 0);
    tc_value_release(tc_value_buf(tc_buf_acquire(buf)), NULL);
    TC_CHECK(tc_mem_bytes_in_use() > before);
    tc_value_release(tc_value_buf(buf), NULL);
    TC_CHECK_EQ(tc_mem_bytes_in_use(), before);
    tc_buf_release(NULL);
}

TC_TEST(test_value_buf_without_memory_is_null)
{
    tc_fault_arm(TC_FAULT_ALLOC, 1, ENOMEM, 1);
    TC_CHECK(tc_buf_new("abc", 3) == NULL);
    TC_CHECK(tc_buf_new(NULL, SIZE_MAX - 4) == NULL);
    tc_buf_release(tc_buf_new(NULL, 0));
}

static int released;

static void count_release(void *pointer)
{
    (void)pointer;
    released++;
}

TC_TEST(test_value_pointer_release_calls_the_function_if_any)
{
    tc_value_release(tc_value_pointer(&released), NULL);
    tc_value_release(tc_value_int(1), count_release);
    TC_CHECK_EQ(released, 0);
    tc_value_release(tc_value_pointer(&released), count_release);
    TC_CHECK_EQ(released, 1);
}

static void *drop_many(void *arg)
{
    for (int i = 0; i < 10000; i++) {
        tc_buf_release(tc_buf_acquire(arg));
    }
    tc_buf_release(arg);
    return NULL;
}

/* V2 */
TC_TEST(test_value_buf_shared_by_threads_is_freed_once)
{
    size_t before = tc_mem_bytes_in_use();
    struct tc_buf *buf = tc_buf_new(NULL, 64);
    pthread_t threads[3];

    memset(buf->bytes, 7, buf->size);
    for (int i = 0; i < 3; i++) {
        threads[i] = thread_start(drop_many, tc_buf_acquire(buf));
    }
    drop_many(buf);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    TC_CHECK_EQ(tc_mem_bytes_in_use(), before);
}
