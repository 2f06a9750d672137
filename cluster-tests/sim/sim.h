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

#include "cluster-tests/history.h"
#include "cluster-tests/sim/fake_db.h"
#include "cluster-tests/sim/sim_defects.h"
#include "cluster-tests/sim/sim_history.h"
#include "cluster-tests/sim/sim_io.h"
#include "node/group.h"
#include "node/transaction.h"
#include "raft/replica.h"

enum {
    SIM_CLIENTS_MAX = 6,
    SIM_OP_KEYS_MAX = 4,
    SIM_BURST_MAX = 6,
    SIM_TRACE_LINES = 60,
    SIM_TRACE_BYTES = 200,
    SIM_COPIES = 8,
    SIM_DONE_MAX = 128
};

struct sim_config {
    uint64_t seed;
    unsigned steps;             /* faults; 0: 60 */
    unsigned outage_minutes;    /* instead: so long, by its own time, with trouble of the database's mostly */
    enum fake_db_defect defect; /* what the database does wrong, to see it caught */
    enum sim_defect node_defect; /* what the nodes or the clients do wrong, likewise */
    FILE *trace;                 /* every line; NULL: none */
    FILE *history;               /* what the clients saw, see history.h; NULL: not written */
};

/* What a run reached. X(name, text) */
#define SIM_COUNTS(X)                                                                                        \
    X(virtual_ms, "ms of virtual time")                                                                      \
    X(offices, "offices of leaders")                                                                         \
    X(crashes, "crashes")                                                                                    \
    X(clocks_set, "clocks set")                                                                              \
    X(entries, "log entries")                                                                                \
    X(writes, "writes in the log")                                                                           \
    X(many_keys, "entries with several writes")                                                              \
    X(snapshots_installed, "snapshots installed")                                                            \
    X(commits, "commits of the database")                                                                    \
    X(flushed_rows, "rows flushed")                                                                          \
    X(lost_answers, "commits that nobody heard of")                                                          \
    X(takes, "fences taken")                                                                                 \
    X(takes_that_waited, "of them, behind another transaction")                                              \
    X(refused_by_fence, "refused by the fence")                                                              \
    X(deep_pipelines, "entries applied with several batches in flight")                                      \
    X(acknowledged, "updates acknowledged")                                                                  \
    X(refused, "requests refused")                                                                           \
    X(unknown, "requests of which nobody knows")                                                             \
    X(retries, "retries")                                                                                    \
    X(late_tries, "tries that came when the client had its answer")                                          \
    X(answers_repeated, "answers given again")                                                               \
    X(sessions_expired, "answers that a session is not known")                                               \
    X(sessions_forgotten, "of them, unknown outcomes")                                                       \
    X(conditions_failed, "conditions that did not hold")                                                     \
    X(flushed_answers, "updates answered as flushed")                                                        \
    X(not_flushed, "answers that something is not yet flushed")                                              \
    X(reads, "keys read")                                                                                    \
    X(stale_reads, "stale reads")                                                                            \
    X(transactions, "transactions that wrote")                                                               \
    X(transactions_read, "transactions that wrote nothing")                                                  \
    X(replaced, "writes of transactions in whose place is a later one")                                      \
    X(pairs_seen, "pairs of purses seen together")                                                           \
    X(watches_failed, "transactions that a watched key refused")                                             \
    X(ordered, "pairs of transactions of one connection, compared by their order")                           \
    X(pairs_torn, "commits with half of a transaction, each with its excuse")                                \
    X(scans, "whole scans")                                                                                  \
    X(expired, "keys expired")                                                                               \
    X(evicted, "entries evicted")                                                                            \
    X(isolations, "batches isolated")                                                                        \
    X(faults, "bad rows found")                                                                              \
    X(commit_refusals, "batches refused by their COMMIT")                                                    \
    X(quarantined, "keys put in quarantine")                                                                 \
    X(quarantine_answers, "updates answered as quarantined")                                                 \
    X(dropped, "keys given up")                                                                              \
    X(notes, "notes in the fence row")                                                                       \
    X(lock_timeouts, "lock timeouts")                                                                        \
    X(terminated, "backends of old leaders ended")                                                           \
    X(slot_waits, "waits for a connection to be free")                                                       \
    X(travels, "travels of the database in time")                                                            \
    X(rewinds, "rewinds")                                                                                    \
    X(lost_rows, "rows lost and counted")                                                                    \
    X(commands, "operators' requests answered")                                                              \
    X(compared, "rows compared by verifications")                                                            \
    X(fair_spells, "fair spells, with the age of the oldest write checked")                                  \
    X(judged, "keys judged for linearizability")                                                             \
    X(too_hard, "keys too hard to judge")

