#include "http/upload_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/sys.h"
#include "sched/blocking.h"

enum { ID_TRIES = 3 }; /* a name that nobody can guess is free at once */

/* ---- on a thread of the pool --------------------------------------------------------------- */

/* What is known before the first byte. */
static int check_name(const struct tc_upload *upload)
{
    struct stat stat;
    int rc = tc_sys_fstatat(upload->dir->fd, upload->name, &stat, AT_SYMLINK_NOFOLLOW);

    if (rc == -ENOENT) {
        return 0;
    }
    if (rc != 0) {
        return rc;
    }
    if (!upload->dir->options.overwrite) {
        return -EEXIST;
    }
    return S_ISDIR(stat.st_mode) ? -EISDIR : 0;
}

static int64_t begin_job(void *arg)
{
    struct tc_upload *upload = arg;
    int rc = upload->name[0] == '\0' ? tc__upload_make_id(upload->name) : check_name(upload);

    if (rc == 0 && upload->total > 0) {
        rc = tc__upload_has_room(upload->dir, (uint64_t)upload->total);
    }
    if (rc != 0) {
        return rc;
    }
    upload->fd = tc__upload_create(upload->dir, upload->temporary);
    return upload->fd < 0 ? upload->fd : 0;
}

static int64_t write_job(void *arg)
{
    struct tc_upload *upload = arg;
    uint32_t at = 0;

    int rc = tc__upload_charge(upload->dir, upload->used);
    if (rc != 0) {
        return rc;
    }
    upload->charged += upload->used;
    while (at < upload->used) {
        ssize_t n = tc_sys_write(upload->fd, upload->slice + at, upload->used - at);
        if (n <= 0) {
            return n == 0 ? -EIO : n;
        }
        at += (uint32_t)n;
    }
    upload->used = 0;
    return 0;
}

/* Write a directory through; some file systems know no such thing, and need none. */
static int sync_dir(const struct tc_upload_dir *dir)
{
    int rc = dir->options.no_sync ? 0 : tc_sys_fsync(dir->fd);

    return rc == -EINVAL || rc == -EOPNOTSUPP || rc == -EROFS ? 0 : rc;
}

/* Give a file that has a temporary name its own, if that is free. */
static int rename_to_free(struct tc_upload *upload)
{
    int dir_fd = upload->dir->fd;
    int rc = tc_sys_renameat2(dir_fd, upload->temporary, dir_fd, upload->name, RENAME_NOREPLACE);

    if (rc == -EINVAL || rc == -ENOSYS) {
        rc = tc_sys_linkat(dir_fd, upload->temporary, dir_fd, upload->name, 0);
        if (rc == 0) {
            TC_IGNORE(tc_sys_unlinkat(dir_fd, upload->temporary, 0)); /* or the next sweep does */
        }
    }
    if (rc == 0) {
        upload->temporary[0] = '\0';
    }
    return rc;
}

/* How a commit goes. */
struct commit {
    struct tc_upload *upload;
    bool has_run; /* or else there was no thread */
    bool has_replaced;
    uint64_t replaced; /* bytes of the file that was there */
};

/* Put a file in the place of another, if there is one. */
static int rename_over(struct commit *commit)
{
    struct tc_upload *upload = commit->upload;
    int dir_fd = upload->dir->fd;
    struct stat stat;
    int rc = 0;

    if (upload->temporary[0] == '\0') {
        rc = tc__upload_link_temporary(upload->dir, upload->fd, upload->temporary);
    }
    if (rc != 0) {
        return rc;
    }
    commit->has_replaced = tc_sys_fstatat(dir_fd, upload->name, &stat, AT_SYMLINK_NOFOLLOW) == 0;
    if (commit->has_replaced && S_ISREG(stat.st_mode)) {
        commit->replaced = (uint64_t)stat.st_size;
    }
    rc = tc_sys_renameat2(dir_fd, upload->temporary, dir_fd, upload->name, 0);
    if (rc == 0) {
        upload->temporary[0] = '\0';
    }
    return rc;
}

static int publish(struct commit *commit)
{
    struct tc_upload *upload = commit->upload;

    if (upload->dir->options.overwrite) {
        return rename_over(commit);
    }
    return upload->temporary[0] == '\0' ? tc__upload_link(upload->dir, upload->fd, upload->name)
                                        : rename_to_free(upload);
}

/* Take a published file back, if its name still means it. */
static void withdraw(struct tc_upload *upload)
{
    struct stat ours;
    struct stat found;
    int dir_fd = upload->dir->fd;

    if (tc_sys_fstat(upload->fd, &ours) == 0 &&
        tc_sys_fstatat(dir_fd, upload->name, &found, AT_SYMLINK_NOFOLLOW) == 0 &&
        ours.st_ino == found.st_ino && ours.st_dev == found.st_dev) {
        TC_IGNORE(tc_sys_unlinkat(dir_fd, upload->name, 0)); /* it is complete at least */
    }
}

/* Remove what there is of a file that is not to be. */
static int64_t discard_job(void *arg)
{
    struct tc_upload *upload = arg;

    if (upload->temporary[0] != '\0') {
        TC_IGNORE(tc_sys_unlinkat(upload->dir->fd, upload->temporary, 0)); /* or the next sweep */
    }
    (void)tc_sys_close(upload->fd); /* nobody wants the data */
    return 0;
}

