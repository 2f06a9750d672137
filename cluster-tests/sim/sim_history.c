/* The log, as the first replica applies it, and what must agree with it: the other replicas. */
#include "cluster-tests/sim/sim_history.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/fields.h"
#include "proto/log_entry.h"
#include "proto/pb.h"
#include "proto/slot.h"

void sim_history_init(struct sim_history *h, unsigned n_keys, uint32_t group_count)
{
    static const enum sim_key_kind kinds[] = {SIM_PLAIN, SIM_COUNTER, SIM_EXPIRING, SIM_LIST, SIM_PURSE,
        SIM_PURSE, SIM_HASH, SIM_PLAIN, SIM_EXPIRING, SIM_PLAIN, SIM_COUNTER, SIM_HASH};
    CHECK(n_keys <= SIM_KEYS_MAX);
    memset(h, 0, sizeof *h);
    h->n_keys = n_keys;
    for (unsigned k = 0; k < n_keys; k++) {
        struct sim_key *key = &h->keys[k];
        key->kind = kinds[k % (sizeof kinds / sizeof *kinds)];
        if (key->kind == SIM_PURSE && k % 2 == 0 && k + 1 == n_keys) {
            key->kind = SIM_PLAIN; /* half a pair */
        }
        if (key->kind == SIM_PURSE) {
            snprintf(key->name, sizeof key->name, "key%u{pair%u}", k, k / 2);
        } else {
            snprintf(key->name, sizeof key->name, "key%u", k);
        }
        key->group = slot_group(slot_of(bytes_from_text(key->name)), group_count);
    }
    for (unsigned g = 0; g < SIM_GROUPS_MAX; g++) {
        sim_once_init(&h->groups[g].once);
    }
}

void sim_history_deinit(struct sim_history *h)
{
    for (unsigned k = 0; k < h->n_keys; k++) {
        for (size_t i = 0; i < h->keys[k].n; i++) {
            value_unref(h->keys[k].records[i].value);
        }
        free(h->keys[k].records);
    }
    for (unsigned g = 0; g < SIM_GROUPS_MAX; g++) {
        free(h->groups[g].points);
        sim_once_deinit(&h->groups[g].once);
    }
    free(h->refused);
    free(h->written_at);
    free(h->followed_by);
}

void sim_history_fail(struct sim_history *h, const char *format, ...)
{
    if (h->failed) {
        return; /* the first one is the one to look at */
    }
    h->failed = true;
    va_list args;
    va_start(args, format);
    vsnprintf(h->failure, sizeof h->failure, format, args);
    va_end(args);
}

uint64_t sim_history_serial(struct sim_history *h)
{
    uint64_t serial = ++h->serials;
    if (serial >= h->serials_capacity) {
        uint64_t old = h->serials_capacity, capacity = old == 0 ? 1024 : 2 * old;
        h->refused = xrealloc(h->refused, capacity * sizeof *h->refused);
        h->written_at = xrealloc(h->written_at, capacity * sizeof *h->written_at);
        memset(h->refused + old, 0, (capacity - old) * sizeof *h->refused);
        memset(h->written_at + old, 0, (capacity - old) * sizeof *h->written_at);
        h->followed_by = xrealloc(h->followed_by, capacity * sizeof *h->followed_by);
        memset(h->followed_by + old, 0, (capacity - old) * sizeof *h->followed_by);
        h->serials_capacity = capacity;
    }
    return serial;
}

size_t sim_value_text(enum sim_key_kind kind, uint64_t serial, char *out)
{
    return (size_t)snprintf(
        out, SIM_VALUE_BYTES, kind == SIM_LIST ? "%" PRIu64 ";" : "value-%" PRIu64, serial);
}

int64_t sim_history_number(struct bytes value)
{
    char copy[SIM_VALUE_BYTES] = "";
    memcpy(copy, value.data, value.len < sizeof copy ? value.len : sizeof copy - 1);
    return strtoll(copy, NULL, 10);
}

