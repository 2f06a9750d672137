/* Batches against a real server: what commits, what does not, and what is heard of it. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "flush/flusher_probe.h"
#include "flush/pg_time.h"
#include "proto/base/alloc.h"

static struct pg_test_server server;

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

static int64_t fence_batch(void)
{
    return number("SELECT last_batch FROM wb.flush_state WHERE group_id = 0");
}

/* An empty database, claimed by cluster 1 and taken for group 0. */
static struct flush_identity open_taken(struct probe *p, const struct pg_limits *limits)
{
    struct flush_identity id = probe_cluster(1, 0, 0);
    execute("DROP SCHEMA IF EXISTS wb CASCADE");
    probe_open(p, server.dsn, 0, limits);
    probe_claim(p, &id, FLUSH_DB_EMPTY, NULL);
    assert_int_equal(probe_next(p), PROBE_CLAIMED);
    probe_take(p, &id, 1);
    assert_int_equal(probe_next(p), PROBE_TAKEN);
    return id;
}

static void send_one(struct probe *p, uint64_t id, uint64_t predecessor, const char *key, const char *value)
{
    struct flush_row row = probe_row(key, value, id << 16);
    probe_send(p, id, predecessor, &row, 1);
}

static void terminate_flusher(void)
{
    /* One of an earlier test's may still be on its way out. */
    assert_true(number("SELECT count(pg_terminate_backend(pid, 30000)) FROM pg_stat_activity"
                       " WHERE application_name LIKE 'wbcache%'") >= 1);
}

static void a_batch_upserts_and_deletes_and_moves_the_fence(void **state)
{
    (void)state;
    struct probe p;
    open_taken(&p, NULL);
    struct flush_row rows[] = {probe_row("a", "1", 1), probe_row("b", "2", 2), probe_row("c", "3", 3)};
    probe_send(&p, 10, 0, rows, 3);
    probe_assert_committed(&p, 10);
    struct flush_row more[] = {probe_row("b", "two", 4), probe_row("c", "", 5), probe_row("d", "", 6)};
    more[1].deleted = true;
    more[2].expires_at_ms = UINT64_C(4102444800123); /* 2100 */
    probe_send(&p, 12, 10, more, 3);
    probe_assert_committed(&p, 12);
    /* Only deletes, of a key that is not there too; then nothing but the fence. */
    struct flush_row gone[] = {probe_row("a", "", 7), probe_row("never", "", 8)};
    gone[0].deleted = gone[1].deleted = true;
    probe_send(&p, 13, 12, gone, 2);
    probe_assert_committed(&p, 13);
    probe_send(&p, 14, 13, NULL, 0);
    probe_assert_committed(&p, 14);
    assert_int_equal(fence_batch(), 14);
    assert_int_equal(number("SELECT count(*) FROM wb.entry"), 2);
    assert_int_equal(
        number("SELECT version FROM wb.entry WHERE key = 'b' AND value = 'two' AND expires_at IS NULL"), 4);
    assert_int_equal(number("SELECT count(*) FROM wb.entry WHERE key = 'd' AND value = ''"
                            " AND expires_at = '2100-01-01 00:00:00.123+00'"),
        1);
    probe_close(&p);
}

/* Against the server's own reading of the arrays. */
static int by_key(const void *a, const void *b)
{
    return bytes_compare(((const struct flush_row *)a)->key, ((const struct flush_row *)b)->key);
}

