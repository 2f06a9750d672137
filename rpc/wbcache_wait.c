/* libwbcache: waiting until writes are in the database. */
#include "proto/limits.h"
#include "rpc/client.h"

/* Wait for @index to be flushed; 0: for all that the group acknowledged before. */
static struct call *begin_wait(struct wbcache *cache, uint32_t group, uint64_t index, uint64_t deadline_ms)
{
    struct call *call = client_call_new(cache, CALL_WAIT, CALL_OF_BLOCKING);
    if (call == NULL) {
        return NULL;
    }
    if (index == 0) {
        Wbrpc__Flush flush = WBRPC__FLUSH__INIT;
        flush.group = group;
        request_body(&call->body, WBRPC__REQUEST__OP_FLUSH, &flush.base);
    } else {
        Wbrpc__Wait wait = WBRPC__WAIT__INIT;
        wait.group = group;
        wait.index = index;
        request_body(&call->body, WBRPC__REQUEST__OP_WAIT, &wait.base);
    }
    call->patient = true;
    call->by_group = true;
    call->group = group;
    call->deadline_ms = deadline_ms;
    if (client_call_begin(cache, call, client_now_ms()) != WBCACHE_OK) {
        client_call_free(cache, call);
        return NULL;
    }
    return call;
}

int wbcache_flush(struct wbcache *cache)
{
    client_enter(cache);
    uint64_t deadline_ms = client_now_ms() + cache->options.deadline_ms;
    int code = client_need_topology(cache, deadline_ms);
    if (code != WBCACHE_OK) {
        return code;
    }
    struct call *calls[LIMIT_GROUPS] = {0};
    uint32_t groups = cache->map.group_count;
    for (uint32_t g = 0; g < groups; g++) {
        calls[g] = begin_wait(cache, g, 0, deadline_ms);
    }
    client_run_blocking(cache);
    for (uint32_t g = 0; g < groups; g++) {
        if (calls[g] == NULL) {
            code = code != WBCACHE_OK ? code : client_fail(cache, WBCACHE_NOMEM, "flush: out of memory");
            continue;
        }
        if (code == WBCACHE_OK) {
            code = client_outcome(cache, "flush", calls[g]);
        }
        client_call_free(cache, calls[g]);
    }
    return code;
}

int wbcache_wait(struct wbcache *cache, unsigned group, uint64_t index, uint64_t *flushed_index)
{
    client_enter(cache);
    if (flushed_index != NULL) {
        *flushed_index = 0;
    }
    uint64_t deadline_ms = client_now_ms() + cache->options.deadline_ms;
    int code = client_need_topology(cache, deadline_ms);
    if (code != WBCACHE_OK) {
        return code;
    }
    if (group >= cache->map.group_count || index == 0) {
        return client_fail(cache, WBCACHE_INVALID,
            "wait: a group is a number below %u, and an index begins at 1", cache->map.group_count);
    }
    struct call *call = begin_wait(cache, group, index, deadline_ms);
    if (call == NULL) {
        return client_fail(cache, WBCACHE_NOMEM, "wait: out of memory");
    }
    client_run_blocking(cache);
    code = client_outcome(cache, "wait", call);
    if (flushed_index != NULL && call->response != NULL) {
        *flushed_index = call->response->index;
    }
    client_call_free(cache, call);
    return code;
}
