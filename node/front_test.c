/* The front door with a real group behind it: what each request of proto/client.proto comes to. */
#include "node/front_test_help.h"

#include <string.h>

/* ---- Each operation ---- */

static void a_set_has_a_version_and_an_index_and_reads_show_it(void **state)
{
    struct bench b;
    bench_init(&b, 1);
    const Wbrpc__Response *set = ASK(&b, SET, "k", "value");
    const Wbrpc__Result *r = only_result(set, STATUS_OK);
    assert_true(r->found && r->has_version && !r->has_value && !r->has_length && !r->has_expires_at_ms);
    assert_int_equal(set->index, b.f.last_index);
    uint64_t version = r->version;

    const Wbrpc__Response *read = ASK(&b, GET, "k", "");
    r = only_result(read, STATUS_OK);
    assert_true(r->found && r->version == version && !r->has_length && !r->has_type && !r->has_number);
    assert_text(r, "value");
    assert_false(read->has_index || read->has_age_ms || read->has_session);
    r = only_result(ASK(&b, EXISTS, "k", ""), STATUS_OK);
    assert_true(r->found && r->version == version && !r->has_length && !r->has_value && !r->has_type);
    r = only_result(ASK(&b, INSPECT, "k", ""), STATUS_OK);
    assert_true(r->found && r->version == version && r->has_type && r->type == 0 && !r->has_value);
    assert_true(r->length == 5 && !r->has_expires_at_ms && !r->has_ttl_ms);

    Wbrpc__Request__OpCase reads[] = {
        WBRPC__REQUEST__OP_GET, WBRPC__REQUEST__OP_EXISTS, WBRPC__REQUEST__OP_INSPECT};
    for (int i = 0; i < 3; i++) {
        r = only_result(bench_ask_simply(&b, reads[i], "absent", ""), STATUS_OK);
        assert_false(r->found || r->has_value || r->has_version || r->has_length || r->has_ttl_ms);
    }
    bench_deinit(&b);
}

static void conditions_and_old_values_of_set_and_del_are_passed_on(void **state)
{
    struct bench b;
    struct words w;
    bench_init(&b, 1);
    WORDS(&w, SET, "k", "one");
    w.set.has_condition = 1;
    w.set.condition = WBRPC__CONDITION__PRESENT;
    assert_false(only_result(bench_ask(&b, &w.msg), STATUS_CONDITION_FAILED)->found);
    w.set.condition = WBRPC__CONDITION__ABSENT;
    uint64_t version = only_result(bench_ask(&b, &w.msg), STATUS_OK)->version;
    w.set.has_return_old = w.set.return_old = 1;
    const Wbrpc__Response *failed = bench_ask(&b, &w.msg);
    const Wbrpc__Result *r = only_result(failed, STATUS_CONDITION_FAILED);
    assert_true(r->found && r->version == version && !failed->has_index);
    assert_text(r, "one");

    w.set.condition = WBRPC__CONDITION__VERSION;
    w.set.has_version = 1;
    w.set.version = version;
    w.entry.value = text("two");
    r = only_result(bench_ask(&b, &w.msg), STATUS_OK);
    assert_text(r, "one");
    assert_true(r->version > version);
    only_result(bench_ask(&b, &w.msg), STATUS_CONDITION_FAILED); /* it has another one now */

    WORDS(&w, DEL, "k", "");
    w.del.has_condition = w.del.has_version = 1;
    w.del.condition = WBRPC__CONDITION__VERSION;
    w.del.version = version;
    only_result(bench_ask(&b, &w.msg), STATUS_CONDITION_FAILED);
    w.del.condition = WBRPC__CONDITION__PRESENT;
    w.del.has_version = 0;
    w.del.has_return_old = w.del.return_old = 1;
    r = only_result(bench_ask(&b, &w.msg), STATUS_OK);
    assert_true(r->found && r->has_version);
    assert_text(r, "two");
    assert_false(only_result(ASK(&b, DEL, "k", ""), STATUS_OK)->found);
    bench_deinit(&b);
}

