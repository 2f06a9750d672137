#include "cluster-tests/sql.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proto/base/buf.h"

/* A server that is killed says farewell: expected here, and no part of the transcript. */
static void ignore_notice(void *data, const PGresult *notice)
{
    (void)data;
    (void)notice;
}

PGconn *sql_connect(const char *dsn)
{
    PGconn *conn = PQconnectdb(dsn);
    PQsetNoticeReceiver(conn, ignore_notice, NULL);
    if (PQstatus(conn) != CONNECTION_OK) {
        PQfinish(conn);
        return NULL;
    }
    return conn;
}

PGconn *sql_connect_or_fail(const char *dsn)
{
    PGconn *conn = PQconnectdb(dsn);
    if (PQstatus(conn) != CONNECTION_OK) {
        fail_msg("no connection to PostgreSQL: %s", PQerrorMessage(conn));
    }
    PQsetNoticeReceiver(conn, ignore_notice, NULL);
    return conn;
}

void sql_other_database(const char *dsn, const char *database, char *out, size_t out_len)
{
    /* libpq takes the last of two values for one key. */
    snprintf(out, out_len, "%s dbname=%s", dsn, database);
}

static PGresult *run_or_fail(PGconn *conn, const char *format, va_list args)
{
    char command[4096];
    int len = vsnprintf(command, sizeof command, format, args);
    assert_in_range(len, 1, sizeof command - 1);
    PGresult *result = PQexec(conn, command);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
        PQclear(result);
        fail_msg("%s: %s", command, PQerrorMessage(conn));
    }
    return result;
}

void sql_run_or_fail(PGconn *conn, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    PQclear(run_or_fail(conn, format, args));
    va_end(args);
}

int64_t sql_number_or_fail(PGconn *conn, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    PGresult *result = run_or_fail(conn, format, args);
    va_end(args);
    int64_t number = 0;
    if (PQntuples(result) > 0) {
        number = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    }
    PQclear(result);
    return number;
}

void sql_text_or_fail(PGconn *conn, char *out, size_t out_len, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    PGresult *result = run_or_fail(conn, format, args);
    va_end(args);
    snprintf(out, out_len, "%s", PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
    PQclear(result);
}

bool sql_entries(PGconn *conn, void (*each)(void *data, const struct sql_entry *entry), void *data)
{
    PGresult *result = PQexecParams(
        conn, "SELECT key, version, value FROM wb.entry ORDER BY key", 0, NULL, NULL, NULL, NULL, 1);
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
        bool missing = sqlstate != NULL && (strcmp(sqlstate, "42P01") == 0 || strcmp(sqlstate, "3F000") == 0);
        PQclear(result);
        return missing;
    }
    for (int i = 0; i < PQntuples(result); i++) {
        const struct sql_entry entry = {
            .key = bytes_of(PQgetvalue(result, i, 0), (size_t)PQgetlength(result, i, 0)),
            .version = load_be64((const uint8_t *)PQgetvalue(result, i, 1)),
            .value = bytes_of(PQgetvalue(result, i, 2), (size_t)PQgetlength(result, i, 2)),
        };
        each(data, &entry);
    }
    PQclear(result);
    return true;
}
