/* Updates: conditions, many of one key in flight, the order of a connection, budgets, write levels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/group_fixture.h"
#include "node/group_internal.h"

static struct operation set_if(
    const char *key, const char *value, enum operation_condition condition, uint64_t version)
{
    return (struct operation){.kind = OPERATION_SET,
        .key = bytes_from_text(key),
        .value = bytes_from_text(value),
        .condition = condition,
        .if_version = version};
}

static void increments_of_one_key_do_not_wait_for_each_other(void **state)
{
    (void)state;
    struct fixture f;
    static struct ask a[100];
    fixture_init(&f, 0, false, true);
    set_now(&f, "n", "1000");
    unsigned before = f.proposals;
    for (int i = 0; i < 100; i++) {
        ask_incr(&f, &a[i], "n", 1, (uint64_t)i);
        if (i == 0) {
            fixture_turn(&f);
        }
    }
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    assert_int_equal(f.proposals - before, 2); /* one in flight, all others in the next */
    for (int i = 0; i < 100; i++) {
        assert_done(&a[i], STATUS_OK);
        assert_int_equal(a[i].result.number, 1001 + i);
        assert_true(i == 0 || a[i].result.version > a[i - 1].result.version);
    }
    fixture_deinit(&f);
}

static void a_version_is_compared_with_the_newest_write_once_it_has_one(void **state)
{
    (void)state;
    struct fixture f;
    struct ask first, right, wrong;
    fixture_init(&f, 0, false, true);
    set_now(&f, "k", "v0");
    uint64_t v0 = state_find(group_state(f.group), bytes_from_text("k"))->version;
    struct operation cas = set_if("k", "v1", CONDITION_VERSION, v0);
    ask_update(&f, &first, &cas, 1);
    fixture_turn(&f);
    ask_update(&f, &wrong, &cas, 2); /* sees the first one in flight */
    fixture_turn(&f);
    assert_false(wrong.done);
    fixture_commit(&f, UINT32_MAX);
    fixture_turn(&f);
    assert_done(&first, STATUS_OK);
    assert_done(&wrong, STATUS_CONDITION_FAILED);
    assert_int_equal(wrong.result.version, first.result.version);
    assert_int_equal(wrong.r.index, 0);
    cas.if_version = first.result.version;
    ask_update(&f, &right, &cas, 2);
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    assert_done(&right, STATUS_OK);
    fixture_deinit(&f);
}

static void a_condition_on_a_write_in_the_open_entry_waits_for_its_version(void **state)
{
    (void)state;
    struct fixture f;
    struct ask hold, set, cas, absent;
    fixture_init(&f, 0, false, true);
    ask_set(&f, &hold, "other", "x", 1);
    fixture_turn(&f); /* in flight: what follows stays in the open entry */
    ask_set(&f, &set, "k", "v", 1);
    struct operation if_version = set_if("k", "w", CONDITION_VERSION, 12345);
    struct operation if_absent = set_if("k", "w", CONDITION_ABSENT, 0);
    ask_update(&f, &cas, &if_version, 2);
    fixture_turn(&f);
    f.loads = 0;
    ask_update(&f, &absent, &if_absent, 2);
    fixture_turn(&f);
    assert_false(cas.done || absent.done);
    fixture_commit(&f, UINT32_MAX);
    fixture_turn(&f);
    assert_done(&cas, STATUS_CONDITION_FAILED);
    assert_done(&absent, STATUS_CONDITION_FAILED);
    assert_true(absent.result.found);
    assert_int_equal(absent.result.version, set.result.version);
    fixture_deinit(&f);
}

static void no_expiry_to_remove_from_a_write_in_the_open_entry_has_its_version(void **state)
{
    (void)state;
    struct fixture f;
    struct ask hold, set, persist;
    fixture_init(&f, 0, false, true);
    ask_set(&f, &hold, "other", "x", 1);
    fixture_turn(&f); /* in flight: what follows stays in the open entry */
    ask_set(&f, &set, "k", "v", 1);
    struct operation never = {.kind = OPERATION_EXPIRE, .key = bytes_from_text("k")};
    ask_update(&f, &persist, &never, 2);
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    fixture_turn(&f);
    assert_done(&set, STATUS_OK);
    assert_done(&persist, STATUS_OK);
    assert_true(persist.result.found);
    assert_false(persist.result.written);
    assert_int_equal(persist.result.version, set.result.version);
    assert_int_equal(persist.r.index, 0);
    fixture_deinit(&f);
}

