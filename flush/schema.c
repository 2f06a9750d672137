#include "flush/schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flush/schema_functions.h"
#include "proto/base/buf.h"
#include "proto/base/check.h"

/* In the texts below, @ stands for the schema's name as a quoted identifier, ` for the name of its channel as
 * a string constant and ^ as an identifier, and ~ for the statement's body (schema_functions.h) as a string
 * constant. None of these signs is used otherwise. Names are always qualified: nothing depends on a
 * search_path. */

#define ONE_OF_BOTH "CONSTRAINT entry_has_value_or_fields CHECK ((value IS NULL) <> (fields IS NULL))"

#define FUNCTION_SEARCH_PATH " SET search_path = pg_catalog, pg_temp"

static const char *const sql_table[SCHEMA_SQL_COUNT] = {
    /* The snapshot of a higher level would hide what the fence waited for. */
    [SCHEMA_BEGIN] = "BEGIN ISOLATION LEVEL READ COMMITTED",
    [SCHEMA_COMMIT] = "COMMIT",
    [SCHEMA_SERVER] = "SELECT pg_catalog.pg_is_in_recovery(),"
                      " pg_catalog.current_setting('transaction_read_only')::pg_catalog.bool,"
                      " pg_catalog.to_regclass($1::pg_catalog.text) IS NOT NULL",
    [SCHEMA_CLAIM_LOCK] = "SELECT pg_catalog.pg_advisory_xact_lock("
                          "pg_catalog.hashtextextended('wbcache claim ' || $1::pg_catalog.text, 0))",
    [SCHEMA_SCHEMA_EXISTS] = "SELECT pg_catalog.to_regnamespace($1::pg_catalog.text)::pg_catalog.oid",
    [SCHEMA_CREATE_SCHEMA] = "CREATE SCHEMA @",
    [SCHEMA_CREATE_ENTRY] = "CREATE TABLE @.entry (\n"
                            "    key bytea PRIMARY KEY,\n"
                            "    value bytea,\n"
                            "    version bigint NOT NULL,\n"
                            "    expires_at timestamptz,\n"
                            "    fields jsonb,\n"
                            "    " ONE_OF_BOTH ")",
    /* Few entries expire, and the others cost nothing here. */
    [SCHEMA_CREATE_EXPIRY_INDEX] =
        "CREATE INDEX entry_expires_at ON @.entry (expires_at) WHERE expires_at IS NOT NULL",
    /* Every batch updates its group's row: room on the page keeps those updates HOT, and the table at a page
       or two. */
    [SCHEMA_CREATE_STATE] = "CREATE TABLE @.flush_state (\n"
                            "    group_id int PRIMARY KEY,\n"
                            "    cluster_id uuid NOT NULL,\n"
                            "    group_count int NOT NULL,\n"
                            "    version_base bigint NOT NULL,\n"
                            "    term bigint NOT NULL,\n"
                            "    epoch bigint NOT NULL,\n"
                            "    last_batch bigint NOT NULL,\n"
                            "    fresh_as_of timestamptz,\n"
                            "    quarantined bigint NOT NULL DEFAULT 0,\n"
                            "    lost bigint NOT NULL DEFAULT 0,\n"
                            "    recovering boolean NOT NULL DEFAULT false) WITH (fillfactor = 25)",
    [SCHEMA_CREATE_QUARANTINE] = "CREATE TABLE @.quarantine (\n"
                                 "    key bytea PRIMARY KEY,\n"
                                 "    group_id int NOT NULL,\n"
                                 "    deleted boolean NOT NULL,\n"
                                 "    value bytea,\n"
                                 "    value_bytes int,\n"
                                 "    version bigint NOT NULL,\n"
                                 "    sqlstate text NOT NULL,\n"
                                 "    message text NOT NULL,\n"
                                 "    attempts int NOT NULL,\n"
                                 "    since timestamptz NOT NULL,\n"
                                 "    refused_at timestamptz NOT NULL,\n"
                                 "    fields jsonb)",
    [SCHEMA_CREATE_QUARANTINE_INDEX] = "CREATE INDEX quarantine_group_id ON @.quarantine (group_id)",
    /* All groups, or nothing can be said. */
    [SCHEMA_CREATE_FRESHNESS] = "CREATE VIEW @.freshness AS\n"
                                "SELECT CASE WHEN count(*) = max(group_count) AND bool_and(fresh_as_of IS "
                                "NOT NULL AND NOT recovering)\n"
                                "       THEN min(fresh_as_of) END AS fresh_as_of,\n"
                                "       count(*)::int AS groups,\n"
                                "       coalesce(sum(quarantined), 0)::bigint AS quarantined,\n"
                                "       coalesce(sum(lost), 0)::bigint AS lost,\n"
                                "       coalesce(bool_or(recovering), false) AS recovering\n"
                                "  FROM @.flush_state",
    [SCHEMA_CREATE_META] = "CREATE TABLE @.meta (schema_version int NOT NULL)",
    [SCHEMA_CREATE_META_INDEX] = "CREATE UNIQUE INDEX meta_has_one_row ON @.meta ((true))",
    [SCHEMA_CREATE_ADVANCE] =
        "CREATE FUNCTION @.flush_advance(p_group int, p_cluster uuid, p_group_count int, p_epoch bigint,"
        " p_lock bigint, p_predecessor bigint, p_batch bigint, p_fresh timestamptz, p_quarantined bigint,"
        " p_lost bigint, p_recovering boolean) RETURNS timestamptz\n"
        "LANGUAGE plpgsql" FUNCTION_SEARCH_PATH " AS ~",
    [SCHEMA_CREATE_ISOLATE] =
        "CREATE FUNCTION @.flush_isolate(p_keys bytea[], p_values bytea[], p_versions bigint[],"
        " p_expires timestamptz[], p_fields bytea[], p_deleted bytea[], p_refusals text, p_bad boolean, "
        "p_handful int, OUT "
        "tries int,"
        " OUT bad_keys bytea[], OUT bad_states text[], OUT bad_messages text[])\n"
        /* No search_path of its own: users' triggers must find what they find in an ordinary batch. */
        "LANGUAGE plpgsql AS ~",
    [SCHEMA_CREATE_CHANGED] = "CREATE FUNCTION @.entry_changed() RETURNS trigger\n"
                              "LANGUAGE plpgsql" FUNCTION_SEARCH_PATH " AS ~",
    [SCHEMA_CREATE_WATCH] = "CREATE FUNCTION @.watch(p_on boolean) RETURNS text\n"
                            "LANGUAGE plpgsql STRICT" FUNCTION_SEARCH_PATH " AS ~",
    [SCHEMA_COMMENTS] = "DO ~",
    [SCHEMA_SAME_OWNER] = "DO ~",
    [SCHEMA_INSERT_META] = "INSERT INTO @.meta (schema_version) VALUES ($1)",
    [SCHEMA_SELECT_META] = "SELECT schema_version FROM @.meta",
    [SCHEMA_SELECT_STATE] = "SELECT group_id, cluster_id, group_count, version_base, epoch, last_batch"
                            " FROM @.flush_state ORDER BY group_id",
    [SCHEMA_SELECT_STATE_LOCKED] = "SELECT group_id, cluster_id, group_count, version_base, epoch, last_batch"
                                   " FROM @.flush_state ORDER BY group_id FOR UPDATE",
    [SCHEMA_DELETE_STATE] = "DELETE FROM @.flush_state",
    [SCHEMA_DELETE_QUARANTINE] = "DELETE FROM @.quarantine",
    [SCHEMA_INSERT_STATE] = "INSERT INTO @.flush_state"
                            " (group_id, cluster_id, group_count, version_base, term, epoch, last_batch)"
                            " SELECT g, $1, $2, $3, 0, $4, 0 FROM pg_catalog.generate_series(0, $2 - 1) AS g",
    /* Only our own hold that lock, so nobody else's is ended. One that waits like us is younger than the
     * lock_timeout, which ends its wait; it may be a newer leader's. Whoever keeps the row has had it since
     * before we began to wait. */
    [SCHEMA_END_HOLDERS] =
        "SELECT a.pid, pg_catalog.pg_terminate_backend(a.pid)"
        " FROM pg_catalog.pg_locks AS l JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid"
        " WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.database = a.datid"
        " AND a.datname = pg_catalog.current_database()"
        " AND (l.classid::pg_catalog.int8 << 32 | l.objid::pg_catalog.int8) = $5"
        " AND a.pid <> pg_catalog.pg_backend_pid() AND pg_catalog.pg_has_role(a.usesysid, 'USAGE')"
        " AND coalesce(a.xact_start <= pg_catalog.clock_timestamp()"
        " - pg_catalog.current_setting('lock_timeout')::pg_catalog.interval, true)"
        " AND EXISTS (SELECT FROM @.flush_state AS f WHERE f.group_id = $1 AND f.cluster_id = $2"
        " AND f.group_count = $3 AND f.term <= $4)",
    [SCHEMA_TAKE_MARK] = "SELECT pg_catalog.set_config('wbcache.flushing', 'on', false),"
                         " pg_catalog.pg_try_advisory_xact_lock_shared($1)",
    [SCHEMA_TAKE] = "UPDATE @.flush_state AS f SET term = $4, epoch = f.epoch + 1"
                    " WHERE f.group_id = $1 AND f.cluster_id = $2 AND f.group_count = $3 AND f.term <= $4"
                    " AND EXISTS (SELECT FROM @.meta AS m WHERE m.schema_version = $5)"
                    " RETURNING f.epoch, f.last_batch, pg_catalog.clock_timestamp()",
    [SCHEMA_TAKE_LOOK] = "SELECT m.schema_version, f.cluster_id, f.group_count, f.term"
                         " FROM @.meta AS m LEFT JOIN @.flush_state AS f ON f.group_id = $1",
    [SCHEMA_ADVANCE] = "SELECT @.flush_advance($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    /* No guard by version: the fence orders the transactions. (A qualified unnest takes one array only.) */
    [SCHEMA_UPSERT] = "INSERT INTO @.entry AS e (key, value, version, expires_at)"
                      " SELECT * FROM unnest($1, $2, $3, $4)"
                      " ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version,"
                      " expires_at = excluded.expires_at, fields = NULL",
    /* JSON becomes jsonb here and not as a parameter: so what the database's encoding does not have is an
     * error of the statement, not of its call, and flush_isolate can take the same parameter. */
    [SCHEMA_UPSERT_HASHES] =
        "INSERT INTO @.entry AS e (key, value, version, expires_at, fields)"
        " SELECT u.k, u.v, u.n, u.e, pg_catalog.convert_from(u.f, 'UTF8')::pg_catalog.jsonb"
        " FROM unnest($1, $2, $3, $4, $5) AS u (k, v, n, e, f)"
        " ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version,"
        " expires_at = excluded.expires_at, fields = excluded.fields",
    [SCHEMA_DELETE] = "DELETE FROM @.entry WHERE key = ANY ($1)",
    [SCHEMA_IMMEDIATE] = "SET CONSTRAINTS ALL IMMEDIATE",
    [SCHEMA_ISOLATE] = "SELECT i.tries, b.key, b.state, b.message"
                       " FROM @.flush_isolate($1, $2, $3, $4, $5, $6, $7, false, 4) AS i LEFT JOIN LATERAL"
                       " unnest(i.bad_keys, i.bad_states, i.bad_messages) AS b (key, state, message) ON true",
    [SCHEMA_MIRROR_DELETE] = "DELETE FROM @.quarantine AS q WHERE q.group_id = $1"
                             " AND NOT EXISTS (SELECT FROM unnest($2) AS k WHERE k = q.key)",
    /* What has not changed is not written. A key may still be there under another group's number, from a
     * cluster that had this database before. */
    /* What cannot be shown must not refuse the whole: an encoding that is not Unicode's may lack characters,
     * other than ASCII's. */
    [SCHEMA_MIRROR] =
        "INSERT INTO @.quarantine AS q (group_id, key, deleted, value, value_bytes, version, sqlstate, "
        "message,"
        " attempts, since, refused_at, fields)"
        " SELECT $1, u.k, u.d, u.v, u.b, u.n, u.s, u.m, u.a, u.t, u.r,"
        " CASE WHEN pg_catalog.getdatabaseencoding() IN ('UTF8', 'SQL_ASCII')"
        " OR pg_catalog.length(u.f, 'UTF8') = pg_catalog.octet_length(u.f)"
        " THEN pg_catalog.convert_from(u.f, 'UTF8')::pg_catalog.jsonb END"
        " FROM unnest($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) AS u (k, d, v, b, n, s, m, a, t, r, f)"
        " ON CONFLICT (key) DO UPDATE SET group_id = excluded.group_id, deleted = excluded.deleted,"
        " value = excluded.value, value_bytes = excluded.value_bytes, version = excluded.version,"
        " sqlstate = excluded.sqlstate, message = excluded.message, attempts = excluded.attempts,"
        " since = excluded.since, refused_at = excluded.refused_at, fields = excluded.fields"
        " WHERE (q.group_id, q.version, q.value IS NULL, q.fields IS NULL, q.attempts, q.since, "
        "q.refused_at, q.sqlstate, "
        "q.message)"
        " IS DISTINCT FROM (excluded.group_id, excluded.version, excluded.value IS NULL,"
        " excluded.fields IS NULL, excluded.attempts,"
        " excluded.since, excluded.refused_at, excluded.sqlstate, excluded.message)",
    [SCHEMA_LISTEN] = "LISTEN ^",
    [SCHEMA_WATCHED] = "SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger AS t"
                       " WHERE t.tgrelid = pg_catalog.to_regclass($1::pg_catalog.text)"
                       " AND t.tgname = '" SCHEMA_WATCH_TRIGGER "' AND t.tgenabled <> 'D')",
    [SCHEMA_IN_RECOVERY] = "SELECT pg_catalog.pg_is_in_recovery()",
    /* One statement is one snapshot: the fence row tells of which moment the entries are. The length of a
     * value is known without fetching it from where long values are kept. That of fields is not; but what is
     * kept of them is no longer than they are, as a rule. */
    [SCHEMA_LOAD] =
        "SELECT pg_catalog.pg_is_in_recovery(), f.last_batch, e.key, pg_catalog.octet_length(e.value),"
        " CASE WHEN pg_catalog.octet_length(e.value) <= $5 THEN e.value END, e.version, e.expires_at,"
        " e.fields IS NOT NULL, CASE WHEN e.fields IS NULL THEN NULL"
        " WHEN pg_catalog.pg_column_size(e.fields) > $6 THEN '{}'"
        " WHEN pg_catalog.jsonb_typeof(e.fields) = 'object' THEN"
        " (SELECT CASE WHEN pg_catalog.count(*) = 0 THEN NULL"
        " WHEN pg_catalog.sum(pg_catalog.octet_length(t.key) + pg_catalog.octet_length(t.value) + 8) > $6"
        " THEN '{}' ELSE pg_catalog.array_agg(ARRAY[t.key, t.value]) END"
        " FROM pg_catalog.jsonb_each_text(e.fields) AS t WHERE t.value IS NOT NULL) END"
        " FROM (SELECT) AS one"
        " LEFT JOIN @.flush_state AS f ON f.group_id = $1 AND f.cluster_id = $2 AND f.group_count = $3"
        " LEFT JOIN @.entry AS e ON e.key = ANY ($4)",
    /* Rows that are not ours would stay in everybody's way: they cannot be read, so nobody deletes them.
     * Fields of which much is kept are not counted, as that would take too long where many such rows expire.
     */
    [SCHEMA_FIND_EXPIRED] =
        "SELECT pg_catalog.pg_is_in_recovery(), e.key FROM @.entry AS e WHERE e.expires_at < $1"
        " AND pg_catalog.octet_length(e.key) <= $3 AND e.version > 0"
        " AND CASE WHEN e.fields IS NULL THEN pg_catalog.octet_length(e.value) <= $4"
        " WHEN e.value IS NOT NULL OR pg_catalog.jsonb_typeof(e.fields) <> 'object' THEN false"
        " WHEN pg_catalog.pg_column_size(e.fields) > 8192 THEN pg_catalog.pg_column_size(e.fields) <= $5"
        " ELSE (SELECT pg_catalog.sum(pg_catalog.octet_length(t.key) + pg_catalog.octet_length(t.value) + 8) "
        "<= $5"
        " FROM pg_catalog.jsonb_each_text(e.fields) AS t) END"
        " ORDER BY e.expires_at LIMIT $2",
    [SCHEMA_FIND_LIMIT] = "SELECT pg_catalog.set_config('statement_timeout', $1, true)",
    /* Entries are to be found by the primary key's index, and expired ones, in their order, by that of their
     * times, whatever the statistics say. A plan that is made once spares the planner thousands of keys at
     * each load; but made while the table was small, it would go on reading (or sorting) all of a table that
     * has grown, until somebody analyzes it: so sequential scans and sorts are off. */
    [SCHEMA_LOAD_SETUP] = "SELECT pg_catalog.set_config('plan_cache_mode', 'force_generic_plan', false),"
                          " pg_catalog.set_config('enable_seqscan', 'off', false),"
                          " pg_catalog.set_config('enable_sort', 'off', false),"
                          /* Where the server does not know what its texts are, it would refuse those that
                           * others wrote and that are not UTF-8. */
                          " CASE WHEN pg_catalog.current_setting('server_encoding') = 'SQL_ASCII' THEN"
                          " pg_catalog.set_config('client_encoding', 'SQL_ASCII', false) END",
};

