/* Inspect, claim and take: the conversations about the fence rows, each a few pipelines on a pg_connection.
 * pg_flusher.h hands it the results; it says when the conversation is over. One at a time per connection. */
#ifndef WB_FLUSH_PG_FENCE_H
#define WB_FLUSH_PG_FENCE_H

#include "flush/pg_connection.h"
#include "flush/schema.h"

enum pg_fence_kind { PG_FENCE_NONE, PG_FENCE_INSPECT, PG_FENCE_CLAIM, PG_FENCE_TAKE };
enum pg_fence_step { PG_FENCE_GOES_ON, PG_FENCE_DONE, PG_FENCE_FAILED };
enum { PG_FENCE_RESULTS_MAX = 32, PG_FENCE_ENDED_MAX = 8 };

struct pg_fence {
    /* set by the owner, once */
    const char *const *sql; /* by enum schema_sql; borrowed */
    const char *schema;     /* quoted, as the next one; borrowed */
    const char *state_table;
    /* the question; set by the owner before pg_fence_begin */
    enum pg_fence_kind kind;
    struct flush_identity id;        /* inspect: only cluster_id */
    struct flush_inspected expected; /* claim */
    uint64_t term;                   /* take */
    bool end_holders;                /* take: first end the group's backends that keep the row locked */
    /* the answer: one of them by kind, or error */
    struct flush_inspected inspected;
    struct fence_row row;
    int ended[PG_FENCE_ENDED_MAX]; /* take: the backends that were ended; also when it fails */
    int n_ended;
    struct flush_error error;
    /* private */
    int pipeline; /* which of the conversation's pipelines is under way, from 0 */
    int n;
    PGresult *results[PG_FENCE_RESULTS_MAX]; /* of this pipeline; owned */
};

/* Prepared by a take, for the batches. */
#define PG_STATEMENT_BEGIN         "wb_begin"
#define PG_STATEMENT_ADVANCE       "wb_advance"
#define PG_STATEMENT_UPSERT        "wb_upsert"
#define PG_STATEMENT_UPSERT_HASHES "wb_upsert_hashes"
#define PG_STATEMENT_DELETE        "wb_delete"
#define PG_STATEMENT_ISOLATE       "wb_isolate"
#define PG_STATEMENT_MIRROR_DELETE "wb_mirror_delete"
#define PG_STATEMENT_MIRROR        "wb_mirror"
#define PG_STATEMENT_COMMIT        "wb_commit"

/* The advisory lock, shared, that every transaction of the group's flush holds: pg_locks names its backends
 * by it. Of the same schema, cluster and group it is the same on all nodes and in all versions. @schema is
 * quoted. */
uint64_t pg_fence_lock(const char *schema, const struct flush_identity *id);

/* Send the first pipeline on the ready connection @c. */
void pg_fence_begin(struct pg_fence *f, struct pg_connection *c);
/* A result (taken over) or a sync has come: what now? After FAILED the connection must be closed. */
enum pg_fence_step pg_fence_result(struct pg_fence *f, PGresult *result);
enum pg_fence_step pg_fence_synced(struct pg_fence *f, struct pg_connection *c);
/* Forget the conversation: kind is NONE after it. Also when it is over. */
void pg_fence_reset(struct pg_fence *f);

#endif
