/* The table of flush_error.c against a real server: each cause is made, seen by a flusher under its class,
 * code and words, and taken away; then the same flusher goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "flush/flush_error.h"
#include "flush/flusher_probe.h"
#include "proto/base/alloc.h"

static struct pg_test_server server;
static const struct flush_identity id = {.cluster_id = {1}, .group_count = 3};

static void execute(const char *sql)
{
    char *text = pg_test_server_query(&server, sql);
    assert_non_null(text);
    free(text);
}

static int64_t number(const char *sql)
{
    return pg_test_server_number(&server, sql);
}

/* A schema of its own, owned by the role `careful`, which is no superuser: rights and limits hold for it. */
static void open_taken(struct probe *p, const struct pg_limits *limits)
{
    char dsn[256];
    snprintf(dsn, sizeof dsn, "%s user=careful password=right", server.dsn);
    execute("DROP SCHEMA IF EXISTS wb CASCADE; CREATE SCHEMA wb AUTHORIZATION careful");
    probe_open(p, dsn, 0, limits);
    probe_claim(p, &id, FLUSH_DB_EMPTY, NULL);
    assert_int_equal(probe_next(p), PROBE_CLAIMED);
    probe_take(p, &id, 1);
    assert_int_equal(probe_next(p), PROBE_TAKEN);
}

/* The row "k" -> "v", and "l" -> "w". */
static void send_two(struct probe *p, uint64_t batch, uint64_t predecessor)
{
    struct flush_row rows[] = {probe_row("k", "v", batch), probe_row("l", "w", batch)};
    probe_send(p, batch, predecessor, rows, 2);
}

static void assert_failed(
    struct probe *p, enum flush_error_class class, const char *sqlstate, const char *words)
{
    assert_int_equal(probe_next(p), PROBE_FAILED);
    if (p->error.class != class || strcmp(p->error.sqlstate, sqlstate) != 0 ||
        strstr(p->error.message, words) == NULL) {
        fail_msg("%s %s: %s", flush_error_class_name(p->error.class), p->error.sqlstate, p->error.message);
    }
}

/* Whatever the failed batch was, nothing of it is there; and the next one of the same flusher is written. */
static void goes_on(struct probe *p, uint64_t batch, uint64_t predecessor)
{
    probe_take(p, &id, 1);
    if (probe_next(p) != PROBE_TAKEN) {
        fail_msg("%s %s: %s", flush_error_class_name(p->error.class), p->error.sqlstate, p->error.message);
    }
    assert_true(p->row.last_batch == predecessor);
    send_two(p, batch, predecessor);
    probe_assert_committed(p, batch);
    char sql[128];
    snprintf(
        sql, sizeof sql, "SELECT count(*) FROM wb.entry WHERE version = %llu", (unsigned long long)batch);
    assert_int_equal(number(sql), 2);
}

/* ---- causes that are statements ---- */

#define TRIGGER(body)                                                                                        \
    "CREATE FUNCTION wb.t() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN " body " RETURN NEW; END $$;"       \
    "CREATE TRIGGER t BEFORE INSERT OR UPDATE ON wb.entry FOR EACH ROW EXECUTE FUNCTION wb.t()"
#define RAISE(code)  TRIGGER("RAISE EXCEPTION USING ERRCODE = '" code "', MESSAGE = 'made for the test';")
#define DROP_TRIGGER "DROP FUNCTION wb.t() CASCADE"

