#include "http/upload_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/sys.h"
#include "http/upload_file.h"

#define COUNT_AGAIN_NS TC_NS_PER_SEC

enum {
    DEFAULT_MODE = 0600,
    DIRENT_BYTES = 4096,
    CREATE_TRIES = 4, /* a sweep may come between making a file and locking it */
};

_Static_assert(sizeof TC_UPLOAD_TEMPORARY + TC_UPLOAD_ID_BYTES <= TC_UPLOAD_TEMPORARY_BYTES,
               "room for a temporary name");

/* ---- names -------------------------------------------------------------------------------- */

bool tc_upload_name_is_valid(const char *name, size_t len)
{
    if (len == 0 || len > TC_UPLOAD_NAME_BYTES || name[0] == '.') {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c < 0x20 || c == 0x7f || c == '/' || c == '\\') {
            return false;
        }
    }
    return true;
}

int tc__upload_make_id(char *out)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char random[TC_UPLOAD_ID_BYTES / 2];
    int rc = tc_sys_getrandom(random, sizeof random);

    for (size_t i = 0; rc == 0 && i < sizeof random; i++) {
        out[2 * i] = digits[random[i] >> 4];
        out[2 * i + 1] = digits[random[i] & 15];
    }
    out[TC_UPLOAD_ID_BYTES] = '\0';
    return rc;
}

static int make_temporary(char *out)
{
    memcpy(out, TC_UPLOAD_TEMPORARY, sizeof TC_UPLOAD_TEMPORARY - 1);
    int rc = tc__upload_make_id(out + sizeof TC_UPLOAD_TEMPORARY - 1);
    if (rc != 0) {
        out[0] = '\0';
    }
    return rc;
}

/* ---- the directory's entries -------------------------------------------------------------- */

/* Call `visit` for every entry but "." and "..". Returns 0 or -errno. */
static int walk(struct tc_upload_dir *dir,
                void (*visit)(struct tc_upload_dir *dir, const char *name, void *arg), void *arg)
{
    union {
        struct tc_sys_dirent first; /* for its alignment */
        unsigned char bytes[DIRENT_BYTES];
    } buf;
    ssize_t n;

    /* An open file of its own: the position in a directory belongs to that. */
    int fd = tc_sys_openat(dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0) {
        return fd;
    }
    while ((n = tc_sys_getdents(fd, &buf, sizeof buf)) > 0) {
        for (ssize_t at = 0; at < n;) {
            struct tc_sys_dirent *entry = (void *)(buf.bytes + at);
            if (strcmp(entry->name, ".") != 0 && strcmp(entry->name, "..") != 0) {
                visit(dir, entry->name, arg);
            }
            at += entry->record_len;
        }
    }
    (void)tc_sys_close(fd); /* nothing was written */
    return (int)n;
}

static bool is_temporary(const char *name)
{
    return strncmp(name, TC_UPLOAD_TEMPORARY, sizeof TC_UPLOAD_TEMPORARY - 1) == 0;
}

/* Remove a temporary file, unless somebody works at it. What cannot be opened, locked or removed is
 * left: it is in nobody's way. */
