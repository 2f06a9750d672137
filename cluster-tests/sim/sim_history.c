#include "cluster-tests/sim/sim_history.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/log_entry.h"
#include "proto/pb.h"
#include "proto/slot.h"

void sim_history_init(struct sim_history *h, unsigned n_keys, uint32_t group_count)
{
    CHECK(n_keys <= SIM_KEYS_MAX);
    memset(h, 0, sizeof *h);
    h->n_keys = n_keys;
    for (unsigned k = 0; k < n_keys; k++) {
        struct sim_key *key = &h->keys[k];
        snprintf(key->name, sizeof key->name, "key%u", k);
        key->group = slot_group(slot_of(bytes_from_text(key->name)), group_count);
    }
}

void sim_history_deinit(struct sim_history *h)
{
    for (unsigned k = 0; k < h->n_keys; k++) {
        free(h->keys[k].records);
    }
    for (unsigned g = 0; g < SIM_GROUPS_MAX; g++) {
        free(h->groups[g].points);
    }
    free(h->refused);
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
        uint64_t capacity = h->serials_capacity == 0 ? 1024 : 2 * h->serials_capacity;
        h->refused = xrealloc(h->refused, capacity * sizeof *h->refused);
        memset(h->refused + h->serials_capacity, 0, (capacity - h->serials_capacity) * sizeof *h->refused);
        h->serials_capacity = capacity;
    }
    return serial;
}

size_t sim_value_text(uint64_t serial, char *out)
{
    return (size_t)snprintf(out, 32, "value-%" PRIu64, serial);
}

static uint64_t serial_of(struct bytes value)
{
    char text[32];
    CHECK(value.len > 6 && value.len < sizeof text);
    memcpy(text, value.data, value.len);
    text[value.len] = '\0';
    return strtoull(text + 6, NULL, 10);
}

static struct sim_key *key_of(struct sim_history *h, struct bytes name)
{
    for (unsigned k = 0; k < h->n_keys; k++) {
        if (bytes_equal(bytes_from_text(h->keys[k].name), name)) {
            return &h->keys[k];
        }
    }
    return NULL;
}

static const struct sim_record *find_version(const struct sim_key *key, uint64_t version)
{
    for (size_t i = key->n; i > 0; i--) {
        if (key->records[i - 1].version == version) {
            return &key->records[i - 1];
        }
    }
    return NULL;
}

/* The newest write with an index below @index, or NULL. */
static const struct sim_record *newest_before(const struct sim_key *key, uint64_t index)
{
    for (size_t i = key->n; i > 0; i--) {
        if (key->records[i - 1].index < index) {
            return &key->records[i - 1];
        }
    }
    return NULL;
}

const struct sim_record *sim_history_newest(const struct sim_history *h, unsigned key)
{
    return newest_before(&h->keys[key], UINT64_MAX);
}

/* ---- The log ---- */

static void record_write(struct sim_history *h, struct sim_key *key, const struct sim_record *record)
{
    if (key->n > 0 && key->records[key->n - 1].version >= record->version) {
        sim_history_fail(h, "%s: version %" PRIu64 " is written after version %" PRIu64, key->name,
            record->version, key->records[key->n - 1].version);
    }
    if (record->serial != 0) {
        if (record->serial > h->serials || h->refused[record->serial]) {
            sim_history_fail(h,
                "%s: value %" PRIu64 " was refused or never written, yet it is in the log at %" PRIu64,
                key->name, record->serial, record->index);
        }
        for (size_t i = 0; i < key->n; i++) {
            if (key->records[i].serial == record->serial) {
                sim_history_fail(h, "%s: value %" PRIu64 " was executed twice, at %" PRIu64 " and %" PRIu64,
                    key->name, record->serial, key->records[i].index, record->index);
            }
        }
    }
    if (key->n == key->capacity) {
        key->capacity = key->capacity == 0 ? 64 : 2 * key->capacity;
        key->records = xrealloc(key->records, key->capacity * sizeof *key->records);
    }
    key->records[key->n++] = *record;
    h->writes++;
}

static void record_entry(struct sim_history *h, struct sim_group_history *g, uint64_t index, struct bytes raw)
{
    struct arena arena;
    arena_init(&arena);
    Wblog__Entry *entry;
    if (log_entry_decode(raw, &arena, &entry) != STATUS_OK) {
        sim_history_fail(h, "the entry at %" PRIu64 " cannot be decoded", index);
    } else if (entry->command_case == WBLOG__ENTRY__COMMAND_GENESIS && g->version_base == 0) {
        g->version_base = entry->genesis->version_base;
    } else if (entry->command_case == WBLOG__ENTRY__COMMAND_WRITES) {
        g->many_keys += entry->writes->n_writes > 1;
        for (size_t i = 0; i < entry->writes->n_writes; i++) {
            const Wblog__Write *w = entry->writes->writes[i];
            struct sim_key *key = key_of(h, pb_bytes(w->key));
            CHECK(key != NULL);
            struct sim_record record = {.index = index,
                .version = g->version_base + (index << 16 | i),
                .serial = w->has_value ? serial_of(pb_bytes(w->value)) : 0};
            record_write(h, key, &record);
        }
    }
    arena_deinit(&arena);
}

