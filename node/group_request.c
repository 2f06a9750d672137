/* Evaluating requests against the newest proposed state, and packing their effects into log entries.
 * Happy path of a set: eval_set adds a pending write to the open proposal; group_propose_open gives it to the
 * log; its apply answers. Of a get: eval_read finds the entry, checks the lease, answers. */
#include <string.h>

#include "node/group_internal.h"
#include "proto/pb.h"

/* Loads outlive the requests that asked for them while the database is slow: so many keys are on their way at
 * most. */
enum { LOADS_MAX = 32768 };

/* What evaluating one request came to. */
enum evaluated {
    EVALUATED, /* it was answered, or waits for something */
    NO_ROOM,   /* the open entry is full, and so is the pipeline, or the entry was refused: it and all behind
                  it stay ready */
};

bool group_serves(const struct group *g, enum status *status, const char **message)
{
    if (!g->gate_open) {
        *status = STATUS_NOT_LEADER;
        *message = NULL;
        return false;
    }
    if (!g->state.born || !g->state.claimed) {
        /* Also while a halted session looks again. */
        bool halted =
            g->session.last_error.message[0] != '\0' && g->session.last_error.class == FLUSH_ERROR_HALT;
        *status = halted ? STATUS_HALTED : STATUS_UNAVAILABLE;
        *message = g->session.last_error.message[0] != '\0' ? g->session.last_error.message
                                                            : "the cluster is being set up in the database";
        return false;
    }
    return true;
}

/* ---- Proposing what was collected ---- */

static void refuse_open(struct group *g, enum status status)
{
    struct proposal *p = overlay_refused(&g->overlay);
    struct list *node;
    while ((node = list_pop_front(&p->writers)) != NULL) {
        group_finish(g, list_entry(node, struct group_request, link), status, NULL);
    }
    while ((node = list_pop_front(&p->readers)) != NULL) {
        group_move(list_entry(node, struct group_request, link), AT_READY, &g->ready);
    }
    proposal_destroy(p);
}

/* False: the log refused the open entry, and its writes never were. */
static bool propose(struct group *g)
{
    struct proposal *p = g->overlay.open;
    Wblog__Write *writes = arena_alloc(&p->arena, p->n_writes * sizeof *writes);
    Wblog__Write **list = arena_alloc(&p->arena, p->n_writes * sizeof(Wblog__Write *));
    uint32_t n = 0;
    for (const struct pending_write *w = p->first; w != NULL; w = w->next, n++) {
        wblog__write__init(&writes[n]);
        writes[n].key = pb_borrow(w->key);
        if (w->value != NULL) {
            writes[n].has_value = 1;
            writes[n].value = pb_borrow(value_bytes(w->value));
        }
        list[n] = &writes[n];
    }
    Wblog__Writes body = WBLOG__WRITES__INIT;
    body.n_writes = n;
    body.writes = list;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    entry.command_case = WBLOG__ENTRY__COMMAND_WRITES;
    entry.writes = &body;
    uint64_t index;
    enum status status = group_propose_entry(g, &entry, p->seq, false, &index);
    if (status != STATUS_OK) {
        refuse_open(g, status);
        return false;
    }
    overlay_proposed(&g->overlay);
    return true;
}

/* Group commit: with nothing in flight an entry goes at once; else the next one fills meanwhile. */
void group_propose_open(struct group *g)
{
    if (g->overlay.open != NULL && g->overlay.open->n_writes > 0 && g->overlay.in_flight_count == 0) {
        propose(g);
    }
}

/* Make room for @bytes in @writes more writes. False also when the open entry was refused on the way: what
 * the caller found out against it is no longer true, and must be evaluated again. */
static bool make_room(struct group *g, size_t bytes, uint32_t writes)
{
    const struct proposal *open = g->overlay.open;
    if (open == NULL || open->n_writes == 0 ||
        (open->bytes + bytes <= g->config.entry_target_bytes &&
            open->n_writes + writes <= LIMIT_ENTRY_WRITES)) {
        return true;
    }
    if (g->overlay.in_flight_count >= g->config.entries_in_flight) {
        return false;
    }
    return propose(g);
}

/* ---- What evaluations share ---- */

static void wait_for_apply_of(struct group *g, struct group_request *r, struct proposal *p)
{
    (void)g;
    group_move(r, AT_WAIT_OVERLAY, &p->readers);
}

