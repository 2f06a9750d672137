/* Operations on values, at their edges, as tables: what is asked, what is there, what it comes to. */
#include "node/operation_test_help.h"

#include "proto/limits.h"

static void a_set_replaces_whatever_is_there(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {.op = {.value = TEXT("new")}, .effect = {EFFECT_WRITE, "new", 0}, .result = {.found = true}},
        {.op = {.value = TEXT("")}, .effect = {EFFECT_WRITE, "", 0}, .result = {.found = true}},
        {.op = {.value = TEXT("new")},
            .now = {.value = "old", .version = 7, .expires_at_ms = NOW_MS + 5},
            .effect = {EFFECT_WRITE, "new", 0},
            .result = {.found = true}},
        {.op = {.value = TEXT("new")},
            .now = {.value = "old", .type = OTHER_TYPE, .unapplied = true},
            .effect = {EFFECT_WRITE, "new", 0},
            .result = {.found = true}},
        {.op = {.value = TEXT("new"), .return_old = true},
            .now = {.value = "old", .version = 7},
            .effect = {EFFECT_WRITE, "new", 0},
            .result = {.found = true},
            .old = "old"},
        {.op = {.value = TEXT("new"), .return_old = true},
            .now = {.value = "", .version = 7},
            .effect = {EFFECT_WRITE, "new", 0},
            .result = {.found = true},
            .old = ""},
        {.op = {.value = TEXT("new"), .return_old = true},
            .effect = {EFFECT_WRITE, "new", 0},
            .result = {.found = true}},
    };
    check_rows(rows);
}

static void a_condition_decides_about_a_set(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {.op = {.value = TEXT("new"), .condition = CONDITION_ABSENT},
            .effect = {EFFECT_WRITE, "new", 0},
            .result = {.found = true}},
        {.op = {.value = TEXT("new"), .condition = CONDITION_ABSENT},
            .now = {.value = "", .version = 7},
            .status = STATUS_CONDITION_FAILED,
            .result = {.found = true, .version = 7}},
        {.op = {.value = TEXT("new"), .condition = CONDITION_ABSENT, .return_old = true},
            .now = {.value = "old", .unapplied = true, .version = 3},
            .status = STATUS_CONDITION_FAILED,
            .result = {.found = true, .version = 0},
            .old = "old"},
        {.op = {.value = TEXT("new"), .condition = CONDITION_PRESENT},
            .now = {.value = "old", .unapplied = true},
            .effect = {EFFECT_WRITE, "new", 0},
            .result = {.found = true}},
        {.op = {.value = TEXT("new"), .condition = CONDITION_PRESENT, .return_old = true},
            .status = STATUS_CONDITION_FAILED},
        {.op = {.value = TEXT("new"), .condition = CONDITION_VERSION, .if_version = 7},
            .now = {.value = "old", .version = 7},
            .effect = {EFFECT_WRITE, "new", 0},
            .result = {.found = true}},
        {.op = {.value = TEXT("new"), .condition = CONDITION_VERSION, .if_version = 6, .return_old = true},
            .now = {.value = "old", .version = 7},
            .status = STATUS_CONDITION_FAILED,
            .result = {.found = true, .version = 7},
            .old = "old"},
        {.op = {.value = TEXT("new"), .condition = CONDITION_VERSION, .if_version = 7},
            .status = STATUS_CONDITION_FAILED},
        {.op = {.value = TEXT("new"), .condition = CONDITION_VERSION, .if_version = UINT64_MAX},
            .now = {.value = "old", .version = UINT64_MAX},
            .effect = {EFFECT_WRITE, "new", 0},
            .result = {.found = true}},
        /* version 0: it must not be there; that can be said before a version is known */
        {.op = {.value = TEXT("new"), .condition = CONDITION_VERSION},
            .effect = {EFFECT_WRITE, "new", 0},
            .result = {.found = true}},
        {.op = {.value = TEXT("new"), .condition = CONDITION_VERSION},
            .now = {.unapplied = true, .version = 5},
            .effect = {EFFECT_WRITE, "new", 0},
            .result = {.found = true}},
        {.op = {.value = TEXT("new"), .condition = CONDITION_VERSION},
            .now = {.value = "old", .version = 7},
            .status = STATUS_CONDITION_FAILED,
            .result = {.found = true, .version = 7}},
        {.op = {.value = TEXT("new"), .condition = CONDITION_VERSION},
            .now = {.value = "old", .unapplied = true},
            .status = STATUS_CONDITION_FAILED,
            .result = {.found = true}},
        {.op = {.value = TEXT("new"), .condition = CONDITION_VERSION, .if_version = 7},
            .now = {.unapplied = true}, /* a delete in flight */
            .status = STATUS_CONDITION_FAILED},
        /* ... but another version must be waited for */
        {.op = {.value = TEXT("new"), .condition = CONDITION_VERSION, .if_version = 7, .return_old = true},
            .now = {.value = "old", .unapplied = true, .version = 7},
            .status = STATUS_AGAIN},
    };
    check_rows(rows);
}

