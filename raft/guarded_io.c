#include "raft/guarded_io.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"

/* An empty AppendEntries is not sent within this part of a heartbeat after what it follows. */
enum { APPEND_QUIET_DIVISOR = 4 };

/* The library's requests carry their callback; ours take its place while the call is under way. */
struct guarded_send {
    struct raft_io_send req;
    struct raft_io_send *outer;
    struct send_window *window; /* NULL for an address outside the list of nodes */
    struct send_cost cost;
};

struct guarded_append {
    struct raft_io_append req;
    struct raft_io_append *outer;
    struct guarded_io *g;
};

struct guarded_put {
    struct raft_io_snapshot_put req;
    struct raft_io_snapshot_put *outer;
    struct guarded_io *g;
};

struct guarded_get {
    struct raft_io_snapshot_get req;
    struct raft_io_snapshot_get *outer;
    struct guarded_io *g;
};

static struct guarded_io *guard_of(struct raft_io *io)
{
    return (struct guarded_io *)(void *)io;
}

_Noreturn static void fatal(struct guarded_io *g, const char *what, int status)
{
    log_error(g->config.logger, "raft-disk-failed",
        "group=%" PRIu32
        " call=%s status=%d error=\"%s\" detail=\"%s\" action=\"the node stops, so that nothing is "
        "acknowledged that is not on disk; repair the disk and start it again\"",
        g->config.group, what, status, raft_strerror(status), g->io.errmsg);
    abort();
}

/* ---- calls that do not end ---- */

static void pending_begin(struct guarded_pending *p)
{
    if (p->count++ == 0) {
        p->stalled_ms = 0;
    }
}

static void pending_end(struct guarded_pending *p)
{
    p->count--;
    p->stalled_ms = 0;
}

static void pending_pass(struct guarded_pending *p, uint64_t ms)
{
    p->stalled_ms = p->count > 0 ? p->stalled_ms + ms : 0;
}

/* What the library's writer leaves in the io's message, and nowhere else, when a write to a segment failed.
 * It writes again a quarter of a second later, which is more than a tick, to a place that is not the segment.
 */
static bool write_has_failed(const struct guarded_io *g)
{
    return strncmp(g->io.errmsg, "write failed", strlen("write failed")) == 0 ||
           strncmp(g->io.errmsg, "short write", strlen("short write")) == 0;
}

static void check_appends(struct guarded_io *g)
{
    if (g->appends.count == 0) {
        return;
    }
    if (write_has_failed(g)) {
        fatal(g, "append", RAFT_IOERR);
    }
    if (g->appends.stalled_ms >= GUARDED_IO_APPEND_MS_MAX) {
        log_error(g->config.logger, "raft-disk-stalled",
            "group=%" PRIu32 " pending=%u ms=%" PRIu64
            " text=\"the disk has taken no write for so long: it is full, or it hangs\" action=\"the node "
            "stops; make space on its disk, or repair it, and start it again\"",
            g->config.group, g->appends.count, g->appends.stalled_ms);
        abort();
    }
}

static void check_puts(struct guarded_io *g)
{
    if (g->puts.stalled_ms < GUARDED_IO_SNAPSHOT_MS_MAX) {
        return;
    }
    g->puts.stalled_ms = 0; /* said again after the same time */
    log_error(g->config.logger, "raft-snapshot-stalled",
        "group=%" PRIu32
        " ms=%d text=\"a snapshot cannot be written: the disk is full, or it hangs; until then "
        "the log grows\" action=\"make space on this node's disk\"",
        g->config.group, GUARDED_IO_SNAPSHOT_MS_MAX);
}

static void guarded_tick(struct raft_io *io)
{
    struct guarded_io *g = guard_of(io);
    uint64_t now_ms = g->config.now_ms(g->config.now_data);
    uint64_t passed_ms = g->ticked_ms == 0 ? 0 : now_ms - g->ticked_ms;
    g->ticked_ms = now_ms;
    /* A process that was stopped, or a loop that was busy, has not let the disk's answers in either. */
    uint64_t counted_ms = passed_ms < 2u * g->tick_ms ? passed_ms : 2u * g->tick_ms;
    pending_pass(&g->appends, counted_ms);
    pending_pass(&g->puts, counted_ms);
    if (!g->closing) {
        check_appends(g);
        check_puts(g);
    }
    g->ticking = true;
    g->tick(io);
    g->ticking = false;
}

