/* Operators' commands: when they are answered, and what of them is in the log when something goes wrong in
 * the middle. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/group_admin_test_help.h"

/* ---- Giving up what is in quarantine ---- */

static void a_drop_is_answered_when_it_has_applied_with_how_many_had_an_effect(void **state)
{
    (void)state;
    struct fixture f;
    struct admin_ask x;
    struct ask w;
    fixture_init(&f, 0, false, true);
    quarantine_now(&f, "a", "v");
    quarantine_now(&f, "b", "v");
    ask_set(&f, &w, "b", "newer", 1); /* before the drop in the log */
    fixture_turn(&f);
    struct bytes keys[] = {bytes_from_text("a"), bytes_from_text("healthy"), bytes_from_text("b")};
    ask_quarantine(&f, &x, ADMIN_QUARANTINE_DROP, keys, 3);
    fixture_turn(&f);
    assert_false(x.done);
    assert_int_equal(fixture_commit(&f, 2), 2);
    assert_false(x.done);
    assert_int_equal(fixture_commit(&f, 1), 1);
    assert_true(x.done);
    assert_int_equal(x.a.total, 1); /* what was written since is not given up */
    assert_admin_done(&x, STATUS_OK);
    assert_false(key_status_of(&f, "a").in_memory);
    assert_true(key_status_of(&f, "b").quarantined);
    struct bytes healthy = bytes_from_text("healthy");
    ask_quarantine(&f, &x, ADMIN_QUARANTINE_DROP, &healthy, 1);
    fixture_turn(&f); /* nothing to be logged */
    assert_int_equal(x.a.total, 0);
    assert_admin_done(&x, STATUS_OK);
    fixture_deinit(&f);
}

static void a_drop_names_its_keys(void **state)
{
    (void)state;
    struct fixture f;
    struct admin_ask x;
    struct bytes keys[ADMIN_DROP_KEYS_MAX + 1];
    fixture_init(&f, 0, false, true);
    for (unsigned i = 0; i < ADMIN_DROP_KEYS_MAX + 1; i++) {
        keys[i] = bytes_from_text("k");
    }
    ask_quarantine(&f, &x, ADMIN_QUARANTINE_DROP, keys, 0);
    fixture_turn(&f);
    assert_admin_done(&x, STATUS_INVALID);
    ask_quarantine(&f, &x, ADMIN_QUARANTINE_DROP, keys, ADMIN_DROP_KEYS_MAX + 1);
    fixture_turn(&f);
    assert_admin_done(&x, STATUS_INVALID);
    ask_quarantine(&f, &x, ADMIN_QUARANTINE_DROP, keys, ADMIN_DROP_KEYS_MAX);
    fixture_turn(&f);
    assert_admin_done(&x, STATUS_OK);
    fixture_deinit(&f);
}

enum { MANY = 20 };

/* A drop of MANY keys, which goes to the log in parts. */
static void drop_many(struct fixture *f, struct admin_ask *x, char names[MANY][16], struct bytes keys[MANY])
{
    for (int i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "q%02d", i);
        keys[i] = bytes_from_text(names[i]);
        quarantine_now(f, names[i], "v");
    }
    ask_quarantine(f, x, ADMIN_QUARANTINE_DROP, keys, MANY);
}

static void a_long_drop_leaves_room_in_the_log(void **state)
{
    (void)state;
    struct fixture f;
    struct admin_ask x;
    char names[MANY][16];
    struct bytes keys[MANY];
    fixture_init(&f, 0, false, true);
    drop_many(&f, &x, names, keys);
    uint64_t before = f.last_index;
    fixture_turn(&f);
    assert_true(f.last_index - before <= 8);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(x.a.total, MANY);
    assert_admin_done(&x, STATUS_OK);
    assert_int_equal(group_state(f.group)->quarantined, 0);
    fixture_deinit(&f);
}

static void the_end_of_the_office_in_the_middle_of_a_drop_is_answered_once_as_unknown(void **state)
{
    (void)state;
    /* after so many applied entries: in the log, between two parts, nearly at the end */
    static const unsigned moments[] = {0, 1, 7, 8, 9, 16, 19};
    for (unsigned i = 0; i < sizeof moments / sizeof moments[0]; i++) {
        struct fixture f;
        struct admin_ask x;
        char names[MANY][16];
        struct bytes keys[MANY];
        fixture_init(&f, 0, false, true);
        drop_many(&f, &x, names, keys);
        fixture_turn(&f);
        fixture_commit(&f, moments[i]);
        assert_false(x.done);
        fixture_depose(&f);
        assert_admin_done(&x, STATUS_UNKNOWN);
        fixture_commit(&f, UINT32_MAX); /* what was in the log applies all the same, and tells nobody */
        fixture_deinit(&f);
    }
}

