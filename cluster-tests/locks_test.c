/* Others hold locks that the flush needs, backends stall, PostgreSQL goes and comes: nothing halts, nothing
 * is lost, `flushed` stays true, and a leader that died inside its transaction keeps nobody from flushing for
 * long. */
#include "cluster-tests/scenario.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster-tests/adversary.h"
#include "cluster-tests/row_watch.h"
#include "cluster-tests/sql.h"
#include "cluster-tests/verify.h"
#include "proto/base/clock.h"
#include "proto/slot.h"

enum {
    KEYS = 2000,
    WRITES_PER_SECOND = 2000,
    AWAIT_MS = 30000,
    DEADLINE_MS = 60000, /* of a write that waits for the database */
    NAME_BYTES = 32,
    HOLD_MAX_MS = 2000,
    PAUSE_MAX_MS = 1000,
    /* Under an adversary that holds locks for two thirds of the time, several in a row can meet the same
       flush. */
    AGE_MAX_MS = 15000,
    LOCK_TIMEOUT_MS = 2000,
    /* The new leader's election, its connection, and what two cores make of it. */
    TAKE_MARGIN_MS = 6000,
};

/* The running test's threads beside its load; see stop_and_tear_down. */
static struct row_watch *watch;
static struct adversary *adversary;

/* A key of each group that is written with level FLUSHED, and asked for in the table at once. */
struct witness {
    struct wbcache *cache;
    PGconn *conn;
    unsigned groups;
    char names[LOAD_GROUPS_MAX][NAME_BYTES];
    uint64_t writes, longest_ms;
};

static unsigned group_of(const char *name, unsigned groups)
{
    return slot_group(slot_of(bytes_from_text(name)), groups);
}

/* A name of a key of @group that begins with @prefix. */
static void name_in_group(char out[NAME_BYTES], const char *prefix, unsigned group, unsigned groups)
{
    unsigned i = 0;
    do {
        snprintf(out, NAME_BYTES, "%s:%u", prefix, i++);
    } while (group_of(out, groups) != group);
}

static void witness_open(struct witness *w, struct cluster *c)
{
    *w = (struct witness){.groups = c->groups};
    const struct wbcache_options options = {.deadline_ms = DEADLINE_MS};
    assert_int_equal(wbcache_open(&w->cache, c->addresses, &options), WBCACHE_OK);
    for (unsigned group = 0; group < c->groups; group++) {
        name_in_group(w->names[group], "witness", group, c->groups);
    }
}

static void witness_close(struct witness *w)
{
    say("  %" PRIu64 " writes were answered as flushed, and each was in the table; the longest took %" PRIu64
        " ms",
        w->writes, w->longest_ms);
    PQfinish(w->conn);
    wbcache_close(w->cache);
}

/* The version of the row @name, asked again until the server can be asked. */
static uint64_t row_version(struct witness *w, const char *dsn, const char *name)
{
    uint64_t until_ms = clock_boot_ms() + AWAIT_MS;
    char command[128];
    snprintf(command, sizeof command, "SELECT version FROM wb.entry WHERE key = '%s'", name);
    while (clock_boot_ms() < until_ms) {
        if (w->conn == NULL) {
            w->conn = sql_connect(dsn);
        }
        PGresult *result = w->conn == NULL ? NULL : PQexec(w->conn, command);
        if (PQresultStatus(result) == PGRES_TUPLES_OK) {
            uint64_t version = PQntuples(result) == 0 ? 0 : strtoull(PQgetvalue(result, 0, 0), NULL, 10);
            PQclear(result);
            return version;
        }
        PQclear(result);
        PQfinish(w->conn);
        w->conn = NULL;
        pass_ms(50);
    }
    fail_msg("PostgreSQL could not be asked for %d ms", AWAIT_MS);
    return 0;
}

static void witness_write(struct witness *w, const char *dsn, const char *name)
{
    const struct wbcache_op op = {.kind = WBCACHE_OP_SET,
        .key = name,
        .key_len = strlen(name),
        .value = "seen",
        .value_len = 4,
        .level = WBCACHE_FLUSHED};
    struct wbcache_result result;
    uint64_t since_ms = clock_boot_ms();
    int code = wbcache_do(w->cache, &op, &result);
    if (code != WBCACHE_OK) {
        fail_msg(
            "a write with level FLUSHED came to %s: %s", wbcache_code_name(code), wbcache_errmsg(w->cache));
    }
    uint64_t took_ms = clock_boot_ms() - since_ms;
    w->longest_ms = took_ms > w->longest_ms ? took_ms : w->longest_ms;
    w->writes++;
    uint64_t version = row_version(w, dsn, name);
    if (version < result.version) {
        fail_msg("version %" PRIu64 " of %s was answered as flushed, but the row has version %" PRIu64,
            result.version, name, version);
    }
}

