/* Hashes in a real server: what SQL sees of them, the way back, encodings, those that are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "flush/flusher_probe.h"
#include "flush/loader_probe.h"
#include "flush/pg_load_request.h"
#include "proto/base/alloc.h"
#include "proto/fields.h"

static struct pg_test_server server;

/* ---- a database and what is sent to it ---- */

static char *query_in(const char *database, const char *sql)
{
    char dsn[256];
    snprintf(dsn, sizeof dsn, "%s dbname=%s client_encoding=UTF8", server.dsn, database);
    PGconn *conn = PQconnectdb(dsn);
    PGresult *result = PQexec(conn, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
        fail_msg("%s: %s", sql, PQerrorMessage(conn));
    }
    char *text = xstrdup(PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
    PQclear(result);
    PQfinish(conn);
    return text;
}

static void execute(const char *sql)
{
    free(query_in("postgres", sql));
}

static void assert_in(const char *database, const char *sql, const char *expected)
{
    char *text = query_in(database, sql);
    assert_string_equal(text, expected);
    free(text);
}

static void assert_text(const char *sql, const char *expected)
{
    assert_in("postgres", sql, expected);
}

struct test {
    struct probe p;
    struct loader_probe w;
    struct flush_identity id;
    uint64_t batch; /* the last one */
};

static void open_in(struct test *t, const char *database)
{
    char dsn[256];
    snprintf(dsn, sizeof dsn, "%s dbname=%s", server.dsn, database);
    t->id = probe_cluster(1, 0, 0);
    t->batch = 0;
    free(query_in(database, "SET client_min_messages = warning; DROP SCHEMA IF EXISTS wb CASCADE"));
    probe_open(&t->p, dsn, 0, NULL);
    probe_claim(&t->p, &t->id, FLUSH_DB_EMPTY, NULL);
    assert_int_equal(probe_next(&t->p), PROBE_CLAIMED);
    probe_take(&t->p, &t->id, 1);
    assert_int_equal(probe_next(&t->p), PROBE_TAKEN);
    loader_probe_open(&t->w, dsn, &t->id, NULL);
}

static void open_all(struct test *t)
{
    open_in(t, "postgres");
}

static void close_all(struct test *t)
{
    loader_probe_close(&t->w);
    probe_close(&t->p);
}

static void write_rows(struct test *t, struct flush_row *rows, uint32_t n)
{
    probe_send(&t->p, t->batch + 1, t->batch, rows, n);
    probe_assert_committed(&t->p, ++t->batch);
}

static void isolate_rows(struct test *t, struct flush_row *rows, uint32_t n, uint32_t refused)
{
    probe_isolate(&t->p, t->batch + 1, t->batch, rows, n, refused);
    probe_finish(&t->p, &(struct flush_note){0}, NULL);
    probe_assert_committed(&t->p, ++t->batch);
}

/* A hash of the @n texts: names, each with its value. */
static void make(struct buf *out, const char *const *texts, uint32_t n)
{
    buf_init(out);
    fields_begin(out);
    for (uint32_t i = 0; i < n; i += 2) {
        fields_add(out, bytes_from_text(texts[i]), bytes_from_text(texts[i + 1]));
    }
    fields_end(out, n / 2);
    assert_true(fields_valid(buf_bytes(out)));
}

static struct flush_row hash_row(const char *key, const struct buf *hash, uint64_t version)
{
    return (struct flush_row){
        .key = bytes_from_text(key), .value = buf_bytes(hash), .type = VALUE_HASH, .version = version};
}

static void copy_row(void *data, const struct load_row *row)
{
    buf_clear(data);
    buf_append(data, row->value.data, row->value.len);
}

/* Load @key, which must be there, into @out (empty). */
static void load(struct test *t, const char *key, struct buf *out)
{
    t->w.on_row = copy_row;
    t->w.on_row_data = out;
    const struct loader_answer *a = loader_probe_one(&t->w, key);
    t->w.on_row = NULL;
    assert_int_equal(a->result.n, 1);
}

static void assert_hash(struct test *t, const char *key, const struct buf *expected)
{
    struct buf found;
    buf_init(&found);
    load(t, key, &found);
    assert_int_equal(t->w.answers[0].type, VALUE_HASH);
    assert_true(fields_valid(buf_bytes(&found)));
    assert_true(fields_equal(buf_bytes(&found), buf_bytes(expected)));
    buf_deinit(&found);
}

static void assert_string(struct test *t, const char *key, const char *expected)
{
    const struct loader_answer *a = loader_probe_one(&t->w, key);
    assert_int_equal(a->result.n, 1);
    assert_int_equal(a->type, VALUE_STRING);
    assert_string_equal(a->value, expected);
}

/* ---- what SQL sees ---- */

static void a_hash_is_an_object_of_texts(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "name", "Ann \xc3\x84rger \"x\"", "photo", "\xff\xd8\x01", "odd", "\\x41", "empty", ""};
    struct test t;
    struct buf hash;
    open_all(&t);
    make(&hash, texts, 8);
    struct flush_row row = hash_row("user:1", &hash, 7);
    write_rows(&t, &row, 1);
    assert_text("SELECT fields->>'name' FROM wb.entry WHERE value IS NULL", texts[1]);
    assert_text("SELECT (fields->>'photo')::bytea FROM wb.entry", "\\xffd801");
    assert_text("SELECT convert_from((fields->>'odd')::bytea, 'UTF8') FROM wb.entry", "\\x41");
    assert_text(
        "SELECT count(*) FROM wb.entry, jsonb_each(fields) AS f WHERE jsonb_typeof(f.value) = 'string'", "4");
    assert_hash(&t, "user:1", &hash);
    assert_int_equal(t.w.answers[0].version_sum, 7);
    buf_deinit(&hash);
    close_all(&t);
}

