/* What a group adds to the flush of bad rows and to its control: the order of QUARANTINE and COMMIT, who is
 * answered what, retries, the rate limit, pause, settings, what is said beside the rows, and what keeps the
 * rows of a transaction together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "node/group_admin_test_help.h"
#include "proto/pb.h"

static struct group_info info_of(const struct fixture *f)
{
    struct group_info info;
    group_info(f->group, f->now_ms, &info);
    return info;
}

static void dirty(struct fixture *f, int n)
{
    char key[16];
    for (int i = 0; i < n; i++) {
        snprintf(key, sizeof key, "k%02d", i);
        set_now(f, key, "v");
    }
}

/* A write that waits for the database. */
struct waiter {
    struct group_request r;
    struct operation operation;
    struct operation_result result;
    unsigned done;
    char message[256];
};

static void on_done(struct group_request *r)
{
    struct waiter *w = list_entry(r, struct waiter, r);
    w->done++;
    snprintf(w->message, sizeof w->message, "%s", r->message == NULL ? "" : r->message);
}

static void set_flushed(struct fixture *f, struct waiter *w, const char *key, const char *value)
{
    *w = (struct waiter){
        .operation = {.kind = OPERATION_SET, .key = bytes_from_text(key), .value = bytes_from_text(value)}};
    w->r = (struct group_request){.op = GROUP_UPDATE,
        .n = 1,
        .operations = &w->operation,
        .results = &w->result,
        .conn_id = 5,
        .level = GROUP_FLUSHED,
        .deadline_ms = f->now_ms + 60000,
        .done = on_done};
    group_submit(f->group, &w->r);
    fixture_turn(f);
    fixture_commit(f, 1); /* the write */
    assert_int_equal(w->done, 0);
}

static void assert_answered(const struct waiter *w, enum status status)
{
    assert_int_equal(w->done, 1);
    assert_int_equal(w->r.status, status);
}

static struct flush_batch *newest(struct fixture *f)
{
    assert_true(f->sent_n > 0);
    return &f->sent[f->sent_n - 1];
}

/* The newest batch failed with a bad row; the one that takes its place, isolating, was sent. */
static void refuse_batch(struct fixture *f)
{
    unsigned before = f->sent_n;
    db_failed(f, FLUSH_ERROR_ROW, "violates check");
    db_taken(f, group_state(f->group)->last_batch);
    fixture_commit(f, 1); /* ABORT */
    if (f->noting) {
        db_noted(f);
    }
    fixture_pass(f, 10);
    fixture_commit(f, UINT32_MAX); /* FlushBegin */
    assert_int_equal(f->sent_n, before + 1);
    assert_true(newest(f)->isolate);
}

static struct flush_fault fault_of(const char *key)
{
    return (struct flush_fault){
        .key = bytes_from_text(key), .sqlstate = "23514", .message = "violates check \"positive\""};
}

static void the_log_has_the_quarantine_before_the_database_commits(void **state)
{
    (void)state;
    struct fixture f;
    struct waiter good, bad;
    fixture_init(&f, 0, false, true);
    set_flushed(&f, &good, "good", "1");
    set_flushed(&f, &bad, "bad", "-1");
    fixture_commit(&f, UINT32_MAX);
    fixture_pass(&f, 100);
    fixture_commit(&f, UINT32_MAX);
    refuse_batch(&f);
    assert_int_equal(newest(&f)->upserts, 2);
    struct flush_fault fault = fault_of("bad");
    db_isolated(&f, newest(&f)->id, &fault, 1);
    assert_int_equal(f.finishes, 0); /* QUARANTINE is proposed, not applied */
    assert_int_equal(info_of(&f).quarantined, 0);
    assert_int_equal(good.done + bad.done, 0);
    assert_int_equal(fixture_commit(&f, 1), 1);
    assert_int_equal(f.finishes, 1);
    assert_int_equal(info_of(&f).quarantined, 1);
    assert_int_equal(f.said.quarantined, 1);
    assert_int_equal(f.mirrored, 1);
    assert_int_equal(good.done, 0); /* the COMMIT was not seen */
    db_committed(&f, newest(&f)->id);
    fixture_commit(&f, UINT32_MAX);
    assert_answered(&good, STATUS_OK);
    assert_answered(&bad, STATUS_QUARANTINED);
    assert_non_null(strstr(bad.message, "violates check"));
    assert_true(bad.result.version != 0); /* it is done and replicated */
    assert_int_equal(info_of(&f).flushed_index, info_of(&f).applied_index);
    assert_int_equal(info_of(&f).last_batch, newest(&f)->id);
    struct ask a; /* and is read from memory */
    ask_get(&f, &a, "bad", 5);
    fixture_turn(&f);
    assert_got(&a, "-1");
    fixture_deinit(&f);
}

