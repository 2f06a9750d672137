/* What local commands may know of the node and the cluster: filled in by the dispatcher for one command, or
 * held as functions where it would be dear. Plain data. */
#ifndef WB_NODE_REDIS_NODE_VIEW_H
#define WB_NODE_REDIS_NODE_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"
#include "proto/limits.h"

struct redis_client;

enum { REDIS_NODE_ID_CHARS = 40 };

struct redis_view_node {
    char id[REDIS_NODE_ID_CHARS + 1]; /* hex; the same whoever says it */
    char host[64];
    unsigned port;      /* Redis' port */
    unsigned peer_port; /* for the bus port in CLUSTER NODES */
    bool heard;         /* it is this node, or was heard of lately */
};

/* What CLIENT LIST shows of one connection. */
struct redis_view_client {
    const struct redis_client *client;
    int fd;
    uint64_t age_s, idle_s;
    size_t input_bytes, input_free_bytes, output_bytes, memory_bytes;
};

/* One group as the section `# WriteBehind` of INFO shows it. */
struct redis_view_group {
    bool leads, serves; /* this node leads it; and may serve */
    uint64_t term, applied_index, flushed_index, dirty_entries, dirty_bytes, oldest_dirty_ms, quarantined,
        lost, entries, memory_bytes, rows_flushed, expiring, hits, misses, evicted, expired, writes, loads;
    bool paused, recovering;
    const char *flush_state, *flush_error; /* "" when none */
    int64_t fresh_as_of_us;
};

struct redis_node_view {
    /* the cluster */
    const struct redis_view_node *nodes;
    unsigned n_nodes, self; /* an index into nodes */
    uint32_t group_count;
    const unsigned *leader;   /* of each group: an index into nodes; the last known one during an election */
    const bool *leader_known; /* of each group: there is one now, as far as this node knows */
    uint64_t epoch;           /* rises with each change of leaders */
    unsigned replicas_acknowledged; /* followers that have what was acknowledged: quorum - 1 */
    const char *cluster_name;
    /* the node */
    const char *version; /* of wbcache */
    uint64_t process_id, uptime_s, now_us /* since 1970 */;
    const char *run_id; /* 40 hex, another one at each start */
    uint64_t connections, connections_total, connections_max, commands_total, memory_bytes, memory_max_bytes,
        cache_bytes, client_bytes;
    unsigned port;
    const char *config_file;
    const char *data_dir;
    unsigned idle_timeout_s; /* of connections; 0: never */
    double cpu_user_s, cpu_system_s;

    void *data;
    void (*group)(void *data, uint32_t group, struct redis_view_group *out);
    void (*each_client)(void *data, void (*visit)(void *visit_data, const struct redis_view_client *client),
        void *visit_data);
    /* Keys in this node's memory, of the groups that it leads (@all: of all groups): see state_scan. Cursors
     * are this node's own; 0 begins and ends. @visit gets a key's name, type and slot. */
    uint64_t (*scan)(void *data, uint64_t cursor, uint32_t looks, bool all,
        void (*visit)(void *visit_data, struct bytes key, uint8_t type), void *visit_data);
    uint64_t (*key_count)(void *data, bool all);
};

#endif
