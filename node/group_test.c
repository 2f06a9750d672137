/* Requests: how they are evaluated, packed, answered and refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/group_fixture.h"

static void a_set_is_answered_by_its_own_apply(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a;
    fixture_init(&f, 0, false, true);
    ask_set(&f, &a, "k", "v", 1);
    fixture_turn(&f);
    fixture_pass(&f, 50);
    assert_false(a.done);
    fixture_commit(&f, UINT32_MAX);
    assert_done(&a, STATUS_OK);
    assert_int_equal(a.r.index, f.last_index);
    assert_int_equal(a.result.version, f.last_index << 16);
    fixture_deinit(&f);
}

static void sets_of_one_turn_share_an_entry_and_the_next_fills_meanwhile(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a[6];
    fixture_init(&f, 0, false, true);
    unsigned before = f.proposals;
    for (int i = 0; i < 3; i++) {
        ask_set(&f, &a[i], "k", "v", 1);
    }
    fixture_turn(&f);
    assert_int_equal(f.proposals, before + 1);
    for (int i = 3; i < 6; i++) {
        ask_set(&f, &a[i], "k", "v", 1);
        fixture_turn(&f);
    }
    assert_int_equal(f.proposals, before + 1); /* one is in flight */
    fixture_commit(&f, 1);
    assert_int_equal(f.proposals, before + 2);
    fixture_commit(&f, UINT32_MAX);
    for (int i = 0; i < 6; i++) {
        assert_done(&a[i], STATUS_OK);
    }
    /* versions rise by the place in the entry */
    assert_int_equal(a[1].result.version, a[0].result.version + 1);
    assert_int_equal(a[2].result.version, a[0].result.version + 2);
    assert_true(a[3].result.version > a[2].result.version);
    fixture_deinit(&f);
}

static void full_entries_go_side_by_side_up_to_the_pipeline(void **state)
{
    (void)state;
    struct fixture f;
    static struct ask a[40];
    fixture_init(&f, 0, false, true);
    static char big[16 * 1024 + 1];
    memset(big, 'x', sizeof big - 1);
    unsigned before = f.proposals;
    for (int i = 0; i < 40; i++) {
        ask_set(&f, &a[i], "k", big, 1);
    }
    fixture_turn(&f);
    assert_int_equal(f.proposals - before, 8); /* as many as may be in flight; the rest waits */
    assert_false(a[39].done);
    while (fixture_commit(&f, UINT32_MAX) > 0) {
    }
    assert_in_range(f.proposals - before, 10, 14); /* 640 KiB in entries of at most 64 KiB */
    for (int i = 0; i < 40; i++) {
        assert_done(&a[i], STATUS_OK);
    }
    fixture_deinit(&f);
}

static void a_get_waits_for_an_unapplied_write_of_its_own_connection_only(void **state)
{
    (void)state;
    struct fixture f;
    struct ask set, own, other;
    fixture_init(&f, 0, false, true);
    set_now(&f, "k", "old");
    ask_set(&f, &set, "k", "new", 1);
    fixture_turn(&f);
    ask_get(&f, &own, "k", 1);
    ask_get(&f, &other, "k", 2);
    fixture_turn(&f);
    assert_false(own.done);
    assert_got(&other, "old");
    fixture_commit(&f, 1);
    assert_got(&own, "new");
    fixture_deinit(&f);
}

static void a_get_without_a_lease_needs_a_barrier_proposed_after_it_came(void **state)
{
    (void)state;
    struct fixture f;
    struct ask first, second;
    fixture_init(&f, 0, false, true);
    set_now(&f, "k", "v");
    f.lease = false;
    ask_get(&f, &first, "k", 1);
    fixture_turn(&f);
    assert_int_equal(f.barriers, 1);
    assert_false(first.done);
    uint64_t token = f.barrier_token;
    ask_get(&f, &second, "k", 1); /* the barrier under way does not count for it */
    fixture_turn(&f);
    assert_int_equal(f.barriers, 1);
    group_on_barrier(f.group, token);
    fixture_turn(&f);
    assert_got(&first, "v");
    assert_false(second.done);
    assert_int_equal(f.barriers, 2);
    group_on_barrier(f.group, f.barrier_token);
    fixture_turn(&f);
    assert_got(&second, "v");
    fixture_deinit(&f);
}

