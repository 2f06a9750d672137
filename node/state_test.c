#include "node/state_test_help.h"

#include "node/state_table.h"

static const uint8_t cluster_id[CLUSTER_ID_BYTES] = {1, 2, 3};

/* ---- Writes ---- */

static void keys_queue_in_the_order_of_their_first_write(void **unused)
{
    struct state s;
    state_init(&s, 1);
    put(&s, 1, "a", "1");
    put(&s, 2, "b", "2");
    put(&s, 5, "c", "3");
    assert_flush(&s, "a@1 b@2 c@5");
    assert_int_equal(s.queued_entries, 3);
    assert_int_equal(s.dirty_bytes, 6);
    state_deinit(&s);
}

static void rewriting_a_queued_key_keeps_its_place_and_first_dirty(void **unused)
{
    struct state s;
    state_init(&s, 1);
    put(&s, 1, "a", "1");
    put(&s, 2, "b", "2");
    uint64_t version = put(&s, 3, "a", "longer");
    assert_flush(&s, "a@1 b@2");
    assert_int_equal(find(&s, "a")->version, version);
    assert_true(bytes_equal(value_bytes(find(&s, "a")->value), bytes_from_text("longer")));
    assert_int_equal(s.dirty_bytes, 1 + 6 + 2);
    put(&s, 4, "a", NULL);
    assert_flush(&s, "a@1 b@2");
    assert_int_equal(s.dirty_bytes, 1 + 2);
    assert_false(state_entry_present(find(&s, "a")));
    put(&s, 5, "a", "back");
    assert_flush(&s, "a@1 b@2");
    state_deinit(&s);
}

static void two_writes_of_one_key_in_one_entry_keep_the_second(void **unused)
{
    struct state s;
    state_init(&s, 1);
    at(&s, 4);
    uint64_t first = state_apply_write(&s, 0, bytes_from_text("a"), VALUE_STRING, text_value("1"), 9);
    uint64_t second = state_apply_write(&s, 1, bytes_from_text("a"), VALUE_STRING, text_value("2"), 0);
    assert_true(second > first);
    assert_int_equal(find(&s, "a")->version, second);
    assert_int_equal(find(&s, "a")->expires_at_ms, 0);
    assert_flush(&s, "a@4");
    state_deinit(&s);
}

static void a_version_is_the_base_plus_index_and_ordinal(void **unused)
{
    struct state s;
    state_init(&s, 1);
    at(&s, 1);
    assert_true(state_apply_genesis(&s, cluster_id, 3, UINT64_C(1) << 60));
    struct {
        uint64_t index;
        uint32_t ordinal;
        uint64_t want;
    } rows[] = {
        {2, 0, (UINT64_C(1) << 60) + (2 << 16)},
        {3, 1, (UINT64_C(1) << 60) + (3 << 16) + 1},
        {4, 65535, (UINT64_C(1) << 60) + (5 << 16) - 1},
        {UINT64_C(1) << 40, 7, (UINT64_C(1) << 60) + (UINT64_C(1) << 56) + 7},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        at(&s, rows[i].index);
        uint64_t got =
            state_apply_write(&s, rows[i].ordinal, bytes_from_text("k"), VALUE_STRING, text_value("v"), 0);
        assert_int_equal(got, rows[i].want);
        assert_int_equal(find(&s, "k")->version, rows[i].want);
    }
    state_deinit(&s);
}

static void a_delete_leaves_a_tombstone_whatever_is_in_memory(void **unused)
{
    struct state s;
    state_init(&s, 1);
    put_absent(&s, "absent");
    put_clean(&s, "clean", "v");
    put(&s, 1, "unknown", NULL);
    put(&s, 2, "absent", NULL);
    put(&s, 3, "clean", NULL);
    assert_flush(&s, "unknown@1 absent@2 clean@3");
    const char *keys[] = {"unknown", "absent", "clean"};
    for (size_t i = 0; i < 3; i++) {
        struct state_entry *e = find(&s, keys[i]);
        assert_non_null(e);
        assert_null(e->value);
        assert_false(e->absent);
        assert_true(e->version != 0);
    }
    assert_int_equal(s.entries, 3);
    assert_int_equal(s.absences, 0);
    state_deinit(&s);
}

