/* Batches with rows that the database refuses, against a real server: the bad ones are found, the others are
 * written, in few tries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "flush/flush_error.h"
#include "flush/flusher_probe.h"
#include "flush/pg_test_faults.h"
#include "proto/base/alloc.h"

static struct pg_test_server server;
static const struct flush_note nothing_to_say;

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

/* An empty database, claimed by cluster 1 and taken for group 0. Values that begin with "bad" are refused. */
static struct flush_identity open_taken(struct probe *p, const char *dsn)
{
    struct flush_identity id = probe_cluster(1, 0, 0);
    execute("DROP SCHEMA IF EXISTS wb CASCADE");
    probe_open(p, dsn, 0, NULL);
    probe_claim(p, &id, FLUSH_DB_EMPTY, NULL);
    assert_int_equal(probe_next(p), PROBE_CLAIMED);
    probe_take(p, &id, 1);
    assert_int_equal(probe_next(p), PROBE_TAKEN);
    execute("ALTER TABLE wb.entry ADD CONSTRAINT no_bad CHECK (substr(value, 1, 3) <> 'bad')");
    return id;
}

static void finish(struct probe *p, uint64_t batch)
{
    probe_finish(p, &nothing_to_say, NULL);
    probe_assert_committed(p, batch);
    assert_int_equal(fence_batch(), batch);
}

static void assert_fault(
    const struct probe *p, uint32_t i, const char *key, const char *sqlstate, const char *words)
{
    const struct probe_fault *fault = &p->faults[i];
    if (strcmp(fault->key, key) != 0 || strcmp(fault->sqlstate, sqlstate) != 0 ||
        strstr(fault->message, words) == NULL) {
        fail_msg("%s %s: %s", fault->key, fault->sqlstate, fault->message);
    }
}

/* ---- what it costs ---- */

/* The tries for rows 1 to @n, of which those are bad for which the SQL condition @bad on i holds; rolled
 * back. Checks that exactly these are found. */
static int64_t tries(unsigned n, const char *bad)
{
    char sql[2048];
    char *pattern = flush_error_row_pattern();
    snprintf(sql, sizeof sql,
        "BEGIN;"
        "CREATE TEMP TABLE r ON COMMIT DROP AS SELECT i, int4send(i) AS key, %s AS bad"
        " FROM generate_series(1, %u) AS i;"
        "CREATE TEMP TABLE found ON COMMIT DROP AS SELECT f.* FROM (SELECT array_agg(key ORDER BY i) AS keys,"
        " array_agg(CASE WHEN bad THEN 'bad'::bytea ELSE '' END ORDER BY i) AS vals,"
        " array_agg(i::bigint ORDER BY i) AS versions, array_agg(NULL::timestamptz) AS expires FROM r) AS a,"
        " wb.flush_isolate(a.keys, a.vals, a.versions, a.expires, '{}', '{}', '%s', false, 4) AS f;"
        "SELECT CASE WHEN (SELECT coalesce(array_agg(key ORDER BY i), '{}') FROM r WHERE bad) = bad_keys"
        " AND (SELECT count(*) FROM r WHERE NOT bad) = (SELECT count(*) FROM wb.entry) THEN tries ELSE -1 END"
        " FROM found",
        bad, n, pattern);
    free(pattern);
    int64_t t = number(sql);
    assert_true(t > 0);
    return t;
}

static void one_bad_row_of_a_thousand_takes_at_most_20_tries_after_the_first(void **state)
{
    (void)state;
    struct probe p;
    open_taken(&p, server.dsn);
    int64_t most = 0;
    for (unsigned at = 1; at <= 1000; at += 27) {
        char bad[32];
        snprintf(bad, sizeof bad, "i = %u", at);
        int64_t t = tries(1000, bad);
        most = t > most ? t : most;
    }
    assert_true(most <= 1 + 20);
    /* Each left half goes well, down to the last three rows. */
    assert_int_equal(tries(1000, "i = 1000"), 1 + 8 + 3);
    assert_int_equal(tries(1000, "i = 1"), 1 + 20);
    assert_int_equal(tries(1000, "false"), 1);
    assert_int_equal(tries(1, "true"), 1);
    probe_close(&p);
}

