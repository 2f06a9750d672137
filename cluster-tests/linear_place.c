/* Where a search is: made ready, and one operation further or back.
 *
 * Everything that the search asks for in each step is kept up to date here, so that a step costs little
 * however long the history is: the ring of operations not done, R, the next ones by version, and counts for
 * each value. */
#include "cluster-tests/linear_place.h"

#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"

/* ---- Preparation ---- */

static int by_number(const void *a, const void *b)
{
    const struct linear_ranked *x = a, *y = b;
    if (x->by != y->by) {
        return x->by < y->by ? -1 : 1;
    }
    return x->op < y->op ? -1 : x->op > y->op;
}

static struct linear_ranked *rank_by_end(const struct linear_ops *ops)
{
    struct linear_ranked *ranked = xcalloc((size_t)ops->n_known + 1, sizeof *ranked);
    for (uint32_t i = 0; i < ops->n_known; i++) {
        ranked[i] = (struct linear_ranked){.by = ops->known[i].end_ns, .op = i};
    }
    qsort(ranked, ops->n_known, sizeof *ranked, by_number);
    return ranked;
}

const struct linear_op *linear_search_by_end(const struct linear_ops *ops, uint32_t rank)
{
    CHECK(rank < ops->n_known);
    struct linear_ranked *by_end = rank_by_end(ops);
    const struct linear_op *op = &ops->known[by_end[rank].op];
    free(by_end);
    return op;
}

/* The lowest number of bits such that operations at one time have different ones. Unknown ones have their
 * own. */
static void assign_bits(struct linear_place *s)
{
    uint32_t *free_bits = xcalloc((size_t)s->ops->n_known + 1, sizeof *free_bits);
    uint32_t n_free = 0, n_bits = 0, ended = 0;
    for (uint32_t i = 0; i < s->ops->n_known; i++) {
        for (; s->by_end[ended].by < s->ops->known[i].start_ns; ended++) {
            free_bits[n_free++] = s->bit[s->by_end[ended].op];
        }
        s->bit[i] = n_free > 0 ? free_bits[--n_free] : n_bits++;
    }
    free(free_bits);
    s->first_bit = n_bits;
    s->bit_words = ((size_t)n_bits + s->ops->n_unknown + 63) / 64;
    s->key = xcalloc(s->bit_words + 2, sizeof *s->key);
}

static void queue_add(struct linear_queue *queue, uint64_t by, uint32_t op)
{
    queue->items[queue->n++] = (struct linear_ranked){.by = by, .op = op};
}

/* Does @op, whose outcome is known, say that nothing was there, and leave it so? */
static bool needs_nothing(const struct linear_op *op)
{
    const struct history_event *e = op->event;
    if (e->op == HISTORY_CAS && e->result.outcome == HISTORY_CONDITION_FAILED) {
        return e->arg.condition == HISTORY_IF_PRESENT ||
               (e->arg.condition == HISTORY_IF_VERSION && e->result.version == 0);
    }
    return (e->op == HISTORY_GET || e->op == HISTORY_DEL || e->op == HISTORY_GETDEL) && !e->result.found;
}

static void queue_told(struct linear_place *s)
{
    s->told.items = xcalloc(2 * (size_t)s->ops->n_known + 1, sizeof *s->told.items);
    s->all_told = true;
    for (uint32_t i = 0; i < s->ops->n_known; i++) {
        const struct linear_op *op = &s->ops->known[i];
        if (op->version_written != 0) {
            queue_add(&s->told, 2 * op->version_written, i);
        }
        if (op->version_seen != 0) {
            queue_add(&s->told, 2 * op->version_seen + 1, i);
        }
        bool writes = op->event->op != HISTORY_GET && op->event->result.outcome == HISTORY_OK;
        uint64_t told = writes ? op->version_written : op->version_seen;
        s->all_told = s->all_told && (told != 0 || needs_nothing(op));
    }
    qsort(s->told.items, s->told.n, sizeof *s->told.items, by_number);
}

