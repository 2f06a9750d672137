/* Retention, and a database that goes back in time. */
#include "node/state_test_help.h"

/* So long that nothing is trimmed for its age; stamps of these tests rise by 1 an entry. */
enum { LONG_MS = 1000000 };

static void start(struct state *s, uint64_t retention_ms, uint64_t retention_bytes)
{
    state_init(s, 1);
    state_apply_retention(s, retention_ms, retention_bytes);
}

/* Write @key at @index, and flush it with batch @index + 1, known at @index + 2. */
static void put_and_flush(struct state *s, uint64_t index, const char *key, const char *value)
{
    put(s, index, key, value);
    begin(s, index + 1);
    assert_true(flushed(s, index + 2, index + 1, s->last_batch));
}

static bool rewind_to(struct state *s, uint64_t index, uint64_t last_batch)
{
    at(s, index);
    return state_apply_rewind(s, last_batch);
}

static void what_was_flushed_is_kept_until_it_is_too_old(void **unused)
{
    (void)unused;
    struct state s;
    start(&s, 10, UINT64_MAX);
    put_and_flush(&s, 1, "a", "1");
    put_and_flush(&s, 4, "gone", NULL);
    assert_int_equal(s.retained, 2);
    assert_false(state_entry_evictable(find(&s, "a")));
    assert_int_equal(state_evict(&s, UINT64_MAX), 0);
    assert_non_null(find(&s, "gone"));
    put_and_flush(&s, 14, "b", "2"); /* stamp 16: more than 10 after a's 3, not after gone's 6 */
    assert_int_equal(s.retained, 2);
    assert_true(state_entry_evictable(find(&s, "a")));
    put_and_flush(&s, 17, "c", "3");
    assert_null(find(&s, "gone"));
    assert_int_equal(state_evict(&s, UINT64_MAX), 1); /* a */
    assert_flush(&s, "");
    state_deinit(&s);
}

static void nothing_is_given_up_while_nothing_is_flushed(void **unused)
{
    (void)unused;
    struct state s;
    start(&s, 10, UINT64_MAX);
    put_and_flush(&s, 1, "a", "1");
    put(&s, 1000, "b", "2");
    begin(&s, 1001);
    assert_true(flush_abort(&s, 1002, 1001));
    assert_int_equal(s.retained, 1);
    state_deinit(&s);
}

static void memory_bounds_what_is_kept_and_the_oldest_go_first(void **unused)
{
    (void)unused;
    struct state s;
    start(&s, LONG_MS, 2 * (STATE_RETAINED_BYTES + 2));
    put_and_flush(&s, 1, "a", "1");
    put_and_flush(&s, 4, "b", "2");
    put_and_flush(&s, 7, "c", "3");
    assert_true(state_entry_evictable(find(&s, "a")));
    assert_false(state_entry_evictable(find(&s, "b")));
    assert_int_equal(s.retained, 2);
    state_deinit(&s);
}

static void a_rewind_makes_everything_later_dirty_again_in_its_order(void **unused)
{
    (void)unused;
    struct state s;
    start(&s, LONG_MS, UINT64_MAX);
    put_and_flush(&s, 1, "a", "1");  /* batch 2 */
    put_and_flush(&s, 4, "b", "2");  /* batch 5 */
    put_and_flush(&s, 7, "c", NULL); /* batch 8 */
    put_and_flush(&s, 10, "a", "4"); /* batch 11 */
    put(&s, 13, "b", "5");
    assert_int_equal(state_flushed_index(&s), 12);
    assert_true(rewind_to(&s, 14, 2));
    assert_flush(&s, "b@4 c@4 a@4");
    assert_int_equal(state_flushed_index(&s), 3);
    assert_int_equal(s.last_batch, 2);
    assert_int_equal(s.lost, 0);
    assert_int_equal(s.rewinds, 1);
    assert_true(state_recovering(&s));
    begin(&s, 15);
    assert_true(flushed(&s, 16, 15, 2));
    assert_false(state_recovering(&s));
    assert_int_equal(state_flushed_index(&s), 16);
    assert_true(value_bytes(find(&s, "b")->value).data[0] == '5');
    state_deinit(&s);
}

static void batches_in_flight_are_aborted_by_a_rewind(void **unused)
{
    (void)unused;
    struct state s;
    start(&s, LONG_MS, UINT64_MAX);
    put_and_flush(&s, 1, "a", "1");
    put(&s, 4, "b", "2");
    begin(&s, 5);
    put(&s, 6, "c", "3");
    begin(&s, 7);
    put(&s, 8, "b", "4");
    assert_true(rewind_to(&s, 9, 0));
    assert_flush(&s, "a@1 b@1 c@1"); /* what they had before may have been in what is undone */
    assert_false(flushed(&s, 10, 5, 0));
    state_deinit(&s);
}

