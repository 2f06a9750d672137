#include "flush/pg_result.h"

#include <string.h>

#include "flush/flush_error.h"
#include "proto/base/buf.h"

static const char *field_or_empty(const PGresult *result, int field)
{
    const char *text = PQresultErrorField(result, field);
    return text == NULL ? "" : text;
}

void pg_result_error(const PGresult *result, const char *what, struct flush_error *error)
{
    const char *sqlstate = field_or_empty(result, PG_DIAG_SQLSTATE);
    const char *primary = field_or_empty(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *detail = field_or_empty(result, PG_DIAG_MESSAGE_DETAIL);
    if (primary[0] == '\0') { /* from libpq, not from the server */
        primary = PQresultErrorMessage(result);
    }
    if (primary[0] == '\0') {
        primary = PQresStatus(PQresultStatus(result));
    }
    flush_error_set(error, flush_error_classify(sqlstate), sqlstate, "%s%s%s%s%s", what == NULL ? "" : what,
        what == NULL ? "" : ": ", primary, detail[0] == '\0' ? "" : "; ", detail);
}

bool pg_result_ok(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

bool pg_result_tag_is(const PGresult *result, const char *tag)
{
    /* libpq takes no const here, and changes nothing. */
    return PQresultStatus(result) == PGRES_COMMAND_OK &&
           strcmp(PQcmdStatus((PGresult *)(uintptr_t)result), tag) == 0;
}

static bool there(const PGresult *result, int row, int column)
{
    return row >= 0 && row < PQntuples(result) && column >= 0 && column < PQnfields(result);
}

bool pg_result_is_null(const PGresult *result, int row, int column)
{
    return !there(result, row, column) || PQgetisnull(result, row, column) != 0;
}

bool pg_result_bytes(const PGresult *result, int row, int column, struct bytes *out)
{
    if (pg_result_is_null(result, row, column) || PQfformat(result, column) != 1) {
        return false;
    }
    *out = bytes_of(PQgetvalue(result, row, column), (size_t)PQgetlength(result, row, column));
    return true;
}

static const uint8_t *fixed(const PGresult *result, int row, int column, size_t len)
{
    struct bytes b;
    return pg_result_bytes(result, row, column, &b) && b.len == len ? b.data : NULL;
}

bool pg_result_bool(const PGresult *result, int row, int column, bool *out)
{
    const uint8_t *p = fixed(result, row, column, 1);
    if (p != NULL) {
        *out = *p != 0;
    }
    return p != NULL;
}

bool pg_result_int4(const PGresult *result, int row, int column, int32_t *out)
{
    const uint8_t *p = fixed(result, row, column, 4);
    if (p != NULL) {
        *out = (int32_t)load_be32(p);
    }
    return p != NULL;
}

bool pg_result_int8(const PGresult *result, int row, int column, int64_t *out)
{
    const uint8_t *p = fixed(result, row, column, 8);
    if (p != NULL) {
        *out = (int64_t)load_be64(p);
    }
    return p != NULL;
}

bool pg_result_uuid(const PGresult *result, int row, int column, uint8_t out[CLUSTER_ID_BYTES])
{
    const uint8_t *p = fixed(result, row, column, CLUSTER_ID_BYTES);
    if (p != NULL) {
        memcpy(out, p, CLUSTER_ID_BYTES);
    }
    return p != NULL;
}
