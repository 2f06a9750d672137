/* What loads and searches find in a real table: long values, rows that others wrote, expiry, plans. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "flush/flusher_probe.h"
#include "flush/loader_probe.h"
#include "flush/pg_load_request.h"
#include "flush/schema.h"
#include "proto/base/alloc.h"

static struct pg_test_server server;
static struct flush_identity our_id;

static void execute(const char *sql)
{
    char *text = pg_test_server_query(&server, sql);
    assert_non_null(text);
    free(text);
}

static int claim(void **state)
{
    (void)state;
    struct probe p;
    our_id = probe_cluster(1, 0, 0);
    execute("DROP SCHEMA IF EXISTS wb CASCADE");
    probe_open(&p, server.dsn, 0, NULL);
    probe_claim(&p, &our_id, FLUSH_DB_EMPTY, NULL);
    assert_int_equal(probe_next(&p), PROBE_CLAIMED);
    probe_close(&p);
    return 0;
}

/* Rows of the keys int4send(@from) to int4send(@to), whose versions are those numbers. */
static void insert_rows(unsigned from, unsigned to, unsigned value_bytes)
{
    char sql[256];
    snprintf(sql, sizeof sql,
        "INSERT INTO wb.entry SELECT int4send(g), repeat('v', %u)::bytea, g, NULL"
        " FROM generate_series(%u, %u) g",
        value_bytes, from, to);
    execute(sql);
}

/* ---- bounded answers ---- */

/* Load the keys int4send(1) to int4send(@n), again and again while some are later. Each answer must be within
 * the bound and tell of something; in the end each of the rows 1 to @rows has come once. Returns how many
 * loads it took. */
static unsigned load_all(struct loader_probe *w, uint32_t n, uint32_t rows)
{
    struct bytes *keys = xcalloc(n, sizeof *keys);
    uint8_t(*bytes)[4] = xcalloc(n, sizeof *bytes);
    for (uint32_t i = 0; i < n; i++) {
        store_be32(bytes[i], i + 1);
        keys[i] = bytes_of(bytes[i], 4);
    }
    w->seen_n = (uint64_t)n + 1;
    w->seen = xcalloc(w->seen_n, 1);
    loader_probe_load(w, 0, keys, n);
    free(bytes);
    free(keys);
    unsigned loads = 0;
    for (uint32_t asked = n, left; asked > 0; asked = left) {
        loader_probe_run(w, w->events + 1);
        const struct loader_answer *a = &w->answers[0];
        assert_false(a->failed);
        assert_true(a->value_bytes <= PG_LOAD_ANSWER_BYTES);
        assert_true(a->result.fence_found);
        left = a->result.later_n;
        assert_true(left < asked);
        loads++;
        assert_int_equal(loader_probe_load_later(w, 0), left);
    }
    for (uint32_t i = 1; i <= n; i++) {
        assert_int_equal(w->seen[i], i <= rows ? 1 : 0);
    }
    free(w->seen);
    w->seen = NULL;
    return loads;
}

static void the_longest_values_come_a_few_at_a_time(void **state)
{
    (void)state;
    struct loader_probe w;
    insert_rows(1, 100, LIMIT_VALUE_BYTES);
    loader_probe_open(&w, server.dsn, &our_id, NULL);
    unsigned loads = load_all(&w, 100, 100);
    assert_true(loads >= 100 / 8 && loads <= 100 / 4);
    loader_probe_close(&w);
}

/* 4096 values of 3000 bytes are 12 MB: none fits in its share of one answer, but half of them do. */
static void values_a_little_too_long_come_in_halves(void **state)
{
    (void)state;
    struct loader_probe w;
    insert_rows(1, LIMIT_REQUEST_KEYS, 3000);
    loader_probe_open(&w, server.dsn, &our_id, NULL);
    assert_int_equal(load_all(&w, LIMIT_REQUEST_KEYS, LIMIT_REQUEST_KEYS), 2);
    loader_probe_close(&w);
}

