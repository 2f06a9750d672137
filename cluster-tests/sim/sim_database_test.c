/* What the log says of the database, and the database of itself: each check passes on a true story and fails
 * on the lie that it is there for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "cluster-tests/sim/sim_history.h"
#include "proto/log_entry.h"
#include "proto/pb.h"

enum { N_KEYS = 2 };

/* One group, a replica whose state follows what the test applies, and a database. */
struct story {
    struct sim_clock clock;
    struct fake_db db;
    struct sim_history history;
    struct state state;
    uint64_t index;
    uint64_t stamp_ms; /* of the next entry */
};

static void begin(struct story *s)
{
    memset(s, 0, sizeof *s);
    sim_clock_init(&s->clock, 1);
    s->clock.now_us = 1000000;
    fake_db_init(&s->db, &s->clock);
    sim_history_init(&s->history, N_KEYS, 1);
    s->history.keys[0].kind = s->history.keys[1].kind = SIM_PLAIN;
    s->history.db = &s->db;
    s->history.retention_is_by_time = true;
    state_init(&s->state, 1);
    state_apply_retention(&s->state, 100, UINT64_MAX);
    s->stamp_ms = 1000;
}

static void end(struct story *s)
{
    state_deinit(&s->state);
    sim_history_deinit(&s->history);
    fake_db_deinit(&s->db);
    sim_clock_deinit(&s->clock);
}

static void assert_fails_with(struct story *s, const char *part)
{
    assert_true(s->history.failed);
    if (strstr(s->history.failure, part) == NULL) {
        fail_msg("it failed with: %s", s->history.failure);
    }
    end(s);
}

static void assert_passes(struct story *s)
{
    if (s->history.failed) {
        fail_msg("it failed with: %s", s->history.failure);
    }
    end(s);
}

/* ---- Entries ---- */

static uint64_t next_entry(struct story *s)
{
    state_apply_begin(&s->state, ++s->index, s->stamp_ms);
    return s->index;
}

/* The history sees @entry, which the state has done. */
static void see(struct story *s, Wblog__Entry *entry)
{
    struct buf raw;
    buf_init(&raw);
    entry->stamp_ms = s->stamp_ms;
    log_entry_encode(entry, &raw);
    sim_history_applied(&s->history, 0, s->index, buf_bytes(&raw), &s->state);
    buf_deinit(&raw);
}

/* Set @key to a new value. Returns the version. */
static uint64_t set(struct story *s, const char *key)
{
    char text[SIM_VALUE_BYTES];
    uint64_t serial = sim_history_serial(&s->history);
    struct bytes value = bytes_of(text, sim_value_text(SIM_PLAIN, serial, text));
    next_entry(s);
    uint64_t version =
        state_apply_write(&s->state, 0, bytes_from_text(key), VALUE_STRING, value_create(value), 0);
    Wblog__Write write = WBLOG__WRITE__INIT;
    write.key = pb_borrow(bytes_from_text(key));
    write.has_value = true;
    write.value = pb_borrow(value);
    Wblog__Write *list[] = {&write};
    Wblog__Writes writes = WBLOG__WRITES__INIT;
    writes.n_writes = 1;
    writes.writes = list;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    entry.command_case = WBLOG__ENTRY__COMMAND_WRITES;
    entry.writes = &writes;
    see(s, &entry);
    return version;
}

/* A client is told of @version of key 0. */
static void tell(struct story *s, uint64_t version)
{
    const struct sim_before before = {0};
    sim_history_read(&s->history, 0, &before, true, version, bytes_of(NULL, 0));
    s->clock.now_us += 1000;
}

static uint64_t begin_batch(struct story *s)
{
    uint64_t batch = next_entry(s);
    assert_non_null(state_apply_flush_begin(&s->state, 10, 1000));
    Wblog__FlushBegin what = WBLOG__FLUSH_BEGIN__INIT;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    entry.command_case = WBLOG__ENTRY__COMMAND_FLUSH_BEGIN;
    entry.flush_begin = &what;
    see(s, &entry);
    return batch;
}

static void flushed(struct story *s, uint64_t batch)
{
    next_entry(s);
    Wblog__Flushed what = WBLOG__FLUSHED__INIT;
    what.batch = batch;
    what.predecessor = s->state.last_batch;
    assert_true(state_apply_flushed(&s->state, batch, what.predecessor));
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    entry.command_case = WBLOG__ENTRY__COMMAND_FLUSHED;
    entry.flushed = &what;
    see(s, &entry);
}

static void quarantine(struct story *s, uint64_t batch, const char *key)
{
    next_entry(s);
    assert_true(state_apply_quarantine(&s->state, batch, bytes_from_text(key), "23514", "no"));
    Wblog__Fault fault = WBLOG__FAULT__INIT;
    fault.key = pb_borrow(bytes_from_text(key));
    char sqlstate[] = "23514", message[] = "no";
    fault.sqlstate = sqlstate;
    fault.message = message;
    Wblog__Fault *list[] = {&fault};
    Wblog__Quarantine what = WBLOG__QUARANTINE__INIT;
    what.batch = batch;
    what.n_faults = 1;
    what.faults = list;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    entry.command_case = WBLOG__ENTRY__COMMAND_QUARANTINE;
    entry.quarantine = &what;
    see(s, &entry);
}

