/* Does the database have what memory says it has? One step (group_admin.h, VERIFY) collects keys of a part of
 * the table, loads their rows, and compares.
 *
 * Only a clean key can be compared: PostgreSQL must have its row. It is one when the load is sent and again
 * when the answer comes, with the same version, and we led all the time: so no flush has written the row in
 * between, since flushes are ours and begin when their command applies here. What remains are keys that went
 * away and came back meanwhile: a row that was written by us while the load was under way tells so by its
 * version, since that is above what had applied when the load was sent; and after a REWIND everything is
 * asked again.
 *
 * Happy path: collect -> send -> judge -> (send ->) answered under the lease. A key that is dirty at either
 * end is counted and never reported; one that left memory is not compared; one that the answer says nothing
 * about, or that must be asked again, goes to the end of the line. A standby, a failed load, or a fence row
 * behind ours end the step. */
#include <stdlib.h>
#include <string.h>

#include "node/group_admin.h"
#include "node/group_internal.h"
#include "node/state_table.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"

enum {
    LOAD_KEYS_MAX = 1000,
    LOAD_KEY_BYTES_MAX = 256 * 1024,
    /* A step ends early when it has so many bytes of values to ask for: with large values it would not end
     * before its deadline. */
    STEP_VALUE_BYTES = 16 * 1024 * 1024,
    /* The table is looked at in pieces, so that a step can end between them. */
    PIECE_LOOKS = 16,
};

/* Chooses which keys are compared: the same whichever node leads, whatever the table's seed is. */
#define SAMPLE_SEED UINT64_C(0x7665726966790001)

struct item {
    size_t key_at; /* in verify.keys */
    uint32_t key_len;
    uint64_t version; /* of the entry when the load was sent; of an absence 0 */
};

struct verify {
    struct buf keys;
    struct item *items; /* in the order in which they are asked for */
    uint32_t n, cap;
    uint32_t judged;     /* the items before it are done with */
    uint32_t asked;      /* so many behind them are in the load under way */
    uint64_t last_batch; /* the group's when the load was sent: a database behind it has gone back in time */
    uint64_t applied_index;
    uint64_t rewinds;
};

void group_verify_free(struct verify *v)
{
    if (v != NULL) {
        buf_deinit(&v->keys);
        free(v->items);
        free(v);
    }
}

static struct bytes item_key(const struct verify *v, const struct item *item)
{
    return bytes_of(v->keys.data + item->key_at, item->key_len);
}

static void add_item(struct verify *v, struct item item)
{
    if (v->n == v->cap) {
        v->cap = v->cap == 0 ? 256 : v->cap * 2;
        v->items = xrealloc(v->items, v->cap * sizeof *v->items);
    }
    v->items[v->n++] = item;
}

/* ---- Which keys ---- */

enum standing { COMPARABLE, DIRTY, GONE };

/* Does the database have what @e says, as far as we know? */
static enum standing standing_of(const struct group *g, const struct state_entry *e)
{
    if (e == NULL || e->stale) {
        return GONE;
    }
    return state_entry_dirty(e) || overlay_find(&g->overlay, state_entry_key(e)) != NULL ? DIRTY : COMPARABLE;
}

struct collecting {
    const struct group *g;
    struct group_admin *a;
    uint64_t value_bytes;
};

static bool is_chosen(const struct group_admin *a, struct bytes key)
{
    if (key.len < a->prefix.len ||
        (a->prefix.len > 0 && memcmp(key.data, a->prefix.data, a->prefix.len) != 0)) {
        return false;
    }
    return a->one_in <= 1 || bytes_hash(key, SAMPLE_SEED) % a->one_in == 0;
}

static void collect_one(void *data, const struct state_entry *e)
{
    struct collecting *c = data;
    struct verify *v = c->a->verify;
    struct bytes key = state_entry_key(e);
    c->a->looked++;
    if (!is_chosen(c->a, key)) {
        return;
    }
    enum standing standing = standing_of(c->g, e);
    c->a->dirty += standing == DIRTY ? 1 : 0;
    if (standing == COMPARABLE) {
        add_item(v, (struct item){.key_at = v->keys.len, .key_len = e->key_len, .version = e->version});
        buf_append(&v->keys, key.data, key.len);
        c->value_bytes += e->value == NULL ? 0 : e->value->len;
    }
}

/* A piece is never left half done: the cursor goes by the table's buckets. */
static void collect(struct group *g, struct group_admin *a)
{
    struct collecting c = {.g = g, .a = a};
    uint32_t count = a->count < LIMIT_SCAN_LOOKS ? a->count : LIMIT_SCAN_LOOKS;
    uint32_t looks = 0;
    do {
        a->cursor = state_table_scan(g->state.table, a->cursor, PIECE_LOOKS, collect_one, &c);
        looks += PIECE_LOOKS;
    } while (a->cursor != 0 && looks < count && c.value_bytes < STEP_VALUE_BYTES);
    CHECK(!a->verify->keys.failed);
}

