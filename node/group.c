#include "node/group.h"

#include <stdlib.h>
#include <string.h>

#include "flush/flush_error.h"
#include "node/group_internal.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/pb.h"

/* libraft has at most 32 entries in flight to a follower, and slows down beyond: barriers and the flush's
 * need room. */
enum { SWEEP_MS = 25, ENTRIES_IN_FLIGHT = 8 };

struct group *group_create(const struct group_config *config, const struct group_env *env)
{
    struct group *g = xcalloc(1, sizeof *g);
    g->config = *config;
    g->env = *env;
    if (g->config.entry_target_bytes == 0) {
        g->config.entry_target_bytes = LIMIT_ENTRY_TARGET_BYTES;
    }
    if (g->config.entries_in_flight == 0) {
        g->config.entries_in_flight = ENTRIES_IN_FLIGHT;
    }
    state_init(&g->state, config->hash_seed);
    overlay_init(&g->overlay, config->hash_seed);
    loads_init(&g->loads, config->hash_seed);
    flush_session_init(&g->session, &config->flush, config->group, config->group_count, config->adopt,
        config->random_seed, env->flusher, env->flusher_data);
    arena_init(&g->apply_arena);
    buf_init(&g->encode_buf);
    buf_init(&g->outcome_buf);
    list_init(&g->live);
    list_init(&g->ready);
    list_init(&g->loading);
    for (int i = 0; i < GROUP_OVERTAKABLE_LISTS; i++) {
        list_init(&g->overtakable[i]);
    }
    list_init(&g->lease_next);
    list_init(&g->lease_now);
    list_init(&g->flush_waiters);
    list_init(&g->admin_waiters);
    return g;
}

void group_destroy(struct group *g)
{
    group_cancel_loads(g);
    CHECK(!g->gate_open && list_empty(&g->live));
    flush_session_stop(&g->session);
    flush_session_deinit(&g->session);
    loads_deinit(&g->loads);
    group_forget_deinit(g);
    overlay_deinit(&g->overlay);
    state_deinit(&g->state);
    arena_deinit(&g->apply_arena);
    buf_deinit(&g->encode_buf);
    buf_deinit(&g->outcome_buf);
    free(g);
}

/* ---- A request's life ---- */

void group_move(struct group_request *r, enum request_where where, struct list *list)
{
    r->where = (int)where;
    list_remove(&r->link);
    list_push_back(list, &r->link);
}

void group_finish(struct group *g, struct group_request *r, enum status status, const char *message)
{
    list_remove(&r->link);
    list_remove(&r->live);
    list_remove(&r->overtakable);
    loads_forget_request(r);
    if (status != STATUS_OK && status != STATUS_NOT_FLUSHED && status != STATUS_CONDITION_FAILED &&
        status != STATUS_QUARANTINED) {
        group_clear_results(r);
    }
    r->status = status;
    r->message = message;
    if (status == STATUS_UNAVAILABLE || status == STATUS_OVERLOADED) {
        r->retry_after_ms = status == STATUS_OVERLOADED ? g->config.flush.age_ms / 4 + 10 : 50;
    }
    r->done(r);
}

void group_submit(struct group *g, struct group_request *r)
{
    r->status = STATUS_OK;
    r->message = NULL;
    r->index = 0;
    r->retry_after_ms = 0;
    r->age_ms = 0;
    r->answered = false;
    r->loaded = false;
    r->load_optional = false;
    r->lease_proved = false;
    r->refused = false;
    list_init(&r->link);
    list_init(&r->load_waits);
    list_init(&r->overtakable);
    r->number = ++g->last_number;
    list_push_back(&g->live, &r->live);
    group_move(r, AT_READY, &g->ready);
}

void group_wake_at(struct group *g, uint64_t at_ms)
{
    if (at_ms < g->wake_ms) {
        g->wake_ms = at_ms;
    }
}

void group_wait_flush(struct group *g, struct group_request *r, uint64_t index)
{
    r->flush_index = index;
    if (index > g->flush_upto) {
        g->flush_upto = index;
    }
    group_move(r, AT_WAIT_FLUSH, &g->flush_waiters); /* answered in this turn when nothing is dirty */
}

