/* libwbcache's status: ask every known node, and put the answers in one piece of memory. */
#include <stdlib.h>
#include <string.h>

#include "rpc/client.h"

enum { STATUS_DEADLINE_MS = 1000 };

/* Two passes over the same code: the first, without memory, counts; the second fills. */
struct piece {
    char *base; /* NULL while counting */
    size_t used;
};

static void *piece_take(struct piece *p, size_t size, size_t align)
{
    p->used = (p->used + align - 1) / align * align;
    void *at = p->base == NULL ? NULL : p->base + p->used;
    p->used += size;
    return at;
}

static const char *piece_text(struct piece *p, const char *text)
{
    size_t size = strlen(text != NULL ? text : "") + 1;
    char *at = piece_take(p, size, 1);
    return at == NULL ? "" : memcpy(at, text != NULL ? text : "", size);
}

static void fill_group(struct piece *p, const Wbrpc__GroupStatus *from, struct wbcache_group_status *to)
{
    struct wbcache_group_status g = {
        .group = from->group,
        .role = piece_text(p, from->role),
        .ready = from->ready,
        .leader_id = from->leader_id,
        .term = from->term,
        .last_index = from->last_index,
        .commit_index = from->commit_index,
        .applied_index = from->applied_index,
        .flushed_index = from->flushed_index,
        .last_batch = from->last_batch,
        .dirty_entries = from->dirty_entries,
        .dirty_bytes = from->dirty_bytes,
        .oldest_dirty_ms = from->oldest_dirty_ms,
        .batches_in_flight = from->batches_in_flight,
        .entries = from->entries,
        .bytes = from->bytes,
        .flush_state = piece_text(p, from->flush_state),
        .flush_error = piece_text(p, from->flush_error),
        .rows_flushed = from->rows_flushed,
        .batches_flushed = from->batches_flushed,
        .writes_applied = from->writes_applied,
        .loads = from->loads,
        .state_hash = from->state_hash,
        .epoch = from->epoch,
        .hits = from->hits,
        .misses = from->misses,
        .flush_failures = from->flush_failures,
        .fenced = from->fenced,
        .evicted = from->evicted,
        .expired = from->expired,
        .expiring = from->expiring,
        .sessions = from->sessions,
        .session_results = from->session_results,
        .session_bytes = from->session_bytes,
        .contact_age_ms = from->contact_age_ms,
        .flush_error_class = piece_text(p, from->flush_error_class),
        .flush_error_sqlstate = piece_text(p, from->flush_error_sqlstate),
        .flush_error_ms = from->flush_error_ms,
        .quarantined = from->quarantined,
        .retained = from->retained,
        .retained_bytes = from->retained_bytes,
        .retained_batches = from->retained_batches,
        .recovering = from->recovering,
        .rewinds = from->rewinds,
        .lost = from->lost,
        .lost_ms = from->lost_ms,
        .settings = client_settings(from->flush_settings),
        .fresh_as_of_ms = from->fresh_as_of_ms,
        .watched = from->watched,
    };
    if (to != NULL) {
        *to = g;
    }
}

static void fill_node(struct piece *p, const struct cluster_node *known, const struct call *call,
    struct wbcache_node_status *to)
{
    struct wbcache_node_status n = {
        .node_id = known->id,
        .client_address = piece_text(p, known->address),
        .peer_address = piece_text(p, known->peer_address),
        .code = call == NULL ? WBCACHE_NOMEM : call->code,
        .version = "",
        .cluster_id = "",
    };
    const Wbrpc__StatusReply *from = n.code == WBCACHE_OK && call != NULL ? call->response->node : NULL;
    if (n.code == WBCACHE_OK && from == NULL) {
        n.code = WBCACHE_INTERNAL; /* it said OK, and nothing else */
    }
    if (from != NULL) {
        n.node_id = from->node_id;
        n.version = piece_text(p, from->version);
        n.uptime_ms = from->uptime_ms;
        n.connections = from->connections;
        n.memory_bytes = from->memory_bytes;
        n.requests = from->requests;
        n.cache_bytes = from->cache_bytes;
        n.memory_max_bytes = from->memory_max_bytes;
        n.cluster_id = piece_text(p, from->cluster_id);
        n.group_count = from->group_count;
        n.database_connections = from->database_connections;
        n.database_connections_used = from->database_connections_used;
        n.n_groups = from->n_groups;
        struct wbcache_group_status *groups =
            piece_take(p, from->n_groups * sizeof *groups, _Alignof(struct wbcache_group_status));
        for (size_t i = 0; i < from->n_groups; i++) {
            fill_group(p, from->groups[i], groups == NULL ? NULL : &groups[i]);
        }
        n.groups = groups;
    }
    if (to != NULL) {
        *to = n;
    }
}

