/* Two of three nodes are down: a clear error by the deadline, never an acknowledgement; and back with one of
 * them. */
#include "cluster-tests/scenario.h"

#include <inttypes.h>
#include <string.h>

#include "cluster-tests/verify.h"
#include "proto/base/clock.h"

enum {
    KEYS = 60,
    DEADLINE_MS = 800,
    OVERDUE_MAX_MS = 1500, /* far more than a busy machine needs, far less than for ever */
    WAIT_MS = 30000,
};

static bool is_clear_error(int code)
{
    return code == WBCACHE_UNAVAILABLE || code == WBCACHE_TIMEOUT || code == WBCACHE_UNKNOWN ||
           code == WBCACHE_NOT_LEADER;
}

static void expect_in_time(uint64_t began_ms, const char *what)
{
    uint64_t took_ms = clock_boot_ms() - began_ms;
    if (took_ms > DEADLINE_MS + OVERDUE_MAX_MS) {
        fail_msg("a %s with a deadline of %d ms took %" PRIu64 " ms", what, DEADLINE_MS, took_ms);
    }
}

static void expect_no_write(struct scenario *s, uint32_t key, bool show)
{
    char message[256];
    uint64_t began_ms = clock_boot_ms();
    int code = write_one(&s->cluster, s->ledger, key, DEADLINE_MS, message, sizeof message);
    expect_in_time(began_ms, "write");
    if (show) {
        say("  a write gets %s: %s", wbcache_code_name(code), message);
    }
    if (!is_clear_error(code)) {
        fail_msg("a write without a quorum was answered with %s", wbcache_code_name(code));
    }
}

static void expect_no_read(struct scenario *s, uint32_t key, bool show)
{
    uint64_t began_ms = clock_boot_ms();
    int code = read_one(&s->cluster, s->ledger, key, DEADLINE_MS, NULL);
    expect_in_time(began_ms, "read");
    if (show) {
        say("  a read gets %s", wbcache_code_name(code));
    }
    if (!is_clear_error(code)) {
        fail_msg("a read without a quorum was answered with %s", wbcache_code_name(code));
    }
}

static bool nobody_leads(struct cluster *c, void *data)
{
    (void)data;
    struct wbcache_status *status = cluster_status(c);
    bool none = true;
    for (unsigned group = 0; status != NULL && group < c->groups; group++) {
        none = none && cluster_leader_of(status, group, NULL) == NULL;
    }
    wbcache_status_free(status);
    return none;
}

static void write_all(struct scenario *s)
{
    for (uint32_t key = 0; key < KEYS; key++) {
        assert_int_equal(write_one(&s->cluster, s->ledger, key, 5000, NULL, 0), WBCACHE_OK);
    }
}

/* What must hold while two nodes are down, whichever way. */
static void expect_a_standstill(struct scenario *s)
{
    expect_no_write(s, 0, true); /* at once: before the rest has noticed */
    cluster_wait(&s->cluster, "nobody claims to lead", WAIT_MS, nobody_leads, NULL);
    for (uint32_t key = 1; key <= 3; key++) {
        expect_no_write(s, key, key == 1);
        expect_no_read(s, key, key == 1);
    }
}

static void two_killed_nodes_stop_every_acknowledgement(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    cluster_start(c, NULL);
    s->ledger = ledger_create("down", KEYS);
    write_all(s);
    unsigned alone = 1 + scenario_random(s, c->nodes);
    say("only node %u is left, the others are killed", alone);
    for (unsigned node = 1; node <= c->nodes; node++) {
        if (node != alone) {
            cluster_kill(c, node);
        }
    }
    expect_a_standstill(s);
    unsigned first = alone % c->nodes + 1;
    say("node %u returns", first);
    cluster_restart(c, first);
    cluster_wait_ready(c);
    write_all(s);
    verify_all(c, s->ledger);
    unsigned second = first % c->nodes + 1;
    say("node %u returns, too", second);
    cluster_restart(c, second);
    cluster_wait_caught_up(c, second);
    verify_all(c, s->ledger);
    s->passed = true;
}

static void two_frozen_nodes_stop_every_acknowledgement(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    cluster_start(c, NULL);
    s->ledger = ledger_create("frozen", KEYS);
    write_all(s);
    unsigned alone = 1 + scenario_random(s, c->nodes);
    say("only node %u runs, the others are frozen", alone);
    for (unsigned node = 1; node <= c->nodes; node++) {
        if (node != alone) {
            cluster_pause(c, node);
        }
    }
    expect_a_standstill(s);
    say("both go on");
    for (unsigned node = 1; node <= c->nodes; node++) {
        if (node != alone) {
            cluster_resume(c, node);
        }
    }
    cluster_wait_ready(c);
    write_all(s);
    verify_all(c, s->ledger);
    s->passed = true;
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 0, 0);
    const struct CMUnitTest tests[] = {
        scenario_test(two_killed_nodes_stop_every_acknowledgement, &options),
        scenario_test(two_frozen_nodes_stop_every_acknowledgement, &options),
    };
    return cmocka_run_group_tests_name("two_down", tests, NULL, NULL);
}
