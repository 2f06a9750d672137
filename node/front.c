#include "node/front_internal.h"

#include <string.h>

#include "node/front_admin.h"
#include "proto/limits.h"
#include "proto/pb.h"

enum passage_kind {
    PASSAGE_GET,
    PASSAGE_EXISTS,
    PASSAGE_INSPECT,
    PASSAGE_UPDATE,
    PASSAGE_EXPIRE,
    PASSAGE_SCAN,
    PASSAGE_WAIT,
    PASSAGE_SESSION,
};

/* One request on its way through a group; lives in the rpc request's arena. */
struct passage {
    struct group_request r;
    enum passage_kind kind;
    struct front *front;
    struct rpc_request *rpc;
    uint32_t group;
};

/* ---- From the group back to the client ---- */

static void fill_result(const struct passage *p, const struct operation_result *from, Wbrpc__Result *to)
{
    wbrpc__result__init(to);
    to->found = from->found;
    if (from->version != 0) {
        to->has_version = 1;
        to->version = from->version;
    }
    if (from->value != NULL) {
        to->has_value = 1;
        to->value = pb_borrow(value_bytes(from->value));
    }
    if (from->has_number) {
        to->has_number = 1;
        to->number = from->number;
    }
    if (from->has_length && p->kind != PASSAGE_EXISTS) {
        to->has_type = 1;
        to->type = from->type;
        to->has_length = 1;
        to->length = from->length;
    }
    if (from->expires_at_ms != 0 && (p->kind == PASSAGE_INSPECT || p->kind == PASSAGE_EXPIRE)) {
        to->has_expires_at_ms = 1;
        to->expires_at_ms = from->expires_at_ms;
    }
    if (from->expires_at_ms != 0 && p->kind == PASSAGE_INSPECT) {
        to->has_ttl_ms = 1;
        to->ttl_ms = from->expires_at_ms > p->r.stamp_ms ? from->expires_at_ms - p->r.stamp_ms : 0;
    }
}

static void fill_results(const struct passage *p, Wbrpc__Response *response)
{
    struct arena *arena = &p->rpc->arena;
    Wbrpc__Result *results = arena_alloc(arena, p->r.n * sizeof *results);
    Wbrpc__Result **list = arena_alloc(arena, p->r.n * sizeof(Wbrpc__Result *));
    for (uint32_t i = 0; i < p->r.n; i++) {
        fill_result(p, &p->r.results[i], &results[i]);
        list[i] = &results[i];
    }
    response->n_results = p->r.n;
    response->results = list;
}

/* The keys are borrowed from the scan's buffer. */
static void fill_scan(const struct passage *p, Wbrpc__ScanReply *reply)
{
    const struct group_scan *scan = p->r.scan;
    ProtobufCBinaryData *keys = arena_alloc(&p->rpc->arena, scan->n * sizeof *keys);
    size_t at = 0;
    for (uint32_t i = 0; i < scan->n; i++) {
        uint32_t len = load_le32(scan->keys.data + at);
        keys[i] = pb_borrow(bytes_of(scan->keys.data + at + 4, len));
        at += 4 + len;
    }
    reply->keys = keys;
    reply->n_keys = scan->n;
    reply->cursor = front_cursor_out(p->front, p->group, scan->cursor);
}

static bool has_results(enum status status)
{
    return status == STATUS_OK || status == STATUS_NOT_FLUSHED || status == STATUS_QUARANTINED ||
           status == STATUS_CONDITION_FAILED;
}

static void fill_response(const struct passage *p, Wbrpc__Response *response, Wbrpc__ScanReply *scan)
{
    const struct group_request *r = &p->r;
    front_fill_outcome(p->front, r, p->group, response);
    if (has_results(r->status)) {
        fill_results(p, response);
    }
    if (r->status == STATUS_OK && r->op == GROUP_OPEN_SESSION) {
        response->has_session = 1;
        response->session = r->index;
    } else if (r->index != 0) {
        response->has_index = 1;
        response->index = r->index;
    }
    if (r->status == STATUS_OK && r->op == GROUP_SCAN) {
        fill_scan(p, scan);
        response->scan = scan;
    }
    if (r->status == STATUS_OK && r->stale) {
        response->has_age_ms = 1;
        response->age_ms = r->age_ms;
    }
}