struct sim_result {
    bool failed;
    char failure[4096];
    char trace[SIM_TRACE_LINES][SIM_TRACE_BYTES]; /* the last lines, oldest first */
    unsigned trace_lines;
    uint64_t trace_hash; /* of all lines: equal for equal runs */
#define X(name, text) uint64_t name;
    SIM_COUNTS(X)
#undef X
};

void sim_result_add(struct sim_result *sum, const struct sim_result *r); /* the counts */
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
    uint64_t led_us;    /* when its office was last seen open, or it started */
};

struct sim_node {
    struct sim *sim;
    unsigned index;
    struct sim_gate gate;
    bool alive;    /* a process runs */
    bool crashing; /* power is off, its memory is being released */
    uint64_t life; /* which process this is */
    uint64_t boot_offset_ms;
    int64_t wall_offset_ms;
    struct sim_seat seats[SIM_GROUPS_MAX];
    struct fake_slots slots;           /* the connections that its flushes share */
    struct sim_event turn, wake, fate; /* fate: restart or resume */
};

enum sim_op_kind { SIM_GET, SIM_EXISTS, SIM_SCAN, SIM_UPDATE, SIM_WAIT, SIM_OPEN, SIM_TRANSACTION };

/* What a transaction does with one of its keys. */
enum sim_act {
    SIM_LOOK,
    SIM_PUT,
    SIM_REMOVE,
    SIM_ADD,    /* counters */
    SIM_EXTEND, /* lists */
    SIM_FIELD,  /* hashes: a field is set, or taken away */
    SIM_UNFIELD,
    SIM_MOVE, /* from this purse to its partner, which is the next key of the transaction, or the one before
               */
};

/* A key as a transaction found it, and what it made of it. Values are references. */
struct sim_seen {
    bool looked; /* else it was written only */
    bool known;  /* the version is */
    uint64_t version;
    struct value *before, *after; /* NULL: not there */
    bool wrote;
};

/* One request on its way to a node, there, or back. */
struct sim_try {
    struct list link; /* in op->tries */
    struct sim_op *op;
    unsigned node;
    struct group_request request;
    struct operation_result results[SIM_OP_KEYS_MAX];
    struct sim_seen seen[SIM_OP_KEYS_MAX]; /* of a transaction */
    uint64_t number;                       /* rises with each request that reaches a node */
    struct group_scan scan;
    const char *prefix; /* of a scan */
    uint32_t given;     /* by a scan: keys, by bits */
    struct sim_event travel;
    bool submitted; /* the group has the request */
    bool late;      /* on its way for very long */
};

/* What a client heard of an operation. */
struct sim_told {
    bool heard;
    enum status status;
    uint64_t versions[SIM_OP_KEYS_MAX]; /* 0: nothing was written */
};

/* What a client wants, until it has its answer or gives up, and nothing is under way any more. */
struct sim_op {
    struct list link; /* in sim->ops */
    struct sim *sim;
    struct sim_client *client; /* NULL: nobody waits for it */
    enum sim_op_kind kind;
    uint32_t group;
    unsigned n;
    unsigned keys[SIM_OP_KEYS_MAX];
    uint64_t serials[SIM_OP_KEYS_MAX];
    struct sim_before befores[SIM_KEYS_MAX]; /* of the op's keys; of a wait and a scan: of all keys */
    char texts[SIM_OP_KEYS_MAX][SIM_VALUE_BYTES];
    struct bytes names[SIM_OP_KEYS_MAX];
    struct operation operations[SIM_OP_KEYS_MAX];
    bool stale, inspect, flushed;
    /* of a transaction */
    enum sim_act acts[SIM_OP_KEYS_MAX];
    bool blind[SIM_OP_KEYS_MAX];
    bool watches; /* it writes only if all keys are of the versions `noted` */
    uint64_t noted[SIM_OP_KEYS_MAX];
    uint64_t wait_index;
    struct sim_scan *scan;
    /* its tries */
    struct list tries;
    struct sim_try *current; /* the one whose answer counts */
    unsigned tries_left;
    struct sim_event patience; /* with the current one, or until the next one */
    bool uncertain;            /* some try may have been executed, or may still be */
    bool resolved;
    uint64_t session, sequence;    /* 0: none */
    struct list of_session;        /* in sim_session.awaited until resolved */
    bool forgotten;                /* SESSION_EXPIRED was the answer */
    struct sim_told told;          /* of what is remembered: each answer must be this one */
    size_t lines[SIM_OP_KEYS_MAX]; /* in sim->lines */
};

