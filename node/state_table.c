#include "node/state_table.h"

#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"

/* Big arrays come from calloc as untouched zero pages, so starting a resize costs no pass over the new array.
 */
static struct state_buckets buckets_create(size_t count)
{
    return (struct state_buckets){.heads = xcalloc(count, sizeof(struct state_entry *)), .count = count};
}

static void buckets_free(struct state_buckets *b)
{
    free(b->heads);
    *b = (struct state_buckets){0};
}

static struct state_entry **bucket_of(const struct state_buckets *b, uint64_t hash)
{
    return &b->heads[hash & (b->count - 1)];
}

static void push(struct state_buckets *b, struct state_entry *e)
{
    struct state_entry **head = bucket_of(b, e->hash);
    e->next_in_bucket = *head;
    *head = e;
    b->used++;
}

struct state_table *state_table_create(uint64_t seed)
{
    struct state_table *t = xcalloc(1, sizeof *t);
    t->seed = seed;
    t->main = buckets_create(STATE_TABLE_BUCKETS_MIN);
    return t;
}

void state_table_destroy(struct state_table *t)
{
    buckets_free(&t->main);
    buckets_free(&t->old);
    free(t);
}

uint64_t state_table_hash(const struct state_table *t, struct bytes key)
{
    return bytes_hash(key, t->seed);
}

static struct state_entry *find_in(const struct state_buckets *b, struct bytes key, uint64_t hash)
{
    for (struct state_entry *e = *bucket_of(b, hash); e != NULL; e = e->next_in_bucket) {
        if (e->hash == hash && bytes_equal(state_entry_key(e), key)) {
            return e;
        }
    }
    return NULL;
}

struct state_entry *state_table_find(const struct state_table *t, struct bytes key, uint64_t hash)
{
    struct state_entry *found = find_in(&t->main, key, hash);
    if (found == NULL && t->old.heads != NULL) {
        found = find_in(&t->old, key, hash);
    }
    return found;
}

void state_table_fetch_bucket(const struct state_table *t, uint64_t hash)
{
    __builtin_prefetch(bucket_of(&t->main, hash));
}

struct state_entry *state_table_head(const struct state_table *t, uint64_t hash)
{
    return *bucket_of(&t->main, hash);
}

static void move_chain(struct state_table *t, struct state_entry **head)
{
    while (*head != NULL) {
        struct state_entry *e = *head;
        *head = e->next_in_bucket;
        t->old.used--;
        push(&t->main, e);
    }
}

/* Move a bounded part of a resize that is under way. */
static void resize_step(struct state_table *t)
{
    if (t->old.heads == NULL) {
        return;
    }
    size_t chains = 0;
    size_t empty = 0;
    while (t->old.used > 0 && chains < STATE_TABLE_STEP_CHAINS && empty < STATE_TABLE_STEP_EMPTY) {
        struct state_entry **head = &t->old.heads[t->old_next++];
        if (*head == NULL) {
            empty++;
        } else {
            chains++;
            move_chain(t, head);
        }
    }
    if (t->old.used == 0) {
        buckets_free(&t->old);
    }
}

static void resize_start(struct state_table *t, size_t count)
{
    t->old = t->main;
    t->old_next = 0;
    t->main = buckets_create(count);
}

void state_table_insert(struct state_table *t, struct state_entry *e)
{
    resize_step(t);
    if (t->old.heads == NULL && t->main.used >= t->main.count) {
        resize_start(t, t->main.count * 2);
    }
    push(&t->main, e);
}

static bool unlink_from(struct state_buckets *b, struct state_entry *e)
{
    if (b->heads == NULL) {
        return false;
    }
    struct state_entry **at = bucket_of(b, e->hash);
    while (*at != NULL && *at != e) {
        at = &(*at)->next_in_bucket;
    }
    if (*at == NULL) {
        return false;
    }
    *at = e->next_in_bucket;
    e->next_in_bucket = NULL;
    b->used--;
    return true;
}

void state_table_remove(struct state_table *t, struct state_entry *e)
{
    CHECK(unlink_from(&t->main, e) || unlink_from(&t->old, e));
    resize_step(t);
    if (t->old.heads == NULL && t->main.count > STATE_TABLE_BUCKETS_MIN && t->main.used < t->main.count / 8) {
        /* To a quarter: load 1/2, as far from the next growth as from the next shrinking. */
        size_t count = t->main.count / 4;
        resize_start(t, count < STATE_TABLE_BUCKETS_MIN ? STATE_TABLE_BUCKETS_MIN : count);
    }
}

