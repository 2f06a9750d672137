#include "cluster-tests/row_watch.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cluster-tests/sql.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"

struct row_watch {
    const char *dsn;
    struct ledger *ledger;
    unsigned period_ms;
    bool ages;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    pthread_cond_t ended;
    bool stopping;        /* guarded by mutex, as is: */
    uint64_t ended_count; /* of attempts to read */
    /* the thread's own, until it is joined */
    uint64_t *versions; /* by key number, 0: no row yet */
    bool *present;      /* in this reading */
    struct row_watch_numbers numbers;
};

static void went_back(struct row_watch *w, uint32_t key, uint64_t from, uint64_t to)
{
    if (w->numbers.went_back++ == 0) {
        char name[LEDGER_KEY_BYTES];
        ledger_key(w->ledger, key, name);
        snprintf(w->numbers.problem, sizeof w->numbers.problem,
            "%s went from version %" PRIu64 " to %" PRIu64, name, from, to);
    }
}

static void on_row(void *data, const struct sql_entry *entry)
{
    struct row_watch *w = data;
    int64_t key = ledger_key_number(w->ledger, entry->key);
    if (key < 0) {
        return;
    }
    w->present[key] = true;
    if (entry->version < w->versions[key]) {
        went_back(w, (uint32_t)key, w->versions[key], entry->version);
    } else if (entry->version > w->versions[key]) {
        w->numbers.changes++;
    }
    w->versions[key] = entry->version;
}

/* @began_ms was taken before the snapshot: what was acknowledged before it and is missing is at least so old.
 */
static void measure_ages(struct row_watch *w, uint64_t began_ms)
{
    for (uint32_t key = 0; key < ledger_keys(w->ledger); key++) {
        uint64_t oldest_ms = ledger_oldest_missing_ms(w->ledger, key, w->versions[key]);
        if (oldest_ms != 0 && oldest_ms < began_ms && began_ms - oldest_ms > w->numbers.age_max_ms) {
            w->numbers.age_max_ms = began_ms - oldest_ms;
        }
    }
}

static bool read_table(struct row_watch *w, PGconn *conn)
{
    for (uint32_t key = 0; key < ledger_keys(w->ledger); key++) {
        w->present[key] = false;
    }
    uint64_t began_ms = clock_boot_ms();
    if (!sql_entries(conn, on_row, w)) {
        return false;
    }
    w->numbers.readings++;
    for (uint32_t key = 0; key < ledger_keys(w->ledger); key++) {
        if (!w->present[key] && w->versions[key] != 0) {
            went_back(w, key, w->versions[key], 0);
            w->versions[key] = 0;
        }
    }
    if (w->ages) {
        measure_ages(w, began_ms);
    }
    return true;
}

/* True when the watch is to end. */
static bool wait_period(struct row_watch *w)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + (uint64_t)w->period_ms * 1000000;
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

static void *run(void *arg)
{
    struct row_watch *w = arg;
    PGconn *conn = NULL;
    do {
        if (conn == NULL) {
            conn = sql_connect(w->dsn);
        }
        if (conn == NULL || !read_table(w, conn)) {
            w->numbers.failures++;
            PQfinish(conn);
            conn = NULL;
        }
        pthread_mutex_lock(&w->mutex);
        w->ended_count++;
        pthread_cond_broadcast(&w->ended);
        pthread_mutex_unlock(&w->mutex);
    } while (!wait_period(w));
    PQfinish(conn);
    return NULL;
}

struct row_watch *row_watch_start(const char *dsn, struct ledger *ledger, unsigned period_ms, bool ages)
{
    struct row_watch *w = xcalloc(1, sizeof *w);
    w->dsn = dsn;
    w->ledger = ledger;
    w->period_ms = period_ms;
    w->ages = ages;
    w->versions = xcalloc(ledger_keys(ledger), sizeof *w->versions);
    w->present = xcalloc(ledger_keys(ledger), sizeof *w->present);
    pthread_mutex_init(&w->mutex, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&w->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&w->ended, NULL);
    CHECK(pthread_create(&w->thread, NULL, run, w) == 0);
    return w;
}

void row_watch_await(struct row_watch *w)
{
    pthread_mutex_lock(&w->mutex);
    uint64_t wanted = w->ended_count + 2; /* the one under way began before */
    while (w->ended_count < wanted) {
        pthread_cond_wait(&w->ended, &w->mutex);
    }
    pthread_mutex_unlock(&w->mutex);
}

struct row_watch_numbers row_watch_stop(struct row_watch *w)
{
    pthread_mutex_lock(&w->mutex);
    w->stopping = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->mutex);
    pthread_join(w->thread, NULL);
    struct row_watch_numbers numbers = w->numbers;
    pthread_cond_destroy(&w->wake);
    pthread_cond_destroy(&w->ended);
    pthread_mutex_destroy(&w->mutex);
    free(w->versions);
    free(w->present);
    free(w);
    return numbers;
}
