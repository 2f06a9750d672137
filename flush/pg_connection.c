#include "flush/pg_connection.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flush/flush_error.h"
#include "flush/pg_connect_error.h"
#include "flush/pg_result.h"
#include "proto/base/alloc.h"
#include "proto/base/buf.h"
#include "proto/base/check.h"

/* connecting: PQconnectPoll says what to wait for. setting: the settings' results are ours, not the owner's.
 * broken: `lost` is due or has fired. closed: the owner is gone, the handles may not be. */
enum connection_state {
    CONNECTION_CONNECTING,
    CONNECTION_SETTING,
    CONNECTION_READY,
    CONNECTION_BROKEN,
    CONNECTION_CLOSED
};

/* What waits for its answer. */
enum { DUE_STATEMENT, DUE_SYNC };

/* So often the server looks whether we are still there while it runs a statement of ours or waits for a lock.
 */
#define CLIENT_CHECK_MS "2000"

struct pg_connection {
    uv_loop_t *loop;
    const struct pg_connection_events *events;
    void *data;
    const struct logger *logger;
    struct pg_limits limits;
    char *setup_sql;
    enum connection_state state;
    PGconn *conn;
    uv_poll_t *poll;  /* NULL when the socket is not watched; its own allocation, as it comes and goes */
    uv_timer_t timer; /* connecting: the deadline. ready: the answer's deadline. broken: `lost` is due now.
                         pump_due: so is pump() */
    unsigned handles; /* not closed yet */
    struct buf due;   /* statements and syncs without an answer, oldest first, a byte each */
    struct flush_error error; /* when broken */
    bool pump_due;            /* the timer is for that */
    bool wishing;             /* setting: what comes now may fail */
};

static void on_timer(uv_timer_t *timer);
static void on_socket(uv_poll_t *poll, int status, int events);

/* ---- handles ---- */

static void let_go(struct pg_connection *c)
{
    c->handles--;
    if (c->handles == 0 && c->state == CONNECTION_CLOSED) {
        const struct pg_connection_events *events = c->events;
        void *data = c->data;
        free(c->setup_sql);
        buf_deinit(&c->due);
        free(c);
        events->closed(data);
    }
}

static void on_timer_closed(uv_handle_t *handle)
{
    let_go(handle->data);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct pg_connection *c = handle->data;
    free(handle);
    let_go(c);
}

static void unwatch(struct pg_connection *c)
{
    if (c->poll != NULL) {
        uv_close((uv_handle_t *)c->poll, on_poll_closed);
        c->poll = NULL;
    }
}

/* @delay_ms from now, not from when the loop last looked at the clock: libpq may have blocked meanwhile. */
static void set_timer(struct pg_connection *c, unsigned delay_ms)
{
    uv_update_time(c->loop);
    uv_timer_start(&c->timer, on_timer, delay_ms, 0);
}

/* ---- the end ---- */

/* Tell the owner from the loop, as soon as it turns. */
static void break_soon(struct pg_connection *c, const struct flush_error *error)
{
    if (c->state == CONNECTION_BROKEN || c->state == CONNECTION_CLOSED) {
        return;
    }
    c->error = *error;
    c->state = CONNECTION_BROKEN;
    unwatch(c);
    set_timer(c, 0);
}

static void break_with_message(struct pg_connection *c, const char *what)
{
    struct flush_error error;
    const char *detail = c->conn == NULL ? "out of memory" : PQerrorMessage(c->conn);
    flush_error_set(&error, FLUSH_ERROR_OUTAGE, NULL, "%s: %s", what,
        detail[0] == '\0' ? "the connection is gone" : detail);
    break_soon(c, &error);
}

static void break_connecting(struct pg_connection *c)
{
    struct flush_error error;
    bool password_missing = c->conn != NULL && PQconnectionNeedsPassword(c->conn);
    pg_connect_error(c->conn == NULL ? "out of memory" : PQerrorMessage(c->conn), password_missing, &error);
    break_soon(c, &error);
}

