/* One connection of a port: its input, its caps, its end. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "rpc/server_private.h"

enum { WORDS_BYTES = 256 };

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf);
static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);

static void conn_move(struct server_conn *conn, enum conn_state to)
{
    CHECK(to > conn->state);
    CHECK(to != CONN_LINGERING || !conn->peer_ended);
    conn->state = to;
}

/* ---- The end ---- */

void server_conn_free_if_done(struct server_conn *conn)
{
    if (conn->closed && conn->requests_pending == 0) {
        free(conn);
    }
}

static void on_closed(uv_handle_t *handle)
{
    struct server_conn *conn = handle->data;
    struct server *server = conn->server;
    server->codec->conn_closed(conn);
    conn->closed = true;
    conn_input_deinit(&conn->in);
    buf_deinit(&conn->out);
    buf_deinit(&conn->leaving);
    server_recount(conn);
    list_remove(&conn->link);
    server->n_conns--;
    server_conn_free_if_done(conn);
    server_maybe_dismantle(server);
}

void server_conn_close(struct server_conn *conn)
{
    if (conn->state == CONN_CLOSING) {
        return;
    }
    conn_move(conn, CONN_CLOSING);
    list_remove(&conn->dirty_link);
    list_remove(&conn->waiting_link);
    uv_close((uv_handle_t *)&conn->tcp, on_closed);
}

static void conn_set_reading(struct server_conn *conn, bool reading)
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

/* Read no more; close once the answers owed are written. What was received and not taken is forgotten. */
static void conn_end(struct server_conn *conn)
{
    if (conn->state != CONN_SERVING) {
        return;
    }
    conn_move(conn, CONN_ENDING);
    conn_set_reading(conn, false);
    list_remove(&conn->waiting_link);
    conn->frame_begun_ms = 0;
    conn->sent_ms = uv_now(conn->server->loop);
    conn_input_clear(&conn->in);
    conn_input_trim(&conn->in, true);
    server_recount(conn);
    server_mark_dirty(conn);
}

static void conn_end_with(struct server_conn *conn, enum status status, const char *words)
{
    if (conn->state == CONN_SERVING) {
        conn->last_status = status;
        conn->last_words = words;
        conn_end(conn);
    }
}

void server_conn_finish(struct server_conn *conn)
{
    conn_end(conn);
}

void server_conn_leave(struct server_conn *conn)
{
    conn_end_with(conn, STATUS_SHUTTING_DOWN, "the node closes this connection; nothing was done");
}

/* @words as they can stand in a line of the log: a codec's may have a byte of the client's in them. */
static const char *for_the_log(const char *words, char out[WORDS_BYTES])
{
    size_t n = 0;
    for (; words[n] != '\0' && n + 1 < WORDS_BYTES; n++) {
        out[n] = words[n];
        if (words[n] < ' ' || words[n] > '~' || words[n] == '"') {
            out[n] = '?';
        }
    }
    out[n] = '\0';
    return out;
}

void server_conn_refuse(struct server_conn *conn, enum status status, const char *words)
{
    struct server *server = conn->server;
    char said[WORDS_BYTES];
    if (server->refusals_logged < SERVER_REFUSALS_LOGGED) {
        server->refusals_logged++;
        server_log(server, LOG_WARN, "client-refused", "conn=%llu status=%s reason=\"%s\"",
            (unsigned long long)conn->id, status_name((int)status), for_the_log(words, said));
    } else {
        server->refusals_silent++;
    }
    conn_end_with(conn, status, words);
}

static void on_shut_down(uv_shutdown_t *request, int status)
{
    struct server_conn *conn = request->data;
    if (status < 0) {
        server_conn_close(conn);
    }
}

static void conn_linger(struct server_conn *conn)
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

/* ---- Input ---- */

/* Is one of its own caps reached? */
static bool conn_full(const struct server_conn *conn)
{
    const struct server_limits *limits = &conn->server->limits;
    return conn->requests_pending >= limits->requests_max || conn->frame_bytes > SERVER_REQUEST_BYTES_MAX ||
           server_conn_unsent(conn) + conn->queued_bytes > limits->output_max;
}

