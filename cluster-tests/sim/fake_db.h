/* A database that behaves as PostgreSQL does towards the flush: server processes that outlive their clients,
 * a lock on each fence row, transactions that happen at one moment, the COMMIT's, and answers that can be
 * lost after it.
 *
 * A transaction begins by locking its group's fence row (and waits for whoever holds it), checks the row
 * under the lock, takes its time, and at its end changes the rows and unlocks. A server process whose client
 * has gone still does what it received, or part of it; so a take waits for an old leader's pending COMMIT.
 * The transaction of an isolating batch stays open, with its lock, until its client says how it ends; or
 * until the server has waited long enough.
 *
 * All that is stored is one value (fake_content.h), which can be copied, and put in the place of what is
 * there: so the database goes back in time. */
#ifndef WB_SIM_FAKE_DB_H
#define WB_SIM_FAKE_DB_H

#include "cluster-tests/sim/fake_content.h"
#include "cluster-tests/sim/sim_clock.h"
#include "flush/flusher.h"
#include "flush/loader.h"

struct backend;

/* The lock on a group's fence row. */
struct fake_lock {
    struct backend *holder;
    struct list waiting; /* backends, first come first served */
    bool stranger;       /* somebody who is not of this cluster has it */
    bool stranger_waits; /* ... or is the next one to get it */
};

/* One row that a transaction writes. */
struct fake_write {
    struct bytes key, value; /* the value of a hash: fields (see fields.h) */
    uint8_t type;            /* enum value_type */
    bool deleted;
    uint64_t version; /* 0 for a delete: the statement names keys only */
    uint64_t expires_at_ms;
};

/* Why the database does not take a row. */
struct fake_refusal {
    enum {
        FAKE_AT_STATEMENT,
        FAKE_AT_COMMIT,  /* a deferred constraint: an isolating batch finds it, too */
        FAKE_COMMIT_ONLY /* nothing finds it before the COMMIT fails */
    } when;
    const char *sqlstate; /* of class row; both are constants */
    const char *message;
};

/* The COMMIT of a batch. Borrowed. */
struct fake_commit {
    uint32_t group;
    uint64_t batch;
    const struct fake_write *writes;
    size_t n;
    const struct fake_write *refused; /* rows of the batch that were left out */
    size_t n_refused;
};

/* What a broken database or a broken fence would do: for tests that show that the checks can fail. */
enum fake_db_defect {
    FAKE_DB_SOUND,
    FAKE_DB_NO_FENCE,         /* flushes are not checked against the fence row */
    FAKE_DB_LOSES_COMMITS,    /* now and then a COMMIT is answered, and nothing was written */
    FAKE_DB_TAKE_SKIPS_LOCK,  /* a take does not wait for a pending transaction, which then still commits */
    FAKE_DB_SKIPS_BAD_ROWS,   /* a batch commits without the rows that are refused, and nobody is told */
    FAKE_DB_COMMITS_ISOLATED, /* an isolating batch commits before the log has heard of its bad rows */
    FAKE_DB_HIDES_FAULTS,     /* an isolating batch leaves its bad rows out, and says that there were none */
    FAKE_DB_DEFECTS
};
/* "no-fence" and so on, as wbsim's --defect takes it; NULL for FAKE_DB_SOUND. */
const char *fake_db_defect_name(enum fake_db_defect defect);

struct fake_db {
    struct sim_clock *clock;
    struct fake_content content;
    struct fake_lock locks[SIM_GROUPS_MAX]; /* of the fence rows */
    struct list backends;
    struct list loads;     /* under way at the server */
    struct list row_waits; /* backends that wait for rows, with their fence row's lock */
    bool down;
    bool standby;             /* it answers, but is in recovery */
    bool rows_locked;         /* somebody else has a lock on the table of the rows */
    int64_t clock_offset_us;  /* of the server's clock, ahead of the true time; it is only ever set forward */
    uint64_t lock_timeout_us; /* of whoever waits for a lock */
    uint64_t idle_timeout_us; /* of a transaction that waits for its client */
    enum fake_db_defect defect;
    /* Faults, in thousandths of the statements. */
    unsigned cut_permille;       /* the connection breaks: before, during, or after the COMMIT */
    unsigned transient_permille; /* a deadlock, say */
    unsigned slow_permille;      /* takes up to slow_max_us, and may then be killed by a timeout */
    uint64_t slow_max_us;
    uint64_t latency_min_us, latency_max_us; /* of the network, one way */
    uint64_t work_min_us, work_max_us;       /* of a transaction */
    size_t
        load_bytes_max; /* values of one load's answer together: the others are later; at least one is there
                         */
    /* Is this row refused just now? NULL: none ever is. */
    bool (*refuses)(void *data, const struct fake_write *write, struct fake_refusal *out);
    void *refuses_data;
    /* Called at the moment of each COMMIT of a batch, before the rows change; may be NULL. */
    void (*on_commit)(void *data, const struct fake_commit *commit);
    /* Called after each COMMIT that changed @group's fence row, or what the group has; may be NULL. */
    void (*on_changed)(void *data, uint32_t group);
    void *on_data;
    uint64_t commits, lost_answers, takes, takes_that_waited, refused;
    uint64_t isolations, faults, commit_refusals, notes, lock_timeouts, terminated, slot_waits;
};