/* ---- time ---- */

static raft_time guarded_time(struct raft_io *io)
{
    struct guarded_io *g = guard_of(io);
    return g->config.now_ms(g->config.now_data);
}

/* ---- send and receive ---- */

static int peer_position(const struct guarded_io *g, uint64_t id)
{
    for (unsigned i = 0; i < g->config.n_peers; i++) {
        if (g->config.peers[i].id == id) {
            return (int)i;
        }
    }
    return -1;
}

static struct send_cost cost_of(const struct raft_message *message)
{
    struct send_cost cost = {.snapshot = message->type == RAFT_INSTALL_SNAPSHOT};
    if (message->type == RAFT_APPEND_ENTRIES) {
        for (unsigned i = 0; i < message->append_entries.n_entries; i++) {
            cost.bytes += message->append_entries.entries[i].buf.len;
        }
    }
    return cost;
}

/* The library may send an empty AppendEntries at each result that it gets (its heartbeat timeout is 1 ms:
 * replica_open.c). In a busy group that doubles the messages, and behind the entries that it follows it says
 * only how far the log is committed, which the next entry says as well, or a tick's heartbeat. */
static bool is_superfluous(const struct guarded_io *g, int position, const struct raft_message *message)
{
    const struct raft_append_entries *a = &message->append_entries;
    const struct guarded_sent *last = &g->peers[position].sent;
    return message->type == RAFT_APPEND_ENTRIES && a->n_entries == 0 && !g->ticking && last->end != 0 &&
           last->term == a->term && last->end == a->prev_log_index &&
           g->config.now_ms(g->config.now_data) - last->ms < g->tick_ms / APPEND_QUIET_DIVISOR;
}

static void note_sent(struct guarded_io *g, int position, const struct raft_message *message)
{
    const struct raft_append_entries *a = &message->append_entries;
    if (message->type == RAFT_APPEND_ENTRIES) {
        g->peers[position].sent = (struct guarded_sent){.ms = g->config.now_ms(g->config.now_data),
            .term = a->term,
            .end = a->prev_log_index + a->n_entries};
    }
}

static void sent_cb(struct raft_io_send *req, int status)
{
    struct guarded_send *send = req->data;
    struct raft_io_send *outer = send->outer;
    if (send->window != NULL) {
        send_window_give(send->window, send->cost);
    }
    free(send);
    outer->cb(outer, status);
}

static int guarded_send(
    struct raft_io *io, struct raft_io_send *req, const struct raft_message *message, raft_io_send_cb cb)
{
    struct guarded_io *g = guard_of(io);
    req->cb = cb;
    if (g->closing) { /* a snapshot that was being read when the close came; nothing may be started any more
                       */
        cb(req, RAFT_CANCELED);
        return 0;
    }
    int position = peer_position(g, message->server_id);
    if (position >= 0 && is_superfluous(g, position, message)) {
        cb(req, 0);
        return 0;
    }
    struct send_window *window = position >= 0 ? &g->peers[position].window : NULL;
    struct send_cost cost = cost_of(message);
    if (window != NULL && !send_window_take(window, cost)) {
        cb(req, RAFT_NOCONNECTION);
        return 0;
    }
    if (position >= 0) {
        note_sent(g, position, message);
    }
    struct guarded_send *send = xmalloc(sizeof *send);
    *send = (struct guarded_send){.outer = req, .window = window, .cost = cost};
    send->req.data = send;
    /* The list of nodes says where a peer lives. The log may still hold an older address. */
    struct raft_message addressed = *message;
    /* The library decides to send a snapshot, then reads it. If a newer one was stored in between it corrects
     * the index in its message, but not the term, and the receiver would later take the log for a conflict
     * with what is committed. */
    if (message->type == RAFT_INSTALL_SNAPSHOT && message->install_snapshot.last_index == g->got_index) {
        addressed.install_snapshot.last_term = g->got_term;
    }
    if (position >= 0) {
        addressed.server_address = g->config.peers[position].address;
    }
    int rv = g->inner.send(io, &send->req, &addressed, sent_cb);
    if (rv != 0) {
        send->req.cb = sent_cb;
        sent_cb(&send->req, rv);
    }
    return 0;
}

