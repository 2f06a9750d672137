/* The fake database in trouble: bad rows, locks, another server in its place; and what a leader says in its
 * fence row. */
#include "cluster-tests/sim/fake_db_test_help.h"
#include "cluster-tests/sim/fake_server.h"

/* ---- Rows that are refused ---- */

struct rule {
    const char *key;
    struct fake_refusal why;
};

static bool refuses(void *data, const struct fake_write *write, struct fake_refusal *out)
{
    const struct rule *rule = data;
    *out = rule->why;
    return bytes_equal(write->key, bytes_from_text(rule->key));
}

static void refuse(struct world *w, struct rule *rule)
{
    w->db.refuses = refuses;
    w->db.refuses_data = rule;
}

static struct rule rule_of(const char *key, int when)
{
    struct rule rule = {.key = key, .why = {.sqlstate = "23514", .message = "no"}};
    rule.why.when = when;
    return rule;
}

static void finish(struct client *c, const struct flush_mirror *mirror)
{
    const struct flush_note note = {.fresh_as_of_us = 77, .quarantined = 1, .lost = 5, .recovering = true};
    fake_flusher_ops.finish(&c->flusher, &note, mirror);
}

static void a_batch_with_a_bad_row_fails_as_a_whole(void **state)
{
    static const int whens[] = {FAKE_AT_STATEMENT, FAKE_AT_COMMIT, FAKE_COMMIT_ONLY};
    (void)state;
    for (unsigned i = 0; i < sizeof whens / sizeof *whens; i++) {
        struct world w;
        struct rule rule = rule_of("x", whens[i]);
        world_init(&w, 1);
        fill(&w, "old");
        refuse(&w, &rule);
        send(&w.a, 11, 10, "new");
        run(&w);
        assert_int_equal(w.a.failed, 1);
        assert_int_equal(w.a.error.class, FLUSH_ERROR_ROW);
        assert_true(w.a.error.in_rows);
        assert_value(&w, "y", "old");
        world_deinit(&w);
    }
}

static void an_isolating_batch_names_its_bad_rows_and_waits(void **state)
{
    (void)state;
    struct world w;
    struct rule rule = rule_of("x", FAKE_AT_COMMIT);
    world_init(&w, 1);
    fill(&w, "old");
    refuse(&w, &rule);
    send_as(&w.a, 11, 10, "new", true);
    run_until(&w, w.clock.now_us + 100000);
    assert_int_equal(w.a.isolated, 1);
    assert_int_equal(w.a.n_faults, 1);
    assert_string_equal(w.a.fault, "x");
    assert_string_equal(w.a.sqlstate, "23514");
    assert_value(&w, "y", "old"); /* its COMMIT is still to come */
    const struct flush_quarantined shown = {
        .key = bytes_from_text("x"), .version = 3, .attempts = 1, .sqlstate = "23514", .message = "no"};
    finish(&w.a, &(struct flush_mirror){.rows = &shown, .n = 1});
    run(&w);
    assert_int_equal(w.a.committed, 2);
    assert_value(&w, "y", "new");
    assert_value(&w, "x", "old");
    const struct fake_fence *fence = &w.db.content.fences[1];
    assert_int_equal(fence->last_batch, 11);
    assert_int_equal(fence->fresh_as_of_us, 77);
    assert_int_equal(fence->quarantined, 1);
    assert_int_equal(fence->lost, 5);
    assert_true(fence->recovering);
    assert_int_equal(w.db.content.n_shown, 1);
    assert_int_equal(w.db.content.shown[0].version, 3);
    world_deinit(&w);
}

static void what_only_the_commit_refuses_isolation_does_not_find(void **state)
{
    (void)state;
    struct world w;
    struct rule rule = rule_of("x", FAKE_COMMIT_ONLY);
    world_init(&w, 1);
    fill(&w, "old");
    refuse(&w, &rule);
    send_as(&w.a, 11, 10, "new", true);
    run_until(&w, w.clock.now_us + 100000);
    assert_int_equal(w.a.isolated, 1);
    assert_int_equal(w.a.n_faults, 0);
    finish(&w.a, NULL);
    run(&w);
    assert_int_equal(w.a.error.class, FLUSH_ERROR_ROW);
    assert_int_equal(w.db.content.fences[1].last_batch, 10);
    assert_value(&w, "y", "old");
    world_deinit(&w);
}

