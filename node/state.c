/* The cache state's rules: writes, the queue, batches, F. The clean copies are in state_clean.c, expiries in
 * state_expiry.c, rows that the database refuses in state_quarantine.c, what was flushed in state_flushed.c.
 *
 * The order that everything rests on: the places of the batches in flight, oldest batch first, followed by
 * those of the queue, rise in first_dirty. A write appends the newest index, a batch takes the head of the
 * queue, an abort gives a suffix of the batches back to the head. So F is found at the heads of two lists,
 * and no call searches.
 *
 * A key that is written while in a batch has two places: in the batch the older one, in the queue its true
 * index.
 *
 * A batch of keys from the quarantine is beside this order: F has passed them already. */
#include "node/state.h"

#include <stdlib.h>
#include <string.h>

#include "node/state_internal.h"
#include "node/state_table.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"

uint64_t state_entry_bytes(const struct state_entry *e)
{
    uint64_t bytes = sizeof *e + e->key_len + STATE_ALLOC_BYTES;
    if (e->value != NULL) {
        bytes += sizeof *e->value + e->value_len + STATE_ALLOC_BYTES;
    }
    return bytes;
}

static void place_init(struct dirty_place *place)
{
    *place = (struct dirty_place){0};
    list_init(&place->link);
}

static void place_set(struct dirty_place *place, uint64_t first_dirty, uint64_t dirty_stamp_ms)
{
    CHECK(place->first_dirty == 0 && first_dirty != 0);
    place->first_dirty = first_dirty;
    place->dirty_stamp_ms = dirty_stamp_ms;
}

static void place_leave(struct dirty_place *place)
{
    CHECK(place->first_dirty != 0);
    list_remove(&place->link);
    place->first_dirty = 0;
    place->dirty_stamp_ms = 0;
}

/* ---- The table, with its memory in state.bytes ---- */

static void count_table(struct state *s, size_t before)
{
    s->bytes -= before;
    s->bytes += state_table_bytes(s->table);
}

struct state_entry *state_add(struct state *s, struct bytes key, bool absent)
{
    CHECK(key.len <= UINT32_MAX);
    struct state_entry *e = xmalloc(sizeof *e + key.len);
    *e = (struct state_entry){.key_len = (uint32_t)key.len, .absent = absent};
    e->hash = state_table_hash(s->table, key);
    if (key.len > 0) {
        memcpy(e->key, key.data, key.len);
    }
    place_init(&e->queued);
    place_init(&e->batched);
    list_init(&e->retained);
    size_t before = state_table_bytes(s->table);
    state_table_insert(s->table, e);
    count_table(s, before);
    s->bytes += state_entry_bytes(e);
    *(absent ? &s->absences : &s->entries) += 1;
    if (absent) {
        list_push_back(&s->absent, &e->queued.link);
    }
    return e;
}

/* @e is the queue's last one now: see state_entry.ahead. */
static void note_queued(struct state *s, struct state_entry *e)
{
    struct state_entry **place = &s->recent[s->recent_at++ % STATE_AHEAD];
    if (*place != NULL) {
        (*place)->ahead = (uintptr_t)e;
    }
    *place = e;
    e->ahead = 0;
}

static void forget_queued(struct state *s, const struct state_entry *e)
{
    for (int i = 0; i < STATE_AHEAD; i++) {
        if (s->recent[i] == e) {
            s->recent[i] = NULL;
        }
    }
}

void state_drop(struct state *s, struct state_entry *e)
{
    forget_queued(s, e);
    CHECK(state_entry_evictable(e));
    if (e->value != NULL) {
        state_clean_leave(s, e);
    }
    list_remove(&e->queued.link); /* of an absence */
    state_set_expiry(s, e, 0);
    size_t before = state_table_bytes(s->table);
    state_table_remove(s->table, e);
    count_table(s, before);
    s->bytes -= state_entry_bytes(e);
    *(e->absent ? &s->absences : &s->entries) -= 1;
    s->present -= e->value != NULL;
    value_unref(e->value);
    free(e);
}

