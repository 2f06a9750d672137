#include "flush/pg_loader.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flush/flush_error.h"
#include "flush/pg_result.h"
#include "flush/pg_time.h"
#include "flush/schema.h"
#include "proto/base/alloc.h"
#include "proto/base/buf.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/base/list.h"

#define STATEMENT_LOAD "wb_load"

/* waiting -> sent -> answered, or failed. */
struct load {
    struct list link; /* in waiting, sent or failed */
    uint64_t token;
    struct flush_identity id;
    struct buf keys;          /* bytea[]; empty once sent */
    struct flush_error error; /* when failed */
};

/* idle: no load came yet. first: connecting, and nothing is known against it, so loads wait. up: loads are
 * sent. down: loads fail; either the back-off runs or an attempt does. */
enum loader_state { LOADER_IDLE, LOADER_FIRST, LOADER_UP, LOADER_DOWN };

struct pg_loader {
    uv_loop_t *loop;
    const struct loader_events *events;
    void *data;
    char *dsn;
    char *application_name;
    char *load_sql;
    char *setup_sql;
    struct pg_limits limits;
    unsigned backoff_min_ms, backoff_max_ms, backoff_ms;
    const struct logger *logger;

    enum loader_state state;
    struct pg_connection *conn; /* NULL when there is none */
    bool prepared;              /* the statement's own result has been seen on conn */
    struct flush_error error;   /* why it is down */
    struct list waiting;        /* for the first connection */
    struct list sent;           /* in order */
    struct list failed;         /* their event is due */

    uv_timer_t retry; /* the back-off */
    uv_timer_t tell;  /* started with 0: `failed` is to be told */
    unsigned parts;   /* handles and connections that are not gone yet */
    bool closing;
    void (*close_cb)(void *data);
    void *close_data;
};

static void connect_now(struct pg_loader *l);
static void on_retry(uv_timer_t *timer);
static void on_tell(uv_timer_t *timer);

/* ---- the end of a load ---- */

static void load_free(struct load *load)
{
    buf_deinit(&load->keys);
    free(load);
}

static void load_fail(struct pg_loader *l, struct load *load, const struct flush_error *error)
{
    load->error = *error;
    list_remove(&load->link);
    list_push_back(&l->failed, &load->link);
    if (!l->closing) {
        uv_timer_start(&l->tell, on_tell, 0, 0);
    }
}

static void load_fail_all(struct pg_loader *l, struct list *loads, const struct flush_error *error)
{
    list_for_each (it, next, loads) {
        load_fail(l, list_entry(it, struct load, link), error);
    }
}

/* Those that fail meanwhile get their own turn. */
static void tell_failed(struct pg_loader *l)
{
    struct list now;
    list_init(&now);
    list_splice_back(&now, &l->failed);
    for (struct list *node; (node = list_pop_front(&now)) != NULL;) {
        struct load *load = list_entry(node, struct load, link);
        uint64_t token = load->token;
        struct flush_error error = load->error;
        load_free(load);
        l->events->load_failed(l->data, token, &error);
    }
}

static void on_tell(uv_timer_t *timer)
{
    tell_failed(timer->data);
}

/* ---- down and up ---- */

static void let_connection_go(struct pg_loader *l)
{
    if (l->conn != NULL) {
        struct pg_connection *conn = l->conn;
        l->conn = NULL;
        pg_connection_close(conn);
    }
    l->prepared = false;
}

static void go_down(struct pg_loader *l, const struct flush_error *error)
{
    let_connection_go(l);
    if (l->state != LOADER_DOWN) {
        log_warn(l->logger, "loader-down", "class=%s sqlstate=%s message=\"%s\"",
            flush_error_class_name(error->class), error->sqlstate, error->message);
    }
    l->state = LOADER_DOWN;
    l->error = *error;
    load_fail_all(l, &l->sent, error);
    load_fail_all(l, &l->waiting, error);
    uint32_t chance;
    random_bytes(&chance, sizeof chance);
    unsigned half = l->backoff_ms / 2;
    uv_timer_start(&l->retry, on_retry, half + chance % (l->backoff_ms - half + 1), 0);
    l->backoff_ms = l->backoff_ms > l->backoff_max_ms / 2 ? l->backoff_max_ms : l->backoff_ms * 2;
}

static void on_retry(uv_timer_t *timer)
{
    connect_now(timer->data);
}

static void load_send(struct pg_loader *l, struct load *load)
{
    uint8_t group[4], group_count[4];
    store_be32(group, load->id.group);
    store_be32(group_count, load->id.group_count);
    const struct pg_param params[] = {
        {.type = PG_OID_INT4, .data = group, .len = 4},
        {.type = PG_OID_UUID, .data = load->id.cluster_id, .len = CLUSTER_ID_BYTES},
        {.type = PG_OID_INT4, .data = group_count, .len = 4},
        {.type = PG_OID_BYTEA_ARRAY, .data = load->keys.data, .len = load->keys.len},
    };
    list_remove(&load->link);
    list_push_back(&l->sent, &load->link);
    pg_connection_execute(l->conn, STATEMENT_LOAD, params, 4);
    pg_connection_sync(l->conn);
    buf_deinit(&load->keys);
}

