/* http/origin.h — whether a page of another origin has a browser send a request.
 *
 * A page may have the browser send a form to any server that the browser reaches, one on 127.0.0.1
 * too, and nobody is asked. What tells such a request from others is what the browser adds and no
 * page can change or leave out:
 *
 *   Sec-Fetch-Site   (Fetch Metadata) to servers of this machine, and by TLS: "same-origin", or
 *                    "none" for what the user has done himself. Another value is foreign; so is
 *                    "same-site", which is a page from another port of this machine, for one.
 *   Origin           (RFC 6454, Fetch) with every request but GET and HEAD: scheme, host and port
 *                    of the page, or "null", which is anybody's. It must name the server as Host
 *                    does. Not the scheme: behind a proxy that ends TLS it is another.
 *
 * The first one decides where it is there. Without either the client is no browser, and has a will
 * of its own. What this cannot tell is a page that was loaded under a name which then leads to this
 * server (DNS rebinding): Origin and Host agree in it.
 *
 * WHO MAY CALL: any thread; nothing parks, nothing is allocated.
 */
#ifndef TC_HTTP_ORIGIN_H
#define TC_HTTP_ORIGIN_H

#include "http/handler.h"

/* What a request says of where it comes from; a field that is not there is empty. */
struct tc_http_source {
    struct tc_http_text site; /* Sec-Fetch-Site */
    struct tc_http_text origin; /* Origin */
    struct tc_http_text host; /* of the server, as the client calls it */
};

/* What a call says. An Origin in several lines counts as "null". */
struct tc_http_source tc_http_source_of(const struct tc_http_call *call);

/* True unless it comes from the server's own origin, from no browser, or from one of `allowed`:
 * origins that are valid, with a space between two; may be empty. */
bool tc_http_source_is_foreign(const struct tc_http_source *source, const char *allowed);

/* True for "scheme://host" or "scheme://host:port" as browsers write it: in lower case, without the
 * port that the scheme has anyway, with nothing behind it. */
bool tc_http_origin_is_valid(const char *text, size_t len);

#endif