static void a_connection_lost_before_that_commit_leaves_the_quarantine_and_writes_the_rest_again(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    dirty(&f, 3);
    fixture_pass(&f, 100);
    fixture_commit(&f, UINT32_MAX);
    refuse_batch(&f);
    struct flush_fault fault = fault_of("k01");
    db_isolated(&f, newest(&f)->id, &fault, 1);
    db_failed(&f, FLUSH_ERROR_OUTAGE, "gone"); /* QUARANTINE applies after it */
    fixture_commit(&f, 1);
    assert_int_equal(f.finishes, 0);
    fixture_pass(&f, 200);
    db_taken(&f, 0);
    fixture_commit(&f, UINT32_MAX);
    fixture_pass(&f, 10);
    fixture_commit(&f, UINT32_MAX);
    if (f.noting) {
        db_noted(&f);
    }
    fixture_pass(&f, 10);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(newest(&f)->upserts, 2);
    assert_int_equal(info_of(&f).quarantined, 1);
    db_isolated(&f, newest(&f)->id, NULL, 0);
    assert_int_equal(f.finishes, 1);
    db_committed(&f, newest(&f)->id);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(info_of(&f).flushed_index, info_of(&f).applied_index);
    fixture_deinit(&f);
}

static void who_waits_for_a_newer_value_waits_until_that_was_tried(void **state)
{
    (void)state;
    struct fixture f;
    struct waiter first, second;
    fixture_init(&f, 0, false, true);
    set_flushed(&f, &first, "bad", "-1");
    fixture_commit(&f, UINT32_MAX);
    refuse_batch(&f);
    set_flushed(&f, &second, "bad", "1");
    struct flush_fault fault = fault_of("bad");
    db_isolated(&f, newest(&f)->id, &fault, 1);
    fixture_commit(&f, UINT32_MAX);
    db_committed(&f, newest(&f)->id);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(info_of(&f).quarantined, 1);
    assert_int_equal(second.done, 0); /* "1" was not refused yet */
    unsigned sent = f.sent_n;
    for (int i = 0; i < 20 && f.sent_n == sent; i++) {
        if (f.noting) {
            db_noted(&f);
        }
        fixture_pass(&f, 50);
        fixture_commit(&f, UINT32_MAX);
    }
    assert_int_equal(f.sent_n, sent + 1); /* within a second */
    assert_true(newest(&f)->isolate);
    assert_int_equal(second.done, 0);
    db_isolated(&f, newest(&f)->id, NULL, 0);
    assert_int_equal(f.said.quarantined, 0);
    assert_true(f.mirrored == 0 || f.mirrored == UINT32_MAX);
    db_committed(&f, newest(&f)->id);
    fixture_commit(&f, UINT32_MAX);
    assert_answered(&second, STATUS_OK);
    assert_int_equal(first.done, 1);
    assert_int_equal(info_of(&f).quarantined, 0);
    if (f.noting) {
        db_noted(&f);
    }
    fixture_pass(&f, 1000);
    assert_int_equal(f.said.quarantined, 0);
    fixture_deinit(&f);
}

