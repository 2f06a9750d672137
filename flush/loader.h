/* Reading through: what the node asks of the database for keys that are not in memory. */
#ifndef WB_FLUSH_LOADER_H
#define WB_FLUSH_LOADER_H

#include "flush/flush.h"

struct load_row {
    struct bytes key;   /* borrowed until the event returns */
    struct bytes value; /* of a hash: fields (see fields.h), valid ones */
    uint8_t type;       /* enum value_type */
    uint64_t version;
    uint64_t expires_at_ms; /* 0: never */
};

/* The answer to one load: the rows that exist (in any order), and the fence row from the same SQL snapshot.
 * An answer's values are bounded, so it may say nothing about some of the keys: those are named in `later`,
 * to be asked for again. A key in none of rows, later and bad has no row. Each answer tells of at least one
 * key, unless none was asked for or a standby answered. Expired rows come as they are. All keys are borrowed
 * like rows. */
struct load_result {
    const struct load_row *rows;
    uint32_t n;
    const struct bytes *later; /* ask again: what they have did not fit, or was not looked at */
    uint32_t later_n;
    const struct bytes *bad; /* keys with a row that this cache cannot have written (no value, one that is too
                                long, fields that are no hash, no version, one below 1) */
    uint32_t bad_n;
    bool fence_found; /* a fence row of our cluster and group count */
    bool in_recovery; /* a standby answered: conclude nothing, treat as down */
    uint64_t last_batch;
};

/* Exactly one of the first two fires for each load, never from inside the call. @token is the caller's. */
struct loader_events {
    void (*loaded)(void *data, uint64_t token, const struct load_result *result);
    void (*load_failed)(void *data, uint64_t token, const struct flush_error *error);
    /* The answer to find_expired: @n keys (borrowed) of any group; 0 also when it failed. */
    void (*expired_found)(void *data, uint64_t token, const struct bytes *keys, uint32_t n);
};

struct loader_ops {
    /* Load @keys (all different; borrowed until return; at most LIMIT_REQUEST_KEYS). @id->group's fence row
     * is read in the same statement. Several loads may be under way; they answer in any order. */
    void (*load)(
        void *loader, uint64_t token, const struct flush_identity *id, const struct bytes *keys, uint32_t n);
    /* Look for up to @keys_max keys, of any group, whose rows expired before @before_ms (since 1970), the
     * earliest first. Ends in expired_found, with none while the database is down or a standby. Rows that
     * a load would call bad are passed over. */
    void (*find_expired)(void *loader, uint64_t token, uint64_t before_ms, uint32_t keys_max);
};

#endif