static void short_values_come_at_once_also_after_long_ones(void **state)
{
    (void)state;
    struct loader_probe w;
    insert_rows(1, 3000, 100);
    loader_probe_open(&w, server.dsn, &our_id, NULL);
    assert_int_equal(load_all(&w, LIMIT_REQUEST_KEYS, 3000), 1);
    execute("TRUNCATE wb.entry");
    insert_rows(1, 64, LIMIT_VALUE_BYTES);
    assert_true(load_all(&w, 64, 64) >= 8);
    execute("TRUNCATE wb.entry");
    insert_rows(1, 3000, 100);
    unsigned loads = load_all(&w, LIMIT_REQUEST_KEYS, 3000);
    assert_true(loads > 1 && loads <= 12); /* 4, 8, 16 ... keys at once, or from 8 or 16 on */
    for (int i = 0; i < 3 && loads > 1; i++) {
        loads = load_all(&w, LIMIT_REQUEST_KEYS, 3000);
    }
    assert_int_equal(loads, 1);
    loader_probe_close(&w);
}

static void a_long_value_does_not_keep_short_ones_or_absences_waiting(void **state)
{
    (void)state;
    struct loader_probe w;
    insert_rows(1, 1, LIMIT_VALUE_BYTES);
    insert_rows(2, 500, 1000);
    loader_probe_open(&w, server.dsn, &our_id, NULL);
    assert_int_equal(load_all(&w, 501, 500), 2); /* the last is absent */
    assert_int_equal(w.answers[0].value_bytes, LIMIT_VALUE_BYTES);
    execute("TRUNCATE wb.entry");
    insert_rows(1, 9, LIMIT_VALUE_BYTES);
    assert_int_equal(load_all(&w, 10, 9), 3); /* the absence, eight rows or fewer, the rest */
    loader_probe_close(&w);
}

/* Up to eight of the longest values need no second question. */
static void eight_of_the_longest_values_fit(void **state)
{
    (void)state;
    struct loader_probe w;
    insert_rows(1, 8, LIMIT_VALUE_BYTES);
    loader_probe_open(&w, server.dsn, &our_id, NULL);
    assert_int_equal(load_all(&w, 8, 8), 1);
    assert_int_equal(w.answers[0].value_bytes, PG_LOAD_ANSWER_BYTES);
    loader_probe_close(&w);
}

/* ---- rows that others wrote ---- */

static void rows_that_cannot_be_ours_are_named_and_harm_no_others(void **state)
{
    (void)state;
    struct loader_probe w;
    char *log = NULL;
    size_t log_len = 0;
    FILE *out = open_memstream(&log, &log_len);
    assert_non_null(out);
    struct logger logger = {.out = out, .level = LOG_WARN, .node_id = 7};
    execute("ALTER TABLE wb.entry DROP CONSTRAINT entry_has_value_or_fields, ALTER version DROP NOT NULL;"
            "INSERT INTO wb.entry VALUES ('bad1', NULL, 1, NULL), ('bad2', 'v', NULL, NULL),"
            " ('bad3', 'v', -1, NULL), ('bad4', 'v', 0, NULL),"
            " ('bad5', repeat('v', 1048577)::bytea, 1, NULL), ('good', 'yes', 33, NULL),"
            " ('long', repeat('v', 1048576)::bytea, 34, NULL)");
    loader_probe_open(&w, server.dsn, &our_id, &logger);
    static const char *const names[] = {"bad1", "bad2", "bad3", "bad4", "bad5", "good", "long", "none"};
    struct bytes keys[8];
    for (int i = 0; i < 8; i++) {
        keys[i] = bytes_from_text(names[i]);
    }
    loader_probe_load(&w, 1, keys, 8);
    loader_probe_run(&w, 1);
    const struct loader_answer *a = &w.answers[1];
    assert_false(a->failed);
    assert_int_equal(a->result.n, 2);
    assert_int_equal(a->version_sum, 67);
    assert_int_equal(a->result.later_n, 0);
    assert_int_equal(a->result.bad_n, 5);
    assert_int_equal(a->keys_n, 5);
    for (uint32_t i = 0; i < 5; i++) { /* sorted, as the index gives them */
        assert_string_equal(a->keys[i], names[i]);
    }
    assert_int_equal(loader_probe_one(&w, "bad1")->result.bad_n, 1);
    assert_int_equal(loader_probe_one(&w, "good")->result.n, 1);
    loader_probe_close(&w);
    fclose(out);
    const char *line = strstr(log, "row-not-ours");
    assert_non_null(line);
    assert_non_null(strstr(line, "count=5 key=\\x62616431 key_bytes=4"));
    assert_null(strstr(line + 1, "row-not-ours")); /* not once for each load */
    free(log);
}

