/* Numbers and words of commands.
 *
 * Integers have one spelling, so that a number that is read and written again never changes its bytes. Floats
 * are long doubles, read by the C library and written with 17 digits behind the point, as Redis does it: both
 * sides of a comparison then come to the same text on the same machine. */
#include "node/redis/number.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"

/* "-9223372036854775808" */
enum { INTEGER_CHARS_MAX = 20 };

bool redis_parse_integer(struct bytes text, int64_t *out)
{
    if (text.len == 0 || text.len > INTEGER_CHARS_MAX) {
        return false;
    }
    bool negative = text.data[0] == '-';
    size_t at = negative ? 1 : 0;
    if (at == text.len || (text.data[at] == '0' && text.len > 1)) { /* "-", "-0", "007" */
        return false;
    }
    /* Counted downwards: INT64_MIN has no positive counterpart. */
    int64_t number = 0;
    for (; at < text.len; at++) {
        unsigned digit = (unsigned)text.data[at] - '0'; /* what is below '0' becomes huge */
        if (digit > 9 || number < (INT64_MIN + (int64_t)digit) / 10) {
            return false;
        }
        number = number * 10 - (int64_t)digit;
    }
    if (!negative && number == INT64_MIN) {
        return false;
    }
    *out = negative ? number : -number;
    return true;
}

bool redis_parse_float(struct bytes text, long double *out)
{
    char copy[REDIS_FLOAT_CHARS];
    if (text.len == 0 || text.len >= sizeof copy || isspace(text.data[0])) {
        return false;
    }
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    char *end;
    errno = 0;
    long double number = strtold(copy, &end);
    if (end != copy + text.len || isnan(number)) { /* a NUL within ends it too early */
        return false;
    }
    /* Too large, or so small that nothing is left; "inf" itself, and what is only less exact, are fine. */
    if (errno == ERANGE && (isinf(number) || fpclassify(number) == FP_ZERO)) {
        return false;
    }
    *out = number;
    return true;
}

size_t redis_format_float(long double number, char *out)
{
    if (!isfinite(number)) {
        return 0;
    }
    int printed = snprintf(out, REDIS_FLOAT_CHARS, "%.17Lf", number);
    CHECK(printed > 0 && printed < REDIS_FLOAT_CHARS); /* the largest has 4933 digits before the point */
    size_t len = (size_t)printed;
    while (out[len - 1] == '0') { /* there is a point: it ends here at the latest */
        len--;
    }
    if (out[len - 1] == '.') {
        len--;
    }
    if (len == 2 && out[0] == '-' && out[1] == '0') {
        out[0] = '0';
        len = 1;
    }
    out[len] = '\0';
    return len;
}

bool redis_word_is(struct bytes text, const char *word)
{
    for (size_t i = 0;; i++) {
        /* Redis compares C strings: a NUL ends the word, whatever comes after it. */
        int c = i < text.len ? tolower(text.data[i]) : '\0';
        if (c != (unsigned char)word[i]) {
            return false;
        }
        if (c == '\0') {
            return true;
        }
    }
}
