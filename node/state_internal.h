/* What state.c, state_snapshot.c and state_check.c share: the moves that keep a state's sums right. Nobody
 * else includes this. */
#ifndef WB_NODE_STATE_INTERNAL_H
#define WB_NODE_STATE_INTERNAL_H

#include "node/state.h"

/* What the allocator adds to a piece of memory, roughly. */
enum { STATE_ALLOC_BYTES = 16 };

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
/* Give @e its newest content: the reference to @value (NULL: a tombstone) is taken over. An absence becomes
 * an entry. */
void state_assign(struct state *s, struct state_entry *e, uint8_t type, struct value *value, uint64_t version,
    uint64_t expires_at_ms);
/* Put @e, which is not queued, at the queue's tail. */
void state_enqueue(struct state *s, struct state_entry *e, uint64_t first_dirty, uint64_t dirty_stamp_ms);
/* A new, empty batch behind those in flight. */
struct state_batch *state_batch_add(struct state *s, uint64_t id);
/* Put @e, which is in no batch, at the end of @b. Its bytes are counted as they are now. */
void state_batch_push(struct state *s, struct state_batch *b, struct state_entry *e, uint64_t first_dirty,
    uint64_t dirty_stamp_ms);

#endif
