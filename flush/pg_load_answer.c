#include "flush/pg_load_answer.h"

#include <stdlib.h>

#include "flush/fields_json.h"
#include "flush/pg_param.h"
#include "flush/pg_result.h"
#include "flush/pg_time.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"

/* The columns of SCHEMA_LOAD. */
enum {
    LOAD_IN_RECOVERY,
    LOAD_LAST_BATCH,
    LOAD_KEY,
    LOAD_VALUE_BYTES,
    LOAD_VALUE,
    LOAD_VERSION,
    LOAD_EXPIRES,
    LOAD_IS_HASH,
    LOAD_FIELDS
};
static const Oid load_types[] = {PG_OID_BOOL, PG_OID_INT8, PG_OID_BYTEA, PG_OID_INT4, PG_OID_BYTEA,
    PG_OID_INT8, PG_OID_TIMESTAMPTZ, PG_OID_BOOL, PG_OID_TEXT_ARRAY};

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

/* Its value was too long for this answer. */
static void leave_out(struct pg_load_answer *a, struct bytes key)
{
    a->left_out++;
    pg_load_answer_add_later(a, key);
}

static void add_bad(struct pg_load_answer *a, struct bytes key)
{
    a->bad[a->result.bad_n++] = key;
}

/* The value of a string that was to be no longer than @bytes_max. False when the server cannot have said
 * this. */
static bool read_string(
    struct pg_load_answer *a, const PGresult *result, int i, uint32_t bytes_max, struct load_row *row)
{
    int32_t bytes;
    if (!pg_result_int4(result, i, LOAD_VALUE_BYTES, &bytes) || bytes > LIMIT_VALUE_BYTES) {
        add_bad(a, row->key);
        return true;
    }
    if (bytes < 0 || ((uint32_t)bytes > bytes_max && !pg_result_is_null(result, i, LOAD_VALUE))) {
        return false;
    }
    if ((uint32_t)bytes > bytes_max) {
        leave_out(a, row->key);
        return true;
    }
    if (!pg_result_bytes(result, i, LOAD_VALUE, &row->value) || row->value.len != (size_t)bytes) {
        return false;
    }
    row->type = VALUE_STRING;
    a->rows[a->result.n++] = *row;
    return true;
}

static bool take_be32(struct bytes *from, uint32_t *out)
{
    if (from->len < 4) {
        return false;
    }
    *out = load_be32(from->data);
    *from = bytes_of(from->data + 4, from->len - 4);
    return true;
}

/* The elements of PostgreSQL's binary array of @n names with their values, as array_send writes it: malloc'd
 * for the caller, borrowing from @array; with none *@n is 0. NULL when it is no such array. */
static struct bytes *read_texts(struct bytes array, uint32_t *n)
{
    uint32_t dimensions, nulls, type, per_name, lower[2];
    if (!take_be32(&array, &dimensions) || !take_be32(&array, &nulls) || !take_be32(&array, &type) ||
        type != PG_OID_TEXT) {
        return NULL;
    }
    *n = 0;
    if (dimensions == 0) {
        return xcalloc(1, sizeof(struct bytes));
    }
    if (dimensions != 2 || !take_be32(&array, n) || !take_be32(&array, &lower[0]) ||
        !take_be32(&array, &per_name) || !take_be32(&array, &lower[1]) || per_name != 2 ||
        *n > array.len / 8) {
        return NULL;
    }
    struct bytes *texts = xcalloc(2 * (size_t)*n + 1, sizeof *texts);
    for (size_t i = 0; i < 2 * (size_t)*n; i++) {
        uint32_t len;
        if (!take_be32(&array, &len) || len > array.len) { /* the length of NULL is larger than any */
            free(texts);
            return NULL;
        }
        texts[i] = bytes_of(array.data, len);
        array = bytes_of(array.data + len, array.len - len);
    }
    return texts;
}

/* The same of a hash. */
static bool read_hash(
    struct pg_load_answer *a, const PGresult *result, int i, uint32_t bytes_max, struct load_row *row)
{
    struct bytes array;
    if (!pg_result_is_null(result, i, LOAD_VALUE_BYTES) || pg_result_is_null(result, i, LOAD_FIELDS)) {
        add_bad(a, row->key);
        return true;
    }
    uint32_t n;
    struct bytes *texts = pg_result_bytes(result, i, LOAD_FIELDS, &array) ? read_texts(array, &n) : NULL;
    if (texts == NULL) {
        return false;
    }
    struct buf *hash = &a->hashes[a->n_hashes++];
    if (n == 0 && bytes_max < PG_LOAD_FIELDS_BYTES_MAX) {
        leave_out(a, row->key);
    } else if (!fields_json_read(texts, n, hash)) {
        CHECK(!hash->failed);
        buf_deinit(hash);
        add_bad(a, row->key);
    } else {
        row->type = VALUE_HASH;
        row->value = buf_bytes(hash);
        a->rows[a->result.n++] = *row;
    }
    free(texts);
    return true;
}

/* Likewise. The constraints may have been dropped, and rows written by hand. */
static bool read_row(struct pg_load_answer *a, const PGresult *result, int i, uint32_t value_bytes_max,
    uint32_t fields_bytes_max)
{
    struct load_row row = {0};
    int64_t version;
    bool is_hash;
    if (!pg_result_bytes(result, i, LOAD_KEY, &row.key) || !read_expiry(result, i, &row.expires_at_ms) ||
        !pg_result_bool(result, i, LOAD_IS_HASH, &is_hash)) {
        return false;
    }
    if (!pg_result_int8(result, i, LOAD_VERSION, &version) || version < 1) {
        add_bad(a, row.key);
        return true;
    }
    row.version = (uint64_t)version;
    return is_hash ? read_hash(a, result, i, fields_bytes_max, &row)
                   : read_string(a, result, i, value_bytes_max, &row);
}

bool pg_load_answer_read(struct pg_load_answer *a, const PGresult *result, uint32_t asked,
    uint32_t value_bytes_max, uint32_t fields_bytes_max, uint32_t later_more)
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
    a->hashes = xcalloc((size_t)n, sizeof *a->hashes);
    out->rows = a->rows;
    out->bad = a->bad;
    out->later = a->later;
    for (int i = 0; i < n && !none; i++) {
        if (!read_row(a, result, i, value_bytes_max, fields_bytes_max)) {
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
    for (uint32_t i = 0; i < a->n_hashes; i++) {
        buf_deinit(&a->hashes[i]);
    }
    free(a->hashes);
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
