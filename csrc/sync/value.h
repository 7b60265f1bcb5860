/* sync/value.h — what travels through a channel: sixteen bytes, moved, never shared.
 *
 * A value is an integer, a floating-point number, a reference to a tc_buf, or a pointer that means
 * something to the two ends only. Whoever has the value owns what it refers to; passing it on
 * passes the ownership. A tc_buf is an immutable piece of bytes with an atomic count, so that
 * fibers, threads and several interpreters' objects can hold the same one without a common lock.
 *
 * INVARIANTS
 *  V1  Bytes of a buffer are written only while it has one reference, by who holds that.
 *  V2  The release of the last reference sees every use through the others [buf-count].
 *  V3  A TC_VALUE_POINTER is released by the function of the channel that holds it; nothing else
 *      knows how.
 *
 * WHO MAY CALL: any thread that owns the value or the reference; no function parks.
 */
#ifndef TC_SYNC_VALUE_H
#define TC_SYNC_VALUE_H

#include <stdint.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/defs.h"

struct tc_buf {
    _Atomic uint32_t references; /* holders; the last one frees                                */
    uint32_t reserved;           /* 0                                                          */
    size_t size;                 /* of `bytes`; constant                                       */
    unsigned char bytes[];       /* V1                                                         */
};

enum tc_value_kind {
    TC_VALUE_NONE,    /* nothing: a signal without content                                      */
    TC_VALUE_INT,     /* as_int                                                                 */
    TC_VALUE_DOUBLE,  /* as_double                                                              */
    TC_VALUE_BUF,     /* as_buf, one reference                                                  */
    TC_VALUE_POINTER, /* as_pointer, see V3                                                     */
};

struct tc_value {
    union {
        int64_t as_int;
        double as_double;
        struct tc_buf *as_buf; /* owned: one reference                                         */
        void *as_pointer;      /* owned, V3                                                    */
    };
    uint32_t kind;             /* enum tc_value_kind                                           */
    uint32_t reserved;         /* 0; for the two ends of a channel                             */
};

_Static_assert(sizeof(struct tc_value) == 16, "two registers");

static inline struct tc_value tc_value_none(void)
{
    return (struct tc_value){.as_int = 0, .kind = TC_VALUE_NONE};
}

static inline struct tc_value tc_value_int(int64_t number)
{
    return (struct tc_value){.as_int = number, .kind = TC_VALUE_INT};
}

static inline struct tc_value tc_value_double(double number)
{
    return (struct tc_value){.as_double = number, .kind = TC_VALUE_DOUBLE};
}

/* Takes over one reference. */
static inline struct tc_value tc_value_buf(struct tc_buf *buf)
{
    return (struct tc_value){.as_buf = buf, .kind = TC_VALUE_BUF};
}

static inline struct tc_value tc_value_pointer(void *pointer)
{
    return (struct tc_value){.as_pointer = pointer, .kind = TC_VALUE_POINTER};
}

/* Make a buffer of `size` bytes, copied from `bytes`, or left as they are if that is NULL.
 * Owns: the caller has its one reference   Returns NULL without memory. */
TC_NODISCARD struct tc_buf *tc_buf_new(const void *bytes, size_t size);

/* Free a buffer whose last reference is gone. Tail of tc_buf_release. */
void tc__buf_free_slow(struct tc_buf *buf);

/* One more reference, for whom the caller gives it to. */
static inline struct tc_buf *tc_buf_acquire(struct tc_buf *buf)
{
    /* relaxed: the caller's own reference keeps the buffer alive */
    uint32_t before = tc_fetch_add_relaxed(&buf->references, 1);
    tc_assert_debug(before != 0 && before != UINT32_MAX);
    (void)before;
    return buf;
}

/* Give a reference back. No read-modify-write for the only holder. NULL is ignored. */
static inline void tc_buf_release(struct tc_buf *buf)
{
    if (buf == NULL) {
        return;
    }
    /* acquire [buf-count]: the only holder sees what the others, gone now, did. acq_rel
     * [buf-count]: publishes our use, and sees theirs if we are the last. */
    if (tc_load_acquire(&buf->references) == 1 || tc_fetch_sub_acq_rel(&buf->references, 1) == 1) {
        tc__buf_free_slow(buf);
    }
}

/* Drop a value that is no TC_VALUE_POINTER, or one whose pointer `release` knows to release.
 * `release` may be NULL if nothing is to be done for pointers. */
static inline void tc_value_release(struct tc_value value, void (*release)(void *pointer))
{
    if (value.kind == TC_VALUE_BUF) {
        tc_buf_release(value.as_buf);
    } else if (value.kind == TC_VALUE_POINTER && release != NULL) {
        release(value.as_pointer);
    }
}

#endif
