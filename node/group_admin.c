/* Operators' questions and commands (group_admin.h). Questions are answered from what has applied, at once.
 * Commands go to the log a few entries at a time, and are answered when the last one has applied. What
 * compares memory with the database is in group_verify.c. */
#include "node/group_admin.h"

#include <stdlib.h>
#include <string.h>

#include "node/group_internal.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/pb.h"

enum {
    /* Entries of one command in the log at once: others need room there too. */
    ENTRIES_AT_ONCE = 8,
    /* What a key in an answer takes beside key, message and value, at most. */
    STATE_FRAMING_BYTES = 128,
    QUARANTINED_FRAMING_BYTES = 160,
    /* Answers end before the frame does: there is more in it than keys. */
    ANSWER_BYTES = LIMIT_FRAME_BYTES - 4096,
};

void group_admin_init(struct group_admin *a)
{
    *a = (struct group_admin){0};
    buf_init(&a->names);
}

void group_admin_deinit(struct group_admin *a)
{
    for (uint32_t i = 0; i < a->n_results; i++) {
        free(a->results[i].message);
        value_unref(a->results[i].value);
    }
    free(a->results);
    free(a->differences);
    buf_deinit(&a->names);
    group_verify_free(a->verify);
    group_admin_init(a);
}

/* ---- The end ---- */

void group_admin_end(struct group *g, struct group_request *r, enum status status, const char *message)
{
    if (r->admin->logged) {
        group_finish(g, r, STATUS_UNKNOWN,
            "no quorum acknowledged the command in time; all of it, or a part, may happen or have happened");
    } else if (status == STATUS_TIMEOUT && r->admin->token != 0) {
        group_finish(g, r, status, "the database did not answer in time");
    } else {
        group_finish(g, r, status, message);
    }
}

static enum evaluated finish(struct group *g, struct group_request *r)
{
    group_finish(g, r, STATUS_OK, NULL);
    return EVALUATED;
}

static enum evaluated refuse(
    struct group *g, struct group_request *r, enum status status, const char *message)
{
    group_finish(g, r, status, message);
    return EVALUATED;
}

/* ---- A key, as it is shown ---- */

static uint64_t before(uint64_t earlier, uint64_t now)
{
    return earlier < now ? now - earlier : 0;
}

static void show_quarantined(
    struct group *g, const struct state_quarantine *q, uint64_t stamp_ms, struct admin_key *out)
{
    out->quarantined = true;
    out->deleted = q->entry->value == NULL;
    out->refused_version = q->refused_version;
    out->since_ms = before(q->dirty_stamp_ms, stamp_ms);
    out->refused_ms = before(q->refused_stamp_ms, stamp_ms);
    group_retry_due(g, q, &out->retry_in_ms);
    out->attempts = q->attempts;
    memcpy(out->sqlstate, q->sqlstate, sizeof out->sqlstate);
    out->message = xstrdup(q->message);
}

/* The oldest of its writes that the database does not have; whatever else is true of it, it is in one of
 * these. */
static void show_dirty(const struct state_entry *e, uint64_t stamp_ms, struct admin_key *out)
{
    uint64_t stamp = 0;
    if (e->quarantine != NULL) {
        out->dirty_index = e->quarantine->first_dirty;
        stamp = e->quarantine->dirty_stamp_ms;
    }
    const struct dirty_place *places[] = {&e->batched, &e->queued};
    for (int i = 0; i < 2; i++) {
        uint64_t first = places[i]->first_dirty;
        if (first != 0 && (out->dirty_index == 0 || first < out->dirty_index)) {
            out->dirty_index = first;
            stamp = places[i]->dirty_stamp_ms;
        }
    }
    out->dirty_ms = out->dirty_index == 0 ? 0 : before(stamp, stamp_ms);
}

static void show(
    struct group *g, const struct state_entry *e, uint64_t stamp_ms, struct bytes key, struct admin_key *out)
{
    *out = (struct admin_key){.key = key};
    if (e == NULL || e->stale) {
        return; /* of a stale one too, what holds is what the database has */
    }
    bool over = e->expires_at_ms != 0 && e->expires_at_ms <= stamp_ms;
    out->in_memory = true;
    out->present = e->value != NULL && !over;
    out->version = e->version;
    out->length = e->value == NULL ? 0 : e->value->len;
    out->expires_at_ms = e->expires_at_ms;
    out->queued = e->queued.first_dirty != 0;
    out->in_flight = e->batch == NULL ? 0 : e->batch->id;
    out->flushed_in = e->flushed == NULL ? 0 : e->flushed->id;
    out->evictable = state_entry_evictable(e);
    show_dirty(e, stamp_ms, out);
    if (e->quarantine != NULL) {
        show_quarantined(g, e->quarantine, stamp_ms, out);
    }
}

