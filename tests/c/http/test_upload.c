/* The upload sink against a real directory: what is left of a file, in every way it can end. */
#include "upload_support.h"

/* ---- names -------------------------------------------------------------------------------- */

TC_TEST(test_upload_names_are_one_visible_segment)
{
    static const char *const good[] = {"a", "a b", "a..b", "~", "-rf", "\xc3\xa4.txt", "a.tar.gz"};
    static const char *const bad[] = {"",   ".",    "..",   ".a",   "/",    "a/b",
                                      "/a", "a\\b", "a\nb", "\x7f", "a/..", "..\\a"};
    char text[TC_UPLOAD_NAME_BYTES + 1];

    for (size_t i = 0; i < TC_ARRAY_LEN(good); i++) {
        TC_CHECK(tc_upload_name_is_valid(good[i], strlen(good[i])));
    }
    for (size_t i = 0; i < TC_ARRAY_LEN(bad); i++) {
        TC_CHECK(!tc_upload_name_is_valid(bad[i], strlen(bad[i])));
    }
    memset(text, 'x', sizeof text);
    TC_CHECK(tc_upload_name_is_valid(text, TC_UPLOAD_NAME_BYTES));
    TC_CHECK(!tc_upload_name_is_valid(text, TC_UPLOAD_NAME_BYTES + 1));
    TC_CHECK(!tc_upload_name_is_valid("a\0b", 3));
}

TC_TEST(test_upload_without_a_name_gets_one_of_its_own)
{
    char first[TC_UPLOAD_NAME_BYTES + 1];

    make_root();
    struct tc_upload_dir *dir = open_dir(&(struct tc_upload_options){0});
    struct job job = {.dir = dir, .total = -1, .len = 10};
    TC_CHECK_EQ(run_upload(&job), 0);
    memcpy(first, job.stored.name, sizeof first);
    TC_CHECK_EQ(strlen(first), TC_UPLOAD_ID_BYTES);
    TC_CHECK_EQ(run_upload(&job), 0);
    TC_CHECK(strcmp(first, job.stored.name) != 0);
    TC_CHECK_EQ(look_at(first), 10);
    TC_CHECK_EQ(look_at(job.stored.name), 10);
    tc_upload_dir_close(dir);
    remove_root();
}

static struct tc_upload_progress first_look;

static void take_its_name(struct job *job)
{
    TC_CHECK_EQ(tc_upload_dir_progress(job->dir, &first_look, 1), 1);
    tc_fault_arm(TC_SYS_LINKAT, 1, EEXIST, 1);
}

TC_TEST(test_upload_whose_own_name_is_taken_gets_another)
{
    make_root();
    struct tc_upload_dir *dir = open_dir(&(struct tc_upload_options){0});
    struct job job = {.dir = dir, .total = -1, .len = 10, .meanwhile = take_its_name};
    if (dir->has_tmpfile) {
        TC_CHECK_EQ(run_upload(&job), 0);
        TC_CHECK_EQ(tc_fault_hits(TC_SYS_LINKAT), 1);
        tc_fault_disarm_all();
        TC_CHECK(strcmp(first_look.name, job.stored.name) != 0);
        TC_CHECK_EQ(look_at(job.stored.name), 10);
        check_entries(1);
    }
    tc_upload_dir_close(dir);
    remove_root();
}

/* ---- whole or not at all ------------------------------------------------------------------- */

static void check_progress(struct job *job)
{
    struct tc_upload_progress progress[2];
    int temporary;

    TC_CHECK_EQ(tc_upload_dir_progress(job->dir, progress, 2), 1);
    TC_CHECK(strcmp(progress[0].name, job->name) == 0);
    TC_CHECK_EQ(progress[0].bytes, job->len);
    TC_CHECK_EQ(progress[0].total, job->total);
    TC_CHECK_EQ(statistics_of(job->dir).files_in_progress, 1);
    TC_CHECK_EQ(statistics_of(job->dir).bytes_received, job->len);
    TC_CHECK_EQ(count_entries(&temporary), job->dir->has_tmpfile ? 0 : 1);
    TC_CHECK_EQ(look_at(job->name), -1); /* UF1 */
}

