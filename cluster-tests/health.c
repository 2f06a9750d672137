#include "cluster-tests/health.h"

#include <inttypes.h>

#include "cluster-tests/scenario.h"

struct health health_of(struct cluster *c)
{
    struct health h = {0};
    cluster_refresh(c);
    for (unsigned node = 1; node <= c->nodes; node++) {
        h.pids[node] = c->pids[node];
        h.resident_bytes[node] = process_resident_bytes(c->pids[node]);
        h.log_bytes[node] = cluster_log_place(c, node);
    }
    struct wbcache_status *status = cluster_status(c);
    assert_non_null(status);
    for (unsigned group = 0; group < c->groups; group++) {
        const struct wbcache_group_status *g = cluster_leader_of(status, group, NULL);
        assert_non_null(g);
        h.terms += g->term;
    }
    wbcache_status_free(status);
    return h;
}

void health_expect(struct cluster *c, const struct health *before, uint64_t memory_growth_max_bytes,
    long log_growth_max_bytes)
{
    struct health after = health_of(c);
    assert_int_equal(after.terms, before->terms);
    for (unsigned node = 1; node <= c->nodes; node++) {
        assert_true(after.pids[node] != 0);
        assert_int_equal(after.pids[node], before->pids[node]);
        say("  node %u: memory %" PRIu64 " -> %" PRIu64 " KiB, log +%ld bytes", node,
            before->resident_bytes[node] / 1024, after.resident_bytes[node] / 1024,
            after.log_bytes[node] - before->log_bytes[node]);
        assert_true(after.resident_bytes[node] < before->resident_bytes[node] + memory_growth_max_bytes);
        assert_true(after.log_bytes[node] < before->log_bytes[node] + log_growth_max_bytes);
    }
}
