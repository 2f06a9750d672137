#include "cluster-tests/sim/sim_io.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"

enum { SEND_DONE_US = 20, DISK_MIN_US = 100 };

enum operation_kind { OPERATION_APPEND, OPERATION_TRUNCATE, OPERATION_PUT };

/* One change of the disk. It is in io.operations from the call to its callback. */
struct operation {
    struct sim_event event;
    struct list link;
    struct sim_io *io;
    enum operation_kind kind;
    bool on_disk;
    uint64_t index; /* append, truncate */
    struct raft_io_append *append;
    const struct raft_entry *entries; /* libraft's until the callback */
    unsigned n;
    struct raft_io_snapshot_put *put;
    const struct raft_snapshot *snapshot; /* likewise */
    unsigned trailing;
};

struct get {
    struct sim_event event;
    struct list link;
    struct sim_io *io;
    struct raft_io_snapshot_get *req;
};

struct send {
    struct sim_event event;
    struct list link;
    struct sim_io *io;
    struct raft_io_send *req;
};

const char *sim_io_address(unsigned node)
{
    static const char *const names[SIM_NODES_MAX] = {"n1", "n2", "n3", "n4", "n5", "n6", "n7"};
    CHECK(node < SIM_NODES_MAX);
    return names[node];
}

/* libraft only queues the callbacks of completed requests; its uv backend fires them on each turn of the loop
 * (uv.c, uvCheckLoopCb) with a function that is not exported. The queue and its items are in the public
 * header. */
static void fire_completed(struct sim_io *s)
{
    struct raft *r = s->io.data;
    void **head = r->legacy.requests;
    while (head[0] != head) {
        void **item = head[0];
        void **successor = item[0];
        head[0] = successor;
        successor[1] = head;
        struct raft_apply *request = list_entry(item, struct raft_apply, queue);
        switch (request->type) {
        case RAFT_COMMAND:
            request->cb(request, request->status, request->result);
            break;
        case RAFT_BARRIER: {
            struct raft_barrier *barrier = list_entry(item, struct raft_barrier, queue);
            barrier->cb(barrier, barrier->status);
            break;
        }
        case RAFT_CHANGE: {
            struct raft_change *change = list_entry(item, struct raft_change, queue);
            change->cb(change, change->status);
            break;
        }
        default: { /* a transfer's type number is private to libraft */
            struct raft_transfer *transfer = list_entry(item, struct raft_transfer, queue);
            transfer->cb(transfer);
            break;
        }
        }
    }
}

/* ---- The disk ---- */

/* @n limits an append to a prefix, for a crash in the middle. */
static void write_to_disk(struct operation *op, unsigned n)
{
    struct sim_disk *disk = op->io->disk;
    switch (op->kind) {
    case OPERATION_APPEND:
        sim_disk_append(disk, op->index, op->entries, n);
        break;
    case OPERATION_TRUNCATE:
        sim_disk_truncate(disk, op->index);
        break;
    case OPERATION_PUT:
        sim_disk_put_snapshot(disk, op->snapshot, op->trailing);
        break;
    }
    op->on_disk = true;
}

static void call_back(struct operation *op, int status)
{
    struct sim_io *s = op->io;
    struct operation done = *op;
    list_remove(&op->link);
    free(op);
    s->heard_us = s->clock->now_us;
    if (done.kind == OPERATION_APPEND) {
        done.append->cb(done.append, status);
    } else if (done.kind == OPERATION_PUT) {
        done.put->cb(done.put, status);
    }
    if (!s->closing) {
        fire_completed(s);
    }
}

static void operation_done(struct sim_event *event)
{
    call_back(list_entry(event, struct operation, event), 0);
}

static void operation_on_disk(struct sim_event *event)
{
    struct operation *op = list_entry(event, struct operation, event);
    write_to_disk(op, op->n);
    /* The disk does not wait for a process that is stopped, but the process does not hear of it. */
    sim_schedule(op->io->clock, &op->event, op->io->gate, 0, operation_done);
}

static struct operation *start_operation(struct sim_io *s, enum operation_kind kind)
{
    struct operation *op = xcalloc(1, sizeof *op);
    op->io = s;
    op->kind = kind;
    list_push_back(&s->operations, &op->link);
    return op;
}

static void schedule_ordered(struct sim_io *s, struct operation *op)
{
    uint64_t at_us = s->clock->now_us + sim_between(s->clock, s->disk_min_us, s->disk_max_us);
    if (at_us <= s->last_done_us) {
        at_us = s->last_done_us + 1;
    }
    s->last_done_us = at_us;
    sim_schedule(s->clock, &op->event, NULL, at_us - s->clock->now_us, operation_on_disk);
}