static void a_key_becomes_a_hash_and_a_string_again(void **state)
{
    (void)state;
    static const char *const texts[] = {"f", "1"}, *const others[] = {"g", "2", "h", "3"};
    struct test t;
    struct buf hash, other;
    open_all(&t);
    make(&hash, texts, 2);
    make(&other, others, 4);
    struct flush_row rows[] = {probe_row("a", "string", 1), hash_row("b", &hash, 2), probe_row("c", "", 3)};
    write_rows(&t, rows, 3);
    assert_string(&t, "a", "string");
    assert_hash(&t, "b", &hash);
    assert_string(&t, "c", "");
    for (int isolating = 0; isolating < 2; isolating++) {
        void (*write)(struct test *, struct flush_row *, uint32_t) = write_rows;
        struct flush_row back[] = {hash_row("a", &other, 4), probe_row("b", "now a string", 5)};
        if (isolating == 0) {
            write(&t, back, 2);
        } else {
            isolate_rows(&t, back, 2, 0);
        }
        assert_hash(&t, "a", &other);
        assert_string(&t, "b", "now a string");
        /* By the statement that knows no hashes. */
        struct flush_row strings[] = {probe_row("a", "again", 6)};
        write(&t, strings, 1);
        assert_string(&t, "a", "again");
        assert_text("SELECT count(*) FROM wb.entry WHERE fields IS NOT NULL", "0");
        struct flush_row hashes[] = {hash_row("b", &hash, 7)};
        write(&t, hashes, 1);
        assert_hash(&t, "b", &hash);
    }
    struct flush_row gone[] = {hash_row("b", &hash, 9), hash_row("a", &hash, 10)};
    gone[0].deleted = true;
    write_rows(&t, gone, 2);
    assert_int_equal(loader_probe_one(&t.w, "b")->result.n, 0);
    assert_hash(&t, "a", &hash);
    buf_deinit(&other);
    buf_deinit(&hash);
    close_all(&t);
}

