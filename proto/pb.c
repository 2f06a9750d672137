#include "proto/pb.h"

static void *in_arena(void *data, size_t size)
{
    return arena_alloc(data, size);
}

static void with_arena(void *data, void *ptr)
{
    (void)data;
    (void)ptr;
}

ProtobufCMessage *pb_unpack(const ProtobufCMessageDescriptor *type, struct bytes data, struct arena *arena)
{
    ProtobufCAllocator allocator = {.alloc = in_arena, .free = with_arena, .allocator_data = arena};
    return protobuf_c_message_unpack(type, &allocator, data.len, data.data);
}

void pb_pack(const ProtobufCMessage *message, struct buf *out)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *at = buf_reserve(out, size);
    if (at != NULL) {
        out->len += protobuf_c_message_pack(message, at);
    }
}
