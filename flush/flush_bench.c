/* How many rows a second does PostgreSQL take, in which form? Measures the flush's own statements against
 * their alternatives, on a private server, 100,000 rows with keys of 16 bytes and values of 100, or hashes of
 * 5 fields with together as many. Not run by ctest.
 *
 *     flush/flush_bench [SECONDS_PER_CELL]     (default 1)
 *
 * The server runs with fsync off (pg_test_server.h): the numbers compare forms, not disks. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "flush/flush_batch.h"
#include "flush/pg_connection.h"
#include "flush/pg_test_server.h"
#include "flush/schema.h"
#include "proto/base/alloc.h"
#include "proto/fields.h"

enum { ROWS = 100000, KEY_BYTES = 16, VALUE_BYTES = 100, FIELDS = 5 };

static PGconn *conn;
static uint32_t random_state = 1;
static uint8_t keys[ROWS][KEY_BYTES];
static uint8_t value[VALUE_BYTES];
static struct buf hash;
static double spent_s; /* in the database; building what is sent is not counted */

static uint32_t next_random(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void must(PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_COPY_IN) {
        fprintf(stderr, "%s", PQresultErrorMessage(result));
        exit(1);
    }
    PQclear(result);
}

static void run(const char *sql)
{
    must(PQexec(conn, sql));
}

static void prepare(const char *name, const char *sql, int n, const Oid *types)
{
    must(PQprepare(conn, name, sql, n, types));
}

static void execute_batch(const char *name, const struct flush_batch *b)
{
    const char *const values[] = {(char *)b->keys.data, (char *)b->values.data, (char *)b->versions.data,
        (char *)b->expires.data, (char *)b->fields.data};
    const int lengths[] = {
        (int)b->keys.len, (int)b->values.len, (int)b->versions.len, (int)b->expires.len, (int)b->fields.len};
    const int formats[] = {1, 1, 1, 1, 1};
    double start = now_s();
    run("BEGIN");
    must(PQexecPrepared(conn, name, b->hashes > 0 ? 5 : 4, values, lengths, formats, 1));
    run("COMMIT");
    spent_s += now_s() - start;
}

/* ---- the forms ---- */

static void build(struct flush_batch *b, struct flush_row *rows, uint32_t n)
{
    flush_batch_init(b);
    flush_batch_build(b, 2, 1, rows, n);
}

/* flush_batch_build sorts; to see what that is worth, the arrays are written in the rows' order here. */
static void build_unsorted(struct flush_batch *b, const struct flush_row *rows, uint32_t n)
{
    struct flush_batch one;
    flush_batch_init(b);
    for (uint32_t i = 0; i < n; i++) {
        struct flush_row row = rows[i];
        build(&one, &row, 1);
        enum { LENGTH_AT = 12, HEADER_BYTES = 20 };
        struct buf *to[] = {&b->keys, &b->values, &b->versions, &b->expires};
        const struct buf *from[] = {&one.keys, &one.values, &one.versions, &one.expires};
        for (int k = 0; k < 4; k++) {
            size_t skip = i == 0 ? 0 : HEADER_BYTES;
            buf_append(to[k], from[k]->data + skip, from[k]->len - skip);
            store_be32(to[k]->data + LENGTH_AT, n);
        }
        flush_batch_deinit(&one);
    }
}

static void with_arrays(const char *statement, struct flush_row *rows, uint32_t n, bool sorted)
{
    struct flush_batch b;
    if (sorted) {
        build(&b, rows, n);
    } else {
        build_unsorted(&b, rows, n);
    }
    execute_batch(statement, &b);
    flush_batch_deinit(&b);
}

static void by_unnest_sorted(struct flush_row *rows, uint32_t n)
{
    with_arrays("upsert", rows, n, true);
}

static void by_unnest_unsorted(struct flush_row *rows, uint32_t n)
{
    with_arrays("upsert", rows, n, false);
}

static void by_hashes(struct flush_row *rows, uint32_t n)
{
    with_arrays("upsert_hashes", rows, n, true);
}

