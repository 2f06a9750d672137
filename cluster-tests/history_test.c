#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
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

/* The file of @h, malloc'd. */
static char *file_of(const struct history *h)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    assert_int_equal(history_write(h, out), STATUS_OK);
    fclose(out);
    return text;
}

/* Read @text of @len bytes; *@h is the caller's to deinit. */
static enum status read_text(struct history *h, const char *text, size_t len, char why[256])
{
    char *copy = malloc(len + 1); /* fmemopen takes no empty ones */
    assert_non_null(copy);
    memcpy(copy, text, len);
    history_init(h, 1 << 20);
    FILE *in = len > 0 ? fmemopen(copy, len, "r") : fopen("/dev/null", "r");
    assert_non_null(in);
    enum status status = history_read(h, in, why, 256);
    fclose(in);
    free(copy);
    return status;
}

/* The file of @s is @expected, and reading that and writing it again gives the same. */
static void assert_file(const struct script *s, const char *expected)
{
    char *first = file_of(&s->history);
    assert_string_equal(first, expected);
    struct history again;
    char why[256];
    enum status status = read_text(&again, first, strlen(first), why);
    assert_string_equal(why, "");
    assert_int_equal(status, STATUS_OK);
    char *second = file_of(&again);
    assert_string_equal(second, first);
    free(second);
    free(first);
    history_deinit(&again);
}

static void every_operation_has_its_line(void **state)
{
    struct script *s = *state;
    script_get(s, 1, 2, "x", 3);
    script_get(s, 2, 3, NULL, 0);
    script_set(s, 3, 4, "x", 4);
    script_del(s, 4, 5, true, 5);
    script_del(s, 5, 6, false, 0);
    script_getdel(s, 6, 7, "", 6);
    script_getdel(s, 7, 8, NULL, 0);
    script_incr(s, 8, 9, -9, INT64_MIN, 7);
    script_incr_fails(s, 9, 10, 1, HISTORY_NOT_A_NUMBER);
    script_incr_fails(s, 10, 11, 1, HISTORY_OUT_OF_RANGE);
    script_append(s, 11, 12, "y", 2, 8);
    script_cas(s, 12, 13, "absent", "z", true, 9);
    script_cas(s, 13, 14, "present", "z", false, 0);
    script_cas(s, 14, 15, "9", "z", false, 10);
    script_cas(s, 15, 16, "9", "z", false, 0);
    script_set(s, 16, 0, "u", 0);
    assert_file(s,
        "{\"client\":0,\"op\":\"get\",\"key\":\"k\",\"arg\":{},\"result\":{\"value\":\"x\",\"version\":3},"
        "\"start_ns\":1,\"end_ns\":2}\n"
        "{\"client\":1,\"op\":\"get\",\"key\":\"k\",\"arg\":{},\"result\":{\"value\":null},"
        "\"start_ns\":2,\"end_ns\":3}\n"
        "{\"client\":2,\"op\":\"set\",\"key\":\"k\",\"arg\":{\"value\":\"x\"},\"result\":{\"version\":4},"
        "\"start_ns\":3,\"end_ns\":4}\n"
        "{\"client\":3,\"op\":\"del\",\"key\":\"k\",\"arg\":{},\"result\":{\"found\":true,\"version\":5},"
        "\"start_ns\":4,\"end_ns\":5}\n"
        "{\"client\":4,\"op\":\"del\",\"key\":\"k\",\"arg\":{},\"result\":{\"found\":false},"
        "\"start_ns\":5,\"end_ns\":6}\n"
        "{\"client\":5,\"op\":\"getdel\",\"key\":\"k\",\"arg\":{},\"result\":{\"value\":\"\",\"version\":6},"
        "\"start_ns\":6,\"end_ns\":7}\n"
        "{\"client\":6,\"op\":\"getdel\",\"key\":\"k\",\"arg\":{},\"result\":{\"value\":null},"
        "\"start_ns\":7,\"end_ns\":8}\n"
        "{\"client\":7,\"op\":\"incr\",\"key\":\"k\",\"arg\":{\"delta\":-9},"
        "\"result\":{\"number\":-9223372036854775808,\"version\":7},\"start_ns\":8,\"end_ns\":9}\n"
        "{\"client\":8,\"op\":\"incr\",\"key\":\"k\",\"arg\":{\"delta\":1},\"result\":{\"error\":\"not_a_"
        "number\"},"
        "\"start_ns\":9,\"end_ns\":10}\n"
        "{\"client\":9,\"op\":\"incr\",\"key\":\"k\",\"arg\":{\"delta\":1},\"result\":{\"error\":\"out_of_"
        "range\"},"
        "\"start_ns\":10,\"end_ns\":11}\n"
        "{\"client\":10,\"op\":\"append\",\"key\":\"k\",\"arg\":{\"value\":\"y\"},"
        "\"result\":{\"length\":2,\"version\":8},\"start_ns\":11,\"end_ns\":12}\n"
        "{\"client\":11,\"op\":\"cas\",\"key\":\"k\",\"arg\":{\"if\":\"absent\",\"value\":\"z\"},"
        "\"result\":{\"version\":9},\"start_ns\":12,\"end_ns\":13}\n"
        "{\"client\":12,\"op\":\"cas\",\"key\":\"k\",\"arg\":{\"if\":\"present\",\"value\":\"z\"},"
        "\"result\":{\"error\":\"condition_failed\"},\"start_ns\":13,\"end_ns\":14}\n"
        "{\"client\":13,\"op\":\"cas\",\"key\":\"k\",\"arg\":{\"if\":\"version\",\"version\":9,\"value\":"
        "\"z\"},"
        "\"result\":{\"error\":\"condition_failed\",\"version\":10},\"start_ns\":14,\"end_ns\":15}\n"
        "{\"client\":14,\"op\":\"cas\",\"key\":\"k\",\"arg\":{\"if\":\"version\",\"version\":9,\"value\":"
        "\"z\"},"
        "\"result\":{\"error\":\"condition_failed\",\"version\":0},\"start_ns\":15,\"end_ns\":16}\n"
        "{\"client\":15,\"op\":\"set\",\"key\":\"k\",\"arg\":{\"value\":\"u\"},\"start_ns\":16}\n");
}

