/* S3-FIFO: Yang et al., "FIFO Queues are All You Need for Cache Eviction", SOSP 2023, section 4.
 *
 *                    used once or more
 *   new --> small ----------------------> main <--+ used: again, with one hit less
 *             |  \                         |  \___/
 *             |   not used: goes, noted    not used: goes
 *             v
 *           ghosts:  a new entry that is noted here enters main at once
 *
 * Both queues are FIFO, and a use only counts up to 3 on the entry. `small` holds a tenth of the bytes: while
 * it has more, its oldest is looked at, else that of `main`. The paper moves to `main` what was used more
 * than once; here once is enough, which was better in the study (docs/measurements.md).
 *
 * There are about as many ghosts as entries: a table of buckets of 16 hashes of 32 bits, a cache line each. A
 * bucket forgets its oldest for a new one, so that the whole is nearly a FIFO of its size. It is made by the
 * first entry that it is to hold, and dropped when it has become too big or too small for the entries held.
 * That forgets all ghosts, costs a few hits and no time: copying millions would hold up the loop. */
#include "node/evict.h"

#include <stdlib.h>
#include <string.h>

#include "node/state.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"

enum { QUEUE_NONE, QUEUE_SMALL, QUEUE_MAIN }; /* state_entry.evict_queue; kept while dirty */

enum { HITS_MAX = 3, SMALL_SHARE = 10 /* one in so many bytes */, GHOSTS_PER_BUCKET = 16 };

struct queue {
    struct list entries; /* of state_entry.queued.link, the oldest first */
    uint64_t bytes;
};

struct ghost_bucket {
    uint32_t marks[GHOSTS_PER_BUCKET]; /* upper halves of hashes, the newest first; 0: none */
};

struct evict {
    struct queue small, main;
    uint64_t held; /* entries in both */
    struct ghost_bucket *ghosts;
    uint64_t ghost_buckets; /* 0: ghosts is NULL */
};

struct evict *evict_create(void)
{
    struct evict *v = xcalloc(1, sizeof *v);
    list_init(&v->small.entries);
    list_init(&v->main.entries);
    return v;
}

void evict_destroy(struct evict *v)
{
    free(v->ghosts);
    free(v);
}

/* ---- Ghosts ---- */

static void ghosts_drop(struct evict *v)
{
    free(v->ghosts);
    v->ghosts = NULL;
    v->ghost_buckets = 0;
}

static struct ghost_bucket *ghosts_bucket(const struct evict *v, uint64_t hash)
{
    return &v->ghosts[(hash & UINT32_MAX) * v->ghost_buckets >> 32];
}

static uint32_t ghosts_mark(uint64_t hash)
{
    uint32_t mark = (uint32_t)(hash >> 32);
    return mark != 0 ? mark : 1;
}

/* Put @mark at the head of @b; what was before @place moves back by one. */
static void ghosts_shift(struct ghost_bucket *b, uint32_t place, uint32_t mark)
{
    memmove(&b->marks[1], &b->marks[0], place * sizeof b->marks[0]);
    b->marks[0] = mark;
}

static void ghosts_note(struct evict *v, uint64_t hash)
{
    uint64_t slots = v->ghost_buckets * GHOSTS_PER_BUCKET;
    if (v->held > slots + slots / 3) {
        ghosts_drop(v);
        v->ghost_buckets = v->held / GHOSTS_PER_BUCKET;
        if (v->ghost_buckets == 0) {
            return; /* so few entries: nothing is worth remembering */
        }
        v->ghosts = xcalloc(v->ghost_buckets, sizeof *v->ghosts);
    }
    if (v->ghost_buckets != 0) {
        ghosts_shift(ghosts_bucket(v, hash), GHOSTS_PER_BUCKET - 1, ghosts_mark(hash));
    }
}