static void a_row_has_a_value_or_fields_and_never_both(void **state)
{
    (void)state;
    struct test t;
    open_all(&t);
    static const char *const rows[] = {"INSERT INTO wb.entry VALUES ('k', NULL, 1)",
        "INSERT INTO wb.entry VALUES ('k', 'v', 1, NULL, '{}')"};
    for (int i = 0; i < 2; i++) {
        PGconn *conn = PQconnectdb(server.dsn);
        PGresult *result = PQexec(conn, rows[i]);
        assert_string_equal(PQresultErrorField(result, PG_DIAG_SQLSTATE), "23514");
        PQclear(result);
        PQfinish(conn);
    }
    close_all(&t);
}

/* ---- random bytes, there and back ---- */

static uint64_t random_state;

static uint32_t next_random(uint32_t below)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % below;
}

/* Letters, text, or any bytes. */
static struct bytes random_bytes(uint8_t *out, uint32_t max)
{
    uint32_t n = next_random(max + 1), kind = next_random(3);
    size_t len = 0;
    while (len < n) {
        if (kind == 1 && len + 2 <= n && next_random(4) == 0) {
            out[len++] = 0xc3;
            out[len++] = (uint8_t)(0x80 + next_random(64));
        } else {
            static const char care[] = "\\x\"\n\x01{}'";
            out[len++] = (uint8_t)(kind == 2             ? next_random(256)
                                   : next_random(3) == 0 ? (uint32_t)care[next_random(sizeof care - 1)]
                                                         : 'a' + next_random(26));
        }
    }
    return bytes_of(out, len);
}

static void random_hash(struct buf *out)
{
    enum { FIELDS_MAX = 20, BYTES_MAX = 40 };
    static uint8_t bytes[2 * FIELDS_MAX][BYTES_MAX];
    struct field fields[FIELDS_MAX];
    uint32_t n = 1 + next_random(FIELDS_MAX);
    for (uint32_t i = 0; i < n; i++) {
        fields[i].name = random_bytes(bytes[2 * i], BYTES_MAX);
        fields[i].value = random_bytes(bytes[2 * i + 1], BYTES_MAX);
    }
    buf_init(out);
    fields_set(bytes_of(NULL, 0), fields, n, out);
}

enum { ROUND_KEYS = 400 };
struct round {
    struct buf values[ROUND_KEYS];
    bool is_hash[ROUND_KEYS];
    unsigned found;
};

static void check_row(void *data, const struct load_row *row)
{
    struct round *round = data;
    uint32_t i = load_be32(row->key.data);
    assert_true(row->key.len == 4 && i < ROUND_KEYS);
    assert_int_equal(row->type, round->is_hash[i] ? VALUE_HASH : VALUE_STRING);
    if (round->is_hash[i]) {
        assert_true(fields_valid(row->value));
        assert_true(fields_equal(row->value, buf_bytes(&round->values[i])));
    } else {
        assert_true(bytes_equal(row->value, buf_bytes(&round->values[i])));
    }
    round->found++;
}

static void random_hashes_come_back_as_they_went(void **state)
{
    (void)state;
    const char *given = getenv("WB_SEED");
    random_state = given == NULL ? 20261123 : strtoull(given, NULL, 10);
    printf("WB_SEED=%llu\n", (unsigned long long)random_state);
    struct test t;
    struct round *round = xcalloc(1, sizeof *round);
    static uint8_t keys[ROUND_KEYS][4];
    static struct flush_row rows[ROUND_KEYS];
    static struct bytes names[ROUND_KEYS];
    open_all(&t);
    t.w.on_row = check_row;
    t.w.on_row_data = round;
    for (unsigned times = 0; times < 5; times++) {
        for (uint32_t i = 0; i < ROUND_KEYS; i++) {
            uint8_t bytes[40];
            round->is_hash[i] = next_random(4) > 0;
            buf_deinit(&round->values[i]);
            if (round->is_hash[i]) {
                random_hash(&round->values[i]);
            } else {
                struct bytes value = random_bytes(bytes, sizeof bytes);
                buf_append(&round->values[i], value.data, value.len);
            }
            store_be32(keys[i], i);
            names[i] = bytes_of(keys[i], 4);
            rows[i] = (struct flush_row){.key = names[i],
                .value = buf_bytes(&round->values[i]),
                .type = round->is_hash[i] ? VALUE_HASH : VALUE_STRING,
                .version = times + 1};
        }
        if (times % 2 == 0) {
            write_rows(&t, rows, ROUND_KEYS);
        } else {
            isolate_rows(&t, rows, ROUND_KEYS, 0);
        }
        round->found = 0;
        loader_probe_load(&t.w, 0, names, ROUND_KEYS);
        loader_probe_run(&t.w, t.w.events + 1);
        assert_int_equal(round->found, ROUND_KEYS);
    }
    for (uint32_t i = 0; i < ROUND_KEYS; i++) {
        buf_deinit(&round->values[i]);
    }
    free(round);
    close_all(&t);
}

