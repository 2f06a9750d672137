/* A flusher on a wire that fails: cut at every place of a flush and of a take, and a server that answers out
 * of turn. Whatever happens, the flusher says one thing, and the next take says what became of the batch. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "flush/flusher_probe.h"
#include "flush/pg_test_faults.h"
#include "proto/base/alloc.h"

/* A flush asks with five statements' three messages each, and a sync. It is answered by five statements'
 * three messages each, one row, and the sync's. */
enum { FLUSH_QUESTIONS = 5 * 3 + 1, FLUSH_ANSWERS = 5 * 3 + 2, ROWS = 2, BYTES_STEP = 13, BIG_ROWS = 32 };

static struct pg_test_server server;
static PGconn *look; /* straight to the server */

/* A flusher behind the wire, which holds the fence. */
struct bench {
    struct pg_test_faults *faults;
    struct probe probe;
    struct flush_identity id;
    uint64_t last; /* the last batch that is in the database */
};

static int64_t number(const char *sql)
{
    PGresult *result = PQexec(look, sql);
    if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK) {
        fail_msg("%s: %s", sql, PQerrorMessage(look));
    }
    int64_t n = PQntuples(result) > 0 ? strtoll(PQgetvalue(result, 0, 0), NULL, 10) : 0;
    PQclear(result);
    return n;
}

static int64_t number_of(const char *format, uint64_t value)
{
    char sql[256];
    snprintf(sql, sizeof sql, format, (unsigned long long)value);
    return number(sql);
}

static int open_bench(void **state)
{
    struct bench *b = xcalloc(1, sizeof *b);
    char dsn[PG_TEST_FAULTS_DSN_BYTES];
    b->faults = pg_test_faults_start(&server);
    assert_non_null(b->faults);
    pg_test_faults_dsn(b->faults, dsn);
    b->id = probe_cluster(1, 0, 0);
    number("DROP SCHEMA IF EXISTS wb CASCADE");
    probe_open(&b->probe, dsn, 0, NULL);
    probe_claim(&b->probe, &b->id, FLUSH_DB_EMPTY, NULL);
    assert_int_equal(probe_next(&b->probe), PROBE_CLAIMED);
    probe_take(&b->probe, &b->id, 1);
    assert_int_equal(probe_next(&b->probe), PROBE_TAKEN);
    /* All that was ever written and committed. */
    number("CREATE TABLE wb.written (version bigint);"
           "CREATE FUNCTION wb.note() RETURNS trigger LANGUAGE plpgsql AS"
           " $$ BEGIN INSERT INTO wb.written VALUES (new.version); RETURN NULL; END $$;"
           "CREATE TRIGGER note AFTER INSERT OR UPDATE ON wb.entry FOR EACH ROW EXECUTE FUNCTION wb.note()");
    *state = b;
    return 0;
}

static int close_bench(void **state)
{
    struct bench *b = *state;
    probe_close(&b->probe);
    pg_test_faults_stop(b->faults);
    free(b);
    return 0;
}

/* Batch @id: two rows whose version is the batch's number, and a row to delete. */
static void send_batch(struct bench *b, uint64_t id, uint64_t predecessor)
{
    struct flush_row rows[] = {probe_row("a", "x", id), probe_row("b", "y", id), probe_row("c", "", id)};
    rows[2].deleted = true;
    probe_send(&b->probe, id, predecessor, rows, 3);
}

/* Runs until the flusher has failed. How many batches it had committed before? */
static unsigned committed_before_it_failed(struct bench *b)
{
    unsigned committed = 0;
    enum probe_event event;
    while ((event = probe_next(&b->probe)) == PROBE_COMMITTED) {
        committed++;
        assert_true(b->probe.batches[b->probe.seen - 1] == b->last + committed);
    }
    assert_int_equal(event, PROBE_FAILED);
    assert_int_equal(b->probe.error.class, FLUSH_ERROR_OUTAGE);
    return committed;
}

/* A failure may have been told together with the event before it, or will never be. */
static void forget_a_failure(struct bench *b)
{
    if (b->probe.seen < b->probe.events) {
        assert_int_equal(probe_next(&b->probe), PROBE_FAILED);
    }
}

/* Take the fence on a new connection: all batches up to the one it names are there, once, and no other. */
static void take_and_check(struct bench *b, unsigned committed, unsigned sent)
{
    probe_take(&b->probe, &b->id, 1);
    if (probe_next(&b->probe) != PROBE_TAKEN) {
        fail_msg("%s", b->probe.error.message);
    }
    assert_int_equal(b->probe.seen, b->probe.events); /* it failed once */
    uint64_t there = b->probe.row.last_batch - b->last;
    assert_true(there >= committed && there <= sent);
    for (uint64_t id = b->last + 1; id <= b->last + sent; id++) {
        assert_int_equal(number_of("SELECT count(*) FROM wb.written WHERE version = %llu", id),
            id <= b->last + there ? ROWS : 0);
    }
    b->last += there;
    assert_int_equal(
        number_of("SELECT count(*) FROM wb.entry WHERE version = %llu", b->last), b->last == 0 ? 0 : ROWS);
    b->probe.events = b->probe.seen = 0;
}

