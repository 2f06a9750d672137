/* Two steps: scan() goes over bytes once and knows when a command is all there, and where its arguments lie;
 * resp_parse() then makes them out. In between the command's bytes may lie in the input for as long as it
 * takes.
 *
 *   BEGIN --+--> INLINE ------------------------------> ready
 *           +--> COUNT --> HEADER <--> BODY ----------> ready
 *
 * A command over the limit goes the same way, `skipping`: its bodies are let go as they come, its headers are
 * still checked, so that what follows it is found. */
#include "rpc/resp_parser.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"

enum stage { BEGIN, INLINE, COUNT, HEADER, BODY };

enum {
    LINE_END_BYTES = 2,
    ARG_BYTES_MIN = 6,     /* "$0\r\n\r\n" */
    SPANS_KEEP = 1024,     /* more are given back after their command */
    FAST_DIGITS_MAX = 9,   /* a number that cannot overflow, without asking */
    NUMBER_BYTES_MAX = 20, /* of 64 bits, with its sign */
};

/* ---- Its life ---- */

static void begin(struct resp_parser *p)
{
    if (p->cap > SPANS_KEEP) {
        free(p->spans);
        p->spans = p->few;
        p->cap = RESP_SPANS_FEW;
    }
    p->stage = BEGIN;
    p->ready = RESP_MORE;
    p->skipping = false;
    p->at = p->seen = 0;
    p->hidden = false;
    p->n = 0;
    p->name_len = 0;
}

void resp_parser_init(struct resp_parser *p, size_t command_bytes_max)
{
    memset(p, 0, sizeof *p);
    p->command_bytes_max = command_bytes_max;
    p->spans = p->few;
    p->cap = RESP_SPANS_FEW;
    begin(p);
}

void resp_parser_deinit(struct resp_parser *p)
{
    if (p->spans != p->few) {
        free(p->spans);
    }
    p->spans = p->few;
    p->cap = RESP_SPANS_FEW;
    p->n = 0;
}

size_t resp_parser_bytes(const struct resp_parser *p)
{
    return p->spans == p->few ? 0 : p->cap * sizeof *p->spans;
}

static void broken(struct resp_parser *p, const char *error)
{
    p->error = error;
    p->ready = RESP_BROKEN;
}

/* ---- Lines ---- */

enum found { FOUND, NOT_YET, TOO_LONG };

/* Where the line at hand ends: *@index is that of @end, from the line's beginning. A NUL hides what follows
 * it, as it does from Redis' strchr. */
static enum found find_end(struct resp_parser *p, struct bytes input, int end, size_t *index)
{
    const uint8_t *line = input.data + p->at;
    size_t there = input.len - p->at;
    size_t limit = there <= RESP_INLINE_BYTES_MAX ? there : RESP_INLINE_BYTES_MAX + 1;
    if (!p->hidden && p->seen < limit) {
        const uint8_t *from = line + p->seen;
        const uint8_t *hit = memchr(from, end, limit - p->seen);
        size_t before = hit == NULL ? limit - p->seen : (size_t)(hit - from);
        p->hidden = memchr(from, 0, before) != NULL;
        p->seen += before;
        if (hit != NULL && !p->hidden) {
            *index = p->seen;
            return FOUND;
        }
    }
    return there > RESP_INLINE_BYTES_MAX ? TOO_LONG : NOT_YET;
}

/* A decimal number as Redis takes one: no blanks, no plus, no leading zeros, and within 64 bits. */
static bool parse_number(struct bytes text, int64_t *out)
{
    bool negative = text.len > 0 && text.data[0] == '-';
    size_t i = negative ? 1 : 0;
    if (text.len == i || text.len > NUMBER_BYTES_MAX || (text.data[i] == '0' && text.len > 1)) {
        return false;
    }
    uint64_t number = 0;
    for (; i < text.len; i++) {
        unsigned digit = (unsigned)text.data[i] - '0';
        if (digit > 9 || number > (UINT64_MAX - digit) / 10) {
            return false;
        }
        number = number * 10 + digit;
    }
    if (number > (uint64_t)INT64_MAX + negative) {
        return false;
    }
    *out = negative ? (int64_t)(0 - number) : (int64_t)number;
    return true;
}

/* The lines that clients really send: one character, some digits, the line's end. Anything else is for the
 * slow way.
 */
