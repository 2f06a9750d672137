/* wb.freshness tells the truth: whoever reads only SQL finds every write that was acknowledged before
 * fresh_as_of, whatever happens to leaders, clocks and the database; and it moves on when nothing is written.
 */
#include "cluster-tests/scenario.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cluster-tests/bad_rows.h"
#include "cluster-tests/faults.h"
#include "cluster-tests/fresh_watch.h"
#include "cluster-tests/group_sums.h"
#include "cluster-tests/program.h"
#include "cluster-tests/sql.h"
#include "cluster-tests/verify.h"
#include "proto/base/clock.h"

enum {
    KEYS = 300,
    WRITES_PER_SECOND = 1500,
    AWAIT_MS = 30000,
    FAULTS_MS = 3000, /* of leaders, between two of the database */
    NOTE_MS = 1000,   /* the default of flush.note_ms */
    NOTES_ALLOWED = 4,
    SLACK_MS = 1000,
    IDLE_MS = 6000,
    QUARANTINED = 7,
    LOAD_MS = 2000,
    OUTPUT_BYTES = 4096,
};

/* The running test's; see stop_and_tear_down. */
static struct fresh_watch *watch;

static void start_load(struct scenario *s, const char *prefix)
{
    s->ledger = ledger_create(prefix, KEYS);
    s->load = load_start(&(struct load_config){.cluster = s->cluster.addresses,
        .ledger = s->ledger,
        .groups = s->cluster.groups,
        .writes_per_second = WRITES_PER_SECOND});
    assert_true(load_await(s->load, -1, 100, AWAIT_MS));
}

static struct fresh_watch_numbers stop_watching(void)
{
    struct fresh_watch_numbers n = fresh_watch_stop(watch);
    watch = NULL;
    return n;
}

/* A test that failed has left its watch, which reads the ledger. */
static int stop_and_tear_down(void **state)
{
    if (watch != NULL) {
        stop_watching();
    }
    return scenario_teardown(state);
}

static void show(const struct fresh_watch_numbers *n)
{
    say("  %" PRIu64 " readings (%" PRIu64 " failed, %" PRIu64 " knew no time, %" PRIu64
        " said recovering); %" PRIu64 " were judged, in %" PRIu64
        " of them a newer time would have been a lie; it moved on %" PRIu64 " times, and back %" PRIu64
        " times; it was %" PRIu64 " ms old at most",
        n->readings, n->failures, n->unknown, n->recovering, n->judged, n->behind, n->moved, n->went_back,
        n->age_max_ms);
}

static void expect_the_truth(const struct fresh_watch_numbers *n)
{
    show(n);
    if (n->lies > 0) {
        fail_msg("fresh_as_of lied %" PRIu64 " times; first: %s", n->lies, n->lie);
    }
    assert_true(n->judged > 0 && n->behind > 0 && n->moved > 0);
}

/* ---- faults ---- */

static void trouble_the_database(struct scenario *s)
{
    struct cluster *c = &s->cluster;
    unsigned node = cluster_leader(c, scenario_random(s, c->groups));
    switch (scenario_random(s, 3)) {
    case 0:
        say("PostgreSQL crashes and comes back");
        cluster_pg_restart(c, true);
        break;
    case 1:
        say("PostgreSQL is away for a second");
        cluster_pg_stop(c, false);
        pass_ms(1000);
        cluster_pg_start(c);
        break;
    default:
        say("node %u, a leader, is stopped while PostgreSQL is restarted", node);
        cluster_pause(c, node);
        cluster_pg_restart(c, true);
        cluster_resume(c, node);
        break;
    }
}

static void what_sql_calls_fresh_is_there_whatever_happens(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    say("the clock of node 2 is an hour ahead");
    cluster_start(c, &(struct cluster_options){.wbnode = WBNODE_SKEWED, .settings = {"flush.age_ms=200"}});
    start_load(s, "fresh");
    watch = fresh_watch_start(c->database, s->ledger);
    struct faults faults;
    faults_init(&faults, c);
    uint64_t end_ms = clock_boot_ms() + (uint64_t)s->options.seconds * 1000;
    do {
        faults_run(&faults, s->options.seed + faults.kills + faults.pauses, FAULTS_MS);
        faults_heal(&faults);
        trouble_the_database(s);
    } while (clock_boot_ms() < end_ms);
    say("%" PRIu64 " kills, %" PRIu64 " pauses, %" PRIu64 " hand-overs", faults.kills, faults.pauses,
        faults.hand_overs);
    cluster_wait_ready(c);
    bool noticed = false; /* by a leader that came after one with another clock */
    for (unsigned node = 1; node <= c->nodes && !noticed; node++) {
        noticed = cluster_log_find(c, node, 0, (const char *const[]){"clock-off", NULL}) >= 0;
    }
    say("  the wrong clock was %s", noticed ? "noticed" : "never a new leader's");
    assert_true(load_await(s->load, -1, 100, AWAIT_MS));
    scenario_stop_load(s);
    verify_all(c, s->ledger);
    assert_true(fresh_watch_await(watch, 3, AWAIT_MS));
    struct fresh_watch_numbers n = stop_watching();
    expect_the_truth(&n);
    s->passed = true;
}