static void see_rewind(struct story *s, uint64_t last_batch)
{
    Wblog__Rewind what = WBLOG__REWIND__INIT;
    what.last_batch = last_batch;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    entry.command_case = WBLOG__ENTRY__COMMAND_REWIND;
    entry.rewind = &what;
    see(s, &entry);
}

static void rewind_to(struct story *s, uint64_t last_batch)
{
    next_entry(s);
    assert_true(state_apply_rewind(&s->state, last_batch));
    see_rewind(s, last_batch);
}

/* ---- The database ---- */

static struct fake_fence *fence(struct story *s)
{
    return &s->db.content.fences[0];
}

/* @batch commits with the newest value of @key, or, when @refused, without it. */
static void commit(struct story *s, uint64_t batch, const char *key, bool refused)
{
    const struct state_entry *e = state_find(&s->state, bytes_from_text(key));
    const struct fake_write write = {
        .key = bytes_from_text(key), .value = value_bytes(e->value), .version = e->version};
    const struct fake_commit what = {.batch = batch,
        .writes = &write,
        .n = refused ? 0 : 1,
        .refused = &write,
        .n_refused = refused ? 1 : 0};
    sim_history_commit(&s->history, &what);
    fake_fence_advance(fence(s), batch);
}

/* Key 0 is set and in the database. Returns the batch. */
static uint64_t flush_one(struct story *s)
{
    set(s, "key0");
    uint64_t batch = begin_batch(s);
    commit(s, batch, "key0", false);
    flushed(s, batch);
    return batch;
}

/* Another server answers, which is at @batch and has nothing of key 0 yet. */
static void travel(struct story *s, uint64_t batch)
{
    const uint64_t versions[SIM_KEYS_MAX] = {0};
    fence(s)->n_batches = 0;
    fence(s)->last_batch = batch;
    sim_history_travelled(&s->history, versions);
}

static void says_fresh(struct story *s, int64_t ago_us, uint64_t in_quarantine)
{
    fence(s)->fresh_as_of_us = fake_db_clock_us(&s->db) - ago_us;
    fence(s)->quarantined = in_quarantine;
    sim_history_changed(&s->history, 0);
}

/* ---- Quarantine ---- */

static void a_refused_row_that_the_log_names_passes(void **state)
{
    (void)state;
    struct story s;
    begin(&s);
    set(&s, "key0");
    uint64_t batch = begin_batch(&s);
    quarantine(&s, batch, "key0");
    commit(&s, batch, "key0", true);
    flushed(&s, batch);
    assert_int_equal(state_flushed_index(&s.state), s.index); /* F has passed it */
    assert_passes(&s);
}

static void a_commit_before_the_log_knows_of_the_refused_row_is_caught(void **state)
{
    (void)state;
    struct story s;
    begin(&s);
    set(&s, "key0");
    commit(&s, begin_batch(&s), "key0", true);
    assert_fails_with(&s, "the log has not heard of it");
}

static void a_refused_row_that_is_called_flushed_is_caught(void **state)
{
    (void)state;
    struct story s;
    begin(&s);
    set(&s, "key0");
    uint64_t batch = begin_batch(&s);
    fake_fence_advance(fence(&s), batch);
    flushed(&s, batch);
    assert_fails_with(&s, "is flushed");
}

static void an_answer_that_names_a_key_as_refused_which_never_was_is_caught(void **state)
{
    (void)state;
    struct story s;
    begin(&s);
    flush_one(&s);
    const unsigned key = 0;
    const struct sim_before before = sim_history_before(&s.history, 0);
    sim_history_quarantined(&s.history, &key, 1, &before);
    assert_fails_with(&s, "never in quarantine");
}

/* ---- Travel in time ---- */

static void what_the_log_says_while_it_does_not_know_is_not_held_against_it(void **state)
{
    (void)state;
    struct story s;
    begin(&s);
    flush_one(&s);
    travel(&s, 0);
    set(&s, "key1");
    assert_false(s.history.failed);
    rewind_to(&s, 0);
    uint64_t batch = begin_batch(&s);
    commit(&s, batch, "key0", false);
    commit(&s, batch, "key1", false);
    flushed(&s, batch);
    assert_passes(&s);
}

/* The state forgets what it retains, and says @lost. */
static void rewind_forgetfully(struct story *s, uint64_t lost)
{
    next_entry(s);
    struct state_entry *e = state_find(&s->state, bytes_from_text("key0"));
    assert_true(state_apply_forget(&s->state, bytes_from_text("key0"), e->version));
    assert_true(state_apply_rewind(&s->state, 0));
    s->state.lost = lost;
    see_rewind(s, 0);
}

