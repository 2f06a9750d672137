/* The flush as the group drives it: the session is told what the state says, and its commands go to the log.
 */
#include <stdlib.h>
#include <string.h>

#include "flush/flush_batch.h"
#include "node/group_internal.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/pb.h"

/* While a batch is under way, how often to look whether a second one is due. */
enum { DUE_COUNT_MS = 5 };
/* Rows that have waited for so long beyond twice the flush age collect no more writes worth waiting for. */
enum { OVERDUE_MS = 100 };
/* A row that was refused and written again since is tried after so long, for the first time. */
enum { REWRITTEN_RETRY_MS = 250 };
enum { QUARANTINE_RETRY_MIN_MS = 1000, QUARANTINE_RETRY_MAX_MS = 300000 };
/* Keys of the quarantine that one batch tries. */
enum { RETRY_KEYS_MAX = 256 };
/* How far the rate limit lets a burst go, as a part of a second's rows. */
enum { TOKENS_BURST_DIVISOR = 10 };

struct flush_settings group_flush_settings(const struct group *g)
{
    const struct state_control *c = &g->state.control;
    struct flush_settings settings = g->config.flush;
    settings.batch_rows = c->has_batch_rows ? c->batch_rows : settings.batch_rows;
    settings.batch_bytes = c->has_batch_bytes ? c->batch_bytes : settings.batch_bytes;
    settings.age_ms = c->has_age_ms ? c->age_ms : settings.age_ms;
    return settings;
}

/* ---- What is due ---- */

static uint64_t back_off(const struct group *g, uint32_t attempts)
{
    uint64_t min = g->config.quarantine_retry_min_ms, max = g->config.quarantine_retry_max_ms;
    min = min == 0 ? QUARANTINE_RETRY_MIN_MS : min;
    max = max == 0 ? QUARANTINE_RETRY_MAX_MS : max;
    uint64_t ms = min;
    for (uint32_t i = 1; i < attempts && ms < max; i++) {
        ms *= 2;
    }
    return ms < max ? ms : max;
}

bool group_retry_due(struct group *g, const struct state_quarantine *q, uint64_t *in_ms)
{
    bool rewritten = q->refused_version != q->entry->version;
    uint64_t at = q->refused_stamp_ms + (rewritten ? REWRITTEN_RETRY_MS : back_off(g, q->attempts));
    uint64_t stamp = group_stamp(g);
    bool due = q->retry_now || stamp >= at;
    if (in_ms != NULL) {
        *in_ms = due ? 0 : at - stamp;
    }
    return due;
}

/* Walk the quarantine for up to @max keys, of up to @bytes_max with their values, that are to be tried now;
 * at least one if there is one. Returns how many there are. *@next_ms: when the next one is that is not due.
 */
static uint32_t find_retries(
    struct group *g, uint32_t max, uint64_t bytes_max, struct bytes *keys, uint64_t *next_ms)
{
    uint32_t n = 0;
    uint64_t bytes = 0;
    *next_ms = UINT64_MAX;
    list_for_each (it, next, &g->state.quarantine) {
        const struct state_quarantine *q = list_entry(it, struct state_quarantine, link);
        const struct state_entry *e = q->entry;
        uint64_t in_ms;
        if (e->batch != NULL) {
            continue;
        }
        if (!group_retry_due(g, q, &in_ms)) {
            *next_ms = g->now_ms + in_ms < *next_ms ? g->now_ms + in_ms : *next_ms;
            continue;
        }
        bytes += (uint64_t)e->key_len + e->value_len;
        if (n > 0 && bytes > bytes_max) {
            break;
        }
        keys[n++] = state_entry_key(e);
        if (n == max) {
            break;
        }
    }
    return n;
}

/* Is a key of the quarantine to be tried now? It may be large, and this is asked in every turn. */
static bool retry_is_due(struct group *g)
{
    struct retries *r = &g->retries;
    if (!r->known || r->changes != g->state.quarantine_changes || (!r->due && g->now_ms >= r->next_ms)) {
        struct bytes key;
        r->due = find_retries(g, 1, 0, &key, &r->next_ms) > 0;
        r->changes = g->state.quarantine_changes;
        r->known = true;
    }
    if (!r->due) {
        group_wake_at(g, r->next_ms);
    }
    return r->due;
}