/* Was @hash noted, and not forgotten since? It is forgotten now. */
static bool ghosts_take(struct evict *v, uint64_t hash)
{
    if (v->ghost_buckets == 0) {
        return false;
    }
    struct ghost_bucket *b = ghosts_bucket(v, hash);
    uint32_t mark = ghosts_mark(hash);
    for (uint32_t i = 0; i < GHOSTS_PER_BUCKET; i++) {
        if (b->marks[i] == mark) {
            memmove(&b->marks[i], &b->marks[i + 1], (GHOSTS_PER_BUCKET - 1 - i) * sizeof mark);
            b->marks[GHOSTS_PER_BUCKET - 1] = 0;
            return true;
        }
    }
    return false;
}

/* Keep the promise of EVICT_ENTRY_BYTES_MAX. */
static void ghosts_bound(struct evict *v)
{
    if (v->ghost_buckets * sizeof *v->ghosts > v->held * EVICT_ENTRY_BYTES_MAX) {
        ghosts_drop(v);
    }
}

uint64_t evict_bytes(const struct evict *v)
{
    return sizeof *v + v->ghost_buckets * sizeof *v->ghosts;
}

/* ---- Queues ---- */

static struct queue *queue_of(struct evict *v, const struct state_entry *e)
{
    CHECK(e->evict_queue == QUEUE_SMALL || e->evict_queue == QUEUE_MAIN);
    return e->evict_queue == QUEUE_SMALL ? &v->small : &v->main;
}

static void enter(struct evict *v, struct state_entry *e, uint64_t bytes)
{
    struct queue *q = queue_of(v, e);
    list_push_back(&q->entries, &e->queued.link);
    q->bytes += bytes;
    v->held++;
}

static void leave(struct evict *v, struct state_entry *e, uint64_t bytes)
{
    struct queue *q = queue_of(v, e);
    CHECK(q->bytes >= bytes && v->held > 0);
    list_remove(&e->queued.link);
    q->bytes -= bytes;
    v->held--;
}

void evict_add(struct evict *v, struct state_entry *e, uint64_t bytes)
{
    if (e->evict_queue == QUEUE_NONE) {
        e->evict_queue = ghosts_take(v, e->hash) ? QUEUE_MAIN : QUEUE_SMALL;
    }
    enter(v, e, bytes);
}

void evict_remove(struct evict *v, struct state_entry *e, uint64_t bytes)
{
    leave(v, e, bytes);
    ghosts_bound(v);
}

void evict_touch(struct state_entry *e)
{
    e->evict_hits += e->evict_hits < HITS_MAX;
}

/* Whose oldest is looked at next; NULL when both are empty. */
static struct queue *queue_to_look_at(struct evict *v)
{
    bool small_is_due = v->small.bytes * SMALL_SHARE >= v->small.bytes + v->main.bytes;
    if (!list_empty(&v->small.entries) && (small_is_due || list_empty(&v->main.entries))) {
        return &v->small;
    }
    return list_empty(&v->main.entries) ? NULL : &v->main;
}

/* @e was used: it stays, as the newest of the main queue. */
static void keep(struct evict *v, struct state_entry *e, uint64_t bytes)
{
    leave(v, e, bytes);
    e->evict_hits = e->evict_queue == QUEUE_SMALL ? 0 : e->evict_hits - 1;
    e->evict_queue = QUEUE_MAIN;
    enter(v, e, bytes);
}

struct state_entry *evict_choose(struct evict *v, uint64_t (*bytes_of_entry)(const struct state_entry *e))
{
    struct queue *q;
    for (uint32_t looks = 1; (q = queue_to_look_at(v)) != NULL; looks++) {
        struct state_entry *e = list_entry(q->entries.next, struct state_entry, queued.link);
        if (e->evict_hits == 0 || looks >= EVICT_LOOKS_MAX) {
            if (q == &v->small) {
                ghosts_note(v, e->hash);
            }
            return e;
        }
        keep(v, e, bytes_of_entry(e));
    }
    return NULL;
}
