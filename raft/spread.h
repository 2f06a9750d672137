/* Which group should be led by whom, and which single transfer brings us nearer to it. Pure.
 *
 * Each group has a home: nodes[group % n]. A group whose home answers belongs there. A group whose home is
 * away belongs anywhere, as long as the loads differ by at most one. Each node plans for the groups that it
 * leads, from what it sees itself; that two nodes see it differently for a moment costs a transfer, never
 * more, because of the pauses: a peer must have answered without a break for stable_ms, and the group must
 * have been led by us for as long (it may just have come from a node that is stopping and still answers);
 * each transfer is followed by a pause, a failed one by a longer. */
#ifndef WB_RAFT_SPREAD_H
#define WB_RAFT_SPREAD_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/limits.h"

enum { SPREAD_LAG_MAX_ENTRIES = 64 }; /* a target with more to catch up would hold up the group */

struct spread_config {
    uint64_t self_id;
    uint32_t group_count;
    uint64_t stable_ms; /* a target must have answered, and we must have led the group, for so long without a
                           break */
    uint64_t break_ms;  /* silence for longer is a break */
    uint64_t
        cooldown_ms; /* between two transfers by this node; a group that failed waits for multiples of it */
};

struct spread_peer {
    uint64_t id;
    uint64_t heard_ms; /* 0: never */
    uint64_t since_ms; /* the first sign of life after the last break */
};

struct spread {
    struct spread_config config;
    unsigned n_peers; /* with ourselves */
    struct spread_peer peers[LIMIT_NODES];
    uint64_t next_ms; /* no transfer before */
    struct {
        uint64_t not_before_ms;
        unsigned failures; /* in a row */
        uint64_t led_term; /* the last term in which we led it, 0 for none */
        uint64_t led_since_ms;
    } groups[LIMIT_GROUPS];
};

/* A group as this node sees it. */
struct spread_view {
    uint64_t leader_id; /* 0: not known */
    bool ours;          /* we lead it, its gate is open and it is not being handed over */
    uint64_t last_index;
    uint64_t match[LIMIT_NODES]; /* of each peer, in the order given to spread_init; only when ours */
};

struct spread_move {
    uint32_t group;
    uint64_t target_id;
};

/* @ids: all nodes, the same order on each of them, ourselves among them. 1 <= @n <= LIMIT_NODES. */
void spread_init(struct spread *s, const struct spread_config *config, const uint64_t *ids, unsigned n);

/* @id was last heard from at @heard_ms. Older news than known are ignored. */
void spread_heard(struct spread *s, uint64_t id, uint64_t heard_ms);

/* We lead @group in @term with an open gate. The first call for a term is its beginning. */
void spread_led(struct spread *s, uint32_t group, uint64_t term, uint64_t now_ms);

/* Has @id (not ourselves) been heard from within break_ms? */
bool spread_answers(const struct spread *s, uint64_t id, uint64_t now_ms);

/* Of the peers that answer, the one that holds most of the log of @view, 0 if none answers: for handing over.
 */
uint64_t spread_best_follower(const struct spread *s, const struct spread_view *view, uint64_t now_ms);

/* The transfer to try now, if any. @views has group_count elements. Changes nothing: call spread_tried when
 * it began. */
bool spread_plan(
    const struct spread *s, const struct spread_view *views, uint64_t now_ms, struct spread_move *out);

/* A transfer of @group was begun; or it ended, and @group is or is not led by the target. */
void spread_tried(struct spread *s, uint64_t now_ms);
void spread_ended(struct spread *s, uint32_t group, bool succeeded, uint64_t now_ms);

#endif
