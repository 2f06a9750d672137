/* One connection of the client port: its input, its caps, its output, its end. */
#include "rpc/server_private.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/frame.h"
#include "proto/limits.h"
#include "proto/pb.h"
#include "rpc/request_codec.h"

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf);
static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);

static void conn_move(struct rpc_conn *conn, enum conn_state to)
{
    CHECK(to > conn->state);
    CHECK(to != CONN_LINGERING || !conn->peer_ended);
    conn->state = to;
}

/* ---- The end ---- */

static void conn_free_if_done(struct rpc_conn *conn)
{
    if (conn->closed && conn->requests_pending == 0) {
        free(conn);
    }
}

static void on_closed(uv_handle_t *handle)
{
    struct rpc_conn *conn = handle->data;
    struct rpc_server *server = conn->server;
    conn->closed = true;
    conn_input_deinit(&conn->in);
    buf_deinit(&conn->out);
    buf_deinit(&conn->leaving);
    list_remove(&conn->link);
    server->n_conns--;
    if (server->n_conns < server->config.connections_max) {
        server->at_capacity = false;
    }
    conn_free_if_done(conn);
    server_maybe_dismantle(server);
}

void server_conn_close(struct rpc_conn *conn)
{
    if (conn->state == CONN_CLOSING) {
        return;
    }
    conn_move(conn, CONN_CLOSING);
    list_remove(&conn->dirty_link);
    uv_close((uv_handle_t *)&conn->tcp, on_closed);
}

static void conn_set_reading(struct rpc_conn *conn, bool reading)
{
    if (conn->reading == reading) {
        return;
    }
    conn->reading = reading;
    if (reading) {
        uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read);
    } else {
        uv_read_stop((uv_stream_t *)&conn->tcp);
    }
}

/* Read no more; close once the answers owed are written. */
static void conn_end(struct rpc_conn *conn)
{
    if (conn->state != CONN_SERVING) {
        return;
    }
    conn_move(conn, CONN_ENDING);
    conn_set_reading(conn, false);
    server_mark_dirty(conn);
}

void server_conn_leave(struct rpc_conn *conn)
{
    conn->goodbye = conn->goodbye || conn->state == CONN_SERVING;
    conn_end(conn);
}

static void on_shut_down(uv_shutdown_t *request, int status)
{
    struct rpc_conn *conn = request->data;
    if (status < 0) {
        server_conn_close(conn);
    }
}

static void conn_linger(struct rpc_conn *conn)
{
    conn_move(conn, CONN_LINGERING);
    conn->linger_until_ms = uv_now(conn->server->loop) + SERVER_LINGER_MS;
    conn->shutdown.data = conn;
    if (uv_shutdown(&conn->shutdown, (uv_stream_t *)&conn->tcp, on_shut_down) != 0) {
        server_conn_close(conn);
        return;
    }
    conn_set_reading(conn, true);
}

/* ---- Output ---- */

static size_t conn_unsent(const struct rpc_conn *conn)
{
    size_t leaving = conn->writing ? uv_stream_get_write_queue_size((const uv_stream_t *)&conn->tcp) : 0;
    return conn->out.len + leaving;
}

static bool conn_capped(const struct rpc_conn *conn)
{
    const struct rpc_server_config *config = &conn->server->config;
    return conn->requests_pending >= config->requests_max || conn->request_bytes > SERVER_REQUEST_BYTES_MAX ||
           conn_unsent(conn) > config->output_max;
}

static void answer(struct rpc_conn *conn, Wbrpc__Response *response)
{
    struct buf *out = &conn->out;
    size_t start = out->len;
    frame_begin(out, 0);
    pb_pack(&response->base, out);
    CHECK(!out->failed); /* out of memory: a node stops, see proto/base/alloc.h */
    store_be32(out->data + start, (uint32_t)(out->len - start - FRAME_HEADER_BYTES));
    server_mark_dirty(conn);
}

static void answer_error(struct rpc_conn *conn, uint64_t id, enum status status, const char *message)
{
    Wbrpc__Response response = WBRPC__RESPONSE__INIT;
    response.id = id;
    response.status = status;
    response.message = (char *)(uintptr_t)message;
    answer(conn, &response);
}

