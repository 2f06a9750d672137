#include "flush/pg_flusher.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flush/flush_batch.h"
#include "flush/flush_error.h"
#include "flush/pg_fence.h"
#include "flush/pg_result.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/base/list.h"

/* A batch under way: its transaction's results come in the order of its statements. */
struct sent_batch {
    struct list link; /* in pg_flusher.sent */
    uint64_t id;
    int statements; /* from BEGIN to COMMIT */
    int answered;
};

struct pg_flusher {
    struct pg_connection_config config; /* of its connections; a copy */
    const struct flusher_events *events;
    void *data;
    uint32_t group;
    char *schema; /* quoted */
    char *state_table;
    char *sql[SCHEMA_SQL_COUNT];

    struct pg_connection *conn; /* NULL when there is none */
    bool ready;                 /* conn is */
    bool taken;                 /* conn holds the fence, and the batches' statements are prepared on it */
    struct pg_fence fence;      /* the conversation under way, if its kind is not NONE */
    struct list sent;           /* oldest first */
    uint64_t epoch;             /* while taken */
    struct flush_identity id;   /* likewise */
    bool said_down;             /* the log has it */

    uv_timer_t anchor;      /* never started: it keeps close asynchronous when there is no connection */
    unsigned closing_parts; /* anchor and connections that are not gone yet */
    bool closing;
    void (*close_cb)(void *data);
    void *close_data;
};

/* ---- the end of things ---- */

static void part_gone(struct pg_flusher *f)
{
    f->closing_parts--;
    if (!f->closing || f->closing_parts > 0) {
        return;
    }
    void (*cb)(void *data) = f->close_cb;
    void *data = f->close_data;
    for (int i = 0; i < SCHEMA_SQL_COUNT; i++) {
        free(f->sql[i]);
    }
    free(f->state_table);
    free(f->schema);
    pg_connection_config_free(&f->config);
    free(f);
    if (cb != NULL) {
        cb(data);
    }
}

static void on_connection_closed(void *data)
{
    part_gone(data);
}

static void on_anchor_closed(uv_handle_t *handle)
{
    part_gone(handle->data);
}

/* Back to the beginning: no connection, nothing pending, nobody told. */
static void reset(struct pg_flusher *f)
{
    if (f->conn != NULL) {
        struct pg_connection *conn = f->conn;
        f->conn = NULL;
        pg_connection_close(conn);
    }
    f->ready = false;
    f->taken = false;
    pg_fence_reset(&f->fence);
    for (struct list *node; (node = list_pop_front(&f->sent)) != NULL;) {
        free(list_entry(node, struct sent_batch, link));
    }
}

/* @error is copied first: it may live in what is reset. */
static void fail(struct pg_flusher *f, const struct flush_error *error)
{
    struct flush_error copy = *error;
    reset(f);
    if (!f->said_down) {
        f->said_down = true;
        log_warn(f->config.logger, "flush-connection-failed",
            "group=%" PRIu32 " class=%s sqlstate=%s message=\"%s\"", f->group,
            flush_error_class_name(copy.class), copy.sqlstate, copy.message);
    }
    f->events->failed(f->data, &copy);
}

/* ---- what the connection tells ---- */

static void on_ready(void *data)
{
    struct pg_flusher *f = data;
    f->ready = true;
    if (f->fence.kind != PG_FENCE_NONE) {
        pg_fence_begin(&f->fence, f->conn);
    }
}

static void on_lost(void *data, const struct flush_error *error)
{
    struct pg_flusher *f = data;
    if (f->fence.kind == PG_FENCE_NONE && list_empty(&f->sent) && !f->taken) {
        reset(f); /* nobody waits for it */
        return;
    }
    fail(f, error);
}

/* Success is the tag COMMIT of the COMMIT: one that ends a failed transaction says ROLLBACK. */
static void batch_result(struct pg_flusher *f, PGresult *result)
{
    CHECK(!list_empty(&f->sent)); /* pg_connection gives each statement one result */
    struct flush_error error;
    struct sent_batch *batch = list_entry(f->sent.next, struct sent_batch, link);
    batch->answered++;
    bool last = batch->answered == batch->statements;
    bool good = pg_result_ok(result) && (!last || pg_result_tag_is(result, "COMMIT"));
    if (!good && pg_result_ok(result)) {
        flush_error_set(&error, FLUSH_ERROR_OUTAGE, NULL,
            "batch %" PRIu64 ": the server answered COMMIT with %s", batch->id, PQcmdStatus(result));
    } else if (!good) {
        char what[48];
        snprintf(what, sizeof what, "batch %" PRIu64, batch->id);
        pg_result_error(result, what, &error);
    }
    PQclear(result);
    if (!good) {
        fail(f, &error);
    } else if (last) {
        uint64_t id = batch->id;
        list_remove(&batch->link);
        free(batch);
        f->events->committed(f->data, id);
    }
}

