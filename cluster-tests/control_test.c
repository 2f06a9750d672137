/* An operator's hand on the flush: paused, limited, in batches of another size and age, by wbclient alone;
 * and what was set outlives leaders and all processes. */
#include "cluster-tests/scenario.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <jansson.h>

#include "cluster-tests/group_sums.h"
#include "cluster-tests/program.h"
#include "cluster-tests/sql.h"
#include "cluster-tests/verify.h"
#include "proto/base/alloc.h"
#include "proto/base/clock.h"
#include "proto/slot.h"

enum {
    KEYS = 60,
    MANY = 1500,
    NAME_BYTES = 48,
    VALUE_BYTES = 64,
    AWAIT_MS = 30000,
    OUTPUT_BYTES = 65536,
    QUIET_MS = 1500, /* several times the flush age, in which nothing must happen */
    RATE = 150,      /* rows a second, of one group */
    RATE_MS = 5000,
    GENEROUS = 2, /* times faster, or slower, than the rate */
    BATCH_ROWS = 10,
    BATCH_BYTES = 2000,
    AGE_MS = 2000,
    AGE_SLACK_MS = 200, /* of the leader's clock and stamps */
};

/* ---- wbclient ---- */

static void client(struct cluster *c, const char *const *words)
{
    char *output = xmalloc(OUTPUT_BYTES);
    program_wbclient_or_fail(c, words, output, OUTPUT_BYTES);
    free(output);
}

/* What is in force, as `flush status` says it: one object for each group. json_decref it. */
static json_t *status_of(struct cluster *c)
{
    char *output = xmalloc(OUTPUT_BYTES);
    program_wbclient_or_fail(
        c, (const char *const[]){"--json", "flush", "status", NULL}, output, OUTPUT_BYTES);
    json_error_t error;
    json_t *answer = json_loads(output, 0, &error);
    if (answer == NULL) {
        fail_msg("not JSON: %s: %s", error.text, output);
    }
    json_t *groups = json_incref(json_object_get(answer, "groups"));
    assert_int_equal(json_array_size(groups), c->groups);
    json_decref(answer);
    free(output);
    return groups;
}

static int64_t setting(const json_t *groups, unsigned group, const char *name)
{
    const json_t *value = json_object_get(json_object_get(json_array_get(groups, group), "settings"), name);
    if (value == NULL) {
        fail_msg("there is no setting %s", name);
    }
    return json_is_boolean(value) ? json_is_true(value) : json_integer_value(value);
}

/* ---- writing ---- */

static struct wbcache *open_cache(struct cluster *c, unsigned deadline_ms)
{
    struct wbcache *cache;
    const struct wbcache_options options = {.deadline_ms = deadline_ms};
    assert_int_equal(wbcache_open(&cache, c->addresses, &options), WBCACHE_OK);
    return cache;
}

/* Write @n keys of one slot with one call: one entry of the log. */
static void write_many(struct cluster *c, unsigned n, unsigned round)
{
    struct wbcache *cache = open_cache(c, AWAIT_MS);
    struct wbcache_item *items = xcalloc(n, sizeof *items);
    char(*texts)[NAME_BYTES + VALUE_BYTES] = xcalloc(n, sizeof *texts);
    for (unsigned i = 0; i < n; i++) {
        int name_len = snprintf(texts[i], NAME_BYTES, "{many}:%06u", i);
        int value_len = snprintf(texts[i] + NAME_BYTES, VALUE_BYTES, "%*s round %u", 40, "", round);
        items[i] = (struct wbcache_item){.key = texts[i],
            .key_len = (size_t)name_len,
            .value = texts[i] + NAME_BYTES,
            .value_len = (size_t)value_len};
    }
    int code = wbcache_mset(cache, items, n);
    if (code != WBCACHE_OK) {
        fail_msg("the writes were not acknowledged: %s: %s", wbcache_code_name(code), wbcache_errmsg(cache));
    }
    free(texts);
    free(items);
    wbcache_close(cache);
}