static int io_append(struct raft_io *io, struct raft_io_append *req, const struct raft_entry entries[],
    unsigned n, raft_io_append_cb cb)
{
    struct sim_io *s = io->impl;
    CHECK(n > 0 && !s->closing);
    req->cb = cb;
    struct operation *op = start_operation(s, OPERATION_APPEND);
    op->append = req;
    op->entries = entries;
    op->n = n;
    op->index = s->next_index;
    s->next_index += n;
    schedule_ordered(s, op);
    return 0;
}

static int io_truncate(struct raft_io *io, raft_index index)
{
    struct sim_io *s = io->impl;
    CHECK(index > 0 && !s->closing);
    if (index >= s->next_index) {
        return 0;
    }
    struct operation *op = start_operation(s, OPERATION_TRUNCATE);
    op->index = index;
    s->next_index = index;
    schedule_ordered(s, op);
    return 0;
}

static int io_snapshot_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
    const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
    struct sim_io *s = io->impl;
    CHECK(!s->closing);
    req->cb = cb;
    struct operation *op = start_operation(s, OPERATION_PUT);
    op->put = req;
    op->snapshot = snapshot;
    op->trailing = trailing;
    if (trailing == 0) {
        s->next_index = snapshot->index + 1;
        schedule_ordered(s, op);
    } else {
        uint64_t at_us = s->clock->now_us + 4 * sim_between(s->clock, s->disk_min_us, s->disk_max_us);
        if (at_us <= s->last_done_us) {
            at_us = s->last_done_us + 1;
        }
        sim_schedule(s->clock, &op->event, NULL, at_us - s->clock->now_us, operation_on_disk);
    }
    return 0;
}

static void get_done(struct sim_event *event)
{
    struct get *get = list_entry(event, struct get, event);
    struct sim_io *s = get->io;
    struct raft_io_snapshot_get *req = get->req;
    raft_io_snapshot_get_cb cb = req->cb;
    list_remove(&get->link);
    free(get);
    s->got_index = s->disk->snapshot_index;
    s->got_term = s->disk->snapshot_term;
    /* Also when closing: libraft frees memory that it never set when a get fails. */
    cb(req, sim_disk_get_snapshot(s->disk), 0);
    if (!s->closing) {
        fire_completed(s);
    }
}

static int io_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb)
{
    struct sim_io *s = io->impl;
    CHECK(!s->closing && s->disk->snapshot_index != 0);
    req->cb = cb;
    struct get *get = xcalloc(1, sizeof *get);
    get->io = s;
    get->req = req;
    list_push_back(&s->gets, &get->link);
    sim_schedule(
        s->clock, &get->event, s->gate, sim_between(s->clock, s->disk_min_us, s->disk_max_us), get_done);
    return 0;
}

static int io_set_term(struct raft_io *io, raft_term term)
{
    struct sim_io *s = io->impl;
    CHECK(!s->dead && term >= s->disk->term);
    s->disk->term = term;
    s->disk->voted_for = 0;
    return 0;
}

static int io_set_vote(struct raft_io *io, raft_id id)
{
    struct sim_io *s = io->impl;
    CHECK(!s->dead);
    s->disk->voted_for = id;
    return 0;
}

static int io_load(struct raft_io *io, raft_term *term, raft_id *voted_for, struct raft_snapshot **snapshot,
    raft_index *start_index, struct raft_entry *entries[], size_t *n)
{
    struct sim_io *s = io->impl;
    struct sim_disk *disk = s->disk;
    *entries = sim_disk_load_entries(disk);
    *term = disk->term;
    *voted_for = disk->voted_for;
    *snapshot = sim_disk_get_snapshot(disk);
    *start_index = disk->start_index;
    *n = disk->n;
    s->next_index = sim_disk_next_index(disk);
    return 0;
}

static int io_bootstrap(struct raft_io *io, const struct raft_configuration *configuration)
{
    struct sim_io *s = io->impl;
    if (s->disk->term != 0) {
        return RAFT_CANTBOOTSTRAP;
    }
    struct raft_entry entry = {.term = 1, .type = RAFT_CHANGE};
    int rv = raft_configuration_encode(configuration, &entry.buf);
    if (rv != 0) {
        return rv;
    }
    s->disk->term = 1;
    sim_disk_append(s->disk, 1, &entry, 1);
    raft_free(entry.buf.base);
    return 0;
}

static int io_recover(struct raft_io *io, const struct raft_configuration *configuration)
{
    return RAFT_IOERR; /* nothing here recovers by hand */
}

/* ---- The network ---- */

