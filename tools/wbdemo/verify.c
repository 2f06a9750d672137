#include "tools/wbdemo/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "proto/base/alloc.h"
#include "proto/base/buf.h"

/* Results in PostgreSQL's binary format. */
enum { BINARY = 1 };

static PGresult *select_rows(PGconn *connection, const char *schema)
{
    char *name = PQescapeIdentifier(connection, schema, strlen(schema));
    if (name == NULL) {
        return NULL;
    }
    char sql[512];
    snprintf(sql, sizeof sql,
        "SELECT key, value, version FROM %s.entry WHERE key >= 'demo:'::bytea AND key < 'demo;'::bytea",
        name);
    PQfreemem(name);
    return PQexecParams(connection, sql, 0, NULL, NULL, NULL, NULL, BINARY);
}

static struct bytes cell(const PGresult *rows, int row, int column)
{
    return bytes_of(PQgetvalue(rows, row, column), (size_t)PQgetlength(rows, row, column));
}

static void note_example(struct verify_report *out, uint32_t key, const char *what)
{
    if (out->example[0] == '\0') {
        char text[LEDGER_KEY_BYTES + 1];
        ledger_key_text(key, text);
        snprintf(out->example, sizeof out->example, "%s: %s", text, what);
    }
}

static void count(
    struct verify_report *out, const struct ledger *l, uint32_t key, enum ledger_verdict verdict)
{
    out->unknown_did_not += l->keys[key].unknown_sequence != 0 && verdict != LEDGER_UNKNOWN_HAPPENED;
    switch (verdict) {
    case LEDGER_UNTOUCHED:
        break;
    case LEDGER_RIGHT:
        out->right++;
        break;
    case LEDGER_UNKNOWN_HAPPENED:
        out->unknown_happened++;
        break;
    case LEDGER_MISSING:
        out->missing++;
        note_example(out, key, "there is no row");
        break;
    case LEDGER_WRONG:
        out->wrong++;
        note_example(out, key, "the row is not the last acknowledged write");
        break;
    }
}

/* Judge every key, by the row of each in @row_of (-1: none). */
static void judge_all(
    const struct ledger *l, const PGresult *rows, const int *row_of, struct verify_report *out)
{
    for (uint32_t key = 0; key < l->n; key++) {
        struct bytes value = bytes_of(NULL, 0);
        uint64_t version = 0;
        if (row_of[key] >= 0) {
            value = cell(rows, row_of[key], 1);
            version = load_be64(cell(rows, row_of[key], 2).data);
        }
        count(out, l, key, ledger_judge(l, key, value, version));
    }
}

bool verify_run(const struct ledger *ledger, const char *dsn, const char *schema, struct verify_report *out,
    char *errmsg, size_t errmsg_len)
{
    memset(out, 0, sizeof *out);
    PGconn *connection = PQconnectdb(dsn);
    PGresult *rows = NULL;
    bool ok = false;
    if (PQstatus(connection) == CONNECTION_OK) {
        rows = select_rows(connection, schema);
        ok = rows != NULL && PQresultStatus(rows) == PGRES_TUPLES_OK;
    }
    if (!ok) {
        snprintf(errmsg, errmsg_len, "%s", PQerrorMessage(connection));
    } else {
        int *row_of = xcalloc(ledger->n, sizeof *row_of);
        memset(row_of, 0xff, ledger->n * sizeof *row_of);
        for (int i = 0; i < PQntuples(rows); i++) {
            int64_t key = ledger_key_number(ledger, cell(rows, i, 0));
            if (key >= 0) {
                row_of[key] = i;
            }
        }
        judge_all(ledger, rows, row_of, out);
        free(row_of);
    }
    PQclear(rows);
    PQfinish(connection);
    return ok;
}
