/* One Raft group's office on one node: evaluates requests, packs their effects into log entries, applies
 * committed entries to the cache state, answers clients, loads misses, and drives the flush. Pure: everything
 * outside is reached through struct group_env and told back by the group_on_* calls; time comes as an
 * argument.
 *
 *              group_submit                        apply (own entry)
 *   request ---> EVALUATE --write--> WAIT_APPLY --------------+-------------> done
 *                 ^  | ^ \--miss---> WAIT_LOAD --> EVALUATE  +-> WAIT_FLUSH -> done   (level FLUSHED)
 *                 |  | \--answer--> WAIT_OVERLAY (saw a write in flight) --applied--+
 *                 |  |  without a    WAIT_LEASE (no lease) ------- barrier ---------+--> done
 *                 |  |  write
 *                 |  +--wait-------> WAIT_FLUSH --F >= index----------------> done
 *                 +---- the entry that it saw was refused
 * An answer without a write is found once, when the request is evaluated: at its place among the requests of
 * its connection. It is given when the writes that it saw have applied, and under the lease.
 * Every request is done exactly once, never inside group_submit; a write that may be in the log is done as OK
 * by its own apply, or as UNKNOWN when the office ends or its deadline passes.
 *
 * A node calls group_turn after each turn of its loop; only there are entries proposed, loads sent and
 * requests done that need no event. */
#ifndef WB_NODE_GROUP_H
#define WB_NODE_GROUP_H

#include "flush/flush_session.h"
#include "flush/loader.h"
#include "node/operation.h"
#include "node/state.h"
#include "proto/base/status.h"

struct group;

enum group_op {
    GROUP_READ,
    GROUP_UPDATE,
    GROUP_TRANSACTION,
    GROUP_SCAN,
    GROUP_WAIT,
    GROUP_OPEN_SESSION,
    GROUP_ADMIN,
};
enum group_level { GROUP_REPLICATED, GROUP_FLUSHED };

struct group_scan {
    uint64_t cursor; /* in and out; see state_scan */
    struct bytes prefix;
    uint32_t looks;
    struct buf keys; /* out: for each its length (4 bytes, little endian) and its bytes; the owner frees it */
    uint32_t n;
};

struct group_admin; /* see group_admin.h */
struct group_request;
struct transaction; /* see transaction.h */

/* Evaluates a transaction. OK: what it wrote is to be done. AGAIN: it must know a version that is not known
 * yet; it is called again when it is. Anything else: nothing is to be done, and this is the request's status.
 */
typedef enum status group_evaluate(struct group_request *request, struct transaction *t);

/* Embedded in the caller's struct. What the pointers name stays valid and unchanged until done. */
struct group_request {
    enum group_op op;
    uint64_t conn_id;     /* a connection's reads see its writes, in the order submitted */
    uint64_t deadline_ms; /* boot time; 0: none */
    uint32_t n; /* keys of a read or a transaction, operations of an update: 1 to LIMIT_REQUEST_KEYS */
    /* read, scan */
    bool stale;               /* from this replica as it is, leader or not */
    bool inspect;             /* the results have type, length and expiry, and no value */
    const struct bytes *keys; /* read; transaction: all different */
    /* transaction */
    group_evaluate *evaluate;
    const bool *blind; /* for each key: it is written only, and need not be known; NULL: none is */
    bool read_only;    /* it writes nothing. (A stale transaction must be.) */
    struct group_scan *scan;
    struct group_admin *admin; /* admin */
    /* update: all of the operations happen, in their order, or none */
    const struct operation *operations;
    enum group_level level;
    uint64_t session; /* 0: none */
    uint64_t sequence, first_awaited;
    bool retry;
    /* wait */
    uint64_t wait_index;              /* until F is at least this; 0: everything that is applied now */
    struct operation_result *results; /* read, update: n of them, all zero; their references are the owner's
                                         after done. transaction: NULL */
    void (*done)(struct group_request *request);
    /* the answer */
    enum status status;  /* with OK, NOT_FLUSHED and CONDITION_FAILED the results are set */
    const char *message; /* NULL, or what to do; valid inside done only */
    uint64_t index; /* update: the log index of the write (0: nothing was written); wait: F; open session:
                       its id */
    unsigned retry_after_ms; /* OVERLOADED, UNAVAILABLE */
    uint64_t stamp_ms;       /* read: the time for which expiries were judged */
    uint64_t age_ms;         /* stale: since the last contact with a leader */
    /* private */
    int where;
    struct list link;        /* in the list of what it waits for */
    struct list live;        /* in the group's list of all requests */
    struct list load_waits;  /* the misses that it waits for */
    struct list overtakable; /* in the group's list of those, while it is one: see group_wait_misses,
                                group_wait_again */
    uint64_t number;         /* rises with each request */
    bool loaded;             /* it waited for a load */
    bool load_optional;      /* it waits for loads for the sake of order only */
    bool answered;           /* results and status are found: only proofs are waited for */
    bool lease_proved;       /* a barrier proposed after it was answered has applied */
    uint64_t flush_index;    /* WAIT_FLUSH: the flushed index that it waits for */
    bool refused;            /* likewise: that has come, but a key is in quarantine, to be tried once more: */
    uint64_t refused_changes; /* ... by the quarantine's changes then */
};