static void reads_under_the_lease_write_nothing(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    set_now(&f, "k", "v");
    uint64_t index = f.last_index;
    for (int i = 0; i < 100; i++) {
        struct ask a;
        ask_get(&f, &a, "k", 1);
        fixture_turn(&f);
        assert_got(&a, "v");
    }
    assert_int_equal(f.last_index, index);
    fixture_deinit(&f);
}

static void many_readers_of_one_missing_key_share_one_load(void **state)
{
    (void)state;
    struct fixture f;
    static struct ask a[1000];
    fixture_init(&f, 0, false, true);
    for (int i = 0; i < 1000; i++) {
        ask_get(&f, &a[i], "k", (uint64_t)i);
        if (i % 100 == 0) {
            fixture_turn(&f);
        }
    }
    fixture_turn(&f);
    assert_int_equal(f.loads, 1);
    assert_int_equal(f.load_keys, 1);
    loader_answer(&f, "k", "row", 0);
    for (int i = 0; i < 1000; i++) {
        assert_got(&a[i], "row");
    }
    struct ask again;
    ask_get(&f, &again, "k", 1);
    fixture_turn(&f);
    assert_got(&again, "row");
    assert_int_equal(f.loads, 1);
    fixture_deinit(&f);
}

static void misses_of_one_turn_are_one_select(void **state)
{
    (void)state;
    struct fixture f;
    static struct ask a[500];
    static char keys[500][16];
    fixture_init(&f, 0, false, true);
    for (int i = 0; i < 500; i++) {
        snprintf(keys[i], sizeof keys[i], "k%d", i);
        ask_exists(&f, &a[i], keys[i], 1);
    }
    fixture_turn(&f);
    assert_int_equal(f.loads, 1);
    assert_int_equal(f.load_keys, 500);
    loader_answer(&f, NULL, NULL, 0);
    for (int i = 0; i < 500; i++) {
        assert_got(&a[i], NULL);
    }
    struct ask again; /* absences are remembered */
    ask_exists(&f, &again, "k7", 1);
    fixture_turn(&f);
    assert_got(&again, NULL);
    assert_int_equal(f.loads, 1);
    fixture_deinit(&f);
}

static void a_row_loaded_before_a_write_never_hides_it(void **state)
{
    (void)state;
    struct fixture f;
    struct ask get, set;
    fixture_init(&f, 0, false, true);
    ask_get(&f, &get, "k", 1);
    fixture_turn(&f);
    ask_set(&f, &set, "k", "new", 2);
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    loader_answer(&f, "k", "old", 0);
    assert_got(&get, "new");
    fixture_deinit(&f);
}

static void a_load_that_fails_says_so_and_the_next_one_tries_again(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a, b;
    fixture_init(&f, 0, false, true);
    ask_get(&f, &a, "k", 1);
    fixture_turn(&f);
    loader_fail(&f, "connection refused");
    assert_done(&a, STATUS_DATABASE_DOWN);
    ask_get(&f, &b, "k", 1);
    fixture_turn(&f);
    assert_int_equal(f.loads, 2);
    loader_answer(&f, "k", "row", 0);
    assert_got(&b, "row");
    fixture_deinit(&f);
}

