/* What keeps the search short, and where it must not: limits, and the exceptions of each rule. And values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "cluster-tests/linear_test_help.h"
#include "cluster-tests/linear_value.h"

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

/* None of the many orders of the unknown ones gives the last length. */
static void what_is_too_hard_is_said_to_be_too_hard(void **state)
{
    struct script *s = *state;
    char value[16];
    for (uint64_t i = 0; i < 24; i++) {
        snprintf(value, sizeof value, "%u", 1U << i);
        script_append(s, 10, 0, value, 0, 0);
    }
    script_get(s, 20, 30, "2", 0);
    script_append(s, 40, 50, "x", 1000, 0);
    struct linear_limits steps = {.steps_max = 10000}, memory = {.memory_bytes_max = 100000};
    struct linear_report report;
    assert_int_equal(linear_check(&s->history, &steps, &report), LINEAR_TOO_HARD);
    assert_int_equal(report.keys_too_hard, 1);
    assert_in_range(report.steps, 10000, 11000);
    linear_report_deinit(&report);
    assert_int_equal(linear_check(&s->history, &memory, &report), LINEAR_TOO_HARD);
    linear_report_deinit(&report);
    s->key = "other";
    script_get(s, 20, 30, "2", 0);
    assert_int_equal(linear_check(&s->history, &steps, &report), LINEAR_NOT_LINEARIZABLE);
    assert_int_equal(report.keys_not_linearizable, 1);
    linear_report_deinit(&report);
}

static void unknown_writes_that_nobody_could_see_are_left_out(void **state)
{
    struct script *s = *state;
    char value[16];
    for (uint64_t i = 0; i < 1000; i++) {
        snprintf(value, sizeof value, "u%u", (unsigned)i);
        script_set(s, 10 + i, 0, value, 0);
        snprintf(value, sizeof value, "%u", (unsigned)i);
        script_set(s, 11 + i, 12 + i, value, 0);
    }
    script_get(s, 5000, 5001, "u17", 0);
    script_get(s, 5002, 5003, "u18", 0);
    struct linear_report report;
    assert_int_equal(linear_check(&s->history, NULL, &report), LINEAR_LINEARIZABLE);
    assert_int_equal(report.unknown, 1000);
    assert_int_equal(report.unknown_ignored, 998);
    linear_report_deinit(&report);
}

/* The rules that keep the search short have exceptions. Each of these histories needs one. */

static void an_unknown_zero_may_be_what_was_counted_from(void **state)
{
    struct script *s = *state;
    script_set(s, 10, 20, "a", 0);
    script_set(s, 30, 0, "0", 0);
    script_incr(s, 40, 50, 5, 5, 0);
    assert_good(s);
}

static void the_same_value_under_another_version_is_another_place(void **state)
{
    struct script *s = *state;
    script_set(s, 10, 20, "y", 5); /* done first, it leaves no room for three more before version 8 */
    script_set(s, 11, 20, "x", 0);
    script_set(s, 12, 20, "x", 0);
    script_get(s, 22, 25, "x", 0);
    script_set(s, 30, 40, "b", 0);
    script_set(s, 50, 60, "w", 8);
    assert_good(s);
}

static void a_condition_may_need_the_version_of_an_append_that_nobody_saw(void **state)
{
    struct script *s = *state;
    script_set(s, 10, 20, "a", 1);
    script_append(s, 30, 0, "bb", 0, 0);
    script_cas(s, 30, 0, "2", "q", false, 0);
    script_append(s, 40, 50, "z", 2, 4);
    script_get(s, 60, 70, "qz", 4);
    assert_good(s);
}

static void a_number_may_be_made_of_an_append_that_nobody_saw(void **state)
{
    struct script *s = *state;
    script_set(s, 10, 20, "1", 1);
    script_append(s, 30, 0, "00", 0, 0);
    script_incr(s, 30, 0, -95, 0, 0);
    script_append(s, 40, 50, "x", 2, 4);
    script_get(s, 60, 70, "5x", 4);
    assert_good(s);
}

