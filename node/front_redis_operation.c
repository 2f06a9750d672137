/* The life of what a command asks of a group: see the drawing in front_redis_internal.h. Happy path: begun,
 * submitted, done with the reply that its evaluation composed. What the group did nothing of goes to another
 * node, or waits here for a leader. */
#include <stdlib.h>
#include <string.h>

#include "node/front_redis_internal.h"
#include "proto/slot.h"

/* A group that leads and cannot serve yet is asked again so soon. */
enum { RETRY_MS = 10 };

const char redis_cluster_down[] = "CLUSTERDOWN The cluster is down";

/* What went wrong, as clients read it. @message: NULL, or what to do. @crowded: there was no memory for the
 * reply. */
static void write_status(struct resp_writer *w, enum status status, const char *message, bool crowded)
{
    char code[32];
    size_t n = 0;
    for (const char *c = status_name(status); *c != '\0' && n + 1 < sizeof code; c++) {
        if (*c != '_') {
            code[n++] = *c;
        }
    }
    code[n] = '\0';
    const char *text = status_text(status);
    if (status == STATUS_OVERLOADED && crowded) {
        resp_error(
            w, "OOM command not allowed: the replies that wait take too much memory; nothing was done");
    } else if (status == STATUS_OVERLOADED) {
        /* The word that clients know. */
        resp_error_of(w, "OOM command not allowed: %s%s%s", text, message != NULL ? ": " : "",
            message != NULL ? message : "");
    } else if (status == STATUS_TIMEOUT) {
        resp_error_of(w, "TIMEOUT %s; nothing was done", message != NULL ? message : text);
    } else {
        resp_error_of(
            w, "%s %s%s%s", code, text, message != NULL ? ": " : "", message != NULL ? message : "");
    }
}

/* ---- Where a slot is led ---- */

struct group *redis_group(const struct front_redis *f, uint16_t slot)
{
    return f->config.ops->group(f->config.data, slot_group(slot, f->config.group_count));
}

/* The node that leads @group, if it is known and another one; NULL otherwise. */
static const struct redis_view_node *other_leader(struct front_redis *f, uint32_t group)
{
    int leader = f->config.ops->leader(f->config.data, group);
    const struct redis_node_view *v = redis_view(f);
    bool seen =
        leader < 0 ? !v->leader_known[group] : v->leader_known[group] && v->leader[group] == (unsigned)leader;
    f->view_fresh = seen; /* who leads can change within a turn */
    return leader >= 0 && (unsigned)leader != v->self ? &v->nodes[leader] : NULL;
}

static void write_moved(struct resp_writer *w, uint16_t slot, const struct redis_view_node *to)
{
    resp_error_of(w, "MOVED %u %s:%u", slot, to->host, to->port);
}

bool redis_moved(struct front_redis *f, uint16_t slot, struct resp_writer *w)
{
    if (group_leads(redis_group(f, slot))) {
        return false;
    }
    const struct redis_view_node *to = other_leader(f, slot_group(slot, f->config.group_count));
    if (to != NULL) {
        write_moved(w, slot, to);
    }
    return to != NULL;
}

/* ---- The end of an operation ---- */

static void release_held(struct front_redis *f, struct redis_conn *c)
{
    if (!list_empty(&c->held)) {
        c->release = f->release = true;
    }
}

/* The reply is composed: @op is over, and gone after it. */
static void finish(struct redis_operation *op)
{
    struct front_redis *f = op->front;
    struct redis_conn *c = op->conn;
    struct resp_request *request = op->request;
    bool silent = op->silent;
    list_remove(&op->of_conn);
    f->composed_bytes -= op->composed;
    release_held(f, c);
    redis_say(request, silent);
    redis_conn_unref(c);
}

void redis_operation_answer(struct redis_operation *op, enum status status)
{
    if (status != STATUS_OK) {
        struct resp_writer w = {.out = &op->request->reply, .protocol = op->protocol};
        buf_clear(w.out);
        write_status(&w, status, NULL, false);
    }
    finish(op);
}

enum status redis_operation_composed(struct redis_operation *op, enum status status)
{
    enum { SMALL_BYTES = 1024 }; /* what everybody may have */
    struct front_redis *f = op->front;
    struct buf *reply = &op->request->reply;
    f->composed_bytes -= op->composed; /* what others' take */
    op->composed = 0;
    op->crowded = false;
    if (status == STATUS_OK && reply->len > SMALL_BYTES && f->composed_bytes > f->config.multi_bytes_max) {
        buf_deinit(reply);
        op->crowded = true;
        return STATUS_OVERLOADED;
    }
    op->composed = reply->cap;
    f->composed_bytes += op->composed;
    return status;
}

