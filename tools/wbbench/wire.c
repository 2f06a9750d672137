#include "tools/wbbench/wire.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/client.pb-c.h"
#include "proto/frame.h"
#include "proto/pb.h"

/* ---- requests ---- */

static void append_frame(const Wbrpc__Request *request, struct buf *out)
{
    frame_begin(out, wbrpc__request__get_packed_size(request));
    pb_pack(&request->base, out);
    CHECK(!out->failed);
}

/* The id comes first in the message: one byte of tag, then the number. */
static void template_init(struct wire_template *t, Wbrpc__Request *request, size_t key_len)
{
    request->id = WIRE_ID_FIRST;
    buf_init(&t->frame);
    append_frame(request, &t->frame);
    t->id_at = FRAME_HEADER_BYTES + 1;
    t->key_len = key_len;
}

void wire_template_set(struct wire_template *t, size_t key_len, struct bytes value, uint32_t deadline_ms)
{
    uint8_t *key = xcalloc(1, key_len);
    Wbrpc__KeyValue entry = WBRPC__KEY_VALUE__INIT;
    entry.key = pb_borrow(bytes_of(key, key_len));
    entry.value = pb_borrow(value);
    Wbrpc__KeyValue *entries[] = {&entry};
    Wbrpc__Set set = WBRPC__SET__INIT;
    set.n_entries = 1;
    set.entries = entries;
    Wbrpc__Request request = WBRPC__REQUEST__INIT;
    request.has_deadline_ms = 1;
    request.deadline_ms = deadline_ms;
    request.op_case = WBRPC__REQUEST__OP_SET;
    request.set = &set;
    template_init(t, &request, key_len);
    free(key);
    /* Behind the key come only the value's tag, its length and the value. */
    Wbrpc__KeyValue empty = WBRPC__KEY_VALUE__INIT;
    empty.value = entry.value;
    size_t behind = wbrpc__key_value__get_packed_size(&empty) - 2; /* less the empty key's tag and length */
    t->key_at = t->frame.len - behind - key_len;
}

void wire_template_get(struct wire_template *t, size_t key_len, uint32_t deadline_ms)
{
    uint8_t *bytes = xcalloc(1, key_len);
    ProtobufCBinaryData key = pb_borrow(bytes_of(bytes, key_len));
    Wbrpc__Keys keys = WBRPC__KEYS__INIT;
    keys.n_keys = 1;
    keys.keys = &key;
    Wbrpc__Request request = WBRPC__REQUEST__INIT;
    request.has_deadline_ms = 1;
    request.deadline_ms = deadline_ms;
    request.op_case = WBRPC__REQUEST__OP_GET;
    request.get = &keys;
    template_init(t, &request, key_len);
    free(bytes);
    t->key_at = t->frame.len - key_len;
}

void wire_template_deinit(struct wire_template *t)
{
    buf_deinit(&t->frame);
}

void wire_request(const struct wire_template *t, uint32_t id, const char *key, struct buf *out)
{
    CHECK(id >= WIRE_ID_FIRST && id < WIRE_ID_END);
    uint8_t *at = buf_reserve(out, t->frame.len);
    CHECK(at != NULL);
    memcpy(at, t->frame.data, t->frame.len);
    for (unsigned i = 0; i < 4; i++) {
        at[t->id_at + i] = (uint8_t)((id >> (7 * i) & 0x7f) | (i < 3 ? 0x80 : 0));
    }
    memcpy(at + t->key_at, key, t->key_len);
    out->len += t->frame.len;
}

void wire_topology_request(uint32_t id, struct buf *out)
{
    Wbrpc__Topology topology = WBRPC__TOPOLOGY__INIT;
    Wbrpc__Request request = WBRPC__REQUEST__INIT;
    request.id = id;
    request.op_case = WBRPC__REQUEST__OP_TOPOLOGY;
    request.topology = &topology;
    append_frame(&request, out);
}

/* ---- answers ---- */

/* One field of a protobuf message. */
struct field {
    uint32_t number;
    uint64_t varint;
    struct bytes data;
};

static bool take_varint(struct bytes *in, uint64_t *out)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (in->len == 0) {
            return false;
        }
        uint8_t c = *in->data++;
        in->len--;
        v |= (uint64_t)(c & 0x7f) << shift;
        if (c < 0x80) {
            *out = v;
            return true;
        }
    }
    return false;
}

static bool skip(struct bytes *in, size_t len)
{
    if (in->len < len) {
        return false;
    }
    in->data += len;
    in->len -= len;
    return true;
}

/* The wire types of protobuf: 0 varint, 1 eight bytes, 2 with a length, 5 four bytes. */
static bool take_field(struct bytes *in, struct field *out)
{
    uint64_t tag;
    uint64_t len;
    *out = (struct field){0};
    if (!take_varint(in, &tag) || tag >> 3 == 0 || tag >> 3 > UINT32_MAX) {
        return false;
    }
    out->number = (uint32_t)(tag >> 3);
    switch (tag & 7) {
    case 0:
        return take_varint(in, &out->varint);
    case 1:
        return skip(in, 8);
    case 2:
        if (!take_varint(in, &len) || len > in->len) {
            return false;
        }
        out->data = bytes_of(in->data, (size_t)len);
        return skip(in, (size_t)len);
    case 5:
        return skip(in, 4);
    default:
        return false;
    }
}

static bool parse_result(struct bytes in, bool *found)
{
    struct field f;
    while (in.len > 0) {
        if (!take_field(&in, &f)) {
            return false;
        }
        if (f.number == 1) {
            *found = f.varint != 0;
        }
    }
    return true;
}

bool wire_answer_parse(struct bytes payload, struct wire_answer *out)
{
    struct field f;
    bool has_result = false;
    *out = (struct wire_answer){0};
    while (payload.len > 0) {
        if (!take_field(&payload, &f)) {
            return false;
        }
        switch (f.number) { /* the numbers of Response in proto/client.proto */
        case 1:
            out->id = f.varint;
            break;
        case 2:
            out->status = (uint32_t)f.varint;
            break;
        case 3:
            out->message = f.data;
            break;
        case 4:
            out->leader = f.data;
            break;
        case 6:
            out->retry_after_ms = (uint32_t)f.varint;
            break;
        case 8:
            if (!has_result && !parse_result(f.data, &out->found)) {
                return false;
            }
            has_result = true;
            break;
        case 9:
            out->has_topology = true;
            break;
        default:
            break;
        }
    }
    return out->id != 0;
}
