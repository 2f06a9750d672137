/* Snapshots: what is replicated, as one wbsnap.Snapshot behind a header of 24 bytes:
 *
 *     0   "WBSNAP\0" and the format's number (1)
 *     8   length of the message, little endian
 *     16  XXH3-64 of the message, little endian: the state's hash
 *
 * The message is produced field by field, in the order of the field numbers: the bytes are those that packing
 * it as a whole would give, without a second copy of everything in memory. Equal states give equal bytes, so
 * a restore ends with the proof: the new state must give the hash that the header names. */
#include <string.h>
#include <xxhash.h>

#include "node/state_internal.h"
#include "node/state_table.h"
#include "proto/base/check.h"
#include "proto/pb.h"
#include "proto/snapshot.pb-c.h"

enum { HEADER_BYTES = 24, LENGTH_AT = 8, HASH_AT = 16 };
static const uint8_t magic[LENGTH_AT] = {'W', 'B', 'S', 'N', 'A', 'P', 0, 1};

/* ---- Writing ---- */

/* Where the message's bytes go, piece by piece. */
struct sink {
    struct buf *out;    /* append them here, unless NULL */
    XXH3_state_t *hash; /* and hash them */
    struct buf piece;   /* the element being packed */
    struct arena arena; /* its parts */
};

static void sink_init(struct sink *sink, struct buf *out)
{
    sink->out = out;
    buf_init(&sink->piece);
    arena_init(&sink->arena);
    sink->hash = XXH3_createState();
    CHECK(sink->hash != NULL && XXH3_64bits_reset(sink->hash) == XXH_OK);
}

/* Returns the hash of everything that was put. */
static uint64_t sink_finish(struct sink *sink)
{
    CHECK(sink->out == NULL || !sink->out->failed);
    buf_deinit(&sink->piece);
    arena_deinit(&sink->arena);
    uint64_t hash = XXH3_64bits_digest(sink->hash);
    XXH3_freeState(sink->hash);
    return hash;
}

/* Pass on what is in `piece`, and make it and the arena empty. */
static void sink_put_piece(struct sink *sink)
{
    CHECK(!sink->piece.failed);
    CHECK(XXH3_64bits_update(sink->hash, sink->piece.data, sink->piece.len) == XXH_OK);
    if (sink->out != NULL) {
        buf_append(sink->out, sink->piece.data, sink->piece.len);
    }
    buf_clear(&sink->piece);
    arena_reset(&sink->arena);
}

static void append_varint(struct buf *out, uint64_t v)
{
    while (v >= 0x80) {
        buf_append_u8(out, (uint8_t)(v | 0x80));
        v >>= 7;
    }
    buf_append_u8(out, (uint8_t)v);
}

/* One element of the Snapshot's repeated field @number (protobuf: a key of wire type 2, the length, the
 * message). */
static void sink_put_element(struct sink *sink, uint32_t number, const ProtobufCMessage *message)
{
    append_varint(&sink->piece, number << 3 | 2);
    append_varint(&sink->piece, protobuf_c_message_get_packed_size(message));
    pb_pack(message, &sink->piece);
    sink_put_piece(sink);
}

static void put_scalars(const struct state *s, struct sink *sink)
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
    m.last_batch = s->last_batch;
    pb_pack(&m.base, &sink->piece);
    sink_put_piece(sink);
}

/* @e as it is now, at @place. Borrows from @e. */
static void describe_entry(const struct state_entry *e, const struct dirty_place *place, Wbsnap__Entry *out)
{
    wbsnap__entry__init(out);
    out->key = pb_borrow(state_entry_key(e));
    if (e->value != NULL) {
        out->has_value = 1;
        out->value = pb_borrow(value_bytes(e->value));
    }
    out->has_type = e->type != VALUE_STRING;
    out->type = e->type;
    out->version = e->version;
    out->has_expires_at_ms = e->expires_at_ms != 0;
    out->expires_at_ms = e->expires_at_ms;
    out->first_dirty = place->first_dirty;
    out->dirty_stamp_ms = place->dirty_stamp_ms;
}

static Wbsnap__Place *describe_place(const struct state_entry *e, struct arena *arena)
{
    Wbsnap__Place *place = arena_alloc(arena, sizeof *place);
    wbsnap__place__init(place);
    place->key = pb_borrow(state_entry_key(e));
    place->first_dirty = e->batched.first_dirty;
    place->dirty_stamp_ms = e->batched.dirty_stamp_ms;
    if (e->queued.first_dirty == 0) {
        place->entry = arena_alloc(arena, sizeof *place->entry);
        describe_entry(e, &e->batched, place->entry);
    }
    return place;
}

