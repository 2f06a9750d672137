/* Writers beside us: changes that come while a load, a batch, a retry or a walk through all keys is under
 * way, and offices that end meanwhile. */
#include "node/group_forget_test_help.h"

/* ---- Loads under way ---- */

static void a_load_that_was_overtaken_is_used_once_and_not_kept(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a, b;
    fixture_init(&f, 0, false, true);
    start_miss(&f, &a, "k");
    heard(&f, "k");
    start_get(&f, &b, "k");
    answer(&f, "k", "older", 5);
    assert_got(&a, "older");
    assert_got(&b, "older");
    assert_null(entry(&f, "k"));
    start_miss(&f, &a, "k");
    answer(&f, "k", "newer", 5);
    assert_got(&a, "newer");
    assert_in_memory(&f, "k", "newer");
    fixture_deinit(&f);
}

static void a_row_that_changes_all_the_time_can_be_read(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a;
    fixture_init(&f, 0, false, true);
    retain(&f);
    set_flushed(&f, "k", "ours");
    heard(&f, "k");
    for (int i = 0; i < 5; i++) {
        start_miss(&f, &a, "k");
        heard(&f, "k");
        answer(&f, "k", "theirs", 5);
        heard(&f, "k");
        if (fixture_commit(&f, UINT32_MAX) > 0) { /* the retained copy, the first time */
            fixture_turn(&f);
            heard(&f, "k");
            answer(&f, "k", "theirs", 5);
        }
        assert_got(&a, "theirs");
    }
    fixture_deinit(&f);
}

static void a_comparison_that_was_overtaken_leaves_the_doubt(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a;
    fixture_init(&f, 0, false, true);
    retain(&f);
    set_flushed(&f, "k", "ours");
    uint64_t version = entry(&f, "k")->version;
    heard(&f, "k");
    start_miss(&f, &a, "k");
    heard(&f, "k");
    answer(&f, "k", "ours", version);
    assert_got(&a, "ours");
    start_miss(&f, &a, "k");
    answer(&f, "k", "ours", version);
    assert_got(&a, "ours");
    assert_in_memory(&f, "k", "ours");
    fixture_deinit(&f);
}

/* ---- The office ---- */

static void who_waits_for_a_copy_to_leave_is_told_when_the_office_ends(void **state)
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
    fixture_depose(&f);
    assert_done(&a, STATUS_NOT_LEADER);
    fixture_elect(&f, 2, group_state(f.group)->last_batch); /* with Forget still on its way */
    start_miss(&f, &a, "k");
    answer(&f, "k", "theirs", 5);
    fixture_commit(&f, UINT32_MAX); /* both */
    fixture_turn(&f);
    answer(&f, "k", "theirs", 5);
    assert_got(&a, "theirs");
    fixture_deinit(&f);
}

static void a_log_that_refuses_to_forget_is_told(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a;
    fixture_init(&f, 0, false, true);
    retain(&f);
    set_flushed(&f, "k", "ours");
    heard(&f, "k");
    start_miss(&f, &a, "k");
    f.propose_status = STATUS_NOT_LEADER;
    answer(&f, "k", "theirs", 5);
    assert_done(&a, STATUS_NOT_LEADER);
    f.propose_status = STATUS_OK;
    start_miss(&f, &a, "k");
    answer(&f, "k", "theirs", 5);
    fixture_commit(&f, UINT32_MAX);
    fixture_turn(&f);
    answer(&f, "k", "theirs", 5);
    assert_got(&a, "theirs");
    fixture_deinit(&f);
}

