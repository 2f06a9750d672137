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
    /* In the order sent; the command tag COMMIT was seen. @clock_us is the server's clock_timestamp() during
     * the transaction, since 1970. */
    void (*committed)(void *data, uint64_t batch, int64_t clock_us);
    /* The rows of an isolating batch are written, but for these @n, which the database refused. Its
     * transaction is open: finish or disconnect. */
    void (*isolated)(void *data, uint64_t batch, const struct flush_fault *faults, uint32_t n);
    void (*noted)(void *data, int64_t clock_us);
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
     * row.term <= @term and cluster and group count are ours. A transaction of an older connection of this
     * cluster and group that keeps the row locked for too long is ended. */
    void (*take)(void *flusher, const struct flush_identity *id, uint64_t term);
    /* One transaction behind those sent before: check and move the fence, upsert, delete, COMMIT.
     * Only after taken. Takes the content of @batch, which is left empty. A batch with `isolate` ends in
     * isolated (or failed), and goes only with nothing else under way. */
    void (*send)(void *flusher, struct flush_batch *batch);
    /* After isolated: say @note, show @mirror (NULL: leave it as it is), and COMMIT. Ends in committed. */
    void (*finish)(void *flusher, const struct flush_note *note, const struct flush_mirror *mirror);
    /* One transaction behind the batches sent before, that moves nothing: check that the fence is ours and
     * that the last batch is @last_batch, say @note, show @mirror (NULL: leave it). Ends in noted. Only after
     * taken, one at a time. */
    void (*note)(
        void *flusher, const struct flush_note *note, const struct flush_mirror *mirror, uint64_t last_batch);
    void (*disconnect)(void *flusher);
    /* As disconnect, with nothing under way, so that others may connect (flush_slots.h). */
    void (*release)(void *flusher);
    /* Do others wait for what release would give back? */
    bool (*wanted)(void *flusher);
};

#endif
