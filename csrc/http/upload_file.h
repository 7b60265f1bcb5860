/* http/upload_file.h — one upload on its way to the disk: all of it under its name, or nothing.
 *
 *   begin ──► write… ──► commit     the file is on the disk, complete, under its name
 *               └──────► abort      nothing is left
 *
 * Every call that touches the disk does so on a thread of the blocking pool, while the fiber waits:
 * a slow disk slows the sender down and nobody else. An upload takes TC_UPLOAD_SLICE_BYTES of
 * memory and its struct, however large the file. Commit writes the file through to the disk (fsync)
 * before it gets its name, and the name (fsync of the directory) before it says so. A file that
 * exists is never touched unless the directory's `overwrite` is set, and then replaced at once.
 *
 * INVARIANTS
 *  UF1  No incomplete file is visible under a name that a client or a reader may use, at any time,
 *       also after a crash.
 *  UF2  After a failed commit or an abort nothing of the file is left, and its bytes are given
 *       back; with one exception: if the directory cannot be written through after a file was
 *       replaced, the new one stays.
 *
 * WHO MAY CALL: the fiber that began the upload; begin to commit or abort may run beside those of
 * any other. Cancelling the fiber does not interrupt a call that has begun.
 */
#ifndef TC_HTTP_UPLOAD_FILE_H
#define TC_HTTP_UPLOAD_FILE_H

#include "base/atomic.h"
#include "http/upload_dir.h"

enum { TC_UPLOAD_SLICE_BYTES = TC_TEST_SMALL ? 512 : 64 * 1024 };

struct tc_upload {
    struct tc_upload_dir *dir; /* borrowed */
    struct tc_list node; /* in dir->uploads; under its lock */
    int fd; /* owned */
    uint32_t used; /* bytes in `slice` */
    uint64_t charged; /* bytes taken of the quota: written, or about to be */
    _Atomic uint64_t received; /* the owner writes, progress reads */
    int64_t total; /* -1: not known; constant, like what follows */
    int64_t since_ns;
    bool has_own_name; /* the server made the name, and may make another */
    char name[TC_UPLOAD_NAME_BYTES + 1]; /* written under dir->lock once it is in dir->uploads */
    char temporary[TC_UPLOAD_TEMPORARY_BYTES]; /* empty: the file has no name */
    unsigned char slice[]; /* TC_UPLOAD_SLICE_BYTES not written yet */
};

/* What has been stored. */
struct tc_upload_stored {
    char name[TC_UPLOAD_NAME_BYTES + 1];
    uint64_t bytes;
    bool has_replaced; /* a file of that name was there before */
};

/* Begin a file called `name`, `len` bytes that tc_upload_name_is_valid accepts; NULL: the server
 * makes a name. `total` is its size, -1 if that is not known: what can be refused is refused now.
 * Parks: may   Threads: a fiber   Owns: *out until commit or abort
 * Returns 0, -EEXIST, -EISDIR (overwrite), -EFBIG (max_size), -EDQUOT (quota), -ENOMEM, -EAGAIN (no
 * thread), or what a system call failed with. */
TC_MAY_PARK TC_NODISCARD int tc_upload_begin(struct tc_upload_dir *dir, const char *name,
                                             size_t len, int64_t total, struct tc_upload **out);

/* Where the next bytes may be put, and how many, at least one; tc_upload_advance says how many
 * were.
 * Parks: never */
unsigned char *tc_upload_space(struct tc_upload *upload, size_t *len);

/* Take `len` bytes that were put into the space; a full slice is written.
 * Parks: may   Threads: the fiber   Returns 0, -EFBIG, -EDQUOT, -ENOSPC, -EIO, … */
TC_MAY_PARK TC_NODISCARD int tc_upload_advance(struct tc_upload *upload, size_t len);

/* Take bytes from elsewhere. Parks: may   Threads: the fiber   Returns as tc_upload_advance. */
TC_MAY_PARK TC_NODISCARD int tc_upload_write(struct tc_upload *upload, const void *data,
                                             size_t len);

/* Store the file and free `upload`, whatever comes out; *stored (may be NULL) is set on 0.
 * Parks: may   Threads: the fiber
 * Returns 0, -EEXIST (somebody was faster), -EISDIR, or what a system call failed with. */
TC_MAY_PARK TC_NODISCARD int tc_upload_commit(struct tc_upload *upload,
                                              struct tc_upload_stored *stored);

/* Give the file up and free `upload`. Parks: may   Threads: the fiber */
TC_MAY_PARK void tc_upload_abort(struct tc_upload *upload);

/* Take a file back that has just been stored under a name the server made, which nobody else knows.
 * Parks: may   Threads: a fiber */
TC_MAY_PARK void tc_upload_remove(struct tc_upload_dir *dir, const struct tc_upload_stored *stored);

/* The HTTP status for an error of the calls above: 409, 413, 507, 503, 400 or 500. Parks: never */
int tc_upload_error_status(int error);

#endif