static void what_memory_did_not_keep_is_counted_as_lost(void **unused)
{
    (void)unused;
    struct state s;
    start(&s, LONG_MS, STATE_RETAINED_BYTES + 2);
    put_and_flush(&s, 1, "a", "1");  /* batch 2 */
    put_and_flush(&s, 4, "b", "2");  /* batch 5 */
    put_and_flush(&s, 7, "c", "3");  /* batch 8 */
    put_and_flush(&s, 10, "d", "4"); /* batch 11: it alone is kept */
    struct state older;
    struct buf raw;
    buf_init(&raw);
    state_snapshot(&s, &raw);
    state_init(&older, 9);
    assert_int_equal(state_restore(&older, buf_bytes(&raw)), STATUS_OK);
    buf_deinit(&raw);
    assert_true(rewind_to(&s, 13, 2));
    assert_int_equal(s.lost, 2); /* b and c */
    assert_int_equal(s.lost_stamp_ms, stamp_of(13));
    assert_flush(&s, "d@4");
    state_apply_loss_acknowledged(&s, 1);
    assert_int_equal(s.lost, 1); /* the other one came after the operator looked */
    state_apply_loss_acknowledged(&s, 7);
    assert_int_equal(s.lost, 0);
    assert_true(rewind_to(&older, 13, 8));
    assert_int_equal(older.lost, 0);
    assert_flush(&older, "d@10");
    state_deinit(&s);
    state_deinit(&older);
}

static void a_key_that_was_flushed_again_is_not_counted_as_lost(void **unused)
{
    (void)unused;
    struct state s;
    start(&s, 5, UINT64_MAX);
    put_and_flush(&s, 1, "a", "1"); /* batch 2 */
    put_and_flush(&s, 4, "a", "2"); /* batch 5 */
    put_and_flush(&s, 9, "b", "3"); /* stamp 11: a's record of 6 is not too old by more than 5 */
    assert_true(rewind_to(&s, 12, 0));
    assert_int_equal(s.lost, 0);
    assert_flush(&s, "a@1 b@1");
    state_deinit(&s);
}

static void the_newer_database_may_come_back(void **unused)
{
    (void)unused;
    struct state s;
    start(&s, LONG_MS, UINT64_MAX);
    put_and_flush(&s, 1, "a", "1"); /* batch 2 */
    put_and_flush(&s, 4, "b", "2"); /* batch 5 */
    assert_true(rewind_to(&s, 7, 2));
    assert_true(rewind_to(&s, 8, 5));
    assert_int_equal(s.last_batch, 5);
    assert_flush(&s, "b@4"); /* written once more, which does no harm */
    assert_int_equal(s.rewinds, 1);
    state_deinit(&s);
}

/* "a" was in batch 2, in 5 again; the first rewind leaves what batch 2 had. */
static void a_second_rewind_goes_further_back_for_what_is_dirty_already(void **unused)
{
    (void)unused;
    struct state s;
    start(&s, LONG_MS, UINT64_MAX);
    put_and_flush(&s, 1, "a", "1"); /* batch 2 */
    put_and_flush(&s, 4, "a", "2"); /* batch 5 */
    assert_true(rewind_to(&s, 7, 2));
    assert_flush(&s, "a@4");
    assert_true(rewind_to(&s, 8, 0));
    assert_flush(&s, "a@1");
    assert_int_equal(s.rewinds, 2);
    state_deinit(&s);
}

static void what_a_database_that_came_back_loses_then_is_counted(void **unused)
{
    (void)unused;
    struct state s;
    start(&s, LONG_MS, 0);
    put_and_flush(&s, 1, "a", "1"); /* batch 2 */
    put_and_flush(&s, 4, "b", "2"); /* batch 5 */
    assert_true(rewind_to(&s, 7, 2));
    assert_int_equal(s.lost, 1); /* b */
    assert_true(rewind_to(&s, 8, 5));
    state_apply_loss_acknowledged(&s, 1); /* b was there again */
    assert_true(rewind_to(&s, 9, 2));
    assert_int_equal(s.lost, 1);
    assert_true(rewind_to(&s, 10, 0));
    assert_int_equal(s.lost, 2); /* b is not counted twice */
    state_deinit(&s);
}

static void a_batch_that_never_began_is_not_gone_to(void **unused)
{
    (void)unused;
    struct state s;
    start(&s, LONG_MS, UINT64_MAX);
    put_and_flush(&s, 1, "a", "1");
    assert_false(rewind_to(&s, 4, 2));
    assert_false(rewind_to(&s, 5, 3));
    assert_flush(&s, "");
    state_deinit(&s);
}

static void the_oldest_records_become_one(void **unused)
{
    (void)unused;
    struct state s;
    char key[16];
    enum { BATCHES = STATE_FLUSHED_MAX + 10 };
    start(&s, LONG_MS, UINT64_MAX);
    for (uint64_t i = 0; i < BATCHES; i++) {
        snprintf(key, sizeof key, "k%d", (int)i);
        put_and_flush(&s, 1 + 3 * i, key, "v");
    }
    assert_int_equal(s.flushed_count, STATE_FLUSHED_MAX);
    assert_int_equal(s.retained, BATCHES);
    state_check_invariants(&s);
    assert_true(
        rewind_to(&s, 4 * BATCHES, 2)); /* within the merged one: too much is written again, not too little */
    assert_int_equal(s.queued_entries, BATCHES);
    assert_int_equal(state_flushed_index(&s), 0);
    assert_int_equal(s.lost, 0);
    state_check_invariants(&s);
    state_deinit(&s);
}