static void fence_step(struct pg_flusher *f, enum pg_fence_step step)
{
    if (step == PG_FENCE_GOES_ON) {
        return;
    }
    if (step == PG_FENCE_FAILED) {
        fail(f, &f->fence.error);
        return;
    }
    f->said_down = false;
    struct pg_fence done = f->fence; /* the event may begin another conversation */
    pg_fence_reset(&f->fence);
    switch (done.kind) {
    case PG_FENCE_INSPECT:
        f->events->inspected(f->data, &done.inspected);
        return;
    case PG_FENCE_CLAIM:
        f->events->claimed(f->data);
        return;
    case PG_FENCE_TAKE:
        f->taken = true;
        f->epoch = done.row.epoch;
        f->id = done.id;
        log_info(f->config.logger, "fence-taken",
            "group=%" PRIu32 " term=%" PRIu64 " epoch=%" PRIu64 " last_batch=%" PRIu64 " backend=%d",
            f->group, done.term, done.row.epoch, done.row.last_batch, pg_connection_backend_pid(f->conn));
        f->events->taken(f->data, &done.row);
        return;
    case PG_FENCE_NONE:
        break;
    }
    CHECK(false);
}

static void on_result(void *data, PGresult *result)
{
    struct pg_flusher *f = data;
    if (f->fence.kind != PG_FENCE_NONE) {
        fence_step(f, pg_fence_result(&f->fence, result));
    } else {
        batch_result(f, result);
    }
}

static void on_synced(void *data)
{
    struct pg_flusher *f = data;
    if (f->fence.kind != PG_FENCE_NONE) {
        fence_step(f, pg_fence_synced(&f->fence, f->conn));
    }
}

static const struct pg_connection_events connection_events = {
    .ready = on_ready,
    .result = on_result,
    .synced = on_synced,
    .lost = on_lost,
    .closed = on_connection_closed,
};

/* ---- flusher.h ---- */

static void converse(struct pg_flusher *f, enum pg_fence_kind kind)
{
    CHECK(!f->closing && f->fence.kind == PG_FENCE_NONE && list_empty(&f->sent));
    if (f->taken) {
        reset(f); /* its statements are prepared already; and a new office wants a new session */
    }
    f->fence.kind = kind;
    if (f->conn == NULL) {
        f->closing_parts++;
        f->conn = pg_connection_open(&f->config, &connection_events, f);
    } else if (f->ready) {
        pg_fence_begin(&f->fence, f->conn);
    }
}

static void flusher_inspect(void *flusher, const uint8_t cluster_id[CLUSTER_ID_BYTES])
{
    struct pg_flusher *f = flusher;
    memcpy(f->fence.id.cluster_id, cluster_id, CLUSTER_ID_BYTES);
    converse(f, PG_FENCE_INSPECT);
}

static void flusher_claim(
    void *flusher, const struct flush_identity *id, const struct flush_inspected *expected)
{
    struct pg_flusher *f = flusher;
    CHECK(id->group_count > 0 && id->group_count <= LIMIT_GROUPS && id->version_base <= INT64_MAX);
    f->fence.id = *id;
    f->fence.expected = *expected;
    converse(f, PG_FENCE_CLAIM);
}

static void flusher_take(void *flusher, const struct flush_identity *id, uint64_t term)
{
    struct pg_flusher *f = flusher;
    CHECK(id->group == f->group && term <= INT64_MAX);
    f->fence.id = *id;
    f->fence.term = term;
    converse(f, PG_FENCE_TAKE);
}

