/* PostgreSQL's binary arrays of one dimension, element by element. Pure.
 * Source of the format: PostgreSQL's array_recv/array_send (src/backend/utils/adt/arrayfuncs.c). */
#ifndef WB_FLUSH_PG_ARRAY_H
#define WB_FLUSH_PG_ARRAY_H

#include <stdbool.h>

#include "proto/base/buf.h"

/* Type numbers of elements, fixed by PostgreSQL's pg_type.dat. */
enum {
    PG_ELEMENT_BOOL = 16,
    PG_ELEMENT_BYTEA = 17,
    PG_ELEMENT_INT8 = 20,
    PG_ELEMENT_INT4 = 23,
    PG_ELEMENT_TEXT = 25,
    PG_ELEMENT_TIMESTAMPTZ = 1184
};

enum { PG_ARRAY_HEADER_BYTES = 20 };

/* Dimensions, "has NULLs", the element's type, then for our one dimension its length and its lower bound. An
 * array without elements has no dimension. */
static inline void pg_array_begin(struct buf *b, uint32_t type, uint32_t n, bool has_nulls)
{
    buf_append_be32(b, n == 0 ? 0 : 1);
    buf_append_be32(b, has_nulls ? 1 : 0);
    buf_append_be32(b, type);
    if (n > 0) {
        buf_append_be32(b, n);
        buf_append_be32(b, 1);
    }
}

static inline void pg_array_bytes(struct buf *b, struct bytes element)
{
    buf_append_be32(b, (uint32_t)element.len);
    if (element.len > 0) {
        buf_append(b, element.data, element.len);
    }
}

/* An element that is appended piece by piece: its beginning, to be given to pg_array_end_element. */
static inline size_t pg_array_begin_element(struct buf *b)
{
    size_t at = b->len;
    buf_append_be32(b, 0);
    return at;
}

static inline void pg_array_end_element(struct buf *b, size_t at)
{
    if (!b->failed) {
        store_be32(b->data + at, (uint32_t)(b->len - at - 4));
    }
}

static inline void pg_array_int8(struct buf *b, int64_t v)
{
    buf_append_be32(b, 8);
    buf_append_be64(b, (uint64_t)v);
}

static inline void pg_array_int4(struct buf *b, uint32_t v)
{
    buf_append_be32(b, 4);
    buf_append_be32(b, v);
}

static inline void pg_array_bool(struct buf *b, bool v)
{
    buf_append_be32(b, 1);
    buf_append_u8(b, v ? 1 : 0);
}

static inline void pg_array_null(struct buf *b)
{
    buf_append_be32(b, UINT32_MAX); /* a length of -1 */
}

#endif
