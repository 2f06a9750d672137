/* The cluster as clients of Redis Cluster see it: which node is a master of which slots, and whose replica
 * the others are. CLUSTER SLOTS, SHARDS and NODES are told from here, so that they agree.
 *
 * A node that leads groups is the master of their slots. One that leads none is the replica of one that does
 * (they are dealt out in turn), although in truth every node follows every group that it does not lead. Every
 * slot is always covered: during an election by the leader before. Pure. */
#ifndef WB_NODE_REDIS_CLUSTER_VIEW_H
#define WB_NODE_REDIS_CLUSTER_VIEW_H

#include "node/redis/node_view.h"

/* The id of a node for Redis' clients, with its terminator: the same on all nodes and at all times, another
 * one for each node and each cluster's name. */
void cluster_view_node_id(const char *cluster_name, uint64_t node_id, char out[REDIS_NODE_ID_CHARS + 1]);

/* Slots that touch and have one master. */
struct cluster_range {
    unsigned master; /* an index into view->nodes */
    uint16_t first, last;
};

/* All slots, from the lowest on. @out has room for LIMIT_GROUPS. Returns how many ranges. */
unsigned cluster_view_ranges(const struct redis_node_view *view, struct cluster_range *out);
/* The master that @node is a replica of; @node itself when it is a master. */
unsigned cluster_view_master(const struct redis_node_view *view, unsigned node);
/* The node with this id, in lower case; n_nodes: there is none. */
unsigned cluster_view_find(const struct redis_node_view *view, struct bytes id);
/* Does this node hear a majority of all, itself included? */
bool cluster_view_majority(const struct redis_node_view *view);

#endif
