#include "node/overlay.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"

enum { FIRST_BUCKETS = 256, WRITE_FRAMING_BYTES = 26, OUTCOME_FRAMING_BYTES = 40 };

size_t overlay_write_bytes(size_t key_len, size_t value_len)
{
    return key_len + value_len + WRITE_FRAMING_BYTES;
}

void overlay_init(struct overlay *o, uint64_t hash_seed)
{
    *o = (struct overlay){
        .bucket_count = FIRST_BUCKETS, .outcome_bucket_count = FIRST_BUCKETS, .hash_seed = hash_seed};
    o->buckets = xcalloc(FIRST_BUCKETS, sizeof(struct pending_write *));
    o->outcome_buckets = xcalloc(FIRST_BUCKETS, sizeof(struct pending_outcome *));
    list_init(&o->in_flight);
}

void overlay_deinit(struct overlay *o)
{
    CHECK(o->open == NULL && o->in_flight_count == 0 && o->keys == 0 && o->outcomes == 0);
    free(o->buckets);
    free(o->outcome_buckets);
}

static struct pending_write **bucket_of(const struct overlay *o, uint64_t hash)
{
    return &o->buckets[hash & (o->bucket_count - 1)];
}

/* The link that names the newest write of a key: in its bucket, or NULL at the chain's end. */
static struct pending_write **link_of(const struct overlay *o, struct bytes key, uint64_t hash)
{
    struct pending_write **link = bucket_of(o, hash);
    while (*link != NULL && !((*link)->hash == hash && bytes_equal((*link)->key, key))) {
        link = &(*link)->next_in_bucket;
    }
    return link;
}

struct pending_write *overlay_find(const struct overlay *o, struct bytes key)
{
    if (o->keys == 0) {
        return NULL;
    }
    return *link_of(o, key, bytes_hash(key, o->hash_seed));
}

static void grow(struct overlay *o)
{
    uint32_t old_count = o->bucket_count;
    struct pending_write **old = o->buckets;
    o->bucket_count = old_count * 2;
    o->buckets = xcalloc(o->bucket_count, sizeof(struct pending_write *));
    for (uint32_t i = 0; i < old_count; i++) {
        for (struct pending_write *w = old[i], *next; w != NULL; w = next) {
            next = w->next_in_bucket;
            struct pending_write **bucket = bucket_of(o, w->hash);
            w->next_in_bucket = *bucket;
            *bucket = w;
        }
    }
    free(old);
}

struct proposal *overlay_open(struct overlay *o)
{
    if (o->open == NULL) {
        struct proposal *p = xcalloc(1, sizeof *p);
        p->seq = ++o->last_seq;
        arena_init(&p->arena);
        list_init(&p->link);
        list_init(&p->writers);
        list_init(&p->readers);
        o->open = p;
    }
    return o->open;
}

/* ---- Writes ---- */

static size_t write_bytes(const struct pending_write *w)
{
    return overlay_write_bytes(w->key.len, w->value == NULL ? 0 : w->value->len);
}

struct pending_write *overlay_add(struct overlay *o, struct bytes key, uint8_t type, struct value *value,
    uint64_t expires_at_ms, uint64_t conn_id)
{
    struct proposal *p = overlay_open(o);
    struct pending_write *w = arena_alloc(&p->arena, sizeof *w + key.len);
    uint8_t *copy = (uint8_t *)(w + 1);
    if (key.len > 0) {
        memcpy(copy, key.data, key.len);
    }
    *w = (struct pending_write){.key = bytes_of(copy, key.len),
        .value = value,
        .expires_at_ms = value == NULL ? 0 : expires_at_ms,
        .type = type,
        .ordinal = p->n_writes,
        .conn_id = conn_id,
        .proposal = p};
    w->hash = bytes_hash(w->key, o->hash_seed);
    if (p->last == NULL) {
        p->first = w;
    } else {
        p->last->next = w;
    }
    p->last = w;
    p->n_writes++;
    size_t bytes = write_bytes(w);
    p->bytes += bytes;
    o->bytes += bytes;

    struct pending_write **link = link_of(o, w->key, w->hash);
    struct pending_write *hidden = *link;
    if (hidden != NULL) {
        w->older = hidden;
        w->older_seq = hidden->proposal->seq;
        w->many = hidden->many || hidden->conn_id != conn_id;
        w->next_in_bucket = hidden->next_in_bucket;
        *link = w;
    } else {
        *link = w;
        if (++o->keys > o->bucket_count) {
            grow(o);
        }
    }
    return w;
}

