/* Every call that an upload makes, failed: at each place with the first of its errors, with all of
 * them if TC_SLOW=long. */
#include "upload_support.h"

/* ---- every call, failed -------------------------------------------------------------------- */

struct call {
    enum tc_sys_call call;
    int errors[6];
};

/* What an upload calls, with what the manual says that it may fail with. */
static const struct call calls[] = {
    {TC_SYS_OPEN, {EMFILE, EACCES, ENOENT}},
    {TC_SYS_OPENAT, {ENOSPC, EMFILE, EACCES, EDQUOT, EOPNOTSUPP, EIO}},
    {TC_SYS_WRITE, {ENOSPC, EIO, EDQUOT, EFBIG}},
    {TC_SYS_FSYNC, {EIO, ENOSPC, EDQUOT}},
    {TC_SYS_FSTAT, {EIO, ENOMEM}},
    {TC_SYS_FSTATAT, {EIO, ENOMEM, EACCES}},
    {TC_SYS_FLOCK, {ENOLCK, EWOULDBLOCK, EOPNOTSUPP}},
    {TC_SYS_GETDENTS, {EIO, ENOENT}},
    {TC_SYS_GETRANDOM, {ENOSYS, EPERM}},
    {TC_SYS_LINKAT, {EIO, EEXIST, ENOSPC, EPERM, EMLINK}},
    {TC_SYS_RENAMEAT2, {EIO, EEXIST, ENOSPC, EINVAL, EPERM}},
    {TC_SYS_UNLINKAT, {EIO, EROFS, EPERM}},
    {TC_SYS_CLOSE, {EIO, ENOSPC}},
    {TC_FAULT_ALLOC, {ENOMEM}},
    {TC_FAULT_THREAD, {EAGAIN}},
};

struct way {
    bool is_named;
    bool overwrite;
    bool has_own_name;
};

/* A life of one upload in a running runtime. Returns 0 if the file was stored. */
static int live(struct tc_runtime *runtime, const struct way *way)
{
    struct tc_upload_options options = {.quota = 1 << 30, .overwrite = way->overwrite};
    struct job job = {.name = way->has_own_name ? NULL : "file", .total = -1, .len = BODY_BYTES};

    int rc = tc_upload_dir_open(root, &options, &job.dir);
    if (rc != 0) {
        return rc;
    }
    job.dir->has_tmpfile = job.dir->has_tmpfile && !way->is_named;
    /* The fiber itself is not what is tested. */
    rc = tc_runtime_run(runtime, upload_entry, &job);
    rc = rc != 0 ? rc : job.rc;
    TC_CHECK_EQ(statistics_of(job.dir).files_in_progress, 0);
    TC_CHECK_EQ(job.dir->pending, 0);
    if (rc == 0) {
        TC_CHECK_EQ(look_at(job.stored.name), BODY_BYTES);
    }
    tc_upload_dir_close(job.dir);
    return rc;
}

/* Returns false if the life has no nth call. */
static bool fail_one(struct tc_runtime *runtime, const struct way *way, enum tc_sys_call call,
                     int error, uint64_t nth)
{
    int before = count_descriptors();
    int temporary;

    if (way->overwrite) {
        plant("file", 7);
    }
    tc_fault_arm(call, nth, error, 1);
    int rc = live(runtime, way);
    uint64_t hits = tc_fault_hits(call);
    tc_fault_disarm_all();
    TC_CHECK_EQ(count_descriptors(), before);
    if (rc != 0) {
        TC_CHECK(hits != 0);
        ssize_t found = look_at("file");
        /* UF1, UF2 */
        TC_CHECK(found == -1 || (way->overwrite && (found == 7 || found == BODY_BYTES)));
        (void)tc_upload_error_status(rc);
    }
    if (call != TC_SYS_UNLINKAT) {
        TC_CHECK_EQ(count_entries(&temporary), rc == 0 || way->overwrite);
    }
    tc_upload_dir_close(open_dir(&(struct tc_upload_options){0}));
    TC_CHECK_EQ(count_entries(&temporary), rc == 0 || way->overwrite);
    TC_CHECK_EQ(temporary, 0);
    empty_root();
    return hits != 0;
}

static bool is_long(void)
{
    const char *form = getenv("TC_SLOW");

    return form != NULL && strcmp(form, "long") == 0;
}

static void sweep_way(const struct way *way)
{
    struct tc_runtime *runtime = start_runtime(1);

    make_root();
    /* What the runtime makes once: stack, thread of the pool. */
    TC_CHECK_EQ(live(runtime, way), 0);
    empty_root();
    for (size_t i = 0; i < TC_ARRAY_LEN(calls); i++) {
        size_t count = is_long() ? TC_ARRAY_LEN(calls[i].errors) : 1;
        for (size_t k = 0; k < count && calls[i].errors[k] != 0; k++) {
            uint64_t nth = 1;
            while (fail_one(runtime, way, calls[i].call, calls[i].errors[k], nth)) {
                nth++;
            }
        }
    }
    remove_root();
    stop_runtime(runtime);
}

TC_TEST(test_upload_with_any_call_failed_leaves_nothing)
{
    sweep_way(&(struct way){0});
}

TC_TEST(test_upload_without_tmpfile_with_any_call_failed_leaves_nothing)
{
    sweep_way(&(struct way){.is_named = true});
}

TC_TEST(test_upload_with_overwrite_with_any_call_failed_leaves_the_old_or_the_new)
{
    sweep_way(&(struct way){.overwrite = true});
}

TC_TEST(test_upload_without_tmpfile_with_overwrite_leaves_the_old_or_the_new)
{
    sweep_way(&(struct way){.is_named = true, .overwrite = true});
}

TC_TEST(test_upload_with_its_own_name_with_any_call_failed_leaves_nothing)
{
    sweep_way(&(struct way){.has_own_name = true});
}