/* It ends with @status: its own end is told as well. */
static void finish_as(struct redis_operation *op, enum status status, const char *error)
{
    struct resp_writer w = {.out = &op->request->reply, .protocol = op->protocol};
    op->r.status = status;
    buf_clear(&op->request->reply);
    if ((op->end == NULL || !op->end(op, &w)) && error != NULL) {
        resp_error(&w, error);
    }
    finish(op);
}

static void finish_moved(struct redis_operation *op, const struct redis_view_node *to)
{
    char error[sizeof "MOVED 16383 :65535" + sizeof to->host];
    snprintf(error, sizeof error, "MOVED %u %s:%u", op->slot, to->host, to->port);
    finish_as(op, STATUS_NOT_LEADER, error);
}

/* Nothing was done, and the client may try elsewhere. A node that stops sends its clients away for good: what
 * they said behind this one is not done either. */
static void finish_down(struct redis_operation *op)
{
    if (op->front->closing) {
        op->request->close_after = true;
        op->conn->quitting = true;
    }
    finish_as(op, STATUS_NOT_LEADER, redis_cluster_down);
}

/* ---- Waiting for a leader ---- */

static void leave_waiting(struct redis_operation *op)
{
    list_remove(&op->link);
    op->front->waiting_n--;
}

/* Nothing of @op was done: it waits, at its place among those that wait. */
static void wait_for_leader(struct redis_operation *op, uint64_t now_ms)
{
    struct front_redis *f = op->front;
    struct redis_waiting *w = &f->waiting[op->group];
    op->where = REDIS_WAITING;
    if (op->give_up_ms == 0) {
        op->give_up_ms = now_ms + f->config.leader_wait_ms;
    }
    if (list_empty(&w->ops)) {
        w->wake_ms = UINT64_MAX;
    }
    struct list *behind = w->ops.prev;
    while (behind != &w->ops && list_entry(behind, struct redis_operation, link)->sequence > op->sequence) {
        behind = behind->prev;
    }
    list_push_front(behind, &op->link);
    f->waiting_n++;
    uint64_t wake_ms = op->retry_ms > now_ms && op->retry_ms < op->give_up_ms ? op->retry_ms : op->give_up_ms;
    w->wake_ms = wake_ms < w->wake_ms ? wake_ms : w->wake_ms;
}

/* @op was done although an earlier one of its connection, for the same group, still waits: that one comes too
 * late. */
static void give_up_earlier(struct redis_operation *op)
{
    list_for_each (it, next, &op->front->waiting[op->group].ops) {
        struct redis_operation *earlier = list_entry(it, struct redis_operation, link);
        if (earlier->conn == op->conn && earlier->sequence < op->sequence) {
            leave_waiting(earlier);
            finish_down(earlier);
        }
    }
}

/* Is a later one of its connection at the group? It may be done, so @op must wait for that. */
static bool is_overtaken(const struct redis_operation *op)
{
    if (op->r.op == GROUP_WAIT) {
        return false; /* it only waits for the flush */
    }
    for (const struct list *it = op->of_conn.next; it != &op->conn->ops; it = it->next) {
        const struct redis_operation *later = list_entry(it, struct redis_operation, of_conn);
        if (later->group == op->group && later->where == REDIS_SUBMITTED && !later->r.stale) {
            return true;
        }
    }
    return false;
}

static void submit(struct redis_operation *op)
{
    op->where = REDIS_SUBMITTED;
    group_submit(op->front->config.ops->group(op->front->config.data, op->group), &op->r);
}

/* The group did nothing of @op. */
static void bounce(struct redis_operation *op)
{
    struct front_redis *f = op->front;
    bool elsewhere = op->r.status == STATUS_NOT_LEADER || op->r.stale; /* a follower that cannot say */
    const struct redis_view_node *to = elsewhere ? other_leader(f, op->group) : NULL;
    if (to != NULL) {
        finish_moved(op, to);
    } else if (f->closing || op->r.stale || op->r.status == STATUS_SHUTTING_DOWN) {
        finish_down(op);
    } else {
        op->retry_ms = op->r.status == STATUS_UNAVAILABLE ? f->now_ms + RETRY_MS : 0;
        wait_for_leader(op, f->now_ms);
    }
}

static void done(struct group_request *r)
{
    struct redis_operation *op = list_entry(r, struct redis_operation, r);
    if (r->status == STATUS_NOT_LEADER || r->status == STATUS_UNAVAILABLE ||
        r->status == STATUS_SHUTTING_DOWN) {
        bounce(op);
        return;
    }
    if (op->front->waiting_n > 0 && !r->stale) {
        give_up_earlier(op);
    }
    struct resp_writer w = {.out = &op->request->reply, .protocol = op->protocol};
    if (r->status != STATUS_OK) {
        buf_clear(&op->request->reply);
    }
    if ((op->end == NULL || !op->end(op, &w)) && r->status != STATUS_OK) {
        write_status(&w, r->status, r->message, op->crowded);
    }
    finish(op);
}

