/* Everything is killed at one moment under load: the log on the disks has every acknowledged write. */
#include "cluster-tests/scenario.h"

#include "cluster-tests/verify.h"

enum { KEYS = 3000, WRITES_BEFORE = 500, AWAIT_MS = 30000 };

static void what_was_acknowledged_is_there_after_everything_was_killed(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    cluster_start(c, NULL);
    s->ledger = ledger_create("all", KEYS);
    for (unsigned round = 1; round <= s->options.rounds; round++) {
        s->load = load_start(&(struct load_config){
            .cluster = c->addresses, .ledger = s->ledger, .groups = c->groups, .writes_per_second = 4000});
        assert_true(load_await(s->load, -1, WRITES_BEFORE, AWAIT_MS));
        pass_ms(scenario_random(s, 700)); /* anywhere in the flush's period */
        say("round %u: all nodes and PostgreSQL are killed at once", round);
        cluster_kill_everything(c);
        scenario_stop_load(s);
        cluster_start_again(c, NULL);
        say("  all started again");
        verify_all(c, s->ledger);
    }
    s->passed = true;
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 2, 0);
    const struct CMUnitTest tests[] = {
        scenario_test(what_was_acknowledged_is_there_after_everything_was_killed, &options),
    };
    return cmocka_run_group_tests_name("all_killed", tests, NULL, NULL);
}
