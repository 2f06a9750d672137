#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "flush/flush_slots.h"

struct holder {
    struct flush_slot slot;
    unsigned granted;
};

static void granted(void *data)
{
    ((struct holder *)data)->granted++;
}

static void start(struct flush_slots *s, unsigned max, struct holder *h, unsigned n)
{
    flush_slots_init(s, max);
    for (unsigned i = 0; i < n; i++) {
        h[i].granted = 0;
        flush_slot_init(&h[i].slot, granted, &h[i]);
    }
}

static void who_waits_longest_is_next(void **state)
{
    (void)state;
    struct flush_slots s;
    struct holder h[4];
    start(&s, 2, h, 4);
    assert_true(flush_slots_take(&s, &h[0].slot));
    assert_true(flush_slots_take(&s, &h[1].slot));
    assert_false(flush_slots_wanted(&s));
    assert_false(flush_slots_take(&s, &h[2].slot));
    assert_false(flush_slots_take(&s, &h[3].slot));
    assert_true(flush_slots_wanted(&s));
    flush_slots_give(&s, &h[1].slot);
    assert_int_equal(h[2].granted, 1);
    assert_int_equal(h[3].granted, 0);
    assert_false(flush_slots_take(&s, &h[1].slot)); /* behind those who wait */
    flush_slots_give(&s, &h[0].slot);
    assert_int_equal(h[3].granted, 1);
    assert_int_equal(h[1].granted, 0);
    assert_int_equal(h[0].granted, 0); /* what was had at once is not granted later */
}

static void who_gives_up_waiting_is_passed_over(void **state)
{
    (void)state;
    struct flush_slots s;
    struct holder h[3];
    start(&s, 1, h, 3);
    assert_true(flush_slots_take(&s, &h[0].slot));
    assert_false(flush_slots_take(&s, &h[1].slot));
    assert_false(flush_slots_take(&s, &h[2].slot));
    flush_slots_give(&s, &h[1].slot);
    flush_slots_give(&s, &h[1].slot); /* neither held nor waiting: nothing */
    flush_slots_give(&s, &h[0].slot);
    assert_int_equal(h[1].granted, 0);
    assert_int_equal(h[2].granted, 1);
    assert_int_equal(s.used, 1);
}

static void more_slots_let_waiters_in_and_fewer_are_wanted_back(void **state)
{
    (void)state;
    struct flush_slots s;
    struct holder h[3];
    start(&s, 1, h, 3);
    for (int i = 0; i < 3; i++) {
        assert_true(flush_slots_take(&s, &h[i].slot) == (i == 0));
    }
    flush_slots_resize(&s, 3);
    assert_int_equal(h[1].granted + h[2].granted, 2);
    assert_false(flush_slots_wanted(&s));
    flush_slots_resize(&s, 1);
    assert_true(flush_slots_wanted(&s));
    flush_slots_give(&s, &h[0].slot);
    assert_true(flush_slots_wanted(&s));
    assert_false(flush_slots_take(&s, &h[0].slot));
    flush_slots_give(&s, &h[1].slot);
    assert_int_equal(h[0].granted, 0);
    flush_slots_give(&s, &h[2].slot);
    assert_int_equal(h[0].granted, 1);
    assert_false(flush_slots_wanted(&s));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_waits_longest_is_next),
        cmocka_unit_test(who_gives_up_waiting_is_passed_over),
        cmocka_unit_test(more_slots_let_waiters_in_and_fewer_are_wanted_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