static void keys_on_their_way_from_the_database_are_bounded(void **state)
{
    (void)state;
    enum { EACH = 4096, REQUESTS = 9 };
    struct fixture f;
    static struct ask a[REQUESTS];
    static char names[REQUESTS][EACH][8];
    static struct bytes keys[REQUESTS][EACH];
    static struct operation_result results[REQUESTS][EACH];
    fixture_init(&f, 0, false, true);
    for (int i = 0; i < REQUESTS; i++) {
        for (int k = 0; k < EACH; k++) {
            snprintf(names[i][k], sizeof names[i][k], "%d", i * EACH + k);
            keys[i][k] = bytes_from_text(names[i][k]);
        }
        ask_get(&f, &a[i], "", 1);
        a[i].r.n = EACH; /* evaluated in the next turn only */
        a[i].r.keys = keys[i];
        a[i].r.results = results[i];
        fixture_turn(&f);
        fixture_pass(&f, 2000); /* the first ones give up; the database has not answered */
    }
    assert_done(&a[0], STATUS_TIMEOUT);
    assert_false(a[REQUESTS - 2].done);
    assert_done(&a[REQUESTS - 1], STATUS_UNAVAILABLE);
    assert_int_not_equal(a[REQUESTS - 1].r.retry_after_ms, 0);
    fixture_deinit(&f);
}

static void del_answers_whether_the_key_was_there(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a, b, c;
    fixture_init(&f, 0, false, true);
    set_now(&f, "k", "v");
    ask_del(&f, &a, "k", 1);
    ask_del(&f, &b, "k", 2); /* sees the first in the overlay: writes nothing, waits for it */
    fixture_turn(&f);
    assert_false(b.done);
    fixture_commit(&f, UINT32_MAX);
    fixture_turn(&f);
    assert_done(&a, STATUS_OK);
    assert_true(a.result.found);
    assert_int_not_equal(a.r.index, 0);
    assert_done(&b, STATUS_OK);
    assert_false(b.result.found);
    assert_int_equal(b.r.index, 0);
    ask_del(&f, &c, "elsewhere", 1); /* must ask the database */
    fixture_turn(&f);
    assert_int_equal(f.loads, 1);
    loader_answer(&f, "elsewhere", "row", 0);
    fixture_commit(&f, UINT32_MAX);
    assert_done(&c, STATUS_OK);
    assert_true(c.result.found);
    fixture_deinit(&f);
}

static void the_end_of_the_office_leaves_writes_unknown_and_reads_elsewhere(void **state)
{
    (void)state;
    struct fixture f;
    struct ask set, open, get, load, late;
    fixture_init(&f, 0, false, true);
    ask_set(&f, &set, "k", "v", 1);
    fixture_turn(&f);
    ask_set(&f, &open, "l", "v", 1); /* in the entry that fills meanwhile: never proposed */
    fixture_turn(&f);
    ask_get(&f, &get, "k", 1);
    ask_get(&f, &load, "other", 1);
    fixture_turn(&f);
    group_on_gate_close(f.group);
    assert_done(&set, STATUS_UNKNOWN);
    assert_done(&open, STATUS_NOT_LEADER);
    assert_done(&get, STATUS_NOT_LEADER);
    assert_done(&load, STATUS_NOT_LEADER);
    ask_set(&f, &late, "k", "v2", 1);
    fixture_turn(&f);
    assert_done(&late, STATUS_NOT_LEADER);
    loader_answer(&f, "other", "row", 0); /* too late: must not be remembered */
    assert_null(state_find(group_state(f.group), bytes_from_text("other")));
    /* The write commits after all, under the next leader: it applies, nobody is answered twice. */
    fixture_commit(&f, UINT32_MAX);
    assert_non_null(state_find(group_state(f.group), bytes_from_text("k")));
    fixture_deinit(&f);
}

static void a_refused_entry_is_a_clear_no(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a, b;
    fixture_init(&f, 0, false, true);
    f.propose_status = STATUS_NO_SPACE;
    ask_set(&f, &a, "k", "v", 1);
    ask_set(&f, &b, "l", "v", 1);
    fixture_turn(&f);
    assert_done(&a, STATUS_NO_SPACE);
    assert_done(&b, STATUS_NO_SPACE);
    f.propose_status = STATUS_OK;
    set_now(&f, "k", "v2");
    fixture_deinit(&f);
}

