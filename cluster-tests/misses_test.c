/* Reading through: ten thousand readers of one key that is not in memory cost PostgreSQL one SELECT, ten
 * thousand different misses cost a few. The nodes' counters say so, and PostgreSQL's log is the second
 * witness. What was evicted comes back with its version, or not at all when its time has passed. */
#include "cluster-tests/scenario.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster-tests/asker.h"
#include "cluster-tests/filler.h"
#include "cluster-tests/pinned.h"
#include "cluster-tests/sql.h"
#include "proto/base/clock.h"
#include "proto/slot.h"

enum {
    CONNECTIONS = 100,
    PER_CONNECTION = 100,
    READERS = CONNECTIONS * PER_CONNECTION,
    SELECTS_MAX = READERS / 50,
    DEADLINE_MS = 30000,
    VERSION = 7, /* of rows that SQL put into the table */
    FILL_KEYS = 200000,
    FILL_MS = 120000,
    WITNESSES = 50,
    EXPIRE_FIRST_S = 8,
    EXPIRE_MAX_S = 128,
    SWEPT_MS = 15000,
};

/* ---- PostgreSQL's log ---- */

/* From now on it tells of every statement, without parameters. */
static void log_statements(struct cluster *c, PGconn *conn)
{
    long place = cluster_log_place(c, 0);
    sql_run_or_fail(conn, "ALTER SYSTEM SET log_statement = 'all'");
    sql_run_or_fail(conn, "ALTER SYSTEM SET log_parameter_max_length = 0");
    sql_run_or_fail(conn, "SELECT pg_reload_conf()");
    /* Every session has its own moment for that: a miss that is logged shows that the loaders' have had
     * theirs. */
    struct wbcache *cache = NULL;
    assert_int_equal(wbcache_open(&cache, c->addresses, NULL), WBCACHE_OK);
    for (unsigned group = 0; group < c->groups; group++) {
        struct asker asker;
        asker_init(&asker, c, group);
        for (unsigned try = 0;; try++) {
            char name[32];
            char key[ASKER_KEY_BYTES];
            snprintf(name, sizeof name, "absent:%u", try);
            asker_key(&asker, name, key);
            void *value;
            size_t len;
            assert_int_equal(wbcache_get(cache, key, strlen(key), &value, &len, NULL), WBCACHE_NOT_FOUND);
            long found = cluster_log_find(c, 0, place, (const char *const[]){"execute", "e.key = ANY", NULL});
            if (found >= 0) {
                place = cluster_log_place(c, 0);
                break;
            }
            assert_true(try < 200);
            pass_ms(20);
        }
        asker_deinit(&asker);
    }
    wbcache_close(cache);
}

/* Loads that it was asked for since @place. */
static unsigned logged_loads(struct cluster *c, long place)
{
    char path[192];
    snprintf(path, sizeof path, "%s/pg.log", c->dir);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    fseek(f, place, SEEK_SET);
    unsigned n = 0;
    char line[4096];
    while (fgets(line, sizeof line, f) != NULL) {
        n += strstr(line, "execute ") != NULL && strstr(line, "e.key = ANY") != NULL;
    }
    fclose(f);
    return n;
}

/* ---- The nodes' counters ---- */

struct counts {
    uint64_t loads, misses, evicted;
};

/* Of all groups' leaders, or of @group's alone (>= 0). */
static struct counts counts_of(struct cluster *c, int group)
{
    struct counts n = {0};
    cluster_wait_ready(c);
    struct wbcache_status *status = cluster_status(c);
    assert_non_null(status);
    for (unsigned i = 0; i < c->groups; i++) {
        const struct wbcache_group_status *g = cluster_leader_of(status, i, NULL);
        assert_non_null(g);
        if (group < 0 || i == (unsigned)group) {
            n.loads += g->loads;
            n.misses += g->misses;
            n.evicted += g->evicted;
        }
    }
    wbcache_status_free(status);
    return n;
}

/* ---- Many connections ---- */

struct crowd {
    struct pinned *connections[CONNECTIONS];
    unsigned groups;
};

/* Connection i goes to the leader of group i % groups, or all to @group's (>= 0). */
static void crowd_open(struct crowd *crowd, struct cluster *c, int group)
{
    crowd->groups = c->groups;
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        char address[ASKER_KEY_BYTES];
        asker_address(c, cluster_leader(c, group < 0 ? i % c->groups : (unsigned)group), address);
        crowd->connections[i] = pinned_open(address);
        assert_non_null(crowd->connections[i]);
    }
}

static uint64_t crowd_waiting(const struct crowd *crowd)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        n += pinned_waiting(crowd->connections[i]);
    }
    return n;
}

