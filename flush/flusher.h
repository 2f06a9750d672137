/* What the flush core asks of whatever stands for the database: libpq on a node (flush/pg_flusher.h), a fake
 * in the simulator. One flusher serves one group and has at most one connection.
 *
 * Each call but disconnect ends in exactly one event, never from inside the call, unless disconnect comes
 * first: after disconnect no event of an earlier call fires. After `failed` the connection is gone:
 * everything pending failed with it, and only inspect, claim or take may follow. */
#ifndef WB_FLUSH_FLUSHER_H
#define WB_FLUSH_FLUSHER_H

#include "flush/flush.h"

struct flusher_events {
    void (*inspected)(void *data, const struct flush_inspected *found);
    void (*claimed)(void *data);
    void (*taken)(void *data, const struct fence_row *row);
    void (*committed)(void *data, uint64_t batch); /* in the order sent; the command tag COMMIT was seen */
    void (*failed)(void *data, const struct flush_error *error);
};

struct flusher_ops {
    /* Connect and look whose database this is: fence rows of @cluster_id (may be all zero), of none, of
     * another. */
    void (*inspect)(void *flusher, const uint8_t cluster_id[CLUSTER_ID_BYTES]);
    /* In one transaction: create the schema where it is missing, check that the fence rows are still what
     * @expected says (EMPTY, FOREIGN of that cluster, or OURS), rewrite all @id->group_count rows as ours
     * with last_batch 0 and remove surplus ones. Rows that are ours already stay. */
    void (*claim)(void *flusher, const struct flush_identity *id, const struct flush_inspected *expected);
    /* (Re)connect, wait for the row's lock, and take the fence: term = @term, epoch = epoch + 1 where
     * row.term <= @term and cluster and group count are ours. */
    void (*take)(void *flusher, const struct flush_identity *id, uint64_t term);
    /* One transaction behind those sent before: check and move the fence, upsert, delete, COMMIT.
     * Only after taken. Takes the content of @batch, which is left empty. */
    void (*send)(void *flusher, struct flush_batch *batch);
    void (*disconnect)(void *flusher);
};

#endif
