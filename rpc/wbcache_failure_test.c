/* libwbcache against nodes that redirect, refuse, fall silent and die: what is tried again, and what is
 * UNKNOWN. Without sessions: wbcache_session_test.c has those. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "rpc/fake_node.h"
#include "rpc/wbcache.h"

/* What the scripts count and do; under the cluster's lock once the nodes run. */
struct plan {
    unsigned tries;
    unsigned fail_first; /* the first so many tries */
    int status;
    uint32_t retry_after_ms;
    enum fake_action action;
    unsigned leader; /* the true one's id */
    bool name_leader;
    unsigned redirects;
    uint64_t first_ms, last_ms; /* of tries */
};

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void refuse(Wbrpc__Response *response, int status)
{
    response->status = (uint32_t)status;
    response->n_results = 0;
}

/* The first plan->fail_first tries get plan->action with plan->status; the others are served. */
static enum fake_action fail_then_serve(
    struct fake_node *node, const Wbrpc__Request *request, Wbrpc__Response *response)
{
    struct plan *plan = node->cluster->data;
    plan->last_ms = now_ms();
    plan->first_ms = plan->tries == 0 ? plan->last_ms : plan->first_ms;
    if (plan->tries++ >= plan->fail_first) {
        return FAKE_ANSWER;
    }
    if (plan->status != WBCACHE_OK) {
        refuse(response, plan->status);
    }
    if (plan->retry_after_ms > 0) {
        response->has_retry_after_ms = true;
        response->retry_after_ms = plan->retry_after_ms;
    }
    return plan->action;
}

/* Every node but the leader answers NOT_LEADER, and names it when plan->name_leader. */
static enum fake_action leader_only(
    struct fake_node *node, const Wbrpc__Request *request, Wbrpc__Response *response)
{
    struct plan *plan = node->cluster->data;
    unsigned leader = plan->leader;
    if (node->id == leader) {
        return FAKE_ANSWER;
    }
    refuse(response, WBCACHE_NOT_LEADER);
    plan->redirects++;
    if (plan->name_leader) {
        response->leader = node->cluster->nodes[leader - 1].address;
    }
    return FAKE_ANSWER;
}

/* Nodes 1 and 2 point at each other, until the group is given to node 3. */
static enum fake_action ping_pong(
    struct fake_node *node, const Wbrpc__Request *request, Wbrpc__Response *response)
{
    struct plan *plan = node->cluster->data;
    if (node->id == 3) {
        return FAKE_ANSWER;
    }
    refuse(response, WBCACHE_NOT_LEADER);
    response->leader = node->cluster->nodes[node->id == 1 ? 1 : 0].address;
    plan->redirects++;
    if (plan->redirects == plan->fail_first) {
        node->cluster->leaders[0] = 3;
    }
    return FAKE_ANSWER;
}

struct fixture {
    struct fake_cluster cluster;
    struct plan plan;
    struct wbcache *cache;
};

static void start(struct fixture *f, fake_script script, unsigned deadline_ms)
{
    char addresses[128];
    struct wbcache_options options = {.deadline_ms = deadline_ms, .no_sessions = true};
    fake_cluster_start(&f->cluster, 1, script, &f->plan);
    assert_int_equal(
        wbcache_open(&f->cache, fake_cluster_addresses(&f->cluster, addresses), &options), WBCACHE_OK);
}

static void stop(struct fixture *f)
{
    wbcache_close(f->cache);
    fake_cluster_stop(&f->cluster);
}

static struct plan seen(struct fixture *f)
{
    pthread_mutex_lock(&f->cluster.lock);
    struct plan plan = f->plan;
    pthread_mutex_unlock(&f->cluster.lock);
    return plan;
}

static int set(struct fixture *f)
{
    return wbcache_set(f->cache, "k", 1, "v", 1, NULL);
}

