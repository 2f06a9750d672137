/* What is checked of transactions: each check passes on a true story and fails on its lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "cluster-tests/sim/sim_history.h"
#include "proto/fields.h"
#include "proto/log_entry.h"
#include "proto/pb.h"

/* The kinds of the keys that the tests use. */
#define PLAIN "key0"
#define LIST  "key3"
#define LEFT  "key4{pair2}"
#define RIGHT "key5{pair2}"
#define HASH  "key6"
enum { PLAIN_KEY, LIST_KEY = 3, LEFT_KEY, RIGHT_KEY, HASH_KEY, N_KEYS, WRITES_MAX = 4 };

/* One group with a replica whose state follows what the test applies. */
struct story {
    struct sim_history history;
    struct state state;
};

struct written {
    const char *key, *value; /* NULL deletes */
};

static void begin(struct story *s)
{
    *s = (struct story){0};
    sim_history_init(&s->history, N_KEYS, 1);
    state_init(&s->state, 1);
    assert_int_equal(s->history.keys[LEFT_KEY].kind, SIM_PURSE);
    assert_string_equal(s->history.keys[RIGHT_KEY].name, RIGHT);
    assert_int_equal(s->history.keys[HASH_KEY].kind, SIM_HASH);
    for (unsigned i = 0; i < 9; i++) {
        sim_history_serial(&s->history);
    }
}

static void end(struct story *s)
{
    state_deinit(&s->state);
    sim_history_deinit(&s->history);
}

static void assert_fails_with(struct story *s, const char *part)
{
    assert_true(s->history.failed);
    assert_non_null(strstr(s->history.failure, part));
    end(s);
}

static void assert_passes(struct story *s)
{
    if (s->history.failed) {
        print_error("%s\n", s->history.failure);
    }
    assert_false(s->history.failed);
    end(s);
}

static void apply_bytes(struct story *s, uint64_t index, uint8_t type, const struct bytes *keys,
    const struct bytes *values, unsigned n)
{
    Wblog__Write writes[WRITES_MAX], *list[WRITES_MAX];
    struct buf raw;
    state_apply_begin(&s->state, index, index);
    for (unsigned i = 0; i < n; i++) {
        wblog__write__init(&writes[i]);
        writes[i].key = pb_borrow(keys[i]);
        writes[i].has_value = values[i].data != NULL;
        writes[i].value = pb_borrow(values[i]);
        writes[i].has_type = true;
        writes[i].type = type;
        list[i] = &writes[i];
        state_apply_write(
            &s->state, i, keys[i], type, values[i].data == NULL ? NULL : value_create(values[i]), 0);
    }
    Wblog__Writes all = WBLOG__WRITES__INIT;
    all.n_writes = n;
    all.writes = list;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    entry.command_case = WBLOG__ENTRY__COMMAND_WRITES;
    entry.writes = &all;
    entry.stamp_ms = index;
    buf_init(&raw);
    log_entry_encode(&entry, &raw);
    sim_history_applied(&s->history, 0, index, buf_bytes(&raw), &s->state);
    buf_deinit(&raw);
}

/* The entry at @index has these writes, up to the one without a key. */
static void apply(struct story *s, uint64_t index, const struct written *writes)
{
    struct bytes keys[WRITES_MAX], values[WRITES_MAX];
    unsigned n = 0;
    for (; writes[n].key != NULL; n++) {
        keys[n] = bytes_from_text(writes[n].key);
        values[n] = writes[n].value == NULL ? bytes_of(NULL, 0) : bytes_from_text(writes[n].value);
    }
    apply_bytes(s, index, VALUE_STRING, keys, values, n);
}

/* A hash with one or two fields (the second may be NULL). */
static void apply_hash(struct story *s, uint64_t index, const char *one, const char *two)
{
    struct bytes key = bytes_from_text(HASH), value;
    struct buf fields;
    buf_init(&fields);
    fields_begin(&fields);
    fields_add(&fields, bytes_from_text("one"), bytes_from_text(one));
    if (two != NULL) {
        fields_add(&fields, bytes_from_text("two"), bytes_from_text(two));
    }
    fields_end(&fields, two == NULL ? 1 : 2);
    value = buf_bytes(&fields);
    apply_bytes(s, index, VALUE_HASH, &key, &value, 1);
    buf_deinit(&fields);
}