static const struct {
    const char *name, *make, *unmake;
    enum flush_error_class class;
    const char *sqlstate, *words;
} causes[] = {
    /* of a row */
    {"check", "ALTER TABLE wb.entry ADD CONSTRAINT c CHECK (value <> 'w')",
        "ALTER TABLE wb.entry DROP CONSTRAINT c", FLUSH_ERROR_ROW, "23514",
        "violates check constraint \"c\"; Failing row contains (\\x6c, \\x77,"},
    {"not null", "ALTER TABLE wb.entry ADD COLUMN more int NOT NULL", "ALTER TABLE wb.entry DROP COLUMN more",
        FLUSH_ERROR_ROW, "23502", "null value in column \"more\""},
    {"foreign key",
        "CREATE TABLE wb.owner (value bytea PRIMARY KEY); ALTER TABLE wb.entry ADD CONSTRAINT c FOREIGN KEY "
        "(value)"
        " REFERENCES wb.owner; GRANT SELECT ON wb.owner TO careful",
        "ALTER TABLE wb.entry DROP CONSTRAINT c", FLUSH_ERROR_ROW, "23503",
        "violates foreign key constraint \"c\"; Key (value)=(\\x76) is not present"},
    {"unique", "CREATE UNIQUE INDEX u ON wb.entry (length(key))", "DROP INDEX wb.u", FLUSH_ERROR_ROW, "23505",
        "duplicate key value violates unique constraint \"u\""},
    {"exclusion", "ALTER TABLE wb.entry ADD CONSTRAINT c EXCLUDE (length(key) WITH =)",
        "ALTER TABLE wb.entry DROP CONSTRAINT c", FLUSH_ERROR_ROW, "23P01",
        "conflicting key value violates exclusion constraint \"c\""},
    {"deferred",
        "ALTER TABLE wb.entry ADD CONSTRAINT c UNIQUE (expires_at) DEFERRABLE INITIALLY DEFERRED;"
        "CREATE FUNCTION wb.t() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.expires_at := 'infinity'; RETURN NEW; END $$;"
        "CREATE TRIGGER t BEFORE INSERT ON wb.entry FOR EACH ROW EXECUTE FUNCTION wb.t()",
        "ALTER TABLE wb.entry DROP CONSTRAINT c;" DROP_TRIGGER, FLUSH_ERROR_ROW, "23505",
        "duplicate key value violates unique constraint \"c\""},
    {"out of range",
        "ALTER TABLE wb.entry ADD COLUMN n smallint GENERATED ALWAYS AS (length(value) * 40000) STORED",
        "ALTER TABLE wb.entry DROP COLUMN n", FLUSH_ERROR_ROW, "22003", "smallint out of range"},
    {"no text",
        "ALTER TABLE wb.entry ADD COLUMN n int GENERATED ALWAYS AS (encode(value, 'escape')::int) STORED",
        "ALTER TABLE wb.entry DROP COLUMN n", FLUSH_ERROR_ROW, "22P02",
        "invalid input syntax for type integer"},
    {"raised", TRIGGER("RAISE EXCEPTION 'no % here', encode(NEW.key, 'escape');"), DROP_TRIGGER,
        FLUSH_ERROR_ROW, "P0001", "no k here"},
    {"too many rows", TRIGGER("NEW.version := (SELECT g FROM generate_series(1, 2) AS g);"), DROP_TRIGGER,
        FLUSH_ERROR_ROW, "21000", "more than one row returned by a subquery"},
    {"no case", TRIGGER("CASE NEW.value WHEN 'x' THEN NULL; END CASE;"), DROP_TRIGGER, FLUSH_ERROR_ROW,
        "20000", "case not found"},
    {"no return",
        "CREATE FUNCTION wb.t() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;"
        "CREATE TRIGGER t BEFORE INSERT OR UPDATE ON wb.entry FOR EACH ROW EXECUTE FUNCTION wb.t()",
        DROP_TRIGGER, FLUSH_ERROR_ROW, "2F005", "control reached end of trigger procedure without RETURN"},
    {"trigger that commits", TRIGGER("COMMIT;"), DROP_TRIGGER, FLUSH_ERROR_ROW, "2D000",
        "invalid transaction"},
    {"too big for an index",
        TRIGGER("NEW.value := (SELECT string_agg(sha512(g::text::bytea), '') FROM generate_series(1, 300) AS "
                "g);") "; CREATE INDEX big ON wb.entry (value)",
        "DROP INDEX wb.big;" DROP_TRIGGER "; TRUNCATE wb.entry", FLUSH_ERROR_ROW, "54000",
        "index row requires"},
    /* transient */
    {"serialization", RAISE("40001"), DROP_TRIGGER, FLUSH_ERROR_TRANSIENT, "40001", "made for the test"},
    {"statement timeout", TRIGGER("PERFORM pg_sleep(30);"), DROP_TRIGGER, FLUSH_ERROR_TRANSIENT, "57014",
        "canceling statement due to statement timeout"},
    /* needs an operator */
    {"permission", "REVOKE ALL ON wb.entry FROM careful; ALTER TABLE wb.entry OWNER TO postgres",
        "ALTER TABLE wb.entry OWNER TO careful; GRANT ALL ON wb.entry TO careful", FLUSH_ERROR_HALT, "42501",
        "permission denied for table entry"},
    {"no table", "ALTER TABLE wb.entry RENAME TO away", "ALTER TABLE wb.away RENAME TO entry",
        FLUSH_ERROR_HALT, "42P01", "relation \"wb.entry\" does not exist"},
    {"no column", "ALTER TABLE wb.entry RENAME COLUMN expires_at TO away",
        "ALTER TABLE wb.entry RENAME COLUMN away TO expires_at", FLUSH_ERROR_HALT, "42703",
        "column \"expires_at\""},
    {"no function", "ALTER FUNCTION wb.flush_advance RENAME TO away",
        "ALTER FUNCTION wb.away RENAME TO flush_advance", FLUSH_ERROR_HALT, "42883",
        "function wb.flush_advance"},
    {"no such function in a trigger", TRIGGER("PERFORM nothing_of_that_name();"), DROP_TRIGGER,
        FLUSH_ERROR_HALT, "42883", "nothing_of_that_name"},
    {"not supported", RAISE("0A000"), DROP_TRIGGER, FLUSH_ERROR_HALT, "0A000", "made for the test"},
    {"corrupted", RAISE("XX001"), DROP_TRIGGER, FLUSH_ERROR_HALT, "XX001", "made for the test"},
    /* outages */
    {"disk full, as raised", RAISE("53100"), DROP_TRIGGER, FLUSH_ERROR_OUTAGE, "53100", "made for the test"},
    {"an unknown code", RAISE("ZZ123"), DROP_TRIGGER, FLUSH_ERROR_OUTAGE, "ZZ123", "made for the test"},
};

