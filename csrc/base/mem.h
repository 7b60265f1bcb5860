/* base/mem.h — heap memory, sized and counted: the only door to malloc.
 *
 * The caller says the size again when it frees, so the books balance to the byte without a
 * header: tests demand that tc_mem_bytes_in_use returns to its baseline. Allocation is rare
 * by design (slabs, caches and scratch buffers serve the hot paths), so one shared counter
 * is enough.
 *
 * INVARIANTS
 *   M1  tc_mem_bytes_in_use() is the sum of the sizes of all blocks alive.
 *   M2  A failed call changes nothing: neither the counter nor, for realloc, the old block.
 *   M3  tc_mem_bytes_reserved() is the part of it that belongs to structures that grow to their
 *       high-water mark and keep it: slabs, heaps, run queues, books of stacks. What remains of
 *       M1 without M3 must return to its baseline after any load.
 *
 * WHO MAY CALL: any thread; no function parks. Failure is NULL, real or injected
 * (TC_FAULT_ALLOC). A size must not be 0.
 */
#ifndef TC_BASE_MEM_H
#define TC_BASE_MEM_H

#include "base/defs.h"

/* Returns `size` bytes, aligned for any scalar type. Owns: the caller. */
TC_NODISCARD void *tc_mem_alloc(size_t size);

/* The same, all bytes zero. */
TC_NODISCARD void *tc_mem_zalloc(size_t size);

/* The same, not zeroed, at a multiple of `align`, a power of two. */
TC_NODISCARD void *tc_mem_alloc_aligned(size_t align, size_t size);

/* Change a block from tc_mem_alloc or tc_mem_zalloc from old_size to new_size bytes.
 * `block` NULL with old_size 0 allocates. Owns: the old block is gone unless NULL is
 * returned. */
TC_NODISCARD void *tc_mem_realloc(void *block, size_t old_size, size_t new_size);

/* Give a block back, with the size it was allocated or last resized to. NULL is ignored. */
void tc_mem_free(void *block, size_t size);

/* Returns the bytes of all blocks alive; exact when nobody allocates meanwhile. */
size_t tc_mem_bytes_in_use(void);

/* A structure that keeps what it once needed has taken `bytes` from the heap, or is giving them
 * back: to be called beside the allocation and the free. Parks: never   Threads: any */
void tc_mem_reserve(size_t bytes);
void tc_mem_unreserve(size_t bytes);

/* Returns the sum of what is reserved (M3); exact when nobody allocates meanwhile. */
size_t tc_mem_bytes_reserved(void);

/* Returns the size of a page in bytes. */
size_t tc_mem_page_size(void);

#endif
