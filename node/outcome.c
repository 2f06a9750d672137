/* Outcomes: results to bytes and back. The decoder takes only what the encoder makes: unknown flags, numbers
 * with needless bytes, zeros that would have been left out and bytes left over are all refused. */
#include "node/outcome.h"

#include <string.h>

#include "proto/base/check.h"

enum {
    FLAG_FOUND = 1,
    FLAG_WRITTEN = 2, /* its ordinal follows */
    FLAG_NUMBER = 4,
    FLAG_LENGTH = 8, /* with the type */
    FLAG_VALUE = 16,
    FLAG_VERSION = 32, /* of what was not written; not 0 */
    FLAG_EXPIRY = 64,  /* not 0 */
    FLAGS_ALL = 127,
};

/* The bits that a version has for it. */
enum { ORDINAL_MAX = 65535 };

/* 64 bits in sevens. */
enum { VARINT_BYTES_MAX = 10 };

/* ---- Writing ---- */

static void put_varint(struct buf *out, uint64_t v)
{
    uint8_t raw[VARINT_BYTES_MAX];
    size_t len = 0;
    while (v >= 128) {
        raw[len++] = (uint8_t)(v | 128);
        v >>= 7;
    }
    raw[len++] = (uint8_t)v;
    buf_append(out, raw, len);
}

static uint64_t zigzag(int64_t number)
{
    return number < 0 ? ~((uint64_t)number << 1) : (uint64_t)number << 1;
}

static void put_result(const struct operation_result *r, struct buf *out)
{
    unsigned flags = 0;
    flags |= r->found ? FLAG_FOUND : 0;
    flags |= r->written ? FLAG_WRITTEN : 0;
    flags |= r->has_number ? FLAG_NUMBER : 0;
    flags |= r->has_length ? FLAG_LENGTH : 0;
    flags |= r->value != NULL ? FLAG_VALUE : 0;
    flags |= !r->written && r->version != 0 ? FLAG_VERSION : 0;
    flags |= r->expires_at_ms != 0 ? FLAG_EXPIRY : 0;
    buf_append_u8(out, (uint8_t)flags);
    if (r->written) {
        CHECK(r->version <= ORDINAL_MAX);
    }
    if (flags & (FLAG_WRITTEN | FLAG_VERSION)) {
        put_varint(out, r->version);
    }
    if (flags & FLAG_NUMBER) {
        put_varint(out, zigzag(r->number));
    }
    if (flags & FLAG_LENGTH) {
        put_varint(out, r->length);
        buf_append_u8(out, r->type);
    }
    if (flags & FLAG_EXPIRY) {
        put_varint(out, r->expires_at_ms);
    }
    if (flags & FLAG_VALUE) {
        put_varint(out, r->value->len);
        buf_append(out, r->value->data, r->value->len);
    }
}

void outcome_encode(const struct operation_result *results, uint32_t n, struct buf *out)
{
    for (uint32_t i = 0; i < n; i++) {
        put_result(&results[i], out);
    }
}

/* ---- Reading ---- */

/* Bytes are taken from the front of @in. */
static bool take_u8(struct bytes *in, uint8_t *out)
{
    if (in->len == 0) {
        return false;
    }
    *out = in->data[0];
    *in = bytes_of(in->data + 1, in->len - 1);
    return true;
}

static bool take_varint(struct bytes *in, uint64_t max, uint64_t *out)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < VARINT_BYTES_MAX; i++) {
        uint8_t byte;
        if (!take_u8(in, &byte)) {
            return false;
        }
        if (i == VARINT_BYTES_MAX - 1 && byte > 1) { /* bits beyond the 64th */
            return false;
        }
        v |= (uint64_t)(byte & 127) << (7 * i);
        if (byte < 128) {
            if ((byte == 0 && i > 0) || v > max) {
                return false;
            }
            *out = v;
            return true;
        }
    }
    return false;
}

static bool take_number(struct bytes *in, int64_t *out)
{
    uint64_t v;
    if (!take_varint(in, UINT64_MAX, &v)) {
        return false;
    }
    int64_t half = (int64_t)(v >> 1);
    *out = v & 1 ? -half - 1 : half;
    return true;
}

/* What is announced but 0 would not have been announced. */
static bool take_not_zero(struct bytes *in, uint64_t *out)
{
    return take_varint(in, UINT64_MAX, out) && *out != 0;
}

static bool take_length(struct bytes *in, struct operation_result *r)
{
    uint64_t length;
    if (!take_varint(in, UINT32_MAX, &length) || !take_u8(in, &r->type)) {
        return false;
    }
    r->has_length = true;
    r->length = (uint32_t)length;
    return true;
}

static bool take_value(struct bytes *in, struct operation_result *r)
{
    uint64_t len;
    if (!take_varint(in, UINT32_MAX, &len) || len > in->len) {
        return false;
    }
    r->value = value_create(bytes_of(in->data, (size_t)len));
    *in = bytes_of(in->data + len, in->len - (size_t)len);
    return true;
}

/* False: @r holds a part, perhaps with a value. */
static bool take_result(struct bytes *in, uint64_t version_of_first, struct operation_result *r)
{
    uint8_t flags;
    if (!take_u8(in, &flags) || flags > FLAGS_ALL ||
        (flags & (FLAG_WRITTEN | FLAG_VERSION)) == (FLAG_WRITTEN | FLAG_VERSION)) {
        return false;
    }
    r->found = flags & FLAG_FOUND;
    r->written = flags & FLAG_WRITTEN;
    r->has_number = flags & FLAG_NUMBER;
    if (r->written) {
        if (!take_varint(in, ORDINAL_MAX, &r->version)) {
            return false;
        }
        r->version += version_of_first;
    }
    if ((flags & FLAG_VERSION) && !take_not_zero(in, &r->version)) {
        return false;
    }
    if (r->has_number && !take_number(in, &r->number)) {
        return false;
    }
    if ((flags & FLAG_LENGTH) && !take_length(in, r)) {
        return false;
    }
    if ((flags & FLAG_EXPIRY) && !take_not_zero(in, &r->expires_at_ms)) {
        return false;
    }
    return !(flags & FLAG_VALUE) || take_value(in, r);
}

bool outcome_decode(
    struct bytes encoded, uint64_t version_of_first, struct operation_result *results, uint32_t n)
{
    bool whole = true;
    if (n > 0) {
        memset(results, 0, n * sizeof *results);
    }
    for (uint32_t i = 0; whole && i < n; i++) {
        whole = take_result(&encoded, version_of_first, &results[i]);
    }
    if (whole && encoded.len == 0) {
        return true;
    }
    for (uint32_t i = 0; i < n; i++) {
        operation_result_clear(&results[i]);
    }
    return false;
}
