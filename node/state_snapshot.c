/* Snapshots: what is replicated, as one wbsnap.Snapshot behind a header of 24 bytes:
 *
 *     0   "WBSNAP\0" and the format's number (3)
 *     8   length of the message, little endian
 *     16  XXH3-64 of the message, little endian: the state's hash
 *
 * The bytes are those that packing the message as a whole would give, without a second copy of everything in
 * memory. Equal states give equal bytes, so a restore ends with the proof: the new state must give the hash
 * that the header names. */
#include <string.h>
#include <xxhash.h>

#include "node/state_internal.h"
#include "node/state_table.h"
#include "proto/base/check.h"
#include "proto/pb.h"
#include "proto/snapshot.pb-c.h"

enum { HEADER_BYTES = 24, LENGTH_AT = 8, HASH_AT = 16 };
static const uint8_t magic[LENGTH_AT] = {'W', 'B', 'S', 'N', 'A', 'P', 0, 3};

/* ---- Writing ---- */

/* A snapshot is taken on the loop, of up to a million dirty keys and as many sessions' results, between two
 * heartbeats. So the elements that come in such numbers are encoded by hand, straight into the output; a test
 * holds them against protobuf-c's encoding. */

/* What an entry has beside key and value, about: to reserve room for all of them at once. */
enum { VARINT_BYTES_MAX = 10, ENTRY_FRAMING_BYTES = 48 };

static size_t varint_size(uint64_t v)
{
    size_t size = 1;
    while (v >= 0x80) {
        v >>= 7;
        size++;
    }
    return size;
}

