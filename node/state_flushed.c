/* Retention: the batches that the database has, and of their keys those that no later batch wrote. When the
 * database goes back to before a batch, that batch's keys are dirty again, with their newest values.
 *
 * Time and memory bound what is kept: the oldest go first, and only when a batch was flushed, so that nothing
 * is given up while the database is away. A record whose keys were given up stays, with their count, for the
 * day when they would have been needed. */
#include <stdlib.h>

#include "node/state_internal.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"

static struct state_flushed *record(struct list *link)
{
    return list_entry(link, struct state_flushed, link);
}

static struct state_entry *retained_entry(struct list *link)
{
    return list_entry(link, struct state_entry, retained);
}

static void record_free(struct state *s, struct state_flushed *f)
{
    CHECK(list_empty(&f->places));
    if (s->trimming == f) {
        s->trimming = NULL;
    }
    list_remove(&f->link);
    s->flushed_count--;
    s->bytes -= STATE_FLUSHED_BYTES;
    free(f);
}

/* Too many records: the two oldest become one, which says what is true of both. */
static void merge_oldest(struct state *s)
{
    struct state_flushed *oldest = record(s->flushed.next), *next = record(oldest->link.next);
    list_for_each (link, tmp, &next->places) {
        struct state_entry *e = retained_entry(link);
        e->flushed = oldest;
        list_remove(link);
        list_push_back(&oldest->places, link);
    }
    oldest->id = next->id;
    oldest->stamp_ms = next->stamp_ms;
    /* What was undone was counted when it was: it adds nothing to one that was not. */
    oldest->trimmed = (oldest->undone && !next->undone ? 0 : oldest->trimmed) +
                      (next->undone && !oldest->undone ? 0 : next->trimmed);
    oldest->undone = oldest->undone && next->undone;
    if (next->first_dirty < oldest->first_dirty) {
        oldest->first_dirty = next->first_dirty;
        oldest->dirty_stamp_ms = next->dirty_stamp_ms;
    }
    if (s->trimming == next) {
        s->trimming = oldest;
    }
    record_free(s, next);
}

struct state_flushed *state_flushed_add(
    struct state *s, uint64_t id, uint64_t first_dirty, uint64_t dirty_stamp_ms, uint64_t stamp_ms)
{
    struct state_flushed *f = xcalloc(1, sizeof *f);
    f->id = id;
    f->first_dirty = first_dirty;
    f->dirty_stamp_ms = dirty_stamp_ms;
    f->stamp_ms = stamp_ms;
    list_init(&f->places);
    list_push_back(&s->flushed, &f->link);
    s->flushed_count++;
    s->bytes += STATE_FLUSHED_BYTES;
    return f;
}

void state_retain(struct state *s, struct state_flushed *f, struct state_entry *e)
{
    if (e->flushed != NULL) {
        state_unretain(s, e);
    }
    e->flushed = f;
    list_push_back(&f->places, &e->retained);
    s->retained++;
    s->retained_bytes += state_entry_weight(e) + STATE_RETAINED_BYTES;
}

void state_unretain(struct state *s, struct state_entry *e)
{
    CHECK(e->flushed != NULL);
    list_remove(&e->retained);
    e->flushed = NULL;
    e->stale = false;
    s->retained--;
    s->retained_bytes -= state_entry_weight(e) + STATE_RETAINED_BYTES;
}

void state_give_up(struct state *s, struct state_entry *e)
{
    e->flushed->trimmed++;
    state_unretain(s, e);
}

static bool too_old(const struct state *s, const struct state_flushed *f)
{
    return s->stamp_ms > f->stamp_ms && s->stamp_ms - f->stamp_ms > s->retention_ms;
}

/* Give up @f's keys from the oldest on: all of them when it is too old, else until memory is as agreed. */
static void trim_record(struct state *s, struct state_flushed *f)
{
    while (!list_empty(&f->places) && (too_old(s, f) || s->retained_bytes > s->retention_bytes)) {
        struct state_entry *e = retained_entry(f->places.next);
        bool dirty = state_entry_dirty(e);
        bool stale = e->stale;
        bool refused = e->quarantine != NULL;
        state_unretain(s, e);
        /* A dirty one will be written anyway; but one in quarantine may be dropped. */
        f->trimmed += !dirty || refused;
        if (!dirty) {
            if (stale && e->value != NULL) {
                state_clean_enter(s, e);
                state_drop(s, e); /* it was no answer already: the row may be another's */
            } else {
                state_settle(s, e);
            }
        }
    }
}

void state_trim(struct state *s)
{
    while (s->flushed_count > STATE_FLUSHED_MAX) {
        merge_oldest(s);
    }
    struct state_flushed *f = s->trimming != NULL       ? s->trimming
                              : list_empty(&s->flushed) ? NULL
                                                        : record(s->flushed.next);
    while (f != NULL) {
        trim_record(s, f);
        s->trimming = f;
        if (!list_empty(&f->places) || f->link.next == &s->flushed) {
            break;
        }
        f = record(f->link.next);
    }
}

/* The records later than @batch: the oldest write that they hold, and how many rows of them, which the
 * database had until now, are not remembered. False when there are none. */
