/* What clients are told, judged against the log: each check passes on a true story and fails on its lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "cluster-tests/sim/sim_history.h"
#include "proto/log_entry.h"
#include "proto/pb.h"

/* The kinds of the keys that the tests use. */
#define PLAIN    "key0"
#define COUNTER  "key1"
#define EXPIRING "key2"
#define LIST     "key3"
enum { PLAIN_KEY, COUNTER_KEY, EXPIRING_KEY, LIST_KEY, N_KEYS };

/* One group with a replica whose state follows what the test applies. */
struct story {
    struct sim_history history;
    struct state state;
    uint64_t session, sequence; /* of the next entry's outcome; 0: none */
    uint64_t stamp_ms;          /* of the next entry; 0: its index */
};

static void begin(struct story *s)
{
    *s = (struct story){0};
    sim_history_init(&s->history, N_KEYS, 1);
    state_init(&s->state, 1);
    assert_int_equal(s->history.keys[PLAIN_KEY].kind, SIM_PLAIN);
    assert_int_equal(s->history.keys[COUNTER_KEY].kind, SIM_COUNTER);
    assert_int_equal(s->history.keys[EXPIRING_KEY].kind, SIM_EXPIRING);
    assert_int_equal(s->history.keys[LIST_KEY].kind, SIM_LIST);
}

static void end(struct story *s)
{
    state_deinit(&s->state);
    sim_history_deinit(&s->history);
}

static void encode_write(const struct story *s, const char *key, const char *value, uint64_t expires_at_ms,
    uint64_t stamp_ms, struct buf *out)
{
    Wblog__Write write = WBLOG__WRITE__INIT;
    write.key = pb_borrow(bytes_from_text(key));
    write.has_value = value != NULL;
    write.value = pb_borrow(value == NULL ? bytes_of(NULL, 0) : bytes_from_text(value));
    write.has_expires_at_ms = expires_at_ms != 0;
    write.expires_at_ms = expires_at_ms;
    Wblog__Write *list[] = {&write};
    Wblog__Outcome outcome = WBLOG__OUTCOME__INIT;
    outcome.session = s->session;
    outcome.sequence = s->sequence;
    Wblog__Outcome *outcomes[] = {&outcome};
    Wblog__Writes writes = WBLOG__WRITES__INIT;
    writes.n_writes = 1;
    writes.writes = list;
    writes.n_outcomes = s->session != 0;
    writes.outcomes = outcomes;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    entry.command_case = WBLOG__ENTRY__COMMAND_WRITES;
    entry.writes = &writes;
    entry.stamp_ms = stamp_ms;
    buf_init(out);
    log_entry_encode(&entry, out);
}

/* The entry at @index writes @value (NULL deletes) to @key. Returns the version. */
static uint64_t apply_text(
    struct story *s, uint64_t index, const char *key, const char *value, uint64_t expires_at_ms)
{
    struct buf entry;
    uint64_t stamp_ms = s->stamp_ms == 0 ? index : s->stamp_ms;
    encode_write(s, key, value, expires_at_ms, stamp_ms, &entry);
    state_apply_begin(&s->state, index, stamp_ms);
    uint64_t version = state_apply_write(&s->state, 0, bytes_from_text(key), VALUE_STRING,
        value == NULL ? NULL : value_create(bytes_from_text(value)), expires_at_ms);
    sim_history_applied(&s->history, 0, index, buf_bytes(&entry), &s->state);
    buf_deinit(&entry);
    return version;
}

/* The entry at @index sets the plain key to the value @serial. */
static uint64_t apply(struct story *s, uint64_t index, uint64_t serial)
{
    char text[SIM_VALUE_BYTES];
    sim_value_text(SIM_PLAIN, serial, text);
    return apply_text(s, index, PLAIN, text, 0);
}

/* A client is told that its set of the plain key to @serial became @version. */
static void acknowledge(struct story *s, uint64_t version, uint64_t serial)
{
    char text[SIM_VALUE_BYTES];
    const struct operation op = {
        .kind = OPERATION_SET, .value = bytes_of(text, sim_value_text(SIM_PLAIN, serial, text))};
    const struct sim_before before = {0};
    const struct operation_result result = {.found = true, .written = true, .version = version};
    sim_history_done(&s->history, PLAIN_KEY, &op, &before, &result);
}