static void an_isolating_batch_whose_client_goes_is_rolled_back(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct world w;
        world_init(&w, seed);
        fill(&w, "old");
        w.db.lock_timeout_us = 10000000;
        send_as(&w.a, 11, 10, "new", true);
        run_until(&w, w.clock.now_us + 100000);
        assert_int_equal(w.a.isolated, 1);
        fake_flusher_ops.disconnect(&w.a.flusher);
        take(&w, &w.b, 2); /* waits until the server has noticed */
        assert_int_equal(w.b.row.last_batch, 10);
        assert_value(&w, "y", "old");
        world_deinit(&w);
    }
}

/* ---- Notes ---- */

static void a_note_moves_nothing_and_says_all(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1);
    w.db.clock_offset_us = -5000000;
    fill(&w, "old");
    const struct flush_note note = {.quarantined = 2};
    fake_flusher_ops.note(&w.a.flusher, &note, &(struct flush_mirror){.n = 0}, 10);
    run(&w);
    assert_int_equal(w.a.noted, 1);
    assert_int_equal(w.db.content.fences[1].quarantined, 2);
    assert_int_equal(w.db.content.fences[1].last_batch, 10);
    assert_true(w.a.clock_us < (int64_t)fake_db_true_us(&w.clock) - 4900000);
    fake_flusher_ops.note(&w.a.flusher, &note, NULL, 9);
    run(&w);
    assert_int_equal(w.a.error.class, FLUSH_ERROR_PREDECESSOR);
    world_deinit(&w);
}

/* ---- Locks ---- */

static void who_waits_for_a_strangers_lock_gives_up_at_some_time(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1);
    fill(&w, "old");
    fake_db_lock_fence(&w.db, 1, true);
    send(&w.a, 11, 10, "new");
    run(&w);
    assert_int_equal(w.a.error.class, FLUSH_ERROR_TRANSIENT);
    assert_string_equal(w.a.error.sqlstate, "55P03");
    assert_false(w.a.error.in_rows);
    fake_flusher_ops.take(&w.a.flusher, &test_identity, 1);
    run(&w);
    fake_flusher_ops.take(&w.a.flusher, &test_identity, 1); /* ends what is ours: nothing is */
    run(&w);
    assert_int_equal(w.a.failed, 3);
    fake_db_lock_fence(&w.db, 1, false);
    take(&w, &w.a, 1);
    world_deinit(&w);
}

static void a_locked_table_holds_a_batch_up_with_its_fence_row(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1);
    fill(&w, "old");
    fake_db_lock_rows(&w.db, true);
    send(&w.a, 11, 10, "new");
    run_until(&w, w.clock.now_us + 50000);
    fake_flusher_ops.take(&w.b.flusher, &test_identity, 2);
    run_until(&w, w.clock.now_us + 50000);
    assert_int_equal(w.b.taken, 0);
    fake_db_lock_rows(&w.db, false);
    run(&w);
    assert_int_equal(w.a.committed, 2);
    assert_int_equal(w.b.row.last_batch, 11);
    fake_db_lock_rows(&w.db, true);
    send(&w.b, 12, 11, "newer");
    run(&w);
    assert_string_equal(w.b.error.sqlstate, "55P03");
    assert_true(w.b.error.in_rows);
    world_deinit(&w);
}

static void the_second_take_ends_a_frozen_backend_of_an_older_leader(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1);
    fill(&w, "old");
    w.db.idle_timeout_us = 3600000000u;
    send_as(&w.a, 11, 10, "new", true);
    run_until(&w, w.clock.now_us + 100000);
    assert_int_equal(w.a.isolated, 1);
    sim_gate_pause(&w.a.gate);
    fake_flusher_ops.take(&w.b.flusher, &test_identity, 2);
    run_until(&w, w.clock.now_us + 2000000);
    assert_int_equal(w.b.taken, 0);
    assert_string_equal(w.b.error.sqlstate, "55P03");
    take(&w, &w.b, 2);
    assert_int_equal(w.db.terminated, 1);
    assert_int_equal(w.b.row.last_batch, 10);
    assert_value(&w, "y", "old");
    world_deinit(&w);
}

