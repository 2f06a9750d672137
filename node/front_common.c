#include "node/front_internal.h"

#include "proto/base/check.h"
#include "proto/limits.h"
#include "proto/slot.h"

/* A request that names no deadline is not kept for ever. */
enum { DEADLINE_DEFAULT_MS = 60 * 1000 };

void front_answer(struct rpc_request *rpc, enum status status, const char *message)
{
    Wbrpc__Response response = WBRPC__RESPONSE__INIT;
    response.status = status;
    response.message = (char *)(uintptr_t)message;
    rpc_reply(rpc, &response);
}

/* A cursor on the wire carries this node's tag in the bits that state_scan leaves 0; one of another group is
 * none of ours. */
enum { CURSOR_TAG_MASK = 0xffff };

static uint16_t cursor_tag(const struct front *front, uint32_t group)
{
    return (uint16_t)(front->scan_tag ^ group);
}

uint64_t front_cursor_out(const struct front *front, uint32_t group, uint64_t cursor)
{
    CHECK((cursor & CURSOR_TAG_MASK) == 0);
    return cursor == 0 ? 0 : cursor | cursor_tag(front, group);
}

bool front_cursor_in(
    struct front *front, struct rpc_request *rpc, uint32_t group, uint64_t cursor, uint64_t *out)
{
    if (cursor != 0 && (cursor & CURSOR_TAG_MASK) != cursor_tag(front, group)) {
        front_answer(rpc, STATUS_INVALID,
            "the scan was begun at another node, or before this one started: begin again");
        return false;
    }
    *out = cursor & ~(uint64_t)CURSOR_TAG_MASK;
    return true;
}

void front_fill_outcome(
    const struct front *front, const struct group_request *r, uint32_t group, Wbrpc__Response *response)
{
    response->status = r->status;
    response->message = (char *)(uintptr_t)r->message;
    response->has_group = 1;
    response->group = group;
    if (r->retry_after_ms != 0) {
        response->has_retry_after_ms = 1;
        response->retry_after_ms = r->retry_after_ms;
    }
    if (r->status == STATUS_NOT_LEADER) {
        response->leader = (char *)(uintptr_t)front->ops->leader_address(front->data, group);
    }
}

void front_begin(struct group_request *r, const struct rpc_request *rpc, enum group_op op,
    void (*request_done)(struct group_request *r))
{
    r->op = op;
    r->conn_id = rpc->conn_id;
    r->deadline_ms =
        rpc->received_ms + (rpc->msg->has_deadline_ms ? rpc->msg->deadline_ms : DEADLINE_DEFAULT_MS);
    r->done = request_done;
}

struct bytes front_key_itself(const void *items, uint32_t i)
{
    return ((const struct bytes *)items)[i];
}

bool front_keys_fit(struct front *front, struct rpc_request *rpc, front_key_at *key, const void *items,
    uint32_t n, uint32_t *group)
{
    for (uint32_t i = 0; i < n; i++) {
        struct bytes k = key(items, i);
        if (k.len > LIMIT_KEY_BYTES) {
            front_answer(rpc, STATUS_TOO_BIG, "a key has at most 1024 bytes");
            return false;
        }
        uint32_t of_key = slot_group(slot_of(k), front->group_count);
        if (i > 0 && of_key != *group) {
            front_answer(rpc, STATUS_CROSS_GROUP, NULL);
            return false;
        }
        *group = of_key;
    }
    return true;
}

bool front_count_fits(struct rpc_request *rpc, size_t n)
{
    if (n == 0 || n > LIMIT_REQUEST_KEYS) {
        front_answer(rpc, STATUS_INVALID, "a request names 1 to 4096 keys");
        return false;
    }
    return true;
}

bool front_group_fits(const struct front *front, struct rpc_request *rpc, uint32_t group)
{
    if (group >= front->group_count) {
        front_answer(rpc, STATUS_INVALID, "there is no such group");
        return false;
    }
    return true;
}