static void a_del_that_saw_a_refused_write_is_evaluated_again(void **state)
{
    (void)state;
    struct fixture f;
    struct ask first, set, fill, second;
    static char big[64 * 1024 - 55]; /* with the next write an entry is full but for less than one more */
    fixture_init(&f, 0, false, true);
    set_now(&f, "k", "v");
    ask_del(&f, &first, "k", 1);
    fixture_turn(&f);
    memset(big, 'x', sizeof big - 1);
    ask_set(&f, &fill, "l", big, 1); /* collected behind the entry in flight */
    ask_set(&f, &set, "k", "w", 1);
    fixture_turn(&f);
    assert_false(set.done);
    f.propose_status = STATUS_NO_SPACE;
    ask_del(&f, &second, "k", 1); /* finds the key, but making room for it takes that away */
    fixture_turn(&f);
    assert_done(&set, STATUS_NO_SPACE);
    f.propose_status = STATUS_OK;
    fixture_commit(&f, UINT32_MAX);
    fixture_turn(&f);
    assert_done(&first, STATUS_OK);
    assert_done(&second, STATUS_OK);
    assert_false(second.result.found);
    assert_int_equal(second.r.index, 0);
    fixture_deinit(&f);
}

static void a_del_of_more_than_an_entry_holds_is_refused(void **state)
{
    (void)state;
    enum { KEYS = 1100 };
    struct fixture f;
    struct ask a = {0};
    static char names[KEYS][1001];
    static struct bytes keys[KEYS];
    static struct operation operations[KEYS];
    static struct operation_result results[KEYS];
    fixture_init(&f, 0, false, true);
    struct state *s = (struct state *)(uintptr_t)group_state(f.group);
    for (int i = 0; i < KEYS; i++) {
        snprintf(names[i], sizeof names[i], "%01000d", i);
        keys[i] = bytes_from_text(names[i]);
        operations[i] = (struct operation){.kind = OPERATION_DEL, .key = keys[i]};
        state_put_clean(s, keys[i], VALUE_STRING, value_create(bytes_from_text("v")), 1, 0);
    }
    ask_del(&f, &a, "", 1);
    a.r.n = KEYS; /* evaluated in the next turn only */
    a.r.operations = operations;
    a.r.results = results;
    unsigned before = f.proposals;
    fixture_turn(&f);
    assert_done(&a, STATUS_TOO_BIG);
    assert_int_equal(f.proposals, before);
    fixture_deinit(&f);
}

static void over_the_dirty_budget_writes_are_refused_with_a_hint(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    static char big[100 * 1024 + 1];
    char key[16];
    memset(big, 'x', sizeof big - 1);
    for (int i = 0; i < 10; i++) {
        snprintf(key, sizeof key, "k%d", i);
        set_now(&f, key, big);
    }
    struct ask a, get;
    ask_set(&f, &a, "one more", big, 1);
    ask_get(&f, &get, "k1", 1);
    fixture_turn(&f);
    assert_done(&a, STATUS_OVERLOADED);
    assert_int_not_equal(a.r.retry_after_ms, 0);
    assert_got(&get, big);
    fixture_deinit(&f);
}

static void a_deadline_leaves_a_write_unknown_and_a_read_timed_out(void **state)
{
    (void)state;
    struct fixture f;
    struct ask set, get;
    fixture_init(&f, 0, false, true);
    ask_set(&f, &set, "k", "v", 1);
    ask_get(&f, &get, "miss", 1);
    fixture_turn(&f);
    fixture_pass(&f, 9999);
    assert_false(set.done || get.done);
    fixture_pass(&f, 30);
    assert_done(&set, STATUS_UNKNOWN);
    assert_done(&get, STATUS_TIMEOUT);
    fixture_commit(&f, UINT32_MAX); /* applies late, answers nobody */
    fixture_deinit(&f);
}