static void assert_fails_with(struct story *s, const char *part)
{
    assert_true(s->history.failed);
    assert_non_null(strstr(s->history.failure, part));
    end(s);
}

/* ---- Lists and counters ---- */

static void told(struct story *s, unsigned key, struct operation op, struct operation_result result)
{
    const struct sim_before before = sim_history_before(&s->history, key);
    op.key = bytes_from_text(s->history.keys[key].name);
    sim_history_done(&s->history, key, &op, &before, &result);
}

static void a_list_that_was_appended_to_passes(void **state)
{
    (void)state;
    struct story s;
    begin(&s);
    sim_history_serial(&s.history);
    sim_history_serial(&s.history);
    apply_text(&s, 2, LIST, "1;", 0);
    uint64_t version = apply_text(&s, 3, LIST, "1;2;", 0);
    told(&s, LIST_KEY, (struct operation){.kind = OPERATION_APPEND, .value = bytes_from_text("2;")},
        (struct operation_result){
            .found = true, .written = true, .has_length = true, .length = 4, .version = version});
    assert_false(s.history.failed);
    end(&s);
}

static void an_append_that_loses_another_is_caught(void **state)
{
    (void)state;
    struct story s;
    begin(&s);
    sim_history_serial(&s.history);
    sim_history_serial(&s.history);
    apply_text(&s, 2, LIST, "1;", 0);
    apply_text(&s, 3, LIST, "2;", 0);
    assert_fails_with(&s, "no value that a client could have written");
}

static void an_append_that_happens_twice_is_caught(void **state)
{
    (void)state;
    struct story s;
    begin(&s);
    sim_history_serial(&s.history);
    apply_text(&s, 2, LIST, "1;", 0);
    apply_text(&s, 3, LIST, "1;1;", 0);
    assert_fails_with(&s, "executed twice");
}

static void a_sum_that_is_not_of_its_place_in_the_log_is_caught(void **state)
{
    (void)state;
    struct story s;
    begin(&s);
    apply_text(&s, 2, COUNTER, "5", 0);
    uint64_t version = apply_text(&s, 3, COUNTER, "7", 0); /* it counted from something older */
    told(&s, COUNTER_KEY, (struct operation){.kind = OPERATION_INCR, .delta = 7},
        (struct operation_result){
            .found = true, .written = true, .has_number = true, .number = 7, .version = version});
    assert_fails_with(&s, "not what it comes to");
}

static void a_delete_that_nobody_asked_for_is_caught(void **state)
{
    (void)state;
    struct story s;
    begin(&s);
    apply_text(&s, 2, COUNTER, "5", 0);
    apply_text(&s, 3, COUNTER, NULL, 0);
    assert_fails_with(&s, "nobody asked for it");
}

/* ---- Conditions ---- */

static void a_set_under_a_condition_that_did_not_hold_is_caught(void **state)
{
    (void)state;
    struct story s;
    begin(&s);
    uint64_t first = sim_history_serial(&s.history), second = sim_history_serial(&s.history);
    apply(&s, 2, first);
    uint64_t version = apply(&s, 3, second);
    told(&s, PLAIN_KEY,
        (struct operation){
            .kind = OPERATION_SET, .condition = CONDITION_ABSENT, .value = bytes_from_text("value-2")},
        (struct operation_result){.found = true, .written = true, .version = version});
    assert_fails_with(&s, "not what it comes to");
}

static void a_refusal_under_a_condition_that_holds_is_caught(void **state)
{
    (void)state;
    struct story s;
    begin(&s);
    uint64_t version = apply(&s, 2, sim_history_serial(&s.history));
    const struct sim_before before = sim_history_before(&s.history, PLAIN_KEY);
    const struct operation op = {
        .kind = OPERATION_SET, .condition = CONDITION_VERSION, .if_version = version};
    const struct operation_result result = {.found = true, .version = version};
    sim_history_condition_failed(&s.history, PLAIN_KEY, &op, &before, &result);
    assert_fails_with(&s, "a condition is said not to hold");
}

