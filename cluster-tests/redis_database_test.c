/* The database as clients of the Redis port feel it: away while they write until the budget is used up, with
 * a rule that refuses some hashes, and back in time. Nothing that was acknowledged is lost, and each error
 * says what is so. */
#include "cluster-tests/scenario.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cluster-tests/group_sums.h"
#include "cluster-tests/pg_copy.h"
#include "cluster-tests/redis_ask.h"
#include "cluster-tests/sql.h"

enum { BUDGET = 300, WRITES = 400, BEFORE = 100, LATER = 100, AWAIT_MS = 30000 };

#define ASK(a, ...)           redis_ask(a, (const char *const[]){__VA_ARGS__, NULL})
#define EXPECT(a, reply, ...) redis_ask_expect(a, (const char *const[]){__VA_ARGS__, NULL}, reply)

/* Write @word and its number to key @i, which is a hash or a string, in turns, in the slot of @tag. */
static struct reply write_key(struct redis_ask *a, const char *tag, const char *word, unsigned i)
{
    char key[64], value[32];
    snprintf(key, sizeof key, "{%s}%u", tag, i);
    snprintf(value, sizeof value, "%s %u", word, i);
    return i % 2 == 0 ? ASK(a, "HSET", key, "name", value, "n", "1") : ASK(a, "SET", key, value);
}

static void expect_key(struct redis_ask *a, const char *tag, unsigned i)
{
    char key[64], value[64], reply[80];
    snprintf(key, sizeof key, "{%s}%u", tag, i);
    snprintf(value, sizeof value, "value %u", i);
    snprintf(reply, sizeof reply, "$%zu\r\n%s", strlen(value), value);
    if (i % 2 == 0) {
        EXPECT(a, reply, "HGET", key, "name");
    } else {
        EXPECT(a, reply, "GET", key);
    }
}

/* How many keys of @tag are in PostgreSQL, each with what was written. */
static int64_t right_rows(PGconn *conn, const char *tag)
{
    return sql_number_or_fail(conn,
        "SELECT count(*) FROM (SELECT convert_from(key, 'UTF8') AS key, coalesce(fields->>'name', "
        "convert_from(value, 'UTF8')) AS value FROM wb.entry WHERE key LIKE '{%s}%%') AS e "
        "WHERE e.value = 'value ' || substring(e.key FROM %zu)",
        tag, strlen(tag) + 3);
}

struct wanted {
    const char *tag;
    int64_t rows;
};

static bool rows_are_there(struct cluster *c, void *data)
{
    const struct wanted *w = data;
    PGconn *conn = sql_connect_or_fail(c->database);
    int64_t rows = right_rows(conn, w->tag);
    PQfinish(conn);
    return rows == w->rows;
}

static void await_rows(struct cluster *c, const char *tag, unsigned rows)
{
    struct wanted wanted = {.tag = tag, .rows = rows};
    cluster_wait(c, "what was acknowledged is in PostgreSQL", AWAIT_MS, rows_are_there, &wanted);
}

/* ---- Away ---- */

static void oom_comes_at_the_budget_and_nothing_is_lost(struct cluster *c, struct redis_ask *a)
{
    for (unsigned i = 0; i <= WRITES;) { /* a key that nobody knows would have to be looked for */
        struct reply known = write_key(a, "away", "first", i);
        i += !reply_is_error(&known); /* the flush may be behind */
    }
    cluster_wait_clean(c, AWAIT_MS);
    say("PostgreSQL is stopped, and a client writes until it may not");
    cluster_pg_stop(c, false);
    unsigned written = 0;
    struct reply reply = write_key(a, "away", "value", written);
    while (!reply_is_error(&reply) && written < WRITES) {
        reply = write_key(a, "away", "value", ++written);
    }
    say("  after %u: %.*s", written, (int)reply.text.len, (const char *)reply.text.data);
    assert_true(reply_is_error_of(&reply, "OOM "));
    assert_true(written > 0 && written <= BUDGET);
    for (unsigned i = 0; i < written; i++) {
        expect_key(a, "away", i);
    }
    reply = ASK(a, "GET", "{away}nobody wrote it");
    say("  a key that is not in memory: %.*s", (int)reply.text.len, (const char *)reply.text.data);
    assert_true(reply_is_error_of(&reply, "DATABASEDOWN "));
    EXPECT(a, "+OK", "SET", "{away}1", "value 1"); /* it is dirty already: no more than before */
    EXPECT(a, ":0", "WB.WAITFLUSH", "{away}0", "50");
    say("PostgreSQL is started again");
    cluster_pg_start(c);
    EXPECT(a, ":1", "WB.WAITFLUSH", "{away}0", "15000");
    await_rows(c, "away", written);
    pg_copy_wait_asked(c);
    EXPECT(a, "$-1", "GET", "{away}nobody wrote it");
    EXPECT(a, "+OK", "SET", "{away}more", "x");
}

/* ---- Refused ---- */

static bool is_flushed(struct cluster *c, void *data)
{
    (void)c;
    struct reply reply = ASK(data, "WB.WAITFLUSH", "{bad}h", "1000");
    return reply.type == ':' && reply.text.data[0] == '1';
}

