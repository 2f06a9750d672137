/* A leader's dealings with the database, for one group and one term. Pure: it is told what the database and
 * the log did, asks the flusher for database work, and hands out commands for the log.
 *
 *   OFF ---start---> LOOKING ---(born, claimed)---> TAKING --taken--> SETTLING --settled--> ACTIVE
 *    ^                  |  ^                           ^ |                                    |
 *    |               foreign |                  timer  | +---------- failed ---------+        |
 *    +---stop (any)     v  |timer                      |                             v        |
 *                     HALTED                        BACKOFF / FENCED / HALTED <------+--------+
 *
 * LOOKING  a new cluster: whose database is it? Genesis and the claim of the fence rows happen here.
 * TAKING   term and epoch of the fence row become ours, which shuts out every older connection.
 * SETTLING what the fence row says decides every batch in flight: FLUSHED up to its last_batch, ABORT for the
 * rest; REWIND when the database went back in time. Nothing is planned before these have applied.
 * RESTING  it gave back what it shares with other groups, from ACTIVE, until something is due; then TAKING.
 * ACTIVE   batches go out, one pipelined behind another. After one that had a bad row they go one by one and
 * isolating, until one has none: its faults are in the log as quarantine before it commits.
 * Invariant: a batch is sent only in ACTIVE, so every batch in the log that this connection did not send is
 * settled by the fence row of a later take. */
#ifndef WB_FLUSH_FLUSH_SESSION_H
#define WB_FLUSH_FLUSH_SESSION_H

#include "flush/flush_plan.h"
#include "flush/flusher.h"

enum flush_session_state {
    FLUSH_OFF,
    FLUSH_LOOKING,
    FLUSH_TAKING,
    FLUSH_SETTLING,
    FLUSH_ACTIVE,
    FLUSH_RESTING,
    FLUSH_BACKOFF,
    FLUSH_FENCED,
    FLUSH_HALTED,
};
const char *flush_session_state_name(enum flush_session_state state);

/* A command for the log, in the order in which they must be proposed. */
enum flush_command_kind {
    FLUSH_COMMAND_GENESIS,
    FLUSH_COMMAND_CLAIMED,
    FLUSH_COMMAND_BEGIN,
    FLUSH_COMMAND_FLUSHED,
    FLUSH_COMMAND_ABORT,
    FLUSH_COMMAND_RETRY,      /* BEGIN with keys of the quarantine: the caller knows which are due */
    FLUSH_COMMAND_QUARANTINE, /* of @batch, @n of the session's faults from @first on */
    FLUSH_COMMAND_REWIND,     /* the fence row names @batch */
};
struct flush_command {
    enum flush_command_kind kind;
    struct flush_identity identity; /* GENESIS */
    uint32_t rows_max;              /* BEGIN */
    uint64_t bytes_max;             /* BEGIN */
    bool cut;                       /* BEGIN: transactions may be cut */
    uint64_t batch;                 /* FLUSHED; ABORT: this one and all later */
    uint64_t predecessor;           /* FLUSHED */
    uint32_t first, n;              /* QUARANTINE; n 0: all rows of the batch, for the session's last error */
};

/* What the replicated state says now. */
struct flush_view {
    bool born, claimed;
    struct flush_identity identity; /* when born */
    uint64_t last_batch;
    uint64_t newest_batch;                   /* the newest one ever begun */
    uint64_t in_flight[FLUSH_IN_FLIGHT_MAX]; /* batch ids, oldest first */
    uint32_t n_in_flight;
    uint32_t commands_pending; /* of this office: proposed and not applied */
    uint32_t retries_due;      /* keys of the quarantine that are to be tried now */
    uint64_t applied_index, flushed_index;
    uint64_t quarantine_changes; /* another number whenever the quarantine may have changed */
    bool certain;                /* the lease holds: nobody else can lead now */
    bool rows_held;              /* no row may go now, by the operators' limit */
    uint32_t rows_due; /* at the front of the queue, before a key that is still in a batch, up to a batch */
    bool overdue;      /* the first of them has waited for much longer than it should */
    bool due_full;     /* they make a whole batch, by rows or bytes */
    bool seed_found;   /* group 0 of this cluster is born and claimed, as this node knows it: */
    struct flush_identity seed; /* ... its identity (its group number does not matter) */
};

enum { FLUSH_COMMANDS_MAX = 2 * FLUSH_IN_FLIGHT_MAX + 4 };

/* At a moment when we led, everything acknowledged before the server's time @clock_us was at or below @index.
 */
struct flush_sample {
    int64_t clock_us;
    uint64_t index;
};
enum { FLUSH_SAMPLES_MAX = 64 };

/* A row that the database refused; all heap memory of the session's. */
struct flush_session_fault {
    char *key;
    uint32_t key_len;
    char sqlstate[6];
    char *message;
};

struct flush_session {
    struct flush_settings settings;
    const struct flusher_ops *flusher;
    void *flusher_data;
    uint32_t group;
    uint32_t group_count;
    bool adopt;      /* a foreign database may be taken over (by group 0 of a cluster that has none yet) */
    uint32_t random; /* jitter */
    uint8_t new_cluster_id[CLUSTER_ID_BYTES]; /* used if this leader gives birth to the cluster */

