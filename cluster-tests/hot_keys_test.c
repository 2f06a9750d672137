/* A hundred keys at full speed: many writes become one row, and still no row gets old. */
#include "cluster-tests/scenario.h"

#include <inttypes.h>

#include "cluster-tests/row_watch.h"
#include "cluster-tests/verify.h"

enum {
    KEYS = 100,
    THREADS = 3,
    PIPELINE = 128,
    FLUSH_AGE_MS = 500,
    /* A flush of a few dozen rows takes milliseconds, but everything shares two cores with the load. */
    ONE_FLUSH_MS = 500,
    SLACK_MS = 1000,
    WRITES_PER_ROW_MIN = 100,
    AWAIT_MS = 30000,
};

struct counters {
    uint64_t writes_applied;
    uint64_t rows_flushed;
    uint64_t terms; /* their sum: the same leaders as long as it stays */
};

/* As the leaders count: each node counts from its own start. */
static struct counters leaders_counters(struct cluster *c)
{
    cluster_wait_ready(c);
    struct counters sum = {0};
    struct wbcache_status *status = cluster_status(c);
    assert_non_null(status);
    for (unsigned group = 0; group < c->groups; group++) {
        const struct wbcache_group_status *g = cluster_leader_of(status, group, NULL);
        assert_non_null(g);
        sum.writes_applied += g->writes_applied;
        sum.rows_flushed += g->rows_flushed;
        sum.terms += g->term;
    }
    wbcache_status_free(status);
    return sum;
}

static void many_writes_become_one_row_and_no_row_gets_old(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    /* Leaders stay where they are, so that their counters can be compared. */
    cluster_start(c, &(struct cluster_options){.settings = {"flush.age_ms=500", "raft.spread_stable_ms=0"}});
    s->ledger = ledger_create("hot", KEYS);
    ledger_keep_history(s->ledger);
    s->load = load_start(&(struct load_config){.cluster = c->addresses,
        .ledger = s->ledger,
        .groups = c->groups,
        .threads = THREADS,
        .pipeline = PIPELINE,
        .shared_keys = true,
        .deadline_ms = 10000});
    assert_true(load_await(s->load, -1, 1000, AWAIT_MS));
    say("%d keys are written at full speed by %d threads for %u s", KEYS, THREADS, s->options.seconds);
    struct counters before = leaders_counters(c);
    struct row_watch *watch = row_watch_start(c->database, s->ledger, 20, true);
    pass_ms(s->options.seconds * 1000);
    struct counters after = leaders_counters(c);
    struct row_watch_numbers seen = row_watch_stop(watch);
    scenario_stop_load(s);

    assert_int_equal(before.terms, after.terms);
    uint64_t writes = after.writes_applied - before.writes_applied;
    uint64_t rows = after.rows_flushed - before.rows_flushed;
    say("  %" PRIu64 " writes applied (%" PRIu64 "/s), %" PRIu64 " rows flushed: %" PRIu64 " writes a row",
        writes, writes / (s->options.seconds == 0 ? 1 : s->options.seconds), rows,
        rows == 0 ? 0 : writes / rows);
    say("  %" PRIu64 " readings of the table: the oldest missing write was %" PRIu64 " ms old; %" PRIu64
        " rows went back %s",
        seen.readings, seen.age_max_ms, seen.went_back, seen.problem);
    assert_true(rows > 0 && writes / rows >= WRITES_PER_ROW_MIN);
    assert_true(seen.readings > 0);
    assert_true(seen.age_max_ms <= FLUSH_AGE_MS + ONE_FLUSH_MS + SLACK_MS);
    assert_int_equal(seen.went_back, 0);
    verify_all(c, s->ledger);
    s->passed = true;
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 0, 6);
    const struct CMUnitTest tests[] = {
        scenario_test(many_writes_become_one_row_and_no_row_gets_old, &options),
    };
    return cmocka_run_group_tests_name("hot_keys", tests, NULL, NULL);
}
