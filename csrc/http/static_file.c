#include "http/static_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/sys.h"
#include "http/date.h"
#include "http/media.h"

enum {
    OPEN_FLAGS = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
    OPEN_TRIES = 16, /* somebody renames directories while the path is walked */
    READ_TRIES = 3, /* somebody writes while the file is read */
    CACHED_ONLY = 0x20, /* openat2's RESOLVE_CACHED, of Linux 5.12 */
};

/* ---- opening ------------------------------------------------------------------------------ */

/* What openat2 does, by hand, and without following any link. */
static int walk(const struct tc_static_root *root, const char *path)
{
    char name[TC_STATIC_NAME_BYTES];
    int dir = root->fd;

    for (;;) {
        const char *slash = strchr(path, '/');
        size_t len = slash == NULL ? strlen(path) : (size_t)(slash - path);
        bool is_last = slash == NULL || slash[1] == '\0';
        bool is_directory = slash != NULL;
        if (len >= sizeof name) {
            return -ENAMETOOLONG;
        }
        memcpy(name, path, len);
        name[len] = '\0';
        int flags = is_last ? OPEN_FLAGS : O_PATH | O_CLOEXEC;
        int fd = tc_sys_openat(dir, name, flags | O_NOFOLLOW | (is_directory ? O_DIRECTORY : 0), 0);
        if (dir != root->fd) {
            (void)tc_sys_close(dir); /* nothing was written */
        }
        if (fd < 0 || is_last) {
            return fd;
        }
        dir = fd;
        path += len + 1;
    }
}

/* As open(2) does. */
static int open_anywhere(const char *path, bool may_block)
{
    if (may_block) {
        return tc_sys_open(path, OPEN_FLAGS, 0);
    }
    int fd = tc_sys_openat2(AT_FDCWD, path, OPEN_FLAGS, CACHED_ONLY);
    /* An older kernel, or a filter, knows nothing of it. */
    return fd == -ENOSYS || fd == -EPERM || fd == -EINVAL ? -EAGAIN : fd;
}

static unsigned resolve_flags(const struct tc_static_root *root)
{
    return TC_SYS_BENEATH | TC_SYS_NO_MAGICLINKS | (root->follow_links ? 0U : TC_SYS_NO_SYMLINKS);
}

int tc__static_open(const struct tc_static_root *root, const char *path, bool may_block)
{
    unsigned resolve = resolve_flags(root);

    if (root->is_open) {
        return open_anywhere(path, may_block);
    }
    if (!may_block) {
        return root->has_cached ? tc_sys_openat2(root->fd, path, OPEN_FLAGS, resolve | CACHED_ONLY)
                                : -EAGAIN;
    }
    if (!root->has_openat2) {
        return walk(root, path);
    }
    for (int tries = 0; tries < OPEN_TRIES; tries++) {
        int fd = tc_sys_openat2(root->fd, path, OPEN_FLAGS, resolve);
        if (fd != -EAGAIN) {
            return fd;
        }
    }
    return -EBUSY;
}

/* ---- looking ------------------------------------------------------------------------------ */

/* A body that was opened, before anything is made of it. */
struct seen {
    int fd;
    struct tc_static_stamp stamp;
};

static struct tc_static_stamp stamp_of(const struct stat *stat)
{
    return (struct tc_static_stamp){
        .device = stat->st_dev,
        .inode = stat->st_ino,
        .size = (uint64_t)stat->st_size,
        .modified_ns = stat->st_mtim.tv_sec * TC_NS_PER_SEC + stat->st_mtim.tv_nsec,
        .changed_ns = stat->st_ctim.tv_sec * TC_NS_PER_SEC + stat->st_ctim.tv_nsec,
    };
}

static bool is_same_stamp(const struct tc_static_stamp *a, const struct tc_static_stamp *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->modified_ns == b->modified_ns && a->changed_ns == b->changed_ns;
}

static void forget(struct seen *seen)
{
    if (seen->fd >= 0) {
        (void)tc_sys_close(seen->fd); /* nothing was written */
        seen->fd = -1;
    }
}

static void forget_all(struct seen seen[TC_HTTP_CODING_COUNT])
{
    for (int coding = 0; coding < TC_HTTP_CODING_COUNT; coding++) {
        forget(&seen[coding]);
    }
}

/* Open a regular file. Returns 0, -EISDIR, -EAGAIN, or why not. */
static int see(const struct tc_static_lookup *lookup, const char *path, struct seen *out)
{
    struct stat stat;
    int fd = tc__static_open(lookup->root, path, lookup->may_block);

    out->fd = fd;
    if (fd < 0) {
        return fd;
    }
    int rc = tc_sys_fstat(fd, &stat);
    if (rc == 0 && !S_ISREG(stat.st_mode)) {
        rc = S_ISDIR(stat.st_mode) ? -EISDIR : -ENOENT;
    }
    if (rc != 0) {
        forget(out);
        return rc;
    }
    out->stamp = stamp_of(&stat);
    return 0;
}

