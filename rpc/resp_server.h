/* The Redis port: accepts connections, cuts commands, sends replies in the order of the commands. A shell on
 * libuv, with the same limits and the same care for memory as the client port (server.h). Threading: the
 * loop's thread.
 *
 * Every command is answered exactly once by resp_reply, in any order; what the client gets is in the order in
 * which its commands came. */
#ifndef WB_RPC_RESP_SERVER_H
#define WB_RPC_RESP_SERVER_H

#include <uv.h>

#include "proto/base/arena.h"
#include "proto/base/buf.h"
#include "proto/base/log.h"
#include "proto/base/status.h"

enum { RESP_REPLY_BYTES_MAX = 512 * 1024 * 1024 };

struct resp_server;
struct resp_conn; /* one client's connection */

/* One command. It lives until resp_reply, also when its connection ends before. */
struct resp_request {
    struct bytes *args; /* n of them, at least one; in arena or in what the request keeps */
    uint32_t n;
    struct arena arena; /* free for the handler's own use until resp_reply */
    struct buf reply;   /* empty at first: the handler composes here. No bytes: nothing is sent for it */
    bool close_after;   /* the handler sets it: the connection ends when this reply has left; replies to what
                           came   behind it are dropped */
    bool read_only;     /* the handler sets it: nothing was changed, so a reply that there is no room for may
                           become
                           "-OOM ..." instead of "-UNKNOWN ..." */
    uint64_t received_ms;   /* boot time */
    struct resp_conn *conn; /* NULL once the connection is gone */
    void *client;           /* what on_open gave; NULL once the connection is gone */
    struct resp_server *server;
};

struct resp_server_config {
    const char *address;      /* as in struct rpc_server_config, like all of these */
    unsigned connections_max; /* further ones read "-ERR max number of clients reached" */
    unsigned requests_max;
    size_t output_max;
    size_t client_bytes_max;
    size_t command_bytes_max; /* a longer command, with its headers, is skipped, and answered "-ERR ..." */
    unsigned idle_timeout_ms;
    unsigned frame_timeout_ms; /* and so long a client that has ended its side is served when nothing comes of
                                  it */
    const struct logger *logger;
    /* A connection begins: returns what its requests carry as `client`. Its addresses are HOST:PORT. */
    void *(*on_open)(void *data, struct resp_conn *conn, uint64_t id, const char *peer, const char *local);
    /* Called for each command, in order of arrival. May call resp_reply at once. */
    void (*on_request)(void *data, struct resp_request *request);
    /* A command was answered by the server and never comes to on_request: it was longer than
     * command_bytes_max, or there was no memory for it. Called in order of arrival, so that a transaction
     * that it was to be part of can be given up. May be NULL. */
    void (*on_refused)(void *data, void *client);
    /* It has ended; resp_request.conn and .client of its requests are NULL already. Requests of its that are
     * not answered yet must still be. */
    void (*on_close)(void *data, void *client);
    void *data;
};

enum status resp_server_start(uv_loop_t *loop, const struct resp_server_config *config,
    struct resp_server **out, char *errmsg, size_t errmsg_len);

/* @request is done, with what is in its reply; it is gone after it. Replies of one turn of the loop leave in
 * one write. A reply above RESP_REPLY_BYTES_MAX, or one above some KiB while client_bytes_max is exceeded and
 * this connection has more than its share, becomes an error: "OOM ..." if the request is read_only, else
 * "UNKNOWN ...". The handler is never called from inside this. */
void resp_reply(struct resp_request *request);

/* What CLIENT LIST says of a connection. */
struct resp_conn_info {
    uint64_t id;
    void *client;
    int fd;
    uint64_t opened_ms, active_ms;        /* boot time: its begin, its last command */
    size_t input_bytes, input_free_bytes; /* of its query buffer */
    size_t output_bytes;                  /* not sent yet */
    size_t memory_bytes;
};
void resp_conn_info(const struct resp_conn *conn, struct resp_conn_info *out);
/* Visit all connections that are served (not those which only wait for their client's end), the oldest first.
 * @visit must not open or close any. */
void resp_server_each(const struct resp_server *server,
    void (*visit)(void *data, const struct resp_conn_info *info), void *data);

unsigned resp_server_port(const struct resp_server *server);
unsigned resp_server_connections(const struct resp_server *server);
uint64_t resp_server_connections_total(const struct resp_server *server); /* ever accepted */
uint64_t resp_server_requests(const struct resp_server *server);
size_t resp_server_client_bytes(const struct resp_server *server);

/* Stop listening and taking commands; each connection ends with the replies that it is owed, at the latest
 * after
 * @grace_ms (0: at once). @cb fires once, when every handle is closed; the server is freed after it returns.
 * Commands that are not answered yet must still be answered before @cb can fire. */
void resp_server_close(struct resp_server *server, unsigned grace_ms, void (*cb)(void *data), void *data);

#endif
