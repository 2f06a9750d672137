/* PostgreSQL goes away under load, for long or in the middle of commits: writes go on, everything drains,
 * nothing is lost and no row goes back. */
#include "cluster-tests/scenario.h"

#include <inttypes.h>

#include "cluster-tests/row_watch.h"
#include "cluster-tests/verify.h"

enum { KEYS = 2000, WRITES_BEFORE = 300, WRITES_AWAY = 300, AWAIT_MS = 30000, GAP_MAX_MS = 2000 };

static void start(struct scenario *s, const char *prefix)
{
    /* Leaders stay where they are: this is about the database alone. */
    cluster_start(&s->cluster, &(struct cluster_options){.settings = {"raft.spread_stable_ms=0"}});
    s->ledger = ledger_create(prefix, KEYS);
    s->load = load_start(&(struct load_config){.cluster = s->cluster.addresses,
        .ledger = s->ledger,
        .groups = s->cluster.groups,
        .writes_per_second = 3000});
    assert_true(load_await(s->load, -1, WRITES_BEFORE, AWAIT_MS));
}

static void writes_go_on_while_the_database_is_away(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    start(s, "away");
    say("PostgreSQL is stopped for %u s", s->options.seconds);
    cluster_pg_stop(c, false);
    load_watch_gaps(s->load);
    pass_ms(s->options.seconds * 1000);
    assert_true(load_await(s->load, -1, WRITES_AWAY, AWAIT_MS));
    uint64_t gap_ms = load_longest_gap_ms(s->load);
    struct load_numbers n = load_numbers(s->load);
    say("  meanwhile the longest time without a write in any group was %" PRIu64 " ms; %" PRIu64
        " unknown, %" PRIu64 " refused",
        gap_ms, n.unknown, n.refused);
    assert_int_equal(n.unknown, 0);
    assert_int_equal(n.refused, 0);
    assert_true(gap_ms < GAP_MAX_MS);
    say("PostgreSQL is started again");
    cluster_pg_start(c);
    assert_true(load_await(s->load, -1, WRITES_AWAY, AWAIT_MS));
    scenario_stop_load(s);
    cluster_wait_clean(c, AWAIT_MS);
    verify_all(c, s->ledger);
    s->passed = true;
}

static void crashes_of_the_database_in_the_middle_of_commits_lose_and_double_nothing(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    start(s, "crash");
    struct row_watch *watch = row_watch_start(c->database, s->ledger, 30, false);
    for (unsigned round = 1; round <= s->options.rounds; round++) {
        assert_true(load_await(s->load, -1, WRITES_BEFORE, AWAIT_MS));
        pass_ms(scenario_random(s, 600)); /* anywhere in the flush's period */
        say("round %u: PostgreSQL crashes and comes back", round);
        cluster_pg_restart(c, true);
        for (unsigned group = 0; group < c->groups; group++) {
            cluster_wait_flush_state(c, group, "active", AWAIT_MS);
        }
    }
    assert_true(load_await(s->load, -1, WRITES_BEFORE, AWAIT_MS));
    scenario_stop_load(s);
    verify_all(c, s->ledger);
    struct row_watch_numbers seen = row_watch_stop(watch);
    say("  %" PRIu64 " readings of the table saw %" PRIu64 " new versions and %" PRIu64 " that went back %s",
        seen.readings, seen.changes, seen.went_back, seen.problem);
    assert_true(seen.readings > 0 && seen.changes > 0);
    assert_int_equal(seen.went_back, 0);
    s->passed = true;
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 3, 5);
    const struct CMUnitTest tests[] = {
        scenario_test(writes_go_on_while_the_database_is_away, &options),
        scenario_test(crashes_of_the_database_in_the_middle_of_commits_lose_and_double_nothing, &options),
    };
    return cmocka_run_group_tests_name("database_away", tests, NULL, NULL);
}
