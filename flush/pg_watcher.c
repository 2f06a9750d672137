/* Connect -> LISTEN -> is table entry watched? -> hear. LISTEN has committed before anything is concluded, so
 * that what commits later is notified, and what was committed before is covered by `all`. From then on the
 * question is asked again every few seconds, and after each "*", which <schema>.watch() itself sends. */
#include "flush/pg_watcher.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flush/flush_error.h"
#include "flush/pg_result.h"
#include "flush/schema.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"

/* The longest payload that PostgreSQL takes has 7,999 bytes (NOTIFY_PAYLOAD_MAX_LENGTH). */
enum { KEY_BYTES_MAX = 4000 };

struct pg_watcher {
    struct pg_connection_config config; /* of its connections; a copy */
    const struct pg_watcher_events *events;
    void *data;
    char *listen_sql, *watched_sql;
    char *channel;
    char *table;  /* quoted */
    char *schema; /* as configured */
    unsigned ask_ms, backoff_min_ms, backoff_max_ms, backoff_ms;

    struct pg_connection *conn; /* NULL: the back-off runs */
    bool heard;                 /* conn: LISTEN has been answered */
    unsigned questions;         /* conn: not answered yet */
    bool ask_again;             /* conn: what made us ask came after the question that is under way */
    bool listening, installed;  /* as told */
    bool said_down, said_deaf;  /* the log has it */

    uv_timer_t timer; /* with conn: the next question; without: the next attempt */
    unsigned parts;   /* the timer and connections that are not gone yet */
    bool closing;
    void (*close_cb)(void *data);
    void *close_data;
};

static void on_timer(uv_timer_t *timer);

/* ---- telling ---- */

static void tell_state(struct pg_watcher *w, bool listening, bool installed)
{
    if (w->closing || (listening == w->listening && installed == w->installed)) {
        return;
    }
    w->listening = listening;
    w->installed = installed;
    w->events->state(w->data, listening, installed);
}

static void tell_all(struct pg_watcher *w)
{
    if (!w->closing) {
        w->events->all(w->data);
    }
}

/* ---- down ---- */

static void let_connection_go(struct pg_watcher *w)
{
    if (w->conn != NULL) {
        struct pg_connection *conn = w->conn;
        w->conn = NULL;
        pg_connection_close(conn);
    }
    w->heard = false;
    w->questions = 0;
    w->ask_again = false;
}

static void go_down(struct pg_watcher *w, const struct flush_error *error)
{
    let_connection_go(w);
    if (!w->said_down) {
        w->said_down = true;
        log_warn(w->config.logger, "watcher-down", "class=%s sqlstate=%s message=\"%s\"",
            flush_error_class_name(error->class), error->sqlstate, error->message);
    }
    uint32_t chance;
    random_bytes(&chance, sizeof chance);
    unsigned half = w->backoff_ms / 2;
    uv_timer_start(&w->timer, on_timer, half + chance % (w->backoff_ms - half + 1), 0);
    w->backoff_ms = w->backoff_ms > w->backoff_max_ms / 2 ? w->backoff_max_ms : w->backoff_ms * 2;
    tell_state(w, false, false);
}

static void on_lost(void *data, const struct flush_error *error)
{
    go_down(data, error);
}

/* ---- asking ---- */

static void ask(struct pg_watcher *w)
{
    uv_timer_stop(&w->timer);
    w->questions++;
    const struct pg_param table = pg_param_bytes(PG_OID_TEXT, bytes_from_text(w->table));
    pg_connection_query(w->conn, w->watched_sql, &table, 1);
    pg_connection_sync(w->conn);
}

static void on_ready(void *data)
{
    struct pg_watcher *w = data;
    pg_connection_query(w->conn, w->listen_sql, NULL, 0);
    pg_connection_sync(w->conn); /* it takes effect when it commits */
    ask(w);
}

static void say_deaf(struct pg_watcher *w, bool installed)
{
    if (!installed && !w->said_deaf) {
        log_warn(w->config.logger, "watch-not-installed",
            "message=\"the database does not tell of changes by others: run SELECT %s.watch(true) in it\"",
            w->schema);
    } else if (installed && w->said_deaf) {
        log_info(w->config.logger, "watch-installed", "message=\"changes by others are heard from now on\"");
    }
    w->said_deaf = !installed;
}

static void answered(struct pg_watcher *w, bool installed)
{
    bool missed = installed && !w->installed; /* of what was changed until now nobody told */
    w->backoff_ms = w->backoff_min_ms;
    if (!w->listening) {
        log_info(w->config.logger, "watcher-up", "backend=%d installed=%s",
            pg_connection_backend_pid(w->conn), installed ? "true" : "false");
        w->said_down = false;
    }
    if (w->ask_again) {
        w->ask_again = false;
        ask(w);
    } else {
        uv_timer_start(&w->timer, on_timer, w->ask_ms, 0);
    }
    say_deaf(w, installed);
    tell_state(w, true, installed);
    if (missed) {
        tell_all(w);
    }
}

