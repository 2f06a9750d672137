#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "cluster-tests/redis/compare.h"

static struct reply read_reply(const char *text)
{
    struct reply r;
    assert_int_equal(reply_scan(bytes_from_text(text), &r), REPLY_WHOLE);
    assert_int_equal(r.whole.len, strlen(text));
    return r;
}

static void every_truncation_is_partial(void **state)
{
    (void)state;
    static const char *const replies[] = {"+OK\r\n", "-ERR no\r\n", ":-12\r\n", "$3\r\na\r\n\r\n",
        "$0\r\n\r\n", "$-1\r\n", "*-1\r\n", "*0\r\n", "*2\r\n$1\r\na\r\n*1\r\n:1\r\n", "_\r\n", ",1.5\r\n",
        "#t\r\n", "%1\r\n+a\r\n~1\r\n:1\r\n", "=5\r\ntxt:a\r\n", "(123\r\n", ">1\r\n+a\r\n", "!3\r\nERR\r\n"};
    for (size_t i = 0; i < sizeof replies / sizeof replies[0]; i++) {
        struct reply r = read_reply(replies[i]);
        assert_int_equal(r.type, replies[i][0]);
        for (size_t len = 0; len < strlen(replies[i]); len++) {
            assert_int_equal(reply_scan(bytes_of(replies[i], len), &r), REPLY_PARTIAL);
        }
    }
}

static void what_is_no_reply_is_garbage(void **state)
{
    (void)state;
    static const char *const garbage[] = {"OK\r\n", "\r\n", "+OK\n", "$a\r\n", "$-2\r\n", "$1\r\nab\r\n",
        "*x\r\n", "%-1\r\n", "*1\r\nx", "$\r\n", "$ 1\r\na\r\n"};
    for (size_t i = 0; i < sizeof garbage / sizeof garbage[0]; i++) {
        struct reply r;
        assert_int_equal(reply_scan(bytes_from_text(garbage[i]), &r), REPLY_GARBAGE);
    }
}

static void children_come_one_after_another(void **state)
{
    (void)state;
    struct reply map = read_reply("%2\r\n+a\r\n*2\r\n:1\r\n:2\r\n$1\r\nb\r\n_\r\n");
    assert_int_equal(map.children, 4);
    struct reply name = reply_next(&map.inside), list = reply_next(&map.inside);
    struct reply other = reply_next(&map.inside), null = reply_next(&map.inside);
    assert_true(bytes_equal(name.text, bytes_from_text("a")));
    assert_int_equal(list.children, 2);
    assert_true(bytes_equal(other.text, bytes_from_text("b")));
    assert_true(null.null);
    assert_int_equal(map.inside.len, 0);
}

/* ---- Comparers: what each takes, and what it must not take ---- */