static void incr_gives_the_sum_and_append_the_length(void **state)
{
    struct bench b;
    struct words w;
    bench_init(&b, 1);
    WORDS(&w, INCR, "n", "");
    w.incr.delta = -5;
    const Wbrpc__Result *r = only_result(bench_ask(&b, &w.msg), STATUS_OK);
    assert_true(r->found && r->has_number && r->number == -5 && r->has_version && !r->has_value);
    w.incr.delta = INT64_MIN;
    const Wbrpc__Response *over = bench_ask(&b, &w.msg);
    assert_int_equal(over->status, STATUS_OUT_OF_RANGE);
    assert_int_equal(over->n_results, 0);
    r = only_result(ASK(&b, APPEND, "n", "0x"), STATUS_OK);
    assert_true(r->has_length && r->length == 4 && r->has_version && !r->has_value && !r->has_number);
    assert_int_equal(ASK(&b, INCR, "n", "")->status, STATUS_NOT_A_NUMBER);
    assert_text(only_result(ASK(&b, GET, "n", ""), STATUS_OK), "-50x");
    bench_deinit(&b);
}

static void expiries_are_set_kept_shown_and_removed(void **state)
{
    struct bench b;
    struct words w;
    bench_init(&b, 1);
    WORDS(&w, SET, "k", "v");
    w.set.has_expire_after_ms = 1;
    w.set.expire_after_ms = 60000;
    only_result(bench_ask(&b, &w.msg), STATUS_OK);
    const Wbrpc__Result *r = only_result(ASK(&b, INSPECT, "k", ""), STATUS_OK);
    assert_true(r->has_ttl_ms && r->ttl_ms == 60000 && r->has_expires_at_ms);
    uint64_t at_ms = r->expires_at_ms;
    r = only_result(ASK(&b, GET, "k", ""), STATUS_OK);
    assert_false(r->has_expires_at_ms || r->has_ttl_ms);

    WORDS(&w, SET, "k", "w");
    w.set.has_keep_expiry = w.set.keep_expiry = 1;
    only_result(bench_ask(&b, &w.msg), STATUS_OK);
    assert_int_equal(only_result(ASK(&b, INSPECT, "k", ""), STATUS_OK)->expires_at_ms, at_ms);

    WORDS(&w, EXPIRE, "k", "");
    w.expire.has_at_ms = 1;
    w.expire.at_ms = at_ms + 1000;
    w.expire.has_only_if = 1;
    w.expire.only_if = WBRPC__EXPIRE_IF__EARLIER;
    only_result(bench_ask(&b, &w.msg), STATUS_CONDITION_FAILED);
    w.expire.only_if = WBRPC__EXPIRE_IF__LATER;
    r = only_result(bench_ask(&b, &w.msg), STATUS_OK);
    assert_true(r->found && r->expires_at_ms == at_ms + 1000 && !r->has_ttl_ms);
    WORDS(&w, EXPIRE, "k", "");
    w.expire.has_after_ms = 1;
    w.expire.after_ms = 1;
    r = only_result(bench_ask(&b, &w.msg), STATUS_OK);
    assert_true(r->expires_at_ms < at_ms);
    r = only_result(ASK(&b, EXPIRE, "k", ""), STATUS_OK); /* neither time: for ever */
    assert_true(r->found && !r->has_expires_at_ms);
    assert_false(only_result(ASK(&b, EXPIRE, "absent", ""), STATUS_OK)->found);
    WORDS(&w, SET, "k", "x");
    w.set.has_expire_at_ms = 1;
    w.set.expire_at_ms = 1; /* 1970 */
    only_result(bench_ask(&b, &w.msg), STATUS_OK);
    assert_false(only_result(ASK(&b, EXISTS, "k", ""), STATUS_OK)->found);
    bench_deinit(&b);
}