/* The rows that may go now under the operators' limit. */
static uint32_t allowed_rows(struct group *g, uint32_t batch_rows)
{
    const struct state_control *c = &g->state.control;
    if (!c->has_rows_per_second || c->rows_per_second == 0) {
        g->tokens_ms = 0;
        return batch_rows;
    }
    double burst = (double)c->rows_per_second / TOKENS_BURST_DIVISOR;
    burst = burst < 1 ? 1 : burst;
    if (g->tokens_ms == 0) {
        g->tokens_ms = g->now_ms;
        g->flush_tokens = 0;
    }
    g->flush_tokens += (double)c->rows_per_second * (double)(g->now_ms - g->tokens_ms) / 1000.0;
    g->flush_tokens = g->flush_tokens > burst ? burst : g->flush_tokens;
    g->tokens_ms = g->now_ms;
    if (g->flush_tokens < 1) {
        group_wake_at(g, g->now_ms + 1 + (uint64_t)((1 - g->flush_tokens) * 1000.0 / c->rows_per_second));
        return 0;
    }
    return g->flush_tokens < batch_rows ? (uint32_t)g->flush_tokens : batch_rows;
}

static struct flush_demand demand_of(const struct group *g)
{
    return (struct flush_demand){
        .upto_index = g->flush_upto,
        .dirty_bytes = g->state.dirty_bytes,
        .dirty_bytes_max = g->config.dirty_bytes_max,
        .dirty_entries = g->state.queued_entries + g->state.batched_entries,
        .dirty_entries_max = g->config.dirty_entries_max,
    };
}

/* Count the rows at the front of the queue that are due, up to one batch, and note when the first one will
 * be. */
static void count_due(struct group *g, struct flush_view *view)
{
    const struct flush_settings *settings = &g->session.settings;
    bool looking = g->session.state == FLUSH_ACTIVE || g->session.state == FLUSH_RESTING;
    if (!looking || g->state.control.paused || g->session.begin_pending || g->session.isolating != 0 ||
        view->n_in_flight >= settings->in_flight || (view->n_in_flight > 0 && g->state.tied > 0)) {
        return;
    }
    if (view->n_in_flight > 0 && g->now_ms < g->due_counted_ms + DUE_COUNT_MS) {
        group_wake_at(g, g->due_counted_ms + DUE_COUNT_MS);
        return;
    }
    g->due_counted_ms = g->now_ms;
    view->retries_due = g->state.quarantined > 0 && retry_is_due(g) ? 1 : 0;
    struct flush_demand demand = demand_of(g);
    uint64_t stamp = group_stamp(g);
    uint64_t bytes = 0;
    uint32_t rows_max = settings->batch_rows;
    if (!list_empty(&g->state.queue)) {
        rows_max = allowed_rows(g, rows_max);
    }
    view->rows_held = rows_max == 0;
    struct flush_settings along = *settings; /* what goes along once a row has come of age */
    list_for_each (it, next, &g->state.queue) {
        const struct state_entry *e = state_queue_entry(it);
        state_entry_fetch_ahead(e);
        if (e->batch != NULL || rows_max == 0) {
            return;
        }
        if (view->rows_due == 0 && stamp >= e->queued.dirty_stamp_ms + settings->age_ms) {
            along.age_ms = (unsigned)flush_plan_along_ms(settings);
        }
        if (!flush_plan_row_due(&along, &demand, e->queued.first_dirty, e->queued.dirty_stamp_ms, stamp)) {
            uint64_t due_ms = e->queued.dirty_stamp_ms + settings->age_ms;
            uint64_t in_ms = due_ms > stamp ? due_ms - stamp : 1;
            if (view->n_in_flight == 0) {
                group_wake_at(g, g->now_ms + in_ms);
            }
            return;
        }
        if (view->rows_due++ == 0) {
            view->overdue = stamp > e->queued.dirty_stamp_ms + 2 * (uint64_t)settings->age_ms + OVERDUE_MS;
        }
        bytes += (uint64_t)e->key_len + e->value_len;
        if (view->rows_due >= rows_max || bytes >= settings->batch_bytes) {
            view->due_full = true;
            return;
        }
    }
}

