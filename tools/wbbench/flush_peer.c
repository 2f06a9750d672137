#include "tools/wbbench/flush_peer.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"

enum { BYTEA_ARRAY = 1001, INT8_ARRAY = 1016, TIMESTAMPTZ_ARRAY = 1185 };
enum { IN_FLIGHT = 2, STATEMENTS = 3 /* BEGIN, upsert, COMMIT */ };

static const char upsert[] =
    "INSERT INTO " FLUSH_PEER_TABLE " (key, value, version, expires_at) SELECT * FROM unnest($1, $2, $3, $4)"
    " ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version,"
    " expires_at = excluded.expires_at";

/* One connection's share of a run. */
struct worker {
    PGconn *conn;
    const struct flush_rows *rows;
    uint32_t *numbers; /* its own copy: batches are sorted in place */
    uint32_t n;
    uint32_t batch_rows;
    struct bytes value;
    uint64_t version;
    pthread_barrier_t *start;
    pthread_t thread;
    bool ok;
    char errmsg[256];
};

static bool connect_one(struct flush_peer *p, PGconn **out, const char *dsn)
{
    static const Oid types[] = {BYTEA_ARRAY, BYTEA_ARRAY, INT8_ARRAY, TIMESTAMPTZ_ARRAY};
    static const char *const prepare[] = {"begin", "BEGIN", "upsert", upsert, "commit", "COMMIT"};
    *out = PQconnectdb(dsn);
    bool ok = PQstatus(*out) == CONNECTION_OK;
    for (int i = 0; ok && i < STATEMENTS; i++) {
        bool is_upsert = prepare[2 * i + 1] == upsert;
        PGresult *result =
            PQprepare(*out, prepare[2 * i], prepare[2 * i + 1], is_upsert ? 4 : 0, is_upsert ? types : NULL);
        ok = PQresultStatus(result) == PGRES_COMMAND_OK;
        PQclear(result);
    }
    if (!ok || PQenterPipelineMode(*out) != 1) {
        snprintf(p->errmsg, sizeof p->errmsg, "%s", PQerrorMessage(*out));
        return false;
    }
    return true;
}

bool flush_peer_open(struct flush_peer *p, const char *dsn, unsigned groups)
{
    CHECK(groups <= LIMIT_GROUPS);
    *p = (struct flush_peer){.groups = groups};
    for (unsigned g = 0; g < groups; g++) {
        if (!connect_one(p, &p->conns[g], dsn)) {
            return false;
        }
    }
    return true;
}

void flush_peer_close(struct flush_peer *p)
{
    for (unsigned g = 0; g < p->groups; g++) {
        PQfinish(p->conns[g]);
    }
    p->groups = 0;
}

static bool send_batch(struct worker *w, struct flush_arrays *a, uint32_t first, uint32_t n)
{
    flush_arrays_build(a, w->rows, w->numbers + first, n, w->value, w->version);
    const char *const values[] = {(const char *)a->keys.data, (const char *)a->values.data,
        (const char *)a->versions.data, (const char *)a->expires.data};
    const int lengths[] = {(int)a->keys.len, (int)a->values.len, (int)a->versions.len, (int)a->expires.len};
    static const int formats[] = {1, 1, 1, 1};
    return PQsendQueryPrepared(w->conn, "begin", 0, NULL, NULL, NULL, 1) == 1 &&
           PQsendQueryPrepared(w->conn, "upsert", 4, values, lengths, formats, 1) == 1 &&
           PQsendQueryPrepared(w->conn, "commit", 0, NULL, NULL, NULL, 1) == 1 &&
           PQpipelineSync(w->conn) == 1;
}

/* Wait for the answers to the oldest batch under way. */
static bool take_batch(struct worker *w)
{
    for (int i = 0; i < STATEMENTS; i++) {
        PGresult *result = PQgetResult(w->conn);
        bool good = PQresultStatus(result) == PGRES_COMMAND_OK;
        if (!good) {
            snprintf(w->errmsg, sizeof w->errmsg, "%s", PQresultErrorMessage(result));
        }
        PQclear(result);
        if (!good) {
            return false;
        }
        PQclear(PQgetResult(w->conn)); /* the NULL that ends each statement */
    }
    PGresult *sync = PQgetResult(w->conn);
    bool synced = PQresultStatus(sync) == PGRES_PIPELINE_SYNC;
    PQclear(sync);
    return synced;
}

static bool run_batches(struct worker *w)
{
    struct flush_arrays arrays;
    flush_arrays_init(&arrays);
    unsigned in_flight = 0;
    bool ok = true;
    for (uint32_t first = 0; ok && first < w->n;) {
        uint32_t n = w->n - first < w->batch_rows ? w->n - first : w->batch_rows;
        if (in_flight == IN_FLIGHT) {
            ok = take_batch(w);
            in_flight--;
        }
        ok = ok && send_batch(w, &arrays, first, n);
        in_flight++;
        first += n;
    }
    for (; ok && in_flight > 0; in_flight--) {
        ok = take_batch(w);
    }
    if (!ok && w->errmsg[0] == '\0') {
        snprintf(w->errmsg, sizeof w->errmsg, "%s", PQerrorMessage(w->conn));
    }
    flush_arrays_deinit(&arrays);
    return ok;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    pthread_barrier_wait(w->start);
    w->ok = run_batches(w);
    return NULL;
}

static void start_worker(struct flush_peer *p, struct worker *w, unsigned group, pthread_barrier_t *start)
{
    const struct flush_rows *rows = w->rows;
    w->conn = p->conns[group];
    w->start = start;
    w->n = rows->group_first[group + 1] - rows->group_first[group];
    w->numbers = xmalloc((w->n + 1) * sizeof *w->numbers);
    memcpy(w->numbers, rows->by_group + rows->group_first[group], w->n * sizeof *w->numbers);
    CHECK(pthread_create(&w->thread, NULL, work, w) == 0);
}

bool flush_peer_run(struct flush_peer *p, const struct flush_rows *rows, struct bytes value, uint64_t version,
    uint32_t batch_rows, double *seconds)
{
    CHECK(rows->groups == p->groups && batch_rows > 0);
    struct worker *workers = xcalloc(p->groups, sizeof *workers);
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, p->groups + 1);
    for (unsigned g = 0; g < p->groups; g++) {
        workers[g] =
            (struct worker){.rows = rows, .batch_rows = batch_rows, .value = value, .version = version};
        start_worker(p, &workers[g], g, &start);
    }
    uint64_t start_ns = clock_boot_ns();
    pthread_barrier_wait(&start);
    bool ok = true;
    for (unsigned g = 0; g < p->groups; g++) {
        pthread_join(workers[g].thread, NULL);
        if (!workers[g].ok) {
            snprintf(p->errmsg, sizeof p->errmsg, "%s", workers[g].errmsg);
            ok = false;
        }
        free(workers[g].numbers);
    }
    *seconds = (double)(clock_boot_ns() - start_ns) / 1e9;
    pthread_barrier_destroy(&start);
    free(workers);
    return ok;
}
