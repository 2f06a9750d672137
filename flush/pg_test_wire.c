#include "flush/pg_test_wire.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"

enum { LINKS_MAX = 128, CHUNK_BYTES = 65536 };

/* cut: the ends are closed, and the link ends when the filter's call has returned. */
struct pg_test_link {
    int fd[2]; /* by enum pg_test_side; -1: unused */
    bool cut;
    bool deaf; /* to the client */
    uint16_t port;
    void *data;
};

struct pg_test_wire {
    int listener;
    uint16_t port;
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_un un;
    } server;
    socklen_t server_len;
    const struct pg_test_wire_filter *filter;
    void *data;
    int wake[2]; /* a byte: stop, or poke the filter */
    pthread_t thread;
    atomic_bool stopping;
    struct pg_test_link links[LINKS_MAX]; /* the thread's */
};

/* ---- links ---- */

static uint16_t local_port(int fd)
{
    struct sockaddr_in address = {0};
    socklen_t len = sizeof address;
    bool ours = getsockname(fd, (struct sockaddr *)&address, &len) == 0 && address.sin_family == AF_INET;
    return ours ? ntohs(address.sin_port) : 0;
}

void *pg_test_link_data(const struct pg_test_link *link)
{
    return link->data;
}

uint16_t pg_test_link_port(const struct pg_test_link *link)
{
    return link->port;
}

bool pg_test_link_pass(struct pg_test_link *link, enum pg_test_side from, struct bytes bytes)
{
    int to = link->fd[from == PG_TEST_CLIENT ? PG_TEST_SERVER : PG_TEST_CLIENT];
    while (!link->cut && bytes.len > 0) {
        ssize_t n = send(to, bytes.data, bytes.len, MSG_NOSIGNAL);
        if (n <= 0) {
            pg_test_link_cut(link, false);
            break;
        }
        bytes = bytes_of(bytes.data + n, bytes.len - (size_t)n);
    }
    return !link->cut;
}

void pg_test_link_deafen(struct pg_test_link *link)
{
    link->deaf = true;
}

