#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tools/wbclient/words.h"

static void assert_word(const struct words *w, size_t i, const char *data, size_t len)
{
    assert_true(i < w->count);
    assert_int_equal(w->items[i].len, len);
    assert_memory_equal(w->items[i].data, data, len);
    assert_int_equal(w->items[i].data[len], 0);
}

static void splits_at_blanks_and_keeps_order(void **state)
{
    struct words w;
    words_init(&w);
    assert_null(words_split(&w, bytes_from_text("  set\tcart:17   apples \r\n")));
    assert_int_equal(w.count, 3);
    assert_word(&w, 0, "set", 3);
    assert_word(&w, 1, "cart:17", 7);
    assert_word(&w, 2, "apples", 6);
    words_deinit(&w);
}

static void an_empty_line_or_a_comment_has_no_words(void **state)
{
    static const char *const lines[] = {"", "   ", "\n", "# set a b", "  # x"};
    struct words w;
    words_init(&w);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        assert_null(words_split(&w, bytes_from_text(lines[i])));
        assert_int_equal(w.count, 0);
    }
    assert_null(words_split(&w, bytes_from_text("get a#b")));
    assert_word(&w, 1, "a#b", 3);
    words_deinit(&w);
}

static void quotes_hold_blanks_binary_and_nothing(void **state)
{
    struct words w;
    words_init(&w);
    assert_null(words_split(
        &w, bytes_from_text("\"a b\" \"\\x00\\xfF\\n\\t\\r\\\\\\\"\" \"\" '\\x00\"' pre\"fi\"x")));
    assert_int_equal(w.count, 5);
    assert_word(&w, 0, "a b", 3);
    assert_word(&w, 1, "\x00\xff\n\t\r\\\"", 7);
    assert_word(&w, 2, "", 0);
    assert_word(&w, 3, "\\x00\"", 5);
    assert_word(&w, 4, "prefix", 6);
    words_deinit(&w);
}

static void broken_quoting_is_refused_and_leaves_no_words(void **state)
{
    static const char *const lines[] = {"a \"b", "'", "a \"\\", "\"\\x1\"", "\"\\x", "\"\\xg0\"", "\"\\q\""};
    struct words w;
    words_init(&w);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        assert_non_null(words_split(&w, bytes_from_text(lines[i])));
        assert_int_equal(w.count, 0);
    }
    words_deinit(&w);
}

static void every_byte_survives_quoting_and_splitting(void **state)
{
    uint8_t all[256];
    for (int i = 0; i < 256; i++) {
        all[i] = (uint8_t)i;
    }
    struct buf line;
    buf_init(&line);
    words_quote(&line, bytes_of(all, sizeof all));
    struct words w;
    words_init(&w);
    assert_null(words_split(&w, buf_bytes(&line)));
    assert_int_equal(w.count, 1);
    assert_word(&w, 0, (const char *)all, sizeof all);
    words_deinit(&w);
    buf_deinit(&line);
}

static void more_words_than_the_limit_are_refused(void **state)
{
    struct buf line;
    buf_init(&line);
    for (int i = 0; i < WORDS_MAX; i++) {
        buf_append(&line, "x ", 2);
    }
    struct words w;
    words_init(&w);
    assert_null(words_split(&w, buf_bytes(&line)));
    assert_int_equal(w.count, WORDS_MAX);
    buf_append(&line, "x", 1);
    assert_non_null(words_split(&w, buf_bytes(&line)));
    words_deinit(&w);
    buf_deinit(&line);
}

static void what_could_steer_a_terminal_is_not_harmless(void **state)
{
    static const char *const harmless[] = {
        "", "apples", "two\nlines\tand a tab", "gr\xc3\xbc\xc3\x9f \xe2\x82\xac"};
    static const char *const harmful[] = {"\x1b[2J", "a\rb", "\x7f",
        ("\xc2\x9b"
         "2J"),
        "\x01"};
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++) {
        assert_true(words_harmless(bytes_from_text(harmless[i])));
    }
    for (size_t i = 0; i < sizeof harmful / sizeof *harmful; i++) {
        assert_false(words_harmless(bytes_from_text(harmful[i])));
    }
    assert_false(words_harmless(bytes_of("a\0b", 3)));
}

static void a_name_in_front_of_a_message_is_said_once(void **state)
{
    static const struct {
        const char *message;
        const char *shown;
    } rows[] = {
        {"set: UNKNOWN: the outcome is unknown", "the outcome is unknown"},
        {"UNKNOWN: the outcome", "the outcome"},
        {"open: 'x' is no node's address", "open: 'x' is no node's address"},
        {"set: UNKNOWN", "set: UNKNOWN"},
        {"set: UNKNOWN: ", "set: UNKNOWN: "},
        {"the key UNKNOWN: is long", "the key UNKNOWN: is long"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_string_equal(words_behind_name(rows[i].message, "UNKNOWN"), rows[i].shown);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splits_at_blanks_and_keeps_order),
        cmocka_unit_test(an_empty_line_or_a_comment_has_no_words),
        cmocka_unit_test(quotes_hold_blanks_binary_and_nothing),
        cmocka_unit_test(broken_quoting_is_refused_and_leaves_no_words),
        cmocka_unit_test(every_byte_survives_quoting_and_splitting),
        cmocka_unit_test(what_could_steer_a_terminal_is_not_harmless),
        cmocka_unit_test(a_name_in_front_of_a_message_is_said_once),
        cmocka_unit_test(more_words_than_the_limit_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