static void an_answer_without_a_write_needs_the_lease(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a;
    fixture_init(&f, 0, false, true);
    set_now(&f, "k", "v");
    f.lease = false;
    struct operation nx = set_if("k", "w", CONDITION_ABSENT, 0);
    ask_update(&f, &a, &nx, 1);
    fixture_turn(&f);
    assert_false(a.done);
    group_on_barrier(f.group, f.barrier_token);
    fixture_turn(&f);
    assert_done(&a, STATUS_CONDITION_FAILED);
    fixture_deinit(&f);
}

static void a_renewed_lease_serves_who_came_after_its_barrier(void **state)
{
    (void)state;
    struct fixture f;
    struct ask first, second;
    fixture_init(&f, 0, false, true);
    set_now(&f, "k", "v");
    f.lease = false;
    ask_get(&f, &first, "k", 1);
    fixture_turn(&f);
    ask_get(&f, &second, "k", 2);
    fixture_turn(&f);
    f.lease = true;
    group_on_barrier(f.group, f.barrier_token);
    fixture_turn(&f);
    fixture_turn(&f);
    assert_got(&first, "v");
    assert_got(&second, "v");
    assert_int_equal(f.barriers, 1);
    fixture_deinit(&f);
}

static void a_get_keeps_its_place_between_the_sets_of_its_connection(void **state)
{
    (void)state;
    struct fixture f;
    struct ask s1, g1, s2, g2, d, g3;
    fixture_init(&f, 0, false, true);
    ask_set(&f, &s1, "k", "one", 1);
    ask_get(&f, &g1, "k", 1);
    ask_set(&f, &s2, "k", "two", 1);
    ask_get(&f, &g2, "k", 1);
    ask_del(&f, &d, "k", 1);
    ask_get(&f, &g3, "k", 1);
    fixture_turn(&f);
    assert_false(g1.done);
    fixture_commit(&f, UINT32_MAX);
    fixture_turn(&f);
    assert_int_equal(g1.result.version, s1.result.version);
    assert_int_equal(g2.result.version, s2.result.version);
    assert_got(&g1, "one");
    assert_got(&g2, "two");
    assert_got(&g3, NULL);
    assert_true(d.result.found);
    fixture_deinit(&f);
}

static void a_get_from_two_entries_in_flight_has_each_ones_version(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a, b;
    struct operation_result results[2] = {{0}};
    struct bytes keys[2] = {bytes_from_text("a"), bytes_from_text("b")};
    struct ask both;
    fixture_init(&f, 0, false, true);
    ask_set(&f, &a, "a", "1", 1);
    fixture_turn(&f);
    ask_set(&f, &b, "b", "2", 1);
    fixture_turn(&f);
    ask_get(&f, &both, "a", 1);
    both.r.n = 2;
    both.r.keys = keys;
    both.r.results = results;
    fixture_turn(&f);
    fixture_commit(&f, 1);
    assert_true(a.done);
    assert_false(both.done);
    fixture_commit(&f, UINT32_MAX);
    fixture_turn(&f);
    assert_done(&both, STATUS_OK);
    assert_int_equal(results[0].version, a.result.version);
    assert_int_equal(results[1].version, b.result.version);
    value_unref(results[0].value);
    value_unref(results[1].value);
    fixture_deinit(&f);
}

static void what_was_read_from_a_refused_entry_is_read_again(void **state)
{
    (void)state;
    struct fixture f;
    struct ask hold, set, get;
    fixture_init(&f, 0, false, true);
    set_now(&f, "k", "old");
    ask_set(&f, &hold, "other", "x", 1);
    fixture_turn(&f);
    ask_set(&f, &set, "k", "new", 1);
    ask_get(&f, &get, "k", 1);
    fixture_turn(&f);
    f.propose_status = STATUS_NO_SPACE;
    fixture_commit(&f, UINT32_MAX);
    fixture_turn(&f);
    assert_done(&set, STATUS_NO_SPACE);
    fixture_turn(&f);
    assert_got(&get, "old");
    f.propose_status = STATUS_OK;
    fixture_deinit(&f);
}