static void lines_come_in_the_order_of_their_starts(void **state)
{
    struct script *s = *state;
    script_del(s, 9, 0, false, 0);
    script_del(s, 7, 0, false, 0);
    assert_file(s, "{\"client\":1,\"op\":\"del\",\"key\":\"k\",\"arg\":{},\"start_ns\":7}\n"
                   "{\"client\":0,\"op\":\"del\",\"key\":\"k\",\"arg\":{},\"start_ns\":9}\n");
}

static void bytes_that_are_no_text_are_base64(void **state)
{
    struct script *s = *state;
    s->key = "\xc3\xa4\"\n"; /* text */
    script_set(s, 1, 0, "\xff", 0);
    script_set(s, 2, 0, "\xff\xfe", 0);
    script_set(s, 3, 0, "\xff\xfe\xfd", 0);
    script_set(s, 4, 0, "\xed\xa0\x80", 0); /* half of a pair is no text */
    size_t handle;
    struct history_arg arg = {.value = bytes_of("a\0b", 3)};
    assert_int_equal(
        history_begin(&s->history, 9, HISTORY_SET, bytes_of("\0", 1), &arg, 5, &handle), STATUS_OK);
#define LINE(client, value, start)                                                                           \
    "{\"client\":" client                                                                                    \
    ",\"op\":\"set\",\"key\":\"\xc3\xa4\\\"\\n\",\"arg\":{\"value\":{\"base64\":\"" value                    \
    "\"}},\"start_ns\":" start "}\n"
    assert_file(s,
        LINE("0", "/w==", "1") LINE("1", "//4=", "2") LINE("2", "//79", "3") LINE("3", "7aCA",
            "4") "{\"client\":9,\"op\":\"set\",\"key\":{\"base64\":\"AA==\"},\"arg\":{\"value\":{\"base64\":"
                 "\"YQBi\"}},\"start_ns\":5}\n");
#undef LINE
}

static void a_failed_operation_leaves_nothing_behind(void **state)
{
    struct script *s = *state;
    struct history_arg arg = {.value = bytes_from_text("x")};
    size_t first, second, third;
    history_begin(&s->history, 1, HISTORY_SET, bytes_from_text("k"), &arg, 1, &first);
    history_begin(&s->history, 2, HISTORY_SET, bytes_from_text("k"), &arg, 2, &second);
    history_end_failed(&s->history, first);
    assert_false(history_event_live(&s->history, first));
    assert_file(s, "{\"client\":2,\"op\":\"set\",\"key\":\"k\",\"arg\":{\"value\":\"x\"},\"start_ns\":2}\n");
    history_begin(&s->history, 3, HISTORY_DEL, bytes_from_text("k"), &arg, 3, &third);
    history_end_unknown(&s->history, second);
    assert_int_equal(s->history.n_events, 2); /* the place was used again */
    assert_file(s, "{\"client\":2,\"op\":\"set\",\"key\":\"k\",\"arg\":{\"value\":\"x\"},\"start_ns\":2}\n"
                   "{\"client\":3,\"op\":\"del\",\"key\":\"k\",\"arg\":{},\"start_ns\":3}\n");
}

