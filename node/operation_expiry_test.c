/* What operations do to expiries, as tables: what is asked, what is there, what it comes to. */
#include "node/operation_test_help.h"

static void a_set_gives_keeps_or_removes_the_expiry(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {.op = {.value = TEXT("v"), .expires = true, .expire_ms = NOW_MS + 1},
            .effect = {EFFECT_WRITE, "v", NOW_MS + 1},
            .result = {.found = true}},
        {.op = {.value = TEXT("v"), .expires = true, .expire_relative = true, .expire_ms = 1},
            .effect = {EFFECT_WRITE, "v", NOW_MS + 1},
            .result = {.found = true}},
        {.op = {.value = TEXT("v"), .keep_expiry = true},
            .now = {.value = "old", .expires_at_ms = NOW_MS + 5},
            .effect = {EFFECT_WRITE, "v", NOW_MS + 5},
            .result = {.found = true}},
        {.op = {.value = TEXT("v"), .keep_expiry = true},
            .now = {.value = "old"},
            .effect = {EFFECT_WRITE, "v", 0},
            .result = {.found = true}},
        {.op = {.value = TEXT("v"), .keep_expiry = true},
            .now = {.expires_at_ms = NOW_MS + 5}, /* not there: no expiry either */
            .effect = {EFFECT_WRITE, "v", 0},
            .result = {.found = true}},
        {.op = {.value = TEXT("v"), .keep_expiry = true, .expires = true, .expire_ms = NOW_MS + 9},
            .now = {.value = "old", .expires_at_ms = NOW_MS + 5},
            .effect = {EFFECT_WRITE, "v", NOW_MS + 9},
            .result = {.found = true}},
    };
    check_rows(rows);
}

static void a_set_that_is_due_at_once_deletes_without_looking(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {.op = {.value = TEXT("v"), .expires = true, .expire_ms = NOW_MS},
            .effect = {.kind = EFFECT_DELETE},
            .result = {.found = true}},
        {.op = {.value = TEXT("v"), .expires = true, .expire_ms = 0},
            .now = {.value = "old", .version = 7},
            .effect = {.kind = EFFECT_DELETE},
            .result = {.found = true}},
        {.op = {.value = TEXT("v"), .expires = true, .expire_relative = true, .expire_ms = 0},
            .effect = {.kind = EFFECT_DELETE},
            .result = {.found = true}},
        {.op = {.value = TEXT("v"), .expires = true, .expire_ms = 1, .return_old = true},
            .now = {.value = "old", .version = 7},
            .effect = {.kind = EFFECT_DELETE},
            .result = {.found = true},
            .old = "old"},
        {.op = {.value = TEXT("v"), .expires = true, .expire_ms = 1, .condition = CONDITION_ABSENT},
            .now = {.value = "old", .version = 7},
            .status = STATUS_CONDITION_FAILED,
            .result = {.found = true, .version = 7}},
    };
    check_rows(rows);
}

static void an_expiry_has_an_end(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {.op = {.value = TEXT("v"), .expires = true, .expire_ms = LAST_MS - 1},
            .effect = {EFFECT_WRITE, "v", LAST_MS - 1},
            .result = {.found = true}},
        {.op = {.value = TEXT("v"), .expires = true, .expire_ms = LAST_MS + 1},
            .effect = {EFFECT_WRITE, "v", LAST_MS},
            .result = {.found = true}},
        {.op = {.value = TEXT("v"), .expires = true, .expire_ms = UINT64_MAX},
            .effect = {EFFECT_WRITE, "v", LAST_MS},
            .result = {.found = true}},
        {.op = {.value = TEXT("v"), .expires = true, .expire_relative = true, .expire_ms = LAST_MS - NOW_MS},
            .effect = {EFFECT_WRITE, "v", LAST_MS},
            .result = {.found = true}},
        {.op = {.value = TEXT("v"),
             .expires = true,
             .expire_relative = true,
             .expire_ms = UINT64_MAX - NOW_MS},
            .effect = {EFFECT_WRITE, "v", LAST_MS},
            .result = {.found = true}},
        {.op = {.value = TEXT("v"),
             .expires = true,
             .expire_relative = true,
             .expire_ms = UINT64_MAX - NOW_MS + 1}, /* overflows to 0 */
            .effect = {EFFECT_WRITE, "v", LAST_MS},
            .result = {.found = true}},
        {.op = {.value = TEXT("v"), .expires = true, .expire_relative = true, .expire_ms = UINT64_MAX},
            .effect = {EFFECT_WRITE, "v", LAST_MS},
            .result = {.found = true}},
        /* capped, it is not later than the last */
        {.op = {.kind = OPERATION_EXPIRE, .expires = true, .expire_ms = UINT64_MAX, .only_if = EXPIRE_LATER},
            .now = {.value = "v", .version = 7, .expires_at_ms = LAST_MS},
            .status = STATUS_CONDITION_FAILED,
            .result = {.found = true, .version = 7, .expires_at_ms = LAST_MS}},
    };
    check_rows(rows);
}

