/* Many more keys than memory_max holds: the nodes stay within it and what a process takes beside it, and
 * every key is there. Without PostgreSQL writes end in OVERLOADED at the budget; nothing that was
 * acknowledged is lost, and all of it drains when PostgreSQL is back.
 *
 * --keys N and --memory MIB make the long form: `bounded_test --keys 10000000 --memory 64`. */
#include "cluster-tests/scenario.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster-tests/asker.h"
#include "cluster-tests/filler.h"
#include "cluster-tests/sql.h"
#include "proto/base/alloc.h"
#include "proto/base/clock.h"

enum {
    VALUE_BYTES = 32,
    LARGE_VALUE_BYTES = 1000, /* the budget's bytes are full before its keys are */
    THREADS = 2,
    PIPELINE = 512,
    DEADLINE_MS = 60000, /* the library waits as it is told when the budget is full */
    SHORT_DEADLINE_MS = 1000,
    CLEAN_MS = 600000,
    SAMPLE_MS = 50,
    SAY_EVERY_MS = 10000,
    LITTLE_KEYS = 100,
    MIB = 1024 * 1024,
    PROCESS_BYTES = 28 * MIB,
};

/* What a process may take, with what memory_max does not count, see docs/operations.md:
 *  - the program, its libraries and buffers, the connections, and answers of the database;
 *  - the allocator's slack, a quarter;
 *  - for each group the log in memory, one and a half times snapshot_log_bytes, or the last snapshot's size
 * when that is more; and a snapshot that is being taken. A snapshot is as large as what waits for the
 * database. */
static uint64_t resident_max(uint64_t memory_max, unsigned groups, uint64_t dirty_max)
{
    uint64_t log = memory_max / (16 * groups);
    log = log < MIB ? MIB : log;
    uint64_t snapshot = dirty_max / groups;
    log = log < snapshot ? snapshot : log;
    return PROCESS_BYTES + memory_max + memory_max / 4 + groups * (log + log / 2 + snapshot);
}

struct bounded_options {
    struct scenario_options scenario;
    uint32_t keys;
    uint64_t memory_max;
};

/* The frame's scenario, and what this file has beside it. */
struct bounded {
    const struct bounded_options *options;
    struct scenario *scenario;
    struct filler *filler; /* both are created by the body, and destroyed at the end */
    struct filler *clean;
};

static int setup(void **state)
{
    struct bounded *b = xcalloc(1, sizeof *b);
    b->options = *state;
    void *scenario = (void *)(uintptr_t)&b->options->scenario;
    scenario_setup(&scenario);
    b->scenario = scenario;
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bounded *b = *state;
    filler_destroy(b->filler);
    filler_destroy(b->clean);
    void *scenario = b->scenario;
    free(b);
    return scenario_teardown(&scenario);
}

/* ---- Watching memory ---- */

struct watch {
    struct cluster *cluster;
    uint64_t memory_max;
    uint64_t begun_ms, said_ms, cache_asked_ms;
    uint64_t resident[CLUSTER_NODES_MAX + 1]; /* the highest, by node */
    uint64_t cache[CLUSTER_NODES_MAX + 1];    /* the highest of what the nodes count against memory_max */
};

static void watch_start(struct watch *w, struct scenario *s, uint64_t memory_max)
{
    *w = (struct watch){.cluster = &s->cluster, .memory_max = memory_max, .begun_ms = clock_boot_ms()};
    w->said_ms = w->begun_ms;
    for (unsigned node = 1; node <= s->cluster.nodes; node++) {
        w->resident[node] = process_resident_bytes(s->cluster.pids[node]);
    }
    say("  resident at the start: %" PRIu64 ", %" PRIu64 ", %" PRIu64 " KiB", w->resident[1] / 1024,
        w->resident[2] / 1024, w->resident[3] / 1024);
}

static void watch_look(struct watch *w)
{
    struct cluster *c = w->cluster;
    uint64_t now_ms = clock_boot_ms();
    for (unsigned node = 1; node <= c->nodes; node++) {
        uint64_t bytes = process_resident_bytes(c->pids[node]);
        assert_true(bytes > 0);
        w->resident[node] = bytes > w->resident[node] ? bytes : w->resident[node];
    }
    if (now_ms - w->cache_asked_ms >= 1000) {
        w->cache_asked_ms = now_ms;
        struct wbcache_status *status = cluster_status(c);
        for (unsigned node = 1; status != NULL && node <= c->nodes; node++) {
            const struct wbcache_node_status *n = cluster_node(status, node);
            if (n != NULL && n->cache_bytes > w->cache[node]) {
                w->cache[node] = n->cache_bytes;
            }
        }
        wbcache_status_free(status);
    }
}

