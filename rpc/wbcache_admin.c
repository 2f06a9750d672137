/* libwbcache: what operators ask of one group or one node, and what these calls have in common. */
#include <stdio.h>
#include <stdlib.h>

#include "proto/pb.h"
#include "proto/slot.h"
#include "rpc/client.h"

/* Keys of one request take at most so many bytes: far below what a frame may have. */
enum { PIECE_BYTES_MAX = 1024 * 1024 };

/* ---- Asking ---- */

int client_misfit(struct wbcache *cache, const char *what)
{
    return client_fail(cache, WBCACHE_INTERNAL, "%s: the node's answer does not fit the request", what);
}

/* Run @call, whose route is set, to its end. Without a body, or memory, it is not begun. */
static int ask(struct wbcache *cache, const char *what, struct call *call, Wbrpc__Request__OpCase op,
    const ProtobufCMessage *message, const Wbrpc__Response **out)
{
    if (cache->shown != NULL) { /* the answer to the piece before */
        client_call_free(cache, cache->shown);
        cache->shown = NULL;
    }
    if (call == NULL) {
        return client_fail(cache, WBCACHE_NOMEM, "%s: out of memory", what);
    }
    uint64_t now_ms = client_now_ms();
    request_body(&call->body, op, message);
    call->deadline_ms = now_ms + cache->options.deadline_ms;
    if (client_call_begin(cache, call, now_ms) != WBCACHE_OK) {
        client_call_free(cache, call);
        return client_fail(cache, WBCACHE_NOMEM, "%s: out of memory", what);
    }
    client_run_blocking(cache);
    cache->shown = call;
    int code = client_outcome(cache, what, call);
    if (code == WBCACHE_OK && out != NULL) {
        *out = call->response;
    }
    return code;
}

int client_ask_group(struct wbcache *cache, const char *what, enum call_kind kind, uint32_t group,
    Wbrpc__Request__OpCase op, const ProtobufCMessage *message, const Wbrpc__Response **out)
{
    struct call *call = client_call_new(cache, kind, CALL_OF_BLOCKING);
    if (call != NULL) {
        call->by_group = true;
        call->group = group;
    }
    return ask(cache, what, call, op, message, out);
}

static int need_topology(struct wbcache *cache)
{
    return client_need_topology(cache, client_now_ms() + cache->options.deadline_ms);
}

int client_check_group(struct wbcache *cache, const char *what, unsigned group)
{
    int code = need_topology(cache);
    if (code == WBCACHE_OK && group >= cache->map.group_count) {
        return client_fail(cache, WBCACHE_INVALID, "%s: there is no group %u; they are 0 to %u", what, group,
            cache->map.group_count - 1);
    }
    return code;
}

void *client_show_rows(struct wbcache *cache, size_t n, size_t size)
{
    free(cache->shown_rows);
    cache->shown_rows = calloc(n > 0 ? n : 1, size);
    return cache->shown_rows;
}

int wbcache_group_count(struct wbcache *cache, unsigned *count)
{
    client_enter(cache);
    int code = need_topology(cache);
    if (code == WBCACHE_OK) {
        *count = cache->map.group_count;
    }
    return code;
}

/* ---- Many keys, group by group ---- */

int client_pieces_begin(struct wbcache *cache, const char *what, const struct wbcache_key *keys, size_t n,
    size_t keys_max, struct client_pieces **out)
{
    for (size_t i = 0; i < n; i++) {
        int code = client_check_key(cache, what, keys[i].key, keys[i].key_len);
        if (code != WBCACHE_OK) {
            return code;
        }
    }
    int code = need_topology(cache);
    if (code != WBCACHE_OK) {
        return code;
    }
    struct client_pieces *p = calloc(1, sizeof *p);
    uint32_t *groups = calloc(n > 0 ? n : 1, sizeof *groups);
    if (p == NULL || groups == NULL) {
        free(p);
        free(groups);
        return client_fail(cache, WBCACHE_NOMEM, "%s: out of memory", what);
    }
    for (size_t i = 0; i < n; i++) {
        groups[i] = cluster_map_group(&cache->map, slot_of(bytes_of(keys[i].key, keys[i].key_len)));
    }
    p->keys = keys;
    p->n = n;
    p->groups = groups;
    p->keys_max = keys_max;
    *out = p;
    return WBCACHE_OK;
}

bool client_pieces_next(struct wbcache *cache, struct client_pieces *p)
{
    size_t bytes = 0;
    p->n_at = 0;
    for (; p->group < cache->map.group_count; p->group++, p->next = 0) {
        for (; p->next < p->n; p->next++) {
            const struct wbcache_key *key = &p->keys[p->next];
            if (p->groups[p->next] != p->group) {
                continue;
            }
            if (p->n_at == p->keys_max || (p->n_at > 0 && bytes + key->key_len > PIECE_BYTES_MAX)) {
                return true; /* the group goes on with this key */
            }
            bytes += key->key_len;
            p->items[p->n_at] = p->next;
            p->at[p->n_at++] = pb_borrow(bytes_of(key->key, key->key_len));
        }
        if (p->n_at > 0) {
            return true; /* the next call finds no more of this group */
        }
    }
    return false;
}

