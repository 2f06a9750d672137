/* The schema in a real server: the way from older versions, what watches the table, what people read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "flush/flusher_probe.h"
#include "flush/schema.h"

static struct pg_test_server server;

static char *query(const char *sql)
{
    char *text = pg_test_server_query(&server, sql);
    assert_non_null(text);
    return text;
}

static void execute(const char *sql)
{
    free(query(sql));
}

static int64_t number(const char *sql)
{
    return pg_test_server_number(&server, sql);
}

static void claim(struct probe *p, const struct flush_identity *id)
{
    probe_open(p, server.dsn, 0, NULL);
    probe_claim(p, id, FLUSH_DB_EMPTY, NULL);
    assert_int_equal(probe_next(p), PROBE_CLAIMED);
}

/* A hash of one field. */
static struct flush_row hash_row(const char *key, uint64_t version)
{
    static const char fields[] = "\1\0\0\0\1f\1"
                                 "1";
    return (struct flush_row){.key = bytes_from_text(key),
        .value = bytes_of(fields, sizeof fields - 1),
        .type = VALUE_HASH,
        .version = version};
}

/* ---- migration ---- */

/* As the nodes of version 2 made it; version 1 had no index entry_expires_at. */
static const char version_2[] =
    "DROP SCHEMA IF EXISTS wb CASCADE; CREATE SCHEMA wb;"
    "CREATE TABLE wb.entry (key bytea PRIMARY KEY, value bytea NOT NULL, version bigint NOT NULL,"
    " expires_at timestamptz);"
    "CREATE INDEX entry_expires_at ON wb.entry (expires_at) WHERE expires_at IS NOT NULL;"
    "CREATE TABLE wb.flush_state (group_id int PRIMARY KEY, cluster_id uuid NOT NULL, group_count int NOT "
    "NULL,"
    " version_base bigint NOT NULL, term bigint NOT NULL, epoch bigint NOT NULL, last_batch bigint NOT NULL,"
    " fresh_as_of timestamptz) WITH (fillfactor = 25);"
    "CREATE TABLE wb.meta (schema_version int NOT NULL);"
    "CREATE UNIQUE INDEX meta_has_one_row ON wb.meta ((true));"
    "CREATE FUNCTION wb.flush_advance(p_group int, p_cluster uuid, p_group_count int, p_epoch bigint,"
    " p_predecessor bigint, p_batch bigint) RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$;"
    "INSERT INTO wb.meta VALUES (2);"
    "INSERT INTO wb.flush_state SELECT g, '01010101-0101-0101-0101-010101010101', 3, 0, 4, 5, 6"
    " FROM generate_series(0, 2) AS g";
/* As the nodes of version 3 made it, where that differs from now. What it had as now is made by schema_sql.
 */
static const char version_3[] =
    "DROP SCHEMA IF EXISTS wb CASCADE; CREATE SCHEMA wb;"
    "CREATE TABLE wb.entry (key bytea PRIMARY KEY, value bytea NOT NULL, version bigint NOT NULL,"
    " expires_at timestamptz);"
    "CREATE TABLE wb.quarantine (key bytea PRIMARY KEY, group_id int NOT NULL, deleted boolean NOT NULL, "
    "value bytea,"
    " value_bytes int, version bigint NOT NULL, sqlstate text NOT NULL, message text NOT NULL, attempts int "
    "NOT NULL,"
    " since timestamptz NOT NULL, refused_at timestamptz NOT NULL);"
    "CREATE FUNCTION wb.flush_isolate(p_keys bytea[], p_values bytea[], p_versions bigint[], p_expires "
    "timestamptz[],"
    " p_deleted bytea[], p_refusals text, p_bad boolean, p_handful int, OUT tries int, OUT bad_keys bytea[],"
    " OUT bad_states text[], OUT bad_messages text[]) LANGUAGE plpgsql AS $$ BEGIN END $$";
