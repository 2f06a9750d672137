/* A wire between the nodes and PostgreSQL that can be slow: it forwards every byte, and on wish keeps what a
 * node sends on one connection until it is released. So a transaction can arrive late, as networks and paused
 * machines make it. Threading: the calls from one thread; the forwarding is a thread of its own. */
#ifndef WB_CLUSTER_TESTS_PG_PROXY_H
#define WB_CLUSTER_TESTS_PG_PROXY_H

#include <stdint.h>

struct pg_proxy;

/* Forward connections to a port that the kernel chooses on 127.0.0.1 to @port there. Heap object; NULL: no
 * sockets. */
struct pg_proxy *pg_proxy_start(uint16_t port);
void pg_proxy_stop(struct pg_proxy *p); /* cuts all connections; NULL is allowed */
uint16_t pg_proxy_port(const struct pg_proxy *p);

/* From now on keep what comes from the node on the connection that PostgreSQL knows as client port
 * @client_port (pg_stat_activity). Connections opened later are not held. */
void pg_proxy_hold(struct pg_proxy *p, uint16_t client_port);
uint64_t pg_proxy_held_bytes(struct pg_proxy *p);
/* Send on what was kept, and hold nothing any more. */
void pg_proxy_release(struct pg_proxy *p);

#endif
