/* Transactions: the requester's function reads and writes keys, and what it wrote goes into the log as one.
 *
 * Happy path: all keys are known -> the function runs, its writes are noted here -> there is room for them ->
 * they become pending writes of the open entry, whose apply answers. What the function found is thrown away
 * when it cannot be proposed as it is (no room now, the entry was refused, a version is not known yet): it
 * runs again later. */
#include "node/transaction.h"

#include <string.h>

#include "node/group_internal.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"

enum {
    ENTRY_SLACK_BYTES = 1024,
    WRITES_LINEAR = 8, /* more than so many are looked up by hash */
};

/* The newest write of a key by the transaction. */
struct write {
    struct bytes key;    /* the request's */
    struct value *value; /* a reference; NULL: deleted */
    uint8_t type;
    bool put; /* it was there for a moment at least */
    uint64_t expires_at_ms;
    uint32_t next; /* in its bucket: index + 1; 0: none */
};

struct transaction {
    struct group *group;
    struct group_request *request;
    uint64_t stamp_ms;
    bool stale;             /* this replica's state as it is */
    bool flight;            /* what is in flight is seen */
    struct proposal *seen;  /* the newest write in flight that it rests on */
    struct proposal *again; /* the open entry, whose index is the version that is not known yet */
    struct write few[WRITES_LINEAR];
    struct write *writes; /* `few`, or in `arena` */
    uint32_t n, cap;
    uint64_t work;
    uint32_t *buckets; /* in `arena`: index + 1; NULL while a look at all of them does */
    uint32_t bucket_count;
    struct arena arena;
};

/* ---- What it wrote ---- */

static uint32_t *bucket_of(const struct transaction *t, struct bytes key)
{
    return &t->buckets[bytes_hash(key, t->group->config.hash_seed) & (t->bucket_count - 1)];
}

static struct write *find(const struct transaction *t, struct bytes key)
{
    if (t->buckets == NULL) {
        for (uint32_t i = 0; i < t->n; i++) {
            if (bytes_equal(t->writes[i].key, key)) {
                return &t->writes[i];
            }
        }
        return NULL;
    }
    for (uint32_t at = *bucket_of(t, key); at != 0; at = t->writes[at - 1].next) {
        if (bytes_equal(t->writes[at - 1].key, key)) {
            return &t->writes[at - 1];
        }
    }
    return NULL;
}

static void grow(struct transaction *t)
{
    struct write *more = arena_alloc(&t->arena, 2 * (size_t)t->cap * sizeof *more);
    memcpy(more, t->writes, t->n * sizeof *more);
    t->writes = more;
    t->cap *= 2;
    t->bucket_count = t->cap;
    t->buckets = arena_alloc(&t->arena, t->bucket_count * sizeof *t->buckets);
    memset(t->buckets, 0, t->bucket_count * sizeof *t->buckets);
    for (uint32_t i = 0; i < t->n; i++) {
        uint32_t *bucket = bucket_of(t, t->writes[i].key);
        t->writes[i].next = *bucket;
        *bucket = i + 1;
    }
}

/* Takes over the reference to @value. */
static struct write *note(
    struct transaction *t, struct bytes key, struct value *value, uint8_t type, uint64_t expires_at_ms)
{
    CHECK(!t->request->read_only && !t->stale);
    struct write *w = find(t, key);
    if (w == NULL) {
        if (t->n == t->cap) {
            grow(t);
        }
        w = &t->writes[t->n++];
        *w = (struct write){.key = key};
        if (t->buckets != NULL) {
            uint32_t *bucket = bucket_of(t, key);
            w->next = *bucket;
            *bucket = t->n;
        }
    }
    value_unref(w->value);
    w->value = value;
    w->type = type;
    w->expires_at_ms = expires_at_ms;
    return w;
}

void transaction_put(
    struct transaction *t, struct bytes key, uint8_t type, struct value *value, uint64_t expires_at_ms)
{
    CHECK(value != NULL && value->len <= LIMIT_VALUE_BYTES);
    t->work += value->len;
    if (expires_at_ms > OPERATION_EXPIRES_AT_MAX_MS) {
        expires_at_ms = OPERATION_EXPIRES_AT_MAX_MS;
    }
    if (expires_at_ms != 0 && expires_at_ms <= t->stamp_ms) {
        value_unref(value);
        value = NULL;
        type = VALUE_STRING;
        expires_at_ms = 0;
    }
    note(t, key, value, type, expires_at_ms)->put = true;
}

void transaction_delete(struct transaction *t, struct bytes key)
{
    note(t, key, NULL, VALUE_STRING, 0);
}

uint64_t transaction_now_ms(const struct transaction *t)
{
    return t->stamp_ms;
}

uint64_t transaction_work(const struct transaction *t)
{
    return t->work;
}

