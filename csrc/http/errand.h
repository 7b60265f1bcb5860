/* http/errand.h — requests of a connection that the desk's clerk answers (http/desk.h): begun by
 * the exchange, their body collected from the input, their answer sent when it has come. For
 * exchange.c and connection.c alone.
 *
 * WHO MAY CALL: the owner of the connection, on a worker; nothing parks.
 */
#ifndef TC_HTTP_ERRAND_H
#define TC_HTTP_ERRAND_H

#include "http/exchange.h"

/* The request becomes the connection's errand, or is refused. */
void tc__http_errand_begin(struct tc_http_pass *pass, const struct tc_http_request *request,
                           const char *buf, size_t head_len, struct tc_http_text path,
                           const struct tc_http_fit *fit);

/* Take what there is of its body. Returns the bytes used. */
size_t tc__http_errand_collect(struct tc_http_pass *pass, const char *buf, size_t len);

/* The input has come to its end: an errand that is still collecting need not, where the handler
 * reads the body as it comes. */
void tc__http_errand_settle(struct tc_http_pass *pass);

/* Send the answer, if it has come. Returns whether it has. */
bool tc__http_errand_answer(struct tc_http_pass *pass);

#endif