static void done(struct group_request *r)
{
    struct passage *p = list_entry(r, struct passage, r);
    Wbrpc__Response response = WBRPC__RESPONSE__INIT;
    Wbrpc__ScanReply scan = WBRPC__SCAN_REPLY__INIT;
    fill_response(p, &response, &scan);
    /* The values are packed inside rpc_reply, which also frees the passage: keep what is needed after it. */
    uint32_t n = r->n;
    struct value *few[8];
    struct value **values = few;
    struct buf scanned;
    struct arena held;
    arena_init(&held);
    buf_init(&scanned);
    if (n > 8) {
        values = arena_alloc(&held, n * sizeof *values);
    }
    for (uint32_t i = 0; i < n; i++) {
        values[i] = r->results[i].value;
    }
    if (r->scan != NULL) {
        buf_move(&scanned, &r->scan->keys);
    }
    rpc_reply(p->rpc, &response);
    for (uint32_t i = 0; i < n; i++) {
        value_unref(values[i]);
    }
    buf_deinit(&scanned);
    arena_deinit(&held);
}

/* ---- From the client to the group ---- */

static struct passage *passage_create(
    struct front *front, struct rpc_request *rpc, enum passage_kind kind, enum group_op op, uint32_t n)
{
    struct passage *p = arena_alloc(&rpc->arena, sizeof *p);
    memset(p, 0, sizeof *p);
    p->front = front;
    p->rpc = rpc;
    p->kind = kind;
    front_begin(&p->r, rpc, op, done);
    p->r.n = n;
    if (n > 0) {
        p->r.results = arena_alloc(&rpc->arena, n * sizeof *p->r.results);
        memset(p->r.results, 0, n * sizeof *p->r.results);
    }
    return p;
}

static void submit(struct passage *p, uint32_t group)
{
    p->group = group;
    group_submit(p->front->ops->group(p->front->data, group), &p->r);
}

static struct bytes key_of_operation(const void *items, uint32_t i)
{
    return ((const struct operation *)items)[i].key;
}

static void take_read(
    struct front *front, struct rpc_request *rpc, enum passage_kind kind, const Wbrpc__Keys *msg)
{
    uint32_t group = 0;
    if (!front_count_fits(rpc, msg->n_keys)) {
        return;
    }
    uint32_t n = (uint32_t)msg->n_keys;
    struct bytes *keys = arena_alloc(&rpc->arena, n * sizeof *keys);
    for (uint32_t i = 0; i < n; i++) {
        keys[i] = pb_bytes(msg->keys[i]);
    }
    if (!front_keys_fit(front, rpc, front_key_itself, keys, n, &group)) {
        return;
    }
    struct passage *p = passage_create(front, rpc, kind, GROUP_READ, n);
    p->r.stale = rpc->msg->stale;
    p->r.inspect = kind != PASSAGE_GET;
    p->r.keys = keys;
    submit(p, group);
}

static void take_scan(struct front *front, struct rpc_request *rpc, const Wbrpc__Scan *msg)
{
    if (!front_group_fits(front, rpc, msg->group)) {
        return;
    }
    uint64_t cursor;
    if (!front_cursor_in(front, rpc, msg->group, msg->cursor, &cursor)) {
        return;
    }
    struct passage *p = passage_create(front, rpc, PASSAGE_SCAN, GROUP_SCAN, 0);
    p->r.stale = rpc->msg->stale;
    p->r.scan = arena_alloc(&rpc->arena, sizeof *p->r.scan);
    *p->r.scan = (struct group_scan){.cursor = cursor,
        .prefix = msg->has_prefix ? pb_bytes(msg->prefix) : bytes_of(NULL, 0),
        .looks = msg->count < 1                  ? 1
                 : msg->count > LIMIT_SCAN_LOOKS ? LIMIT_SCAN_LOOKS
                                                 : msg->count};
    buf_init(&p->r.scan->keys);
    submit(p, msg->group);
}

