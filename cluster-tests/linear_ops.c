/* Sorting one key's operations, and leaving out the unknown ones that cannot matter.
 *
 * An unknown get has no effect, so it cannot matter. Neither can an unknown set, or cas, U of a value v that
 * no other operation needs:
 *
 *   Claim. If no operation N that may come after U (it ended after U's start, or is unknown itself) could
 * come directly after U and observe it, then the history is linearizable if and only if it is without U.
 *   Proof. 'If' is plain: an unknown operation may have never happened. 'Only if': take an order in which U
 *   happened. If U is its last operation, leave U out. Otherwise let N be the next one, s the state before U,
 *   and look at what N can be when it does not observe:
 *     a set (also an unknown one) is possible in s as well, and leaves the same value;
 *     an unknown del or getdel: where s has a value it is possible there and leaves the same; where s has
 * none, leave it out together with U. In each case the order without U (and N) is possible, and the version
 * that it leaves behind is told and the same, or its lowest possible one is lower, so that what follows stays
 * possible (linear_state_covers). Each step makes the order shorter, so it ends with U left out.
 *
 * What can observe (could_observe, last_needs): whatever needs v itself; whatever only needs that something
 * is there, or depends on it otherwise. Taking too many for observers is safe: then U stays in the search. */
#include "cluster-tests/linear_ops.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"

static int order_of(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

static int by_start(const void *a, const void *b)
{
    const struct linear_op *x = a, *y = b;
    int order = order_of(x->start_ns, y->start_ns);
    return order != 0 ? order : order_of(x->end_ns, y->end_ns);
}

/* Unknown operations that ask for the same are of one class. */
static int compare_class(const struct linear_op *x, const struct linear_op *y)
{
    const struct history_event *a = x->event, *b = y->event;
    int order = order_of(a->op, b->op);
    order = order != 0 ? order : order_of((uint64_t)a->arg.delta, (uint64_t)b->arg.delta);
    order = order != 0 ? order : order_of(a->arg.condition, b->arg.condition);
    order = order != 0 ? order : order_of(a->arg.if_version, b->arg.if_version);
    return order != 0 ? order : bytes_compare(a->arg.value, b->arg.value);
}

static int by_class(const void *a, const void *b)
{
    int order = compare_class(a, b);
    return order != 0 ? order : by_start(a, b);
}

/* Could @op come directly after a write of any value, and come to something else than without that write? The
 * operations that need a certain value are last_needs's. */
static bool could_observe(const struct linear_op *op)
{
    const struct history_event *e = op->event;
    switch (e->op) {
    case HISTORY_APPEND:
    case HISTORY_CAS:
        return true;
    case HISTORY_INCR:
        return !op->known || e->result.outcome != HISTORY_OK;
    case HISTORY_DEL:
        return op->known && e->result.found;
    default:
        return false;
    }
}

/* For each value the end of the last operation that needs it; [0]: of the last one that any value suits. */
static uint64_t *last_needs(struct linear_ops *ops, const struct linear_op *all, uint32_t n)
{
    uint32_t zero = linear_value_of_number(&ops->values, 0);
    uint64_t *last = xcalloc(ops->values.n, sizeof *last);
    for (uint32_t i = 0; i < n; i++) {
        const struct linear_op *op = &all[i];
        uint32_t needed = op->saw;
        if (op->event->op == HISTORY_INCR && op->known && op->saw == 0) {
            needed = zero; /* or nothing at all, which U does not leave */
        }
        if (could_observe(op)) {
            needed = LINEAR_ABSENT;
        } else if (needed == LINEAR_ABSENT) {
            continue;
        }
        last[needed] = op->end_ns > last[needed] ? op->end_ns : last[needed];
    }
    return last;
}

static bool can_matter(const struct linear_op *op, const uint64_t *last)
{
    if (op->event->op == HISTORY_GET) {
        return false;
    }
    if (op->event->op != HISTORY_SET && op->event->op != HISTORY_CAS) {
        return true;
    }
    return op->start_ns <= last[op->wrote] || op->start_ns <= last[LINEAR_ABSENT];
}

static void find_classes(struct linear_ops *ops)
{
    qsort(ops->unknown, ops->n_unknown, sizeof *ops->unknown, by_class);
    ops->classes = xcalloc((size_t)ops->n_unknown + 1, sizeof *ops->classes);
    for (uint32_t i = 0; i < ops->n_unknown; i++) {
        if (i == 0 || compare_class(&ops->unknown[i - 1], &ops->unknown[i]) != 0) {
            ops->classes[ops->n_classes++] = i;
        }
    }
    ops->classes[ops->n_classes] = ops->n_unknown;
}

void linear_ops_init(struct linear_ops *ops, const struct history_event *const *events, size_t n)
{
    CHECK(n <= INT32_MAX);
    memset(ops, 0, sizeof *ops);
    linear_values_init(&ops->values);
    struct linear_op *all = xcalloc(n + 1, sizeof *all);
    for (size_t i = 0; i < n; i++) {
        all[i] = linear_op_of(events[i], &ops->values);
    }
    uint64_t *last = last_needs(ops, all, (uint32_t)n);
    ops->known = xcalloc(n + 1, sizeof *ops->known);
    ops->unknown = xcalloc(n + 1, sizeof *ops->unknown);
    for (size_t i = 0; i < n; i++) {
        if (all[i].known) {
            ops->known[ops->n_known++] = all[i];
        } else if (can_matter(&all[i], last)) {
            ops->unknown[ops->n_unknown++] = all[i];
        } else {
            ops->ignored++;
        }
    }
    free(last);
    free(all);
    qsort(ops->known, ops->n_known, sizeof *ops->known, by_start);
    find_classes(ops);
}

void linear_ops_deinit(struct linear_ops *ops)
{
    linear_values_deinit(&ops->values);
    free(ops->known);
    free(ops->unknown);
    free(ops->classes);
    memset(ops, 0, sizeof *ops);
}
