/* One non-blocking connection of the client library: bytes out, frames in, and its health. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/limits.h"
#include "rpc/call_rules.h"
#include "rpc/client.h"

enum { OUT_KEEP_BYTES = 256 * 1024 };

void client_conn_init(struct client_conn *conn, int node)
{
    *conn = (struct client_conn){.node = node, .fd = -1};
    buf_init(&conn->out);
    /* An answer may be larger than a request by the statuses of all groups, so there is some air. */
    conn_input_init(&conn->in, LIMIT_FRAME_BYTES + 64 * 1024);
    list_init(&conn->calls);
}

static void conn_reset(struct client_conn *conn)
{
    if (conn->fd >= 0) {
        close(conn->fd);
        conn->fd = -1;
    }
    if (conn->addresses != NULL) {
        freeaddrinfo(conn->addresses);
        conn->addresses = NULL;
    }
    conn->trying = NULL;
    conn->phase = CONN_DOWN;
    buf_clear(&conn->out);
    conn_input_clear(&conn->in);
    conn->out_sent = 0;
    conn->stream_sent = 0;
    conn->stream_queued = 0;
    conn->asking = false;
    conn->suspect = false;
    conn->goodbye = false;
    conn->silent_since_ms = 0;
}

void client_conn_deinit(struct client_conn *conn)
{
    conn_reset(conn);
    buf_deinit(&conn->out);
    conn_input_deinit(&conn->in);
}

bool client_conn_usable(const struct client_conn *conn)
{
    return conn->phase == CONN_READY && !conn->suspect;
}

void client_conn_lose(
    struct wbcache *cache, struct client_conn *conn, const char *why, bool failed, uint64_t now_ms)
{
    if (conn->phase == CONN_DOWN) {
        return;
    }
    snprintf(conn->error, sizeof conn->error, "%s", why);
    conn->retry_at_ms = now_ms;
    if (failed) {
        conn->retry_at_ms += backoff_ms(
            conn->failures, CLIENT_RECONNECT_MIN_MS, CLIENT_RECONNECT_MAX_MS, client_random(cache));
        conn->failures++;
        cluster_map_doubt(&cache->map, conn->node, true);
    }
    cache->ask_at_ms = now_ms; /* if a leader is missed now, look for it at once */
    client_calls_lost(cache, conn, failed, now_ms);
    conn_reset(conn);
}

/* Closing a resting connection is a node's right: the next call connects again. If calls are out, it is most
 * likely stopping: they look for another leader, and come back to it a moment later at the earliest. */
static void conn_take_goodbye(struct wbcache *cache, struct client_conn *conn, uint64_t now_ms)
{
    bool busy = conn->phase == CONN_HELLO || !list_empty(&conn->calls);
    conn->goodbye = true;
    client_conn_lose(cache, conn, "the node closed it", busy, now_ms);
    if (busy) {
        conn->retry_at_ms = now_ms + CLIENT_GOODBYE_MS;
    }
}

/* ---- Connecting ---- */

static void conn_say_hello(struct wbcache *cache, struct client_conn *conn, uint64_t now_ms)
{
    freeaddrinfo(conn->addresses);
    conn->addresses = NULL;
    conn->trying = NULL;
    conn->phase = CONN_HELLO;
    conn->last_io_ms = now_ms;
    client_ask_topology(cache, conn, now_ms);
    if (!conn->asking) {
        client_conn_lose(cache, conn, "out of memory", true, now_ms);
        return;
    }
    client_conn_flush(cache, conn, now_ms);
}

