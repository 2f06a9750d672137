#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tools/wbbench/histogram.h"

static struct histogram h;

static int empty(void **state)
{
    histogram_init(&h);
    return 0;
}

static void an_empty_histogram_says_zero(void **state)
{
    assert_int_equal(histogram_percentile(&h, 50), 0);
    assert_int_equal(histogram_percentile(&h, 100), 0);
    assert_true(histogram_mean(&h) == 0);
}

static void small_values_are_exact(void **state)
{
    for (uint64_t v = 0; v < 256; v++) {
        histogram_add(&h, v);
    }
    for (uint64_t v = 0; v < 256; v++) {
        assert_int_equal(histogram_percentile(&h, 100.0 * (double)(v + 1) / 256.0), v);
    }
    assert_int_equal(h.min, 0);
    assert_int_equal(h.max, 255);
    assert_true(histogram_mean(&h) == 127.5);
}

/* One value alone must come back at most 1 % too large, and never too small. @max hides nothing: a second,
 * larger value keeps the percentile from being cut to it. */
static void any_value_comes_back_within_one_percent(void **state)
{
    uint64_t x = 88172645463325252ULL; /* xorshift64 from a fixed seed */
    for (int i = 0; i < 20000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        uint64_t value = (x >> (i % 62)) & (UINT64_MAX >> 1);
        histogram_init(&h);
        histogram_add(&h, value);
        histogram_add(&h, UINT64_MAX);
        uint64_t got = histogram_percentile(&h, 50);
        assert_true(got >= value);
        assert_true(got - value <= value / 100);
    }
}

static void the_edges_of_powers_of_two_fall_in_order(void **state)
{
    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t at = (uint64_t)1 << bit;
        uint64_t values[] = {at - 1, at, at | (at - 1)};
        for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
            histogram_init(&h);
            histogram_add(&h, values[i]);
            assert_int_equal(histogram_percentile(&h, 100), values[i]);
            assert_int_equal(h.min, values[i]);
        }
        histogram_init(&h);
        histogram_add(&h, at - 1);
        histogram_add(&h, at);
        assert_true(histogram_percentile(&h, 50) <= histogram_percentile(&h, 100));
        assert_true(histogram_percentile(&h, 50) < at || bit == 0);
    }
}

static void percentiles_cut_where_the_ranks_say(void **state)
{
    for (int i = 0; i < 990; i++) {
        histogram_add(&h, 100);
    }
    for (int i = 0; i < 9; i++) {
        histogram_add(&h, 200);
    }
    histogram_add(&h, 1000000);
    assert_int_equal(histogram_percentile(&h, 0), 100);
    assert_int_equal(histogram_percentile(&h, 50), 100);
    assert_int_equal(histogram_percentile(&h, 99), 100);
    assert_int_equal(histogram_percentile(&h, 99.05), 200);
    assert_int_equal(histogram_percentile(&h, 99.9), 200);
    assert_int_equal(histogram_percentile(&h, 99.95), 1000000);
    assert_int_equal(histogram_percentile(&h, 100), 1000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_empty_histogram_says_zero, empty),
        cmocka_unit_test_setup(small_values_are_exact, empty),
        cmocka_unit_test_setup(any_value_comes_back_within_one_percent, empty),
        cmocka_unit_test_setup(the_edges_of_powers_of_two_fall_in_order, empty),
        cmocka_unit_test_setup(percentiles_cut_where_the_ranks_say, empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
