/* The flush as a group drives it: birth, claim, fence, batches, failures, a new leader that settles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/group_fixture.h"

static struct group_info info_of(const struct fixture *f)
{
    struct group_info info;
    group_info(f->group, f->now_ms, &info);
    return info;
}

static void dirty(struct fixture *f, int n)
{
    char key[16];
    for (int i = 0; i < n; i++) {
        snprintf(key, sizeof key, "k%02d", i);
        set_now(f, key, "v");
    }
}

static void a_new_cluster_is_born_claims_and_takes(void **state)
{
    (void)state;
    struct fixture f;
    struct ask early;
    fixture_init(&f, 0, false, false);
    ask_set(&f, &early, "k", "v", 1);
    fixture_turn(&f);
    assert_done(&early, STATUS_UNAVAILABLE); /* no version base yet */
    assert_int_equal(f.db_call, DB_INSPECT);
    db_inspected(&f, FLUSH_DB_EMPTY, 0);
    assert_int_equal(fixture_commit(&f, UINT32_MAX), 1);
    assert_int_equal(f.db_call, DB_CLAIM);
    assert_int_equal(f.db_identity.cluster_id[0], 7);
    db_claimed(&f);
    assert_int_equal(fixture_commit(&f, UINT32_MAX), 1);
    db_taken(&f, 0);
    assert_string_equal(info_of(&f).flush_state, "active");
    fixture_deinit(&f);
}

static void a_foreign_database_halts_with_words(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, false);
    fixture_turn(&f);
    db_inspected(&f, FLUSH_DB_FOREIGN, 1000);
    assert_string_equal(info_of(&f).flush_state, "halted");
    assert_non_null(strstr(info_of(&f).flush_error, "--adopt"));
    struct ask a;
    ask_set(&f, &a, "k", "v", 1);
    fixture_turn(&f);
    assert_done(&a, STATUS_HALTED);
    assert_int_equal(f.last_index, 0);
    fixture_pass(&f, 6000); /* it looks again: the operator may have emptied it */
    db_inspected(&f, FLUSH_DB_EMPTY, 0);
    assert_int_equal(f.last_index, 1);
    fixture_deinit(&f);
}

static void a_leader_without_a_lease_may_be_looking_at_its_successors_claim(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, false);
    fixture_turn(&f);
    f.lease = false;
    db_inspected(&f, FLUSH_DB_FOREIGN, 1000);
    assert_string_equal(info_of(&f).flush_state, "backoff");
    fixture_pass(&f, 2000); /* it would have stepped down by now */
    db_inspected(&f, FLUSH_DB_FOREIGN, 1000);
    assert_string_equal(info_of(&f).flush_state, "halted");
    fixture_deinit(&f);
}

static void an_adopted_database_gives_the_version_base(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, true, false);
    fixture_turn(&f);
    db_inspected(&f, FLUSH_DB_FOREIGN, 1000000);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(f.db_call, DB_CLAIM);
    assert_int_equal(f.db_identity.version_base, 1000000);
    assert_int_equal(f.db_expected.found, FLUSH_DB_FOREIGN);
    db_claimed(&f);
    fixture_commit(&f, UINT32_MAX);
    db_taken(&f, 0);
    struct ask a;
    ask_set(&f, &a, "k", "v", 1);
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    assert_done(&a, STATUS_OK);
    assert_true(a.result.version > 1000000);
    fixture_deinit(&f);
}

static void a_database_whose_versions_are_used_up_is_not_adopted(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, true, false);
    fixture_turn(&f);
    db_inspected(&f, FLUSH_DB_FOREIGN, (UINT64_C(1) << 62) + 1);
    assert_string_equal(info_of(&f).flush_state, "halted");
    assert_int_equal(f.last_index, 0);
    fixture_deinit(&f);
}

static void other_groups_follow_the_first_ones_identity(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 1, false, false);
    fixture_turn(&f);
    assert_int_equal(f.db_call, DB_NONE);
    f.seed_found = true;
    f.seed.version_base = 77;
    f.seed.group_count = 2;
    f.seed.cluster_id[0] = 9;
    fixture_turn(&f);
    assert_int_equal(fixture_commit(&f, UINT32_MAX), 2); /* genesis, claimed */
    assert_int_equal(f.db_call, DB_TAKE);
    assert_int_equal(f.db_identity.cluster_id[0], 9);
    assert_int_equal(f.db_identity.version_base, 77);
    assert_int_equal(f.db_identity.group, 1);
    db_taken(&f, 0);
    assert_string_equal(info_of(&f).flush_state, "active");
    fixture_deinit(&f);
}

