/* A node's disk fills up, or fails: nothing is acknowledged without it, the node says why and stops, and
 * comes back with everything. The node's data moves to a small file system of its own (tmpfs, in a mount
 * namespace that only this program and what it starts can see, so that nothing is left behind). */
#include "cluster-tests/scenario.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster-tests/verify.h"
#include "proto/base/clock.h"

enum {
    KEYS = 3000,
    VALUE_BYTES = 4096,
    PIPELINE = 8,
    WRITES_PER_SECOND = 6000,
    DISK_MIB = 192, /* three groups with three segments of 8 MiB each, and what the log keeps */
    LARGER_DISK_MIB = 1024,
    LITTLE_MIB = 24, /* below the configured minimum, and not yet nothing */
    WRITE_MS = 4000,
    AWAIT_MS = 60000,
    FILE_BYTES_MAX = 1024 * 1024, /* a limit that stands for a disk that fails a write */
};

static char disk[192]; /* where a file system of ours is mounted, or "" */

/* ---- The small disk ---- */

static void mount_disk(const char *path, unsigned mib, unsigned long flags)
{
    char size[32];
    snprintf(size, sizeof size, "size=%um,mode=700", mib);
    if (mount("tmpfs", path, "tmpfs", flags, size) != 0) {
        fail_msg("cannot mount %s: %s", path, strerror(errno));
    }
}

