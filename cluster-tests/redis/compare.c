#include "cluster-tests/redis/compare.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"

enum { NEAR_MIN = 1000, NEAR_S = 60, NEAR_MS = 60 * 1000 };
static const int64_t FAR_S = 200000000000; /* relative to now or not */

static const char *const names[COMPARE_KINDS] = {
    [COMPARE_EXACT] = "",
    [COMPARE_ANY_ORDER] = "any-order",
    [COMPARE_PAIRS] = "pairs",
    [COMPARE_SCANNED] = "scanned",
    [COMPARE_SCANNED_PAIRS] = "scanned-pairs",
    [COMPARE_SECONDS] = "seconds",
    [COMPARE_MILLISECONDS] = "milliseconds",
    [COMPARE_SHAPE] = "shape",
    [COMPARE_KIND] = "kind",
    [COMPARE_DRAWN] = "drawn",
    [COMPARE_HELLO] = "hello",
    [COMPARE_COMMANDS] = "commands",
    [COMPARE_HAS] = "has",
    [COMPARE_GIVES] = "gives",
    [COMPARE_REFUSED] = "refused",
    [COMPARE_ERROR_OF] = "error",
};

const char *compare_name(enum compare_kind kind)
{
    return names[kind];
}

enum compare_kind compare_by_name(struct bytes name)
{
    enum compare_kind kind = COMPARE_EXACT;
    while (kind < COMPARE_KINDS && !bytes_equal(name, bytes_from_text(names[kind]))) {
        kind++;
    }
    return kind;
}

static bool same_bytes(const struct reply *a, const struct reply *b)
{
    return bytes_equal(a->whole, b->whole);
}

/* ---- Order ---- */

