/* Loads against a real server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "flush/flush_error.h"
#include "flush/flusher_probe.h"
#include "flush/pg_loader.h"
#include "flush/pg_test_faults.h"
#include "flush/schema.h"
#include "proto/base/alloc.h"

static struct pg_test_server server;
static struct flush_identity our_id;

enum { TOKENS = 512 };

/* What became of each load. */
struct answer {
    unsigned events;
    bool failed;
    struct flush_error error;
    struct load_result result; /* without rows */
    uint64_t version_sum;
    uint64_t expires_at_ms; /* of the last row */
    char value[32];         /* of the last row, the beginning */
};

struct watcher {
    uv_loop_t loop;
    struct pg_loader *loader;
    bool in_call;
    unsigned events;
    unsigned again; /* loads to start from inside events */
    struct answer answers[TOKENS];
};

static void start_load(struct watcher *w, uint64_t token, const struct bytes *keys, uint32_t n)
{
    bool was = w->in_call;
    w->in_call = true;
    pg_loader_ops.load(w->loader, token, &our_id, keys, n);
    w->in_call = was;
}

static struct answer *answer_of(struct watcher *w, uint64_t token)
{
    assert_false(w->in_call);
    assert_true(token < TOKENS);
    struct answer *a = &w->answers[token];
    a->events++;
    w->events++;
    if (w->again > 0) {
        w->again--;
        struct bytes key = bytes_from_text("a");
        start_load(w, TOKENS - 1 - w->again, &key, 1);
    }
    return a;
}

static void on_loaded(void *data, uint64_t token, const struct load_result *result)
{
    struct answer *a = answer_of(data, token);
    a->failed = false;
    a->result = *result;
    a->result.rows = NULL;
    a->version_sum = 0;
    for (uint32_t i = 0; i < result->n; i++) {
        const struct load_row *row = &result->rows[i];
        a->version_sum += row->version;
        a->expires_at_ms = row->expires_at_ms;
        size_t len = row->value.len < sizeof a->value - 1 ? row->value.len : sizeof a->value - 1;
        memcpy(a->value, row->value.data, len);
        a->value[len] = '\0';
    }
}

static void on_load_failed(void *data, uint64_t token, const struct flush_error *error)
{
    struct answer *a = answer_of(data, token);
    a->failed = true;
    a->error = *error;
}

static const struct loader_events events = {.loaded = on_loaded, .load_failed = on_load_failed};

static void watcher_open_at(struct watcher *w, const char *dsn)
{
    *w = (struct watcher){.events = 0};
    assert_int_equal(uv_loop_init(&w->loop), 0);
    struct pg_loader_config config = {.dsn = dsn, .node_id = 7, .backoff_min_ms = 5, .backoff_max_ms = 40};
    w->loader = pg_loader_create(&w->loop, &config, &events, w);
    assert_non_null(w->loader);
}

static void watcher_open(struct watcher *w)
{
    watcher_open_at(w, server.dsn);
}

static void on_closed(void *data)
{
    struct watcher *w = data;
    assert_false(w->in_call);
    w->loader = NULL;
}

static void watcher_close(struct watcher *w)
{
    w->in_call = true;
    pg_loader_close(w->loader, on_closed, w);
    w->in_call = false;
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_null(w->loader);
    assert_int_equal(uv_loop_close(&w->loop), 0);
}

static void run_until(struct watcher *w, unsigned wanted_events)
{
    while (w->events < wanted_events) {
        assert_int_not_equal(uv_run(&w->loop, UV_RUN_ONCE), 0);
    }
    assert_int_equal(w->events, wanted_events);
}

static struct answer *load_one(struct watcher *w, const char *key)
{
    struct bytes k = bytes_from_text(key);
    unsigned before = w->events;
    start_load(w, 0, &k, 1);
    run_until(w, before + 1);
    return &w->answers[0];
}

static void on_pause(uv_timer_t *timer)
{
    (void)timer;
}

/* Load until it works again: between the tries the loop waits for its next event, or a moment if none comes.
 */
