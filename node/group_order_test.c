/* Requests of one connection to one key are done in the order in which they came, whatever some of them wait
 * for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "node/group_fixture.h"

static void settle(struct fixture *f)
{
    do {
        fixture_turn(f);
    } while (fixture_commit(f, UINT32_MAX) > 0);
}

/* What comes when the answer to a load is there already, but not looked at yet, still comes after who waited
 * for it. */
static void who_was_loaded_for_is_before_those_who_came_meanwhile(void **state)
{
    struct fixture f;
    struct ask incr, set, get;
    fixture_init(&f, 0, false, true);
    ask_incr(&f, &incr, "k", 1, 7);
    fixture_turn(&f);
    assert_int_equal(f.loads, 1);
    ask_set(&f, &set, "k", "100", 7);
    loader_answer(&f, "k", "5", 0);
    settle(&f);
    assert_done(&incr, STATUS_OK);
    assert_int_equal(incr.result.number, 6);
    assert_done(&set, STATUS_OK);
    ask_get(&f, &get, "k", 7);
    settle(&f);
    assert_got(&get, "100");
    fixture_deinit(&f);
}

/* So do those who wait for several keys, whichever answer comes first. */
static void answers_in_any_order_leave_everybody_in_their_places(void **state)
{
    const struct bytes keys[] = {bytes_from_text("k"), bytes_from_text("l")};
    const struct operation both[] = {{.kind = OPERATION_INCR, .key = keys[0], .delta = 1},
        {.kind = OPERATION_INCR, .key = keys[1], .delta = 1}};
    struct operation_result results[2] = {0};
    struct fixture f;
    struct ask first, many = {0};
    fixture_init(&f, 0, false, true);
    ask_incr(&f, &first, "k", 1, 7);
    fixture_turn(&f);
    uint64_t load_of_k = f.load_token;
    ask_incr(&f, &many, "l", 1, 7);
    many.r.n = 2;
    many.r.operations = both;
    many.r.results = results;
    fixture_turn(&f);
    uint64_t load_of_l = f.load_token;
    assert_true(load_of_k != load_of_l);
    f.load_token = load_of_k;
    loader_answer(&f, "k", "5", 0);
    f.load_token = load_of_l;
    loader_answer(&f, "l", "8", 0);
    settle(&f);
    assert_done(&first, STATUS_OK);
    assert_int_equal(first.result.number, 6);
    assert_done(&many, STATUS_OK);
    assert_int_equal(results[0].number, 7);
    assert_int_equal(results[1].number, 9);
    fixture_deinit(&f);
}

/* So does who waits for a key that another connection writes meanwhile: with that it is known, but not to be
 * taken before the answer has come. */
static void a_write_of_another_connection_lets_nobody_overtake(void **state)
{
    struct fixture f;
    struct ask incr, other, set, get;
    fixture_init(&f, 0, false, true);
    ask_incr(&f, &incr, "k", 1, 7);
    fixture_turn(&f);
    ask_set(&f, &other, "k", "20", 8);
    ask_set(&f, &set, "k", "100", 7);
    settle(&f);
    assert_done(&other, STATUS_OK);
    assert_false(set.done);
    loader_answer(&f, "k", "5", 0);
    settle(&f);
    assert_done(&incr, STATUS_OK);
    assert_int_equal(incr.result.number, 21);
    assert_done(&set, STATUS_OK);
    ask_get(&f, &get, "k", 7);
    settle(&f);
    assert_got(&get, "100");
    fixture_deinit(&f);
}

/* The same for a load that fails: a blind write waited for it for the sake of its place only. */
static void a_load_that_fails_leaves_everybody_in_their_places(void **state)
{
    struct fixture f;
    struct ask get, first, second, last;
    fixture_init(&f, 0, false, true);
    ask_get(&f, &get, "k", 7);
    ask_set(&f, &first, "k", "1", 7);
    fixture_turn(&f);
    ask_set(&f, &second, "k", "2", 7);
    loader_fail(&f, "no database");
    settle(&f);
    assert_done(&get, STATUS_DATABASE_DOWN);
    assert_done(&first, STATUS_OK);
    assert_done(&second, STATUS_OK);
    ask_get(&f, &last, "k", 7);
    settle(&f);
    assert_got(&last, "2");
    fixture_deinit(&f);
}

/* Whoever must know a version that an open entry will have is not overtaken meanwhile. */
static void who_waits_for_a_version_is_before_those_who_came_later(void **state)
{
    const struct operation compare = {.kind = OPERATION_SET,
        .key = bytes_from_text("k"),
        .value = bytes_from_text("2"),
        .condition = CONDITION_VERSION,
        .if_version = 12345,
        .return_old = true};
    struct fixture f;
    struct ask before, first, compared, last, get;
    fixture_init(&f, 0, false, true);
    ask_set(&f, &before, "other", "0", 9);
    fixture_turn(&f); /* in flight, so that the next entry stays open */
    ask_set(&f, &first, "k", "1", 7);
    ask_update(&f, &compared, &compare, 7);
    ask_set(&f, &last, "k", "3", 7);
    settle(&f);
    assert_done(&before, STATUS_OK);
    assert_done(&first, STATUS_OK);
    assert_done(&compared, STATUS_CONDITION_FAILED);
    assert_true(bytes_equal(value_bytes(compared.result.value), bytes_from_text("1")));
    operation_result_clear(&compared.result);
    assert_done(&last, STATUS_OK);
    ask_get(&f, &get, "k", 7);
    settle(&f);
    assert_got(&get, "3");
    fixture_deinit(&f);
}

/* It is not left waiting when the entry, whose version it waits for, never was. */
static void who_waits_for_a_version_goes_on_when_the_log_refuses_it(void **state)
{
    const struct operation compare = {.kind = OPERATION_SET,
        .key = bytes_from_text("k"),
        .value = bytes_from_text("2"),
        .condition = CONDITION_VERSION,
        .if_version = 12345};
    struct fixture f;
    struct ask first, compared, last;
    fixture_init(&f, 0, false, true);
    set_now(&f, "k", "0");
    ask_set(&f, &first, "k", "1", 7);
    ask_update(&f, &compared, &compare, 7);
    ask_set(&f, &last, "k", "3", 7);
    f.propose_status = STATUS_OVERLOADED;
    fixture_turn(&f);
    assert_done(&first, STATUS_OVERLOADED);
    f.propose_status = STATUS_OK;
    settle(&f);
    assert_done(&compared, STATUS_CONDITION_FAILED);
    assert_done(&last, STATUS_OK);
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_was_loaded_for_is_before_those_who_came_meanwhile),
        cmocka_unit_test(answers_in_any_order_leave_everybody_in_their_places),
        cmocka_unit_test(a_write_of_another_connection_lets_nobody_overtake),
        cmocka_unit_test(a_load_that_fails_leaves_everybody_in_their_places),
        cmocka_unit_test(who_waits_for_a_version_is_before_those_who_came_later),
        cmocka_unit_test(who_waits_for_a_version_goes_on_when_the_log_refuses_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
