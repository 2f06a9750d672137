/* A database that behaves as PostgreSQL does towards the flush: server processes that outlive their clients,
 * a lock on each fence row, transactions that happen at one moment, the COMMIT's, and answers that can be
 * lost after it.
 *
 * A transaction begins by locking its group's fence row (and waits for whoever holds it), checks the row
 * under the lock, takes its time, and at its end changes the rows and unlocks. A server process whose client
 * has gone still does what it received, or part of it; so a take waits for an old leader's pending COMMIT. */
#ifndef WB_SIM_FAKE_DB_H
#define WB_SIM_FAKE_DB_H

#include "cluster-tests/sim/sim_clock.h"
#include "cluster-tests/sim/sim_net.h"
#include "flush/flusher.h"
#include "flush/loader.h"

struct backend;

struct fake_row {
    struct buf key;
    struct buf value;
    uint64_t version;
    uint64_t expires_at_ms;
};

struct fake_fence {
    bool present;
    uint8_t cluster_id[CLUSTER_ID_BYTES];
    uint32_t group_count;
    uint64_t term, epoch, last_batch;
    struct backend *holder; /* of the row's lock */
    struct list waiting;    /* backends, first come first served */
};

/* One row that a transaction writes. */
struct fake_write {
    struct bytes key, value;
    bool deleted;
    uint64_t version; /* 0 for a delete: the statement names keys only */
    uint64_t expires_at_ms;
};

/* What a broken database or a broken fence would do: for tests that show that the checks can fail. */
enum fake_db_defect {
    FAKE_DB_SOUND,
    FAKE_DB_NO_FENCE,        /* flushes are not checked against the fence row */
    FAKE_DB_LOSES_COMMITS,   /* now and then a COMMIT is answered, and nothing was written */
    FAKE_DB_TAKE_SKIPS_LOCK, /* a take does not wait for a pending transaction, which then still commits */
};

struct fake_db {
    struct sim_clock *clock;
    struct fake_row *rows;
    size_t n_rows, rows_capacity;
    struct fake_fence fences[SIM_GROUPS_MAX];
    uint64_t version_ceiling; /* above every version ever written */
    bool down;
    struct list backends;
    struct list loads; /* under way at the server */
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
    /* Called at the moment of each COMMIT of a batch, before the rows change; may be NULL. */
    void (*on_commit)(void *data, uint32_t group, uint64_t batch, const struct fake_write *writes, size_t n);
    void *on_commit_data;
    uint64_t commits, lost_answers, takes, takes_that_waited, refused;
};

void fake_db_init(struct fake_db *db, struct sim_clock *clock);
/* All flushers and loaders must be deinited before. */
void fake_db_deinit(struct fake_db *db);
/* True: the server is killed. Every transaction that did not commit is gone; nobody can connect until false.
 */
void fake_db_set_down(struct fake_db *db, bool down);
/* NULL when there is no such row. */
const struct fake_row *fake_db_find(const struct fake_db *db, struct bytes key);

/* ---- Client side: a flusher (see flush/flusher.h) ---- */

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
};
extern const struct flusher_ops fake_flusher_ops; /* data: the fake_flusher */
void fake_flusher_init(struct fake_flusher *f, struct fake_db *db, struct sim_gate *gate,
    const struct flusher_events *events, void *events_data);
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

/* ---- Between the files of this fake ---- */

uint64_t fake_db_latency(struct fake_db *db);
/* @batch's rows are written, all at once. */
void fake_db_apply(struct fake_db *db, uint32_t group, const struct flush_batch *batch);
void fake_error(
    struct flush_error *error, enum flush_error_class class, const char *sqlstate, const char *message);
/* The server's side of a connection. */
struct backend *backend_create(struct fake_flusher *client);
void backend_detach(struct backend *b); /* its client is gone; frees it when it has nothing left to do */
void backend_die(struct backend *b);
enum statement_kind { STATEMENT_INSPECT, STATEMENT_CLAIM, STATEMENT_TAKE, STATEMENT_BATCH };
struct statement {
    struct sim_event event; /* its arrival */
    struct list link;
    struct backend *backend;
    enum statement_kind kind;
    struct flush_identity identity;
    struct flush_inspected expected; /* claim */
    uint64_t term;                   /* take */
    uint64_t epoch;                  /* batch */
    struct flush_batch batch;
};
/* Send @statement (heap, taken over) to the server. */
void backend_send(struct backend *b, struct statement *statement);
/* What the server says; they reach the client later, in this order, if it is still there. */
struct answer {
    struct sim_event event;
    struct list link;
    struct fake_flusher *client;
    enum { ANSWER_INSPECTED, ANSWER_CLAIMED, ANSWER_TAKEN, ANSWER_COMMITTED, ANSWER_FAILED } kind;
    struct flush_inspected inspected;
    struct fence_row row;
    uint64_t batch;
    struct flush_error error;
};
void fake_flusher_answer(struct fake_flusher *client, const struct answer *content);

#endif
