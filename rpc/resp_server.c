/* The Redis port: commands cut by resp_parser.h, on the machinery of server_private.h.
 *
 * Happy path: bytes come -> the parser finds a command -> its bytes move to the request -> the handler, which
 * answers now or later -> the reply waits in its request until those of all earlier commands are there -> the
 * output.
 *
 * A request keeps its command's bytes because it outlives the input buffer: a small command is copied (less
 * than its system calls cost by far), for a big one the buffer itself changes hands. */
#include "rpc/resp_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "rpc/address.h"
#include "rpc/resp_parser.h"
#include "rpc/resp_writer.h"
#include "rpc/server_private.h"

enum {
    GIVE_BYTES_MIN = 8 * 1024,   /* shorter commands are copied */
    MOVE_BYTES_MIN = 16 * 1024,  /* shorter replies are copied */
    REPLY_KEEP_BYTES = 4 * 1024, /* of a request that waits for its next use */
};

struct resp_server {
    struct server base;
    struct resp_server_config config; /* without address */
};

struct resp_conn {
    struct server_conn base;
    struct resp_parser parser;
    struct list order; /* owned_request.order: all requests not sent, the oldest first */
    void *client;
    bool muted; /* a reply with close_after was the last one */
    uint64_t opened_ms, active_ms;
};

struct owned_request {
    struct resp_request r;
    struct server_request base;
    struct list order;
    struct buf input;    /* what args borrow from, if it is not in the arena */
    size_t queued_bytes; /* of its reply, while that waits for earlier ones */
    bool answered;
    bool refused; /* the server answers it */
};

static struct owned_request *owned_of(struct server_request *request)
{
    return list_entry(request, struct owned_request, base);
}

static struct resp_conn *conn_of(struct server_conn *conn)
{
    return (struct resp_conn *)(void *)conn;
}

static struct resp_server *server_of(struct server *server)
{
    return (struct resp_server *)(void *)server;
}

/* ---- Replies ---- */

static void put_reply(struct resp_conn *conn, struct owned_request *owned)
{
    struct buf *reply = &owned->r.reply, *out = &conn->base.out;
    size_t len = reply->len;
    if (len == 0 || conn->muted) {
        return;
    }
    server_output_begin(&conn->base);
    if (out->len == 0 && len >= MOVE_BYTES_MIN) {
        buf_deinit(out);
        buf_move(out, reply);
    } else {
        buf_append(out, reply->data, len);
    }
    server_output_added(&conn->base, len);
}

/* Send what is answered, up to the first command that is not. Each request comes by here once. */
static void send_in_order(struct resp_conn *conn)
{
    while (!list_empty(&conn->order)) {
        struct owned_request *first = list_entry(conn->order.next, struct owned_request, order);
        if (!first->answered) {
            return;
        }
        list_remove(&first->order);
        conn->base.queued_bytes -= first->queued_bytes;
        put_reply(conn, first);
        conn->muted |= first->r.close_after;
        server_conn_release(&first->base);
    }
}

/* An error instead of a reply that is too long. What was done was done, and nobody may be told otherwise. */
static void reply_instead(struct owned_request *owned, const char *why)
{
    struct resp_writer w = {.out = &owned->r.reply, .protocol = 2};
    buf_deinit(w.out);
    if (owned->r.read_only) {
        resp_error_of(&w, "OOM %s", why);
    } else {
        resp_error_of(&w, "UNKNOWN the outcome is unknown: %s", why);
    }
}

/* May close the connection, which turns out to be broken. */
static void fit_reply(struct resp_conn *conn, struct owned_request *owned)
{
    struct buf *reply = &owned->r.reply;
    CHECK(!reply->failed); /* out of memory: a node stops, see proto/base/alloc.h */
    if (reply->len > RESP_REPLY_BYTES_MAX) {
        reply_instead(owned, "the reply is longer than 512 MiB");
    } else if (!server_output_has_room(&conn->base, reply->len)) {
        reply_instead(owned, "the node's memory for clients has no room for so long a reply");
    }
}

void resp_reply(struct resp_request *request)
{
    struct owned_request *owned = (struct owned_request *)(void *)request;
    struct resp_conn *conn = conn_of(owned->base.conn);
    struct server *server = owned->base.server;
    CHECK(!owned->answered);
    if (server->taking == &owned->base) {
        server->taking = NULL;
    }
    if (conn->base.state != CONN_CLOSING) {
        fit_reply(conn, owned);
    }
    if (conn->base.state == CONN_CLOSING) {
        list_remove(&owned->order);
        server_conn_release(&owned->base);
        return;
    }
    owned->answered = true;
    if (owned->r.close_after) {
        server_conn_finish(&conn->base);
    }
    if (conn->order.next == &owned->order) {
        server_mark_dirty(&conn->base); /* it may read again, or has nothing more to wait for */
        send_in_order(conn);
    } else {
        owned->queued_bytes = owned->r.reply.len;
        conn->base.queued_bytes += owned->queued_bytes;
        server_conn_charge(&conn->base, &owned->base);
    }
}