void overlay_replace(struct overlay *o, struct pending_write *w, uint8_t type, struct value *value,
    uint64_t expires_at_ms, uint64_t conn_id)
{
    CHECK(w->replaceable && w->proposal == o->open);
    size_t before = write_bytes(w);
    value_unref(w->value);
    w->value = value;
    w->type = type;
    w->expires_at_ms = value == NULL ? 0 : expires_at_ms;
    w->many = w->many || w->conn_id != conn_id;
    w->conn_id = conn_id;
    size_t after = write_bytes(w);
    w->proposal->bytes = w->proposal->bytes - before + after;
    o->bytes = o->bytes - before + after;
}

void overlay_proposed(struct overlay *o, uint64_t index)
{
    o->open->index = index;
    list_push_back(&o->in_flight, &o->open->link);
    o->in_flight_count++;
    o->open = NULL;
}

/* Unhide a key whose newest write @w goes away. When @w was refused, the write that it hid is the newest
 * again if that is still in flight; when it applied, everything older has applied before it. */
static void unhide(struct overlay *o, struct pending_write *w, bool refused)
{
    struct pending_write **link = link_of(o, w->key, w->hash);
    if (*link != w) {
        return; /* a newer one hides it */
    }
    if (refused && w->older != NULL && w->older_seq > o->applied_seq) {
        w->older->next_in_bucket = w->next_in_bucket;
        *link = w->older;
        return;
    }
    *link = w->next_in_bucket;
    o->keys--;
}

/* Turn a list of writes around. */
static struct pending_write *reverse(struct pending_write *first)
{
    struct pending_write *reversed = NULL;
    for (struct pending_write *w = first, *next; w != NULL; w = next) {
        next = w->next;
        w->next = reversed;
        reversed = w;
    }
    return reversed;
}

struct overlay_mark overlay_mark(const struct overlay *o)
{
    if (o->open == NULL) {
        return (struct overlay_mark){0};
    }
    return (struct overlay_mark){.n_writes = o->open->n_writes, .arena = arena_mark(&o->open->arena)};
}

void overlay_undo(struct overlay *o, struct overlay_mark mark)
{
    struct proposal *p = o->open;
    uint32_t n_writes = mark.n_writes;
    if (p == NULL || p->n_writes == n_writes) {
        return;
    }
    CHECK(n_writes < p->n_writes);
    struct pending_write *kept = NULL, *w = p->first;
    for (uint32_t i = 0; i < n_writes; i++) {
        kept = w;
        w = w->next;
    }
    /* From the newest back: a key can have been written twice. */
    for (w = reverse(w); w != NULL; w = w->next) {
        size_t bytes = write_bytes(w);
        unhide(o, w, true);
        p->bytes -= bytes;
        o->bytes -= bytes;
        value_unref(w->value);
    }
    p->last = kept;
    p->n_writes = n_writes;
    if (kept == NULL) {
        p->first = NULL;
    } else {
        kept->next = NULL;
    }
    arena_rollback(&p->arena, mark.arena);
}

/* ---- Outcomes ---- */

static struct pending_outcome **outcome_link(const struct overlay *o, uint64_t session, uint64_t sequence)
{
    uint64_t pair[2] = {session, sequence};
    uint64_t hash = bytes_hash(bytes_of(pair, sizeof pair), o->hash_seed);
    struct pending_outcome **link = &o->outcome_buckets[hash & (o->outcome_bucket_count - 1)];
    while (*link != NULL && !((*link)->session == session && (*link)->sequence == sequence)) {
        link = &(*link)->next_in_bucket;
    }
    return link;
}

