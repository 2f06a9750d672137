/* Comparing memory with the database: each kind of difference is found, and what is merely on its way never
 * is, whatever happens while the rows are read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/group_verify_test_help.h"

/* ---- What is found ---- */

static void what_is_equal_is_not_reported(void **state)
{
    (void)state;
    struct fixture f;
    struct table t = {0};
    struct admin_ask x;
    fixture_init(&f, 0, false, true);
    store_now(&f, &t, "a", "1");
    store_now(&f, &t, "b", "2");
    miss_now(&f, &t, "absent");
    verify_begin(&f, &x);
    assert_true(verify_is_loading(&x, &f));
    assert_int_equal(f.load_keys, 3);
    table_answer_newest(&f, &t);
    assert_int_equal(x.a.looked, 3);
    assert_int_equal(x.a.compared, 3);
    assert_int_equal(x.a.dirty, 0);
    assert_int_equal(x.a.n_differences, 0);
    assert_int_equal(x.a.cursor, 0);
    assert_admin_done(&x, STATUS_OK);
    fixture_deinit(&f);
}

static void each_kind_of_difference_is_found(void **state)
{
    (void)state;
    struct fixture f;
    struct table t = {0};
    struct admin_ask x;
    char key[TEXT_MAX];
    fixture_init(&f, 0, false, true);
    retain(&f, 60000, 1 << 20);
    for (int i = 0; i < 9; i++) {
        snprintf(key, sizeof key, "k%d", i);
        store_now(&f, &t, key, "value");
    }
    miss_now(&f, &t, "absent");
    miss_now(&f, &t, "absent-bad");
    delete_now(&f, "k8");
    fixture_pass(&f, 100);
    fixture_commit(&f, UINT32_MAX);
    table_commit(&t, &f.sent[0]);
    settle_batches(&f); /* a tombstone, retained */
    uint64_t version = row_find(&t, bytes_from_text("k1"))->version;
    row_delete(&t, bytes_from_text("k0"));
    row_find(&t, bytes_from_text("k1"))->version--;
    row_find(&t, bytes_from_text("k2"))->version += UINT64_C(1) << 40; /* no write of ours was so late */
    row_text(row_find(&t, bytes_from_text("k3"))->value, bytes_from_text("other"));
    row_find(&t, bytes_from_text("k4"))->expires_at_ms = f.now_ms + 1000;
    row_find(&t, bytes_from_text("k5"))->expires_at_ms = f.now_ms - 1; /* there, and over; ours is not */
    row_find(&t, bytes_from_text("k6"))->bad = true;
    row_put(&t, bytes_from_text("k8"), bytes_from_text("back"), 1);
    row_put(&t, bytes_from_text("absent"), bytes_from_text("there"), UINT64_C(1) << 40);
    row_put(&t, bytes_from_text("absent-bad"), bytes_from_text("there"), 1)->bad = true;
    verify_begin(&f, &x);
    table_answer_newest(&f, &t);
    assert_true(x.done);
    assert_int_equal(x.a.compared, 11);
    assert_int_equal(x.a.n_differences, 10);
    assert_int_equal(verify_reported(&x, "k0"), DIFFERENCE_MISSING);
    assert_int_equal(verify_reported(&x, "k1"), DIFFERENCE_OLDER);
    assert_int_equal(verify_reported(&x, "k2"), DIFFERENCE_CHANGED);
    assert_int_equal(verify_reported(&x, "k3"), DIFFERENCE_CHANGED);
    assert_int_equal(verify_reported(&x, "k4"), DIFFERENCE_CHANGED);
    assert_int_equal(verify_reported(&x, "k5"), DIFFERENCE_CHANGED);
    assert_int_equal(verify_reported(&x, "k6"), DIFFERENCE_CHANGED);
    assert_int_equal(verify_reported(&x, "k7"), DIFFERENCE_NONE);
    assert_int_equal(verify_reported(&x, "k8"), DIFFERENCE_UNEXPECTED);
    assert_int_equal(verify_reported(&x, "absent"), DIFFERENCE_UNEXPECTED);
    assert_int_equal(verify_reported(&x, "absent-bad"), DIFFERENCE_UNEXPECTED);
    for (uint32_t i = 0; i < x.a.n_differences; i++) {
        const struct admin_difference *d = &x.a.differences[i];
        if (d->kind == DIFFERENCE_OLDER) {
            assert_int_equal(d->version, version);
            assert_int_equal(d->row_version, version - 1);
        }
        if (d->kind == DIFFERENCE_MISSING) {
            assert_int_equal(d->row_version, 0);
        }
    }
    assert_admin_done(&x, STATUS_OK);
    fixture_deinit(&f);
}

