/* Operations: what is asked to be done to a key becomes the key's full new value, or a delete, or nothing.
 *
 * Happy path: operation_evaluate drops a key that is due, then one function per kind looks at the condition,
 * makes the value, and fills the effect. Failure modes: a condition or a value that does not fit; then
 * tell_present says what is there, and there is no effect. */
#include "node/operation.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/limits.h"

/* "-9223372036854775808" */
enum { NUMBER_BYTES_MAX = 20 };

/* One evaluation. */
struct evaluation {
    const struct operation *op;
    const struct operation_current *now; /* not there when it is due */
    uint64_t stamp_ms;
    struct operation_effect *effect;
    struct operation_result *result;
};

void operation_result_clear(struct operation_result *result)
{
    value_unref(result->value);
    *result = (struct operation_result){0};
}

bool operation_needs_current(const struct operation *op)
{
    return op->kind != OPERATION_SET || op->condition != CONDITION_NONE || op->return_old || op->keep_expiry;
}

size_t operation_bytes_max(const struct operation *op, const struct operation_current *now)
{
    size_t present = now->value != NULL ? now->value->len : 0;
    switch (op->kind) {
    case OPERATION_SET:
        return op->value.len;
    case OPERATION_DEL:
        return 0;
    case OPERATION_INCR:
        return NUMBER_BYTES_MAX;
    case OPERATION_APPEND:
        return present + op->value.len;
    case OPERATION_EXPIRE:
        return present;
    }
    CHECK(!"a kind of operation");
    return 0;
}

/* ---- Numbers ---- */

/* One spelling for each number: so a sum that is read and written again never changes its bytes. */
static bool parse_number(struct bytes text, int64_t *out)
{
    const uint8_t *at = text.data, *end = text.data + text.len;
    if (text.len == 0 || text.len > NUMBER_BYTES_MAX) {
        return false;
    }
    if (text.len == 1 && *at == '0') {
        *out = 0;
        return true;
    }
    bool negative = *at == '-';
    at += negative;
    if (at == end || *at == '0') {
        return false;
    }
    const uint64_t magnitude_max = (uint64_t)INT64_MAX + negative;
    uint64_t magnitude = 0;
    for (; at < end; at++) {
        unsigned digit = (unsigned)*at - '0'; /* what is below '0' becomes huge */
        if (digit > 9 || magnitude > (magnitude_max - digit) / 10) {
            return false;
        }
        magnitude = magnitude * 10 + digit;
    }
    /* -magnitude, where INT64_MIN has no positive counterpart; magnitude is not 0 here */
    *out = negative ? -(int64_t)(magnitude - 1) - 1 : (int64_t)magnitude;
    return true;
}

static struct value *number_value(int64_t number)
{
    char text[NUMBER_BYTES_MAX + 1];
    int len = snprintf(text, sizeof text, "%" PRId64, number);
    return value_create(bytes_of(text, (size_t)len));
}

/* ---- Expiry ---- */

/* The time that @e's operation gives. At least 1, as 0 says never; never beyond what the database's type for
 * times and its readers can show. */
static uint64_t expiry_asked_ms(const struct evaluation *e)
{
    uint64_t at_ms = e->op->expire_ms;
    if (e->op->expire_relative) {
        at_ms = at_ms > UINT64_MAX - e->stamp_ms ? UINT64_MAX : e->stamp_ms + at_ms;
    }
    if (at_ms > OPERATION_EXPIRES_AT_MAX_MS) {
        return OPERATION_EXPIRES_AT_MAX_MS;
    }
    return at_ms > 0 ? at_ms : 1;
}

static bool is_due(uint64_t expires_at_ms, uint64_t stamp_ms)
{
    return expires_at_ms != 0 && expires_at_ms <= stamp_ms;
}

static bool expire_condition_holds(enum operation_expire_if only_if, uint64_t old_ms, uint64_t new_ms)
{
    uint64_t before = old_ms != 0 ? old_ms : UINT64_MAX; /* never is later than any time */
    uint64_t after = new_ms != 0 ? new_ms : UINT64_MAX;
    switch (only_if) {
    case EXPIRE_ALWAYS:
        return true;
    case EXPIRE_HAS_NONE:
        return old_ms == 0;
    case EXPIRE_HAS_ONE:
        return old_ms != 0;
    case EXPIRE_LATER:
        return after > before;
    case EXPIRE_EARLIER:
        return after < before;
    }
    CHECK(!"a condition of an expiry");
    return false;
}

/* ---- What evaluations share ---- */

/* The answer where nothing is written: what is there. */
static void tell_present(const struct evaluation *e)
{
    const struct operation_current *now = e->now;
    e->result->found = now->value != NULL;
    if (now->value == NULL) {
        return;
    }
    e->result->version = now->version_known ? now->version : 0;
    if (e->op->kind == OPERATION_EXPIRE) {
        e->result->expires_at_ms = now->expires_at_ms;
    }
    if (e->op->return_old && now->type == VALUE_STRING) {
        e->result->value = value_ref(now->value);
    }
}

static enum status fail(const struct evaluation *e, enum status status)
{
    tell_present(e);
    return status;
}

static void keep_old(const struct evaluation *e)
{
    if (e->op->return_old && e->now->value != NULL) {
        e->result->value = value_ref(e->now->value);
    }
}

static void will_delete(const struct evaluation *e)
{
    e->effect->kind = EFFECT_DELETE;
}

/* Takes over the reference to @value. */
static void will_write(const struct evaluation *e, struct value *value, uint8_t type, uint64_t expires_at_ms)
{
    *e->effect = (struct operation_effect){
        .kind = EFFECT_WRITE, .value = value, .type = type, .expires_at_ms = expires_at_ms};
}