/* What libraft cannot take: a snapshot while it takes or installs one crashes it or leaks. And what it would
 * answer with success and an index that it never set: a snapshot or the log's beginning from a leader of an
 * older term (recvInstallSnapshot, recvAppendEntries). */
static bool refuses(const struct sim_io *s, const struct raft_message *m)
{
    const struct raft *r = s->io.data;
    if (m->type == RAFT_INSTALL_SNAPSHOT) {
        return r->legacy.snapshot_taking || r->snapshot.installing ||
               m->install_snapshot.term < r->current_term;
    }
    return m->type == RAFT_APPEND_ENTRIES && m->append_entries.term < r->current_term &&
           m->append_entries.prev_log_index == 0;
}

/* An answer that rejects entries of an older term has a last_log_index that libraft never set: give it the
 * one that it sets elsewhere. What happens must not depend on what lay on the stack. */
static struct raft_message with_last_index(struct sim_io *s, const struct raft_message *message)
{
    struct raft_message m = *message;
    if (m.type == RAFT_APPEND_ENTRIES_RESULT && m.append_entries_result.rejected > 0) {
        raft_index last = raft_last_index(s->io.data), before = m.append_entries_result.rejected - 1;
        m.append_entries_result.last_log_index = last < before ? last : before;
    }
    return m;
}

/* libraft decides to send a snapshot, then reads it; if a newer one was stored in between, it corrects the
 * index in the message but not the term (legacy.c, legacyLoadSnapshotCb), and the receiver would later take
 * the leader's log for a conflict with what is committed. Such a message must not leave; libraft tries again.
 */
static bool snapshot_term_is_wrong(const struct sim_io *s, const struct raft_message *m)
{
    return m->type == RAFT_INSTALL_SNAPSHOT && m->install_snapshot.last_index == s->got_index &&
           m->install_snapshot.last_term != s->got_term;
}

bool sim_io_listens(const struct sim_io *s)
{
    return s != NULL && !s->dead && s->recv_cb != NULL;
}

void sim_io_receive(struct sim_io *s, struct raft_message *message)
{
    if (refuses(s, message)) {
        sim_message_release(message);
        return;
    }
    s->heard_us = s->clock->now_us;
    s->recv_cb(&s->io, message);
    if (!s->closing) {
        fire_completed(s);
    }
}

static void send_done(struct sim_event *event)
{
    struct send *send = list_entry(event, struct send, event);
    struct sim_io *s = send->io;
    struct raft_io_send *req = send->req;
    list_remove(&send->link);
    free(send);
    req->cb(req, 0);
    if (!s->closing) {
        fire_completed(s);
    }
}

static int io_send(
    struct raft_io *io, struct raft_io_send *req, const struct raft_message *message, raft_io_send_cb cb)
{
    struct sim_io *s = io->impl;
    req->cb = cb;
    if (s->closing || s->dead || snapshot_term_is_wrong(s, message)) {
        cb(req, RAFT_CANCELED);
        return 0;
    }
    CHECK(message->server_id >= 1 && message->server_id <= SIM_NODES_MAX);
    struct raft_message sent = with_last_index(s, message);
    sim_net_send(s->net, s->group, s->node, (unsigned)message->server_id - 1, &sent);
    if (message->type == RAFT_APPEND_ENTRIES && message->append_entries.n_entries > 0) {
        /* They were copied, so let them go at once. While a send holds a part of a batch libraft may free all
         * of it: whether a batch is still needed it asks the log only (log.c, isBatchReferenced). */
        cb(req, 0);
        return 0;
    }
    struct send *send = xcalloc(1, sizeof *send);
    send->io = s;
    send->req = req;
    list_push_back(&s->sends, &send->link);
    sim_schedule(s->clock, &send->event, s->gate, SEND_DONE_US, send_done);
    return 0;
}

/* ---- Life ---- */

static void tick(struct sim_event *event)
{
    struct sim_io *s = list_entry(event, struct sim_io, tick);
    sim_schedule(s->clock, &s->tick, s->gate, (uint64_t)s->tick_ms * 1000, tick);
    s->tick_cb(&s->io);
    if (!s->closing) {
        fire_completed(s);
    }
}

static int io_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick_cb, raft_io_recv_cb recv_cb)
{
    struct sim_io *s = io->impl;
    s->tick_ms = msecs;
    s->tick_cb = tick_cb;
    s->recv_cb = recv_cb;
    sim_schedule(s->clock, &s->tick, s->gate, sim_random(s->clock, (uint64_t)msecs * 1000) + 1, tick);
    return 0;
}

