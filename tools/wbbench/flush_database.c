#include "tools/wbbench/flush_database.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/wbbench/flush_figures.h"
#include "tools/wbbench/flush_peer.h"
#include "tools/wbbench/process_time.h"

static bool fail_pg(struct flush_database *d)
{
    snprintf(d->errmsg, sizeof d->errmsg, "PostgreSQL: %s", PQerrorMessage(d->conn));
    return false;
}

static bool run(struct flush_database *d, const char *sql)
{
    PGresult *result = PQexec(d->conn, sql);
    ExecStatusType status = PQresultStatus(result);
    PQclear(result);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || fail_pg(d);
}

static bool run_on(struct flush_database *d, const char *before, const char *table, const char *behind)
{
    char sql[512];
    snprintf(sql, sizeof sql, "%s%s%s", before, table, behind);
    return run(d, sql);
}

/* ---- the server's processes ---- */

/* The name of the program of @pid, as far as the kernel keeps it. */
static void read_proc_name(int pid, char out[32])
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/comm", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL || fgets(out, 32, file) == NULL) {
        out[0] = '\0';
    }
    if (file != NULL) {
        fclose(file);
    }
}

/* Our backend's parent, if the backend is a process of this machine. */
static void find_postmaster(struct flush_database *d)
{
    PGresult *local =
        PQexec(d->conn, "SELECT inet_server_addr() IS NULL OR inet_server_addr() = inet_client_addr() OR"
                        " inet_server_addr() << '127.0.0.0/8'");
    bool here = PQntuples(local) == 1 && strcmp(PQgetvalue(local, 0, 0), "t") == 0;
    PQclear(local);
    int backend = PQbackendPID(d->conn);
    struct flush_proc_stat stat;
    char name[32], parent_name[32];
    if (!here || !process_stat(backend, &stat)) {
        d->cpu_words = "PostgreSQL does not run on this machine, so its processor time is not known";
        return;
    }
    read_proc_name(backend, name);
    read_proc_name(stat.parent, parent_name);
    if (strncmp(name, "post", 4) != 0 || strcmp(name, parent_name) != 0) {
        d->cpu_words =
            "PostgreSQL's processes are not to be seen from here, so its processor time is not known";
        return;
    }
    d->postmaster = stat.parent;
}

double flush_database_cpu_seconds(const struct flush_database *d)
{
    return d->postmaster == 0 ? -1 : process_seconds(d->postmaster, true);
}

/* ---- tables ---- */

/* As the cluster's, with its indexes and options, and with none of its triggers. */
static bool make_peer_table(struct flush_database *d)
{
    PGresult *found = PQexec(d->conn, "SELECT to_regnamespace('" FLUSH_PEER_SCHEMA "') IS NOT NULL");
    bool exists = PQntuples(found) == 1 && strcmp(PQgetvalue(found, 0, 0), "t") == 0;
    PQclear(found);
    if (exists) {
        snprintf(d->errmsg, sizeof d->errmsg,
            "the database has a schema " FLUSH_PEER_SCHEMA
            ": another benchmark runs, or one was killed; then drop it: DROP SCHEMA " FLUSH_PEER_SCHEMA
            " CASCADE");
        return false;
    }
    const char *const params[] = {d->table};
    PGresult *options = PQexecParams(d->conn,
        "SELECT coalesce(' WITH (' || array_to_string(reloptions, ', ') || ')', '') FROM pg_class"
        " WHERE oid = to_regclass($1)",
        1, NULL, params, NULL, NULL, 0);
    if (PQntuples(options) != 1) {
        snprintf(d->errmsg, sizeof d->errmsg,
            "the database has no table %s: is this the cluster's, and its schema? (%s)", d->table,
            PQerrorMessage(d->conn));
        PQclear(options);
        return false;
    }
    d->made_schema = run(d, "CREATE SCHEMA " FLUSH_PEER_SCHEMA);
    char sql[1024];
    snprintf(sql, sizeof sql, "CREATE TABLE " FLUSH_PEER_TABLE " (LIKE %s INCLUDING ALL)%s", d->table,
        PQgetvalue(options, 0, 0));
    PQclear(options);
    return d->made_schema && run(d, sql);
}

bool flush_database_open(struct flush_database *d, const char *dsn, const char *schema)
{
    *d = (struct flush_database){0};
    d->conn = PQconnectdb(dsn);
    if (PQstatus(d->conn) != CONNECTION_OK) {
        return fail_pg(d);
    }
    char *quoted = PQescapeIdentifier(d->conn, schema, strlen(schema));
    size_t len = quoted == NULL ? 0 : strlen(quoted) + sizeof ".entry";
    d->table = quoted == NULL ? NULL : malloc(len);
    if (d->table == NULL) {
        PQfreemem(quoted);
        return fail_pg(d);
    }
    snprintf(d->table, len, "%s.entry", quoted);
    PQfreemem(quoted);
    const char *version = PQparameterStatus(d->conn, "server_version");
    snprintf(d->version, sizeof d->version, "%s", version == NULL ? "?" : version);
    find_postmaster(d);
    return run(d, "SET client_min_messages = error") && make_peer_table(d);
}

void flush_database_close(struct flush_database *d)
{
    if (d->made_schema && !run(d, "DROP SCHEMA " FLUSH_PEER_SCHEMA " CASCADE")) {
        fprintf(stderr, "wbbench: the schema " FLUSH_PEER_SCHEMA " is still there: %s\n", d->errmsg);
    }
    PQfinish(d->conn);
    free(d->table);
    *d = (struct flush_database){0};
}

bool flush_database_settle(struct flush_database *d)
{
    if (!run_on(d, "VACUUM ", d->table, "") || !run(d, "VACUUM " FLUSH_PEER_TABLE)) {
        return false;
    }
    if (!d->no_checkpoint && !run(d, "CHECKPOINT")) {
        d->no_checkpoint = true; /* a right of its own: the figures are noisier without */
        fprintf(stderr, "wbbench: no checkpoints between the runs: %s", d->errmsg);
    }
    return true;
}

bool flush_database_empty_peer(struct flush_database *d)
{
    return run(d, "DELETE FROM " FLUSH_PEER_TABLE);
}

bool flush_database_count(struct flush_database *d, bool peer, uint32_t mark, uint64_t *count)
{
    char sql[512], text[FLUSH_MARK_BYTES + 1];
    snprintf(sql, sizeof sql,
        "SELECT count(*) FROM %s WHERE substr(key, 1, %zu) = '" FLUSH_KEY_PREFIX "'::bytea"
        " AND substr(value, 1, %d) = convert_to($1, 'UTF8')",
        peer ? FLUSH_PEER_TABLE : d->table, sizeof FLUSH_KEY_PREFIX - 1, FLUSH_MARK_BYTES);
    snprintf(text, sizeof text, "%08" PRIx32, mark);
    const char *const params[] = {text};
    PGresult *result = PQexecParams(d->conn, sql, 1, NULL, params, NULL, NULL, 0);
    bool ok = PQntuples(result) == 1;
    if (ok) {
        *count = strtoull(PQgetvalue(result, 0, 0), NULL, 10);
    }
    PQclear(result);
    return ok || fail_pg(d);
}