/* Each bad row pays for its own way down, and shares the upper part of it with others. */
static void the_tries_grow_with_the_bad_rows_not_with_the_batch(void **state)
{
    (void)state;
    struct probe p;
    open_taken(&p, server.dsn);
    assert_true(tries(1000, "i IN (250, 750)") <= 1 + 2 * 20);
    assert_true(tries(1000, "i % 100 = 50") <= 1 + 10 * 2 * 7 + 2 * 10);
    /* Down to the first handful, and from there on row by row. */
    assert_int_equal(tries(1000, "true"), 1 + 8 + 1000);
    assert_true(tries(1000, "i % 10 = 5") <= 1 + 3 * 20 + 1000);
    probe_close(&p);
}

/* ---- what is found ---- */

static void a_bad_row_is_named_with_postgresqls_words_and_the_others_are_written(void **state)
{
    (void)state;
    struct probe p;
    open_taken(&p, server.dsn);
    struct flush_row rows[] = {probe_row("a", "fine", 1), probe_row("b", "bad", 2), probe_row("c", "fine", 3),
        probe_row("d", "bad", 4)};
    probe_isolate(&p, 5, 0, rows, 4, 2);
    assert_fault(&p, 0, "b", "23514", "violates check constraint \"no_bad\"; Failing row contains (\\x62");
    assert_fault(&p, 1, "d", "23514", "violates check constraint");
    assert_int_equal(number("SELECT count(*) FROM wb.entry"), 0); /* not yet */
    finish(&p, 5);
    assert_int_equal(number("SELECT count(*) FROM wb.entry WHERE value = 'fine'"), 2);
    /* The next one is as any other. */
    struct flush_row row = probe_row("b", "better", 6);
    probe_send(&p, 6, 5, &row, 1);
    probe_assert_committed(&p, 6);
    probe_close(&p);
}

/* A user's trigger names his own tables as in any session of the role: in ordinary batches and in isolating
 * ones. */
static void a_users_trigger_finds_its_tables_in_every_kind_of_batch(void **state)
{
    (void)state;
    struct probe p;
    open_taken(&p, server.dsn);
    execute("DROP TABLE IF EXISTS public.audit; CREATE TABLE public.audit (key bytea);"
            "CREATE FUNCTION wb.note_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " INSERT INTO audit VALUES (NEW.key); RETURN NULL; END $$;"
            "CREATE TRIGGER note_it AFTER INSERT ON wb.entry FOR EACH ROW EXECUTE FUNCTION wb.note_it()");
    struct flush_row ordinary = probe_row("a", "fine", 1);
    probe_send(&p, 2, 0, &ordinary, 1);
    probe_assert_committed(&p, 2);
    struct flush_row rows[] = {probe_row("b", "bad", 2), probe_row("c", "fine", 3)};
    probe_isolate(&p, 5, 2, rows, 2, 1);
    finish(&p, 5);
    assert_int_equal(number("SELECT count(*) FROM public.audit"), 2);
    execute("DROP TABLE public.audit");
    probe_close(&p);
}

static void deletions_are_isolated_too(void **state)
{
    (void)state;
    struct probe p;
    open_taken(&p, server.dsn);
    struct flush_row rows[] = {probe_row("a", "1", 1), probe_row("b", "2", 2), probe_row("c", "3", 3),
        probe_row("d", "4", 4), probe_row("e", "5", 5)};
    probe_send(&p, 2, 0, rows, 5);
    probe_assert_committed(&p, 2);
    execute(
        "CREATE TABLE wb.child (parent bytea REFERENCES wb.entry); INSERT INTO wb.child VALUES ('b'), ('d')");
    for (int i = 0; i < 5; i++) {
        rows[i].deleted = i != 2;
        rows[i].value = bytes_from_text(i == 2 ? "bad" : "");
    }
    probe_isolate(&p, 3, 2, rows, 5, 3);
    assert_fault(&p, 0, "c", "23514", "no_bad");
    assert_fault(&p, 1, "b", "23503", "still referenced from table \"child\"");
    assert_fault(&p, 2, "d", "23503", "still referenced");
    finish(&p, 3);
    assert_int_equal(number("SELECT count(*) FROM wb.entry WHERE key IN ('b', 'c', 'd')"), 3);
    assert_int_equal(number("SELECT count(*) FROM wb.entry"), 3);
    /* Nothing else than deletions; and nothing at all. */
    for (int i = 0; i < 5; i++) {
        rows[i].deleted = true;
    }
    probe_isolate(&p, 4, 3, rows, 5, 2);
    finish(&p, 4);
    assert_int_equal(number("SELECT count(*) FROM wb.entry"), 2);
    probe_isolate(&p, 5, 4, NULL, 0, 0);
    finish(&p, 5);
    probe_close(&p);
}

