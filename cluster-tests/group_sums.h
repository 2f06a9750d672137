/* What the leaders of all groups say of quarantine, losses and time travels, put together. Main thread only.
 */
#ifndef WB_CLUSTER_TESTS_GROUP_SUMS_H
#define WB_CLUSTER_TESTS_GROUP_SUMS_H

#include "cluster-tests/cluster.h"
#include "cluster-tests/load.h"

struct group_sums {
    uint64_t dirty; /* entries, in all groups, like the next two */
    uint64_t quarantined;
    uint64_t lost;
    uint64_t evicted;                  /* by the leaders since their start */
    unsigned recovering;               /* groups */
    uint64_t rewinds[LOAD_GROUPS_MAX]; /* by group, like the next */
    uint64_t flushed_index[LOAD_GROUPS_MAX];
};

/* False, and *@out is not set, when not every group has a ready leader that answers. */
bool group_sums(struct cluster *c, struct group_sums *out);

/* The same, waiting for the leaders. */
void group_sums_wait(struct cluster *c, struct group_sums *out);

/* Wait until so many rows are in quarantine, and nothing else is dirty. */
void group_sums_wait_quarantined(struct cluster *c, uint64_t quarantined, unsigned timeout_ms);
/* Wait until every group has gone back to where the database is more often than in @before. */
void group_sums_wait_rewound(struct cluster *c, const struct group_sums *before, unsigned timeout_ms);
/* Wait until no group is recovering: F is again where it was. */
void group_sums_wait_recovered(struct cluster *c, unsigned timeout_ms);

#endif
