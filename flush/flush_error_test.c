#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "flush/flush_error.h"

static const struct {
    const char *sqlstate;
    enum flush_error_class class;
} expected[] = {
    {"WB001", FLUSH_ERROR_FENCED},
    {"WB002", FLUSH_ERROR_PREDECESSOR},
    {"WB003", FLUSH_ERROR_HALT},
    {"", FLUSH_ERROR_OUTAGE},
    {NULL, FLUSH_ERROR_OUTAGE},
    {"ZZ999", FLUSH_ERROR_OUTAGE},
    {"XX000", FLUSH_ERROR_OUTAGE},
    {"08006", FLUSH_ERROR_OUTAGE},
    {"57P01", FLUSH_ERROR_OUTAGE},
    {"57P02", FLUSH_ERROR_OUTAGE},
    {"57P03", FLUSH_ERROR_OUTAGE},
    {"53100", FLUSH_ERROR_OUTAGE},
    {"53300", FLUSH_ERROR_OUTAGE},
    {"25006", FLUSH_ERROR_OUTAGE},
    {"25P03", FLUSH_ERROR_OUTAGE},
    {"55000", FLUSH_ERROR_OUTAGE},
    {"58030", FLUSH_ERROR_OUTAGE},
    {"40001", FLUSH_ERROR_TRANSIENT},
    {"40P01", FLUSH_ERROR_TRANSIENT},
    {"55P03", FLUSH_ERROR_TRANSIENT},
    {"55006", FLUSH_ERROR_TRANSIENT},
    {"57014", FLUSH_ERROR_TRANSIENT},
    {"22001", FLUSH_ERROR_ROW},
    {"22021", FLUSH_ERROR_ROW},
    {"23502", FLUSH_ERROR_ROW},
    {"23505", FLUSH_ERROR_ROW},
    {"23514", FLUSH_ERROR_ROW},
    {"P0001", FLUSH_ERROR_ROW},
    {"54000", FLUSH_ERROR_ROW},
    {"44000", FLUSH_ERROR_ROW},
    {"28P01", FLUSH_ERROR_HALT},
    {"42501", FLUSH_ERROR_HALT},
    {"42P01", FLUSH_ERROR_HALT},
    {"42703", FLUSH_ERROR_HALT},
    {"3D000", FLUSH_ERROR_HALT},
    {"3F000", FLUSH_ERROR_HALT},
    {"0A000", FLUSH_ERROR_HALT},
    {"26000", FLUSH_ERROR_HALT},
    {"XX001", FLUSH_ERROR_HALT},
    {"21000", FLUSH_ERROR_ROW},
    {"20000", FLUSH_ERROR_ROW},
    {"2F005", FLUSH_ERROR_ROW},
    {"2D000", FLUSH_ERROR_ROW},
    {"22P02", FLUSH_ERROR_ROW},
    {"22003", FLUSH_ERROR_ROW},
    {"23503", FLUSH_ERROR_ROW},
    {"23P01", FLUSH_ERROR_ROW},
    {"P0004", FLUSH_ERROR_ROW},
    {"25P04", FLUSH_ERROR_TRANSIENT},
    {"72000", FLUSH_ERROR_TRANSIENT},
    {"28000", FLUSH_ERROR_HALT},
    {"42883", FLUSH_ERROR_HALT},
    {"57P05", FLUSH_ERROR_OUTAGE},
};

static void codes_have_the_class_that_the_flush_needs(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        if (flush_error_classify(expected[i].sqlstate) != expected[i].class) {
            fail_msg("%s is %s", expected[i].sqlstate,
                flush_error_class_name(flush_error_classify(expected[i].sqlstate)));
        }
    }
}

/* As SIMILAR TO reads it: alternatives in parentheses, then anything. */
static bool fits(const char *pattern, const char *sqlstate)
{
    assert_true(pattern[0] == '(');
    const char *at = pattern + 1;
    for (;;) {
        size_t len = strcspn(at, "|)");
        assert_true(len > 0 && at[len] != '\0');
        if (strncmp(at, sqlstate, len) == 0) {
            return true;
        }
        if (at[len] == ')') {
            assert_string_equal(at + len, ")%");
            return false;
        }
        at += len + 1;
    }
}

