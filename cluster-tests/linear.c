/* Judging a history: its keys one by one, versions first, then the search, and words for what is wrong.
 *
 * The explanation of a key is its shortest beginning that has no order. Beginnings of histories that have an
 * order have one (leave out its end), so the shortest bad one is found by halving. */
#include "cluster-tests/linear.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cluster-tests/linear_search.h"
#include "cluster-tests/linear_versions.h"
#include "cluster-tests/linear_words.h"
#include "proto/base/alloc.h"

enum {
    KEYS_EXPLAINED_MAX = 5,
    ORDER_SHOWN_MAX = 10, /* the last ones of an order */
    UNDER_WAY_SHOWN_MAX = 20,
};

struct judge {
    const struct linear_limits *limits;
    uint64_t zero_ns;
    struct linear_report *report;
};

/* ---- Words ---- */

static bool in_order(const struct linear_order *order, const struct linear_op *op)
{
    for (size_t i = 0; i < order->n; i++) {
        if (order->ops[i] == op) {
            return true;
        }
    }
    return false;
}

static void explain_line(struct judge *j, const struct linear_op *op)
{
    linear_words(&j->report->explanation, "    ");
    linear_words_op(&j->report->explanation, op->event, j->zero_ns);
    linear_words(&j->report->explanation, "\n");
}

static void explain_order(
    struct judge *j, const struct linear_ops *ops, const struct linear_order *order, uint32_t rank)
{
    struct buf *out = &j->report->explanation;
    size_t from = order->n > ORDER_SHOWN_MAX ? order->n - ORDER_SHOWN_MAX : 0;
    linear_words(out, "  The %" PRIu32 " operations that ended before it have an order%s", rank,
        order->n == 0 ? ""
        : from > 0    ? ", which may end so:\n"
                      : ", for example:\n");
    for (size_t i = from; i < order->n; i++) {
        explain_line(j, order->ops[i]);
    }
    linear_words(out, order->n > 0 ? "  and leaves " : ", which leaves ");
    linear_words_state(out, &ops->values, &order->state);
    linear_words(out, ". But no such order has a place for this one, too.\n");
}

/* What else could have come before the end of @op. */
static void explain_under_way(struct judge *j, const struct linear_ops *ops, const struct linear_order *order,
    const struct linear_op *op)
{
    uint32_t shown = 0;
    for (uint32_t i = 0; i < ops->n_known + ops->n_unknown; i++) {
        const struct linear_op *other = i < ops->n_known ? &ops->known[i] : &ops->unknown[i - ops->n_known];
        if (other == op || other->end_ns < op->end_ns || other->start_ns > op->end_ns ||
            in_order(order, other)) {
            continue;
        }
        if (shown++ == 0) {
            linear_words(&j->report->explanation, "  Also under way, and not in that order:\n");
        }
        if (shown > UNDER_WAY_SHOWN_MAX) {
            linear_words(&j->report->explanation, "    and more\n");
            return;
        }
        explain_line(j, other);
    }
}

/* The key has no order: say where it goes wrong. */
static void explain_search(struct judge *j, struct linear_ops *ops)
{
    uint32_t good = 0, bad = ops->n_known; /* so many operations, by end, have an order, and have none */
    uint64_t steps = 0;
    while (bad - good > 1) {
        uint32_t middle = good + (bad - good) / 2;
        enum linear_status status = linear_search(ops, middle, j->limits, &steps, NULL);
        if (status == LINEAR_TOO_HARD) {
            linear_words(&j->report->explanation,
                "  The first %" PRIu32 " operations to end have no order, the first %" PRIu32
                " have one; where between them it goes wrong was too hard to find.\n",
                bad, good);
            return;
        }
        *(status == LINEAR_LINEARIZABLE ? &good : &bad) = middle;
    }
    const struct linear_op *op = linear_search_by_end(ops, good);
    linear_words(&j->report->explanation, "  This operation has no place:\n");
    explain_line(j, op);
    struct linear_order order;
    if (linear_search(ops, good, j->limits, &steps, &order) == LINEAR_LINEARIZABLE) {
        explain_order(j, ops, &order, good);
        explain_under_way(j, ops, &order, op);
        free(order.ops);
    }
}

