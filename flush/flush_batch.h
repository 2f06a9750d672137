/* Build the binary arrays of one batch. Pure.
 * Source of the format: PostgreSQL's array_recv/array_send (src/backend/utils/adt/arrayfuncs.c). */
#ifndef WB_FLUSH_FLUSH_BATCH_H
#define WB_FLUSH_FLUSH_BATCH_H

#include "flush/flush.h"

void flush_batch_init(struct flush_batch *b);
void flush_batch_deinit(struct flush_batch *b);
/* Sort @rows (in place) by key and write them into @b, which must be empty. Keys are distinct. */
void flush_batch_build(
    struct flush_batch *b, uint64_t id, uint64_t predecessor, struct flush_row *rows, uint32_t n);

#endif
