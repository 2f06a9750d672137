/* The listening socket. Accepted here and not by libuv, whose listener takes all that wait before anybody
 * else gets a turn, and asks again and again when there are no file descriptors left.
 *
 * Happy path: the socket is readable -> some connections are accepted, each becomes a server_conn. At
 * connections_max a connection is told so and closed. Without file descriptors (or the kernel's memory)
 * accepting rests until the next sweep: those who wait stay in the kernel's queue. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/check.h"
#include "rpc/address.h"
#include "rpc/server_private.h"

enum { LISTEN_BACKLOG = 1024, DISCARDS_MAX = 8 };

static void on_acceptable(uv_poll_t *poll, int status, int events);

/* ---- Accepting ---- */

/* An answer about the connection, if it can be written at once; then the end. */
static void turn_away(struct server *server, int fd)
{
    struct buf out;
    buf_init(&out);
    server->codec->turn_away(&out);
    CHECK(!out.failed);
    if (send(fd, out.data, out.len, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
        shutdown(fd, SHUT_WR);
        /* What it sent already must not make the close a reset, which could overtake the answer. */
        for (int i = 0; i < DISCARDS_MAX; i++) {
            if (recv(fd, server->discard, sizeof server->discard, MSG_DONTWAIT) <= 0) {
                break;
            }
        }
    }
    close(fd);
    buf_deinit(&out);
}

static void take_in(struct server *server, int fd)
{
    if (server->n_conns < server->limits.connections_max) {
        server_conn_open(server, fd);
        return;
    }
    if (!server->at_capacity) {
        server->at_capacity = true;
        server->refused = 0;
        server_log(
            server, LOG_WARN, "clients-at-capacity", "connections=%u; more are refused", server->n_conns);
    }
    server->refused++;
    turn_away(server, fd);
}

/* Is @error about the one connection that was to be accepted? (accept(2): "Error handling".) */
static bool of_one_connection(int error)
{
    return error == EINTR || error == ECONNABORTED || error == EPROTO || error == ENETDOWN ||
           error == ENOPROTOOPT || error == EHOSTDOWN || error == ENONET || error == EHOSTUNREACH ||
           error == EOPNOTSUPP || error == ENETUNREACH;
}

static void rest(struct server *server, int error)
{
    uint64_t now_ms = uv_now(server->loop);
    bool news = server->out_of_files_ms == 0 || now_ms - server->out_of_files_ms >= SERVER_NO_FILES_MS;
    uv_poll_stop(&server->listener);
    if (!server->out_of_files && news) { /* clients that come again and again are no news */
        server_log(server, LOG_ERROR, "accept-failed",
            "error=\"%s\" connections=%u; new clients wait until it works again", strerror(error),
            server->n_conns);
        server->out_of_files_told = true;
    }
    server->out_of_files = true;
    server->out_of_files_ms = now_ms;
}

static void on_acceptable(uv_poll_t *poll, int status, int events)
{
    struct server *server = poll->data;
    (void)status; /* an error of the socket's is what accept says, too */
    (void)events;
    for (unsigned i = 0; i < SERVER_ACCEPTS_A_TURN; i++) {
        int fd = accept4(server->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && !of_one_connection(errno)) {
            if (errno != EAGAIN) {
                rest(server, errno);
            }
            return;
        }
        if (fd >= 0) {
            server->out_of_files = false;
            if (server->out_of_files_told) {
                server->out_of_files_told = false;
                server_log(server, LOG_INFO, "accept-again", "connections=%u", server->n_conns);
            }
            take_in(server, fd);
        }
    }
}

void server_listen_sweep(struct server *server)
{
    if (server->closing) {
        return;
    }
    if (server->out_of_files) {
        uv_poll_start(&server->listener, UV_READABLE, on_acceptable);
    }
    if (server->at_capacity && server->n_conns < server->limits.connections_max) {
        server->at_capacity = false;
        server_log(server, LOG_INFO, "clients-below-capacity", "connections=%u refused=%llu", server->n_conns,
            (unsigned long long)server->refused);
    }
}

void server_listen_close(struct server *server, uv_close_cb cb)
{
    uv_poll_stop(&server->listener);
    uv_close((uv_handle_t *)&server->listener, cb);
    close(server->listen_fd);
}

/* ---- Listening ---- */

static unsigned bound_port(int fd)
{
    struct sockaddr_storage name;
    socklen_t len = sizeof name;
    if (getsockname(fd, (struct sockaddr *)&name, &len) != 0) {
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

enum status server_listen(struct server *server, const char *address, char *errmsg, size_t errmsg_len)
{
    int fd = listen_at(address, errmsg, errmsg_len);
    if (fd < 0) {
        return fd == -EINVAL ? STATUS_INVALID : STATUS_IO;
    }
    server->listen_fd = fd;
    server->port = bound_port(fd);
    int rc = uv_poll_init_socket(server->loop, &server->listener, fd);
    CHECK(rc == 0); /* a socket that the kernel can watch */
    server->listener.data = server;
    rc = uv_poll_start(&server->listener, UV_READABLE, on_acceptable);
    CHECK(rc == 0);
    return STATUS_OK;
}
