/* The wire to PostgreSQL is cut behind each byte of one flush's exchange in turn, in both directions: the
 * flush may have committed or not, and the node cannot know. After every cut the rows are in the database
 * exactly once, and `flushed` was answered only for what was there. */
#include "cluster-tests/scenario.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster-tests/pg_cutter.h"
#include "cluster-tests/program.h"
#include "cluster-tests/sql.h"
#include "proto/base/clock.h"
#include "proto/slot.h"

enum {
    ROWS = 4,
    NAME_BYTES = 48,
    VALUE_BYTES = 48,
    WAIT_MS = 30000,
    DEADLINE_MS = 30000,
    LEARNING_ROUNDS = 4,
    SHOW_EVERY = 25, /* rounds */
};

/* From one cut to the next, so many bytes further on; 0: as --rounds says. */
static unsigned cut_every;

/* One row that is written, and what came of it. */
struct row {
    char name[NAME_BYTES];
    char value[VALUE_BYTES];
    bool bad; /* the database is to refuse it */
    uint64_t version;
};

struct cut {
    struct scenario *scenario;
    struct cluster *cluster; /* behind the cutter */
    struct pg_cutter *cutter;
    PGconn *conn; /* not through the cutter */
    struct wbcache *cache;
    unsigned group;
    bool isolating;
    uint64_t round;
    uint16_t port;      /* of the group's flush connection; see find_port */
    uint64_t seen[2];   /* bytes of the last exchange, by enum pg_test_side */
    uint64_t length[2]; /* of the longest that was not cut */
    uint64_t struck, passed;
};

/* ---- the stage ---- */

/* The first cluster gives its PostgreSQL, and its nodes go; the second one is behind the cutter. */
static void start_behind_a_cutter(struct cut *t, struct scenario *s, bool isolating)
{
    *t = (struct cut){.scenario = s, .cluster = &s->other, .isolating = isolating};
    cluster_start(&s->cluster, &(struct cluster_options){.no_wait = true});
    for (unsigned node = 1; node <= s->cluster.nodes; node++) {
        cluster_stop_node(&s->cluster, node);
    }
    PGconn *conn = sql_connect_or_fail(s->cluster.database);
    sql_run_or_fail(conn, "CREATE DATABASE behind");
    t->cutter = pg_cutter_start((uint16_t)strtoul(PQport(conn), NULL, 10));
    assert_non_null(t->cutter);
    PQfinish(conn);
    char dsn[700];
    snprintf(dsn, sizeof dsn, "%s port=%u dbname=behind", s->cluster.database, pg_cutter_port(t->cutter));
    /* Nothing but the flush of this test's writes is to be on the wire: no heartbeat, no retry of refused
     * rows. */
    cluster_start(
        &s->other, &(struct cluster_options){.database = dsn,
                       .settings = {"flush.age_ms=20", "flush.note_ms=60000", "flush.retry_min_ms=10",
                           "flush.retry_max_ms=100", "flush.quarantine_retry_min_ms=3600000",
                           "flush.quarantine_retry_max_ms=3600000", "raft.spread_stable_ms=0"}});
    char direct[700];
    sql_other_database(s->cluster.database, "behind", direct, sizeof direct);
    t->conn = sql_connect_or_fail(direct);
    /* Commits are counted: a version that is committed twice was flushed twice. */
    sql_run_or_fail(t->conn,
        "CREATE TABLE public.written (key bytea, version bigint);"
        "CREATE INDEX ON public.written (version);"
        "CREATE FUNCTION public.count_it() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
        " INSERT INTO public.written VALUES (NEW.key, NEW.version); RETURN NULL; END$$;"
        "CREATE TRIGGER count_it AFTER INSERT OR UPDATE ON wb.entry"
        " FOR EACH ROW EXECUTE FUNCTION public.count_it();"
        "ALTER TABLE wb.entry ADD CONSTRAINT no_bad_values CHECK (pg_catalog.substr(value, 1, 3) <> 'bad')");
    const struct wbcache_options options = {.deadline_ms = DEADLINE_MS};
    assert_int_equal(wbcache_open(&t->cache, t->cluster->addresses, &options), WBCACHE_OK);
    t->group = slot_group(slot_of(bytes_from_text("{cut}")), t->cluster->groups);
}