static void append_text(struct buf *out, const char *text)
{
    buf_append(out, text, strlen(text));
}

static void append_identifier(struct buf *out, const char *name)
{
    buf_append_u8(out, '"');
    for (const char *c = name; *c != '\0'; c++) {
        if (*c == '"') {
            buf_append_u8(out, '"');
        }
        buf_append_u8(out, (uint8_t)*c);
    }
    buf_append_u8(out, '"');
}

/* A constant that means the same whatever standard_conforming_strings says. */
static void append_literal(struct buf *out, struct bytes text)
{
    append_text(out, "E'");
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '\'' || text.data[i] == '\\') {
            buf_append_u8(out, text.data[i]);
        }
        buf_append_u8(out, text.data[i]);
    }
    buf_append_u8(out, '\'');
}

static void append_channel(struct buf *out, const char *schema)
{
    char *channel = schema_channel(schema);
    append_literal(out, bytes_from_text(channel));
    free(channel);
}

static void append_channel_name(struct buf *out, const char *schema)
{
    char *channel = schema_channel(schema);
    append_identifier(out, channel);
    free(channel);
}

/* @body is what ~ stands for, a template too; NULL where there is none. */
static void append_expanded(struct buf *out, const char *text, const char *schema, const char *body)
{
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '@') {
            append_identifier(out, schema);
        } else if (*c == '`') {
            append_channel(out, schema);
        } else if (*c == '^') {
            append_channel_name(out, schema);
        } else if (*c == '~' && body != NULL) {
            struct buf expanded;
            buf_init(&expanded);
            append_expanded(&expanded, body, schema, NULL);
            append_literal(out, buf_bytes(&expanded));
            CHECK(!expanded.failed);
            buf_deinit(&expanded);
        } else {
            buf_append_u8(out, (uint8_t)*c);
        }
    }
}