void pg_connection_close(struct pg_connection *c)
{
    CHECK(c->state != CONNECTION_CLOSED);
    c->state = CONNECTION_CLOSED;
    unwatch(c); /* before libpq closes the descriptor */
    PQfinish(c->conn);
    c->conn = NULL;
    uv_close((uv_handle_t *)&c->timer, on_timer_closed);
}

/* ---- waiting for the socket ---- */

static void watch(struct pg_connection *c, int events)
{
    int fd = PQsocket(c->conn);
    if (c->poll == NULL) {
        uv_poll_t *poll = xmalloc(sizeof *poll);
        int rc = uv_poll_init(c->loop, poll, fd);
        if (rc != 0) {
            free(poll);
            struct flush_error error;
            flush_error_set(
                &error, FLUSH_ERROR_OUTAGE, NULL, "cannot watch the database's socket: %s", uv_strerror(rc));
            break_soon(c, &error);
            return;
        }
        poll->data = c;
        c->poll = poll;
        c->handles++;
    }
    uv_poll_start(c->poll, events, on_socket);
}

static bool readable_state(const struct pg_connection *c)
{
    return c->state == CONNECTION_SETTING || c->state == CONNECTION_READY;
}

/* Push out what libpq holds, and wait for what is left to do. A failed write is not the end: what the server
 * said before it hung up is still to be read, and reading will find the end. */
static void flush_and_watch(struct pg_connection *c)
{
    bool more = PQflush(c->conn) == 1;
    bool bad = PQstatus(c->conn) == CONNECTION_BAD;
    if (bad) {
        unwatch(c); /* UNTESTED: libpq has closed the socket under our handle */
    } else {
        watch(c, UV_READABLE | (more ? UV_WRITABLE : 0));
    }
    /* A write that fails or would block reads: what came so, an end or results, no socket will tell again. */
    bool results = more && c->state == CONNECTION_READY && c->due.len > 0 && !PQisBusy(c->conn);
    if (readable_state(c) && (bad || results)) {
        c->pump_due = true;
        set_timer(c, 0);
    }
}

/* Call after anything that shows that the server, or at least the network, lives. */
static void restart_answer_timer(struct pg_connection *c)
{
    if (c->due.len > 0) {
        set_timer(c, c->limits.answer_timeout_ms);
    } else {
        uv_timer_stop(&c->timer);
    }
}

/* ---- connecting ---- */

static void send_settings(struct pg_connection *c)
{
    /* A backend whose client is gone holds its locks until its statement ends, unless it looks. PostgreSQL 14
     * has that, where the system can tell: so this may fail, in a pipeline of its own. */
    c->wishing = true;
    pg_connection_query(c,
        "SELECT CASE WHEN pg_catalog.current_setting('client_connection_check_interval', true) IS NOT NULL "
        "THEN"
        " pg_catalog.set_config('client_connection_check_interval', '" CLIENT_CHECK_MS "ms', false) END",
        NULL, 0);
    pg_connection_sync(c);
    /* Settings rather than the start packet's options: they override what the DSN or the role say, and
     * poolers refuse unknown options. F promises what a crash of the server must not undo, so a
     * synchronous_commit that is off is turned on; the stronger levels stay. */
    char sql[640];
    snprintf(sql, sizeof sql,
        "SELECT pg_catalog.set_config('lock_timeout', '%ums', false),"
        " pg_catalog.set_config('statement_timeout', '%ums', false),"
        " pg_catalog.set_config('idle_in_transaction_session_timeout', '%ums', false),"
        " pg_catalog.set_config('synchronous_commit', CASE pg_catalog.current_setting('synchronous_commit')"
        " WHEN 'off' THEN 'on' ELSE pg_catalog.current_setting('synchronous_commit') END, false)",
        c->limits.lock_timeout_ms, c->limits.statement_timeout_ms, c->limits.idle_in_transaction_ms);
    pg_connection_query(c, sql, NULL, 0);
    if (c->setup_sql != NULL) {
        pg_connection_query(c, c->setup_sql, NULL, 0);
    }
    pg_connection_sync(c);
}

