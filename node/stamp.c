#include "node/stamp.h"

static uint64_t uncorrected(const struct stamp_clock *c, uint64_t now_ms)
{
    return c->stamp_ms + (now_ms > c->seen_ms ? now_ms - c->seen_ms : 0);
}

void stamp_observe(struct stamp_clock *c, uint64_t stamp_ms, uint64_t now_ms, bool replaying)
{
    if (stamp_ms < c->stamp_ms || (c->live && stamp_ms < uncorrected(c, now_ms))) {
        return;
    }
    c->stamp_ms = stamp_ms;
    c->seen_ms = now_ms;
    c->live = !replaying;
}

int64_t stamp_offset_ms(const struct stamp_clock *c, uint64_t now_ms, uint64_t wall_ms)
{
    return (int64_t)(wall_ms - uncorrected(c, now_ms));
}

uint64_t stamp_now(struct stamp_clock *c, uint64_t now_ms, uint64_t wall_ms)
{
    uint64_t last = c->stamp_ms;
    uint64_t passed = now_ms > c->seen_ms ? now_ms - c->seen_ms : 0;
    uint64_t stamp = last + passed;
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
        c->seen_ms = now_ms;
    } else {
        return stamp; /* too little time to correct anything: keep the base, so that corrections add up */
    }
    c->stamp_ms = stamp;
    return stamp;
}
