/* The front door: turns decoded client requests into group requests, and their outcome into responses. */
#ifndef WB_NODE_FRONT_H
#define WB_NODE_FRONT_H

#include "node/group.h"
#include "rpc/server.h"

/* What the front door needs to know of the node around it. */
struct front_ops {
    /* The group @group of this node (below group_count). */
    struct group *(*group)(void *data, uint32_t group);
    /* HOST:PORT for clients of the leader of @group, or NULL when it is not known or is this node. */
    const char *(*leader_address)(void *data, uint32_t group);
    /* Fill what is asked about the cluster and the node; pointers must live until the response is packed. */
    void (*topology)(void *data, struct arena *arena, Wbrpc__TopologyReply *out);
    void (*status)(void *data, struct arena *arena, Wbrpc__StatusReply *out);
    /* Let the flushes of this node share so many connections from now on. NULL: they cannot be changed. */
    void (*set_database_connections)(void *data, unsigned connections);
};

struct front {
    const struct front_ops *ops;
    void *data;
    uint32_t group_count;
    uint16_t scan_tag; /* random: cursors of scans are this process's own */
    bool closing;      /* refuse everything new as SHUTTING_DOWN */
};

/* The server's on_request; @data is the front. */
void front_on_request(void *data, struct rpc_request *request);

#endif
