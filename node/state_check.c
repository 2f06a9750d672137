#include "node/state_check.h"

#include "node/state_internal.h"
#include "node/state_table.h"
#include "proto/base/check.h"

/* What a pass over the table, in no order, adds up to: to be compared with the state's own sums. */
struct sums {
    const struct state *s;
    uint64_t entries;
    uint64_t absences;
    uint64_t present;
    uint64_t queued;
    uint64_t tied;
    uint64_t batched;
    uint64_t bytes;
    uint64_t dirty_bytes;
    uint64_t clean_bytes;
    uint64_t expiring;
    uint64_t quarantined;
    uint64_t quarantine_bytes;
    uint64_t retained;
    uint64_t retained_bytes;
    uint64_t oldest_dirty; /* 0: none */
};

static void see_place(struct sums *sums, const struct dirty_place *place, bool counts_for_f, uint64_t *count)
{
    if (place->first_dirty == 0) {
        CHECK(place->dirty_stamp_ms == 0 && "a place without first_dirty has no stamp");
        return;
    }
    CHECK(!list_empty(&place->link) && "a place with first_dirty is in a list");
    CHECK(place->first_dirty <= sums->s->applied_index && "first_dirty is an index that has applied");
    *count += 1;
    if (counts_for_f && (sums->oldest_dirty == 0 || place->first_dirty < sums->oldest_dirty)) {
        sums->oldest_dirty = place->first_dirty;
    }
}

/* Where `queued.link` is. There is no asking the policy whom it holds; but an entry whose link is in a list
 * that is neither the queue nor that of the absences (both are walked) is in the policy's. */
static void see_queue_link(struct sums *sums, const struct state_entry *e)
{
    bool linked = !list_empty(&e->queued.link);
    if (e->absent) {
        CHECK(e->queued.first_dirty == 0 && "an absence is never dirty");
        CHECK(linked && "an absence is in the list of absences");
        return;
    }
    see_place(sums, &e->queued, true, &sums->queued);
    CHECK((!e->tied || e->queued.first_dirty != 0) && "what is tied is queued");
    CHECK((!e->tied_batched || e->batch != NULL) && "what was tied when its batch began is in a batch");
    sums->tied += e->tied;
    if (state_entry_clean(e)) {
        CHECK(linked && "a clean entry may be evicted");
        CHECK(e->queued.link.next->prev == &e->queued.link && e->queued.link.prev->next == &e->queued.link &&
              "a clean entry's links are consistent");
        sums->clean_bytes += state_entry_bytes(e);
    } else {
        CHECK((e->queued.first_dirty != 0 || !linked) && "a place without first_dirty is in no list");
    }
}

static void see_expiry(struct sums *sums, const struct state_entry *e)
{
    const struct state *s = sums->s;
    CHECK((e->expires_at_ms != 0) == (e->expiry_place != 0) &&
          "an entry is in the heap while it has an expiry");
    if (e->expiry_place != 0) {
        CHECK(e->expiry_place <= s->expiring_n && s->expiring[e->expiry_place - 1] == e &&
              "an entry knows its place in the heap");
        sums->expiring++;
    }
}

static void see_quarantine(struct sums *sums, const struct state_entry *e)
{
    const struct state_quarantine *q = e->quarantine;
    if (q == NULL) {
        CHECK((e->batch == NULL || !e->batch->retry) && "a batch of retries has keys in quarantine only");
        return;
    }
    CHECK(q->entry == e && "a mark names its entry");
    CHECK(q->first_dirty != 0 && q->first_dirty <= sums->s->applied_index && q->attempts > 0 &&
          "a mark says since when");
    CHECK((e->batch == NULL || e->batch->retry) && "a key in quarantine is in a batch of retries only");
    CHECK((e->batch != NULL || e->queued.first_dirty == 0) &&
          "a key in quarantine is queued only while it is tried");
    sums->quarantined++;
    sums->quarantine_bytes += state_quarantine_bytes(q);
}

static void see_retained(struct sums *sums, const struct state_entry *e)
{
    CHECK((e->flushed != NULL) == !list_empty(&e->retained) && "a retained entry is in a record's list");
    CHECK((!e->stale || (e->flushed != NULL && !state_entry_dirty(e))) &&
          "only what is retained and not dirty is stale");
    if (e->flushed != NULL) {
        CHECK(!e->absent && e->version != 0 && "what was flushed has a version");
        sums->retained++;
        sums->retained_bytes += state_entry_weight(e) + STATE_RETAINED_BYTES;
    }
}