static void many_keys_are_written_at_once_and_read_in_the_requests_order(void **state)
{
    enum { N = LIMIT_REQUEST_KEYS };
    struct bench b;
    struct words w;
    static char names[N][12];
    Wbrpc__KeyValue *entries = calloc(N, sizeof *entries);
    Wbrpc__KeyValue **list = calloc(N, sizeof *list);
    ProtobufCBinaryData *keys = calloc(N, sizeof *keys);
    bench_init(&b, 1);
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "%d", i);
        wbrpc__key_value__init(&entries[i]);
        entries[i].key = entries[i].value = text(names[i]);
        list[i] = &entries[i];
        keys[N - 1 - i] = entries[i].key;
    }
    WORDS(&w, SET, "", "");
    w.set.n_entries = N;
    w.set.entries = list;
    uint64_t proposals = b.f.proposals;
    assert_int_equal(bench_ask(&b, &w.msg)->n_results, N);
    assert_int_equal(b.f.proposals, proposals + 1);
    WORDS(&w, GET, "", "");
    w.keys.n_keys = N;
    w.keys.keys = keys;
    const Wbrpc__Response *read = bench_ask(&b, &w.msg);
    assert_int_equal(read->status, STATUS_OK);
    assert_int_equal(read->n_results, N);
    for (int i = 0; i < N; i++) {
        assert_text(read->results[i], names[N - 1 - i]);
    }
    free(entries);
    free(list);
    free(keys);
    bench_deinit(&b);
}

/* ---- Levels, waiting, deadlines ---- */

static void a_flushed_write_is_answered_by_the_database_or_as_not_flushed(void **state)
{
    struct bench b;
    struct words w;
    struct call c;
    bench_init(&b, 1);
    WORDS(&w, SET, "k", "v");
    w.msg.has_level = 1;
    w.msg.level = WBRPC__LEVEL__FLUSHED;
    bench_send(&b, &c, &w.msg);
    bench_settle(&b);
    assert_null(c.answer);
    assert_int_equal(b.f.sent_n, 1);
    db_committed(&b.f, b.f.sent[0].id);
    bench_settle(&b);
    assert_non_null(c.answer);
    assert_true(only_result(c.answer, STATUS_OK)->has_version);
    wbrpc__response__free_unpacked(c.answer, NULL);

    bench_send(&b, &c, &w.msg);
    bench_settle(&b);
    uint64_t index = b.f.last_index;
    fixture_pass(&b.f, DEADLINE_MS - 1);
    assert_null(c.answer);
    fixture_pass(&b.f, SWEEP_MS);
    assert_non_null(c.answer);
    assert_true(only_result(c.answer, STATUS_NOT_FLUSHED)->has_version);
    assert_true(c.answer->index > 0 && c.answer->index <= index);
    wbrpc__response__free_unpacked(c.answer, NULL);
    bench_deinit(&b);
}

static void flush_and_wait_are_answered_with_the_flushed_index(void **state)
{
    struct bench b;
    struct words w;
    struct call flush, wait;
    bench_init(&b, 1);
    uint64_t index = ASK(&b, SET, "k", "v")->index;
    WORDS(&w, WAIT, "", "");
    w.wait.index = index - 1;
    const Wbrpc__Response *done = bench_ask(&b, &w.msg); /* nothing older is dirty */
    assert_int_equal(done->status, STATUS_OK);
    assert_int_equal(done->index, index - 1);
    assert_int_equal(done->n_results, 0);
    w.wait.index = index;
    bench_send(&b, &wait, &w.msg);
    bench_send(&b, &flush, WORDS(&w, FLUSH, "", ""));
    bench_settle(&b);
    assert_true(wait.answer == NULL && flush.answer == NULL);
    db_committed(&b.f, b.f.sent[0].id);
    bench_settle(&b);
    assert_int_equal(wait.answer->status, STATUS_OK);
    assert_true(wait.answer->index >= index);
    assert_int_equal(flush.answer->status, STATUS_OK);
    assert_true(flush.answer->index >= index);
    wbrpc__response__free_unpacked(wait.answer, NULL);
    wbrpc__response__free_unpacked(flush.answer, NULL);
    bench_deinit(&b);
}

