/* The simplest question to a history: is a counter's last value the sum of the increments that were
 * acknowledged, and of some (or none) of those whose outcome is unknown? Pure. */
#ifndef WB_CLUSTER_TESTS_COUNTER_SUM_H
#define WB_CLUSTER_TESTS_COUNTER_SUM_H

#include "cluster-tests/history.h"

struct counter_sum {
    int64_t acknowledged; /* sum of the deltas */
    uint64_t acknowledged_count;
    uint64_t unknown_count;
    bool exact;    /* @value is the acknowledged sum */
    bool possible; /* it is that, with a part of the unknown ones */
};

/* Judge @value, which was read of @key when nothing was under way any more (0: it was not there). @key must
 * have had nothing but incr and get in @h. With unknown deltas that add up to more than a few thousand,
 * `possible` says only that the value is within their bounds. */
struct counter_sum counter_sum(const struct history *h, struct bytes key, int64_t value);

#endif