size_t state_table_count(const struct state_table *t)
{
    return t->main.used + t->old.used;
}

size_t state_table_bytes(const struct state_table *t)
{
    return sizeof *t + (t->main.count + t->old.count) * sizeof(struct state_entry *);
}

static void each_in(
    const struct state_buckets *b, void (*visit)(void *data, struct state_entry *e), void *data)
{
    for (size_t i = 0; i < b->count; i++) {
        struct state_entry *e = b->heads[i];
        while (e != NULL) {
            struct state_entry *next = e->next_in_bucket;
            visit(data, e);
            e = next;
        }
    }
}

void state_table_each(
    const struct state_table *t, void (*visit)(void *data, struct state_entry *e), void *data)
{
    each_in(&t->main, visit, data);
    each_in(&t->old, visit, data);
}

/* ---- Scanning: a visit in parts, over a table that is resized between them ----
 *
 * The order of the visit is that of the entries' ranks: an entry's rank is its hash with the order of the 64
 * bits reversed. Bucket b of an array with 2^k buckets holds the entries whose hashes end in the k bits of b,
 * so it holds exactly those whose ranks begin with the k bits of b reversed: an interval of ranks, the 2^k of
 * them side by side, without a gap. (Walking the buckets of an array in this order is counting up with the
 * bits reversed, the way of Pieter Noordhuis in Redis' dictScan.)
 *
 * The cursor is a rank: whatever has a lower one was visited. A step goes to the end of the bucket that the
 * cursor is in, of the array with more buckets; it looks into that bucket and into the one of the other array
 * that covers the same ranks, and visits what has its rank between the cursor and that end. In which of the
 * two arrays an entry is, how far a resize has come and in which order it moves buckets makes no difference:
 * an entry is in exactly one bucket, which is the one of its hash in one of the arrays, and both such buckets
 * are looked into. A rank never changes and the steps' intervals cover all ranks without overlap, from the
 * first call to the last, whatever the sizes of the arrays are at each. So an entry that stays is visited
 * once: more than dictScan promises, which keeps whole buckets and visits some entries twice when a table
 * shrinks. */

static uint64_t reversed(uint64_t bits)
{
    bits = (bits & UINT64_C(0x5555555555555555)) << 1 | (bits >> 1 & UINT64_C(0x5555555555555555));
    bits = (bits & UINT64_C(0x3333333333333333)) << 2 | (bits >> 2 & UINT64_C(0x3333333333333333));
    bits = (bits & UINT64_C(0x0f0f0f0f0f0f0f0f)) << 4 | (bits >> 4 & UINT64_C(0x0f0f0f0f0f0f0f0f));
    return __builtin_bswap64(bits);
}

struct scan {
    uint64_t first, last; /* ranks, inclusive */
    void (*visit)(void *data, const struct state_entry *e);
    void *data;
};

/* Returns the looks that it took. */
static uint64_t scan_bucket(const struct state_buckets *b, const struct scan *scan)
{
    uint64_t looks = 0;
    for (const struct state_entry *e = *bucket_of(b, reversed(scan->first)); e != NULL;
         e = e->next_in_bucket) {
        uint64_t rank = reversed(e->hash);
        if (rank >= scan->first && rank <= scan->last) {
            scan->visit(scan->data, e);
        }
        looks++;
    }
    return looks > 0 ? looks : 1;
}

uint64_t state_table_scan(const struct state_table *t, uint64_t cursor, uint32_t looks,
    void (*visit)(void *data, const struct state_entry *e), void *data)
{
    size_t buckets = t->main.count > t->old.count ? t->main.count : t->old.count;
    uint64_t span = UINT64_MAX / buckets; /* a bucket's last rank less its first: all bits below its own k */
    uint64_t taken = 0;
    do {
        struct scan scan = {.first = cursor, .last = cursor | span, .visit = visit, .data = data};
        taken += scan_bucket(&t->main, &scan);
        if (t->old.heads != NULL) {
            taken += scan_bucket(&t->old, &scan);
        }
        cursor = scan.last + 1; /* behind the last rank of all: 0 */
    } while (cursor != 0 && taken < looks);
    return cursor;
}