static void expect_nothing_halted(struct cluster *c)
{
    struct wbcache_status *status = cluster_status(c);
    for (unsigned node = 1; status != NULL && node <= c->nodes; node++) {
        for (unsigned group = 0; group < c->groups; group++) {
            const struct wbcache_group_status *g = cluster_group(status, node, group);
            if (g != NULL && strcmp(g->flush_state, "halted") == 0) {
                fail_msg("node %u: group %u is halted: %s", node, group, g->flush_error);
            }
        }
    }
    wbcache_status_free(status);
}

static void start(struct scenario *s, const char *prefix)
{
    char lock_timeout[48];
    snprintf(lock_timeout, sizeof lock_timeout, "flush.lock_timeout_ms=%d", LOCK_TIMEOUT_MS * 3 / 4);
    /* Shorter than the adversary's longest locks: some are waited for, others run into it. */
    cluster_start(&s->cluster, &(struct cluster_options){.settings = {lock_timeout, "flush.retry_max_ms=500",
                                                             "raft.spread_stable_ms=0"}});
    s->ledger = ledger_create(prefix, KEYS);
    ledger_keep_history(s->ledger);
    s->load = load_start(&(struct load_config){.cluster = s->cluster.addresses,
        .ledger = s->ledger,
        .groups = s->cluster.groups,
        .writes_per_second = WRITES_PER_SECOND});
    assert_true(load_await(s->load, -1, 100, AWAIT_MS));
}

/* The load ends; everything acknowledged gets to the database; no row ever went back. */
static void finish(struct scenario *s, uint64_t age_max_ms)
{
    scenario_stop_load(s);
    verify_all(&s->cluster, s->ledger);
    expect_nothing_halted(&s->cluster);
    struct row_watch_numbers seen = row_watch_stop(watch);
    watch = NULL;
    say("  %" PRIu64 " readings of the table saw %" PRIu64 " new versions, the oldest missing write %" PRIu64
        " ms old, and %" PRIu64 " rows that went back %s",
        seen.readings, seen.changes, seen.age_max_ms, seen.went_back, seen.problem);
    assert_true(seen.readings > 0 && seen.changes > 0);
    assert_int_equal(seen.went_back, 0);
    assert_true(seen.age_max_ms <= age_max_ms);
    s->passed = true;
}

static void locks_of_others_halt_and_lose_nothing(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    start(s, "locked");
    watch = row_watch_start(c->database, s->ledger, 100, true);
    struct witness witness;
    witness_open(&witness, c);
    say("an adversary takes locks for up to %d ms, with pauses of up to %d ms, for %u s", HOLD_MAX_MS,
        PAUSE_MAX_MS, s->options.seconds);
    adversary = adversary_start(c->database, c->groups, s->options.seed, HOLD_MAX_MS, PAUSE_MAX_MS);
    uint64_t end_ms = clock_boot_ms() + (uint64_t)s->options.seconds * 1000;
    for (unsigned i = 0; clock_boot_ms() < end_ms; i++) {
        witness_write(&witness, c->database, witness.names[i % c->groups]);
        expect_nothing_halted(c);
        pass_ms(50);
    }
    struct adversary_numbers n = adversary_stop(adversary);
    adversary = NULL;
    say("  the adversary took locks on rows %" PRIu64 " times, on fence rows %" PRIu64
        " times, on tables %" PRIu64 " times, for %" PRIu64 " ms in all and at most %" PRIu64
        " ms at a time; it gave way %" PRIu64 " times",
        n.row_locks, n.fence_locks, n.table_locks, n.held_ms, n.held_max_ms, n.refused);
    assert_true(n.row_locks + n.fence_locks + n.table_locks > 0);
    witness_close(&witness);
    finish(s, AGE_MAX_MS);
}

/* ---- leaders that stop inside their transaction ---- */

struct stopped {
    struct cluster *cluster;
    PGconn *conn;
    unsigned group, old;
    char good[NAME_BYTES], bad[NAME_BYTES];
    const char *condition; /* on the old leader's flush connection, in pg_stat_activity */
};

static bool connection_is_so(struct cluster *c, void *data)
{
    (void)c;
    const struct stopped *t = data;
    return sql_number_or_fail(t->conn,
               "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%%node=%u %%' AND"
               " application_name || ' ' LIKE '%%group=%u %%' AND %s",
               t->old, t->group, t->condition) > 0;
}