/* The longest hash, and the one of them that is longest on its way: many short names that are no text. */
static void the_longest_hashes_come_back(void **state)
{
    (void)state;
    struct test t;
    struct buf hash;
    open_all(&t);
    for (int many = 0; many < 2; many++) {
        uint32_t n = 0;
        uint8_t *bytes = xcalloc(LIMIT_VALUE_BYTES, 1);
        buf_init(&hash);
        fields_begin(&hash);
        if (many) {
            for (uint8_t name[3] = {0xff, 0, 0}; hash.len + 5 <= LIMIT_VALUE_BYTES; n++) {
                name[1] = (uint8_t)(n >> 8);
                name[2] = (uint8_t)n;
                name[0] = (uint8_t)(0xf8 + (n >> 16));
                fields_add(&hash, bytes_of(name, 3), bytes_of(NULL, 0));
            }
        } else {
            fields_add(&hash, bytes_from_text("n"), bytes_of(bytes, LIMIT_VALUE_BYTES - 4 - 2 - 3));
            n = 1;
            assert_int_equal(hash.len, LIMIT_VALUE_BYTES);
        }
        fields_end(&hash, n);
        struct flush_row row = hash_row("long", &hash, 1);
        write_rows(&t, &row, 1);
        assert_hash(&t, "long", &hash);
        free(bytes);
        buf_deinit(&hash);
    }
    close_all(&t);
}

/* ---- encodings ---- */

static void make_database(const char *name)
{
    char sql[256];
    snprintf(sql, sizeof sql,
        "CREATE DATABASE %s TEMPLATE template0 ENCODING '%s' LC_COLLATE 'C' LC_CTYPE 'C'", name, name);
    execute(sql);
}

/* Only that row, and in every way that rows are written. */
static void what_the_databases_encoding_does_not_have_is_refused(void **state)
{
    (void)state;
    static const char *const fine[] = {"caf\xc3\xa9", "\xc3\xbc", "bytes", "\xff"},
                             *const strange[] = {"price", "\xe2\x82\xac 5", "tab", "\t"},
                             *const ascii[] = {"a", "\n"};
    struct test t;
    struct buf good, bad, plain;
    make(&good, fine, 4);
    make(&bad, strange, 4);
    make(&plain, ascii, 2);
    make_database("latin1");
    open_in(&t, "latin1");
    struct flush_row rows[] = {hash_row("a", &good, 1), hash_row("b", &bad, 2), hash_row("c", &good, 3)};
    probe_send(&t.p, 1, 0, rows, 3);
    probe_assert_failed(&t.p, FLUSH_ERROR_ROW, "has no equivalent in encoding \"LATIN1\"");
    assert_true(t.p.error.in_rows);
    probe_take(&t.p, &t.id, 1);
    assert_int_equal(probe_next(&t.p), PROBE_TAKEN);
    probe_isolate(&t.p, 1, 0, rows, 3, 1);
    assert_string_equal(t.p.faults[0].key, "b");
    assert_string_equal(t.p.faults[0].sqlstate, "22P05");
    const struct flush_quarantined shown[] = {{.key = rows[1].key,
                                                  .value = rows[1].value,
                                                  .type = VALUE_HASH,
                                                  .sqlstate = "22P05",
                                                  .message = "no"},
        {.key = rows[0].key,
            .value = rows[0].value,
            .type = VALUE_HASH,
            .sqlstate = "22P05",
            .message = "no"},
        {.key = bytes_from_text("p"),
            .value = buf_bytes(&plain),
            .type = VALUE_HASH,
            .sqlstate = "23514",
            .message = "no"}};
    probe_finish(&t.p, &(struct flush_note){.quarantined = 3}, &(struct flush_mirror){.rows = shown, .n = 3});
    probe_assert_committed(&t.p, 1);
    assert_hash(&t, "a", &good);
    assert_hash(&t, "c", &good);
    assert_int_equal(loader_probe_one(&t.w, "b")->result.n, 0);
    assert_in("latin1", "SELECT octet_length(fields->>'caf\xc3\xa9') FROM wb.entry WHERE key = 'a'", "1");
    /* What may not be there in this encoding is not shown. */
    assert_in("latin1",
        "SELECT string_agg(key || ':' || coalesce(fields::text, 'NULL') || value_bytes, ' '"
        " ORDER BY key) FROM (SELECT convert_from(key, 'UTF8') AS key, fields, value_bytes FROM"
        " wb.quarantine) AS q",
        "a:NULL21 b:NULL22 p:{\"a\": \"\\n\"}8");
    close_all(&t);
    buf_deinit(&good);
    buf_deinit(&bad);
    buf_deinit(&plain);
}

