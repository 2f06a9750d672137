#include "cluster-tests/raw_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/frame.h"
#include "proto/limits.h"
#include "proto/pb.h"

enum { READ_BYTES = 64 * 1024, SEND_MS = 5000 };

static bool parse_address(const char *text, struct sockaddr_in *out)
{
    char host[64];
    const char *colon = strrchr(text, ':');
    if (colon == NULL || (size_t)(colon - text) >= sizeof host) {
        return false;
    }
    snprintf(host, sizeof host, "%.*s", (int)(colon - text), text);
    *out = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10))};
    return inet_pton(AF_INET, host, &out->sin_addr) == 1;
}

/* Wait for @events on the socket until @until_ms, boot time. */
static bool await(int fd, short events, uint64_t until_ms)
{
    for (;;) {
        uint64_t now_ms = clock_boot_ms();
        struct pollfd p = {.fd = fd, .events = events};
        int n = poll(&p, 1, now_ms >= until_ms ? 0 : (int)(until_ms - now_ms));
        if (n > 0) {
            return true;
        }
        if (n == 0 || errno != EINTR) {
            return false;
        }
    }
}

static bool connect_within(int fd, const struct sockaddr_in *to, unsigned timeout_ms)
{
    if (connect(fd, (const struct sockaddr *)to, sizeof *to) == 0) {
        return true;
    }
    if (errno != EINPROGRESS || !await(fd, POLLOUT, clock_boot_ms() + timeout_ms)) {
        return false;
    }
    int error = 0;
    socklen_t len = sizeof error;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == 0;
}

bool raw_client_open(struct raw_client *c, const char *address, unsigned timeout_ms)
{
    *c = (struct raw_client){.fd = -1};
    struct sockaddr_in to;
    if (!parse_address(address, &to)) {
        return false;
    }
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return false;
    }
    if (!connect_within(fd, &to, timeout_ms)) {
        close(fd);
        return false;
    }
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    c->fd = fd;
    buf_init(&c->in);
    arena_init(&c->arena);
    return true;
}

/* The connection has ended; the newest answer stays. */
static void lost(struct raw_client *c)
{
    if (c->fd >= 0) {
        close(c->fd);
        c->fd = -1;
    }
}

void raw_client_close(struct raw_client *c)
{
    lost(c);
    buf_deinit(&c->in);
    arena_deinit(&c->arena);
    *c = (struct raw_client){.fd = -1};
}

static bool send_all(struct raw_client *c, struct bytes data)
{
    uint64_t until_ms = clock_boot_ms() + SEND_MS;
    while (data.len > 0) {
        ssize_t n = send(c->fd, data.data, data.len, MSG_NOSIGNAL);
        if (n >= 0) {
            data = bytes_of(data.data + n, data.len - (size_t)n);
        } else if (errno == EAGAIN) {
            if (!await(c->fd, POLLOUT, until_ms)) {
                return false;
            }
        } else if (errno != EINTR) {
            return false;
        }
    }
    return true;
}

uint64_t raw_client_send(struct raw_client *c, Wbrpc__Request *request)
{
    if (c->fd < 0) {
        return 0;
    }
    request->id = ++c->last_id;
    struct buf out;
    buf_init(&out);
    frame_begin(&out, wbrpc__request__get_packed_size(request));
    pb_pack(&request->base, &out);
    bool sent = !out.failed && send_all(c, buf_bytes(&out));
    buf_deinit(&out);
    if (!sent) {
        lost(c);
    }
    return sent ? request->id : 0;
}

/* Take one whole frame from what was read. False: there is none yet, or it makes no sense and the connection
 * is given up. */
static bool take_frame(struct raw_client *c, const Wbrpc__Response **out)
{
    struct bytes payload;
    size_t consumed;
    enum status status = frame_parse(buf_bytes(&c->in), LIMIT_FRAME_BYTES, &payload, &consumed);
    if (status == STATUS_AGAIN) {
        return false;
    }
    if (status == STATUS_OK) {
        arena_reset(&c->arena);
        *out = (const Wbrpc__Response *)(void *)pb_unpack(&wbrpc__response__descriptor, payload, &c->arena);
        buf_consume(&c->in, consumed);
    }
    if (status != STATUS_OK || *out == NULL) {
        lost(c);
        return false;
    }
    return true;
}

/* False: nothing more comes. */
static bool read_more(struct raw_client *c, uint64_t until_ms)
{
    if (!await(c->fd, POLLIN, until_ms)) {
        return false;
    }
    uint8_t *place = buf_reserve(&c->in, READ_BYTES);
    ssize_t n = place == NULL ? 0 : recv(c->fd, place, READ_BYTES, 0);
    if (n > 0) {
        c->in.len += (size_t)n;
        return true;
    }
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
        return true;
    }
    lost(c);
    return false;
}

const Wbrpc__Response *raw_client_receive(struct raw_client *c, uint64_t id, unsigned timeout_ms)
{
    uint64_t until_ms = clock_boot_ms() + timeout_ms;
    do {
        const Wbrpc__Response *response;
        while (take_frame(c, &response)) {
            if (response->id == id) {
                return response;
            }
        }
    } while (c->fd >= 0 && read_more(c, until_ms));
    return NULL;
}

const Wbrpc__Response *raw_client_ask(struct raw_client *c, Wbrpc__Request *request, unsigned timeout_ms)
{
    uint64_t id = raw_client_send(c, request);
    return id == 0 ? NULL : raw_client_receive(c, id, timeout_ms);
}