size_t sim_purse_text(int64_t amount, uint64_t serial, char *out)
{
    return (size_t)snprintf(out, SIM_VALUE_BYTES, "%" PRId64 "/%" PRIu64, amount, serial);
}

struct sim_purse sim_purse_read(struct bytes value)
{
    struct sim_purse purse = {0};
    const uint8_t *slash = value.len == 0 ? NULL : memchr(value.data, '/', value.len);
    if (slash != NULL) {
        size_t before = (size_t)(slash - value.data);
        purse.amount = sim_history_number(bytes_of(value.data, before));
        purse.serial = (uint64_t)sim_history_number(bytes_of(slash + 1, value.len - before - 1));
    }
    return purse;
}

/* A move's serial numbers follow each other, as its purses do. */
bool sim_purses_match(struct bytes a, struct bytes b)
{
    struct sim_purse one = sim_purse_read(a), two = sim_purse_read(b);
    return one.amount + two.amount == 0 && (one.serial == 0 ? two.serial == 0 : two.serial == one.serial + 1);
}

uint64_t sim_value_serial(struct bytes text)
{
    char expected[SIM_VALUE_BYTES];
    size_t prefix = strlen("value-");
    uint64_t serial = text.len <= prefix
                          ? 0
                          : (uint64_t)sim_history_number(bytes_of(text.data + prefix, text.len - prefix));
    size_t len = sim_value_text(SIM_PLAIN, serial, expected);
    return bytes_equal(text, bytes_of(expected, len)) ? serial : 0;
}

unsigned sim_history_partner(const struct sim_history *h, unsigned k)
{
    CHECK(h->keys[k].kind == SIM_PURSE);
    return k ^ 1;
}

struct sim_key *sim_history_key(struct sim_history *h, struct bytes name)
{
    for (unsigned k = 0; k < h->n_keys; k++) {
        if (bytes_equal(bytes_from_text(h->keys[k].name), name)) {
            return &h->keys[k];
        }
    }
    return NULL;
}

const struct sim_record *sim_history_version(const struct sim_key *key, uint64_t version)
{
    for (size_t i = key->n; i > 0; i--) {
        if (key->records[i - 1].version == version) {
            return &key->records[i - 1];
        }
    }
    return NULL;
}

const struct sim_record *sim_history_newest_before(const struct sim_key *key, uint64_t index)
{
    for (size_t i = key->n; i > 0; i--) {
        if (key->records[i - 1].index < index) {
            return &key->records[i - 1];
        }
    }
    return NULL;
}

const struct sim_record *sim_history_first_at(const struct sim_key *key, uint64_t index)
{
    const struct sim_record *first = NULL;
    for (size_t i = key->n; i > 0 && key->records[i - 1].index >= index; i--) {
        first = key->records[i - 1].index == index ? &key->records[i - 1] : first;
    }
    return first;
}

const struct sim_record *sim_history_last_at(const struct sim_key *key, uint64_t index)
{
    const struct sim_record *last = sim_history_newest_before(key, index + 1);
    return last != NULL && last->index == index ? last : NULL;
}

const struct sim_record *sim_history_newest(const struct sim_history *h, unsigned key)
{
    return sim_history_newest_before(&h->keys[key], UINT64_MAX);
}

struct sim_before sim_history_before(const struct sim_history *h, unsigned k)
{
    const struct sim_key *key = &h->keys[k];
    return (struct sim_before){.floor = key->floor,
        .gone = key->gone,
        .acknowledged = key->acknowledged,
        .stamp_ms = h->groups[key->group].stamp_ms,
        .index = h->groups[key->group].newest};
}

/* A set whose expiry is past deletes the key, and so does such an expire. */
void sim_history_asked(struct sim_history *h, unsigned k, const struct operation *op)
{
    struct sim_key *key = &h->keys[k];
    key->deletes_asked += op->kind == OPERATION_DEL || op->expires;
    key->rewrites_asked += op->kind == OPERATION_EXPIRE;
}

/* ---- The log ---- */

