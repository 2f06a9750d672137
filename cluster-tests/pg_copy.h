/* Copies of the private PostgreSQL's data folder: a backup taken under load, and the server that comes back
 * with it, as after a restore or a failover to a standby that was behind. Every call fails the running cmocka
 * test when it cannot do what it says. Threading: the test's main thread. */
#ifndef WB_CLUSTER_TESTS_PG_COPY_H
#define WB_CLUSTER_TESTS_PG_COPY_H

#include "cluster-tests/cluster.h"

/* Copy the running server's data, as it is at the end of this call, to a folder called @name beside it. The
 * copy needs no other: it has the log that makes it whole. */
void pg_copy_take(struct cluster *c, const char *name);

/* With the server stopped: put its data away under the name @away, and what is called @name in its place. */
void pg_copy_swap(struct cluster *c, const char *away, const char *name);

/* Wait until every group's leader asks the server for what is not in memory: a node that could not reach it
 * does so again after a pause, whatever its flush has found out meanwhile. */
void pg_copy_wait_asked(struct cluster *c);

#endif