static void odd_times_of_expiry_are_read(void **state)
{
    (void)state;
    struct loader_probe w;
    execute("INSERT INTO wb.entry VALUES ('ever', 'v', 1, 'infinity'), ('never', 'v', 1, '-infinity'),"
            " ('old', 'v', 1, '0044-03-15 BC'), ('past', 'v', 1, '1970-01-01 00:00:01.0009+00')");
    loader_probe_open(&w, server.dsn, &our_id, NULL);
    assert_int_equal(loader_probe_one(&w, "ever")->expires_at_ms, 0);
    assert_int_equal(loader_probe_one(&w, "never")->expires_at_ms, 1);
    assert_int_equal(loader_probe_one(&w, "old")->expires_at_ms, 1);
    assert_int_equal(loader_probe_one(&w, "past")->expires_at_ms, 1000);
    assert_int_equal(w.answers[0].result.n, 1); /* expired: as it is */
    loader_probe_close(&w);
}

/* ---- searches for expired rows ---- */

static const struct loader_answer *find(struct loader_probe *w, uint64_t before_ms, uint32_t keys_max)
{
    loader_probe_find(w, 1, before_ms, keys_max);
    loader_probe_run(w, w->events + 1);
    return &w->answers[1];
}

static void expired_rows_are_found_the_earliest_first(void **state)
{
    (void)state;
    struct loader_probe w;
    execute("INSERT INTO wb.entry VALUES ('c', 'v', 1, '1970-01-01 00:00:03+00'), ('no', 'v', 1, NULL),"
            " ('a', 'v', 1, '1970-01-01 00:00:01+00'), ('b', repeat('v', 1048576)::bytea, 1,"
            " '1970-01-01 00:00:02+00'), ('inf', 'v', 1, 'infinity'), ('minus', 'v', 1, '-infinity')");
    loader_probe_open(&w, server.dsn, &our_id, NULL);
    const struct loader_answer *a = find(&w, 3000, 10); /* the first call: it connects */
    assert_int_equal(a->keys_n, 3);
    assert_string_equal(a->keys[0], "minus");
    assert_string_equal(a->keys[1], "a");
    assert_string_equal(a->keys[2], "b");
    assert_int_equal(find(&w, 3001, 10)->keys_n, 4);
    assert_string_equal(w.answers[1].keys[3], "c");
    assert_int_equal(find(&w, 3001, 2)->keys_n, 2);
    assert_string_equal(w.answers[1].keys[1], "a");
    assert_int_equal(find(&w, UINT64_MAX, 10)->keys_n, 4); /* never is never */
    execute("DELETE FROM wb.entry WHERE key = 'minus'");
    assert_int_equal(find(&w, 1000, 10)->keys_n, 0);
    loader_probe_close(&w);
}

/* Nobody could delete them through the cache: they would hide the others for ever. */
static void rows_that_are_not_ours_do_not_hide_expired_ones(void **state)
{
    (void)state;
    struct loader_probe w;
    execute(
        "ALTER TABLE wb.entry DROP CONSTRAINT entry_has_value_or_fields, ALTER version DROP NOT NULL;"
        "INSERT INTO wb.entry SELECT 'n' || int4send(g), NULL, g, '1999-01-01' FROM generate_series(1, 100) "
        "g;"
        "INSERT INTO wb.entry SELECT 'l' || int4send(g), repeat('v', 1048577)::bytea, g, '1999-01-01'"
        " FROM generate_series(1, 10) g;"
        "INSERT INTO wb.entry SELECT convert_to('k' || g || repeat('k', 1024), 'UTF8'), 'v', g,"
        " '1999-01-01' FROM generate_series(1, 10) g;"
        "INSERT INTO wb.entry SELECT 'v' || int4send(g), 'v', 0, '1999-01-01' FROM generate_series(1, 10) g;"
        "INSERT INTO wb.entry VALUES ('w', 'v', NULL, '1999-01-01'), ('ours', 'v', 1, '2000-01-01')");
    loader_probe_open(&w, server.dsn, &our_id, NULL);
    assert_int_equal(find(&w, UINT64_C(1700000000000), 5)->keys_n, 1);
    assert_string_equal(w.answers[1].keys[0], "ours");
    loader_probe_close(&w);
}