/* A scan, from its first request to the last. */
struct sim_scan {
    unsigned node;
    uint64_t life; /* of the node's process: another one knows nothing of the cursor */
    uint32_t group;
    bool stale;
    const char *prefix;
    uint32_t looks;
    uint64_t cursor;
    uint32_t present; /* keys, by bits: those that were in the node's memory at each request */
    uint32_t given;   /* likewise: those that were given */
};

/* A session of one client with one group. */
struct sim_session {
    uint64_t id; /* 0: none */
    bool opening;
    uint64_t sequence;   /* the last one used */
    struct list awaited; /* of sim_op, by sequence */
};

struct sim_client {
    struct sim *sim;
    unsigned index;
    bool reader; /* asks every node, and often: it would see a leader that does not know that it is none */
    bool once;   /* its writes have sessions */
    unsigned waiting; /* ops that are not resolved */
    unsigned leader[SIM_GROUPS_MAX];
    struct sim_session sessions[SIM_GROUPS_MAX];
    bool has_noted[SIM_KEYS_MAX];
    uint64_t noted[SIM_KEYS_MAX]; /* the version that a transaction of its own found last; 0: not there */
    struct sim_scan *scan;        /* the one that it is at, or NULL */
    bool scanning;                /* a request of it is under way */
    struct sim_event think;
};

/* How the database treats a key: see sim_rows.c. */
struct sim_rule {
    uint64_t until_us;
    bool all; /* else only some of its values */
    struct fake_refusal why;
};

/* A transaction that was done, for the order of those of one connection. */
struct sim_done {
    unsigned node;
    uint32_t group;
    uint64_t connection, number, index;
    unsigned n;
    unsigned keys[SIM_OP_KEYS_MAX];
    uint64_t wrote[SIM_OP_KEYS_MAX];    /* serial; 0: nothing, or none has it */
    uint64_t saw[SIM_OP_KEYS_MAX];      /* likewise */
    uint64_t versions[SIM_OP_KEYS_MAX]; /* that it saw; 0: not known, or none */
};

/* The database as it was once. */
struct sim_copy {
    bool made;
    struct fake_content content;
    uint64_t versions[SIM_KEYS_MAX]; /* of the history's keys */
};