void rpc_reply(struct rpc_request *request, Wbrpc__Response *response)
{
    struct server_request *owned = (struct server_request *)(void *)request;
    struct rpc_conn *conn = request->conn;
    if (conn->state != CONN_CLOSING) {
        uint64_t id = request->msg->id;
        size_t size = protobuf_c_message_get_packed_size(&response->base);
        response->id = id;
        if (size > LIMIT_FRAME_BYTES - 16) { /* the id's own size may still change */
            answer_error(
                conn, id, STATUS_TOO_BIG, "the answer is too big for one message; ask for fewer keys");
        } else if (size > SERVER_SHORT_ANSWER_BYTES &&
                   conn_unsent(conn) / 4 > conn->server->config.output_max) {
            answer_error(
                conn, id, STATUS_OVERLOADED, "this connection does not read its answers fast enough");
        } else {
            answer(conn, response);
        }
        server_mark_dirty(conn);
    }
    conn->requests_pending--;
    conn->request_bytes -= owned->frame_bytes;
    conn_free_if_done(conn);
    server_request_done(owned);
}

static void on_written(uv_write_t *write, int status)
{
    struct rpc_conn *conn = write->data;
    conn->writing = false;
    if (status < 0) {
        server_conn_close(conn);
        return;
    }
    if (conn->leaving.cap > SERVER_OUTPUT_KEEP_BYTES) {
        buf_deinit(&conn->leaving);
    }
    conn->last_frame_ms = uv_now(conn->server->loop);
    server_mark_dirty(conn);
}

/* Hand `out` to the kernel, and what it doesn't take to the loop. While the loop has something, `out`
 * collects. */
static void conn_write(struct rpc_conn *conn)
{
    if (conn->writing || conn->out.len == 0) {
        return;
    }
    uv_stream_t *stream = (uv_stream_t *)&conn->tcp;
    uv_buf_t all = uv_buf_init((char *)conn->out.data, (unsigned)conn->out.len);
    int n = uv_try_write(stream, &all, 1);
    if (n < 0 && n != UV_EAGAIN) {
        server_conn_close(conn);
        return;
    }
    size_t sent = n < 0 ? 0 : (size_t)n;
    if (sent < conn->out.len) {
        struct buf empty = conn->leaving;
        buf_move(&conn->leaving, &conn->out);
        buf_move(&conn->out, &empty);
        uv_buf_t rest = uv_buf_init((char *)conn->leaving.data + sent, (unsigned)(conn->leaving.len - sent));
        conn->write.data = conn;
        if (uv_write(&conn->write, stream, &rest, 1, on_written) != 0) {
            server_conn_close(conn);
            return;
        }
        conn->writing = true;
    }
    if (conn->writing || conn->out.cap <= SERVER_OUTPUT_KEEP_BYTES) {
        buf_clear(&conn->out);
    } else {
        buf_deinit(&conn->out);
    }
}

/* ---- Input ---- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct rpc_conn *conn = handle->data;
    if (conn->state == CONN_LINGERING) {
        conn_input_clear(&conn->in);
    }
    size_t room = 0;
    uint8_t *at = conn_input_room(&conn->in, &room);
    *buf = uv_buf_init((char *)at, at == NULL ? 0 : (unsigned)room);
}

static void conn_refuse(struct rpc_conn *conn, enum status status, const char *message)
{
    log_warn(conn->server->config.logger, "client-refused", "conn=%llu status=%s reason=\"%s\"",
        (unsigned long long)conn->id, status_name((int)status), message);
    answer_error(conn, 0, status, message);
    conn_end(conn);
}

static void conn_take_frame(struct rpc_conn *conn, struct bytes payload, uint64_t now_ms)
{
    struct rpc_server *server = conn->server;
    struct server_request *request = server_request_new(server);
    request->r.server = server;
    uint64_t id;
    enum status s = request_decode(payload, &request->r.arena, &request->r.msg, &id);
    if (s != STATUS_OK || request->r.msg->op_case == WBRPC__REQUEST__OP__NOT_SET) {
        if (s == STATUS_OK) {
            answer_error(conn, id, STATUS_INVALID, "this node does not know the operation; it may be older");
        } else if (s == STATUS_TOO_BIG) {
            answer_error(conn, id, STATUS_TOO_BIG, "too many keys for one request; send fewer");
        } else {
            conn_refuse(conn, STATUS_INVALID, "the message is no request; the connection will be closed");
        }
        server_request_done(request);
        return;
    }
    request->r.conn_id = conn->id;
    request->r.received_ms = now_ms;
    request->r.conn = conn;
    request->frame_bytes = payload.len;
    conn->requests_pending++;
    conn->request_bytes += payload.len;
    server->requests_total++;
    server->config.on_request(server->config.data, &request->r);
}

/* Take whole frames until there are none, or a cap is reached. The handler may close the server meanwhile. */
static void conn_process(struct rpc_conn *conn)
{
    struct bytes payload;
    uint64_t now_ms = 0;
    enum status s = STATUS_AGAIN;
    while (conn->state == CONN_SERVING && !conn_capped(conn) &&
           (s = conn_input_next(&conn->in, &payload)) == STATUS_OK) {
        now_ms = now_ms == 0 ? clock_boot_ms() : now_ms;
        conn->last_frame_ms = uv_now(conn->server->loop);
        conn_take_frame(conn, payload, now_ms);
    }
    if (conn->state == CONN_SERVING && s == STATUS_TOO_BIG) {
        conn_refuse(
            conn, STATUS_TOO_BIG, "a message has no acceptable length; the connection will be closed");
    }
    if (conn->state == CONN_SERVING) {
        conn_set_reading(conn, !conn->peer_ended && !conn_capped(conn));
        if (conn->peer_ended && !conn_capped(conn)) {
            conn_end(conn); /* all whole frames are taken */
        }
    }
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)buf;
    struct rpc_conn *conn = stream->data;
    if (n == 0 || conn->state == CONN_CLOSING) {
        return;
    }
    if (conn->state == CONN_LINGERING) {
        if (n < 0) {
            server_conn_close(conn);
        }
        return;
    }
    if (n == UV_EOF) {
        conn->peer_ended = true;
        conn_set_reading(conn, false);
    } else if (n < 0) {
        server_conn_close(conn);
        return;
    } else {
        conn_input_received(&conn->in, (size_t)n);
    }
    conn_process(conn);
}

