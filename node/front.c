#include "node/front.h"

#include <string.h>

#include "proto/limits.h"
#include "proto/pb.h"
#include "proto/slot.h"

/* A request that names no deadline is not kept for ever. */
enum { DEADLINE_DEFAULT_MS = 60 * 1000 };

/* One request on its way through a group; lives in the rpc request's arena. */
struct passage {
    struct group_request r;
    struct front *front;
    struct rpc_request *rpc;
    uint32_t group;
};

static void answer(struct rpc_request *rpc, enum status status, const char *message)
{
    Wbrpc__Response response = WBRPC__RESPONSE__INIT;
    response.status = status;
    response.message = (char *)(uintptr_t)message;
    rpc_reply(rpc, &response);
}

/* ---- From the group back to the client ---- */

static void fill_results(const struct passage *p, Wbrpc__Response *response)
{
    struct arena *arena = &p->rpc->arena;
    Wbrpc__Result *results = arena_alloc(arena, p->r.n * sizeof *results);
    Wbrpc__Result **list = arena_alloc(arena, p->r.n * sizeof(Wbrpc__Result *));
    for (uint32_t i = 0; i < p->r.n; i++) {
        const struct group_result *from = &p->r.results[i];
        wbrpc__result__init(&results[i]);
        results[i].found = from->found;
        if (from->version != 0) {
            results[i].has_version = 1;
            results[i].version = from->version;
        }
        if (from->value != NULL) {
            results[i].has_value = 1;
            results[i].value = pb_borrow(value_bytes(from->value));
        }
        list[i] = &results[i];
    }
    response->n_results = p->r.n;
    response->results = list;
}

static void done(struct group_request *r)
{
    struct passage *p = list_entry(r, struct passage, r);
    Wbrpc__Response response = WBRPC__RESPONSE__INIT;
    response.status = r->status;
    response.message = (char *)(uintptr_t)r->message;
    response.has_group = 1;
    response.group = p->group;
    if (r->status == STATUS_OK) {
        fill_results(p, &response);
    }
    if (r->index != 0) {
        response.has_index = 1;
        response.index = r->index;
    }
    if (r->retry_after_ms != 0) {
        response.has_retry_after_ms = 1;
        response.retry_after_ms = r->retry_after_ms;
    }
    if (r->status == STATUS_NOT_LEADER) {
        response.leader = (char *)(uintptr_t)p->front->ops->leader_address(p->front->data, p->group);
    }
    /* The values are packed inside rpc_reply, which also frees the passage: keep what is needed after it. */
    uint32_t n = r->n;
    struct group_result *results = r->results;
    struct value *few[8];
    struct value **values = few;
    struct arena held;
    arena_init(&held);
    if (n > 8) {
        values = arena_alloc(&held, n * sizeof *values);
    }
    for (uint32_t i = 0; i < n; i++) {
        values[i] = results[i].value;
    }
    rpc_reply(p->rpc, &response);
    for (uint32_t i = 0; i < n; i++) {
        value_unref(values[i]);
    }
    arena_deinit(&held);
}

/* ---- From the client to the group ---- */

/* All keys within the limits and of one group; *@group gets it. */
static enum status check_keys(
    const struct front *front, const struct bytes *keys, uint32_t n, uint32_t *group)
{
    for (uint32_t i = 0; i < n; i++) {
        if (keys[i].len > LIMIT_KEY_BYTES) {
            return STATUS_TOO_BIG;
        }
        uint32_t of_key = slot_group(slot_of(keys[i]), front->group_count);
        if (i > 0 && of_key != *group) {
            return STATUS_CROSS_GROUP;
        }
        *group = of_key;
    }
    return STATUS_OK;
}

static void submit(struct front *front, struct rpc_request *rpc, enum group_op op, uint32_t n,
    struct bytes *keys, struct bytes *values, uint32_t group)
{
    struct passage *p = arena_alloc(&rpc->arena, sizeof *p);
    memset(p, 0, sizeof *p);
    p->front = front;
    p->rpc = rpc;
    p->group = group;
    p->r.op = op;
    p->r.conn_id = rpc->conn_id;
    p->r.deadline_ms =
        rpc->received_ms + (rpc->msg->has_deadline_ms ? rpc->msg->deadline_ms : DEADLINE_DEFAULT_MS);
    p->r.n = n;
    p->r.keys = keys;
    p->r.values = values;
    p->r.done = done;
    if (n > 0) {
        p->r.results = arena_alloc(&rpc->arena, n * sizeof *p->r.results);
        memset(p->r.results, 0, n * sizeof *p->r.results);
    }
    group_submit(front->ops->group(front->data, group), &p->r);
}