static enum evaluated eval_key_status(struct group *g, struct group_request *r)
{
    struct group_admin *a = r->admin;
    uint64_t stamp_ms = group_stamp(g);
    size_t bytes = 0;
    a->results = xcalloc((size_t)a->n + 1, sizeof *a->results);
    for (uint32_t i = 0; i < a->n; i++) {
        struct admin_key *out = &a->results[a->n_results++];
        show(g, state_find(&g->state, a->keys[i]), stamp_ms, a->keys[i], out);
        bytes += STATE_FRAMING_BYTES;
        bytes += out->quarantined ? QUARANTINED_FRAMING_BYTES + out->key.len + strlen(out->message) : 0;
        if (bytes > ANSWER_BYTES) {
            return refuse(g, r, STATUS_TOO_BIG, "the answer is too big for one message; ask for fewer keys");
        }
    }
    return finish(g, r);
}

/* ---- The quarantine ---- */

static struct state_quarantine *quarantine_of(const struct group *g, struct bytes key)
{
    const struct state_entry *e = state_find(&g->state, key);
    return e == NULL ? NULL : e->quarantine;
}

/* What a list has become so far. */
struct listing {
    struct group_admin *a;
    uint64_t stamp_ms;
    uint32_t skip, count;
    size_t bytes;
};

/* False: the list is full. */
static bool list_one(struct group *g, struct listing *l, const struct state_quarantine *q)
{
    struct group_admin *a = l->a;
    const struct state_entry *e = q->entry;
    if (l->skip > 0) {
        l->skip--;
        return true;
    }
    size_t bytes = QUARANTINED_FRAMING_BYTES + e->key_len + strlen(q->message);
    bytes += a->values && e->value != NULL ? e->value->len : 0;
    if (a->n_results == l->count || l->bytes + bytes > ANSWER_BYTES) {
        return false;
    }
    l->bytes += bytes;
    struct admin_key *out = &a->results[a->n_results++];
    show(g, e, l->stamp_ms, state_entry_key(e), out);
    out->value = a->values && e->value != NULL ? value_ref(e->value) : NULL;
    buf_append(&a->names, e->key, e->key_len);
    return true;
}

/* The names are together in memory now, and stay where they are. */
static void point_to_names(struct group_admin *a)
{
    CHECK(!a->names.failed);
    size_t at = 0;
    for (uint32_t i = 0; i < a->n_results; i++) {
        a->results[i].key.data = a->names.data + at;
        at += a->results[i].key.len;
    }
}

static enum evaluated eval_list(struct group *g, struct group_request *r)
{
    struct group_admin *a = r->admin;
    struct listing l = {.a = a, .stamp_ms = group_stamp(g), .skip = a->skip, .count = a->count};
    if (l.count > ADMIN_LIST_COUNT_MAX) {
        l.count = ADMIN_LIST_COUNT_MAX;
    }
    a->total = g->state.quarantined;
    a->results = xcalloc((size_t)l.count + 1, sizeof *a->results);
    for (uint32_t i = 0; i < a->n; i++) {
        const struct state_quarantine *q = quarantine_of(g, a->keys[i]);
        if (q != NULL && !list_one(g, &l, q)) {
            break;
        }
    }
    if (a->n == 0) {
        list_for_each (it, next, &g->state.quarantine) {
            if (!list_one(g, &l, list_entry(it, struct state_quarantine, link))) {
                break;
            }
        }
    }
    point_to_names(a);
    return finish(g, r);
}

/* The flush, which is driven later in this turn, finds them due. */
static enum evaluated eval_retry(struct group *g, struct group_request *r)
{
    struct group_admin *a = r->admin;
    for (uint32_t i = 0; i < a->n; i++) {
        struct state_quarantine *q = quarantine_of(g, a->keys[i]);
        if (q != NULL) {
            q->retry_now = true;
            a->total++;
        }
    }
    g->retries.known = false;
    if (a->n == 0) {
        list_for_each (it, next, &g->state.quarantine) {
            list_entry(it, struct state_quarantine, link)->retry_now = true;
            a->total++;
        }
    }
    return finish(g, r);
}

/* ---- Commands ---- */

/* Give @entry to the log. False: it was refused, and @r is answered. */
static bool propose(struct group *g, struct group_request *r, Wblog__Entry *entry, bool essential)
{
    struct group_admin *a = r->admin;
    uint64_t index;
    enum status status = group_propose_entry(g, entry, 0, essential, &index);
    if (status != STATUS_OK) {
        group_admin_end(g, r, status, NULL);
        return false;
    }
    a->first_index = a->first_index == 0 ? index : a->first_index;
    a->last_index = index;
    a->logged = true;
    return true;
}

