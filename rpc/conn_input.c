#include "rpc/conn_input.h"

#include "proto/base/check.h"
#include "proto/frame.h"

void conn_input_init(struct conn_input *in, size_t frame_max)
{
    *in = (struct conn_input){.frame_max = frame_max};
    buf_init(&in->buf);
}

void conn_input_deinit(struct conn_input *in)
{
    buf_deinit(&in->buf);
}

void conn_input_clear(struct conn_input *in)
{
    buf_clear(&in->buf);
    in->taken = 0;
    in->filled = false;
    in->failed = false;
}

size_t conn_input_pending(const struct conn_input *in)
{
    return in->buf.len - in->taken;
}

uint8_t *conn_input_room(struct conn_input *in, size_t *room)
{
    buf_consume(&in->buf, in->taken);
    in->taken = 0;
    if (in->buf.len == 0 && in->buf.cap > CONN_INPUT_KEEP_BYTES) {
        buf_deinit(&in->buf); /* one big frame must not keep its memory for the connection's life */
    }
    size_t want = CONN_INPUT_FIRST_BYTES;
    if (in->filled && in->buf.cap * 2 <= CONN_INPUT_KEEP_BYTES) {
        want = in->buf.cap * 2 - in->buf.len;
    }
    in->filled = false;
    uint8_t *at = buf_reserve(&in->buf, want);
    if (at == NULL) {
        return NULL;
    }
    *room = in->buf.cap - in->buf.len;
    return at;
}

void conn_input_received(struct conn_input *in, size_t len)
{
    CHECK(len <= in->buf.cap - in->buf.len);
    in->buf.len += len;
    in->filled = in->buf.len == in->buf.cap;
}

enum status conn_input_next(struct conn_input *in, struct bytes *payload)
{
    if (in->failed) {
        return STATUS_TOO_BIG;
    }
    size_t consumed;
    struct bytes rest = bytes_of(in->buf.data, 0);
    if (conn_input_pending(in) > 0) {
        rest = bytes_of(in->buf.data + in->taken, conn_input_pending(in));
    }
    enum status s = frame_parse(rest, in->frame_max, payload, &consumed);
    if (s == STATUS_OK) {
        in->taken += consumed;
    } else if (s != STATUS_AGAIN) {
        in->failed = true;
    }
    return s;
}