static void a_del_deletes_what_is_there(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {.op = {.kind = OPERATION_DEL}},
        {.op = {.kind = OPERATION_DEL, .return_old = true}},
        {.op = {.kind = OPERATION_DEL},
            .now = {.value = "old", .type = OTHER_TYPE, .unapplied = true},
            .effect = {.kind = EFFECT_DELETE},
            .result = {.found = true}},
        {.op = {.kind = OPERATION_DEL, .return_old = true},
            .now = {.value = "old", .version = 7},
            .effect = {.kind = EFFECT_DELETE},
            .result = {.found = true},
            .old = "old"},
        {.op = {.kind = OPERATION_DEL, .condition = CONDITION_PRESENT}, .status = STATUS_CONDITION_FAILED},
        {.op = {.kind = OPERATION_DEL, .condition = CONDITION_PRESENT},
            .now = {.value = "old", .version = 7},
            .effect = {.kind = EFFECT_DELETE},
            .result = {.found = true}},
        {.op = {.kind = OPERATION_DEL, .condition = CONDITION_VERSION, .if_version = 7},
            .status = STATUS_CONDITION_FAILED},
        {.op = {.kind = OPERATION_DEL, .condition = CONDITION_VERSION, .if_version = 7},
            .now = {.value = "old", .version = 7},
            .effect = {.kind = EFFECT_DELETE},
            .result = {.found = true}},
        {.op = {.kind = OPERATION_DEL, .condition = CONDITION_VERSION, .if_version = 8, .return_old = true},
            .now = {.value = "old", .version = 7},
            .status = STATUS_CONDITION_FAILED,
            .result = {.found = true, .version = 7},
            .old = "old"},
        {.op = {.kind = OPERATION_DEL, .condition = CONDITION_VERSION, .if_version = 8},
            .now = {.value = "old", .unapplied = true},
            .status = STATUS_AGAIN},
        {.op = {.kind = OPERATION_DEL, .condition = CONDITION_VERSION}},
        {.op = {.kind = OPERATION_DEL, .condition = CONDITION_VERSION},
            .now = {.value = "old", .version = 7},
            .status = STATUS_CONDITION_FAILED,
            .result = {.found = true, .version = 7}},
    };
    check_rows(rows);
}