/* The server must isolate exactly what we call a row's error: no single code of another class hides in one of
 * the classes. */
static void the_pattern_for_the_server_fits_what_is_classified_as_a_row(void **state)
{
    (void)state;
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    char *pattern = flush_error_row_pattern();
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        if (expected[i].sqlstate != NULL && expected[i].sqlstate[0] != '\0') {
            assert_int_equal(fits(pattern, expected[i].sqlstate), expected[i].class == FLUSH_ERROR_ROW);
        }
    }
    for (size_t class = 0; class < 36 * 36; class ++) {
        char code[6] = {digits[class / 36], digits[class % 36], '0', '0', '0', '\0'};
        bool row = flush_error_classify(code) == FLUSH_ERROR_ROW;
        for (size_t rest = 0; rest < 36 * 36 * 36; rest += row ? 1 : 997) {
            code[2] = digits[rest / 1296];
            code[3] = digits[rest / 36 % 36];
            code[4] = digits[rest % 36];
            if ((flush_error_classify(code) == FLUSH_ERROR_ROW) != fits(pattern, code)) {
                fail_msg("%s", code);
            }
        }
    }
    free(pattern);
}

/* PostgreSQL refuses half a character, and such a message goes back to it (table quarantine). */
static void a_message_is_not_cut_inside_of_a_character(void **state)
{
    (void)state;
    static const char *const characters[] = {"\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    struct flush_error e;
    for (size_t i = 0; i < 3; i++) {
        size_t width = strlen(characters[i]);
        for (size_t before = 0; before < width; before++) {
            char text[1024];
            size_t len = before;
            memset(text, 'x', before);
            for (; len + width < sizeof text; len += width) {
                memcpy(text + len, characters[i], width);
            }
            text[len] = '\0';
            flush_error_set(&e, FLUSH_ERROR_ROW, NULL, "%s", text);
            size_t kept = strlen(e.message);
            assert_true(kept <= sizeof e.message - 1 && kept > sizeof e.message - 1 - width);
            assert_int_equal((kept - before) % width, 0);
        }
    }
}

static void a_message_becomes_one_line_that_fits(void **state)
{
    (void)state;
    struct flush_error e;
    flush_error_set(&e, FLUSH_ERROR_ROW, "23505", "  first\n\tsecond %d\r\n\n", 2);
    assert_string_equal(e.message, "first second 2");
    assert_string_equal(e.sqlstate, "23505");
    assert_int_equal(e.class, FLUSH_ERROR_ROW);

    char text[2000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    flush_error_set(&e, FLUSH_ERROR_OUTAGE, NULL, "%s", text);
    assert_int_equal(strlen(e.message), sizeof e.message - 1);
    assert_string_equal(e.sqlstate, "");
    flush_error_set(&e, FLUSH_ERROR_OUTAGE, NULL, "\n \n");
    assert_string_equal(e.message, "");
}

static void a_cluster_id_is_written_as_a_uuid(void **state)
{
    (void)state;
    uint8_t id[CLUSTER_ID_BYTES];
    char text[CLUSTER_ID_TEXT_BYTES];
    for (int i = 0; i < CLUSTER_ID_BYTES; i++) {
        id[i] = (uint8_t)(i * 17);
    }
    cluster_id_text(id, text);
    assert_string_equal(text, "00112233-4455-6677-8899-aabbccddeeff");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_have_the_class_that_the_flush_needs),
        cmocka_unit_test(the_pattern_for_the_server_fits_what_is_classified_as_a_row),
        cmocka_unit_test(a_message_is_not_cut_inside_of_a_character),
        cmocka_unit_test(a_message_becomes_one_line_that_fits),
        cmocka_unit_test(a_cluster_id_is_written_as_a_uuid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
