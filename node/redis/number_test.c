/* Numbers and words as commands have them: tables of what is one, and what is not. */
#include "node/redis/number.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* A literal with whatever bytes. */
#define BYTES(literal) bytes_of(literal, sizeof(literal) - 1)

static void an_integer_has_one_spelling(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t number;
    } rows[] = {
        {"0", 0},
        {"7", 7},
        {"-7", -7},
        {"10", 10},
        {"9223372036854775807", INT64_MAX},
        {"-9223372036854775807", -INT64_MAX},
        {"-9223372036854775808", INT64_MIN},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t number = 42;
        assert_true(redis_parse_integer(bytes_from_text(rows[i].text), &number));
        assert_true(number == rows[i].number);
    }
}

static void what_is_no_integer_is_refused_and_sets_nothing(void **state)
{
    (void)state;
    const struct bytes rows[] = {BYTES(""), BYTES("-"), BYTES("-0"), BYTES("00"), BYTES("01"), BYTES("-01"),
        BYTES("+1"), BYTES(" 1"), BYTES("1 "), BYTES("1\0"), BYTES("1.0"), BYTES("1e3"), BYTES("0x10"),
        BYTES("x"), BYTES("1/"), BYTES("1:"), BYTES("--1"), BYTES("9223372036854775808"),
        BYTES("-9223372036854775809"), BYTES("9223372036854775810"), BYTES("18446744073709551617"),
        BYTES("99999999999999999999"), BYTES("-10000000000000000000"), BYTES("100000000000000000000")};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t number = 42;
        if (redis_parse_integer(rows[i], &number)) {
            fail_msg("taken: \"%.*s\"", (int)rows[i].len, (const char *)rows[i].data);
        }
        assert_true(number == 42);
    }
}

/* Read @text and write it again. */
static const char *again(const char *text)
{
    static char out[REDIS_FLOAT_CHARS];
    long double number;
    assert_true(redis_parse_float(bytes_from_text(text), &number));
    size_t len = redis_format_float(number, out);
    assert_int_equal(len, strlen(out));
    return out;
}

static void floats_are_written_without_an_exponent_and_without_trailing_zeros(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"0", "0"},
        {"-0", "0"},
        {"-0.0", "0"},
        {"3.0", "3"},
        {"5.", "5"},
        {".5", "0.5"},
        {"-1.50", "-1.5"},
        {"100", "100"},
        {"+7", "7"},
        {"1e3", "1000"},
        {"5.0e3", "5000"},
        {"1e-5", "0.00001"},
        {"0x10", "16"},
        {"0.1", "0.1"},
        {"1e-17", "0.00000000000000001"},
        {"1e-18", "0"}, /* nothing of it is within 17 digits */
        {"-1e-18", "0"},
        {"123456789.125", "123456789.125"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_string_equal(again(rows[i].text), rows[i].want);
    }
}

static void what_is_no_float_is_refused_and_sets_nothing(void **state)
{
    (void)state;
    const struct bytes rows[] = {BYTES(""), BYTES(" 1"), BYTES("1 "), BYTES("\t1"), BYTES("1\0"), BYTES("x"),
        BYTES("."), BYTES("1e"), BYTES("1,5"), BYTES("nan"), BYTES("-NAN"), BYTES("nan(1)"), BYTES("1e5000"),
        BYTES("-1e5000"), BYTES("1e-5000")};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        long double number = 42;
        if (redis_parse_float(rows[i], &number)) {
            fail_msg("taken: \"%.*s\"", (int)rows[i].len, (const char *)rows[i].data);
        }
        assert_true(number == 42);
    }
}

static void infinity_is_a_float_that_cannot_be_written(void **state)
{
    (void)state;
    char out[REDIS_FLOAT_CHARS];
    long double number;
    assert_true(redis_parse_float(BYTES("inf"), &number) && isinf(number) && number > 0);
    assert_int_equal(redis_format_float(number, out), 0);
    assert_true(redis_parse_float(BYTES("-Infinity"), &number) && isinf(number) && number < 0);
    assert_int_equal(redis_format_float(number, out), 0);
    assert_int_equal(redis_format_float((long double)NAN, out), 0);
}

static void a_number_that_only_loses_exactness_is_taken(void **state)
{
    (void)state;
    long double number;
    assert_true(redis_parse_float(BYTES("1e-4940"), &number)); /* not normal any more, but not 0 */
    assert_true(number > 0);
    char zeros[REDIS_FLOAT_CHARS];
    memset(zeros, '0', sizeof zeros);
    zeros[0] = '1';
    zeros[1] = '.';
    assert_true(redis_parse_float(bytes_of(zeros, sizeof zeros - 1), &number)); /* the longest text */
    assert_true(number == 1);
    assert_false(redis_parse_float(bytes_of(zeros, sizeof zeros), &number));
}

static void the_largest_float_has_room(void **state)
{
    (void)state;
    char out[REDIS_FLOAT_CHARS];
    size_t len = redis_format_float(-__LDBL_MAX__, out);
    assert_true(len > 300 && len < sizeof out);
    assert_int_equal(out[0], '-');
    assert_null(strchr(out, '.'));
    assert_null(strchr(out, 'e'));
}

static void words_are_compared_in_whatever_case_up_to_a_nul(void **state)
{
    (void)state;
    assert_true(redis_word_is(BYTES("keepttl"), "keepttl"));
    assert_true(redis_word_is(BYTES("KeepTTL"), "keepttl"));
    assert_true(redis_word_is(BYTES("NX\0anything"), "nx"));
    assert_true(redis_word_is(BYTES(""), ""));
    assert_false(redis_word_is(BYTES("n"), "nx"));
    assert_false(redis_word_is(BYTES("nxx"), "nx"));
    assert_false(redis_word_is(BYTES("n\0x"), "nx"));
    assert_false(redis_word_is(BYTES(""), "nx"));
    assert_false(redis_word_is(BYTES("nx"), ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_integer_has_one_spelling),
        cmocka_unit_test(what_is_no_integer_is_refused_and_sets_nothing),
        cmocka_unit_test(floats_are_written_without_an_exponent_and_without_trailing_zeros),
        cmocka_unit_test(what_is_no_float_is_refused_and_sets_nothing),
        cmocka_unit_test(infinity_is_a_float_that_cannot_be_written),
        cmocka_unit_test(a_number_that_only_loses_exactness_is_taken),
        cmocka_unit_test(the_largest_float_has_room),
        cmocka_unit_test(words_are_compared_in_whatever_case_up_to_a_nul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