/* Answer a request that wrote nothing, if we are certainly still the leader now that its answer is known.
 * False: it waits for a barrier, and is evaluated again. */
static bool lease_holds(struct group *g, struct group_request *r)
{
    if (r->lease_proved || g->env.lease_valid(g->env.data)) {
        return true;
    }
    group_move(r, AT_WAIT_LEASE, &g->lease_next);
    return false;
}

/* Wait for the keys in @r that neither the overlay nor the table knows. True: it waits, or was refused. */
static bool wait_for_misses(struct group *g, struct group_request *r)
{
    bool missing = false;
    for (uint32_t i = 0; i < r->n; i++) {
        if (overlay_find(&g->overlay, r->keys[i]) == NULL && state_find(&g->state, r->keys[i]) == NULL) {
            if (g->loads.n >= LOADS_MAX && loads_find(&g->loads, r->keys[i]) == NULL) {
                group_finish(g, r, STATUS_UNAVAILABLE,
                    "too many keys are being read from the database already; try again");
                return true;
            }
            loads_wait(&g->loads, r->keys[i], r);
            missing = true;
        }
    }
    if (missing) {
        g->misses++;
        group_move(r, AT_WAIT_LOAD, &g->loading);
    }
    return missing;
}

/* ---- get, exists ---- */

static void drop_results(struct group_request *r)
{
    for (uint32_t i = 0; i < r->n; i++) {
        value_unref(r->results[i].value);
        r->results[i] = (struct group_result){0};
    }
}

static enum evaluated eval_read(struct group *g, struct group_request *r)
{
    struct proposal *newest = NULL;
    for (uint32_t i = 0; i < r->n; i++) {
        struct pending_write *w = overlay_find(&g->overlay, r->keys[i]);
        if (w == NULL) {
            continue;
        }
        /* Wait for an unapplied write of the own connection, and where the value before it is not in memory.
         */
        bool must = w->conn_id == r->conn_id || w->many || state_find(&g->state, r->keys[i]) == NULL;
        if (must && (newest == NULL || w->proposal->seq > newest->seq)) {
            newest = w->proposal;
        }
    }
    if (newest != NULL) {
        wait_for_apply_of(g, r, newest);
        return EVALUATED;
    }
    if (wait_for_misses(g, r)) {
        return EVALUATED;
    }
    for (uint32_t i = 0; i < r->n; i++) {
        const struct state_entry *e = state_find(&g->state, r->keys[i]);
        if (!state_entry_present(e)) {
            continue;
        }
        r->results[i].found = true;
        r->results[i].version = e->version;
        r->results[i].value = r->op == GROUP_GET ? value_ref(e->value) : NULL;
    }
    if (!lease_holds(g, r)) {
        drop_results(r);
        return EVALUATED;
    }
    g->hits++;
    group_finish(g, r, STATUS_OK, NULL);
    return EVALUATED;
}

/* ---- set ---- */

static bool over_budget(const struct group *g, size_t bytes, uint32_t writes)
{
    const struct state *s = &g->state;
    return s->dirty_bytes + g->overlay.bytes + bytes > g->config.dirty_bytes_max ||
           s->queued_entries + s->batched_entries + writes > g->config.dirty_entries_max;
}

/* The rest is for the entry's header. */
static bool too_big_for_an_entry(size_t bytes, uint32_t writes)
{
    return writes > LIMIT_ENTRY_WRITES || bytes > LIMIT_ENTRY_BYTES - 1024;
}

static enum evaluated eval_set(struct group *g, struct group_request *r)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        bytes += overlay_write_bytes(r->keys[i].len, r->values[i].len);
    }
    if (too_big_for_an_entry(bytes, r->n)) {
        group_finish(
            g, r, STATUS_TOO_BIG, "the keys and values of one set together are too big for one log entry");
        return EVALUATED;
    }
    if (over_budget(g, bytes, r->n)) {
        group_finish(g, r, STATUS_OVERLOADED,
            g->session.last_error.message[0] != '\0' ? g->session.last_error.message : NULL);
        return EVALUATED;
    }
    if (!make_room(g, bytes, r->n)) {
        return NO_ROOM;
    }
    for (uint32_t i = 0; i < r->n; i++) {
        overlay_add(&g->overlay, r->keys[i], value_create(r->values[i]), r->conn_id);
        loads_key_written(&g->loads, r->keys[i]);
        r->results[i].found = true;
        r->results[i].version = g->overlay.open->n_writes; /* ordinal + 1, until the index is known */
    }
    group_move(r, AT_WAIT_APPLY, &g->overlay.open->writers);
    return EVALUATED;
}

