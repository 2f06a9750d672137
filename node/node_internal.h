/* Inside of a node, for the files node*.c only. */
#ifndef WB_NODE_NODE_INTERNAL_H
#define WB_NODE_NODE_INTERNAL_H

#include "flush/pg_flusher.h"
#include "flush/pg_loader.h"
#include "flush/pg_watcher.h"
#include "node/front.h"
#include "node/front_redis.h"
#include "node/group.h"
#include "node/node.h"
#include "raft/raft_host.h"
#include "rpc/resp_server.h"
#include "rpc/server.h"

/* What the log was told of a group. */
struct seat_news {
    uint64_t rewinds, lost, quarantined;
    uint64_t quarantine_at_ms; /* not again before */
    bool recovering;
    bool flushes;
};

/* One group of this node with what stands around it. */
struct seat {
    struct node *node;
    uint32_t index;
    struct group *group;
    struct pg_flusher *flusher;
    struct seat_news news;
    uint64_t replay_until; /* the last index that our disk held at the start: how old these entries are is not
                              known */
};

/* The port for clients of Redis, if there is one, and what is told there of the cluster. */
struct node_redis {
    struct front_redis *front; /* NULL: there is none */
    struct resp_server *server;
    struct redis_view_node nodes[LIMIT_NODES]; /* in the configuration's order */
    unsigned self;                             /* an index into them */
    unsigned leader[LIMIT_GROUPS];             /* likewise: the last leader that was known of each group */
    bool leader_known[LIMIT_GROUPS];
    char run_id[40 + 1];
    uint64_t resident_bytes, resident_ms; /* and when that was looked at */
};

struct node {
    uv_loop_t *loop;
    const struct config *config;
    const struct logger *logger;
    struct seat *seats;
    struct raft_host *raft;
    struct pg_loader *loader;
    struct flush_slots slots;   /* the connections of the seats' flushers */
    struct pg_watcher *watcher; /* NULL: not configured */
    bool watched;               /* the watcher hears of changes by others */
    struct rpc_server *server;
    struct front front;
    struct node_redis redis;
    unsigned servers; /* ports to be closed */
    uv_prepare_t prepare;
    uv_timer_t timer;
    bool replaying; /* raft_host_start is applying what is on disk */
    bool stopping;
    bool hurried;
    unsigned closing; /* database handles and our own, still to close */
    uint64_t started_ms;
    uint64_t turned_ms; /* the last turn; ticks make sure that one comes every few milliseconds */
};

/* ---- node_seat.c: each group with what it asks of the node, and what its replica tells it ---- */

/* Make the loader, and a seat for every group. False: the schema's name is not valid. */
bool node_make_seats(struct node *n, bool adopt);
/* The time limits of this node's sessions in the database. */
struct pg_limits node_database_limits(const struct config *config);
struct replica *seat_replica(const struct seat *s);
extern const struct replica_ops seat_replica_ops; /* data: the seat */

/* ---- node_memory.c: memory_max ---- */

/* What the groups hold in memory for keys. */
uint64_t node_memory(const struct node *n);
/* Forget clean entries while that is more than memory_max, for as long as one turn of the loop may take.
 * True: there is more to do. */
bool node_evict(struct node *n);

/* ---- node_watch.c: writers beside us ---- */

/* Listen to the database, if so configured. The seats are made. */
void node_watch(struct node *n);

/* ---- node_news.c ---- */

/* Log what has become of the groups since the last call. */
void node_tell_news(struct node *n, uint64_t now_ms);

/* ---- node_status.c: what the front door asks ---- */

extern const struct front_ops node_front_ops; /* data: the node */
/* The memory of this process. */
uint64_t node_resident_bytes(void);

/* ---- node_redis.c: the port for clients of Redis ---- */

/* Open it, if the configuration has one. */
enum status node_start_redis(struct node *n, char *errmsg, size_t len);

#endif
