/* Wing and Gong's search with Lowe's memory, made for histories of many thousand operations.
 *
 * A place of the search is the set of operations done, and the state. A candidate is an operation that is not
 * done and began before the end of the first (by end) that is not done, R. Each candidate that can come next
 * leads to another place; a place without candidates is left the way it was come to. It is over when the
 * first `goal` operations by end are done. No place is visited twice.
 *
 * A place in few bytes. All that ended before R are done, all that began after R's end are not. So R and one
 * bit for each operation under way at R's end say which are done. Operations share bits when one begins after
 * the other's end; a bit turns over with each of its operations done, so what those before R left in it is
 * the same for all places with that R.
 *
 * What keeps the search short is of two kinds. Some places can be seen to lead nowhere (is_hopeless):
 *   a remaining operation wrote, or saw, a version that is passed;
 *   the value that an operation needs is left for good: nothing that remains could make it again;
 *   the value that R, or the next operation by version, needs does not begin with what is there, and nothing
 * that remains could begin it anew (linear_starts.h). And some candidates need not be tried: FREE     If a
 * known operation that must be done can come next and changes nothing, it comes next, and nothing else is
 * tried. If there is an order from here on, then also one with this operation moved to its front. CLASSES  Of
 * unknown operations that ask for the same, the one that began first goes first: in an order where it does
 * not, the two can change places (or the one that never happened takes the other's). NEEDED   An unknown
 * operation U is worth its while only if the next one, N, makes use of it. Let s be the state before U. N is
 * not tried directly after U, if N can come after s and what it leaves there covers what it leaves after U
 * (linear_state_covers); nor an unknown N that brings back a state that s covers; nor U itself, if s covers
 * what it leaves. LENGTH   An unknown append U, to a value that is there, is not tried when that makes the
 * value longer than the next known operation says that it was (overshoots): W, an append, next by version of
 * all operations that are not done, where all known ones that need something to be there told a version. From
 * U on, the order goes on with unknown operations up to the next known one. If these are all appends, the
 * next known one would be W, which does not fit. Otherwise let X be the first that is none: a set, del,
 *            getdel, or cas that needs something to be there. X could come without U and the appends between
 *            them, and leaves the same: a shorter order. (A cas that needs a version, or an unknown
 * increment, may not have that choice: where one could be X, U is tried.) Why no order is missed by all of
 * this. Say that the history has an order and the search ends without. Among all pairs (a visited place, an
 * order of what remains from there, in full or as far as it must) take the one with the shortest order, and
 * among these the one with the fewest operations done. There is such a pair: the first place is visited. The
 * order is not empty, or the search would have ended there. It begins with N. If a FREE operation was done at
 * the place, it is in the order, and can be moved to its front: the place behind it is visited, and the rest
 * is a shorter order. If N was passed over by CLASSES, the other one of its class can take its turn, so look
 * at that order of the same length instead. If N was passed over by NEEDED, the place was first visited
 * through U from the place with s, which is visited, too: there N and the rest (or, by the second rule, the
 * rest alone) is an order that is not longer, with fewer operations done. (The third rule, and LENGTH: a part
 * of the order, from this same place, is shorter.) Otherwise N was tried, so the place behind it is visited
 * or hopeless, and the rest is a shorter order. Each case contradicts the choice of the pair. */
#include "cluster-tests/linear_search.h"

#include <stdlib.h>

#include "cluster-tests/linear_place.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"

/* Can what is there never become what known operation number @i needs? */
static bool cannot_become(struct linear_place *s, uint32_t i)
{
    uint32_t needed = s->ops->known[i].saw;
    if (needed == LINEAR_ABSENT || s->state.value == needed) {
        return false;
    }
    bool grows =
        s->state.value != LINEAR_ABSENT && linear_value_begins_with(&s->ops->values, needed, s->state.value);
    return !grows && !linear_starts_remain(&s->starts, needed, s->done);
}

static bool is_hopeless(struct linear_place *s, const struct linear_state *before)
{
    const struct linear_queue *written = &s->written, *seen = &s->seen;
    if (written->next < written->n && written->items[written->next].by <= s->state.version) {
        return true;
    }
    if (seen->next < seen->n && seen->items[seen->next].by < s->state.version) {
        return true;
    }
    if (seen->next < seen->n && cannot_become(s, seen->items[seen->next].op)) {
        return true;
    }
    if (written->next < written->n && cannot_become(s, written->items[written->next].op)) {
        return true;
    }
    if (s->r < s->goal && cannot_become(s, s->by_end[s->r].op)) {
        return true;
    }
    uint32_t left = before->value;
    return left != s->state.value && left != LINEAR_ABSENT && left < s->n_values && s->needs[left] > 0 &&
           s->makers[left] == 0;
}