static void connected(struct pg_connection *c)
{
    if (PQsetnonblocking(c->conn, 1) != 0 || PQenterPipelineMode(c->conn) != 1) {
        break_with_message(c, "cannot use the connection");
        return;
    }
    PQsetErrorVerbosity(c->conn, PQERRORS_DEFAULT);
    c->state = CONNECTION_SETTING;
    send_settings(c);
}

/* libpq may have closed its socket and opened another one (the next address; encryption refused), maybe with
 * the same number, which epoll would not notice: so each step gets a new handle. */
static void connect_step(struct pg_connection *c)
{
    unwatch(c);
    switch (PQconnectPoll(c->conn)) {
    case PGRES_POLLING_READING:
        watch(c, UV_READABLE);
        return;
    case PGRES_POLLING_WRITING:
        watch(c, UV_WRITABLE);
        return;
    case PGRES_POLLING_OK:
        connected(c);
        return;
    default:
        break_connecting(c);
    }
}

static void on_notice(void *data, const PGresult *notice)
{
    struct pg_connection *c = data;
    log_debug(c->logger, "database-notice", "message=\"%s\"", PQresultErrorMessage(notice));
}

/* What the DSN may override stands before it, what it may not after it. */
static PGconn *start(const struct pg_connection_config *config, unsigned tcp_user_timeout_ms)
{
    char user_timeout[16];
    snprintf(user_timeout, sizeof user_timeout, "%u", tcp_user_timeout_ms);
    const char *const names[] = {"keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count",
        "tcp_user_timeout", "target_session_attrs", "dbname", "application_name", "client_encoding", NULL};
    const char *const values[] = {
        "1", "5", "2", "3", user_timeout, "primary", config->dsn, config->application_name, "UTF8", NULL};
    return PQconnectStartParams(names, values, 1);
}

struct pg_connection_config pg_connection_config_copy(const struct pg_connection_config *from)
{
    struct pg_connection_config copy = *from;
    copy.dsn = xstrdup(from->dsn);
    copy.application_name = xstrdup(from->application_name);
    copy.setup_sql = from->setup_sql == NULL ? NULL : xstrdup(from->setup_sql);
    return copy;
}

void pg_connection_config_free(struct pg_connection_config *copy)
{
    free((void *)(uintptr_t)copy->dsn); /* ours, though the struct's words are for those who lend them */
    free((void *)(uintptr_t)copy->application_name);
    free((void *)(uintptr_t)copy->setup_sql);
}

static unsigned or_default(unsigned value, unsigned fallback)
{
    return value == 0 ? fallback : value;
}

struct pg_connection *pg_connection_open(
    const struct pg_connection_config *config, const struct pg_connection_events *events, void *data)
{
    struct pg_connection *c = xcalloc(1, sizeof *c);
    c->loop = config->loop;
    c->events = events;
    c->data = data;
    c->logger = config->logger;
    c->limits = (struct pg_limits){
        .connect_timeout_ms = or_default(config->limits.connect_timeout_ms, 5000),
        .lock_timeout_ms = or_default(config->limits.lock_timeout_ms, 5000),
        .statement_timeout_ms = or_default(config->limits.statement_timeout_ms, 30000),
        .idle_in_transaction_ms = or_default(config->limits.idle_in_transaction_ms, 15000),
        .answer_timeout_ms = or_default(config->limits.answer_timeout_ms, 45000),
        .tcp_user_timeout_ms = or_default(config->limits.tcp_user_timeout_ms, 10000),
    };
    c->setup_sql = config->setup_sql == NULL ? NULL : xstrdup(config->setup_sql);
    c->state = CONNECTION_CONNECTING;
    buf_init(&c->due);
    uv_timer_init(c->loop, &c->timer);
    c->timer.data = c;
    c->handles = 1;
    c->conn = start(config, c->limits.tcp_user_timeout_ms);
    if (c->conn == NULL || PQstatus(c->conn) == CONNECTION_BAD) {
        break_connecting(c);
        return c;
    }
    PQsetErrorVerbosity(c->conn, PQERRORS_VERBOSE); /* see pg_connect_error.h */
    PQsetNoticeReceiver(c->conn, on_notice, c);
    watch(c, UV_WRITABLE); /* "behave as if PQconnectPoll had last returned WRITING" */
    if (c->state == CONNECTION_CONNECTING) {
        set_timer(c, c->limits.connect_timeout_ms);
    }
    return c;
}

