/* What the files of the ports share. A port is a codec (how input is cut into messages, what is said at an
 * end) on a machinery that knows nothing of protocols: machinery  server_loop.c (the loop's turn, closing),
 * server_listen.c (accepting), server_conn.c (a connection's life and input), server_output.c (writing),
 * server_budget.c (memory); client port  server.c; Redis port  resp_server.c. */
#ifndef WB_RPC_SERVER_PRIVATE_H
#define WB_RPC_SERVER_PRIVATE_H

#include <uv.h>

#include "proto/base/arena.h"
#include "proto/base/buf.h"
#include "proto/base/list.h"
#include "proto/base/log.h"
#include "rpc/conn_input.h"

enum {
    SERVER_LINGER_MS = 1000,     /* how long a refused client may take to read why */
    SERVER_STALL_MS = 1000,      /* who got on with nothing for so long may be closed for the others' sake */
    SERVER_SWEEP_MS = 250,       /* how often the connections are looked over */
    SERVER_FREE_REQUESTS = 1024, /* requests kept for reuse */
    SERVER_ARENA_KEEP_BYTES = 16 * 1024,
    SERVER_OUTPUT_KEEP_BYTES = 64 * 1024,
    SERVER_REQUEST_BYTES_MAX = 8 * 1024 * 1024, /* of unanswered requests' frames, per connection */
    SERVER_SHORT_ANSWER_BYTES = 4096, /* answers up to here are sent even to a client that does not read */
    SERVER_ACCEPTS_A_TURN = 16,       /* more wait for the next: those who are here come first */
    SERVER_REFUSALS_LOGGED = 8,       /* lines between two sweeps; the rest are counted */
    SERVER_ENDS_A_SWEEP = 200,        /* connections whose time is over; thousands at once would be a stall */
    SERVER_NO_FILES_MS = 10 * 1000,   /* so long without trouble, and the next one is a new one to be told */
    SERVER_SHARE_MIN_BYTES = 32 * 1024, /* what a connection may hold when all together hold too much */
    SERVER_DISCARD_BYTES = 16 * 1024,
    /* What is read and taken in one turn of the loop, so that the node gets on with all else that it has to
     * do: bytes, and so many for each request. Beyond it every connection has its share of the turn, and the
     * rest of what it sent waits for the next ones. */
    SERVER_TURN_BYTES = 1024 * 1024,
    SERVER_TURN_REQUEST_BYTES = 256,
    SERVER_TURN_SHARE_BYTES = 4 * 1024,
};

struct server;
struct server_conn;
struct server_request;

/* What a protocol adds. A port's connection begins with a struct server_conn, its server with a struct
 * server; its requests hold a struct server_request somewhere. Nothing here may close the connection but
 * where it is said. */
struct server_codec {
    const char *log_prefix; /* of events: "" or "redis-" */
    bool in_order;          /* answers leave in the order of their requests */
    bool gives_up;          /* what waits only for its client is given up when the connection closes */
    size_t conn_bytes;      /* of the port's connection */

    /* ---- A connection: it begins, and (its handle is closed, its requests may live) it ends ---- */
    void (*conn_opened)(struct server_conn *conn);
    void (*conn_closed)(struct server_conn *conn);

    /* ---- Input: server_conn.in ---- */
    /* Deal with the next message if it is all there, and return true. False: it is not, or what came is not
     * the protocol, and server_conn_refuse was called. May end or close the connection. */
    bool (*take)(struct server_conn *conn, uint64_t boot_ms);
    /* Has a message begun that is not taken? Is one all there? */
    bool (*begun)(const struct server_conn *conn);
    bool (*whole)(struct server_conn *conn);

    /* ---- Output ---- */
    /* Put last words into the output (nothing, if the protocol has none for it). @words is borrowed until
     * return. */
    void (*say)(struct server_conn *conn, enum status status, const char *words);
    /* What a connection over connections_max reads. */
    void (*turn_away)(struct buf *out);

    /* ---- Requests: a free list of them is kept ---- */
    struct server_request *(*request_create)(void);
    /* Forget the content, give back what is too big to be kept. */
    void (*request_reset)(struct server_request *request);
    void (*request_destroy)(struct server_request *request);
    /* The memory that it takes by now, with its struct. */
    size_t (*request_bytes)(const struct server_request *request);
    /* Call the port's handler. */
    void (*request_handle)(struct server_request *request);
};

/* As in struct rpc_server_config (server.h), which explains them. */
struct server_limits {
    unsigned connections_max;
    unsigned requests_max;
    size_t output_max;
    size_t client_bytes_max;
    unsigned idle_timeout_ms;
    unsigned frame_timeout_ms;
    size_t message_bytes_max; /* of one message of the input */
};

