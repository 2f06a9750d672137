/* What does it cost to find the rows that PostgreSQL refuses? Bisection (flush_isolate) beside a savepoint
 * for each row, on a private server: batches of keys of 16 bytes and values of 100, into an empty table. Not
 * run by ctest.
 *
 *     flush/isolate_bench [RUNS_PER_CELL]     (default 9)
 *
 * The medians of the processor time that the session's process used in the server, so that neither disks nor
 * what else the machine does matter. The server runs with fsync off (pg_test_server.h). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "flush/flush_error.h"
#include "flush/pg_test_server.h"
#include "flush/schema.h"
#include "proto/base/alloc.h"

enum { RUNS_MAX = 101 };

static PGconn *conn;

/* What the session's process has run until now, in milliseconds. */
static double ran_ms(void)
{
    char path[64];
    unsigned long long ns = 0;
    snprintf(path, sizeof path, "/proc/%d/schedstat", PQbackendPID(conn));
    FILE *file = fopen(path, "r");
    if (file == NULL || fscanf(file, "%llu", &ns) != 1) {
        perror(path);
        exit(1);
    }
    fclose(file);
    return (double)ns / 1e6;
}

/* The first column of the first row as a number. */
static long run(const char *sql)
{
    PGresult *result = PQexec(conn, sql);
    if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK) {
        fprintf(stderr, "%s", PQresultErrorMessage(result));
        exit(1);
    }
    long n = PQntuples(result) > 0 ? atol(PQgetvalue(result, 0, 0)) : 0;
    PQclear(result);
    return n;
}

static void create(enum schema_sql which)
{
    char *sql = schema_sql(which, "wb");
    run(sql);
    free(sql);
}

/* The same work, row by row. */
static const char savepoints[] =
    "CREATE FUNCTION wb.by_savepoints(p_keys bytea[], p_values bytea[], p_versions bigint[],"
    " p_expires timestamptz[], p_refusals text, OUT tries int) LANGUAGE plpgsql AS $$\n"
    "DECLARE r record; state text;\n"
    "BEGIN\n"
    "    tries := 0;\n"
    "    FOR r IN SELECT * FROM unnest(p_keys, p_values, p_versions, p_expires) AS u (k, v, n, e) LOOP\n"
    "        tries := tries + 1;\n"
    "        BEGIN\n"
    "            INSERT INTO wb.entry (key, value, version, expires_at) VALUES (r.k, r.v, r.n, r.e)\n"
    "            ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version,\n"
    "                expires_at = excluded.expires_at;\n"
    "        EXCEPTION WHEN OTHERS THEN\n"
    "            GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE;\n"
    "            IF state NOT SIMILAR TO p_refusals THEN RAISE; END IF;\n"
    "        END;\n"
    "    END LOOP;\n"
    "END $$";

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Median milliseconds of the call of @function on batch b, of one transaction and a fresh table each;
 * *@tries. */
static double measure(const char *function, int runs, long *tries)
{
    double ms[RUNS_MAX];
    char sql[256];
    snprintf(sql, sizeof sql, "SELECT f.tries FROM batch AS b, %s AS f", function);
    for (int i = 0; i < runs; i++) {
        run("TRUNCATE wb.entry");
        double start = ran_ms();
        run("BEGIN");
        *tries = run(sql);
        run("COMMIT");
        ms[i] = ran_ms() - start;
    }
    qsort(ms, (size_t)runs, sizeof ms[0], compare);
    return ms[runs / 2];
}

int main(int argc, char **argv)
{
    static const int batches[] = {1000, 5000}, bad[] = {0, 1, 2, 10, 100, 1000};
    int runs = argc > 1 ? atoi(argv[1]) : 9;
    runs = runs < 1 ? 1 : runs > RUNS_MAX ? RUNS_MAX : runs;
    struct pg_test_server server;
    if (pg_test_server_start(&server) != 0) {
        return 1;
    }
    conn = PQconnectdb(server.dsn);
    run("SET client_min_messages = warning; CREATE SCHEMA wb");
    create(SCHEMA_CREATE_ENTRY);
    create(SCHEMA_CREATE_EXPIRY_INDEX);
    create(SCHEMA_CREATE_ISOLATE);
    run(savepoints);
    run("ALTER TABLE wb.entry ADD CHECK (length(value) > 0)");
    run("CREATE TEMP TABLE batch (keys bytea[], vals bytea[], versions bigint[], expires timestamptz[])");
    char *pattern = flush_error_row_pattern(), bisection[256], by_row[256];
    snprintf(bisection, sizeof bisection,
        "wb.flush_isolate(b.keys, b.vals, b.versions, b.expires, '{}', '{}', '%s', false, 4)", pattern);
    snprintf(by_row, sizeof by_row, "wb.by_savepoints(b.keys, b.vals, b.versions, b.expires, '%s')", pattern);
    printf("%-8s%-8s%14s%12s%14s%12s\n", "rows", "bad", "bisection ms", "tries", "savepoints ms", "tries");
    for (size_t b = 0; b < sizeof batches / sizeof batches[0]; b++) {
        for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
            char sql[1024];
            snprintf(sql, sizeof sql,
                "TRUNCATE batch; INSERT INTO batch SELECT array_agg(key ORDER BY key), array_agg(value ORDER "
                "BY key),"
                " array_agg(i::bigint ORDER BY key), array_agg(NULL::timestamptz) FROM (SELECT i,"
                " substr(sha256(i::text::bytea), 1, 16) AS key, CASE WHEN i <= %d THEN '' ELSE"
                " substr(sha512(i::text::bytea) || sha512(i::text::bytea), 1, 100) END AS value"
                " FROM generate_series(1, %d) AS i) AS r",
                bad[k], batches[b]);
            run(sql);
            long tries = 0, row_tries = 0;
            double ms = measure(bisection, runs, &tries), row_ms = measure(by_row, runs, &row_tries);
            printf("%-8d%-8d%14.1f%12ld%14.1f%12ld\n", batches[b], bad[k], ms, tries, row_ms, row_tries);
            fflush(stdout);
        }
    }
    free(pattern);
    PQfinish(conn);
    pg_test_server_destroy(&server);
    return 0;
}