static void make_view(struct group *g, struct flush_view *view)
{
    const struct state *s = &g->state;
    *view = (struct flush_view){.born = s->born,
        .claimed = s->claimed,
        .last_batch = s->last_batch,
        .newest_batch = s->newest_batch,
        .applied_index = s->applied_index,
        .flushed_index = state_flushed_index(s),
        .quarantine_changes = s->quarantine_changes};
    if (s->born) {
        memcpy(view->identity.cluster_id, s->cluster_id, CLUSTER_ID_BYTES);
        view->identity.group = g->config.group;
        view->identity.group_count = s->group_count;
        view->identity.version_base = s->version_base;
    }
    view->commands_pending = g->flush_pending;
    list_for_each (it, next, &s->batches) {
        if (view->n_in_flight < FLUSH_IN_FLIGHT_MAX) {
            view->in_flight[view->n_in_flight++] = list_entry(it, struct state_batch, link)->id;
        }
    }
    if (!s->claimed || g->session.clock_us != 0) {
        view->certain = g->env.lease_valid(g->env.data);
    }
    if (g->session.clock_us != 0 && !view->certain && !g->barrier_pending) {
        g->barrier_wanted = true; /* nothing else renews the lease of an idle group */
        group_wake_at(g, g->now_ms);
    }
    if (!s->claimed) {
        view->seed_found = g->config.group != 0 && g->env.seed(g->env.data, &view->seed);
    }
    count_due(g, view);
}

/* ---- Commands for the log ---- */

/* The faults of the session that @command names; of a condemned batch: all its rows, for the last error. */
static uint32_t list_faults(
    struct group *g, const struct flush_command *command, struct arena *arena, Wblog__Fault ***out)
{
    const struct state_batch *b = state_batch_find(&g->state, command->batch);
    uint32_t n = command->n != 0 ? command->n : b == NULL ? 0 : b->rows;
    Wblog__Fault **list = arena_alloc(arena, (n + 1) * sizeof *list);
    struct list *link = b == NULL ? NULL : b->places.next;
    for (uint32_t i = 0; i < n; i++) {
        list[i] = arena_alloc(arena, sizeof *list[i]);
        wblog__fault__init(list[i]);
        if (command->n != 0) {
            struct flush_session_fault *f = &g->session.faults[command->first + i];
            list[i]->key = pb_borrow(bytes_of(f->key, f->key_len));
            list[i]->sqlstate = f->sqlstate;
            list[i]->message = f->message;
        } else {
            list[i]->key = pb_borrow(state_entry_key(state_batch_entry(link)));
            list[i]->sqlstate = g->session.last_error.sqlstate;
            list[i]->message = g->session.last_error.message;
            link = link->next;
        }
    }
    *out = list;
    return n;
}

static bool propose_quarantine(struct group *g, const struct flush_command *command)
{
    struct arena arena;
    arena_init(&arena);
    Wblog__Quarantine quarantine = WBLOG__QUARANTINE__INIT;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    quarantine.batch = command->batch;
    quarantine.n_faults = list_faults(g, command, &arena, &quarantine.faults);
    entry.command_case = WBLOG__ENTRY__COMMAND_QUARANTINE;
    entry.quarantine = &quarantine;
    uint64_t index;
    bool proposed = group_propose_entry(g, &entry, 0, true, &index) == STATUS_OK;
    arena_deinit(&arena);
    return proposed;
}