void state_assign(struct state *s, struct state_entry *e, uint8_t type, struct value *value, uint64_t version,
    uint64_t expires_at_ms)
{
    if (e->absent) {
        e->absent = false;
        list_remove(&e->queued.link);
        s->absences--;
        s->entries++;
    }
    bool dirty = state_entry_dirty(e), retained = e->flushed != NULL;
    s->bytes -= state_entry_bytes(e);
    s->dirty_bytes -= dirty ? state_entry_weight(e) : 0;
    s->retained_bytes -= retained ? state_entry_weight(e) : 0;
    e->stale = false;
    s->present -= e->value != NULL;
    s->present += value != NULL;
    value_unref(e->value);
    e->value = value;
    e->value_len = value != NULL ? value->len : 0;
    e->type = type;
    e->version = version;
    state_set_expiry(s, e, value != NULL ? expires_at_ms : 0); /* a delete has nothing that could expire */
    s->bytes += state_entry_bytes(e);
    s->dirty_bytes += dirty ? state_entry_weight(e) : 0;
    s->retained_bytes += retained ? state_entry_weight(e) : 0;
}

void state_settle(struct state *s, struct state_entry *e)
{
    if (state_entry_clean(e)) {
        state_clean_enter(s, e);
    } else if (state_entry_evictable(e)) {
        state_drop(s, e); /* the database has no such row any more: nothing is left to remember */
    }
}

/* ---- Queue and batches ---- */

void state_enqueue_before(struct state *s, struct state_entry *e, struct list *position, uint64_t first_dirty,
    uint64_t dirty_stamp_ms)
{
    if (!state_entry_dirty(e)) {
        s->dirty_bytes += state_entry_weight(e);
    }
    place_set(&e->queued, first_dirty, dirty_stamp_ms);
    e->stale = false;
    list_insert_before(&e->queued.link, position);
    s->queued_entries++;
}

void state_enqueue(struct state *s, struct state_entry *e, uint64_t first_dirty, uint64_t dirty_stamp_ms)
{
    state_enqueue_before(s, e, &s->queue, first_dirty, dirty_stamp_ms);
    note_queued(s, e);
}

void state_tie(struct state *s, struct state_entry *e)
{
    s->tied += !e->tied;
    e->tied = true;
}

void state_unqueue(struct state *s, struct state_entry *e)
{
    place_leave(&e->queued);
    s->queued_entries--;
    s->tied -= e->tied;
    e->tied = false;
    if (!state_entry_dirty(e)) {
        s->dirty_bytes -= state_entry_weight(e);
    }
}

struct state_batch *state_batch_add(struct state *s, uint64_t id)
{
    struct state_batch *b = xcalloc(1, sizeof *b);
    b->id = id;
    list_init(&b->places);
    list_push_back(&s->batches, &b->link);
    s->batch_count++;
    s->bytes += STATE_BATCH_BYTES;
    return b;
}

void state_batch_push(struct state *s, struct state_batch *b, struct state_entry *e, uint64_t first_dirty,
    uint64_t dirty_stamp_ms)
{
    if (!state_entry_dirty(e)) {
        s->dirty_bytes += state_entry_weight(e);
    }
    if (list_empty(&b->places) || first_dirty < b->first_dirty) {
        b->first_dirty = first_dirty;
        b->dirty_stamp_ms = dirty_stamp_ms;
    }
    place_set(&e->batched, first_dirty, dirty_stamp_ms);
    list_push_back(&b->places, &e->batched.link);
    e->batch = b;
    b->rows++;
    b->bytes += state_entry_weight(e);
    s->batched_entries++;
}

void state_batch_leave(struct state *s, struct state_entry *e)
{
    place_leave(&e->batched);
    e->tied_batched = false;
    e->batch->rows--;
    e->batch = NULL;
    s->batched_entries--;
    if (!state_entry_dirty(e)) {
        s->dirty_bytes -= state_entry_weight(e);
    }
}

static void batch_free(struct state *s, struct state_batch *b)
{
    CHECK(list_empty(&b->places) && b->rows == 0);
    list_remove(&b->link);
    s->batch_count--;
    s->bytes -= STATE_BATCH_BYTES;
    free(b);
}

static struct state_batch *first_batch(const struct state *s)
{
    return list_empty(&s->batches) ? NULL : list_entry(s->batches.next, struct state_batch, link);
}

static struct state_batch *last_batch(const struct state *s)
{
    return list_empty(&s->batches) ? NULL : list_entry(s->batches.prev, struct state_batch, link);
}

/* ---- Life ---- */

