#include "http/upload.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "http/chars.h"
#include "http/json.h"
#include "http/method.h"
#include "http/multipart.h"
#include "http/upload_file.h"

enum { FORM_BYTES = 16 * 1024 };

/* ---- answers ------------------------------------------------------------------------------ */

struct names {
    struct tc_json json;
    bool has_first;
};

static void open_list(struct names *names, struct tc_http_upload_result *result)
{
    names->json = (struct tc_json){.text = result->json, .size = sizeof result->json};
    names->has_first = false;
    tc_json_raw(&names->json, "{\"files\": [");
}

static void list_file(struct names *names, const struct tc_upload_stored *stored)
{
    tc_json_raw(&names->json, names->has_first ? ", {\"name\": " : "{\"name\": ");
    tc_json_string(&names->json, stored->name, strlen(stored->name));
    tc_json_raw(&names->json, ", \"size\": ");
    tc_json_number(&names->json, stored->bytes);
    tc_json_raw(&names->json, "}");
    names->has_first = true;
}

static void close_list(struct names *names, struct tc_http_upload_result *result)
{
    tc_json_raw(&names->json, "]}\n");
    result->json_len = names->json.is_full ? 0 : names->json.len;
}

/* ---- one file ----------------------------------------------------------------------------- */

/* All of the body into a file. Returns 0, or why not; result->read_error if the body did not
 * come. */
static int receive_body(const struct tc_http_upload_request *request, struct tc_upload *upload,
                        struct tc_http_upload_result *result)
{
    for (;;) {
        size_t room;
        unsigned char *space = tc_upload_space(upload, &room);
        ssize_t n = request->read(request->arg, space, room);
        if (n <= 0) {
            result->read_error = n;
            return n < 0 ? -EPROTO : 0;
        }
        int rc = tc_upload_advance(upload, (size_t)n);
        if (rc != 0) {
            return rc;
        }
    }
}

static void store_one(struct tc_upload_dir *dir, const struct tc_http_upload_request *request,
                      struct tc_http_upload_result *result)
{
    struct tc_upload_stored stored;
    struct tc_upload *upload;
    struct names names;

    int rc =
        tc_upload_begin(dir, request->name, request->name_len, request->content_length, &upload);
    if (rc != 0) {
        result->status = tc_upload_error_status(rc);
        return;
    }
    rc = receive_body(request, upload, result);
    if (rc != 0) {
        tc_upload_abort(upload);
        result->status = result->read_error != 0 ? 0 : tc_upload_error_status(rc);
        return;
    }
    rc = tc_upload_commit(upload, &stored);
    if (rc != 0) {
        result->status = tc_upload_error_status(rc);
        return;
    }
    result->status = stored.has_replaced ? 200 : 201;
    if (request->name == NULL) {
        memcpy(result->id, stored.name, sizeof result->id);
    }
    open_list(&names, result);
    list_file(&names, &stored);
    close_list(&names, result);
}

/* ---- a form ------------------------------------------------------------------------------- */

struct form {
    struct tc_upload_dir *dir;
    struct tc_multipart multipart;
    struct tc_upload *upload; /* owned; NULL: this part is no file */
    uint64_t skipped; /* bytes of the body that went into no file */
    uint32_t count;
    struct {
        uint64_t bytes;
        char id[TC_UPLOAD_ID_BYTES + 1];
    } files[TC_HTTP_UPLOAD_FILES_MAX]; /* stored; `count` are valid */
    char buf[FORM_BYTES];
};

static void stored_file(const struct form *form, uint32_t index, struct tc_upload_stored *out)
{
    memset(out, 0, sizeof *out);
    memcpy(out->name, form->files[index].id, sizeof form->files[index].id);
    out->bytes = form->files[index].bytes;
}

static int begin_part(struct form *form)
{
    /* A browser sends an empty filename where no file was chosen. */
    if (form->multipart.filename.at == NULL || form->multipart.filename.len == 0) {
        return 0;
    }
    if (form->count == TC_HTTP_UPLOAD_FILES_MAX) {
        return 413;
    }
    return tc_upload_begin(form->dir, NULL, 0, -1, &form->upload);
}

static int end_part(struct form *form)
{
    struct tc_upload *upload = form->upload;
    struct tc_upload_stored stored;

    if (upload == NULL) {
        return 0;
    }
    form->upload = NULL; /* commit frees it in any case */
    int rc = tc_upload_commit(upload, &stored);
    if (rc == 0) {
        form->files[form->count].bytes = stored.bytes;
        memcpy(form->files[form->count].id, stored.name, sizeof form->files[0].id);
        form->count++;
    }
    return rc;
}

