#include "base/assert.h"

#include "base/atomic.h"
#include "base/sys.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void (*_Atomic tc_panic_hook)(int fd);

/* Thread id of the first thread that panicked, 0 while none has. */
static _Atomic int32_t panicking_thread;

/* Let one thread through. A second one waits to be killed, so that the first message comes out
 * whole; the first one itself, coming again from its hook, gives up at once. */
static void enter_panic(void)
{
    int32_t self = (int32_t)tc_sys_gettid();
    int32_t first = 0;

    if (tc_cas_seq_cst(&panicking_thread, &first, self)) {
        return;
    }
    if (first == self) {
        abort();
    }
    for (;;) {
        tc_sys_sched_yield();
    }
}

void tc_panic(const char *fmt, ...)
{
    char text[512];
    va_list args;
    int len;

    enter_panic();
    len = snprintf(text, sizeof(text), "tinycoro: panic: ");
    va_start(args, fmt);
    len += vsnprintf(text + len, sizeof(text) - (size_t)len - 1, fmt, args);
    va_end(args);
    if (len > (int)sizeof(text) - 2) {
        len = (int)sizeof(text) - 2;
    }
    text[len++] = '\n';
    /* The process is about to abort; there is nobody left to tell about a failed write. */
    (void)!tc_sys_write(STDERR_FILENO, text, (size_t)len);
    /* relaxed: a function, no data */
    void (*hook)(int fd) = tc_load_relaxed(&tc_panic_hook);
    if (hook != NULL) {
        hook(STDERR_FILENO);
    }
    abort();
}

void tc__assert_failed(const char *cond, const char *file, int line)
{
    tc_panic("%s:%d: assertion failed: %s", file, line, cond);
}
