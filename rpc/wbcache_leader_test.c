/* libwbcache's sessions while leaders come, go, stop and forget: a write keeps its session and its number at
 * the next leader, calls keep their order, and nothing waits longer than it must. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rpc/fake_node.h"
#include "rpc/wbcache.h"

enum { SEEN_MAX = 64 };

/* One write as a node saw it. */
struct seen {
    unsigned node;
    uint64_t session, sequence, first_awaited;
    bool retry;
    char key;
};

/* What the scripts count and do; under the cluster's lock once the nodes run. */
struct plan {
    struct seen seen[SEEN_MAX];
    unsigned n;
    unsigned openings;
    int opening_status; /* of OpenSession, when the script answers it */
    uint32_t retry_after_ms;
    uint64_t forgotten; /* sessions up to this one are not known */
    unsigned refuse;    /* so many writes are refused, with: */
    int status;
};

static void note(struct fake_node *node, const Wbrpc__Request *request, char key)
{
    struct plan *plan = node->cluster->data;
    assert_non_null(request->once);
    assert_true(plan->n < SEEN_MAX);
    plan->seen[plan->n++] = (struct seen){.node = node->id,
        .session = request->once->session,
        .sequence = request->once->sequence,
        .first_awaited = request->once->first_awaited,
        .retry = request->once->retry,
        .key = key};
}

static void refuse(Wbrpc__Response *response, int status)
{
    response->status = (uint32_t)status;
    response->n_results = 0;
}

static char key_of(const Wbrpc__Request *request)
{
    return (char)(request->op_case == WBRPC__REQUEST__OP_SET ? request->set->entries[0]->key.data[0]
                                                             : request->incr->key.data[0]);
}

static bool is_write(const Wbrpc__Request *request)
{
    return request->op_case == WBRPC__REQUEST__OP_SET || request->op_case == WBRPC__REQUEST__OP_INCR;
}

struct fixture {
    struct fake_cluster cluster;
    struct plan plan;
    struct wbcache *cache;
};

static void start(struct fixture *f, fake_script script, unsigned deadline_ms)
{
    char addresses[128];
    struct wbcache_options options = {.deadline_ms = deadline_ms};
    fake_cluster_start(&f->cluster, 1, script, &f->plan);
    assert_int_equal(
        wbcache_open(&f->cache, fake_cluster_addresses(&f->cluster, addresses), &options), WBCACHE_OK);
}

static void stop(struct fixture *f)
{
    wbcache_close(f->cache);
    fake_cluster_stop(&f->cluster);
}

static int set(struct fixture *f, const char *key)
{
    return wbcache_set(f->cache, key, 1, "v", 1, NULL);
}

static int send_set(struct fixture *f, const char *key, void *tag)
{
    return wbcache_send_set(f->cache, key, 1, "v", 1, tag);
}

static int receive(struct fixture *f, struct wbcache_reply *reply)
{
    return wbcache_receive(f->cache, reply, 10000);
}

/* ---- A leader is lost ---- */

/* Node 1 takes a write and is gone; node 2 leads from then on. */
static enum fake_action take_and_die(
    struct fake_node *node, const Wbrpc__Request *request, Wbrpc__Response *response)
{
    (void)response;
    struct plan *plan = node->cluster->data;
    if (!is_write(request)) {
        return FAKE_ANSWER;
    }
    note(node, request, key_of(request));
    if (node->id == 1 && plan->n == 3) {
        node->cluster->leaders[0] = 2;
        return FAKE_DROP;
    }
    return FAKE_ANSWER;
}

static void a_write_taken_by_a_dying_leader_is_the_same_write_at_the_next_one(void **state)
{
    (void)state;
    struct fixture f = {0};
    start(&f, take_and_die, 10000);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(set(&f, "k"), WBCACHE_OK);
    }
    const struct seen rows[] = {
        {1, 1, 1, 1, false, 'k'},
        {1, 1, 2, 2, false, 'k'},
        {1, 1, 3, 3, false, 'k'},
        {2, 1, 3, 3, true, 'k'},
        {2, 1, 4, 4, false, 'k'},
    };
    assert_int_equal(f.plan.n, 5);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct seen *s = &f.plan.seen[i];
        assert_int_equal(s->node, rows[i].node);
        assert_int_equal(s->session, rows[i].session);
        assert_int_equal(s->sequence, rows[i].sequence);
        assert_int_equal(s->first_awaited, rows[i].first_awaited);
        assert_int_equal(s->retry, rows[i].retry);
    }
    stop(&f);
}

