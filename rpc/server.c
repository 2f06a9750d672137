/* The client port: protobuf requests in frames, on the machinery of server_private.h. Answers go out in the
 * order in which they are given; each says by its id what it answers. */
#include "rpc/server.h"

#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/frame.h"
#include "proto/limits.h"
#include "proto/pb.h"
#include "rpc/request_codec.h"
#include "rpc/server_private.h"

enum { RETRY_AFTER_MS = 200, TURNED_AWAY_RETRY_AFTER_MS = 1000 };

struct rpc_server {
    struct server base;
    void (*on_request)(void *data, struct rpc_request *request);
    void *data;
};

struct port_request {
    struct rpc_request r;
    struct server_request base;
};

static struct port_request *port_request_of(struct server_request *request)
{
    return list_entry(request, struct port_request, base);
}

/* ---- Answers ---- */

/* Put @response behind the others. */
static void answer(struct server_conn *conn, Wbrpc__Response *response)
{
    struct buf *out = &conn->out;
    size_t start = out->len;
    server_output_begin(conn);
    frame_begin(out, 0);
    pb_pack(&response->base, out);
    CHECK(!out->failed); /* out of memory: a node stops, see proto/base/alloc.h */
    store_be32(out->data + start, (uint32_t)(out->len - start - FRAME_HEADER_BYTES));
    server_output_added(conn, out->len - start);
}

/* Put an answer of words behind the others; @words is borrowed until return. */
static void answer_words(struct server_conn *conn, uint64_t id, enum status status, const char *words)
{
    Wbrpc__Response response = WBRPC__RESPONSE__INIT;
    response.id = id;
    response.status = status;
    response.message = (char *)(uintptr_t)words;
    if (status == STATUS_OVERLOADED) {
        response.has_retry_after_ms = 1;
        response.retry_after_ms = RETRY_AFTER_MS;
    }
    answer(conn, &response);
}

static bool is_write(const Wbrpc__Request *msg)
{
    return msg->op_case == WBRPC__REQUEST__OP_SET || msg->op_case == WBRPC__REQUEST__OP_DEL ||
           msg->op_case == WBRPC__REQUEST__OP_INCR || msg->op_case == WBRPC__REQUEST__OP_APPEND ||
           msg->op_case == WBRPC__REQUEST__OP_EXPIRE;
}

/* Words instead of an answer that is too long. A write was done: nobody may be told that nothing was. */
static void answer_instead(
    struct server_conn *conn, const Wbrpc__Request *msg, enum status status, const char *words)
{
    answer_words(conn, msg->id, is_write(msg) ? STATUS_UNKNOWN : status, words);
}

static void reply(struct server_conn *conn, const Wbrpc__Request *msg, Wbrpc__Response *response)
{
    size_t size = protobuf_c_message_get_packed_size(&response->base);
    response->id = msg->id;
    if (size > LIMIT_FRAME_BYTES - 16) { /* the id's own size may still change */
        answer_instead(conn, msg, STATUS_TOO_BIG,
            "the answer is too big for one message; ask for fewer keys, or not for their old values");
        return;
    }
    bool room = server_output_has_room(conn, size) &&
                (size <= SERVER_SHORT_ANSWER_BYTES ||
                    server_conn_unsent(conn) / 4 <= conn->server->limits.output_max);
    if (conn->state == CONN_CLOSING) {
        return;
    }
    if (room) {
        answer(conn, response);
    } else {
        answer_instead(conn, msg, STATUS_OVERLOADED,
            "this connection, or all together, do not read their answers fast enough");
    }
}

void rpc_reply(struct rpc_request *request, Wbrpc__Response *response)
{
    struct server_request *base = &((struct port_request *)(void *)request)->base;
    struct server_conn *conn = base->conn;
    if (conn->state != CONN_CLOSING) {
        reply(conn, request->msg, response);
        server_mark_dirty(conn);
    }
    if (conn->server->taking == base) {
        conn->server->taking = NULL;
    }
    server_conn_release(base);
}

/* ---- Input ---- */

static void take_payload(struct server_conn *conn, struct bytes payload, uint64_t boot_ms)
{
    struct port_request *request = port_request_of(server_request_new(conn));
    request->r.conn_id = conn->id;
    request->r.received_ms = boot_ms;
    uint64_t id;
    enum status s = request_decode(payload, &request->r.arena, &request->r.msg, &id);
    bool known = s == STATUS_OK && request->r.msg->op_case != WBRPC__REQUEST__OP__NOT_SET;
    bool fits = !conn->refusing && server_conn_has_room(conn, sizeof *request + request->r.arena.bytes);
    if (known && fits) {
        server_conn_hand_over(conn, &request->base, payload.len);
        return;
    }
    if (known) {
        answer_words(conn, id, STATUS_OVERLOADED,
            "the node's memory for clients is used up; nothing was done; try again later");
    } else if (s == STATUS_OK) {
        answer_words(conn, id, STATUS_INVALID, "this node does not know the operation; it may be older");
    } else if (s == STATUS_TOO_BIG) {
        answer_words(conn, id, STATUS_TOO_BIG, "too many keys for one request; send fewer");
    } else {
        server_conn_refuse(conn, STATUS_INVALID, "the message is no request; the connection will be closed");
    }
    server_request_done(&request->base);
}

