/* Keys that are written again and again, at full speed: many writes become one row, and still no row gets
 * old: neither theirs, nor those of the keys beside them. */
#include "cluster-tests/scenario.h"

#include <inttypes.h>
#include <stdlib.h>

#include "cluster-tests/row_watch.h"
#include "cluster-tests/verify.h"
#include "proto/base/alloc.h"
#include "proto/base/clock.h"

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

/* The case with others beside the hot keys. */
enum {
    HOT_KEYS = 5000,
    OTHER_KEYS = 100000,
    KEYS_PER_CALL = 1000,
    READ_EVERY_MS = 400,
    /* The load, the readers and the cluster share two cores: the flush gets a part of what it had alone. */
    DRAINS = 4,
    READING_MS = 2000,
    DRAIN_MS_MAX = 120000,
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

/* Write every key of @l once. */
static void write_all(struct wbcache *cache, struct ledger *l)
{
    struct wbcache_item items[KEYS_PER_CALL];
    struct mark marks[KEYS_PER_CALL];
    uint64_t before[KEYS_PER_CALL];
    char(*names)[LEDGER_KEY_BYTES] = xcalloc(KEYS_PER_CALL, sizeof *names);
    char(*values)[LEDGER_VALUE_BYTES_MIN] = xcalloc(KEYS_PER_CALL, sizeof *values);
    assert_int_equal(ledger_keys(l) % KEYS_PER_CALL, 0);
    for (uint32_t first = 0; first < ledger_keys(l); first += KEYS_PER_CALL) {
        for (uint32_t i = 0; i < KEYS_PER_CALL; i++) {
            before[i] = ledger_version(l, first + i);
            marks[i] = ledger_mark(l, LOAD_THREADS_MAX, clock_boot_ms());
            ledger_value(l, first + i, marks[i], values[i], sizeof values[i]);
            items[i] = (struct wbcache_item){.key = names[i],
                .key_len = ledger_key(l, first + i, names[i]),
                .value = values[i],
                .value_len = sizeof values[i]};
        }
        if (wbcache_mset(cache, items, KEYS_PER_CALL) != WBCACHE_OK) {
            fail_msg("mset: %s", wbcache_errmsg(cache));
        }
        uint64_t now_ms = clock_boot_ms();
        for (uint32_t i = 0; i < KEYS_PER_CALL; i++) {
            ledger_acknowledge(l, first + i, marks[i], items[i].version, before[i], now_ms);
        }
    }
    free(values);
    free(names);
}

static void pause_flush(struct cluster *c, struct wbcache *cache, bool paused)
{
    const struct wbcache_flush_settings change = {.has_paused = true, .paused = paused};
    for (unsigned group = 0; group < c->groups; group++) {
        if (wbcache_flush_control(cache, group, &change, false, NULL) != WBCACHE_OK) {
            fail_msg("flush control: %s", wbcache_errmsg(cache));
        }
    }
}

/* How long the database takes for a row of every key, when nothing else is to be done. */
static uint64_t drain_ms(struct cluster *c, struct wbcache *cache, struct ledger *hot, struct ledger *others)
{
    pause_flush(c, cache, true);
    write_all(cache, hot);
    write_all(cache, others);
    uint64_t start_ms = clock_boot_ms();
    pause_flush(c, cache, false);
    assert_int_equal(wbcache_flush(cache), WBCACHE_OK);
    return clock_boot_ms() - start_ms;
}

static void say_ages(const char *which, const struct row_watch_numbers *seen)
{
    say("  %s: %" PRIu64 " readings, the oldest missing write was %" PRIu64 " ms old; %" PRIu64
        " rows went back %s",
        which, seen->readings, seen->age_max_ms, seen->went_back, seen->problem);
}

static void hot_keys_do_not_make_the_others_old(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    cluster_start(c, &(struct cluster_options){.settings = {"flush.age_ms=500", "raft.spread_stable_ms=0"}});
    struct ledger *others = ledger_create("others", OTHER_KEYS);
    s->ledger = ledger_create("hot", HOT_KEYS);
    struct wbcache *cache = NULL;
    const struct wbcache_options options = {.deadline_ms = DRAIN_MS_MAX};
    assert_int_equal(wbcache_open(&cache, c->addresses, &options), WBCACHE_OK);
    ledger_keep_history(s->ledger);
    ledger_keep_history(others);
    uint64_t drain = drain_ms(c, cache, s->ledger, others);
    uint64_t age_max_ms = FLUSH_AGE_MS + DRAINS * drain + READING_MS;
    say("%d keys are written at full speed, %d others once; all of them drain in %" PRIu64
        " ms when the flush was paused",
        HOT_KEYS, OTHER_KEYS, drain);

    struct row_watch *hot_watch = row_watch_start(c->database, s->ledger, READ_EVERY_MS, true);
    struct row_watch *others_watch = row_watch_start(c->database, others, READ_EVERY_MS, true);
    s->load = load_start(&(struct load_config){.cluster = c->addresses,
        .ledger = s->ledger,
        .groups = c->groups,
        .threads = THREADS,
        .pipeline = PIPELINE,
        .shared_keys = true,
        .deadline_ms = 10000});
    assert_true(load_await(s->load, -1, 1000, AWAIT_MS));
    uint64_t start_ms = clock_boot_ms();
    write_all(cache, others);
    uint64_t written_ms = clock_boot_ms() - start_ms;
    /* Long enough for a row that is forgotten to get too old. */
    uint64_t rest_ms = age_max_ms + READING_MS;
    pass_ms((unsigned)(rest_ms > s->options.seconds * 1000 ? rest_ms : s->options.seconds * 1000));
    uint64_t hot_writes = load_numbers(s->load).acknowledged;
    struct row_watch_numbers hot_seen = row_watch_stop(hot_watch);
    struct row_watch_numbers others_seen = row_watch_stop(others_watch);
    say("  the others were written within %" PRIu64 " ms, beside %" PRIu64 " writes to the hot ones",
        written_ms, hot_writes);
    say_ages("hot", &hot_seen);
    say_ages("others", &others_seen);
    say("  flush age %d ms + drain %" PRIu64 " ms; the bound here is %" PRIu64 " ms", FLUSH_AGE_MS, drain,
        age_max_ms);
    scenario_stop_load(s);
    assert_true(hot_seen.readings > 0 && others_seen.readings > 0);
    assert_true(hot_seen.age_max_ms <= age_max_ms);
    assert_true(others_seen.age_max_ms <= age_max_ms);
    assert_int_equal(hot_seen.went_back + others_seen.went_back, 0);
    verify_all(c, s->ledger);
    verify_all(c, others);
    wbcache_close(cache);
    ledger_destroy(others);
    s->passed = true;
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 0, 6);
    const struct CMUnitTest tests[] = {
        scenario_test(many_writes_become_one_row_and_no_row_gets_old, &options),
        scenario_test(hot_keys_do_not_make_the_others_old, &options),
    };
    return cmocka_run_group_tests_name("hot_keys", tests, NULL, NULL);
}
