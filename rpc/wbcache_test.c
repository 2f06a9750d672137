/* libwbcache against nodes that do as they are told: what goes right, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/limits.h"
#include "rpc/fake_node.h"
#include "rpc/wbcache.h"

static enum fake_action serve_all(
    struct fake_node *node, const Wbrpc__Request *request, Wbrpc__Response *response)
{
    return FAKE_ANSWER;
}

static struct wbcache *open_cache(struct fake_cluster *cluster, unsigned deadline_ms, unsigned pipeline_max)
{
    char addresses[128];
    struct wbcache *cache;
    struct wbcache_options options = {.deadline_ms = deadline_ms, .pipeline_max = pipeline_max};
    assert_int_equal(wbcache_open(&cache, fake_cluster_addresses(cluster, addresses), &options), WBCACHE_OK);
    return cache;
}

static void one_key_is_set_read_and_deleted(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    fake_cluster_start(&cluster, 3, serve_all, NULL);
    struct wbcache *cache = open_cache(&cluster, 0, 0);
    uint64_t version = 0;
    void *value;
    size_t len;
    bool there = false;
    assert_int_equal(wbcache_set(cache, "k", 1, "v", 1, &version), WBCACHE_OK);
    assert_int_equal(version, 1);
    assert_int_equal(wbcache_get(cache, "cart:17", 7, &value, &len, &version), WBCACHE_OK);
    assert_int_equal(len, 7);
    assert_memory_equal(value, "cart:17", 8); /* with the 0 byte */
    free(value);
    assert_int_equal(wbcache_get(cache, NULL, 0, &value, &len, NULL), WBCACHE_OK); /* the empty key */
    assert_int_equal(len, 0);
    free(value);
    assert_int_equal(wbcache_exists(cache, "k", 1, &there), WBCACHE_OK);
    assert_true(there);
    there = false;
    assert_int_equal(wbcache_del(cache, "k", 1, &there), WBCACHE_OK);
    assert_true(there);
    assert_int_equal(wbcache_flush(cache), WBCACHE_OK);
    unsigned slot, group;
    assert_int_equal(wbcache_locate(cache, "foo", 3, &slot, &group), WBCACHE_OK);
    assert_int_equal(slot, 12182);
    assert_int_equal(group, 2);
    assert_string_equal(wbcache_errmsg(cache), "");
    wbcache_close(cache);
    fake_cluster_stop(&cluster);
}

static void clusters_that_make_no_sense_are_refused_with_words(void **state)
{
    (void)state;
    const char *bad[] = {"", "host", "host:0", ":7101", "a:1,,b:2", "a:1,", "::1:7101", "a:1 b:2", "a:99999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct wbcache *cache = NULL;
        assert_int_equal(wbcache_open(&cache, bad[i], NULL), WBCACHE_INVALID);
        assert_non_null(strstr(wbcache_errmsg(cache), "HOST:PORT"));
        wbcache_close(cache);
    }
    char many[40 * 16] = "";
    for (int i = 0; i < 40; i++) {
        snprintf(many + strlen(many), sizeof many - strlen(many), "%sh%d:1", i == 0 ? "" : ",", i);
    }
    struct wbcache *cache = NULL;
    assert_int_equal(wbcache_open(&cache, many, NULL), WBCACHE_INVALID);
    wbcache_close(cache);
    assert_int_equal(wbcache_open(NULL, "a:1", NULL), WBCACHE_INVALID);
    wbcache_close(NULL);
}

static void the_environment_names_the_cluster_when_the_caller_does_not(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    char addresses[128];
    fake_cluster_start(&cluster, 1, serve_all, NULL);
    setenv("WBCACHE_CLUSTER", fake_cluster_addresses(&cluster, addresses), 1);
    struct wbcache *cache;
    assert_int_equal(wbcache_open(&cache, NULL, NULL), WBCACHE_OK);
    wbcache_close(cache);
    unsetenv("WBCACHE_CLUSTER");
    assert_int_equal(wbcache_open(&cache, NULL, NULL), WBCACHE_INVALID);
    wbcache_close(cache);
    fake_cluster_stop(&cluster);
}