static void take_wait(struct front *front, struct rpc_request *rpc, uint32_t group, uint64_t index)
{
    if (!front_group_fits(front, rpc, group)) {
        return;
    }
    struct passage *p = passage_create(front, rpc, PASSAGE_WAIT, GROUP_WAIT, 0);
    p->r.wait_index = index;
    submit(p, group);
}

static void take_open_session(struct front *front, struct rpc_request *rpc, uint32_t group)
{
    if (front_group_fits(front, rpc, group)) {
        submit(passage_create(front, rpc, PASSAGE_SESSION, GROUP_OPEN_SESSION, 0), group);
    }
}

/* ---- Updates ---- */

/* What is common to all operations of a request, as its message says it. False: answered. */
static bool condition_fits(struct rpc_request *rpc, Wbrpc__Condition condition, bool has_version)
{
    if (condition > WBRPC__CONDITION__VERSION) {
        front_answer(rpc, STATUS_INVALID, "there is no such condition; this node may be older");
        return false;
    }
    if ((condition == WBRPC__CONDITION__VERSION) != has_version) {
        front_answer(
            rpc, STATUS_INVALID, "a version goes with the condition VERSION, and the other way round");
        return false;
    }
    return true;
}

static bool expiry_fits(struct rpc_request *rpc, bool has_after, bool has_at)
{
    if (has_after && has_at) {
        front_answer(rpc, STATUS_INVALID, "an expiry is after a time or at a time, not both");
        return false;
    }
    return true;
}

static void set_expiry(struct operation *op, bool has_after, uint64_t after_ms, bool has_at, uint64_t at_ms)
{
    op->expires = has_after || has_at;
    op->expire_relative = has_after;
    op->expire_ms = has_after ? after_ms : at_ms;
}

static void take_update(struct front *front, struct rpc_request *rpc, enum passage_kind kind,
    const struct operation *operations, uint32_t n)
{
    const Wbrpc__Request *msg = rpc->msg;
    uint32_t group = 0;
    if (!front_keys_fit(front, rpc, key_of_operation, operations, n, &group)) {
        return;
    }
    if (msg->level > WBRPC__LEVEL__FLUSHED) {
        front_answer(rpc, STATUS_INVALID, "there is no such level; this node may be older");
        return;
    }
    struct passage *p = passage_create(front, rpc, kind, GROUP_UPDATE, n);
    p->r.operations = operations;
    p->r.level = msg->level == WBRPC__LEVEL__FLUSHED ? GROUP_FLUSHED : GROUP_REPLICATED;
    if (msg->once != NULL) {
        p->r.session = msg->once->session;
        p->r.sequence = msg->once->sequence;
        p->r.first_awaited = msg->once->first_awaited;
        p->r.retry = msg->once->retry;
    }
    submit(p, group);
}

static void take_set(struct front *front, struct rpc_request *rpc, const Wbrpc__Set *msg)
{
    if (!front_count_fits(rpc, msg->n_entries) || !condition_fits(rpc, msg->condition, msg->has_version) ||
        !expiry_fits(rpc, msg->has_expire_after_ms, msg->has_expire_at_ms)) {
        return;
    }
    uint32_t n = (uint32_t)msg->n_entries;
    struct operation *ops = arena_alloc(&rpc->arena, n * sizeof *ops);
    for (uint32_t i = 0; i < n; i++) {
        ops[i] = (struct operation){.kind = OPERATION_SET,
            .key = pb_bytes(msg->entries[i]->key),
            .value = pb_bytes(msg->entries[i]->value),
            .condition = (enum operation_condition)msg->condition,
            .if_version = msg->version,
            .return_old = msg->return_old,
            .keep_expiry = msg->keep_expiry};
        set_expiry(&ops[i], msg->has_expire_after_ms, msg->expire_after_ms, msg->has_expire_at_ms,
            msg->expire_at_ms);
        if (ops[i].value.len > LIMIT_VALUE_BYTES) {
            front_answer(rpc, STATUS_TOO_BIG, "a value has at most 1 MiB");
            return;
        }
    }
    take_update(front, rpc, PASSAGE_UPDATE, ops, n);
}

