#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tools/wbbench/redis_reply.h"

static enum status parse(const char *text, struct redis_reply *out, size_t *consumed)
{
    return redis_reply_parse(bytes_from_text(text), out, consumed);
}

/* Whole, it takes all but the byte behind it; cut anywhere, it says so. Copies of the exact length let a
 * sanitizer see each byte read too far. */
static struct redis_reply whole(const char *text)
{
    struct redis_reply r;
    size_t len = strlen(text), consumed;
    for (size_t cut = 0; cut < len; cut++) {
        uint8_t *copy = malloc(cut + 1);
        memcpy(copy + 1, text, cut);
        assert_int_equal(redis_reply_parse(bytes_of(copy + 1, cut), &r, &consumed), STATUS_AGAIN);
        free(copy);
    }
    char more[256];
    memcpy(more, text, len);
    more[len] = '+';
    assert_int_equal(redis_reply_parse(bytes_of(more, len + 1), &r, &consumed), STATUS_OK);
    assert_int_equal(consumed, len);
    assert_int_equal(redis_reply_parse(bytes_from_text(text), &r, &consumed), STATUS_OK);
    assert_int_equal(consumed, len);
    return r;
}

static void each_kind_of_reply_is_taken_whole(void **state)
{
    struct redis_reply r = whole("+OK\r\n");
    assert_int_equal(r.kind, REDIS_STATUS);
    assert_true(bytes_equal(r.text, bytes_of("OK", 2)));
    r = whole("-MOVED 5 a:1\r\n");
    assert_int_equal(r.kind, REDIS_ERROR);
    assert_true(bytes_equal(r.text, bytes_from_text("MOVED 5 a:1")));
    r = whole(":-9223372036854775808\r\n");
    assert_int_equal(r.kind, REDIS_INTEGER);
    assert_true(r.number == INT64_MIN);
    assert_true(whole(":9223372036854775807\r\n").number == INT64_MAX);
    r = whole("$5\r\na\r\nb\r\r\n");
    assert_int_equal(r.kind, REDIS_BULK);
    assert_true(bytes_equal(r.text, bytes_of("a\r\nb\r", 5)));
    assert_int_equal(whole("$0\r\n\r\n").kind, REDIS_BULK);
    assert_int_equal(whole("$-1\r\n").kind, REDIS_NULL);
    assert_int_equal(whole("*-1\r\n").kind, REDIS_NULL);
    r = whole("*3\r\n:1\r\n*1\r\n$1\r\nx\r\n*0\r\n");
    assert_int_equal(r.kind, REDIS_ARRAY);
    assert_int_equal(r.number, 3);
    assert_true(bytes_equal(r.text, bytes_from_text(":1\r\n*1\r\n$1\r\nx\r\n*0\r\n")));
}

static void what_is_no_reply_is_corrupt(void **state)
{
    static const char *const broken[] = {"HTTP/1.1 400\r\n", "%1\r\n", "\r\n", "+OK\rx", "$x\r\n", "$\r\n",
        "$-2\r\n", ":\r\n", ":1x\r\n", ":--1\r\n", ":-\r\n", ":9223372036854775808\r\n", "$3\r\nabcd\r\n",
        "$3\r\nabc\rx", "$536870913\r\n", "*1\r\n!\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        struct redis_reply r;
        size_t consumed;
        assert_int_equal(parse(broken[i], &r, &consumed), STATUS_CORRUPT);
    }
    struct redis_reply r;
    size_t consumed;
    assert_int_equal(redis_reply_parse(bytes_of("\0\r\n", 3), &r, &consumed), STATUS_CORRUPT);
    /* A line without an end. */
    size_t len = 64 * 1024;
    char *line = malloc(len);
    memset(line, '+', len);
    assert_int_equal(redis_reply_parse(bytes_of(line, len - 1), &r, &consumed), STATUS_AGAIN);
    assert_int_equal(redis_reply_parse(bytes_of(line, len), &r, &consumed), STATUS_CORRUPT);
    free(line);
}

static void an_error_is_known_by_its_first_word(void **state)
{
    char word[8];
    redis_error_word(bytes_from_text("OOM command not allowed"), word, sizeof word);
    assert_string_equal(word, "OOM");
    redis_error_word(bytes_from_text("NO_END"), word, sizeof word);
    assert_string_equal(word, "NO_END");
    redis_error_word(bytes_from_text("\x1b[2J\xff"), word, sizeof word);
    assert_string_equal(word, "??2J?");
    redis_error_word(bytes_from_text("MISCONFIGURED x"), word, sizeof word);
    assert_string_equal(word, "MISCONF");
    redis_error_word(bytes_of(NULL, 0), word, sizeof word);
    assert_string_equal(word, "");
}

static void only_one_and_one_or_more_is_synced(void **state)
{
    static const struct {
        const char *text;
        bool synced;
    } rows[] = {{"*2\r\n:1\r\n:1\r\n", true}, {"*2\r\n:1\r\n:2\r\n", true}, {"*2\r\n:1\r\n:0\r\n", false},
        {"*2\r\n:0\r\n:2\r\n", false}, {"*1\r\n:1\r\n", false}, {"*3\r\n:1\r\n:1\r\n:1\r\n", false},
        {"*2\r\n:1\r\n$1\r\n1\r\n", false}, {":1\r\n", false}, {"+OK\r\n", false}, {"-ERR no\r\n", false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct redis_reply r = whole(rows[i].text);
        assert_int_equal(redis_reply_is_synced(&r), rows[i].synced);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_of_reply_is_taken_whole),
        cmocka_unit_test(what_is_no_reply_is_corrupt),
        cmocka_unit_test(an_error_is_known_by_its_first_word),
        cmocka_unit_test(only_one_and_one_or_more_is_synced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