static void a_constraint_that_waits_for_the_commit_is_found_before(void **state)
{
    (void)state;
    struct probe p;
    struct flush_identity id = open_taken(&p, server.dsn);
    execute(
        "CREATE FUNCTION wb.refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'late: %', NEW.value; END $$;"
        "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT OR UPDATE ON wb.entry DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW WHEN (NEW.value = 'late') EXECUTE FUNCTION wb.refuse()");
    struct flush_row rows[] = {probe_row("a", "late", 1), probe_row("b", "fine", 2)};
    probe_send(&p, 2, 0, rows, 2);
    probe_assert_failed(&p, FLUSH_ERROR_ROW, "late: ");
    assert_string_equal(p.error.sqlstate, "P0001");
    probe_take(&p, &id, 1);
    assert_int_equal(probe_next(&p), PROBE_TAKEN);
    probe_isolate(&p, 2, 0, rows, 2, 1);
    assert_fault(&p, 0, "a", "P0001", "late: ");
    finish(&p, 2);
    assert_int_equal(number("SELECT count(*) FROM wb.entry WHERE key = 'b'"), 1);
    assert_int_equal(number("SELECT count(*) FROM wb.entry"), 1);
    probe_close(&p);
}

/* Of two that exclude each other only one is refused. */
static void a_row_is_tried_beside_those_that_were_written_before(void **state)
{
    (void)state;
    struct probe p;
    open_taken(&p, server.dsn);
    execute("CREATE UNIQUE INDEX ON wb.entry (value)");
    struct flush_row rows[] = {
        probe_row("a", "same", 1), probe_row("b", "other", 2), probe_row("c", "same", 3)};
    probe_isolate(&p, 2, 0, rows, 3, 1);
    assert_fault(&p, 0, "c", "23505", "duplicate key value violates unique constraint");
    finish(&p, 2);
    assert_int_equal(number("SELECT count(*) FROM wb.entry"), 2);
    probe_close(&p);
}

/* A statement that was refused as a whole is no proof against any row of it. */
static void what_passes_alone_is_not_refused(void **state)
{
    (void)state;
    struct probe p;
    open_taken(&p, server.dsn);
    execute("CREATE FUNCTION wb.few() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN IF (SELECT count(*) FROM new_rows) > 1 THEN RAISE EXCEPTION 'one at a time'; END IF;"
            " RETURN NULL; END $$;"
            "CREATE TRIGGER few AFTER INSERT ON wb.entry REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT"
            " EXECUTE FUNCTION wb.few()");
    struct flush_row rows[] = {probe_row("a", "1", 1), probe_row("b", "2", 2), probe_row("c", "3", 3)};
    probe_isolate(&p, 2, 0, rows, 3, 0);
    finish(&p, 2);
    assert_int_equal(number("SELECT count(*) FROM wb.entry"), 3);
    probe_close(&p);
}

/* A failed ASSERT is not among WHEN OTHERS: without its own name the batch would never get through. */
static void a_failed_assertion_is_a_refusal(void **state)
{
    (void)state;
    struct probe p;
    open_taken(&p, server.dsn);
    execute("CREATE FUNCTION wb.check() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN ASSERT NEW.value <> 'odd', 'value is odd'; RETURN NULL; END $$;"
            "CREATE TRIGGER c AFTER INSERT ON wb.entry FOR EACH ROW EXECUTE FUNCTION wb.check()");
    struct flush_row rows[] = {probe_row("a", "odd", 1), probe_row("b", "2", 2)};
    probe_isolate(&p, 2, 0, rows, 2, 1);
    assert_fault(&p, 0, "a", "P0004", "value is odd");
    finish(&p, 2);
    probe_close(&p);
}

