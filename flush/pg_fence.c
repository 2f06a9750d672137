#include "flush/pg_fence.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "flush/flush_error.h"
#include "flush/pg_result.h"
#include "proto/base/check.h"

/* ---- parameters ---- */

struct params {
    struct pg_param p[PG_PARAMS_MAX];
    uint8_t numbers[PG_PARAMS_MAX][8];
    int n;
};

static void add(struct params *ps, Oid type, const void *data, size_t len)
{
    CHECK(ps->n < PG_PARAMS_MAX);
    ps->p[ps->n++] = (struct pg_param){.type = type, .data = data, .len = len};
}

static void add_int(struct params *ps, Oid type, uint64_t v)
{
    CHECK(ps->n < PG_PARAMS_MAX);
    uint8_t *room = ps->numbers[ps->n];
    ps->p[ps->n++] =
        type == PG_OID_INT4 ? pg_param_int4(room, (uint32_t)v) : pg_param_8(PG_OID_INT8, room, v);
}

static void send_sql(
    struct pg_fence *f, struct pg_connection *c, enum schema_sql which, const struct params *ps)
{
    pg_connection_query(c, f->sql[which], ps == NULL ? NULL : ps->p, ps == NULL ? 0 : ps->n);
}

static void send_with_text(
    struct pg_fence *f, struct pg_connection *c, enum schema_sql which, const char *text)
{
    struct params ps = {.n = 0};
    add(&ps, PG_OID_TEXT, text, strlen(text));
    send_sql(f, c, which, &ps);
}

