#include "cluster-tests/recorded_call.h"

static enum wbcache_op_kind kind_of(enum history_op op)
{
    switch (op) {
    case HISTORY_SET:
    case HISTORY_CAS:
        return WBCACHE_OP_SET;
    case HISTORY_DEL:
    case HISTORY_GETDEL:
        return WBCACHE_OP_DEL;
    case HISTORY_INCR:
        return WBCACHE_OP_INCR;
    case HISTORY_APPEND:
        return WBCACHE_OP_APPEND;
    case HISTORY_GET:
    case HISTORY_OPS:
        break;
    }
    return WBCACHE_OP_GET;
}

static enum wbcache_condition condition_of(enum history_condition condition)
{
    switch (condition) {
    case HISTORY_IF_ABSENT:
        return WBCACHE_IF_ABSENT;
    case HISTORY_IF_PRESENT:
        return WBCACHE_IF_PRESENT;
    case HISTORY_IF_VERSION:
        break;
    }
    return WBCACHE_IF_VERSION;
}

struct wbcache_op recorded_call_op(struct bytes key, enum history_op op, const struct history_arg *arg)
{
    struct wbcache_op out = {
        .kind = kind_of(op),
        .key = key.data,
        .key_len = key.len,
        .value = arg->value.data,
        .value_len = arg->value.len,
        .delta = arg->delta,
        .return_old = op == HISTORY_GETDEL,
    };
    if (op == HISTORY_CAS) {
        out.condition = condition_of(arg->condition);
        out.if_version = arg->if_version;
    }
    return out;
}

/* An answer that tells what the operation came to. False: it tells only that it was not done, or nothing. */
static bool take_result(enum history_op op, const struct wbcache_result *r, struct history_result *out)
{
    *out = (struct history_result){
        .outcome = HISTORY_OK,
        .found = r->found,
        .version = r->version,
        .number = r->number,
        .length = r->length,
    };
    if (r->value != NULL) {
        out->value = bytes_of(r->value, r->value_len);
    }
    bool is_incr = op == HISTORY_INCR;
    switch (r->code) {
    case WBCACHE_OK:
        return true;
    case WBCACHE_NOT_FLUSHED: /* done */
        return op != HISTORY_GET;
    case WBCACHE_NOT_FOUND:
        out->found = false;
        out->version = 0;
        return op == HISTORY_GET;
    case WBCACHE_CONDITION_FAILED:
        out->outcome = HISTORY_CONDITION_FAILED;
        out->version = r->found ? r->version : 0;
        return op == HISTORY_CAS;
    case WBCACHE_NOT_A_NUMBER:
        out->outcome = HISTORY_NOT_A_NUMBER;
        return is_incr;
    case WBCACHE_OUT_OF_RANGE:
        out->outcome = HISTORY_OUT_OF_RANGE;
        return is_incr;
    default:
        return false;
    }
}

/* Does this code say of a write that it was certainly not done, in a cluster under faults? */
static bool says_not_done(int code)
{
    switch (code) {
    case WBCACHE_NOT_LEADER:
    case WBCACHE_UNAVAILABLE:
    case WBCACHE_TIMEOUT:
    case WBCACHE_OVERLOADED:
    case WBCACHE_DATABASE_DOWN:
    case WBCACHE_SHUTTING_DOWN:
        return true;
    default:
        return false;
    }
}

enum recorded recorded_call_end(struct history *h, size_t event, enum history_op op,
    const struct wbcache_result *result, uint64_t end_ns, struct history_result *out)
{
    if (take_result(op, result, out)) {
        history_end(h, event, out, end_ns);
        return RECORDED_RESULT;
    }
    if (result->code == WBCACHE_UNKNOWN && op != HISTORY_GET) {
        history_end_unknown(h, event);
        return RECORDED_UNKNOWN;
    }
    history_end_failed(h, event);
    return says_not_done(result->code) ? RECORDED_NOT_DONE : RECORDED_WRONG;
}