static void a_key_that_is_due_is_not_there(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {.op = {.value = TEXT("v"), .condition = CONDITION_ABSENT, .return_old = true},
            .now = {.value = "old", .version = 7, .expires_at_ms = NOW_MS},
            .effect = {EFFECT_WRITE, "v", 0},
            .result = {.found = true}},
        {.op = {.value = TEXT("v"), .condition = CONDITION_ABSENT},
            .now = {.value = "old", .version = 7, .expires_at_ms = NOW_MS + 1},
            .status = STATUS_CONDITION_FAILED,
            .result = {.found = true, .version = 7}},
        {.op = {.value = TEXT("v"), .keep_expiry = true},
            .now = {.value = "old", .version = 7, .expires_at_ms = NOW_MS},
            .effect = {EFFECT_WRITE, "v", 0},
            .result = {.found = true}},
        {.op = {.kind = OPERATION_DEL, .return_old = true},
            .now = {.value = "old", .version = 7, .expires_at_ms = NOW_MS - 1}},
        {.op = {.kind = OPERATION_INCR, .delta = 2},
            .now = {.value = "40", .type = OTHER_TYPE, .version = 7, .expires_at_ms = NOW_MS},
            .effect = {EFFECT_WRITE, "2", 0},
            .result = {.found = true, .has_number = true, .number = 2}},
        {.op = {.kind = OPERATION_APPEND, .value = TEXT("b")},
            .now = {.value = "a", .version = 7, .expires_at_ms = NOW_MS},
            .effect = {EFFECT_WRITE, "b", 0},
            .result = {.found = true, .has_length = true, .length = 1}},
        {.op = {.kind = OPERATION_EXPIRE}, .now = {.value = "a", .version = 7, .expires_at_ms = NOW_MS}},
    };
    check_rows(rows);
}

static void an_expire_changes_the_expiry_only(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {.op = {.kind = OPERATION_EXPIRE, .expires = true, .expire_ms = NOW_MS + 1}}, /* not there */
        {.op = {.kind = OPERATION_EXPIRE, .expires = true, .expire_ms = 1}},
        {.op = {.kind = OPERATION_EXPIRE,
             .expires = true,
             .expire_ms = NOW_MS + 1,
             .only_if = EXPIRE_HAS_ONE}},
        {.op = {.kind = OPERATION_EXPIRE}},
        {.op = {.kind = OPERATION_EXPIRE, .expires = true, .expire_ms = NOW_MS + 1},
            .now = {.value = "v", .type = OTHER_TYPE, .version = 7},
            .effect = {EFFECT_WRITE, "v", NOW_MS + 1},
            .result = {.found = true, .expires_at_ms = NOW_MS + 1}},
        {.op = {.kind = OPERATION_EXPIRE, .expires = true, .expire_relative = true, .expire_ms = 3},
            .now = {.value = "v", .unapplied = true, .expires_at_ms = NOW_MS + 9},
            .effect = {EFFECT_WRITE, "v", NOW_MS + 3},
            .result = {.found = true, .expires_at_ms = NOW_MS + 3}},
        {.op = {.kind = OPERATION_EXPIRE, .expires = true, .expire_ms = NOW_MS + 9},
            .now = {.value = "v", .expires_at_ms = NOW_MS + 9},
            .effect = {EFFECT_WRITE, "v", NOW_MS + 9},
            .result = {.found = true, .expires_at_ms = NOW_MS + 9}},
    };
    check_rows(rows);
}

static void an_expire_to_the_past_deletes(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {.op = {.kind = OPERATION_EXPIRE, .expires = true, .expire_ms = NOW_MS},
            .now = {.value = "v", .version = 7},
            .effect = {.kind = EFFECT_DELETE},
            .result = {.found = true, .expires_at_ms = NOW_MS}},
        {.op = {.kind = OPERATION_EXPIRE, .expires = true, .expire_relative = true},
            .now = {.value = "v", .version = 7, .expires_at_ms = NOW_MS + 5},
            .effect = {.kind = EFFECT_DELETE},
            .result = {.found = true, .expires_at_ms = NOW_MS}},
        {.op = {.kind = OPERATION_EXPIRE, .expires = true, .expire_ms = 0}, /* 1970, not never */
            .now = {.value = "v", .version = 7},
            .effect = {.kind = EFFECT_DELETE},
            .result = {.found = true, .expires_at_ms = 1}},
        {.op = {.kind = OPERATION_EXPIRE, .expires = true, .expire_ms = 5, .only_if = EXPIRE_EARLIER},
            .now = {.value = "v", .version = 7},
            .effect = {.kind = EFFECT_DELETE},
            .result = {.found = true, .expires_at_ms = 5}},
        {.op = {.kind = OPERATION_EXPIRE, .expires = true, .expire_ms = 5, .only_if = EXPIRE_LATER},
            .now = {.value = "v", .version = 7, .expires_at_ms = NOW_MS + 5},
            .status = STATUS_CONDITION_FAILED,
            .result = {.found = true, .version = 7, .expires_at_ms = NOW_MS + 5}},
    };
    check_rows(rows);
}