/* What @r waits for to be in the database is replicated, and that is all that can be said. */
static void end_flush_wait(struct group *g, struct group_request *r)
{
    if (r->op == GROUP_WAIT) {
        r->index = state_flushed_index(&g->state);
    }
    group_finish(g, r, STATUS_NOT_FLUSHED,
        g->state.control.paused ? "the flush is paused: `wbclient flush resume` lets it go on"
        : g->session.last_error.message[0] != '\0' ? g->session.last_error.message
                                                   : NULL);
}

/* Whatever a request waits for, its time is over. */
static void time_out(struct group *g, struct group_request *r)
{
    if (r->op == GROUP_ADMIN) {
        group_admin_end(g, r, STATUS_TIMEOUT, "the group did not answer in time");
        return;
    }
    switch ((enum request_where)r->where) {
    case AT_WAIT_APPLY:
        group_finish(g, r, STATUS_UNKNOWN, "no quorum acknowledged the write in time; it may still happen");
        return;
    case AT_WAIT_FLUSH:
        end_flush_wait(g, r);
        return;
    case AT_WAIT_LOAD:
        group_finish(g, r, STATUS_TIMEOUT, "the database did not answer in time");
        return;
    default:
        group_finish(g, r, STATUS_TIMEOUT, "the group did not answer in time");
    }
}

static void sweep_deadlines(struct group *g)
{
    if (list_empty(&g->live)) {
        return;
    }
    if (g->now_ms >= g->sweep_at_ms) {
        g->sweep_at_ms = g->now_ms + SWEEP_MS;
        list_for_each (it, next, &g->live) {
            struct group_request *r = list_entry(it, struct group_request, live);
            if (r->deadline_ms != 0 && r->deadline_ms <= g->now_ms) {
                time_out(g, r);
            }
        }
    }
    if (g->sweep_at_ms < g->wake_ms) {
        g->wake_ms = g->sweep_at_ms;
    }
}

/* ---- Proposing ---- */

uint64_t group_stamp(struct group *g)
{
    return stamp_now(&g->stamps, g->now_ms, g->wall_ms);
}

enum status group_propose_entry(
    struct group *g, Wblog__Entry *entry, uint64_t seq, bool essential, uint64_t *index)
{
    entry->node_id = g->config.node_id;
    entry->term = g->term;
    entry->proposal = seq;
    entry->stamp_ms = group_stamp(g);
    buf_clear(&g->encode_buf);
    log_entry_encode(entry, &g->encode_buf);
    enum status status = g->env.propose(g->env.data, buf_bytes(&g->encode_buf), essential, index);
    if (g->encode_buf.cap > 4 * LIMIT_ENTRY_TARGET_BYTES) {
        buf_deinit(&g->encode_buf);
    }
    return status;
}

/* ---- The turn ---- */

/* One barrier serves every answer that was found before it was proposed. Those that came after that have the
 * lease that it has renewed. */
static void propose_barrier(struct group *g)
{
    if (g->barrier_pending || (list_empty(&g->lease_next) && !g->barrier_wanted) || !g->gate_open) {
        return;
    }
    g->barrier_wanted = false;
    if (g->env.lease_valid(g->env.data)) {
        list_for_each (it, next, &g->lease_next) {
            group_move(list_entry(it, struct group_request, link), AT_READY, &g->ready);
        }
        group_wake_at(g, g->now_ms); /* nothing else may bring the next turn soon */
        return;
    }
    uint64_t token = g->barrier_token + 1;
    if (g->env.barrier(g->env.data, token) != STATUS_OK) {
        return;
    }
    g->barrier_token = token;
    g->barrier_pending = true;
    list_splice_back(&g->lease_now, &g->lease_next);
}

void group_on_barrier(struct group *g, uint64_t token)
{
    if (!g->gate_open || token != g->barrier_token) {
        return;
    }
    g->barrier_pending = false;
    struct list *node;
    while ((node = list_pop_front(&g->lease_now)) != NULL) {
        struct group_request *r = list_entry(node, struct group_request, link);
        r->lease_proved = true; /* committed in our term after the read came: we led then */
        group_move(r, AT_READY, &g->ready);
    }
}

/* What the database refuses of @r's writes; NULL when it refuses none. *@again: it will be tried with what
 * was written since. */