/* The keys are chosen now: what was due when the session decided may have changed. */
static bool propose_retry(struct group *g, uint32_t rows_max)
{
    struct bytes keys[RETRY_KEYS_MAX];
    ProtobufCBinaryData borrowed[RETRY_KEYS_MAX];
    uint64_t next_ms;
    uint32_t n = find_retries(g, rows_max < RETRY_KEYS_MAX ? rows_max : RETRY_KEYS_MAX,
        g->session.settings.batch_bytes, keys, &next_ms);
    g->retries.known = false;
    for (uint32_t i = 0; i < n; i++) {
        borrowed[i] = pb_borrow(keys[i]);
    }
    Wblog__FlushBegin begin = WBLOG__FLUSH_BEGIN__INIT;
    begin.n_quarantined = n;
    begin.quarantined = borrowed;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    entry.command_case = WBLOG__ENTRY__COMMAND_FLUSH_BEGIN;
    entry.flush_begin = &begin;
    uint64_t index;
    return group_propose_entry(g, &entry, 0, true, &index) == STATUS_OK;
}

static bool propose_command(struct group *g, const struct flush_command *command)
{
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    Wblog__Genesis genesis = WBLOG__GENESIS__INIT;
    Wblog__Claimed claimed = WBLOG__CLAIMED__INIT;
    Wblog__FlushBegin begin = WBLOG__FLUSH_BEGIN__INIT;
    Wblog__Flushed flushed = WBLOG__FLUSHED__INIT;
    Wblog__FlushAbort abort_ = WBLOG__FLUSH_ABORT__INIT;
    Wblog__Rewind rewind = WBLOG__REWIND__INIT;
    switch (command->kind) {
    case FLUSH_COMMAND_GENESIS:
        genesis.cluster_id = pb_borrow(bytes_of(command->identity.cluster_id, CLUSTER_ID_BYTES));
        genesis.group_count = command->identity.group_count;
        genesis.version_base = command->identity.version_base;
        entry.command_case = WBLOG__ENTRY__COMMAND_GENESIS;
        entry.genesis = &genesis;
        break;
    case FLUSH_COMMAND_CLAIMED:
        entry.command_case = WBLOG__ENTRY__COMMAND_CLAIMED;
        entry.claimed = &claimed;
        break;
    case FLUSH_COMMAND_BEGIN:
        begin.rows_max = command->rows_max;
        begin.bytes_max = command->bytes_max;
        begin.has_cut = begin.cut = command->cut;
        entry.command_case = WBLOG__ENTRY__COMMAND_FLUSH_BEGIN;
        entry.flush_begin = &begin;
        break;
    case FLUSH_COMMAND_FLUSHED:
        flushed.batch = command->batch;
        flushed.predecessor = command->predecessor;
        entry.command_case = WBLOG__ENTRY__COMMAND_FLUSHED;
        entry.flushed = &flushed;
        break;
    case FLUSH_COMMAND_ABORT:
        abort_.from_batch = command->batch;
        entry.command_case = WBLOG__ENTRY__COMMAND_FLUSH_ABORT;
        entry.flush_abort = &abort_;
        break;
    case FLUSH_COMMAND_REWIND:
        rewind.last_batch = command->batch;
        entry.command_case = WBLOG__ENTRY__COMMAND_REWIND;
        entry.rewind = &rewind;
        break;
    case FLUSH_COMMAND_RETRY:
        return propose_retry(g, command->rows_max);
    case FLUSH_COMMAND_QUARANTINE:
        return propose_quarantine(g, command);
    }
    uint64_t index;
    return group_propose_entry(g, &entry, 0, true, &index) == STATUS_OK;
}

/* ---- What goes along to the database ---- */

/* What is true once everything in flight is in the database. */
static struct flush_note make_note(struct group *g)
{
    const struct state *s = &g->state;
    uint64_t then = state_flushed_index_then(s);
    return (struct flush_note){
        .fresh_as_of_us = flush_session_fresh(&g->session, then),
        .quarantined = s->quarantined - state_retried(s),
        .lost = s->lost,
        .recovering = then < s->recover_index,
    };
}

