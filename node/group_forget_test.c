/* Writers beside us: what others changed is forgotten here, read anew, and never lost against an older copy.
 */
#include "node/group_forget_test_help.h"

/* ---- Ordinary copies ---- */

static void a_clean_copy_or_an_absence_is_dropped(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a;
    fixture_init(&f, 0, false, true);
    start_miss(&f, &a, "k");
    answer(&f, "k", "one", 5);
    assert_got(&a, "one");
    assert_in_memory(&f, "k", "one");
    heard(&f, "k");
    assert_null(entry(&f, "k"));
    start_miss(&f, &a, "k");
    answer(&f, "k", NULL, 0);
    assert_got(&a, NULL);
    assert_in_memory(&f, "k", NULL);
    heard(&f, "k");
    heard(&f, "never heard of");
    start_miss(&f, &a, "k");
    answer(&f, "k", "two", 5);
    assert_got(&a, "two");
    fixture_deinit(&f);
}

static void a_key_that_waits_for_its_batch_stays(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    set_now(&f, "k", "ours");
    heard(&f, "k");
    assert_in_memory(&f, "k", "ours");
    begin_batch(&f);
    end_batch(&f); /* which has overwritten the other's change */
    assert_in_memory(&f, "k", "ours");
    fixture_deinit(&f);
}

static void a_change_during_the_batch_is_seen_when_the_batch_has_ended(void **state)
{
    (void)state;
    for (int retained = 0; retained < 2; retained++) {
        struct fixture f;
        struct ask a;
        fixture_init(&f, 0, false, true);
        if (retained) {
            retain(&f);
        }
        set_now(&f, "k", "ours");
        set_now(&f, "other", "ours");
        begin_batch(&f);
        heard(&f, "k"); /* perhaps after the batch's own commit, which we don't know of yet */
        assert_in_memory(&f, "k", "ours");
        end_batch(&f);
        fixture_turn(&f);
        check(&f);
        assert_in_memory(&f, "other", "ours");
        uint64_t version = group_state(f.group)->version_base + 1;
        start_miss(&f, &a, "k");
        answer(&f, "k", "theirs", version);
        fixture_commit(&f, UINT32_MAX); /* Forget */
        fixture_turn(&f);
        if (retained) {
            answer(&f, "k", "theirs", version);
        }
        assert_got(&a, "theirs");
        fixture_deinit(&f);
    }
}

static void a_write_after_the_change_wins(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    set_now(&f, "k", "first");
    begin_batch(&f);
    heard(&f, "k");
    set_now(&f, "k", "second");
    end_batch(&f);
    assert_in_memory(&f, "k", "second");
    begin_batch(&f);
    end_batch(&f);
    assert_in_memory(&f, "k", "second");
    fixture_deinit(&f);
}

/* ---- Retained copies ---- */

static void a_retained_copy_is_compared_and_stays_when_the_row_is_the_same(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a;
    fixture_init(&f, 0, false, true);
    retain(&f);
    set_flushed(&f, "k", "ours");
    uint64_t version = entry(&f, "k")->version;
    assert_non_null(entry(&f, "k")->flushed);
    heard(&f, "k");
    unsigned proposals = f.proposals;
    start_miss(&f, &a, "k");
    answer(&f, "k", "ours", version);
    assert_got(&a, "ours");
    assert_int_equal(f.proposals, proposals);
    assert_in_memory(&f, "k", "ours");
    assert_non_null(entry(&f, "k")->flushed);
    fixture_deinit(&f);
}

static void a_retained_copy_that_differs_leaves_by_the_log(void **state)
{
    (void)state;
    const struct {
        const char *value;
        uint64_t more_version;
    } rows[] = {{"theirs", 0}, {"ours", 1}, {NULL, 0}, {"", 0}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture f;
        struct ask a, b;
        fixture_init(&f, 0, false, true);
        retain(&f);
        set_flushed(&f, "k", "ours");
        uint64_t version = entry(&f, "k")->version + rows[i].more_version;
        heard(&f, "k");
        start_miss(&f, &a, "k");
        unsigned proposals = f.proposals, loads = f.loads;
        answer(&f, "k", rows[i].value, version);
        assert_int_equal(f.proposals, proposals + 1);
        assert_false(a.done);
        start_get(&f, &b, "k"); /* joins those who wait */
        fixture_pass(&f, 1000);
        assert_int_equal(f.loads, loads); /* and nobody asks again meanwhile */
        assert_int_equal(f.proposals, proposals + 1);
        fixture_commit(&f, UINT32_MAX);
        fixture_turn(&f);
        assert_int_equal(f.loads, loads + 1);
        answer(&f, "k", rows[i].value, version);
        assert_got(&a, rows[i].value);
        assert_got(&b, rows[i].value);
        assert_int_equal(group_state(f.group)->retained, 0);
        assert_in_memory(&f, "k", rows[i].value);
        fixture_deinit(&f);
    }
}

