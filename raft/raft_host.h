/* All of a node's Raft groups: the data folder with its lock, the one peer port, a replica per group on
 * libuv's raft_io (wrapped), the spreading of leaders. The shell that the node talks to. Threading: the
 * loop's thread. */
#ifndef WB_RAFT_RAFT_HOST_H
#define WB_RAFT_RAFT_HOST_H

#include <uv.h>

#include "raft/replica.h"

struct raft_host;

struct raft_host_config {
    uv_loop_t *loop;
    const char *data_dir; /* created when missing; one process at a time (flock) */
    const char *cluster;  /* name: part of the peers' handshake, with group_count */
    uint64_t node_id;
    const struct replica_peer
        *peers; /* all nodes with ourselves; address is HOST:PORT for peers; the same order on all
                   nodes, since it says which group is at home where; copied */
    unsigned n_peers;
    uint32_t group_count;
    unsigned election_timeout_ms;
    unsigned heartbeat_ms;
    uint64_t snapshot_log_bytes;
    unsigned snapshot_trailing;
    uint64_t disk_free_min_bytes; /* below it replica_propose answers NO_SPACE */
    unsigned spread_stable_ms; /* a peer must have answered, and the group been led here, for so long before
                                  it is given the group; 0: no spreading */
    const struct logger *logger;
    /* For group @group: what to call, and with which data. group_data is called for each group before
     * raft_host_create returns. @ops is borrowed until closed. */
    const struct replica_ops *ops;
    void *(*group_data)(void *data, uint32_t group);
    void *data;
};

/* Lock the folder, check whose it is, listen, init every replica. On failure @errmsg says what is wrong and
 * what to do: a folder of another cluster, node id or group count, or one in use by another process, is
 * refused with words. After a failure some handles may still be closing: run the loop once more before you
 * close it. What a process must see to itself: SIGPIPE ignored, UV_THREADPOOL_SIZE at 16 or more (in the
 * environment, before the first use of the loop's pool), a high RLIMIT_NOFILE (the library crashes when
 * descriptors run out). */
enum status raft_host_create(
    const struct raft_host_config *config, struct raft_host **out, char *errmsg, size_t len);

/* Bootstrap (on a pristine folder), load and start every group. Synchronous: reads all that is on disk and
 * restores the snapshot; what follows the snapshot in the log applies once a leader says how far it is
 * committed. After a failure call raft_host_close. CORRUPT: @errmsg says how the node gets back. */
enum status raft_host_start(struct raft_host *host, char *errmsg, size_t len);

struct replica *raft_host_replica(struct raft_host *host, uint32_t group);

/* replica_poll for every group, and the spreading of leaders. Call it after each turn of the loop. */
void raft_host_poll(struct raft_host *host);

/* Hand over every group that we lead, each at most twice (they come back when the others stop as well); @cb
 * fires when there is nothing left to try or @timeout_ms passed, also when raft_host_close comes before. At
 * most one at a time. From now on this host takes no part in spreading the leaders. */
void raft_host_hand_over(struct raft_host *host, unsigned timeout_ms, void (*cb)(void *data), void *data);

/* Has any group of ours heard from @node_id within an election timeout? (Followers don't talk to each other:
 * of use on a node that leads.) */
bool raft_host_peer_answers(const struct raft_host *host, uint64_t node_id);

/* Close everything; @cb fires once, the host is freed after it. Also after a failed start. */
void raft_host_close(struct raft_host *host, void (*cb)(void *data), void *data);

#endif