/* Open the compressed siblings there are. Returns 0 or -EAGAIN. */
static int see_siblings(struct tc_static_lookup *lookup, char *path,
                        struct seen seen[TC_HTTP_CODING_COUNT])
{
    static const char *const endings[TC_HTTP_CODING_COUNT] = {
        [TC_HTTP_GZIP] = ".gz",
        [TC_HTTP_BR] = ".br",
    };
    size_t len = strlen(path);

    for (int coding = 0; coding < TC_HTTP_CODING_COUNT; coding++) {
        if (endings[coding] == NULL) {
            continue;
        }
        memcpy(path + len, endings[coding], strlen(endings[coding]) + 1);
        int rc = see(lookup, path, &seen[coding]);
        path[len] = '\0';
        if (rc == -EAGAIN) {
            return rc;
        }
        if (rc == 0 && seen[coding].stamp.modified_ns < seen[TC_HTTP_IDENTITY].stamp.modified_ns) {
            forget(&seen[coding]); /* of an earlier state */
        }
    }
    return 0;
}

static bool is_known(const struct tc_static_file *known, const struct seen *seen)
{
    for (int coding = 0; known != NULL && coding < TC_HTTP_CODING_COUNT; coding++) {
        const struct tc_static_body *body = &known->bodies[coding];
        bool is_same = seen[coding].fd < 0 ? !body->is_there
                                           : body->is_there && !body->is_weak &&
                                                 is_same_stamp(&body->stamp, &seen[coding].stamp);
        if (!is_same) {
            return false;
        }
    }
    return known != NULL;
}

/* ---- making ------------------------------------------------------------------------------- */

/* What says that there are conditions and ranges, where the terms do not say it. */
static size_t put_validators(const struct tc_static_terms *terms, const struct tc_static_body *body,
                             struct tc_http_answer_field *out)
{
    size_t count = 0;

    if (terms->etag == NULL) {
        out[count++] = (struct tc_http_answer_field){"ETag", body->etag};
    }
    if (terms->modified_text == NULL) {
        out[count++] = (struct tc_http_answer_field){"Last-Modified", body->modified_text};
    }
    if (!terms->has_ranges) {
        out[count++] = (struct tc_http_answer_field){"Accept-Ranges", "bytes"};
    }
    return count;
}

size_t tc__static_fields(const struct tc_static_root *root, const struct tc_static_file *file,
                         const struct tc_static_body *body, struct tc_http_answer_field *out)
{
    const struct tc_static_terms *terms = &root->terms;
    size_t count = terms->is_plain ? 0 : put_validators(terms, body, out);

    if (body == &file->bodies[TC_HTTP_GZIP]) {
        out[count++] = (struct tc_http_answer_field){"Content-Encoding", "gzip"};
    } else if (body == &file->bodies[TC_HTTP_BR]) {
        out[count++] = (struct tc_http_answer_field){"Content-Encoding", "br"};
    }
    if (root->precompressed) {
        out[count++] = (struct tc_http_answer_field){"Vary", "Accept-Encoding"};
    }
    if (!terms->has_nosniff) {
        out[count++] = (struct tc_http_answer_field){"X-Content-Type-Options", "nosniff"};
    }
    for (size_t i = 0; i < terms->field_count; i++) {
        out[count++] = terms->fields[i];
    }
    return count;
}

/* An answer's head; its body is the caller's business. */
static int make_head(const struct tc_static_root *root, const struct tc_static_file *file,
                     const struct tc_static_body *body, int status, struct tc_http_answer *out)
{
    char head[TC_HTTP_ANSWER_HEAD_BYTES];
    struct tc_http_answer_field fields[TC_STATIC_OWN_FIELDS + TC_STATIC_FIELDS_MAX];
    struct tc_http_response response = {
        .status = status,
        .content_type = status == 304 ? NULL : file->type,
        .fields = fields,
        .field_count = tc__static_fields(root, file, body, fields),
    };
    ssize_t len = tc_http_head_write(&response, (int64_t)body->stamp.size, head, sizeof head);

    if (len < 0) {
        return (int)len;
    }
    out->head = tc_mem_alloc((size_t)len);
    if (out->head == NULL) {
        return -ENOMEM;
    }
    memcpy(out->head, head, (size_t)len);
    out->head_len = (size_t)len;
    out->status = status;
    return 0;
}

