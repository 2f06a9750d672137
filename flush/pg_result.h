/* Reading libpq's results: typed columns in binary, errors as ours. Nothing here trusts what the server sent.
 */
#ifndef WB_FLUSH_PG_RESULT_H
#define WB_FLUSH_PG_RESULT_H

#include <libpq-fe.h>

#include "flush/flush.h"

/* The error that @result (PGRES_FATAL_ERROR or something else unexpected) stands for. @what, if not NULL,
 * goes before the server's words. */
void pg_result_error(const PGresult *result, const char *what, struct flush_error *error);

/* Was this a statement that went well? */
bool pg_result_ok(const PGresult *result);
/* Did it end with exactly this command tag? */
bool pg_result_tag_is(const PGresult *result, const char *tag);

/* A column's value. False when there is no such row or column, it is NULL, or not of that binary size. */
bool pg_result_bool(const PGresult *result, int row, int column, bool *out);
bool pg_result_int4(const PGresult *result, int row, int column, int32_t *out);
bool pg_result_int8(const PGresult *result, int row, int column, int64_t *out);
bool pg_result_uuid(const PGresult *result, int row, int column, uint8_t out[CLUSTER_ID_BYTES]);
/* Borrows from @result. */
bool pg_result_bytes(const PGresult *result, int row, int column, struct bytes *out);
bool pg_result_is_null(const PGresult *result, int row, int column);

#endif