static void what_is_over_on_both_sides_is_equal(void **state)
{
    (void)state;
    struct fixture f;
    struct table t = {0};
    struct admin_ask x;
    struct ask a;
    fixture_init(&f, 0, false, true);
    const char *keys[] = {"kept", "gone", "changed", "revived"};
    for (int i = 0; i < 4; i++) {
        row_put(&t, bytes_from_text(keys[i]), bytes_from_text("v"), 10)->expires_at_ms = f.now_ms + 50;
        ask_get(&f, &a, keys[i], 1);
        fixture_turn(&f);
        table_answer_newest(&f, &t);
        assert_got(&a, "v");
    }
    miss_now(&f, &t, "absent");
    verify_begin(&f, &x);
    assert_true(verify_is_loading(&x, &f));
    f.propose_status = STATUS_NO_SPACE; /* their deletes don't come to the log */
    f.now_ms += 50;
    row_delete(&t, bytes_from_text("gone"));
    row_text(row_find(&t, bytes_from_text("changed"))->value, bytes_from_text("other"));
    row_find(&t, bytes_from_text("revived"))->expires_at_ms = 0;
    row_put(&t, bytes_from_text("absent"), bytes_from_text("v"), 11)->expires_at_ms = f.now_ms;
    fixture_turn(&f);
    table_answer_newest(&f, &t);
    assert_int_equal(x.a.compared, 5);
    assert_int_equal(x.a.n_differences, 1);
    assert_int_equal(verify_reported(&x, "revived"), DIFFERENCE_CHANGED);
    assert_admin_done(&x, STATUS_OK);
    fixture_deinit(&f);
}

static void prefix_and_sample_choose_what_is_compared(void **state)
{
    (void)state;
    struct fixture f;
    struct table t = {0};
    struct admin_ask x;
    char key[TEXT_MAX];
    fixture_init(&f, 0, false, true);
    for (int i = 0; i < 60; i++) {
        snprintf(key, sizeof key, "%c%d", i < 30 ? 'a' : 'b', i);
        row_put(&t, bytes_from_text(key), bytes_from_text("v"), 5);
        struct ask a;
        ask_get(&f, &a, key, 1);
        fixture_turn(&f);
        table_answer_newest(&f, &t);
        assert_got(&a, "v");
    }
    ask_admin_init(&x, ADMIN_VERIFY);
    x.a.count = 3000;
    x.a.prefix = bytes_from_text("b");
    ask_admin(&f, &x);
    fixture_turn(&f);
    assert_int_equal(f.load_keys, 30);
    table_answer_newest(&f, &t);
    assert_int_equal(x.a.looked, 60);
    assert_int_equal(x.a.compared, 30);
    assert_admin_done(&x, STATUS_OK);
    unsigned chosen[2];
    for (int i = 0; i < 2; i++) {
        ask_admin_init(&x, ADMIN_VERIFY);
        x.a.count = 3000;
        x.a.one_in = 4;
        ask_admin(&f, &x);
        fixture_turn(&f);
        chosen[i] = f.load_keys;
        table_answer_newest(&f, &t);
        assert_admin_done(&x, STATUS_OK);
    }
    assert_int_equal(chosen[0], chosen[1]);
    assert_true(chosen[0] > 0 && chosen[0] < 40);
    fixture_deinit(&f);
}

static void steps_of_a_walk_see_every_key_once(void **state)
{
    (void)state;
    struct fixture f;
    struct admin_ask x;
    char key[TEXT_MAX];
    enum { N = 5000 };
    fixture_init(&f, 0, false, true);
    for (int i = 0; i < N; i++) {
        snprintf(key, sizeof key, "k%d", i);
        struct ask a;
        ask_get(&f, &a, key, 1);
        fixture_turn(&f);
        loader_answer(&f, key, "v", 0);
        assert_got(&a, "v");
    }
    uint64_t cursor = 0, looked = 0;
    unsigned steps = 0, loads = 0;
    do {
        ask_admin_init(&x, ADMIN_VERIFY);
        x.a.count = UINT32_MAX; /* cut to 3000 */
        x.a.cursor = cursor;
        ask_admin(&f, &x);
        fixture_turn(&f);
        while (!x.done) {
            assert_true(f.load_keys <= 1000);
            loads++;
            loader_answer(&f, NULL, NULL, 0); /* none of them is there */
        }
        assert_int_equal(x.a.n_differences, x.a.compared);
        assert_int_equal(x.a.looked, x.a.compared);
        looked += x.a.looked;
        cursor = x.a.cursor;
        assert_admin_done(&x, STATUS_OK);
        steps++;
    } while (cursor != 0);
    assert_int_equal(looked, N);
    assert_true(steps > 1 && loads > steps);
    fixture_deinit(&f);
}

