/* What the loader's statements answered: SCHEMA_LOAD's rows as a load_result, SCHEMA_FIND_EXPIRED's as keys.
 * Nothing here trusts what stands in the tables. */
#ifndef WB_FLUSH_PG_LOAD_ANSWER_H
#define WB_FLUSH_PG_LOAD_ANSWER_H

#include <libpq-fe.h>

#include "flush/loader.h"

/* The fields of the longest hash as the server sends them: names and values, and 4 bytes more for each. One
 * byte of a hash, whose length is one of its own, becomes two digits behind \x at worst. */
enum { PG_LOAD_FIELDS_BYTES_MAX = 4 * LIMIT_VALUE_BYTES };

struct pg_load_answer {
    struct load_result result; /* borrows from the PGresult and from the arrays below */
    uint32_t left_out;         /* rows whose values were too long for this answer: all of `later` */
    uint32_t absent;           /* keys that have no row */
    struct load_row *rows;
    struct bytes *later;
    struct bytes *bad;
    struct buf *hashes; /* the values of hashes among the rows */
    uint32_t n_hashes;
};

/* Read the answer for @asked keys whose values were to have at most @value_bytes_max bytes, or
 * @fields_bytes_max as the server counts fields, with room to add @later_more to `later`. False: the columns
 * are not what SCHEMA_LOAD has, or the fence row cannot be. Either way pg_load_answer_deinit(), before
 * @result goes. */
bool pg_load_answer_read(struct pg_load_answer *a, const PGresult *result, uint32_t asked,
    uint32_t value_bytes_max, uint32_t fields_bytes_max, uint32_t later_more);
void pg_load_answer_deinit(struct pg_load_answer *a);
/* Call for at most later_more keys. @key stays borrowed. */
void pg_load_answer_add_later(struct pg_load_answer *a, struct bytes key);

/* The keys of an answer to SCHEMA_FIND_EXPIRED: malloc'd, borrowing from @result. *@in_recovery is false when
 * there is no row to tell it. False: the columns are not what they should be; then nothing is to be freed. */
bool pg_expired_answer_read(const PGresult *result, struct bytes **keys, uint32_t *n, bool *in_recovery);

#endif