/* Read `size` bytes. Returns 0, -EAGAIN (must not block), -ENODATA (there are fewer), -errno. */
static int read_all(int fd, char *out, size_t size, bool may_block)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = may_block ? tc_sys_pread(fd, out + done, size - done, (off_t)done)
                              : tc_sys_pread_nowait(fd, out + done, size - done, (off_t)done);
        if (n <= 0) {
            return n == 0 ? -ENODATA : n == -EOPNOTSUPP ? -EAGAIN : (int)n;
        }
        done += (size_t)n;
    }
    return 0;
}

/* Take the content into memory; then the descriptor is not needed. Returns 0, -EAGAIN, -ENODATA: it
 * has been changed meanwhile, -errno. */
static int read_content(const struct tc_static_lookup *lookup, struct seen *seen,
                        struct tc_http_answer *out)
{
    struct stat stat;
    size_t size = (size_t)seen->stamp.size;
    char *content = tc_mem_alloc(size);

    if (content == NULL) {
        return -ENOMEM;
    }
    int rc = read_all(seen->fd, content, size, lookup->may_block);
    if (rc == 0) {
        rc = tc_sys_fstat(seen->fd, &stat);
    }
    if (rc == 0) {
        struct tc_static_stamp stamp = stamp_of(&stat);
        rc = is_same_stamp(&stamp, &seen->stamp) ? 0 : -ENODATA;
    }
    if (rc != 0) {
        tc_mem_free(content, size);
        return rc;
    }
    out->body = content;
    out->body_len = size;
    forget(seen);
    return 0;
}

static void describe(struct tc_static_body *body, const struct tc_static_stamp *stamp,
                     const struct tc_static_terms *terms)
{
    int64_t now = tc_clock_wall_seconds();
    int64_t modified = stamp->modified_ns / TC_NS_PER_SEC;

    body->is_there = true;
    body->stamp = *stamp;
    body->is_weak = modified + 1 >= now;
    (void)snprintf(body->etag, sizeof body->etag, "%s\"%llx-%llx-%llx\"", body->is_weak ? "W/" : "",
                   (unsigned long long)stamp->modified_ns, (unsigned long long)stamp->size,
                   (unsigned long long)stamp->inode);
    body->validators.etag = terms->etag == NULL ? body->etag : terms->etag;
    body->validators.etag_len = strlen(body->validators.etag);
    /* RFC 9110 8.8.2.1: not in the future. */
    body->validators.modified = modified < now ? modified : now;
    tc_http_date_format(body->validators.modified, body->modified_text);
    body->modified_text[TC_HTTP_DATE_BYTES] = '\0';
    if (terms->modified_text != NULL) {
        body->validators.modified = terms->modified;
    }
}

/* Make a body of what was seen, which gives away its descriptor. Returns as read_content. */
static int make_body(const struct tc_static_lookup *lookup, struct tc_static_file *file, int coding,
                     struct seen *seen)
{
    struct tc_static_body *body = &file->bodies[coding];
    const struct tc_static_terms *terms = &lookup->root->terms;
    uint64_t size = seen->stamp.size;

    describe(body, &seen->stamp, terms);
    int rc = make_head(lookup->root, file, body, terms->status, &body->whole);
    if (rc == 0 && !terms->is_plain) {
        rc = make_head(lookup->root, file, body, 304, &body->unchanged);
    }
    if (rc == 0 && size != 0 && size <= lookup->root->content_bytes) {
        rc = read_content(lookup, seen, &body->whole);
    }
    if (rc != 0) {
        return rc;
    }
    if (seen->fd >= 0 && size != 0) {
        body->fd = seen->fd;
        seen->fd = -1;
        file->descriptors++;
    }
    file->bytes += body->whole.head_len + body->whole.body_len + body->unchanged.head_len;
    file->available |= TC_HTTP_CODING_BIT(coding);
    return 0;
}

static void free_file(struct tc_static_file *file)
{
    for (int coding = 0; coding < TC_HTTP_CODING_COUNT; coding++) {
        struct tc_static_body *body = &file->bodies[coding];
        tc_http_answer_fini(&body->whole);
        tc_http_answer_fini(&body->unchanged);
        if (body->fd >= 0) {
            (void)tc_sys_close(body->fd); /* nothing was written */
        }
    }
    tc_mem_free(file, sizeof *file + file->path_len);
}

/* Make a file of the bodies that were seen. `name`: whose type it has. Returns as read_content. */
static int make_file(struct tc_static_lookup *lookup, const char *name,
                     struct seen seen[TC_HTTP_CODING_COUNT])
{
    const struct tc_static_terms *terms = &lookup->root->terms;
    size_t bytes = sizeof(struct tc_static_file) + lookup->path_len;
    struct tc_static_file *file = tc_mem_zalloc(bytes);
    int rc = 0;