static void a_command_that_the_log_refuses_was_not_done(void **state)
{
    (void)state;
    struct fixture f;
    struct admin_ask x;
    fixture_init(&f, 0, false, true);
    quarantine_now(&f, "a", "v");
    f.propose_status = STATUS_NOT_LEADER;
    struct bytes key = bytes_from_text("a");
    ask_quarantine(&f, &x, ADMIN_QUARANTINE_DROP, &key, 1);
    fixture_turn(&f);
    assert_admin_done(&x, STATUS_NOT_LEADER);
    f.propose_status = STATUS_NO_SPACE; /* an operator's command goes on, as it may be what helps */
    ask_quarantine(&f, &x, ADMIN_QUARANTINE_DROP, &key, 1);
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(x.a.total, 1);
    assert_admin_done(&x, STATUS_OK);
    fixture_deinit(&f);
}

static void a_drop_whose_second_part_is_refused_is_unknown(void **state)
{
    (void)state;
    struct fixture f;
    struct admin_ask x;
    char names[MANY][16];
    struct bytes keys[MANY];
    fixture_init(&f, 0, false, true);
    drop_many(&f, &x, names, keys);
    fixture_turn(&f);
    f.propose_status = STATUS_NOT_LEADER;
    fixture_commit(&f, UINT32_MAX);
    assert_admin_done(&x, STATUS_UNKNOWN);
    fixture_deinit(&f);
}

/* ---- How the group flushes ---- */

static void settings_are_merged_answered_after_the_apply_and_reset(void **state)
{
    (void)state;
    struct fixture f;
    struct admin_ask x;
    fixture_init(&f, 0, false, true);
    ask_admin_init(&x, ADMIN_CONTROL);
    ask_admin(&f, &x);
    fixture_turn(&f);
    assert_int_equal(x.a.settings.batch_rows, 10);
    assert_int_equal(x.a.settings.age_ms, 100);
    assert_false(x.a.now.has_batch_rows || x.a.now.has_age_ms || x.a.now.paused);
    assert_admin_done(&x, STATUS_OK);

    ask_admin_init(&x, ADMIN_CONTROL);
    x.a.set = true;
    x.a.control = (struct state_control){
        .has_batch_rows = true, .batch_rows = 77, .has_rows_per_second = true, .rows_per_second = 5000};
    ask_admin(&f, &x);
    fixture_turn(&f);
    assert_false(x.done);
    fixture_commit(&f, 1);
    assert_true(x.done);
    assert_int_equal(x.a.settings.batch_rows, 77);
    assert_int_equal(x.a.settings.batch_bytes, 1 << 20);
    assert_int_equal(x.a.rows_per_second, 5000);
    assert_true(x.a.now.has_batch_rows && x.a.now.has_rows_per_second && !x.a.now.has_batch_bytes);
    assert_admin_done(&x, STATUS_OK);

    ask_admin_init(&x, ADMIN_CONTROL);
    x.a.set = x.a.has_paused = true;
    x.a.control = (struct state_control){
        .paused = true, .has_age_ms = true, .age_ms = 0, .has_batch_bytes = true, .batch_bytes = 1024};
    ask_admin(&f, &x);
    fixture_turn(&f);
    fixture_commit(&f, 1);
    assert_int_equal(x.a.settings.batch_rows, 77);
    assert_int_equal(x.a.settings.batch_bytes, 1024);
    assert_int_equal(x.a.settings.age_ms, 0);
    assert_true(x.a.now.paused);
    assert_admin_done(&x, STATUS_OK);

    ask_admin_init(&x, ADMIN_CONTROL);
    x.a.reset = x.a.set = true;
    x.a.control = (struct state_control){.has_age_ms = true, .age_ms = 7};
    ask_admin(&f, &x);
    fixture_turn(&f);
    fixture_commit(&f, 1);
    assert_int_equal(x.a.settings.batch_rows, 10);
    assert_int_equal(x.a.settings.age_ms, 7);
    assert_false(x.a.now.paused || x.a.now.has_batch_bytes || x.a.now.has_rows_per_second);
    assert_admin_done(&x, STATUS_OK);
    fixture_deinit(&f);
}

