/* What the files state*.c share: the moves that keep
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
static inline uint64_t state_entry_weight(const struct state_entry *e)
{
    return (uint64_t)e->key_len + e->value_len;
}
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
/* @e, which is queued, goes to the database together with what was written with it. */
void state_tie(struct state *s, struct state_entry *e);
/* Take @e out of the queue. If it is dirty in no other way it is clean then, and in no list. */
void state_unqueue(struct state *s, struct state_entry *e);
/* Put @e, which is not queued, before @position in the queue. */
void state_enqueue_before(struct state *s, struct state_entry *e, struct list *position, uint64_t first_dirty,
    uint64_t dirty_stamp_ms);
/* Take @e out of its batch; likewise. */
void state_batch_leave(struct state *s, struct state_entry *e);
/* A new, empty batch behind those in flight. */
struct state_batch *state_batch_add(struct state *s, uint64_t id);
/* Put @e, which is in no batch, at the end of @b. Its bytes are counted as they are now. */
void state_batch_push(struct state *s, struct state_batch *b, struct state_entry *e, uint64_t first_dirty,
    uint64_t dirty_stamp_ms);

/* Is @e one of those that may leave memory: a value that PostgreSQL has? An entry is also this between
 * state_assign and state_enqueue or state_batch_push, or between its places: then it is in no list yet. */
static inline bool state_entry_clean(const struct state_entry *e)
{
    return e->value != NULL && state_entry_evictable(e);
}
/* @e has lost a place: if nothing holds it any more it comes to those that may be evicted, or goes, when it
 * is a delete that the database has. */
void state_settle(struct state *s, struct state_entry *e);
/* @e, which is clean, comes to those that may be evicted, or leaves them: before its size changes. */
void state_clean_enter(struct state *s, struct state_entry *e);
void state_clean_leave(struct state *s, struct state_entry *e);

/* ---- state_quarantine.c ---- */
/* Put @e, which is not there, into the quarantine, as the last one. */
struct state_quarantine *state_quarantine_enter(struct state *s, struct state_entry *e, uint64_t first_dirty,
    uint64_t dirty_stamp_ms, const char *sqlstate, struct bytes message);
void state_quarantine_leave(struct state *s, struct state_entry *e);
/* Memory of it, as state.bytes counts it. */
uint64_t state_quarantine_bytes(const struct state_quarantine *q);

/* ---- state_flushed.c ---- */
enum { STATE_FLUSHED_BYTES = sizeof(struct state_flushed) + STATE_ALLOC_BYTES };
/* A new record behind the others. */
struct state_flushed *state_flushed_add(
    struct state *s, uint64_t id, uint64_t first_dirty, uint64_t dirty_stamp_ms, uint64_t stamp_ms);
/* @e's newest flush is @f now. */
void state_retain(struct state *s, struct state_flushed *f, struct state_entry *e);
/* @e is not remembered any more; it stays in no list. */
void state_unretain(struct state *s, struct state_entry *e);
/* The same, and what it wrote could not be written again. */
void state_give_up(struct state *s, struct state_entry *e);
/* Keep no more than is agreed. */
void state_trim(struct state *s);
void state_flushed_free_all(struct state *s);

/* Set @e's expiry (0: none) and its place in the heap. */
void state_set_expiry(struct state *s, struct state_entry *e, uint64_t expires_at_ms);
/* Memory of the heap, as state.bytes counts it. */
uint64_t state_expiring_bytes(const struct state *s);

#endif
