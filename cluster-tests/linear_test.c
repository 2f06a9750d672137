/* Histories written by hand: what the judge must accept, what it must not, and what it says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cluster-tests/linear_test_help.h"

static int setup(void **state)
{
    static struct script s;
    script_init(&s);
    *state = &s;
    return 0;
}

static int teardown(void **state)
{
    script_deinit(*state);
    return 0;
}

static void assert_verdict(const struct script *s, enum linear_status expected)
{
    struct linear_report report;
    enum linear_status status = linear_check(&s->history, NULL, &report);
    if (status != expected) {
        print_message("%.*s", (int)report.explanation.len, (const char *)report.explanation.data);
    }
    assert_string_equal(linear_status_text(status), linear_status_text(expected));
    assert_int_equal(status == LINEAR_LINEARIZABLE, report.explanation.len == 0);
    linear_report_deinit(&report);
}

static void assert_good(const struct script *s)
{
    assert_verdict(s, LINEAR_LINEARIZABLE);
}

static void assert_bad(const struct script *s)
{
    assert_verdict(s, LINEAR_NOT_LINEARIZABLE);
}

/* The judge says NOT_LINEARIZABLE, and @words are in what it says. */
static void assert_said(const struct script *s, const char *words)
{
    struct linear_report report;
    assert_int_equal(linear_check(&s->history, NULL, &report), LINEAR_NOT_LINEARIZABLE);
    buf_append_u8(&report.explanation, '\0');
    if (strstr((const char *)report.explanation.data, words) == NULL) {
        print_message("%s", (const char *)report.explanation.data);
        fail_msg("it does not say: %s", words);
    }
    linear_report_deinit(&report);
}

static void an_empty_history_is_linearizable(void **state)
{
    struct script *s = *state;
    assert_good(s);
}

static void operations_one_after_another_are_linearizable(void **state)
{
    struct script *s = *state;
    script_get(s, 10, 11, NULL, 0);
    script_set(s, 20, 21, "x", 5);
    script_get(s, 30, 31, "x", 5);
    script_append(s, 40, 41, "yz", 3, 6);
    script_get(s, 50, 51, "xyz", 6);
    script_cas(s, 60, 61, "6", "7", true, 7);
    script_incr(s, 70, 71, -10, -3, 8);
    script_getdel(s, 80, 81, "-3", 9);
    script_getdel(s, 82, 83, NULL, 0);
    script_del(s, 90, 91, false, 0);
    script_incr(s, 100, 101, 4, 4, 10);
    script_del(s, 110, 111, true, 11);
    script_append(s, 120, 121, "a", 1, 12);
    assert_good(s);
}

static void a_read_may_see_either_side_of_a_concurrent_write(void **state)
{
    struct script *s = *state;
    script_set(s, 10, 20, "old", 1);
    script_set(s, 30, 60, "new", 2);
    script_get(s, 31, 40, "new", 2);
    script_get(s, 32, 33, "old", 1);
    assert_good(s);
}

static void a_stale_read_is_not_linearizable(void **state)
{
    struct script *s = *state;
    script_set(s, 10, 20, "old", 0);
    script_set(s, 30, 40, "new", 0);
    script_get(s, 50, 60, "old", 0);
    assert_bad(s);
}

static void a_read_must_not_go_back_behind_another_read(void **state)
{
    struct script *s = *state;
    script_set(s, 10, 20, "old", 0);
    script_set(s, 30, 100, "new", 0);
    script_get(s, 40, 50, "new", 0);
    script_get(s, 60, 70, "old", 0);
    assert_bad(s);
}

static void an_operation_that_starts_when_another_ends_is_concurrent_to_it(void **state)
{
    struct script *s = *state;
    script_set(s, 10, 20, "x", 0);
    script_get(s, 20, 30, NULL, 0);
    assert_good(s);
    script_get(s, 31, 40, NULL, 0);
    assert_bad(s);
}