    if (file == NULL) {
        return -ENOMEM;
    }
    file->bytes = bytes;
    file->hash = lookup->hash;
    file->type = terms->is_typed ? terms->content_type : tc_http_media_type(name, strlen(name));
    file->path_len = lookup->path_len;
    memcpy(file->path, lookup->path, lookup->path_len);
    for (int coding = 0; coding < TC_HTTP_CODING_COUNT; coding++) {
        file->bodies[coding].fd = -1;
    }
    for (int coding = 0; rc == 0 && coding < TC_HTTP_CODING_COUNT; coding++) {
        if (seen[coding].fd >= 0) {
            rc = make_body(lookup, file, coding, &seen[coding]);
        }
    }
    if (rc != 0) {
        free_file(file);
        return rc;
    }
    tc_store_relaxed(&file->refs, 1); /* relaxed: not shared yet */
    lookup->file = file;
    lookup->kind = TC_STATIC_FILE;
    return 0;
}

void tc__static_hold(struct tc_static_file *file)
{
    tc_fetch_add_relaxed(&file->refs, 1); /* relaxed: another reference keeps it alive */
}

void tc__static_release(struct tc_static_file *file)
{
    /* release [static-file-refs]: our last use, before the free of whoever is last */
    if (tc_fetch_sub_release(&file->refs, 1) != 1) {
        return;
    }
    /* acquire [static-file-refs]: we are last; what all others did is done */
    (void)tc_load_acquire(&file->refs);
    free_file(file);
}

/* ---- lookups ------------------------------------------------------------------------------ */

/* Returns 0 with `kind`, -EAGAIN, -EISDIR, or why there is no file. */
static int find_file(struct tc_static_lookup *lookup, char *path)
{
    for (int tries = 1;; tries++) {
        struct seen seen[TC_HTTP_CODING_COUNT] = {{.fd = -1}, {.fd = -1}, {.fd = -1}};
        int rc = see(lookup, path, &seen[TC_HTTP_IDENTITY]);
        if (rc == 0 && lookup->root->precompressed) {
            rc = see_siblings(lookup, path, seen);
        }
        if (rc == 0 && is_known(lookup->known, seen)) {
            lookup->kind = TC_STATIC_SAME;
        } else if (rc == 0) {
            rc = make_file(lookup, path, seen);
        }
        forget_all(seen);
        if (rc != -ENODATA || tries == READ_TRIES) {
            return rc == -ENODATA ? -EBUSY : rc;
        }
    }
}

static int find_directory(struct tc_static_lookup *lookup, const char *path)
{
    struct stat stat;

    if (lookup->root->listing && !lookup->may_block) {
        return -EAGAIN;
    }
    int fd = tc__static_open(lookup->root, path[0] == '\0' ? "." : path, lookup->may_block);
    if (fd < 0) {
        return fd;
    }
    int rc = tc_sys_fstat(fd, &stat);
    if (rc == 0) {
        rc = !S_ISDIR(stat.st_mode) ? -ENOENT : lookup->root->listing ? 0 : -EACCES;
    }
    if (rc != 0) {
        (void)tc_sys_close(fd); /* nothing was written */
        return rc;
    }
    return tc__static_list(lookup, fd);
}

static int find(struct tc_static_lookup *lookup)
{
    char *path = lookup->path + 1; /* behind the slash */
    size_t len = lookup->path_len - 1;

    if (lookup->root->is_open) {
        return find_file(lookup, lookup->path);
    }
    if (len != 0 && path[len - 1] != '/') {
        int rc = find_file(lookup, path);
        if (rc == -EISDIR) {
            lookup->kind = TC_STATIC_DIRECTORY;
            return 0;
        }
        return rc;
    }
    if (lookup->root->index[0] != '\0') {
        memcpy(path + len, lookup->root->index, strlen(lookup->root->index) + 1);
        int rc = find_file(lookup, path);
        path[len] = '\0';
        if (rc != -ENOENT && rc != -EISDIR) {
            return rc;
        }
    }
    return find_directory(lookup, path);
}

int tc__static_lookup(struct tc_static_lookup *lookup)
{
    tc_assert(lookup->path_len > 0 && lookup->path_len < TC_STATIC_PATH_BYTES);
    lookup->kind = TC_STATIC_NOTHING;
    lookup->file = NULL;
    lookup->page = NULL;
    lookup->page_len = 0;
    lookup->page_size = 0;
    lookup->error = find(lookup);
    if (lookup->error == -EAGAIN && lookup->may_block) {
        lookup->error = -EBUSY;
    }
    return lookup->error == -EAGAIN ? -EAGAIN : 0;
}