/* It may be our own cluster, claimed by group 0 without this node knowing: nothing for an operator yet. */
static void other_groups_say_why_when_the_first_one_cannot_claim(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 1, false, false);
    fixture_turn(&f);
    fixture_pass(&f, 1999);
    assert_int_equal(f.db_call, DB_NONE);
    fixture_pass(&f, 1);
    db_inspected(&f, FLUSH_DB_FOREIGN, 1000);
    assert_string_equal(info_of(&f).flush_state, "backoff");
    assert_non_null(strstr(info_of(&f).flush_error, "group 0"));
    struct ask a;
    ask_set(&f, &a, "k", "v", 1);
    fixture_turn(&f);
    assert_done(&a, STATUS_UNAVAILABLE);
    f.seed_found = true; /* group 0 has claimed it */
    f.seed.group_count = 2;
    fixture_turn(&f);
    assert_int_equal(fixture_commit(&f, UINT32_MAX), 2);
    assert_int_equal(f.db_call, DB_TAKE);
    fixture_deinit(&f);
}

static void rows_wait_for_the_flush_age_and_coalesce(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    for (int i = 0; i < 50; i++) {
        set_now(&f, "hot", "v");
    }
    fixture_pass(&f, 99);
    assert_int_equal(fixture_commit(&f, UINT32_MAX), 0);
    fixture_pass(&f, 1);
    assert_int_equal(fixture_commit(&f, UINT32_MAX), 1); /* FlushBegin */
    assert_int_equal(f.sent_n, 1);
    assert_int_equal(f.sent[0].upserts, 1);
    assert_int_equal(info_of(&f).batches_in_flight, 1);
    db_committed(&f, f.sent[0].id);
    fixture_commit(&f, UINT32_MAX);
    struct group_info info = info_of(&f);
    assert_int_equal(info.rows_flushed, 1);
    assert_int_equal(info.dirty_entries, 0);
    assert_int_equal(info.flushed_index, info.applied_index);
    assert_int_equal(info.last_batch, f.sent[0].id);
    fixture_deinit(&f);
}

static void what_is_nearly_of_age_goes_along_and_what_is_young_waits(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    set_now(&f, "old", "v");
    fixture_pass(&f, 25);
    set_now(&f, "nearly", "v");
    fixture_pass(&f, 5);
    set_now(&f, "young", "v");
    fixture_pass(&f, 69);
    assert_int_equal(fixture_commit(&f, UINT32_MAX), 0); /* none is of age */
    fixture_pass(&f, 1);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(f.sent_n, 1);
    assert_int_equal(f.sent[0].upserts, 2);
    db_committed(&f, f.sent[0].id);
    fixture_commit(&f, UINT32_MAX);
    fixture_pass(&f, 29);
    assert_int_equal(fixture_commit(&f, UINT32_MAX), 0);
    fixture_pass(&f, 1);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(f.sent_n, 2);
    assert_int_equal(f.sent[1].upserts, 1);
    db_committed(&f, f.sent[1].id);
    fixture_commit(&f, UINT32_MAX);
    fixture_deinit(&f);
}

static void whoever_waits_for_the_flush_is_served_at_once(void **state)
{
    (void)state;
    struct fixture f;
    struct ask clean, a;
    fixture_init(&f, 0, false, true);
    ask_flush(&f, &clean);
    fixture_turn(&f);
    assert_done(&clean, STATUS_OK); /* nothing is dirty */
    set_now(&f, "k", "v");
    uint64_t index = f.last_index;
    ask_flush(&f, &a);
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(f.sent_n, 1);
    assert_false(a.done);
    db_committed(&f, f.sent[0].id);
    fixture_commit(&f, UINT32_MAX);
    assert_done(&a, STATUS_OK);
    assert_true(a.r.index >= index);
    fixture_deinit(&f);
}

static void two_whole_batches_may_be_in_flight_each_behind_the_other(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    dirty(&f, 25);
    fixture_pass(&f, 100);
    fixture_commit(&f, UINT32_MAX);
    fixture_pass(&f, 10);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(f.sent_n, 2);
    assert_int_equal(f.sent[0].upserts, 10);
    assert_int_equal(f.sent[1].predecessor, f.sent[0].id);
    fixture_pass(&f, 10);
    assert_int_equal(fixture_commit(&f, UINT32_MAX), 0); /* no third */
    db_committed(&f, f.sent[0].id);
    db_committed(&f, f.sent[1].id);
    fixture_commit(&f, UINT32_MAX);
    fixture_pass(&f, 10);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(f.sent_n, 3);
    assert_int_equal(f.sent[2].upserts, 5);
    assert_int_equal(f.sent[2].predecessor, f.sent[1].id);
    fixture_deinit(&f);
}