static void a_step_ends_early_with_large_values(void **state)
{
    (void)state;
    struct fixture f;
    struct admin_ask x;
    char key[TEXT_MAX];
    enum { N = 100 };
    char *big = malloc(LIMIT_VALUE_BYTES + 1);
    assert_non_null(big);
    memset(big, 'x', LIMIT_VALUE_BYTES);
    big[LIMIT_VALUE_BYTES] = '\0';
    fixture_init(&f, 0, false, true);
    for (int i = 0; i < N; i++) {
        struct ask a;
        snprintf(key, sizeof key, "k%d", i);
        ask_get(&f, &a, key, 1);
        fixture_turn(&f);
        loader_answer(&f, key, big, 0);
        assert_got(&a, big);
    }
    verify_begin(&f, &x);
    assert_true(f.load_keys >= 16 && f.load_keys < 64);
    loader_answer(&f, NULL, NULL, 0);
    assert_int_not_equal(x.a.cursor, 0);
    assert_admin_done(&x, STATUS_OK);
    free(big);
    fixture_deinit(&f);
}

/* ---- What is on its way ---- */

static void dirty_keys_are_counted_and_not_compared(void **state)
{
    (void)state;
    struct fixture f;
    struct table t = {0};
    struct admin_ask x;
    struct ask w;
    fixture_init(&f, 0, false, true);
    store_now(&f, &t, "clean", "v");
    store_now(&f, &t, "pending", "v");
    quarantine_now(&f, "quarantined", "v");
    t.last_batch = group_state(f.group)->last_batch;
    set_now(&f, "in-flight", "v");
    fixture_pass(&f, 100);
    fixture_commit(&f, UINT32_MAX);
    set_now(&f, "queued", "v");
    ask_set(&f, &w, "pending", "w", 1);
    fixture_turn(&f); /* in the log, not applied */
    verify_begin(&f, &x);
    assert_int_equal(f.load_keys, 1);
    table_answer_newest(&f, &t);
    assert_int_equal(x.a.compared, 1);
    assert_int_equal(x.a.dirty, 4);
    assert_int_equal(x.a.n_differences, 0);
    assert_admin_done(&x, STATUS_OK);
    fixture_deinit(&f);
}

/* A clean key, the load under way; then @change happens, and the answer is of before or after it. */
static void write_during_load(struct fixture *f, struct table *t)
{
    (void)t;
    set_now(f, "k", "new");
}

static void write_and_flush_during_load(struct fixture *f, struct table *t)
{
    store_now(f, t, "k", "new");
}

static void commit_without_an_answer_during_load(struct fixture *f, struct table *t)
{
    set_now(f, "k", "new");
    fixture_pass(f, 100);
    fixture_commit(f, UINT32_MAX);
    table_commit(t, &f->sent[0]); /* nobody was told */
}

static void abort_during_load(struct fixture *f, struct table *t)
{
    set_now(f, "k", "new");
    fixture_pass(f, 100);
    fixture_commit(f, UINT32_MAX);
    db_failed(f, FLUSH_ERROR_OUTAGE, "gone");
    fixture_pass(f, 100);
    db_taken(f, t->last_batch);
    fixture_commit(f, UINT32_MAX); /* FlushAbort */
}

static void write_in_the_log_during_load(struct fixture *f, struct table *t)
{
    static struct ask a;
    (void)t;
    ask_set(f, &a, "k", "new", 1);
    fixture_turn(f);
}

static void delete_and_flush_during_load(struct fixture *f, struct table *t)
{
    delete_now(f, "k");
    fixture_pass(f, 100);
    fixture_commit(f, UINT32_MAX);
    table_commit(t, &f->sent[0]);
    settle_batches(f);
}