/* ---- what is not a row's ---- */

static void an_error_that_is_no_rows_ends_the_batch_and_accuses_nobody(void **state)
{
    (void)state;
    static const struct {
        const char *sqlstate;
        enum flush_error_class class;
    } cases[] = {
        {"40001", FLUSH_ERROR_TRANSIENT}, {"53100", FLUSH_ERROR_OUTAGE}, {"42501", FLUSH_ERROR_HALT}};
    struct probe p;
    struct flush_identity id = open_taken(&p, server.dsn);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char sql[512];
        snprintf(sql, sizeof sql,
            "CREATE OR REPLACE FUNCTION wb.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE EXCEPTION USING ERRCODE = '%s', MESSAGE = 'not the row'; END $$;"
            "CREATE OR REPLACE TRIGGER fail BEFORE INSERT ON wb.entry FOR EACH ROW WHEN (NEW.key = 'b')"
            " EXECUTE FUNCTION wb.fail()",
            cases[i].sqlstate);
        execute(sql);
        struct flush_row rows[] = {probe_row("a", "bad", 1), probe_row("b", "2", 2), probe_row("c", "3", 3)};
        struct flush_batch batch;
        flush_batch_init(&batch);
        flush_batch_build(&batch, 2, 0, rows, 3);
        batch.isolate = true;
        pg_flusher_ops.send(p.flusher, &batch);
        flush_batch_deinit(&batch);
        probe_assert_failed(&p, cases[i].class, "not the row");
        assert_string_equal(p.error.sqlstate, cases[i].sqlstate);
        assert_int_equal(number("SELECT count(*) FROM wb.entry"), 0);
        assert_int_equal(fence_batch(), 0);
        probe_take(&p, &id, 1);
        assert_int_equal(probe_next(&p), PROBE_TAKEN);
    }
    probe_close(&p);
}

/* Isolating would find nothing, for ever. */
static void a_refusal_that_no_row_can_be_blamed_for_halts(void **state)
{
    (void)state;
    struct probe p;
    struct flush_identity id = open_taken(&p, server.dsn);
    execute("ALTER TABLE wb.flush_state ADD CONSTRAINT mine CHECK (last_batch < 3)");
    struct flush_row row = probe_row("a", "1", 1);
    probe_send(&p, 3, 0, &row, 1);
    probe_assert_failed(&p, FLUSH_ERROR_HALT, "no row of the batch is at fault");
    assert_string_equal(p.error.sqlstate, "23514");
    execute("ALTER TABLE wb.flush_state DROP CONSTRAINT mine; ALTER TABLE wb.quarantine ADD CHECK (attempts "
            "> 5)");
    probe_take(&p, &id, 1);
    assert_int_equal(probe_next(&p), PROBE_TAKEN);
    row = probe_row("a", "bad", 1);
    probe_isolate(&p, 3, 0, &row, 1, 1);
    struct flush_quarantined shown = {
        .key = row.key, .value = row.value, .sqlstate = "23514", .message = "no"};
    probe_finish(&p, &nothing_to_say, &(struct flush_mirror){.rows = &shown, .n = 1});
    probe_assert_failed(&p, FLUSH_ERROR_HALT, "batch 3: ");
    assert_int_equal(fence_batch(), 0);
    execute("ALTER TABLE wb.quarantine DROP CONSTRAINT quarantine_attempts_check");
    probe_take(&p, &id, 1);
    assert_int_equal(probe_next(&p), PROBE_TAKEN);
    probe_isolate(&p, 3, 0, &row, 1, 1);
    probe_finish(&p, &nothing_to_say, &(struct flush_mirror){.rows = &shown, .n = 1});
    probe_assert_committed(&p, 3);
    assert_int_equal(number("SELECT count(*) FROM wb.quarantine WHERE key = 'a' AND value = 'bad'"), 1);
    probe_close(&p);
}