static void on_ready(void *data)
{
    static const Oid types[] = {PG_OID_INT4, PG_OID_UUID, PG_OID_INT4, PG_OID_BYTEA_ARRAY};
    struct pg_loader *l = data;
    pg_connection_prepare(l->conn, STATEMENT_LOAD, l->load_sql, types, 4);
    pg_connection_sync(l->conn);
}

/* Only now: a server that lets us in, but has no such table, is not up. */
static void go_up(struct pg_loader *l)
{
    log_info(l->logger, "loader-up", "backend=%d", pg_connection_backend_pid(l->conn));
    l->prepared = true;
    l->state = LOADER_UP;
    l->backoff_ms = l->backoff_min_ms;
    list_for_each (it, next, &l->waiting) {
        load_send(l, list_entry(it, struct load, link));
    }
}

static void on_lost(void *data, const struct flush_error *error)
{
    go_down(data, error);
}

/* ---- answers ---- */

/* The columns are those of SCHEMA_LOAD. False when one is not what it should be. */
static bool read_row(const PGresult *result, int i, struct load_row *row)
{
    int64_t version, expires_at;
    if (!pg_result_bytes(result, i, 2, &row->key) || !pg_result_bytes(result, i, 3, &row->value) ||
        !pg_result_int8(result, i, 4, &version)) {
        return false;
    }
    row->version = (uint64_t)version;
    row->expires_at_ms = 0;
    if (!pg_result_is_null(result, i, 5)) {
        if (!pg_result_int8(result, i, 5, &expires_at)) {
            return false;
        }
        row->expires_at_ms = pg_time_to_unix_ms(expires_at);
    }
    return true;
}

static bool has_our_types(const PGresult *result)
{
    return PQnfields(result) == 6 && PQftype(result, 1) == PG_OID_INT8 &&
           PQftype(result, 2) == PG_OID_BYTEA && PQftype(result, 3) == PG_OID_BYTEA &&
           PQftype(result, 4) == PG_OID_INT8 && PQftype(result, 5) == PG_OID_TIMESTAMPTZ;
}

/* *@rows is malloc'd; it borrows from @result. */
static bool read_answer(const PGresult *result, struct load_result *out, struct load_row **rows)
{
    int n = PQntuples(result);
    if (!has_our_types(result) || !pg_result_bool(result, 0, 0, &out->in_recovery)) {
        return false;
    }
    int64_t last_batch;
    out->fence_found = pg_result_int8(result, 0, 1, &last_batch);
    if (out->fence_found && last_batch < 0) {
        return false; /* as a number without a sign it would be above all batches */
    }
    out->last_batch = out->fence_found ? (uint64_t)last_batch : 0;
    if (pg_result_is_null(result, 0, 2)) {
        return n == 1; /* none of the keys is there: the one row has no entry */
    }
    *rows = xmalloc((size_t)n * sizeof **rows);
    for (int i = 0; i < n; i++) {
        if (!read_row(result, i, &(*rows)[i])) {
            return false;
        }
    }
    out->rows = *rows;
    out->n = (uint32_t)n;
    return true;
}

static void on_result(void *data, PGresult *result)
{
    struct pg_loader *l = data;
    struct flush_error error;
    if (!pg_result_ok(result)) {
        pg_result_error(result, "load", &error);
        PQclear(result);
        go_down(l, &error);
        return;
    }
    if (!l->prepared) {
        PQclear(result);
        go_up(l);
        return;
    }
    struct load_result answer = {0};
    struct load_row *rows = NULL;
    if (read_answer(result, &answer, &rows)) {
        CHECK(!list_empty(&l->sent));
        struct load *load = list_entry(list_pop_front(&l->sent), struct load, link);
        uint64_t token = load->token;
        load_free(load);
        l->events->loaded(l->data, token, &answer); /* may close us; @l lives until the loop's next turn */
    } else {
        flush_error_set(&error, FLUSH_ERROR_HALT, NULL,
            "table entry (key bytea, value bytea, version bigint, expires_at timestamptz) or flush_state is "
            "not as this version makes it: do not change these tables by hand");
        go_down(l, &error);
    }
    free(rows);
    PQclear(result);
}

static void on_synced(void *data)
{
    (void)data; /* a load is one statement: its result says all */
}

/* ---- life ---- */

