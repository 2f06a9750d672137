/* A connection's output: answers are packed behind each other, and leave once a turn. */
#include "proto/base/check.h"
#include "rpc/server_private.h"

size_t server_conn_unsent(const struct server_conn *conn)
{
    size_t leaving = conn->writing ? uv_stream_get_write_queue_size((const uv_stream_t *)&conn->tcp) : 0;
    return conn->out.len + leaving;
}

void server_output_begin(struct server_conn *conn)
{
    if (server_conn_unsent(conn) == 0) {
        conn->sent_ms = uv_now(conn->server->loop); /* its time to be read begins now */
    }
}

void server_output_added(struct server_conn *conn, size_t bytes)
{
    CHECK(!conn->out.failed); /* out of memory: a node stops, see proto/base/alloc.h */
    conn->answer_bytes += bytes;
    server_recount(conn);
    server_mark_dirty(conn);
}

bool server_output_has_room(struct server_conn *conn, size_t size)
{
    if (size > SERVER_SHORT_ANSWER_BYTES && !server_may_hold(conn, size)) {
        server_output_write(conn);
    }
    return size <= SERVER_SHORT_ANSWER_BYTES || server_may_hold(conn, size);
}

/* ---- Writing ---- */

static void on_written(uv_write_t *write, int status)
{
    struct server_conn *conn = write->data;
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
static bool write_rest(struct server_conn *conn, size_t sent)
{
    struct buf empty = conn->leaving;
    buf_move(&conn->leaving, &conn->out);
    buf_move(&conn->out, &empty);
    buf_clear(&conn->out);
    uv_buf_t rest = {.base = (char *)conn->leaving.data + sent, .len = conn->leaving.len - sent};
    conn->write.data = conn;
    conn->writing = uv_write(&conn->write, (uv_stream_t *)&conn->tcp, &rest, 1, on_written) == 0;
    return conn->writing;
}

void server_output_write(struct server_conn *conn)
{
    if (conn->writing || conn->out.len == 0 || conn->state >= CONN_LINGERING) {
        return;
    }
    uv_buf_t all = {.base = (char *)conn->out.data, .len = conn->out.len};
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
