/* A libFuzzer target for the fields of hashes, as log entries, snapshots and the database bring them, and as
 * clients change them. Build and run with tools/fuzz.
 *
 * The input's first bit says what it is: bytes to decode; or changes, which the functions and a plain array
 * (see fields_test_model.h) must make the same of. What is valid can be walked, is made again to the same
 * bytes, equals itself, and has no part and no extension that is valid too. */
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/fields_test_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A walk over any bytes stays within them, and ends. */
static uint32_t walk(struct bytes encoded)
{
    struct field field;
    uint32_t n = 0;
    for (size_t at = 0; fields_next(encoded, &at, &field); n++) {
        CHECK(at <= encoded.len);
    }
    return n;
}

static void check_valid(struct bytes encoded)
{
    struct buf again, changed;
    struct field field;
    struct bytes value;
    CHECK(walk(encoded) == fields_count(encoded));
    buf_init(&again);
    buf_init(&changed);
    fields_begin(&again);
    for (size_t at = 0; fields_next(encoded, &at, &field);) {
        fields_add(&again, field.name, field.value);
    }
    fields_end(&again, fields_count(encoded));
    CHECK(bytes_equal(buf_bytes(&again), encoded));
    CHECK(fields_equal(encoded, buf_bytes(&again)));

    size_t at = 0; /* of the first field: its value is not changed, then it goes */
    CHECK(fields_next(encoded, &at, &field));
    CHECK(fields_find(encoded, field.name, &value) && bytes_equal(value, field.value));
    CHECK(fields_set(encoded, &field, 1, &changed) == 0 && bytes_equal(buf_bytes(&changed), encoded));
    buf_clear(&changed);
    CHECK(fields_remove(encoded, &field.name, 1, &changed) == 1);
    CHECK(changed.len == 0 ? fields_count(encoded) == 1 : fields_valid(buf_bytes(&changed)));
    CHECK(!fields_valid(bytes_of(encoded.data, encoded.len - 1)));
    buf_append_u8(&again, 0);
    CHECK(!fields_valid(buf_bytes(&again)));
    buf_deinit(&changed);
    buf_deinit(&again);
}

/* The bytes are a copy, so that reading past them is seen. */
static void check_raw(struct bytes input)
{
    uint8_t *copy = xmalloc(input.len + 1);
    if (input.len > 0) {
        memcpy(copy + 1, input.data, input.len);
    }
    struct bytes encoded = bytes_of(copy + 1, input.len);
    walk(encoded);
    if (fields_valid(encoded)) {
        check_valid(encoded);
    }
    free(copy);
}

static uint8_t next_of_input(void *data)
{
    struct bytes *left = data;
    if (left->len == 0) {
        return 0;
    }
    uint8_t byte = left->data[0];
    *left = bytes_of(left->data + 1, left->len - 1);
    return byte;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    struct bytes left = bytes_of(data + 1, size - 1);
    if (data[0] % 2) {
        check_raw(left);
        return 0;
    }
    struct model m = {.next = next_of_input, .data = &left};
    while (left.len > 0) {
        CHECK(model_step(&m));
    }
    buf_deinit(&m.encoded);
    return 0;
}
