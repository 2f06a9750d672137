/* A session and bad rows: isolation, quarantine, retries. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "flush/flush_session_test_help.h"

/* ---- Bad rows ---- */

static void a_bad_row_is_in_the_log_before_the_commit(void **state)
{
    (void)state;
    struct desk d;
    desk_active(&d);
    send_rows(&d, 8, 10);
    isolate_again(&d, 0, 8, 12, 10);
    d.view.rows_due = BATCH_ROWS;
    d.view.due_full = true;
    pass(&d, 10000);
    proposes(&d, ""); /* it goes alone, and no note goes beside it */
    asks(&d, "");
    d.view.rows_due = 0;
    d.view.due_full = false;
    on_isolated(&d, 12, 1, "violates check");
    proposes(&d, "QUARANTINE 12 0+1");
    asks(&d, "");
    flush_session_quarantined(&d.s, 12, 1);
    d.view.quarantine_changes++;
    turn(&d);
    asks(&d, "finish with mirror");
    turn(&d);
    asks(&d, "");
    on_committed(&d, 12);
    proposes(&d, "FLUSHED 12<-0");
    asks(&d, "note at 12"); /* a heartbeat is due; the quarantine was shown already */
    applied_settling(&d, 12);
    on_noted(&d);
    /* The next one isolates as well: where there was one there may be more. Without a fault it was the last.
     */
    send_rows(&d, 14, 5);
    asks(&d, "isolate 14<-12 of 5");
    on_isolated(&d, 14, 0, NULL);
    asks(&d, "finish with mirror");
    on_committed(&d, 14);
    proposes(&d, "FLUSHED 14<-12");
    applied_settling(&d, 14);
    send_rows(&d, 16, 5);
    asks(&d, "send 16<-14 of 5");
    desk_deinit(&d);
}

static void thousands_of_faults_are_told_in_parts(void **state)
{
    (void)state;
    struct desk d;
    enum { FAULTS = 5000 };
    char message[101], want[64];
    memset(message, 'm', 100);
    message[100] = '\0';
    desk_active(&d);
    send_rows(&d, 8, 10);
    isolate_again(&d, 0, 8, 12, 10);
    on_isolated(&d, 12, FAULTS, message);
    uint32_t told = 0, parts = 0;
    while (told < FAULTS) {
        const struct flush_command *c = flush_session_command(&d.s);
        assert_non_null(c);
        assert_int_equal(c->first, told);
        assert_true(c->n > 0 && c->n * (3 + 100) < 256 * 1024);
        uint32_t n = c->n;
        snprintf(want, sizeof want, "QUARANTINE 12 %u+%u", told, n);
        turn(&d);
        proposes(&d, want); /* one part at a time */
        told += n;
        parts++;
        turn(&d);
        asks(&d, "");
        flush_session_quarantined(&d.s, 12, told < FAULTS ? n : n - 1);
    }
    assert_true(parts > 1);
    turn(&d);
    asks(&d, "");                           /* the last one has not applied */
    flush_session_quarantined(&d.s, 11, 1); /* another batch's says nothing */
    turn(&d);
    asks(&d, "");
    flush_session_quarantined(&d.s, 12, 1);
    turn(&d);
    asks(&d, "finish with mirror");
    desk_deinit(&d);
}

static void what_was_not_told_when_the_connection_broke_is_not_told_any_more(void **state)
{
    (void)state;
    struct desk d;
    desk_active(&d);
    send_rows(&d, 8, 10);
    isolate_again(&d, 0, 8, 12, 10);
    on_isolated(&d, 12, 2, "violates check");
    on_failed(&d, FLUSH_ERROR_OUTAGE, "", "gone");
    proposes(&d, "");
    flush_session_quarantined(&d.s, 12, 2); /* nothing comes of it */
    take_again(&d, 0);
    proposes(&d, "ABORT 12");
    applied_settling(&d, 0);
    on_noted(&d);
    d.asked[0] = '\0';
    send_rows(&d, 15, 10);
    asks(&d, "isolate 15<-0 of 10"); /* still suspicious */
    desk_deinit(&d);
}

