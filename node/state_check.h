/* The invariants of a cache state, for tests and for the simulator. */
#ifndef WB_NODE_STATE_CHECK_H
#define WB_NODE_STATE_CHECK_H

#include "node/state.h"

/* Abort with the broken rule's text unless @s is sound: every list's links, the order of first_dirty over
 * batches and queue, counts and byte sums, batches and queue disjoint, each dirty entry in the table, the
 * expiries' heap, the clean entries among those that may be evicted and no others, and F recomputed from all
 * entries. Costs a pass over the whole table. Pure; changes nothing. */
void state_check_invariants(const struct state *s);

#endif