void state_init(struct state *s, uint64_t hash_seed)
{
    *s = (struct state){0};
    list_init(&s->queue);
    list_init(&s->batches);
    list_init(&s->absent);
    list_init(&s->quarantine);
    list_init(&s->flushed);
    sessions_init(&s->sessions);
    s->sessions.hash_seed = hash_seed;
    s->evict = evict_create();
    s->table = state_table_create(hash_seed);
    s->bytes = state_table_bytes(s->table) + evict_bytes(s->evict);
}

static void free_entry(void *data, struct state_entry *e)
{
    (void)data;
    value_unref(e->value);
    free(e->quarantine);
    free(e);
}

void state_deinit(struct state *s)
{
    sessions_deinit(&s->sessions);
    evict_destroy(s->evict);
    free(s->expiring);
    state_table_each(s->table, free_entry, NULL);
    state_table_destroy(s->table);
    list_for_each (link, tmp, &s->batches) {
        free(list_entry(link, struct state_batch, link));
    }
    state_flushed_free_all(s);
    *s = (struct state){0};
    list_init(&s->queue);
    list_init(&s->batches);
    list_init(&s->absent);
    list_init(&s->quarantine);
    list_init(&s->flushed);
}

/* What a write or a read of @e touches beside @e. */
static void fetch_neighbours(const struct state_entry *e)
{
    __builtin_prefetch(e->value, 1);
    __builtin_prefetch(e->queued.link.prev, 1);
    __builtin_prefetch(e->queued.link.next, 1);
}

