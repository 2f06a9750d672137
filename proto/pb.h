/* protobuf-c on our memory: unpack into an arena, pack at the end of a buf. */
#ifndef WB_PROTO_PB_H
#define WB_PROTO_PB_H

#include <protobuf-c/protobuf-c.h>

#include "proto/base/arena.h"
#include "proto/base/buf.h"

/* Decode @data as @type. The message and all that it points to live in @arena; never free it otherwise.
 * Returns NULL when the bytes are not such a message. */
ProtobufCMessage *pb_unpack(const ProtobufCMessageDescriptor *type, struct bytes data, struct arena *arena);

/* Encode @message at the end of @out. */
void pb_pack(const ProtobufCMessage *message, struct buf *out);

static inline struct bytes pb_bytes(ProtobufCBinaryData data)
{
    return bytes_of(data.data, data.len);
}

/* A field that borrows from @b: valid while packing only. */
static inline ProtobufCBinaryData pb_borrow(struct bytes b)
{
    return (ProtobufCBinaryData){.len = b.len, .data = (uint8_t *)(uintptr_t)b.data};
}

#endif