static bool is_quarantined(struct cluster *c, void *data)
{
    (void)c;
    const struct stopped *t = data;
    return sql_number_or_fail(t->conn, "SELECT count(*) FROM wb.quarantine WHERE key = '%s'", t->bad) == 1;
}

static void write_or_fail(struct wbcache *cache, const char *name, const char *value)
{
    int code = wbcache_set(cache, name, strlen(name), value, strlen(value), NULL);
    if (code != WBCACHE_OK) {
        fail_msg("%s was not written: %s: %s", name, wbcache_code_name(code), wbcache_errmsg(cache));
    }
}

static void await_value(struct stopped *t, const char *value)
{
    uint64_t until_ms = clock_boot_ms() + AWAIT_MS;
    while (sql_number_or_fail(t->conn, "SELECT count(*) FROM wb.entry WHERE key = '%s' AND value = '%s'",
               t->good, value) == 0) {
        assert_true(clock_boot_ms() < until_ms);
        pass_ms(10);
    }
}

static int64_t epoch_of(struct stopped *t)
{
    return sql_number_or_fail(t->conn, "SELECT epoch FROM wb.flush_state WHERE group_id = %u", t->group);
}

/* How long it takes from now on until another leader has the fence, as SQL sees it. */
static uint64_t await_new_epoch(struct stopped *t, int64_t epoch)
{
    uint64_t since_ms = clock_boot_ms();
    while (epoch_of(t) == epoch) {
        assert_true(clock_boot_ms() - since_ms < AWAIT_MS);
        pass_ms(10);
    }
    return clock_boot_ms() - since_ms;
}

/* @silent: PostgreSQL has done what it was told, and the frozen leader does not go on: the transaction stays
 * open. Otherwise it waits for a lock that a stranger keeps. */
static void stop_a_leader_inside_its_transaction(struct scenario *s, bool silent)
{
    struct cluster *c = &s->cluster;
    char lock_timeout[48];
    snprintf(lock_timeout, sizeof lock_timeout, "flush.lock_timeout_ms=%d", LOCK_TIMEOUT_MS);
    cluster_start(
        c, &(struct cluster_options){
               .settings = {lock_timeout, "flush.age_ms=50", "raft.spread_stable_ms=0",
                   "flush.quarantine_retry_min_ms=600000", "flush.quarantine_retry_max_ms=600000"}});
    struct stopped t = {.cluster = c, .conn = sql_connect_or_fail(c->database), .group = 1};
    name_in_group(t.good, "good", t.group, c->groups);
    name_in_group(t.bad, "bad", t.group, c->groups);
    struct wbcache *cache;
    const struct wbcache_options options = {.deadline_ms = AWAIT_MS};
    assert_int_equal(wbcache_open(&cache, c->addresses, &options), WBCACHE_OK);
    write_or_fail(cache, t.good, "first");
    await_value(&t, "first");
    if (silent) {
        say("the database refuses a row, so that the next batch waits in its open transaction for the log");
        sql_run_or_fail(t.conn, "ALTER TABLE wb.entry ADD CONSTRAINT no_bad_values CHECK "
                                "(pg_catalog.substr(value, 1, 3) <> 'bad')");
        write_or_fail(cache, t.bad, "bad");
        cluster_wait(c, "the refused row is in wb.quarantine", AWAIT_MS, is_quarantined, &t);
    }
    t.old = cluster_leader(c, t.group);
    PGconn *locker = sql_connect_or_fail(c->database);
    sql_run_or_fail(locker, "BEGIN; SELECT FROM wb.entry WHERE key = '%s' FOR UPDATE", t.good);
    write_or_fail(cache, t.good, "second");
    t.condition = "wait_event_type = 'Lock'";
    cluster_wait(c, "the flush waits for a row's lock", AWAIT_MS, connection_is_so, &t);
    say("node %u, leader of group %u, is stopped inside its transaction, which waits for a row's lock", t.old,
        t.group);
    cluster_pause(c, t.old);
    int64_t epoch = epoch_of(&t);
    if (silent) {
        sql_run_or_fail(locker, "ROLLBACK");
        t.condition = "state = 'idle in transaction'";
        cluster_wait(
            c, "the transaction is open, and nobody goes on with it", AWAIT_MS, connection_is_so, &t);
        assert_int_equal(sql_number_or_fail(t.conn,
                             "SELECT count(*) FROM (SELECT FROM wb.flush_state WHERE group_id = %u FOR UPDATE"
                             " SKIP LOCKED) AS free",
                             t.group),
            0);
        say("  it holds the group's fence row");
    }
    uint64_t took_ms = await_new_epoch(&t, epoch);
    say("  another leader had the fence after %" PRIu64 " ms; the lock timeout is %d ms", took_ms,
        LOCK_TIMEOUT_MS);
    assert_true(took_ms <= LOCK_TIMEOUT_MS + TAKE_MARGIN_MS);
    if (!silent) {
        sql_run_or_fail(locker, "ROLLBACK");
    }
    await_value(&t, "second");
    write_or_fail(cache, t.good, "third");
    await_value(&t, "third");
    say("node %u wakes up", t.old);
    cluster_resume(c, t.old);
    cluster_wait_caught_up(c, t.old);
    write_or_fail(cache, t.good, "fourth");
    await_value(&t, "fourth");
    cluster_wait_clean(c, AWAIT_MS);
    expect_nothing_halted(c);
    await_value(&t, "fourth");
    PQfinish(locker);
    PQfinish(t.conn);
    wbcache_close(cache);
    s->passed = true;
}

