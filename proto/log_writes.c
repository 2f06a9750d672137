#include "proto/log_writes.h"

#include <string.h>

/* A field added to these messages must be added here, or be left to protobuf-c. */
_Static_assert(
    sizeof(Wblog__Write) == sizeof(ProtobufCMessage) + 2 * sizeof(ProtobufCBinaryData) + 8 + 8 + 16 + 8,
    "wblog.Write has other fields than this file knows");
_Static_assert(sizeof(Wblog__Writes) == sizeof(ProtobufCMessage) + 4 * sizeof(size_t) + 8,
    "wblog.Writes has other fields than this file knows");

/* Fields by number and wire type (protobuf's encoding): 0 varint, 1 eight bytes, 2 length-delimited. */
enum {
    NODE_ID = 1 << 3 | 0,
    TERM = 2 << 3 | 0,
    PROPOSAL = 3 << 3 | 0,
    STAMP_MS = 4 << 3 | 1,
    WRITES = 10 << 3 | 2,
    WRITES_WRITE = 1 << 3 | 2,
    WRITE_KEY = 1 << 3 | 2,
    WRITE_VALUE = 2 << 3 | 2,
    WRITE_TYPE = 3 << 3 | 0,
    WRITE_EXPIRES = 4 << 3 | 1,
    WRITE_TIED = 5 << 3 | 0,
    VARINT_BYTES_MAX = 10,
};

/* ---- Encoding ---- */

static size_t varint_size(uint64_t v)
{
    size_t size = 1;
    while (v >= 0x80) {
        v >>= 7;
        size++;
    }
    return size;
}

static uint8_t *put_varint(uint8_t *at, uint64_t v)
{
    while (v >= 0x80) {
        *at++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *at++ = (uint8_t)v;
    return at;
}

static uint8_t *put_number(uint8_t *at, uint8_t tag, uint64_t v)
{
    *at++ = tag;
    return put_varint(at, v);
}

static uint8_t *put_fixed64(uint8_t *at, uint8_t tag, uint64_t v)
{
    *at++ = tag;
    store_le64(at, v);
    return at + 8;
}

static uint8_t *put_bytes(uint8_t *at, uint8_t tag, ProtobufCBinaryData b)
{
    at = put_number(at, tag, b.len);
    if (b.len > 0) {
        memcpy(at, b.data, b.len);
    }
    return at + b.len;
}

static size_t bytes_size(size_t len)
{
    return 1 + varint_size(len) + len;
}

static size_t write_size(const Wblog__Write *w)
{
    return bytes_size(w->key.len) + (w->has_value ? bytes_size(w->value.len) : 0) +
           (w->has_type ? 1 + varint_size(w->type) : 0) + (w->has_expires_at_ms ? 9 : 0) +
           (w->has_tied ? 2 : 0);
}

static uint8_t *put_write(uint8_t *at, const Wblog__Write *w)
{
    at = put_number(at, WRITES_WRITE, write_size(w));
    at = put_bytes(at, WRITE_KEY, w->key);
    if (w->has_value) {
        at = put_bytes(at, WRITE_VALUE, w->value);
    }
    if (w->has_type) {
        at = put_number(at, WRITE_TYPE, w->type);
    }
    if (w->has_expires_at_ms) {
        at = put_fixed64(at, WRITE_EXPIRES, w->expires_at_ms);
    }
    if (w->has_tied) {
        at = put_number(at, WRITE_TIED, w->tied != 0);
    }
    return at;
}

bool log_writes_encode(const Wblog__Entry *entry, struct buf *out)
{
    if (entry->command_case != WBLOG__ENTRY__COMMAND_WRITES || entry->writes->n_outcomes > 0 ||
        entry->writes->has_sessions_opened) {
        return false;
    }
    const Wblog__Writes *writes = entry->writes;
    size_t body = 0;
    for (size_t i = 0; i < writes->n_writes; i++) {
        body += bytes_size(write_size(writes->writes[i]));
    }
    uint8_t *at = buf_reserve(out, 5 * (1 + VARINT_BYTES_MAX) + body);
    if (at == NULL) {
        return true; /* @out says that it failed */
    }
    at = put_number(at, NODE_ID, entry->node_id);
    at = put_number(at, TERM, entry->term);
    at = put_number(at, PROPOSAL, entry->proposal);
    at = put_fixed64(at, STAMP_MS, entry->stamp_ms);
    at = put_number(at, WRITES, body);
    for (size_t i = 0; i < writes->n_writes; i++) {
        at = put_write(at, writes->writes[i]);
    }
    out->len = (size_t)(at - out->data);
    return true;
}

/* ---- Decoding ---- */

struct cursor {
    const uint8_t *at, *end;
};

static bool take_varint(struct cursor *c, uint64_t *out)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < VARINT_BYTES_MAX && c->at < c->end; i++) {
        uint8_t byte = *c->at++;
        v |= (uint64_t)(byte & 0x7f) << (7 * i);
        if ((byte & 0x80) == 0) {
            *out = v;
            return true;
        }
    }
    return false;
}

