/* Keys whose time has come: who sees them, when their delete is proposed, what reaches the database. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/group_fixture.h"

static struct operation set_for(const char *key, uint64_t ms)
{
    return (struct operation){.kind = OPERATION_SET,
        .key = bytes_from_text(key),
        .value = bytes_from_text("v"),
        .expires = true,
        .expire_relative = true,
        .expire_ms = ms};
}

static void set_for_now(struct fixture *f, const char *key, uint64_t ms)
{
    struct ask a;
    struct operation set = set_for(key, ms);
    ask_update(f, &a, &set, 99);
    fixture_turn(f);
    fixture_commit(f, UINT32_MAX);
    assert_done(&a, STATUS_OK);
}

static void a_key_is_gone_at_its_time_for_readers_and_in_memory(void **state)
{
    (void)state;
    struct fixture f;
    struct ask before, inspect, after, again;
    fixture_init(&f, 0, false, true);
    set_for_now(&f, "k", 5000);
    f.now_ms += 4000;
    ask_get(&f, &before, "k", 1);
    ask_exists(&f, &inspect, "k", 1);
    fixture_turn(&f);
    assert_got(&before, "v");
    assert_int_equal(inspect.result.expires_at_ms - inspect.r.stamp_ms, 1000);
    f.now_ms += 1000;
    ask_get(&f, &after, "k", 2);
    fixture_turn(&f);
    assert_false(after.done); /* first its delete is committed: no later leader will see it alive */
    fixture_commit(&f, UINT32_MAX);
    fixture_turn(&f);
    assert_got(&after, NULL);
    ask_get(&f, &again, "k", 3);
    fixture_turn(&f);
    assert_got(&again, NULL);
    fixture_deinit(&f);
}

static void due_keys_are_deleted_in_one_entry_though_nobody_asks(void **state)
{
    (void)state;
    struct fixture f;
    char key[16];
    fixture_init(&f, 0, false, true);
    for (int i = 0; i < 50; i++) {
        snprintf(key, sizeof key, "k%d", i);
        set_for_now(&f, key, i < 40 ? 1000 : 100000);
    }
    unsigned before = f.proposals;
    fixture_pass(&f, 2000);
    assert_true(f.proposals > before);
    fixture_commit(&f, UINT32_MAX);
    for (int i = 0; i < 50; i++) {
        snprintf(key, sizeof key, "k%d", i);
        const struct state_entry *e = state_find(group_state(f.group), bytes_from_text(key));
        assert_int_equal(state_entry_present(e), i >= 40);
    }
    struct group_info info;
    group_info(f.group, f.now_ms, &info);
    assert_int_equal(info.expired, 40);
    assert_int_equal(info.expiring, 10);
    fixture_deinit(&f);
}

static void a_dirty_key_that_expires_does_not_reach_the_database(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    set_for_now(&f, "k", 20);
    fixture_pass(&f, 40); /* below the flush age */
    fixture_commit(&f, UINT32_MAX);
    fixture_pass(&f, 200);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(f.sent_n, 1);
    assert_int_equal(f.sent[0].upserts, 0);
    assert_int_equal(f.sent[0].deletes, 1);
    fixture_deinit(&f);
}

static void an_increment_of_a_due_key_begins_at_nothing(void **state)
{
    (void)state;
    struct fixture f;
    struct ask first, incr;
    fixture_init(&f, 0, false, true);
    struct operation set = set_for("n", 1000);
    set.value = bytes_from_text("41");
    ask_update(&f, &first, &set, 1);
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    f.now_ms += 1000;
    ask_incr(&f, &incr, "n", 1, 1);
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    assert_done(&incr, STATUS_OK);
    assert_int_equal(incr.result.number, 1);
    const struct state_entry *e = state_find(group_state(f.group), bytes_from_text("n"));
    assert_int_equal(e->expires_at_ms, 0);
    fixture_deinit(&f);
}

