/* Who leads which group, as far as known: the nodes of the cluster and a leader for each group. Pure. */
#ifndef WB_TOOLS_WBBENCH_ROUTE_H
#define WB_TOOLS_WBBENCH_ROUTE_H

#include "proto/base/bytes.h"
#include "proto/client.pb-c.h"
#include "proto/limits.h"

enum { ROUTE_NONE = -1, ROUTE_ADDRESS_BYTES = 300 };

struct route {
    unsigned n_nodes;
    char addresses[LIMIT_NODES][ROUTE_ADDRESS_BYTES];
    uint32_t group_count;         /* 0: no topology yet */
    int8_t leaders[LIMIT_GROUPS]; /* an index in addresses, or ROUTE_NONE */
};

/* Take the nodes of "HOST:PORT,HOST:PORT,...". False when there is none, or too many, or one is too long. */
bool route_init(struct route *r, const char *cluster);
/* The index of the node at @address, added when it is new; ROUTE_NONE when there is no room. */
int route_node(struct route *r, struct bytes address);
/* Learn from a node's answer. False when it makes no sense. */
bool route_learn(struct route *r, const Wbrpc__TopologyReply *reply);
/* The group of @key. Only after a topology. */
uint32_t route_group(const struct route *r, struct bytes key);
/* Node @node cannot be reached: it leads nothing any more, as far as we know. */
void route_forget_node(struct route *r, int node);

#endif