static int by_bytes(const void *a, const void *b)
{
    return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

/* The children in groups of @step, each as the bytes that it came as, sorted; free() them. */
static struct bytes *sorted(const struct reply *r, uint32_t step, uint32_t *n)
{
    *n = r->children / step;
    struct bytes *out = xcalloc(*n + 1, sizeof *out);
    struct bytes rest = r->inside;
    for (uint32_t i = 0; i < *n; i++) {
        out[i] = bytes_of(rest.data, 0);
        for (uint32_t j = 0; j < step; j++) {
            out[i].len += reply_next(&rest).whole.len;
        }
    }
    qsort(out, *n, sizeof *out, by_bytes);
    return out;
}

static bool same_in_any_order(const struct reply *a, const struct reply *b, uint32_t step)
{
    if (a->type != b->type || a->null != b->null || a->children != b->children || a->children % step != 0) {
        return false;
    }
    uint32_t n;
    struct bytes *left = sorted(a, step, &n);
    struct bytes *right = sorted(b, step, &n);
    bool same = true;
    for (uint32_t i = 0; i < n && same; i++) {
        same = bytes_equal(left[i], right[i]);
    }
    free(left);
    free(right);
    return same;
}

static bool same_scanned(const struct reply *a, const struct reply *b, uint32_t step)
{
    if (a->type != '*' || b->type != '*' || a->children != 2 || b->children != 2) {
        return false;
    }
    struct bytes left = a->inside, right = b->inside;
    struct reply cursor_a = reply_next(&left), cursor_b = reply_next(&right);
    struct reply list_a = reply_next(&left), list_b = reply_next(&right);
    return same_bytes(&cursor_a, &cursor_b) && same_in_any_order(&list_a, &list_b, step);
}

/* ---- Times ---- */

/* Beyond the year 9999 one time is as good as another: PostgreSQL's calendar is not Redis'. */
static bool same_times(const struct reply *a, const struct reply *b, int64_t leeway, int64_t far)
{
    int64_t left, right;
    if (a->type != b->type || !reply_number(a, &left) || !reply_number(b, &right) || left <= NEAR_MIN ||
        right <= NEAR_MIN) {
        return same_bytes(a, b);
    }
    return llabs(left - right) <= leeway || (left >= far && right >= far);
}

/* ---- Shape ---- */

static bool same_shape(const struct reply *a, const struct reply *b)
{
    if (a->type != b->type || a->null != b->null || (a->children == 0) != (b->children == 0)) {
        return false;
    }
    uint32_t n = a->children == b->children || a->children == 0 ? a->children : 1;
    struct bytes inside_a = a->inside, inside_b = b->inside;
    bool same = true;
    for (uint32_t i = 0; i < n && same; i++) {
        struct reply child_a = reply_next(&inside_a), child_b = reply_next(&inside_b);
        same = same_shape(&child_a, &child_b);
    }
    return same;
}

/* ---- What was drawn at random ---- */

static bool occurs(struct bytes text, const struct reply *in)
{
    if (!in->null && in->children == 0 && bytes_equal(in->text, text)) {
        return true;
    }
    struct bytes inside = in->inside;
    for (uint32_t i = 0; i < in->children; i++) {
        struct reply child = reply_next(&inside);
        if (occurs(text, &child)) {
            return true;
        }
    }
    return false;
}

static bool all_occur(const struct reply *r, const struct reply *in)
{
    if (r->type != '*' && r->type != '~') {
        return r->null || occurs(r->text, in);
    }
    struct bytes inside = r->inside;
    bool all = true;
    for (uint32_t i = 0; i < r->children && all; i++) {
        struct reply child = reply_next(&inside);
        all = all_occur(&child, in);
    }
    return all;
}

static bool well_drawn(const struct reply *a, const struct reply *b, const struct reply *before)
{
    return a->children == b->children && same_shape(a, b) && before != NULL && all_occur(b, before);
}

/* ---- Answers about commands and connections ---- */

static bool same_hello(const struct reply *a, const struct reply *b)
{
    if (a->type != b->type || a->children != b->children) {
        return false;
    }
    struct bytes inside_a = a->inside, inside_b = b->inside;
    bool same = true, id = false;
    for (uint32_t i = 0; i < a->children && same; i++) {
        struct reply child_a = reply_next(&inside_a), child_b = reply_next(&inside_b);
        same = id ? child_b.type == ':' : same_bytes(&child_a, &child_b);
        id = i % 2 == 0 && bytes_equal(child_a.text, bytes_from_text("id"));
    }
    return same;
}

static bool same_command(const struct reply *a, const struct reply *b)
{
    enum { NAME, ARITY, FLAGS, FIRST, LAST, STEP, CATEGORIES, COMPARED };
    if (a->null || b->null || a->type != b->type || a->children != b->children || a->children < COMPARED) {
        return same_bytes(a, b);
    }
    struct bytes inside_a = a->inside, inside_b = b->inside;
    bool same = true;
    for (int i = NAME; i < COMPARED && same; i++) {
        struct reply child_a = reply_next(&inside_a), child_b = reply_next(&inside_b);
        same = i == FLAGS || i == CATEGORIES ? same_in_any_order(&child_a, &child_b, 1)
                                             : same_bytes(&child_a, &child_b);
    }
    return same;
}

static bool same_commands(const struct reply *a, const struct reply *b)
{
    if (a->type != '*' || b->type != '*' || a->children != b->children) {
        return false;
    }
    struct bytes inside_a = a->inside, inside_b = b->inside;
    bool same = true;
    for (uint32_t i = 0; i < a->children && same; i++) {
        struct reply child_a = reply_next(&inside_a), child_b = reply_next(&inside_b);
        same = same_command(&child_a, &child_b);
    }
    return same;
}

static bool has(const struct reply *r, struct bytes word)
{
    return word.len == 0 || memmem(r->whole.data, r->whole.len, word.data, word.len) != NULL;
}

static bool begins(struct bytes text, struct bytes word)
{
    return text.len >= word.len && bytes_equal(bytes_of(text.data, word.len), word);
}

bool compare_replies(enum compare_kind kind, const struct reply *reference, const struct reply *ours,
    struct bytes word, const struct reply *before)
{
    const struct reply *a = reference, *b = ours;
    if (kind == COMPARE_REFUSED || kind == COMPARE_ERROR_OF) {
        return reply_is_error(b) && (kind == COMPARE_REFUSED || begins(b->text, word));
    }
    if (kind == COMPARE_GIVES) {
        return b->whole.len == word.len + 2 && begins(b->whole, word);
    }
    if (reply_is_error(a) || reply_is_error(b)) {
        return same_bytes(a, b);
    }
    switch (kind) {
    case COMPARE_ANY_ORDER:
        return same_in_any_order(a, b, a->type == '%' ? 2 : 1);
    case COMPARE_PAIRS:
        return same_in_any_order(a, b, 2);
    case COMPARE_SCANNED:
        return same_scanned(a, b, 1);
    case COMPARE_SCANNED_PAIRS:
        return same_scanned(a, b, 2);
    case COMPARE_SECONDS:
        return same_times(a, b, NEAR_S, FAR_S);
    case COMPARE_MILLISECONDS:
        return same_times(a, b, NEAR_MS, FAR_S * 1000);
    case COMPARE_SHAPE:
        return same_shape(a, b);
    case COMPARE_KIND:
        return a->type == b->type && a->null == b->null;
    case COMPARE_DRAWN:
        return well_drawn(a, b, before);
    case COMPARE_HELLO:
        return same_hello(a, b);
    case COMPARE_COMMANDS:
        return same_commands(a, b);
    case COMPARE_HAS:
        return a->type == b->type && has(a, word) && has(b, word);
    default:
        return same_bytes(a, b);
    }
}
