#include "flush/pg_load_request.h"

#include <stdlib.h>

#include "flush/pg_time.h"
#include "flush/schema.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"

#define STATEMENT_LOAD    "wb_load"
#define STATEMENT_LIMIT   "wb_find_limit"
#define STATEMENT_EXPIRED "wb_find_expired"

/* Then the smallest share, of a single key, holds every value. */
_Static_assert((int)PG_LOAD_ANSWER_BYTES >= (int)LIMIT_VALUE_BYTES, "one key's value must fit");
_Static_assert((int)PG_LOAD_ANSWER_BYTES >= (int)PG_LOAD_FIELDS_BYTES_MAX, "one key's fields must fit");

/* An array begins with its dimensions; behind them each key has its length before it. */
enum { ARRAY_COUNT = 12, ARRAY_KEYS = 20 };

static void append_keys(struct buf *out, const struct bytes *keys, uint32_t n)
{
    buf_append_be32(out, n == 0 ? 0 : 1); /* as flush_batch.c writes arrays */
    buf_append_be32(out, 0);
    buf_append_be32(out, PG_OID_BYTEA);
    if (n > 0) {
        buf_append_be32(out, n);
        buf_append_be32(out, 1);
    }
    for (uint32_t i = 0; i < n; i++) {
        buf_append_be32(out, (uint32_t)keys[i].len);
        buf_append(out, keys[i].data, keys[i].len);
    }
    CHECK(!out->failed);
}

/* The bytes of the array up to its first @n keys' end. */
static size_t array_bytes(const struct buf *array, uint32_t n)
{
    size_t at = ARRAY_KEYS;
    for (uint32_t i = 0; i < n; i++) {
        at += 4 + (size_t)load_be32(array->data + at);
    }
    return at;
}

static struct pg_load_request *create(enum pg_load_kind kind, uint64_t token)
{
    struct pg_load_request *r = xcalloc(1, sizeof *r);
    r->kind = kind;
    r->token = token;
    list_init(&r->link);
    buf_init(&r->keys);
    return r;
}

struct pg_load_request *pg_load_request_keys(
    uint64_t token, const struct flush_identity *id, const struct bytes *keys, uint32_t n)
{
    CHECK(n <= LIMIT_REQUEST_KEYS);
    struct pg_load_request *r = create(PG_LOAD_KEYS, token);
    r->id = *id;
    r->n = n;
    append_keys(&r->keys, keys, n);
    return r;
}

struct pg_load_request *pg_load_request_expired(uint64_t token, uint64_t before_ms, uint32_t keys_max)
{
    struct pg_load_request *r = create(PG_LOAD_EXPIRED, token);
    r->before_ms = before_ms;
    r->keys_max = keys_max;
    return r;
}

void pg_load_request_free(struct pg_load_request *r)
{
    buf_deinit(&r->keys);
    free(r);
}

void pg_load_request_prepare(struct pg_connection *c, const char *const *sql)
{
    static const Oid load[] = {
        PG_OID_INT4, PG_OID_UUID, PG_OID_INT4, PG_OID_BYTEA_ARRAY, PG_OID_INT4, PG_OID_INT4};
    static const Oid expired[] = {PG_OID_TIMESTAMPTZ, PG_OID_INT8, PG_OID_INT4, PG_OID_INT4, PG_OID_INT4};
    static const Oid limit[] = {PG_OID_TEXT};
    pg_connection_prepare(c, STATEMENT_LOAD, sql[SCHEMA_LOAD], load, 6);
    pg_connection_prepare(c, STATEMENT_LIMIT, sql[SCHEMA_FIND_LIMIT], limit, 1);
    pg_connection_prepare(c, STATEMENT_EXPIRED, sql[SCHEMA_FIND_EXPIRED], expired, 5);
}

static void send_keys(struct pg_load_request *r, struct pg_connection *c, uint32_t at_once)
{
    uint8_t numbers[4][8];
    r->asked = r->n < at_once ? r->n : at_once;
    uint32_t share = PG_LOAD_ANSWER_BYTES / (r->asked == 0 ? 1 : r->asked);
    r->value_bytes_max = share < LIMIT_VALUE_BYTES ? share : LIMIT_VALUE_BYTES;
    r->fields_bytes_max = share < PG_LOAD_FIELDS_BYTES_MAX ? share : PG_LOAD_FIELDS_BYTES_MAX;
    struct bytes keys = buf_bytes(&r->keys);
    if (r->asked < r->n) {
        store_be32(r->keys.data + ARRAY_COUNT, r->asked);
        keys.len = array_bytes(&r->keys, r->asked);
    }
    const struct pg_param params[] = {
        pg_param_int4(numbers[0], r->id.group),
        pg_param_bytes(PG_OID_UUID, bytes_of(r->id.cluster_id, CLUSTER_ID_BYTES)),
        pg_param_int4(numbers[1], r->id.group_count),
        pg_param_bytes(PG_OID_BYTEA_ARRAY, keys),
        pg_param_int4(numbers[2], r->value_bytes_max),
        pg_param_int4(numbers[3], r->fields_bytes_max),
    };
    pg_connection_execute(c, STATEMENT_LOAD, params, 6);
    pg_connection_sync(c);
}

/* One implicit transaction, which the sync ends, and the time limit with it. */
static void send_expired(struct pg_load_request *r, struct pg_connection *c, const char *limit)
{
    uint8_t numbers[5][8];
    const struct pg_param text = pg_param_bytes(PG_OID_TEXT, bytes_from_text(limit));
    const struct pg_param params[] = {
        pg_param_8(PG_OID_TIMESTAMPTZ, numbers[0], (uint64_t)pg_time_from_unix_ms(r->before_ms)),
        pg_param_8(PG_OID_INT8, numbers[1], r->keys_max),
        pg_param_int4(numbers[2], LIMIT_KEY_BYTES),
        pg_param_int4(numbers[3], LIMIT_VALUE_BYTES),
        pg_param_int4(numbers[4], PG_LOAD_FIELDS_BYTES_MAX),
    };
    pg_connection_execute(c, STATEMENT_LIMIT, &text, 1);
    pg_connection_execute(c, STATEMENT_EXPIRED, params, 5);
    pg_connection_sync(c);
}

void pg_load_request_send(
    struct pg_load_request *r, struct pg_connection *c, uint32_t at_once, const char *limit)
{
    if (r->kind == PG_LOAD_KEYS) {
        send_keys(r, c, at_once);
    } else {
        send_expired(r, c, limit);
    }
}

void pg_load_request_unasked(const struct pg_load_request *r, struct pg_load_answer *answer)
{
    if (r->asked == r->n) {
        return;
    }
    size_t at = array_bytes(&r->keys, r->asked);
    for (uint32_t i = r->asked; i < r->n; i++) {
        uint32_t len = load_be32(r->keys.data + at);
        pg_load_answer_add_later(answer, bytes_of(r->keys.data + at + 4, len));
        at += 4 + (size_t)len;
    }
}
