/* The machinery of the ports: starting, the end of a loop turn, sweeping, closing. One connection is
 * server_conn.c's.
 *
 * Happy path: the kernel has bytes -> on_read lets the codec take all whole messages -> the handler is called
 * for each -> its answer, now or in a later turn, is put behind the connection's output -> the prepare
 * callback, just before the loop would sleep, writes each connection's output once. */
#include <stdarg.h>
#include <stdlib.h>

#include "proto/base/check.h"
#include "rpc/server_private.h"

enum { SWEEP_MIN_MS = 10, EVENT_BYTES = 64, PAIRS_BYTES = 512 };

static void on_awake(uv_idle_t *idle)
{
    (void)idle; /* its being active is what matters: the loop polls without sleeping */
}

static void on_flush(uv_prepare_t *prepare)
{
    struct server *server = prepare->data;
    struct list turn, later;
    list_init(&turn);
    list_init(&later);
    list_splice_back(&turn, &server->dirty);
    uv_idle_stop(&server->awake);
    server->turn++;
    server->turn_bytes = 0;
    struct list *node;
    while ((node = list_pop_front(&turn)) != NULL) {
        struct server_conn *conn = list_entry(node, struct server_conn, dirty_link);
        if (conn->resting && conn->state == CONN_SERVING && server_turn_is_full(server)) {
            list_push_back(&later, node);
            server_output_write(conn);
        } else {
            server_conn_turn(conn);
        }
    }
    if (!list_empty(&later)) { /* they are the first of the next turn */
        list_splice_front(&server->dirty, &later);
        uv_idle_start(&server->awake, on_awake);
    }
    server_budget_turn(server);
}

static void on_sweep(uv_timer_t *timer)
{
    struct server *server = timer->data;
    uint64_t now = uv_now(server->loop);
    server->ends_swept = 0;
    list_for_each (it, tmp, &server->conns) {
        server_conn_sweep(list_entry(it, struct server_conn, link), now);
    }
    server_budget_sweep(server, now);
    server_listen_sweep(server);
    if (server->refusals_silent > 0) {
        server_log(server, LOG_WARN, "clients-refused", "more=%u; only the first ones are told one by one",
            server->refusals_silent);
    }
    server->refusals_logged = 0;
    server->refusals_silent = 0;
}

void server_mark_dirty(struct server_conn *conn)
{
    struct server *server = conn->server;
    if (conn->state == CONN_CLOSING || !list_empty(&conn->dirty_link)) {
        return;
    }
    list_push_back(&server->dirty, &conn->dirty_link);
    uv_idle_start(&server->awake, on_awake);
}

struct server_request *server_request_new(struct server_conn *conn)
{
    struct server *server = conn->server;
    struct list *node = list_pop_front(&server->free_requests);
    struct server_request *request;
    if (node != NULL) {
        server->n_free_requests--;
        request = list_entry(node, struct server_request, link);
    } else {
        request = server->codec->request_create();
        list_init(&request->link);
    }
    server->requests_live++;
    request->server = server;
    request->conn = conn;
    return request;
}

void server_request_done(struct server_request *request)
{
    struct server *server = request->server;
    if (server->n_free_requests < SERVER_FREE_REQUESTS) {
        server->codec->request_reset(request);
        list_push_front(&server->free_requests, &request->link);
        server->n_free_requests++;
    } else {
        server->codec->request_destroy(request);
    }
    server->requests_live--;
    server_maybe_dismantle(server);
}

void server_log(const struct server *server, enum log_level level, const char *event, const char *format, ...)
{
    char name[EVENT_BYTES], pairs[PAIRS_BYTES];
    if (server->logger == NULL || level > server->logger->level) {
        return;
    }
    va_list args;
    va_start(args, format);
    vsnprintf(pairs, sizeof pairs, format, args);
    va_end(args);
    snprintf(name, sizeof name, "%s%s", server->codec->log_prefix, event);
    log_line(server->logger, level, name, "%s", pairs);
}

