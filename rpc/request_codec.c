#include "rpc/request_codec.h"

#include "proto/frame.h"
#include "proto/limits.h"
#include "proto/pb.h"

/* Source of the format: protobuf's "Encoding" page: a field is a varint of number << 3 | wire type, then
 * a varint (0), 8 bytes (1), a length and so many bytes (2), or 4 bytes (5). */
enum wire { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };
enum {
    FIELD_ID = 1,
    FIELD_DEADLINE_MS = 2,
    FIELD_ONCE = 3,
    FIELD_LEVEL = 4,
    FIELD_STALE = 5,
    FIELD_NUMBER_MAX = (1 << 29) - 1,
    VARINT_BYTES_MAX = 10
};

enum {
    REQUEST_FIELDS_MAX = 64, /* id, deadline, operation, and what later versions may add */
    SMALL_FIELDS_MAX = 16,   /* of a message without lists */
    OPTION_FIELDS_MAX = 16,  /* of one with a list, beside that */
};

struct field {
    uint64_t number;
    enum wire wire;
    uint64_t value;       /* of a varint */
    struct bytes content; /* of bytes */
};

static bool take_varint(struct bytes *in, uint64_t *out)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < VARINT_BYTES_MAX && i < in->len; i++) {
        value |= (uint64_t)(in->data[i] & 0x7f) << (7 * i);
        if ((in->data[i] & 0x80) == 0) {
            *in = bytes_of(in->data + i + 1, in->len - i - 1);
            *out = value;
            return true;
        }
    }
    return false;
}

static bool skip(struct bytes *in, uint64_t len)
{
    if (len > in->len) {
        return false;
    }
    *in = bytes_of(in->data + len, in->len - (size_t)len);
    return true;
}

static bool take_field(struct bytes *in, struct field *out)
{
    uint64_t tag;
    if (!take_varint(in, &tag) || tag >> 3 == 0 || tag >> 3 > FIELD_NUMBER_MAX) {
        return false;
    }
    out->number = tag >> 3;
    out->wire = tag & 7;
    switch (out->wire) {
    case WIRE_VARINT:
        return take_varint(in, &out->value);
    case WIRE_FIXED64:
        return skip(in, 8);
    case WIRE_FIXED32:
        return skip(in, 4);
    case WIRE_BYTES:
        if (!take_varint(in, &out->value)) {
            return false;
        }
        out->content = bytes_of(in->data, (size_t)out->value);
        return skip(in, out->value);
    default:
        return false;
    }
}

/* The fields of @message are well formed, and at most @max. */
static enum status scan_flat(struct bytes message, unsigned max)
{
    struct field f;
    for (unsigned n = 0; message.len > 0; n++) {
        if (n == max) {
            return STATUS_TOO_BIG;
        }
        if (!take_field(&message, &f)) {
            return STATUS_INVALID;
        }
    }
    return STATUS_OK;
}

/* At most @max fields, each of which may be a message without lists. */
static enum status scan_nested(struct bytes message, unsigned max)
{
    struct field f;
    for (unsigned n = 0; message.len > 0; n++) {
        if (n == max) {
            return STATUS_TOO_BIG;
        }
        if (!take_field(&message, &f)) {
            return STATUS_INVALID;
        }
        enum status s = f.wire == WIRE_BYTES ? scan_flat(f.content, SMALL_FIELDS_MAX) : STATUS_OK;
        if (s != STATUS_OK) {
            return s;
        }
    }
    return STATUS_OK;
}

/* A field's content. *@operation: it is the operation, of which a request has one. */
static enum status scan_content(const struct field *f, bool *operation)
{
    *operation = true;
    switch (f->number) {
    case WBRPC__REQUEST__OP_SET:
        return scan_nested(f->content, LIMIT_REQUEST_KEYS + OPTION_FIELDS_MAX);
    case WBRPC__REQUEST__OP_GET:
    case WBRPC__REQUEST__OP_EXISTS:
    case WBRPC__REQUEST__OP_INSPECT:
    case WBRPC__REQUEST__OP_KEY_STATUS:
        return scan_flat(f->content, LIMIT_REQUEST_KEYS);
    case WBRPC__REQUEST__OP_DEL:
    case WBRPC__REQUEST__OP_EXPIRE:
    case WBRPC__REQUEST__OP_QUARANTINE:
        return scan_flat(f->content, LIMIT_REQUEST_KEYS + OPTION_FIELDS_MAX);
    case WBRPC__REQUEST__OP_FORGET: /* each key has its version */
        return scan_flat(f->content, 2 * LIMIT_REQUEST_KEYS + OPTION_FIELDS_MAX);
    case WBRPC__REQUEST__OP_FLUSH_CONTROL:
        return scan_nested(f->content, SMALL_FIELDS_MAX);
    case WBRPC__REQUEST__OP_INCR:
    case WBRPC__REQUEST__OP_APPEND:
    case WBRPC__REQUEST__OP_FLUSH:
    case WBRPC__REQUEST__OP_WAIT:
    case WBRPC__REQUEST__OP_SCAN:
    case WBRPC__REQUEST__OP_OPEN_SESSION:
    case WBRPC__REQUEST__OP_TOPOLOGY:
    case WBRPC__REQUEST__OP_STATUS:
    case WBRPC__REQUEST__OP_VERIFY:
    case WBRPC__REQUEST__OP_NODE_CONTROL:
        return scan_flat(f->content, SMALL_FIELDS_MAX);
    case FIELD_ONCE:
        *operation = false;
        return scan_flat(f->content, SMALL_FIELDS_MAX);
    default:
        *operation = false;
        return STATUS_OK; /* unknown fields stay one piece, whatever is in them */
    }
}

