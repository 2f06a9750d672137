/* The front door's entrance for operators, with the group's and the server's ends played by the test: what a
 * message becomes, what an outcome becomes, and what is refused before the group sees it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/front.h"
#include "node/front_admin.h"
#include "node/group_admin.h"
#include "proto/pb.h"
#include "proto/slot.h"

enum { GROUPS = 3, TAG = 0xbeef, RECEIVED_MS = 1000 };

/* One request under way; what rpc_reply and group_submit were given. */
struct bench {
    struct front front;
    struct rpc_request rpc;
    Wbrpc__Response *answer;
    size_t answer_bytes;
    struct group_request *submitted;
    uint32_t group;
    unsigned connections;
};
static struct bench *bench; /* rpc_reply and group_submit have no data pointer of the test's */

void rpc_reply(struct rpc_request *request, Wbrpc__Response *response)
{
    struct buf packed;
    buf_init(&packed);
    assert_null(bench->answer); /* exactly once */
    response->id = request->msg->id;
    pb_pack(&response->base, &packed);
    arena_deinit(&request->arena);
    bench->answer_bytes = packed.len;
    bench->answer = wbrpc__response__unpack(NULL, packed.len, packed.data);
    assert_non_null(bench->answer);
    buf_deinit(&packed);
}

void group_submit(struct group *g, struct group_request *request)
{
    assert_null(bench->submitted);
    bench->submitted = request;
}

/* The group's own would bring the whole group with them. */
void group_admin_init(struct group_admin *a)
{
    *a = (struct group_admin){.n = 0};
    buf_init(&a->names);
}

void group_admin_deinit(struct group_admin *a)
{
    for (uint32_t i = 0; i < a->n_results; i++) {
        free(a->results[i].message);
        value_unref(a->results[i].value);
    }
    free(a->results);
    free(a->differences);
    buf_deinit(&a->names);
}

static struct group *group_of(void *data, uint32_t group)
{
    ((struct bench *)data)->group = group;
    return NULL;
}

static const char *leader_of(void *data, uint32_t group)
{
    return group == 2 ? "h2:7101" : NULL;
}

static void set_connections(void *data, unsigned connections)
{
    ((struct bench *)data)->connections = connections;
}

static const struct front_ops ops = {
    .group = group_of, .leader_address = leader_of, .set_database_connections = set_connections};
static const struct front_ops ops_fixed = {.group = group_of, .leader_address = leader_of};

static void forget_answer(void)
{
    if (bench->answer != NULL) {
        wbrpc__response__free_unpacked(bench->answer, NULL);
    }
    bench->answer = NULL;
    bench->submitted = NULL;
}

static int set_up(void **state)
{
    bench = calloc(1, sizeof *bench);
    bench->front = (struct front){.ops = &ops, .data = bench, .group_count = GROUPS, .scan_tag = TAG};
    return 0;
}

static int tear_down(void **state)
{
    forget_answer();
    free(bench);
    return 0;
}

static void give(Wbrpc__Request__OpCase op, void *message)
{
    Wbrpc__Request request = WBRPC__REQUEST__INIT;
    struct buf packed;
    buf_init(&packed);
    forget_answer();
    request.id = 42;
    request.has_deadline_ms = 1;
    request.deadline_ms = 500;
    request.op_case = op;
    request.get = message; /* the members of the union are all pointers */
    pb_pack(&request.base, &packed);
    bench->rpc = (struct rpc_request){.conn_id = 7, .received_ms = RECEIVED_MS};
    arena_init(&bench->rpc.arena);
    bench->rpc.msg =
        (const Wbrpc__Request *)pb_unpack(&wbrpc__request__descriptor, buf_bytes(&packed), &bench->rpc.arena);
    assert_non_null(bench->rpc.msg);
    buf_deinit(&packed);
    front_on_request(&bench->front, &bench->rpc);
}
#define GIVE(op, message) give(WBRPC__REQUEST__OP_##op, message)