/* ---- Commands ---- */

/* Let @owned keep the first @len bytes of the input, from which its arguments borrow, and take them from
 * there. */
static void keep_command(struct resp_conn *conn, struct owned_request *owned, struct bytes input, size_t len)
{
    struct conn_input *in = &conn->base.in;
    conn_input_take(in, len);
    if (len >= GIVE_BYTES_MIN && in->buf.cap / 3 <= len) { /* little else would be held with it */
        conn_input_give(in, &owned->input);
        return;
    }
    uint8_t *copy = arena_alloc(&owned->r.arena, len);
    memcpy(copy, input.data, len);
    for (uint32_t i = 0; i < owned->r.n; i++) {
        uintptr_t at = (uintptr_t)owned->r.args[i].data, begin = (uintptr_t)input.data;
        if (at >= begin && at - begin < len) { /* and is not in the arena already */
            owned->r.args[i].data = copy + (at - begin);
        }
    }
}

static struct owned_request *request_for(struct resp_conn *conn, uint64_t boot_ms)
{
    struct owned_request *owned = owned_of(server_request_new(&conn->base));
    owned->r.received_ms = boot_ms;
    owned->r.conn = conn;
    owned->r.client = conn->client;
    owned->r.server = server_of(conn->base.server);
    owned->r.close_after = owned->r.read_only = false;
    owned->answered = owned->refused = false;
    owned->queued_bytes = 0;
    return owned;
}

static void hand_over(struct resp_conn *conn, struct owned_request *owned, size_t frame_bytes)
{
    conn->active_ms = owned->r.received_ms;
    list_push_back(&conn->order, &owned->order);
    server_conn_hand_over(&conn->base, &owned->base, frame_bytes);
}

static void take_too_big(struct resp_conn *conn, struct owned_request *owned)
{
    struct resp_writer w = {.out = &owned->r.reply, .protocol = 2};
    resp_error_of(&w,
        "ERR command '%.*s' is too long: at most %zu bytes with its arguments; it was not executed",
        (int)owned->r.args[0].len, (const char *)owned->r.args[0].data, conn->parser.command_bytes_max);
    owned->refused = true;
    hand_over(conn, owned, 0);
}

static void take_command(struct resp_conn *conn, struct owned_request *owned, struct bytes input, size_t len)
{
    if (!conn->base.refusing && server_conn_has_room(&conn->base, sizeof *owned + owned->r.arena.bytes)) {
        keep_command(conn, owned, input, len);
        hand_over(conn, owned, len);
        return;
    }
    struct resp_writer w = {.out = &owned->r.reply, .protocol = 2};
    conn_input_take(&conn->base.in, len);
    resp_error(&w, "OOM the node's memory for clients is used up; nothing was done; try again later");
    owned->refused = true;
    hand_over(conn, owned, 0);
}

static bool resp_whole(struct server_conn *base)
{
    struct resp_conn *conn = conn_of(base);
    bool whole = resp_parser_whole(&conn->parser, conn_input_rest(&base->in));
    base->codec_bytes = resp_parser_bytes(&conn->parser);
    return whole;
}

/* A too big command is under way: what came of it goes. */
static void skip(struct resp_conn *conn)
{
    struct arena arena; /* nothing comes out, and nothing is put here */
    struct bytes *args;
    uint32_t n;
    size_t consumed;
    arena_init(&arena);
    resp_parse(&conn->parser, conn_input_rest(&conn->base.in), &arena, &consumed, &args, &n);
    conn_input_take(&conn->base.in, consumed);
}

static bool resp_take(struct server_conn *base, uint64_t boot_ms)
{
    struct resp_conn *conn = conn_of(base);
    if (!resp_whole(base)) {
        if (conn->parser.skipping) {
            skip(conn);
        }
        return false;
    }
    struct owned_request *owned = request_for(conn, boot_ms);
    struct bytes input = conn_input_rest(&base->in);
    size_t consumed;
    switch (resp_parse(&conn->parser, input, &owned->r.arena, &consumed, &owned->r.args, &owned->r.n)) {
    case RESP_COMMAND:
        take_command(conn, owned, input, consumed);
        return true;
    case RESP_TOO_BIG:
        conn_input_take(&base->in, consumed);
        take_too_big(conn, owned);
        return true;
    case RESP_EMPTY:
        conn_input_take(&base->in, consumed);
        server_request_done(&owned->base);
        return true;
    case RESP_BROKEN:
    case RESP_MORE: /* it was whole: this cannot be */
        break;
    }
    server_request_done(&owned->base);
    CHECK(conn->parser.error != NULL);
    server_conn_refuse(base, STATUS_INVALID, conn->parser.error);
    return false;
}