/* Also such bytes as are no text to us: then they are bytes. */
static void a_database_that_knows_no_encoding_keeps_what_we_write_and_gives_what_others_wrote(void **state)
{
    (void)state;
    static const char *const texts[] = {"price", "\xe2\x82\xac 5", "bytes", "\xff"}, *const theirs[] = {
                                                                                         "f", "\xff\xe9"};
    struct test t;
    struct buf hash, other;
    make(&hash, texts, 4);
    make(&other, theirs, 2);
    make_database("sql_ascii");
    open_in(&t, "sql_ascii");
    struct flush_row row = hash_row("ours", &hash, 1);
    write_rows(&t, &row, 1);
    assert_hash(&t, "ours", &hash);
    assert_in("sql_ascii", "SELECT fields->>'price' FROM wb.entry", texts[1]);
    free(query_in("sql_ascii", "SET client_encoding = sql_ascii; INSERT INTO wb.entry VALUES"
                               " ('theirs', NULL, 1, NULL, jsonb_build_object('f', E'\\xff\\xe9'))"));
    assert_hash(&t, "theirs", &other);
    const struct flush_quarantined shown = {
        .key = row.key, .value = row.value, .type = VALUE_HASH, .sqlstate = "23514", .message = "no"};
    probe_note(
        &t.p, &(struct flush_note){.quarantined = 1}, &(struct flush_mirror){.rows = &shown, .n = 1}, 1);
    assert_int_equal(probe_next(&t.p), PROBE_NOTED);
    assert_in("sql_ascii", "SELECT fields->>'price' FROM wb.quarantine", texts[1]);
    close_all(&t);
    buf_deinit(&hash);
    buf_deinit(&other);
}

/* A row that cannot be sent to anybody who speaks UTF-8. */
static void a_row_that_cannot_be_sent_fails_alone(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "b", "c"};
    struct test t;
    struct bytes keys[3];
    make_database("win1252");
    open_in(&t, "win1252");
    free(query_in("win1252", "INSERT INTO wb.entry VALUES ('a', NULL, 1, NULL, '{\"f\": \"1\"}'),"
                             " ('b', NULL, 2, NULL, jsonb_build_object('f', convert_from('\\x81', "
                             "'WIN1252'))), ('c', 'v', 4, NULL, NULL)"));
    for (int i = 0; i < 3; i++) {
        keys[i] = bytes_from_text(names[i]);
    }
    loader_probe_load(&t.w, 1, keys, 3);
    loader_probe_run(&t.w, t.w.events + 1);
    assert_int_equal(t.w.answers[1].version_sum, 1);
    assert_int_equal(loader_probe_load_later(&t.w, 1), 2);
    loader_probe_load(&t.w, 2, &keys[2], 1); /* behind the one that fails, on the same connection */
    loader_probe_run(&t.w, t.w.events + 2);
    assert_true(t.w.answers[1].failed);
    assert_non_null(strstr(t.w.answers[1].error.message, "has no equivalent in encoding \"UTF8\""));
    assert_int_equal(t.w.answers[2].version_sum, 4);
    assert_string(&t, "c", "v"); /* at once: it was never down */
    close_all(&t);
}