static void recorders_are_merged(void **state)
{
    struct script *s = *state;
    struct script other;
    script_init(&other);
    script_set(s, 5, 6, "x", 1);
    script_get(&other, 3, 4, NULL, 0);
    script_set(&other, 7, 0, "y", 0);
    size_t handle;
    history_begin(&other.history, 9, HISTORY_GET, bytes_from_text("k"), &(struct history_arg){0}, 8, &handle);
    history_end_failed(&other.history, handle);
    assert_int_equal(history_merge(&s->history, &other.history), STATUS_OK);
    script_deinit(&other);
    assert_file(s,
        "{\"client\":0,\"op\":\"get\",\"key\":\"k\",\"arg\":{},\"result\":{\"value\":null},\"start_ns\":3,"
        "\"end_ns\":4}\n"
        "{\"client\":0,\"op\":\"set\",\"key\":\"k\",\"arg\":{\"value\":\"x\"},\"result\":{\"version\":1},"
        "\"start_ns\":5,\"end_ns\":6}\n"
        "{\"client\":1,\"op\":\"set\",\"key\":\"k\",\"arg\":{\"value\":\"y\"},\"start_ns\":7}\n");
}

static void a_full_history_refuses_to_begin(void **state)
{
    (void)state;
    struct history h, merged;
    history_init(&h, 4096);
    history_init(&merged, 2048);
    struct history_arg arg = {.value = bytes_from_text("x")};
    size_t handle, n = 0;
    while (history_begin(&h, 1, HISTORY_SET, bytes_from_text("k"), &arg, n, &handle) == STATUS_OK) {
        n++;
        assert_true(n < 100);
    }
    assert_true(n > 2);
    assert_true(h.bytes <= 4096);
    assert_int_equal(h.n_events, n);
    arg.value.len = SIZE_MAX;
    assert_int_equal(
        history_begin(&h, 1, HISTORY_SET, bytes_from_text("k"), &arg, n, &handle), STATUS_OVERLOADED);
    assert_int_equal(history_merge(&merged, &h), STATUS_OVERLOADED);
    history_deinit(&merged);
    history_deinit(&h);
}

static void a_number_that_the_format_does_not_have_is_not_written(void **state)
{
    struct script *s = *state;
    script_set(s, 1, 2, "x", (uint64_t)INT64_MAX + 1);
    FILE *out = fopen("/dev/null", "w");
    assert_non_null(out);
    assert_int_equal(history_write(&s->history, out), STATUS_INVALID);
    fclose(out);
}

static void a_full_disk_is_told(void **state)
{
    struct script *s = *state;
    script_set(s, 1, 2, "x", 1);
    FILE *out = fopen("/dev/full", "w");
    assert_non_null(out);
    assert_int_equal(history_write(&s->history, out), STATUS_IO);
    fclose(out);
}

static void an_empty_file_is_an_empty_history(void **state)
{
    (void)state;
    struct history h;
    char why[256];
    assert_int_equal(read_text(&h, "", 0, why), STATUS_OK);
    assert_int_equal(h.n_events, 0);
    history_deinit(&h);
}

#define GOOD "{\"client\":1,\"op\":\"del\",\"key\":\"k\",\"arg\":{},\"start_ns\":7}\n"

