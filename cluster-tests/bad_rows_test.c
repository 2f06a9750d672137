/* Rows that PostgreSQL refuses: they stop no others, cost little, are kept with PostgreSQL's words, and get
 * there when their cause is gone or something better is written. Leaders that die meanwhile:
 * bad_rows_kill_test.c. */
#include "cluster-tests/scenario.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster-tests/bad_rows.h"
#include "cluster-tests/filler.h"
#include "cluster-tests/group_sums.h"
#include "cluster-tests/program.h"
#include "cluster-tests/sql.h"
#include "cluster-tests/verify.h"
#include "proto/base/clock.h"

enum {
    WAIT_MS = 40000,
    DEADLINE_MS = 10000,
    OUTPUT_BYTES = 32768,
    BATCH = 1000,
    TRIES_MAX = 1 + 21, /* what the batch takes anyway, and 2 x log2(1000) + 2 more */
    MANY = 100000,
    MANY_MODULUS = 100, /* one of so many is bad */
    MANY_VALUE_BYTES = 64,
    MANY_WAIT_MS = 180000,
    STALL_MAX_MS = 10000,
    PRESSURE_KEYS = 40000, /* of 1 KB: more than the nodes may keep */
    PRESSURE_VALUE_BYTES = 1000,
};

/* Rows in quarantine are tried again when the test says so. */
#define NO_RETRIES "flush.quarantine_retry_min_ms=600000", "flush.quarantine_retry_max_ms=600000"

/* ---- Asking ---- */

static int64_t rows_like(PGconn *conn, const char *table, const char *prefix)
{
    return sql_number_or_fail(conn, "SELECT count(*) FROM wb.%s WHERE key LIKE '%s%%'", table, prefix);
}

/* How many rows of wb.quarantine have this key, value and version, and PostgreSQL's words. */
static int64_t shown_as_refused(PGconn *conn, const char *key, struct bytes value, uint64_t version)
{
    char number[24];
    snprintf(number, sizeof number, "%" PRIu64, version);
    const char *const values[] = {key, (const char *)value.data, number};
    const int lengths[] = {(int)strlen(key), (int)value.len, 0};
    const int formats[] = {1, 1, 0};
    PGresult *result = PQexecParams(conn,
        "SELECT count(*) FROM wb.quarantine WHERE key = $1::bytea AND value = $2::bytea AND version = "
        "$3::bigint"
        " AND sqlstate = '" BAD_ROWS_SQLSTATE "' AND message LIKE '%" BAD_ROWS_MESSAGE "%'"
        " AND attempts > 0 AND since <= refused_at",
        3, NULL, values, lengths, formats, 0);
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        fail_msg("%s", PQerrorMessage(conn));
    }
    int64_t n = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    return n;
}

struct shown {
    PGconn *conn;
    uint64_t rows;
};

static bool is_shown(struct cluster *c, void *data)
{
    (void)c;
    const struct shown *wanted = data;
    return sql_number_or_fail(wanted->conn,
               "SELECT ((SELECT count(*) FROM wb.quarantine) = %" PRIu64
               " AND (SELECT quarantined FROM wb.freshness) = %" PRIu64 ")::int",
               wanted->rows, wanted->rows) != 0;
}

/* So many rows are in quarantine, and nothing else waits; and the database's own tables say so soon after. */
static void wait_quarantined(struct cluster *c, PGconn *conn, uint64_t rows)
{
    group_sums_wait_quarantined(c, rows, WAIT_MS);
    struct shown wanted = {.conn = conn, .rows = rows};
    cluster_wait(c, "wb.quarantine and wb.freshness show it", WAIT_MS, is_shown, &wanted);
    say("  %" PRIu64 " rows are in quarantine, and shown in wb.quarantine", rows);
}

static struct wbcache *open_cache(struct cluster *c)
{
    const struct wbcache_options options = {.deadline_ms = DEADLINE_MS};
    struct wbcache *cache = NULL;
    if (wbcache_open(&cache, c->addresses, &options) != WBCACHE_OK) {
        fail_msg("no connection to the cluster");
    }
    return cache;
}

static void set_or_fail(struct wbcache *cache, const char *key, const char *value)
{
    int code = wbcache_set(cache, key, strlen(key), value, strlen(value), NULL);
    if (code != WBCACHE_OK) {
        fail_msg("set %s: %s: %s", key, wbcache_code_name(code), wbcache_errmsg(cache));
    }
}

static void expect_read(struct wbcache *cache, const char *key, const char *expected)
{
    void *value = NULL;
    size_t len = 0;
    int code = wbcache_get(cache, key, strlen(key), &value, &len, NULL);
    if (expected == NULL) {
        assert_int_equal(code, WBCACHE_NOT_FOUND);
    } else if (code != WBCACHE_OK) {
        fail_msg("get %s: %s: %s", key, wbcache_code_name(code), wbcache_errmsg(cache));
    } else {
        assert_string_equal(value, expected);
    }
    free(value);
}

