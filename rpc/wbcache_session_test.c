/* libwbcache's sessions, against nodes that remember what they executed: writes are tried again until it is
 * known what became of them, and executed once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rpc/fake_node.h"
#include "rpc/wbcache.h"

enum { EXECUTED_MAX = 20000 };

struct seen_once {
    uint64_t session, sequence;
    int64_t sum;
};

/* The nodes' common memory; under the cluster's lock once they run. */
struct memory {
    struct seen_once executed[EXECUTED_MAX];
    size_t n;
    int64_t counter;
    unsigned tries, retries, late; /* `late`: retries that were executed already */
    uint64_t floor;                /* the highest first_awaited of the newest session */
    /* what goes wrong: the first so many tries, or every so-many'th */
    unsigned fail_first, fail_every;
    bool execute; /* before it goes wrong */
    bool elect;   /* then the next node leads */
    enum fake_action action;
    int status;
    bool forgetful; /* sessions below `forgotten` are not known */
    uint64_t forgotten;
};

static int64_t *find(struct memory *m, const Wbrpc__Once *once)
{
    for (size_t i = m->n; i > 0; i--) {
        if (m->executed[i - 1].session == once->session && m->executed[i - 1].sequence == once->sequence) {
            return &m->executed[i - 1].sum;
        }
    }
    return NULL;
}

static int64_t execute(struct memory *m, const Wbrpc__Request *request)
{
    assert_true(m->n < EXECUTED_MAX);
    m->counter += request->incr->delta;
    m->executed[m->n++] = (struct seen_once){request->once->session, request->once->sequence, m->counter};
    return m->counter;
}

static void answer_sum(Wbrpc__Response *response, int64_t sum)
{
    response->results[0]->has_number = true;
    response->results[0]->number = sum;
}

static void refuse(Wbrpc__Response *response, int status)
{
    response->status = (uint32_t)status;
    response->n_results = 0;
}

static enum fake_action once(struct fake_node *node, const Wbrpc__Request *request, Wbrpc__Response *response)
{
    struct memory *m = node->cluster->data;
    if (request->op_case != WBRPC__REQUEST__OP_INCR) {
        return FAKE_ANSWER;
    }
    assert_non_null(request->once);
    assert_true(request->once->first_awaited >= 1 && request->once->first_awaited <= request->once->sequence);
    m->tries++;
    m->retries += request->once->retry;
    m->floor = request->once->first_awaited;
    if (m->forgetful && request->once->session <= m->forgotten) {
        refuse(response, WBCACHE_SESSION_EXPIRED);
        return FAKE_ANSWER;
    }
    const int64_t *known = find(m, request->once);
    m->late += known != NULL;
    bool fails = m->tries <= m->fail_first || (m->fail_every != 0 && m->tries % m->fail_every == 0);
    if (known == NULL && (!fails || m->execute)) {
        int64_t sum = execute(m, request);
        answer_sum(response, sum);
    } else if (known != NULL) {
        answer_sum(response, *known);
    }
    if (!fails) {
        return FAKE_ANSWER;
    }
    if (m->elect) {
        node->cluster->leaders[0] = node->id % FAKE_NODES + 1;
    }
    if (m->action == FAKE_ANSWER) {
        refuse(response, m->status);
    }
    return m->action;
}

struct fixture {
    struct fake_cluster cluster;
    struct memory *memory;
    struct wbcache *cache;
};

static void start(struct fixture *f, const struct memory *memory, unsigned deadline_ms, unsigned pipeline)
{
    char addresses[128];
    struct wbcache_options options = {.deadline_ms = deadline_ms, .pipeline_max = pipeline};
    f->memory = malloc(sizeof *f->memory);
    *f->memory = *memory;
    fake_cluster_start(&f->cluster, 1, once, f->memory);
    assert_int_equal(
        wbcache_open(&f->cache, fake_cluster_addresses(&f->cluster, addresses), &options), WBCACHE_OK);
}

static void stop(struct fixture *f)
{
    wbcache_close(f->cache);
    fake_cluster_stop(&f->cluster);
    free(f->memory);
}

static int incr(struct fixture *f, int64_t *sum)
{
    return wbcache_incr(f->cache, "n", 1, 1, sum, NULL);
}

static void one_session_is_opened_and_numbers_rise(void **state)
{
    (void)state;
    struct fixture f;
    int64_t sum = 0;
    start(&f, &(struct memory){0}, 10000, 0);
    for (int i = 1; i <= 5; i++) {
        assert_int_equal(incr(&f, &sum), WBCACHE_OK);
        assert_int_equal(sum, i);
        assert_int_equal(f.memory->executed[i - 1].sequence, i);
        assert_int_equal(f.memory->floor, i);
    }
    assert_int_equal(f.cluster.sessions, 1);
    assert_int_equal(f.memory->retries, 0);
    stop(&f);
}

