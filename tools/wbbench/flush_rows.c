#include "tools/wbbench/flush_rows.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/slot.h"
#include "tools/wbbench/keys.h"

static void name_key(uint8_t out[FLUSH_KEY_BYTES], uint32_t number)
{
    char text[FLUSH_KEY_BYTES + 1];
    int len = snprintf(text, sizeof text, FLUSH_KEY_PREFIX "%010" PRIu32, number);
    CHECK(len == FLUSH_KEY_BYTES);
    memcpy(out, text, FLUSH_KEY_BYTES);
}

/* A counting sort by group that keeps the order of the writes within each. */
static void sort_by_group(struct flush_rows *r)
{
    uint32_t *next = xmalloc(r->groups * sizeof *next);
    memcpy(next, r->group_first, r->groups * sizeof *next);
    for (uint32_t i = 0; i < r->n; i++) {
        uint32_t number = r->order[i];
        r->by_group[next[r->group_of[number]]++] = number;
    }
    free(next);
}

void flush_rows_init(struct flush_rows *r, uint32_t n, uint32_t groups)
{
    CHECK(n > 0 && n <= UINT32_C(1) << 31 && groups > 0);
    r->n = n;
    r->groups = groups;
    r->keys = xmalloc((size_t)n * sizeof *r->keys);
    r->group_of = xmalloc((size_t)n * sizeof *r->group_of);
    r->order = xmalloc((size_t)n * sizeof *r->order);
    r->by_group = xmalloc((size_t)n * sizeof *r->by_group);
    r->group_first = xcalloc((size_t)groups + 1, sizeof *r->group_first);
    for (uint32_t i = 0; i < n; i++) {
        name_key(r->keys[i], i);
        r->order[i] = i;
        r->group_of[i] = slot_group(slot_of(bytes_of(r->keys[i], FLUSH_KEY_BYTES)), groups);
        r->group_first[r->group_of[i] + 1]++;
    }
    for (uint32_t g = 0; g < groups; g++) {
        r->group_first[g + 1] += r->group_first[g];
    }
    sort_by_group(r);
}

/* Fisher and Yates. */
void flush_rows_shuffle(struct flush_rows *r, uint64_t seed)
{
    struct keys random;
    keys_init(&random, UINT32_C(1) << 31, KEYS_UNIFORM, 0, seed);
    for (uint32_t i = r->n - 1; i > 0; i--) {
        uint32_t j = (uint32_t)(keys_random(&random) * ((double)i + 1));
        uint32_t t = r->order[i];
        r->order[i] = r->order[j];
        r->order[j] = t;
    }
    sort_by_group(r);
}

void flush_rows_deinit(struct flush_rows *r)
{
    free(r->keys);
    free(r->group_of);
    free(r->order);
    free(r->by_group);
    free(r->group_first);
}

void flush_rows_value(uint32_t mark, uint8_t *out, size_t len)
{
    CHECK(len >= FLUSH_MARK_BYTES);
    char text[FLUSH_MARK_BYTES + 1];
    snprintf(text, sizeof text, "%08" PRIx32, mark);
    memcpy(out, text, FLUSH_MARK_BYTES);
    uint32_t random = mark | 1;
    for (size_t i = FLUSH_MARK_BYTES; i < len; i++) {
        random = random * UINT32_C(1664525) + UINT32_C(1013904223);
        out[i] = (uint8_t)(random >> 24);
    }
}

/* ---- arrays: as PostgreSQL's array_recv reads them ---- */

enum { OID_BYTEA = 17, OID_INT8 = 20, OID_TIMESTAMPTZ = 1184 };

void flush_arrays_init(struct flush_arrays *a)
{
    buf_init(&a->keys);
    buf_init(&a->values);
    buf_init(&a->versions);
    buf_init(&a->expires);
}

void flush_arrays_deinit(struct flush_arrays *a)
{
    buf_deinit(&a->keys);
    buf_deinit(&a->values);
    buf_deinit(&a->versions);
    buf_deinit(&a->expires);
}

/* One dimension of @n elements that begins at 1, with room for @bytes of them. */
static void begin_array(struct buf *b, uint32_t type, uint32_t n, bool has_nulls, size_t bytes)
{
    enum { HEADER_BYTES = 20 };
    buf_clear(b);
    buf_reserve(b, HEADER_BYTES + bytes);
    buf_append_be32(b, 1);
    buf_append_be32(b, has_nulls ? 1 : 0);
    buf_append_be32(b, type);
    buf_append_be32(b, n);
    buf_append_be32(b, 1);
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

void flush_arrays_build(struct flush_arrays *a, const struct flush_rows *r, uint32_t *numbers, uint32_t n,
    struct bytes value, uint64_t version)
{
    CHECK(n > 0);
    qsort(numbers, n, sizeof *numbers, compare_numbers);
    begin_array(&a->keys, OID_BYTEA, n, false, (size_t)n * (4 + FLUSH_KEY_BYTES));
    begin_array(&a->values, OID_BYTEA, n, false, (size_t)n * (4 + value.len));
    begin_array(&a->versions, OID_INT8, n, false, (size_t)n * 12);
    begin_array(&a->expires, OID_TIMESTAMPTZ, n, true, (size_t)n * 4);
    for (uint32_t i = 0; i < n; i++) {
        buf_append_be32(&a->keys, FLUSH_KEY_BYTES);
        buf_append(&a->keys, r->keys[numbers[i]], FLUSH_KEY_BYTES);
        buf_append_be32(&a->values, (uint32_t)value.len);
        buf_append(&a->values, value.data, value.len);
        buf_append_be32(&a->versions, 8);
        buf_append_be64(&a->versions, version);
        buf_append_be32(&a->expires, UINT32_MAX); /* a length of -1 is NULL */
    }
    CHECK(!a->keys.failed && !a->values.failed && !a->versions.failed && !a->expires.failed);
}
