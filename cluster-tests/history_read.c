/* A file of JSON lines becomes a history; the format is in history.h.
 *
 * Each line is taken apart field by field. The reader is sticky: the first fault stays, and it is looked at
 * when the line is done. A field that nobody asked for is a fault, too. Failure modes: a fault is told with
 * its line, and the file is not read further. */
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <string.h>

#include "cluster-tests/history.h"
#include "proto/base/buf.h"
#include "proto/base/check.h"

/* Longer than any line that the limits of keys and values allow, with each byte escaped as six. */
enum { LINE_BYTES_MAX = 16 * 1024 * 1024 };

struct reader {
    char *why;
    size_t why_len;
    bool failed; /* *why says how */
    size_t line;
    struct buf bytes[3]; /* what base64 became: key, arg, result */
};

__attribute__((format(printf, 2, 3))) static void fault(struct reader *r, const char *format, ...)
{
    if (r->failed) {
        return;
    }
    r->failed = true;
    int used = snprintf(r->why, r->why_len, "line %zu: ", r->line);
    va_list args;
    va_start(args, format);
    if (used > 0 && (size_t)used < r->why_len) {
        vsnprintf(r->why + used, r->why_len - (size_t)used, format, args);
    }
    va_end(args);
}

/* An object of which every field must be taken. @json may be NULL or no object: a fault. */
struct fields {
    struct reader *r;
    const char *name; /* of the object, for people */
    json_t *json;
    size_t taken;
};

static struct fields fields_open(struct reader *r, const char *name, json_t *json)
{
    if (!json_is_object(json)) {
        fault(r, "%s is not an object", name);
        json = NULL;
    }
    return (struct fields){.r = r, .name = name, .json = json};
}

static json_t *take_optional(struct fields *f, const char *field)
{
    json_t *value = json_object_get(f->json, field); /* NULL for a NULL object */
    f->taken += value != NULL;
    return value;
}

static json_t *take(struct fields *f, const char *field)
{
    json_t *value = take_optional(f, field);
    if (value == NULL) {
        fault(f->r, "%s has no \"%s\"", f->name, field);
    }
    return value;
}

static void fields_close(const struct fields *f)
{
    if (f->json != NULL && f->taken != json_object_size(f->json)) {
        fault(f->r, "%s has a field that does not belong there", f->name);
    }
}

static uint64_t as_number(struct reader *r, const char *name, json_t *json)
{
    if (json != NULL && (!json_is_integer(json) || json_integer_value(json) < 0)) {
        fault(r, "\"%s\" is not an integer from 0 to 2^63-1", name);
    }
    return (uint64_t)json_integer_value(json);
}

static int64_t as_signed(struct reader *r, const char *name, json_t *json)
{
    if (json != NULL && !json_is_integer(json)) {
        fault(r, "\"%s\" is not an integer of 64 bits", name);
    }
    return json_integer_value(json);
}

static const char *as_word(struct reader *r, const char *name, json_t *json)
{
    if (json != NULL && !json_is_string(json)) {
        fault(r, "\"%s\" is not a string", name);
    }
    return json_is_string(json) ? json_string_value(json) : "";
}

