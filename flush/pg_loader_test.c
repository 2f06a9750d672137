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
#include "flush/loader_probe.h"
#include "flush/pg_test_faults.h"
#include "flush/schema.h"
#include "proto/base/alloc.h"

static struct pg_test_server server;
static struct flush_identity our_id;

static void watcher_open(struct loader_probe *w)
{
    loader_probe_open(w, server.dsn, &our_id, NULL);
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
    struct loader_probe w;
    watcher_open(&w);
    struct loader_answer *a = loader_probe_one(&w, "a");
    assert_false(a->failed);
    assert_int_equal(a->result.n, 1);
    assert_int_equal(a->version_sum, 11);
    assert_string_equal(a->value, "apple");
    assert_int_equal(a->expires_at_ms, 0);
    assert_true(a->result.fence_found);
    assert_false(a->result.in_recovery);
    assert_int_equal(a->result.last_batch, 42);
    a = loader_probe_one(&w, "e");
    assert_true(a->expires_at_ms == UINT64_C(4102444800123));
    a = loader_probe_one(&w, "nobody");
    assert_false(a->failed);
    assert_int_equal(a->result.n, 0);
    assert_int_equal(a->result.last_batch, 42);
    w.id.group = 2;
    assert_int_equal(loader_probe_one(&w, "b")->result.last_batch, 44);
    assert_string_equal(w.answers[0].value, "");
    assert_int_equal(w.answers[0].result.n, 1);
    /* A fence row of others is none. */
    w.id.group_count = 4;
    assert_false(loader_probe_one(&w, "b")->result.fence_found);
    assert_int_equal(w.answers[0].result.n, 1);
    w.id = probe_cluster(9, 0, 0);
    assert_false(loader_probe_one(&w, "nobody")->result.fence_found);
    w.id = probe_cluster(1, 0, 0);
    loader_probe_load(&w, 1, NULL, 0);
    loader_probe_run(&w, w.events + 1);
    assert_int_equal(w.answers[1].result.n, 0);
    assert_int_equal(w.answers[1].result.last_batch, 42);
    loader_probe_close(&w);
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
    struct loader_probe w;
    watcher_open(&w);
    loader_probe_load(&w, 3, keys, N);
    memset(bytes, 0xff, N * sizeof *bytes); /* they were borrowed only for the call */
    loader_probe_run(&w, 1);
    assert_false(w.answers[3].failed);
    assert_int_equal(w.answers[3].result.n, 2500);
    assert_true(w.answers[3].version_sum == expected);
    free(bytes);
    free(keys);
    loader_probe_close(&w);
}