static void what_is_wrong_in_a_file_is_told_with_its_line(void **state)
{
    (void)state;
#define SET_LINE(value)                                                                                      \
    "{\"client\":1,\"op\":\"set\",\"key\":\"k\",\"arg\":{\"value\":" value "},\"start_ns\":7}\n"
#define CAS_LINE(arg) "{\"client\":1,\"op\":\"cas\",\"key\":\"k\",\"arg\":{" arg "},\"start_ns\":7}\n"
#define ENDED(op, arg, result)                                                                               \
    "{\"client\":1,\"op\":\"" op "\",\"key\":\"k\",\"arg\":{" arg "},\"result\":{" result                    \
    "},\"start_ns\":7,\"end_ns\":8}\n"
    static const struct {
        const char *line;
        const char *why;
    } rows[] = {
        {"\n", "line 2: it is not a JSON object"},
        {"{\"client\":1\n", "line 2: it is not a JSON object"},
        {"[]\n", "line 2: the line is not an object"},
        {"{\"client\":1,\"client\":1}\n", "line 2: it is not a JSON object: duplicate object key"},
        {"{\"op\":\"del\",\"key\":\"k\",\"arg\":{},\"start_ns\":7}\n", "line 2: the line has no \"client\""},
        {"{\"client\":1,\"key\":\"k\",\"arg\":{},\"start_ns\":7}\n", "line 2: the line has no \"op\""},
        {"{\"client\":1,\"op\":\"del\",\"arg\":{},\"start_ns\":7}\n", "line 2: the line has no \"key\""},
        {"{\"client\":1,\"op\":\"del\",\"key\":\"k\",\"start_ns\":7}\n", "line 2: the line has no \"arg\""},
        {"{\"client\":1,\"op\":\"del\",\"key\":\"k\",\"arg\":{}}\n", "line 2: the line has no \"start_ns\""},
        {"{\"client\":-1,\"op\":\"del\",\"key\":\"k\",\"arg\":{},\"start_ns\":7}\n",
            "line 2: \"client\" is not an integer from 0 to 2^63-1"},
        {"{\"client\":1,\"op\":\"del\",\"key\":\"k\",\"arg\":{},\"start_ns\":7.0}\n",
            "line 2: \"start_ns\" is not an integer from 0 to 2^63-1"},
        {"{\"client\":1,\"op\":\"del\",\"key\":\"k\",\"arg\":{},\"start_ns\":9223372036854775808}\n",
            "line 2: it is not a JSON object: too big integer"},
        {"{\"client\":1,\"op\":\"put\",\"key\":\"k\",\"arg\":{},\"start_ns\":7}\n",
            "line 2: \"op\" is no known operation"},
        {"{\"client\":1,\"op\":7,\"key\":\"k\",\"arg\":{},\"start_ns\":7}\n",
            "line 2: \"op\" is not a string"},
        {"{\"client\":1,\"op\":\"del\",\"key\":3,\"arg\":{},\"start_ns\":7}\n",
            "line 2: \"key\" is neither a string nor {\"base64\":...}"},
        {"{\"client\":1,\"op\":\"del\",\"key\":\"k\",\"arg\":null,\"start_ns\":7}\n",
            "line 2: \"arg\" is not an object"},
        {"{\"client\":1,\"op\":\"del\",\"key\":\"k\",\"arg\":{\"value\":\"x\"},\"start_ns\":7}\n",
            "line 2: \"arg\" has a field that does not belong there"},
        {"{\"client\":1,\"op\":\"del\",\"key\":\"k\",\"arg\":{},\"start_ns\":7,\"x\":1}\n",
            "line 2: the line has a field that does not belong there"},
        {"{\"client\":1,\"op\":\"del\",\"key\":\"k\",\"arg\":{},\"start_ns\":7,\"end_ns\":8}\n",
            "line 2: there is one of \"result\" and \"end_ns\" without the other"},
        {"{\"client\":1,\"op\":\"del\",\"key\":\"k\",\"arg\":{},\"result\":{\"found\":false},\"start_ns\":7}"
         "\n",
            "line 2: there is one of \"result\" and \"end_ns\" without the other"},
        {"{\"client\":1,\"op\":\"del\",\"key\":\"k\",\"arg\":{},\"result\":{\"found\":false},\"start_ns\":7,"
         "\"end_ns\":6}\n",
            "line 2: \"end_ns\" is before \"start_ns\""},
        {SET_LINE("null"), "line 2: \"value\" is neither a string nor {\"base64\":...}"},
        {SET_LINE("{}"), "line 2: value has no \"base64\""},
        {SET_LINE("{\"base64\":\"AA==\",\"x\":1}"), "line 2: value has a field that does not belong there"},
        {SET_LINE("{\"base64\":\"AA=\"}"), "line 2: \"base64\" is not well formed"},
        {SET_LINE("{\"base64\":\"A===\"}"), "line 2: \"base64\" is not well formed"},
        {SET_LINE("{\"base64\":\"====\"}"), "line 2: \"base64\" is not well formed"},
        {SET_LINE("{\"base64\":\"AA=A\"}"), "line 2: \"base64\" is not well formed"},
        {SET_LINE("{\"base64\":\"AB==\"}"), "line 2: \"base64\" is not well formed"},
        {SET_LINE("{\"base64\":\"AAB=\"}"), "line 2: \"base64\" is not well formed"},
        {SET_LINE("{\"base64\":\"AA==AAAA\"}"), "line 2: \"base64\" is not well formed"},
        {SET_LINE("{\"base64\":\"A-AA\"}"), "line 2: \"base64\" is not well formed"},
        {CAS_LINE("\"value\":\"x\""), "line 2: \"arg\" has no \"if\""},
        {CAS_LINE("\"if\":\"maybe\",\"value\":\"x\""), "line 2: \"if\" is not absent, present or version"},
        {CAS_LINE("\"if\":\"version\",\"value\":\"x\""), "line 2: \"arg\" has no \"version\""},
        {CAS_LINE("\"if\":\"absent\",\"version\":1,\"value\":\"x\""),
            "line 2: \"arg\" has a field that does not belong there"},
        {ENDED("get", "", ""), "line 2: \"result\" has no \"value\""},
        {ENDED("get", "", "\"value\":null,\"version\":3"),
            "line 2: there is a \"version\" where nothing was there or written"},
        {ENDED("get", "", "\"value\":\"x\",\"version\":0"), "line 2: \"version\" is 0"},
        {ENDED("del", "", "\"found\":1"), "line 2: \"found\" is not true or false"},
        {ENDED("incr", "\"delta\":1", "\"number\":\"1\""), "line 2: \"number\" is not an integer of 64 bits"},
        {ENDED("incr", "\"delta\":1", "\"error\":\"condition_failed\""),
            "line 2: \"error\" is none that incr can give"},
        {ENDED("append", "\"value\":\"x\"", "\"length\":-1"),
            "line 2: \"length\" is not an integer from 0 to 2^63-1"},
        {ENDED("cas", "\"if\":\"version\",\"version\":3,\"value\":\"x\"", "\"error\":\"condition_failed\""),
            "line 2: \"result\" has no \"version\""},
        {ENDED("cas", "\"if\":\"present\",\"value\":\"x\"", "\"error\":\"condition_failed\",\"version\":3"),
            "line 2: there is a \"version\" where nothing was there or written"},
        {"{\"client\":1,\"op\":\"del\",\"key\":\"k\",\"arg\":{},\"start_ns\":7}",
            "line 2: it has no end: the file is cut"},
    };
#undef SET_LINE
#undef CAS_LINE
#undef ENDED
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[1024], why[256];
        snprintf(text, sizeof text, GOOD "%s", rows[i].line);
        struct history h;
        enum status status = read_text(&h, text, strlen(text), why);
        if (status != STATUS_INVALID || strncmp(why, rows[i].why, strlen(rows[i].why)) != 0) {
            fail_msg("%s: %s, %s", rows[i].line, status_name((int)status), why);
        }
        history_deinit(&h);
    }
}

