/* What the tests of operations share: one evaluation as the row of a table. */
#ifndef WB_NODE_OPERATION_TEST_HELP_H
#define WB_NODE_OPERATION_TEST_HELP_H

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/operation.h"

enum { NOW_MS = 10000, OTHER_TYPE = 9 };
#define LAST_MS OPERATION_EXPIRES_AT_MAX_MS

#define TEXT(literal)                                                                                        \
    {                                                                                                        \
        .data = (const uint8_t *)(literal), .len = sizeof(literal) - 1                                       \
    }

struct row {
    struct operation op;
    struct {
        const char *value; /* NULL: not there */
        uint8_t type;
        bool unapplied; /* its version is not known */
        uint64_t version, expires_at_ms;
    } now;
    enum status status;
    struct {
        int kind; /* EFFECT_... */
        const char *value;
        uint64_t expires_at_ms;
    } effect;
    struct operation_result result; /* but for `value`: */
    const char *old;
};

static inline bool same_text(const struct value *v, const char *text)
{
    return v == NULL || text == NULL ? v == NULL && text == NULL
                                     : bytes_equal(value_bytes(v), bytes_from_text(text));
}

static inline bool same_result(const struct operation_result *a, const struct operation_result *b)
{
    return a->found == b->found && a->written == b->written && a->has_number == b->has_number &&
           a->has_length == b->has_length && a->type == b->type && a->length == b->length &&
           a->number == b->number && a->version == b->version && a->expires_at_ms == b->expires_at_ms;
}

static inline void print_outcome(
    enum status status, const struct operation_effect *effect, const struct operation_result *result)
{
    print_error("got %s, effect %d '%.*s' type %u expires %" PRIu64 "; found %d number %d %" PRId64
                " length %d %u version %" PRIu64 " expires %" PRIu64 " value '%.*s'\n",
        status_name((int)status), (int)effect->kind, effect->value != NULL ? (int)effect->value->len : 0,
        effect->value != NULL ? (const char *)effect->value->data : "", effect->type, effect->expires_at_ms,
        result->found, result->has_number, result->number, result->has_length, result->length,
        result->version, result->expires_at_ms, result->value != NULL ? (int)result->value->len : 0,
        result->value != NULL ? (const char *)result->value->data : "");
}

static inline void check_row(const struct row *row, size_t at)
{
    struct value *value = row->now.value != NULL ? value_create(bytes_from_text(row->now.value)) : NULL;
    const struct operation_current now = {.value = value,
        .type = row->now.type,
        .version_known = !row->now.unapplied,
        .version = row->now.version,
        .expires_at_ms = row->now.expires_at_ms};
    struct operation_effect effect;
    struct operation_result result = {0};
    enum status status = operation_evaluate(&row->op, &now, NOW_MS, &effect, &result);
    uint8_t type = (int)effect.kind == EFFECT_WRITE && row->op.kind == OPERATION_EXPIRE ? row->now.type : 0;
    if (status != row->status || (int)effect.kind != row->effect.kind ||
        !same_text(effect.value, row->effect.value) || effect.type != type ||
        effect.expires_at_ms != row->effect.expires_at_ms || !same_result(&result, &row->result) ||
        !same_text(result.value, row->old)) {
        print_outcome(status, &effect, &result);
        fail_msg("row %zu", at);
    }
    if (effect.value != NULL) {
        assert_true(effect.value->len <= operation_bytes_max(&row->op, &now));
    }
    if (value != NULL) { /* references were taken, and none that nobody told of */
        assert_int_equal(value->refs, 1 + (effect.value == value) + (result.value == value));
    }
    value_unref(effect.value);
    operation_result_clear(&result);
    value_unref(value);
}

#define check_rows(rows)                                                                                     \
    for (size_t row_at = 0; row_at < sizeof(rows) / sizeof *(rows); row_at++)                                \
    check_row(&(rows)[row_at], row_at)

#endif
