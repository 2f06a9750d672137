/* The words between the node and the flush: rows, batches, the fence, errors. Plain data, no code. */
#ifndef WB_FLUSH_FLUSH_H
#define WB_FLUSH_FLUSH_H

#include <stdbool.h>

#include "proto/base/buf.h"
#include "proto/limits.h"

/* One key's newest value, to be upserted or deleted. Borrows from the cache state. */
struct flush_row {
    struct bytes key;
    struct bytes value;
    bool deleted;
    uint64_t version;
    uint64_t expires_at_ms; /* since 1970; 0: never */
};

/* The rows of one batch as PostgreSQL takes them: binary arrays, sorted by key. Owned: it stays whole
 * whatever happens to the cache meanwhile. */
struct flush_batch {
    uint64_t id;          /* the log index of its FlushBegin */
    uint64_t predecessor; /* the batch that the fence row must name before it */
    uint32_t upserts;
    uint32_t deletes;
    struct buf keys;     /* bytea[] */
    struct buf values;   /* bytea[] */
    struct buf versions; /* int8[] */
    struct buf expires;  /* timestamptz[], NULL for never */
    struct buf deleted;  /* bytea[]: keys to delete */
};

/* Who we are to the database. */
struct flush_identity {
    uint8_t cluster_id[CLUSTER_ID_BYTES];
    uint32_t group_count;
    uint32_t group;
    uint64_t version_base;
};

/* A fence row as taken (or looked at). */
struct fence_row {
    uint64_t epoch;      /* ours from now on */
    uint64_t last_batch; /* settles every unknown COMMIT */
};

/* What a look at the database before the first claim has shown. */
enum flush_inspection {
    FLUSH_DB_EMPTY,   /* no fence rows (the schema may or may not exist) */
    FLUSH_DB_OURS,    /* the fence rows are those of the cluster id that was asked about */
    FLUSH_DB_FOREIGN, /* another cluster's */
};
struct flush_inspected {
    enum flush_inspection found;
    uint8_t cluster_id[CLUSTER_ID_BYTES]; /* when not empty */
    uint32_t group_count;
    uint64_t version_ceiling; /* every version that the found cluster flushed lies below it; 0 when empty */
};

enum flush_error_class {
    FLUSH_ERROR_OUTAGE, /* connection, shutdown, resources, read-only, in recovery: back off and try again */
    FLUSH_ERROR_TRANSIENT,   /* deadlock, serialization: try again */
    FLUSH_ERROR_ROW,         /* data or constraint: some row of the batch is bad */
    FLUSH_ERROR_FENCED,      /* another term, epoch or cluster holds the fence row */
    FLUSH_ERROR_PREDECESSOR, /* the batch before this one is not there: it failed */
    FLUSH_ERROR_HALT,        /* needs an operator: permission, missing table or column, wrong schema version,
                                missing row, foreign cluster */
};
struct flush_error {
    enum flush_error_class class;
    char sqlstate[6];  /* "" when the connection itself failed */
    char message[512]; /* one line that says what happened, and what to do where that is known */
};

#endif
