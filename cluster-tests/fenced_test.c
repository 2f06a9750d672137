/* An old leader that wakes up in the middle of a flush overwrites nothing newer. */
#include "cluster-tests/scenario.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster-tests/pg_proxy.h"
#include "cluster-tests/row_watch.h"
#include "cluster-tests/sql.h"
#include "cluster-tests/verify.h"
#include "proto/slot.h"

enum { KEYS = 30, THE_KEY = 7, WAIT_MS = 30000, DEADLINE_MS = 5000 };

static unsigned group_of_the_key(struct scenario *s)
{
    char name[LEDGER_KEY_BYTES];
    size_t len = ledger_key(s->ledger, THE_KEY, name);
    return slot_group(slot_of(bytes_of(name, len)), s->cluster.groups);
}

static void write_the_key(struct scenario *s, struct cluster *c)
{
    char message[256];
    int code = write_one(c, s->ledger, THE_KEY, DEADLINE_MS, message, sizeof message);
    if (code != WBCACHE_OK) {
        fail_msg("the write was not acknowledged: %s: %s", wbcache_code_name(code), message);
    }
}

/* What these conditions ask PostgreSQL about. */
struct question {
    PGconn *conn;
    const char *sql; /* a number that is not 0: yes */
    struct scenario *scenario;
    struct pg_proxy *proxy;
};

static bool sql_says_yes(struct cluster *c, void *data)
{
    (void)c;
    struct question *q = data;
    return sql_number_or_fail(q->conn, "%s", q->sql) != 0;
}

static bool row_is_the_newest(struct cluster *c, void *data)
{
    (void)c;
    struct question *q = data;
    char name[LEDGER_KEY_BYTES];
    ledger_key(q->scenario->ledger, THE_KEY, name);
    uint64_t version = (uint64_t)sql_number_or_fail(
        q->conn, "SELECT version FROM wb.entry WHERE key = convert_to('%s', 'UTF8')", name);
    return version == ledger_version(q->scenario->ledger, THE_KEY);
}

static bool bytes_are_held(struct cluster *c, void *data)
{
    (void)c;
    struct question *q = data;
    return pg_proxy_held_bytes(q->proxy) > 0;
}

static bool the_fence_refused_it(struct cluster *c, void *data)
{
    (void)data;
    return cluster_log_find(c, 0, 0, (const char *const[]){"ERROR", "is held by another", NULL}) >= 0;
}

/* The flush connection of @node for @group in pg_stat_activity. */
static void of_flush_connection(
    char *out, size_t out_len, const char *what, unsigned node, unsigned group, const char *and)
{
    snprintf(out, out_len,
        "SELECT %s FROM pg_stat_activity WHERE application_name LIKE '%%node=%u %%' AND application_name || "
        "' ' LIKE "
        "'%%group=%u %%' %s",
        what, node, group, and);
}

/* The old leader lives on as a follower, and nothing went back meanwhile. */
static void expect_a_quiet_return(struct scenario *s, struct cluster *c, unsigned old, unsigned group,
    uint64_t refusals, struct row_watch *watch)
{
    cluster_wait_caught_up(c, old);
    verify_all(c, s->ledger);
    struct wbcache_status *status = cluster_status(c);
    const struct wbcache_group_status *g = status == NULL ? NULL : cluster_group(status, old, group);
    say("  node %u is %s again; it was refused by the fence %" PRIu64 " times", old,
        g == NULL ? "away" : g->role, g == NULL ? 0 : g->fenced);
    assert_true(g != NULL && g->fenced >= refusals);
    wbcache_status_free(status);
    struct row_watch_numbers seen = row_watch_stop(watch);
    say("  %" PRIu64 " readings of the table saw %" PRIu64 " new versions and %" PRIu64 " that went back %s",
        seen.readings, seen.changes, seen.went_back, seen.problem);
    assert_true(seen.readings > 0 && seen.changes > 0);
    assert_int_equal(seen.went_back, 0);
}

