/* Misses under way: one load a key, however many requests wait for it (single flight), packed into one SELECT
 * a turn. Pure. A load is dead once its key was written meanwhile: its row may be older than that write, so
 * it is dropped and the requests look again. All of them die with the leader's term.
 *
 * A load is overtaken when somebody else may have changed the row meanwhile: those who wait for it get what
 * it brings, as otherwise a row that is changed all the time could not be read; then it is forgotten. A load
 * is held when it brought another row than the retained one in memory: it ends when that has left. */
#ifndef WB_NODE_LOADS_H
#define WB_NODE_LOADS_H

#include "node/group.h"

struct load {
    struct list link;  /* in loads.fresh, load_batch.loads, loads.held or loads.overtaken */
    struct list waits; /* of load_wait.of_load */
    struct load *next_in_bucket;
    uint64_t hash;
    bool dead;
    bool written; /* that is why: the key is known without it, though some may wait for it still */
    bool overtaken;
    bool found;           /* there is a row */
    bool differs;         /* from the entry in memory, */
    uint64_t old_version; /* ... which has this version */
    struct bytes key;
    uint8_t key_data[];
};

/* One request waiting for one load. */
struct load_wait {
    struct list of_load;
    struct list of_request; /* in request->load_waits */
    struct load *load;
    struct group_request *request;
};

/* The loads of one SELECT. */
struct load_batch {
    struct list link; /* in loads.sent */
    uint64_t token;
    uint64_t last_batch; /* the group's when it was sent: a database behind it has gone back in time */
    struct list loads;
    uint32_t n;
};

struct loads {
    struct load **buckets;
    uint32_t bucket_count;
    uint32_t n;
    uint64_t hash_seed;
    struct list fresh; /* not sent yet */
    uint32_t fresh_n;
    struct list sent;
    struct list held;
    uint32_t written_n;    /* of all: those whose key was written */
    struct list overtaken; /* ended, and not in the table of loads any more: their keys are to be forgotten */
    uint64_t last_token;
};

void loads_init(struct loads *l, uint64_t hash_seed);
void loads_deinit(struct loads *l);
/* Let @request wait for @key, whose load is started if it is not under way. */
void loads_wait(struct loads *l, struct bytes key, struct group_request *request);
/* Start the load of @key, unless it is under way, though nobody waits for it. */
void loads_start(struct loads *l, struct bytes key);
/* @request waits for nothing any more. */
void loads_forget_request(struct group_request *request);
/* The load under way for @key, or NULL. */
struct load *loads_find(const struct loads *l, struct bytes key);
/* A write to @key was proposed or applied. */
void loads_key_written(struct loads *l, struct bytes key);
/* Somebody else may have changed the row of @key, or of all keys. */
void loads_key_heard(struct loads *l, struct bytes key);
void loads_all_heard(struct loads *l);
/* Take up to @max fresh loads as a batch to send; NULL when there are none. */
struct load_batch *loads_next_batch(struct loads *l, uint32_t max, uint64_t last_batch);
/* The batch of @token, taken out; NULL when it was cancelled meanwhile. */
struct load_batch *loads_batch_done(struct loads *l, uint64_t token);
/* End one load of a batch that was taken out. Its requests lose one wait each; those with none left are
 * appended to
 * @ready. */
void loads_end(struct loads *l, struct load *load, struct list *ready);
/* One load of a batch that was taken out must wait: it ends later, with loads_end. */
void loads_hold(struct loads *l, struct load *load);
/* A load that ended overtaken, taken out, for the caller to free; NULL when there is none. */
struct load *loads_next_overtaken(struct loads *l);
/* One load of a batch that was taken out was not answered: it is fresh again. */
void loads_again(struct loads *l, struct load *load);
/* Free a batch whose loads have all ended. */
void loads_batch_free(struct load_batch *batch);
/* Drop all loads; no request may wait any more. */
void loads_cancel_all(struct loads *l);

#endif