/* ---- Asking ---- */

/* Take the next items that still can be compared, as they are now. Returns how many. */
static uint32_t choose(struct group *g, struct group_admin *a, struct bytes keys[LOAD_KEYS_MAX])
{
    struct verify *v = a->verify;
    uint32_t n = 0, at = v->judged;
    size_t bytes = 0;
    for (; at < v->n && n < LOAD_KEYS_MAX && bytes < LOAD_KEY_BYTES_MAX; at++) {
        struct item item = v->items[at];
        const struct state_entry *e = state_find(&g->state, item_key(v, &item));
        enum standing standing = standing_of(g, e);
        a->dirty += standing == DIRTY ? 1 : 0;
        if (standing == COMPARABLE) {
            item.version = e->version;
            v->items[v->judged + n] = item;
            keys[n++] = item_key(v, &item);
            bytes += item.key_len;
        }
    }
    if (at > v->judged + n) { /* what fell out leaves no gap */
        memmove(&v->items[v->judged + n], &v->items[at], (v->n - at) * sizeof *v->items);
        v->n -= at - v->judged - n;
    }
    v->asked = n;
    return n;
}

static enum evaluated ask(struct group *g, struct group_request *r)
{
    struct group_admin *a = r->admin;
    struct verify *v = a->verify;
    struct bytes keys[LOAD_KEYS_MAX];
    struct flush_identity id;
    uint32_t n = choose(g, a, keys);
    if (n == 0) {
        group_answer(g, r, STATUS_OK, NULL);
        return EVALUATED;
    }
    CHECK(group_identity(g, &id));
    v->last_batch = g->state.last_batch;
    v->applied_index = g->state.applied_index;
    v->rewinds = g->state.rewinds;
    a->token = ADMIN_TOKEN | ++g->admin_token;
    group_move(r, AT_WAIT_ADMIN, &g->admin_waiters);
    g->env.loader->load(g->env.loader_data, a->token, &id, keys, n);
    return EVALUATED;
}

static bool too_many(const struct group *g)
{
    unsigned n = 0;
    for (const struct list *it = g->live.next; it != &g->live && n < ADMIN_VERIFY_MAX; it = it->next) {
        const struct group_request *r = list_entry((struct list *)(uintptr_t)it, struct group_request, live);
        n += r->op == GROUP_ADMIN && r->admin->verify != NULL ? 1 : 0;
    }
    return n >= ADMIN_VERIFY_MAX;
}

enum evaluated group_eval_verify(struct group *g, struct group_request *r)
{
    struct group_admin *a = r->admin;
    if (a->verify == NULL) {
        if (too_many(g)) {
            group_finish(g, r, STATUS_UNAVAILABLE, "too many are comparing this group already; try again");
            return EVALUATED;
        }
        a->verify = xcalloc(1, sizeof *a->verify);
        buf_init(&a->verify->keys);
        collect(g, a);
    }
    return ask(g, r);
}

/* ---- Judging ---- */

/* What the answer says about one key. */
struct told {
    struct bytes key;
    enum { TOLD_ROW, TOLD_BAD, TOLD_LATER } what;
    const struct load_row *row; /* TOLD_ROW */
};

static int told_order(const void *a, const void *b)
{
    return bytes_compare(((const struct told *)a)->key, ((const struct told *)b)->key);
}

/* All that the answer tells, by key. Free it. */
static struct told *sort_answer(const struct load_result *result, size_t *n)
{
    size_t all = (size_t)result->n + result->bad_n + result->later_n;
    struct told *told = xcalloc(all + 1, sizeof *told);
    *n = 0;
    for (uint32_t i = 0; i < result->n; i++) {
        told[(*n)++] = (struct told){result->rows[i].key, TOLD_ROW, &result->rows[i]};
    }
    for (uint32_t i = 0; i < result->bad_n; i++) {
        told[(*n)++] = (struct told){result->bad[i], TOLD_BAD, NULL};
    }
    for (uint32_t i = 0; i < result->later_n; i++) {
        told[(*n)++] = (struct told){result->later[i], TOLD_LATER, NULL};
    }
    qsort(told, *n, sizeof *told, told_order);
    return told;
}

static bool is_over(uint64_t expires_at_ms, uint64_t stamp_ms)
{
    return expires_at_ms != 0 && expires_at_ms <= stamp_ms;
}

/* How the row (NULL: none; @bad: one that cannot be read) differs from @e. What has expired is as good as not
 * there. */