/* Refuses write 'a' until 'd' has come. */
static enum fake_action refuse_a_until_d(
    struct fake_node *node, const Wbrpc__Request *request, Wbrpc__Response *response)
{
    struct plan *plan = node->cluster->data;
    if (!is_write(request)) {
        return FAKE_ANSWER;
    }
    note(node, request, key_of(request));
    plan->refuse = plan->refuse && key_of(request) != 'd';
    if (plan->refuse && key_of(request) == 'a') {
        refuse(response, WBCACHE_OVERLOADED);
    }
    return FAKE_ANSWER;
}

static void what_is_still_awaited_is_told_with_each_write(void **state)
{
    (void)state;
    struct fixture f = {.plan = {.refuse = 1}};
    struct wbcache_reply reply;
    start(&f, refuse_a_until_d, 10000);
    const char *keys[] = {"a", "b", "c", "d"};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(send_set(&f, keys[i], NULL), WBCACHE_OK);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(receive(&f, &reply), WBCACHE_OK);
        assert_int_equal(reply.result.code, WBCACHE_OK);
    }
    assert_int_equal(set(&f, "e"), WBCACHE_OK);
    for (unsigned i = 0; i + 1 < f.plan.n; i++) {
        assert_int_equal(f.plan.seen[i].first_awaited, 1); /* 'a' */
        assert_false(f.plan.seen[i].retry);                /* a refused try was none */
    }
    assert_int_equal(f.plan.seen[f.plan.n - 1].first_awaited, 5);
    stop(&f);
}

/* ---- A leader stops, and its connections stay ---- */

static enum fake_action answer_unless_node_one(
    struct fake_node *node, const Wbrpc__Request *request, Wbrpc__Response *response)
{
    (void)response;
    if (!is_write(request)) {
        return FAKE_ANSWER;
    }
    note(node, request, key_of(request));
    return node->id == 1 && key_of(request) == 'x' ? FAKE_SILENCE : FAKE_ANSWER;
}

/* The leader is stopped with a write in its hands, and another one leads: the write goes there, long before
 * its deadline. Without it, it would be unknown then. */
static void a_write_in_a_stopped_leaders_hands_moves_to_the_next_one(void **state)
{
    (void)state;
    for (int flushed = 0; flushed < 2; flushed++) {
        struct fixture f = {0};
        struct wbcache_reply reply;
        struct wbcache_op op = {.kind = WBCACHE_OP_SET,
            .key = "x",
            .key_len = 1,
            .value = "v",
            .value_len = 1,
            .level = flushed ? WBCACHE_FLUSHED : WBCACHE_REPLICATED};
        start(&f, answer_unless_node_one, 8000);
        assert_int_equal(set(&f, "k"), WBCACHE_OK);
        assert_int_equal(wbcache_send(f.cache, &op, NULL), WBCACHE_OK);
        while (fake_node_requests(&f.cluster.nodes[0]) < 2) {
            assert_int_equal(wbcache_receive(f.cache, &reply, 1), WBCACHE_AGAIN);
        }
        fake_node_pause(&f.cluster.nodes[0], true);
        fake_cluster_lead(&f.cluster, 0, 2);
        assert_int_equal(receive(&f, &reply), WBCACHE_OK);
        assert_int_equal(reply.result.code, WBCACHE_OK);
        const struct seen *last = &f.plan.seen[f.plan.n - 1];
        assert_int_equal(last->node, 2);
        assert_int_equal(last->session, 1);
        assert_int_equal(last->sequence, 2);
        assert_true(last->retry);
        fake_node_pause(&f.cluster.nodes[0], false);
        stop(&f);
    }
}

/* ---- Doubt ends at the deadline ---- */

/* The first write's connection is lost; every later one gets plan->status. */
static enum fake_action drop_then_refuse(
    struct fake_node *node, const Wbrpc__Request *request, Wbrpc__Response *response)
{
    struct plan *plan = node->cluster->data;
    if (!is_write(request)) {
        return FAKE_ANSWER;
    }
    note(node, request, key_of(request));
    if (plan->n == 1) {
        return FAKE_DROP;
    }
    refuse(response, plan->status);
    if (plan->retry_after_ms > 0) {
        response->has_retry_after_ms = true;
        response->retry_after_ms = plan->retry_after_ms;
    }
    return FAKE_ANSWER;
}

static void after_a_lost_try_no_refusal_is_the_answer(void **state)
{
    (void)state;
    const int rows[] = {WBCACHE_OVERLOADED, WBCACHE_TIMEOUT, WBCACHE_NOT_LEADER, WBCACHE_UNAVAILABLE,
        WBCACHE_DATABASE_DOWN, WBCACHE_NO_SPACE, WBCACHE_HALTED, WBCACHE_CORRUPT};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture f = {.plan = {.status = rows[i], .retry_after_ms = 20}};
        start(&f, drop_then_refuse, 300);
        assert_int_equal(set(&f, "k"), WBCACHE_UNKNOWN);
        assert_true(f.plan.n >= 3); /* it tried, and tried again */
        for (unsigned k = 1; k < f.plan.n; k++) {
            assert_true(f.plan.seen[k].retry);
            assert_int_equal(f.plan.seen[k].sequence, 1);
        }
        stop(&f);
    }
}