static unsigned group_of_many(const struct cluster *c)
{
    return slot_group(slot_of(bytes_from_text("{many}")), c->groups);
}

static void write_ledger(struct cluster *c, struct ledger *l)
{
    for (uint32_t key = 0; key < ledger_keys(l); key++) {
        char message[256];
        int code = write_one(c, l, key, AWAIT_MS, message, sizeof message);
        if (code != WBCACHE_OK) {
            fail_msg("a write was not acknowledged: %s: %s", wbcache_code_name(code), message);
        }
    }
}

static void restart_everything(struct cluster *c)
{
    for (unsigned node = 1; node <= c->nodes; node++) {
        cluster_stop_node(c, node);
    }
    cluster_start_again(c, NULL);
}

/* ---- pause ---- */

static bool groups_answer(struct cluster *c, void *data)
{
    return group_sums(c, data);
}

/* While some time passes nothing gets to the database, and no group's flushed index moves. */
static void expect_no_flush(struct cluster *c, PGconn *conn)
{
    struct group_sums before;
    struct group_sums after;
    cluster_wait(c, "every group has a leader", AWAIT_MS, groups_answer, &before);
    pass_ms(QUIET_MS);
    cluster_wait(c, "every group has a leader", AWAIT_MS, groups_answer, &after);
    assert_int_equal(sql_number_or_fail(conn, "SELECT count(*) FROM wb.entry"), 0);
    for (unsigned group = 0; group < c->groups; group++) {
        assert_int_equal(before.flushed_index[group], after.flushed_index[group]);
    }
    assert_true(after.dirty >= KEYS);
}

static void a_paused_flush_keeps_writes_from_the_database_and_nothing_from_clients(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    cluster_start(c, &(struct cluster_options){.settings = {"flush.age_ms=100"}});
    s->ledger = ledger_create("paused", KEYS);
    PGconn *conn = sql_connect_or_fail(c->database);
    client(c, (const char *const[]){"--json", "flush", "pause", NULL});
    say("paused; %d keys are written", KEYS);
    write_ledger(c, s->ledger);
    expect_no_flush(c, conn);
    verify_cache(c, s->ledger);
    struct wbcache *cache = open_cache(c, 500);
    assert_int_equal(wbcache_flush(cache), WBCACHE_NOT_FLUSHED);
    wbcache_close(cache);

    unsigned old = cluster_leader(c, 0);
    say("node %u, leader of group 0, is killed", old);
    cluster_kill(c, old);
    cluster_other_leader(c, 0, old);
    write_ledger(c, s->ledger);
    expect_no_flush(c, conn);
    cluster_restart(c, old);
    say("all nodes are restarted");
    restart_everything(c);
    expect_no_flush(c, conn);
    write_ledger(c, s->ledger);
    verify_cache(c, s->ledger);
    json_t *groups = status_of(c);
    for (unsigned group = 0; group < c->groups; group++) {
        assert_int_equal(setting(groups, group, "paused"), 1);
    }
    json_decref(groups);

    client(c, (const char *const[]){"--json", "flush", "resume", NULL});
    verify_all(c, s->ledger);
    assert_int_equal(sql_number_or_fail(conn, "SELECT count(*) FROM wb.entry"), KEYS);
    PQfinish(conn);
    s->passed = true;
}

/* ---- rate, batches, age ---- */

/* Each row that is written is noted, with its transaction and the time. */
static void note_rows(PGconn *conn)
{
    sql_run_or_fail(conn,
        "CREATE TABLE public.noted (xid bigint, at timestamptz);"
        "CREATE FUNCTION public.note_it() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
        " INSERT INTO public.noted VALUES (txid_current(), clock_timestamp()); RETURN NULL; END$$;"
        "CREATE TRIGGER note_it AFTER INSERT OR UPDATE ON wb.entry FOR EACH ROW EXECUTE FUNCTION "
        "public.note_it()");
}

static bool some_rows_are_there(struct cluster *c, void *data)
{
    (void)c;
    return sql_number_or_fail(data, "SELECT count(*) FROM public.noted") > 0;
}

