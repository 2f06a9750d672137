#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "flush/flush_error.h"
#include "flush/pg_fence_internal.h"
#include "flush/pg_result.h"
#include "proto/base/check.h"

/* ---- parameters ---- */

void pg_fence_add(struct pg_fence_params *ps, Oid type, const void *data, size_t len)
{
    CHECK(ps->n < PG_PARAMS_MAX);
    ps->p[ps->n++] = (struct pg_param){.type = type, .data = data, .len = len};
}

void pg_fence_add_int(struct pg_fence_params *ps, Oid type, uint64_t v)
{
    CHECK(ps->n < PG_PARAMS_MAX);
    uint8_t *room = ps->numbers[ps->n];
    ps->p[ps->n++] =
        type == PG_OID_INT4 ? pg_param_int4(room, (uint32_t)v) : pg_param_8(PG_OID_INT8, room, v);
}

void pg_fence_send(
    struct pg_fence *f, struct pg_connection *c, enum schema_sql which, const struct pg_fence_params *ps)
{
    pg_connection_query(c, f->sql[which], ps == NULL ? NULL : ps->p, ps == NULL ? 0 : ps->n);
}

void pg_fence_send_text(struct pg_fence *f, struct pg_connection *c, enum schema_sql which, const char *text)
{
    struct pg_fence_params ps = {.n = 0};
    pg_fence_add(&ps, PG_OID_TEXT, text, strlen(text));
    pg_fence_send(f, c, which, &ps);
}

enum pg_fence_step pg_fence_fail(struct pg_fence *f, enum flush_error_class class, const char *format, ...)
{
    char text[sizeof f->error.message];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    flush_error_set(&f->error, class, NULL, "%s", text);
    return PG_FENCE_FAILED;
}

enum pg_fence_step pg_fence_fail_odd(struct pg_fence *f, const char *table)
{
    return pg_fence_fail(f, FLUSH_ERROR_HALT,
        "%s in schema %s is not as this version makes it: do not change these tables by hand", table,
        f->schema);
}

/* ---- what every conversation begins with: what server is this? ---- */

/* The result of SCHEMA_SERVER. Nothing is ever concluded from a server in recovery: it may be behind. */
enum pg_fence_step pg_fence_check_server(struct pg_fence *f, const PGresult *result, bool *table_exists)
{
    bool in_recovery, read_only;
    if (!pg_result_bool(result, 0, 0, &in_recovery) || !pg_result_bool(result, 0, 1, &read_only) ||
        !pg_result_bool(result, 0, 2, table_exists)) {
        return pg_fence_fail(f, FLUSH_ERROR_OUTAGE, "the server gave no usable answer about its state");
    }
    if (in_recovery) {
        return pg_fence_fail(f, FLUSH_ERROR_OUTAGE,
            "the server is a standby or still recovering: waiting for a primary; check the address if it "
            "stays so");
    }
    if (read_only) {
        return pg_fence_fail(
            f, FLUSH_ERROR_OUTAGE, "the server is read-only (default_transaction_read_only): waiting");
    }
    return PG_FENCE_GOES_ON;
}

/* ---- the rows of flush_state, as SCHEMA_SELECT_STATE gives them ---- */

struct state_row {
    int32_t group;
    uint8_t cluster_id[CLUSTER_ID_BYTES];
    int32_t group_count;
    int64_t version_base;
    int64_t epoch;
    int64_t last_batch;
};

static bool read_state_row(const PGresult *result, int row, struct state_row *out)
{
    return pg_result_int4(result, row, 0, &out->group) && pg_result_uuid(result, row, 1, out->cluster_id) &&
           pg_result_int4(result, row, 2, &out->group_count) &&
           pg_result_int8(result, row, 3, &out->version_base) &&
           pg_result_int8(result, row, 4, &out->epoch) && pg_result_int8(result, row, 5, &out->last_batch) &&
           out->version_base >= 0 && out->last_batch >= 0 && out->group_count > 0;
}

/* A version is base + (index << 16 | ordinal): all of log entries up to @index lie below base + (index + 1 <<
 * 16). INT64_MAX when that is too much for a bigint. */
static uint64_t version_above(const struct state_row *row, uint64_t entries_more)
{
    uint64_t index;
    if (__builtin_add_overflow((uint64_t)row->last_batch, entries_more, &index) ||
        index > (INT64_MAX >> 16) || (uint64_t)row->version_base + (index << 16) > INT64_MAX) {
        return INT64_MAX;
    }
    return (uint64_t)row->version_base + (index << 16);
}

bool pg_fence_same_cluster(const uint8_t a[CLUSTER_ID_BYTES], const uint8_t b[CLUSTER_ID_BYTES])
{
    return memcmp(a, b, CLUSTER_ID_BYTES) == 0;
}