static void statements_that_are_refused_have_their_class_and_words(void **state)
{
    (void)state;
    const struct pg_limits limits = {.statement_timeout_ms = 400};
    for (size_t i = 0; i < sizeof causes / sizeof causes[0]; i++) {
        struct probe p;
        print_message("    %s\n", causes[i].name);
        open_taken(&p, strcmp(causes[i].name, "statement timeout") == 0 ? &limits : NULL);
        execute(causes[i].make);
        send_two(&p, 2, 0);
        assert_failed(&p, causes[i].class, causes[i].sqlstate, causes[i].words);
        assert_memory_equal(p.error.message, "batch 2: ", 9);
        assert_int_equal(number("SELECT max(last_batch) FROM wb.flush_state"), 0);
        execute(causes[i].unmake);
        goes_on(&p, 3, 0);
        probe_close(&p);
    }
}

/* ---- locks ---- */

static void a_lock_that_others_hold_is_transient(void **state)
{
    (void)state;
    const struct pg_limits limits = {.lock_timeout_ms = 100};
    struct probe p;
    open_taken(&p, &limits);
    PGconn *holder = PQconnectdb(server.dsn);
    PQclear(PQexec(holder, "BEGIN; LOCK TABLE wb.entry IN SHARE MODE"));
    send_two(&p, 2, 0);
    assert_failed(&p, FLUSH_ERROR_TRANSIENT, "55P03", "canceling statement due to lock timeout");
    PQfinish(holder);
    goes_on(&p, 3, 0);
    probe_close(&p);
}

/* The adversary holds "l" and wants "k", which the flush holds while it waits for "l". */
static void a_deadlock_is_transient(void **state)
{
    (void)state;
    struct probe p;
    open_taken(&p, NULL);
    send_two(&p, 2, 0);
    probe_assert_committed(&p, 2);
    execute("ALTER ROLE careful SET deadlock_timeout = '50ms'"); /* whose ends first is the victim */
    execute("GRANT SET ON PARAMETER deadlock_timeout TO careful");
    probe_take(&p, &id, 1);
    assert_int_equal(probe_next(&p), PROBE_TAKEN);
    PGconn *adversary = PQconnectdb(server.dsn);
    PQclear(PQexec(
        adversary, "SET deadlock_timeout = '1h'; BEGIN; UPDATE wb.entry SET version = 1 WHERE key = 'l'"));
    send_two(&p, 3, 2);
    while (number("SELECT count(*) FROM pg_locks WHERE NOT granted") < 1) {
        probe_turn(&p);
    }
    assert_int_equal(PQsendQuery(adversary, "UPDATE wb.entry SET version = 1 WHERE key = 'k'"), 1);
    enum probe_event event = probe_next(&p);
    if (event == PROBE_FAILED && strcmp(p.error.sqlstate, "40P01") != 0) {
        fail_msg("%s: %s", p.error.sqlstate, p.error.message);
    }
    assert_int_equal(event, PROBE_FAILED);
    assert_int_equal(p.error.class, FLUSH_ERROR_TRANSIENT);
    assert_non_null(strstr(p.error.message, "deadlock detected"));
    PQfinish(adversary);
    goes_on(&p, 4, 2);
    probe_close(&p);
    execute("ALTER ROLE careful RESET deadlock_timeout");
}

