#include "cluster-tests/pg_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/alloc.h"
#include "proto/base/buf.h"
#include "proto/base/check.h"

enum { WIRES_MAX = 128, CHUNK_BYTES = 65536 };

/* One connection: @node is the accepted end, @server the dialled one. -1: unused. */
struct wire {
    int node;
    int server;
    uint16_t client_port; /* the local port of @server */
    struct buf kept;
};

struct pg_proxy {
    int listener;
    uint16_t port;
    uint16_t server_port;
    int wake[2]; /* a byte: look at the orders again */
    pthread_t thread;
    pthread_mutex_t mutex; /* guards the orders and the count */
    bool stopping;
    uint16_t held_port; /* 0: none */
    uint64_t held_bytes;
    struct wire wires[WIRES_MAX]; /* the thread's */
};

static int local_socket(void)
{
    return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static struct sockaddr_in local_address(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static uint16_t local_port(int fd)
{
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    return getsockname(fd, (struct sockaddr *)&address, &len) == 0 ? ntohs(address.sin_port) : 0;
}

static void close_wire(struct wire *w)
{
    close(w->node);
    close(w->server);
    w->node = -1;
    w->server = -1;
    buf_clear(&w->kept);
}

static bool send_all(int fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n <= 0) {
            return false;
        }
        data += n;
        len -= (size_t)n;
    }
    return true;
}

static void accept_one(struct pg_proxy *p)
{
    int node = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
    if (node < 0) {
        return;
    }
    int server = local_socket();
    struct sockaddr_in address = local_address(p->server_port);
    struct wire *w = NULL;
    for (int i = 0; i < WIRES_MAX && w == NULL; i++) {
        w = p->wires[i].node < 0 ? &p->wires[i] : NULL;
    }
    if (server < 0 || w == NULL || connect(server, (struct sockaddr *)&address, sizeof address) != 0) {
        close(node);
        close(server);
        return;
    }
    int one = 1;
    setsockopt(node, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    w->node = node;
    w->server = server;
    w->client_port = local_port(server);
}

static bool is_held(struct pg_proxy *p, const struct wire *w)
{
    pthread_mutex_lock(&p->mutex);
    bool held = p->held_port != 0 && p->held_port == w->client_port;
    pthread_mutex_unlock(&p->mutex);
    return held;
}

static void forward_from_node(struct pg_proxy *p, struct wire *w, uint8_t *chunk)
{
    ssize_t n = recv(w->node, chunk, CHUNK_BYTES, 0);
    if (n <= 0) {
        close_wire(w);
    } else if (is_held(p, w)) {
        buf_append(&w->kept, chunk, (size_t)n);
        pthread_mutex_lock(&p->mutex);
        p->held_bytes += (uint64_t)n;
        pthread_mutex_unlock(&p->mutex);
    } else if (!send_all(w->server, chunk, (size_t)n)) {
        close_wire(w);
    }
}

static void forward_from_server(struct wire *w, uint8_t *chunk)
{
    ssize_t n = recv(w->server, chunk, CHUNK_BYTES, 0);
    if (n <= 0 || !send_all(w->node, chunk, (size_t)n)) {
        close_wire(w);
    }
}

/* After an order: send on what need not be kept any more. False: stop. */
static bool follow_orders(struct pg_proxy *p)
{
    char byte;
    ssize_t n = read(p->wake[0], &byte, 1);
    (void)n;
    for (int i = 0; i < WIRES_MAX; i++) {
        struct wire *w = &p->wires[i];
        if (w->node >= 0 && w->kept.len > 0 && !is_held(p, w)) {
            bool sent = send_all(w->server, w->kept.data, w->kept.len);
            buf_clear(&w->kept);
            if (!sent) {
                close_wire(w);
            }
        }
    }
    pthread_mutex_lock(&p->mutex);
    bool go_on = !p->stopping;
    pthread_mutex_unlock(&p->mutex);
    return go_on;
}

static void *run(void *arg)
{
    struct pg_proxy *p = arg;
    uint8_t *chunk = xmalloc(CHUNK_BYTES);
    bool go_on = true;
    while (go_on) {
        struct pollfd fds[2 + 2 * WIRES_MAX];
        fds[0] = (struct pollfd){.fd = p->wake[0], .events = POLLIN};
        fds[1] = (struct pollfd){.fd = p->listener, .events = POLLIN};
        for (int i = 0; i < WIRES_MAX; i++) { /* poll skips what is negative */
            fds[2 + 2 * i] = (struct pollfd){.fd = p->wires[i].node, .events = POLLIN};
            fds[3 + 2 * i] = (struct pollfd){.fd = p->wires[i].server, .events = POLLIN};
        }
        if (poll(fds, 2 + 2 * WIRES_MAX, -1) < 0) {
            continue;
        }
        for (int i = 0; i < WIRES_MAX; i++) {
            if (fds[3 + 2 * i].revents != 0) {
                forward_from_server(&p->wires[i], chunk);
            }
            if (fds[2 + 2 * i].revents != 0 && p->wires[i].node >= 0) {
                forward_from_node(p, &p->wires[i], chunk);
            }
        }
        if (fds[1].revents != 0) {
            accept_one(p);
        }
        if (fds[0].revents != 0) {
            go_on = follow_orders(p);
        }
    }
    free(chunk);
    return NULL;
}

struct pg_proxy *pg_proxy_start(uint16_t port)
{
    struct pg_proxy *p = xcalloc(1, sizeof *p);
    p->server_port = port;
    for (int i = 0; i < WIRES_MAX; i++) {
        p->wires[i].node = -1;
        p->wires[i].server = -1;
        buf_init(&p->wires[i].kept);
    }
    p->listener = local_socket();
    struct sockaddr_in address = local_address(0);
    if (p->listener < 0 || bind(p->listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(p->listener, 64) != 0 || pipe(p->wake) != 0) {
        close(p->listener);
        free(p);
        return NULL;
    }
    p->port = local_port(p->listener);
    pthread_mutex_init(&p->mutex, NULL);
    CHECK(pthread_create(&p->thread, NULL, run, p) == 0);
    return p;
}

uint16_t pg_proxy_port(const struct pg_proxy *p)
{
    return p->port;
}

static void order(struct pg_proxy *p, bool stop, uint16_t held_port)
{
    pthread_mutex_lock(&p->mutex);
    p->stopping = stop;
    p->held_port = held_port;
    pthread_mutex_unlock(&p->mutex);
    CHECK(write(p->wake[1], "o", 1) == 1);
}

void pg_proxy_hold(struct pg_proxy *p, uint16_t client_port)
{
    order(p, false, client_port);
}

void pg_proxy_release(struct pg_proxy *p)
{
    order(p, false, 0);
}

uint64_t pg_proxy_held_bytes(struct pg_proxy *p)
{
    pthread_mutex_lock(&p->mutex);
    uint64_t n = p->held_bytes;
    pthread_mutex_unlock(&p->mutex);
    return n;
}

void pg_proxy_stop(struct pg_proxy *p)
{
    if (p == NULL) {
        return;
    }
    order(p, true, 0);
    pthread_join(p->thread, NULL);
    for (int i = 0; i < WIRES_MAX; i++) {
        if (p->wires[i].node >= 0) {
            close_wire(&p->wires[i]);
        }
        buf_deinit(&p->wires[i].kept);
    }
    close(p->listener);
    close(p->wake[0]);
    close(p->wake[1]);
    pthread_mutex_destroy(&p->mutex);
    free(p);
}