static struct wbcache_status *fill(
    struct piece *p, const struct wbcache *cache, struct call *const *calls, const bool *asked)
{
    struct wbcache_status *status = piece_take(p, sizeof *status, _Alignof(struct wbcache_status));
    size_t n = 0;
    for (unsigned i = 0; i < cache->map.n_nodes; i++) {
        n += asked[i];
    }
    struct wbcache_node_status *nodes =
        piece_take(p, n * sizeof *nodes, _Alignof(struct wbcache_node_status));
    size_t at = 0;
    for (unsigned i = 0; i < cache->map.n_nodes; i++) {
        if (asked[i]) {
            fill_node(p, &cache->map.nodes[i], calls[i], nodes == NULL ? NULL : &nodes[at]);
            at++;
        }
    }
    if (status != NULL) {
        *status = (struct wbcache_status){.nodes = nodes, .n_nodes = n};
    }
    return status;
}

static struct call *begin_status(struct wbcache *cache, int node, uint64_t now_ms)
{
    struct call *call = client_call_new(cache, CALL_STATUS, CALL_OF_BLOCKING);
    if (call == NULL) {
        return NULL;
    }
    Wbrpc__NodeStatus question = WBRPC__NODE_STATUS__INIT;
    unsigned deadline_ms = cache->options.deadline_ms;
    request_body(&call->body, WBRPC__REQUEST__OP_STATUS, &question.base);
    call->node = node;
    call->deadline_ms = now_ms + (deadline_ms < STATUS_DEADLINE_MS ? deadline_ms : STATUS_DEADLINE_MS);
    if (client_call_begin(cache, call, now_ms) != WBCACHE_OK) {
        client_call_free(cache, call);
        return NULL;
    }
    return call;
}

/* The members when they are known, else the addresses that the user gave. */
static void choose_nodes(const struct wbcache *cache, bool *asked)
{
    for (unsigned i = 0; i < cache->map.n_nodes; i++) {
        asked[i] = cache->map.group_count == 0 || cache->map.nodes[i].member;
    }
}

int wbcache_status(struct wbcache *cache, struct wbcache_status **out)
{
    client_enter(cache);
    if (out == NULL) {
        return client_fail(cache, WBCACHE_INVALID, "status: no place for the answer is given");
    }
    *out = NULL;
    struct call *calls[CLUSTER_MAP_NODES_MAX] = {0};
    bool asked[CLUSTER_MAP_NODES_MAX] = {0};
    choose_nodes(cache, asked);
    for (unsigned i = 0; i < cache->map.n_nodes; i++) {
        calls[i] = asked[i] ? begin_status(cache, (int)i, client_now_ms()) : NULL;
    }
    client_run_blocking(cache);

    struct piece counted = {0};
    fill(&counted, cache, calls, asked);
    struct piece filled = {.base = malloc(counted.used)};
    int code = WBCACHE_NOMEM;
    if (filled.base != NULL) {
        *out = fill(&filled, cache, calls, asked);
        code = WBCACHE_UNAVAILABLE;
    }
    for (unsigned i = 0; i < cache->map.n_nodes; i++) {
        if (calls[i] != NULL) {
            int said = client_outcome(cache, "status", calls[i]);
            code = code != WBCACHE_NOMEM && said == WBCACHE_OK ? WBCACHE_OK : code;
            client_call_free(cache, calls[i]);
        }
    }
    if (code == WBCACHE_NOMEM) {
        return client_fail(cache, code, "status: out of memory");
    }
    if (code == WBCACHE_OK) {
        cache->errmsg[0] = '\0'; /* those that did not answer say so in their own code */
    } else if (cache->errmsg[0] == '\0') {
        client_fail(cache, code, "status: no node is known");
    }
    return code;
}

void wbcache_status_free(struct wbcache_status *status)
{
    free(status); /* one piece */
}