static void leave(struct cut *t)
{
    wbcache_close(t->cache);
    PQfinish(t->conn);
    cluster_end(t->cluster, t->scenario->options.keep);
    pg_cutter_stop(t->cutter);
}

/* ---- writing, and what must be seen ---- */

/* A number for a row; the format's arguments are its name, its value and its version. */
static bool in_entry(struct cut *t, const struct row *r)
{
    return sql_number_or_fail(t->conn,
               "SELECT count(*) FROM wb.entry WHERE key = '%s' AND value = '%s' AND version = %" PRIu64,
               r->name, r->value, r->version) == 1;
}

/* Write @rows in one request, each until it is flushed or refused. What is answered must be there at once:
 * that is what `flushed` means. */
static void write_flushed(struct cut *t, struct row *rows, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const struct wbcache_op op = {.kind = WBCACHE_OP_SET,
            .key = rows[i].name,
            .key_len = strlen(rows[i].name),
            .value = rows[i].value,
            .value_len = strlen(rows[i].value),
            .level = WBCACHE_FLUSHED};
        assert_int_equal(wbcache_send(t->cache, &op, &rows[i]), WBCACHE_OK);
    }
    uint64_t until_ms = clock_boot_ms() + DEADLINE_MS + WAIT_MS;
    for (unsigned answered = 0; answered < n;) {
        struct wbcache_reply reply;
        assert_true(clock_boot_ms() < until_ms);
        if (wbcache_receive(t->cache, &reply, 100) != WBCACHE_OK) {
            continue;
        }
        struct row *r = reply.tag;
        int expected = r->bad ? WBCACHE_QUARANTINED : WBCACHE_OK;
        if (reply.result.code != expected) {
            fail_msg("round %" PRIu64 ": the write of %s came to %s, not %s", t->round, r->name,
                wbcache_code_name(reply.result.code), wbcache_code_name(expected));
        }
        r->version = reply.result.version;
        if (!r->bad && !in_entry(t, r)) {
            fail_msg("round %" PRIu64 ": %s was answered as flushed, but version %" PRIu64
                     " is not in the table",
                t->round, r->name, r->version);
        }
        answered++;
    }
}

static struct row good_row(const struct cut *t, unsigned i)
{
    struct row r = {.bad = false};
    snprintf(r.name, sizeof r.name, "{cut}:%u", i);
    snprintf(r.value, sizeof r.value, "round %" PRIu64 " row %u", t->round, i);
    return r;
}

static struct row bad_row(const struct cut *t, const char *what)
{
    struct row r = {.bad = true};
    snprintf(r.name, sizeof r.name, "{cut}:%s:%" PRIu64, what, t->round);
    snprintf(r.value, sizeof r.value, "bad in round %" PRIu64, t->round);
    return r;
}

/* The group's flush connection has nothing to do, and this is its port. */
static bool find_port(struct cluster *c, void *data)
{
    (void)c;
    struct cut *t = data;
    t->port = (uint16_t)sql_number_or_fail(t->conn,
        "SELECT client_port FROM pg_stat_activity WHERE datname = 'behind' AND state = 'idle' AND"
        " application_name || ' ' LIKE '%%group=%u %%' ORDER BY backend_start DESC LIMIT 1",
        t->group);
    return t->port > 0;
}

struct in_quarantine {
    struct cut *cut;
    const struct row *row;
};

static bool is_in_quarantine(struct cluster *c, void *data)
{
    (void)c;
    const struct in_quarantine *q = data;
    return sql_number_or_fail(q->cut->conn,
               "SELECT count(*) FROM wb.quarantine WHERE key = '%s' AND value = '%s' AND version = %" PRIu64
               " AND sqlstate = '23514' AND message LIKE '%%no_bad_values%%'",
               q->row->name, q->row->value, q->row->version) == 1;
}

static void await_in_quarantine(struct cut *t, const struct row *row)
{
    struct in_quarantine q = {.cut = t, .row = row};
    cluster_wait(t->cluster, "the refused row is in wb.quarantine", WAIT_MS, is_in_quarantine, &q);
    assert_int_equal(
        sql_number_or_fail(t->conn, "SELECT count(*) FROM wb.entry WHERE key = '%s'", row->name), 0);
}

