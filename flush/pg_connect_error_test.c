/* Texts as libpq 15 writes them, and as others might. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "flush/pg_connect_error.h"

#define SOCKET "connection to server on socket \"/run/.s.PGSQL.5432\" failed: "
#define HOST   "connection to server at \"db2\" (10.0.0.2), port 5432 failed: "
#define PLACE  "LOCATION:  auth_failed, auth.c:334\n"

static void check(const char *text, bool password_missing, enum flush_error_class class, const char *sqlstate,
    const char *message)
{
    struct flush_error error;
    pg_connect_error(text, password_missing, &error);
    assert_int_equal(error.class, class);
    assert_string_equal(error.sqlstate, sqlstate);
    char expected[sizeof error.message];
    snprintf(expected, sizeof expected, "cannot connect to the database: %s", message);
    assert_string_equal(error.message, expected);
}

static void the_code_leaves_the_message_and_gives_the_class(void **state)
{
    (void)state;
    check(SOCKET "FATAL:  28P01: password authentication failed for user \"a\"\n" PLACE, false,
        FLUSH_ERROR_HALT, "28P01", SOCKET "FATAL: password authentication failed for user \"a\"");
    check(SOCKET "FATAL:  3D000: database \"none\" does not exist\nLOCATION:  InitPostgres, postinit.c:948\n",
        false, FLUSH_ERROR_HALT, "3D000", SOCKET "FATAL: database \"none\" does not exist");
    check(SOCKET "FATAL:  57P03: the database system is starting up\nLOCATION:  ProcessStartupPacket, "
                 "postmaster.c:2366\n",
        false, FLUSH_ERROR_OUTAGE, "57P03", SOCKET "FATAL: the database system is starting up");
    check(SOCKET
        "FATAL:  53300: sorry, too many clients already\nDETAIL:  Ask later.\nHINT:  Or not.\n" PLACE,
        false, FLUSH_ERROR_OUTAGE, "53300",
        SOCKET "FATAL: sorry, too many clients already DETAIL: Ask later. HINT: Or not.");
}

static void the_severity_may_be_a_word_of_any_language(void **state)
{
    (void)state;
    check(SOCKET "ВАЖНО:  28P01: пользователь не прошёл проверку\nПОЛОЖЕНИЕ:  auth_failed, auth.c:334\n",
        false, FLUSH_ERROR_HALT, "28P01", SOCKET "ВАЖНО: пользователь не прошёл проверку");
    check(SOCKET "SCHWERWIEGEND:  28000: kein Eintrag\nORT:  ClientAuthentication, auth.c:544", false,
        FLUSH_ERROR_HALT, "28000", SOCKET "SCHWERWIEGEND: kein Eintrag");
}

static void of_several_attempts_the_last_one_decides(void **state)
{
    (void)state;
    check(SOCKET "FATAL:  28P01: no\n" PLACE HOST "Connection refused\n\tIs the server running?\n", false,
        FLUSH_ERROR_OUTAGE, "", SOCKET "FATAL: no " HOST "Connection refused Is the server running?");
    check(SOCKET "No such file or directory\n" HOST "FATAL:  3D000: no\n" PLACE, false, FLUSH_ERROR_HALT,
        "3D000", SOCKET "No such file or directory " HOST "FATAL: no");
    check(SOCKET "FATAL:  57P03: starting up\n" PLACE HOST "FATAL:  28P01: no\n" PLACE, false,
        FLUSH_ERROR_HALT, "28P01", SOCKET "FATAL: starting up " HOST "FATAL: no");
}

static void what_is_no_code_stays_in_the_message(void **state)
{
    (void)state;
    const char *const texts[] = {
        SOCKET "server is not in hot standby mode",
        SOCKET "FATAL:  28P0: four",
        SOCKET "FATAL:  28P01",
        SOCKET "FATAL:  28P01:",
        SOCKET "FATAL:  28p01: small",
        SOCKET "FATAL:  28P012: six",
        SOCKET "FATAL: 28P01: one blank",
        "could not translate host name \"db\" to address: Name or service not known",
        "28P01: at the beginning",
        ":  ",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct flush_error error;
        pg_connect_error(texts[i], false, &error);
        assert_string_equal(error.sqlstate, "");
        assert_int_equal(error.class, FLUSH_ERROR_OUTAGE);
    }
    check(SOCKET "FATAL:  28P01: no\nDETAIL:  57P03: is said here\n" PLACE, false, FLUSH_ERROR_HALT, "28P01",
        SOCKET "FATAL: no DETAIL: 57P03: is said here");
    check(SOCKET "FATAL:  28P01: see x, y.c:12 or :  not", false, FLUSH_ERROR_HALT, "28P01",
        SOCKET "FATAL: see x, y.c:12 or : not");
}

static void a_connection_string_that_cannot_work_halts(void **state)
{
    (void)state;
    check(SOCKET "fe_sendauth: no password supplied\n", true, FLUSH_ERROR_HALT, "",
        SOCKET "fe_sendauth: no password supplied");
    check(SOCKET "FATAL:  22023: invalid value for parameter \"TimeZone\": \"x\"\n" PLACE, false,
        FLUSH_ERROR_HALT, "22023", SOCKET "FATAL: invalid value for parameter \"TimeZone\": \"x\"");
}

static void no_words_at_all_are_an_outage(void **state)
{
    (void)state;
    check("", false, FLUSH_ERROR_OUTAGE, "", "the connection is gone");
}

/* Every beginning of a text is read within its bounds. */
static void every_truncation_is_read(void **state)
{
    (void)state;
    const char text[] = SOCKET "FATAL:  28P01: no\nDETAIL:  x\n" PLACE HOST "FATAL:  3D000: no\n" PLACE;
    for (size_t len = 0; len < sizeof text; len++) {
        char *cut = strndup(text, len);
        struct flush_error error;
        pg_connect_error(cut, false, &error);
        assert_true(error.sqlstate[0] == '\0' || strcmp(error.sqlstate, "28P01") == 0 ||
                    strcmp(error.sqlstate, "3D000") == 0);
        free(cut);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_code_leaves_the_message_and_gives_the_class),
        cmocka_unit_test(the_severity_may_be_a_word_of_any_language),
        cmocka_unit_test(of_several_attempts_the_last_one_decides),
        cmocka_unit_test(what_is_no_code_stays_in_the_message),
        cmocka_unit_test(a_connection_string_that_cannot_work_halts),
        cmocka_unit_test(no_words_at_all_are_an_outage),
        cmocka_unit_test(every_truncation_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
