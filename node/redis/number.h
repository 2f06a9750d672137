/* Numbers as Redis reads and writes them. Pure. */
#ifndef WB_NODE_REDIS_NUMBER_H
#define WB_NODE_REDIS_NUMBER_H

#include "proto/base/bytes.h"

/* A decimal number of 64 bits in its one spelling: no plus, no spaces, no leading zeros (string2ll). */
bool redis_parse_integer(struct bytes text, int64_t *out);
/* A long double as Redis' string2ld takes it: no space before it, not NaN, neither too large nor so small
 * that it would become 0; "inf" is one, and so is hexadecimal. Shorter than REDIS_FLOAT_CHARS. */
bool redis_parse_float(struct bytes text, long double *out);
enum { REDIS_FLOAT_CHARS = 5 * 1024 };
/* As INCRBYFLOAT writes it: at most 17 digits behind the point, without trailing zeros, never with an
 * exponent
 * ("%.17Lf" cut). Returns the length; @out has room for REDIS_FLOAT_CHARS. 0: it is infinite or not a number.
 */
size_t redis_format_float(long double number, char *out);
/* Is this word of a command, in whatever case, @word (in lower case)? What follows a NUL in @text doesn't
 * count, as Redis compares C strings here. */
bool redis_word_is(struct bytes text, const char *word);

#endif
