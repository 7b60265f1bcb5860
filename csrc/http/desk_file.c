#include "http/desk_file.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "http/call.h"
#include "http/static_send.h"

/* ---- the reply ---------------------------------------------------------------------------- */

static struct tc_static_terms terms_of(const struct tc_desk_file *file, bool is_plain)
{
    return (struct tc_static_terms){
        .status = file->status,
        .is_plain = is_plain || file->status != 200,
        .is_typed = true,
        .content_type = file->content_type,
        .fields = file->fields,
        .field_count = file->field_count,
    };
}

int tc_desk_file_check(const struct tc_desk_file *file)
{
    struct tc_static_terms terms = terms_of(file, false);

    return tc__static_terms_read(&terms);
}

static size_t text_size(const struct tc_desk_file *file)
{
    size_t size = strlen(file->path) + 1;

    size += file->content_type == NULL ? 0 : strlen(file->content_type) + 1;
    for (size_t i = 0; i < file->field_count; i++) {
        size += strlen(file->fields[i].name) + strlen(file->fields[i].value) + 2;
    }
    return size;
}

static const char *copy_text(char **at, const char *text)
{
    size_t size = text == NULL ? 0 : strlen(text) + 1;
    char *copy = *at;

    if (text == NULL) {
        return NULL;
    }
    *at += size;
    return memcpy(copy, text, size);
}

struct tc_desk_reply *tc_desk_file_reply(const struct tc_desk_file *file)
{
    size_t fields_bytes = file->field_count * sizeof(struct tc_http_answer_field);
    struct tc_desk_reply *reply =
        tc_desk_reply_new(0, sizeof *file + fields_bytes + text_size(file));

    if (reply == NULL) {
        return NULL;
    }
    struct tc_desk_file *copy = (void *)reply->answer.body;
    struct tc_http_answer_field *fields = (void *)(copy + 1);
    char *at = (char *)fields + fields_bytes;
    *copy = *file;
    copy->fields = fields;
    copy->path = copy_text(&at, file->path);
    copy->content_type = copy_text(&at, file->content_type);
    for (size_t i = 0; i < file->field_count; i++) {
        fields[i].name = copy_text(&at, file->fields[i].name);
        fields[i].value = copy_text(&at, file->fields[i].value);
    }
    reply->kind = TC_DESK_REPLY_FILE;
    reply->file = copy;
    reply->answer = (struct tc_http_answer){.status = file->status};
    return reply;
}

/* ---- sending ------------------------------------------------------------------------------ */

int tc_desk_file_take_error(struct tc_desk_call *call)
{
    /* relaxed: the notice has published it, and the reply is the clerk's own */
    return tc_exchange_relaxed(&call->file_error, 0);
}

static void tell(struct tc_desk_call *errand, int error)
{
    tc_store_relaxed(&errand->file_error, error); /* relaxed: see tc_desk_file_take_error */
    tc__desk_call_notice(errand);
}

/* Look the path up. Returns 0 with a file, which is the caller's, or -errno. */
static TC_MAY_PARK int look(const struct tc_static_root *root, struct tc_desk_call *errand,
                            struct tc_static_file **out)
{
    const char *path = errand->reply->file->path;
    size_t len = strlen(path);

    if (len == 0 || len >= TC_STATIC_PATH_BYTES) {
        return len == 0 ? -ENOENT : -ENAMETOOLONG;
    }
    struct tc_static_lookup *lookup = tc_mem_alloc(sizeof *lookup);
    if (lookup == NULL) {
        return -ENOMEM;
    }
    lookup->root = root;
    lookup->known = NULL;
    lookup->hash = 0;
    lookup->path_len = len;
    memcpy(lookup->path, path, len + 1);
    int rc = tc__static_look(lookup, &errand->desk->offloads);
    rc = rc != 0 ? rc : lookup->error;
    *out = lookup->file;
    tc_mem_free(lookup, sizeof *lookup);
    return rc;
}

/* A failure that is the file's or our own, and not the client's. */
static bool is_our_own(int error)
{
    return error == -ENODATA || error == -EIO || error == -ESTALE || error == -ENOMEM;
}

void tc__desk_file_send(struct tc_http_call *call, struct tc_desk_call *errand)
{
    bool is_read = call->method == TC_HTTP_GET || call->method == TC_HTTP_HEAD;
    struct tc_static_root root = {
        .fd = -1,
        .is_open = true,
        .content_bytes = TC_STATIC_CONTENT_BYTES,
        .terms = terms_of(errand->reply->file, !is_read),
    };
    struct tc_static_file *file = NULL;
    int rc = tc__static_terms_read(&root.terms);

    tc_assert_debug(rc == 0); /* it has been let pass */
    rc = rc != 0 ? rc : look(&root, errand, &file);
    if (rc != 0) {
        int status = tc__static_status(rc);
        if (status != 404) {
            tell(errand, rc);
        }
        tc__static_refuse(call, status, NULL, NULL);
        return;
    }
    tc__static_send(&root, call, file, &errand->desk->offloads);
    tc__static_release(file);
    if (is_our_own(call->send_error)) {
        tell(errand, call->send_error);
    }
}