static void rows_come_at_the_rate_that_was_set(struct cluster *c, PGconn *conn, const char *group)
{
    char rate[32];
    snprintf(rate, sizeof rate, "rate=%d/s", RATE);
    client(c, (const char *const[]){"--json", "flush", "set", rate, "--group", group, NULL});
    write_many(c, MANY, 1);
    cluster_wait(c, "the first rows are in the database", AWAIT_MS, some_rows_are_there, conn);
    pass_ms(RATE_MS);
    /* From PostgreSQL's clock, from the first commit to the newest, without the first one's rows. */
    int64_t rows = sql_number_or_fail(
        conn, "SELECT count(*) FROM public.noted WHERE xid > (SELECT min(xid) FROM public.noted)");
    int64_t ms = sql_number_or_fail(
        conn, "SELECT (extract(epoch FROM max(at) - min(at)) * 1000)::bigint FROM public.noted");
    assert_true(ms > RATE_MS / GENEROUS);
    int64_t per_second = rows * 1000 / ms;
    say("  rate %d/s: %" PRId64 " rows in %" PRId64 " ms, %" PRId64 " a second", RATE, rows, ms, per_second);
    assert_in_range(per_second, RATE / GENEROUS, RATE * GENEROUS);
    json_t *groups = status_of(c);
    assert_int_equal(setting(groups, group_of_many(c), "rows_per_second"), RATE);
    assert_int_equal(setting(groups, (group_of_many(c) + 1) % c->groups, "rows_per_second"), 0);
    json_decref(groups);
    client(c, (const char *const[]){"--json", "flush", "set", "rate=0", "--group", group, NULL});
    cluster_wait_clean(c, AWAIT_MS);
}

/* The rows of the largest batch in which @round's MANY keys come. */
static int64_t largest_batch(struct cluster *c, PGconn *conn, unsigned round)
{
    sql_run_or_fail(conn, "TRUNCATE public.noted");
    write_many(c, MANY / 5, round);
    cluster_wait_clean(c, AWAIT_MS);
    assert_int_equal(sql_number_or_fail(conn, "SELECT count(*) FROM public.noted"), MANY / 5);
    int64_t rows = sql_number_or_fail(
        conn, "SELECT max(n) FROM (SELECT count(*) AS n FROM public.noted GROUP BY xid) AS batches");
    say("  the largest batch has %" PRId64 " rows", rows);
    return rows;
}

static void batches_are_of_the_size_that_was_set(struct cluster *c, PGconn *conn)
{
    char rows[32];
    char bytes[32];
    snprintf(rows, sizeof rows, "batch-rows=%d", BATCH_ROWS);
    snprintf(bytes, sizeof bytes, "batch-bytes=%d", BATCH_BYTES);
    client(c, (const char *const[]){"--json", "flush", "set", rows, NULL});
    assert_int_equal(largest_batch(c, conn, 2), BATCH_ROWS);
    unsigned old = cluster_leader(c, group_of_many(c));
    say("node %u, the leader, is killed", old);
    cluster_kill(c, old);
    cluster_other_leader(c, group_of_many(c), old);
    assert_int_equal(largest_batch(c, conn, 3), BATCH_ROWS);
    cluster_restart(c, old);
    client(c, (const char *const[]){"--json", "flush", "reset", NULL});
    assert_true(largest_batch(c, conn, 4) > BATCH_ROWS);
    client(c, (const char *const[]){"--json", "flush", "set", bytes, NULL});
    int64_t by_bytes = largest_batch(c, conn, 5);
    assert_in_range(by_bytes, 2, BATCH_BYTES / 40);
    client(c, (const char *const[]){"--json", "flush", "reset", NULL});
}

static bool the_row_is_there(struct cluster *c, void *data)
{
    return some_rows_are_there(c, data);
}

