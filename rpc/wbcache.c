/* libwbcache's public calls on one key, blocking and pipelined; opening and closing. Start with wbcache.h. */
#include "rpc/wbcache.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/status.h"
#include "proto/limits.h"
#include "proto/pb.h"
#include "proto/slot.h"
#include "rpc/client.h"

/* The public numbers are the protocol's. */
_Static_assert((int)WBCACHE_UNKNOWN == (int)STATUS_UNKNOWN && (int)WBCACHE_NO_SPACE == (int)STATUS_NO_SPACE &&
                   (int)WBCACHE_CLOSED == (int)STATUS_CLOSED && (int)WBCACHE_AGAIN == (int)STATUS_AGAIN,
    "wbcache_result_code follows proto/base/status.h");

/* ---- Messages ---- */

int client_fail(struct wbcache *cache, int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(cache->errmsg, sizeof cache->errmsg, format, args);
    va_end(args);
    return code;
}

int client_outcome(struct wbcache *cache, const char *what, const struct call *call)
{
    if (call->code == WBCACHE_OK || call->code == WBCACHE_NOT_FOUND) {
        return call->code;
    }
    const char *text = status_text(call->code);
    bool says_more = call->message[0] != '\0' && strcmp(call->message, text) != 0;
    return client_fail(cache, call->code, "%s: %s: %s%s%s%s", what, status_name(call->code), text,
        says_more ? " (" : "", says_more ? call->message : "", says_more ? ")" : "");
}

const char *wbcache_errmsg(const struct wbcache *cache)
{
    return cache == NULL ? "no memory for a handle" : cache->errmsg;
}

const char *wbcache_code_name(int code)
{
    return status_name(code);
}

const char *wbcache_strerror(int code)
{
    return status_text(code);
}

void client_enter(struct wbcache *cache)
{
    cache->errmsg[0] = '\0';
    if (cache->shown != NULL) {
        client_call_free(cache, cache->shown);
        cache->shown = NULL;
    }
}

/* ---- Opening and closing ---- */

static int add_seeds(struct wbcache *cache, const char *cluster)
{
    struct bytes list = bytes_of(cluster, strlen(cluster));
    struct bytes item;
    while (address_list_next(&list, &item)) {
        if (cluster_map_add(&cache->map, item) == CLUSTER_MAP_NOBODY) {
            return client_fail(cache, WBCACHE_INVALID,
                "open: '%.*s' is no node's address; the cluster is written HOST:PORT,HOST:PORT,... with at "
                "most %d "
                "nodes, and an IPv6 address in brackets",
                item.len > 200 ? 200 : (int)item.len, (const char *)item.data, CLUSTER_MAP_NODES_MAX);
        }
    }
    client_sync_conns(cache);
    return WBCACHE_OK;
}

static unsigned or_default(unsigned value, unsigned fallback)
{
    return value == 0 ? fallback : value;
}

int client_need_topology(struct wbcache *cache, uint64_t deadline_ms)
{
    while (cache->map.group_count == 0) {
        uint64_t now_ms = client_now_ms();
        if (now_ms >= deadline_ms) {
            const struct client_conn *conn = &cache->conns[0];
            const char *error = "";
            for (; conn < cache->conns + cache->n_conns && error[0] == '\0'; conn++) {
                error = conn->error;
            }
            return client_fail(cache, WBCACHE_UNAVAILABLE,
                "no node of the cluster could be asked by the deadline%s%s%s", error[0] != '\0' ? " (" : "",
                error, error[0] != '\0' ? ")" : "");
        }
        client_turn(cache, deadline_ms - now_ms);
    }
    return WBCACHE_OK;
}

