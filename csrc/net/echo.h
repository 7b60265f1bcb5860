/* net/echo.h — the protocol that answers every byte with itself; for tc_server_start.
 *
 * A request is one recv into the worker's scratch buffer and one send out of it. What the
 * socket does not take at once is copied, at most TC_IO_SCRATCH_BYTES, and sent by the parked
 * fiber before anything more is read: a client that does not read bounds what it costs. A
 * client that ends its side after its data gets all of it back, and then the end.
 */
#ifndef TC_NET_ECHO_H
#define TC_NET_ECHO_H

#include "net/server.h"

extern const struct tc_protocol tc_echo_protocol;

#endif
