/* The command line of wbbench, and its help. */
#ifndef WB_TOOLS_WBBENCH_OPTIONS_H
#define WB_TOOLS_WBBENCH_OPTIONS_H

#include "tools/wbbench/engine.h"

/* Fill @out from the arguments (strings are borrowed from @argv and the environment).
 * -1: go on; otherwise exit with that code, everything was said. */
int options_parse(int argc, char **argv, struct bench_options *out);

#endif