/* The write at @index has the value @serial, and no other write ever has. */
static void use_serial(struct sim_history *h, struct sim_key *key, const struct sim_record *before,
    uint64_t serial, uint64_t index)
{
    if (serial == 0 || serial > h->serials) {
        sim_history_fail(h,
            "%s: what is in the log at %" PRIu64 " is no value that a client could have written", key->name,
            index);
        return;
    }
    if (h->refused[serial]) {
        sim_history_fail(h,
            "%s: a client was told that value %" PRIu64
            " was not written: refused, yet it is in the log at %" PRIu64,
            key->name, serial, index);
    }
    if (h->written_at[serial] == 0) {
        h->written_at[serial] = index;
        return;
    }
    bool rewritten = before != NULL && before->serial == serial && key->rewrites < key->rewrites_asked;
    key->rewrites += rewritten;
    if (!rewritten) {
        sim_history_fail(h, "%s: value %" PRIu64 " was executed twice, at %" PRIu64 " and %" PRIu64,
            key->name, serial, h->written_at[serial], index);
    }
}

/* A list has more texts than before: one, or those of several transactions of one entry. If it was deleted
 * and begun anew in the same entry, they are all new. */
static void use_texts(
    struct sim_history *h, struct sim_key *key, const struct sim_record *before, struct sim_record *record)
{
    struct bytes value = value_bytes(record->value);
    size_t at = before != NULL && before->value != NULL ? before->value->len : 0;
    bool kept = at < value.len && (at == 0 || memcmp(value.data, before->value->data, at) == 0);
    if (!kept && key->deletes == key->deletes_asked) {
        at = value.len;
    } else if (!kept) {
        key->deletes++;
        at = 0;
    }
    while (at < value.len) {
        const uint8_t *end = memchr(value.data + at, ';', value.len - at);
        size_t len = end == NULL ? value.len - at : (size_t)(end - value.data) + 1 - at;
        char expected[SIM_VALUE_BYTES];
        record->serial = (uint64_t)sim_history_number(bytes_of(value.data + at, len));
        size_t expected_len = sim_value_text(SIM_LIST, record->serial, expected);
        bool is_one = bytes_equal(bytes_of(expected, expected_len), bytes_of(value.data + at, len));
        use_serial(h, key, before, is_one ? record->serial : 0, record->index);
        at += len;
    }
    if (record->serial == 0) {
        use_serial(h, key, before, 0, record->index);
    }
}

/* Each field has the value that it had, or one that is new. One that is gone was taken away. */
static void use_fields(struct sim_history *h, struct sim_key *key, const struct sim_record *before,
    const struct sim_record *record)
{
    struct bytes value = value_bytes(record->value), found;
    struct bytes old =
        before == NULL || before->value == NULL ? bytes_of(NULL, 0) : value_bytes(before->value);
    struct field field;
    if (record->type != VALUE_HASH || !fields_valid(value)) {
        use_serial(h, key, before, 0, record->index);
        return;
    }
    for (size_t at = 0; fields_next(value, &at, &field);) {
        if (old.len == 0 || !fields_find(old, field.name, &found) || !bytes_equal(found, field.value)) {
            use_serial(h, key, NULL, sim_value_serial(field.value), record->index);
        }
    }
    for (size_t at = 0; old.len > 0 && fields_next(old, &at, &field);) {
        if (!fields_find(value, field.name, &found) && key->deletes_asked == 0) {
            sim_history_fail(
                h, "%s: a field is gone at %" PRIu64 ", which nobody asked for", key->name, record->index);
        }
    }
}

/* @record writes a value with a serial number, or several. */
static void record_serial(
    struct sim_history *h, struct sim_key *key, const struct sim_record *before, struct sim_record *record)
{
    struct bytes value = value_bytes(record->value);
    switch (key->kind) {
    case SIM_COUNTER:
        return;
    case SIM_LIST:
        use_texts(h, key, before, record);
        return;
    case SIM_HASH:
        use_fields(h, key, before, record);
        return;
    case SIM_PURSE:
        record->serial = sim_purse_read(value).serial;
        break;
    case SIM_PLAIN:
    case SIM_EXPIRING:
        record->serial = sim_value_serial(value);
        break;
    }
    use_serial(h, key, before, record->serial, record->index);
}