/* ---- what becomes of it ---- */

static void an_isolated_batch_that_is_not_finished_leaves_nothing(void **state)
{
    (void)state;
    struct probe p;
    struct flush_identity id = open_taken(&p, server.dsn);
    struct flush_row rows[] = {probe_row("a", "1", 1), probe_row("b", "bad", 2)};
    probe_isolate(&p, 2, 0, rows, 2, 1);
    probe_disconnect(&p);
    probe_take(&p, &id, 1); /* waits for the other transaction's end */
    assert_int_equal(probe_next(&p), PROBE_TAKEN);
    assert_int_equal(p.row.last_batch, 0);
    assert_int_equal(number("SELECT count(*) FROM wb.entry"), 0);
    /* From inside the event, too. */
    p.disconnect_at_once = true;
    probe_isolate(&p, 2, 0, rows, 2, 1);
    probe_take(&p, &id, 1);
    assert_int_equal(probe_next(&p), PROBE_TAKEN);
    assert_int_equal(p.row.last_batch, 0);
    probe_close(&p);
}

/* The old leader dies in the middle of the bisection, or while the log has not said yet what to do. */
static void the_next_leader_isolates_afresh(void **state)
{
    (void)state;
    struct probe old, new;
    struct flush_identity id = open_taken(&old, server.dsn);
    struct flush_row rows[] = {probe_row("a", "1", 1), probe_row("b", "bad", 2), probe_row("c", "3", 3)};
    execute("CREATE FUNCTION wb.wait() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM pg_advisory_xact_lock(77); RETURN NEW; END $$;"
            "CREATE TRIGGER wait BEFORE INSERT ON wb.entry FOR EACH ROW WHEN (NEW.key = 'c')"
            " EXECUTE FUNCTION wb.wait()");
    PGconn *holder = PQconnectdb(server.dsn);
    PQclear(PQexec(holder, "SELECT pg_advisory_lock(77)"));
    struct flush_batch batch;
    flush_batch_init(&batch);
    flush_batch_build(&batch, 2, 0, rows, 3);
    batch.isolate = true;
    pg_flusher_ops.send(old.flusher, &batch);
    flush_batch_deinit(&batch);
    while (number("SELECT count(*) FROM pg_locks WHERE NOT granted") < 1) {
        probe_turn(&old);
    }
    assert_true(number("SELECT count(pg_terminate_backend(pid, 30000)) FROM pg_stat_activity"
                       " WHERE application_name LIKE 'wbcache%'") >= 1);
    probe_assert_failed(&old, FLUSH_ERROR_OUTAGE, "terminating connection");
    PQfinish(holder);
    probe_open(&new, server.dsn, 0, NULL);
    probe_take(&new, &id, 2);
    assert_int_equal(probe_next(&new), PROBE_TAKEN);
    assert_int_equal(new.row.last_batch, 0);
    assert_int_equal(number("SELECT count(*) FROM wb.entry"), 0);
    probe_isolate(&new, 4, 0, rows, 3, 1);
    assert_fault(&new, 0, "b", "23514", "no_bad");
    finish(&new, 4);
    probe_close(&old);
    probe_close(&new);
}

static void the_flush_goes_on_once_the_cause_is_gone(void **state)
{
    (void)state;
    struct probe p;
    open_taken(&p, server.dsn);
    struct flush_row row = probe_row("a", "bad", 1);
    probe_isolate(&p, 2, 0, &row, 1, 1);
    finish(&p, 2);
    execute("ALTER TABLE wb.entry DROP CONSTRAINT no_bad");
    probe_isolate(&p, 3, 2, &row, 1, 0);
    finish(&p, 3);
    assert_int_equal(number("SELECT count(*) FROM wb.entry WHERE value = 'bad'"), 1);
    probe_close(&p);
}

