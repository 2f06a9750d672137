/* The scripted part: every case of every script, in RESP2 and again in RESP3, compared reply by reply. */
#ifndef WB_CLUSTER_TESTS_REDIS_SCRIPT_PART_H
#define WB_CLUSTER_TESTS_REDIS_SCRIPT_PART_H

#include "cluster-tests/redis/router.h"
#include "cluster-tests/redis/script.h"

struct script_part {
    const char *references[2]; /* addresses: of the reference, and of Valkey for what only that has; NULL:
                                  there is none */
    const char *ours;          /* addresses, with commas between */
    bool refuses;              /* as in struct exchange */
};

struct script_result {
    unsigned cases, differences;
    unsigned left_out; /* cases that want Valkey, which is not there */
    unsigned broken;   /* cases that a server did not answer; after three of them nothing more is played */
    uint64_t replies;
};

/* Run all cases of @s, and show what differs; adds to @result. @name: of the file, for people. */
void script_part_run(
    const struct script_part *part, const struct script *s, const char *name, struct script_result *result);
/* How many commands and subcommands that @ours lists in COMMAND occur in none of the @n scripts; they are
 * shown. The project's own (wb.*) are not counted: no reference has them. -1: COMMAND could not be had. */
int script_part_missing(const char *ours, const struct script *scripts, unsigned n);

#endif
