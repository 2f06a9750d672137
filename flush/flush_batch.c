#include "flush/flush_batch.h"

#include <stdlib.h>

#include "flush/pg_array.h"
#include "flush/pg_time.h"
#include "proto/base/check.h"

static void append_expiry(struct buf *b, uint64_t expires_at_ms)
{
    if (expires_at_ms == 0) {
        pg_array_null(b);
    } else {
        pg_array_int8(b, pg_time_from_unix_ms(expires_at_ms));
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
    size_t keys = PG_ARRAY_HEADER_BYTES, values = PG_ARRAY_HEADER_BYTES, deleted = PG_ARRAY_HEADER_BYTES;
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
    buf_reserve(&b->versions, PG_ARRAY_HEADER_BYTES + (size_t)b->upserts * 12);
    buf_reserve(&b->expires, PG_ARRAY_HEADER_BYTES + (size_t)b->upserts * 12);
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
    pg_array_begin(&b->keys, PG_ELEMENT_BYTEA, b->upserts, false);
    pg_array_begin(&b->values, PG_ELEMENT_BYTEA, b->upserts, false);
    pg_array_begin(&b->versions, PG_ELEMENT_INT8, b->upserts, false);
    pg_array_begin(&b->expires, PG_ELEMENT_TIMESTAMPTZ, b->upserts, lasting);
    pg_array_begin(&b->deleted, PG_ELEMENT_BYTEA, b->deletes, false);
    for (uint32_t i = 0; i < n; i++) {
        if (rows[i].deleted) {
            pg_array_bytes(&b->deleted, rows[i].key);
        } else {
            pg_array_bytes(&b->keys, rows[i].key);
            pg_array_bytes(&b->values, rows[i].value);
            pg_array_int8(&b->versions, (int64_t)rows[i].version);
            append_expiry(&b->expires, rows[i].expires_at_ms);
        }
    }
    CHECK(!b->keys.failed && !b->values.failed && !b->versions.failed && !b->expires.failed &&
          !b->deleted.failed);
}