static bool later_than(const struct state *s, uint64_t batch, struct dirty_place *oldest, uint64_t *gone)
{
    bool any = false;
    *gone = 0;
    for (struct list *link = s->flushed.prev; link != &s->flushed; link = link->prev) {
        const struct state_flushed *f = record(link);
        if (f->id <= batch) {
            break;
        }
        if (!any || f->first_dirty < oldest->first_dirty) {
            oldest->first_dirty = f->first_dirty;
            oldest->dirty_stamp_ms = f->dirty_stamp_ms;
        }
        *gone += f->undone ? 0 : f->trimmed;
        any = true;
    }
    return any;
}

/* All that @f holds is dirty again, at the head of the queue. The record stays: the newer database may come
 * back, and go back in its turn. */
static void undo_record(struct state *s, struct state_flushed *f, const struct dirty_place *oldest)
{
    f->undone = true;
    while (!list_empty(&f->places)) {
        struct state_entry *e = retained_entry(f->places.prev);
        state_unretain(s, e);
        if (e->quarantine != NULL) {
            f->trimmed++; /* its newest value is there, and named; but it may be dropped, and the database
                             come back */
            continue;
        }
        bool tied = e->tied;
        if (e->queued.first_dirty != 0) {
            state_unqueue(s, e);
        }
        state_enqueue_before(s, e, s->queue.next, oldest->first_dirty, oldest->dirty_stamp_ms);
        if (tied) {
            state_tie(s, e);
        }
    }
}

/* Of what is dirty the database may lack more now than it did: older values of it, which nothing remembers
 * any more, were in the batches that were undone. So none of it is younger than the oldest of those. */
static void backdate(struct state *s, const struct dirty_place *oldest)
{
    list_for_each (link, tmp, &s->quarantine) {
        struct state_quarantine *q = list_entry(link, struct state_quarantine, link);
        if (q->first_dirty > oldest->first_dirty) {
            q->first_dirty = oldest->first_dirty;
            q->dirty_stamp_ms = oldest->dirty_stamp_ms;
        }
    }
    list_for_each (link, tmp, &s->queue) {
        struct state_entry *e = list_entry(link, struct state_entry, queued.link);
        if (e->queued.first_dirty <= oldest->first_dirty) {
            continue;
        }
        e->queued.first_dirty = oldest->first_dirty;
        e->queued.dirty_stamp_ms = oldest->dirty_stamp_ms;
    }
}

bool state_apply_rewind(struct state *s, uint64_t last_batch)
{
    if (last_batch == s->last_batch || last_batch > s->newest_batch) {
        return false;
    }
    uint64_t before = state_flushed_index(s);
    state_apply_flush_abort(s, 0);
    struct dirty_place oldest = {0};
    uint64_t gone;
    bool any = later_than(s, last_batch, &oldest, &gone);
    if (any && !list_empty(&s->queue) &&
        state_queue_entry(s->queue.next)->queued.first_dirty < oldest.first_dirty) {
        oldest =
            state_queue_entry(s->queue.next)->queued; /* older ones wait already: the queue stays in order */
    }
    bool first = true, other = false;
    for (struct list *link = s->flushed.prev; link != &s->flushed; link = link->prev) {
        struct state_flushed *f = record(link);
        if (f->id > last_batch) {
            if (!f->undone) {
                undo_record(s, f, &oldest);
            }
            continue;
        }
        /* Is it the database that we had before it went back? Then it has what was undone. */
        other = first ? f->undone : other;
        first = false;
        f->undone = f->undone && !other;
    }
    if (any) {
        backdate(s, &oldest);
    }
    if (gone > 0) {
        s->lost += gone;
        s->lost_stamp_ms = s->stamp_ms;
    }
    if (last_batch < s->last_batch) {
        s->rewinds++;
        s->recover_index = before > s->recover_index ? before : s->recover_index;
    }
    s->last_batch = last_batch;
    return true;
}

bool state_recovering(const struct state *s)
{
    return state_flushed_index(s) < s->recover_index;
}

void state_apply_control(struct state *s, const struct state_control *control)
{
    s->control = *control;
}

void state_apply_loss_acknowledged(struct state *s, uint64_t rows)
{
    s->lost -= rows < s->lost ? rows : s->lost;
    s->lost_stamp_ms = s->lost > 0 ? s->lost_stamp_ms : 0;
}

void state_apply_retention(struct state *s, uint64_t retention_ms, uint64_t retention_bytes)
{
    s->retention_named = true;
    s->retention_ms = retention_ms;
    s->retention_bytes = retention_bytes;
}

bool state_apply_forget(struct state *s, struct bytes key, uint64_t version)
{
    struct state_entry *e = state_find(s, key);
    if (e == NULL || state_entry_dirty(e) || e->version != version) {
        return false;
    }
    if (e->flushed != NULL) {
        state_give_up(s, e);
        if (e->value != NULL) {
            state_clean_enter(s, e);
        }
    }
    state_drop(s, e);
    return true;
}

void state_flushed_free_all(struct state *s)
{
    list_for_each (link, tmp, &s->flushed) {
        free(record(link));
    }
    list_init(&s->flushed);
}