static const struct state_quarantine *refused_write(
    const struct group *g, const struct group_request *r, bool *again)
{
    if (r->op != GROUP_UPDATE || g->state.quarantined == 0) {
        return NULL;
    }
    const struct state_quarantine *refused = NULL;
    *again = false;
    for (uint32_t i = 0; i < r->n; i++) {
        const struct state_entry *e = state_find(&g->state, r->operations[i].key);
        if (e != NULL && e->quarantine != NULL) {
            refused = e->quarantine;
            *again = *again || e->batch != NULL || refused->refused_version != e->version;
        }
    }
    return refused;
}

/* What the quarantine held of @key was given up: whoever waits for it to be in the database waits in vain. */
static void refuse_waiters(struct group *g, struct bytes key)
{
    list_for_each (it, next, &g->flush_waiters) {
        struct group_request *r = list_entry(it, struct group_request, link);
        for (uint32_t i = 0; r->op == GROUP_UPDATE && i < r->n; i++) {
            if (bytes_equal(r->operations[i].key, key)) {
                group_finish(
                    g, r, STATUS_QUARANTINED, "the database refused the row, and an operator gave it up");
                break;
            }
        }
    }
}

static void answer_flush_waiters(struct group *g)
{
    if (list_empty(&g->flush_waiters)) {
        return;
    }
    uint64_t flushed = state_flushed_index(&g->state);
    uint64_t upto = 0;
    list_for_each (it, next, &g->flush_waiters) {
        struct group_request *r = list_entry(it, struct group_request, link);
        if (r->flush_index <= flushed) {
            if (r->refused && r->refused_changes == g->state.quarantine_changes) {
                continue;
            }
            bool again = false;
            const struct state_quarantine *refused = refused_write(g, r, &again);
            r->refused = again;
            r->refused_changes = g->state.quarantine_changes;
            if (again) {
                continue; /* looked at again when the quarantine changes, and the deadline ends it */
            }
            r->index = r->op == GROUP_WAIT ? flushed : r->index;
            group_finish(g, r, refused == NULL ? STATUS_OK : STATUS_QUARANTINED,
                refused == NULL ? NULL : refused->message);
        } else if (r->flush_index > upto) {
            upto = r->flush_index;
        }
    }
    g->flush_upto = upto;
}

/* What this node's configuration says becomes the group's, so that all replicas forget alike. */
static bool limits_are_named(const struct group *g)
{
    const struct state *s = &g->state;
    return s->sessions.limits_named && s->sessions.sessions_max == g->config.sessions_max &&
           s->sessions.bytes_max == g->config.session_bytes_max && s->retention_named &&
           s->retention_ms == g->config.retention_ms && s->retention_bytes == g->config.retention_bytes;
}

static void name_limits(struct group *g)
{
    enum status status;
    const char *message;
    if (g->limits_proposed || g->config.sessions_max == 0 || !group_serves(g, &status, &message) ||
        limits_are_named(g)) {
        return;
    }
    Wblog__Limits limits = WBLOG__LIMITS__INIT;
    limits.has_retention_ms = limits.has_retention_bytes = 1;
    limits.retention_ms = g->config.retention_ms;
    limits.retention_bytes = g->config.retention_bytes;
    limits.sessions_max = g->config.sessions_max;
    limits.session_bytes_max = g->config.session_bytes_max;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    entry.command_case = WBLOG__ENTRY__COMMAND_LIMITS;
    entry.limits = &limits;
    uint64_t index;
    g->limits_proposed = group_propose_entry(g, &entry, 0, true, &index) == STATUS_OK;
}

uint64_t group_turn(struct group *g, uint64_t now_ms, uint64_t wall_ms)
{
    g->now_ms = now_ms;
    g->wall_ms = wall_ms;
    g->wake_ms = UINT64_MAX;
    if (!g->gate_open) {
        flush_session_stop(&g->session);
    }
    name_limits(g);
    group_evaluate_ready(g);
    group_drive_expiry(g);
    group_propose_open(g);
    propose_barrier(g);
    group_send_loads(g);
    answer_flush_waiters(g);
    group_drive_flush(g);
    sweep_deadlines(g);
    if (!list_empty(&g->ready) && g->wake_ms > now_ms + 1) {
        g->wake_ms = now_ms + 1;
    }
    return g->wake_ms;
}

/* ---- Applying ---- */

static bool is_ours(const struct group *g, const Wblog__Entry *entry)
{
    return g->gate_open && entry->node_id == g->config.node_id && entry->term == g->term;
}

