#include "tools/wbbench/link.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/frame.h"
#include "proto/limits.h"

void link_init(
    struct link *l, const struct link_events *events, void *data, struct list *dirty, struct bytes scratch)
{
    memset(l, 0, sizeof *l);
    l->events = events;
    l->data = data;
    l->dirty = dirty;
    l->scratch = scratch;
    list_init(&l->dirty_node);
    buf_init(&l->in);
    buf_init(&l->out);
    buf_init(&l->writing);
}

void link_deinit(struct link *l)
{
    CHECK(l->state == LINK_CLOSED);
    buf_deinit(&l->in);
    buf_deinit(&l->out);
    buf_deinit(&l->writing);
}

static void on_closed(uv_handle_t *handle)
{
    struct link *l = handle->data;
    bool was_open = l->was_open;
    l->state = LINK_CLOSED;
    l->was_open = false;
    l->write_busy = false;
    list_remove(&l->dirty_node);
    buf_clear(&l->in);
    buf_clear(&l->out);
    buf_clear(&l->writing);
    l->events->closed(l, was_open);
}

void link_close(struct link *l)
{
    if (l->state == LINK_CONNECTING || l->state == LINK_OPEN) {
        l->state = LINK_CLOSING;
        uv_close((uv_handle_t *)&l->tcp, on_closed);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    const struct link *l = handle->data;
    *out = uv_buf_init((char *)(uintptr_t)l->scratch.data, (unsigned)l->scratch.len);
}

/* Hand out the whole frames at the start of @input; returns how many bytes they took. */
static size_t cut_frames(struct link *l, struct bytes input)
{
    size_t used = 0;
    while (l->state == LINK_OPEN) {
        struct bytes payload;
        size_t consumed;
        enum status s = frame_parse(
            bytes_of(input.data + used, input.len - used), LIMIT_FRAME_BYTES, &payload, &consumed);
        if (s == STATUS_AGAIN) {
            break;
        }
        if (s != STATUS_OK) {
            link_close(l);
            break;
        }
        used += consumed;
        l->events->frame(l, payload);
    }
    return used;
}

static size_t take_input(struct link *l, struct bytes input)
{
    return l->events->input != NULL ? l->events->input(l, input) : cut_frames(l, input);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct link *l = stream->data;
    if (n < 0) {
        link_close(l);
        return;
    }
    if (l->in.len == 0) {
        /* The usual case: whole frames, taken from where they were read. */
        struct bytes input = bytes_of(buf->base, (size_t)n);
        size_t used = take_input(l, input);
        buf_append(&l->in, input.data + used, input.len - used);
    } else {
        buf_append(&l->in, buf->base, (size_t)n);
        buf_consume(&l->in, take_input(l, buf_bytes(&l->in)));
    }
}

static void on_connect(uv_connect_t *request, int status)
{
    struct link *l = request->data;
    if (l->state != LINK_CONNECTING) {
        return; /* closed meanwhile */
    }
    if (status < 0) {
        link_close(l);
        return;
    }
    l->state = LINK_OPEN;
    l->was_open = true;
    if (uv_read_start((uv_stream_t *)&l->tcp, on_alloc, on_read) != 0) {
        link_close(l);
        return;
    }
    link_flush(l);
}

void link_connect(struct link *l, uv_loop_t *loop, const struct sockaddr_storage *address)
{
    CHECK(l->state == LINK_CLOSED);
    int rc = uv_tcp_init(loop, &l->tcp);
    CHECK(rc == 0);
    l->tcp.data = l;
    l->connect.data = l;
    l->write.data = l;
    l->state = LINK_CONNECTING;
    uv_tcp_nodelay(&l->tcp, 1);
    if (uv_tcp_connect(&l->connect, &l->tcp, (const struct sockaddr *)address, on_connect) != 0) {
        link_close(l);
    }
}

struct buf *link_output(struct link *l)
{
    list_remove(&l->dirty_node);
    list_push_back(l->dirty, &l->dirty_node);
    return &l->out;
}

static void on_written(uv_write_t *request, int status)
{
    struct link *l = request->data;
    if (status < 0) {
        link_close(l);
        return;
    }
    l->write_busy = false;
    buf_clear(&l->writing);
    link_flush(l);
}

void link_flush(struct link *l)
{
    list_remove(&l->dirty_node);
    if (l->state != LINK_OPEN || l->write_busy || l->out.len == 0) {
        return;
    }
    uv_buf_t piece = uv_buf_init((char *)l->out.data, (unsigned)l->out.len);
    int sent = uv_try_write((uv_stream_t *)&l->tcp, &piece, 1);
    if (sent < 0 && sent != UV_EAGAIN) {
        link_close(l);
        return;
    }
    if (sent > 0 && (size_t)sent == l->out.len) {
        buf_clear(&l->out);
        return;
    }
    buf_consume(&l->out, sent > 0 ? (size_t)sent : 0);
    buf_deinit(&l->writing);
    buf_move(&l->writing, &l->out);
    piece = uv_buf_init((char *)l->writing.data, (unsigned)l->writing.len);
    l->write_busy = true;
    if (uv_write(&l->write, (uv_stream_t *)&l->tcp, &piece, 1, on_written) != 0) {
        link_close(l);
    }
}

bool link_resolve(const char *address, struct sockaddr_storage *out, char *errmsg, size_t errmsg_len)
{
    const char *colon = strrchr(address, ':');
    if (colon == NULL || colon[1] == '\0') {
        snprintf(errmsg, errmsg_len, "'%s' is not HOST:PORT", address);
        return false;
    }
    size_t len = (size_t)(colon - address);
    char host[300];
    if (len >= 2 && address[0] == '[' && address[len - 1] == ']') {
        address++;
        len -= 2;
    }
    snprintf(host, sizeof host, "%.*s", (int)len, address);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(host, colon + 1, &hints, &found);
    if (rc != 0) {
        snprintf(errmsg, errmsg_len, "%s: %s", address, gai_strerror(rc));
        return false;
    }
    memset(out, 0, sizeof *out);
    memcpy(out, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return true;
}
