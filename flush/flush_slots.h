/* The connections that the flushes of one node's groups may have at the same time: a number of slots, and
 * those who wait for one, in the order in which they came. Pure.
 *
 * A group asks when something of its is due, so who has waited longest has the oldest rows. Nobody is made to
 * give up a slot: the holders ask whether they are wanted (flusher.h), and give theirs back between two
 * batches. */
#ifndef WB_FLUSH_FLUSH_SLOTS_H
#define WB_FLUSH_FLUSH_SLOTS_H

#include <stdbool.h>

#include "proto/base/list.h"

struct flush_slots {
    unsigned max, used;
    struct list waiting; /* of flush_slot.link */
};

/* One group's part in it. */
struct flush_slot {
    struct list link; /* in flush_slots.waiting while it waits */
    bool waiting, held;
    void (*granted)(void *data); /* it is held now */
    void *data;
};

void flush_slots_init(struct flush_slots *s, unsigned max);
void flush_slot_init(struct flush_slot *slot, void (*granted)(void *data), void *data);

/* True: @slot is held at once. False: it waits, and `granted` is called later, from inside another one's call
 * of flush_slots_give or flush_slots_resize. */
bool flush_slots_take(struct flush_slots *s, struct flush_slot *slot);
/* Held or waiting or neither: afterwards it is neither. */
void flush_slots_give(struct flush_slots *s, struct flush_slot *slot);
/* Does somebody wait for what a holder has? Also when there are more holders than slots now. */
bool flush_slots_wanted(const struct flush_slots *s);
/* From now on there are @max (at least 1). */
void flush_slots_resize(struct flush_slots *s, unsigned max);

#endif
