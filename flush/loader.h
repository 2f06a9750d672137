/* Reading through: what the node asks of the database for keys that are not in memory. */
#ifndef WB_FLUSH_LOADER_H
#define WB_FLUSH_LOADER_H

#include "flush/flush.h"

struct load_row {
    struct bytes key; /* borrowed until the event returns */
    struct bytes value;
    uint64_t version;
    uint64_t expires_at_ms; /* 0: never */
};

/* The answer to one load: the rows that exist (in any order), and the fence row from the same SQL snapshot.
 */
struct load_result {
    const struct load_row *rows;
    uint32_t n;
    bool fence_found; /* a fence row of our cluster and group count */
    bool in_recovery; /* a standby answered: conclude nothing, treat as down */
    uint64_t last_batch;
};

/* Exactly one of the two fires for each load, never from inside the call. @token is the caller's. */
struct loader_events {
    void (*loaded)(void *data, uint64_t token, const struct load_result *result);
    void (*load_failed)(void *data, uint64_t token, const struct flush_error *error);
};

struct loader_ops {
    /* One SELECT for all of @keys (borrowed until return; at most LIMIT_REQUEST_KEYS). @id->group's fence row
     * is read in the same statement. Several loads may be under way; they answer in any order. */
    void (*load)(
        void *loader, uint64_t token, const struct flush_identity *id, const struct bytes *keys, uint32_t n);
};

#endif
