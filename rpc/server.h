/* The client port: accepts connections, cuts frames, decodes requests, sends answers. A shell on libuv.
 * Threading: the loop's thread. */
#ifndef WB_RPC_SERVER_H
#define WB_RPC_SERVER_H

#include <uv.h>

#include "proto/base/arena.h"
#include "proto/base/log.h"
#include "proto/base/status.h"
#include "proto/client.pb-c.h"

struct rpc_server;

/* One decoded request. It lives until rpc_reply(), also when its connection closes before. Its operation is
 * one that this version knows (op_case is never 0): others are answered INVALID without asking the handler.
 */
struct rpc_request {
    const Wbrpc__Request *msg; /* in arena */
    struct arena arena;        /* free for the handler's own use until rpc_reply */
    uint64_t conn_id;          /* unique for the server's life; never reused */
    uint64_t received_ms;      /* boot time */
};

struct rpc_server_config {
    const char *address; /* HOST:PORT to listen on, borrowed until rpc_server_start returns; an empty host:
                            every address; port 0: one that the kernel chooses */
    unsigned connections_max; /* further ones get an answer with id 0 and OVERLOADED, and are closed */
    unsigned requests_max;    /* unanswered per connection: over it, its socket is not read */
    size_t output_max;        /* unsent bytes per connection: over it, its socket is not read; over four times
                                 as much, answers to requests already taken become OVERLOADED if they are long
                                 (those to writes UNKNOWN: they were done) */
    size_t client_bytes_max;  /* memory for unfinished input, unanswered requests and unsent answers of all
                                 connections together. Over it, those that hold more than their share (this
                                 by connections_max, at least 32 KiB) are not read, and nobody is given more
                                 than it: requests and answers that are longer become OVERLOADED. Of those that
                                 have stood still for a second in the middle of a message or of an answer, the
                                 largest are closed until it is enough. It may be exceeded by a share for each
                                 connection. 0: no limit */
    unsigned idle_timeout_ms; /* a connection with no whole frame for so long and nothing pending is closed,
                                 with a goodbye if the client reads; 0: never */
    unsigned frame_timeout_ms; /* one that has begun a frame and not finished it for so long gets an answer
                                  with id 0 and TIMEOUT, and is closed; 0: never */
    const struct logger *logger;
    /* Called for each request, in order of arrival. May call rpc_reply at once. */
    void (*on_request)(void *data, struct rpc_request *request);
    void *data;
};

/* Heap object. SIGPIPE must be ignored by the process. *@out is set on success only; on failure @errmsg says
 * why (what to do where that is known). */
enum status rpc_server_start(uv_loop_t *loop, const struct rpc_server_config *config, struct rpc_server **out,
    char *errmsg, size_t errmsg_len);

/* Answer @request: encodes @response (its id is set here) and gives the request back; @request is gone after
 * it. Answers of one loop turn leave in one write. If the connection is gone, only frees. An answer above
 * LIMIT_FRAME_BYTES becomes TOO_BIG, that to a write UNKNOWN. The handler is never called from inside this.
 */
void rpc_reply(struct rpc_request *request, Wbrpc__Response *response);

/* The port that is listened on. */
unsigned rpc_server_port(const struct rpc_server *server);
/* Connections open now, requests taken since the start, and what client_bytes_max counts. */
unsigned rpc_server_connections(const struct rpc_server *server);
uint64_t rpc_server_requests(const struct rpc_server *server);
size_t rpc_server_client_bytes(const struct rpc_server *server);

/* Stop listening and taking requests; each connection ends with the answers that it is owed and a goodbye
 * (docs/protocol.md), and closes when its client does, at the latest after @grace_ms (0: all close at once,
 * without a word). @cb fires once, when every handle is closed; the server is freed after it returns.
 * Requests that are not answered yet must still be answered (rpc_reply) before @cb can fire. */
void rpc_server_close(struct rpc_server *server, unsigned grace_ms, void (*cb)(void *data), void *data);

#endif