/* The array that PostgreSQL would take as jsonb[]: of each element a version and the text. */
static void by_jsonb(struct flush_row *rows, uint32_t n)
{
    enum { HEADER_BYTES = 20, OID_JSONB = 3802 };
    struct flush_batch b;
    struct buf jsonb;
    build(&b, rows, n);
    buf_init(&jsonb);
    buf_append(&jsonb, b.fields.data, HEADER_BYTES);
    for (int i = 0; i < 4; i++) {
        jsonb.data[8 + i] = (uint8_t)(OID_JSONB >> (24 - 8 * i));
    }
    for (size_t at = HEADER_BYTES; at < b.fields.len;) {
        uint32_t len = load_be32(b.fields.data + at);
        buf_append_be32(&jsonb, len + 1);
        buf_append_u8(&jsonb, 1);
        buf_append(&jsonb, b.fields.data + at + 4, len);
        at += 4 + (size_t)len;
    }
    buf_deinit(&b.fields);
    buf_move(&b.fields, &jsonb);
    execute_batch("upsert_jsonb", &b);
    flush_batch_deinit(&b);
}

static void by_merge(struct flush_row *rows, uint32_t n)
{
    with_arrays("merge", rows, n, true);
}

static void by_update_from(struct flush_row *rows, uint32_t n)
{
    with_arrays("update_from", rows, n, true);
}

static void by_copy(struct flush_row *rows, uint32_t n)
{
    struct buf out;
    buf_init(&out);
    buf_append(&out, "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0", 19);
    for (uint32_t i = 0; i < n; i++) {
        buf_append_be16(&out, 4);
        buf_append_be32(&out, (uint32_t)rows[i].key.len);
        buf_append(&out, rows[i].key.data, rows[i].key.len);
        buf_append_be32(&out, (uint32_t)rows[i].value.len);
        buf_append(&out, rows[i].value.data, rows[i].value.len);
        buf_append_be32(&out, 8);
        buf_append_be64(&out, rows[i].version);
        buf_append_be32(&out, UINT32_MAX);
    }
    buf_append_be16(&out, UINT16_MAX);
    double start = now_s();
    run("BEGIN");
    run("TRUNCATE staging");
    must(PQexec(conn, "COPY staging (key, value, version, expires_at) FROM STDIN (FORMAT binary)"));
    if (PQputCopyData(conn, (const char *)out.data, (int)out.len) != 1 || PQputCopyEnd(conn, NULL) != 1) {
        fprintf(stderr, "%s", PQerrorMessage(conn));
        exit(1);
    }
    for (PGresult *result; (result = PQgetResult(conn)) != NULL;) {
        must(result);
    }
    must(PQexecPrepared(conn, "from_staging", 0, NULL, NULL, NULL, 1));
    run("COMMIT");
    spent_s += now_s() - start;
    buf_deinit(&out);
}

/* Results are read as they come, so that neither side fills its socket and waits for the other. */
static void by_single_rows(struct flush_row *rows, uint32_t n)
{
    enum { CHUNK = 1000 };
    double start = now_s();
    run("BEGIN");
    for (uint32_t first = 0; first < n; first += CHUNK) {
        uint32_t end = first + CHUNK < n ? first + CHUNK : n;
        PQenterPipelineMode(conn);
        for (uint32_t i = first; i < end; i++) {
            uint8_t version[8];
            store_be32(version, (uint32_t)(rows[i].version >> 32));
            store_be32(version + 4, (uint32_t)rows[i].version);
            const char *const values[] = {(const char *)rows[i].key.data, (const char *)rows[i].value.data,
                (const char *)version, NULL};
            const int lengths[] = {(int)rows[i].key.len, (int)rows[i].value.len, 8, 0};
            const int formats[] = {1, 1, 1, 1};
            PQsendQueryPrepared(conn, "single", 4, values, lengths, formats, 1);
        }
        PQpipelineSync(conn);
        for (bool synced = false; !synced;) {
            PGresult *result = PQgetResult(conn);
            if (result != NULL && PQresultStatus(result) == PGRES_PIPELINE_SYNC) {
                synced = true;
                PQclear(result);
            } else if (result != NULL) {
                must(result);
            }
        }
        PQexitPipelineMode(conn);
    }
    run("COMMIT");
    spent_s += now_s() - start;
}

