/* libwbcache's operations: what each puts on the wire, and what its answer becomes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rpc/fake_node.h"
#include "rpc/wbcache.h"

static void refuse(Wbrpc__Response *response, int status)
{
    response->status = (uint32_t)status;
    response->n_results = 0;
}

static void put_value(Wbrpc__Result *result, const char *text)
{
    result->has_value = true;
    result->value = (ProtobufCBinaryData){.data = (uint8_t *)fake_text(text), .len = strlen(text)};
}

static struct wbcache *open_cache(struct fake_cluster *cluster, unsigned deadline_ms)
{
    char addresses[128];
    struct wbcache *cache;
    struct wbcache_options options = {.deadline_ms = deadline_ms};
    assert_int_equal(wbcache_open(&cache, fake_cluster_addresses(cluster, addresses), &options), WBCACHE_OK);
    return cache;
}

/* ---- Every field arrives ---- */

/* What a request should say; one row. */
struct wanted {
    struct wbcache_op op;
    int op_case;
    int condition;
    bool has_version;
    bool return_old, keep_expiry;
    bool has_after, has_at;
    int only_if;
    int level;
};

static void check_set(const struct wanted *w, const Wbrpc__Set *set)
{
    assert_int_equal(set->n_entries, 1);
    assert_int_equal(set->entries[0]->value.len, w->op.value_len);
    assert_int_equal(set->condition, w->condition);
    assert_int_equal(set->has_version, w->has_version);
    assert_int_equal(set->version, w->op.if_version);
    assert_int_equal(set->return_old, w->return_old);
    assert_int_equal(set->keep_expiry, w->keep_expiry);
    assert_int_equal(set->has_expire_after_ms, w->has_after);
    assert_int_equal(set->expire_after_ms, w->op.expire_after_ms);
    assert_int_equal(set->has_expire_at_ms, w->has_at);
    assert_int_equal(set->expire_at_ms, w->op.expire_at_ms);
}

static void check_expire(const struct wanted *w, const Wbrpc__Expire *expire)
{
    assert_int_equal(expire->n_keys, 1);
    assert_int_equal(expire->has_after_ms, w->has_after);
    assert_int_equal(expire->after_ms, w->op.expire_after_ms);
    assert_int_equal(expire->has_at_ms, w->has_at);
    assert_int_equal(expire->at_ms, w->op.expire_at_ms);
    assert_int_equal(expire->only_if, w->only_if);
}

static enum fake_action check(
    struct fake_node *node, const Wbrpc__Request *request, Wbrpc__Response *response)
{
    const struct wanted *w = node->cluster->data;
    assert_int_equal(request->op_case, w->op_case);
    assert_int_equal(request->level, w->level);
    assert_int_equal(request->stale, w->op.stale);
    switch (request->op_case) {
    case WBRPC__REQUEST__OP_SET:
        check_set(w, request->set);
        break;
    case WBRPC__REQUEST__OP_DEL:
        assert_int_equal(request->del->condition, w->condition);
        assert_int_equal(request->del->has_version, w->has_version);
        assert_int_equal(request->del->version, w->op.if_version);
        assert_int_equal(request->del->return_old, w->return_old);
        break;
    case WBRPC__REQUEST__OP_INCR:
        assert_int_equal(request->incr->delta, w->op.delta);
        break;
    case WBRPC__REQUEST__OP_APPEND:
        assert_int_equal(request->append->value.len, w->op.value_len);
        break;
    case WBRPC__REQUEST__OP_EXPIRE:
        check_expire(w, request->expire);
        break;
    default:
        break;
    }
    bool write = request->op_case != WBRPC__REQUEST__OP_GET &&
                 request->op_case != WBRPC__REQUEST__OP_EXISTS &&
                 request->op_case != WBRPC__REQUEST__OP_INSPECT;
    assert_int_equal(request->once != NULL, write);
    (void)response;
    return FAKE_ANSWER;
}

#define KEY   .key = "k", .key_len = 1
#define VALUE .value = "value", .value_len = 5