/* A record that was undone becomes one with an older one that was not: nothing that is kept is forgotten by
 * that. */
static void records_become_one_also_after_a_rewind(void **unused)
{
    (void)unused;
    struct state s, other;
    char key[16];
    start(&s, LONG_MS, UINT64_MAX);
    put_and_flush(&s, 1, "kept", "1");   /* batch 2 */
    put_and_flush(&s, 4, "undone", "2"); /* batch 5 */
    assert_true(rewind_to(&s, 7, 2));
    for (uint64_t i = 0; i < STATE_FLUSHED_MAX; i++) {
        snprintf(key, sizeof key, "k%d", (int)i);
        put_and_flush(&s, 10 + 3 * i, key, "v");
    }
    assert_int_equal(s.flushed_count, STATE_FLUSHED_MAX);
    struct buf raw;
    buf_init(&raw);
    state_snapshot(&s, &raw);
    state_init(&other, 9);
    assert_int_equal(state_restore(&other, buf_bytes(&raw)), STATUS_OK);
    buf_deinit(&raw);
    state_check_invariants(&other);
    assert_true(rewind_to(&other, 20 + 3 * STATE_FLUSHED_MAX, 0));
    assert_true(state_entry_dirty(find(&other, "kept")));
    assert_true(state_entry_dirty(find(&other, "undone")));
    assert_int_equal(other.lost, 0);
    assert_int_equal(state_flushed_index(&other), 0);
    state_deinit(&other);
    state_deinit(&s);
}

/* w1@1 is flushed, w2@4 refused; the database goes back to before w1, w2 is accepted, and lost again. */
static void what_is_in_quarantine_lacks_older_values_too_after_a_rewind(void **unused)
{
    (void)unused;
    struct state s;
    struct bytes bad[] = {bytes_from_text("bad")};
    start(&s, LONG_MS, UINT64_MAX);
    put_and_flush(&s, 1, "bad", "1"); /* batch 2 */
    put(&s, 4, "bad", "2");
    begin(&s, 5);
    at(&s, 6);
    assert_true(state_apply_quarantine(&s, 5, bad[0], "23514", "no"));
    assert_true(flushed(&s, 7, 5, 2));
    assert_true(rewind_to(&s, 8, 0));
    put_and_flush(&s, 9, "other", "3"); /* batch 10 */
    at(&s, 12);
    assert_non_null(state_apply_flush_retry(&s, bad, 1));
    assert_true(flushed(&s, 13, 12, 10));
    assert_true(rewind_to(&s, 14, 10));
    assert_flush(&s, "bad@1");
    assert_int_equal(state_flushed_index(&s), 0);
    state_deinit(&s);
}

static void a_copy_can_be_forgotten_also_while_it_is_retained(void **unused)
{
    (void)unused;
    struct state s;
    start(&s, LONG_MS, UINT64_MAX);
    put_and_flush(&s, 1, "a", "1");
    uint64_t version = find(&s, "a")->version;
    at(&s, 4);
    assert_false(state_apply_forget(&s, bytes_from_text("a"), version + 1));
    assert_false(state_apply_forget(&s, bytes_from_text("b"), 0));
    assert_true(state_apply_forget(&s, bytes_from_text("a"), version));
    assert_null(find(&s, "a"));
    assert_int_equal(s.retained, 0);
    assert_true(rewind_to(&s, 5, 0));
    assert_flush(&s, "");
    put(&s, 6, "d", "1");
    assert_false(state_apply_forget(&s, bytes_from_text("d"), find(&s, "d")->version));
    state_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_flushed_is_kept_until_it_is_too_old),
        cmocka_unit_test(nothing_is_given_up_while_nothing_is_flushed),
        cmocka_unit_test(memory_bounds_what_is_kept_and_the_oldest_go_first),
        cmocka_unit_test(a_rewind_makes_everything_later_dirty_again_in_its_order),
        cmocka_unit_test(batches_in_flight_are_aborted_by_a_rewind),
        cmocka_unit_test(what_memory_did_not_keep_is_counted_as_lost),
        cmocka_unit_test(a_key_that_was_flushed_again_is_not_counted_as_lost),
        cmocka_unit_test(the_newer_database_may_come_back),
        cmocka_unit_test(a_second_rewind_goes_further_back_for_what_is_dirty_already),
        cmocka_unit_test(what_a_database_that_came_back_loses_then_is_counted),
        cmocka_unit_test(a_batch_that_never_began_is_not_gone_to),
        cmocka_unit_test(the_oldest_records_become_one),
        cmocka_unit_test(records_become_one_also_after_a_rewind),
        cmocka_unit_test(what_is_in_quarantine_lacks_older_values_too_after_a_rewind),
        cmocka_unit_test(a_copy_can_be_forgotten_also_while_it_is_retained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
