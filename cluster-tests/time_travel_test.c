/* PostgreSQL goes back in time: its data folder is copied under load, the server is killed, and the older
 * copy comes up in its place. The cluster notices, writes again what the copy lacks, and the database ends
 * equal to the cache; also when a leader dies in the same moment, when it happens again before all is
 * written, when the newer data comes back, and when the database was away for longer than flushed rows are
 * kept. What is kept too short: time_travel_loss_test.c. */
#include "cluster-tests/scenario.h"

#include <inttypes.h>
#include <stdio.h>

#include "cluster-tests/bad_rows.h"
#include "cluster-tests/group_sums.h"
#include "cluster-tests/pg_copy.h"
#include "cluster-tests/sql.h"
#include "cluster-tests/verify.h"

enum {
    KEYS = 2000,
    WRITES = 300,
    ONCE = 300,
    ROUNDS_MAX = 1000,
    AWAIT_MS = 40000,
    AWAY_S = 8,
    RETENTION_S = 6
};

/* The load writes its keys again and again. So there are others, each written once, between a copy and what
 * comes after it: nothing but the cluster's memory brings them back. */
struct traveller {
    struct scenario *scenario;
    struct ledger *once;
    uint32_t written; /* of them, so far */
    PGconn *conn;     /* NULL, or to the present server */
};

static void start(struct traveller *t, struct scenario *s, const char *prefix, const char *setting)
{
    cluster_start(&s->cluster, &(struct cluster_options){.settings = {"raft.spread_stable_ms=0", setting}});
    s->ledger = ledger_create(prefix, KEYS);
    s->load = load_start(&(struct load_config){.cluster = s->cluster.addresses,
        .ledger = s->ledger,
        .groups = s->cluster.groups,
        .writes_per_second = 3000});
    assert_true(load_await(s->load, -1, WRITES, AWAIT_MS));
    unsigned copies = s->options.rounds < ROUNDS_MAX ? s->options.rounds : ROUNDS_MAX;
    *t = (struct traveller){.scenario = s, .once = ledger_create("once", (copies + 2) * ONCE)};
}

static bool the_once_written_are_there(struct cluster *c, void *data)
{
    struct traveller *t = data;
    if (t->conn == NULL) {
        t->conn = sql_connect_or_fail(c->database);
    }
    return sql_number_or_fail(t->conn, "SELECT count(*) FROM wb.entry WHERE key LIKE 'once:%%'") ==
           t->written;
}

static void wait_for_the_once_written(struct traveller *t)
{
    cluster_wait(&t->scenario->cluster, "what was written once is in PostgreSQL", AWAIT_MS,
        the_once_written_are_there, t);
}

/* Copy, and let so much be written and flushed that the copy lacks something of every group. */
static void copy_and_go_on(struct traveller *t, const char *name)
{
    struct scenario *s = t->scenario;
    struct cluster *c = &s->cluster;
    pg_copy_take(c, name);
    struct group_sums then;
    group_sums_wait(c, &then);
    bad_rows_write(c, t->once, t->written, ONCE);
    t->written += ONCE;
    assert_true(load_await(s->load, -1, WRITES, AWAIT_MS));
    wait_for_the_once_written(t);
    pass_ms(scenario_random(s, 900)); /* anywhere in the flush's period */
    struct group_sums now;
    group_sums_wait(c, &now);
    for (unsigned group = 0; group < c->groups; group++) {
        assert_true(now.flushed_index[group] > then.flushed_index[group]);
    }
}

enum victims { NOBODY, A_LEADER, EVERYBODY };

/* The server dies, and comes up with the data called @name; what it had is kept as @away. Every group
 * notices. Nodes die in the same moment, and are started again. */
static void travel(struct traveller *t, const char *away, const char *name, enum victims victims)
{
    struct scenario *s = t->scenario;
    struct cluster *c = &s->cluster;
    struct group_sums before;
    group_sums_wait(c, &before);
    unsigned leader = cluster_leader(c, scenario_random(s, c->groups));
    PQfinish(t->conn);
    t->conn = NULL;
    if (victims == EVERYBODY) {
        cluster_kill_everything(c);
    } else {
        cluster_pg_stop(c, true);
    }
    if (victims == A_LEADER) {
        cluster_kill(c, leader);
    }
    pg_copy_swap(c, away, name);
    if (victims == EVERYBODY) {
        cluster_start_again(c, NULL);
    } else {
        cluster_pg_start(c);
    }
    group_sums_wait_rewound(c, &before, AWAIT_MS);
    say("  every group has noticed");
    if (victims == A_LEADER) {
        cluster_restart(c, leader);
    }
}

