#include "raft/spread.h"

#include <stddef.h>

#include "proto/base/check.h"

enum {
    FAILED_COOLDOWNS = 4, /* a failed transfer is tried again after so many cool-downs, doubled each time */
    FAILED_DOUBLINGS_MAX = 6,
};

void spread_init(struct spread *s, const struct spread_config *config, const uint64_t *ids, unsigned n)
{
    CHECK(n >= 1 && n <= LIMIT_NODES);
    CHECK(config->group_count >= 1 && config->group_count <= LIMIT_GROUPS);
    *s = (struct spread){.config = *config, .n_peers = n};
    for (unsigned i = 0; i < n; i++) {
        s->peers[i].id = ids[i];
    }
}

static int position_of(const struct spread *s, uint64_t id)
{
    for (unsigned i = 0; i < s->n_peers; i++) {
        if (s->peers[i].id == id) {
            return (int)i;
        }
    }
    return -1;
}

void spread_heard(struct spread *s, uint64_t id, uint64_t heard_ms)
{
    int i = position_of(s, id);
    if (i < 0 || heard_ms <= s->peers[i].heard_ms) {
        return;
    }
    struct spread_peer *peer = &s->peers[i];
    if (peer->heard_ms == 0 || heard_ms - peer->heard_ms > s->config.break_ms) {
        peer->since_ms = heard_ms;
    }
    peer->heard_ms = heard_ms;
}

static bool answers(const struct spread *s, unsigned position, uint64_t now_ms)
{
    const struct spread_peer *peer = &s->peers[position];
    return peer->id == s->config.self_id ||
           (peer->heard_ms != 0 && now_ms <= peer->heard_ms + s->config.break_ms);
}

static bool stable(const struct spread *s, unsigned position, uint64_t now_ms)
{
    const struct spread_peer *peer = &s->peers[position];
    return peer->id != s->config.self_id && answers(s, position, now_ms) &&
           now_ms >= peer->since_ms + s->config.stable_ms;
}

bool spread_answers(const struct spread *s, uint64_t id, uint64_t now_ms)
{
    int i = position_of(s, id);
    return i >= 0 && id != s->config.self_id && answers(s, (unsigned)i, now_ms);
}

uint64_t spread_best_follower(const struct spread *s, const struct spread_view *view, uint64_t now_ms)
{
    uint64_t best = 0;
    uint64_t best_match = 0;
    for (unsigned i = 0; i < s->n_peers; i++) {
        if (s->peers[i].id == s->config.self_id || !answers(s, i, now_ms)) {
            continue;
        }
        if (best == 0 || view->match[i] > best_match) {
            best = s->peers[i].id;
            best_match = view->match[i];
        }
    }
    return best;
}

/* May @group be handed to the peer at @position now? */
static bool acceptable(
    const struct spread *s, const struct spread_view *view, unsigned position, uint64_t now_ms)
{
    return stable(s, position, now_ms) && view->match[position] + SPREAD_LAG_MAX_ENTRIES >= view->last_index;
}

/* How many groups each peer leads. False when some group's leader is not known: then no load can be compared.
 */
static bool count_loads(const struct spread *s, const struct spread_view *views, unsigned loads[LIMIT_NODES])
{
    for (unsigned i = 0; i < s->n_peers; i++) {
        loads[i] = 0;
    }
    for (uint32_t g = 0; g < s->config.group_count; g++) {
        int leader = position_of(s, views[g].leader_id);
        if (leader < 0) {
            return false;
        }
        loads[leader]++;
    }
    return true;
}

/* Where a group without a home should go: to the least loaded peer, if that makes the loads more even. -1:
 * stay. */
static int lighter_peer(const struct spread *s, const struct spread_view *view,
    const unsigned loads[LIMIT_NODES], uint64_t now_ms)
{
    int self = position_of(s, s->config.self_id);
    CHECK(self >= 0);
    int best = -1;
    for (unsigned i = 0; i < s->n_peers; i++) {
        if (acceptable(s, view, i, now_ms) && loads[i] + 2 <= loads[self] &&
            (best < 0 || loads[i] < loads[best])) {
            best = (int)i;
        }
    }
    return best;
}

bool spread_plan(
    const struct spread *s, const struct spread_view *views, uint64_t now_ms, struct spread_move *out)
{
    if (now_ms < s->next_ms) {
        return false;
    }
    unsigned loads[LIMIT_NODES];
    bool loads_known = count_loads(s, views, loads);
    for (uint32_t g = 0; g < s->config.group_count; g++) {
        if (!views[g].ours || now_ms < s->groups[g].not_before_ms) {
            continue;
        }
        unsigned home = g % s->n_peers;
        if (s->peers[home].id == s->config.self_id) {
            continue;
        }
        int target = -1;
        if (answers(s, home, now_ms)) {
            /* Its home is there but perhaps not stable or not caught up yet: then wait for it. */
            target = acceptable(s, &views[g], home, now_ms) ? (int)home : -1;
        } else if (loads_known) {
            target = lighter_peer(s, &views[g], loads, now_ms);
        }
        if (target >= 0) {
            *out = (struct spread_move){.group = g, .target_id = s->peers[target].id};
            return true;
        }
    }
    return false;
}

void spread_tried(struct spread *s, uint64_t now_ms)
{
    s->next_ms = now_ms + s->config.cooldown_ms;
}

void spread_ended(struct spread *s, uint32_t group, bool succeeded, uint64_t now_ms)
{
    CHECK(group < s->config.group_count);
    s->next_ms = now_ms + s->config.cooldown_ms;
    if (succeeded) {
        s->groups[group].failures = 0;
        s->groups[group].not_before_ms = 0;
        return;
    }
    unsigned doublings = s->groups[group].failures;
    if (doublings < FAILED_DOUBLINGS_MAX) {
        s->groups[group].failures++;
    }
    s->groups[group].not_before_ms = now_ms + ((s->config.cooldown_ms * FAILED_COOLDOWNS) << doublings);
}
