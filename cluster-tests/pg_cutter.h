/* A wire between the nodes and PostgreSQL that breaks at a chosen byte: it forwards everything, counts what
 * passes on one connection, and ends that connection when so many bytes have passed. Threading: the calls
 * from one thread; the forwarding is a thread of its own. */
#ifndef WB_CLUSTER_TESTS_PG_CUTTER_H
#define WB_CLUSTER_TESTS_PG_CUTTER_H

#include <stdint.h>

#include "flush/pg_test_wire.h"

struct pg_cutter;

#define PG_CUTTER_NEVER UINT64_MAX

/* Forward connections to a port that the kernel chooses on 127.0.0.1 to @port there. Heap object; NULL: no
 * sockets. */
struct pg_cutter *pg_cutter_start(uint16_t port);
void pg_cutter_stop(struct pg_cutter *c); /* cuts all connections; NULL is allowed */
uint16_t pg_cutter_port(const struct pg_cutter *c);

/* Count from now on what passes on the connection that PostgreSQL knows as client port @client_port
 * (pg_stat_activity). When a byte comes from @from behind the first @bytes ones, it and all later ones of
 * both directions are lost, and both ends are closed. PG_CUTTER_NEVER: only count. What was armed before is
 * forgotten. */
void pg_cutter_arm(struct pg_cutter *c, uint16_t client_port, enum pg_test_side from, uint64_t bytes);
bool pg_cutter_struck(struct pg_cutter *c);
/* What has passed since it was armed. */
uint64_t pg_cutter_bytes(struct pg_cutter *c, enum pg_test_side from);

#endif