static void a_request_without_a_deadline_has_a_minute(void **state)
{
    struct bench b;
    struct words w;
    struct call c;
    bench_init(&b, 1);
    WORDS(&w, WAIT, "", "");
    w.wait.index = 1000000;
    w.msg.has_deadline_ms = 0;
    bench_send(&b, &c, &w.msg);
    fixture_pass(&b.f, 59999);
    assert_null(c.answer);
    fixture_pass(&b.f, SWEEP_MS);
    assert_non_null(c.answer);
    assert_int_equal(c.answer->status, STATUS_NOT_FLUSHED);
    wbrpc__response__free_unpacked(c.answer, NULL);
    bench_deinit(&b);
}

/* ---- Sessions ---- */

static void a_retry_in_a_session_gets_the_first_answer(void **state)
{
    struct bench b;
    struct words w;
    bench_init(&b, 1);
    const Wbrpc__Response *opened = ASK(&b, OPEN_SESSION, "", "");
    assert_int_equal(opened->status, STATUS_OK);
    assert_true(opened->has_session && !opened->has_index && opened->n_results == 0);
    assert_true(sessions_known(&group_state(b.f.group)->sessions, opened->session));
    WORDS(&w, INCR, "n", "");
    w.incr.delta = 3;
    w.msg.once = &w.once;
    w.once.session = opened->session;
    w.once.sequence = w.once.first_awaited = 1;
    const Wbrpc__Response *first = bench_ask(&b, &w.msg);
    uint64_t version = only_result(first, STATUS_OK)->version, index = first->index;
    w.once.has_retry = w.once.retry = 1;
    const Wbrpc__Response *again = bench_ask(&b, &w.msg);
    const Wbrpc__Result *r = only_result(again, STATUS_OK);
    assert_true(r->number == 3 && r->version == version && again->index == index);
    w.once.sequence = 2;
    assert_int_equal(only_result(bench_ask(&b, &w.msg), STATUS_OK)->number, 6);
    w.once.first_awaited = w.once.sequence = 9;
    assert_int_equal(only_result(bench_ask(&b, &w.msg), STATUS_OK)->number, 9);
    w.once.first_awaited = w.once.sequence = 1; /* which is not awaited any more */
    assert_int_equal(bench_ask(&b, &w.msg)->status, STATUS_SESSION_EXPIRED);
    w.once.session++;
    w.once.first_awaited = w.once.sequence = 10;
    assert_int_equal(bench_ask(&b, &w.msg)->status, STATUS_SESSION_EXPIRED);
    bench_deinit(&b);
}

/* ---- Who may answer ---- */

static void a_follower_names_the_leader_and_answers_stale_reads_with_their_age(void **state)
{
    struct bench b;
    struct words w;
    bench_init(&b, 1);
    ASK(&b, SET, "k", "v");
    group_on_gate_close(b.f.group);
    b.leader = "node2:7101";
    Wbrpc__Request__OpCase all[] = {WBRPC__REQUEST__OP_GET, WBRPC__REQUEST__OP_SET, WBRPC__REQUEST__OP_INCR,
        WBRPC__REQUEST__OP_SCAN, WBRPC__REQUEST__OP_FLUSH, WBRPC__REQUEST__OP_OPEN_SESSION};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        const Wbrpc__Response *answer = bench_ask_simply(&b, all[i], "k", "v");
        assert_int_equal(answer->status, STATUS_NOT_LEADER);
        assert_string_equal(answer->leader, "node2:7101");
        assert_int_equal(answer->n_results, 0);
        assert_false(answer->has_session || answer->has_index);
    }
    b.leader = NULL;
    assert_null(ASK(&b, GET, "k", "")->leader);
    WORDS(&w, GET, "k", "");
    w.msg.has_stale = w.msg.stale = 1;
    const Wbrpc__Response *stale = bench_ask(&b, &w.msg);
    assert_text(only_result(stale, STATUS_OK), "v");
    assert_true(stale->has_age_ms && stale->age_ms == STALE_AGE_MS);
    bench_deinit(&b);
}

