/* Random trouble for a real cluster: leaders are killed, stopped in the middle of whatever they do, and led
 * away. Calls fail the running test when the tools do. Threading: the test's main thread. */
#ifndef WB_CLUSTER_TESTS_FAULTS_H
#define WB_CLUSTER_TESTS_FAULTS_H

#include "cluster-tests/cluster.h"

enum fault_state { FAULT_NONE, FAULT_KILLED, FAULT_PAUSED, FAULT_STOPPED };

struct faults {
    struct cluster *cluster;
    uint64_t random;
    struct {
        enum fault_state state;
        uint64_t until_ms;          /* boot time, when it is repaired */
    } nodes[CLUSTER_NODES_MAX + 1]; /* by node number */
    /* So far. */
    uint64_t kills, pauses, hand_overs;
    uint64_t no_quorum; /* times that a second node of three was hurt as well */
};

/* All nodes of @cluster run, and are left alone until faults_run. */
void faults_init(struct faults *f, struct cluster *cluster);
/* For @ms: hurt nodes, mostly leaders, at moments and in ways that @seed brings (and the cluster: who leads),
 * and repair them after a while. Some may still be hurt at the end. */
void faults_run(struct faults *f, uint64_t seed, unsigned ms);
/* Repair what is hurt; returns when every group has a ready leader. */
void faults_heal(struct faults *f);

#endif
