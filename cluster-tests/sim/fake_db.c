#include "cluster-tests/sim/fake_db.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flush/pg_time.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"

enum { LOST_COMMIT_PERMILLE = 100 };

void fake_db_init(struct fake_db *db, struct sim_clock *clock)
{
    *db = (struct fake_db){
        .clock = clock,
        .latency_min_us = 100,
        .latency_max_us = 1500,
        .work_min_us = 500,
        .work_max_us = 8000,
        .slow_max_us = 2000000,
        .load_bytes_max = 16, /* about two of the values that the simulated clients write */
    };
    for (unsigned g = 0; g < SIM_GROUPS_MAX; g++) {
        list_init(&db->fences[g].waiting);
    }
    list_init(&db->backends);
    list_init(&db->loads);
}

void fake_db_deinit(struct fake_db *db)
{
    fake_db_set_down(db, true);
    CHECK(list_empty(&db->backends) && list_empty(&db->loads));
    for (size_t i = 0; i < db->n_rows; i++) {
        buf_deinit(&db->rows[i].key);
        buf_deinit(&db->rows[i].value);
    }
    free(db->rows);
}

uint64_t fake_db_latency(struct fake_db *db)
{
    return sim_between(db->clock, db->latency_min_us, db->latency_max_us);
}

void fake_error(
    struct flush_error *error, enum flush_error_class class, const char *sqlstate, const char *message)
{
    *error = (struct flush_error){.class = class};
    snprintf(error->sqlstate, sizeof error->sqlstate, "%s", sqlstate);
    snprintf(error->message, sizeof error->message, "%s", message);
}

static struct fake_row *find(const struct fake_db *db, struct bytes key)
{
    for (size_t i = 0; i < db->n_rows; i++) {
        if (bytes_equal(buf_bytes(&db->rows[i].key), key)) {
            return &db->rows[i];
        }
    }
    return NULL;
}

const struct fake_row *fake_db_find(const struct fake_db *db, struct bytes key)
{
    return find(db, key);
}

static void upsert(struct fake_db *db, const struct fake_write *w)
{
    struct fake_row *row = find(db, w->key);
    if (row == NULL) {
        if (db->n_rows == db->rows_capacity) {
            db->rows_capacity = db->rows_capacity == 0 ? 64 : 2 * db->rows_capacity;
            db->rows = xrealloc(db->rows, db->rows_capacity * sizeof *db->rows);
        }
        row = &db->rows[db->n_rows++];
        *row = (struct fake_row){0};
        buf_append(&row->key, w->key.data, w->key.len);
    }
    buf_clear(&row->value);
    buf_append(&row->value, w->value.data, w->value.len);
    row->version = w->version;
    row->expires_at_ms = w->expires_at_ms;
    if (w->version >= db->version_ceiling) {
        db->version_ceiling = w->version + 1;
    }
}

static void erase(struct fake_db *db, struct bytes key)
{
    struct fake_row *row = find(db, key);
    if (row != NULL) {
        buf_deinit(&row->key);
        buf_deinit(&row->value);
        *row = db->rows[--db->n_rows];
    }
}

/* Reads PostgreSQL's binary arrays, as array_recv takes them (see flush/flush_batch.c). */
struct array {
    struct bytes rest;
    uint32_t n;
};

static uint32_t take_be32(struct bytes *b)
{
    CHECK(b->len >= 4);
    uint32_t v = load_be32(b->data);
    *b = bytes_of(b->data + 4, b->len - 4);
    return v;
}

static struct array array_open(const struct buf *content, uint32_t type)
{
    struct array a = {.rest = buf_bytes(content)};
    uint32_t dimensions = take_be32(&a.rest);
    CHECK(dimensions <= 1);
    CHECK(take_be32(&a.rest) <= 1);
    CHECK(take_be32(&a.rest) == type);
    if (dimensions == 1) {
        a.n = take_be32(&a.rest);
        CHECK(take_be32(&a.rest) == 1);
    }
    return a;
}

/* False: NULL. */
static bool array_next(struct array *a, struct bytes *out)
{
    uint32_t len = take_be32(&a->rest);
    if (len == UINT32_MAX) {
        return false;
    }
    CHECK(len <= a->rest.len);
    *out = bytes_of(a->rest.data, len);
    a->rest = bytes_of(a->rest.data + len, a->rest.len - len);
    return true;
}

static size_t decode(const struct flush_batch *batch, struct fake_write **out)
{
    enum { OID_BYTEA = 17, OID_INT8 = 20, OID_TIMESTAMPTZ = 1184 };
    struct array keys = array_open(&batch->keys, OID_BYTEA), values = array_open(&batch->values, OID_BYTEA);
    struct array versions = array_open(&batch->versions, OID_INT8);
    struct array expires = array_open(&batch->expires, OID_TIMESTAMPTZ);
    struct array deleted = array_open(&batch->deleted, OID_BYTEA);
    CHECK(keys.n == batch->upserts && values.n == keys.n && versions.n == keys.n && expires.n == keys.n);
    CHECK(deleted.n == batch->deletes);
    size_t n = (size_t)keys.n + deleted.n;
    struct fake_write *writes = xcalloc(n == 0 ? 1 : n, sizeof *writes);
    for (size_t i = 0; i < keys.n; i++) {
        struct bytes number;
        CHECK(array_next(&keys, &writes[i].key) && array_next(&values, &writes[i].value));
        CHECK(array_next(&versions, &number) && number.len == 8);
        writes[i].version = load_be64(number.data);
        if (array_next(&expires, &number)) {
            CHECK(number.len == 8);
            writes[i].expires_at_ms = pg_time_to_unix_ms((int64_t)load_be64(number.data));
        }
    }
    for (size_t i = keys.n; i < n; i++) {
        CHECK(array_next(&deleted, &writes[i].key));
        writes[i].deleted = true;
    }
    CHECK(keys.rest.len == 0 && values.rest.len == 0 && versions.rest.len == 0 && expires.rest.len == 0);
    CHECK(deleted.rest.len == 0);
    *out = writes;
    return n;
}

void fake_db_apply(struct fake_db *db, uint32_t group, const struct flush_batch *batch)
{
    struct fake_write *writes;
    size_t n = decode(batch, &writes);
    db->commits++;
    if (db->defect == FAKE_DB_LOSES_COMMITS && sim_chance(db->clock, LOST_COMMIT_PERMILLE)) {
        n = 0;
    }
    if (db->on_commit != NULL) {
        db->on_commit(db->on_commit_data, group, batch->id, writes, n);
    }
    for (size_t i = 0; i < n; i++) {
        if (writes[i].deleted) {
            erase(db, writes[i].key);
        } else {
            upsert(db, &writes[i]);
        }
    }
    free(writes);
}