/* All that can be proposed now is. */
static enum evaluated proposed(struct group *g, struct group_request *r)
{
    if (r->admin->last_index == 0) {
        return finish(g, r); /* there was nothing to do */
    }
    group_move(r, AT_WAIT_ADMIN, &g->admin_waiters);
    return EVALUATED;
}

static enum evaluated eval_drop(struct group *g, struct group_request *r)
{
    struct group_admin *a = r->admin;
    if (a->n == 0 || a->n > ADMIN_DROP_KEYS_MAX) {
        return refuse(g, r, STATUS_INVALID, "name the keys to be dropped, at most 256");
    }
    for (unsigned entries = 0; a->next < a->n && entries < ENTRIES_AT_ONCE; a->next++) {
        const struct state_quarantine *q = quarantine_of(g, a->keys[a->next]);
        if (q == NULL) {
            continue;
        }
        Wblog__QuarantineDrop drop = WBLOG__QUARANTINE_DROP__INIT;
        Wblog__Entry entry = WBLOG__ENTRY__INIT;
        drop.key = pb_borrow(a->keys[a->next]);
        drop.version = q->entry->version;
        entry.command_case = WBLOG__ENTRY__COMMAND_QUARANTINE_DROP;
        entry.quarantine_drop = &drop;
        if (!propose(g, r, &entry, true)) {
            return EVALUATED;
        }
        entries++;
    }
    return proposed(g, r);
}

/* One entry of the next keys. False: it was refused, and @r is answered. */
static bool propose_forget(struct group *g, struct group_request *r)
{
    struct group_admin *a = r->admin;
    enum { KEY_FRAMING_BYTES = 16, KEYS_MAX = 512 };
    Wblog__ForgetKey keys[KEYS_MAX];
    Wblog__ForgetKey *list[KEYS_MAX];
    Wblog__Forget forget = WBLOG__FORGET__INIT;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    for (size_t bytes = 0; a->next < a->n && forget.n_keys < KEYS_MAX && bytes < g->config.entry_target_bytes;
         a->next++) {
        Wblog__ForgetKey *key = &keys[forget.n_keys];
        wblog__forget_key__init(key);
        key->key = pb_borrow(a->keys[a->next]);
        key->version = a->versions[a->next];
        list[forget.n_keys++] = key;
        bytes += a->keys[a->next].len + KEY_FRAMING_BYTES;
    }
    forget.keys = list;
    entry.command_case = WBLOG__ENTRY__COMMAND_FORGET;
    entry.forget = &forget;
    return propose(g, r, &entry, false);
}

static enum evaluated eval_forget(struct group *g, struct group_request *r)
{
    struct group_admin *a = r->admin;
    for (unsigned entries = 0; a->next < a->n && entries < ENTRIES_AT_ONCE; entries++) {
        if (!propose_forget(g, r)) {
            return EVALUATED;
        }
    }
    return proposed(g, r);
}

/* ---- How the group flushes ---- */

static const char *objection_to(const struct state_control *c)
{
    if (c->has_batch_rows && (c->batch_rows < 1 || c->batch_rows > ADMIN_BATCH_ROWS_MAX)) {
        return "batch rows must be between 1 and 65535";
    }
    if (c->has_batch_bytes &&
        (c->batch_bytes < ADMIN_BATCH_BYTES_MIN || c->batch_bytes > ADMIN_BATCH_BYTES_MAX)) {
        return "batch bytes must be between 1 KiB and 64 MiB";
    }
    if (c->has_age_ms && c->age_ms > ADMIN_AGE_MS_MAX) {
        return "the flush age must be at most 1 hour";
    }
    return NULL;
}

static void merge(struct state_control *now, const struct group_admin *a)
{
    const struct state_control *c = &a->control;
    if (a->has_paused) {
        now->paused = c->paused;
    }
    if (c->has_rows_per_second) {
        now->has_rows_per_second = true;
        now->rows_per_second = c->rows_per_second;
    }
    if (c->has_batch_rows) {
        now->has_batch_rows = true;
        now->batch_rows = c->batch_rows;
    }
    if (c->has_batch_bytes) {
        now->has_batch_bytes = true;
        now->batch_bytes = c->batch_bytes;
    }
    if (c->has_age_ms) {
        now->has_age_ms = true;
        now->age_ms = c->age_ms;
    }
}

