/* A connection to a Redis server: bytes out, raw replies in. Blocking, with a deadline. Threading: one thread
 * each. */
#ifndef WB_CLUSTER_TESTS_REDIS_WIRE_H
#define WB_CLUSTER_TESTS_REDIS_WIRE_H

#include "cluster-tests/redis/reply.h"
#include "proto/base/buf.h"

enum { WIRE_ADDRESS_BYTES = 64, WIRE_TIMEOUT_MS = 30 * 1000 };

struct wire {
    int fd;                           /* -1: closed */
    char address[WIRE_ADDRESS_BYTES]; /* HOST:PORT, of whom it is connected to */
    struct buf in;
    size_t used;     /* of in: replies that were given out */
    char error[128]; /* why the last call failed */
};

/* Connect to @address ("HOST:PORT", an IPv4 address). A failed wire can be closed, or opened again. */
bool wire_open(struct wire *w, const char *address);
void wire_close(struct wire *w);
/* Send all of it. */
bool wire_send(struct wire *w, struct bytes data);
/* Wait for one reply. It lives until the next call with this wire. False: it did not come in time, the
 * connection ended, or the bytes are no reply. */
bool wire_receive(struct wire *w, struct reply *out);
/* Wait until the server closes; @out gets what it sent before (appended). */
bool wire_receive_end(struct wire *w, struct buf *out);

#endif
