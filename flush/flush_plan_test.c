#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "flush/flush_plan.h"

static const struct flush_settings settings = {.age_ms = 500, .batch_rows = 1000};

static bool due(struct flush_demand demand, uint64_t first_dirty, uint64_t stamp, uint64_t now)
{
    if (demand.dirty_bytes_max == 0) {
        demand.dirty_bytes_max = 1000;
        demand.dirty_entries_max = 100;
    }
    return flush_plan_row_due(&settings, &demand, first_dirty, stamp, now);
}

static void a_row_is_due_at_the_flush_age(void **state)
{
    (void)state;
    struct flush_demand nobody = {0};
    assert_false(due(nobody, 7, 10000, 10000));
    assert_false(due(nobody, 7, 10000, 10499));
    assert_true(due(nobody, 7, 10000, 10500));
    assert_false(due(nobody, 7, 10000, 9000)); /* a stamp of the future waits */
}

static void a_row_that_somebody_waits_for_is_due_at_once(void **state)
{
    (void)state;
    struct flush_demand demand = {.upto_index = 7};
    assert_true(due(demand, 7, 10000, 10000));
    assert_false(due(demand, 8, 10000, 10000));
}

static void everything_is_due_when_the_budget_is_half_used(void **state)
{
    (void)state;
    struct flush_demand bytes = {.dirty_bytes = 500, .dirty_bytes_max = 1000, .dirty_entries_max = 100};
    assert_false(due(bytes, 7, 10000, 10000));
    bytes.dirty_bytes = 501;
    assert_true(due(bytes, 7, 10000, 10000));
    struct flush_demand entries = {.dirty_entries = 51, .dirty_bytes_max = 1000, .dirty_entries_max = 100};
    assert_true(due(entries, 7, 10000, 10000));
}

static void what_has_waited_for_most_of_the_flush_age_goes_along(void **state)
{
    (void)state;
    assert_int_equal(flush_plan_along_ms(&settings), 375);
    struct flush_settings at_once = {.age_ms = 0}, soon = {.age_ms = 1};
    assert_int_equal(flush_plan_along_ms(&at_once), 0);
    assert_int_equal(flush_plan_along_ms(&soon), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_is_due_at_the_flush_age),
        cmocka_unit_test(what_has_waited_for_most_of_the_flush_age_goes_along),
        cmocka_unit_test(a_row_that_somebody_waits_for_is_due_at_once),
        cmocka_unit_test(everything_is_due_when_the_budget_is_half_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