static void thousands_of_rows_of_every_kind_arrive_whole(void **state)
{
    (void)state;
    enum { N = 5000, BIG = LIMIT_VALUE_BYTES };
    struct probe p;
    open_taken(&p, NULL);
    struct flush_row *rows = xcalloc(N, sizeof *rows);
    uint8_t(*keys)[8] = xcalloc(N, sizeof *keys);
    uint8_t *big = xmalloc(BIG);
    for (size_t i = 0; i < BIG; i++) {
        big[i] = (uint8_t)(i * 31);
    }
    for (uint32_t i = 0; i < N; i++) {
        /* Zero bytes in front and inside; scattered, so that they have to be sorted. */
        store_be32(keys[i] + 2, i * 2654435761u);
        rows[i] = (struct flush_row){.key = bytes_of(keys[i], 8), .version = i + 1};
        rows[i].value = i == 17      ? bytes_of(big, BIG)
                        : i % 3 == 0 ? bytes_of(NULL, 0)
                                     : bytes_of(keys[i], i % 9);
        rows[i].expires_at_ms = i % 5 == 0 ? PG_TIME_EPOCH_MS + i : 0;
    }
    rows[0].expires_at_ms = UINT64_MAX;
    rows[5].expires_at_ms = 1;
    rows[10].expires_at_ms =
        (uint64_t)(PG_TIME_END / 1000) + PG_TIME_EPOCH_MS - 1; /* the calendar's last moment */
    probe_send(&p, 2, 0, rows, N);
    probe_assert_committed(&p, 2);
    assert_int_equal(number("SELECT count(*) FROM wb.entry WHERE length(key) = 8"), N);
    assert_int_equal(number("SELECT count(*) FROM wb.entry WHERE value = ''"), (N + 2) / 3);
    assert_int_equal(number("SELECT count(*) FROM wb.entry WHERE expires_at IS NOT NULL"), N / 5);
    assert_int_equal(number("SELECT version FROM wb.entry WHERE expires_at = 'infinity'"), 1);
    assert_int_equal(
        number("SELECT version FROM wb.entry WHERE expires_at = '1970-01-01 00:00:00.001+00'"), 6);
    assert_int_equal(
        number("SELECT version FROM wb.entry WHERE expires_at = '294276-12-31 23:59:59.999+00'"), 11);

    PGconn *conn = PQconnectdb(server.dsn);
    PGresult *all = PQexecParams(
        conn, "SELECT key, value, version FROM wb.entry ORDER BY key", 0, NULL, NULL, NULL, NULL, 1);
    assert_int_equal(PQntuples(all), N);
    qsort(rows, N, sizeof *rows, by_key);
    for (int i = 0; i < N; i++) {
        assert_true(
            bytes_equal(rows[i].key, bytes_of(PQgetvalue(all, i, 0), (size_t)PQgetlength(all, i, 0))));
        assert_true(
            bytes_equal(rows[i].value, bytes_of(PQgetvalue(all, i, 1), (size_t)PQgetlength(all, i, 1))));
        assert_true(load_be64((const uint8_t *)PQgetvalue(all, i, 2)) == rows[i].version);
    }
    PQclear(all);
    PQfinish(conn);
    for (uint32_t i = 0; i < N; i++) {
        rows[i].deleted = i % 2 == 0;
    }
    probe_send(&p, 3, 2, rows, N);
    probe_assert_committed(&p, 3);
    assert_int_equal(number("SELECT count(*) FROM wb.entry"), N / 2);
    free(big);
    free(keys);
    free(rows);
    probe_close(&p);
}

static void batches_pipeline_and_commit_in_order(void **state)
{
    (void)state;
    struct probe p;
    open_taken(&p, NULL);
    for (uint64_t id = 1; id <= 10; id++) {
        send_one(&p, id, id - 1, "hot", "value");
    }
    for (uint64_t id = 1; id <= 10; id++) {
        probe_assert_committed(&p, id);
    }
    assert_int_equal(number("SELECT version FROM wb.entry"), 10 << 16);
    probe_close(&p);
}

static void a_batch_with_another_predecessor_is_refused(void **state)
{
    (void)state;
    struct probe p;
    open_taken(&p, NULL);
    send_one(&p, 5, 0, "k", "good");
    probe_assert_committed(&p, 5);
    send_one(&p, 9, 6, "k", "bad");
    probe_assert_failed(&p, FLUSH_ERROR_PREDECESSOR, "the last one here is 5");
    assert_int_equal(fence_batch(), 5);
    assert_int_equal(number("SELECT count(*) FROM wb.entry WHERE value = 'good'"), 1);
    probe_close(&p);
}

static void when_one_fails_the_next_fails_and_nothing_of_both_is_there(void **state)
{
    (void)state;
    struct probe p;
    struct flush_identity id = open_taken(&p, NULL);
    execute("ALTER TABLE wb.entry ADD CHECK (value <> 'poison')");
    send_one(&p, 3, 0, "before", "fine");
    struct flush_row rows[] = {probe_row("x", "fine", 1), probe_row("y", "poison", 2)};
    probe_send(&p, 4, 3, rows, 2);
    send_one(&p, 5, 4, "after", "fine");
    probe_assert_committed(&p, 3);
    probe_assert_failed(&p, FLUSH_ERROR_ROW, "batch 4");
    assert_string_equal(p.error.sqlstate, "23514");
    probe_take(&p, &id, 1);
    assert_int_equal(probe_next(&p), PROBE_TAKEN); /* one failure for both: this is the next event */
    assert_int_equal(p.row.last_batch, 3);
    assert_int_equal(number("SELECT count(*) FROM wb.entry"), 1);
    probe_close(&p);
}