static void an_expire_without_a_time_removes_the_expiry(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {.op = {.kind = OPERATION_EXPIRE},
            .now = {.value = "v", .type = OTHER_TYPE, .version = 7, .expires_at_ms = NOW_MS + 5},
            .effect = {EFFECT_WRITE, "v", 0},
            .result = {.found = true}},
        {.op = {.kind = OPERATION_EXPIRE, .expire_ms = 3, .expire_relative = true}, /* not given */
            .now = {.value = "v", .version = 7, .expires_at_ms = NOW_MS + 5},
            .effect = {EFFECT_WRITE, "v", 0},
            .result = {.found = true}},
        {.op = {.kind = OPERATION_EXPIRE},
            .now = {.value = "v", .version = 7},
            .result = {.found = true, .version = 7}},
        {.op = {.kind = OPERATION_EXPIRE},
            .now = {.value = "v", .unapplied = true, .version = 7},
            .result = {.found = true, .version = 0}},
    };
    check_rows(rows);
}

static void an_expire_obeys_its_condition(void **state)
{
    (void)state;
    enum { OLD_MS = NOW_MS + 50, EARLIER_MS = OLD_MS - 1, LATER_MS = OLD_MS + 1, NEVER = 0 };
    static const struct {
        enum operation_expire_if only_if;
        uint64_t old_ms, new_ms;
        bool holds;
    } rows[] = {
        {EXPIRE_ALWAYS, NEVER, LATER_MS, true},
        {EXPIRE_ALWAYS, OLD_MS, EARLIER_MS, true},
        {EXPIRE_ALWAYS, OLD_MS, NEVER, true},
        {EXPIRE_HAS_NONE, NEVER, LATER_MS, true},
        {EXPIRE_HAS_NONE, OLD_MS, LATER_MS, false},
        {EXPIRE_HAS_NONE, OLD_MS, NEVER, false},
        {EXPIRE_HAS_NONE, NEVER, NEVER, true},
        {EXPIRE_HAS_ONE, NEVER, LATER_MS, false},
        {EXPIRE_HAS_ONE, OLD_MS, EARLIER_MS, true},
        {EXPIRE_HAS_ONE, OLD_MS, NEVER, true},
        {EXPIRE_HAS_ONE, NEVER, NEVER, false},
        {EXPIRE_LATER, OLD_MS, LATER_MS, true},
        {EXPIRE_LATER, OLD_MS, OLD_MS, false},
        {EXPIRE_LATER, OLD_MS, EARLIER_MS, false},
        {EXPIRE_LATER, NEVER, LATER_MS, false},
        {EXPIRE_LATER, NEVER, LAST_MS, false},
        {EXPIRE_LATER, OLD_MS, NEVER, true},
        {EXPIRE_LATER, NEVER, NEVER, false},
        {EXPIRE_EARLIER, OLD_MS, LATER_MS, false},
        {EXPIRE_EARLIER, OLD_MS, OLD_MS, false},
        {EXPIRE_EARLIER, OLD_MS, EARLIER_MS, true},
        {EXPIRE_EARLIER, NEVER, LATER_MS, true},
        {EXPIRE_EARLIER, NEVER, LAST_MS, true},
        {EXPIRE_EARLIER, OLD_MS, NEVER, false},
        {EXPIRE_EARLIER, NEVER, NEVER, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool changes = rows[i].holds && (rows[i].new_ms != NEVER || rows[i].old_ms != NEVER);
        struct row row = {.op = {.kind = OPERATION_EXPIRE,
                              .only_if = rows[i].only_if,
                              .expires = rows[i].new_ms != NEVER,
                              .expire_ms = rows[i].new_ms},
            .now = {.value = "v", .version = 7, .expires_at_ms = rows[i].old_ms},
            .status = rows[i].holds ? STATUS_OK : STATUS_CONDITION_FAILED,
            .effect = {.kind = EFFECT_NONE},
            .result = {.found = true, .version = 7, .expires_at_ms = rows[i].old_ms}};
        if (changes) {
            row.effect.kind = EFFECT_WRITE;
            row.effect.value = "v";
            row.effect.expires_at_ms = row.result.expires_at_ms = rows[i].new_ms;
            row.result.version = 0;
        }
        check_row(&row, i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_gives_keeps_or_removes_the_expiry),
        cmocka_unit_test(a_set_that_is_due_at_once_deletes_without_looking),
        cmocka_unit_test(an_expiry_has_an_end),
        cmocka_unit_test(a_key_that_is_due_is_not_there),
        cmocka_unit_test(an_expire_changes_the_expiry_only),
        cmocka_unit_test(an_expire_to_the_past_deletes),
        cmocka_unit_test(an_expire_without_a_time_removes_the_expiry),
        cmocka_unit_test(an_expire_obeys_its_condition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