/* Send the next batch again when it was lost, as a leader does. */
static void flush_up_to(struct bench *b, uint64_t id)
{
    while (b->last < id) {
        send_batch(b, b->last + 1, b->last);
        probe_assert_committed(&b->probe, ++b->last);
        assert_int_equal(number_of("SELECT count(*) FROM wb.written WHERE version = %llu", b->last), ROWS);
    }
}

static const struct pg_fault count_only = {.place = PG_FAULT_NOWHERE};

/* ---- the farewell ---- */

/* Between the answer of a COMMIT and that of its sync, where it answers no statement. */
static void the_servers_farewell_behind_a_commit_is_one_failure(void **state)
{
    struct bench *b = *state;
    struct buf farewell;
    buf_init(&farewell);
    pg_test_say_report(
        &farewell, 'E', "FATAL", "57P01", "terminating connection due to administrator command");
    for (unsigned batches = 1; batches <= 3; batches++) {
        struct pg_fault fault = {.place = PG_FAULT_AFTER_TAG,
            .from = PG_TEST_SERVER,
            .tag = "COMMIT",
            .say = buf_bytes(&farewell),
            .cut = true};
        pg_test_faults_arm(b->faults, &fault);
        for (unsigned i = 0; i < batches; i++) {
            send_batch(b, b->last + i + 1, b->last + i);
        }
        assert_int_equal(committed_before_it_failed(b), 1);
        assert_string_equal(b->probe.error.sqlstate, "57P01");
        take_and_check(b, 1, batches);
    }
    buf_deinit(&farewell);
}

/* ---- cuts ---- */

static void cut_a_flush(struct bench *b, const struct pg_fault *fault)
{
    uint64_t id = b->last + 1;
    pg_test_faults_arm(b->faults, fault);
    send_batch(b, id, b->last);
    unsigned committed = committed_before_it_failed(b);
    assert_true(pg_test_faults_struck(b->faults));
    take_and_check(b, committed, 1);
    flush_up_to(b, id);
}

static void a_flush_that_is_cut_anywhere_fails_once_and_take_tells_the_truth(void **state)
{
    struct bench *b = *state;
    for (int side = PG_TEST_CLIENT; side <= PG_TEST_SERVER; side++) {
        pg_test_faults_arm(b->faults, &count_only);
        flush_up_to(b, b->last + 1);
        /* The last answer is the sync's, which is not told. */
        while (pg_test_faults_messages(b->faults, PG_TEST_SERVER) < FLUSH_ANSWERS) {
            probe_turn(&b->probe);
        }
        uint64_t messages = pg_test_faults_messages(b->faults, side);
        uint64_t bytes = pg_test_faults_bytes(b->faults, side);
        struct pg_fault fault = {.place = PG_FAULT_AFTER_MESSAGE, .from = side, .cut = true};
        for (fault.position = 1; fault.position <= messages; fault.position++) {
            cut_a_flush(b, &fault);
        }
        fault.place = PG_FAULT_AFTER_BYTES;
        for (fault.position = 0; fault.position < bytes; fault.position += BYTES_STEP) {
            cut_a_flush(b, &fault);
        }
    }
}

static void of_pipelined_batches_that_are_cut_anywhere_the_first_ones_are_there(void **state)
{
    struct bench *b = *state;
    enum { BATCHES = 3 };
    struct pg_fault fault = {
        .place = PG_FAULT_AFTER_MESSAGE, .from = PG_TEST_SERVER, .cut = true, .position = 1};
    bool struck = true;
    for (; struck; fault.position++) {
        pg_test_faults_arm(b->faults, &fault);
        for (unsigned i = 0; i < BATCHES; i++) {
            send_batch(b, b->last + i + 1, b->last + i);
        }
        unsigned committed = 0;
        while (committed < BATCHES && probe_next(&b->probe) == PROBE_COMMITTED) {
            committed++;
        }
        struck = committed < BATCHES;
        forget_a_failure(b);
        take_and_check(b, committed, BATCHES);
    }
    assert_true(fault.position > BATCHES * 5 * 3);
}