/* The key's row in PostgreSQL: NULL for none. */
static void expect_row(PGconn *conn, const char *key, const char *expected)
{
    char text[128];
    sql_text_or_fail(conn, text, sizeof text,
        "SELECT coalesce((SELECT convert_from(value, 'UTF8') FROM wb.entry WHERE key = '%s'), 'no row')",
        key);
    assert_string_equal(text, expected == NULL ? "no row" : expected);
}

static void expect_in_words(const char *output, const char *words)
{
    if (strstr(output, words) == NULL) {
        fail_msg("'%s' is not said: %s", words, output);
    }
}

/* ---- One of a thousand ---- */

static void one_bad_row_of_a_thousand_costs_only_itself(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    cluster_start(c, &(struct cluster_options){.settings = {NO_RETRIES}});
    s->ledger = ledger_create("{one}", BATCH); /* one group, so one batch */
    PGconn *conn = sql_connect_or_fail(c->database);
    bad_rows_install(conn);
    uint32_t bad = scenario_random(s, BATCH);
    char name[LEDGER_KEY_BYTES];
    size_t name_len = ledger_key(s->ledger, bad, name);
    bad_rows_name(conn, name);

    say("%u keys are written at once; PostgreSQL refuses %s", BATCH, name);
    bad_rows_write(c, s->ledger, 0, BATCH);
    wait_quarantined(c, conn, 1);
    int64_t tries = bad_rows_tries(conn);
    say("  %" PRId64 " rows are there, after %" PRId64 " statements that wrote rows (allowed: %d)",
        rows_like(conn, "entry", "{one}:"), tries, TRIES_MAX);
    assert_int_equal(rows_like(conn, "entry", "{one}:"), BATCH - 1);
    assert_in_range(tries, 2, TRIES_MAX);

    struct wbcache *cache = open_cache(c);
    void *value = NULL;
    size_t value_len = 0;
    uint64_t version = 0;
    assert_int_equal(wbcache_get(cache, name, name_len, &value, &value_len, &version), WBCACHE_OK);
    assert_int_equal(version, ledger_version(s->ledger, bad));
    assert_int_equal(shown_as_refused(conn, name, bytes_of(value, value_len), version), 1);
    free(value);
    struct wbcache_key_state key;
    assert_int_equal(wbcache_key_status(cache, name, name_len, &key), WBCACHE_OK);
    assert_non_null(key.quarantined);
    say("  key status: %s: %s", key.quarantined->sqlstate, key.quarantined->message);
    assert_string_equal(key.quarantined->sqlstate, BAD_ROWS_SQLSTATE);
    expect_in_words(key.quarantined->message, BAD_ROWS_MESSAGE);
    assert_false(key.evictable);
    wbcache_close(cache);
    verify_cache(c, s->ledger);

    bad_rows_forgive(conn);
    char output[OUTPUT_BYTES];
    program_wbclient_or_fail(
        c, (const char *const[]){"quarantine", "retry", "--all", NULL}, output, sizeof output);
    wait_quarantined(c, conn, 0);
    verify_all(c, s->ledger);
    PQfinish(conn);
    s->passed = true;
}

/* ---- A thousand of a hundred thousand ---- */

struct progress {
    uint64_t quarantined;
    uint64_t flushed_index[LOAD_GROUPS_MAX];
    uint64_t moved_ms;
    uint64_t longest_ms; /* without any group's F, or its quarantine, moving on */
};

static bool all_passed(struct cluster *c, void *data)
{
    struct progress *p = data;
    struct group_sums now;
    if (!group_sums(c, &now)) {
        return false;
    }
    uint64_t now_ms = clock_boot_ms();
    if (now.quarantined != p->quarantined ||
        memcmp(now.flushed_index, p->flushed_index, sizeof now.flushed_index) != 0) {
        p->quarantined = now.quarantined;
        memcpy(p->flushed_index, now.flushed_index, sizeof now.flushed_index);
        p->moved_ms = now_ms;
    }
    uint64_t still_ms = now_ms - p->moved_ms;
    p->longest_ms = still_ms > p->longest_ms ? still_ms : p->longest_ms;
    return now.dirty == 0 && now.quarantined == MANY / MANY_MODULUS;
}

static void expect_all_read(struct filler *f)
{
    filler_read(f);
    struct filler_numbers n = filler_join(f);
    say("  read back: %" PRIu64 " right, %" PRIu64 " missing, %" PRIu64 " wrong, %" PRIu64 " failed %s",
        n.read, n.missing, n.wrong, n.failed, n.error);
    assert_int_equal(n.read, MANY);
}