static void what_happens_during_the_load_is_no_difference(void **state)
{
    (void)state;
    static void (*const changes[])(struct fixture * f, struct table * t) = {write_during_load,
        write_and_flush_during_load, commit_without_an_answer_during_load, abort_during_load,
        write_in_the_log_during_load, delete_and_flush_during_load};
    for (unsigned i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        for (int after = 0; after < 2; after++) {
            struct fixture f;
            struct table t = {0};
            struct admin_ask x;
            fixture_init(&f, 0, false, true);
            store_now(&f, &t, "k", "old");
            verify_begin(&f, &x);
            assert_true(verify_is_loading(&x, &f));
            struct table snapshot = t;
            changes[i](&f, &t);
            table_answer_newest(&f, after ? &t : &snapshot);
            assert_true(x.done);
            assert_int_equal(x.a.n_differences, 0);
            assert_int_equal(x.a.compared, 0);
            assert_admin_done(&x, STATUS_OK);
            fixture_commit(&f, UINT32_MAX);
            fixture_deinit(&f);
        }
    }
}

/* It went away and came back as it was: only its row's version tells that somebody wrote it, and that it was
 * us. */
static void an_absence_that_was_written_and_deleted_during_the_load_is_asked_again(void **state)
{
    (void)state;
    struct fixture f;
    struct table t = {0};
    struct admin_ask x;
    fixture_init(&f, 0, false, true);
    miss_now(&f, &t, "k");
    verify_begin(&f, &x);
    assert_true(verify_is_loading(&x, &f));
    uint64_t token = f.load_token;
    struct buf asked = {0};
    buf_append(&asked, f.load_asked.data, f.load_asked.len);
    store_now(&f, &t, "k", "v");
    struct table snapshot = t;
    delete_and_flush_during_load(&f, &t);
    assert_null(state_find(group_state(f.group), bytes_from_text("k"))); /* nothing is retained */
    miss_now(&f, &t, "k");
    table_answer(&f, &snapshot, token, &asked, 0);
    assert_true(verify_is_loading(&x, &f));
    table_answer_newest(&f, &t);
    assert_int_equal(x.a.compared, 1);
    assert_int_equal(x.a.n_differences, 0);
    assert_admin_done(&x, STATUS_OK);
    buf_deinit(&asked);
    fixture_deinit(&f);
}

static void what_was_read_before_a_rewind_is_read_again(void **state)
{
    (void)state;
    struct fixture f;
    struct table t = {0};
    struct admin_ask x;
    fixture_init(&f, 0, false, true);
    store_now(&f, &t, "k", "v");
    verify_begin(&f, &x);
    struct table snapshot = t;
    Wblog__Rewind rewind = WBLOG__REWIND__INIT;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    entry.command_case = WBLOG__ENTRY__COMMAND_REWIND;
    entry.rewind = &rewind;
    fixture_apply(&f, &entry);
    t = (struct table){0};
    table_answer_newest(&f, &snapshot);
    assert_true(verify_is_loading(&x, &f));
    table_answer_newest(&f, &t);
    assert_int_equal(
        verify_reported(&x, "k"), DIFFERENCE_MISSING); /* nothing was retained: it is lost there */
    assert_admin_done(&x, STATUS_OK);
    fixture_deinit(&f);
}

static void later_rows_are_asked_again(void **state)
{
    (void)state;
    struct fixture f;
    struct table t = {0};
    struct admin_ask x;
    char key[TEXT_MAX];
    fixture_init(&f, 0, false, true);
    for (int i = 0; i < 8; i++) {
        snprintf(key, sizeof key, "k%d", i);
        store_now(&f, &t, key, "v");
    }
    row_delete(&t, bytes_from_text("k3"));
    verify_begin(&f, &x);
    unsigned loads = f.loads;
    while (!x.done) {
        table_answer(&f, &t, f.load_token, &f.load_asked, 2);
    }
    assert_int_equal(f.loads, loads + 3); /* 8, 4, 2, 1 keys */
    assert_int_equal(x.a.compared, 8);
    assert_int_equal(x.a.n_differences, 1);
    assert_int_equal(verify_reported(&x, "k3"), DIFFERENCE_MISSING);
    assert_admin_done(&x, STATUS_OK);
    fixture_deinit(&f);
}