static void a_leader_stopped_inside_its_transaction_overwrites_nothing(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    cluster_start(c, NULL);
    s->ledger = ledger_create("fenced", KEYS);
    unsigned group = group_of_the_key(s);
    write_the_key(s, c);
    verify_all(c, s->ledger);
    struct row_watch *watch = row_watch_start(c->database, s->ledger, 20, false);

    unsigned old = cluster_leader(c, group);
    say("a lock is held on the row; node %u, leader of group %u, flushes a newer value into it", old, group);
    PGconn *locker = sql_connect_or_fail(c->database);
    PGconn *conn = sql_connect_or_fail(c->database);
    char name[LEDGER_KEY_BYTES];
    ledger_key(s->ledger, THE_KEY, name);
    sql_run_or_fail(
        locker, "BEGIN; SELECT 1 FROM wb.entry WHERE key = convert_to('%s', 'UTF8') FOR UPDATE", name);
    write_the_key(s, c);
    char sql[400];
    of_flush_connection(sql, sizeof sql, "count(*)", old, group, "AND wait_event_type = 'Lock'");
    struct question q = {.conn = conn, .sql = sql, .scenario = s};
    cluster_wait(c, "the leader's transaction waits for the row's lock", WAIT_MS, sql_says_yes, &q);

    say("node %u is stopped inside its transaction", old);
    cluster_pause(c, old);
    unsigned heir = cluster_other_leader(c, group, old);
    write_the_key(s, c);
    say("node %u leads and has acknowledged a newer value; the lock is released", heir);
    sql_run_or_fail(locker, "ROLLBACK");
    cluster_wait(c, "the new leader's value is in the row", WAIT_MS, row_is_the_newest, &q);

    say("the row has the newest value; node %u wakes up", old);
    cluster_resume(c, old);
    PQfinish(locker);
    PQfinish(conn);
    expect_a_quiet_return(s, c, old, group, 0, watch);
    s->passed = true;
}

/* The nodes of s->other reach the PostgreSQL of s->cluster through a proxy. */
static struct pg_proxy *start_behind_a_proxy(struct scenario *s)
{
    cluster_start(&s->cluster, NULL);
    for (unsigned node = 1; node <= s->cluster.nodes; node++) {
        cluster_stop_node(&s->cluster, node); /* only its PostgreSQL is wanted */
    }
    PGconn *conn = sql_connect_or_fail(s->cluster.database);
    sql_run_or_fail(conn, "CREATE DATABASE behind");
    struct pg_proxy *proxy = pg_proxy_start((uint16_t)strtoul(PQport(conn), NULL, 10));
    assert_non_null(proxy);
    char dsn[700];
    snprintf(dsn, sizeof dsn, "%s port=%u dbname=behind", s->cluster.database, pg_proxy_port(proxy));
    PQfinish(conn);
    cluster_start(&s->other, &(struct cluster_options){.database = dsn});
    return proxy;
}

static void a_transaction_that_arrives_late_is_refused_by_the_fence(void **state)
{
    struct scenario *s = *state;
    struct pg_proxy *proxy = start_behind_a_proxy(s);
    struct cluster *c = &s->other;
    s->ledger = ledger_create("late", KEYS);
    unsigned group = group_of_the_key(s);
    write_the_key(s, c);
    verify_all(c, s->ledger);
    char direct[700];
    sql_other_database(s->cluster.database, "behind", direct, sizeof direct);
    struct row_watch *watch = row_watch_start(direct, s->ledger, 20, false);
    PGconn *conn = sql_connect_or_fail(direct);

    unsigned old = cluster_leader(c, group);
    say("what node %u, leader of group %u, sends to PostgreSQL is held back on its way; it flushes a value",
        old, group);
    char sql[400];
    of_flush_connection(sql, sizeof sql, "client_port", old, group, "AND datname = 'behind'");
    int64_t port = sql_number_or_fail(conn, "%s", sql);
    assert_true(port > 0);
    pg_proxy_hold(proxy, (uint16_t)port);
    write_the_key(s, c);
    struct question q = {.conn = conn, .scenario = s, .proxy = proxy};
    cluster_wait(c, "the transaction is on its way", WAIT_MS, bytes_are_held, &q);

    say("node %u is stopped", old);
    cluster_pause(c, old);
    unsigned heir = cluster_other_leader(c, group, old);
    write_the_key(s, c);
    cluster_wait(c, "the new leader's value is in the row", WAIT_MS, row_is_the_newest, &q);
    say("node %u leads and has flushed a newer value; now the old transaction arrives", heir);
    pg_proxy_release(proxy);
    cluster_wait(
        &s->cluster, "PostgreSQL's log shows that the fence refused it", WAIT_MS, the_fence_refused_it, NULL);
    assert_true(row_is_the_newest(c, &q));

    say("node %u wakes up", old);
    cluster_resume(c, old);
    PQfinish(conn);
    expect_a_quiet_return(s, c, old, group, 1, watch);
    cluster_end(c, s->options.keep);
    pg_proxy_stop(proxy);
    s->passed = true;
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 0, 0);
    const struct CMUnitTest tests[] = {
        scenario_test(a_leader_stopped_inside_its_transaction_overwrites_nothing, &options),
        scenario_test(a_transaction_that_arrives_late_is_refused_by_the_fence, &options),
    };
    return cmocka_run_group_tests_name("fenced", tests, NULL, NULL);
}