int wbcache_open(struct wbcache **out, const char *cluster, const struct wbcache_options *options)
{
    if (out == NULL) {
        return WBCACHE_INVALID;
    }
    *out = calloc(1, sizeof **out);
    struct wbcache *cache = *out;
    if (cache == NULL) {
        return WBCACHE_NOMEM;
    }
    struct wbcache_options given = options != NULL ? *options : (struct wbcache_options){0};
    cache->options.deadline_ms = or_default(given.deadline_ms, CLIENT_DEADLINE_MS);
    cache->options.connect_timeout_ms = or_default(given.connect_timeout_ms, CLIENT_CONNECT_TIMEOUT_MS);
    cache->options.pipeline_max = or_default(given.pipeline_max, CLIENT_PIPELINE_MAX);
    cluster_map_init(&cache->map);
    list_init(&cache->waiting);
    list_init(&cache->by_deadline);
    list_init(&cache->done);
    list_init(&cache->free_calls);
    if (cluster == NULL) {
        cluster = getenv("WBCACHE_CLUSTER");
    }
    if (cluster == NULL || cluster[0] == '\0') {
        return client_fail(cache, WBCACHE_INVALID,
            "open: no cluster is given; pass \"HOST:PORT,HOST:PORT\" or set WBCACHE_CLUSTER");
    }
    int code = add_seeds(cache, cluster);
    return code != WBCACHE_OK ? code
                              : client_need_topology(cache, client_now_ms() + cache->options.deadline_ms);
}

void wbcache_close(struct wbcache *cache)
{
    if (cache == NULL) {
        return;
    }
    client_enter(cache);
    client_calls_drop(cache);
    for (unsigned i = 0; i < cache->n_conns; i++) {
        client_conn_deinit(&cache->conns[i]);
    }
    free(cache);
}

void wbcache_set_deadline(struct wbcache *cache, unsigned deadline_ms)
{
    cache->options.deadline_ms = or_default(deadline_ms, CLIENT_DEADLINE_MS);
}

/* ---- One key ---- */

static int check_key(struct wbcache *cache, const char *what, const void *key, size_t key_len)
{
    if (key == NULL && key_len > 0) {
        return client_fail(cache, WBCACHE_INVALID, "%s: the key is NULL, but its length is not 0", what);
    }
    if (key_len > LIMIT_KEY_BYTES) {
        return client_fail(cache, WBCACHE_TOO_BIG, "%s: the key has %zu bytes; the limit is %d", what,
            key_len, LIMIT_KEY_BYTES);
    }
    return WBCACHE_OK;
}

static int check_value(struct wbcache *cache, const char *what, const void *value, size_t value_len)
{
    if (value == NULL && value_len > 0) {
        return client_fail(cache, WBCACHE_INVALID, "%s: the value is NULL, but its length is not 0", what);
    }
    if (value_len > LIMIT_VALUE_BYTES) {
        return client_fail(cache, WBCACHE_TOO_BIG, "%s: the value has %zu bytes; the limit is %d", what,
            value_len, LIMIT_VALUE_BYTES);
    }
    return WBCACHE_OK;
}

static void pack_key(struct call *call, struct bytes key)
{
    static const Wbrpc__Request__OpCase ops[] = {
        [CALL_GET] = WBRPC__REQUEST__OP_GET,
        [CALL_EXISTS] = WBRPC__REQUEST__OP_EXISTS,
        [CALL_DEL] = WBRPC__REQUEST__OP_DEL,
    };
    Wbrpc__Keys keys = WBRPC__KEYS__INIT;
    ProtobufCBinaryData one = pb_borrow(key);
    keys.n_keys = 1;
    keys.keys = &one;
    request_body(&call->body, ops[call->kind], &keys.base);
}

static void pack_set(struct call *call, struct bytes key, struct bytes value)
{
    Wbrpc__KeyValue entry = WBRPC__KEY_VALUE__INIT;
    Wbrpc__KeyValue *one = &entry;
    Wbrpc__Set set = WBRPC__SET__INIT;
    entry.key = pb_borrow(key);
    entry.value = pb_borrow(value);
    set.n_entries = 1;
    set.entries = &one;
    request_body(&call->body, WBRPC__REQUEST__OP_SET, &set.base);
}