static void a_row_that_only_the_commit_refuses_is_found_by_halving_and_condemned(void **state)
{
    (void)state;
    struct desk d;
    enum { ROWS = 40, ATTEMPTS_MAX = 2 * 7 };
    uint32_t rows = ROWS;
    uint64_t batch = 8;
    char want[64];
    desk_active(&d);
    for (unsigned attempts = 1;; attempts++, batch++) {
        d.view.rows_due = ROWS;
        turn(&d);
        const struct flush_command *c = flush_session_command(&d.s);
        assert_non_null(c);
        assert_true(c->kind == FLUSH_COMMAND_BEGIN && c->rows_max <= rows && attempts <= ATTEMPTS_MAX);
        rows = c->rows_max;
        flush_session_pop(&d.s);
        applied_begin(&d, batch, rows);
        if (d.s.isolating == batch) {
            on_isolated(&d, batch, 0, NULL);
        }
        d.asked[0] = '\0';
        on_failed(&d, FLUSH_ERROR_ROW, "23503", "deferred constraint");
        asks(&d, "take 6");
        on_taken(&d, 0);
        c = flush_session_command(&d.s);
        if (c->kind == FLUSH_COMMAND_QUARANTINE) {
            break;
        }
        snprintf(want, sizeof want, "ABORT %" PRIu64, batch);
        proposes(&d, want);
        applied_settling(&d, 0);
        on_noted(&d);
    }
    assert_int_equal(rows, 1);
    snprintf(want, sizeof want, "QUARANTINE %" PRIu64 " 0+0; ABORT %" PRIu64, batch, batch);
    proposes(&d, want); /* all of its rows, for the last error */
    assert_string_equal(d.s.last_error.message, "deferred constraint");
    desk_deinit(&d);
}

static void a_condemned_batch_that_was_committed_after_all_is_flushed(void **state)
{
    (void)state;
    struct desk d;
    desk_active(&d);
    send_rows(&d, 8, 1);
    isolate_again(&d, 0, 8, 12, 1);
    on_isolated(&d, 12, 0, NULL);
    on_failed(&d, FLUSH_ERROR_ROW, "23503", "deferred constraint");
    on_taken(&d, 12);
    proposes(&d, "FLUSHED 12<-0");
    desk_deinit(&d);
}

static void a_batch_that_takes_too_long_is_halved_and_grows_again(void **state)
{
    (void)state;
    struct desk d;
    static const char *const begins[] = {"BEGIN 32", "BEGIN 16", "BEGIN 16", "BEGIN 32", "BEGIN 64"};
    static const uint32_t rows[] = {32, 16, 16, 32, 64};
    uint64_t batch = 8, last = 0;
    desk_active(&d);
    send_rows(&d, batch, BATCH_ROWS);
    for (int i = 0; i < 5; i++) {
        if (i < 2) {
            on_failed(&d, FLUSH_ERROR_TRANSIENT, "57014", "canceling statement due to statement timeout");
            take_again(&d, last);
            char want[32];
            snprintf(want, sizeof want, "ABORT %" PRIu64, batch);
            proposes(&d, want);
        } else if (i > 2) {
            on_committed(&d, batch);
            char want[48];
            snprintf(want, sizeof want, "FLUSHED %" PRIu64 "<-%" PRIu64, batch, last);
            proposes(&d, want);
            last = batch;
        } else {
            on_failed(
                &d, FLUSH_ERROR_TRANSIENT, "40P01", "deadlock detected"); /* nothing to do with its size */
            take_again(&d, last);
            char want[32];
            snprintf(want, sizeof want, "ABORT %" PRIu64, batch);
            proposes(&d, want);
        }
        applied_settling(&d, last);
        if (i <= 2) {
            on_noted(&d);
        }
        d.view.rows_due = BATCH_ROWS;
        d.view.due_full = true;
        turn(&d);
        proposes(&d, begins[i]);
        batch += 4;
        applied_begin(&d, batch, rows[i]);
        d.view.due_full = false;
    }
    desk_deinit(&d);
}

/* ---- Batches that are longer than asked ---- */

enum { WHOLE = false, CUT = true };

/* Rows are due, as many as a batch may have: they begin as @want says, and that is all that is proposed. */
static void begins_at(struct desk *d, const char *want, bool cut, int line)
{
    d->view.rows_due = BATCH_ROWS;
    turn(d);
    const struct flush_command *c = flush_session_command(&d->s);
    bool got = c != NULL && c->cut;
    proposes_at(d, want, line);
    if (got != cut) {
        print_error("\"%s\" is %s\n", want, got ? "cut" : "not cut");
        _fail(__FILE__, line);
    }
}
#define begins(d, want, cut) begins_at(d, want, cut, __LINE__)