/* It went to its group, and @kind is what it asks there. */
static struct group_admin *submitted(enum group_admin_kind kind)
{
    assert_null(bench->answer);
    assert_non_null(bench->submitted);
    const struct group_request *r = bench->submitted;
    assert_int_equal(r->op, GROUP_ADMIN);
    assert_true(r->conn_id == 7 && r->deadline_ms == RECEIVED_MS + 500 && r->n == 0 && !r->stale);
    assert_int_equal(r->admin->kind, kind);
    return r->admin;
}

static const Wbrpc__Response *finish(enum status status)
{
    bench->submitted->status = status;
    bench->submitted->done(bench->submitted);
    assert_non_null(bench->answer);
    assert_int_equal(bench->answer->status, status);
    assert_int_equal(bench->answer->group, bench->group);
    return bench->answer;
}

static void assert_refused(enum status status, const char *words)
{
    assert_null(bench->submitted);
    assert_non_null(bench->answer);
    assert_int_equal(bench->answer->status, status);
    assert_non_null(bench->answer->message);
    assert_non_null(strstr(bench->answer->message, words));
}

static ProtobufCBinaryData text(const char *s)
{
    return pb_borrow(bytes_from_text(s));
}

static uint32_t group_of_key(const char *key)
{
    return slot_group(slot_of(bytes_from_text(key)), GROUPS);
}

static bool is(ProtobufCBinaryData data, const char *want)
{
    return bytes_equal(pb_bytes(data), bytes_from_text(want));
}

/* ---- key_status ---- */

static void key_status_shows_all_that_is_known_and_nothing_of_a_key_that_is_not_in_memory(void **state)
{
    ProtobufCBinaryData keys[] = {text("{t}1"), text("{t}2"), text("{t}3")};
    Wbrpc__Keys msg = WBRPC__KEYS__INIT;
    msg.keys = keys;
    msg.n_keys = 3;
    GIVE(KEY_STATUS, &msg);
    struct group_admin *a = submitted(ADMIN_KEY_STATUS);
    assert_int_equal(bench->group, group_of_key("{t}1"));
    assert_int_equal(a->n, 3);
    assert_true(bytes_equal(a->keys[2], bytes_from_text("{t}3")));
    a->n_results = 3;
    a->results = calloc(3, sizeof *a->results);
    a->results[0] = (struct admin_key){.key = a->keys[0],
        .in_memory = true,
        .present = true,
        .queued = true,
        .version = 9,
        .length = 4,
        .expires_at_ms = 5,
        .dirty_index = 6,
        .dirty_ms = 7,
        .in_flight = 8};
    a->results[1] = (struct admin_key){.key = a->keys[1],
        .in_memory = true,
        .quarantined = true,
        .deleted = true,
        .version = 3,
        .refused_version = 2,
        .attempts = 4,
        .since_ms = 50,
        .refused_ms = 40,
        .retry_in_ms = 30,
        .dirty_index = 1,
        .sqlstate = "23514",
        .message = strdup("no")};
    a->results[2] = (struct admin_key){.key = a->keys[2], .version = 1};
    const Wbrpc__Response *answer = finish(STATUS_OK);
    assert_int_equal(answer->n_key_states, 3);
    const Wbrpc__KeyState *k = answer->key_states[0];
    assert_true(k->in_memory && k->present && k->queued && k->version == 9 && k->length == 4);
    assert_true(k->expires_at_ms == 5 && k->dirty_index == 6 && k->dirty_ms == 7 && k->in_flight == 8);
    assert_true(k->has_evictable && !k->evictable && !k->has_flushed_in && k->quarantined == NULL);
    k = answer->key_states[1];
    assert_true(k->in_memory && k->has_present && !k->present && !k->has_in_flight && k->quarantined != NULL);
    const Wbrpc__QuarantinedKey *q = k->quarantined;
    assert_true(is(q->key, "{t}2") && q->version == 3 && q->refused_version == 2 && q->attempts == 4);
    assert_true(q->since_ms == 50 && q->refused_ms == 40 && q->retry_in_ms == 30 && q->deleted);
    assert_string_equal(q->sqlstate, "23514");
    assert_string_equal(q->message, "no");
    k = answer->key_states[2];
    assert_false(k->in_memory || k->has_present || k->has_version || k->has_queued || k->has_evictable);
}

/* ---- quarantine ---- */

