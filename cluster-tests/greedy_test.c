/* Clients of one node, which leads a group, that take more than they give: answers that nobody reads, or a
 * byte a second; misses whose rows are larger than the node's memory. What the node holds for them is
 * bounded, and the friends of the group do not feel them. */
#include "cluster-tests/siege.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster-tests/sql.h"
#include "proto/base/alloc.h"
#include "proto/base/clock.h"
#include "proto/base/status.h"
#include "proto/limits.h"

#define MIB ((uint64_t)1024 * 1024)

enum {
    VALUES = 64, /* in memory, to be asked for again and again */
    VALUE_BYTES = 256 * 1024,
    ROWS = LIMIT_REQUEST_KEYS, /* in PostgreSQL only, each of LIMIT_VALUE_BYTES */
    CONNECTIONS_MAX = 1000,
    DEAF = 200,
    ASKERS = 8,
    ASKER_WINDOW = 2,
    ASKER_DEADLINE_MS = 5000,
    /* While answers of megabytes are made as fast as the node can, it is busy, and so are PostgreSQL and the
     * attackers, on the same processors. */
    BUSY_SLACK_US = 500000,
    FEW_KEYS = 3, /* values of the largest size that fit in one answer */
    WATCH_MS = 3000,
    AWAIT_MS = 60000,
    CALL_MS = 10000,
};

/* limits.client_bytes and limits.memory_max as they are set below. */
#define CLIENT_BYTES (64 * MIB)
#define MEMORY_MAX   (128 * MIB)
/* Over client_bytes each connection may still hold its share of it (rpc/server.h). */
#define SHARE_BYTES (CLIENT_BYTES / CONNECTIONS_MAX)
/* What grows besides: malloc's pools and what they lose between large buffers that come and go, one answer
 * that is being written, the log in memory. */
#define SLACK_BYTES (48 * MIB)
/* The answers of PostgreSQL that are being read (flush/pg_load_request.h), twice: libpq's buffer, and its
 * result. */
#define LOAD_BYTES (16 * MIB)

static void expect_growth(const struct siege *g, uint64_t most)
{
    uint64_t growth = siege_growth_bytes(g);
    say("  the node grew by %" PRIu64 " MiB; allowed: %" PRIu64 " MiB", growth / MIB, most / MIB);
    assert_true(growth <= most);
}

static bool answers_came(const struct attack_report *r, void *data)
{
    (void)data;
    for (int i = 0; i < ATTACK_STATUSES; i++) {
        if (r->answers[i] > 0) {
            return true;
        }
    }
    return false;
}

/* ---- Answers that are not read ---- */

static void store_values(struct siege *g)
{
    struct wbcache *cache = NULL;
    const struct wbcache_options options = {.deadline_ms = CALL_MS};
    assert_int_equal(wbcache_open(&cache, g->scenario->cluster.addresses, &options), WBCACHE_OK);
    char *value = xcalloc(1, VALUE_BYTES);
    for (unsigned i = 0; i < VALUES; i++) {
        char key[64];
        int len = snprintf(key, sizeof key, "%s%08u", g->prefix, i);
        assert_int_equal(wbcache_set(cache, key, (size_t)len, value, VALUE_BYTES, NULL), WBCACHE_OK);
    }
    free(value);
    wbcache_close(cache);
}

static void answers_that_nobody_reads_are_bounded(struct siege *g, enum attack_kind kind)
{
    say("%d connections ask for values of %d KiB and read %s", DEAF, VALUE_BYTES / 1024,
        kind == ATTACK_NEVER_READ ? "nothing" : "a byte a second");
    struct attacker *a = siege_attack(
        g, &(struct attack){.kind = kind, .connections = DEAF, .keys = VALUES, .keys_per_request = 1});
    siege_watch_fair(g, kind == ATTACK_NEVER_READ ? "with the deaf" : "with slow readers", WATCH_MS);
    struct attack_report r = attacker_report(a);
    siege_say_report(&r);
    attacker_stop(a);
    expect_growth(g, CLIENT_BYTES + DEAF * SHARE_BYTES + SLACK_BYTES);
    siege_wait_alone(g);
}