static void retries_at(struct desk *d, const char *want, int line)
{
    d->view.retries_due = 1;
    begins_at(d, want, WHOLE, line);
    d->view.retries_due = 0;
}
#define retries(d, want) retries_at(d, want, __LINE__)

/* The batch has failed and is not in the database: it goes back. */
static void gone_back_behind(struct desk *d, uint64_t batch, uint64_t last)
{
    char want[32];
    take_again(d, last);
    snprintf(want, sizeof want, "ABORT %" PRIu64, batch);
    proposes(d, want);
    applied_settling(d, last);
    on_noted(d);
}

static void gone_back(struct desk *d, uint64_t batch)
{
    gone_back_behind(d, batch, 0);
}

static void took_too_long(struct desk *d, uint64_t batch)
{
    on_failed(d, FLUSH_ERROR_TRANSIENT, "57014", "canceling statement due to statement timeout");
    gone_back(d, batch);
}

/* Only its COMMIT says so. It fails at first in an ordinary batch, then in one that is isolating. */
static void refused(struct desk *d, uint64_t batch)
{
    char want[32];
    if (d->s.isolating == batch) {
        on_isolated(d, batch, 0, NULL);
    }
    d->asked[0] = '\0';
    on_failed(d, FLUSH_ERROR_ROW, "23503", "deferred constraint");
    asks(d, "take 6");
    on_taken(d, 0);
    snprintf(want, sizeof want, "ABORT %" PRIu64, batch);
    proposes(d, want);
    applied_settling(d, 0);
    on_noted(d);
}

static void is_written(struct desk *d, uint64_t batch, uint64_t last)
{
    char want[48];
    on_committed(d, batch);
    snprintf(want, sizeof want, "FLUSHED %" PRIu64 "<-%" PRIu64, batch, last);
    proposes(d, want);
    applied_settling(d, batch);
}

/* A batch was longer than its limit and has failed: the next ones are of 32 rows at most, and cut. */
static void desk_cutting(struct desk *d)
{
    desk_active(d);
    begins(d, "BEGIN 64", WHOLE);
    applied_begin(d, 8, 100);
    took_too_long(d, 8);
    begins(d, "BEGIN 32", CUT); /* half of the limit, not of what it was */
}

static void a_batch_longer_than_asked_that_takes_too_long_is_cut_down_to_one_row(void **state)
{
    (void)state;
    struct desk d;
    static const struct {
        const char *next;
        uint32_t rows;
    } steps[] = {{"BEGIN 16", 32}, {"BEGIN 8", 16}, {"BEGIN 4", 8}, {"BEGIN 2", 4}, {"BEGIN 1", 2},
        {"BEGIN 1", 1}, {"BEGIN 1", 1}};
    uint64_t batch = 12;
    desk_cutting(&d);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++, batch += 4) {
        applied_begin(&d, batch, steps[i].rows);
        took_too_long(&d, batch);
        begins(&d, steps[i].next, CUT);
    }
    applied_begin(&d, batch, 1);
    on_failed(&d, FLUSH_ERROR_TRANSIENT, "57014", "canceling statement due to statement timeout");
    take_again(&d, 0);
    char want[64];
    snprintf(want, sizeof want, "QUARANTINE %" PRIu64 " 0+0; ABORT %" PRIu64, batch, batch);
    proposes(&d, want);
    desk_deinit(&d);
}

static void a_longer_batch_that_only_the_commit_refuses_is_cut_down_to_one_row(void **state)
{
    (void)state;
    struct desk d;
    static const struct {
        const char *begin;
        uint32_t rows;
        bool cut;
    } steps[] = {{"BEGIN 64", 100, WHOLE}, {"BEGIN 32", 32, CUT}, {"BEGIN 16", 16, CUT}, {"BEGIN 8", 8, CUT},
        {"BEGIN 4", 4, CUT}, {"BEGIN 2", 2, CUT}, {"BEGIN 1", 1, CUT}};
    enum { ATTEMPTS = 2 * sizeof steps / sizeof steps[0] }; /* each is isolating the second time */
    uint64_t batch = 8;
    desk_active(&d);
    for (unsigned i = 0;; i++, batch += 4) {
        begins(&d, steps[i / 2].begin, steps[i / 2].cut);
        applied_begin(&d, batch, steps[i / 2].rows);
        if (i == ATTEMPTS - 1) {
            break;
        }
        refused(&d, batch);
    }
    on_isolated(&d, batch, 0, NULL);
    on_failed(&d, FLUSH_ERROR_ROW, "23503", "deferred constraint");
    on_taken(&d, 0);
    char want[64];
    snprintf(want, sizeof want, "QUARANTINE %" PRIu64 " 0+0; ABORT %" PRIu64, batch, batch);
    proposes(&d, want);
    desk_deinit(&d);
}

