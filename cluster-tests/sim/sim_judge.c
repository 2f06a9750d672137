/* What clients were told, against the log: each answer must be what its operation comes to at its place in
 * the log, and no answer may be older than what was known when it was asked. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cluster-tests/sim/sim_history.h"

/* ---- What is known of a key ---- */

static void raise_floor(struct sim_history *h, struct sim_key *key, uint64_t version)
{
    struct sim_record *r = (struct sim_record *)(uintptr_t)sim_history_version(key, version);
    if (r != NULL && r->told_us == 0 && h->db != NULL) {
        r->told_us = fake_db_clock_us(h->db);
    }
    if (version > key->floor) {
        key->floor = version;
        key->gone = false;
    }
    if (version > key->acknowledged) {
        key->acknowledged = version;
    }
}

/* Whoever is told that @r is over by its expiry has been told of @r. */
static void raise_beyond(struct sim_history *h, struct sim_key *key, const struct sim_record *r)
{
    raise_floor(h, key, r->version);
    if (r->version + 1 > key->floor) {
        key->floor = r->version + 1;
        key->gone = true;
    }
}

/* 'Not there' is true if some delete is not older than what was known, or something whose time has come by a
 * stamp of the log; or if nothing was ever there. A transaction's delete, in the place of which is another
 * write of its entry, can have been seen only by who asked before that entry applied. */
static void told_absent(struct sim_history *h, struct sim_key *key, const struct sim_before *before)
{
    if (before->floor == 0 || before->gone || key->lost) {
        return;
    }
    uint64_t stamp_ms = h->groups[key->group].stamp_ms;
    for (size_t i = 0; i < key->n; i++) {
        const struct sim_record *r = &key->records[i];
        if (r->version >= before->floor && r->value == NULL) {
            raise_floor(h, key, r->version);
            return;
        }
        if (r->version >= before->floor && sim_record_expired(r, stamp_ms)) {
            raise_beyond(h, key, r);
            return;
        }
    }
    uint64_t removed_version = h->groups[key->group].version_base + (key->removed << 16);
    if (key->removed != 0 && before->floor < removed_version) {
        return;
    }
    sim_history_fail(h,
        "%s: a client was told that it is not there, though version %" PRIu64
        " was known before it asked, and its time has come by no stamp of the log",
        key->name, before->floor);
}

/* Was @value written by @r? (A hash's fields come back from the database in another order.) */
static bool is_value(const struct sim_record *r, struct bytes value)
{
    return r != NULL && r->value != NULL &&
           (value.data == NULL || value_same(r->type, value_bytes(r->value), value));
}

/* @version is there, with @value if that is told. */
static void told_present(struct sim_history *h, struct sim_key *key, const struct sim_before *before,
    uint64_t version, struct bytes value)
{
    const struct sim_record *r = sim_history_version(key, version);
    if (!is_value(r, value)) {
        sim_history_fail(h,
            "%s: a client was answered with version %" PRIu64 ", which the log does not have so", key->name,
            version);
        return;
    }
    if (key->lost) {
        return; /* nobody knows what else it may be now */
    }
    if (version < before->floor) {
        sim_history_fail(h,
            "%s: a client was answered with version %" PRIu64 ", though %" PRIu64
            "%s was known before it asked",
            key->name, version, before->floor - before->gone, before->gone ? ", and that it was gone," : "");
    }
    if (sim_record_expired(r, before->stamp_ms)) {
        sim_history_fail(h,
            "%s: a client was answered with version %" PRIu64 " of %" PRIu64
            ", though the log was at %" PRIu64 " already when it asked",
            key->name, version, r->expires_at_ms, before->stamp_ms);
    }
    raise_floor(h, key, version);
}

static struct bytes told_value(const struct operation_result *result)
{
    return result->value == NULL ? bytes_of(NULL, 0) : value_bytes(result->value);
}

/* ---- Reads ---- */

