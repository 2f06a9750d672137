/* Operators' questions: how far keys are on their way, and what is in quarantine; and that all answers are
 * given by a leader, in time or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/group_admin_test_help.h"

/* ---- How far a key is ---- */

static void key_status_follows_a_key_through_its_life(void **state)
{
    (void)state;
    struct fixture f;
    struct ask w;
    fixture_init(&f, 0, false, true);
    retain(&f, 60000, 1 << 20);
    assert_false(key_status_of(&f, "k").in_memory);
    ask_set(&f, &w, "k", "value", 1);
    fixture_turn(&f);
    assert_false(key_status_of(&f, "k").in_memory); /* in the log, but not applied */
    fixture_commit(&f, UINT32_MAX);
    fixture_pass(&f, 30);
    struct admin_key k = key_status_of(&f, "k");
    assert_true(k.in_memory && k.present && k.queued && !k.evictable && !k.quarantined);
    assert_int_equal(k.version, w.result.version);
    assert_int_equal(k.length, 5);
    assert_int_equal(k.dirty_index, w.r.index);
    assert_int_equal(k.dirty_ms, 30);
    assert_int_equal(k.in_flight, 0);
    fixture_pass(&f, 70);
    fixture_commit(&f, UINT32_MAX); /* FlushBegin */
    k = key_status_of(&f, "k");
    assert_int_equal(k.in_flight, f.sent[0].id);
    assert_false(k.queued);
    assert_int_equal(k.dirty_index, w.r.index);
    set_now(&f, "k", "other");
    k = key_status_of(&f, "k");
    assert_int_equal(k.in_flight, f.sent[0].id);
    assert_true(k.queued);
    assert_int_equal(k.dirty_index, w.r.index); /* the oldest */
    db_committed(&f, f.sent[0].id);
    fixture_commit(&f, UINT32_MAX);
    k = key_status_of(&f, "k");
    assert_int_equal(k.in_flight, 0);
    assert_int_equal(k.flushed_in, f.sent[0].id);
    assert_true(k.queued && k.dirty_index > w.r.index);
    flush_now(&f);
    k = key_status_of(&f, "k");
    assert_true(k.present && !k.queued && k.dirty_index == 0 && k.dirty_ms == 0);
    assert_int_equal(k.flushed_in, f.sent[1].id);
    assert_false(k.evictable); /* retained */
    fixture_deinit(&f);
}

static void key_status_tells_absent_deleted_and_expired_from_unknown(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a;
    fixture_init(&f, 0, false, true);
    ask_get(&f, &a, "absent", 1);
    fixture_turn(&f);
    loader_answer(&f, NULL, NULL, 0);
    assert_got(&a, NULL);
    struct admin_key k = key_status_of(&f, "absent");
    assert_true(k.in_memory && !k.present && k.evictable);
    assert_int_equal(k.version, 0);
    set_now(&f, "gone", "v");
    ask_del(&f, &a, "gone", 1);
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    k = key_status_of(&f, "gone");
    assert_true(k.in_memory && !k.present && k.queued && !k.evictable);
    assert_int_equal(k.version, a.result.version);
    ask_get(&f, &a, "old", 1);
    fixture_turn(&f);
    loader_answer_expiring(&f, "old", "v", f.now_ms + 10, 0);
    assert_got(&a, "v");
    k = key_status_of(&f, "old");
    assert_true(k.present && k.evictable);
    assert_int_equal(k.expires_at_ms, f.now_ms + 10);
    f.now_ms += 10;
    k = key_status_of(&f, "old"); /* due; its delete has not applied */
    assert_true(k.in_memory && !k.present);
    fixture_deinit(&f);
}

static void key_status_of_a_quarantined_key_says_why_and_since_when(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    quarantine_now(&f, "bad", "v");
    f.now_ms += 100;
    struct admin_key k = key_status_of(&f, "bad");
    assert_true(k.quarantined && k.present && !k.queued && !k.evictable);
    assert_string_equal(k.sqlstate, "23514");
    assert_int_equal(k.refused_version, k.version);
    assert_int_equal(k.attempts, 1);
    assert_int_equal(k.refused_ms, 100);
    assert_true(k.since_ms >= 100 && k.dirty_ms == k.since_ms && k.dirty_index != 0);
    assert_int_equal(k.retry_in_ms, 900);
    fixture_deinit(&f);
}

