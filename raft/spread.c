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

void spread_led(struct spread *s, uint32_t group, uint64_t term, uint64_t now_ms)
{
    CHECK(group < s->config.group_count && term > 0);
    if (s->groups[group].led_term != term) {
        s->groups[group].led_term = term;
        s->groups[group].led_since_ms = now_ms;
    }
}

static bool led_long_enough(const struct spread *s, uint32_t group, uint64_t now_ms)
{
    return s->groups[group].led_term != 0 && now_ms >= s->groups[group].led_since_ms + s->config.stable_ms;
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

/* How many groups each peer leads. False when some group's leader is not known, or does not answer (then it
 * is old news, and an election is under way): no load can be compared. */
static bool count_loads(
    const struct spread *s, const struct spread_view *views, uint64_t now_ms, unsigned loads[LIMIT_NODES])
{
    for (unsigned i = 0; i < s->n_peers; i++) {
        loads[i] = 0;
    }
    for (uint32_t g = 0; g < s->config.group_count; g++) {
        int leader = position_of(s, views[g].leader_id);
        if (leader < 0 || !answers(s, (unsigned)leader, now_ms)) {
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

/* May a group of ours be given away now, as far as its own history goes? */
static bool movable(const struct spread *s, const struct spread_view *views, uint32_t group, uint64_t now_ms)
{
    return views[group].ours && now_ms >= s->groups[group].not_before_ms && led_long_enough(s, group, now_ms);
}

/* A group of ours that can go home. */
static bool plan_home(
    const struct spread *s, const struct spread_view *views, uint64_t now_ms, struct spread_move *out)
{
    for (uint32_t g = 0; g < s->config.group_count; g++) {
        unsigned home = g % s->n_peers;
        if (movable(s, views, g, now_ms) && acceptable(s, &views[g], home, now_ms)) {
            *out = (struct spread_move){.group = g, .target_id = s->peers[home].id};
            return true;
        }
    }
    return false;
}

/* A group of ours whose home is away, and that would be better off elsewhere. While its home answers, it
 * waits for that, which is perhaps not stable or not caught up yet. */
static bool plan_stand_in(
    const struct spread *s, const struct spread_view *views, uint64_t now_ms, struct spread_move *out)
{
    unsigned loads[LIMIT_NODES];
    if (!count_loads(s, views, now_ms, loads)) {
        return false;
    }
    for (uint32_t g = 0; g < s->config.group_count; g++) {
        if (!movable(s, views, g, now_ms) || answers(s, g % s->n_peers, now_ms)) {
            continue;
        }
        int target = lighter_peer(s, &views[g], loads, now_ms);
        if (target >= 0) {
            *out = (struct spread_move){.group = g, .target_id = s->peers[target].id};
            return true;
        }
    }
    return false;
}

bool spread_plan(
    const struct spread *s, const struct spread_view *views, uint64_t now_ms, struct spread_move *out)
{
    /* First home: what comes home changes the loads that the others are compared by. */
    return now_ms >= s->next_ms && (plan_home(s, views, now_ms, out) || plan_stand_in(s, views, now_ms, out));
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
