/* The frame of a scenario: its options, its transcript, and that everything is stopped and removed at its
 * end. A test's body reads as a transcript: say what is done, do it, check what must be seen.
 *
 *     static void a_killed_leader_loses_nothing(void **state)
 *     {
 *         struct scenario *s = *state;
 *         cluster_start(&s->cluster, NULL);
 *         ...
 *         s->passed = true;
 *     }
 */
#ifndef WB_CLUSTER_TESTS_SCENARIO_H
#define WB_CLUSTER_TESTS_SCENARIO_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cluster-tests/cluster.h"
#include "cluster-tests/ledger.h"
#include "cluster-tests/load.h"

struct scenario_options {
    unsigned rounds;  /* --rounds N, WBCACHE_TEST_ROUNDS */
    unsigned seconds; /* --seconds N or --minutes N, WBCACHE_TEST_SECONDS */
    uint64_t seed;    /* --seed N, WBCACHE_TEST_SEED; else from the kernel, and printed */
    bool keep;        /* --keep: leave the folder also after success */
};

struct scenario {
    struct scenario_options options;
    uint64_t random;
    struct cluster cluster;
    struct cluster other;  /* a second one, for the scenario that needs it */
    struct ledger *ledger; /* created by the body, destroyed at the end */
    struct load *load;     /* the same; stopped first */
    bool passed;           /* the body's last statement sets it */
};

/* Fill @o from the defaults, the environment and the command line. Exits with the usage on what it does not
 * know. */
void scenario_options(struct scenario_options *o, int argc, char **argv, unsigned rounds, unsigned seconds);

int scenario_setup(void **state);    /* *state: the options */
int scenario_teardown(void **state); /* *state: the scenario */
#define scenario_test(f, options)                                                                            \
    cmocka_unit_test_prestate_setup_teardown(f, scenario_setup, scenario_teardown, options)

/* One line of the transcript, with the time since the program's start. Any thread. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A number below @below, from the scenario's seed. */
unsigned scenario_random(struct scenario *s, unsigned below);
/* Let this time pass: for what only time can show. */
void pass_ms(unsigned ms);

/* Stop the load and say what became of its writes. Fails on a version that did not grow. */
void scenario_stop_load(struct scenario *s);

#endif
