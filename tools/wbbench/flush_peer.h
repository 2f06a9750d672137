/* The peer of `wbbench flush`: what a good engineer would write by hand to get the same rows into the same
 * PostgreSQL. Batches of rows sorted by key, as binary arrays, one prepared INSERT .. SELECT unnest .. ON
 * CONFLICT DO UPDATE a transaction, the next batch sent before the last one is answered, and a connection and
 * a thread for each group. No fence, no log. Its table has the shape of the cluster's, in a schema of its
 * own. */
#ifndef WB_TOOLS_WBBENCH_FLUSH_PEER_H
#define WB_TOOLS_WBBENCH_FLUSH_PEER_H

#include <libpq-fe.h>

#include "proto/limits.h"
#include "tools/wbbench/flush_rows.h"

#define FLUSH_PEER_SCHEMA "wbbench_peer"
#define FLUSH_PEER_TABLE  FLUSH_PEER_SCHEMA ".entry"

struct flush_peer {
    unsigned groups;
    PGconn *conns[LIMIT_GROUPS];
    char errmsg[512];
};

/* Connect once for each group. The table must be there. False: errmsg says why. Close it in any case. */
bool flush_peer_open(struct flush_peer *p, const char *dsn, unsigned groups);
void flush_peer_close(struct flush_peer *p);
/* Upsert all @rows, each group's on its own connection, in batches of @batch_rows in the order in which the
 * cluster gets them. *@seconds is the time from the start of all until the last COMMIT was answered. */
bool flush_peer_run(struct flush_peer *p, const struct flush_rows *rows, struct bytes value, uint64_t version,
    uint32_t batch_rows, double *seconds);

#endif
