/* A retry is answered with what the first try came to, and executes nothing: at the next leader after
 * SIGKILL, at one that knows it from a snapshot only, and after SIGKILL of all nodes. Requests are written by
 * hand (asker.h): the library's own care hides nothing. */
#include "cluster-tests/scenario.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cluster-tests/asker.h"
#include "proto/base/status.h"

enum {
    GROUP = 1, /* any one */
    FILL_WRITES = 300,
    FILL_VALUE_BYTES = 4096, /* together more than a snapshot is taken for */
    LEADERS_MAX = 30,        /* killed at most, until a certain node leads */
    LATE_MAX_US = 500,
    KEYS = 6,
};

/* ---- Writes of every kind, and what they came to ---- */

/* None of these would come to the same if it were executed once more. */
enum { INCR, SET_ABSENT, APPEND, GET_DELETE, SET_TWO, FAILED_CONDITION, NOT_A_NUMBER, WRITES };
static const enum status expected[WRITES] = {
    [FAILED_CONDITION] = STATUS_CONDITION_FAILED, [NOT_A_NUMBER] = STATUS_NOT_A_NUMBER};

struct writes {
    struct asker *asker;
    struct arena arena;
    char keys[KEYS][ASKER_KEY_BYTES];
    uint64_t session;
    uint64_t first; /* sequence; the others follow */
    Wbrpc__Request *requests[WRITES];
    struct buf answers[WRITES]; /* essences of the first answers */
    struct buf values[KEYS];    /* essences of reads after them */
};

static void ask_plainly(struct writes *w, Wbrpc__Request *request)
{
    /* Not more than once: so with a session of its own. */
    asker_once(&w->arena, request, asker_open_session(w->asker), 1, 1, false);
    assert_int_equal(asker_ask(w->asker, request)->status, STATUS_OK);
}

static void writes_init(struct writes *w, struct asker *asker, const char *name)
{
    *w = (struct writes){.asker = asker, .first = 1};
    arena_init(&w->arena);
    for (unsigned i = 0; i < KEYS; i++) {
        char base[ASKER_KEY_BYTES];
        snprintf(base, sizeof base, "%.40s-%u", name, i);
        asker_key(asker, base, w->keys[i]);
        buf_init(&w->values[i]);
    }
    ask_plainly(w, asker_set(&w->arena, w->keys[0], "41"));
    ask_plainly(w, asker_set(&w->arena, w->keys[2], "abc"));
    ask_plainly(w, asker_set(&w->arena, w->keys[3], "here for a while"));
    ask_plainly(w, asker_set(&w->arena, w->keys[5], "words"));
    Wbrpc__Request **r = w->requests;
    r[INCR] = asker_incr(&w->arena, w->keys[0], 1);
    r[SET_ABSENT] = asker_set(&w->arena, w->keys[1], "new");
    r[SET_ABSENT]->set->has_condition = 1;
    r[SET_ABSENT]->set->condition = WBRPC__CONDITION__ABSENT;
    r[APPEND] = asker_append(&w->arena, w->keys[2], "def");
    r[GET_DELETE] = asker_del(&w->arena, w->keys[3]);
    r[GET_DELETE]->del->has_return_old = 1;
    r[GET_DELETE]->del->return_old = 1;
    r[SET_TWO] = asker_set(&w->arena, w->keys[3], "both");
    asker_set_also(&w->arena, r[SET_TWO], w->keys[4], "both");
    r[FAILED_CONDITION] = asker_set(&w->arena, w->keys[1], "never");
    r[FAILED_CONDITION]->set->has_condition = 1;
    r[FAILED_CONDITION]->set->condition = WBRPC__CONDITION__ABSENT;
    r[NOT_A_NUMBER] = asker_incr(&w->arena, w->keys[5], 1);
    for (unsigned i = 0; i < WRITES; i++) {
        buf_init(&w->answers[i]);
    }
    w->session = asker_open_session(asker);
}

static void writes_deinit(struct writes *w)
{
    for (unsigned i = 0; i < WRITES; i++) {
        buf_deinit(&w->answers[i]);
    }
    for (unsigned i = 0; i < KEYS; i++) {
        buf_deinit(&w->values[i]);
    }
    arena_deinit(&w->arena);
}

static const Wbrpc__Response *ask_write(struct writes *w, unsigned i, bool retry)
{
    asker_once(&w->arena, w->requests[i], w->session, w->first + i, w->first, retry);
    return asker_ask(w->asker, w->requests[i]);
}

static void read_all(struct writes *w, struct buf out[KEYS])
{
    for (unsigned i = 0; i < KEYS; i++) {
        asker_essence(asker_ask(w->asker, asker_get(&w->arena, w->keys[i])), &out[i]);
    }
}