static bool resp_begun(const struct server_conn *base)
{
    const struct resp_conn *conn = (const struct resp_conn *)(const void *)base;
    return conn_input_pending(&base->in) > 0 || conn->parser.skipping;
}

/* ---- A connection's begin and end ---- */

/* HOST:PORT; an IPv4 address that came by an IPv6 socket is told as what it is. "?:0": the connection is gone
 * already.
 */
static void address_text(const struct sockaddr_storage *name, int rc, char *out, size_t len)
{
    char host[INET6_ADDRSTRLEN] = "?";
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)name;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)name;
    if (rc != 0 || (name->ss_family != AF_INET && name->ss_family != AF_INET6)) {
        snprintf(out, len, "?:0");
    } else if (name->ss_family == AF_INET) {
        inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
        snprintf(out, len, "%s:%u", host, ntohs(v4->sin_port));
    } else if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
        inet_ntop(AF_INET, v6->sin6_addr.s6_addr + 12, host, sizeof host);
        snprintf(out, len, "%s:%u", host, ntohs(v6->sin6_port));
    } else {
        inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
        snprintf(out, len, "[%s]:%u", host, ntohs(v6->sin6_port));
    }
}

static void resp_conn_opened(struct server_conn *base)
{
    struct resp_conn *conn = conn_of(base);
    const struct resp_server_config *config = &server_of(base->server)->config;
    struct sockaddr_storage name;
    char peer[ADDRESS_TEXT_BYTES], local[ADDRESS_TEXT_BYTES];
    int len = sizeof name;
    int rc = uv_tcp_getpeername(&base->tcp, (struct sockaddr *)&name, &len);
    address_text(&name, rc, peer, sizeof peer);
    len = sizeof name;
    rc = uv_tcp_getsockname(&base->tcp, (struct sockaddr *)&name, &len);
    address_text(&name, rc, local, sizeof local);
    list_init(&conn->order);
    resp_parser_init(&conn->parser, config->command_bytes_max);
    conn->opened_ms = conn->active_ms = clock_boot_ms();
    conn->client = config->on_open(config->data, conn, base->id, peer, local);
}

static void resp_conn_closed(struct server_conn *base)
{
    struct resp_conn *conn = conn_of(base);
    const struct resp_server_config *config = &server_of(base->server)->config;
    list_for_each (it, tmp, &conn->order) {
        struct owned_request *owned = list_entry(it, struct owned_request, order);
        owned->r.conn = NULL;
        owned->r.client = NULL;
        if (owned->answered) { /* its turn will not come */
            list_remove(it);
            server_conn_release(&owned->base);
        }
    }
    base->queued_bytes = 0;
    base->codec_bytes = 0;
    resp_parser_deinit(&conn->parser);
    config->on_close(config->data, conn->client);
}

/* Redis says nothing when it closes an idle connection or goes away, and a client takes whatever comes for
 * the answer to its next command: so only what is about its own input is told. */
static void resp_say(struct server_conn *base, enum status status, const char *words)
{
    size_t before = base->out.len;
    struct resp_writer w = {.out = &base->out, .protocol = 2};
    if (conn_of(base)->muted || status == STATUS_SHUTTING_DOWN) {
        return;
    }
    server_output_begin(base);
    if (status == STATUS_INVALID) {
        resp_error(&w, words); /* the parser's, with its code */
    } else {
        resp_error_of(&w, "%s %s", status == STATUS_OVERLOADED ? "OOM" : "ERR", words);
    }
    server_output_added(base, base->out.len - before);
}

static void resp_turn_away(struct buf *out)
{
    struct resp_writer w = {.out = out, .protocol = 2};
    resp_error(&w, "ERR max number of clients reached");
}

/* ---- Requests ---- */

static struct server_request *resp_request_create(void)
{
    struct owned_request *owned = xcalloc(1, sizeof *owned);
    arena_init(&owned->r.arena);
    buf_init(&owned->r.reply);
    buf_init(&owned->input);
    list_init(&owned->order);
    return &owned->base;
}

static void resp_request_reset(struct server_request *base)
{
    struct owned_request *owned = owned_of(base);
    arena_reset(&owned->r.arena);
    if (owned->r.arena.bytes > SERVER_ARENA_KEEP_BYTES) {
        arena_deinit(&owned->r.arena);
    }
    buf_clear(&owned->r.reply);
    if (owned->r.reply.cap > REPLY_KEEP_BYTES) {
        buf_deinit(&owned->r.reply);
    }
    buf_deinit(&owned->input);
}

