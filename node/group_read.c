/* Requests that write nothing: reads, stale reads, scans, waiting for the flush. */
#include <string.h>

#include "node/group_internal.h"

/* An answer has room for so much beside the values. */
enum { ANSWER_FRAMING_BYTES = 64 };

static void show(struct operation_result *result, bool inspect, struct value *value, uint8_t type,
    uint64_t version, uint64_t expires_at_ms)
{
    result->found = true;
    result->version = version;
    result->expires_at_ms = expires_at_ms;
    if (inspect) {
        result->has_length = true;
        result->type = type;
        result->length = value->len;
    } else {
        result->value = value_ref(value);
    }
}

void group_touch(struct group *g, const struct group_request *r, uint32_t i)
{
    struct state_entry *e = r->loaded ? NULL : state_find(&g->state, r->keys[i]);
    if (state_entry_present(e)) {
        state_touch(e);
    }
}

/* Do the values of @r together still fit in one answer? If not, it is refused. */
static bool answer_fits(struct group *g, struct group_request *r, size_t *bytes, uint32_t value_len)
{
    *bytes += value_len + ANSWER_FRAMING_BYTES;
    g->turn_work += value_len; /* it is copied into the answer, and sent */
    if (*bytes <= LIMIT_FRAME_BYTES) {
        return true;
    }
    group_clear_results(r);
    group_finish(g, r, STATUS_TOO_BIG, "the answer is too big for one message; ask for fewer keys");
    return false;
}

/* ---- Reads by the leader ---- */

/* A write in flight whose client has not been told yet need not be seen. Not if it is the reader itself. */
const struct state_entry *group_applied_will_do(const struct group *g, const struct group_request *r,
    struct bytes key, const struct pending_write *w, uint64_t stamp_ms)
{
    if (w == NULL || w->conn_id == r->conn_id || w->many) {
        return NULL;
    }
    const struct state_entry *e = group_known(g, key);
    return e != NULL && (e->expires_at_ms == 0 || e->expires_at_ms > stamp_ms) ? e : NULL;
}

bool group_must_see_flight(struct group *g, const struct group_request *r, uint64_t stamp_ms)
{
    for (uint32_t i = 0; i < r->n; i++) {
        const struct pending_write *w = overlay_find(&g->overlay, r->keys[i]);
        if (w != NULL && group_applied_will_do(g, r, r->keys[i], w, stamp_ms) == NULL) {
            return true;
        }
    }
    return false;
}

/* These clients know texts only: the value of another type is no answer to them. */
static bool is_readable(const struct group_request *r, uint8_t type)
{
    return r->inspect || type == VALUE_STRING;
}

/* Find the @i'th result, from what is in @flight if there is something. False: @r was refused. */
static bool read_one(struct group *g, struct group_request *r, uint32_t i, bool flight, uint64_t stamp_ms,
    struct proposal **seen, size_t *bytes)
{
    struct operation_result *result = &r->results[i];
    struct group_current c;
    group_current(g, r->keys[i], stamp_ms, &c);
    const struct state_entry *e =
        flight ? NULL : group_applied_will_do(g, r, r->keys[i], c.pending, stamp_ms);
    if (e != NULL) {
        c.now = (struct operation_current){.value = e->value,
            .type = e->type,
            .version_known = true,
            .version = e->version,
            .expires_at_ms = e->expires_at_ms};
    } else {
        *seen = c.pending == NULL ? *seen : group_newer(*seen, c.pending->proposal);
    }
    if (c.now.value != NULL && !is_readable(r, c.now.type)) {
        group_clear_results(r);
        group_answer(g, r, STATUS_WRONG_TYPE, *seen);
        return false;
    }
    if (c.now.value != NULL) {
        show(result, r->inspect, c.now.value, c.now.type, c.now.version, c.now.expires_at_ms);
        if (!c.now.version_known) { /* in the open entry, the newest of all: its index is the version's */
            result->written = true;
            result->version = c.pending->ordinal;
            c.pending->replaceable = false; /* its version is this value's, as the reader is told */
        }
    }
    return answer_fits(g, r, bytes, result->value == NULL ? 0 : result->value->len);
}

/* What is found now is the answer, whatever is written while it waits: what it did not see was acknowledged
 * to nobody before this request came. */