struct server {
    const struct server_codec *codec;
    uv_loop_t *loop;
    struct server_limits limits;
    const struct logger *logger;
    int listen_fd;
    /* Of listen_fd: libuv's own listener accepts all that wait, and spins without files. */
    uv_poll_t listener;
    /* Answers collect during a turn and leave in the next uv_prepare. The idle handle runs while something
     * waits to leave, so that an answer given after our prepare callback doesn't sleep through the poll. */
    uv_prepare_t flusher;
    uv_idle_t awake;
    uv_timer_t sweeper;
    uv_timer_t grace;
    struct list conns;   /* server_conn.link, until the handle is closed */
    struct list dirty;   /* server_conn.dirty_link */
    struct list waiting; /* server_conn.waiting_link: not read until the others hold less */
    struct list free_requests;
    unsigned n_free_requests;
    unsigned n_conns;
    unsigned port;
    unsigned handles_open; /* ours, without those of connections */
    uint64_t next_conn_id;
    uint64_t requests_total;
    uint64_t requests_live;
    size_t held;                   /* the sum of server_conn.held */
    uint64_t turn;                 /* the loop's turns are numbered from 1 */
    size_t turn_bytes;             /* read and taken in this one */
    struct server_request *taking; /* the handler is looking at it; NULL once it is answered */
    /* for few log lines: one an edge */
    bool out_of_files;
    bool out_of_files_told;   /* in the log, and its end not yet */
    uint64_t out_of_files_ms; /* when it was noticed last; 0: never */
    bool at_capacity;
    uint64_t refused; /* since at_capacity */
    bool over_budget;
    unsigned ends_swept;      /* in this sweep */
    unsigned refusals_logged; /* since the last sweep */
    unsigned refusals_silent;
    bool closing;
    bool dismantled; /* the last handles are being closed */
    void (*close_cb)(void *data);
    void *close_data;
    char discard[SERVER_DISCARD_BYTES]; /* what lingering connections send ends here */
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
 *            malformed or unfinished message, when it was idle, or when the server closes. But for the first,
 *            last words follow the answers if the protocol has any: why it ends, or the goodbye, which says
 *            that whatever the client sent and has no answer to was not taken.
 * LINGERING  has shut down its writing side and discards what comes, so that unread input doesn't make the
 * kernel reset the connection before the peer has read our last words. Not after the peer's end of file.
 * CLOSING    uv_close was called. */
enum conn_state { CONN_SERVING, CONN_ENDING, CONN_LINGERING, CONN_CLOSING };

struct server_conn {
    uv_tcp_t tcp;
    uv_write_t write;
    uv_shutdown_t shutdown;
    struct server *server;
    struct list link;
    struct list dirty_link;
    struct list waiting_link;
    uint64_t id;
    enum conn_state state;
    bool reading;
    bool peer_ended;        /* end of file came: nobody will send more */
    bool writing;           /* `leaving` belongs to a uv_write */
    bool closed;            /* the handle is closed; only unanswered requests keep the struct */
    const char *last_words; /* ENDING: to be said when nothing else is owed; lives as long as the connection;
                               NULL when said */
    enum status last_status;
    struct conn_input in;
    struct buf out;     /* answers of this turn */
    struct buf leaving; /* being written by the loop */
    size_t requests_pending;
    size_t frame_bytes;   /* of the messages of pending requests */
    size_t request_bytes; /* of the memory of pending requests */
    size_t codec_bytes;   /* of the memory that the codec holds for it, beyond its struct */
    size_t
        queued_bytes; /* of answers that wait for earlier ones; their requests are pending, and hold them */
    size_t held;      /* what client_bytes_max counts of it: buffers, pending requests, codec_bytes */
    uint64_t last_frame_ms;  /* loop time of the last whole frame, or of progress in writing */
    uint64_t received_ms;    /* loop time of the last bytes */
    uint64_t frame_begun_ms; /* loop time when the first bytes of the frame at hand came; 0: there is none, or
                                it is we who don't read it */
    uint64_t sent_ms;        /* loop time when its output was last seen to get on, or to be empty */
    uint64_t answer_bytes;   /* ever put into `out` */
    uint64_t sent_at_sweep;  /* how many of them had left */
    uint64_t linger_until_ms;
    uint64_t wait_begun_ms; /* while in server.waiting: since when */
    uint64_t turn;          /* of turn_bytes */
    size_t turn_bytes;      /* its part of server.turn_bytes */
    bool resting;           /* it had its share of the turn: it is dirty, and goes on in the next one */
    bool refusing;          /* it waited for too long: whole messages that are here are refused */
};

struct server_request {
    struct list link; /* in server.free_requests */
    struct server *server;
    struct server_conn *conn;
    size_t frame_bytes;
    size_t memory_bytes; /* its share of server_conn.request_bytes */
};

/* ---- server_loop.c ---- */

/* Begin to listen, in @server, which is zeroed heap memory and freed by this when it fails, else after its
 * close. */
enum status server_start(struct server *server, uv_loop_t *loop, const struct server_codec *codec,
    const struct server_limits *limits, const struct logger *logger, const char *address, char *errmsg,
    size_t errmsg_len);
/* As rpc_server_close says. */
void server_close(struct server *server, unsigned grace_ms, void (*cb)(void *data), void *data);
/* A log line whose event has the port's prefix; as log_line. */
void server_log(const struct server *server, enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* @conn has something to do at the end of this turn. */
void server_mark_dirty(struct server_conn *conn);
/* A request for @conn, from the free list if there is one. */
struct server_request *server_request_new(struct server_conn *conn);
/* Give a request back to the free list. */
void server_request_done(struct server_request *request);
/* When closing and nothing is left, close the last handles. */
void server_maybe_dismantle(struct server *server);

/* ---- server_listen.c ---- */

/* Open the socket. OK: the server's listener is an initialised handle that accepts, and its port is known. */
enum status server_listen(struct server *server, const char *address, char *errmsg, size_t errmsg_len);
/* Accept again if files had run out; tell how an episode of refusing ended. */
void server_listen_sweep(struct server *server);
void server_listen_close(struct server *server, uv_close_cb cb);

/* ---- server_conn.c ---- */

/* Serve the accepted socket @fd, which is the connection's from now on. */
void server_conn_open(struct server *server, int fd);
/* Has this turn of the loop had enough from all connections? */
bool server_turn_is_full(const struct server *server);
/* Write what has collected, go on reading when the caps allow it again, end when nothing is owed any more. */
void server_conn_turn(struct server_conn *conn);
/* Look at its timeouts; give back memory that nobody needs. */
void server_conn_sweep(struct server_conn *conn, uint64_t now_ms);
/* Take no more requests; say goodbye and close once the answers owed are written. */
void server_conn_leave(struct server_conn *conn);
/* The same with another status and words (which live as long as the connection), forgetting what it sent
 * last; logged. SERVING only. */
void server_conn_refuse(struct server_conn *conn, enum status status, const char *words);
/* Take no more requests; close once the answers owed are written, without more words. */
void server_conn_finish(struct server_conn *conn);
/* Close now, whatever is owed. */
void server_conn_close(struct server_conn *conn);
/* Free what is closed and has no pending request. */
void server_conn_free_if_done(struct server_conn *conn);

/* May it hold @bytes more, if it gives back what it does not need? */
bool server_conn_has_room(struct server_conn *conn, size_t bytes);
/* @request, of @frame_bytes of input, counts from now on; its handler is called. */
void server_conn_hand_over(struct server_conn *conn, struct server_request *request, size_t frame_bytes);
/* Count anew what a pending request holds. */
void server_conn_charge(struct server_conn *conn, struct server_request *request);
/* @request was answered, and counts no more; both it and its connection may be gone after this. */
void server_conn_release(struct server_request *request);

/* ---- server_output.c ---- */

/* Bytes of answers that have not left. */
size_t server_conn_unsent(const struct server_conn *conn);
/* Before and after something is put behind what is in `out`. The second says how much it was. */
void server_output_begin(struct server_conn *conn);
void server_output_added(struct server_conn *conn, size_t bytes);
/* Is there room for an answer of @size bytes? What has collected is written first, if that helps; then the
 * connection may turn out to be broken, and be closed. */
bool server_output_has_room(struct server_conn *conn, size_t size);
/* Hand what has collected to the kernel, and what it doesn't take to the loop. While the loop has something,
 * the rest collects. Closes the connection when it is broken. */
void server_output_write(struct server_conn *conn);

/* ---- server_budget.c ---- */

/* Count what @conn holds anew. After each change of its buffers or requests. */
void server_recount(struct server_conn *conn);
/* May @conn hold @more bytes than it does? False only when all together hold too much already, and @conn
 * would hold more than its share: of client_bytes_max for connections_max connections, or
 * SERVER_SHARE_MIN_BYTES. */
bool server_may_hold(const struct server_conn *conn, size_t more);
/* @conn is not read because it may not hold more: look at it again when the others hold less. */
void server_wait_for_room(struct server_conn *conn);
/* At the end of a turn: those that wait go on, as many as there is room for. */
void server_budget_turn(struct server *server);
/* Over the budget, close those that stand still, the largest first, until it is kept. */
void server_budget_sweep(struct server *server, uint64_t now_ms);

#endif
