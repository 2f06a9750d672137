/* What a watcher hears, as transcripts: "key" or "*" for each notification, "[...]" when its state changes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "flush/pg_test_faults.h"
#include "flush/pg_test_server.h"
#include "flush/pg_watcher.h"
#include "flush/schema.h"

static struct pg_test_server server;

static void execute(const char *sql)
{
    char *text = pg_test_server_query(&server, sql);
    assert_non_null(text);
    free(text);
}

static void execute_schema(enum schema_sql which, const char *schema)
{
    char *sql = schema_sql(which, schema);
    execute(sql);
    free(sql);
}

/* An entry table that is not watched yet. */
static void make_table(const char *schema)
{
    execute_schema(SCHEMA_CREATE_SCHEMA, schema);
    execute_schema(SCHEMA_CREATE_ENTRY, schema);
    execute_schema(SCHEMA_CREATE_CHANGED, schema);
    execute_schema(SCHEMA_CREATE_WATCH, schema);
}

static int start_server(void **state)
{
    (void)state;
    return pg_test_server_start(&server);
}

static int destroy_server(void **state)
{
    (void)state;
    pg_test_server_destroy(&server);
    return 0;
}

static int fresh_table(void **state)
{
    (void)state;
    execute("DROP SCHEMA IF EXISTS wb CASCADE");
    make_table("wb");
    return 0;
}

/* ---- A watcher that writes down what it hears ---- */

struct ear {
    uv_loop_t loop;
    uv_timer_t watchdog;
    struct pg_watcher *watcher;
    const char *close_at; /* close when this has been heard */
    bool closed;
    char heard[4096];
};

static void on_closed(void *data)
{
    struct ear *e = data;
    e->closed = true;
    uv_stop(&e->loop);
}

static void write_down(struct ear *e, const char *text, size_t len)
{
    size_t at = strlen(e->heard);
    assert_true(at + len + 2 < sizeof e->heard);
    memcpy(e->heard + at, text, len);
    memcpy(e->heard + at + len, " ", 2);
    uv_stop(&e->loop);
    if (e->close_at != NULL && strlen(e->close_at) == len && memcmp(e->close_at, text, len) == 0) {
        pg_watcher_close(e->watcher, on_closed, e);
        e->watcher = NULL;
    }
}

static void on_changed(void *data, struct bytes key)
{
    write_down(data, (const char *)key.data, key.len);
}

static void on_all(void *data)
{
    write_down(data, "*", 1);
}

static void on_state(void *data, bool listening, bool installed)
{
    const char *text = installed ? "[on]" : listening ? "[deaf]" : "[off]";
    write_down(data, text, strlen(text));
}

static const struct pg_watcher_events events = {.changed = on_changed, .all = on_all, .state = on_state};

static void on_watchdog(uv_timer_t *timer)
{
    struct ear *e = timer->data;
    fail_msg("nothing more for 20 s after \"%s\"", e->heard);
}

enum { OFTEN_MS = 20, RARELY_MS = 10 * 60 * 1000 };

static void ear_open_at(
    struct ear *e, const char *dsn, const char *schema, unsigned answer_timeout_ms, unsigned ask_ms)
{
    *e = (struct ear){0};
    assert_int_equal(uv_loop_init(&e->loop), 0);
    uv_timer_init(&e->loop, &e->watchdog);
    e->watchdog.data = e;
    uv_timer_start(&e->watchdog, on_watchdog, 20 * 1000, 0);
    const struct pg_watcher_config config = {.dsn = dsn,
        .schema = schema,
        .node_id = 1,
        .ask_ms = ask_ms,
        .backoff_min_ms = 1,
        .backoff_max_ms = 20,
        .limits = {.answer_timeout_ms = answer_timeout_ms}};
    e->watcher = pg_watcher_create(&e->loop, &config, &events, e);
    assert_non_null(e->watcher);
    assert_string_equal(e->heard, "");
}

static void ear_open(struct ear *e)
{
    ear_open_at(e, server.dsn, NULL, 0, OFTEN_MS);
}

/* Run until this much has been heard: exactly this, from the beginning. Then forget it. */
static void hear(struct ear *e, const char *expected)
{
    while (strlen(e->heard) < strlen(expected)) {
        uv_run(&e->loop, UV_RUN_DEFAULT);
    }
    assert_string_equal(e->heard, expected);
    e->heard[0] = '\0';
}

static void ear_close(struct ear *e)
{
    if (e->watcher != NULL) {
        pg_watcher_close(e->watcher, on_closed, e);
    }
    while (!e->closed) {
        uv_run(&e->loop, UV_RUN_DEFAULT);
    }
    assert_string_equal(e->heard, "");
    uv_close((uv_handle_t *)&e->watchdog, NULL);
    uv_run(&e->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&e->loop), 0);
}