static void a_list_stops_before_its_frame_is_full(void **state)
{
    enum { ROWS = 10, VALUE = 1024 * 1024 };
    static char big[VALUE];
    Wbrpc__Quarantine msg = WBRPC__QUARANTINE__INIT;
    msg.group = 1;
    msg.has_skip = msg.has_values = msg.values = msg.has_count = 1;
    msg.skip = 20;
    msg.count = 5000;
    GIVE(QUARANTINE, &msg);
    struct group_admin *a = submitted(ADMIN_QUARANTINE_LIST);
    assert_true(a->skip == 20 && a->count == 1000 && a->values && a->n == 0 && bench->group == 1);
    a->total = 77;
    a->n_results = ROWS;
    a->results = calloc(ROWS, sizeof *a->results);
    for (unsigned i = 0; i < ROWS; i++) {
        a->results[i] = (struct admin_key){.key = bytes_of(big, LIMIT_KEY_BYTES),
            .in_memory = true,
            .present = true,
            .quarantined = true,
            .sqlstate = "22003",
            .message = strdup("out of range"),
            .value = value_create(bytes_of(big, VALUE))};
    }
    const Wbrpc__Response *answer = finish(STATUS_OK);
    assert_int_equal(answer->quarantine->total, 77);
    assert_int_equal(answer->quarantine->n_keys, 3);
    assert_true(bench->answer_bytes <= LIMIT_FRAME_BYTES);
    assert_int_equal(answer->quarantine->keys[0]->value.len, VALUE);
    assert_false(answer->quarantine->keys[0]->deleted);
}

static void retry_and_drop_name_keys_and_answer_how_many(void **state)
{
    ProtobufCBinaryData keys[] = {text("{t}1"), text("{t}2")};
    Wbrpc__Quarantine msg = WBRPC__QUARANTINE__INIT;
    msg.group = group_of_key("{t}1");
    msg.has_action = 1;
    msg.keys = keys;
    msg.n_keys = 2;
    Wbrpc__QuarantineAction actions[] = {WBRPC__QUARANTINE_ACTION__RETRY, WBRPC__QUARANTINE_ACTION__DROP};
    enum group_admin_kind kinds[] = {ADMIN_QUARANTINE_RETRY, ADMIN_QUARANTINE_DROP};
    for (int i = 0; i < 2; i++) {
        msg.action = actions[i];
        GIVE(QUARANTINE, &msg);
        struct group_admin *a = submitted(kinds[i]);
        assert_true(a->n == 2 && bytes_equal(a->keys[1], bytes_from_text("{t}2")));
        a->total = 2;
        const Wbrpc__Response *answer = finish(STATUS_OK);
        assert_true(answer->quarantine->total == 2 && answer->quarantine->n_keys == 0);
    }
    msg.n_keys = 0; /* all of them */
    msg.action = WBRPC__QUARANTINE_ACTION__RETRY;
    GIVE(QUARANTINE, &msg);
    assert_int_equal(submitted(ADMIN_QUARANTINE_RETRY)->n, 0);
    finish(STATUS_OK);
}

static void what_the_quarantine_does_not_do_is_refused(void **state)
{
    static ProtobufCBinaryData keys[LIMIT_REQUEST_KEYS + 1];
    Wbrpc__Quarantine msg = WBRPC__QUARANTINE__INIT;
    msg.has_action = 1;
    msg.action = WBRPC__QUARANTINE_ACTION__DROP;
    GIVE(QUARANTINE, &msg);
    assert_refused(STATUS_INVALID, "1 to 256 keys");
    for (unsigned i = 0; i <= LIMIT_REQUEST_KEYS; i++) {
        keys[i] = text("{t}1");
    }
    msg.group = group_of_key("{t}1");
    msg.keys = keys;
    msg.n_keys = 257;
    GIVE(QUARANTINE, &msg);
    assert_refused(STATUS_INVALID, "1 to 256 keys");
    msg.n_keys = 256;
    GIVE(QUARANTINE, &msg);
    submitted(ADMIN_QUARANTINE_DROP);
    finish(STATUS_OK);
    msg.action = WBRPC__QUARANTINE_ACTION__LIST;
    msg.n_keys = LIMIT_REQUEST_KEYS + 1;
    GIVE(QUARANTINE, &msg);
    assert_refused(STATUS_INVALID, "1 to 4096");
    msg.n_keys = 1;
    msg.group = (msg.group + 1) % GROUPS;
    GIVE(QUARANTINE, &msg);
    assert_refused(STATUS_CROSS_GROUP, "another group");
    msg.group = GROUPS;
    GIVE(QUARANTINE, &msg);
    assert_refused(STATUS_INVALID, "no such group");
    msg.group = 0;
    msg.action = (Wbrpc__QuarantineAction)99;
    GIVE(QUARANTINE, &msg);
    assert_refused(STATUS_INVALID, "no such action");
}

