/* The wrong database: refused with words, nothing acknowledged is lost, and --adopt takes one over for good.
 */
#include "cluster-tests/scenario.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cluster-tests/sql.h"
#include "cluster-tests/verify.h"
#include "proto/slot.h"

enum { KEYS = 300, WAIT_MS = 30000, DEADLINE_MS = 3000, MESSAGE_BYTES = 600 };

static void write_all(struct cluster *c, struct ledger *l)
{
    for (uint32_t key = 0; key < ledger_keys(l); key++) {
        char message[MESSAGE_BYTES];
        int code = write_one(c, l, key, DEADLINE_MS, message, sizeof message);
        if (code != WBCACHE_OK) {
            fail_msg("a write was not acknowledged: %s: %s", wbcache_code_name(code), message);
        }
    }
    if (ledger_totals(l).violations > 0) {
        fail_msg("%s", ledger_violation(l));
    }
}

/* Put another database, or none (@to exists already), under the name that the nodes know. */
static void swap_databases(struct cluster *c, const char *name, const char *away, const char *back)
{
    char maintenance[700];
    sql_other_database(c->database, "postgres", maintenance, sizeof maintenance);
    PGconn *conn = sql_connect_or_fail(maintenance);
    sql_run_or_fail(conn, "ALTER DATABASE %s ALLOW_CONNECTIONS false", name);
    while (sql_number_or_fail(conn,
               "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE datname = '%s'",
               name) > 0) {
    }
    sql_run_or_fail(conn, "ALTER DATABASE %s RENAME TO %s", name, away);
    if (back == NULL) {
        sql_run_or_fail(conn, "CREATE DATABASE %s TEMPLATE template0", name);
    } else {
        sql_run_or_fail(conn, "ALTER DATABASE %s RENAME TO %s", back, name);
        sql_run_or_fail(conn, "ALTER DATABASE %s ALLOW_CONNECTIONS true", name);
    }
    PQfinish(conn);
}

/* The leader of every group has stopped flushing; its words are shown, and must not be empty. */
static void expect_halted(struct cluster *c, char *words, size_t words_len)
{
    for (unsigned group = 0; group < c->groups; group++) {
        cluster_wait_flush_state(c, group, "halted", WAIT_MS);
    }
    struct wbcache_status *status = cluster_status(c);
    assert_non_null(status);
    const struct wbcache_group_status *g = cluster_leader_of(status, 0, NULL);
    assert_non_null(g);
    snprintf(words, words_len, "%s", g->flush_error);
    wbcache_status_free(status);
    say("  halted: %s", words);
    assert_true(words[0] != '\0');
}

static void an_empty_database_behind_a_running_cluster_is_refused(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    cluster_start(c, NULL);
    s->ledger = ledger_create("swap", KEYS);
    write_all(c, s->ledger);
    verify_all(c, s->ledger);
    PGconn *conn = sql_connect_or_fail(c->database);
    char name[64];
    snprintf(name, sizeof name, "%s", PQdb(conn));
    PQfinish(conn);

    say("the database is replaced by a new, empty one");
    swap_databases(c, name, "moved_away", NULL);
    char words[MESSAGE_BYTES];
    expect_halted(c, words, sizeof words);
    write_all(c, s->ledger);
    verify_cache(c, s->ledger);
    conn = sql_connect_or_fail(c->database);
    int64_t tables =
        sql_number_or_fail(conn, "SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace('wb')");
    PQfinish(conn);
    say("  writes are acknowledged and read back; nothing was put into the empty database");
    assert_int_equal(tables, 0);

    say("the old database is given back");
    swap_databases(c, name, "empty_one", "moved_away");
    for (unsigned group = 0; group < c->groups; group++) {
        cluster_wait_flush_state(c, group, "active", WAIT_MS);
    }
    verify_all(c, s->ledger);
    s->passed = true;
}

