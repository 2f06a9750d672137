/* Patterns: each row was asked of a redis-server 7.0.15 too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "node/redis/glob.h"

struct row {
    const char *pattern, *text;
    bool match;
};

static void check_rows(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (redis_glob(bytes_from_text(rows[i].pattern), bytes_from_text(rows[i].text)) != rows[i].match) {
            fail_msg("'%s' should %smatch '%s'", rows[i].pattern, rows[i].match ? "" : "not ", rows[i].text);
        }
    }
}

static void other_bytes_stand_for_themselves(void **state)
{
    const struct row rows[] = {
        {"abc", "abc", true},
        {"abc", "abd", false},
        {"abc", "ab", false},
        {"ab", "abc", false},
        {"abc", "ABC", false},
        {"^a$", "a", false},
        {"a]", "a]", true},
        {"a-b", "a-b", true},
    };
    check_rows(rows, sizeof rows / sizeof rows[0]);
}

static void a_star_is_any_text_and_a_question_mark_any_byte(void **state)
{
    const struct row rows[] = {
        {"*", "a", true},
        {"**", "abc", true},
        {"a*", "a", true},
        {"a***", "a", true},
        {"*a", "a", true},
        {"*a", "ba", true},
        {"*a", "ab", false},
        {"a*c", "abbc", true},
        {"a*c", "acb", false},
        {"*ab*ab*", "abab", true},
        {"*ab*ab*", "aba", false},
        {"*aab", "aaaab", true},
        {"a*b*c", "axbxbxc", true},
        {"h?llo", "hello", true},
        {"h?llo", "hllo", false},
        {"?", "ab", false},
        {"*?", "a", true},
        {"?*?", "a", false},
        {"?*?", "ab", true},
    };
    check_rows(rows, sizeof rows / sizeof rows[0]);
}

static void a_class_is_one_of_its_bytes(void **state)
{
    const struct row rows[] = {
        {"h[ae]llo", "hello", true},
        {"h[ae]llo", "hillo", false},
        {"h[^e]llo", "hallo", true},
        {"h[^e]llo", "hello", false},
        {"[a-c]", "b", true},
        {"[a-c]", "d", false},
        {"[c-a]", "b", true},
        {"[^a-c]", "b", false},
        {"[^a-c]", "d", true},
        {"[a-cx]", "x", true},
        {"[a-]", "-", false}, /* a range from ] to a, in a class without an end */
        {"[a-]", "^", true},
        {"[a-]", "b", false},
        {"[-a]", "-", true},
        {"[a^]", "^", true},
        {"[]", "a", false},
        {"[^]", "a", true},
        {"[]a]", "a]", false},
        {"[\\]]", "]", true},
        {"[\\a]", "a", true},
        {"[\\a]", "\\", false},
        {"*[ab]c*", "xxbcx", true},
    };
    check_rows(rows, sizeof rows / sizeof rows[0]);
}

static void a_class_without_an_end_goes_to_the_end_of_the_pattern(void **state)
{
    const struct row rows[] = {
        {"[", "[", false},
        {"[a", "a", true},
        {"[a", "b", false},
        {"[^", "x", true},
        {"[^a", "a", false},
        {"[^a", "b", true},
        {"[a\\", "a", true},
        {"[a\\", "\\", true},
        {"[a-", "-", true},
        {"[a-c", "b", true},
        {"[ab*", "*", true},
        {"[a-]b", "]", true},
    };
    check_rows(rows, sizeof rows / sizeof rows[0]);
}

static void a_backslash_takes_the_meaning_of_what_follows(void **state)
{
    const struct row rows[] = {
        {"\\*", "*", true},
        {"\\*", "a", false},
        {"\\?a", "?a", true},
        {"\\[a]", "[a]", true},
        {"\\a", "a", true},
        {"\\\\", "\\", true},
        {"\\", "\\", true},
        {"a\\", "a\\", true},
        {"*\\*", "ab*", true},
        {"*\\*", "ab", false},
    };
    check_rows(rows, sizeof rows / sizeof rows[0]);
}

static void only_the_empty_pattern_matches_the_empty_text(void **state)
{
    const struct row rows[] = {
        {"", "", true},
        {"", "a", false},
        {"*", "", false},
        {"**", "", false},
        {"?", "", false},
        {"a", "", false},
        {"[^a]", "", false},
    };
    check_rows(rows, sizeof rows / sizeof rows[0]);
}

static void ranges_are_of_signed_bytes(void **state)
{
    const struct row rows[] = {
        {"[\x01-\x7f]", "a", true},
        {"[\x01-\x7f]", "\x80", false},
        {"[\x01-\xff]", "a", false},
        {"[\x01-\xff]", "\xff", true},
        {"[\x80-\xff]", "\x90", true},
        {"?\xe4", "a\xe4", true},
    };
    check_rows(rows, sizeof rows / sizeof rows[0]);
    assert_true(redis_glob(bytes_of("a\0*", 3), bytes_of("a\0b", 3)));
    assert_false(redis_glob(bytes_of("a\0", 2), bytes_of("a", 1)));
    assert_true(redis_glob(bytes_of("[\0]", 3), bytes_of("\0", 1)));
}

/* If each star could be tried anew for every choice of those before it, this test would not end. */
static void many_stars_do_not_multiply(void **state)
{
    static char pattern[401], text[4096];
    for (size_t i = 0; i < 400; i += 2) {
        memcpy(pattern + i, "*a", 2);
    }
    pattern[400] = 'b';
    memset(text, 'a', sizeof text);
    assert_false(redis_glob(bytes_of(pattern, 401), bytes_of(text, sizeof text)));
    text[sizeof text - 1] = 'b';
    assert_true(redis_glob(bytes_of(pattern, 401), bytes_of(text, sizeof text)));
}

static void a_pattern_may_cost_only_so_much(void **state)
{
    static char pattern[1003], text[1000];
    memset(pattern, 'x', sizeof pattern);
    memcpy(pattern, "*[", 2);
    memcpy(pattern + 1001, "]b", 2);
    memset(text, 'a', sizeof text);
    /* each byte of the text is looked for among 999 */
    uint64_t steps = 2100 * 1000;
    assert_false(redis_glob_within(bytes_of(pattern, 1003), bytes_of(text, 1000), &steps));
    assert_in_range(steps, 1000 * 1000, 1200 * 1000);
    text[998] = 'x';
    text[999] = 'b';
    assert_true(redis_glob_within(bytes_of(pattern, 1003), bytes_of(text, 1000), &steps));
    assert_false(redis_glob_within(bytes_of(pattern, 1003), bytes_of(text, 1000), &steps));
    assert_int_equal(steps, 0);
    assert_true(redis_glob(bytes_of(pattern, 1003), bytes_of(text, 1000)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_bytes_stand_for_themselves),
        cmocka_unit_test(a_star_is_any_text_and_a_question_mark_any_byte),
        cmocka_unit_test(a_class_is_one_of_its_bytes),
        cmocka_unit_test(a_class_without_an_end_goes_to_the_end_of_the_pattern),
        cmocka_unit_test(a_backslash_takes_the_meaning_of_what_follows),
        cmocka_unit_test(only_the_empty_pattern_matches_the_empty_text),
        cmocka_unit_test(ranges_are_of_signed_bytes),
        cmocka_unit_test(many_stars_do_not_multiply),
        cmocka_unit_test(a_pattern_may_cost_only_so_much),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