/* ---- flush_control ---- */

static void settings_go_through_one_by_one(void **state)
{
    Wbrpc__FlushSettings set = WBRPC__FLUSH_SETTINGS__INIT;
    Wbrpc__FlushControl msg = WBRPC__FLUSH_CONTROL__INIT;
    msg.group = 2;
    GIVE(FLUSH_CONTROL, &msg);
    struct group_admin *a = submitted(ADMIN_CONTROL);
    assert_false(a->set || a->reset || a->acknowledge_loss || a->has_paused);
    finish(STATUS_OK);

    msg.set = &set;
    msg.has_reset = msg.reset = msg.has_acknowledge_loss = msg.acknowledge_loss = 1;
    set.has_batch_bytes = set.has_rows_per_second = 1;
    set.batch_bytes = UINT64_C(1) << 40;
    GIVE(FLUSH_CONTROL, &msg);
    a = submitted(ADMIN_CONTROL);
    assert_true(a->set && a->reset && a->acknowledge_loss && !a->has_paused);
    assert_true(a->control.has_batch_bytes && a->control.batch_bytes == UINT64_C(1) << 40);
    assert_true(a->control.has_rows_per_second && a->control.rows_per_second == 0);
    assert_false(a->control.has_batch_rows || a->control.has_age_ms);
    a->settings = (struct flush_settings){.age_ms = 500, .batch_rows = 100, .batch_bytes = 4096};
    a->rows_per_second = 12;
    a->now = (struct state_control){.paused = true, .has_age_ms = true, .age_ms = 500};
    a->acknowledged = 31;
    const Wbrpc__FlushControlReply *reply = finish(STATUS_OK)->flush_control;
    const Wbrpc__FlushSettings *now = reply->settings;
    assert_true(now->has_paused && now->paused && now->age_ms == 500 && now->batch_rows == 100);
    assert_true(now->batch_bytes == 4096 && now->rows_per_second == 12 && now->has_rows_per_second);
    assert_true(reply->set->has_age_ms && reply->set->age_ms == 500 && !reply->set->has_batch_rows);
    assert_true(reply->set->paused && !reply->set->has_rows_per_second && !reply->set->has_batch_bytes);
    assert_int_equal(reply->acknowledged, 31);

    set = (Wbrpc__FlushSettings)WBRPC__FLUSH_SETTINGS__INIT;
    set.has_paused = set.has_batch_rows = set.has_age_ms = 1;
    set.batch_rows = 7;
    GIVE(FLUSH_CONTROL, &msg);
    a = submitted(ADMIN_CONTROL);
    assert_true(a->has_paused && !a->control.paused && a->control.batch_rows == 7 && a->control.has_age_ms);
    const Wbrpc__Response *answer = finish(STATUS_INVALID);
    assert_true(answer->flush_control == NULL);
    msg.group = GROUPS;
    GIVE(FLUSH_CONTROL, &msg);
    assert_refused(STATUS_INVALID, "no such group");
}

/* ---- verify ---- */