void client_pieces_free(struct client_pieces *p)
{
    free(p->groups);
    free(p);
}

/* ---- One key ---- */

void client_show_quarantined(
    const Wbrpc__QuarantinedKey *from, uint32_t group, struct wbcache_quarantined *to)
{
    *to = (struct wbcache_quarantined){.group = group,
        .key = from->key.len > 0 ? (const void *)from->key.data : "",
        .key_len = from->key.len,
        .version = from->version,
        .refused_version = from->refused_version,
        .sqlstate = from->sqlstate,
        .message = from->message,
        .attempts = from->attempts,
        .since_ms = from->since_ms,
        .refused_ms = from->refused_ms,
        .retry_in_ms = from->retry_in_ms,
        .deleted = from->deleted,
        .length = from->length};
    if (from->has_value) {
        to->value = from->value.len > 0 ? (const void *)from->value.data : "";
        to->value_len = from->value.len;
    }
}

static int show_key(struct wbcache *cache, const Wbrpc__KeyState *from, struct wbcache_key_state *to)
{
    to->in_memory = from->in_memory;
    to->present = from->present;
    to->version = from->version;
    to->length = from->length;
    to->dirty_index = from->dirty_index;
    to->dirty_ms = from->dirty_ms;
    to->in_flight = from->in_flight;
    to->queued = from->queued;
    to->flushed_in = from->flushed_in;
    to->evictable = from->evictable;
    to->expires_at_ms = from->expires_at_ms;
    if (from->quarantined == NULL) {
        return WBCACHE_OK;
    }
    struct wbcache_quarantined *row = client_show_rows(cache, 1, sizeof *row);
    if (row == NULL) {
        return client_fail(cache, WBCACHE_NOMEM, "key status: out of memory");
    }
    client_show_quarantined(from->quarantined, to->group, row);
    to->quarantined = row;
    return WBCACHE_OK;
}

int wbcache_key_status(
    struct wbcache *cache, const void *key, size_t key_len, struct wbcache_key_state *state)
{
    client_enter(cache);
    *state = (struct wbcache_key_state){0};
    int code = client_check_key(cache, "key status", key, key_len);
    if (code == WBCACHE_OK) {
        code = need_topology(cache);
    }
    if (code != WBCACHE_OK) {
        return code;
    }
    ProtobufCBinaryData one = pb_borrow(bytes_of(key, key_len));
    Wbrpc__Keys keys = WBRPC__KEYS__INIT;
    keys.n_keys = 1;
    keys.keys = &one;
    state->group = cluster_map_group(&cache->map, slot_of(bytes_of(key, key_len)));
    const Wbrpc__Response *response;
    code = client_ask_group(
        cache, "key status", CALL_ADMIN, state->group, WBRPC__REQUEST__OP_KEY_STATUS, &keys.base, &response);
    if (code != WBCACHE_OK) {
        return code;
    }
    return response->n_key_states == 1 ? show_key(cache, response->key_states[0], state)
                                       : client_misfit(cache, "key status");
}

/* ---- How a group flushes ---- */

struct wbcache_flush_settings client_settings(const Wbrpc__FlushSettings *from)
{
    struct wbcache_flush_settings to = {0};
    if (from != NULL) {
        to = (struct wbcache_flush_settings){.has_paused = from->has_paused,
            .has_rows_per_second = from->has_rows_per_second,
            .has_batch_rows = from->has_batch_rows,
            .has_batch_bytes = from->has_batch_bytes,
            .has_age_ms = from->has_age_ms,
            .paused = from->paused,
            .rows_per_second = from->rows_per_second,
            .batch_rows = from->batch_rows,
            .batch_bytes = from->batch_bytes,
            .age_ms = from->age_ms};
    }
    return to;
}

static void pack_settings(const struct wbcache_flush_settings *from, Wbrpc__FlushSettings *to)
{
    wbrpc__flush_settings__init(to);
    to->has_paused = from->has_paused;
    to->paused = from->paused;
    to->has_rows_per_second = from->has_rows_per_second;
    to->rows_per_second = from->rows_per_second;
    to->has_batch_rows = from->has_batch_rows;
    to->batch_rows = from->batch_rows;
    to->has_batch_bytes = from->has_batch_bytes;
    to->batch_bytes = from->batch_bytes;
    to->has_age_ms = from->has_age_ms;
    to->age_ms = from->age_ms;
}

