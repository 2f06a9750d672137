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
    conn_input_trim(in, false);
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

size_t conn_input_growth(const struct conn_input *in)
{
    size_t cap = in->buf.cap;
    bool roomy = cap - conn_input_pending(in) >= CONN_INPUT_FIRST_BYTES;
    bool wants_more = in->filled && cap * 2 <= CONN_INPUT_KEEP_BYTES;
    return roomy && !wants_more ? 0 : cap > CONN_INPUT_FIRST_BYTES ? cap : CONN_INPUT_FIRST_BYTES;
}

void conn_input_received(struct conn_input *in, size_t len)
{
    CHECK(len <= in->buf.cap - in->buf.len);
    in->buf.len += len;
    in->filled = in->buf.len == in->buf.cap;
}

struct bytes conn_input_rest(const struct conn_input *in)
{
    size_t pending = conn_input_pending(in);
    return pending == 0 ? bytes_of(NULL, 0) : bytes_of(in->buf.data + in->taken, pending);
}

void conn_input_trim(struct conn_input *in, bool all)
{
    struct bytes rest = conn_input_rest(in);
    bool big = in->buf.cap > CONN_INPUT_KEEP_BYTES && rest.len <= CONN_INPUT_FIRST_BYTES;
    if (!big && !(all && rest.len == 0)) {
        return;
    }
    struct buf big_one; /* must not keep its memory for the connection's life */
    buf_init(&big_one);
    conn_input_give(in, &big_one);
    buf_deinit(&big_one);
}

void conn_input_take(struct conn_input *in, size_t len)
{
    CHECK(len <= conn_input_pending(in));
    in->taken += len;
}

void conn_input_give(struct conn_input *in, struct buf *to)
{
    struct bytes rest = conn_input_rest(in);
    struct buf small;
    buf_init(&small);
    if (rest.len > 0) {
        buf_append(&small, rest.data, rest.len);
    }
    buf_move(to, &in->buf);
    buf_move(&in->buf, &small);
    in->taken = 0;
    in->filled = false;
}

bool conn_input_whole(const struct conn_input *in)
{
    struct bytes payload;
    size_t consumed;
    return !in->failed && frame_parse(conn_input_rest(in), in->frame_max, &payload, &consumed) == STATUS_OK;
}

enum status conn_input_next(struct conn_input *in, struct bytes *payload)
{
    if (in->failed) {
        return STATUS_TOO_BIG;
    }
    size_t consumed;
    enum status s = frame_parse(conn_input_rest(in), in->frame_max, payload, &consumed);
    if (s == STATUS_OK) {
        in->taken += consumed;
    } else if (s != STATUS_AGAIN) {
        in->failed = true;
    }
    return s;
}
