/* Each check of the history passes on a true story and fails on the lie that it is there for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "cluster-tests/sim/sim_history.h"
#include "proto/log_entry.h"
#include "proto/pb.h"

/* One group with a replica whose state follows what the test applies. */
struct story {
    struct sim_history history;
    struct state state;
};

static size_t plain_text(uint64_t serial, char *out)
{
    return sim_value_text(SIM_PLAIN, serial, out);
}

/* What a client asks that sets the value @serial (0: deletes), whose text goes to @text. */
static struct operation asked(const char *key, uint64_t serial, char *text)
{
    if (serial == 0) {
        return (struct operation){.kind = OPERATION_DEL, .key = bytes_from_text(key)};
    }
    return (struct operation){.kind = OPERATION_SET,
        .key = bytes_from_text(key),
        .value = bytes_of(text, plain_text(serial, text))};
}

static struct sim_before before(uint64_t floor)
{
    return (struct sim_before){.floor = floor, .acknowledged = floor};
}

/* A client is told that @serial was written to key 0 as @version. */
static void acknowledge(struct story *s, uint64_t version, uint64_t serial)
{
    char text[SIM_VALUE_BYTES];
    struct operation op = asked("key0", serial, text);
    struct sim_before nothing = before(0);
    struct operation_result result = {.found = true, .written = true, .version = version};
    sim_history_done(&s->history, 0, &op, &nothing, &result);
}

static void begin(struct story *s)
{
    sim_history_init(&s->history, 2, 1);
    s->history.keys[0].kind = s->history.keys[1].kind = SIM_PLAIN;
    state_init(&s->state, 1);
}

static void end(struct story *s)
{
    state_deinit(&s->state);
    sim_history_deinit(&s->history);
}

static void encode_write(const char *key, uint64_t serial, struct buf *out)
{
    char text[SIM_VALUE_BYTES];
    Wblog__Write write = WBLOG__WRITE__INIT;
    write.key = pb_borrow(bytes_from_text(key));
    write.has_value = serial != 0;
    write.value = pb_borrow(bytes_of(text, plain_text(serial, text)));
    Wblog__Write *list[] = {&write};
    Wblog__Writes writes = WBLOG__WRITES__INIT;
    writes.n_writes = 1;
    writes.writes = list;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    entry.command_case = WBLOG__ENTRY__COMMAND_WRITES;
    entry.writes = &writes;
    buf_init(out);
    log_entry_encode(&entry, out);
}

/* The entry at @index sets @key to the value @serial (0 deletes it). Returns the version. */
static uint64_t apply(struct story *s, uint64_t index, const char *key, uint64_t serial)
{
    char text[SIM_VALUE_BYTES];
    struct buf entry;
    struct operation op = asked(key, serial, text);
    sim_history_asked(&s->history, (unsigned)(key[3] - '0'), &op);
    encode_write(key, serial, &entry);
    state_apply_begin(&s->state, index, index);
    struct value *value = serial == 0 ? NULL : value_create(bytes_of(text, plain_text(serial, text)));
    uint64_t version = state_apply_write(&s->state, 0, bytes_from_text(key), VALUE_STRING, value, 0);
    sim_history_applied(&s->history, 0, index, buf_bytes(&entry), &s->state);
    buf_deinit(&entry);
    return version;
}

static void commit(struct story *s, uint64_t batch, const char *key, uint64_t serial, uint64_t version)
{
    char text[SIM_VALUE_BYTES];
    struct fake_write write = {.key = bytes_from_text(key),
        .value = bytes_of(text, plain_text(serial, text)),
        .deleted = serial == 0,
        .version = serial == 0 ? 0 : version};
    struct fake_commit what = {.batch = batch, .writes = &write, .n = 1};
    sim_history_commit(&s->history, &what);
}

static void assert_fails_with(struct story *s, const char *part)
{
    assert_true(s->history.failed);
    if (strstr(s->history.failure, part) == NULL) {
        fail_msg("it failed with: %s", s->history.failure);
    }
    end(s);
}

static void a_true_story_passes(void **state)
{
    struct story s;
    char text[SIM_VALUE_BYTES];
    begin(&s);
    uint64_t serial = sim_history_serial(&s.history);
    uint64_t version = apply(&s, 2, "key0", serial);
    acknowledge(&s, version, serial);
    sim_history_read(&s.history, 0, &(struct sim_before){.floor = version, .acknowledged = version}, true,
        version, bytes_of(text, plain_text(serial, text)));
    commit(&s, 3, "key0", serial, version);
    const struct sim_before floors[SIM_KEYS_MAX] = {before(version)};
    sim_history_flushed(&s.history, 0, floors);
    uint64_t tombstone = apply(&s, 4, "key0", 0);
    sim_history_read(&s.history, 0, &(struct sim_before){.floor = version, .acknowledged = version}, false, 0,
        bytes_of(NULL, 0));
    assert_int_equal(s.history.keys[0].floor, tombstone);
    commit(&s, 5, "key0", 0, 0);
    sim_history_exists(
        &s.history, 0, &(struct sim_before){.floor = tombstone, .acknowledged = tombstone}, false);
    assert_false(s.history.failed);
    end(&s);
}