static const char version_3_rows[] =
    "INSERT INTO wb.meta VALUES (3);"
    "INSERT INTO wb.flush_state SELECT g, '01010101-0101-0101-0101-010101010101', 3, 0, 4, 5, 6"
    " FROM generate_series(0, 2) AS g;"
    "INSERT INTO wb.quarantine VALUES ('refused', 0, false, 'bad', 3, 9, '23514', 'no', 1, now(), now())";
static const char to_version_1[] = "DROP INDEX wb.entry_expires_at; UPDATE wb.meta SET schema_version = 1";

/* All that makes the schema, as one text. */
static const char catalog[] =
    "SELECT string_agg(line, E'\\n' ORDER BY line) FROM ("
    " SELECT format('column %s.%s %s %s %s %s', table_name, column_name, ordinal_position, data_type, "
    "is_nullable,"
    "  column_default) FROM information_schema.columns WHERE table_schema = 'wb'"
    " UNION ALL SELECT conname || pg_get_constraintdef(oid) || convalidated FROM pg_constraint"
    "  WHERE connamespace = 'wb'::regnamespace"
    " UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'wb'"
    " UNION ALL SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'wb'::regnamespace"
    " UNION ALL SELECT pg_get_viewdef('wb.freshness'::regclass)"
    " UNION ALL SELECT format('%s %s %s %s', relname, relkind, reloptions, pg_get_userbyid(relowner))"
    "  FROM pg_class WHERE relnamespace = 'wb'::regnamespace"
    " UNION ALL SELECT format('%s owned by %s', proname, pg_get_userbyid(proowner))"
    "  FROM pg_proc WHERE pronamespace = 'wb'::regnamespace"
    " UNION ALL SELECT format('comment %s %s %s', objoid::regclass, objsubid, description) FROM "
    "pg_description"
    "  WHERE classoid = 'pg_class'::regclass AND objoid::regclass::text LIKE 'wb.%'"
    " UNION ALL SELECT 'version ' || schema_version FROM wb.meta) AS lines (line)";

/* As psql does it; what it refuses is not printed, as it is meant to be. */
static bool migrate(const char *sql)
{
    PGconn *conn = PQconnectdb(server.dsn);
    PGresult *result = PQexec(conn, sql);
    bool ok = PQresultStatus(result) == PGRES_COMMAND_OK;
    PQclear(result);
    PQfinish(conn);
    return ok;
}

/* Make the schema as it was in version @from, with two rows. */
static void make_version(int from)
{
    static const enum schema_sql as_now[] = {SCHEMA_CREATE_EXPIRY_INDEX, SCHEMA_CREATE_STATE,
        SCHEMA_CREATE_QUARANTINE_INDEX, SCHEMA_CREATE_FRESHNESS, SCHEMA_CREATE_META, SCHEMA_CREATE_META_INDEX,
        SCHEMA_CREATE_ADVANCE, SCHEMA_CREATE_CHANGED, SCHEMA_CREATE_WATCH};
    if (from < 3) {
        execute(version_2);
    } else {
        execute(version_3);
        for (size_t i = 0; i < sizeof as_now / sizeof as_now[0]; i++) {
            char *sql = schema_sql(as_now[i], "wb");
            execute(sql);
            free(sql);
        }
        execute(version_3_rows);
    }
    if (from == 1) {
        execute(to_version_1);
    }
    execute("INSERT INTO wb.entry VALUES ('old', 'its value', 5, '2100-01-01'), ('empty', '', 6, NULL)");
}

static void halts_with_the_words_that_help(struct probe *p, const char *version)
{
    probe_assert_failed(p, FLUSH_ERROR_HALT, version);
    assert_non_null(strstr(p->error.message, "wbnode --config FILE --migration"));
}

