/* Incoming: accept, read the hello's head, then its address, judge it, write the ack, and if that accepts
 * hand the stream to the group's library instance. Nothing is read past the hello, and a peer sends nothing
 * before it has the ack. Every ending of an incoming connection goes through incoming_close(), which frees it
 * once its handles are closed.
 *
 * Outgoing: peer_connect.h does the work; here its result becomes what libraft wants. */
#include "raft/peer_port.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/base/list.h"
#include "proto/limits.h"
#include "raft/handshake.h"
#include "raft/peer_address.h"
#include "raft/peer_connect.h"

enum { BACKLOG = 128 };

/* Refusals come five times a second for each group as long as a mistake in a configuration stands. */
struct log_pause {
    uint64_t until_ms;
    unsigned suppressed;
};

struct transport {
    struct raft_uv_transport base; /* its impl points back here; the library uses its data */
    struct peer_port *port;
    uint32_t group;
    raft_uv_accept_cb accept_cb; /* NULL until the library listens, and once it closes */
    struct list connecting;      /* of outgoing */
    bool closing;
    raft_uv_transport_close_cb close_cb;
};

struct outgoing {
    struct list link;
    struct transport *transport;
    struct raft_uv_connect *req;
    uint64_t peer_id;
    struct peer_connect *connect;
};

struct incoming {
    struct list link; /* in peer_port.pending while the handshake runs */
    struct peer_port *port;
    uv_tcp_t *tcp; /* raft_malloc'd; NULL once handed over */
    uv_timer_t timer;
    uv_write_t write;
    uint8_t hello[HANDSHAKE_HELLO_BYTES_MAX];
    size_t hello_len;
    size_t wanted; /* read so far and no further */
    uint8_t ack[HANDSHAKE_ACK_BYTES];
    struct handshake_hello peer;
    enum handshake_verdict verdict;
    bool closing;
    unsigned open; /* handles to close */
};

struct peer_port {
    struct peer_port_config config;
    struct handshake_self self;
    struct handshake_node nodes[LIMIT_NODES];
    uv_tcp_t listener;
    struct transport *transports; /* group_count of them */
    struct list pending;          /* of incoming, oldest first */
    unsigned pending_count;
    unsigned open; /* the listener and the incoming connections that are not freed yet */
    bool closing;
    struct log_pause refused_here[HANDSHAKE_VERDICTS]
                                 [LIMIT_NODES + 1]; /* the last column: senders we don't know */
    struct log_pause refused_there[HANDSHAKE_VERDICTS][LIMIT_NODES + 1];
    struct log_pause unreachable[LIMIT_NODES + 1];
    struct log_pause dropped;
    void (*close_cb)(void *data);
    void *close_data;
};

/* ---- Logging ---- */

static unsigned column_of(const struct peer_port *port, uint64_t node_id)
{
    for (unsigned i = 0; i < port->config.n_peers; i++) {
        if (port->config.peers[i].id == node_id) {
            return i;
        }
    }
    return LIMIT_NODES;
}

/* May this line be written now? *@suppressed is how many like it were not. */
static bool log_allowed(struct peer_port *port, struct log_pause *pause, unsigned *suppressed)
{
    uint64_t now_ms = uv_now(port->config.loop);
    if (now_ms < pause->until_ms) {
        pause->suppressed++;
        return false;
    }
    *suppressed = pause->suppressed;
    *pause = (struct log_pause){.until_ms = now_ms + PEER_PORT_LOG_PAUSE_MS};
    return true;
}

static void remote_name(const uv_tcp_t *tcp, char *out, size_t len)
{
    struct sockaddr_storage address;
    int address_len = sizeof address;
    if (uv_tcp_getpeername(tcp, (struct sockaddr *)&address, &address_len) != 0 ||
        uv_ip_name((struct sockaddr *)&address, out, len) != 0) {
        snprintf(out, len, "?");
    }
}

static void log_refused_here(struct incoming *in)
{
    struct peer_port *port = in->port;
    unsigned suppressed;
    if (!log_allowed(
            port, &port->refused_here[in->verdict][column_of(port, in->peer.sender_id)], &suppressed)) {
        return;
    }
    char from[64];
    remote_name(in->tcp, from, sizeof from);
    log_warn(port->config.logger, "peer-refused",
        "from=%s sender=%" PRIu64 " group=%" PRIu32 " reason=%s text=\"%s\" suppressed=%u", from,
        in->peer.sender_id, in->peer.group, handshake_verdict_name(in->verdict),
        handshake_verdict_text(in->verdict), suppressed);
}

