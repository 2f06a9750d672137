#include "tools/wbbench/redis_reply.h"

#include <ctype.h>
#include <string.h>

enum {
    DEPTH_MAX = 8,
    LINE_BYTES_MAX = 64 * 1024,
    BULK_BYTES_MAX = 512 * 1024 * 1024,
};

/* The line behind the first byte. */
static enum status parse_line(struct bytes input, struct bytes *line)
{
    size_t look = input.len < LINE_BYTES_MAX ? input.len : LINE_BYTES_MAX;
    const uint8_t *end = look > 1 ? memchr(input.data + 1, '\r', look - 1) : NULL;
    if (end == NULL) {
        return look == LINE_BYTES_MAX ? STATUS_CORRUPT : STATUS_AGAIN;
    }
    size_t len = (size_t)(end - input.data) - 1;
    if (input.len < len + 3) {
        return STATUS_AGAIN;
    }
    *line = bytes_of(input.data + 1, len);
    return end[1] == '\n' ? STATUS_OK : STATUS_CORRUPT;
}

static bool parse_number(struct bytes text, int64_t *out)
{
    size_t i = text.len > 0 && (text.data[0] == '-' || text.data[0] == '+');
    bool minus = i > 0 && text.data[0] == '-';
    int64_t v = 0;
    if (i == text.len) {
        return false;
    }
    for (; i < text.len; i++) {
        int digit = text.data[i] - '0';
        if (digit < 0 || digit > 9 || __builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, minus ? -digit : digit, &v)) {
            return false;
        }
    }
    *out = v;
    return true;
}

static enum status parse(struct bytes input, struct redis_reply *out, size_t *consumed, unsigned depth);

/* @header bytes are the length's line. */
static enum status parse_bulk(struct bytes input, size_t header, struct redis_reply *out, size_t *consumed)
{
    if (out->number > BULK_BYTES_MAX) {
        return STATUS_CORRUPT;
    }
    size_t len = (size_t)out->number;
    if (input.len < header + len + 2) {
        return STATUS_AGAIN;
    }
    const uint8_t *data = input.data + header;
    if (data[len] != '\r' || data[len + 1] != '\n') {
        return STATUS_CORRUPT;
    }
    out->kind = REDIS_BULK;
    out->text = bytes_of(data, len);
    *consumed = header + len + 2;
    return STATUS_OK;
}

static enum status parse_array(
    struct bytes input, size_t header, struct redis_reply *out, size_t *consumed, unsigned depth)
{
    size_t at = header;
    if (depth == DEPTH_MAX) {
        return STATUS_CORRUPT;
    }
    for (int64_t i = 0; i < out->number; i++) {
        struct redis_reply element;
        size_t used;
        enum status s = parse(bytes_of(input.data + at, input.len - at), &element, &used, depth + 1);
        if (s != STATUS_OK) {
            return s;
        }
        at += used;
    }
    out->kind = REDIS_ARRAY;
    out->text = bytes_of(input.data + header, at - header);
    *consumed = at;
    return STATUS_OK;
}

/* A line that is a number, of what @mark says. */
static enum status parse_counted(uint8_t mark, struct bytes input, size_t header, struct redis_reply *out,
    size_t *consumed, unsigned depth)
{
    if (mark != ':' && out->number < 0) {
        if (out->number != -1) {
            return STATUS_CORRUPT;
        }
        out->kind = REDIS_NULL;
        *consumed = header;
        return STATUS_OK;
    }
    switch (mark) {
    case ':':
        out->kind = REDIS_INTEGER;
        *consumed = header;
        return STATUS_OK;
    case '$':
        return parse_bulk(input, header, out, consumed);
    default:
        return parse_array(input, header, out, consumed, depth);
    }
}

static enum status parse(struct bytes input, struct redis_reply *out, size_t *consumed, unsigned depth)
{
    struct bytes line;
    if (input.len == 0) {
        return STATUS_AGAIN;
    }
    uint8_t mark = input.data[0];
    if (strchr("+-:$*", mark) == NULL || mark == '\0') {
        return STATUS_CORRUPT;
    }
    enum status s = parse_line(input, &line);
    if (s != STATUS_OK) {
        return s;
    }
    *out = (struct redis_reply){.text = line};
    if (mark == '+' || mark == '-') {
        out->kind = mark == '+' ? REDIS_STATUS : REDIS_ERROR;
        *consumed = line.len + 3;
        return STATUS_OK;
    }
    if (!parse_number(line, &out->number)) {
        return STATUS_CORRUPT;
    }
    return parse_counted(mark, input, line.len + 3, out, consumed, depth);
}

enum status redis_reply_parse(struct bytes input, struct redis_reply *out, size_t *consumed)
{
    return parse(input, out, consumed, 0);
}

void redis_error_word(struct bytes text, char *out, size_t out_len)
{
    size_t n = 0;
    while (n < text.len && n + 1 < out_len && text.data[n] != ' ') {
        uint8_t c = text.data[n];
        out[n++] = c < 128 && (isalnum(c) || c == '_') ? (char)c : '?';
    }
    out[n] = '\0';
}

bool redis_reply_is_synced(const struct redis_reply *reply)
{
    if (reply->kind != REDIS_ARRAY || reply->number != 2) {
        return false;
    }
    struct bytes rest = reply->text;
    for (int i = 0; i < 2; i++) {
        struct redis_reply n;
        size_t used;
        if (redis_reply_parse(rest, &n, &used) != STATUS_OK || n.kind != REDIS_INTEGER || n.number < 1) {
            return false;
        }
        rest = bytes_of(rest.data + used, rest.len - used);
    }
    return true;
}
