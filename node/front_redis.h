/* The Redis front door: commands become transactions of groups, and their outcome replies. A shell beside
 * front.h; what commands mean is in node/redis/. */
#ifndef WB_NODE_FRONT_REDIS_H
#define WB_NODE_FRONT_REDIS_H

#include "node/group.h"
#include "node/redis/node_view.h"
#include "rpc/resp_server.h"

/* What it needs to know of the node around it. */
struct front_redis_ops {
    struct group *(*group)(void *data, uint32_t group);
    /* Fill what does not change from command to command, or is cheap: everything but the functions and
     * `data`. Pointers live until the next call. */
    void (*view)(void *data, struct redis_node_view *out);
    /* The node that leads @group as of now, as an index into the view's nodes; -1: not known. Cheap: clients
     * that know the cluster badly make it be asked for each command. */
    int (*leader)(void *data, uint32_t group);
    /* The term of this node's replica of @group. */
    uint64_t (*term)(void *data, uint32_t group);
};

struct front_redis;

struct front_redis_config {
    const struct front_redis_ops *ops;
    void *data;
    uint32_t group_count;
    unsigned request_timeout_ms; /* a command without an outcome by then is answered with an error */
    unsigned leader_wait_ms;     /* so long a command waits for its group to have a leader again, before it is
                                    answered     CLUSTERDOWN */
    size_t multi_bytes_max;      /* what MULTI may queue, for all connections together */
    uint64_t random_seed;
};

struct front_redis *front_redis_create(const struct front_redis_config *config);
/* No command may be under way. */
void front_redis_destroy(struct front_redis *f);

/* The resp_server's callbacks; their data is the front. */
void *front_redis_on_open(void *f, struct resp_conn *conn, uint64_t id, const char *peer, const char *local);
void front_redis_on_request(void *f, struct resp_request *request);
void front_redis_on_refused(void *f, void *client);
void front_redis_on_close(void *f, void *client);
/* The server whose connections CLIENT LIST shows. */
void front_redis_set_server(struct front_redis *f, const struct resp_server *server);
/* Refuse everything new, and what waits for a leader: the node goes. */
void front_redis_stop(struct front_redis *f);
/* In each turn of the loop, before the groups' turns: commands that wait for a leader are tried again, or
 * given up. */
void front_redis_turn(struct front_redis *f, uint64_t now_ms);
/* After them: when the next turn must come at the latest (UINT64_MAX: no need). */
uint64_t front_redis_wake_ms(const struct front_redis *f);

#endif