static void many_copies_that_differ_leave_together(void **state)
{
    (void)state;
    enum { KEYS = 600 }; /* more than one entry names */
    struct fixture f;
    fixture_init(&f, 0, false, true);
    retain(&f);
    static struct ask asks[KEYS];
    static char keys[KEYS][16];
    for (int i = 0; i < KEYS; i++) {
        snprintf(keys[i], sizeof keys[i], "k%d", i);
        ask_set(&f, &asks[i], keys[i], "ours", 1);
    }
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    while (group_state(f.group)->dirty_bytes > 0) { /* ten a batch */
        fixture_pass(&f, 200);
        fixture_commit(&f, UINT32_MAX);
        for (; f.sent_n > 0; f.sent_n--) { /* the oldest first */
            db_committed(&f, f.sent[0].id);
            fixture_commit(&f, UINT32_MAX);
            flush_batch_deinit(&f.sent[0]);
            memmove(&f.sent[0], &f.sent[1], (f.sent_n - 1) * sizeof f.sent[0]);
        }
    }
    for (int i = 0; i < KEYS; i++) {
        heard(&f, keys[i]);
        ask_get(&f, &asks[i], keys[i], 1);
    }
    fixture_turn(&f);
    unsigned proposals = f.proposals;
    answer(&f, NULL, NULL, 0);
    assert_int_equal(f.proposals, proposals + 3);
    uint64_t token = f.load_token + 1;
    fixture_commit(&f, UINT32_MAX);
    fixture_turn(&f);
    for (uint64_t last = f.load_token; token <= last; token++) {
        f.load_token = token;
        answer(&f, NULL, NULL, 0);
    }
    for (int i = 0; i < KEYS; i++) {
        assert_got(&asks[i], NULL);
    }
    assert_int_equal(group_state(f.group)->retained, 0);
    fixture_deinit(&f);
}

/* ---- All keys ---- */

static void after_a_truncate_nothing_clean_is_an_answer(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a;
    fixture_init(&f, 0, false, true);
    start_miss(&f, &a, "loaded");
    answer(&f, "loaded", "v", 5);
    assert_got(&a, "v");
    start_miss(&f, &a, "absent");
    answer(&f, "absent", NULL, 0);
    assert_got(&a, NULL);
    retain(&f);
    set_flushed(&f, "retained", "v");
    set_now(&f, "dirty", "v");
    start_miss(&f, &a, "on its way");
    group_forget_all_clean(f.group);
    settle(&f);
    answer(&f, "on its way", "older", 5);
    assert_got(&a, "older");
    fixture_turn(&f);
    check(&f);
    assert_in_memory(&f, "dirty", "v");
    const char *const keys[] = {"loaded", "absent", "on its way", "retained"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        start_miss(&f, &a, keys[i]);
        answer(&f, keys[i], NULL, 0);
        if (fixture_commit(&f, UINT32_MAX) > 0) {
            fixture_turn(&f);
            answer(&f, keys[i], NULL, 0);
        }
        assert_got(&a, NULL);
    }
    fixture_deinit(&f);
}

static void what_was_in_a_batch_is_looked_at_again_when_that_has_ended(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a;
    fixture_init(&f, 0, false, true);
    retain(&f);
    set_now(&f, "k", "ours");
    begin_batch(&f);
    group_forget_all_clean(f.group);
    settle(&f);
    assert_in_memory(&f, "k", "ours");
    end_batch(&f);
    settle(&f);
    start_miss(&f, &a, "k");
    answer(&f, "k", "ours", entry(&f, "k")->version);
    assert_got(&a, "ours");
    assert_in_memory(&f, "k", "ours");
    fixture_deinit(&f);
}

static void a_large_table_is_walked_in_parts(void **state)
{
    (void)state;
    enum { KEYS = 20000, AT_ONCE = 1000 };
    struct fixture f;
    static struct ask asks[AT_ONCE];
    static char keys[AT_ONCE][16];
    fixture_init(&f, 0, false, true);
    for (int i = 0; i < KEYS; i += AT_ONCE) {
        for (int k = 0; k < AT_ONCE; k++) {
            snprintf(keys[k], sizeof keys[k], "k%d", i + k);
            ask_get(&f, &asks[k], keys[k], 1);
        }
        fixture_turn(&f);
        answer(&f, NULL, NULL, 0);
        for (int k = 0; k < AT_ONCE; k++) {
            assert_got(&asks[k], NULL);
        }
    }
    assert_int_equal(group_state(f.group)->absences, KEYS);
    group_forget_all_clean(f.group);
    fixture_turn(&f);
    uint64_t left = group_state(f.group)->absences;
    assert_in_range(left, 1, KEYS - 1);
    /* Some of these come where the walk has been already. */
    for (int k = 0; k < AT_ONCE; k++) {
        snprintf(keys[k], sizeof keys[k], "late%d", k);
        ask_get(&f, &asks[k], keys[k], 1);
    }
    fixture_turn(&f);
    answer(&f, NULL, NULL, 0);
    for (int k = 0; k < AT_ONCE; k++) {
        assert_got(&asks[k], NULL);
    }
    assert_true(group_state(f.group)->absences > 0);
    group_forget_all_clean(f.group); /* again, before the first walk is over */
    settle(&f);
    assert_int_equal(group_state(f.group)->absences, 0);
    fixture_deinit(&f);
}

