/* Writers beside us: somebody else may have changed a row, or any row, so what this replica has in memory of
 * it is no answer any more.
 *
 * A clean copy is dropped. A retained one is replicated state: it is marked stale, which counts as not in
 * memory, until a load has compared it with the row (group_load.c). A key that waits for its batch is left
 * alone: the flush will overwrite the other's change. But one whose batch is in flight may be committed
 * already, below that change, and will be clean when this replica learns of it: so it is looked at again
 * then.
 *
 * "Any row" is a walk through the table, a part in each turn, and a second one when batches in flight have
 * ended. */
#include <stdlib.h>
#include <string.h>

#include "node/group_internal.h"
#include "node/state_table.h"
#include "proto/base/alloc.h"

enum {
    SWEEP_LOOKS = 4096, /* in one turn */
    HEARD_MAX = 65536,  /* keys in batches in flight; with more, all keys are looked at */
};

struct heard_key {
    struct heard_key *next;
    uint64_t index; /* applied when it was heard: once F is here, its batch has ended */
    uint32_t len;
    uint8_t data[];
};

struct state_entry *group_known(const struct group *g, struct bytes key)
{
    struct state_entry *e = state_find(&g->state, key);
    return e != NULL && e->stale ? NULL : e;
}

static struct heard_key *pop_heard(struct forgetting *f)
{
    struct heard_key *k = f->first;
    f->first = k->next;
    f->last = f->first == NULL ? NULL : f->last;
    f->n--;
    return k;
}

static void clear_heard(struct forgetting *f)
{
    while (f->first != NULL) {
        free(pop_heard(f));
    }
}

static void sweep_when_flushed(struct group *g)
{
    clear_heard(&g->forgetting); /* the sweep covers them */
    g->forgetting.sweep_later = true;
    g->forgetting.later_index = g->state.applied_index;
}

static void remember(struct group *g, const struct state_entry *e)
{
    struct forgetting *f = &g->forgetting;
    if (f->sweep_later && f->later_index == g->state.applied_index) {
        return;
    }
    if (f->n == HEARD_MAX) {
        sweep_when_flushed(g);
        return;
    }
    struct heard_key *k = xmalloc(sizeof *k + e->key_len);
    *k = (struct heard_key){.index = g->state.applied_index, .len = e->key_len};
    if (e->key_len > 0) {
        memcpy(k->data, e->key, e->key_len);
    }
    *(f->last == NULL ? &f->first : &f->last->next) = k;
    f->last = k;
    f->n++;
}

static void forget_entry(struct group *g, struct state_entry *e)
{
    if (state_entry_evictable(e)) {
        state_forget(&g->state, e);
    } else if (!state_entry_dirty(e)) {
        e->stale = true;
    }
}

static void forget_key(struct group *g, struct bytes key)
{
    struct state_entry *e = state_find(&g->state, key);
    if (e != NULL && e->batch != NULL) {
        remember(g, e);
    } else if (e != NULL) {
        forget_entry(g, e);
    }
}

/* The sweep that follows when F has come covers what is in a batch, but F does not wait for the quarantine's.
 */
static void sweep_entry(struct group *g, struct state_entry *e)
{
    if (e->batch != NULL && e->batch->retry) {
        remember(g, e);
    } else {
        forget_entry(g, e);
    }
}

static void begin_sweep(struct forgetting *f)
{
    if (f->sweeping) {
        f->again =
            true; /* from the beginning, but not before the end: else frequent calls would never see it */
    } else {
        f->sweeping = true;
        f->cursor = 0;
    }
}

void group_forget_clean(struct group *g, struct bytes key)
{
    loads_key_heard(&g->loads, key);
    forget_key(g, key);
}

void group_forget_all_clean(struct group *g)
{
    loads_all_heard(&g->loads);
    begin_sweep(&g->forgetting);
    if (g->state.batch_count > 0) {
        sweep_when_flushed(g);
    }
}

/* ---- What is due in a turn ---- */

/* Those who waited for these have been answered. */
static void forget_overtaken(struct group *g)
{
    struct load *load;
    while ((load = loads_next_overtaken(&g->loads)) != NULL) {
        forget_key(g, load->key);
        free(load);
    }
}

/* A batch that is still in flight though F has passed is one of the quarantine's: look again later. */
static void forget_heard(struct group *g)
{
    struct forgetting *f = &g->forgetting;
    uint64_t flushed = f->n == 0 ? 0 : state_flushed_index(&g->state);
    for (uint32_t n = f->n; n > 0 && f->n > 0 && f->first->index <= flushed; n--) {
        struct heard_key *k = pop_heard(f);
        forget_key(g, bytes_of(k->data, k->len));
        free(k);
    }
}

struct seen {
    struct state_entry **entries;
    uint32_t n, cap;
};

static void see(void *data, const struct state_entry *e)
{
    struct seen *s = data;
    if (s->n == s->cap) {
        s->cap = s->cap == 0 ? SWEEP_LOOKS : 2 * s->cap;
        s->entries = xrealloc(s->entries, s->cap * sizeof *s->entries);
    }
    s->entries[s->n++] = (struct state_entry *)(uintptr_t)e; /* the state's own: it is ours */
}

static void sweep(struct group *g)
{
    struct forgetting *f = &g->forgetting;
    if (f->sweep_later && state_flushed_index(&g->state) >= f->later_index) {
        f->sweep_later = false;
        begin_sweep(f);
    }
    if (!f->sweeping) {
        return;
    }
    struct seen seen = {0};
    f->cursor = state_table_scan(g->state.table, f->cursor, SWEEP_LOOKS, see, &seen);
    for (uint32_t i = 0; i < seen.n; i++) {
        sweep_entry(g, seen.entries[i]);
    }
    free(seen.entries);
    if (f->cursor == 0) {
        f->sweeping = f->again;
        f->again = false;
    }
    if (f->sweeping) {
        group_wake_at(g, g->now_ms + 1);
    }
}

void group_drive_forget(struct group *g)
{
    forget_overtaken(g);
    forget_heard(g);
    sweep(g);
}

void group_forget_deinit(struct group *g)
{
    clear_heard(&g->forgetting);
}