static void an_append_that_nobody_saw_may_have_made_the_key(void **state)
{
    struct script *s = *state;
    script_append(s, 10, 0, "bbb", 0, 0);
    script_cas(s, 10, 0, "present", "q", false, 0);
    script_append(s, 40, 50, "z", 2, 3);
    script_get(s, 60, 70, "qz", 3);
    assert_good(s);
}

static void a_read_without_a_version_may_come_before_the_next_version(void **state)
{
    struct script *s = *state;
    script_set(s, 10, 20, "a", 1);
    script_append(s, 30, 0, "bbb", 0, 0);
    script_getdel(s, 30, 0, NULL, 0);
    script_get(s, 40, 50, "abbb", 0);
    script_append(s, 60, 70, "z", 1, 9);
    assert_good(s);
}

static void an_empty_value_is_something(void **state)
{
    struct script *s = *state;
    script_append(s, 10, 20, "", 0, 0);
    script_cas(s, 30, 40, "absent", "x", false, 0);
    script_incr_fails(s, 50, 60, 1, HISTORY_NOT_A_NUMBER);
    script_get(s, 70, 80, "", 0);
    assert_good(s);
    script_get(s, 90, 91, NULL, 0);
    assert_bad(s);
}

static void equal_bytes_are_one_value_however_they_came_about(void **state)
{
    (void)state;
    struct linear_values v;
    linear_values_init(&v);
    uint32_t ab = linear_value_append(&v, linear_value_of(&v, bytes_from_text("a")), bytes_from_text("b"));
    uint32_t abc = linear_value_append(&v, ab, bytes_from_text("c"));
    uint32_t bc = linear_value_of(&v, bytes_from_text("bc"));
    assert_int_equal(linear_value_of(&v, bytes_from_text("abc")), abc);
    assert_int_equal(
        linear_value_append(&v, linear_value_of(&v, bytes_from_text("a")), bytes_from_text("bc")), abc);
    assert_int_not_equal(abc, bc);
    uint32_t empty = linear_value_append(&v, LINEAR_ABSENT, bytes_from_text(""));
    assert_int_not_equal(empty, LINEAR_ABSENT);
    assert_int_equal(linear_value_append(&v, abc, bytes_from_text("")), abc);
    assert_int_equal(linear_value_of_number(&v, -12), linear_value_of(&v, bytes_from_text("-12")));
    linear_values_deinit(&v);
}

static void numbers_have_one_spelling(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_number;
        int64_t number;
    } rows[] = {
        {"0", true, 0},
        {"-1", true, -1},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9223372036854775808", false, 0},
        {"", false, 0},
        {"-", false, 0},
        {"-0", false, 0},
        {"+1", false, 0},
        {"01", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"99999999999999999999", false, 0},
        {"100000000000000000000000", false, 0},
        {"1x", false, 0},
    };
    struct linear_values v;
    linear_values_init(&v);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t number = 0;
        bool is_number = linear_value_number(&v, linear_value_of(&v, bytes_from_text(rows[i].text)), &number);
        assert_int_equal(is_number, rows[i].is_number);
        assert_true(!is_number || number == rows[i].number);
    }
    int64_t number;
    assert_false(linear_value_number(&v, linear_value_of(&v, bytes_of("1\0", 2)), &number));
    linear_values_deinit(&v);
}

int main(void)
{
#define script_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        script_test(what_is_too_hard_is_said_to_be_too_hard),
        script_test(unknown_writes_that_nobody_could_see_are_left_out),
        script_test(an_unknown_zero_may_be_what_was_counted_from),
        script_test(the_same_value_under_another_version_is_another_place),
        script_test(a_condition_may_need_the_version_of_an_append_that_nobody_saw),
        script_test(a_number_may_be_made_of_an_append_that_nobody_saw),
        script_test(an_append_that_nobody_saw_may_have_made_the_key),
        script_test(a_read_without_a_version_may_come_before_the_next_version),
        script_test(an_empty_value_is_something),
        cmocka_unit_test(equal_bytes_are_one_value_however_they_came_about),
        cmocka_unit_test(numbers_have_one_spelling),
    };
    return cmocka_run_group_tests_name("linear_rules", tests, NULL, NULL);
}