static void a_key_that_is_written_before_it_is_asked_again_is_not(void **state)
{
    (void)state;
    struct fixture f;
    struct table t = {0};
    struct admin_ask x;
    fixture_init(&f, 0, false, true);
    store_now(&f, &t, "k", "v");
    verify_begin(&f, &x);
    set_now(&f, "k", "new");
    fixture_pass(&f, 100);
    fixture_commit(&f, UINT32_MAX); /* in a batch, which could commit after the next load has looked */
    unsigned loads = f.loads;
    table_answer(&f, &t, f.load_token, &f.load_asked, 1);
    assert_int_equal(f.loads, loads);
    assert_int_equal(x.a.dirty, 1);
    assert_int_equal(x.a.compared, 0);
    assert_admin_done(&x, STATUS_OK);

    store_now(&f, &t, "other", "v");
    verify_begin(&f, &x);
    struct ask w;
    ask_set(&f, &w, "k", "newer", 1); /* while it is answered later */
    table_answer(&f, &t, f.load_token, &f.load_asked, 1);
    assert_int_equal(f.load_keys, 1);
    fixture_commit(&f, UINT32_MAX);
    table_answer_newest(&f, &t);
    assert_int_equal(x.a.n_differences, 0);
    assert_int_equal(x.a.compared, 1);
    assert_admin_done(&x, STATUS_OK);
    fixture_deinit(&f);
}

static void a_stale_copy_is_not_compared(void **state)
{
    (void)state;
    struct fixture f;
    struct table t = {0};
    struct admin_ask x;
    struct bytes key = bytes_from_text("k");
    fixture_init(&f, 0, false, true);
    retain(&f, 60000, 1 << 20);
    store_now(&f, &t, "k", "v");
    group_forget_clean(f.group, key); /* it is retained, so it stays, but it says nothing */
    assert_non_null(state_find(group_state(f.group), key));
    unsigned loads = f.loads;
    verify_begin(&f, &x);
    assert_int_equal(f.loads, loads);
    assert_int_equal(x.a.looked, 1);
    assert_admin_done(&x, STATUS_OK);
    ask_key_status(&f, &x, &key, 1);
    fixture_turn(&f);
    assert_false(x.a.results[0].in_memory);
    assert_admin_done(&x, STATUS_OK);
    fixture_deinit(&f);
}

static void a_key_that_is_forgotten_during_the_load_is_not_compared(void **state)
{
    (void)state;
    struct fixture f;
    struct table t = {0}, nothing;
    struct admin_ask x;
    fixture_init(&f, 0, false, true);
    store_now(&f, &t, "k", "v");
    verify_begin(&f, &x);
    group_evict(f.group, UINT64_MAX);
    nothing = (struct table){.last_batch = t.last_batch};
    table_answer_newest(&f, &nothing);
    assert_int_equal(x.a.looked, 1);
    assert_int_equal(x.a.compared, 0);
    assert_int_equal(x.a.n_differences, 0);
    assert_admin_done(&x, STATUS_OK);
    fixture_deinit(&f);
}

/* ---- A database that tells nothing ---- */

static void a_standby_a_missing_fence_or_one_behind_ends_the_step(void **state)
{
    (void)state;
    const struct load_result results[] = {
        {.in_recovery = true, .fence_found = true, .last_batch = UINT64_MAX}, {.fence_found = false},
        {.fence_found = true, .last_batch = 1}};
    for (unsigned i = 0; i < 3; i++) {
        struct fixture f;
        struct table t = {0};
        struct admin_ask x;
        fixture_init(&f, 0, false, true);
        store_now(&f, &t, "k", "v");
        verify_begin(&f, &x);
        unsigned disconnects = f.disconnects;
        group_loader_events.loaded(f.group, f.load_token, &results[i]);
        fixture_turn(&f);
        assert_true(x.had_message);
        assert_int_equal(x.a.n_differences, 0);
        assert_admin_done(&x, STATUS_DATABASE_DOWN);
        assert_int_equal(f.disconnects, disconnects + (i == 0 ? 0 : 1)); /* the fence is taken anew */
        fixture_deinit(&f);
    }
}

static void a_load_that_fails_ends_the_step_with_its_words(void **state)
{
    (void)state;
    struct fixture f;
    struct table t = {0};
    struct admin_ask x;
    fixture_init(&f, 0, false, true);
    store_now(&f, &t, "k", "v");
    verify_begin(&f, &x);
    loader_fail(&f, "no route");
    assert_true(x.had_message);
    assert_admin_done(&x, STATUS_DATABASE_DOWN);
    fixture_deinit(&f);
}