static enum admin_difference_kind difference(
    const struct state_entry *e, const struct load_row *row, bool bad, uint64_t stamp_ms)
{
    bool ours = e->value != NULL && !is_over(e->expires_at_ms, stamp_ms);
    bool theirs = bad || (row != NULL && !is_over(row->expires_at_ms, stamp_ms));
    if (!ours && !theirs) {
        return DIFFERENCE_NONE;
    }
    if (e->value == NULL) {
        return DIFFERENCE_UNEXPECTED;
    }
    if (bad) {
        return DIFFERENCE_CHANGED;
    }
    if (row == NULL) {
        return DIFFERENCE_MISSING;
    }
    if (row->version < e->version) {
        return DIFFERENCE_OLDER;
    }
    bool equal = row->version == e->version && row->expires_at_ms == e->expires_at_ms &&
                 row->type == e->type && value_same(row->type, row->value, value_bytes(e->value));
    return equal ? DIFFERENCE_NONE : DIFFERENCE_CHANGED;
}

/* Versions of our writes up to the log index @index are at most this. */
static uint64_t version_ceiling(const struct group *g, uint64_t index)
{
    return g->state.version_base + (index << 16 | 0xffff);
}

/* Did we write the row while the load was under way? */
static bool written_since(const struct group *g, const struct verify *v, const struct load_row *row)
{
    return row != NULL && row->version > version_ceiling(g, v->applied_index) &&
           row->version <= version_ceiling(g, g->state.applied_index);
}

static void report(struct group_admin *a, const struct state_entry *e, enum admin_difference_kind kind,
    const struct load_row *row)
{
    uint32_t n = a->n_differences;
    if ((n & (n - 1)) == 0) { /* full: it has room for the next power of two */
        a->differences = xrealloc(a->differences, (n == 0 ? 1 : 2 * (size_t)n) * sizeof *a->differences);
    }
    a->differences[a->n_differences++] = (struct admin_difference){
        .key_at = a->names.len,
        .key_len = e->key_len,
        .kind = kind,
        .version = e->version,
        .row_version = row == NULL ? 0 : row->version,
    };
    buf_append(&a->names, e->key, e->key_len);
    CHECK(!a->names.failed);
}

/* False: @item must be asked for again. */
static bool judge_one(struct group *g, struct group_admin *a, const struct item *item,
    const struct told *told, uint64_t stamp_ms)
{
    const struct state_entry *e = state_find(&g->state, item_key(a->verify, item));
    enum standing standing = standing_of(g, e);
    if (standing == DIRTY || (standing == COMPARABLE && e->version != item->version)) {
        a->dirty++; /* or it was, meanwhile */
        return true;
    }
    if (standing == GONE) {
        return true;
    }
    if (told != NULL && told->what == TOLD_LATER) {
        return false;
    }
    const struct load_row *row = told == NULL ? NULL : told->row;
    enum admin_difference_kind kind = difference(e, row, told != NULL && told->what == TOLD_BAD, stamp_ms);
    if (kind != DIFFERENCE_NONE && written_since(g, a->verify, row)) {
        return false;
    }
    a->compared++;
    if (kind != DIFFERENCE_NONE) {
        report(a, e, kind, row);
    }
    return true;
}

static void judge(struct group *g, struct group_admin *a, const struct load_result *result)
{
    struct verify *v = a->verify;
    uint64_t stamp_ms = group_stamp(g);
    bool rewound = g->state.rewinds != v->rewinds;
    size_t n;
    struct told *told = sort_answer(result, &n);
    uint32_t end = v->judged + v->asked;
    for (; v->judged < end; v->judged++) {
        struct item item = v->items[v->judged];
        struct told key = {.key = item_key(v, &item)};
        const struct told *found = n == 0 ? NULL : bsearch(&key, told, n, sizeof *told, told_order);
        if (rewound || !judge_one(g, a, &item, found, stamp_ms)) {
            add_item(v, item);
        }
    }
    v->asked = 0;
    free(told);
}

/* ---- The loader's answers ---- */

/* The request that waits for the load @token, which has ended. */
static struct group_request *waiter(struct group *g, uint64_t token)
{
    list_for_each (it, next, &g->admin_waiters) {
        struct group_request *r = list_entry(it, struct group_request, link);
        if (r->admin->token == token) {
            r->admin->token = 0;
            return r;
        }
    }
    return NULL; /* its time was over, or its office */
}

void group_admin_loaded(struct group *g, uint64_t token, const struct load_result *result)
{
    struct group_request *r = waiter(g, token);
    if (r == NULL) {
        return;
    }
    if (result->in_recovery) {
        group_finish(g, r, STATUS_DATABASE_DOWN, "the database is a standby: connect its primary");
        return;
    }
    if (!result->fence_found || result->last_batch < r->admin->verify->last_batch) {
        const char *why = result->fence_found ? "the database is behind what this cluster has written to it"
                                              : "the database has no fence row of this cluster";
        flush_session_suspect(&g->session, why);
        group_finish(g, r, STATUS_DATABASE_DOWN, why);
        return;
    }
    judge(g, r->admin, result);
    group_move(r, AT_READY, &g->ready);
}

void group_admin_load_failed(struct group *g, uint64_t token, const struct flush_error *error)
{
    struct group_request *r = waiter(g, token);
    if (r != NULL) {
        group_finish(g, r, STATUS_DATABASE_DOWN, error->message);
    }
}