static struct answer *load_until_up(struct watcher *w, const char *key)
{
    while (load_one(w, key)->failed) {
        uv_timer_t pause;
        uv_timer_init(&w->loop, &pause);
        uv_timer_start(&pause, on_pause, 5, 0);
        uv_run(&w->loop, UV_RUN_ONCE);
        uv_close((uv_handle_t *)&pause, NULL);
        uv_run(&w->loop, UV_RUN_NOWAIT);
    }
    return &w->answers[0];
}

static void execute(const char *sql)
{
    char *text = pg_test_server_query(&server, sql);
    assert_non_null(text);
    free(text);
}

/* Our fence rows, batch 42 in group 0, and the rows a, b and e. */
static int fill(void **state)
{
    (void)state;
    struct probe p;
    our_id = probe_cluster(1, 0, 0);
    execute("DROP SCHEMA IF EXISTS wb CASCADE");
    probe_open(&p, server.dsn, 0, NULL);
    probe_claim(&p, &our_id, FLUSH_DB_EMPTY, NULL);
    assert_int_equal(probe_next(&p), PROBE_CLAIMED);
    probe_close(&p);
    execute("UPDATE wb.flush_state SET last_batch = 42 + group_id;"
            "INSERT INTO wb.entry VALUES ('a', 'apple', 11, NULL), ('b', '', 12, NULL),"
            " ('e', 'short', 13, '2100-01-01 00:00:00.123+00')");
    return 0;
}

static void hits_and_misses_come_with_the_fence_row(void **state)
{
    (void)state;
    struct watcher w;
    watcher_open(&w);
    struct answer *a = load_one(&w, "a");
    assert_false(a->failed);
    assert_int_equal(a->result.n, 1);
    assert_int_equal(a->version_sum, 11);
    assert_string_equal(a->value, "apple");
    assert_int_equal(a->expires_at_ms, 0);
    assert_true(a->result.fence_found);
    assert_false(a->result.in_recovery);
    assert_int_equal(a->result.last_batch, 42);
    a = load_one(&w, "e");
    assert_true(a->expires_at_ms == UINT64_C(4102444800123));
    a = load_one(&w, "nobody");
    assert_false(a->failed);
    assert_int_equal(a->result.n, 0);
    assert_int_equal(a->result.last_batch, 42);
    our_id.group = 2;
    assert_int_equal(load_one(&w, "b")->result.last_batch, 44);
    assert_string_equal(w.answers[0].value, "");
    assert_int_equal(w.answers[0].result.n, 1);
    /* A fence row of others is none. */
    our_id.group_count = 4;
    assert_false(load_one(&w, "b")->result.fence_found);
    assert_int_equal(w.answers[0].result.n, 1);
    our_id = probe_cluster(9, 0, 0);
    assert_false(load_one(&w, "nobody")->result.fence_found);
    our_id = probe_cluster(1, 0, 0);
    start_load(&w, 1, NULL, 0);
    run_until(&w, w.events + 1);
    assert_int_equal(w.answers[1].result.n, 0);
    assert_int_equal(w.answers[1].result.last_batch, 42);
    watcher_close(&w);
}

static void thousands_of_keys_load_at_once(void **state)
{
    (void)state;
    execute("INSERT INTO wb.entry SELECT int4send(g) || '\\x00'::bytea, int4send(g), g, NULL"
            " FROM generate_series(1, 5000) g");
    enum { N = LIMIT_REQUEST_KEYS };
    struct bytes *keys = xcalloc(N, sizeof *keys);
    uint8_t(*bytes)[5] = xcalloc(N, sizeof *bytes);
    uint64_t expected = 0;
    for (uint32_t i = 0; i < N; i++) { /* every other one is a miss, and they are not in order */
        uint32_t g = (i * 1193u) % N * 2 + 1;
        store_be32(bytes[i], g);
        keys[i] = bytes_of(bytes[i], 5);
        expected += g <= 5000 ? g : 0;
    }
    struct watcher w;
    watcher_open(&w);
    start_load(&w, 3, keys, N);
    memset(bytes, 0xff, N * sizeof *bytes); /* they were borrowed only for the call */
    run_until(&w, 1);
    assert_false(w.answers[3].failed);
    assert_int_equal(w.answers[3].result.n, 2500);
    assert_true(w.answers[3].version_sum == expected);
    free(bytes);
    free(keys);
    watcher_close(&w);
}

