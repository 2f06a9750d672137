/* What is proposed and not applied yet: the log entries in flight, the newest proposed write of each key,
 * against which the leader evaluates what comes next, and what sessions' requests in them came to, which
 * their retries join. Pure. Dies with the leader's term. */
#ifndef WB_NODE_OVERLAY_H
#define WB_NODE_OVERLAY_H

#include "node/state.h"
#include "proto/base/arena.h"
#include "proto/base/list.h"

struct proposal;

/* One write in a log entry in flight (or in the open one). */
struct pending_write {
    struct bytes key;    /* in the proposal's arena */
    struct value *value; /* a reference; NULL: delete */
    uint64_t expires_at_ms;
    uint8_t type;
    uint32_t ordinal; /* its place in the entry */
    uint64_t conn_id;
    bool many;        /* another connection's write to this key was in flight when this one came */
    bool replaceable; /* nobody is, or was, told its version: see overlay_replace */
    bool tied;        /* a transaction wrote it and other keys */
    struct proposal *proposal;
    struct pending_write *next; /* in the proposal */
    /* the overlay's own */
    uint64_t hash;
    struct pending_write *next_in_bucket;
    struct pending_write *older; /* the write it hides, */
    uint64_t older_seq;          /* ... as long as this proposal has not applied */
};

/* What a request of a session came to. */
struct pending_outcome {
    uint64_t session, sequence, first_awaited;
    enum status status;
    struct bytes results; /* see outcome.h; in the proposal's arena */
    struct proposal *proposal;
    struct pending_outcome *next; /* in the proposal */
    struct pending_outcome *next_in_bucket;
};

/* One log entry of writes. */
struct proposal {
    struct list link; /* in overlay.in_flight */
    uint64_t seq;
    uint64_t index; /* its log index; 0 while it is open */
    struct arena arena;
    struct pending_write *first, *last;
    uint32_t n_writes;
    struct pending_outcome *first_outcome, *last_outcome;
    uint32_t n_outcomes;
    uint32_t sessions_opened;
    size_t bytes;        /* keys, values and their framing: what the entry will have, about */
    struct list writers; /* requests done by its apply */
    struct list readers; /* requests evaluated again after it */
};

struct overlay {
    struct pending_write **buckets;
    uint32_t bucket_count; /* a power of two */
    uint32_t keys;
    uint64_t hash_seed;
    struct pending_outcome **outcome_buckets;
    uint32_t outcome_bucket_count; /* a power of two */
    uint32_t outcomes;
    struct list in_flight; /* proposals, oldest first */
    uint32_t in_flight_count;
    struct proposal *open; /* being filled, or NULL */
    uint64_t last_seq;
    uint64_t applied_seq; /* the newest proposal that has left by applying */
    uint64_t bytes;       /* keys and values in all of them */
};

/* What one write adds to the size of a log entry, about. */
size_t overlay_write_bytes(size_t key_len, size_t value_len);

void overlay_init(struct overlay *o, uint64_t hash_seed);
void overlay_deinit(struct overlay *o); /* it must be empty */

/* The newest proposed write of @key, or NULL. */
struct pending_write *overlay_find(const struct overlay *o, struct bytes key);
/* The open proposal; made when there is none. */
struct proposal *overlay_open(struct overlay *o);
/* Is there anything in @p to be logged? */
static inline bool proposal_empty(const struct proposal *p)
{
    return p->n_writes + p->n_outcomes + p->sessions_opened == 0;
}
/* Add a write to the open proposal: copies @key, takes over the reference to @value (NULL: delete). */
struct pending_write *overlay_add(struct overlay *o, struct bytes key, uint8_t type, struct value *value,
    uint64_t expires_at_ms, uint64_t conn_id);
/* Let @w, which is replaceable, the newest write of its key, and in the open proposal, have been this write
 * instead (takes over the reference to @value): so a key that is written again and again is in the entry
 * once. Who saw the one before is answered when the entry has applied; that there was it nobody can tell from
 * the entry. */
void overlay_replace(struct overlay *o, struct pending_write *w, uint8_t type, struct value *value,
    uint64_t expires_at_ms, uint64_t conn_id);
/* How the open proposal (there need not be one) is now. */
struct overlay_mark {
    uint32_t n_writes;
    struct arena_mark arena;
};
struct overlay_mark overlay_mark(const struct overlay *o);
/* Take the writes back that were added to the open proposal since @mark, with their memory. */
void overlay_undo(struct overlay *o, struct overlay_mark mark);
/* Add to the open proposal what (@session, @sequence), which is not in the overlay yet, came to. Copies
 * @results. */
void overlay_add_outcome(struct overlay *o, uint64_t session, uint64_t sequence, uint64_t first_awaited,
    enum status status, struct bytes results);
struct pending_outcome *overlay_find_outcome(const struct overlay *o, uint64_t session, uint64_t sequence);
/* The open proposal was given to the log as entry @index: it is in flight now. */
void overlay_proposed(struct overlay *o, uint64_t index);
/* The log refused the open proposal: its writes never were. It is taken out; destroy it with
 * proposal_destroy. */
struct proposal *overlay_refused(struct overlay *o);
/* The oldest proposal in flight has applied; taken out likewise. NULL unless its number is @seq. */
struct proposal *overlay_applied(struct overlay *o, uint64_t seq);
/* Any proposal, in flight or open, oldest first, when the term ends; NULL when none is left. */
struct proposal *overlay_abandon(struct overlay *o);
/* Its lists of requests must be empty. */
void proposal_destroy(struct proposal *p);

#endif