static void a_lost_update_is_not_linearizable(void **state)
{
    struct script *s = *state;
    script_set(s, 10, 20, "1", 0);
    script_incr(s, 30, 50, 1, 2, 0);
    script_incr(s, 35, 55, 1, 2, 0);
    assert_bad(s);
}

static void an_increment_that_counted_twice_is_not_linearizable(void **state)
{
    struct script *s = *state;
    script_incr(s, 10, 20, 1, 1, 0);
    script_incr(s, 30, 40, 1, 2, 0);
    script_get(s, 50, 60, "3", 0);
    assert_bad(s);
}

static void a_deleted_value_must_not_come_back(void **state)
{
    struct script *s = *state;
    script_set(s, 10, 20, "x", 0);
    script_del(s, 30, 40, true, 0);
    script_get(s, 50, 60, NULL, 0);
    assert_good(s);
    script_get(s, 70, 80, "x", 0);
    assert_bad(s);
}

static void a_value_that_nobody_wrote_is_not_linearizable(void **state)
{
    struct script *s = *state;
    script_set(s, 10, 20, "x", 0);
    script_get(s, 12, 18, "z", 0);
    assert_bad(s);
}

static void the_same_condition_cannot_succeed_twice(void **state)
{
    struct script *s = *state;
    script_set(s, 10, 20, "x", 5);
    script_cas(s, 30, 50, "5", "a", true, 0);
    script_cas(s, 30, 50, "5", "b", false, 6);
    assert_good(s);
    script_cas(s, 30, 50, "5", "c", true, 0);
    assert_bad(s);
}

static void two_cannot_both_create_a_key(void **state)
{
    struct script *s = *state;
    script_cas(s, 10, 20, "absent", "a", true, 0);
    script_cas(s, 10, 20, "absent", "b", false, 0);
    script_cas(s, 30, 40, "present", "c", true, 0);
    assert_good(s);
    script_cas(s, 10, 20, "0", "d", true, 0);
    assert_bad(s);
}

static void a_failed_condition_must_have_been_false(void **state)
{
    struct script *s = *state;
    script_cas(s, 10, 20, "present", "a", false, 0);
    script_set(s, 30, 40, "x", 5);
    script_cas(s, 50, 60, "absent", "a", false, 5);
    script_cas(s, 50, 60, "4", "a", false, 5);
    script_cas(s, 50, 60, "0", "a", false, 5);
    assert_good(s);
    script_cas(s, 70, 80, "5", "a", false, 5);
    assert_bad(s);
}

static void failed_increments_say_what_was_there(void **state)
{
    struct script *s = *state;
    script_set(s, 10, 20, "01", 1);
    script_incr_fails(s, 30, 40, 1, HISTORY_NOT_A_NUMBER);
    script_set(s, 50, 60, "9223372036854775807", 2);
    script_incr_fails(s, 70, 80, 1, HISTORY_OUT_OF_RANGE);
    script_incr(s, 90, 91, -1, INT64_MAX - 1, 3);
    assert_good(s);
    script_incr_fails(s, 100, 110, 1, HISTORY_OUT_OF_RANGE);
    assert_bad(s);
}

static void a_sum_that_no_number_leads_to_is_not_linearizable(void **state)
{
    struct script *s = *state;
    script_incr(s, 10, 20, 2, INT64_MIN, 0);
    assert_bad(s);
}

static void an_unknown_write_may_have_happened(void **state)
{
    struct script *s = *state;
    script_set(s, 10, 0, "x", 0);
    script_set(s, 15, 16, "y", 0);
    script_get(s, 100, 110, "x", 0);
    script_get(s, 120, 130, "x", 0);
    assert_good(s);
}

static void an_unknown_write_happens_once_at_most(void **state)
{
    struct script *s = *state;
    script_set(s, 10, 0, "x", 0);
    script_get(s, 20, 30, "x", 0);
    script_set(s, 40, 50, "y", 0);
    script_get(s, 60, 70, "x", 0);
    assert_bad(s);
}

static void an_unknown_write_does_not_happen_before_it_began(void **state)
{
    struct script *s = *state;
    script_get(s, 10, 20, "x", 0);
    script_set(s, 30, 0, "x", 0);
    assert_bad(s);
}

