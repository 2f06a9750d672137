/* libwbcache: opening and closing a handle, its messages, where a key lives. Start with wbcache.h. */
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
                   (int)WBCACHE_CLOSED == (int)STATUS_CLOSED && (int)WBCACHE_AGAIN == (int)STATUS_AGAIN &&
                   (int)WBCACHE_NOT_FLUSHED == (int)STATUS_NOT_FLUSHED &&
                   (int)WBCACHE_SESSION_EXPIRED == (int)STATUS_SESSION_EXPIRED &&
                   (int)WBCACHE_QUARANTINED == (int)STATUS_QUARANTINED,
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
    free(cache->shown_rows);
    cache->shown_rows = NULL;
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
    cache->options.no_sessions = given.no_sessions;
    client_sessions_init(cache);
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
    free(cache->scan_keys);
    free(cache);
}

void wbcache_set_deadline(struct wbcache *cache, unsigned deadline_ms)
{
    cache->options.deadline_ms = or_default(deadline_ms, CLIENT_DEADLINE_MS);
}

/* ---- What arguments may be ---- */

int client_check_key(struct wbcache *cache, const char *what, const void *key, size_t key_len)
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

int client_check_value(struct wbcache *cache, const char *what, const void *value, size_t value_len)
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

/* ---- Where a key lives ---- */

int wbcache_locate(struct wbcache *cache, const void *key, size_t key_len, unsigned *slot, unsigned *group)
{
    client_enter(cache);
    int code = client_check_key(cache, "locate", key, key_len);
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