static void a_batch_as_long_as_asked_or_shorter_is_not_cut(void **state)
{
    (void)state;
    static const struct {
        const char *begin;
        uint32_t rows;
    } steps[] = {{"BEGIN 64", 64}, {"BEGIN 32", 20}, {"BEGIN 10", 10}, {"BEGIN 5", 2}, {"BEGIN 1", 1}};
    for (int by_commit = 0; by_commit < 2; by_commit++) {
        struct desk d;
        uint64_t batch = 8;
        desk_active(&d);
        for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
            for (int isolating = 0; isolating <= by_commit; isolating++, batch += 4) {
                begins(&d, steps[i].begin, WHOLE);
                applied_begin(&d, batch, steps[i].rows);
                if (i == sizeof steps / sizeof steps[0] - 1) {
                    break;
                }
                (by_commit ? refused : took_too_long)(&d, batch);
            }
        }
        desk_deinit(&d);
    }
}

/* Whole transactions may fit in the first ones. */
static void a_small_batch_is_cut_when_it_is_the_first_that_is_longer_than_asked(void **state)
{
    (void)state;
    struct desk d;
    desk_active(&d);
    begins(&d, "BEGIN 64", WHOLE);
    applied_begin(&d, 8, 4);
    took_too_long(&d, 8);
    begins(&d, "BEGIN 2", WHOLE);
    applied_begin(&d, 12, 3);
    took_too_long(&d, 12);
    begins(&d, "BEGIN 1", CUT);
    desk_deinit(&d);
}

/* The newest limit is of a batch that has yet to begin. */
static void what_is_asked_behind_a_batch_does_not_make_that_longer(void **state)
{
    (void)state;
    struct desk d;
    desk_active(&d);
    begins(&d, "BEGIN 64", WHOLE);
    applied_begin(&d, 8, 64);
    d.view.rows_due = 10;
    d.view.overdue = true;
    turn(&d);
    proposes(&d, "BEGIN 10");
    on_failed(&d, FLUSH_ERROR_TRANSIENT, "57014", "canceling statement due to statement timeout");
    applied_begin(&d, 10, 10); /* and is not sent any more */
    gone_back(&d, 8);
    begins(&d, "BEGIN 32", WHOLE);
    desk_deinit(&d);
}

/* Its length may be the reason, as when the connection breaks each time before the server has answered. */
static void a_longer_batch_that_fails_for_another_reason_is_cut_the_third_time(void **state)
{
    (void)state;
    static const struct {
        enum flush_error_class class;
        const char *sqlstate;
    } errors[] = {
        {FLUSH_ERROR_TRANSIENT, "40P01"}, {FLUSH_ERROR_OUTAGE, ""},
        {FLUSH_ERROR_OUTAGE, "57014"}, /* not of its rows */
    };
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        struct desk d;
        desk_active(&d);
        begins(&d, "BEGIN 64", WHOLE);
        applied_begin(&d, 8, 100);
        on_failed(&d, errors[i].class, errors[i].sqlstate, "it fails");
        on_failed(&d, FLUSH_ERROR_OUTAGE, "", "nobody listens"); /* this says nothing of it */
        on_failed(&d, FLUSH_ERROR_OUTAGE, "", "nobody listens");
        gone_back(&d, 8);
        for (uint64_t batch = 12; batch <= 16; batch += 4) {
            begins(&d, "BEGIN 64", WHOLE);
            applied_begin(&d, batch, 100);
            on_failed(&d, errors[i].class, errors[i].sqlstate, "it fails");
            gone_back(&d, batch);
        }
        begins(&d, "BEGIN 64", CUT);
        desk_deinit(&d);
    }
}

