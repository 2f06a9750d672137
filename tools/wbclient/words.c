#include "tools/wbclient/words.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"

void words_init(struct words *w)
{
    buf_init(&w->text);
    w->items = NULL;
    w->count = 0;
}

void words_deinit(struct words *w)
{
    buf_deinit(&w->text);
    free(w->items);
    words_init(w);
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One escape; *@at stands behind the backslash. */
static const char *take_escape(struct bytes line, size_t *at, struct buf *out)
{
    static const char names[] = "nrt\\\"";
    static const char values[] = "\n\r\t\\\"";
    if (*at == line.len) {
        return "the line ends after a backslash";
    }
    uint8_t c = line.data[(*at)++];
    for (size_t i = 0; i < sizeof names - 1; i++) {
        if (c == (uint8_t)names[i]) {
            buf_append_u8(out, (uint8_t)values[i]);
            return NULL;
        }
    }
    if (c != 'x') {
        return "unknown escape: inside double quotes use \\xNN, \\n, \\r, \\t, \\\\ or \\\"";
    }
    int high = *at < line.len ? hex_digit(line.data[*at]) : -1;
    int low = *at + 1 < line.len ? hex_digit(line.data[*at + 1]) : -1;
    if (high < 0 || low < 0) {
        return "\\x wants two hexadecimal digits";
    }
    *at += 2;
    buf_append_u8(out, (uint8_t)(high << 4 | low));
    return NULL;
}

/* The part in quotes; *@at stands behind the opening one. */
static const char *take_quoted(struct bytes line, size_t *at, uint8_t quote, struct buf *out)
{
    while (*at < line.len) {
        uint8_t c = line.data[(*at)++];
        if (c == quote) {
            return NULL;
        }
        if (c == '\\' && quote == '"') {
            const char *problem = take_escape(line, at, out);
            if (problem != NULL) {
                return problem;
            }
        } else {
            buf_append_u8(out, c);
        }
    }
    return "a quote is not closed";
}

/* One word; *@at stands at its first byte. */
static const char *take_word(struct bytes line, size_t *at, struct buf *out)
{
    while (*at < line.len && !is_blank(line.data[*at])) {
        uint8_t c = line.data[(*at)++];
        if (c != '"' && c != '\'') {
            buf_append_u8(out, c);
            continue;
        }
        const char *problem = take_quoted(line, at, c, out);
        if (problem != NULL) {
            return problem;
        }
    }
    return NULL;
}

static const char *split(struct words *w, struct bytes line)
{
    size_t at = 0;
    for (;;) {
        while (at < line.len && is_blank(line.data[at])) {
            at++;
        }
        if (at == line.len || line.data[at] == '#') {
            return NULL;
        }
        if (w->count == WORDS_MAX) {
            return "too many words in one line";
        }
        size_t from = w->text.len;
        const char *problem = take_word(line, &at, &w->text);
        if (problem != NULL) {
            return problem;
        }
        /* The text may still move: only lengths are kept until it is complete. */
        w->items[w->count++] = bytes_of(NULL, w->text.len - from);
        buf_append_u8(&w->text, 0);
    }
}

const char *words_split(struct words *w, struct bytes line)
{
    w->count = 0;
    buf_clear(&w->text);
    if (w->items == NULL) {
        w->items = xcalloc(WORDS_MAX, sizeof *w->items);
    }
    const char *problem = split(w, line);
    if (problem == NULL && w->text.failed) {
        problem = "out of memory";
    }
    if (problem != NULL) {
        w->count = 0;
        return problem;
    }
    const uint8_t *p = w->text.data;
    for (size_t i = 0; i < w->count; i++) {
        w->items[i].data = p;
        p += w->items[i].len + 1;
    }
    return NULL;
}

void words_quote(struct buf *out, struct bytes b)
{
    static const char hex[] = "0123456789abcdef";
    buf_append_u8(out, '"');
    for (size_t i = 0; i < b.len; i++) {
        uint8_t c = b.data[i];
        if (c == '"' || c == '\\') {
            buf_append_u8(out, '\\');
            buf_append_u8(out, c);
        } else if (c >= 0x20 && c < 0x7f) {
            buf_append_u8(out, c);
        } else {
            buf_append(out, "\\x", 2);
            buf_append_u8(out, (uint8_t)hex[c >> 4]);
            buf_append_u8(out, (uint8_t)hex[c & 15]);
        }
    }
    buf_append_u8(out, '"');
}

bool words_harmless(struct bytes b)
{
    for (size_t i = 0; i < b.len; i++) {
        uint8_t c = b.data[i];
        bool control = (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f;
        /* Those above ASCII are two bytes in UTF-8. */
        bool high_control = c == 0xc2 && i + 1 < b.len && b.data[i + 1] >= 0x80 && b.data[i + 1] < 0xa0;
        if (control || high_control) {
            return false;
        }
    }
    return true;
}

const char *words_behind_name(const char *message, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = strstr(message, name); at != NULL; at = strstr(at + 1, name)) {
        bool begins = at == message || (at - message >= 2 && at[-2] == ':' && at[-1] == ' ');
        if (begins && at[len] == ':' && at[len + 1] == ' ' && at[len + 2] != '\0') {
            return at + len + 2;
        }
    }
    return message;
}