static void submit_two(
    struct fixture *f, struct ask *a, struct operation *two, struct operation_result *results)
{
    ask_update(f, a, &two[0], 1);
    a->r.n = 2; /* evaluated in the next turn only */
    a->r.operations = two;
    a->r.results = results;
    fixture_turn(f);
}

static void all_of_a_request_happens_or_nothing(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a, get;
    struct operation_result results[2] = {{0}};
    fixture_init(&f, 0, false, true);
    set_now(&f, "b", "there");
    set_now(&f, "a", "x");
    struct ask del;
    ask_del(&f, &del, "a", 1);
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    struct operation two[2] = {set_if("a", "1", CONDITION_ABSENT, 0), set_if("b", "2", CONDITION_ABSENT, 0)};
    unsigned before = f.proposals;
    submit_two(&f, &a, two, results);
    assert_done(&a, STATUS_CONDITION_FAILED);
    assert_int_equal(f.proposals, before);
    assert_false(results[0].found || results[0].written);
    assert_true(results[1].found);
    ask_get(&f, &get, "a", 1);
    fixture_turn(&f);
    assert_got(&get, NULL);
    fixture_deinit(&f);
}

static void a_key_named_twice_under_a_condition_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a, after;
    struct operation_result results[2] = {{0}};
    fixture_init(&f, 0, false, true);
    set_now(&f, "a", "x");
    uint64_t version = state_find(group_state(f.group), bytes_from_text("a"))->version;
    struct operation two[2] = {
        set_if("a", "1", CONDITION_VERSION, version), set_if("a", "2", CONDITION_VERSION, version)};
    submit_two(&f, &a, two, results);
    assert_done(&a, STATUS_INVALID);
    ask_get(&f, &after, "a", 1);
    fixture_turn(&f);
    assert_got(&after, "x");
    fixture_deinit(&f);
}

static void a_request_that_undoes_its_writes_leaves_nothing_behind(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a;
    struct operation_result results[3] = {{0}};
    fixture_init(&f, 0, false, true);
    set_now(&f, "a", "x");
    set_now(&f, "b", "x");
    struct ask del;
    ask_del(&f, &del, "b", 1);
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    set_now(&f, "c", "x"); /* the tombstone may be flushed meanwhile: it is known that b is not there */
    struct operation three[3] = {set_if("a", "1", CONDITION_PRESENT, 0),
        set_if("a", "2", CONDITION_PRESENT, 0), set_if("b", "3", CONDITION_PRESENT, 0)};
    for (int i = 0; i < 1000; i++) {
        ask_update(&f, &a, &three[0], 1);
        a.r.n = 3;
        a.r.operations = three;
        a.r.results = results;
        fixture_turn(&f);
        assert_done(&a, STATUS_CONDITION_FAILED); /* at once: nothing in flight was seen but its own */
        memset(results, 0, sizeof results);
    }
    assert_true(group_memory(f.group) < 100000);
    fixture_deinit(&f);
}

static void two_keys_of_one_write_are_seen_together(void **state)
{
    (void)state;
    struct fixture f;
    struct ask write, both;
    struct operation_result written[2] = {{0}}, results[2] = {{0}};
    struct bytes keys[2] = {bytes_from_text("a"), bytes_from_text("b")};
    fixture_init(&f, 0, false, true);
    set_now(&f, "a", "1"); /* b is not in memory */
    struct operation two[2] = {set_if("a", "2", CONDITION_NONE, 0), set_if("b", "2", CONDITION_NONE, 0)};
    submit_two(&f, &write, two, written);
    ask_get(&f, &both, "a", 2);
    both.r.n = 2;
    both.r.keys = keys;
    both.r.results = results;
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    fixture_turn(&f);
    assert_done(&both, STATUS_OK);
    for (int i = 0; i < 2; i++) {
        assert_true(bytes_equal(value_bytes(results[i].value), bytes_from_text("2")));
        value_unref(results[i].value);
    }
    fixture_deinit(&f);
}