static void log_outgoing_failed(const struct outgoing *out, const struct peer_connect_result *result)
{
    struct peer_port *port = out->transport->port;
    unsigned column = column_of(port, out->peer_id);
    unsigned suppressed;
    if (result->error != NULL) {
        if (log_allowed(port, &port->unreachable[column], &suppressed)) {
            log_warn(port->config.logger, "peer-unreachable", "peer=%" PRIu64 " error=\"%s\" suppressed=%u",
                out->peer_id, result->error, suppressed);
        }
    } else if (log_allowed(port, &port->refused_there[result->verdict][column], &suppressed)) {
        log_warn(port->config.logger, "refused-by-peer",
            "peer=%" PRIu64 " group=%" PRIu32 " reason=%s text=\"%s\" suppressed=%u", out->peer_id,
            out->transport->group, handshake_verdict_name(result->verdict),
            handshake_verdict_text(result->verdict), suppressed);
    }
}

/* ---- Closing of the port ---- */

static void one_closed(struct peer_port *port)
{
    CHECK(port->open > 0);
    if (--port->open > 0) {
        return;
    }
    void (*cb)(void *) = port->close_cb;
    void *data = port->close_data;
    free(port->transports);
    free(port);
    if (cb != NULL) {
        cb(data);
    }
}

/* ---- Incoming ---- */

static void incoming_handle_closed(struct incoming *in)
{
    if (--in->open == 0) {
        struct peer_port *port = in->port;
        free(in);
        one_closed(port);
    }
}

static void incoming_timer_closed_cb(uv_handle_t *handle)
{
    incoming_handle_closed(handle->data);
}

static void incoming_tcp_closed_cb(uv_handle_t *handle)
{
    struct incoming *in = handle->data;
    raft_free(handle);
    incoming_handle_closed(in);
}

static void incoming_close(struct incoming *in)
{
    if (in->closing) {
        return;
    }
    in->closing = true;
    list_remove(&in->link);
    in->port->pending_count--;
    uv_close((uv_handle_t *)&in->timer, incoming_timer_closed_cb);
    if (in->tcp != NULL) {
        uv_close((uv_handle_t *)in->tcp, incoming_tcp_closed_cb);
    }
}

static void incoming_hand_over(struct incoming *in)
{
    struct peer_port *port = in->port;
    struct transport *t = &port->transports[in->peer.group];
    if (t->accept_cb == NULL) { /* it closed while the ack was being written */
        incoming_close(in);
        return;
    }
    uv_stream_t *stream = (uv_stream_t *)in->tcp;
    in->tcp = NULL;
    in->open--; /* the library closes it from now on; the timer is still ours */
    log_debug(port->config.logger, "peer-accepted", "peer=%" PRIu64 " group=%" PRIu32, in->peer.sender_id,
        in->peer.group);
    raft_uv_accept_cb accept_cb = t->accept_cb;
    raft_id sender_id = in->peer.sender_id;
    incoming_close(in);
    /* The address must be the very string of the configuration: the library compares them. */
    accept_cb(&t->base, sender_id, port->config.peers[column_of(port, sender_id)].address, stream);
}

static void ack_written_cb(uv_write_t *req, int status)
{
    struct incoming *in = req->data;
    if (in->closing) {
        return;
    }
    if (status != 0 || in->verdict != HANDSHAKE_ACCEPTED) {
        incoming_close(in);
        return;
    }
    incoming_hand_over(in);
}

static void incoming_answer(struct incoming *in, enum handshake_verdict verdict)
{
    uv_read_stop((uv_stream_t *)in->tcp);
    in->verdict = verdict;
    if (verdict != HANDSHAKE_ACCEPTED) {
        log_refused_here(in);
    }
    if (verdict == HANDSHAKE_GARBAGE) { /* not one of us: no answer */
        incoming_close(in);
        return;
    }
    handshake_ack_encode(verdict, in->ack);
    uv_buf_t ack = uv_buf_init((char *)in->ack, sizeof in->ack);
    in->write.data = in;
    if (uv_write(&in->write, (uv_stream_t *)in->tcp, &ack, 1, ack_written_cb) != 0) {
        incoming_close(in);
    }
}

static enum handshake_verdict judge(const struct peer_port *port, const struct handshake_hello *hello)
{
    enum handshake_verdict verdict = handshake_judge(&port->self, hello);
    if (verdict == HANDSHAKE_ACCEPTED && port->transports[hello->group].accept_cb == NULL) {
        return HANDSHAKE_NOT_READY;
    }
    return verdict;
}

static void hello_alloc_cb(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct incoming *in = handle->data;
    *buf = uv_buf_init((char *)in->hello + in->hello_len, (unsigned)(in->wanted - in->hello_len));
}