static int64_t many_right_rows(PGconn *conn)
{
    return sql_number_or_fail(conn,
        "SELECT count(*) FROM wb.entry WHERE key LIKE 'many:%%' AND value = " FILLER_SQL_VALUE,
        MANY_VALUE_BYTES);
}

static void a_thousand_bad_rows_of_a_hundred_thousand_stall_nothing(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    cluster_start(c, &(struct cluster_options){.settings = {NO_RETRIES}});
    PGconn *conn = sql_connect_or_fail(c->database);
    bad_rows_install(conn);
    bad_rows_name_many(conn, "many", MANY, MANY_MODULUS, scenario_random(s, MANY_MODULUS));
    struct filler *f = filler_create(&(struct filler_config){.cluster = c->addresses,
        .prefix = "many",
        .keys = MANY,
        .value_bytes = MANY_VALUE_BYTES,
        .threads = 2,
        .pipeline = 256,
        .deadline_ms = MANY_WAIT_MS});
    say("%d keys are written; PostgreSQL refuses %d of them", MANY, MANY / MANY_MODULUS);
    uint64_t begun_ms = clock_boot_ms();
    struct progress p = {.moved_ms = begun_ms};
    filler_write(f);
    cluster_wait(c, "F passes all, and the bad rows are in quarantine", MANY_WAIT_MS, all_passed, &p);
    struct filler_numbers n = filler_join(f);
    assert_int_equal(n.outcomes[FILLER_ACKNOWLEDGED], MANY);
    /* Asked again: the writers may have been still at work when it looked so. */
    cluster_wait(c, "F passes all, and the bad rows are in quarantine", MANY_WAIT_MS, all_passed, &p);
    say("  after %" PRIu64 " ms F has passed all, with %" PRId64
        " statements that wrote rows; F, or the quarantine, "
        "stood still for %" PRIu64 " ms at most",
        clock_boot_ms() - begun_ms, bad_rows_tries(conn), p.longest_ms);
    assert_true(p.longest_ms < STALL_MAX_MS);
    wait_quarantined(c, conn, MANY / MANY_MODULUS);
    assert_int_equal(many_right_rows(conn), MANY - MANY / MANY_MODULUS);
    assert_int_equal(rows_like(conn, "entry", "many:"), MANY - MANY / MANY_MODULUS);
    assert_int_equal(
        sql_number_or_fail(conn, "SELECT count(*) FROM wb.quarantine JOIN bad_rows.named USING (key)"),
        MANY / MANY_MODULUS);
    expect_all_read(f);

    say("the constraint is dropped");
    bad_rows_forgive(conn);
    char output[OUTPUT_BYTES];
    program_wbclient_or_fail(
        c, (const char *const[]){"quarantine", "retry", "--all", NULL}, output, sizeof output);
    wait_quarantined(c, conn, 0);
    assert_int_equal(many_right_rows(conn), MANY);
    PQfinish(conn);
    filler_destroy(f);
    s->passed = true;
}

/* ---- What becomes of a refused key ---- */

static void expect_refused_when_flushed(struct wbcache *cache, const char *key, const char *value)
{
    const struct wbcache_op op = {.kind = WBCACHE_OP_SET,
        .key = key,
        .key_len = strlen(key),
        .value = value,
        .value_len = strlen(value),
        .level = WBCACHE_FLUSHED};
    struct wbcache_result result;
    int code = wbcache_do(cache, &op, &result);
    say("  a write of %s that is to be answered when it is flushed: %s: %s", key, wbcache_code_name(code),
        wbcache_errmsg(cache));
    assert_int_equal(code, WBCACHE_QUARANTINED);
    assert_true(result.version != 0);
}

/* More keys than memory holds go through the cache. */
static void press(struct cluster *c)
{
    struct filler *f = filler_create(&(struct filler_config){.cluster = c->addresses,
        .prefix = "press",
        .keys = PRESSURE_KEYS,
        .value_bytes = PRESSURE_VALUE_BYTES,
        .threads = 2,
        .pipeline = 128,
        .deadline_ms = MANY_WAIT_MS});
    filler_write(f);
    struct filler_numbers n = filler_join(f);
    filler_destroy(f);
    assert_int_equal(n.outcomes[FILLER_ACKNOWLEDGED], PRESSURE_KEYS);
    struct group_sums sums;
    group_sums_wait(c, &sums);
    say("  %d keys of %d bytes were written; the leaders evicted %" PRIu64, PRESSURE_KEYS,
        PRESSURE_VALUE_BYTES, sums.evicted);
    assert_true(sums.evicted > 0);
}

