/* What is on its way to one peer and not yet written to its socket. libraft itself has no limit: to a peer
 * that does not read, an idle leader alone queues megabytes a second. A refused message counts as lost, and
 * Raft sends again. Pure. */
#ifndef WB_RAFT_SEND_WINDOW_H
#define WB_RAFT_SEND_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct send_window {
    unsigned messages_max;
    size_t bytes_max;
    unsigned messages;
    size_t bytes;
    bool snapshot; /* an InstallSnapshot is under way: the leader would send the whole again at each tick */
    uint64_t refused;
};

/* What one message takes; give back exactly what was taken. */
struct send_cost {
    size_t bytes; /* 0 is fine; ignored for a snapshot, which must not hold up the heartbeats behind it */
    bool snapshot;
};

void send_window_init(struct send_window *w, unsigned messages_max, size_t bytes_max);
/* Take room for a message. False: do not send it. A message alone is never too big, however large it is. */
bool send_window_take(struct send_window *w, struct send_cost cost);
/* The message was written, or failed. */
void send_window_give(struct send_window *w, struct send_cost cost);

#endif