void sim_history_read(struct sim_history *h, unsigned k, const struct sim_before *before, bool found,
    uint64_t version, struct bytes value)
{
    h->reads++;
    if (found) {
        told_present(h, &h->keys[k], before, version, value);
    } else {
        told_absent(h, &h->keys[k], before);
    }
}

void sim_history_exists(struct sim_history *h, unsigned k, const struct sim_before *before, bool found)
{
    struct sim_key *key = &h->keys[k];
    h->reads++;
    if (!found) {
        told_absent(h, key, before);
        return;
    }
    if (key->lost) {
        return;
    }
    for (size_t i = 0; i < key->n; i++) {
        const struct sim_record *r = &key->records[i];
        if (r->value != NULL && r->version >= before->floor && !sim_record_expired(r, before->stamp_ms)) {
            raise_floor(h, key, r->version);
            return;
        }
    }
    sim_history_fail(h, "%s: exists, though version %" PRIu64 " and what follows it are deletes", key->name,
        before->floor);
}

void sim_history_stale(
    struct sim_history *h, unsigned k, uint64_t stamp_ms, bool found, uint64_t version, struct bytes value)
{
    const struct sim_key *key = &h->keys[k];
    const struct sim_record *r = found ? sim_history_version(key, version) : NULL;
    h->reads++;
    if (found && !is_value(r, value)) {
        sim_history_fail(h, "%s: a stale read answered version %" PRIu64 ", which the log does not have so",
            key->name, version);
    } else if (found && sim_record_expired(r, stamp_ms)) {
        sim_history_fail(h, "%s: a stale read of %" PRIu64 " answered version %" PRIu64 " of %" PRIu64,
            key->name, stamp_ms, version, r->expires_at_ms);
    }
    if (stamp_ms > h->groups[key->group].stamp_ms) {
        sim_history_fail(h, "%s: a stale read is of %" PRIu64 ", which no stamp of the log has reached",
            key->name, stamp_ms);
    }
}

/* ---- Updates: a model of its own ---- */

struct claim {
    const struct operation *op;
    const struct sim_record *now;    /* what was there; NULL: nothing */
    const struct sim_record *record; /* what was written */
    const struct operation_result *result;
};

static bool old_value_is_right(const struct claim *c)
{
    if (!c->op->return_old || c->now == NULL) {
        return c->result->value == NULL;
    }
    return c->result->value != NULL && bytes_equal(value_bytes(c->result->value), value_bytes(c->now->value));
}

/* Can the operation, evaluated at some time from after_ms to stamp_ms, have given the record this expiry? If
 * it was past, it gave a delete. */
static bool expiry_is_right(const struct claim *c)
{
    uint64_t earliest_ms = c->op->expire_ms, latest_ms = c->op->expire_ms;
    if (c->op->expire_relative) {
        earliest_ms += c->record->after_ms;
        latest_ms += c->record->stamp_ms;
    }
    if (c->record->value == NULL) {
        return c->op->expire_relative ? c->op->expire_ms == 0 : earliest_ms <= c->record->stamp_ms;
    }
    return c->record->expires_at_ms >= earliest_ms && c->record->expires_at_ms <= latest_ms;
}

static bool condition_holds(const struct operation *op, const struct sim_record *now)
{
    switch (op->condition) {
    case CONDITION_NONE:
        return true;
    case CONDITION_ABSENT:
        return now == NULL;
    case CONDITION_PRESENT:
        return now != NULL;
    case CONDITION_VERSION:
        return (now == NULL ? 0 : now->version) == op->if_version;
    }
    return false;
}

static bool set_is_right(const struct claim *c)
{
    const struct sim_record *r = c->record;
    if (!condition_holds(c->op, c->now) || !old_value_is_right(c) ||
        (r->value != NULL && !bytes_equal(value_bytes(r->value), c->op->value))) {
        return false;
    }
    if (c->op->expires) {
        return expiry_is_right(c);
    }
    uint64_t kept_ms = c->op->keep_expiry && c->now != NULL ? c->now->expires_at_ms : 0;
    return r->value != NULL && r->expires_at_ms == kept_ms;
}