static bool quarantine_is_empty(struct cluster *c, void *data)
{
    (void)c;
    return sql_number_or_fail(data, "SELECT count(*) FROM wb.quarantine") == 0;
}

static bool has(const struct reply *r, const char *part)
{
    return memmem(r->whole.data, r->whole.len, part, strlen(part)) != NULL;
}

static void a_hash_that_the_database_refuses_is_told_and_kept(struct cluster *c, struct redis_ask *a)
{
    say("a rule of the database refuses hashes with a field `bad`");
    PGconn *conn = sql_connect_or_fail(c->database);
    sql_run_or_fail(
        conn, "ALTER TABLE wb.entry ADD CONSTRAINT no_bad CHECK (fields IS NULL OR NOT fields ? 'bad')");
    EXPECT(a, ":2", "HSET", "{bad}h", "bad", "1", "name", "x");
    EXPECT(a, ":1", "HSET", "{bad}good", "name", "x");
    EXPECT(a, ":1", "WB.WAITFLUSH", "{bad}good", "15000");
    struct reply reply = ASK(a, "WB.WAITFLUSH", "{bad}h", "15000");
    say("  %.*s", (int)reply.text.len, (const char *)reply.text.data);
    assert_true(reply_is_error_of(&reply, "QUARANTINED ") && has(&reply, "23514"));
    reply = ASK(a, "WB.FLUSHED", "{bad}h");
    assert_true(
        has(&reply, "$11\r\nquarantined\r\n:1\r\n") && has(&reply, "$8\r\nsqlstate\r\n$5\r\n23514\r\n"));
    assert_int_equal(sql_number_or_fail(conn,
                         "SELECT count(*) FROM wb.quarantine WHERE key = '{bad}h' AND fields->>'name' = 'x'"),
        1);
    EXPECT(a, "$1\r\nx", "HGET", "{bad}h", "name"); /* it is served all the same */
    say("the rule is dropped");
    sql_run_or_fail(conn, "ALTER TABLE wb.entry DROP CONSTRAINT no_bad");
    cluster_wait(c, "what was refused is flushed", AWAIT_MS, is_flushed, a);
    reply = ASK(a, "WB.FLUSHED", "{bad}h");
    assert_true(has(&reply, "$11\r\nquarantined\r\n:0\r\n"));
    assert_int_equal(sql_number_or_fail(
                         conn, "SELECT count(*) FROM wb.entry WHERE key = '{bad}h' AND fields->>'bad' = '1'"),
        1);
    cluster_wait(c, "the quarantine's table is empty", AWAIT_MS, quarantine_is_empty, conn);
    PQfinish(conn);
}

/* ---- Back in time ---- */

static void hashes_come_back_as_well(struct cluster *c, struct redis_ask *a)
{
    say("a copy of the database that lacks %d keys comes up", LATER);
    for (unsigned i = 0; i < BEFORE; i++) {
        write_key(a, "time", "value", i);
    }
    cluster_wait_clean(c, AWAIT_MS);
    pg_copy_take(c, "older");
    for (unsigned i = BEFORE; i < BEFORE + LATER; i++) {
        write_key(a, "time", "value", i);
    }
    EXPECT(a, ":1", "HDEL", "{time}0", "n"); /* and one that it has, with what is not true any more */
    cluster_wait_clean(c, AWAIT_MS);
    await_rows(c, "time", BEFORE + LATER);
    cluster_pg_stop(c, true);
    pg_copy_swap(c, "newer", "older");
    cluster_pg_start(c);
    await_rows(c, "time", BEFORE + LATER);
    group_sums_wait_recovered(c, AWAIT_MS);
    PGconn *conn = sql_connect_or_fail(c->database);
    assert_int_equal(
        sql_number_or_fail(conn, "SELECT count(*) FROM wb.entry WHERE key = '{time}0' AND fields ? 'n'"), 0);
    PQfinish(conn);
    pg_copy_wait_asked(c);
    for (unsigned i = 0; i < BEFORE + LATER; i++) {
        expect_key(a, "time", i);
    }
}

static void the_database_is_away_refuses_and_goes_back_in_time(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    struct redis_ask a;
    char budget[48];
    snprintf(budget, sizeof budget, "limits.dirty_entries=%d", BUDGET);
    cluster_start(
        c, &(struct cluster_options){.settings = {"raft.spread_stable_ms=0", "flush.age_ms=50", budget}});
    redis_ask_init(&a, c);
    oom_comes_at_the_budget_and_nothing_is_lost(c, &a);
    a_hash_that_the_database_refuses_is_told_and_kept(c, &a);
    hashes_come_back_as_well(c, &a);
    redis_ask_deinit(&a);
    s->passed = true;
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 0, 0);
    const struct CMUnitTest tests[] = {
        scenario_test(the_database_is_away_refuses_and_goes_back_in_time, &options),
    };
    return cmocka_run_group_tests_name("redis_database", tests, NULL, NULL);
}