/* ---- Misses ---- */

/* PostgreSQL keeps them compressed: they take little of its disk. */
static void store_rows(struct siege *g, const char *prefix)
{
    PGconn *conn = sql_connect_or_fail(g->scenario->cluster.database);
    uint64_t begun_ms = clock_boot_ms();
    sql_run_or_fail(conn,
        "INSERT INTO wb.entry (key, value, version) "
        "VALUES (convert_to('%s00000000', 'UTF8'), convert_to(repeat('x', %d), 'UTF8'), 1)",
        prefix, LIMIT_VALUE_BYTES);
    sql_run_or_fail(conn, /* as it is compressed already */
        "INSERT INTO wb.entry (key, value, version) "
        "SELECT convert_to('%s' || lpad(n::text, 8, '0'), 'UTF8'), value, 1 "
        "FROM wb.entry, generate_series(1, %d) AS n WHERE key = convert_to('%s00000000', 'UTF8')",
        prefix, ROWS - 1, prefix);
    say("  %d rows of %d KiB each lie in PostgreSQL, after %" PRIu64 " ms", ROWS, LIMIT_VALUE_BYTES / 1024,
        clock_boot_ms() - begun_ms);
    PQfinish(conn);
}

static void misses_are_bounded(struct siege *g, const char *prefix, unsigned keys_per_request)
{
    say("%d connections, %d requests under way on each, ask for %u of these rows at a time", ASKERS,
        ASKER_WINDOW, keys_per_request);
    struct attack attack = {.kind = ATTACK_ASK,
        .connections = ASKERS,
        .keys = ROWS,
        .keys_per_request = keys_per_request,
        .deadline_ms = ASKER_DEADLINE_MS,
        .window = ASKER_WINDOW};
    snprintf(attack.prefix, sizeof attack.prefix, "%s", prefix);
    struct attacker *a = siege_attack(g, &attack);
    siege_watch_fair(g, "with misses", WATCH_MS);
    uint64_t most = g->most_resident_bytes;
    siege_await(g, a, "they get answers", AWAIT_MS, answers_came, NULL);
    g->most_resident_bytes = most > g->most_resident_bytes ? most : g->most_resident_bytes;
    struct attack_report r = attacker_report(a);
    siege_say_report(&r);
    attacker_stop(a);
    /* The values in memory, those that only an answer under way still holds, and the answers. */
    expect_growth(g, MEMORY_MAX + CLIENT_BYTES + LOAD_BYTES + SLACK_BYTES);
    if (keys_per_request == ROWS) { /* it can never fit in an answer */
        assert_int_equal(r.answers[STATUS_OK], 0);
        assert_true(r.answers[STATUS_TOO_BIG] > 0 || r.answers[STATUS_TIMEOUT] > 0);
    } else {
        assert_true(r.answers[STATUS_OK] > 0);
    }
    siege_wait_alone(g);
}

static void greedy_clients_disturb_nobody(void **state)
{
    struct siege g;
    char rows[32];
    const char *const settings[] = {
        "limits.client_bytes=64MiB", "limits.memory_max=128MiB", "limits.connections=1000", NULL};
    siege_begin(&g, *state, settings);
    store_values(&g);
    g.slack_us = BUSY_SLACK_US;
    answers_that_nobody_reads_are_bounded(&g, ATTACK_NEVER_READ);
    answers_that_nobody_reads_are_bounded(&g, ATTACK_READ_SLOWLY);
    snprintf(rows, sizeof rows, "%.*srow:", (int)strcspn(g.prefix, "b"), g.prefix);
    store_rows(&g, rows);
    misses_are_bounded(&g, rows, FEW_KEYS);
    misses_are_bounded(&g, rows, ROWS);
    siege_watch_fair(&g, "after all", WATCH_MS);
    siege_end(&g);
    struct health after = health_of(&g.scenario->cluster);
    assert_int_equal(after.terms, g.health.terms);
    g.scenario->passed = true;
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 0, 0);
    const struct CMUnitTest tests[] = {
        scenario_test(greedy_clients_disturb_nobody, &options),
    };
    return cmocka_run_group_tests_name("greedy", tests, NULL, NULL);
}
