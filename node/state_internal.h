/* What state.c, state_clean.c, state_expiry.c, state_snapshot.c and state_check.c share: the moves that keep
 * a state's sums right. Nobody else includes this. */
#ifndef WB_NODE_STATE_INTERNAL_H
#define WB_NODE_STATE_INTERNAL_H

#include "node/evict.h"
#include "node/state.h"

/* What the allocator adds to a piece of memory, roughly. */
enum { STATE_ALLOC_BYTES = 16 };
/* What a piece of @size bytes takes. */
static inline uint64_t state_piece_bytes(uint64_t size)
{
    return size + STATE_ALLOC_BYTES;
}

/* Memory of @e itself and of its value, as state.bytes counts it. A value that others hold too is counted in
 * full. */
uint64_t state_entry_bytes(const struct state_entry *e);
/* Key and value of @e, as dirty_bytes and a batch's bytes count it. */
uint64_t state_entry_weight(const struct state_entry *e);
/* Memory of a batch in flight, as state.bytes counts it. */
enum { STATE_BATCH_BYTES = sizeof(struct state_batch) + STATE_ALLOC_BYTES };

/* A new entry for @key, which must not be in the table: no value, version 0, clean; an absence when @absent.
 */
struct state_entry *state_add(struct state *s, struct bytes key, bool absent);
/* Unlink and free @e, which must not be dirty. */
void state_drop(struct state *s, struct state_entry *e);
/* Give @e its newest content: the reference to @value (NULL: a tombstone) is taken over. An absence becomes
 * an entry. @e must not be among the clean ones. */
void state_assign(struct state *s, struct state_entry *e, uint8_t type, struct value *value, uint64_t version,
    uint64_t expires_at_ms);
/* Put @e, which is not queued, at the queue's tail. */
void state_enqueue(struct state *s, struct state_entry *e, uint64_t first_dirty, uint64_t dirty_stamp_ms);
/* A new, empty batch behind those in flight. */
struct state_batch *state_batch_add(struct state *s, uint64_t id);
/* Put @e, which is in no batch, at the end of @b. Its bytes are counted as they are now. */
void state_batch_push(struct state *s, struct state_batch *b, struct state_entry *e, uint64_t first_dirty,
    uint64_t dirty_stamp_ms);

/* Is @e one of those that may leave memory: a value that PostgreSQL has? An entry is also this between
 * state_assign and state_enqueue or state_batch_push, or between its places: then it is in no list yet. */
static inline bool state_entry_clean(const struct state_entry *e)
{
    return e->value != NULL && !state_entry_dirty(e);
}
/* @e, which is clean, comes to those that may be evicted, or leaves them: before its size changes. */
void state_clean_enter(struct state *s, struct state_entry *e);
void state_clean_leave(struct state *s, struct state_entry *e);

/* Set @e's expiry (0: none) and its place in the heap. */
void state_set_expiry(struct state *s, struct state_entry *e, uint64_t expires_at_ms);
/* Memory of the heap, as state.bytes counts it. */
uint64_t state_expiring_bytes(const struct state *s);

#endif