static void too_big_is_an_answer_like_others(void **state)
{
    (void)state;
    struct fixture f;
    struct ask first, retry, late, del;
    fixture_init(&f, 0, false, true);
    static char big[1000 * 1024];
    f.group->config.dirty_bytes_max = 8 << 20; /* the budget is not what refuses it */
    struct operation append = {
        .kind = OPERATION_APPEND, .key = bytes_from_text("k"), .value = bytes_of(big, 200 * 1024)};
    state_put_clean((struct state *)(uintptr_t)group_state(f.group), append.key, VALUE_STRING,
        value_create(bytes_of(big, sizeof big)), 1, 0);
    uint64_t session = open_session_now(&f);
    f.lease = false;
    ask_update(&f, &first, &append, 1);
    fixture_turn(&f);
    assert_false(first.done); /* a deposed leader may not know how long the value is */
    f.lease = true;
    group_on_barrier(f.group, f.barrier_token);
    fixture_turn(&f);
    assert_done(&first, STATUS_TOO_BIG);
    ask_once(&f, &retry, &append, session, 1, true);
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    assert_done(&retry, STATUS_TOO_BIG);
    ask_del(&f, &del, "k", 1);
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    ask_once(&f, &late, &append, session, 1, false);
    fixture_turn(&f);
    assert_done(&late, STATUS_TOO_BIG);
    fixture_deinit(&f);
}

static void a_scan_keeps_nothing_while_it_waits_for_the_lease(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a;
    fixture_init(&f, 0, false, true);
    set_now(&f, "k", "v");
    f.lease = false;
    ask_scan(&f, &a, 0, "", 1000);
    fixture_turn(&f);
    assert_false(a.done);
    assert_int_equal(a.scan.keys.cap, 0);
    group_on_barrier(f.group, f.barrier_token);
    fixture_turn(&f);
    assert_done(&a, STATUS_OK);
    assert_int_equal(a.scan.n, 1);
    buf_deinit(&a.scan.keys);
    fixture_deinit(&f);
}

static void a_set_does_not_overtake_who_waits_for_its_key(void **state)
{
    (void)state;
    struct fixture f;
    struct ask get, del, set, other;
    fixture_init(&f, 0, false, true);
    ask_get(&f, &get, "k", 1);
    ask_del(&f, &del, "k", 1);
    fixture_turn(&f);
    ask_set(&f, &set, "k", "new", 1);
    ask_set(&f, &other, "l", "new", 1); /* has nothing to wait for */
    fixture_turn(&f);
    loader_answer(&f, "k", "row", 0);
    fixture_commit(&f, UINT32_MAX);
    fixture_turn(&f);
    assert_got(&get, "row");
    assert_done(&del, STATUS_OK);
    assert_true(del.result.found);
    assert_done(&set, STATUS_OK);
    assert_done(&other, STATUS_OK);
    struct ask after;
    ask_get(&f, &after, "k", 1);
    fixture_turn(&f);
    assert_got(&after, "new");
    fixture_deinit(&f);
}

static void a_set_that_waited_goes_on_without_the_database(void **state)
{
    (void)state;
    struct fixture f;
    struct ask get, set;
    fixture_init(&f, 0, false, true);
    ask_get(&f, &get, "k", 1);
    fixture_turn(&f);
    ask_set(&f, &set, "k", "new", 1);
    fixture_turn(&f);
    loader_fail(&f, "connection refused");
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    assert_done(&get, STATUS_DATABASE_DOWN);
    assert_done(&set, STATUS_OK);
    fixture_deinit(&f);
}

static void over_the_budget_dirty_keys_can_still_shrink_and_go(void **state)
{
    (void)state;
    struct fixture f;
    static char big[100 * 1024 + 1];
    char key[16];
    fixture_init(&f, 0, false, true);
    memset(big, 'x', sizeof big - 1);
    for (int i = 0; i < 10; i++) {
        snprintf(key, sizeof key, "k%d", i);
        set_now(&f, key, big);
    }
    struct ask more, same, gone;
    ask_set(&f, &more, "one more", big, 1);
    ask_set(&f, &same, "k1", big, 1);
    ask_del(&f, &gone, "k2", 1);
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX);
    assert_done(&more, STATUS_OVERLOADED);
    assert_done(&same, STATUS_OK);
    assert_done(&gone, STATUS_OK);
    fixture_deinit(&f);
}

static struct operation plain_set(const char *key)
{
    return set_if(key, "v", CONDITION_NONE, 0);
}

static void ask_flushed(struct fixture *f, struct ask *a, const char *key)
{
    struct operation set = plain_set(key);
    ask_update(f, a, &set, 1);
    a->r.level = GROUP_FLUSHED; /* looked at in the next turns only */
    fixture_turn(f);
}