static bool propose_control(struct group *g, struct group_request *r)
{
    struct state_control c = r->admin->reset ? (struct state_control){0} : g->state.control;
    if (r->admin->set) {
        merge(&c, r->admin);
    }
    Wblog__FlushControl control = WBLOG__FLUSH_CONTROL__INIT;
    control.has_paused = c.paused;
    control.paused = c.paused;
    control.has_rows_per_second = c.has_rows_per_second;
    control.rows_per_second = c.rows_per_second;
    control.has_batch_rows = c.has_batch_rows;
    control.batch_rows = c.batch_rows;
    control.has_batch_bytes = c.has_batch_bytes;
    control.batch_bytes = c.batch_bytes;
    control.has_age_ms = c.has_age_ms;
    control.age_ms = c.age_ms;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    entry.command_case = WBLOG__ENTRY__COMMAND_FLUSH_CONTROL;
    entry.flush_control = &control;
    if (!propose(g, r, &entry, true)) {
        return false;
    }
    g->control_index = r->admin->last_index;
    g->control_term = g->term;
    return true;
}

static bool propose_acknowledge(struct group *g, struct group_request *r)
{
    Wblog__LossAcknowledged acknowledged = WBLOG__LOSS_ACKNOWLEDGED__INIT;
    acknowledged.rows = g->state.lost;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    r->admin->acknowledged = g->state.lost;
    entry.command_case = WBLOG__ENTRY__COMMAND_LOSS_ACKNOWLEDGED;
    entry.loss_acknowledged = &acknowledged;
    return propose(g, r, &entry, true);
}

static void show_control(struct group *g, struct group_admin *a)
{
    a->settings = group_flush_settings(g);
    a->now = g->state.control;
    a->rows_per_second = a->now.has_rows_per_second ? a->now.rows_per_second : 0;
}

/* A FlushControl says everything, so it must know what the one before it said: two at once would undo one. */
static bool control_under_way(const struct group *g)
{
    return g->control_term == g->term && g->control_index > g->state.applied_index;
}

static enum evaluated eval_control(struct group *g, struct group_request *r)
{
    struct group_admin *a = r->admin;
    const char *objection = a->set ? objection_to(&a->control) : NULL;
    if (objection != NULL) {
        return refuse(g, r, STATUS_INVALID, objection);
    }
    bool change = a->set || a->reset;
    if (change && control_under_way(g)) {
        a->blocked = true;
        group_move(r, AT_WAIT_ADMIN, &g->admin_waiters);
        return EVALUATED;
    }
    if ((change && !propose_control(g, r)) ||
        (a->acknowledge_loss && g->state.lost != 0 && !propose_acknowledge(g, r))) {
        return EVALUATED;
    }
    show_control(g, a);
    return proposed(g, r);
}

/* ---- What has applied ---- */

/* The last of what @r has proposed has applied. */
static void continue_or_finish(struct group *g, struct group_request *r)
{
    struct group_admin *a = r->admin;
    a->first_index = 0;
    a->last_index = 0;
    if (a->kind == ADMIN_CONTROL) {
        show_control(g, a);
        finish(g, r);
    } else if (a->next < a->n) {
        group_move(r, AT_READY, &g->ready); /* nothing is proposed from inside an apply */
    } else {
        finish(g, r);
    }
}

void group_admin_applied(struct group *g, uint64_t index, bool effect)
{
    list_for_each (it, next, &g->admin_waiters) {
        struct group_request *r = list_entry(it, struct group_request, link);
        struct group_admin *a = r->admin;
        if (a->blocked && !control_under_way(g)) {
            a->blocked = false;
            group_move(r, AT_READY, &g->ready);
        } else if (a->last_index != 0 && index >= a->first_index && index <= a->last_index) {
            a->total += a->kind == ADMIN_QUARANTINE_DROP && effect ? 1 : 0;
            if (index == a->last_index) {
                continue_or_finish(g, r);
            }
        }
    }
}

enum evaluated group_eval_admin(struct group *g, struct group_request *r)
{
    struct group_admin *a = r->admin;
    /* A deposed leader does not know what has happened since. */
    if (!a->begun && !r->lease_proved && !g->env.lease_valid(g->env.data)) {
        group_move(r, AT_WAIT_LEASE, &g->lease_next);
        return EVALUATED;
    }
    a->begun = true;
    switch (a->kind) {
    case ADMIN_KEY_STATUS:
        return eval_key_status(g, r);
    case ADMIN_QUARANTINE_LIST:
        return eval_list(g, r);
    case ADMIN_QUARANTINE_RETRY:
        return eval_retry(g, r);
    case ADMIN_QUARANTINE_DROP:
        return eval_drop(g, r);
    case ADMIN_CONTROL:
        return eval_control(g, r);
    case ADMIN_VERIFY:
        return group_eval_verify(g, r);
    case ADMIN_FORGET:
        return eval_forget(g, r);
    }
    return EVALUATED;
}
