/* A leader is killed under load, again and again: nothing acknowledged is lost, and the database agrees. */
#include "cluster-tests/scenario.h"

#include <inttypes.h>
#include <stdlib.h>

#include "cluster-tests/verify.h"
#include "proto/base/alloc.h"

enum { KEYS = 3000, WRITES_BEFORE = 300, WRITES_AFTER = 100, AWAIT_MS = 30000 };

/* Kill the leader of a random group; returns that group's write gap in milliseconds. */
static uint64_t kill_a_leader(struct scenario *s, unsigned round)
{
    struct cluster *c = &s->cluster;
    unsigned group = scenario_random(s, c->groups);
    assert_true(load_await(s->load, -1, WRITES_BEFORE, AWAIT_MS));
    unsigned leader = cluster_leader(c, group);
    load_watch_gaps(s->load);
    cluster_kill(c, leader);
    if (!load_await(s->load, -1, WRITES_AFTER, AWAIT_MS)) {
        fail_msg("no writes in every group for 30 s after node %u was killed", leader);
    }
    uint64_t gap_ms = load_gap_ms(s->load, group);
    unsigned heir = cluster_other_leader(c, group, leader);
    say("round %u: node %u, leader of group %u, was killed; node %u leads now; no write for %" PRIu64 " ms",
        round, leader, group, heir, gap_ms);
    cluster_restart(c, leader);
    cluster_wait_ready(c);
    cluster_wait_caught_up(c, leader);
    return gap_ms;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void a_killed_leader_loses_no_acknowledged_write(void **state)
{
    struct scenario *s = *state;
    unsigned rounds = s->options.rounds;
    uint64_t *gaps_ms = xcalloc(rounds, sizeof *gaps_ms);
    cluster_start(&s->cluster, NULL);
    s->ledger = ledger_create("failover", KEYS);
    for (unsigned round = 0; round < rounds; round++) {
        s->load = load_start(&(struct load_config){.cluster = s->cluster.addresses,
            .ledger = s->ledger,
            .groups = s->cluster.groups,
            .writes_per_second = 3000});
        gaps_ms[round] = kill_a_leader(s, round + 1);
        scenario_stop_load(s);
        verify_all(&s->cluster, s->ledger);
    }
    qsort(gaps_ms, rounds, sizeof *gaps_ms, compare_u64);
    if (rounds > 0) {
        say("%u leaders killed; write gap p50 %" PRIu64 " ms, max %" PRIu64 " ms; %" PRIu64
            " writes acknowledged",
            rounds, gaps_ms[rounds / 2], gaps_ms[rounds - 1], ledger_totals(s->ledger).acknowledged);
    }
    free(gaps_ms);
    s->passed = true;
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 5, 0);
    const struct CMUnitTest tests[] = {
        scenario_test(a_killed_leader_loses_no_acknowledged_write, &options),
    };
    return cmocka_run_group_tests_name("failover", tests, NULL, NULL);
}