/* Only operations that must be done: the others may stay behind. */
static void queue_versions(struct linear_place *s)
{
    s->written.items = xcalloc((size_t)s->goal + 1, sizeof *s->written.items);
    s->seen.items = xcalloc((size_t)s->goal + 1, sizeof *s->seen.items);
    for (uint32_t i = 0; i < s->goal; i++) {
        uint32_t op = s->by_end[i].op;
        const struct linear_op *known = &s->ops->known[op];
        if (known->version_written != 0) {
            queue_add(&s->written, known->version_written, op);
        }
        if (known->version_seen != 0) {
            queue_add(&s->seen, known->version_seen, op);
        }
    }
    qsort(s->written.items, s->written.n, sizeof *s->written.items, by_number);
    qsort(s->seen.items, s->seen.n, sizeof *s->seen.items, by_number);
}

/* Appends end in one of these bytes (or change nothing but the version), unknown sums are numbers: so which
 * values could they make? */
static void count_open_makers(struct linear_place *s)
{
    bool last_byte[256] = {false}, unknown_sum = false;
    for (uint32_t i = 0; i < s->ops->n_known + s->ops->n_unknown; i++) {
        const struct linear_op *op =
            i < s->ops->n_known ? &s->ops->known[i] : &s->ops->unknown[i - s->ops->n_known];
        struct bytes tail = op->event->arg.value;
        if (op->event->op == HISTORY_APPEND && tail.len > 0) {
            last_byte[tail.data[tail.len - 1]] = true;
        }
        unknown_sum = unknown_sum || (op->event->op == HISTORY_INCR && !op->known);
    }
    struct buf text;
    buf_init(&text);
    for (uint32_t value = 1; value < s->n_values; value++) {
        int64_t number;
        buf_clear(&text);
        linear_value_bytes(&s->ops->values, value, &text);
        bool open = text.len == 0 || last_byte[text.data[text.len - 1]];
        open = open || (unknown_sum && linear_value_number(&s->ops->values, value, &number));
        s->makers[value] = open ? UINT32_MAX / 2 : 0; /* never runs out */
    }
    buf_deinit(&text);
}

static void count_values(struct linear_place *s)
{
    s->n_values = s->ops->values.n;
    s->needs = xcalloc(s->n_values, sizeof *s->needs);
    s->makers = xcalloc(s->n_values, sizeof *s->makers);
    count_open_makers(s);
    for (uint32_t i = 0; i < s->ops->n_known; i++) {
        s->needs[s->ops->known[i].saw] += s->rank[i] < s->goal;
        s->makers[s->ops->known[i].makes]++;
    }
    for (uint32_t i = 0; i < s->ops->n_unknown; i++) {
        s->makers[s->ops->unknown[i].makes]++;
    }
}

void linear_place_init(
    struct linear_place *s, struct linear_ops *ops, uint32_t goal, const struct linear_limits *limits)
{
    size_t n = (size_t)ops->n_known + 1;
    *s = (struct linear_place){.ops = ops, .goal = goal};
    s->steps_max = limits->steps_max != 0 ? limits->steps_max : LINEAR_STEPS_MAX;
    s->state.exact = true;
    s->by_end = rank_by_end(ops);
    s->rank = xcalloc(n, sizeof *s->rank);
    s->done = xcalloc(n + ops->n_unknown, sizeof *s->done);
    s->next = xcalloc(n, sizeof *s->next);
    s->prev = xcalloc(n, sizeof *s->prev);
    s->bit = xcalloc(n, sizeof *s->bit);
    for (uint32_t i = 0; i < n; i++) {
        s->next[i] = (i + 1) % (uint32_t)n;
        s->prev[(i + 1) % n] = i;
    }
    for (uint32_t i = 0; i < ops->n_known; i++) {
        s->rank[s->by_end[i].op] = i;
    }
    s->used = xcalloc((size_t)ops->n_classes + 1, sizeof *s->used);
    s->frames = xcalloc(n + ops->n_unknown, sizeof *s->frames);
    assign_bits(s);
    queue_versions(s);
    queue_told(s);
    count_values(s);
    linear_starts_init(&s->starts, ops);
    size_t memory = limits->memory_bytes_max != 0 ? limits->memory_bytes_max : LINEAR_MEMORY_BYTES_MAX;
    linear_cache_init(&s->cache, s->bit_words + 2, memory);
}

