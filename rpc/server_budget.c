/* client_bytes_max: what all connections together may hold in memory.
 *
 * What is counted: received and not understood bytes, requests not answered (with all that was decoded from
 * them and what the handler put into their arenas), answers not sent; buffers with their capacity. Over the
 * limit nobody who holds less than a share notices anything; the others are not read, and what is longer than
 * the share becomes OVERLOADED. So the sum is bounded by the limit and a share for each connection. It ends
 * by itself when those others get their answers, or read them. Those that could get on and don't (a message
 * begun and not finished, an answer not read) are closed: else a crowd of them would keep everybody at a
 * share for ever. */
#include <stdlib.h>

#include "proto/base/alloc.h"
#include "rpc/server_private.h"

void server_recount(struct server_conn *conn)
{
    size_t held = conn->request_bytes + conn->codec_bytes;
    if (!conn->closed) {
        held += conn->in.buf.cap + conn->out.cap + conn->leaving.cap;
    }
    conn->server->held = conn->server->held - conn->held + held;
    conn->held = held;
}

bool server_may_hold(const struct server_conn *conn, size_t more)
{
    const struct server_limits *limits = &conn->server->limits;
    if (limits->client_bytes_max == 0 || conn->server->held <= limits->client_bytes_max) {
        return true;
    }
    size_t share = limits->client_bytes_max / (limits->connections_max > 0 ? limits->connections_max : 1);
    return conn->held + more <= (share > SERVER_SHARE_MIN_BYTES ? share : SERVER_SHARE_MIN_BYTES);
}

void server_wait_for_room(struct server_conn *conn)
{
    if (list_empty(&conn->waiting_link)) {
        conn->wait_begun_ms = uv_now(conn->server->loop);
        list_push_back(&conn->server->waiting, &conn->waiting_link);
    }
}

void server_budget_turn(struct server *server)
{
    size_t max = server->limits.client_bytes_max;
    size_t held = server->held; /* and what those who go on may read */
    while (held <= max && !list_empty(&server->waiting)) {
        struct list *first = list_pop_front(&server->waiting);
        server_mark_dirty(list_entry(first, struct server_conn, waiting_link));
        held += CONN_INPUT_KEEP_BYTES;
    }
}

/* ---- Who has to go ---- */

struct candidate {
    struct server_conn *conn;
    size_t gain; /* what closing gives back: not the requests, they are the handler's */
};

static bool stands_still(const struct server_conn *conn, uint64_t now_ms)
{
    /* Who holds less than a share is read, and gets on if bytes come. */
    bool in_frame = conn->frame_begun_ms != 0 && now_ms - conn->received_ms >= SERVER_STALL_MS;
    bool in_answer = server_conn_unsent(conn) > 0 && now_ms - conn->sent_ms >= SERVER_STALL_MS;
    return conn->state < CONN_CLOSING && (in_frame || in_answer);
}

static int largest_first(const void *a, const void *b)
{
    size_t x = ((const struct candidate *)a)->gain, y = ((const struct candidate *)b)->gain;
    return x < y ? 1 : x > y ? -1 : 0;
}

static size_t find_candidates(struct server *server, uint64_t now_ms, struct candidate *out)
{
    size_t n = 0;
    list_for_each (it, tmp, &server->conns) {
        struct server_conn *conn = list_entry(it, struct server_conn, link);
        size_t gain = conn->held - conn->request_bytes;
        if (gain > 0 && stands_still(conn, now_ms)) {
            out[n++] = (struct candidate){.conn = conn, .gain = gain};
        }
    }
    return n;
}

static void drop(struct server_conn *conn)
{
    if (conn->state == CONN_SERVING && server_conn_unsent(conn) == 0) {
        server_conn_refuse(conn, STATUS_OVERLOADED,
            "the node's memory for clients is used up, and this connection does not get on with its message; "
            "the connection will be closed");
    } else {
        server_conn_close(conn); /* it does not read: no words would reach it */
    }
}

void server_budget_sweep(struct server *server, uint64_t now_ms)
{
    size_t max = server->limits.client_bytes_max;
    if (max == 0 || server->held <= max) {
        server->over_budget = false;
        return;
    }
    struct candidate *candidates = xmalloc((server->n_conns + (size_t)1) * sizeof *candidates);
    size_t n = find_candidates(server, now_ms, candidates);
    qsort(candidates, n, sizeof *candidates, largest_first);
    size_t held = server->held, dropped = 0, gain = 0;
    for (size_t i = 0; i < n; i++) {
        gain += candidates[i].gain;
    }
    /* When it is requests that hold the memory, closing connections does not help. */
    bool helps = held - gain <= max;
    while (helps && dropped < n && held > max) {
        held -= candidates[dropped].gain;
        drop(candidates[dropped++].conn);
    }
    free(candidates);
    if (!server->over_budget || dropped > 0) {
        server_log(server, LOG_WARN, "clients-over-budget",
            "held_bytes=%zu client_bytes=%zu connections=%u closed=%zu", server->held, max, server->n_conns,
            dropped);
    }
    server->over_budget = true;
}
