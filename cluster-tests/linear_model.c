/* The object that a key is: a register, a counter and a string with versions. One function per operation. */
#include "cluster-tests/linear_model.h"

#include "proto/base/check.h"

/* A write happens, under the version that it told, or one more than the last write had at least. */
static bool write_value(
    const struct linear_state *now, const struct linear_op *op, uint32_t value, struct linear_state *after)
{
    if (op->version_written != 0 && op->version_written <= now->version) {
        return false;
    }
    *after = (struct linear_state){
        .value = value,
        .exact = value == LINEAR_ABSENT || op->version_written != 0,
        .version = op->version_written != 0 ? op->version_written : now->version + 1,
    };
    return true;
}

/* The value that is there has @version (0: not told). That may tell us more about @now. */
static bool see_version(struct linear_state *now, uint64_t version)
{
    if (version == 0) {
        return true;
    }
    if (now->exact ? version != now->version : version < now->version) {
        return false;
    }
    now->exact = true;
    now->version = version;
    return true;
}

static bool step_get(const struct linear_state *now, const struct linear_op *op, struct linear_state *after)
{
    *after = *now;
    return op->saw == now->value && see_version(after, op->version_seen);
}

static bool step_del(const struct linear_state *now, const struct linear_op *op, struct linear_state *after)
{
    bool present = now->value != LINEAR_ABSENT;
    if (op->known && !op->event->result.found) {
        *after = *now;
        return !present;
    }
    return present && write_value(now, op, LINEAR_ABSENT, after);
}

static bool step_getdel(
    const struct linear_state *now, const struct linear_op *op, struct linear_state *after)
{
    if (op->known && op->saw != now->value) {
        return false;
    }
    return step_del(now, op, after);
}

static bool step_incr(struct linear_values *values, const struct linear_state *now,
    const struct linear_op *op, struct linear_state *after)
{
    enum history_outcome outcome = HISTORY_OK;
    int64_t number;
    if (!linear_value_number(values, now->value, &number)) {
        outcome = HISTORY_NOT_A_NUMBER;
    } else if (__builtin_add_overflow(number, op->event->arg.delta, &number)) {
        outcome = HISTORY_OUT_OF_RANGE;
    }
    if (op->known && op->event->result.outcome != outcome) {
        return false;
    }
    if (outcome != HISTORY_OK) {
        *after = *now;
        return op->known && see_version(after, op->version_seen);
    }
    if (op->known && op->event->result.number != number) {
        return false;
    }
    return write_value(now, op, op->known ? op->makes : linear_value_of_number(values, number), after);
}

static bool step_append(struct linear_values *values, const struct linear_state *now,
    const struct linear_op *op, struct linear_state *after)
{
    struct bytes tail = op->event->arg.value;
    if (op->known && op->event->result.length != linear_value_len(values, now->value) + tail.len) {
        return false;
    }
    if (op->version_written != 0 && op->version_written <= now->version) {
        return false; /* not worth making the value */
    }
    return write_value(now, op, linear_value_append(values, now->value, tail), after);
}

/* Does the condition hold? One on a version settles which version is there. */
static bool condition_holds(const struct linear_op *op, struct linear_state *now)
{
    bool present = now->value != LINEAR_ABSENT;
    switch (op->event->arg.condition) {
    case HISTORY_IF_ABSENT:
        return !present;
    case HISTORY_IF_PRESENT:
        return present;
    case HISTORY_IF_VERSION:
        if (!present || op->event->arg.if_version == 0) {
            return !present && op->event->arg.if_version == 0;
        }
        return see_version(now, op->event->arg.if_version);
    }
    CHECK(!"a condition");
    return false;
}

static bool step_cas(const struct linear_state *now, const struct linear_op *op, struct linear_state *after)
{
    struct linear_state seen = *now;
    if (op->known && op->event->result.outcome == HISTORY_CONDITION_FAILED) {
        bool present = now->value != LINEAR_ABSENT;
        if (op->event->arg.condition == HISTORY_IF_VERSION && (op->version_seen != 0) != present) {
            return false;
        }
        if (present && !see_version(&seen, op->version_seen)) {
            return false;
        }
        *after = seen;
        return !condition_holds(op, &seen);
    }
    return condition_holds(op, &seen) && write_value(&seen, op, op->wrote, after);
}

bool linear_step(struct linear_values *values, const struct linear_state *now, const struct linear_op *op,
    struct linear_state *after)
{
    if (op->impossible) {
        return false;
    }
    switch (op->event->op) {
    case HISTORY_GET:
        return op->known && step_get(now, op, after);
    case HISTORY_SET:
        return write_value(now, op, op->wrote, after);
    case HISTORY_DEL:
        return step_del(now, op, after);
    case HISTORY_INCR:
        return step_incr(values, now, op, after);
    case HISTORY_APPEND:
        return step_append(values, now, op, after);
    case HISTORY_CAS:
        return step_cas(now, op, after);
    case HISTORY_GETDEL:
        return step_getdel(now, op, after);
    case HISTORY_OPS:
        break;
    }
    CHECK(!"an operation");
    return false;
}

bool linear_state_covers(const struct linear_state *lenient, const struct linear_state *strict)
{
    if (lenient->value != strict->value) {
        return false;
    }
    if (lenient->value != LINEAR_ABSENT && lenient->exact) {
        return strict->exact && lenient->version == strict->version;
    }
    return lenient->version <= strict->version;
}

static void incr_values(struct linear_op *op, struct linear_values *values)
{
    const struct history_event *e = op->event;
    if (e->op != HISTORY_INCR || !op->known || e->result.outcome != HISTORY_OK) {
        return;
    }
    int64_t before;
    op->impossible = __builtin_sub_overflow(e->result.number, e->arg.delta, &before);
    op->makes = linear_value_of_number(values, e->result.number);
    if (!op->impossible && before != 0) { /* 0 may be a key that is not there */
        op->saw = linear_value_of_number(values, before);
    }
}

static void versions(struct linear_op *op)
{
    const struct history_event *e = op->event;
    if (!op->known) {
        return;
    }
    if (e->op == HISTORY_GET || e->result.outcome != HISTORY_OK) {
        op->version_seen = e->result.version;
        return;
    }
    op->version_written = e->result.version;
    if (e->op == HISTORY_CAS && e->arg.condition == HISTORY_IF_VERSION) {
        op->version_seen = e->arg.if_version;
    }
}

struct linear_op linear_op_of(const struct history_event *event, struct linear_values *values)
{
    bool known = event->result.outcome != HISTORY_UNKNOWN;
    struct linear_op op = {.event = event, .known = known, .start_ns = event->start_ns};
    op.end_ns = known ? event->end_ns : UINT64_MAX;
    if (event->op == HISTORY_SET || event->op == HISTORY_CAS) {
        op.wrote = linear_value_of(values, event->arg.value);
        bool failed = event->result.outcome == HISTORY_CONDITION_FAILED;
        op.makes = failed ? 0 : op.wrote;
    }
    if ((event->op == HISTORY_GET || event->op == HISTORY_GETDEL) && event->result.found) {
        op.saw = linear_value_of(values, event->result.value);
    }
    incr_values(&op, values);
    versions(&op);
    return op;
}
