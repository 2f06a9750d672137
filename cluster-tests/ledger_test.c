/* The ledger judges: so it is tested itself, without a cluster. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <pthread.h>

#include "cluster-tests/ledger.h"

enum { VALUE_BYTES = 200 };

static int setup(void **state)
{
    *state = ledger_create("k", 4);
    return 0;
}

static int teardown(void **state)
{
    ledger_destroy(*state);
    return 0;
}

/* What the ledger says when @mark's value is found at @version. */
static enum ledger_verdict judge(struct ledger *l, uint32_t key, uint64_t version, struct mark mark)
{
    char value[VALUE_BYTES];
    ledger_value(l, key, mark, value, sizeof value);
    return ledger_judge(l, key, true, version, bytes_of(value, sizeof value), NULL, 0);
}

static enum ledger_verdict judge_nothing(struct ledger *l, uint32_t key)
{
    return ledger_judge(l, key, false, 0, bytes_of(NULL, 0), NULL, 0);
}

static void a_key_name_leads_back_to_its_number(void **state)
{
    struct ledger *l = *state;
    char name[LEDGER_KEY_BYTES];
    size_t len = ledger_key(l, 3, name);
    assert_string_equal(name, "k:00000003");
    assert_int_equal(ledger_key_number(l, bytes_of(name, len)), 3);
    assert_int_equal(ledger_key_number(l, bytes_from_text("k:00000004")), -1);
    assert_int_equal(ledger_key_number(l, bytes_from_text("other:00000001")), -1);
    assert_int_equal(ledger_key_number(l, bytes_from_text("k:0000000x")), -1);
    assert_int_equal(ledger_key_number(l, bytes_from_text("")), -1);
}

static void a_value_carries_its_mark_and_no_byte_of_it_may_change(void **state)
{
    struct ledger *l = *state;
    struct mark mark = ledger_mark(l, 7, 1234567);
    char value[VALUE_BYTES];
    ledger_value(l, 2, mark, value, sizeof value);
    struct mark back;
    assert_true(ledger_value_mark(l, 2, bytes_of(value, sizeof value), &back));
    assert_int_equal(back.thread, 7);
    assert_int_equal(back.sequence, mark.sequence);
    assert_int_equal(back.written_ms, 1234567);
    assert_false(ledger_value_mark(l, 1, bytes_of(value, sizeof value), &back)); /* another key's */
    for (size_t i = 0; i < sizeof value; i++) {
        value[i] ^= 1;
        struct mark other;
        /* A changed digit gives another mark, and then the padding does not fit. */
        bool parsed = ledger_value_mark(l, 2, bytes_of(value, sizeof value), &other);
        assert_true(!parsed || other.sequence == mark.sequence);
        if (parsed) {
            assert_true(other.thread != 7 || other.written_ms != 1234567);
        }
        value[i] ^= 1;
    }
    assert_false(ledger_value_mark(l, 2, bytes_of(value, 10), &back));
}

static void the_newest_acknowledged_write_is_right_and_nothing_else(void **state)
{
    struct ledger *l = *state;
    assert_int_equal(judge_nothing(l, 0), LEDGER_NEWEST);
    struct mark first = ledger_mark(l, 1, 1);
    struct mark second = ledger_mark(l, 1, 2);
    ledger_acknowledge(l, 0, first, 100, 0, 1);
    ledger_acknowledge(l, 0, second, 200, 100, 2);
    assert_int_equal(judge(l, 0, 200, second), LEDGER_NEWEST);
    assert_int_equal(judge(l, 0, 100, first), LEDGER_LOST);
    assert_int_equal(judge_nothing(l, 0), LEDGER_LOST);
    assert_int_equal(
        judge(l, 0, 200, first), LEDGER_WRONG); /* the version of the one, the value of the other */
    assert_int_equal(judge(l, 0, 300, second), LEDGER_WRONG); /* written twice */
    assert_int_equal(ledger_totals(l).violations, 0);
    assert_int_equal(ledger_totals(l).keys_written, 1);
}

static void an_unknown_write_may_be_there_or_not(void **state)
{
    struct ledger *l = *state;
    struct mark sure = ledger_mark(l, 1, 1);
    struct mark unsure = ledger_mark(l, 1, 2);
    ledger_acknowledge(l, 0, sure, 100, 0, 1);
    ledger_unknown(l, 0, unsure);
    assert_int_equal(judge(l, 0, 100, sure), LEDGER_NEWEST);
    assert_int_equal(judge(l, 0, 150, unsure), LEDGER_UNKNOWN);
    assert_int_equal(judge(l, 0, 50, unsure), LEDGER_LOST); /* older than what was acknowledged */
    assert_int_equal(judge(l, 1, 50, unsure), LEDGER_WRONG);
}

static void a_refused_write_must_not_be_there(void **state)
{
    struct ledger *l = *state;
    struct mark refused = ledger_mark(l, 1, 1);
    ledger_refuse(l, 0, refused);
    assert_int_equal(judge(l, 0, 50, refused), LEDGER_WRONG);
    assert_int_equal(ledger_totals(l).refused, 1);
}

