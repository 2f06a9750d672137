/* Writers beside us: what somebody else changes in the table is seen through the cache soon after its commit,
 * and what the cache has not flushed yet wins. */
#include "cluster-tests/scenario.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster-tests/sql.h"

enum { KEYS = 30, SEEN_MS = 20000, OTHERS_MS = 300 };

/* ---- The frame ---- */

struct beside {
    struct scenario *scenario;
    struct cluster *cluster;
    struct wbcache *cache;
    PGconn *sql; /* somebody else */
};

static void begin(struct beside *b, struct scenario *s, const struct cluster_options *options)
{
    *b = (struct beside){.scenario = s, .cluster = &s->cluster};
    cluster_start(b->cluster, options);
    assert_int_equal(wbcache_open(&b->cache, b->cluster->addresses, NULL), WBCACHE_OK);
    b->sql = sql_connect_or_fail(b->cluster->database);
}

static bool all_watch(struct cluster *c, void *data)
{
    bool wanted = *(const bool *)data, all = true;
    struct wbcache_status *status = cluster_status(c);
    for (unsigned node = 1; status != NULL && node <= c->nodes; node++) {
        for (unsigned group = 0; group < c->groups; group++) {
            const struct wbcache_group_status *g = cluster_group(status, node, group);
            all = all && g != NULL && g->watched == wanted;
        }
    }
    all = all && status != NULL;
    wbcache_status_free(status);
    return all;
}

static void begin_watching(struct beside *b, struct scenario *s)
{
    static const bool yes = true;
    begin(b, s, &(struct cluster_options){.settings = {"watch=true"}});
    sql_run_or_fail(b->sql, "SELECT wb.watch(true)");
    cluster_wait(b->cluster, "every node hears of changes", SEEN_MS, all_watch, (void *)(uintptr_t)&yes);
}

static void end(struct beside *b)
{
    PQfinish(b->sql);
    wbcache_close(b->cache);
    b->scenario->passed = true;
}

/* ---- key:0, key:1, ..., of all groups ---- */

static void set_keys(struct beside *b, const char *value)
{
    for (int i = 0; i < KEYS; i++) {
        char key[16];
        int len = snprintf(key, sizeof key, "key:%d", i);
        assert_int_equal(wbcache_set(b->cache, key, (size_t)len, value, strlen(value), NULL), WBCACHE_OK);
    }
}

/* What the cache says: "-" when the key is not there, "?" when it cannot say. */
static void get_key(struct beside *b, int i, char out[64])
{
    char key[16];
    int len = snprintf(key, sizeof key, "key:%d", i);
    void *value;
    size_t value_len;
    int code = wbcache_get(b->cache, key, (size_t)len, &value, &value_len, NULL);
    snprintf(out, 64, "%s", code == WBCACHE_OK ? (char *)value : code == WBCACHE_NOT_FOUND ? "-" : "?");
    if (code == WBCACHE_OK) {
        free(value);
    }
}

static unsigned keys_with(struct beside *b, const char *value)
{
    unsigned n = 0;
    for (int i = 0; i < KEYS; i++) {
        char is[64];
        get_key(b, i, is);
        n += strcmp(is, value) == 0;
    }
    return n;
}

struct expectation {
    struct beside *b;
    const char *value;
};

static bool all_are(struct cluster *c, void *data)
{
    (void)c;
    const struct expectation *e = data;
    return keys_with(e->b, e->value) == KEYS;
}

/* Every key is seen with this value soon. */
static void see(struct beside *b, const char *value)
{
    struct expectation e = {.b = b, .value = value};
    char what[96];
    snprintf(what, sizeof what, "all keys are read as \"%s\"", value);
    cluster_wait(b->cluster, what, SEEN_MS, all_are, &e);
    say("  all keys are read as \"%s\"", value);
}

static void flush(struct beside *b)
{
    assert_int_equal(wbcache_flush(b->cache), WBCACHE_OK);
}

static int64_t rows_with(struct beside *b, const char *value)
{
    return sql_number_or_fail(b->sql, "SELECT count(*) FROM wb.entry WHERE value = '%s'", value);
}

/* ---- What must be seen ---- */

