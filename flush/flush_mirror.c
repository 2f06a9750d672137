#include "flush/flush_mirror.h"

#include <stdlib.h>

#include "flush/pg_array.h"
#include "flush/pg_time.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"

/* How many bytes at @p are one character of UTF-8? 0: none. Neither longer forms than needed, nor halves of
 * surrogates, nor what is above U+10FFFF: PostgreSQL's pg_utf8_islegal refuses them. */
static size_t character_bytes(const uint8_t *p, size_t left)
{
    size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3 : 4;
    if ((p[0] >= 0x80 && p[0] < 0xc2) || p[0] > 0xf4 || n > left) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool refused = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
                   (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f);
    return refused ? 0 : n;
}

static void append_text(struct buf *b, const char *text)
{
    struct bytes from = bytes_from_text(text);
    size_t start = b->len;
    pg_array_bytes(b, from);
    uint8_t *at = b->data + start + 4;
    for (size_t i = 0; !b->failed && i < from.len;) {
        size_t n = character_bytes(at + i, from.len - i);
        if (n == 0) {
            at[i] = '?';
            n = 1;
        }
        i += n;
    }
}

static void append_row(struct flush_mirror_arrays *a, const struct flush_quarantined *row, bool show_value)
{
    pg_array_bytes(&a->keys, row->key);
    pg_array_bool(&a->deleted, row->deleted);
    if (show_value) {
        pg_array_bytes(&a->values, row->value);
    } else {
        pg_array_null(&a->values);
    }
    if (row->deleted) {
        pg_array_null(&a->value_bytes);
    } else {
        pg_array_int4(&a->value_bytes, (uint32_t)row->value.len);
    }
    pg_array_int8(&a->versions, (int64_t)row->version);
    append_text(&a->sqlstates, row->sqlstate);
    append_text(&a->messages, row->message);
    pg_array_int4(&a->attempts, row->attempts > INT32_MAX ? INT32_MAX : row->attempts);
    pg_array_int8(&a->since, pg_time_from_unix_ms(row->since_ms));
    pg_array_int8(&a->refused_at, pg_time_from_unix_ms(row->refused_ms));
}

void flush_mirror_init(struct flush_mirror_arrays *a, const struct flush_mirror *mirror)
{
    struct {
        struct buf *array;
        uint32_t type;
    } const arrays[] = {
        {&a->keys, PG_ELEMENT_BYTEA},
        {&a->deleted, PG_ELEMENT_BOOL},
        {&a->values, PG_ELEMENT_BYTEA},
        {&a->value_bytes, PG_ELEMENT_INT4},
        {&a->versions, PG_ELEMENT_INT8},
        {&a->sqlstates, PG_ELEMENT_TEXT},
        {&a->messages, PG_ELEMENT_TEXT},
        {&a->attempts, PG_ELEMENT_INT4},
        {&a->since, PG_ELEMENT_TIMESTAMPTZ},
        {&a->refused_at, PG_ELEMENT_TIMESTAMPTZ},
    };
    uint32_t n = mirror->n > FLUSH_MIRROR_MAX ? FLUSH_MIRROR_MAX : mirror->n;
    size_t shown_bytes = 0;
    bool *shown = xcalloc(n == 0 ? 1 : n, sizeof *shown), values_null = false, bytes_null = false;
    for (uint32_t i = 0; i < n; i++) {
        const struct flush_quarantined *row = &mirror->rows[i];
        shown[i] = !row->deleted && row->value.len <= FLUSH_MIRROR_VALUE_BYTES_MAX - shown_bytes;
        shown_bytes += shown[i] ? row->value.len : 0;
        values_null |= !shown[i];
        bytes_null |= row->deleted;
    }
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
        struct buf *array = arrays[i].array;
        buf_init(array);
        pg_array_begin(array, arrays[i].type, n,
            (array == &a->values && values_null) || (array == &a->value_bytes && bytes_null));
    }
    for (uint32_t i = 0; i < n; i++) {
        append_row(a, &mirror->rows[i], shown[i]);
    }
    free(shown);
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
        CHECK(!arrays[i].array->failed);
    }
}

void flush_mirror_deinit(struct flush_mirror_arrays *a)
{
    struct buf *const arrays[] = {&a->keys, &a->deleted, &a->values, &a->value_bytes, &a->versions,
        &a->sqlstates, &a->messages, &a->attempts, &a->since, &a->refused_at};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
        buf_deinit(arrays[i]);
    }
}
