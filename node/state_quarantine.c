/* Rows that the database refuses: each waits here, with the key's newest value, until it is tried again and
 * accepted, or given up. F has passed them; they are dirty all the same: never evicted, and within the
 * budget. */
#include <stdlib.h>
#include <string.h>

#include "node/state_internal.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"

uint64_t state_quarantine_bytes(const struct state_quarantine *q)
{
    return state_piece_bytes(sizeof *q + strlen(q->message) + 1);
}

struct state_quarantine *state_quarantine_enter(struct state *s, struct state_entry *e, uint64_t first_dirty,
    uint64_t dirty_stamp_ms, const char *sqlstate, struct bytes message)
{
    CHECK(e->quarantine == NULL && first_dirty != 0);
    size_t len = message.len < STATE_FAULT_MESSAGE_MAX ? message.len : STATE_FAULT_MESSAGE_MAX;
    while (len > 0 && len < message.len && (message.data[len] & 0xc0) == 0x80) {
        len--; /* not within a character of UTF-8 */
    }
    struct state_quarantine *q = xcalloc(1, sizeof *q + len + 1);
    q->entry = e;
    q->first_dirty = first_dirty;
    q->dirty_stamp_ms = dirty_stamp_ms;
    memcpy(q->sqlstate, sqlstate, strnlen(sqlstate, sizeof q->sqlstate - 1));
    if (len > 0) {
        memcpy(q->message, message.data, len);
    }
    if (!state_entry_dirty(e)) {
        s->dirty_bytes += state_entry_weight(e);
    }
    e->quarantine = q;
    list_push_back(&s->quarantine, &q->link);
    s->quarantined++;
    s->quarantine_changes++;
    s->bytes += state_quarantine_bytes(q);
    return q;
}

void state_quarantine_leave(struct state *s, struct state_entry *e)
{
    struct state_quarantine *q = e->quarantine;
    CHECK(q != NULL);
    s->bytes -= state_quarantine_bytes(q);
    s->quarantined--;
    s->quarantine_changes++;
    list_remove(&q->link);
    e->quarantine = NULL;
    free(q);
    if (!state_entry_dirty(e)) {
        s->dirty_bytes -= state_entry_weight(e);
    }
}

bool state_apply_quarantine(
    struct state *s, uint64_t batch, struct bytes key, const char *sqlstate, const char *message)
{
    struct state_entry *e = state_find(s, key);
    if (e == NULL || e->batch == NULL || e->batch->id != batch) {
        return false;
    }
    bool written_since = e->queued.first_dirty != 0;
    struct dirty_place place = e->batched;
    uint32_t attempts = 1;
    uint64_t first_dirty = place.first_dirty, stamp_ms = place.dirty_stamp_ms;
    struct state_quarantine *before = e->quarantine;
    /* The entry is in a batch meanwhile, so it stays dirty. */
    if (before != NULL) {
        attempts = before->attempts + 1;
        state_quarantine_leave(s, e);
    }
    struct state_quarantine *q =
        state_quarantine_enter(s, e, first_dirty, stamp_ms, sqlstate, bytes_of(message, strlen(message)));
    q->attempts = attempts;
    q->refused_stamp_ms = s->stamp_ms;
    q->refused_version = written_since ? 0 : e->version;
    state_batch_leave(s, e);
    if (written_since) {
        state_unqueue(s, e); /* the newest value waits in the quarantine, and is tried next */
    }
    return true;
}

bool state_apply_quarantine_drop(struct state *s, struct bytes key, uint64_t version)
{
    struct state_entry *e = state_find(s, key);
    if (e == NULL || e->quarantine == NULL || e->batch != NULL || e->version != version) {
        return false;
    }
    CHECK(e->queued.first_dirty == 0 && "what is in quarantine is queued only while it is in a batch");
    state_quarantine_leave(s, e);
    if (e->flushed != NULL) {
        state_give_up(s, e); /* an older value, which nobody has any more */
    }
    if (e->value != NULL) {
        state_clean_enter(s, e);
    }
    state_drop(s, e);
    return true;
}
