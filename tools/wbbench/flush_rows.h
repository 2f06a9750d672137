/* The rows of `wbbench flush`: which keys, in which order they are written, which group each belongs to, and
 * a batch of them as PostgreSQL takes it (binary arrays, for the peer). Pure. */
#ifndef WB_TOOLS_WBBENCH_FLUSH_ROWS_H
#define WB_TOOLS_WBBENCH_FLUSH_ROWS_H

#include "proto/base/buf.h"

enum {
    FLUSH_KEY_BYTES = 16, /* the prefix and ten digits: keys sort as their numbers do */
    FLUSH_MARK_BYTES = 8, /* a value begins with its mark */
};
#define FLUSH_KEY_PREFIX "bench:"

struct flush_rows {
    uint32_t n;
    uint32_t groups;
    uint8_t (*keys)[FLUSH_KEY_BYTES]; /* by number */
    uint32_t *group_of;               /* by number */
    uint32_t *order;                  /* all numbers: the order in which they are written */
    uint32_t *by_group;               /* the same, group after group */
    uint32_t *group_first;            /* groups + 1 places in by_group */
};

/* @n is 1..2^31, @groups at least 1. In the order of their numbers until the first shuffle. Owned:
 * flush_rows_deinit() frees it. */
void flush_rows_init(struct flush_rows *r, uint32_t n, uint32_t groups);
/* Another order, which @seed decides. Rows that are rewritten in the batches that they were written in before
 * meet pages that are either full or empty, which is not what a database looks like that others write to. */
void flush_rows_shuffle(struct flush_rows *r, uint64_t seed);
void flush_rows_deinit(struct flush_rows *r);

/* The value that all rows of one round get: @len bytes, at least FLUSH_MARK_BYTES, which begin with @mark in
 * hex and do not compress. */
void flush_rows_value(uint32_t mark, uint8_t *out, size_t len);

struct flush_arrays {
    struct buf keys;     /* bytea[] */
    struct buf values;   /* bytea[] */
    struct buf versions; /* int8[] */
    struct buf expires;  /* timestamptz[], all NULL */
};
void flush_arrays_init(struct flush_arrays *a);
void flush_arrays_deinit(struct flush_arrays *a);
/* Replace the content of @a by the @n rows that @numbers name, which are sorted in place. */
void flush_arrays_build(struct flush_arrays *a, const struct flush_rows *r, uint32_t *numbers, uint32_t n,
    struct bytes value, uint64_t version);

#endif
