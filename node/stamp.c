#include "node/stamp.h"

/* Monotonic time since the newest stamp; none is known when that came from the disk. */
static uint64_t passed_ms(const struct stamp_clock *c, uint64_t now_ms)
{
    return c->live && now_ms > c->seen_ms ? now_ms - c->seen_ms : 0;
}

uint64_t stamp_uncorrected(const struct stamp_clock *c, uint64_t now_ms)
{
    return c->stamp_ms + passed_ms(c, now_ms);
}

void stamp_observe(struct stamp_clock *c, uint64_t stamp_ms, uint64_t now_ms, bool replaying)
{
    c->newest_ms = stamp_ms > c->newest_ms ? stamp_ms : c->newest_ms;
    if (stamp_ms < c->stamp_ms || (c->live && stamp_ms < stamp_uncorrected(c, now_ms))) {
        return;
    }
    c->stamp_ms = stamp_ms;
    c->seen_ms = now_ms;
    c->live = !replaying;
}

int64_t stamp_offset_ms(const struct stamp_clock *c, uint64_t now_ms, uint64_t wall_ms)
{
    return (int64_t)(wall_ms - stamp_uncorrected(c, now_ms));
}

uint64_t stamp_now(struct stamp_clock *c, uint64_t now_ms, uint64_t wall_ms)
{
    uint64_t passed = passed_ms(c, now_ms);
    uint64_t stamp = c->stamp_ms + passed;
    if (!c->live) {
        if (wall_ms > stamp) {
            stamp = wall_ms;
        }
        c->live = true;
        c->seen_ms = now_ms;
    } else if (passed >= 8) {
        int64_t offset = (int64_t)(wall_ms - stamp);
        int64_t step = (int64_t)(passed / 8);
        if (offset > 0 && offset <= STAMP_BOUND_MS) {
            stamp += (uint64_t)(offset < step ? offset : step);
        } else if (offset < 0 && -offset <= STAMP_BOUND_MS) {
            stamp -= (uint64_t)(-offset < step ? -offset : step);
        }
        /* After a long time as a follower a correction downwards can be more than what the leader's newest
         * stamp is behind our own time. */
        stamp = stamp < c->newest_ms ? c->newest_ms : stamp;
        c->seen_ms = now_ms;
    } else {
        return stamp; /* too little time to correct anything: keep the base, so that corrections add up */
    }
    c->stamp_ms = stamp;
    return stamp;
}