/* ---- Sessions ---- */

static void two_outcomes_of_one_request_are_caught(void **state)
{
    (void)state;
    struct story s;
    begin(&s);
    s.session = 7;
    s.sequence = 1;
    apply_text(&s, 2, COUNTER, "5", 0);
    s.sequence = 2;
    apply_text(&s, 3, COUNTER, "6", 0);
    assert_false(s.history.failed);
    apply_text(&s, 4, COUNTER, "7", 0);
    assert_fails_with(&s, "two outcomes");
}

static void a_request_that_was_refused_and_happens_later_is_caught(void **state)
{
    (void)state;
    struct story s;
    begin(&s);
    sim_history_never(&s.history, 0, 7, 1);
    s.session = 7;
    s.sequence = 1;
    apply_text(&s, 2, COUNTER, "5", 0);
    assert_fails_with(&s, "was not done");
}

/* ---- Expiries ---- */

/* The expiring key is set at index 2 to what is over at 100. Returns the version. */
static uint64_t expiring(struct story *s)
{
    begin(s);
    sim_history_serial(&s->history);
    return apply_text(s, 2, EXPIRING, "value-1", 100);
}

static void read_expiring(struct story *s, struct sim_before before, bool found, uint64_t version)
{
    sim_history_read(&s->history, EXPIRING_KEY, &before, found, version, bytes_of(NULL, 0));
}

static void a_key_may_be_gone_when_a_stamp_says_so(void **state)
{
    (void)state;
    struct story s;
    uint64_t version = expiring(&s);
    read_expiring(&s, sim_history_before(&s.history, EXPIRING_KEY), true, version);
    s.stamp_ms = 100;
    apply_text(&s, 3, COUNTER, "1", 0);
    read_expiring(&s, sim_history_before(&s.history, EXPIRING_KEY), false, 0);
    apply_text(&s, 4, EXPIRING, NULL, 0);
    read_expiring(&s, sim_history_before(&s.history, EXPIRING_KEY), false, 0);
    assert_false(s.history.failed);
    end(&s);
}

static void a_key_that_is_gone_before_a_stamp_says_so_is_caught(void **state)
{
    (void)state;
    struct story s;
    uint64_t version = expiring(&s);
    read_expiring(&s, sim_history_before(&s.history, EXPIRING_KEY), true, version);
    s.stamp_ms = 99;
    apply_text(&s, 3, COUNTER, "1", 0);
    read_expiring(&s, sim_history_before(&s.history, EXPIRING_KEY), false, 0);
    assert_fails_with(&s, "not there");
}

static void a_key_that_is_seen_after_its_time_is_caught(void **state)
{
    (void)state;
    struct story s;
    uint64_t version = expiring(&s);
    s.stamp_ms = 100;
    apply_text(&s, 3, COUNTER, "1", 0);
    read_expiring(&s, sim_history_before(&s.history, EXPIRING_KEY), true, version);
    assert_fails_with(&s, "the log was at");
}

static void a_key_that_comes_back_is_caught(void **state)
{
    (void)state;
    struct story s;
    uint64_t version = expiring(&s);
    struct sim_before early = sim_history_before(&s.history, EXPIRING_KEY);
    read_expiring(&s, early, true, version);
    s.stamp_ms = 100;
    apply_text(&s, 3, COUNTER, "1", 0);
    read_expiring(&s, sim_history_before(&s.history, EXPIRING_KEY), false, 0);
    struct sim_before late = sim_history_before(&s.history, EXPIRING_KEY);
    late.stamp_ms = early.stamp_ms; /* it is caught by itself, not only as something whose time is over */
    read_expiring(&s, late, true, version);
    assert_fails_with(&s, "and that it was gone");
}

static void a_key_that_is_deleted_before_its_time_is_caught(void **state)
{
    (void)state;
    struct story s;
    expiring(&s);
    s.stamp_ms = 99;
    apply_text(&s, 3, EXPIRING, NULL, 0);
    assert_fails_with(&s, "its time has not come");
}

