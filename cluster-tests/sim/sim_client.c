/* Clients: bursts of reads and writes over few keys, sent to where the leader was last seen. They tell the
 * history what they were promised. An answer that does not come in time, or gets lost, means 'unknown';
 * nothing is tried twice. */
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
    THINK_MAX_US = 20 * 1000,
    READER_THINK_MAX_US = 4 * 1000,
    LATENCY_MAX_US = 1500,
    LOST_PERMILLE = 10,
};

static void op_free(struct sim_op *op)
{
    sim_cancel(&op->sim->clock, &op->travel);
    sim_cancel(&op->sim->clock, &op->patience);
    for (unsigned i = 0; i < op->n; i++) {
        value_unref(op->results[i].value);
    }
    list_remove(&op->link);
    free(op);
}

/* The client stops waiting for @op, answered or not. */
static void release_client(struct sim_op *op)
{
    sim_cancel(&op->sim->clock, &op->patience);
    if (op->client != NULL) {
        op->client->waiting--;
        op->client = NULL;
    }
}

static void on_patience_over(struct sim_event *event)
{
    struct sim_op *op = list_entry(event, struct sim_op, patience);
    op->sim->result->unknown++;
    release_client(op);
    if (!op->submitted && !sim_scheduled(&op->travel)) {
        op_free(op); /* lost on the way: nobody else knows of it */
    }
}

static void check_read(struct sim_op *op)
{
    for (unsigned i = 0; i < op->n; i++) {
        const struct group_result *r = &op->results[i];
        struct bytes value = r->found ? value_bytes(r->value) : bytes_of(NULL, 0);
        sim_history_read(&op->sim->history, op->keys[i], op->floors[i], r->found, r->version, value);
    }
}

static void check_write(struct sim_op *op)
{
    struct sim_history *h = &op->sim->history;
    for (unsigned i = 0; i < op->n; i++) {
        bool nothing_there = op->request.op == GROUP_DEL && !op->results[i].found;
        if (nothing_there) {
            sim_history_read(h, op->keys[i], op->floors[i], false, 0, bytes_of(NULL, 0));
        } else {
            sim_history_acknowledged(h, op->keys[i], op->results[i].version, op->serials[i]);
        }
    }
    op->sim->result->acknowledged++;
}

static void check_ok(struct sim_op *op)
{
    switch (op->request.op) {
    case GROUP_GET:
        check_read(op);
        return;
    case GROUP_EXISTS:
        for (unsigned i = 0; i < op->n; i++) {
            sim_history_exists(&op->sim->history, op->keys[i], op->floors[i], op->results[i].found);
        }
        return;
    case GROUP_SET:
    case GROUP_DEL:
        check_write(op);
        return;
    case GROUP_FLUSH:
        sim_history_flushed(&op->sim->history, op->group, op->floors);
        return;
    }
}

static void check_refused(struct sim_op *op)
{
    for (unsigned i = 0; op->request.op == GROUP_SET && i < op->n; i++) {
        sim_history_refused(&op->sim->history, op->keys[i], op->serials[i]);
    }
    op->sim->result->refused++;
}

static void on_answer(struct sim_event *event)
{
    struct sim_op *op = list_entry(event, struct sim_op, travel);
    switch (op->request.status) {
    case STATUS_OK:
        if (op->client != NULL) {
            op->client->leader[op->group] = op->node;
        }
        check_ok(op);
        break;
    case STATUS_UNKNOWN:
        op->sim->result->unknown++;
        break;
    default:
        if (op->sim->calm) {
            sim_trace(op->sim, "a request to node %u group %u is refused: %s", op->node, op->group,
                status_name((int)op->request.status));
        }
        if (op->client != NULL) {
            op->client->leader[op->group] = (unsigned)sim_random(&op->sim->clock, op->sim->n_nodes);
        }
        check_refused(op);
        break;
    }
    release_client(op);
    op_free(op);
}

static void on_done(struct group_request *request)
{
    struct sim_op *op = list_entry(request, struct sim_op, request);
    struct sim *sim = op->sim;
    op->submitted = false;
    if (sim->nodes[op->node].crashing || sim_chance(&sim->clock, sim->calm ? 0 : LOST_PERMILLE)) {
        if (op->client == NULL) {
            op_free(op);
        }
        return;
    }
    sim_schedule(&sim->clock, &op->travel, NULL, sim_between(&sim->clock, 50, LATENCY_MAX_US), on_answer);
}

static void on_arrival(struct sim_event *event)
{
    struct sim_op *op = list_entry(event, struct sim_op, travel);
    struct sim *sim = op->sim;
    struct sim_node *n = &sim->nodes[op->node];
    if (!n->alive || n->crashing) {
        op->request.status = STATUS_UNAVAILABLE; /* no connection */
        sim_schedule(&sim->clock, &op->travel, NULL, LATENCY_MAX_US, on_answer);
        return;
    }
    op->request.deadline_ms = sim_node_now_ms(n) + DEADLINE_MS;
    op->submitted = true;
    group_submit(n->seats[op->group].group, &op->request);
}