static void rows_get_as_old_as_was_set(struct cluster *c, PGconn *conn)
{
    char age[32];
    snprintf(age, sizeof age, "age=%d", AGE_MS);
    client(c, (const char *const[]){"--json", "flush", "set", age, NULL});
    sql_run_or_fail(
        conn, "TRUNCATE public.noted; CREATE TABLE public.began AS SELECT clock_timestamp() AS at");
    write_many(c, 1, 6);
    cluster_wait(c, "the row is in the database", AWAIT_MS, the_row_is_there, conn);
    int64_t ms = sql_number_or_fail(conn, "SELECT (extract(epoch FROM (SELECT min(at) FROM public.noted) - "
                                          "(SELECT at FROM public.began)) * 1000)::bigint");
    say("  age %d ms: a lonely row came after %" PRId64 " ms", AGE_MS, ms);
    assert_true(ms >= AGE_MS - AGE_SLACK_MS);

    say("a row that would have waited for an hour is let go by a new age");
    client(c, (const char *const[]){"--json", "flush", "set", "age=3600000", NULL});
    sql_run_or_fail(conn, "TRUNCATE public.noted");
    write_many(c, 1, 7);
    pass_ms(QUIET_MS);
    assert_false(the_row_is_there(c, conn));
    client(c, (const char *const[]){"--json", "flush", "set", "age=50", NULL});
    cluster_wait(c, "the row is in the database", AWAIT_MS, the_row_is_there, conn);
    client(c, (const char *const[]){"--json", "flush", "reset", NULL});
}

static void expect_settings(struct cluster *c)
{
    json_t *groups = status_of(c);
    for (unsigned group = 0; group < c->groups; group++) {
        assert_int_equal(setting(groups, group, "age_ms"), 1234);
        assert_int_equal(setting(groups, group, "batch_rows"), 77);
        assert_int_equal(setting(groups, group, "batch_bytes"), 8192);
        assert_int_equal(setting(groups, group, "rows_per_second"), 500);
        assert_int_equal(setting(groups, group, "paused"), 0);
    }
    json_decref(groups);
}

static void settings_outlive_leaders_and_processes(struct cluster *c)
{
    client(c, (const char *const[]){"--json", "flush", "set", "age=1234", "batch-rows=77", "batch-bytes=8192",
                  "rate=500/s", NULL});
    expect_settings(c);
    unsigned old = cluster_leader(c, 1);
    say("node %u, leader of group 1, is killed", old);
    cluster_kill(c, old);
    cluster_other_leader(c, 1, old);
    expect_settings(c);
    cluster_restart(c, old);
    say("all nodes are restarted");
    restart_everything(c);
    expect_settings(c);
    client(c, (const char *const[]){"--json", "flush", "reset", NULL});
    json_t *groups = status_of(c);
    assert_int_equal(setting(groups, 1, "batch_rows"), 5000);
    assert_int_equal(setting(groups, 1, "rows_per_second"), 0);
    assert_int_equal(setting(groups, 1, "age_ms"), 100);
    json_decref(groups);
}

static void the_flush_does_as_it_is_told(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    cluster_start(c, &(struct cluster_options){.settings = {"flush.age_ms=100", "flush.batch_rows=5000"}});
    PGconn *conn = sql_connect_or_fail(c->database);
    note_rows(conn);
    char group[16];
    snprintf(group, sizeof group, "%u", group_of_many(c));
    rows_come_at_the_rate_that_was_set(c, conn, group);
    batches_are_of_the_size_that_was_set(c, conn);
    rows_get_as_old_as_was_set(c, conn);
    settings_outlive_leaders_and_processes(c);
    char output[1024];
    int code = program_wbclient(
        c, (const char *const[]){"flush", "set", "batch-rows=0", NULL}, output, sizeof output);
    assert_int_not_equal(code, 0);
    PQfinish(conn);
    s->passed = true;
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 0, 0);
    const struct CMUnitTest tests[] = {
        scenario_test(a_paused_flush_keeps_writes_from_the_database_and_nothing_from_clients, &options),
        scenario_test(the_flush_does_as_it_is_told, &options),
    };
    return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
