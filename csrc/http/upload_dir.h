/* http/upload_dir.h — a directory that takes uploads: who is at it, how much it may hold, and what
 * a crash has left in it.
 *
 * A file has no name until it is complete (O_TMPFILE). Where the file system or the absence of
 * /proc forbids that, which opening the directory finds out by trying, it has a temporary name, and
 * the next opening sweeps it away. A temporary name begins with TC_UPLOAD_TEMPORARY, which no
 * client can ask for, and its file is locked (flock) for as long as somebody works at it: so a new
 * process may open a directory in which an old one still stores.
 *
 * The quota bounds the bytes of the regular files in the directory itself, dotfiles included, and
 * of what is being uploaded. They are counted at opening, and again when there seems to be no room,
 * at most once a second: what others put there or remove is seen by then.
 *
 * INVARIANTS
 *  UD1  stored + pending <= quota, but for what others store and for a limit below what was there.
 *  UD2  Every upload that has begun and not ended is in `uploads`.
 *
 *           open   close   statistics, progress   begin to commit or abort   -  safe together
 *   open     -      X              X                       X                 X  caller must exclude
 *   close    X      X              X                       X
 */
#ifndef TC_HTTP_UPLOAD_DIR_H
#define TC_HTTP_UPLOAD_DIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/defs.h"
#include "base/list.h"
#include "base/lock.h"

#define TC_UPLOAD_TEMPORARY ".tinycoro-upload-"

enum {
    TC_UPLOAD_NAME_BYTES = 255, /* of a file's name, without the NUL */
    TC_UPLOAD_TEMPORARY_BYTES = 64,
    TC_UPLOAD_ID_BYTES = 32, /* of a name that the server makes */
};

struct tc_upload_options {
    uint64_t max_size; /* bytes of one file; 0: no limit */
    uint64_t quota; /* bytes of all files; 0: no limit */
    unsigned mode; /* of a new file, less the process's umask; 0: 0600, which is always added */
    bool overwrite; /* a file that exists is replaced, and not refused */
    bool no_sync; /* not written through: UF1 holds when the process dies, not the machine */
    const char
        *origins; /* whose pages may send too (http/origin.h), with a space between two; NULL:
                          * nobody's */
};

struct tc_upload_dir {
    struct tc_upload_options options; /* constant */
    struct tc_upload_dir *next; /* of the same server, which owns both; constant once it runs */
    int fd; /* owned */
    bool has_tmpfile; /* a file can get its name at the end; constant */
    struct tc_lock lock; /* TC_RANK_UPLOAD; guards what follows */
    struct tc_list uploads; /* of struct tc_upload, by `node`, the oldest first */
    uint64_t in_progress; /* how many these are */
    uint64_t pending; /* bytes written and not published */
    uint64_t stored; /* bytes in files, as far as is known */
    uint64_t published; /* bytes ever added to stored */
    int64_t counted_ns; /* when the files were last counted */
    uint64_t files_stored;
    uint64_t files_failed;
    _Atomic uint64_t bytes_received; /* of all uploads; each adds its own, without the lock */
    char origins[]; /* options.origins; constant */
};

struct tc_upload_statistics {
    uint64_t bytes_received; /* those of uploads in progress too */
    uint64_t files_in_progress;
    uint64_t files_stored;
    uint64_t files_failed; /* refused before their first byte or given up later */
};

/* One upload in progress. */
struct tc_upload_progress {
    char name[TC_UPLOAD_NAME_BYTES + 1];
    uint64_t bytes; /* received so far */
    int64_t total; /* -1: not known */
    int64_t since_ns; /* when it began */
};

/* Open a directory, find out what it can do, remove what a crash left, count the files if there is
 * a quota. `options` is copied.
 * Parks: never, but blocks the thread   Threads: any   Owns: *out until close
 * Returns 0, -ENOMEM, or what open, O_TMPFILE or reading the directory failed with. */
TC_NODISCARD int tc_upload_dir_open(const char *path, const struct tc_upload_options *options,
                                    struct tc_upload_dir **out);

/* Close a directory; no upload is in progress. NULL is ignored. Parks: never   Threads: any */
void tc_upload_dir_close(struct tc_upload_dir *dir);

/* Costs the same however many there are. Parks: never   Threads: any */
void tc_upload_dir_statistics(struct tc_upload_dir *dir, struct tc_upload_statistics *out);

/* Copy what is in progress, the oldest first, at most `max`: for so long an upload that begins or
 * ends waits. Returns how many are in progress, which may be more. Parks: never   Threads: any */
size_t tc_upload_dir_progress(struct tc_upload_dir *dir, struct tc_upload_progress *out,
                              size_t max);

/* True if a client may name a file so: 1 to TC_UPLOAD_NAME_BYTES bytes, no leading dot, no slash,
 * backslash, control character or NUL. Parks: never   Threads: any */
bool tc_upload_name_is_valid(const char *name, size_t len);

/* ---- for upload_file.c --------------------------------------------------------------------- */

struct tc_upload;

/* Take `bytes` of the quota for an upload. May read the directory: on a thread that may block.
 * Returns 0, -EDQUOT. */
TC_NODISCARD int tc__upload_charge(struct tc_upload_dir *dir, uint64_t bytes);

/* Whether `bytes` more would fit. Returns as tc__upload_charge. */
TC_NODISCARD int tc__upload_has_room(struct tc_upload_dir *dir, uint64_t bytes);

/* An upload begins; it ends: with `is_stored`, its bytes are in a file that replaced `replaced`
 * bytes. `upload` may be NULL for one that failed before it began. */
void tc__upload_enter(struct tc_upload_dir *dir, struct tc_upload *upload);
void tc__upload_leave(struct tc_upload_dir *dir, struct tc_upload *upload, bool is_stored,
                      uint64_t replaced);

/* Give an upload another name of the server's own, while others may look at the one that it has.
 * Returns 0, -errno. */
TC_NODISCARD int tc__upload_make_name(struct tc_upload_dir *dir, struct tc_upload *upload);

/* A file of `bytes` that was stored has been taken back. */
void tc__upload_forget(struct tc_upload_dir *dir, uint64_t bytes);

/* TC_UPLOAD_ID_BYTES hexadecimal digits that nobody can guess, and a NUL. Returns 0, -errno. */
TC_NODISCARD int tc__upload_make_id(char *out);

/* A new file, and in `temporary` (of TC_UPLOAD_TEMPORARY_BYTES) its name, empty if it has none.
 * Returns its descriptor, or -errno. */
TC_NODISCARD int tc__upload_create(struct tc_upload_dir *dir, char *temporary);

/* Give a file that has no name the temporary one. Returns 0, -errno. */
TC_NODISCARD int tc__upload_link_temporary(struct tc_upload_dir *dir, int fd, char *temporary);

/* Give a file that has no name the name `name`, which must be free. Returns 0, -EEXIST, -errno. */
TC_NODISCARD int tc__upload_link(struct tc_upload_dir *dir, int fd, const char *name);

#endif