static void first_tries(struct writes *w)
{
    for (unsigned i = 0; i < WRITES; i++) {
        /* What writes nothing is remembered only for those who say that they have tried before. */
        const Wbrpc__Response *response = ask_write(w, i, expected[i] != STATUS_OK);
        if (response->status != expected[i]) {
            fail_msg("write %u came to %s", i, status_name((int)response->status));
        }
        asker_essence(response, &w->answers[i]);
    }
    /* Now neither would be refused any more: a second execution would be seen. */
    ask_plainly(w, asker_del(&w->arena, w->keys[1]));
    ask_plainly(w, asker_set(&w->arena, w->keys[5], "7"));
    read_all(w, w->values);
}

static void expect_same(const struct buf *now, const struct buf *then, const char *what, unsigned i)
{
    if (!bytes_equal(buf_bytes(now), buf_bytes(then))) {
        fail_msg("%s %u is another one than before (%zu bytes, before %zu)", what, i, now->len, then->len);
    }
}

/* The same answers, as retries and as late first tries; and nothing is executed. */
static void expect_first_answers(struct writes *w)
{
    struct buf now;
    buf_init(&now);
    for (unsigned n = 0; n < 2 * WRITES; n++) {
        asker_essence(ask_write(w, n % WRITES, n < WRITES), &now);
        expect_same(&now, &w->answers[n % WRITES], "the answer to write", n % WRITES);
    }
    buf_deinit(&now);
    struct buf values[KEYS] = {{0}};
    read_all(w, values);
    for (unsigned i = 0; i < KEYS; i++) {
        expect_same(&values[i], &w->values[i], "the value of key", i);
        buf_deinit(&values[i]);
    }
}

/* The session goes on where it was. */
static void expect_the_next_is_new(struct writes *w)
{
    Wbrpc__Request *request = asker_incr(&w->arena, w->keys[0], 1);
    asker_once(&w->arena, request, w->session, w->first + WRITES, w->first, false);
    const Wbrpc__Response *response = asker_ask(w->asker, request);
    assert_int_equal(response->status, STATUS_OK);
    assert_int_equal(response->n_results, 1);
    assert_int_equal(response->results[0]->number, 43);
}

/* ---- At the next leader ---- */

static void a_retry_at_the_next_leader_gives_the_first_answer(void **state)
{
    struct scenario *s = *state;
    cluster_start(&s->cluster, NULL);
    struct asker a;
    asker_init(&a, &s->cluster, GROUP);
    for (unsigned round = 0; round < s->options.rounds; round++) {
        char name[32];
        snprintf(name, sizeof name, "round%u", round);
        struct writes w;
        writes_init(&w, &a, name);
        first_tries(&w);
        expect_first_answers(&w);
        asker_kill_leader(&a);
        expect_first_answers(&w);
        expect_the_next_is_new(&w);
        writes_deinit(&w);
    }
    asker_deinit(&a);
    s->passed = true;
}

/* An increment is sent, and its leader killed at some moment before its answer is read: the retry gives the
 * answer that was on its way, if there was one, and the increment happens once. */
static void kill_before_the_answer_is_read(
    struct scenario *s, struct asker *a, uint64_t session, const char *key, uint64_t sequence)
{
    struct arena arena;
    arena_init(&arena);
    Wbrpc__Request *request = asker_incr(&arena, key, 1);
    asker_once(&arena, request, session, sequence, sequence, false);
    uint64_t id = asker_send(a, request);
    unsigned node = a->node;
    /* With the tool it would come too late. */
    const struct timespec wait = {.tv_nsec = (long)scenario_random(s, LATE_MAX_US + 1) * 1000};
    nanosleep(&wait, NULL);
    kill(a->cluster->pids[node], SIGKILL);
    cluster_kill(a->cluster, node);
    struct buf unread = {0};
    struct buf retried = {0};
    const Wbrpc__Response *response = raw_client_receive(&a->client, id, 1000);
    bool was_answered = response != NULL && response->status == STATUS_OK;
    if (was_answered) {
        asker_essence(response, &unread);
    }
    cluster_other_leader(a->cluster, a->group, node);
    request->once->retry = 1;
    for (unsigned i = 0; i < 3; i++) {
        response = asker_ask(a, request);
        assert_int_equal(response->status, STATUS_OK);
        assert_int_equal(response->results[0]->number, (int64_t)sequence);
        asker_essence(response, i == 0 && !was_answered ? &unread : &retried);
        if (i > 0 || was_answered) {
            expect_same(&retried, &unread, "the answer to retry", i);
        }
    }
    say("  the answer was %s", was_answered ? "on its way" : "lost, or not made yet");
    cluster_restart(a->cluster, node);
    buf_deinit(&unread);
    buf_deinit(&retried);
    arena_deinit(&arena);
}

