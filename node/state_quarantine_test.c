/* Rows that the database refuses. */
#include "node/state_test_help.h"

static void start(struct state *s)
{
    state_init(s, 1);
    state_apply_retention(s, 1000000, UINT64_MAX);
}

static bool refuse(struct state *s, uint64_t index, uint64_t batch, const char *key)
{
    at(s, index);
    return state_apply_quarantine(s, batch, bytes_from_text(key), "23514", "violates check");
}

static struct state_batch *retry(struct state *s, uint64_t index, const char *key)
{
    struct bytes keys[] = {bytes_from_text(key)};
    at(s, index);
    return state_apply_flush_retry(s, keys, 1);
}

/* Batch 4 of a@1, bad@2, c@3; bad is refused at 5, and the rest is in the database at 6. */
static void make_one(struct state *s)
{
    start(s);
    put(s, 1, "a", "1");
    put(s, 2, "bad", "2");
    put(s, 3, "c", "3");
    begin(s, 4);
    assert_true(refuse(s, 5, 4, "bad"));
    assert_flush(s, "[4: a@1 c@3]");
    assert_true(flushed(s, 6, 4, 0));
}

static void a_refused_row_lets_the_others_and_f_pass(void **unused)
{
    (void)unused;
    struct state s;
    make_one(&s);
    assert_int_equal(state_flushed_index(&s), 6);
    assert_int_equal(s.quarantined, 1);
    struct state_entry *e = find(&s, "bad");
    assert_true(state_entry_dirty(e));
    assert_int_equal(s.dirty_bytes, state_entry_weight(e));
    assert_int_equal(e->quarantine->first_dirty, 2);
    assert_int_equal(e->quarantine->refused_version, e->version);
    assert_int_equal(e->quarantine->attempts, 1);
    assert_string_equal(e->quarantine->sqlstate, "23514");
    assert_string_equal(e->quarantine->message, "violates check");
    assert_int_equal(state_evict(&s, UINT64_MAX), 0);
    state_check_invariants(&s);
    state_deinit(&s);
}

static void what_is_not_in_that_batch_is_not_quarantined(void **unused)
{
    (void)unused;
    struct state s;
    start(&s);
    put(&s, 1, "a", "1");
    begin(&s, 2);
    put(&s, 3, "b", "2");
    assert_false(refuse(&s, 4, 2, "b"));
    assert_false(refuse(&s, 5, 3, "a"));
    assert_false(refuse(&s, 6, 2, "unknown"));
    assert_int_equal(s.quarantined, 0);
    state_deinit(&s);
}

static void a_batch_of_bad_rows_only_can_still_be_flushed(void **unused)
{
    (void)unused;
    struct state s;
    start(&s);
    put(&s, 1, "a", "1");
    begin(&s, 2);
    put(&s, 3, "b", "1");
    assert_true(refuse(&s, 4, 2, "a"));
    assert_flush(&s, "[2:] b@3");
    assert_int_equal(state_flushed_index(&s), 2);
    assert_true(flushed(&s, 5, 2, 0));
    assert_int_equal(s.last_batch, 2);
    state_deinit(&s);
}

static void a_write_takes_the_place_of_the_refused_value(void **unused)
{
    (void)unused;
    struct state s;
    make_one(&s);
    put(&s, 7, "bad", "good");
    struct state_entry *e = find(&s, "bad");
    assert_flush(&s, "");
    assert_int_equal(s.quarantined, 1);
    assert_int_equal(state_flushed_index(&s), 7);
    assert_true(e->quarantine->refused_version != e->version);
    assert_non_null(retry(&s, 8, "bad"));
    assert_int_equal(state_flushed_index(&s), 8); /* F has passed it already */
    assert_true(flushed(&s, 9, 8, 4));
    assert_int_equal(s.quarantined, 0);
    assert_int_equal(s.dirty_bytes, 0);
    assert_int_equal(find(&s, "bad")->flushed->id, 8);
    state_check_invariants(&s);
    state_deinit(&s);
}

static void a_write_during_a_retry_is_queued(void **unused)
{
    (void)unused;
    struct state s;
    make_one(&s);
    assert_non_null(retry(&s, 7, "bad"));
    put(&s, 8, "bad", "newer");
    assert_int_equal(state_flushed_index(&s), 7);
    assert_true(flushed(&s, 9, 7, 4));
    assert_flush(&s, "bad@8");
    assert_int_equal(s.quarantined, 0);
    state_deinit(&s);
}

