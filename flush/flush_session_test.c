/* A session's life: birth, settling, batches, resting, what goes wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "flush/flush_session_test_help.h"

/* ---- Birth ---- */

static void a_new_cluster_looks_is_born_claims_and_takes(void **state)
{
    (void)state;
    struct desk d;
    desk_init(&d, 0);
    turn(&d);
    asks(&d, "inspect 0");
    flush_session_events.inspected(&d.s, &(struct flush_inspected){.found = FLUSH_DB_EMPTY});
    turn(&d);
    proposes(&d, "GENESIS");
    asks(&d, "");
    d.view.born = true;
    d.view.identity.cluster_id[0] = 9;
    turn(&d);
    asks(&d, "claim 9");
    flush_session_events.claimed(&d.s);
    turn(&d);
    proposes(&d, "CLAIMED");
    d.view.claimed = true;
    turn(&d);
    asks(&d, "take 6");
    assert_state(&d, FLUSH_TAKING);
    desk_deinit(&d);
    asks(&d, "disconnect");
}

static void a_foreign_database_halts_whoever_is_certain_to_lead(void **state)
{
    (void)state;
    struct desk d;
    desk_init(&d, 0);
    turn(&d);
    asks(&d, "inspect 0");
    d.view.certain = true;
    flush_session_events.inspected(
        &d.s, &(struct flush_inspected){.found = FLUSH_DB_FOREIGN, .group_count = 3});
    turn(&d);
    asks(&d, "disconnect");
    assert_state(&d, FLUSH_HALTED);
    assert_int_equal(d.wake_ms, START_MS + 5000);
    pass(&d, 4999);
    asks(&d, "");
    pass(&d, 1);
    asks(&d, "inspect 0");
    desk_deinit(&d);
}

/* ---- Settling ---- */

struct settling {
    uint64_t last, newest, in_flight[2], fence;
    const char *proposed;
};

