#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "cluster-tests/counter_sum.h"

static int setup(void **state)
{
    static struct history h;
    history_init(&h, 1 << 20);
    *state = &h;
    return 0;
}

static int teardown(void **state)
{
    history_deinit(*state);
    return 0;
}

static size_t begin(struct history *h, const char *key, int64_t delta)
{
    size_t event;
    const struct history_arg arg = {.delta = delta};
    assert_int_equal(history_begin(h, 1, HISTORY_INCR, bytes_from_text(key), &arg, 10, &event), STATUS_OK);
    return event;
}

static void acknowledged(struct history *h, const char *key, int64_t delta)
{
    const struct history_result result = {.outcome = HISTORY_OK};
    history_end(h, begin(h, key, delta), &result, 20);
}

static void unknown(struct history *h, const char *key, int64_t delta)
{
    history_end_unknown(h, begin(h, key, delta));
}

static struct counter_sum judge(const struct history *h, int64_t value)
{
    return counter_sum(h, bytes_from_text("k"), value);
}

static void without_unknown_ones_only_the_sum_will_do(void **state)
{
    struct history *h = *state;
    acknowledged(h, "k", 5);
    acknowledged(h, "k", -2);
    acknowledged(h, "another", 100);
    history_end_failed(h, begin(h, "k", 50));
    struct counter_sum sum = judge(h, 3);
    assert_true(sum.exact && sum.possible);
    assert_int_equal(sum.acknowledged, 3);
    assert_int_equal(sum.acknowledged_count, 2);
    assert_false(judge(h, 5).possible);   /* one lost */
    assert_false(judge(h, 8).possible);   /* one done twice */
    assert_false(judge(h, 53).possible);  /* one that was refused */
    assert_false(judge(h, 103).possible); /* another key's */
}

static void unknown_ones_may_have_happened_each_at_most_once(void **state)
{
    struct history *h = *state;
    acknowledged(h, "k", 10);
    unknown(h, "k", 7);
    unknown(h, "k", -3);
    for (int64_t value = -10; value < 40; value++) {
        struct counter_sum sum = judge(h, value);
        assert_int_equal(sum.possible, value == 10 || value == 17 || value == 7 || value == 14);
        assert_int_equal(sum.exact, value == 10);
    }
    assert_int_equal(judge(h, 10).unknown_count, 2);
}

static void an_increment_that_failed_with_an_error_adds_nothing(void **state)
{
    struct history *h = *state;
    const struct history_result result = {.outcome = HISTORY_OUT_OF_RANGE};
    history_end(h, begin(h, "k", 9), &result, 20);
    assert_true(judge(h, 0).exact);
    assert_false(judge(h, 9).possible);
}

static void with_huge_unknown_deltas_only_the_bounds_are_judged(void **state)
{
    struct history *h = *state;
    unknown(h, "k", 1000000);
    assert_true(judge(h, 1000000).possible);
    assert_true(judge(h, 999).possible);
    assert_false(judge(h, 1000001).possible);
    assert_false(judge(h, -1).possible);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_unknown_ones_only_the_sum_will_do, setup, teardown),
        cmocka_unit_test_setup_teardown(unknown_ones_may_have_happened_each_at_most_once, setup, teardown),
        cmocka_unit_test_setup_teardown(an_increment_that_failed_with_an_error_adds_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(with_huge_unknown_deltas_only_the_bounds_are_judged, setup, teardown),
    };
    return cmocka_run_group_tests_name("counter_sum", tests, NULL, NULL);
}
