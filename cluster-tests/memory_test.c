/* Memory stays flat however long the same keys are written over. */
#include "cluster-tests/scenario.h"

#include <inttypes.h>
#include <stdlib.h>

#include "cluster-tests/verify.h"

enum {
    KEYS = 2000,
    VALUE_BYTES = 1000,
    PIPELINE = 32,
    SAMPLES = 12,
    WARM_SAMPLES = SAMPLES / 3, /* buffers grow to their size, the log to what it keeps */
    AWAIT_MS = 30000,
    SHORT_SECONDS = 60, /* below it the allocator has not found its level: the bound is generous */
    GROWTH_MAX_BYTES = 24 * 1024 * 1024,
    GROWTH_MAX_SHORT_BYTES = 96 * 1024 * 1024,
};

static void memory_stays_flat_under_overwrites(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    /* A log that is small enough to be cut often: what it keeps is memory, too. */
    cluster_start(c, &(struct cluster_options){.settings = {"raft.snapshot_log_bytes=4194304",
                                                   "raft.snapshot_trailing=256", "raft.spread_stable_ms=0"}});
    s->ledger = ledger_create("memory", KEYS);
    s->load = load_start(&(struct load_config){.cluster = c->addresses,
        .ledger = s->ledger,
        .groups = c->groups,
        .threads = 3,
        .pipeline = PIPELINE,
        .value_bytes = VALUE_BYTES,
        .deadline_ms = 10000});
    assert_true(load_await(s->load, -1, 1000, AWAIT_MS));
    say("%d keys are written over for %u s", KEYS, s->options.seconds);
    uint64_t warm[CLUSTER_NODES_MAX + 1] = {0};
    uint64_t last[CLUSTER_NODES_MAX + 1] = {0};
    for (unsigned sample = 1; sample <= SAMPLES; sample++) {
        pass_ms(s->options.seconds * 1000 / SAMPLES);
        for (unsigned node = 1; node <= c->nodes; node++) {
            last[node] = process_resident_bytes(c->pids[node]);
            if (sample <= WARM_SAMPLES && last[node] > warm[node]) {
                warm[node] = last[node];
            }
        }
        say("  resident: node 1 %" PRIu64 ", node 2 %" PRIu64 ", node 3 %" PRIu64 " KiB; %" PRIu64 " writes",
            last[1] / 1024, last[2] / 1024, last[3] / 1024, load_numbers(s->load).acknowledged);
    }
    uint64_t growth_max = s->options.seconds < SHORT_SECONDS ? GROWTH_MAX_SHORT_BYTES : GROWTH_MAX_BYTES;
    for (unsigned node = 1; node <= c->nodes; node++) {
        assert_true(last[node] > 0);
        if (last[node] > warm[node] + growth_max) {
            fail_msg("node %u grew from %" PRIu64 " to %" PRIu64 " bytes after it was warm", node, warm[node],
                last[node]);
        }
    }
    scenario_stop_load(s);
    verify_all(c, s->ledger);
    s->passed = true;
}

int main(int argc, char **argv)
{
    /* Nodes that are built with the address sanitizer would keep what they freed for hundreds of megabytes.
     */
    setenv("ASAN_OPTIONS", "quarantine_size_mb=4", 0);
    struct scenario_options options;
    scenario_options(&options, argc, argv, 0, 15);
    const struct CMUnitTest tests[] = {
        scenario_test(memory_stays_flat_under_overwrites, &options),
    };
    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
