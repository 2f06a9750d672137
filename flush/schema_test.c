#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "flush/schema.h"

static void names_are_quoted_as_identifiers(void **state)
{
    (void)state;
    char *text = schema_quoted("we\"ird; DROP", "entry");
    assert_string_equal(text, "\"we\"\"ird; DROP\".\"entry\"");
    free(text);
    text = schema_quoted("wb", NULL);
    assert_string_equal(text, "\"wb\"");
    free(text);
    text = schema_sql(SCHEMA_DELETE, "a\"b");
    assert_string_equal(text, "DELETE FROM \"a\"\"b\".entry WHERE key = ANY ($1)");
    free(text);
}

/* The function's body is a string within the statement: quotes and backslashes of the name must not end it.
 */
static void a_name_cannot_leave_the_functions_body(void **state)
{
    (void)state;
    char *text = schema_sql(SCHEMA_CREATE_ADVANCE, "o'n\\e");
    const char *body = strstr(text, " AS E'");
    assert_non_null(body);
    body += strlen(" AS E'");
    assert_non_null(strstr(body, "\"o''n\\\\e\".flush_state"));
    const char *end = body;
    while (*end != '\0') {
        if (*end == '\\' || (*end == '\'' && end[1] == '\'')) {
            end += 2;
        } else if (*end == '\'') {
            break;
        } else {
            end++;
        }
    }
    assert_string_equal(end, "'");
    free(text);
}

static void every_statement_has_a_text_with_the_schemas_name_filled_in(void **state)
{
    (void)state;
    for (int i = 0; i < SCHEMA_SQL_COUNT; i++) {
        char *text = schema_sql((enum schema_sql)i, "wb");
        assert_true(strlen(text) > 0);
        assert_null(strpbrk(text, "@~`^"));
        free(text);
    }
}

static void the_channel_is_named_after_the_schema(void **state)
{
    (void)state;
    char *text = schema_channel("wb");
    assert_string_equal(text, "wbcache_wb");
    free(text);
    text = schema_sql(SCHEMA_LISTEN, "o\"n");
    assert_string_equal(text, "LISTEN \"wbcache_o\"\"n\"");
    free(text);
    text = schema_sql(SCHEMA_CREATE_CHANGED, "o'n"); /* a constant within the body's constant */
    assert_non_null(strstr(text, "pg_notify(E''wbcache_o''''n'', ''*'')"));
    free(text);
}

/* PostgreSQL cuts longer identifiers, and refuses longer channels: two schemas must not share one. */
static void a_channel_of_a_long_name_fits_and_is_its_own(void **state)
{
    (void)state;
    char a[64], b[64];
    memset(a, 'n', 63);
    a[63] = '\0';
    memcpy(b, a, sizeof b);
    b[62] = 'm';
    char *of_a = schema_channel(a), *of_b = schema_channel(b);
    assert_int_equal(strlen(of_a), 63);
    assert_int_equal(strlen(of_b), 63);
    assert_string_not_equal(of_a, of_b);
    assert_memory_equal(of_a, "wbcache_nnnn", 12);
    free(of_a);
    free(of_b);
    for (int i = 0; i < 62; i += 2) { /* two bytes each: the cut falls between them */
        memcpy(a + i + 1, "\xc3\xa9", 2);
    }
    a[63] = '\0';
    for (int shift = 0; shift <= 1; shift++) {
        of_a = schema_channel(a + shift);
        assert_true(strlen(of_a) <= 63);
        assert_memory_equal(strrchr(of_a, '_') - 2, "\xc3\xa9", 2);
        free(of_a);
    }
    memset(a, 'x', 55); /* the longest that fits whole */
    a[55] = '\0';
    of_a = schema_channel(a);
    assert_string_equal(of_a + strlen("wbcache_"), a);
    free(of_a);
}

static void there_is_a_way_from_every_older_version_and_from_no_other(void **state)
{
    (void)state;
    assert_null(schema_migration_sql(0, "wb"));
    assert_null(schema_migration_sql(-1, "wb"));
    assert_null(schema_migration_sql(SCHEMA_VERSION, "wb"));
    for (int from = 1; from < SCHEMA_VERSION; from++) {
        char *text = schema_migration_sql(from, "w'b");
        assert_non_null(strstr(text, "\nBEGIN;\n"));
        assert_non_null(strstr(text, "\nUPDATE \"w'b\".meta SET schema_version = 4;\nCOMMIT;\n"));
        assert_null(strpbrk(text, "@~`^"));
        free(text);
    }
}

static void names_of_1_to_63_bytes_are_valid(void **state)
{
    (void)state;
    char name[65];
    memset(name, 'n', sizeof name);
    name[63] = '\0';
    assert_true(schema_name_valid(name));
    assert_true(schema_name_valid("n"));
    assert_false(schema_name_valid(""));
    name[63] = 'n';
    name[64] = '\0';
    assert_false(schema_name_valid(name));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_quoted_as_identifiers),
        cmocka_unit_test(a_name_cannot_leave_the_functions_body),
        cmocka_unit_test(every_statement_has_a_text_with_the_schemas_name_filled_in),
        cmocka_unit_test(the_channel_is_named_after_the_schema),
        cmocka_unit_test(a_channel_of_a_long_name_fits_and_is_its_own),
        cmocka_unit_test(there_is_a_way_from_every_older_version_and_from_no_other),
        cmocka_unit_test(names_of_1_to_63_bytes_are_valid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