    enum flush_session_state state;
    uint64_t term;
    bool calling; /* the flusher owes an event */
    bool born_proposed, claim_done, claim_proposed;
    bool begin_pending;   /* a BEGIN was handed out and has not applied */
    uint64_t fence_batch; /* last_batch of the row as taken */
    uint64_t epoch;
    uint64_t sent_batch; /* the newest batch sent on this connection, or fence_batch */
    uint64_t looking_since_ms;
    uint64_t foreign_since_ms; /* since when this office has seen another cluster's database; 0: it has not */
    uint64_t retry_at_ms;
    unsigned retry_ms;
    uint64_t suspect_again_ms; /* a suspicion before this time is not followed */
    struct flush_inspected inspected;
    struct flush_error last_error; /* message "" when the last attempt went well */
    uint64_t error_since_ms;       /* when it began to go wrong */
    uint64_t cleared_ms;           /* when it seemed over, and no batch was written since; 0: never */
    uint64_t failures, fenced_count;

    /* bad rows */
    bool suspicious;      /* batches are isolating until one has no fault */
    bool began_isolating; /* the batch under way is one */
    /* A batch's rows at most (transactions may make it longer), 0 being no limit: less after one that failed
     * as a whole. Of ordinary batches, and of the quarantine's. */
    uint32_t rows_cap, retry_cap;
    bool cut; /* batches may cut transactions: a whole one was longer than its limit, and failed */
    unsigned longer_failed; /* how often in a row such a one did */
    uint64_t isolating;     /* the batch that is being isolated; 0: none */
    uint32_t isolating_rows;
    bool isolated; /* its faults are known: */
    struct flush_session_fault *faults;
    uint32_t n_faults, faults_told, faults_applied;
    bool finishing;        /* its COMMIT was sent */
    uint64_t condemned;    /* a batch of one row that cannot be written; 0: none */
    bool retried;          /* the batch under way, or the last one, is a retry */
    uint32_t others_first; /* so many batches go before the next retry, if there are so many */
    uint32_t asked_rows;   /* the limit of the newest batch begun, */
    uint32_t sent_rows;    /* and the rows of the newest one sent, */
    bool sent_longer;      /* which were more than asked */
    unsigned slow_single;  /* how often in a row a batch of one row took too long */

    /* how fresh */
    struct flush_sample samples[FLUSH_SAMPLES_MAX]; /* by time and index */
    uint32_t n_samples;
    int64_t clock_us;     /* received, waits for a lease check; 0: none */
    int64_t published_us; /* last */
    uint64_t note_at_ms;
    bool noting;       /* a note is under way */
    uint64_t mirrored; /* quarantine_changes when the quarantine was shown last */
    bool mirror_known;
    uint64_t mirror_at_ms; /* not again before */
    uint64_t active_since_ms;
    bool rested;           /* since the last take it gave its connection back, and nothing failed */
    uint64_t rested_epoch; /* the fence's then */
    uint64_t now_ms;

    struct flush_command commands[FLUSH_COMMANDS_MAX]; /* a ring */
    uint32_t commands_head, commands_n;
};

/* The caller sets nothing else than these; the session is OFF afterwards. @flusher is borrowed. */
void flush_session_init(struct flush_session *s, const struct flush_settings *settings, uint32_t group,
    uint32_t group_count, bool adopt, uint32_t random, const struct flusher_ops *flusher, void *flusher_data);

/* The gate of @term opened / closed. @new_cluster_id is random, for the case that the cluster is to be born.
 */
void flush_session_start(
    struct flush_session *s, uint64_t term, const uint8_t new_cluster_id[CLUSTER_ID_BYTES], uint64_t now_ms);
void flush_session_stop(struct flush_session *s);

/* Do what is due. Call it after every event and at the time that it returns (UINT64_MAX: only after events).
 */
uint64_t flush_session_turn(struct flush_session *s, const struct flush_view *view, uint64_t now_ms);

/* The next command to propose, or NULL. Pop it once it is proposed. */
const struct flush_command *flush_session_command(const struct flush_session *s);
void flush_session_pop(struct flush_session *s);

/* Our own BEGIN has applied. True: build the batch with id and *@predecessor, and give it to
 * flush_session_send. False: do not; it will be settled. @begun is false when the BEGIN moved no rows. */
bool flush_session_begun(struct flush_session *s, uint64_t batch, bool begun, uint64_t *predecessor);
void flush_session_send(struct flush_session *s, struct flush_batch *batch);

/* An isolating batch's faults have applied, and its COMMIT is due: the caller gives what it says beside.
 * @mirror may be NULL only when the quarantine did not change since the last one. */
bool flush_session_finish_due(const struct flush_session *s);
void flush_session_finish(struct flush_session *s, const struct flush_note *note,
    const struct flush_mirror *mirror, uint64_t changes);
/* @n more of the faults of @batch have applied. */
void flush_session_quarantined(struct flush_session *s, uint64_t batch, uint32_t n);
/* A note is due. *@mirror says whether it must show the quarantine. */
bool flush_session_note_due(const struct flush_session *s, const struct flush_view *view, bool *mirror);
void flush_session_note(struct flush_session *s, const struct flush_note *note,
    const struct flush_mirror *mirror, uint64_t changes);
/* The newest sampled time at which everything acknowledged was at or below @index; 0: none. It is remembered
 * as published. */
int64_t flush_session_fresh(struct flush_session *s, uint64_t index);
/* Free what a session holds. It must be OFF. */
void flush_session_deinit(struct flush_session *s);

/* Take the fence anew: something says that the database is not where it should be. Done at most every few
 * seconds. */
void flush_session_suspect(struct flush_session *s, const char *why);

/* The flusher's events; the data pointer is the session. */
extern const struct flusher_events flush_session_events;

#endif