static void a_flushed_write_is_answered_when_it_is_in_the_database(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a, w;
    fixture_init(&f, 0, false, true);
    ask_flushed(&f, &a, "k");
    fixture_commit(&f, 1);
    assert_false(a.done);
    ask_wait(&f, &w, group_state(f.group)->applied_index);
    fixture_turn(&f);
    fixture_commit(&f, UINT32_MAX); /* the batch begins at once: somebody waits */
    assert_int_equal(f.sent_n, 1);
    assert_false(a.done || w.done);
    db_committed(&f, f.sent[0].id);
    fixture_commit(&f, UINT32_MAX);
    fixture_turn(&f);
    assert_done(&a, STATUS_OK);
    assert_int_not_equal(a.r.index, 0);
    assert_int_equal(a.result.version, a.r.index << 16);
    assert_done(&w, STATUS_OK);
    assert_true(w.r.index >= a.r.index);
    fixture_deinit(&f);
}

static void what_the_deadline_leaves_of_a_flushed_write_is_replicated(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a, w;
    fixture_init(&f, 0, false, true);
    ask_flushed(&f, &a, "k");
    ask_wait(&f, &w, 1000000);
    fixture_turn(&f);
    fixture_commit(&f, 1);
    fixture_pass(&f, 10100);
    assert_done(&a, STATUS_NOT_FLUSHED);
    assert_int_not_equal(a.r.index, 0);
    assert_int_equal(a.result.version, a.r.index << 16);
    assert_done(&w, STATUS_NOT_FLUSHED);
    fixture_deinit(&f);
}

static void the_end_of_the_office_leaves_a_flushed_write_replicated(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a, b;
    fixture_init(&f, 0, false, true);
    ask_flushed(&f, &a, "k");
    fixture_commit(&f, 1);
    ask_flushed(&f, &b, "l"); /* not acknowledged by a quorum */
    group_on_gate_close(f.group);
    assert_done(&a, STATUS_NOT_FLUSHED);
    assert_done(&b, STATUS_UNKNOWN);
    fixture_deinit(&f);
}

static void a_scan_gives_the_keys_with_the_prefix(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a;
    fixture_init(&f, 0, false, true);
    set_now(&f, "cart:1", "x");
    set_now(&f, "cart:2", "x");
    set_now(&f, "user:1", "x");
    ask_scan(&f, &a, 0, "cart:", 1000);
    fixture_turn(&f);
    assert_done(&a, STATUS_OK);
    assert_int_equal(a.scan.cursor, 0);
    assert_int_equal(a.scan.n, 2);
    assert_int_equal(a.scan.keys.len, 2 * (4 + 6));
    buf_deinit(&a.scan.keys);
    fixture_deinit(&f);
}

static void a_stale_read_asks_any_replica(void **state)
{
    (void)state;
    struct fixture f;
    struct ask a, miss, late;
    fixture_init(&f, 0, false, true);
    set_now(&f, "k", "v");
    group_on_gate_close(f.group);
    f.contact_age_ms = 77;
    ask_stale(&f, &a, "k");
    ask_stale(&f, &miss, "row");
    fixture_turn(&f);
    assert_got(&a, "v");
    assert_int_equal(a.r.age_ms, 77);
    assert_int_equal(f.loads, 1); /* a follower reads through, too */
    loader_answer(&f, "row", "r", 0);
    assert_got(&miss, "r");
    ask_stale(&f, &late, "another");
    fixture_turn(&f);
    group_on_gate_open(f.group, 2, f.now_ms); /* its load dies with the term */
    assert_done(&late, STATUS_UNAVAILABLE);
    fixture_deinit(&f);
}

/* It would show the row, then apply older writes of the same key, and show those. */
static void a_replica_behind_the_database_does_not_read_through(void **state)
{
    (void)state;
    struct fixture f;
    struct ask early, late;
    fixture_init(&f, 0, false, true);
    set_now(&f, "k", "v");
    uint64_t applied = group_state(f.group)->applied_index;
    group_on_gate_close(f.group);
    ask_stale(&f, &early, "row");
    fixture_turn(&f);
    loader_answer(&f, "row", "newer", applied + 1);
    assert_done(&early, STATUS_UNAVAILABLE);
    assert_null(state_find(group_state(f.group), bytes_from_text("row")));
    ask_stale(&f, &late, "row");
    fixture_turn(&f);
    loader_answer(&f, "row", "known", applied);
    assert_got(&late, "known");
    fixture_deinit(&f);
}

