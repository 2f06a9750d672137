#include "cluster-tests/linear_versions.h"

#include <inttypes.h>
#include <stdlib.h>

#include "cluster-tests/linear_words.h"
#include "proto/base/alloc.h"

/* An operation, by its end or by a version. */
struct entry {
    uint64_t by;
    const struct linear_op *op;
    bool wrote;     /* by version: it wrote it, else it saw it */
    bool has_value; /* by version: it says which value that version is */
    uint32_t value;
};

static int compare(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->by != y->by) {
        return x->by < y->by ? -1 : 1;
    }
    if (x->wrote != y->wrote) {
        return x->wrote ? -1 : 1;
    }
    return x->op < y->op ? -1 : x->op > y->op;
}

static bool disagree(struct buf *why, uint64_t zero_ns, const char *rule, const struct linear_op *first,
    const struct linear_op *second)
{
    linear_words(why, "  %s:\n    ", rule);
    linear_words_op(why, first->event, zero_ns);
    linear_words(why, "\n    ");
    linear_words_op(why, second->event, zero_ns);
    linear_words(why, "\n");
    return false;
}

static uint64_t newest_version(const struct linear_op *op)
{
    return op->version_written > op->version_seen ? op->version_written : op->version_seen;
}

static bool passes_time(
    struct buf *why, uint64_t zero_ns, const struct linear_op *earlier, const struct linear_op *op)
{
    uint64_t floor = newest_version(earlier);
    if (op->version_seen != 0 && op->version_seen < floor) {
        return disagree(why, zero_ns,
            "the first operation had ended before the second one began, which saw an older version", earlier,
            op);
    }
    if (op->version_written != 0 && op->version_written <= floor) {
        return disagree(why, zero_ns,
            "the first operation had ended before the second one began, which wrote no newer version",
            earlier, op);
    }
    return true;
}

/* Versions rise with time. */
static bool rise(const struct linear_ops *ops, uint64_t zero_ns, struct buf *why)
{
    struct entry *by_end = xcalloc((size_t)ops->n_known + 1, sizeof *by_end);
    for (uint32_t i = 0; i < ops->n_known; i++) {
        by_end[i] = (struct entry){.by = ops->known[i].end_ns, .op = &ops->known[i]};
    }
    qsort(by_end, ops->n_known, sizeof *by_end, compare);
    const struct linear_op *newest = NULL; /* among those that ended before */
    uint32_t ended = 0;
    bool ok = true;
    for (uint32_t i = 0; ok && i < ops->n_known; i++) {
        const struct linear_op *op = &ops->known[i];
        for (; by_end[ended].by < op->start_ns; ended++) {
            if (newest == NULL || newest_version(by_end[ended].op) > newest_version(newest)) {
                newest = by_end[ended].op;
            }
        }
        ok = newest == NULL || passes_time(why, zero_ns, newest, op);
        if (ok && op->version_seen != 0 && op->version_written != 0 &&
            op->version_written <= op->version_seen) {
            linear_words(why, "  a write got no newer version than the one that it replaced:\n    ");
            linear_words_op(why, op->event, zero_ns);
            linear_words(why, "\n");
            ok = false;
        }
    }
    free(by_end);
    return ok;
}

static uint32_t list_versions(const struct linear_ops *ops, struct entry *entries)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < ops->n_known; i++) {
        const struct linear_op *op = &ops->known[i];
        enum history_op kind = op->event->op;
        if (op->version_written != 0) {
            bool deletes = kind == HISTORY_DEL || kind == HISTORY_GETDEL;
            entries[n++] = (struct entry){.by = op->version_written,
                .op = op,
                .wrote = true,
                .has_value = deletes || op->makes != 0,
                .value = op->makes};
        }
        if (op->version_seen != 0) {
            entries[n++] = (struct entry){
                .by = op->version_seen, .op = op, .has_value = kind == HISTORY_GET, .value = op->saw};
        }
    }
    return n;
}

/* Each version is one write's, and one value's. */
static bool are_unique(const struct linear_ops *ops, uint64_t zero_ns, struct buf *why)
{
    struct entry *entries = xcalloc(2 * (size_t)ops->n_known + 1, sizeof *entries);
    uint32_t n = list_versions(ops, entries);
    qsort(entries, n, sizeof *entries, compare);
    const struct entry *valued = NULL; /* the first one that says which value this version is */
    bool ok = true;
    for (uint32_t i = 0; ok && i < n; i++) {
        const struct entry *e = &entries[i];
        if (i > 0 && e->wrote && entries[i - 1].wrote && entries[i - 1].by == e->by) {
            ok = disagree(why, zero_ns, "two writes have the same version", entries[i - 1].op, e->op);
        } else if (e->has_value && valued != NULL && valued->by == e->by && valued->value != e->value) {
            ok = disagree(why, zero_ns, "one version has two values", valued->op, e->op);
        } else if (e->has_value && (valued == NULL || valued->by != e->by)) {
            valued = e;
        }
    }
    free(entries);
    return ok;
}

bool linear_versions_agree(const struct linear_ops *ops, uint64_t zero_ns, struct buf *why)
{
    return rise(ops, zero_ns, why) && are_unique(ops, zero_ns, why);
}
