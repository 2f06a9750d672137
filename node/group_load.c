/* Reading through: misses of one turn go out as one SELECT; its answer becomes clean entries and absences. */
#include <stdlib.h>
#include <string.h>

#include "node/group_internal.h"
#include "proto/base/alloc.h"
#include "proto/pb.h"

enum { LOAD_KEYS_MAX = 1000, FORGET_KEYS_MAX = 256 };

static int compare_numbers(const void *a, const void *b)
{
    const struct group_request *const *one = a, *const *two = b;
    return (*one)->number < (*two)->number ? -1 : (*one)->number > (*two)->number;
}

/* Each takes its place before those that are ready already and came later: they may be of the same connection
 * and about the same key. */
static void make_ready(struct group *g, struct list *requests)
{
    size_t n = 0, i = 0;
    for (const struct list *it = requests->next; it != requests; it = it->next) {
        n++;
    }
    if (n == 0) {
        return;
    }
    struct group_request **sorted = xmalloc(n * sizeof(struct group_request *));
    for (struct list *it = requests->next; it != requests; it = it->next) {
        sorted[i++] = list_entry(it, struct group_request, link);
    }
    qsort(sorted, n, sizeof(struct group_request *), compare_numbers);
    struct list *place = g->ready.next;
    for (i = 0; i < n; i++) {
        while (place != &g->ready &&
               list_entry(place, const struct group_request, link)->number < sorted[i]->number) {
            place = place->next;
        }
        list_remove(&sorted[i]->link);
        list_insert_before(&sorted[i]->link, place);
        sorted[i]->where = AT_READY;
    }
    free(sorted);
}

/* What kept a load from ending has left memory, or is an answer again: look anew. */
static void end_held(struct group *g)
{
    struct list ready;
    list_init(&ready);
    list_for_each (it, next, &g->loads.held) {
        struct load *load = list_entry(it, struct load, link);
        const struct state_entry *e = state_find(&g->state, load->key);
        if (e == NULL || !e->stale || e->version != load->old_version) {
            loads_end(&g->loads, load, &ready);
        }
    }
    make_ready(g, &ready);
}

void group_send_loads(struct group *g)
{
    struct flush_identity id;
    struct load_batch *batch;
    group_drive_forget(g);
    end_held(g);
    if (!group_identity(g, &id)) {
        return;
    }
    while ((batch = loads_next_batch(&g->loads, LOAD_KEYS_MAX, g->state.last_batch)) != NULL) {
        struct bytes keys[LOAD_KEYS_MAX];
        uint32_t n = 0;
        list_for_each (it, next, &batch->loads) {
            keys[n++] = list_entry(it, struct load, link)->key;
        }
        g->load_selects++;
        g->env.loader->load(g->env.loader_data, batch->token, &id, keys, n);
    }
}

static void end_batch(struct group *g, struct load_batch *batch)
{
    struct list ready;
    list_init(&ready);
    list_for_each (it, next, &batch->loads) {
        loads_end(&g->loads, list_entry(it, struct load, link), &ready);
    }
    make_ready(g, &ready);
    loads_batch_free(batch);
}

/* Every request that must know @load's key gets the error; who waited for the order's sake goes on. */
static void fail_load(struct group *g, struct load *load, enum status status, const char *message)
{
    struct list ready;
    list_init(&ready);
    while (!list_empty(&load->waits)) {
        struct load_wait *wait = list_entry(load->waits.next, struct load_wait, of_load);
        struct group_request *r = wait->request;
        if (r->load_optional) {
            loads_forget_request(r);
            group_move(r, AT_READY, &ready);
        } else {
            group_finish(g, r, status, message); /* takes all of its waits away */
        }
    }
    make_ready(g, &ready);
}

static void fail_batch(struct group *g, struct load_batch *batch, enum status status, const char *message)
{
    list_for_each (it, next, &batch->loads) {
        fail_load(g, list_entry(it, struct load, link), status, message);
    }
    end_batch(g, batch);
}

void group_cancel_loads(struct group *g)
{
    list_for_each (it, next, &g->loading) {
        struct group_request *r = list_entry(it, struct group_request, link);
        group_finish(g, r, r->stale ? STATUS_UNAVAILABLE : STATUS_NOT_LEADER, NULL);
    }
    loads_cancel_all(&g->loads);
}

/* What does not stay in memory from this answer: keys to be asked for again, and rows that this cache did not
 * write, about which nothing can be said. */
static void take_exceptions(struct group *g, const struct load_result *result)
{
    for (uint32_t i = 0; i < result->later_n; i++) {
        struct load *load = loads_find(&g->loads, result->later[i]);
        if (load != NULL && list_empty(&load->waits)) {
            load->dead = true; /* nobody wants to know any more */
        } else if (load != NULL) {
            loads_again(&g->loads, load);
        }
    }
    for (uint32_t i = 0; i < result->bad_n; i++) {
        struct load *load = loads_find(&g->loads, result->bad[i]);
        if (load != NULL) {
            fail_load(g, load, STATUS_CORRUPT,
                "the database holds a row for this key that the cache cannot have written");
            load->dead = true;
        }
    }
}

/* ---- Rows that others changed ---- */