/* @dirty_max: how many bytes may have waited for the database meanwhile, in all groups. */
static void watch_end(const struct watch *w, uint64_t dirty_max)
{
    uint64_t allowed = resident_max(w->memory_max, w->cluster->groups, dirty_max);
    for (unsigned node = 1; node <= w->cluster->nodes; node++) {
        say("  node %u: at most %" PRIu64 " KiB resident, %" PRIu64 " KiB counted; memory_max %" PRIu64
            " KiB, allowed %" PRIu64 " KiB",
            node, w->resident[node] / 1024, w->cache[node] / 1024, w->memory_max / 1024, allowed / 1024);
    }
    for (unsigned node = 1; node <= w->cluster->nodes; node++) {
        assert_in_range(w->resident[node], 1, allowed);
    }
}

/* Watch until the filler has ended. */
static struct filler_numbers watch_filler(struct watch *w, struct filler *f, const char *what)
{
    uint64_t begun_ms = clock_boot_ms();
    bool ended = false;
    while (!ended) {
        pass_ms(SAMPLE_MS);
        watch_look(w);
        uint64_t n = filler_progress(f, &ended);
        uint64_t now_ms = clock_boot_ms();
        if (now_ms - w->said_ms >= SAY_EVERY_MS) {
            w->said_ms = now_ms;
            say("  %" PRIu64 " keys %s; at most resident so far: %" PRIu64 ", %" PRIu64 ", %" PRIu64 " KiB",
                n, what, w->resident[1] / 1024, w->resident[2] / 1024, w->resident[3] / 1024);
        }
    }
    uint64_t took_ms = clock_boot_ms() - begun_ms;
    uint64_t n = filler_progress(f, NULL);
    say("  %" PRIu64 " keys %s in %" PRIu64 " ms: %" PRIu64 "/s", n, what, took_ms,
        n * 1000 / (took_ms == 0 ? 1 : took_ms));
    return filler_join(f);
}

/* ---- The cluster ---- */

static void start(struct scenario *s, uint64_t memory_max)
{
    char setting[64];
    snprintf(setting, sizeof setting, "limits.memory_max=%" PRIu64, memory_max);
    cluster_start(&s->cluster, &(struct cluster_options){.settings = {setting}});
}

static struct filler *make_filler(
    struct scenario *s, const char *prefix, uint32_t keys, unsigned value_bytes, unsigned deadline_ms)
{
    return filler_create(&(struct filler_config){.cluster = s->cluster.addresses,
        .prefix = prefix,
        .keys = keys,
        .value_bytes = value_bytes,
        .threads = THREADS,
        .pipeline = PIPELINE,
        .deadline_ms = deadline_ms});
}

struct sums {
    uint64_t evicted, loads, misses;              /* by all nodes since they were started */
    uint64_t entries, dirty_entries, dirty_bytes; /* in the leaders' memory */
};

static struct sums sums_of(struct cluster *c)
{
    struct sums sums = {0};
    cluster_wait_ready(c);
    struct wbcache_status *status = cluster_status(c);
    assert_non_null(status);
    for (unsigned group = 0; group < c->groups; group++) {
        const struct wbcache_group_status *leader = cluster_leader_of(status, group, NULL);
        assert_non_null(leader);
        sums.entries += leader->entries;
        sums.dirty_entries += leader->dirty_entries;
        sums.dirty_bytes += leader->dirty_bytes;
        for (unsigned node = 1; node <= c->nodes; node++) {
            const struct wbcache_group_status *g = cluster_group(status, node, group);
            assert_non_null(g);
            sums.evicted += g->evicted;
            sums.loads += g->loads;
            sums.misses += g->misses;
        }
    }
    wbcache_status_free(status);
    return sums;
}