static void key_status_that_does_not_fit_in_a_message_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    struct admin_ask x;
    fixture_init(&f, 0, false, true);
    quarantine_now(&f, "bad", "v");
    enum { N = 40000 }; /* more than a front would let through */
    struct bytes *keys = calloc(N, sizeof *keys);
    assert_non_null(keys);
    for (int i = 0; i < N; i++) {
        keys[i] = bytes_from_text("bad");
    }
    ask_key_status(&f, &x, keys, N);
    fixture_turn(&f);
    assert_admin_done(&x, STATUS_TOO_BIG);
    free(keys);
    fixture_deinit(&f);
}

/* ---- The quarantine ---- */

static void the_list_is_the_quarantine_from_the_oldest_on(void **state)
{
    (void)state;
    struct fixture f;
    struct admin_ask x;
    char key[16];
    fixture_init(&f, 0, false, true);
    for (int i = 0; i < 5; i++) {
        snprintf(key, sizeof key, "q%d", i);
        quarantine_now(&f, key, "value");
    }
    ask_quarantine(&f, &x, ADMIN_QUARANTINE_LIST, NULL, 0);
    x.a.skip = 1;
    x.a.count = 3;
    fixture_turn(&f);
    assert_true(x.done);
    assert_int_equal(x.a.total, 5);
    assert_int_equal(x.a.n_results, 3);
    for (int i = 0; i < 3; i++) {
        snprintf(key, sizeof key, "q%d", i + 1);
        assert_true(bytes_equal(x.a.results[i].key, bytes_from_text(key)));
        assert_true(x.a.results[i].quarantined);
        assert_string_equal(x.a.results[i].message, "it does not fit");
        assert_null(x.a.results[i].value);
        assert_int_equal(x.a.results[i].length, 5);
    }
    assert_admin_done(&x, STATUS_OK);
    struct bytes keys[] = {bytes_from_text("q4"), bytes_from_text("healthy"), bytes_from_text("q0")};
    ask_quarantine(&f, &x, ADMIN_QUARANTINE_LIST, keys, 3);
    fixture_turn(&f);
    assert_int_equal(x.a.n_results, 2);
    assert_true(bytes_equal(x.a.results[0].key, keys[0]));
    assert_true(bytes_equal(x.a.results[1].key, keys[2]));
    assert_admin_done(&x, STATUS_OK);
    fixture_deinit(&f);
}

static void listed_values_outlive_their_keys_and_end_before_the_message_does(void **state)
{
    (void)state;
    struct fixture f;
    struct admin_ask x;
    char key[16];
    char *big = malloc(LIMIT_VALUE_BYTES + 1);
    assert_non_null(big);
    memset(big, 'x', LIMIT_VALUE_BYTES);
    big[LIMIT_VALUE_BYTES] = '\0';
    fixture_init(&f, 0, false, true);
    for (int i = 0; i < 5; i++) {
        snprintf(key, sizeof key, "q%d", i);
        quarantine_now(&f, key, big);
    }
    ask_quarantine(&f, &x, ADMIN_QUARANTINE_LIST, NULL, 0);
    x.a.values = true;
    fixture_turn(&f);
    assert_int_equal(x.a.total, 5);
    assert_int_equal(x.a.n_results, 3); /* a frame is 4 MiB */
    struct admin_ask drop;
    struct bytes q0 = bytes_from_text("q0");
    ask_quarantine(&f, &drop, ADMIN_QUARANTINE_DROP, &q0, 1);
    fixture_turn(&f);
    fixture_commit(&f, 1);
    assert_admin_done(&drop, STATUS_OK);
    assert_int_equal(x.a.results[0].value->len, LIMIT_VALUE_BYTES);
    assert_int_equal(x.a.results[0].value->data[0], 'x');
    assert_admin_done(&x, STATUS_OK);
    free(big);
    fixture_deinit(&f);
}

