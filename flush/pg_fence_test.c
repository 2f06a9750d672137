/* Inspect, claim and take against a real server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "flush/flusher_probe.h"
#include "flush/schema.h"

static struct pg_test_server server;

static char *query(const char *sql)
{
    char *text = pg_test_server_query(&server, sql);
    assert_non_null(text);
    return text;
}

static void execute(const char *sql)
{
    free(query(sql));
}

static int64_t number(const char *sql)
{
    return pg_test_server_number(&server, sql);
}

static int empty_database(void **state)
{
    (void)state;
    execute("DROP SCHEMA IF EXISTS wb CASCADE");
    return 0;
}

static void claim_empty(struct probe *p, const struct flush_identity *id)
{
    probe_claim(p, id, FLUSH_DB_EMPTY, NULL);
    assert_int_equal(probe_next(p), PROBE_CLAIMED);
}

static void an_empty_database_is_inspected_claimed_and_taken(void **state)
{
    (void)state;
    struct flush_identity id = probe_cluster(1, 2, 0);
    struct probe p;
    probe_open(&p, server.dsn, 2, NULL);
    probe_inspect(&p, &id);
    assert_int_equal(probe_next(&p), PROBE_INSPECTED);
    assert_int_equal(p.inspected.found, FLUSH_DB_EMPTY);
    assert_int_equal(p.inspected.version_ceiling, 0);
    claim_empty(&p, &id);
    assert_int_equal(
        number("SELECT count(*) FROM wb.flush_state WHERE last_batch = 0 AND group_count = 3"), 3);
    assert_int_equal(number("SELECT schema_version FROM wb.meta"), SCHEMA_VERSION);
    assert_int_equal(
        number("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'wbcache node=7 group=2'"), 1);
    probe_take(&p, &id, 5);
    assert_int_equal(probe_next(&p), PROBE_TAKEN);
    assert_int_equal(p.row.epoch, 1);
    assert_int_equal(p.row.last_batch, 0);
    probe_take(&p, &id, 5);
    assert_int_equal(probe_next(&p), PROBE_TAKEN);
    assert_int_equal(p.row.epoch, 2);
    assert_int_equal(number("SELECT term FROM wb.flush_state WHERE group_id = 2"), 5);
    assert_int_equal(number("SELECT sum(term) FROM wb.flush_state WHERE group_id <> 2"), 0);
    probe_close(&p);
}

static void rows_that_are_ours_stay(void **state)
{
    (void)state;
    struct flush_identity id = probe_cluster(1, 0, 1000);
    struct probe p;
    probe_open(&p, server.dsn, 0, NULL);
    claim_empty(&p, &id);
    execute("UPDATE wb.flush_state SET last_batch = 41, epoch = 9, term = 3");
    probe_inspect(&p, &id);
    assert_int_equal(probe_next(&p), PROBE_INSPECTED);
    assert_int_equal(p.inspected.found, FLUSH_DB_OURS);
    /* Whatever was expected: the COMMIT of an earlier claim may not have been heard. */
    claim_empty(&p, &id);
    probe_claim(&p, &id, FLUSH_DB_OURS, &id);
    assert_int_equal(probe_next(&p), PROBE_CLAIMED);
    struct flush_identity other = probe_cluster(2, 0, 0);
    probe_claim(&p, &id, FLUSH_DB_FOREIGN, &other);
    assert_int_equal(probe_next(&p), PROBE_CLAIMED);
    assert_int_equal(
        number("SELECT count(*) FROM wb.flush_state WHERE last_batch = 41 AND epoch = 9 AND term = 3"), 3);
    /* The same id with another base or another number of groups is not us. */
    id.version_base++;
    probe_claim(&p, &id, FLUSH_DB_OURS, &id);
    probe_assert_failed(&p, FLUSH_ERROR_HALT, "version base 1000");
    id.version_base--;
    id.group_count = 4;
    probe_claim(&p, &id, FLUSH_DB_OURS, &id);
    probe_assert_failed(&p, FLUSH_ERROR_HALT, "name 3 groups");
    probe_close(&p);
}