static void arguments_beyond_the_limits_never_reach_a_node(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    fake_cluster_start(&cluster, 1, serve_all, NULL);
    struct wbcache *cache = open_cache(&cluster, 0, 0);
    char *big = calloc(1, LIMIT_VALUE_BYTES + 1);
    void *value;
    size_t len;
    assert_int_equal(wbcache_set(cache, big, LIMIT_KEY_BYTES + 1, "v", 1, NULL), WBCACHE_TOO_BIG);
    assert_int_equal(wbcache_set(cache, "k", 1, big, LIMIT_VALUE_BYTES + 1, NULL), WBCACHE_TOO_BIG);
    assert_int_equal(wbcache_set(cache, NULL, 1, "v", 1, NULL), WBCACHE_INVALID);
    assert_int_equal(wbcache_set(cache, "k", 1, NULL, 1, NULL), WBCACHE_INVALID);
    assert_int_equal(wbcache_get(cache, "k", 1, NULL, &len, NULL), WBCACHE_INVALID);
    assert_int_equal(wbcache_send_get(cache, big, LIMIT_KEY_BYTES + 1, NULL), WBCACHE_TOO_BIG);
    assert_int_equal(wbcache_pending(cache), 0);
    assert_int_equal(fake_node_requests(&cluster.nodes[0]), 0);
    assert_int_equal(wbcache_set(cache, big, LIMIT_KEY_BYTES, big, LIMIT_VALUE_BYTES, NULL), WBCACHE_OK);
    assert_int_equal(wbcache_get(cache, big, LIMIT_KEY_BYTES, &value, &len, NULL), WBCACHE_OK);
    assert_int_equal(len, LIMIT_KEY_BYTES);
    free(value);
    free(big);
    wbcache_close(cache);
    fake_cluster_stop(&cluster);
}

static enum fake_action too_big_over_100(
    struct fake_node *node, const Wbrpc__Request *request, Wbrpc__Response *response)
{
    if (request->op_case == WBRPC__REQUEST__OP_GET && request->get->n_keys > 100) {
        response->status = WBCACHE_TOO_BIG;
        response->n_results = 0;
    }
    return FAKE_ANSWER;
}

static void mget_gathers_from_all_groups_and_halves_what_is_too_big(void **state)
{
    (void)state;
    enum { N = 1500 };
    struct fake_cluster cluster;
    fake_cluster_start(&cluster, 3, too_big_over_100, NULL);
    struct wbcache *cache = open_cache(&cluster, 0, 0);
    struct wbcache_item *items = calloc(N, sizeof *items);
    char(*keys)[16] = calloc(N, sizeof *keys);
    for (int i = 0; i < N; i++) {
        items[i].key = keys[i];
        items[i].key_len = (size_t)snprintf(keys[i], sizeof keys[i], "key-%d", i);
    }
    assert_int_equal(wbcache_mget(cache, items, N), WBCACHE_OK);
    for (int i = 0; i < N; i++) {
        assert_int_equal(items[i].code, WBCACHE_OK);
        assert_string_equal((char *)items[i].value, keys[i]);
        assert_int_equal(items[i].value_len, items[i].key_len);
        assert_true(items[i].version > 0);
        free(items[i].value);
    }
    for (int i = 0; i < 3; i++) {
        assert_true(fake_node_requests(&cluster.nodes[i]) >= 5);
    }
    assert_int_equal(wbcache_mget(cache, NULL, 1), WBCACHE_INVALID);
    assert_int_equal(wbcache_mget(cache, NULL, 0), WBCACHE_OK);
    free(keys);
    free(items);
    wbcache_close(cache);
    fake_cluster_stop(&cluster);
}

static enum fake_action node_two_is_halted(
    struct fake_node *node, const Wbrpc__Request *request, Wbrpc__Response *response)
{
    if (node->id == 2) {
        response->status = WBCACHE_HALTED;
        response->n_results = 0;
        response->message = fake_text("a foreign cluster's fence");
    }
    return FAKE_ANSWER;
}