static void the_fence_row_settles_every_batch_in_flight(void **state)
{
    (void)state;
    static const struct settling rows[] = {
        {4, 7, {5, 7}, 4, "ABORT 5"},                    /* nothing was committed */
        {4, 7, {5, 7}, 5, "FLUSHED 5<-4; ABORT 7"},      /* one was */
        {4, 7, {5, 7}, 7, "FLUSHED 5<-4; FLUSHED 7<-5"}, /* both were */
        {4, 4, {0, 0}, 4, ""},
        {4, 9, {0, 0}, 2, "REWIND 2"}, /* it went back */
        {4, 9, {5, 9}, 0, "REWIND 0"},
        {4, 9, {5, 9}, 3, "REWIND 3"},
        {4, 9, {0, 0}, 9, "REWIND 9"}, /* forward, to one that was aborted, or left behind */
        {4, 9, {5, 9}, 6, "REWIND 6"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct desk d;
        desk_init(&d, 0);
        d.view = (struct flush_view){
            .born = true, .claimed = true, .last_batch = rows[i].last, .newest_batch = rows[i].newest};
        for (int k = 0; k < 2 && rows[i].in_flight[k] != 0; k++) {
            d.view.in_flight[d.view.n_in_flight++] = rows[i].in_flight[k];
        }
        turn(&d);
        on_taken(&d, rows[i].fence);
        proposes(&d, rows[i].proposed);
        bool settled = rows[i].proposed[0] == '\0';
        assert_state(&d, settled ? FLUSH_ACTIVE : FLUSH_SETTLING);
        /* Nothing more is said while that is on its way; then it is settled. */
        d.view.commands_pending = settled ? 0 : 1;
        d.view.rows_due = 1;
        turn(&d);
        proposes(&d, settled ? "BEGIN 1" : "");
        d.view.commands_pending = 0;
        applied_settling(&d, rows[i].fence);
        assert_state(&d, FLUSH_ACTIVE);
        desk_deinit(&d);
    }
}

static void a_database_beyond_the_log_halts_with_words(void **state)
{
    (void)state;
    struct desk d;
    desk_init(&d, 0);
    d.view = (struct flush_view){.born = true, .claimed = true, .last_batch = 4, .newest_batch = 9};
    turn(&d);
    on_taken(&d, 10);
    assert_state(&d, FLUSH_HALTED);
    assert_non_null(strstr(d.s.last_error.message, "older than the database"));
    asks(&d, "take 6; disconnect");
    assert_int_equal(d.wake_ms, START_MS + 5000);
    pass(&d, 5000);
    asks(&d, "take 6"); /* the operator may have put the folders right */
    desk_deinit(&d);
}

static void a_begin_under_way_when_the_connection_broke_is_waited_for_and_settled(void **state)
{
    (void)state;
    struct desk d;
    desk_active(&d);
    d.view.rows_due = 3;
    turn(&d);
    proposes(&d, "BEGIN 3");
    on_failed(&d, FLUSH_ERROR_OUTAGE, "", "gone");
    take_again(&d, 0);
    assert_state(&d, FLUSH_SETTLING);
    proposes(&d, "");
    applied_begin(&d, 8, 3); /* and is not sent */
    asks(&d, "");
    proposes(&d, "ABORT 8");
    applied_settling(&d, 0);
    assert_state(&d, FLUSH_ACTIVE);
    desk_deinit(&d);
}

static void a_commit_that_was_seen_is_still_told_after_the_connection_broke(void **state)
{
    (void)state;
    struct desk d;
    desk_active(&d);
    send_rows(&d, 8, 3);
    asks(&d, "send 8<-0 of 3");
    flush_session_events.committed(&d.s, 8, 1);
    on_failed(&d, FLUSH_ERROR_OUTAGE, "", "gone");
    proposes(&d, "FLUSHED 8<-0");
    desk_deinit(&d);
}

/* ---- Batches ---- */

static void whole_batches_go_one_behind_the_other_and_small_ones_alone(void **state)
{
    (void)state;
    struct desk d;
    desk_active(&d);
    send_rows(&d, 8, 10);
    d.view.rows_due = 10;
    turn(&d);
    proposes(&d, ""); /* behind another one: not worth it */
    d.view.rows_due = BATCH_ROWS;
    d.view.due_full = true;
    turn(&d);
    proposes(&d, "BEGIN 64");
    turn(&d);
    proposes(&d, ""); /* one BEGIN at a time */
    applied_begin(&d, 9, BATCH_ROWS);
    asks(&d, "send 8<-0 of 10; send 9<-8 of 64");
    d.view.rows_due = BATCH_ROWS;
    turn(&d);
    proposes(&d, "BEGIN 64");
    applied_begin(&d, 10, 0); /* somebody else's work: there were none */
    asks(&d, "");
    d.view.rows_due = BATCH_ROWS;
    turn(&d);
    proposes(&d, "BEGIN 64");
    applied_begin(&d, 11, BATCH_ROWS);
    asks(&d, "send 11<-9 of 64");
    d.view.rows_due = BATCH_ROWS;
    turn(&d);
    proposes(&d, ""); /* three are in flight */
    flush_session_events.committed(&d.s, 8, 1);
    flush_session_events.committed(&d.s, 9, 2);
    proposes(&d, "FLUSHED 8<-0; FLUSHED 9<-8");
    desk_deinit(&d);
}

/* ---- Resting ---- */

static void an_idle_group_gives_back_what_others_want_and_comes_back_for_work(void **state)
{
    (void)state;
    struct desk d;
    for (int why = 0; why < 3; why++) {
        desk_active(&d);
        pass(&d, 10);
        asks(&d, ""); /* nobody wants it */
        d.wanted = true;
        turn(&d);
        asks(&d, "release");
        assert_state(&d, FLUSH_RESTING);
        turn(&d);
        asks(&d, "");
        d.view.rows_due = why == 0 ? 1 : 0;
        d.view.retries_due = why == 1 ? 1 : 0;
        if (why == 2) {
            assert_true(d.wake_ms > d.now_ms && d.wake_ms < d.now_ms + 60000); /* for a note, by and by */
            d.now_ms = d.wake_ms;
        }
        turn(&d);
        asks(&d, "take 6");
        on_taken(&d, 0);
        asks(&d, why == 2 ? "note at 0" : ""); /* without the quarantine: nothing failed */
        proposes(&d, why == 0 ? "BEGIN 1" : why == 1 ? "RETRY 64" : "");
        desk_deinit(&d);
    }
}

static void a_busy_group_keeps_what_others_want_for_a_while(void **state)
{
    (void)state;
    struct desk d;
    desk_active(&d);
    d.wanted = true;
    send_rows(&d, 8, 5);
    d.asked[0] = '\0';
    d.view.rows_due = 5;
    pass(&d, 199);
    on_committed(&d, 8);
    proposes(&d, "FLUSHED 8<-0");
    applied_settling(&d, 8);
    proposes(&d, "BEGIN 5"); /* its time is not over */
    applied_begin(&d, 9, 5);
    d.asked[0] = '\0';
    d.view.rows_due = 5;
    d.view.due_full = true;
    pass(&d, 1);
    proposes(&d, "");
    asks(&d, ""); /* what it began it finishes */
    on_committed(&d, 9);
    asks(&d, "");
    proposes(&d, "FLUSHED 9<-8");
    applied_settling(&d, 9);
    asks(&d, "release; take 6"); /* behind those who wait */
    desk_deinit(&d);
}

/* ---- What goes wrong ---- */

static void an_outage_backs_off_with_jitter_and_remembers_since_when(void **state)
{
    (void)state;
    struct desk d;
    uint64_t delay = RETRY_MIN_MS;
    bool jitter = false;
    desk_active(&d);
    for (int i = 0; i < 6; i++) {
        on_failed(&d, FLUSH_ERROR_OUTAGE, "08006", i == 0 ? "first" : "later");
        assert_state(&d, FLUSH_BACKOFF);
        assert_true(d.wake_ms >= d.now_ms + delay / 2 && d.wake_ms <= d.now_ms + delay);
        jitter = jitter || (d.wake_ms != d.now_ms + delay && d.wake_ms != d.now_ms + delay / 2);
        assert_string_equal(d.s.last_error.message, i == 0 ? "first" : "later");
        assert_string_equal(d.s.last_error.sqlstate, "08006");
        assert_int_equal(d.s.error_since_ms, START_MS);
        d.now_ms = d.wake_ms - 1;
        turn(&d);
        asks(&d, "");
        pass(&d, 1);
        asks(&d, "take 6");
        delay = 2 * delay < RETRY_MAX_MS ? 2 * delay : RETRY_MAX_MS;
    }
    assert_true(jitter);
    assert_int_equal(d.s.failures, 6);
    on_taken(&d, 0);
    on_noted(&d);
    assert_string_equal(d.s.last_error.message, "");
    send_rows(&d, 8, 1);
    on_committed(&d, 8);
    d.now_ms += 7;
    on_failed(&d, FLUSH_ERROR_OUTAGE, "08006", "again");
    assert_int_equal(d.s.error_since_ms, d.now_ms - 7);      /* of the turn before */
    assert_true(d.s.retry_at_ms <= d.now_ms + RETRY_MIN_MS); /* a success forgot the back-off */
    desk_deinit(&d);
}

static void halted_looks_again_slowly_and_fenced_is_counted(void **state)
{
    (void)state;
    struct desk d;
    desk_active(&d);
    on_failed(&d, FLUSH_ERROR_HALT, "42P01", "relation does not exist");
    assert_state(&d, FLUSH_HALTED);
    assert_int_equal(d.wake_ms, START_MS + 5000);
    pass(&d, 4999);
    asks(&d, "");
    pass(&d, 1);
    asks(&d, "take 6");
    on_failed(&d, FLUSH_ERROR_FENCED, "WB001", "term 7 holds it");
    assert_state(&d, FLUSH_FENCED);
    assert_int_equal(d.s.fenced_count, 1);
    assert_true(d.wake_ms <= d.now_ms + RETRY_MIN_MS);
    pass(&d, RETRY_MIN_MS);
    asks(&d, "take 6");
    on_failed(&d, FLUSH_ERROR_PREDECESSOR, "WB002", "not there");
    assert_state(&d, FLUSH_BACKOFF);
    assert_int_equal(d.s.fenced_count, 1);
    desk_deinit(&d);
}

static void a_suspicion_takes_the_fence_again_but_not_all_the_time(void **state)
{
    (void)state;
    struct desk d;
    desk_active(&d);
    flush_session_suspect(&d.s, "a load saw another server");
    turn(&d);
    asks(&d, "disconnect");
    assert_state(&d, FLUSH_BACKOFF);
    assert_string_equal(d.s.last_error.message, "a load saw another server");
    flush_session_suspect(&d.s, "and again");
    asks(&d, "");
    take_again(&d, 0);
    assert_state(&d, FLUSH_ACTIVE);
    asks(&d, "note at 0 with mirror");
    on_noted(&d);
    flush_session_suspect(&d.s, "too soon");
    asks(&d, "");
    assert_state(&d, FLUSH_ACTIVE);
    pass(&d, 5000);
    d.asked[0] = '\0';
    flush_session_suspect(&d.s, "late enough");
    asks(&d, "disconnect");
    desk_deinit(&d);
}

static void nothing_is_asked_of_the_flusher_after_stop(void **state)
{
    (void)state;
    struct desk d;
    desk_active(&d);
    send_rows(&d, 8, 10);
    isolate_again(&d, 0, 8, 12, 10);
    on_isolated(&d, 12, 3, "violates check");
    flush_session_stop(&d.s);
    asks(&d, "disconnect");
    assert_null(flush_session_command(&d.s));
    flush_session_stop(&d.s);
    pass(&d, 100000);
    asks(&d, "");
    assert_int_equal(d.wake_ms, UINT64_MAX);
    desk_deinit(&d);
}

/* Taking the fence succeeds each time, the batch behind it never does. */
static void an_error_that_comes_again_with_every_batch_has_begun_with_the_first(void **state)
{
    (void)state;
    struct desk d;
    desk_active(&d);
    send_rows(&d, 8, 5);
    on_failed(&d, FLUSH_ERROR_TRANSIENT, "40P01", "deadlock detected");
    uint64_t since = d.s.error_since_ms;
    for (uint64_t batch = 9; batch < 12; batch++) {
        take_again(&d, 0);
        flush_session_pop(&d.s); /* ABORT */
        applied_settling(&d, 0);
        on_noted(&d);
        send_rows(&d, batch, 5);
        on_failed(&d, FLUSH_ERROR_TRANSIENT, "40P01", "deadlock detected");
    }
    assert_int_equal(d.s.error_since_ms, since);
    desk_deinit(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_that_comes_again_with_every_batch_has_begun_with_the_first),
        cmocka_unit_test(a_new_cluster_looks_is_born_claims_and_takes),
        cmocka_unit_test(a_foreign_database_halts_whoever_is_certain_to_lead),
        cmocka_unit_test(the_fence_row_settles_every_batch_in_flight),
        cmocka_unit_test(a_database_beyond_the_log_halts_with_words),
        cmocka_unit_test(a_begin_under_way_when_the_connection_broke_is_waited_for_and_settled),
        cmocka_unit_test(a_commit_that_was_seen_is_still_told_after_the_connection_broke),
        cmocka_unit_test(whole_batches_go_one_behind_the_other_and_small_ones_alone),
        cmocka_unit_test(an_idle_group_gives_back_what_others_want_and_comes_back_for_work),
        cmocka_unit_test(a_busy_group_keeps_what_others_want_for_a_while),
        cmocka_unit_test(an_outage_backs_off_with_jitter_and_remembers_since_when),
        cmocka_unit_test(halted_looks_again_slowly_and_fenced_is_counted),
        cmocka_unit_test(a_suspicion_takes_the_fence_again_but_not_all_the_time),
        cmocka_unit_test(nothing_is_asked_of_the_flusher_after_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
