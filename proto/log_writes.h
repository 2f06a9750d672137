/* The entry of writes, by hand: all entries but a few in a million are one, with up to thousands of writes,
 * and each of them is encoded once and decoded on every node. The bytes are protobuf's own; a test holds them
 * against protobuf-c's. What is unusual (a retry's outcome, a field of a later version) is protobuf-c's to
 * do. For log_entry.c. */
#ifndef WB_PROTO_LOG_WRITES_H
#define WB_PROTO_LOG_WRITES_H

#include "proto/base/arena.h"
#include "proto/base/buf.h"
#include "proto/log.pb-c.h"

/* Append the message of @entry to @out. False, and nothing was done: it is not of writes only. */
bool log_writes_encode(const Wblog__Entry *entry, struct buf *out);

/* Decode a message into @arena, with keys and values borrowed from @raw. NULL: it is no entry of writes only,
 * in the form that log_writes_encode gives it, and says nothing about its being correct. */
Wblog__Entry *log_writes_decode(struct bytes raw, struct arena *arena);

#endif
