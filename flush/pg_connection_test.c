/* One connection against a real server: how it fails, what the session is like, what it hears unasked. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "flush/pg_connection.h"
#include "flush/pg_result.h"
#include "flush/pg_test_server.h"

static struct pg_test_server server;

static void execute(const char *sql)
{
    char *text = pg_test_server_query(&server, sql);
    assert_non_null(text);
    free(text);
}

/* Who may come in how is fixed before the server starts: nobody has to wait for a reload. */
static int start_server(void **state)
{
    (void)state;
    if (pg_test_server_start(&server) != 0) {
        return -1;
    }
    execute("CREATE ROLE alice LOGIN PASSWORD 'wonder'; CREATE ROLE mallory LOGIN; CREATE ROLE plain LOGIN;"
            " CREATE ROLE crowd LOGIN CONNECTION LIMIT 0");
    execute("REVOKE EXECUTE ON FUNCTION pg_catalog.current_setting(text, boolean) FROM PUBLIC");
    pg_test_server_stop(&server);
    char path[sizeof server.dir + 32];
    snprintf(path, sizeof path, "%s/data/pg_hba.conf", server.dir);
    FILE *f = fopen(path, "w");
    if (f == NULL) {
        return -1;
    }
    fputs("local all alice scram-sha-256\nlocal all mallory reject\nlocal all all trust\n", f);
    fclose(f);
    return pg_test_server_again(&server);
}

static int destroy_server(void **state)
{
    (void)state;
    pg_test_server_destroy(&server);
    return 0;
}

/* ---- A connection that records what happens to it ---- */

struct client {
    uv_loop_t loop;
    uv_timer_t watchdog;
    struct pg_connection *conn;
    bool ready, lost, closed;
    unsigned synced, notified;
    unsigned close_at; /* close with this notification */
    struct flush_error error;
    PGresult *result; /* the newest */
    char heard[64];   /* the newest notification */
};

/* Every event ends a turn of the loop: a timer's would otherwise wait for the next event. */
static struct client *event(void *data)
{
    struct client *c = data;
    uv_stop(&c->loop);
    return c;
}

static void on_ready(void *data)
{
    event(data)->ready = true;
}

static void on_result(void *data, PGresult *result)
{
    struct client *c = event(data);
    PQclear(c->result);
    c->result = result;
}

static void on_synced(void *data)
{
    event(data)->synced++;
}

static void on_notified(void *data, const char *channel, const char *payload)
{
    struct client *c = event(data);
    snprintf(c->heard, sizeof c->heard, "%s=%s", channel, payload);
    c->notified++;
    if (c->notified == c->close_at) {
        pg_connection_close(c->conn);
        c->conn = NULL;
    }
}

static void on_lost(void *data, const struct flush_error *error)
{
    struct client *c = event(data);
    c->lost = true;
    c->error = *error;
}

static void on_closed(void *data)
{
    event(data)->closed = true;
}

static const struct pg_connection_events events = {.ready = on_ready,
    .result = on_result,
    .synced = on_synced,
    .notified = on_notified,
    .lost = on_lost,
    .closed = on_closed};
static const struct pg_connection_events events_without_ear = {
    .ready = on_ready, .result = on_result, .synced = on_synced, .lost = on_lost, .closed = on_closed};

static void on_watchdog(uv_timer_t *timer)
{
    (void)timer;
    fail_msg("nothing happened for 20 s");
}

static void client_open(struct client *c, const char *dsn, const struct pg_connection_events *with)
{
    *c = (struct client){0};
    assert_int_equal(uv_loop_init(&c->loop), 0);
    uv_timer_init(&c->loop, &c->watchdog);
    uv_timer_start(&c->watchdog, on_watchdog, 20 * 1000, 0);
    const struct pg_connection_config config = {.loop = &c->loop,
        .dsn = dsn,
        .application_name = "connection test",
        .limits = {.statement_timeout_ms = 10 * 60 * 1000}};
    c->conn = pg_connection_open(&config, with, c);
}

static void turn(struct client *c)
{
    uv_run(&c->loop, UV_RUN_DEFAULT);
}

static void client_close(struct client *c)
{
    if (c->conn != NULL) {
        pg_connection_close(c->conn);
    }
    while (!c->closed) {
        turn(c);
    }
    uv_close((uv_handle_t *)&c->watchdog, NULL);
    uv_run(&c->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&c->loop), 0);
    PQclear(c->result);
}