static char *take_text(struct buf *b)
{
    buf_append_u8(b, '\0');
    CHECK(!b->failed);
    return (char *)b->data; /* the buf is forgotten: its memory is the caller's now */
}

bool schema_name_valid(const char *schema)
{
    enum { NAME_BYTES_MAX = 63 }; /* NAMEDATALEN - 1: PostgreSQL cuts longer ones silently */
    size_t len = strnlen(schema, NAME_BYTES_MAX + 1);
    return len > 0 && len <= NAME_BYTES_MAX;
}

char *schema_sql(enum schema_sql which, const char *schema)
{
    CHECK((unsigned)which < SCHEMA_SQL_COUNT && schema_name_valid(schema));
    struct buf out;
    buf_init(&out);
    append_expanded(&out, sql_table[which], schema, schema_function_body(which));
    return take_text(&out);
}

char *schema_channel(const char *schema)
{
    static const char prefix[] = "wbcache_";
    enum { NAME_BYTES_MAX = 63, HASH_BYTES = 9 };
    struct buf out;
    buf_init(&out);
    append_text(&out, prefix);
    size_t room = NAME_BYTES_MAX - out.len, len = strlen(schema);
    if (len <= room) {
        append_text(&out, schema);
        return take_text(&out);
    }
    len = room - HASH_BYTES;
    while (len > 0 && ((uint8_t)schema[len] & 0xc0) == 0x80) {
        len--; /* not inside of a character */
    }
    char hash[HASH_BYTES + 1];
    snprintf(hash, sizeof hash, "_%08x", (unsigned)(bytes_hash(bytes_from_text(schema), 0) & UINT32_MAX));
    buf_append(&out, schema, len);
    append_text(&out, hash);
    return take_text(&out);
}

