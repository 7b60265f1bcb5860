/* The page that lists a directory: folders and files in the order of their names, whatever the
 * case. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/sys.h"
#include "http/path.h"
#include "http/static_file.h"

enum {
    DIRENT_BYTES = 32 * 1024,
    NAMES_BYTES = 4 * 1024 * 1024, /* what lies beyond is left out, and the page says so */
    FIRST_BYTES = 4096,
};

/* ---- text that grows ---------------------------------------------------------------------- */

struct text {
    char *at; /* owned */
    size_t len;
    size_t size;
    bool has_failed; /* there was no memory; nothing is added any more */
};

static void add(struct text *text, const char *bytes, size_t len)
{
    if (!text->has_failed && len > text->size - text->len) {
        size_t size = text->size == 0 ? FIRST_BYTES : 2 * text->size;
        while (len > size - text->len) {
            size *= 2;
        }
        char *at = tc_mem_realloc(text->at, text->size, size);
        if (at == NULL) {
            text->has_failed = true;
        } else {
            text->at = at;
            text->size = size;
        }
    }
    if (!text->has_failed) {
        memcpy(text->at + text->len, bytes, len);
        text->len += len;
    }
}

static void add_text(struct text *text, const char *string)
{
    add(text, string, strlen(string));
}

/* What a browser shows as these characters, wherever in the page. */
static void add_escaped(struct text *text, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        switch (bytes[i]) {
        case '&':
            add_text(text, "&amp;");
            break;
        case '<':
            add_text(text, "&lt;");
            break;
        case '>':
            add_text(text, "&gt;");
            break;
        case '"':
            add_text(text, "&quot;");
            break;
        case '\'':
            add_text(text, "&#x27;");
            break;
        default:
            add(text, &bytes[i], 1);
        }
    }
}

/* ---- names -------------------------------------------------------------------------------- */

/* A name as it is kept in a text: one byte for its kind, the name, NUL. */
enum { KIND_FILE = 'f', KIND_FOLDER = 'd' };

/* What may be listed; 0: not this. */
static char kind_of(const struct tc_static_lookup *lookup, int fd,
                    const struct tc_sys_dirent *entry)
{
    const char *name = entry->name;
    struct stat stat;

    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
        (name[0] == '.' && !lookup->root->dotfiles)) {
        return 0;
    }
    for (size_t i = 0; name[i] != '\0'; i++) { /* what no path may hold, see http/path.h */
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f || name[i] == '\\') {
            return 0;
        }
    }
    if (entry->type == DT_REG || entry->type == DT_DIR) {
        return entry->type == DT_DIR ? KIND_FOLDER : KIND_FILE;
    }
    if (entry->type != DT_UNKNOWN && !(entry->type == DT_LNK && lookup->root->follow_links)) {
        return 0;
    }
    int flags = lookup->root->follow_links ? 0 : AT_SYMLINK_NOFOLLOW;
    if (tc_sys_fstatat(fd, name, &stat, flags) != 0) {
        return 0;
    }
    return S_ISDIR(stat.st_mode) ? KIND_FOLDER : S_ISREG(stat.st_mode) ? KIND_FILE : 0;
}

/* Read all names. Returns how many there are, or -errno. *is_cut: not all of them are there. */
static ssize_t read_names(const struct tc_static_lookup *lookup, int fd, struct text *names,
                          bool *is_cut)
{
    ssize_t count = 0;
    ssize_t n = 0;
    char *buf = tc_mem_alloc(DIRENT_BYTES);

    *is_cut = false;
    if (buf == NULL) {
        return -ENOMEM;
    }
    while (!*is_cut && (n = tc_sys_getdents(fd, buf, DIRENT_BYTES)) > 0) {
        for (ssize_t at = 0; at < n;) {
            const struct tc_sys_dirent *entry = (void *)(buf + at);
            char kind = kind_of(lookup, fd, entry);
            if (kind != 0) {
                add(names, &kind, 1);
                add(names, entry->name, strlen(entry->name) + 1);
                count++;
            }
            at += entry->record_len;
        }
        *is_cut = names->len >= NAMES_BYTES;
    }
    tc_mem_free(buf, DIRENT_BYTES);
    if (n < 0) {
        return n;
    }
    return names->has_failed ? -ENOMEM : count;
}

static int compare_names(const void *a, const void *b)
{
    const char *left = *(const char *const *)a + 1;
    const char *right = *(const char *const *)b + 1;
    int order = strcasecmp(left, right);

    return order != 0 ? order : strcmp(left, right);
}

/* ---- the page ----------------------------------------------------------------------------- */

static void add_line(struct text *page, const char *name)
{
    char link[3 * 256];
    size_t len = strlen(name + 1);
    const char *slash = name[0] == KIND_FOLDER ? "/" : "";

    if (3 * len > sizeof link) {
        return; /* no file system has such names */
    }
    add_text(page, "<li><a href=\"./");
    /* Of what is left plain only & and ' mean anything in a page. */
    add_escaped(page, link, tc_http_path_encode(name + 1, len, link));
    add_text(page, slash);
    add_text(page, "\">");
    add_escaped(page, name + 1, len);
    add_text(page, slash);
    add_text(page, "</a></li>\n");
}

static void add_page(struct text *page, const struct tc_static_lookup *lookup,
                     const char *const *names, size_t count, bool is_cut)
{
    add_text(page,
             "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>");
    add_escaped(page, lookup->path, lookup->path_len);
    add_text(page, "</title>\n</head>\n<body>\n<h1>");
    add_escaped(page, lookup->path, lookup->path_len);
    add_text(page, "</h1>\n<ul>\n");
    if (lookup->path_len > 1) {
        add_text(page, "<li><a href=\"../\">../</a></li>\n");
    }
    for (size_t i = 0; i < count; i++) {
        add_line(page, names[i]);
    }
    add_text(page, "</ul>\n");
    add_text(page, is_cut ? "<p>There are more.</p>\n" : "");
    add_text(page, "</body>\n</html>\n");
}

/* The names, sorted, into the page. Returns 0 or -ENOMEM. */
static int write_page(struct tc_static_lookup *lookup, const struct text *names, size_t count,
                      bool is_cut)
{
    struct text page = {0};
    size_t bytes = (count + 1) * sizeof(const char *);
    const char **sorted = tc_mem_alloc(bytes);
    const char *name = names->at;

    if (sorted == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        sorted[i] = name;
        name += strlen(name) + 1;
    }
    qsort(sorted, count, sizeof *sorted, compare_names);
    add_page(&page, lookup, sorted, count, is_cut);
    tc_mem_free(sorted, bytes);
    if (page.has_failed) {
        tc_mem_free(page.at, page.size);
        return -ENOMEM;
    }
    lookup->page = page.at;
    lookup->page_len = page.len;
    lookup->page_size = page.size;
    lookup->kind = TC_STATIC_LISTING;
    return 0;
}

int tc__static_list(struct tc_static_lookup *lookup, int fd)
{
    struct text names = {0};
    bool is_cut;
    ssize_t count = read_names(lookup, fd, &names, &is_cut);

    (void)tc_sys_close(fd); /* nothing was written */
    int rc = count < 0 ? (int)count : write_page(lookup, &names, (size_t)count, is_cut);
    tc_mem_free(names.at, names.size);
    return rc;
}