/* ---- Turns ---- */

static bool conn_owes(const struct rpc_conn *conn)
{
    return conn->requests_pending > 0 || conn->out.len > 0 || conn->writing;
}

void server_conn_turn(struct rpc_conn *conn)
{
    conn_write(conn);
    if (conn->state == CONN_SERVING && !conn->reading) {
        conn_process(conn);
    }
    if (conn->state == CONN_ENDING && conn->goodbye && !conn_owes(conn)) {
        conn->goodbye = false;
        answer_error(conn, 0, STATUS_SHUTTING_DOWN, "the node closes this connection; nothing was done");
        conn_write(conn);
    }
    if (conn->state == CONN_ENDING && !conn_owes(conn)) {
        if (conn->peer_ended) {
            server_conn_close(conn);
        } else {
            conn_linger(conn);
        }
    }
}

void server_conn_sweep(struct rpc_conn *conn, uint64_t now_ms)
{
    if (conn->state == CONN_LINGERING && now_ms >= conn->linger_until_ms) {
        server_conn_close(conn);
        return;
    }
    size_t unsent = conn_unsent(conn);
    if (unsent < conn->unsent_at_sweep) {
        conn->last_frame_ms = now_ms; /* slow, but it reads */
    }
    conn->unsent_at_sweep = unsent;
    unsigned idle_ms = conn->server->config.idle_timeout_ms;
    bool busy = conn->requests_pending > 0;
    if (idle_ms > 0 && !busy && conn->state < CONN_LINGERING && now_ms - conn->last_frame_ms >= idle_ms) {
        log_debug(conn->server->config.logger, "client-idle", "conn=%llu unsent=%zu",
            (unsigned long long)conn->id, unsent);
        if (conn->state == CONN_SERVING && unsent == 0) {
            server_conn_leave(conn);
        } else {
            server_conn_close(conn);
        }
    }
}

static void on_refused_closed(uv_handle_t *handle)
{
    struct rpc_conn *conn = handle->data;
    struct rpc_server *server = conn->server;
    list_remove(&conn->link);
    free(conn);
    server_maybe_dismantle(server);
}

void server_conn_accept(struct rpc_server *server)
{
    struct rpc_conn *conn = xcalloc(1, sizeof *conn);
    int rc = uv_tcp_init(server->loop, &conn->tcp);
    CHECK(rc == 0);
    conn->tcp.data = conn;
    conn->server = server;
    conn->id = ++server->next_conn_id;
    list_init(&conn->dirty_link);
    list_push_back(&server->conns, &conn->link);
    rc = uv_accept((uv_stream_t *)&server->listener, (uv_stream_t *)&conn->tcp);
    if (rc != 0 || server->closing || server->n_conns >= server->config.connections_max) {
        if (rc == 0 && !server->closing && !server->at_capacity) {
            server->at_capacity = true;
            log_warn(server->config.logger, "clients-at-capacity", "connections=%u; more are refused",
                server->n_conns);
        }
        conn->state = CONN_CLOSING;
        uv_close((uv_handle_t *)&conn->tcp, on_refused_closed);
        return;
    }
    uv_tcp_nodelay(&conn->tcp, 1);
    server->n_conns++;
    conn->last_frame_ms = uv_now(server->loop);
    conn_input_init(&conn->in, LIMIT_FRAME_BYTES);
    conn_set_reading(conn, true);
}
