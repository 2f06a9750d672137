#include "flush/pg_flusher.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flush/flush_batch.h"
#include "flush/flush_error.h"
#include "flush/pg_fence.h"
#include "flush/pg_result.h"
#include "flush/pg_statements.h"
#include "flush/pg_time.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/base/list.h"

enum sent_kind {
    SENT_BATCH,   /* BEGIN, advance, rows, COMMIT */
    SENT_ISOLATE, /* BEGIN, advance, the constraints, the rows: the transaction stays open */
    SENT_FINISH,  /* advance (in its place), the mirror, COMMIT */
    SENT_NOTE,    /* BEGIN, advance (in its place), the mirror, COMMIT */
};
/* Work under way: its results come in the order of its statements. */
struct sent {
    struct list link; /* in pg_flusher.sent */
    enum sent_kind kind;
    uint64_t id; /* the batch's; of a note, the last batch's */
    int statements;
    int advance; /* which of them moves the fence, from 0: the clock is its result */
    int answered;
    int64_t clock_us;
};

struct pg_flusher {
    struct pg_connection_config config; /* of its connections; a copy */
    const struct flusher_events *events;
    void *data;
    uint32_t group;
    char *schema; /* quoted */
    char *state_table;
    char *sql[SCHEMA_SQL_COUNT];

    struct flush_slots *slots; /* NULL: no limit */
    struct flush_slot slot;
    struct pg_connection *conn; /* NULL when there is none */
    bool ready;                 /* conn is */
    bool taken;                 /* conn holds the fence, and the batches' statements are prepared on it */
    struct pg_fence fence;      /* the conversation under way, if its kind is not NONE */
    struct list sent;           /* oldest first */
    uint64_t isolated;          /* the batch whose transaction is open, until it is finished; 0: none */
    bool noting;                /* a note is under way */
    bool end_holders;           /* the last take has waited for the row's lock in vain */
    char *refusals;             /* flush_error_row_pattern() */
    struct pg_holder holder;    /* while taken */
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
    free(f->refusals);
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
        free(list_entry(node, struct sent, link));
    }
    f->isolated = 0;
    f->noting = false;
    if (f->slots != NULL) {
        flush_slots_give(f->slots, &f->slot);
    }
}

static void log_ended(const struct pg_flusher *f)
{
    for (int i = 0; i < f->fence.n_ended; i++) {
        log_warn(f->config.logger, "flush-backend-ended",
            "group=%" PRIu32 " backend=%d reason=\"a transaction of this group kept the fence row locked\"",
            f->group, f->fence.ended[i]);
    }
}

/* Has a take waited for a lock in vain? Or for anything that long, where that limit is the shorter one. */
static bool waited_in_vain(const struct flush_error *error)
{
    return strcmp(error->sqlstate, "55P03") == 0 || strcmp(error->sqlstate, "57014") == 0;
}

