/* A real server to compare with: redis-server or valkey-server as a cluster of one node with all slots, in a
 * folder of its own, as a child that does not outlive the thread that started it. */
#ifndef WB_CLUSTER_TESTS_REDIS_REFERENCE_H
#define WB_CLUSTER_TESTS_REDIS_REFERENCE_H

#include <sys/types.h>

#include "cluster-tests/redis/wire.h"

struct reference {
    pid_t pid; /* 0: does not run */
    char dir[64];
    char address[WIRE_ADDRESS_BYTES];
};

enum reference_kind { REFERENCE_REDIS, REFERENCE_VALKEY };

/* Start one and wait until its cluster serves. False: it could not be; *@error (at least @error_len bytes)
 * says why. The programs are taken from the PATH: redis-server, or redis-check-rdb, which is the same program
 * under another name, and the like of Valkey. */
bool reference_start(struct reference *r, enum reference_kind kind, char *error, size_t error_len);
/* Kill it and remove its folder. Harmless when it does not run. */
void reference_stop(struct reference *r);

#endif
