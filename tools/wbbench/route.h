/* Who leads which group, as far as known: the nodes of the cluster and a leader for each group. Pure. */
#ifndef WB_TOOLS_WBBENCH_ROUTE_H
#define WB_TOOLS_WBBENCH_ROUTE_H

#include "proto/client.pb-c.h"
#include "tools/wbbench/node_list.h"

enum { ROUTE_NONE = NODE_NONE };

struct route {
    struct node_list nodes;
    uint32_t group_count;         /* 0: no topology yet */
    int8_t leaders[LIMIT_GROUPS]; /* an index in nodes, or ROUTE_NONE */
};

/* Take the nodes of "HOST:PORT,HOST:PORT,...". False when there is none, or too many, or one is too long. */
bool route_init(struct route *r, const char *cluster);
/* Learn from a node's answer. False when it makes no sense. */
bool route_learn(struct route *r, const Wbrpc__TopologyReply *reply);
/* The group of @key. Only after a topology. */
uint32_t route_group(const struct route *r, struct bytes key);
/* Node @node cannot be reached: it leads nothing any more, as far as we know. */
void route_forget_node(struct route *r, int node);

#endif