static int64_t commit_job(void *arg)
{
    struct commit *commit = arg;
    struct tc_upload *upload = commit->upload;

    commit->has_run = true;
    int rc = upload->used == 0 ? 0 : (int)write_job(upload);
    if (rc == 0 && !upload->dir->options.no_sync) {
        rc = tc_sys_fsync(upload->fd);
    }
    if (rc == 0) {
        rc = publish(commit);
        for (int tries = 1; rc == -EEXIST && upload->has_own_name && tries < ID_TRIES; tries++) {
            rc = tc__upload_make_name(upload->dir, upload);
            rc = rc == 0 ? publish(commit) : rc;
        }
        if (rc == 0) {
            rc = sync_dir(upload->dir);
            if (rc != 0 && !upload->dir->options.overwrite) {
                withdraw(upload);
            }
        }
    }
    if (rc != 0) {
        (void)discard_job(upload);
        return rc;
    }
    (void)tc_sys_close(upload->fd); /* fsync has said that nothing is lost, or nobody asked */
    return 0;
}

/* ---- on the fiber -------------------------------------------------------------------------- */

static void free_upload(struct tc_upload *upload)
{
    tc_mem_free(upload, sizeof *upload + TC_UPLOAD_SLICE_BYTES);
}

int tc_upload_begin(struct tc_upload_dir *dir, const char *name, size_t len, int64_t total,
                    struct tc_upload **out)
{
    struct tc_upload *upload = NULL;
    int rc = 0;

    tc_assert(name == NULL || tc_upload_name_is_valid(name, len));
    if (total > 0 && dir->options.max_size != 0 && (uint64_t)total > dir->options.max_size) {
        rc = -EFBIG;
    } else if ((upload = tc_mem_alloc(sizeof *upload + TC_UPLOAD_SLICE_BYTES)) == NULL) {
        rc = -ENOMEM;
    } else {
        memset(upload, 0, sizeof *upload);
        upload->dir = dir;
        upload->total = total;
        upload->since_ns = tc_clock_now_ns();
        tc_atomic_init(&upload->received, 0);
        if (name != NULL) {
            memcpy(upload->name, name, len);
        }
        rc = (int)tc_blocking_run(begin_job, upload);
    }
    if (rc != 0) {
        tc__upload_leave(dir, NULL, false, 0);
        if (upload != NULL) {
            free_upload(upload);
        }
        return rc;
    }
    upload->has_own_name = name == NULL;
    tc__upload_enter(dir, upload);
    *out = upload;
    return 0;
}

unsigned char *tc_upload_space(struct tc_upload *upload, size_t *len)
{
    *len = TC_UPLOAD_SLICE_BYTES - upload->used;
    return upload->slice + upload->used;
}

int tc_upload_advance(struct tc_upload *upload, size_t len)
{
    uint64_t max_size = upload->dir->options.max_size;
    /* relaxed: the owner's own */
    uint64_t received = tc_load_relaxed(&upload->received) + len;

    tc_assert_debug(len <= TC_UPLOAD_SLICE_BYTES - upload->used);
    tc_store_relaxed(&upload->received, received); /* relaxed: progress only wants a figure */
    (void)tc_fetch_add_relaxed(&upload->dir->bytes_received, len); /* relaxed: the same */
    if (max_size != 0 && received > max_size) {
        return -EFBIG;
    }
    upload->used += (uint32_t)len;
    return upload->used < TC_UPLOAD_SLICE_BYTES ? 0 : (int)tc_blocking_run(write_job, upload);
}

int tc_upload_write(struct tc_upload *upload, const void *data, size_t len)
{
    const unsigned char *from = data;

    while (len > 0) {
        size_t room;
        unsigned char *to = tc_upload_space(upload, &room);
        size_t part = len < room ? len : room;
        memcpy(to, from, part);
        int rc = tc_upload_advance(upload, part);
        if (rc != 0) {
            return rc;
        }
        from += part;
        len -= part;
    }
    return 0;
}

int tc_upload_commit(struct tc_upload *upload, struct tc_upload_stored *stored)
{
    struct commit commit = {.upload = upload};
    int rc = (int)tc_blocking_run(commit_job, &commit);

    if (!commit.has_run) {
        (void)discard_job(upload); /* better this worker waits than a file stays */
    }
    if (rc == 0 && stored != NULL) {
        memcpy(stored->name, upload->name, sizeof stored->name);
        stored->has_replaced = commit.has_replaced;
        stored->bytes = tc_load_relaxed(&upload->received); /* relaxed: the owner's own */
    }
    tc__upload_leave(upload->dir, upload, rc == 0, commit.replaced);
    free_upload(upload);
    return rc;
}

void tc_upload_abort(struct tc_upload *upload)
{
    if (tc_blocking_run(discard_job, upload) < 0) {
        (void)discard_job(upload); /* there was no thread: see tc_upload_commit */
    }
    tc__upload_leave(upload->dir, upload, false, 0);
    free_upload(upload);
}

struct removal {
    struct tc_upload_dir *dir;
    const struct tc_upload_stored *stored;
};

static int64_t remove_job(void *arg)
{
    const struct removal *removal = arg;

    if (tc_sys_unlinkat(removal->dir->fd, removal->stored->name, 0) == 0) {
        tc__upload_forget(removal->dir, removal->stored->bytes);
    }
    return 0;
}

void tc_upload_remove(struct tc_upload_dir *dir, const struct tc_upload_stored *stored)
{
    struct removal removal = {.dir = dir, .stored = stored};

    if (tc_blocking_run(remove_job, &removal) < 0) {
        (void)remove_job(&removal); /* there was no thread: see tc_upload_commit */
    }
}

int tc_upload_error_status(int error)
{
    switch (-error) {
    case EEXIST:
    case EISDIR:
    case ENOTEMPTY:
        return 409;
    case EFBIG:
        return 413;
    case ENOSPC:
    case EDQUOT:
        return 507;
    case ENAMETOOLONG:
    case EILSEQ:
        return 400;
    case EAGAIN:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
        return 503;
    default:
        return 500;
    }
}
