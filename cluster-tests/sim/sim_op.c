/* An operation's life: it is tried at some node, and, when it has a session, again and again until the client
 * knows what became of it or gives up. Answers to tries that the client no longer waits for decide nothing,
 * but must be true all the same. Some first tries are on their way for very long, and arrive after their
 * retries. */
#include <stdlib.h>
#include <string.h>

#include "cluster-tests/sim/sim.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"

enum {
    DEADLINE_MS = 1000,
    PATIENCE_MIN_US = 50 * 1000,
    PATIENCE_MAX_US = 1200 * 1000,
    READER_PATIENCE_US = 20 * 1000,
    PAUSE_MAX_US = 40 * 1000,
    LATENCY_MAX_US = 1500,
    LATE_MIN_US = 20 * 1000,
    LATE_MAX_US = 3000 * 1000,
    LOST_PERMILLE = 10,
    LATE_PERMILLE = 50,
    TRIES_MAX = 12,
    LATE_CONNECTIONS = 1000, /* their ids begin here */
};

static void on_patience_over(struct sim_event *event);
static void on_pause_over(struct sim_event *event);

static void try_free(struct sim_try *t)
{
    CHECK(!t->submitted);
    sim_cancel(&t->op->sim->clock, &t->travel);
    sim_transaction_forget(t);
    for (unsigned i = 0; i < t->op->n; i++) {
        value_unref(t->results[i].value);
    }
    if (t->op->current == t) {
        t->op->current = NULL;
    }
    buf_deinit(&t->scan.keys);
    list_remove(&t->link);
    free(t);
}

static void op_free(struct sim_op *op)
{
    while (!list_empty(&op->tries)) {
        try_free(list_entry(op->tries.next, struct sim_try, link));
    }
    sim_cancel(&op->sim->clock, &op->patience);
    list_remove(&op->of_session);
    list_remove(&op->link);
    free(op);
}

static void free_if_over(struct sim_op *op)
{
    if (op->resolved && list_empty(&op->tries)) {
        op_free(op);
    }
}

/* The client knows now, or gives up: see sim_answer_record. */
static void resolve(struct sim_op *op, const struct sim_try *t, bool done)
{
    op->resolved = true;
    sim_cancel(&op->sim->clock, &op->patience);
    list_remove(&op->of_session);
    sim_answer_record(op, t, done);
    if (op->kind == SIM_SCAN) {
        sim_scan_answered(op, done ? t : NULL);
    }
    if (op->client != NULL) {
        struct sim_session *s = &op->client->sessions[op->group];
        if (op->kind == SIM_OPEN) {
            s->opening = false;
            s->sequence = 0;
            s->id = done ? t->request.index : 0;
        }
        op->client->waiting--;
        op->client = NULL;
    }
}

static void give_up(struct sim_op *op, const struct sim_try *t)
{
    resolve(op, op->uncertain ? NULL : t, false);
}

/* ---- An answer ---- */

static bool is_session_gone(struct sim_op *op, const struct sim_try *t)
{
    if (t->request.status != STATUS_SESSION_EXPIRED) {
        return false;
    }
    op->forgotten = true;
    struct sim_session *s = op->client == NULL ? NULL : &op->client->sessions[op->group];
    if (s != NULL && s->id == op->session) {
        s->id = 0;
    }
    return true;
}

/* The try that counts was answered. */
static void conclude(struct sim_op *op, struct sim_try *t)
{
    struct sim *sim = op->sim;
    op->current = NULL;
    sim_cancel(&sim->clock, &op->patience);
    switch (t->request.status) {
    case STATUS_OK:
    case STATUS_NOT_FLUSHED:
    case STATUS_QUARANTINED:
        if (op->client != NULL && !op->stale) {
            op->client->leader[op->group] = t->node;
        }
        resolve(op, t, true);
        return;
    case STATUS_CONDITION_FAILED:
        resolve(op, t, false);
        return;
    case STATUS_UNKNOWN:
        op->uncertain = true;
        break;
    default:
        if (is_session_gone(op, t)) {
            give_up(op, t);
            return;
        }
        if (sim->calm) {
            sim_trace(sim, "a request to node %u group %u is refused: %s", t->node, op->group,
                status_name((int)t->request.status));
        }
        if (op->client != NULL) {
            op->client->leader[op->group] = (unsigned)sim_random(&sim->clock, sim->n_nodes);
        }
    }
    if (op->tries_left == 0) {
        give_up(op, t);
    } else {
        sim_schedule(
            &sim->clock, &op->patience, NULL, sim_between(&sim->clock, 500, PAUSE_MAX_US), on_pause_over);
    }
}