void linear_place_deinit(struct linear_place *s)
{
    linear_cache_deinit(&s->cache);
    linear_starts_deinit(&s->starts);
    free(s->by_end);
    free(s->rank);
    free(s->done);
    free(s->next);
    free(s->prev);
    free(s->bit);
    free(s->written.items);
    free(s->seen.items);
    free(s->told.items);
    free(s->used);
    free(s->needs);
    free(s->makers);
    free(s->frames);
    free(s->key);
}

/* ---- Doing and undoing ---- */

static void turn_bit(struct linear_place *s, uint32_t bit)
{
    s->key[bit / 64] ^= UINT64_C(1) << (bit % 64);
}

static void queue_advance(const struct linear_place *s, struct linear_queue *queue)
{
    while (queue->next < queue->n && s->done[queue->items[queue->next].op]) {
        queue->next++;
    }
}

static void do_known(struct linear_place *s, uint32_t i)
{
    const struct linear_op *op = &s->ops->known[i];
    s->done[i] = true;
    s->next[s->prev[i]] = s->next[i];
    s->prev[s->next[i]] = s->prev[i];
    turn_bit(s, s->bit[i]);
    s->needs[op->saw] -= s->rank[i] < s->goal;
    s->makers[op->makes]--;
    while (s->r < s->goal && s->done[s->by_end[s->r].op]) {
        s->r++;
    }
    queue_advance(s, &s->written);
    queue_advance(s, &s->seen);
    queue_advance(s, &s->told);
}

static void undo_known(struct linear_place *s, uint32_t i)
{
    const struct linear_op *op = &s->ops->known[i];
    s->done[i] = false;
    s->next[s->prev[i]] = i;
    s->prev[s->next[i]] = i;
    turn_bit(s, s->bit[i]);
    s->needs[op->saw] += s->rank[i] < s->goal;
    s->makers[op->makes]++;
}

static void do_unknown(struct linear_place *s, uint32_t class)
{
    uint32_t i = s->ops->classes[class] + s->used[class]++;
    s->done[s->ops->n_known + i] = true;
    turn_bit(s, s->first_bit + i);
    s->makers[s->ops->unknown[i].makes]--;
}

static void undo_unknown(struct linear_place *s, uint32_t class)
{
    uint32_t i = s->ops->classes[class] + --s->used[class];
    s->done[s->ops->n_known + i] = false;
    turn_bit(s, s->first_bit + i);
    s->makers[s->ops->unknown[i].makes]++;
}

void linear_place_push(
    struct linear_place *s, enum linear_phase phase, uint32_t op, const struct linear_state *after)
{
    s->frames[s->depth++] = (struct linear_frame){.before = s->state,
        .phase = phase,
        .op = op,
        .r = s->r,
        .written_next = s->written.next,
        .seen_next = s->seen.next,
        .told_next = s->told.next};
    s->state = *after;
    if (phase == PHASE_UNKNOWN) {
        do_unknown(s, op);
    } else {
        do_known(s, op);
    }
}

void linear_place_pop(struct linear_place *s)
{
    const struct linear_frame *f = &s->frames[--s->depth];
    if (f->phase == PHASE_UNKNOWN) {
        undo_unknown(s, f->op);
    } else {
        undo_known(s, f->op);
    }
    s->state = f->before;
    s->r = f->r;
    s->written.next = f->written_next;
    s->seen.next = f->seen_next;
    s->told.next = f->told_next;
}