static void a_failed_batch_is_settled_by_the_fence_row_and_written_again(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    set_now(&f, "k", "v1");
    fixture_pass(&f, 100);
    fixture_commit(&f, UINT32_MAX);
    set_now(&f, "k", "v2"); /* meanwhile */
    db_failed(&f, FLUSH_ERROR_OUTAGE, "connection lost");
    assert_string_equal(info_of(&f).flush_state, "backoff");
    assert_string_equal(info_of(&f).flush_error, "connection lost");
    uint64_t flushed = info_of(&f).flushed_index;
    fixture_pass(&f, 200);
    db_taken(&f, 0);       /* the batch is not there */
    fixture_commit(&f, 1); /* ABORT */
    fixture_commit(&f, UINT32_MAX);
    fixture_pass(&f, 1);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(f.sent_n, 2);
    assert_int_equal(f.sent[1].predecessor, 0);
    assert_int_equal(f.sent[1].upserts, 1);
    assert_int_equal(info_of(&f).flushed_index, flushed);
    db_committed(&f, f.sent[1].id);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(info_of(&f).dirty_entries, 0);
    fixture_deinit(&f);
}

static void a_lost_answer_to_a_commit_is_settled_as_flushed(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    set_now(&f, "k", "v1");
    fixture_pass(&f, 100);
    fixture_commit(&f, UINT32_MAX);
    uint64_t batch = f.sent[0].id;
    db_failed(&f, FLUSH_ERROR_OUTAGE, "connection lost");
    fixture_pass(&f, 200);
    db_taken(&f, batch); /* it is there */
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(info_of(&f).dirty_entries, 0);
    assert_int_equal(info_of(&f).last_batch, batch);
    assert_int_equal(f.sent_n, 1);
    assert_string_equal(info_of(&f).flush_state, "active");
    fixture_deinit(&f);
}

static void a_new_leader_settles_what_the_old_one_left(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    dirty(&f, 20);
    fixture_pass(&f, 100);
    fixture_commit(&f, UINT32_MAX);
    fixture_pass(&f, 10);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(f.sent_n, 2);
    group_on_gate_close(f.group); /* lost, with two batches in flight; the database has the first */
    fixture_turn(&f);
    assert_int_equal(f.disconnects, 1);
    group_on_gate_open(f.group, 2, f.now_ms);
    fixture_turn(&f);
    assert_int_equal(f.db_term, 2);
    db_taken(&f, f.sent[0].id);
    fixture_commit(&f, 2); /* FLUSHED, ABORT */
    assert_int_equal(info_of(&f).last_batch, f.sent[0].id);
    assert_int_equal(info_of(&f).batches_in_flight, 0);
    assert_int_equal(info_of(&f).dirty_entries, 10);
    fixture_pass(&f, 1);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(f.sent_n, 3);
    assert_int_equal(f.sent[2].predecessor, f.sent[0].id);
    fixture_deinit(&f);
}

static void a_begin_that_applies_after_the_connection_broke_is_settled_too(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    set_now(&f, "k", "v");
    fixture_pass(&f, 100); /* FlushBegin is proposed, not applied */
    db_failed(&f, FLUSH_ERROR_OUTAGE, "gone");
    fixture_pass(&f, 200);
    db_taken(&f, 0);
    fixture_pass(&f, 10);
    assert_string_equal(info_of(&f).flush_state, "settling");
    fixture_commit(&f, 1); /* it applies now */
    assert_int_equal(f.sent_n, 0);
    fixture_commit(&f, UINT32_MAX); /* ABORT, and a new BEGIN */
    fixture_pass(&f, 1);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(f.sent_n, 1);
    assert_string_equal(info_of(&f).flush_state, "active");
    fixture_deinit(&f);
}