static void hello_read_cb(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct incoming *in = stream->data;
    if (n < 0) {
        incoming_close(in);
        return;
    }
    in->hello_len += (size_t)n;
    enum handshake_verdict verdict = HANDSHAKE_GARBAGE;
    switch (handshake_hello_parse(bytes_of(in->hello, in->hello_len), &in->peer, &in->wanted, &verdict)) {
    case STATUS_AGAIN:
        return;
    case STATUS_OK:
        incoming_answer(in, judge(in->port, &in->peer));
        return;
    default:
        incoming_answer(in, verdict);
        return;
    }
}

static void hello_timeout_cb(uv_timer_t *timer)
{
    incoming_close(timer->data);
}

static void drop_oldest(struct peer_port *port)
{
    struct incoming *oldest = list_entry(port->pending.next, struct incoming, link);
    unsigned suppressed;
    if (log_allowed(port, &port->dropped, &suppressed)) {
        log_warn(port->config.logger, "peer-handshakes-dropped", "pending=%u suppressed=%u",
            port->pending_count, suppressed);
    }
    incoming_close(oldest);
}

static void connection_cb(uv_stream_t *listener, int status)
{
    struct peer_port *port = listener->data;
    if (status != 0) {
        log_warn(port->config.logger, "peer-accept-failed", "error=\"%s\"", uv_strerror(status));
        return;
    }
    if (port->pending_count >= PEER_PORT_PENDING_MAX) {
        drop_oldest(port);
    }
    struct incoming *in = xcalloc(1, sizeof *in);
    in->port = port;
    in->wanted = HANDSHAKE_HELLO_HEAD_BYTES;
    in->tcp = raft_malloc(sizeof *in->tcp);
    CHECK(in->tcp != NULL);
    CHECK(uv_tcp_init(port->config.loop, in->tcp) == 0);
    in->tcp->data = in;
    CHECK(uv_timer_init(port->config.loop, &in->timer) == 0);
    in->timer.data = in;
    in->open = 2;
    port->open++;
    list_push_back(&port->pending, &in->link);
    port->pending_count++;
    if (uv_accept(listener, (uv_stream_t *)in->tcp) != 0) {
        incoming_close(in);
        return;
    }
    peer_socket_tune(in->tcp);
    CHECK(uv_timer_start(&in->timer, hello_timeout_cb, PEER_PORT_HANDSHAKE_TIMEOUT_MS, 0) == 0);
    if (uv_read_start((uv_stream_t *)in->tcp, hello_alloc_cb, hello_read_cb) != 0) {
        incoming_close(in);
    }
}

/* ---- What libraft calls ---- */

static int transport_init(struct raft_uv_transport *base, raft_id id, const char *address)
{
    return 0;
}

static int transport_listen(struct raft_uv_transport *base, raft_uv_accept_cb cb)
{
    struct transport *t = base->impl;
    t->accept_cb = cb;
    return 0;
}

static void transport_maybe_closed(struct transport *t)
{
    if (t->closing && list_empty(&t->connecting) && t->close_cb != NULL) {
        raft_uv_transport_close_cb cb = t->close_cb;
        t->close_cb = NULL;
        cb(&t->base);
    }
}

static void connect_done_cb(void *data, const struct peer_connect_result *result)
{
    struct outgoing *out = data;
    struct transport *t = out->transport;
    struct raft_uv_connect *req = out->req;
    uv_stream_t *stream = result->stream;
    int status = t->closing ? RAFT_CANCELED : (stream != NULL ? 0 : RAFT_NOCONNECTION);
    if (status == 0) {
        log_debug(t->port->config.logger, "peer-connected", "peer=%" PRIu64 " group=%" PRIu32, out->peer_id,
            t->group);
        t->port->unreachable[column_of(t->port, out->peer_id)] = (struct log_pause){0};
    } else if (!t->closing) {
        log_outgoing_failed(out, result);
    }
    if (status != 0 && stream != NULL) {
        uv_close((uv_handle_t *)stream, (uv_close_cb)raft_free);
        stream = NULL;
    }
    list_remove(&out->link);
    free(out);
    req->cb(req, stream, status);
    transport_maybe_closed(t);
}

static int transport_connect(struct raft_uv_transport *base, struct raft_uv_connect *req, raft_id id,
    const char *address, raft_uv_connect_cb cb)
{
    struct transport *t = base->impl;
    const struct peer_port_config *config = &t->port->config;
    unsigned self = column_of(t->port, config->node_id);
    struct handshake_hello hello = {
        .cluster_hash = t->port->self.cluster_hash,
        .sender_id = config->node_id,
        .target_id = id,
        .group_count = config->group_count,
        .group = t->group,
        .election_timeout_ms = config->election_timeout_ms,
    };
    snprintf(hello.address, sizeof hello.address, "%s", config->peers[self].address);
    struct buf bytes;
    buf_init(&bytes);
    handshake_hello_encode(&hello, &bytes);

    struct outgoing *out = xcalloc(1, sizeof *out);
    out->transport = t;
    out->req = req;
    out->peer_id = id;
    req->cb = cb;
    list_push_back(&t->connecting, &out->link);
    out->connect = peer_connect_start(
        config->loop, address, buf_bytes(&bytes), PEER_PORT_CONNECT_TIMEOUT_MS, connect_done_cb, out);
    buf_deinit(&bytes);
    return 0;
}

