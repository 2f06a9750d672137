/* The parts of `wbbench flush` that need neither a cluster nor a database. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/slot.h"
#include "tools/wbbench/flush_figures.h"
#include "tools/wbbench/flush_rows.h"

static void every_key_comes_once_and_in_its_own_group(void **state)
{
    enum { N = 1000, GROUPS = 3 };
    struct flush_rows r;
    flush_rows_init(&r, N, GROUPS);
    flush_rows_shuffle(&r, 7);
    bool ordered[N] = {false}, grouped[N] = {false};
    for (uint32_t i = 0; i < N; i++) {
        assert_false(ordered[r.order[i]]);
        ordered[r.order[i]] = true;
    }
    assert_int_equal(r.group_first[0], 0);
    assert_int_equal(r.group_first[GROUPS], N);
    for (uint32_t g = 0; g < GROUPS; g++) {
        for (uint32_t i = r.group_first[g]; i < r.group_first[g + 1]; i++) {
            uint32_t number = r.by_group[i];
            assert_false(grouped[number]);
            grouped[number] = true;
            assert_int_equal(slot_group(slot_of(bytes_of(r.keys[number], FLUSH_KEY_BYTES)), GROUPS), g);
        }
    }
    flush_rows_deinit(&r);
}

static void a_group_is_written_in_the_order_of_all(void **state)
{
    enum { N = 500, GROUPS = 2 };
    struct flush_rows r;
    flush_rows_init(&r, N, GROUPS);
    flush_rows_shuffle(&r, 7);
    for (uint32_t g = 0; g < GROUPS; g++) {
        uint32_t at = r.group_first[g];
        for (uint32_t i = 0; i < N && at < r.group_first[g + 1]; i++) {
            at += r.order[i] == r.by_group[at] ? 1 : 0;
        }
        assert_int_equal(at, r.group_first[g + 1]);
    }
    assert_memory_not_equal(r.order, r.by_group, sizeof *r.order * N);
    flush_rows_deinit(&r);
}

static void each_seed_gives_an_order_of_its_own_and_always_the_same(void **state)
{
    enum { N = 200 };
    struct flush_rows a, b;
    flush_rows_init(&a, N, 2);
    flush_rows_init(&b, N, 2);
    flush_rows_shuffle(&a, 1);
    flush_rows_shuffle(&b, 1);
    assert_memory_equal(a.order, b.order, N * sizeof *a.order);
    assert_memory_equal(a.by_group, b.by_group, N * sizeof *a.by_group);
    flush_rows_shuffle(&b, 2);
    assert_memory_not_equal(a.order, b.order, N * sizeof *a.order);
    flush_rows_deinit(&a);
    flush_rows_deinit(&b);
}

static void one_key_is_enough(void **state)
{
    struct flush_rows r;
    flush_rows_init(&r, 1, 1);
    flush_rows_shuffle(&r, 1);
    assert_int_equal(r.order[0], 0);
    assert_memory_equal(r.keys[0], "bench:0000000000", FLUSH_KEY_BYTES);
    flush_rows_deinit(&r);
}

static void a_value_begins_with_its_mark(void **state)
{
    uint8_t a[100], b[100], short_one[FLUSH_MARK_BYTES];
    flush_rows_value(0xab, a, sizeof a);
    flush_rows_value(0xac, b, sizeof b);
    flush_rows_value(0xffffffff, short_one, sizeof short_one);
    assert_memory_equal(a, "000000ab", FLUSH_MARK_BYTES);
    assert_memory_equal(b, "000000ac", FLUSH_MARK_BYTES);
    assert_memory_equal(short_one, "ffffffff", FLUSH_MARK_BYTES);
    assert_memory_not_equal(a + FLUSH_MARK_BYTES, b + FLUSH_MARK_BYTES, sizeof a - FLUSH_MARK_BYTES);
}

/* Read the header that array_recv would, and return where the elements begin. */
static size_t read_header(const struct buf *b, uint32_t type, uint32_t n, bool has_nulls)
{
    assert_true(b->len >= 20);
    assert_int_equal(load_be32(b->data), 1);
    assert_int_equal(load_be32(b->data + 4), has_nulls);
    assert_int_equal(load_be32(b->data + 8), type);
    assert_int_equal(load_be32(b->data + 12), n);
    assert_int_equal(load_be32(b->data + 16), 1);
    return 20;
}