/* What a group asks of its surroundings. None of these may call back into the group. */
struct group_env {
    void *data;
    /* See replica_propose, and replica_propose_essential when @essential. */
    enum status (*propose)(void *data, struct bytes entry, bool essential, uint64_t *index);
    enum status (*barrier)(void *data, uint64_t token); /* see replica_barrier */
    bool (*lease_valid)(void *data);
    void (*random)(void *data, void *out, unsigned len);
    /* Milliseconds since this replica last heard from the group's leader; 0 when it leads itself. */
    uint64_t (*contact_age_ms)(void *data);
    /* Group 0's identity, if this node's replica of it is born and claimed. */
    bool (*seed)(void *data, struct flush_identity *out);
    const struct flusher_ops *flusher;
    void *flusher_data;
    const struct loader_ops *loader;
    void *loader_data;
};

struct group_config {
    uint32_t group;
    uint32_t group_count;
    uint64_t node_id;
    bool adopt;
    struct flush_settings flush;
    uint64_t dirty_bytes_max;
    uint64_t dirty_entries_max;
    unsigned entry_target_bytes; /* an entry is not filled beyond it; 0: LIMIT_ENTRY_TARGET_BYTES */
    unsigned entries_in_flight;  /* full entries proposed and not applied; 0: a good default */
    uint64_t sessions_max;       /* as leader, what the log shall name (sessions.h); 0: the default */
    uint64_t session_bytes_max;
    uint64_t
        retention_ms; /* likewise: how long flushed keys are kept for a database that goes back in time */
    uint64_t retention_bytes; /* and how many bytes of them */
    unsigned quarantine_retry_min_ms,
        quarantine_retry_max_ms; /* back-off of a row that is refused; 0: 1 s, 5 min */
    unsigned expiry_sweep_ms;    /* how often the database is searched for expired rows; 0: never */
    uint64_t hash_seed;
    uint32_t random_seed; /* of the flush's jitter */
};

struct group *group_create(const struct group_config *config, const struct group_env *env);
void group_destroy(struct group *g); /* everything pending must be done: close the gate before */

/* Take a request. It is done later. Keys must be of this group, keys and values within the limits: the caller
 * has checked. */
void group_submit(struct group *g, struct group_request *request);

/* Do what is due; returns the time of the next turn that is needed without an event (UINT64_MAX: none).
 * @wall_ms is the wall clock, @now_ms boot time. */
uint64_t group_turn(struct group *g, uint64_t now_ms, uint64_t wall_ms);

/* What the group holds in memory for keys: what memory_max counts. */
uint64_t group_memory(const struct group *g);
/* Give back @bytes of it by forgetting clean entries, if there are so many. Not inside a turn. */
void group_evict(struct group *g, uint64_t bytes);

/* Somebody else may have changed the row of @key, or of all keys: this replica's clean copies are not answers
 * any more. Not inside a turn. */
void group_forget_clean(struct group *g, struct bytes key);
void group_forget_all_clean(struct group *g);

/* From the replica (see raft/replica.h, struct replica_ops). @now_ms as in group_turn; 0 while the log on
 * disk is replayed at the start. */
void group_on_apply(struct group *g, uint64_t index, struct bytes entry, uint64_t now_ms);
void group_on_snapshot(struct group *g, struct buf *out);
enum status group_on_restore(struct group *g, struct bytes snapshot);
void group_on_gate_open(struct group *g, uint64_t term, uint64_t now_ms);
void group_on_gate_close(struct group *g);
void group_on_barrier(struct group *g, uint64_t token);

/* The flusher's data pointer, where it could not be made before the group. Before the gate opens. */
void group_set_flusher(struct group *g, void *flusher_data);
/* From the flusher and the loader: give these with the data pointers that follow. */
const struct flusher_events *group_flusher_events(void);
void *group_flusher_events_data(struct group *g);
extern const struct loader_events group_loader_events; /* data: the group */
/* The database behind this group, once known: for inspection by the seed and status. */
bool group_identity(const struct group *g, struct flush_identity *out); /* false unless born and claimed */

struct group_info {
    bool gate_open, born, claimed;
    uint64_t applied_index, flushed_index, last_batch;
    uint64_t dirty_entries, dirty_bytes, oldest_dirty_ms;
    uint32_t batches_in_flight;
    uint64_t entries, bytes;
    const char *flush_state;
    const char *flush_error; /* "" when none */
    const char *flush_error_class, *flush_error_sqlstate;
    uint64_t flush_error_ms;        /* for so long */
    struct flush_settings settings; /* in force */
    uint32_t rows_per_second;
    bool paused, recovering;
    uint64_t quarantined, retained, retained_bytes, retained_batches, rewinds, lost, lost_ms;
    int64_t fresh_as_of_us; /* as published last by this leader; 0: not yet */
    uint64_t rows_flushed, batches_flushed, writes_applied, loads, hits, misses, flush_failures, fenced,
        epoch;
    uint64_t evicted, expired, expiring, sessions, session_results, session_bytes, clean_bytes;
};
void group_info(const struct group *g, uint64_t now_ms, struct group_info *out);
/* Are the wall clock and the group's stamps further apart than stamps are corrected (stamp.h)? Then somebody
 * should look at the nodes' clocks; *@offset_ms tells by how much the wall clock is ahead. False while the
 * stamps' age is not known. */
bool group_clock_is_off(const struct group *g, uint64_t now_ms, uint64_t wall_ms, int64_t *offset_ms);
/* Is the flush connected, with the fence taken? */
bool group_flushes(const struct group *g);
/* Is the gate open? */
bool group_leads(const struct group *g);
/* To look at, between turns. */
const struct state *group_state(const struct group *g);

#endif