/* ---- Another server ---- */

static void a_database_goes_back_in_time_and_forward_again(void **state)
{
    (void)state;
    struct world w;
    struct fake_content early, late;
    world_init(&w, 1);
    fill(&w, "old");
    fake_content_copy(&early, &w.db.content);
    send(&w.a, 11, 10, NULL);
    run(&w);
    fake_content_copy(&late, &w.db.content);
    assert_true(fake_fence_has(&w.db.content.fences[1], 11));
    fake_db_become(&w.db, &early);
    run(&w);
    assert_int_equal(w.a.failed, 1); /* its connection is gone */
    assert_value(&w, "x", "old");
    assert_false(fake_fence_has(&w.db.content.fences[1], 11));
    assert_true(fake_fence_has(&w.db.content.fences[1], 10));
    take(&w, &w.a, 2);
    assert_int_equal(w.a.row.last_batch, 10);
    fake_db_become(&w.db, &late);
    run(&w);
    assert_null(row(&w, "x"));
    take(&w, &w.a, 2);
    assert_int_equal(w.a.row.last_batch, 11);
    fake_content_deinit(&early);
    fake_content_deinit(&late);
    world_deinit(&w);
}

static void a_standby_is_no_database_to_flush_to(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1);
    fill(&w, "old");
    fake_db_set_standby(&w.db, true);
    run(&w);
    assert_int_equal(w.a.failed, 1);
    fake_flusher_ops.take(&w.a.flusher, &test_identity, 2);
    run(&w);
    assert_int_equal(w.a.error.class, FLUSH_ERROR_OUTAGE);
    assert_string_equal(w.a.error.sqlstate, "25006");
    fake_db_set_standby(&w.db, false);
    take(&w, &w.a, 2);
    world_deinit(&w);
}

/* ---- Connections that are shared ---- */

static void who_finds_no_free_connection_waits_for_one(void **state)
{
    (void)state;
    struct world w;
    struct fake_slots slots;
    world_init(&w, 1);
    claim(&w);
    fake_flusher_ops.disconnect(&w.a.flusher);
    fake_slots_init(&slots, 1);
    w.a.flusher.slots = w.b.flusher.slots = &slots;
    take(&w, &w.a, 1);
    fake_flusher_ops.take(&w.b.flusher, &test_identity, 2);
    run(&w);
    assert_int_equal(w.b.taken, 0);
    assert_true(fake_flusher_ops.wanted(&w.a.flusher));
    fake_flusher_ops.release(&w.a.flusher);
    assert_false(fake_flusher_ops.wanted(&w.a.flusher));
    run(&w);
    assert_int_equal(w.b.taken, 1);
    fake_flusher_ops.take(&w.a.flusher, &test_identity, 2);
    fake_flusher_ops.disconnect(&w.a.flusher); /* it does not wait any more */
    assert_false(fake_flusher_ops.wanted(&w.b.flusher));
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_with_a_bad_row_fails_as_a_whole),
        cmocka_unit_test(an_isolating_batch_names_its_bad_rows_and_waits),
        cmocka_unit_test(what_only_the_commit_refuses_isolation_does_not_find),
        cmocka_unit_test(an_isolating_batch_whose_client_goes_is_rolled_back),
        cmocka_unit_test(a_note_moves_nothing_and_says_all),
        cmocka_unit_test(who_waits_for_a_strangers_lock_gives_up_at_some_time),
        cmocka_unit_test(a_locked_table_holds_a_batch_up_with_its_fence_row),
        cmocka_unit_test(the_second_take_ends_a_frozen_backend_of_an_older_leader),
        cmocka_unit_test(a_database_goes_back_in_time_and_forward_again),
        cmocka_unit_test(a_standby_is_no_database_to_flush_to),
        cmocka_unit_test(who_finds_no_free_connection_waits_for_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
