/* Traces for the study of eviction: which key is asked for when, and how big it is. Pure: the same options
 * give the same trace. */
#ifndef WB_TOOLS_WBEVICT_TRACE_H
#define WB_TOOLS_WBEVICT_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum trace_objects { TRACE_EQUAL, TRACE_UNIFORM, TRACE_LOGNORMAL, TRACE_OBJECTS };

extern const char *const trace_objects_names[TRACE_OBJECTS];

/* What a trace is like. Shares are of all requests; what they leave are reads of popular keys. */
struct trace_kind {
    const char *name;
    double skew; /* of the popular keys: the one of rank r is asked for in proportion to 1 / r^skew */
    double scan; /* share of sequential reads of keys that are never asked for again */
    double
        loop; /* share of sequential reads that go round and round over a fifth more than the cache holds */
    double writes; /* share of writes of popular keys */
    bool shifting; /* the popular keys change all the time */
    const char *help;
};

extern const struct trace_kind trace_kinds[];
extern const size_t trace_kinds_n;

struct trace_options {
    uint32_t keys;     /* popular keys, 1000..10 million; the footprint is theirs alone */
    uint32_t requests; /* 1..1000 million */
    double cache;      /* what share of the footprint the cache holds, above 0: a loop depends on it */
    enum trace_objects objects;
    uint64_t seed;
};

struct trace_request {
    uint32_t key : 31;
    uint32_t write : 1;
};

struct trace {
    struct trace_request *requests;
    uint32_t requests_n;
    uint32_t *bytes;    /* of each key, with the overhead of an entry */
    uint32_t keys_n;    /* popular, looped over and scanned */
    uint64_t footprint; /* bytes of all popular keys */
    double cache;       /* as in the options */
};

/* Make a trace; free it with trace_deinit. Cannot fail. */
void trace_init(struct trace *t, const struct trace_kind *kind, const struct trace_options *options);
void trace_deinit(struct trace *t);

#endif