/* ---- Closing ---- */

static void on_handle_closed(uv_handle_t *handle)
{
    struct server *server = handle->data;
    CHECK(server->handles_open > 0);
    server->handles_open--;
    if (server->handles_open > 0) {
        return;
    }
    struct list *node;
    while ((node = list_pop_front(&server->free_requests)) != NULL) {
        server->codec->request_destroy(list_entry(node, struct server_request, link));
    }
    if (server->close_cb != NULL) {
        server->close_cb(server->close_data);
    }
    free(server);
}

void server_maybe_dismantle(struct server *server)
{
    if (!server->closing || server->dismantled || server->requests_live > 0 || !list_empty(&server->conns)) {
        return;
    }
    server->dismantled = true;
    uv_close((uv_handle_t *)&server->flusher, on_handle_closed);
    uv_close((uv_handle_t *)&server->awake, on_handle_closed);
    uv_close((uv_handle_t *)&server->sweeper, on_handle_closed);
    uv_close((uv_handle_t *)&server->grace, on_handle_closed);
}

static void close_all(struct server *server)
{
    list_for_each (it, tmp, &server->conns) {
        server_conn_close(list_entry(it, struct server_conn, link));
    }
}

static void on_grace_over(uv_timer_t *timer)
{
    close_all(timer->data);
}

void server_close(struct server *server, unsigned grace_ms, void (*cb)(void *data), void *data)
{
    CHECK(!server->closing);
    server->closing = true;
    server->close_cb = cb;
    server->close_data = data;
    server_listen_close(server, on_handle_closed);
    if (grace_ms == 0) {
        close_all(server);
    } else {
        list_for_each (it, tmp, &server->conns) {
            server_conn_leave(list_entry(it, struct server_conn, link));
        }
        uv_timer_start(&server->grace, on_grace_over, grace_ms, 0);
    }
    server_maybe_dismantle(server);
}

/* ---- Starting ---- */

static uint64_t sweep_period_ms(const struct server_limits *limits)
{
    uint64_t period_ms = SERVER_SWEEP_MS;
    unsigned timeouts[] = {limits->idle_timeout_ms, limits->frame_timeout_ms};
    for (unsigned i = 0; i < 2; i++) {
        if (timeouts[i] > 0 && timeouts[i] / 4 < period_ms) {
            period_ms = timeouts[i] / 4;
        }
    }
    return period_ms < SWEEP_MIN_MS ? SWEEP_MIN_MS : period_ms;
}

static void start_handles(struct server *server)
{
    uv_prepare_init(server->loop, &server->flusher);
    uv_idle_init(server->loop, &server->awake);
    uv_timer_init(server->loop, &server->sweeper);
    uv_timer_init(server->loop, &server->grace);
    server->flusher.data = server;
    server->awake.data = server;
    server->sweeper.data = server;
    server->grace.data = server;
    server->handles_open = 5; /* with the listener */
    uv_prepare_start(&server->flusher, on_flush);
    uv_timer_start(&server->sweeper, on_sweep, SWEEP_MIN_MS, sweep_period_ms(&server->limits));
}

enum status server_start(struct server *server, uv_loop_t *loop, const struct server_codec *codec,
    const struct server_limits *limits, const struct logger *logger, const char *address, char *errmsg,
    size_t errmsg_len)
{
    server->codec = codec;
    server->loop = loop;
    server->limits = *limits;
    server->logger = logger;
    list_init(&server->conns);
    list_init(&server->dirty);
    list_init(&server->waiting);
    list_init(&server->free_requests);
    enum status status = server_listen(server, address, errmsg, errmsg_len);
    if (status != STATUS_OK) {
        free(server);
        return status;
    }
    start_handles(server);
    server_log(server, LOG_INFO, "client-port-open", "address=%s port=%u", address, server->port);
    return STATUS_OK;
}
