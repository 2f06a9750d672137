#include "cluster-tests/adversary.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cluster-tests/sql.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"

enum { COMMAND_BYTES = 512, SLICE_MS = 300, KINDS = 9, SHARES = 10 };

enum lock_kind { LOCK_ROWS, LOCK_FENCE, LOCK_TABLE };

struct adversary {
    const char *dsn;
    unsigned groups;
    unsigned hold_max_ms, pause_max_ms;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool stopping; /* guarded by mutex */
    /* the thread's own, until it is joined */
    uint64_t random;
    struct adversary_numbers numbers;
};

static unsigned below(struct adversary *a, unsigned n)
{
    a->random ^= a->random << 13; /* xorshift64 */
    a->random ^= a->random >> 7;
    a->random ^= a->random << 17;
    return (unsigned)((a->random >> 16) % n);
}

/* True when it is time to end. */
static bool pass(struct adversary *a, unsigned ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + (uint64_t)ms * 1000000;
    until.tv_sec += (time_t)(ns / 1000000000);
    until.tv_nsec = (long)(ns % 1000000000);
    pthread_mutex_lock(&a->mutex);
    int rc = 0;
    while (!a->stopping && rc == 0) {
        rc = pthread_cond_timedwait(&a->wake, &a->mutex, &until);
    }
    bool end = a->stopping;
    pthread_mutex_unlock(&a->mutex);
    return end;
}

static bool run(PGconn *conn, const char *command)
{
    PGresult *result = PQexec(conn, command);
    ExecStatusType status = PQresultStatus(result);
    PQclear(result);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

/* ---- the locks. Each returns false when the adversary had to give way. ---- */

/* One of ten parts of the rows, in no order that anybody else would take. */
static bool lock_rows(struct adversary *a, PGconn *conn)
{
    char command[COMMAND_BYTES];
    snprintf(command, sizeof command,
        "SELECT FROM wb.entry WHERE pg_catalog.abs(pg_catalog.hashtext(pg_catalog.encode(key, 'hex'))) %% %d "
        "= %u"
        " FOR UPDATE",
        SHARES, below(a, SHARES));
    return run(conn, command);
}

static bool lock_fence(struct adversary *a, PGconn *conn)
{
    char command[COMMAND_BYTES];
    snprintf(command, sizeof command, "SELECT FROM wb.flush_state WHERE group_id = %u FOR UPDATE",
        below(a, a->groups));
    return run(conn, command);
}

/* The second lock is taken when others wait for the first: whoever came the other way is in a deadlock with
 * us. */
static bool lock_twice(struct adversary *a, PGconn *conn, bool (*first)(struct adversary *, PGconn *),
    bool (*second)(struct adversary *, PGconn *))
{
    if (!first(a, conn)) {
        return false;
    }
    pass(a, below(a, SLICE_MS));
    return second(a, conn);
}

static bool take_a_lock(struct adversary *a, PGconn *conn, enum lock_kind *kind)
{
    switch (below(a, KINDS)) {
    case 0:
        *kind = LOCK_ROWS;
        return lock_rows(a, conn);
    case 1:
        *kind = LOCK_ROWS;
        return lock_twice(a, conn, lock_rows, lock_rows);
    case 2:
        *kind = LOCK_FENCE;
        return lock_fence(a, conn);
    case 3:
        *kind = LOCK_FENCE;
        return lock_twice(a, conn, lock_rows, lock_fence);
    case 4:
        *kind = LOCK_FENCE;
        return lock_twice(a, conn, lock_fence, lock_rows);
    case 5:
        *kind = LOCK_TABLE;
        return run(conn, "LOCK TABLE wb.entry IN ACCESS EXCLUSIVE MODE");
    case 6:
        *kind = LOCK_TABLE;
        return run(conn, "LOCK TABLE wb.entry IN SHARE MODE");
    case 7:
        *kind = LOCK_TABLE;
        return run(conn, "LOCK TABLE wb.flush_state, wb.meta IN ACCESS EXCLUSIVE MODE");
    default:
        *kind = LOCK_TABLE;
        return run(conn, "LOCK TABLE wb.quarantine IN ACCESS EXCLUSIVE MODE");
    }
}

static void lock_and_hold(struct adversary *a, PGconn *conn)
{
    enum lock_kind kind = LOCK_ROWS;
    bool locked = run(conn, "BEGIN") && take_a_lock(a, conn, &kind);
    if (!locked) {
        a->numbers.refused++;
        run(conn, "ROLLBACK");
        return;
    }
    uint64_t *const counts[] = {
        [LOCK_ROWS] = &a->numbers.row_locks,
        [LOCK_FENCE] = &a->numbers.fence_locks,
        [LOCK_TABLE] = &a->numbers.table_locks,
    };
    (*counts[kind])++;
    uint64_t since_ms = clock_boot_ms();
    pass(a, below(a, a->hold_max_ms + 1));
    run(conn, below(a, 2) == 0 ? "COMMIT" : "ROLLBACK");
    uint64_t held_ms = clock_boot_ms() - since_ms;
    a->numbers.held_ms += held_ms;
    a->numbers.held_max_ms = held_ms > a->numbers.held_max_ms ? held_ms : a->numbers.held_max_ms;
}

static void *be_bad(void *arg)
{
    struct adversary *a = arg;
    PGconn *conn = NULL;
    do {
        if (conn != NULL && PQstatus(conn) != CONNECTION_OK) {
            PQfinish(conn);
            conn = NULL;
        }
        if (conn == NULL && (conn = sql_connect(a->dsn)) != NULL) {
            run(conn, "SET lock_timeout = '2s'"); /* it waits no longer than it makes others wait */
        }
        if (conn != NULL) {
            lock_and_hold(a, conn);
        }
    } while (!pass(a, below(a, a->pause_max_ms + 1)));
    PQfinish(conn);
    return NULL;
}

struct adversary *adversary_start(
    const char *dsn, unsigned groups, uint64_t seed, unsigned hold_max_ms, unsigned pause_max_ms)
{
    struct adversary *a = xcalloc(1, sizeof *a);
    a->dsn = dsn;
    a->groups = groups;
    a->random = (seed * UINT64_C(0x9e3779b97f4a7c15)) | 1; /* small seeds are as good as others */
    a->hold_max_ms = hold_max_ms;
    a->pause_max_ms = pause_max_ms;
    pthread_mutex_init(&a->mutex, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&a->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    CHECK(pthread_create(&a->thread, NULL, be_bad, a) == 0);
    return a;
}

struct adversary_numbers adversary_stop(struct adversary *a)
{
    if (a == NULL) {
        return (struct adversary_numbers){0};
    }
    pthread_mutex_lock(&a->mutex);
    a->stopping = true;
    pthread_cond_signal(&a->wake);
    pthread_mutex_unlock(&a->mutex);
    pthread_join(a->thread, NULL);
    struct adversary_numbers numbers = a->numbers;
    pthread_cond_destroy(&a->wake);
    pthread_mutex_destroy(&a->mutex);
    free(a);
    return numbers;
}