/* Everything up to F is in the database, or something newer is. */
static void check_flushed_index(struct sim_history *h, uint32_t group, uint64_t flushed_index)
{
    for (unsigned k = 0; k < h->n_keys; k++) {
        const struct sim_key *key = &h->keys[k];
        const struct sim_record *record = key->group == group ? newest_before(key, flushed_index + 1) : NULL;
        if (record != NULL && key->db_version < record->version) {
            sim_history_fail(h,
                "group %" PRIu32 " says that all up to %" PRIu64 " is flushed, but %s was written at %" PRIu64
                " as version %" PRIu64 " and the database has version %" PRIu64,
                group, flushed_index, key->name, record->index, record->version, key->db_version);
        }
    }
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
    record_entry(h, g, index, entry);
    *point = (struct sim_point){
        .entry_hash = hash, .state_hash = state_hash(state), .flushed_index = state_flushed_index(state)};
    if (point->flushed_index < g->flushed_index) {
        sim_history_fail(h,
            "group %" PRIu32 ": the flushed index went back from %" PRIu64 " to %" PRIu64 " at %" PRIu64,
            group, g->flushed_index, point->flushed_index, index);
    }
    g->flushed_index = point->flushed_index;
    check_flushed_index(h, group, g->flushed_index);
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

/* ---- The database ---- */

void sim_history_commit(
    void *history, uint32_t group, uint64_t batch, const struct fake_write *writes, size_t n)
{
    struct sim_history *h = history;
    for (size_t i = 0; i < n; i++) {
        struct sim_key *key = key_of(h, writes[i].key);
        CHECK(key != NULL);
        const struct sim_record *expected = newest_before(key, batch);
        if (key->group != group || expected == NULL) {
            sim_history_fail(
                h, "batch %" PRIu64 " has %s, which was not written before it", batch, key->name);
            return;
        }
        bool equal = writes[i].deleted ? expected->serial == 0
                                       : expected->serial != 0 && expected->version == writes[i].version &&
                                             expected->serial == serial_of(writes[i].value);
        if (!equal) {
            sim_history_fail(
                h, "batch %" PRIu64 " has not the value that %s had when it began", batch, key->name);
        }
        if (expected->version < key->db_version) {
            sim_history_fail(h,
                "%s goes back in the database, from version %" PRIu64 " to %" PRIu64 " (batch %" PRIu64 ")",
                key->name, key->db_version, expected->version, batch);
        }
        key->db_version = expected->version;
        h->flushed_rows++;
    }
}

/* ---- The clients ---- */

static void raise_floor(struct sim_key *key, uint64_t version)
{
    if (version > key->floor) {
        key->floor = version;
    }
}

void sim_history_acknowledged(struct sim_history *h, unsigned k, uint64_t version, uint64_t serial)
{
    struct sim_key *key = &h->keys[k];
    const struct sim_record *record = find_version(key, version);
    if (record == NULL || record->serial != serial) {
        sim_history_fail(h,
            "%s: a write was acknowledged as version %" PRIu64 ", which the log does not have", key->name,
            version);
    }
    raise_floor(key, version);
    h->acknowledged++;
}

void sim_history_refused(struct sim_history *h, unsigned k, uint64_t serial)
{
    struct sim_key *key = &h->keys[k];
    h->refused[serial] = true;
    for (size_t i = 0; i < key->n; i++) {
        if (key->records[i].serial == serial) {
            sim_history_fail(h,
                "%s: a client was told that value %" PRIu64 " was not written, but it is in the log",
                key->name, serial);
        }
    }
}

/* 'Not there' is true if some delete is not older than @floor, or if nothing was ever there. */
static void read_absent(struct sim_history *h, struct sim_key *key, uint64_t floor)
{
    if (floor == 0) {
        return;
    }
    for (size_t i = 0; i < key->n; i++) {
        if (key->records[i].serial == 0 && key->records[i].version >= floor) {
            raise_floor(key, key->records[i].version);
            return;
        }
    }
    sim_history_fail(h, "%s: a read found nothing, though version %" PRIu64 " was known before it began",
        key->name, floor);
}

void sim_history_read(
    struct sim_history *h, unsigned k, uint64_t floor, bool found, uint64_t version, struct bytes value)
{
    struct sim_key *key = &h->keys[k];
    h->reads++;
    if (!found) {
        read_absent(h, key, floor);
        return;
    }
    const struct sim_record *record = find_version(key, version);
    if (record == NULL || record->serial == 0 || record->serial != serial_of(value)) {
        sim_history_fail(
            h, "%s: a read answered version %" PRIu64 ", which the log does not have so", key->name, version);
        return;
    }
    if (version < floor) {
        sim_history_fail(h,
            "%s: a read answered version %" PRIu64 ", though %" PRIu64 " was known before it began",
            key->name, version, floor);
    }
    raise_floor(key, version);
}

void sim_history_exists(struct sim_history *h, unsigned k, uint64_t floor, bool found)
{
    struct sim_key *key = &h->keys[k];
    h->reads++;
    if (!found) {
        read_absent(h, key, floor);
        return;
    }
    for (size_t i = 0; i < key->n; i++) {
        if (key->records[i].serial != 0 && key->records[i].version >= floor) {
            raise_floor(key, key->records[i].version);
            return;
        }
    }
    sim_history_fail(
        h, "%s: exists, though version %" PRIu64 " and what follows it are deletes", key->name, floor);
}

void sim_history_flushed(struct sim_history *h, uint32_t group, const uint64_t *floors)
{
    h->flush_waits++;
    for (unsigned k = 0; k < h->n_keys; k++) {
        const struct sim_key *key = &h->keys[k];
        if (key->group == group && key->db_version < floors[k]) {
            sim_history_fail(h,
                "%s: a wait for the flush is over, but version %" PRIu64
                ", acknowledged before it began, is not in the "
                "database, which has version %" PRIu64,
                key->name, floors[k], key->db_version);
        }
    }
}