static void every_option_of_an_operation_arrives(void **state)
{
    (void)state;
    const struct wanted rows[] = {
        {.op = {.kind = WBCACHE_OP_GET, KEY}, .op_case = WBRPC__REQUEST__OP_GET},
        {.op = {.kind = WBCACHE_OP_GET, KEY, .stale = true}, .op_case = WBRPC__REQUEST__OP_GET},
        {.op = {.kind = WBCACHE_OP_EXISTS, KEY}, .op_case = WBRPC__REQUEST__OP_EXISTS},
        {.op = {.kind = WBCACHE_OP_INSPECT, KEY}, .op_case = WBRPC__REQUEST__OP_INSPECT},
        {.op = {.kind = WBCACHE_OP_SET, KEY, VALUE}, .op_case = WBRPC__REQUEST__OP_SET},
        {.op = {.kind = WBCACHE_OP_SET, KEY, VALUE, .condition = WBCACHE_IF_ABSENT, .return_old = true},
            .op_case = WBRPC__REQUEST__OP_SET,
            .condition = WBRPC__CONDITION__ABSENT,
            .return_old = true},
        {.op = {.kind = WBCACHE_OP_SET,
             KEY,
             VALUE,
             .condition = WBCACHE_IF_PRESENT,
             .keep_expiry = true,
             .level = WBCACHE_FLUSHED},
            .op_case = WBRPC__REQUEST__OP_SET,
            .condition = WBRPC__CONDITION__PRESENT,
            .keep_expiry = true,
            .level = WBRPC__LEVEL__FLUSHED},
        {.op = {.kind = WBCACHE_OP_SET,
             KEY,
             VALUE,
             .condition = WBCACHE_IF_VERSION,
             .if_version = 77,
             .expire_after_ms = 1500},
            .op_case = WBRPC__REQUEST__OP_SET,
            .condition = WBRPC__CONDITION__VERSION,
            .has_version = true,
            .has_after = true},
        /* version 0 means that the key is not there, and must be said */
        {.op = {.kind = WBCACHE_OP_SET, KEY, .condition = WBCACHE_IF_VERSION, .expire_at_ms = 9},
            .op_case = WBRPC__REQUEST__OP_SET,
            .condition = WBRPC__CONDITION__VERSION,
            .has_version = true,
            .has_at = true},
        {.op = {.kind = WBCACHE_OP_DEL, KEY}, .op_case = WBRPC__REQUEST__OP_DEL},
        {.op = {.kind = WBCACHE_OP_DEL,
             KEY,
             .condition = WBCACHE_IF_VERSION,
             .if_version = UINT64_MAX,
             .return_old = true},
            .op_case = WBRPC__REQUEST__OP_DEL,
            .condition = WBRPC__CONDITION__VERSION,
            .has_version = true,
            .return_old = true},
        {.op = {.kind = WBCACHE_OP_INCR, KEY, .delta = INT64_MIN}, .op_case = WBRPC__REQUEST__OP_INCR},
        {.op = {.kind = WBCACHE_OP_INCR, KEY, .delta = INT64_MAX}, .op_case = WBRPC__REQUEST__OP_INCR},
        {.op = {.kind = WBCACHE_OP_APPEND, KEY, VALUE}, .op_case = WBRPC__REQUEST__OP_APPEND},
        {.op = {.kind = WBCACHE_OP_EXPIRE, KEY}, .op_case = WBRPC__REQUEST__OP_EXPIRE},
        {.op = {.kind = WBCACHE_OP_EXPIRE,
             KEY,
             .expire_at_ms = UINT64_MAX,
             .expire_if = WBCACHE_EXPIRE_IF_EARLIER},
            .op_case = WBRPC__REQUEST__OP_EXPIRE,
            .has_at = true,
            .only_if = WBRPC__EXPIRE_IF__EARLIER},
        {.op = {.kind = WBCACHE_OP_EXPIRE, KEY, .expire_after_ms = 1, .expire_if = WBCACHE_EXPIRE_IF_NONE},
            .op_case = WBRPC__REQUEST__OP_EXPIRE,
            .has_after = true,
            .only_if = WBRPC__EXPIRE_IF__HAS_NONE},
    };
    struct fake_cluster cluster;
    struct wanted now = {0};
    fake_cluster_start(&cluster, 1, check, &now);
    struct wbcache *cache = open_cache(&cluster, 10000);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct wbcache_result result;
        pthread_mutex_lock(&cluster.lock);
        now = rows[i];
        pthread_mutex_unlock(&cluster.lock);
        assert_int_equal(wbcache_do(cache, &rows[i].op, &result), WBCACHE_OK);
        assert_int_equal(result.code, WBCACHE_OK);
        assert_true(result.version > 0);
    }
    wbcache_close(cache);
    fake_cluster_stop(&cluster);
}