static void crowd_turn(struct crowd *crowd)
{
    assert_true(pinned_turn(crowd->connections, CONNECTIONS, 20));
}

/* Until all are answered: each one with its row. */
static void crowd_finish(struct crowd *crowd)
{
    uint64_t until_ms = clock_boot_ms() + DEADLINE_MS;
    while (crowd_waiting(crowd) > 0) {
        assert_true(clock_boot_ms() < until_ms);
        crowd_turn(crowd);
    }
    struct pinned_numbers sum = {0};
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        struct pinned_numbers n = pinned_numbers(crowd->connections[i]);
        sum.asked += n.asked;
        sum.ok += n.ok;
        sum.refused += n.refused;
        sum.old += n.old;
        pinned_close(crowd->connections[i]);
    }
    say("  %" PRIu64 " reads: %" PRIu64 " have the row, %" PRIu64 " were answered otherwise", sum.asked,
        sum.ok - sum.old, sum.refused + sum.old);
    assert_int_equal(sum.asked, READERS);
    assert_int_equal(sum.ok, READERS);
    assert_int_equal(sum.old, 0);
}

/* ---- Single flight ---- */

static void ask_for_one_key(struct scenario *s, PGconn *conn, const char *name, bool held)
{
    struct cluster *c = &s->cluster;
    const unsigned group = 1;
    struct asker asker;
    char key[ASKER_KEY_BYTES];
    asker_init(&asker, c, group);
    asker_key(&asker, name, key);
    sql_run_or_fail(
        conn, "INSERT INTO wb.entry (key, value, version) VALUES ('%s', 'from the table', %d)", key, VERSION);
    struct crowd crowd;
    crowd_open(&crowd, c, (int)group);
    struct counts before = counts_of(c, (int)group);
    long place = cluster_log_place(c, 0);
    say("%d readers of one key%s", READERS, held ? ", while PostgreSQL answers nobody" : "");
    if (held) {
        sql_run_or_fail(conn, "BEGIN; LOCK TABLE wb.entry IN ACCESS EXCLUSIVE MODE");
    }
    for (unsigned i = 0; i < READERS; i++) {
        pinned_get(crowd.connections[i % CONNECTIONS], bytes_from_text(key), DEADLINE_MS, VERSION);
    }
    if (held) {
        uint64_t until_ms = clock_boot_ms() + DEADLINE_MS / 2;
        while (counts_of(c, (int)group).misses < before.misses + READERS) {
            assert_true(clock_boot_ms() < until_ms);
            crowd_turn(&crowd);
        }
        assert_int_equal(crowd_waiting(&crowd), READERS);
        say("  all of them wait; now PostgreSQL answers");
        sql_run_or_fail(conn, "ROLLBACK");
    }
    crowd_finish(&crowd);
    struct counts after = counts_of(c, (int)group);
    unsigned logged = logged_loads(c, place);
    say("  %" PRIu64 " misses, %" PRIu64 " SELECT by the node's counter, %u in PostgreSQL's log",
        after.misses - before.misses, after.loads - before.loads, logged);
    assert_int_equal(after.loads - before.loads, 1);
    assert_int_equal(logged, 1);
    asker_deinit(&asker);
}

static void ten_thousand_readers_of_a_missing_key_are_one_select(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    cluster_start(
        c, &(struct cluster_options){.settings = {"raft.spread_stable_ms=0", "flush.lock_timeout_ms=60000"}});
    PGconn *conn = sql_connect_or_fail(c->database);
    log_statements(c, conn);
    ask_for_one_key(s, conn, "held", true);
    ask_for_one_key(s, conn, "free", false);
    PQfinish(conn);
    s->passed = true;
}

static void a_storm_of_different_misses_is_few_selects(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    cluster_start(c, &(struct cluster_options){.settings = {"raft.spread_stable_ms=0"}});
    PGconn *conn = sql_connect_or_fail(c->database);
    log_statements(c, conn);
    sql_run_or_fail(conn,
        "INSERT INTO wb.entry (key, value, version) SELECT convert_to('storm:' || n, 'UTF8'), 'row', %d"
        " FROM generate_series(0, %d) AS n",
        VERSION, READERS - 1);
    struct crowd crowd;
    crowd_open(&crowd, c, -1);
    struct counts before = counts_of(c, -1);
    long place = cluster_log_place(c, 0);
    say("%d reads of different keys", READERS);
    unsigned turns[LOAD_GROUPS_MAX] = {0}; /* by group: which of its connections is next */
    for (unsigned i = 0; i < READERS; i++) {
        char key[32];
        snprintf(key, sizeof key, "storm:%u", i);
        unsigned group = slot_group(slot_of(bytes_from_text(key)), c->groups);
        unsigned connections = (CONNECTIONS - group + c->groups - 1) / c->groups;
        struct pinned *p = crowd.connections[group + c->groups * (turns[group]++ % connections)];
        pinned_get(p, bytes_from_text(key), DEADLINE_MS, VERSION);
    }
    crowd_finish(&crowd);
    struct counts after = counts_of(c, -1);
    unsigned logged = logged_loads(c, place);
    say("  %" PRIu64 " misses, %" PRIu64 " SELECTs by the nodes' counters, %u in PostgreSQL's log",
        after.misses - before.misses, after.loads - before.loads, logged);
    assert_int_equal(after.misses - before.misses, READERS);
    assert_in_range(after.loads - before.loads, 1, SELECTS_MAX);
    assert_in_range(logged, 1, SELECTS_MAX);
    PQfinish(conn);
    s->passed = true;
}