static enum pg_fence_step fail(struct pg_fence *f, enum flush_error_class class, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static enum pg_fence_step fail(struct pg_fence *f, enum flush_error_class class, const char *format, ...)
{
    char text[sizeof f->error.message];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    flush_error_set(&f->error, class, NULL, "%s", text);
    return PG_FENCE_FAILED;
}

static enum pg_fence_step fail_odd(struct pg_fence *f, const char *table)
{
    return fail(f, FLUSH_ERROR_HALT,
        "%s in schema %s is not as this version makes it: do not change these tables by hand", table,
        f->schema);
}

/* ---- what every conversation begins with: what server is this? ---- */

/* The result of SCHEMA_SERVER. Nothing is ever concluded from a server in recovery: it may be behind. */
static enum pg_fence_step check_server(struct pg_fence *f, const PGresult *result, bool *table_exists)
{
    bool in_recovery, read_only;
    if (!pg_result_bool(result, 0, 0, &in_recovery) || !pg_result_bool(result, 0, 1, &read_only) ||
        !pg_result_bool(result, 0, 2, table_exists)) {
        return fail(f, FLUSH_ERROR_OUTAGE, "the server gave no usable answer about its state");
    }
    if (in_recovery) {
        return fail(f, FLUSH_ERROR_OUTAGE,
            "the server is a standby or still recovering: waiting for a primary; check the address if it "
            "stays so");
    }
    if (read_only) {
        return fail(
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

static bool same_cluster(const uint8_t a[CLUSTER_ID_BYTES], const uint8_t b[CLUSTER_ID_BYTES])
{
    return memcmp(a, b, CLUSTER_ID_BYTES) == 0;
}

/* One row of meta with our version? */
static enum pg_fence_step check_meta(struct pg_fence *f, const PGresult *result)
{
    int32_t version;
    if (!pg_result_int4(result, 0, 0, &version)) {
        return fail_odd(f, "table meta");
    }
    if (version == 1) {
        return fail(f, FLUSH_ERROR_HALT,
            "schema %s has version 1, this node writes version %d: stop the nodes of the older version, then "
            "run in the database: %s",
            f->schema, SCHEMA_VERSION, f->sql[SCHEMA_MIGRATE_1]);
    }
    if (version != SCHEMA_VERSION) {
        return fail(f, FLUSH_ERROR_HALT,
            "schema %s has version %" PRId32
            ", this node writes version %d: run the version that fits, or migrate",
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
            return fail_odd(f, "table flush_state");
        }
        enum flush_inspection is =
            same_cluster(row.cluster_id, f->id.cluster_id) ? FLUSH_DB_OURS : FLUSH_DB_FOREIGN;
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
        enum pg_fence_step step = check_meta(f, f->results[0]);
        return step == PG_FENCE_GOES_ON ? inspect_rows(f, f->results[1]) : step;
    }
    bool table_exists = false;
    enum pg_fence_step step = check_server(f, f->results[0], &table_exists);
    f->inspected = (struct flush_inspected){.found = FLUSH_DB_EMPTY};
    if (step == PG_FENCE_GOES_ON && !table_exists) {
        return PG_FENCE_DONE;
    }
    if (step == PG_FENCE_GOES_ON) {
        send_sql(f, c, SCHEMA_SELECT_META, NULL);
        send_sql(f, c, SCHEMA_SELECT_STATE, NULL);
        pg_connection_sync(c);
    }
    return step;
}

/* ---- claim ----
 * One transaction in three pipelines: lock out other claims and look; create what is missing and lock the
 * rows; rewrite them or not, COMMIT. */

static void claim_create(struct pg_fence *f, struct pg_connection *c)
{
    struct params ps = {.n = 0};
    add_int(&ps, PG_OID_INT4, SCHEMA_VERSION);
    send_sql(f, c, SCHEMA_CREATE_ENTRY, NULL);
    send_sql(f, c, SCHEMA_CREATE_EXPIRY_INDEX, NULL);
    send_sql(f, c, SCHEMA_CREATE_STATE, NULL);
    send_sql(f, c, SCHEMA_CREATE_META, NULL);
    send_sql(f, c, SCHEMA_CREATE_META_INDEX, NULL);
    send_sql(f, c, SCHEMA_CREATE_ADVANCE, NULL);
    send_sql(f, c, SCHEMA_INSERT_META, &ps);
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
            return fail_odd(f, "table flush_state");
        }
        cluster_id_text(row.cluster_id, found_id);
        if ((uint64_t)row.epoch >= *epoch) {
            *epoch = (uint64_t)row.epoch + 1;
        }
        if (same_cluster(row.cluster_id, f->id.cluster_id)) {
            if ((uint32_t)row.group_count != f->id.group_count ||
                (uint64_t)row.version_base != f->id.version_base) {
                return fail(f, FLUSH_ERROR_HALT,
                    "the fence rows of our cluster %s name %" PRId32 " groups and version base %" PRId64
                    ", we have %" PRIu32 " and %" PRIu64
                    ": this database is of another cluster with the same id",
                    found_id, row.group_count, row.version_base, f->id.group_count, f->id.version_base);
            }
            ours++;
        } else if (f->expected.found != FLUSH_DB_FOREIGN) {
            return fail(f, FLUSH_ERROR_HALT,
                "the database belongs to cluster %s, not to ours (%s): use another database or schema, or "
                "start with"
                " --adopt to take it over and fence that cluster out",
                found_id, our_id);
        } else if (!same_cluster(row.cluster_id, f->expected.cluster_id)) {
            return fail(f, FLUSH_ERROR_HALT,
                "the database was to be adopted from another cluster, but now cluster %s holds it: stop that "
                "one, then"
                " start again with --adopt",
                found_id);
        } else if (f->id.version_base < version_above(&row, 1)) {
            return fail(f, FLUSH_ERROR_HALT,
                "cluster %s has written versions that are not below ours (base %" PRIu64
                ", its batch %" PRId64 "): stop it, empty our data folders and start again with --adopt",
                found_id, f->id.version_base, row.last_batch);
        }
    }
    *rewrite = ours == 0;
    if (ours == 0 && n == 0 && f->expected.found == FLUSH_DB_OURS) {
        return fail(f, FLUSH_ERROR_HALT,
            "this database has no fence rows of cluster %s any more: it was emptied, or is another one; "
            "point the node"
            " to the right one, or restore it",
            our_id);
    }
    if (ours != 0 && (ours != (uint32_t)n || ours != f->id.group_count)) {
        return fail(f, FLUSH_ERROR_HALT,
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
    enum pg_fence_step step = check_server(f, f->results[2], &table_exists);
    if (step != PG_FENCE_GOES_ON) {
        return step;
    }
    if (!table_exists && f->expected.found == FLUSH_DB_OURS) {
        char our_id[CLUSTER_ID_TEXT_BYTES];
        cluster_id_text(f->id.cluster_id, our_id);
        return fail(f, FLUSH_ERROR_HALT,
            "schema %s has no fence rows of cluster %s any more: it was dropped, or this is another "
            "database; point the"
            " node to the right one, or restore it",
            f->schema, our_id);
    }
    if (!table_exists && !schema_exists) {
        send_sql(f, c, SCHEMA_CREATE_SCHEMA, NULL);
    }
    if (!table_exists) {
        claim_create(f, c);
    }
    send_sql(f, c, SCHEMA_SELECT_META, NULL);
    send_sql(f, c, SCHEMA_SELECT_STATE_LOCKED, NULL);
    pg_connection_sync(c);
    return PG_FENCE_GOES_ON;
}

static enum pg_fence_step claim_locked(struct pg_fence *f, struct pg_connection *c)
{
    bool rewrite = false;
    uint64_t epoch = 0;
    enum pg_fence_step step = check_meta(f, f->results[f->n - 2]);
    if (step == PG_FENCE_GOES_ON) {
        step = claim_check_rows(f, f->results[f->n - 1], &rewrite, &epoch);
    }
    if (step != PG_FENCE_GOES_ON) {
        return step;
    }
    if (rewrite) {
        struct params ps = {.n = 0};
        add(&ps, PG_OID_UUID, f->id.cluster_id, CLUSTER_ID_BYTES);
        add_int(&ps, PG_OID_INT4, f->id.group_count);
        add_int(&ps, PG_OID_INT8, f->id.version_base);
        add_int(&ps, PG_OID_INT8, epoch);
        send_sql(f, c, SCHEMA_DELETE_STATE, NULL);
        send_sql(f, c, SCHEMA_INSERT_STATE, &ps);
    }
    send_sql(f, c, SCHEMA_COMMIT, NULL);
    pg_connection_sync(c);
    return PG_FENCE_GOES_ON;
}

static enum pg_fence_step check_commit(struct pg_fence *f)
{
    if (f->n == 0 || !pg_result_tag_is(f->results[f->n - 1], "COMMIT")) {
        return fail(f, FLUSH_ERROR_OUTAGE, "the server did not commit, and did not say why");
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
        return check_commit(f);
    }
}

/* ---- take ---- one pipeline: BEGIN, server, UPDATE, what is there, the batches' statements, COMMIT. */

enum { TAKE_SERVER = 1, TAKE_UPDATE, TAKE_LOOK, TAKE_PREPARES };

static void take_begin(struct pg_fence *f, struct pg_connection *c)
{
    struct params take = {.n = 0}, look = {.n = 0};
    add_int(&take, PG_OID_INT4, f->id.group);
    add(&take, PG_OID_UUID, f->id.cluster_id, CLUSTER_ID_BYTES);
    add_int(&take, PG_OID_INT4, f->id.group_count);
    add_int(&take, PG_OID_INT8, f->term);
    add_int(&take, PG_OID_INT4, SCHEMA_VERSION);
    add_int(&look, PG_OID_INT4, f->id.group);

    send_sql(f, c, SCHEMA_BEGIN, NULL);
    send_with_text(f, c, SCHEMA_SERVER, f->state_table);
    send_sql(f, c, SCHEMA_TAKE, &take);
    send_sql(f, c, SCHEMA_TAKE_LOOK, &look);
    /* Inside the transaction: a missing table or function, or a type that is not ours, undoes the take. */
    static const Oid advance_types[] = {
        PG_OID_INT4, PG_OID_UUID, PG_OID_INT4, PG_OID_INT8, PG_OID_INT8, PG_OID_INT8};
    static const Oid upsert_types[] = {
        PG_OID_BYTEA_ARRAY, PG_OID_BYTEA_ARRAY, PG_OID_INT8_ARRAY, PG_OID_TIMESTAMPTZ_ARRAY};
    static const Oid delete_types[] = {PG_OID_BYTEA_ARRAY};
    pg_connection_prepare(c, PG_STATEMENT_BEGIN, f->sql[SCHEMA_BEGIN], NULL, 0);
    pg_connection_prepare(c, PG_STATEMENT_COMMIT, f->sql[SCHEMA_COMMIT], NULL, 0);
    pg_connection_prepare(c, PG_STATEMENT_ADVANCE, f->sql[SCHEMA_ADVANCE], advance_types, 6);
    pg_connection_prepare(c, PG_STATEMENT_UPSERT, f->sql[SCHEMA_UPSERT], upsert_types, 4);
    pg_connection_prepare(c, PG_STATEMENT_DELETE, f->sql[SCHEMA_DELETE], delete_types, 1);
    send_sql(f, c, SCHEMA_COMMIT, NULL);
    pg_connection_sync(c);
}

static enum pg_fence_step take_missing(struct pg_fence *f)
{
    char our_id[CLUSTER_ID_TEXT_BYTES];
    cluster_id_text(f->id.cluster_id, our_id);
    return fail(f, FLUSH_ERROR_HALT,
        "this database has no fence rows of cluster %s in schema %s; it is not the database that this "
        "cluster filled,"
        " or it was emptied: point the node to the right one, or restore it",
        our_id, f->schema);
}

/* The UPDATE has found no row: why? */
static enum pg_fence_step take_refused(struct pg_fence *f, const PGresult *look)
{
    uint8_t cluster_id[CLUSTER_ID_BYTES];
    int32_t group_count;
    int64_t term;
    enum pg_fence_step step = check_meta(f, look);
    if (step != PG_FENCE_GOES_ON) {
        return step;
    }
    if (pg_result_is_null(look, 0, 1)) {
        return take_missing(f);
    }
    if (!pg_result_uuid(look, 0, 1, cluster_id) || !pg_result_int4(look, 0, 2, &group_count) ||
        !pg_result_int8(look, 0, 3, &term)) {
        return fail_odd(f, "table flush_state");
    }
    char found_id[CLUSTER_ID_TEXT_BYTES], our_id[CLUSTER_ID_TEXT_BYTES];
    cluster_id_text(cluster_id, found_id);
    cluster_id_text(f->id.cluster_id, our_id);
    if (!same_cluster(cluster_id, f->id.cluster_id)) {
        return fail(f, FLUSH_ERROR_HALT,
            "the database belongs to cluster %s now, which has adopted it from ours (%s): stop this cluster, "
            "or give it"
            " another database",
            found_id, our_id);
    }
    if ((uint32_t)group_count != f->id.group_count) {
        return fail(f, FLUSH_ERROR_HALT,
            "the fence rows of our cluster %s name %" PRId32 " groups, we have %" PRIu32
            ": somebody changed table flush_state by hand; restore it",
            found_id, group_count, f->id.group_count);
    }
    if ((uint64_t)term > f->term) {
        return fail(f, FLUSH_ERROR_FENCED,
            "a leader of term %" PRId64 " has taken the fence of group %" PRIu32 ", ours is term %" PRIu64,
            term, f->id.group, f->term);
    }
    return fail(f, FLUSH_ERROR_TRANSIENT,
        "the fence row of group %" PRIu32 " changed while it was being taken", f->id.group);
}

static enum pg_fence_step take_synced(struct pg_fence *f)
{
    enum pg_fence_step step = check_commit(f);
    if (step != PG_FENCE_DONE) {
        return step;
    }
    const PGresult *taken = f->results[TAKE_UPDATE];
    int64_t epoch, last_batch;
    if (PQntuples(taken) == 0) {
        return take_refused(f, f->results[TAKE_LOOK]);
    }
    if (PQntuples(taken) != 1 || !pg_result_int8(taken, 0, 0, &epoch) ||
        !pg_result_int8(taken, 0, 1, &last_batch) || epoch < 0 || last_batch < 0) {
        return fail_odd(f, "table flush_state");
    }
    f->row = (struct fence_row){.epoch = (uint64_t)epoch, .last_batch = (uint64_t)last_batch};
    return PG_FENCE_DONE;
}

/* ---- the conversation ---- */

void pg_fence_begin(struct pg_fence *f, struct pg_connection *c)
{
    f->pipeline = 0;
    switch (f->kind) {
    case PG_FENCE_INSPECT:
        send_with_text(f, c, SCHEMA_SERVER, f->state_table);
        pg_connection_sync(c);
        return;
    case PG_FENCE_CLAIM:
        send_sql(f, c, SCHEMA_BEGIN, NULL);
        send_with_text(f, c, SCHEMA_CLAIM_LOCK, f->schema);
        send_with_text(f, c, SCHEMA_SERVER, f->state_table);
        send_with_text(f, c, SCHEMA_SCHEMA_EXISTS, f->schema);
        pg_connection_sync(c);
        return;
    case PG_FENCE_TAKE:
        take_begin(f, c);
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
    bool table_exists = false;
    if (f->kind == PG_FENCE_TAKE && f->n > TAKE_SERVER) {
        /* What the server said of itself explains more than what it then refused. */
        struct flush_error error = f->error;
        if (check_server(f, f->results[TAKE_SERVER], &table_exists) == PG_FENCE_FAILED) {
            return PG_FENCE_FAILED;
        }
        if (!table_exists) {
            return take_missing(f);
        }
        f->error = error;
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
                                                          : take_synced(f);
    clear_results(f);
    f->pipeline++;
    return step;
}

void pg_fence_reset(struct pg_fence *f)
{
    clear_results(f);
    f->kind = PG_FENCE_NONE;
}