static void an_aborted_retry_is_in_quarantine_again(void **unused)
{
    (void)unused;
    struct state s;
    make_one(&s);
    assert_non_null(retry(&s, 7, "bad"));
    put(&s, 8, "bad", "newer");
    assert_true(flush_abort(&s, 9, 7));
    assert_flush(&s, "");
    assert_int_equal(s.quarantined, 1);
    assert_int_equal(find(&s, "bad")->quarantine->attempts, 1);
    assert_int_equal(state_flushed_index(&s), 9);
    state_deinit(&s);
}

static void a_row_that_is_refused_again_keeps_its_oldest_write(void **unused)
{
    (void)unused;
    struct state s;
    make_one(&s);
    assert_non_null(retry(&s, 7, "bad"));
    put(&s, 8, "bad", "newer");
    assert_true(refuse(&s, 9, 7, "bad"));
    const struct state_quarantine *q = find(&s, "bad")->quarantine;
    assert_int_equal(q->first_dirty, 2);
    assert_int_equal(q->attempts, 2);
    assert_int_equal(q->refused_version, 0); /* not the newest one */
    assert_int_equal(q->refused_stamp_ms, stamp_of(9));
    assert_true(flushed(&s, 10, 7, 4));
    assert_flush(&s, "");
    assert_int_equal(s.quarantined, 1);
    state_deinit(&s);
}

static void a_row_written_while_it_was_refused_waits_with_its_newest_value(void **unused)
{
    (void)unused;
    struct state s;
    start(&s);
    put(&s, 1, "bad", "1");
    begin(&s, 2);
    put(&s, 3, "bad", "2");
    put(&s, 4, "c", "3");
    assert_true(refuse(&s, 5, 2, "bad"));
    assert_flush(&s, "[2:] c@4");
    assert_true(value_bytes(find(&s, "bad")->value).data[0] == '2');
    assert_int_equal(s.dirty_bytes, 3 + 1 + 1 + 1);
    state_deinit(&s);
}

static void what_is_dropped_is_forgotten(void **unused)
{
    (void)unused;
    struct state s;
    make_one(&s);
    uint64_t version = find(&s, "bad")->version;
    at(&s, 7);
    assert_false(state_apply_quarantine_drop(&s, bytes_from_text("bad"), version + 1));
    assert_false(state_apply_quarantine_drop(&s, bytes_from_text("a"), find(&s, "a")->version));
    assert_non_null(retry(&s, 8, "bad"));
    assert_false(state_apply_quarantine_drop(&s, bytes_from_text("bad"), version));
    assert_true(flush_abort(&s, 9, 8));
    assert_true(state_apply_quarantine_drop(&s, bytes_from_text("bad"), version));
    assert_null(find(&s, "bad"));
    assert_int_equal(s.quarantined, 0);
    assert_int_equal(s.dirty_bytes, 0);
    state_check_invariants(&s);
    state_deinit(&s);
}

static void a_retry_that_a_rewind_undoes_is_dirty_from_its_oldest_write_on(void **unused)
{
    (void)unused;
    struct state s;
    make_one(&s);
    put(&s, 7, "d", "4");
    begin(&s, 8);
    assert_true(flushed(&s, 9, 8, 4));
    assert_non_null(retry(&s, 10, "bad"));
    assert_true(flushed(&s, 11, 10, 8));
    at(&s, 12);
    assert_true(state_apply_rewind(&s, 4));
    assert_flush(&s, "d@2 bad@2");
    assert_int_equal(state_flushed_index(&s), 1);
    state_deinit(&s);
}

static void a_key_in_quarantine_stays_there_in_a_rewind(void **unused)
{
    (void)unused;
    struct state s;
    start(&s);
    put(&s, 1, "bad", "good once");
    begin(&s, 2);
    assert_true(flushed(&s, 3, 2, 0));
    put(&s, 4, "bad", "no more");
    begin(&s, 5);
    assert_true(refuse(&s, 6, 5, "bad"));
    assert_true(flushed(&s, 7, 5, 2));
    at(&s, 8);
    assert_true(state_apply_rewind(&s, 0));
    assert_flush(&s, "");
    assert_int_equal(s.quarantined, 1);
    assert_int_equal(s.retained, 0);
    state_deinit(&s);
}