void state_fetch(const struct state *s, const struct bytes *keys, uint32_t n)
{
    CHECK(n <= STATE_FETCH_MAX);
    uint64_t hashes[STATE_FETCH_MAX];
    struct state_entry *heads[STATE_FETCH_MAX];
    for (uint32_t i = 0; i < n; i++) {
        hashes[i] = state_table_hash(s->table, keys[i]);
        state_table_fetch_bucket(s->table, hashes[i]);
    }
    for (uint32_t i = 0; i < n; i++) {
        heads[i] = state_table_head(s->table, hashes[i]);
        if (heads[i] != NULL) {
            state_entry_fetch(heads[i]);
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        if (heads[i] != NULL && heads[i]->hash == hashes[i]) {
            fetch_neighbours(heads[i]);
        } else if (heads[i] != NULL && heads[i]->next_in_bucket != NULL) {
            state_entry_fetch(heads[i]->next_in_bucket);
        }
    }
}

struct state_entry *state_find(const struct state *s, struct bytes key)
{
    return state_table_find(s->table, key, state_table_hash(s->table, key));
}

/* ---- Applying the log ---- */

void state_apply_begin(struct state *s, uint64_t index, uint64_t stamp_ms)
{
    CHECK(index > s->applied_index && "the log applies in order");
    s->applied_index = index;
    if (stamp_ms > s->stamp_ms) {
        s->stamp_ms = stamp_ms;
    }
}

bool state_apply_genesis(
    struct state *s, const uint8_t cluster_id[CLUSTER_ID_BYTES], uint32_t group_count, uint64_t version_base)
{
    CHECK(group_count >= 1 && group_count <= LIMIT_GROUPS);
    if (s->born) {
        return false;
    }
    s->born = true;
    memcpy(s->cluster_id, cluster_id, CLUSTER_ID_BYTES);
    s->group_count = group_count;
    s->version_base = version_base;
    return true;
}

bool state_apply_claimed(struct state *s)
{
    CHECK(s->born && "only a cluster with an id can have claimed a database");
    if (s->claimed) {
        return false;
    }
    s->claimed = true;
    return true;
}

uint64_t state_apply_write(struct state *s, uint32_t ordinal, struct bytes key, uint8_t type,
    struct value *value, uint64_t expires_at_ms)
{
    CHECK(s->applied_index > 0 && ordinal <= UINT16_MAX);
    /* The leader refuses what is bigger before it proposes; a snapshot with more would not be taken back. */
    CHECK(key.len <= LIMIT_KEY_BYTES && (value == NULL || value->len <= LIMIT_VALUE_BYTES));
    struct state_entry *e = state_find(s, key);
    if (e == NULL) {
        /* Also for a delete: that this replica has no copy says nothing about the database. */
        e = state_add(s, key, false);
    } else {
        if (state_entry_clean(e)) {
            state_clean_leave(s, e);
        }
        if (e->value != NULL) {
            state_touch(e); /* the first write of a key says nothing about its worth, the second does */
        }
    }
    uint64_t version = s->version_base + (s->applied_index << 16 | ordinal);
    state_assign(s, e, type, value, version, expires_at_ms);
    if (e->quarantine != NULL) {
        s->quarantine_changes++; /* it shows another value */
    }
    /* In quarantine a write takes the place of what is there. While that is tried again it cannot: so it is
     * queued, as for any key in a batch. */
    if (e->queued.first_dirty == 0 && (e->quarantine == NULL || e->batch != NULL)) {
        state_enqueue(s, e, s->applied_index, s->stamp_ms);
    }
    return version;
}

void state_apply_tie(struct state *s, struct bytes key)
{
    struct state_entry *e = state_find(s, key);
    if (e != NULL && e->queued.first_dirty != 0) {
        state_tie(s, e);
    }
}

/* How many rows of the queue, from its head on, are a batch that cuts no transaction.
 *
 * A tied entry's last write tells up to which log entry @reach its batch must go: a transaction that wrote it
 * is no later. Nor can one of the keys of such a transaction wait behind the batch's end: it is in the queue
 * since that transaction or before, and the queue is in this order. */
static uint32_t whole_rows(const struct state *s, uint32_t rows_max, uint64_t bytes_max)
{
    uint32_t rows = 0, whole = 0;
    uint64_t bytes = 0, reach = 0;
    list_for_each (link, tmp, &s->queue) {
        const struct state_entry *e = state_queue_entry(link);
        state_entry_fetch_ahead(e);
        if (e->queued.first_dirty > reach) {
            whole = rows;
        }
        bytes += state_entry_weight(e);
        if (whole > 0 && (rows >= rows_max || bytes > bytes_max)) {
            return whole;
        }
        if (rows > 0 && (rows >= STATE_WHOLE_ROWS_MAX || bytes > STATE_WHOLE_BYTES_MAX)) {
            return whole > 0 ? whole : rows;
        }
        rows++;
        uint64_t written = (e->version - s->version_base) >> 16;
        reach = e->tied && written > reach ? written : reach;
    }
    return rows;
}

struct state_batch *state_apply_flush_begin_cut(struct state *s, uint32_t rows_max, uint64_t bytes_max)
{
    struct state_batch *newest = last_batch(s);
    CHECK(s->applied_index > s->last_batch && (newest == NULL || s->applied_index > newest->id));
    struct state_batch *b = NULL;
    list_for_each (link, tmp, &s->queue) {
        struct state_entry *e = state_queue_entry(link);
        state_entry_fetch_ahead(e);
        /* One key in two batches would need two places; the second batch begins when the first has ended. */
        if (e->batch != NULL || rows_max == 0) {
            break;
        }
        if (b != NULL && (b->rows >= rows_max || b->bytes + state_entry_weight(e) > bytes_max)) {
            break;
        }
        if (b == NULL) {
            b = state_batch_add(s, s->applied_index);
        }
        struct dirty_place place = e->queued;
        bool tied = e->tied;
        state_unqueue(s, e);
        state_batch_push(s, b, e, place.first_dirty, place.dirty_stamp_ms);
        e->tied_batched = tied;
    }
    if (b != NULL) {
        s->newest_batch = b->id;
    }
    return b;
}

struct state_batch *state_apply_flush_begin(struct state *s, uint32_t rows_max, uint64_t bytes_max)
{
    if (s->tied > 0 && rows_max > 0) {
        rows_max = list_empty(&s->batches) ? whole_rows(s, rows_max, bytes_max) : 0;
        bytes_max = UINT64_MAX;
    }
    return state_apply_flush_begin_cut(s, rows_max, bytes_max);
}

struct state_batch *state_apply_flush_retry(struct state *s, const struct bytes *keys, uint32_t n)
{
    struct state_batch *b = NULL;
    for (uint32_t i = 0; i < n; i++) {
        struct state_entry *e = state_find(s, keys[i]);
        if (e == NULL || e->quarantine == NULL || e->batch != NULL) {
            continue;
        }
        if (b == NULL) {
            b = state_batch_add(s, s->applied_index);
            b->retry = true;
            s->newest_batch = b->id;
        }
        e->quarantine->retry_now = false;
        state_batch_push(s, b, e, e->quarantine->first_dirty, e->quarantine->dirty_stamp_ms);
    }
    return b;
}

bool state_apply_flushed(struct state *s, uint64_t batch, uint64_t predecessor)
{
    struct state_batch *b = first_batch(s);
    if (b == NULL || b->id != batch || predecessor != s->last_batch) {
        return false;
    }
    struct state_flushed *f = state_flushed_add(s, b->id, b->first_dirty, b->dirty_stamp_ms, s->stamp_ms);
    list_for_each (link, tmp, &b->places) {
        struct state_entry *e = state_batch_entry(link);
        state_entry_fetch_ahead(e);
        state_batch_leave(s, e);
        if (e->quarantine != NULL) {
            state_quarantine_leave(s, e);
        }
        state_retain(s, f, e);
    }
    s->last_batch = batch;
    batch_free(s, b);
    state_trim(s);
    return true;
}

/* Give the places of @b back to the head of the queue, last one first, so that their order stays; those from
 * the quarantine back to it. */
static void abort_batch(struct state *s, struct state_batch *b)
{
    while (!list_empty(&b->places)) {
        struct state_entry *e = state_batch_entry(b->places.prev);
        struct dirty_place place = e->batched;
        bool tied = e->tied || e->tied_batched;
        if (e->queued.first_dirty != 0) {
            state_unqueue(
                s, e); /* written again since: one place is enough, and the older one is the true one */
        }
        state_batch_leave(s, e);
        if (e->quarantine == NULL) {
            state_enqueue_before(s, e, s->queue.next, place.first_dirty, place.dirty_stamp_ms);
            if (tied) {
                state_tie(s, e);
            }
        }
    }
    batch_free(s, b);
}

bool state_apply_flush_abort(struct state *s, uint64_t from_batch)
{
    bool aborted = false;
    for (struct state_batch *b = last_batch(s); b != NULL && b->id >= from_batch; b = last_batch(s)) {
        abort_batch(s, b);
        aborted = true;
    }
    return aborted;
}

/* ---- Questions ---- */

static const struct dirty_place *oldest_queued(const struct state *s)
{
    return list_empty(&s->queue) ? NULL : &state_queue_entry(s->queue.next)->queued;
}

static const struct dirty_place *oldest_place(const struct state *s)
{
    list_for_each (link, tmp, &s->batches) {
        const struct state_batch *b = list_entry(link, struct state_batch, link);
        if (!b->retry && !list_empty(&b->places)) {
            return &state_batch_entry(b->places.next)->batched;
        }
    }
    return oldest_queued(s);
}

uint64_t state_flushed_index(const struct state *s)
{
    const struct dirty_place *oldest = oldest_place(s);
    return oldest != NULL ? oldest->first_dirty - 1 : s->applied_index;
}

uint64_t state_flushed_index_then(const struct state *s)
{
    const struct dirty_place *oldest = oldest_queued(s);
    return oldest != NULL ? oldest->first_dirty - 1 : s->applied_index;
}

uint64_t state_retried(const struct state *s)
{
    uint64_t n = 0;
    list_for_each (link, tmp, &s->batches) {
        const struct state_batch *b = list_entry(link, struct state_batch, link);
        n += b->retry ? b->rows : 0;
    }
    return n;
}

uint64_t state_oldest_dirty_stamp_ms(const struct state *s)
{
    const struct dirty_place *oldest = oldest_place(s);
    return oldest != NULL ? oldest->dirty_stamp_ms : 0;
}

struct state_batch *state_batch_find(const struct state *s, uint64_t id)
{
    list_for_each (link, tmp, &s->batches) {
        struct state_batch *b = list_entry(link, struct state_batch, link);
        if (b->id == id) {
            return b;
        }
    }
    return NULL;
}

struct present_only {
    void (*visit)(void *data, const struct state_entry *e);
    void *data;
};

static void visit_if_present(void *data, const struct state_entry *e)
{
    const struct present_only *p = data;
    if (state_entry_present(e)) {
        p->visit(p->data, e);
    }
}

uint64_t state_scan(const struct state *s, uint64_t cursor, uint32_t looks,
    void (*visit)(void *data, const struct state_entry *e), void *data)
{
    struct present_only p = {.visit = visit, .data = data};
    return state_table_scan(s->table, cursor, looks, visit_if_present, &p);
}