static void apply_sessions(struct state *s, uint64_t index, const Wblog__Writes *writes)
{
    for (uint32_t i = 0; i < writes->sessions_opened; i++) {
        sessions_apply_open(&s->sessions, state_session_id(index, i));
    }
    for (size_t i = 0; i < writes->n_outcomes; i++) {
        const Wblog__Outcome *o = writes->outcomes[i];
        sessions_apply_result(&s->sessions, o->session, o->sequence, o->first_awaited, index, o->status,
            o->has_results ? pb_bytes(o->results) : bytes_of(NULL, 0));
    }
}

/* Let the entries of the writes from the @i'th on come from memory together, and, of those that are @ours,
 * the values. */
static void fetch_written(
    const struct state *s, const Wblog__Writes *writes, uint32_t i, const struct pending_write *ours)
{
    struct bytes keys[STATE_FETCH_MAX];
    uint32_t n = 0;
    for (; n < STATE_FETCH_MAX && i + n < writes->n_writes; n++) {
        keys[n] = pb_bytes(writes->writes[i + n]->key);
        if (ours != NULL) {
            __builtin_prefetch(ours->value, 1);
            ours = ours->next;
        }
    }
    state_fetch(s, keys, n);
}

static void apply_writes(struct group *g, uint64_t index, const Wblog__Entry *entry)
{
    struct proposal *p = NULL;
    if (is_ours(g, entry)) {
        p = overlay_applied(&g->overlay, entry->proposal);
        /* NULL: proposed before the gate closed and opened again in this term; its requests were told UNKNOWN
         */
        CHECK(p == NULL || p->n_writes == entry->writes->n_writes);
    }
    const struct pending_write *ours = p == NULL ? NULL : p->first;
    for (uint32_t i = 0; i < entry->writes->n_writes; i++) {
        if (i % STATE_FETCH_MAX == 0) {
            fetch_written(&g->state, entry->writes, i, ours);
        }
        const Wblog__Write *w = entry->writes->writes[i];
        struct value *value = NULL;
        if (w->has_value) {
            value = ours != NULL ? value_ref(ours->value) : value_create(pb_bytes(w->value));
        }
        struct bytes key = pb_bytes(w->key);
        state_apply_write(
            &g->state, i, key, (uint8_t)w->type, value, w->has_expires_at_ms ? w->expires_at_ms : 0);
        if (w->has_tied && w->tied) {
            state_apply_tie(&g->state, key);
        }
        loads_key_written(&g->loads, key);
        ours = ours == NULL ? NULL : ours->next;
    }
    g->writes_applied += entry->writes->n_writes;
    apply_sessions(&g->state, index, entry->writes);
    if (p != NULL) {
        group_answer_proposal(g, p, index);
        proposal_destroy(p);
    }
}

/* The head of the queue, or keys of the quarantine, become a batch. */
static void apply_begin(struct group *g, const Wblog__Entry *entry)
{
    const Wblog__FlushBegin *begin = entry->flush_begin;
    struct state_batch *batch;
    if (begin->n_quarantined > 0) {
        struct bytes *keys = arena_alloc(&g->apply_arena, begin->n_quarantined * sizeof *keys);
        for (size_t i = 0; i < begin->n_quarantined; i++) {
            keys[i] = pb_bytes(begin->quarantined[i]);
        }
        batch = state_apply_flush_retry(&g->state, keys, (uint32_t)begin->n_quarantined);
    } else {
        batch = (begin->has_cut && begin->cut ? state_apply_flush_begin_cut : state_apply_flush_begin)(
            &g->state, begin->rows_max, begin->bytes_max);
    }
    if (is_ours(g, entry)) {
        group_flush_begun(g, batch);
    }
}

static void apply_flushed(struct group *g, const Wblog__Flushed *flushed)
{
    const struct state_batch *batch = state_batch_find(&g->state, flushed->batch);
    uint32_t rows = batch == NULL ? 0 : batch->rows;
    if (state_apply_flushed(&g->state, flushed->batch, flushed->predecessor) && g->gate_open) {
        g->rows_flushed += rows;
        g->batches_flushed++;
    }
}