static void on_answer(struct sim_event *event)
{
    struct sim_try *t = list_entry(event, struct sim_try, travel);
    struct sim_op *op = t->op;
    sim_answer_judge(t);
    if (op->current == t && !op->resolved) {
        conclude(op, t);
    }
    try_free(t);
    free_if_over(op);
}

static void on_done(struct group_request *request)
{
    struct sim_try *t = list_entry(request, struct sim_try, request);
    struct sim_op *op = t->op;
    struct sim *sim = op->sim;
    t->submitted = false;
    if (op->kind == SIM_TRANSACTION) {
        sim_transaction_done(t);
    }
    if (op->kind == SIM_SCAN && request->status == STATUS_OK) {
        sim_scan_seen(t);
    }
    if (sim->nodes[t->node].crashing || sim_chance(&sim->clock, sim->calm ? 0 : LOST_PERMILLE)) {
        try_free(t);
        free_if_over(op);
        return;
    }
    sim_schedule(&sim->clock, &t->travel, NULL, sim_between(&sim->clock, 50, LATENCY_MAX_US), on_answer);
}

/* ---- A try ---- */

static void on_arrival(struct sim_event *event)
{
    struct sim_try *t = list_entry(event, struct sim_try, travel);
    struct sim *sim = t->op->sim;
    struct sim_node *n = &sim->nodes[t->node];
    if (!n->alive || n->crashing) {
        t->request.status = STATUS_UNAVAILABLE; /* no connection */
        sim_schedule(&sim->clock, &t->travel, NULL, LATENCY_MAX_US, on_answer);
        return;
    }
    sim->result->late_tries += t->late && t->op->resolved;
    t->request.deadline_ms = sim_node_now_ms(n) + DEADLINE_MS;
    t->submitted = true;
    t->number = ++sim->arrivals;
    group_submit(n->seats[t->op->group].group, &t->request);
}

static void fill_once(struct sim_op *op, struct sim_try *t)
{
    enum sim_defect defect = op->sim->config->node_defect;
    if (op->session == 0 || defect == SIM_SESSIONS_IGNORED) {
        return;
    }
    t->request.session = op->session;
    t->request.sequence = op->sequence;
    t->request.first_awaited = op->sequence;
    struct sim_session *s = &op->client->sessions[op->group];
    list_for_each (it, next, &s->awaited) {
        const struct sim_op *other = list_entry(it, struct sim_op, of_session);
        if (other->session == op->session) { /* not of a session before this one */
            t->request.first_awaited = other->sequence;
            break;
        }
    }
    t->request.retry = op->uncertain && defect != SIM_REFUSALS_FORGOTTEN;
}

static void send_try(struct sim_op *op, unsigned node)
{
    struct sim *sim = op->sim;
    static const enum group_op requests[] = {
        [SIM_GET] = GROUP_READ,
        [SIM_EXISTS] = GROUP_READ,
        [SIM_SCAN] = GROUP_SCAN,
        [SIM_UPDATE] = GROUP_UPDATE,
        [SIM_WAIT] = GROUP_WAIT,
        [SIM_OPEN] = GROUP_OPEN_SESSION,
        [SIM_TRANSACTION] = GROUP_TRANSACTION,
    };
    bool looks_only = true;
    struct sim_try *t = xcalloc(1, sizeof *t);
    t->op = op;
    t->node = node;
    t->request = (struct group_request){.op = requests[op->kind],
        .conn_id = op->client == NULL ? 0 : op->client->index + 1,
        .n = op->n,
        .stale = op->stale,
        .inspect = op->inspect,
        .keys = op->names,
        .operations = op->operations,
        .level = op->flushed ? GROUP_FLUSHED : GROUP_REPLICATED,
        .wait_index = op->wait_index,
        .results = op->kind == SIM_TRANSACTION ? NULL : t->results,
        .evaluate = sim_transaction_evaluate,
        .blind = op->blind,
        .scan = &t->scan,
        .done = on_done};
    for (unsigned i = 0; i < op->n; i++) {
        looks_only = looks_only && op->acts[i] == SIM_LOOK;
    }
    t->request.read_only = op->kind == SIM_TRANSACTION && looks_only;
    if (op->scan != NULL) {
        t->scan = (struct group_scan){.cursor = op->scan->cursor,
            .prefix = bytes_from_text(op->scan->prefix),
            .looks = op->scan->looks};
        t->prefix = op->scan->prefix;
    }
    buf_init(&t->scan.keys);
    list_push_back(&op->tries, &t->link);
    fill_once(op, t);
    op->current = t;
    uint64_t latency_us = sim_between(&sim->clock, 50, LATENCY_MAX_US);
    op->tries_left--;
    if (op->client != NULL) {
        bool reader = op->client->reader;
        uint64_t patience_us =
            reader ? READER_PATIENCE_US : sim_between(&sim->clock, PATIENCE_MIN_US, PATIENCE_MAX_US);
        sim_schedule(&sim->clock, &op->patience, NULL, patience_us, on_patience_over);
        if (sim_chance(&sim->clock, LOST_PERMILLE)) {
            try_free(t);
            return;
        }
        if (op->session != 0 && sim_chance(&sim->clock, LATE_PERMILLE)) {
            t->late = true;
            t->request.conn_id = LATE_CONNECTIONS + sim->late_tries++;
            latency_us = sim_between(&sim->clock, LATE_MIN_US, LATE_MAX_US);
        }
    }
    sim_schedule(&sim->clock, &t->travel, &sim->nodes[node].gate, latency_us, on_arrival);
}