static void take_keys(struct front *front, struct rpc_request *rpc, enum group_op op, const Wbrpc__Keys *msg)
{
    if (msg->n_keys == 0 || msg->n_keys > LIMIT_REQUEST_KEYS) {
        answer(rpc, STATUS_INVALID, "a request names 1 to 4096 keys");
        return;
    }
    uint32_t n = (uint32_t)msg->n_keys;
    struct bytes *keys = arena_alloc(&rpc->arena, n * sizeof *keys);
    for (uint32_t i = 0; i < n; i++) {
        keys[i] = pb_bytes(msg->keys[i]);
    }
    uint32_t group = 0;
    enum status status = check_keys(front, keys, n, &group);
    if (status != STATUS_OK) {
        answer(rpc, status, NULL);
        return;
    }
    submit(front, rpc, op, n, keys, NULL, group);
}

static void take_set(struct front *front, struct rpc_request *rpc, const Wbrpc__Set *msg)
{
    if (msg->n_entries == 0 || msg->n_entries > LIMIT_REQUEST_KEYS) {
        answer(rpc, STATUS_INVALID, "a request sets 1 to 4096 keys");
        return;
    }
    uint32_t n = (uint32_t)msg->n_entries;
    struct bytes *keys = arena_alloc(&rpc->arena, 2 * n * sizeof *keys);
    struct bytes *values = keys + n;
    for (uint32_t i = 0; i < n; i++) {
        keys[i] = pb_bytes(msg->entries[i]->key);
        values[i] = pb_bytes(msg->entries[i]->value);
        if (values[i].len > LIMIT_VALUE_BYTES) {
            answer(rpc, STATUS_TOO_BIG, "a value has at most 1 MiB");
            return;
        }
    }
    uint32_t group = 0;
    enum status status = check_keys(front, keys, n, &group);
    if (status != STATUS_OK) {
        answer(rpc, status, NULL);
        return;
    }
    submit(front, rpc, GROUP_SET, n, keys, values, group);
}

static void take_flush(struct front *front, struct rpc_request *rpc, const Wbrpc__Flush *msg)
{
    if (msg->group >= front->group_count) {
        answer(rpc, STATUS_INVALID, "there is no such group");
        return;
    }
    submit(front, rpc, GROUP_FLUSH, 0, NULL, NULL, msg->group);
}

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

void front_on_request(void *data, struct rpc_request *rpc)
{
    struct front *front = data;
    const Wbrpc__Request *msg = rpc->msg;
    if (front->closing && msg->op_case != WBRPC__REQUEST__OP_STATUS &&
        msg->op_case != WBRPC__REQUEST__OP_TOPOLOGY) {
        answer(rpc, STATUS_SHUTTING_DOWN, NULL);
        return;
    }
    switch (msg->op_case) {
    case WBRPC__REQUEST__OP_GET:
        take_keys(front, rpc, GROUP_GET, msg->get);
        return;
    case WBRPC__REQUEST__OP_DEL:
        take_keys(front, rpc, GROUP_DEL, msg->del);
        return;
    case WBRPC__REQUEST__OP_EXISTS:
        take_keys(front, rpc, GROUP_EXISTS, msg->exists);
        return;
    case WBRPC__REQUEST__OP_SET:
        take_set(front, rpc, msg->set);
        return;
    case WBRPC__REQUEST__OP_FLUSH:
        take_flush(front, rpc, msg->flush);
        return;
    case WBRPC__REQUEST__OP_TOPOLOGY:
        tell_topology(front, rpc);
        return;
    case WBRPC__REQUEST__OP_STATUS:
        tell_status(front, rpc);
        return;
    default:
        answer(rpc, STATUS_INVALID, "this version does not know the request");
    }
}
