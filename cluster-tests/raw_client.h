/* A client without any cleverness: one connection to one node, requests as they are given, no redirects, no
 * tries again. What the library hides can be seen here: which node answers what, and when. Nothing here fails
 * a test; the calls say whether it worked. Threading: one thread for each client. */
#ifndef WB_CLUSTER_TESTS_RAW_CLIENT_H
#define WB_CLUSTER_TESTS_RAW_CLIENT_H

#include "proto/base/arena.h"
#include "proto/base/buf.h"
#include "proto/client.pb-c.h"

struct raw_client {
    int fd; /* -1: not connected, or the connection has ended */
    uint64_t last_id;
    struct buf in;
    struct arena arena; /* of the newest answer */
};

/* Connect to @address, "127.0.0.1:7101" (numbers only). @c is new, or was closed. False, and @c needs no
 * closing: nobody accepts there. */
bool raw_client_open(struct raw_client *c, const char *address, unsigned timeout_ms);
/* Also needed when the connection has ended. Harmless when it is closed already, or all zero but for fd = -1.
 */
void raw_client_close(struct raw_client *c);

/* Send @request, which is borrowed; its id is set to a new one, which is returned. 0: the connection has
 * ended. */
uint64_t raw_client_send(struct raw_client *c, Wbrpc__Request *request);
/* Wait for the answer to request @id; other answers that come before it are dropped. It is valid until the
 * next call. NULL: none after @timeout_ms (the connection stays), or the connection ended (fd is -1 then). */
const Wbrpc__Response *raw_client_receive(struct raw_client *c, uint64_t id, unsigned timeout_ms);
/* Both. */
const Wbrpc__Response *raw_client_ask(struct raw_client *c, Wbrpc__Request *request, unsigned timeout_ms);

#endif