/* Try the addresses from conn->trying on until one is connected or under way. */
static void conn_try_addresses(struct wbcache *cache, struct client_conn *conn, uint64_t now_ms)
{
    int error = EADDRNOTAVAIL;
    for (; conn->trying != NULL; conn->trying = conn->trying->ai_next) {
        const struct addrinfo *a = conn->trying;
        conn->fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
        if (conn->fd < 0) {
            error = errno;
            continue;
        }
        int on = 1;
        setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        setsockopt(conn->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
        if (connect(conn->fd, a->ai_addr, a->ai_addrlen) == 0) {
            conn_say_hello(cache, conn, now_ms);
            return;
        }
        if (errno == EINPROGRESS) {
            return;
        }
        error = errno;
        close(conn->fd);
        conn->fd = -1;
    }
    client_conn_lose(cache, conn, strerror(error), true, now_ms);
}

void client_conn_start(struct wbcache *cache, struct client_conn *conn, uint64_t now_ms)
{
    if (conn->phase != CONN_DOWN || now_ms < conn->retry_at_ms) {
        return;
    }
    const char *text = cache->map.nodes[conn->node].address;
    struct address address;
    conn->phase = CONN_CONNECTING;
    conn->phase_since_ms = now_ms;
    if (address_parse(bytes_of(text, strlen(text)), &address) != STATUS_OK) {
        client_conn_lose(
            cache, conn, "no valid address", true, now_ms); /* the map takes none: cannot happen */
        return;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    int rc = getaddrinfo(address.host, address.port, &hints, &conn->addresses);
    if (rc != 0) {
        conn->addresses = NULL;
        client_conn_lose(cache, conn, gai_strerror(rc), true, now_ms);
        return;
    }
    conn->trying = conn->addresses;
    conn_try_addresses(cache, conn, now_ms);
}

static void conn_connected(struct wbcache *cache, struct client_conn *conn, uint64_t now_ms)
{
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0) {
        error = errno;
    }
    if (error == 0) {
        conn_say_hello(cache, conn, now_ms);
        return;
    }
    close(conn->fd);
    conn->fd = -1;
    conn->trying = conn->trying->ai_next;
    if (conn->trying == NULL) {
        client_conn_lose(cache, conn, strerror(error), true, now_ms);
    } else {
        conn_try_addresses(cache, conn, now_ms);
    }
}

/* ---- Receiving ---- */

/* Something was heard: it lives. */
static void conn_heard(struct wbcache *cache, struct client_conn *conn, uint64_t now_ms)
{
    conn->last_io_ms = now_ms;
    conn->suspect = false;
    conn->silent_since_ms = 0;
    if (conn->failures > 0 || cache->map.nodes[conn->node].doubtful) {
        conn->failures = 0;
        cluster_map_doubt(&cache->map, conn->node, false);
    }
}

/* What is still owed counts from now on. */
static void conn_rearm_silence(struct client_conn *conn, uint64_t now_ms)
{
    if (!list_empty(&conn->calls)) {
        conn->silent_since_ms = now_ms;
    }
}

static void conn_take_frames(struct wbcache *cache, struct client_conn *conn, uint64_t now_ms)
{
    struct bytes payload;
    enum status s = STATUS_OK;
    bool any = false;
    while (conn->phase >= CONN_HELLO && (s = conn_input_next(&conn->in, &payload)) == STATUS_OK) {
        any = true;
        conn_heard(cache, conn, now_ms);
        switch (client_call_answered(cache, conn, payload, now_ms)) {
        case CLIENT_FRAME_ANSWER:
            break;
        case CLIENT_FRAME_GOODBYE:
            conn_take_goodbye(cache, conn, now_ms);
            return;
        case CLIENT_FRAME_SENSELESS:
            client_conn_lose(cache, conn, "the node sent a message that makes no sense", true, now_ms);
            return;
        }
        if (conn->phase == CONN_HELLO) {
            conn->phase = CONN_READY;
        }
    }
    if (s == STATUS_TOO_BIG) {
        client_conn_lose(cache, conn, "the node sent a message of no acceptable length", true, now_ms);
    } else if (any && conn->phase >= CONN_HELLO) {
        conn_rearm_silence(conn, now_ms);
    }
}

static void conn_receive(struct wbcache *cache, struct client_conn *conn, uint64_t now_ms)
{
    while (conn->phase >= CONN_HELLO) {
        size_t room;
        uint8_t *at = conn_input_room(&conn->in, &room);
        if (at == NULL) {
            client_conn_lose(cache, conn, "out of memory", true, now_ms);
            return;
        }
        ssize_t n = recv(conn->fd, at, room, 0);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            if (errno != EAGAIN && errno != EWOULDBLOCK) {
                client_conn_lose(cache, conn, strerror(errno), true, now_ms);
            }
            return;
        }
        if (n == 0) {
            /* Closing an idle connection is a node's right; in the middle of a call it is a failure. */
            bool busy = conn->phase == CONN_HELLO || !list_empty(&conn->calls);
            client_conn_lose(cache, conn, "closed by the node", busy, now_ms);
            return;
        }
        conn_input_received(&conn->in, (size_t)n);
        conn_take_frames(cache, conn, now_ms);
        if ((size_t)n < room) {
            return; /* there was no more: save a system call */
        }
    }
}

/* ---- Sending ---- */

bool client_conn_queue(struct client_conn *conn, uint64_t id, uint32_t deadline_ms,
    const struct request_once *once, struct bytes body, uint64_t now_ms)
{
    size_t before = conn->out.len;
    request_frame(&conn->out, id, deadline_ms, once, body);
    if (conn->out.failed) {
        conn->out.failed = false;
        conn->out.len = before;
        return false;
    }
    conn->stream_queued += conn->out.len - before;
    if (conn->silent_since_ms == 0) {
        conn->silent_since_ms = now_ms;
    }
    return true;
}

