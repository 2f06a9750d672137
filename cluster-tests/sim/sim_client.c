/* Clients: bursts of requests over few keys, sent to where the leader was last seen. Most of those that write
 * hold a session with each group. */
#include <stdlib.h>

#include "cluster-tests/sim/sim.h"

enum {
    THINK_MAX_US = 20 * 1000,
    READER_THINK_MAX_US = 4 * 1000,
    WAITING_MAX = 3, /* it goes on while a few requests are still being tried again */
    ONCE_PERMILLE = 800,
    OUTAGE_THINK_FACTOR = 10,
};

/* A session with each group, before anything else is asked of it; some requests go without all the same. */
static void open_session(struct sim_client *c, uint32_t group)
{
    struct sim *sim = c->sim;
    unsigned key = 0;
    while (sim->history.keys[key].group != group) {
        if (++key == sim->n_keys) {
            return; /* nothing is ever asked of it */
        }
    }
    sim_op_start(sim_op_create(sim, SIM_OPEN, &key, 1), c, c->leader[group]);
}

static void burst(struct sim_client *c)
{
    struct sim *sim = c->sim;
    for (uint32_t g = 0; c->once && g < sim->n_groups; g++) {
        if (c->sessions[g].id == 0 && !c->sessions[g].opening) {
            open_session(c, g);
        }
    }
    for (uint64_t left = sim_between(&sim->clock, 1, c->reader ? 2 : SIM_BURST_MAX); left > 0; left--) {
        unsigned node;
        struct sim_op *op = sim_ask(c, &node);
        if (op != NULL) {
            sim_op_start(op, c, node);
        }
    }
}

static void on_think(struct sim_event *event)
{
    struct sim_client *c = list_entry(event, struct sim_client, think);
    struct sim *sim = c->sim;
    if (sim->calm) {
        return;
    }
    if (c->waiting <= (c->reader ? 0 : WAITING_MAX)) {
        burst(c);
    }
    uint64_t most_us = c->reader ? READER_THINK_MAX_US : THINK_MAX_US;
    most_us *= sim->config->outage_minutes != 0 ? OUTAGE_THINK_FACTOR : 1;
    sim_schedule(&sim->clock, &c->think, NULL, sim_between(&sim->clock, 100, most_us), on_think);
}

void sim_client_init(struct sim *sim, unsigned index)
{
    struct sim_client *c = &sim->clients[index];
    c->sim = sim;
    c->index = index;
    c->reader = index == 0;
    c->once = !c->reader && sim_chance(&sim->clock, ONCE_PERMILLE);
    for (uint32_t g = 0; g < sim->n_groups; g++) {
        list_init(&c->sessions[g].awaited);
    }
    sim_schedule(&sim->clock, &c->think, NULL, sim_between(&sim->clock, 1, THINK_MAX_US), on_think);
}

void sim_client_deinit(struct sim_client *c)
{
    free(c->scan);
}