static int get(struct fixture *f)
{
    void *value = NULL;
    size_t len;
    int code = wbcache_get(f->cache, "k", 1, &value, &len, NULL);
    free(value);
    return code;
}

static void a_redirect_is_followed_at_once_and_remembered(void **state)
{
    (void)state;
    struct fixture f = {.plan = {.leader = 2, .name_leader = true}};
    start(&f, leader_only, 10000);
    assert_int_equal(set(&f), WBCACHE_OK);
    assert_int_equal(set(&f), WBCACHE_OK);
    assert_int_equal(seen(&f).redirects, 1);
    assert_int_equal(fake_node_requests(&f.cluster.nodes[1]), 2);
    stop(&f);
}

/* leader_only, and the first refusal starts an election that node 3 wins. */
static enum fake_action abdicate(
    struct fake_node *node, const Wbrpc__Request *request, Wbrpc__Response *response)
{
    if (node->id == 1) {
        node->cluster->leaders[0] = 3;
    }
    return leader_only(node, request, response);
}

static void a_redirect_without_a_leader_is_found_out_from_the_topology(void **state)
{
    (void)state;
    struct fixture f = {.plan = {.leader = 3}};
    start(&f, abdicate, 10000);
    assert_int_equal(set(&f), WBCACHE_OK);
    assert_int_equal(seen(&f).redirects, 1);
    assert_int_equal(fake_node_requests(&f.cluster.nodes[2]), 1);
    stop(&f);
}

static void nodes_that_point_at_each_other_are_not_asked_in_a_circle(void **state)
{
    (void)state;
    struct fixture f = {.plan = {.fail_first = 1000000}};
    start(&f, ping_pong, 300);
    int code = set(&f);
    assert_true(
        code == WBCACHE_NOT_LEADER || code == WBCACHE_UNKNOWN); /* unknown: the deadline came in mid-try */
    assert_true(seen(&f).redirects >= 4);
    assert_true(seen(&f).redirects < 200); /* a pause of 5 ms at least after each 4 */
    stop(&f);

    struct fixture g = {.plan = {.fail_first = 10}};
    start(&g, ping_pong, 10000);
    assert_int_equal(set(&g), WBCACHE_OK); /* the circle is left when the topology names another */
    stop(&g);
}

static void a_leader_that_is_not_known_yet_is_waited_for(void **state)
{
    (void)state;
    struct fixture f = {.plan = {.fail_first = 0}};
    char addresses[128];
    struct wbcache_options options = {.deadline_ms = 200, .no_sessions = true};
    fake_cluster_start(&f.cluster, 1, fail_then_serve, &f.plan);
    fake_cluster_lead(&f.cluster, 0, 0);
    assert_int_equal(
        wbcache_open(&f.cache, fake_cluster_addresses(&f.cluster, addresses), &options), WBCACHE_OK);
    assert_int_equal(set(&f), WBCACHE_UNAVAILABLE);
    assert_int_equal(seen(&f).tries, 0);
    wbcache_set_deadline(f.cache, 10000);
    assert_int_equal(wbcache_send_set(f.cache, "k", 1, "v", 1, NULL), WBCACHE_OK);
    struct wbcache_reply reply;
    assert_int_equal(wbcache_receive(f.cache, &reply, 50), WBCACHE_AGAIN);
    fake_cluster_lead(&f.cluster, 0, 2);
    assert_int_equal(wbcache_receive(f.cache, &reply, 10000), WBCACHE_OK);
    assert_int_equal(reply.result.code, WBCACHE_OK);
    assert_int_equal(fake_node_requests(&f.cluster.nodes[1]), 1);
    stop(&f);
}

static void what_a_node_refuses_is_tried_again_writes_too(void **state)
{
    (void)state;
    const int rows[] = {WBCACHE_UNAVAILABLE, WBCACHE_OVERLOADED, WBCACHE_SHUTTING_DOWN, WBCACHE_NO_SPACE};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture f = {.plan = {.fail_first = 3, .status = rows[i]}};
        start(&f, fail_then_serve, 10000);
        assert_int_equal(set(&f), WBCACHE_OK);
        assert_int_equal(seen(&f).tries, 4);
        stop(&f);
    }
}

