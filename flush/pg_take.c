/* Take: term and epoch of the group's fence row become ours.
 * One pipeline: BEGIN, server, mark, UPDATE, what is there, the batches' statements, COMMIT. Before it, where
 * the row was found locked, one that ends those who hold it. */
#include <inttypes.h>

#include "flush/flush_error.h"
#include "flush/pg_fence_internal.h"
#include "flush/pg_result.h"
#include "flush/pg_time.h"
#include "proto/base/check.h"

enum { TAKE_SERVER = 1, TAKE_MARK, TAKE_UPDATE, TAKE_LOOK, TAKE_PREPARES };

uint64_t pg_fence_lock(const char *schema, const struct flush_identity *id)
{
    uint64_t lock = bytes_hash(bytes_from_text(schema), id->group);
    return bytes_hash(bytes_of(id->cluster_id, CLUSTER_ID_BYTES), lock);
}

static bool ends_holders(const struct pg_fence *f)
{
    return f->end_holders && f->pipeline == 0;
}

static void end_holders(struct pg_fence *f, struct pg_connection *c)
{
    struct pg_fence_params ps = {.n = 0};
    pg_fence_add_int(&ps, PG_OID_INT4, f->id.group);
    pg_fence_add(&ps, PG_OID_UUID, f->id.cluster_id, CLUSTER_ID_BYTES);
    pg_fence_add_int(&ps, PG_OID_INT4, f->id.group_count);
    pg_fence_add_int(&ps, PG_OID_INT8, f->term);
    pg_fence_add_int(&ps, PG_OID_INT8, pg_fence_lock(f->schema, &f->id));
    pg_fence_send(f, c, SCHEMA_END_HOLDERS, &ps);
    pg_connection_sync(c);
}

static void holders_ended(struct pg_fence *f, const PGresult *result)
{
    for (int i = 0; i < PQntuples(result) && f->n_ended < PG_FENCE_ENDED_MAX; i++) {
        int32_t pid;
        if (pg_result_int4(result, i, 0, &pid)) {
            f->ended[f->n_ended++] = pid;
        }
    }
}

/* Inside the transaction: a missing table or function, or a type that is not ours, undoes the take. */
static void prepare_all(struct pg_fence *f, struct pg_connection *c)
{
    static const struct {
        const char *name;
        enum schema_sql sql;
        Oid types[PG_PARAMS_MAX];
        int n;
    } statements[] = {
        {PG_STATEMENT_BEGIN, SCHEMA_BEGIN, {0}, 0},
        {PG_STATEMENT_COMMIT, SCHEMA_COMMIT, {0}, 0},
        {PG_STATEMENT_ADVANCE, SCHEMA_ADVANCE,
            {PG_OID_INT4, PG_OID_UUID, PG_OID_INT4, PG_OID_INT8, PG_OID_INT8, PG_OID_INT8, PG_OID_INT8,
                PG_OID_TIMESTAMPTZ, PG_OID_INT8, PG_OID_INT8, PG_OID_BOOL},
            11},
        {PG_STATEMENT_UPSERT, SCHEMA_UPSERT,
            {PG_OID_BYTEA_ARRAY, PG_OID_BYTEA_ARRAY, PG_OID_INT8_ARRAY, PG_OID_TIMESTAMPTZ_ARRAY}, 4},
        {PG_STATEMENT_UPSERT_HASHES, SCHEMA_UPSERT_HASHES,
            {PG_OID_BYTEA_ARRAY, PG_OID_BYTEA_ARRAY, PG_OID_INT8_ARRAY, PG_OID_TIMESTAMPTZ_ARRAY,
                PG_OID_BYTEA_ARRAY},
            5},
        {PG_STATEMENT_DELETE, SCHEMA_DELETE, {PG_OID_BYTEA_ARRAY}, 1},
        {PG_STATEMENT_ISOLATE, SCHEMA_ISOLATE,
            {PG_OID_BYTEA_ARRAY, PG_OID_BYTEA_ARRAY, PG_OID_INT8_ARRAY, PG_OID_TIMESTAMPTZ_ARRAY,
                PG_OID_BYTEA_ARRAY, PG_OID_BYTEA_ARRAY, PG_OID_TEXT},
            7},
        {PG_STATEMENT_MIRROR_DELETE, SCHEMA_MIRROR_DELETE, {PG_OID_INT4, PG_OID_BYTEA_ARRAY}, 2},
        {PG_STATEMENT_MIRROR, SCHEMA_MIRROR,
            {PG_OID_INT4, PG_OID_BYTEA_ARRAY, PG_OID_BOOL_ARRAY, PG_OID_BYTEA_ARRAY, PG_OID_INT4_ARRAY,
                PG_OID_INT8_ARRAY, PG_OID_TEXT_ARRAY, PG_OID_TEXT_ARRAY, PG_OID_INT4_ARRAY,
                PG_OID_TIMESTAMPTZ_ARRAY, PG_OID_TIMESTAMPTZ_ARRAY, PG_OID_BYTEA_ARRAY},
            12},
    };
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        pg_connection_prepare(
            c, statements[i].name, f->sql[statements[i].sql], statements[i].types, statements[i].n);
    }
}