static void apply_quarantine(struct group *g, const Wblog__Entry *entry)
{
    const Wblog__Quarantine *q = entry->quarantine;
    for (size_t i = 0; i < q->n_faults; i++) {
        state_apply_quarantine(
            &g->state, q->batch, pb_bytes(q->faults[i]->key), q->faults[i]->sqlstate, q->faults[i]->message);
    }
    if (is_ours(g, entry)) {
        flush_session_quarantined(&g->session, q->batch, (uint32_t)q->n_faults);
    }
}

static void apply_control(struct state *s, const Wblog__FlushControl *c)
{
    struct state_control control = {
        .paused = c->has_paused && c->paused,
        .has_rows_per_second = c->has_rows_per_second,
        .rows_per_second = c->rows_per_second,
        .has_batch_rows = c->has_batch_rows,
        .batch_rows = c->batch_rows,
        .has_batch_bytes = c->has_batch_bytes,
        .batch_bytes = c->batch_bytes,
        .has_age_ms = c->has_age_ms,
        .age_ms = c->age_ms,
    };
    state_apply_control(s, &control);
}

static bool apply_forget(struct group *g, const Wblog__Forget *forget)
{
    bool effect = false;
    for (size_t i = 0; i < forget->n_keys; i++) {
        struct bytes key = pb_bytes(forget->keys[i]->key);
        effect = state_apply_forget(&g->state, key, forget->keys[i]->version) || effect;
        loads_key_written(&g->loads, key);
    }
    return effect;
}

static void apply_limits(struct state *s, const Wblog__Limits *limits)
{
    sessions_apply_limits(&s->sessions, limits->sessions_max, limits->session_bytes_max);
    if (limits->has_retention_ms && limits->has_retention_bytes) {
        state_apply_retention(s, limits->retention_ms, limits->retention_bytes);
    }
}

/* Is it one of the commands that group_drive_flush proposes? */
static bool is_of_the_session(const Wblog__Entry *entry)
{
    switch (entry->command_case) {
    case WBLOG__ENTRY__COMMAND_GENESIS:
    case WBLOG__ENTRY__COMMAND_CLAIMED:
    case WBLOG__ENTRY__COMMAND_FLUSH_BEGIN:
    case WBLOG__ENTRY__COMMAND_FLUSHED:
    case WBLOG__ENTRY__COMMAND_FLUSH_ABORT:
    case WBLOG__ENTRY__COMMAND_QUARANTINE:
    case WBLOG__ENTRY__COMMAND_REWIND:
        return true;
    default:
        return false;
    }
}

void group_on_apply(struct group *g, uint64_t index, struct bytes raw, uint64_t now_ms)
{
    Wblog__Entry *entry = NULL;
    bool effect = false;
    arena_reset(&g->apply_arena);
    if (log_entry_decode(raw, &g->apply_arena, &entry) != STATUS_OK) {
        check_failed(
            "a committed log entry cannot be decoded: it was written by a newer version, or it is corrupt",
            __FILE__, __LINE__);
    }
    state_apply_begin(&g->state, index, entry->stamp_ms);
    stamp_observe(&g->stamps, entry->stamp_ms, now_ms, now_ms == 0);
    switch (entry->command_case) {
    case WBLOG__ENTRY__COMMAND_WRITES:
        apply_writes(g, index, entry);
        break;
    case WBLOG__ENTRY__COMMAND_GENESIS:
        CHECK(entry->genesis->cluster_id.len == CLUSTER_ID_BYTES);
        state_apply_genesis(&g->state, entry->genesis->cluster_id.data, entry->genesis->group_count,
            entry->genesis->version_base);
        break;
    case WBLOG__ENTRY__COMMAND_CLAIMED:
        state_apply_claimed(&g->state);
        break;
    case WBLOG__ENTRY__COMMAND_FLUSH_BEGIN:
        apply_begin(g, entry);
        break;
    case WBLOG__ENTRY__COMMAND_FLUSHED:
        apply_flushed(g, entry->flushed);
        break;
    case WBLOG__ENTRY__COMMAND_FLUSH_ABORT:
        state_apply_flush_abort(&g->state, entry->flush_abort->from_batch);
        break;
    case WBLOG__ENTRY__COMMAND_LIMITS:
        apply_limits(&g->state, entry->limits);
        break;
    case WBLOG__ENTRY__COMMAND_QUARANTINE:
        apply_quarantine(g, entry);
        break;
    case WBLOG__ENTRY__COMMAND_QUARANTINE_DROP:
        effect = state_apply_quarantine_drop(
            &g->state, pb_bytes(entry->quarantine_drop->key), entry->quarantine_drop->version);
        loads_key_written(&g->loads, pb_bytes(entry->quarantine_drop->key));
        if (effect) {
            refuse_waiters(g, pb_bytes(entry->quarantine_drop->key));
        }
        break;
    case WBLOG__ENTRY__COMMAND_REWIND:
        state_apply_rewind(&g->state, entry->rewind->last_batch);
        break;
    case WBLOG__ENTRY__COMMAND_FLUSH_CONTROL:
        apply_control(&g->state, entry->flush_control);
        break;
    case WBLOG__ENTRY__COMMAND_LOSS_ACKNOWLEDGED:
        effect = g->state.lost > 0;
        state_apply_loss_acknowledged(&g->state, entry->loss_acknowledged->rows);
        break;
    case WBLOG__ENTRY__COMMAND_FORGET:
        effect = apply_forget(g, entry->forget);
        break;
    default:
        check_failed("a committed log entry has a command of a newer version", __FILE__, __LINE__);
    }
    g->retries.known = g->retries.known && entry->command_case == WBLOG__ENTRY__COMMAND_WRITES;
    if (is_ours(g, entry)) {
        g->flush_pending -= is_of_the_session(entry) && g->flush_pending > 0 ? 1 : 0;
        group_admin_applied(g, index, effect);
    }
}

