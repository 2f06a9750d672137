#include "cluster-tests/redis/wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 16 * 1024 };

static bool failed(struct wire *w, const char *what)
{
    snprintf(
        w->error, sizeof w->error, "%s: %s", what, errno == EAGAIN ? "nothing in time" : strerror(errno));
    return false;
}

static bool address_of(const char *text, struct sockaddr_in *out)
{
    char host[WIRE_ADDRESS_BYTES];
    const char *colon = strrchr(text, ':');
    if (colon == NULL || (size_t)(colon - text) >= sizeof host) {
        return false;
    }
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    *out = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(colon + 1))};
    return inet_pton(AF_INET, host, &out->sin_addr) == 1;
}

bool wire_open(struct wire *w, const char *address)
{
    *w = (struct wire){.fd = -1};
    buf_init(&w->in);
    snprintf(w->address, sizeof w->address, "%s", address);
    struct sockaddr_in to;
    if (!address_of(address, &to)) {
        snprintf(w->error, sizeof w->error, "not an address: %.60s", address);
        return false;
    }
    w->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct timeval limit = {.tv_sec = WIRE_TIMEOUT_MS / 1000};
    const int on = 1;
    setsockopt(w->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(w->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(w->fd, (const struct sockaddr *)&to, sizeof to) != 0) {
        failed(w, "connect");
        wire_close(w);
        return false;
    }
    return true;
}

void wire_close(struct wire *w)
{
    if (w->fd >= 0) {
        close(w->fd);
    }
    w->fd = -1;
    buf_deinit(&w->in);
    w->used = 0;
}

bool wire_send(struct wire *w, struct bytes data)
{
    while (data.len > 0) {
        ssize_t n = send(w->fd, data.data, data.len, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR) {
            return failed(w, "send");
        }
        if (n > 0) {
            data.data += n;
            data.len -= (size_t)n;
        }
    }
    return true;
}

/* More bytes into w->in: 1, 0 at the end, -1 with an error. */
static int read_more(struct wire *w)
{
    uint8_t *at = buf_reserve(&w->in, READ_BYTES);
    ssize_t n;
    do {
        n = recv(w->fd, at, READ_BYTES, 0);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        w->in.len += (size_t)n;
        return 1;
    }
    /* A server that closes while bytes to it are still on their way resets the connection: that is an end,
     * too. */
    if (n == 0 || errno == ECONNRESET) {
        snprintf(w->error, sizeof w->error, "the connection was closed");
        return 0;
    }
    failed(w, "receive");
    return -1;
}

static struct bytes unread(const struct wire *w)
{
    return w->used == w->in.len ? bytes_of(NULL, 0) : bytes_of(w->in.data + w->used, w->in.len - w->used);
}

bool wire_receive(struct wire *w, struct reply *out)
{
    if (w->used == w->in.len) {
        buf_clear(&w->in);
        w->used = 0;
    } else if (w->used > READ_BYTES) {
        buf_consume(&w->in, w->used);
        w->used = 0;
    }
    for (;;) {
        switch (reply_scan(unread(w), out)) {
        case REPLY_WHOLE:
            w->used += out->whole.len;
            return true;
        case REPLY_GARBAGE:
            snprintf(w->error, sizeof w->error, "not a reply: '%.*s'",
                (int)(w->in.len - w->used < 80 ? w->in.len - w->used : 80),
                (const char *)w->in.data + w->used);
            return false;
        case REPLY_PARTIAL:
            break;
        }
        if (read_more(w) <= 0) {
            return false;
        }
    }
}

bool wire_receive_end(struct wire *w, struct buf *out)
{
    int more;
    while ((more = read_more(w)) > 0) {
    }
    struct bytes rest = unread(w);
    buf_append(out, rest.data, rest.len);
    w->used = w->in.len;
    return more == 0;
}
