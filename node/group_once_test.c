/* Exactly once: retries join, repeat, or are told that nobody knows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/group_fixture.h"

static const struct operation *incr(void)
{
    static struct operation op;
    op = (struct operation){.kind = OPERATION_INCR, .key = bytes_from_text("n"), .delta = 5};
    return &op;
}

static struct operation if_absent(const char *value)
{
    return (struct operation){.kind = OPERATION_SET,
        .key = bytes_from_text("k"),
        .value = bytes_from_text(value),
        .condition = CONDITION_ABSENT};
}

static void with_counter(struct fixture *f)
{
    fixture_init(f, 0, false, true);
    set_now(f, "n", "100");
    set_now(f, "k", "there");
}

static void assert_counter(struct fixture *f, const char *value)
{
    struct ask get;
    ask_get(f, &get, "n", 1);
    fixture_turn(f);
    fixture_commit(f, UINT32_MAX);
    fixture_turn(f);
    assert_got(&get, value);
}

static void a_retry_after_the_apply_gets_the_first_answer(void **state)
{
    (void)state;
    struct fixture f;
    struct ask first, again;
    with_counter(&f);
    uint64_t session = open_session_now(&f);
    ask_once(&f, &first, incr(), session, 1, false);
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    assert_done(&first, STATUS_OK);
    set_now(&f, "n", "900");
    unsigned before = f.proposals;
    ask_once(&f, &again, incr(), session, 1, true);
    fixture_turn(&f);
    assert_done(&again, STATUS_OK);
    assert_int_equal(again.result.number, 105);
    assert_int_equal(again.result.version, first.result.version);
    assert_int_equal(again.r.index, first.r.index);
    assert_int_equal(f.proposals, before);
    assert_counter(&f, "900");
    fixture_deinit(&f);
}

static void a_retry_joins_its_first_try_in_flight(void **state)
{
    (void)state;
    struct fixture f;
    struct ask hold, first, again, third;
    with_counter(&f);
    uint64_t session = open_session_now(&f);
    ask_set(&f, &hold, "other", "x", 1);
    fixture_turn(&f);
    ask_once(&f, &first, incr(), session, 1, false);
    fixture_turn(&f); /* in the open entry */
    ask_once(&f, &again, incr(), session, 1, true);
    fixture_turn(&f);
    fixture_commit(&f, 1);
    ask_once(&f, &third, incr(), session, 1, true); /* now it is in flight */
    fixture_turn(&f);
    assert_false(first.done || again.done || third.done);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(first.result.number, 105);
    assert_int_equal(again.result.number, 105);
    assert_int_equal(third.result.number, 105);
    assert_int_equal(again.result.version, first.result.version);
    assert_int_equal(third.result.version, first.result.version);
    assert_counter(&f, "105");
    fixture_deinit(&f);
}

static void a_first_try_that_comes_after_its_retry_does_nothing(void **state)
{
    (void)state;
    struct fixture f;
    struct ask retry, late, del;
    with_counter(&f);
    uint64_t session = open_session_now(&f);
    struct operation nx = if_absent("mine");
    ask_once(&f, &retry, &nx, session, 1, true);
    fixture_turn(&f);
    assert_false(retry.done); /* its 'no' is logged first */
    fixture_commit(&f, UINT32_MAX);
    assert_done(&retry, STATUS_CONDITION_FAILED);
    assert_int_equal(retry.r.index, 0);
    ask_del(&f, &del, "k", 2);
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    ask_once(&f, &late, &nx, session, 1, false);
    fixture_turn(&f);
    assert_done(&late, STATUS_CONDITION_FAILED);
    assert_int_equal(late.result.version, retry.result.version);
    fixture_deinit(&f);
}

static void a_session_that_is_not_known_is_said_under_the_lease(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a;
    with_counter(&f);
    f.lease = false;
    ask_once(&f, &a, incr(), 4711, 1, false);
    fixture_turn(&f);
    assert_false(a.done); /* a deposed leader would not know it either */
    group_on_barrier(f.group, f.barrier_token);
    fixture_turn(&f);
    assert_done(&a, STATUS_SESSION_EXPIRED);
    f.lease = true;
    assert_counter(&f, "100");
    fixture_deinit(&f);
}