/* libpq copies the parameters, so that the batch can go at once. */
static int send_statements(struct pg_flusher *f, const struct flush_batch *b)
{
    uint8_t numbers[5][8];
    const struct pg_param advance[] = {
        pg_param_int4(numbers[0], f->id.group),
        pg_param_bytes(PG_OID_UUID, bytes_of(f->id.cluster_id, CLUSTER_ID_BYTES)),
        pg_param_int4(numbers[1], f->id.group_count),
        pg_param_8(PG_OID_INT8, numbers[2], f->epoch),
        pg_param_8(PG_OID_INT8, numbers[3], b->predecessor),
        pg_param_8(PG_OID_INT8, numbers[4], b->id),
    };
    int n = 3;
    pg_connection_execute(f->conn, PG_STATEMENT_BEGIN, NULL, 0);
    pg_connection_execute(f->conn, PG_STATEMENT_ADVANCE, advance, 6);
    if (b->upserts > 0) {
        const struct pg_param rows[] = {
            pg_param_bytes(PG_OID_BYTEA_ARRAY, buf_bytes(&b->keys)),
            pg_param_bytes(PG_OID_BYTEA_ARRAY, buf_bytes(&b->values)),
            pg_param_bytes(PG_OID_INT8_ARRAY, buf_bytes(&b->versions)),
            pg_param_bytes(PG_OID_TIMESTAMPTZ_ARRAY, buf_bytes(&b->expires)),
        };
        pg_connection_execute(f->conn, PG_STATEMENT_UPSERT, rows, 4);
        n++;
    }
    if (b->deletes > 0) {
        const struct pg_param keys = pg_param_bytes(PG_OID_BYTEA_ARRAY, buf_bytes(&b->deleted));
        pg_connection_execute(f->conn, PG_STATEMENT_DELETE, &keys, 1);
        n++;
    }
    pg_connection_execute(f->conn, PG_STATEMENT_COMMIT, NULL, 0);
    pg_connection_sync(f->conn);
    return n;
}

static void flusher_send(void *flusher, struct flush_batch *batch)
{
    struct pg_flusher *f = flusher;
    CHECK(f->taken && batch->id > batch->predecessor && batch->id <= INT64_MAX);
    struct sent_batch *sent = xmalloc(sizeof *sent);
    sent->id = batch->id;
    sent->answered = 0;
    list_push_back(&f->sent, &sent->link);
    sent->statements = send_statements(f, batch);
    flush_batch_deinit(batch);
    flush_batch_init(batch);
}

static void flusher_disconnect(void *flusher)
{
    reset(flusher);
}

const struct flusher_ops pg_flusher_ops = {
    .inspect = flusher_inspect,
    .claim = flusher_claim,
    .take = flusher_take,
    .send = flusher_send,
    .disconnect = flusher_disconnect,
};

/* ---- life ---- */

struct pg_flusher *pg_flusher_create(
    uv_loop_t *loop, const struct pg_flusher_config *config, const struct flusher_events *events, void *data)
{
    const char *schema = config->schema == NULL ? SCHEMA_DEFAULT_NAME : config->schema;
    if (!schema_name_valid(schema)) {
        return NULL;
    }
    struct pg_flusher *f = xcalloc(1, sizeof *f);
    char name[64];
    snprintf(name, sizeof name, "wbcache node=%" PRIu64 " group=%" PRIu32, config->node_id, config->group);
    f->config = pg_connection_config_copy(&(struct pg_connection_config){.loop = loop,
        .dsn = config->dsn,
        .application_name = name,
        .limits = config->limits,
        .logger = config->logger});
    f->events = events;
    f->data = data;
    f->group = config->group;
    f->schema = schema_quoted(schema, NULL);
    f->state_table = schema_quoted(schema, "flush_state");
    for (int i = 0; i < SCHEMA_SQL_COUNT; i++) {
        f->sql[i] = schema_sql((enum schema_sql)i, schema);
    }
    f->fence.sql = (const char *const *)f->sql;
    f->fence.schema = f->schema;
    f->fence.state_table = f->state_table;
    list_init(&f->sent);
    uv_timer_init(loop, &f->anchor);
    f->anchor.data = f;
    f->closing_parts = 1;
    return f;
}

void pg_flusher_close(struct pg_flusher *f, void (*cb)(void *data), void *data)
{
    CHECK(!f->closing);
    reset(f);
    f->closing = true;
    f->close_cb = cb;
    f->close_data = data;
    uv_close((uv_handle_t *)&f->anchor, on_anchor_closed);
}