static void arrays_hold_the_rows_sorted_by_key(void **state)
{
    struct flush_rows r;
    flush_rows_init(&r, 10, 1);
    struct flush_arrays a;
    flush_arrays_init(&a);
    uint32_t numbers[] = {7, 2, 9}, others[] = {5};
    /* A build replaces what the one before it left. */
    flush_arrays_build(&a, &r, others, 1, bytes_of("other", 5), 1);
    flush_arrays_build(&a, &r, numbers, 3, bytes_of("abc", 3), 77);
    size_t key = read_header(&a.keys, 17, 3, false), value = read_header(&a.values, 17, 3, false);
    size_t version = read_header(&a.versions, 20, 3, false), expires = read_header(&a.expires, 1184, 3, true);
    static const uint32_t sorted[] = {2, 7, 9};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(load_be32(a.keys.data + key), FLUSH_KEY_BYTES);
        assert_memory_equal(a.keys.data + key + 4, r.keys[sorted[i]], FLUSH_KEY_BYTES);
        assert_int_equal(load_be32(a.values.data + value), 3);
        assert_memory_equal(a.values.data + value + 4, "abc", 3);
        assert_int_equal(load_be32(a.versions.data + version), 8);
        assert_int_equal(load_be64(a.versions.data + version + 4), 77);
        assert_int_equal(load_be32(a.expires.data + expires), UINT32_MAX);
        key += 4 + FLUSH_KEY_BYTES;
        value += 7;
        version += 12;
        expires += 4;
    }
    assert_int_equal(key, a.keys.len);
    assert_int_equal(value, a.values.len);
    assert_int_equal(version, a.versions.len);
    assert_int_equal(expires, a.expires.len);
    flush_arrays_deinit(&a);
    flush_rows_deinit(&r);
}

static void medians_of_odd_and_even_numbers_of_runs(void **state)
{
    struct flush_side s = {0};
    assert_float_equal(flush_side_seconds(&s), 0, 0);
    assert_float_equal(flush_side_rows_per_second(&s, 100), 0, 0);
    assert_true(flush_side_cpu_us_per_row(&s, 100) < 0);
    flush_side_add(&s, 4, 1);
    flush_side_add(&s, 1, 2);
    flush_side_add(&s, 2, 9);
    assert_float_equal(flush_side_seconds(&s), 2, 1e-9);
    assert_float_equal(flush_side_rows_per_second(&s, 100), 50, 1e-9);
    assert_float_equal(flush_side_cpu_us_per_row(&s, 1000), 2000, 1e-9);
    flush_side_add(&s, 3, -1); /* one run without: not known */
    assert_float_equal(flush_side_seconds(&s), 2.5, 1e-9);
    assert_true(flush_side_cpu_us_per_row(&s, 1000) < 0);
    for (unsigned i = 4; i < FLUSH_RUNS_MAX; i++) {
        assert_true(flush_side_add(&s, 1, 1));
    }
    assert_false(flush_side_add(&s, 1, 1));
}

static void the_peer_is_judged_at_its_best(void **state)
{
    struct flush_part p = {.rows = 1000};
    assert_null(flush_part_best_peer(&p));
    assert_float_equal(flush_part_ratio(&p), 0, 0);
    flush_side_add(&p.cache, 2, 0);
    assert_float_equal(flush_part_ratio(&p), 0, 0);
    flush_side_add(&p.peers[1], 3, 0);
    flush_side_add(&p.peers[2], 1.5, 0);
    assert_ptr_equal(flush_part_best_peer(&p), &p.peers[2]);
    assert_float_equal(flush_part_ratio(&p), 0.75, 1e-9);
}

static void reads_the_processor_time_of_a_process(void **state)
{
    struct flush_proc_stat s;
    assert_true(
        flush_proc_stat_parse("41 (postgres) S 40 41 41 0 -1 4194368 100 200 3 4 50 60 7 8 20 0 1 0 9", &s));
    assert_int_equal(s.parent, 40);
    assert_int_equal(s.ticks, 110);
    assert_int_equal(s.children_ticks, 15);
    assert_true(flush_proc_stat_parse("41 (a ) b (c) S 1 2 3 0 -1 0 1 1 1 1 5 6 7 8 20", &s));
    assert_int_equal(s.parent, 1);
    assert_int_equal(s.ticks, 11);
    assert_false(flush_proc_stat_parse("", &s));
    assert_false(flush_proc_stat_parse("41 postgres S 1", &s));
    assert_false(flush_proc_stat_parse("41 (postgres) S 40 41 41 0 -1 4194368 100 200 3 4 50 60", &s));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_comes_once_and_in_its_own_group),
        cmocka_unit_test(a_group_is_written_in_the_order_of_all),
        cmocka_unit_test(each_seed_gives_an_order_of_its_own_and_always_the_same),
        cmocka_unit_test(one_key_is_enough),
        cmocka_unit_test(a_value_begins_with_its_mark),
        cmocka_unit_test(arrays_hold_the_rows_sorted_by_key),
        cmocka_unit_test(medians_of_odd_and_even_numbers_of_runs),
        cmocka_unit_test(the_peer_is_judged_at_its_best),
        cmocka_unit_test(reads_the_processor_time_of_a_process),
    };
    return cmocka_run_group_tests_name("flush_bench", tests, NULL, NULL);
}