/* The quarantine's rows but for those that are in a batch. The rows are the caller's to free. */
static struct flush_mirror make_mirror(const struct group *g)
{
    const struct state *s = &g->state;
    uint64_t room = s->quarantined < FLUSH_MIRROR_MAX ? s->quarantined : FLUSH_MIRROR_MAX;
    struct flush_quarantined *rows = xcalloc(room + 1, sizeof *rows);
    uint32_t n = 0;
    list_for_each (it, next, &s->quarantine) {
        const struct state_quarantine *q = list_entry(it, struct state_quarantine, link);
        const struct state_entry *e = q->entry;
        if (n == room) {
            break;
        }
        if (e->batch != NULL) {
            continue;
        }
        rows[n++] = (struct flush_quarantined){
            .key = state_entry_key(e),
            .value = e->value == NULL ? bytes_of(NULL, 0) : value_bytes(e->value),
            .type = e->type,
            .deleted = e->value == NULL,
            .version = e->version,
            .since_ms = q->dirty_stamp_ms,
            .refused_ms = q->refused_stamp_ms,
            .attempts = q->attempts,
            .sqlstate = q->sqlstate,
            .message = q->message,
        };
    }
    return (struct flush_mirror){.rows = rows, .n = n};
}

static void send_notes(struct group *g)
{
    struct flush_view view;
    bool show;
    make_view(g, &view);
    bool finish = flush_session_finish_due(&g->session);
    if (!finish && !flush_session_note_due(&g->session, &view, &show)) {
        return;
    }
    struct flush_note note = make_note(g);
    struct flush_mirror mirror = {0};
    bool with =
        finish ? !g->session.mirror_known || g->session.mirrored != g->state.quarantine_changes : show;
    if (with) {
        mirror = make_mirror(g);
    }
    (finish ? flush_session_finish : flush_session_note)(
        &g->session, &note, with ? &mirror : NULL, g->state.quarantine_changes);
    free((void *)(uintptr_t)mirror.rows);
}

/* ---- The turn ---- */

void group_drive_flush(struct group *g)
{
    if (!g->gate_open) {
        return;
    }
    g->session.settings = group_flush_settings(g);
    for (;;) {
        struct flush_view view;
        make_view(g, &view);
        enum flush_session_state before = g->session.state;
        uint64_t at = flush_session_turn(&g->session, &view, g->now_ms);
        group_wake_at(g, at);
        if (g->session.state == before) {
            break;
        }
    }
    const struct flush_command *command;
    while ((command = flush_session_command(&g->session)) != NULL) {
        if (!propose_command(g, command)) {
            group_wake_at(g, g->now_ms + 10);
            return; /* the office is ending: it stays first in line */
        }
        g->flush_pending++;
        flush_session_pop(&g->session);
    }
    send_notes(g);
}

void group_flush_begun(struct group *g, struct state_batch *batch)
{
    uint64_t predecessor;
    if (!flush_session_begun(&g->session, batch == NULL ? 0 : batch->id, batch != NULL, &predecessor)) {
        return;
    }
    CHECK(batch != NULL && "the session begins only what exists");
    struct flush_row *rows = xmalloc(batch->rows * sizeof *rows);
    uint32_t n = 0;
    list_for_each (it, next, &batch->places) {
        const struct state_entry *e = state_batch_entry(it);
        state_entry_fetch_ahead(e);
        rows[n++] = (struct flush_row){
            .key = state_entry_key(e),
            .value = e->value == NULL ? bytes_of(NULL, 0) : bytes_of(e->value->data, e->value_len),
            .type = e->type,
            .deleted = e->value == NULL,
            .version = e->version,
            .expires_at_ms = e->expires_at_ms,
        };
    }
    struct flush_batch wire;
    flush_batch_init(&wire);
    flush_batch_build(&wire, batch->id, predecessor, rows, n);
    free(rows);
    wire.note = make_note(g);
    flush_session_send(&g->session, &wire);
    if (g->state.control.has_rows_per_second && !batch->retry) {
        g->flush_tokens -= n;
    }
    flush_batch_deinit(&wire);
}