static bool fast_number(struct resp_parser *p, struct bytes input, char first, int64_t *out)
{
    const uint8_t *line = input.data + p->at;
    size_t there = input.len - p->at;
    size_t limit =
        there < 1 + FAST_DIGITS_MAX + LINE_END_BYTES ? there : 1 + FAST_DIGITS_MAX + LINE_END_BYTES;
    if (limit < 4 || line[0] != first || line[1] < '0' || line[1] > '9') {
        return false;
    }
    int64_t number = line[1] - '0';
    size_t i = 2;
    while (i + 1 < limit && line[i] >= '0' && line[i] <= '9') {
        number = number * 10 + (line[i++] - '0');
    }
    if (i + 1 >= limit || line[i] != '\r' || (line[1] == '0' && i > 2)) {
        return false;
    }
    *out = number;
    p->at += i + LINE_END_BYTES;
    p->seen = 0;
    return true;
}

/* The line of a count or of a length is all there: *@text is what is behind its first character. */
static enum found take_line(struct resp_parser *p, struct bytes input, struct bytes *text)
{
    size_t index = 0;
    enum found found = find_end(p, input, '\r', &index);
    if (found != FOUND) {
        return found;
    }
    if (input.len - p->at < index + LINE_END_BYTES) {
        return NOT_YET; /* `seen` stays at the carriage return */
    }
    *text = index == 0 ? bytes_of(NULL, 0) : bytes_of(input.data + p->at + 1, index - 1);
    p->at += index + LINE_END_BYTES;
    p->seen = 0;
    return FOUND;
}

/* ---- Arrays ---- */

static void keep_name(struct resp_parser *p, const uint8_t *data, size_t len)
{
    size_t room = sizeof p->name - p->name_len;
    size_t n = len < room ? len : room;
    if (n > 0) {
        memcpy(p->name + p->name_len, data, n);
        p->name_len += n;
    }
}

/* Is the array at hand longer than it may be, with @more bytes to come for sure? Then it is skipped from here
 * on. */
static void check_size(struct resp_parser *p, struct bytes input, size_t more)
{
    if (p->skipping || p->at + more <= p->command_bytes_max) {
        return;
    }
    p->skipping = true;
    if (p->n > 0) {
        keep_name(p, input.data + p->spans[0].at, p->spans[0].len);
    }
}

static void scan_count(struct resp_parser *p, struct bytes input, bool *more)
{
    int64_t count;
    if (!fast_number(p, input, '*', &count)) {
        struct bytes text;
        enum found found = take_line(p, input, &text);
        if (found == NOT_YET) {
            *more = false;
            return;
        }
        if (found == TOO_LONG) {
            broken(p, "ERR Protocol error: too big mbulk count string");
            return;
        }
        if (!parse_number(text, &count) || count > RESP_ARGS_MAX) {
            broken(p, "ERR Protocol error: invalid multibulk length");
            return;
        }
    }
    if (count <= 0) {
        p->ready = RESP_EMPTY;
        return;
    }
    p->args_left = (size_t)count;
    p->stage = HEADER;
    check_size(p, input, p->args_left * ARG_BYTES_MIN);
}

static void expected_dollar(struct resp_parser *p, uint8_t got)
{
    snprintf(p->error_text, sizeof p->error_text, "ERR Protocol error: expected '$', got '%c'",
        got == '\r' || got == '\n' ? ' ' : got);
    broken(p, p->error_text);
}

static void add_span(struct resp_parser *p, size_t at, size_t len)
{
    if (p->n == p->cap) {
        size_t cap = p->cap * 2;
        if (p->spans == p->few) {
            p->spans = xmalloc(cap * sizeof *p->spans);
            memcpy(p->spans, p->few, sizeof p->few);
        } else {
            p->spans = xrealloc(p->spans, cap * sizeof *p->spans);
        }
        p->cap = cap;
    }
    p->spans[p->n++] = (struct resp_span){.at = at, .len = len};
}

static void scan_header(struct resp_parser *p, struct bytes input, bool *more)
{
    int64_t len;
    size_t line = p->at;
    if (!fast_number(p, input, '$', &len)) {
        struct bytes text;
        enum found found = take_line(p, input, &text);
        if (found == NOT_YET) {
            *more = false;
            return;
        }
        if (found == TOO_LONG) {
            broken(p, "ERR Protocol error: too big bulk count string");
            return;
        }
        if (input.data[line] != '$') {
            expected_dollar(p, input.data[line]);
            return;
        }
        if (!parse_number(text, &len) || len < 0) {
            broken(p, "ERR Protocol error: invalid bulk length");
            return;
        }
    }
    if (len > RESP_BULK_BYTES_MAX) {
        broken(p, "ERR Protocol error: invalid bulk length");
        return;
    }
    p->body_left = (size_t)len + LINE_END_BYTES;
    p->stage = BODY;
    check_size(p, input, p->body_left + (p->args_left - 1) * ARG_BYTES_MIN);
}