/* ---- the server ---- */

static void a_server_that_shuts_down_under_a_batch_is_an_outage(void **state)
{
    (void)state;
    for (int immediate = 0; immediate <= 1; immediate++) {
        struct probe p;
        open_taken(&p, NULL);
        /* Not by a lock: its holder could end before our backend does, and let it commit. */
        execute(TRIGGER("PERFORM pg_sleep(30);"));
        send_two(&p, 2, 0);
        while (number("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") < 1) {
            probe_turn(&p);
        }
        if (immediate) {
            pg_test_server_kill(&server);
            assert_int_equal(probe_next(&p), PROBE_FAILED); /* with a farewell or without */
            assert_int_equal(p.error.class, FLUSH_ERROR_OUTAGE);
        } else {
            pg_test_server_stop(&server);
            assert_failed(
                &p, FLUSH_ERROR_OUTAGE, "57P01", "terminating connection due to administrator command");
        }
        probe_take(&p, &id, 1);
        assert_failed(&p, FLUSH_ERROR_OUTAGE, "", "cannot connect to the database");
        assert_int_equal(pg_test_server_again(&server), 0);
        execute(DROP_TRIGGER);
        goes_on(&p, 3, 0);
        probe_close(&p);
    }
}

/* Under a session that is open: no flusher of ours asks for it. */
static void a_server_that_is_made_read_only_is_an_outage(void **state)
{
    (void)state;
    struct probe p;
    open_taken(&p, NULL);
    execute("ALTER SYSTEM SET default_transaction_read_only = on");
    execute("SELECT pg_reload_conf()");
    uint64_t last = 0;
    enum probe_event event;
    do { /* until the signal has reached its backend */
        send_two(&p, last + 1, last);
        event = probe_next(&p);
        last += event == PROBE_COMMITTED;
        assert_true(last < 1000000);
    } while (event == PROBE_COMMITTED);
    p.seen--;
    assert_failed(&p, FLUSH_ERROR_OUTAGE, "25006", "in a read-only transaction");
    probe_take(&p, &id, 1);
    probe_assert_failed(&p, FLUSH_ERROR_OUTAGE, "read-only");
    execute("ALTER SYSTEM RESET default_transaction_read_only");
    execute("SELECT pg_reload_conf()");
    do { /* likewise */
        probe_take(&p, &id, 1);
    } while (probe_next(&p) != PROBE_TAKEN);
    p.events = p.seen = 0;
    goes_on(&p, last + 1, last);
    probe_close(&p);
}

static void a_server_without_a_free_connection_is_an_outage(void **state)
{
    (void)state;
    struct probe p;
    open_taken(&p, NULL);
    probe_disconnect(&p);
    execute("ALTER ROLE careful CONNECTION LIMIT 0");
    probe_take(&p, &id, 1);
    assert_failed(&p, FLUSH_ERROR_OUTAGE, "53300", "too many connections for role \"careful\"");
    execute("ALTER ROLE careful CONNECTION LIMIT -1");
    goes_on(&p, 2, 0);
    probe_close(&p);
}

