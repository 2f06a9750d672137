/* Outcomes as bytes: the format is kept in logs and snapshots, so some of it is written out here. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/outcome.h"
#include "proto/limits.h"

#define BASE UINT64_C(0x123456789a0000)

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

static struct operation_result *new_results(uint32_t n)
{
    struct operation_result *results = malloc((n + 1) * sizeof *results);
    assert_non_null(results);
    memset(results, 0xa5, (n + 1) * sizeof *results); /* what was in them does not matter */
    return results;
}

static void drop_results(struct operation_result *results, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        operation_result_clear(&results[i]);
    }
    free(results);
}

/* The bytes in memory of their own, so that reading past them is seen. */
static uint8_t *copy_of(struct bytes b)
{
    uint8_t *copy = malloc(b.len > 0 ? b.len : 1);
    assert_non_null(copy);
    if (b.len > 0) {
        memcpy(copy, b.data, b.len);
    }
    return copy;
}

static void assert_refused(struct bytes encoded, uint32_t n)
{
    static const struct operation_result zero;
    struct operation_result *results = new_results(n);
    uint8_t *copy = copy_of(encoded);
    assert_false(outcome_decode(bytes_of(copy, encoded.len), BASE, results, n));
    for (uint32_t i = 0; i < n; i++) {
        assert_true(same(&results[i], &zero));
    }
    free(copy);
    free(results);
}

static void assert_round_trip(const struct operation_result *results, uint32_t n, struct buf *out)
{
    buf_clear(out);
    outcome_encode(results, n, out);
    assert_false(out->failed);
    struct operation_result *back = new_results(n);
    uint8_t *copy = copy_of(buf_bytes(out));
    assert_true(outcome_decode(bytes_of(copy, out->len), BASE, back, n));
    free(copy); /* the values are copies */
    for (uint32_t i = 0; i < n; i++) {
        struct operation_result want = results[i];
        want.version += want.written ? BASE : 0;
        assert_true(same(&back[i], &want));
        assert_true(back[i].value == NULL || back[i].value->refs == 1);
    }
    drop_results(back, n);
}

static void assert_every_cut_is_refused(const struct buf *whole, uint32_t n)
{
    for (size_t len = 0; len < whole->len; len++) {
        assert_refused(bytes_of(whole->data, len), n);
    }
}

static void assert_every_byte_more_is_refused(const struct buf *whole, uint32_t n)
{
    struct buf more;
    buf_init(&more);
    for (unsigned byte = 0; byte < 256; byte++) {
        buf_clear(&more);
        buf_append(&more, whole->data, whole->len);
        buf_append_u8(&more, (uint8_t)byte);
        assert_refused(buf_bytes(&more), n);
    }
    buf_deinit(&more);
}

/* ---- Bytes ---- */

static void the_format_stays_as_it_is(void **state)
{
    (void)state;
    struct value *value = value_create(bytes_from_text("old"));
    struct value *empty = value_create(bytes_from_text(""));
    const struct {
        struct operation_result result;
        const char *bytes;
        size_t len;
    } rows[] = {
#define BYTES(literal) literal, sizeof(literal) - 1
        {{.found = false}, BYTES("\x00")},
        {{.found = true}, BYTES("\x01")},
        {{.found = true, .written = true}, BYTES("\x03\x00")}, /* one plain set */
        {{.found = true, .written = true, .version = 127}, BYTES("\x03\x7f")},
        {{.found = true, .written = true, .version = 128}, BYTES("\x03\x80\x01")},
        {{.found = true, .written = true, .version = 65535}, BYTES("\x03\xff\xff\x03")},
        {{.written = true, .version = 1}, BYTES("\x02\x01")},
        {{.found = true, .written = true, .has_number = true, .number = -1}, BYTES("\x07\x00\x01")},
        {{.found = true, .written = true, .has_number = true, .number = 1}, BYTES("\x07\x00\x02")},
        {{.has_number = true, .number = INT64_MAX}, BYTES("\x04\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01")},
        {{.has_number = true, .number = INT64_MIN}, BYTES("\x04\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")},
        {{.found = true, .written = true, .has_length = true, .length = 300, .type = 9},
            BYTES("\x0b\x00\xac\x02\x09")},
        {{.has_length = true, .length = UINT32_MAX}, BYTES("\x08\xff\xff\xff\xff\x0f\x00")},
        {{.found = true, .written = true, .value = value}, BYTES("\x13\x00\x03old")},
        {{.found = true, .value = empty}, BYTES("\x11\x00")},
        {{.found = true, .version = 5}, BYTES("\x21\x05")},
        {{.version = UINT64_MAX}, BYTES("\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")},
        {{.found = true, .written = true, .expires_at_ms = 1}, BYTES("\x43\x00\x01")},
        {{.found = true,
             .written = true,
             .version = 2,
             .has_number = true,
             .number = 3,
             .has_length = true,
             .length = 4,
             .type = 5,
             .expires_at_ms = 6,
             .value = value},
            BYTES("\x5f\x02\x06\x04\x05\x06\x03old")},
#undef BYTES
    };
    struct buf out;
    buf_init(&out);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_round_trip(&rows[i].result, 1, &out);
        if (!bytes_equal(buf_bytes(&out), bytes_of(rows[i].bytes, rows[i].len))) {
            fail_msg("row %zu has other bytes", i);
        }
        assert_every_cut_is_refused(&out, 1);
        assert_every_byte_more_is_refused(&out, 1);
    }
    buf_deinit(&out);
    value_unref(value);
    value_unref(empty);
}

