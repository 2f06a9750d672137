#include "flush/flush_batch.h"

#include <stdlib.h>

#include "flush/pg_time.h"
#include "proto/base/check.h"

/* Type numbers, fixed by PostgreSQL's pg_type.dat. */
enum { OID_BYTEA = 17, OID_INT8 = 20, OID_TIMESTAMPTZ = 1184 };

/* array_recv: dimensions, "has NULLs", the element's type, then for our one dimension its length and its
 * lower bound. An array without elements has no dimension. */
static void begin_array(struct buf *b, uint32_t type, uint32_t n, bool has_nulls)
{
    buf_append_be32(b, n == 0 ? 0 : 1);
    buf_append_be32(b, has_nulls ? 1 : 0);
    buf_append_be32(b, type);
    if (n > 0) {
        buf_append_be32(b, n);
        buf_append_be32(b, 1);
    }
}

static void append_bytes(struct buf *b, struct bytes element)
{
    buf_append_be32(b, (uint32_t)element.len);
    if (element.len > 0) {
        buf_append(b, element.data, element.len);
    }
}

static void append_int64(struct buf *b, int64_t v)
{
    buf_append_be32(b, 8);
    buf_append_be64(b, (uint64_t)v);
}

static void append_expiry(struct buf *b, uint64_t expires_at_ms)
{
    if (expires_at_ms == 0) {
        buf_append_be32(b, UINT32_MAX); /* a length of -1 is NULL */
    } else {
        append_int64(b, pg_time_from_unix_ms(expires_at_ms));
    }
}

static int compare_keys(const void *a, const void *b)
{
    return bytes_compare(((const struct flush_row *)a)->key, ((const struct flush_row *)b)->key);
}

void flush_batch_init(struct flush_batch *b)
{
    *b = (struct flush_batch){0};
    buf_init(&b->keys);
    buf_init(&b->values);
    buf_init(&b->versions);
    buf_init(&b->expires);
    buf_init(&b->deleted);
}

void flush_batch_deinit(struct flush_batch *b)
{
    buf_deinit(&b->keys);
    buf_deinit(&b->values);
    buf_deinit(&b->versions);
    buf_deinit(&b->expires);
    buf_deinit(&b->deleted);
}

/* One growth for each array instead of many: a batch may have tens of megabytes. */
static void reserve(struct flush_batch *b, const struct flush_row *rows, uint32_t n)
{
    enum { HEADER_BYTES = 20 };
    size_t keys = HEADER_BYTES, values = HEADER_BYTES, deleted = HEADER_BYTES;
    for (uint32_t i = 0; i < n; i++) {
        if (rows[i].deleted) {
            deleted += 4 + rows[i].key.len;
        } else {
            keys += 4 + rows[i].key.len;
            values += 4 + rows[i].value.len;
        }
    }
    buf_reserve(&b->keys, keys);
    buf_reserve(&b->values, values);
    buf_reserve(&b->deleted, deleted);
    buf_reserve(&b->versions, HEADER_BYTES + (size_t)b->upserts * 12);
    buf_reserve(&b->expires, HEADER_BYTES + (size_t)b->upserts * 12);
}

void flush_batch_build(
    struct flush_batch *b, uint64_t id, uint64_t predecessor, struct flush_row *rows, uint32_t n)
{
    CHECK(b->keys.len == 0 && b->deleted.len == 0);
    if (n > 0) {
        /* Sorted, so that neighbours in the index are written one after the other, and so that two
         * transactions that touch the same rows lock them in the same order. */
        qsort(rows, n, sizeof *rows, compare_keys);
    }
    b->id = id;
    b->predecessor = predecessor;
    b->upserts = 0;
    b->deletes = 0;
    bool lasting = false;
    for (uint32_t i = 0; i < n; i++) {
        /* ON CONFLICT refuses to touch a row twice, and a key both upserted and deleted has no meaning. */
        CHECK(i == 0 || !bytes_equal(rows[i - 1].key, rows[i].key));
        if (rows[i].deleted) {
            b->deletes++;
        } else {
            b->upserts++;
            lasting |= rows[i].expires_at_ms == 0;
        }
    }
    reserve(b, rows, n);
    begin_array(&b->keys, OID_BYTEA, b->upserts, false);
    begin_array(&b->values, OID_BYTEA, b->upserts, false);
    begin_array(&b->versions, OID_INT8, b->upserts, false);
    begin_array(&b->expires, OID_TIMESTAMPTZ, b->upserts, lasting);
    begin_array(&b->deleted, OID_BYTEA, b->deletes, false);
    for (uint32_t i = 0; i < n; i++) {
        if (rows[i].deleted) {
            append_bytes(&b->deleted, rows[i].key);
        } else {
            append_bytes(&b->keys, rows[i].key);
            append_bytes(&b->values, rows[i].value);
            append_int64(&b->versions, (int64_t)rows[i].version);
            append_expiry(&b->expires, rows[i].expires_at_ms);
        }
    }
    CHECK(!b->keys.failed && !b->values.failed && !b->versions.failed && !b->expires.failed &&
          !b->deleted.failed);
}
