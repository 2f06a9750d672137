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
        assert_null(strpbrk(text, "@~"));
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
        cmocka_unit_test(names_of_1_to_63_bytes_are_valid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