static void a_take_that_is_cut_anywhere_fails_once_and_can_be_made_again(void **state)
{
    struct bench *b = *state;
    flush_up_to(b, 1);
    for (int side = PG_TEST_CLIENT; side <= PG_TEST_SERVER; side++) {
        pg_test_faults_arm_next(b->faults, &count_only);
        take_and_check(b, 0, 0);
        uint64_t messages = pg_test_faults_messages(b->faults, side);
        struct pg_fault fault = {.place = PG_FAULT_AFTER_MESSAGE, .from = side, .cut = true};
        for (fault.position = 1; fault.position <= messages; fault.position++) {
            pg_test_faults_arm_next(b->faults, &fault);
            probe_take(&b->probe, &b->id, 1);
            enum probe_event event = probe_next(&b->probe);
            if (event == PROBE_TAKEN) { /* before it heard of the cut */
                event = probe_next(&b->probe);
            }
            assert_int_equal(event, PROBE_FAILED);
            assert_int_equal(b->probe.error.class, FLUSH_ERROR_OUTAGE);
            take_and_check(b, 0, 0);
        }
    }
}

static void reset_now(void *faults)
{
    pg_test_faults_reset_now(faults);
}

/* libpq reads the first one's COMMIT while it writes the second one, so that no socket tells of it; and then
 * a write meets the end. */
static void a_connection_that_ends_while_a_batch_is_written_fails_once(void **state)
{
    struct bench *b = *state;
    uint8_t *value = xcalloc(1, LIMIT_VALUE_BYTES);
    uint8_t keys[BIG_ROWS];
    struct flush_row rows[BIG_ROWS];
    for (int i = 0; i < BIG_ROWS; i++) {
        keys[i] = (uint8_t)i;
        rows[i] = (struct flush_row){
            .key = bytes_of(&keys[i], 1), .value = bytes_of(value, LIMIT_VALUE_BYTES), .version = 2};
    }
    struct pg_fault deafen = {
        .place = PG_FAULT_AFTER_MESSAGE, .from = PG_TEST_CLIENT, .position = FLUSH_QUESTIONS, .deafen = true};
    pg_test_faults_arm(b->faults, &deafen);
    send_batch(b, 1, 0);
    probe_send(&b->probe, 2, 1, rows, BIG_ROWS); /* more than sockets hold: it is never written whole */
    b->probe.in_next = reset_now;
    b->probe.in_next_data = b->faults;
    assert_int_equal(committed_before_it_failed(b), 1);
    take_and_check(b, 1, 1);
    free(value);
}

/* ---- what the server should not say ---- */

static void notices_at_every_place_change_nothing(void **state)
{
    struct bench *b = *state;
    struct buf notice;
    buf_init(&notice);
    pg_test_say_report(&notice, 'N', "WARNING", "01000", "two\nlines");
    struct pg_fault fault = {.place = PG_FAULT_AFTER_EACH, .from = PG_TEST_SERVER, .say = buf_bytes(&notice)};
    pg_test_faults_arm(b->faults, &fault);
    flush_up_to(b, 3);
    pg_test_faults_arm_next(b->faults, &fault);
    take_and_check(b, 0, 0);
    flush_up_to(b, 4);
    pg_test_faults_arm(b->faults, &count_only);
    buf_deinit(&notice);
}

static void a_commit_that_is_answered_with_rollback_is_no_success(void **state)
{
    struct bench *b = *state;
    struct buf rollback;
    buf_init(&rollback);
    pg_test_say_complete(&rollback, "ROLLBACK");
    struct pg_fault fault = {.place = PG_FAULT_AFTER_TAG,
        .from = PG_TEST_SERVER,
        .tag = "COMMIT",
        .drop = true,
        .say = buf_bytes(&rollback)};
    pg_test_faults_arm(b->faults, &fault);
    send_batch(b, 1, 0);
    probe_assert_failed(&b->probe, FLUSH_ERROR_OUTAGE, "batch 1: the server answered COMMIT with ROLLBACK");
    take_and_check(b, 0, 1);
    pg_test_faults_arm_next(b->faults, &fault);
    probe_take(&b->probe, &b->id, 1);
    probe_assert_failed(&b->probe, FLUSH_ERROR_OUTAGE, "did not commit");
    take_and_check(b, 0, 0);
    buf_deinit(&rollback);
}

static void flush_with_a_strange_answer(struct bench *b, const struct pg_fault *fault)
{
    uint64_t id = b->last + 1;
    pg_test_faults_arm(b->faults, fault);
    send_batch(b, id, b->last);
    bool committed = probe_next(&b->probe) == PROBE_COMMITTED;
    forget_a_failure(b);
    take_and_check(b, committed ? 1 : 0, 1);
    flush_up_to(b, id);
}

static void take_with_a_strange_answer(struct bench *b, const struct pg_fault *fault)
{
    pg_test_faults_arm_next(b->faults, fault);
    probe_take(&b->probe, &b->id, 1);
    enum probe_event event = probe_next(&b->probe);
    assert_true(event == PROBE_TAKEN || event == PROBE_FAILED);
    forget_a_failure(b);
    take_and_check(b, 0, 0);
}