static void sweep_one(struct tc_upload_dir *dir, const char *name, void *arg)
{
    (void)arg;
    if (!is_temporary(name)) {
        return;
    }
    int fd = tc_sys_openat(dir->fd, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
    if (fd < 0) {
        return;
    }
    if (tc_sys_flock(fd, LOCK_EX | LOCK_NB) == 0) {
        TC_IGNORE(tc_sys_unlinkat(dir->fd, name, 0)); /* see above */
    }
    (void)tc_sys_close(fd); /* nothing was written */
}

static void count_one(struct tc_upload_dir *dir, const char *name, void *arg)
{
    uint64_t *bytes = arg;
    struct stat stat;

    /* A temporary file is pending, here or in another process; one that is gone takes no room. */
    if (!is_temporary(name) && tc_sys_fstatat(dir->fd, name, &stat, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISREG(stat.st_mode)) {
        *bytes += (uint64_t)stat.st_size;
    }
}

/* Count the files. What is published meanwhile may be counted twice, until the next time. */
static int count_files(struct tc_upload_dir *dir)
{
    uint64_t bytes = 0;

    tc_lock_acquire(&dir->lock);
    uint64_t published = dir->published;
    dir->counted_ns = tc_clock_now_ns();
    tc_lock_release(&dir->lock);
    int rc = walk(dir, count_one, &bytes);
    if (rc == 0) {
        tc_lock_acquire(&dir->lock);
        dir->stored = bytes + (dir->published - published);
        tc_lock_release(&dir->lock);
    }
    return rc;
}

/* ---- quota -------------------------------------------------------------------------------- */

static bool has_room_locked(const struct tc_upload_dir *dir, uint64_t bytes)
{
    uint64_t quota = dir->options.quota;
    uint64_t used = dir->stored + dir->pending;

    return quota == 0 || (used <= quota && bytes <= quota - used);
}

static int claim(struct tc_upload_dir *dir, uint64_t bytes, uint64_t charge)
{
    for (bool has_counted = false;; has_counted = true) {
        tc_lock_acquire(&dir->lock);
        bool has_room = has_room_locked(dir, bytes);
        if (has_room) {
            dir->pending += charge;
        }
        bool is_fresh = tc_clock_now_ns() - dir->counted_ns < COUNT_AGAIN_NS;
        tc_lock_release(&dir->lock);
        if (has_room) {
            return 0;
        }
        if (has_counted || is_fresh || count_files(dir) != 0) {
            return -EDQUOT;
        }
    }
}

int tc__upload_charge(struct tc_upload_dir *dir, uint64_t bytes)
{
    return claim(dir, bytes, bytes);
}

int tc__upload_has_room(struct tc_upload_dir *dir, uint64_t bytes)
{
    return claim(dir, bytes, 0);
}

/* ---- uploads in progress ------------------------------------------------------------------ */

void tc__upload_enter(struct tc_upload_dir *dir, struct tc_upload *upload)
{
    tc_lock_acquire(&dir->lock);
    tc_list_push_back(&dir->uploads, &upload->node);
    dir->in_progress++;
    tc_lock_release(&dir->lock);
}

void tc__upload_leave(struct tc_upload_dir *dir, struct tc_upload *upload, bool is_stored,
                      uint64_t replaced)
{
    tc_lock_acquire(&dir->lock);
    if (upload != NULL) {
        tc_list_remove(&upload->node);
        dir->in_progress--;
        dir->pending -= upload->charged;
    }
    if (is_stored && upload != NULL) {
        dir->stored += upload->charged;
        dir->published += upload->charged;
        dir->stored -= replaced < dir->stored ? replaced : dir->stored;
        dir->files_stored++;
    } else {
        dir->files_failed++;
    }
    tc_lock_release(&dir->lock);
}

int tc__upload_make_name(struct tc_upload_dir *dir, struct tc_upload *upload)
{
    char id[TC_UPLOAD_ID_BYTES + 1];
    int rc = tc__upload_make_id(id);

    if (rc == 0) {
        tc_lock_acquire(&dir->lock);
        memcpy(upload->name, id, sizeof id);
        tc_lock_release(&dir->lock);
    }
    return rc;
}

void tc__upload_forget(struct tc_upload_dir *dir, uint64_t bytes)
{
    tc_lock_acquire(&dir->lock);
    dir->stored -= bytes < dir->stored ? bytes : dir->stored;
    dir->files_stored--;
    dir->files_failed++;
    tc_lock_release(&dir->lock);
}

void tc_upload_dir_statistics(struct tc_upload_dir *dir, struct tc_upload_statistics *out)
{
    tc_lock_acquire(&dir->lock);
    out->bytes_received = tc_load_relaxed(&dir->bytes_received); /* relaxed: a statistic */
    out->files_in_progress = dir->in_progress;
    out->files_stored = dir->files_stored;
    out->files_failed = dir->files_failed;
    tc_lock_release(&dir->lock);
}

size_t tc_upload_dir_progress(struct tc_upload_dir *dir, struct tc_upload_progress *out, size_t max)
{
    struct tc_list *it;
    size_t count = 0;

    tc_lock_acquire(&dir->lock);
    TC_LIST_FOR_EACH (it, &dir->uploads) {
        struct tc_upload *upload = tc_container_of(it, struct tc_upload, node);
        if (count == max) {
            break;
        }
        memcpy(out[count].name, upload->name, sizeof out[count].name);
        out[count].bytes = tc_load_relaxed(&upload->received); /* relaxed: a statistic */
        out[count].total = upload->total;
        out[count].since_ns = upload->since_ns;
        count++;
    }
    size_t in_progress = dir->in_progress;
    tc_lock_release(&dir->lock);
    return in_progress;
}

/* ---- files -------------------------------------------------------------------------------- */

static int create_unnamed(const struct tc_upload_dir *dir)
{
    return tc_sys_openat(dir->fd, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, dir->options.mode);
}

/* Lock a new file against sweeps. Returns 0, or -EWOULDBLOCK if one has begun or has been. */
static int lock_new(int fd)
{
    struct stat stat;
    int rc = tc_sys_flock(fd, LOCK_EX | LOCK_NB);

    if (rc == -EWOULDBLOCK) {
        return rc;
    }
    /* Any other error: this file system has no locks, and then no sweep dares to remove the
     * file. */
    rc = tc_sys_fstat(fd, &stat);
    return rc != 0 ? rc : stat.st_nlink == 0 ? -EWOULDBLOCK : 0;
}

static int create_named(const struct tc_upload_dir *dir, char *temporary)
{
    for (int tries = 0;; tries++) {
        int rc = make_temporary(temporary);
        if (rc != 0) {
            return rc;
        }
        int fd = tc_sys_openat(dir->fd, temporary, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC,
                               dir->options.mode);
        rc = fd < 0 ? fd : lock_new(fd);
        if (rc == 0) {
            return fd;
        }
        if (fd >= 0) {
            TC_IGNORE(tc_sys_unlinkat(dir->fd, temporary, 0)); /* a sweep may have been faster */
            (void)tc_sys_close(fd);
        }
        if (rc != -EWOULDBLOCK || tries == CREATE_TRIES) {
            temporary[0] = '\0';
            return rc;
        }
    }
}

int tc__upload_create(struct tc_upload_dir *dir, char *temporary)
{
    temporary[0] = '\0';
    return dir->has_tmpfile ? create_unnamed(dir) : create_named(dir, temporary);
}

int tc__upload_link(struct tc_upload_dir *dir, int fd, const char *name)
{
    char path[32];

    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return tc_sys_linkat(AT_FDCWD, path, dir->fd, name, AT_SYMLINK_FOLLOW);
}

int tc__upload_link_temporary(struct tc_upload_dir *dir, int fd, char *temporary)
{
    /* Before it can be found; an error leaves it unlocked and in danger of a sweep in the moment
     * until it is renamed, which then fails. */
    TC_IGNORE(tc_sys_flock(fd, LOCK_EX | LOCK_NB));
    int rc = make_temporary(temporary);
    if (rc == 0) {
        rc = tc__upload_link(dir, fd, temporary);
    }
    if (rc != 0) {
        temporary[0] = '\0';
    }
    return rc;
}

/* ---- opening ------------------------------------------------------------------------------ */

/* Find out whether a file can do without a name until the end. Returns 0, or why no file can be
 * made at all. */
static int probe(struct tc_upload_dir *dir)
{
    char temporary[TC_UPLOAD_TEMPORARY_BYTES];
    int fd = create_unnamed(dir);

    dir->has_tmpfile = false;
    if (fd >= 0) {
        int rc = tc__upload_link_temporary(dir, fd, temporary);
        dir->has_tmpfile = rc == 0;
        if (rc == 0) {
            rc = tc_sys_unlinkat(dir->fd, temporary, 0);
        } else {
            rc = 0;
        }
        (void)tc_sys_close(fd); /* it is empty */
        return rc;
    }
    /* EISDIR: the kernel does not know the flag. */
    if (fd != -EOPNOTSUPP && fd != -EISDIR && fd != -EINVAL) {
        return fd;
    }
    fd = create_named(dir, temporary);
    if (fd < 0) {
        return fd;
    }
    (void)tc_sys_close(fd); /* it is empty */
    return tc_sys_unlinkat(dir->fd, temporary, 0);
}

int tc_upload_dir_open(const char *path, const struct tc_upload_options *options,
                       struct tc_upload_dir **out)
{
    const char *origins = options->origins == NULL ? "" : options->origins;
    size_t origins_size = strlen(origins) + 1;
    struct tc_upload_dir *dir = tc_mem_zalloc(sizeof *dir + origins_size);

    if (dir == NULL) {
        return -ENOMEM;
    }
    memcpy(dir->origins, origins, origins_size);
    dir->options = *options;
    dir->options.origins = dir->origins;
    dir->options.mode = options->mode | DEFAULT_MODE;
    tc_lock_init(&dir->lock, TC_RANK_UPLOAD);
    tc_list_init(&dir->uploads);
    tc_atomic_init(&dir->bytes_received, 0);
    dir->fd = tc_sys_open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    int rc = dir->fd < 0 ? dir->fd : probe(dir);
    if (rc == 0) {
        rc = walk(dir, sweep_one, NULL);
    }
    if (rc == 0 && options->quota != 0) {
        rc = count_files(dir);
    }
    if (rc != 0) {
        tc_upload_dir_close(dir);
        return rc;
    }
    *out = dir;
    return 0;
}

void tc_upload_dir_close(struct tc_upload_dir *dir)
{
    if (dir == NULL) {
        return;
    }
    if (dir->fd >= 0) {
        (void)tc_sys_close(dir->fd); /* every file has been written through by itself */
    }
    tc_mem_free(dir, sizeof *dir + strlen(dir->origins) + 1);
}
