/* A session's notes, and how fresh it says that the database is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "flush/flush_session_test_help.h"

/* ---- Notes ---- */

static void a_note_goes_now_and_then_and_shows_the_quarantine_when_it_changed(void **state)
{
    (void)state;
    struct desk d;
    desk_active(&d);
    assert_int_equal(d.wake_ms, START_MS + 700);
    pass(&d, 699);
    asks(&d, "");
    pass(&d, 1);
    asks(&d, "note at 0");
    pass(&d, 5000);
    asks(&d, ""); /* one at a time */
    on_noted(&d);
    asks(&d, "note at 0");
    on_noted(&d);
    d.view.quarantine_changes++;
    turn(&d);
    asks(&d, "note at 0 with mirror"); /* it was shown long ago */
    on_noted(&d);
    pass(&d, 100);
    d.view.quarantine_changes++;
    turn(&d);
    asks(&d, "");
    assert_true(d.wake_ms <= d.now_ms + 400);
    pass(&d, 399);
    asks(&d, "");
    pass(&d, 1);
    asks(&d, "note at 0 with mirror"); /* twice a second at most */
    on_noted(&d);
    asks(&d, "");
    d.view.rows_due = 5;
    pass(&d, 700);
    proposes(&d, "BEGIN 5");
    asks(&d, ""); /* the batch that begins comes first: a note names the last one that was sent */
    applied_begin(&d, 8, 5);
    asks(&d, "send 8<-0 of 5; note at 8");
    desk_deinit(&d);
}

static void after_a_take_the_quarantine_is_shown_again(void **state)
{
    (void)state;
    struct desk d;
    desk_active(&d);
    on_failed(&d, FLUSH_ERROR_OUTAGE, "", "gone");
    take_again(&d, 0);
    asks(&d, "note at 0 with mirror"); /* it may be another server */
    desk_deinit(&d);
}

/* ---- How fresh ---- */

static void a_time_is_fresh_up_to_the_index_of_a_lease_check_after_it_came(void **state)
{
    (void)state;
    struct desk d;
    desk_init(&d, 0);
    d.view.born = d.view.claimed = true;
    d.view.applied_index = 10;
    turn(&d);
    on_taken(&d, 0);                                     /* clock 1000 */
    assert_int_equal(flush_session_fresh(&d.s, 100), 0); /* nobody knows whether we led */
    d.view.applied_index = 20;
    d.view.certain = true;
    turn(&d);
    assert_int_equal(flush_session_fresh(&d.s, 19), 0);
    assert_int_equal(flush_session_fresh(&d.s, 20), 1000);
    on_noted(&d); /* clock 1001, index 20 as well */
    assert_int_equal(flush_session_fresh(&d.s, 20), 1001);
    d.view.certain = false;
    pass(&d, 700);
    on_noted(&d); /* clock 1002, not checked yet */
    d.view.applied_index = 30;
    assert_int_equal(flush_session_fresh(&d.s, 30), 1001);
    pass(&d, 700);
    on_noted(&d); /* clock 1003 replaces it */
    d.view.certain = true;
    turn(&d);
    assert_int_equal(flush_session_fresh(&d.s, 29), 1001);
    assert_int_equal(flush_session_fresh(&d.s, 30), 1003);
    assert_int_equal(d.s.published_us, 1003);
    desk_deinit(&d);
}

static void a_server_clock_that_goes_back_publishes_nothing_older(void **state)
{
    (void)state;
    struct desk d;
    desk_active(&d);
    d.view.certain = true;
    d.clock_us = 5000;
    for (uint64_t i = 1; i <= 3; i++) {
        d.view.applied_index = 10 * i;
        pass(&d, 700);
        on_noted(&d);
        d.clock_us -= i == 1 ? 1000 : 0; /* 5000, 4001, 4002 */
    }
    assert_int_equal(flush_session_fresh(&d.s, 30), 5000);
    d.clock_us = 5001;
    d.view.applied_index = 40;
    pass(&d, 700);
    on_noted(&d);
    assert_int_equal(flush_session_fresh(&d.s, 40), 5001);
    desk_deinit(&d);
}

static void many_samples_thin_out_and_stay_true(void **state)
{
    (void)state;
    struct desk d;
    desk_active(&d);
    d.view.certain = true;
    d.clock_us = 10000;
    for (uint64_t i = 1; i <= 1000; i++) {
        d.view.applied_index = 10 * i; /* sampled with clock 10000 + i - 1 */
        pass(&d, 700);
        on_noted(&d);
        assert_true(d.s.n_samples <= FLUSH_SAMPLES_MAX);
    }
    int64_t before = 0;
    for (uint64_t index = 1000; index <= 10000; index += 7) {
        int64_t fresh = flush_session_fresh(&d.s, index);
        int64_t true_at = 10000 + (int64_t)(index / 10) - 1;
        assert_true(fresh <= true_at && fresh >= before);
        before = fresh;
    }
    assert_int_equal(flush_session_fresh(&d.s, 10000), 10999);
    desk_deinit(&d);
}

static void a_sample_does_not_outlive_its_connection(void **state)
{
    (void)state;
    struct desk d;
    desk_active(&d);
    d.view.certain = true;
    turn(&d);
    assert_int_equal(flush_session_fresh(&d.s, 100), 1001);
    on_failed(&d, FLUSH_ERROR_OUTAGE, "", "gone");
    assert_int_equal(flush_session_fresh(&d.s, 100), 0);
    d.clock_us = 500; /* of another server */
    take_again(&d, 0);
    turn(&d);
    assert_int_equal(flush_session_fresh(&d.s, 100), 500);
    desk_deinit(&d);
}

/* The server was exchanged while the group rested: it has neither the quarantine's rows nor the clock. */
static void a_database_that_went_back_while_the_group_rested_is_shown_everything_again(void **state)
{
    (void)state;
    struct desk d;
    desk_active(&d);
    d.view.certain = true;
    send_rows(&d, 8, 5);
    on_committed(&d, 8);
    flush_session_pop(&d.s);
    applied_settling(&d, 8);
    d.wanted = true;
    turn(&d);
    d.asked[0] = '\0';
    d.clock_us = 10; /* the new one's is behind */
    pass(&d, 10000);
    asks(&d, "take 6");
    on_taken(&d, 0);
    proposes(&d, "REWIND 0");
    applied_settling(&d, 0);
    asks(&d, "note at 0 with mirror");
    assert_true(flush_session_fresh(&d.s, 100) <= 10);
    desk_deinit(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_database_that_went_back_while_the_group_rested_is_shown_everything_again),
        cmocka_unit_test(a_note_goes_now_and_then_and_shows_the_quarantine_when_it_changed),
        cmocka_unit_test(after_a_take_the_quarantine_is_shown_again),
        cmocka_unit_test(a_time_is_fresh_up_to_the_index_of_a_lease_check_after_it_came),
        cmocka_unit_test(a_server_clock_that_goes_back_publishes_nothing_older),
        cmocka_unit_test(many_samples_thin_out_and_stay_true),
        cmocka_unit_test(a_sample_does_not_outlive_its_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