static void a_deleted_key_that_is_retained_is_compared_too(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a;
    fixture_init(&f, 0, false, true);
    retain(&f);
    set_flushed(&f, "k", "ours");
    ask_del(&f, &a, "k", 1);
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    assert_done(&a, STATUS_OK);
    begin_batch(&f);
    end_batch(&f);
    assert_in_memory(&f, "k", NULL);
    heard(&f, "k");
    start_miss(&f, &a, "k");
    answer(&f, "k", NULL, 0);
    assert_got(&a, NULL);
    assert_in_memory(&f, "k", NULL);
    heard(&f, "k");
    start_miss(&f, &a, "k");
    answer(&f, "k", "inserted", 3);
    fixture_commit(&f, UINT32_MAX);
    fixture_turn(&f);
    answer(&f, "k", "inserted", 3);
    assert_got(&a, "inserted");
    fixture_deinit(&f);
}

static void a_write_while_the_copy_is_to_leave_makes_it_an_answer(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a;
    fixture_init(&f, 0, false, true);
    retain(&f);
    set_flushed(&f, "k", "ours");
    heard(&f, "k");
    start_miss(&f, &a, "k");
    answer(&f, "k", "theirs", 5);
    set_now(&f, "k", "newer"); /* its entry follows Forget's: both apply */
    fixture_turn(&f);
    assert_got(&a, "newer");
    assert_in_memory(&f, "k", "newer");
    check(&f);
    fixture_deinit(&f);
}

static void conditions_and_sums_read_the_row_anew(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a;
    fixture_init(&f, 0, false, true);
    retain(&f);
    set_flushed(&f, "n", "1");
    uint64_t version = entry(&f, "n")->version;
    heard(&f, "n");
    unsigned loads = f.loads;
    ask_incr(&f, &a, "n", 1, 1);
    fixture_turn(&f);
    assert_int_equal(f.loads, loads + 1);
    answer(&f, "n", "10", version);
    fixture_commit(&f, UINT32_MAX);
    fixture_turn(&f);
    answer(&f, "n", "10", version);
    fixture_commit(&f, UINT32_MAX);
    assert_done(&a, STATUS_OK);
    assert_int_equal(a.result.number, 11);
    fixture_deinit(&f);
}

static void a_scan_does_not_show_what_may_have_changed(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a;
    fixture_init(&f, 0, false, true);
    retain(&f);
    set_flushed(&f, "one", "v");
    set_flushed(&f, "two", "v");
    heard(&f, "one");
    ask_scan(&f, &a, 0, "", 1000);
    fixture_turn(&f);
    assert_done(&a, STATUS_OK);
    assert_int_equal(a.scan.n, 1);
    assert_memory_equal(a.scan.keys.data + 4, "two", 3);
    buf_deinit(&a.scan.keys);
    fixture_deinit(&f);
}

static void a_stale_read_takes_what_is_there(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a;
    fixture_init(&f, 0, false, true);
    retain(&f);
    set_flushed(&f, "k", "ours");
    heard(&f, "k");
    fixture_depose(&f);
    ask_stale(&f, &a, "k");
    fixture_turn(&f);
    assert_got(&a, "ours");
    fixture_deinit(&f);
}

static void without_the_database_a_copy_in_doubt_is_no_answer(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a;
    fixture_init(&f, 0, false, true);
    retain(&f);
    set_flushed(&f, "k", "ours");
    heard(&f, "k");
    start_miss(&f, &a, "k");
    loader_fail(&f, "away");
    assert_done(&a, STATUS_DATABASE_DOWN);
    fixture_deinit(&f);
}

/* ---- Expiry ---- */

static void a_key_that_is_due_is_not_deleted_before_its_row_is_read(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a;
    fixture_init(&f, 0, false, true);
    retain(&f);
    const struct operation set = {.kind = OPERATION_SET,
        .key = text("k"),
        .value = text("v"),
        .expires = true,
        .expire_relative = true,
        .expire_ms = 500};
    ask_update(&f, &a, &set, 1);
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    assert_done(&a, STATUS_OK);
    begin_batch(&f);
    end_batch(&f);
    heard(&f, "k"); /* somebody made it stay for ever */
    uint64_t version = entry(&f, "k")->version;
    unsigned loads = f.loads, proposals = f.proposals;
    fixture_pass(&f, 1000);
    assert_int_equal(f.loads, loads + 1);
    assert_int_equal(f.proposals, proposals);
    answer(&f, "k", "v", version);
    fixture_commit(&f, UINT32_MAX); /* Forget */
    fixture_pass(&f, 1000);
    assert_null(entry(&f, "k"));
    start_miss(&f, &a, "k");
    answer(&f, "k", "v", version);
    assert_got(&a, "v");
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_clean_copy_or_an_absence_is_dropped),
        cmocka_unit_test(a_key_that_waits_for_its_batch_stays),
        cmocka_unit_test(a_change_during_the_batch_is_seen_when_the_batch_has_ended),
        cmocka_unit_test(a_write_after_the_change_wins),
        cmocka_unit_test(a_retained_copy_is_compared_and_stays_when_the_row_is_the_same),
        cmocka_unit_test(a_retained_copy_that_differs_leaves_by_the_log),
        cmocka_unit_test(a_deleted_key_that_is_retained_is_compared_too),
        cmocka_unit_test(a_write_while_the_copy_is_to_leave_makes_it_an_answer),
        cmocka_unit_test(conditions_and_sums_read_the_row_anew),
        cmocka_unit_test(a_scan_does_not_show_what_may_have_changed),
        cmocka_unit_test(a_stale_read_takes_what_is_there),
        cmocka_unit_test(without_the_database_a_copy_in_doubt_is_no_answer),
        cmocka_unit_test(a_key_that_is_due_is_not_deleted_before_its_row_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
