/* The cache state of one group's replica: the table of keys, what of it PostgreSQL does not have yet (the
 * queue and the batches in flight), and the flushed index. Pure and deterministic: what is replicated changes
 * only by the state_apply_* calls, in log order; clean entries and remembered absences are this replica's own
 * affair.
 *
 * An entry is
 *   absent   the database has no such key (a local memory; never dirty)
 *   clean    as PostgreSQL has it
 *   queued   its newest value waits in the queue
 *   batched  a value of it is in a batch in flight; it can be queued again at the same time
 *   quarantined  the database refuses its newest value, which waits here; batched while it is tried again
 * and, whatever else it is,
 *   retained  a batch that wrote it is remembered: when the database goes back to before that, it is dirty
 * again A deleted key that PostgreSQL may still have, or may have again, is an entry with value NULL (a
 * tombstone): queued, batched, quarantined or retained.
 *
 * Memory: values are immutable and counted; whoever keeps one beyond the call takes a reference. */
#ifndef WB_NODE_STATE_H
#define WB_NODE_STATE_H

#include "node/sessions.h"
#include "node/value.h"
#include "proto/base/buf.h"
#include "proto/base/list.h"
#include "proto/base/status.h"
#include "proto/limits.h"

struct state_batch;
struct state_flushed;
struct state_quarantine;

/* One key's place in the queue or in a batch. */
struct dirty_place {
    struct list link;        /* in state.queue or state_batch.places */
    uint64_t first_dirty;    /* index of its oldest write that PostgreSQL does not have; 0: not in a list */
    uint64_t dirty_stamp_ms; /* stamp of that log entry */
};

enum { STATE_AHEAD = 8 };

struct state_entry {
    struct value *value;    /* NULL: a tombstone, or absent */
    uint64_t version;       /* 0 when absent */
    uint64_t expires_at_ms; /* 0: never */
    struct dirty_place queued;
    struct dirty_place batched;
    struct state_batch *batch;           /* whose list `batched` is in, else NULL */
    struct list retained;                /* in flushed->places */
    struct state_flushed *flushed;       /* the newest batch in the database that wrote it, if remembered */
    struct state_quarantine *quarantine; /* owned; NULL: it is not in quarantine */
    uint32_t key_len;
    uint32_t expiry_place; /* 1 + its place in state.expiring; 0: it has no expiry */
    /* The length of `value`, 0 without one: a walk over the queue, a batch or a record needs it of every
     * entry, and the value itself lies where the processor would have to wait for it. */
    uint32_t value_len : 24;
    uint32_t type : 8; /* enum value_type */
    bool absent : 1;
    bool stale : 1; /* local: somebody else may have changed the row; only of retained entries that are not
                       dirty */
    bool tied : 1;  /* queued, and one of its writes since was a transaction's that wrote other keys, too */
    bool tied_batched : 1; /* in a batch, and was tied when that began */
    uint8_t evict_hits;    /* evict.h's own */
    uint8_t evict_queue;   /* likewise */
    /* The address of the entry that was queued STATE_AHEAD entries after this one, to be fetched while this
     * one is worked on; 0: none. A hint that may be out of date: never followed. */
    uintptr_t ahead;
    /* the table's own fields follow; see state_table.c */
    struct state_entry *next_in_bucket;
    uint64_t hash;
    uint8_t key[];
};

struct state_batch {
    struct list link; /* in state.batches */
    uint64_t id;
    struct list places; /* of entries' batched.link, in the queue's order */
    uint32_t rows;
    uint64_t bytes;                       /* keys and values when it was begun */
    bool retry;                           /* its rows are from the quarantine */
    uint64_t first_dirty, dirty_stamp_ms; /* of its oldest place when it was begun */
};

/* A batch that is in the database, remembered for the case that the database goes back to before it. */
struct state_flushed {
    struct list link; /* in state.flushed, by id */
    uint64_t id;
    uint64_t first_dirty; /* of its oldest row: every write below it is in earlier batches */
    uint64_t dirty_stamp_ms;
    uint64_t stamp_ms;  /* when it was known to be in the database */
    struct list places; /* of entries' retained: those that no later batch wrote */
    uint64_t trimmed;   /* rows given up since, which could not be written again */
    bool undone; /* the database went back to before it; what was kept of it is dirty again, or was flushed
                    later */
};

