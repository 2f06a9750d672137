/* Who keeps a fence row locked, and what a take does about it, against a real server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "flush/flusher_probe.h"

static struct pg_test_server server;
static const struct pg_limits impatient = {.lock_timeout_ms = 200};

static void execute(const char *sql)
{
    char *text = pg_test_server_query(&server, sql);
    assert_non_null(text);
    free(text);
}

static int64_t number(const char *sql)
{
    return pg_test_server_number(&server, sql);
}

static int64_t flushers(void)
{
    return number("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'wbcache%'");
}

/* Group @group of cluster @name holds the fence, in term 1; its sessions' idle time in a transaction is as it
 * is by default, far longer than the test. */
static struct flush_identity open_taken(struct probe *p, uint8_t name, uint32_t group)
{
    struct flush_identity id = probe_cluster(name, group, 0);
    execute("DROP SCHEMA IF EXISTS wb CASCADE");
    probe_open(p, server.dsn, group, NULL);
    probe_claim(p, &id, FLUSH_DB_EMPTY, NULL);
    assert_int_equal(probe_next(p), PROBE_CLAIMED);
    probe_take(p, &id, 1);
    assert_int_equal(probe_next(p), PROBE_TAKEN);
    return id;
}

/* The leader stands still behind its flush_advance: a transaction that nobody goes on with. */
static void freeze(struct probe *p, uint64_t batch, uint64_t predecessor)
{
    struct flush_row row = probe_row("frozen", "v", 1);
    probe_isolate(p, batch, predecessor, &row, 1, 0);
}

static void fails_at_the_lock(struct probe *p, const struct flush_identity *id, uint64_t term)
{
    probe_take(p, id, term);
    probe_assert_failed(p, FLUSH_ERROR_TRANSIENT, "lock");
    assert_string_equal(p->error.sqlstate, "55P03");
}

static void a_frozen_leaders_transaction_is_ended_by_the_second_take(void **state)
{
    (void)state;
    struct probe old, new;
    struct flush_identity id = open_taken(&old, 1, 0);
    freeze(&old, 2, 0);
    probe_open(&new, server.dsn, 0, &impatient);
    fails_at_the_lock(&new, &id, 2);
    assert_int_equal(old.events, old.seen); /* not at the first try */
    probe_take(&new, &id, 2);
    assert_int_equal(probe_next(&new), PROBE_TAKEN);
    assert_int_equal(new.row.last_batch, 0);
    assert_int_equal(number("SELECT count(*) FROM wb.entry"), 0);
    probe_assert_failed(&old, FLUSH_ERROR_OUTAGE, "");
    struct flush_row row = probe_row("k", "v", 2);
    probe_send(&new, 3, 0, &row, 1);
    probe_assert_committed(&new, 3);
    probe_close(&old);
    probe_close(&new);
}

/* Two of them: one that took the fence and did not get to the COMMIT, and a later one behind it. */
static void what_holds_the_lock_after_a_take_is_known_as_well(void **state)
{
    (void)state;
    struct probe old, new;
    struct flush_identity id = open_taken(&old, 1, 0);
    execute("CREATE FUNCTION wb.wait() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM pg_advisory_xact_lock(78); RETURN NULL; END $$;"
            "CREATE TRIGGER wait AFTER UPDATE ON wb.flush_state FOR EACH ROW WHEN (NEW.term = 1)"
            " EXECUTE FUNCTION wb.wait()");
    PGconn *holder = PQconnectdb(server.dsn);
    PQclear(PQexec(holder, "SELECT pg_advisory_lock(78)"));
    probe_take(&old, &id, 1);
    while (number("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'") < 1) {
        probe_turn(&old);
    }
    probe_open(&new, server.dsn, 0, &impatient);
    fails_at_the_lock(&new, &id, 2);
    probe_take(&new, &id, 2);
    assert_int_equal(probe_next(&new), PROBE_TAKEN);
    assert_int_equal(new.row.epoch, 2);
    probe_assert_failed(&old, FLUSH_ERROR_OUTAGE, "terminating connection");
    PQfinish(holder);
    probe_close(&old);
    probe_close(&new);
}