static bool snapshot_would_collide(const struct raft *r)
{
    return r->legacy.snapshot_taking || r->legacy.snapshot_install || r->snapshot.installing;
}

static void guarded_recv(struct raft_io *io, struct raft_message *message)
{
    struct guarded_io *g = guard_of(io);
    int position = peer_position(g, message->server_id);
    if (position >= 0) {
        g->peers[position].heard_ms = g->config.now_ms(g->config.now_data);
    }
    if (message->type == RAFT_INSTALL_SNAPSHOT && snapshot_would_collide(io->data)) {
        raft_configuration_close(&message->install_snapshot.conf);
        raft_free(message->install_snapshot.data.base);
        return;
    }
    g->recv(io, message);
}

static int guarded_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
    struct guarded_io *g = guard_of(io);
    g->recv = recv;
    g->tick = tick;
    g->tick_ms = msecs;
    return g->inner.start(io, msecs, guarded_tick, guarded_recv);
}

/* ---- disk ---- */

static int guarded_set_term(struct raft_io *io, raft_term term)
{
    struct guarded_io *g = guard_of(io);
    int rv = g->inner.set_term(io, term);
    if (rv != 0) {
        fatal(g, "set_term", rv);
    }
    return 0;
}

static int guarded_set_vote(struct raft_io *io, raft_id server_id)
{
    struct guarded_io *g = guard_of(io);
    int rv = g->inner.set_vote(io, server_id);
    if (rv != 0) {
        fatal(g, "set_vote", rv);
    }
    return 0;
}

static int guarded_truncate(struct raft_io *io, raft_index index)
{
    struct guarded_io *g = guard_of(io);
    /* The library calls this before each append; nothing is cut when it is where the last append ended. */
    bool cuts = index != g->next_index;
    g->next_index = index;
    /* On a full disk the cut entries would stay in their segment, and what is appended in their place would
     * come after them at the next start. */
    if (cuts && g->config.has_room != NULL && !g->config.has_room(g->config.room_data)) {
        fatal(g, "truncate", RAFT_NOSPACE);
    }
    int rv = g->inner.truncate(io, index);
    if (rv != 0) {
        fatal(g, "truncate", rv);
    }
    return 0;
}

static void appended_cb(struct raft_io_append *req, int status)
{
    struct guarded_append *append = req->data;
    struct raft_io_append *outer = append->outer;
    pending_end(&append->g->appends);
    if (status != 0 && !append->g->closing) {
        fatal(append->g, "append", status);
    }
    free(append);
    outer->cb(outer, status);
}

static int guarded_append(struct raft_io *io, struct raft_io_append *req, const struct raft_entry entries[],
    unsigned n, raft_io_append_cb cb)
{
    struct guarded_io *g = guard_of(io);
    struct guarded_append *append = xmalloc(sizeof *append);
    *append = (struct guarded_append){.outer = req, .g = g};
    append->req.data = append;
    req->cb = cb;
    if (g->appends.count == 0) {
        g->io.errmsg[0] = '\0'; /* what check_appends finds there later is of this write or one behind it */
    }
    /* libraft leaves a barrier's bytes as malloc gave them, and they go to the disk and, after this, to all
     * peers. */
    for (unsigned i = 0; i < n; i++) {
        if (entries[i].type == RAFT_BARRIER) {
            memset(entries[i].buf.base, 0, entries[i].buf.len);
        }
    }
    g->next_index += g->next_index != 0 ? n : 0;
    pending_begin(&g->appends);
    int rv = g->inner.append(io, &append->req, entries, n, appended_cb);
    if (rv != 0) {
        fatal(g, "append", rv);
    }
    return 0;
}