static void an_incr_adds_to_a_number(void **state)
{
    (void)state;
#define SUM(n) .result = {.found = true, .has_number = true, .number = (n) }
    static const struct row rows[] = {
        {.op = {.kind = OPERATION_INCR, .delta = 1}, .effect = {EFFECT_WRITE, "1", 0}, SUM(1)},
        {.op = {.kind = OPERATION_INCR, .delta = 0}, .effect = {EFFECT_WRITE, "0", 0}, SUM(0)},
        {.op = {.kind = OPERATION_INCR, .delta = INT64_MIN},
            .effect = {EFFECT_WRITE, "-9223372036854775808", 0},
            SUM(INT64_MIN)},
        {.op = {.kind = OPERATION_INCR, .delta = INT64_MAX},
            .effect = {EFFECT_WRITE, "9223372036854775807", 0},
            SUM(INT64_MAX)},
        {.op = {.kind = OPERATION_INCR, .delta = -3},
            .now = {.value = "1", .version = 7, .expires_at_ms = NOW_MS + 5}, /* which stays */
            .effect = {EFFECT_WRITE, "-2", NOW_MS + 5},
            SUM(-2)},
        {.op = {.kind = OPERATION_INCR, .delta = 2},
            .now = {.value = "-1", .unapplied = true},
            .effect = {EFFECT_WRITE, "1", 0},
            SUM(1)},
        {.op = {.kind = OPERATION_INCR, .delta = 1},
            .now = {.value = "9223372036854775806"},
            .effect = {EFFECT_WRITE, "9223372036854775807", 0},
            SUM(INT64_MAX)},
        {.op = {.kind = OPERATION_INCR, .delta = -1},
            .now = {.value = "-9223372036854775807"},
            .effect = {EFFECT_WRITE, "-9223372036854775808", 0},
            SUM(INT64_MIN)},
        {.op = {.kind = OPERATION_INCR, .delta = INT64_MIN},
            .now = {.value = "9223372036854775807"},
            .effect = {EFFECT_WRITE, "-1", 0},
            SUM(-1)},
        {.op = {.kind = OPERATION_INCR, .delta = INT64_MAX},
            .now = {.value = "-9223372036854775808"},
            .effect = {EFFECT_WRITE, "-1", 0},
            SUM(-1)},
        {.op = {.kind = OPERATION_INCR, .delta = INT64_MIN},
            .now = {.value = "0"},
            .effect = {EFFECT_WRITE, "-9223372036854775808", 0},
            SUM(INT64_MIN)},
    };
#undef SUM
    check_rows(rows);
}

static void an_incr_beyond_64_bits_changes_nothing(void **state)
{
    (void)state;
#define REFUSED .status = STATUS_OUT_OF_RANGE, .result = {.found = true, .version = 7 }
    static const struct row rows[] = {
        {.op = {.kind = OPERATION_INCR, .delta = 1},
            .now = {.value = "9223372036854775807", .version = 7, .expires_at_ms = NOW_MS + 5},
            REFUSED},
        {.op = {.kind = OPERATION_INCR, .delta = INT64_MAX}, .now = {.value = "1", .version = 7}, REFUSED},
        {.op = {.kind = OPERATION_INCR, .delta = -1},
            .now = {.value = "-9223372036854775808", .version = 7},
            REFUSED},
        {.op = {.kind = OPERATION_INCR, .delta = INT64_MIN}, .now = {.value = "-1", .version = 7}, REFUSED},
        {.op = {.kind = OPERATION_INCR, .delta = INT64_MIN},
            .now = {.value = "-9223372036854775808", .version = 7},
            REFUSED},
    };
#undef REFUSED
    check_rows(rows);
}

/* What an incr of @text by 0 comes to. */
static enum status number_status(struct bytes text, int64_t *number)
{
    const struct operation op = {.kind = OPERATION_INCR};
    struct value *value = value_create(text);
    const struct operation_current now = {.value = value, .version_known = true, .version = 7};
    struct operation_effect effect;
    struct operation_result result = {0};
    enum status status = operation_evaluate(&op, &now, NOW_MS, &effect, &result);
    *number = result.number;
    if (status == STATUS_OK) { /* one spelling: the sum with 0 is the same bytes */
        assert_true(bytes_equal(value_bytes(effect.value), text));
    } else {
        assert_int_equal(effect.kind, EFFECT_NONE);
        assert_true(result.found && !result.has_number);
        assert_int_equal(result.version, 7);
    }
    value_unref(effect.value);
    operation_result_clear(&result);
    value_unref(value);
    return status;
}