static void mset_says_for_each_item_what_became_of_its_group(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    fake_cluster_start(&cluster, 3, node_two_is_halted, NULL);
    struct wbcache *cache = open_cache(&cluster, 0, 0);
    struct wbcache_item items[30] = {0};
    char keys[30][8];
    for (int i = 0; i < 30; i++) {
        items[i].key = keys[i];
        items[i].key_len = (size_t)snprintf(keys[i], sizeof keys[i], "k%d", i);
        items[i].value = fake_text("value");
        items[i].value_len = 5;
    }
    assert_int_equal(wbcache_mset(cache, items, 30), WBCACHE_HALTED);
    assert_non_null(strstr(wbcache_errmsg(cache), "foreign"));
    unsigned seen[3] = {0};
    for (int i = 0; i < 30; i++) {
        unsigned slot, group;
        int code = items[i].code;
        assert_int_equal(wbcache_locate(cache, items[i].key, items[i].key_len, &slot, &group), WBCACHE_OK);
        assert_int_equal(code, group == 1 ? WBCACHE_HALTED : WBCACHE_OK);
        seen[group]++;
    }
    assert_true(seen[0] > 0 && seen[1] > 0 && seen[2] > 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(fake_node_requests(&cluster.nodes[i]), 1); /* one request a group */
    }
    wbcache_close(cache);
    fake_cluster_stop(&cluster);
}

static void an_mset_too_big_for_one_entry_is_refused_and_the_other_groups_are_written(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    fake_cluster_start(&cluster, 3, serve_all, NULL);
    struct wbcache *cache = open_cache(&cluster, 0, 0);
    char *big = calloc(1, LIMIT_VALUE_BYTES);
    struct wbcache_item items[3] = {
        {.key = "{foo}1", .key_len = 6, .value = big, .value_len = LIMIT_VALUE_BYTES / 2},
        {.key = "hello", .key_len = 5, .value = big, .value_len = LIMIT_VALUE_BYTES}, /* alone in its group */
        {.key = "{foo}2", .key_len = 6, .value = big, .value_len = LIMIT_VALUE_BYTES / 2},
    };
    assert_int_equal(wbcache_mset(cache, items, 3), WBCACHE_TOO_BIG);
    assert_int_equal(items[0].code, WBCACHE_TOO_BIG);
    assert_int_equal(items[1].code, WBCACHE_OK);
    assert_int_equal(items[2].code, WBCACHE_TOO_BIG);
    assert_int_equal(fake_node_requests(&cluster.nodes[2]), 0);
    free(big);
    struct wbcache_item *same = calloc(LIMIT_REQUEST_KEYS + 1, sizeof *same);
    for (size_t i = 0; i < LIMIT_REQUEST_KEYS + 1; i++) {
        same[i] = (struct wbcache_item){.key = "k", .key_len = 1};
    }
    assert_int_equal(wbcache_mset(cache, same, LIMIT_REQUEST_KEYS), WBCACHE_OK);
    assert_int_equal(wbcache_mset(cache, same, LIMIT_REQUEST_KEYS + 1), WBCACHE_TOO_BIG);
    free(same);
    wbcache_close(cache);
    fake_cluster_stop(&cluster);
}

static void ten_thousand_pipelined_calls_are_each_answered_once(void **state)
{
    (void)state;
    enum { N = 10000 };
    struct fake_cluster cluster;
    fake_cluster_start(&cluster, 3, serve_all, NULL);
    struct wbcache *cache = open_cache(&cluster, 60000, N);
    unsigned char *seen = calloc(N, 1);
    for (size_t i = 0; i < N; i++) {
        char key[16];
        size_t len = (size_t)snprintf(key, sizeof key, "k%zu", i);
        int code = i % 3 == 0   ? wbcache_send_get(cache, key, len, seen + i)
                   : i % 3 == 1 ? wbcache_send_set(cache, key, len, "v", 1, seen + i)
                                : wbcache_send_del(cache, key, len, seen + i);
        assert_int_equal(code, WBCACHE_OK);
    }
    assert_int_equal(wbcache_pending(cache), N);
    assert_int_equal(wbcache_send_get(cache, "k", 1, NULL), WBCACHE_AGAIN);
    for (size_t i = 0; i < N; i++) {
        struct wbcache_reply reply;
        assert_int_equal(wbcache_receive(cache, &reply, 60000), WBCACHE_OK);
        assert_int_equal(reply.result.code, WBCACHE_OK);
        unsigned char *tag = reply.tag;
        assert_true(tag >= seen && tag < seen + N && *tag == 0);
        *tag = 1;
        if ((tag - seen) % 3 == 0) {
            char key[16];
            size_t len = (size_t)snprintf(key, sizeof key, "k%td", tag - seen);
            assert_int_equal(reply.result.value_len, len);
            assert_memory_equal(reply.result.value, key, len);
        }
    }
    struct wbcache_reply none;
    assert_int_equal(wbcache_pending(cache), 0);
    assert_int_equal(wbcache_receive(cache, &none, 60000), WBCACHE_AGAIN); /* at once: nothing is under way */
    free(seen);
    wbcache_close(cache);
    fake_cluster_stop(&cluster);
}