bool server_turn_is_full(const struct server *server)
{
    return server->turn_bytes >= SERVER_TURN_BYTES;
}

static void turn_add(struct server_conn *conn, size_t bytes)
{
    struct server *server = conn->server;
    conn->turn_bytes = (conn->turn == server->turn ? conn->turn_bytes : 0) + bytes;
    conn->turn = server->turn;
    server->turn_bytes += bytes;
}

/* Has it had its part of this turn? */
static bool conn_must_rest(const struct server_conn *conn)
{
    return server_turn_is_full(conn->server) && conn->turn == conn->server->turn &&
           conn->turn_bytes >= SERVER_TURN_SHARE_BYTES;
}

/* Is there room for what comes next: in the buffer as it is, or by growing it? */
static bool conn_may_read(const struct server_conn *conn)
{
    size_t growth = conn_input_growth(&conn->in);
    return growth == 0 || server_may_hold(conn, growth);
}

/* Give back buffers that nothing is in. */
static void conn_give_back(struct server_conn *conn)
{
    conn_input_trim(&conn->in, true);
    if (conn->out.len == 0) {
        buf_deinit(&conn->out);
    }
    if (!conn->writing) {
        buf_deinit(&conn->leaving);
    }
    server_recount(conn);
}

bool server_conn_has_room(struct server_conn *conn, size_t bytes)
{
    if (!server_may_hold(conn, bytes)) {
        conn_give_back(conn);
    }
    return server_may_hold(conn, bytes);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct server_conn *conn = handle->data;
    if (conn->state == CONN_LINGERING) {
        *buf = uv_buf_init(conn->server->discard, sizeof conn->server->discard);
        return;
    }
    if (!conn_may_read(conn)) { /* others took what there was, in this turn: UV_ENOBUFS follows */
        *buf = uv_buf_init(NULL, 0);
        return;
    }
    size_t room = 0;
    uint8_t *at = conn_input_room(&conn->in, &room);
    CHECK(at != NULL); /* out of memory: a node stops, see proto/base/alloc.h */
    if (server_turn_is_full(conn->server) && room > SERVER_TURN_SHARE_BYTES) {
        room = SERVER_TURN_SHARE_BYTES;
    }
    *buf = uv_buf_init((char *)at, (unsigned)room);
    server_recount(conn);
}

/* The handler may put more into the request later, but not much. */
void server_conn_charge(struct server_conn *conn, struct server_request *request)
{
    size_t bytes = conn->server->codec->request_bytes(request);
    conn->request_bytes = conn->request_bytes - request->memory_bytes + bytes;
    request->memory_bytes = bytes;
    server_recount(conn);
}

void server_conn_hand_over(struct server_conn *conn, struct server_request *request, size_t frame_bytes)
{
    struct server *server = conn->server;
    request->frame_bytes = frame_bytes;
    request->memory_bytes = 0;
    conn->requests_pending++;
    conn->frame_bytes += frame_bytes;
    server_conn_charge(conn, request);
    server->requests_total++;
    server->taking = request;
    server->codec->request_handle(request);
    if (server->taking != NULL) {
        server_conn_charge(conn, request);
        server->taking = NULL;
    }
}

void server_conn_release(struct server_request *request)
{
    struct server_conn *conn = request->conn;
    conn->requests_pending--;
    conn->frame_bytes -= request->frame_bytes;
    conn->request_bytes -= request->memory_bytes;
    server_recount(conn);
    server_conn_free_if_done(conn);
    server_request_done(request);
}

/* The clock of an unfinished frame runs from its first bytes, and only while we read. */
static void conn_watch_frame(struct server_conn *conn, bool took)
{
    const struct server_codec *codec = conn->server->codec;
    if (!codec->begun(conn) || conn_full(conn) || codec->whole(conn)) {
        conn->frame_begun_ms = 0;
    } else if (took || conn->frame_begun_ms == 0) {
        conn->frame_begun_ms = uv_now(conn->server->loop);
    }
}

/* Take whole messages until there are none, or a cap is reached. The handler may close the server meanwhile.
 */