static void a_longer_batch_that_is_written_makes_up_for_those_that_failed(void **state)
{
    (void)state;
    struct desk d;
    desk_active(&d);
    uint64_t batch = 8, last = 0;
    for (int round = 0; round < 3; round++) {
        for (int failures = 0; failures < 2; failures++, batch += 4) {
            begins(&d, "BEGIN 64", WHOLE);
            applied_begin(&d, batch, 100);
            on_failed(&d, FLUSH_ERROR_TRANSIENT, "40P01", "deadlock");
            gone_back_behind(&d, batch, last);
        }
        begins(&d, "BEGIN 64", WHOLE);
        applied_begin(&d, batch, 100);
        is_written(&d, batch, last);
        last = batch;
        batch += 4;
    }
    desk_deinit(&d);
}

static void batches_are_cut_until_nothing_waits_any_more(void **state)
{
    (void)state;
    struct desk d;
    desk_cutting(&d);
    applied_begin(&d, 12, 32);
    took_too_long(&d, 12);
    begins(&d, "BEGIN 16", CUT);
    applied_begin(&d, 16, 16);
    on_failed(&d, FLUSH_ERROR_OUTAGE, "", "gone");
    gone_back(&d, 16);
    begins(&d, "BEGIN 16", CUT);
    applied_begin(&d, 20, 16);
    is_written(&d, 20, 0);
    begins(&d, "BEGIN 32", CUT);
    applied_begin(&d, 24, 32);
    d.view.rows_held = true; /* by the operators' limit: it may be many that wait */
    is_written(&d, 24, 20);
    turn(&d);
    begins(&d, "BEGIN 64", CUT); /* the limit is forgotten; what waited behind has not gone yet */
    applied_begin(&d, 28, 64);
    d.view.rows_held = false;
    is_written(&d, 28, 24);
    turn(&d);
    begins(&d, "BEGIN 64", WHOLE);
    desk_deinit(&d);
}

static void a_new_office_cuts_nothing(void **state)
{
    (void)state;
    static const uint8_t new_cluster_id[CLUSTER_ID_BYTES] = {9};
    struct desk d;
    desk_cutting(&d);
    flush_session_stop(&d.s);
    flush_session_start(&d.s, 7, new_cluster_id, d.now_ms);
    d.asked[0] = '\0';
    turn(&d);
    asks(&d, "take 7");
    on_taken(&d, 0);
    on_noted(&d);
    begins(&d, "BEGIN 64", WHOLE);
    desk_deinit(&d);
}

static void a_retry_is_not_cut_and_changes_nothing_for_other_batches(void **state)
{
    (void)state;
    struct desk d;
    desk_cutting(&d);
    applied_begin(&d, 12, 0);
    retries(&d, "RETRY 64");
    applied_begin(&d, 16, 64);
    took_too_long(&d, 16);
    begins(&d, "BEGIN 32", CUT);
    applied_begin(&d, 20, 0);
    d.view.retries_due = 1;
    turn(&d);
    proposes(&d, "RETRY 32");
    applied_begin(&d, 24, 32);
    d.view.retries_due = 0;
    on_isolated(&d, 24, 0, NULL);
    is_written(&d, 24, 0);
    begins(&d, "BEGIN 32", CUT); /* that a retry went well says nothing of the others */
    desk_deinit(&d);
}

/* No retry is. But if one were, what it learns is not of ordinary batches. */
static void a_retry_longer_than_asked_lets_nothing_be_cut(void **state)
{
    (void)state;
    struct desk d;
    desk_active(&d);
    retries(&d, "RETRY 64");
    applied_begin(&d, 8, 100);
    took_too_long(&d, 8);
    begins(&d, "BEGIN 64", WHOLE);
    desk_deinit(&d);
}

/* ---- The quarantine's retries ---- */

