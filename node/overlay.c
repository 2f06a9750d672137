#include "node/overlay.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"

enum { FIRST_BUCKETS = 256, WRITE_FRAMING_BYTES = 24 };

size_t overlay_write_bytes(size_t key_len, size_t value_len)
{
    return key_len + value_len + WRITE_FRAMING_BYTES;
}

void overlay_init(struct overlay *o, uint64_t hash_seed)
{
    *o = (struct overlay){.bucket_count = FIRST_BUCKETS, .hash_seed = hash_seed};
    o->buckets = xcalloc(FIRST_BUCKETS, sizeof(struct pending_write *));
    list_init(&o->in_flight);
}

void overlay_deinit(struct overlay *o)
{
    CHECK(o->open == NULL && o->in_flight_count == 0 && o->keys == 0);
    free(o->buckets);
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

struct pending_write *overlay_add(struct overlay *o, struct bytes key, struct value *value, uint64_t conn_id)
{
    struct proposal *p = overlay_open(o);
    struct pending_write *w = arena_alloc(&p->arena, sizeof *w + key.len);
    uint8_t *copy = (uint8_t *)(w + 1);
    if (key.len > 0) {
        memcpy(copy, key.data, key.len);
    }
    *w = (struct pending_write){
        .key = bytes_of(copy, key.len), .value = value, .conn_id = conn_id, .proposal = p};
    w->hash = bytes_hash(w->key, o->hash_seed);
    if (p->last == NULL) {
        p->first = w;
    } else {
        p->last->next = w;
    }
    p->last = w;
    p->n_writes++;
    size_t bytes = overlay_write_bytes(key.len, value == NULL ? 0 : value->len);
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

void overlay_proposed(struct overlay *o)
{
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

static void take_out(struct overlay *o, struct proposal *p, bool refused)
{
    /* A key written twice in one entry: hidden writes of the same entry go with it, so work from the newest
     * back. */
    struct pending_write *reversed = NULL;
    for (struct pending_write *w = p->first, *next; w != NULL; w = next) {
        next = w->next;
        w->next = reversed;
        reversed = w;
    }
    p->first = NULL;
    for (struct pending_write *w = reversed, *next; w != NULL; w = next) {
        next = w->next;
        unhide(o, w, refused);
        w->next = p->first;
        p->first = w;
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