static void check_whole_or_nothing(struct tc_upload_dir *dir)
{
    struct job job = {.dir = dir,
                      .name = "file",
                      .total = BODY_BYTES,
                      .len = BODY_BYTES,
                      .must_abort = true,
                      .meanwhile = check_progress};
    struct stat stat_of;

    TC_CHECK_EQ(run_upload(&job), 0);
    check_entries(0); /* UF2 */
    job.must_abort = false;
    tc_upload_dir_close(dir);
    dir = open_dir(&(struct tc_upload_options){0});
    job.dir = dir;
    TC_CHECK_EQ(run_upload(&job), 0);
    TC_CHECK_EQ(job.stored.bytes, BODY_BYTES);
    TC_CHECK(strcmp(job.stored.name, "file") == 0);
    TC_CHECK_EQ(look_at("file"), BODY_BYTES);
    check_entries(1);
    TC_CHECK_EQ(stat(path_of("file"), &stat_of), 0);
    TC_CHECK_EQ(stat_of.st_mode & 07777, 0600);
    TC_CHECK_EQ(statistics_of(dir).files_stored, 1);
    TC_CHECK_EQ(statistics_of(dir).files_in_progress, 0);
    TC_CHECK_EQ(statistics_of(dir).bytes_received, BODY_BYTES);
    tc_upload_dir_close(dir);
    remove_root();
}

TC_TEST(test_upload_is_there_after_commit_and_gone_after_abort)
{
    make_root();
    check_whole_or_nothing(open_dir(&(struct tc_upload_options){0}));
}

TC_TEST(test_upload_without_tmpfile_is_there_after_commit_and_gone_after_abort)
{
    make_root();
    check_whole_or_nothing(open_dir_without_tmpfile(&(struct tc_upload_options){0}));
}

TC_TEST(test_upload_falls_back_to_a_name_where_proc_is_missing)
{
    make_root();
    tc_fault_arm(TC_SYS_LINKAT, 1, ENOENT, 1);
    struct tc_upload_dir *dir = open_dir(&(struct tc_upload_options){0});
    tc_fault_disarm_all();
    TC_CHECK(!dir->has_tmpfile);
    tc_fault_arm(TC_SYS_RENAMEAT2, 1, EINVAL, 1); /* and the file system knows no NOREPLACE */
    TC_CHECK_EQ(upload(dir, "file", BODY_BYTES), 0);
    TC_CHECK_EQ(look_at("file"), BODY_BYTES);
    check_entries(1);
    tc_upload_dir_close(dir);
    remove_root();
}

static void plant_rival(struct job *job)
{
    plant(job->name, 5);
}

static void check_existing(struct tc_upload_dir *dir)
{
    struct job late = {
        .dir = dir, .name = "late", .total = -1, .len = BODY_BYTES, .meanwhile = plant_rival};

    plant("early", 7);
    TC_CHECK_EQ(upload(dir, "early", BODY_BYTES), -EEXIST);
    TC_CHECK_EQ(run_upload(&late), -EEXIST);
    TC_CHECK_EQ(late.begun, 0);
    TC_CHECK_EQ(look_at("early"), 7);
    TC_CHECK_EQ(look_at("late"), 5);
    check_entries(2);
    TC_CHECK_EQ(statistics_of(dir).files_failed, 2);
    tc_upload_dir_close(dir);
    remove_root();
}

TC_TEST(test_upload_of_a_name_that_exists_is_refused)
{
    make_root();
    check_existing(open_dir(&(struct tc_upload_options){0}));
}

TC_TEST(test_upload_without_tmpfile_of_a_name_that_exists_is_refused)
{
    make_root();
    check_existing(open_dir_without_tmpfile(&(struct tc_upload_options){0}));
}

static void check_overwrite(struct tc_upload_dir *dir)
{
    plant("file", 7);
    TC_CHECK_EQ(upload(dir, "file", BODY_BYTES), 0);
    TC_CHECK_EQ(look_at("file"), BODY_BYTES);
    TC_CHECK_EQ(mkdir(path_of("folder"), 0700), 0);
    TC_CHECK_EQ(upload(dir, "folder", 1), -EISDIR);
    TC_CHECK_EQ(symlink("file", path_of("link")), 0);
    TC_CHECK_EQ(upload(dir, "link", 3), 0); /* the link is replaced, not followed */
    TC_CHECK_EQ(look_at("link"), 3);
    TC_CHECK_EQ(look_at("file"), BODY_BYTES);
    check_entries(3);
    tc_upload_dir_close(dir);
    remove_root();
}

