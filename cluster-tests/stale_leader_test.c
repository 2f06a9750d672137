/* A leader that was stopped, and goes on after another one was elected, never answers a read with an old
 * value: not with one older than what the new leader acknowledged before the read was sent.
 *
 * Two ways in turn. The leader has a crowd's reads on its hands when it is stopped, so that it finds, when it
 * goes on, what was sent meanwhile among them. It has also been sent its successor's messages, and a node
 * that was stopped reads what came from all sides before it does anything: by that alone it would step down.
 * So the other way is that its peers crash when it is stopped. They elect one of themselves when they are
 * back, and cannot tell the old leader before it goes on and lets them introduce themselves. There only the
 * lease keeps it from answering, and the same test finds old values in a node that does not check it. */
#include <inttypes.h>
#include <signal.h>

#include "cluster-tests/old_leader.h"
#include "cluster-tests/scenario.h"

enum {
    CROWD = 48,
    READS_BEFORE = 400, /* by each of the crowd */
    READS_MEANWHILE = 4,
    RUN_ON_MAX_MS = 40, /* how long the leader works on the crowd's reads until it is stopped */
    WAIT_MS = 4000,
    TRIES_MAX = 20,
};

static void stop_a_busy_leader(struct scenario *s, struct old_leader *o, unsigned leader)
{
    old_leader_ask(o, READS_BEFORE);
    pass_ms(scenario_random(s, RUN_ON_MAX_MS));
    assert_int_equal(kill(o->cluster->pids[leader], SIGSTOP), 0);
}

static void stop_a_leader_and_crash_its_peers(struct cluster *c, unsigned leader)
{
    assert_int_equal(kill(c->pids[leader], SIGSTOP), 0);
    for (unsigned node = 1; node <= c->nodes; node++) {
        if (node != leader) {
            assert_int_equal(kill(c->pids[node], SIGKILL), 0);
        }
    }
    for (unsigned node = 1; node <= c->nodes; node++) {
        if (node != leader) {
            cluster_restart(c, node);
        }
    }
}

/* Returns the number of old answers. */
static uint64_t replace_the_leader(struct scenario *s, struct old_leader *o, bool crash_peers)
{
    struct cluster *c = o->cluster;
    uint64_t asked_before = o->asked, ok_before = o->ok, old_before = o->old;
    old_leader_write(o, 0);
    unsigned leader = cluster_leader(c, o->group);
    cluster_refresh(c); /* the tool checks start times: these pids are ours at this moment */
    old_leader_crowd(o, leader, CROWD);
    old_leader_ask(o, 1);
    old_leader_listen(o, WAIT_MS);
    if (crash_peers) {
        stop_a_leader_and_crash_its_peers(c, leader);
    } else {
        stop_a_busy_leader(s, o, leader);
    }
    old_leader_write(o, leader);
    old_leader_ask(o, READS_MEANWHILE);
    assert_int_equal(kill(c->pids[leader], SIGCONT), 0);
    old_leader_listen(o, WAIT_MS);
    old_leader_send_away(o);
    say("  node %u was stopped%s, and replaced: %" PRIu64 " reads, %" PRIu64
        " answered with a value, %" PRIu64 " with an old one",
        leader, crash_peers ? ", its peers crashed" : "", o->asked - asked_before, o->ok - ok_before,
        o->old - old_before);
    assert_true(o->ok > ok_before); /* it did answer, while it led */
    old_leader_expect_well(o, leader);
    return o->old - old_before;
}

static void a_paused_leader_that_was_replaced_never_answers_with_an_old_value(void **state)
{
    struct scenario *s = *state;
    cluster_start(&s->cluster, NULL);
    struct old_leader o;
    old_leader_init(&o, &s->cluster, scenario_random(s, s->cluster.groups));
    for (unsigned round = 0; round < s->options.rounds; round++) {
        if (replace_the_leader(s, &o, round % 2 == 1) > 0) {
            fail_msg("%s", o.problem);
        }
    }
    s->passed = true;
}

static void without_the_lease_check_it_does(void **state)
{
    struct scenario *s = *state;
    cluster_start(&s->cluster, &(const struct cluster_options){.wbnode = WBNODE_WITHOUT_LEASE});
    struct old_leader o;
    old_leader_init(&o, &s->cluster, scenario_random(s, s->cluster.groups));
    unsigned tries = 0;
    while (replace_the_leader(s, &o, true) == 0) {
        if (++tries == TRIES_MAX) {
            fail_msg("no old value was seen in %u tries: this test proves nothing", tries);
        }
    }
    say("as it must be: %s", o.problem);
    s->passed = true;
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 6, 0);
    const struct CMUnitTest tests[] = {
        scenario_test(a_paused_leader_that_was_replaced_never_answers_with_an_old_value, &options),
        scenario_test(without_the_lease_check_it_does, &options),
    };
    return cmocka_run_group_tests_name("stale_leader", tests, NULL, NULL);
}
