#include "cluster-tests/linear_starts.h"

#include <stdlib.h>

#include "proto/base/alloc.h"

enum {
    STARTS_MAX =
        6, /* with more than this, a value is open: an operation that could begin it is taken for granted */
    LENGTHS_MAX = 64, /* with more lengths of beginnings, all values are */
    OPEN = STARTS_MAX + 1,
};

struct linear_start {
    uint32_t n; /* or OPEN */
    uint32_t ops[STARTS_MAX];
};

/* What an operation writes if it is the first. */
struct beginning {
    struct bytes text;
    uint64_t hash;
    uint32_t op;
    uint32_t next; /* 1 + the next one in its bucket; 0: none */
};

struct beginnings {
    struct beginning *items;
    uint32_t n;
    uint32_t *buckets; /* 1 + the first one */
    uint32_t n_buckets;
    size_t lengths[LENGTHS_MAX];
    uint32_t n_lengths;
    bool open; /* anything may be a beginning */
    struct buf numbers;
};

static void note_length(struct beginnings *b, size_t len)
{
    for (uint32_t i = 0; i < b->n_lengths; i++) {
        if (b->lengths[i] == len) {
            return;
        }
    }
    if (b->n_lengths == LENGTHS_MAX) {
        b->open = true;
        return;
    }
    b->lengths[b->n_lengths++] = len;
}

static void note(struct beginnings *b, struct bytes text, uint32_t op)
{
    if (text.len == 0) {
        return; /* what follows it counts */
    }
    uint64_t hash = bytes_hash(text, 0);
    uint32_t *bucket = &b->buckets[hash & (b->n_buckets - 1)];
    b->items[b->n] = (struct beginning){.text = text, .hash = hash, .op = op, .next = *bucket};
    *bucket = ++b->n;
    note_length(b, text.len);
}

static void note_op(
    struct beginnings *b, const struct linear_ops *ops, const struct linear_op *op, uint32_t number)
{
    switch (op->event->op) {
    case HISTORY_SET:
    case HISTORY_APPEND:
        note(b, op->event->arg.value, number);
        break;
    case HISTORY_CAS:
        if (op->makes != 0) {
            note(b, op->event->arg.value, number);
        }
        break;
    case HISTORY_INCR:
        if (!op->known) {
            b->open = true;
        } else if (op->makes != 0) {
            size_t from = b->numbers.len;
            linear_value_bytes(&ops->values, op->makes, &b->numbers);
            note(b, bytes_of(b->numbers.data + from, b->numbers.len - from), number);
        }
        break;
    default:
        break;
    }
}

static void find_starts(const struct beginnings *b, struct bytes value, struct linear_start *out)
{
    out->n = b->open || value.len == 0 ? OPEN : 0;
    for (uint32_t i = 0; i < b->n_lengths && out->n != OPEN; i++) {
        if (b->lengths[i] > value.len) {
            continue;
        }
        struct bytes head = bytes_of(value.data, b->lengths[i]);
        uint64_t hash = bytes_hash(head, 0);
        for (uint32_t at = b->buckets[hash & (b->n_buckets - 1)]; at != 0 && out->n != OPEN;
             at = b->items[at - 1].next) {
            const struct beginning *item = &b->items[at - 1];
            if (item->hash != hash || !bytes_equal(item->text, head)) {
                continue;
            }
            if (out->n == STARTS_MAX) {
                out->n = OPEN;
            } else {
                out->ops[out->n++] = item->op;
            }
        }
    }
}

void linear_starts_init(struct linear_starts *starts, const struct linear_ops *ops)
{
    uint32_t n_ops = ops->n_known + ops->n_unknown;
    struct beginnings b = {.n_buckets = 64};
    while (b.n_buckets < n_ops) {
        b.n_buckets *= 2;
    }
    b.items = xcalloc((size_t)n_ops + 1, sizeof *b.items);
    b.buckets = xcalloc(b.n_buckets, sizeof *b.buckets);
    buf_init(&b.numbers);
    /* the texts of numbers are borrowed from here, so it must not move */
    buf_reserve(&b.numbers, (size_t)n_ops * 20 + 1);
    for (uint32_t i = 0; i < n_ops; i++) {
        note_op(&b, ops, i < ops->n_known ? &ops->known[i] : &ops->unknown[i - ops->n_known], i);
    }
    starts->n_values = ops->values.n;
    starts->of = xcalloc(ops->values.n, sizeof *starts->of);
    struct buf text;
    buf_init(&text);
    for (uint32_t value = 1; value < ops->values.n; value++) {
        buf_clear(&text);
        linear_value_bytes(&ops->values, value, &text);
        find_starts(&b, buf_bytes(&text), &starts->of[value]);
    }
    buf_deinit(&text);
    buf_deinit(&b.numbers);
    free(b.items);
    free(b.buckets);
}

void linear_starts_deinit(struct linear_starts *starts)
{
    free(starts->of);
    *starts = (struct linear_starts){0};
}

bool linear_starts_remain(const struct linear_starts *starts, uint32_t value, const bool *done)
{
    if (value >= starts->n_values || starts->of[value].n == OPEN) {
        return true;
    }
    const struct linear_start *start = &starts->of[value];
    for (uint32_t i = 0; i < start->n; i++) {
        if (!done[start->ops[i]]) {
            return true;
        }
    }
    return false;
}