static void a_deferred_constraint_that_fails_at_commit_is_no_success(void **state)
{
    (void)state;
    struct probe p;
    open_taken(&p, NULL);
    execute("CREATE FUNCTION wb.refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'not at commit'; END $$;"
            "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON wb.entry DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION wb.refuse()");
    send_one(&p, 3, 0, "k", "v");
    probe_assert_failed(&p, FLUSH_ERROR_ROW, "not at commit");
    assert_int_equal(number("SELECT count(*) FROM wb.entry"), 0);
    assert_int_equal(fence_batch(), 0);
    probe_close(&p);
}

static void an_old_holder_is_fenced_and_changes_nothing(void **state)
{
    (void)state;
    struct probe old, new;
    struct flush_identity id = open_taken(&old, NULL);
    send_one(&old, 3, 0, "k", "first");
    probe_assert_committed(&old, 3);
    probe_open(&new, server.dsn, 0, NULL);
    probe_take(&new, &id, 2);
    assert_int_equal(probe_next(&new), PROBE_TAKEN);
    assert_int_equal(new.row.last_batch, 3);
    assert_int_equal(new.row.epoch, 2);
    send_one(&old, 4, 3, "k", "stale");
    probe_assert_failed(&old, FLUSH_ERROR_FENCED, "held by another");
    send_one(&new, 6, 3, "k", "newer");
    probe_assert_committed(&new, 6);
    assert_int_equal(number("SELECT count(*) FROM wb.entry WHERE value = 'newer'"), 1);
    probe_close(&old);
    probe_close(&new);
}

/* The new leader's take waits for the lock of the old one's transaction, and is told what became of it. */
static void take_waits_for_a_transaction_that_is_under_way(void **state)
{
    (void)state;
    struct probe old, new;
    struct flush_identity id = open_taken(&old, NULL);
    PGconn *holder = PQconnectdb(server.dsn);
    PQclear(PQexec(holder, "BEGIN; LOCK TABLE wb.entry IN SHARE MODE"));
    send_one(&old, 3, 0, "k", "v");
    while (number("SELECT count(*) FROM pg_locks WHERE NOT granted") < 1) {
        probe_turn(&old); /* its fence has moved, its row waits for the table */
    }
    probe_open(&new, server.dsn, 0, NULL);
    probe_take(&new, &id, 2);
    while (number("SELECT count(*) FROM pg_locks WHERE NOT granted") < 2) {
        probe_turn(&new);
    }
    assert_int_equal(new.events, 0);
    PQfinish(holder);
    assert_int_equal(probe_next(&new), PROBE_TAKEN);
    assert_int_equal(new.row.last_batch, 3);
    probe_assert_committed(&old, 3);
    probe_close(&old);
    probe_close(&new);
}

static void a_connection_cut_before_the_commit_leaves_nothing(void **state)
{
    (void)state;
    struct probe p;
    struct flush_identity id = open_taken(&p, NULL);
    PGconn *holder = PQconnectdb(server.dsn);
    PQclear(PQexec(holder, "BEGIN; LOCK TABLE wb.entry IN SHARE MODE"));
    send_one(&p, 3, 0, "k", "v");
    while (number("SELECT count(*) FROM pg_locks WHERE NOT granted") < 1) {
        probe_turn(&p);
    }
    terminate_flusher();
    probe_assert_failed(&p, FLUSH_ERROR_OUTAGE, "terminating connection");
    PQfinish(holder);
    probe_take(&p, &id, 1);
    assert_int_equal(probe_next(&p), PROBE_TAKEN);
    assert_int_equal(p.row.last_batch, 0);
    assert_int_equal(number("SELECT count(*) FROM wb.entry"), 0);
    send_one(&p, 4, 0, "k", "v");
    probe_assert_committed(&p, 4);
    probe_close(&p);
}

/* The answer is in our socket when the connection dies: it counts, and then the end is told. */
static void a_commit_that_was_heard_counts_though_the_connection_is_cut(void **state)
{
    (void)state;
    struct probe p;
    struct flush_identity id = open_taken(&p, NULL);
    send_one(&p, 3, 0, "k", "v");
    while (fence_batch() != 3) { /* our loop stands still meanwhile */
    }
    terminate_flusher();
    probe_assert_committed(&p, 3);
    probe_assert_failed(&p, FLUSH_ERROR_OUTAGE, "lost the connection");
    probe_take(&p, &id, 1);
    assert_int_equal(probe_next(&p), PROBE_TAKEN);
    assert_int_equal(p.row.last_batch, 3);
    probe_close(&p);
}