static void client_open_ready(struct client *c, const char *dsn)
{
    client_open(c, dsn, &events);
    while (!c->ready) {
        assert_false(c->lost);
        turn(c);
    }
}

static void ask(struct client *c, const char *sql)
{
    unsigned before = c->synced;
    pg_connection_query(c->conn, sql, NULL, 0);
    pg_connection_sync(c->conn);
    while (c->synced == before) {
        assert_false(c->lost);
        turn(c);
    }
}

/* ---- Failing ---- */

static struct flush_error refused(const char *dsn)
{
    struct client c;
    client_open(&c, dsn, &events);
    while (!c.lost) {
        turn(&c);
    }
    assert_false(c.ready);
    struct flush_error error = c.error;
    client_close(&c);
    assert_null(strstr(error.message, "LOCATION"));
    if (error.sqlstate[0] != '\0') {
        assert_null(strstr(error.message, error.sqlstate));
    }
    return error;
}

static void a_refusal_has_the_servers_code_and_its_class(void **state)
{
    (void)state;
    const struct {
        const char *dsn, *sqlstate, *words;
        enum flush_error_class class;
    } rows[] = {
        {"user=alice password=blunder", "28P01", "password authentication failed", FLUSH_ERROR_HALT},
        {"user=alice", "", "no password supplied", FLUSH_ERROR_HALT},
        {"user=mallory", "28000", "pg_hba.conf rejects connection", FLUSH_ERROR_HALT},
        {"user=nobody", "28000", "role \"nobody\" does not exist", FLUSH_ERROR_HALT},
        {"user=postgres dbname=none", "3D000", "database \"none\" does not exist", FLUSH_ERROR_HALT},
        {"user=postgres options='-c work_mem=much'", "22023", "work_mem", FLUSH_ERROR_HALT},
        {"user=crowd", "53300", "too many connections for role", FLUSH_ERROR_OUTAGE},
        {"user=postgres target_session_attrs=standby", "", "not in hot standby mode", FLUSH_ERROR_OUTAGE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char dsn[256];
        snprintf(dsn, sizeof dsn, "dbname=postgres host=%s %s", server.dir, rows[i].dsn);
        struct flush_error error = refused(dsn);
        assert_string_equal(error.sqlstate, rows[i].sqlstate);
        assert_int_equal(error.class, rows[i].class);
        if (strstr(error.message, rows[i].words) == NULL) {
            fail_msg("%s: %s", rows[i].dsn, error.message);
        }
    }
}

static void of_several_servers_the_last_error_decides_if_none_lets_us_in(void **state)
{
    (void)state;
    char dsn[256];
    snprintf(dsn, sizeof dsn, "host=/nowhere,%s user=postgres dbname=none", server.dir);
    struct flush_error error = refused(dsn);
    assert_string_equal(error.sqlstate, "3D000");
    assert_int_equal(error.class, FLUSH_ERROR_HALT);
    assert_non_null(strstr(error.message, "/nowhere"));
    snprintf(dsn, sizeof dsn, "host=%s,/nowhere user=postgres dbname=postgres target_session_attrs=standby",
        server.dir);
    error = refused(dsn);
    assert_string_equal(error.sqlstate, "");
    assert_int_equal(error.class, FLUSH_ERROR_OUTAGE);
    snprintf(dsn, sizeof dsn, "host=/nowhere,%s user=postgres dbname=postgres", server.dir);
    struct client c;
    client_open_ready(&c, dsn);
    client_close(&c);
}

static void a_server_that_shuts_down_or_is_gone_is_an_outage(void **state)
{
    (void)state;
    PGconn *guest = PQconnectdb(server.dsn);
    assert_int_equal(PQstatus(guest), CONNECTION_OK);
    kill(server.pid, SIGTERM); /* waits for the guest to leave */
    while (PQping(server.dsn) == PQPING_OK) {
    }
    struct flush_error error = refused(server.dsn);
    PQfinish(guest);
    pg_test_server_stop(&server);
    assert_string_equal(error.sqlstate, "57P03");
    assert_int_equal(error.class, FLUSH_ERROR_OUTAGE);
    error = refused(server.dsn);
    assert_string_equal(error.sqlstate, "");
    assert_int_equal(error.class, FLUSH_ERROR_OUTAGE);
    assert_int_equal(pg_test_server_again(&server), 0);
}

/* ---- The session ---- */

static void once_connected_errors_are_as_short_as_ever(void **state)
{
    (void)state;
    struct client c;
    client_open_ready(&c, server.dsn);
    ask(&c, "SELECT 1 / 0");
    assert_string_equal(PQresultErrorField(c.result, PG_DIAG_SQLSTATE), "22012");
    assert_null(strstr(PQresultErrorMessage(c.result), "22012"));
    client_close(&c);
}

static void a_backend_whose_client_is_gone_ends_its_statement(void **state)
{
    (void)state;
    struct client c;
    client_open_ready(&c, server.dsn);
    ask(&c, "SELECT pg_catalog.pg_advisory_lock(7)");
    pg_connection_query(c.conn, "SELECT pg_catalog.pg_sleep(3600)", NULL, 0);
    pg_connection_sync(c.conn);
    while (pg_test_server_number(&server, "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND "
                                          "query LIKE '%pg_sleep(3600)' AND"
                                          " application_name = 'connection test'") != 1) {
        uv_run(&c.loop, UV_RUN_NOWAIT);
    }
    client_close(&c);
    /* Its lock is given back long before the hour is over. */
    execute("SET lock_timeout = '50s'; SELECT pg_catalog.pg_advisory_lock(7)");
}

static void a_server_that_cannot_look_for_its_client_is_good_enough(void **state)
{
    (void)state;
    struct client c;
    char dsn[256];
    snprintf(dsn, sizeof dsn, "host=%s dbname=postgres user=plain", server.dir);
    client_open_ready(&c, dsn); /* may not even ask for the setting */
    ask(&c, "SELECT pg_catalog.current_setting('client_connection_check_interval')");
    assert_string_equal(PQgetvalue(c.result, 0, 0), "0");
    ask(&c, "SELECT pg_catalog.current_setting('lock_timeout')");
    assert_string_equal(PQgetvalue(c.result, 0, 0), "5s");
    client_close(&c);
}

/* ---- Notifications ---- */

static void notifications_are_heard_while_idle_and_between_results(void **state)
{
    (void)state;
    struct client c;
    client_open_ready(&c, server.dsn);
    ask(&c, "LISTEN news");
    execute("NOTIFY news, 'one'");
    while (c.notified < 1) {
        turn(&c);
    }
    assert_string_equal(c.heard, "news=one");
    execute("NOTIFY news");
    while (c.notified < 2) {
        turn(&c);
    }
    assert_string_equal(c.heard, "news=");
    /* Ten, while statements are under way. */
    pg_connection_query(c.conn, "SELECT 1", NULL, 0);
    pg_connection_sync(c.conn);
    execute("DO $$ BEGIN FOR i IN 1..10 LOOP PERFORM pg_notify('news', i::text); END LOOP; END $$");
    pg_connection_query(c.conn, "SELECT 2", NULL, 0);
    pg_connection_sync(c.conn);
    while (c.notified < 12 || c.synced < 3) {
        turn(&c);
    }
    assert_string_equal(c.heard, "news=10");
    assert_int_equal(c.notified, 12);
    client_close(&c);
}

static void whoever_hears_may_close(void **state)
{
    (void)state;
    struct client c;
    client_open_ready(&c, server.dsn);
    ask(&c, "LISTEN news");
    c.close_at = 2;
    execute("DO $$ BEGIN FOR i IN 1..10 LOOP PERFORM pg_notify('news', i::text); END LOOP; END $$");
    while (!c.closed) {
        turn(&c);
    }
    assert_int_equal(c.notified, 2);
    client_close(&c);
}

static void nobody_has_to_hear(void **state)
{
    (void)state;
    struct client c;
    client_open(&c, server.dsn, &events_without_ear);
    while (!c.ready) {
        turn(&c);
    }
    ask(&c, "LISTEN news");
    execute("NOTIFY news, 'one'");
    ask(&c, "SELECT 1");
    assert_int_equal(c.notified, 0);
    client_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refusal_has_the_servers_code_and_its_class),
        cmocka_unit_test(of_several_servers_the_last_error_decides_if_none_lets_us_in),
        cmocka_unit_test(a_server_that_shuts_down_or_is_gone_is_an_outage),
        cmocka_unit_test(once_connected_errors_are_as_short_as_ever),
        cmocka_unit_test(a_backend_whose_client_is_gone_ends_its_statement),
        cmocka_unit_test(a_server_that_cannot_look_for_its_client_is_good_enough),
        cmocka_unit_test(notifications_are_heard_while_idle_and_between_results),
        cmocka_unit_test(whoever_hears_may_close),
        cmocka_unit_test(nobody_has_to_hear),
    };
    return cmocka_run_group_tests(tests, start_server, destroy_server);
}