static void transport_close(struct raft_uv_transport *base, raft_uv_transport_close_cb cb)
{
    struct transport *t = base->impl;
    t->closing = true;
    t->accept_cb = NULL;
    t->close_cb = cb;
    list_for_each (node, tmp, &t->connecting) {
        peer_connect_cancel(list_entry(node, struct outgoing, link)->connect);
    }
    transport_maybe_closed(t);
}

static void transport_setup(struct transport *t, struct peer_port *port, uint32_t group)
{
    t->port = port;
    t->group = group;
    list_init(&t->connecting);
    t->base.version = 1;
    t->base.impl = t;
    t->base.init = transport_init;
    t->base.listen = transport_listen;
    t->base.connect = transport_connect;
    t->base.close = transport_close;
}

/* ---- Opening and closing ---- */

static void listener_closed_cb(uv_handle_t *handle)
{
    one_closed(handle->data);
}

/* Bind to the first address of @text that the machine has. */
static int bind_to(struct peer_port *port, const struct peer_address *address)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    uv_getaddrinfo_t resolve;
    int rv = uv_getaddrinfo(port->config.loop, &resolve, NULL, address->host, address->port, &hints);
    if (rv != 0) {
        return rv;
    }
    rv = UV_EADDRNOTAVAIL;
    for (struct addrinfo *a = resolve.addrinfo; a != NULL && rv != 0; a = a->ai_next) {
        rv = uv_tcp_bind(&port->listener, a->ai_addr, 0);
    }
    uv_freeaddrinfo(resolve.addrinfo);
    return rv;
}

static enum status listen_on_own_address(struct peer_port *port, char *errmsg, size_t len)
{
    const char *text = port->config.peers[column_of(port, port->config.node_id)].address;
    struct peer_address address;
    if (!peer_address_parse(text, &address)) {
        snprintf(errmsg, len, "this node's peer address \"%s\" is not HOST:PORT", text);
        return STATUS_INVALID;
    }
    int rv = bind_to(port, &address);
    if (rv == 0) {
        rv = uv_listen((uv_stream_t *)&port->listener, BACKLOG, connection_cb);
    }
    if (rv != 0) {
        snprintf(errmsg, len,
            "cannot listen for peers on %s: %s; it must be an address of this machine, on a free port", text,
            uv_strerror(rv));
        return STATUS_IO;
    }
    return STATUS_OK;
}

enum status peer_port_open(
    const struct peer_port_config *config, struct peer_port **out, char *errmsg, size_t len)
{
    CHECK(config->n_peers <= LIMIT_NODES);
    struct peer_port *port = xcalloc(1, sizeof *port);
    port->config = *config;
    port->config.cluster = NULL;
    for (unsigned i = 0; i < config->n_peers; i++) {
        port->nodes[i] =
            (struct handshake_node){.id = config->peers[i].id, .address = config->peers[i].address};
    }
    port->self = (struct handshake_self){
        .cluster_hash = handshake_cluster_hash(config->cluster),
        .node_id = config->node_id,
        .group_count = config->group_count,
        .election_timeout_ms = config->election_timeout_ms,
        .nodes = port->nodes,
        .n_nodes = config->n_peers,
    };
    CHECK(column_of(port, config->node_id) < config->n_peers);
    list_init(&port->pending);
    port->transports = xcalloc(config->group_count, sizeof *port->transports);
    for (uint32_t g = 0; g < config->group_count; g++) {
        transport_setup(&port->transports[g], port, g);
    }
    CHECK(uv_tcp_init(config->loop, &port->listener) == 0);
    port->listener.data = port;
    port->open = 1;
    enum status status = listen_on_own_address(port, errmsg, len);
    if (status != STATUS_OK) {
        peer_port_close(port, NULL, NULL);
        return status;
    }
    *out = port;
    return STATUS_OK;
}

struct raft_uv_transport *peer_port_transport(struct peer_port *port, uint32_t group)
{
    CHECK(group < port->config.group_count);
    return &port->transports[group].base;
}

unsigned peer_port_pending(const struct peer_port *port)
{
    return port->pending_count;
}

void peer_port_close(struct peer_port *port, void (*cb)(void *data), void *data)
{
    CHECK(!port->closing);
    port->closing = true;
    port->close_cb = cb;
    port->close_data = data;
    uv_close((uv_handle_t *)&port->listener, listener_closed_cb);
    list_for_each (node, tmp, &port->pending) {
        incoming_close(list_entry(node, struct incoming, link));
    }
}