static void a_database_beyond_the_log_halts_with_words(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    set_now(&f, "k", "v1");
    fixture_pass(&f, 100);
    fixture_commit(&f, UINT32_MAX);
    db_committed(&f, f.sent[0].id);
    fixture_commit(&f, UINT32_MAX);
    db_failed(&f, FLUSH_ERROR_OUTAGE, "gone");
    fixture_pass(&f, 200);
    db_taken(&f, f.sent[0].id + 1000);
    assert_string_equal(info_of(&f).flush_state, "halted");
    assert_non_null(strstr(info_of(&f).flush_error, "older than the database"));
    struct ask a; /* the cache itself goes on */
    ask_set(&f, &a, "k", "v2", 1);
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    assert_done(&a, STATUS_OK);
    fixture_deinit(&f);
}

/* This group retains nothing: so what the database lost is counted, and the flush goes on from there. */
static void a_database_that_went_back_in_time_is_followed_and_what_it_lost_is_counted(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    set_now(&f, "k", "v1");
    fixture_pass(&f, 100);
    fixture_commit(&f, UINT32_MAX);
    db_committed(&f, f.sent[0].id);
    fixture_commit(&f, UINT32_MAX);
    db_failed(&f, FLUSH_ERROR_OUTAGE, "gone");
    fixture_pass(&f, 200);
    db_taken(&f, 0);
    assert_string_equal(info_of(&f).flush_state, "settling");
    assert_int_equal(fixture_commit(&f, UINT32_MAX), 1); /* REWIND */
    assert_string_equal(info_of(&f).flush_state, "active");
    assert_int_equal(info_of(&f).last_batch, 0);
    assert_int_equal(info_of(&f).rewinds, 1);
    assert_int_equal(info_of(&f).lost, 1);
    set_now(&f, "k", "v2");
    fixture_pass(&f, 100);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(f.sent_n, 2);
    assert_int_equal(f.sent[1].predecessor, 0);
    assert_int_equal(f.sent[1].note.lost, 1);
    fixture_deinit(&f);
}

static void a_fenced_leader_says_so_and_tries_again_slowly(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    set_now(&f, "k", "v1");
    fixture_pass(&f, 100);
    fixture_commit(&f, UINT32_MAX);
    db_failed(&f, FLUSH_ERROR_FENCED, "term 3 holds the fence");
    assert_string_equal(info_of(&f).flush_state, "fenced");
    assert_int_equal(info_of(&f).fenced, 1);
    fixture_pass(&f, 200);
    assert_int_equal(f.db_call, DB_TAKE);
    fixture_deinit(&f);
}

static void a_refusal_that_came_before_the_office_ended_is_still_told(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    set_now(&f, "k", "v1");
    fixture_pass(&f, 100);
    fixture_commit(&f, UINT32_MAX);
    group_on_gate_close(
        f.group); /* an entry of the next leader's is applied first, the database's answer read next */
    assert_int_equal(f.disconnects, 0);
    struct flush_error error = {.class = FLUSH_ERROR_FENCED};
    group_flusher_events()->failed(group_flusher_events_data(f.group), &error);
    fixture_turn(&f);
    assert_int_equal(info_of(&f).fenced, 1);
    assert_string_equal(info_of(&f).flush_state, "off");
    fixture_deinit(&f);
}

static void a_load_from_a_database_behind_is_thrown_away(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    set_now(&f, "k", "v1");
    fixture_pass(&f, 100);
    fixture_commit(&f, UINT32_MAX);
    db_committed(&f, f.sent[0].id);
    fixture_commit(&f, UINT32_MAX);
    struct ask a;
    ask_get(&f, &a, "other", 1);
    fixture_turn(&f);
    loader_answer(&f, "other", "old", 0);
    assert_done(&a, STATUS_DATABASE_DOWN);
    assert_null(state_find(group_state(f.group), bytes_from_text("other")));
    assert_string_equal(info_of(&f).flush_state, "backoff"); /* the fence is taken anew, which finds out */
    fixture_deinit(&f);
}