static void expect_written_once(struct cut *t, const struct row *r)
{
    int64_t times = sql_number_or_fail(t->conn,
        "SELECT count(*) FROM public.written WHERE key = '%s' AND version = %" PRIu64, r->name, r->version);
    if (times != 1 || !in_entry(t, r)) {
        fail_msg("round %" PRIu64 ": version %" PRIu64 " of %s was committed %" PRId64 " times%s", t->round,
            r->version, r->name, times, in_entry(t, r) ? "" : ", and the row has another one");
    }
}

static void drop_from_quarantine(struct cut *t, const struct row *a, const struct row *b)
{
    const struct wbcache_key keys[] = {
        {.key = a->name, .key_len = strlen(a->name)},
        {.key = b->name, .key_len = strlen(b->name)},
    };
    uint64_t dropped = 0;
    int code = wbcache_quarantine_drop(t->cache, keys, 2, &dropped);
    if (code != WBCACHE_OK || dropped != 2) {
        fail_msg("round %" PRIu64 ": %" PRIu64 " of 2 keys were dropped from quarantine: %s", t->round,
            dropped, wbcache_code_name(code));
    }
}

/* One exchange, cut behind @bytes from @from. */
static void play_round(struct cut *t, enum pg_test_side from, uint64_t bytes)
{
    t->round++;
    struct row omen = bad_row(t, "omen");
    if (t->isolating) { /* behind a batch that had a bad row the next one is isolating at once */
        write_flushed(t, &omen, 1);
        await_in_quarantine(t, &omen);
    }
    cluster_wait(t->cluster, "the flush connection is idle", WAIT_MS, find_port, t);
    pg_cutter_arm(t->cutter, t->port, from, bytes);
    struct row rows[ROWS];
    for (unsigned i = 0; i < ROWS; i++) {
        rows[i] = t->isolating && i == 1 ? bad_row(t, "bad") : good_row(t, i);
    }
    write_flushed(t, rows, ROWS);
    for (unsigned i = 0; i < ROWS; i++) {
        if (rows[i].bad) {
            await_in_quarantine(t, &rows[i]);
        } else {
            expect_written_once(t, &rows[i]);
        }
    }
    for (int side = 0; side < 2; side++) {
        t->seen[side] = pg_cutter_bytes(t->cutter, (enum pg_test_side)side);
    }
    if (pg_cutter_struck(t->cutter)) {
        t->struck++;
    } else {
        t->passed++;
    }
    if (t->isolating) {
        drop_from_quarantine(t, &omen, &rows[1]);
    }
}

/* ---- the sweep ---- */

static void learn_the_length(struct cut *t)
{
    uint64_t shortest[2] = {UINT64_MAX, UINT64_MAX};
    for (unsigned i = 0; i < LEARNING_ROUNDS; i++) {
        play_round(t, PG_TEST_CLIENT, PG_CUTTER_NEVER);
        for (int side = 0; side < 2; side++) {
            uint64_t n = t->seen[side];
            shortest[side] = n < shortest[side] ? n : shortest[side];
            t->length[side] = n > t->length[side] ? n : t->length[side];
        }
    }
    say("  the exchange of one %s flush of %d rows: %" PRIu64 " to %" PRIu64 " bytes from the node, %" PRIu64
        " to %" PRIu64 " from PostgreSQL",
        t->isolating ? "isolating" : "plain", ROWS, shortest[PG_TEST_CLIENT], t->length[PG_TEST_CLIENT],
        shortest[PG_TEST_SERVER], t->length[PG_TEST_SERVER]);
    assert_true(shortest[PG_TEST_CLIENT] > 0 && shortest[PG_TEST_SERVER] > 0);
    t->passed = 0;
}

