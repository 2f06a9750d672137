/* What one key is, as far as the judge knows it, and what each operation may do to it. Pure.
 *
 * The value is always known. Its version is not when the write told none (its outcome is unknown): then it is
 * the lowest one possible until an operation shows it. Versions are integers that rise with each write, so a
 * write without one has at least one more than the write before it. */
#ifndef WB_CLUSTER_TESTS_LINEAR_MODEL_H
#define WB_CLUSTER_TESTS_LINEAR_MODEL_H

#include "cluster-tests/history.h"
#include "cluster-tests/linear_value.h"

struct linear_state {
    uint32_t value;   /* number of the value, or LINEAR_ABSENT */
    bool exact;       /* the version is exactly `version`, else that or a higher one. True when absent */
    uint64_t version; /* of the last write, also when that was a delete */
};

/* One operation with its values as numbers. */
struct linear_op {
    const struct history_event *event; /* borrowed */
    uint64_t start_ns;
    uint64_t end_ns; /* UINT64_MAX when unknown */
    uint32_t wrote;  /* set, cas: the value; else 0 */
    uint32_t saw;    /* get, getdel that found, incr that gave a number: the value that they need; else 0 */
    uint32_t makes;  /* set, cas, incr: the value that they leave, if they do and it is known; else 0 */
    bool known;      /* the outcome is known */
    bool impossible; /* no state explains the result: incr that gave a number that no number leads to */
    uint64_t version_written; /* told; else 0 */
    uint64_t version_seen;    /* of what was there: told, or asked for by a cas that succeeded; else 0 */
};

/* @values gets the values of @event. */
struct linear_op linear_op_of(const struct history_event *event, struct linear_values *values);

/* Can @op happen in @now, with the result that it had? Then *@after is the state that it leaves. One whose
 * outcome is unknown happens only where it has an effect: where it has none, it may as well never have
 * happened. */
bool linear_step(struct linear_values *values, const struct linear_state *now, const struct linear_op *op,
    struct linear_state *after);
/* Is all that can follow @strict possible after @lenient, too, with the same results? */
bool linear_state_covers(const struct linear_state *lenient, const struct linear_state *strict);

#endif
