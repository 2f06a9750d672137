/* Somebody else in the database: a connection that takes locks which the flush needs, at random, and keeps
 * each for a while. Threading: start and stop from one thread; the adversary is its own. */
#ifndef WB_CLUSTER_TESTS_ADVERSARY_H
#define WB_CLUSTER_TESTS_ADVERSARY_H

#include <stdbool.h>
#include <stdint.h>

struct adversary_numbers {
    uint64_t row_locks;   /* on rows of wb.entry */
    uint64_t fence_locks; /* on rows of wb.flush_state */
    uint64_t table_locks;
    uint64_t refused; /* times that it was the adversary who had to give way: a deadlock, a time limit */
    uint64_t held_max_ms;
    uint64_t held_ms; /* all together */
};

struct adversary;

/* Start in the database of @dsn (borrowed until adversary_stop), in a cluster of @groups groups. Each lock is
 * kept for at most @hold_max_ms, and between two there are at most @pause_max_ms without one. */
struct adversary *adversary_start(
    const char *dsn, unsigned groups, uint64_t seed, unsigned hold_max_ms, unsigned pause_max_ms);
/* No lock is held any more when this returns. NULL is allowed. */
struct adversary_numbers adversary_stop(struct adversary *a);

#endif