void fake_db_init(struct fake_db *db, struct sim_clock *clock);
/* All flushers and loaders must be deinited before. */
void fake_db_deinit(struct fake_db *db);
/* True: the server is killed. Every transaction that did not commit is gone; nobody can connect until false.
 */
void fake_db_set_down(struct fake_db *db, bool down);
/* True: those who connect from now on find a standby. The connections that there are break. */
void fake_db_set_standby(struct fake_db *db, bool standby);
/* Another server is there, which has @content (copied). The connections that there are break. */
void fake_db_become(struct fake_db *db, const struct fake_content *content);
/* Somebody who is not of this cluster locks, as soon as it is free, @group's fence row; or gives it back. */
void fake_db_lock_fence(struct fake_db *db, uint32_t group, bool lock);
/* ... the table of the rows. Transactions that have written to it already are let through. */
void fake_db_lock_rows(struct fake_db *db, bool lock);
/* The server's clock_timestamp(), in microseconds since 1970. */
int64_t fake_db_clock_us(const struct fake_db *db);
/* The true time, likewise: what the clocks of nodes and servers are ahead of. */
uint64_t fake_db_true_us(const struct sim_clock *clock);
/* NULL when there is no such row. */
const struct fake_row *fake_db_find(const struct fake_db *db, struct bytes key);

/* ---- Client side: a flusher (see flush/flusher.h) ---- */

/* The connections that the flushers of a node share. */
struct fake_slots {
    unsigned free;
    struct list waiting; /* of fake_flusher.slot_link */
};
void fake_slots_init(struct fake_slots *slots, unsigned connections);

struct fake_flusher {
    struct fake_db *db;
    struct sim_gate *gate; /* of the process that it belongs to */
    const struct flusher_events *events;
    void *events_data;
    struct backend *backend; /* NULL: not connected */
    uint64_t epoch;          /* as taken on this connection; 0: not taken */
    struct flush_identity identity;
    uint64_t last_answer_us;
    struct list answers; /* on their way to us */
    unsigned under_way;  /* calls whose events have not come */
    bool noting;
    enum { FAKE_NOT_ISOLATING, FAKE_ISOLATING, FAKE_ISOLATED, FAKE_FINISHING } isolating;
    bool lock_timed_out;      /* the last take's: the next one ends the backends that are in its way */
    struct fake_slots *slots; /* NULL: as many connections as are wanted */
    bool has_slot;
    struct list slot_link;     /* in slots->waiting */
    struct statement *pending; /* the first one of the connection that there is no slot for yet */
};
extern const struct flusher_ops fake_flusher_ops; /* data: the fake_flusher */
/* @slots may be NULL; it outlives the flusher. */
void fake_flusher_init(struct fake_flusher *f, struct fake_db *db, struct fake_slots *slots,
    struct sim_gate *gate, const struct flusher_events *events, void *events_data);
/* The process died or ended: what the server has received goes on there. */
void fake_flusher_deinit(struct fake_flusher *f);

/* ---- Client side: a loader (see flush/loader.h) ---- */

struct fake_loader {
    struct fake_db *db;
    struct sim_gate *gate;
    const struct loader_events *events;
    void *events_data;
    struct list loads;
    struct list searches;
};
extern const struct loader_ops fake_loader_ops; /* data: the fake_loader */
void fake_loader_init(struct fake_loader *l, struct fake_db *db, struct sim_gate *gate,
    const struct loader_events *events, void *events_data);
void fake_loader_deinit(struct fake_loader *l);

#endif
