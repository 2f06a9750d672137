/* Clients of one Redis port that mean no good: a process of their own, with many connections that each send
 * the same bytes as far as they are taken, and read nothing. Threading: one thread; the process is a fork of
 * this one and uses nothing of it. */
#ifndef WB_CLUSTER_TESTS_REDIS_FLOOD_H
#define WB_CLUSTER_TESTS_REDIS_FLOOD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/types.h>

#include "proto/base/bytes.h"

struct redis_flood {
    struct sockaddr_in address;
    unsigned connections;
    struct bytes payload; /* of each; borrowed until redis_flood_start returns */
    bool come_and_go; /* who has sent it all goes, every other one with a reset, and comes again; so does who
                         is sent away */
};

/* Returns the process, when all connections were begun; -1: there can be none. */
pid_t redis_flood_start(const struct redis_flood *flood);
/* Kill it, which closes its connections, and wait for its end. */
void redis_flood_stop(pid_t pid);

#endif