static void conn_process(struct server_conn *conn)
{
    const struct server_codec *codec = conn->server->codec;
    uint64_t boot_ms = clock_boot_ms();
    bool took = false;
    conn->resting = false;
    while (conn->state == CONN_SERVING && !conn_full(conn) && !conn_must_rest(conn) &&
           (conn->refusing || server_conn_has_room(conn, 0)) && codec->take(conn, boot_ms)) {
        conn->last_frame_ms = uv_now(conn->server->loop);
        turn_add(conn, SERVER_TURN_REQUEST_BYTES);
        took = true;
    }
    if (conn->state != CONN_SERVING) {
        return;
    }
    conn_watch_frame(conn, took);
    conn_input_trim(&conn->in, false);
    server_recount(conn);
    bool full = conn_full(conn);
    bool whole = codec->whole(conn); /* and not taken: others hold too much */
    conn->resting = !full && conn_must_rest(conn);
    if (conn->resting) {
        conn_set_reading(conn, false);
        server_mark_dirty(conn);
        return;
    }
    bool wait = !full && (whole || (!conn->peer_ended && !conn_may_read(conn)));
    conn_set_reading(conn, !conn->peer_ended && !full && !wait);
    if (wait) {
        server_wait_for_room(conn);
    } else if (conn->peer_ended && !full) {
        conn_end(conn); /* all whole messages are taken */
    }
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)buf;
    struct server_conn *conn = stream->data;
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
    } else if (n < 0 && n != UV_ENOBUFS) {
        server_conn_close(conn);
        return;
    } else if (n > 0) {
        conn_input_received(&conn->in, (size_t)n);
        conn->received_ms = uv_now(conn->server->loop);
        turn_add(conn, (size_t)n);
    }
    conn_process(conn);
}

/* ---- Turns ---- */

static bool conn_owes(const struct server_conn *conn)
{
    return conn->requests_pending > 0 || conn->out.len > 0 || conn->writing;
}

void server_conn_turn(struct server_conn *conn)
{
    server_output_write(conn);
    if (conn->state == CONN_SERVING && !conn->reading) {
        conn_process(conn);
    }
    if (conn->state == CONN_ENDING && conn->last_words != NULL && !conn_owes(conn)) {
        conn->server->codec->say(conn, conn->last_status, conn->last_words);
        conn->last_words = NULL;
        server_output_write(conn);
    }
    if (conn->state == CONN_ENDING && !conn_owes(conn)) {
        if (conn->peer_ended) {
            server_conn_close(conn);
        } else {
            conn_linger(conn);
        }
    }
}

/* Since the last sweep: did answers leave? Is there a buffer that nobody has needed? */
static void conn_take_stock(struct server_conn *conn, size_t unsent, uint64_t now_ms)
{
    uint64_t sent = conn->answer_bytes - unsent;
    if (unsent > 0 && sent > conn->sent_at_sweep) {
        conn->last_frame_ms = now_ms; /* slow, but it reads */
    }
    if (unsent == 0 || sent > conn->sent_at_sweep) {
        conn->sent_ms = now_ms;
    }
    conn->sent_at_sweep = sent;
    if (now_ms - conn->last_frame_ms >= SERVER_SWEEP_MS && conn->state != CONN_CLOSING) {
        conn_give_back(conn);
    }
}

/* May this sweep end one connection more? The others' time comes in the next. */
static bool may_end(struct server *server)
{
    return server->ends_swept < SERVER_ENDS_A_SWEEP && ++server->ends_swept > 0;
}

static void conn_sweep_frame(struct server_conn *conn, uint64_t now_ms)
{
    unsigned timeout_ms = conn->server->limits.frame_timeout_ms;
    if (conn->state == CONN_SERVING && timeout_ms > 0 && conn->frame_begun_ms != 0 &&
        now_ms - conn->frame_begun_ms >= timeout_ms && may_end(conn->server)) {
        server_conn_refuse(conn, STATUS_TIMEOUT,
            "a message was begun and not finished in time; the connection will be closed");
    }
}

/* Messages that wait for room take it as well: if nobody gives way, they must not wait for each other. A
 * refusal that itself had to wait for earlier answers would only take more. */