static void what_a_retry_is_told_is_the_answer(void **state)
{
    (void)state;
    const int rows[] = {
        WBCACHE_NOT_A_NUMBER, WBCACHE_OUT_OF_RANGE, WBCACHE_WRONG_TYPE, WBCACHE_TOO_BIG, WBCACHE_INVALID};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture f = {.plan = {.status = rows[i]}};
        start(&f, drop_then_refuse, 10000);
        assert_int_equal(wbcache_incr(f.cache, "k", 1, 1, NULL, NULL), rows[i]);
        assert_int_equal(f.plan.n, 2);
        stop(&f);
    }
}

/* ---- Sessions are opened ---- */

static enum fake_action refuse_openings(
    struct fake_node *node, const Wbrpc__Request *request, Wbrpc__Response *response)
{
    struct plan *plan = node->cluster->data;
    if (request->op_case == WBRPC__REQUEST__OP_OPEN_SESSION) {
        plan->openings++;
        if (plan->opening_status != WBCACHE_OK) {
            refuse(response, plan->opening_status);
            response->has_retry_after_ms = plan->retry_after_ms != 0;
            response->retry_after_ms = plan->retry_after_ms;
            return FAKE_ANSWER;
        }
        response->has_session = true;
        response->session = 7;
    } else if (is_write(request)) {
        note(node, request, key_of(request));
    }
    return FAKE_ANSWER;
}

/* Many writes wait for a session that nobody opens; all of them end, each by its own deadline. */
static void writes_that_wait_for_a_session_end_with_its_refusal_at_their_deadline(void **state)
{
    (void)state;
    const int rows[] = {WBCACHE_NOT_LEADER, WBCACHE_UNAVAILABLE, WBCACHE_OVERLOADED, WBCACHE_NO_SPACE};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture f = {.plan = {.opening_status = rows[i]}};
        struct wbcache_reply reply;
        start(&f, refuse_openings, 200);
        pthread_mutex_lock(&f.cluster.lock);
        f.cluster.scripted_sessions = true;
        pthread_mutex_unlock(&f.cluster.lock);
        for (int k = 0; k < 50; k++) {
            assert_int_equal(send_set(&f, "k", NULL), WBCACHE_OK);
        }
        for (int k = 0; k < 50; k++) {
            assert_int_equal(receive(&f, &reply), WBCACHE_OK);
            assert_int_not_equal(reply.result.code, WBCACHE_OK);
            assert_int_not_equal(reply.result.code, WBCACHE_UNKNOWN); /* nothing was sent */
        }
        assert_int_equal(f.plan.n, 0);
        assert_true(f.plan.openings >= 2);
        stop(&f);
    }
}

/* A write that came late is not ended by the deadline of the opening that an earlier one began. */
static void a_later_write_outlives_the_opening_that_an_earlier_one_began(void **state)
{
    (void)state;
    struct fixture f = {.plan = {.opening_status = WBCACHE_NOT_LEADER}};
    struct wbcache_reply reply;
    char first, second;
    start(&f, refuse_openings, 200);
    pthread_mutex_lock(&f.cluster.lock);
    f.cluster.scripted_sessions = true;
    pthread_mutex_unlock(&f.cluster.lock);
    assert_int_equal(send_set(&f, "a", &first), WBCACHE_OK);
    assert_int_equal(wbcache_receive(f.cache, &reply, 50), WBCACHE_AGAIN);
    wbcache_set_deadline(f.cache, 10000);
    assert_int_equal(send_set(&f, "b", &second), WBCACHE_OK);
    assert_int_equal(receive(&f, &reply), WBCACHE_OK);
    assert_ptr_equal(reply.tag, &first);
    assert_int_not_equal(reply.result.code, WBCACHE_OK);
    assert_int_equal(wbcache_receive(f.cache, &reply, 50), WBCACHE_AGAIN); /* the opening has ended as well */
    pthread_mutex_lock(&f.cluster.lock);
    f.plan.opening_status = WBCACHE_OK;
    pthread_mutex_unlock(&f.cluster.lock);
    assert_int_equal(receive(&f, &reply), WBCACHE_OK);
    assert_ptr_equal(reply.tag, &second);
    assert_int_equal(reply.result.code, WBCACHE_OK);
    assert_int_equal(f.plan.n, 1);
    assert_int_equal(f.plan.seen[0].session, 7);
    stop(&f);
}

