/* The client port: listening, the end of a loop turn, sweeping, closing. One connection is server_conn.c's.
 *
 * Happy path: the kernel has bytes -> on_read cuts and decodes all whole frames -> the handler is called for
 * each
 * -> rpc_reply, now or in a later turn, appends to the connection's output -> the prepare callback, just
 * before the loop would sleep, writes each connection's output once. */
#include "rpc/server.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/limits.h"
#include "proto/pb.h"
#include "rpc/address.h"
#include "rpc/server_private.h"

enum { LISTEN_BACKLOG = 1024, SWEEP_MIN_MS = 10 };

static void on_awake(uv_idle_t *idle)
{
    (void)idle; /* its being active is what matters: the loop polls without sleeping */
}

static void on_flush(uv_prepare_t *prepare)
{
    struct rpc_server *server = prepare->data;
    struct list turn;
    list_init(&turn);
    list_splice_back(&turn, &server->dirty);
    uv_idle_stop(&server->awake);
    struct list *node;
    while ((node = list_pop_front(&turn)) != NULL) {
        server_conn_turn(list_entry(node, struct rpc_conn, dirty_link));
    }
}

static void on_sweep(uv_timer_t *timer)
{
    struct rpc_server *server = timer->data;
    uint64_t now = uv_now(server->loop);
    list_for_each (it, tmp, &server->conns) {
        server_conn_sweep(list_entry(it, struct rpc_conn, link), now);
    }
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct rpc_server *server = listener->data;
    if (status < 0) {
        log_warn(server->config.logger, "accept-failed", "error=\"%s\"", uv_strerror(status));
        return;
    }
    server_conn_accept(server);
}

void server_mark_dirty(struct rpc_conn *conn)
{
    struct rpc_server *server = conn->server;
    if (conn->state == CONN_CLOSING || !list_empty(&conn->dirty_link)) {
        return;
    }
    list_push_back(&server->dirty, &conn->dirty_link);
    uv_idle_start(&server->awake, on_awake);
}

struct server_request *server_request_new(struct rpc_server *server)
{
    struct list *node = list_pop_front(&server->free_requests);
    server->requests_live++;
    if (node != NULL) {
        server->n_free_requests--;
        return list_entry(node, struct server_request, link);
    }
    struct server_request *request = xmalloc(sizeof *request);
    arena_init(&request->r.arena);
    list_init(&request->link);
    return request;
}

void server_request_done(struct server_request *request)
{
    struct rpc_server *server = request->r.server;
    arena_reset(&request->r.arena);
    if (request->r.arena.bytes > SERVER_ARENA_KEEP_BYTES) {
        arena_deinit(&request->r.arena);
    }
    if (server->n_free_requests < SERVER_FREE_REQUESTS) {
        list_push_front(&server->free_requests, &request->link);
        server->n_free_requests++;
    } else {
        arena_deinit(&request->r.arena);
        free(request);
    }
    server->requests_live--;
    server_maybe_dismantle(server);
}

unsigned rpc_server_port(const struct rpc_server *server)
{
    return server->port;
}

unsigned rpc_server_connections(const struct rpc_server *server)
{
    return server->n_conns;
}

uint64_t rpc_server_requests(const struct rpc_server *server)
{
    return server->requests_total;
}

/* ---- Closing ---- */

static void on_handle_closed(uv_handle_t *handle)
{
    struct rpc_server *server = handle->data;
    CHECK(server->handles_open > 0);
    server->handles_open--;
    if (server->handles_open > 0) {
        return;
    }
    struct list *node;
    while ((node = list_pop_front(&server->free_requests)) != NULL) {
        struct server_request *request = list_entry(node, struct server_request, link);
        arena_deinit(&request->r.arena);
        free(request);
    }
    if (server->close_cb != NULL) {
        server->close_cb(server->close_data);
    }
    free(server);
}

void server_maybe_dismantle(struct rpc_server *server)
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

static void close_all(struct rpc_server *server)
{
    list_for_each (it, tmp, &server->conns) {
        server_conn_close(list_entry(it, struct rpc_conn, link));
    }
}

static void on_grace_over(uv_timer_t *timer)
{
    close_all(timer->data);
}

void rpc_server_close(struct rpc_server *server, unsigned grace_ms, void (*cb)(void *data), void *data)
{
    CHECK(!server->closing);
    server->closing = true;
    server->close_cb = cb;
    server->close_data = data;
    uv_close((uv_handle_t *)&server->listener, on_handle_closed);
    if (grace_ms == 0) {
        close_all(server);
    } else {
        list_for_each (it, tmp, &server->conns) {
            server_conn_leave(list_entry(it, struct rpc_conn, link));
        }
        uv_timer_start(&server->grace, on_grace_over, grace_ms, 0);
    }
    server_maybe_dismantle(server);
}

