#include "flush/schema.h"

#include <string.h>

#include "proto/base/buf.h"
#include "proto/base/check.h"

/* In the texts below, @ stands for the schema's name as a quoted identifier, and ~ for the body of
 * flush_advance as a string constant. Neither sign is used otherwise. Names are always qualified: nothing
 * depends on a search_path. */

/* Raising, rather than updating no row, is what stops the statements behind it in the pipeline. The second
 * look is a new snapshot, so it sees what made the UPDATE miss, also when that was committed while the UPDATE
 * waited. */
static const char advance_body[] =
    "DECLARE\n"
    "    r record;\n"
    "BEGIN\n"
    "    UPDATE @.flush_state AS f SET last_batch = p_batch\n"
    "     WHERE f.group_id = p_group AND f.cluster_id = p_cluster AND f.group_count = p_group_count\n"
    "       AND f.epoch = p_epoch AND f.last_batch = p_predecessor;\n"
    "    IF FOUND THEN\n"
    "        RETURN;\n"
    "    END IF;\n"
    "    SELECT f.cluster_id, f.group_count, f.term, f.epoch, f.last_batch INTO r\n"
    "      FROM @.flush_state AS f WHERE f.group_id = p_group;\n"
    "    IF NOT FOUND THEN\n"
    "        RAISE EXCEPTION USING ERRCODE = 'WB001',\n"
    "            MESSAGE = format('the fence row of group %s is gone', p_group);\n"
    "    ELSIF r.cluster_id <> p_cluster OR r.group_count <> p_group_count OR r.epoch <> p_epoch THEN\n"
    "        RAISE EXCEPTION USING ERRCODE = 'WB001', MESSAGE = format(\n"
    "            'group %s is held by another: cluster %s, %s groups, term %s, epoch %s; we are cluster %s, "
    "%s groups,"
    " epoch %s', p_group, r.cluster_id, r.group_count, r.term, r.epoch, p_cluster, p_group_count, p_epoch);\n"
    "    END IF;\n"
    "    RAISE EXCEPTION USING ERRCODE = 'WB002', MESSAGE = format(\n"
    "        'batch %s of group %s follows batch %s, but the last one here is %s', p_batch, p_group, "
    "p_predecessor,"
    " r.last_batch);\n"
    "END\n";

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
                            "    value bytea NOT NULL,\n"
                            "    version bigint NOT NULL,\n"
                            "    expires_at timestamptz)",
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
                            "    fresh_as_of timestamptz) WITH (fillfactor = 25)",
    [SCHEMA_CREATE_META] = "CREATE TABLE @.meta (schema_version int NOT NULL)",
    [SCHEMA_CREATE_META_INDEX] = "CREATE UNIQUE INDEX meta_has_one_row ON @.meta ((true))",
    [SCHEMA_CREATE_ADVANCE] =
        "CREATE FUNCTION @.flush_advance(p_group int, p_cluster uuid, p_group_count int,"
        " p_epoch bigint, p_predecessor bigint, p_batch bigint) RETURNS void\n"
        "LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS ~",
    [SCHEMA_INSERT_META] = "INSERT INTO @.meta (schema_version) VALUES ($1)",
    [SCHEMA_SELECT_META] = "SELECT schema_version FROM @.meta",
    [SCHEMA_MIGRATE_1] = "CREATE INDEX entry_expires_at ON @.entry (expires_at) WHERE expires_at IS NOT NULL;"
                         " UPDATE @.meta SET schema_version = 2",
    [SCHEMA_SELECT_STATE] = "SELECT group_id, cluster_id, group_count, version_base, epoch, last_batch"
                            " FROM @.flush_state ORDER BY group_id",
    [SCHEMA_SELECT_STATE_LOCKED] = "SELECT group_id, cluster_id, group_count, version_base, epoch, last_batch"
                                   " FROM @.flush_state ORDER BY group_id FOR UPDATE",
    [SCHEMA_DELETE_STATE] = "DELETE FROM @.flush_state",
    [SCHEMA_INSERT_STATE] = "INSERT INTO @.flush_state"
                            " (group_id, cluster_id, group_count, version_base, term, epoch, last_batch)"
                            " SELECT g, $1, $2, $3, 0, $4, 0 FROM pg_catalog.generate_series(0, $2 - 1) AS g",
    [SCHEMA_TAKE] = "UPDATE @.flush_state AS f SET term = $4, epoch = f.epoch + 1"
                    " WHERE f.group_id = $1 AND f.cluster_id = $2 AND f.group_count = $3 AND f.term <= $4"
                    " AND EXISTS (SELECT FROM @.meta AS m WHERE m.schema_version = $5)"
                    " RETURNING f.epoch, f.last_batch",
    [SCHEMA_TAKE_LOOK] = "SELECT m.schema_version, f.cluster_id, f.group_count, f.term"
                         " FROM @.meta AS m LEFT JOIN @.flush_state AS f ON f.group_id = $1",
    [SCHEMA_ADVANCE] = "SELECT @.flush_advance($1, $2, $3, $4, $5, $6)",
    /* No guard by version: the fence orders the transactions. (A qualified unnest takes one array only.) */
    [SCHEMA_UPSERT] = "INSERT INTO @.entry AS e (key, value, version, expires_at)"
                      " SELECT * FROM unnest($1, $2, $3, $4)"
                      " ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version,"
                      " expires_at = excluded.expires_at",
    [SCHEMA_DELETE] = "DELETE FROM @.entry WHERE key = ANY ($1)",
    [SCHEMA_IN_RECOVERY] = "SELECT pg_catalog.pg_is_in_recovery()",
    /* One statement is one snapshot: the fence row tells of which moment the entries are. The length of a
     * value is known without fetching it from where long values are kept. */
    [SCHEMA_LOAD] =
        "SELECT pg_catalog.pg_is_in_recovery(), f.last_batch, e.key, pg_catalog.octet_length(e.value),"
        " CASE WHEN pg_catalog.octet_length(e.value) <= $5 THEN e.value END, e.version, e.expires_at"
        " FROM (SELECT) AS one"
        " LEFT JOIN @.flush_state AS f ON f.group_id = $1 AND f.cluster_id = $2 AND f.group_count = $3"
        " LEFT JOIN @.entry AS e ON e.key = ANY ($4)",
    /* Rows that are not ours would stay in everybody's way: they cannot be read, so nobody deletes them. */
    [SCHEMA_FIND_EXPIRED] =
        "SELECT pg_catalog.pg_is_in_recovery(), e.key FROM @.entry AS e WHERE e.expires_at < $1"
        " AND pg_catalog.octet_length(e.key) <= $3 AND pg_catalog.octet_length(e.value) <= $4"
        " AND e.version > 0 ORDER BY e.expires_at LIMIT $2",
    [SCHEMA_FIND_LIMIT] = "SELECT pg_catalog.set_config('statement_timeout', $1, true)",
    /* Entries are to be found by the primary key's index, and expired ones, in their order, by that of their
     * times, whatever the statistics say. A plan that is made once spares the planner thousands of keys at
     * each load; but made while the table was small, it would go on reading (or sorting) all of a table that
     * has grown, until somebody analyzes it: so sequential scans and sorts are off. */
    [SCHEMA_LOAD_SETUP] = "SELECT pg_catalog.set_config('plan_cache_mode', 'force_generic_plan', false),"
                          " pg_catalog.set_config('enable_seqscan', 'off', false),"
                          " pg_catalog.set_config('enable_sort', 'off', false)",
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

static void append_expanded(struct buf *out, const char *text, const char *schema)
{
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '@') {
            append_identifier(out, schema);
        } else if (*c == '~') {
            struct buf body;
            buf_init(&body);
            append_expanded(&body, advance_body, schema);
            append_literal(out, buf_bytes(&body));
            CHECK(!body.failed);
            buf_deinit(&body);
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
    append_expanded(&out, sql_table[which], schema);
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
