/* Bytes that no friend would send, on both ports of every node while a load runs: nobody else notices. */
#include "cluster-tests/scenario.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "cluster-tests/health.h"
#include "cluster-tests/junk.h"
#include "cluster-tests/verify.h"
#include "proto/base/alloc.h"

enum {
    KEYS = 600,
    HALF_OPEN = 32, /* connections for each port that stay in the middle of a frame */
    PORTS_MAX = 2 * CLUSTER_NODES_MAX,
    AWAIT_MS = 30000,
    MEMORY_GROWTH_MAX_BYTES = 64 * 1024 * 1024,
    LOG_GROWTH_MAX_BYTES = 8 * 1024 * 1024,
};

struct target {
    struct sockaddr_in address;
    unsigned node;
};

static struct target target_of(const char *address, unsigned node)
{
    struct target t = {.node = node};
    if (!junk_address(address, &t.address)) {
        fail_msg("no address: '%s'", address);
    }
    return t;
}

static unsigned find_targets(struct cluster *c, struct target *out)
{
    struct wbcache_status *status = cluster_status(c);
    assert_non_null(status);
    unsigned n = 0;
    for (unsigned node = 1; node <= c->nodes; node++) {
        const struct wbcache_node_status *s = cluster_node(status, node);
        assert_non_null(s);
        out[n++] = target_of(s->client_address, node);
        out[n++] = target_of(s->peer_address, node);
    }
    wbcache_status_free(status);
    return n;
}

static int dial(const struct target *t)
{
    int fd = junk_dial(&t->address);
    if (fd < 0) {
        fail_msg("node %u does not accept connections", t->node);
    }
    return fd;
}

static void attack(struct scenario *s, const struct target *targets, unsigned n)
{
    uint8_t *junk = xmalloc(JUNK_BYTES);
    for (unsigned kind = 0; kind < JUNK_KINDS; kind++) {
        for (unsigned i = 0; i < n; i++) {
            size_t len = junk_make(&s->random, kind, junk);
            int fd = dial(&targets[i]);
            junk_throw(fd, junk, len);
            junk_drain(fd);
            close(fd);
        }
    }
    free(junk);
}

static void garbage_on_every_port_disturbs_nobody(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    /* Terms are compared, so leaders stay where they are. */
    cluster_start(c, &(struct cluster_options){.settings = {"raft.spread_stable_ms=0"}});
    s->ledger = ledger_create("garbage", KEYS);
    s->load = load_start(&(struct load_config){
        .cluster = c->addresses, .ledger = s->ledger, .groups = c->groups, .writes_per_second = 1500});
    assert_true(load_await(s->load, -1, 500, AWAIT_MS));
    struct target targets[PORTS_MAX];
    unsigned n = find_targets(c, targets);
    struct health before = health_of(c);
    load_watch_gaps(s->load);

    say("%d connections stay in the middle of a frame on each of %u ports", HALF_OPEN, n);
    int half_open[PORTS_MAX * HALF_OPEN];
    uint8_t half[64];
    for (unsigned i = 0; i < n * HALF_OPEN; i++) {
        half_open[i] = dial(&targets[i % n]);
        junk_fill(&s->random, half, sizeof half);
        junk_throw(half_open[i], half, junk_frame(half, 4 * 1024 * 1024, 40));
    }
    say("%d kinds of garbage, %u times, to each port", JUNK_KINDS, s->options.rounds);
    for (unsigned round = 0; round < s->options.rounds; round++) {
        attack(s, targets, n);
    }
    assert_true(load_await(s->load, -1, 200, AWAIT_MS));
    struct load_numbers numbers = load_numbers(s->load);
    say("  the load: %" PRIu64 " unknown, %" PRIu64 " refused, longest time without a write %" PRIu64 " ms",
        numbers.unknown, numbers.refused, load_longest_gap_ms(s->load));
    assert_int_equal(numbers.unknown, 0);
    assert_int_equal(numbers.refused, 0);
    health_expect(c, &before, MEMORY_GROWTH_MAX_BYTES, LOG_GROWTH_MAX_BYTES);
    for (unsigned i = 0; i < n * HALF_OPEN; i++) {
        close(half_open[i]);
    }
    scenario_stop_load(s);
    verify_all(c, s->ledger);
    s->passed = true;
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 5, 0);
    const struct CMUnitTest tests[] = {
        scenario_test(garbage_on_every_port_disturbs_nobody, &options),
    };
    return cmocka_run_group_tests_name("garbage", tests, NULL, NULL);
}