static void an_unknown_write_that_must_have_happened_is_not_undone(void **state)
{
    struct script *s = *state;
    script_set(s, 10, 20, "a", 0);
    script_set(s, 30, 0, "b", 0);
    script_get(s, 40, 50, "b", 0);
    script_get(s, 60, 70, "a", 0);
    assert_bad(s);
}

static void unknown_increments_count_as_often_as_the_sum_says(void **state)
{
    struct script *s = *state;
    for (uint64_t i = 0; i < 100; i++) {
        script_incr(s, 10 + i, 0, 1, 0, 0);
    }
    script_incr(s, 200, 210, 1, 41, 0);
    script_get(s, 220, 230, "57", 0);
    script_get(s, 240, 250, "101", 0);
    assert_good(s);
    script_get(s, 260, 270, "102", 0);
    assert_bad(s);
}

static void unknown_deletes_and_conditions_have_effects_too(void **state)
{
    struct script *s = *state;
    script_set(s, 10, 20, "a", 5);
    script_cas(s, 30, 0, "5", "b", false, 0);
    script_getdel(s, 30, 0, NULL, 0);
    script_append(s, 30, 0, "c", 0, 0);
    script_get(s, 100, 110, "b", 6);
    script_get(s, 120, 130, NULL, 0);
    script_get(s, 140, 150, "c", 8);
    assert_good(s);
    script_get(s, 160, 170, "cc", 0);
    assert_bad(s);
}

static void unknown_writes_take_versions(void **state)
{
    struct script *s = *state;
    script_set(s, 10, 20, "a", 5);
    script_set(s, 30, 0, "b", 0);
    script_append(s, 30, 0, "c", 0, 0);
    script_get(s, 40, 50, "bc", 7); /* b got 6 */
    assert_good(s);
    script_deinit(s);
    script_init(s);
    script_set(s, 10, 20, "a", 5);
    script_set(s, 30, 0, "b", 0);
    script_append(s, 30, 0, "c", 0, 0);
    script_get(s, 40, 50, "bc", 6); /* b has no version between 5 and 6 */
    assert_bad(s);
}

static void an_operation_that_was_never_ended_is_unknown(void **state)
{
    struct script *s = *state;
    size_t handle;
    struct history_arg arg = {.value = bytes_from_text("x")};
    assert_int_equal(
        history_begin(&s->history, 1, HISTORY_SET, bytes_from_text("k"), &arg, 5, &handle), STATUS_OK);
    script_get(s, 10, 20, "x", 0);
    assert_good(s);
}

static void keys_are_judged_one_by_one(void **state)
{
    struct script *s = *state;
    script_set(s, 10, 20, "x", 0);
    s->key = "other";
    script_get(s, 30, 40, NULL, 0);
    assert_good(s);
    script_get(s, 50, 60, "x", 0);
    assert_said(s, "key \"other\" is not linearizable");
}

static void a_lower_version_than_an_earlier_operation_saw_is_told(void **state)
{
    struct script *s = *state;
    script_set(s, 10, 20, "a", 7);
    script_set(s, 10, 20, "b", 8);
    script_get(s, 30, 40, "b", 8);
    script_get(s, 50, 60, "a", 7);
    assert_said(s, "saw an older version:\n    client 1: set \"b\" -> done, version 8");
}

static void a_write_without_a_newer_version_is_told(void **state)
{
    struct script *s = *state;
    script_set(s, 10, 20, "a", 7);
    script_set(s, 30, 40, "b", 6);
    assert_said(s, "wrote no newer version");
}

static void a_condition_on_a_version_is_followed_by_a_newer_one(void **state)
{
    struct script *s = *state;
    script_set(s, 10, 20, "a", 7);
    script_cas(s, 15, 40, "7", "b", true, 7);
    assert_said(s, "a write got no newer version than the one that it replaced");
}

static void a_version_that_two_writes_have_is_told(void **state)
{
    struct script *s = *state;
    script_set(s, 10, 20, "a", 7);
    script_set(s, 10, 20, "b", 7);
    assert_said(s, "two writes have the same version");
}

