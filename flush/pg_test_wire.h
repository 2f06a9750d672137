/* For tests: a thread that stands between clients and a server, and hands every byte to a filter, which
 * passes it on, keeps it, changes it or hangs up. For any room's tests. Threading: start, poke and stop from
 * one thread; the filter and the calls on a link belong to the wire's own thread. */
#ifndef WB_FLUSH_PG_TEST_WIRE_H
#define WB_FLUSH_PG_TEST_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/bytes.h"

struct pg_test_wire;
struct pg_test_link; /* one connection: a client's and the server's end */

enum pg_test_side { PG_TEST_CLIENT, PG_TEST_SERVER };

struct pg_test_wire_filter {
    /* Returns what pg_test_link_data() gives. */
    void *(*opened)(void *data, struct pg_test_link *link);
    /* @bytes came from @from; borrowed. Nothing goes on by itself. */
    void (*arrived)(void *data, struct pg_test_link *link, enum pg_test_side from, struct bytes bytes);
    /* After pg_test_wire_poke(), for each link. */
    void (*poked)(void *data, struct pg_test_link *link);
    /* Both ends are closed; @link is no more. */
    void (*closed)(void *data, struct pg_test_link *link);
};

/* Listen on a port of 127.0.0.1 that the kernel chooses, and connect each client to the unix socket
 * @server_path, or, when that is NULL, to @server_port on 127.0.0.1. @filter and @data are borrowed. Heap
 * object; NULL: no sockets. */
struct pg_test_wire *pg_test_wire_start(
    const char *server_path, uint16_t server_port, const struct pg_test_wire_filter *filter, void *data);
/* Cut all connections and end the thread; the filter is called no more, but for `closed`, by the caller. NULL
 * is allowed. */
void pg_test_wire_stop(struct pg_test_wire *w);
uint16_t pg_test_wire_port(const struct pg_test_wire *w);
/* Have the thread call the filter's `poked` soon. */
void pg_test_wire_poke(struct pg_test_wire *w);

void *pg_test_link_data(const struct pg_test_link *link);
/* The port under which the server knows the connection; 0 on a unix socket. */
uint16_t pg_test_link_port(const struct pg_test_link *link);
/* To the end opposite of @from. Blocks until the kernel has it. When that end is gone, the link is cut.
 * False: the link is cut. */
bool pg_test_link_pass(struct pg_test_link *link, enum pg_test_side from, struct bytes bytes);
/* From now on read nothing from the client: what it sends fills the sockets. */
void pg_test_link_deafen(struct pg_test_link *link);
/* Close both ends. @reset: the client gets a reset rather than an end. From inside a call of the filter; the
 * rest of that call may still name @link, to no effect. */
void pg_test_link_cut(struct pg_test_link *link, bool reset);

#endif