static int io_init(struct raft_io *io, raft_id id, const char *address)
{
    struct sim_io *s = io->impl;
    CHECK(id == s->node + 1 && strcmp(address, sim_io_address(s->node)) == 0);
    return 0;
}

static raft_time io_time(struct raft_io *io)
{
    struct sim_io *s = io->impl;
    return s->clock->now_us / 1000 + s->time_offset_ms;
}

static int io_random(struct raft_io *io, int min, int max)
{
    struct sim_io *s = io->impl;
    return min + (int)sim_random(s->clock, (uint64_t)(max - min));
}

static void cancel_all(struct sim_io *s)
{
    while (!list_empty(&s->operations)) {
        struct operation *op = list_entry(s->operations.next, struct operation, link);
        sim_cancel(s->clock, &op->event);
        call_back(op, RAFT_CANCELED);
    }
    while (!list_empty(&s->gets)) {
        struct get *get = list_entry(s->gets.next, struct get, link);
        sim_cancel(s->clock, &get->event);
        get_done(&get->event);
    }
    while (!list_empty(&s->sends)) {
        struct send *send = list_entry(s->sends.next, struct send, link);
        sim_cancel(s->clock, &send->event);
        struct raft_io_send *req = send->req;
        list_remove(&send->link);
        free(send);
        req->cb(req, RAFT_CANCELED);
    }
}

static void closed(struct sim_event *event)
{
    struct sim_io *s = list_entry(event, struct sim_io, close);
    cancel_all(s);
    s->close_cb(&s->io);
}

static void io_close(struct raft_io *io, raft_io_close_cb cb)
{
    struct sim_io *s = io->impl;
    CHECK(!s->closing);
    if (!s->dead) {
        sim_io_crash(s); /* what is on its way may be lost as well as at a crash */
    }
    s->closing = true;
    s->close_cb = cb;
    sim_schedule(s->clock, &s->close, NULL, 0, closed);
}

void sim_io_crash(struct sim_io *s)
{
    CHECK(!s->dead);
    s->dead = true;
    sim_cancel(s->clock, &s->tick);
    if (s->net->ends[s->group][s->node] == s) {
        s->net->ends[s->group][s->node] = NULL;
    }
    bool lost = false;
    list_for_each (link, tmp, &s->operations) {
        struct operation *op = list_entry(link, struct operation, link);
        sim_cancel(s->clock, &op->event);
        if (op->on_disk) {
            continue;
        }
        if (lost) {
            continue;
        }
        if (op->kind == OPERATION_PUT && op->trailing > 0) { /* nothing waits for it */
            if (sim_chance(s->clock, 500)) {
                write_to_disk(op, 0);
            }
            continue;
        }
        lost = sim_chance(s->clock, 500);
        if (!lost) {
            write_to_disk(op, op->n);
        } else if (op->kind == OPERATION_APPEND && op->index == sim_disk_next_index(s->disk)) {
            write_to_disk(op, (unsigned)sim_random(s->clock, op->n));
        }
    }
}

void sim_io_init(struct sim_io *s, struct sim_clock *clock, struct sim_net *net, struct sim_disk *disk,
    struct sim_gate *gate, unsigned group, unsigned node)
{
    CHECK(group < SIM_GROUPS_MAX && node < SIM_NODES_MAX);
    memset(s, 0, sizeof *s);
    s->clock = clock;
    s->net = net;
    s->disk = disk;
    s->gate = gate;
    s->group = group;
    s->node = node;
    s->disk_min_us = DISK_MIN_US;
    s->disk_max_us = SIM_DISK_MAX_US;
    list_init(&s->operations);
    list_init(&s->gets);
    list_init(&s->sends);
    net->ends[group][node] = s;
    s->io.version = 2;
    s->io.impl = s;
    s->io.init = io_init;
    s->io.close = io_close;
    s->io.load = io_load;
    s->io.start = io_start;
    s->io.bootstrap = io_bootstrap;
    s->io.recover = io_recover;
    s->io.set_term = io_set_term;
    s->io.set_vote = io_set_vote;
    s->io.send = io_send;
    s->io.append = io_append;
    s->io.truncate = io_truncate;
    s->io.snapshot_put = io_snapshot_put;
    s->io.snapshot_get = io_snapshot_get;
    s->io.time = io_time;
    s->io.random = io_random;
}

void sim_io_deinit(struct sim_io *s)
{
    CHECK(list_empty(&s->operations) && list_empty(&s->gets) && list_empty(&s->sends));
    sim_cancel(s->clock, &s->tick);
    sim_cancel(s->clock, &s->close);
    if (s->net->ends[s->group][s->node] == s) {
        s->net->ends[s->group][s->node] = NULL;
    }
}