static void every_cut_of_a_file_is_noticed(void **state)
{
    struct script *s = *state;
    script_cas(s, 1, 2, "5", "\xff", false, 9);
    script_get(s, 3, 4, "x", 3);
    char *text = file_of(&s->history);
    size_t len = strlen(text), first = (size_t)(strchr(text, '\n') - text) + 1;
    for (size_t cut = 1; cut < len; cut++) {
        struct history h;
        char why[256];
        enum status status = read_text(&h, text, cut, why);
        assert_int_equal(status, cut == first ? STATUS_OK : STATUS_INVALID);
        history_deinit(&h);
    }
    free(text);
}

static void a_file_beyond_the_limit_is_refused(void **state)
{
    struct script *s = *state;
    for (uint64_t i = 0; i < 100; i++) {
        script_get(s, i, i + 1, "a value that was read", 1);
    }
    char *text = file_of(&s->history);
    FILE *in = fmemopen(text, strlen(text), "r");
    assert_non_null(in);
    struct history h;
    char why[256];
    history_init(&h, 4096);
    assert_int_equal(history_read(&h, in, why, sizeof why), STATUS_OVERLOADED);
    assert_non_null(strstr(why, "larger than the limit of 4096 bytes"));
    fclose(in);
    free(text);
    history_deinit(&h);
}

int main(void)
{
#define script_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        script_test(every_operation_has_its_line),
        script_test(lines_come_in_the_order_of_their_starts),
        script_test(bytes_that_are_no_text_are_base64),
        script_test(a_failed_operation_leaves_nothing_behind),
        script_test(recorders_are_merged),
        cmocka_unit_test(a_full_history_refuses_to_begin),
        script_test(a_number_that_the_format_does_not_have_is_not_written),
        script_test(a_full_disk_is_told),
        cmocka_unit_test(an_empty_file_is_an_empty_history),
        cmocka_unit_test(what_is_wrong_in_a_file_is_told_with_its_line),
        script_test(every_cut_of_a_file_is_noticed),
        script_test(a_file_beyond_the_limit_is_refused),
    };
    return cmocka_run_group_tests_name("history", tests, NULL, NULL);
}