static void a_foreign_cluster_is_refused_with_its_name(void **state)
{
    (void)state;
    struct flush_identity theirs = probe_cluster(0xab, 0, 500), ours = probe_cluster(1, 0, UINT64_C(1) << 60);
    struct probe p;
    probe_open(&p, server.dsn, 0, NULL);
    claim_empty(&p, &theirs);
    execute("UPDATE wb.flush_state SET last_batch = 10 + group_id");
    probe_inspect(&p, &ours);
    assert_int_equal(probe_next(&p), PROBE_INSPECTED);
    assert_int_equal(p.inspected.found, FLUSH_DB_FOREIGN);
    assert_memory_equal(p.inspected.cluster_id, theirs.cluster_id, CLUSTER_ID_BYTES);
    assert_int_equal(p.inspected.group_count, 3);
    assert_true(p.inspected.version_ceiling == 500 + ((12 + (UINT64_C(1) << 32)) << 16));
    probe_claim(&p, &ours, FLUSH_DB_EMPTY, NULL);
    probe_assert_failed(&p, FLUSH_ERROR_HALT, "abababab-abab-abab-abab-abababababab");
    assert_non_null(strstr(p.error.message, "--adopt"));
    struct flush_identity third = probe_cluster(3, 0, 0);
    probe_claim(&p, &ours, FLUSH_DB_FOREIGN, &third);
    probe_assert_failed(&p, FLUSH_ERROR_HALT, "abababab-abab-abab-abab-abababababab");
    assert_int_equal(
        number("SELECT count(*) FROM wb.flush_state WHERE version_base = 500 AND last_batch > 0"), 3);
    probe_close(&p);
}

static void adoption_rewrites_the_rows_and_fences_the_old_cluster(void **state)
{
    (void)state;
    struct flush_identity old = probe_cluster(2, 0, 100), ours = probe_cluster(1, 0, 0);
    old.group_count = 5;
    struct probe p, q;
    probe_open(&p, server.dsn, 0, NULL);
    probe_open(&q, server.dsn, 0, NULL);
    claim_empty(&q, &old);
    probe_take(&q, &old, 8);
    assert_int_equal(probe_next(&q), PROBE_TAKEN);
    struct flush_row first = probe_row("k", "old", 101);
    probe_send(&q, 20, 0, &first, 1);
    assert_int_equal(probe_next(&q), PROBE_COMMITTED);

    execute("INSERT INTO wb.quarantine VALUES ('k', 4, true, NULL, NULL, 1, '23514', '', 1, now(), now())");
    probe_inspect(&p, &ours);
    assert_int_equal(probe_next(&p), PROBE_INSPECTED);
    ours.version_base = p.inspected.version_ceiling;
    probe_claim(&p, &ours, FLUSH_DB_FOREIGN, &old);
    assert_int_equal(probe_next(&p), PROBE_CLAIMED);
    assert_int_equal(number("SELECT count(*) FROM wb.flush_state"), 3);
    assert_int_equal(
        number("SELECT count(*) FROM wb.flush_state WHERE last_batch = 0 AND term = 0 AND epoch > 1"), 3);
    assert_int_equal(number("SELECT count(*) FROM wb.quarantine"), 0);

    struct flush_row second = probe_row("k", "too late", 102);
    probe_send(&q, 21, 20, &second, 1);
    probe_assert_failed(&q, FLUSH_ERROR_FENCED, "02020202-0202");
    assert_string_equal(q.error.sqlstate, "WB001");
    probe_take(&q, &old, 9);
    probe_assert_failed(&q, FLUSH_ERROR_HALT, "01010101-0101-0101-0101-010101010101");
    /* A group that does not exist any more is fenced as well. */
    old.group = 4;
    probe_close(&q);
    probe_open(&q, server.dsn, 4, NULL);
    probe_take(&q, &old, 9);
    probe_assert_failed(&q, FLUSH_ERROR_HALT, "no fence rows of cluster 02020202-0202");
    assert_int_equal(number("SELECT version FROM wb.entry"), 101);
    probe_close(&q);
    probe_close(&p);
}

static void adoption_needs_a_version_base_above_all_that_was_written(void **state)
{
    (void)state;
    struct flush_identity old = probe_cluster(2, 0, 100), ours = probe_cluster(1, 0, 0);
    struct probe p;
    probe_open(&p, server.dsn, 0, NULL);
    claim_empty(&p, &old);
    execute("UPDATE wb.flush_state SET last_batch = 1000 WHERE group_id = 1");
    ours.version_base = 100 + (1001 << 16) - 1;
    probe_claim(&p, &ours, FLUSH_DB_FOREIGN, &old);
    probe_assert_failed(&p, FLUSH_ERROR_HALT, "not below ours");
    ours.version_base++;
    probe_claim(&p, &ours, FLUSH_DB_FOREIGN, &old);
    assert_int_equal(probe_next(&p), PROBE_CLAIMED);
    probe_close(&p);
}

