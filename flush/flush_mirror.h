/* Build the binary arrays that show a group's quarantine in the database. Pure. */
#ifndef WB_FLUSH_FLUSH_MIRROR_H
#define WB_FLUSH_FLUSH_MIRROR_H

#include "flush/flush.h"

/* Of the table's column of that name, but for group_id. Owned. */
struct flush_mirror_arrays {
    struct buf keys;        /* bytea[] */
    struct buf deleted;     /* bool[] */
    struct buf values;      /* bytea[], NULL where deleted, of a hash, or where there are too many bytes */
    struct buf value_bytes; /* int4[], NULL where deleted */
    struct buf versions;    /* int8[] */
    struct buf sqlstates;   /* text[] */
    struct buf messages;    /* text[] */
    struct buf attempts;    /* int4[] */
    struct buf since;       /* timestamptz[] */
    struct buf refused_at;  /* timestamptz[] */
    struct buf fields; /* bytea[]: of a hash its JSON text in UTF-8 (fields_json.h), unless too many bytes */
};

/* Values are shown, in the order of the rows, as long as they, or hashes' JSON texts, are together no longer
 * than this. */
enum { FLUSH_MIRROR_VALUE_BYTES_MAX = 16 * 1024 * 1024 };

/* Of @mirror the first FLUSH_MIRROR_MAX rows. Texts that are not UTF-8 are shown with '?' in place of the
 * bytes that PostgreSQL would refuse. */
void flush_mirror_init(struct flush_mirror_arrays *a, const struct flush_mirror *mirror);
void flush_mirror_deinit(struct flush_mirror_arrays *a);

#endif
