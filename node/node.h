/* One node: its groups, the raft host, the client port, the database connections, on one loop. A shell. */
#ifndef WB_NODE_NODE_H
#define WB_NODE_NODE_H

#include <uv.h>

#include "node/config.h"
#include "proto/base/log.h"
#include "proto/base/status.h"

struct node;

/* Bring everything up on @loop; returns when the node serves (it may not lead anything yet). @config and
 * @logger are borrowed until the node is gone. @adopt: see wbnode --help. On failure @errmsg says what to do;
 * nothing is left on the loop but closing handles: run it once more. */
enum status node_start(uv_loop_t *loop, const struct config *config, bool adopt, const struct logger *logger,
    struct node **out, char *errmsg, size_t len);

/* Hand leadership over, answer what is pending, close everything; the loop ends when that is done, and the
 * node is freed. A second call hurries. */
void node_stop(struct node *node);

#endif
