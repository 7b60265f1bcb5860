/* python/process.h — the one runtime of this process, and what fork and exit do to it.
 *
 * The runtime is made when the first server starts and stopped, its threads joined, when the last
 * one has been given back; the next server makes a new one. (Whoever else needs workers holds it.)
 * Python programs fork and exit whenever they like, so both are part of the design:
 *
 *   fork    the forking thread holds the process lock across the fork, so the child sees no
 *           half-made runtime. The child forgets everything it inherited: descriptors are closed,
 *           memory is leaked, nothing is locked or joined. `generation` tells old objects from new.
 *   exit    (atexit: no thread but daemons left, the interpreter intact) servers end at once, all
 *           within a second, with a ResourceWarning each; the workers are joined, memory is leaked.
 *
 *   NONE ──first server──► RUNNING ──last server given back──► NONE
 *     │                       │
 *     └────────exit───────────┴──► EXITING: nothing starts, nothing is freed any more
 *
 * INVARIANTS
 *  P1  A runtime exists exactly while there is a record in the list, or a holder.
 *  P2  The process lock is waited for by detached threads only; its holder may attach.
 *  P3  A record whose generation is not the current one is never touched.
 *  P4  A record is given back when its server is CLOSED and nobody waits for it.
 *
 *                  open   give_back   statistics   configure   fork   exit   -  safe together
 *   each of them    -         -           -            -         -      -
 */
#ifndef TC_PYTHON_PROCESS_H
#define TC_PYTHON_PROCESS_H

#include "python/compat.h"

#include <stdbool.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/list.h"
#include "net/server.h"
#include "sched/runtime.h"

enum { TC_PY_LABEL_BYTES = 96 };

/* How servers of one kind begin and end; called detached. `subject` is what the kind needs beside
 * the options, or NULL. */
struct tc_py_native_kind {
    /* Begin to serve. Returns 0 or -errno. */
    int (*start)(void *subject, struct tc_runtime *runtime, const struct tc_server_options *options,
                 struct tc_server **out);
    /* Free a CLOSED server with its subject; or, `server` being NULL, a subject that was not
     * started. */
    void (*free)(void *subject, struct tc_server *server);
};

/* A native server that was started from Python. */
struct tc_py_native {
    struct tc_list link;      /* in the process's list; under the process lock                  */
    const struct tc_py_native_kind *kind; /* constant                                           */
    void *subject;            /* owned, by way of the kind; constant                            */
    struct tc_server *server; /* owned; constant                                                */
    uint32_t references;      /* the Python object and its waiting threads; under that object's
                               * critical section                                               */
    char label[TC_PY_LABEL_BYTES]; /* "EchoServer on 127.0.0.1:8000"; constant                  */
};

/* Start a server, and a runtime of `workers` workers if there is none.
 * Parks: never (blocks for the time of a thread start)   Threads: detached
 * Owns: takes `subject`, on failure too; *out is the caller's until tc_py_native_give_back
 * Returns 0; -ERANGE: options->workers is more than the runtime has; -ESHUTDOWN at exit; the error
 * of the runtime or of tc_server_start. */
TC_NODISCARD int tc_py_native_open(const struct tc_py_native_kind *kind, void *subject,
                                   const struct tc_server_options *options, uint32_t workers,
                                   struct tc_py_native **out);

/* Free a CLOSED server (P4) and stop the runtime if it was the last.
 * Parks: never (blocks until the workers are joined)   Threads: detached
 * Owns: takes the record */
void tc_py_native_give_back(struct tc_py_native *record);

/* Wait until a server is CLOSED, whatever signals arrive. Parks: never (blocks)   Threads: detached
 * Returns whether it is. */
bool tc_py_native_ends_by(struct tc_server *server, int64_t deadline_ns);

/* Have a runtime, a new one of `workers` workers if there is none, until tc_py_process_let_go.
 * Parks: never (blocks for the time of a thread start)   Threads: detached
 * Returns 0, -ESHUTDOWN at exit, or the error of the runtime. */
TC_NODISCARD int tc_py_process_hold(uint32_t workers, struct tc_runtime **out);

/* Take a hold back. The caller's fibers have ended, and its generation is the current one.
 * Parks: never (blocks until the workers are joined, if it was the last)   Threads: detached */
void tc_py_process_let_go(void);

/* Fill *out; zeros but for the heap memory while no runtime exists.
 * Parks: never   Threads: detached */
void tc_py_process_statistics(struct tc_runtime_statistics *out);

/* Write the fibers of the runtime to a descriptor, for a process that seems to hang.
 * Parks: never   Threads: detached */
void tc_py_process_dump(int fd);

/* Set how many workers the runtime will have; 0: decide at the start.
 * Parks: never   Threads: detached   Returns 0, -EBUSY once a worker has started. */
TC_NODISCARD int tc_py_process_configure(uint32_t workers);

/* What was configured. Parks: never   Threads: detached */
uint32_t tc_py_process_configured(void);

/* How many workers the runtime has, 0 while there is none. Parks: never   Threads: detached */
uint32_t tc_py_process_workers(void);

/* True once exit has ended everything. Parks: never   Threads: any */
bool tc_py_process_is_exiting(void);

/* How often this process is the child of a fork. Parks: never   Threads: any */
uint32_t tc_py_process_generation(void);

/* Refuse a subinterpreter and a second module object.
 * Parks: never   Threads: attached   Returns 0, or -1 with ImportError set. */
TC_NODISCARD int tc_py_process_check(void);

/* Claim the process for the module object that is being made; take the hooks for fork and exit. The
 * last thing its initialization does, because hooks cannot be taken back.
 * Parks: never   Threads: attached   Returns 0, or -1 with an exception set. */
TC_NODISCARD int tc_py_process_claim(void);

/* Give the place back when the module object is freed. Parks: never   Threads: attached */
void tc_py_process_unclaim(void);

#endif