static void a_change_while_a_quarantined_key_is_tried_is_seen(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a;
    fixture_init(&f, 0, false, true);
    retain(&f);
    set_now(&f, "k", "ours");
    begin_batch(&f);
    Wblog__Fault fault = WBLOG__FAULT__INIT, *faults[] = {&fault};
    fault.key = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t) "k", .len = 1};
    fault.sqlstate = (char *)(uintptr_t) "23514";
    fault.message = (char *)(uintptr_t) "no";
    Wblog__Quarantine quarantine = WBLOG__QUARANTINE__INIT;
    quarantine.batch = batch(&f);
    quarantine.n_faults = 1;
    quarantine.faults = faults;
    Wblog__Entry e = WBLOG__ENTRY__INIT;
    e.command_case = WBLOG__ENTRY__COMMAND_QUARANTINE;
    e.quarantine = &quarantine;
    /* On a follower, whose flush is another's: it only applies. */
    fixture_depose(&f);
    fixture_apply(&f, &e);
    assert_non_null(entry(&f, "k")->quarantine);
    Wblog__Flushed flushed = WBLOG__FLUSHED__INIT;
    flushed.batch = batch(&f);
    flushed.predecessor = group_state(f.group)->last_batch;
    wblog__entry__init(&e);
    e.command_case = WBLOG__ENTRY__COMMAND_FLUSHED;
    e.flushed = &flushed;
    fixture_apply(&f, &e);
    ProtobufCBinaryData key = fault.key;
    Wblog__FlushBegin begin = WBLOG__FLUSH_BEGIN__INIT;
    begin.rows_max = 1;
    begin.bytes_max = 100;
    begin.n_quarantined = 1;
    begin.quarantined = &key;
    wblog__entry__init(&e);
    e.command_case = WBLOG__ENTRY__COMMAND_FLUSH_BEGIN;
    e.flush_begin = &begin;
    fixture_apply(&f, &e);
    uint64_t retry = f.last_index;
    assert_true(entry(&f, "k")->batch != NULL && entry(&f, "k")->batch->retry);
    heard(&f, "k");
    group_forget_all_clean(f.group);
    settle(&f);
    check(&f);
    flushed.predecessor = flushed.batch;
    flushed.batch = retry;
    wblog__entry__init(&e);
    e.command_case = WBLOG__ENTRY__COMMAND_FLUSHED;
    e.flushed = &flushed;
    fixture_apply(&f, &e);
    assert_false(state_entry_dirty(entry(&f, "k")));
    settle(&f);
    assert_true(entry(&f, "k")->stale);
    fixture_elect(&f, 2, retry);
    start_miss(&f, &a, "k");
    answer(&f, "k", "ours", entry(&f, "k")->version);
    assert_got(&a, "ours");
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_load_that_was_overtaken_is_used_once_and_not_kept),
        cmocka_unit_test(a_row_that_changes_all_the_time_can_be_read),
        cmocka_unit_test(a_comparison_that_was_overtaken_leaves_the_doubt),
        cmocka_unit_test(who_waits_for_a_copy_to_leave_is_told_when_the_office_ends),
        cmocka_unit_test(a_log_that_refuses_to_forget_is_told),
        cmocka_unit_test(many_copies_that_differ_leave_together),
        cmocka_unit_test(after_a_truncate_nothing_clean_is_an_answer),
        cmocka_unit_test(what_was_in_a_batch_is_looked_at_again_when_that_has_ended),
        cmocka_unit_test(a_large_table_is_walked_in_parts),
        cmocka_unit_test(a_change_while_a_quarantined_key_is_tried_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