static enum linear_cache_answer remember(struct linear_place *s)
{
    s->key[s->bit_words] = (uint64_t)s->r << 33 | (uint64_t)s->state.exact << 32 | s->state.value;
    s->key[s->bit_words + 1] = s->state.version;
    return linear_cache_add(&s->cache, s->key);
}

/* Go there, unless it leads nowhere or the search was there before. */
static bool go(struct linear_place *s, enum linear_phase phase, uint32_t op, const struct linear_state *after)
{
    linear_place_push(s, phase, op, after);
    if (!is_hopeless(s, &s->frames[s->depth - 1].before)) {
        enum linear_cache_answer answer = remember(s);
        s->full = s->full || answer == LINEAR_CACHE_FULL;
        if (answer == LINEAR_CACHE_ADDED) {
            s->phase = PHASE_FREE;
            s->cursor = s->next[s->ops->n_known];
            return true;
        }
    }
    linear_place_pop(s);
    return false;
}

static bool step(struct linear_place *s, const struct linear_op *op, struct linear_state *after)
{
    s->steps++;
    return linear_step(&s->ops->values, &s->state, op, after);
}

/* The rule NEEDED: @op leads from here to @after. */
static bool makes_no_use(struct linear_place *s, const struct linear_op *op, const struct linear_state *after)
{
    if (!op->known && linear_state_covers(&s->state, after)) {
        return true;
    }
    if (s->depth == 0 || s->frames[s->depth - 1].phase != PHASE_UNKNOWN) {
        return false;
    }
    const struct linear_state *before = &s->frames[s->depth - 1].before;
    struct linear_state without;
    if (!op->known && linear_state_covers(before, after)) {
        return true;
    }
    return linear_step(&s->ops->values, before, op, &without) && linear_state_covers(&without, after);
}

/* Could an unknown operation of @class come after some appends, and not do the same without them? */
static bool could_need_appends(
    const struct linear_place *s, uint32_t class, const struct linear_state *after, uint64_t version_end)
{
    if (s->ops->classes[class] + s->used[class] == s->ops->classes[class + 1]) {
        return false;
    }
    const struct history_event *e = s->ops->unknown[s->ops->classes[class]].event;
    if (e->op == HISTORY_INCR) {
        return linear_value_could_become_number(&s->ops->values, after->value);
    }
    return e->op == HISTORY_CAS && e->arg.condition == HISTORY_IF_VERSION &&
           e->arg.if_version >= after->version && e->arg.if_version < version_end;
}

/* The rule LENGTH: unknown @op leads from here to @after. */
static bool overshoots(
    const struct linear_place *s, const struct linear_op *op, const struct linear_state *after)
{
    if (op->event->op != HISTORY_APPEND || s->state.value == LINEAR_ABSENT || !s->all_told ||
        s->told.next == s->told.n) {
        return false;
    }
    uint32_t next = s->told.items[s->told.next].op;
    const struct linear_op *known = &s->ops->known[next];
    if (known->event->op != HISTORY_APPEND || s->rank[next] >= s->goal ||
        linear_value_len(&s->ops->values, after->value) + known->event->arg.value.len <=
            known->event->result.length) {
        return false;
    }
    for (uint32_t class = 0; class < s->ops->n_classes; class ++) {
        if (could_need_appends(s, class, after, known->version_written)) {
            return false;
        }
    }
    return true;
}

static bool changes_nothing(const struct linear_state *before, const struct linear_state *after)
{
    return before->value == after->value && before->exact == after->exact &&
           before->version == after->version;
}

static bool is_candidate(const struct linear_place *s, const struct linear_op *op)
{
    return op->start_ns <= s->by_end[s->r].by;
}

