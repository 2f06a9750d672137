/* The front door's entrance for operators: key_status, quarantine, flush_control, verify, forget,
 * node_control. */
#ifndef WB_NODE_FRONT_ADMIN_H
#define WB_NODE_FRONT_ADMIN_H

#include "node/front.h"

/* Connections to the database that a node's flushes can be told to share. */
enum { FRONT_CONNECTIONS_MAX = 256 };

/* Is it one of those requests? */
bool front_admin_knows(Wbrpc__Request__OpCase op);
/* Take one: it is answered at once, or by its group. */
void front_admin_take(struct front *front, struct rpc_request *rpc);

#endif