static void put_cb(struct raft_io_snapshot_put *req, int status)
{
    struct guarded_put *put = req->data;
    struct raft_io_snapshot_put *outer = put->outer;
    pending_end(&put->g->puts);
    if (status != 0 && !put->g->closing) {
        fatal(put->g, "snapshot_put", status);
    }
    free(put);
    outer->cb(outer, status);
}

static int guarded_snapshot_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
    const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
    struct guarded_io *g = guard_of(io);
    struct guarded_put *put = xmalloc(sizeof *put);
    *put = (struct guarded_put){.outer = req, .g = g};
    put->req.data = put;
    req->cb = cb;
    pending_begin(&g->puts);
    int rv = g->inner.snapshot_put(io, trailing, &put->req, snapshot, put_cb);
    if (rv != 0 && !g->closing) {
        fatal(g, "snapshot_put", rv);
    }
    if (rv != 0) {
        pending_end(&g->puts);
        free(put);
    }
    return rv;
}

/* On a failed read the library frees a configuration that it never set. While closing it gets an empty
 * snapshot instead, which it then tries to send, and guarded_send cancels that. */
static struct raft_snapshot *empty_snapshot(void)
{
    struct raft_snapshot *snapshot = raft_calloc(1, sizeof *snapshot);
    CHECK(snapshot != NULL);
    snapshot->bufs = raft_calloc(1, sizeof *snapshot->bufs);
    CHECK(snapshot->bufs != NULL);
    snapshot->n_bufs = 1;
    raft_configuration_init(&snapshot->configuration);
    return snapshot;
}

static void got_cb(struct raft_io_snapshot_get *req, struct raft_snapshot *snapshot, int status)
{
    struct guarded_get *get = req->data;
    struct raft_io_snapshot_get *outer = get->outer;
    struct guarded_io *g = get->g;
    if (status != 0 && !g->closing) {
        fatal(g, "snapshot_get", status);
    }
    free(get);
    if (status != 0) {
        raft_free(snapshot); /* the struct only: it was never filled */
        snapshot = empty_snapshot();
    }
    g->got_index = snapshot->index;
    g->got_term = snapshot->term;
    outer->cb(outer, snapshot, 0);
}

static int guarded_snapshot_get(
    struct raft_io *io, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb)
{
    struct guarded_io *g = guard_of(io);
    struct guarded_get *get = xmalloc(sizeof *get);
    *get = (struct guarded_get){.outer = req, .g = g};
    get->req.data = get;
    req->cb = cb;
    int rv = g->inner.snapshot_get(io, &get->req, got_cb);
    if (rv != 0) {
        fatal(g, "snapshot_get", rv);
    }
    return 0;
}

static void guarded_close(struct raft_io *io, raft_io_close_cb cb)
{
    struct guarded_io *g = guard_of(io);
    g->closing = true;
    g->inner.close(io, cb);
}

void guarded_io_wrap(struct guarded_io *g, const struct guarded_io_config *config)
{
    CHECK(config->n_peers <= LIMIT_NODES);
    g->config = *config;
    g->inner = g->io;
    g->recv = NULL;
    g->tick = NULL;
    g->tick_ms = 0;
    g->ticked_ms = 0;
    g->appends = (struct guarded_pending){0};
    g->puts = (struct guarded_pending){0};
    g->closing = false;
    g->next_index = 0;
    g->got_index = 0;
    g->got_term = 0;
    for (unsigned i = 0; i < config->n_peers; i++) {
        send_window_init(&g->peers[i].window, GUARDED_IO_MESSAGES_MAX, GUARDED_IO_BYTES_MAX);
        g->peers[i].heard_ms = 0;
    }
    g->io.time = guarded_time;
    g->io.send = guarded_send;
    g->io.start = guarded_start;
    g->io.set_term = guarded_set_term;
    g->io.set_vote = guarded_set_vote;
    g->io.truncate = guarded_truncate;
    g->io.append = guarded_append;
    g->io.snapshot_put = guarded_snapshot_put;
    g->io.snapshot_get = guarded_snapshot_get;
    g->io.close = guarded_close;
}

uint64_t guarded_io_heard_ms(const struct guarded_io *g, uint64_t peer_id)
{
    int position = peer_position(g, peer_id);
    return position >= 0 ? g->peers[position].heard_ms : 0;
}