static void a_leader_frozen_with_an_open_transaction_is_passed_within_the_lock_timeout(void **state)
{
    stop_a_leader_inside_its_transaction(*state, true);
}

static void a_leader_frozen_while_it_waits_for_a_lock_is_passed_within_the_lock_timeout(void **state)
{
    stop_a_leader_inside_its_transaction(*state, false);
}

/* ---- outages ---- */

/* A backend of the flush stands still for a while, as on a machine that has better things to do. */
static void stall_a_backend(struct scenario *s)
{
    PGconn *conn = sql_connect_or_fail(s->cluster.database);
    pid_t pid = (pid_t)sql_number_or_fail(conn, "SELECT pid FROM pg_stat_activity WHERE application_name "
                                                "LIKE '%%group=%%' ORDER BY random() LIMIT 1");
    if (pid > 1 && kill(pid, SIGSTOP) == 0) {
        pass_ms(scenario_random(s, 2000));
        kill(pid, SIGCONT);
    }
    PQfinish(conn);
}

static void end_the_backends(struct scenario *s)
{
    PGconn *conn = sql_connect_or_fail(s->cluster.database);
    sql_run_or_fail(conn,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%%group=%%'"
        " AND random() < 0.7");
    PQfinish(conn);
}

static void one_outage(struct scenario *s)
{
    struct cluster *c = &s->cluster;
    switch (scenario_random(s, 5)) {
    case 0:
        say("PostgreSQL is stopped, and started again");
        cluster_pg_stop(c, false);
        pass_ms(scenario_random(s, 1500));
        cluster_pg_start(c);
        break;
    case 1:
        say("PostgreSQL crashes, and is started again");
        cluster_pg_stop(c, true);
        pass_ms(scenario_random(s, 1500));
        cluster_pg_start(c);
        break;
    case 2:
        say("PostgreSQL is restarted at once");
        cluster_pg_restart(c, scenario_random(s, 2) == 0);
        break;
    case 3:
        say("backends of the flush are ended");
        end_the_backends(s);
        break;
    default:
        say("a backend of the flush stands still");
        stall_a_backend(s);
        break;
    }
}

static void outages_at_random_moments_lose_and_halt_nothing(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    start(s, "outage");
    watch = row_watch_start(c->database, s->ledger, 100, true);
    struct witness witness;
    witness_open(&witness, c);
    unsigned seconds = s->options.seconds / 3 + 1;
    say("outages for %u s", seconds);
    uint64_t end_ms = clock_boot_ms() + (uint64_t)seconds * 1000;
    for (unsigned i = 0; clock_boot_ms() < end_ms; i++) {
        one_outage(s);
        witness_write(&witness, c->database, witness.names[i % c->groups]);
        expect_nothing_halted(c);
        pass_ms(scenario_random(s, 500));
    }
    witness_close(&witness);
    finish(s, AGE_MAX_MS);
}

/* A test that failed has left them. */
static int stop_and_tear_down(void **state)
{
    adversary_stop(adversary);
    adversary = NULL;
    if (watch != NULL) {
        row_watch_stop(watch);
        watch = NULL;
    }
    return scenario_teardown(state);
}

#define watched_test(f, options)                                                                             \
    cmocka_unit_test_prestate_setup_teardown(f, scenario_setup, stop_and_tear_down, options)

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 0, 15);
    const struct CMUnitTest tests[] = {
        watched_test(locks_of_others_halt_and_lose_nothing, &options),
        watched_test(a_leader_frozen_with_an_open_transaction_is_passed_within_the_lock_timeout, &options),
        watched_test(a_leader_frozen_while_it_waits_for_a_lock_is_passed_within_the_lock_timeout, &options),
        watched_test(outages_at_random_moments_lose_and_halt_nothing, &options),
    };
    return cmocka_run_group_tests_name("locks", tests, NULL, NULL);
}