/* At each place one too many, or another one than it should be: nothing crashes, nothing is believed that is
 * not so. */
static void strange_answers_are_a_failure_at_most(void **state)
{
    struct bench *b = *state;
    struct buf complete;
    buf_init(&complete);
    pg_test_say_complete(&complete, "SELECT 1");
    struct pg_fault fault = {
        .place = PG_FAULT_AFTER_MESSAGE, .from = PG_TEST_SERVER, .say = buf_bytes(&complete)};
    for (fault.position = 1; fault.position <= FLUSH_ANSWERS; fault.position++) {
        fault.drop = false;
        flush_with_a_strange_answer(b, &fault);
        fault.drop = true;
        flush_with_a_strange_answer(b, &fault);
    }
    pg_test_faults_arm_next(b->faults, &count_only);
    take_and_check(b, 0, 0);
    uint64_t messages = pg_test_faults_messages(b->faults, PG_TEST_SERVER);
    fault.drop = false; /* for what is missing while it connects, libpq would wait */
    for (fault.position = 1; fault.position <= messages; fault.position++) {
        take_with_a_strange_answer(b, &fault);
    }
    buf_deinit(&complete);
}

/* Between statements only: inside of a result with rows, libpq itself would leak that. */
static void a_sync_that_is_answered_too_early_is_a_failure(void **state)
{
    struct bench *b = *state;
    static const char *const tags[] = {"BEGIN", "SELECT 1", "INSERT 0 2", "DELETE 0"};
    struct buf ready;
    buf_init(&ready);
    pg_test_say_ready(&ready);
    struct pg_fault fault = {.place = PG_FAULT_AFTER_TAG, .from = PG_TEST_SERVER, .say = buf_bytes(&ready)};
    for (size_t i = 0; i < sizeof tags / sizeof tags[0]; i++) {
        fault.tag = tags[i];
        pg_test_faults_arm(b->faults, &fault);
        send_batch(b, b->last + 1, b->last);
        probe_assert_failed(&b->probe, FLUSH_ERROR_OUTAGE, "out of turn");
        take_and_check(b, 0, 1);
    }
    for (size_t i = 0; i < 2; i++) { /* the first of a take's tags are the session's settings */
        fault.tag = tags[i];
        pg_test_faults_arm_next(b->faults, &fault);
        probe_take(&b->probe, &b->id, 1);
        assert_int_equal(probe_next(&b->probe), PROBE_FAILED);
        take_and_check(b, 0, 0);
    }
    buf_deinit(&ready);
}

static void an_answer_too_many_behind_a_commit_is_told(void **state)
{
    struct bench *b = *state;
    struct buf twice;
    buf_init(&twice);
    pg_test_say_complete(&twice, "COMMIT");
    struct pg_fault fault = {
        .place = PG_FAULT_AFTER_TAG, .from = PG_TEST_SERVER, .tag = "COMMIT", .say = buf_bytes(&twice)};
    pg_test_faults_arm(b->faults, &fault);
    send_batch(b, 1, 0);
    send_batch(b, 2, 1);
    assert_int_equal(committed_before_it_failed(b), 1);
    assert_non_null(strstr(b->probe.error.message, "out of turn"));
    take_and_check(b, 1, 2);
    buf_deinit(&twice);
}

static int start(void **state)
{
    (void)state;
    if (pg_test_server_start(&server) != 0) {
        return -1;
    }
    look = PQconnectdb(server.dsn);
    PQclear(PQexec(look, "SET client_min_messages = error"));
    return 0;
}

static int stop(void **state)
{
    (void)state;
    PQfinish(look);
    pg_test_server_destroy(&server);
    return 0;
}

#define ON_A_BENCH(test) cmocka_unit_test_setup_teardown(test, open_bench, close_bench)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_A_BENCH(the_servers_farewell_behind_a_commit_is_one_failure),
        ON_A_BENCH(a_flush_that_is_cut_anywhere_fails_once_and_take_tells_the_truth),
        ON_A_BENCH(of_pipelined_batches_that_are_cut_anywhere_the_first_ones_are_there),
        ON_A_BENCH(a_take_that_is_cut_anywhere_fails_once_and_can_be_made_again),
        ON_A_BENCH(a_connection_that_ends_while_a_batch_is_written_fails_once),
        ON_A_BENCH(notices_at_every_place_change_nothing),
        ON_A_BENCH(a_commit_that_is_answered_with_rollback_is_no_success),
        ON_A_BENCH(strange_answers_are_a_failure_at_most),
        ON_A_BENCH(a_sync_that_is_answered_too_early_is_a_failure),
        ON_A_BENCH(an_answer_too_many_behind_a_commit_is_told),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