static void over_the_dirty_budget_a_write_is_told_when_to_come_again(void **state)
{
    enum { BIG = 700 * 1024 };
    struct bench b;
    struct words w;
    char *value = malloc(BIG);
    memset(value, 'x', BIG);
    bench_init(&b, 1);
    WORDS(&w, SET, "a", "");
    w.entry.value = pb_borrow(bytes_of(value, BIG));
    only_result(bench_ask(&b, &w.msg), STATUS_OK);
    w.entry.key = text("b");
    const Wbrpc__Response *answer = bench_ask(&b, &w.msg);
    if (answer->status == STATUS_OK) { /* the budget may be found full after it only */
        w.entry.key = text("c");
        answer = bench_ask(&b, &w.msg);
    }
    assert_int_equal(answer->status, STATUS_OVERLOADED);
    assert_true(answer->has_retry_after_ms && answer->retry_after_ms > 0);
    assert_int_equal(answer->n_results, 0);
    free(value);
    bench_deinit(&b);
}

static void a_node_that_stops_answers_what_is_about_itself_only(void **state)
{
    struct bench b;
    bench_init(&b, 3);
    for (int closing = 0; closing < 2; closing++) {
        b.front.closing = closing;
        const Wbrpc__Response *answer = ASK(&b, TOPOLOGY, "", "");
        assert_int_equal(answer->status, STATUS_OK);
        assert_int_equal(answer->topology->group_count, 3);
        answer = ASK(&b, STATUS, "", "");
        assert_int_equal(answer->status, STATUS_OK);
        assert_string_equal(answer->node->version, "1.2.3");
    }
    assert_int_equal(ASK(&b, GET, "k", "")->status, STATUS_SHUTTING_DOWN);
    assert_int_equal(ASK(&b, OPEN_SESSION, "", "")->status, STATUS_SHUTTING_DOWN);
    bench_deinit(&b);
}

/* ---- Scans ---- */

static void a_scan_gives_the_keys_with_a_prefix_step_by_step(void **state)
{
    enum { N = 300 };
    struct bench b;
    struct words w;
    char name[32];
    bool seen[N] = {false};
    bench_init(&b, 1);
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "%s:%d", i % 2 ? "odd" : "even", i);
        ASK(&b, SET, name, "v");
    }
    WORDS(&w, SCAN, "", "");
    w.scan.has_prefix = w.scan.has_count = 1;
    w.scan.prefix = text("odd:");
    w.scan.count = 20;
    unsigned steps = 0, n = 0;
    do {
        const Wbrpc__Response *step = bench_ask(&b, &w.msg);
        assert_int_equal(step->status, STATUS_OK);
        assert_non_null(step->scan);
        assert_int_equal(step->n_results, 0);
        for (size_t i = 0; i < step->scan->n_keys; i++, n++) {
            snprintf(
                name, sizeof name, "%.*s", (int)step->scan->keys[i].len, (char *)step->scan->keys[i].data);
            assert_int_equal(strncmp(name, "odd:", 4), 0);
            assert_false(seen[atoi(name + 4)]);
            seen[atoi(name + 4)] = true;
        }
        w.scan.cursor = step->scan->cursor;
        assert_true(w.scan.cursor == 0 || (w.scan.cursor & 0xffff) == SCAN_TAG);
        steps++;
    } while (w.scan.cursor != 0);
    assert_int_equal(n, N / 2);
    assert_true(steps > 3);
    w.scan.has_prefix = 0;
    w.scan.count = UINT32_MAX; /* counts as 10,000 */
    assert_int_equal(bench_ask(&b, &w.msg)->scan->n_keys, N);
    w.msg.has_stale = w.msg.stale = 1;
    const Wbrpc__Response *stale = bench_ask(&b, &w.msg);
    assert_true(stale->scan->n_keys == N && stale->age_ms == STALE_AGE_MS);
    bench_deinit(&b);
}

/* ---- For operators; the details are front_admin_test's and group_admin_test's ---- */

static const Wbrpc__Response *ask_admin(struct bench *b, Wbrpc__Request__OpCase op, void *message)
{
    Wbrpc__Request request = WBRPC__REQUEST__INIT;
    request.op_case = op;
    request.get = message; /* the members of the union are all pointers */
    request.has_deadline_ms = 1;
    request.deadline_ms = DEADLINE_MS;
    const Wbrpc__Response *answer = bench_ask(b, &request);
    assert_int_equal(answer->status, STATUS_OK);
    return answer;
}

