/* Commands on hashes: set, get and remove fields. A hash is one value (proto/fields.h), read and written
 * whole: each command is one walk over it. What happens, in this order, as in Redis: the arguments are looked
 * at, then the key's type, then the fields. */
#include "node/redis/hashes.h"

#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/limits.h"

bool hash_read(struct redis_call *c, struct hash *out)
{
    struct transaction_value found;
    transaction_get(c->t, c->args[1], &found);
    *out = (struct hash){.expires_at_ms = found.expires_at_ms};
    if (found.value == NULL) {
        return true;
    }
    if (found.type != VALUE_HASH) {
        resp_error(c->out, redis_error_wrongtype);
        return false;
    }
    out->fields = value_bytes(found.value);
    return true;
}

bool hash_write(struct redis_call *c, const struct hash *before, struct buf *fields)
{
    CHECK(!fields->failed);
    bool fits = fields->len <= LIMIT_VALUE_BYTES;
    if (!fits) {
        resp_error_of(c->out, "ERR hash exceeds maximum allowed size (%d bytes with all of its fields)",
            (int)LIMIT_VALUE_BYTES);
    } else if (fields->len == 0) {
        transaction_delete(c->t, c->args[1]);
    } else {
        transaction_put(c->t, c->args[1], VALUE_HASH, value_create(buf_bytes(fields)), before->expires_at_ms);
    }
    buf_deinit(fields);
    return fits;
}

void hash_reply_too_long(struct redis_call *c)
{
    resp_error_of(c->out, "ERR the reply would be longer than %d bytes: ask for fewer fields at a time",
        (int)HASH_REPLY_BYTES_MAX);
}

/* ---- Set ---- */

/* HSET and HMSET but for their reply. False: an error was replied. */
static bool set_fields(struct redis_call *c, uint32_t *added)
{
    struct hash hash;
    struct buf fields;
    if (c->n % 2 != 0) {
        redis_error_arity(c->out, c->command);
        return false;
    }
    if (!hash_read(c, &hash)) {
        return false;
    }
    uint32_t n = (c->n - 2) / 2;
    struct field *changes = xmalloc(n * sizeof *changes);
    for (uint32_t i = 0; i < n; i++) {
        changes[i] = (struct field){.name = c->args[2 + 2 * i], .value = c->args[3 + 2 * i]};
    }
    buf_init(&fields);
    *added = fields_set(hash.fields, changes, n, &fields);
    free(changes);
    return hash_write(c, &hash, &fields);
}

void redis_hset(struct redis_call *c)
{
    uint32_t added;
    if (set_fields(c, &added)) {
        resp_integer(c->out, added);
    }
}

void redis_hmset(struct redis_call *c)
{
    uint32_t added;
    if (set_fields(c, &added)) {
        resp_simple(c->out, "OK");
    }
}

void redis_hsetnx(struct redis_call *c)
{
    struct hash hash;
    struct bytes there;
    if (!hash_read(c, &hash)) {
        return;
    }
    if (fields_find(hash.fields, c->args[2], &there)) {
        resp_integer(c->out, 0);
        return;
    }
    struct buf fields;
    buf_init(&fields);
    fields_set(hash.fields, &(struct field){.name = c->args[2], .value = c->args[3]}, 1, &fields);
    if (hash_write(c, &hash, &fields)) {
        resp_integer(c->out, 1);
    }
}

void redis_hdel(struct redis_call *c)
{
    struct hash hash;
    if (!hash_read(c, &hash)) {
        return;
    }
    struct buf fields;
    buf_init(&fields);
    uint32_t removed = fields_remove(hash.fields, c->args + 2, c->n - 2, &fields);
    if (removed == 0) {
        buf_deinit(&fields);
    } else if (!hash_write(c, &hash, &fields)) {
        return; /* only a hash that was over the limit before can be so after */
    }
    resp_integer(c->out, removed);
}

/* ---- Get ---- */

void redis_hget(struct redis_call *c)
{
    struct hash hash;
    struct bytes value;
    if (!hash_read(c, &hash)) {
        return;
    }
    if (fields_find(hash.fields, c->args[2], &value)) {
        resp_bulk(c->out, value);
    } else {
        resp_null(c->out);
    }
}

void redis_hmget(struct redis_call *c)
{
    struct hash hash;
    if (!hash_read(c, &hash)) {
        return;
    }
    uint32_t n = c->n - 2;
    struct bytes *values = xmalloc(n * sizeof *values);
    fields_find_all(hash.fields, c->args + 2, n, values);
    uint64_t total = 0;
    for (uint32_t i = 0; i < n; i++) {
        total += values[i].len;
    }
    bool fits = total <= HASH_REPLY_BYTES_MAX;
    if (fits) {
        resp_array(c->out, n);
    } else {
        hash_reply_too_long(c);
    }
    for (uint32_t i = 0; fits && i < n; i++) {
        if (values[i].data == NULL) {
            resp_null(c->out);
        } else {
            resp_bulk(c->out, values[i]);
        }
    }
    free(values);
}

void redis_hexists(struct redis_call *c)
{
    struct hash hash;
    struct bytes value;
    if (hash_read(c, &hash)) {
        resp_integer(c->out, fields_find(hash.fields, c->args[2], &value) ? 1 : 0);
    }
}

void redis_hstrlen(struct redis_call *c)
{
    struct hash hash;
    struct bytes value;
    if (hash_read(c, &hash)) {
        resp_integer(c->out, fields_find(hash.fields, c->args[2], &value) ? (int64_t)value.len : 0);
    }
}

void redis_hlen(struct redis_call *c)
{
    struct hash hash;
    if (hash_read(c, &hash)) {
        resp_integer(c->out, fields_count(hash.fields));
    }
}

static void reply_fields(struct redis_call *c, struct bytes fields, bool names, bool values)
{
    struct field field;
    for (size_t at = 0; fields_next(fields, &at, &field);) {
        if (names) {
            resp_bulk(c->out, field.name);
        }
        if (values) {
            resp_bulk(c->out, field.value);
        }
    }
}

void redis_hgetall(struct redis_call *c)
{
    struct hash hash;
    if (hash_read(c, &hash)) {
        resp_map(c->out, fields_count(hash.fields));
        reply_fields(c, hash.fields, true, true);
    }
}

void redis_hkeys(struct redis_call *c)
{
    struct hash hash;
    if (hash_read(c, &hash)) {
        resp_array(c->out, fields_count(hash.fields));
        reply_fields(c, hash.fields, true, false);
    }
}

void redis_hvals(struct redis_call *c)
{
    struct hash hash;
    if (hash_read(c, &hash)) {
        resp_array(c->out, fields_count(hash.fields));
        reply_fields(c, hash.fields, false, true);
    }
}
