#include "cluster-tests/bad_rows.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cluster-tests/scenario.h"
#include "cluster-tests/sql.h"
#include "proto/base/alloc.h"
#include "proto/base/clock.h"

enum { TRAP_LOCK = 4711, DEADLINE_MS = 20000 };

void bad_rows_install(PGconn *conn)
{
    sql_run_or_fail(conn,
        "CREATE SCHEMA bad_rows;"
        "CREATE TABLE bad_rows.named (key bytea PRIMARY KEY);"
        "CREATE FUNCTION bad_rows.is_bad(key bytea, value bytea) RETURNS boolean LANGUAGE sql STABLE AS $$"
        " SELECT substring($2 FROM 1 FOR %zu) = convert_to('%s', 'UTF8')"
        " OR EXISTS (SELECT 1 FROM bad_rows.named AS n WHERE n.key = $1) $$;"
        "ALTER TABLE wb.entry ADD CONSTRAINT no_bad_rows CHECK (NOT bad_rows.is_bad(key, value));",
        sizeof BAD_ROWS_VALUE - 1, BAD_ROWS_VALUE);
    sql_run_or_fail(conn,
        "CREATE SEQUENCE bad_rows.tries;"
        "CREATE TABLE bad_rows.trap (moment bigint NOT NULL, mirror boolean NOT NULL);"
        "INSERT INTO bad_rows.trap VALUES (0, false);"
        "CREATE FUNCTION bad_rows.on_try() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF nextval('bad_rows.tries') = (SELECT moment FROM bad_rows.trap) THEN"
        "  PERFORM pg_advisory_xact_lock(%d);"
        " END IF; RETURN NULL; END $$;"
        "CREATE TRIGGER on_try BEFORE INSERT ON wb.entry FOR EACH STATEMENT EXECUTE FUNCTION "
        "bad_rows.on_try();"
        "CREATE FUNCTION bad_rows.on_mirror() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF (SELECT mirror FROM bad_rows.trap) THEN PERFORM pg_advisory_xact_lock(%d); END IF;"
        " RETURN NULL; END $$;"
        "CREATE TRIGGER on_mirror AFTER INSERT ON wb.quarantine FOR EACH STATEMENT"
        " EXECUTE FUNCTION bad_rows.on_mirror();",
        TRAP_LOCK, TRAP_LOCK);
}

void bad_rows_forgive(PGconn *conn)
{
    sql_run_or_fail(conn, "ALTER TABLE wb.entry DROP CONSTRAINT no_bad_rows");
}

void bad_rows_name(PGconn *conn, const char *key)
{
    sql_run_or_fail(conn, "INSERT INTO bad_rows.named VALUES (convert_to('%s', 'UTF8'))", key);
}

void bad_rows_name_many(PGconn *conn, const char *prefix, uint32_t n, uint32_t modulus, uint32_t rest)
{
    sql_run_or_fail(conn,
        "INSERT INTO bad_rows.named SELECT convert_to('%s:' || lpad(i::text, 8, '0'), 'UTF8')"
        " FROM generate_series(%" PRIu32 ", %" PRIu32 " - 1, %" PRIu32 ") AS i",
        prefix, rest, n, modulus);
    sql_run_or_fail(conn, "ANALYZE bad_rows.named");
}

int64_t bad_rows_tries(PGconn *conn)
{
    return sql_number_or_fail(
        conn, "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM bad_rows.tries");
}

void bad_rows_trap(PGconn *conn, int64_t moment, bool mirror)
{
    sql_run_or_fail(conn, "SELECT pg_advisory_lock(%d)", TRAP_LOCK);
    sql_run_or_fail(conn, "UPDATE bad_rows.trap SET moment = %" PRId64 ", mirror = %s", moment,
        mirror ? "true" : "false");
}

bool bad_rows_trapped(PGconn *conn)
{
    return sql_number_or_fail(conn,
               "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %d AND NOT granted",
               TRAP_LOCK) > 0;
}

void bad_rows_disarm_trap(PGconn *conn)
{
    sql_run_or_fail(conn, "UPDATE bad_rows.trap SET moment = 0, mirror = false");
}

void bad_rows_open_trap(PGconn *conn)
{
    bad_rows_disarm_trap(conn);
    sql_run_or_fail(conn, "SELECT pg_advisory_unlock(%d)", TRAP_LOCK);
}

void bad_rows_write(struct cluster *c, struct ledger *l, uint32_t first, uint32_t n)
{
    struct one {
        char name[LEDGER_KEY_BYTES];
        char value[LEDGER_VALUE_BYTES_MIN];
        struct mark mark;
        uint64_t before;
    };
    struct one *ones = xcalloc(n, sizeof *ones);
    struct wbcache_item *items = xcalloc(n, sizeof *items);
    for (uint32_t i = 0; i < n; i++) {
        struct one *o = &ones[i];
        o->mark = ledger_mark(l, 1000, clock_boot_ms());
        ledger_value(l, first + i, o->mark, o->value, sizeof o->value);
        o->before = ledger_version(l, first + i);
        items[i] = (struct wbcache_item){.key = o->name,
            .key_len = ledger_key(l, first + i, o->name),
            .value = o->value,
            .value_len = sizeof o->value};
    }
    const struct wbcache_options options = {.deadline_ms = DEADLINE_MS};
    struct wbcache *cache = NULL;
    int code = wbcache_open(&cache, c->addresses, &options);
    code = code == WBCACHE_OK ? wbcache_mset(cache, items, n) : code;
    if (code != WBCACHE_OK) {
        fail_msg("writing %" PRIu32 " keys at once: %s: %s", n, wbcache_code_name(code),
            cache == NULL ? "no memory" : wbcache_errmsg(cache));
    }
    uint64_t now_ms = clock_boot_ms();
    for (uint32_t i = 0; i < n; i++) {
        ledger_acknowledge(l, first + i, ones[i].mark, items[i].version, ones[i].before, now_ms);
    }
    wbcache_close(cache);
    free(items);
    free(ones);
}
