#include "cluster-tests/fresh_watch.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cluster-tests/sql.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"

enum { NOTE_PERIOD_MS = 4, READ_PERIOD_MS = 10, NOTES_MAX = 8192 };

/* All of these versions (by key number) were acknowledged before this time of PostgreSQL's. */
struct note {
    int64_t clock_us;
    uint64_t *versions;
};

struct fresh_watch {
    const char *dsn;
    struct ledger *ledger;
    uint32_t keys;
    pthread_t noting, reading;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t wake;   /* stopping, or a reading has ended */
    bool stopping;
    struct note notes[NOTES_MAX]; /* by time */
    unsigned n_notes;
    struct fresh_watch_numbers numbers;
    uint64_t ended; /* readings, never restarted */
    /* the reader's own */
    uint64_t *row_versions; /* by key number; 0: no row */
    uint64_t *acknowledged; /* before the reading began */
    int64_t last_us;
};

/* True when it is time to end. */
static bool pass(struct fresh_watch *w, unsigned ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + (uint64_t)ms * 1000000;
    until.tv_sec += (time_t)(ns / 1000000000);
    until.tv_nsec = (long)(ns % 1000000000);
    pthread_mutex_lock(&w->mutex);
    int rc = 0;
    while (!w->stopping && rc == 0) {
        rc = pthread_cond_timedwait(&w->wake, &w->mutex, &until);
    }
    bool end = w->stopping;
    pthread_mutex_unlock(&w->mutex);
    return end;
}

static int64_t number(const PGresult *result, int column)
{
    return PQgetisnull(result, 0, column) ? 0 : strtoll(PQgetvalue(result, 0, column), NULL, 10);
}

static void copy_acknowledged(struct fresh_watch *w, uint64_t *versions)
{
    for (uint32_t key = 0; key < w->keys; key++) {
        versions[key] = ledger_version(w->ledger, key);
    }
}

/* ---- noting ---- */

/* Fewer notes are coarser, and as true. */
static void thin_out(struct fresh_watch *w)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < w->n_notes; i++) {
        if (i % 2 == 0) {
            w->notes[kept++] = w->notes[i];
        } else {
            free(w->notes[i].versions);
        }
    }
    w->n_notes = kept;
}

static bool take_note(struct fresh_watch *w, PGconn *conn)
{
    uint64_t *versions = xcalloc(w->keys, sizeof *versions);
    copy_acknowledged(w, versions);
    PGresult *result = PQexec(conn, "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint");
    bool known = PQresultStatus(result) == PGRES_TUPLES_OK;
    int64_t clock_us = known ? number(result, 0) : 0;
    PQclear(result);
    if (!known) {
        free(versions);
        return false;
    }
    pthread_mutex_lock(&w->mutex);
    if (w->n_notes == NOTES_MAX) {
        thin_out(w);
    }
    if (w->n_notes > 0 && clock_us <= w->notes[w->n_notes - 1].clock_us) {
        free(versions); /* the server's clock was set: this one has no place */
    } else {
        w->notes[w->n_notes++] = (struct note){.clock_us = clock_us, .versions = versions};
    }
    pthread_mutex_unlock(&w->mutex);
    return true;
}

/* ---- reading ---- */

static void on_row(void *data, const struct sql_entry *entry)
{
    struct fresh_watch *w = data;
    int64_t key = ledger_key_number(w->ledger, entry->key);
    if (key >= 0) {
        w->row_versions[key] = entry->version;
    }
}

/* The newest note that is not newer than @clock_us, or NULL. */
static const struct note *note_before(const struct fresh_watch *w, int64_t clock_us)
{
    unsigned low = 0;
    unsigned high = w->n_notes;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (w->notes[middle].clock_us <= clock_us) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low == 0 ? NULL : &w->notes[low - 1];
}

static void tell_lie(struct fresh_watch *w, uint32_t key, const struct note *note, int64_t fresh_us)
{
    if (w->numbers.lies++ == 0) {
        char name[LEDGER_KEY_BYTES];
        ledger_key(w->ledger, key, name);
        snprintf(w->numbers.lie, sizeof w->numbers.lie,
            "version %" PRIu64 " of %s was acknowledged %" PRId64
            " us or more before fresh_as_of, but the row has version %" PRIu64,
            note->versions[key], name, fresh_us - note->clock_us, w->row_versions[key]);
    }
}

static void judge(struct fresh_watch *w, int64_t fresh_us)
{
    const struct note *note = note_before(w, fresh_us);
    if (note == NULL) {
        return;
    }
    w->numbers.judged++;
    bool behind = false;
    for (uint32_t key = 0; key < w->keys; key++) {
        if (w->row_versions[key] < note->versions[key]) {
            tell_lie(w, key, note, fresh_us);
            return;
        }
        behind = behind || w->row_versions[key] < w->acknowledged[key];
    }
    w->numbers.behind += behind;
}