/* Somebody must have asked for it, or it was due. */
static void record_delete(struct sim_history *h, struct sim_key *key, const struct sim_record *before,
    const struct sim_record *record)
{
    if (before != NULL && sim_record_expired(before, record->stamp_ms)) {
        h->expired++;
    } else if (key->deletes++ == key->deletes_asked) {
        sim_history_fail(h,
            "%s: it is deleted at %" PRIu64 ", though its time has not come, and nobody asked for it",
            key->name, record->index);
    }
}

/* Takes over the record's reference. */
static void record_write(struct sim_history *h, struct sim_key *key, struct sim_record *record)
{
    const struct sim_record *before = key->n == 0 ? NULL : &key->records[key->n - 1];
    if (before != NULL && before->version >= record->version) {
        sim_history_fail(h, "%s: version %" PRIu64 " is written after version %" PRIu64, key->name,
            record->version, before->version);
    }
    if (key->lost) {
        /* It may come from a value that is older than the one before it. */
    } else if (record->value == NULL) {
        record_delete(h, key, before, record);
    } else {
        record_serial(h, key, before, record);
    }
    if (key->n == key->capacity) {
        key->capacity = key->capacity == 0 ? 64 : 2 * key->capacity;
        key->records = xrealloc(key->records, key->capacity * sizeof *key->records);
    }
    CHECK(key->records != NULL);
    key->records[key->n++] = *record;
    h->writes++;
}

/* What a move writes is all in one entry. */
static void check_pairs(struct sim_history *h, uint32_t group, uint64_t index)
{
    for (unsigned k = 0; k < h->n_keys; k++) {
        const struct sim_record *one = sim_history_newest(h, k);
        if (h->keys[k].kind != SIM_PURSE || h->keys[k].group != group || k % 2 != 0) {
            continue;
        }
        unsigned partner = sim_history_partner(h, k);
        const struct sim_record *two = sim_history_newest(h, partner);
        bool written = (one != NULL && one->index == index) || (two != NULL && two->index == index);
        struct bytes none = bytes_of(NULL, 0);
        if (written && !h->keys[k].lost && !h->keys[partner].lost &&
            !sim_purses_match(one == NULL || one->value == NULL ? none : value_bytes(one->value),
                two == NULL || two->value == NULL ? none : value_bytes(two->value))) {
            sim_history_fail(h,
                "%s and %s: the entry at %" PRIu64
                " has half of a transaction: their sum is not zero after it",
                h->keys[k].name, h->keys[partner].name, index);
        }
    }
}

static void record_writes(
    struct sim_history *h, uint32_t group, uint64_t index, uint64_t stamp_ms, const Wblog__Writes *writes)
{
    struct sim_group_history *g = &h->groups[group];
    g->many_keys += writes->n_writes > 1;
    for (size_t i = 0; i < writes->n_writes; i++) {
        const Wblog__Write *w = writes->writes[i];
        struct sim_key *key = sim_history_key(h, pb_bytes(w->key));
        CHECK(key != NULL);
        struct sim_record record = {.index = index,
            .version = g->version_base + (index << 16 | i),
            .value = w->has_value ? value_create(pb_bytes(w->value)) : NULL,
            .type = (uint8_t)w->type,
            .expires_at_ms = w->has_expires_at_ms ? w->expires_at_ms : 0,
            .after_ms = g->after_ms,
            .stamp_ms = stamp_ms};
        record_write(h, key, &record);
    }
    check_pairs(h, group, index);
    for (size_t i = 0; i < writes->n_outcomes; i++) {
        const Wblog__Outcome *o = writes->outcomes[i];
        sim_history_outcome(h, group, o->session, o->sequence, index, o->status);
    }
}