void pg_test_link_cut(struct pg_test_link *link, bool reset)
{
    if (link->cut) {
        return;
    }
    link->cut = true;
    if (reset) {
        const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
        setsockopt(link->fd[PG_TEST_CLIENT], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
    close(link->fd[PG_TEST_CLIENT]);
    close(link->fd[PG_TEST_SERVER]);
}

/* After each call of the filter. */
static void end_if_cut(struct pg_test_wire *w, struct pg_test_link *link)
{
    if (link->cut) {
        link->fd[PG_TEST_CLIENT] = -1;
        link->fd[PG_TEST_SERVER] = -1;
        link->cut = false;
        w->filter->closed(w->data, link);
    }
}

static void no_delay(int fd)
{
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* fails on a unix socket, which has none */
}

static void accept_one(struct pg_test_wire *w)
{
    int client = accept4(w->listener, NULL, NULL, SOCK_CLOEXEC);
    if (client < 0) {
        return;
    }
    int server = socket(w->server.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct pg_test_link *link = NULL;
    for (int i = 0; i < LINKS_MAX && link == NULL; i++) {
        link = w->links[i].fd[PG_TEST_CLIENT] < 0 ? &w->links[i] : NULL;
    }
    if (server < 0 || link == NULL || connect(server, &w->server.any, w->server_len) != 0) {
        close(client);
        close(server);
        return;
    }
    no_delay(client);
    no_delay(server);
    link->fd[PG_TEST_CLIENT] = client;
    link->fd[PG_TEST_SERVER] = server;
    link->deaf = false;
    link->port = local_port(server);
    link->data = w->filter->opened(w->data, link);
    end_if_cut(w, link);
}

static void receive(struct pg_test_wire *w, struct pg_test_link *link, enum pg_test_side from, uint8_t *chunk)
{
    ssize_t n = recv(link->fd[from], chunk, CHUNK_BYTES, 0);
    if (n <= 0) {
        pg_test_link_cut(link, false);
    } else {
        w->filter->arrived(w->data, link, from, bytes_of(chunk, (size_t)n));
    }
    end_if_cut(w, link);
}

/* ---- the thread ---- */

static void poke_links(struct pg_test_wire *w)
{
    char bytes[64];
    ssize_t n = read(w->wake[0], bytes, sizeof bytes);
    (void)n;
    for (int i = 0; i < LINKS_MAX && !w->stopping; i++) {
        if (w->links[i].fd[PG_TEST_CLIENT] >= 0) {
            w->filter->poked(w->data, &w->links[i]);
            end_if_cut(w, &w->links[i]);
        }
    }
}

static void *run(void *arg)
{
    struct pg_test_wire *w = arg;
    uint8_t *chunk = xmalloc(CHUNK_BYTES);
    while (!w->stopping) {
        struct pollfd fds[2 + 2 * LINKS_MAX];
        fds[0] = (struct pollfd){.fd = w->wake[0], .events = POLLIN};
        fds[1] = (struct pollfd){.fd = w->listener, .events = POLLIN};
        for (int i = 0; i < LINKS_MAX; i++) { /* poll skips what is negative */
            fds[2 + 2 * i] = (struct pollfd){
                .fd = w->links[i].fd[PG_TEST_CLIENT], .events = w->links[i].deaf ? 0 : POLLIN};
            fds[3 + 2 * i] = (struct pollfd){.fd = w->links[i].fd[PG_TEST_SERVER], .events = POLLIN};
        }
        if (poll(fds, 2 + 2 * LINKS_MAX, -1) < 0) {
            continue;
        }
        for (int i = 0; i < LINKS_MAX; i++) {
            if (fds[3 + 2 * i].revents != 0) {
                receive(w, &w->links[i], PG_TEST_SERVER, chunk);
            }
            if (fds[2 + 2 * i].revents != 0 && w->links[i].fd[PG_TEST_CLIENT] >= 0) {
                receive(w, &w->links[i], PG_TEST_CLIENT, chunk);
            }
        }
        if (fds[1].revents != 0) {
            accept_one(w);
        }
        if (fds[0].revents != 0) {
            poke_links(w);
        }
    }
    free(chunk);
    return NULL;
}

/* ---- life ---- */

static void set_server(struct pg_test_wire *w, const char *path, uint16_t port)
{
    if (path != NULL) {
        w->server.un = (struct sockaddr_un){.sun_family = AF_UNIX};
        w->server_len = sizeof w->server.un;
        int n = snprintf(w->server.un.sun_path, sizeof w->server.un.sun_path, "%s", path);
        CHECK(n > 0 && (size_t)n < sizeof w->server.un.sun_path);
    } else {
        w->server.in = (struct sockaddr_in){
            .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        w->server_len = sizeof w->server.in;
    }
}

struct pg_test_wire *pg_test_wire_start(
    const char *server_path, uint16_t server_port, const struct pg_test_wire_filter *filter, void *data)
{
    struct pg_test_wire *w = xcalloc(1, sizeof *w);
    set_server(w, server_path, server_port);
    w->filter = filter;
    w->data = data;
    for (int i = 0; i < LINKS_MAX; i++) {
        w->links[i].fd[PG_TEST_CLIENT] = -1;
        w->links[i].fd[PG_TEST_SERVER] = -1;
    }
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    w->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (w->listener < 0 || bind(w->listener, (struct sockaddr *)&here, sizeof here) != 0 ||
        listen(w->listener, 64) != 0 || pipe(w->wake) != 0) {
        close(w->listener);
        free(w);
        return NULL;
    }
    w->port = local_port(w->listener);
    CHECK(pthread_create(&w->thread, NULL, run, w) == 0);
    return w;
}

uint16_t pg_test_wire_port(const struct pg_test_wire *w)
{
    return w->port;
}

void pg_test_wire_poke(struct pg_test_wire *w)
{
    CHECK(write(w->wake[1], "p", 1) == 1);
}

void pg_test_wire_stop(struct pg_test_wire *w)
{
    if (w == NULL) {
        return;
    }
    w->stopping = true;
    pg_test_wire_poke(w);
    pthread_join(w->thread, NULL);
    for (int i = 0; i < LINKS_MAX; i++) {
        if (w->links[i].fd[PG_TEST_CLIENT] >= 0) {
            pg_test_link_cut(&w->links[i], false);
            end_if_cut(w, &w->links[i]);
        }
    }
    close(w->listener);
    close(w->wake[0]);
    close(w->wake[1]);
    free(w);
}