/* @view is what the reading's snapshot says: fresh_as_of, recovering, the server's clock. */
static void enter(struct fresh_watch *w, const PGresult *view)
{
    int64_t fresh_us = number(view, 0);
    pthread_mutex_lock(&w->mutex);
    w->numbers.readings++;
    w->numbers.recovering += PQgetvalue(view, 0, 1)[0] == 't';
    if (fresh_us == 0) {
        w->numbers.unknown++;
    } else {
        judge(w, fresh_us);
        w->numbers.moved += fresh_us > w->last_us;
        w->numbers.went_back += fresh_us < w->last_us;
        w->last_us = fresh_us;
        int64_t age_ms = (number(view, 2) - fresh_us) / 1000;
        if (age_ms > (int64_t)w->numbers.age_max_ms) {
            w->numbers.age_max_ms = (uint64_t)age_ms;
        }
    }
    pthread_mutex_unlock(&w->mutex);
}

static bool run(PGconn *conn, const char *command)
{
    PGresult *result = PQexec(conn, command);
    bool done = PQresultStatus(result) == PGRES_COMMAND_OK;
    PQclear(result);
    return done;
}

static bool read_once(struct fresh_watch *w, PGconn *conn)
{
    memset(w->row_versions, 0, w->keys * sizeof *w->row_versions);
    copy_acknowledged(w, w->acknowledged);
    if (!run(conn, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")) {
        return false;
    }
    PGresult *view =
        PQexec(conn, "SELECT (extract(epoch FROM fresh_as_of) * 1000000)::bigint, recovering,"
                     " (extract(epoch FROM clock_timestamp()) * 1000000)::bigint FROM wb.freshness");
    bool ok = PQresultStatus(view) == PGRES_TUPLES_OK && PQntuples(view) == 1 &&
              sql_entries(conn, on_row, w) && run(conn, "COMMIT");
    if (ok) {
        enter(w, view);
    }
    PQclear(view);
    return ok;
}

/* ---- the threads ---- */

static void *note_all_the_time(void *arg)
{
    struct fresh_watch *w = arg;
    PGconn *conn = NULL;
    do {
        if (conn == NULL) {
            conn = sql_connect(w->dsn);
        }
        if (conn != NULL && !take_note(w, conn)) {
            PQfinish(conn);
            conn = NULL;
        }
    } while (!pass(w, NOTE_PERIOD_MS));
    PQfinish(conn);
    return NULL;
}

static void *read_all_the_time(void *arg)
{
    struct fresh_watch *w = arg;
    PGconn *conn = NULL;
    do {
        if (conn == NULL) {
            conn = sql_connect(w->dsn);
        }
        bool done = conn != NULL && read_once(w, conn);
        if (!done) {
            PQfinish(conn);
            conn = NULL;
        }
        pthread_mutex_lock(&w->mutex);
        w->numbers.failures += !done;
        w->ended++;
        pthread_mutex_unlock(&w->mutex);
    } while (!pass(w, READ_PERIOD_MS));
    PQfinish(conn);
    return NULL;
}

struct fresh_watch *fresh_watch_start(const char *dsn, struct ledger *ledger)
{
    struct fresh_watch *w = xcalloc(1, sizeof *w);
    w->dsn = dsn;
    w->ledger = ledger;
    w->keys = ledger_keys(ledger);
    w->row_versions = xcalloc(w->keys, sizeof *w->row_versions);
    w->acknowledged = xcalloc(w->keys, sizeof *w->acknowledged);
    pthread_mutex_init(&w->mutex, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&w->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    CHECK(pthread_create(&w->noting, NULL, note_all_the_time, w) == 0);
    CHECK(pthread_create(&w->reading, NULL, read_all_the_time, w) == 0);
    return w;
}

struct fresh_watch_numbers fresh_watch_numbers(struct fresh_watch *w)
{
    pthread_mutex_lock(&w->mutex);
    struct fresh_watch_numbers numbers = w->numbers;
    pthread_mutex_unlock(&w->mutex);
    return numbers;
}

void fresh_watch_restart(struct fresh_watch *w)
{
    pthread_mutex_lock(&w->mutex);
    w->numbers = (struct fresh_watch_numbers){0};
    pthread_mutex_unlock(&w->mutex);
}

bool fresh_watch_await(struct fresh_watch *w, uint64_t n, unsigned timeout_ms)
{
    uint64_t until_ms = clock_boot_ms() + timeout_ms;
    uint64_t wanted = 0;
    for (;;) {
        pthread_mutex_lock(&w->mutex);
        uint64_t ended = w->ended;
        pthread_mutex_unlock(&w->mutex);
        wanted = wanted == 0 ? ended + n + 1 : wanted; /* the one under way began before */
        if (ended >= wanted || clock_boot_ms() >= until_ms) {
            return ended >= wanted;
        }
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
}

struct fresh_watch_numbers fresh_watch_stop(struct fresh_watch *w)
{
    pthread_mutex_lock(&w->mutex);
    w->stopping = true;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->mutex);
    pthread_join(w->noting, NULL);
    pthread_join(w->reading, NULL);
    struct fresh_watch_numbers numbers = w->numbers;
    for (unsigned i = 0; i < w->n_notes; i++) {
        free(w->notes[i].versions);
    }
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->mutex);
    free(w->row_versions);
    free(w->acknowledged);
    free(w);
    return numbers;
}
