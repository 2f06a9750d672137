/* Leaders killed while they look for a bad row among a thousand, at moments that the test chooses: in a try,
 * or when the quarantine is about to be committed; and all nodes at once. The good rows get there, the bad
 * one is in quarantine, each once. */
#include "cluster-tests/scenario.h"

#include <inttypes.h>
#include <stdio.h>

#include "cluster-tests/bad_rows.h"
#include "cluster-tests/group_sums.h"
#include "cluster-tests/program.h"
#include "cluster-tests/sql.h"
#include "cluster-tests/verify.h"
#include "proto/slot.h"

enum {
    BATCH = 1000,
    ROUNDS_MAX = 1000,
    MOMENTS = 10, /* finding one row of a thousand takes at least so many tries */
    WAIT_MS = 40000,
};

/* All keys are in one group, so that what is written with one call is one batch. */
#define PREFIX "{kill}"

struct kills {
    struct scenario *scenario;
    PGconn *conn;
    PGconn *trap;
    unsigned group;
    unsigned rounds; /* so far: each left one bad row */
};

static bool somebody_is_trapped(struct cluster *c, void *data)
{
    (void)c;
    return bad_rows_trapped(data);
}

/* In one snapshot: the good rows of all rounds are in the table, and the bad ones, only they, are shown as
 * refused.
 */
static bool all_is_settled(struct cluster *c, void *data)
{
    (void)c;
    const struct kills *k = data;
    return sql_number_or_fail(k->conn,
               "SELECT ((SELECT count(*) FROM wb.entry WHERE key LIKE '" PREFIX ":%%') = %u"
               " AND (SELECT count(*) FROM wb.quarantine JOIN bad_rows.named USING (key)"
               "       WHERE sqlstate = '" BAD_ROWS_SQLSTATE "' AND message LIKE '%%" BAD_ROWS_MESSAGE
               "%%') = %u"
               " AND (SELECT count(*) FROM wb.quarantine) = %u)::int",
               k->rounds * (BATCH - 1), k->rounds, k->rounds) != 0;
}

/* Write a batch with one bad row, and wait until its leader is where the trap holds it. Returns the leader.
 */
static unsigned write_and_trap(struct kills *k, int64_t moment, bool mirror)
{
    struct scenario *s = k->scenario;
    struct cluster *c = &s->cluster;
    uint32_t first = k->rounds * BATCH;
    char name[LEDGER_KEY_BYTES];
    ledger_key(s->ledger, first + scenario_random(s, BATCH), name);
    bad_rows_name(k->conn, name);
    unsigned leader = cluster_leader(c, k->group);
    bad_rows_trap(k->trap, mirror ? 0 : bad_rows_tries(k->conn) + moment, mirror);
    bad_rows_write(c, s->ledger, first, BATCH);
    k->rounds++;
    cluster_wait(c, "the search is where the trap holds it", WAIT_MS, somebody_is_trapped, k->conn);
    return leader;
}

static void expect_settled(struct kills *k)
{
    struct cluster *c = &k->scenario->cluster;
    cluster_wait(c, "the good rows are there, and the bad ones in quarantine", WAIT_MS, all_is_settled, k);
    group_sums_wait_quarantined(c, k->rounds, WAIT_MS);
    assert_true(all_is_settled(c, k));
    say("  %u good rows are in PostgreSQL and %u bad ones in quarantine", k->rounds * (BATCH - 1), k->rounds);
}

static void leader_round(struct kills *k)
{
    struct cluster *c = &k->scenario->cluster;
    bool mirror = k->rounds % 4 == 1;
    int64_t moment = 1 + scenario_random(k->scenario, MOMENTS);
    if (mirror) {
        say("round %u: the leader is killed when it shows the quarantine, before COMMIT", k->rounds + 1);
    } else {
        say("round %u: the leader is killed in try %" PRId64, k->rounds + 1, moment);
    }
    unsigned leader = write_and_trap(k, moment, mirror);
    cluster_kill(c, leader);
    bad_rows_disarm_trap(k->trap);
    unsigned heir = cluster_other_leader(c, k->group, leader);
    say("  node %u was killed; node %u leads. What the dead one had sent is still held", leader, heir);
    expect_settled(k);
    bad_rows_open_trap(k->trap);
    cluster_restart(c, leader);
    cluster_wait_caught_up(c, leader);
}

static void everybody_round(struct kills *k)
{
    struct cluster *c = &k->scenario->cluster;
    int64_t moment = 1 + scenario_random(k->scenario, MOMENTS);
    say("round %u: all nodes are killed in try %" PRId64, k->rounds + 1, moment);
    unsigned leader = write_and_trap(k, moment, false);
    cluster_kill(c, leader);
    for (unsigned node = 1; node <= c->nodes; node++) {
        if (node != leader) {
            cluster_kill(c, node);
        }
    }
    bad_rows_disarm_trap(k->trap);
    cluster_start_again(c, NULL);
    expect_settled(k);
    bad_rows_open_trap(k->trap);
}

static void whoever_dies_while_a_bad_row_is_looked_for_no_row_is_lost(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    unsigned rounds = s->options.rounds < ROUNDS_MAX ? s->options.rounds : ROUNDS_MAX;
    /* Nothing is tried again by itself: every try is the search's. */
    cluster_start(
        c, &(struct cluster_options){
               .settings = {"raft.spread_stable_ms=0", "flush.lock_timeout_ms=3000",
                   "flush.quarantine_retry_min_ms=600000", "flush.quarantine_retry_max_ms=600000"}});
    s->ledger = ledger_create(PREFIX, (rounds + 1) * BATCH);
    struct kills k = {.scenario = s,
        .conn = sql_connect_or_fail(c->database),
        .trap = sql_connect_or_fail(c->database),
        .group = slot_group(slot_of(bytes_from_text(PREFIX)), c->groups)};
    bad_rows_install(k.conn);
    for (unsigned round = 0; round < rounds; round++) {
        leader_round(&k);
    }
    everybody_round(&k);

    say("the constraint is dropped, and all are tried again");
    bad_rows_forgive(k.conn);
    char output[8192];
    program_wbclient_or_fail(
        c, (const char *const[]){"quarantine", "retry", "--all", NULL}, output, sizeof output);
    group_sums_wait_quarantined(c, 0, WAIT_MS);
    verify_all(c, s->ledger);
    PQfinish(k.trap);
    PQfinish(k.conn);
    s->passed = true;
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 4, 0);
    const struct CMUnitTest tests[] = {
        scenario_test(whoever_dies_while_a_bad_row_is_looked_for_no_row_is_lost, &options),
    };
    return cmocka_run_group_tests_name("bad_rows_kill", tests, NULL, NULL);
}