static void end_watchers_session(void)
{
    execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'wbcache node=1 "
            "watch'");
}

/* ---- What is heard ---- */

static void the_keys_of_changed_rows_are_heard(void **state)
{
    (void)state;
    struct ear e;
    execute("SELECT wb.watch(true)");
    ear_open(&e);
    hear(&e, "[on] * ");
    execute("INSERT INTO wb.entry VALUES ('a', '1', 1), ('b', '1', 2)");
    hear(&e, "a b ");
    execute("UPDATE wb.entry SET value = '2' WHERE key = 'a'");
    hear(&e, "a ");
    execute("UPDATE wb.entry SET key = 'c' WHERE key = 'b'");
    hear(&e, "b c ");
    execute("DELETE FROM wb.entry WHERE key = 'c'");
    hear(&e, "c ");
    execute("TRUNCATE wb.entry");
    hear(&e, "* ");
    ear_close(&e);
}

static void keys_of_any_bytes_and_length_are_heard(void **state)
{
    (void)state;
    struct ear e;
    execute("SELECT wb.watch(true)");
    ear_open(&e);
    hear(&e, "[on] * ");
    execute("INSERT INTO wb.entry VALUES ('\\x01ff7f00c3', '1', 1)");
    while (e.heard[0] == '\0') {
        uv_run(&e.loop, UV_RUN_DEFAULT);
    }
    assert_memory_equal(e.heard, "\x01\xff\x7f\x00\xc3 ", 6);
    memset(e.heard, 0, 8);
    /* The longest that the cache may have. */
    execute("INSERT INTO wb.entry VALUES (convert_to(repeat('k', 1024), 'UTF8'), '1', 1)");
    char longest[1024 + 2];
    memset(longest, 'k', 1024);
    memcpy(longest + 1024, " ", 2);
    hear(&e, longest);
    /* The key without bytes cannot be told from a notification without a key. */
    execute("INSERT INTO wb.entry VALUES ('', '1', 1)");
    hear(&e, "* ");
    ear_close(&e);
}

static void what_was_rolled_back_or_flushed_is_not_heard(void **state)
{
    (void)state;
    struct ear e;
    execute("SELECT wb.watch(true)");
    ear_open(&e);
    hear(&e, "[on] * ");
    execute("BEGIN; INSERT INTO wb.entry VALUES ('a', '1', 1); ROLLBACK");
    execute("SET wbcache.flushing = 'on'; INSERT INTO wb.entry VALUES ('b', '1', 1)");
    execute("INSERT INTO wb.entry VALUES ('c', '1', 1)");
    hear(&e, "c ");
    ear_close(&e);
}

static void a_notification_that_cannot_be_read_means_any_key(void **state)
{
    (void)state;
    const char *const payloads[] = {"*", "xyz", "616", "6G", "6 ", "\xc3\xa4\xc3\xb6"};
    struct ear e;
    char *channel = schema_channel("wb");
    execute("SELECT wb.watch(true)");
    ear_open(&e);
    hear(&e, "[on] * ");
    for (size_t i = 0; i < sizeof payloads / sizeof payloads[0]; i++) {
        char sql[256];
        snprintf(sql, sizeof sql, "SELECT pg_notify('%s', '%s')", channel, payloads[i]);
        execute(sql);
        hear(&e, "* ");
    }
    char sql[256];
    snprintf(sql, sizeof sql, "SELECT pg_notify('%s', repeat('61', 3999)); SELECT pg_notify('%s', '62')",
        channel, channel);
    execute(sql);
    while (strchr(e.heard, 'b') == NULL) {
        uv_run(&e.loop, UV_RUN_DEFAULT);
    }
    assert_int_equal(strspn(e.heard, "a"), 3999); /* the longest payload that there is */
    e.heard[0] = '\0';
    free(channel);
    ear_close(&e);
}

