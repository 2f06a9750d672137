/* Who serves which slot of a cluster, as its CLUSTER SLOTS says. */
#ifndef WB_CLUSTER_TESTS_REDIS_ROUTER_H
#define WB_CLUSTER_TESTS_REDIS_ROUTER_H

#include "cluster-tests/redis/wire.h"
#include "proto/limits.h"

enum { ROUTER_NODES_MAX = 9, ROUTER_NOBODY = 255 };

struct router {
    unsigned n;
    char addresses[ROUTER_NODES_MAX][WIRE_ADDRESS_BYTES];
    uint8_t node_of[SLOT_COUNT]; /* an index into addresses, or ROUTER_NOBODY */
};

/* Ask one of @addresses ("HOST:PORT,HOST:PORT") that answers. False: nobody does, or the answer is no map of
 * all slots;
 * @error says why. */
bool router_ask(struct router *r, const char *addresses, char *error, size_t error_len);
/* The index of the node that serves @key. */
unsigned router_node(const struct router *r, struct bytes key);

#endif