static void a_delete_forgets_the_expiry(void **unused)
{
    struct state s;
    state_init(&s, 1);
    at(&s, 1);
    state_apply_write(&s, 0, bytes_from_text("a"), VALUE_STRING, text_value("1"), 99);
    assert_int_equal(find(&s, "a")->expires_at_ms, 99);
    state_apply_write(&s, 1, bytes_from_text("a"), VALUE_STRING, NULL, 99);
    assert_int_equal(find(&s, "a")->expires_at_ms, 0);
    state_check_invariants(&s);
    state_deinit(&s);
}

static void an_empty_key_and_an_empty_value_are_a_key_and_a_value(void **unused)
{
    struct state s;
    state_init(&s, 1);
    at(&s, 1);
    state_apply_write(&s, 0, bytes_of(NULL, 0), VALUE_STRING, value_create(bytes_of(NULL, 0)), 0);
    assert_true(state_entry_present(find(&s, "")));
    assert_int_equal(find(&s, "")->value->len, 0);
    assert_int_equal(s.dirty_bytes, 0);
    assert_flush(&s, "@1");
    state_deinit(&s);
}

/* ---- Batches ---- */

static void a_write_to_a_key_in_a_batch_enters_the_queues_tail(void **unused)
{
    struct state s;
    state_init(&s, 1);
    put(&s, 1, "a", "1");
    put(&s, 2, "b", "2");
    assert_int_equal(begin(&s, 3)->id, 3);
    put(&s, 4, "c", "3");
    put(&s, 5, "a", "four");
    assert_flush(&s, "[3: a@1 b@2] c@4 a@5");
    assert_int_equal(s.batched_entries, 2);
    assert_int_equal(s.queued_entries, 2);
    assert_int_equal(s.dirty_bytes, 5 + 2 + 2); /* "a" once, at its current size */
    assert_int_equal(state_batch_find(&s, 3)->bytes, 4);
    state_deinit(&s);
}