/* Nobody asked: still, a session that waits for nothing should learn that it lost the fence. */
static void the_loss_of_an_idle_connection_is_told(void **state)
{
    (void)state;
    struct probe p;
    open_taken(&p, NULL);
    terminate_flusher();
    probe_assert_failed(&p, FLUSH_ERROR_OUTAGE, "lost the connection");
    probe_close(&p);
}

static void a_stopped_server_is_an_outage_until_it_is_back(void **state)
{
    (void)state;
    struct probe p;
    struct flush_identity id = open_taken(&p, NULL);
    send_one(&p, 3, 0, "k", "v");
    probe_assert_committed(&p, 3);
    pg_test_server_stop(&server);
    probe_assert_failed(&p, FLUSH_ERROR_OUTAGE, "");
    for (int i = 0; i < 3; i++) {
        probe_take(&p, &id, 1);
        probe_assert_failed(&p, FLUSH_ERROR_OUTAGE, "cannot connect to the database");
        assert_null(strchr(p.error.message, '\n'));
    }
    assert_int_equal(pg_test_server_again(&server), 0);
    probe_take(&p, &id, 1);
    assert_int_equal(probe_next(&p), PROBE_TAKEN);
    assert_int_equal(p.row.last_batch, 3);
    probe_close(&p);
}

static void a_bad_dsn_is_told_by_an_event(void **state)
{
    (void)state;
    static const char *const dsns[] = {
        "host=/nowhere port=1", "no such = thing = at all", "dbname=nosuch host=127.0.0.1 port=1"};
    struct flush_identity id = probe_cluster(1, 0, 0);
    for (size_t i = 0; i < sizeof dsns / sizeof dsns[0]; i++) {
        struct probe p;
        probe_open(&p, dsns[i], 0, NULL);
        probe_inspect(&p, &id);
        probe_assert_failed(&p, FLUSH_ERROR_OUTAGE, "cannot connect to the database");
        probe_close(&p);
    }
}