static void retry_makes_the_named_or_all_due_at_once(void **state)
{
    (void)state;
    struct fixture f;
    struct admin_ask x;
    fixture_init(&f, 0, false, true);
    quarantine_now(&f, "a", "v");
    quarantine_now(&f, "b", "v");
    uint64_t last = f.last_index;
    fixture_turn(&f);
    assert_int_equal(f.last_index, last); /* by itself not yet */
    struct bytes keys[] = {bytes_from_text("a"), bytes_from_text("healthy")};
    ask_quarantine(&f, &x, ADMIN_QUARANTINE_RETRY, keys, 2);
    fixture_turn(&f);
    assert_int_equal(x.a.total, 1);
    assert_admin_done(&x, STATUS_OK);
    assert_int_equal(f.last_index, last + 1);
    fixture_commit(&f, 1);
    assert_int_not_equal(key_status_of(&f, "a").in_flight, 0);
    assert_int_equal(key_status_of(&f, "b").in_flight, 0);
    ask_quarantine(&f, &x, ADMIN_QUARANTINE_RETRY, NULL, 0);
    fixture_turn(&f);
    assert_int_equal(x.a.total, 2);
    assert_admin_done(&x, STATUS_OK);
    assert_int_equal(key_status_of(&f, "b").retry_in_ms, 0);
    fixture_deinit(&f);
}

/* ---- Lease, deadline, office ---- */

static void without_a_lease_an_answer_waits_for_a_barrier(void **state)
{
    (void)state;
    static const enum group_admin_kind kinds[] = {
        ADMIN_KEY_STATUS, ADMIN_QUARANTINE_LIST, ADMIN_QUARANTINE_RETRY, ADMIN_CONTROL, ADMIN_VERIFY};
    for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct fixture f;
        struct admin_ask x;
        fixture_init(&f, 0, false, true);
        f.lease = false;
        ask_admin_init(&x, kinds[i]);
        ask_admin(&f, &x);
        fixture_turn(&f);
        assert_false(x.done);
        assert_int_equal(f.barriers, 1);
        group_on_barrier(f.group, f.barrier_token);
        fixture_turn(&f);
        if (kinds[i] == ADMIN_VERIFY) { /* which is proved by what comes after it looked */
            assert_false(x.done);
            group_on_barrier(f.group, f.barrier_token);
            fixture_turn(&f);
        }
        assert_admin_done(&x, STATUS_OK);
        ask_admin(&f, &x);
        fixture_turn(&f);
        fixture_depose(&f);
        assert_admin_done(&x, STATUS_NOT_LEADER);
        fixture_deinit(&f);
    }
}

static void a_follower_refuses(void **state)
{
    (void)state;
    struct fixture f;
    struct admin_ask x;
    fixture_init(&f, 0, false, true);
    fixture_depose(&f);
    ask_admin_init(&x, ADMIN_CONTROL);
    x.a.reset = true;
    ask_admin(&f, &x);
    fixture_turn(&f);
    assert_admin_done(&x, STATUS_NOT_LEADER);
    fixture_deinit(&f);
}

static void a_deadline_says_what_is_known_then(void **state)
{
    (void)state;
    struct fixture f;
    struct admin_ask logged, blocked, unproved;
    fixture_init(&f, 0, false, true);
    ask_pause(&f, &logged, true);
    fixture_turn(&f);
    ask_pause(&f, &blocked, false);
    fixture_turn(&f);
    f.lease = false;
    ask_admin_init(&unproved, ADMIN_KEY_STATUS);
    ask_admin(&f, &unproved);
    fixture_turn(&f);
    fixture_pass(&f, 10000);
    assert_admin_done(&logged, STATUS_UNKNOWN);
    assert_admin_done(&blocked, STATUS_TIMEOUT);
    assert_admin_done(&unproved, STATUS_TIMEOUT);
    f.lease = true;
    fixture_commit(&f, UINT32_MAX);
    assert_true(group_state(f.group)->control.paused);
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(key_status_follows_a_key_through_its_life),
        cmocka_unit_test(key_status_tells_absent_deleted_and_expired_from_unknown),
        cmocka_unit_test(key_status_of_a_quarantined_key_says_why_and_since_when),
        cmocka_unit_test(key_status_that_does_not_fit_in_a_message_is_refused),
        cmocka_unit_test(the_list_is_the_quarantine_from_the_oldest_on),
        cmocka_unit_test(listed_values_outlive_their_keys_and_end_before_the_message_does),
        cmocka_unit_test(retry_makes_the_named_or_all_due_at_once),
        cmocka_unit_test(without_a_lease_an_answer_waits_for_a_barrier),
        cmocka_unit_test(a_follower_refuses),
        cmocka_unit_test(a_deadline_says_what_is_known_then),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