static void part_gone(struct pg_loader *l)
{
    l->parts--;
    if (!l->closing || l->parts > 0) {
        return;
    }
    tell_failed(l);
    void (*cb)(void *data) = l->close_cb;
    void *data = l->close_data;
    free(l->load_sql);
    free(l->setup_sql);
    free(l->application_name);
    free(l->dsn);
    free(l);
    if (cb != NULL) {
        cb(data);
    }
}

static void on_connection_closed(void *data)
{
    part_gone(data);
}

static void on_timer_closed(uv_handle_t *handle)
{
    part_gone(handle->data);
}

static const struct pg_connection_events connection_events = {
    .ready = on_ready,
    .result = on_result,
    .synced = on_synced,
    .lost = on_lost,
    .closed = on_connection_closed,
};

static void connect_now(struct pg_loader *l)
{
    struct pg_connection_config config = {
        .loop = l->loop,
        .dsn = l->dsn,
        .application_name = l->application_name,
        .setup_sql = l->setup_sql,
        .limits = l->limits,
        .logger = l->logger,
    };
    l->parts++;
    l->conn = pg_connection_open(&config, &connection_events, l);
}

static void append_keys(struct buf *out, const struct bytes *keys, uint32_t n)
{
    buf_append_be32(out, n == 0 ? 0 : 1); /* as flush_batch.c writes arrays */
    buf_append_be32(out, 0);
    buf_append_be32(out, PG_OID_BYTEA);
    if (n > 0) {
        buf_append_be32(out, n);
        buf_append_be32(out, 1);
    }
    for (uint32_t i = 0; i < n; i++) {
        buf_append_be32(out, (uint32_t)keys[i].len);
        buf_append(out, keys[i].data, keys[i].len);
    }
    CHECK(!out->failed);
}

static void loader_load(
    void *loader, uint64_t token, const struct flush_identity *id, const struct bytes *keys, uint32_t n)
{
    struct pg_loader *l = loader;
    CHECK(!l->closing && n <= LIMIT_REQUEST_KEYS);
    struct load *load = xcalloc(1, sizeof *load);
    load->token = token;
    load->id = *id;
    list_init(&load->link);
    buf_init(&load->keys);
    if (l->state == LOADER_DOWN) {
        struct flush_error error;
        flush_error_set(&error, FLUSH_ERROR_OUTAGE, l->error.sqlstate, "%s", l->error.message);
        load_fail(l, load, &error);
        return;
    }
    append_keys(&load->keys, keys, n);
    list_push_back(&l->waiting, &load->link);
    if (l->state == LOADER_UP) {
        load_send(l, load);
    } else if (l->state == LOADER_IDLE) {
        l->state = LOADER_FIRST;
        connect_now(l);
    }
}

const struct loader_ops pg_loader_ops = {.load = loader_load};

struct pg_loader *pg_loader_create(
    uv_loop_t *loop, const struct pg_loader_config *config, const struct loader_events *events, void *data)
{
    const char *schema = config->schema == NULL ? SCHEMA_DEFAULT_NAME : config->schema;
    if (!schema_name_valid(schema)) {
        return NULL;
    }
    struct pg_loader *l = xcalloc(1, sizeof *l);
    char name[64];
    snprintf(name, sizeof name, "wbcache node=%" PRIu64 " loads", config->node_id);
    l->loop = loop;
    l->events = events;
    l->data = data;
    l->dsn = xstrdup(config->dsn);
    l->application_name = xstrdup(name);
    l->load_sql = schema_sql(SCHEMA_LOAD, schema);
    l->setup_sql = schema_sql(SCHEMA_LOAD_SETUP, schema);
    l->limits = config->limits;
    l->backoff_min_ms = config->backoff_min_ms == 0 ? 50 : config->backoff_min_ms;
    l->backoff_max_ms = config->backoff_max_ms == 0 ? 5000 : config->backoff_max_ms;
    l->backoff_ms = l->backoff_min_ms;
    l->logger = config->logger;
    list_init(&l->waiting);
    list_init(&l->sent);
    list_init(&l->failed);
    uv_timer_init(loop, &l->retry);
    uv_timer_init(loop, &l->tell);
    l->retry.data = l;
    l->tell.data = l;
    l->parts = 2;
    return l;
}

void pg_loader_close(struct pg_loader *l, void (*cb)(void *data), void *data)
{
    CHECK(!l->closing);
    struct flush_error error;
    flush_error_set(&error, FLUSH_ERROR_OUTAGE, NULL, "the node is shutting down");
    l->closing = true;
    l->close_cb = cb;
    l->close_data = data;
    let_connection_go(l);
    load_fail_all(l, &l->waiting, &error);
    load_fail_all(l, &l->sent, &error);
    uv_close((uv_handle_t *)&l->retry, on_timer_closed);
    uv_close((uv_handle_t *)&l->tell, on_timer_closed);
}