/* ---- What was evicted ---- */

struct pressure {
    struct scenario *scenario;
    struct wbcache *cache;
    unsigned fills;
};

/* How many keys that begin with @prefix are in their leaders' memory. Looking changes nothing. */
static unsigned in_memory(struct wbcache *cache, const char *prefix)
{
    struct wbcache_scan scan = {.prefix = prefix, .prefix_len = strlen(prefix), .count = 20000};
    unsigned n = 0;
    while (!scan.done) {
        assert_int_equal(wbcache_scan(cache, &scan), WBCACHE_OK);
        n += (unsigned)scan.n;
    }
    return n;
}

/* Write other keys until none of @prefix is in memory. */
static void push_out(struct pressure *p, const char *prefix)
{
    uint64_t until_ms = clock_boot_ms() + FILL_MS;
    do {
        assert_true(clock_boot_ms() < until_ms);
        char name[16];
        snprintf(name, sizeof name, "fill%u", p->fills++);
        struct filler *f = filler_create(&(struct filler_config){.cluster = p->scenario->cluster.addresses,
            .prefix = name,
            .keys = FILL_KEYS,
            .value_bytes = 32,
            .threads = 2,
            .pipeline = 512,
            .deadline_ms = DEADLINE_MS});
        filler_write(f);
        struct filler_numbers n = filler_join(f);
        filler_destroy(f);
        assert_int_equal(n.outcomes[FILLER_ACKNOWLEDGED], FILL_KEYS);
    } while (in_memory(p->cache, prefix) > 0);
}

static size_t witness(const char *prefix, unsigned i, char out[FILLER_KEY_BYTES])
{
    return (size_t)snprintf(out, FILLER_KEY_BYTES, "%s%u", prefix, i);
}

static struct wbcache_result set_witness(
    struct pressure *p, const char *prefix, unsigned i, const char *value, const struct wbcache_op *options)
{
    char key[FILLER_KEY_BYTES];
    struct wbcache_op op = *options;
    op.kind = WBCACHE_OP_SET;
    op.key = key;
    op.key_len = witness(prefix, i, key);
    op.value = value;
    op.value_len = strlen(value);
    struct wbcache_result result;
    wbcache_do(p->cache, &op, &result);
    return result;
}

static void start_small(struct scenario *s, struct pressure *p)
{
    cluster_start(
        &s->cluster, &(struct cluster_options){.settings = {"limits.memory_max=16777216",
                                                   "raft.spread_stable_ms=0", "flush.expiry_sweep_ms=1000"}});
    *p = (struct pressure){.scenario = s};
    const struct wbcache_options options = {.deadline_ms = DEADLINE_MS};
    assert_int_equal(wbcache_open(&p->cache, s->cluster.addresses, &options), WBCACHE_OK);
}