static void an_older_schema_halts_until_it_is_migrated(void **state)
{
    (void)state;
    struct flush_identity id = probe_cluster(1, 0, 0);
    struct probe p;
    execute("DROP SCHEMA IF EXISTS wb CASCADE");
    claim(&p, &id);
    char *wanted = query(catalog);
    assert_non_null(strstr(wanted, "comment wb.freshness"));
    for (int from = 1; from < SCHEMA_VERSION; from++) {
        char words[32];
        snprintf(words, sizeof words, "has version %d,", from);
        probe_disconnect(&p);
        make_version(from);
        probe_inspect(&p, &id);
        halts_with_the_words_that_help(&p, words);
        probe_claim(&p, &id, FLUSH_DB_OURS, &id);
        halts_with_the_words_that_help(&p, words);
        probe_take(&p, &id, 9);
        halts_with_the_words_that_help(&p, words);
        assert_int_equal(number("SELECT sum(term + epoch) FROM wb.flush_state"), 27);
        /* Not by the text for another version, which changes nothing. */
        char *sql = schema_migration_sql(from == 1 ? 3 : from - 1, "wb"),
             *before = query("SELECT count(*) FROM pg_proc"), *after;
        assert_false(migrate(sql));
        after = query("SELECT count(*) FROM pg_proc");
        assert_string_equal(after, before);
        free(after);
        free(before);
        free(sql);
        sql = schema_migration_sql(from, "wb");
        execute(sql);
        char *made = query(catalog);
        assert_string_equal(made, wanted);
        free(made);
        assert_false(migrate(sql)); /* twice */
        free(sql);
        assert_int_equal(number("SELECT count(*) FROM wb.entry WHERE fields IS NULL AND version = 5"
                                " AND (key, value, expires_at) = ('old', 'its value', '2100-01-01')"),
            1);
        assert_int_equal(number("SELECT count(*) FROM wb.entry WHERE value = ''"), 1);
        assert_int_equal(number("SELECT count(*) FROM wb.quarantine WHERE value = 'bad'"), from == 3 ? 1 : 0);
        probe_take(&p, &id, 9);
        assert_int_equal(probe_next(&p), PROBE_TAKEN);
        assert_int_equal(p.row.last_batch, 6);
        struct flush_row rows[] = {probe_row("k", "v", 1), hash_row("old", 7)};
        probe_send(&p, 7, 6, rows, 2);
        probe_assert_committed(&p, 7);
        assert_int_equal(
            number("SELECT count(*) FROM wb.entry WHERE value IS NULL AND fields = '{\"f\": \"1\"}'"), 1);
    }
    free(wanted);
    probe_close(&p);
}

static void what_a_superuser_migrates_belongs_to_the_nodes_role(void **state)
{
    (void)state;
    struct flush_identity id = probe_cluster(1, 0, 0);
    for (int from = 2; from < SCHEMA_VERSION; from++) {
        struct probe p;
        char dsn[256];
        make_version(from);
        execute("CREATE ROLE careful LOGIN; ALTER TABLE wb.entry OWNER TO careful;"
                "ALTER TABLE wb.flush_state OWNER TO careful; ALTER TABLE wb.meta OWNER TO careful;"
                "GRANT USAGE ON SCHEMA wb TO careful");
        char *sql = schema_migration_sql(from, "wb");
        execute(sql);
        free(sql);
        snprintf(dsn, sizeof dsn, "%s user=careful", server.dsn);
        probe_open(&p, dsn, 0, NULL);
        probe_take(&p, &id, 9);
        assert_int_equal(probe_next(&p), PROBE_TAKEN);
        struct flush_row rows[] = {probe_row("k", "v", 1), hash_row("h", 2)};
        probe_isolate(&p, 7, 6, rows, 2, 0);
        struct flush_quarantined shown = {.key = rows[1].key,
            .value = rows[1].value,
            .type = VALUE_HASH,
            .sqlstate = "23514",
            .message = "no"};
        probe_finish(&p, &(struct flush_note){0}, &(struct flush_mirror){.rows = &shown, .n = 1});
        probe_assert_committed(&p, 7);
        probe_close(&p);
        execute("DROP SCHEMA wb CASCADE; DROP ROLE careful");
    }
}

