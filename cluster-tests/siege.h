/* The frame of a test with attackers: a cluster, one of whose nodes is attacked, and friends (steady.h) who
 * use the group that this node leads. Calls fail the running test. Threading: the test's main thread. */
#ifndef WB_CLUSTER_TESTS_SIEGE_H
#define WB_CLUSTER_TESTS_SIEGE_H

#include "cluster-tests/attacker.h"
#include "cluster-tests/health.h"
#include "cluster-tests/junk.h"
#include "cluster-tests/scenario.h"
#include "cluster-tests/steady.h"

struct siege {
    struct scenario *scenario;
    unsigned node; /* the attacked one; it leads group 0 */
    pid_t pid;
    struct sockaddr_in client, peer;
    char prefix[32]; /* of keys of group 0 */
    struct steady *friends;
    struct steady_numbers before;
    struct health health;         /* before, too */
    unsigned slack_us;            /* what a window is allowed beside three times the times before */
    uint64_t resident_bytes;      /* of the attacked node, before the last attack */
    uint64_t most_resident_bytes; /* the same, at most since the last window began */
};

/* Start a cluster with @settings (up to NULL; leaders are not spread) and friends, and measure how they fare.
 */
void siege_begin(struct siege *g, struct scenario *s, const char *const *settings);
/* Stop the friends. Harmless when begun only half, or not at all. */
void siege_end(struct siege *g);

/* Start an attack; the siege fills in the seed, and the client port and its prefix where there are none. Each
 * of the connections must come about. siege_growth_bytes counts from here. */
struct attacker *siege_attack(struct siege *g, const struct attack *attack);
/* A window in the friends' time: its begin; time that passes in it, while memory is watched; its end, which
 * says how they fared. No call of theirs may have failed. Returns whether they felt no more than they may:
 * the slowest call in a hundred took at most three times as long as before and slack_us (5 ms, if nobody
 * changes it). */
void siege_window_begin(struct siege *g);
void siege_window_pass(struct siege *g, unsigned ms);
bool siege_window_end(struct siege *g, const char *when);
/* Whoever else uses the machine makes calls slower and never faster, so there are so many tries to see a fair
 * window. */
enum { SIEGE_TRIES = 3 };
/* Windows of @ms until one is fair. */
void siege_watch_fair(struct siege *g, const char *when, unsigned ms);
/* What to say when none was. */
void siege_fail_unfair(const struct siege *g, const char *when);
/* Wait until the attackers' report says so. */
void siege_await(struct siege *g, const struct attacker *a, const char *what, unsigned timeout_ms,
    bool (*condition)(const struct attack_report *report, void *data), void *data);
/* Wait until the attacked node has no client connection but the friends' and ours. */
void siege_wait_alone(struct siege *g);

/* By how much the attacked node was larger than before the last attack, at most, since the last window began.
 */
uint64_t siege_growth_bytes(const struct siege *g);
void siege_say_report(const struct attack_report *r);

#endif