static void expect_all_acknowledged(const struct filler_numbers *n, uint32_t keys)
{
    if (n->outcomes[FILLER_ACKNOWLEDGED] != keys) {
        fail_msg("%" PRIu64 " of %" PRIu32 " keys were acknowledged, %" PRIu64 " OVERLOADED, %" PRIu64
                 " refused, %" PRIu64 " unknown: %s",
            n->outcomes[FILLER_ACKNOWLEDGED], keys, n->outcomes[FILLER_OVERLOADED],
            n->outcomes[FILLER_REFUSED], n->outcomes[FILLER_UNKNOWN], n->error);
    }
}

static void expect_all_read(const struct filler_numbers *n)
{
    if (n->read != n->outcomes[FILLER_ACKNOWLEDGED] || n->missing + n->wrong + n->failed > 0) {
        fail_msg("of %" PRIu64 " acknowledged keys %" PRIu64 " were read back; %" PRIu64
                 " are missing, %" PRIu64 " wrong, %" PRIu64 " not answered: %s",
            n->outcomes[FILLER_ACKNOWLEDGED], n->read, n->missing, n->wrong, n->failed, n->error);
    }
}

/* ---- More keys than memory ---- */

static void more_keys_than_memory_holds_stay_readable(void **state)
{
    struct bounded *b = *state;
    struct scenario *s = b->scenario;
    const struct bounded_options *o = b->options;
    struct cluster *c = &s->cluster;
    start(s, o->memory_max);
    struct watch watch;
    watch_start(&watch, s, o->memory_max);
    struct filler *f = b->filler = make_filler(s, "key", o->keys, VALUE_BYTES, DEADLINE_MS);
    say("%" PRIu32 " keys with %d bytes each are written to nodes with memory_max %" PRIu64 " MiB", o->keys,
        VALUE_BYTES, o->memory_max / MIB);
    filler_write(f);
    struct filler_numbers n = watch_filler(&watch, f, "written");
    expect_all_acknowledged(&n, o->keys);
    cluster_wait_clean(c, CLEAN_MS);
    watch_look(&watch);
    struct sums before = sums_of(c);
    say("all is flushed; the leaders hold %" PRIu64 " of the keys; now all are read", before.entries);
    assert_true(before.entries < o->keys / 4 * 3 && before.evicted > 0);
    filler_read(f);
    n = watch_filler(&watch, f, "read");
    expect_all_read(&n);
    struct sums after = sums_of(c);
    say("  every key had its value; %" PRIu64 " misses in %" PRIu64 " SELECTs", after.misses - before.misses,
        after.loads - before.loads);
    assert_true(after.misses - before.misses >= o->keys / 2); /* the others were in memory */
    watch_end(&watch, 0);

    PGconn *conn = sql_connect_or_fail(c->database);
    assert_int_equal(sql_number_or_fail(conn, "SELECT count(*) FROM wb.entry"), o->keys);
    assert_int_equal(sql_number_or_fail(
                         conn, "SELECT count(*) FROM wb.entry WHERE value <> " FILLER_SQL_VALUE, VALUE_BYTES),
        0);
    PQfinish(conn);
    say("  PostgreSQL has every key with its value");
    s->passed = true;
}

/* ---- No database ---- */

struct row_check {
    struct filler *filler;
    uint64_t acknowledged, unknown; /* rows of such keys */
    uint64_t refused, wrong;
};

/* Keys of the filler only; rows come in the keys' order, and so do the numbers in names of one length. */
static void check_row(void *data, const struct sql_entry *entry)
{
    struct row_check *r = data;
    if (entry->key.len < 5 || memcmp(entry->key.data, "full:", 5) != 0) {
        return;
    }
    uint32_t key = (uint32_t)strtoul((const char *)entry->key.data + 5, NULL, 10);
    enum filler_outcome outcome = filler_outcome(r->filler, key);
    r->wrong += !filler_is_value(r->filler, key, entry->value.data, entry->value.len);
    r->acknowledged += outcome == FILLER_ACKNOWLEDGED;
    r->unknown += outcome == FILLER_UNKNOWN;
    r->refused += outcome == FILLER_OVERLOADED || outcome == FILLER_REFUSED;
}

