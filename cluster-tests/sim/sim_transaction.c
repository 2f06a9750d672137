/* Transactions: one to four keys of a group that are read and written as one. What is asked, and the function
 * that the group calls. */
#include <stdio.h>
#include <string.h>

#include "cluster-tests/sim/sim.h"
#include "proto/base/check.h"
#include "proto/fields.h"

enum {
    AMOUNT_MAX = 5,
    EXPIRE_MAX_MS = 1500,
    FIELDS = 4,
    PAIR_PERMILLE = 400,
    WATCH_PERMILLE = 300,
    BLIND_PERMILLE = 600,
};

/* ---- What is asked ---- */

/* Draws @keys: up to @max of one group, and no half of a pair when @pair. */
static unsigned draw_keys(struct sim *sim, bool pair, unsigned max, unsigned *keys)
{
    const struct sim_key *all = sim->history.keys;
    unsigned n = 0;
    keys[n++] = (unsigned)sim_random(&sim->clock, sim->n_keys);
    for (unsigned tries = 0; pair && all[keys[0]].kind != SIM_PURSE && tries < sim->n_keys; tries++) {
        keys[0] = (keys[0] + 1) % sim->n_keys;
    }
    if (pair && all[keys[0]].kind == SIM_PURSE) {
        keys[0] &= ~1u;
        keys[n++] = sim_history_partner(&sim->history, keys[0]);
    }
    while (n < max) {
        unsigned key = (unsigned)sim_random(&sim->clock, sim->n_keys);
        bool usable = all[key].group == all[keys[0]].group;
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

static void give_text(struct sim_op *op, unsigned i, enum sim_key_kind kind)
{
    op->serials[i] = sim_history_serial(&op->sim->history);
    op->operations[i].value = bytes_of(op->texts[i], sim_value_text(kind, op->serials[i], op->texts[i]));
}

static enum sim_act draw_act(struct sim *sim, enum sim_key_kind kind)
{
    uint64_t die = sim_random(&sim->clock, 100);
    switch (kind) {
    case SIM_PLAIN:
    case SIM_EXPIRING:
        return die < 55 ? SIM_PUT : die < 75 ? SIM_REMOVE : SIM_LOOK;
    case SIM_COUNTER:
        return die < 75 ? SIM_ADD : SIM_LOOK;
    case SIM_LIST:
        return die < 60 ? SIM_EXTEND : die < 75 ? SIM_REMOVE : SIM_LOOK;
    case SIM_HASH:
        return die < 60 ? SIM_FIELD : die < 75 ? SIM_UNFIELD : die < 85 ? SIM_REMOVE : SIM_LOOK;
    case SIM_PURSE:
        break;
    }
    return SIM_LOOK; /* half a pair, or both as another one than the move of this transaction */
}

static void draw_put(struct sim_op *op, unsigned i, enum sim_key_kind kind)
{
    struct sim_clock *c = &op->sim->clock;
    give_text(op, i, kind == SIM_EXPIRING ? SIM_EXPIRING : SIM_PLAIN);
    op->blind[i] = !op->watches && sim_chance(c, BLIND_PERMILLE);
    if (kind == SIM_EXPIRING && sim_chance(c, 700)) {
        op->operations[i].expires = true;
        op->operations[i].expire_ms = sim_between(c, 1, EXPIRE_MAX_MS);
    }
}

/* What the @i'th key is written with. The operation is what the act amounts to for who judges single keys. */
static void draw_write(struct sim_op *op, unsigned i)
{
    struct sim *sim = op->sim;
    struct operation *o = &op->operations[i];
    enum sim_key_kind kind = sim->history.keys[op->keys[i]].kind;
    o->key = op->names[i];
    switch (op->acts[i]) {
    case SIM_LOOK:
    case SIM_MOVE:
        return;
    case SIM_PUT:
        o->kind = OPERATION_SET;
        draw_put(op, i, kind);
        return;
    case SIM_REMOVE:
        o->kind = OPERATION_DEL;
        return;
    case SIM_ADD:
        o->kind = OPERATION_INCR;
        o->delta = (int64_t)sim_between(&sim->clock, 1, 2 * AMOUNT_MAX) - AMOUNT_MAX;
        return;
    case SIM_EXTEND:
        o->kind = OPERATION_APPEND;
        give_text(op, i, SIM_LIST);
        return;
    case SIM_FIELD:
        o->delta = (int64_t)sim_random(&sim->clock, FIELDS);
        give_text(op, i, SIM_HASH);
        return;
    case SIM_UNFIELD:
        o->kind = OPERATION_DEL; /* with its last field a hash is gone */
        o->delta = (int64_t)sim_random(&sim->clock, FIELDS);
        return;
    }
}

/* The first two keys are a pair: an amount goes from one purse to the other, or both are thrown away. */
static void draw_move(struct sim_op *op)
{
    struct sim_clock *c = &op->sim->clock;
    bool close = sim_chance(c, 80);
    int64_t amount = (int64_t)sim_between(c, 1, 2 * AMOUNT_MAX) - AMOUNT_MAX;
    for (unsigned i = 0; i < 2; i++) {
        op->acts[i] = close ? SIM_REMOVE : SIM_MOVE;
        op->operations[i] = (struct operation){.kind = close ? OPERATION_DEL : OPERATION_SET,
            .key = op->names[i],
            .delta = i == 0 ? -amount : amount};
        op->serials[i] = close ? 0 : sim_history_serial(&op->sim->history);
    }
}

static void draw_watch(struct sim_client *c, struct sim_op *op)
{
    op->watches = sim_chance(&c->sim->clock, WATCH_PERMILLE);
    for (unsigned i = 0; i < op->n; i++) {
        op->watches = op->watches && c->has_noted[op->keys[i]];
        op->noted[i] = c->noted[op->keys[i]];
    }
}

struct sim_op *sim_transaction_look(struct sim *sim, const unsigned *keys, unsigned n)
{
    struct sim_op *op = sim_op_create(sim, SIM_TRANSACTION, keys, n);
    for (unsigned i = 0; i < n; i++) {
        op->operations[i] = (struct operation){.key = op->names[i]};
    }
    return op;
}

struct sim_op *sim_transaction_ask(struct sim_client *c, bool writes)
{
    struct sim *sim = c->sim;
    unsigned keys[SIM_OP_KEYS_MAX];
    bool pair = sim_chance(&sim->clock, PAIR_PERMILLE);
    unsigned n = draw_keys(sim, pair, (unsigned)sim_between(&sim->clock, 1, SIM_OP_KEYS_MAX), keys);
    struct sim_op *op = sim_transaction_look(sim, keys, n);
    pair = pair && n > 1 && sim->history.keys[keys[0]].kind == SIM_PURSE;
    if (!writes) {
        return op;
    }
    draw_watch(c, op);
    if (pair) {
        draw_move(op);
    }
    for (unsigned i = pair ? 2 : 0; i < n; i++) {
        op->acts[i] = draw_act(sim, sim->history.keys[keys[i]].kind);
        draw_write(op, i);
    }
    return op;
}

/* ---- What is done ---- */

void sim_transaction_forget(struct sim_try *t)
{
    for (unsigned i = 0; i < t->op->n && t->op->kind == SIM_TRANSACTION; i++) {
        value_unref(t->seen[i].before);
        value_unref(t->seen[i].after);
        t->seen[i] = (struct sim_seen){0};
        operation_result_clear(&t->results[i]);
    }
}

static void look(struct sim_try *t, unsigned i, struct transaction *tx, uint64_t *expires_at_ms)
{
    struct sim_seen *seen = &t->seen[i];
    struct transaction_value found;
    transaction_get(tx, t->op->names[i], &found);
    seen->looked = true;
    seen->known = found.version_known;
    seen->version = found.version;
    seen->before = found.value == NULL ? NULL : value_ref(found.value);
    *expires_at_ms = found.expires_at_ms;
    t->results[i].found = found.value != NULL;
    if (t->op->acts[i] == SIM_LOOK && found.value != NULL) {
        t->results[i].value = value_ref(found.value);
        t->results[i].version = found.version_known ? found.version : 0;
    }
}

/* Takes over the reference to @value. */
static void put(struct sim_try *t, unsigned i, struct transaction *tx, uint8_t type, struct value *value,
    uint64_t expires_at_ms)
{
    struct sim_seen *seen = &t->seen[i];
    seen->after = value_ref(value);
    seen->wrote = true;
    transaction_put(tx, t->op->names[i], type, value, expires_at_ms);
}

static void take_away(struct sim_try *t, unsigned i, struct transaction *tx)
{
    t->seen[i].wrote = t->seen[i].before != NULL; /* else it changes nothing */
    transaction_delete(tx, t->op->names[i]);
}

static struct bytes before_of(const struct sim_try *t, unsigned i)
{
    const struct value *v = t->seen[i].before;
    return v == NULL ? bytes_of(NULL, 0) : value_bytes(v);
}

static struct bytes field_name(const struct sim_op *op, unsigned i, char *text)
{
    return bytes_of(text, (size_t)snprintf(text, SIM_VALUE_BYTES, "field%d", (int)op->operations[i].delta));
}

static void change_field(struct sim_try *t, unsigned i, struct transaction *tx, uint64_t expires_at_ms)
{
    struct sim_op *op = t->op;
    char text[SIM_VALUE_BYTES];
    struct field field = {.name = field_name(op, i, text), .value = op->operations[i].value};
    struct buf after;
    uint32_t changed = 1;
    buf_init(&after);
    if (op->acts[i] == SIM_FIELD) {
        fields_set(before_of(t, i), &field, 1, &after);
    } else if (t->seen[i].before != NULL) {
        changed = fields_remove(before_of(t, i), &field.name, 1, &after);
    }
    CHECK(!after.failed);
    if (after.len > 0 && changed > 0) {
        put(t, i, tx, VALUE_HASH, value_create(buf_bytes(&after)), expires_at_ms);
    } else if (changed > 0) {
        take_away(t, i, tx);
    }
    buf_deinit(&after);
}

static void put_text(
    struct sim_try *t, unsigned i, struct transaction *tx, struct bytes text, uint64_t expires_at_ms)
{
    put(t, i, tx, VALUE_STRING, value_create_joined(text, bytes_of(NULL, 0)), expires_at_ms);
}

static void act(struct sim_try *t, unsigned i, struct transaction *tx, uint64_t expires_at_ms)
{
    struct sim_op *op = t->op;
    const struct operation *o = &op->operations[i];
    struct operation_result *result = &t->results[i];
    struct bytes before = before_of(t, i);
    char text[SIM_VALUE_BYTES];
    switch (op->acts[i]) {
    case SIM_LOOK:
        return;
    case SIM_PUT:
        put_text(t, i, tx, o->value, o->expires ? transaction_now_ms(tx) + o->expire_ms : 0);
        return;
    case SIM_REMOVE:
        take_away(t, i, tx);
        return;
    case SIM_ADD:
        result->has_number = true;
        result->number = (before.len == 0 ? 0 : sim_history_number(before)) + o->delta;
        put_text(t, i, tx,
            bytes_of(text, (size_t)snprintf(text, sizeof text, "%lld", (long long)result->number)),
            expires_at_ms);
        return;
    case SIM_EXTEND:
        result->has_length = true;
        result->length = (uint32_t)(before.len + o->value.len);
        put(t, i, tx, VALUE_STRING, value_create_joined(before, o->value), expires_at_ms);
        return;
    case SIM_FIELD:
    case SIM_UNFIELD:
        change_field(t, i, tx, expires_at_ms);
        return;
    case SIM_MOVE:
        put_text(t, i, tx,
            bytes_of(text, sim_purse_text(sim_purse_read(before).amount + o->delta, op->serials[i], text)),
            0);
        return;
    }
}

enum status sim_transaction_evaluate(struct group_request *request, struct transaction *tx)
{
    struct sim_try *t = list_entry(request, struct sim_try, request);
    struct sim_op *op = t->op;
    uint64_t expires_at_ms[SIM_OP_KEYS_MAX] = {0};
    bool known = true, changed = false;
    sim_transaction_forget(t); /* what it found when it was called before */
    for (unsigned i = 0; i < op->n; i++) {
        if (!op->blind[i]) {
            look(t, i, tx, &expires_at_ms[i]);
            known = known && t->seen[i].known;
            changed = changed || (t->seen[i].known && t->seen[i].version != op->noted[i]);
        }
    }
    if (op->watches && changed) {
        return STATUS_CONDITION_FAILED;
    }
    if (op->watches && !known) {
        return STATUS_AGAIN;
    }
    for (unsigned i = 0; i < op->n; i++) {
        act(t, i, tx, expires_at_ms[i]);
    }
    return STATUS_OK;
}