static void take_del(struct front *front, struct rpc_request *rpc, const Wbrpc__Del *msg)
{
    if (!front_count_fits(rpc, msg->n_keys) || !condition_fits(rpc, msg->condition, msg->has_version)) {
        return;
    }
    if (msg->condition == WBRPC__CONDITION__ABSENT) {
        front_answer(
            rpc, STATUS_INVALID, "what is not there cannot be deleted: the condition is PRESENT or VERSION");
        return;
    }
    uint32_t n = (uint32_t)msg->n_keys;
    struct operation *ops = arena_alloc(&rpc->arena, n * sizeof *ops);
    for (uint32_t i = 0; i < n; i++) {
        ops[i] = (struct operation){.kind = OPERATION_DEL,
            .key = pb_bytes(msg->keys[i]),
            .condition = (enum operation_condition)msg->condition,
            .if_version = msg->version,
            .return_old = msg->return_old};
    }
    take_update(front, rpc, PASSAGE_UPDATE, ops, n);
}

static void take_expire(struct front *front, struct rpc_request *rpc, const Wbrpc__Expire *msg)
{
    if (!front_count_fits(rpc, msg->n_keys) || !expiry_fits(rpc, msg->has_after_ms, msg->has_at_ms)) {
        return;
    }
    if (msg->only_if > WBRPC__EXPIRE_IF__EARLIER) {
        front_answer(rpc, STATUS_INVALID, "there is no such condition; this node may be older");
        return;
    }
    uint32_t n = (uint32_t)msg->n_keys;
    struct operation *ops = arena_alloc(&rpc->arena, n * sizeof *ops);
    for (uint32_t i = 0; i < n; i++) {
        ops[i] = (struct operation){.kind = OPERATION_EXPIRE,
            .key = pb_bytes(msg->keys[i]),
            .only_if = (enum operation_expire_if)msg->only_if};
        set_expiry(&ops[i], msg->has_after_ms, msg->after_ms, msg->has_at_ms, msg->at_ms);
    }
    take_update(front, rpc, PASSAGE_EXPIRE, ops, n);
}

static void take_one(struct front *front, struct rpc_request *rpc, const struct operation *operation)
{
    struct operation *op = arena_alloc(&rpc->arena, sizeof *op);
    *op = *operation;
    if (op->value.len > LIMIT_VALUE_BYTES) {
        front_answer(rpc, STATUS_TOO_BIG, "a value has at most 1 MiB");
        return;
    }
    take_update(front, rpc, PASSAGE_UPDATE, op, 1);
}

static void take_incr(struct front *front, struct rpc_request *rpc, const Wbrpc__Incr *msg)
{
    struct operation op = {.kind = OPERATION_INCR, .key = pb_bytes(msg->key), .delta = msg->delta};
    take_one(front, rpc, &op);
}

static void take_append(struct front *front, struct rpc_request *rpc, const Wbrpc__Append *msg)
{
    struct operation op = {
        .kind = OPERATION_APPEND, .key = pb_bytes(msg->key), .value = pb_bytes(msg->value)};
    take_one(front, rpc, &op);
}

/* ---- About the cluster ---- */

static void tell_topology(struct front *front, struct rpc_request *rpc)
{
    Wbrpc__Response response = WBRPC__RESPONSE__INIT;
    Wbrpc__TopologyReply topology = WBRPC__TOPOLOGY_REPLY__INIT;
    front->ops->topology(front->data, &rpc->arena, &topology);
    response.topology = &topology;
    rpc_reply(rpc, &response);
}

