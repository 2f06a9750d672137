/* One attempt to reach a peer: resolve, connect, say hello, read the ack. A shell on libuv. */
#ifndef WB_RAFT_PEER_CONNECT_H
#define WB_RAFT_PEER_CONNECT_H

#include <uv.h>

#include "proto/base/bytes.h"
#include "raft/handshake.h"

struct peer_connect;

struct peer_connect_result {
    uv_stream_t *stream; /* connected, accepted and not reading; raft_malloc'd, now yours; NULL on failure */
    enum handshake_verdict verdict; /* what the peer answered, when `error` is NULL */
    const char *error;              /* why it was not reached, NULL when it answered; a constant text */
};

/* @hello is copied. The attempt ends after @timeout_ms at the latest (only the resolver of names can take
 * longer).
 * @cb fires exactly once, never inside a call; the object is gone after it. */
struct peer_connect *peer_connect_start(uv_loop_t *loop, const char *address, struct bytes hello,
    unsigned timeout_ms, void (*cb)(void *data, const struct peer_connect_result *result), void *data);

/* Give up. @cb still fires, without a stream. */
void peer_connect_cancel(struct peer_connect *c);

#endif