/* A tablespace on a file system of a few megabytes: that needs the right to mount one. */
static void a_full_disk_is_an_outage(void **state)
{
    (void)state;
    struct probe p;
    char dir[128], sql[512], owner[64];
    snprintf(dir, sizeof dir, "%s/small", server.dir);
    struct stat of_server;
    assert_int_equal(stat(server.dir, &of_server), 0);
    assert_int_equal(mkdir(dir, 0700), 0);
    snprintf(owner, sizeof owner, "size=4m,mode=0700,uid=%u,gid=%u", (unsigned)of_server.st_uid,
        (unsigned)of_server.st_gid);
    if (mount("none", dir, "tmpfs", 0, owner) != 0) {
        print_message("SKIPPED: this user may not mount a small file system\n");
        rmdir(dir);
        skip();
    }
    open_taken(&p, NULL);
    snprintf(sql, sizeof sql, "CREATE TABLESPACE small LOCATION '%s'", dir);
    execute(sql);
    execute("GRANT CREATE ON TABLESPACE small TO careful");
    execute(
        "ALTER TABLE wb.entry SET TABLESPACE small; ALTER TABLE wb.entry ALTER value SET STORAGE EXTERNAL");
    uint8_t *value = xcalloc(1, LIMIT_VALUE_BYTES);
    struct flush_row rows[8];
    static const char *const keys[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    for (int i = 0; i < 8; i++) {
        rows[i] = probe_row(keys[i], "", 1);
        rows[i].value = bytes_of(value, LIMIT_VALUE_BYTES);
    }
    probe_send(&p, 2, 0, rows, 8);
    assert_failed(&p, FLUSH_ERROR_OUTAGE, "53100", "No space left on device");
    assert_int_equal(mount("none", dir, "tmpfs", MS_REMOUNT, "size=64m"), 0); /* the operator makes room */
    goes_on(&p, 3, 0);
    probe_close(&p);
    free(value);
    execute("DROP SCHEMA wb CASCADE");
    execute("CHECKPOINT");
    execute("DROP TABLESPACE small");
    assert_int_equal(umount(dir), 0);
    assert_int_equal(rmdir(dir), 0);
}

/* ---- who we are ---- */

static void write_hba(const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/data/pg_hba.conf", server.dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
    execute("SELECT pg_reload_conf()");
}

static void a_wrong_password_needs_an_operator(void **state)
{
    (void)state;
    struct probe p, q;
    char dsn[256];
    open_taken(&p, NULL);
    probe_disconnect(&p);
    write_hba("local all careful scram-sha-256\nlocal all all trust\n");
    snprintf(dsn, sizeof dsn, "%s user=careful password=wrong", server.dsn);
    probe_open(&q, dsn, 0, NULL);
    do { /* until the server has read the file */
        probe_take(&q, &id, 1);
    } while (probe_next(&q) != PROBE_FAILED);
    q.seen--;
    assert_failed(&q, FLUSH_ERROR_HALT, "28P01", "password authentication failed for user \"careful\"");
    execute("ALTER ROLE careful PASSWORD 'wrong'");
    goes_on(&q, 2, 0);
    probe_close(&q);
    execute("ALTER ROLE careful PASSWORD 'right'");
    goes_on(&p, 3, 2);
    probe_disconnect(&p);
    write_hba("local all careful reject\nlocal all all trust\n");
    do {
        probe_take(&p, &id, 1);
    } while (probe_next(&p) != PROBE_FAILED);
    p.seen--;
    assert_failed(&p, FLUSH_ERROR_HALT, "28000", "pg_hba.conf rejects connection");
    write_hba("local all all trust\n");
    do {
        probe_take(&p, &id, 1);
    } while (probe_next(&p) != PROBE_TAKEN);
    goes_on(&p, 4, 3);
    probe_close(&p);
}

static void a_database_that_is_not_there_needs_an_operator(void **state)
{
    (void)state;
    struct probe p;
    char dsn[256];
    snprintf(dsn, sizeof dsn, "%s dbname=nosuch", server.dsn);
    probe_open(&p, dsn, 0, NULL);
    probe_inspect(&p, &id);
    assert_failed(&p, FLUSH_ERROR_HALT, "3D000", "database \"nosuch\" does not exist");
    execute("CREATE DATABASE nosuch");
    probe_claim(&p, &id, FLUSH_DB_EMPTY, NULL);
    assert_int_equal(probe_next(&p), PROBE_CLAIMED);
    probe_close(&p);
    execute("DROP DATABASE nosuch WITH (FORCE)");
}

static int start(void **state)
{
    (void)state;
    if (pg_test_server_start(&server) != 0) {
        return -1;
    }
    execute("CREATE ROLE careful LOGIN PASSWORD 'right'");
    return 0;
}

static int stop(void **state)
{
    (void)state;
    char dir[128];
    snprintf(dir, sizeof dir, "%s/small", server.dir);
    pg_test_server_kill(&server);
    umount(dir); /* when its test failed */
    pg_test_server_destroy(&server);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statements_that_are_refused_have_their_class_and_words),
        cmocka_unit_test(a_lock_that_others_hold_is_transient),
        cmocka_unit_test(a_deadlock_is_transient),
        cmocka_unit_test(a_server_that_shuts_down_under_a_batch_is_an_outage),
        cmocka_unit_test(a_server_that_is_made_read_only_is_an_outage),
        cmocka_unit_test(a_server_without_a_free_connection_is_an_outage),
        cmocka_unit_test(a_full_disk_is_an_outage),
        cmocka_unit_test(a_wrong_password_needs_an_operator),
        cmocka_unit_test(a_database_that_is_not_there_needs_an_operator),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
