/* libwbcache's public calls on one key, blocking and pipelined: an operation is packed into a call, and what
 * the call came to becomes a result. */
#include <stdlib.h>
#include <string.h>

#include "proto/pb.h"
#include "proto/slot.h"
#include "rpc/client.h"

static const char *const names[] = {
    [WBCACHE_OP_GET] = "get",
    [WBCACHE_OP_EXISTS] = "exists",
    [WBCACHE_OP_INSPECT] = "inspect",
    [WBCACHE_OP_SET] = "set",
    [WBCACHE_OP_DEL] = "del",
    [WBCACHE_OP_INCR] = "incr",
    [WBCACHE_OP_APPEND] = "append",
    [WBCACHE_OP_EXPIRE] = "expire",
};
enum { OPS = sizeof names / sizeof names[0] };

static bool is_read(enum wbcache_op_kind kind)
{
    return kind == WBCACHE_OP_GET || kind == WBCACHE_OP_EXISTS || kind == WBCACHE_OP_INSPECT;
}

/* ---- Packing ---- */

static void pack_read(struct buf *body, const struct wbcache_op *op, ProtobufCBinaryData *key)
{
    static const Wbrpc__Request__OpCase cases[] = {
        [WBCACHE_OP_GET] = WBRPC__REQUEST__OP_GET,
        [WBCACHE_OP_EXISTS] = WBRPC__REQUEST__OP_EXISTS,
        [WBCACHE_OP_INSPECT] = WBRPC__REQUEST__OP_INSPECT,
    };
    Wbrpc__Keys keys = WBRPC__KEYS__INIT;
    keys.n_keys = 1;
    keys.keys = key;
    request_body(body, cases[op->kind], &keys.base);
}

static void pack_set(struct buf *body, const struct wbcache_op *op, ProtobufCBinaryData *key)
{
    Wbrpc__KeyValue entry = WBRPC__KEY_VALUE__INIT;
    Wbrpc__KeyValue *one = &entry;
    Wbrpc__Set set = WBRPC__SET__INIT;
    entry.key = *key;
    entry.value = pb_borrow(bytes_of(op->value, op->value_len));
    set.n_entries = 1;
    set.entries = &one;
    set.has_condition = op->condition != WBCACHE_IF_ANY;
    set.condition = (Wbrpc__Condition)op->condition;
    set.has_version = op->condition == WBCACHE_IF_VERSION;
    set.version = op->if_version;
    set.has_return_old = set.return_old = op->return_old;
    set.has_keep_expiry = set.keep_expiry = op->keep_expiry;
    set.has_expire_after_ms = op->expire_after_ms != 0;
    set.expire_after_ms = op->expire_after_ms;
    set.has_expire_at_ms = op->expire_at_ms != 0;
    set.expire_at_ms = op->expire_at_ms;
    request_body(body, WBRPC__REQUEST__OP_SET, &set.base);
}

static void pack_del(struct buf *body, const struct wbcache_op *op, ProtobufCBinaryData *key)
{
    Wbrpc__Del del = WBRPC__DEL__INIT;
    del.n_keys = 1;
    del.keys = key;
    del.has_condition = op->condition != WBCACHE_IF_ANY;
    del.condition = (Wbrpc__Condition)op->condition;
    del.has_version = op->condition == WBCACHE_IF_VERSION;
    del.version = op->if_version;
    del.has_return_old = del.return_old = op->return_old;
    request_body(body, WBRPC__REQUEST__OP_DEL, &del.base);
}

static void pack_incr(struct buf *body, const struct wbcache_op *op, ProtobufCBinaryData *key)
{
    Wbrpc__Incr incr = WBRPC__INCR__INIT;
    incr.key = *key;
    incr.delta = op->delta;
    request_body(body, WBRPC__REQUEST__OP_INCR, &incr.base);
}

static void pack_append(struct buf *body, const struct wbcache_op *op, ProtobufCBinaryData *key)
{
    Wbrpc__Append append = WBRPC__APPEND__INIT;
    append.key = *key;
    append.value = pb_borrow(bytes_of(op->value, op->value_len));
    request_body(body, WBRPC__REQUEST__OP_APPEND, &append.base);
}

static void pack_expire(struct buf *body, const struct wbcache_op *op, ProtobufCBinaryData *key)
{
    Wbrpc__Expire expire = WBRPC__EXPIRE__INIT;
    expire.n_keys = 1;
    expire.keys = key;
    expire.has_after_ms = op->expire_after_ms != 0;
    expire.after_ms = op->expire_after_ms;
    expire.has_at_ms = op->expire_at_ms != 0;
    expire.at_ms = op->expire_at_ms;
    expire.has_only_if = op->expire_if != WBCACHE_EXPIRE_ALWAYS;
    expire.only_if = (Wbrpc__ExpireIf)op->expire_if;
    request_body(body, WBRPC__REQUEST__OP_EXPIRE, &expire.base);
}