static void a_retry_goes_isolating_and_alone(void **state)
{
    (void)state;
    struct desk d;
    desk_active(&d);
    send_rows(&d, 8, 5);
    asks(&d, "send 8<-0 of 5");
    d.view.retries_due = 1;
    turn(&d);
    proposes(&d, ""); /* not behind another one */
    on_committed(&d, 8);
    proposes(&d, "FLUSHED 8<-0");
    applied_settling(&d, 8);
    proposes(&d, "RETRY 64");
    d.view.rows_due = BATCH_ROWS;
    d.view.due_full = true;
    applied_begin(&d, 10, 2);
    asks(&d, "isolate 10<-8 of 2");
    d.view.rows_due = BATCH_ROWS;
    turn(&d);
    proposes(&d, ""); /* nothing behind it */
    d.view.rows_due = 0;
    d.view.due_full = false;
    on_isolated(&d, 10, 1, "still bad");
    proposes(&d, "QUARANTINE 10 0+1");
    flush_session_quarantined(&d.s, 10, 1);
    d.view.retries_due = 0;
    turn(&d);
    asks(&d, "finish with mirror");
    on_committed(&d, 10);
    proposes(&d, "FLUSHED 10<-8");
    applied_settling(&d, 10);
    send_rows(&d, 12, 5);
    asks(&d, "send 12<-10 of 5"); /* that a known bad row was refused again makes no other one suspicious */
    desk_deinit(&d);
}

static void retries_and_other_rows_take_turns(void **state)
{
    (void)state;
    struct desk d;
    enum { ROUNDS = 60, GAP_MAX = 10 };
    unsigned retries = 0, since_retry = 0;
    uint64_t last = 0;
    desk_active(&d);
    for (uint64_t batch = 8; batch < 8 + ROUNDS; batch++) {
        d.view.retries_due = 1;
        d.view.rows_due = 3;
        turn(&d);
        const struct flush_command *c = flush_session_command(&d.s);
        assert_non_null(c);
        bool retry = c->kind == FLUSH_COMMAND_RETRY;
        assert_true(retry || c->kind == FLUSH_COMMAND_BEGIN);
        assert_false(retry && since_retry == 0 && batch > 8); /* the others are not starved */
        since_retry = retry ? 0 : since_retry + 1;
        assert_true(since_retry <= GAP_MAX); /* nor are they */
        retries += retry;
        flush_session_pop(&d.s);
        d.view.retries_due = 0;
        applied_begin(&d, batch, 1);
        if (retry) {
            on_isolated(&d, batch, 0, NULL);
        }
        on_committed(&d, batch);
        flush_session_pop(&d.s); /* FLUSHED */
        assert_null(flush_session_command(&d.s));
        last = batch;
        applied_settling(&d, last);
        d.asked[0] = '\0';
    }
    assert_true(retries >= 5);
    d.view.retries_due = 1; /* when nothing else is due they go one after the other */
    for (int i = 0; i < 3; i++) {
        turn(&d);
        proposes(&d, "RETRY 64");
        applied_begin(&d, ++last, 0);
    }
    desk_deinit(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bad_row_is_in_the_log_before_the_commit),
        cmocka_unit_test(thousands_of_faults_are_told_in_parts),
        cmocka_unit_test(what_was_not_told_when_the_connection_broke_is_not_told_any_more),
        cmocka_unit_test(a_row_that_only_the_commit_refuses_is_found_by_halving_and_condemned),
        cmocka_unit_test(a_condemned_batch_that_was_committed_after_all_is_flushed),
        cmocka_unit_test(a_batch_that_takes_too_long_is_halved_and_grows_again),
        cmocka_unit_test(a_batch_longer_than_asked_that_takes_too_long_is_cut_down_to_one_row),
        cmocka_unit_test(a_longer_batch_that_only_the_commit_refuses_is_cut_down_to_one_row),
        cmocka_unit_test(a_batch_as_long_as_asked_or_shorter_is_not_cut),
        cmocka_unit_test(a_small_batch_is_cut_when_it_is_the_first_that_is_longer_than_asked),
        cmocka_unit_test(what_is_asked_behind_a_batch_does_not_make_that_longer),
        cmocka_unit_test(a_longer_batch_that_fails_for_another_reason_is_cut_the_third_time),
        cmocka_unit_test(a_longer_batch_that_is_written_makes_up_for_those_that_failed),
        cmocka_unit_test(batches_are_cut_until_nothing_waits_any_more),
        cmocka_unit_test(a_new_office_cuts_nothing),
        cmocka_unit_test(a_retry_is_not_cut_and_changes_nothing_for_other_batches),
        cmocka_unit_test(a_retry_longer_than_asked_lets_nothing_be_cut),
        cmocka_unit_test(a_retry_goes_isolating_and_alone),
        cmocka_unit_test(retries_and_other_rows_take_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
