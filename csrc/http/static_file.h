/* http/static_file.h — a path, looked up: what can be sent for it. For the files of the static
 * route, below its directory, and those that a handler answers with, anywhere.
 *
 * A file is what a path leads to, with up to three bodies: itself and its compressed siblings. It
 * is made once and then constant but for some hints; it lives as long as somebody has a reference,
 * or until the next quiescent state of a worker that found it in the cache.
 *
 * INVARIANTS
 *  SF1  A body has `content` or `fd`, but for an empty one, which needs neither.
 *  SF2  bodies[TC_HTTP_IDENTITY] is always there.
 *
 * WHO MAY CALL: a lookup belongs to one fiber, which may hand it to the blocking pool; a file is
 * anybody's who has it. Nothing parks.
 */
#ifndef TC_HTTP_STATIC_FILE_H
#define TC_HTTP_STATIC_FILE_H

#include <sys/stat.h>

#include "base/atomic.h"
#include "base/ebr_core.h"
#include "http/coding.h"
#include "http/conditions.h"
#include "http/response.h"
#include "http/static.h"

enum {
    TC_STATIC_ETAG_BYTES = 64,
    TC_STATIC_DATE_TEXT_BYTES = 32,
    TC_STATIC_NAME_BYTES = 256, /* of an index, with the NUL */
    TC_STATIC_OWN_FIELDS = 8,
};

/* Where to look, how, and what is said of what is found. Constant. */
struct tc_static_root {
    int fd; /* owned; the directory, but for is_open */
    bool is_open; /* paths are the program's own, and lead where open(2) says they do */
    bool has_openat2;
    bool has_cached; /* openat2 can be told not to wait for the disk */
    bool follow_links;
    bool dotfiles;
    bool listing;
    bool precompressed;
    uint64_t content_bytes; /* a larger file is not read into memory */
    char index[TC_STATIC_NAME_BYTES]; /* empty: none */
    struct tc_static_terms terms;
};

/* What tells that a file is still the same. */
struct tc_static_stamp {
    uint64_t device;
    uint64_t inode;
    uint64_t size;
    int64_t modified_ns;
    int64_t changed_ns;
};

struct tc_static_body {
    int fd; /* owned; -1: none */
    bool is_there;
    bool is_weak; /* younger than a second when it was looked at */
    _Atomic int64_t known_until_ns; /* until then it counts as in memory; see static_send.c */
    struct tc_static_stamp stamp;
    char etag[TC_STATIC_ETAG_BYTES]; /* terminated */
    char modified_text[TC_STATIC_DATE_TEXT_BYTES]; /* terminated */
    struct tc_http_validators validators;
    struct tc_http_answer whole; /* with the content, if that is in memory */
    struct tc_http_answer unchanged; /* 304; nothing where the terms are plain */
};

struct tc_static_file {
    struct tc_ebr_node retired; /* the cache's, once it has let go of it */
    struct tc_static_file *next; /* the cache's */
    _Atomic uint32_t refs;
    _Atomic bool is_checking; /* somebody looks whether it is still the same */
    _Atomic bool was_used; /* since the cache looked for room */
    _Atomic int64_t fresh_until_ns;
    uint64_t hash; /* of path */
    const char *type; /* constant text, or the terms'; NULL: none */
    unsigned available; /* TC_HTTP_CODING_BITs */
    uint32_t descriptors;
    uint64_t bytes; /* of memory */
    struct tc_static_body bodies[TC_HTTP_CODING_COUNT];
    size_t path_len;
    char path[]; /* as in a request, below the prefix */
};

enum tc_static_kind {
    TC_STATIC_NOTHING, /* see `error` */
    TC_STATIC_FILE, /* `file` */
    TC_STATIC_SAME, /* `known` still holds */
    TC_STATIC_DIRECTORY, /* and the path has no slash */
    TC_STATIC_LISTING, /* `page` */
};

struct tc_static_lookup {
    const struct tc_static_root *root;
    const struct tc_static_file *known; /* borrowed; NULL: nothing is */
    bool may_block;
    uint8_t kind; /* enum tc_static_kind; the result from here on */
    int error; /* -errno */
    struct tc_static_file *file; /* the caller's: one reference */
    char *page; /* the caller's; a listing */
    size_t page_len;
    size_t page_size;
    uint64_t hash; /* of path, for the cache */
    size_t path_len; /* what is asked for: "/...", or any path where the root is open */
    char path[TC_STATIC_PATH_BYTES + TC_STATIC_NAME_BYTES + 8]; /* terminated; room for endings */
};

/* Find out what the path leads to. Without may_block: -EAGAIN if that would wait for a disk, and
 * nothing is found then.
 * Returns 0 with `kind`, or -EAGAIN. */
TC_NODISCARD int tc__static_lookup(struct tc_static_lookup *lookup);

/* Open `path`, which is relative, beneath the directory, or wherever an open root has it, without
 * waiting if it must not block.
 * Returns a descriptor, -EAGAIN, or why not. */
TC_NODISCARD int tc__static_open(const struct tc_static_root *root, const char *path,
                                 bool may_block);

/* The fields of an answer with a body, TC_STATIC_OWN_FIELDS + root->terms.field_count at most.
 * Returns how many. */
size_t tc__static_fields(const struct tc_static_root *root, const struct tc_static_file *file,
                         const struct tc_static_body *body, struct tc_http_answer_field *out);

/* Add a reference; the caller has one, or found it in the cache since the last park. Give one
 * back. */
void tc__static_hold(struct tc_static_file *file);
void tc__static_release(struct tc_static_file *file);

/* static_list.c: write the page of a directory; `fd` of it is closed. Returns 0 or -errno. */
TC_NODISCARD int tc__static_list(struct tc_static_lookup *lookup, int fd);

#endif