static void expect_rows(struct cluster *c, struct filler *f, const struct filler_numbers *n)
{
    struct row_check r = {.filler = f};
    PGconn *conn = sql_connect_or_fail(c->database);
    assert_true(sql_entries(conn, check_row, &r));
    PQfinish(conn);
    say("  PostgreSQL has %" PRIu64 " of %" PRIu64 " acknowledged keys", r.acknowledged,
        n->outcomes[FILLER_ACKNOWLEDGED]);
    assert_int_equal(r.acknowledged, n->outcomes[FILLER_ACKNOWLEDGED]);
    assert_int_equal(r.wrong, 0);
    assert_int_equal(r.refused, 0); /* certainly not done means it */
}

/* A new key is refused by each group at once, and is told when to try again. */
static void expect_hints(struct cluster *c)
{
    for (unsigned group = 0; group < c->groups; group++) {
        struct asker asker;
        struct arena arena;
        char key[ASKER_KEY_BYTES];
        char *value = xcalloc(1, LARGE_VALUE_BYTES + 1);
        memset(value, 'x', LARGE_VALUE_BYTES);
        asker_init(&asker, c, group);
        arena_init(&arena);
        Wbrpc__Request *request = asker_set(&arena, asker_key(&asker, "new", key), value);
        const Wbrpc__Response *answer =
            raw_client_receive(&asker.client, asker_send(&asker, request), SHORT_DEADLINE_MS);
        assert_non_null(answer);
        assert_int_equal(answer->status, WBCACHE_OVERLOADED);
        assert_true(answer->has_retry_after_ms && answer->retry_after_ms > 0);
        say("  group %u: OVERLOADED, retry after %u ms: %s", group, (unsigned)answer->retry_after_ms,
            answer->message == NULL ? "" : answer->message);
        asker_deinit(&asker);
        arena_deinit(&arena);
        free(value);
    }
}

static struct wbcache *open_or_fail(struct cluster *c)
{
    struct wbcache *cache = NULL;
    assert_int_equal(
        wbcache_open(&cache, c->addresses, &(struct wbcache_options){.deadline_ms = 10000}), WBCACHE_OK);
    return cache;
}

static size_t little_key(unsigned i, char out[FILLER_KEY_BYTES])
{
    return (size_t)snprintf(out, FILLER_KEY_BYTES, "little:%u", i);
}

/* Some keys that wait for the database too: the even ones are to be deleted at the full budget, the odd ones
 * to be written over. */
static void write_little_keys(struct cluster *c)
{
    struct wbcache *cache = open_or_fail(c);
    for (unsigned i = 0; i < LITTLE_KEYS; i++) {
        char key[FILLER_KEY_BYTES];
        size_t len = little_key(i, key);
        assert_int_equal(wbcache_set(cache, key, len, "first", 5, NULL), WBCACHE_OK);
    }
    wbcache_close(cache);
}

static void what_needs_no_room_goes_on(struct cluster *c)
{
    struct wbcache *cache = open_or_fail(c);
    for (unsigned i = 0; i < LITTLE_KEYS; i++) {
        char key[FILLER_KEY_BYTES];
        size_t len = little_key(i, key);
        bool existed = false;
        int code = i % 2 == 0 ? wbcache_del(cache, key, len, &existed)
                              : wbcache_set(cache, key, len, "later", 5, NULL);
        if (code != WBCACHE_OK) {
            fail_msg("%s of a dirty key: %s", i % 2 == 0 ? "delete" : "overwrite", wbcache_errmsg(cache));
        }
        assert_true(i % 2 == 1 || existed);
    }
    wbcache_close(cache);
}

