/* A follower that was away for longer than the log is kept comes back by a snapshot, and the others do not
 * feel it. */
#include "cluster-tests/scenario.h"

#include <inttypes.h>
#include <stdio.h>

#include "cluster-tests/verify.h"

enum {
    KEYS = 1500,
    VALUE_BYTES = 4096,
    PIPELINE = 8,
    WRITES_AWAY = 3000, /* in each group: 12 MB of values, against a log of a quarter of a megabyte */
    AWAIT_MS = 60000,
    GAP_MAX_MS = 2000,
};

/* Every group has the same state on every node. A different state at the same index is an error at once. */
static bool replicas_agree(struct cluster *c, void *data)
{
    (void)data;
    struct wbcache_status *status = cluster_status(c);
    bool all = status != NULL;
    for (unsigned group = 0; all && group < c->groups; group++) {
        const struct wbcache_group_status *first = cluster_group(status, 1, group);
        for (unsigned node = 2; all && node <= c->nodes; node++) {
            const struct wbcache_group_status *g = cluster_group(status, node, group);
            all = first != NULL && g != NULL && g->applied_index == first->applied_index;
            if (all && (g->state_hash == 0 || g->state_hash != first->state_hash)) {
                fail_msg("group %u at index %" PRIu64 ": node 1 has state hash %" PRIx64 ", node %u %" PRIx64,
                    group, g->applied_index, first->state_hash, node, g->state_hash);
            }
        }
    }
    wbcache_status_free(status);
    return all;
}

/* What a node restores before it says that it has started comes from its own disk; what comes later, from the
 * leader. */
static void expect_snapshots_installed(struct cluster *c, unsigned node, long place)
{
    long started = cluster_log_find(c, node, place, (const char *const[]){" started ", NULL});
    assert_true(started >= 0);
    for (unsigned group = 0; group < c->groups; group++) {
        char which[32];
        snprintf(which, sizeof which, "group=%u ", group);
        if (cluster_log_find(c, node, started, (const char *const[]){" restored ", which, NULL}) < 0) {
            fail_msg(
                "the log of node %u does not say that a snapshot of group %u was installed", node, group);
        }
    }
}

static void a_follower_far_behind_comes_back_by_a_snapshot(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    cluster_start(c, &(struct cluster_options){
                         .settings = {"raft.snapshot_log_bytes=262144", "raft.snapshot_trailing=64"}});
    s->ledger = ledger_create("behind", KEYS);
    s->load = load_start(&(struct load_config){.cluster = c->addresses,
        .ledger = s->ledger,
        .groups = c->groups,
        .pipeline = PIPELINE,
        .value_bytes = VALUE_BYTES,
        .writes_per_second = 4000});
    assert_true(load_await(s->load, -1, 200, AWAIT_MS));
    unsigned away = 1 + scenario_random(s, c->nodes);
    say("node %u is killed; more is written than the log keeps", away);
    cluster_kill(c, away);
    assert_true(load_await(s->load, -1, WRITES_AWAY, AWAIT_MS));
    cluster_wait_ready(c);

    say("node %u is started again", away);
    load_watch_gaps(s->load);
    long place = cluster_log_place(c, away);
    cluster_restart(c, away);
    cluster_wait_caught_up(c, away);
    uint64_t gap_ms = load_longest_gap_ms(s->load);
    struct load_numbers n = load_numbers(s->load);
    say("  it has caught up; meanwhile the slowest write took %" PRIu64
        " ms, the longest time without a write was %" PRIu64 " ms",
        n.latency_max_ms, gap_ms);
    assert_true(gap_ms < GAP_MAX_MS);
    scenario_stop_load(s);
    expect_snapshots_installed(c, away, place);
    cluster_wait_clean(c, AWAIT_MS);
    cluster_wait(c, "all replicas have the same state at the same index", AWAIT_MS, replicas_agree, NULL);
    verify_all(c, s->ledger);
    s->passed = true;
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 0, 0);
    const struct CMUnitTest tests[] = {
        scenario_test(a_follower_far_behind_comes_back_by_a_snapshot, &options),
    };
    return cmocka_run_group_tests_name("far_behind", tests, NULL, NULL);
}