TC_TEST(test_upload_with_overwrite_replaces_files_only)
{
    make_root();
    check_overwrite(open_dir(&(struct tc_upload_options){.overwrite = true}));
}

TC_TEST(test_upload_without_tmpfile_with_overwrite_replaces_files_only)
{
    make_root();
    check_overwrite(open_dir_without_tmpfile(&(struct tc_upload_options){.overwrite = true}));
}

/* ---- the disk ------------------------------------------------------------------------------ */

TC_TEST(test_upload_is_written_through_unless_that_is_not_wanted)
{
    make_root();
    for (int no_sync = 0; no_sync <= 1; no_sync++) {
        struct tc_upload_dir *dir = open_dir(&(struct tc_upload_options){.no_sync = no_sync != 0});
        tc_fault_arm(TC_SYS_FSYNC, 1, EIO, UINT64_MAX);
        TC_CHECK_EQ(upload(dir, "file", 10), no_sync ? 0 : -EIO);
        TC_CHECK_EQ(tc_fault_hits(TC_SYS_FSYNC), !no_sync);
        /* Of the directory, too. */
        tc_fault_arm(TC_SYS_FSYNC, 2, EIO, UINT64_MAX);
        TC_CHECK_EQ(upload(dir, "other", 10), no_sync ? 0 : -EIO);
        TC_CHECK_EQ(tc_fault_hits(TC_SYS_FSYNC), !no_sync);
        tc_fault_disarm_all();
        check_entries(no_sync ? 2 : 0);
        tc_upload_dir_close(dir);
    }
    remove_root();
}

/* ---- limits ------------------------------------------------------------------------------- */

TC_TEST(test_upload_beyond_max_size_is_refused_at_once_or_on_the_way)
{
    make_root();
    struct tc_upload_dir *dir = open_dir(&(struct tc_upload_options){.max_size = 1000});
    struct job job = {.dir = dir, .name = "file", .total = 1001, .len = 1001};
    TC_CHECK_EQ(run_upload(&job), -EFBIG);
    TC_CHECK_EQ(job.begun, -EFBIG);
    job.total = -1;
    TC_CHECK_EQ(run_upload(&job), -EFBIG);
    TC_CHECK_EQ(job.begun, 0);
    check_entries(0);
    job.len = 1000;
    TC_CHECK_EQ(run_upload(&job), 0);
    TC_CHECK_EQ(look_at("file"), 1000);
    tc_upload_dir_close(dir);
    remove_root();
}

TC_TEST(test_upload_beyond_the_quota_is_refused_at_once_or_on_the_way)
{
    make_root();
    plant("old", 1000);
    struct tc_upload_dir *dir = open_dir(&(struct tc_upload_options){.quota = 1000 + BODY_BYTES});
    struct job job = {.dir = dir, .name = "b", .total = BODY_BYTES, .len = BODY_BYTES};
    TC_CHECK_EQ(upload(dir, "a", 200), 0);
    TC_CHECK_EQ(run_upload(&job), -EDQUOT);
    TC_CHECK_EQ(job.begun, -EDQUOT);
    job.total = -1;
    TC_CHECK_EQ(run_upload(&job), -EDQUOT);
    TC_CHECK_EQ(job.begun, 0);
    TC_CHECK_EQ(dir->pending, 0); /* given back */
    TC_CHECK_EQ(dir->stored, 1200);
    check_entries(2);
    /* Somebody makes room: seen when the files may be counted again. */
    TC_CHECK_EQ(unlink(path_of("old")), 0);
    dir->counted_ns = tc_clock_now_ns() - SECONDS(2);
    TC_CHECK_EQ(run_upload(&job), 0);
    TC_CHECK_EQ(look_at("b"), BODY_BYTES);
    TC_CHECK_EQ(dir->stored, 200 + BODY_BYTES);
    tc_upload_dir_close(dir);
    remove_root();
}

TC_TEST(test_upload_that_replaces_a_file_gives_its_bytes_back)
{
    make_root();
    struct tc_upload_dir *dir =
        open_dir(&(struct tc_upload_options){.quota = 10000, .overwrite = true});
    TC_CHECK_EQ(upload(dir, "a", 4000), 0);
    TC_CHECK_EQ(upload(dir, "a", 300), 0);
    TC_CHECK_EQ(dir->stored, 300);
    tc_upload_dir_close(dir);
    remove_root();
}

