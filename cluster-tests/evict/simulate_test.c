#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "cluster-tests/evict/simulate.h"

/* Run the reads (lower case) and writes (upper case) of the keys a to h, each of one byte, through a cache of
 * @capacity of them. The hits, without the first quarter of the requests. */
static uint64_t hits_of(const struct policy_kind *kind, const char *text, uint32_t capacity)
{
    struct trace_request requests[64];
    uint32_t bytes[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    struct trace t = {.requests = requests,
        .requests_n = (uint32_t)strlen(text),
        .bytes = bytes,
        .keys_n = 8,
        .footprint = 8,
        .cache = capacity / 8.0};
    for (uint32_t i = 0; i < t.requests_n; i++) {
        bool write = text[i] < 'a';
        requests[i] =
            (struct trace_request){.key = (uint32_t)(text[i] - (write ? 'A' : 'a')), .write = write};
    }
    struct simulation s;
    simulate(&t, kind, &s);
    return s.hits;
}

static void each_policy_does_by_hand_what_its_rule_says(void **unused)
{
    const struct policy_kind *kinds[] = {&policy_lru, &policy_clock1, &policy_clock2, &policy_sieve,
        &policy_s3fifo, &policy_s3fifo_1, &policy_product, &policy_belady};
    struct {
        const char *requests;
        uint32_t capacity;
        uint64_t hits[8];
    } rows[] = {
        /* nothing is evicted */
        {"ababcabc", 3, {5, 5, 5, 5, 5, 5, 5, 5}},
        /* a loop of one more than there is room for: only who knows the future keeps some of it */
        {"abcdabcdabcd", 3, {0, 0, 0, 0, 0, 0, 0, 6}},
        /* a is used twice, then two come that are not: the least recently used is a */
        {"aabacda", 2, {2, 3, 3, 3, 3, 3, 3, 3}},
        /* a is used once, then four come: CLOCK keeps a for one round, SIEVE for a round of its hand, and
         * S3-FIFO in its main queue, if one use is enough for it */
        {"aabcdea", 2, {1, 1, 1, 2, 1, 2, 2, 2}},
        /* the same with two uses: CLOCK with two bits keeps it for two rounds */
        {"aaabcdea", 2, {1, 1, 2, 2, 2, 2, 2, 2}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
            uint64_t hits = hits_of(kinds[k], rows[i].requests, rows[i].capacity);
            if (hits != rows[i].hits[k]) {
                fail_msg("%s over %s: %u hits, expected %u", kinds[k]->name, rows[i].requests, (unsigned)hits,
                    (unsigned)rows[i].hits[k]);
            }
        }
    }
}

static void what_was_written_is_in_memory_and_is_evicted_when_it_is_clean(void **unused)
{
    for (size_t p = 0; p < policy_kinds_n; p++) {
        assert_int_equal(hits_of(policy_kinds[p], "hAa", 2), 1);
        /* When c comes, a and b were flushed: the older one goes, unless it is known that it will be read. */
        assert_int_equal(hits_of(policy_kinds[p], "hABCDa", 2), policy_kinds[p] == &policy_belady);
    }
}

static void no_policy_holds_more_than_fits_or_beats_the_optimum(void **unused)
{
    for (size_t i = 0; i < trace_kinds_n; i++) {
        struct trace_options o = {
            .keys = 2000, .requests = 20000, .cache = 0.1, .objects = TRACE_EQUAL, .seed = 5};
        struct trace t;
        trace_init(&t, &trace_kinds[i], &o);
        struct simulation optimum;
        simulate(&t, &policy_belady, &optimum);
        for (size_t p = 0; p < policy_kinds_n; p++) {
            struct simulation s;
            simulate(&t, policy_kinds[p], &s);
            assert_true(s.used_max <= s.capacity);
            assert_true(s.used_max > s.capacity * 9 / 10);
            assert_true(s.evictions > 0 && s.reads > 0);
            assert_int_equal(s.dirty_n > 0, trace_kinds[i].writes > 0);
            /* The optimum holds without writes: which of the clean ones goes decides how many dirty ones fit.
             */
            assert_true(trace_kinds[i].writes > 0 || s.hits <= optimum.hits);
        }
        trace_deinit(&t);
    }
}

/* It forgets ghosts by the bucket, and looks at no more than some entries a time: the difference is small. */
static void the_product_finds_what_the_policy_of_the_study_finds(void **unused)
{
    for (size_t i = 0; i < trace_kinds_n; i++) {
        if (trace_kinds[i].loop > 0) {
            continue; /* a loop hits or misses as a whole, by little */
        }
        struct trace_options o = {
            .keys = 5000, .requests = 50000, .cache = 0.1, .objects = TRACE_UNIFORM, .seed = 6};
        struct trace t;
        trace_init(&t, &trace_kinds[i], &o);
        struct simulation study, product, clock;
        simulate(&t, &policy_s3fifo_1, &study);
        simulate(&t, &policy_product, &product);
        simulate(&t, &policy_clock2, &clock);
        double points = (double)study.reads / 100;
        assert_float_equal((double)product.hits / points, (double)study.hits / points, 1.0);
        assert_true(product.hits > clock.hits || trace_kinds[i].shifting);
        assert_true(product.policy_bytes_max > 1 && product.policy_bytes_max <= 9); /* with its struct */
        trace_deinit(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_policy_does_by_hand_what_its_rule_says),
        cmocka_unit_test(what_was_written_is_in_memory_and_is_evicted_when_it_is_clean),
        cmocka_unit_test(no_policy_holds_more_than_fits_or_beats_the_optimum),
        cmocka_unit_test(the_product_finds_what_the_policy_of_the_study_finds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