enum evaluated group_eval_read(struct group *g, struct group_request *r)
{
    struct proposal *seen = NULL;
    size_t bytes = 0;
    uint64_t stamp_ms = group_stamp(g);
    if (group_wait_misses(g, r)) {
        return EVALUATED;
    }
    for (uint32_t i = 0; i < r->n; i++) {
        if (group_expire_if_due(g, r->keys[i], stamp_ms) == NO_ROOM) {
            return NO_ROOM;
        }
    }
    bool flight = group_must_see_flight(g, r, stamp_ms);
    for (uint32_t i = 0; i < r->n; i++) {
        if (!read_one(g, r, i, flight, stamp_ms, &seen, &bytes)) {
            return EVALUATED;
        }
        group_touch(g, r, i);
    }
    g->hits++;
    r->stamp_ms = stamp_ms;
    group_answer(g, r, STATUS_OK, seen);
    return EVALUATED;
}

/* ---- Reads by whoever is asked ---- */

/* Though others may have changed the row: only a leader can have a retained copy forgotten. */
bool group_wait_unknown(struct group *g, struct group_request *r)
{
    bool missing = false;
    for (uint32_t i = 0; i < r->n; i++) {
        if (state_find(&g->state, r->keys[i]) == NULL) {
            if (!group_wait_load(g, r, r->keys[i])) {
                return true;
            }
            missing = true;
        }
    }
    if (missing) {
        r->loaded = true;
        g->misses++;
        group_move(r, AT_WAIT_LOAD, &g->loading);
    }
    return missing;
}

enum evaluated group_eval_stale(struct group *g, struct group_request *r)
{
    size_t bytes = 0;
    if (!g->state.claimed) {
        group_finish(g, r, STATUS_UNAVAILABLE, "this replica knows nothing yet");
        return EVALUATED;
    }
    if (group_wait_unknown(g, r)) {
        return EVALUATED;
    }
    for (uint32_t i = 0; i < r->n; i++) {
        const struct state_entry *e = state_find(&g->state, r->keys[i]);
        group_touch(g, r, i);
        if (e->value != NULL && (e->expires_at_ms == 0 || e->expires_at_ms > g->state.stamp_ms)) {
            if (!is_readable(r, e->type)) {
                group_finish(g, r, STATUS_WRONG_TYPE, NULL);
                return EVALUATED;
            }
            show(&r->results[i], r->inspect, e->value, e->type, e->version, e->expires_at_ms);
        }
        if (!answer_fits(g, r, &bytes, r->results[i].value == NULL ? 0 : r->results[i].value->len)) {
            return EVALUATED;
        }
    }
    g->hits++;
    r->stamp_ms = g->state.stamp_ms;
    r->age_ms = g->env.contact_age_ms(g->env.data);
    group_finish(g, r, STATUS_OK, NULL);
    return EVALUATED;
}

/* ---- Scans ---- */

struct scan_visit {
    struct group_scan *scan;
    uint64_t stamp_ms;
};

static void visit_key(void *data, const struct state_entry *e)
{
    const struct scan_visit *v = data;
    struct bytes key = state_entry_key(e), prefix = v->scan->prefix;
    if (e->stale || (e->expires_at_ms != 0 && e->expires_at_ms <= v->stamp_ms) || key.len < prefix.len ||
        (prefix.len > 0 && memcmp(key.data, prefix.data, prefix.len) != 0)) {
        return;
    }
    uint8_t len[4];
    store_le32(len, (uint32_t)key.len);
    buf_append(&v->scan->keys, len, sizeof len);
    buf_append(&v->scan->keys, key.data, key.len);
    v->scan->n++;
}

enum evaluated group_eval_scan(struct group *g, struct group_request *r)
{
    /* The proof comes first: what a scan gives is too much to be kept while it is waited for. */
    if (!r->stale && !r->lease_proved && !g->env.lease_valid(g->env.data)) {
        group_move(r, AT_WAIT_LEASE, &g->lease_next);
        return EVALUATED;
    }
    struct scan_visit v = {.scan = r->scan, .stamp_ms = g->state.stamp_ms};
    r->scan->cursor = state_scan(&g->state, r->scan->cursor, r->scan->looks, visit_key, &v);
    r->age_ms = r->stale ? g->env.contact_age_ms(g->env.data) : 0;
    group_finish(g, r, STATUS_OK, NULL);
    return EVALUATED;
}

/* ---- Waiting for the flush ---- */

enum evaluated group_eval_wait(struct group *g, struct group_request *r)
{
    /* A deposed leader does not know what was acknowledged since. */
    if (!r->lease_proved && !g->env.lease_valid(g->env.data)) {
        group_move(r, AT_WAIT_LEASE, &g->lease_next);
        return EVALUATED;
    }
    group_wait_flush(g, r, r->wait_index != 0 ? r->wait_index : g->state.applied_index);
    return EVALUATED;
}