static void verify_goes_on_at_this_nodes_cursors_only(void **state)
{
    Wbrpc__Verify msg = WBRPC__VERIFY__INIT;
    msg.group = 1;
    msg.has_count = msg.has_one_in = msg.has_prefix = 1;
    msg.count = UINT32_MAX;
    msg.prefix = text("p");
    GIVE(VERIFY, &msg);
    struct group_admin *a = submitted(ADMIN_VERIFY);
    assert_true(a->cursor == 0 && a->count == LIMIT_SCAN_LOOKS && a->one_in == 1);
    assert_true(bytes_equal(a->prefix, bytes_from_text("p")));
    a->cursor = UINT64_C(5) << 16;
    a->looked = 40;
    a->compared = 30;
    a->dirty = 9;
    buf_append(&a->names, "abcde", 5);
    a->n_differences = 2;
    a->differences = calloc(2, sizeof *a->differences);
    a->differences[0] =
        (struct admin_difference){.key_at = 0, .key_len = 2, .kind = DIFFERENCE_MISSING, .version = 4};
    a->differences[1] =
        (struct admin_difference){.key_at = 2, .key_len = 3, .kind = DIFFERENCE_UNEXPECTED, .row_version = 8};
    const Wbrpc__VerifyReply *reply = finish(STATUS_OK)->verify;
    assert_true(reply->looked == 40 && reply->compared == 30 && reply->dirty == 9);
    assert_int_equal(reply->n_differences, 2);
    assert_true(is(reply->differences[0]->key, "ab") && is(reply->differences[1]->key, "cde"));
    assert_true(reply->differences[0]->kind == WBRPC__DIFFERENCE_KIND__MISSING &&
                reply->differences[0]->version == 4 && !reply->differences[0]->has_row_version);
    assert_true(reply->differences[1]->kind == WBRPC__DIFFERENCE_KIND__UNEXPECTED &&
                reply->differences[1]->version == 0 && reply->differences[1]->row_version == 8);
    uint64_t cursor = reply->cursor;
    assert_true(cursor != 0 && cursor != UINT64_C(5) << 16);

    msg.cursor = cursor;
    msg.count = 0;
    msg.one_in = 0;
    msg.has_prefix = 0;
    GIVE(VERIFY, &msg);
    a = submitted(ADMIN_VERIFY);
    assert_true(a->cursor == UINT64_C(5) << 16 && a->count == 1 && a->one_in == 1 && a->prefix.len == 0);
    a->cursor = 0;
    assert_int_equal(finish(STATUS_OK)->verify->cursor, 0);
    msg.group = 2; /* the cursor is of group 1 */
    GIVE(VERIFY, &msg);
    assert_refused(STATUS_INVALID, "the scan was begun at another node");
    msg.group = 1;
    bench->front.scan_tag = 0x1234; /* another process */
    GIVE(VERIFY, &msg);
    assert_refused(STATUS_INVALID, "the scan was begun at another node");
}

/* ---- forget, node_control, and what concerns all ---- */

static void forget_has_a_version_for_each_key(void **state)
{
    ProtobufCBinaryData keys[] = {text("{t}1"), text("{t}2")};
    uint64_t versions[] = {5, 0};
    Wbrpc__Forget msg = WBRPC__FORGET__INIT;
    msg.keys = keys;
    msg.versions = versions;
    msg.n_keys = msg.n_versions = 2;
    GIVE(FORGET, &msg);
    struct group_admin *a = submitted(ADMIN_FORGET);
    assert_true(a->n == 2 && a->versions[0] == 5 && a->versions[1] == 0);
    assert_int_equal(bench->group, group_of_key("{t}1"));
    finish(STATUS_OK);
    msg.n_versions = 1;
    GIVE(FORGET, &msg);
    assert_refused(STATUS_INVALID, "version");
    msg.n_keys = 0;
    GIVE(FORGET, &msg);
    assert_refused(STATUS_INVALID, "1 to 4096");
    char other[16];
    for (unsigned i = 0; msg.n_keys != 2; i++) {
        snprintf(other, sizeof other, "k%u", i);
        msg.n_keys = group_of_key(other) != group_of_key("{t}1") ? 2 : 0;
    }
    msg.n_versions = 2;
    keys[1] = text(other);
    GIVE(FORGET, &msg);
    assert_null(bench->submitted);
    assert_int_equal(bench->answer->status, STATUS_CROSS_GROUP);
}