/* The loads' connection may stick to an old primary: misses fail, but the flush must not stand still. */
static void loads_from_another_server_do_not_stop_the_flush(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a;
    fixture_init(&f, 0, false, true);
    set_now(&f, "k", "v1");
    fixture_pass(&f, 100);
    fixture_commit(&f, UINT32_MAX);
    uint64_t batch = f.sent[0].id;
    db_committed(&f, batch);
    fixture_commit(&f, UINT32_MAX);
    ask_get(&f, &a, "other", 1);
    fixture_turn(&f);
    loader_answer(&f, "other", "old", 0);
    fixture_pass(&f, 100);
    db_taken(&f, batch);
    fixture_turn(&f);
    set_now(&f, "k", "v2");
    fixture_pass(&f, 100);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(f.sent_n, 2);
    unsigned disconnects = f.disconnects;
    ask_get(&f, &a, "other", 1);
    fixture_turn(&f);
    loader_answer(&f, "other", "old", 0);
    assert_done(&a, STATUS_DATABASE_DOWN);
    assert_int_equal(f.disconnects, disconnects);
    assert_string_equal(info_of(&f).flush_state, "active");
    db_committed(&f, f.sent[1].id);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(info_of(&f).dirty_entries, 0);
    fixture_pass(&f, 5000);
    ask_get(&f, &a, "other", 1);
    fixture_turn(&f);
    loader_answer(&f, "other", "old", 0);
    assert_int_equal(f.disconnects, disconnects + 1);
    fixture_deinit(&f);
}

static void a_key_rewritten_in_flight_is_flushed_again_and_f_stays_true(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    set_now(&f, "k", "v1");
    fixture_pass(&f, 100);
    fixture_commit(&f, UINT32_MAX);
    set_now(&f, "k", "v2");
    uint64_t second = f.last_index;
    db_committed(&f, f.sent[0].id);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(info_of(&f).flushed_index, second - 1);
    fixture_pass(&f, 100);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(f.sent_n, 2);
    db_committed(&f, f.sent[1].id);
    fixture_commit(&f, UINT32_MAX);
    assert_true(info_of(&f).flushed_index > second);
    fixture_deinit(&f);
}

static void a_nearly_full_disk_stops_writes_but_not_the_flush(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    set_now(&f, "k", "v");
    f.propose_status = STATUS_NO_SPACE;
    struct ask a;
    ask_set(&f, &a, "k", "v2", 1);
    fixture_turn(&f);
    assert_done(&a, STATUS_NO_SPACE);
    fixture_pass(&f, 100);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(f.sent_n, 1);
    db_committed(&f, f.sent[0].id);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(info_of(&f).dirty_entries, 0);
    fixture_deinit(&f);
}

static void an_idle_group_writes_nothing_to_its_log(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    uint64_t index = f.last_index;
    for (int i = 0; i < 1000; i++) {
        fixture_pass(&f, 100);
    }
    assert_int_equal(f.last_index, index);
    assert_true(group_turn(f.group, f.now_ms, f.now_ms) > f.now_ms + 1000000); /* and asks for no wake-up */
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_cluster_is_born_claims_and_takes),
        cmocka_unit_test(a_foreign_database_halts_with_words),
        cmocka_unit_test(a_leader_without_a_lease_may_be_looking_at_its_successors_claim),
        cmocka_unit_test(an_adopted_database_gives_the_version_base),
        cmocka_unit_test(a_database_whose_versions_are_used_up_is_not_adopted),
        cmocka_unit_test(other_groups_follow_the_first_ones_identity),
        cmocka_unit_test(other_groups_say_why_when_the_first_one_cannot_claim),
        cmocka_unit_test(rows_wait_for_the_flush_age_and_coalesce),
        cmocka_unit_test(what_is_nearly_of_age_goes_along_and_what_is_young_waits),
        cmocka_unit_test(whoever_waits_for_the_flush_is_served_at_once),
        cmocka_unit_test(two_whole_batches_may_be_in_flight_each_behind_the_other),
        cmocka_unit_test(a_failed_batch_is_settled_by_the_fence_row_and_written_again),
        cmocka_unit_test(a_lost_answer_to_a_commit_is_settled_as_flushed),
        cmocka_unit_test(a_new_leader_settles_what_the_old_one_left),
        cmocka_unit_test(a_begin_that_applies_after_the_connection_broke_is_settled_too),
        cmocka_unit_test(a_database_beyond_the_log_halts_with_words),
        cmocka_unit_test(a_database_that_went_back_in_time_is_followed_and_what_it_lost_is_counted),
        cmocka_unit_test(a_fenced_leader_says_so_and_tries_again_slowly),
        cmocka_unit_test(a_refusal_that_came_before_the_office_ended_is_still_told),
        cmocka_unit_test(a_load_from_a_database_behind_is_thrown_away),
        cmocka_unit_test(loads_from_another_server_do_not_stop_the_flush),
        cmocka_unit_test(a_key_rewritten_in_flight_is_flushed_again_and_f_stays_true),
        cmocka_unit_test(a_nearly_full_disk_stops_writes_but_not_the_flush),
        cmocka_unit_test(an_idle_group_writes_nothing_to_its_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