/* ---- results ---- */

static void take_setting_result(struct pg_connection *c, PGresult *result)
{
    bool synced = PQresultStatus(result) == PGRES_PIPELINE_SYNC;
    if (synced && c->wishing) {
        c->wishing = false;
    } else if (synced) {
        c->state = CONNECTION_READY;
        c->events->ready(c->data);
    } else if (!pg_result_ok(result)) {
        struct flush_error error;
        pg_result_error(result, "cannot set up the session", &error);
        if (!c->wishing || error.class == FLUSH_ERROR_OUTAGE) {
            break_soon(c, &error);
        }
    }
    PQclear(result);
}

/* A statement's result in the place of a sync's, or the other way round. The server's farewell can come so,
 * between a COMMIT's answer and the sync's; anything else would give a statement another one's answer. */
static void break_out_of_turn(struct pg_connection *c, PGresult *result)
{
    struct flush_error error;
    ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_PIPELINE_SYNC || pg_result_ok(result)) {
        flush_error_set(&error, FLUSH_ERROR_OUTAGE, NULL,
            "the database, or a pooler before it, gave an answer out of turn (%s)", PQresStatus(status));
    } else {
        pg_result_error(result, "the session", &error);
    }
    PQclear(result);
    break_soon(c, &error);
}

static void take_result(struct pg_connection *c, PGresult *result)
{
    bool sync_is_due = c->due.data[0] == DUE_SYNC;
    buf_consume(&c->due, 1);
    if (sync_is_due != (PQresultStatus(result) == PGRES_PIPELINE_SYNC)) {
        break_out_of_turn(c, result);
    } else if (c->state == CONNECTION_SETTING) {
        take_setting_result(c, result);
    } else if (PQresultStatus(result) == PGRES_PIPELINE_SYNC) {
        PQclear(result);
        c->events->synced(c->data);
    } else {
        c->events->result(c->data, result);
    }
}

/* Hand out the results that have arrived whole. In pipeline mode a NULL follows each statement's result, and
 * nothing follows a sync's. */
static void drain(struct pg_connection *c)
{
    unsigned nulls = 0;
    while (readable_state(c) && c->due.len > 0 && !PQisBusy(c->conn)) {
        PGresult *result = PQgetResult(c->conn);
        if (result != NULL) {
            nulls = 0;
            take_result(c, result);
        } else if (++nulls > 2) {
            break; /* libpq has nothing: PQstatus says whether that is an end */
        }
    }
}

/* Hand out the notifications that have arrived. */
static void notify(struct pg_connection *c)
{
    PGnotify *n;
    while (c->state == CONNECTION_READY && (n = PQnotifies(c->conn)) != NULL) {
        if (c->events->notified != NULL) {
            c->events->notified(c->data, n->relname, n->extra);
        }
        PQfreemem(n);
    }
}

/* Read, hand out, write, and see whether the connection still stands. @c stays valid: it is freed by the
 * loop. */
static void pump(struct pg_connection *c)
{
    bool readable = PQconsumeInput(c->conn) == 1;
    if (PQsocket(c->conn) < 0) {
        unwatch(c); /* UNTESTED: at once, as what the events below open may get the descriptor's number */
    }
    drain(c); /* also after a failure: what was received before it counts, a COMMIT above all */
    if (!readable_state(c)) {
        return;
    }
    if (c->due.len == 0) {
        (void)PQisBusy(c->conn); /* parses what came unasked, as a notice or a farewell */
    }
    notify(c);
    if (!readable_state(c)) {
        return;
    }
    if (!readable || PQstatus(c->conn) == CONNECTION_BAD) {
        break_with_message(c, "lost the connection to the database");
        return;
    }
    c->pump_due = false;
    if (c->state == CONNECTION_READY) { /* before, the deadline of connecting goes on */
        restart_answer_timer(c);
    }
    flush_and_watch(c);
}

