#include "sync/value.h"

#include <string.h>

#include "base/mem.h"

struct tc_buf *tc_buf_new(const void *bytes, size_t size)
{
    if (size > SIZE_MAX - sizeof(struct tc_buf)) {
        return NULL;
    }
    struct tc_buf *buf = tc_mem_alloc(sizeof *buf + size);
    if (buf == NULL) {
        return NULL;
    }
    tc_atomic_init(&buf->references, 1);
    buf->reserved = 0;
    buf->size = size;
    if (bytes != NULL && size != 0) {
        memcpy(buf->bytes, bytes, size);
    }
    return buf;
}

void tc__buf_free_slow(struct tc_buf *buf)
{
    tc_mem_free(buf, sizeof *buf + buf->size);
}