/* ---- The log ---- */

static void moves_between_purses_pass(void **state)
{
    struct story s;
    begin(&s);
    apply(&s, 2, (struct written[]){{LEFT, "-3/1"}, {RIGHT, "3/2"}, {0}});
    apply(&s, 3, (struct written[]){{LEFT, "-1/3"}, {RIGHT, "1/4"}, {0}});
    assert_passes(&s);
}

static void half_a_move_is_caught(void **state)
{
    struct story s;
    begin(&s);
    apply(&s, 2, (struct written[]){{LEFT, "-3/1"}, {RIGHT, "3/2"}, {0}});
    apply(&s, 3, (struct written[]){{LEFT, "-1/3"}, {0}});
    assert_fails_with(&s, "half of a transaction");
}

/* Also when the halves of two moves add up to nothing. */
static void halves_of_two_moves_are_caught(void **state)
{
    struct story s;
    begin(&s);
    apply(&s, 2, (struct written[]){{LEFT, "-3/1"}, {RIGHT, "3/4"}, {0}});
    assert_fails_with(&s, "half of a transaction");
}

static void a_list_to_which_several_texts_came_at_once_passes(void **state)
{
    struct story s;
    begin(&s);
    apply(&s, 2, (struct written[]){{LIST, "1;"}, {0}});
    apply(&s, 3, (struct written[]){{LIST, "1;3;2;"}, {0}});
    assert_passes(&s);
}

static void fields_that_are_set_one_after_the_other_pass(void **state)
{
    struct story s;
    begin(&s);
    apply_hash(&s, 2, "value-1", NULL);
    apply_hash(&s, 3, "value-1", "value-2");
    apply_hash(&s, 4, "value-3", "value-2");
    assert_passes(&s);
}

static void a_field_that_goes_back_is_caught(void **state)
{
    struct story s;
    begin(&s);
    apply_hash(&s, 2, "value-1", NULL);
    apply_hash(&s, 3, "value-2", NULL);
    apply_hash(&s, 4, "value-1", NULL);
    assert_fails_with(&s, "executed twice");
}

static void a_field_that_is_lost_is_caught(void **state)
{
    struct story s;
    begin(&s);
    apply_hash(&s, 2, "value-1", "value-2");
    apply_hash(&s, 3, "value-3", NULL);
    assert_fails_with(&s, "a field is gone");
}

/* ---- Answers ---- */

static void told_written(struct story *s, uint64_t index, uint64_t serial, const char *value)
{
    sim_history_transacted(&s->history, PLAIN_KEY, index, serial, bytes_from_text(value));
}

/* Another transaction of the entry may have written the key again. */
static void a_write_in_whose_place_is_another_one_passes(void **state)
{
    struct story s;
    begin(&s);
    apply(&s, 2, (struct written[]){{PLAIN, "value-2"}, {0}});
    told_written(&s, 2, 1, "value-1");
    told_written(&s, 2, 2, "value-2");
    assert_passes(&s);
}

static void a_write_that_is_in_no_entry_is_caught(void **state)
{
    struct story s;
    begin(&s);
    apply(&s, 2, (struct written[]){{LEFT, NULL}, {RIGHT, NULL}, {0}});
    s.history.failed = false; /* nobody asked for these deletes */
    told_written(&s, 2, 1, "value-1");
    assert_fails_with(&s, "which does not write it");
}

static void a_write_that_is_in_another_entry_is_caught(void **state)
{
    struct story s;
    begin(&s);
    apply(&s, 2, (struct written[]){{PLAIN, "value-1"}, {0}});
    apply(&s, 3, (struct written[]){{PLAIN, "value-2"}, {0}});
    told_written(&s, 3, 1, "value-1");
    assert_fails_with(&s, "but its value is in that at 2");
}