static enum status scan_request(struct bytes message, uint64_t *id)
{
    struct field f;
    bool seen = false;
    for (unsigned n = 0; message.len > 0; n++) {
        if (n == REQUEST_FIELDS_MAX) {
            return STATUS_TOO_BIG;
        }
        if (!take_field(&message, &f)) {
            return STATUS_INVALID;
        }
        if (f.number == FIELD_ID && f.wire == WIRE_VARINT) {
            *id = f.value;
        }
        bool operation = false;
        enum status s = f.wire == WIRE_BYTES ? scan_content(&f, &operation) : STATUS_OK;
        if (s != STATUS_OK) {
            return s;
        }
        if (operation && seen) {
            return STATUS_INVALID; /* all would be unpacked, and all but the last ignored */
        }
        seen = seen || operation;
    }
    return STATUS_OK;
}

enum status request_decode(
    struct bytes payload, struct arena *arena, const Wbrpc__Request **out, uint64_t *id)
{
    *id = 0;
    enum status s = scan_request(payload, id);
    if (s != STATUS_OK) {
        return s;
    }
    ProtobufCMessage *message = pb_unpack(&wbrpc__request__descriptor, payload, arena);
    if (message == NULL) {
        return STATUS_INVALID;
    }
    *out = (const Wbrpc__Request *)message;
    *id = (*out)->id;
    return STATUS_OK;
}

static size_t put_varint(uint8_t *at, uint64_t value)
{
    size_t n = 0;
    while (value >= 0x80) {
        at[n++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    at[n++] = (uint8_t)value;
    return n;
}

void request_body(struct buf *body, Wbrpc__Request__OpCase op, const ProtobufCMessage *message)
{
    uint8_t head[2 * VARINT_BYTES_MAX];
    size_t n = put_varint(head, (uint64_t)op << 3 | WIRE_BYTES);
    n += put_varint(head + n, protobuf_c_message_get_packed_size(message));
    buf_append(body, head, n);
    pb_pack(message, body);
}

static void append_option(struct buf *body, unsigned field, uint64_t value)
{
    uint8_t option[2 * VARINT_BYTES_MAX];
    size_t n = put_varint(option, (uint64_t)field << 3 | WIRE_VARINT);
    n += put_varint(option + n, value);
    buf_append(body, option, n);
}

void request_body_level(struct buf *body, Wbrpc__Level level)
{
    append_option(body, FIELD_LEVEL, (uint64_t)level);
}

void request_body_stale(struct buf *body)
{
    append_option(body, FIELD_STALE, 1);
}

static size_t put_once(uint8_t *at, const struct request_once *once)
{
    Wbrpc__Once message = WBRPC__ONCE__INIT;
    message.session = once->session;
    message.sequence = once->sequence;
    message.first_awaited = once->first_awaited;
    message.has_retry = once->retry;
    message.retry = once->retry;
    size_t n = put_varint(at, FIELD_ONCE << 3 | WIRE_BYTES);
    n += put_varint(at + n, wbrpc__once__get_packed_size(&message));
    return n + wbrpc__once__pack(&message, at + n);
}

void request_frame(
    struct buf *out, uint64_t id, uint32_t deadline_ms, const struct request_once *once, struct bytes body)
{
    enum { ONCE_BYTES_MAX = 2 * VARINT_BYTES_MAX + 4 * (1 + VARINT_BYTES_MAX) };
    uint8_t head[2 + 2 * VARINT_BYTES_MAX + ONCE_BYTES_MAX];
    size_t n = put_varint(head, FIELD_ID << 3 | WIRE_VARINT);
    n += put_varint(head + n, id);
    n += put_varint(head + n, FIELD_DEADLINE_MS << 3 | WIRE_VARINT);
    n += put_varint(head + n, deadline_ms);
    if (once != NULL) {
        n += put_once(head + n, once);
    }
    frame_begin(out, n + body.len);
    buf_append(out, head, n);
    buf_append(out, body.data, body.len);
}
