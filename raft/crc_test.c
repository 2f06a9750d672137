#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "raft/crc.h"

enum { BYTES_MAX = 4096 + 64 };

static void fill(uint8_t *bytes, size_t n, unsigned seed)
{
    uint32_t x = seed * 2654435761u + 1;
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        bytes[i] = (uint8_t)(x >> 24);
    }
}

static void is_librafts_function_at_every_length_and_place(void **state)
{
    (void)state;
    uint8_t *bytes = malloc(BYTES_MAX + 16);
    for (size_t size = 0; size <= 600; size++) {
        fill(bytes, BYTES_MAX + 16, (unsigned)size);
        unsigned init = (unsigned)size * 0x9e3779b9u;
        size_t place = size % 16;
        assert_int_equal(
            __wrap_byteCrc32(bytes + place, size, init), __real_byteCrc32(bytes + place, size, init));
    }
    for (size_t size = BYTES_MAX - 64; size <= BYTES_MAX; size++) {
        assert_int_equal(__wrap_byteCrc32(bytes, size, 0), __real_byteCrc32(bytes, size, 0));
    }
    free(bytes);
}

static void goes_on_from_where_it_stopped(void **state)
{
    (void)state;
    uint8_t bytes[300];
    fill(bytes, sizeof bytes, 7);
    for (size_t cut = 0; cut <= sizeof bytes; cut++) {
        unsigned first = __wrap_byteCrc32(bytes, cut, 0);
        assert_int_equal(__wrap_byteCrc32(bytes + cut, sizeof bytes - cut, first),
            __real_byteCrc32(bytes, sizeof bytes, 0));
    }
}

static void sees_every_flipped_bit(void **state)
{
    (void)state;
    uint8_t bytes[128];
    fill(bytes, sizeof bytes, 11);
    unsigned crc = __wrap_byteCrc32(bytes, sizeof bytes, 0);
    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_not_equal(__wrap_byteCrc32(bytes, sizeof bytes, 0), crc);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_librafts_function_at_every_length_and_place),
        cmocka_unit_test(goes_on_from_where_it_stopped),
        cmocka_unit_test(sees_every_flipped_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