/* @error is copied first: it may live in what is reset. */
static void fail(struct pg_flusher *f, const struct flush_error *error)
{
    struct flush_error copy = *error;
    if (f->fence.kind == PG_FENCE_TAKE) {
        log_ended(f);
        f->end_holders = waited_in_vain(&copy);
    }
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

static const char *sent_name(enum sent_kind kind)
{
    return kind == SENT_NOTE ? "the note behind batch" : "batch";
}

/* Only a batch's own statements, or its COMMIT, can meet a row that is refused. That class anywhere else
 * would have rows isolated for ever, and none found. */
static void judge(const struct pg_flusher *f, const struct sent *sent, struct flush_error *error)
{
    bool commit = sent->kind == SENT_FINISH && sent->answered == sent->statements;
    error->in_rows =
        (sent->kind == SENT_BATCH || sent->kind == SENT_ISOLATE) && sent->answered - 1 > sent->advance;
    if (error->class != FLUSH_ERROR_ROW || commit || (error->in_rows && sent->kind == SENT_BATCH)) {
        return;
    }
    struct flush_error was = *error;
    flush_error_set(error, FLUSH_ERROR_HALT, was.sqlstate,
        "%s (no row of the batch is at fault: something was added to schema %s that refuses this)",
        was.message, f->schema);
}

/* Success is the tag COMMIT of the COMMIT: one that ends a failed transaction says ROLLBACK. */
static bool read_answer(
    struct pg_flusher *f, struct sent *sent, const PGresult *result, struct flush_error *error)
{
    bool last = sent->answered == sent->statements && sent->kind != SENT_ISOLATE;
    int64_t clock;
    if (!pg_result_ok(result)) {
        char what[64];
        snprintf(what, sizeof what, "%s %" PRIu64, sent_name(sent->kind), sent->id);
        pg_result_error(result, what, error);
        judge(f, sent, error);
        return false;
    }
    if (last && !pg_result_tag_is(result, "COMMIT")) {
        flush_error_set(error, FLUSH_ERROR_OUTAGE, NULL, "%s %" PRIu64 ": the server answered COMMIT with %s",
            sent_name(sent->kind), sent->id, PQcmdStatus((PGresult *)(uintptr_t)result));
        return false;
    }
    if (sent->answered - 1 == sent->advance) {
        if (!pg_result_int8(result, 0, 0, &clock)) {
            flush_error_set(error, FLUSH_ERROR_OUTAGE, NULL,
                "%s %" PRIu64 ": the server gave no usable answer about its clock", sent_name(sent->kind),
                sent->id);
            return false;
        }
        sent->clock_us = pg_time_to_unix_us(clock);
    }
    return true;
}

/* Tell which rows were refused. @result is borrowed, and lives until the event returns. */
static void tell_isolated(struct pg_flusher *f, uint64_t id, const PGresult *result)
{
    int rows = PQntuples(result);
    uint32_t n = 0;
    struct flush_fault *faults = xcalloc((size_t)rows + 1, sizeof *faults);
    struct flush_error *errors =
        xcalloc((size_t)rows + 1, sizeof *errors); /* the faults borrow their texts */
    int32_t tries = 0;
    bool odd = !pg_result_int4(result, 0, 0, &tries);
    for (int i = 0; i < rows && !odd && !pg_result_is_null(result, i, 1); i++) {
        struct bytes state, words;
        odd = !pg_result_bytes(result, i, 1, &faults[n].key) || !pg_result_bytes(result, i, 2, &state) ||
              !pg_result_bytes(result, i, 3, &words) || state.len != sizeof faults[n].sqlstate - 1;
        if (!odd) {
            memcpy(faults[n].sqlstate, state.data, state.len);
            flush_error_set(
                &errors[n], FLUSH_ERROR_ROW, NULL, "%.*s", (int)words.len, (const char *)words.data);
            faults[n].message = errors[n].message;
            n++;
        }
    }
    if (odd) {
        struct flush_error error;
        flush_error_set(&error, FLUSH_ERROR_OUTAGE, NULL,
            "batch %" PRIu64 ": the server gave no usable answer about the rows that it refuses", id);
        fail(f, &error);
    } else {
        log_info(f->config.logger, "flush-isolated",
            "group=%" PRIu32 " batch=%" PRIu64 " refused=%" PRIu32 " tries=%" PRId32, f->group, id, n, tries);
        f->isolated = id;
        f->events->isolated(f->data, id, faults, n);
    }
    free(errors);
    free(faults);
}

/* All statements were answered. */
static void done(struct pg_flusher *f, const struct sent *sent, const PGresult *result)
{
    switch (sent->kind) {
    case SENT_BATCH:
    case SENT_FINISH:
        f->events->committed(f->data, sent->id, sent->clock_us);
        return;
    case SENT_ISOLATE:
        tell_isolated(f, sent->id, result);
        return;
    case SENT_NOTE:
        f->noting = false;
        f->events->noted(f->data, sent->clock_us);
        return;
    }
    CHECK(false);
}

static void sent_result(struct pg_flusher *f, PGresult *result)
{
    CHECK(!list_empty(&f->sent)); /* pg_connection gives each statement one result */
    struct sent *sent = list_entry(f->sent.next, struct sent, link);
    struct flush_error error;
    sent->answered++;
    if (!read_answer(f, sent, result, &error)) {
        fail(f, &error);
    } else if (sent->answered == sent->statements) {
        struct sent copy = *sent;
        list_remove(&sent->link);
        free(sent);
        done(f, &copy, result);
    }
    PQclear(result);
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
    if (f->fence.kind == PG_FENCE_TAKE) {
        log_ended(f);
    }
    struct pg_fence done = f->fence; /* the event may begin another conversation */
    pg_fence_reset(&f->fence);
    if (f->slots != NULL && done.kind != PG_FENCE_TAKE) {
        reset(f); /* what follows may be long in coming: others may have the slot */
    }
    switch (done.kind) {
    case PG_FENCE_INSPECT:
        f->events->inspected(f->data, &done.inspected);
        return;
    case PG_FENCE_CLAIM:
        f->events->claimed(f->data);
        return;
    case PG_FENCE_TAKE:
        f->taken = true;
        f->end_holders = false;
        f->holder = (struct pg_holder){
            .id = done.id, .epoch = done.row.epoch, .lock = pg_fence_lock(f->schema, &done.id)};
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
        sent_result(f, result);
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

static void connect_now(void *data)
{
    struct pg_flusher *f = data;
    f->closing_parts++;
    f->conn = pg_connection_open(&f->config, &connection_events, f);
}

static void converse(struct pg_flusher *f, enum pg_fence_kind kind)
{
    CHECK(!f->closing && f->fence.kind == PG_FENCE_NONE && list_empty(&f->sent) && f->isolated == 0);
    if (f->taken) {
        reset(f); /* its statements are prepared already; and a new office wants a new session */
    }
    f->fence.kind = kind;
    if (f->conn == NULL) {
        if (f->slots == NULL || flush_slots_take(f->slots, &f->slot)) {
            connect_now(f);
        }
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
    f->fence.end_holders = f->end_holders;
    converse(f, PG_FENCE_TAKE);
}

static struct sent *add_sent(struct pg_flusher *f, enum sent_kind kind, uint64_t id)
{
    struct sent *sent = xcalloc(1, sizeof *sent);
    sent->kind = kind;
    sent->id = id;
    list_push_back(&f->sent, &sent->link);
    return sent;
}

static void flusher_send(void *flusher, struct flush_batch *batch)
{
    struct pg_flusher *f = flusher;
    CHECK(f->taken && f->isolated == 0 && batch->id > batch->predecessor && batch->id <= INT64_MAX);
    CHECK(!batch->isolate || list_empty(&f->sent));
    struct sent *sent = add_sent(f, batch->isolate ? SENT_ISOLATE : SENT_BATCH, batch->id);
    pg_connection_execute(f->conn, PG_STATEMENT_BEGIN, NULL, 0);
    pg_send_advance(f->conn, &f->holder, batch->predecessor, batch->id, &batch->note);
    sent->advance = 1;
    sent->statements = 2;
    if (batch->isolate) {
        sent->statements += pg_send_isolating(f->conn, batch, f->sql[SCHEMA_IMMEDIATE], f->refusals);
    } else {
        sent->statements += pg_send_rows(f->conn, batch) + 1;
        pg_connection_execute(f->conn, PG_STATEMENT_COMMIT, NULL, 0);
    }
    pg_connection_sync(f->conn);
    flush_batch_deinit(batch);
    flush_batch_init(batch);
}

static void flusher_finish(void *flusher, const struct flush_note *note, const struct flush_mirror *mirror)
{
    struct pg_flusher *f = flusher;
    CHECK(f->taken && f->isolated != 0);
    struct sent *sent = add_sent(f, SENT_FINISH, f->isolated);
    f->isolated = 0;
    pg_send_advance(f->conn, &f->holder, sent->id, sent->id, note);
    sent->advance = 0;
    sent->statements = 1 + pg_send_mirror(f->conn, &f->holder, mirror) + 1;
    pg_connection_execute(f->conn, PG_STATEMENT_COMMIT, NULL, 0);
    pg_connection_sync(f->conn);
}

static void flusher_note(
    void *flusher, const struct flush_note *note, const struct flush_mirror *mirror, uint64_t last_batch)
{
    struct pg_flusher *f = flusher;
    CHECK(f->taken && f->isolated == 0 && !f->noting && last_batch <= INT64_MAX);
    struct sent *sent = add_sent(f, SENT_NOTE, last_batch);
    f->noting = true;
    pg_connection_execute(f->conn, PG_STATEMENT_BEGIN, NULL, 0);
    pg_send_advance(f->conn, &f->holder, last_batch, last_batch, note);
    sent->advance = 1;
    sent->statements = 2 + pg_send_mirror(f->conn, &f->holder, mirror) + 1;
    pg_connection_execute(f->conn, PG_STATEMENT_COMMIT, NULL, 0);
    pg_connection_sync(f->conn);
}

static void flusher_disconnect(void *flusher)
{
    reset(flusher);
}

static void flusher_release(void *flusher)
{
    struct pg_flusher *f = flusher;
    CHECK(list_empty(&f->sent) && f->isolated == 0 && f->fence.kind == PG_FENCE_NONE);
    reset(f);
}

static bool flusher_wanted(void *flusher)
{
    const struct pg_flusher *f = flusher;
    return f->slots != NULL && flush_slots_wanted(f->slots);
}

const struct flusher_ops pg_flusher_ops = {
    .inspect = flusher_inspect,
    .claim = flusher_claim,
    .take = flusher_take,
    .send = flusher_send,
    .finish = flusher_finish,
    .note = flusher_note,
    .disconnect = flusher_disconnect,
    .release = flusher_release,
    .wanted = flusher_wanted,
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
    f->slots = config->slots;
    flush_slot_init(&f->slot, connect_now, f);
    f->schema = schema_quoted(schema, NULL);
    f->state_table = schema_quoted(schema, "flush_state");
    for (int i = 0; i < SCHEMA_SQL_COUNT; i++) {
        f->sql[i] = schema_sql((enum schema_sql)i, schema);
    }
    f->refusals = flush_error_row_pattern();
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