/* ---- refused ones ---- */

static void a_hash_that_is_refused_is_found_and_shown(void **state)
{
    (void)state;
    static const char *const texts[] = {"age", "12"}, *const bads[] = {"age", "-1", "raw", "\xff"};
    struct test t;
    struct buf fine, bad;
    make(&fine, texts, 2);
    make(&bad, bads, 4);
    open_all(&t);
    execute("ALTER TABLE wb.entry ADD CHECK ((fields->>'age')::int >= 0)");
    static struct flush_row rows[40];
    static char keys[40][8];
    for (unsigned i = 0; i < 40; i++) {
        snprintf(keys[i], sizeof keys[i], "k%02u", i);
        rows[i] = i == 31      ? hash_row(keys[i], &bad, i + 1)
                  : i % 3 == 0 ? probe_row(keys[i], "a string", i + 1)
                               : hash_row(keys[i], &fine, i + 1);
        rows[i].deleted = i == 20;
    }
    probe_isolate(&t.p, 1, 0, rows, 40, 1);
    assert_string_equal(t.p.faults[0].key, "k31");
    assert_string_equal(t.p.faults[0].sqlstate, "23514");
    struct flush_quarantined shown[] = {{.key = rows[31].key,
                                            .value = rows[31].value,
                                            .type = VALUE_HASH,
                                            .version = 32,
                                            .sqlstate = "23514",
                                            .message = "no"},
        {.key = rows[0].key,
            .value = rows[0].value,
            .type = VALUE_STRING,
            .version = 1,
            .sqlstate = "23514",
            .message = "no"},
        {.key = rows[1].key,
            .value = rows[1].value,
            .type = VALUE_HASH,
            .deleted = true,
            .version = 1,
            .sqlstate = "23514",
            .message = "no"}};
    probe_finish(&t.p, &(struct flush_note){.quarantined = 3}, &(struct flush_mirror){.rows = shown, .n = 3});
    probe_assert_committed(&t.p, 1);
    t.batch = 1;
    assert_text("SELECT count(*) || ' ' || count(fields) FROM wb.entry", "38 24");
    assert_text("SELECT fields::text || value_bytes FROM wb.quarantine WHERE key = 'k31' AND value IS NULL",
        "{\"age\": \"-1\", \"raw\": \"\\\\xff\"}17");
    assert_text("SELECT convert_from(value, 'UTF8') || coalesce(fields::text, '') FROM wb.quarantine WHERE "
                "key = 'k00'",
        "a string");
    assert_text(
        "SELECT (value IS NULL AND fields IS NULL AND value_bytes IS NULL) FROM wb.quarantine WHERE deleted",
        "t");
    /* It becomes a string. */
    shown[0].type = VALUE_STRING;
    shown[0].value = bytes_from_text("s");
    shown[0].version++;
    probe_note(
        &t.p, &(struct flush_note){.quarantined = 1}, &(struct flush_mirror){.rows = shown, .n = 1}, 1);
    assert_int_equal(probe_next(&t.p), PROBE_NOTED);
    assert_text(
        "SELECT convert_from(value, 'UTF8') || count(fields) FROM wb.quarantine GROUP BY value", "s0");
    close_all(&t);
    buf_deinit(&fine);
    buf_deinit(&bad);
}

/* ---- what others wrote ---- */