static void explain_key(struct judge *j, struct bytes key, enum linear_status status)
{
    struct buf *out = &j->report->explanation;
    linear_words(out, "key ");
    linear_words_bytes(out, key);
    linear_words(
        out, " is %s\n", status == LINEAR_TOO_HARD ? "too hard to judge" : linear_status_text(status));
}

/* ---- Verdicts ---- */

static void count_key(struct linear_report *report, enum linear_status status)
{
    report->keys++;
    report->keys_not_linearizable += status == LINEAR_NOT_LINEARIZABLE;
    report->keys_too_hard += status == LINEAR_TOO_HARD;
}

static void judge_key(struct judge *j, const struct history_event *const *events, size_t n)
{
    struct linear_report *report = j->report;
    struct linear_ops ops;
    linear_ops_init(&ops, events, n);
    report->known += ops.n_known;
    report->unknown += ops.n_unknown + ops.ignored;
    report->unknown_ignored += ops.ignored;
    bool is_explained = report->keys_not_linearizable + report->keys_too_hard < KEYS_EXPLAINED_MAX;

    struct buf why;
    buf_init(&why);
    enum linear_status status = LINEAR_NOT_LINEARIZABLE;
    bool versions_agree = linear_versions_agree(&ops, j->zero_ns, &why);
    if (versions_agree) {
        status = linear_search(&ops, ops.n_known, j->limits, &report->steps, NULL);
    }
    if (status != LINEAR_LINEARIZABLE && is_explained) {
        explain_key(j, events[0]->key, status);
        buf_append(&report->explanation, why.data, why.len);
        if (status == LINEAR_NOT_LINEARIZABLE && versions_agree) {
            explain_search(j, &ops);
        }
    }
    count_key(report, status);
    buf_deinit(&why);
    linear_ops_deinit(&ops);
}

static int by_key(const void *a, const void *b)
{
    const struct history_event *x = *(const struct history_event *const *)a;
    const struct history_event *y = *(const struct history_event *const *)b;
    int order = x->key.data == y->key.data ? 0 : bytes_compare(x->key, y->key);
    if (order != 0) {
        return order;
    }
    return x < y ? -1 : x > y;
}

enum linear_status linear_check(
    const struct history *h, const struct linear_limits *limits, struct linear_report *report)
{
    static const struct linear_limits defaults;
    *report = (struct linear_report){.status = LINEAR_LINEARIZABLE};
    struct judge j = {.limits = limits != NULL ? limits : &defaults, .report = report, .zero_ns = UINT64_MAX};
    const struct history_event **events = xcalloc(h->n_events + 1, sizeof *events);
    size_t n = 0;
    for (size_t i = 0; i < h->n_events; i++) {
        if (history_event_live(h, i)) {
            events[n++] = &h->events[i];
            j.zero_ns = h->events[i].start_ns < j.zero_ns ? h->events[i].start_ns : j.zero_ns;
        }
    }
    qsort(events, n, sizeof *events, by_key);
    for (size_t from = 0, to; from < n; from = to) {
        for (to = from + 1; to < n && bytes_equal(events[to]->key, events[from]->key); to++) {
        }
        judge_key(&j, events + from, to - from);
    }
    free(events);
    if (report->keys_too_hard > 0) {
        report->status = LINEAR_TOO_HARD;
    }
    if (report->keys_not_linearizable > 0) {
        report->status = LINEAR_NOT_LINEARIZABLE;
        linear_words(
            &report->explanation, "Times count from the start of the first operation of the history.\n");
    }
    return report->status;
}

void linear_report_deinit(struct linear_report *report)
{
    buf_deinit(&report->explanation);
}

const char *linear_status_text(enum linear_status status)
{
    switch (status) {
    case LINEAR_LINEARIZABLE:
        return "linearizable";
    case LINEAR_NOT_LINEARIZABLE:
        return "not linearizable";
    case LINEAR_TOO_HARD:
        return "too hard";
    }
    return "?";
}