static void a_full_budget_without_a_database_loses_nothing(void **state)
{
    struct bounded *b = *state;
    struct scenario *s = b->scenario;
    const struct bounded_options *o = b->options;
    struct cluster *c = &s->cluster;
    start(s, o->memory_max);
    struct watch watch;
    watch_start(&watch, s, o->memory_max);
    /* Memory is full of keys that the database has, which have to make room. */
    uint32_t clean_keys = (uint32_t)(o->memory_max / LARGE_VALUE_BYTES);
    b->clean = make_filler(s, "clean", clean_keys, LARGE_VALUE_BYTES, DEADLINE_MS);
    filler_write(b->clean);
    struct filler_numbers n = watch_filler(&watch, b->clean, "written");
    expect_all_acknowledged(&n, clean_keys);
    cluster_wait_clean(c, CLEAN_MS);
    say("PostgreSQL is stopped; writes go on to the budget and beyond it");
    cluster_pg_stop(c, false);
    write_little_keys(c);
    /* Half of memory_max may wait for the database; so here is half as much again. */
    uint32_t keys = (uint32_t)(o->memory_max / 4 * 3 / LARGE_VALUE_BYTES);
    struct filler *f = b->filler = make_filler(s, "full", keys, LARGE_VALUE_BYTES, SHORT_DEADLINE_MS);
    filler_write(f);
    n = watch_filler(&watch, f, "tried");
    struct sums full = sums_of(c);
    say("  %" PRIu64 " acknowledged, %" PRIu64 " OVERLOADED, %" PRIu64 " otherwise refused, %" PRIu64
        " unknown; dirty: %" PRIu64 " keys, %" PRIu64 " KiB",
        n.outcomes[FILLER_ACKNOWLEDGED], n.outcomes[FILLER_OVERLOADED], n.outcomes[FILLER_REFUSED],
        n.outcomes[FILLER_UNKNOWN], full.dirty_entries, full.dirty_bytes / 1024);
    assert_true(n.outcomes[FILLER_OVERLOADED] > keys / 10);
    /* On a slow machine a deadline may end a call before it has heard of the budget. */
    assert_true(n.outcomes[FILLER_REFUSED] + n.outcomes[FILLER_UNKNOWN] < n.outcomes[FILLER_OVERLOADED] / 10);
    assert_in_range(full.dirty_bytes, o->memory_max / 4, o->memory_max / 2);
    expect_hints(c);

    say("what was acknowledged is read, and what needs no room goes on");
    filler_read(f);
    struct filler_numbers read = watch_filler(&watch, f, "read");
    expect_all_read(&read);
    what_needs_no_room_goes_on(c);
    struct wbcache *cache = open_or_fail(c);
    void *value = NULL;
    size_t len;
    assert_int_equal(wbcache_get(cache, "nowhere", 7, &value, &len, NULL), WBCACHE_DATABASE_DOWN);
    watch_look(&watch);

    say("PostgreSQL is started again");
    cluster_pg_start(c);
    cluster_wait_clean(c, CLEAN_MS);
    say("  all has drained");
    watch_look(&watch);
    watch_end(&watch, o->memory_max / 2);
    expect_rows(c, f, &n);
    PGconn *conn = sql_connect_or_fail(c->database);
    assert_int_equal(sql_number_or_fail(conn, "SELECT count(*) FROM wb.entry WHERE key LIKE 'little:%%'"),
        LITTLE_KEYS / 2);
    assert_int_equal(
        sql_number_or_fail(conn, "SELECT count(*) FROM wb.entry WHERE value = 'later'"), LITTLE_KEYS / 2);
    PQfinish(conn);

    say("what was refused is written now");
    wbcache_close(cache);
    for (unsigned round = 0; round < 3 && n.outcomes[FILLER_ACKNOWLEDGED] < keys; round++) {
        filler_write(f);
        n = watch_filler(&watch, f, "written");
    }
    expect_all_acknowledged(&n, keys);
    s->passed = true;
}

/* The options of this scenario alone, taken out of the arguments. */
static uint64_t take_number(int *argc, char **argv, const char *name, uint64_t otherwise)
{
    for (int i = 1; i + 1 < *argc; i++) {
        if (strcmp(argv[i], name) == 0) {
            otherwise = strtoull(argv[i + 1], NULL, 10);
            memmove(&argv[i], &argv[i + 2], (size_t)(*argc - i - 1) * sizeof *argv);
            *argc -= 2;
        }
    }
    return otherwise;
}

int main(int argc, char **argv)
{
    struct bounded_options options;
    options.memory_max = take_number(&argc, argv, "--memory", 16) * MIB;
    /* By default about four times what memory holds. */
    options.keys = (uint32_t)take_number(&argc, argv, "--keys", options.memory_max / 56);
    scenario_options(&options.scenario, argc, argv, 0, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate_setup_teardown(
            more_keys_than_memory_holds_stay_readable, setup, teardown, &options),
        cmocka_unit_test_prestate_setup_teardown(
            a_full_budget_without_a_database_loses_nothing, setup, teardown, &options),
    };
    return cmocka_run_group_tests_name("bounded", tests, NULL, NULL);
}
