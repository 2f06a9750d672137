#include "flush/flush_session_test_help.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "flush/flush_batch.h"
#include "flush/flush_error.h"

/* ---- What the session asks ---- */

static void ask(struct desk *d, const char *format, ...)
{
    size_t len = strlen(d->asked);
    va_list args;
    va_start(args, format);
    vsnprintf(d->asked + len, sizeof d->asked - len, format, args);
    va_end(args);
    strncat(d->asked, "; ", sizeof d->asked - strlen(d->asked) - 1);
}

static void inspect(void *data, const uint8_t cluster_id[CLUSTER_ID_BYTES])
{
    ask(data, "inspect %d", cluster_id[0]);
}

static void claim(void *data, const struct flush_identity *id, const struct flush_inspected *expected)
{
    (void)expected;
    ask(data, "claim %d", id->cluster_id[0]);
}

static void take(void *data, const struct flush_identity *id, uint64_t term)
{
    (void)id;
    ask(data, "take %" PRIu64, term);
}

static void send_batch(void *data, struct flush_batch *b)
{
    ask(data, "%s %" PRIu64 "<-%" PRIu64 " of %u", b->isolate ? "isolate" : "send", b->id, b->predecessor,
        b->upserts);
}

static void finish(void *data, const struct flush_note *note, const struct flush_mirror *mirror)
{
    (void)note;
    ask(data, "finish%s", mirror != NULL ? " with mirror" : "");
}

static void say(
    void *data, const struct flush_note *note, const struct flush_mirror *mirror, uint64_t last_batch)
{
    (void)note;
    ask(data, "note at %" PRIu64 "%s", last_batch, mirror != NULL ? " with mirror" : "");
}

static void disconnect(void *data)
{
    ask(data, "disconnect");
}

static void release(void *data)
{
    ask(data, "release");
}

static bool wanted(void *data)
{
    return ((struct desk *)data)->wanted;
}

static const struct flusher_ops flusher = {.inspect = inspect,
    .claim = claim,
    .take = take,
    .send = send_batch,
    .finish = finish,
    .note = say,
    .disconnect = disconnect,
    .release = release,
    .wanted = wanted};

/* What it has asked since the last time: "take 1; note at 5". */
void asks_at(struct desk *d, const char *want, int line)
{
    size_t len = strlen(d->asked);
    d->asked[len >= 2 ? len - 2 : 0] = '\0';
    if (strcmp(d->asked, want) != 0) {
        print_error("asked \"%s\", want \"%s\"\n", d->asked, want);
        _fail(__FILE__, line);
    }
    d->asked[0] = '\0';
}

/* The commands for the log, which are proposed thereby: "BEGIN 64; ABORT 5". */
void proposes_at(struct desk *d, const char *want, int line)
{
    static const char *const names[] = {
        "GENESIS", "CLAIMED", "BEGIN", "FLUSHED", "ABORT", "RETRY", "QUARANTINE", "REWIND"};
    char got[512] = "";
    const struct flush_command *c;
    while ((c = flush_session_command(&d->s)) != NULL) {
        size_t len = strlen(got);
        len += (size_t)snprintf(got + len, sizeof got - len, "%s%s", len > 0 ? "; " : "", names[c->kind]);
        bool begins = c->kind == FLUSH_COMMAND_BEGIN || c->kind == FLUSH_COMMAND_RETRY;
        if (begins || c->batch != 0 || c->kind == FLUSH_COMMAND_REWIND) {
            len +=
                (size_t)snprintf(got + len, sizeof got - len, " %" PRIu64, begins ? c->rows_max : c->batch);
        }
        if (c->kind == FLUSH_COMMAND_FLUSHED) {
            snprintf(got + len, sizeof got - len, "<-%" PRIu64, c->predecessor);
        } else if (c->kind == FLUSH_COMMAND_QUARANTINE) {
            snprintf(got + len, sizeof got - len, " %u+%u", c->first, c->n);
        }
        flush_session_pop(&d->s);
    }
    if (strcmp(got, want) != 0) {
        print_error("proposed \"%s\", want \"%s\"\n", got, want);
        _fail(__FILE__, line);
    }
}

/* ---- The time, the log, the database ---- */

/* As a group does it: turns until its state stays, then the notes that are due. */
void turn(struct desk *d)
{
    enum flush_session_state before;
    do {
        before = d->s.state;
        d->wake_ms = flush_session_turn(&d->s, &d->view, d->now_ms);
    } while (d->s.state != before);
    struct flush_note note = {0};
    struct flush_mirror mirror = {0};
    bool show = true;
    if (flush_session_finish_due(&d->s)) {
        flush_session_finish(&d->s, &note, &mirror, d->view.quarantine_changes);
    } else if (flush_session_note_due(&d->s, &d->view, &show)) {
        flush_session_note(&d->s, &note, show ? &mirror : NULL, d->view.quarantine_changes);
    }
}

void pass(struct desk *d, uint64_t ms)
{
    d->now_ms += ms;
    turn(d);
}