static void a_batch_takes_the_queues_head_within_its_limits(void **unused)
{
    struct {
        uint32_t rows_max;
        uint64_t bytes_max;
        const char *want;
    } rows[] = {
        {10, 1000, "[9: a@1 b@2 c@3 d@4]"},
        {4, 1000, "[9: a@1 b@2 c@3 d@4]"},
        {3, 1000, "[9: a@1 b@2 c@3] d@4"},
        {1, 1000, "[9: a@1] b@2 c@3 d@4"},
        {10, 11, "[9: a@1 b@2 c@3 d@4]"}, /* 2 + 3 + 4 + 2 bytes of keys and values */
        {10, 10, "[9: a@1 b@2 c@3] d@4"},
        {10, 9, "[9: a@1 b@2 c@3] d@4"},
        {10, 8, "[9: a@1 b@2] c@3 d@4"},
        {10, 1, "[9: a@1] b@2 c@3 d@4"}, /* at least one row */
        {10, 0, "[9: a@1] b@2 c@3 d@4"},
        {0, 1000, "a@1 b@2 c@3 d@4"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct state s;
        state_init(&s, 1);
        put(&s, 1, "a", "1");
        put(&s, 2, "b", "22");
        put(&s, 3, "c", "333");
        put(&s, 4, "d", "4");
        at(&s, 9);
        struct state_batch *b = state_apply_flush_begin(&s, rows[i].rows_max, rows[i].bytes_max);
        assert_true((b != NULL) == (rows[i].want[0] == '['));
        assert_flush(&s, rows[i].want);
        state_deinit(&s);
    }
}

static void a_batch_stops_before_a_key_that_is_still_in_flight(void **unused)
{
    struct state s;
    state_init(&s, 1);
    put(&s, 1, "a", "1");
    begin(&s, 2);
    put(&s, 3, "b", "1");
    put(&s, 4, "a", "2");
    put(&s, 5, "c", "1");
    assert_non_null(begin(&s, 6));
    assert_flush(&s, "[2: a@1] [6: b@3] a@4 c@5");
    assert_null(begin(&s, 7)); /* only "a" could be first */
    assert_flush(&s, "[2: a@1] [6: b@3] a@4 c@5");
    assert_true(flushed(&s, 8, 2, 0));
    assert_non_null(begin(&s, 9));
    assert_flush(&s, "[6: b@3] [9: a@4 c@5]");
    state_deinit(&s);
}

static void nothing_queued_gives_no_batch(void **unused)
{
    struct state s;
    state_init(&s, 1);
    put_clean(&s, "a", "1");
    assert_null(begin(&s, 1));
    assert_int_equal(s.batch_count, 0);
    state_check_invariants(&s);
    state_deinit(&s);
}

static void flushed_keys_are_clean_unless_queued_again(void **unused)
{
    struct state s;
    state_init(&s, 1);
    put(&s, 1, "a", "1");
    put(&s, 2, "b", "2");
    begin(&s, 3);
    put(&s, 4, "a", "22");
    assert_true(flushed(&s, 5, 3, 0));
    assert_flush(&s, "a@4");
    assert_true(state_entry_dirty(find(&s, "a")));
    assert_false(state_entry_dirty(find(&s, "b")));
    assert_true(bytes_equal(value_bytes(find(&s, "b")->value), bytes_from_text("2")));
    assert_int_equal(s.last_batch, 3);
    assert_int_equal(s.dirty_bytes, 3);
    assert_null(state_batch_find(&s, 3));
    state_deinit(&s);
}

static void a_flushed_tombstone_goes_unless_queued_again(void **unused)
{
    struct {
        const char *name;
        const char *second; /* what is written while the tombstone is in flight: NULL a delete, "" nothing */
        bool stays;
    } rows[] = {{"nothing", "", false}, {"a value", "v", true}, {"another delete", NULL, true}};
    for (size_t i = 0; i < 3; i++) {
        struct state s;
        state_init(&s, 1);
        uint64_t bytes = memory(&s);
        put(&s, 1, "a", NULL);
        begin(&s, 2);
        if (rows[i].second == NULL || rows[i].second[0] != '\0') {
            put(&s, 3, "a", rows[i].second);
        }
        assert_true(flushed(&s, 4, 2, 0));
        assert_true((find(&s, "a") != NULL) == rows[i].stays);
        assert_int_equal(s.entries, rows[i].stays);
        assert_flush(&s, rows[i].stays ? "a@3" : "");
        if (rows[i].stays) {
            begin(&s, 5);
            assert_true(flushed(&s, 6, 5, 2));
            assert_true((find(&s, "a") != NULL) == (rows[i].second != NULL));
        } else {
            assert_int_equal(memory(&s), bytes);
        }
        state_deinit(&s);
    }
}

static void flushed_counts_only_for_the_oldest_batch_behind_its_predecessor(void **unused)
{
    struct {
        uint64_t batch, predecessor;
        bool want;
    } rows[] = {{2, 0, true}, {4, 0, false}, {4, 2, false}, {2, 1, false}, {2, 2, false}, {3, 0, false},
        {0, 0, false}, {9, 4, false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct state s;
        state_init(&s, 1);
        put(&s, 1, "a", "1");
        begin(&s, 2);
        put(&s, 3, "b", "1");
        begin(&s, 4);
        assert_true(flushed(&s, 5, rows[i].batch, rows[i].predecessor) == rows[i].want);
        assert_flush(&s, rows[i].want ? "[4: b@3]" : "[2: a@1] [4: b@3]");
        assert_int_equal(s.last_batch, rows[i].want ? 2 : 0);
        state_deinit(&s);
    }
}

static void an_abort_gives_all_later_batches_back_in_order(void **unused)
{
    struct {
        uint64_t from;
        bool want;
        const char *lists;
    } rows[] = {
        {0, true, "a@1 b@2 c@4 d@6 e@8"},
        {3, true, "a@1 b@2 c@4 d@6 e@8"},
        {4, true, "[3: a@1 b@2] c@4 d@6 e@8"},
        {5, true, "[3: a@1 b@2] c@4 d@6 e@8"},
        {7, true, "[3: a@1 b@2] [5: c@4] d@6 e@8"},
        {8, false, "[3: a@1 b@2] [5: c@4] [7: d@6] e@8"},
        {UINT64_MAX, false, "[3: a@1 b@2] [5: c@4] [7: d@6] e@8"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct state s;
        state_init(&s, 1);
        put(&s, 1, "a", "1");
        put(&s, 2, "b", "1");
        begin(&s, 3);
        put(&s, 4, "c", "1");
        begin(&s, 5);
        put(&s, 6, "d", "1");
        begin(&s, 7);
        put(&s, 8, "e", "1");
        assert_true(flush_abort(&s, 9, rows[i].from) == rows[i].want);
        assert_flush(&s, rows[i].lists);
        assert_int_equal(s.dirty_bytes, 10);
        assert_int_equal(s.last_batch, 0);
        state_deinit(&s);
    }
}

static void an_aborted_key_that_was_queued_again_keeps_the_older_place_and_the_newer_value(void **unused)
{
    struct state s;
    state_init(&s, 1);
    put(&s, 1, "a", "1");
    put(&s, 2, "b", "2");
    begin(&s, 3);
    put(&s, 4, "c", "3");
    uint64_t version = put(&s, 5, "b", "newer");
    assert_true(flush_abort(&s, 6, 3));
    assert_flush(&s, "a@1 b@2 c@4");
    assert_int_equal(find(&s, "b")->version, version);
    assert_true(bytes_equal(value_bytes(find(&s, "b")->value), bytes_from_text("newer")));
    assert_int_equal(s.dirty_bytes, 2 + 6 + 2);
    assert_int_equal(s.queued_entries, 3);
    assert_int_equal(s.batched_entries, 0);
    state_deinit(&s);
}

static void a_batch_in_flight_keeps_its_values_alive_through_references(void **unused)
{
    struct state s;
    state_init(&s, 1);
    put(&s, 1, "a", "old");
    begin(&s, 2);
    struct value *taken = value_ref(find(&s, "a")->value);
    put(&s, 3, "a", "new");
    assert_true(bytes_equal(value_bytes(taken), bytes_from_text("old")));
    assert_int_equal(taken->refs, 1);
    state_deinit(&s);
    value_unref(taken);
    value_unref(NULL);
}

/* ---- The flushed index ---- */

static void f_follows_the_oldest_unflushed_write(void **unused)
{
    struct state s;
    state_init(&s, 1);
#define EXPECT(f, stamp)                                                                                     \
    assert_int_equal(state_flushed_index(&s), f);                                                            \
    assert_int_equal(state_oldest_dirty_stamp_ms(&s), stamp)
    EXPECT(0, 0);
    at(&s, 3); /* an entry that writes nothing */
    EXPECT(3, 0);
    put(&s, 5, "a", "1");
    EXPECT(4, stamp_of(5));
    put(&s, 6, "b", "1");
    put(&s, 7, "a", "2");
    EXPECT(4, stamp_of(5));
    begin(&s, 8);
    EXPECT(4, stamp_of(5));
    put(&s, 9, "a", "3");
    EXPECT(4, stamp_of(5));
    flushed(&s, 10, 8, 0);
    EXPECT(8, stamp_of(9));
    begin(&s, 11);
    EXPECT(8, stamp_of(9));
    flush_abort(&s, 12, 11);
    EXPECT(8, stamp_of(9));
    begin(&s, 13);
    flushed(&s, 14, 13, 8);
    EXPECT(14, 0);
    at(&s, 20);
    EXPECT(20, 0);
#undef EXPECT
    state_deinit(&s);
}

static void the_stamp_never_goes_back(void **unused)
{
    struct state s;
    state_init(&s, 1);
    state_apply_begin(&s, 1, 500);
    assert_int_equal(s.stamp_ms, 500);
    state_apply_begin(&s, 2, 400);
    assert_int_equal(s.stamp_ms, 500);
    state_apply_begin(&s, 3, 501);
    assert_int_equal(s.stamp_ms, 501);
    state_deinit(&s);
}

static void apply_same_index(void *data)
{
    struct state *s = data;
    state_apply_begin(s, s->applied_index, 1);
}

static void apply_lower_index(void *data)
{
    struct state *s = data;
    state_apply_begin(s, s->applied_index - 1, 1);
}

static void an_index_that_does_not_rise_aborts(void **unused)
{
    struct state s;
    state_init(&s, 1);
    assert_aborts(apply_same_index, &s, "the log applies in order");
    at(&s, 7);
    assert_aborts(apply_same_index, &s, "the log applies in order");
    assert_aborts(apply_lower_index, &s, "the log applies in order");
    state_deinit(&s);
}

static void genesis_and_claimed_count_once(void **unused)
{
    const uint8_t other[CLUSTER_ID_BYTES] = {9};
    struct state s;
    state_init(&s, 1);
    at(&s, 1);
    assert_false(s.born);
    assert_true(state_apply_genesis(&s, cluster_id, 3, 1000));
    assert_false(state_apply_genesis(&s, other, 4, 2000));
    assert_true(s.born);
    assert_memory_equal(s.cluster_id, cluster_id, CLUSTER_ID_BYTES);
    assert_int_equal(s.group_count, 3);
    assert_int_equal(s.version_base, 1000);
    assert_false(s.claimed);
    assert_true(state_apply_claimed(&s));
    assert_false(state_apply_claimed(&s));
    assert_true(s.claimed);
    state_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_queue_in_the_order_of_their_first_write),
        cmocka_unit_test(rewriting_a_queued_key_keeps_its_place_and_first_dirty),
        cmocka_unit_test(two_writes_of_one_key_in_one_entry_keep_the_second),
        cmocka_unit_test(a_version_is_the_base_plus_index_and_ordinal),
        cmocka_unit_test(a_delete_leaves_a_tombstone_whatever_is_in_memory),
        cmocka_unit_test(a_delete_forgets_the_expiry),
        cmocka_unit_test(an_empty_key_and_an_empty_value_are_a_key_and_a_value),
        cmocka_unit_test(a_write_to_a_key_in_a_batch_enters_the_queues_tail),
        cmocka_unit_test(a_batch_takes_the_queues_head_within_its_limits),
        cmocka_unit_test(a_batch_stops_before_a_key_that_is_still_in_flight),
        cmocka_unit_test(nothing_queued_gives_no_batch),
        cmocka_unit_test(flushed_keys_are_clean_unless_queued_again),
        cmocka_unit_test(a_flushed_tombstone_goes_unless_queued_again),
        cmocka_unit_test(flushed_counts_only_for_the_oldest_batch_behind_its_predecessor),
        cmocka_unit_test(an_abort_gives_all_later_batches_back_in_order),
        cmocka_unit_test(an_aborted_key_that_was_queued_again_keeps_the_older_place_and_the_newer_value),
        cmocka_unit_test(a_batch_in_flight_keeps_its_values_alive_through_references),
        cmocka_unit_test(f_follows_the_oldest_unflushed_write),
        cmocka_unit_test(the_stamp_never_goes_back),
        cmocka_unit_test(an_index_that_does_not_rise_aborts),
        cmocka_unit_test(genesis_and_claimed_count_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
