/* Which entries have an expiry: a binary heap of all of them, the earliest first, in an array that grows and
 * shrinks. Each knows its place in it, so that an expiry that changes or goes costs the heap's height, and no
 * search. Nothing expires here: the leader looks at the top and proposes deletes. */
#include <stdlib.h>

#include "node/state_internal.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"

enum { EXPIRING_MIN = 64 };

uint64_t state_expiring_bytes(const struct state *s)
{
    return s->expiring_cap == 0 ? 0 : state_piece_bytes(s->expiring_cap * sizeof s->expiring[0]);
}

/* Big arrays grow by moving their pages elsewhere in the address space, without a copy. */
static void resize(struct state *s, uint32_t cap)
{
    s->bytes -= state_expiring_bytes(s);
    s->expiring = xrealloc(s->expiring, cap * sizeof s->expiring[0]);
    s->expiring_cap = cap;
    s->bytes += state_expiring_bytes(s);
}

static void release(struct state *s)
{
    s->bytes -= state_expiring_bytes(s);
    free(s->expiring);
    s->expiring = NULL;
    s->expiring_cap = 0;
}

static void seat(struct state *s, uint32_t place, struct state_entry *e)
{
    s->expiring[place] = e;
    e->expiry_place = place + 1;
}

/* Put @e into the heap, whose @place is free, there or as far up or down from it as its time wants. */
static void settle(struct state *s, uint32_t place, struct state_entry *e)
{
    while (place > 0) {
        uint32_t parent = (place - 1) / 2;
        if (s->expiring[parent]->expires_at_ms <= e->expires_at_ms) {
            break;
        }
        seat(s, place, s->expiring[parent]);
        place = parent;
    }
    for (;;) {
        uint64_t child = 2 * (uint64_t)place + 1;
        if (child + 1 < s->expiring_n &&
            s->expiring[child + 1]->expires_at_ms < s->expiring[child]->expires_at_ms) {
            child++;
        }
        if (child >= s->expiring_n || s->expiring[child]->expires_at_ms >= e->expires_at_ms) {
            break;
        }
        seat(s, place, s->expiring[child]);
        place = (uint32_t)child;
    }
    seat(s, place, e);
}

static void add(struct state *s, struct state_entry *e)
{
    if (s->expiring_n == s->expiring_cap) {
        CHECK(s->expiring_cap <= UINT32_MAX / 2);
        resize(s, s->expiring_cap == 0 ? EXPIRING_MIN : 2 * s->expiring_cap);
    }
    s->expiring_n++;
    settle(s, s->expiring_n - 1, e);
}

static void leave(struct state *s, struct state_entry *e)
{
    uint32_t place = e->expiry_place - 1;
    struct state_entry *last = s->expiring[--s->expiring_n];
    e->expiry_place = 0;
    if (last != e) {
        settle(s, place, last);
    }
    if (s->expiring_n == 0) {
        release(s);
    } else if (s->expiring_cap > EXPIRING_MIN && s->expiring_n <= s->expiring_cap / 4) {
        resize(s, s->expiring_cap / 2); /* half full then: neither growing nor shrinking is near */
    }
}

void state_set_expiry(struct state *s, struct state_entry *e, uint64_t expires_at_ms)
{
    e->expires_at_ms = expires_at_ms;
    if (expires_at_ms == 0) {
        if (e->expiry_place != 0) {
            leave(s, e);
        }
    } else if (e->expiry_place == 0) {
        add(s, e);
    } else {
        settle(s, e->expiry_place - 1, e);
    }
}

struct state_entry *state_next_expiring(const struct state *s)
{
    return s->expiring_n > 0 ? s->expiring[0] : NULL;
}
