#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "node/stamp.h"

static void stamps_follow_monotonic_time(void **state)
{
    (void)state;
    struct stamp_clock c = {0};
    stamp_observe(&c, 1000000, 500, false);
    assert_int_equal(stamp_now(&c, 500, 1000000), 1000000);
    assert_int_equal(stamp_now(&c, 600, 1000100), 1000100);
}

static void ones_own_stamps_come_back_late_without_slowing_time(void **state)
{
    (void)state;
    struct stamp_clock c = {0};
    stamp_observe(&c, 1000000, 0, false);
    for (uint64_t now = 10; now <= 1000; now += 10) {
        uint64_t stamp = stamp_now(&c, now, 1000000 + now);
        stamp_observe(&c, stamp, now + 7, false); /* its entry applies 7 ms later */
    }
    assert_int_equal(stamp_now(&c, 1010, 1001010), 1001010);
}

static void a_wall_clock_slightly_ahead_pulls_slowly(void **state)
{
    (void)state;
    struct stamp_clock c = {0};
    stamp_observe(&c, 1000000, 0, false);
    assert_int_equal(stamp_now(&c, 80, 1000000 + 80 + 1000), 1000000 + 80 + 10);
    uint64_t wall = 1000000 + 1080;
    for (uint64_t now = 160; now < 20000; now += 80) {
        wall = 1000000 + 1000 + now;
        stamp_now(&c, now, wall);
    }
    assert_int_equal(stamp_offset_ms(&c, 20000, wall + (20000 - 19920)), 0);
}

static void a_wall_clock_slightly_behind_slows_but_never_turns_back(void **state)
{
    (void)state;
    struct stamp_clock c = {0};
    stamp_observe(&c, 1000000, 0, false);
    uint64_t last = 0;
    for (uint64_t now = 0; now < 5000; now += 3) {
        uint64_t stamp = stamp_now(&c, now, 1000000 + now - 900);
        assert_true(stamp >= last);
        last = stamp;
    }
    assert_true(last < 1000000 + 5000 - 400);
}

static void a_wall_clock_far_away_is_not_followed(void **state)
{
    (void)state;
    struct stamp_clock c = {0};
    stamp_observe(&c, 1000000, 0, false);
    uint64_t years = 1000ull * 60 * 60 * 24 * 365;
    assert_int_equal(stamp_now(&c, 1000, 1000000 + years), 1001000);
    assert_int_equal(stamp_now(&c, 2000, 0), 1002000);
    assert_true(stamp_offset_ms(&c, 2000, 1000000 + years) > STAMP_BOUND_MS);
}

static void after_a_restart_the_wall_clock_is_taken_if_ahead(void **state)
{
    (void)state;
    struct stamp_clock c = {0};
    stamp_observe(&c, 1000000, 0, true);
    assert_int_equal(stamp_now(&c, 10, 9000000), 9000000);
    struct stamp_clock d = {0};
    stamp_observe(&d, 1000000, 0, true);
    assert_true(stamp_now(&d, 10, 500) >= 1000000);
}

static void the_machine_s_uptime_is_no_time_since_the_last_stamp(void **state)
{
    (void)state;
    const uint64_t month = 1000ull * 60 * 60 * 24 * 30;
    struct stamp_clock c = {0};
    stamp_observe(&c, 1000000, 0, true); /* of a snapshot: there is no monotonic time with it */
    assert_int_equal(stamp_offset_ms(&c, month, 1000500), 500);
    assert_int_equal(stamp_now(&c, month, 1000500), 1000500);
    assert_int_equal(stamp_now(&c, month + 4, 1000504), 1000504);
    struct stamp_clock late = {0};
    stamp_observe(&late, 1000000, month, false);
    stamp_observe(&late, 2000000, 0, true); /* a snapshot of the leader's, far behind */
    assert_int_equal(stamp_now(&late, month + 10, 500), 2000000);
}

static void a_new_leader_s_correction_does_not_go_below_the_old_leader_s_stamps(void **state)
{
    (void)state;
    struct stamp_clock c = {0};
    stamp_observe(&c, 1000000, 0, false);
    stamp_observe(&c, 1000099, 100, false); /* a millisecond old: it sets no clock */
    uint64_t stamp = stamp_now(&c, 101, 1000000 + 101 - 1000);
    assert_true(stamp >= 1000099);
    assert_true(stamp_now(&c, 110, 1000000 + 110 - 1000) >= stamp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stamps_follow_monotonic_time),
        cmocka_unit_test(ones_own_stamps_come_back_late_without_slowing_time),
        cmocka_unit_test(a_wall_clock_slightly_ahead_pulls_slowly),
        cmocka_unit_test(a_wall_clock_slightly_behind_slows_but_never_turns_back),
        cmocka_unit_test(a_wall_clock_far_away_is_not_followed),
        cmocka_unit_test(after_a_restart_the_wall_clock_is_taken_if_ahead),
        cmocka_unit_test(a_new_leader_s_correction_does_not_go_below_the_old_leader_s_stamps),
        cmocka_unit_test(the_machine_s_uptime_is_no_time_since_the_last_stamp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
