/* What the fenced transactions say about the cluster, against a real server: the columns of the fence row,
 * the view over them, the table of what is in quarantine. */
#include <setjmp.h>
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

static void assert_text(const char *sql, const char *expected)
{
    char *text = pg_test_server_query(&server, sql);
    assert_non_null(text);
    assert_string_equal(text, expected);
    free(text);
}

static struct flush_identity open_taken(struct probe *p)
{
    struct flush_identity id = probe_cluster(1, 0, 0);
    execute("DROP SCHEMA IF EXISTS wb CASCADE");
    probe_open(p, server.dsn, 0, NULL);
    probe_claim(p, &id, FLUSH_DB_EMPTY, NULL);
    assert_int_equal(probe_next(p), PROBE_CLAIMED);
    probe_take(p, &id, 1);
    assert_int_equal(probe_next(p), PROBE_TAKEN);
    return id;
}

static void note(
    struct probe *p, const struct flush_note *note, const struct flush_mirror *mirror, uint64_t last)
{
    probe_note(p, note, mirror, last);
    if (probe_next(p) != PROBE_NOTED) {
        fail_msg("%s", p->error.message);
    }
}

static int64_t server_us(void)
{
    return number("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint");
}

/* 2026-01-01 00:00:00 UTC, in seconds since 1970. */
enum { T = 1767225600 };

static void a_batch_says_what_its_note_holds_and_hears_the_servers_clock(void **state)
{
    (void)state;
    struct probe p;
    int64_t before = server_us();
    open_taken(&p);
    int64_t taken = p.row.clock_us;
    assert_true(before <= taken && taken <= server_us());
    struct flush_row row = probe_row("k", "v", 1);
    struct flush_batch batch;
    flush_batch_init(&batch);
    flush_batch_build(&batch, 3, 0, &row, 1);
    batch.note = (struct flush_note){
        .fresh_as_of_us = (int64_t)T * 1000000 + 7, .quarantined = 4, .lost = 5, .recovering = true};
    pg_flusher_ops.send(p.flusher, &batch);
    flush_batch_deinit(&batch);
    probe_assert_committed(&p, 3);
    assert_true(taken <= p.clock_us && p.clock_us <= server_us());
    assert_int_equal(
        number("SELECT count(*) FROM wb.flush_state WHERE group_id = 0 AND last_batch = 3 AND quarantined = 4"
               " AND lost = 5 AND recovering AND fresh_as_of = '2026-01-01 00:00:00.000007+00'"),
        1);
    assert_int_equal(
        number("SELECT count(*) FROM wb.flush_state WHERE group_id <> 0 AND fresh_as_of IS NULL"), 2);
    /* The next one knows no newer time. */
    probe_send(&p, 4, 3, NULL, 0);
    probe_assert_committed(&p, 4);
    assert_int_equal(
        number("SELECT count(*) FROM wb.flush_state WHERE group_id = 0 AND last_batch = 4 AND quarantined = 0"
               " AND lost = 0 AND NOT recovering AND fresh_as_of = '2026-01-01 00:00:00.000007+00'"),
        1);
    probe_close(&p);
}

static void a_note_moves_nothing_but_what_it_says(void **state)
{
    (void)state;
    struct probe p;
    open_taken(&p);
    int64_t before = server_us();
    note(&p, &(struct flush_note){.fresh_as_of_us = (int64_t)T * 1000000}, NULL, 0);
    assert_true(before <= p.clock_us && p.clock_us <= server_us());
    /* Behind batches that are under way, and before others. */
    struct flush_row row = probe_row("k", "v", 1);
    probe_send(&p, 2, 0, &row, 1);
    probe_send(&p, 3, 2, &row, 1);
    probe_note(&p, &(struct flush_note){.quarantined = 1}, NULL, 3);
    probe_send(&p, 4, 3, NULL, 0);
    probe_assert_committed(&p, 2);
    probe_assert_committed(&p, 3);
    assert_int_equal(probe_next(&p), PROBE_NOTED);
    probe_assert_committed(&p, 4);
    note(&p, &(struct flush_note){.quarantined = 1}, NULL, 4);
    assert_text("SELECT last_batch || ' ' || quarantined || ' ' || (fresh_as_of = '2026-01-01 00:00:00+00')"
                " FROM wb.flush_state WHERE group_id = 0",
        "4 1 true");
    probe_close(&p);
}

static void a_note_with_another_last_batch_is_refused(void **state)
{
    (void)state;
    struct probe p;
    open_taken(&p);
    probe_note(&p, &(struct flush_note){.quarantined = 9}, NULL, 1);
    probe_assert_failed(&p, FLUSH_ERROR_PREDECESSOR, "the last one here is 0");
    assert_int_equal(number("SELECT sum(quarantined) FROM wb.flush_state"), 0);
    probe_close(&p);
}