static void a_schema_of_any_name_is_migrated(void **state)
{
    (void)state;
    static const char name[] = "we\"i'r\\d %s $x$ @~ \xc3\xa9";
    for (int from = 2; from < SCHEMA_VERSION; from++) {
        make_version(from);
        execute("DROP SCHEMA IF EXISTS \"we\"\"i'r\\d %s $x$ @~ \xc3\xa9\" CASCADE;"
                "ALTER SCHEMA wb RENAME TO \"we\"\"i'r\\d %s $x$ @~ \xc3\xa9\"");
        char *sql = schema_migration_sql(from, name);
        execute(sql);
        free(sql);
        struct flush_identity id = probe_cluster(1, 0, 0);
        struct probe p;
        probe_open_schema(&p, server.dsn, 0, NULL, name);
        probe_take(&p, &id, 9);
        assert_int_equal(probe_next(&p), PROBE_TAKEN);
        probe_close(&p);
    }
}

/* ---- watch ---- */

static PGconn *listen_to(const char *schema)
{
    PGconn *conn = PQconnectdb(server.dsn);
    char *sql = schema_sql(SCHEMA_LISTEN, schema);
    PGresult *result = PQexec(conn, sql);
    assert_int_equal(PQresultStatus(result), PGRES_COMMAND_OK);
    PQclear(result);
    free(sql);
    return conn;
}

/* What was told since the last call: payloads, each with a blank behind it. Whoever is to be heard has
 * committed before, so it comes with the next answer. */
static void assert_told(PGconn *conn, const char *expected)
{
    char told[512] = "";
    PQclear(PQexec(conn, "SELECT 1"));
    for (PGnotify *n; (n = PQnotifies(conn)) != NULL; PQfreemem(n)) {
        assert_int_equal(strncmp(n->relname, "wbcache_", 8), 0);
        strncat(told, n->extra, sizeof told - strlen(told) - 1);
        strncat(told, " ", sizeof told - strlen(told) - 1);
    }
    assert_string_equal(told, expected);
}

static void assert_watched(bool watched)
{
    PGconn *conn = PQconnectdb(server.dsn);
    char *sql = schema_sql(SCHEMA_WATCHED, "wb");
    const char *const values[] = {"\"wb\".\"entry\""};
    PGresult *result = PQexecParams(conn, sql, 1, NULL, values, NULL, NULL, 0);
    assert_string_equal(PQgetvalue(result, 0, 0), watched ? "t" : "f");
    PQclear(result);
    free(sql);
    PQfinish(conn);
}