static void take(struct pg_fence *f, struct pg_connection *c)
{
    struct pg_fence_params mark = {.n = 0}, update = {.n = 0}, look = {.n = 0};
    pg_fence_add_int(&mark, PG_OID_INT8, pg_fence_lock(f->schema, &f->id));
    pg_fence_add_int(&update, PG_OID_INT4, f->id.group);
    pg_fence_add(&update, PG_OID_UUID, f->id.cluster_id, CLUSTER_ID_BYTES);
    pg_fence_add_int(&update, PG_OID_INT4, f->id.group_count);
    pg_fence_add_int(&update, PG_OID_INT8, f->term);
    pg_fence_add_int(&update, PG_OID_INT4, SCHEMA_VERSION);
    pg_fence_add_int(&look, PG_OID_INT4, f->id.group);

    pg_fence_send(f, c, SCHEMA_BEGIN, NULL);
    pg_fence_send_text(f, c, SCHEMA_SERVER, f->state_table);
    pg_fence_send(f, c, SCHEMA_TAKE_MARK, &mark);
    pg_fence_send(f, c, SCHEMA_TAKE, &update);
    pg_fence_send(f, c, SCHEMA_TAKE_LOOK, &look);
    prepare_all(f, c);
    pg_fence_send(f, c, SCHEMA_COMMIT, NULL);
    pg_connection_sync(c);
}

static enum pg_fence_step take_missing(struct pg_fence *f)
{
    char our_id[CLUSTER_ID_TEXT_BYTES];
    cluster_id_text(f->id.cluster_id, our_id);
    return pg_fence_fail(f, FLUSH_ERROR_HALT,
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
    enum pg_fence_step step = pg_fence_check_meta(f, look);
    if (step != PG_FENCE_GOES_ON) {
        return step;
    }
    if (pg_result_is_null(look, 0, 1)) {
        return take_missing(f);
    }
    if (!pg_result_uuid(look, 0, 1, cluster_id) || !pg_result_int4(look, 0, 2, &group_count) ||
        !pg_result_int8(look, 0, 3, &term)) {
        return pg_fence_fail_odd(f, "table flush_state");
    }
    char found_id[CLUSTER_ID_TEXT_BYTES], our_id[CLUSTER_ID_TEXT_BYTES];
    cluster_id_text(cluster_id, found_id);
    cluster_id_text(f->id.cluster_id, our_id);
    if (!pg_fence_same_cluster(cluster_id, f->id.cluster_id)) {
        return pg_fence_fail(f, FLUSH_ERROR_HALT,
            "the database belongs to cluster %s now, which has adopted it from ours (%s): stop this cluster, "
            "or give it"
            " another database",
            found_id, our_id);
    }
    if ((uint32_t)group_count != f->id.group_count) {
        return pg_fence_fail(f, FLUSH_ERROR_HALT,
            "the fence rows of our cluster %s name %" PRId32 " groups, we have %" PRIu32
            ": somebody changed table flush_state by hand; restore it",
            found_id, group_count, f->id.group_count);
    }
    if ((uint64_t)term > f->term) {
        return pg_fence_fail(f, FLUSH_ERROR_FENCED,
            "a leader of term %" PRId64 " has taken the fence of group %" PRIu32 ", ours is term %" PRIu64,
            term, f->id.group, f->term);
    }
    return pg_fence_fail(f, FLUSH_ERROR_TRANSIENT,
        "the fence row of group %" PRIu32 " changed while it was being taken", f->id.group);
}

void pg_take_begin(struct pg_fence *f, struct pg_connection *c)
{
    f->n_ended = 0;
    if (f->end_holders) {
        end_holders(f, c);
    } else {
        take(f, c);
    }
}

enum pg_fence_step pg_take_synced(struct pg_fence *f, struct pg_connection *c)
{
    if (ends_holders(f)) {
        holders_ended(f, f->results[0]);
        take(f, c);
        return PG_FENCE_GOES_ON;
    }
    enum pg_fence_step step = pg_fence_check_commit(f);
    if (step != PG_FENCE_DONE) {
        return step;
    }
    const PGresult *taken = f->results[TAKE_UPDATE];
    int64_t epoch, last_batch, clock;
    if (PQntuples(taken) == 0) {
        return take_refused(f, f->results[TAKE_LOOK]);
    }
    if (PQntuples(taken) != 1 || !pg_result_int8(taken, 0, 0, &epoch) ||
        !pg_result_int8(taken, 0, 1, &last_batch) || !pg_result_int8(taken, 0, 2, &clock) || epoch < 0 ||
        last_batch < 0) {
        return pg_fence_fail_odd(f, "table flush_state");
    }
    f->row = (struct fence_row){
        .epoch = (uint64_t)epoch, .last_batch = (uint64_t)last_batch, .clock_us = pg_time_to_unix_us(clock)};
    return PG_FENCE_DONE;
}

enum pg_fence_step pg_take_explain(struct pg_fence *f)
{
    if (ends_holders(f) || f->n <= TAKE_SERVER) {
        return PG_FENCE_GOES_ON;
    }
    bool table_exists = false;
    struct flush_error error = f->error;
    if (pg_fence_check_server(f, f->results[TAKE_SERVER], &table_exists) == PG_FENCE_FAILED) {
        return PG_FENCE_FAILED;
    }
    if (!table_exists) {
        return take_missing(f);
    }
    if (f->n > TAKE_LOOK && pg_fence_check_meta(f, f->results[TAKE_LOOK]) == PG_FENCE_FAILED) {
        return PG_FENCE_FAILED;
    }
    f->error = error;
    return PG_FENCE_GOES_ON;
}