static void two_controls_at_once_do_not_undo_each_other(void **state)
{
    (void)state;
    struct fixture f;
    struct admin_ask pause, rows, age;
    fixture_init(&f, 0, false, true);
    ask_pause(&f, &pause, true);
    ask_admin_init(&rows, ADMIN_CONTROL);
    rows.a.set = true;
    rows.a.control = (struct state_control){.has_batch_rows = true, .batch_rows = 3};
    ask_admin(&f, &rows);
    fixture_turn(&f);
    ask_admin_init(&age, ADMIN_CONTROL);
    age.a.set = true;
    age.a.control = (struct state_control){.has_age_ms = true, .age_ms = 9};
    ask_admin(&f, &age);
    fixture_turn(&f);
    pause.r.deadline_ms = f.now_ms; /* nobody waits for it any more, but it is in the log */
    fixture_pass(&f, 25);
    assert_admin_done(&pause, STATUS_UNKNOWN);
    fixture_commit(&f, UINT32_MAX);
    assert_admin_done(&rows, STATUS_OK);
    assert_admin_done(&age, STATUS_OK);
    const struct state_control *c = &group_state(f.group)->control;
    assert_true(c->paused && c->has_batch_rows && c->has_age_ms);
    fixture_deinit(&f);
}

static void a_control_of_a_lost_office_blocks_nobody(void **state)
{
    (void)state;
    struct fixture f;
    struct admin_ask lost, x;
    fixture_init(&f, 0, false, true);
    ask_pause(&f, &lost, true);
    fixture_turn(&f);
    fixture_depose(&f);
    assert_admin_done(&lost, STATUS_UNKNOWN);
    fixture_forget_log(&f); /* overwritten by another leader */
    fixture_elect(&f, 3, 0);
    ask_admin_init(&x, ADMIN_CONTROL);
    x.a.reset = true;
    ask_admin(&f, &x);
    fixture_turn(&f);
    fixture_commit(&f, 1);
    assert_admin_done(&x, STATUS_OK);
    fixture_deinit(&f);
}

static void the_bounds_of_settings_are_those_that_are_said(void **state)
{
    (void)state;
    const struct {
        struct state_control c;
        bool good;
    } rows[] = {
        {{.has_batch_rows = true, .batch_rows = 0}, false}, {{.has_batch_rows = true, .batch_rows = 1}, true},
        {{.has_batch_rows = true, .batch_rows = 65535}, true},
        {{.has_batch_rows = true, .batch_rows = 65536}, false},
        {{.has_batch_bytes = true, .batch_bytes = 1023}, false},
        {{.has_batch_bytes = true, .batch_bytes = 1024}, true},
        {{.has_batch_bytes = true, .batch_bytes = 64 << 20}, true},
        {{.has_batch_bytes = true, .batch_bytes = (64 << 20) + 1}, false},
        {{.has_batch_bytes = true, .batch_bytes = UINT64_MAX}, false},
        {{.has_age_ms = true, .age_ms = 0}, true}, {{.has_age_ms = true, .age_ms = 3600000}, true},
        {{.has_age_ms = true, .age_ms = 3600001}, false},
        {{.has_rows_per_second = true, .rows_per_second = 0}, true},
        {{.has_rows_per_second = true, .rows_per_second = UINT32_MAX}, true},
        {{.batch_rows = 0, .batch_bytes = 0, .age_ms = UINT32_MAX}, true}, /* none of them is given */
    };
    struct fixture f;
    fixture_init(&f, 0, false, true);
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct admin_ask x;
        ask_admin_init(&x, ADMIN_CONTROL);
        x.a.set = true;
        x.a.control = rows[i].c;
        ask_admin(&f, &x);
        fixture_turn(&f);
        assert_int_equal(x.done, !rows[i].good);
        fixture_commit(&f, UINT32_MAX);
        if (!rows[i].good) {
            assert_true(x.had_message);
        }
        assert_admin_done(&x, rows[i].good ? STATUS_OK : STATUS_INVALID);
    }
    fixture_deinit(&f);
}