static void what_the_encoder_does_not_make_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        const char *bytes;
        size_t len;
    } rows[] = {
#define BYTES(literal) literal, sizeof(literal) - 1
        {"an unknown flag", BYTES("\x80")},
        {"an unknown flag beside known ones", BYTES("\x83\x00")},
        {"an ordinal and a version", BYTES("\x23\x01\x01")},
        {"a version that is 0", BYTES("\x21\x00")},
        {"an expiry that is 0", BYTES("\x41\x00")},
        {"an ordinal of more than 16 bits", BYTES("\x03\x80\x80\x04")},
        {"a needless byte", BYTES("\x03\x80\x00")},
        {"needless bytes", BYTES("\x21\x81\x80\x80\x00")},
        {"65 bits", BYTES("\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02")},
        {"ten bytes without an end", BYTES("\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")},
        {"eleven bytes", BYTES("\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00")},
        {"a length of 33 bits", BYTES("\x08\x80\x80\x80\x80\x10\x00")},
        {"a value beyond the end", BYTES("\x11\x04old")},
        {"a value of 4 GiB", BYTES("\x11\xff\xff\xff\xff\x0fold")},
        {"a value of 2^64 - 1 bytes", BYTES("\x11\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01old")},
#undef BYTES
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct operation_result result;
        if (outcome_decode(bytes_of(rows[i].bytes, rows[i].len), BASE, &result, 1)) {
            fail_msg("%s was taken", rows[i].why);
        }
        assert_refused(bytes_of(rows[i].bytes, rows[i].len), 1);
    }
}

/* ---- Shapes ---- */

/* Fill *@r with the shape whose number is @shape: each of its parts at one of its edges. */
static void make_shape(unsigned shape, struct value *value, struct operation_result *r)
{
    static const uint64_t versions[] = {1, 127, 128, 65535, 65536, UINT64_C(1) << 62, UINT64_MAX};
    static const uint64_t ordinals[] = {0, 1, 127, 128, 16383, 16384, 65535};
    static const int64_t numbers[] = {0, -1, 1, 63, 64, -64, -65, INT64_MAX, INT64_MIN};
    static const uint32_t lengths[] = {0, 127, 128, LIMIT_VALUE_BYTES, UINT32_MAX};
    static const uint64_t expiries[] = {1, 1700000000000, OPERATION_EXPIRES_AT_MAX_MS, UINT64_MAX};
    unsigned edge = shape / 128;
    *r = (struct operation_result){
        .found = shape & 1, .written = shape & 2, .has_number = shape & 4, .has_length = shape & 8};
    if (r->written) {
        r->version = ordinals[edge % 7];
    } else if (shape & 32) {
        r->version = versions[edge % 7];
    }
    r->number = r->has_number ? numbers[edge % 9] : 0;
    r->length = r->has_length ? lengths[edge % 5] : 0;
    r->type = r->has_length ? (uint8_t)(edge * 85) : 0;
    r->value = shape & 16 ? value_ref(value) : NULL;
    r->expires_at_ms = shape & 64 ? expiries[edge % 4] : 0;
}

enum { SHAPES = 128 * 9 };

static void every_shape_comes_back(void **state)
{
    (void)state;
    struct value *value = value_create(bytes_of("\0v", 2));
    struct buf out;
    buf_init(&out);
    for (unsigned shape = 0; shape < SHAPES; shape++) {
        struct operation_result result;
        make_shape(shape, value, &result);
        assert_round_trip(&result, 1, &out);
        assert_every_cut_is_refused(&out, 1);
        buf_append_u8(&out, 0);
        assert_refused(buf_bytes(&out), 1);
        operation_result_clear(&result);
    }
    buf_deinit(&out);
    value_unref(value);
}