static void an_expired_row_is_a_miss_and_is_deleted(void **state)
{
    (void)state;
    struct fixture f;
    struct ask get;
    fixture_init(&f, 0, false, true);
    ask_get(&f, &get, "k", 1);
    fixture_turn(&f);
    loader_answer_expiring(&f, "k", "old", f.now_ms - 1000, 0);
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    fixture_pass(&f, 20);
    fixture_commit(&f, UINT32_MAX);
    assert_got(&get, NULL);
    fixture_pass(&f, 200);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(f.sent_n, 1);
    assert_int_equal(f.sent[0].deletes, 1);
    fixture_deinit(&f);
}

static void expired_rows_that_nobody_asks_for_are_looked_for(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    fixture_pass(&f, 6000);
    assert_int_equal(f.expired_searches, 1);
    fixture_pass(&f, 6000);
    assert_int_equal(f.expired_searches, 1); /* one at a time */
    struct bytes keys[] = {bytes_from_text("gone")};
    group_loader_events.expired_found(f.group, 0, keys, 1);
    fixture_turn(&f);
    assert_int_equal(f.loads, 1); /* the row may have been written again: it is read */
    loader_answer_expiring(&f, "gone", "v", f.now_ms - 5, 0);
    fixture_pass(&f, 20);
    fixture_commit(&f, UINT32_MAX);
    const struct state_entry *e = state_find(group_state(f.group), bytes_from_text("gone"));
    assert_non_null(e);
    assert_false(state_entry_present(e));
    assert_true(state_entry_dirty(e));
    assert_int_equal(f.expired_searches, 2);
    fixture_deinit(&f);
}

static void a_follower_deletes_nothing_and_judges_by_committed_stamps(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a, b;
    fixture_init(&f, 0, false, true);
    set_for_now(&f, "k", 1000);
    group_on_gate_close(f.group);
    unsigned before = f.proposals;
    fixture_pass(&f, 5000);
    ask_stale(&f, &a, "k");
    fixture_turn(&f);
    assert_got(&a, "v"); /* no committed stamp says that its time has come */
    assert_int_equal(f.proposals, before);
    group_on_gate_open(f.group, 2, f.now_ms);
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    ask_stale(&f, &b, "k");
    fixture_turn(&f);
    assert_got(&b, NULL);
    fixture_deinit(&f);
}

static void over_the_budget_deletes_wait_but_readers_do_not_see_the_keys(void **state)
{
    (void)state;
    struct fixture f;
    static char big[100 * 1024 + 1];
    char key[16];
    struct ask get;
    fixture_init(&f, 0, false, true);
    state_put_clean((struct state *)(uintptr_t)group_state(f.group), bytes_from_text("k"), VALUE_STRING,
        value_create(bytes_from_text("v")), 1, f.now_ms + 60000);
    memset(big, 'x', sizeof big - 1);
    for (int i = 0; i < 10; i++) {
        snprintf(key, sizeof key, "k%d", i);
        set_now(&f, key, big);
    }
    struct ask fill;
    static char rest[24556]; /* to the last byte of the budget */
    memset(rest, 'y', sizeof rest - 1);
    ask_set(&f, &fill, "f", rest, 1);
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    assert_done(&fill, STATUS_OK);
    f.now_ms += 61000;
    unsigned before = f.proposals;
    fixture_turn(&f);
    struct group_info info;
    group_info(f.group, f.now_ms, &info);
    assert_int_equal(info.expired, 0);
    ask_get(&f, &get, "k", 1);
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    fixture_turn(&f);
    assert_got(&get, NULL);
    group_info(f.group, f.now_ms, &info);
    assert_int_equal(info.expired, 1); /* whoever asks must be told the truth */
    assert_true(f.proposals > before);
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_gone_at_its_time_for_readers_and_in_memory),
        cmocka_unit_test(due_keys_are_deleted_in_one_entry_though_nobody_asks),
        cmocka_unit_test(a_dirty_key_that_expires_does_not_reach_the_database),
        cmocka_unit_test(an_increment_of_a_due_key_begins_at_nothing),
        cmocka_unit_test(an_expired_row_is_a_miss_and_is_deleted),
        cmocka_unit_test(expired_rows_that_nobody_asks_for_are_looked_for),
        cmocka_unit_test(a_follower_deletes_nothing_and_judges_by_committed_stamps),
        cmocka_unit_test(over_the_budget_deletes_wait_but_readers_do_not_see_the_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