/* Why a key is in quarantine. */
struct state_quarantine {
    struct list link; /* in state.quarantine, the oldest first */
    struct state_entry *entry;
    uint64_t first_dirty; /* index of its oldest write that the database does not have */
    uint64_t dirty_stamp_ms;
    uint64_t refused_stamp_ms; /* of the last attempt */
    uint64_t refused_version;  /* what was refused; 0: one that was replaced while it was tried. The entry has
                                  another version when it was written since */
    uint32_t attempts;
    bool retry_now; /* the leader's own, not replicated: somebody asked for it */
    char sqlstate[6];
    char message[]; /* with its 0 */
};
enum { STATE_FAULT_MESSAGE_MAX = 400 }; /* bytes; longer ones are cut */

/* How a group flushes, as operators set it. */
struct state_control {
    bool paused;
    bool has_rows_per_second, has_batch_rows, has_batch_bytes, has_age_ms;
    uint32_t rows_per_second; /* 0: no limit */
    uint32_t batch_rows;
    uint64_t batch_bytes;
    uint32_t age_ms;
};

struct state {
    uint64_t applied_index; /* the last command applied */
    uint64_t stamp_ms;      /* its stamp */
    /* genesis */
    bool born;    /* Genesis has applied */
    bool claimed; /* Claimed has applied */
    uint8_t cluster_id[CLUSTER_ID_BYTES];
    uint32_t group_count;
    uint64_t version_base;
    /* the flush */
    uint64_t last_batch;                     /* the newest batch known to be in the database; 0 at first */
    uint64_t newest_batch;                   /* the newest one ever begun */
    struct state_entry *recent[STATE_AHEAD]; /* queued last, in a ring; NULL: none, or gone since */
    uint32_t recent_at;
    struct list queue;   /* of entries' queued.link, by first_dirty */
    struct list batches; /* of state_batch, in flight, oldest first */
    uint64_t queued_entries;
    uint64_t tied; /* of these */
    uint64_t batched_entries;
    uint64_t dirty_bytes; /* keys and values of entries that are dirty, each counted once */
    uint32_t batch_count;
    struct state_control control;
    /* quarantine */
    struct list quarantine; /* of state_quarantine, the oldest first */
    uint64_t quarantined;
    uint64_t quarantine_changes; /* local: it is another number whenever the quarantine may have changed */
    /* retention */
    bool retention_named; /* the log has said these: */
    uint64_t retention_ms, retention_bytes;
    struct list flushed; /* of state_flushed, by id */
    uint32_t flushed_count;
    struct state_flushed *trimming; /* derived: none before it has places; NULL: look from the first on */
    uint64_t retained;              /* entries */
    uint64_t retained_bytes;        /* keys and values of them, with STATE_RETAINED_BYTES for each */
    uint64_t recover_index;         /* until F has come back here, the database lacks what it had before */
    uint64_t rewinds;               /* how often the database went back in time */
    uint64_t lost; /* rows, at most, that it lost and memory did not have; until acknowledged */
    uint64_t lost_stamp_ms;
    struct sessions sessions;
    /* local: which entries have an expiry (a binary heap, the earliest first), which clean one goes next */
    struct state_entry **expiring;
    uint32_t expiring_n, expiring_cap;
    struct evict *evict;
    uint64_t clean_bytes; /* of state.bytes: what state_evict could give back of clean entries */
    /* the table */
    uint64_t entries;   /* present keys and tombstones, not absences */
    uint64_t present;   /* those that have a value */
    uint64_t absences;  /* at most STATE_ABSENCES_MAX */
    struct list absent; /* of absences' queued.link, oldest first */
    uint64_t bytes; /* estimate of all memory held: entries with overhead, values, buckets, batches, the heap
                       of expiries, the policy's own; not the sessions, which count themselves */
    struct state_table *table;
};

/* What an entry in retention counts for beside key and value. */
enum { STATE_RETAINED_BYTES = 256 };
/* Batches remembered; the oldest ones beyond are counted together. */
enum { STATE_FLUSHED_MAX = 4096 };

/* Remembering absences must not cost more memory than keys would: the oldest are forgotten beyond this. */
enum { STATE_ABSENCES_MAX = 65536 };

void state_init(struct state *s, uint64_t hash_seed);
void state_deinit(struct state *s);

/* A walk over the queue or a batch goes from one entry to the next all over memory, and would wait for each.
 * Let the one that comes some steps after @e be on its way. */
static inline void state_entry_fetch(const void *e)
{
    enum { LINE_BYTES = 64 };
    uintptr_t at = (uintptr_t)e; /* it may be NULL */
    __builtin_prefetch((const void *)at);
    __builtin_prefetch((const void *)(at + LINE_BYTES));
    __builtin_prefetch((const void *)(at + 2 * LINE_BYTES));
}
static inline void state_entry_fetch_ahead(const struct state_entry *e)
{
    state_entry_fetch((const void *)e->ahead);
}