static void see_entry(void *data, struct state_entry *e)
{
    struct sums *sums = data;
    const struct state *s = sums->s;
    CHECK(e->hash == state_table_hash(s->table, state_entry_key(e)) && "an entry's hash is that of its key");
    CHECK(state_find(s, state_entry_key(e)) == e && "a key is found, and has one entry");
    sums->bytes += state_entry_bytes(e);
    *(e->absent ? &sums->absences : &sums->entries) += 1;
    sums->present += e->value != NULL;
    see_queue_link(sums, e);
    see_place(sums, &e->batched, e->batch == NULL || !e->batch->retry, &sums->batched);
    CHECK((e->batched.first_dirty != 0 || list_empty(&e->batched.link)) &&
          "a place without first_dirty is in no list");
    CHECK((e->batch != NULL) == (e->batched.first_dirty != 0) &&
          "an entry names its batch exactly while it is in one");
    see_quarantine(sums, e);
    see_retained(sums, e);
    if (state_entry_dirty(e)) {
        sums->dirty_bytes += state_entry_weight(e);
        CHECK(!e->absent && "an absence is never dirty");
        CHECK(e->version != 0 && "a dirty entry has a version");
    } else {
        CHECK((e->value != NULL || e->absent || e->flushed != NULL) &&
              "a delete that the database has is forgotten");
    }
    CHECK((e->value == NULL || e->value->refs > 0) && "a value that is held has references");
    CHECK(e->value_len == (e->value != NULL ? e->value->len : 0) && "an entry knows its value's length");
    CHECK(!(e->absent && (e->value != NULL || e->version != 0)) && "an absence has no value and no version");
    CHECK(!(e->value == NULL && e->expires_at_ms != 0) && "what has no value does not expire");
    see_expiry(sums, e);
    if (e->batch != NULL && e->queued.first_dirty != 0) {
        CHECK(e->queued.first_dirty > e->batch->id &&
              "what is batched and queued was written after the batch began");
    }
}

/* The place seen last, over all batches and then the queue. */
struct order {
    const struct state *s;
    uint64_t first_dirty;
    uint64_t stamp_ms;
};

static void see_order(struct order *order, const struct list *link, const struct dirty_place *place)
{
    CHECK(link->next->prev == link && link->prev->next == link && "a place's links are consistent");
    CHECK(place->first_dirty != 0 && "a place in a list has first_dirty");
    CHECK(
        place->first_dirty >= order->first_dirty && "batches and then the queue are ordered by first_dirty");
    CHECK(place->dirty_stamp_ms >= order->stamp_ms && place->dirty_stamp_ms <= order->s->stamp_ms &&
          "stamps rise with first_dirty, up to the newest");
    CHECK((place->first_dirty != order->first_dirty || place->dirty_stamp_ms == order->stamp_ms) &&
          "places of one log entry have its one stamp");
    order->first_dirty = place->first_dirty;
    order->stamp_ms = place->dirty_stamp_ms;
}

static uint64_t check_batch(struct order *order, struct state_batch *b)
{
    uint64_t rows = 0;
    list_for_each (link, tmp, &b->places) {
        struct state_entry *e = state_batch_entry(link);
        if (!b->retry) {
            see_order(order, link, &e->batched);
        }
        CHECK(b->first_dirty <= e->batched.first_dirty && "a batch knows its oldest write");
        CHECK(e->batch == b && "an entry in a batch's list names that batch");
        CHECK(e->batched.first_dirty < b->id && "a batch holds writes from before it began");
        CHECK(state_find(order->s, state_entry_key(e)) == e && "an entry in a batch is in the table");
        rows++;
    }
    CHECK(b->first_dirty != 0 && b->first_dirty < b->id && "a batch had rows");
    CHECK(rows == b->rows && "a batch counts its rows");
    return rows;
}

static uint64_t check_batches(const struct state *s, struct order *order)
{
    uint64_t rows = 0;
    uint64_t count = 0;
    uint64_t id = s->last_batch;
    list_for_each (link, tmp, &s->batches) {
        struct state_batch *b = list_entry(link, struct state_batch, link);
        CHECK(link->next->prev == link && link->prev->next == link && "a batch's links are consistent");
        CHECK(b->id > id && b->id <= s->applied_index &&
              "batch ids rise, from last_batch up to the applied index");
        id = b->id;
        rows += check_batch(order, b);
        count++;
    }
    CHECK(id <= s->newest_batch && "newest_batch is the newest");
    CHECK(count == s->batch_count && "batch_count counts the batches in flight");
    return rows;
}

static uint64_t check_queue(const struct state *s, struct order *order)
{
    uint64_t count = 0;
    list_for_each (link, tmp, &s->queue) {
        struct state_entry *e = state_queue_entry(link);
        see_order(order, link, &e->queued);
        CHECK(state_find(s, state_entry_key(e)) == e && "an entry in the queue is in the table");
        count++;
    }
    return count;
}

static void check_quarantine(const struct state *s)
{
    uint64_t count = 0;
    list_for_each (link, tmp, &s->quarantine) {
        struct state_quarantine *q = list_entry(link, struct state_quarantine, link);
        CHECK(link->next->prev == link && link->prev->next == link && "a mark's links are consistent");
        CHECK(q->entry->quarantine == q && "an entry names its mark");
        CHECK(
            state_find(s, state_entry_key(q->entry)) == q->entry && "an entry in quarantine is in the table");
        count++;
    }
    CHECK(count == s->quarantined && "quarantined counts the quarantine");
}