static void pack(struct call *call, const struct wbcache_op *op)
{
    typedef void pack_one(struct buf * body, const struct wbcache_op *op, ProtobufCBinaryData *key);
    static pack_one *const packers[] = {
        [WBCACHE_OP_GET] = pack_read,
        [WBCACHE_OP_EXISTS] = pack_read,
        [WBCACHE_OP_INSPECT] = pack_read,
        [WBCACHE_OP_SET] = pack_set,
        [WBCACHE_OP_DEL] = pack_del,
        [WBCACHE_OP_INCR] = pack_incr,
        [WBCACHE_OP_APPEND] = pack_append,
        [WBCACHE_OP_EXPIRE] = pack_expire,
    };
    ProtobufCBinaryData key = pb_borrow(bytes_of(op->key, op->key_len));
    if (op->level == WBCACHE_FLUSHED) {
        request_body_level(&call->body, WBRPC__LEVEL__FLUSHED);
    }
    if (op->stale) {
        request_body_stale(&call->body);
    }
    packers[op->kind](&call->body, op, &key);
}

/* ---- Beginning ---- */

static int check_op(struct wbcache *cache, const char *what, const struct wbcache_op *op)
{
    if (op == NULL || (unsigned)op->kind >= OPS || (unsigned)op->condition > WBCACHE_IF_VERSION ||
        (unsigned)op->expire_if > WBCACHE_EXPIRE_IF_EARLIER || (unsigned)op->level > WBCACHE_FLUSHED) {
        return client_fail(cache, WBCACHE_INVALID, "%s: the operation is none that the library knows", what);
    }
    if (op->expire_after_ms != 0 && op->expire_at_ms != 0) {
        return client_fail(
            cache, WBCACHE_INVALID, "%s: an expiry is after a time or at a time, not both", what);
    }
    if (is_read(op->kind) ? op->level == WBCACHE_FLUSHED : op->stale) {
        return client_fail(cache, WBCACHE_INVALID, "%s: the level is for writes, stale for reads", what);
    }
    int code = client_check_key(cache, what, op->key, op->key_len);
    if (code == WBCACHE_OK && (op->kind == WBCACHE_OP_SET || op->kind == WBCACHE_OP_APPEND)) {
        code = client_check_value(cache, what, op->value, op->value_len);
    }
    return code;
}

static const char *name_of(const struct wbcache_op *op)
{
    return op != NULL && (unsigned)op->kind < OPS ? names[op->kind] : "operation";
}

/* Begin a call. *@out is set on OK only. */
static int begin(struct wbcache *cache, const struct wbcache_op *op, enum call_owner owner, struct call **out)
{
    const char *what = name_of(op);
    int code = check_op(cache, what, op);
    if (code != WBCACHE_OK) {
        return code;
    }
    struct call *call = client_call_new(cache, is_read(op->kind) ? CALL_READ : CALL_WRITE, owner);
    if (call == NULL) {
        return client_fail(cache, WBCACHE_NOMEM, "%s: out of memory", what);
    }
    call->op = op->kind;
    call->stale = op->stale;
    call->patient = op->level == WBCACHE_FLUSHED;
    call->slot = slot_of(bytes_of(op->key, op->key_len));
    call->n_results = 1;
    pack(call, op);
    uint64_t now_ms = client_now_ms();
    call->deadline_ms = now_ms + cache->options.deadline_ms;
    if (client_call_begin(cache, call, now_ms) != WBCACHE_OK) {
        client_call_free(cache, call);
        return client_fail(cache, WBCACHE_NOMEM, "%s: out of memory", what);
    }
    *out = call;
    return WBCACHE_OK;
}

/* ---- Results ---- */

static void take_value(const struct call *call, const Wbrpc__Result *from, struct wbcache_result *to)
{
    if (from->has_value || (call->op == WBCACHE_OP_GET && from->found)) {
        to->value = from->value.len > 0 ? (const void *)from->value.data : "";
        to->value_len = from->value.len;
    }
}

/* What @call came to; its bytes are @call's. */
static void take_result(struct wbcache *cache, const struct call *call, struct wbcache_result *to)
{
    *to = (struct wbcache_result){.code = client_outcome(cache, names[call->op], call)};
    const Wbrpc__Response *response = call->response;
    if (response == NULL) {
        return;
    }
    to->group = response->group;
    to->index = response->index;
    to->age_ms = response->age_ms;
    if (response->n_results != 1) {
        return;
    }
    const Wbrpc__Result *from = response->results[0];
    to->found = from->found;
    to->version = from->version;
    to->number = from->number;
    to->length = from->length;
    to->expires_at_ms = from->expires_at_ms;
    to->ttl_ms = from->ttl_ms;
    if (from->has_type) {
        to->type = from->type == 0 ? "string" : "unknown";
    }
    take_value(call, from, to);
    if (call->op == WBCACHE_OP_GET && to->code == WBCACHE_OK && !from->found) {
        to->code = WBCACHE_NOT_FOUND;
    }
}

