#include "flush/flush_batch.h"

#include <stdlib.h>
#include <string.h>

#include "flush/fields_json.h"
#include "flush/pg_array.h"
#include "flush/pg_time.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"

static void append_expiry(struct buf *b, uint64_t expires_at_ms)
{
    if (expires_at_ms == 0) {
        pg_array_null(b);
    } else {
        pg_array_int8(b, pg_time_from_unix_ms(expires_at_ms));
    }
}

/* Of a hash its fields are written, of a string its value. */
static void append_value(struct flush_batch *b, const struct flush_row *row)
{
    if (row->type == VALUE_HASH) {
        size_t at = pg_array_begin_element(&b->fields);
        pg_array_null(&b->values);
        fields_json_append(row->value, &b->fields);
        pg_array_end_element(&b->fields, at);
        return;
    }
    pg_array_bytes(&b->values, row->value);
    if (b->hashes > 0) {
        pg_array_null(&b->fields);
    }
}

/* What rows are sorted by. Keys of one batch often begin alike; the eight bytes behind that settle nearly
 * every comparison, and lie side by side, while the keys lie all over memory. */
struct place {
    uint64_t head; /* big endian; a key that ends earlier has zeros */
    const struct flush_row *row;
};

static int compare_places(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->head != y->head) {
        return x->head < y->head ? -1 : 1;
    }
    return bytes_compare(x->row->key, y->row->key);
}

/* How many bytes all keys begin with alike. */
static size_t common_prefix(const struct flush_row *rows, uint32_t n)
{
    struct bytes first = rows[0].key;
    size_t common = first.len;
    for (uint32_t i = 1; i < n && common > 0; i++) {
        struct bytes key = rows[i].key;
        size_t same = 0;
        size_t most = key.len < common ? key.len : common;
        while (same < most && key.data[same] == first.data[same]) {
            same++;
        }
        common = same;
    }
    return common;
}

static uint64_t head_of(struct bytes key, size_t skip)
{
    uint8_t head[8] = {0};
    size_t len = key.len - skip < sizeof head ? key.len - skip : sizeof head;
    if (len > 0) {
        memcpy(head, key.data + skip, len);
    }
    return load_be64(head);
}

/* The rows in the order of their keys. The caller frees it. */
static struct place *sort_rows(const struct flush_row *rows, uint32_t n)
{
    struct place *places = xmalloc(((size_t)n + 1) * sizeof *places);
    size_t skip = n == 0 ? 0 : common_prefix(rows, n);
    for (uint32_t i = 0; i < n; i++) {
        places[i] = (struct place){.head = head_of(rows[i].key, skip), .row = &rows[i]};
    }
    if (n > 1) {
        qsort(places, n, sizeof *places, compare_places);
    }
    return places;
}

void flush_batch_init(struct flush_batch *b)
{
    *b = (struct flush_batch){0};
    buf_init(&b->keys);
    buf_init(&b->values);
    buf_init(&b->versions);
    buf_init(&b->expires);
    buf_init(&b->fields);
    buf_init(&b->deleted);
}

void flush_batch_deinit(struct flush_batch *b)
{
    buf_deinit(&b->keys);
    buf_deinit(&b->values);
    buf_deinit(&b->versions);
    buf_deinit(&b->expires);
    buf_deinit(&b->fields);
    buf_deinit(&b->deleted);
}

/* One growth for each array instead of many: a batch may have tens of megabytes. */
static void reserve(struct flush_batch *b, const struct flush_row *rows, uint32_t n)
{
    size_t keys = PG_ARRAY_HEADER_BYTES, values = PG_ARRAY_HEADER_BYTES, deleted = PG_ARRAY_HEADER_BYTES;
    size_t fields = PG_ARRAY_HEADER_BYTES; /* at least: what its text needs more is for buf to find */
    for (uint32_t i = 0; i < n; i++) {
        if (rows[i].deleted) {
            deleted += 4 + rows[i].key.len;
        } else {
            bool hash = rows[i].type == VALUE_HASH;
            keys += 4 + rows[i].key.len;
            values += 4 + (hash ? 0 : rows[i].value.len);
            fields += 4 + (hash ? rows[i].value.len : 0);
        }
    }
    buf_reserve(&b->keys, keys);
    buf_reserve(&b->values, values);
    buf_reserve(&b->deleted, deleted);
    if (b->hashes > 0) {
        buf_reserve(&b->fields, fields);
    }
    buf_reserve(&b->versions, PG_ARRAY_HEADER_BYTES + (size_t)b->upserts * 12);
    buf_reserve(&b->expires, PG_ARRAY_HEADER_BYTES + (size_t)b->upserts * 12);
}

void flush_batch_build(
    struct flush_batch *b, uint64_t id, uint64_t predecessor, const struct flush_row *rows, uint32_t n)
{
    CHECK(b->keys.len == 0 && b->deleted.len == 0);
    /* Sorted, so that neighbours in the index are written one after the other, and so that two transactions
     * that touch the same rows lock them in the same order. */
    struct place *sorted = sort_rows(rows, n);
    b->id = id;
    b->predecessor = predecessor;
    b->upserts = 0;
    b->hashes = 0;
    b->deletes = 0;
    bool lasting = false;
    for (uint32_t i = 0; i < n; i++) {
        /* ON CONFLICT refuses to touch a row twice, and a key both upserted and deleted has no meaning. */
        const struct flush_row *row = sorted[i].row;
        CHECK(
            i == 0 || sorted[i - 1].head != sorted[i].head || !bytes_equal(sorted[i - 1].row->key, row->key));
        if (row->deleted) {
            b->deletes++;
        } else {
            b->upserts++;
            b->hashes += row->type == VALUE_HASH;
            lasting |= row->expires_at_ms == 0;
        }
    }
    reserve(b, rows, n);
    pg_array_begin(&b->keys, PG_ELEMENT_BYTEA, b->upserts, false);
    pg_array_begin(&b->values, PG_ELEMENT_BYTEA, b->upserts, b->hashes > 0);
    pg_array_begin(&b->versions, PG_ELEMENT_INT8, b->upserts, false);
    pg_array_begin(&b->expires, PG_ELEMENT_TIMESTAMPTZ, b->upserts, lasting);
    bool mixed = b->hashes > 0 && b->hashes < b->upserts;
    pg_array_begin(&b->fields, PG_ELEMENT_BYTEA, b->hashes > 0 ? b->upserts : 0, mixed);
    pg_array_begin(&b->deleted, PG_ELEMENT_BYTEA, b->deletes, false);
    for (uint32_t i = 0; i < n; i++) {
        const struct flush_row *row = sorted[i].row;
        if (row->deleted) {
            pg_array_bytes(&b->deleted, row->key);
        } else {
            pg_array_bytes(&b->keys, row->key);
            append_value(b, row);
            pg_array_int8(&b->versions, (int64_t)row->version);
            append_expiry(&b->expires, row->expires_at_ms);
        }
    }
    free(sorted);
    CHECK(!b->keys.failed && !b->values.failed && !b->versions.failed && !b->expires.failed &&
          !b->fields.failed && !b->deleted.failed);
}