static const struct {
    const char *name;
    void (*apply)(struct flush_row *rows, uint32_t n);
    bool inserts; /* can add rows */
    bool hashes;
} forms[] = {
    {"unnest + ON CONFLICT, sorted (ours)", by_unnest_sorted, true, false},
    {"unnest + ON CONFLICT, unsorted", by_unnest_unsorted, true, false},
    {"MERGE, sorted", by_merge, true, false},
    {"UPDATE .. FROM unnest, sorted", by_update_from, false, false},
    {"COPY to temp + one statement", by_copy, true, false},
    {"single rows, prepared, pipelined", by_single_rows, true, false},
    {"hashes, as text in bytea[] (ours)", by_hashes, true, true},
    {"hashes, in jsonb[]", by_jsonb, true, true},
};

/* ---- measuring ---- */

static void prepare_all(void)
{
    static const Oid arrays[] = {PG_OID_BYTEA_ARRAY, PG_OID_BYTEA_ARRAY, PG_OID_INT8_ARRAY,
        PG_OID_TIMESTAMPTZ_ARRAY, PG_OID_BYTEA_ARRAY};
    static const Oid scalars[] = {PG_OID_BYTEA, PG_OID_BYTEA, PG_OID_INT8, PG_OID_TIMESTAMPTZ};
    char *upsert = schema_sql(SCHEMA_UPSERT, "wb");
    prepare("upsert", upsert, 4, arrays);
    free(upsert);
    char *upsert_hashes = schema_sql(SCHEMA_UPSERT_HASHES, "wb");
    prepare("upsert_hashes", upsert_hashes, 5, arrays);
    free(upsert_hashes);
    prepare("upsert_jsonb",
        "INSERT INTO wb.entry AS e (key, value, version, expires_at, fields)"
        " SELECT * FROM unnest($1, $2, $3, $4, $5::jsonb[]) ON CONFLICT (key) DO UPDATE SET value = "
        "excluded.value,"
        " version = excluded.version, expires_at = excluded.expires_at, fields = excluded.fields",
        4, arrays);
    prepare("merge",
        "MERGE INTO wb.entry AS e USING unnest($1, $2, $3, $4) AS n (key, value, version, expires_at) ON "
        "e.key = n.key"
        " WHEN MATCHED THEN UPDATE SET value = n.value, version = n.version, expires_at = n.expires_at"
        " WHEN NOT MATCHED THEN INSERT VALUES (n.key, n.value, n.version, n.expires_at)",
        4, arrays);
    prepare("update_from",
        "UPDATE wb.entry AS e SET value = n.value, version = n.version, expires_at = n.expires_at"
        " FROM unnest($1, $2, $3, $4) AS n (key, value, version, expires_at) WHERE e.key = n.key",
        4, arrays);
    prepare("from_staging",
        "INSERT INTO wb.entry SELECT * FROM staging ORDER BY key ON CONFLICT (key) DO UPDATE"
        " SET value = excluded.value, version = excluded.version, expires_at = excluded.expires_at",
        0, NULL);
    prepare("single",
        "INSERT INTO wb.entry VALUES ($1, $2, $3, $4) ON CONFLICT (key) DO UPDATE"
        " SET value = excluded.value, version = excluded.version, expires_at = excluded.expires_at",
        4, scalars);
}