static void an_adversarys_lock_is_waited_for(void **state)
{
    (void)state;
    struct probe p;
    struct flush_identity id = open_taken(&p, 1, 0);
    PGconn *adversary = PQconnectdb(server.dsn);
    PQclear(PQexec(adversary, "BEGIN; SELECT * FROM wb.flush_state FOR UPDATE"));
    probe_close(&p);
    probe_open(&p, server.dsn, 0, &impatient);
    for (int i = 0; i < 3; i++) {
        fails_at_the_lock(&p, &id, 2);
    }
    PQclear(PQexec(adversary, "COMMIT"));
    assert_int_equal(PQstatus(adversary), CONNECTION_OK);
    probe_take(&p, &id, 2);
    assert_int_equal(probe_next(&p), PROBE_TAKEN);
    PQfinish(adversary);
    probe_close(&p);
}

/* A backend of ours that waits behind the adversary, as we do, may be a newer leader's. It is not what keeps
 * us waiting, and its own lock_timeout ends it. */
static void one_that_only_waits_is_left_alone(void **state)
{
    (void)state;
    struct probe first, second;
    struct flush_identity id = open_taken(&first, 1, 0);
    PGconn *adversary = PQconnectdb(server.dsn);
    PQclear(PQexec(adversary, "BEGIN; SELECT * FROM wb.flush_state FOR UPDATE"));
    /* Of a limit that it takes the first one far less time to come to the lock. */
    const struct pg_limits limits = {.lock_timeout_ms = 1500};
    probe_open(&second, server.dsn, 0, &limits);
    fails_at_the_lock(&second, &id, 2); /* from now on it ends holders first */
    probe_take(&first, &id, 3);
    while (number("SELECT count(*) FROM pg_locks WHERE NOT granted") < 1) {
        probe_turn(&first);
    }
    probe_take(&second, &id, 2);
    while (number("SELECT count(*) FROM pg_locks WHERE NOT granted") < 2) {
        probe_turn(&second);
    }
    PQclear(PQexec(adversary, "COMMIT"));
    assert_int_equal(probe_next(&first), PROBE_TAKEN);
    probe_assert_failed(&second, FLUSH_ERROR_FENCED, "term 3");
    PQfinish(adversary);
    probe_close(&first);
    probe_close(&second);
}

static void an_older_leader_ends_nobody(void **state)
{
    (void)state;
    struct probe new, old;
    struct flush_identity id = open_taken(&new, 1, 0);
    probe_take(&new, &id, 5);
    assert_int_equal(probe_next(&new), PROBE_TAKEN);
    freeze(&new, 2, 0);
    probe_open(&old, server.dsn, 0, &impatient);
    /* It sees the row as it is committed: the update that would wait for the lock finds nothing to do. */
    for (int i = 0; i < 2; i++) {
        probe_take(&old, &id, 4);
        probe_assert_failed(&old, FLUSH_ERROR_FENCED, "term 5");
    }
    probe_finish(&new, &(struct flush_note){0}, NULL);
    probe_assert_committed(&new, 2);
    probe_close(&new);
    probe_close(&old);
}