/* The entries of @keys (at most STATE_FETCH_MAX) are needed soon, each of them somewhere in memory: let them
 * be on their way all at once, instead of waiting for one after the other. Changes nothing. */
enum { STATE_FETCH_MAX = 32 };
void state_fetch(const struct state *s, const struct bytes *keys, uint32_t n);
/* The entry of @key: also tombstones and absences. NULL when nothing is known in memory. */
struct state_entry *state_find(const struct state *s, struct bytes key);
static inline struct bytes state_entry_key(const struct state_entry *e)
{
    return bytes_of(e->key, e->key_len);
}
static inline bool state_entry_present(const struct state_entry *e)
{
    return e != NULL && e->value != NULL;
}
static inline bool state_entry_dirty(const struct state_entry *e)
{
    return e->queued.first_dirty != 0 || e->batched.first_dirty != 0 || e->quarantine != NULL;
}
/* May it leave memory at any time? */
static inline bool state_entry_evictable(const struct state_entry *e)
{
    return !state_entry_dirty(e) && e->flushed == NULL;
}

/* ---- Applying the log. @index and @stamp_ms are those of the log entry. ---- */

/* Call first for each entry, whatever its command is. The stamp never goes back. */
void state_apply_begin(struct state *s, uint64_t index, uint64_t stamp_ms);
/* Sessions: see sessions.h. The id of the @ordinal'th session that an entry opens. */
static inline uint64_t state_session_id(uint64_t index, uint32_t ordinal)
{
    return index << 16 | ordinal;
}
/* A second Genesis or Claimed is ignored (returns false). */
bool state_apply_genesis(
    struct state *s, const uint8_t cluster_id[CLUSTER_ID_BYTES], uint32_t group_count, uint64_t version_base);
bool state_apply_claimed(struct state *s);
/* The @ordinal'th write of the entry. @value NULL deletes; otherwise its reference is taken over.
 * Returns the version: version_base + (applied_index << 16 | ordinal). */
uint64_t state_apply_write(struct state *s, uint32_t ordinal, struct bytes key, uint8_t type,
    struct value *value, uint64_t expires_at_ms);
/* That write was one of several of a transaction: the database shall see all of them at once. */
void state_apply_tie(struct state *s, struct bytes key);
/* Move the first rows of the queue into a new batch with id applied_index: at most @rows_max, at most
 * @bytes_max of keys and values (but at least one row), stopping before a key that is still in a batch. NULL
 * when that leaves none.
 *
 * While there are tied keys in the queue, a batch begins when no other is in flight, and ends where it cuts
 * no transaction: before the limits if it can, else as soon after them as it can. Only what is more than
 * STATE_WHOLE_ROWS_MAX or STATE_WHOLE_BYTES_MAX is cut all the same: each replica applies it, and the leader
 * sends it, in one turn of its loop. */
enum { STATE_WHOLE_ROWS_MAX = 65536, STATE_WHOLE_BYTES_MAX = 32 << 20 };
struct state_batch *state_apply_flush_begin(struct state *s, uint32_t rows_max, uint64_t bytes_max);
/* The same, as if nothing was tied: when the whole of it is what the database does not take. */
struct state_batch *state_apply_flush_begin_cut(struct state *s, uint32_t rows_max, uint64_t bytes_max);
/* The same with those of @keys that are in quarantine and not in a batch. */
struct state_batch *state_apply_flush_retry(struct state *s, const struct bytes *keys, uint32_t n);
/* @batch is in the database: its keys are clean unless queued again, out of quarantine, and retained;
 * last_batch = @batch. What was retained for longer than agreed becomes ordinary.
 * False, and nothing changes, unless @batch is the oldest in flight and @predecessor is last_batch. */
bool state_apply_flushed(struct state *s, uint64_t batch, uint64_t predecessor);
/* @from_batch and all later batches go back to the queue's head with their old first_dirty, in order; a key
 * that is also queued keeps one place, the older. False when no batch in flight has an id >= @from_batch. */
bool state_apply_flush_abort(struct state *s, uint64_t from_batch);
/* The database refuses @key's row of @batch, which is in flight: the key leaves the batch and the queue for
 * the quarantine, with its newest value. False: it is not in that batch. @message is cut at
 * STATE_FAULT_MESSAGE_MAX. */