static void an_overloaded_node_is_left_alone_for_as_long_as_it_asks(void **state)
{
    (void)state;
    struct fixture f = {.plan = {.fail_first = 1, .status = WBCACHE_OVERLOADED, .retry_after_ms = 150}};
    start(&f, fail_then_serve, 10000);
    assert_int_equal(set(&f), WBCACHE_OK);
    assert_true(seen(&f).last_ms - seen(&f).first_ms >= 149); /* the clocks' milliseconds round differently */
    stop(&f);

    struct fixture g = {.plan = {.fail_first = 1, .status = WBCACHE_OVERLOADED, .retry_after_ms = 60000}};
    start(&g, fail_then_serve, 5000);
    assert_int_equal(set(&g), WBCACHE_OVERLOADED); /* at once: another try would come after the deadline */
    assert_non_null(strstr(wbcache_errmsg(g.cache), "OVERLOADED"));
    stop(&g);
}

static void what_is_refused_for_good_is_reported_once(void **state)
{
    (void)state;
    const int rows[] = {
        WBCACHE_HALTED, WBCACHE_DATABASE_DOWN, WBCACHE_INVALID, WBCACHE_TOO_BIG, WBCACHE_UNKNOWN};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture f = {.plan = {.fail_first = 1, .status = rows[i]}};
        start(&f, fail_then_serve, 10000);
        assert_int_equal(set(&f), rows[i]);
        assert_int_equal(seen(&f).tries, 1);
        stop(&f);
    }
}

static void a_write_cut_off_after_it_was_sent_is_unknown_and_a_read_is_tried_again(void **state)
{
    (void)state;
    for (int garbage = 0; garbage < 2; garbage++) {
        enum fake_action action = garbage ? FAKE_GARBAGE : FAKE_DROP;
        struct fixture f = {.plan = {.fail_first = 1, .action = action}};
        start(&f, fail_then_serve, 10000);
        assert_int_equal(set(&f), WBCACHE_UNKNOWN);
        assert_int_equal(seen(&f).tries, 1);
        assert_int_equal(set(&f), WBCACHE_OK);
        stop(&f);

        struct fixture g = {.plan = {.fail_first = 2, .action = action}};
        start(&g, fail_then_serve, 10000);
        assert_int_equal(get(&g), WBCACHE_OK);
        assert_int_equal(seen(&g).tries, 3);
        stop(&g);
    }
}

static void what_a_goodbye_left_unanswered_was_not_done_and_is_tried_again(void **state)
{
    (void)state;
    enum { WRITES = 20 };
    struct fixture f = {.plan = {.fail_first = 1, .action = FAKE_GOODBYE}};
    start(&f, fail_then_serve, 10000);
    assert_int_equal(set(&f), WBCACHE_OK);
    assert_int_equal(seen(&f).tries, 2);
    assert_true(seen(&f).last_ms - seen(&f).first_ms >= 49); /* the node is left alone for a moment */
    stop(&f);

    /* Many on their way: the first is met by the goodbye, the others come after it. */
    struct fixture g = {.plan = {.fail_first = 1, .action = FAKE_GOODBYE}};
    start(&g, fail_then_serve, 10000);
    for (int i = 0; i < WRITES; i++) {
        assert_int_equal(wbcache_send_set(g.cache, "k", 1, "v", 1, NULL), WBCACHE_OK);
    }
    for (int i = 0; i < WRITES; i++) {
        struct wbcache_reply reply;
        assert_int_equal(wbcache_receive(g.cache, &reply, 10000), WBCACHE_OK);
        assert_int_equal(reply.result.code, WBCACHE_OK);
    }
    assert_int_equal(seen(&g).tries, WRITES + 1);
    stop(&g);
}

