#include "flush/flush_slots.h"

#include "proto/base/check.h"

void flush_slots_init(struct flush_slots *s, unsigned max)
{
    CHECK(max > 0);
    s->max = max;
    s->used = 0;
    list_init(&s->waiting);
}

void flush_slot_init(struct flush_slot *slot, void (*granted)(void *data), void *data)
{
    *slot = (struct flush_slot){.granted = granted, .data = data};
    list_init(&slot->link);
}

static void grant_next(struct flush_slots *s)
{
    while (s->used < s->max && !list_empty(&s->waiting)) {
        struct flush_slot *slot = list_entry(list_pop_front(&s->waiting), struct flush_slot, link);
        slot->waiting = false;
        slot->held = true;
        s->used++;
        slot->granted(slot->data);
    }
}

bool flush_slots_take(struct flush_slots *s, struct flush_slot *slot)
{
    CHECK(!slot->held && !slot->waiting);
    if (s->used < s->max && list_empty(&s->waiting)) {
        slot->held = true;
        s->used++;
        return true;
    }
    slot->waiting = true;
    list_push_back(&s->waiting, &slot->link);
    return false;
}

void flush_slots_give(struct flush_slots *s, struct flush_slot *slot)
{
    if (slot->waiting) {
        slot->waiting = false;
        list_remove(&slot->link);
    } else if (slot->held) {
        slot->held = false;
        s->used--;
        grant_next(s);
    }
}

bool flush_slots_wanted(const struct flush_slots *s)
{
    return !list_empty(&s->waiting) || s->used > s->max;
}

void flush_slots_resize(struct flush_slots *s, unsigned max)
{
    CHECK(max > 0);
    s->max = max;
    grant_next(s);
}
