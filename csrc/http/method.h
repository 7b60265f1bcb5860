/* http/method.h — the request methods that are known; any other token is answered with 501.
 *
 * Those of RFC 9110, PATCH, and what WebDAV and its relatives define.
 *
 * WHO MAY CALL: any thread; nothing parks, nothing is allocated.
 */
#ifndef TC_HTTP_METHOD_H
#define TC_HTTP_METHOD_H

#include <stddef.h>

/* name, spelling; the most frequent first */
#define TC_HTTP_METHODS(X) \
    X(GET, "GET") \
    X(HEAD, "HEAD") \
    X(POST, "POST") \
    X(PUT, "PUT") \
    X(DELETE, "DELETE") \
    X(OPTIONS, "OPTIONS") \
    X(PATCH, "PATCH") \
    X(CONNECT, "CONNECT") \
    X(TRACE, "TRACE") \
    X(ACL, "ACL") \
    X(BIND, "BIND") \
    X(CHECKOUT, "CHECKOUT") \
    X(COPY, "COPY") \
    X(LINK, "LINK") \
    X(LOCK, "LOCK") \
    X(M_SEARCH, "M-SEARCH") \
    X(MERGE, "MERGE") \
    X(MKACTIVITY, "MKACTIVITY") \
    X(MKCALENDAR, "MKCALENDAR") \
    X(MKCOL, "MKCOL") \
    X(MOVE, "MOVE") \
    X(NOTIFY, "NOTIFY") \
    X(PROPFIND, "PROPFIND") \
    X(PROPPATCH, "PROPPATCH") \
    X(PURGE, "PURGE") \
    X(QUERY, "QUERY") \
    X(REBIND, "REBIND") \
    X(REPORT, "REPORT") \
    X(SEARCH, "SEARCH") \
    X(SOURCE, "SOURCE") \
    X(SUBSCRIBE, "SUBSCRIBE") \
    X(UNBIND, "UNBIND") \
    X(UNLINK, "UNLINK") \
    X(UNLOCK, "UNLOCK") \
    X(UNSUBSCRIBE, "UNSUBSCRIBE")

enum tc_http_method {
#define TC_HTTP_METHOD_VALUE(name, spelling) TC_HTTP_##name,
    TC_HTTP_METHODS(TC_HTTP_METHOD_VALUE)
#undef TC_HTTP_METHOD_VALUE
        TC_HTTP_METHOD_COUNT,
    TC_HTTP_METHOD_LONGEST = 11, /* bytes of the longest spelling */
};

/* "GET" for TC_HTTP_GET. */
const char *tc_http_method_name(enum tc_http_method method);

/* The method of this spelling, in which case matters; TC_HTTP_METHOD_COUNT: not known. */
enum tc_http_method tc_http_method_find(const char *name, size_t len);

#endif
