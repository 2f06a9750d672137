/* Patterns with * ? [...] and \. What a pattern means is exactly what Redis makes of it, its corners
 * included: a class that is not closed ends with the pattern, a \ at the end stands for itself, no pattern
 * but the empty one matches the empty text (so callers answer "*" themselves, as Redis does), and the bounds
 * of a range are signed.
 *
 * Every part of a pattern but * takes exactly one byte. So when a part fails, it is enough to let the last *
 * take one byte more: an earlier one could only leave less of the text to match. No recursion, and at most
 * text.len tries. */
#include "node/redis/glob.h"

static bool in_range(uint8_t low, uint8_t high, uint8_t byte)
{
    int8_t from = (int8_t)low, to = (int8_t)high, c = (int8_t)byte;
    return from <= to ? from <= c && c <= to : to <= c && c <= from;
}

/* A class, whose [ is at *at: moves behind its ]. Is @byte in it? */
static bool match_class(struct bytes pattern, size_t *at, uint8_t byte)
{
    const uint8_t *p = pattern.data;
    size_t i = *at + 1;
    bool negated = i < pattern.len && p[i] == '^', match = false;
    for (i += negated; i < pattern.len && p[i] != ']'; i++) {
        size_t left = pattern.len - i;
        if (p[i] == '\\' && left >= 2) {
            i++;
            match = match || p[i] == byte;
        } else if (left >= 3 && p[i + 1] == '-') {
            match = match || in_range(p[i], p[i + 2], byte);
            i += 2;
        } else {
            match = match || p[i] == byte;
        }
    }
    *at = i < pattern.len ? i + 1 : i;
    return match != negated;
}

/* One part of the pattern, which is not *: moves *at behind it. Does it match @byte? */
static bool match_one(struct bytes pattern, size_t *at, uint8_t byte)
{
    switch (pattern.data[*at]) {
    case '?':
        ++*at;
        return true;
    case '[':
        return match_class(pattern, at, byte);
    case '\\':
        *at += *at + 1 < pattern.len;
        return pattern.data[(*at)++] == byte;
    default:
        return pattern.data[(*at)++] == byte;
    }
}

const char redis_error_glob[] = "ERR the pattern takes too long to compare: use a simpler one";

bool redis_glob(struct bytes pattern, struct bytes text)
{
    uint64_t steps = UINT64_MAX;
    return redis_glob_within(pattern, text, &steps);
}

/* So many bytes more were compared. False: that was too much. */
static bool pay(uint64_t *steps, size_t bytes)
{
    *steps -= *steps < bytes ? *steps : bytes;
    return *steps > 0;
}

bool redis_glob_within(struct bytes pattern, struct bytes text, uint64_t *steps)
{
    size_t p = 0, t = 0;
    bool star = false;
    size_t star_p = 0, star_t = 0; /* behind the last *, and where in the text what follows it is tried */
    while (t < text.len) {
        if (p < pattern.len && pattern.data[p] == '*') {
            star = true;
            star_p = ++p;
            star_t = t;
            if (p == pattern.len) {
                return true;
            }
            continue;
        }
        size_t before = p;
        bool matches = p < pattern.len && match_one(pattern, &p, text.data[t]);
        if (!pay(steps, 1 + p - before)) {
            return false;
        }
        if (matches) {
            t++;
        } else if (star) {
            p = star_p;
            t = ++star_t;
        } else {
            return false;
        }
    }
    while (text.len > 0 && p < pattern.len && pattern.data[p] == '*') {
        p++;
    }
    return p == pattern.len;
}
