/* What transactions were told: each key as for any other request, and that it all was at one moment. */
#include <inttypes.h>

#include "cluster-tests/sim/sim.h"

enum { IN_FLIGHT_MAX = 64 }; /* entries that are proposed and have not applied, at most */

static struct bytes bytes_or_none(const struct value *v)
{
    return v == NULL ? bytes_of(NULL, 0) : value_bytes(v);
}

/* ---- One key ---- */

static void judge_look(struct sim_try *t, unsigned i)
{
    struct sim_op *op = t->op;
    struct sim_history *h = &op->sim->history;
    const struct sim_seen *seen = &t->seen[i];
    struct bytes value = bytes_or_none(seen->before);
    if (op->stale) {
        sim_history_stale(h, op->keys[i], t->request.stamp_ms, seen->before != NULL, seen->version, value);
    } else {
        sim_history_looked(
            h, op->keys[i], &op->befores[i], seen->before != NULL, seen->known, seen->version, value);
    }
}

static void judge_write(struct sim_try *t, unsigned i)
{
    struct sim_op *op = t->op;
    struct sim *sim = op->sim;
    const struct sim_record *own = sim_history_transacted(
        &sim->history, op->keys[i], t->request.index, op->serials[i], bytes_or_none(t->seen[i].after));
    sim->result->replaced += own == NULL;
    if (own != NULL && op->serials[i] != 0) {
        t->results[i].version = own->version;
    }
}

/* Whoever will write only if nothing has changed begins from here. */
static void note_versions(struct sim_try *t)
{
    struct sim_client *c = t->op->client;
    for (unsigned i = 0; c != NULL && i < t->op->n; i++) {
        const struct sim_seen *seen = &t->seen[i];
        bool own = seen->wrote && t->request.status == STATUS_OK;
        c->has_noted[t->op->keys[i]] = own ? t->results[i].version != 0 : seen->looked && seen->known;
        c->noted[t->op->keys[i]] = own ? t->results[i].version : seen->version;
    }
}

/* ---- All of them ---- */

static void judge_watches(struct sim_try *t)
{
    struct sim_op *op = t->op;
    struct sim_history *h = &op->sim->history;
    bool changed = false;
    for (unsigned i = 0; i < op->n; i++) {
        const struct sim_seen *seen = &t->seen[i];
        changed = changed || (seen->known && seen->version != op->noted[i]);
        if (t->request.status == STATUS_OK && t->request.index != 0 && seen->wrote) {
            sim_history_watched(h, op->keys[i], t->request.index, op->noted[i]);
        }
    }
    if (changed != (t->request.status == STATUS_CONDITION_FAILED)) {
        sim_history_fail(h,
            "%s: a transaction that watches keys was answered with %s, and they are%s as noted",
            h->keys[op->keys[0]].name, status_name((int)t->request.status), changed ? " not" : "");
    }
}

/* A pair that was looked at is what one move has left; and only one can begin from there. */
static void judge_pair(struct sim_try *t, unsigned i)
{
    struct sim_op *op = t->op;
    struct sim_history *h = &op->sim->history;
    const struct sim_key *one = &h->keys[op->keys[i]], *two = &h->keys[op->keys[i + 1]];
    struct bytes a = bytes_or_none(t->seen[i].before), b = bytes_or_none(t->seen[i + 1].before);
    uint64_t began = sim_purse_read(a).serial;
    if (one->lost || two->lost) {
        return;
    }
    op->sim->result->pairs_seen++;
    if (!sim_purses_match(a, b)) {
        sim_history_fail(h, "%s and %s: a transaction saw '%.*s' and '%.*s', which no other one has left",
            one->name, two->name, (int)a.len, (const char *)a.data, (int)b.len, (const char *)b.data);
    } else if (began != 0 && t->seen[i].wrote && t->request.status == STATUS_OK) {
        uint64_t by = op->serials[i] != 0 ? op->serials[i] : UINT64_MAX; /* who throws them away has none */
        if (h->followed_by[began] != 0) {
            sim_history_fail(
                h, "%s: two transactions were done that began from its value %" PRIu64, one->name, began);
        }
        h->followed_by[began] = by;
    }
}

static void judge_pairs(struct sim_try *t)
{
    struct sim_op *op = t->op;
    struct sim_history *h = &op->sim->history;
    for (unsigned i = 0; i + 1 < op->n; i++) {
        unsigned key = op->keys[i];
        if (h->keys[key].kind == SIM_PURSE && key % 2 == 0 &&
            op->keys[i + 1] == sim_history_partner(h, key)) {
            judge_pair(t, i);
        }
    }
}

/* ---- Order ---- */

/* The serial number of what a list ends with, or of a value; 0: it has none that tells who wrote it. */
static uint64_t serial_of(const struct sim_op *op, unsigned i, const struct value *v)
{
    switch (op->sim->history.keys[op->keys[i]].kind) {
    case SIM_PLAIN:
    case SIM_EXPIRING:
        return sim_value_serial(bytes_or_none(v));
    case SIM_PURSE:
        return sim_purse_read(bytes_or_none(v)).serial;
    case SIM_COUNTER:
    case SIM_LIST:
    case SIM_HASH:
        break;
    }
    return 0;
}

