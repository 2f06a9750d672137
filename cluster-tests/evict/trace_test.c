#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/alloc.h"
#include "cluster-tests/evict/trace.h"

static const struct trace_options small = {
    .keys = 1000, .requests = 20000, .cache = 0.1, .objects = TRACE_LOGNORMAL, .seed = 3};

static const struct trace_kind *kind_of(const char *name)
{
    for (size_t i = 0; i < trace_kinds_n; i++) {
        if (strcmp(trace_kinds[i].name, name) == 0) {
            return &trace_kinds[i];
        }
    }
    fail_msg("no trace %s", name);
    return NULL;
}

static void the_same_seed_gives_the_same_trace_and_another_one_another(void **unused)
{
    for (size_t i = 0; i < trace_kinds_n; i++) {
        struct trace a, b, c;
        struct trace_options other = small;
        other.seed = 4;
        trace_init(&a, &trace_kinds[i], &small);
        trace_init(&b, &trace_kinds[i], &small);
        trace_init(&c, &trace_kinds[i], &other);
        assert_int_equal(a.keys_n, b.keys_n);
        assert_memory_equal(a.requests, b.requests, a.requests_n * sizeof *a.requests);
        assert_memory_equal(a.bytes, b.bytes, a.keys_n * sizeof *a.bytes);
        assert_memory_not_equal(a.requests, c.requests, a.requests_n * sizeof *a.requests);
        trace_deinit(&a);
        trace_deinit(&b);
        trace_deinit(&c);
    }
}

static void the_first_key_of_zipf_is_asked_for_twice_as_often_as_the_second(void **unused)
{
    struct trace t;
    struct trace_options o = small;
    o.requests = 200000;
    trace_init(&t, kind_of("zipf-1.0"), &o);
    uint32_t asked[2] = {0};
    for (uint32_t i = 0; i < t.requests_n; i++) {
        assert_true(t.requests[i].key < o.keys);
        if (t.requests[i].key < 2) {
            asked[t.requests[i].key]++;
        }
    }
    /* 1 / (1 + 1/2 + ... + 1/1000) is 0.1336 */
    assert_in_range(asked[0], 200000 * 0.128, 200000 * 0.139);
    assert_in_range(asked[1], 200000 * 0.064, 200000 * 0.070);
    trace_deinit(&t);
}

static void the_shares_are_as_the_table_of_traces_says(void **unused)
{
    for (size_t i = 0; i < trace_kinds_n; i++) {
        const struct trace_kind *kind = &trace_kinds[i];
        struct trace t;
        trace_init(&t, kind, &small);
        uint32_t loop_end = small.keys + 121; /* a fifth more than 100 */
        double scans = 0, loops = 0, writes = 0;
        uint32_t *times = xcalloc(t.keys_n, sizeof *times);
        for (uint32_t r = 0; r < t.requests_n; r++) {
            uint32_t key = t.requests[r].key;
            assert_true(key < t.keys_n);
            scans += key >= loop_end;
            loops += key >= small.keys && key < loop_end;
            writes += t.requests[r].write;
            times[key]++;
            assert_true(key < loop_end || times[key] == 1);
        }
        assert_float_equal(scans / t.requests_n, kind->scan, 0.001);
        assert_float_equal(loops / t.requests_n, kind->loop, 0.001);
        assert_float_equal(writes / t.requests_n, kind->writes, 0.02);
        free(times);
        trace_deinit(&t);
    }
}

static void the_popular_keys_of_a_shifting_trace_change(void **unused)
{
    const char *names[] = {"zipf-0.9", "shift"};
    for (uint32_t shifting = 0; shifting < 2; shifting++) {
        struct trace t;
        trace_init(&t, kind_of(names[shifting]), &small);
        uint32_t early = 0, late = 0; /* requests for the ten keys that are the most popular at first */
        for (uint32_t i = 0; i < 1000; i++) {
            early += t.requests[i / 10].key < 10;
            late += t.requests[t.requests_n / 2 + i].key < 10;
        }
        assert_true(early > 200);
        assert_true(shifting ? late < 50 : late > 200);
        trace_deinit(&t);
    }
}

static void sizes_are_as_asked_for_and_the_footprint_is_their_sum(void **unused)
{
    uint32_t distinct[TRACE_OBJECTS] = {0};
    for (int objects = 0; objects < TRACE_OBJECTS; objects++) {
        struct trace t;
        struct trace_options o = small;
        o.objects = (enum trace_objects)objects;
        trace_init(&t, kind_of("scan"), &o);
        uint64_t sum = 0;
        for (uint32_t k = 0; k < t.keys_n; k++) {
            assert_in_range(t.bytes[k], 48, 16384);
            distinct[objects] += t.bytes[k] != t.bytes[0];
            sum += k < o.keys ? t.bytes[k] : 0;
        }
        assert_int_equal(t.footprint, sum);
        trace_deinit(&t);
    }
    assert_int_equal(distinct[TRACE_EQUAL], 0);
    assert_true(distinct[TRACE_UNIFORM] > 900 && distinct[TRACE_LOGNORMAL] > 900);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_seed_gives_the_same_trace_and_another_one_another),
        cmocka_unit_test(the_first_key_of_zipf_is_asked_for_twice_as_often_as_the_second),
        cmocka_unit_test(the_shares_are_as_the_table_of_traces_says),
        cmocka_unit_test(the_popular_keys_of_a_shifting_trace_change),
        cmocka_unit_test(sizes_are_as_asked_for_and_the_footprint_is_their_sum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