/* ---- migration ---- */

static void append_statement(struct buf *out, enum schema_sql which, const char *schema)
{
    append_expanded(out, sql_table[which], schema, schema_function_body(which));
    append_text(out, ";\n");
}

/* The tables are made as they are now. */
static void append_what_version_3_brought(struct buf *out, const char *schema)
{
    static const enum schema_sql created[] = {SCHEMA_CREATE_QUARANTINE, SCHEMA_CREATE_QUARANTINE_INDEX,
        SCHEMA_CREATE_FRESHNESS, SCHEMA_CREATE_ADVANCE, SCHEMA_CREATE_CHANGED, SCHEMA_CREATE_WATCH};
    append_expanded(out,
        "ALTER TABLE @.flush_state ADD COLUMN quarantined bigint NOT NULL DEFAULT 0,\n"
        "    ADD COLUMN lost bigint NOT NULL DEFAULT 0,\n"
        "    ADD COLUMN recovering boolean NOT NULL DEFAULT false;\n"
        "DROP FUNCTION @.flush_advance(int, uuid, int, bigint, bigint, bigint);\n",
        schema, NULL);
    for (size_t i = 0; i < sizeof created / sizeof created[0]; i++) {
        append_statement(out, created[i], schema);
    }
}

char *schema_migration_sql(int from_version, const char *schema)
{
    if (from_version < 1 || from_version >= SCHEMA_VERSION) {
        return NULL;
    }
    CHECK(schema_name_valid(schema));
    char head[512];
    snprintf(head, sizeof head,
        "BEGIN\n"
        "    IF (SELECT schema_version FROM @.meta) IS DISTINCT FROM %d THEN\n"
        "        RAISE EXCEPTION 'this schema is not of version %d: nothing was changed';\n"
        "    END IF;\n"
        "END\n",
        from_version, from_version);
    struct buf out;
    buf_init(&out);
    append_text(&out, "-- From version ");
    buf_append_u8(&out, (uint8_t)('0' + from_version));
    append_text(&out, " of the schema to the next one. Stop the nodes of the older version first.\nBEGIN;\n");
    append_expanded(&out, "LOCK TABLE @.meta;\nDO ~;\n", schema, head);
    if (from_version == 1) {
        append_statement(&out, SCHEMA_CREATE_EXPIRY_INDEX, schema);
    }
    if (from_version < 3) {
        append_what_version_3_brought(&out, schema);
    } else {
        append_expanded(&out,
            "ALTER TABLE @.quarantine ADD COLUMN fields jsonb;\n"
            "DROP FUNCTION @.flush_isolate(bytea[], bytea[], bigint[], timestamptz[], bytea[], text, "
            "boolean, int);\n",
            schema, NULL);
    }
    append_expanded(&out,
        "ALTER TABLE @.entry ALTER COLUMN value DROP NOT NULL, ADD COLUMN fields jsonb,\n"
        "    ADD " ONE_OF_BOTH ";\n",
        schema, NULL);
    append_statement(&out, SCHEMA_CREATE_ISOLATE, schema);
    append_statement(&out, SCHEMA_COMMENTS, schema);
    append_statement(&out, SCHEMA_SAME_OWNER, schema);
    append_expanded(&out, "UPDATE @.meta SET schema_version = 4;\nCOMMIT;\n", schema, NULL);
    return take_text(&out);
}

char *schema_quoted(const char *schema, const char *table)
{
    struct buf out;
    buf_init(&out);
    append_identifier(&out, schema);
    if (table != NULL) {
        buf_append_u8(&out, '.');
        append_identifier(&out, table);
    }
    return take_text(&out);
}