/* 0 to 63, or -1. */
static int base64_digit(uint8_t c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static void decode_base64(struct reader *r, struct bytes text, struct buf *out)
{
    buf_clear(out);
    bool ok = text.len % 4 == 0;
    for (size_t i = 0; ok && i < text.len; i += 4) {
        uint32_t group = 0;
        size_t digits = 0;
        for (; digits < 4 && text.data[i + digits] != '='; digits++) {
            int digit = base64_digit(text.data[i + digits]);
            ok = ok && digit >= 0;
            group = group << 6 | (uint32_t)(digit & 63);
        }
        bool last = i + 4 == text.len;
        ok = ok && digits >= 2 && (digits == 4 || last) && (digits != 2 || text.data[i + 3] == '=');
        group <<= 6 * (4 - digits);
        for (size_t byte = 0; ok && byte + 1 < digits; byte++) {
            buf_append_u8(out, (uint8_t)(group >> (16 - 8 * byte)));
        }
        /* one spelling for each: the bits that are no byte's must be zero */
        ok = ok && (digits == 4 || (group & ((1U << (8 * (4 - digits))) - 1)) == 0);
    }
    if (!ok) {
        fault(r, "\"base64\" is not well formed");
    }
    CHECK(!out->failed);
}

/* Valid until @json is released, and until @out is used again. */
static struct bytes as_bytes(struct reader *r, const char *name, json_t *json, struct buf *out)
{
    if (json_is_string(json)) {
        return bytes_of(json_string_value(json), json_string_length(json));
    }
    if (json_is_object(json)) {
        struct fields f = fields_open(r, name, json);
        json_t *text = take(&f, "base64");
        fields_close(&f);
        const char *word = as_word(r, "base64", text);
        decode_base64(r, bytes_of(word, strlen(word)), out);
        return buf_bytes(out);
    }
    if (json != NULL) {
        fault(r, "\"%s\" is neither a string nor {\"base64\":...}", name);
    }
    return bytes_of(NULL, 0);
}

static enum history_op as_op(struct reader *r, json_t *json)
{
    const char *word = as_word(r, "op", json);
    for (int op = 0; op < HISTORY_OPS; op++) {
        if (strcmp(word, history_op_word((enum history_op)op)) == 0) {
            return (enum history_op)op;
        }
    }
    fault(r, "\"op\" is no known operation");
    return HISTORY_GET;
}

static enum history_condition as_condition(struct reader *r, json_t *json)
{
    const char *word = as_word(r, "if", json);
    for (int c = HISTORY_IF_ABSENT; c <= HISTORY_IF_VERSION; c++) {
        if (strcmp(word, history_condition_word((enum history_condition)c)) == 0) {
            return (enum history_condition)c;
        }
    }
    fault(r, "\"if\" is not absent, present or version");
    return HISTORY_IF_ABSENT;
}

static void read_arg(struct reader *r, json_t *json, struct history_event *e)
{
    struct fields f = fields_open(r, "\"arg\"", json);
    if (e->op == HISTORY_INCR) {
        e->arg.delta = as_signed(r, "delta", take(&f, "delta"));
    }
    if (e->op == HISTORY_CAS) {
        e->arg.condition = as_condition(r, take(&f, "if"));
        if (e->arg.condition == HISTORY_IF_VERSION) {
            e->arg.if_version = as_number(r, "version", take(&f, "version"));
        }
    }
    if (e->op == HISTORY_SET || e->op == HISTORY_APPEND || e->op == HISTORY_CAS) {
        e->arg.value = as_bytes(r, "value", take(&f, "value"), &r->bytes[1]);
    }
    fields_close(&f);
}

static void read_error(struct reader *r, json_t *json, struct history_event *e)
{
    const char *word = as_word(r, "error", json);
    for (int outcome = HISTORY_CONDITION_FAILED; outcome <= HISTORY_OUT_OF_RANGE; outcome++) {
        bool fits = e->op == (outcome == HISTORY_CONDITION_FAILED ? HISTORY_CAS : HISTORY_INCR);
        if (fits && strcmp(word, history_error_word((enum history_outcome)outcome)) == 0) {
            e->result.outcome = (enum history_outcome)outcome;
            return;
        }
    }
    fault(r, "\"error\" is none that %s can give", history_op_word(e->op));
}

static void read_answer(struct fields *f, struct history_event *e)
{
    struct history_result *result = &e->result;
    result->outcome = HISTORY_OK;
    if (e->op == HISTORY_GET || e->op == HISTORY_GETDEL) {
        json_t *value = take(f, "value");
        result->found = !json_is_null(value);
        if (result->found) {
            result->value = as_bytes(f->r, "value", value, &f->r->bytes[2]);
        }
    } else if (e->op == HISTORY_DEL) {
        json_t *found = take(f, "found");
        if (found != NULL && !json_is_boolean(found)) {
            fault(f->r, "\"found\" is not true or false");
        }
        result->found = json_is_true(found);
    } else if (e->op == HISTORY_INCR) {
        result->number = as_signed(f->r, "number", take(f, "number"));
    } else if (e->op == HISTORY_APPEND) {
        result->length = as_number(f->r, "length", take(f, "length"));
    }
}

/* A version where nothing was there or written contradicts itself, so it must not pass in silence. */
static bool version_may_be_told(const struct history_event *e)
{
    if (e->op == HISTORY_GET || e->op == HISTORY_GETDEL || e->op == HISTORY_DEL) {
        return e->result.found;
    }
    return e->result.outcome != HISTORY_CONDITION_FAILED || e->arg.condition != HISTORY_IF_PRESENT;
}

static void read_result(struct reader *r, json_t *json, struct history_event *e)
{
    struct fields f = fields_open(r, "\"result\"", json);
    json_t *error = take_optional(&f, "error");
    if (error != NULL) {
        read_error(r, error, e);
    } else {
        read_answer(&f, e);
    }
    bool must = e->result.outcome == HISTORY_CONDITION_FAILED && e->arg.condition == HISTORY_IF_VERSION;
    json_t *version = must ? take(&f, "version") : take_optional(&f, "version");
    e->result.version = as_number(r, "version", version);
    if (version != NULL && !must && e->result.version == 0) {
        fault(r, "\"version\" is 0");
    }
    if (version != NULL && !version_may_be_told(e)) {
        fault(r, "there is a \"version\" where nothing was there or written");
    }
    fields_close(&f);
}

/* Bytes of *@e borrow from @json and from @r. */
static void read_event(struct reader *r, json_t *json, struct history_event *e)
{
    struct fields f = fields_open(r, "the line", json);
    e->client = as_number(r, "client", take(&f, "client"));
    e->op = as_op(r, take(&f, "op"));
    e->key = as_bytes(r, "key", take(&f, "key"), &r->bytes[0]);
    e->start_ns = as_number(r, "start_ns", take(&f, "start_ns"));
    read_arg(r, take(&f, "arg"), e);
    json_t *result = take_optional(&f, "result");
    json_t *end = take_optional(&f, "end_ns");
    if ((result == NULL) != (end == NULL)) {
        fault(r, "there is one of \"result\" and \"end_ns\" without the other");
    } else if (result != NULL) {
        read_result(r, result, e);
        e->end_ns = as_number(r, "end_ns", end);
        if (e->end_ns < e->start_ns) {
            fault(r, "\"end_ns\" is before \"start_ns\"");
        }
    }
    fields_close(&f);
}

static enum status add_event(struct history *h, struct reader *r, const struct history_event *e)
{
    size_t handle;
    enum status status = history_begin(h, e->client, e->op, e->key, &e->arg, e->start_ns, &handle);
    if (status == STATUS_OK && e->result.outcome == HISTORY_UNKNOWN) {
        history_end_unknown(h, handle);
    } else if (status == STATUS_OK) {
        history_end(h, handle, &e->result, e->end_ns);
        status = h->bytes > h->bytes_max ? STATUS_OVERLOADED : STATUS_OK;
    }
    if (status != STATUS_OK) {
        fault(r, "the history is larger than the limit of %zu bytes", h->bytes_max);
    }
    return status;
}

static enum status read_line(struct history *h, struct reader *r, struct bytes line)
{
    json_error_t error;
    json_t *json = json_loadb((const char *)line.data, line.len, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL) {
        fault(r, "it is not a JSON object: %s", error.text);
        return STATUS_INVALID;
    }
    struct history_event event = {0};
    read_event(r, json, &event);
    enum status status = r->failed ? STATUS_INVALID : add_event(h, r, &event);
    json_decref(json);
    return status;
}

static enum status read_lines(struct history *h, struct reader *r, struct buf *line, FILE *in)
{
    for (;;) {
        int c = getc_unlocked(in);
        if (c == EOF) {
            break;
        }
        if (c != '\n') {
            if (line->len == LINE_BYTES_MAX) {
                fault(r, "it is longer than %d bytes", LINE_BYTES_MAX);
                return STATUS_INVALID;
            }
            buf_append_u8(line, (uint8_t)c);
            continue;
        }
        CHECK(!line->failed);
        enum status status = read_line(h, r, buf_bytes(line));
        if (status != STATUS_OK) {
            return status;
        }
        buf_clear(line);
        r->line++;
    }
    if (ferror(in)) {
        fault(r, "reading failed: %s", strerror(errno));
        return STATUS_IO;
    }
    if (line->len > 0) {
        fault(r, "it has no end: the file is cut");
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

enum status history_read(struct history *h, FILE *in, char *why, size_t why_len)
{
    CHECK(why_len > 0);
    why[0] = '\0';
    struct reader r = {.why = why, .why_len = why_len, .line = 1};
    struct buf line;
    buf_init(&line);
    enum status status = read_lines(h, &r, &line, in);
    buf_deinit(&line);
    for (size_t i = 0; i < sizeof r.bytes / sizeof *r.bytes; i++) {
        buf_deinit(&r.bytes[i]);
    }
    return status;
}