/* The database goes back to before everything, and memory has nothing of it any more. */
static void lose(struct fixture *f, const char *key)
{
    set_now(f, key, "v");
    flush_now(f);
    fixture_depose(f);
    Wblog__Rewind rewind = WBLOG__REWIND__INIT;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    entry.command_case = WBLOG__ENTRY__COMMAND_REWIND;
    entry.rewind = &rewind;
    fixture_apply(f, &entry);
    assert_true(group_state(f->group)->lost > 0);
    fixture_elect(f, 2, 0);
}

static void a_loss_is_acknowledged_with_its_count(void **state)
{
    (void)state;
    struct fixture f;
    struct admin_ask x;
    fixture_init(&f, 0, false, true);
    ask_admin_init(&x, ADMIN_CONTROL);
    x.a.acknowledge_loss = true;
    ask_admin(&f, &x);
    fixture_turn(&f); /* there is none: nothing is logged */
    assert_int_equal(x.a.acknowledged, 0);
    assert_admin_done(&x, STATUS_OK);
    retain(&f, 0, 0);
    lose(&f, "k");
    ask_admin_init(&x, ADMIN_CONTROL);
    x.a.acknowledge_loss = x.a.set = x.a.has_paused = true;
    x.a.control.paused = true;
    ask_admin(&f, &x);
    fixture_turn(&f);
    assert_int_equal(fixture_commit(&f, 1), 1);
    assert_false(x.done);
    assert_int_equal(fixture_commit(&f, 1), 1);
    assert_int_equal(x.a.acknowledged, 1);
    assert_true(x.a.now.paused);
    assert_admin_done(&x, STATUS_OK);
    assert_int_equal(group_state(f.group)->lost, 0);
    fixture_deinit(&f);
}

/* ---- Forgetting ---- */

static void what_is_forgotten_leaves_memory_unless_it_is_dirty_or_has_another_version(void **state)
{
    (void)state;
    struct fixture f;
    struct admin_ask x;
    fixture_init(&f, 0, false, true);
    retain(&f, 60000, 1 << 20);
    set_now(&f, "clean", "v");
    set_now(&f, "other", "v");
    flush_now(&f);
    set_now(&f, "dirty", "v");
    struct bytes keys[] = {bytes_from_text("clean"), bytes_from_text("other"), bytes_from_text("dirty")};
    uint64_t versions[] = {key_status_of(&f, "clean").version, 5, key_status_of(&f, "dirty").version};
    ask_forget(&f, &x, keys, versions, 3);
    fixture_turn(&f);
    assert_false(x.done);
    fixture_commit(&f, 1);
    assert_admin_done(&x, STATUS_OK);
    assert_false(key_status_of(&f, "clean").in_memory);
    assert_true(key_status_of(&f, "other").in_memory);
    assert_true(key_status_of(&f, "dirty").in_memory);
    ask_forget(&f, &x, NULL, NULL, 0);
    fixture_turn(&f);
    assert_admin_done(&x, STATUS_OK);
    fixture_deinit(&f);
}

static void many_keys_are_forgotten_in_several_entries(void **state)
{
    (void)state;
    enum { N = LIMIT_REQUEST_KEYS };
    struct fixture f;
    struct admin_ask x;
    char *names = calloc(N, LIMIT_KEY_BYTES);
    struct bytes *keys = calloc(N, sizeof *keys);
    uint64_t *versions = calloc(N, sizeof *versions);
    assert_true(names != NULL && keys != NULL && versions != NULL);
    fixture_init(&f, 0, false, true);
    for (int i = 0; i < N; i++) {
        char *name = names + (size_t)i * LIMIT_KEY_BYTES;
        memset(name, 'x', LIMIT_KEY_BYTES);
        snprintf(name, 16, "%06d", i);
        keys[i] = bytes_of(name, LIMIT_KEY_BYTES);
    }
    ask_forget(&f, &x, keys, versions, N);
    fixture_turn(&f);
    uint64_t first = f.last_index;
    list_for_each (it, next, &f.log) {
        assert_true(list_entry(it, struct logged, link)->raw.len < LIMIT_ENTRY_BYTES);
    }
    fixture_commit(&f, UINT32_MAX);
    assert_true(f.last_index > first); /* not all at once */
    assert_admin_done(&x, STATUS_OK);
    free(names);
    free(keys);
    free(versions);
    fixture_deinit(&f);
}

/* ---- Anything ---- */

