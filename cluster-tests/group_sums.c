#include "cluster-tests/group_sums.h"

#include <stdio.h>

enum { READY_MS = 30000 };

bool group_sums(struct cluster *c, struct group_sums *out)
{
    struct wbcache_status *status = cluster_status(c);
    struct group_sums sums = {0};
    bool all = status != NULL;
    for (unsigned group = 0; all && group < c->groups; group++) {
        const struct wbcache_group_status *g = cluster_leader_of(status, group, NULL);
        all = g != NULL;
        if (all) {
            sums.dirty += g->dirty_entries;
            sums.quarantined += g->quarantined;
            sums.lost += g->lost;
            sums.evicted += g->evicted;
            sums.recovering += g->recovering;
            sums.rewinds[group] = g->rewinds;
            sums.flushed_index[group] = g->flushed_index;
        }
    }
    wbcache_status_free(status);
    if (all) {
        *out = sums;
    }
    return all;
}

static bool leaders_answer(struct cluster *c, void *data)
{
    return group_sums(c, data);
}

void group_sums_wait(struct cluster *c, struct group_sums *out)
{
    cluster_wait(c, "every group has a ready leader that answers", READY_MS, leaders_answer, out);
}

static bool quarantined_is(struct cluster *c, void *data)
{
    const uint64_t *wanted = data;
    struct group_sums now;
    return group_sums(c, &now) && now.quarantined == *wanted && now.dirty == 0;
}

void group_sums_wait_quarantined(struct cluster *c, uint64_t quarantined, unsigned timeout_ms)
{
    char what[96];
    snprintf(what, sizeof what, "%llu rows are in quarantine, and nothing else is dirty",
        (unsigned long long)quarantined);
    cluster_wait(c, what, timeout_ms, quarantined_is, &quarantined);
}

static bool rewound(struct cluster *c, void *data)
{
    const struct group_sums *before = data;
    struct group_sums now;
    bool all = group_sums(c, &now);
    for (unsigned group = 0; all && group < c->groups; group++) {
        all = now.rewinds[group] > before->rewinds[group];
    }
    return all;
}

void group_sums_wait_rewound(struct cluster *c, const struct group_sums *before, unsigned timeout_ms)
{
    struct group_sums copy = *before;
    cluster_wait(c, "every group notices that the database went back in time", timeout_ms, rewound, &copy);
}

static bool recovered(struct cluster *c, void *data)
{
    (void)data;
    struct group_sums now;
    return group_sums(c, &now) && now.recovering == 0;
}

void group_sums_wait_recovered(struct cluster *c, unsigned timeout_ms)
{
    cluster_wait(c, "everything that the database lost is written again", timeout_ms, recovered, NULL);
}