bool state_apply_quarantine(
    struct state *s, uint64_t batch, struct bytes key, const char *sqlstate, const char *message);
/* Give up what the quarantine holds of @key, and forget the key. False when it is not there, in a batch, or
 * has another newest version. */
bool state_apply_quarantine_drop(struct state *s, struct bytes key, uint64_t version);
/* The database's last batch is @last_batch, which is not ours. What later batches wrote is dirty again;
 * batches in flight are aborted. False, and nothing changes, when it is ours, or no batch ever begun is as
 * new as it. */
bool state_apply_rewind(struct state *s, uint64_t last_batch);
void state_apply_control(struct state *s, const struct state_control *control);
/* An operator has seen that @rows were lost. */
void state_apply_loss_acknowledged(struct state *s, uint64_t rows);
void state_apply_retention(struct state *s, uint64_t retention_ms, uint64_t retention_bytes);
/* Forget the copy of @key, also a retained one, unless it is dirty or has another version than @version (0:
 * an absence; a tombstone has its own). */
bool state_apply_forget(struct state *s, struct bytes key, uint64_t version);

/* ---- This replica's own clean copies ---- */

/* Remember a row that PostgreSQL has (reference taken over), or that it has none. Ignored (reference dropped)
 * when the key has an entry already, unless that is an absence. */
void state_put_clean(struct state *s, struct bytes key, uint8_t type, struct value *value, uint64_t version,
    uint64_t expires_at_ms);
void state_put_absent(struct state *s, struct bytes key);
/* Forget a clean entry or an absence. It must be evictable. */
void state_forget(struct state *s, struct state_entry *e);
/* Forget clean entries and absences, those first that are the least worth (evict.h), until @bytes of memory
 * are given back or nothing is left to give. Returns how many entries went. */
uint64_t state_evict(struct state *s, uint64_t bytes);
/* @e was read: it is worth more. (state_apply_write does this itself for an entry that had a value.) */
void state_touch(struct state_entry *e);

/* ---- Questions ---- */

/* F: every write with index <= F is in PostgreSQL or superseded there by a newer one, or its key is in
 * quarantine. */
uint64_t state_flushed_index(const struct state *s);
/* Keys of the quarantine that are being tried again. At most FLUSH_IN_FLIGHT_MAX batches are looked at. */
uint64_t state_retried(const struct state *s);
/* What F will be when every batch in flight is in PostgreSQL. */
uint64_t state_flushed_index_then(const struct state *s);
/* Did the database go back in time, and does not have everything again? */
bool state_recovering(const struct state *s);
/* The stamp at which the oldest unflushed write was made; 0 when there is none. */
uint64_t state_oldest_dirty_stamp_ms(const struct state *s);
/* The batch @id in flight, or NULL. */
struct state_batch *state_batch_find(const struct state *s, uint64_t id);
/* Of a place's link in a batch, its entry. */
static inline struct state_entry *state_batch_entry(struct list *link)
{
    return list_entry(link, struct state_entry, batched.link);
}
static inline struct state_entry *state_queue_entry(struct list *link)
{
    return list_entry(link, struct state_entry, queued.link);
}

/* The entry in memory that expires first, whatever the time is; NULL when none ever does. */
struct state_entry *state_next_expiring(const struct state *s);
/* Visit present keys from @cursor (0 to begin) on, looking at no more than about @looks entries (an empty
 * bucket of the table counts as one, so that a call's cost is bounded); returns the cursor to go on with, 0
 * when all were visited. An entry that is there from the first call to the last is visited exactly once,
 * however the table grows and shrinks in between. The state must not change during the call. Cursors belong
 * to this state and hash seed; any other number is harmless. */
uint64_t state_scan(const struct state *s, uint64_t cursor, uint32_t looks,
    void (*visit)(void *data, const struct state_entry *e), void *data);

/* ---- Snapshots ---- */

/* Append the replicated part, framed with format and checksum, to @out. Equal states give equal bytes. */
void state_snapshot(const struct state *s, struct buf *out);
/* Replace everything, clean entries and absences included. CORRUPT, or HALTED when another version of this
 * program wrote it: nothing was changed. */
enum status state_restore(struct state *s, struct bytes snapshot);
/* A hash of what is replicated. Two replicas at one index have the same. O(dirty). */
uint64_t state_hash(const struct state *s);
/* Is so little dirty that hashing it neither stalls the loop nor takes memory worth naming? */
bool state_hash_is_cheap(const struct state *s);

#endif