static void a_retry_of_a_write_whose_answer_was_lost_executes_it_once(void **state)
{
    struct scenario *s = *state;
    cluster_start(&s->cluster, NULL);
    struct asker a;
    asker_init(&a, &s->cluster, GROUP);
    char key[ASKER_KEY_BYTES];
    asker_key(&a, "lost", key);
    uint64_t session = asker_open_session(&a);
    for (unsigned round = 0; round < 2 * s->options.rounds; round++) {
        kill_before_the_answer_is_read(s, &a, session, key, round + 1);
    }
    asker_deinit(&a);
    s->passed = true;
}

/* ---- From snapshots ---- */

/* Write so much to the group that its log is trimmed. */
static void fill(struct asker *a)
{
    struct arena arena;
    arena_init(&arena);
    char value[FILL_VALUE_BYTES + 1];
    memset(value, 'f', FILL_VALUE_BYTES);
    value[FILL_VALUE_BYTES] = '\0';
    char key[ASKER_KEY_BYTES];
    asker_key(a, "fill", key);
    uint64_t session = asker_open_session(a);
    for (unsigned i = 1; i <= FILL_WRITES; i++) {
        Wbrpc__Request *request = asker_set(&arena, key, value);
        asker_once(&arena, request, session, i, i, false);
        assert_int_equal(asker_ask(a, request)->status, STATUS_OK);
        arena_reset(&arena);
    }
    arena_deinit(&arena);
}

static void start_with_small_logs(struct cluster *c)
{
    cluster_start(c, &(struct cluster_options){
                         .settings = {"raft.snapshot_log_bytes=262144", "raft.snapshot_trailing=64"}});
}

/* Kill the leaders of @a's group, each with two others running, until @node is the one. */
static void make_leader(struct asker *a, unsigned node)
{
    struct cluster *c = a->cluster;
    for (unsigned i = 0; i < LEADERS_MAX; i++) {
        unsigned leader = cluster_leader(c, a->group);
        if (leader == node) {
            say("  node %u leads the group after %u kills", node, i);
            return;
        }
        cluster_kill(c, leader);
        cluster_other_leader(c, a->group, leader);
        bool done = cluster_leader(c, a->group) == node;
        cluster_restart(c, leader);
        if (!done) {
            cluster_wait_caught_up(c, leader);
        }
    }
    fail_msg("node %u does not become the leader", node);
}

static void a_leader_that_knows_it_from_a_snapshot_gives_the_first_answer(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    start_with_small_logs(c);
    struct asker a;
    asker_init(&a, c, GROUP);
    unsigned away = 1 + cluster_leader(c, GROUP) % c->nodes;
    say("node %u is killed; then writes get their answers, and the log is trimmed", away);
    cluster_kill(c, away);
    cluster_wait_ready(c);
    struct writes w;
    writes_init(&w, &a, "snapshot");
    first_tries(&w);
    fill(&a);
    say("node %u is started, and gets a snapshot", away);
    long place = cluster_log_place(c, away);
    cluster_restart(c, away);
    cluster_wait_caught_up(c, away);
    char group[32];
    snprintf(group, sizeof group, "group=%d ", GROUP);
    place = cluster_log_find(c, away, place, (const char *const[]){" started ", NULL});
    assert_true(place >= 0);
    assert_true(cluster_log_find(c, away, place, (const char *const[]){" restored ", group, NULL}) >= 0);
    make_leader(&a, away);
    expect_first_answers(&w);
    assert_int_equal(a.node, away);
    expect_the_next_is_new(&w);
    writes_deinit(&w);
    asker_deinit(&a);
    s->passed = true;
}

static void after_sigkill_of_all_nodes_a_retry_gives_the_first_answer(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    start_with_small_logs(c);
    struct asker a;
    asker_init(&a, c, GROUP);
    struct writes from_log, from_snapshot;
    writes_init(&from_snapshot, &a, "old");
    first_tries(&from_snapshot);
    fill(&a);
    writes_init(&from_log, &a, "new");
    first_tries(&from_log);
    for (unsigned round = 0; round < 2; round++) {
        say("all nodes and PostgreSQL are killed");
        cluster_kill_everything(c);
        cluster_start_again(c, NULL);
        expect_first_answers(&from_log);
        expect_first_answers(&from_snapshot);
    }
    expect_the_next_is_new(&from_log);
    expect_the_next_is_new(&from_snapshot);
    writes_deinit(&from_log);
    writes_deinit(&from_snapshot);
    asker_deinit(&a);
    s->passed = true;
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 4, 0);
    const struct CMUnitTest tests[] = {
        scenario_test(a_retry_at_the_next_leader_gives_the_first_answer, &options),
        scenario_test(a_retry_of_a_write_whose_answer_was_lost_executes_it_once, &options),
        scenario_test(a_leader_that_knows_it_from_a_snapshot_gives_the_first_answer, &options),
        scenario_test(after_sigkill_of_all_nodes_a_retry_gives_the_first_answer, &options),
    };
    return cmocka_run_group_tests_name("retries", tests, NULL, NULL);
}
