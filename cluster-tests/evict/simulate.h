/* Run a trace through a cache of bounded memory. Pure. */
#ifndef WB_TOOLS_WBEVICT_SIMULATE_H
#define WB_TOOLS_WBEVICT_SIMULATE_H

#include "cluster-tests/evict/policy.h"
#include "cluster-tests/evict/trace.h"

struct simulation {
    uint64_t reads; /* after the first quarter of the trace, in which the cache fills */
    uint64_t hits;
    uint64_t read_bytes;
    uint64_t hit_bytes;
    uint64_t evictions;           /* in the whole trace */
    uint64_t capacity;            /* bytes */
    uint64_t used_max;            /* the most bytes that were held after a request */
    double policy_bytes_max;      /* the most that the policy's own memory was, per object held */
    uint64_t resident_n, dirty_n; /* at the end */
};

/* A read that misses brings its key in, clean. A write brings its key in or changes it, and makes it dirty:
 * it cannot be evicted then. It becomes clean after so many requests as half the objects that the cache
 * holds. Dirty objects count against the capacity of @t->cache of the footprint. */
void simulate(const struct trace *t, const struct policy_kind *kind, struct simulation *out);

#endif
