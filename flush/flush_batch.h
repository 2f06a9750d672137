/* Build the binary arrays (pg_array.h) of one batch. Pure. */
#ifndef WB_FLUSH_FLUSH_BATCH_H
#define WB_FLUSH_FLUSH_BATCH_H

#include "flush/flush.h"

void flush_batch_init(struct flush_batch *b);
void flush_batch_deinit(struct flush_batch *b);
/* Write @rows into @b, which must be empty, sorted by key. Keys are distinct. `isolate` and `note` stay as
 * they are.
 */
void flush_batch_build(
    struct flush_batch *b, uint64_t id, uint64_t predecessor, const struct flush_row *rows, uint32_t n);

#endif
