/* Whether the nodes came through something as they were: the same processes and terms, no more memory and log
 * than allowed. Calls fail the running test. Threading: the test's main thread. */
#ifndef WB_CLUSTER_TESTS_HEALTH_H
#define WB_CLUSTER_TESTS_HEALTH_H

#include "cluster-tests/cluster.h"

struct health {
    pid_t pids[CLUSTER_NODES_MAX + 1]; /* by node number, as all that follows */
    uint64_t resident_bytes[CLUSTER_NODES_MAX + 1];
    long log_bytes[CLUSTER_NODES_MAX + 1];
    uint64_t terms; /* of all groups, added up */
};

/* How the nodes are now. Every group must have a ready leader. */
struct health health_of(struct cluster *c);
/* The same processes run, nobody was elected since @before, no node's memory and log grew beyond this. */
void health_expect(struct cluster *c, const struct health *before, uint64_t memory_growth_max_bytes,
    long log_growth_max_bytes);

#endif