void transaction_add_work(struct transaction *t, uint64_t bytes)
{
    t->work += bytes;
}

/* ---- What it reads ---- */

/* A hash is walked over; a string is copied at most, which is several times faster. */
static void count_work(struct transaction *t, const struct transaction_value *v)
{
    enum { COPY_PER_WALK = 4 };
    if (v->value != NULL) {
        t->work += v->type == VALUE_HASH ? v->value->len : v->value->len / COPY_PER_WALK;
    }
}

static void show_entry(
    const struct transaction *t, const struct state_entry *e, struct transaction_value *out)
{
    out->version_known = true;
    out->version = e == NULL ? 0 : e->version;
    if (e != NULL && e->value != NULL && (e->expires_at_ms == 0 || e->expires_at_ms > t->stamp_ms)) {
        out->value = e->value;
        out->type = e->type;
        out->expires_at_ms = e->expires_at_ms;
    }
}

static void show_pending(struct transaction *t, const struct pending_write *w, struct transaction_value *out)
{
    uint64_t index = w->proposal->index;
    t->seen = group_newer(t->seen, w->proposal);
    out->version_known = index != 0;
    out->version = index == 0 ? 0 : t->group->state.version_base + (index << 16 | w->ordinal);
    if (index == 0) {
        t->again = w->proposal;
    }
    if (w->value != NULL && (w->expires_at_ms == 0 || w->expires_at_ms > t->stamp_ms)) {
        out->value = w->value;
        out->type = w->type;
        out->expires_at_ms = w->expires_at_ms;
    }
}

void transaction_get(struct transaction *t, struct bytes key, struct transaction_value *out)
{
    struct group *g = t->group;
    *out =
        (struct transaction_value){0}; /* what is due was deleted before, or is gone by a committed stamp */
    const struct write *own = find(t, key);
    if (own != NULL) {
        out->value = own->value;
        out->type = own->type;
        out->expires_at_ms = own->expires_at_ms;
        count_work(t, out);
        return;
    }
    const struct pending_write *w = t->stale ? NULL : overlay_find(&g->overlay, key);
    const struct state_entry *e =
        t->flight || w == NULL ? NULL : group_applied_will_do(g, t->request, key, w, t->stamp_ms);
    if (w != NULL && e == NULL) {
        show_pending(t, w, out);
    } else {
        show_entry(t, state_find(&g->state, key), out);
    }
    count_work(t, out);
}

/* ---- Its outcome ---- */

static void begin(struct transaction *t, struct group *g, struct group_request *r, uint64_t stamp_ms)
{
    /* Not all of it is set to zero: `few` is large, and most transactions are small. */
    t->group = g;
    t->request = r;
    t->stamp_ms = stamp_ms;
    t->stale = r->stale;
    t->flight = !r->read_only;
    t->seen = t->again = NULL;
    t->writes = t->few;
    t->n = 0;
    t->work = 0;
    t->cap = WRITES_LINEAR;
    t->buckets = NULL;
    t->bucket_count = 0;
    arena_init(&t->arena);
}

static void end(struct transaction *t)
{
    t->group->turn_work += t->work;
    for (uint32_t i = 0; i < t->n; i++) {
        value_unref(t->writes[i].value);
    }
    arena_deinit(&t->arena);
}

/* A delete of what is known not to be there changes nothing. If it is not there because of a delete in
 * flight, that must come true first. What was put and is gone again is written all the same: who watches the
 * key shall see it. */
static bool changes_nothing(struct transaction *t, const struct write *w)
{
    struct group_current c;
    if (w->value != NULL || w->put || !group_current(t->group, w->key, t->stamp_ms, &c) ||
        c.now.value != NULL) {
        return false;
    }
    t->seen = c.pending == NULL ? t->seen : group_newer(t->seen, c.pending->proposal);
    return true;
}

static void drop_what_changes_nothing(struct transaction *t)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < t->n; i++) {
        if (!changes_nothing(t, &t->writes[i])) {
            t->writes[kept++] = t->writes[i];
        }
    }
    t->n = kept;
    t->buckets = NULL; /* not looked at any more */
}

/* Is there room for what @t writes? If not now or not at all, *@out says what becomes of it. */
static bool has_room(struct transaction *t, enum evaluated *out)
{
    struct group *g = t->group;
    size_t bytes = 0;
    uint64_t more_bytes = 0, more_entries = 0;
    for (uint32_t i = 0; i < t->n; i++) {
        size_t len = t->writes[i].value == NULL ? 0 : t->writes[i].value->len;
        bytes += overlay_write_bytes(t->writes[i].key.len, len);
        group_growth(g, t->writes[i].key, len, &more_bytes, &more_entries);
    }
    *out = EVALUATED;
    if (bytes > LIMIT_ENTRY_BYTES - ENTRY_SLACK_BYTES || t->n > LIMIT_ENTRY_WRITES) {
        group_answer(g, t->request, STATUS_TOO_BIG, t->seen); /* it may depend on what is there */
        return false;
    }
    if (more_bytes + more_entries > 0 && group_over_budget(g, more_bytes, more_entries)) {
        group_finish(g, t->request, STATUS_OVERLOADED,
            g->session.last_error.message[0] != '\0' ? g->session.last_error.message : NULL);
        return false;
    }
    if (!group_make_room(g, bytes, t->n)) {
        *out = NO_ROOM;
        return false;
    }
    return true;
}