static void loads_at_the_same_time_share_one_connection(void **state)
{
    (void)state;
    struct loader_probe w;
    watcher_open(&w);
    struct bytes a = bytes_from_text("a"), none = bytes_from_text("none");
    for (uint64_t token = 0; token < 200; token++) {
        loader_probe_load(&w, token, token % 2 == 0 ? &a : &none, 1);
    }
    w.again = 100; /* and more from inside the events */
    loader_probe_run(&w, 300);
    for (uint64_t token = 0; token < 200; token++) {
        assert_int_equal(w.answers[token].events, 1);
        assert_false(w.answers[token].failed);
        assert_int_equal(w.answers[token].result.n, token % 2 == 0 ? 1 : 0);
    }
    assert_int_equal(w.answers[LOADER_PROBE_TOKENS - 1].events, 1);
    assert_int_equal(
        pg_test_server_number(
            &server, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'wbcache node=7 loads'"),
        1);
    loader_probe_close(&w);
}

static void a_server_that_stops_fails_loads_fast_and_comes_back(void **state)
{
    (void)state;
    struct loader_probe w;
    watcher_open(&w);
    assert_false(loader_probe_one(&w, "a")->failed);
    pg_test_server_kill(&server);
    struct bytes key = bytes_from_text("a");
    loader_probe_load(&w, 1, &key, 1); /* into the dead connection */
    loader_probe_load(&w, 2, &key, 1);
    loader_probe_run(&w, 3);
    for (int i = 1; i <= 2; i++) {
        assert_true(w.answers[i].failed);
        assert_int_equal(w.answers[i].error.class, FLUSH_ERROR_OUTAGE);
    }
    loader_probe_load(&w, 3, &key, 1); /* known to be down: one turn is enough */
    uv_run(&w.loop, UV_RUN_NOWAIT);
    assert_int_equal(w.answers[3].events, 1);
    assert_int_equal(w.answers[3].error.class, FLUSH_ERROR_OUTAGE);
    assert_true(strlen(w.answers[3].error.message) > 0);
    assert_int_equal(pg_test_server_again(&server), 0);
    assert_int_equal(loader_probe_one_until_up(&w, "a")->version_sum, 11);
    loader_probe_close(&w);
}

static void a_cut_connection_fails_what_is_under_way(void **state)
{
    (void)state;
    struct loader_probe w;
    watcher_open(&w);
    assert_false(loader_probe_one(&w, "a")->failed);
    PGconn *holder = PQconnectdb(server.dsn);
    PQclear(PQexec(holder, "BEGIN; LOCK TABLE wb.entry IN ACCESS EXCLUSIVE MODE"));
    struct bytes key = bytes_from_text("a");
    loader_probe_load(&w, 1, &key, 1);
    loader_probe_load(&w, 2, &key, 1);
    while (pg_test_server_number(&server, "SELECT count(*) FROM pg_locks WHERE NOT granted") < 1) {
        uv_run(&w.loop, UV_RUN_NOWAIT);
    }
    execute(
        "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE application_name LIKE '%loads'");
    loader_probe_run(&w, 3);
    assert_true(w.answers[1].failed && w.answers[2].failed);
    assert_int_equal(w.answers[1].error.class, FLUSH_ERROR_OUTAGE);
    assert_string_equal(w.answers[1].error.sqlstate, "57P01");
    PQfinish(holder);
    assert_int_equal(loader_probe_one_until_up(&w, "a")->version_sum, 11);
    loader_probe_close(&w);
}

static void a_missing_or_strange_table_is_said(void **state)
{
    (void)state;
    struct loader_probe w;
    execute("ALTER TABLE wb.entry RENAME TO hidden");
    watcher_open(&w);
    assert_true(loader_probe_one(&w, "a")->failed);
    assert_int_equal(w.answers[0].error.class, FLUSH_ERROR_HALT);
    assert_string_equal(w.answers[0].error.sqlstate, "42P01");
    execute("ALTER TABLE wb.hidden RENAME TO entry");
    assert_int_equal(loader_probe_one_until_up(&w, "a")->version_sum, 11);
    loader_probe_close(&w);
    execute("ALTER TABLE wb.entry ALTER version TYPE numeric");
    watcher_open(&w);
    assert_true(loader_probe_one(&w, "a")->failed);
    assert_int_equal(w.answers[0].error.class, FLUSH_ERROR_HALT);
    assert_non_null(strstr(w.answers[0].error.message, "version bigint"));
    loader_probe_close(&w);
}

static void a_fence_row_that_cannot_be_is_said(void **state)
{
    (void)state;
    struct loader_probe w;
    watcher_open(&w);
    execute("UPDATE wb.flush_state SET last_batch = -1"); /* without its sign, above all batches */
    assert_true(loader_probe_one(&w, "a")->failed);
    assert_int_equal(w.answers[0].error.class, FLUSH_ERROR_HALT);
    assert_non_null(strstr(w.answers[0].error.message, "flush_state"));
    execute("UPDATE wb.flush_state SET last_batch = 42");
    assert_int_equal(loader_probe_one_until_up(&w, "a")->version_sum, 11);
    execute("ALTER TABLE wb.flush_state DROP CONSTRAINT flush_state_pkey;"
            "INSERT INTO wb.flush_state TABLE wb.flush_state"); /* two rows of one group */
    assert_true(loader_probe_one(&w, "nobody")->failed);
    assert_int_equal(w.answers[0].error.class, FLUSH_ERROR_HALT);
    loader_probe_close(&w);
}

/* Three loads of different keys; the wire does @fault to the answers. None may get another one's. */
static unsigned answered_with_fault(const struct pg_fault *fault)
{
    static const char *const keys[] = {"a", "b", "e"};
    char dsn[PG_TEST_FAULTS_DSN_BYTES];
    struct loader_probe w;
    struct pg_test_faults *faults = pg_test_faults_start(&server);
    assert_non_null(faults);
    pg_test_faults_dsn(faults, dsn);
    loader_probe_open(&w, dsn, &our_id, NULL);
    assert_false(loader_probe_one(&w, "a")->failed);
    pg_test_faults_arm(faults, fault);
    for (uint64_t token = 1; token <= 3; token++) {
        struct bytes key = bytes_from_text(keys[token - 1]);
        loader_probe_load(&w, token, &key, 1);
    }
    loader_probe_run(&w, 4);
    unsigned answered = 0;
    for (uint64_t token = 1; token <= 3; token++) {
        const struct loader_answer *a = &w.answers[token];
        assert_int_equal(a->events, 1);
        assert_true(a->failed ? a->error.class == FLUSH_ERROR_OUTAGE : a->version_sum == 10 + token);
        answered += a->failed ? 0 : 1;
    }
    assert_int_equal(loader_probe_one_until_up(&w, "b")->version_sum, 12);
    loader_probe_close(&w);
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

/* Let in by the DSN, and refused all the same; looked at again until it is promoted. */
static void a_standby_is_down_until_it_is_promoted(void **state)
{
    (void)state;
    char path[128], dsn[256];
    struct loader_probe w;
    pg_test_server_stop(&server);
    snprintf(path, sizeof path, "%s/data/standby.signal", server.dir);
    FILE *signal = fopen(path, "w");
    assert_non_null(signal);
    fclose(signal);
    assert_int_equal(pg_test_server_again(&server), 0);
    snprintf(dsn, sizeof dsn, "%s target_session_attrs=any", server.dsn);
    loader_probe_open(&w, dsn, &our_id, NULL);
    for (int i = 0; i < 2; i++) { /* at first, and while it is known */
        assert_true(loader_probe_one(&w, "a")->failed);
        assert_int_equal(w.answers[0].error.class, FLUSH_ERROR_OUTAGE);
        assert_non_null(strstr(w.answers[0].error.message, "standby"));
    }
    execute("SELECT pg_promote()");
    assert_int_equal(loader_probe_one_until_up(&w, "a")->version_sum, 11);
    loader_probe_close(&w);
}

/* A wire whose first connection says of its server, from a moment on, that it is in recovery. */
struct demoter {
    bool demoted;
    unsigned links;
};

static void *demoter_opened(void *data, struct pg_test_link *link)
{
    struct demoter *d = data;
    return __atomic_fetch_add(&d->links, 1, __ATOMIC_SEQ_CST) == 0 ? d : NULL; /* the first is marked */
}

static void demoter_arrived(void *data, struct pg_test_link *link, enum pg_test_side from, struct bytes bytes)
{
    /* A row of nine columns, or of two, whose first is one byte: false. */
    static const uint8_t rows[][7] = {{0, 9, 0, 0, 0, 1, 0}, {0, 2, 0, 0, 0, 1, 0}};
    struct demoter *d = data;
    struct buf copy;
    buf_init(&copy);
    buf_append(&copy, bytes.data, bytes.len);
    bool change = from == PG_TEST_SERVER && pg_test_link_data(link) != NULL &&
                  __atomic_load_n(&d->demoted, __ATOMIC_SEQ_CST);
    for (size_t at = 0; change && at + sizeof rows[0] <= copy.len; at++) {
        if (memcmp(copy.data + at, rows[0], sizeof rows[0]) == 0 ||
            memcmp(copy.data + at, rows[1], sizeof rows[1]) == 0) {
            copy.data[at + sizeof rows[0] - 1] = 1;
        }
    }
    pg_test_link_pass(link, from, buf_bytes(&copy));
    buf_deinit(&copy);
}

static void demoter_ignores(void *data, struct pg_test_link *link)
{
    (void)data;
    (void)link;
}

/* @search: by a search for expired rows rather than by a load. */
static void a_demoted_server_is_left(bool search)
{
    static const struct pg_test_wire_filter filter = {
        demoter_opened, demoter_arrived, demoter_ignores, demoter_ignores};
    struct demoter d = {.demoted = false};
    struct loader_probe w;
    char path[128], dsn[128];
    snprintf(path, sizeof path, "%s/.s.PGSQL.5432", server.dir);
    struct pg_test_wire *wire = pg_test_wire_start(path, 0, &filter, &d);
    assert_non_null(wire);
    snprintf(dsn, sizeof dsn, "host=127.0.0.1 port=%u user=postgres dbname=postgres",
        (unsigned)pg_test_wire_port(wire));
    loader_probe_open(&w, dsn, &our_id, NULL);
    assert_int_equal(loader_probe_one(&w, "a")->version_sum, 11);
    __atomic_store_n(&d.demoted, true, __ATOMIC_SEQ_CST);
    struct bytes key = bytes_from_text("a");
    if (search) {
        loader_probe_find(&w, 1, UINT64_MAX, 5);
    } else {
        loader_probe_load(&w, 1, &key, 1);
    }
    loader_probe_load(&w, 2, &key, 1);
    loader_probe_run(&w, 3);
    if (search) {
        assert_int_equal(w.answers[1].keys_n, 0);
    } else {
        assert_false(w.answers[1].failed);
        assert_true(w.answers[1].result.in_recovery);
    }
    assert_true(w.answers[2].failed);
    assert_non_null(strstr(w.answers[2].error.message, "standby"));
    assert_int_equal(loader_probe_one_until_up(&w, "a")->version_sum, 11);
    assert_false(w.answers[0].result.in_recovery);
    loader_probe_find(&w, 1, UINT64_MAX, 5);
    loader_probe_run(&w, w.events + 1);
    assert_int_equal(w.answers[1].keys_n, 1);
    assert_int_equal(__atomic_load_n(&d.links, __ATOMIC_SEQ_CST), 2);
    loader_probe_close(&w);
    pg_test_wire_stop(wire);
}

static void an_answer_from_a_server_in_recovery_ends_its_connection(void **state)
{
    (void)state;
    a_demoted_server_is_left(false);
    a_demoted_server_is_left(true);
}

static void closing_fails_what_is_under_way(void **state)
{
    (void)state;
    struct loader_probe w;
    struct bytes key = bytes_from_text("a");
    watcher_open(&w); /* never used */
    loader_probe_close(&w);
    watcher_open(&w);
    loader_probe_load(&w, 1, &key, 1); /* still connecting */
    loader_probe_close(&w);
    assert_int_equal(w.answers[1].events, 1);
    assert_true(w.answers[1].failed);
    watcher_open(&w);
    assert_false(loader_probe_one(&w, "a")->failed);
    loader_probe_load(&w, 1, &key, 1); /* sent */
    loader_probe_close(&w);
    assert_int_equal(w.answers[1].events, 1);
    assert_true(w.answers[1].failed);
    loader_probe_open(&w, "host=/nowhere", &our_id, NULL);
    assert_true(loader_probe_one(&w, "a")->failed);
    loader_probe_load(&w, 1, &key, 1); /* down */
    loader_probe_close(&w);
    assert_int_equal(w.answers[1].events, 1);
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
        cmocka_unit_test_setup(a_standby_is_down_until_it_is_promoted, fill),
        cmocka_unit_test_setup(an_answer_from_a_server_in_recovery_ends_its_connection, fill),
        cmocka_unit_test_setup(closing_fails_what_is_under_way, fill),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
