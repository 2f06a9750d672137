#include "proto/frame.h"

enum status frame_parse(struct bytes input, size_t max, struct bytes *payload, size_t *consumed)
{
    *consumed = 0;
    if (input.len < FRAME_HEADER_BYTES) {
        return STATUS_AGAIN;
    }
    uint32_t len = load_be32(input.data);
    if (len == 0 || len > max) {
        return STATUS_TOO_BIG;
    }
    *consumed = FRAME_HEADER_BYTES + (size_t)len;
    if (input.len < *consumed) {
        return STATUS_AGAIN;
    }
    *payload = bytes_of(input.data + FRAME_HEADER_BYTES, len);
    return STATUS_OK;
}

void frame_begin(struct buf *out, size_t len)
{
    buf_append_be32(out, (uint32_t)len);
}
