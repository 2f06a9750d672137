#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tools/wbdemo/ledger.h"

static struct ledger ledger;

static int make(void **state)
{
    ledger_init(&ledger, 10, 42);
    return 0;
}

static int drop(void **state)
{
    ledger_deinit(&ledger);
    return 0;
}

/* The verdict on @key when its row holds write @sequence with @version. */
static enum ledger_verdict judge(uint32_t key, uint32_t sequence, uint64_t version)
{
    char value[LEDGER_VALUE_BYTES + 1];
    ledger_value(&ledger, key, sequence, value);
    return ledger_judge(&ledger, key, bytes_of(value, LEDGER_VALUE_BYTES), version);
}

static void only_the_last_acknowledged_write_is_right(void **state)
{
    uint32_t first = ledger_begin(&ledger, 3);
    ledger_acknowledged(&ledger, 3, 100);
    uint32_t second = ledger_begin(&ledger, 3);
    ledger_acknowledged(&ledger, 3, 200);
    assert_int_equal(judge(3, second, 200), LEDGER_RIGHT);
    assert_int_equal(judge(3, second, 100), LEDGER_WRONG);
    assert_int_equal(judge(3, first, 100), LEDGER_WRONG);
    assert_int_equal(ledger_judge(&ledger, 3, bytes_of("", 0), 200), LEDGER_WRONG);
    assert_int_equal(ledger_judge(&ledger, 3, bytes_of(NULL, 0), 0), LEDGER_MISSING);
}

static void an_unknown_write_may_be_there_or_not(void **state)
{
    uint32_t acked = ledger_begin(&ledger, 1);
    ledger_acknowledged(&ledger, 1, 7);
    uint32_t unknown = ledger_begin(&ledger, 1);
    ledger_unknown(&ledger, 1);
    assert_false(ledger_writable(&ledger, 1));
    assert_int_equal(judge(1, acked, 7), LEDGER_RIGHT);
    assert_int_equal(judge(1, unknown, 8), LEDGER_UNKNOWN_HAPPENED);
    assert_int_equal(ledger_judge(&ledger, 1, bytes_of(NULL, 0), 0), LEDGER_MISSING);
    uint32_t only = ledger_begin(&ledger, 2);
    ledger_unknown(&ledger, 2);
    assert_int_equal(judge(2, only, 9), LEDGER_UNKNOWN_HAPPENED);
    assert_int_equal(ledger_judge(&ledger, 2, bytes_of(NULL, 0), 0), LEDGER_UNTOUCHED);
}

static void a_refused_write_leaves_no_trace(void **state)
{
    uint32_t sequence = ledger_begin(&ledger, 4);
    assert_false(ledger_writable(&ledger, 4));
    ledger_refused(&ledger, 4);
    assert_true(ledger_writable(&ledger, 4));
    assert_int_equal(judge(4, sequence, 1), LEDGER_UNTOUCHED);
}

static void another_runs_value_is_wrong(void **state)
{
    struct ledger other;
    char value[LEDGER_VALUE_BYTES + 1];
    ledger_init(&other, 10, 43);
    uint32_t sequence = ledger_begin(&ledger, 5);
    ledger_acknowledged(&ledger, 5, 7);
    ledger_value(&other, 5, sequence, value);
    assert_int_equal(ledger_judge(&ledger, 5, bytes_of(value, LEDGER_VALUE_BYTES), 7), LEDGER_WRONG);
    ledger_deinit(&other);
}

static void keys_are_found_again_by_their_text(void **state)
{
    char text[LEDGER_KEY_BYTES + 1];
    for (uint32_t i = 0; i < 10; i++) {
        ledger_key_text(i, text);
        assert_int_equal(ledger_key_number(&ledger, bytes_from_text(text)), i);
    }
    assert_int_equal(ledger_key_number(&ledger, bytes_from_text("demo:00000010")), -1); /* beyond the last */
    assert_int_equal(ledger_key_number(&ledger, bytes_from_text("demo:0000001")), -1);
    assert_int_equal(ledger_key_number(&ledger, bytes_from_text("omed:00000001")), -1);
    assert_int_equal(ledger_key_number(&ledger, bytes_from_text("demo:       1")), -1);
    assert_int_equal(ledger_key_number(&ledger, bytes_from_text("demo:0000001x")), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_the_last_acknowledged_write_is_right, make, drop),
        cmocka_unit_test_setup_teardown(an_unknown_write_may_be_there_or_not, make, drop),
        cmocka_unit_test_setup_teardown(a_refused_write_leaves_no_trace, make, drop),
        cmocka_unit_test_setup_teardown(another_runs_value_is_wrong, make, drop),
        cmocka_unit_test_setup_teardown(keys_are_found_again_by_their_text, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