static void resp_request_destroy(struct server_request *base)
{
    struct owned_request *owned = owned_of(base);
    arena_deinit(&owned->r.arena);
    buf_deinit(&owned->r.reply);
    buf_deinit(&owned->input);
    free(owned);
}

static size_t resp_request_bytes(const struct server_request *base)
{
    const struct owned_request *owned = list_entry(base, const struct owned_request, base);
    return sizeof *owned + owned->r.arena.bytes + owned->r.reply.cap + owned->input.cap;
}

static void resp_request_handle(struct server_request *base)
{
    struct owned_request *owned = owned_of(base);
    const struct resp_server_config *config = &owned->r.server->config;
    if (!owned->refused) {
        config->on_request(config->data, &owned->r);
        return;
    }
    if (config->on_refused != NULL) {
        config->on_refused(config->data, owned->r.client);
    }
    resp_reply(&owned->r);
}

static const struct server_codec resp_codec = {
    .log_prefix = "redis-",
    .in_order = true,
    .gives_up = true,
    .conn_bytes = sizeof(struct resp_conn),
    .conn_opened = resp_conn_opened,
    .conn_closed = resp_conn_closed,
    .take = resp_take,
    .begun = resp_begun,
    .whole = resp_whole,
    .say = resp_say,
    .turn_away = resp_turn_away,
    .request_create = resp_request_create,
    .request_reset = resp_request_reset,
    .request_destroy = resp_request_destroy,
    .request_bytes = resp_request_bytes,
    .request_handle = resp_request_handle,
};

/* ---- What the node calls ---- */

void resp_conn_info(const struct resp_conn *conn, struct resp_conn_info *out)
{
    const struct server_conn *base = &conn->base;
    uv_os_fd_t fd = -1;
    uv_fileno((const uv_handle_t *)&base->tcp, &fd);
    *out = (struct resp_conn_info){
        .id = base->id,
        .client = conn->client,
        .fd = fd,
        .opened_ms = conn->opened_ms,
        .active_ms = conn->active_ms,
        .input_bytes = conn_input_pending(&base->in),
        .input_free_bytes = base->in.buf.cap - base->in.buf.len,
        .output_bytes = server_conn_unsent(base) + base->queued_bytes,
        .memory_bytes = sizeof *conn + base->held,
    };
}

void resp_server_each(const struct resp_server *server,
    void (*visit)(void *data, const struct resp_conn_info *info), void *data)
{
    list_for_each (it, tmp, &server->base.conns) {
        const struct server_conn *conn = list_entry(it, const struct server_conn, link);
        if (conn->state < CONN_LINGERING) {
            struct resp_conn_info info;
            resp_conn_info((const struct resp_conn *)(const void *)conn, &info);
            visit(data, &info);
        }
    }
}

unsigned resp_server_port(const struct resp_server *server)
{
    return server->base.port;
}

unsigned resp_server_connections(const struct resp_server *server)
{
    return server->base.n_conns;
}

uint64_t resp_server_connections_total(const struct resp_server *server)
{
    return server->base.next_conn_id;
}

uint64_t resp_server_requests(const struct resp_server *server)
{
    return server->base.requests_total;
}

size_t resp_server_client_bytes(const struct resp_server *server)
{
    return server->base.held;
}

void resp_server_close(struct resp_server *server, unsigned grace_ms, void (*cb)(void *data), void *data)
{
    server_close(&server->base, grace_ms, cb, data);
}

enum status resp_server_start(uv_loop_t *loop, const struct resp_server_config *config,
    struct resp_server **out, char *errmsg, size_t errmsg_len)
{
    CHECK(config->on_open != NULL && config->on_request != NULL && config->on_close != NULL);
    CHECK(config->command_bytes_max > 0);
    struct resp_server *server = xcalloc(1, sizeof *server);
    server->config = *config;
    server->config.address = NULL;
    struct server_limits limits = {
        .connections_max = config->connections_max,
        .requests_max = config->requests_max,
        .output_max = config->output_max,
        .client_bytes_max = config->client_bytes_max,
        .idle_timeout_ms = config->idle_timeout_ms,
        .frame_timeout_ms = config->frame_timeout_ms,
        .message_bytes_max = config->command_bytes_max,
    };
    enum status status = server_start(
        &server->base, loop, &resp_codec, &limits, config->logger, config->address, errmsg, errmsg_len);
    if (status == STATUS_OK) {
        *out = server;
    }
    return status;
}