static void changes_by_others_are_seen(void **state)
{
    struct beside b;
    begin_watching(&b, *state);
    say("rows that the cluster has just flushed, and still retains");
    set_keys(&b, "cache");
    flush(&b);
    assert_int_equal(keys_with(&b, "cache"), KEYS);
    sql_run_or_fail(b.sql, "UPDATE wb.entry SET value = 'updated' WHERE key LIKE 'key:%%'");
    see(&b, "updated");
    say("rows that it has read");
    sql_run_or_fail(
        b.sql, "UPDATE wb.entry SET value = 'again', version = version + 1 WHERE key LIKE 'key:%%'");
    see(&b, "again");
    sql_run_or_fail(b.sql, "DELETE FROM wb.entry WHERE key LIKE 'key:%%'");
    see(&b, "-");
    sql_run_or_fail(b.sql,
        "INSERT INTO wb.entry (key, value, version) SELECT convert_to('key:' || n, 'UTF8'), 'inserted', 1"
        " FROM generate_series(0, %d) AS n",
        KEYS - 1);
    see(&b, "inserted");
    sql_run_or_fail(b.sql, "TRUNCATE wb.entry");
    see(&b, "-");
    say("the cache goes on from what the others left");
    set_keys(&b, "cache");
    flush(&b);
    assert_int_equal(rows_with(&b, "cache"), KEYS);
    assert_int_equal(keys_with(&b, "cache"), KEYS);
    end(&b);
}

static void what_is_not_flushed_yet_wins(void **state)
{
    struct beside b;
    begin_watching(&b, *state);
    set_keys(&b, "old");
    flush(&b);
    say("the rows are locked by somebody else, so that the flush waits; then he changes them");
    sql_run_or_fail(b.sql, "BEGIN; SELECT FROM wb.entry FOR UPDATE");
    set_keys(&b, "cache");
    sql_run_or_fail(b.sql, "UPDATE wb.entry SET value = 'theirs' WHERE key LIKE 'key:%%'; COMMIT");
    assert_int_equal(keys_with(&b, "cache"), KEYS);
    flush(&b);
    assert_int_equal(rows_with(&b, "cache"), KEYS);
    assert_int_equal(keys_with(&b, "cache"), KEYS);
    end(&b);
}

/* Whatever the order in which flush and change commit, cache and database agree in the end. */
static void changes_in_the_middle_of_flushes_leave_cache_and_database_equal(void **state)
{
    struct beside b;
    begin_watching(&b, *state);
    set_keys(&b, "old");
    flush(&b);
    unsigned theirs = 0;
    for (unsigned round = 1; round <= b.scenario->options.rounds; round++) {
        char value[64];
        snprintf(value, sizeof value, "cache %u", round);
        set_keys(&b, value);
        pass_ms(scenario_random(b.scenario, 700)); /* anywhere in the flush's period */
        if (round % 4 == 0) {
            unsigned group = scenario_random(b.scenario, b.cluster->groups);
            unsigned node = cluster_leader(b.cluster, group);
            say("round %u: node %u, which leads group %u, is killed", round, node, group);
            cluster_kill(b.cluster, node);
        }
        sql_run_or_fail(b.sql, "UPDATE wb.entry SET value = 'theirs %u' WHERE key LIKE 'key:%%'", round);
        cluster_refresh(b.cluster);
        for (unsigned node = 1; node <= b.cluster->nodes; node++) {
            if (b.cluster->pids[node] == 0) {
                cluster_restart(b.cluster, node);
            }
        }
        cluster_wait_ready(b.cluster);
        flush(&b);
        cluster_wait_clean(b.cluster, SEEN_MS);
        for (int i = 0; i < KEYS; i++) {
            char row[64], is[64];
            sql_text_or_fail(b.sql, row, sizeof row,
                "SELECT convert_from(value, 'UTF8') FROM wb.entry WHERE key = 'key:%d'", i);
            unsigned tries = 0;
            for (get_key(&b, i, is); strcmp(row, is) != 0; get_key(&b, i, is)) {
                if (++tries > SEEN_MS / 20) {
                    fail_msg("round %u: key:%d is \"%s\" in the database and \"%s\" in the cache", round, i,
                        row, is);
                }
                pass_ms(20);
            }
            theirs += strncmp(row, "theirs", 6) == 0;
        }
    }
    say("  after %u rounds, %u of %u rows had been written last by somebody else", b.scenario->options.rounds,
        theirs, b.scenario->options.rounds * KEYS);
    end(&b);
}

/* ---- Lost connections, new leaders ---- */