static void cut_everywhere(struct cut *t)
{
    uint64_t all = t->length[PG_TEST_CLIENT] + t->length[PG_TEST_SERVER];
    unsigned rounds = t->scenario->options.rounds == 0 ? 1 : t->scenario->options.rounds;
    uint64_t every = cut_every > 0 ? cut_every : (all + rounds - 1) / rounds;
    for (int side = 0; side < 2; side++) {
        uint64_t first = scenario_random(t->scenario, (unsigned)every);
        say("the connection is cut behind byte %" PRIu64 " of what %s sends, and then every %" PRIu64, first,
            side == PG_TEST_CLIENT ? "the node" : "PostgreSQL", every);
        for (uint64_t at = first; at < t->length[side]; at += every) {
            play_round(t, (enum pg_test_side)side, at);
            if ((t->struck + t->passed) % SHOW_EVERY == 0) {
                say("  %" PRIu64 " cuts", t->struck);
            }
        }
    }
    say("  %" PRIu64 " cuts; %" PRIu64 " exchanges ended before their cut", t->struck, t->passed);
    assert_true(t->struck > 0 && t->struck > t->passed);
}

/* Database, cache and fence agree, and nothing was committed twice. */
static void expect_agreement(struct cut *t)
{
    cluster_wait_clean(t->cluster, WAIT_MS);
    assert_int_equal(sql_number_or_fail(t->conn, "SELECT count(*) FROM (SELECT FROM public.written"
                                                 " GROUP BY key, version HAVING count(*) > 1) AS doubled"),
        0);
    for (unsigned i = 0; i < ROWS; i++) {
        struct row r = good_row(t, i);
        void *value;
        size_t value_len;
        int code = wbcache_get(t->cache, r.name, strlen(r.name), &value, &value_len, &r.version);
        if (code == WBCACHE_NOT_FOUND) { /* the place of a bad row */
            assert_int_equal(
                sql_number_or_fail(t->conn, "SELECT count(*) FROM wb.entry WHERE key = '%s'", r.name), 0);
            continue;
        }
        assert_int_equal(code, WBCACHE_OK);
        assert_true(value_len < sizeof r.value);
        snprintf(r.value, sizeof r.value, "%s", (const char *)value);
        free(value);
        assert_true(in_entry(t, &r));
    }
    char output[4096];
    program_wbclient_or_fail(t->cluster, (const char *const[]){"verify", NULL}, output, sizeof output);
    struct wbcache_status *status = cluster_status(t->cluster);
    assert_non_null(status);
    const struct wbcache_group_status *g = cluster_leader_of(status, t->group, NULL);
    assert_non_null(g);
    assert_int_equal(g->last_batch,
        sql_number_or_fail(t->conn, "SELECT last_batch FROM wb.flush_state WHERE group_id = %u", t->group));
    say("  database, cache and fence agree; no version was committed twice; %" PRIu64
        " failures were counted by the leader",
        g->flush_failures);
    wbcache_status_free(status);
}

static void cut_all_over(struct scenario *s, bool isolating)
{
    struct cut t;
    start_behind_a_cutter(&t, s, isolating);
    learn_the_length(&t);
    cut_everywhere(&t);
    expect_agreement(&t);
    leave(&t);
    s->passed = true;
}

static void a_flush_that_is_cut_at_any_byte_happens_exactly_once(void **state)
{
    cut_all_over(*state, false);
}

static void an_isolating_flush_that_is_cut_at_any_byte_happens_exactly_once(void **state)
{
    cut_all_over(*state, true);
}

/* Take "--every N" out of the arguments: the other options are every scenario's. */
static int take_every(int argc, char **argv)
{
    int kept = 1;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--every") == 0 && i + 1 < argc) {
            cut_every = (unsigned)strtoul(argv[++i], NULL, 10);
        } else {
            argv[kept++] = argv[i];
        }
    }
    argv[kept] = NULL;
    return kept;
}

int main(int argc, char **argv)
{
    argc = take_every(argc, argv);
    struct scenario_options options;
    scenario_options(&options, argc, argv, 120, 0);
    const struct CMUnitTest tests[] = {
        scenario_test(a_flush_that_is_cut_at_any_byte_happens_exactly_once, &options),
        scenario_test(an_isolating_flush_that_is_cut_at_any_byte_happens_exactly_once, &options),
    };
    return cmocka_run_group_tests_name("cut_commit", tests, NULL, NULL);
}
