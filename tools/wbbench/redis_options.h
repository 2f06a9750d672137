/* The command line of `wbbench redis`, and its help. */
#ifndef WB_TOOLS_WBBENCH_REDIS_OPTIONS_H
#define WB_TOOLS_WBBENCH_REDIS_OPTIONS_H

#include "tools/wbbench/redis_load.h"

struct redis_options {
    struct redis_load_options load;
    bool fill; /* first set every key once, unmeasured */
    bool json;
};

/* Fill @out from the arguments, the first of which is the word `redis` (strings are borrowed from @argv and
 * the environment). -1: go on; otherwise exit with that code, everything was said. */
int redis_options_parse(int argc, char **argv, struct redis_options *out);

#endif