static void a_handle_closes_with_calls_under_way(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    fake_cluster_start(&cluster, 3, serve_all, NULL);
    struct wbcache *cache = open_cache(&cluster, 0, 0);
    struct wbcache_reply reply;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(wbcache_send_set(cache, &i, sizeof i, "v", 1, NULL), WBCACHE_OK);
    }
    assert_int_equal(wbcache_receive(cache, &reply, 10000), WBCACHE_OK);
    wbcache_close(cache);
    fake_cluster_stop(&cluster);
}

static enum fake_action status_of_two(
    struct fake_node *node, const Wbrpc__Request *request, Wbrpc__Response *response)
{
    static Wbrpc__GroupStatus group;
    static Wbrpc__GroupStatus *groups[] = {&group, &group};
    static Wbrpc__StatusReply reply;
    wbrpc__group_status__init(&group);
    group.role = fake_text("leader");
    group.flush_state = fake_text("active");
    group.term = 7;
    wbrpc__status_reply__init(&reply);
    reply.node_id = node->id;
    reply.version = fake_text("0.1");
    reply.n_groups = 2;
    reply.groups = groups;
    response->node = &reply;
    return FAKE_ANSWER;
}

static void status_asks_every_node_and_says_which_one_is_silent(void **state)
{
    (void)state;
    struct fake_cluster cluster;
    fake_cluster_start(&cluster, 3, status_of_two, NULL);
    struct wbcache *cache = open_cache(&cluster, 300, 0);
    fake_node_kill(&cluster.nodes[1]);
    fake_node_pause(&cluster.nodes[2], true);
    struct wbcache_status *status;
    assert_int_equal(wbcache_status(cache, &status), WBCACHE_OK);
    assert_int_equal(status->n_nodes, 3);
    for (size_t i = 0; i < 3; i++) {
        const struct wbcache_node_status *n = &status->nodes[i];
        assert_int_equal(n->node_id, i + 1);
        assert_string_equal(n->client_address, cluster.nodes[i].address);
        assert_string_equal(n->peer_address, "peer:1");
        assert_int_equal(n->code == WBCACHE_OK, i == 0);
    }
    assert_int_equal(status->nodes[0].n_groups, 2);
    assert_string_equal(status->nodes[0].groups[1].role, "leader");
    assert_int_equal(status->nodes[0].groups[1].term, 7);
    assert_string_equal(status->nodes[0].groups[1].flush_error, "");
    wbcache_status_free(status);
    fake_node_kill(&cluster.nodes[0]);
    assert_int_equal(wbcache_status(cache, &status), WBCACHE_UNAVAILABLE);
    assert_int_equal(status->n_nodes, 3);
    wbcache_status_free(status);
    wbcache_close(cache);
    fake_cluster_stop(&cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_key_is_set_read_and_deleted),
        cmocka_unit_test(clusters_that_make_no_sense_are_refused_with_words),
        cmocka_unit_test(the_environment_names_the_cluster_when_the_caller_does_not),
        cmocka_unit_test(arguments_beyond_the_limits_never_reach_a_node),
        cmocka_unit_test(mget_gathers_from_all_groups_and_halves_what_is_too_big),
        cmocka_unit_test(mset_says_for_each_item_what_became_of_its_group),
        cmocka_unit_test(an_mset_too_big_for_one_entry_is_refused_and_the_other_groups_are_written),
        cmocka_unit_test(ten_thousand_pipelined_calls_are_each_answered_once),
        cmocka_unit_test(a_handle_closes_with_calls_under_way),
        cmocka_unit_test(status_asks_every_node_and_says_which_one_is_silent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