static bool incr_is_right(const struct claim *c)
{
    char expected[SIM_VALUE_BYTES];
    int64_t sum = (c->now == NULL ? 0 : sim_history_number(value_bytes(c->now->value))) + c->op->delta;
    int len = snprintf(expected, sizeof expected, "%" PRId64, sum);
    return c->result->has_number && c->result->number == sum && c->record->value != NULL &&
           bytes_equal(value_bytes(c->record->value), bytes_of(expected, (size_t)len)) &&
           c->record->expires_at_ms == (c->now == NULL ? 0 : c->now->expires_at_ms);
}

static bool append_is_right(const struct claim *c)
{
    size_t kept = c->now == NULL ? 0 : c->now->value->len;
    const struct value *v = c->record->value;
    return v != NULL && v->len == kept + c->op->value.len &&
           (kept == 0 || memcmp(v->data, c->now->value->data, kept) == 0) &&
           memcmp(v->data + kept, c->op->value.data, c->op->value.len) == 0 && c->result->has_length &&
           c->result->length == v->len &&
           c->record->expires_at_ms == (c->now == NULL ? 0 : c->now->expires_at_ms);
}

static bool expire_condition_holds(const struct operation *op, const struct sim_record *now)
{
    return op->only_if == EXPIRE_ALWAYS || (op->only_if == EXPIRE_HAS_NONE) == (now->expires_at_ms == 0);
}

static bool expire_is_right(const struct claim *c)
{
    const struct sim_record *r = c->record;
    if (c->now == NULL || !expire_condition_holds(c->op, c->now) ||
        (r->value != NULL && !bytes_equal(value_bytes(r->value), value_bytes(c->now->value)))) {
        return false;
    }
    if (c->op->expires) {
        return expiry_is_right(c);
    }
    return r->value != NULL && r->expires_at_ms == 0;
}

static bool is_right(const struct claim *c)
{
    switch (c->op->kind) {
    case OPERATION_SET:
        return set_is_right(c);
    case OPERATION_DEL:
        return c->now != NULL && c->record->value == NULL && c->result->found && old_value_is_right(c);
    case OPERATION_INCR:
        return incr_is_right(c);
    case OPERATION_APPEND:
        return append_is_right(c);
    case OPERATION_EXPIRE:
        return expire_is_right(c);
    }
    return false;
}

/* Is @r, in the log, what @op comes to there? What was there just before is in the log, too; only whether its
 * time had come is not always to be seen. */
static bool wrote(const struct sim_key *key, const struct operation *op,
    const struct operation_result *result, const struct sim_record *r)
{
    const struct sim_record *last = r == key->records || r[-1].value == NULL ? NULL : r - 1;
    struct claim c = {.op = op, .record = r, .result = result};
    bool may_be_gone = last == NULL || sim_record_expired(last, r->stamp_ms);
    if (may_be_gone && is_right(&c)) {
        return true;
    }
    c.now = last;
    return last != NULL && !sim_record_expired(last, r->after_ms) && is_right(&c);
}

static void told_written(struct sim_history *h, struct sim_key *key, const struct operation *op,
    const struct operation_result *result, const struct sim_record *r)
{
    if (r == NULL) {
        sim_history_fail(h,
            "%s: a write was acknowledged as version %" PRIu64 ", which the log does not have", key->name,
            result->version);
        return;
    }
    if (!key->lost && !wrote(key, op, result, r)) {
        sim_history_fail(h,
            "%s: an operation of kind %d was answered with version %" PRIu64
            ", which is not what it comes to in the log there",
            key->name, (int)op->kind, result->version);
    }
    raise_floor(h, key, result->version);
    h->acknowledged++;
}

