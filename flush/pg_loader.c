/* Calls become requests: waiting -> sent -> answered, or failed. The connection answers in the order of what
 * was sent. A load whose keys' values were all too long for one answer (PG_LOAD_ANSWER_BYTES), or of which
 * one row cannot be sent, is sent again for half of its keys, behind the others: the keys' rest is `later`.
 * How many keys are asked for at once is remembered, and grows with each answer where all fitted. */
#include "flush/pg_loader.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "flush/flush_error.h"
#include "flush/pg_load_answer.h"
#include "flush/pg_load_request.h"
#include "flush/pg_result.h"
#include "flush/schema.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/base/list.h"

enum { BAD_ROWS_LOG_MS = 10000 }; /* at most one line in so long */

/* idle: no call came yet. first: connecting, and nothing is known against it, so requests wait. up: they are
 * sent. down: they fail; either the back-off runs or an attempt does. */
enum loader_state { LOADER_IDLE, LOADER_FIRST, LOADER_UP, LOADER_DOWN };

struct pg_loader {
    struct pg_connection_config config; /* of its connections; a copy */
    const struct loader_events *events;
    void *data;
    char *sql[SCHEMA_SQL_COUNT];
    char find_limit[16];
    unsigned backoff_min_ms, backoff_max_ms, backoff_ms;

    enum loader_state state;
    struct pg_connection *conn; /* NULL when there is none */
    bool set_up;                /* conn: the statements are prepared, and it is no standby */
    struct flush_error error;   /* why it is down */
    struct list waiting;        /* for the first connection */
    struct list sent;           /* in order */
    struct list failed;         /* their event is due */
    uint32_t at_once;           /* keys that one load asks for */
    bool said_find_failed;      /* the log has it */
    uint64_t bad_rows;          /* since the log said so last */
    uint64_t bad_rows_said_ms;  /* 0: never */

    uv_timer_t retry; /* the back-off */
    uv_timer_t tell;  /* started with 0: `failed` is to be told */
    unsigned parts;   /* handles and connections that are not gone yet */
    bool closing;
    void (*close_cb)(void *data);
    void *close_data;
};

static void on_retry(uv_timer_t *timer);
static void on_tell(uv_timer_t *timer);

/* ---- the end of a request ---- */

static void request_fail(struct pg_loader *l, struct pg_load_request *r, const struct flush_error *error)
{
    r->error = *error;
    list_remove(&r->link);
    list_push_back(&l->failed, &r->link);
    if (!l->closing) {
        uv_timer_start(&l->tell, on_tell, 0, 0);
    }
}

static void request_fail_all(struct pg_loader *l, struct list *requests, const struct flush_error *error)
{
    list_for_each (it, next, requests) {
        request_fail(l, list_entry(it, struct pg_load_request, link), error);
    }
}