/* ---- The beginning of an operation ---- */

struct redis_operation *redis_operation_create(struct redis_take *take, uint16_t slot, enum group_op kind)
{
    struct front_redis *f = take->front;
    struct redis_operation *op = arena_alloc(&take->request->arena, sizeof *op);
    memset(op, 0, sizeof *op);
    op->front = f;
    op->conn = take->conn;
    op->conn->refs++;
    op->request = take->request;
    op->request->read_only = (take->command->flags & REDIS_READONLY) != 0;
    op->command = take->command;
    op->slot = slot;
    op->group = slot_group(slot, f->config.group_count);
    op->protocol = (uint8_t)take->conn->client->protocol;
    op->silent = take->silent;
    op->sequence = ++f->sequence;
    op->random = redis_next_random(f);
    op->r.op = kind;
    op->r.conn_id = take->conn->group_conn;
    op->r.deadline_ms = take->request->received_ms + f->config.request_timeout_ms;
    op->r.done = done;
    list_init(&op->link);
    list_push_back(kind == GROUP_WAIT ? &take->conn->waits : &take->conn->ops, &op->of_conn);
    return op;
}

void redis_operation_begin(struct redis_operation *op)
{
    struct front_redis *f = op->front;
    struct group *g = f->config.ops->group(f->config.data, op->group);
    bool leads = group_leads(g);
    op->request->read_only = op->r.op != GROUP_TRANSACTION || op->r.read_only;
    op->r.stale = op->r.op == GROUP_TRANSACTION && op->r.read_only && op->conn->client->readonly && !leads;
    if (f->closing) {
        const struct redis_view_node *to = leads ? NULL : other_leader(f, op->group);
        if (to != NULL) {
            finish_moved(op, to);
        } else {
            finish_down(op);
        }
    } else if (op->r.stale) {
        submit(op);
    } else if (!list_empty(&f->waiting[op->group].ops)) {
        wait_for_leader(op, f->now_ms);
    } else if (leads) {
        submit(op);
    } else {
        op->r.status = STATUS_NOT_LEADER;
        bounce(op);
    }
}

/* ---- The turn ---- */

/* The group has a leader here: try again what waited, in its order, until something must wait longer. */
static void try_again(struct front_redis *f, struct redis_waiting *w)
{
    while (!list_empty(&w->ops)) {
        struct redis_operation *op = list_entry(w->ops.next, struct redis_operation, link);
        if (op->retry_ms > f->now_ms || is_overtaken(op)) {
            w->wake_ms = f->now_ms + RETRY_MS;
            return;
        }
        leave_waiting(op);
        submit(op);
    }
}

static void give_up_late(struct front_redis *f, struct redis_waiting *w)
{
    w->wake_ms = UINT64_MAX;
    list_for_each (it, next, &w->ops) {
        struct redis_operation *op = list_entry(it, struct redis_operation, link);
        if (op->conn->closed || op->give_up_ms <= f->now_ms) {
            leave_waiting(op);
            finish_down(op);
        } else if (op->give_up_ms < w->wake_ms) {
            w->wake_ms = op->give_up_ms;
        }
    }
}

static void move_all(struct redis_waiting *w, const struct redis_view_node *to)
{
    list_for_each (it, next, &w->ops) {
        struct redis_operation *op = list_entry(it, struct redis_operation, link);
        leave_waiting(op);
        finish_moved(op, to);
    }
    w->wake_ms = UINT64_MAX;
}

void redis_turn_waiting(struct front_redis *f, uint32_t group)
{
    struct redis_waiting *w = &f->waiting[group];
    if (list_empty(&w->ops)) {
        return;
    }
    bool leads = group_leads(f->config.ops->group(f->config.data, group));
    const struct redis_view_node *to = leads ? NULL : other_leader(f, group);
    if (to != NULL) {
        move_all(w, to);
        return;
    }
    if (w->wake_ms <= f->now_ms) {
        give_up_late(f, w);
    }
    if (leads) {
        try_again(f, w);
    }
}

uint64_t redis_waiting_wake_ms(const struct front_redis *f)
{
    uint64_t wake_ms = UINT64_MAX;
    for (uint32_t i = 0; f->waiting_n > 0 && i < f->config.group_count; i++) {
        const struct redis_waiting *w = &f->waiting[i];
        if (!list_empty(&w->ops) && w->wake_ms < wake_ms) {
            wake_ms = w->wake_ms;
        }
    }
    return wake_ms;
}

void redis_stop_waiting(struct front_redis *f)
{
    for (uint32_t i = 0; i < f->config.group_count; i++) {
        struct redis_waiting *w = &f->waiting[i];
        while (!list_empty(&w->ops)) {
            struct redis_operation *op = list_entry(w->ops.next, struct redis_operation, link);
            leave_waiting(op);
            finish_down(op);
        }
    }
}
