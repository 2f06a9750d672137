/* Nodes that may open few files, and more clients than that: first a node that knows its limit and leaves
 * room for its own work, then one that is hit in the middle of it. It says so once, does not spin, and
 * recovers. */
#include "cluster-tests/siege.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "proto/base/status.h"

enum {
    FILES_MAX = 512,  /* of each process that the test starts */
    CROWD = 300,      /* more than fit besides a node's own files */
    FILES_SPARE = 12, /* when files run out for good */
    LATE_CROWD = 60,
    WATCH_MS = 2000,
    AWAIT_MS = 30000,
    CPU_GROWTH_MAX_PERCENT = 15, /* of a core */
};

static unsigned log_lines(struct siege *g, long place, const char *event)
{
    unsigned n = 0;
    while ((place = cluster_log_find(
                &g->scenario->cluster, g->node, place, (const char *const[]){event, NULL})) >= 0) {
        n++;
    }
    return n;
}

/* ---- A node that knows how many files it may open ---- */

static bool some_are_turned_away(const struct attack_report *r, void *data)
{
    (void)data;
    return r->last_words[STATUS_OVERLOADED] > 0 && r->ended == r->last_words[STATUS_OVERLOADED];
}

static void a_node_leaves_room_for_its_own_files(struct siege *g)
{
    say("%d connections at nodes that may open %d files", CROWD, FILES_MAX);
    assert_int_equal(log_lines(g, 0, " few-files "), 1);
    long place = cluster_log_place(&g->scenario->cluster, g->node);
    struct attacker *a = siege_attack(g, &(struct attack){.kind = ATTACK_SILENT, .connections = CROWD});
    siege_await(g, a, "some are told that there is no room", AWAIT_MS, some_are_turned_away, NULL);
    siege_watch_fair(g, "with a crowd", WATCH_MS);
    struct attack_report r = attacker_report(a);
    siege_say_report(&r);
    attacker_stop(a);
    siege_wait_alone(g);
    assert_int_equal(log_lines(g, place, " clients-at-capacity "), 1);
    assert_int_equal(log_lines(g, place, " accept-failed "), 0);
}

/* ---- A node that runs out of them ---- */

/* The limit under which @pid may open @spare more files: numbers below it that are free. */
static rlim_t limit_with_spare(pid_t pid, unsigned spare)
{
    char path[64];
    bool open[FILES_MAX] = {false};
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        unsigned long n = strtoul(entry->d_name, NULL, 10);
        if (entry->d_name[0] != '.' && n < FILES_MAX) {
            open[n] = true;
        }
    }
    closedir(dir);
    rlim_t limit = 0;
    for (; limit < FILES_MAX && (spare > 0 || open[limit]); limit++) {
        spare -= !open[limit];
    }
    return limit;
}

static void limit_files(pid_t pid, rlim_t n)
{
    struct rlimit limit;
    assert_int_equal(prlimit(pid, RLIMIT_NOFILE, NULL, &limit), 0);
    limit.rlim_cur = n;
    assert_int_equal(prlimit(pid, RLIMIT_NOFILE, &limit, NULL), 0);
}

/* What the node used of a core in a window with these friends. */
static unsigned cpu_percent(struct siege *g, const char *when)
{
    uint64_t before_ms = process_cpu_ms(g->pid);
    siege_window_begin(g);
    siege_window_pass(g, WATCH_MS);
    siege_window_end(g, when);
    unsigned percent = (unsigned)((process_cpu_ms(g->pid) - before_ms) * 100 / WATCH_MS);
    say("  the node used %u %% of a core", percent);
    return percent;
}

static bool one_answered(const struct attack_report *r, void *data)
{
    (void)data;
    return r->answers[STATUS_OK] + r->answers[STATUS_NOT_FOUND] > 0;
}

/* New clients are served. */
static void expect_recovered(struct siege *g)
{
    struct attacker *a = siege_attack(
        g, &(struct attack){
               .kind = ATTACK_ASK, .connections = 1, .keys = 1, .keys_per_request = 1, .window = 1});
    siege_await(g, a, "a new client is answered", AWAIT_MS, one_answered, NULL);
    attacker_stop(a);
    siege_watch_fair(g, "with files again", WATCH_MS);
}

/* More connections come to @port than there are files. @event is what the log says of it, NULL: nothing, for
 * the peer port's listener is libuv's, which closes those that it has no file for and tells nobody. */
static void a_node_without_files_waits_for_them(
    struct siege *g, const char *name, const struct sockaddr_in *port, const char *event)
{
    unsigned usual = cpu_percent(g, "before");
    say("node %u may open %d more files, and %d connections come to its %s port", g->node, FILES_SPARE,
        LATE_CROWD, name);
    long place = cluster_log_place(&g->scenario->cluster, g->node);
    limit_files(g->pid, limit_with_spare(g->pid, FILES_SPARE));
    struct attacker *a = siege_attack(
        g, &(struct attack){
               .kind = ATTACK_SILENT, .addresses = {*port}, .n_addresses = 1, .connections = LATE_CROWD});
    unsigned used = cpu_percent(g, "without files");
    siege_watch_fair(g, "without files", WATCH_MS);
    unsigned lines = event == NULL ? 0 : log_lines(g, place, event);
    struct attack_report r = attacker_report(a);
    siege_say_report(&r);
    attacker_stop(a);
    siege_wait_alone(g);
    say("they are gone");
    expect_recovered(g);
    limit_files(g->pid, FILES_MAX);
    assert_true(used <= usual + CPU_GROWTH_MAX_PERCENT);
    assert_int_equal(lines, event == NULL ? 0 : 1);
}

static void few_files_are_said_once_and_survived(void **state)
{
    struct siege g;
    const char *const settings[] = {NULL};
    siege_begin(&g, *state, settings);
    a_node_leaves_room_for_its_own_files(&g);
    a_node_without_files_waits_for_them(&g, "client", &g.client, " accept-failed ");
    a_node_without_files_waits_for_them(&g, "peer", &g.peer, NULL);
    siege_end(&g);
    struct health after = health_of(&g.scenario->cluster);
    assert_int_equal(after.terms, g.health.terms);
    g.scenario->passed = true;
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 0, 0);
    /* The nodes inherit it: tools/cluster raises the soft limit to the hard one, and no further. */
    const struct rlimit files = {.rlim_cur = FILES_MAX, .rlim_max = FILES_MAX};
    if (setrlimit(RLIMIT_NOFILE, &files) != 0) {
        perror("few_files: cannot lower the limit of open files");
        return 1;
    }
    const struct CMUnitTest tests[] = {
        scenario_test(few_files_are_said_once_and_survived, &options),
    };
    return cmocka_run_group_tests_name("few_files", tests, NULL, NULL);
}