/* Node 1 leaves at its first request, and node 2 leads from then on. */
static enum fake_action leave(
    struct fake_node *node, const Wbrpc__Request *request, Wbrpc__Response *response)
{
    if (node->id != 1) {
        return FAKE_ANSWER;
    }
    node->cluster->leaders[0] = 2;
    return FAKE_GOODBYE;
}

static void after_a_goodbye_the_next_leader_is_looked_for(void **state)
{
    (void)state;
    struct fixture f = {0};
    start(&f, leave, 10000);
    assert_int_equal(set(&f), WBCACHE_OK);
    assert_int_equal(set(&f), WBCACHE_OK);
    assert_int_equal(fake_node_requests(&f.cluster.nodes[0]), 1);
    assert_int_equal(fake_node_requests(&f.cluster.nodes[1]), 2);
    stop(&f);
}

static void a_goodbye_to_a_resting_connection_costs_nothing(void **state)
{
    (void)state;
    struct fixture f = {.plan = {.fail_first = 0}};
    start(&f, fail_then_serve, 10000);
    assert_int_equal(set(&f), WBCACHE_OK);
    fake_node_goodbye(&f.cluster.nodes[0]);
    struct timespec rest = {.tv_nsec = 20000000};
    nanosleep(&rest, NULL); /* as below */
    assert_int_equal(set(&f), WBCACHE_OK);
    assert_int_equal(seen(&f).tries, 2);
    pthread_mutex_lock(&f.cluster.lock);
    assert_int_equal(f.cluster.nodes[0].discarded, 0); /* it was seen before the write was sent */
    pthread_mutex_unlock(&f.cluster.lock);
    stop(&f);
}

static void an_unknown_read_is_simply_tried_again(void **state)
{
    (void)state;
    struct fixture f = {.plan = {.fail_first = 2, .status = WBCACHE_UNKNOWN}};
    start(&f, fail_then_serve, 10000);
    assert_int_equal(get(&f), WBCACHE_OK);
    assert_int_equal(seen(&f).tries, 3);
    stop(&f);
}

static void a_connection_closed_while_idle_costs_a_write_nothing(void **state)
{
    (void)state;
    struct fixture f = {.plan = {.fail_first = 0}};
    start(&f, fail_then_serve, 10000);
    assert_int_equal(set(&f), WBCACHE_OK);
    /* Node 1 goes, as far as the handle knows; node 2 takes over. The write was not sent, so it is not
     * unknown. */
    fake_node_kill(&f.cluster.nodes[0]);
    struct timespec rest = {.tv_nsec = 20000000};
    nanosleep(&rest, NULL); /* the handle looks at a connection only after it rested for some milliseconds */
    fake_cluster_lead(&f.cluster, 0, 2);
    assert_int_equal(set(&f), WBCACHE_OK);
    assert_int_equal(fake_node_requests(&f.cluster.nodes[1]), 1);
    stop(&f);
}

static enum fake_action silence(
    struct fake_node *node, const Wbrpc__Request *request, Wbrpc__Response *response)
{
    return node->id == 1 ? FAKE_SILENCE : FAKE_ANSWER;
}

static void a_deadline_is_kept_and_told_to_the_node(void **state)
{
    (void)state;
    struct fixture f = {0};
    start(&f, silence, 120);
    for (int write = 0; write < 2; write++) {
        uint64_t begin = now_ms();
        assert_int_equal(write ? set(&f) : get(&f), write ? WBCACHE_UNKNOWN : WBCACHE_TIMEOUT);
        assert_true(now_ms() - begin >= 119);
        assert_true(now_ms() - begin < 5000); /* a bound, not a measurement: the machine may be busy */
    }
    assert_true(f.cluster.nodes[0].last_deadline_ms > 0 && f.cluster.nodes[0].last_deadline_ms <= 120);
    stop(&f);
}

