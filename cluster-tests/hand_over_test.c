/* Nodes are stopped and started in turn, as an operator does it: leaders hand over, and no write's outcome is
 * unknown. */
#include "cluster-tests/scenario.h"

#include <inttypes.h>

#include "cluster-tests/verify.h"

enum { KEYS = 1000, WRITES = 300, AWAIT_MS = 30000, GAP_MAX_MS = 700 };

static void a_rolling_restart_leaves_no_write_unknown(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    /* A node that is back gets its groups soon, so that leaders move in both directions. */
    cluster_start(c, &(struct cluster_options){.settings = {"raft.spread_stable_ms=1000"}});
    s->ledger = ledger_create("hand", KEYS);
    s->load = load_start(&(struct load_config){
        .cluster = c->addresses, .ledger = s->ledger, .groups = c->groups, .writes_per_second = 3000});
    for (unsigned round = 0; round < s->options.rounds; round++) {
        unsigned node = 1 + round % c->nodes;
        assert_true(load_await(s->load, -1, WRITES, AWAIT_MS));
        load_watch_gaps(s->load);
        say("node %u is asked to stop", node);
        cluster_stop_node(c, node);
        assert_true(load_await(s->load, -1, WRITES, AWAIT_MS));
        cluster_restart(c, node);
        cluster_wait_ready(c);
        cluster_wait_caught_up(c, node);
        assert_true(load_await(s->load, -1, WRITES, AWAIT_MS));
        pass_ms(2500); /* leaders are spread anew meanwhile */
        struct load_numbers n = load_numbers(s->load);
        uint64_t gap_ms = load_longest_gap_ms(s->load);
        say("  it is back; longest time without a write in any group %" PRIu64 " ms; so far %" PRIu64
            " unknown, %" PRIu64 " refused %s",
            gap_ms, n.unknown, n.refused, n.error);
        assert_true(gap_ms < GAP_MAX_MS);
    }
    struct load_numbers n = load_numbers(s->load);
    scenario_stop_load(s);
    verify_all(c, s->ledger);
    assert_int_equal(n.unknown, 0);
    assert_int_equal(n.refused, 0);
    s->passed = true;
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 3, 0);
    const struct CMUnitTest tests[] = {
        scenario_test(a_rolling_restart_leaves_no_write_unknown, &options),
    };
    return cmocka_run_group_tests_name("hand_over", tests, NULL, NULL);
}