void group_on_snapshot(struct group *g, struct buf *out)
{
    state_snapshot(&g->state, out);
}

/* ---- The office ---- */

void group_on_gate_open(struct group *g, uint64_t term, uint64_t now_ms)
{
    CHECK(!g->gate_open);
    flush_session_stop(&g->session); /* if no turn came in between */
    group_cancel_loads(g);           /* a follower's: they asked for less than a leader must know */
    uint8_t new_cluster_id[CLUSTER_ID_BYTES];
    g->gate_open = true;
    g->limits_proposed = false;
    g->flush_pending = 0;
    g->expiry_sweep_at_ms = now_ms + g->config.expiry_sweep_ms;
    g->term = term;
    g->now_ms = now_ms;
    g->env.random(g->env.data, new_cluster_id, sizeof new_cluster_id);
    flush_session_start(&g->session, term, new_cluster_id, now_ms);
}

void group_on_gate_close(struct group *g)
{
    if (!g->gate_open) {
        return;
    }
    g->gate_open =
        false; /* the session ends with the next turn: an answer that is already here is still heard */
    if (g->overlay.open != NULL) { /* never proposed: certainly not done */
        list_for_each (it, next, &g->overlay.open->writers) {
            group_finish(g, list_entry(it, struct group_request, link), STATUS_NOT_LEADER, NULL);
        }
    }
    list_for_each (it, next, &g->live) {
        struct group_request *r = list_entry(it, struct group_request, live);
        if (r->where == AT_WAIT_APPLY) {
            group_finish(
                g, r, STATUS_UNKNOWN, "the leader lost its office before the write was acknowledged");
        } else if (r->where == AT_WAIT_FLUSH && r->op == GROUP_UPDATE) {
            end_flush_wait(g, r);
        } else if (r->op == GROUP_ADMIN && r->where != AT_READY) {
            group_admin_end(g, r, STATUS_NOT_LEADER, NULL);
        } else if (r->where != AT_READY && r->where != AT_WAIT_LOAD) {
            group_finish(g, r, STATUS_NOT_LEADER, NULL);
        }
    }
    struct proposal *p;
    while ((p = overlay_abandon(&g->overlay)) != NULL) {
        proposal_destroy(p);
    }
    group_cancel_loads(g);
    g->barrier_pending = false;
    g->barrier_token++; /* a barrier of the old term says nothing any more */
    g->flush_upto = 0;
}

enum status group_on_restore(struct group *g, struct bytes snapshot)
{
    group_on_gate_close(g);
    group_cancel_loads(g);
    enum status status = state_restore(&g->state, snapshot);
    g->retries.known = false;
    if (status == STATUS_OK) {
        stamp_observe(&g->stamps, g->state.stamp_ms, 0, true);
    }
    return status;
}

/* ---- Memory ---- */