static void shuffle(uint32_t *order)
{
    for (uint32_t i = ROWS - 1; i > 0; i--) {
        uint32_t j = next_random() % (i + 1);
        uint32_t t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
}

/* Rows a second. Updates go over all rows in a random order; inserts fill an empty table with them. */
static double measure(size_t form, bool insert, uint32_t batch, double seconds)
{
    bool hashes = forms[form].hashes;
    struct bytes content = hashes ? buf_bytes(&hash) : bytes_of(value, VALUE_BYTES);
    uint8_t type = hashes ? VALUE_HASH : VALUE_STRING;
    static uint32_t order[ROWS];
    static struct flush_row rows[ROWS];
    run("TRUNCATE wb.entry");
    for (uint32_t i = 0; i < ROWS; i++) {
        order[i] = i;
        rows[i] = (struct flush_row){
            .key = bytes_of(keys[i], KEY_BYTES), .value = content, .type = type, .version = i};
    }
    if (!insert) {
        (hashes ? by_hashes : by_unnest_sorted)(rows, ROWS);
        run("VACUUM ANALYZE wb.entry");
    }
    static struct flush_row part[ROWS];
    spent_s = 0;
    uint64_t done = 0;
    uint32_t at = 0;
    shuffle(order);
    while (spent_s < seconds) {
        if (at + batch > ROWS) {
            shuffle(order);
            at = 0;
            run(insert ? "TRUNCATE wb.entry" : "VACUUM wb.entry");
        }
        for (uint32_t i = 0; i < batch; i++) {
            part[i] = (struct flush_row){.key = bytes_of(keys[order[at + i]], KEY_BYTES),
                .value = content,
                .type = type,
                .version = done + i};
        }
        at += batch;
        forms[form].apply(part, batch);
        done += batch;
    }
    return (double)done / spent_s;
}

int main(int argc, char **argv)
{
    static const uint32_t batches[] = {100, 1000, 5000, 20000};
    double seconds = argc > 1 ? atof(argv[1]) : 1;
    struct pg_test_server server;
    if (pg_test_server_start(&server) != 0) {
        return 1;
    }
    conn = PQconnectdb(server.dsn);
    run("SET client_min_messages = warning; CREATE SCHEMA wb");
    char *create = schema_sql(SCHEMA_CREATE_ENTRY, "wb");
    run(create);
    free(create);
    run("ALTER TABLE wb.entry SET (autovacuum_enabled = off)"); /* it would fall into some cells and not into
                                                                   others */
    run("CREATE TEMP TABLE staging (LIKE wb.entry)");
    for (uint32_t i = 0; i < ROWS; i++) {
        for (int j = 0; j < KEY_BYTES - 4; j++) {
            keys[i][j] = (uint8_t)next_random();
        }
        store_be32(keys[i] + KEY_BYTES - 4, i);
    }
    for (int i = 0; i < VALUE_BYTES; i++) {
        value[i] = (uint8_t)next_random();
    }
    fields_begin(&hash);
    for (int i = 0; i < FIELDS; i++) {
        char name[32];
        uint8_t text[VALUE_BYTES / FIELDS];
        snprintf(name, sizeof name, "field%d", i);
        for (size_t j = 0; j < sizeof text; j++) {
            text[j] = (uint8_t)('a' + next_random() % 26);
        }
        fields_add(&hash, bytes_from_text(name), bytes_of(text, sizeof text));
    }
    fields_end(&hash, FIELDS);
    prepare_all();
    printf("rows/s, %d rows, key %d bytes, value %d bytes\n\n%-38s", ROWS, KEY_BYTES, VALUE_BYTES, "");
    for (size_t b = 0; b < sizeof batches / sizeof batches[0]; b++) {
        printf("%10" PRIu32, batches[b]);
    }
    printf("\n");
    for (int insert = 0; insert <= 1; insert++) {
        printf("%s\n", insert ? "fresh inserts" : "updates");
        for (size_t form = 0; form < sizeof forms / sizeof forms[0]; form++) {
            if (insert && !forms[form].inserts) {
                continue;
            }
            printf("  %-36s", forms[form].name);
            for (size_t b = 0; b < sizeof batches / sizeof batches[0]; b++) {
                printf("%10.0f", measure(form, insert, batches[b], seconds));
                fflush(stdout);
            }
            printf("\n");
        }
    }
    buf_deinit(&hash);
    PQfinish(conn);
    pg_test_server_destroy(&server);
    return 0;
}