static void changes_of_others_are_told_and_those_of_the_flush_are_not(void **state)
{
    (void)state;
    struct flush_identity id = probe_cluster(1, 0, 0);
    struct probe p;
    execute("DROP SCHEMA IF EXISTS wb CASCADE");
    assert_watched(false);
    claim(&p, &id);
    probe_take(&p, &id, 1);
    assert_int_equal(probe_next(&p), PROBE_TAKEN);
    PGconn *ear = listen_to("wb");
    execute("INSERT INTO wb.entry VALUES ('zero', '', 1)");
    assert_told(ear, "");
    assert_watched(false);

    for (int twice = 0; twice < 2; twice++) {
        char *said = query("SELECT wb.watch(true)");
        assert_non_null(strstr(said, "on: "));
        free(said);
        assert_told(ear, "* ");
        assert_watched(true);
    }
    struct flush_row rows[] = {probe_row("a", "1", 1), probe_row("b", "2", 2)};
    probe_send(&p, 2, 0, rows, 2);
    probe_assert_committed(&p, 2);
    rows[0].deleted = true;
    rows[1].value = bytes_from_text("3");
    probe_isolate(&p, 3, 2, rows, 2, 0);
    probe_finish(&p, &(struct flush_note){0}, NULL);
    probe_assert_committed(&p, 3);
    assert_told(ear, "");

    execute("INSERT INTO wb.entry VALUES ('a', '', 1), ('\\x00ff', '', 1)");
    assert_told(ear, "61 00ff ");
    execute("UPDATE wb.entry SET value = 'x' WHERE key = 'b'");
    assert_told(ear, "62 ");
    execute("UPDATE wb.entry SET key = 'c' WHERE key = 'b'");
    assert_told(ear, "62 63 ");
    execute("UPDATE wb.entry SET value = NULL, fields = '{\"f\": 1}' WHERE key = 'c'");
    assert_told(ear, "63 ");
    execute("UPDATE wb.entry SET fields = fields || '{\"g\": 2}' WHERE key = 'c'");
    assert_told(ear, "63 ");
    struct flush_row hash = hash_row("h", 4);
    probe_send(&p, 4, 3, &hash, 1);
    probe_assert_committed(&p, 4);
    assert_told(ear, "");
    execute("DELETE FROM wb.entry WHERE key = 'c'");
    assert_told(ear, "63 ");
    execute("BEGIN; DELETE FROM wb.entry; ROLLBACK");
    assert_told(ear, "");
    execute("TRUNCATE wb.entry");
    assert_told(ear, "* ");
    /* As what is replicated from elsewhere is applied. */
    execute("SET session_replication_role = replica; INSERT INTO wb.entry VALUES ('r', '', 1)");
    assert_told(ear, "72 ");
    /* The longest key there can be, and one that only somebody else can have written. */
    execute(
        "INSERT INTO wb.entry VALUES (repeat('x', 1025)::bytea, '', 1), (repeat('y', 8000)::bytea, '', 1)");
    assert_told(ear, "");
    execute("INSERT INTO wb.entry SELECT repeat('x', 1024)::bytea, '', 1");
    PQclear(PQexec(ear, "SELECT 1"));
    PGnotify *longest = PQnotifies(ear);
    assert_non_null(longest);
    assert_int_equal(strlen(longest->extra), 2048);
    PQfreemem(longest);

    char *said = query("SELECT wb.watch(false)");
    assert_non_null(strstr(said, "off: "));
    free(said);
    assert_told(ear, "* ");
    assert_watched(false);
    execute("DELETE FROM wb.entry");
    assert_told(ear, "");
    execute("SELECT wb.watch(false)");
    assert_told(ear, "* ");
    PQfinish(ear);
    probe_close(&p);
}

static void each_schema_has_a_channel_of_its_own_whatever_its_name(void **state)
{
    (void)state;
    static const char *const names[] = {
        "we\"i'r\\d $x$", "a_name_that_is_as_long_as_a_name_may_be_for_postgresql_12345678"};
    for (size_t i = 0; i < 2; i++) {
        struct flush_identity id = probe_cluster(1, 0, 0);
        struct probe p;
        char sql[256];
        probe_open_schema(&p, server.dsn, 0, NULL, names[i]);
        probe_claim(&p, &id, FLUSH_DB_EMPTY, NULL);
        assert_int_equal(probe_next(&p), PROBE_CLAIMED);
        PGconn *ear = listen_to(names[i]), *other = listen_to("wb");
        char *schema = schema_quoted(names[i], NULL);
        snprintf(sql, sizeof sql, "SELECT %s.watch(true)", schema);
        execute(sql);
        snprintf(sql, sizeof sql, "INSERT INTO %s.entry VALUES ('k', '', 1)", schema);
        execute(sql);
        assert_told(ear, "* 6b ");
        assert_told(other, "");
        free(schema);
        PQfinish(ear);
        PQfinish(other);
        probe_close(&p);
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
        cmocka_unit_test(an_older_schema_halts_until_it_is_migrated),
        cmocka_unit_test(what_a_superuser_migrates_belongs_to_the_nodes_role),
        cmocka_unit_test(a_schema_of_any_name_is_migrated),
        cmocka_unit_test(changes_of_others_are_told_and_those_of_the_flush_are_not),
        cmocka_unit_test(each_schema_has_a_channel_of_its_own_whatever_its_name),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
