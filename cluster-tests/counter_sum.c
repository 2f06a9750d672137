#include "cluster-tests/counter_sum.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"

enum { SPAN_MAX = 1 << 14 };

/* What the unknown increments can add: from `low` (all negative ones) to `high` (all positive ones). */
struct span {
    int64_t low, high;
};

static bool is_increment(const struct history *h, size_t i, struct bytes key)
{
    return history_event_live(h, i) && h->events[i].op == HISTORY_INCR && bytes_equal(h->events[i].key, key);
}

static bool is_unknown(const struct history_event *e)
{
    return e->result.outcome == HISTORY_UNKNOWN;
}

/* reachable[x]: some of the unknown deltas so far add up to x + low. */
static void add_delta(bool *reachable, size_t n, int64_t delta)
{
    if (delta > 0) {
        for (size_t x = n; x-- > (size_t)delta;) {
            reachable[x] = reachable[x] || reachable[x - (size_t)delta];
        }
    } else {
        for (size_t x = 0; x + (size_t)-delta < n; x++) {
            reachable[x] = reachable[x] || reachable[x + (size_t)-delta];
        }
    }
}

static bool some_add_up_to(const struct history *h, struct bytes key, struct span span, int64_t wanted)
{
    if (wanted < span.low || wanted > span.high) {
        return false;
    }
    if (span.high - span.low >= SPAN_MAX) {
        return true;
    }
    size_t n = (size_t)(span.high - span.low) + 1;
    bool *reachable = xcalloc(n, sizeof *reachable);
    reachable[-span.low] = true;
    for (size_t i = 0; i < h->n_events; i++) {
        if (is_increment(h, i, key) && is_unknown(&h->events[i])) {
            add_delta(reachable, n, h->events[i].arg.delta);
        }
    }
    bool found = reachable[wanted - span.low];
    free(reachable);
    return found;
}

struct counter_sum counter_sum(const struct history *h, struct bytes key, int64_t value)
{
    struct counter_sum sum = {0};
    struct span span = {0};
    for (size_t i = 0; i < h->n_events; i++) {
        if (!is_increment(h, i, key)) {
            continue;
        }
        const struct history_event *e = &h->events[i];
        if (!is_unknown(e)) {
            /* One that was answered with an error did nothing. */
            sum.acknowledged += e->result.outcome == HISTORY_OK ? e->arg.delta : 0;
            sum.acknowledged_count += e->result.outcome == HISTORY_OK ? 1 : 0;
            continue;
        }
        sum.unknown_count++;
        *(e->arg.delta < 0 ? &span.low : &span.high) += e->arg.delta;
    }
    sum.exact = value == sum.acknowledged;
    sum.possible = sum.exact || some_add_up_to(h, key, span, value - sum.acknowledged);
    return sum;
}