static void a_relative_expiry_from_another_time_is_caught(void **state)
{
    (void)state;
    struct story s;
    begin(&s);
    sim_history_serial(&s.history);
    s.stamp_ms = 50;
    apply_text(&s, 2, COUNTER, "1", 0);
    s.stamp_ms = 60;
    uint64_t version =
        apply_text(&s, 3, EXPIRING, "value-1", 100); /* from 50 to 60, and 30 more: from 80 to 90 */
    told(&s, EXPIRING_KEY,
        (struct operation){.kind = OPERATION_SET,
            .value = bytes_from_text("value-1"),
            .expires = true,
            .expire_relative = true,
            .expire_ms = 30},
        (struct operation_result){.found = true, .written = true, .version = version});
    assert_fails_with(&s, "not what it comes to");
}

static void a_stamp_that_goes_back_is_caught(void **state)
{
    (void)state;
    struct story s;
    begin(&s);
    s.stamp_ms = 50;
    apply_text(&s, 2, COUNTER, "1", 0);
    s.stamp_ms = 49;
    apply_text(&s, 3, COUNTER, "2", 0);
    assert_fails_with(&s, "the stamp goes back");
}

/* ---- Stale reads, levels ---- */

static void a_stale_read_may_be_old_but_not_made_up(void **state)
{
    (void)state;
    struct story s;
    begin(&s);
    uint64_t first = sim_history_serial(&s.history), second = sim_history_serial(&s.history);
    uint64_t old = apply(&s, 2, first);
    acknowledge(&s, apply(&s, 3, second), second);
    sim_history_stale(&s.history, PLAIN_KEY, 2, true, old, bytes_from_text("value-1"));
    assert_false(s.history.failed);
    sim_history_stale(&s.history, PLAIN_KEY, 2, true, old, bytes_from_text("value-2"));
    assert_fails_with(&s, "a stale read answered version");
}

static void a_stale_read_of_what_was_over_then_is_caught(void **state)
{
    (void)state;
    struct story s;
    uint64_t version = expiring(&s);
    s.stamp_ms = 100;
    apply_text(&s, 3, COUNTER, "1", 0);
    sim_history_stale(&s.history, EXPIRING_KEY, 100, true, version, bytes_of(NULL, 0));
    assert_fails_with(&s, "a stale read of 100");
}

static void an_answer_that_says_flushed_too_early_is_caught(void **state)
{
    (void)state;
    struct story s;
    begin(&s);
    uint64_t version = apply(&s, 2, sim_history_serial(&s.history));
    sim_history_in_database(&s.history, PLAIN_KEY, NULL, version);
    assert_fails_with(&s, "answered as flushed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_that_was_appended_to_passes),
        cmocka_unit_test(an_append_that_loses_another_is_caught),
        cmocka_unit_test(an_append_that_happens_twice_is_caught),
        cmocka_unit_test(a_sum_that_is_not_of_its_place_in_the_log_is_caught),
        cmocka_unit_test(a_delete_that_nobody_asked_for_is_caught),
        cmocka_unit_test(a_set_under_a_condition_that_did_not_hold_is_caught),
        cmocka_unit_test(a_refusal_under_a_condition_that_holds_is_caught),
        cmocka_unit_test(two_outcomes_of_one_request_are_caught),
        cmocka_unit_test(a_request_that_was_refused_and_happens_later_is_caught),
        cmocka_unit_test(a_key_may_be_gone_when_a_stamp_says_so),
        cmocka_unit_test(a_key_that_is_gone_before_a_stamp_says_so_is_caught),
        cmocka_unit_test(a_key_that_is_seen_after_its_time_is_caught),
        cmocka_unit_test(a_key_that_comes_back_is_caught),
        cmocka_unit_test(a_key_that_is_deleted_before_its_time_is_caught),
        cmocka_unit_test(a_relative_expiry_from_another_time_is_caught),
        cmocka_unit_test(a_stamp_that_goes_back_is_caught),
        cmocka_unit_test(a_stale_read_may_be_old_but_not_made_up),
        cmocka_unit_test(a_stale_read_of_what_was_over_then_is_caught),
        cmocka_unit_test(an_answer_that_says_flushed_too_early_is_caught),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