static void an_old_leaders_note_is_fenced(void **state)
{
    (void)state;
    struct probe old, new;
    struct flush_identity id = open_taken(&old);
    probe_open(&new, server.dsn, 0, NULL);
    probe_take(&new, &id, 2);
    assert_int_equal(probe_next(&new), PROBE_TAKEN);
    probe_note(
        &old, &(struct flush_note){.fresh_as_of_us = (int64_t)T * 1000000}, &(struct flush_mirror){0}, 0);
    probe_assert_failed(&old, FLUSH_ERROR_FENCED, "held by another");
    assert_int_equal(number("SELECT count(fresh_as_of) FROM wb.flush_state"), 0);
    probe_close(&old);
    probe_close(&new);
}

/* ---- the view ---- */

static void freshness_is_that_of_the_oldest_group_and_of_none_while_one_is_unknown(void **state)
{
    (void)state;
    static const struct {
        const char *change, *row;
    } steps[] = {
        {"SELECT 1", ",3,0,0,f"},
        {"UPDATE wb.flush_state SET fresh_as_of = '2026-01-02 00:00+00' WHERE group_id < 2", ",3,0,0,f"},
        {"UPDATE wb.flush_state SET fresh_as_of = '2026-01-01 00:00+00', lost = 7 WHERE group_id = 2",
            "\"2026-01-01 00:00:00+00\",3,0,7,f"},
        {"UPDATE wb.flush_state SET quarantined = group_id + 1", "\"2026-01-01 00:00:00+00\",3,6,7,f"},
        {"UPDATE wb.flush_state SET recovering = true WHERE group_id = 1", ",3,6,7,t"},
        {"UPDATE wb.flush_state SET recovering = false", "\"2026-01-01 00:00:00+00\",3,6,7,f"},
        {"DELETE FROM wb.flush_state WHERE group_id = 0", ",2,5,7,f"},
        {"DELETE FROM wb.flush_state", ",0,0,0,f"},
    };
    struct probe p;
    open_taken(&p);
    probe_disconnect(&p);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        char row[64];
        snprintf(row, sizeof row, "(%s)", steps[i].row);
        execute(steps[i].change);
        assert_text("SET timezone = 'UTC'; SELECT f::text FROM wb.freshness AS f", row);
    }
    probe_close(&p);
}

/* ---- the quarantine ---- */

static const char mirror_text[] =
    "SET timezone = 'UTC'; SELECT coalesce(string_agg(encode(key, 'escape') || ' ' || group_id || ' ' ||"
    " coalesce(encode(value, 'escape'), CASE WHEN deleted THEN 'deleted' ELSE 'NULL' END) || ' ' || version"
    " || ' ' || sqlstate || ' ' || attempts, ', ' ORDER BY key), '') FROM wb.quarantine";

static struct flush_quarantined bad(const char *key, const char *value, uint64_t version)
{
    return (struct flush_quarantined){.key = bytes_from_text(key),
        .value = bytes_from_text(value),
        .version = version,
        .since_ms = (uint64_t)T * 1000,
        .refused_ms = (uint64_t)T * 1000 + 1500,
        .attempts = 1,
        .sqlstate = "23514",
        .message = "it's refused \xe2\x82\xac"};
}

static void a_mirror_replaces_the_groups_rows_and_no_others(void **state)
{
    (void)state;
    struct probe p;
    open_taken(&p);
    const struct flush_note two = {.quarantined = 2};
    execute("INSERT INTO wb.quarantine VALUES ('other', 1, false, 'o', 1, 9, '23505', 'm', 1, now(), now())");
    struct flush_quarantined rows[] = {bad("a", "1", 5), bad("b", "", 6), bad("c", "3", 7)};
    rows[1].deleted = true;
    note(&p, &two, &(struct flush_mirror){.rows = rows, .n = 2}, 0);
    assert_text(mirror_text, "a 0 1 5 23514 1, b 0 deleted 6 23514 1, other 1 o 9 23505 1");
    assert_int_equal(
        number("SELECT count(*) FROM wb.quarantine WHERE key = 'a' AND since = '2026-01-01 00:00+00'"
               " AND refused_at = '2026-01-01 00:00:01.5+00' AND value_bytes = 1"
               " AND message = E'it''s refused \\u20ac'"),
        1);
    /* One leaves, one changes, one comes, one stays: that one is not even written. */
    rows[1].attempts = 2;
    char *stays = pg_test_server_query(&server, "SELECT ctid FROM wb.quarantine WHERE key = 'b'");
    rows[0] = bad("b", "", 6);
    rows[0].deleted = true;
    note(&p, &two, &(struct flush_mirror){.rows = (struct flush_quarantined[]){rows[0], rows[2]}, .n = 2}, 0);
    assert_text(mirror_text, "b 0 deleted 6 23514 1, c 0 3 7 23514 1, other 1 o 9 23505 1");
    assert_text("SELECT ctid FROM wb.quarantine WHERE key = 'b'", stays);
    free(stays);
    note(&p, &two, &(struct flush_mirror){.rows = &rows[1], .n = 1}, 0);
    assert_text(mirror_text, "b 0 deleted 6 23514 2, other 1 o 9 23505 1");
    rows[2] = bad("b", "written", 8);
    note(&p, &two, &(struct flush_mirror){.rows = &rows[2], .n = 1}, 0);
    assert_text(mirror_text, "b 0 written 8 23514 1, other 1 o 9 23505 1");
    /* None is given: all stay. An empty one is given: none stays. */
    note(&p, &two, NULL, 0);
    assert_text(mirror_text, "b 0 written 8 23514 1, other 1 o 9 23505 1");
    note(&p, &(struct flush_note){0}, &(struct flush_mirror){0}, 0);
    assert_text(mirror_text, "other 1 o 9 23505 1");
    probe_close(&p);
}

