/* The judge: could each key of a history be one object, that does one operation at a time, each at some
 * moment between its start and its end? (Herlihy and Wing, "Linearizability", 1990.) Pure.
 *
 * Keys are judged one by one (a history is linearizable if each of its objects is: Horn and Kroening, "Faster
 * linearizability checking via P-compositionality", 2015). For a key, the search of Wing and Gong ("Testing
 * and verifying concurrent objects", 1993) orders the operations, and Lowe's improvement ("Testing for
 * linearizability", 2017) goes to no place twice, a place being the set of operations done and the state.
 * What else keeps it short, and why that is right, is in linear_search.c and linear_ops.c. Versions are
 * looked at first, by themselves, as what is wrong with them is easily said.
 *
 * An operation whose outcome is unknown may come at any moment after its start, or never. The problem is
 * hard: a limit of steps and of memory ends the search with TOO_HARD, which is no verdict. */
#ifndef WB_CLUSTER_TESTS_LINEAR_H
#define WB_CLUSTER_TESTS_LINEAR_H

#include "cluster-tests/history.h"
#include "proto/base/buf.h"

enum linear_status { LINEAR_LINEARIZABLE, LINEAR_NOT_LINEARIZABLE, LINEAR_TOO_HARD };

/* Of one key. */
struct linear_limits {
    uint64_t steps_max;      /* operations tried; 0: LINEAR_STEPS_MAX */
    size_t memory_bytes_max; /* of places remembered; 0: LINEAR_MEMORY_BYTES_MAX */
};
#define LINEAR_STEPS_MAX        UINT64_C(200000000)
#define LINEAR_MEMORY_BYTES_MAX ((size_t)1 << 30)

struct linear_report {
    enum linear_status status; /* NOT_LINEARIZABLE if one key is; else TOO_HARD if one key is */
    size_t keys, keys_not_linearizable, keys_too_hard;
    size_t known, unknown;  /* operations */
    size_t unknown_ignored; /* of the unknown ones: those that cannot matter, whether they happened or not */
    uint64_t steps;         /* operations tried, for all verdicts; not those for explanations */
    struct buf explanation; /* text for people, about the first keys that are not LINEARIZABLE; owned */
};

/* Judge @h. @limits may be NULL. Operations under way count as unknown. Returns @report->status; the report
 * is to be given to linear_report_deinit. */
enum linear_status linear_check(
    const struct history *h, const struct linear_limits *limits, struct linear_report *report);
void linear_report_deinit(struct linear_report *report);
/* "linearizable", "not linearizable", "too hard". */
const char *linear_status_text(enum linear_status status);

#endif