static void a_handle_that_only_reads_opens_none(void **state)
{
    (void)state;
    struct fixture f;
    bool exists;
    start(&f, &(struct memory){0}, 10000, 0);
    assert_int_equal(wbcache_exists(f.cache, "k", 1, &exists), WBCACHE_OK);
    assert_int_equal(f.cluster.sessions, 0);
    stop(&f);
}

static void a_write_whose_answer_is_lost_is_found_out_and_not_repeated(void **state)
{
    (void)state;
    const struct {
        enum fake_action action;
        int status;
        bool execute;
    } rows[] = {
        {FAKE_DROP, 0, true},
        {FAKE_DROP, 0, false},
        {FAKE_GARBAGE, 0, true},
        {FAKE_ANSWER, WBCACHE_UNKNOWN, true},
        {FAKE_ANSWER, WBCACHE_UNKNOWN, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture f;
        int64_t sum = 0;
        start(&f,
            &(struct memory){.fail_first = 3,
                .action = rows[i].action,
                .status = rows[i].status,
                .execute = rows[i].execute},
            10000, 0);
        assert_int_equal(incr(&f, &sum), WBCACHE_OK);
        assert_int_equal(sum, 1);
        assert_int_equal(f.memory->counter, 1);
        assert_int_equal(f.memory->tries, 4);
        assert_int_equal(f.memory->retries, 3);
        assert_int_equal(f.memory->n, 1);
        stop(&f);
    }
}

static void after_a_doubt_a_refusal_is_no_answer(void **state)
{
    (void)state;
    struct fixture f;
    int64_t sum = 0;
    /* Executed, and the answer lost; then nothing but refusals. */
    start(&f, &(struct memory){.fail_first = 1, .action = FAKE_DROP, .execute = true}, 400, 0);
    pthread_mutex_lock(&f.cluster.lock);
    f.memory->fail_first = 1;
    pthread_mutex_unlock(&f.cluster.lock);
    assert_int_equal(wbcache_incr(f.cache, "n", 1, 1, &sum, NULL), WBCACHE_OK);
    pthread_mutex_lock(&f.cluster.lock);
    f.memory->fail_first = UINT32_MAX;
    f.memory->action = FAKE_ANSWER;
    f.memory->status = WBCACHE_OVERLOADED;
    f.memory->execute = false;
    pthread_mutex_unlock(&f.cluster.lock);
    assert_int_equal(incr(&f, &sum), WBCACHE_OVERLOADED); /* no doubt about this one */
    pthread_mutex_lock(&f.cluster.lock);
    f.memory->status = WBCACHE_UNKNOWN;
    pthread_mutex_unlock(&f.cluster.lock);
    assert_int_equal(incr(&f, &sum), WBCACHE_UNKNOWN);
    assert_int_equal(f.memory->counter, 1);
    stop(&f);
}

static void a_forgotten_session_is_replaced_when_nothing_is_in_doubt(void **state)
{
    (void)state;
    struct fixture f;
    int64_t sum = 0;
    start(&f, &(struct memory){0}, 10000, 0);
    assert_int_equal(incr(&f, &sum), WBCACHE_OK);
    pthread_mutex_lock(&f.cluster.lock);
    f.memory->forgetful = true;
    f.memory->forgotten = 1;
    pthread_mutex_unlock(&f.cluster.lock);
    assert_int_equal(incr(&f, &sum), WBCACHE_OK);
    assert_int_equal(sum, 2);
    assert_int_equal(f.cluster.sessions, 2);
    assert_int_equal(f.memory->executed[1].sequence, 1);
    stop(&f);
}

/* The first try is executed and its answer lost; then the session is forgotten. */
static enum fake_action forget_after_executing(
    struct fake_node *node, const Wbrpc__Request *request, Wbrpc__Response *response)
{
    struct memory *m = node->cluster->data;
    if (m->tries++ == 0) {
        execute(m, request);
        return FAKE_DROP;
    }
    refuse(response, WBCACHE_SESSION_EXPIRED);
    return FAKE_ANSWER;
}

static void a_session_forgotten_with_a_write_in_doubt_leaves_it_unknown(void **state)
{
    (void)state;
    struct fixture f;
    int64_t sum = 0;
    start(&f, &(struct memory){0}, 10000, 0);
    pthread_mutex_lock(&f.cluster.lock);
    f.cluster.script = forget_after_executing;
    pthread_mutex_unlock(&f.cluster.lock);
    assert_int_equal(incr(&f, &sum), WBCACHE_UNKNOWN);
    assert_int_equal(f.memory->counter, 1);
    stop(&f);
}

static void calls_behind_the_first_write_do_not_overtake_it(void **state)
{
    (void)state;
    struct fixture f;
    struct wbcache_reply reply;
    static char tags[6];
    start(&f, &(struct memory){0}, 10000, 0);
    for (int i = 0; i < 6; i++) {
        struct wbcache_op op = {
            .kind = i % 2 == 0 ? WBCACHE_OP_INCR : WBCACHE_OP_GET, .key = "n", .key_len = 1, .delta = 1};
        assert_int_equal(wbcache_send(f.cache, &op, &tags[i]), WBCACHE_OK);
    }
    for (int i = 0; i < 6; i++) { /* a fake node answers in the order of arrival */
        assert_int_equal(wbcache_receive(f.cache, &reply, 10000), WBCACHE_OK);
        assert_int_equal(reply.result.code, WBCACHE_OK);
        assert_ptr_equal(reply.tag, &tags[i]);
    }
    stop(&f);
}

static void ten_thousand_increments_through_losses_are_ten_thousand(void **state)
{
    (void)state;
    enum { N = 10000, WINDOW = 256 };
    for (int executed = 0; executed < 2; executed++) { /* what goes wrong: the answer, or the request */
        struct fixture f;
        struct wbcache_op op = {.kind = WBCACHE_OP_INCR, .key = "n", .key_len = 1, .delta = 1};
        start(&f,
            &(struct memory){.fail_every = 701, .action = FAKE_DROP, .execute = executed == 1, .elect = true},
            60000, WINDOW);
        int sent = 0, received = 0;
        while (received < N) {
            struct wbcache_reply reply;
            while (sent < N && wbcache_send(f.cache, &op, NULL) == WBCACHE_OK) {
                sent++;
            }
            assert_int_equal(wbcache_receive(f.cache, &reply, 60000), WBCACHE_OK);
            assert_int_equal(reply.result.code, WBCACHE_OK);
            received++;
        }
        assert_int_equal(f.memory->counter, N);
        assert_int_equal(f.memory->n, N);
        assert_true(f.memory->retries > 0);
        assert_true(f.memory->floor > N - 2 * WINDOW);
        for (int i = 0; i < FAKE_NODES; i++) {
            assert_true(fake_node_requests(&f.cluster.nodes[i]) > 0);
        }
        stop(&f);
    }
}

/* Executed, but not flushed, until node 2 leads. */
static enum fake_action flushed_by_the_next_leader(
    struct fake_node *node, const Wbrpc__Request *request, Wbrpc__Response *response)
{
    struct memory *m = node->cluster->data;
    assert_int_equal(request->level, WBRPC__LEVEL__FLUSHED);
    m->tries++;
    m->retries += request->once->retry;
    if (find(m, request->once) == NULL) {
        execute(m, request);
    }
    answer_sum(response, m->counter);
    response->has_index = true;
    response->index = 77;
    if (node->id == 1) {
        response->status = WBCACHE_NOT_FLUSHED;
        node->cluster->leaders[0] = (unsigned)(m->fail_first != 0 ? 1 : 2);
    }
    return FAKE_ANSWER;
}

static void a_write_that_is_to_be_flushed_waits_on_at_the_next_leader(void **state)
{
    (void)state;
    struct wbcache_op op = {
        .kind = WBCACHE_OP_INCR, .key = "n", .key_len = 1, .delta = 1, .level = WBCACHE_FLUSHED};
    for (int never = 0; never < 2; never++) {
        struct fixture f;
        struct wbcache_result result;
        start(&f, &(struct memory){.fail_first = (unsigned)never}, never ? 300 : 10000, 0);
        pthread_mutex_lock(&f.cluster.lock);
        f.cluster.script = flushed_by_the_next_leader;
        pthread_mutex_unlock(&f.cluster.lock);
        int code = wbcache_do(f.cache, &op, &result);
        if (never) { /* replicated is what is known, at the deadline */
            assert_int_equal(code, WBCACHE_NOT_FLUSHED);
        } else {
            assert_int_equal(code, WBCACHE_OK);
            assert_int_equal(fake_node_requests(&f.cluster.nodes[1]), 1);
        }
        assert_int_equal(result.number, 1);
        assert_int_equal(result.index, 77);
        assert_int_equal(f.memory->counter, 1);
        stop(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_session_is_opened_and_numbers_rise),
        cmocka_unit_test(a_handle_that_only_reads_opens_none),
        cmocka_unit_test(a_write_whose_answer_is_lost_is_found_out_and_not_repeated),
        cmocka_unit_test(after_a_doubt_a_refusal_is_no_answer),
        cmocka_unit_test(a_forgotten_session_is_replaced_when_nothing_is_in_doubt),
        cmocka_unit_test(a_session_forgotten_with_a_write_in_doubt_leaves_it_unknown),
        cmocka_unit_test(calls_behind_the_first_write_do_not_overtake_it),
        cmocka_unit_test(ten_thousand_increments_through_losses_are_ten_thousand),
        cmocka_unit_test(a_write_that_is_to_be_flushed_waits_on_at_the_next_leader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