/* ---- nothing to do, and a lie ---- */

static bool a_lie_was_found(struct cluster *c, void *data)
{
    (void)c;
    return fresh_watch_numbers(data).lies > 0;
}

static void it_moves_on_while_nothing_is_written_and_a_lie_would_be_found(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    cluster_start(c, NULL);
    start_load(s, "idle");
    watch = fresh_watch_start(c->database, s->ledger);
    pass_ms(LOAD_MS);
    scenario_stop_load(s);
    cluster_wait_clean(c, AWAIT_MS);
    pass_ms(NOTE_MS);
    say("nothing is written for %d s", IDLE_MS / 1000);
    fresh_watch_restart(watch);
    pass_ms(IDLE_MS);
    struct fresh_watch_numbers n = fresh_watch_numbers(watch);
    show(&n);
    assert_int_equal(n.lies, 0);
    assert_int_equal(n.unknown, 0);
    assert_true(n.moved >= IDLE_MS / NOTE_MS / 2);
    assert_true(n.age_max_ms <= NOTES_ALLOWED * NOTE_MS + SLACK_MS);

    char output[OUTPUT_BYTES];
    program_wbclient_or_fail(c, (const char *const[]){"flush", "pause", NULL}, output, sizeof output);
    char message[256];
    assert_int_equal(write_one(c, s->ledger, 0, AWAIT_MS, message, sizeof message), WBCACHE_OK);
    say("a write waits for the paused flush, and somebody writes a later time into the fence rows");
    PGconn *conn = sql_connect_or_fail(c->database);
    sql_run_or_fail(conn, "UPDATE wb.flush_state SET fresh_as_of = clock_timestamp() + interval '1 second'");
    cluster_wait(c, "the watch finds the lie", AWAIT_MS, a_lie_was_found, watch);
    n = stop_watching();
    say("  found: %s", n.lie);
    PQfinish(conn);
    s->passed = true;
}

/* ---- quarantine ---- */

struct expectation {
    PGconn *conn;
    int64_t quarantined;
};

static bool view_counts(struct cluster *c, void *data)
{
    (void)c;
    const struct expectation *e = data;
    return sql_number_or_fail(e->conn,
               "SELECT count(*) FROM wb.freshness WHERE quarantined = %" PRId64
               " AND (SELECT count(*) FROM wb.quarantine) = %" PRId64,
               e->quarantined, e->quarantined) == 1;
}

static void refused_rows_are_counted_and_hold_it_up_for_nobody(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    cluster_start(c, NULL);
    start_load(s, "fresh");
    watch = fresh_watch_start(c->database, s->ledger);
    struct expectation e = {.conn = sql_connect_or_fail(c->database), .quarantined = QUARANTINED};
    bad_rows_install(e.conn);
    struct wbcache *cache;
    const struct wbcache_options options = {.deadline_ms = AWAIT_MS};
    assert_int_equal(wbcache_open(&cache, c->addresses, &options), WBCACHE_OK);
    for (int i = 0; i < QUARANTINED; i++) {
        char name[32];
        snprintf(name, sizeof name, "refused:%d", i);
        static const char value[] = BAD_ROWS_VALUE " a value that nobody wants";
        assert_int_equal(wbcache_set(cache, name, strlen(name), value, sizeof value - 1, NULL), WBCACHE_OK);
    }
    wbcache_close(cache);
    cluster_wait(c, "the view and the table of refused rows say 7", AWAIT_MS, view_counts, &e);
    say("%d rows are in quarantine", QUARANTINED);
    fresh_watch_restart(watch);
    pass_ms(LOAD_MS);
    struct fresh_watch_numbers n = fresh_watch_numbers(watch);
    expect_the_truth(&n);
    assert_true(view_counts(c, &e));
    assert_int_equal(
        sql_number_or_fail(e.conn, "SELECT count(*) FROM wb.entry WHERE key LIKE 'refused:%%'"), 0);

    say("what refuses them goes, and they are tried again");
    bad_rows_forgive(e.conn);
    char output[OUTPUT_BYTES];
    program_wbclient_or_fail(
        c, (const char *const[]){"quarantine", "retry", "--all", NULL}, output, sizeof output);
    e.quarantined = 0;
    cluster_wait(c, "the view and the table of refused rows say 0", AWAIT_MS, view_counts, &e);
    assert_int_equal(
        sql_number_or_fail(e.conn, "SELECT count(*) FROM wb.entry WHERE key LIKE 'refused:%%'"), QUARANTINED);
    scenario_stop_load(s);
    verify_all(c, s->ledger);
    n = stop_watching();
    expect_the_truth(&n);
    PQfinish(e.conn);
    s->passed = true;
}

