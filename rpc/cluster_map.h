/* What a client knows of its cluster: which nodes there are, and which of them leads the group of a slot.
 * Pure.
 *
 * It learns from three sources: the addresses that the user gave (seeds), Topology answers, and the address
 * in a NOT_LEADER answer. None of them is certain: an answer can be older than the last election. So the
 * owner says which nodes it cannot reach at present (doubt), and a Topology answer that names such a node
 * does not replace a leader that can be reached. And what a node said about itself (NOT_LEADER, and who is)
 * is firm: only the named node's own words, or doubt about it, open it to Topology answers again. */
#ifndef WB_RPC_CLUSTER_MAP_H
#define WB_RPC_CLUSTER_MAP_H

#include "proto/client.pb-c.h"
#include "proto/limits.h"
#include "rpc/address.h"

enum { CLUSTER_MAP_NODES_MAX = 32, CLUSTER_MAP_NOBODY = -1 };

struct cluster_node {
    char address[ADDRESS_TEXT_BYTES];      /* HOST:PORT, as it was given */
    char peer_address[ADDRESS_TEXT_BYTES]; /* "" when not known */
    uint64_t id;                           /* 0 when not known */
    bool member;   /* named by the last Topology answer; a seed may be another name of a member */
    bool doubtful; /* cannot be reached at present, says the owner */
};

struct cluster_map {
    struct cluster_node nodes[CLUSTER_MAP_NODES_MAX]; /* a node keeps its index */
    unsigned n_nodes;
    uint32_t group_count;          /* 0: nothing is known yet */
    int16_t leaders[LIMIT_GROUPS]; /* node index, or CLUSTER_MAP_NOBODY */
    bool firm[LIMIT_GROUPS];       /* learned from a NOT_LEADER answer */
};

void cluster_map_init(struct cluster_map *map);

/* Remember @address (HOST:PORT with a host and a port above 0). Returns the node's index, also when it was
 * known; CLUSTER_MAP_NOBODY when it is not valid or there is no room. */
int cluster_map_add(struct cluster_map *map, struct bytes address);

/* Learn from a Topology answer. CORRUPT, and nothing changes: it contradicts itself (no or too many groups, a
 * group beyond the count, a leader that is no node, no usable address) or says another group count than was
 * learned. */
enum status cluster_map_learn(struct cluster_map *map, const Wbrpc__TopologyReply *reply);

/* The node that leads @group, or CLUSTER_MAP_NOBODY. @group is below group_count. */
int cluster_map_leader(const struct cluster_map *map, uint32_t group);
/* A NOT_LEADER answer for @group named @address. Returns the node's index, or CLUSTER_MAP_NOBODY when the
 * address is of no use (the leader is then not known). */
int cluster_map_redirect(struct cluster_map *map, uint32_t group, const char *address);
/* @node said that it does not lead @group, and not who does. Another node's leadership is not touched. */
void cluster_map_forget(struct cluster_map *map, uint32_t group, int node);

/* @node, asked as @group's leader, could not serve: a Topology answer may name another. */
void cluster_map_shake(struct cluster_map *map, uint32_t group, int node);

void cluster_map_doubt(struct cluster_map *map, int node, bool doubtful);

/* The group of @slot. Only when group_count is known. */
uint32_t cluster_map_group(const struct cluster_map *map, uint16_t slot);

#endif