static void a_paused_leader_blocks_neither_reads_nor_new_writes(void **state)
{
    (void)state;
    struct fixture f = {0};
    struct wbcache_reply reply;
    char before, after;
    start(&f, silence, 3000);
    fake_cluster_lead(&f.cluster, 0, 1);
    assert_int_equal(wbcache_send_set(f.cache, "k", 1, "v", 1, &before), WBCACHE_OK);
    assert_int_equal(wbcache_receive(f.cache, &reply, 10), WBCACHE_AGAIN);
    fake_node_pause(&f.cluster.nodes[0], true);
    fake_cluster_lead(&f.cluster, 0, 2);
    /* The read goes to the paused node too, and moves; a later write goes to the new leader directly. */
    assert_int_equal(get(&f), WBCACHE_OK);
    assert_int_equal(wbcache_send_set(f.cache, "k", 1, "v", 1, &after), WBCACHE_OK);
    assert_int_equal(wbcache_receive(f.cache, &reply, 10000), WBCACHE_OK);
    assert_ptr_equal(reply.tag, &after);
    assert_int_equal(reply.result.code, WBCACHE_OK);
    /* The first write may have been done. */
    assert_int_equal(wbcache_receive(f.cache, &reply, 10000), WBCACHE_OK);
    assert_ptr_equal(reply.tag, &before);
    assert_int_equal(reply.result.code, WBCACHE_UNKNOWN);
    stop(&f);
}

static void one_slow_call_does_not_make_a_node_suspect(void **state)
{
    (void)state;
    struct fixture f = {0};
    struct wbcache_reply reply;
    start(&f, silence, 3000);
    assert_int_equal(wbcache_send_get(f.cache, "k", 1, NULL), WBCACHE_OK);
    assert_int_equal(wbcache_receive(f.cache, &reply, 10000), WBCACHE_OK);
    assert_int_equal(reply.result.code, WBCACHE_TIMEOUT);
    /* Topology was answered meanwhile. (Once more is for a machine so busy that even this came late.) */
    assert_true(fake_node_requests(&f.cluster.nodes[0]) <= 2);
    stop(&f);
}

/* Of this thread, which is all that the library uses. */
static uint64_t processor_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void waiting_costs_no_processor_time(void **state)
{
    (void)state;
    struct fixture f = {0};
    struct wbcache_reply reply;
    start(&f, silence, 600);
    /* A reply that nobody takes, a silent node, a dead one, and no leader: none of them may make the turns
     * spin. */
    assert_int_equal(wbcache_send_get(f.cache, "k", 1, NULL), WBCACHE_OK);
    uint64_t begin = processor_ms();
    assert_int_equal(get(&f), WBCACHE_TIMEOUT);
    assert_int_equal(wbcache_receive(f.cache, &reply, 10000), WBCACHE_OK);
    assert_int_equal(wbcache_send_get(f.cache, "k", 1, NULL), WBCACHE_OK);
    fake_node_kill(&f.cluster.nodes[0]);
    fake_cluster_lead(&f.cluster, 0, 0);
    assert_int_equal(set(&f), WBCACHE_UNAVAILABLE);
    assert_int_equal(wbcache_receive(f.cache, &reply, 10000), WBCACHE_OK);
    assert_true(processor_ms() - begin < 400); /* of 1200 that passed; it needs some 20 */
    stop(&f);
}

static void a_paused_seed_does_not_hinder_opening(void **state)
{
    (void)state;
    struct fixture f = {.plan = {.fail_first = 0}};
    char addresses[128];
    fake_cluster_start(&f.cluster, 1, fail_then_serve, &f.plan);
    fake_node_pause(&f.cluster.nodes[0], true);
    fake_node_kill(&f.cluster.nodes[1]);
    fake_cluster_lead(&f.cluster, 0, 3);
    assert_int_equal(wbcache_open(&f.cache, fake_cluster_addresses(&f.cluster, addresses), NULL), WBCACHE_OK);
    assert_int_equal(set(&f), WBCACHE_OK);
    stop(&f);
}

