/* The value of a hash: fields with their values, in the order in which they came, as one run of bytes.
 *
 *   count (4 bytes, little endian), then for each field: its length, its bytes, its value's length, its
 * bytes. Lengths are varints as protobuf has them (7 bits a byte, the lowest first; the shortest spelling).
 *
 * A field's name and its value may be empty, and any bytes. No field is there twice. Pure. */
#ifndef WB_PROTO_FIELDS_H
#define WB_PROTO_FIELDS_H

#include "proto/base/buf.h"

struct field {
    struct bytes name;
    struct bytes value;
};

/* Is @encoded such a run, whole, with at least one field, and none twice? For what comes from outside; the
 * other functions take it for granted. O(n). */
bool fields_valid(struct bytes encoded);
uint32_t fields_count(struct bytes encoded);

/* Walk over them: at first *@at is 0. False: there is no more. What *@out names is borrowed from @encoded. */
bool fields_next(struct bytes encoded, size_t *at, struct field *out);
/* The value of the field @name. False: there is none. O(n). */
bool fields_find(struct bytes encoded, struct bytes name, struct bytes *value);

/* The same for @n names in one walk: @values[i] is the value of @names[i], with NULL as its data where there
 * is none (and not NULL for an empty one). Expected O(fields + n). */
void fields_find_all(struct bytes encoded, const struct bytes *names, uint32_t n, struct bytes *values);

/* Do both have the same fields with the same values, in whatever order? Expected O(n). */
bool fields_equal(struct bytes a, struct bytes b);

/* Append to @out (empty) what @old (no bytes: no hash) becomes when the @n @changes are made to it one after
 * the other: a field that is there gets the new value at its old place, another comes behind the others.
 * Returns how many fields were new. @out is `failed` without memory. Expected O(fields + n), also for
 * thousands of changes. */
uint32_t fields_set(struct bytes old, const struct field *changes, uint32_t n, struct buf *out);
/* The same for taking fields away; returns how many were there. When none is left, @out gets no bytes at all.
 */
uint32_t fields_remove(struct bytes old, const struct bytes *names, uint32_t n, struct buf *out);

/* Make one from the beginning, where the caller knows that no field comes twice: begin, add each, end. */
void fields_begin(struct buf *out);
void fields_add(struct buf *out, struct bytes name, struct bytes value);
void fields_end(struct buf *out, uint32_t count); /* @out holds nothing else */

#endif
