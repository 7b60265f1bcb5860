#include "base/mem.h"

#include "arch/cpu.h"
#include "base/assert.h"
#include "base/atomic.h"
#include "base/fault.h"
#include "base/sys.h"

#include <stdlib.h>

/* Every thread adds to it and subtracts from it, so it has its cache lines to itself. */
static struct {
    TC_ALIGNED(TC_CACHELINE) _Atomic size_t bytes_in_use; /* M1 */
    _Atomic size_t bytes_reserved;                        /* M3 */
} books;

/* Count a block, or nothing if there is none. */
static void *counted(void *block, size_t size)
{
    if (tc_likely(block != NULL)) {
        /* relaxed: a sum, it orders nothing. */
        (void)tc_fetch_add_relaxed(&books.bytes_in_use, size);
    }
    return block;
}

void *tc_mem_alloc(size_t size)
{
    tc_assert_debug(size != 0);
    if (tc_fault_check(TC_FAULT_ALLOC) != 0) {
        return NULL;
    }
    return counted(malloc(size), size);
}

void *tc_mem_zalloc(size_t size)
{
    tc_assert_debug(size != 0);
    if (tc_fault_check(TC_FAULT_ALLOC) != 0) {
        return NULL;
    }
    return counted(calloc(1, size), size);
}

void *tc_mem_alloc_aligned(size_t align, size_t size)
{
    void *block = NULL;

    tc_assert_debug(size != 0 && align != 0 && (align & (align - 1)) == 0);
    if (tc_fault_check(TC_FAULT_ALLOC) != 0) {
        return NULL;
    }
    if (align < sizeof(void *)) {
        align = sizeof(void *);
    }
    if (posix_memalign(&block, align, size) != 0) {
        return NULL;
    }
    return counted(block, size);
}

void *tc_mem_realloc(void *block, size_t old_size, size_t new_size)
{
    void *moved;

    tc_assert_debug(new_size != 0 && (block == NULL) == (old_size == 0));
    if (tc_fault_check(TC_FAULT_ALLOC) != 0) {
        return NULL;
    }
    moved = realloc(block, new_size);
    /* The difference may be negative; unsigned arithmetic wraps to the right sum. */
    return counted(moved, new_size - old_size);
}

void tc_mem_free(void *block, size_t size)
{
    if (block == NULL) {
        return;
    }
    free(block);
    /* relaxed: a sum, it orders nothing. */
    (void)tc_fetch_sub_relaxed(&books.bytes_in_use, size);
}

size_t tc_mem_bytes_in_use(void)
{
    /* relaxed: a statistic. */
    return tc_load_relaxed(&books.bytes_in_use);
}

void tc_mem_reserve(size_t bytes)
{
    (void)tc_fetch_add_relaxed(&books.bytes_reserved, bytes); /* relaxed: a sum */
}

void tc_mem_unreserve(size_t bytes)
{
    (void)tc_fetch_sub_relaxed(&books.bytes_reserved, bytes); /* relaxed: a sum */
}

size_t tc_mem_bytes_reserved(void)
{
    return tc_load_relaxed(&books.bytes_reserved); /* relaxed: a statistic */
}

size_t tc_mem_page_size(void)
{
    return tc_sys_page_size();
}
