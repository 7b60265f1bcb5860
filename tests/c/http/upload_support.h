/* tests/c/http/upload_support.h — what the tests of the upload sink share: a directory to fill and
 * to look at, and one upload on a fiber. */
#ifndef TC_TESTS_HTTP_UPLOAD_SUPPORT_H
#define TC_TESTS_HTTP_UPLOAD_SUPPORT_H
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "../net/support.h"
#include "root.h"

#include "base/sys.h"
#include "http/upload_file.h"

enum { BODY_BYTES = 2 * TC_UPLOAD_SLICE_BYTES + 100 };

/* ---- a directory -------------------------------------------------------------------------- */

static unsigned char body[BODY_BYTES];

__attribute__((unused)) static void empty_root(void)
{
    DIR *dir = opendir(root);

    TC_CHECK(dir != NULL);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            TC_CHECK_EQ(remove(path_of(entry->d_name)), 0);
        }
    }
    closedir(dir);
}

__attribute__((unused)) static void make_root(void)
{
    open_root("upload");
    for (size_t i = 0; i < sizeof body; i++) {
        body[i] = (unsigned char)(i * 2654435761U >> 11);
    }
}

/* How many entries there are, and of these how many temporary ones. */
__attribute__((unused)) static int count_entries(int *temporary)
{
    DIR *dir = opendir(root);
    int count = 0;

    *temporary = 0;
    TC_CHECK(dir != NULL);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        bool is_dots = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        bool is_temporary = strncmp(entry->d_name, TC_UPLOAD_TEMPORARY, 17) == 0;
        count += !is_dots;
        *temporary += is_temporary;
    }
    closedir(dir);
    return count;
}

__attribute__((unused)) static void check_entries(int expected)
{
    int temporary;

    TC_CHECK_EQ(count_entries(&temporary), expected);
    TC_CHECK_EQ(temporary, 0);
}

__attribute__((unused)) static void plant(const char *name, size_t len)
{
    int fd = open(path_of(name), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

    TC_CHECK(fd >= 0);
    TC_CHECK_EQ(write(fd, body, len), (ssize_t)len);
    close(fd);
}

/* -1: there is no such file; otherwise its size, after its bytes have been compared. */
__attribute__((unused)) static ssize_t look_at(const char *name)
{
    static unsigned char found[BODY_BYTES + 1];
    int fd = open(path_of(name), O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return -1;
    }
    ssize_t n = read(fd, found, sizeof found);
    close(fd);
    TC_CHECK(n >= 0 && n <= BODY_BYTES);
    TC_CHECK(memcmp(found, body, (size_t)n) == 0);
    return n;
}

__attribute__((unused)) static struct tc_upload_dir *open_dir(const struct tc_upload_options
                                                                  *options)
{
    struct tc_upload_dir *dir;

    TC_CHECK_EQ(tc_upload_dir_open(root, options, &dir), 0);
    return dir;
}

/* A directory in which no file can be without a name. */
__attribute__((unused)) static struct tc_upload_dir *open_dir_without_tmpfile(
    const struct tc_upload_options *options)
{
    tc_fault_arm(TC_SYS_OPENAT, 1, EOPNOTSUPP, 1);
    struct tc_upload_dir *dir = open_dir(options);
    TC_CHECK_EQ(tc_fault_hits(TC_SYS_OPENAT), 1);
    tc_fault_disarm_all();
    TC_CHECK(!dir->has_tmpfile);
    return dir;
}

/* ---- one upload on a fiber ----------------------------------------------------------------- */

struct job {
    struct tc_upload_dir *dir;
    const char *name; /* NULL: the server's */
    int64_t total;
    size_t len;
    bool must_abort;
    void (*meanwhile)(struct job *job); /* before the end */
    int begun; /* what tc_upload_begin returned */
    int rc; /* what the first call that failed returned, or commit */
    struct tc_upload_stored stored;
};

__attribute__((unused)) static void upload_entry(void *arg)
{
    struct job *job = arg;
    struct tc_upload *upload;

    job->begun = tc_upload_begin(job->dir, job->name, job->name == NULL ? 0 : strlen(job->name),
                                 job->total, &upload);
    job->rc = job->begun;
    if (job->rc != 0) {
        return;
    }
    for (size_t at = 0; job->rc == 0 && at < job->len;) {
        size_t part = job->len - at < 777 ? job->len - at : 777;
        job->rc = tc_upload_write(upload, body + at, part);
        at += part;
    }
    if (job->meanwhile != NULL) {
        job->meanwhile(job);
    }
    if (job->rc != 0 || job->must_abort) {
        tc_upload_abort(upload);
        return;
    }
    job->rc = tc_upload_commit(upload, &job->stored);
}

__attribute__((unused)) static int run_upload(struct job *job)
{
    struct tc_runtime *runtime = start_runtime(1);

    TC_CHECK_EQ(tc_runtime_run(runtime, upload_entry, job), 0);
    stop_runtime(runtime);
    return job->rc;
}

__attribute__((unused)) static int upload(struct tc_upload_dir *dir, const char *name, size_t len)
{
    struct job job = {.dir = dir, .name = name, .total = (int64_t)len, .len = len};

    return run_upload(&job);
}

__attribute__((unused)) static struct tc_upload_statistics statistics_of(struct tc_upload_dir *dir)
{
    struct tc_upload_statistics result;

    tc_upload_dir_statistics(dir, &result);
    return result;
}

#endif