static void rows_changed_by_hand_halt(void **state)
{
    (void)state;
    struct flush_identity id = probe_cluster(1, 1, 0);
    struct probe p;
    probe_open(&p, server.dsn, 1, NULL);
    claim_empty(&p, &id);
    execute("DELETE FROM wb.flush_state WHERE group_id = 1");
    probe_take(&p, &id, 1);
    probe_assert_failed(&p, FLUSH_ERROR_HALT, "no fence rows of cluster 01010101-");
    probe_claim(&p, &id, FLUSH_DB_OURS, &id);
    probe_assert_failed(&p, FLUSH_ERROR_HALT, "only 2 of 2");
    execute("DELETE FROM wb.flush_state");
    probe_claim(&p, &id, FLUSH_DB_OURS, &id);
    probe_assert_failed(&p, FLUSH_ERROR_HALT, "any more");
    execute("DROP SCHEMA wb CASCADE");
    probe_claim(&p, &id, FLUSH_DB_OURS, &id);
    probe_assert_failed(&p, FLUSH_ERROR_HALT, "any more");
    probe_take(&p, &id, 1);
    probe_assert_failed(&p, FLUSH_ERROR_HALT, "it is not the database that this cluster filled");
    claim_empty(&p, &id);
    execute("DROP TABLE wb.entry");
    probe_take(&p, &id, 1);
    probe_assert_failed(&p, FLUSH_ERROR_HALT, "wb.entry");
    assert_int_equal(number("SELECT sum(term + epoch) FROM wb.flush_state"), 0);
    probe_close(&p);
}

/* As numbers without a sign they would be above all batches; and of two rows none is the fence. */
static void a_fence_row_that_cannot_be_halts(void **state)
{
    (void)state;
    struct flush_identity id = probe_cluster(1, 0, 0);
    struct probe p;
    probe_open(&p, server.dsn, 0, NULL);
    claim_empty(&p, &id);
    execute("UPDATE wb.flush_state SET last_batch = -1");
    probe_take(&p, &id, 1);
    probe_assert_failed(&p, FLUSH_ERROR_HALT, "do not change these tables by hand");
    execute("UPDATE wb.flush_state SET last_batch = 0, epoch = -5");
    probe_take(&p, &id, 1);
    probe_assert_failed(&p, FLUSH_ERROR_HALT, "do not change these tables by hand");
    execute("ALTER TABLE wb.flush_state ALTER last_batch DROP NOT NULL;"
            "UPDATE wb.flush_state SET last_batch = NULL, epoch = 1");
    probe_take(&p, &id, 1);
    probe_assert_failed(&p, FLUSH_ERROR_HALT, "do not change these tables by hand");
    execute("ALTER TABLE wb.flush_state DROP CONSTRAINT flush_state_pkey;"
            "UPDATE wb.flush_state SET last_batch = 3; INSERT INTO wb.flush_state TABLE wb.flush_state");
    probe_take(&p, &id, 1);
    probe_assert_failed(&p, FLUSH_ERROR_HALT, "do not change these tables by hand");
    probe_close(&p);
}

static void another_schema_version_halts_everything(void **state)
{
    (void)state;
    struct flush_identity id = probe_cluster(1, 0, 0);
    struct probe p;
    probe_open(&p, server.dsn, 0, NULL);
    claim_empty(&p, &id);
    execute("UPDATE wb.meta SET schema_version = 0");
    probe_inspect(&p, &id);
    probe_assert_failed(&p, FLUSH_ERROR_HALT, "has version 0");
    probe_claim(&p, &id, FLUSH_DB_OURS, &id);
    probe_assert_failed(&p, FLUSH_ERROR_HALT, "has version 0");
    probe_take(&p, &id, 1);
    probe_assert_failed(&p, FLUSH_ERROR_HALT, "has version 0");
    assert_int_equal(number("SELECT sum(term + epoch) FROM wb.flush_state"), 0);
    probe_close(&p);
}

