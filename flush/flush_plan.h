/* Which rows of the dirty queue are due. Pure.
 *
 * A row is due once it has waited for the flush age; at once when somebody waits for its index, or when the
 * dirty budget is half used. Rows that are not due are left to collect more writes: that is what coalescing
 * lives on. But when a row is due by its age, younger ones go along: under a steady load some row comes of
 * age in every millisecond, and a transaction for each handful of them would cost the database, its disk and
 * the log (which gets two entries for each batch) far more than the rows do. */
#ifndef WB_FLUSH_FLUSH_PLAN_H
#define WB_FLUSH_FLUSH_PLAN_H

#include <stdbool.h>
#include <stdint.h>

enum { FLUSH_IN_FLIGHT_MAX = 16 };

struct flush_settings {
    unsigned age_ms;       /* how long a row may wait for more writes */
    uint32_t batch_rows;   /* at most, in one transaction, but where it would cut one of a client's */
    uint64_t batch_bytes;  /* keys and values in one transaction; one row may exceed it */
    unsigned in_flight;    /* batches begun and not settled, 1 to FLUSH_IN_FLIGHT_MAX */
    unsigned retry_min_ms; /* back-off after a failure, doubled up to the maximum, with jitter */
    unsigned retry_max_ms;
    unsigned note_ms; /* how often the fence row is looked at, and told how fresh the database is, when no
                         batch does it; 0: 1,000 */
};

struct flush_demand {
    uint64_t upto_index; /* somebody waits until this log index is flushed; 0: nobody */
    uint64_t dirty_bytes;
    uint64_t dirty_bytes_max;
    uint64_t dirty_entries;
    uint64_t dirty_entries_max;
};

/* Is a row due that has been dirty since @dirty_stamp_ms, by a log entry @first_dirty? @now_stamp_ms is the
 * leader's stamp clock. The queue is ordered by first_dirty, so the due rows are its front part. */
bool flush_plan_row_due(const struct flush_settings *settings, const struct flush_demand *demand,
    uint64_t first_dirty, uint64_t dirty_stamp_ms, uint64_t now_stamp_ms);

/* How long a row must have been dirty to go along in a batch that begins because a row before it has come of
 * age. Three quarters of the flush age: batches of a steady load begin every quarter of it, and no row waits
 * longer than it. (Less would make larger batches, which collect fewer writes to each row.) */
uint64_t flush_plan_along_ms(const struct flush_settings *settings);

#endif
