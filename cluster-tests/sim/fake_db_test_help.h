/* What the tests of the fake database share: a world with two clients, and what they heard. */
#ifndef WB_SIM_FAKE_DB_TEST_HELP_H
#define WB_SIM_FAKE_DB_TEST_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "cluster-tests/sim/fake_db.h"

/* One client, and what it heard. */
struct client {
    struct fake_flusher flusher;
    struct sim_gate gate;
    unsigned inspected, claimed, taken, committed, isolated, noted, failed;
    struct flush_inspected found;
    struct fence_row row;
    uint64_t batch;
    int64_t clock_us;
    uint32_t n_faults;
    char fault[8], sqlstate[6]; /* the last fault's key and code */
    struct flush_error error;
};

struct world {
    struct sim_clock clock;
    struct fake_db db;
    struct client a, b;
};

/* Of both clients; their group is 1. */
extern const struct flush_identity test_identity;

void world_init(struct world *w, uint64_t seed);
void world_deinit(struct world *w);
/* Until nothing happens any more. */
void run(struct world *w);
void run_until(struct world *w, uint64_t at_us);
/* Claim the empty database; take the fence with @term. Both must succeed. */
void claim(struct world *w);
void take(struct world *w, struct client *c, uint64_t term);
/* Set x and y to @value, or delete both when it is NULL. */
void send_as(struct client *c, uint64_t batch, uint64_t predecessor, const char *value, bool isolate);
void send(struct client *c, uint64_t batch, uint64_t predecessor, const char *value);
/* Claim and take; x and y have @value by batch 10; x expires at 1700000000000. */
void fill(struct world *w, const char *value);
/* NULL: there is no such row. */
const struct fake_row *row(struct world *w, const char *key);
void assert_value(struct world *w, const char *key, const char *value);

#endif