static void after_its_deadline_or_its_office_an_answer_finds_nobody(void **state)
{
    (void)state;
    for (int office = 0; office < 2; office++) {
        struct fixture f;
        struct table t = {0};
        struct admin_ask x;
        fixture_init(&f, 0, false, true);
        store_now(&f, &t, "k", "v");
        verify_begin(&f, &x);
        assert_true(verify_is_loading(&x, &f));
        if (office) {
            fixture_depose(&f);
        } else {
            fixture_pass(&f, 10000);
        }
        assert_admin_done(&x, office ? STATUS_NOT_LEADER : STATUS_TIMEOUT);
        if (office) {
            fixture_elect(&f, 2, t.last_batch);
        }
        t.n = 0;
        table_answer_newest(&f, &t);
        group_loader_events.load_failed(
            f.group, f.load_token, &(struct flush_error){.class = FLUSH_ERROR_OUTAGE});
        fixture_deinit(&f);
    }
}

/* Another leader may have written the row since: what was found is told only under the lease. */
static void what_was_found_without_a_lease_waits_for_a_barrier(void **state)
{
    (void)state;
    for (int deposed = 0; deposed < 2; deposed++) {
        struct fixture f;
        struct table t = {0};
        struct admin_ask x;
        fixture_init(&f, 0, false, true);
        store_now(&f, &t, "k", "v");
        verify_begin(&f, &x);
        f.lease = false;
        row_find(&t, bytes_from_text("k"))->version++;
        table_answer_newest(&f, &t);
        assert_false(x.done);
        assert_int_equal(f.barriers, 1);
        if (deposed) {
            fixture_depose(&f);
            assert_admin_done(&x, STATUS_NOT_LEADER);
        } else {
            group_on_barrier(f.group, f.barrier_token);
            fixture_turn(&f);
            assert_int_equal(verify_reported(&x, "k"), DIFFERENCE_CHANGED);
            assert_admin_done(&x, STATUS_OK);
        }
        fixture_deinit(&f);
    }
}

static void only_so_many_compare_at_once(void **state)
{
    (void)state;
    struct fixture f;
    struct table t = {0};
    struct admin_ask x[ADMIN_VERIFY_MAX + 1];
    fixture_init(&f, 0, false, true);
    store_now(&f, &t, "k", "v");
    for (int i = 0; i <= ADMIN_VERIFY_MAX; i++) {
        verify_begin(&f, &x[i]);
    }
    assert_admin_done(&x[ADMIN_VERIFY_MAX], STATUS_UNAVAILABLE);
    for (int i = ADMIN_VERIFY_MAX - 1; i >= 0; i--) { /* in any order */
        table_answer(&f, &t, x[i].a.token, &f.load_asked, 0);
        assert_int_equal(x[i].a.compared, 1);
        assert_admin_done(&x[i], STATUS_OK);
    }
    verify_begin(&f, &x[0]);
    table_answer_newest(&f, &t);
    assert_admin_done(&x[0], STATUS_OK);
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_equal_is_not_reported),
        cmocka_unit_test(each_kind_of_difference_is_found),
        cmocka_unit_test(what_is_over_on_both_sides_is_equal),
        cmocka_unit_test(prefix_and_sample_choose_what_is_compared),
        cmocka_unit_test(steps_of_a_walk_see_every_key_once),
        cmocka_unit_test(a_step_ends_early_with_large_values),
        cmocka_unit_test(dirty_keys_are_counted_and_not_compared),
        cmocka_unit_test(what_happens_during_the_load_is_no_difference),
        cmocka_unit_test(an_absence_that_was_written_and_deleted_during_the_load_is_asked_again),
        cmocka_unit_test(what_was_read_before_a_rewind_is_read_again),
        cmocka_unit_test(later_rows_are_asked_again),
        cmocka_unit_test(a_key_that_is_written_before_it_is_asked_again_is_not),
        cmocka_unit_test(a_stale_copy_is_not_compared),
        cmocka_unit_test(a_key_that_is_forgotten_during_the_load_is_not_compared),
        cmocka_unit_test(a_standby_a_missing_fence_or_one_behind_ends_the_step),
        cmocka_unit_test(a_load_that_fails_ends_the_step_with_its_words),
        cmocka_unit_test(after_its_deadline_or_its_office_an_answer_finds_nobody),
        cmocka_unit_test(what_was_found_without_a_lease_waits_for_a_barrier),
        cmocka_unit_test(only_so_many_compare_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
