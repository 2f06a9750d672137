/* libwbcache: scans, group after group. */
#include <stdlib.h>
#include <string.h>

#include "proto/pb.h"
#include "rpc/client.h"

enum { SCAN_COUNT = 1000 };

static struct call *begin_step(struct wbcache *cache, const struct wbcache_scan *scan)
{
    struct call *call = client_call_new(cache, CALL_SCAN, CALL_OF_BLOCKING);
    if (call == NULL) {
        return NULL;
    }
    Wbrpc__Scan question = WBRPC__SCAN__INIT;
    question.group = scan->group;
    question.cursor = scan->cursor;
    question.has_prefix = scan->prefix_len > 0;
    question.prefix = pb_borrow(bytes_of(scan->prefix, scan->prefix_len));
    question.has_count = 1;
    question.count = scan->count != 0 ? scan->count : SCAN_COUNT;
    if (scan->stale) {
        request_body_stale(&call->body);
    }
    request_body(&call->body, WBRPC__REQUEST__OP_SCAN, &question.base);
    call->by_group = true;
    call->group = scan->group;
    call->stale = scan->stale;
    if (scan->stale && scan->cursor != 0 && scan->node < cache->n_conns) {
        call->node = (int)scan->node; /* that gave the cursor */
    }
    call->deadline_ms = client_now_ms() + cache->options.deadline_ms;
    if (client_call_begin(cache, call, client_now_ms()) != WBCACHE_OK) {
        client_call_free(cache, call);
        return NULL;
    }
    return call;
}

/* A cursor is its node's own, and that node does not lead any more, was started anew, or is lost. */
static bool must_begin_anew(const struct call *call)
{
    bool foreign =
        call->code == WBCACHE_INVALID && strncmp(call->message, "the scan", strlen("the scan")) == 0;
    return foreign || (call->node != CLUSTER_MAP_NOBODY && call->code == WBCACHE_UNAVAILABLE);
}

static int show_keys(struct wbcache *cache, const struct call *call, struct wbcache_scan *scan)
{
    const Wbrpc__ScanReply *reply = call->response->scan;
    free(cache->scan_keys);
    cache->scan_keys = reply->n_keys == 0 ? NULL : calloc(reply->n_keys, sizeof *cache->scan_keys);
    if (cache->scan_keys == NULL && reply->n_keys > 0) {
        return client_fail(cache, WBCACHE_NOMEM, "scan: out of memory");
    }
    for (size_t i = 0; i < reply->n_keys; i++) {
        cache->scan_keys[i].key = reply->keys[i].len > 0 ? (const void *)reply->keys[i].data : "";
        cache->scan_keys[i].key_len = reply->keys[i].len;
    }
    scan->keys = cache->scan_keys;
    scan->n = reply->n_keys;
    scan->cursor = reply->cursor;
    scan->node = (unsigned)call->conn->node;
    if (reply->cursor == 0) {
        scan->group++;
        scan->done = scan->group >= cache->map.group_count;
    }
    return WBCACHE_OK;
}

int wbcache_scan(struct wbcache *cache, struct wbcache_scan *scan)
{
    client_enter(cache);
    scan->keys = NULL;
    scan->n = 0;
    if (scan->done) {
        return WBCACHE_OK;
    }
    int code = client_check_key(cache, "scan", scan->prefix, scan->prefix_len);
    if (code == WBCACHE_OK) {
        code = client_need_topology(cache, client_now_ms() + cache->options.deadline_ms);
    }
    if (code != WBCACHE_OK) {
        return code;
    }
    if (scan->group >= cache->map.group_count) {
        return client_fail(cache, WBCACHE_INVALID, "scan: zero the struct to begin");
    }
    struct call *call = begin_step(cache, scan);
    if (call == NULL) {
        return client_fail(cache, WBCACHE_NOMEM, "scan: out of memory");
    }
    client_run_blocking(cache);
    cache->shown = call;
    if (must_begin_anew(call)) {
        scan->cursor = 0; /* the group's keys are given again */
        return WBCACHE_OK;
    }
    code = client_outcome(cache, "scan", call);
    if (code == WBCACHE_OK) {
        return show_keys(cache, call, scan);
    }
    if (call->node != CLUSTER_MAP_NOBODY) {
        scan->cursor = 0; /* it does not answer: should the caller go on, then elsewhere */
    }
    return code;
}