static void different_entries_at_one_index_are_caught(void **state)
{
    struct story s;
    begin(&s);
    apply(&s, 2, "key0", sim_history_serial(&s.history));
    struct buf other;
    encode_write("key1", sim_history_serial(&s.history), &other);
    sim_history_applied(&s.history, 0, 2, buf_bytes(&other), &s.state);
    buf_deinit(&other);
    assert_fails_with(&s, "different entries");
}

static void different_states_at_one_index_are_caught(void **state)
{
    struct story s;
    begin(&s);
    uint64_t serial = sim_history_serial(&s.history);
    apply(&s, 2, "key0", serial);
    struct buf entry;
    encode_write("key0", serial, &entry);
    struct state other; /* a replica that applied the entry without doing what it says */
    state_init(&other, 2);
    state_apply_begin(&other, 2, 2);
    sim_history_applied(&s.history, 0, 2, buf_bytes(&entry), &other);
    state_deinit(&other);
    buf_deinit(&entry);
    assert_fails_with(&s, "different states");
}

static void a_snapshot_of_another_state_is_caught(void **state)
{
    struct story s;
    begin(&s);
    apply(&s, 2, "key0", sim_history_serial(&s.history));
    struct state other;
    state_init(&other, 2);
    state_apply_begin(&other, 2, 2);
    sim_history_restored(&s.history, 0, &other);
    state_deinit(&other);
    assert_fails_with(&s, "different states");
}

static void a_flushed_index_that_is_not_true_is_caught(void **state)
{
    struct story s;
    begin(&s);
    uint64_t serial = sim_history_serial(&s.history);
    apply(&s, 2, "key0", serial);
    state_apply_begin(&s.state, 3, 3);
    assert_non_null(state_apply_flush_begin(&s.state, 10, 1000));
    state_apply_begin(&s.state, 4, 4);
    assert_true(state_apply_flushed(&s.state, 3, 0)); /* though the database has nothing */
    apply(&s, 5, "key1", sim_history_serial(&s.history));
    assert_fails_with(&s, "is flushed");
}

static void a_flushed_index_that_goes_back_is_caught(void **state)
{
    struct story s;
    begin(&s);
    uint64_t serial = sim_history_serial(&s.history);
    apply(&s, 7, "key0", serial);
    struct state older;
    state_init(&older, 1);
    state_apply_begin(&older, 1, 1);
    state_apply_write(&older, 0, bytes_from_text("key1"), VALUE_STRING, NULL, 0);
    state_apply_begin(&older, 9, 9);
    struct buf entry;
    encode_write("key1", sim_history_serial(&s.history), &entry);
    sim_history_applied(&s.history, 0, 9, buf_bytes(&entry), &older);
    buf_deinit(&entry);
    state_deinit(&older);
    assert_fails_with(&s, "went back");
}

static void a_database_that_goes_back_is_caught(void **state)
{
    struct story s;
    begin(&s);
    uint64_t first = sim_history_serial(&s.history), second = sim_history_serial(&s.history);
    uint64_t old = apply(&s, 2, "key0", first);
    uint64_t new = apply(&s, 4, "key0", second);
    commit(&s, 5, "key0", second, new);
    assert_false(s.history.failed);
    commit(&s, 3, "key0", first, old); /* an old leader's batch, late */
    assert_fails_with(&s, "goes back");
}

static void a_batch_with_another_value_is_caught(void **state)
{
    struct story s;
    begin(&s);
    uint64_t first = sim_history_serial(&s.history), second = sim_history_serial(&s.history);
    uint64_t old = apply(&s, 2, "key0", first);
    apply(&s, 3, "key0", second);
    commit(&s, 4, "key0", first, old);
    assert_fails_with(&s, "has not the value");
}

static void an_acknowledged_write_that_the_log_does_not_have_is_caught(void **state)
{
    struct story s;
    begin(&s);
    acknowledge(&s, 99, sim_history_serial(&s.history));
    assert_fails_with(&s, "acknowledged");
}

