/* Reading through: misses of one turn go out as one SELECT; its answer becomes clean entries and absences. */
#include <string.h>

#include "node/group_internal.h"

enum { LOAD_KEYS_MAX = 1000 };

void group_send_loads(struct group *g)
{
    struct flush_identity id;
    struct load_batch *batch;
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
    struct list *node;
    while ((node = list_pop_front(&ready)) != NULL) {
        group_move(list_entry(node, struct group_request, link), AT_READY, &g->ready);
    }
    loads_batch_free(batch);
}

/* Every request that must know @load's key gets the error; who waited for the order's sake goes on. */
static void fail_load(struct group *g, struct load *load, enum status status, const char *message)
{
    while (!list_empty(&load->waits)) {
        struct load_wait *wait = list_entry(load->waits.next, struct load_wait, of_load);
        struct group_request *r = wait->request;
        if (r->load_optional) {
            loads_forget_request(r);
            group_move(r, AT_READY, &g->ready);
        } else {
            group_finish(g, r, status, message); /* takes all of its waits away */
        }
    }
}

static void fail_batch(struct group *g, struct load_batch *batch, const char *message)
{
    list_for_each (it, next, &batch->loads) {
        fail_load(g, list_entry(it, struct load, link), STATUS_DATABASE_DOWN, message);
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

static void loaded(void *data, uint64_t token, const struct load_result *result)
{
    struct group *g = data;
    struct load_batch *batch = loads_batch_done(&g->loads, token);
    if (batch == NULL) {
        return; /* of an earlier term */
    }
    if (result->in_recovery) {
        fail_batch(g, batch, "the database is a standby: connect its primary");
        return;
    }
    if (!result->fence_found || result->last_batch < batch->last_batch) {
        const char *why = result->fence_found ? "the database is behind what this cluster has written to it"
                                              : "the database has no fence row of this cluster";
        if (g->gate_open) {
            flush_session_suspect(&g->session, why);
        }
        fail_batch(g, batch, why);
        return;
    }
    for (uint32_t i = 0; i < result->n; i++) {
        const struct load_row *row = &result->rows[i];
        struct load *load = loads_find(&g->loads, row->key);
        if (load != NULL && !load->dead) {
            state_put_clean(&g->state, row->key, VALUE_STRING, value_create(row->value), row->version,
                row->expires_at_ms);
        }
    }
    take_exceptions(g, result);
    list_for_each (it, next, &batch->loads) {
        const struct load *load = list_entry(it, struct load, link);
        if (!load->dead && state_find(&g->state, load->key) == NULL) {
            state_put_absent(&g->state, load->key);
        }
    }
    end_batch(g, batch);
}

static void load_failed(void *data, uint64_t token, const struct flush_error *error)
{
    struct group *g = data;
    struct load_batch *batch = loads_batch_done(&g->loads, token);
    if (batch != NULL) {
        fail_batch(g, batch, error->message);
    }
}

const struct loader_events group_loader_events = {
    .loaded = loaded, .load_failed = load_failed, .expired_found = group_expired_found};
