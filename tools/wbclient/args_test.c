/* What operators may write for a setting, and how numbers are shown to them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tools/wbclient/args.h"

static void a_setting_is_a_name_and_a_number_with_a_unit(void **state)
{
    (void)state;
    struct wbcache_flush_settings s = {0};
    assert_null(args_setting(bytes_from_text("age=2s"), &s));
    assert_true(s.has_age_ms && s.age_ms == 2000 && !s.has_batch_rows && !s.has_paused);
    assert_null(args_setting(bytes_from_text("age=0"), &s));
    assert_int_equal(s.age_ms, 0);
    assert_null(args_setting(bytes_from_text("AGE=1min"), &s));
    assert_int_equal(s.age_ms, 60000);
    assert_null(args_setting(bytes_from_text("batch-rows=5000"), &s));
    assert_true(s.has_batch_rows && s.batch_rows == 5000);
    assert_null(args_setting(bytes_from_text("batch-bytes=4MiB"), &s));
    assert_true(s.has_batch_bytes && s.batch_bytes == 4194304);
    assert_null(args_setting(bytes_from_text("batch-bytes=1500"), &s));
    assert_int_equal(s.batch_bytes, 1500);
    assert_null(args_setting(bytes_from_text("rate=1000/s"), &s));
    assert_true(s.has_rows_per_second && s.rows_per_second == 1000);
    assert_null(args_setting(bytes_from_text("rate=none"), &s));
    assert_true(s.has_rows_per_second && s.rows_per_second == 0);
}

static void what_is_no_setting_is_told_and_changes_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *word, *says;
    } rows[] = {{"", "a setting is"}, {"=", "a setting is"}, {"age", "a setting is"},
        {"ag=1", "a setting is"}, {"ages=1", "a setting is"}, {"age=", "age wants"}, {"age=-1", "age wants"},
        {"age=1h", "age wants"}, {"age=4294967296", "age wants"}, {"age=4294968s", "age wants"},
        {"batch-rows=1k", "batch-rows wants"}, {"batch-rows=4294967296", "batch-rows wants"},
        {"batch-bytes=1GB", "batch-bytes wants"}, {"batch-bytes=99999999999999999999", "batch-bytes wants"},
        {"batch-bytes=9223372036854775807MiB", "batch-bytes wants"}, {"rate=fast", "rate wants"},
        {"rate=10/min", "rate wants"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct wbcache_flush_settings s = {0}, none = {0};
        const char *problem = args_setting(bytes_from_text(rows[i].word), &s);
        assert_non_null(problem);
        assert_non_null(strstr(problem, rows[i].says));
        assert_memory_equal(&s, &none, sizeof s);
    }
}

static void a_number_is_digits_up_to_its_limit(void **state)
{
    (void)state;
    uint64_t n = 77;
    assert_true(args_number(bytes_from_text("0"), 5, &n) && n == 0);
    assert_true(args_number(bytes_from_text("18446744073709551615"), UINT64_MAX, &n) && n == UINT64_MAX);
    n = 77;
    assert_false(args_number(bytes_from_text("18446744073709551616"), UINT64_MAX, &n));
    assert_true(args_number(bytes_from_text("255"), 255, &n) && n == 255);
    assert_false(args_number(bytes_from_text("256"), 255, &n));
    assert_false(args_number(bytes_from_text("7"), 5, &n));
    assert_false(args_number(bytes_from_text(""), 5, &n));
    assert_false(args_number(bytes_from_text("+1"), 5, &n));
    assert_false(args_number(bytes_from_text("1 "), 5, &n));
    assert_int_equal(n, 255);
    assert_true(args_is(bytes_from_text("--All"), "--all") && !args_is(bytes_from_text("--al"), "--all"));
}

static void numbers_are_shown_as_people_read_them(void **state)
{
    (void)state;
    assert_string_equal(human_bytes(0).s, "0 B");
    assert_string_equal(human_bytes(1536).s, "1.5 KiB");
    assert_string_equal(human_bytes(200 * 1024 * 1024).s, "200 MiB");
    assert_string_equal(human_ms(0).s, "-");
    assert_string_equal(human_age(0).s, "0 ms");
    assert_string_equal(human_ms(9999).s, "9999 ms");
    assert_string_equal(human_ms(10000).s, "10 s");
    assert_string_equal(human_ms(7200000).s, "2 h");
    assert_string_equal(human_count(0).s, "0");
    assert_string_equal(human_count(999).s, "999");
    assert_string_equal(human_count(1234567).s, "1,234,567");
    assert_string_equal(human_count(UINT64_MAX).s, "18,446,744,073,709,551,615");
    assert_string_equal(human_time(0).s, "1970-01-01 00:00:00.000 UTC");
    assert_string_equal(human_time(UINT64_C(951782400123)).s, "2000-02-29 00:00:00.123 UTC");
    assert_string_equal(human_time(UINT64_C(253402300799999)).s, "9999-12-31 23:59:59.999 UTC");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_setting_is_a_name_and_a_number_with_a_unit),
        cmocka_unit_test(what_is_no_setting_is_told_and_changes_nothing),
        cmocka_unit_test(a_number_is_digits_up_to_its_limit),
        cmocka_unit_test(numbers_are_shown_as_people_read_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
