/* What the nodes say of themselves, and waiting until they say what a test wants to hear. */
#include "cluster-tests/cluster.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cluster-tests/scenario.h"
#include "proto/base/clock.h"

enum { READY_MS = 30000, POLL_MS = 20 };

struct wbcache_status *cluster_status(struct cluster *c)
{
    if (c->control == NULL) {
        const struct wbcache_options options = {.deadline_ms = 2000, .connect_timeout_ms = 500};
        if (wbcache_open(&c->control, c->addresses, &options) != WBCACHE_OK) {
            wbcache_close(c->control);
            c->control = NULL;
            return NULL;
        }
    }
    struct wbcache_status *status = NULL;
    return wbcache_status(c->control, &status) == WBCACHE_OK ? status : NULL;
}

const struct wbcache_node_status *cluster_node(const struct wbcache_status *status, unsigned node)
{
    for (size_t i = 0; i < status->n_nodes; i++) {
        if (status->nodes[i].code == WBCACHE_OK && status->nodes[i].node_id == node) {
            return &status->nodes[i];
        }
    }
    return NULL;
}

const struct wbcache_group_status *cluster_group(
    const struct wbcache_status *status, unsigned node, unsigned group)
{
    const struct wbcache_node_status *n = cluster_node(status, node);
    for (size_t i = 0; n != NULL && i < n->n_groups; i++) {
        if (n->groups[i].group == group) {
            return &n->groups[i];
        }
    }
    return NULL;
}

/* Of two that say so, the one with the higher term: the other has not heard of it yet. */
static const struct wbcache_group_status *find_leader(
    const struct wbcache_status *status, unsigned group, bool need_ready, unsigned *node)
{
    const struct wbcache_group_status *best = NULL;
    for (unsigned n = 1; n <= CLUSTER_NODES_MAX; n++) {
        const struct wbcache_group_status *g = cluster_group(status, n, group);
        if (g != NULL && strcmp(g->role, "leader") == 0 && (g->ready || !need_ready) &&
            (best == NULL || g->term > best->term)) {
            best = g;
            if (node != NULL) {
                *node = n;
            }
        }
    }
    return best;
}

const struct wbcache_group_status *cluster_leader_of(
    const struct wbcache_status *status, unsigned group, unsigned *node)
{
    return find_leader(status, group, true, node);
}

static void show_status(struct cluster *c)
{
    struct wbcache_status *status = cluster_status(c);
    if (status == NULL) {
        say("  no node answers");
        return;
    }
    for (unsigned node = 1; node <= c->nodes; node++) {
        for (unsigned group = 0; group < c->groups; group++) {
            const struct wbcache_group_status *g = cluster_group(status, node, group);
            if (g == NULL) {
                say("  node %u group %u: no answer", node, group);
                continue;
            }
            say("  node %u group %u: %s%s term %" PRIu64 " applied %" PRIu64 " commit %" PRIu64
                " flushed %" PRIu64 " dirty %" PRIu64 " flush %s %s",
                node, group, g->role, g->ready ? " ready" : "", g->term, g->applied_index, g->commit_index,
                g->flushed_index, g->dirty_entries, g->flush_state, g->flush_error);
        }
    }
    wbcache_status_free(status);
}

void cluster_wait(struct cluster *c, const char *what, unsigned timeout_ms,
    bool (*condition)(struct cluster *c, void *data), void *data)
{
    uint64_t until_ms = clock_boot_ms() + timeout_ms;
    while (!condition(c, data)) {
        if (clock_boot_ms() >= until_ms) {
            show_status(c);
            fail_msg("waited %u ms in vain: %s", timeout_ms, what);
        }
        pass_ms(POLL_MS);
    }
}

/* A condition on the leaders of one group or (group < 0) of all. */
struct leader_condition {
    int group;
    unsigned not_node;
    unsigned node;           /* out: who leads it */
    const char *flush_state; /* NULL: whatever it is, but the leader is ready */
    bool clean;
};

static bool leaders_are(struct cluster *c, void *data)
{
    struct leader_condition *wanted = data;
    struct wbcache_status *status = cluster_status(c);
    if (status == NULL) {
        return false;
    }
    bool all = true;
    unsigned first = wanted->group < 0 ? 0 : (unsigned)wanted->group;
    unsigned last = wanted->group < 0 ? c->groups - 1 : (unsigned)wanted->group;
    for (unsigned group = first; group <= last; group++) {
        const struct wbcache_group_status *g =
            find_leader(status, group, wanted->flush_state == NULL, &wanted->node);
        all = all && g != NULL && wanted->node != wanted->not_node &&
              (wanted->flush_state == NULL || strcmp(g->flush_state, wanted->flush_state) == 0) &&
              (!wanted->clean || (g->dirty_entries == 0 && g->flushed_index == g->applied_index));
    }
    wbcache_status_free(status);
    return all;
}

unsigned cluster_leader(struct cluster *c, unsigned group)
{
    return cluster_other_leader(c, group, 0);
}

unsigned cluster_other_leader(struct cluster *c, unsigned group, unsigned not_node)
{
    struct leader_condition wanted = {.group = (int)group, .not_node = not_node};
    cluster_wait(c, "the group has a ready leader", READY_MS, leaders_are, &wanted);
    return wanted.node;
}

void cluster_wait_ready(struct cluster *c)
{
    struct leader_condition wanted = {.group = -1};
    cluster_wait(c, "every group has a ready leader", READY_MS, leaders_are, &wanted);
}

void cluster_wait_clean(struct cluster *c, unsigned timeout_ms)
{
    struct leader_condition wanted = {.group = -1, .clean = true};
    cluster_wait(c, "everything is flushed", timeout_ms, leaders_are, &wanted);
}

void cluster_wait_flush_state(struct cluster *c, unsigned group, const char *state, unsigned timeout_ms)
{
    struct leader_condition wanted = {.group = (int)group, .flush_state = state};
    char what[96];
    snprintf(what, sizeof what, "the leader of group %u reports the flush state %s", group, state);
    cluster_wait(c, what, timeout_ms, leaders_are, &wanted);
}

struct catch_up {
    unsigned node;
    uint64_t applied[LOAD_GROUPS_MAX]; /* by group, the leader's */
};

static bool leaders_known(struct cluster *c, void *data)
{
    struct catch_up *wanted = data;
    struct wbcache_status *status = cluster_status(c);
    bool all = status != NULL;
    for (unsigned group = 0; all && group < c->groups; group++) {
        const struct wbcache_group_status *g = cluster_leader_of(status, group, NULL);
        all = g != NULL;
        if (all) {
            wanted->applied[group] = g->applied_index;
        }
    }
    wbcache_status_free(status);
    return all;
}

static bool caught_up(struct cluster *c, void *data)
{
    const struct catch_up *wanted = data;
    struct wbcache_status *status = cluster_status(c);
    bool all = status != NULL;
    for (unsigned group = 0; all && group < c->groups; group++) {
        const struct wbcache_group_status *g = cluster_group(status, wanted->node, group);
        all = g != NULL && g->applied_index >= wanted->applied[group];
    }
    wbcache_status_free(status);
    return all;
}

void cluster_wait_caught_up(struct cluster *c, unsigned node)
{
    struct catch_up wanted = {.node = node};
    cluster_wait(c, "every group has a ready leader", READY_MS, leaders_known, &wanted);
    cluster_wait(c, "the node has applied what the leaders had applied", READY_MS, caught_up, &wanted);
}
