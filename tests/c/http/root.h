/* tests/c/http/root.h — a temporary directory, `root`, for the tests of files. */
#ifndef TC_TESTS_C_HTTP_ROOT_H
#define TC_TESTS_C_HTTP_ROOT_H

#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "harness.h"

static char root[PATH_MAX];

/* A path below it, until the next call. */
__attribute__((unused)) static const char *path_of(const char *name)
{
    static char path[2 * PATH_MAX];

    (void)snprintf(path, sizeof path, "%s/%s", root, name);
    return path;
}

/* Make it, with nothing in it. */
static void open_root(const char *test)
{
    const char *tmp = getenv("TMPDIR");

    (void)snprintf(root, sizeof root, "%s/tc_test_%s_XXXXXX", tmp != NULL ? tmp : "/tmp", test);
    TC_CHECK(mkdtemp(root) != NULL);
}

static int remove_one(const char *path, const struct stat *stat, int kind, struct FTW *ftw)
{
    (void)stat;
    (void)kind;
    (void)ftw;
    return remove(path);
}

/* With all that is in it. */
__attribute__((unused)) static void remove_root(void)
{
    TC_CHECK_EQ(nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

#endif