static void the_largest_value_comes_back(void **state)
{
    (void)state;
    uint8_t *content = malloc(LIMIT_VALUE_BYTES);
    assert_non_null(content);
    memset(content, 'x', LIMIT_VALUE_BYTES);
    struct operation_result result = {
        .found = true, .value = value_create(bytes_of(content, LIMIT_VALUE_BYTES))};
    struct buf out;
    buf_init(&out);
    assert_round_trip(&result, 1, &out);
    assert_refused(bytes_of(out.data, out.len - 1), 1);
    buf_deinit(&out);
    operation_result_clear(&result);
    free(content);
}

static void as_many_results_as_a_request_has_come_back(void **state)
{
    (void)state;
    enum { N = LIMIT_REQUEST_KEYS };
    struct value *value = value_create(bytes_from_text("v"));
    struct operation_result *results = new_results(N);
    struct buf out;
    buf_init(&out);
    for (unsigned i = 0; i < N; i++) {
        make_shape(i % SHAPES, value, &results[i]);
    }
    assert_round_trip(results, N, &out);
    assert_refused(buf_bytes(&out), N - 1);
    assert_refused(buf_bytes(&out), N + 1);
    assert_refused(bytes_of(out.data, out.len - 1), N);
    assert_refused(bytes_of(out.data, out.len / 2), N);
    drop_results(results, N);
    buf_deinit(&out);
    value_unref(value);
}

static void a_cut_in_any_of_several_results_frees_those_before(void **state)
{
    (void)state;
    enum { N = 40 };
    struct value *value = value_create(bytes_from_text("value"));
    struct operation_result *results = new_results(N);
    struct buf out;
    buf_init(&out);
    for (unsigned i = 0; i < N; i++) {
        make_shape(16 + i * 29, value, &results[i]); /* most of them with a value */
    }
    assert_round_trip(results, N, &out);
    assert_every_cut_is_refused(&out, N);
    assert_every_byte_more_is_refused(&out, N);
    drop_results(results, N);
    buf_deinit(&out);
    value_unref(value);
}

static void no_results_are_no_bytes(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out);
    outcome_encode(NULL, 0, &out);
    assert_int_equal(out.len, 0);
    assert_true(outcome_decode(buf_bytes(&out), BASE, NULL, 0));
    assert_false(outcome_decode(bytes_from_text("x"), BASE, NULL, 0));
    buf_deinit(&out);
}

static void encoding_appends(void **state)
{
    (void)state;
    const struct operation_result result = {.found = true, .written = true, .version = 4};
    struct buf out;
    buf_init(&out);
    buf_append_u8(&out, 0xee);
    outcome_encode(&result, 1, &out);
    assert_true(bytes_equal(buf_bytes(&out), bytes_of("\xee\x03\x04", 3)));
    buf_deinit(&out);
}

/* Whatever a byte is changed to: it is refused, or it says something else, which has these bytes. */
static void a_changed_byte_is_refused_or_means_what_it_says(void **state)
{
    (void)state;
    struct value *value = value_create(bytes_from_text("value"));
    struct operation_result results[3];
    make_shape(127 - 32, value, &results[0]);
    make_shape(128 * 3 + 127 - 2, value, &results[1]);
    make_shape(128 * 8 + 3, value, &results[2]);
    struct buf out, again;
    buf_init(&out);
    buf_init(&again);
    outcome_encode(results, 3, &out);
    unsigned taken = 0, refused = 0;
    for (size_t at = 0; at < out.len; at++) {
        for (unsigned change = 1; change < 256; change++) {
            struct operation_result back[3];
            out.data[at] ^= (uint8_t)change;
            if (outcome_decode(buf_bytes(&out), 0, back, 3)) {
                taken++;
                buf_clear(&again);
                outcome_encode(back, 3, &again);
                assert_true(bytes_equal(buf_bytes(&out), buf_bytes(&again)));
                for (int i = 0; i < 3; i++) {
                    operation_result_clear(&back[i]);
                }
            } else {
                refused++;
                assert_refused(buf_bytes(&out), 3);
            }
            out.data[at] ^= (uint8_t)change;
        }
    }
    assert_true(taken > 0 && refused > 0);
    buf_deinit(&out);
    buf_deinit(&again);
    for (int i = 0; i < 3; i++) {
        operation_result_clear(&results[i]);
    }
    value_unref(value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_format_stays_as_it_is),
        cmocka_unit_test(what_the_encoder_does_not_make_is_refused),
        cmocka_unit_test(every_shape_comes_back),
        cmocka_unit_test(the_largest_value_comes_back),
        cmocka_unit_test(as_many_results_as_a_request_has_come_back),
        cmocka_unit_test(a_cut_in_any_of_several_results_frees_those_before),
        cmocka_unit_test(no_results_are_no_bytes),
        cmocka_unit_test(encoding_appends),
        cmocka_unit_test(a_changed_byte_is_refused_or_means_what_it_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