static void fields_that_others_wrote_are_read_as_sql_shows_them(void **state)
{
    (void)state;
    static const char *const expected[] = {"n", "12.50", "b", "true", "o", "{\"x\": [1, null]}", "hex",
        "\x0a\xff", "no", "\\xzz", "odd", "\\x123", "up", "\xab"};
    struct test t;
    struct buf hash;
    make(&hash, expected, 14);
    open_all(&t);
    execute("INSERT INTO wb.entry VALUES ('k', NULL, 5, NULL, '{\"n\": 12.50, \"b\": true, \"o\": {\"x\": "
            "[1, null]},"
            " \"gone\": null, \"hex\": \"\\\\x0aff\", \"no\": \"\\\\xzz\", \"odd\": \"\\\\x123\", \"up\": "
            "\"\\\\xAB\"}')");
    assert_hash(&t, "k", &hash);
    buf_deinit(&hash);
    close_all(&t);
}

/* Rows that are no hashes of ours; all have expired, and so have two good ones. */
static void make_bad_rows(void)
{
    execute("ALTER TABLE wb.entry DROP CONSTRAINT entry_has_value_or_fields;"
            "INSERT INTO wb.entry VALUES ('bad1', NULL, 1, '2000-01-01', '{}'), ('bad2', NULL, 1, "
            "'2000-01-01', '[1]'),"
            " ('bad3', NULL, 1, '2000-01-01', '\"text\"'), ('bad4', NULL, 1, '2000-01-01', '{\"a\": null}'),"
            " ('bad5', NULL, 1, '2000-01-01', jsonb_build_object('a', repeat('v', 1048576))),"
            " ('bad6', 'v', 1, '2000-01-01', '{\"a\": 1}'), ('bad7', NULL, 0, '2000-01-01', '{\"a\": 1}'),"
            " ('bad8', NULL, 1, '2000-01-01', 'null'),"
            " ('bad9', NULL, 1, '2000-01-01', jsonb_build_object('a', repeat('v', 20000000))),"
            " ('good1', NULL, 3, '2000-01-02', '{\"a\": null, \"b\": 1}'),"
            " ('good2', NULL, 4, '2000-01-03', jsonb_build_object('a', repeat('v', 1048567)));"
            /* The same name twice. */
            "INSERT INTO wb.entry VALUES ('twice', NULL, 1, NULL, '{\"a\": 1, \"\\\\x61\": 2}')");
}

static void fields_that_are_no_hash_are_named_and_harm_no_others(void **state)
{
    (void)state;
    static const char *const names[] = {"bad1", "bad2", "bad3", "bad4", "bad5", "bad6", "bad7", "bad8",
        "bad9", "twice", "good1", "good2", "none"};
    struct test t;
    struct bytes keys[13];
    open_all(&t);
    make_bad_rows();
    for (int i = 0; i < 13; i++) {
        keys[i] = bytes_from_text(names[i]);
    }
    loader_probe_load(&t.w, 1, keys, 13);
    loader_probe_run(&t.w, 1);
    const struct loader_answer *a = &t.w.answers[1];
    assert_false(a->failed);
    unsigned bad = 0, rows = 0, versions = 0;
    for (;;) { /* the long ones come later */
        a = &t.w.answers[1];
        bad += a->result.bad_n;
        rows += a->result.n;
        versions += (unsigned)a->version_sum;
        if (loader_probe_load_later(&t.w, 1) == 0) {
            break;
        }
        loader_probe_run(&t.w, t.w.events + 1);
    }
    assert_int_equal(bad, 10);
    assert_int_equal(rows, 2);
    assert_int_equal(versions, 7);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(loader_probe_one(&t.w, names[i])->result.bad_n, 1);
    }
    close_all(&t);
}