/* The lock's number holds the group, the cluster and the schema. */
static void only_the_groups_own_backends_are_ended(void **state)
{
    (void)state;
    struct probe group1, other, frozen, new;
    open_taken(&group1, 1, 1);
    struct flush_identity mine = probe_cluster(1, 0, 0);
    execute("DROP SCHEMA IF EXISTS wc CASCADE");
    probe_open_schema(&other, server.dsn, 0, NULL, "wc");
    probe_claim(&other, &mine, FLUSH_DB_EMPTY, NULL);
    assert_int_equal(probe_next(&other), PROBE_CLAIMED);
    probe_take(&other, &mine, 1);
    assert_int_equal(probe_next(&other), PROBE_TAKEN);
    probe_open(&frozen, server.dsn, 0, NULL);
    probe_take(&frozen, &mine, 1);
    assert_int_equal(probe_next(&frozen), PROBE_TAKEN);
    freeze(&group1, 2, 0);
    freeze(&other, 2, 0);
    struct flush_row row = probe_row("another key", "v", 1);
    probe_isolate(&frozen, 2, 0, &row, 1, 0);
    assert_int_equal(flushers(), 3);
    probe_open(&new, server.dsn, 0, &impatient);
    fails_at_the_lock(&new, &mine, 2);
    probe_take(&new, &mine, 2);
    assert_int_equal(probe_next(&new), PROBE_TAKEN);
    probe_assert_failed(&frozen, FLUSH_ERROR_OUTAGE, "");
    probe_finish(&group1, &(struct flush_note){0}, NULL);
    probe_assert_committed(&group1, 2);
    probe_finish(&other, &(struct flush_note){0}, NULL);
    probe_assert_committed(&other, 2);
    probe_close(&group1);
    probe_close(&other);
    probe_close(&frozen);
    probe_close(&new);
}

/* Somebody who takes the marking lock for himself neither stops a flush nor is taken for one that holds it.
 */
static void the_mark_can_be_taken_away_without_harm(void **state)
{
    (void)state;
    struct probe p;
    open_taken(&p, 1, 0);
    freeze(&p, 2, 0);
    char sql[256];
    snprintf(sql, sizeof sql,
        "SELECT classid::bigint << 32 | objid::bigint FROM pg_locks WHERE locktype = 'advisory'");
    int64_t lock = number(sql);
    probe_finish(&p, &(struct flush_note){0}, NULL);
    probe_assert_committed(&p, 2);
    PGconn *adversary = PQconnectdb(server.dsn);
    snprintf(sql, sizeof sql, "SELECT pg_advisory_lock(%lld)", (long long)lock);
    PQclear(PQexec(adversary, sql));
    struct flush_row row = probe_row("k", "v", 2);
    probe_send(&p, 3, 2, &row, 1);
    probe_assert_committed(&p, 3);
    PQfinish(adversary);
    probe_close(&p);
}

/* The limit of a statement may be the shorter one. */
static void a_take_that_the_statement_timeout_ended_counts_as_well(void **state)
{
    (void)state;
    struct probe old, new;
    struct flush_identity id = open_taken(&old, 1, 0);
    freeze(&old, 2, 0);
    struct pg_limits limits = {.lock_timeout_ms = 400, .statement_timeout_ms = 300};
    probe_open(&new, server.dsn, 0, &limits);
    unsigned takes = 0;
    do { /* the transaction must be older than the lock_timeout */
        probe_take(&new, &id, 2);
        takes++;
        assert_true(takes < 20);
    } while (probe_next(&new) != PROBE_TAKEN);
    assert_true(takes >= 2);
    assert_string_equal(new.error.sqlstate, "57014");
    probe_close(&old);
    probe_close(&new);
}

static int start(void **state)
{
    (void)state;
    return pg_test_server_start(&server);
}

static int stop(void **state)
{
    (void)state;
    pg_test_server_destroy(&server);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frozen_leaders_transaction_is_ended_by_the_second_take),
        cmocka_unit_test(what_holds_the_lock_after_a_take_is_known_as_well),
        cmocka_unit_test(an_adversarys_lock_is_waited_for),
        cmocka_unit_test(one_that_only_waits_is_left_alone),
        cmocka_unit_test(an_older_leader_ends_nobody),
        cmocka_unit_test(only_the_groups_own_backends_are_ended),
        cmocka_unit_test(the_mark_can_be_taken_away_without_harm),
        cmocka_unit_test(a_take_that_the_statement_timeout_ended_counts_as_well),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
