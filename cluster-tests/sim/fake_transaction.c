/* What the fake database's transactions come to: the checks under the lock, and the COMMIT. */
#include <stdlib.h>
#include <string.h>

#include "cluster-tests/sim/fake_fields.h"
#include "cluster-tests/sim/fake_server.h"
#include "flush/flush_batch.h"
#include "flush/pg_time.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"

enum { LOST_COMMIT_PERMILLE = 100 };

/* ---- The rows of a batch ---- */

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

/* The value of a string is in @values and its field is NULL, or there are no fields at all; of a hash it is
 * the other way round. */
static void decode_value(struct array *values, struct array *fields, struct buf *hash, struct fake_write *w)
{
    struct bytes json;
    bool has_value = array_next(values, &w->value);
    bool is_hash = fields->n > 0 && array_next(fields, &json);
    CHECK(has_value != is_hash);
    if (is_hash) {
        fake_fields_read(json, hash);
        w->type = VALUE_HASH;
        w->value = buf_bytes(hash);
    }
}

static void decode(struct statement *st)
{
    enum { OID_BYTEA = 17, OID_INT8 = 20, OID_TIMESTAMPTZ = 1184 };
    const struct flush_batch *batch = &st->batch;
    struct array keys = array_open(&batch->keys, OID_BYTEA), values = array_open(&batch->values, OID_BYTEA);
    struct array versions = array_open(&batch->versions, OID_INT8);
    struct array expires = array_open(&batch->expires, OID_TIMESTAMPTZ);
    struct array fields = array_open(&batch->fields, OID_BYTEA);
    struct array deleted = array_open(&batch->deleted, OID_BYTEA);
    CHECK(keys.n == batch->upserts && values.n == keys.n && versions.n == keys.n && expires.n == keys.n);
    CHECK(deleted.n == batch->deletes && fields.n == (batch->hashes > 0 ? keys.n : 0));
    size_t n = (size_t)keys.n + deleted.n;
    struct fake_write *writes = xcalloc(n + 1, sizeof *writes);
    st->hashes = xcalloc((size_t)keys.n + 1, sizeof *st->hashes);
    for (size_t i = 0; i < keys.n; i++) {
        struct bytes number;
        CHECK(array_next(&keys, &writes[i].key));
        decode_value(&values, &fields, &st->hashes[i], &writes[i]);
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
    CHECK(fields.rest.len == 0 && deleted.rest.len == 0);
    st->writes = writes;
    st->n_writes = n;
}

static bool is_refused(const struct fake_db *db, const struct fake_write *w, struct fake_refusal *why)
{
    return db->refuses != NULL && db->refuses(db->refuses_data, w, why);
}

/* ---- Checks ---- */

static struct fake_fence *fence_of(struct backend *b)
{
    return &b->db->content.fences[b->current->identity.group];
}

static void say(struct backend *b, const struct answer *content)
{
    if (b->client != NULL) {
        fake_flusher_answer(b->client, content);
    } else {
        fake_faults_free(content->faults, content->n_faults);
    }
}

void transaction_refuse(
    struct backend *b, enum flush_error_class class, const char *sqlstate, const char *message)
{
    struct answer failed = {.kind = ANSWER_FAILED,
        .lock_timeout = b->current->kind == STATEMENT_TAKE && strcmp(sqlstate, "55P03") == 0};
    fake_error(&failed.error, class, sqlstate, message);
    bool passed = class != FLUSH_ERROR_FENCED && class != FLUSH_ERROR_PREDECESSOR;
    failed.error.in_rows =
        b->current->kind == STATEMENT_BATCH && passed && b->db->locks[b->current->identity.group].holder == b;
    b->db->refused += !passed;
    say(b, &failed);
}

static bool ours(const struct fake_fence *fence, const struct flush_identity *id)
{
    return fence->present && fence->group_count == id->group_count &&
           memcmp(fence->cluster_id, id->cluster_id, CLUSTER_ID_BYTES) == 0;
}

static bool take_permitted(struct backend *b)
{
    const struct statement *st = b->current;
    const struct fake_fence *fence = fence_of(b);
    if (!fence->present) {
        transaction_refuse(b, FLUSH_ERROR_HALT, "WB003", "the fence row is missing");
    } else if (!ours(fence, &st->identity)) {
        transaction_refuse(b, FLUSH_ERROR_HALT, "WB003", "another cluster's fence row");
    } else if (fence->term > st->term) {
        transaction_refuse(b, FLUSH_ERROR_FENCED, "WB001", "a later term holds the fence row");
    } else {
        return true;
    }
    return false;
}

static bool fence_permits(struct backend *b, uint64_t last_batch)
{
    const struct statement *st = b->current;
    const struct fake_fence *fence = fence_of(b);
    if (!ours(fence, &st->identity) || fence->epoch != st->epoch) {
        transaction_refuse(b, FLUSH_ERROR_FENCED, "WB001", "another epoch holds the fence row");
    } else if (fence->last_batch != last_batch) {
        transaction_refuse(b, FLUSH_ERROR_PREDECESSOR, "WB002", "the batch before this one is not there");
    } else {
        return true;
    }
    return false;
}

bool transaction_permitted(struct backend *b)
{
    struct statement *st = b->current;
    st->clock_us = fake_db_clock_us(b->db);
    if (b->db->standby) {
        transaction_refuse(b, FLUSH_ERROR_OUTAGE, "25006", "the database is a standby");
        return false;
    }
    switch (st->kind) {
    case STATEMENT_TAKE:
        return take_permitted(b);
    case STATEMENT_BATCH:
        return b->db->defect == FAKE_DB_NO_FENCE || fence_permits(b, st->batch.predecessor);
    case STATEMENT_NOTE:
        return fence_permits(b, st->last_batch);
    default:
        return true;
    }
}

/* ---- COMMIT ---- */

static void commit_take(struct backend *b)
{
    struct fake_fence *fence = fence_of(b);
    fence->term = b->current->term;
    fence->epoch++;
    b->db->takes++;
    struct answer taken = {.kind = ANSWER_TAKEN,
        .row = {.epoch = fence->epoch, .last_batch = fence->last_batch, .clock_us = b->current->clock_us}};
    say(b, &taken);
}

static void take_note(struct backend *b, const struct flush_note *note)
{
    struct statement *st = b->current;
    struct fake_fence *fence = fence_of(b);
    if (note->fresh_as_of_us != 0) {
        fence->fresh_as_of_us = note->fresh_as_of_us;
    }
    fence->quarantined = note->quarantined;
    fence->lost = note->lost;
    fence->recovering = note->recovering;
    if (st->mirrors) {
        fake_content_show(&b->db->content, st->identity.group, st->mirror, st->n_mirror);
        st->mirror = NULL;
        st->n_mirror = 0;
    }
}

static void changed(struct backend *b)
{
    if (b->db->on_changed != NULL) {
        b->db->on_changed(b->db->on_data, b->current->identity.group);
    }
}

static void write_rows(struct backend *b)
{
    struct statement *st = b->current;
    struct fake_db *db = b->db;
    db->commits++;
    if (db->defect == FAKE_DB_LOSES_COMMITS && sim_chance(db->clock, LOST_COMMIT_PERMILLE)) {
        st->n_writes = 0;
    }
    if (db->on_commit != NULL) {
        const struct fake_commit commit = {.group = st->identity.group,
            .batch = st->batch.id,
            .writes = st->writes,
            .n = st->n_writes,
            .refused = st->refused,
            .n_refused = st->n_refused};
        db->on_commit(db->on_data, &commit);
    }
    for (size_t i = 0; i < st->n_writes; i++) {
        const struct fake_write *w = &st->writes[i];
        if (w->deleted) {
            fake_content_erase(&db->content, w->key);
        } else {
            const struct flush_row row = {.key = w->key,
                .value = w->value,
                .type = w->type,
                .version = w->version,
                .expires_at_ms = w->expires_at_ms};
            fake_content_upsert(&db->content, &row);
        }
    }
    fake_fence_advance(fence_of(b), st->batch.id);
}

static void say_committed(struct backend *b)
{
    struct answer committed = {
        .kind = ANSWER_COMMITTED, .batch = b->current->batch.id, .clock_us = b->current->clock_us};
    say(b, &committed);
}

/* The first row that is refused, among those that are to be written. */
static bool refused_row(const struct backend *b, struct fake_refusal *why)
{
    const struct statement *st = b->current;
    for (size_t i = 0; i < st->n_writes; i++) {
        if (is_refused(b->db, &st->writes[i], why)) {
            return true;
        }
    }
    return false;
}

/* The rows that are refused leave the batch: all, or those that isolating finds. */
static struct fake_fault *leave_out(struct backend *b, bool all)
{
    struct statement *st = b->current;
    struct fake_fault *faults = xcalloc(st->n_writes + 1, sizeof *faults);
    size_t kept = 0;
    st->refused = xcalloc(st->n_writes + 1, sizeof *st->refused);
    for (size_t i = 0; i < st->n_writes; i++) {
        struct fake_refusal why;
        if (is_refused(b->db, &st->writes[i], &why) && (all || why.when != FAKE_COMMIT_ONLY)) {
            struct fake_fault *f = &faults[st->n_refused];
            buf_append(&f->key, st->writes[i].key.data, st->writes[i].key.len);
            memcpy(f->sqlstate, why.sqlstate, sizeof f->sqlstate);
            f->message = why.message;
            st->refused[st->n_refused++] = st->writes[i];
        } else {
            st->writes[kept++] = st->writes[i];
        }
    }
    st->n_writes = kept;
    return faults;
}

static void commit_batch(struct backend *b)
{
    struct fake_refusal why;
    decode(b->current);
    if (b->db->defect == FAKE_DB_SKIPS_BAD_ROWS) {
        struct fake_fault *faults = leave_out(b, true);
        fake_faults_free(faults, b->current->n_refused);
    } else if (refused_row(b, &why)) {
        b->db->commit_refusals += why.when != FAKE_AT_STATEMENT;
        transaction_refuse(b, FLUSH_ERROR_ROW, why.sqlstate, why.message);
        return;
    }
    write_rows(b);
    take_note(b, &b->current->batch.note);
    say_committed(b);
    changed(b);
}

/* Its rows are looked at; the transaction stays open. */
static void isolate(struct backend *b)
{
    struct statement *st = b->current;
    decode(st);
    struct fake_fault *faults = leave_out(b, false);
    struct answer isolated = {
        .kind = ANSWER_ISOLATED, .batch = st->batch.id, .faults = faults, .n_faults = st->n_refused};
    b->db->isolations++;
    b->db->faults += st->n_refused;
    st->isolated = true;
    if (b->db->defect == FAKE_DB_COMMITS_ISOLATED) {
        write_rows(b);
        st->committed = true;
    } else if (b->db->defect == FAKE_DB_HIDES_FAULTS) {
        fake_faults_free(faults, isolated.n_faults);
        isolated.faults = NULL;
        isolated.n_faults = 0;
        st->n_refused = 0;
    }
    say(b, &isolated);
}

/* What the client says at the end of an isolating batch is in the statement by now. */
static void commit_isolated(struct backend *b)
{
    struct statement *st = b->current;
    struct fake_refusal why;
    st->isolated = false;
    if (!st->committed) {
        for (size_t i = 0; i < st->n_writes; i++) {
            if (is_refused(b->db, &st->writes[i], &why) && why.when == FAKE_COMMIT_ONLY) {
                b->db->commit_refusals++;
                transaction_refuse(b, FLUSH_ERROR_ROW, why.sqlstate, why.message);
                return;
            }
        }
        write_rows(b);
    }
    take_note(b, &st->note);
    say_committed(b);
    changed(b);
}

static void commit_note(struct backend *b)
{
    take_note(b, &b->current->note);
    b->db->notes++;
    struct answer noted = {.kind = ANSWER_NOTED, .clock_us = b->current->clock_us};
    say(b, &noted);
    changed(b);
}

static struct flush_inspected look(const struct fake_db *db, const uint8_t cluster_id[CLUSTER_ID_BYTES])
{
    struct flush_inspected found = {.found = FLUSH_DB_EMPTY};
    for (unsigned g = 0; g < SIM_GROUPS_MAX; g++) {
        const struct fake_fence *fence = &db->content.fences[g];
        if (fence->present) {
            memcpy(found.cluster_id, fence->cluster_id, CLUSTER_ID_BYTES);
            found.group_count = fence->group_count;
            found.version_ceiling = db->content.version_ceiling;
            found.found = memcmp(fence->cluster_id, cluster_id, CLUSTER_ID_BYTES) == 0 ? FLUSH_DB_OURS
                                                                                       : FLUSH_DB_FOREIGN;
        }
    }
    return found;
}

static void commit_claim(struct backend *b)
{
    const struct flush_identity *id = &b->current->identity;
    const struct flush_inspected *expected = &b->current->expected;
    struct flush_inspected now = look(b->db, id->cluster_id);
    if (now.found != expected->found && now.found != FLUSH_DB_OURS) {
        transaction_refuse(
            b, FLUSH_ERROR_TRANSIENT, "40001", "the fence rows changed since they were looked at");
        return;
    }
    for (unsigned g = 0; g < SIM_GROUPS_MAX; g++) {
        struct fake_fence *fence = &b->db->content.fences[g];
        if (g >= id->group_count) {
            fence->present = false;
        } else if (!ours(fence, id)) {
            fence->present = true;
            memcpy(fence->cluster_id, id->cluster_id, CLUSTER_ID_BYTES);
            fence->group_count = id->group_count;
            fence->term = 0;
            fence->epoch++;
            fence->last_batch = 0;
            fence->n_batches = 0;
            fence->fresh_as_of_us = 0;
        }
    }
    struct answer claimed = {.kind = ANSWER_CLAIMED};
    say(b, &claimed);
}

void transaction_end(struct backend *b)
{
    struct statement *st = b->current;
    switch (st->kind) {
    case STATEMENT_INSPECT: {
        struct answer inspected = {
            .kind = ANSWER_INSPECTED, .inspected = look(b->db, st->identity.cluster_id)};
        say(b, &inspected);
        return;
    }
    case STATEMENT_CLAIM:
        commit_claim(b);
        return;
    case STATEMENT_TAKE:
        commit_take(b);
        return;
    case STATEMENT_BATCH:
        if (st->isolated) {
            commit_isolated(b);
        } else if (st->batch.isolate) {
            isolate(b);
        } else {
            commit_batch(b);
        }
        return;
    case STATEMENT_NOTE:
        commit_note(b);
        return;
    case STATEMENT_FINISH:
        CHECK(!"a finish ends the batch before it");
    }
}