static void put_batch(const struct state_batch *b, struct sink *sink)
{
    Wbsnap__Batch m = WBSNAP__BATCH__INIT;
    m.id = b->id;
    m.places = arena_alloc(&sink->arena, b->rows * sizeof(Wbsnap__Place *));
    list_for_each (link, tmp, &b->places) {
        m.places[m.n_places++] = describe_place(state_batch_entry(link), &sink->arena);
    }
    sink_put_element(sink, 9, &m.base);
}

/* The whole message, to @out (NULL: only hashed). Returns its hash. */
static uint64_t put_message(const struct state *s, struct buf *out)
{
    struct sink sink;
    sink_init(&sink, out);
    put_scalars(s, &sink);
    list_for_each (link, tmp, &s->queue) {
        const struct state_entry *e = state_queue_entry(link);
        Wbsnap__Entry m;
        describe_entry(e, &e->queued, &m);
        sink_put_element(&sink, 8, &m.base);
    }
    list_for_each (link, tmp, &s->batches) {
        put_batch(list_entry(link, struct state_batch, link), &sink);
    }
    return sink_finish(&sink);
}

void state_snapshot(const struct state *s, struct buf *out)
{
    size_t at = out->len;
    uint8_t header[HEADER_BYTES];
    memcpy(header, magic, sizeof magic);
    buf_append(out, header, sizeof header); /* length and hash are known at the end */
    uint64_t hash = put_message(s, out);
    CHECK(!out->failed);
    store_le64(out->data + at + LENGTH_AT, out->len - at - HEADER_BYTES);
    store_le64(out->data + at + HASH_AT, hash);
}

uint64_t state_hash(const struct state *s)
{
    return put_message(s, NULL);
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
    if ((bool)m->has_group_count != born || (bool)m->has_version_base != born ||
        m->last_batch > m->applied_index) {
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
    s->last_batch = m->last_batch;
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
        if (!place_follows(s, &last, entry->first_dirty, entry->dirty_stamp_ms)) {
            return false;
        }
        struct state_entry *e = read_entry(s, entry);
        if (e == NULL) {
            return false;
        }
        state_enqueue(s, e, entry->first_dirty, entry->dirty_stamp_ms);
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
    if (m->n_places == 0) {
        return false;
    }
    struct state_batch *b = state_batch_add(s, m->id);
    for (size_t i = 0; i < m->n_places; i++) {
        const Wbsnap__Place *place = m->places[i];
        if (place->first_dirty >= m->id ||
            !place_follows(s, last, place->first_dirty, place->dirty_stamp_ms)) {
            return false;
        }
        struct state_entry *e = read_place_entry(s, place, m->id);
        if (e == NULL) {
            return false;
        }
        state_batch_push(s, b, e, place->first_dirty, place->dirty_stamp_ms);
    }
    return true;
}

static bool read_batches(struct state *s, const Wbsnap__Snapshot *m)
{
    struct dirty_place last = {0};
    uint64_t id = s->last_batch;
    for (size_t i = 0; i < m->n_batches; i++) {
        const Wbsnap__Batch *batch = m->batches[i];
        if (batch->id <= id || batch->id > s->applied_index || !read_batch(s, batch, &last)) {
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

/* Fill the empty @s. When false, @s is half filled, and good for state_deinit only. */
static bool read_message(struct state *s, struct bytes message, struct arena *arena)
{
    const Wbsnap__Snapshot *m =
        (const Wbsnap__Snapshot *)pb_unpack(&wbsnap__snapshot__descriptor, message, arena);
    return m != NULL && read_scalars(s, m) && read_queue(s, m) && read_batches(s, m);
}

/* Move all of @from to the uninitialised @to: the heads of the lists change their place. */
static void move(struct state *to, struct state *from)
{
    *to = *from;
    list_init(&to->queue);
    list_splice_back(&to->queue, &from->queue);
    list_init(&to->batches);
    list_splice_back(&to->batches, &from->batches);
    list_init(&to->absent); /* a snapshot has none */
}

enum status state_restore(struct state *s, struct bytes snapshot)
{
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