uint64_t group_memory(const struct group *g)
{
    enum { LOAD_BYTES = 256 };
    return g->state.bytes + g->state.sessions.bytes + g->overlay.bytes + (uint64_t)g->loads.n * LOAD_BYTES;
}

void group_evict(struct group *g, uint64_t bytes)
{
    g->evicted += state_evict(&g->state, bytes);
}

/* ---- Questions ---- */

bool group_identity(const struct group *g, struct flush_identity *out)
{
    const struct state *s = &g->state;
    if (!s->born || !s->claimed) {
        return false;
    }
    out->group = g->config.group;
    out->group_count = s->group_count;
    out->version_base = s->version_base;
    memcpy(out->cluster_id, s->cluster_id, CLUSTER_ID_BYTES);
    return true;
}

void group_info(const struct group *g, uint64_t now_ms, struct group_info *out)
{
    const struct state *s = &g->state;
    uint64_t oldest = state_oldest_dirty_stamp_ms(s);
    uint64_t stamp = stamp_uncorrected(&g->stamps, now_ms);
    const struct flush_error *error = &g->session.last_error;
    *out = (struct group_info){
        .gate_open = g->gate_open,
        .born = s->born,
        .claimed = s->claimed,
        .applied_index = s->applied_index,
        .flushed_index = state_flushed_index(s),
        .last_batch = s->last_batch,
        .dirty_entries = s->queued_entries + s->batched_entries,
        .dirty_bytes = s->dirty_bytes,
        .oldest_dirty_ms = oldest == 0 || stamp < oldest ? 0 : stamp - oldest,
        .batches_in_flight = s->batch_count,
        .entries = s->entries,
        .bytes = s->bytes,
        .flush_state = flush_session_state_name(g->session.state),
        .flush_error = error->message,
        .flush_error_class = error->message[0] == '\0' ? "" : flush_error_class_name(error->class),
        .flush_error_sqlstate = error->message[0] == '\0' ? "" : error->sqlstate,
        .flush_error_ms = error->message[0] == '\0' || now_ms < g->session.error_since_ms
                              ? 0
                              : now_ms - g->session.error_since_ms,
        .settings = group_flush_settings(g),
        .rows_per_second = s->control.has_rows_per_second ? s->control.rows_per_second : 0,
        .paused = s->control.paused,
        .recovering = state_recovering(s),
        .quarantined = s->quarantined,
        .retained = s->retained,
        .retained_bytes = s->retained_bytes,
        .retained_batches = s->flushed_count,
        .rewinds = s->rewinds,
        .lost = s->lost,
        .lost_ms = s->lost == 0 || stamp < s->lost_stamp_ms ? 0 : stamp - s->lost_stamp_ms,
        .fresh_as_of_us = g->gate_open ? g->session.published_us : 0,
        .rows_flushed = g->rows_flushed,
        .batches_flushed = g->batches_flushed,
        .writes_applied = g->writes_applied,
        .loads = g->load_selects,
        .hits = g->hits,
        .misses = g->misses,
        .flush_failures = g->session.failures,
        .fenced = g->session.fenced_count,
        .epoch = g->session.epoch,
        .evicted = g->evicted,
        .expired = g->expired,
        .expiring = s->expiring_n,
        .sessions = s->sessions.count,
        .session_results = s->sessions.result_count,
        .session_bytes = s->sessions.bytes,
        .clean_bytes = s->clean_bytes,
    };
}

bool group_clock_is_off(const struct group *g, uint64_t now_ms, uint64_t wall_ms, int64_t *offset_ms)
{
    *offset_ms = stamp_offset_ms(&g->stamps, now_ms, wall_ms);
    return g->stamps.live && (*offset_ms > STAMP_BOUND_MS || *offset_ms < -STAMP_BOUND_MS);
}

bool group_flushes(const struct group *g)
{
    return g->session.state == FLUSH_ACTIVE;
}

bool group_leads(const struct group *g)
{
    return g->gate_open;
}

const struct state *group_state(const struct group *g)
{
    return &g->state;
}

void group_set_flusher(struct group *g, void *flusher_data)
{
    CHECK(!g->gate_open);
    g->session.flusher_data = flusher_data;
}

const struct flusher_events *group_flusher_events(void)
{
    return &flush_session_events;
}

void *group_flusher_events_data(struct group *g)
{
    return &g->session;
}