static void what_changes_while_nobody_listens_is_seen_afterwards(void **state)
{
    struct beside b;
    begin_watching(&b, *state);
    set_keys(&b, "cache");
    flush(&b);
    assert_int_equal(keys_with(&b, "cache"), KEYS);
    say("the watchers' sessions are ended, and the rows changed, in one transaction");
    int64_t ended = sql_number_or_fail(b.sql, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                                              "WHERE application_name LIKE 'wbcache%%watch'");
    assert_int_equal(ended, b.cluster->nodes);
    sql_run_or_fail(b.sql, "UPDATE wb.entry SET value = 'meanwhile' WHERE key LIKE 'key:%%'");
    see(&b, "meanwhile");
    say("PostgreSQL is restarted, and the rows are changed before the nodes are back");
    PQfinish(b.sql);
    cluster_pg_restart(b.cluster, false);
    b.sql = sql_connect_or_fail(b.cluster->database);
    sql_run_or_fail(b.sql, "UPDATE wb.entry SET value = 'restarted' WHERE key LIKE 'key:%%'");
    see(&b, "restarted");
    end(&b);
}

static void a_new_leader_shows_no_copy_of_its_time_as_a_follower(void **state)
{
    struct beside b;
    begin_watching(&b, *state);
    const unsigned group = 0;
    unsigned leader = cluster_leader(b.cluster, group), behind = leader % b.cluster->nodes + 1;
    say("node %u, a follower of group %u, stands still while the cache writes and somebody else changes the "
        "rows",
        behind, group);
    cluster_pause(b.cluster, behind);
    set_keys(&b, "cache");
    flush(&b);
    sql_run_or_fail(b.sql, "UPDATE wb.entry SET value = 'theirs' WHERE key LIKE 'key:%%'");
    cluster_resume(b.cluster, behind);
    cluster_wait_caught_up(b.cluster, behind);
    for (unsigned node = 1; node <= b.cluster->nodes; node++) {
        if (node != behind) {
            say("node %u is killed", node);
            cluster_kill(b.cluster, node);
            see(&b, "theirs");
            cluster_restart(b.cluster, node);
        }
    }
    see(&b, "theirs");
    end(&b);
}

/* ---- Without ---- */

static void without_watching_nothing_is_promised(void **state)
{
    struct beside b;
    begin(&b, *state, &(struct cluster_options){0});
    set_keys(&b, "cache");
    flush(&b);
    assert_int_equal(keys_with(&b, "cache"), KEYS);
    sql_run_or_fail(b.sql, "SELECT wb.watch(true)"); /* it tells, but no node listens */
    sql_run_or_fail(b.sql, "UPDATE wb.entry SET value = 'unseen' WHERE key LIKE 'key:%%'");
    pass_ms(OTHERS_MS);
    assert_int_equal(keys_with(&b, "cache"), KEYS);
    static bool yes = true;
    assert_false(all_watch(b.cluster, &yes));
    assert_int_equal(
        sql_number_or_fail(
            b.sql, "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'wbcache%%watch'"),
        0);
    end(&b);
}

static void a_node_that_listens_to_nothing_says_so(void **state)
{
    struct beside b;
    begin(&b, *state, &(struct cluster_options){.settings = {"watch=true"}});
    static bool yes = true, no = false;
    assert_true(all_watch(b.cluster, &no));
    assert_true(cluster_log_find(
                    b.cluster, 1, 0, (const char *const[]){"watch-not-installed", "watch(true)", NULL}) >= 0);
    sql_run_or_fail(b.sql, "SELECT wb.watch(true)");
    cluster_wait(b.cluster, "every node hears of changes", SEEN_MS, all_watch, &yes);
    sql_run_or_fail(b.sql, "SELECT wb.watch(false)");
    cluster_wait(b.cluster, "no node hears of changes", SEEN_MS, all_watch, &no);
    end(&b);
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 8, 5);
    const struct CMUnitTest tests[] = {
        scenario_test(changes_by_others_are_seen, &options),
        scenario_test(what_is_not_flushed_yet_wins, &options),
        scenario_test(changes_in_the_middle_of_flushes_leave_cache_and_database_equal, &options),
        scenario_test(what_changes_while_nobody_listens_is_seen_afterwards, &options),
        scenario_test(a_new_leader_shows_no_copy_of_its_time_as_a_follower, &options),
        scenario_test(without_watching_nothing_is_promised, &options),
        scenario_test(a_node_that_listens_to_nothing_says_so, &options),
    };
    return cmocka_run_group_tests_name("watch", tests, NULL, NULL);
}
