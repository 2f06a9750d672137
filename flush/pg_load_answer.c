#include "flush/pg_load_answer.h"

#include <stdlib.h>

#include "flush/pg_param.h"
#include "flush/pg_result.h"
#include "flush/pg_time.h"
#include "proto/base/alloc.h"

/* The columns of SCHEMA_LOAD. */
enum {
    LOAD_IN_RECOVERY,
    LOAD_LAST_BATCH,
    LOAD_KEY,
    LOAD_VALUE_BYTES,
    LOAD_VALUE,
    LOAD_VERSION,
    LOAD_EXPIRES
};
static const Oid load_types[] = {
    PG_OID_BOOL, PG_OID_INT8, PG_OID_BYTEA, PG_OID_INT4, PG_OID_BYTEA, PG_OID_INT8, PG_OID_TIMESTAMPTZ};

/* The columns of SCHEMA_FIND_EXPIRED. */
enum { EXPIRED_IN_RECOVERY, EXPIRED_KEY };
static const Oid expired_types[] = {PG_OID_BOOL, PG_OID_BYTEA};

static bool has_types(const PGresult *result, const Oid *types, int n)
{
    if (PQnfields(result) != n) {
        return false;
    }
    for (int i = 0; i < n; i++) {
        if (PQftype(result, i) != types[i]) {
            return false;
        }
    }
    return true;
}

/* The expiry is NULL for never. */
static bool read_expiry(const PGresult *result, int row, uint64_t *expires_at_ms)
{
    int64_t time;
    *expires_at_ms = 0;
    if (pg_result_is_null(result, row, LOAD_EXPIRES)) {
        return true;
    }
    if (!pg_result_int8(result, row, LOAD_EXPIRES, &time)) {
        return false;
    }
    *expires_at_ms = pg_time_to_unix_ms(time);
    return true;
}

/* False when the server cannot have said this. */
static bool read_row(struct pg_load_answer *a, const PGresult *result, int i, uint32_t value_bytes_max)
{
    struct load_row row;
    int32_t value_bytes;
    int64_t version;
    if (!pg_result_bytes(result, i, LOAD_KEY, &row.key)) {
        return false;
    }
    /* The constraints may have been dropped, and rows written by hand. */
    if (!pg_result_int4(result, i, LOAD_VALUE_BYTES, &value_bytes) || value_bytes > LIMIT_VALUE_BYTES ||
        !pg_result_int8(result, i, LOAD_VERSION, &version) || version < 1) {
        a->bad[a->result.bad_n++] = row.key;
        return true;
    }
    if (value_bytes < 0) {
        return false;
    }
    if ((uint32_t)value_bytes > value_bytes_max) {
        if (!pg_result_is_null(result, i, LOAD_VALUE)) {
            return false;
        }
        a->left_out++;
        pg_load_answer_add_later(a, row.key);
        return true;
    }
    row.version = (uint64_t)version;
    if (!pg_result_bytes(result, i, LOAD_VALUE, &row.value) || row.value.len != (size_t)value_bytes ||
        !read_expiry(result, i, &row.expires_at_ms)) {
        return false;
    }
    a->rows[a->result.n++] = row;
    return true;
}

bool pg_load_answer_read(struct pg_load_answer *a, const PGresult *result, uint32_t asked,
    uint32_t value_bytes_max, uint32_t later_more)
{
    int64_t last_batch;
    struct load_result *out = &a->result;
    int n = PQntuples(result);
    *a = (struct pg_load_answer){.absent = asked};
    if (!has_types(result, load_types, sizeof load_types / sizeof load_types[0]) ||
        !pg_result_bool(result, 0, LOAD_IN_RECOVERY, &out->in_recovery)) {
        return false;
    }
    out->fence_found = pg_result_int8(result, 0, LOAD_LAST_BATCH, &last_batch);
    if (out->fence_found && last_batch < 0) {
        return false; /* as a number without a sign it would be above all batches */
    }
    out->last_batch = out->fence_found ? (uint64_t)last_batch : 0;
    bool none = pg_result_is_null(result, 0, LOAD_KEY); /* the one row has no entry */
    if (none && n != 1) {
        return false;
    }
    a->rows = xcalloc((size_t)n, sizeof *a->rows);
    a->bad = xcalloc((size_t)n, sizeof *a->bad);
    a->later = xcalloc((size_t)n + later_more, sizeof *a->later);
    out->rows = a->rows;
    out->bad = a->bad;
    out->later = a->later;
    for (int i = 0; i < n && !none; i++) {
        if (!read_row(a, result, i, value_bytes_max)) {
            return false;
        }
    }
    uint32_t there = out->n + out->bad_n + out->later_n;
    a->absent =
        there < asked ? asked - there : 0; /* without its primary key the table may have a key twice */
    return true;
}

void pg_load_answer_deinit(struct pg_load_answer *a)
{
    free(a->rows);
    free(a->later);
    free(a->bad);
}

void pg_load_answer_add_later(struct pg_load_answer *a, struct bytes key)
{
    a->later[a->result.later_n++] = key;
}

bool pg_expired_answer_read(const PGresult *result, struct bytes **keys, uint32_t *n, bool *in_recovery)
{
    int rows = PQntuples(result);
    bool recovers = false;
    if (!has_types(result, expired_types, sizeof expired_types / sizeof expired_types[0]) ||
        (rows > 0 && !pg_result_bool(result, 0, EXPIRED_IN_RECOVERY, &recovers))) {
        return false;
    }
    struct bytes *found = xcalloc((size_t)rows + 1, sizeof *found);
    for (int i = 0; i < rows; i++) {
        if (!pg_result_bytes(result, i, EXPIRED_KEY, &found[i])) {
            free(found);
            return false;
        }
    }
    *keys = found;
    *n = (uint32_t)rows;
    *in_recovery = recovers;
    return true;
}
