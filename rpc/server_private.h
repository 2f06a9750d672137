/* What server.c (the listener, the loop's turn, closing) and server_conn.c (one connection) share. */
#ifndef WB_RPC_SERVER_PRIVATE_H
#define WB_RPC_SERVER_PRIVATE_H

#include "proto/base/buf.h"
#include "proto/base/list.h"
#include "rpc/conn_input.h"
#include "rpc/server.h"

enum {
    SERVER_LINGER_MS = 1000,     /* how long a refused client may take to read why */
    SERVER_SWEEP_MS = 250,       /* how often the connections are looked over */
    SERVER_FREE_REQUESTS = 1024, /* requests kept for reuse */
    SERVER_ARENA_KEEP_BYTES = 16 * 1024,
    SERVER_OUTPUT_KEEP_BYTES = 64 * 1024,
    SERVER_REQUEST_BYTES_MAX = 8 * 1024 * 1024, /* of unanswered requests, per connection */
    SERVER_SHORT_ANSWER_BYTES = 4096, /* answers up to here are sent even to a client that does not read */
};

struct rpc_server {
    uv_loop_t *loop;
    struct rpc_server_config config; /* without address */
    uv_tcp_t listener;
    /* Answers collect during a turn and leave in the next uv_prepare. The idle handle runs while something
     * waits to leave, so that an answer given after our prepare callback doesn't sleep through the poll. */
    uv_prepare_t flusher;
    uv_idle_t awake;
    uv_timer_t sweeper;
    uv_timer_t grace;
    struct list conns; /* rpc_conn.link, until the handle is closed */
    struct list dirty; /* rpc_conn.dirty_link */
    struct list free_requests;
    unsigned n_free_requests;
    unsigned n_conns;
    unsigned port;
    unsigned handles_open; /* ours, without those of connections */
    uint64_t next_conn_id;
    uint64_t requests_total;
    uint64_t requests_live;
    bool at_capacity; /* for one log line an edge */
    bool closing;
    bool dismantled; /* the last handles are being closed */
    void (*close_cb)(void *data);
    void *close_data;
};

/* A connection's life; conn_move() is the one function that moves it.
 *
 *   SERVING --+--> ENDING --+--> LINGERING ----> CLOSING --> (freed when its last request is answered)
 *     |       |      |      |      ^   |            ^
 *     |       |      |      +------+   +------------+
 *     +-------+------+------------------------------+
 *
 * SERVING    reads requests (unless a cap is reached) and answers them.
 * ENDING     reads no more; the answers still owed are written first. After the peer's end of file, after a
 *            malformed message, when it was idle, or when the server closes. In the two last cases a goodbye
 *            follows the answers: whatever the client sent and has no answer to was not taken.
 * LINGERING  has shut down its writing side and discards what comes, so that unread input doesn't make the
 * kernel reset the connection before the peer has read our last words. Not after the peer's end of file.
 * CLOSING    uv_close was called. */
enum conn_state { CONN_SERVING, CONN_ENDING, CONN_LINGERING, CONN_CLOSING };

struct rpc_conn {
    uv_tcp_t tcp;
    uv_write_t write;
    uv_shutdown_t shutdown;
    struct rpc_server *server;
    struct list link;
    struct list dirty_link;
    uint64_t id;
    enum conn_state state;
    bool reading;
    bool peer_ended; /* end of file came: nobody will send more */
    bool goodbye;    /* ENDING: one is to be said when nothing else is owed */
    bool writing;    /* `leaving` belongs to a uv_write */
    bool closed;     /* the handle is closed; only unanswered requests keep the struct */
    struct conn_input in;
    struct buf out;     /* answers of this turn */
    struct buf leaving; /* being written by the loop */
    size_t requests_pending;
    size_t request_bytes;   /* of the frames of pending requests */
    uint64_t last_frame_ms; /* loop time of the last whole frame, or of progress in writing */
    uint64_t linger_until_ms;
    size_t unsent_at_sweep;
};

struct server_request {
    struct rpc_request r;
    struct list link; /* in server.free_requests */
    size_t frame_bytes;
};

/* Take over an accepted connection, or close it when the server is full. */
void server_conn_accept(struct rpc_server *server);
/* Write what has collected, go on reading when the caps allow it again, end when nothing is owed any more. */
void server_conn_turn(struct rpc_conn *conn);
/* Look at its timeouts. */
void server_conn_sweep(struct rpc_conn *conn, uint64_t now_ms);
/* Take no more requests; say goodbye and close once the answers owed are written. */
void server_conn_leave(struct rpc_conn *conn);
/* Close now, whatever is owed. */
void server_conn_close(struct rpc_conn *conn);

/* @conn has something to do at the end of this turn. */
void server_mark_dirty(struct rpc_conn *conn);
struct server_request *server_request_new(struct rpc_server *server);
/* Give a request back: to the free list, and its share of the connection's caps. */
void server_request_done(struct server_request *request);
/* When closing and nothing is left, close the last handles. */
void server_maybe_dismantle(struct rpc_server *server);

#endif
