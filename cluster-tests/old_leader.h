/* One key whose leader is replaced: who writes it, and a crowd that reads it at the old leader. For the tests
 * that no leader answers a read with an old value. Calls fail the running test when the cluster does not do
 * its part. Threading: the test's main thread, but for what is said of old_leader_newest. */
#ifndef WB_CLUSTER_TESTS_OLD_LEADER_H
#define WB_CLUSTER_TESTS_OLD_LEADER_H

#include <stdatomic.h>

#include "cluster-tests/asker.h"
#include "cluster-tests/pinned.h"

enum { OLD_LEADER_CROWD_MAX = 64, OLD_LEADER_DEADLINE_MS = 2000 };

struct old_leader {
    struct cluster *cluster;
    unsigned group;
    char key[ASKER_KEY_BYTES];
    _Atomic uint64_t newest; /* the version of the newest write that was acknowledged; any thread */
    uint64_t writes;
    uint64_t asked, ok, old; /* of all crowds that were sent away */
    char problem[160];       /* the first old answer, in words */
    struct pinned *crowd[OLD_LEADER_CROWD_MAX];
    unsigned n_crowd;
};

/* A key of @group. */
void old_leader_init(struct old_leader *o, struct cluster *cluster, unsigned group);
/* Write a new value at whichever node leads by now, but not at @not_node (0: it may be any). Returns when it
 * is acknowledged. */
void old_leader_write(struct old_leader *o, unsigned not_node);
/* @n connections to @node. */
void old_leader_crowd(struct old_leader *o, unsigned node, unsigned n);
/* Each of the crowd asks @n times, for nothing older than what is the newest now. */
void old_leader_ask(struct old_leader *o, unsigned n);
/* Take the answers that come until all are there, or @ms have passed. */
void old_leader_listen(struct old_leader *o, unsigned ms);
/* Hang up; the crowd's answers are counted. Harmless without one. */
void old_leader_send_away(struct old_leader *o);
/* All is well: the group has a ready leader, @node has caught up, and what is read is what was written last.
 */
void old_leader_expect_well(struct old_leader *o, unsigned node);

#endif