static const struct {
    enum compare_kind kind;
    const char *reference, *ours;
    bool same;
    const char *word, *before;
} rows[] = {
    {COMPARE_EXACT, "+OK\r\n", "+OK\r\n", true, "", NULL},
    {COMPARE_EXACT, "+OK\r\n", "$2\r\nOK\r\n", false, "", NULL},
    {COMPARE_EXACT, "-ERR a\r\n", "-ERR b\r\n", false, "", NULL},
    {COMPARE_ANY_ORDER, "*2\r\n+a\r\n+b\r\n", "*2\r\n+b\r\n+a\r\n", true, "", NULL},
    {COMPARE_ANY_ORDER, "*2\r\n+a\r\n+a\r\n", "*2\r\n+b\r\n+a\r\n", false, "", NULL},
    {COMPARE_ANY_ORDER, "*2\r\n+a\r\n+b\r\n", "*1\r\n+a\r\n", false, "", NULL},
    {COMPARE_ANY_ORDER, "%2\r\n+a\r\n:1\r\n+b\r\n:2\r\n", "%2\r\n+b\r\n:2\r\n+a\r\n:1\r\n", true, "", NULL},
    {COMPARE_ANY_ORDER, "%2\r\n+a\r\n:1\r\n+b\r\n:2\r\n", "%2\r\n+b\r\n:1\r\n+a\r\n:2\r\n", false, "", NULL},
    {COMPARE_PAIRS, "*4\r\n+a\r\n:1\r\n+b\r\n:2\r\n", "*4\r\n+b\r\n:2\r\n+a\r\n:1\r\n", true, "", NULL},
    {COMPARE_PAIRS, "*4\r\n+a\r\n:1\r\n+b\r\n:2\r\n", "*4\r\n+b\r\n:1\r\n+a\r\n:2\r\n", false, "", NULL},
    {COMPARE_SCANNED, "*2\r\n$1\r\n0\r\n*2\r\n+a\r\n+b\r\n", "*2\r\n$1\r\n0\r\n*2\r\n+b\r\n+a\r\n", true, "",
        NULL},
    {COMPARE_SCANNED, "*2\r\n$1\r\n0\r\n*0\r\n", "*2\r\n$1\r\n7\r\n*0\r\n", false, "", NULL},
    {COMPARE_SECONDS, ":100000\r\n", ":99999\r\n", true, "", NULL},
    {COMPARE_SECONDS, ":100000\r\n", ":100061\r\n", false, "", NULL},
    {COMPARE_SECONDS, ":-1\r\n", ":-2\r\n", false, "", NULL},
    {COMPARE_SECONDS, ":100000\r\n", ":-1\r\n", false, "", NULL},
    {COMPARE_SECONDS, ":9223372036854775\r\n", ":251000000000\r\n", true, "", NULL},
    {COMPARE_MILLISECONDS, ":9223372036854775807\r\n", ":251000000000000\r\n", true, "", NULL},
    {COMPARE_MILLISECONDS, ":9223372036854775807\r\n", ":32503680000000\r\n", false, "", NULL},
    {COMPARE_MILLISECONDS, ":100000000\r\n", ":99999000\r\n", true, "", NULL},
    {COMPARE_MILLISECONDS, ":100000000\r\n", ":100000\r\n", false, "", NULL},
    {COMPARE_SHAPE, "*2\r\n+a\r\n:1\r\n", "*2\r\n+b\r\n:2\r\n", true, "", NULL},
    {COMPARE_SHAPE, "*2\r\n+a\r\n:1\r\n", "*2\r\n+b\r\n+2\r\n", false, "", NULL},
    {COMPARE_SHAPE, "*2\r\n+a\r\n:1\r\n", "*1\r\n+b\r\n", true, "", NULL},
    {COMPARE_SHAPE, "*1\r\n+a\r\n", "*0\r\n", false, "", NULL},
    {COMPARE_KIND, ":1\r\n", ":2\r\n", true, "", NULL},
    {COMPARE_KIND, "$-1\r\n", "$1\r\na\r\n", false, "", NULL},
    {COMPARE_KIND, "-ERR a\r\n", "-ERR b\r\n", false, "", NULL},
    {COMPARE_DRAWN, "*1\r\n+a\r\n", "*1\r\n+b\r\n", true, "", "*2\r\n+a\r\n+b\r\n"},
    {COMPARE_DRAWN, "*1\r\n+a\r\n", "*1\r\n+c\r\n", false, "", "*2\r\n+a\r\n+b\r\n"},
    {COMPARE_DRAWN, "*1\r\n+a\r\n", "*2\r\n+a\r\n+b\r\n", false, "", "*2\r\n+a\r\n+b\r\n"},
    {COMPARE_DRAWN, "$-1\r\n", "$-1\r\n", true, "", "*0\r\n"},
    {COMPARE_HELLO, "*4\r\n$2\r\nid\r\n:3\r\n+a\r\n:1\r\n", "*4\r\n$2\r\nid\r\n:4\r\n+a\r\n:1\r\n", true, "",
        NULL},
    {COMPARE_HELLO, "*4\r\n$2\r\nid\r\n:3\r\n+a\r\n:1\r\n", "*4\r\n$2\r\nid\r\n:3\r\n+a\r\n:2\r\n", false, "",
        NULL},
    {COMPARE_COMMANDS, "*1\r\n*7\r\n+get\r\n:2\r\n*2\r\n+a\r\n+b\r\n:1\r\n:1\r\n:1\r\n*0\r\n",
        "*1\r\n*7\r\n+get\r\n:2\r\n*2\r\n+b\r\n+a\r\n:1\r\n:1\r\n:1\r\n*0\r\n", true, "", NULL},
    {COMPARE_COMMANDS, "*1\r\n*7\r\n+get\r\n:2\r\n*0\r\n:1\r\n:1\r\n:1\r\n*0\r\n",
        "*1\r\n*7\r\n+get\r\n:-2\r\n*0\r\n:1\r\n:1\r\n:1\r\n*0\r\n", false, "", NULL},
    {COMPARE_HAS, "$3\r\nabc\r\n", "$3\r\nxbx\r\n", true, "b", NULL},
    {COMPARE_HAS, "$3\r\nabc\r\n", "$3\r\nxxx\r\n", false, "b", NULL},
    {COMPARE_GIVES, "-ERR no\r\n", "+OK\r\n", true, "+OK", NULL},
    {COMPARE_GIVES, "+OK\r\n", "+OK\r\n", false, "+O", NULL},
    {COMPARE_REFUSED, "+OK\r\n", "-ERR no\r\n", true, "", NULL},
    {COMPARE_REFUSED, "-ERR no\r\n", "+OK\r\n", false, "", NULL},
    {COMPARE_ERROR_OF, "+OK\r\n", "-OOM full\r\n", true, "OOM ", NULL},
    {COMPARE_ERROR_OF, "+OK\r\n", "-ERR full\r\n", false, "OOM ", NULL},
};

static void comparers_take_what_they_say_and_no_more(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct reply reference = read_reply(rows[i].reference), ours = read_reply(rows[i].ours);
        struct reply before = read_reply(rows[i].before == NULL ? "_\r\n" : rows[i].before);
        if (compare_replies(rows[i].kind, &reference, &ours, bytes_from_text(rows[i].word), &before) !=
            rows[i].same) {
            fail_msg("row %zu, comparer '%s'", i, compare_name(rows[i].kind));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_truncation_is_partial),
        cmocka_unit_test(what_is_no_reply_is_garbage),
        cmocka_unit_test(children_come_one_after_another),
        cmocka_unit_test(comparers_take_what_they_say_and_no_more),
    };
    return cmocka_run_group_tests_name("redis_reply", tests, NULL, NULL);
}
