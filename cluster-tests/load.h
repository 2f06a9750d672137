/* Writers: threads that write through libwbcache, each with a handle of its own, and enter every outcome in a
 * ledger. Threading: the calls below from one thread; the writers are their own. */
#ifndef WB_CLUSTER_TESTS_LOAD_H
#define WB_CLUSTER_TESTS_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "cluster-tests/ledger.h"

enum { LOAD_THREADS_MAX = 64, LOAD_GROUPS_MAX = 16 };

struct load_config {
    const char *cluster;   /* addresses; borrowed until load_stop */
    struct ledger *ledger; /* borrowed until load_stop */
    unsigned groups;       /* of the cluster */
    unsigned threads;      /* 0: 2 for each group */
    unsigned pipeline;     /* writes under way for each thread; 0 or 1: blocking calls */
    bool shared_keys; /* every thread writes every key; else thread t writes keys of group t % groups, its own
                         ones */
    unsigned value_bytes;       /* 0: LEDGER_VALUE_BYTES_MIN */
    unsigned deadline_ms;       /* of each write; 0: 3000 */
    unsigned writes_per_second; /* by all threads together; 0: as fast as possible */
};

struct load_numbers {
    uint64_t acknowledged;
    uint64_t unknown;
    uint64_t refused;
    uint64_t latency_max_ms; /* of an acknowledged write, since load_watch_gaps */
    char error[160];         /* the newest outcome that was not OK, in words */
};

struct load;

/* Start writing. Heap object; never NULL. */
struct load *load_start(const struct load_config *config);
/* End: every write under way gets its outcome (by its deadline), all threads are joined, @l is freed. NULL is
 * allowed. */
struct load_numbers load_stop(struct load *l);

struct load_numbers load_numbers(struct load *l);
/* Acknowledged writes to @group since the start. */
uint64_t load_acknowledged(struct load *l, unsigned group);
/* Wait until @n more writes are acknowledged, to each group (@group < 0) or to @group. False after
 * @timeout_ms. */
bool load_await(struct load *l, int group, uint64_t n, unsigned timeout_ms);

/* Begin to measure, for each group, the longest time between two acknowledgements; the clock starts now. */
void load_watch_gaps(struct load *l);
/* The longest gap of @group since then, the one that is open now included. */
uint64_t load_gap_ms(struct load *l, unsigned group);
/* The longest gap of any group. */
uint64_t load_longest_gap_ms(struct load *l);

#endif