static void an_opening_that_shall_come_back_after_the_deadline_is_not_repeated_at_once(void **state)
{
    (void)state;
    struct fixture f = {.plan = {.opening_status = WBCACHE_OVERLOADED, .retry_after_ms = 60000}};
    start(&f, refuse_openings, 200);
    pthread_mutex_lock(&f.cluster.lock);
    f.cluster.scripted_sessions = true;
    pthread_mutex_unlock(&f.cluster.lock);
    assert_int_equal(set(&f, "k"), WBCACHE_OVERLOADED);
    assert_int_equal(f.plan.openings, 1);
    stop(&f);
}

static void a_group_that_can_open_no_session_says_why(void **state)
{
    (void)state;
    struct fixture f = {.plan = {.opening_status = WBCACHE_HALTED}};
    start(&f, refuse_openings, 10000);
    pthread_mutex_lock(&f.cluster.lock);
    f.cluster.scripted_sessions = true;
    pthread_mutex_unlock(&f.cluster.lock);
    assert_int_equal(set(&f, "a"), WBCACHE_HALTED);
    assert_int_equal(f.plan.openings, 1);
    stop(&f);
}

/* ---- Sessions are forgotten ---- */

static enum fake_action forget(
    struct fake_node *node, const Wbrpc__Request *request, Wbrpc__Response *response)
{
    struct plan *plan = node->cluster->data;
    if (!is_write(request)) {
        return FAKE_ANSWER;
    }
    if (request->once->session <= plan->forgotten) {
        refuse(response, WBCACHE_SESSION_EXPIRED);
    } else {
        note(node, request, key_of(request));
    }
    return FAKE_ANSWER;
}

static void writes_of_a_forgotten_session_move_to_a_new_one_in_their_order(void **state)
{
    (void)state;
    static const char *const keys[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"};
    enum { N = sizeof keys / sizeof keys[0] };
    for (int round = 0; round < 10; round++) {
        struct fixture f = {0};
        struct wbcache_reply reply;
        start(&f, forget, 10000);
        assert_int_equal(set(&f, "z"), WBCACHE_OK);
        pthread_mutex_lock(&f.cluster.lock);
        f.plan.forgotten = 1;
        f.plan.n = 0;
        pthread_mutex_unlock(&f.cluster.lock);
        for (int i = 0; i < N; i++) {
            assert_int_equal(send_set(&f, keys[i], NULL), WBCACHE_OK);
        }
        for (int i = 0; i < N; i++) {
            assert_int_equal(receive(&f, &reply), WBCACHE_OK);
            assert_int_equal(reply.result.code, WBCACHE_OK);
        }
        assert_int_equal(f.plan.n, N);
        for (unsigned i = 0; i < N; i++) {
            assert_int_equal(f.plan.seen[i].key, keys[i][0]);
            assert_int_equal(f.plan.seen[i].session, 2);
            assert_int_equal(f.plan.seen[i].sequence, i + 1);
            assert_false(f.plan.seen[i].retry);
        }
        assert_int_equal(f.cluster.sessions, 2);
        stop(&f);
    }
}

/* Each new session is forgotten before its first write: the nodes are not asked without a pause. */
static void sessions_that_are_forgotten_all_the_time_are_not_opened_without_end(void **state)
{
    (void)state;
    struct fixture f = {.plan = {.forgotten = UINT64_MAX}};
    start(&f, forget, 300);
    assert_int_equal(set(&f, "k"), WBCACHE_UNAVAILABLE);
    assert_true(f.cluster.sessions >= 2);
    assert_true(f.cluster.sessions < 100); /* pauses of 5 ms at least */
    stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_write_taken_by_a_dying_leader_is_the_same_write_at_the_next_one),
        cmocka_unit_test(what_is_still_awaited_is_told_with_each_write),
        cmocka_unit_test(a_write_in_a_stopped_leaders_hands_moves_to_the_next_one),
        cmocka_unit_test(after_a_lost_try_no_refusal_is_the_answer),
        cmocka_unit_test(what_a_retry_is_told_is_the_answer),
        cmocka_unit_test(writes_that_wait_for_a_session_end_with_its_refusal_at_their_deadline),
        cmocka_unit_test(a_later_write_outlives_the_opening_that_an_earlier_one_began),
        cmocka_unit_test(an_opening_that_shall_come_back_after_the_deadline_is_not_repeated_at_once),
        cmocka_unit_test(a_group_that_can_open_no_session_says_why),
        cmocka_unit_test(writes_of_a_forgotten_session_move_to_a_new_one_in_their_order),
        cmocka_unit_test(sessions_that_are_forgotten_all_the_time_are_not_opened_without_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