/* Those that fail meanwhile get their own turn. */
static void tell_failed(struct pg_loader *l)
{
    struct list now;
    list_init(&now);
    list_splice_back(&now, &l->failed);
    for (struct list *node; (node = list_pop_front(&now)) != NULL;) {
        struct pg_load_request *r = list_entry(node, struct pg_load_request, link);
        enum pg_load_kind kind = r->kind;
        uint64_t token = r->token;
        struct flush_error error = r->error;
        pg_load_request_free(r);
        if (kind == PG_LOAD_KEYS) {
            l->events->load_failed(l->data, token, &error);
        } else {
            l->events->expired_found(l->data, token, NULL, 0);
        }
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
    l->set_up = false;
}

static void go_down(struct pg_loader *l, const struct flush_error *error)
{
    let_connection_go(l);
    if (l->state != LOADER_DOWN) {
        log_warn(l->config.logger, "loader-down", "class=%s sqlstate=%s message=\"%s\"",
            flush_error_class_name(error->class), error->sqlstate, error->message);
    }
    l->state = LOADER_DOWN;
    l->error = *error;
    request_fail_all(l, &l->sent, error);
    request_fail_all(l, &l->waiting, error);
    uint32_t chance;
    random_bytes(&chance, sizeof chance);
    unsigned half = l->backoff_ms / 2;
    uv_timer_start(&l->retry, on_retry, half + chance % (l->backoff_ms - half + 1), 0);
    l->backoff_ms = l->backoff_ms > l->backoff_max_ms / 2 ? l->backoff_max_ms : l->backoff_ms * 2;
}

static void go_down_odd(struct pg_loader *l)
{
    struct flush_error error;
    flush_error_set(&error, FLUSH_ERROR_HALT, NULL,
        "table entry (key bytea, value bytea, version bigint, expires_at timestamptz, fields jsonb) or "
        "flush_state is not as this version makes it: do not change these tables by hand");
    go_down(l, &error);
}

/* The next connection may be led to another server of the DSN's. */
static void go_down_in_recovery(struct pg_loader *l)
{
    struct flush_error error;
    flush_error_set(&error, FLUSH_ERROR_OUTAGE, NULL,
        "the server is a standby or still recovering: looking for a primary; check the address if it stays "
        "so");
    go_down(l, &error);
}

static void request_send(struct pg_loader *l, struct pg_load_request *r)
{
    list_remove(&r->link);
    list_push_back(&l->sent, &r->link);
    pg_load_request_send(r, l->conn, l->at_once, l->find_limit);
}

static void on_ready(void *data)
{
    struct pg_loader *l = data;
    pg_load_request_prepare(l->conn, (const char *const *)l->sql);
    pg_connection_query(l->conn, l->sql[SCHEMA_IN_RECOVERY], NULL, 0);
    pg_connection_sync(l->conn);
}

/* Only now: a server that lets us in, but has no such table or is a standby, is not up. */
static void go_up(struct pg_loader *l)
{
    log_info(l->config.logger, "loader-up", "backend=%d", pg_connection_backend_pid(l->conn));
    l->set_up = true;
    l->state = LOADER_UP;
    l->backoff_ms = l->backoff_min_ms;
    list_for_each (it, next, &l->waiting) {
        request_send(l, list_entry(it, struct pg_load_request, link));
    }
}

static void setup_result(struct pg_loader *l, const PGresult *result)
{
    struct flush_error error;
    bool in_recovery = true;
    if (!pg_result_ok(result)) {
        pg_result_error(result, "load", &error);
        go_down(l, &error);
        return;
    }
    if (PQresultStatus(result) == PGRES_COMMAND_OK) {
        return; /* prepared; the last result is the server's own state */
    }
    if (!pg_result_bool(result, 0, 0, &in_recovery) || in_recovery) {
        go_down_in_recovery(l);
    } else {
        go_up(l);
    }
}

static void on_lost(void *data, const struct flush_error *error)
{
    go_down(data, error);
}

/* ---- answers to loads ---- */

/* In PostgreSQL's own notation, so that the row can be looked at; a long key is cut. */
static void key_text(struct bytes key, char *out, size_t size)
{
    size_t at = (size_t)snprintf(out, size, "\\x");
    for (size_t i = 0; i < key.len && at + 3 <= size; i++) {
        at += (size_t)snprintf(out + at, size - at, "%02x", key.data[i]);
    }
}

static void say_bad_rows(struct pg_loader *l, const struct load_result *result)
{
    if (result->bad_n == 0) {
        return;
    }
    uint64_t now_ms = clock_boot_ms();
    l->bad_rows += result->bad_n;
    if (l->bad_rows_said_ms != 0 && now_ms - l->bad_rows_said_ms < BAD_ROWS_LOG_MS) {
        return;
    }
    char text[136];
    key_text(result->bad[0], text, sizeof text);
    log_warn(l->config.logger, "row-not-ours",
        "count=%" PRIu64
        " key=%s key_bytes=%zu message=\"this row of table entry cannot be read (no value, one above %d "
        "bytes, fields that are no object with some value, or no version above 0): somebody wrote it by "
        "hand; correct or delete it\"",
        l->bad_rows, text, result->bad[0].len, LIMIT_VALUE_BYTES);
    l->bad_rows = 0;
    l->bad_rows_said_ms = now_ms;
}

/* How many keys to ask for at once, after this answer. False: it told nothing, and fewer must be asked. */
static bool adapt(struct pg_loader *l, const struct pg_load_request *r, const struct pg_load_answer *a)
{
    if (a->left_out == 0) {
        if (r->asked == l->at_once && l->at_once < LIMIT_REQUEST_KEYS) {
            l->at_once = l->at_once > LIMIT_REQUEST_KEYS / 2 ? LIMIT_REQUEST_KEYS : 2 * l->at_once;
        }
        return true;
    }
    if (a->absent + a->result.n + a->result.bad_n > 0) {
        return true;
    }
    CHECK(r->asked > 1); /* every value fits in the share of one key */
    l->at_once = l->at_once < r->asked / 2 ? l->at_once : r->asked / 2;
    return false;
}

/* May close the loader, which lives until the loop's next turn. */
static void load_answered(struct pg_loader *l, struct pg_load_request *r, const PGresult *result)
{
    struct pg_load_answer answer;
    bool good = pg_load_answer_read(
        &answer, result, r->asked, r->value_bytes_max, r->fields_bytes_max, r->n - r->asked);
    if (!good) {
        go_down_odd(l);
    } else if (!answer.result.in_recovery && !adapt(l, r, &answer)) {
        request_send(l, r);
    } else {
        list_remove(&r->link);
        if (answer.result.in_recovery) {
            go_down_in_recovery(l);
        } else {
            say_bad_rows(l, &answer.result);
        }
        pg_load_request_unasked(r, &answer);
        l->events->loaded(l->data, r->token, &answer.result);
        pg_load_request_free(r);
    }
    pg_load_answer_deinit(&answer);
}

/* What one row has cannot be sent (text that others wrote and that is nothing in UTF-8). It is looked for
 * among fewer keys, and fails alone; the sync behind each load keeps the others apart. */
static void row_failed(struct pg_loader *l, struct pg_load_request *r, const struct flush_error *error)
{
    if (r->asked <= 1) {
        request_fail(l, r, error);
        return;
    }
    l->at_once = l->at_once < r->asked / 2 ? l->at_once : r->asked / 2;
    request_send(l, r);
}

static void load_result(struct pg_loader *l, struct pg_load_request *r, const PGresult *result)
{
    struct flush_error error;
    if (pg_result_ok(result)) {
        load_answered(l, r, result);
        return;
    }
    pg_result_error(result, "load", &error);
    if (error.class == FLUSH_ERROR_ROW) {
        row_failed(l, r, &error);
    } else {
        go_down(l, &error);
    }
}

/* ---- answers to searches ---- */

static void find_failed(struct pg_loader *l, struct pg_load_request *r, const PGresult *result)
{
    struct flush_error error;
    if (r->refused) {
        return; /* the second result only says that the first was an error */
    }
    r->refused = true;
    pg_result_error(result, "expired rows", &error);
    if (!l->said_find_failed) {
        l->said_find_failed = true;
        log_warn(l->config.logger, "find-expired-failed", "class=%s sqlstate=%s message=\"%s\"",
            flush_error_class_name(error.class), error.sqlstate, error.message);
    }
}

static void find_ends(struct pg_loader *l, struct pg_load_request *r, const struct bytes *keys, uint32_t n)
{
    uint64_t token = r->token;
    list_remove(&r->link);
    pg_load_request_free(r);
    l->events->expired_found(l->data, token, keys, n);
}

/* A search that fails takes no load with it: the sync before it and its own keep them apart. */
static void find_result(struct pg_loader *l, struct pg_load_request *r, const PGresult *result)
{
    bool good = pg_result_ok(result);
    if (!good) {
        find_failed(l, r, result);
    }
    if (!r->limited) {
        r->limited = true;
        return;
    }
    if (!good) {
        find_ends(l, r, NULL, 0);
        return;
    }
    struct bytes *keys;
    uint32_t n;
    bool in_recovery;
    l->said_find_failed = false;
    if (!pg_expired_answer_read(result, &keys, &n, &in_recovery)) {
        go_down_odd(l);
        return;
    }
    if (in_recovery) {
        go_down_in_recovery(l); /* which ends the search, with nothing */
    } else {
        find_ends(l, r, keys, n);
    }
    free(keys);
}

static void on_result(void *data, PGresult *result)
{
    struct pg_loader *l = data;
    if (!l->set_up) {
        setup_result(l, result);
    } else {
        CHECK(!list_empty(&l->sent)); /* pg_connection gives each statement one result */
        struct pg_load_request *r = list_entry(l->sent.next, struct pg_load_request, link);
        if (r->kind == PG_LOAD_KEYS) {
            load_result(l, r, result);
        } else {
            find_result(l, r, result);
        }
    }
    PQclear(result);
}

static void on_synced(void *data)
{
    (void)data; /* the statements' results say all */
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
    for (int i = 0; i < SCHEMA_SQL_COUNT; i++) {
        free(l->sql[i]);
    }
    pg_connection_config_free(&l->config);
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
    l->parts++;
    l->conn = pg_connection_open(&l->config, &connection_events, l);
}

static void on_retry(uv_timer_t *timer)
{
    connect_now(timer->data);
}

static void request_start(struct pg_loader *l, struct pg_load_request *r)
{
    CHECK(!l->closing);
    if (l->state == LOADER_DOWN) {
        struct flush_error error;
        flush_error_set(&error, FLUSH_ERROR_OUTAGE, l->error.sqlstate, "%s", l->error.message);
        request_fail(l, r, &error);
        return;
    }
    list_push_back(&l->waiting, &r->link);
    if (l->state == LOADER_UP) {
        request_send(l, r);
    } else if (l->state == LOADER_IDLE) {
        l->state = LOADER_FIRST;
        connect_now(l);
    }
}

static void loader_load(
    void *loader, uint64_t token, const struct flush_identity *id, const struct bytes *keys, uint32_t n)
{
    request_start(loader, pg_load_request_keys(token, id, keys, n));
}

static void loader_find_expired(void *loader, uint64_t token, uint64_t before_ms, uint32_t keys_max)
{
    request_start(loader, pg_load_request_expired(token, before_ms, keys_max));
}

const struct loader_ops pg_loader_ops = {.load = loader_load, .find_expired = loader_find_expired};

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
    for (int i = 0; i < SCHEMA_SQL_COUNT; i++) {
        l->sql[i] = schema_sql((enum schema_sql)i, schema);
    }
    l->config = pg_connection_config_copy(&(struct pg_connection_config){.loop = loop,
        .dsn = config->dsn,
        .application_name = name,
        .setup_sql = l->sql[SCHEMA_LOAD_SETUP],
        .limits = config->limits,
        .logger = config->logger});
    unsigned limit_ms = config->limits.statement_timeout_ms;
    limit_ms = limit_ms == 0 || limit_ms > PG_LOADER_FIND_TIMEOUT_MS ? PG_LOADER_FIND_TIMEOUT_MS : limit_ms;
    snprintf(l->find_limit, sizeof l->find_limit, "%ums", limit_ms);
    l->events = events;
    l->data = data;
    l->backoff_min_ms = config->backoff_min_ms == 0 ? 50 : config->backoff_min_ms;
    l->backoff_max_ms = config->backoff_max_ms == 0 ? 5000 : config->backoff_max_ms;
    l->backoff_ms = l->backoff_min_ms;
    l->at_once = LIMIT_REQUEST_KEYS;
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
    request_fail_all(l, &l->waiting, &error);
    request_fail_all(l, &l->sent, &error);
    uv_close((uv_handle_t *)&l->retry, on_timer_closed);
    uv_close((uv_handle_t *)&l->tell, on_timer_closed);
}

void pg_loader_wake(struct pg_loader *l)
{
    if (uv_is_active((uv_handle_t *)&l->retry) && !uv_is_closing((uv_handle_t *)&l->retry)) {
        uv_timer_start(&l->retry, on_retry, 0, 0);
    }
}
