/* The bytes of a Raft log entry: an 8-byte header, one wblog.Entry, zero padding to a multiple of 8 (libraft
 * takes no other length). Header: format (1 byte), three zero bytes, the message's length (4 bytes, little
 * endian). */
#ifndef WB_PROTO_LOG_ENTRY_H
#define WB_PROTO_LOG_ENTRY_H

#include "proto/base/arena.h"
#include "proto/base/buf.h"
#include "proto/base/status.h"
#include "proto/log.pb-c.h"

enum { LOG_ENTRY_HEADER_BYTES = 8, LOG_ENTRY_FORMAT = 1 };

/* Append @entry, with header and padding, to the empty @out. */
void log_entry_encode(const Wblog__Entry *entry, struct buf *out);

/* Decode into @arena; keys and values may be borrowed from @raw. CORRUPT when the bytes are no entry of a
 * known format; *@out is then not set. */
enum status log_entry_decode(struct bytes raw, struct arena *arena, Wblog__Entry **out);

#endif
