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
    const struct flush_settings *settings = &g->config.flush;
    if (g->session.state != FLUSH_ACTIVE || g->session.begin_pending ||
        view->n_in_flight >= settings->in_flight) {
        return;
    }
    if (view->n_in_flight > 0 && g->now_ms < g->due_counted_ms + DUE_COUNT_MS) {
        g->wake_ms =
            g->wake_ms < g->due_counted_ms + DUE_COUNT_MS ? g->wake_ms : g->due_counted_ms + DUE_COUNT_MS;
        return;
    }
    g->due_counted_ms = g->now_ms;
    struct flush_demand demand = demand_of(g);
    uint64_t stamp = group_stamp(g);
    uint64_t bytes = 0;
    list_for_each (it, next, &g->state.queue) {
        const struct state_entry *e = state_queue_entry(it);
        if (e->batch != NULL) {
            return;
        }
        if (!flush_plan_row_due(settings, &demand, e->queued.first_dirty, e->queued.dirty_stamp_ms, stamp)) {
            uint64_t due_ms = e->queued.dirty_stamp_ms + settings->age_ms;
            uint64_t in_ms = due_ms > stamp ? due_ms - stamp : 1;
            if (view->n_in_flight == 0 && g->now_ms + in_ms < g->wake_ms) {
                g->wake_ms = g->now_ms + in_ms;
            }
            return;
        }
        view->rows_due++;
        bytes += e->key_len + (e->value == NULL ? 0 : e->value->len);
        if (view->rows_due >= settings->batch_rows || bytes >= settings->batch_bytes) {
            view->due_full = true;
            return;
        }
    }
}

static void make_view(struct group *g, struct flush_view *view)
{
    const struct state *s = &g->state;
    *view = (struct flush_view){.born = s->born, .claimed = s->claimed, .last_batch = s->last_batch};
    if (s->born) {
        memcpy(view->identity.cluster_id, s->cluster_id, CLUSTER_ID_BYTES);
        view->identity.group = g->config.group;
        view->identity.group_count = s->group_count;
        view->identity.version_base = s->version_base;
    }
    list_for_each (it, next, &s->batches) {
        if (view->n_in_flight < FLUSH_IN_FLIGHT_MAX) {
            view->in_flight[view->n_in_flight++] = list_entry(it, struct state_batch, link)->id;
        }
    }
    if (!s->claimed) {
        view->certain = g->env.lease_valid(g->env.data);
        view->seed_found = g->config.group != 0 && g->env.seed(g->env.data, &view->seed);
    }
    count_due(g, view);
}

static bool propose_command(struct group *g, const struct flush_command *command)
{
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    Wblog__Genesis genesis = WBLOG__GENESIS__INIT;
    Wblog__Claimed claimed = WBLOG__CLAIMED__INIT;
    Wblog__FlushBegin begin = WBLOG__FLUSH_BEGIN__INIT;
    Wblog__Flushed flushed = WBLOG__FLUSHED__INIT;
    Wblog__FlushAbort abort_ = WBLOG__FLUSH_ABORT__INIT;
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
    }
    uint64_t index;
    return group_propose_entry(g, &entry, 0, true, &index) == STATUS_OK;
}

void group_drive_flush(struct group *g)
{
    if (!g->gate_open) {
        return;
    }
    for (;;) {
        struct flush_view view;
        make_view(g, &view);
        enum flush_session_state before = g->session.state;
        uint64_t at = flush_session_turn(&g->session, &view, g->now_ms);
        if (at < g->wake_ms) {
            g->wake_ms = at;
        }
        if (g->session.state == before) {
            break;
        }
    }
    const struct flush_command *command;
    while ((command = flush_session_command(&g->session)) != NULL) {
        if (!propose_command(g, command)) {
            g->wake_ms = g->now_ms + 10 < g->wake_ms ? g->now_ms + 10 : g->wake_ms;
            return; /* the office is ending: it stays first in line */
        }
        flush_session_pop(&g->session);
    }
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
        rows[n++] = (struct flush_row){
            .key = state_entry_key(e),
            .value = e->value == NULL ? bytes_of(NULL, 0) : value_bytes(e->value),
            .deleted = e->value == NULL,
            .version = e->version,
            .expires_at_ms = e->expires_at_ms,
        };
    }
    struct flush_batch wire;
    flush_batch_init(&wire);
    flush_batch_build(&wire, batch->id, predecessor, rows, n);
    free(rows);
    flush_session_send(&g->session, &wire);
    flush_batch_deinit(&wire);
}
