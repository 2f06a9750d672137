/* The happy path: resolve the address (a numeric one needs no resolver), connect to its first address, write
 * the hello, read the ack to its last byte and no further, stop reading, hand over the stream.
 *
 * An address that refuses is followed by the next one of the same name. Anything else that fails ends the
 * attempt, and so does the timer. Every ending goes through finish(): it closes what is open, and when the
 * last handle or request is gone, finished() calls back. */
#include "raft/peer_connect.h"

#include <string.h>
#include <stdlib.h>

#include <raft.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "raft/peer_address.h"

struct peer_connect {
    uv_loop_t *loop;
    void (*cb)(void *data, const struct peer_connect_result *result);
    void *data;
    struct buf hello;

    uv_timer_t timer;
    uv_getaddrinfo_t resolve;
    struct addrinfo *addresses; /* of the resolver; NULL when numeric */
    struct addrinfo *next_address;
    uv_tcp_t *tcp; /* raft_malloc'd, because the library frees it when we hand it over; NULL between two
                      addresses */
    uv_connect_t connect;
    uv_write_t write;
    uint8_t ack[HANDSHAKE_ACK_BYTES];
    size_t ack_len;

    bool resolving;
    bool hello_written;
    bool finishing;
    bool retrying; /* the tcp handle closes only to make room for the next address */
    unsigned open; /* handles and requests that have still to end: timer, resolver, tcp */
    struct peer_connect_result result;
};

static void try_next_address(struct peer_connect *c);

static void finished(struct peer_connect *c)
{
    if (c->addresses != NULL) {
        uv_freeaddrinfo(c->addresses);
    }
    buf_deinit(&c->hello);
    void (*cb)(void *, const struct peer_connect_result *) = c->cb;
    void *data = c->data;
    struct peer_connect_result result = c->result;
    free(c);
    cb(data, &result);
}

static void one_ended(struct peer_connect *c)
{
    CHECK(c->open > 0);
    if (--c->open == 0) {
        finished(c);
    }
}

static void timer_closed_cb(uv_handle_t *handle)
{
    one_ended(handle->data);
}

static void tcp_closed_cb(uv_handle_t *handle)
{
    struct peer_connect *c = handle->data;
    raft_free(handle);
    c->tcp = NULL;
    if (c->retrying && !c->finishing) {
        c->retrying = false;
        c->open--; /* cannot be the last: the timer runs */
        try_next_address(c);
        return;
    }
    one_ended(c);
}

/* End the attempt with what `result` holds by now. Keeps the stream when the peer accepted. */
static void finish(struct peer_connect *c)
{
    if (c->finishing) {
        return;
    }
    c->finishing = true;
    if (c->resolving) {
        uv_cancel((uv_req_t *)&c->resolve); /* fails, harmlessly, when the resolver is at work already */
    }
    uv_close((uv_handle_t *)&c->timer, timer_closed_cb);
    if (c->tcp == NULL) {
        return;
    }
    if (c->result.error == NULL && c->result.verdict == HANDSHAKE_ACCEPTED) {
        c->result.stream = (uv_stream_t *)c->tcp;
        c->open--; /* no longer ours to wait for; cannot be the last: the timer is closing */
        c->tcp = NULL;
    } else if (!c->retrying) {
        uv_close((uv_handle_t *)c->tcp, tcp_closed_cb);
    }
}

static void fail(struct peer_connect *c, const char *error)
{
    if (!c->finishing) {
        c->result.error = error;
        finish(c);
    }
}

static void timeout_cb(uv_timer_t *timer)
{
    fail(timer->data, "no answer in time");
}

static void alloc_ack_cb(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct peer_connect *c = handle->data;
    /* Never more than the ack: what comes after it belongs to the next reader. */
    *buf = uv_buf_init((char *)c->ack + c->ack_len, (unsigned)(sizeof c->ack - c->ack_len));
}

/* The stream may leave only when no request of ours is on it any more. */
static void maybe_answered(struct peer_connect *c)
{
    if (c->finishing || !c->hello_written || c->ack_len < sizeof c->ack) {
        return;
    }
    c->result.error = NULL;
    c->result.verdict = handshake_ack_parse(c->ack);
    finish(c);
}

static void read_ack_cb(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct peer_connect *c = stream->data;
    if (n < 0) {
        fail(c, n == UV_EOF ? "the peer closed the connection without an answer" : "the connection broke");
        return;
    }
    c->ack_len += (size_t)n;
    if (c->ack_len < sizeof c->ack) {
        return;
    }
    uv_read_stop(stream);
    maybe_answered(c);
}

