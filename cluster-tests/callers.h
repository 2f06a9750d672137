/* Callers: threads that do all that can be done to a key, on a few hot keys and some cold ones, each through
 * a handle of its own, and record what they asked and what they were answered.
 *
 * Most callers are patient: their deadline outlasts every fault, so that the library's tries under one
 * session bring an answer. Some are hasty: their deadlines end in the middle of faults, so that some outcomes
 * stay unknown. Some are sleepy: they rest so long that they may wake up and ask a leader of yesterday. Some
 * do one operation at a time, others have several under way.
 *
 * A result that says 'certainly not done' is recorded as that, so the judge holds the library to it. */
#ifndef WB_CLUSTER_TESTS_CALLERS_H
#define WB_CLUSTER_TESTS_CALLERS_H

#include "cluster-tests/history.h"

enum { CALLERS_MAX = 64, CALLERS_KEYS_MAX = 64, CALLERS_KEY_BYTES = 48 };

/* What they work on. The first keys of both kinds are the hot ones. */
struct callers_keys {
    unsigned counters;     /* keys 0 to counters - 1: only ever incremented and read */
    unsigned all;          /* the rest: everything is done to them */
    unsigned hot_counters; /* at least 1 */
    unsigned hot_others;
    char names[CALLERS_KEYS_MAX][CALLERS_KEY_BYTES];
};

struct callers_config {
    const char *cluster; /* addresses; borrowed until callers_destroy */
    unsigned callers;
    unsigned hasty;  /* of them */
    unsigned sleepy; /* of them */
    unsigned patient_deadline_ms;
    unsigned pause_mean_ms; /* between two operations, or two bursts, of a caller; sleepy ones rest longer */
    size_t history_bytes_max; /* of each caller */
};

struct callers_numbers {
    uint64_t asked[HISTORY_OPS];
    uint64_t answered; /* also with a failed condition */
    uint64_t not_done; /* writes that were certainly not done, and reads without an answer */
    uint64_t unknown;
    uint64_t unknown_of_patient; /* of `unknown` */
    uint64_t slowest_ms;         /* answer to a patient caller */
    uint64_t slow;               /* answers that took longer than a failover needs: what faults delayed */
    uint64_t wrong;              /* answers that must not be */
    char error[256];             /* the first of those, in words */
};

struct callers;

/* Heap object; never NULL. Nobody calls yet. */
struct callers *callers_create(const struct callers_config *config);
/* Everybody begins, with @keys (copied) and what @seed brings. Handles of the time before are
 * used on, but for some that are opened anew. */
void callers_start(struct callers *c, uint64_t seed, const struct callers_keys *keys);
/* Everybody ends: what is under way gets its answer, or its deadline comes. The histories are added to @into;
 * OVERLOADED when one was full, so that its caller stopped early, or @into is. */
enum status callers_stop(struct callers *c, struct history *into);
/* Since callers_create. Not while they run. */
struct callers_numbers callers_numbers(const struct callers *c);
/* Close all handles. NULL is allowed. Stops them when they run. */
void callers_destroy(struct callers *c);

#endif
