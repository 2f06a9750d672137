/* The hash table of a cache state: chained buckets that grow and shrink a few at a time, so that no single
 * operation pays for ten million keys. It links entries; it neither creates nor frees them.
 *
 * While a resize is under way there are two arrays of buckets: entries move from `old` to `main`, bucket by
 * bucket in rising order, whenever an entry comes or goes. New entries always go to `main`. Look-ups move
 * nothing, so they work on a table that is const. */
#ifndef WB_NODE_STATE_TABLE_H
#define WB_NODE_STATE_TABLE_H

#include "node/state.h"

enum {
    STATE_TABLE_BUCKETS_MIN = 64,
    /* Per operation, at most so many chains are moved and so many empty buckets skipped: enough that a resize
     * ends before the next one is due. */
    STATE_TABLE_STEP_CHAINS = 4,
    STATE_TABLE_STEP_EMPTY = 32,
};

struct state_buckets {
    struct state_entry **heads; /* `count` of them; NULL when there is no such array */
    size_t count;               /* a power of two, or 0 */
    size_t used;                /* entries in these buckets */
};

struct state_table {
    uint64_t seed;
    struct state_buckets main;
    struct state_buckets old; /* being emptied by a resize */
    size_t old_next;          /* buckets of `old` below this are empty */
};

/* An empty table; never NULL. The hash of its keys is XXH3 with @seed. */
struct state_table *state_table_create(uint64_t seed);
/* Free the table. Its entries are the caller's affair, see state_table_each. */
void state_table_destroy(struct state_table *t);

/* The hash that state_table_find and state_entry.hash want. */
uint64_t state_table_hash(const struct state_table *t, struct bytes key);
/* The entry of @key, whose hash is @hash, or NULL. */
struct state_entry *state_table_find(const struct state_table *t, struct bytes key, uint64_t hash);
/* For those who look up many keys: bring the bucket of @hash from memory; then, its first entry (NULL: none).
 * While a resize is under way an entry may be in neither: a hint only. */
void state_table_fetch_bucket(const struct state_table *t, uint64_t hash);
struct state_entry *state_table_head(const struct state_table *t, uint64_t hash);
/* Link @e, whose hash is set and whose key is not in the table. */
void state_table_insert(struct state_table *t, struct state_entry *e);
/* Unlink @e, which must be in the table. */
void state_table_remove(struct state_table *t, struct state_entry *e);

/* Entries in the table. */
size_t state_table_count(const struct state_table *t);
/* Memory of the table itself: it depends on the history of operations, but of an empty table it is always the
 * same. */
size_t state_table_bytes(const struct state_table *t);
/* Visit every entry, in no useful order. @visit may free the entry when the table is destroyed next. */
void state_table_each(
    const struct state_table *t, void (*visit)(void *data, struct state_entry *e), void *data);
/* A part of a visit of every entry, that goes on at @cursor: 0 at first, then what the call before returned;
 * 0 again when it was the last part. Each call walks on until it has taken @looks looks (an entry is one, an
 * empty bucket is one; at least one bucket), so that its cost is bounded, and as long as the table does not
 * grow meanwhile the number of calls too. An entry that is in the table from the first call to the last is
 * visited exactly once, whatever else comes, goes or is resized between the calls. Any number is a cursor.
 * @visit must not change the table. */
uint64_t state_table_scan(const struct state_table *t, uint64_t cursor, uint32_t looks,
    void (*visit)(void *data, const struct state_entry *e), void *data);

#endif