static void a_newer_term_keeps_the_fence(void **state)
{
    (void)state;
    struct flush_identity id = probe_cluster(1, 0, 0);
    struct probe p;
    probe_open(&p, server.dsn, 0, NULL);
    claim_empty(&p, &id);
    probe_take(&p, &id, 7);
    assert_int_equal(probe_next(&p), PROBE_TAKEN);
    probe_take(&p, &id, 6);
    probe_assert_failed(&p, FLUSH_ERROR_FENCED, "term 7");
    assert_int_equal(number("SELECT epoch FROM wb.flush_state WHERE group_id = 0"), 1);
    probe_close(&p);
}

/* Two clusters that saw an empty database: one gets it, whole. */
static void of_two_claims_at_once_one_wins(void **state)
{
    (void)state;
    struct flush_identity a = probe_cluster(1, 0, 0), b = probe_cluster(2, 0, 0);
    struct probe p, q;
    probe_open(&p, server.dsn, 0, NULL);
    probe_open(&q, server.dsn, 0, NULL);
    probe_claim(&p, &a, FLUSH_DB_EMPTY, NULL);
    probe_claim(&q, &b, FLUSH_DB_EMPTY, NULL);
    while (p.events == 0 || q.events == 0) {
        probe_turn(&p);
        probe_turn(&q);
    }
    enum probe_event of_p = probe_next(&p), of_q = probe_next(&q);
    assert_true(
        (of_p == PROBE_CLAIMED && of_q == PROBE_FAILED) || (of_p == PROBE_FAILED && of_q == PROBE_CLAIMED));
    struct probe *loser = of_p == PROBE_FAILED ? &p : &q;
    assert_int_equal(loser->error.class, FLUSH_ERROR_HALT);
    assert_int_equal(number("SELECT count(DISTINCT cluster_id) FROM wb.flush_state"), 1);
    probe_close(&p);
    probe_close(&q);
}

static void a_schema_that_the_operator_made_is_enough(void **state)
{
    (void)state;
    execute("DROP ROLE IF EXISTS careful; CREATE ROLE careful LOGIN;"
            "CREATE SCHEMA wb AUTHORIZATION careful");
    char dsn[256];
    snprintf(dsn, sizeof dsn, "%s user=careful", server.dsn);
    struct flush_identity id = probe_cluster(1, 0, 0);
    struct probe p;
    probe_open(&p, dsn, 0, NULL);
    claim_empty(&p, &id);
    probe_take(&p, &id, 1);
    assert_int_equal(probe_next(&p), PROBE_TAKEN);
    execute("REVOKE ALL ON wb.flush_state FROM careful; ALTER TABLE wb.flush_state OWNER TO postgres");
    probe_take(&p, &id, 1);
    probe_assert_failed(&p, FLUSH_ERROR_HALT, "permission denied");
    assert_string_equal(p.error.sqlstate, "42501");
    probe_close(&p);
    execute("DROP SCHEMA wb CASCADE; DROP ROLE careful");
}

static void a_held_lock_is_transient(void **state)
{
    (void)state;
    struct flush_identity id = probe_cluster(1, 0, 0);
    struct pg_limits limits = {.lock_timeout_ms = 50};
    struct probe p;
    probe_open(&p, server.dsn, 0, &limits);
    claim_empty(&p, &id);
    PGconn *holder = PQconnectdb(server.dsn);
    PQclear(PQexec(holder, "BEGIN; UPDATE wb.flush_state SET last_batch = 1 WHERE group_id = 0"));
    probe_take(&p, &id, 1);
    probe_assert_failed(&p, FLUSH_ERROR_TRANSIENT, "lock");
    assert_string_equal(p.error.sqlstate, "55P03");
    PQfinish(holder);
    probe_close(&p);
}

static void a_read_only_server_is_an_outage(void **state)
{
    (void)state;
    struct flush_identity id = probe_cluster(1, 0, 0);
    char dsn[256];
    snprintf(dsn, sizeof dsn, "%s options='-c default_transaction_read_only=on'", server.dsn);
    struct probe p, q;
    probe_open(&p, server.dsn, 0, NULL);
    claim_empty(&p, &id);
    probe_open(&q, dsn, 0, NULL);
    probe_inspect(&q, &id);
    probe_assert_failed(&q, FLUSH_ERROR_OUTAGE, "read-only");
    probe_claim(&q, &id, FLUSH_DB_OURS, &id);
    probe_assert_failed(&q, FLUSH_ERROR_OUTAGE, "read-only");
    probe_take(&q, &id, 1);
    probe_assert_failed(&q, FLUSH_ERROR_OUTAGE, "read-only");
    probe_close(&q);
    probe_close(&p);
}

