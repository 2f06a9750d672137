/* A libFuzzer target for remembered outcomes, as log entries and snapshots bring them. Build and run with
 * tools/fuzz.
 *
 * The input's first bit says what it is: bytes to decode, after how many results they should be; or results
 * to make. Whatever it is: bytes either decode or leave zeros; what decodes encodes to the same bytes;
 * results come back as they were, and not from a part of their bytes, nor as more or fewer. Leaks are the
 * sanitizer's to find. */
#include <stdlib.h>
#include <string.h>

#include "node/outcome.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same(const struct operation_result *a, const struct operation_result *b)
{
    bool same_value = a->value == NULL || b->value == NULL
                          ? a->value == b->value
                          : bytes_equal(value_bytes(a->value), value_bytes(b->value));
    return a->found == b->found && a->written == b->written && a->has_number == b->has_number &&
           a->has_length == b->has_length && a->type == b->type && a->length == b->length &&
           a->number == b->number && a->version == b->version && a->expires_at_ms == b->expires_at_ms &&
           same_value;
}

static void drop_results(struct operation_result *results, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        operation_result_clear(&results[i]);
    }
    free(results);
}

/* True, with *@out for the caller, where @encoded is @n results. Its bytes are a copy, so that reading past
 * them is seen. */
static bool decode(struct bytes encoded, uint64_t base, uint32_t n, struct operation_result **out)
{
    static const struct operation_result zero;
    struct operation_result *results = xmalloc((n + 1) * sizeof *results);
    uint8_t *copy = xmalloc(encoded.len + 1);
    memset(results, 0xa5, (n + 1) * sizeof *results);
    if (encoded.len > 0) {
        memcpy(copy + 1, encoded.data, encoded.len);
    }
    bool whole = outcome_decode(bytes_of(copy + 1, encoded.len), base, results, n);
    free(copy);
    for (uint32_t i = 0; !whole && i < n; i++) {
        CHECK(same(&results[i], &zero));
    }
    if (!whole) {
        free(results);
        return false;
    }
    *out = results;
    return true;
}

static void check_refused(struct bytes encoded, uint32_t n)
{
    struct operation_result *results;
    CHECK(!decode(encoded, 0, n, &results));
}

static void check_raw(struct bytes encoded, uint32_t n)
{
    struct operation_result *results;
    struct buf again;
    if (!decode(encoded, 0, n, &results)) {
        return;
    }
    buf_init(&again);
    outcome_encode(results, n, &again);
    CHECK(bytes_equal(buf_bytes(&again), encoded));
    buf_deinit(&again);
    drop_results(results, n);
    if (n > 0) {
        check_refused(encoded, n - 1);
        check_refused(bytes_of(encoded.data, encoded.len - 1), n);
    }
    check_refused(encoded, n + 1);
}

/* ---- Results out of the input ---- */

static uint64_t take(struct bytes *in, size_t len)
{
    uint64_t n = 0;
    for (size_t i = 0; i < len && in->len > 0; i++) {
        n |= (uint64_t)in->data[0] << (8 * i);
        *in = bytes_of(in->data + 1, in->len - 1);
    }
    return n;
}

static void make_result(struct bytes *in, struct operation_result *r)
{
    unsigned shape = (unsigned)take(in, 1);
    *r = (struct operation_result){
        .found = shape & 1, .written = shape & 2, .has_number = shape & 4, .has_length = shape & 8};
    if (r->written || (shape & 32)) {
        r->version = take(in, r->written ? 2 : 8);
    }
    if (r->has_number) {
        r->number = (int64_t)take(in, 8);
    }
    if (r->has_length) {
        r->length = (uint32_t)take(in, 4);
        r->type = (uint8_t)take(in, 1);
    }
    if (shape & 64) {
        r->expires_at_ms = take(in, 8);
    }
    if (shape & 16) {
        size_t len = (size_t)take(in, 1);
        len = len < in->len ? len : in->len;
        r->value = value_create(bytes_of(in->data, len));
        *in = bytes_of(in->data + len, in->len - len);
    }
}

static void check_made(struct bytes in)
{
    uint64_t base = take(&in, 8), cut = take(&in, 2);
    uint32_t n = 0, n_max = in.len < LIMIT_REQUEST_KEYS ? (uint32_t)in.len : LIMIT_REQUEST_KEYS;
    struct operation_result *results = xcalloc(n_max + 1, sizeof *results), *back;
    while (in.len > 0 && n < n_max) {
        make_result(&in, &results[n++]);
    }
    struct buf out;
    buf_init(&out);
    outcome_encode(results, n, &out);
    CHECK(!out.failed);
    CHECK(decode(buf_bytes(&out), base, n, &back));
    for (uint32_t i = 0; i < n; i++) {
        results[i].version += results[i].written ? base : 0;
        CHECK(same(&results[i], &back[i]));
    }
    drop_results(back, n);
    if (n > 0) {
        check_refused(bytes_of(out.data, cut % out.len), n);
        check_refused(buf_bytes(&out), n - 1);
    }
    check_refused(buf_bytes(&out), n + 1);
    buf_append_u8(&out, (uint8_t)cut);
    check_refused(buf_bytes(&out), n);
    buf_deinit(&out);
    drop_results(results, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    if (data[0] % 2) {
        check_raw(bytes_of(data + 2, size - 2), data[0] / 2 == 0 ? data[1] * 16u : data[1]);
    } else {
        check_made(bytes_of(data + 1, size - 1));
    }
    return 0;
}