static uint64_t some_number(uint32_t *seed)
{
    static const uint64_t edges[] = {0, 1, 2, 16, 999, 1000, 1001, 3000, 65535, 65536, UINT32_MAX, UINT64_MAX,
        UINT64_C(1) << 63, (UINT64_C(1) << 32) - 3};
    *seed = *seed * 1664525 + 1013904223;
    return edges[(*seed >> 8) % (sizeof edges / sizeof edges[0])];
}

static void any_arguments_are_answered_once(void **state)
{
    (void)state;
    uint32_t seed = 20240501;
    print_message("seed %u\n", seed);
    struct fixture f;
    char names[MANY][16];
    struct bytes keys[MANY + 2];
    uint64_t versions[MANY + 2];
    fixture_init(&f, 0, false, true);
    for (int i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "k%02d", i);
        keys[i] = bytes_from_text(names[i]);
        if (i < MANY / 2) {
            quarantine_now(&f, names[i], "v");
        } else {
            set_now(&f, names[i], "v");
        }
    }
    keys[MANY] = bytes_of(NULL, 0);
    keys[MANY + 1] = bytes_from_text("nothing");
    for (int round = 0; round < 2000; round++) {
        struct admin_ask x;
        ask_admin_init(&x, (enum group_admin_kind)(some_number(&seed) % (ADMIN_FORGET + 1)));
        for (int i = 0; i < MANY + 2; i++) {
            versions[i] = some_number(&seed);
        }
        x.a.keys = keys;
        x.a.versions = versions;
        x.a.n = (uint32_t)(some_number(&seed) % (MANY + 3));
        x.a.skip = (uint32_t)some_number(&seed);
        x.a.count = (uint32_t)some_number(&seed);
        x.a.values = some_number(&seed) % 2;
        x.a.set = some_number(&seed) % 2;
        x.a.reset = some_number(&seed) % 2;
        x.a.acknowledge_loss = some_number(&seed) % 2;
        x.a.has_paused = some_number(&seed) % 2;
        x.a.control = (struct state_control){.paused = some_number(&seed) % 2,
            .has_age_ms = some_number(&seed) % 2,
            .age_ms = (uint32_t)some_number(&seed),
            .has_batch_rows = some_number(&seed) % 2,
            .batch_rows = (uint32_t)some_number(&seed),
            .has_batch_bytes = some_number(&seed) % 2,
            .batch_bytes = some_number(&seed),
            .has_rows_per_second = some_number(&seed) % 2,
            .rows_per_second = (uint32_t)some_number(&seed)};
        x.a.cursor = some_number(&seed);
        x.a.prefix = keys[some_number(&seed) % (MANY + 2)];
        x.a.one_in = (uint32_t)some_number(&seed);
        ask_admin(&f, &x);
        fixture_pass(&f, 1);
        fixture_commit(&f, UINT32_MAX);
        if (!x.done && some_number(&seed) % 2 == 0) {
            loader_answer(&f, NULL, NULL, group_state(f.group)->last_batch);
        } else if (!x.done) {
            loader_fail(&f, "away");
        }
        if (f.noting) {
            db_noted(&f);
        }
        settle_batches(&f);
        assert_true(x.done);
        assert_true(
            x.r.status == STATUS_OK || x.r.status == STATUS_INVALID || x.r.status == STATUS_DATABASE_DOWN);
        group_admin_deinit(&x.a);
    }
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_drop_is_answered_when_it_has_applied_with_how_many_had_an_effect),
        cmocka_unit_test(a_drop_names_its_keys),
        cmocka_unit_test(a_long_drop_leaves_room_in_the_log),
        cmocka_unit_test(the_end_of_the_office_in_the_middle_of_a_drop_is_answered_once_as_unknown),
        cmocka_unit_test(a_command_that_the_log_refuses_was_not_done),
        cmocka_unit_test(a_drop_whose_second_part_is_refused_is_unknown),
        cmocka_unit_test(settings_are_merged_answered_after_the_apply_and_reset),
        cmocka_unit_test(two_controls_at_once_do_not_undo_each_other),
        cmocka_unit_test(a_control_of_a_lost_office_blocks_nobody),
        cmocka_unit_test(the_bounds_of_settings_are_those_that_are_said),
        cmocka_unit_test(a_loss_is_acknowledged_with_its_count),
        cmocka_unit_test(what_is_forgotten_leaves_memory_unless_it_is_dirty_or_has_another_version),
        cmocka_unit_test(many_keys_are_forgotten_in_several_entries),
        cmocka_unit_test(any_arguments_are_answered_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
