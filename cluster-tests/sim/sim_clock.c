#include "cluster-tests/sim/sim_clock.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"

void sim_clock_init(struct sim_clock *c, uint64_t seed)
{
    *c = (struct sim_clock){.random_state = seed};
}

void sim_clock_deinit(struct sim_clock *c)
{
    free(c->heap);
}

void sim_gate_init(struct sim_gate *g, void *owner)
{
    g->paused = false;
    g->owner = owner;
    list_init(&g->stalled);
}

void sim_gate_pause(struct sim_gate *g)
{
    g->paused = true;
}

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->sequence < b->sequence;
}

static void place(struct sim_clock *c, struct sim_event *event, size_t position)
{
    c->heap[position - 1] = event;
    event->position = position;
}

static void rise(struct sim_clock *c, struct sim_event *event, size_t position)
{
    while (position > 1 && before(event, c->heap[position / 2 - 1])) {
        place(c, c->heap[position / 2 - 1], position);
        position /= 2;
    }
    place(c, event, position);
}

static void sink(struct sim_clock *c, struct sim_event *event, size_t position)
{
    for (size_t child; (child = 2 * position) <= c->n; position = child) {
        if (child < c->n && before(c->heap[child], c->heap[child - 1])) {
            child++;
        }
        if (before(event, c->heap[child - 1])) {
            break;
        }
        place(c, c->heap[child - 1], position);
    }
    place(c, event, position);
}

static void heap_insert(struct sim_clock *c, struct sim_event *event)
{
    if (c->n == c->capacity) {
        c->capacity = c->capacity == 0 ? 256 : 2 * c->capacity;
        c->heap = xrealloc(c->heap, c->capacity * sizeof *c->heap);
    }
    c->n++;
    rise(c, event, c->n);
}

static void heap_remove(struct sim_clock *c, struct sim_event *event)
{
    size_t position = event->position;
    struct sim_event *last = c->heap[--c->n];
    event->position = 0;
    if (last == event) {
        return;
    }
    if (position > 1 && before(last, c->heap[position / 2 - 1])) {
        rise(c, last, position);
    } else {
        sink(c, last, position);
    }
}

void sim_gate_resume(struct sim_clock *c, struct sim_gate *g)
{
    g->paused = false;
    for (struct list *link; (link = list_pop_front(&g->stalled)) != NULL;) {
        struct sim_event *event = list_entry(link, struct sim_event, link);
        link->next = NULL;
        event->at_us = c->now_us;
        event->sequence = c->sequence++;
        heap_insert(c, event);
    }
}

void sim_schedule(struct sim_clock *c, struct sim_event *event, struct sim_gate *gate, uint64_t delay_us,
    void (*fire)(struct sim_event *event))
{
    CHECK(!sim_scheduled(event));
    event->at_us = c->now_us + delay_us;
    event->sequence = c->sequence++;
    event->gate = gate;
    event->fire = fire;
    heap_insert(c, event);
}

void sim_cancel(struct sim_clock *c, struct sim_event *event)
{
    if (event->position != 0) {
        heap_remove(c, event);
    } else if (event->link.next != NULL) {
        list_remove(&event->link);
        event->link.next = NULL;
    }
}

bool sim_step(struct sim_clock *c, struct sim_gate **gate)
{
    *gate = NULL;
    if (c->n == 0) {
        return false;
    }
    struct sim_event *event = c->heap[0];
    heap_remove(c, event);
    CHECK(event->at_us >= c->now_us);
    c->now_us = event->at_us;
    if (event->gate != NULL && event->gate->paused) {
        list_push_back(&event->gate->stalled, &event->link);
        return true;
    }
    *gate = event->gate;
    event->fire(event);
    return true;
}

/* splitmix64. Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014. */
static uint64_t next(struct sim_clock *c)
{
    uint64_t z = (c->random_state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t sim_random(struct sim_clock *c, uint64_t n)
{
    CHECK(n > 0);
    return next(c) % n;
}

uint64_t sim_between(struct sim_clock *c, uint64_t low, uint64_t high)
{
    CHECK(low <= high);
    return low + sim_random(c, high - low + 1);
}

bool sim_chance(struct sim_clock *c, unsigned permille)
{
    return sim_random(c, 1000) < permille;
}
