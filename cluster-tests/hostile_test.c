/* Hostile clients of one node, which leads a group: halves of frames, frames of 4 GiB, noise on both ports, a
 * crowd. The friends of this group do not feel them, and the node's memory stays what was really sent. */
#include "cluster-tests/siege.h"

#include <inttypes.h>

#include "proto/base/status.h"

enum {
    HALVES = 5000,
    FRAME_BYTES = 8000, /* announced by each; half of it is sent */
    FRAME_TIMEOUT_MS = 3000,
    CONNECTIONS_MAX = 5500,
    CROWD = CONNECTIONS_MAX + 500,
    LARGE = 100,
    NOISY = 200,
    PIECES_PER_SECOND = 1000,
    AWAIT_MS = 30000,
    LOG_GROWTH_MAX_BYTES = 4 * 1024 * 1024,
    /* What a connection costs a node beside what it sent: its struct, the buffer for its first bytes, and
     * what malloc adds. The kernel's own buffers are not the process's. */
    CONNECTION_BYTES_MAX = 4 * 1024,
    /* What grows anyhow while friends write: the log in memory, malloc's pools. */
    SLACK_BYTES = 16 * 1024 * 1024,
};

static bool all_ended(const struct attack_report *r, void *data)
{
    (void)data;
    return r->ended == r->opened;
}

/* So many last words of this status have come. */
struct words_wanted {
    enum status status;
    uint64_t n;
};

static bool words_came(const struct attack_report *r, void *data)
{
    const struct words_wanted *w = data;
    return r->last_words[w->status] >= w->n;
}

static void expect_growth(const struct siege *g, uint64_t sent_bytes, uint64_t connections)
{
    uint64_t growth = siege_growth_bytes(g);
    uint64_t most = sent_bytes + connections * CONNECTION_BYTES_MAX + SLACK_BYTES;
    say("  the node grew by %" PRIu64 " KiB, %" PRIu64 " bytes for each connection, which sent %" PRIu64
        "; allowed: %" PRIu64 " KiB",
        growth / 1024, growth / connections, sent_bytes / connections, most / 1024);
    assert_true(growth <= most);
}

/* ---- Halves of frames ---- */

/* Returns whether the friends' times were fair all the time. */
static bool survive_halves(struct siege *g)
{
    siege_window_begin(g);
    struct attacker *a = siege_attack(
        g, &(struct attack){.kind = ATTACK_HALF_FRAMES, .connections = HALVES, .frame_bytes = FRAME_BYTES});
    siege_window_pass(g, FRAME_TIMEOUT_MS / 2);
    struct attack_report r = attacker_report(a);
    bool fair = siege_window_end(g, "while they come and wait");
    assert_int_equal(r.ended, 0);
    expect_growth(g, r.sent_bytes, HALVES);
    siege_window_begin(g);
    siege_await(g, a, "the node has closed every half", FRAME_TIMEOUT_MS + AWAIT_MS, all_ended, NULL);
    fair = siege_window_end(g, "while they are closed") && fair;
    r = attacker_report(a);
    siege_say_report(&r);
    say("  they lived %" PRIu64 " to %" PRIu64 " ms", r.first_end_ms, r.last_end_ms);
    attacker_stop(a);
    assert_int_equal(r.last_words[STATUS_TIMEOUT], HALVES);
    assert_true(r.first_end_ms >= FRAME_TIMEOUT_MS);
    siege_wait_alone(g);
    return fair;
}

static void halves_of_frames_are_closed_and_not_felt(struct siege *g)
{
    say("%d connections send half of a frame, and stop; frame_timeout_ms is %d", HALVES, FRAME_TIMEOUT_MS);
    bool fair = false;
    for (unsigned i = 0; i < SIEGE_TRIES && !fair; i++) {
        fair = survive_halves(g);
    }
    if (!fair) {
        siege_fail_unfair(g, "with halves");
    }
}

/* ---- Frames of 4 GiB ---- */