static void a_version_that_has_two_values_is_told(void **state)
{
    struct script *s = *state;
    script_set(s, 10, 20, "a", 7);
    script_set(s, 10, 20, "b", 8);
    script_get(s, 10, 20, "a", 8);
    assert_said(s, "one version has two values");
}

static void versions_in_the_wrong_order_are_found_by_the_search_too(void **state)
{
    struct script *s = *state;
    script_set(s, 10, 100, "a", 8);
    script_set(s, 10, 100, "b", 7);
    script_get(s, 20, 30, "a", 0);
    script_get(s, 40, 50, "b", 0);
    assert_said(s, "This operation has no place");
}

static void the_explanation_names_the_operation_and_its_surroundings(void **state)
{
    struct script *s = *state;
    script_set(s, 1000000, 2000000, "a", 0);
    script_set(s, 3000000, 9000000, "b", 0);
    script_get(s, 4000000, 5000000, "b", 0);
    script_get(s, 6000000, 7000000, "a", 0);
    script_incr(s, 6500000, 0, 1, 0, 0);
    script_get(s, 10000000, 11000000, "b", 0);
    assert_said(s, "  This operation has no place:\n"
                   "    client 3: get -> \"a\"   [5.000000 ms .. 6.000000 ms]\n"
                   "  The 2 operations that ended before it have an order, for example:\n"
                   "    client 0: set \"a\" -> done   [0.000000 ms .. 1.000000 ms]\n"
                   "    client 1: set \"b\" -> done   [2.000000 ms .. 8.000000 ms]\n"
                   "    client 2: get -> \"b\"   [3.000000 ms .. 4.000000 ms]\n"
                   "  and leaves \"b\". But no such order has a place for this one, too.\n"
                   "  Also under way, and not in that order:\n"
                   "    client 4: incr by 1 -> unknown   [5.500000 ms .. ]\n");
}

int main(void)
{
#define script_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        script_test(an_empty_history_is_linearizable),
        script_test(operations_one_after_another_are_linearizable),
        script_test(a_read_may_see_either_side_of_a_concurrent_write),
        script_test(a_stale_read_is_not_linearizable),
        script_test(a_read_must_not_go_back_behind_another_read),
        script_test(an_operation_that_starts_when_another_ends_is_concurrent_to_it),
        script_test(a_lost_update_is_not_linearizable),
        script_test(an_increment_that_counted_twice_is_not_linearizable),
        script_test(a_deleted_value_must_not_come_back),
        script_test(a_value_that_nobody_wrote_is_not_linearizable),
        script_test(the_same_condition_cannot_succeed_twice),
        script_test(two_cannot_both_create_a_key),
        script_test(a_failed_condition_must_have_been_false),
        script_test(failed_increments_say_what_was_there),
        script_test(a_sum_that_no_number_leads_to_is_not_linearizable),
        script_test(an_unknown_write_may_have_happened),
        script_test(an_unknown_write_happens_once_at_most),
        script_test(an_unknown_write_does_not_happen_before_it_began),
        script_test(an_unknown_write_that_must_have_happened_is_not_undone),
        script_test(unknown_increments_count_as_often_as_the_sum_says),
        script_test(unknown_deletes_and_conditions_have_effects_too),
        script_test(unknown_writes_take_versions),
        script_test(an_operation_that_was_never_ended_is_unknown),
        script_test(keys_are_judged_one_by_one),
        script_test(a_lower_version_than_an_earlier_operation_saw_is_told),
        script_test(a_write_without_a_newer_version_is_told),
        script_test(a_condition_on_a_version_is_followed_by_a_newer_one),
        script_test(a_version_that_two_writes_have_is_told),
        script_test(a_version_that_has_two_values_is_told),
        script_test(versions_in_the_wrong_order_are_found_by_the_search_too),
        script_test(the_explanation_names_the_operation_and_its_surroundings),
    };
    return cmocka_run_group_tests_name("linear", tests, NULL, NULL);
}