/* The kernel's own refusal, in place of a full disk. */
TC_TEST(test_upload_beyond_the_limit_of_the_process_leaves_nothing)
{
    struct rlimit limit = {.rlim_cur = TC_UPLOAD_SLICE_BYTES + 10, .rlim_max = RLIM_INFINITY};

    make_root();
    struct tc_upload_dir *dir = open_dir(&(struct tc_upload_options){0});
    TC_CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
    TC_CHECK_EQ(upload(dir, "file", BODY_BYTES), -EFBIG);
    check_entries(0);
    tc_upload_dir_close(dir);
    remove_root();
}

/* ---- what a crash leaves ------------------------------------------------------------------- */

TC_TEST(test_upload_dir_sweeps_what_nobody_works_at)
{
    char name[64];
    struct tc_upload_dir *dir;

    make_root();
    for (int i = 0; i < 300; i++) { /* more than one buffer of entries */
        (void)snprintf(name, sizeof name, TC_UPLOAD_TEMPORARY "%d", i);
        plant(name, 3);
    }
    plant("file", 3);
    plant(".hidden", 3);
    int fd = open(path_of(TC_UPLOAD_TEMPORARY "7"), O_RDWR | O_CLOEXEC);
    TC_CHECK_EQ(flock(fd, LOCK_EX), 0);
    TC_CHECK_EQ(tc_upload_dir_open(root, &(struct tc_upload_options){.quota = 100}, &dir), 0);
    TC_CHECK_EQ(dir->stored, 6);
    tc_upload_dir_close(dir);
    TC_CHECK_EQ(look_at(TC_UPLOAD_TEMPORARY "7"), 3);
    close(fd);
    dir = open_dir(&(struct tc_upload_options){0});
    check_entries(2);
    tc_upload_dir_close(dir);
    remove_root();
}

static void open_another(struct job *job)
{
    struct tc_upload_dir *other = open_dir(&job->dir->options);

    tc_upload_dir_close(other);
}

TC_TEST(test_upload_in_progress_survives_the_sweep_of_another_server)
{
    make_root();
    struct tc_upload_dir *dir = open_dir_without_tmpfile(&(struct tc_upload_options){0});
    struct job job = {
        .dir = dir, .name = "file", .total = -1, .len = 99, .meanwhile = open_another};
    TC_CHECK_EQ(run_upload(&job), 0);
    TC_CHECK_EQ(look_at("file"), 99);
    tc_upload_dir_close(dir);
    remove_root();
}

TC_TEST(test_upload_dir_that_cannot_be_opened_says_why)
{
    struct tc_upload_dir *dir;
    int before = count_descriptors();

    make_root();
    plant("file", 1);
    TC_CHECK_EQ(tc_upload_dir_open(path_of("none"), &(struct tc_upload_options){0}, &dir), -ENOENT);
    TC_CHECK_EQ(tc_upload_dir_open(path_of("file"), &(struct tc_upload_options){0}, &dir),
                -ENOTDIR);
    tc_fault_arm(TC_SYS_OPENAT, 1, EROFS, 1);
    TC_CHECK_EQ(tc_upload_dir_open(root, &(struct tc_upload_options){0}, &dir), -EROFS);
    TC_CHECK_EQ(count_descriptors(), before);
    remove_root();
}

/* The pool cannot have a thread: at the beginning, or not even to end. */
TC_TEST(test_upload_without_a_thread_is_refused)
{
    make_root();
    struct tc_upload_dir *dir = open_dir(&(struct tc_upload_options){0});
    struct tc_runtime *runtime = start_runtime(1);
    struct job job = {.dir = dir, .name = "file", .total = -1, .len = 10};
    tc_fault_arm(TC_FAULT_THREAD, 1, EAGAIN, UINT64_MAX);
    TC_CHECK_EQ(tc_runtime_run(runtime, upload_entry, &job), 0);
    TC_CHECK_EQ(job.begun, -EAGAIN);
    tc_fault_disarm_all();
    check_entries(0);
    stop_runtime(runtime);
    tc_upload_dir_close(dir);
    remove_root();
}