static void a_watched_key_that_changed_meanwhile_is_caught(void **state)
{
    struct story s;
    begin(&s);
    apply(&s, 2, (struct written[]){{PLAIN, "value-1"}, {0}});
    uint64_t noted = sim_history_newest(&s.history, PLAIN_KEY)->version;
    apply(&s, 3, (struct written[]){{PLAIN, "value-2"}, {0}});
    sim_history_watched(&s.history, PLAIN_KEY, 3, noted);
    assert_false(s.history.failed);
    apply(&s, 4, (struct written[]){{PLAIN, "value-3"}, {0}});
    sim_history_watched(&s.history, PLAIN_KEY, 4, noted);
    assert_fails_with(&s, "that needed it to be of version");
}

static void a_watched_key_that_was_there_after_all_is_caught(void **state)
{
    struct story s;
    begin(&s);
    apply(&s, 2, (struct written[]){{PLAIN, "value-1"}, {0}});
    apply(&s, 3, (struct written[]){{PLAIN, "value-2"}, {0}});
    sim_history_watched(&s.history, PLAIN_KEY, 3, 0);
    assert_fails_with(&s, "that needed it to be of version 0");
}

/* @known is said of what was acknowledged before it was asked for. */
static void look_after(struct story *s, struct sim_before *before)
{
    begin(s);
    apply(s, 2, (struct written[]){{PLAIN, "value-1"}, {0}});
    told_written(s, 2, 1, "value-1");
    apply(s, 3, (struct written[]){{PLAIN, "value-2"}, {0}});
    told_written(s, 3, 2, "value-2");
    *before = sim_history_before(&s->history, PLAIN_KEY);
}

static void a_look_at_what_is_old_is_caught(void **state)
{
    struct story s;
    struct sim_before before;
    look_after(&s, &before);
    uint64_t version = s.history.keys[PLAIN_KEY].records[0].version;
    sim_history_looked(&s.history, PLAIN_KEY, &before, true, true, version, bytes_from_text("value-1"));
    assert_fails_with(&s, "was known before it asked");
}

static void a_look_at_nothing_is_caught(void **state)
{
    struct story s;
    struct sim_before before;
    look_after(&s, &before);
    sim_history_looked(&s.history, PLAIN_KEY, &before, false, true, 0, bytes_of(NULL, 0));
    assert_fails_with(&s, "is not there");
}

/* A delete that the log does not show can have been seen by who asked before its entry had applied; not
 * later. */
static void a_delete_that_was_replaced_is_seen_by_who_asked_in_time(void **state)
{
    struct story s;
    struct sim_before before;
    look_after(&s, &before);
    sim_history_removed(&s.history, PLAIN_KEY, 4);
    apply(&s, 4, (struct written[]){{PLAIN, "value-3"}, {0}});
    sim_history_looked(&s.history, PLAIN_KEY, &before, false, true, 0, bytes_of(NULL, 0));
    assert_false(s.history.failed);
    told_written(&s, 4, 3, "value-3");
    before = sim_history_before(&s.history, PLAIN_KEY);
    sim_history_looked(&s.history, PLAIN_KEY, &before, false, true, 0, bytes_of(NULL, 0));
    assert_fails_with(&s, "is not there");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moves_between_purses_pass),
        cmocka_unit_test(half_a_move_is_caught),
        cmocka_unit_test(halves_of_two_moves_are_caught),
        cmocka_unit_test(a_list_to_which_several_texts_came_at_once_passes),
        cmocka_unit_test(fields_that_are_set_one_after_the_other_pass),
        cmocka_unit_test(a_field_that_goes_back_is_caught),
        cmocka_unit_test(a_field_that_is_lost_is_caught),
        cmocka_unit_test(a_write_in_whose_place_is_another_one_passes),
        cmocka_unit_test(a_write_that_is_in_no_entry_is_caught),
        cmocka_unit_test(a_write_that_is_in_another_entry_is_caught),
        cmocka_unit_test(a_watched_key_that_changed_meanwhile_is_caught),
        cmocka_unit_test(a_watched_key_that_was_there_after_all_is_caught),
        cmocka_unit_test(a_look_at_what_is_old_is_caught),
        cmocka_unit_test(a_look_at_nothing_is_caught),
        cmocka_unit_test(a_delete_that_was_replaced_is_seen_by_who_asked_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