void client_conn_flush(struct wbcache *cache, struct client_conn *conn, uint64_t now_ms)
{
    while (conn->phase >= CONN_HELLO && conn->out_sent < conn->out.len) {
        ssize_t n =
            send(conn->fd, conn->out.data + conn->out_sent, conn->out.len - conn->out_sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            if (errno != EAGAIN && errno != EWOULDBLOCK) {
                const char *why = strerror(errno);
                conn_receive(cache, conn, now_ms); /* what the node said before it closed counts first */
                client_conn_lose(cache, conn, why, true, now_ms);
            }
            return;
        }
        conn->out_sent += (size_t)n;
        conn->stream_sent += (uint64_t)n;
        conn->last_io_ms = now_ms;
        if (conn->out_sent >= OUT_KEEP_BYTES && conn->out_sent >= conn->out.len / 2) {
            buf_consume(&conn->out, conn->out_sent);
            conn->out_sent = 0;
        }
    }
    if (conn->out_sent > 0 && conn->out_sent == conn->out.len) {
        conn->out_sent = 0;
        if (conn->out.cap > OUT_KEEP_BYTES) {
            buf_deinit(&conn->out);
        } else {
            buf_clear(&conn->out);
        }
    }
}

void client_conn_check_rested(struct wbcache *cache, struct client_conn *conn, uint64_t now_ms)
{
    char byte;
    if (conn->phase != CONN_READY || now_ms - conn->last_io_ms < CLIENT_STALE_MS) {
        return;
    }
    ssize_t n = recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n == 0) {
        client_conn_lose(cache, conn, "closed by the node", false, now_ms);
    } else if (n > 0) {
        conn_receive(cache, conn, now_ms); /* perhaps a goodbye */
    } else if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
        client_conn_lose(cache, conn, strerror(errno), true, now_ms);
    }
}

short client_conn_events(const struct client_conn *conn)
{
    switch (conn->phase) {
    case CONN_DOWN:
        return 0;
    case CONN_CONNECTING:
        return POLLOUT;
    default:
        return (short)(POLLIN | (conn->out_sent < conn->out.len ? POLLOUT : 0));
    }
}

void client_conn_on_events(struct wbcache *cache, struct client_conn *conn, short revents, uint64_t now_ms)
{
    if (conn->phase == CONN_CONNECTING) {
        conn_connected(cache, conn, now_ms);
        return;
    }
    /* Answers first: when the node has answered and closed, sending would fail and lose what it said. */
    if ((revents & (POLLIN | POLLERR | POLLHUP)) != 0) {
        conn_receive(cache, conn, now_ms);
    }
    if ((revents & POLLOUT) != 0) {
        client_conn_flush(cache, conn, now_ms);
    }
}

/* ---- Time ---- */

void client_conn_tick(struct wbcache *cache, struct client_conn *conn, uint64_t now_ms)
{
    if (conn->phase == CONN_CONNECTING || conn->phase == CONN_HELLO) {
        if (now_ms - conn->phase_since_ms >= cache->options.connect_timeout_ms) {
            client_conn_lose(cache, conn,
                conn->phase == CONN_HELLO ? "connected, but it does not answer" : "no connection in time",
                true, now_ms);
        }
        return;
    }
    if (conn->phase != CONN_READY || conn->silent_since_ms == 0) {
        return;
    }
    uint64_t silent_ms = now_ms - conn->silent_since_ms;
    uint64_t suspect_ms = client_suspect_ms(cache);
    if (silent_ms >= suspect_ms / 2 && !conn->suspect) {
        /* One slow call, or one that waits for the database, is no sign of a dead node: ask it something that
         * it answers at once. */
        client_ask_topology(cache, conn, now_ms);
        client_conn_flush(cache, conn, now_ms);
    }
    if (conn->phase == CONN_READY && silent_ms >= suspect_ms && !conn->suspect) {
        conn->suspect = true;
        cluster_map_doubt(&cache->map, conn->node, true);
        cache->ask_at_ms = now_ms;
        client_calls_recall(cache, conn, now_ms);
    }
    if (conn->suspect && list_empty(&conn->calls)) {
        client_conn_lose(cache, conn, "it does not answer", true, now_ms);
    }
}

uint64_t client_conn_next_ms(const struct wbcache *cache, const struct client_conn *conn, uint64_t now_ms)
{
    uint64_t suspect_ms = client_suspect_ms(cache);
    uint64_t late_ms = conn->phase_since_ms + CLIENT_HELLO_LATE_MS;
    uint64_t timeout_ms = conn->phase_since_ms + cache->options.connect_timeout_ms;
    switch (conn->phase) {
    case CONN_CONNECTING:
    case CONN_HELLO:
        return late_ms > now_ms && late_ms < timeout_ms ? late_ms : timeout_ms;
    case CONN_READY:
        if (conn->silent_since_ms == 0 || conn->suspect) {
            return UINT64_MAX; /* a suspect waits for an answer, or for its calls' deadlines */
        }
        return conn->silent_since_ms + (conn->asking ? suspect_ms : suspect_ms / 2);
    default:
        return conn->retry_at_ms > now_ms && !list_empty(&cache->waiting) ? conn->retry_at_ms : UINT64_MAX;
    }
}