static void an_operation_that_makes_no_sense_never_reaches_a_node(void **state)
{
    (void)state;
    const struct wbcache_op rows[] = {
        {.kind = (enum wbcache_op_kind)99, KEY},
        {.kind = WBCACHE_OP_SET, KEY, VALUE, .condition = (enum wbcache_condition)4},
        {.kind = WBCACHE_OP_EXPIRE, KEY, .expire_if = (enum wbcache_expire_if)5},
        {.kind = WBCACHE_OP_SET, KEY, VALUE, .level = (enum wbcache_level)2},
        {.kind = WBCACHE_OP_SET, KEY, VALUE, .expire_after_ms = 1, .expire_at_ms = 1},
        {.kind = WBCACHE_OP_SET, KEY, VALUE, .stale = true},
        {.kind = WBCACHE_OP_GET, KEY, .level = WBCACHE_FLUSHED},
        {.kind = WBCACHE_OP_APPEND, KEY, .value_len = 1},
        {.kind = WBCACHE_OP_INCR, .key_len = 1},
    };
    struct fake_cluster cluster;
    struct wanted none = {0};
    fake_cluster_start(&cluster, 1, check, &none);
    struct wbcache *cache = open_cache(&cluster, 10000);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct wbcache_result result;
        assert_int_equal(wbcache_do(cache, &rows[i], &result), WBCACHE_INVALID);
        assert_int_equal(result.code, WBCACHE_INVALID);
        assert_true(wbcache_errmsg(cache)[0] != '\0');
        assert_int_equal(wbcache_send(cache, &rows[i], NULL), WBCACHE_INVALID);
    }
    assert_int_equal(wbcache_do(cache, NULL, NULL), WBCACHE_INVALID);
    assert_int_equal(fake_node_requests(&cluster.nodes[0]), 0);
    wbcache_close(cache);
    fake_cluster_stop(&cluster);
}

/* ---- Every field of an answer is told ---- */

static enum fake_action answer_fully(
    struct fake_node *node, const Wbrpc__Request *request, Wbrpc__Response *response)
{
    (void)node;
    Wbrpc__Result *r = response->results[0];
    response->has_index = response->has_group = response->has_age_ms = true;
    response->index = 41;
    response->group = 0;
    response->age_ms = 12;
    r->has_type = r->has_length = r->has_expires_at_ms = r->has_ttl_ms = r->has_number = true;
    r->length = 5;
    r->expires_at_ms = 1000;
    r->ttl_ms = 300;
    r->number = INT64_MIN;
    if (request->op_case == WBRPC__REQUEST__OP_SET) {
        put_value(r, "before");
    }
    return FAKE_ANSWER;
}