/* Begin a call on one key. *@out is set on OK only. */
static int begin_one(struct wbcache *cache, const char *what, enum call_kind kind, enum call_owner owner,
    struct bytes key, struct bytes value, struct call **out)
{
    int code = check_key(cache, what, key.data, key.len);
    if (code == WBCACHE_OK && kind == CALL_SET) {
        code = check_value(cache, what, value.data, value.len);
    }
    if (code != WBCACHE_OK) {
        return code;
    }
    struct call *call = client_call_new(cache, kind, owner);
    if (call == NULL) {
        client_fail(cache, WBCACHE_NOMEM, "%s: out of memory", what);
        return WBCACHE_NOMEM;
    }
    call->slot = slot_of(key);
    call->n_results = 1;
    if (kind == CALL_SET) {
        pack_set(call, key, value);
    } else {
        pack_key(call, key);
    }
    uint64_t now_ms = client_now_ms();
    call->deadline_ms = now_ms + cache->options.deadline_ms;
    if (client_call_begin(cache, call, now_ms) != WBCACHE_OK) {
        client_call_free(cache, call);
        client_fail(cache, WBCACHE_NOMEM, "%s: out of memory", what);
        return WBCACHE_NOMEM;
    }
    *out = call;
    return WBCACHE_OK;
}

/* A blocking call on one key. On OK or NOT_FOUND *@out is the call, to be freed by the caller; else NULL. */
static int run_one(struct wbcache *cache, const char *what, enum call_kind kind, struct bytes key,
    struct bytes value, struct call **out)
{
    client_enter(cache);
    *out = NULL;
    struct call *call;
    int code = begin_one(cache, what, kind, CALL_OF_BLOCKING, key, value, &call);
    if (code != WBCACHE_OK) {
        return code;
    }
    client_run_blocking(cache);
    code = client_outcome(cache, what, call);
    if (code == WBCACHE_OK) {
        *out = call;
    } else {
        client_call_free(cache, call);
    }
    return code;
}

int wbcache_set(struct wbcache *cache, const void *key, size_t key_len, const void *value, size_t value_len,
    uint64_t *version)
{
    struct call *call;
    int code = run_one(cache, "set", CALL_SET, bytes_of(key, key_len), bytes_of(value, value_len), &call);
    if (code == WBCACHE_OK) {
        if (version != NULL) {
            *version = call->response->results[0]->version;
        }
        client_call_free(cache, call);
    }
    return code;
}

static int copy_value(struct wbcache *cache, const Wbrpc__Result *result, void **value, size_t *value_len)
{
    char *copy = malloc(result->value.len + 1);
    if (copy == NULL) {
        return client_fail(cache, WBCACHE_NOMEM, "get: out of memory");
    }
    if (result->value.len > 0) {
        memcpy(copy, result->value.data, result->value.len);
    }
    copy[result->value.len] = '\0';
    *value = copy;
    *value_len = result->value.len;
    return WBCACHE_OK;
}

int wbcache_get(struct wbcache *cache, const void *key, size_t key_len, void **value, size_t *value_len,
    uint64_t *version)
{
    struct call *call;
    if (value == NULL || value_len == NULL) {
        client_enter(cache);
        return client_fail(cache, WBCACHE_INVALID, "get: no place for the value is given");
    }
    int code = run_one(cache, "get", CALL_GET, bytes_of(key, key_len), bytes_of(NULL, 0), &call);
    if (code != WBCACHE_OK) {
        return code;
    }
    const Wbrpc__Result *result = call->response->results[0];
    code = result->found ? copy_value(cache, result, value, value_len) : WBCACHE_NOT_FOUND;
    if (code == WBCACHE_OK && version != NULL) {
        *version = result->version;
    }
    client_call_free(cache, call);
    return code;
}

static int run_found(
    struct wbcache *cache, const char *what, enum call_kind kind, struct bytes key, bool *found)
{
    struct call *call;
    int code = run_one(cache, what, kind, key, bytes_of(NULL, 0), &call);
    if (code == WBCACHE_OK) {
        if (found != NULL) {
            *found = call->response->results[0]->found;
        }
        client_call_free(cache, call);
    }
    return code;
}

int wbcache_del(struct wbcache *cache, const void *key, size_t key_len, bool *existed)
{
    return run_found(cache, "del", CALL_DEL, bytes_of(key, key_len), existed);
}