/* ---- back in time ---- */

/* Each change of a fence row is noted, with what the view says in the same moment. */
static void note_every_change(PGconn *conn)
{
    sql_run_or_fail(conn,
        "CREATE TABLE public.said (n serial, group_id int, last_batch bigint, recovering boolean,"
        " view_recovering boolean, view_fresh timestamptz);"
        "CREATE FUNCTION public.note_it() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
        " INSERT INTO public.said (group_id, last_batch, recovering, view_recovering, view_fresh)"
        " SELECT NEW.group_id, NEW.last_batch, NEW.recovering, f.recovering, f.fresh_as_of FROM wb.freshness "
        "AS f;"
        " RETURN NULL; END$$;"
        "CREATE TRIGGER note_it AFTER UPDATE ON wb.flush_state FOR EACH ROW EXECUTE FUNCTION "
        "public.note_it()");
}

/* As after a restore: the tables are as they were, and whoever was connected is not any more. */
static void go_back_in_time(PGconn *conn)
{
    sql_run_or_fail(conn,
        "BEGIN; LOCK TABLE wb.flush_state, wb.entry IN ACCESS EXCLUSIVE MODE; TRUNCATE public.said;"
        " DELETE FROM wb.entry; INSERT INTO wb.entry SELECT * FROM public.kept_entry;"
        " ALTER TABLE wb.flush_state DISABLE TRIGGER note_it;"
        " DELETE FROM wb.flush_state; INSERT INTO wb.flush_state SELECT * FROM public.kept_state;"
        " ALTER TABLE wb.flush_state ENABLE TRIGGER note_it;"
        " SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'wbcache%%'; "
        "COMMIT");
}

static void a_database_that_went_back_is_not_called_fresh_until_it_is(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    /* Small batches: what the database lost is written again in many steps, and the first ones can be seen.
     */
    cluster_start(c, &(struct cluster_options){.settings = {"flush.batch_rows=10", "flush.age_ms=100"}});
    start_load(s, "back");
    watch = fresh_watch_start(c->database, s->ledger);
    PGconn *conn = sql_connect_or_fail(c->database);
    note_every_change(conn);
    pass_ms(LOAD_MS);
    sql_run_or_fail(conn, "BEGIN ISOLATION LEVEL REPEATABLE READ;"
                          " CREATE TABLE public.kept_entry AS SELECT * FROM wb.entry;"
                          " CREATE TABLE public.kept_state AS SELECT * FROM wb.flush_state; COMMIT");
    pass_ms(LOAD_MS);
    assert_true(load_await(s->load, -1, 100, AWAIT_MS));
    struct group_sums before;
    assert_true(group_sums(c, &before));
    say("the database goes back to where it was two seconds ago");
    go_back_in_time(conn);
    group_sums_wait_rewound(c, &before, AWAIT_MS);
    pass_ms(NOTE_MS);
    scenario_stop_load(s);
    group_sums_wait_recovered(c, AWAIT_MS);
    verify_all(c, s->ledger);
    assert_true(fresh_watch_await(watch, 3, AWAIT_MS));
    struct fresh_watch_numbers n = stop_watching();
    expect_the_truth(&n);
    int64_t recovering = sql_number_or_fail(conn, "SELECT count(*) FROM public.said WHERE recovering");
    say("  %" PRId64 " transactions said that their group was recovering", recovering);
    assert_true(recovering > 0);
    assert_int_equal(sql_number_or_fail(conn, "SELECT count(*) FROM public.said WHERE recovering AND"
                                              " (view_fresh IS NOT NULL OR NOT view_recovering)"),
        0);
    assert_int_equal(
        sql_number_or_fail(conn, "SELECT count(*) FROM wb.freshness WHERE NOT recovering AND lost = 0"
                                 " AND fresh_as_of > clock_timestamp() - interval '1 minute'"),
        1);
    PQfinish(conn);
    s->passed = true;
}

#define watched_test(f, options)                                                                             \
    cmocka_unit_test_prestate_setup_teardown(f, scenario_setup, stop_and_tear_down, options)

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 0, 10);
    const struct CMUnitTest tests[] = {
        watched_test(what_sql_calls_fresh_is_there_whatever_happens, &options),
        watched_test(it_moves_on_while_nothing_is_written_and_a_lie_would_be_found, &options),
        watched_test(refused_rows_are_counted_and_hold_it_up_for_nobody, &options),
        watched_test(a_database_that_went_back_is_not_called_fresh_until_it_is, &options),
    };
    return cmocka_run_group_tests_name("freshness", tests, NULL, NULL);
}
