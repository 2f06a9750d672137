/* A hash as table entry has it: a JSON object of texts, for SQL to read.
 *
 * A name or a value that is text (UTF-8 without NUL) and does not begin with \x is written as itself. Any
 * other is written as \x and two hexadecimal digits for each byte, in lower case, which SQL reads by ::bytea.
 * So nothing that is written means two things, and no two names become one. Pure. */
#ifndef WB_FLUSH_FIELDS_JSON_H
#define WB_FLUSH_FIELDS_JSON_H

#include "proto/fields.h"

/* Of one byte of a hash's value at most so many become JSON text: a control character is \u00xx. */
enum { FIELDS_JSON_GROWTH_MAX = 6 };

/* Append the hash @encoded as JSON text, in UTF-8, with its fields in their order. @out is `failed` without
 * memory. */
void fields_json_append(struct bytes encoded, struct buf *out);

/* The way back, from what the database has of an object's fields as texts: @texts are @n names, each with its
 * value behind it. The hash is appended to @out, which must be empty. A text that begins with \x is taken as
 * it is where no pairs of hexadecimal digits (of either case) follow. False: this is no hash of ours. It has
 * no field, one name twice (which two spellings can mean), or is longer than LIMIT_VALUE_BYTES; then @out has
 * nothing of use. @out is `failed` without memory. */
bool fields_json_read(const struct bytes *texts, uint32_t n, struct buf *out);

#endif
