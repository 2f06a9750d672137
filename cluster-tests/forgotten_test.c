/* What was forgotten for space, or because nobody awaits it, is said to be forgotten (SESSION_EXPIRED), and
 * executes nothing; the library goes on with a new session. Requests are written by hand (asker.h). */
#include "cluster-tests/scenario.h"

#include <inttypes.h>
#include <string.h>

#include "cluster-tests/asker.h"
#include "proto/base/status.h"

enum {
    GROUP = 2, /* any one */
    SESSIONS_KEPT = 4,
    MANY = 60, /* more answers than are kept */
    LIBRARY_CALLS = 5,
    AWAIT_MS = 30000,
};

static bool limits_are_in_force(struct cluster *c, void *data)
{
    (void)data;
    struct wbcache_status *status = cluster_status(c);
    const struct wbcache_group_status *g = status == NULL ? NULL : cluster_leader_of(status, GROUP, NULL);
    bool answer = g != NULL && g->sessions == SESSIONS_KEPT;
    wbcache_status_free(status);
    return answer;
}

static void start_with_few_sessions(struct cluster *c, struct asker *a)
{
    cluster_start(
        c, &(struct cluster_options){.settings = {"limits.sessions=4", "limits.session_bytes=4096"}});
    asker_init(a, c, GROUP);
    for (unsigned i = 0; i < SESSIONS_KEPT + 2; i++) {
        asker_open_session(a);
    }
    cluster_wait(c, "the group keeps four sessions", AWAIT_MS, limits_are_in_force, NULL);
}

/* Ask for an increment of @key under a session; returns the status. *@number is the sum, when it is OK. */
static enum status increment(struct asker *a, const char *key, uint64_t session, uint64_t sequence,
    uint64_t first_awaited, bool retry, int64_t *number)
{
    struct arena arena;
    arena_init(&arena);
    Wbrpc__Request *request = asker_incr(&arena, key, 1);
    asker_once(&arena, request, session, sequence, first_awaited, retry);
    const Wbrpc__Response *response = asker_ask(a, request);
    *number = response->status == STATUS_OK ? response->results[0]->number : 0;
    arena_deinit(&arena);
    return (enum status)response->status;
}

static void expect_increment(struct asker *a, const char *key, uint64_t session, uint64_t sequence,
    uint64_t first_awaited, bool retry, int64_t wanted)
{
    int64_t number;
    enum status status = increment(a, key, session, sequence, first_awaited, retry, &number);
    if (status != STATUS_OK || number != wanted) {
        fail_msg("sequence %" PRIu64 " came to %s, %" PRId64 " and not %" PRId64, sequence,
            status_name(status), number, wanted);
    }
}

static void expect_expired(
    struct asker *a, const char *key, uint64_t session, uint64_t sequence, uint64_t first_awaited, bool retry)
{
    int64_t number;
    enum status status = increment(a, key, session, sequence, first_awaited, retry, &number);
    if (status != STATUS_SESSION_EXPIRED) {
        fail_msg(
            "sequence %" PRIu64 " came to %s, and not to SESSION_EXPIRED", sequence, status_name(status));
    }
}

static void expect_number(struct asker *a, const char *key, const char *wanted)
{
    struct arena arena;
    arena_init(&arena);
    const Wbrpc__Response *response = asker_ask(a, asker_get(&arena, key));
    assert_int_equal(response->status, STATUS_OK);
    assert_true(response->results[0]->found);
    assert_int_equal(response->results[0]->value.len, strlen(wanted));
    assert_memory_equal(response->results[0]->value.data, wanted, strlen(wanted));
    arena_deinit(&arena);
}

static void what_was_forgotten_is_expired_and_executes_nothing(void **state)
{
    struct scenario *s = *state;
    struct asker a;
    start_with_few_sessions(&s->cluster, &a);
    char key[ASKER_KEY_BYTES];
    asker_key(&a, "forgotten", key);

    say("a session is forgotten for newer ones");
    uint64_t old = asker_open_session(&a);
    expect_increment(&a, key, old, 1, 1, false, 1);
    for (unsigned i = 0; i < SESSIONS_KEPT - 1; i++) {
        asker_open_session(&a);
    }
    expect_increment(&a, key, old, 1, 1, true, 1); /* still known: asking does not keep it, writing does */
    uint64_t session = asker_open_session(&a);
    expect_expired(&a, key, old, 1, 1, true);
    expect_expired(&a, key, old, 1, 1, false);
    expect_expired(&a, key, old, 2, 1, false);
    expect_expired(&a, key, old, 2, 2, true);
    expect_expired(&a, key, old + 1000000, 1, 1, false); /* one that nobody ever opened */
    expect_number(&a, key, "1");

    say("answers that are not awaited any more are forgotten");
    expect_increment(&a, key, session, 1, 1, false, 2);
    expect_increment(&a, key, session, 2, 1, false, 3);
    expect_increment(&a, key, session, 5, 5, false, 4);
    expect_expired(&a, key, session, 1, 1, true);
    expect_expired(
        &a, key, session, 3, 3, false); /* a first try that comes too late to be told from a retry */
    expect_increment(&a, key, session, 5, 5, true, 4);
    expect_number(&a, key, "4");

    say("the oldest answers are forgotten for space");
    for (unsigned i = 6; i < 6 + MANY; i++) {
        expect_increment(&a, key, session, i, 6, false, i - 1);
    }
    expect_increment(&a, key, session, 5 + MANY, 6, true, 4 + MANY);
    expect_expired(&a, key, session, 6, 6, true);
    expect_number(&a, key, "64");

    say("the next leader has forgotten the same");
    asker_kill_leader(&a);
    expect_increment(&a, key, session, 5 + MANY, 6, true, 4 + MANY);
    expect_expired(&a, key, session, 6, 6, true);
    expect_expired(&a, key, old, 1, 1, true);
    expect_number(&a, key, "64");
    asker_deinit(&a);
    s->passed = true;
}

static void the_library_goes_on_when_its_session_was_forgotten(void **state)
{
    struct scenario *s = *state;
    struct asker a;
    start_with_few_sessions(&s->cluster, &a);
    char key[ASKER_KEY_BYTES];
    asker_key(&a, "library", key);
    struct wbcache *cache;
    assert_int_equal(wbcache_open(&cache, s->cluster.addresses, NULL), WBCACHE_OK);
    for (int64_t round = 1; round <= LIBRARY_CALLS; round++) {
        int64_t sum = 0;
        uint64_t version = 0;
        int code = wbcache_incr(cache, key, strlen(key), 1, &sum, &version);
        if (code != WBCACHE_OK) {
            fail_msg("%s", wbcache_errmsg(cache));
        }
        assert_int_equal(sum, round);
        for (unsigned i = 0; i < SESSIONS_KEPT; i++) {
            asker_open_session(&a);
        }
    }
    expect_number(&a, key, "5");
    wbcache_close(cache);
    asker_deinit(&a);
    s->passed = true;
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 0, 0);
    const struct CMUnitTest tests[] = {
        scenario_test(what_was_forgotten_is_expired_and_executes_nothing, &options),
        scenario_test(the_library_goes_on_when_its_session_was_forgotten, &options),
    };
    return cmocka_run_group_tests_name("forgotten", tests, NULL, NULL);
}