static void an_isolating_batch_that_is_cut_anywhere_is_there_whole_or_not_at_all(void **state)
{
    (void)state;
    char dsn[PG_TEST_FAULTS_DSN_BYTES];
    struct pg_test_faults *faults = pg_test_faults_start(&server);
    assert_non_null(faults);
    pg_test_faults_dsn(faults, dsn);
    struct probe p;
    struct flush_identity id = open_taken(&p, dsn);
    uint64_t last = 0;
    unsigned isolated = 0, committed = 0, lost = 0;
    for (int side = PG_TEST_CLIENT; side <= PG_TEST_SERVER; side++) {
        bool struck = true;
        struct pg_fault fault = {.place = PG_FAULT_AFTER_MESSAGE, .from = side, .cut = true};
        for (fault.position = 1; struck; fault.position++) {
            struct flush_row rows[] = {probe_row("a", "1", last + 1), probe_row("b", "bad", last + 1)};
            struct flush_quarantined shown = {.key = rows[1].key,
                .value = rows[1].value,
                .version = last + 1,
                .sqlstate = "23514",
                .message = ""};
            struct flush_batch batch;
            flush_batch_init(&batch);
            flush_batch_build(&batch, last + 1, last, rows, 2);
            batch.isolate = true;
            pg_test_faults_arm(faults, &fault);
            pg_flusher_ops.send(p.flusher, &batch);
            flush_batch_deinit(&batch);
            enum probe_event event = probe_next(&p);
            bool told = false;
            if (event == PROBE_ISOLATED) {
                isolated++;
                assert_int_equal(p.n_faults, 1);
                if (p.seen == p.events) { /* not cut at the same moment */
                    probe_finish(&p, &nothing_to_say, &(struct flush_mirror){.rows = &shown, .n = 1});
                }
                event = probe_next(&p);
                told = event == PROBE_COMMITTED;
            }
            assert_true(told || event == PROBE_FAILED);
            if (p.seen < p.events) { /* told, and then the end of the connection */
                assert_int_equal(probe_next(&p), PROBE_FAILED);
            }
            committed += told;
            struck = pg_test_faults_struck(faults);
            probe_take(&p, &id, 1);
            assert_int_equal(probe_next(&p), PROBE_TAKEN);
            assert_true(p.row.last_batch == last + 1 || (p.row.last_batch == last && !told));
            lost += p.row.last_batch > last && !told;
            last = p.row.last_batch;
            char sql[256];
            snprintf(sql, sizeof sql,
                "SELECT count(*) FROM wb.entry AS e, wb.quarantine AS q WHERE e.key = 'a' AND q.key = 'b'"
                " AND e.version = %llu AND q.version = %llu",
                (unsigned long long)last, (unsigned long long)last);
            assert_int_equal(number(sql), last == 0 ? 0 : 1);
            p.events = p.seen = 0;
        }
    }
    /* It was cut before the isolation, between it and the COMMIT, and between the COMMIT and its answer. */
    assert_true(isolated > committed && committed >= 2 && lost >= 1);
    probe_close(&p);
    pg_test_faults_stop(faults);
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
        cmocka_unit_test(one_bad_row_of_a_thousand_takes_at_most_20_tries_after_the_first),
        cmocka_unit_test(the_tries_grow_with_the_bad_rows_not_with_the_batch),
        cmocka_unit_test(a_users_trigger_finds_its_tables_in_every_kind_of_batch),
        cmocka_unit_test(a_bad_row_is_named_with_postgresqls_words_and_the_others_are_written),
        cmocka_unit_test(deletions_are_isolated_too),
        cmocka_unit_test(a_constraint_that_waits_for_the_commit_is_found_before),
        cmocka_unit_test(a_row_is_tried_beside_those_that_were_written_before),
        cmocka_unit_test(what_passes_alone_is_not_refused),
        cmocka_unit_test(a_failed_assertion_is_a_refusal),
        cmocka_unit_test(an_error_that_is_no_rows_ends_the_batch_and_accuses_nobody),
        cmocka_unit_test(a_refusal_that_no_row_can_be_blamed_for_halts),
        cmocka_unit_test(an_isolated_batch_that_is_not_finished_leaves_nothing),
        cmocka_unit_test(the_next_leader_isolates_afresh),
        cmocka_unit_test(the_flush_goes_on_once_the_cause_is_gone),
        cmocka_unit_test(an_isolating_batch_that_is_cut_anywhere_is_there_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