static void a_follower_applies_what_the_leader_applies(void **state)
{
    (void)state;
    struct fixture leader, follower;
    fixture_init(&leader, 0, false, true);
    fixture_init(&follower, 0, false, false);
    group_on_gate_close(follower.group);
    /* Feed the follower every entry before the leader applies it. */
    struct ask a[20];
    static char keys[20][8];
    for (int i = 0; i < 20; i++) {
        snprintf(keys[i], sizeof keys[i], "k%d", i % 7);
        ask_set(&leader, &a[i], keys[i], keys[(i * 3) % 20], 1);
        fixture_turn(&leader);
        list_for_each (it, next, &leader.log) {
            const struct logged *l = list_entry(it, struct logged, link);
            if (l->index > group_state(follower.group)->applied_index) {
                group_on_apply(follower.group, l->index, buf_bytes(&l->raw), 1);
            }
        }
        fixture_commit(&leader, 1);
    }
    struct list *only_writes = group_state(leader.group)->queue.next;
    assert_non_null(only_writes);
    assert_int_equal(group_state(leader.group)->queued_entries, group_state(follower.group)->queued_entries);
    list_for_each (it, next, &((struct state *)(uintptr_t)group_state(leader.group))->queue) {
        const struct state_entry *e = state_queue_entry(it);
        const struct state_entry *same = state_find(group_state(follower.group), state_entry_key(e));
        assert_non_null(same);
        assert_true(bytes_equal(value_bytes(e->value), value_bytes(same->value)));
        assert_int_equal(e->version, same->version);
        assert_int_equal(e->queued.first_dirty, same->queued.first_dirty);
    }
    fixture_deinit(&follower);
    fixture_deinit(&leader);
}

static void a_clock_far_from_the_stamps_is_told(void **state)
{
    (void)state;
    struct fixture f;
    int64_t offset;
    fixture_init(&f, 0, false, true);
    set_now(&f, "k", "v");
    assert_false(group_clock_is_off(f.group, f.now_ms, f.now_ms + 1000, &offset));
    assert_true(group_clock_is_off(f.group, f.now_ms, f.now_ms + 120000, &offset));
    assert_int_equal(offset, 120000);
    assert_true(group_clock_is_off(f.group, f.now_ms, f.now_ms - 120000, &offset));
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_is_answered_by_its_own_apply),
        cmocka_unit_test(sets_of_one_turn_share_an_entry_and_the_next_fills_meanwhile),
        cmocka_unit_test(full_entries_go_side_by_side_up_to_the_pipeline),
        cmocka_unit_test(a_get_waits_for_an_unapplied_write_of_its_own_connection_only),
        cmocka_unit_test(a_get_without_a_lease_needs_a_barrier_proposed_after_it_came),
        cmocka_unit_test(reads_under_the_lease_write_nothing),
        cmocka_unit_test(many_readers_of_one_missing_key_share_one_load),
        cmocka_unit_test(misses_of_one_turn_are_one_select),
        cmocka_unit_test(a_row_loaded_before_a_write_never_hides_it),
        cmocka_unit_test(a_load_that_fails_says_so_and_the_next_one_tries_again),
        cmocka_unit_test(keys_on_their_way_from_the_database_are_bounded),
        cmocka_unit_test(del_answers_whether_the_key_was_there),
        cmocka_unit_test(the_end_of_the_office_leaves_writes_unknown_and_reads_elsewhere),
        cmocka_unit_test(a_refused_entry_is_a_clear_no),
        cmocka_unit_test(a_del_that_saw_a_refused_write_is_evaluated_again),
        cmocka_unit_test(a_del_of_more_than_an_entry_holds_is_refused),
        cmocka_unit_test(over_the_dirty_budget_writes_are_refused_with_a_hint),
        cmocka_unit_test(a_deadline_leaves_a_write_unknown_and_a_read_timed_out),
        cmocka_unit_test(a_clock_far_from_the_stamps_is_told),
        cmocka_unit_test(a_follower_applies_what_the_leader_applies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