static void frames_of_four_gibibytes_are_refused_at_once(struct siege *g)
{
    say("%d connections announce a frame of 4 GiB and begin to send it; when closed, again", LARGE);
    struct attacker *a = siege_attack(
        g, &(struct attack){
               .kind = ATTACK_ANNOUNCE, .connections = LARGE, .pieces_per_second = PIECES_PER_SECOND});
    siege_watch_fair(g, "with frames of 4 GiB", FRAME_TIMEOUT_MS / 2);
    struct attack_report before = attacker_report(a);
    siege_await(g, a, "the frames of 4 GiB are refused", AWAIT_MS, words_came,
        &(struct words_wanted){STATUS_TOO_BIG, before.last_words[STATUS_TOO_BIG] + LARGE});
    struct attack_report r = attacker_report(a);
    siege_say_report(&r);
    say("  at most %" PRIu64 " bytes of one were taken; they lived %" PRIu64 " to %" PRIu64 " ms",
        r.most_sent_bytes, r.first_end_ms, r.last_end_ms);
    attacker_stop(a);
    expect_growth(g, 0, LARGE);
    /* Its words came before any timeout could have passed, and for all but those that were just being opened.
     */
    assert_true(r.last_end_ms < FRAME_TIMEOUT_MS);
    assert_true(r.last_words[STATUS_TOO_BIG] + LARGE >= r.opened);
    siege_wait_alone(g);
}

/* ---- Noise ---- */

static void noise_on_both_ports_is_not_felt(struct siege *g)
{
    unsigned seconds = g->scenario->options.seconds;
    say("%d connections to both ports send noise for %u s", NOISY, seconds);
    struct attacker *a = siege_attack(g, &(struct attack){.kind = ATTACK_NOISE,
                                             .addresses = {g->client, g->peer},
                                             .n_addresses = 2,
                                             .connections = NOISY,
                                             .pieces_per_second = PIECES_PER_SECOND});
    siege_watch_fair(g, "with noise", seconds * 1000);
    struct attack_report r = attacker_report(a);
    siege_say_report(&r);
    attacker_stop(a);
    expect_growth(g, 0, NOISY);
    assert_true(r.opened > NOISY);
    siege_wait_alone(g);
}

/* ---- A crowd ---- */

static bool crowd_is_turned_away(const struct attack_report *r, void *data)
{
    (void)data;
    return r->ended + CONNECTIONS_MAX >= CROWD;
}

static void a_crowd_is_told_that_there_is_no_room(struct siege *g)
{
    say("%d connections at a node that takes %d", CROWD, CONNECTIONS_MAX);
    long place = cluster_log_place(&g->scenario->cluster, g->node);
    struct attacker *a = siege_attack(g, &(struct attack){.kind = ATTACK_SILENT, .connections = CROWD});
    siege_await(g, a, "those beyond the limit are closed", AWAIT_MS, crowd_is_turned_away, NULL);
    siege_watch_fair(g, "with a crowd", FRAME_TIMEOUT_MS / 2);
    struct attack_report r = attacker_report(a);
    siege_say_report(&r);
    expect_growth(g, 0, CROWD);
    assert_int_equal(r.last_words[STATUS_OVERLOADED], r.ended);
    assert_true(r.ended < CROWD - CONNECTIONS_MAX + 100); /* and nobody else: the friends have a few */
    attacker_stop(a);
    siege_wait_alone(g);
    assert_true(cluster_log_find(&g->scenario->cluster, g->node, place,
                    (const char *const[]){"clients-at-capacity", NULL}) >= 0);
}

static void hostile_clients_disturb_nobody(void **state)
{
    struct siege g;
    const char *const settings[] = {"limits.frame_timeout_ms=3000", "limits.connections=5500", NULL};
    siege_begin(&g, *state, settings);
    frames_of_four_gibibytes_are_refused_at_once(&g);
    noise_on_both_ports_is_not_felt(&g);
    halves_of_frames_are_closed_and_not_felt(&g);
    a_crowd_is_told_that_there_is_no_room(&g);
    siege_watch_fair(&g, "after all", FRAME_TIMEOUT_MS / 2);
    siege_end(&g);
    health_expect(&g.scenario->cluster, &g.health,
        HALVES * (uint64_t)(CONNECTION_BYTES_MAX + FRAME_BYTES) + SLACK_BYTES, LOG_GROWTH_MAX_BYTES);
    g.scenario->passed = true;
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 0, 5);
    const struct CMUnitTest tests[] = {
        scenario_test(hostile_clients_disturb_nobody, &options),
    };
    return cmocka_run_group_tests_name("hostile", tests, NULL, NULL);
}
