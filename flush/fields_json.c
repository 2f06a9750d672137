#include "flush/fields_json.h"

#include <stdlib.h>
#include <string.h>

#include "flush/utf8.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/limits.h"

static const char digits[] = "0123456789abcdef";

static bool begins_as_bytes(struct bytes text)
{
    return text.len >= 2 && text.data[0] == '\\' && text.data[1] == 'x';
}

/* ---- To JSON ---- */

static bool is_text(struct bytes b)
{
    for (size_t i = 0; i < b.len;) {
        size_t n = utf8_character_bytes(b.data + i, b.len - i);
        if (n == 0 || b.data[i] == 0) {
            return false;
        }
        i += n;
    }
    return true;
}

static bool is_plain(uint8_t c)
{
    return c >= 0x20 && c != '"' && c != '\\';
}

static void append_escape(uint8_t c, struct buf *out)
{
    if (c >= 0x20) {
        buf_append_u8(out, '\\');
        buf_append_u8(out, c);
        return;
    }
    const char escape[] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]};
    buf_append(out, escape, sizeof escape);
}

/* Characters above ASCII stay what they are: \u is not for every encoding that a database can have. */
static void append_text(struct bytes text, struct buf *out)
{
    for (size_t i = 0; i < text.len;) {
        size_t from = i;
        while (i < text.len && is_plain(text.data[i])) {
            i++;
        }
        if (i > from) {
            buf_append(out, text.data + from, i - from);
        }
        if (i < text.len) {
            append_escape(text.data[i++], out);
        }
    }
}

static void append_hex(struct bytes b, struct buf *out)
{
    static const char beginning[] = "\\\\x"; /* as JSON spells \x */
    size_t len = sizeof beginning - 1 + 2 * b.len;
    uint8_t *to = buf_reserve(out, len);
    if (to == NULL) {
        return;
    }
    memcpy(to, beginning, sizeof beginning - 1);
    to += sizeof beginning - 1;
    for (size_t i = 0; i < b.len; i++) {
        *to++ = (uint8_t)digits[b.data[i] >> 4];
        *to++ = (uint8_t)digits[b.data[i] & 15];
    }
    out->len += len;
}

static void append_string(struct bytes b, struct buf *out)
{
    buf_append_u8(out, '"');
    if (!begins_as_bytes(b) && is_text(b)) {
        append_text(b, out);
    } else {
        append_hex(b, out);
    }
    buf_append_u8(out, '"');
}

void fields_json_append(struct bytes encoded, struct buf *out)
{
    struct field field;
    uint8_t before = '{';
    for (size_t at = 0; fields_next(encoded, &at, &field); before = ',') {
        buf_append_u8(out, before);
        append_string(field.name, out);
        buf_append_u8(out, ':');
        append_string(field.value, out);
    }
    CHECK(before == ','); /* a hash without fields is not there */
    buf_append_u8(out, '}');
}

/* ---- From texts ---- */

/* 16: none. */
static unsigned digit(uint8_t c)
{
    return c >= '0' && c <= '9'   ? (unsigned)c - '0'
           : c >= 'a' && c <= 'f' ? (unsigned)c - 'a' + 10
           : c >= 'A' && c <= 'F' ? (unsigned)c - 'A' + 10
                                  : 16;
}

/* The bytes that @text stands for: those of @text itself, or those that its digits spell, at @room, which has
 * space for half of @text. */
static struct bytes meaning(struct bytes text, uint8_t *room)
{
    if (!begins_as_bytes(text) || text.len % 2 != 0) {
        return text;
    }
    for (size_t i = 2; i < text.len; i += 2) {
        unsigned high = digit(text.data[i]), low = digit(text.data[i + 1]);
        if (high > 15 || low > 15) {
            return text;
        }
        room[i / 2 - 1] = (uint8_t)(high << 4 | low);
    }
    return bytes_of(room, text.len / 2 - 1);
}

bool fields_json_read(const struct bytes *texts, uint32_t n, struct buf *out)
{
    size_t longest = 0;
    for (size_t i = 0; i < 2 * (size_t)n; i++) {
        longest = texts[i].len > longest ? texts[i].len : longest;
    }
    uint8_t *rooms[2] = {xmalloc(longest / 2 + 1), xmalloc(longest / 2 + 1)};
    bool spelled = false; /* some name is not written as itself, so another may mean the same */
    fields_begin(out);
    for (size_t i = 0; i < n && out->len <= LIMIT_VALUE_BYTES; i++) {
        struct bytes name = meaning(texts[2 * i], rooms[0]);
        spelled |= name.data == rooms[0];
        fields_add(out, name, meaning(texts[2 * i + 1], rooms[1]));
    }
    fields_end(out, n);
    free(rooms[0]);
    free(rooms[1]);
    if (out->failed || n == 0 || out->len > LIMIT_VALUE_BYTES) {
        return false;
    }
    return !spelled || fields_valid(buf_bytes(out));
}