static void tell_status(struct front *front, struct rpc_request *rpc)
{
    Wbrpc__Response response = WBRPC__RESPONSE__INIT;
    Wbrpc__StatusReply status = WBRPC__STATUS_REPLY__INIT;
    front->ops->status(front->data, &rpc->arena, &status);
    response.node = &status;
    rpc_reply(rpc, &response);
}

static bool is_update(Wbrpc__Request__OpCase op)
{
    return op == WBRPC__REQUEST__OP_SET || op == WBRPC__REQUEST__OP_DEL || op == WBRPC__REQUEST__OP_INCR ||
           op == WBRPC__REQUEST__OP_APPEND || op == WBRPC__REQUEST__OP_EXPIRE;
}

static void take(struct front *front, struct rpc_request *rpc, const Wbrpc__Request *msg)
{
    switch (msg->op_case) {
    case WBRPC__REQUEST__OP_GET:
        take_read(front, rpc, PASSAGE_GET, msg->get);
        return;
    case WBRPC__REQUEST__OP_EXISTS:
        take_read(front, rpc, PASSAGE_EXISTS, msg->exists);
        return;
    case WBRPC__REQUEST__OP_INSPECT:
        take_read(front, rpc, PASSAGE_INSPECT, msg->inspect);
        return;
    case WBRPC__REQUEST__OP_SET:
        take_set(front, rpc, msg->set);
        return;
    case WBRPC__REQUEST__OP_DEL:
        take_del(front, rpc, msg->del);
        return;
    case WBRPC__REQUEST__OP_INCR:
        take_incr(front, rpc, msg->incr);
        return;
    case WBRPC__REQUEST__OP_APPEND:
        take_append(front, rpc, msg->append);
        return;
    case WBRPC__REQUEST__OP_EXPIRE:
        take_expire(front, rpc, msg->expire);
        return;
    case WBRPC__REQUEST__OP_SCAN:
        take_scan(front, rpc, msg->scan);
        return;
    case WBRPC__REQUEST__OP_FLUSH:
        take_wait(front, rpc, msg->flush->group, 0);
        return;
    case WBRPC__REQUEST__OP_WAIT:
        take_wait(front, rpc, msg->wait->group, msg->wait->index);
        return;
    case WBRPC__REQUEST__OP_OPEN_SESSION:
        take_open_session(front, rpc, msg->open_session->group);
        return;
    case WBRPC__REQUEST__OP_TOPOLOGY:
        tell_topology(front, rpc);
        return;
    case WBRPC__REQUEST__OP_STATUS:
        tell_status(front, rpc);
        return;
    default:
        front_answer(rpc, STATUS_INVALID, "this version does not know the request");
    }
}

void front_on_request(void *data, struct rpc_request *rpc)
{
    struct front *front = data;
    const Wbrpc__Request *msg = rpc->msg;
    if (front->closing && msg->op_case != WBRPC__REQUEST__OP_STATUS &&
        msg->op_case != WBRPC__REQUEST__OP_TOPOLOGY) {
        front_answer(rpc, STATUS_SHUTTING_DOWN, NULL);
        return;
    }
    bool update = is_update(msg->op_case), admin = front_admin_knows(msg->op_case);
    if ((msg->once != NULL && !update) || (msg->stale && (update || admin))) {
        front_answer(rpc, STATUS_INVALID, "`once` goes with writes, `stale` with reads");
        return;
    }
    if (msg->once != NULL && (msg->once->session == 0 || msg->once->first_awaited == 0 ||
                                 msg->once->first_awaited > msg->once->sequence)) {
        front_answer(rpc, STATUS_INVALID, "a sequence begins at 1 and is not below the first awaited one");
        return;
    }
    if (admin) {
        front_admin_take(front, rpc);
    } else {
        take(front, rpc, msg);
    }
}
