/* Frames of the client protocol: a length of four bytes, big endian, then that many bytes of protobuf. */
#ifndef WB_PROTO_FRAME_H
#define WB_PROTO_FRAME_H

#include "proto/base/buf.h"
#include "proto/base/status.h"

enum { FRAME_HEADER_BYTES = 4 };

/* Look for one whole frame at the start of @input.
 * OK: @payload borrows from @input and *@consumed is the frame's size with its header.
 * AGAIN: more bytes are needed; *@consumed is then the size that the frame will have, or 0 when not known
 * yet. TOO_BIG: the length is 0 or above @max: close the connection, never allocate for it. */
enum status frame_parse(struct bytes input, size_t max, struct bytes *payload, size_t *consumed);

/* Append a header for @len bytes of payload, which the caller appends next. */
void frame_begin(struct buf *out, size_t len);

#endif