/* One event of the decoder. Returns 0, the status of a refusal, or -errno. */
static int take_event(struct form *form, int event, const struct tc_multipart_text *data)
{
    switch (event) {
    case TC_MULTIPART_PART:
        return begin_part(form);
    case TC_MULTIPART_DATA:
        return form->upload == NULL ? 0 : tc_upload_write(form->upload, data->at, data->len);
    case TC_MULTIPART_PART_END:
        return end_part(form);
    default:
        return event < 0 ? tc_http_error_status(event) : 0;
    }
}

/* What has arrived. Returns as take_event; *has_ended behind the closing delimiter. */
static int take_bytes(struct form *form, size_t len, bool *has_ended)
{
    struct tc_multipart_text data;

    for (size_t at = 0; at < len;) {
        size_t used;
        bool is_file = form->upload != NULL;
        int event = tc_multipart_next(&form->multipart, form->buf + at, len - at, &used, &data);
        int rc = take_event(form, event, &data);
        if (rc != 0) {
            return rc;
        }
        at += used;
        form->skipped += is_file ? 0 : used;
        if (form->skipped > TC_HTTP_UPLOAD_SKIP_BYTES) {
            return 413;
        }
        *has_ended = *has_ended || event == TC_MULTIPART_END;
    }
    return 0;
}

static int receive_form(struct form *form, const struct tc_http_upload_request *request,
                        struct tc_http_upload_result *result)
{
    bool has_ended = false;

    for (;;) {
        ssize_t n = request->read(request->arg, form->buf, sizeof form->buf);
        if (n < 0) {
            result->read_error = n;
            return -EPROTO;
        }
        if (n == 0) {
            return has_ended ? 0 : 400;
        }
        int rc = take_bytes(form, (size_t)n, &has_ended);
        if (rc != 0) {
            return rc;
        }
    }
}

static void end_form(struct form *form, int rc, struct tc_http_upload_result *result)
{
    struct tc_upload_stored stored;
    struct names names;

    if (rc == 0) {
        open_list(&names, result);
        for (uint32_t i = 0; i < form->count; i++) {
            stored_file(form, i, &stored);
            list_file(&names, &stored);
        }
        close_list(&names, result);
        result->status = form->count == 0 ? 400 : 201;
        memcpy(result->id, form->files[0].id, sizeof result->id);
        return;
    }
    if (form->upload != NULL) {
        tc_upload_abort(form->upload);
    }
    for (uint32_t i = 0; i < form->count; i++) { /* UR1 */
        stored_file(form, i, &stored);
        tc_upload_remove(form->dir, &stored);
    }
    result->status = result->read_error != 0 ? 0 : rc > 0 ? rc : tc_upload_error_status(rc);
}

static void store_form(struct tc_upload_dir *dir, const struct tc_http_upload_request *request,
                       struct tc_http_upload_result *result)
{
    struct form *form = tc_mem_zalloc(sizeof *form);

    if (form == NULL) {
        result->status = 503;
        return;
    }
    form->dir = dir;
    int rc = tc_multipart_init(&form->multipart, request->content_type, request->content_type_len);
    rc = rc < 0 ? tc_http_error_status(rc) : receive_form(form, request, result);
    end_form(form, rc, result);
    tc_mem_free(form, sizeof *form);
}

/* ---- requests ----------------------------------------------------------------------------- */

static bool is_form(const struct tc_http_upload_request *request)
{
    static const char type[] = "multipart/form-data";
    size_t len = sizeof type - 1;

    return request->content_type != NULL && request->content_type_len >= len &&
           tc_http_is_word(request->content_type, len, type, len) &&
           (request->content_type_len == len ||
            !tc_http_is(request->content_type[len], TC_HTTP_TOKEN));
}

void tc_http_upload(struct tc_upload_dir *dir, const struct tc_http_upload_request *request,
                    struct tc_http_upload_result *result)
{
    bool has_name = request->name != NULL;

    result->status = 0;
    result->read_error = 0;
    result->id[0] = '\0';
    result->json_len = 0;
    if (has_name ? request->method != TC_HTTP_PUT : request->method != TC_HTTP_POST) {
        result->status = 405;
    } else if (request->is_foreign) {
        result->status = 403;
    } else if (has_name && !tc_upload_name_is_valid(request->name, request->name_len)) {
        result->status = 400;
    } else if (!request->has_body) {
        result->status = 411;
    } else if (!has_name && is_form(request)) {
        store_form(dir, request, result);
    } else {
        store_one(dir, request, result);
    }
}