static void a_long_message_is_cut(void **unused)
{
    (void)unused;
    struct state s;
    char text[2000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    start(&s);
    put(&s, 1, "a", "1");
    begin(&s, 2);
    assert_true(state_apply_quarantine(&s, 2, bytes_from_text("a"), "P0001 too long", text));
    assert_int_equal(strlen(find(&s, "a")->quarantine->message), STATE_FAULT_MESSAGE_MAX);
    assert_string_equal(find(&s, "a")->quarantine->sqlstate, "P0001");
    state_check_invariants(&s);
    state_deinit(&s);
}

/* Every kind of place: x retained, queued; bad in quarantine; worse in a retry, and written since. */
static void a_snapshot_has_all_of_it(void **unused)
{
    (void)unused;
    struct state s, other;
    make_one(&s);
    put(&s, 7, "worse", "1");
    begin(&s, 8);
    assert_true(refuse(&s, 9, 8, "worse"));
    assert_true(flushed(&s, 10, 8, 4));
    put(&s, 11, "gone", NULL);
    begin(&s, 12);
    assert_true(flushed(&s, 13, 12, 8));
    put(&s, 14, "a", "again");
    put(&s, 15, "c", "again");
    assert_non_null(retry(&s, 16, "worse"));
    put(&s, 17, "worse", "2");
    begin(&s, 18);
    put(&s, 19, "c", "and again");
    struct state_control control = {.paused = true, .has_age_ms = true, .age_ms = 7};
    state_apply_control(&s, &control);
    struct buf raw;
    buf_init(&raw);
    state_snapshot(&s, &raw);
    state_init(&other, 3);
    assert_int_equal(state_restore(&other, buf_bytes(&raw)), STATUS_OK);
    assert_int_equal(state_hash(&other), state_hash(&s));
    assert_true(other.control.paused && other.control.has_age_ms && other.control.age_ms == 7);
    struct state *both[] = {&s, &other};
    for (int i = 0; i < 2; i++) {
        state_check_invariants(both[i]);
        assert_flush(both[i], "[16: worse@7] [18: a@14 c@15] worse@17 c@19");
        assert_int_equal(both[i]->quarantined, 2);
        assert_int_equal(both[i]->retained, 3);
        assert_true(flushed(both[i], 20, 16, 12));
        assert_true(flush_abort(both[i], 21, 18));
        assert_flush(both[i], "a@14 c@15 worse@17");
        at(both[i], 22);
        assert_true(state_apply_rewind(both[i], 4));
        assert_flush(both[i], "gone@7 worse@7 a@7 c@7");
    }
    assert_int_equal(state_hash(&other), state_hash(&s));
    buf_deinit(&raw);
    state_deinit(&s);
    state_deinit(&other);
}

static void what_is_given_up_while_in_quarantine_and_dropped_then_is_counted_when_it_is_lost(void **unused)
{
    (void)unused;
    struct state s;
    state_init(&s, 1);
    state_apply_retention(&s, 1000000, 0);
    put(&s, 1, "bad", "good once");
    put(&s, 2, "c", "1");
    state_apply_retention(&s, 1000000, 2 * (STATE_RETAINED_BYTES + 100));
    begin(&s, 3);
    assert_true(flushed(&s, 4, 3, 0));
    put(&s, 5, "bad", "no more");
    begin(&s, 6);
    assert_true(refuse(&s, 7, 6, "bad"));
    state_apply_retention(&s, 1000000, 0);
    assert_true(flushed(&s, 8, 6, 3)); /* "good once" is in the database, and not remembered any more */
    at(&s, 9);
    assert_true(state_apply_quarantine_drop(&s, bytes_from_text("bad"), find(&s, "bad")->version));
    at(&s, 10);
    assert_true(state_apply_rewind(&s, 0));
    assert_int_equal(s.lost, 2); /* "good once" and c */
    state_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_given_up_while_in_quarantine_and_dropped_then_is_counted_when_it_is_lost),
        cmocka_unit_test(a_refused_row_lets_the_others_and_f_pass),
        cmocka_unit_test(what_is_not_in_that_batch_is_not_quarantined),
        cmocka_unit_test(a_batch_of_bad_rows_only_can_still_be_flushed),
        cmocka_unit_test(a_write_takes_the_place_of_the_refused_value),
        cmocka_unit_test(a_write_during_a_retry_is_queued),
        cmocka_unit_test(an_aborted_retry_is_in_quarantine_again),
        cmocka_unit_test(a_row_that_is_refused_again_keeps_its_oldest_write),
        cmocka_unit_test(a_row_written_while_it_was_refused_waits_with_its_newest_value),
        cmocka_unit_test(what_is_dropped_is_forgotten),
        cmocka_unit_test(a_retry_that_a_rewind_undoes_is_dirty_from_its_oldest_write_on),
        cmocka_unit_test(a_key_in_quarantine_stays_there_in_a_rewind),
        cmocka_unit_test(a_long_message_is_cut),
        cmocka_unit_test(a_snapshot_has_all_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