static void hello_written_cb(uv_write_t *req, int status)
{
    struct peer_connect *c = req->data;
    if (status != 0) {
        fail(c, "the connection broke");
        return;
    }
    c->hello_written = true;
    maybe_answered(c);
}

static void connected_cb(uv_connect_t *req, int status)
{
    struct peer_connect *c = req->data;
    if (c->finishing || c->retrying) {
        return;
    }
    if (status != 0) {
        c->result.error = uv_strerror(status);
        c->retrying = true;
        uv_close((uv_handle_t *)c->tcp, tcp_closed_cb);
        return;
    }
    peer_socket_tune(c->tcp);
    uv_buf_t hello = uv_buf_init((char *)c->hello.data, (unsigned)c->hello.len);
    c->write.data = c;
    if (uv_write(&c->write, (uv_stream_t *)c->tcp, &hello, 1, hello_written_cb) != 0 ||
        uv_read_start((uv_stream_t *)c->tcp, alloc_ack_cb, read_ack_cb) != 0) {
        fail(c, "the system refuses to use the connection");
    }
}

static void connect_to(struct peer_connect *c, const struct sockaddr *address)
{
    c->tcp = raft_malloc(sizeof *c->tcp);
    CHECK(c->tcp != NULL);
    CHECK(uv_tcp_init(c->loop, c->tcp) == 0);
    c->tcp->data = c;
    c->open++;
    c->connect.data = c;
    int rv = uv_tcp_connect(&c->connect, c->tcp, address, connected_cb);
    if (rv != 0) {
        c->result.error = uv_strerror(rv);
        c->retrying = true;
        uv_close((uv_handle_t *)c->tcp, tcp_closed_cb);
    }
}

static void try_next_address(struct peer_connect *c)
{
    struct addrinfo *address = c->next_address;
    if (address == NULL) { /* result.error is that of the last one */
        finish(c);
        return;
    }
    c->next_address = address->ai_next;
    connect_to(c, address->ai_addr);
}

static void resolved_cb(uv_getaddrinfo_t *req, int status, struct addrinfo *addresses)
{
    struct peer_connect *c = req->data;
    c->addresses = addresses;
    c->resolving = false;
    if (!c->finishing) {
        if (status != 0) {
            fail(c, uv_strerror(status));
        } else {
            c->next_address = addresses;
            try_next_address(c);
        }
    }
    one_ended(c);
}

/* Resolve or connect; whatever fails here ends the attempt in a later turn of the loop. */
static void start(struct peer_connect *c, const char *address)
{
    struct peer_address parsed;
    if (!peer_address_parse(address, &parsed)) {
        fail(c, "the address is not HOST:PORT");
        return;
    }
    struct sockaddr_storage numeric;
    int port = (int)strtol(parsed.port, NULL, 10);
    if (uv_ip4_addr(parsed.host, port, (struct sockaddr_in *)&numeric) == 0 ||
        uv_ip6_addr(parsed.host, port, (struct sockaddr_in6 *)&numeric) == 0) {
        connect_to(c, (struct sockaddr *)&numeric);
        return;
    }
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    c->resolve.data = c;
    if (uv_getaddrinfo(c->loop, &c->resolve, resolved_cb, parsed.host, parsed.port, &hints) != 0) {
        fail(c, "the system refuses to resolve names");
        return;
    }
    c->resolving = true;
    c->open++;
}

struct peer_connect *peer_connect_start(uv_loop_t *loop, const char *address, struct bytes hello,
    unsigned timeout_ms, void (*cb)(void *data, const struct peer_connect_result *result), void *data)
{
    struct peer_connect *c = xcalloc(1, sizeof *c);
    c->loop = loop;
    c->cb = cb;
    c->data = data;
    c->result.error = "the system refuses the connection";
    buf_init(&c->hello);
    buf_append(&c->hello, hello.data, hello.len);
    CHECK(!c->hello.failed);
    CHECK(uv_timer_init(loop, &c->timer) == 0);
    c->timer.data = c;
    c->open = 1;
    CHECK(uv_timer_start(&c->timer, timeout_cb, timeout_ms, 0) == 0);
    start(c, address);
    return c;
}

void peer_connect_cancel(struct peer_connect *c)
{
    fail(c, "cancelled");
}
