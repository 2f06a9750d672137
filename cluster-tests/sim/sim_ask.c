/* What clients ask for: drawn anew each time, by the kind of the keys. */
#include "cluster-tests/sim/sim.h"

enum {
    EXPIRE_MAX_MS = 1500,
    EXPIRE_FAR_MS = 3600 * 1000,
    DELTA_MAX = 100,
    ONCE_PERMILLE = 20,
    TRANSACTION_PERMILLE = 300,
};

/* Up to @max different keys of one group; of one kind when @alike. */
static unsigned draw_keys(struct sim *sim, unsigned max, bool alike, unsigned *keys)
{
    const struct sim_key *all = sim->history.keys;
    unsigned n = 0;
    keys[n++] = (unsigned)sim_random(&sim->clock, sim->n_keys);
    while (n < max) {
        unsigned key = (unsigned)sim_random(&sim->clock, sim->n_keys);
        bool usable = all[key].group == all[keys[0]].group && (!alike || all[key].kind == all[keys[0]].kind);
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

/* ---- Updates ---- */

/* The @i'th key gets a new value, or more of it. */
static void draw_value(struct sim_op *op, unsigned i, struct operation *o)
{
    struct sim_history *h = &op->sim->history;
    op->serials[i] = sim_history_serial(h);
    size_t len = sim_value_text(h->keys[op->keys[i]].kind, op->serials[i], op->texts[i]);
    o->value = bytes_of(op->texts[i], len);
}

/* Conditions are for one key, so that a failed one says what is there. */
static void draw_condition(struct sim_op *op, struct operation *o)
{
    struct sim *sim = op->sim;
    static const enum operation_condition conditions[] = {
        CONDITION_ABSENT, CONDITION_ABSENT, CONDITION_PRESENT, CONDITION_VERSION, CONDITION_VERSION};
    if (op->n > 1 || !sim_chance(&sim->clock, 400)) {
        return;
    }
    o->condition = conditions[sim_random(&sim->clock, sizeof conditions / sizeof *conditions)];
    if (o->condition == CONDITION_VERSION && sim_chance(&sim->clock, 900)) {
        o->if_version = sim->history.keys[op->keys[0]].acknowledged;
    }
}

static void draw_expiry(struct sim *sim, struct operation *o)
{
    struct sim_clock *c = &sim->clock;
    o->expires = true;
    o->expire_relative = sim_chance(c, 700);
    o->expire_ms = sim_chance(c, 100)  ? EXPIRE_FAR_MS
                   : sim_chance(c, 50) ? 0
                                       : sim_between(c, 1, EXPIRE_MAX_MS);
    if (!o->expire_relative) { /* by the client's clock, which may be wrong */
        o->expire_ms += sim_wall_ms(sim, (int64_t)sim_between(c, 0, 1000) - 500);
    }
}

static void draw_set(struct sim_op *op, unsigned i, struct operation *o)
{
    struct sim *sim = op->sim;
    o->kind = OPERATION_SET;
    o->return_old = sim_chance(&sim->clock, 150);
    draw_value(op, i, o);
    draw_condition(op, o);
}

static void draw_del(struct sim_op *op, struct operation *o)
{
    o->kind = OPERATION_DEL;
    o->return_old = sim_chance(&op->sim->clock, 400);
}

static void draw_expiring(struct sim_op *op, unsigned i, struct operation *o)
{
    struct sim *sim = op->sim;
    uint64_t die = sim_random(&sim->clock, 100);
    if (die < 60) {
        draw_set(op, i, o);
        o->keep_expiry = die < 10;
        if (die >= 15) {
            draw_expiry(sim, o);
        }
    } else if (die < 72) {
        draw_del(op, o);
    } else {
        o->kind = OPERATION_EXPIRE;
        o->only_if = op->n == 1 && sim_chance(&sim->clock, 300) ? EXPIRE_HAS_NONE : EXPIRE_ALWAYS;
        if (die < 92) {
            draw_expiry(sim, o);
        }
    }
}

static void draw_operation(struct sim_op *op, unsigned i, uint64_t die)
{
    struct sim *sim = op->sim;
    struct operation *o = &op->operations[i];
    o->key = op->names[i];
    switch (sim->history.keys[op->keys[i]].kind) {
    case SIM_PLAIN:
        if (die < 70) {
            draw_set(op, i, o);
        } else {
            draw_del(op, o);
        }
        return;
    case SIM_COUNTER:
        o->kind = OPERATION_INCR;
        o->delta = (int64_t)sim_between(&sim->clock, 1, DELTA_MAX);
        o->delta = sim_chance(&sim->clock, 250) ? -o->delta : o->delta;
        return;
    case SIM_LIST:
        if (die < 80) {
            o->kind = OPERATION_APPEND;
            draw_value(op, i, o);
        } else {
            draw_del(op, o);
        }
        return;
    case SIM_EXPIRING:
        draw_expiring(op, i, o);
        return;
    case SIM_HASH:
    case SIM_PURSE:
        return; /* these are for transactions only */
    }
}

/* The next key that was never written, now and then. */
static struct sim_op *ask_once(struct sim *sim)
{
    if (sim->once_next == sim->n_keys || !sim_chance(&sim->clock, ONCE_PERMILLE)) {
        return NULL;
    }
    unsigned key = sim->once_next++;
    struct sim_op *op = sim_op_create(sim, SIM_UPDATE, &key, 1);
    op->operations[0] = (struct operation){.kind = OPERATION_SET, .key = op->names[0]};
    draw_value(op, 0, &op->operations[0]);
    return op;
}

static struct sim_op *ask_update(struct sim_client *c)
{
    struct sim *sim = c->sim;
    unsigned keys[SIM_OP_KEYS_MAX];
    if (sim->once) {
        return ask_once(sim);
    }
    if (sim_chance(&sim->clock, TRANSACTION_PERMILLE)) {
        return sim_transaction_ask(c, true);
    }
    unsigned n = draw_keys(sim, (unsigned)sim_between(&sim->clock, 1, SIM_OP_KEYS_MAX), true, keys);
    enum sim_key_kind kind = sim->history.keys[keys[0]].kind;
    if (kind == SIM_HASH || kind == SIM_PURSE) {
        return sim_transaction_ask(c, true);
    }
    struct sim_op *op = sim_op_create(sim, SIM_UPDATE, keys, n);
    uint64_t die = sim_random(&sim->clock, 100);
    for (unsigned i = 0; i < n; i++) {
        draw_operation(op, i, die);
    }
    op->flushed = sim_chance(&sim->clock, 120);
    return op;
}

/* ---- Everything ---- */

static struct sim_op *ask_read(struct sim *sim, bool exists)
{
    unsigned keys[SIM_OP_KEYS_MAX];
    unsigned n = draw_keys(sim, (unsigned)sim_between(&sim->clock, 1, SIM_OP_KEYS_MAX), false, keys);
    struct sim_op *op = sim_op_create(sim, exists ? SIM_EXISTS : SIM_GET, keys, n);
    return op;
}

/* For all that is there, or for one write that somebody was told of. */
static struct sim_op *ask_wait(struct sim *sim)
{
    unsigned key = (unsigned)sim_random(&sim->clock, sim->n_keys);
    struct sim_op *op = sim_op_create(sim, SIM_WAIT, &key, 1);
    const struct sim_record *r =
        sim_history_version(&sim->history.keys[key], sim->history.keys[key].acknowledged);
    op->wait_index = r != NULL && sim_chance(&sim->clock, 500) ? r->index : 0;
    return op;
}

struct sim_op *sim_ask(struct sim_client *c, unsigned *node)
{
    struct sim *sim = c->sim;
    uint64_t die = sim_random(&sim->clock, 100);
    struct sim_op *op = NULL;
    bool anywhere = sim_chance(&sim->clock, c->reader ? 700 : 50);
    *node = (unsigned)sim_random(&sim->clock, sim->n_nodes);
    if (c->reader ? die < 15 : die < 6) {
        op = sim_scan_step(c, node);
        anywhere = true; /* it knows where */
    } else if (c->reader || die >= 75) {
        bool stale = sim_chance(&sim->clock, 200);
        anywhere = anywhere || stale;
        op = sim_chance(&sim->clock, TRANSACTION_PERMILLE) ? sim_transaction_ask(c, false)
                                                           : ask_read(sim, sim_chance(&sim->clock, 200));
        op->stale = stale;
    } else {
        op = die < 12 ? ask_wait(sim) : ask_update(c);
    }
    if (op != NULL && !anywhere) {
        *node = c->leader[op->group];
    }
    return op;
}