int wbcache_exists(struct wbcache *cache, const void *key, size_t key_len, bool *exists)
{
    return run_found(cache, "exists", CALL_EXISTS, bytes_of(key, key_len), exists);
}

int wbcache_locate(struct wbcache *cache, const void *key, size_t key_len, unsigned *slot, unsigned *group)
{
    client_enter(cache);
    int code = check_key(cache, "locate", key, key_len);
    if (code == WBCACHE_OK) {
        code = client_need_topology(cache, client_now_ms() + cache->options.deadline_ms);
    }
    if (code == WBCACHE_OK) {
        uint16_t found = slot_of(bytes_of(key, key_len));
        *slot = found;
        *group = cluster_map_group(&cache->map, found);
    }
    return code;
}

/* ---- Pipelined ---- */

static int send_one(struct wbcache *cache, const char *what, enum call_kind kind, struct bytes key,
    struct bytes value, void *tag)
{
    client_enter(cache);
    if (cache->pipelined >= cache->options.pipeline_max) {
        return client_fail(
            cache, WBCACHE_AGAIN, "%s: %zu calls are under way; receive first", what, cache->pipelined);
    }
    bool first = list_empty(&cache->waiting);
    struct call *call;
    int code = begin_one(cache, what, kind, CALL_PIPELINED, key, value, &call);
    if (code != WBCACHE_OK) {
        return code;
    }
    call->tag = tag;
    cache->pipelined++;
    if (!first) {
        return WBCACHE_OK; /* behind those that wait; the next turn looks at them all */
    }
    uint64_t now_ms = client_now_ms();
    client_calls_dispatch(cache, now_ms);
    struct client_conn *conn = call->state == CALL_ON_CONN ? call->conn : NULL;
    if (conn != NULL && conn->out.len - conn->out_sent >= CLIENT_SEND_BYTES) {
        client_conn_flush(cache, conn, now_ms);
    }
    return WBCACHE_OK;
}

int wbcache_send_set(
    struct wbcache *cache, const void *key, size_t key_len, const void *value, size_t value_len, void *tag)
{
    return send_one(cache, "send_set", CALL_SET, bytes_of(key, key_len), bytes_of(value, value_len), tag);
}

int wbcache_send_get(struct wbcache *cache, const void *key, size_t key_len, void *tag)
{
    return send_one(cache, "send_get", CALL_GET, bytes_of(key, key_len), bytes_of(NULL, 0), tag);
}

int wbcache_send_del(struct wbcache *cache, const void *key, size_t key_len, void *tag)
{
    return send_one(cache, "send_del", CALL_DEL, bytes_of(key, key_len), bytes_of(NULL, 0), tag);
}

static void show_reply(struct wbcache *cache, struct call *call, struct wbcache_reply *reply)
{
    *reply = (struct wbcache_reply){.tag = call->tag, .code = client_outcome(cache, "receive", call)};
    cache->shown = call;
    cache->pipelined--;
    if (call->code != WBCACHE_OK) {
        return;
    }
    const Wbrpc__Result *result = call->response->results[0];
    reply->found = result->found;
    reply->version = result->version;
    if (call->kind != CALL_GET) {
        return;
    }
    if (result->found) {
        reply->value = result->value.len > 0 ? (const void *)result->value.data : "";
        reply->value_len = result->value.len;
    } else {
        reply->code = WBCACHE_NOT_FOUND;
    }
}

int wbcache_receive(struct wbcache *cache, struct wbcache_reply *reply, unsigned wait_ms)
{
    client_enter(cache);
    uint64_t now_ms = client_now_ms();
    uint64_t until_ms = now_ms + wait_ms;
    while (list_empty(&cache->done) && cache->pipelined > 0) {
        client_turn(cache, until_ms - now_ms);
        now_ms = client_now_ms();
        if (now_ms >= until_ms) {
            break;
        }
    }
    struct list *node = list_pop_front(&cache->done);
    if (node == NULL) {
        return WBCACHE_AGAIN;
    }
    show_reply(cache, list_entry(node, struct call, link), reply);
    return WBCACHE_OK;
}

size_t wbcache_pending(const struct wbcache *cache)
{
    return cache->pipelined;
}