/* The bytes of a bulk string. Of one that is skipped, what there is goes. */
static void scan_body(struct resp_parser *p, struct bytes input, bool *more)
{
    size_t there = input.len - p->at;
    if (there < p->body_left) {
        *more = false;
        if (!p->skipping) {
            return;
        }
    }
    size_t taken = there < p->body_left ? there : p->body_left;
    if (!p->skipping) {
        add_span(p, p->at, taken - LINE_END_BYTES);
    } else if (p->n == 0 && p->body_left > LINE_END_BYTES) { /* of the first argument: all but its line end */
        size_t text_left = p->body_left - LINE_END_BYTES;
        keep_name(p, input.data + p->at, text_left < taken ? text_left : taken);
    }
    p->at += taken;
    p->body_left -= taken;
    if (p->body_left > 0) {
        return;
    }
    p->n += p->skipping ? 1 : 0;
    p->args_left--;
    p->stage = HEADER;
    if (p->args_left == 0) {
        p->ready = p->skipping ? RESP_TOO_BIG : RESP_COMMAND;
    }
}

/* ---- Inline commands ---- */

static bool is_blank(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static uint8_t escaped(uint8_t c)
{
    switch (c) {
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'b':
        return '\b';
    case 'a':
        return '\a';
    default:
        return c;
    }
}

/* A reader of a line. Words are no longer than what they are made from, so those that had to be undone share
 * one piece of memory as long as the line: a line of quotes costs no more. */
struct reader {
    const uint8_t *at, *end;
    uint8_t *spare; /* where the next such word goes; NULL: there was none so far */
    uint8_t *out;   /* the word at hand, from `spare`; NULL: it is as it came */
    size_t len;     /* of the word so far */
};

static void put(struct reader *r, uint8_t c)
{
    r->out[r->len++] = c;
}

/* What stands in double quotes, with escapes; `at` is behind the first one. False: it does not end. */
static bool read_double(struct reader *r)
{
    while (r->at < r->end && *r->at != '"') {
        size_t left = (size_t)(r->end - r->at);
        if (*r->at == '\\' && left >= 4 && r->at[1] == 'x' && hex_digit(r->at[2]) >= 0 &&
            hex_digit(r->at[3]) >= 0) {
            put(r, (uint8_t)(hex_digit(r->at[2]) * 16 + hex_digit(r->at[3])));
            r->at += 4;
        } else if (*r->at == '\\' && left >= 2) {
            put(r, escaped(r->at[1]));
            r->at += 2;
        } else {
            put(r, *r->at++);
        }
    }
    return r->at < r->end;
}

/* In single quotes only these can be escaped. */
static bool read_single(struct reader *r)
{
    while (r->at < r->end && *r->at != '\'') {
        if (*r->at == '\\' && r->end - r->at >= 2 && r->at[1] == '\'') {
            r->at++;
        }
        put(r, *r->at++);
    }
    return r->at < r->end;
}

/* One word, at whose first byte the reader is. A closing quote ends it, and something else may not follow at
 * once. */
static bool read_word(struct reader *r, struct arena *arena, struct bytes *word)
{
    const uint8_t *start = r->at;
    r->out = NULL;
    r->len = 0;
    while (r->at < r->end && *r->at != ' ' && *r->at != '\t' && *r->at != '\r' && *r->at != '\n') {
        uint8_t c = *r->at;
        if (c != '"' && c != '\'') {
            r->len++; /* still as it came */
            r->at++;
            continue;
        }
        r->out = r->spare != NULL ? r->spare : arena_alloc(arena, (size_t)(r->end - start));
        memcpy(r->out, start, r->len);
        r->at++;
        if (!(c == '"' ? read_double(r) : read_single(r)) || (++r->at < r->end && !is_blank(*r->at))) {
            return false;
        }
        r->spare = r->out + r->len;
        break;
    }
    *word = bytes_of(r->out != NULL ? r->out : start, r->len);
    return true;
}

static const uint8_t *skip_blanks(const uint8_t *at, const uint8_t *end)
{
    while (at < end && is_blank(*at)) {
        at++;
    }
    return at;
}

/* At least as many words as the line has: each begins at its beginning or behind a blank. */
static size_t words_at_most(struct bytes line)
{
    size_t n = 0;
    for (size_t i = 0; i < line.len; i++) {
        n += !is_blank(line.data[i]) && (i == 0 || is_blank(line.data[i - 1]));
    }
    return n;
}

static enum resp_parsed split(
    struct resp_parser *p, struct bytes line, struct arena *arena, struct bytes **args, uint32_t *n)
{
    size_t most = words_at_most(line);
    if (most == 0) {
        return RESP_EMPTY;
    }
    struct bytes *words = arena_alloc(arena, most * sizeof *words);
    struct reader r = {.at = line.data, .end = line.data + line.len};
    uint32_t count = 0;
    while ((r.at = skip_blanks(r.at, r.end)) < r.end) {
        CHECK(count < most);
        if (!read_word(&r, arena, &words[count++])) {
            broken(p, "ERR Protocol error: unbalanced quotes in request");
            return RESP_BROKEN;
        }
    }
    *args = words;
    *n = count;
    return RESP_COMMAND;
}

static void scan_inline(struct resp_parser *p, struct bytes input, bool *more)
{
    size_t index = 0;
    switch (find_end(p, input, '\n', &index)) {
    case FOUND:
        p->at = index + 1;
        p->ready = RESP_COMMAND;
        break;
    case NOT_YET:
        *more = false;
        break;
    case TOO_LONG:
        broken(p, "ERR Protocol error: too big inline request");
        break;
    }
}

/* ---- What others call ---- */

static void scan(struct resp_parser *p, struct bytes input)
{
    bool more = true;
    while (more && p->ready == RESP_MORE && p->at < input.len) {
        switch ((enum stage)p->stage) {
        case BEGIN:
            p->stage = input.data[0] == '*' ? COUNT : INLINE;
            break;
        case INLINE:
            scan_inline(p, input, &more);
            break;
        case COUNT:
            scan_count(p, input, &more);
            break;
        case HEADER:
            scan_header(p, input, &more);
            break;
        case BODY:
            scan_body(p, input, &more);
            break;
        }
    }
}

bool resp_parser_whole(struct resp_parser *p, struct bytes input)
{
    scan(p, input);
    return p->ready != RESP_MORE;
}

static enum resp_parsed take_inline(
    struct resp_parser *p, struct bytes input, struct arena *arena, struct bytes **args, uint32_t *n)
{
    size_t len = p->at - 1;
    if (len > 0 && input.data[len - 1] == '\r') {
        len--;
    }
    return split(p, bytes_of(input.data, len), arena, args, n);
}

static void take_array(
    struct resp_parser *p, struct bytes input, struct arena *arena, struct bytes **args, uint32_t *n)
{
    struct bytes *out = arena_alloc(arena, p->n * sizeof *out);
    for (size_t i = 0; i < p->n; i++) {
        out[i] = bytes_of(input.data + p->spans[i].at, p->spans[i].len);
    }
    *args = out;
    *n = (uint32_t)p->n;
}

static void take_name(struct resp_parser *p, struct arena *arena, struct bytes **args, uint32_t *n)
{
    struct bytes *out = arena_alloc(arena, sizeof *out + p->name_len);
    memcpy(out + 1, p->name, p->name_len);
    *out = bytes_of(out + 1, p->name_len);
    *args = out;
    *n = 1;
}

enum resp_parsed resp_parse(struct resp_parser *p, struct bytes input, struct arena *arena, size_t *consumed,
    struct bytes **args, uint32_t *n)
{
    *consumed = 0;
    if (p->ready == RESP_MORE) {
        scan(p, input);
    }
    enum resp_parsed result = p->ready;
    if (result == RESP_COMMAND && p->stage == INLINE) {
        result = take_inline(p, input, arena, args, n);
    } else if (result == RESP_COMMAND) {
        take_array(p, input, arena, args, n);
    } else if (result == RESP_TOO_BIG) {
        take_name(p, arena, args, n);
    }
    if (result == RESP_BROKEN) {
        return result;
    }
    if (result == RESP_MORE) {
        *consumed = p->skipping ? p->at : 0;
        p->at -= *consumed;
        return result;
    }
    *consumed = p->at;
    begin(p);
    return result;
}
