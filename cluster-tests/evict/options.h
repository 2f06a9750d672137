/* The command line of wbevict, and its help. */
#ifndef WB_TOOLS_WBEVICT_OPTIONS_H
#define WB_TOOLS_WBEVICT_OPTIONS_H

#include "cluster-tests/evict/policy.h"
#include "cluster-tests/evict/trace.h"

struct study_options {
    const struct trace_kind *trace;   /* NULL: all */
    const struct policy_kind *policy; /* NULL: all */
    int objects;                      /* enum trace_objects, or -1: all but the equal ones */
    uint32_t size_percent;            /* of the footprint; 0: 1, 5, 10 and 25 */
    uint32_t keys;
    uint32_t requests;
    uint64_t seed;
    bool json;
};

/* Fill @out from the arguments. -1: go on; otherwise exit with that code, everything was said. */
int options_parse(int argc, char **argv, struct study_options *out);

#endif