static void a_refused_row_is_tried_again_with_back_off(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    quarantine_now(&f, "bad", "-1");
    uint64_t last_ms = f.now_ms, gap_ms = 0;
    for (int tries = 0; tries < 4; tries++) {
        unsigned sent = f.sent_n;
        while (f.sent_n == sent) {
            if (f.noting) {
                db_noted(&f);
            }
            fixture_pass(&f, 100);
            fixture_commit(&f, UINT32_MAX);
            assert_true(f.now_ms < last_ms + 60000);
        }
        assert_true(newest(&f)->isolate && newest(&f)->upserts == 1);
        assert_true(f.now_ms - last_ms > gap_ms + gap_ms / 2); /* longer each time */
        gap_ms = f.now_ms - last_ms;
        last_ms = f.now_ms;
        struct flush_fault fault = fault_of("bad");
        db_isolated(&f, newest(&f)->id, &fault, 1);
        fixture_commit(&f, UINT32_MAX);
        db_committed(&f, newest(&f)->id);
        fixture_commit(&f, UINT32_MAX);
        assert_int_equal(info_of(&f).quarantined, 1);
    }
    fixture_deinit(&f);
}

static void the_rate_limit_bounds_the_rows_of_a_second(void **state)
{
    (void)state;
    struct fixture f;
    struct admin_ask x;
    enum { PER_SECOND = 20, BURST = 2 };
    fixture_init(&f, 0, false, true);
    ask_admin_init(&x, ADMIN_CONTROL);
    x.a.set = true;
    x.a.control.has_rows_per_second = true;
    x.a.control.rows_per_second = PER_SECOND;
    ask_admin(&f, &x);
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    assert_admin_done(&x, STATUS_OK);
    assert_int_equal(info_of(&f).rows_per_second, PER_SECOND);
    dirty(&f, 60);
    fixture_pass(&f, 100);
    uint64_t since_ms = f.now_ms, rows_before = info_of(&f).rows_flushed;
    for (int i = 0; i < 200; i++) {
        if (f.noting) {
            db_noted(&f);
        }
        fixture_commit(&f, UINT32_MAX);
        settle_batches(&f);
        uint64_t rows = info_of(&f).rows_flushed - rows_before;
        assert_true(rows <= BURST + PER_SECOND * (f.now_ms - since_ms) / 1000 + 1);
        fixture_pass(&f, 10);
    }
    uint64_t rows = info_of(&f).rows_flushed - rows_before;
    assert_true(rows >= 2 * PER_SECOND - 2 * BURST); /* in two seconds */
    fixture_deinit(&f);
}

static void a_paused_flush_sends_nothing_and_says_so(void **state)
{
    (void)state;
    struct fixture f;
    struct admin_ask x;
    struct waiter w;
    fixture_init(&f, 0, false, true);
    ask_pause(&f, &x, true);
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    assert_admin_done(&x, STATUS_OK);
    set_flushed(&f, &w, "k", "v");
    for (int i = 0; i < 590; i++) {
        if (f.noting) {
            db_noted(&f);
        }
        fixture_pass(&f, 100);
        fixture_commit(&f, UINT32_MAX);
    }
    assert_int_equal(f.sent_n, 0);
    assert_true(f.notes > 10); /* how fresh it is is still told */
    assert_int_equal(w.done, 0);
    fixture_pass(&f, 2000);
    assert_answered(&w, STATUS_NOT_FLUSHED);
    assert_non_null(strstr(w.message, "resume"));
    fixture_depose(&f);
    fixture_elect(&f, 2, 0); /* it is the group's, not the leader's */
    fixture_pass(&f, 1000);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(f.sent_n, 0);
    ask_pause(&f, &x, false);
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    assert_admin_done(&x, STATUS_OK);
    if (f.noting) {
        db_noted(&f);
    }
    fixture_pass(&f, 10);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(f.sent_n, 1);
    fixture_deinit(&f);
}