static bool is_shut_out(struct cluster *c, void *data)
{
    (void)data;
    struct wbcache_status *status = cluster_status(c);
    bool all = status != NULL;
    for (unsigned group = 0; all && group < c->groups; group++) {
        const struct wbcache_group_status *g = cluster_leader_of(status, group, NULL);
        all = g != NULL && (strcmp(g->flush_state, "fenced") == 0 || strcmp(g->flush_state, "halted") == 0);
    }
    wbcache_status_free(status);
    return all;
}

/* Group 0 deals with the database for all: its words say what to do. No group acknowledges anything. */
static void expect_refused_writes(struct cluster *c, struct ledger *l)
{
    bool words_seen = false;
    for (uint32_t key = 0; key < 20; key++) {
        char message[MESSAGE_BYTES];
        int code = write_one(c, l, key, 500, message, sizeof message);
        assert_true(code == WBCACHE_HALTED || code == WBCACHE_UNAVAILABLE);
        char name[LEDGER_KEY_BYTES];
        size_t len = ledger_key(l, key, name);
        if (slot_group(slot_of(bytes_of(name, len)), c->groups) == 0) {
            if (!words_seen) {
                say("  a write is answered with %s: %s", wbcache_code_name(code), message);
            }
            words_seen = true;
            assert_int_equal(code, WBCACHE_HALTED);
            assert_non_null(strstr(message, "--adopt"));
        }
    }
    assert_true(words_seen);
}

static void a_foreign_database_is_refused_until_it_is_adopted(void **state)
{
    struct scenario *s = *state;
    struct cluster *old = &s->cluster;
    struct cluster *heir = &s->other;
    cluster_start(old, NULL);
    s->ledger = ledger_create("adopt", KEYS);
    write_all(old, s->ledger);
    verify_all(old, s->ledger);

    say("a new cluster is started on the database that another one filled");
    cluster_start(heir, &(struct cluster_options){.database = old->database, .no_wait = true});
    cluster_wait_flush_state(heir, 0, "halted", WAIT_MS);
    expect_refused_writes(heir, s->ledger);
    write_all(old, s->ledger);
    verify_all(old, s->ledger);
    say("  the old cluster goes on undisturbed");

    say("the new cluster is started with --adopt, the old one runs on");
    for (unsigned node = 1; node <= heir->nodes; node++) {
        cluster_stop_node(heir, node);
    }
    cluster_start_again(heir, &(struct cluster_options){.adopt = true});
    for (unsigned group = 0; group < heir->groups; group++) {
        cluster_wait_flush_state(heir, group, "active", WAIT_MS);
    }
    verify_cache(heir, s->ledger);
    say("  it reads the old rows");
    write_all(heir, s->ledger);
    verify_all(heir, s->ledger);
    say("  it writes over them with higher versions");

    struct ledger *late = ledger_create("late", KEYS);
    write_all(old, late);
    cluster_wait(old, "the old cluster is shut out of the database", WAIT_MS, is_shut_out, NULL);
    struct wbcache_status *status = cluster_status(old);
    assert_non_null(status);
    const struct wbcache_group_status *g = cluster_leader_of(status, 0, NULL);
    say("  the old cluster is shut out: %s: %s", g == NULL ? "?" : g->flush_state,
        g == NULL ? "?" : g->flush_error);
    wbcache_status_free(status);
    PGconn *conn = sql_connect_or_fail(heir->database);
    int64_t rows =
        sql_number_or_fail(conn, "SELECT count(*) FROM wb.entry WHERE key >= 'late:' AND key < 'late;'");
    PQfinish(conn);
    assert_int_equal(rows, 0);
    verify_cache(old, late);
    ledger_destroy(late);
    verify_all(heir, s->ledger);
    s->passed = true;
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 0, 0);
    const struct CMUnitTest tests[] = {
        scenario_test(an_empty_database_behind_a_running_cluster_is_refused, &options),
        scenario_test(a_foreign_database_is_refused_until_it_is_adopted, &options),
    };
    return cmocka_run_group_tests_name("databases", tests, NULL, NULL);
}