static void grow_outcomes(struct overlay *o)
{
    struct pending_outcome **old = o->outcome_buckets;
    uint32_t old_count = o->outcome_bucket_count;
    o->outcome_bucket_count = old_count * 2;
    o->outcome_buckets = xcalloc(o->outcome_bucket_count, sizeof(struct pending_outcome *));
    for (uint32_t i = 0; i < old_count; i++) {
        for (struct pending_outcome *out = old[i], *next; out != NULL; out = next) {
            next = out->next_in_bucket;
            out->next_in_bucket = NULL;
            *outcome_link(o, out->session, out->sequence) = out;
        }
    }
    free(old);
}

void overlay_add_outcome(struct overlay *o, uint64_t session, uint64_t sequence, uint64_t first_awaited,
    enum status status, struct bytes results)
{
    struct proposal *p = overlay_open(o);
    struct pending_outcome *out = arena_alloc(&p->arena, sizeof *out + results.len);
    *out = (struct pending_outcome){.session = session,
        .sequence = sequence,
        .first_awaited = first_awaited,
        .status = status,
        .results = bytes_of(out + 1, results.len),
        .proposal = p};
    if (results.len > 0) {
        memcpy(out + 1, results.data, results.len);
    }
    if (p->last_outcome == NULL) {
        p->first_outcome = out;
    } else {
        p->last_outcome->next = out;
    }
    p->last_outcome = out;
    p->n_outcomes++;
    p->bytes += OUTCOME_FRAMING_BYTES + results.len;
    o->bytes += OUTCOME_FRAMING_BYTES + results.len;
    if (++o->outcomes > o->outcome_bucket_count) {
        grow_outcomes(o);
    }
    struct pending_outcome **link = outcome_link(o, session, sequence);
    CHECK(*link == NULL && "a retry joins its first try");
    *link = out;
}

struct pending_outcome *overlay_find_outcome(const struct overlay *o, uint64_t session, uint64_t sequence)
{
    return o->outcomes == 0 ? NULL : *outcome_link(o, session, sequence);
}

/* ---- The end of a proposal ---- */

static void take_out(struct overlay *o, struct proposal *p, bool refused)
{
    /* A key written twice in one entry: hidden writes of the same entry go with it, so work from the newest
     * back. */
    struct pending_write *reversed = reverse(p->first);
    p->first = NULL;
    for (struct pending_write *w = reversed, *next; w != NULL; w = next) {
        next = w->next;
        unhide(o, w, refused);
        w->next = p->first;
        p->first = w;
    }
    for (const struct pending_outcome *out = p->first_outcome; out != NULL; out = out->next) {
        struct pending_outcome **link = outcome_link(o, out->session, out->sequence);
        CHECK(*link == out);
        *link = out->next_in_bucket;
        o->outcomes--;
    }
    o->bytes -= p->bytes;
}

struct proposal *overlay_refused(struct overlay *o)
{
    struct proposal *p = o->open;
    o->open = NULL;
    take_out(o, p, true);
    return p;
}

struct proposal *overlay_applied(struct overlay *o, uint64_t seq)
{
    if (list_empty(&o->in_flight)) {
        return NULL;
    }
    struct proposal *p = list_entry(o->in_flight.next, struct proposal, link);
    if (p->seq != seq) {
        return NULL;
    }
    list_remove(&p->link);
    o->in_flight_count--;
    o->applied_seq = seq;
    take_out(o, p, false);
    return p;
}

struct proposal *overlay_abandon(struct overlay *o)
{
    if (o->in_flight_count > 0) {
        struct proposal *p = list_entry(o->in_flight.next, struct proposal, link);
        return overlay_applied(o, p->seq);
    }
    return o->open == NULL ? NULL : overlay_refused(o);
}

void proposal_destroy(struct proposal *p)
{
    CHECK(list_empty(&p->writers) && list_empty(&p->readers));
    for (struct pending_write *w = p->first; w != NULL; w = w->next) {
        value_unref(w->value);
    }
    arena_deinit(&p->arena);
    free(p);
}