static void try_again(struct sim_op *op)
{
    struct sim *sim = op->sim;
    bool anywhere = sim_chance(&sim->clock, 300);
    sim->result->retries++;
    send_try(op, anywhere ? (unsigned)sim_random(&sim->clock, sim->n_nodes) : op->client->leader[op->group]);
}

static void on_pause_over(struct sim_event *event)
{
    try_again(list_entry(event, struct sim_op, patience));
}

static void on_patience_over(struct sim_event *event)
{
    struct sim_op *op = list_entry(event, struct sim_op, patience);
    op->uncertain = true;
    op->current = NULL;
    if (op->tries_left > 0) {
        op->client->leader[op->group] = (unsigned)sim_random(&op->sim->clock, op->sim->n_nodes);
        try_again(op);
        return;
    }
    give_up(op, NULL);
    free_if_over(op);
}

/* ---- The beginning ---- */

struct sim_op *sim_op_create(struct sim *sim, enum sim_op_kind kind, const unsigned *keys, unsigned n)
{
    struct sim_op *op = xcalloc(1, sizeof *op);
    op->sim = sim;
    op->kind = kind;
    op->n = n;
    op->group = sim->history.keys[keys[0]].group;
    op->inspect = kind == SIM_EXISTS;
    list_init(&op->tries);
    list_init(&op->of_session);
    for (unsigned i = 0; i < n; i++) {
        op->keys[i] = keys[i];
        op->names[i] = bytes_from_text(sim->history.keys[keys[i]].name);
        op->befores[i] = sim_history_before(&sim->history, keys[i]);
    }
    if (kind == SIM_WAIT || kind == SIM_SCAN || kind == SIM_OPEN) {
        op->n = 0;
        for (unsigned k = 0; k < sim->n_keys; k++) {
            op->befores[k] = sim_history_before(&sim->history, k);
        }
    }
    list_push_back(&sim->ops, &op->link);
    return op;
}

void sim_op_start(struct sim_op *op, struct sim_client *client, unsigned node)
{
    struct sim *sim = op->sim;
    op->client = client;
    op->tries_left = 1;
    if (client != NULL) {
        struct sim_session *s = &client->sessions[op->group];
        client->waiting++;
        if (op->kind == SIM_OPEN) {
            s->opening = true;
        }
        if (op->kind == SIM_UPDATE && s->id != 0) {
            op->session = s->id;
            op->sequence = ++s->sequence;
            op->tries_left = (unsigned)sim_between(&sim->clock, 1, TRIES_MAX);
            list_push_back(&s->awaited, &op->of_session);
        }
    }
    for (unsigned i = 0; (op->kind == SIM_UPDATE || op->kind == SIM_TRANSACTION) && i < op->n; i++) {
        sim_history_asked(&sim->history, op->keys[i], &op->operations[i]);
    }
    sim_answer_begin(op);
    send_try(op, node);
}

void sim_read(struct sim *sim, unsigned key, unsigned node)
{
    enum sim_key_kind kind = sim->history.keys[key].kind;
    unsigned keys[2] = {key, key + 1};
    if (kind == SIM_PURSE && key % 2 == 0) {
        sim_op_start(sim_transaction_look(sim, keys, 2), NULL, node);
    } else if (kind == SIM_HASH) {
        sim_op_start(sim_transaction_look(sim, keys, 1), NULL, node);
    } else if (kind != SIM_PURSE) {
        sim_op_start(sim_op_create(sim, SIM_GET, &key, 1), NULL, node);
    }
}

void sim_ops_deinit(struct sim *sim)
{
    while (!list_empty(&sim->ops)) {
        struct sim_op *op = list_entry(sim->ops.next, struct sim_op, link);
        op_free(op);
    }
}
