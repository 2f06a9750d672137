#include "cluster-tests/linear_words.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/check.h"

enum { SHOWN_BYTES_MAX = 48 };

void linear_words(struct buf *out, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    CHECK(len >= 0 && (size_t)len < sizeof text);
    buf_append(out, text, (size_t)len);
}

/* A value that only grows differs at its end, so both ends of a long one are shown. */
void linear_words_bytes(struct buf *out, struct bytes b)
{
    bool cut = b.len > SHOWN_BYTES_MAX;
    linear_words(out, "\"");
    for (size_t i = 0; i < b.len; i++) {
        if (cut && i == SHOWN_BYTES_MAX / 2) {
            i = b.len - SHOWN_BYTES_MAX / 2;
            linear_words(out, "\"...\"");
        }
        uint8_t c = b.data[i];
        if (c == '"' || c == '\\') {
            linear_words(out, "\\%c", c);
        } else if (c < ' ' || c > '~') {
            linear_words(out, "\\x%02x", c);
        } else {
            linear_words(out, "%c", c);
        }
    }
    linear_words(out, "\"");
    if (cut) {
        linear_words(out, " (%zu bytes)", b.len);
    }
}

static void asked(struct buf *out, const struct history_event *e)
{
    linear_words(out, "client %" PRIu64 ": %s", e->client, history_op_word(e->op));
    switch (e->op) {
    case HISTORY_INCR:
        linear_words(out, " by %" PRId64, e->arg.delta);
        break;
    case HISTORY_CAS:
        linear_words(out, " if %s", history_condition_word(e->arg.condition));
        if (e->arg.condition == HISTORY_IF_VERSION) {
            linear_words(out, " %" PRIu64, e->arg.if_version);
        }
        linear_words(out, " to ");
        linear_words_bytes(out, e->arg.value);
        break;
    case HISTORY_SET:
    case HISTORY_APPEND:
        linear_words(out, " ");
        linear_words_bytes(out, e->arg.value);
        break;
    default:
        break;
    }
}

static void answered(struct buf *out, const struct history_event *e)
{
    const struct history_result *r = &e->result;
    const char *error = history_error_word(r->outcome);
    linear_words(out, " -> ");
    if (error != NULL) {
        linear_words(out, "%s", error);
    } else if (e->op == HISTORY_GET || e->op == HISTORY_GETDEL) {
        if (r->found) {
            linear_words_bytes(out, r->value);
        } else {
            linear_words(out, "nothing");
        }
    } else if (e->op == HISTORY_DEL) {
        linear_words(out, r->found ? "it was there" : "it was not there");
    } else if (e->op == HISTORY_INCR) {
        linear_words(out, "%" PRId64, r->number);
    } else if (e->op == HISTORY_APPEND) {
        linear_words(out, "%" PRIu64 " bytes", r->length);
    } else {
        linear_words(out, "done");
    }
    if (r->version != 0) {
        linear_words(out, ", version %" PRIu64, r->version);
    }
}

static void time_ms(struct buf *out, uint64_t ns)
{
    linear_words(out, "%" PRIu64 ".%06" PRIu64 " ms", ns / 1000000, ns % 1000000);
}

void linear_words_op(struct buf *out, const struct history_event *e, uint64_t zero_ns)
{
    bool known = e->result.outcome != HISTORY_UNKNOWN;
    asked(out, e);
    if (known) {
        answered(out, e);
    } else {
        linear_words(out, " -> unknown");
    }
    linear_words(out, "   [");
    time_ms(out, e->start_ns - zero_ns);
    linear_words(out, " .. ");
    if (known) {
        time_ms(out, e->end_ns - zero_ns);
    }
    linear_words(out, "]");
}

void linear_words_state(struct buf *out, const struct linear_values *values, const struct linear_state *state)
{
    if (state->value == LINEAR_ABSENT) {
        linear_words(out, "nothing");
        return;
    }
    struct buf content;
    buf_init(&content);
    linear_value_bytes(values, state->value, &content);
    linear_words_bytes(out, buf_bytes(&content));
    buf_deinit(&content);
    if (state->exact) {
        linear_words(out, " (version %" PRIu64 ")", state->version);
    }
}
