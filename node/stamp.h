/* The leader's stamp clock: the time that is written into log entries. Pure.
 * The next stamp is the last one plus the monotonic time passed since; towards the wall clock it is corrected
 * by at most an eighth of that time, and not at all when the two are further apart than the bound: one bad
 * wall clock must neither expire keys nor stop time. A replica that has no monotonic time since the last
 * stamp (it just started) goes to the wall clock if that is ahead. */
#ifndef WB_NODE_STAMP_H
#define WB_NODE_STAMP_H

#include <stdbool.h>
#include <stdint.h>

enum { STAMP_BOUND_MS = 60 * 1000 };

struct stamp_clock {
    uint64_t stamp_ms;  /* the newest stamp given, or seen and ahead of the time since */
    uint64_t seen_ms;   /* monotonic time then */
    uint64_t newest_ms; /* the newest stamp seen: none that is given is lower */
    bool live;          /* seen_ms is of this process's life */
};

/* A log entry with @stamp_ms was applied at @now_ms; it is older than that, so it never sets the clock back.
 * @replaying: from the disk, so its age is not known. */
void stamp_observe(struct stamp_clock *c, uint64_t stamp_ms, uint64_t now_ms, bool replaying);
/* The stamp for now; never lower than one seen or given before. */
uint64_t stamp_now(struct stamp_clock *c, uint64_t now_ms, uint64_t wall_ms);
/* The newest stamp plus the time passed since, for questions: it changes nothing. */
uint64_t stamp_uncorrected(const struct stamp_clock *c, uint64_t now_ms);
/* How far the wall clock is ahead of (or behind) the stamps; beyond STAMP_BOUND_MS somebody should look at
 * the clocks. */
int64_t stamp_offset_ms(const struct stamp_clock *c, uint64_t now_ms, uint64_t wall_ms);

#endif
