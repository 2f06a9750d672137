/* A history becomes a file of JSON lines; the format is in history.h. One object a line, in the order in
 * which the operations began. Failure modes: a number that the format does not have; the disk. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cluster-tests/history.h"
#include "proto/base/alloc.h"
#include "proto/base/buf.h"
#include "proto/base/check.h"

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static json_t *base64(struct bytes b)
{
    struct buf text;
    buf_init(&text);
    for (size_t i = 0; i < b.len; i += 3) {
        size_t n = b.len - i < 3 ? b.len - i : 3;
        uint32_t group = (uint32_t)b.data[i] << 16;
        group |= n > 1 ? (uint32_t)b.data[i + 1] << 8 : 0;
        group |= n > 2 ? b.data[i + 2] : 0;
        for (size_t digit = 0; digit < 4; digit++) {
            buf_append_u8(&text, digit <= n ? (uint8_t)base64_digits[group >> (18 - 6 * digit) & 63] : '=');
        }
    }
    CHECK(!text.failed);
    json_t *object = json_object();
    json_object_set_new(object, "base64", json_stringn((const char *)text.data, text.len));
    buf_deinit(&text);
    return object;
}

static json_t *of_bytes(struct bytes b)
{
    if (b.len == 0) {
        return json_string("");
    }
    /* jansson refuses what is not UTF-8, but takes U+0000, which many readers do not. */
    json_t *text = memchr(b.data, 0, b.len) == NULL ? json_stringn((const char *)b.data, b.len) : NULL;
    return text != NULL ? text : base64(b);
}

static void put_number(json_t *object, const char *name, uint64_t number, bool *fits)
{
    *fits = *fits && number <= INT64_MAX;
    json_object_set_new(object, name, json_integer((json_int_t)(number & INT64_MAX)));
}

static json_t *of_arg(const struct history_event *e, bool *fits)
{
    json_t *arg = json_object();
    switch (e->op) {
    case HISTORY_INCR:
        json_object_set_new(arg, "delta", json_integer(e->arg.delta));
        break;
    case HISTORY_CAS:
        json_object_set_new(arg, "if", json_string(history_condition_word(e->arg.condition)));
        if (e->arg.condition == HISTORY_IF_VERSION) {
            put_number(arg, "version", e->arg.if_version, fits);
        }
        json_object_set_new(arg, "value", of_bytes(e->arg.value));
        break;
    case HISTORY_SET:
    case HISTORY_APPEND:
        json_object_set_new(arg, "value", of_bytes(e->arg.value));
        break;
    default:
        break;
    }
    return arg;
}

/* Zero is what a condition on a version says of a key that is not there; elsewhere it says nothing. */
static bool version_is_told(const struct history_event *e)
{
    return e->result.version != 0 ||
           (e->result.outcome == HISTORY_CONDITION_FAILED && e->arg.condition == HISTORY_IF_VERSION);
}

static json_t *of_result(const struct history_event *e, bool *fits)
{
    const struct history_result *r = &e->result;
    json_t *result = json_object();
    const char *error = history_error_word(r->outcome);
    if (error != NULL) {
        json_object_set_new(result, "error", json_string(error));
    } else if (e->op == HISTORY_GET || e->op == HISTORY_GETDEL) {
        json_object_set_new(result, "value", r->found ? of_bytes(r->value) : json_null());
    } else if (e->op == HISTORY_DEL) {
        json_object_set_new(result, "found", json_boolean(r->found));
    } else if (e->op == HISTORY_INCR) {
        json_object_set_new(result, "number", json_integer(r->number));
    } else if (e->op == HISTORY_APPEND) {
        put_number(result, "length", r->length, fits);
    }
    if (version_is_told(e)) {
        put_number(result, "version", r->version, fits);
    }
    return result;
}

static json_t *of_event(const struct history_event *e, bool *fits)
{
    json_t *line = json_object();
    put_number(line, "client", e->client, fits);
    json_object_set_new(line, "op", json_string(history_op_word(e->op)));
    json_object_set_new(line, "key", of_bytes(e->key));
    json_object_set_new(line, "arg", of_arg(e, fits));
    if (e->result.outcome != HISTORY_UNKNOWN) {
        json_object_set_new(line, "result", of_result(e, fits));
    }
    put_number(line, "start_ns", e->start_ns, fits);
    if (e->result.outcome != HISTORY_UNKNOWN) {
        put_number(line, "end_ns", e->end_ns, fits);
    }
    return line;
}

static int by_start(const void *a, const void *b)
{
    const struct history_event *x = *(const struct history_event *const *)a;
    const struct history_event *y = *(const struct history_event *const *)b;
    if (x->start_ns != y->start_ns) {
        return x->start_ns < y->start_ns ? -1 : 1;
    }
    return x < y ? -1 : x > y;
}

static enum status write_event(const struct history_event *e, FILE *out)
{
    bool fits = true;
    json_t *line = of_event(e, &fits);
    enum status status = STATUS_INVALID;
    if (fits) {
        bool written = json_dumpf(line, out, JSON_COMPACT) == 0 && putc('\n', out) != EOF;
        status = written ? STATUS_OK : STATUS_IO;
    }
    json_decref(line);
    return status;
}

enum status history_write(const struct history *h, FILE *out)
{
    const struct history_event **order = xcalloc(h->n_events + 1, sizeof *order);
    size_t n = 0;
    for (size_t i = 0; i < h->n_events; i++) {
        if (history_event_live(h, i)) {
            order[n++] = &h->events[i];
        }
    }
    qsort(order, n, sizeof *order, by_start);
    enum status status = STATUS_OK;
    for (size_t i = 0; i < n && status == STATUS_OK; i++) {
        status = write_event(order[i], out);
    }
    free(order);
    return status == STATUS_OK && fflush(out) != 0 ? STATUS_IO : status;
}