static void every_field_of_an_answer_is_told(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    struct wbcache_result result;
    fake_cluster_start(&cluster, 1, answer_fully, NULL);
    struct wbcache *cache = open_cache(&cluster, 10000);
    assert_int_equal(
        wbcache_do(cache, &(struct wbcache_op){.kind = WBCACHE_OP_INSPECT, KEY}, &result), WBCACHE_OK);
    assert_true(result.found);
    assert_null(result.value);
    assert_string_equal(result.type, "string");
    assert_int_equal(result.length, 5);
    assert_int_equal(result.expires_at_ms, 1000);
    assert_int_equal(result.ttl_ms, 300);
    assert_int_equal(result.age_ms, 12);
    assert_true(result.version > 0);
    assert_int_equal(
        wbcache_do(
            cache, &(struct wbcache_op){.kind = WBCACHE_OP_SET, KEY, VALUE, .return_old = true}, &result),
        WBCACHE_OK);
    assert_int_equal(result.index, 41);
    assert_int_equal(result.value_len, 6);
    assert_memory_equal(result.value, "before", 6);
    int64_t sum = 0;
    uint64_t version = 0;
    assert_int_equal(wbcache_incr(cache, "k", 1, 1, &sum, &version), WBCACHE_OK);
    assert_true(sum == INT64_MIN && version > 0);
    wbcache_close(cache);
    fake_cluster_stop(&cluster);
}

/* CONDITION_FAILED with what is there, unless the test says another status. */
static enum fake_action fail_condition(
    struct fake_node *node, const Wbrpc__Request *request, Wbrpc__Response *response)
{
    (void)request;
    const int *status = node->cluster->data;
    response->status = (uint32_t)*status;
    if (*status == WBCACHE_CONDITION_FAILED) {
        response->results[0]->version = 5;
        put_value(response->results[0], "theirs");
    } else {
        response->n_results = 0;
    }
    return FAKE_ANSWER;
}

static void a_failed_condition_tells_what_is_there(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    struct wbcache_result result;
    int status = WBCACHE_CONDITION_FAILED;
    struct wbcache_op op = {.kind = WBCACHE_OP_SET,
        KEY,
        VALUE,
        .condition = WBCACHE_IF_VERSION,
        .if_version = 4,
        .return_old = true};
    fake_cluster_start(&cluster, 1, fail_condition, &status);
    struct wbcache *cache = open_cache(&cluster, 10000);
    assert_int_equal(wbcache_do(cache, &op, &result), WBCACHE_CONDITION_FAILED);
    assert_true(result.found);
    assert_int_equal(result.version, 5);
    assert_int_equal(result.index, 0);
    assert_memory_equal(result.value, "theirs", 6);
    assert_non_null(strstr(wbcache_errmsg(cache), "CONDITION_FAILED"));
    const int others[] = {WBCACHE_NOT_A_NUMBER, WBCACHE_OUT_OF_RANGE, WBCACHE_WRONG_TYPE};
    for (size_t i = 0; i < 3; i++) {
        pthread_mutex_lock(&cluster.lock);
        status = others[i];
        pthread_mutex_unlock(&cluster.lock);
        int64_t sum = 99;
        assert_int_equal(wbcache_incr(cache, "k", 1, 1, &sum, NULL), others[i]);
        assert_int_equal(sum, 99);
        assert_int_equal(fake_node_requests(&cluster.nodes[0]), i + 2); /* asked once */
    }
    wbcache_close(cache);
    fake_cluster_stop(&cluster);
}

/* ---- Many keys ---- */

/* Keys that begin with 'n' were not there; group 1's leader refuses. */
static enum fake_action delete_some(
    struct fake_node *node, const Wbrpc__Request *request, Wbrpc__Response *response)
{
    assert_int_equal(request->op_case, WBRPC__REQUEST__OP_DEL);
    for (size_t i = 0; i < request->del->n_keys; i++) {
        if (request->del->keys[i].data[0] == 'n') {
            response->results[i]->found = false;
            response->results[i]->has_version = false;
            response->results[i]->version = 0;
        }
    }
    if (node->id == 2) {
        refuse(response, WBCACHE_HALTED);
    }
    return FAKE_ANSWER;
}