static void what_operators_set_is_in_force_at_once_and_for_the_next_leader(void **state)
{
    (void)state;
    struct fixture f;
    struct admin_ask x;
    fixture_init(&f, 0, false, true);
    ask_admin_init(&x, ADMIN_CONTROL);
    x.a.set = true;
    x.a.control.has_batch_rows = x.a.control.has_age_ms = true;
    x.a.control.batch_rows = 3;
    x.a.control.age_ms = 20;
    ask_admin(&f, &x);
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    assert_admin_done(&x, STATUS_OK);
    assert_int_equal(info_of(&f).settings.batch_rows, 3);
    for (uint64_t term = 2; term < 4; term++) {
        dirty(&f, 5);
        fixture_pass(&f, 19);
        assert_int_equal(fixture_commit(&f, UINT32_MAX), 0);
        fixture_pass(&f, 1);
        fixture_commit(&f, UINT32_MAX);
        assert_int_equal(newest(&f)->upserts, 3);
        for (int i = 0; i < 10; i++) {
            settle_batches(&f);
            if (f.noting) {
                db_noted(&f);
            }
            fixture_pass(&f, 20);
            fixture_commit(&f, UINT32_MAX);
        }
        assert_int_equal(info_of(&f).dirty_entries, 0);
        fixture_depose(&f);
        fixture_elect(&f, term, info_of(&f).last_batch);
        assert_int_equal(info_of(&f).settings.batch_rows, 3);
        if (f.noting) {
            db_noted(&f);
        }
    }
    ask_admin_init(&x, ADMIN_CONTROL);
    x.a.reset = true;
    ask_admin(&f, &x);
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    assert_admin_done(&x, STATUS_OK);
    assert_int_equal(info_of(&f).settings.batch_rows, 10); /* as the configuration says */
    assert_int_equal(info_of(&f).settings.age_ms, 100);
    fixture_deinit(&f);
}

static void what_is_said_beside_the_rows_is_recovering_until_the_last_of_them(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    retain(&f, 1000000, 1 << 20);
    dirty(&f, 15);
    for (int i = 0; i < 4; i++) {
        fixture_pass(&f, 100);
        fixture_commit(&f, UINT32_MAX);
        settle_batches(&f);
    }
    assert_int_equal(info_of(&f).dirty_entries, 0);
    assert_int_equal(info_of(&f).retained, 15);
    uint64_t flushed = info_of(&f).flushed_index;
    db_failed(&f, FLUSH_ERROR_OUTAGE, "gone");
    fixture_pass(&f, 200);
    db_taken(&f, 0);                            /* a backup of the beginning */
    assert_int_equal(fixture_commit(&f, 1), 1); /* REWIND */
    assert_true(info_of(&f).recovering);
    assert_true(info_of(&f).flushed_index < flushed);
    fixture_pass(&f, 10);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(f.sent[0].upserts, 10);
    assert_true(f.sent[0].note.recovering);
    for (int i = 0; i < 3; i++) {
        settle_batches(&f);
        if (f.noting) {
            db_noted(&f);
        }
        fixture_pass(&f, 100);
        fixture_commit(&f, UINT32_MAX);
        if (f.sent_n > 0) {
            assert_int_equal(f.sent[0].upserts, 5);
            assert_false(f.sent[0].note.recovering);
            assert_int_equal(f.sent[0].note.lost, 0);
        }
    }
    assert_false(info_of(&f).recovering);
    assert_true(info_of(&f).flushed_index >= flushed);
    assert_int_equal(info_of(&f).lost, 0);
    fixture_deinit(&f);
}

/* ---- Transactions ---- */

/* Another node's entry has applied, which wrote @n keys: a transaction, when they are @tied. */
static void written(struct fixture *f, uint32_t n, bool tied)
{
    enum { MAX = 20, KEY_BYTES = 4 };
    Wblog__Write writes[MAX], *list[MAX];
    char keys[MAX][KEY_BYTES];
    assert_true(n <= MAX);
    for (uint32_t i = 0; i < n; i++) {
        snprintf(keys[i], sizeof keys[i], "t%02u", i % 100);
        wblog__write__init(&writes[i]);
        writes[i].key = pb_borrow(bytes_from_text(keys[i]));
        writes[i].has_value = 1;
        writes[i].value = pb_borrow(bytes_from_text("v"));
        writes[i].has_tied = writes[i].tied = tied;
        list[i] = &writes[i];
    }
    Wblog__Writes all = WBLOG__WRITES__INIT;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    all.n_writes = n;
    all.writes = list;
    entry.command_case = WBLOG__ENTRY__COMMAND_WRITES;
    entry.writes = &all;
    fixture_apply(f, &entry);
}