static struct sim_done done_of(const struct sim_try *t)
{
    const struct sim_op *op = t->op;
    struct sim_done d = {.node = t->node,
        .group = op->group,
        .connection = t->request.conn_id,
        .number = t->number,
        .index = t->request.index,
        .n = op->n};
    for (unsigned i = 0; i < op->n; i++) {
        d.keys[i] = op->keys[i];
        d.wrote[i] = t->seen[i].wrote && t->request.status == STATUS_OK ? op->serials[i] : 0;
        d.saw[i] = serial_of(op, i, t->seen[i].before);
        d.versions[i] = t->seen[i].known ? t->seen[i].version : 0;
    }
    return d;
}

/* The @i'th key of @first is the @j'th of @second. (Those that have no key in common may overtake each
 * other.) */
static void compare_key(struct sim_history *h, const struct sim_done *first, unsigned i,
    const struct sim_done *second, unsigned j)
{
    const struct sim_key *key = &h->keys[first->keys[i]];
    uint64_t written = h->groups[first->group].version_base + (first->index << 16);
    if (key->lost) {
        return;
    }
    if (first->index != 0 && second->index != 0 && first->index > second->index) {
        sim_history_fail(h,
            "%s: a transaction was done by entry %" PRIu64
            ", though a later one of its connection was done by %" PRIu64,
            key->name, first->index, second->index);
    }
    if (second->wrote[j] != 0 && first->saw[i] == second->wrote[j]) {
        sim_history_fail(h,
            "%s: a transaction saw what a later one of its connection has written (%" PRIu64 ")", key->name,
            second->wrote[j]);
    }
    if (first->wrote[i] != 0 && second->versions[j] != 0 && second->versions[j] < written) {
        sim_history_fail(h,
            "%s: a transaction saw version %" PRIu64
            ", though an earlier one of its connection has written it "
            "at %" PRIu64,
            key->name, second->versions[j], first->index);
    }
    const struct sim_record *last = first->index == 0 ? NULL : sim_history_last_at(key, first->index);
    if (first->index == second->index && first->wrote[i] != 0 && second->wrote[j] != 0 && last != NULL &&
        last->serial == first->wrote[i]) {
        sim_history_fail(h,
            "%s: of two transactions of one connection in entry %" PRIu64 " the earlier one was done last",
            key->name, first->index);
    }
}

static void compare(struct sim *sim, const struct sim_done *first, const struct sim_done *second)
{
    for (unsigned i = 0; i < first->n; i++) {
        for (unsigned j = 0; j < second->n; j++) {
            if (first->keys[i] == second->keys[j]) {
                sim->result->ordered++;
                compare_key(&sim->history, first, i, second, j);
            }
        }
    }
}

static void judge_order(struct sim_try *t)
{
    struct sim *sim = t->op->sim;
    struct sim_done d = done_of(t);
    for (unsigned i = 0; i < SIM_DONE_MAX; i++) {
        const struct sim_done *other = &sim->done[i];
        if (d.connection != 0 && other->number != 0 && other->node == d.node && other->group == d.group &&
            other->connection == d.connection) {
            bool first = d.number < other->number;
            compare(sim, first ? &d : other, first ? other : &d);
        }
    }
    sim->done[sim->done_next++ % SIM_DONE_MAX] = d;
}

void sim_transaction_done(struct sim_try *t)
{
    struct sim_history *h = &t->op->sim->history;
    bool unknown = t->request.status == STATUS_UNKNOWN; /* its entry may apply after its deadline */
    uint64_t index = unknown ? h->groups[t->op->group].newest + IN_FLIGHT_MAX : t->request.index;
    for (unsigned i = 0; i < t->op->n; i++) {
        const struct sim_seen *seen = &t->seen[i];
        if (seen->wrote && seen->after == NULL &&
            (unknown || (t->request.status == STATUS_OK && index != 0))) {
            sim_history_removed(h, t->op->keys[i], index);
        }
    }
}

void sim_transaction_judge(struct sim_try *t)
{
    struct sim_op *op = t->op;
    struct sim_result *result = op->sim->result;
    bool wrote = false;
    for (unsigned i = 0; i < op->n; i++) {
        wrote = wrote || (t->seen[i].wrote && t->request.status == STATUS_OK);
        if (t->seen[i].looked) {
            judge_look(t, i);
        }
    }
    result->stale_reads += op->stale;
    result->transactions += wrote;
    result->transactions_read += !wrote;
    result->watches_failed += t->request.status == STATUS_CONDITION_FAILED;
    if (wrote != (t->request.index != 0)) {
        sim_history_fail(&op->sim->history, "a transaction that wrote %s was done by entry %" PRIu64,
            wrote ? "something" : "nothing", t->request.index);
        return;
    }
    for (unsigned i = 0; wrote && i < op->n; i++) {
        if (t->seen[i].wrote) {
            judge_write(t, i);
        }
    }
    if (op->stale) {
        return; /* of a replica that has loaded one of the keys they need not be of one moment */
    }
    if (op->watches) {
        judge_watches(t);
    }
    judge_pairs(t);
    judge_order(t);
    note_versions(t);
}
