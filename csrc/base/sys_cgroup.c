#include "base/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Control groups are read where every distribution and container runtime mounts them; a mount
 * elsewhere counts as no limit, which costs a few idle workers at worst. */
#define CGROUP_MOUNT "/sys/fs/cgroup"

#define FILE_BYTES 4096

/* Read a small file whole into `text`, terminated.  Returns its length (cut to fit) or -errno. */
static ssize_t read_file(const char *path, char *text, size_t size)
{
    size_t used = 0;
    ssize_t n = 0;
    int fd = tc_sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);

    if (fd < 0) {
        return fd;
    }
    while (used < size - 1) {
        n = tc_sys_read(fd, text + used, size - 1 - used);
        if (n <= 0) {
            break;
        }
        used += (size_t)n;
    }
    /* Only read from: nothing can be lost. */
    (void)tc_sys_close(fd);
    text[used] = '\0';
    return n < 0 ? n : (ssize_t)used;
}

/* Read `count` numbers from the start of `text`. */
static bool read_numbers(const char *text, int count, long long *out)
{
    for (int i = 0; i < count; i++) {
        char *end;
        out[i] = strtoll(text, &end, 10);
        if (end == text) {
            return false;
        }
        text = end;
    }
    return true;
}

/* Read the two numbers of one group.  Returns 0; -ENOENT no file or no limit. */
static int read_quota_v2(const char *dir, double *cpus)
{
    char path[PATH_MAX];
    char text[128];
    long long numbers[2]; /* quota and period                                                  */

    if (snprintf(path, sizeof(path), "%s/cpu.max", dir) >= (int)sizeof(path) ||
        read_file(path, text, sizeof(text)) < 0) {
        return -ENOENT;
    }
    /* "max 100000" is no limit and does not scan as a number. */
    if (!read_numbers(text, 2, numbers) || numbers[0] <= 0 || numbers[1] <= 0) {
        return -ENOENT;
    }
    *cpus = (double)numbers[0] / (double)numbers[1];
    return 0;
}

static int read_quota_v1(const char *dir, double *cpus)
{
    char path[PATH_MAX];
    char text[64];
    long long quota;
    long long period;

    if (snprintf(path, sizeof(path), "%s/cpu.cfs_quota_us", dir) >= (int)sizeof(path) ||
        read_file(path, text, sizeof(text)) < 0 || !read_numbers(text, 1, &quota)) {
        return -ENOENT;
    }
    if (snprintf(path, sizeof(path), "%s/cpu.cfs_period_us", dir) >= (int)sizeof(path) ||
        read_file(path, text, sizeof(text)) < 0 || !read_numbers(text, 1, &period)) {
        return -ENOENT;
    }
    if (quota <= 0 || period <= 0) {
        return -ENOENT; /* -1 is no limit */
    }
    *cpus = (double)quota / (double)period;
    return 0;
}

/* Lower *least to the smallest limit of the group at `mount` + `group` and of its
 * ancestors. Groups that do not exist here are skipped: inside a container the path may be
 * the host's. */
static void walk_up(const char *mount, const char *group,
                    int (*read_quota)(const char *dir, double *cpus), double *least)
{
    char dir[PATH_MAX];
    size_t mount_len = strlen(mount);

    if (snprintf(dir, sizeof(dir), "%s%s", mount, group) >= (int)sizeof(dir)) {
        return;
    }
    for (;;) {
        char *slash;
        double cpus;

        if (read_quota(dir, &cpus) == 0 && (*least <= 0 || cpus < *least)) {
            *least = cpus;
        }
        slash = strrchr(dir, '/');
        if (slash == NULL || (size_t)(slash - dir) < mount_len) {
            return;
        }
        *slash = '\0';
    }
}

/* Whether the comma-separated list has the controller "cpu" (and not just "cpuset"). */
static bool has_cpu_controller(const char *list)
{
    while (*list != '\0') {
        size_t len = strcspn(list, ",");

        if (len == 3 && memcmp(list, "cpu", 3) == 0) {
            return true;
        }
        list += len;
        list += *list == ',';
    }
    return false;
}

/* One line of /proc/self/cgroup, "number:controllers:path". */
static void visit_line(const char *root, char *line, double *least)
{
    char mount[PATH_MAX];
    char *controllers = strchr(line, ':');
    char *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');

    if (group == NULL) {
        return;
    }
    *group++ = '\0';
    controllers++;
    if (strcmp(group, "/") == 0) {
        group = "";
    }
    if (*controllers == '\0') {
        if (snprintf(mount, sizeof(mount), "%s" CGROUP_MOUNT, root) < (int)sizeof(mount)) {
            walk_up(mount, group, read_quota_v2, least);
        }
    } else if (has_cpu_controller(controllers)) {
        if (snprintf(mount, sizeof(mount), "%s" CGROUP_MOUNT "/%s", root, controllers) <
            (int)sizeof(mount)) {
            walk_up(mount, group, read_quota_v1, least);
        }
    }
}

int tc__sys_cgroup_cpu_quota_at(const char *root, double *cpus)
{
    char path[PATH_MAX];
    char text[FILE_BYTES];
    char *rest = text;
    char *line;
    double least = 0;
    ssize_t n;

    if (snprintf(path, sizeof(path), "%s/proc/self/cgroup", root) >= (int)sizeof(path)) {
        return -ENAMETOOLONG;
    }
    n = read_file(path, text, sizeof(text));
    if (n < 0) {
        return (int)n;
    }
    while ((line = strsep(&rest, "\n")) != NULL) {
        visit_line(root, line, &least);
    }
    if (least <= 0) {
        return -ENOENT;
    }
    *cpus = least;
    return 0;
}

int tc_sys_cgroup_cpu_quota(double *cpus)
{
    return tc__sys_cgroup_cpu_quota_at("", cpus);
}
