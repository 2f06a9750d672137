/* Virtual time: one queue of events for the whole simulated world, ordered by (time, sequence), and the one
 * generator of random numbers. Nothing here or above it looks at the real world, so a seed is a run.
 *
 * A gate stands for one process: while it is paused its events wait, in their order, and no later event of
 * that process overtakes them. */
#ifndef WB_SIM_CLOCK_H
#define WB_SIM_CLOCK_H

#include "proto/base/list.h"
#include <stdint.h>

struct sim_gate {
    bool paused;
    struct list stalled; /* of sim_event.link: due, but the process is stopped */
    void *owner;         /* for whoever steps the clock: which process just ran */
};

/* Embedded in the owner's struct. Idle after its memory was zeroed. */
struct sim_event {
    uint64_t at_us;
    uint64_t sequence;
    struct sim_gate *gate;                 /* NULL: not of any process */
    void (*fire)(struct sim_event *event); /* the event is idle again when it is called; it may free itself */
    size_t position;                       /* in the heap, from 1; 0: not there */
    struct list link;                      /* in gate->stalled; next is NULL when not there */
};

struct sim_clock {
    uint64_t now_us;
    uint64_t sequence;
    uint64_t random_state;
    struct sim_event **heap;
    size_t n, capacity;
};

void sim_clock_init(struct sim_clock *c, uint64_t seed);
/* Events that are still scheduled are forgotten; their owners free them. */
void sim_clock_deinit(struct sim_clock *c);

void sim_gate_init(struct sim_gate *g, void *owner);
void sim_gate_pause(struct sim_gate *g);
/* What waited is due now, in its order. */
void sim_gate_resume(struct sim_clock *c, struct sim_gate *g);

/* @event must be idle. */
void sim_schedule(struct sim_clock *c, struct sim_event *event, struct sim_gate *gate, uint64_t delay_us,
    void (*fire)(struct sim_event *event));
/* Harmless when it is idle. */
void sim_cancel(struct sim_clock *c, struct sim_event *event);
static inline bool sim_scheduled(const struct sim_event *event)
{
    return event->position != 0 || event->link.next != NULL;
}

/* Fire the next event. False when there is none. *@gate gets the process that ran, or NULL; no process runs
 * when the event only joined those that wait for a paused one. */
bool sim_step(struct sim_clock *c, struct sim_gate **gate);

/* Uniform in [0, n), in [low, high], and true n times in 1000. */
uint64_t sim_random(struct sim_clock *c, uint64_t n);
uint64_t sim_between(struct sim_clock *c, uint64_t low, uint64_t high);
bool sim_chance(struct sim_clock *c, unsigned permille);

#endif
