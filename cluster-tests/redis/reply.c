#include "cluster-tests/redis/reply.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"

enum { DEPTH_MAX = 16, LINE_MAX_BYTES = 64 * 1024, NUMBER_CHARS = 20 };

/* The line behind the type, without its end. */
static enum reply_scan scan_line(struct bytes in, struct bytes *line)
{
    const uint8_t *end = in.len < 2 ? NULL : memchr(in.data + 1, '\n', in.len - 1);
    if (end == NULL) {
        return in.len > LINE_MAX_BYTES ? REPLY_GARBAGE : REPLY_PARTIAL;
    }
    if (end < in.data + 2 || end[-1] != '\r') {
        return REPLY_GARBAGE;
    }
    *line = bytes_of(in.data + 1, (size_t)(end - in.data) - 2);
    return REPLY_WHOLE;
}

static bool number_of(struct bytes text, int64_t *out)
{
    char digits[NUMBER_CHARS + 1];
    if (text.len == 0 || text.len > NUMBER_CHARS) {
        return false;
    }
    memcpy(digits, text.data, text.len);
    digits[text.len] = '\0';
    char *end;
    long long number = strtoll(digits, &end, 10);
    if (*end != '\0' || (digits[0] != '-' && (digits[0] < '0' || digits[0] > '9'))) {
        return false;
    }
    *out = number;
    return true;
}

static enum reply_scan scan(struct bytes in, unsigned depth, struct reply *out);

static enum reply_scan scan_children(struct bytes in, size_t head, unsigned depth, struct reply *r)
{
    size_t at = head;
    for (uint32_t i = 0; i < r->children; i++) {
        struct reply child;
        enum reply_scan found = scan(bytes_of(in.data + at, in.len - at), depth + 1, &child);
        if (found != REPLY_WHOLE) {
            return found;
        }
        at += child.whole.len;
    }
    r->inside = bytes_of(in.data + head, at - head);
    r->whole = bytes_of(in.data, at);
    return REPLY_WHOLE;
}

static enum reply_scan scan_bulk(struct bytes in, size_t head, size_t len, struct reply *r)
{
    if (in.len < head + len + 2) {
        return REPLY_PARTIAL;
    }
    if (memcmp(in.data + head + len, "\r\n", 2) != 0) {
        return REPLY_GARBAGE;
    }
    r->text = bytes_of(in.data + head, len);
    r->whole = bytes_of(in.data, head + len + 2);
    return REPLY_WHOLE;
}

static enum reply_scan scan(struct bytes in, unsigned depth, struct reply *out)
{
    if (in.len == 0) {
        return REPLY_PARTIAL;
    }
    if (memchr("+-:$*_,#!=(%~>", in.data[0], 14) == NULL || depth > DEPTH_MAX) {
        return REPLY_GARBAGE;
    }
    struct bytes line;
    enum reply_scan found = scan_line(in, &line);
    if (found != REPLY_WHOLE) {
        return found;
    }
    size_t head = line.len + 3;
    struct reply r = {.type = in.data[0], .whole = bytes_of(in.data, head), .text = line};
    bool bulk = memchr("$!=", r.type, 3) != NULL;
    if (!bulk && memchr("*%~>", r.type, 4) == NULL) {
        r.null = r.type == '_';
        *out = r;
        return REPLY_WHOLE;
    }
    int64_t n;
    if (!number_of(line, &n) || n < -1 || n > INT32_MAX || (n == -1 && r.type != '$' && r.type != '*')) {
        return REPLY_GARBAGE;
    }
    r.text = bytes_of(NULL, 0);
    if (n == -1) {
        r.null = true;
        *out = r;
        return REPLY_WHOLE;
    }
    r.children = bulk ? 0 : (uint32_t)n * (r.type == '%' ? 2 : 1);
    found = bulk ? scan_bulk(in, head, (size_t)n, &r) : scan_children(in, head, depth, &r);
    if (found == REPLY_WHOLE) {
        *out = r;
    }
    return found;
}

enum reply_scan reply_scan(struct bytes in, struct reply *out)
{
    return scan(in, 0, out);
}

struct reply reply_next(struct bytes *inside)
{
    struct reply r;
    CHECK(scan(*inside, 0, &r) == REPLY_WHOLE);
    inside->data += r.whole.len;
    inside->len -= r.whole.len;
    return r;
}

bool reply_is_error(const struct reply *r)
{
    return r->type == '-' || r->type == '!';
}

bool reply_is_error_of(const struct reply *r, const char *prefix)
{
    size_t len = strlen(prefix);
    return reply_is_error(r) && r->text.len >= len && memcmp(r->text.data, prefix, len) == 0;
}

bool reply_number(const struct reply *r, int64_t *out)
{
    return (r->type == ':' || r->type == '$') && !r->null && number_of(r->text, out);
}