static uint8_t *put_varint(uint8_t *at, uint64_t v)
{
    while (v >= 0x80) {
        *at++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *at++ = (uint8_t)v;
    return at;
}

/* Fields by number and wire type (protobuf's encoding): 0 varint, 1 eight bytes, 2 length-delimited. */
static uint8_t *put_key(uint8_t *at, unsigned number, unsigned wire_type)
{
    *at++ = (uint8_t)(number << 3 | wire_type); /* all our numbers are below 16 */
    return at;
}

static uint8_t *put_number(uint8_t *at, unsigned number, uint64_t v)
{
    return put_varint(put_key(at, number, 0), v);
}

static uint8_t *put_fixed64(uint8_t *at, unsigned number, uint64_t v)
{
    at = put_key(at, number, 1);
    store_le64(at, v);
    return at + 8;
}

static uint8_t *put_bytes(uint8_t *at, unsigned number, struct bytes b)
{
    at = put_varint(put_key(at, number, 2), b.len);
    if (b.len > 0) {
        memcpy(at, b.data, b.len);
    }
    return at + b.len;
}

static size_t bytes_size(struct bytes b)
{
    return 1 + varint_size(b.len) + b.len;
}

/* A walk over entries would wait for each of them and for each value, all over memory. The entries are
 * fetched by their own hint (state_entry_fetch_ahead); for the values a runner goes some steps ahead. */
enum { VALUES_AHEAD = 4 };

static void fetch_value(const struct state_entry *e)
{
    enum { LINE_BYTES = 64 };
    uintptr_t at = (uintptr_t)e->value; /* NULL of a tombstone */
    __builtin_prefetch((const void *)at);
    __builtin_prefetch((const void *)(at + LINE_BYTES));
}

/* wbsnap.Entry: @e as it is now, at @place (NULL: its place is told elsewhere, or it has none). */
static size_t entry_size(const struct state_entry *e, const struct dirty_place *place)
{
    return bytes_size(state_entry_key(e)) +
           (e->value != NULL ? 1 + varint_size(e->value_len) + e->value_len : 0) +
           (e->type != VALUE_STRING ? 1 + varint_size(e->type) : 0) + 9 + (e->expires_at_ms != 0 ? 9 : 0) +
           (place != NULL ? 1 + varint_size(place->first_dirty) + 9 : 0) +
           (place == &e->queued && e->tied ? 2 : 0);
}

static uint8_t *put_entry(uint8_t *at, const struct state_entry *e, const struct dirty_place *place)
{
    at = put_bytes(at, 1, state_entry_key(e));
    if (e->value != NULL) {
        at = put_bytes(at, 2, value_bytes(e->value));
    }
    if (e->type != VALUE_STRING) {
        at = put_number(at, 3, e->type);
    }
    at = put_fixed64(at, 4, e->version);
    if (e->expires_at_ms != 0) {
        at = put_fixed64(at, 5, e->expires_at_ms);
    }
    if (place == NULL) {
        return at;
    }
    at = put_number(at, 6, place->first_dirty);
    at = put_fixed64(at, 7, place->dirty_stamp_ms);
    return place == &e->queued && e->tied ? put_number(at, 8, true) : at;
}

/* wbsnap.Place: with the entry, unless that is in the queue too. */
static size_t place_size(const struct state_entry *e)
{
    size_t size = bytes_size(state_entry_key(e)) + 1 + varint_size(e->batched.first_dirty) + 9;
    if (e->queued.first_dirty == 0) {
        size_t entry = entry_size(e, &e->batched);
        size += 1 + varint_size(entry) + entry;
    }
    return size + (e->tied_batched ? 2 : 0);
}

static uint8_t *put_place(uint8_t *at, const struct state_entry *e)
{
    at = put_bytes(at, 1, state_entry_key(e));
    at = put_number(at, 2, e->batched.first_dirty);
    at = put_fixed64(at, 3, e->batched.dirty_stamp_ms);
    if (e->queued.first_dirty == 0) {
        at = put_varint(put_key(at, 4, 2), entry_size(e, &e->batched));
        at = put_entry(at, e, &e->batched);
    }
    return e->tied_batched ? put_number(at, 5, true) : at;
}

static size_t message_size(size_t size)
{
    return 1 + varint_size(size) + size;
}

/* wbsnap.Quarantined: with the entry, unless that is in a list before. */
static bool quarantined_has_entry(const struct state_entry *e)
{
    return e->queued.first_dirty == 0 && e->batch == NULL;
}

static size_t quarantined_size(const struct state_quarantine *q)
{
    const struct state_entry *e = q->entry;
    return bytes_size(state_entry_key(e)) + 1 + varint_size(q->first_dirty) + 9 + 9 + 1 +
           varint_size(q->attempts) + bytes_size(bytes_of(q->sqlstate, strlen(q->sqlstate))) +
           bytes_size(bytes_of(q->message, strlen(q->message))) + 1 + varint_size(q->refused_version) +
           (quarantined_has_entry(e) ? message_size(entry_size(e, NULL)) : 0);
}

static uint8_t *put_quarantined(uint8_t *at, const struct state_quarantine *q)
{
    const struct state_entry *e = q->entry;
    at = put_bytes(at, 1, state_entry_key(e));
    at = put_number(at, 2, q->first_dirty);
    at = put_fixed64(at, 3, q->dirty_stamp_ms);
    at = put_fixed64(at, 4, q->refused_stamp_ms);
    at = put_number(at, 5, q->attempts);
    at = put_bytes(at, 6, bytes_of(q->sqlstate, strlen(q->sqlstate)));
    at = put_bytes(at, 7, bytes_of(q->message, strlen(q->message)));
    at = put_number(at, 8, q->refused_version);
    if (quarantined_has_entry(e)) {
        at = put_varint(put_key(at, 9, 2), entry_size(e, NULL));
        at = put_entry(at, e, NULL);
    }
    return at;
}

/* wbsnap.Retained: likewise. */
static const struct state_entry *retained_entry(const struct list *link)
{
    return list_entry((struct list *)(uintptr_t)link, struct state_entry, retained);
}

static size_t retained_size(const struct state_entry *e)
{
    return bytes_size(state_entry_key(e)) + (!state_entry_dirty(e) ? message_size(entry_size(e, NULL)) : 0);
}

static uint8_t *put_retained(uint8_t *at, const struct state_entry *e)
{
    at = put_bytes(at, 1, state_entry_key(e));
    if (!state_entry_dirty(e)) {
        at = put_varint(put_key(at, 2, 2), entry_size(e, NULL));
        at = put_entry(at, e, NULL);
    }
    return at;
}

/* Room at the end of @out for a field of @size bytes with its key and length; commit() what was written
 * there. */
static uint8_t *begin(struct buf *out, size_t size)
{
    uint8_t *at = buf_reserve(out, 1 + VARINT_BYTES_MAX + size);
    CHECK(at != NULL);
    return at;
}

static void commit(struct buf *out, const uint8_t *end)
{
    out->len = (size_t)(end - out->data);
}

static void put_scalars(const struct state *s, struct buf *out)
{
    Wbsnap__Snapshot m = WBSNAP__SNAPSHOT__INIT;
    m.applied_index = s->applied_index;
    m.stamp_ms = s->stamp_ms;
    if (s->born) {
        m.has_cluster_id = 1;
        m.cluster_id = pb_borrow(bytes_of(s->cluster_id, CLUSTER_ID_BYTES));
        m.has_group_count = 1;
        m.group_count = s->group_count;
        m.has_version_base = 1;
        m.version_base = s->version_base;
    }
    if (s->claimed) {
        m.has_claimed = 1;
        m.claimed = 1;
    }
    Wbsnap__Flush f = WBSNAP__FLUSH__INIT;
    f.last_batch = s->last_batch;
    f.newest_batch = s->newest_batch;
    f.recover_index = s->recover_index;
    f.rewinds = s->rewinds;
    f.lost = s->lost;
    f.lost_stamp_ms = s->lost_stamp_ms;
    f.has_retention_ms = f.has_retention_bytes = s->retention_named;
    f.retention_ms = s->retention_ms;
    f.retention_bytes = s->retention_bytes;
    f.has_paused = f.paused = s->control.paused;
    f.has_rows_per_second = s->control.has_rows_per_second;
    f.rows_per_second = s->control.rows_per_second;
    f.has_batch_rows = s->control.has_batch_rows;
    f.batch_rows = s->control.batch_rows;
    f.has_batch_bytes = s->control.has_batch_bytes;
    f.batch_bytes = s->control.batch_bytes;
    f.has_age_ms = s->control.has_age_ms;
    f.age_ms = s->control.age_ms;
    m.flush = &f;
    pb_pack(&m.base, out);
}

/* The scalars that stand behind the lists in the message: protobuf orders by number. */
static void put_limits(const struct sessions *s, struct buf *out)
{
    if (s->limits_named) {
        uint8_t *at = begin(out, 2 * (1 + VARINT_BYTES_MAX));
        at = put_number(at, 12, s->sessions_max);
        commit(out, put_number(at, 13, s->bytes_max));
    }
}

static void put_queued(const struct state_entry *e, struct buf *out)
{
    size_t size = entry_size(e, &e->queued);
    uint8_t *at = begin(out, size);
    at = put_varint(put_key(at, 8, 2), size);
    commit(out, put_entry(at, e, &e->queued));
}

static void put_queue(const struct state *s, struct buf *out)
{
    struct list *ahead = s->queue.next;
    for (int i = 0; i < VALUES_AHEAD && ahead != &s->queue; i++) {
        ahead = ahead->next;
    }
    list_for_each (link, tmp, &s->queue) {
        const struct state_entry *e = state_queue_entry(link);
        state_entry_fetch_ahead(e);
        if (ahead != &s->queue) {
            fetch_value(state_queue_entry(ahead));
            ahead = ahead->next;
        }
        put_queued(e, out);
    }
}

static void put_batch(const struct state_batch *b, struct buf *out)
{
    size_t size = 1 + varint_size(b->id) + (b->retry ? 2 : 0) + 1 + varint_size(b->first_dirty) + 9;
    list_for_each (link, tmp, &b->places) {
        size_t place = place_size(state_batch_entry(link));
        size += 1 + varint_size(place) + place;
    }
    uint8_t *at = begin(out, size);
    at = put_varint(put_key(at, 9, 2), size);
    at = put_number(at, 1, b->id);
    list_for_each (link, tmp, &b->places) {
        const struct state_entry *e = state_batch_entry(link);
        at = put_varint(put_key(at, 2, 2), place_size(e));
        at = put_place(at, e);
    }
    if (b->retry) {
        at = put_number(at, 3, 1);
    }
    at = put_number(at, 4, b->first_dirty);
    commit(out, put_fixed64(at, 5, b->dirty_stamp_ms));
}

static void put_quarantine(const struct state_quarantine *q, struct buf *out)
{
    size_t size = quarantined_size(q);
    uint8_t *at = begin(out, size);
    at = put_varint(put_key(at, 14, 2), size);
    commit(out, put_quarantined(at, q));
}

static void put_flushed(const struct state_flushed *f, struct buf *out)
{
    size_t size = 1 + varint_size(f->id) + 1 + varint_size(f->first_dirty) + 9 + 9 + 1 +
                  varint_size(f->trimmed) + (f->undone ? 2 : 0);
    list_for_each (link, tmp, &f->places) {
        state_entry_fetch_ahead(retained_entry(link));
        size += message_size(retained_size(retained_entry(link)));
    }
    uint8_t *at = begin(out, size);
    at = put_varint(put_key(at, 15, 2), size);
    at = put_number(at, 1, f->id);
    at = put_number(at, 2, f->first_dirty);
    at = put_fixed64(at, 3, f->dirty_stamp_ms);
    at = put_fixed64(at, 4, f->stamp_ms);
    at = put_number(at, 5, f->trimmed);
    const struct list *ahead = f->places.next;
    for (int i = 0; i < VALUES_AHEAD && ahead != &f->places; i++) {
        ahead = ahead->next;
    }
    list_for_each (link, tmp, &f->places) {
        const struct state_entry *e = retained_entry(link);
        state_entry_fetch_ahead(e);
        if (ahead != &f->places) {
            fetch_value(retained_entry(ahead));
            ahead = ahead->next;
        }
        at = put_varint(put_key(at, 6, 2), retained_size(e));
        at = put_retained(at, e);
    }
    if (f->undone) {
        at = put_number(at, 7, 1);
    }
    commit(out, at);
}

static void put_session(const struct session *session, struct buf *out)
{
    size_t size = 1 + varint_size(session->id) + 1 + varint_size(session->floor);
    uint8_t *at = begin(out, size);
    at = put_varint(put_key(at, 10, 2), size);
    at = put_number(at, 1, session->id);
    commit(out, put_number(at, 2, session->floor));
}

static size_t outcome_size(const struct session_result *r)
{
    return 1 + varint_size(r->session->id) + 1 + varint_size(r->sequence) + 1 + varint_size(r->index) +
           (r->status != 0 ? 1 + varint_size(r->status) : 0) +
           (r->len > 0 ? bytes_size(bytes_of(r->data, r->len)) : 0);
}

static void put_outcome(const struct session_result *r, struct buf *out)
{
    size_t size = outcome_size(r);
    uint8_t *at = begin(out, size);
    at = put_varint(put_key(at, 11, 2), size);
    at = put_number(at, 1, r->session->id);
    at = put_number(at, 2, r->sequence);
    at = put_number(at, 3, r->index);
    if (r->status != 0) {
        at = put_number(at, 4, r->status);
    }
    if (r->len > 0) {
        at = put_bytes(at, 5, bytes_of(r->data, r->len));
    }
    commit(out, at);
}

static void put_sessions(const struct sessions *s, struct buf *out)
{
    list_for_each (link, tmp, &s->by_use) {
        __builtin_prefetch(tmp);
        put_session(list_entry(link, struct session, by_use), out);
    }
    list_for_each (link, tmp, &s->results) {
        __builtin_prefetch(tmp);
        put_outcome(list_entry(link, struct session_result, by_age), out);
    }
    put_limits(s, out);
}

/* Append the whole message to @out. Returns its hash. */
static uint64_t put_message(const struct state *s, struct buf *out)
{
    size_t start = out->len;
    put_scalars(s, out);
    put_queue(s, out);
    list_for_each (link, tmp, &s->batches) {
        put_batch(list_entry(link, struct state_batch, link), out);
    }
    put_sessions(&s->sessions, out);
    list_for_each (link, tmp, &s->quarantine) {
        put_quarantine(list_entry(link, struct state_quarantine, link), out);
    }
    list_for_each (link, tmp, &s->flushed) {
        put_flushed(list_entry(link, struct state_flushed, link), out);
    }
    CHECK(!out->failed);
    return XXH3_64bits(out->data + start, out->len - start);
}

void state_snapshot(const struct state *s, struct buf *out)
{
    size_t at = out->len;
    uint8_t header[HEADER_BYTES];
    memcpy(header, magic, sizeof magic);
    buf_append(out, header, sizeof header); /* length and hash are known at the end */
    /* What sessions and results count for is more than their framing. */
    buf_reserve(out, s->dirty_bytes + s->retained_bytes +
                         (s->queued_entries + s->batched_entries + s->flushed_count) * ENTRY_FRAMING_BYTES +
                         s->sessions.bytes);
    uint64_t hash = put_message(s, out);
    CHECK(!out->failed);
    store_le64(out->data + at + LENGTH_AT, out->len - at - HEADER_BYTES);
    store_le64(out->data + at + HASH_AT, hash);
}

uint64_t state_hash(const struct state *s)
{
    struct buf message;
    buf_init(&message);
    uint64_t hash = put_message(s, &message);
    buf_deinit(&message);
    return hash;
}

bool state_hash_is_cheap(const struct state *s)
{
    enum { ELEMENTS_MAX = 10000, BYTES_MAX = 8 * 1024 * 1024 };
    return s->queued_entries + s->batched_entries + s->quarantined + s->flushed_count + s->retained +
                   s->sessions.count + s->sessions.result_count <=
               ELEMENTS_MAX &&
           s->dirty_bytes + s->retained_bytes + s->sessions.bytes <= BYTES_MAX;
}

/* ---- Reading ---- */

static bool frame_is_whole(struct bytes raw)
{
    return raw.len >= HEADER_BYTES && memcmp(raw.data, magic, sizeof magic) == 0 &&
           load_le64(raw.data + LENGTH_AT) == raw.len - HEADER_BYTES &&
           load_le64(raw.data + HASH_AT) ==
               bytes_hash(bytes_of(raw.data + HEADER_BYTES, raw.len - HEADER_BYTES), 0);
}

static bool read_scalars(struct state *s, const Wbsnap__Snapshot *m)
{
    bool born = m->has_cluster_id;
    const Wbsnap__Flush *f = m->flush;
    if ((bool)m->has_group_count != born || (bool)m->has_version_base != born ||
        f->last_batch > f->newest_batch || f->newest_batch > m->applied_index ||
        (bool)f->has_retention_ms != (bool)f->has_retention_bytes || f->recover_index > m->applied_index ||
        f->lost_stamp_ms > m->stamp_ms) {
        return false;
    }
    if (born &&
        (m->cluster_id.len != CLUSTER_ID_BYTES || m->group_count < 1 || m->group_count > LIMIT_GROUPS)) {
        return false;
    }
    if (m->has_claimed && !(m->claimed && born)) {
        return false;
    }
    s->applied_index = m->applied_index;
    s->stamp_ms = m->stamp_ms;
    s->last_batch = f->last_batch;
    s->newest_batch = f->newest_batch;
    s->recover_index = f->recover_index;
    s->rewinds = f->rewinds;
    s->lost = f->lost;
    s->lost_stamp_ms = f->lost_stamp_ms;
    s->retention_named = f->has_retention_ms;
    s->retention_ms = f->retention_ms;
    s->retention_bytes = f->retention_bytes;
    s->control = (struct state_control){
        .paused = f->has_paused && f->paused,
        .has_rows_per_second = f->has_rows_per_second,
        .rows_per_second = f->rows_per_second,
        .has_batch_rows = f->has_batch_rows,
        .batch_rows = f->batch_rows,
        .has_batch_bytes = f->has_batch_bytes,
        .batch_bytes = f->batch_bytes,
        .has_age_ms = f->has_age_ms,
        .age_ms = f->age_ms,
    };
    s->claimed = m->has_claimed;
    s->born = born;
    if (born) {
        memcpy(s->cluster_id, m->cluster_id.data, CLUSTER_ID_BYTES);
        s->group_count = m->group_count;
        s->version_base = m->version_base;
    }
    return true;
}

/* May a place with these two follow @last in one list? Then it becomes *@last. */
static bool place_follows(
    const struct state *s, struct dirty_place *last, uint64_t first_dirty, uint64_t stamp_ms)
{
    if (first_dirty == 0 || first_dirty < last->first_dirty || first_dirty > s->applied_index ||
        stamp_ms < last->dirty_stamp_ms || stamp_ms > s->stamp_ms ||
        (first_dirty == last->first_dirty && stamp_ms != last->dirty_stamp_ms)) {
        return false;
    }
    last->first_dirty = first_dirty;
    last->dirty_stamp_ms = stamp_ms;
    return true;
}

/* Add the entry that @m describes; NULL when it cannot be one, or its key is there already. */
static struct state_entry *read_entry(struct state *s, const Wbsnap__Entry *m)
{
    struct bytes key = pb_bytes(m->key);
    if (key.len > LIMIT_KEY_BYTES || m->type > UINT8_MAX || m->version == 0 || state_find(s, key) != NULL) {
        return NULL;
    }
    if (m->has_value ? m->value.len > LIMIT_VALUE_BYTES : m->has_expires_at_ms) {
        return NULL;
    }
    struct state_entry *e = state_add(s, key, false);
    struct value *value = m->has_value ? value_create(pb_bytes(m->value)) : NULL;
    state_assign(s, e, (uint8_t)m->type, value, m->version, m->expires_at_ms);
    return e;
}

static bool read_queue(struct state *s, const Wbsnap__Snapshot *m)
{
    struct dirty_place last = {0};
    for (size_t i = 0; i < m->n_queue; i++) {
        const Wbsnap__Entry *entry = m->queue[i];
        if (!entry->has_first_dirty || !entry->has_dirty_stamp_ms ||
            !place_follows(s, &last, entry->first_dirty, entry->dirty_stamp_ms)) {
            return false;
        }
        struct state_entry *e = read_entry(s, entry);
        if (e == NULL) {
            return false;
        }
        state_enqueue(s, e, entry->first_dirty, entry->dirty_stamp_ms);
        if (entry->has_tied && entry->tied) {
            state_tie(s, e);
        }
    }
    return true;
}

/* The entry of a place in batch @id: described here, or one of the queue's, written after the batch began. */
static struct state_entry *read_place_entry(struct state *s, const Wbsnap__Place *place, uint64_t id)
{
    if (place->entry == NULL) {
        struct state_entry *e = state_find(s, pb_bytes(place->key));
        return e != NULL && e->batch == NULL && e->queued.first_dirty > id ? e : NULL;
    }
    if (!bytes_equal(pb_bytes(place->key), pb_bytes(place->entry->key)) ||
        place->first_dirty != place->entry->first_dirty ||
        place->dirty_stamp_ms != place->entry->dirty_stamp_ms) {
        return NULL;
    }
    return read_entry(s, place->entry);
}

static bool read_batch(struct state *s, const Wbsnap__Batch *m, struct dirty_place *last)
{
    struct state_batch *b = state_batch_add(s, m->id);
    b->retry = m->has_retry && m->retry;
    for (size_t i = 0; i < m->n_places; i++) {
        const Wbsnap__Place *place = m->places[i];
        struct dirty_place any = {0};
        if (place->first_dirty >= m->id ||
            !place_follows(s, b->retry ? &any : last, place->first_dirty, place->dirty_stamp_ms)) {
            return false;
        }
        struct state_entry *e = read_place_entry(s, place, m->id);
        if (e == NULL) {
            return false;
        }
        state_batch_push(s, b, e, place->first_dirty, place->dirty_stamp_ms);
        e->tied_batched = place->has_tied && place->tied;
    }
    if (m->first_dirty == 0 || m->first_dirty >= m->id || (b->rows > 0 && m->first_dirty > b->first_dirty)) {
        return false;
    }
    b->first_dirty = m->first_dirty;
    b->dirty_stamp_ms = m->dirty_stamp_ms;
    return true;
}

static bool read_batches(struct state *s, const Wbsnap__Snapshot *m)
{
    struct dirty_place last = {0};
    uint64_t id = s->last_batch;
    for (size_t i = 0; i < m->n_batches; i++) {
        const Wbsnap__Batch *batch = m->batches[i];
        if (batch->id <= id || batch->id > s->newest_batch || !read_batch(s, batch, &last)) {
            return false;
        }
        id = batch->id;
    }
    if (m->n_queue == 0) {
        return true;
    }
    /* The queue goes on where the batches end. */
    return place_follows(s, &last, m->queue[0]->first_dirty, m->queue[0]->dirty_stamp_ms);
}

/* The entry of @key: described by @m, or, without one, in one of the lists before. */
static struct state_entry *read_other_entry(struct state *s, struct bytes key, const Wbsnap__Entry *m)
{
    if (m == NULL) {
        struct state_entry *e = state_find(s, key);
        return e != NULL && state_entry_dirty(e) ? e : NULL;
    }
    return bytes_equal(key, pb_bytes(m->key)) && !m->has_first_dirty && !m->has_dirty_stamp_ms
               ? read_entry(s, m)
               : NULL;
}

static bool read_quarantine(struct state *s, const Wbsnap__Snapshot *m)
{
    for (size_t i = 0; i < m->n_quarantine; i++) {
        const Wbsnap__Quarantined *q = m->quarantine[i];
        struct state_entry *e = read_other_entry(s, pb_bytes(q->key), q->entry);
        if (e == NULL || e->quarantine != NULL ||
            (q->entry == NULL && (e->batch == NULL || !e->batch->retry)) || q->first_dirty == 0 ||
            q->first_dirty > s->applied_index || q->dirty_stamp_ms > s->stamp_ms ||
            q->refused_stamp_ms > s->stamp_ms || q->attempts == 0 || strlen(q->sqlstate) > 5 ||
            strlen(q->message) > STATE_FAULT_MESSAGE_MAX) {
            return false;
        }
        struct state_quarantine *mark = state_quarantine_enter(
            s, e, q->first_dirty, q->dirty_stamp_ms, q->sqlstate, bytes_of(q->message, strlen(q->message)));
        mark->refused_stamp_ms = q->refused_stamp_ms;
        mark->refused_version = q->refused_version;
        mark->attempts = q->attempts;
    }
    list_for_each (link, tmp, &s->batches) {
        struct state_batch *b = list_entry(link, struct state_batch, link);
        list_for_each (place, tmp2, &b->places) {
            if (b->retry != (state_batch_entry(place)->quarantine != NULL)) {
                return false;
            }
        }
    }
    return true;
}

static bool read_flushed(struct state *s, const Wbsnap__Snapshot *m)
{
    uint64_t id = 0;
    for (size_t i = 0; i < m->n_flushed; i++) {
        const Wbsnap__Flushed *f = m->flushed[i];
        if (f->id <= id || f->id > s->newest_batch || f->first_dirty == 0 || f->first_dirty >= f->id ||
            f->dirty_stamp_ms > s->stamp_ms || f->stamp_ms > s->stamp_ms) {
            return false;
        }
        id = f->id;
        struct state_flushed *to =
            state_flushed_add(s, f->id, f->first_dirty, f->dirty_stamp_ms, f->stamp_ms);
        to->trimmed = f->trimmed;
        to->undone = f->has_undone && f->undone;
        if (to->undone ? f->n_retained > 0 : f->id > s->last_batch) {
            return false;
        }
        for (size_t r = 0; r < f->n_retained; r++) {
            struct state_entry *e = read_other_entry(s, pb_bytes(f->retained[r]->key), f->retained[r]->entry);
            if (e == NULL || e->flushed != NULL) {
                return false;
            }
            state_retain(s, to, e);
        }
    }
    return true;
}

/* Was a session of this id opened by a log entry that has applied? See state_session_id. */
static bool session_was_opened(const struct state *s, uint64_t id)
{
    uint64_t opened = id >> 16;
    return opened > 0 && opened <= s->applied_index;
}

static bool read_sessions(struct state *s, const Wbsnap__Snapshot *m)
{
    if (m->has_sessions_max || m->has_session_bytes_max) {
        if (m->sessions_max == 0 || m->session_bytes_max == 0) {
            return false; /* one is missing, or is no limit */
        }
        sessions_apply_limits(&s->sessions, m->sessions_max, m->session_bytes_max);
    }
    for (size_t i = 0; i < m->n_sessions; i++) {
        const Wbsnap__Session *session = m->sessions[i];
        if (!session_was_opened(s, session->id) ||
            !sessions_restore_session(&s->sessions, session->id, session->floor)) {
            return false;
        }
    }
    for (size_t i = 0; i < m->n_outcomes; i++) {
        const Wbsnap__Outcome *o = m->outcomes[i];
        struct bytes results = o->has_results ? pb_bytes(o->results) : bytes_of(NULL, 0);
        if (o->index < o->session >> 16 || o->index > s->applied_index ||
            !sessions_restore_result(&s->sessions, o->session, o->sequence, o->index, o->status, results)) {
            return false;
        }
    }
    return true;
}

/* Fill the empty @s. When false, @s is half filled, and good for state_deinit only. */
static bool read_message(struct state *s, struct bytes message, struct arena *arena)
{
    const Wbsnap__Snapshot *m =
        (const Wbsnap__Snapshot *)pb_unpack(&wbsnap__snapshot__descriptor, message, arena);
    return m != NULL && read_scalars(s, m) && read_queue(s, m) && read_batches(s, m) && read_sessions(s, m) &&
           read_quarantine(s, m) && read_flushed(s, m);
}

/* Move all of @from to the uninitialised @to: the heads of the lists change their place. */
static void move(struct state *to, struct state *from)
{
    *to = *from;
    list_init(&to->queue);
    list_splice_back(&to->queue, &from->queue);
    list_init(&to->batches);
    list_splice_back(&to->batches, &from->batches);
    list_init(&to->quarantine);
    list_splice_back(&to->quarantine, &from->quarantine);
    list_init(&to->flushed);
    list_splice_back(&to->flushed, &from->flushed);
    list_init(&to->absent); /* a snapshot has none */
    sessions_move(&to->sessions, &from->sessions);
}

/* The number of the format is the last byte of the magic. */
static bool of_another_format(struct bytes raw)
{
    return raw.len >= HEADER_BYTES && memcmp(raw.data, magic, sizeof magic - 1) == 0 &&
           raw.data[sizeof magic - 1] != magic[sizeof magic - 1];
}

enum status state_restore(struct state *s, struct bytes snapshot)
{
    if (of_another_format(snapshot)) {
        return STATUS_HALTED;
    }
    if (!frame_is_whole(snapshot)) {
        return STATUS_CORRUPT;
    }
    struct state fresh;
    state_init(&fresh, s->table->seed);
    struct arena arena;
    arena_init(&arena);
    struct bytes message = bytes_of(snapshot.data + HEADER_BYTES, snapshot.len - HEADER_BYTES);
    bool good = read_message(&fresh, message, &arena);
    arena_deinit(&arena);
    /* The proof: nothing was overlooked (an unknown field, another encoding), nothing went wrong on the way.
     */
    if (!good || state_hash(&fresh) != load_le64(snapshot.data + HASH_AT)) {
        state_deinit(&fresh);
        return STATUS_CORRUPT;
    }
    state_deinit(s);
    move(s, &fresh);
    return STATUS_OK;
}
