/* Which node of a Redis cluster has which slot, and so which of the load's keys. Pure. Source: the Redis
 * Cluster specification (CLUSTER SLOTS, MOVED). */
#ifndef WB_TOOLS_WBBENCH_REDIS_MAP_H
#define WB_TOOLS_WBBENCH_REDIS_MAP_H

#include "tools/wbbench/node_list.h"
#include "tools/wbbench/redis_reply.h"

struct redis_map {
    struct node_list nodes;
    int8_t owners[SLOT_COUNT]; /* an index in nodes, or NODE_NONE */
};

/* The nodes of "HOST:PORT,..."; no slot is known. False: see node_list_init. */
bool redis_map_init(struct redis_map *m, const char *servers);
/* All slots are @node's: a server that is no cluster. */
void redis_map_give_all(struct redis_map *m, int node);
/* Learn the masters from what node @asked answered to CLUSTER SLOTS. A master without a host is on the host
 * of
 * @asked. False, and nothing changes but for new nodes, when it makes no sense or leaves a slot without a
 * node. */
bool redis_map_learn(struct redis_map *m, int asked, const struct redis_reply *slots);
/* Learn from an error of node @asked. False when it is no MOVED that makes sense; else *@node is where to go.
 */
bool redis_map_moved(struct redis_map *m, int asked, struct bytes error, int *node);

/* The keys 0, 1, 2, ... by the node that has their slots. */
struct redis_keys {
    uint32_t count;
    uint16_t *slots; /* of each key; NULL: all in slot 0 */
    uint32_t *by_node;
    uint32_t first[LIMIT_NODES + 1]; /* node n has by_node[first[n]] to by_node[first[n + 1] - 1] */
};

/* @slots (owned from now on, from malloc) has @count elements, or is NULL. redis_keys_sort must follow. */
void redis_keys_init(struct redis_keys *k, uint32_t count, uint16_t *slots);
void redis_keys_deinit(struct redis_keys *k);
/* Sort them by @map, in which every slot has a node. */
void redis_keys_sort(struct redis_keys *k, const struct redis_map *map);
uint32_t redis_keys_of(const struct redis_keys *k, int node); /* how many */
/* The @i-th of @node's. */
uint32_t redis_keys_at(const struct redis_keys *k, int node, uint32_t i);

#endif
