/* A connection's output: answers are packed behind each other, and leave once a turn. */
#include "proto/base/check.h"
#include "proto/frame.h"
#include "proto/limits.h"
#include "proto/pb.h"
#include "rpc/server_private.h"

enum { RETRY_AFTER_MS = 200 };

size_t server_conn_unsent(const struct rpc_conn *conn)
{
    size_t leaving = conn->writing ? uv_stream_get_write_queue_size((const uv_stream_t *)&conn->tcp) : 0;
    return conn->out.len + leaving;
}

static void answer(struct rpc_conn *conn, Wbrpc__Response *response)
{
    struct buf *out = &conn->out;
    size_t start = out->len;
    if (server_conn_unsent(conn) == 0) {
        conn->sent_ms = uv_now(conn->server->loop); /* its time to be read begins now */
    }
    frame_begin(out, 0);
    pb_pack(&response->base, out);
    CHECK(!out->failed); /* out of memory: a node stops, see proto/base/alloc.h */
    store_be32(out->data + start, (uint32_t)(out->len - start - FRAME_HEADER_BYTES));
    conn->answer_bytes += out->len - start;
    server_recount(conn);
    server_mark_dirty(conn);
}

void server_answer_words(struct rpc_conn *conn, uint64_t id, enum status status, const char *words)
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

/* ---- Replies ---- */

static bool is_write(const Wbrpc__Request *msg)
{
    return msg->op_case == WBRPC__REQUEST__OP_SET || msg->op_case == WBRPC__REQUEST__OP_DEL ||
           msg->op_case == WBRPC__REQUEST__OP_INCR || msg->op_case == WBRPC__REQUEST__OP_APPEND ||
           msg->op_case == WBRPC__REQUEST__OP_EXPIRE;
}

/* Words instead of an answer that is too long. A write was done: nobody may be told that nothing was. */
static void answer_instead(
    struct rpc_conn *conn, const Wbrpc__Request *msg, enum status status, const char *words)
{
    server_answer_words(conn, msg->id, is_write(msg) ? STATUS_UNKNOWN : status, words);
}

/* Is there room for an answer of @size bytes? What has collected is written first, if that helps; then the
 * connection may turn out to be broken. */
static bool has_room(struct rpc_conn *conn, size_t size)
{
    if (size <= SERVER_SHORT_ANSWER_BYTES) {
        return true;
    }
    if (!server_may_hold(conn, size)) {
        server_answer_write(conn);
    }
    return server_may_hold(conn, size) && server_conn_unsent(conn) / 4 <= conn->server->config.output_max;
}

static void reply(struct rpc_conn *conn, const Wbrpc__Request *msg, Wbrpc__Response *response)
{
    size_t size = protobuf_c_message_get_packed_size(&response->base);
    response->id = msg->id;
    if (size > LIMIT_FRAME_BYTES - 16) { /* the id's own size may still change */
        answer_instead(conn, msg, STATUS_TOO_BIG,
            "the answer is too big for one message; ask for fewer keys, or not for their old values");
        return;
    }
    bool room = has_room(conn, size);
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
    struct server_request *owned = (struct server_request *)(void *)request;
    struct rpc_conn *conn = request->conn;
    if (conn->state != CONN_CLOSING) {
        reply(conn, request->msg, response);
        server_mark_dirty(conn);
    }
    if (conn->server->taking == owned) {
        conn->server->taking = NULL;
    }
    conn->requests_pending--;
    conn->frame_bytes -= owned->frame_bytes;
    conn->request_bytes -= owned->memory_bytes;
    server_recount(conn);
    server_conn_free_if_done(conn);
    server_request_done(owned);
}

/* ---- Writing ---- */

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
    } else {
        buf_clear(&conn->leaving);
    }
    conn->last_frame_ms = uv_now(conn->server->loop);
    server_recount(conn);
    server_mark_dirty(conn);
}

/* Give the loop what the kernel didn't take of `out`: all but the first @sent bytes. */
static bool write_rest(struct rpc_conn *conn, size_t sent)
{
    struct buf empty = conn->leaving;
    buf_move(&conn->leaving, &conn->out);
    buf_move(&conn->out, &empty);
    buf_clear(&conn->out);
    uv_buf_t rest = uv_buf_init((char *)conn->leaving.data + sent, (unsigned)(conn->leaving.len - sent));
    conn->write.data = conn;
    conn->writing = uv_write(&conn->write, (uv_stream_t *)&conn->tcp, &rest, 1, on_written) == 0;
    return conn->writing;
}

void server_answer_write(struct rpc_conn *conn)
{
    if (conn->writing || conn->out.len == 0 || conn->state >= CONN_LINGERING) {
        return;
    }
    uv_buf_t all = uv_buf_init((char *)conn->out.data, (unsigned)conn->out.len);
    int n = uv_try_write((uv_stream_t *)&conn->tcp, &all, 1);
    if (n < 0 && n != UV_EAGAIN) {
        server_conn_close(conn);
        return;
    }
    size_t sent = n < 0 ? 0 : (size_t)n;
    if (sent < conn->out.len) {
        if (!write_rest(conn, sent)) {
            server_conn_close(conn);
            return;
        }
    } else if (conn->out.cap <= SERVER_OUTPUT_KEEP_BYTES) {
        buf_clear(&conn->out);
    } else {
        buf_deinit(&conn->out);
    }
    server_recount(conn);
}
