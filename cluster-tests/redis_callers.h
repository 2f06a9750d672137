/* Redis clients in threads, that use the objects of a round all at once, each in its way:
 *
 *   patient    one call at a time, until it is answered
 *   hasty      the same, but a reply that does not come soon is not awaited: the connection is closed
 *   piping     many calls in one piece, of objects that one node leads, some of them its own
 *   changing   WATCH, read, MULTI, write, EXEC
 *   flooding   increments of many cold counters; without a pause while told so
 *   stale      READONLY at any node: what it sees was once true. What a follower has may be old, but was
 *              there: so in the history, it is a read that began before everything, and ended when it did */
#ifndef WB_CLUSTER_TESTS_REDIS_CALLERS_H
#define WB_CLUSTER_TESTS_REDIS_CALLERS_H

#include "cluster-tests/redis_caller.h"

enum redis_role {
    REDIS_PATIENT,
    REDIS_HASTY,
    REDIS_PIPING,
    REDIS_CHANGING,
    REDIS_FLOODING,
    REDIS_STALE,
    REDIS_ROLES
};

/* What they work on. */
struct redis_world {
    struct redis_object objects[REDIS_OBJECTS_MAX];
    unsigned n;
    unsigned hot[REDIS_OBJECTS_MAX], n_hot;   /* most of what is asked is about these */
    unsigned cold[REDIS_OBJECTS_MAX], n_cold; /* shared as well */
    unsigned own[REDIS_OBJECTS_MAX], n_own;   /* the first one is the first piping caller's, and so on */
    unsigned flood, n_flood;                  /* from this number on */
};

struct redis_callers_config {
    const char *addresses;   /* of the nodes' Redis ports; borrowed */
    unsigned n[REDIS_ROLES]; /* how many of each */
    unsigned patience_ms;
    unsigned pause_mean_ms;   /* between two calls, or pieces */
    size_t history_bytes_max; /* of each */
};

struct redis_callers_numbers {
    struct redis_caller_numbers callers;     /* of all of them together; the first error */
    uint64_t stale_reads[CLUSTER_NODES_MAX]; /* values that each node showed to READONLY clients */
    uint64_t stale_gone_back;                /* of them: older than what the same connection had shown */
};

struct redis_callers;

/* Heap object; never NULL. Nobody calls yet. */
struct redis_callers *redis_callers_create(const struct redis_callers_config *config);
/* Everybody begins, with @world (borrowed until redis_callers_stop) and what @seed brings. */
void redis_callers_start(struct redis_callers *all, uint64_t seed, const struct redis_world *world);
/* From now on, flood or don't. Any time. */
void redis_callers_flood(struct redis_callers *all, bool flood);
/* What became of the flood's increments since redis_callers_create: answered, and refused with OOM. Any time.
 */
void redis_callers_flooded(struct redis_callers *all, uint64_t *answered, uint64_t *refused);
/* Everybody ends. The histories are added to @into; OVERLOADED when one was full. */
enum status redis_callers_stop(struct redis_callers *all, struct history *into);
/* Since redis_callers_create. Not while they run. */
struct redis_callers_numbers redis_callers_numbers(const struct redis_callers *all);
/* Stops them when they run. NULL is allowed. */
void redis_callers_destroy(struct redis_callers *all);

#endif