static void a_sequence_below_the_floor_is_not_executed(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a, b, old;
    with_counter(&f);
    uint64_t session = open_session_now(&f);
    ask_once(&f, &a, incr(), session, 1, false);
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    ask_once(&f, &b, incr(), session, 2, false); /* awaits nothing below 2 */
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    ask_once(&f, &old, incr(), session, 1, true);
    fixture_turn(&f);
    assert_done(&old, STATUS_SESSION_EXPIRED);
    assert_counter(&f, "110");
    fixture_deinit(&f);
}

static void sessions_of_one_entry_have_ids_of_their_own(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a[3];
    with_counter(&f);
    unsigned before = f.proposals;
    for (int i = 0; i < 3; i++) {
        a[i] = (struct ask){.r.op = GROUP_OPEN_SESSION};
        ask_get(&f, &a[i], "n", 1);
        a[i].r.op = GROUP_OPEN_SESSION; /* evaluated in the next turn only */
        a[i].r.n = 0;
    }
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(f.proposals, before + 1);
    for (int i = 0; i < 3; i++) {
        assert_done(&a[i], STATUS_OK);
        assert_int_equal(a[i].r.index, (f.last_index << 16) + (uint64_t)i);
        assert_true(sessions_known(&group_state(f.group)->sessions, a[i].r.index));
    }
    fixture_deinit(&f);
}

/* Give @follower all entries that @leader's log holds, and commit them there as well. */
static void replicate(struct fixture *leader, struct fixture *follower)
{
    while (!list_empty(&leader->log)) {
        const struct logged *l = list_entry(leader->log.next, struct logged, link);
        group_on_apply(follower->group, l->index, buf_bytes(&l->raw), follower->now_ms);
        follower->last_index = l->index;
        fixture_commit(leader, 1);
    }
}

static void a_new_leader_knows_what_the_old_one_answered(void **state)
{
    (void)state;
    for (int by_snapshot = 0; by_snapshot < 2; by_snapshot++) {
        struct fixture old, next;
        struct ask a, again, fresh;
        fixture_init(&next, 0, false, false);
        group_on_gate_close(next.group);
        fixture_init(&old, 0, false, false);
        fixture_turn(&old);
        db_inspected(&old, FLUSH_DB_EMPTY, 0);
        replicate(&old, &next);
        db_claimed(&old);
        replicate(&old, &next);
        db_taken(&old, 0);
        struct ask set;
        ask_set(&old, &set, "n", "100", 1);
        fixture_turn(&old);
        replicate(&old, &next);
        struct ask open = {0};
        ask_get(&old, &open, "n", 1);
        open.r.op = GROUP_OPEN_SESSION;
        open.r.n = 0;
        fixture_turn(&old);
        replicate(&old, &next);
        assert_done(&open, STATUS_OK);
        ask_once(&old, &a, incr(), open.r.index, 1, false);
        fixture_turn(&old);
        replicate(&old, &next);
        assert_done(&a, STATUS_OK);
        if (by_snapshot) {
            struct buf snapshot;
            buf_init(&snapshot);
            group_on_snapshot(old.group, &snapshot);
            assert_int_equal(group_on_restore(next.group, buf_bytes(&snapshot)), STATUS_OK);
            buf_deinit(&snapshot);
        }
        group_on_gate_open(next.group, 2, next.now_ms);
        ask_once(&next, &again, incr(), open.r.index, 1, true);
        fixture_turn(&next);
        assert_done(&again, STATUS_OK);
        assert_int_equal(again.result.number, 105);
        assert_int_equal(again.result.version, a.result.version);
        ask_once(&next, &fresh, incr(), open.r.index, 2, false);
        fixture_turn(&next);
        fixture_commit(&next, UINT32_MAX);
        assert_done(&fresh, STATUS_OK);
        assert_int_equal(fresh.result.number, 110);
        fixture_deinit(&old);
        fixture_deinit(&next);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_retry_after_the_apply_gets_the_first_answer),
        cmocka_unit_test(a_retry_joins_its_first_try_in_flight),
        cmocka_unit_test(a_first_try_that_comes_after_its_retry_does_nothing),
        cmocka_unit_test(a_session_that_is_not_known_is_said_under_the_lease),
        cmocka_unit_test(a_sequence_below_the_floor_is_not_executed),
        cmocka_unit_test(sessions_of_one_entry_have_ids_of_their_own),
        cmocka_unit_test(a_new_leader_knows_what_the_old_one_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
