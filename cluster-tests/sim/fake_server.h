/* Between the files of the fake database: statements on their way to the server, what they come to there
 * (fake_backend.c: when; fake_transaction.c: what), and answers on their way back. */
#ifndef WB_SIM_FAKE_SERVER_H
#define WB_SIM_FAKE_SERVER_H

#include "cluster-tests/sim/fake_db.h"

enum statement_kind {
    STATEMENT_INSPECT,
    STATEMENT_CLAIM,
    STATEMENT_TAKE,
    STATEMENT_BATCH,
    STATEMENT_FINISH, /* of the isolating batch before it */
    STATEMENT_NOTE
};
struct statement {
    struct sim_event event; /* its arrival */
    struct list link;
    struct backend *backend;
    enum statement_kind kind;
    struct flush_identity identity;
    struct flush_inspected expected; /* claim */
    uint64_t term;                   /* take */
    bool terminate;                  /* take: end what is in the way */
    uint64_t epoch;                  /* batch, note */
    struct flush_batch batch;
    struct flush_note note; /* finish, note; of an isolating batch, when it is finished */
    bool mirrors;
    struct fake_shown *mirror;
    size_t n_mirror;
    uint64_t last_batch; /* note */
    /* at the server */
    int64_t clock_us;
    struct fake_write *writes; /* of a batch; borrow from it, or from hashes */
    size_t n_writes;
    struct buf *hashes;         /* of the upserts of a batch; empty ones for strings */
    struct fake_write *refused; /* of an isolating batch, when it is isolated */
    size_t n_refused;
    bool isolated;  /* its transaction is open: it waits for its client */
    bool committed; /* ... though by a defect it is over */
};
struct statement *statement_create(enum statement_kind kind, const struct flush_identity *id);
void statement_free(struct fake_db *db, struct statement *st);

/* The server's side of a connection. */
struct backend {
    struct list link; /* in db->backends */
    struct fake_db *db;
    struct fake_flusher *client; /* NULL when it has gone */
    struct list arriving;        /* statements on the network */
    struct list queue;           /* statements received */
    struct statement *current;
    struct sim_event work;     /* the current transaction's end */
    struct sim_event patience; /* the end of its wait: for a lock, or for its client */
    struct list wait_link; /* in a lock's waiting, or db.row_waits; linked to itself when it does not wait */
    bool doomed;           /* the current transaction does not reach its COMMIT */
    uint64_t last_arrival_us;
};
struct backend *backend_create(struct fake_flusher *client);
void backend_detach(struct backend *b); /* its client is gone; frees it when it has nothing left to do */
void backend_die(struct backend *b);
/* Send @statement (heap, taken over) to the server. */
void backend_send(struct backend *b, struct statement *statement);

/* ---- fake_transaction.c ---- */

/* Under the lock, if there is one: may the current transaction go on? If not, its client is told. */
bool transaction_permitted(struct backend *b);
/* The current transaction is refused. */
void transaction_refuse(
    struct backend *b, enum flush_error_class class, const char *sqlstate, const char *message);
/* The current transaction ends, or, of an isolating batch, @b->current->isolated is true after it. */
void transaction_end(struct backend *b);

/* ---- Answers ---- */

struct fake_fault {
    struct buf key;
    char sqlstate[6];
    const char *message;
};
/* What the server says; they reach the client later, in this order, if it is still there. */
struct answer {
    struct sim_event event;
    struct list link;
    struct fake_flusher *client;
    enum {
        ANSWER_INSPECTED,
        ANSWER_CLAIMED,
        ANSWER_TAKEN,
        ANSWER_COMMITTED,
        ANSWER_ISOLATED,
        ANSWER_NOTED,
        ANSWER_FAILED
    } kind;
    struct flush_inspected inspected;
    struct fence_row row;
    uint64_t batch;
    int64_t clock_us;
    struct fake_fault *faults; /* heap */
    size_t n_faults;
    bool lock_timeout; /* failed */
    struct flush_error error;
};
/* @content is copied; what it owns is taken over. */
void fake_flusher_answer(struct fake_flusher *client, const struct answer *content);
void fake_faults_free(struct fake_fault *faults, size_t n);

uint64_t fake_db_latency(struct fake_db *db);
void fake_error(
    struct flush_error *error, enum flush_error_class class, const char *sqlstate, const char *message);

#endif