static void an_operators_questions_and_commands_go_to_the_group_and_back(void **state)
{
    struct bench b;
    bench_init(&b, 1);
    uint64_t version = only_result(ASK(&b, SET, "k", "value"), STATUS_OK)->version;
    ProtobufCBinaryData names[] = {text("k"), text("nowhere")};
    Wbrpc__Keys keys = WBRPC__KEYS__INIT;
    keys.keys = names;
    keys.n_keys = 2;
    const Wbrpc__Response *answer = ask_admin(&b, WBRPC__REQUEST__OP_KEY_STATUS, &keys);
    assert_int_equal(answer->n_key_states, 2);
    const Wbrpc__KeyState *key = answer->key_states[0];
    assert_true(key->in_memory && key->present && key->version == version && key->length == 5);
    assert_true(key->has_dirty_index && !key->evictable && key->quarantined == NULL);
    assert_false(answer->key_states[1]->in_memory);

    Wbrpc__FlushSettings settings = WBRPC__FLUSH_SETTINGS__INIT;
    Wbrpc__FlushControl control = WBRPC__FLUSH_CONTROL__INIT;
    settings.has_paused = settings.paused = settings.has_age_ms = 1;
    settings.age_ms = 77;
    control.set = &settings;
    const Wbrpc__FlushControlReply *now =
        ask_admin(&b, WBRPC__REQUEST__OP_FLUSH_CONTROL, &control)->flush_control;
    assert_true(now->settings->paused && now->settings->age_ms == 77 && now->settings->batch_rows > 0);
    assert_true(now->set->has_age_ms && now->set->age_ms == 77 && !now->set->has_batch_rows);
    control.set = NULL;
    control.has_reset = control.reset = 1;
    now = ask_admin(&b, WBRPC__REQUEST__OP_FLUSH_CONTROL, &control)->flush_control;
    assert_false(now->settings->paused || now->set->has_age_ms);

    Wbrpc__Quarantine quarantine = WBRPC__QUARANTINE__INIT;
    answer = ask_admin(&b, WBRPC__REQUEST__OP_QUARANTINE, &quarantine);
    assert_true(answer->quarantine->total == 0 && answer->quarantine->n_keys == 0);
    Wbrpc__Forget forget = WBRPC__FORGET__INIT;
    forget.keys = names;
    forget.versions = &version;
    forget.n_keys = forget.n_versions = 1;
    ask_admin(&b, WBRPC__REQUEST__OP_FORGET, &forget);
    assert_text(only_result(ASK(&b, GET, "k", ""), STATUS_OK), "value"); /* it is dirty: it stays */
    Wbrpc__Verify verify = WBRPC__VERIFY__INIT;
    const Wbrpc__VerifyReply *compared = ask_admin(&b, WBRPC__REQUEST__OP_VERIFY, &verify)->verify;
    assert_true(compared->cursor == 0 && compared->dirty == 1 && compared->n_differences == 0);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FRONT_TEST(a_set_has_a_version_and_an_index_and_reads_show_it),
        FRONT_TEST(conditions_and_old_values_of_set_and_del_are_passed_on),
        FRONT_TEST(incr_gives_the_sum_and_append_the_length),
        FRONT_TEST(expiries_are_set_kept_shown_and_removed),
        FRONT_TEST(many_keys_are_written_at_once_and_read_in_the_requests_order),
        FRONT_TEST(a_flushed_write_is_answered_by_the_database_or_as_not_flushed),
        FRONT_TEST(flush_and_wait_are_answered_with_the_flushed_index),
        FRONT_TEST(a_request_without_a_deadline_has_a_minute),
        FRONT_TEST(a_retry_in_a_session_gets_the_first_answer),
        FRONT_TEST(a_follower_names_the_leader_and_answers_stale_reads_with_their_age),
        FRONT_TEST(over_the_dirty_budget_a_write_is_told_when_to_come_again),
        FRONT_TEST(a_node_that_stops_answers_what_is_about_itself_only),
        FRONT_TEST(a_scan_gives_the_keys_with_a_prefix_step_by_step),
        FRONT_TEST(an_operators_questions_and_commands_go_to_the_group_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
