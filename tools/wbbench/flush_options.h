/* The command line of `wbbench flush`, and its help. */
#ifndef WB_TOOLS_WBBENCH_FLUSH_OPTIONS_H
#define WB_TOOLS_WBBENCH_FLUSH_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct flush_options {
    const char *cluster;
    const char *database;
    const char *schema;
    uint32_t keys;
    uint32_t drain; /* rows; 0: none */
    unsigned value_bytes;
    unsigned runs;
    bool json;
};

/* Fill @out from the arguments, the first of which is the word `flush` (strings are borrowed from @argv and
 * the environment). -1: go on; otherwise exit with that code, everything was said. */
int flush_options_parse(int argc, char **argv, struct flush_options *out);

#endif