static struct sim_op *op_create(
    struct sim *sim, enum group_op kind, unsigned node, const unsigned *keys, unsigned n)
{
    struct sim_op *op = xcalloc(1, sizeof *op);
    op->sim = sim;
    op->node = node;
    op->n = n;
    op->group = sim->history.keys[keys[0]].group;
    op->request.op = kind;
    op->request.n = n;
    op->request.keys = op->names;
    op->request.values = op->values;
    op->request.results = op->results;
    op->request.done = on_done;
    for (unsigned i = 0; i < n; i++) {
        op->keys[i] = keys[i];
        op->names[i] = bytes_from_text(sim->history.keys[keys[i]].name);
        op->floors[i] = sim->history.keys[keys[i]].floor;
        if (kind == GROUP_SET) {
            op->serials[i] = sim_history_serial(&sim->history);
            op->values[i] = bytes_of(op->texts[i], sim_value_text(op->serials[i], op->texts[i]));
        }
    }
    if (kind == GROUP_FLUSH) {
        op->n = op->request.n = 0;
        for (unsigned k = 0; k < sim->n_keys; k++) {
            op->floors[k] = sim->history.keys[k].floor;
        }
    }
    list_push_back(&sim->ops, &op->link);
    return op;
}

static void op_send(struct sim_op *op)
{
    struct sim *sim = op->sim;
    if (op->client != NULL) {
        uint64_t patience_us = op->client->reader
                                   ? READER_PATIENCE_US
                                   : sim_between(&sim->clock, PATIENCE_MIN_US, PATIENCE_MAX_US);
        sim_schedule(&sim->clock, &op->patience, NULL, patience_us, on_patience_over);
        if (sim_chance(&sim->clock, LOST_PERMILLE)) {
            return;
        }
    }
    uint64_t latency_us = sim_between(&sim->clock, 50, LATENCY_MAX_US);
    sim_schedule(&sim->clock, &op->travel, &sim->nodes[op->node].gate, latency_us, on_arrival);
}

/* Up to @max different keys of one group. */
static unsigned draw_keys(struct sim *sim, unsigned max, unsigned *keys)
{
    unsigned n = 0;
    keys[n++] = (unsigned)sim_random(&sim->clock, sim->n_keys);
    while (n < max) {
        unsigned key = (unsigned)sim_random(&sim->clock, sim->n_keys);
        bool usable = sim->history.keys[key].group == sim->history.keys[keys[0]].group;
        for (unsigned i = 0; i < n; i++) {
            usable = usable && keys[i] != key;
        }
        if (!usable) {
            break;
        }
        keys[n++] = key;
    }
    return n;
}

static enum group_op draw_kind(struct sim_client *c)
{
    uint64_t die = sim_random(&c->sim->clock, 100);
    if (c->reader) {
        return die < 20 ? GROUP_EXISTS : GROUP_GET;
    }
    return die < 50 ? GROUP_SET : die < 65 ? GROUP_DEL : die < 70 ? GROUP_FLUSH : GROUP_GET;
}

static void burst(struct sim_client *c)
{
    struct sim *sim = c->sim;
    for (uint64_t left = sim_between(&sim->clock, 1, c->reader ? 2 : SIM_BURST_MAX); left > 0; left--) {
        enum group_op kind = draw_kind(c);
        unsigned keys[SIM_OP_KEYS_MAX];
        unsigned n = draw_keys(sim, (unsigned)sim_between(&sim->clock, 1, SIM_OP_KEYS_MAX), keys);
        uint32_t group = sim->history.keys[keys[0]].group;
        unsigned node = sim_chance(&sim->clock, c->reader ? 700 : 50)
                            ? (unsigned)sim_random(&sim->clock, sim->n_nodes)
                            : c->leader[group];
        struct sim_op *op = op_create(sim, kind, node, keys, n);
        op->client = c;
        op->request.conn_id = c->index + 1;
        c->waiting++;
        op_send(op);
    }
}

static void on_think(struct sim_event *event)
{
    struct sim_client *c = list_entry(event, struct sim_client, think);
    struct sim *sim = c->sim;
    if (sim->calm) {
        return;
    }
    if (c->waiting == 0) {
        burst(c);
    }
    uint64_t most_us = c->reader ? READER_THINK_MAX_US : THINK_MAX_US;
    sim_schedule(&sim->clock, &c->think, NULL, sim_between(&sim->clock, 100, most_us), on_think);
}

void sim_client_init(struct sim *sim, unsigned index)
{
    struct sim_client *c = &sim->clients[index];
    c->sim = sim;
    c->index = index;
    c->reader = index == 0;
    sim_schedule(&sim->clock, &c->think, NULL, sim_between(&sim->clock, 1, THINK_MAX_US), on_think);
}

void sim_read(struct sim *sim, unsigned key, unsigned node)
{
    op_send(op_create(sim, GROUP_GET, node, &key, 1));
}

void sim_ops_deinit(struct sim *sim)
{
    while (!list_empty(&sim->ops)) {
        struct sim_op *op = list_entry(sim->ops.next, struct sim_op, link);
        CHECK(!op->submitted);
        op_free(op);
    }
}