static void a_schema_of_any_name_has_its_own_channel(void **state)
{
    (void)state;
    const char *const names[] = {"Ein \"Schema\"",
        "s3456789012345678901234567890123456789012345678901234567890123",
        "s34567890123456789012345678901234567890123456789012345678901xx"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char sql[256];
        char *table = schema_quoted(names[i], "entry"), *schema = schema_quoted(names[i], NULL);
        make_table(names[i]);
        snprintf(sql, sizeof sql, "SELECT %s.watch(true)", schema);
        execute(sql);
        struct ear e;
        ear_open_at(&e, server.dsn, names[i], 0, OFTEN_MS);
        hear(&e, "[on] * ");
        execute("SELECT wb.watch(true); INSERT INTO wb.entry VALUES ('other', '1', 1); DELETE FROM wb.entry");
        snprintf(sql, sizeof sql, "INSERT INTO %s VALUES ('mine', '1', 1)", table);
        execute(sql);
        hear(&e, "mine ");
        ear_close(&e);
        snprintf(sql, sizeof sql, "DROP SCHEMA %s CASCADE", schema);
        execute(sql);
        free(table);
        free(schema);
    }
}

/* ---- Installed or not ---- */

static void without_a_trigger_there_is_nothing_to_hear_and_it_says_so(void **state)
{
    (void)state;
    struct ear e;
    ear_open_at(&e, server.dsn, NULL, 0, RARELY_MS);
    hear(&e, "[deaf] ");
    execute("INSERT INTO wb.entry VALUES ('a', '1', 1)");
    /* Told by itself at once; what was changed before may have been missed. */
    execute("SELECT wb.watch(true)");
    hear(&e, "* [on] * ");
    execute("SELECT wb.watch(false)");
    hear(&e, "* [deaf] ");
    ear_close(&e);
}

static void a_trigger_that_comes_or_goes_without_a_word_is_noticed(void **state)
{
    (void)state;
    struct ear e;
    execute("SELECT wb.watch(true)");
    ear_open(&e);
    hear(&e, "[on] * ");
    execute("ALTER TABLE wb.entry DISABLE TRIGGER ALL");
    hear(&e, "[deaf] ");
    execute("INSERT INTO wb.entry VALUES ('missed', '1', 1); ALTER TABLE wb.entry ENABLE TRIGGER ALL");
    hear(&e, "[on] * ");
    execute("DROP SCHEMA wb CASCADE");
    hear(&e, "[deaf] ");
    ear_close(&e);
}

static void the_schema_need_not_be_there_yet(void **state)
{
    (void)state;
    execute("DROP SCHEMA wb CASCADE");
    struct ear e;
    ear_open_at(&e, server.dsn, NULL, 0, RARELY_MS);
    hear(&e, "[deaf] ");
    make_table("wb");
    execute("SELECT wb.watch(true)");
    hear(&e, "* [on] * ");
    ear_close(&e);
}

/* ---- Lost connections ---- */

static void after_a_lost_connection_anything_may_have_changed(void **state)
{
    (void)state;
    struct ear e;
    execute("SELECT wb.watch(true)");
    ear_open(&e);
    hear(&e, "[on] * ");
    for (int i = 0; i < 5; i++) {
        end_watchers_session();
        execute("INSERT INTO wb.entry VALUES ('while away', '1', 1); DELETE FROM wb.entry");
        hear(&e, "[off] [on] * ");
        execute("INSERT INTO wb.entry VALUES ('a', '1', 1); DELETE FROM wb.entry");
        hear(&e, "a ");
    }
    ear_close(&e);
}

static void a_database_that_is_away_is_waited_for(void **state)
{
    (void)state;
    struct ear e;
    execute("SELECT wb.watch(true)");
    pg_test_server_stop(&server);
    ear_open(&e);
    assert_int_equal(pg_test_server_again(&server), 0);
    hear(&e, "[on] * ");
    pg_test_server_kill(&server);
    hear(&e, "[off] ");
    assert_int_equal(pg_test_server_again(&server), 0);
    hear(&e, "[on] * ");
    ear_close(&e);
}

static void a_connection_that_died_without_a_word_is_found(void **state)
{
    (void)state;
    struct ear e;
    struct pg_test_faults *faults = pg_test_faults_start(&server);
    assert_non_null(faults);
    char dsn[PG_TEST_FAULTS_DSN_BYTES];
    pg_test_faults_dsn(faults, dsn);
    execute("SELECT wb.watch(true)");
    ear_open_at(&e, dsn, NULL, 200, OFTEN_MS);
    hear(&e, "[on] * ");
    const struct pg_fault silence = {
        .place = PG_FAULT_AFTER_MESSAGE, .from = PG_TEST_CLIENT, .position = 1, .drop = true, .deafen = true};
    pg_test_faults_arm(faults, &silence);
    hear(&e, "[off] [on] * ");
    assert_true(pg_test_faults_struck(faults));
    ear_close(&e);
    pg_test_faults_stop(faults);
}