static void mdel_says_for_each_key_whether_it_was_there(void **state)
{
    (void)state;
    enum { N = 60 };
    struct fake_cluster cluster;
    struct wbcache_item items[N] = {0};
    char keys[N][8];
    unsigned refused = 0;
    fake_cluster_start(&cluster, 3, delete_some, NULL);
    struct wbcache *cache = open_cache(&cluster, 10000);
    for (int i = 0; i < N; i++) {
        items[i].key = keys[i];
        items[i].key_len = (size_t)snprintf(keys[i], sizeof keys[i], "%c%d", i % 2 == 0 ? 'n' : 'y', i);
    }
    assert_int_equal(wbcache_mdel(cache, items, N), WBCACHE_HALTED);
    for (int i = 0; i < N; i++) {
        unsigned slot, group;
        int code = items[i].code;
        uint64_t version = items[i].version;
        assert_int_equal(wbcache_locate(cache, keys[i], items[i].key_len, &slot, &group), WBCACHE_OK);
        assert_int_equal(code, group == 1 ? WBCACHE_HALTED : WBCACHE_OK);
        assert_int_equal(version != 0, group != 1 && i % 2 == 1);
        refused += group == 1;
    }
    assert_true(refused > 0 && refused < N);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(fake_node_requests(&cluster.nodes[i]), 1);
    }
    wbcache_close(cache);
    fake_cluster_stop(&cluster);
}

/* ---- Waiting for the database ---- */

static enum fake_action flush_only_group_zero(
    struct fake_node *node, const Wbrpc__Request *request, Wbrpc__Response *response)
{
    (void)node;
    response->has_index = true;
    response->index = 500;
    uint32_t group =
        request->op_case == WBRPC__REQUEST__OP_WAIT ? request->wait->group : request->flush->group;
    if (request->op_case == WBRPC__REQUEST__OP_WAIT) {
        assert_int_equal(request->wait->index, 501);
    }
    response->status = group == 0 ? WBCACHE_OK : WBCACHE_NOT_FLUSHED;
    return FAKE_ANSWER;
}

static void waiting_for_the_database_tells_how_far_it_is(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    uint64_t flushed = 1;
    fake_cluster_start(&cluster, 2, flush_only_group_zero, NULL);
    struct wbcache *cache = open_cache(&cluster, 10000);
    assert_int_equal(wbcache_wait(cache, 0, 501, &flushed), WBCACHE_OK);
    assert_int_equal(flushed, 500);
    flushed = 1;
    assert_int_equal(wbcache_wait(cache, 1, 501, &flushed), WBCACHE_NOT_FLUSHED);
    assert_int_equal(flushed, 500);
    assert_int_equal(wbcache_wait(cache, 2, 501, NULL), WBCACHE_INVALID);
    assert_int_equal(wbcache_wait(cache, 0, 0, NULL), WBCACHE_INVALID);
    assert_int_equal(wbcache_flush(cache), WBCACHE_NOT_FLUSHED);
    wbcache_close(cache);
    fake_cluster_stop(&cluster);
}

static enum fake_action silent(
    struct fake_node *node, const Wbrpc__Request *request, Wbrpc__Response *response)
{
    (void)node;
    (void)request;
    (void)response;
    return FAKE_SILENCE;
}

static void a_wait_that_nobody_answers_is_not_flushed_at_the_deadline(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    uint64_t flushed = 1;
    fake_cluster_start(&cluster, 1, silent, NULL);
    struct wbcache *cache = open_cache(&cluster, 150);
    assert_int_equal(wbcache_wait(cache, 0, 501, &flushed), WBCACHE_NOT_FLUSHED);
    assert_int_equal(flushed, 0); /* nobody said how far it is */
    assert_int_equal(wbcache_flush(cache), WBCACHE_NOT_FLUSHED);
    wbcache_close(cache);
    fake_cluster_stop(&cluster);
}

static enum fake_action flush_at_node_two(
    struct fake_node *node, const Wbrpc__Request *request, Wbrpc__Response *response)
{
    (void)request;
    (void)response;
    return node->id == 1 ? FAKE_SILENCE : FAKE_ANSWER;
}

/* The flush waits at a leader that is stopped: it goes on at the next one. */
static void a_flush_moves_away_from_a_stopped_leader(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    fake_cluster_start(&cluster, 1, flush_at_node_two, NULL);
    struct wbcache *cache = open_cache(&cluster, 8000);
    fake_cluster_lead(&cluster, 0, 2); /* what the handle does not know yet */
    fake_node_pause(&cluster.nodes[0], true);
    assert_int_equal(wbcache_flush(cache), WBCACHE_OK);
    fake_node_pause(&cluster.nodes[0], false);
    wbcache_close(cache);
    fake_cluster_stop(&cluster);
}

