#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tools/wbbench/keys.h"

static void every_key_of_a_small_set_comes_up_and_none_other(void **state)
{
    for (int d = KEYS_UNIFORM; d <= KEYS_SEQUENTIAL; d++) {
        for (uint64_t count = 1; count <= 7; count++) {
            struct keys k;
            unsigned seen[7] = {0};
            keys_init(&k, count, (enum keys_distribution)d, 0.99, 1);
            for (int i = 0; i < 5000; i++) {
                uint64_t key = keys_next(&k);
                assert_true(key < count);
                seen[key]++;
            }
            for (uint64_t i = 0; i < count; i++) {
                assert_true(seen[i] > 0);
            }
        }
    }
}

static void one_seed_gives_one_sequence(void **state)
{
    struct keys a;
    struct keys b;
    struct keys c;
    keys_init(&a, 1000000, KEYS_UNIFORM, 0, 7);
    keys_init(&b, 1000000, KEYS_UNIFORM, 0, 7);
    keys_init(&c, 1000000, KEYS_UNIFORM, 0, 8);
    int same = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t key = keys_next(&a);
        assert_int_equal(key, keys_next(&b));
        same += key == keys_next(&c);
    }
    assert_true(same < 5);
}

static void uniform_fills_tenths_evenly(void **state)
{
    struct keys k;
    unsigned tenths[10] = {0};
    keys_init(&k, 1000, KEYS_UNIFORM, 0, 3);
    for (int i = 0; i < 100000; i++) {
        tenths[keys_next(&k) / 100]++;
    }
    for (int i = 0; i < 10; i++) {
        assert_in_range(tenths[i], 9500, 10500);
    }
}

/* With theta 0.99 and 1,000 keys, P(rank 0) = 1 / zeta(1000, 0.99) = 0.1296 and P(rank 1) = 0.0653. */
static void zipf_favours_the_first_ranks_as_the_formula_says(void **state)
{
    struct keys k;
    unsigned ranks[1000] = {0};
    keys_init(&k, 1000, KEYS_ZIPF, 0.99, 5);
    for (int i = 0; i < 200000; i++) {
        ranks[keys_next_rank(&k)]++;
    }
    assert_in_range(ranks[0], 25000, 27000);
    assert_in_range(ranks[1], 12400, 13700);
    assert_true(ranks[1] > ranks[10] && ranks[10] > ranks[500]);
}

static void zipf_scatters_each_rank_to_a_key_of_its_own(void **state)
{
    struct keys a;
    struct keys b;
    uint64_t key_of[100];
    uint64_t rank_of[100];
    for (int i = 0; i < 100; i++) {
        key_of[i] = rank_of[i] = UINT64_MAX;
    }
    keys_init(&a, 100, KEYS_ZIPF, 0.5, 9);
    keys_init(&b, 100, KEYS_ZIPF, 0.5, 9);
    int moved = 0;
    for (int i = 0; i < 20000; i++) {
        uint64_t rank = keys_next_rank(&a);
        uint64_t key = keys_next(&b);
        assert_true(key_of[rank] == UINT64_MAX || key_of[rank] == key);
        assert_true(rank_of[key] == UINT64_MAX || rank_of[key] == rank);
        moved += rank != key;
        key_of[rank] = key;
        rank_of[key] = rank;
    }
    assert_true(moved > 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_of_a_small_set_comes_up_and_none_other),
        cmocka_unit_test(one_seed_gives_one_sequence),
        cmocka_unit_test(uniform_fills_tenths_evenly),
        cmocka_unit_test(zipf_favours_the_first_ranks_as_the_formula_says),
        cmocka_unit_test(zipf_scatters_each_rank_to_a_key_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