/* OK: the condition of a set or a del holds, and the value before can be told if it is asked for. Else the
 * answer is filled. */
static enum status look_at_condition(const struct evaluation *e)
{
    const struct operation_current *now = e->now;
    bool holds = false;
    if (e->op->return_old && now->value != NULL && now->type != VALUE_STRING) {
        return fail(e, STATUS_WRONG_TYPE);
    }
    switch (e->op->condition) {
    case CONDITION_NONE:
        holds = true;
        break;
    case CONDITION_ABSENT:
        holds = now->value == NULL;
        break;
    case CONDITION_PRESENT:
        holds = now->value != NULL;
        break;
    case CONDITION_VERSION:
        if (now->value == NULL || e->op->if_version == 0) {
            holds = now->value == NULL && e->op->if_version == 0;
        } else if (!now->version_known) {
            return STATUS_AGAIN;
        } else {
            holds = now->version == e->op->if_version;
        }
        break;
    }
    return holds ? STATUS_OK : fail(e, STATUS_CONDITION_FAILED);
}

/* ---- The operations ---- */

static enum status evaluate_set(const struct evaluation *e)
{
    enum status status = look_at_condition(e);
    if (status != STATUS_OK) {
        return status;
    }
    uint64_t expires_at_ms = 0;
    if (e->op->expires) {
        expires_at_ms = expiry_asked_ms(e);
    } else if (e->op->keep_expiry) {
        expires_at_ms = e->now->value != NULL ? e->now->expires_at_ms : 0;
    }
    keep_old(e);
    e->result->found = true;
    /* Due at once: deleted also where nothing is there, as a set that did not look cannot know. */
    if (is_due(expires_at_ms, e->stamp_ms)) {
        will_delete(e);
    } else {
        will_write(e, value_create(e->op->value), VALUE_STRING, expires_at_ms);
    }
    return STATUS_OK;
}

static enum status evaluate_del(const struct evaluation *e)
{
    enum status status = look_at_condition(e);
    if (status != STATUS_OK) {
        return status;
    }
    if (e->now->value != NULL) {
        e->result->found = true;
        keep_old(e);
        will_delete(e);
    }
    return STATUS_OK;
}

static enum status evaluate_incr(const struct evaluation *e)
{
    const struct operation_current *now = e->now;
    int64_t number = 0;
    if (now->value != NULL && now->type != VALUE_STRING) {
        return fail(e, STATUS_WRONG_TYPE);
    }
    if (now->value != NULL && !parse_number(value_bytes(now->value), &number)) {
        return fail(e, STATUS_NOT_A_NUMBER);
    }
    int64_t delta = e->op->delta;
    if (delta > 0 ? number > INT64_MAX - delta : number < INT64_MIN - delta) {
        return fail(e, STATUS_OUT_OF_RANGE);
    }
    number += delta;
    e->result->found = true;
    e->result->has_number = true;
    e->result->number = number;
    will_write(e, number_value(number), VALUE_STRING, now->value != NULL ? now->expires_at_ms : 0);
    return STATUS_OK;
}

static enum status evaluate_append(const struct evaluation *e)
{
    const struct operation_current *now = e->now;
    struct bytes head = now->value != NULL ? value_bytes(now->value) : bytes_of(NULL, 0);
    struct bytes tail = e->op->value;
    if (now->value != NULL && now->type != VALUE_STRING) {
        return fail(e, STATUS_WRONG_TYPE);
    }
    if (head.len > LIMIT_VALUE_BYTES || tail.len > LIMIT_VALUE_BYTES - head.len) {
        return fail(e, STATUS_TOO_BIG);
    }
    e->result->found = true;
    e->result->has_length = true;
    e->result->type = VALUE_STRING;
    e->result->length = (uint32_t)(head.len + tail.len);
    will_write(e, value_create_joined(head, tail), VALUE_STRING, now->value != NULL ? now->expires_at_ms : 0);
    return STATUS_OK;
}

static enum status evaluate_expire(const struct evaluation *e)
{
    const struct operation_current *now = e->now;
    if (now->value == NULL) {
        return STATUS_OK; /* `found` says that there was nothing to change */
    }
    uint64_t expires_at_ms = e->op->expires ? expiry_asked_ms(e) : 0;
    if (!expire_condition_holds(e->op->only_if, now->expires_at_ms, expires_at_ms)) {
        return fail(e, STATUS_CONDITION_FAILED);
    }
    if (expires_at_ms == 0 && now->expires_at_ms == 0) {
        tell_present(e);
        return STATUS_OK;
    }
    e->result->found = true;
    e->result->expires_at_ms = expires_at_ms;
    if (is_due(expires_at_ms, e->stamp_ms)) {
        will_delete(e);
    } else {
        will_write(e, value_ref(now->value), now->type, expires_at_ms);
    }
    return STATUS_OK;
}

enum status operation_evaluate(const struct operation *op, const struct operation_current *now,
    uint64_t stamp_ms, struct operation_effect *effect, struct operation_result *result)
{
    static const struct operation_current not_there;
    bool due = now->value != NULL && is_due(now->expires_at_ms, stamp_ms);
    const struct evaluation e = {
        .op = op, .now = due ? &not_there : now, .stamp_ms = stamp_ms, .effect = effect, .result = result};
    *effect = (struct operation_effect){.kind = EFFECT_NONE};
    switch (op->kind) {
    case OPERATION_SET:
        return evaluate_set(&e);
    case OPERATION_DEL:
        return evaluate_del(&e);
    case OPERATION_INCR:
        return evaluate_incr(&e);
    case OPERATION_APPEND:
        return evaluate_append(&e);
    case OPERATION_EXPIRE:
        return evaluate_expire(&e);
    }
    CHECK(!"a kind of operation");
    return STATUS_INTERNAL;
}
