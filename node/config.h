/* The node's configuration file: what an operator writes, checked once at start. The file's words are
 * explained in wbnode.conf.example; the format is libconfuse's. Part of the shell. */
#ifndef WB_NODE_CONFIG_H
#define WB_NODE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/log.h"
#include "proto/base/status.h"
#include "proto/limits.h"

struct config_node {
    uint64_t id;
    char *peer;   /* HOST:PORT, an IPv6 host in brackets */
    char *client; /* the same */
    char *redis;  /* the same; NULL: no node has one */
};

struct config_raft {
    unsigned election_timeout_ms;
    unsigned heartbeat_ms;
    uint64_t snapshot_log_bytes;
    unsigned snapshot_trailing; /* log entries */
    unsigned spread_stable_ms;  /* 0: leaders are not spread */
};

struct config_flush {
    unsigned age_ms;
    unsigned batch_rows;
    uint64_t batch_bytes;
    unsigned in_flight;
    unsigned retry_min_ms;
    unsigned retry_max_ms;
    unsigned connect_timeout_ms;
    unsigned lock_timeout_ms;      /* also how long an old leader's backend may keep the fence; 0: 5,000 */
    unsigned statement_timeout_ms; /* 0: 30,000 */
    unsigned expiry_sweep_ms;      /* 0: never */
    unsigned note_ms;              /* how often an idle group looks at the fence, and says how fresh it is */
    uint64_t retention_bytes;      /* of each group */
    unsigned retention_s;          /* 0: flushed keys are not kept */
    unsigned connections;          /* that the flushes of this node's groups share */
    unsigned quarantine_retry_min_ms;
    unsigned quarantine_retry_max_ms;
};

struct config_redis {
    unsigned request_timeout_ms; /* a command without an outcome by then is answered with an error */
    unsigned leader_wait_ms;     /* so long a command waits for its group to have a leader again */
};

struct config_limits {
    uint64_t memory_max;    /* bytes: keys, values and their overhead, in all groups */
    uint64_t dirty_bytes;   /* of each group */
    uint64_t dirty_entries; /* of each group */
    uint64_t sessions;      /* of each group */
    uint64_t session_bytes; /* of each group */
    unsigned connections;
    unsigned requests_per_connection;
    uint64_t output_bytes;     /* of each connection */
    uint64_t client_bytes;     /* of all connections together */
    unsigned idle_timeout_ms;  /* 0: never */
    unsigned frame_timeout_ms; /* 0: never */
    uint64_t disk_free_min_bytes;
};

struct config {
    char *path; /* of the file */
    char *cluster;
    uint64_t node_id;
    char *data_dir;
    unsigned groups;
    char *database; /* a connection string for libpq */
    char *schema;   /* a plain SQL identifier: lower case, needs no quotes */
    enum log_level log_level;
    bool allow_few_nodes;
    bool watch;                            /* hear of rows that others change */
    struct config_node nodes[LIMIT_NODES]; /* in the file's order; node_id's is one of them */
    unsigned n_nodes;
    struct config_raft raft;
    struct config_flush flush;
    struct config_redis redis;
    struct config_limits limits;
};

/* Read the file at @path. OK: *@out is set and owns its strings until config_deinit.
 * Otherwise *@out is untouched, and @errmsg (of @len bytes) says what is wrong, beginning with FILE:LINE:
 * INVALID for what the file says, IO when it cannot be read (then without a line).
 * Not reentrant across threads: libconfuse's scanner is not. */
enum status config_load(const char *path, struct config *out, char *errmsg, size_t len);
/* Free the strings of a loaded configuration. */
void config_deinit(struct config *config);

/* The entry of node_id itself. Borrowed from @config. */
const struct config_node *config_self(const struct config *config);

#endif