static void a_write_that_is_forgotten_too_early_is_caught(void **state)
{
    (void)state;
    struct story s;
    begin(&s);
    flush_one(&s);
    travel(&s, 0);
    rewind_forgetfully(&s, 1);
    assert_fails_with(&s, "it is not written again");
}

/* Key 0 is in the database for so long that nothing remembers it when that goes back. */
static void lose_one(struct story *s, uint64_t counted)
{
    begin(s);
    flush_one(s);
    s->stamp_ms += 101;
    set(s, "key1");
    uint64_t batch = begin_batch(s);
    commit(s, batch, "key1", false);
    flushed(s, batch);
    travel(s, 0);
    rewind_forgetfully(s, counted);
}

static void a_loss_that_is_counted_passes_and_one_that_is_not_is_caught(void **state)
{
    (void)state;
    struct story s;
    lose_one(&s, 1);
    assert_int_equal(s.history.groups[0].losses, 1);
    assert_true(s.history.keys[0].lost);
    assert_passes(&s);
    lose_one(&s, 0);
    assert_fails_with(&s, "0 rows are counted as lost, but 1 are");
    lose_one(&s, 2); /* each key was written once: then it is known exactly */
    assert_fails_with(&s, "2 rows are counted as lost, but 1 are");
}

static void a_write_that_a_rewind_passes_over_is_caught(void **state)
{
    (void)state;
    struct story s;
    begin(&s);
    flush_one(&s);
    travel(&s, 0);
    next_entry(&s);
    s.state.last_batch = 0; /* and nothing is dirty again */
    see_rewind(&s, 0);
    assert_true(s.history.failed);
    end(&s);
}

static void a_rewind_without_a_travel_is_caught(void **state)
{
    (void)state;
    struct story s;
    begin(&s);
    flush_one(&s);
    fence(&s)->last_batch = 0;
    fence(&s)->n_batches = 0;
    rewind_to(&s, 0);
    assert_fails_with(&s, "never was another one");
}

/* ---- fresh_as_of ---- */

static void a_freshness_that_is_true_passes(void **state)
{
    (void)state;
    struct story s;
    begin(&s);
    uint64_t version = set(&s, "key0");
    uint64_t batch = begin_batch(&s);
    commit(&s, batch, "key0", false);
    tell(&s, version);
    says_fresh(&s, 0, 0);
    tell(&s, set(&s, "key0"));
    says_fresh(&s, 1000, 0); /* just before that */
    assert_passes(&s);
}

static void a_freshness_that_the_database_does_not_have_is_caught(void **state)
{
    (void)state;
    struct story s;
    begin(&s);
    tell(&s, set(&s, "key0"));
    says_fresh(&s, 0, 0);
    assert_fails_with(&s, "fresh_as_of is");
}

static void a_freshness_may_leave_out_what_it_counts_as_quarantined(void **state)
{
    (void)state;
    for (uint64_t counted = 0; counted < 2; counted++) {
        struct story s;
        begin(&s);
        uint64_t version = set(&s, "key0");
        quarantine(&s, begin_batch(&s), "key0");
        tell(&s, version);
        says_fresh(&s, 0, counted);
        if (counted == 1) {
            assert_passes(&s);
        } else {
            assert_fails_with(&s, "rows are in quarantine, but it lacks 1");
        }
    }
}

static void a_freshness_that_goes_back_is_caught(void **state)
{
    (void)state;
    struct story s;
    begin(&s);
    says_fresh(&s, 1000, 0);
    says_fresh(&s, 2000, 0);
    assert_fails_with(&s, "goes back");
}

static void a_freshness_of_the_future_is_caught(void **state)
{
    (void)state;
    struct story s;
    begin(&s);
    says_fresh(&s, -1, 0);
    assert_fails_with(&s, "in the future");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refused_row_that_the_log_names_passes),
        cmocka_unit_test(a_commit_before_the_log_knows_of_the_refused_row_is_caught),
        cmocka_unit_test(a_refused_row_that_is_called_flushed_is_caught),
        cmocka_unit_test(an_answer_that_names_a_key_as_refused_which_never_was_is_caught),
        cmocka_unit_test(what_the_log_says_while_it_does_not_know_is_not_held_against_it),
        cmocka_unit_test(a_write_that_is_forgotten_too_early_is_caught),
        cmocka_unit_test(a_loss_that_is_counted_passes_and_one_that_is_not_is_caught),
        cmocka_unit_test(a_write_that_a_rewind_passes_over_is_caught),
        cmocka_unit_test(a_rewind_without_a_travel_is_caught),
        cmocka_unit_test(a_freshness_that_is_true_passes),
        cmocka_unit_test(a_freshness_that_the_database_does_not_have_is_caught),
        cmocka_unit_test(a_freshness_may_leave_out_what_it_counts_as_quarantined),
        cmocka_unit_test(a_freshness_that_goes_back_is_caught),
        cmocka_unit_test(a_freshness_of_the_future_is_caught),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