void sim_history_done(struct sim_history *h, unsigned k, const struct operation *op,
    const struct sim_before *before, const struct operation_result *result)
{
    struct sim_key *key = &h->keys[k];
    bool may_write_nothing = op->kind == OPERATION_DEL || op->kind == OPERATION_EXPIRE;
    const struct sim_record *r = sim_history_version(key, result->version);
    /* There was no expiry to remove. A retry that saw the write in flight has the version of that. */
    bool removed_none = op->kind == OPERATION_EXPIRE && !op->expires && result->found && r != NULL &&
                        r->value != NULL && r->expires_at_ms == 0 &&
                        (!result->written || !wrote(key, op, result, r));
    if (may_write_nothing && !result->found) {
        told_absent(h, key, before);
    } else if (removed_none) {
        told_present(h, key, before, result->version, told_value(result));
    } else if (result->written) {
        told_written(h, key, op, result, r);
    } else {
        sim_history_fail(
            h, "%s: an operation of kind %d is done, and wrote nothing", key->name, (int)op->kind);
    }
}

void sim_history_condition_failed(struct sim_history *h, unsigned k, const struct operation *op,
    const struct sim_before *before, const struct operation_result *result)
{
    struct sim_key *key = &h->keys[k];
    const struct sim_record *now = result->found ? sim_history_version(key, result->version) : NULL;
    if (result->found) {
        told_present(h, key, before, result->version, told_value(result));
    } else {
        told_absent(h, key, before);
    }
    bool holds = op->kind == OPERATION_EXPIRE ? now == NULL || expire_condition_holds(op, now)
                                              : condition_holds(op, now);
    if (holds) {
        sim_history_fail(
            h, "%s: a condition is said not to hold, but it does for what is said to be there", key->name);
    }
}

/* ---- Transactions ---- */

void sim_history_removed(struct sim_history *h, unsigned k, uint64_t index)
{
    struct sim_key *key = &h->keys[k];
    key->removed = index > key->removed ? index : key->removed;
}

void sim_history_looked(struct sim_history *h, unsigned k, const struct sim_before *before, bool found,
    bool known, uint64_t version, struct bytes value)
{
    h->reads++;
    if (!known) {
        return; /* what was in an open entry may be in no entry in the end, when another write took its place
                 */
    }
    if (found) {
        told_present(h, &h->keys[k], before, version, value);
    } else {
        told_absent(h, &h->keys[k], before);
    }
}

const struct sim_record *sim_history_transacted(
    struct sim_history *h, unsigned k, uint64_t index, uint64_t serial, struct bytes value)
{
    struct sim_key *key = &h->keys[k];
    const struct sim_record *first = sim_history_first_at(key, index), *own = NULL;
    h->acknowledged++;
    if (first == NULL) {
        sim_history_fail(h,
            "%s: a transaction was acknowledged as entry %" PRIu64 ", which does not write it", key->name,
            index);
        return NULL;
    }
    if (serial != 0 && h->written_at[serial] != 0 && h->written_at[serial] != index) {
        sim_history_fail(h,
            "%s: a transaction was acknowledged as entry %" PRIu64 ", but its value is in that at %" PRIu64,
            key->name, index, h->written_at[serial]);
    }
    for (const struct sim_record *r = first; r < key->records + key->n && r->index == index; r++) {
        bool same = value.data == NULL ? r->value == NULL : is_value(r, value);
        own = same ? r : own;
    }
    if (!key->lost) {
        raise_floor(h, key, own != NULL && serial != 0 ? own->version : first->version);
    }
    return own;
}

void sim_history_watched(struct sim_history *h, unsigned k, uint64_t index, uint64_t noted)
{
    const struct sim_key *key = &h->keys[k];
    const struct sim_record *last = sim_history_newest_before(key, index);
    bool absent = last == NULL || last->value == NULL;
    if (!key->lost && (noted == 0 ? !absent : last == NULL || last->version != noted)) {
        sim_history_fail(h,
            "%s: a transaction that needed it to be of version %" PRIu64 " was done by entry %" PRIu64
            ", before which it was of version %" PRIu64,
            key->name, noted, index, last == NULL ? 0 : last->version);
    }
}