/* An open entry is filled from when the last one of its kind was proposed, or its leader's office began. */
static void record_time(
    struct sim_history *h, struct sim_group_history *g, uint64_t index, const Wblog__Entry *entry)
{
    if (entry->stamp_ms < g->stamp_ms) {
        sim_history_fail(h, "the stamp goes back at %" PRIu64 ", from %" PRIu64 " to %" PRIu64, index,
            g->stamp_ms, (uint64_t)entry->stamp_ms);
    }
    if (entry->term != g->term) {
        g->term = entry->term;
        g->after_ms = g->stamp_ms;
    }
    g->stamp_ms = entry->stamp_ms;
}

static void record_entry(
    struct sim_history *h, uint32_t group, uint64_t index, struct bytes raw, const struct state *state)
{
    struct sim_group_history *g = &h->groups[group];
    struct arena arena;
    arena_init(&arena);
    Wblog__Entry *entry;
    if (log_entry_decode(raw, &arena, &entry) != STATUS_OK) {
        sim_history_fail(h, "the entry at %" PRIu64 " cannot be decoded", index);
        arena_deinit(&arena);
        return;
    }
    record_time(h, g, index, entry);
    if (entry->command_case == WBLOG__ENTRY__COMMAND_GENESIS && g->version_base == 0) {
        g->version_base = entry->genesis->version_base;
    } else if (entry->command_case == WBLOG__ENTRY__COMMAND_WRITES) {
        record_writes(h, group, index, entry->stamp_ms, entry->writes);
        g->after_ms = entry->stamp_ms;
    }
    sim_history_says(h, group, index, entry, state);
    arena_deinit(&arena);
}

static struct sim_point *point_at(struct sim_group_history *g, uint64_t index)
{
    if (index >= g->n) {
        size_t n = g->n == 0 ? 1024 : g->n;
        while (n <= index) {
            n *= 2;
        }
        g->points = xrealloc(g->points, n * sizeof *g->points);
        memset(g->points + g->n, 0, (n - g->n) * sizeof *g->points);
        g->n = n;
    }
    return &g->points[index];
}

static void check_state(struct sim_history *h, uint32_t group, const struct sim_point *point, uint64_t index,
    const struct state *state)
{
    if (state_hash(state) != point->state_hash) {
        sim_history_fail(
            h, "group %" PRIu32 ": two replicas have different states at index %" PRIu64, group, index);
    }
    if (state_flushed_index(state) != point->flushed_index) {
        sim_history_fail(h,
            "group %" PRIu32 ": two replicas have different flushed indexes at index %" PRIu64, group, index);
    }
}

void sim_history_applied(
    struct sim_history *h, uint32_t group, uint64_t index, struct bytes entry, const struct state *state)
{
    struct sim_group_history *g = &h->groups[group];
    struct sim_point *point = point_at(g, index);
    uint64_t hash = bytes_hash(entry, 0) | 1;
    if (state->applied_index != index) {
        sim_history_fail(h, "group %" PRIu32 ": index %" PRIu64 " was applied, the state says %" PRIu64,
            group, index, state->applied_index);
    }
    if (point->entry_hash != 0) {
        if (point->entry_hash != hash) {
            sim_history_fail(
                h, "group %" PRIu32 ": two replicas applied different entries at %" PRIu64, group, index);
        }
        check_state(h, group, point, index, state);
        return;
    }
    if (index <= g->newest) {
        sim_history_fail(h,
            "group %" PRIu32 ": a command appeared at %" PRIu64 " after %" PRIu64 " was applied", group,
            index, g->newest);
    }
    g->newest = index;
    *point = (struct sim_point){
        .entry_hash = hash, .state_hash = state_hash(state), .flushed_index = state_flushed_index(state)};
    record_entry(h, group, index, entry, state);
}

void sim_history_restored(struct sim_history *h, uint32_t group, const struct state *state)
{
    struct sim_group_history *g = &h->groups[group];
    const struct sim_point *point = point_at(g, state->applied_index);
    if (state->applied_index == 0) {
        return;
    }
    if (point->entry_hash == 0) {
        sim_history_fail(h, "group %" PRIu32 ": a snapshot of index %" PRIu64 ", which nobody applied", group,
            state->applied_index);
        return;
    }
    check_state(h, group, point, state->applied_index, state);
}