static void expect_all_there(struct traveller *t)
{
    struct scenario *s = t->scenario;
    struct cluster *c = &s->cluster;
    scenario_stop_load(s);
    group_sums_wait_recovered(c, AWAIT_MS);
    wait_for_the_once_written(t);
    pg_copy_wait_asked(c);
    verify_all(c, t->once);
    verify_all(c, s->ledger);
    struct group_sums sums;
    group_sums_wait(c, &sums);
    assert_int_equal(sums.lost, 0);
    assert_int_equal(sql_number_or_fail(t->conn, "SELECT lost FROM wb.freshness"), 0);
    PQfinish(t->conn);
    ledger_destroy(t->once);
}

/* The leader of every group has said so in its log. */
static void expect_in_the_logs(struct cluster *c, const char *line)
{
    for (unsigned group = 0; group < c->groups; group++) {
        char name[32];
        snprintf(name, sizeof name, "group=%u ", group);
        bool found = false;
        for (unsigned node = 1; node <= c->nodes; node++) {
            found = found || cluster_log_find(c, node, 0, (const char *const[]){line, name, NULL}) >= 0;
        }
        assert_true(found);
    }
}

static void an_older_copy_is_written_up_to_date_again(void **state)
{
    struct scenario *s = *state;
    struct traveller t;
    start(&t, s, "older", NULL);
    for (unsigned round = 1; round <= s->options.rounds && round <= ROUNDS_MAX; round++) {
        char copy[32];
        char away[32];
        snprintf(copy, sizeof copy, "copy-%u", round);
        snprintf(away, sizeof away, "away-%u", round);
        static const char *const who[] = {"nobody else", "a leader", "every node"};
        enum victims victims = (enum victims)((round - 1) % 3);
        say("round %u: an older copy of the database comes up; %s dies with the newer one", round,
            who[victims]);
        copy_and_go_on(&t, copy);
        travel(&t, away, copy, victims);
        wait_for_the_once_written(&t);
        assert_true(load_await(s->load, -1, WRITES, AWAIT_MS));
    }
    expect_all_there(&t);
    expect_in_the_logs(&s->cluster, "database-back-in-time");
    expect_in_the_logs(&s->cluster, "database-recovered");
    s->passed = true;
}

static void it_may_happen_again_before_all_is_written_and_the_newer_one_may_return(void **state)
{
    struct scenario *s = *state;
    struct traveller t;
    start(&t, s, "chain", NULL);
    copy_and_go_on(&t, "oldest");
    copy_and_go_on(&t, "older");
    say("the newer of two copies comes up, and at once the older of them");
    travel(&t, "newest", "older", NOBODY);
    travel(&t, "half-written", "oldest", NOBODY);
    group_sums_wait_recovered(&s->cluster, AWAIT_MS);
    wait_for_the_once_written(&t);
    say("the server that was lost at first comes back with what it had");
    travel(&t, "written-again", "newest", NOBODY);
    assert_true(load_await(s->load, -1, WRITES, AWAIT_MS));
    expect_all_there(&t);
    s->passed = true;
}

static void nothing_is_given_up_while_the_database_is_away(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    char retention[48];
    snprintf(retention, sizeof retention, "flush.retention_s=%d", RETENTION_S);
    struct traveller t;
    start(&t, s, "away", retention);
    copy_and_go_on(&t, "copy");
    struct group_sums before;
    group_sums_wait(c, &before);
    PQfinish(t.conn);
    t.conn = NULL;
    say("PostgreSQL is away for %d s; what was flushed is kept for %d s", AWAY_S, RETENTION_S);
    cluster_pg_stop(c, true);
    pg_copy_swap(c, "newest", "copy");
    pass_ms(AWAY_S * 1000);
    cluster_pg_start(c);
    group_sums_wait_rewound(c, &before, AWAIT_MS);
    assert_true(load_await(s->load, -1, WRITES, AWAIT_MS));
    expect_all_there(&t);
    s->passed = true;
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 3, 0);
    const struct CMUnitTest tests[] = {
        scenario_test(an_older_copy_is_written_up_to_date_again, &options),
        scenario_test(it_may_happen_again_before_all_is_written_and_the_newer_one_may_return, &options),
        scenario_test(nothing_is_given_up_while_the_database_is_away, &options),
    };
    return cmocka_run_group_tests_name("time_travel", tests, NULL, NULL);
}