int wbcache_flush_control(struct wbcache *cache, unsigned group, const struct wbcache_flush_settings *change,
    bool reset, struct wbcache_flush_state *state)
{
    client_enter(cache);
    int code = client_check_group(cache, "flush control", group);
    if (code != WBCACHE_OK) {
        return code;
    }
    Wbrpc__FlushSettings settings;
    Wbrpc__FlushControl control = WBRPC__FLUSH_CONTROL__INIT;
    control.group = group;
    control.has_reset = control.reset = reset;
    if (change != NULL) {
        pack_settings(change, &settings);
        control.set = &settings;
    }
    const Wbrpc__Response *response;
    code = client_ask_group(cache, "flush control", CALL_ADMIN, group, WBRPC__REQUEST__OP_FLUSH_CONTROL,
        &control.base, &response);
    if (code != WBCACHE_OK) {
        return code;
    }
    if (response->flush_control == NULL) {
        return client_misfit(cache, "flush control");
    }
    if (state != NULL) {
        state->settings = client_settings(response->flush_control->settings);
        state->set = client_settings(response->flush_control->set);
    }
    return WBCACHE_OK;
}

int wbcache_acknowledge_loss(struct wbcache *cache, unsigned group, uint64_t *rows)
{
    client_enter(cache);
    int code = client_check_group(cache, "acknowledge loss", group);
    if (code != WBCACHE_OK) {
        return code;
    }
    Wbrpc__FlushControl control = WBRPC__FLUSH_CONTROL__INIT;
    control.group = group;
    control.has_acknowledge_loss = control.acknowledge_loss = 1;
    const Wbrpc__Response *response;
    code = client_ask_group(cache, "acknowledge loss", CALL_ADMIN_ONCE, group,
        WBRPC__REQUEST__OP_FLUSH_CONTROL, &control.base, &response);
    if (code != WBCACHE_OK) {
        return code;
    }
    if (response->flush_control == NULL) {
        return client_misfit(cache, "acknowledge loss");
    }
    if (rows != NULL) {
        *rows = response->flush_control->acknowledged;
    }
    return WBCACHE_OK;
}

int wbcache_database_connections(struct wbcache *cache, uint64_t node_id, unsigned connections)
{
    client_enter(cache);
    int code = need_topology(cache);
    if (code != WBCACHE_OK) {
        return code;
    }
    Wbrpc__NodeControl control = WBRPC__NODE_CONTROL__INIT;
    control.has_database_connections = 1;
    control.database_connections = connections;
    bool found = false;
    for (unsigned i = 0; i < cache->map.n_nodes; i++) {
        const struct cluster_node *node = &cache->map.nodes[i];
        if (!node->member || (node_id != 0 && node->id != node_id)) {
            continue;
        }
        found = true;
        char what[64];
        snprintf(what, sizeof what, "database connections of node %llu", (unsigned long long)node->id);
        struct call *call = client_call_new(cache, CALL_ADMIN, CALL_OF_BLOCKING);
        if (call != NULL) {
            call->node = (int)i;
        }
        int said = ask(cache, what, call, WBRPC__REQUEST__OP_NODE_CONTROL, &control.base, NULL);
        code = said != WBCACHE_OK ? said : code; /* the last failure is told: the message is its */
    }
    if (!found) {
        return client_fail(cache, WBCACHE_INVALID,
            "database connections: there is no node %llu in the cluster", (unsigned long long)node_id);
    }
    return code;
}

/* ---- Forgetting ---- */

static int forget(struct wbcache *cache, const struct wbcache_key_version *keys, struct client_pieces *p)
{
    int code = WBCACHE_OK;
    uint64_t *versions = calloc(p->keys_max, sizeof *versions);
    if (versions == NULL) {
        return client_fail(cache, WBCACHE_NOMEM, "forget: out of memory");
    }
    while (code == WBCACHE_OK && client_pieces_next(cache, p)) {
        Wbrpc__Forget message = WBRPC__FORGET__INIT;
        for (size_t i = 0; i < p->n_at; i++) {
            versions[i] = keys[p->items[i]].version;
        }
        message.n_keys = message.n_versions = p->n_at;
        message.keys = p->at;
        message.versions = versions;
        code = client_ask_group(
            cache, "forget", CALL_ADMIN, p->group, WBRPC__REQUEST__OP_FORGET, &message.base, NULL);
    }
    free(versions);
    return code;
}

int wbcache_forget(struct wbcache *cache, const struct wbcache_key_version *keys, size_t n)
{
    client_enter(cache);
    struct wbcache_key *plain = calloc(n > 0 ? n : 1, sizeof *plain);
    if (plain == NULL) {
        return client_fail(cache, WBCACHE_NOMEM, "forget: out of memory");
    }
    for (size_t i = 0; i < n; i++) {
        plain[i] = (struct wbcache_key){.key = keys[i].key, .key_len = keys[i].key_len};
    }
    struct client_pieces *p;
    int code = client_pieces_begin(cache, "forget", plain, n, LIMIT_REQUEST_KEYS, &p);
    if (code == WBCACHE_OK) {
        code = forget(cache, keys, p);
        client_pieces_free(p);
    }
    free(plain);
    return code;
}