static void a_search_that_takes_too_long_finds_nothing_and_leaves_the_loads_alone(void **state)
{
    (void)state;
    static const char backends[] =
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'wbcache node=7 loads'";
    struct loader_probe w;
    char *log = NULL;
    size_t log_len = 0;
    FILE *out = open_memstream(&log, &log_len);
    assert_non_null(out);
    struct logger logger = {.out = out, .level = LOG_WARN, .node_id = 7};
    execute("INSERT INTO wb.entry VALUES ('a', 'apple', 11, '2000-01-01')");
    loader_probe_open(&w, server.dsn, &our_id, &logger);
    assert_int_equal(loader_probe_one(&w, "a")->result.n, 1);
    int64_t pid = pg_test_server_number(&server, backends);
    PGconn *holder = PQconnectdb(server.dsn);
    PQclear(PQexec(holder, "BEGIN; LOCK TABLE wb.entry IN ACCESS EXCLUSIVE MODE"));
    assert_int_equal(find(&w, UINT64_C(1700000000000), 5)->keys_n, 0);
    assert_int_equal(w.answers[1].events, 1);
    PQfinish(holder);
    struct bytes key = bytes_from_text("a");
    loader_probe_find(&w, 2, UINT64_C(1700000000000), 5);
    loader_probe_load(&w, 3, &key, 1);
    loader_probe_run(&w, 4);
    assert_int_equal(w.answers[2].keys_n, 1);
    assert_int_equal(w.answers[3].version_sum, 11);
    assert_true(pg_test_server_number(&server, backends) == pid);
    assert_true(pid > 0);
    loader_probe_close(&w);
    fclose(out);
    const char *line = strstr(log, "find-expired-failed");
    assert_non_null(line);
    assert_non_null(strstr(line, "sqlstate=57014"));
    assert_null(strstr(line + 1, "find-expired-failed"));
    assert_null(strstr(log, "loader-down"));
    free(log);
}

/* The time limit is the search's alone: a load may wait longer for a lock than a search may take. */
static void a_load_behind_a_search_has_its_own_time_limit(void **state)
{
    (void)state;
    struct loader_probe w;
    execute("INSERT INTO wb.entry VALUES ('a', 'apple', 11, '2000-01-01')");
    loader_probe_open(&w, server.dsn, &our_id, NULL);
    assert_int_equal(find(&w, UINT64_C(1700000000000), 5)->keys_n, 1);
    PGconn *holder = PQconnectdb(server.dsn);
    PQclear(PQexec(holder, "BEGIN; LOCK TABLE wb.entry IN ACCESS EXCLUSIVE MODE"));
    assert_true(loader_probe_one(&w, "a")->failed);
    assert_string_equal(w.answers[0].error.sqlstate, "55P03"); /* lock_timeout, which is the longer one */
    PQfinish(holder);
    loader_probe_close(&w);
}

static void a_search_ends_also_when_the_database_is_away(void **state)
{
    (void)state;
    struct loader_probe w;
    loader_probe_open(&w, "host=/nowhere", &our_id, NULL);
    assert_int_equal(find(&w, 1000, 5)->events, 1); /* while connecting */
    assert_int_equal(find(&w, 1000, 5)->events, 2); /* known to be down */
    loader_probe_find(&w, 2, 1000, 5);
    loader_probe_close(&w);
    assert_int_equal(w.answers[2].events, 1);
    loader_probe_open(&w, server.dsn, &our_id, NULL);
    assert_int_equal(find(&w, 1000, 5)->events, 1);
    loader_probe_find(&w, 2, 1000, 5); /* sent */
    loader_probe_close(&w);
    assert_int_equal(w.answers[2].events, 1);
    assert_int_equal(w.answers[2].keys_n, 0);
}