/* One row of meta with our version? */
enum pg_fence_step pg_fence_check_meta(struct pg_fence *f, const PGresult *result)
{
    int32_t version;
    if (!pg_result_int4(result, 0, 0, &version)) {
        return pg_fence_fail_odd(f, "table meta");
    }
    if (version > 0 && version < SCHEMA_VERSION) {
        return pg_fence_fail(f, FLUSH_ERROR_HALT,
            "schema %s has version %" PRId32 ", this node writes version %d: stop the nodes of the older "
            "version, then run in the database what wbnode --config FILE --migration %" PRId32 " prints",
            f->schema, version, SCHEMA_VERSION, version);
    }
    if (version != SCHEMA_VERSION) {
        return pg_fence_fail(f, FLUSH_ERROR_HALT,
            "schema %s has version %" PRId32 ", this node writes version %d: run the version that fits",
            f->schema, version, SCHEMA_VERSION);
    }
    return PG_FENCE_GOES_ON;
}

/* ---- inspect ---- */

static enum pg_fence_step inspect_rows(struct pg_fence *f, const PGresult *rows)
{
    /* An identifier drawn before the found cluster wrote 2^32 more log entries is still above them. */
    const uint64_t room_entries = UINT64_C(1) << 32;
    struct flush_inspected *found = &f->inspected;
    for (int i = 0; i < PQntuples(rows); i++) {
        struct state_row row;
        if (!read_state_row(rows, i, &row)) {
            return pg_fence_fail_odd(f, "table flush_state");
        }
        enum flush_inspection is =
            pg_fence_same_cluster(row.cluster_id, f->id.cluster_id) ? FLUSH_DB_OURS : FLUSH_DB_FOREIGN;
        if (found->found == FLUSH_DB_EMPTY || (found->found == FLUSH_DB_OURS && is == FLUSH_DB_FOREIGN)) {
            found->found = is;
            memcpy(found->cluster_id, row.cluster_id, CLUSTER_ID_BYTES);
            found->group_count = (uint32_t)row.group_count;
        }
        uint64_t ceiling = version_above(&row, room_entries);
        if (ceiling > found->version_ceiling) {
            found->version_ceiling = ceiling;
        }
    }
    return PG_FENCE_DONE;
}

static enum pg_fence_step inspect_synced(struct pg_fence *f, struct pg_connection *c)
{
    if (f->pipeline == 1) {
        enum pg_fence_step step = pg_fence_check_meta(f, f->results[0]);
        return step == PG_FENCE_GOES_ON ? inspect_rows(f, f->results[1]) : step;
    }
    bool table_exists = false;
    enum pg_fence_step step = pg_fence_check_server(f, f->results[0], &table_exists);
    f->inspected = (struct flush_inspected){.found = FLUSH_DB_EMPTY};
    if (step == PG_FENCE_GOES_ON && !table_exists) {
        return PG_FENCE_DONE;
    }
    if (step == PG_FENCE_GOES_ON) {
        pg_fence_send(f, c, SCHEMA_SELECT_META, NULL);
        pg_fence_send(f, c, SCHEMA_SELECT_STATE, NULL);
        pg_connection_sync(c);
    }
    return step;
}

/* ---- claim ----
 * One transaction in three pipelines: lock out other claims and look; create what is missing and lock the
 * rows; rewrite them or not, COMMIT. */

static void claim_create(struct pg_fence *f, struct pg_connection *c)
{
    static const enum schema_sql statements[] = {SCHEMA_CREATE_ENTRY, SCHEMA_CREATE_EXPIRY_INDEX,
        SCHEMA_CREATE_STATE, SCHEMA_CREATE_QUARANTINE, SCHEMA_CREATE_QUARANTINE_INDEX,
        SCHEMA_CREATE_FRESHNESS, SCHEMA_CREATE_META, SCHEMA_CREATE_META_INDEX, SCHEMA_CREATE_ADVANCE,
        SCHEMA_CREATE_ISOLATE, SCHEMA_CREATE_CHANGED, SCHEMA_CREATE_WATCH, SCHEMA_COMMENTS};
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        pg_fence_send(f, c, statements[i], NULL);
    }
    struct pg_fence_params ps = {.n = 0};
    pg_fence_add_int(&ps, PG_OID_INT4, SCHEMA_VERSION);
    pg_fence_send(f, c, SCHEMA_INSERT_META, &ps);
}

/* The rows, locked: are they what the caller saw, or what we left there ourselves (a claim whose COMMIT was
 * not heard is simply made again)? *@rewrite, when they are to be replaced; *@epoch is then above the
 * replaced ones'. */