struct sim {
    const struct sim_config *config;
    struct sim_result *result;
    struct sim_clock clock;
    struct sim_net net;
    struct fake_db db;
    struct sim_history history;
    struct history lines; /* what the clients saw, for the judge of linearizability */
    unsigned n_nodes, n_groups, n_clients, n_keys;
    struct group_config group_config;
    struct replica_config replica_config;
    struct sim_node nodes[SIM_NODES_MAX];
    struct sim_client clients[SIM_CLIENTS_MAX];
    struct list ops;
    unsigned evict_permille;     /* of a loop's turns: it gives back some memory */
    uint64_t group_memory_bytes; /* what a group may hold if its clean entries are all that can go */
    uint64_t late_tries, lives, arrivals;
    struct sim_done done[SIM_DONE_MAX]; /* the last ones, in a ring */
    unsigned done_next;
    bool sessions_are_few;  /* so few that some are forgotten */
    bool once;              /* each key is written once at most */
    bool travels, operated; /* the database may be another one; operators do things */
    bool repaired;          /* no row is refused any more */
    bool fair;              /* no faults just now, but clients write */
    bool calm;              /* no more faults, no more writes */
    bool quiet;             /* no more trace: it is over */
    int64_t calm_us;        /* since then, by the database's clock */
    unsigned once_next;     /* the next key that is not written yet */
    unsigned faults_left;
    struct sim_event fault, weather, lag;
    bool lagged;                /* a node hears late: */
    unsigned lagging, lag_step; /* which one, and how far that has gone */
    struct sim_node *turned;    /* the node whose turn was the last step */
    struct sim_rule rules[SIM_KEYS_MAX];
    struct sim_copy copies[SIM_COPIES], primary;
    struct list commands; /* of operators */
    struct sim_event copying, operator_, adversary, fair_end;
    uint64_t fair_us;                             /* since when there are no faults */
    unsigned fair_cut, fair_transient, fair_slow; /* the database's faults, while there are none */
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
/* The time of day on a clock that is @offset_ms ahead. */
uint64_t sim_wall_ms(const struct sim *sim, int64_t offset_ms);

/* sim_client.c */
void sim_client_init(struct sim *sim, unsigned index);
void sim_client_deinit(struct sim_client *c);

/* sim_op.c */
struct sim_op *sim_op_create(struct sim *sim, enum sim_op_kind kind, const unsigned *keys, unsigned n);
/* Send the prepared @op to @node for the first time. It frees itself. */
void sim_op_start(struct sim_op *op, struct sim_client *client, unsigned node);
/* Read @key at node @node on nobody's behalf; the history checks the answer. */
void sim_read(struct sim *sim, unsigned key, unsigned node);
void sim_ops_deinit(struct sim *sim);

/* sim_answer.c */
/* An answer has come: whoever still waits for it, what it says must be true. */
void sim_answer_judge(struct sim_try *t);
/* @op is over. @t is the answer that ended it; NULL: nobody knows what became of it. @done: it happened; else
 * it certainly did not, and never will. */
void sim_answer_record(struct sim_op *op, const struct sim_try *t, bool done);
/* Begin the lines of the clients' history that @op will have. */
void sim_answer_begin(struct sim_op *op);

/* sim_ask.c: what to ask. */
/* NULL: nothing just now. *@node is to be asked. */
struct sim_op *sim_ask(struct sim_client *c, unsigned *node);

/* sim_transaction.c: transactions. */
/* What one is to do; NULL: nothing just now. It may write when @writes. */
struct sim_op *sim_transaction_ask(struct sim_client *c, bool writes);
/* One that looks at @keys, and does nothing else. */
struct sim_op *sim_transaction_look(struct sim *sim, const unsigned *keys, unsigned n);
/* As group_request.evaluate, of a try. */
enum status sim_transaction_evaluate(struct group_request *request, struct transaction *t);
void sim_transaction_forget(struct sim_try *t); /* what it found */

/* sim_transaction_judge.c */
/* It was answered, with OK, or because a watched key had changed. */
void sim_transaction_judge(struct sim_try *t);
/* The group is done with it. */
void sim_transaction_done(struct sim_try *t);

/* sim_scan.c: scans, which are several requests to one node. */
/* The next step of the client's scan, or the first of a new one at *@node. NULL: the last one is under way.
 */
struct sim_op *sim_scan_step(struct sim_client *c, unsigned *node);
/* A step is being answered by the node's group: what does the group hold? */
void sim_scan_seen(struct sim_try *t);
/* What a step's answer gave, by bits; each key of it must be right. */
uint32_t sim_scan_judge(struct sim_try *t);
/* A step is over with the answer @t; the scan is given up when @t is NULL. */
void sim_scan_answered(struct sim_op *op, const struct sim_try *t);

/* sim_rows.c: rows that the database refuses. */
/* As fake_db.refuses; its data is the sim. */
bool sim_rows_refused(void *data, const struct fake_write *write, struct fake_refusal *out);
/* From now on some keys' rows are. */
void sim_rows_refuse(struct sim *sim);
/* None is any more. */
void sim_rows_repair(struct sim *sim);

/* sim_travel.c: the database goes back in time. */
void sim_travel_start(struct sim *sim);
/* Another server is there now; @standby: which is none that can be written to, for the time being. False:
 * there is no other one. */
bool sim_travel(struct sim *sim, bool standby);
/* A standby is not one any more. */
void sim_travel_settle(struct sim *sim);
void sim_travel_stop(struct sim *sim);
void sim_travel_deinit(struct sim *sim);

/* sim_operator.c: what operators do. */
void sim_operators_start(struct sim *sim);
/* Nothing is stopped, and all settings are those of the configuration. */
bool sim_operators_tidy(const struct state *state);
void sim_operators_deinit(struct sim *sim);

/* sim_fair.c: times without faults, in which the flush must keep up. */
void sim_fair_begin(struct sim *sim);

/* sim_end.c: when all is healed. */
/* The seat of @group's leader in office, or NULL. */
struct sim_seat *sim_office(struct sim *sim, uint32_t group);
bool sim_settle(struct sim *sim);
/* What the cluster, the database and the clients hold must agree. */
void sim_compare(struct sim *sim);

/* sim.c */
/* Run until the virtual time @until_us. False: something has failed. */
bool sim_run_until(struct sim *sim, uint64_t until_us);

/* sim_faults.c */
void sim_faults_start(struct sim *sim);
void sim_faults_stop(struct sim *sim);
/* Everything is as it should be, and everybody up; what is drawn for the database's statements stays. */
void sim_faults_heal(struct sim *sim);
/* Faults go on. */
void sim_faults_go_on(struct sim *sim);

#endif