static void every_cut_of_the_conversation_ends_in_a_new_one(void **state)
{
    (void)state;
    struct ear e;
    struct pg_test_faults *faults = pg_test_faults_start(&server);
    assert_non_null(faults);
    char dsn[PG_TEST_FAULTS_DSN_BYTES];
    pg_test_faults_dsn(faults, dsn);
    execute("SELECT wb.watch(true)");
    bool struck = true;
    for (uint64_t position = 1; struck; position += 7) {
        const struct pg_fault cut = {
            .place = PG_FAULT_AFTER_BYTES, .from = PG_TEST_SERVER, .position = position, .cut = true};
        pg_test_faults_arm_next(faults, &cut);
        ear_open_at(&e, dsn, NULL, 0, OFTEN_MS);
        /* The questions go on, so that a cut comes at last also behind the first answer. */
        while (!pg_test_faults_struck(faults) && strcmp(e.heard, "[on] * ") != 0) {
            uv_run(&e.loop, UV_RUN_ONCE);
        }
        struck = strcmp(e.heard, "[on] * ") != 0;
        if (struck) {
            hear(&e, "[on] * ");
        }
        e.heard[0] = '\0';
        ear_close(&e);
        assert_true(position < 100000);
    }
    pg_test_faults_stop(faults);
}

/* ---- Closing ---- */

static void whoever_hears_may_close(void **state)
{
    (void)state;
    const char *const moments[] = {"[on]", "*", "b"};
    struct ear e;
    execute("SELECT wb.watch(true)");
    for (size_t i = 0; i < sizeof moments / sizeof moments[0]; i++) {
        ear_open(&e);
        e.close_at = moments[i];
        while (!e.closed) {
            uv_run(&e.loop, UV_RUN_DEFAULT);
            if (strcmp(e.heard, "[on] * ") == 0) {
                execute("INSERT INTO wb.entry VALUES ('a', '1', 1), ('b', '1', 1), ('c', '1', 1);"
                        " DELETE FROM wb.entry");
            }
        }
        const char *last = strstr(e.heard, moments[i]);
        assert_non_null(last);
        assert_int_equal(strlen(last), strlen(moments[i]) + 1); /* and nothing after it */
        e.heard[0] = '\0';
        ear_close(&e);
    }
}

static void it_closes_in_every_state(void **state)
{
    (void)state;
    struct ear e;
    execute("SELECT wb.watch(true)");
    ear_open(&e); /* at once */
    ear_close(&e);
    for (int turns = 1; turns < 30; turns++) {
        ear_open(&e);
        for (int i = 0; i < turns; i++) {
            uv_run(&e.loop, UV_RUN_NOWAIT);
        }
        e.heard[0] = '\0';
        ear_close(&e);
    }
    ear_open_at(&e, "host=/nowhere", NULL, 0, OFTEN_MS); /* in its back-off */
    uv_run(&e.loop, UV_RUN_NOWAIT);
    ear_close(&e);
}

static void a_bad_schema_name_is_refused(void **state)
{
    (void)state;
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    const struct pg_watcher_config config = {.dsn = server.dsn, .schema = ""};
    assert_null(pg_watcher_create(&loop, &config, &events, NULL));
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_keys_of_changed_rows_are_heard, fresh_table),
        cmocka_unit_test_setup(keys_of_any_bytes_and_length_are_heard, fresh_table),
        cmocka_unit_test_setup(what_was_rolled_back_or_flushed_is_not_heard, fresh_table),
        cmocka_unit_test_setup(a_notification_that_cannot_be_read_means_any_key, fresh_table),
        cmocka_unit_test_setup(a_schema_of_any_name_has_its_own_channel, fresh_table),
        cmocka_unit_test_setup(without_a_trigger_there_is_nothing_to_hear_and_it_says_so, fresh_table),
        cmocka_unit_test_setup(a_trigger_that_comes_or_goes_without_a_word_is_noticed, fresh_table),
        cmocka_unit_test_setup(the_schema_need_not_be_there_yet, fresh_table),
        cmocka_unit_test_setup(after_a_lost_connection_anything_may_have_changed, fresh_table),
        cmocka_unit_test_setup(a_database_that_is_away_is_waited_for, fresh_table),
        cmocka_unit_test_setup(a_connection_that_died_without_a_word_is_found, fresh_table),
        cmocka_unit_test_setup(every_cut_of_the_conversation_ends_in_a_new_one, fresh_table),
        cmocka_unit_test_setup(whoever_hears_may_close, fresh_table),
        cmocka_unit_test_setup(it_closes_in_every_state, fresh_table),
        cmocka_unit_test_setup(a_bad_schema_name_is_refused, fresh_table),
    };
    return cmocka_run_group_tests(tests, start_server, destroy_server);
}