static bool is_same(const struct state_entry *e, const struct load_row *row)
{
    if (row == NULL || e->value == NULL) {
        return row == NULL && e->value == NULL;
    }
    return e->version == row->version && e->expires_at_ms == row->expires_at_ms && e->type == row->type &&
           value_same(row->type, value_bytes(e->value), row->value);
}

/* The database has @row (NULL: none) for @load's key. */
static void take_row(struct group *g, struct load *load, const struct load_row *row)
{
    struct state_entry *e = state_find(&g->state, load->key);
    if (e != NULL && e->stale) {
        e->stale = !is_same(e, row);
        load->differs = e->stale;
        load->old_version = e->version;
    } else if (row != NULL) {
        state_put_clean(
            &g->state, row->key, row->type, value_create(row->value), row->version, row->expires_at_ms);
    } else if (e == NULL) {
        state_put_absent(&g->state, load->key);
    }
}

/* Have all replicas forget retained copies. OK: it is in the log, or we are no leader any more. */
static enum status propose_forget(struct group *g, struct load *const *loads, uint32_t n)
{
    Wblog__ForgetKey keys[FORGET_KEYS_MAX], *list[FORGET_KEYS_MAX];
    for (uint32_t i = 0; i < n; i++) {
        wblog__forget_key__init(&keys[i]);
        keys[i].key = pb_borrow(loads[i]->key);
        keys[i].version = loads[i]->old_version;
        list[i] = &keys[i];
    }
    Wblog__Forget forget = WBLOG__FORGET__INIT;
    forget.n_keys = n;
    forget.keys = list;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    entry.command_case = WBLOG__ENTRY__COMMAND_FORGET;
    entry.forget = &forget;
    uint64_t index;
    return group_propose_entry(g, &entry, 0, true, &index);
}

static void hold(struct group *g, struct load *const *loads, uint32_t n)
{
    enum status status = n == 0 ? STATUS_OK : propose_forget(g, loads, n);
    for (uint32_t i = 0; i < n; i++) {
        if (status == STATUS_OK) {
            loads_hold(&g->loads, loads[i]);
        } else {
            fail_load(g, loads[i], status, NULL);
        }
    }
}

/* A retained copy that is not what the database has is replicated, so it leaves by the log; until then nobody
 * is answered. A follower leaves that to the leader. */
static void hold_those_that_differ(struct group *g, struct load_batch *batch)
{
    struct load *loads[FORGET_KEYS_MAX];
    uint32_t n = 0;
    list_for_each (it, next, &batch->loads) {
        struct load *load = list_entry(it, struct load, link);
        if (load->differs && !load->dead && g->gate_open) {
            loads[n++] = load;
        }
        if (n == FORGET_KEYS_MAX) {
            hold(g, loads, n);
            n = 0;
        }
    }
    hold(g, loads, n);
}

/* ---- Answers ---- */

static void loaded(void *data, uint64_t token, const struct load_result *result)
{
    struct group *g = data;
    if ((token & ADMIN_TOKEN) != 0) {
        group_admin_loaded(g, token, result);
        return;
    }
    struct load_batch *batch = loads_batch_done(&g->loads, token);
    if (batch == NULL) {
        return; /* of an earlier term */
    }
    if (result->in_recovery) {
        fail_batch(g, batch, STATUS_DATABASE_DOWN, "the database is a standby: connect its primary");
        return;
    }
    if (!result->fence_found || result->last_batch < batch->last_batch) {
        const char *why = result->fence_found ? "the database is behind what this cluster has written to it"
                                              : "the database has no fence row of this cluster";
        if (g->gate_open) {
            flush_session_suspect(&g->session, why);
        }
        fail_batch(g, batch, STATUS_DATABASE_DOWN, why);
        return;
    }
    /* What this replica is still to apply may be older than these rows: its readers would see time go back. A
     * batch has the values of its own log index at the latest. */
    if (!g->gate_open && result->last_batch > g->state.applied_index) {
        fail_batch(g, batch, STATUS_UNAVAILABLE, "this replica is behind the database; ask the leader");
        return;
    }
    for (uint32_t i = 0; i < result->n; i++) {
        const struct load_row *row = &result->rows[i];
        struct load *load = loads_find(&g->loads, row->key);
        if (load != NULL && !load->dead) {
            load->found = true;
            take_row(g, load, row);
        }
    }
    take_exceptions(g, result);
    list_for_each (it, next, &batch->loads) {
        struct load *load = list_entry(it, struct load, link);
        if (!load->dead && !load->found) {
            take_row(g, load, NULL);
        }
    }
    hold_those_that_differ(g, batch);
    end_batch(g, batch);
}

static void load_failed(void *data, uint64_t token, const struct flush_error *error)
{
    struct group *g = data;
    if ((token & ADMIN_TOKEN) != 0) {
        group_admin_load_failed(g, token, error);
        return;
    }
    struct load_batch *batch = loads_batch_done(&g->loads, token);
    if (batch != NULL) {
        fail_batch(g, batch, STATUS_DATABASE_DOWN, error->message);
    }
}

const struct loader_events group_loader_events = {
    .loaded = loaded, .load_failed = load_failed, .expired_found = group_expired_found};