static const char *const refused_keys[] = {
    "care:flushed", "care:newer", "care:deleted", "care:drop", "care:retry"};
enum { REFUSED_KEYS = sizeof refused_keys / sizeof *refused_keys };

static void expect_listed(struct cluster *c)
{
    char output[OUTPUT_BYTES];
    program_wbclient_or_fail(c, (const char *const[]){"quarantine", "list", NULL}, output, sizeof output);
    for (unsigned i = 0; i < REFUSED_KEYS; i++) {
        expect_in_words(output, refused_keys[i]);
    }
    expect_in_words(output, BAD_ROWS_SQLSTATE);
    program_wbclient_or_fail(
        c, (const char *const[]){"quarantine", "show", "care:retry", NULL}, output, sizeof output);
    expect_in_words(output, BAD_ROWS_MESSAGE);
    program_wbclient_or_fail(
        c, (const char *const[]){"key-status", "care:retry", NULL}, output, sizeof output);
    expect_in_words(output, "quarantined");
    program_wbclient_or_fail(c, (const char *const[]){"status", NULL}, output, sizeof output);
    expect_in_words(output, "quarantine");
}

static void a_refused_key_is_kept_until_something_better_comes(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    cluster_start(c, &(struct cluster_options){.settings = {NO_RETRIES, "limits.memory_max=16MiB"}});
    PGconn *conn = sql_connect_or_fail(c->database);
    bad_rows_install(conn);
    struct wbcache *cache = open_cache(c);
    set_or_fail(cache, "care:drop", "good before");
    assert_int_equal(wbcache_flush(cache), WBCACHE_OK);
    expect_row(conn, "care:drop", "good before");

    say("%d keys get values that PostgreSQL refuses", REFUSED_KEYS);
    for (unsigned i = 0; i < REFUSED_KEYS; i++) {
        set_or_fail(cache, refused_keys[i], BAD_ROWS_VALUE "first");
    }
    wait_quarantined(c, conn, REFUSED_KEYS);
    assert_int_equal(wbcache_flush(cache), WBCACHE_OK); /* F has passed them */
    expect_row(conn, "care:drop", "good before");
    expect_row(conn, "care:retry", NULL);
    expect_listed(c);
    expect_refused_when_flushed(cache, "care:flushed", BAD_ROWS_VALUE "second");
    expect_read(cache, "care:flushed", BAD_ROWS_VALUE "second");

    say("a good value, and a delete, take the place of refused ones");
    set_or_fail(cache, "care:newer", "good after all");
    assert_int_equal(wbcache_del(cache, "care:deleted", strlen("care:deleted"), NULL), WBCACHE_OK);
    wait_quarantined(c, conn, REFUSED_KEYS - 2);
    expect_row(conn, "care:newer", "good after all");
    expect_row(conn, "care:deleted", NULL);
    expect_read(cache, "care:deleted", NULL);

    say("memory gets full");
    press(c);
    expect_read(cache, "care:flushed", BAD_ROWS_VALUE "second");
    expect_read(cache, "care:drop", BAD_ROWS_VALUE "first");
    expect_read(cache, "care:retry", BAD_ROWS_VALUE "first");

    say("one is given up: the key is again what PostgreSQL has");
    char output[OUTPUT_BYTES];
    program_wbclient_or_fail(
        c, (const char *const[]){"quarantine", "drop", "care:drop", "--yes", NULL}, output, sizeof output);
    expect_read(cache, "care:drop", "good before");
    wait_quarantined(c, conn, REFUSED_KEYS - 3);

    say("the constraint is dropped, and the rest is tried again");
    bad_rows_forgive(conn);
    program_wbclient_or_fail(
        c, (const char *const[]){"quarantine", "retry", "--all", NULL}, output, sizeof output);
    wait_quarantined(c, conn, 0);
    expect_row(conn, "care:flushed", BAD_ROWS_VALUE "second");
    expect_row(conn, "care:retry", BAD_ROWS_VALUE "first");
    expect_row(conn, "care:drop", "good before");
    expect_read(cache, "care:retry", BAD_ROWS_VALUE "first");
    assert_int_equal(wbcache_flush(cache), WBCACHE_OK);
    PQfinish(conn);
    wbcache_close(cache);
    s->passed = true;
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 0, 0);
    const struct CMUnitTest tests[] = {
        scenario_test(one_bad_row_of_a_thousand_costs_only_itself, &options),
        scenario_test(a_thousand_bad_rows_of_a_hundred_thousand_stall_nothing, &options),
        scenario_test(a_refused_key_is_kept_until_something_better_comes, &options),
    };
    return cmocka_run_group_tests_name("bad_rows", tests, NULL, NULL);
}