static void connections_are_changed_within_bounds_where_they_can_be(void **state)
{
    Wbrpc__NodeControl msg = WBRPC__NODE_CONTROL__INIT;
    GIVE(NODE_CONTROL, &msg);
    assert_refused(STATUS_INVALID, "nothing");
    msg.has_database_connections = 1;
    GIVE(NODE_CONTROL, &msg);
    assert_refused(STATUS_INVALID, "1 to 256");
    msg.database_connections = 257;
    GIVE(NODE_CONTROL, &msg);
    assert_refused(STATUS_INVALID, "1 to 256");
    assert_int_equal(bench->connections, 0);
    msg.database_connections = 256;
    GIVE(NODE_CONTROL, &msg);
    assert_int_equal(bench->answer->status, STATUS_OK);
    assert_int_equal(bench->connections, 256);
    bench->front.ops = &ops_fixed;
    GIVE(NODE_CONTROL, &msg);
    assert_refused(STATUS_INVALID, "flush.connections");
}

/* No outcome but OK has a reply, whatever the group has left in the request; all of that is freed. */
static void a_failure_says_who_leads_or_when_to_come_again(void **state)
{
    ProtobufCBinaryData key = text("x");
    Wbrpc__FlushControl msg = WBRPC__FLUSH_CONTROL__INIT;
    Wbrpc__Keys keys = WBRPC__KEYS__INIT;
    msg.group = 2;
    GIVE(FLUSH_CONTROL, &msg);
    bench->submitted->message = "look elsewhere";
    const Wbrpc__Response *answer = finish(STATUS_NOT_LEADER);
    assert_string_equal(answer->leader, "h2:7101");
    assert_string_equal(answer->message, "look elsewhere");
    assert_null(answer->flush_control);
    keys.keys = &key;
    keys.n_keys = 1;
    GIVE(KEY_STATUS, &keys);
    struct group_admin *a = submitted(ADMIN_KEY_STATUS);
    a->n_results = 1;
    a->results = calloc(1, sizeof *a->results);
    a->results[0].message = strdup("freed");
    bench->submitted->retry_after_ms = 50;
    answer = finish(STATUS_UNAVAILABLE);
    assert_int_equal(answer->retry_after_ms, 50);
    assert_int_equal(answer->n_key_states, 0);
}

static void operators_are_neither_stale_nor_in_a_session_and_are_told_when_the_node_stops(void **state)
{
    Wbrpc__Request__OpCase cases[] = {WBRPC__REQUEST__OP_KEY_STATUS, WBRPC__REQUEST__OP_QUARANTINE,
        WBRPC__REQUEST__OP_FLUSH_CONTROL, WBRPC__REQUEST__OP_VERIFY, WBRPC__REQUEST__OP_FORGET,
        WBRPC__REQUEST__OP_NODE_CONTROL};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_true(front_admin_knows(cases[i]));
        for (int what = 0; what < 3; what++) {
            Wbrpc__Once once = WBRPC__ONCE__INIT;
            Wbrpc__Request request = WBRPC__REQUEST__INIT;
            once.session = once.sequence = once.first_awaited = 1;
            request.id = 42;
            request.op_case = cases[i];
            request.stale = what == 0;
            request.once = what == 1 ? &once : NULL;
            bench->front.closing = what == 2;
            forget_answer();
            bench->rpc = (struct rpc_request){.msg = &request};
            arena_init(&bench->rpc.arena);
            front_on_request(&bench->front, &bench->rpc);
            assert_null(bench->submitted);
            assert_int_equal(bench->answer->status, what == 2 ? STATUS_SHUTTING_DOWN : STATUS_INVALID);
        }
    }
    assert_false(front_admin_knows(WBRPC__REQUEST__OP_GET));
    assert_false(front_admin_knows(WBRPC__REQUEST__OP_STATUS));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(key_status_shows_all_that_is_known_and_nothing_of_a_key_that_is_not_in_memory),
        TEST(a_list_stops_before_its_frame_is_full),
        TEST(retry_and_drop_name_keys_and_answer_how_many),
        TEST(what_the_quarantine_does_not_do_is_refused),
        TEST(settings_go_through_one_by_one),
        TEST(verify_goes_on_at_this_nodes_cursors_only),
        TEST(forget_has_a_version_for_each_key),
        TEST(connections_are_changed_within_bounds_where_they_can_be),
        TEST(a_failure_says_who_leads_or_when_to_come_again),
        TEST(operators_are_neither_stale_nor_in_a_session_and_are_told_when_the_node_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
