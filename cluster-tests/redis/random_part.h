/* The random part: many sequences at the same time, each compared reply by reply; what differs is made small
 * and shown. */
#ifndef WB_CLUSTER_TESTS_REDIS_RANDOM_PART_H
#define WB_CLUSTER_TESTS_REDIS_RANDOM_PART_H

#include "cluster-tests/redis/router.h"

enum { RANDOM_SHOWN_MAX = 100 };

struct random_part {
    const char *reference; /* its address */
    const char *ours;      /* addresses, with commas between */
    bool refuses;          /* as in struct exchange */
    uint64_t seed;
    uint64_t first, count; /* the sequences' numbers */
    unsigned lanes;        /* threads, each with one sequence at a time */
    bool lockstep; /* one command at a time, not pipelined: tells whether a difference is the order's fault */
    unsigned shown_max; /* go on until so many kinds of differences were found, at most RANDOM_SHOWN_MAX */
    const char *replay; /* how to run one sequence again: what stands before "--seed S --sequence N" */
};

struct random_result {
    uint64_t sequences, replies, settled_again; /* the last: begun anew because a leader had gone */
    unsigned differences;                       /* kinds of, shown */
    bool broken;                                /* a server could not be asked; shown */
};

/* Run them; shows progress and differences on stdout. */
struct random_result random_part_run(const struct random_part *part);

#endif