/* A hot key is in the entry once, however many transactions write it meanwhile. */
static void put_into_overlay(struct transaction *t, const struct write *w)
{
    struct overlay *o = &t->group->overlay;
    struct pending_write *newest = overlay_find(o, w->key);
    if (newest != NULL && newest->replaceable && newest->proposal == o->open) {
        overlay_replace(o, newest, w->type, w->value, w->expires_at_ms, t->request->conn_id);
    } else {
        newest = overlay_add(o, w->key, w->type, w->value, w->expires_at_ms, t->request->conn_id);
        newest->replaceable = true;
    }
    newest->tied = newest->tied || t->n > 1;
}

static void write_all(struct transaction *t)
{
    struct group *g = t->group;
    for (uint32_t i = 0; i < t->n; i++) {
        struct write *w = &t->writes[i];
        put_into_overlay(t, w);
        w->value = NULL; /* the overlay's now */
        loads_key_written(&g->loads, w->key);
    }
    t->request->status = STATUS_OK;
    group_move(t->request, AT_WAIT_APPLY, &g->overlay.open->writers);
}

static enum evaluated conclude(struct transaction *t, enum status status)
{
    struct group *g = t->group;
    enum evaluated refused = EVALUATED;
    if (status == STATUS_AGAIN) {
        CHECK(t->again != NULL);
        group_wait_again(t->group, t->request, t->again);
        return EVALUATED;
    }
    if (status == STATUS_OK) {
        drop_what_changes_nothing(t);
    }
    if (status != STATUS_OK || t->n == 0) {
        group_answer(g, t->request, status, t->seen);
    } else if (has_room(t, &refused)) {
        write_all(t);
    }
    return refused;
}

/* ---- Evaluating ---- */

static enum evaluated evaluate_stale(struct group *g, struct group_request *r)
{
    if (!g->state.claimed) {
        group_finish(g, r, STATUS_UNAVAILABLE, "this replica knows nothing yet");
        return EVALUATED;
    }
    if (group_wait_unknown(g, r)) {
        return EVALUATED;
    }
    struct transaction t;
    begin(&t, g, r, g->state.stamp_ms);
    enum status status = r->evaluate(r, &t);
    end(&t);
    g->hits++;
    r->stamp_ms = g->state.stamp_ms;
    r->age_ms = g->env.contact_age_ms(g->env.data);
    group_finish(g, r, status, NULL);
    return EVALUATED;
}

static enum status run(struct transaction *t, struct group *g, struct group_request *r, uint64_t stamp_ms)
{
    begin(t, g, r, stamp_ms);
    if (r->read_only) {
        t->flight = group_must_see_flight(g, r, stamp_ms);
    }
    return r->evaluate(r, t);
}

/* NO_ROOM: it was not run. */
static enum evaluated expire_and_run(
    struct transaction *t, struct group *g, struct group_request *r, enum status *status)
{
    uint64_t stamp_ms = group_stamp(g);
    for (uint32_t i = 0; i < r->n; i++) {
        if (group_expire_if_due(g, r->keys[i], stamp_ms) == NO_ROOM) {
            return NO_ROOM;
        }
    }
    *status = run(t, g, r, stamp_ms);
    return EVALUATED;
}

enum evaluated group_eval_transaction(struct group *g, struct group_request *r)
{
    CHECK(r->read_only || !r->stale);
    if (r->stale) {
        return evaluate_stale(g, r);
    }
    if (group_wait_misses(g, r)) {
        return EVALUATED;
    }
    struct transaction t;
    enum status status;
    enum evaluated evaluated = expire_and_run(&t, g, r, &status);
    if (evaluated == EVALUATED && status == STATUS_AGAIN && g->overlay.in_flight_count == 0) {
        /* The version can be had now. Later there may be another write in the open entry, if the key is hot.
         * The log may refuse the entry, and the deletes of what is over with it: so these are made anew. */
        end(&t);
        group_propose_open(g);
        evaluated = expire_and_run(&t, g, r, &status);
    }
    if (evaluated == NO_ROOM) {
        return NO_ROOM;
    }
    for (uint32_t i = 0; i < r->n; i++) {
        group_touch(g, r, i);
    }
    g->hits += r->read_only;
    evaluated = conclude(&t, status);
    end(&t);
    return evaluated;
}