/* The same folder as a standby: recovery, and hot_standby lets sessions in. */
static void a_standby_is_an_outage_and_nothing_is_concluded(void **state)
{
    (void)state;
    struct flush_identity id = probe_cluster(1, 0, 0);
    char path[128], dsn[256];
    struct probe p;
    probe_open(&p, server.dsn, 0, NULL);
    claim_empty(&p, &id);
    probe_disconnect(&p);
    pg_test_server_stop(&server);
    snprintf(path, sizeof path, "%s/data/standby.signal", server.dir);
    FILE *signal = fopen(path, "w");
    assert_non_null(signal);
    fclose(signal);
    assert_int_equal(pg_test_server_again(&server), 0);
    probe_inspect(&p, &id);
    probe_assert_failed(&p, FLUSH_ERROR_OUTAGE, "hot standby");
    snprintf(dsn, sizeof dsn, "%s target_session_attrs=any", server.dsn);
    struct probe q;
    probe_open(&q, dsn, 0, NULL);
    probe_inspect(&q, &id);
    probe_assert_failed(&q, FLUSH_ERROR_OUTAGE, "standby or still recovering");
    probe_claim(&q, &id, FLUSH_DB_OURS, &id);
    probe_assert_failed(&q, FLUSH_ERROR_OUTAGE, "standby or still recovering");
    probe_take(&q, &id, 1);
    probe_assert_failed(&q, FLUSH_ERROR_OUTAGE, "standby or still recovering");
    probe_close(&q);
    pg_test_server_stop(&server);
    assert_int_equal(remove(path), 0);
    assert_int_equal(pg_test_server_again(&server), 0);
    probe_take(&p, &id, 1);
    assert_int_equal(probe_next(&p), PROBE_TAKEN);
    probe_close(&p);
}

static void a_schemas_name_may_need_every_kind_of_quoting(void **state)
{
    (void)state;
    struct flush_identity id = probe_cluster(1, 0, 0);
    struct probe p;
    probe_open_schema(&p, server.dsn, 0, NULL, "we\"i'r\\d $x$ \xc3\xa9");
    claim_empty(&p, &id);
    probe_inspect(&p, &id);
    assert_int_equal(probe_next(&p), PROBE_INSPECTED);
    assert_int_equal(p.inspected.found, FLUSH_DB_OURS);
    probe_take(&p, &id, 1);
    assert_int_equal(probe_next(&p), PROBE_TAKEN);
    struct flush_row row = probe_row("k", "v", 1);
    probe_send(&p, 5, 0, &row, 1);
    assert_int_equal(probe_next(&p), PROBE_COMMITTED);
    row = probe_row("k", "v", 2);
    probe_send(&p, 7, 6, &row, 1);
    probe_assert_failed(&p, FLUSH_ERROR_PREDECESSOR, "follows batch 6");
    probe_close(&p);
}

static int start(void **state)
{
    (void)state;
    return pg_test_server_start(&server);
}

static int stop(void **state)
{
    (void)state;
    pg_test_server_destroy(&server);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_empty_database_is_inspected_claimed_and_taken, empty_database),
        cmocka_unit_test_setup(rows_that_are_ours_stay, empty_database),
        cmocka_unit_test_setup(a_foreign_cluster_is_refused_with_its_name, empty_database),
        cmocka_unit_test_setup(adoption_rewrites_the_rows_and_fences_the_old_cluster, empty_database),
        cmocka_unit_test_setup(adoption_needs_a_version_base_above_all_that_was_written, empty_database),
        cmocka_unit_test_setup(rows_changed_by_hand_halt, empty_database),
        cmocka_unit_test_setup(a_fence_row_that_cannot_be_halts, empty_database),
        cmocka_unit_test_setup(another_schema_version_halts_everything, empty_database),
        cmocka_unit_test_setup(a_newer_term_keeps_the_fence, empty_database),
        cmocka_unit_test_setup(of_two_claims_at_once_one_wins, empty_database),
        cmocka_unit_test_setup(a_schema_that_the_operator_made_is_enough, empty_database),
        cmocka_unit_test_setup(a_held_lock_is_transient, empty_database),
        cmocka_unit_test_setup(a_read_only_server_is_an_outage, empty_database),
        cmocka_unit_test_setup(a_standby_is_an_outage_and_nothing_is_concluded, empty_database),
        cmocka_unit_test_setup(a_schemas_name_may_need_every_kind_of_quoting, empty_database),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