static void a_number_has_one_spelling(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t number;
    } good[] = {{"0", 0}, {"1", 1}, {"9", 9}, {"-1", -1}, {"10", 10}, {"-10", -10},
        {"1000000000000000000", INT64_C(1000000000000000000)}, {"9223372036854775807", INT64_MAX},
        {"-9223372036854775807", -INT64_MAX}, {"-9223372036854775808", INT64_MIN}};
    static const struct bytes bad[] = {TEXT(""), TEXT("-"), TEXT("--1"), TEXT("-0"), TEXT("+1"), TEXT("+0"),
        TEXT("01"), TEXT("00"), TEXT("-01"), TEXT("-00"), TEXT(" 1"), TEXT("1 "), TEXT("1\n"), TEXT("1-"),
        TEXT("1 2"), TEXT("\0"), TEXT("1\0"), TEXT("\0001"), TEXT("1\0002"), TEXT("1.0"), TEXT("1e3"),
        TEXT("0x1"), TEXT("a"), TEXT("/"), TEXT(":"), TEXT("1/"), TEXT("1:"), TEXT("\xff"), TEXT("1\x80"),
        TEXT("9223372036854775808"), TEXT("-9223372036854775809"), TEXT("9223372036854775810"),
        TEXT("9999999999999999999"), TEXT("10000000000000000000"), TEXT("-9999999999999999999"),
        TEXT("18446744073709551616"), TEXT("18446744073709551617"), TEXT("-18446744073709551615"),
        TEXT("99999999999999999999"), TEXT("00000000000000000001"), TEXT("000000000000000000001"),
        TEXT("-00000000000000000001")};
    int64_t number;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(number_status(bytes_from_text(good[i].text), &number), STATUS_OK);
        assert_true(number == good[i].number);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (number_status(bad[i], &number) != STATUS_NOT_A_NUMBER) {
            fail_msg("'%.*s' was taken for a number", (int)bad[i].len, (const char *)bad[i].data);
        }
    }
}

static void an_append_extends_what_is_there(void **state)
{
    (void)state;
#define LENGTH(n) .result = {.found = true, .has_length = true, .length = (n) }
    static const struct row rows[] = {
        {.op = {.kind = OPERATION_APPEND, .value = TEXT("b")}, .effect = {EFFECT_WRITE, "b", 0}, LENGTH(1)},
        {.op = {.kind = OPERATION_APPEND}, .effect = {EFFECT_WRITE, "", 0}, LENGTH(0)},
        {.op = {.kind = OPERATION_APPEND, .value = TEXT("bc")},
            .now = {.value = "a", .unapplied = true, .expires_at_ms = NOW_MS + 5},
            .effect = {EFFECT_WRITE, "abc", NOW_MS + 5},
            LENGTH(3)},
        {.op = {.kind = OPERATION_APPEND},
            .now = {.value = "a"},
            .effect = {EFFECT_WRITE, "a", 0},
            LENGTH(1)},
        {.op = {.kind = OPERATION_APPEND, .value = TEXT("b")},
            .now = {.value = ""},
            .effect = {EFFECT_WRITE, "b", 0},
            LENGTH(1)},
    };
#undef LENGTH
    check_rows(rows);
}

static void another_type_is_neither_a_number_nor_a_string(void **state)
{
    (void)state;
#define REFUSED                                                                                              \
    .now = {.value = "1", .type = OTHER_TYPE, .version = 7}, .status = STATUS_WRONG_TYPE, .result = {        \
        .found = true,                                                                                       \
        .version = 7                                                                                         \
    }
    static const struct row rows[] = {
        {.op = {.kind = OPERATION_INCR, .delta = 1}, REFUSED},
        {.op = {.kind = OPERATION_APPEND, .value = TEXT("b")}, REFUSED},
        /* absent: the type says nothing */
        {.op = {.kind = OPERATION_INCR, .delta = 1},
            .now = {.type = OTHER_TYPE},
            .effect = {EFFECT_WRITE, "1", 0},
            .result = {.found = true, .has_number = true, .number = 1}},
    };
#undef REFUSED
    check_rows(rows);
}