static bool port_take(struct server_conn *conn, uint64_t boot_ms)
{
    struct bytes payload;
    enum status s = conn_input_next(&conn->in, &payload);
    if (s == STATUS_OK) {
        take_payload(conn, payload, boot_ms);
    } else if (s == STATUS_TOO_BIG) {
        server_conn_refuse(
            conn, STATUS_TOO_BIG, "a message has no acceptable length; the connection will be closed");
    }
    return s == STATUS_OK;
}

static bool port_begun(const struct server_conn *conn)
{
    return conn_input_pending(&conn->in) > 0;
}

static bool port_whole(struct server_conn *conn)
{
    return conn_input_whole(&conn->in);
}

/* ---- The rest of the codec ---- */

static void port_conn_opened(struct server_conn *conn)
{
    (void)conn; /* it is all in struct server_conn */
}

static void port_say(struct server_conn *conn, enum status status, const char *words)
{
    answer_words(conn, 0, status, words);
}

static void port_turn_away(struct buf *out)
{
    Wbrpc__Response response = WBRPC__RESPONSE__INIT;
    response.status = STATUS_OVERLOADED;
    response.message = (char *)(uintptr_t) "this node has as many client connections as it may; ask another";
    response.has_retry_after_ms = 1;
    response.retry_after_ms = TURNED_AWAY_RETRY_AFTER_MS;
    frame_begin(out, protobuf_c_message_get_packed_size(&response.base));
    pb_pack(&response.base, out);
}

static struct server_request *port_request_create(void)
{
    struct port_request *request = xmalloc(sizeof *request);
    arena_init(&request->r.arena);
    return &request->base;
}

static void port_request_reset(struct server_request *base)
{
    struct arena *arena = &port_request_of(base)->r.arena;
    arena_reset(arena);
    if (arena->bytes > SERVER_ARENA_KEEP_BYTES) {
        arena_deinit(arena);
    }
}

static void port_request_destroy(struct server_request *base)
{
    struct port_request *request = port_request_of(base);
    arena_deinit(&request->r.arena);
    free(request);
}

static size_t port_request_bytes(const struct server_request *base)
{
    const struct port_request *request = list_entry(base, const struct port_request, base);
    return sizeof *request + request->r.arena.bytes;
}

static void port_request_handle(struct server_request *base)
{
    const struct rpc_server *server = (const struct rpc_server *)(const void *)base->server;
    server->on_request(server->data, &port_request_of(base)->r);
}

static const struct server_codec client_codec = {
    .log_prefix = "",
    .conn_bytes = sizeof(struct server_conn),
    .conn_opened = port_conn_opened,
    .conn_closed = port_conn_opened,
    .take = port_take,
    .begun = port_begun,
    .whole = port_whole,
    .say = port_say,
    .turn_away = port_turn_away,
    .request_create = port_request_create,
    .request_reset = port_request_reset,
    .request_destroy = port_request_destroy,
    .request_bytes = port_request_bytes,
    .request_handle = port_request_handle,
};

/* ---- What the node calls ---- */

unsigned rpc_server_port(const struct rpc_server *server)
{
    return server->base.port;
}

unsigned rpc_server_connections(const struct rpc_server *server)
{
    return server->base.n_conns;
}

uint64_t rpc_server_requests(const struct rpc_server *server)
{
    return server->base.requests_total;
}

size_t rpc_server_client_bytes(const struct rpc_server *server)
{
    return server->base.held;
}

void rpc_server_close(struct rpc_server *server, unsigned grace_ms, void (*cb)(void *data), void *data)
{
    server_close(&server->base, grace_ms, cb, data);
}

enum status rpc_server_start(uv_loop_t *loop, const struct rpc_server_config *config, struct rpc_server **out,
    char *errmsg, size_t errmsg_len)
{
    CHECK(config->on_request != NULL);
    struct rpc_server *server = xcalloc(1, sizeof *server);
    server->on_request = config->on_request;
    server->data = config->data;
    struct server_limits limits = {
        .connections_max = config->connections_max,
        .requests_max = config->requests_max,
        .output_max = config->output_max,
        .client_bytes_max = config->client_bytes_max,
        .idle_timeout_ms = config->idle_timeout_ms,
        .frame_timeout_ms = config->frame_timeout_ms,
        .message_bytes_max = LIMIT_FRAME_BYTES,
    };
    enum status status = server_start(
        &server->base, loop, &client_codec, &limits, config->logger, config->address, errmsg, errmsg_len);
    if (status == STATUS_OK) {
        *out = server;
    }
    return status;
}