static bool take_tag(struct cursor *c, uint8_t tag)
{
    if (c->at == c->end || *c->at != tag) {
        return false;
    }
    c->at++;
    return true;
}

static bool take_number(struct cursor *c, uint8_t tag, uint64_t *out)
{
    return take_tag(c, tag) && take_varint(c, out);
}

static bool take_fixed64(struct cursor *c, uint8_t tag, uint64_t *out)
{
    if (!take_tag(c, tag) || c->end - c->at < 8) {
        return false;
    }
    *out = load_le64(c->at);
    c->at += 8;
    return true;
}

static bool take_bytes(struct cursor *c, uint8_t tag, struct cursor *out)
{
    uint64_t len;
    if (!take_number(c, tag, &len) || len > (uint64_t)(c->end - c->at)) {
        return false;
    }
    *out = (struct cursor){.at = c->at, .end = c->at + len};
    c->at += len;
    return true;
}

static ProtobufCBinaryData borrow(struct cursor c)
{
    return (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)c.at, .len = (size_t)(c.end - c.at)};
}

static bool next_is(const struct cursor *c, uint8_t tag)
{
    return c->at < c->end && *c->at == tag;
}

static bool take_write(struct cursor c, Wblog__Write *w)
{
    struct cursor content;
    uint64_t v;
    wblog__write__init(w);
    if (!take_bytes(&c, WRITE_KEY, &content)) {
        return false;
    }
    w->key = borrow(content);
    if (next_is(&c, WRITE_VALUE)) {
        if (!take_bytes(&c, WRITE_VALUE, &content)) {
            return false;
        }
        w->has_value = 1;
        w->value = borrow(content);
    }
    if (next_is(&c, WRITE_TYPE)) {
        if (!take_number(&c, WRITE_TYPE, &v) || v > UINT32_MAX) {
            return false;
        }
        w->has_type = 1;
        w->type = (uint32_t)v;
    }
    if (next_is(&c, WRITE_EXPIRES)) {
        if (!take_fixed64(&c, WRITE_EXPIRES, &w->expires_at_ms)) {
            return false;
        }
        w->has_expires_at_ms = 1;
    }
    if (next_is(&c, WRITE_TIED)) {
        if (!take_number(&c, WRITE_TIED, &v)) {
            return false;
        }
        w->has_tied = 1;
        w->tied = v != 0;
    }
    return c.at == c.end;
}

/* How many fields @c is made of, if all of them are writes. */
static bool count_writes(struct cursor c, size_t *n)
{
    struct cursor content;
    *n = 0;
    while (c.at < c.end) {
        if (!take_bytes(&c, WRITES_WRITE, &content)) {
            return false;
        }
        ++*n;
    }
    return true;
}

Wblog__Entry *log_writes_decode(struct bytes raw, struct arena *arena)
{
    struct cursor c = {.at = raw.data, .end = raw.data + raw.len}, body, content;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    size_t n;
    if (!take_number(&c, NODE_ID, &entry.node_id) || !take_number(&c, TERM, &entry.term) ||
        !take_number(&c, PROPOSAL, &entry.proposal) || !take_fixed64(&c, STAMP_MS, &entry.stamp_ms) ||
        !take_bytes(&c, WRITES, &body) || c.at != c.end || !count_writes(body, &n)) {
        return NULL;
    }
    Wblog__Entry *out = arena_alloc(arena, sizeof *out);
    Wblog__Writes *writes = arena_alloc(arena, sizeof *writes);
    wblog__writes__init(writes);
    writes->n_writes = n;
    writes->writes = arena_alloc(arena, (n + 1) * sizeof *writes->writes);
    Wblog__Write *all = arena_alloc(arena, (n + 1) * sizeof *all);
    for (size_t i = 0; i < n; i++) {
        writes->writes[i] = &all[i];
        if (!take_bytes(&body, WRITES_WRITE, &content) || !take_write(content, &all[i])) {
            return NULL;
        }
    }
    entry.command_case = WBLOG__ENTRY__COMMAND_WRITES;
    entry.writes = writes;
    *out = entry;
    return out;
}
