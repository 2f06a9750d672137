/* A Redis client's connections to all nodes, without any cleverness of its own: bytes out, replies in, with
 * deadlines. What is known about a connection that was lost is said exactly. Threading: one thread each. */
#ifndef WB_CLUSTER_TESTS_REDIS_CLIENT_H
#define WB_CLUSTER_TESTS_REDIS_CLIENT_H

#include "cluster-tests/cluster.h"
#include "cluster-tests/redis/wire.h"

struct redis_client {
    unsigned nodes;
    bool readonly; /* every connection begins with READONLY */
    struct redis_node {
        struct wire wire;
        unsigned timeout_ms; /* of the socket */
        uint64_t opened;     /* how many times; it tells connections apart */
    } node[CLUSTER_NODES_MAX];
};

/* @addresses: "HOST:PORT,HOST:PORT"; nothing is connected yet. */
void redis_client_init(struct redis_client *c, const char *addresses, bool readonly);
void redis_client_deinit(struct redis_client *c);

/* Is there a connection to @node that the other side has not ended, so far as is known? It is made when there
 * is none, or only an ended one. False: it is refused. */
bool redis_client_connect(struct redis_client *c, unsigned node);
/* Send over the connection that there is. False: it is lost, and what was sent may have been read, or not. */
bool redis_client_send(struct redis_client *c, unsigned node, struct bytes commands);
/* Wait for one reply; it lives until the next call for this node. False: it did not come within about
 * @timeout_ms, or the connection ended; it is closed now. */
bool redis_client_receive(struct redis_client *c, unsigned node, unsigned timeout_ms, struct reply *out);
/* Give the connection up, if there is one. */
void redis_client_drop(struct redis_client *c, unsigned node);

/* The node that the error MOVED in @reply names; -1: it is no such error, or no node of ours. */
int redis_client_moved_to(const struct redis_client *c, const struct reply *reply);

#endif
