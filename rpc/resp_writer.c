#include "rpc/resp_writer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { NUMBER_BYTES = 24, ERROR_BYTES = 1024 };

/* ---- Pieces ---- */

/* @number in decimal, put before @end. Returns where it begins. */
static char *digits_before(char *end, int64_t number)
{
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    do {
        *--end = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (number < 0) {
        *--end = '-';
    }
    return end;
}

/* A type's character, a number, and the line's end: one append for all of it. */
static void header(struct resp_writer *w, char type, int64_t number)
{
    char line[NUMBER_BYTES + 3];
    char *end = line + sizeof line;
    *--end = '\n';
    *--end = '\r';
    char *begin = digits_before(end, number);
    *--begin = type;
    buf_append(w->out, begin, (size_t)(line + sizeof line - begin));
}

static void raw(struct resp_writer *w, const char *text)
{
    buf_append(w->out, text, strlen(text));
}

/* "-" and @len bytes of @text. A line end would end the reply: a blank stands for it. */
static void error_line(struct resp_writer *w, const char *text, size_t len)
{
    while (len > 0 && (text[len - 1] == '\r' || text[len - 1] == '\n')) {
        len--;
    }
    uint8_t *at = buf_reserve(w->out, len + 3);
    if (at == NULL) {
        return;
    }
    *at++ = '-';
    for (size_t i = 0; i < len; i++) {
        *at++ = (uint8_t)(text[i] == '\r' || text[i] == '\n' ? ' ' : text[i]);
    }
    *at++ = '\r';
    *at = '\n';
    w->out->len += len + 3;
}

/* ---- Replies ---- */

void resp_simple(struct resp_writer *w, const char *text)
{
    size_t len = strlen(text);
    uint8_t *at = buf_reserve(w->out, len + 3);
    if (at == NULL) {
        return;
    }
    *at = '+';
    memcpy(at + 1, text, len);
    memcpy(at + 1 + len, "\r\n", 2);
    w->out->len += len + 3;
}

void resp_error(struct resp_writer *w, const char *text)
{
    error_line(w, text, strlen(text));
}

void resp_error_of(struct resp_writer *w, const char *format, ...)
{
    char text[ERROR_BYTES + 1];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    error_line(w, text, strlen(text));
}

void resp_integer(struct resp_writer *w, int64_t number)
{
    header(w, ':', number);
}

static void string(struct resp_writer *w, char type, const char *mark, struct bytes bytes)
{
    size_t mark_len = strlen(mark);
    buf_reserve(w->out, NUMBER_BYTES + 3 + mark_len + bytes.len + 2); /* once, instead of at each piece */
    header(w, type, (int64_t)(mark_len + bytes.len));
    buf_append(w->out, mark, mark_len);
    buf_append(w->out, bytes.data, bytes.len);
    buf_append(w->out, "\r\n", 2);
}

void resp_bulk(struct resp_writer *w, struct bytes bytes)
{
    string(w, '$', "", bytes);
}

void resp_text(struct resp_writer *w, const char *text)
{
    resp_bulk(w, bytes_of(text, strlen(text)));
}

void resp_number_text(struct resp_writer *w, int64_t number)
{
    char text[NUMBER_BYTES];
    char *end = text + sizeof text;
    char *begin = digits_before(end, number);
    resp_bulk(w, bytes_of(begin, (size_t)(end - begin)));
}

void resp_null(struct resp_writer *w)
{
    raw(w, w->protocol >= 3 ? "_\r\n" : "$-1\r\n");
}

void resp_null_array(struct resp_writer *w)
{
    raw(w, w->protocol >= 3 ? "_\r\n" : "*-1\r\n");
}

void resp_array(struct resp_writer *w, size_t n)
{
    header(w, '*', (int64_t)n);
}

void resp_map(struct resp_writer *w, size_t n)
{
    if (w->protocol >= 3) {
        header(w, '%', (int64_t)n);
    } else {
        header(w, '*', 2 * (int64_t)n);
    }
}

void resp_set(struct resp_writer *w, size_t n)
{
    header(w, w->protocol >= 3 ? '~' : '*', (int64_t)n);
}

void resp_bool(struct resp_writer *w, bool value)
{
    if (w->protocol >= 3) {
        raw(w, value ? "#t\r\n" : "#f\r\n");
    } else {
        header(w, ':', value ? 1 : 0);
    }
}

void resp_verbatim(struct resp_writer *w, struct bytes text)
{
    if (w->protocol >= 3) {
        string(w, '=', "txt:", text);
    } else {
        resp_bulk(w, text);
    }
}