/* ---- del ---- */

static enum evaluated eval_del(struct group *g, struct group_request *r)
{
    if (wait_for_misses(g, r)) {
        return EVALUATED;
    }
    struct proposal *newest = NULL; /* what the answer was read from and has not applied */
    size_t bytes = 0;
    uint32_t writes = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        const struct pending_write *w = overlay_find(&g->overlay, r->keys[i]);
        bool there = w != NULL ? w->value != NULL : state_entry_present(state_find(&g->state, r->keys[i]));
        if (w != NULL && (newest == NULL || w->proposal->seq > newest->seq)) {
            newest = w->proposal;
        }
        r->results[i].found = there;
        r->results[i].version = 0;
        if (there) {
            bytes += overlay_write_bytes(r->keys[i].len, 0);
            writes++;
        }
    }
    if (writes == 0) { /* an answer without a write: only from what has applied, and under the lease */
        if (newest != NULL) {
            wait_for_apply_of(g, r, newest);
        } else if (lease_holds(g, r)) {
            group_finish(g, r, STATUS_OK, NULL);
        }
        return EVALUATED;
    }
    if (too_big_for_an_entry(bytes, writes)) {
        group_finish(g, r, STATUS_TOO_BIG, "the keys of one del together are too big for one log entry");
        return EVALUATED;
    }
    if (over_budget(g, bytes, writes)) {
        group_finish(g, r, STATUS_OVERLOADED, NULL);
        return EVALUATED;
    }
    if (!make_room(g, bytes, writes)) {
        return NO_ROOM;
    }
    for (uint32_t i = 0; i < r->n; i++) {
        if (!r->results[i].found) {
            continue;
        }
        const struct pending_write *w = overlay_find(&g->overlay, r->keys[i]);
        if (w != NULL &&
            w->value == NULL) { /* the same key twice in this request: the second finds nothing */
            r->results[i].found = false;
            continue;
        }
        overlay_add(&g->overlay, r->keys[i], NULL, r->conn_id);
        loads_key_written(&g->loads, r->keys[i]);
        r->results[i].version = g->overlay.open->n_writes;
    }
    group_move(r, AT_WAIT_APPLY, &g->overlay.open->writers);
    return EVALUATED;
}

/* ---- flush ---- */

static enum evaluated eval_flush(struct group *g, struct group_request *r)
{
    if (!lease_holds(g, r)) { /* a deposed leader does not know what was acknowledged since */
        return EVALUATED;
    }
    r->wait_index = g->state.applied_index;
    if (r->wait_index > g->flush_upto) {
        g->flush_upto = r->wait_index;
    }
    group_move(r, AT_WAIT_FLUSH, &g->flush_waiters); /* answered in this turn when nothing is dirty */
    return EVALUATED;
}

static enum evaluated evaluate(struct group *g, struct group_request *r)
{
    enum status status;
    const char *message;
    if (!group_serves(g, &status, &message)) {
        group_finish(g, r, status, message);
        return EVALUATED;
    }
    switch (r->op) {
    case GROUP_GET:
    case GROUP_EXISTS:
        return eval_read(g, r);
    case GROUP_SET:
        return eval_set(g, r);
    case GROUP_DEL:
        return eval_del(g, r);
    case GROUP_FLUSH:
        return eval_flush(g, r);
    }
    return EVALUATED;
}

void group_evaluate_ready(struct group *g)
{
    /* Only what is ready now: what an answer makes ready comes in the next turn. */
    struct list now;
    list_init(&now);
    list_splice_back(&now, &g->ready);
    struct list *node;
    while ((node = list_pop_front(&now)) != NULL) {
        struct group_request *r = list_entry(node, struct group_request, link);
        if (evaluate(g, r) == NO_ROOM) {
            list_push_front(&now, node);
            break;
        }
    }
    list_splice_front(&g->ready, &now);
}