static void check_flushed(const struct state *s)
{
    uint64_t records = 0, retained = 0, id = 0;
    bool before_trimming = s->trimming != NULL;
    list_for_each (link, tmp, &s->flushed) {
        struct state_flushed *f = list_entry(link, struct state_flushed, link);
        CHECK(link->next->prev == link && link->prev->next == link && "a record's links are consistent");
        CHECK(f->id > id && f->id <= s->newest_batch && f->first_dirty != 0 && f->first_dirty < f->id &&
              "records are ordered by id, up to the newest batch");
        CHECK((f->undone || f->id <= s->last_batch) && "what is later than the last batch is undone");
        CHECK((!f->undone || list_empty(&f->places)) && "what is undone keeps nothing");
        id = f->id;
        before_trimming = before_trimming && s->trimming != f;
        CHECK((!before_trimming || list_empty(&f->places)) && "what is trimmed is trimmed in order");
        list_for_each (place, tmp2, &f->places) {
            struct state_entry *e = list_entry(place, struct state_entry, retained);
            CHECK(e->flushed == f && "an entry in a record's list names that record");
            CHECK(state_find(s, state_entry_key(e)) == e && "a retained entry is in the table");
            retained++;
        }
        records++;
    }
    CHECK(!before_trimming && "trimming is one of the records");
    CHECK(records == s->flushed_count && "flushed_count counts the records");
    CHECK(retained == s->retained && "retained counts the records' entries");
}

static void check_absences(const struct state *s)
{
    uint64_t count = 0;
    list_for_each (link, tmp, &s->absent) {
        struct state_entry *e = state_queue_entry(link);
        CHECK(link->next->prev == link && link->prev->next == link && "an absence's links are consistent");
        CHECK(e->absent && "the list of absences has absences only");
        CHECK(state_find(s, state_entry_key(e)) == e && "an absence in the list is in the table");
        count++;
    }
    CHECK(count == s->absences && "absences counts the list of absences");
    CHECK(count <= STATE_ABSENCES_MAX && "absences are at most STATE_ABSENCES_MAX");
}

static void check_heap(const struct state *s)
{
    CHECK(s->expiring_n <= s->expiring_cap && (s->expiring_cap == 0) == (s->expiring == NULL) &&
          "the heap has room for what is in it");
    for (uint32_t i = 1; i < s->expiring_n; i++) {
        CHECK(s->expiring[(i - 1) / 2]->expires_at_ms <= s->expiring[i]->expires_at_ms &&
              "what expires earlier is nearer to the heap's top");
    }
}

void state_check_invariants(const struct state *s)
{
    sessions_check(&s->sessions);
    struct order order = {.s = s};
    uint64_t batched = check_batches(s, &order);
    uint64_t queued = check_queue(s, &order);
    check_absences(s);
    check_quarantine(s);
    check_flushed(s);
    struct sums sums = {.s = s};
    state_table_each(s->table, see_entry, &sums);

    CHECK(queued == s->queued_entries && sums.queued == queued && "queued_entries counts the queue");
    CHECK(sums.tied == s->tied && "tied counts the tied entries of the queue");
    CHECK(batched == s->batched_entries && sums.batched == batched &&
          "batched_entries counts the batches' places");
    CHECK(sums.entries == s->entries && "entries counts keys and tombstones");
    CHECK(sums.present == s->present && "present counts those that have a value");
    CHECK(sums.absences == s->absences && "absences counts absences");
    CHECK(sums.entries + sums.absences == state_table_count(s->table) && "the table counts its entries");
    CHECK(sums.dirty_bytes == s->dirty_bytes &&
          "dirty_bytes counts each dirty entry once, at its current size");
    CHECK(
        sums.clean_bytes == s->clean_bytes && "clean_bytes counts the clean entries, at their current size");
    CHECK(sums.quarantined == s->quarantined && "each mark is an entry's");
    CHECK(sums.retained == s->retained && sums.retained_bytes == s->retained_bytes &&
          "retained_bytes counts retained entries, at their current size");
    CHECK(sums.expiring == s->expiring_n && "the heap has nothing but entries of the table");
    check_heap(s);
    CHECK(sums.bytes + state_table_bytes(s->table) + s->batch_count * STATE_BATCH_BYTES +
                  s->flushed_count * STATE_FLUSHED_BYTES + sums.quarantine_bytes + state_expiring_bytes(s) +
                  evict_bytes(s->evict) ==
              s->bytes &&
          "bytes counts entries, values, batches, the table, the heap and the policy's own");
    CHECK(s->last_batch <= s->newest_batch && s->newest_batch <= s->applied_index &&
          "last_batch is one of those begun");
    CHECK((s->born || !s->claimed) && "what is claimed was born");
    uint64_t flushed = sums.oldest_dirty != 0 ? sums.oldest_dirty - 1 : s->applied_index;
    CHECK(flushed == state_flushed_index(s) && "F is the oldest unflushed write's index less one");
}