/* ---- Stale reads ---- */

static enum fake_action stale_by_followers(
    struct fake_node *node, const Wbrpc__Request *request, Wbrpc__Response *response)
{
    const unsigned *cannot = node->cluster->data;
    assert_true(request->stale);
    if (node->id == *cannot) {
        refuse(response, WBCACHE_UNAVAILABLE);
        response->has_retry_after_ms = true;
        response->retry_after_ms = 5000; /* of no interest: others can */
    } else {
        response->has_age_ms = true;
        response->age_ms = node->id;
    }
    return FAKE_ANSWER;
}

static void stale_reads_go_round_the_followers_and_pass_over_who_cannot(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    unsigned cannot = 0;
    struct wbcache_op op = {.kind = WBCACHE_OP_GET, KEY, .stale = true};
    fake_cluster_start(&cluster, 1, stale_by_followers, &cannot);
    struct wbcache *cache = open_cache(&cluster, 3000);
    struct wbcache_result result;
    /* At first perhaps the leader, which is connected; the followers are being connected meanwhile. */
    unsigned calls = 0;
    while (fake_node_requests(&cluster.nodes[1]) == 0 || fake_node_requests(&cluster.nodes[2]) == 0) {
        assert_int_equal(wbcache_do(cache, &op, &result), WBCACHE_OK);
        assert_true(result.age_ms >= 1 && result.age_ms <= 3);
        assert_true(calls++ < 100000);
    }
    unsigned before[3];
    for (int i = 0; i < 3; i++) {
        before[i] = fake_node_requests(&cluster.nodes[i]);
    }
    for (int i = 0; i < 20; i++) {
        assert_int_equal(wbcache_do(cache, &op, &result), WBCACHE_OK);
    }
    assert_int_equal(fake_node_requests(&cluster.nodes[0]), before[0]);
    assert_int_equal(fake_node_requests(&cluster.nodes[1]), before[1] + 10);
    assert_int_equal(fake_node_requests(&cluster.nodes[2]), before[2] + 10);
    pthread_mutex_lock(&cluster.lock);
    cannot = 2;
    pthread_mutex_unlock(&cluster.lock);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(wbcache_do(cache, &op, &result), WBCACHE_OK);
        assert_int_not_equal(result.age_ms, 2);
    }
    wbcache_close(cache);
    fake_cluster_stop(&cluster);
}

static void stale_reads_need_no_leader(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    unsigned cannot = 0;
    struct wbcache_op op = {.kind = WBCACHE_OP_GET, KEY, .stale = true};
    fake_cluster_start(&cluster, 1, stale_by_followers, &cannot);
    fake_cluster_lead(&cluster, 0, 0);
    struct wbcache *cache = open_cache(&cluster, 3000);
    assert_int_equal(wbcache_do(cache, &op, NULL), WBCACHE_OK);
    fake_node_kill(&cluster.nodes[0]);
    fake_node_kill(&cluster.nodes[1]);
    assert_int_equal(wbcache_do(cache, &op, NULL), WBCACHE_OK);
    wbcache_close(cache);
    fake_cluster_stop(&cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_option_of_an_operation_arrives),
        cmocka_unit_test(an_operation_that_makes_no_sense_never_reaches_a_node),
        cmocka_unit_test(every_field_of_an_answer_is_told),
        cmocka_unit_test(a_failed_condition_tells_what_is_there),
        cmocka_unit_test(mdel_says_for_each_key_whether_it_was_there),
        cmocka_unit_test(waiting_for_the_database_tells_how_far_it_is),
        cmocka_unit_test(a_wait_that_nobody_answers_is_not_flushed_at_the_deadline),
        cmocka_unit_test(a_flush_moves_away_from_a_stopped_leader),
        cmocka_unit_test(stale_reads_go_round_the_followers_and_pass_over_who_cannot),
        cmocka_unit_test(stale_reads_need_no_leader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