static void no_node_at_all_is_unavailable_by_the_deadline(void **state)
{
    (void)state;
    struct fixture f = {.plan = {.fail_first = 0}};
    start(&f, fail_then_serve, 300);
    for (int i = 0; i < FAKE_NODES; i++) {
        fake_node_kill(&f.cluster.nodes[i]);
    }
    assert_int_equal(get(&f), WBCACHE_UNAVAILABLE);
    assert_true(wbcache_errmsg(f.cache)[0] != '\0');
    struct wbcache *cache;
    char addresses[128];
    struct wbcache_options options = {.deadline_ms = 100};
    assert_int_equal(
        wbcache_open(&cache, fake_cluster_addresses(&f.cluster, addresses), &options), WBCACHE_UNAVAILABLE);
    assert_non_null(strstr(wbcache_errmsg(cache), "refused"));
    wbcache_close(cache);
    stop(&f);
}

/* Failover: the leader dies with writes under way; the next ones must not wait longer than for a new leader.
 */
static void after_a_leaders_death_writes_go_on_with_the_next_one(void **state)
{
    (void)state;
    struct fixture f = {.plan = {.fail_first = 0}};
    start(&f, fail_then_serve, 10000);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(set(&f), WBCACHE_OK);
    }
    fake_node_kill(&f.cluster.nodes[0]);
    assert_int_equal(wbcache_send_set(f.cache, "k", 1, "v", 1, NULL), WBCACHE_OK);
    struct wbcache_reply reply;
    int code = wbcache_receive(f.cache, &reply, 100); /* UNKNOWN when it was sent to the dead node */
    assert_true(code == WBCACHE_AGAIN || reply.result.code == WBCACHE_UNKNOWN);
    uint64_t begin = now_ms();
    fake_cluster_lead(&f.cluster, 0, 3);
    assert_int_equal(set(&f), WBCACHE_OK);
    print_message("failover seen by the client after %llu ms\n", (unsigned long long)(now_ms() - begin));
    stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_redirect_is_followed_at_once_and_remembered),
        cmocka_unit_test(a_redirect_without_a_leader_is_found_out_from_the_topology),
        cmocka_unit_test(nodes_that_point_at_each_other_are_not_asked_in_a_circle),
        cmocka_unit_test(a_leader_that_is_not_known_yet_is_waited_for),
        cmocka_unit_test(what_a_node_refuses_is_tried_again_writes_too),
        cmocka_unit_test(an_overloaded_node_is_left_alone_for_as_long_as_it_asks),
        cmocka_unit_test(what_is_refused_for_good_is_reported_once),
        cmocka_unit_test(a_write_cut_off_after_it_was_sent_is_unknown_and_a_read_is_tried_again),
        cmocka_unit_test(what_a_goodbye_left_unanswered_was_not_done_and_is_tried_again),
        cmocka_unit_test(after_a_goodbye_the_next_leader_is_looked_for),
        cmocka_unit_test(a_goodbye_to_a_resting_connection_costs_nothing),
        cmocka_unit_test(an_unknown_read_is_simply_tried_again),
        cmocka_unit_test(a_connection_closed_while_idle_costs_a_write_nothing),
        cmocka_unit_test(a_deadline_is_kept_and_told_to_the_node),
        cmocka_unit_test(a_paused_leader_blocks_neither_reads_nor_new_writes),
        cmocka_unit_test(one_slow_call_does_not_make_a_node_suspect),
        cmocka_unit_test(waiting_costs_no_processor_time),
        cmocka_unit_test(a_paused_seed_does_not_hinder_opening),
        cmocka_unit_test(no_node_at_all_is_unavailable_by_the_deadline),
        cmocka_unit_test(after_a_leaders_death_writes_go_on_with_the_next_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