/* ---- plans ---- */

/* A session as the loader makes it, with its statements as l and f. */
static PGconn *plan_session(void)
{
    static const enum schema_sql texts[] = {SCHEMA_LOAD_SETUP, SCHEMA_LOAD, SCHEMA_FIND_EXPIRED};
    static const char *const before[] = {"", "PREPARE l (int, uuid, int, bytea[], int, int) AS ",
        "PREPARE f (timestamptz, bigint, int, int, int) AS "};
    PGconn *conn = PQconnectdb(server.dsn);
    for (int i = 0; i < 3; i++) {
        char *text = schema_sql(texts[i], "wb"), sql[2048];
        snprintf(sql, sizeof sql, "%s%s", before[i], text);
        PGresult *result = PQexec(conn, sql);
        assert_true(PQresultStatus(result) == PGRES_TUPLES_OK || PQresultStatus(result) == PGRES_COMMAND_OK);
        PQclear(result);
        free(text);
    }
    return conn;
}

/* Execute, and look how: @index must be used, the table never read in sequence, nothing sorted. Returns how
 * many pages were looked at. */
static long pages_of(PGconn *conn, const char *execute_sql, const char *index)
{
    char sql[512];
    bool used = false;
    long pages = -1;
    snprintf(sql, sizeof sql, "EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF) EXECUTE %s", execute_sql);
    PGresult *plan = PQexec(conn, sql);
    if (PQresultStatus(plan) != PGRES_TUPLES_OK) {
        fail_msg("%s", PQerrorMessage(conn));
    }
    for (int i = 0; i < PQntuples(plan); i++) {
        const char *line = PQgetvalue(plan, i, 0), *hit = strstr(line, " hit="),
                   *read = strstr(line, " read=");
        if (strstr(line, "Planning:") != NULL) {
            break;
        }
        used = used || strstr(line, index) != NULL;
        if (strstr(line, "Seq Scan on entry") != NULL || strstr(line, "Sort") != NULL) {
            fail_msg("%s: %s", execute_sql, line);
        }
        if (pages < 0 && strstr(line, "Buffers:") != NULL) { /* the first is the whole statement's */
            pages = (hit == NULL ? 0 : strtol(hit + 5, NULL, 10)) +
                    (read == NULL ? 0 : strtol(read + 6, NULL, 10));
        }
    }
    if (!used) {
        fail_msg("%s does not use %s", execute_sql, index);
    }
    PQclear(plan);
    return pages;
}

static long pages_of_load(PGconn *conn, int keys, int value_bytes_max)
{
    char sql[256];
    snprintf(sql, sizeof sql,
        "l(0, '01010101-0101-0101-0101-010101010101', 3, wb.many_keys(%d), %d, 4194304)", keys,
        value_bytes_max);
    return pages_of(conn, sql, "entry_pkey");
}

static long pages_of_find(PGconn *conn, int keys_max)
{
    char sql[128];
    snprintf(sql, sizeof sql, "f('2024-06-01', %d, 1024, 1048576, 4194304)", keys_max);
    return pages_of(conn, sql, "entry_expires_at");
}

static void make_many_keys(void)
{
    execute("ALTER TABLE wb.entry SET (autovacuum_enabled = off);"
            "CREATE FUNCTION wb.many_keys(n int) RETURNS bytea[] LANGUAGE sql IMMUTABLE AS"
            " 'SELECT array_agg(int4send(g * 24)) FROM generate_series(1, n) g'");
}

/* Planned when the table has three rows, when one scan would be cheapest; then the table grows. */
static void the_primary_keys_index_is_used_however_many_keys(void **state)
{
    (void)state;
    make_many_keys();
    insert_rows(1000001, 1000003, 5);
    execute("VACUUM ANALYZE wb.entry");
    PGconn *conn = plan_session();
    pages_of_load(conn, 1, LIMIT_VALUE_BYTES);
    insert_rows(1, 100000, 100);
    for (int analyzed = 0; analyzed <= 1; analyzed++) {
        pages_of_load(conn, 1, LIMIT_VALUE_BYTES);
        pages_of_load(conn, 100, LIMIT_VALUE_BYTES);
        pages_of_load(conn, 4000, LIMIT_VALUE_BYTES);
        execute("ANALYZE wb.entry");
    }
    PQfinish(conn);
}

