/* The words between the node and the flush: rows, batches, the fence, errors. Plain data, no code. */
#ifndef WB_FLUSH_FLUSH_H
#define WB_FLUSH_FLUSH_H

#include <stdbool.h>

#include "proto/base/buf.h"
#include "proto/limits.h"
#include "proto/value_type.h"

/* One key's newest value, to be upserted or deleted. Borrows from the cache state. */
struct flush_row {
    struct bytes key;
    struct bytes value; /* of a hash: fields (see fields.h) */
    uint8_t type;       /* enum value_type */
    bool deleted;
    uint64_t version;
    uint64_t expires_at_ms; /* since 1970; 0: never */
};

/* What a fenced transaction says about the cluster beside the rows: columns of the group's fence row. */
struct flush_note {
    int64_t fresh_as_of_us; /* since 1970, by the server's clock; 0: as it was */
    uint64_t quarantined;
    uint64_t lost;   /* rows, not acknowledged yet */
    bool recovering; /* what a time travel undid is not all there again */
};

/* One row of <schema>.quarantine. Borrowed. */
struct flush_quarantined {
    struct bytes key;
    struct bytes value;
    uint8_t type; /* enum value_type */
    bool deleted;
    uint64_t version;
    uint64_t since_ms; /* since 1970: its oldest write that the database does not have */
    uint64_t refused_ms;
    uint32_t attempts;
    const char *sqlstate;
    const char *message;
};
/* The group's quarantine as the database shall show it: replaces all of the group's rows. */
struct flush_mirror {
    const struct flush_quarantined *rows;
    uint32_t n;
};
enum { FLUSH_MIRROR_MAX = 10000 }; /* more are not shown there */

/* A row that the database refused. Borrowed from the event. */
struct flush_fault {
    struct bytes key;
    char sqlstate[6];
    const char *message; /* one line */
};

/* The rows of one batch as PostgreSQL takes them: binary arrays, sorted by key. Owned: it stays whole
 * whatever happens to the cache meanwhile. */
struct flush_batch {
    uint64_t id;          /* the log index of its FlushBegin */
    uint64_t predecessor; /* the batch that the fence row must name before it */
    bool isolate;         /* find the rows that the database refuses, and write the others */
    struct flush_note note;
    uint32_t upserts;
    uint32_t hashes; /* of the upserts */
    uint32_t deletes;
    struct buf keys;     /* bytea[] */
    struct buf values;   /* bytea[], NULL for a hash */
    struct buf versions; /* int8[] */
    struct buf expires;  /* timestamptz[], NULL for never */
    struct buf fields;  /* bytea[]: JSON texts in UTF-8 (fields_json.h), NULL for a string; no element without
                           hashes */
    struct buf deleted; /* bytea[]: keys to delete */
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
    int64_t clock_us;    /* the server's clock_timestamp() when it was taken, since 1970 */
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
    bool in_rows;      /* a batch's own rows met it: the fence was passed */
    char message[512]; /* one line that says what happened, and what to do where that is known */
};

#endif