static bool go_free(struct linear_place *s)
{
    const struct linear_op *known = s->ops->known;
    for (uint32_t i = s->cursor; i != s->ops->n_known && is_candidate(s, &known[i]); i = s->next[i]) {
        struct linear_state after;
        if (s->rank[i] < s->goal && step(s, &known[i], &after) && changes_nothing(&s->state, &after)) {
            if (go(s, PHASE_FREE, i, &after)) {
                return true;
            }
            s->phase = PHASE_END; /* the only way that need be tried leads nowhere */
            return false;
        }
    }
    s->phase = PHASE_KNOWN;
    s->cursor = s->next[s->ops->n_known];
    return false;
}

static bool go_known(struct linear_place *s)
{
    const struct linear_op *known = s->ops->known;
    for (uint32_t i = s->cursor; i != s->ops->n_known && is_candidate(s, &known[i]); i = s->next[i]) {
        struct linear_state after;
        if (step(s, &known[i], &after) && !makes_no_use(s, &known[i], &after) &&
            go(s, PHASE_KNOWN, i, &after)) {
            return true;
        }
    }
    s->phase = PHASE_UNKNOWN;
    s->cursor = 0;
    return false;
}

static bool go_unknown(struct linear_place *s)
{
    for (uint32_t class = s->cursor; class < s->ops->n_classes; class ++) {
        uint32_t i = s->ops->classes[class] + s->used[class];
        const struct linear_op *op = &s->ops->unknown[i];
        struct linear_state after;
        if (i < s->ops->classes[class + 1] && is_candidate(s, op) && step(s, op, &after) &&
            !makes_no_use(s, op, &after) && !overshoots(s, op, &after) &&
            go(s, PHASE_UNKNOWN, class, &after)) {
            return true;
        }
    }
    s->phase = PHASE_END;
    return false;
}

/* One operation further. False: from here there is no other way. */
static bool go_on(struct linear_place *s)
{
    return (s->phase == PHASE_FREE && go_free(s)) || (s->phase == PHASE_KNOWN && go_known(s)) ||
           (s->phase == PHASE_UNKNOWN && go_unknown(s));
}

/* Back to the last place that may have another way. False: there is none. */
static bool go_back(struct linear_place *s)
{
    while (s->depth > 0) {
        linear_place_pop(s);
        const struct linear_frame *f = &s->frames[s->depth];
        if (f->phase != PHASE_FREE) {
            s->phase = f->phase;
            s->cursor = f->phase == PHASE_KNOWN ? s->next[f->op] : f->op + 1;
            return true;
        }
    }
    return false;
}

static bool is_never_made(const struct linear_place *s)
{
    for (uint32_t value = 1; value < s->n_values; value++) {
        if (s->needs[value] > 0 && s->makers[value] == 0) {
            return true;
        }
    }
    return false;
}

static enum linear_status run(struct linear_place *s)
{
    if (is_never_made(s)) {
        return LINEAR_NOT_LINEARIZABLE;
    }
    remember(s);
    s->phase = PHASE_FREE;
    s->cursor = s->next[s->ops->n_known];
    while (s->r < s->goal) {
        if (!go_on(s) && !s->full && !go_back(s)) {
            return LINEAR_NOT_LINEARIZABLE;
        }
        if (s->full || s->steps > s->steps_max) {
            return LINEAR_TOO_HARD;
        }
    }
    return LINEAR_LINEARIZABLE;
}

/* Before the search is undone: which unknown operation a frame did follows from how many of its class it
 * found. */
static void tell_order(struct linear_place *s, struct linear_order *order)
{
    order->n = s->depth;
    order->state = s->state;
    order->ops = xcalloc((size_t)s->depth + 1, sizeof *order->ops);
    for (uint32_t i = s->depth; i > 0; i--) {
        const struct linear_frame *f = &s->frames[i - 1];
        if (f->phase == PHASE_UNKNOWN) {
            order->ops[i - 1] = &s->ops->unknown[s->ops->classes[f->op] + --s->used[f->op]];
        } else {
            order->ops[i - 1] = &s->ops->known[f->op];
        }
    }
}

enum linear_status linear_search(struct linear_ops *ops, uint32_t goal, const struct linear_limits *limits,
    uint64_t *steps, struct linear_order *order)
{
    CHECK(goal <= ops->n_known);
    struct linear_place s;
    linear_place_init(&s, ops, goal, limits);
    enum linear_status status = run(&s);
    *steps += s.steps;
    if (status == LINEAR_LINEARIZABLE && order != NULL) {
        tell_order(&s, order);
    }
    linear_place_deinit(&s);
    return status;
}