void desk_init(struct desk *d, uint32_t group)
{
    const struct flush_settings settings = {.batch_rows = BATCH_ROWS,
        .batch_bytes = 1 << 20,
        .in_flight = 3,
        .retry_min_ms = RETRY_MIN_MS,
        .retry_max_ms = RETRY_MAX_MS,
        .note_ms = NOTE_MS};
    static const uint8_t new_cluster_id[CLUSTER_ID_BYTES] = {9};
    *d = (struct desk){.now_ms = START_MS, .clock_us = 1000};
    flush_session_init(&d->s, &settings, group, 3, false, 4711, &flusher, d);
    flush_session_start(&d->s, 6, new_cluster_id, d->now_ms);
}

void desk_deinit(struct desk *d)
{
    flush_session_stop(&d->s);
    assert_state(d, FLUSH_OFF);
    flush_session_deinit(&d->s);
}

/* The database's answers. */
void on_taken(struct desk *d, uint64_t last_batch)
{
    struct fence_row row = {.epoch = ++d->epoch, .last_batch = last_batch, .clock_us = d->clock_us++};
    flush_session_events.taken(&d->s, &row);
    turn(d);
}

void on_noted(struct desk *d)
{
    flush_session_events.noted(&d->s, d->clock_us++);
    turn(d);
}

void on_committed(struct desk *d, uint64_t batch)
{
    flush_session_events.committed(&d->s, batch, d->clock_us++);
    turn(d);
}

void on_failed(struct desk *d, enum flush_error_class class, const char *sqlstate, const char *message)
{
    struct flush_error e;
    flush_error_set(&e, class, sqlstate, "%s", message);
    e.in_rows = class == FLUSH_ERROR_ROW || class == FLUSH_ERROR_TRANSIENT;
    flush_session_events.failed(&d->s, &e);
    turn(d);
}

void on_isolated(struct desk *d, uint64_t batch, uint32_t n, const char *message)
{
    struct flush_fault *faults = calloc(n + 1, sizeof *faults);
    assert_non_null(faults);
    for (uint32_t i = 0; i < n; i++) {
        faults[i] =
            (struct flush_fault){.key = bytes_from_text("bad"), .sqlstate = "23514", .message = message};
    }
    flush_session_events.isolated(&d->s, batch, faults, n);
    free(faults);
    turn(d);
}

/* The log's: a BEGIN that moves @rows (0: it finds none) has applied as entry @batch; what settles has
 * applied. */
void applied_begin(struct desk *d, uint64_t batch, uint32_t rows)
{
    uint64_t predecessor;
    d->view.applied_index = batch;
    if (rows > 0) {
        d->view.in_flight[d->view.n_in_flight++] = batch;
        d->view.newest_batch = batch;
    }
    if (flush_session_begun(&d->s, batch, rows > 0, &predecessor)) {
        struct flush_batch b;
        flush_batch_init(&b);
        b.id = batch;
        b.predecessor = predecessor;
        b.upserts = rows;
        flush_session_send(&d->s, &b);
    }
    d->view.rows_due = 0;
    turn(d);
}

void applied_settling(struct desk *d, uint64_t last_batch)
{
    d->view.last_batch = last_batch;
    d->view.n_in_flight = 0;
    turn(d);
}

void desk_active(struct desk *d)
{
    desk_init(d, 0);
    d->view.born = d->view.claimed = true;
    turn(d);
    asks(d, "take 6");
    on_taken(d, 0);
    assert_state(d, FLUSH_ACTIVE);
    asks(d, "note at 0 with mirror");
    on_noted(d);
}

/* @rows are due; they go as @batch. */
void send_rows(struct desk *d, uint64_t batch, uint32_t rows)
{
    char want[32];
    d->view.rows_due = rows;
    turn(d);
    snprintf(want, sizeof want, "BEGIN %u", rows);
    proposes(d, want);
    applied_begin(d, batch, rows);
}

/* The connection failed, and @last_batch is in the database when the fence is taken again. */
void take_again(struct desk *d, uint64_t last_batch)
{
    d->asked[0] = '\0';
    pass(d, RETRY_MAX_MS);
    asks(d, "take 6");
    on_taken(d, last_batch);
}

/* The batch has failed with a bad row, and goes again, isolating, as @batch. */
void isolate_again(struct desk *d, uint64_t last_batch, uint64_t failed, uint64_t batch, uint32_t rows)
{
    char want[64];
    d->asked[0] = '\0';
    on_failed(d, FLUSH_ERROR_ROW, "23514", "violates check");
    asks(d, "take 6"); /* at once: the database is well */
    on_taken(d, last_batch);
    snprintf(want, sizeof want, "ABORT %" PRIu64, failed);
    proposes(d, want);
    applied_settling(d, last_batch);
    on_noted(d); /* the one after each take */
    d->asked[0] = '\0';
    send_rows(d, batch, rows);
    snprintf(want, sizeof want, "isolate %" PRIu64 "<-%" PRIu64 " of %u", batch, last_batch, rows);
    asks(d, want);
}
