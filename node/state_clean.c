/* This replica's own copies: clean entries, of which the least worthy leave first (evict.h), and remembered
 * absences, of which the oldest do. The log decides nothing here, and nothing here touches what is dirty.
 *
 * Between any two calls of state.h, `evict` holds exactly the entries that have a value and are not dirty:
 * they enter when they are loaded or flushed, and leave when they are written or forgotten. */
#include "node/state_internal.h"
#include "proto/base/check.h"

void state_clean_enter(struct state *s, struct state_entry *e)
{
    CHECK(state_entry_clean(e));
    uint64_t bytes = state_entry_bytes(e);
    s->bytes -= evict_bytes(s->evict);
    evict_add(s->evict, e, bytes);
    s->bytes += evict_bytes(s->evict);
    s->clean_bytes += bytes;
}

void state_clean_leave(struct state *s, struct state_entry *e)
{
    CHECK(state_entry_clean(e));
    uint64_t bytes = state_entry_bytes(e);
    s->bytes -= evict_bytes(s->evict);
    evict_remove(s->evict, e, bytes);
    s->bytes += evict_bytes(s->evict);
    s->clean_bytes -= bytes;
}

void state_put_clean(struct state *s, struct bytes key, uint8_t type, struct value *value, uint64_t version,
    uint64_t expires_at_ms)
{
    CHECK(value != NULL);
    struct state_entry *e = state_find(s, key);
    if (e != NULL && !e->absent) {
        value_unref(value);
        return;
    }
    if (e == NULL) {
        e = state_add(s, key, false);
    }
    state_assign(s, e, type, value, version, expires_at_ms);
    state_clean_enter(s, e);
}

static struct state_entry *oldest_absence(const struct state *s)
{
    return state_queue_entry(s->absent.next);
}

void state_put_absent(struct state *s, struct bytes key)
{
    if (state_find(s, key) == NULL) {
        state_add(s, key, true);
        if (s->absences > STATE_ABSENCES_MAX) {
            state_drop(s, oldest_absence(s));
        }
    }
}

void state_forget(struct state *s, struct state_entry *e)
{
    state_drop(s, e);
}

/* The policy may change its own memory, and remember whom it chose. */
static struct state_entry *choose(struct state *s)
{
    s->bytes -= evict_bytes(s->evict);
    struct state_entry *e = evict_choose(s->evict, state_entry_bytes);
    s->bytes += evict_bytes(s->evict);
    return e;
}

uint64_t state_evict(struct state *s, uint64_t bytes)
{
    uint64_t gone = 0;
    /* Counted is what the entries took, not what the table may give back or take for a moment by shrinking:
     * so the work of a call is bounded by what it was asked for. */
    uint64_t given = 0;
    while (given < bytes) {
        struct state_entry *e = choose(s);
        if (e == NULL) {
            if (list_empty(&s->absent)) {
                break;
            }
            e = oldest_absence(s);
        }
        given += state_entry_bytes(e);
        state_drop(s, e);
        gone++;
    }
    return gone;
}

void state_touch(struct state_entry *e)
{
    evict_touch(e);
}