static void on_result(void *data, PGresult *result)
{
    struct pg_watcher *w = data;
    struct flush_error error;
    bool installed = false;
    bool good = pg_result_ok(result);
    if (!good) {
        pg_result_error(result, "watch", &error);
    } else if (w->heard && !pg_result_bool(result, 0, 0, &installed)) {
        flush_error_set(&error, FLUSH_ERROR_OUTAGE, NULL, "the database's answer was not understood");
        good = false;
    }
    PQclear(result);
    if (!good) {
        go_down(w, &error);
    } else if (!w->heard) {
        w->heard = true;
    } else {
        w->questions--;
        answered(w, installed);
    }
}

static void on_synced(void *data)
{
    (void)data; /* the statements' results say all */
}

/* ---- hearing ---- */

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Read @payload into @out. False: these are not the hexadecimal digits of a key. (None at all could be the
 * key without bytes, or a person's NOTIFY.) */
static bool read_key(const char *payload, uint8_t out[KEY_BYTES_MAX], size_t *len)
{
    size_t digits = strlen(payload);
    if (digits == 0 || digits % 2 != 0 || digits / 2 > KEY_BYTES_MAX) {
        return false;
    }
    for (size_t i = 0; i < digits / 2; i++) {
        int high = digit(payload[2 * i]), low = digit(payload[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        out[i] = (uint8_t)(high << 4 | low);
    }
    *len = digits / 2;
    return true;
}

static void on_notified(void *data, const char *channel, const char *payload)
{
    struct pg_watcher *w = data;
    uint8_t key[KEY_BYTES_MAX];
    size_t len;
    if (strcmp(channel, w->channel) != 0) {
        return;
    }
    if (read_key(payload, key, &len)) {
        w->events->changed(w->data, bytes_of(key, len));
        return;
    }
    if (w->questions == 0) {
        ask(w); /* somebody may have switched it on or off */
    } else {
        w->ask_again = true;
    }
    tell_all(w);
}

/* ---- life ---- */

static void part_gone(struct pg_watcher *w)
{
    w->parts--;
    if (!w->closing || w->parts > 0) {
        return;
    }
    void (*cb)(void *data) = w->close_cb;
    void *data = w->close_data;
    free(w->listen_sql);
    free(w->watched_sql);
    free(w->channel);
    free(w->table);
    free(w->schema);
    pg_connection_config_free(&w->config);
    free(w);
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
    .notified = on_notified,
    .lost = on_lost,
    .closed = on_connection_closed,
};

static void connect_now(struct pg_watcher *w)
{
    w->parts++;
    w->conn = pg_connection_open(&w->config, &connection_events, w);
}

static void on_timer(uv_timer_t *timer)
{
    struct pg_watcher *w = timer->data;
    if (w->conn == NULL) {
        connect_now(w);
    } else {
        ask(w);
    }
}

struct pg_watcher *pg_watcher_create(uv_loop_t *loop, const struct pg_watcher_config *config,
    const struct pg_watcher_events *events, void *data)
{
    const char *schema = config->schema == NULL ? SCHEMA_DEFAULT_NAME : config->schema;
    if (!schema_name_valid(schema)) {
        return NULL;
    }
    struct pg_watcher *w = xcalloc(1, sizeof *w);
    char name[64];
    snprintf(name, sizeof name, "wbcache node=%" PRIu64 " watch", config->node_id);
    w->config = pg_connection_config_copy(&(struct pg_connection_config){.loop = loop,
        .dsn = config->dsn,
        .application_name = name,
        .limits = config->limits,
        .logger = config->logger});
    w->listen_sql = schema_sql(SCHEMA_LISTEN, schema);
    w->watched_sql = schema_sql(SCHEMA_WATCHED, schema);
    w->channel = schema_channel(schema);
    w->table = schema_quoted(schema, "entry");
    w->schema = xstrdup(schema);
    w->events = events;
    w->data = data;
    w->ask_ms = config->ask_ms == 0 ? 5000 : config->ask_ms;
    w->backoff_min_ms = config->backoff_min_ms == 0 ? 50 : config->backoff_min_ms;
    w->backoff_max_ms = config->backoff_max_ms == 0 ? 5000 : config->backoff_max_ms;
    w->backoff_ms = w->backoff_min_ms;
    uv_timer_init(loop, &w->timer);
    w->timer.data = w;
    w->parts = 1;
    connect_now(w);
    return w;
}

void pg_watcher_close(struct pg_watcher *w, void (*cb)(void *data), void *data)
{
    CHECK(!w->closing);
    w->closing = true;
    w->close_cb = cb;
    w->close_data = data;
    let_connection_go(w);
    uv_close((uv_handle_t *)&w->timer, on_timer_closed);
}
