/* A request's results as bytes: how they are kept for its retries, in log entries and snapshots. Pure.
 *
 * Per result: one byte of flags, then what they announce, in this order: the ordinal (what was written) or
 * the version, the number, length and type, the expiry, the value's length and bytes. The type is one byte,
 * the rest are varints as protobuf has them (7 bits a byte, the lowest first; the number zigzag). What is 0
 * and not announced by another flag is left out. One plain set takes two bytes, up to the 128th write of its
 * entry. Versions of results that were written are ordinals within the log entry: so the bytes can be made
 * before the entry has its index.
 *
 * The same results always give the same bytes, and no others are read: replicas' states are compared. */
#ifndef WB_NODE_OUTCOME_H
#define WB_NODE_OUTCOME_H

#include "node/operation.h"
#include "proto/base/buf.h"

/* Append the @n results to @out; the version of one that is `written` must be its ordinal in the entry.
 * Of `type` and `length` only those with `has_length` are kept, of `number` only that with `has_number`.
 * Without memory @out is `failed`, as with any append to it. */
void outcome_encode(const struct operation_result *results, uint32_t n, struct buf *out);
/* The reverse, with values of its own. A written result's version becomes @version_of_first + its ordinal.
 * @results (whatever was in them is overwritten) are the caller's, and the references in them. False, and
 * @results all zero: @encoded does not hold exactly @n results. */
bool outcome_decode(
    struct bytes encoded, uint64_t version_of_first, struct operation_result *results, uint32_t n);

#endif