static void copy_folder(const char *from, const char *to)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        execlp("cp", "cp", "-a", from, to, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Move the data of @node, which is stopped for it, to a disk of DISK_MIB. */
static void move_to_small_disk(struct cluster *c, unsigned node)
{
    cluster_stop_node(c, node);
    char folder[192];
    char away[200];
    char inside[208];
    snprintf(folder, sizeof folder, "%s/node-%u", c->dir, node);
    snprintf(away, sizeof away, "%s.moved", folder);
    snprintf(inside, sizeof inside, "%s/.", away);
    assert_int_equal(rename(folder, away), 0);
    assert_int_equal(mkdir(folder, 0700), 0);
    mount_disk(folder, DISK_MIB, 0);
    snprintf(disk, sizeof disk, "%s", folder);
    copy_folder(inside, folder);
    cluster_restart(c, node);
    cluster_wait_caught_up(c, node);
    say("node %u lives on a disk of %d MiB", node, DISK_MIB);
}

static uint64_t free_bytes(void)
{
    struct statvfs st;
    assert_int_equal(statvfs(disk, &st), 0);
    return (uint64_t)st.f_bavail * st.f_frsize;
}

static const char *filler_path(void)
{
    static char path[200];
    snprintf(path, sizeof path, "%s/filler", disk);
    return path;
}

/* Leave no more than @left bytes. The node may take some at the same moment: what is left is taken again. */
static void fill_disk(uint64_t left)
{
    int fd = open(filler_path(), O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    uint64_t size = 0;
    for (uint64_t now = free_bytes(); now > left; now = free_bytes()) {
        if (posix_fallocate(fd, (off_t)size, (off_t)(now - left)) == 0) {
            size += now - left;
        }
    }
    close(fd);
}

static void free_disk(void)
{
    assert_int_equal(unlink(filler_path()), 0);
}

static int teardown(void **state)
{
    struct scenario *s = *state;
    if (disk[0] != '\0') {
        if (s->cluster.started) { /* nothing may write any more when the disk goes */
            char output[1024];
            (void)cluster_tool(&s->cluster, (const char *const[]){"stop", NULL}, output, sizeof output);
        }
        umount2(disk, MNT_DETACH);
        disk[0] = '\0';
    }
    return scenario_teardown(state);
}

/* ---- What must be seen ---- */

static bool node_is_gone(struct cluster *c, void *data)
{
    cluster_refresh(c);
    return c->pids[*(unsigned *)data] == 0;
}

/* @node ends by itself, after words about its disk. */
static void expect_stopped_with_words(struct cluster *c, unsigned node, long place)
{
    cluster_wait(c, "the node whose disk is full has stopped", AWAIT_MS, node_is_gone, &node);
    const char *const stalled[] = {" raft-disk-stalled ", "action=", NULL};
    const char *const failed[] = {" raft-disk-failed ", "action=", NULL};
    if (cluster_log_find(c, node, place, stalled) < 0 && cluster_log_find(c, node, place, failed) < 0) {
        fail_msg("node %u stopped without words about its disk", node);
    }
}

static struct load *load_on(struct scenario *s)
{
    return load_start(&(struct load_config){.cluster = s->cluster.addresses,
        .ledger = s->ledger,
        .groups = s->cluster.groups,
        .pipeline = PIPELINE,
        .value_bytes = VALUE_BYTES,
        .writes_per_second = WRITES_PER_SECOND});
}

static void come_back(struct scenario *s, unsigned node)
{
    cluster_restart(&s->cluster, node);
    cluster_wait_caught_up(&s->cluster, node);
    scenario_stop_load(s);
    cluster_wait_ready(&s->cluster);
    cluster_wait_clean(&s->cluster, AWAIT_MS);
    verify_all(&s->cluster, s->ledger);
    s->passed = true;
}

struct led {
    unsigned node;
    unsigned group;
};

static bool leads_something(struct cluster *c, void *data)
{
    struct led *led = data;
    bool found = false;
    struct wbcache_status *status = cluster_status(c);
    for (unsigned group = 0; status != NULL && !found && group < c->groups; group++) {
        unsigned node = 0;
        found = cluster_leader_of(status, group, &node) != NULL && node == led->node;
        led->group = group;
    }
    wbcache_status_free(status);
    return found;
}

/* A key of a group that @node leads; waits until it leads one. */
static uint32_t key_led_by(struct scenario *s, unsigned node)
{
    struct led led = {.node = node};
    cluster_wait(&s->cluster, "the node leads a group again", AWAIT_MS, leads_something, &led);
    for (uint32_t key = 0; key < KEYS; key++) {
        char name[LEDGER_KEY_BYTES];
        size_t len = ledger_key(s->ledger, key, name);
        unsigned slot;
        unsigned group;
        assert_int_equal(wbcache_locate(s->cluster.control, name, len, &slot, &group), WBCACHE_OK);
        if (group == led.group) {
            say("node %u leads group %u", node, group);
            return key;
        }
    }
    fail_msg("no key is of group %u", led.group);
    return 0;
}

/* Write @key until the answer is no longer @answer, and return what it is then. */
static int write_until(struct scenario *s, uint32_t key, int answer, char *message, size_t message_len)
{
    int code = answer;
    for (uint64_t end_ms = clock_boot_ms() + AWAIT_MS; code == answer && clock_boot_ms() < end_ms;) {
        code = write_one(&s->cluster, s->ledger, key, WRITE_MS, message, message_len);
    }
    return code;
}

/* ---- Tests ---- */

static void a_follower_without_space_stops_and_the_others_go_on(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    cluster_start(c, &(struct cluster_options){
                         .settings = {"raft.snapshot_log_bytes=1048576", "raft.snapshot_trailing=256",
                             "raft.spread_stable_ms=0", "limits.disk_free_min_bytes=0"}});
    s->ledger = ledger_create("full", KEYS);
    unsigned node = 1 + scenario_random(s, c->nodes);
    move_to_small_disk(c, node); /* it came back last, and without the spreading it leads nothing */
    s->load = load_on(s);
    assert_true(load_await(s->load, -1, 500, AWAIT_MS));

    say("the disk of node %u, a follower, is filled to the last byte", node);
    long place = cluster_log_place(c, node);
    load_watch_gaps(s->load);
    fill_disk(0);
    expect_stopped_with_words(c, node, place);
    assert_true(load_await(s->load, -1, 1000, AWAIT_MS));
    say("  the others went on; the longest time without a write was %" PRIu64 " ms",
        load_longest_gap_ms(s->load));

    say("there is space again, node %u is started", node);
    free_disk();
    come_back(s, node);
}

static void a_leader_with_little_space_refuses_and_one_without_stops(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    cluster_start(c, &(struct cluster_options){
                         .settings = {"raft.snapshot_log_bytes=1048576", "raft.snapshot_trailing=256",
                             "raft.spread_stable_ms=500", "limits.disk_free_min_bytes=33554432"}});
    s->ledger = ledger_create("full", KEYS);
    unsigned node = cluster_leader(c, 0);
    move_to_small_disk(c, node);
    uint32_t key = key_led_by(s, node);

    say("the disk of node %u, a leader, has %d MiB left", node, LITTLE_MIB);
    long place = cluster_log_place(c, node);
    fill_disk((uint64_t)LITTLE_MIB * 1024 * 1024);
    char message[256] = "";
    int code = write_until(s, key, WBCACHE_OK, message, sizeof message); /* it looks once a second */
    say("  a write gets %s: %s", wbcache_code_name(code), message);
    assert_int_equal(code, WBCACHE_NO_SPACE);
    assert_true(cluster_log_find(c, node, place, (const char *const[]){" disk-low ", NULL}) >= 0);
    enum ledger_verdict verdict;
    assert_int_equal(read_one(c, s->ledger, key, WRITE_MS, &verdict), WBCACHE_OK); /* reads go on */
    free_disk();
    code = write_until(s, key, WBCACHE_NO_SPACE, message, sizeof message);
    assert_int_equal(code, WBCACHE_OK);
    say("  and with space again it is taken, without a restart");

    s->load = load_on(s);
    assert_true(load_await(s->load, -1, 500, AWAIT_MS));
    say("under load, the disk is filled to the last byte");
    place = cluster_log_place(c, node);
    fill_disk(0);
    expect_stopped_with_words(c, node, place);
    assert_true(load_await(s->load, -1, 1000, AWAIT_MS));
    say("there is space again, node %u is started", node);
    free_disk();
    come_back(s, node);
}

static void a_leader_whose_log_fills_the_disk_stops_and_comes_back_on_a_larger_one(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    cluster_start(c, &(struct cluster_options){
                         .settings = {"raft.snapshot_log_bytes=1073741824", "raft.snapshot_trailing=256",
                             "raft.spread_stable_ms=500", "limits.disk_free_min_bytes=0"}});
    s->ledger = ledger_create("full", KEYS);
    unsigned node = cluster_leader(c, 0);
    move_to_small_disk(c, node);
    cluster_wait_ready(c);
    say("the log may grow until it has filled the disk");
    long place = cluster_log_place(c, node);
    s->load = load_on(s);
    expect_stopped_with_words(c, node, place);
    assert_true(load_await(s->load, -1, 1000, AWAIT_MS));
    say("  %" PRIu64 " bytes are free; the others went on", free_bytes());

    say("node %u is started on the full disk", node);
    char output[4096];
    char number[16];
    snprintf(number, sizeof number, "%u", node);
    place = cluster_log_place(c, node);
    fill_disk(0);
    int code = cluster_tool(c, (const char *const[]){"start", number, NULL}, output, sizeof output);
    if (code == 0) { /* what it had prepared was enough to start: then it must stop again */
        say("  it starts");
        expect_stopped_with_words(c, node, place);
    } else {
        assert_true(cluster_log_find(c, node, place, (const char *const[]){"space", NULL}) >= 0);
    }
    say("the disk is made larger");
    free_disk();
    mount_disk(disk, LARGER_DISK_MIB, MS_REMOUNT);
    come_back(s, node);
}

static void a_disk_that_fails_a_write_stops_the_node(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    cluster_start(c, NULL);
    s->ledger = ledger_create("fail", KEYS);
    s->load = load_on(s);
    assert_true(load_await(s->load, -1, 100, AWAIT_MS));
    unsigned node = cluster_leader(c, 0);
    say("every write of node %u behind the first MiB of a file fails", node);
    long place = cluster_log_place(c, node);
    struct rlimit before;
    struct rlimit limit = {.rlim_cur = FILE_BYTES_MAX, .rlim_max = RLIM_INFINITY};
    assert_int_equal(prlimit(c->pids[node], RLIMIT_FSIZE, NULL, &before), 0);
    limit.rlim_max = before.rlim_max;
    assert_int_equal(prlimit(c->pids[node], RLIMIT_FSIZE, &limit, NULL), 0);
    expect_stopped_with_words(c, node, place);
    assert_true(load_await(s->load, -1, 500, AWAIT_MS));
    come_back(s, node);
}

/* Everything that is mounted from now on is seen by this program and its children only. */
static bool own_mounts(void)
{
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        return false;
    }
    char path[] = "/tmp/wbcache-disk-XXXXXX";
    if (mkdtemp(path) == NULL) {
        return false;
    }
    bool can = mount("tmpfs", path, "tmpfs", 0, "size=1m") == 0;
    if (can) {
        umount2(path, MNT_DETACH);
    }
    rmdir(path);
    return can;
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 0, 0);
    signal(SIGXFSZ, SIG_IGN); /* the nodes inherit it: a write over the limit is an error, as a disk's is */
    const struct CMUnitTest mounted[] = {
        cmocka_unit_test_prestate_setup_teardown(
            a_follower_without_space_stops_and_the_others_go_on, scenario_setup, teardown, &options),
        cmocka_unit_test_prestate_setup_teardown(
            a_leader_with_little_space_refuses_and_one_without_stops, scenario_setup, teardown, &options),
        cmocka_unit_test_prestate_setup_teardown(
            a_leader_whose_log_fills_the_disk_stops_and_comes_back_on_a_larger_one, scenario_setup, teardown,
            &options),
    };
    const struct CMUnitTest anywhere[] = {
        scenario_test(a_disk_that_fails_a_write_stops_the_node, &options),
    };
    int failed = cmocka_run_group_tests_name("disk_fails", anywhere, NULL, NULL);
    if (!own_mounts()) {
        printf("disk_full: the tests with a full disk are skipped, for they mount a small one, and this user "
               "may not: %s\n",
            strerror(errno));
        return failed;
    }
    return failed + cmocka_run_group_tests_name("disk_full", mounted, NULL, NULL);
}