static void a_row_that_cannot_be_ours_fails_its_readers_only(void **state)
{
    (void)state;
    struct fixture f;
    struct ask bad, good, later;
    fixture_init(&f, 0, false, true);
    ask_get(&f, &bad, "bad", 1);
    ask_get(&f, &good, "good", 1);
    ask_get(&f, &later, "later", 1);
    fixture_turn(&f);
    struct bytes bad_key = bytes_from_text("bad"), later_key = bytes_from_text("later");
    struct load_row row = {.key = bytes_from_text("good"), .value = bytes_from_text("g"), .version = 1};
    struct load_result result = {.fence_found = true,
        .rows = &row,
        .n = 1,
        .bad = &bad_key,
        .bad_n = 1,
        .later = &later_key,
        .later_n = 1};
    group_loader_events.loaded(f.group, f.load_token, &result);
    fixture_turn(&f);
    assert_done(&bad, STATUS_CORRUPT);
    assert_got(&good, "g");
    assert_false(later.done);
    assert_int_equal(f.loads, 2);
    loader_answer(&f, "later", "l", 0);
    assert_got(&later, "l");
    assert_null(state_find(group_state(f.group), bad_key));
    fixture_deinit(&f);
}

static void what_nobody_waits_for_is_not_asked_again(void **state)
{
    (void)state;
    struct fixture f;
    struct ask get;
    fixture_init(&f, 0, false, true);
    ask_get(&f, &get, "big", 1);
    fixture_turn(&f);
    fixture_pass(&f, 10100);
    assert_done(&get, STATUS_TIMEOUT);
    struct bytes key = bytes_from_text("big");
    struct load_result later = {.fence_found = true, .later = &key, .later_n = 1};
    group_loader_events.loaded(f.group, f.load_token, &later);
    fixture_turn(&f);
    assert_int_equal(f.loads, 1);
    assert_null(state_find(group_state(f.group), key)); /* and it is not taken for absent */
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(increments_of_one_key_do_not_wait_for_each_other),
        cmocka_unit_test(a_version_is_compared_with_the_newest_write_once_it_has_one),
        cmocka_unit_test(a_condition_on_a_write_in_the_open_entry_waits_for_its_version),
        cmocka_unit_test(no_expiry_to_remove_from_a_write_in_the_open_entry_has_its_version),
        cmocka_unit_test(an_answer_without_a_write_needs_the_lease),
        cmocka_unit_test(a_renewed_lease_serves_who_came_after_its_barrier),
        cmocka_unit_test(a_get_keeps_its_place_between_the_sets_of_its_connection),
        cmocka_unit_test(a_get_from_two_entries_in_flight_has_each_ones_version),
        cmocka_unit_test(what_was_read_from_a_refused_entry_is_read_again),
        cmocka_unit_test(all_of_a_request_happens_or_nothing),
        cmocka_unit_test(a_key_named_twice_under_a_condition_is_refused),
        cmocka_unit_test(a_request_that_undoes_its_writes_leaves_nothing_behind),
        cmocka_unit_test(two_keys_of_one_write_are_seen_together),
        cmocka_unit_test(too_big_is_an_answer_like_others),
        cmocka_unit_test(a_scan_keeps_nothing_while_it_waits_for_the_lease),
        cmocka_unit_test(a_set_does_not_overtake_who_waits_for_its_key),
        cmocka_unit_test(a_set_that_waited_goes_on_without_the_database),
        cmocka_unit_test(over_the_budget_dirty_keys_can_still_shrink_and_go),
        cmocka_unit_test(a_flushed_write_is_answered_when_it_is_in_the_database),
        cmocka_unit_test(what_the_deadline_leaves_of_a_flushed_write_is_replicated),
        cmocka_unit_test(the_end_of_the_office_leaves_a_flushed_write_replicated),
        cmocka_unit_test(a_scan_gives_the_keys_with_the_prefix),
        cmocka_unit_test(a_stale_read_asks_any_replica),
        cmocka_unit_test(a_replica_behind_the_database_does_not_read_through),
        cmocka_unit_test(what_nobody_waits_for_is_not_asked_again),
        cmocka_unit_test(a_row_that_cannot_be_ours_fails_its_readers_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
