/* Load for anything that speaks the Redis protocol (RESP2): closed-loop clients on one thread and one libuv
 * loop.
 *
 * A client writes `pipeline` commands at once, and the next ones when all of them are answered, as the
 * servers' own benchmarks do it. Against a cluster each client belongs to one master (they are spread over
 * them round robin) and draws keys of that master's slots, over a connection of its own; a MOVED is counted,
 * followed, and makes the load ask for the slots again. Any other error is counted, and a connection that
 * breaks ends the load: what is measured here is a healthy server. */
#ifndef WB_TOOLS_WBBENCH_REDIS_LOAD_H
#define WB_TOOLS_WBBENCH_REDIS_LOAD_H

#include "proto/limits.h"
#include "tools/wbbench/histogram.h"

#include <stdbool.h>
#include <stddef.h>

enum redis_command { REDIS_SET, REDIS_GET };

/* WAITAOF 1 1: behind each SET in the same write, and a SET is done when both are answered; or once for all
 * SETs of a write, which are done when it is answered: behind them in the same write, or in a write of its
 * own when they are answered. */
enum redis_wait { REDIS_WAIT_NONE, REDIS_WAIT_EACH, REDIS_WAIT_BURST, REDIS_WAIT_AFTER };

enum {
    REDIS_KINDS = 8,
    REDIS_KIND_PIDS = 16,
    REDIS_WORDS = 16,
    REDIS_WORD_BYTES = 32,
    REDIS_KEY_DIGITS = 12
};

/* Processes whose processor time is wanted, under one name; with all their children. */
struct redis_kind {
    char name[REDIS_WORD_BYTES];
    int pids[REDIS_KIND_PIDS];
    unsigned n;
};

struct redis_load_options {
    const char *servers; /* HOST:PORT,...; without `cluster` exactly one */
    bool cluster;
    enum redis_command command;
    enum redis_wait wait; /* not NONE: only SET, and no cluster */
    bool each_key_once;   /* instead of random keys for some time: no figures but the counts */
    unsigned clients;
    unsigned pipeline;
    uint32_t keys;
    const char *key_prefix; /* before REDIS_KEY_DIGITS digits */
    unsigned value_bytes;
    unsigned warm_up_ms; /* not measured */
    unsigned measured_ms;
    unsigned patience_ms; /* so long nobody answers anything before it is an error */
    uint64_t seed;
    struct redis_kind kinds[REDIS_KINDS];
    unsigned n_kinds;
};

struct redis_word {
    char word[REDIS_WORD_BYTES];
    uint64_t count;
};

struct redis_result {
    uint64_t elapsed_ns; /* of the measured part */
    struct histogram ok; /* ns, from the write of its burst to an operation's answer, in the measured part */
    uint64_t longest_pause_ns; /* between two of them */
    unsigned masters;          /* over which the load was spread at the end */
    /* of the whole load, warming up included: */
    uint64_t total;  /* operations that were done */
    uint64_t misses; /* GETs that found no key (among the total) */
    uint64_t moved;
    struct redis_word
        errors[REDIS_WORDS]; /* by the first word of their text; in brackets: the load's own. The first
                                empty word ends them; what has no room is in the last */
    char last_error[256];
    /* processor seconds in the measured part; below 0: not known */
    double generator_seconds;
    double kind_seconds[REDIS_KINDS];
};

/* Run the load; blocks. @out is the caller's, overwritten. False, with @errmsg, when it could not begin. */
bool redis_load_run(
    const struct redis_load_options *options, struct redis_result *out, char *errmsg, size_t errmsg_len);
/* Was there any error? */
bool redis_result_failed(const struct redis_result *r);

#endif