static void a_refused_write_that_happened_is_caught(void **state)
{
    struct story s;
    begin(&s);
    uint64_t serial = sim_history_serial(&s.history);
    apply(&s, 2, "key0", serial);
    sim_history_refused(&s.history, 0, serial);
    assert_fails_with(&s, "was not written, but");
}

static void a_refused_write_that_happens_later_is_caught(void **state)
{
    struct story s;
    begin(&s);
    uint64_t serial = sim_history_serial(&s.history);
    sim_history_refused(&s.history, 0, serial);
    apply(&s, 2, "key0", serial);
    assert_fails_with(&s, "refused");
}

static void a_write_that_is_executed_twice_is_caught(void **state)
{
    struct story s;
    begin(&s);
    uint64_t serial = sim_history_serial(&s.history);
    apply(&s, 2, "key0", serial);
    apply(&s, 3, "key0", serial);
    assert_fails_with(&s, "executed twice");
}

static void a_stale_read_is_caught(void **state)
{
    struct story s;
    char text[SIM_VALUE_BYTES];
    begin(&s);
    uint64_t first = sim_history_serial(&s.history), second = sim_history_serial(&s.history);
    uint64_t old = apply(&s, 2, "key0", first);
    uint64_t new = apply(&s, 3, "key0", second);
    acknowledge(&s, new, second);
    sim_history_read(&s.history, 0, &(struct sim_before){.floor = new, .acknowledged = new}, true, old,
        bytes_of(text, plain_text(first, text)));
    assert_fails_with(&s, "was answered with version");
}

static void a_read_that_misses_a_known_write_is_caught(void **state)
{
    struct story s;
    begin(&s);
    apply(&s, 2, "key0", 0);
    uint64_t serial = sim_history_serial(&s.history);
    uint64_t version = apply(&s, 3, "key0", serial);
    sim_history_read(&s.history, 0, &(struct sim_before){.floor = version, .acknowledged = version}, false, 0,
        bytes_of(NULL, 0)); /* the delete is older than what was known */
    assert_fails_with(&s, "told that it is not there");
}

static void a_read_that_makes_up_a_value_is_caught(void **state)
{
    struct story s;
    char text[SIM_VALUE_BYTES];
    begin(&s);
    uint64_t serial = sim_history_serial(&s.history);
    uint64_t version = apply(&s, 2, "key0", serial);
    sim_history_read(&s.history, 0, &(struct sim_before){.floor = 0, .acknowledged = 0}, true, version,
        bytes_of(text, plain_text(serial + 1, text)));
    assert_fails_with(&s, "does not have so");
}

static void a_deleted_key_that_exists_is_caught(void **state)
{
    struct story s;
    begin(&s);
    apply(&s, 2, "key0", sim_history_serial(&s.history));
    uint64_t tombstone = apply(&s, 3, "key0", 0);
    sim_history_exists(
        &s.history, 0, &(struct sim_before){.floor = tombstone, .acknowledged = tombstone}, true);
    assert_fails_with(&s, "exists");
}

static void a_flush_that_is_over_too_early_is_caught(void **state)
{
    struct story s;
    begin(&s);
    uint64_t serial = sim_history_serial(&s.history);
    const struct sim_before floors[SIM_KEYS_MAX] = {before(apply(&s, 2, "key0", serial))};
    sim_history_flushed(&s.history, 0, floors);
    assert_fails_with(&s, "a wait for the flush");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_true_story_passes),
        cmocka_unit_test(different_entries_at_one_index_are_caught),
        cmocka_unit_test(different_states_at_one_index_are_caught),
        cmocka_unit_test(a_snapshot_of_another_state_is_caught),
        cmocka_unit_test(a_flushed_index_that_is_not_true_is_caught),
        cmocka_unit_test(a_flushed_index_that_goes_back_is_caught),
        cmocka_unit_test(a_database_that_goes_back_is_caught),
        cmocka_unit_test(a_batch_with_another_value_is_caught),
        cmocka_unit_test(an_acknowledged_write_that_the_log_does_not_have_is_caught),
        cmocka_unit_test(a_refused_write_that_happened_is_caught),
        cmocka_unit_test(a_refused_write_that_happens_later_is_caught),
        cmocka_unit_test(a_write_that_is_executed_twice_is_caught),
        cmocka_unit_test(a_stale_read_is_caught),
        cmocka_unit_test(a_read_that_misses_a_known_write_is_caught),
        cmocka_unit_test(a_read_that_makes_up_a_value_is_caught),
        cmocka_unit_test(a_deleted_key_that_exists_is_caught),
        cmocka_unit_test(a_flush_that_is_over_too_early_is_caught),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
