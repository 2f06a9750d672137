/* The load itself: many closed-loop clients on one thread and one libuv loop.
 *
 * Each client keeps `pipeline` requests under way and has its own connection to each node that it needs. It
 * sends a key's request to the leader of the key's group and follows redirects. "Nothing was done" answers
 * are tried again until the request's deadline; the time counts from the first try. Writes whose connection
 * broke are unknown. */
#ifndef WB_TOOLS_WBBENCH_ENGINE_H
#define WB_TOOLS_WBBENCH_ENGINE_H

#include <stdbool.h>
#include <stddef.h>

#include "tools/wbbench/histogram.h"
#include "tools/wbbench/keys.h"

enum { BENCH_STATUSES = 32 };

struct bench_options {
    const char *cluster;
    unsigned clients;
    unsigned pipeline;
    uint64_t keys;
    const char *key_prefix;
    unsigned value_bytes;
    double ratio; /* of reads */
    enum keys_distribution distribution;
    double theta;
    unsigned seconds;  /* stop after so long; 0: no limit */
    uint64_t requests; /* stop after so many; 0: no limit */
    unsigned deadline_ms;
    uint64_t seed;
    bool fill; /* first set every key once, unmeasured */
    bool json;
};

struct bench_result {
    uint64_t elapsed_ns; /* from the first request to the end, or to the last answer when that came later */
    struct histogram reads;  /* ns; OK only, keys not found included */
    struct histogram writes; /* ns; OK only */
    uint64_t misses;         /* reads that found no key (they are in `reads`) */
    uint64_t unknown;        /* writes: answered UNKNOWN, or under way when their connection broke */
    uint64_t unanswered;     /* reads under way when the connection broke; anything without an answer past its
                                deadline */
    uint64_t errors[BENCH_STATUSES]; /* other answers by status (higher ones in the last), among them requests
                                        given up at the deadline under the last status seen */
    uint64_t redirects;
    uint64_t retries;          /* tried again because nothing was done */
    uint64_t reconnects;       /* connections that broke */
    uint64_t longest_pause_ns; /* between two OK answers */
    char last_error[256];      /* the last error's text from a node, or "" */
};

/* Run the load; blocks. @out is the caller's, overwritten. False, with @errmsg, when no node could be asked.
 */
bool engine_run(
    const struct bench_options *options, struct bench_result *out, char *errmsg, size_t errmsg_len);

#endif