static void loads_at_the_same_time_share_one_connection(void **state)
{
    (void)state;
    struct watcher w;
    watcher_open(&w);
    struct bytes a = bytes_from_text("a"), none = bytes_from_text("none");
    for (uint64_t token = 0; token < 200; token++) {
        start_load(&w, token, token % 2 == 0 ? &a : &none, 1);
    }
    w.again = 100; /* and more from inside the events */
    run_until(&w, 300);
    for (uint64_t token = 0; token < 200; token++) {
        assert_int_equal(w.answers[token].events, 1);
        assert_false(w.answers[token].failed);
        assert_int_equal(w.answers[token].result.n, token % 2 == 0 ? 1 : 0);
    }
    assert_int_equal(w.answers[TOKENS - 1].events, 1);
    assert_int_equal(
        pg_test_server_number(
            &server, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'wbcache node=7 loads'"),
        1);
    watcher_close(&w);
}

static void a_server_that_stops_fails_loads_fast_and_comes_back(void **state)
{
    (void)state;
    struct watcher w;
    watcher_open(&w);
    assert_false(load_one(&w, "a")->failed);
    pg_test_server_kill(&server);
    struct bytes key = bytes_from_text("a");
    start_load(&w, 1, &key, 1); /* into the dead connection */
    start_load(&w, 2, &key, 1);
    run_until(&w, 3);
    for (int i = 1; i <= 2; i++) {
        assert_true(w.answers[i].failed);
        assert_int_equal(w.answers[i].error.class, FLUSH_ERROR_OUTAGE);
    }
    start_load(&w, 3, &key, 1); /* known to be down: one turn is enough */
    uv_run(&w.loop, UV_RUN_NOWAIT);
    assert_int_equal(w.answers[3].events, 1);
    assert_int_equal(w.answers[3].error.class, FLUSH_ERROR_OUTAGE);
    assert_true(strlen(w.answers[3].error.message) > 0);
    assert_int_equal(pg_test_server_again(&server), 0);
    assert_int_equal(load_until_up(&w, "a")->version_sum, 11);
    watcher_close(&w);
}

static void a_cut_connection_fails_what_is_under_way(void **state)
{
    (void)state;
    struct watcher w;
    watcher_open(&w);
    assert_false(load_one(&w, "a")->failed);
    PGconn *holder = PQconnectdb(server.dsn);
    PQclear(PQexec(holder, "BEGIN; LOCK TABLE wb.entry IN ACCESS EXCLUSIVE MODE"));
    struct bytes key = bytes_from_text("a");
    start_load(&w, 1, &key, 1);
    start_load(&w, 2, &key, 1);
    while (pg_test_server_number(&server, "SELECT count(*) FROM pg_locks WHERE NOT granted") < 1) {
        uv_run(&w.loop, UV_RUN_NOWAIT);
    }
    execute(
        "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE application_name LIKE '%loads'");
    run_until(&w, 3);
    assert_true(w.answers[1].failed && w.answers[2].failed);
    assert_int_equal(w.answers[1].error.class, FLUSH_ERROR_OUTAGE);
    assert_string_equal(w.answers[1].error.sqlstate, "57P01");
    PQfinish(holder);
    assert_int_equal(load_until_up(&w, "a")->version_sum, 11);
    watcher_close(&w);
}

static void a_missing_or_strange_table_is_said(void **state)
{
    (void)state;
    struct watcher w;
    execute("ALTER TABLE wb.entry RENAME TO hidden");
    watcher_open(&w);
    assert_true(load_one(&w, "a")->failed);
    assert_int_equal(w.answers[0].error.class, FLUSH_ERROR_HALT);
    assert_string_equal(w.answers[0].error.sqlstate, "42P01");
    execute("ALTER TABLE wb.hidden RENAME TO entry");
    assert_int_equal(load_until_up(&w, "a")->version_sum, 11);
    watcher_close(&w);
    execute("ALTER TABLE wb.entry ALTER version TYPE numeric");
    watcher_open(&w);
    assert_true(load_one(&w, "a")->failed);
    assert_int_equal(w.answers[0].error.class, FLUSH_ERROR_HALT);
    assert_non_null(strstr(w.answers[0].error.message, "version bigint"));
    watcher_close(&w);
}

static void a_fence_row_that_cannot_be_is_said(void **state)
{
    (void)state;
    struct watcher w;
    watcher_open(&w);
    execute("UPDATE wb.flush_state SET last_batch = -1"); /* without its sign, above all batches */
    assert_true(load_one(&w, "a")->failed);
    assert_int_equal(w.answers[0].error.class, FLUSH_ERROR_HALT);
    assert_non_null(strstr(w.answers[0].error.message, "flush_state"));
    execute("UPDATE wb.flush_state SET last_batch = 42");
    assert_int_equal(load_until_up(&w, "a")->version_sum, 11);
    execute("ALTER TABLE wb.flush_state DROP CONSTRAINT flush_state_pkey;"
            "INSERT INTO wb.flush_state TABLE wb.flush_state"); /* two rows of one group */
    assert_true(load_one(&w, "nobody")->failed);
    assert_int_equal(w.answers[0].error.class, FLUSH_ERROR_HALT);
    watcher_close(&w);
}

/* Three loads of different keys; the wire does @fault to the answers. None may get another one's. */
static unsigned answered_with_fault(const struct pg_fault *fault)
{
    static const char *const keys[] = {"a", "b", "e"};
    char dsn[PG_TEST_FAULTS_DSN_BYTES];
    struct watcher w;
    struct pg_test_faults *faults = pg_test_faults_start(&server);
    assert_non_null(faults);
    pg_test_faults_dsn(faults, dsn);
    watcher_open_at(&w, dsn);
    assert_false(load_one(&w, "a")->failed);
    pg_test_faults_arm(faults, fault);
    for (uint64_t token = 1; token <= 3; token++) {
        struct bytes key = bytes_from_text(keys[token - 1]);
        start_load(&w, token, &key, 1);
    }
    run_until(&w, 4);
    unsigned answered = 0;
    for (uint64_t token = 1; token <= 3; token++) {
        const struct answer *a = &w.answers[token];
        assert_int_equal(a->events, 1);
        assert_true(a->failed ? a->error.class == FLUSH_ERROR_OUTAGE : a->version_sum == 10 + token);
        answered += a->failed ? 0 : 1;
    }
    assert_int_equal(load_until_up(&w, "b")->version_sum, 12);
    watcher_close(&w);
    pg_test_faults_stop(faults);
    return answered;
}

static void a_wire_cut_anywhere_gives_each_load_one_answer(void **state)
{
    (void)state;
    struct pg_fault fault = {
        .place = PG_FAULT_AFTER_MESSAGE, .from = PG_TEST_SERVER, .position = 1, .cut = true};
    for (; answered_with_fault(&fault) < 3; fault.position++) {
    }
    assert_true(fault.position > 2 * 5); /* an answer is five messages */
}

/* The server's farewell, or an answer too many, between a load's answer and its sync's. */
static void no_load_gets_an_answer_that_is_not_its_own(void **state)
{
    (void)state;
    struct buf say;
    buf_init(&say);
    struct pg_fault fault = {.place = PG_FAULT_AFTER_TAG, .from = PG_TEST_SERVER, .tag = "SELECT 1"};
    pg_test_say_complete(&say, "SELECT 1");
    fault.say = buf_bytes(&say);
    assert_int_equal(answered_with_fault(&fault), 1);
    buf_clear(&say);
    pg_test_say_report(&say, 'E', "FATAL", "57P01", "terminating connection");
    fault.say = buf_bytes(&say);
    fault.cut = true;
    assert_int_equal(answered_with_fault(&fault), 1);
    buf_deinit(&say);
}

static void closing_fails_what_is_under_way(void **state)
{
    (void)state;
    struct watcher w;
    struct bytes key = bytes_from_text("a");
    watcher_open(&w); /* never used */
    watcher_close(&w);
    watcher_open(&w);
    start_load(&w, 1, &key, 1); /* still connecting */
    watcher_close(&w);
    assert_int_equal(w.answers[1].events, 1);
    assert_true(w.answers[1].failed);
    watcher_open(&w);
    assert_false(load_one(&w, "a")->failed);
    start_load(&w, 1, &key, 1); /* sent */
    watcher_close(&w);
    assert_int_equal(w.answers[1].events, 1);
    assert_true(w.answers[1].failed);
    watcher_open_at(&w, "host=/nowhere");
    assert_true(load_one(&w, "a")->failed);
    start_load(&w, 1, &key, 1); /* down */
    watcher_close(&w);
    assert_int_equal(w.answers[1].events, 1);
}

/* The plan of the prepared statement, as the loader's session makes it, for @n keys among 100,000 rows. */
static void assert_index_is_used(PGconn *conn, int n)
{
    char sql[512];
    snprintf(sql, sizeof sql,
        "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) EXECUTE l(0, '01010101-0101-0101-0101-010101010101', 3,"
        " wb.many_keys(%d))",
        n);
    PGresult *plan = PQexec(conn, sql);
    if (PQresultStatus(plan) != PGRES_TUPLES_OK) {
        fail_msg("%s", PQerrorMessage(conn));
    }
    bool index = false;
    for (int i = 0; i < PQntuples(plan); i++) {
        const char *line = PQgetvalue(plan, i, 0);
        if (strstr(line, "entry_pkey") != NULL) {
            index = true;
        }
        if (strstr(line, "Seq Scan on entry") != NULL) {
            fail_msg("%d keys: %s", n, line);
        }
    }
    assert_true(index);
    PQclear(plan);
}

/* Planned when the table has three rows, when one scan would be cheapest; then the table grows. */
static void the_primary_keys_index_is_used_however_many_keys(void **state)
{
    (void)state;
    char *setup = schema_sql(SCHEMA_LOAD_SETUP, "wb"), *load = schema_sql(SCHEMA_LOAD, "wb"),
         *sql = xmalloc(4096);
    execute("ALTER TABLE wb.entry SET (autovacuum_enabled = off);"
            "CREATE FUNCTION wb.many_keys(n int) RETURNS bytea[] LANGUAGE sql IMMUTABLE AS"
            " 'SELECT array_agg(int4send(g * 24)) FROM generate_series(1, n) g'");
    execute("VACUUM ANALYZE wb.entry");
    snprintf(sql, 4096, "PREPARE l (int, uuid, int, bytea[]) AS %s", load);
    PGconn *conn = PQconnectdb(server.dsn);
    PQclear(PQexec(conn, setup));
    PQclear(PQexec(conn, sql));
    assert_index_is_used(conn, 1);
    execute("INSERT INTO wb.entry SELECT int4send(g), repeat('x', 100)::bytea, g, NULL FROM "
            "generate_series(1, 100000) g");
    for (int analyzed = 0; analyzed <= 1; analyzed++) {
        assert_index_is_used(conn, 1);
        assert_index_is_used(conn, 100);
        assert_index_is_used(conn, 4000);
        execute("ANALYZE wb.entry");
    }
    PQfinish(conn);
    free(sql);
    free(load);
    free(setup);
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
        cmocka_unit_test_setup(hits_and_misses_come_with_the_fence_row, fill),
        cmocka_unit_test_setup(thousands_of_keys_load_at_once, fill),
        cmocka_unit_test_setup(loads_at_the_same_time_share_one_connection, fill),
        cmocka_unit_test_setup(a_server_that_stops_fails_loads_fast_and_comes_back, fill),
        cmocka_unit_test_setup(a_cut_connection_fails_what_is_under_way, fill),
        cmocka_unit_test_setup(a_missing_or_strange_table_is_said, fill),
        cmocka_unit_test_setup(a_fence_row_that_cannot_be_is_said, fill),
        cmocka_unit_test_setup(a_wire_cut_anywhere_gives_each_load_one_answer, fill),
        cmocka_unit_test_setup(no_load_gets_an_answer_that_is_not_its_own, fill),
        cmocka_unit_test_setup(closing_fails_what_is_under_way, fill),
        cmocka_unit_test_setup(the_primary_keys_index_is_used_however_many_keys, fill),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