static void what_was_evicted_keeps_its_version(void **state)
{
    struct scenario *s = *state;
    struct pressure p;
    start_small(s, &p);
    uint64_t versions[WITNESSES];
    for (unsigned i = 0; i < WITNESSES; i++) {
        struct wbcache_result r = set_witness(&p, "kept:", i, "before", &(struct wbcache_op){0});
        assert_int_equal(r.code, WBCACHE_OK);
        versions[i] = r.version;
    }
    assert_int_equal(in_memory(p.cache, "kept:"), WITNESSES);
    push_out(&p, "kept:");
    say("%d keys were evicted; now they are written with the version that they had", WITNESSES);
    struct counts before = counts_of(&s->cluster, -1);
    for (unsigned i = 0; i < WITNESSES; i++) {
        struct wbcache_op wrong = {.condition = WBCACHE_IF_VERSION, .if_version = versions[i] + 1};
        struct wbcache_op right = {.condition = WBCACHE_IF_VERSION, .if_version = versions[i]};
        /* The refusal loads the key; for the even ones it is the write itself that does. */
        if (i % 2 == 1) {
            struct wbcache_result r = set_witness(&p, "kept:", i, "never", &wrong);
            assert_int_equal(r.code, WBCACHE_CONDITION_FAILED);
            assert_true(r.found && r.version == versions[i]);
        }
        struct wbcache_result r = set_witness(&p, "kept:", i, "after", &right);
        assert_int_equal(r.code, WBCACHE_OK);
        assert_true(r.version > versions[i]);
        assert_int_equal(set_witness(&p, "kept:", i, "never", &right).code, WBCACHE_CONDITION_FAILED);
    }
    struct counts after = counts_of(&s->cluster, -1);
    say("  that worked; %" PRIu64 " SELECTs brought them back", after.loads - before.loads);
    assert_in_range(after.loads - before.loads, 1, WITNESSES);
    assert_int_equal(wbcache_flush(p.cache), WBCACHE_OK);
    PGconn *conn = sql_connect_or_fail(s->cluster.database);
    assert_int_equal(sql_number_or_fail(
                         conn, "SELECT count(*) FROM wb.entry WHERE key LIKE 'kept:%%' AND value = 'after'"),
        WITNESSES);
    PQfinish(conn);
    wbcache_close(p.cache);
    s->passed = true;
}

static bool all_swept(struct cluster *c, void *data)
{
    (void)c;
    return sql_number_or_fail(data, "SELECT count(*) FROM wb.entry WHERE key LIKE 'brief%%'") == 0;
}

static void what_was_evicted_expires_all_the_same(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    struct pressure p;
    start_small(s, &p);
    PGconn *conn = sql_connect_or_fail(c->database);
    char prefix[16];
    uint64_t expires_ms = 0;
    /* They have to be out of memory well before their time: on a slow machine they are given more of it. */
    for (unsigned seconds = EXPIRE_FIRST_S; clock_boot_ms() + 2000 >= expires_ms; seconds *= 2) {
        assert_true(seconds <= EXPIRE_MAX_S);
        snprintf(prefix, sizeof prefix, "brief%u:", seconds);
        expires_ms = clock_boot_ms() + seconds * 1000;
        for (unsigned i = 0; i < WITNESSES; i++) {
            struct wbcache_op op = {.expire_after_ms = seconds * 1000};
            assert_int_equal(set_witness(&p, prefix, i, "short", &op).code, WBCACHE_OK);
        }
        push_out(&p, prefix);
        say("%d keys that live for %u s are evicted after %" PRIu64 " ms", WITNESSES, seconds,
            clock_boot_ms() + seconds * 1000 - expires_ms);
    }
    assert_int_equal(
        sql_number_or_fail(conn,
            "SELECT count(*) FROM wb.entry WHERE key LIKE '%s%%' AND expires_at > clock_timestamp()", prefix),
        WITNESSES);
    /* One of them is read before its time: it comes back with what is left of that. */
    char key[FILLER_KEY_BYTES];
    const struct wbcache_op inspect = {
        .kind = WBCACHE_OP_INSPECT, .key = key, .key_len = witness(prefix, 0, key)};
    struct wbcache_result r;
    assert_int_equal(wbcache_do(p.cache, &inspect, &r), WBCACHE_OK);
    assert_true(r.found && r.ttl_ms > 0 && r.ttl_ms <= EXPIRE_MAX_S * 1000);
    say("  one that is asked for has %" PRIu64 " ms left", r.ttl_ms);
    uint64_t now_ms = clock_boot_ms();
    pass_ms(expires_ms > now_ms ? (unsigned)(expires_ms - now_ms) + 100 : 100);
    /* The first few are asked for, the others nobody touches. */
    for (unsigned i = 0; i < WITNESSES / 5; i++) {
        size_t len = witness(prefix, i, key);
        void *value;
        size_t value_len;
        assert_int_equal(wbcache_get(p.cache, key, len, &value, &value_len, NULL), WBCACHE_NOT_FOUND);
    }
    cluster_wait(c, "the rows of all expired keys are deleted", SWEPT_MS, all_swept, conn);
    say("  they are gone; the last row was deleted %" PRIu64 " ms after its time",
        clock_boot_ms() - expires_ms);
    PQfinish(conn);
    wbcache_close(p.cache);
    s->passed = true;
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 0, 0);
    const struct CMUnitTest tests[] = {
        scenario_test(ten_thousand_readers_of_a_missing_key_are_one_select, &options),
        scenario_test(a_storm_of_different_misses_is_few_selects, &options),
        scenario_test(what_was_evicted_keeps_its_version, &options),
        scenario_test(what_was_evicted_expires_all_the_same, &options),
    };
    return cmocka_run_group_tests_name("misses", tests, NULL, NULL);
}