int wbcache_do(struct wbcache *cache, const struct wbcache_op *op, struct wbcache_result *result)
{
    struct call *call;
    struct wbcache_result nobody_asks;
    result = result != NULL ? result : &nobody_asks;
    client_enter(cache);
    *result = (struct wbcache_result){0};
    result->code = begin(cache, op, CALL_OF_BLOCKING, &call);
    if (result->code == WBCACHE_OK) {
        client_run_blocking(cache);
        take_result(cache, call, result);
        cache->shown = call;
    }
    return result->code;
}

/* ---- The common ones ---- */

int wbcache_set(struct wbcache *cache, const void *key, size_t key_len, const void *value, size_t value_len,
    uint64_t *version)
{
    struct wbcache_result result;
    struct wbcache_op op = {
        .kind = WBCACHE_OP_SET, .key = key, .key_len = key_len, .value = value, .value_len = value_len};
    if (wbcache_do(cache, &op, &result) == WBCACHE_OK && version != NULL) {
        *version = result.version;
    }
    return result.code;
}

int wbcache_get(struct wbcache *cache, const void *key, size_t key_len, void **value, size_t *value_len,
    uint64_t *version)
{
    struct wbcache_result result;
    struct wbcache_op op = {.kind = WBCACHE_OP_GET, .key = key, .key_len = key_len};
    if (value == NULL || value_len == NULL) {
        client_enter(cache);
        return client_fail(cache, WBCACHE_INVALID, "get: no place for the value is given");
    }
    if (wbcache_do(cache, &op, &result) != WBCACHE_OK) {
        return result.code;
    }
    char *copy = malloc(result.value_len + 1);
    if (copy == NULL) {
        return client_fail(cache, WBCACHE_NOMEM, "get: out of memory");
    }
    memcpy(copy, result.value, result.value_len);
    copy[result.value_len] = '\0';
    *value = copy;
    *value_len = result.value_len;
    if (version != NULL) {
        *version = result.version;
    }
    return WBCACHE_OK;
}

static int run_found(
    struct wbcache *cache, enum wbcache_op_kind kind, const void *key, size_t key_len, bool *found)
{
    struct wbcache_result result;
    struct wbcache_op op = {.kind = kind, .key = key, .key_len = key_len};
    if (wbcache_do(cache, &op, &result) == WBCACHE_OK && found != NULL) {
        *found = result.found;
    }
    return result.code;
}

int wbcache_del(struct wbcache *cache, const void *key, size_t key_len, bool *existed)
{
    return run_found(cache, WBCACHE_OP_DEL, key, key_len, existed);
}

int wbcache_exists(struct wbcache *cache, const void *key, size_t key_len, bool *exists)
{
    return run_found(cache, WBCACHE_OP_EXISTS, key, key_len, exists);
}

int wbcache_incr(
    struct wbcache *cache, const void *key, size_t key_len, int64_t delta, int64_t *sum, uint64_t *version)
{
    struct wbcache_result result;
    struct wbcache_op op = {.kind = WBCACHE_OP_INCR, .key = key, .key_len = key_len, .delta = delta};
    if (wbcache_do(cache, &op, &result) == WBCACHE_OK) {
        if (sum != NULL) {
            *sum = result.number;
        }
        if (version != NULL) {
            *version = result.version;
        }
    }
    return result.code;
}

/* ---- Pipelined ---- */

int wbcache_send(struct wbcache *cache, const struct wbcache_op *op, void *tag)
{
    client_enter(cache);
    if (cache->pipelined >= cache->options.pipeline_max) {
        return client_fail(cache, WBCACHE_AGAIN, "%s: %zu calls are under way; receive first", name_of(op),
            cache->pipelined);
    }
    bool first = list_empty(&cache->waiting);
    struct call *call;
    int code = begin(cache, op, CALL_PIPELINED, &call);
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
    struct wbcache_op op = {
        .kind = WBCACHE_OP_SET, .key = key, .key_len = key_len, .value = value, .value_len = value_len};
    return wbcache_send(cache, &op, tag);
}

int wbcache_send_get(struct wbcache *cache, const void *key, size_t key_len, void *tag)
{
    struct wbcache_op op = {.kind = WBCACHE_OP_GET, .key = key, .key_len = key_len};
    return wbcache_send(cache, &op, tag);
}

int wbcache_send_del(struct wbcache *cache, const void *key, size_t key_len, void *tag)
{
    struct wbcache_op op = {.kind = WBCACHE_OP_DEL, .key = key, .key_len = key_len};
    return wbcache_send(cache, &op, tag);
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
    struct call *call = list_entry(node, struct call, link);
    cache->shown = call;
    cache->pipelined--;
    reply->tag = call->tag;
    take_result(cache, call, &reply->result);
    return WBCACHE_OK;
}

size_t wbcache_pending(const struct wbcache *cache)
{
    return cache->pipelined;
}