/* ---- Starting ---- */

static unsigned bound_port(const uv_tcp_t *tcp)
{
    struct sockaddr_storage name;
    int len = sizeof name;
    if (uv_tcp_getsockname(tcp, (struct sockaddr *)&name, &len) != 0) {
        return 0;
    }
    return name.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&name)->sin6_port)
                                      : ntohs(((struct sockaddr_in *)&name)->sin_port);
}

/* A listening socket, or a negated errno. */
static int open_listener(const struct addrinfo *a)
{
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
    if (fd < 0) {
        return -errno;
    }
    int on = 1;
    int off = 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (a->ai_family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    }
    if (bind(fd, a->ai_addr, a->ai_addrlen) != 0 || listen(fd, LISTEN_BACKLOG) != 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

/* The first of @addresses that can be listened on. With no host, IPv6's "any" goes first: it takes IPv4 as
 * well. */
static int open_any_listener(const struct addrinfo *addresses, bool any_host)
{
    int fd = -EADDRNOTAVAIL;
    for (int pass = any_host ? 0 : 1; pass < 2; pass++) {
        for (const struct addrinfo *a = addresses; a != NULL; a = a->ai_next) {
            if (pass == 0 && a->ai_family != AF_INET6) {
                continue;
            }
            fd = open_listener(a);
            if (fd >= 0) {
                return fd;
            }
        }
    }
    return fd;
}

static int listen_at(const char *text, char *errmsg, size_t errmsg_len)
{
    struct address address;
    if (address_parse(bytes_of(text, strlen(text)), &address) != STATUS_OK) {
        snprintf(errmsg, errmsg_len, "'%s' is no address to listen on: write HOST:PORT or [IPV6]:PORT", text);
        return -EINVAL;
    }
    bool any_host = address.host[0] == '\0';
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found;
    int rc = getaddrinfo(any_host ? NULL : address.host, address.port, &hints, &found);
    if (rc != 0) {
        snprintf(
            errmsg, errmsg_len, "cannot listen on %s: the host is not known: %s", text, gai_strerror(rc));
        return -EADDRNOTAVAIL;
    }
    int fd = open_any_listener(found, any_host);
    freeaddrinfo(found);
    if (fd < 0) {
        snprintf(errmsg, errmsg_len, "cannot listen on %s: %s%s", text, strerror(-fd),
            fd == -EADDRINUSE ? " (is another node, or another program, running there?)" : "");
    }
    return fd;
}

static void start_handles(struct rpc_server *server)
{
    uv_prepare_init(server->loop, &server->flusher);
    uv_idle_init(server->loop, &server->awake);
    uv_timer_init(server->loop, &server->sweeper);
    uv_timer_init(server->loop, &server->grace);
    server->listener.data = server;
    server->flusher.data = server;
    server->awake.data = server;
    server->sweeper.data = server;
    server->grace.data = server;
    server->handles_open = 5;
    uint64_t sweep_ms = SERVER_SWEEP_MS;
    if (server->config.idle_timeout_ms > 0 && server->config.idle_timeout_ms / 4 < sweep_ms) {
        sweep_ms = server->config.idle_timeout_ms / 4;
    }
    uv_prepare_start(&server->flusher, on_flush);
    uv_timer_start(
        &server->sweeper, on_sweep, SWEEP_MIN_MS, sweep_ms < SWEEP_MIN_MS ? SWEEP_MIN_MS : sweep_ms);
}

enum status rpc_server_start(uv_loop_t *loop, const struct rpc_server_config *config, struct rpc_server **out,
    char *errmsg, size_t errmsg_len)
{
    CHECK(config->on_request != NULL);
    int fd = listen_at(config->address, errmsg, errmsg_len);
    if (fd < 0) {
        return fd == -EINVAL ? STATUS_INVALID : STATUS_IO;
    }
    struct rpc_server *server = xcalloc(1, sizeof *server);
    server->loop = loop;
    server->config = *config;
    server->config.address = NULL;
    list_init(&server->conns);
    list_init(&server->dirty);
    list_init(&server->free_requests);
    int rc = uv_tcp_init(loop, &server->listener);
    CHECK(rc == 0); /* nothing can fail before a socket is opened */
    rc = uv_tcp_open(&server->listener, fd);
    CHECK(rc == 0);
    start_handles(server);
    rc = uv_listen((uv_stream_t *)&server->listener, LISTEN_BACKLOG, on_connection);
    CHECK(rc == 0); /* the socket is listening already */
    server->port = bound_port(&server->listener);
    log_info(config->logger, "client-port-open", "address=%s port=%u", config->address, server->port);
    *out = server;
    return STATUS_OK;
}
