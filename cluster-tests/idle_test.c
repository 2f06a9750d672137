/* A cluster with nothing to do does nothing. */
#include "cluster-tests/scenario.h"

#include <inttypes.h>

#include "cluster-tests/verify.h"

enum { KEYS = 100, WAIT_MS = 30000, CPU_PER_MILLE_MAX = 10, WINDOWS = 3 };

/* What the busiest node used in so many seconds, in milliseconds of CPU. */
static uint64_t watch_idle_nodes(struct cluster *c, unsigned seconds)
{
    uint64_t before_ms[CLUSTER_NODES_MAX + 1];
    for (unsigned node = 1; node <= c->nodes; node++) {
        before_ms[node] = process_cpu_ms(c->pids[node]);
    }
    pass_ms(seconds * 1000);
    uint64_t most_ms = 0;
    for (unsigned node = 1; node <= c->nodes; node++) {
        uint64_t used_ms = process_cpu_ms(c->pids[node]) - before_ms[node];
        say("  node %u used %" PRIu64 " ms of CPU: %" PRIu64 ".%" PRIu64 " %% of a core", node, used_ms,
            used_ms / seconds / 10, used_ms / seconds % 10);
        most_ms = used_ms > most_ms ? used_ms : most_ms;
    }
    return most_ms;
}

static void an_idle_node_needs_less_than_one_percent_of_a_core(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    cluster_start(c, NULL);
    s->ledger = ledger_create("idle", KEYS);
    for (uint32_t key = 0; key < KEYS; key++) {
        assert_int_equal(write_one(c, s->ledger, key, 5000, NULL, 0), WBCACHE_OK);
    }
    cluster_wait_clean(c, WAIT_MS);
    pass_ms(5000); /* leaders are spread anew in this time, where they must */
    cluster_wait_clean(c, WAIT_MS);
    wbcache_close(c->control); /* nobody asks anything */
    c->control = NULL;

    unsigned seconds = s->options.seconds == 0 ? 1 : s->options.seconds;
    say("everything is flushed and nobody asks anything for %u s", seconds);
    uint64_t used_ms = watch_idle_nodes(c, seconds);
    /* Whoever else uses the machine makes the same work dearer, never cheaper. */
    for (unsigned again = 1; again < WINDOWS && used_ms > (uint64_t)seconds * CPU_PER_MILLE_MAX; again++) {
        say("  once more: something else may have been in the way");
        used_ms = watch_idle_nodes(c, seconds);
    }
    assert_true(used_ms <= (uint64_t)seconds * CPU_PER_MILLE_MAX);
    verify_all(c, s->ledger);
    s->passed = true;
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 0, 10);
    const struct CMUnitTest tests[] = {
        scenario_test(an_idle_node_needs_less_than_one_percent_of_a_core, &options),
    };
    return cmocka_run_group_tests_name("idle", tests, NULL, NULL);
}