/* From a time when the keys were spread over other groups. */
static void a_row_that_another_group_left_is_taken_over(void **state)
{
    (void)state;
    struct probe p;
    open_taken(&p);
    execute("INSERT INTO wb.quarantine VALUES ('a', 2, false, 'o', 1, 9, '23505', 'm', 1, now(), now())");
    struct flush_quarantined row = bad("a", "1", 5);
    note(&p, &(struct flush_note){.quarantined = 1}, &(struct flush_mirror){.rows = &row, .n = 1}, 0);
    assert_text(mirror_text, "a 0 1 5 23514 1");
    probe_close(&p);
}

static void what_the_server_said_in_bytes_of_its_own_can_be_shown_to_it(void **state)
{
    (void)state;
    struct probe p;
    open_taken(&p);
    struct flush_quarantined row = bad("a", "1", 5);
    row.message = "cut \xe2\x82";
    note(&p, &(struct flush_note){.quarantined = 1}, &(struct flush_mirror){.rows = &row, .n = 1}, 0);
    assert_text("SELECT message FROM wb.quarantine", "cut ??");
    probe_close(&p);
}

static void ten_thousand_rows_can_be_shown(void **state)
{
    (void)state;
    struct probe p;
    open_taken(&p);
    struct flush_quarantined *rows = xcalloc(FLUSH_MIRROR_MAX, sizeof *rows);
    uint8_t(*keys)[4] = xcalloc(FLUSH_MIRROR_MAX, sizeof *keys);
    for (uint32_t i = 0; i < FLUSH_MIRROR_MAX; i++) {
        store_be32(keys[i], i);
        rows[i] = bad("", "value", i);
        rows[i].key = bytes_of(keys[i], 4);
    }
    const struct flush_note many = {.quarantined = FLUSH_MIRROR_MAX};
    note(&p, &many, &(struct flush_mirror){.rows = rows, .n = FLUSH_MIRROR_MAX}, 0);
    assert_int_equal(number("SELECT count(*) FROM wb.quarantine"), FLUSH_MIRROR_MAX);
    note(&p, &many, &(struct flush_mirror){.rows = rows + 5000, .n = FLUSH_MIRROR_MAX - 5000}, 0);
    assert_int_equal(
        number("SELECT count(*) FROM wb.quarantine WHERE version >= 5000"), FLUSH_MIRROR_MAX - 5000);
    assert_int_equal(number("SELECT count(*) FROM wb.quarantine"), FLUSH_MIRROR_MAX - 5000);
    free(keys);
    free(rows);
    probe_close(&p);
}

static void a_released_flusher_takes_again(void **state)
{
    (void)state;
    struct probe p;
    struct flush_identity id = open_taken(&p);
    assert_false(pg_flusher_ops.wanted(p.flusher));
    pg_flusher_ops.release(p.flusher);
    while (number("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'wbcache node=7 group=0'") >
           0) {
        probe_turn(&p);
    }
    probe_take(&p, &id, 1);
    assert_int_equal(probe_next(&p), PROBE_TAKEN);
    note(&p, &(struct flush_note){0}, NULL, 0);
    probe_close(&p);
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
        cmocka_unit_test(a_batch_says_what_its_note_holds_and_hears_the_servers_clock),
        cmocka_unit_test(a_note_moves_nothing_but_what_it_says),
        cmocka_unit_test(a_note_with_another_last_batch_is_refused),
        cmocka_unit_test(an_old_leaders_note_is_fenced),
        cmocka_unit_test(freshness_is_that_of_the_oldest_group_and_of_none_while_one_is_unknown),
        cmocka_unit_test(a_mirror_replaces_the_groups_rows_and_no_others),
        cmocka_unit_test(a_row_that_another_group_left_is_taken_over),
        cmocka_unit_test(what_the_server_said_in_bytes_of_its_own_can_be_shown_to_it),
        cmocka_unit_test(ten_thousand_rows_can_be_shown),
        cmocka_unit_test(a_released_flusher_takes_again),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
