/* The whole cluster in one process, on a virtual clock: real Raft, the real group cores, a fake database,
 * clients, and faults drawn from a seed. A seed is a run, byte for byte.
 *
 *   clients --latency--> node: seats (group core + replica on sim_io) --fake_client--> fake database
 *                                  \--sim_net--> other nodes
 * After every step the history (sim_history.h) checks what happened; at the end everything is healed, and
 * what the clients were told is compared with what the cluster and the database hold. */
#ifndef WB_SIM_SIM_H
#define WB_SIM_SIM_H

#include <stdio.h>

#include "cluster-tests/sim/fake_db.h"
#include "cluster-tests/sim/sim_history.h"
#include "cluster-tests/sim/sim_io.h"
#include "node/group.h"
#include "raft/replica.h"

enum {
    SIM_CLIENTS_MAX = 6,
    SIM_OP_KEYS_MAX = 4,
    SIM_BURST_MAX = 6,
    SIM_TRACE_LINES = 60,
    SIM_TRACE_BYTES = 200
};

struct sim_config {
    uint64_t seed;
    unsigned steps;             /* faults; 0: 60 */
    enum fake_db_defect defect; /* what the database does wrong, to see it caught */
    bool defect_lease;          /* reads do not ask for the lease */
    FILE *trace;                /* every line; NULL: none */
};

struct sim_result {
    bool failed;
    char failure[512];
    char trace[SIM_TRACE_LINES][SIM_TRACE_BYTES]; /* the last lines, oldest first */
    unsigned trace_lines;
    uint64_t trace_hash; /* of all lines: equal for equal runs */
    /* What the run reached. */
    uint64_t virtual_ms, entries, writes, acknowledged, unknown, refused, reads, commits, flushed_rows,
        lost_answers, takes, takes_that_waited, refused_by_fence, offices, crashes, many_keys,
        snapshots_installed, deep_pipelines;
};

void sim_run(const struct sim_config *config, struct sim_result *result);

/* ---- Between the files of the simulator ---- */

struct sim;
struct sim_node;

struct sim_seat {
    struct sim_node *node;
    uint32_t index;
    struct sim_disk disk;
    struct sim_io io;
    struct replica replica;
    struct group *group;
    struct fake_flusher flusher;
    struct fake_loader loader;
    bool closed;
    bool starting;
    uint64_t gate_term; /* 0: closed */
};

struct sim_node {
    struct sim *sim;
    unsigned index;
    struct sim_gate gate;
    bool alive;    /* a process runs */
    bool crashing; /* power is off, its memory is being released */
    uint64_t boot_offset_ms;
    int64_t wall_offset_ms;
    struct sim_seat seats[SIM_GROUPS_MAX];
    struct sim_event turn, wake, fate; /* fate: restart or resume */
};

struct sim_op {
    struct list link; /* in sim->ops */
    struct sim *sim;
    struct sim_client *client; /* NULL: it gave up waiting */
    unsigned node;
    uint32_t group;
    unsigned n;
    unsigned keys[SIM_OP_KEYS_MAX];
    uint64_t serials[SIM_OP_KEYS_MAX];
    uint64_t floors[SIM_KEYS_MAX]; /* of the op's keys; of a flush: of all keys */
    char texts[SIM_OP_KEYS_MAX][32];
    struct bytes names[SIM_OP_KEYS_MAX], values[SIM_OP_KEYS_MAX];
    struct group_result results[SIM_OP_KEYS_MAX];
    struct group_request request;
    struct sim_event travel, patience;
    bool submitted; /* the group has the request */
};

struct sim_client {
    struct sim *sim;
    unsigned index;
    bool reader; /* asks every node, and often: it would see a leader that does not know that it is none */
    unsigned waiting; /* ops of the burst that are not answered */
    unsigned leader[SIM_GROUPS_MAX];
    struct sim_event think;
};

struct sim {
    const struct sim_config *config;
    struct sim_result *result;
    struct sim_clock clock;
    struct sim_net net;
    struct fake_db db;
    struct sim_history history;
    unsigned n_nodes, n_groups, n_clients, n_keys;
    struct group_config group_config;
    struct replica_config replica_config;
    struct sim_node nodes[SIM_NODES_MAX];
    struct sim_client clients[SIM_CLIENTS_MAX];
    struct list ops;
    bool calm;  /* no more faults, no more writes */
    bool quiet; /* no more trace: it is over */
    unsigned faults_left;
    struct sim_event fault, weather;
    struct sim_node *turned; /* the node whose turn was the last step */
};

void sim_trace(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* sim_node.c */
void sim_node_init(struct sim *sim, unsigned index);
void sim_node_boot(struct sim_node *n);
void sim_node_crash(struct sim_node *n);
void sim_node_pause(struct sim_node *n);
void sim_node_resume(struct sim_node *n);
/* Something happened in this process: its loop will turn. */
void sim_node_touch(struct sim_node *n);
void sim_node_deinit(struct sim_node *n);
uint64_t sim_node_now_ms(const struct sim_node *n);

/* sim_client.c */
void sim_client_init(struct sim *sim, unsigned index);
/* Read @key at node @node on nobody's behalf; the history checks the answer. */
void sim_read(struct sim *sim, unsigned key, unsigned node);
void sim_ops_deinit(struct sim *sim);

/* sim_faults.c */
void sim_faults_start(struct sim *sim);
void sim_faults_stop(struct sim *sim);

#endif
