/* Which bytes are text to PostgreSQL. Pure. */
#ifndef WB_FLUSH_UTF8_H
#define WB_FLUSH_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* How many bytes at @p, of which @left (not 0) may be looked at, are one character of UTF-8? 0: none. Neither
 * longer forms than needed, nor halves of surrogates, nor what is above U+10FFFF: PostgreSQL's
 * pg_utf8_islegal refuses them. NUL is a character here. */
static inline size_t utf8_character_bytes(const uint8_t *p, size_t left)
{
    size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3 : 4;
    if ((p[0] >= 0x80 && p[0] < 0xc2) || p[0] > 0xf4 || n > left) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    int refused = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
                  (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f);
    return refused ? 0 : n;
}

#endif
