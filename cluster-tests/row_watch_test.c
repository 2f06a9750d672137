/* The watch itself, on a table that a test changes by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "cluster-tests/row_watch.h"
#include "cluster-tests/sql.h"
#include "flush/pg_test_server.h"
#include "proto/base/alloc.h"
#include "proto/base/clock.h"

struct table {
    struct pg_test_server server;
    PGconn *conn;
    struct ledger *ledger;
    struct row_watch *watch;
};

static int group_setup(void **state)
{
    struct table *t = xcalloc(1, sizeof *t);
    *state = t;
    return pg_test_server_start(&t->server);
}

static int group_teardown(void **state)
{
    struct table *t = *state;
    pg_test_server_destroy(&t->server);
    free(t);
    return 0;
}

static int setup(void **state)
{
    struct table *t = *state;
    t->conn = sql_connect_or_fail(t->server.dsn);
    sql_run_or_fail(t->conn, "DROP SCHEMA IF EXISTS wb CASCADE; CREATE "
                             "SCHEMA wb; CREATE TABLE wb.entry (key bytea PRIMARY "
                             "KEY, value bytea NOT NULL, version bigint NOT NULL, expires_at timestamptz)");
    t->ledger = ledger_create("w", 3);
    ledger_keep_history(t->ledger);
    t->watch = row_watch_start(t->server.dsn, t->ledger, 1, true);
    return 0;
}

static int teardown(void **state)
{
    struct table *t = *state;
    PQfinish(t->conn);
    ledger_destroy(t->ledger);
    return 0;
}

static void put(struct table *t, int key, int version)
{
    sql_run_or_fail(t->conn,
        "INSERT INTO wb.entry (key, value, version) VALUES (convert_to('w:0000000%d', 'UTF8'), 'x', %d) ON "
        "CONFLICT (key) "
        "DO UPDATE SET version = excluded.version",
        key, version);
    row_watch_await(t->watch);
}

static void versions_that_grow_are_no_problem(void **state)
{
    struct table *t = *state;
    put(t, 0, 10);
    put(t, 0, 20);
    put(t, 1, 5);
    struct row_watch_numbers n = row_watch_stop(t->watch);
    assert_int_equal(n.changes, 3);
    assert_int_equal(n.went_back, 0);
    assert_int_equal(n.failures, 0);
}

static void a_version_that_falls_is_seen(void **state)
{
    struct table *t = *state;
    put(t, 0, 20);
    put(t, 0, 10);
    struct row_watch_numbers n = row_watch_stop(t->watch);
    assert_int_equal(n.went_back, 1); /* and seen once, although it stays so */
    assert_non_null(strstr(n.problem, "w:00000000 went from version 20 to 10"));
}

static void a_row_that_goes_away_is_seen(void **state)
{
    struct table *t = *state;
    put(t, 2, 20);
    sql_run_or_fail(t->conn, "DELETE FROM wb.entry");
    row_watch_await(t->watch);
    struct row_watch_numbers n = row_watch_stop(t->watch);
    assert_int_equal(n.went_back, 1);
    assert_non_null(strstr(n.problem, "w:00000002 went from version 20 to 0"));
}

static void a_row_is_as_old_as_the_oldest_write_that_it_lacks(void **state)
{
    struct table *t = *state;
    uint64_t now_ms = clock_boot_ms();
    ledger_acknowledge(t->ledger, 0, ledger_mark(t->ledger, 1, now_ms), 10, 0, now_ms - 90000);
    put(t, 0, 10);
    struct row_watch_numbers n = row_watch_stop(t->watch);
    uint64_t lacked_ms = n.age_max_ms; /* the first reading may have come before the row */
    assert_true(lacked_ms == 0 || lacked_ms >= 90000);

    ledger_acknowledge(t->ledger, 0, ledger_mark(t->ledger, 1, now_ms), 20, 10, now_ms - 40000);
    ledger_acknowledge(t->ledger, 0, ledger_mark(t->ledger, 1, now_ms), 30, 20, now_ms - 10);
    t->watch = row_watch_start(t->server.dsn, t->ledger, 1, true);
    row_watch_await(t->watch);
    n = row_watch_stop(t->watch);
    assert_in_range(n.age_max_ms, 40000, 80000);
}

static void a_missing_table_has_no_rows_and_a_missing_server_is_a_failure(void **state)
{
    struct table *t = *state;
    sql_run_or_fail(t->conn, "DROP SCHEMA wb CASCADE");
    row_watch_await(t->watch);
    struct row_watch_numbers n = row_watch_stop(t->watch);
    assert_true(n.readings > 0);
    assert_int_equal(n.failures, 0);
    t->watch = row_watch_start("host=/nonexistent", t->ledger, 1, true);
    row_watch_await(t->watch);
    n = row_watch_stop(t->watch);
    assert_int_equal(n.readings, 0);
    assert_true(n.failures > 0);
}

int main(void)
{
#define watch_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        watch_test(versions_that_grow_are_no_problem),
        watch_test(a_version_that_falls_is_seen),
        watch_test(a_row_that_goes_away_is_seen),
        watch_test(a_row_is_as_old_as_the_oldest_write_that_it_lacks),
        watch_test(a_missing_table_has_no_rows_and_a_missing_server_is_a_failure),
    };
    return cmocka_run_group_tests_name("row_watch", tests, group_setup, group_teardown);
}
