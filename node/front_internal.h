/* What the files front*.c have in common: limits, cursors, and the parts of an answer that all have. */
#ifndef WB_NODE_FRONT_INTERNAL_H
#define WB_NODE_FRONT_INTERNAL_H

#include "node/front.h"

/* Answer @rpc without a group. @message: what to do, or NULL. @rpc is gone after it. */
void front_answer(struct rpc_request *rpc, enum status status, const char *message);

/* How the @i'th key of a message is found. */
typedef struct bytes front_key_at(const void *items, uint32_t i);
/* Of an array of struct bytes. */
struct bytes front_key_itself(const void *items, uint32_t i);

/* Each of these is true when the request may go on; otherwise it was answered, and is gone. */

/* All @n keys are within the limits and of one group, which *@group gets. */
bool front_keys_fit(struct front *front, struct rpc_request *rpc, front_key_at *key, const void *items,
    uint32_t n, uint32_t *group);
/* A request may name so many keys. */
bool front_count_fits(struct rpc_request *rpc, size_t n);
bool front_group_fits(const struct front *front, struct rpc_request *rpc, uint32_t group);
/* @cursor is one that this node gave out for @group: *@out is what its state calls it. */
bool front_cursor_in(
    struct front *front, struct rpc_request *rpc, uint32_t group, uint64_t cursor, uint64_t *out);

/* A state's cursor as clients get it. */
uint64_t front_cursor_out(const struct front *front, uint32_t group, uint64_t cursor);

/* Set what each request to a group has; the rest of @r is the caller's. */
void front_begin(struct group_request *r, const struct rpc_request *rpc, enum group_op op,
    void (*request_done)(struct group_request *r));
/* Status, message, group, leader, and when to come again. Borrows from @r. */
void front_fill_outcome(
    const struct front *front, const struct group_request *r, uint32_t group, Wbrpc__Response *response);

#endif
