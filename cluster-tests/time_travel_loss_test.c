/* PostgreSQL goes back further in time than flushed rows are kept in memory for: what is lost is said, with
 * the right count, until an operator has seen it, and `verify --repair` writes again what memory still has.
 */
#include "cluster-tests/scenario.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cluster-tests/bad_rows.h"
#include "cluster-tests/group_sums.h"
#include "cluster-tests/pg_copy.h"
#include "cluster-tests/program.h"
#include "cluster-tests/sql.h"
#include "cluster-tests/verify.h"

enum {
    IN_THE_COPY = 500,
    FORGOTTEN = 1000, /* flushed after the copy, and kept for too short a time */
    PIECES = 40,      /* written one after another, so that what is older than them is trimmed */
    PIECE = 25,
    KEYS = IN_THE_COPY + FORGOTTEN + PIECES * PIECE,
    PIECE_MS = 100,
    WAIT_MS = 40000,
    OUTPUT_BYTES = 16384,
    EXIT_DIFFERENT = 8, /* wbclient verify: memory and database differ */
};

static int64_t rows_of(PGconn *conn)
{
    return sql_number_or_fail(conn, "SELECT count(*) FROM wb.entry WHERE key LIKE 'loss:%%'");
}

struct right {
    struct ledger *ledger;
    int64_t rows;
};

static void judge_row(void *data, const struct sql_entry *entry)
{
    struct right *r = data;
    int64_t key = ledger_key_number(r->ledger, entry->key);
    struct mark mark;
    r->rows += key >= 0 && ledger_value_mark(r->ledger, (uint32_t)key, entry->value, &mark);
}

/* How many rows have a value that was written to their key. Each was written once, so there is only one. */
static int64_t right_rows_of(PGconn *conn, struct ledger *l)
{
    struct right right = {.ledger = l};
    assert_true(sql_entries(conn, judge_row, &right));
    return right.rows;
}

/* Every key once, so that each lost batch's row is a key that is missing. */
static void write_copy_write(struct scenario *s)
{
    struct cluster *c = &s->cluster;
    bad_rows_write(c, s->ledger, 0, IN_THE_COPY);
    cluster_wait_clean(c, WAIT_MS);
    pg_copy_take(c, "copy");
    bad_rows_write(c, s->ledger, IN_THE_COPY, FORGOTTEN);
    cluster_wait_clean(c, WAIT_MS);
    for (uint32_t i = 0; i < PIECES; i++) {
        bad_rows_write(c, s->ledger, IN_THE_COPY + FORGOTTEN + i * PIECE, PIECE);
        pass_ms(PIECE_MS);
    }
    cluster_wait_clean(c, WAIT_MS);
}

/* The leader of a group that lost rows says so in its log. */
static void expect_in_the_logs(struct cluster *c)
{
    struct wbcache_status *status = cluster_status(c);
    assert_non_null(status);
    for (unsigned group = 0; group < c->groups; group++) {
        unsigned node = 0;
        const struct wbcache_group_status *g = cluster_leader_of(status, group, &node);
        assert_non_null(g);
        if (g->lost > 0) {
            char name[32];
            char count[32];
            snprintf(name, sizeof name, "group=%u ", group);
            snprintf(count, sizeof count, "at_most=%" PRIu64 " ", g->lost);
            assert_true(
                cluster_log_find(c, node, 0, (const char *const[]){"rows-lost", name, count, NULL}) >= 0);
        }
    }
    wbcache_status_free(status);
}

static bool none_is_shown(struct cluster *c, void *data)
{
    struct group_sums sums;
    return group_sums(c, &sums) && sums.lost == 0 &&
           sql_number_or_fail(data, "SELECT lost FROM wb.freshness") == 0;
}

static void expect_loss_and_repair(struct scenario *s, PGconn *conn)
{
    struct cluster *c = &s->cluster;
    int64_t missing = KEYS - rows_of(conn);
    struct group_sums sums;
    group_sums_wait(c, &sums);
    say("  %" PRId64 " of %d rows are missing; the cluster says that %" PRIu64 " are lost", missing, KEYS,
        sums.lost);
    assert_true(missing > 0);
    assert_int_equal(sums.lost, missing);
    assert_int_equal(sql_number_or_fail(conn, "SELECT lost FROM wb.freshness"), missing);
    expect_in_the_logs(c);
    char output[OUTPUT_BYTES];
    program_wbclient_or_fail(c, (const char *const[]){"status", NULL}, output, sizeof output);
    assert_non_null(strcasestr(output, "lost"));

    say("an operator has seen it, and lets what memory has be written again");
    program_wbclient_or_fail(
        c, (const char *const[]){"flush", "acknowledge-loss", NULL}, output, sizeof output);
    cluster_wait(c, "nothing lost is shown any more", WAIT_MS, none_is_shown, conn);
    assert_int_equal(KEYS - rows_of(conn), missing);
    pg_copy_wait_asked(c);
    int code = program_wbclient(c, (const char *const[]){"verify", NULL}, output, sizeof output);
    assert_int_equal(code, EXIT_DIFFERENT);
    program_wbclient_or_fail(c, (const char *const[]){"verify", "--repair", NULL}, output, sizeof output);
    cluster_wait_clean(c, WAIT_MS);
    assert_int_equal(rows_of(conn), KEYS);
    assert_int_equal(right_rows_of(conn, s->ledger), KEYS);
    program_wbclient_or_fail(c, (const char *const[]){"verify", NULL}, output, sizeof output);
}

static void run(struct scenario *s, const char *retention)
{
    struct cluster *c = &s->cluster;
    cluster_start(c, &(struct cluster_options){.settings = {"raft.spread_stable_ms=0", retention}});
    s->ledger = ledger_create("loss", KEYS);
    write_copy_write(s);
    struct group_sums before;
    group_sums_wait(c, &before);
    say("an older copy of the database comes up (%s)", retention);
    cluster_pg_stop(c, true);
    pg_copy_swap(c, "newest", "copy");
    cluster_pg_start(c);
    group_sums_wait_rewound(c, &before, WAIT_MS);
    group_sums_wait_recovered(c, WAIT_MS);
    cluster_wait_clean(c, WAIT_MS);
    PGconn *conn = sql_connect_or_fail(c->database);
    expect_loss_and_repair(s, conn);
    PQfinish(conn);
    s->passed = true;
}

static void what_was_kept_too_short_is_counted_and_can_be_repaired(void **state)
{
    run(*state, "flush.retention_s=2");
}

static void what_was_kept_in_too_little_memory_is_counted_and_can_be_repaired(void **state)
{
    run(*state, "flush.retention_bytes=64KiB");
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 0, 0);
    const struct CMUnitTest tests[] = {
        scenario_test(what_was_kept_too_short_is_counted_and_can_be_repaired, &options),
        scenario_test(what_was_kept_in_too_little_memory_is_counted_and_can_be_repaired, &options),
    };
    return cmocka_run_group_tests_name("time_travel_loss", tests, NULL, NULL);
}