static void on_socket(uv_poll_t *poll, int status, int events)
{
    struct pg_connection *c = poll->data;
    (void)events;
    if (c->state == CONNECTION_CONNECTING) {
        connect_step(
            c); /* an error of the socket's is told by PQconnectPoll, which may know another address */
        return;
    }
    if (status < 0) {
        unwatch(c); /* libuv has stopped it */
    }
    pump(c);
}

static void on_timer(uv_timer_t *timer)
{
    struct pg_connection *c = timer->data;
    if (c->state == CONNECTION_BROKEN) {
        struct flush_error error = c->error; /* the owner may close us */
        c->events->lost(c->data, &error);
        return;
    }
    if (c->pump_due && readable_state(c)) {
        pump(c);
        return;
    }
    struct flush_error error;
    if (c->state == CONNECTION_READY) {
        flush_error_set(&error, FLUSH_ERROR_OUTAGE, NULL, "the database has not answered for %u ms",
            c->limits.answer_timeout_ms);
    } else {
        flush_error_set(&error, FLUSH_ERROR_OUTAGE, NULL,
            "the database could not be connected to within %u ms", c->limits.connect_timeout_ms);
    }
    break_soon(c, &error);
}

/* ---- sending ---- */

/* Count a statement or a sync that libpq took; when it did not, the connection is over. */
static void queued(struct pg_connection *c, uint8_t what, int ok)
{
    if (!ok) {
        break_with_message(c, "cannot send to the database");
        return;
    }
    buf_append_u8(&c->due, what);
    CHECK(!c->due.failed);
    if (c->due.len == 1 && c->state == CONNECTION_READY) {
        set_timer(c, c->limits.answer_timeout_ms); /* while setting up, the connection's deadline runs */
    }
}

struct raw_params {
    Oid types[PG_PARAMS_MAX];
    const char *values[PG_PARAMS_MAX];
    int lengths[PG_PARAMS_MAX];
    int formats[PG_PARAMS_MAX];
};

static void raw_params(struct raw_params *raw, const struct pg_param *params, int n)
{
    CHECK(n >= 0 && n <= PG_PARAMS_MAX);
    for (int i = 0; i < n; i++) {
        bool null = params[i].data == NULL && params[i].len == SIZE_MAX;
        CHECK(null || params[i].len <= INT32_MAX);
        raw->types[i] = params[i].type;
        raw->values[i] = null ? NULL : params[i].len == 0 ? "" : params[i].data;
        raw->lengths[i] = null ? 0 : (int)params[i].len;
        raw->formats[i] = 1;
    }
}

void pg_connection_query(struct pg_connection *c, const char *sql, const struct pg_param *params, int n)
{
    if (!readable_state(c)) {
        return; /* `lost` is due */
    }
    struct raw_params raw;
    raw_params(&raw, params, n);
    queued(c, DUE_STATEMENT,
        PQsendQueryParams(c->conn, sql, n, raw.types, raw.values, raw.lengths, raw.formats, 1));
}

void pg_connection_prepare(
    struct pg_connection *c, const char *name, const char *sql, const Oid *types, int n)
{
    if (!readable_state(c)) {
        return;
    }
    queued(c, DUE_STATEMENT, PQsendPrepare(c->conn, name, sql, n, types));
}

void pg_connection_execute(struct pg_connection *c, const char *name, const struct pg_param *params, int n)
{
    if (!readable_state(c)) {
        return;
    }
    struct raw_params raw;
    raw_params(&raw, params, n);
    queued(c, DUE_STATEMENT, PQsendQueryPrepared(c->conn, name, n, raw.values, raw.lengths, raw.formats, 1));
}

void pg_connection_sync(struct pg_connection *c)
{
    if (!readable_state(c)) {
        return;
    }
    queued(c, DUE_SYNC, PQpipelineSync(c->conn));
    if (readable_state(c)) {
        flush_and_watch(c);
    }
}

int pg_connection_backend_pid(const struct pg_connection *c)
{
    return c->conn == NULL ? 0 : PQbackendPID(c->conn);
}