static void a_transaction_waits_until_nothing_is_in_flight(void **state)
{
    (void)state;
    enum { ROWS = 10 }; /* a whole batch, which would go behind another one */
    for (int tied = 0; tied < 2; tied++) {
        struct fixture f;
        fixture_init(&f, 0, false, true);
        dirty(&f, ROWS);
        fixture_pass(&f, 100);
        fixture_commit(&f, UINT32_MAX);
        assert_int_equal(f.sent_n, 1);
        written(&f, ROWS, tied);
        unsigned proposals = f.proposals;
        fixture_pass(&f, 500);
        assert_int_equal(f.proposals - proposals, tied ? 0 : 1);
        fixture_commit(&f, UINT32_MAX);
        assert_int_equal(f.sent_n, tied ? 1 : 2);
        db_committed(&f, f.sent[0].id);
        if (f.noting) {
            db_noted(&f);
        }
        fixture_pass(&f, 10);
        fixture_commit(&f, UINT32_MAX); /* FLUSHED; FlushBegin */
        assert_int_equal(f.sent_n, 2);
        assert_int_equal(f.sent[1].upserts, ROWS);
        assert_int_equal(f.sent[1].predecessor, f.sent[0].id);
        fixture_deinit(&f);
    }
}

static void only_a_begin_that_says_so_cuts_a_transaction(void **state)
{
    (void)state;
    static const struct {
        bool has_cut, cut;
        uint32_t rows;
    } rows[] = {{false, false, 3}, {true, false, 3}, {true, true, 2}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture f;
        fixture_init(&f, 0, false, true);
        fixture_depose(&f);
        written(&f, 3, true);
        const struct state *s = group_state(f.group);
        assert_int_equal(s->tied, 3);
        Wblog__FlushBegin begin = WBLOG__FLUSH_BEGIN__INIT;
        Wblog__Entry entry = WBLOG__ENTRY__INIT;
        begin.rows_max = 2;
        begin.bytes_max = 1 << 20;
        begin.has_cut = rows[i].has_cut;
        begin.cut = rows[i].cut;
        entry.command_case = WBLOG__ENTRY__COMMAND_FLUSH_BEGIN;
        entry.flush_begin = &begin;
        fixture_apply(&f, &entry);
        assert_int_equal(s->batch_count, 1);
        assert_int_equal(s->batched_entries, rows[i].rows);
        assert_int_equal(s->queued_entries, 3 - rows[i].rows);
        assert_int_equal(s->tied, 3 - rows[i].rows);
        fixture_deinit(&f);
    }
}

static void a_transaction_that_takes_too_long_is_written_in_parts(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    written(&f, 16, true);
    fixture_pass(&f, 100);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(newest(&f)->upserts, 16);
    struct flush_error slow = {.class = FLUSH_ERROR_TRANSIENT, .sqlstate = "57014", .in_rows = true};
    f.noting = false;
    group_flusher_events()->failed(group_flusher_events_data(f.group), &slow);
    fixture_pass(&f, 200);
    db_taken(&f, 0);
    fixture_commit(&f, 1); /* ABORT */
    assert_int_equal(group_state(f.group)->tied, 16);
    fixture_pass(&f, 10);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(f.sent_n, 2);
    assert_int_equal(newest(&f)->upserts, 5); /* half of the limit */
    assert_int_equal(group_state(f.group)->tied, 11);
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_log_has_the_quarantine_before_the_database_commits),
        cmocka_unit_test(
            a_connection_lost_before_that_commit_leaves_the_quarantine_and_writes_the_rest_again),
        cmocka_unit_test(who_waits_for_a_newer_value_waits_until_that_was_tried),
        cmocka_unit_test(a_refused_row_is_tried_again_with_back_off),
        cmocka_unit_test(the_rate_limit_bounds_the_rows_of_a_second),
        cmocka_unit_test(a_paused_flush_sends_nothing_and_says_so),
        cmocka_unit_test(what_operators_set_is_in_force_at_once_and_for_the_next_leader),
        cmocka_unit_test(what_is_said_beside_the_rows_is_recovering_until_the_last_of_them),
        cmocka_unit_test(a_transaction_waits_until_nothing_is_in_flight),
        cmocka_unit_test(only_a_begin_that_says_so_cuts_a_transaction),
        cmocka_unit_test(a_transaction_that_takes_too_long_is_written_in_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