static enum pg_fence_step claim_check_rows(
    struct pg_fence *f, const PGresult *rows, bool *rewrite, uint64_t *epoch)
{
    char found_id[CLUSTER_ID_TEXT_BYTES], our_id[CLUSTER_ID_TEXT_BYTES];
    cluster_id_text(f->id.cluster_id, our_id);
    uint32_t ours = 0;
    int n = PQntuples(rows);
    *epoch = 0;
    for (int i = 0; i < n; i++) {
        struct state_row row;
        if (!read_state_row(rows, i, &row)) {
            return pg_fence_fail_odd(f, "table flush_state");
        }
        cluster_id_text(row.cluster_id, found_id);
        if ((uint64_t)row.epoch >= *epoch) {
            *epoch = (uint64_t)row.epoch + 1;
        }
        if (pg_fence_same_cluster(row.cluster_id, f->id.cluster_id)) {
            if ((uint32_t)row.group_count != f->id.group_count ||
                (uint64_t)row.version_base != f->id.version_base) {
                return pg_fence_fail(f, FLUSH_ERROR_HALT,
                    "the fence rows of our cluster %s name %" PRId32 " groups and version base %" PRId64
                    ", we have %" PRIu32 " and %" PRIu64
                    ": this database is of another cluster with the same id",
                    found_id, row.group_count, row.version_base, f->id.group_count, f->id.version_base);
            }
            ours++;
        } else if (f->expected.found != FLUSH_DB_FOREIGN) {
            return pg_fence_fail(f, FLUSH_ERROR_HALT,
                "the database belongs to cluster %s, not to ours (%s): use another database or schema, or "
                "start with"
                " --adopt to take it over and fence that cluster out",
                found_id, our_id);
        } else if (!pg_fence_same_cluster(row.cluster_id, f->expected.cluster_id)) {
            return pg_fence_fail(f, FLUSH_ERROR_HALT,
                "the database was to be adopted from another cluster, but now cluster %s holds it: stop that "
                "one, then"
                " start again with --adopt",
                found_id);
        } else if (f->id.version_base < version_above(&row, 1)) {
            return pg_fence_fail(f, FLUSH_ERROR_HALT,
                "cluster %s has written versions that are not below ours (base %" PRIu64
                ", its batch %" PRId64 "): stop it, empty our data folders and start again with --adopt",
                found_id, f->id.version_base, row.last_batch);
        }
    }
    *rewrite = ours == 0;
    if (ours == 0 && n == 0 && f->expected.found == FLUSH_DB_OURS) {
        return pg_fence_fail(f, FLUSH_ERROR_HALT,
            "this database has no fence rows of cluster %s any more: it was emptied, or is another one; "
            "point the node"
            " to the right one, or restore it",
            our_id);
    }
    if (ours != 0 && (ours != (uint32_t)n || ours != f->id.group_count)) {
        return pg_fence_fail(f, FLUSH_ERROR_HALT,
            "only %" PRIu32 " of %d fence rows are those of our cluster %s, which has %" PRIu32
            " groups: somebody changed table flush_state by hand; restore it",
            ours, n, our_id, f->id.group_count);
    }
    return PG_FENCE_GOES_ON;
}

static enum pg_fence_step claim_looked(struct pg_fence *f, struct pg_connection *c)
{
    /* BEGIN, the lock, the server; then whether the schema itself is there. */
    bool table_exists = false, schema_exists = !pg_result_is_null(f->results[3], 0, 0);
    enum pg_fence_step step = pg_fence_check_server(f, f->results[2], &table_exists);
    if (step != PG_FENCE_GOES_ON) {
        return step;
    }
    if (!table_exists && f->expected.found == FLUSH_DB_OURS) {
        char our_id[CLUSTER_ID_TEXT_BYTES];
        cluster_id_text(f->id.cluster_id, our_id);
        return pg_fence_fail(f, FLUSH_ERROR_HALT,
            "schema %s has no fence rows of cluster %s any more: it was dropped, or this is another "
            "database; point the"
            " node to the right one, or restore it",
            f->schema, our_id);
    }
    if (!table_exists && !schema_exists) {
        pg_fence_send(f, c, SCHEMA_CREATE_SCHEMA, NULL);
    }
    if (!table_exists) {
        claim_create(f, c);
    }
    pg_fence_send(f, c, SCHEMA_SELECT_META, NULL);
    pg_fence_send(f, c, SCHEMA_SELECT_STATE_LOCKED, NULL);
    pg_connection_sync(c);
    return PG_FENCE_GOES_ON;
}