/* The same; and a search for a few must not look at all that have expired. */
static void the_index_of_times_is_used_however_many_have_expired(void **state)
{
    (void)state;
    make_many_keys();
    PGconn *empty = plan_session();
    pages_of_find(empty, 10);
    insert_rows(1000001, 1000003, 5);
    execute("VACUUM ANALYZE wb.entry");
    PGconn *small = plan_session();
    pages_of_find(small, 10);
    PGconn *disk = plan_session(); /* where rows here and there cost much, sorting all of them looks good */
    PQclear(PQexec(disk, "SET random_page_cost = 400"));
    pages_of_find(disk, 10);
    execute(
        "INSERT INTO wb.entry SELECT int4send(g), repeat('v', 100)::bytea, g,"
        " timestamptz '2024-01-01' + g * 7919 % 100000 * interval '1 s' FROM generate_series(1, 100000) g");
    for (int analyzed = 0; analyzed <= 1; analyzed++) {
        PGconn *fresh = plan_session();
        PGconn *const sessions[] = {empty, small, disk, fresh};
        for (int i = 0; i < 4; i++) {
            assert_true(pages_of_find(sessions[i], 10) <= 50);
            assert_true(pages_of_find(sessions[i], 1000) <= 2000);
        }
        PQfinish(fresh);
        execute("ANALYZE wb.entry");
    }
    PQfinish(disk);
    PQfinish(small);
    PQfinish(empty);
}

/* Long values are kept apart, in hundreds of pages each: their lengths are known without those. */
static void a_value_that_is_not_sent_is_not_fetched(void **state)
{
    (void)state;
    make_many_keys();
    execute("ALTER TABLE wb.entry ALTER value SET STORAGE EXTERNAL;"
            "INSERT INTO wb.entry SELECT int4send(g * 24), repeat('v', 1048576)::bytea, g, '2024-01-01'"
            " FROM generate_series(1, 20) g");
    assert_true(
        pg_test_server_number(&server,
            "SELECT pg_table_size(reltoastrelid) / 8192 FROM pg_class WHERE oid = 'wb.entry'::regclass") >
        20 * 100);
    PGconn *conn = plan_session();
    long load = pages_of_load(conn, 20, LIMIT_VALUE_BYTES / 2), expired = pages_of_find(conn, 20);
    assert_true(load > 0 && load < 100);
    assert_true(expired > 0 && expired < 100);
    PQfinish(conn);
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
        cmocka_unit_test_setup(the_longest_values_come_a_few_at_a_time, claim),
        cmocka_unit_test_setup(values_a_little_too_long_come_in_halves, claim),
        cmocka_unit_test_setup(short_values_come_at_once_also_after_long_ones, claim),
        cmocka_unit_test_setup(a_long_value_does_not_keep_short_ones_or_absences_waiting, claim),
        cmocka_unit_test_setup(eight_of_the_longest_values_fit, claim),
        cmocka_unit_test_setup(rows_that_cannot_be_ours_are_named_and_harm_no_others, claim),
        cmocka_unit_test_setup(odd_times_of_expiry_are_read, claim),
        cmocka_unit_test_setup(expired_rows_are_found_the_earliest_first, claim),
        cmocka_unit_test_setup(rows_that_are_not_ours_do_not_hide_expired_ones, claim),
        cmocka_unit_test_setup(a_search_that_takes_too_long_finds_nothing_and_leaves_the_loads_alone, claim),
        cmocka_unit_test_setup(a_load_behind_a_search_has_its_own_time_limit, claim),
        cmocka_unit_test_setup(a_search_ends_also_when_the_database_is_away, claim),
        cmocka_unit_test_setup(the_primary_keys_index_is_used_however_many_keys, claim),
        cmocka_unit_test_setup(the_index_of_times_is_used_however_many_have_expired, claim),
        cmocka_unit_test_setup(a_value_that_is_not_sent_is_not_fetched, claim),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
