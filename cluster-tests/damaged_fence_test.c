/* The rows that hold the fence, or the schema's version, are not what they were: the flush halts and says
 * what is wrong, writes go on, nothing is written to the database, and when it is as before everything goes
 * on by itself. */
#include "cluster-tests/scenario.h"

#include <string.h>

#include "cluster-tests/bad_rows.h"
#include "cluster-tests/sql.h"
#include "cluster-tests/verify.h"

enum { KEYS = 300, WAIT_MS = 30000 };

/* What somebody does to the tables that hold the fence, how it is undone, and a word of what must be said. */
struct damage {
    const char *what;
    const char *sql;
    const char *undo;
    const char *word;
};

static const struct damage damages[] = {
    {"the fence rows are deleted",
        "CREATE TABLE public.kept AS SELECT * FROM wb.flush_state; DELETE FROM wb.flush_state",
        "INSERT INTO wb.flush_state SELECT * FROM public.kept", "fence row"},
    {"the fence rows name another cluster",
        "CREATE TABLE public.names AS SELECT group_id, cluster_id FROM wb.flush_state;"
        "UPDATE wb.flush_state SET cluster_id = gen_random_uuid()",
        "UPDATE wb.flush_state AS f SET cluster_id = n.cluster_id FROM public.names AS n"
        " WHERE n.group_id = f.group_id",
        "another"},
    {"the fence rows name a batch that no node has begun",
        "CREATE TABLE public.batches AS SELECT group_id, last_batch FROM wb.flush_state;"
        "UPDATE wb.flush_state SET last_batch = last_batch + 1000000",
        "UPDATE wb.flush_state AS f SET last_batch = b.last_batch FROM public.batches AS b"
        " WHERE b.group_id = f.group_id",
        "log"},
    {"the schema says that it has another version", "UPDATE wb.meta SET schema_version = schema_version + 96",
        "UPDATE wb.meta SET schema_version = schema_version - 96", "version"},
};

/* The leader of every group has stopped flushing, and says @word. */
static void expect_halted(struct cluster *c, const char *word)
{
    for (unsigned group = 0; group < c->groups; group++) {
        cluster_wait_flush_state(c, group, "halted", WAIT_MS);
    }
    struct wbcache_status *status = cluster_status(c);
    assert_non_null(status);
    for (unsigned group = 0; group < c->groups; group++) {
        const struct wbcache_group_status *g = cluster_leader_of(status, group, NULL);
        assert_non_null(g);
        if (group == 0) {
            say("  halted: %s", g->flush_error);
        }
        if (strstr(g->flush_error, word) == NULL) {
            fail_msg("group %u does not say '%s': %s", group, word, g->flush_error);
        }
        assert_string_equal(g->flush_error_class, "halt");
    }
    wbcache_status_free(status);
}

static void a_fence_that_somebody_damaged_halts_the_flush_with_words(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    cluster_start(c, NULL);
    s->ledger = ledger_create("damage", KEYS);
    bad_rows_write(c, s->ledger, 0, KEYS);
    verify_all(c, s->ledger);
    PGconn *conn = sql_connect_or_fail(c->database);
    for (unsigned i = 0; i < sizeof damages / sizeof *damages; i++) {
        const struct damage *d = &damages[i];
        say("%s, and every connection is lost", d->what);
        sql_run_or_fail(conn, "BEGIN; LOCK TABLE wb.flush_state; %s; COMMIT", d->sql);
        sql_run_or_fail(conn, "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE "
                              "datname = current_database()"
                              " AND backend_type = 'client backend' AND pid <> pg_backend_pid()");
        expect_halted(c, d->word);
        int64_t highest = sql_number_or_fail(conn, "SELECT max(version) FROM wb.entry");
        bad_rows_write(c, s->ledger, 0, KEYS);
        verify_cache(c, s->ledger);
        assert_int_equal(sql_number_or_fail(conn, "SELECT max(version) FROM wb.entry"), highest);
        say("  writes are acknowledged and read back, and none is flushed; it is undone");
        sql_run_or_fail(conn, "%s", d->undo);
        for (unsigned group = 0; group < c->groups; group++) {
            cluster_wait_flush_state(c, group, "active", WAIT_MS);
        }
        verify_all(c, s->ledger);
    }
    PQfinish(conn);
    s->passed = true;
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 0, 0);
    const struct CMUnitTest tests[] = {
        scenario_test(a_fence_that_somebody_damaged_halts_the_flush_with_words, &options),
    };
    return cmocka_run_group_tests_name("damaged_fence", tests, NULL, NULL);
}