/* ---- Sessions, refusals ---- */

static void check_never(
    struct sim_history *h, const struct sim_once_request *r, uint64_t session, uint64_t sequence)
{
    if (r->refused && r->index != 0 && r->status == STATUS_OK) {
        sim_history_fail(h,
            "session %" PRIu64 " was told that its request %" PRIu64
            " was not done, but it is in the log at %" PRIu64,
            session, sequence, r->index);
    }
}

void sim_history_outcome(struct sim_history *h, uint32_t group, uint64_t session, uint64_t sequence,
    uint64_t index, uint32_t status)
{
    struct sim_once_request *r = sim_once_at(&h->groups[group].once, session, sequence);
    if (r->index != 0) {
        sim_history_fail(h,
            "session %" PRIu64 ", request %" PRIu64 " has two outcomes, at %" PRIu64 " and %" PRIu64, session,
            sequence, r->index, index);
    }
    r->index = index;
    r->status = status;
    check_never(h, r, session, sequence);
}

void sim_history_never(struct sim_history *h, uint32_t group, uint64_t session, uint64_t sequence)
{
    struct sim_once_request *r = sim_once_at(&h->groups[group].once, session, sequence);
    r->refused = true;
    check_never(h, r, session, sequence);
}

void sim_history_refused(struct sim_history *h, unsigned k, uint64_t serial)
{
    h->refused[serial] = true;
    if (h->written_at[serial] != 0) {
        sim_history_fail(h,
            "%s: a client was told that value %" PRIu64 " was not written, but it is in the log at %" PRIu64,
            h->keys[k].name, serial, h->written_at[serial]);
    }
}

/* ---- The flush ---- */

/* Is the key in quarantine, or was it at any time since @before? */
static bool in_quarantine_since(const struct sim_key *key, const struct sim_before *before)
{
    return key->quarantined || (key->quarantine_index != 0 && key->quarantine_index >= before->index);
}

/* Is there a word for it that the key is not in the database, though the flush has passed it? */
static bool is_excused(const struct sim_key *key, const struct sim_before *before, uint64_t version)
{
    return key->excused >= version || in_quarantine_since(key, before);
}

void sim_history_flushed(struct sim_history *h, uint32_t group, const struct sim_before *befores)
{
    h->flush_waits++;
    for (unsigned k = 0; k < h->n_keys; k++) {
        const struct sim_key *key = &h->keys[k];
        if (key->group == group && key->db_most < befores[k].acknowledged &&
            !is_excused(key, &befores[k], befores[k].acknowledged)) {
            sim_history_fail(h,
                "%s: a wait for the flush is over, but version %" PRIu64
                ", known before it began, is not in the database, which has version %" PRIu64,
                key->name, befores[k].acknowledged, key->db_most);
        }
    }
}

void sim_history_in_database(
    struct sim_history *h, unsigned k, const struct sim_before *before, uint64_t version)
{
    const struct sim_key *key = &h->keys[k];
    bool excused = before == NULL ? key->excused >= version : is_excused(key, before, version);
    if (key->db_most < version && !excused) {
        sim_history_fail(h,
            "%s: a write was answered as flushed, but the database has version %" PRIu64 ", not %" PRIu64,
            key->name, key->db_most, version);
    }
}

void sim_history_quarantined(
    struct sim_history *h, const unsigned *keys, unsigned n, const struct sim_before *befores)
{
    for (unsigned i = 0; i < n; i++) {
        const struct sim_key *key = &h->keys[keys[i]];
        if (in_quarantine_since(key, &befores[i])) {
            return;
        }
    }
    sim_history_fail(h, "%s: a client was told that the database refuses it, but it was never in quarantine",
        n == 0 ? "?" : h->keys[keys[0]].name);
}