static void acknowledgements_out_of_order_keep_the_highest_version(void **state)
{
    struct ledger *l = *state;
    struct mark first = ledger_mark(l, 1, 1);
    struct mark second = ledger_mark(l, 2, 1);
    ledger_acknowledge(l, 0, second, 200, 0, 1); /* both were under way at the same time */
    ledger_acknowledge(l, 0, first, 100, 0, 1);
    assert_int_equal(judge(l, 0, 200, second), LEDGER_NEWEST);
    assert_int_equal(ledger_totals(l).violations, 0);
}

static void a_version_that_does_not_grow_is_a_violation(void **state)
{
    struct ledger *l = *state;
    struct mark first = ledger_mark(l, 1, 1);
    struct mark second = ledger_mark(l, 1, 2);
    ledger_acknowledge(l, 0, first, 100, 0, 1);
    ledger_acknowledge(l, 0, second, 100, 100, 2);
    assert_int_equal(ledger_totals(l).violations, 1);
    assert_non_null(strstr(ledger_violation(l), "k:00000000"));
}

static void the_same_version_twice_is_a_violation(void **state)
{
    struct ledger *l = *state;
    struct mark first = ledger_mark(l, 1, 1);
    struct mark second = ledger_mark(l, 2, 1);
    ledger_acknowledge(l, 0, first, 100, 0, 1);
    ledger_acknowledge(l, 0, second, 100, 0, 1);
    assert_int_equal(ledger_totals(l).violations, 1);
}

static void the_age_of_a_row_counts_from_the_oldest_write_that_it_lacks(void **state)
{
    struct ledger *l = *state;
    ledger_keep_history(l);
    for (uint64_t i = 1; i <= 1000; i++) {
        ledger_acknowledge(l, 0, ledger_mark(l, 1, i), i * 10, i * 10 - 10, i);
    }
    assert_int_equal(ledger_oldest_missing_ms(l, 0, 0), 1);
    assert_int_equal(ledger_oldest_missing_ms(l, 0, 10), 2);
    assert_int_equal(ledger_oldest_missing_ms(l, 0, 5005), 501);
    for (uint64_t i = 1001; i <= 3000; i++) { /* the forgotten part is used again */
        ledger_acknowledge(l, 0, ledger_mark(l, 1, i), i * 10, i * 10 - 10, i);
    }
    assert_int_equal(ledger_oldest_missing_ms(l, 0, 5010), 502);
    assert_int_equal(ledger_oldest_missing_ms(l, 0, 29999), 3000);
    assert_int_equal(ledger_oldest_missing_ms(l, 0, 30000), 0);
    assert_int_equal(ledger_oldest_missing_ms(l, 1, 0), 0);
}

static void history_is_in_the_order_of_versions_whatever_the_order_of_answers(void **state)
{
    struct ledger *l = *state;
    ledger_keep_history(l);
    ledger_acknowledge(l, 0, ledger_mark(l, 1, 1), 300, 0, 7);
    ledger_acknowledge(l, 0, ledger_mark(l, 2, 1), 100, 0, 8);
    ledger_acknowledge(l, 0, ledger_mark(l, 3, 1), 200, 0, 9);
    assert_int_equal(ledger_oldest_missing_ms(l, 0, 0), 8);
    assert_int_equal(ledger_oldest_missing_ms(l, 0, 100), 9);
    assert_int_equal(ledger_oldest_missing_ms(l, 0, 200), 7);
}

struct writer {
    struct ledger *ledger;
    uint32_t thread;
};

static void *write_many(void *arg)
{
    struct writer *w = arg;
    for (uint64_t i = 1; i <= 2000; i++) {
        struct mark mark = ledger_mark(w->ledger, w->thread, i);
        ledger_acknowledge(w->ledger, (uint32_t)(i % 4), mark, i * 4 + w->thread, 0, i);
    }
    return NULL;
}

static void threads_do_not_lose_each_others_writes(void **state)
{
    struct ledger *l = *state;
    pthread_t threads[4];
    struct writer writers[4];
    for (uint32_t i = 0; i < 4; i++) {
        writers[i] = (struct writer){.ledger = l, .thread = i};
        assert_int_equal(pthread_create(&threads[i], NULL, write_many, &writers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(ledger_totals(l).acknowledged, 8000);
    assert_int_equal(ledger_totals(l).violations, 0);
    assert_int_equal(ledger_version(l, 0), 2000 * 4 + 3);
}

int main(void)
{
#define ledger_unit_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        ledger_unit_test(a_key_name_leads_back_to_its_number),
        ledger_unit_test(a_value_carries_its_mark_and_no_byte_of_it_may_change),
        ledger_unit_test(the_newest_acknowledged_write_is_right_and_nothing_else),
        ledger_unit_test(an_unknown_write_may_be_there_or_not),
        ledger_unit_test(a_refused_write_must_not_be_there),
        ledger_unit_test(acknowledgements_out_of_order_keep_the_highest_version),
        ledger_unit_test(a_version_that_does_not_grow_is_a_violation),
        ledger_unit_test(the_same_version_twice_is_a_violation),
        ledger_unit_test(the_age_of_a_row_counts_from_the_oldest_write_that_it_lacks),
        ledger_unit_test(history_is_in_the_order_of_versions_whatever_the_order_of_answers),
        ledger_unit_test(threads_do_not_lose_each_others_writes),
    };
    return cmocka_run_group_tests_name("ledger", tests, NULL, NULL);
}