static void expired_hashes_are_found_and_those_that_are_not_ours_do_not_hide_them(void **state)
{
    (void)state;
    struct test t;
    open_all(&t);
    make_bad_rows();
    execute("INSERT INTO wb.entry SELECT 'n' || int4send(g), NULL, g, '1999-01-01', '{}' FROM "
            "generate_series(1, 200) g");
    loader_probe_find(&t.w, 1, UINT64_C(1700000000000), 4);
    loader_probe_run(&t.w, 1);
    const struct loader_answer *a = &t.w.answers[1];
    /* The first two are looked at no further: what is kept of them is more than a little, and could be ours.
     */
    assert_int_equal(a->keys_n, 4);
    assert_string_equal(a->keys[0] + 3, a->keys[0][3] == '5' ? "5" : "9");
    assert_string_equal(a->keys[1] + 3, a->keys[0][3] == '5' ? "9" : "5");
    assert_string_equal(a->keys[2], "good1");
    assert_string_equal(a->keys[3], "good2");
    close_all(&t);
}

/* ---- bounded answers ---- */

/* Hashes of any size come, each once, in answers that are not too long. */
static void hashes_come_a_few_at_a_time(void **state)
{
    (void)state;
    static const struct {
        unsigned keys, fields, value_bytes, loads_min, loads_max;
    } cases[] = {
        {20, 1, 1000000, 4, 12},
        {24, 24000, 20, 4, 12},
        {1000, 5, 100, 1, 1},
    };
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        struct test t;
        char sql[512];
        struct bytes keys[1000];
        uint8_t bytes[1000][4];
        open_all(&t);
        snprintf(sql, sizeof sql,
            "INSERT INTO wb.entry SELECT int4send(k), NULL, k, NULL, (SELECT jsonb_object_agg('f' || f, "
            "repeat('v', %u))"
            " FROM generate_series(1, %u) AS f) FROM generate_series(1, %u) AS k",
            cases[c].value_bytes, cases[c].fields, cases[c].keys);
        execute(sql);
        for (unsigned i = 0; i < cases[c].keys; i++) {
            store_be32(bytes[i], i + 1);
            keys[i] = bytes_of(bytes[i], 4);
        }
        uint8_t seen[1001] = {0};
        t.w.seen = seen;
        t.w.seen_n = sizeof seen;
        unsigned loads = 0;
        loader_probe_load(&t.w, 0, keys, cases[c].keys);
        do {
            loader_probe_run(&t.w, t.w.events + 1);
            const struct loader_answer *a = &t.w.answers[0];
            assert_false(a->failed);
            assert_true(a->value_bytes <= PG_LOAD_ANSWER_BYTES);
            assert_int_equal(a->result.bad_n, 0);
            loads++;
        } while (loader_probe_load_later(&t.w, 0) > 0);
        for (unsigned i = 1; i <= cases[c].keys; i++) {
            assert_int_equal(seen[i], 1);
        }
        assert_true(loads >= cases[c].loads_min && loads <= cases[c].loads_max);
        close_all(&t);
    }
}

static int start(void **state)
{
    (void)state;
    return pg_test_server_start(&server);
}

static int stop(void **state)
{
    (void)state;
    pg_test_server_destroy(&server);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hash_is_an_object_of_texts),
        cmocka_unit_test(a_key_becomes_a_hash_and_a_string_again),
        cmocka_unit_test(a_row_has_a_value_or_fields_and_never_both),
        cmocka_unit_test(random_hashes_come_back_as_they_went),
        cmocka_unit_test(the_longest_hashes_come_back),
        cmocka_unit_test(what_the_databases_encoding_does_not_have_is_refused),
        cmocka_unit_test(a_database_that_knows_no_encoding_keeps_what_we_write_and_gives_what_others_wrote),
        cmocka_unit_test(a_row_that_cannot_be_sent_fails_alone),
        cmocka_unit_test(a_hash_that_is_refused_is_found_and_shown),
        cmocka_unit_test(fields_that_others_wrote_are_read_as_sql_shows_them),
        cmocka_unit_test(fields_that_are_no_hash_are_named_and_harm_no_others),
        cmocka_unit_test(expired_hashes_are_found_and_those_that_are_not_ours_do_not_hide_them),
        cmocka_unit_test(hashes_come_a_few_at_a_time),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