static void conn_sweep_waiting(struct server_conn *conn, uint64_t now_ms)
{
    bool could_leave = !conn->server->codec->in_order || conn->requests_pending == 0;
    if (!list_empty(&conn->waiting_link) && could_leave && now_ms - conn->wait_begun_ms >= SERVER_STALL_MS) {
        list_remove(&conn->waiting_link);
        conn->refusing = true;
        conn_process(conn);
        conn->refusing = false;
    }
}

/* The end of what the peer sends stands behind what we did not read: but the kernel knows of it. */
static bool peer_is_done(const struct server_conn *conn)
{
    uv_os_fd_t fd;
    struct tcp_info info = {0};
    socklen_t len = sizeof info;
    if (conn->peer_ended) {
        return true;
    }
    return !conn->reading && uv_fileno((const uv_handle_t *)&conn->tcp, &fd) == 0 &&
           getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
           (info.tcpi_state == TCP_CLOSE_WAIT || info.tcpi_state == TCP_CLOSE);
}

/* Who will say nothing more, and is answered nothing any more, is most likely gone: what it waits for may
 * take an hour. */
static void conn_sweep_gone(struct server_conn *conn, uint64_t now_ms)
{
    const struct server *server = conn->server;
    unsigned timeout_ms = server->limits.frame_timeout_ms;
    if (server->codec->gives_up && timeout_ms > 0 && conn->state < CONN_LINGERING &&
        conn->requests_pending > 0 && now_ms - conn->last_frame_ms >= timeout_ms && peer_is_done(conn) &&
        may_end(conn->server)) {
        server_conn_close(conn);
    }
}

static void conn_sweep_idle(struct server_conn *conn, size_t unsent, uint64_t now_ms)
{
    unsigned idle_ms = conn->server->limits.idle_timeout_ms;
    if (idle_ms == 0 || conn->requests_pending > 0 || conn->state >= CONN_LINGERING ||
        now_ms - conn->last_frame_ms < idle_ms || !may_end(conn->server)) {
        return;
    }
    server_log(
        conn->server, LOG_DEBUG, "client-idle", "conn=%llu unsent=%zu", (unsigned long long)conn->id, unsent);
    if (conn->state == CONN_SERVING && unsent == 0) {
        server_conn_leave(conn);
    } else {
        server_conn_close(conn);
    }
}

void server_conn_sweep(struct server_conn *conn, uint64_t now_ms)
{
    if (conn->state == CONN_LINGERING && now_ms >= conn->linger_until_ms) {
        if (may_end(conn->server)) {
            server_conn_close(conn);
        }
        return;
    }
    size_t unsent = server_conn_unsent(conn);
    conn_take_stock(conn, unsent, now_ms);
    /* Who is to be told something, and does not read, is not waited for. */
    if (conn->state == CONN_ENDING && !conn->peer_ended && conn->requests_pending == 0 &&
        now_ms - conn->sent_ms >= SERVER_LINGER_MS) {
        server_conn_close(conn);
        return;
    }
    conn_sweep_frame(conn, now_ms);
    conn_sweep_waiting(conn, now_ms);
    conn_sweep_idle(conn, unsent, now_ms);
    conn_sweep_gone(conn, now_ms);
}

void server_conn_open(struct server *server, int fd)
{
    struct server_conn *conn = xcalloc(1, server->codec->conn_bytes);
    int rc = uv_tcp_init(server->loop, &conn->tcp);
    CHECK(rc == 0); /* nothing can fail before a socket is opened */
    conn->tcp.data = conn;
    conn->server = server;
    conn->id = ++server->next_conn_id;
    list_init(&conn->dirty_link);
    list_init(&conn->waiting_link);
    list_push_back(&server->conns, &conn->link);
    conn->last_frame_ms = conn->sent_ms = uv_now(server->loop);
    conn_input_init(&conn->in, server->limits.message_bytes_max);
    server->n_conns++;
    rc = uv_tcp_open(&conn->tcp, fd);
    CHECK(rc == 0); /* a socket of ours that no other handle has */
    uv_tcp_nodelay(&conn->tcp, 1);
    server->codec->conn_opened(conn);
    conn_set_reading(conn, true);
}