static enum pg_fence_step claim_locked(struct pg_fence *f, struct pg_connection *c)
{
    bool rewrite = false;
    uint64_t epoch = 0;
    enum pg_fence_step step = pg_fence_check_meta(f, f->results[f->n - 2]);
    if (step == PG_FENCE_GOES_ON) {
        step = claim_check_rows(f, f->results[f->n - 1], &rewrite, &epoch);
    }
    if (step != PG_FENCE_GOES_ON) {
        return step;
    }
    if (rewrite) {
        struct pg_fence_params ps = {.n = 0};
        pg_fence_add(&ps, PG_OID_UUID, f->id.cluster_id, CLUSTER_ID_BYTES);
        pg_fence_add_int(&ps, PG_OID_INT4, f->id.group_count);
        pg_fence_add_int(&ps, PG_OID_INT8, f->id.version_base);
        pg_fence_add_int(&ps, PG_OID_INT8, epoch);
        pg_fence_send(f, c, SCHEMA_DELETE_STATE, NULL);
        pg_fence_send(f, c, SCHEMA_DELETE_QUARANTINE, NULL); /* it was the other cluster's */
        pg_fence_send(f, c, SCHEMA_INSERT_STATE, &ps);
    }
    pg_fence_send(f, c, SCHEMA_COMMIT, NULL);
    pg_connection_sync(c);
    return PG_FENCE_GOES_ON;
}

enum pg_fence_step pg_fence_check_commit(struct pg_fence *f)
{
    if (f->n == 0 || !pg_result_tag_is(f->results[f->n - 1], "COMMIT")) {
        return pg_fence_fail(f, FLUSH_ERROR_OUTAGE, "the server did not commit, and did not say why");
    }
    return PG_FENCE_DONE;
}

static enum pg_fence_step claim_synced(struct pg_fence *f, struct pg_connection *c)
{
    switch (f->pipeline) {
    case 0:
        return claim_looked(f, c);
    case 1:
        return claim_locked(f, c);
    default:
        return pg_fence_check_commit(f);
    }
}

/* ---- the conversation ---- */

void pg_fence_begin(struct pg_fence *f, struct pg_connection *c)
{
    f->pipeline = 0;
    switch (f->kind) {
    case PG_FENCE_INSPECT:
        pg_fence_send_text(f, c, SCHEMA_SERVER, f->state_table);
        pg_connection_sync(c);
        return;
    case PG_FENCE_CLAIM:
        pg_fence_send(f, c, SCHEMA_BEGIN, NULL);
        pg_fence_send_text(f, c, SCHEMA_CLAIM_LOCK, f->schema);
        pg_fence_send_text(f, c, SCHEMA_SERVER, f->state_table);
        pg_fence_send_text(f, c, SCHEMA_SCHEMA_EXISTS, f->schema);
        pg_connection_sync(c);
        return;
    case PG_FENCE_TAKE:
        pg_take_begin(f, c);
        return;
    case PG_FENCE_NONE:
        break;
    }
    CHECK(false);
}

static void clear_results(struct pg_fence *f)
{
    for (int i = 0; i < f->n; i++) {
        PQclear(f->results[i]);
    }
    f->n = 0;
}

/* An SQL error, with the words that the conversation knows. */
static enum pg_fence_step sql_error(struct pg_fence *f, const PGresult *result)
{
    pg_result_error(result, NULL, &f->error);
    if (f->kind == PG_FENCE_TAKE && pg_take_explain(f) == PG_FENCE_FAILED) {
        return PG_FENCE_FAILED;
    }
    if (f->error.class == FLUSH_ERROR_ROW) {
        f->error.class = FLUSH_ERROR_HALT; /* no row of a batch's is at fault here */
    }
    if (f->error.class == FLUSH_ERROR_HALT) {
        struct flush_error error = f->error;
        flush_error_set(&f->error, error.class, error.sqlstate,
            "%s (schema %s: the role needs its rights there, and the schema all of its tables)",
            error.message, f->schema);
    }
    return PG_FENCE_FAILED;
}

enum pg_fence_step pg_fence_result(struct pg_fence *f, PGresult *result)
{
    if (!pg_result_ok(result)) {
        enum pg_fence_step step = sql_error(f, result);
        PQclear(result);
        return step;
    }
    CHECK(f->n < PG_FENCE_RESULTS_MAX);
    f->results[f->n++] = result;
    return PG_FENCE_GOES_ON;
}

enum pg_fence_step pg_fence_synced(struct pg_fence *f, struct pg_connection *c)
{
    enum pg_fence_step step = f->kind == PG_FENCE_INSPECT ? inspect_synced(f, c)
                              : f->kind == PG_FENCE_CLAIM ? claim_synced(f, c)
                                                          : pg_take_synced(f, c);
    clear_results(f);
    f->pipeline++;
    return step;
}

void pg_fence_reset(struct pg_fence *f)
{
    clear_results(f);
    f->kind = PG_FENCE_NONE;
}
