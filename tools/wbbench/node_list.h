/* The addresses of a cluster's nodes, as they become known; others name a node by its place here. Pure. */
#ifndef WB_TOOLS_WBBENCH_NODE_LIST_H
#define WB_TOOLS_WBBENCH_NODE_LIST_H

#include "proto/base/bytes.h"
#include "proto/limits.h"

enum { NODE_NONE = -1, NODE_ADDRESS_BYTES = 300 };

struct node_list {
    unsigned n;
    char addresses[LIMIT_NODES][NODE_ADDRESS_BYTES]; /* HOST:PORT */
};

/* Take the nodes of "HOST:PORT,HOST:PORT,...". False when there is none, or too many, or one is too long. */
bool node_list_init(struct node_list *l, const char *text);
/* The index of the node at @address, added when it is new; NODE_NONE when there is no room. */
int node_list_add(struct node_list *l, struct bytes address);

#endif