/* A listener that never accepts: the kernel completes the connection, PostgreSQL's greeting never comes. */
static void a_server_that_does_not_answer_is_given_up(void **state)
{
    (void)state;
    uv_loop_t loop;
    uv_tcp_t listener;
    struct sockaddr_in address;
    int len = sizeof address;
    assert_int_equal(uv_loop_init(&loop), 0);
    uv_tcp_init(&loop, &listener);
    uv_ip4_addr("127.0.0.1", 0, &address);
    assert_int_equal(uv_tcp_bind(&listener, (struct sockaddr *)&address, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&listener, 5, NULL), 0);
    uv_tcp_getsockname(&listener, (struct sockaddr *)&address, &len);
    char dsn[128];
    snprintf(
        dsn, sizeof dsn, "host=127.0.0.1 port=%d user=postgres dbname=postgres", ntohs(address.sin_port));
    struct pg_limits limits = {.connect_timeout_ms = 50};
    struct flush_identity id = probe_cluster(1, 0, 0);
    struct probe p;
    probe_open(&p, dsn, 0, &limits);
    probe_take(&p, &id, 1);
    probe_assert_failed(&p, FLUSH_ERROR_OUTAGE, "within 50 ms");
    probe_close(&p);
    uv_close((uv_handle_t *)&listener, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void a_frozen_server_is_given_up(void **state)
{
    (void)state;
    struct pg_limits limits = {.answer_timeout_ms = 200};
    struct probe p;
    open_taken(&p, &limits);
    pid_t backend = (pid_t)number("SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'wbcache%'"
                                  " ORDER BY backend_start DESC LIMIT 1");
    assert_true(backend > 1);
    assert_int_equal(kill(backend, SIGSTOP), 0);
    send_one(&p, 3, 0, "k", "v");
    probe_assert_failed(&p, FLUSH_ERROR_OUTAGE, "has not answered for 200 ms");
    kill(backend, SIGCONT);
    probe_close(&p);
}

static void disconnect_at_any_moment_silences_what_came_before(void **state)
{
    (void)state;
    struct probe p;
    struct flush_identity id = open_taken(&p, NULL);
    /* After no turn of the loop, one, two and so on, until the fence is taken sooner. */
    for (int turns = 0; p.events == p.seen; turns++) {
        probe_take(&p, &id, 1);
        for (int i = 0; i < turns && p.events == p.seen; i++) {
            uv_run(&p.loop, UV_RUN_ONCE);
        }
        if (p.events == p.seen) {
            probe_disconnect(&p);
        }
    }
    assert_int_equal(probe_next(&p), PROBE_TAKEN);
    /* With batches under way, from inside the first one's event. */
    uint64_t base = p.row.last_batch;
    for (uint64_t i = 1; i <= 5; i++) {
        send_one(&p, base + i, base + i - 1, "k", "v");
    }
    p.disconnect_at_once = true;
    probe_assert_committed(&p, base + 1);
    unsigned before = p.events;
    /* What was sent may still commit; the next take says so. */
    probe_take(&p, &id, 1);
    assert_int_equal(probe_next(&p), PROBE_TAKEN);
    assert_int_equal(p.events, before + 1);
    assert_true(p.row.last_batch >= base + 1 && p.row.last_batch <= base + 5);
    /* From inside taken and failed, and twice. */
    probe_disconnect(&p);
    probe_disconnect(&p);
    p.disconnect_at_once = true;
    probe_take(&p, &id, 1);
    assert_int_equal(probe_next(&p), PROBE_TAKEN);
    p.disconnect_at_once = true;
    probe_take(&p, &id, 0);
    probe_assert_failed(&p, FLUSH_ERROR_FENCED, "term 1");
    probe_take(&p, &id, 1);
    probe_close(&p);
}

static void a_flusher_that_never_connected_closes(void **state)
{
    (void)state;
    struct probe p;
    probe_open(&p, server.dsn, 0, NULL);
    probe_close(&p);
}

static void a_session_keeps_what_f_promises(void **state)
{
    (void)state;
    execute("ALTER SYSTEM SET synchronous_commit = off");
    execute("SELECT pg_reload_conf()");
    struct probe p;
    open_taken(&p, NULL);
    /* A trigger looks at the flusher's own session. */
    execute("CREATE TABLE wb.seen (setting text);"
            "CREATE FUNCTION wb.look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " INSERT INTO wb.seen VALUES (current_setting('synchronous_commit') || ' ' || "
            "current_setting('lock_timeout')"
            "); RETURN NULL; END $$;"
            "CREATE TRIGGER look AFTER INSERT ON wb.entry FOR EACH ROW EXECUTE FUNCTION wb.look()");
    send_one(&p, 3, 0, "k", "v");
    probe_assert_committed(&p, 3);
    char *seen = pg_test_server_query(&server, "SELECT setting FROM wb.seen");
    assert_string_equal(seen, "on 5s");
    free(seen);
    probe_close(&p);
    execute("ALTER SYSTEM RESET synchronous_commit");
    execute("SELECT pg_reload_conf()");
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
        cmocka_unit_test(a_batch_upserts_and_deletes_and_moves_the_fence),
        cmocka_unit_test(thousands_of_rows_of_every_kind_arrive_whole),
        cmocka_unit_test(batches_pipeline_and_commit_in_order),
        cmocka_unit_test(a_batch_with_another_predecessor_is_refused),
        cmocka_unit_test(when_one_fails_the_next_fails_and_nothing_of_both_is_there),
        cmocka_unit_test(a_deferred_constraint_that_fails_at_commit_is_no_success),
        cmocka_unit_test(an_old_holder_is_fenced_and_changes_nothing),
        cmocka_unit_test(take_waits_for_a_transaction_that_is_under_way),
        cmocka_unit_test(a_connection_cut_before_the_commit_leaves_nothing),
        cmocka_unit_test(a_commit_that_was_heard_counts_though_the_connection_is_cut),
        cmocka_unit_test(the_loss_of_an_idle_connection_is_told),
        cmocka_unit_test(a_stopped_server_is_an_outage_until_it_is_back),
        cmocka_unit_test(a_bad_dsn_is_told_by_an_event),
        cmocka_unit_test(a_server_that_does_not_answer_is_given_up),
        cmocka_unit_test(a_frozen_server_is_given_up),
        cmocka_unit_test(disconnect_at_any_moment_silences_what_came_before),
        cmocka_unit_test(a_flusher_that_never_connected_closes),
        cmocka_unit_test(a_session_keeps_what_f_promises),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