static void an_append_stops_at_the_largest_value(void **state)
{
    (void)state;
    enum { MAX = LIMIT_VALUE_BYTES };
    static const struct {
        size_t head, tail;
        enum status status;
    } rows[] = {{MAX - 1, 0, STATUS_OK}, {MAX - 1, 1, STATUS_OK}, {MAX - 1, 2, STATUS_TOO_BIG},
        {MAX, 0, STATUS_OK}, {MAX, 1, STATUS_TOO_BIG}, {MAX, MAX, STATUS_TOO_BIG}, {1, MAX - 1, STATUS_OK},
        {1, MAX, STATUS_TOO_BIG}, {0, MAX, STATUS_OK}, {0, MAX + 1, STATUS_TOO_BIG},
        /* others wrote to the database */
        {MAX + 1, 0, STATUS_TOO_BIG}, {2 * MAX, 1, STATUS_TOO_BIG}};
    uint8_t *content = malloc(2 * MAX);
    assert_non_null(content);
    for (size_t i = 0; i < 2 * MAX; i++) {
        content[i] = (uint8_t)(i % 251);
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct value *head = value_create(bytes_of(content, rows[i].head));
        const struct operation op = {
            .kind = OPERATION_APPEND, .value = bytes_of(content + rows[i].head % MAX, rows[i].tail)};
        const struct operation_current now = {.value = head, .version_known = true, .version = 7};
        struct operation_effect effect;
        struct operation_result result = {0};
        assert_int_equal(operation_evaluate(&op, &now, NOW_MS, &effect, &result), rows[i].status);
        assert_true(result.found);
        if (rows[i].status == STATUS_OK) {
            assert_int_equal(effect.kind, EFFECT_WRITE);
            assert_int_equal(result.length, rows[i].head + rows[i].tail);
            assert_int_equal(effect.value->len, result.length);
            assert_true(effect.value->len <= operation_bytes_max(&op, &now));
            assert_memory_equal(effect.value->data, content, rows[i].head);
            assert_memory_equal(effect.value->data + rows[i].head, op.value.data, rows[i].tail);
        } else {
            assert_int_equal(effect.kind, EFFECT_NONE);
            assert_false(result.has_length);
            assert_int_equal(result.version, 7);
        }
        value_unref(effect.value);
        operation_result_clear(&result);
        value_unref(head);
    }
    free(content);
}

static void only_a_plain_set_needs_not_look(void **state)
{
    (void)state;
    static const struct {
        struct operation op;
        bool needs;
    } rows[] = {
        {{.kind = OPERATION_SET}, false},
        {{.kind = OPERATION_SET, .expires = true, .expire_ms = 5}, false},
        {{.kind = OPERATION_SET, .expires = true, .expire_relative = true}, false},
        {{.kind = OPERATION_SET, .condition = CONDITION_ABSENT}, true},
        {{.kind = OPERATION_SET, .condition = CONDITION_PRESENT}, true},
        {{.kind = OPERATION_SET, .condition = CONDITION_VERSION}, true},
        {{.kind = OPERATION_SET, .return_old = true}, true},
        {{.kind = OPERATION_SET, .keep_expiry = true}, true},
        {{.kind = OPERATION_DEL}, true},
        {{.kind = OPERATION_INCR}, true},
        {{.kind = OPERATION_APPEND}, true},
        {{.kind = OPERATION_EXPIRE}, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(operation_needs_current(&rows[i].op), rows[i].needs);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_replaces_whatever_is_there),
        cmocka_unit_test(a_condition_decides_about_a_set),
        cmocka_unit_test(a_del_deletes_what_is_there),
        cmocka_unit_test(an_incr_adds_to_a_number),
        cmocka_unit_test(an_incr_beyond_64_bits_changes_nothing),
        cmocka_unit_test(a_number_has_one_spelling),
        cmocka_unit_test(an_append_extends_what_is_there),
        cmocka_unit_test(another_type_is_neither_a_number_nor_a_string),
        cmocka_unit_test(an_append_stops_at_the_largest_value),
        cmocka_unit_test(only_a_plain_set_needs_not_look),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
