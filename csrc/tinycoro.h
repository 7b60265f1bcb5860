/* tinycoro.h — the public C interface: fibers on worker threads, descriptors, TCP servers, HTTP.
 *
 * Reading order: sched/fiber.h (what runs), sched/runtime.h (where), io/io.h (what wakes it),
 * sync/channel.h and sync/select.h (how fibers meet), net/stream.h, net/tcp.h and net/unix.h
 * (bytes), net/server.h and net/echo.h (serving), http/parser.h and http/chunked.h
 * (requests), http/server.h (answering them), http/log.h (what was answered).
 */
#ifndef TINYCORO_H
#define TINYCORO_H

#include "http/chunked.h"
#include "http/date.h"
#include "http/log.h"
#include "http/multipart.h"
#include "http/parser.h"
#include "http/path.h"
#include "http/range.h"
#include "http/server.h"
#include "io/io.h"
#include "net/addr.h"
#include "net/echo.h"
#include "net/server.h"
#include "net/stream.h"
#include "net/tcp.h"
#include "net/unix.h"
#include "sched/fiber.h"
#include "sched/runtime.h"
#include "sync/channel.h"
#include "sync/event.h"
#include "sync/mutex.h"
#include "sync/select.h"
#include "sync/semaphore.h"
#include "sync/value.h"
#include "sync/waitgroup.h"

#endif
