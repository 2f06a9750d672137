/* The simulator itself: a seed is a run, the runs reach what they are for, and what is broken on purpose is
 * caught. (The seeds of every test run are the test wbsim_40_seeds.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cluster-tests/sim/sim.h"
#include "proto/base/alloc.h"

enum { DEFECT_SEEDS_MAX = 500, REACH_SEEDS = 30 };

static struct sim_result *run(struct sim_config config)
{
    struct sim_result *r = xmalloc(sizeof *r);
    sim_run(&config, r);
    return r;
}

static void the_same_seed_is_the_same_run(void **state)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct sim_result *one = run((struct sim_config){.seed = seed});
        struct sim_result *two = run((struct sim_config){.seed = seed});
        assert_int_equal(one->trace_hash, two->trace_hash);
        assert_int_equal(one->virtual_ms, two->virtual_ms);
        assert_int_equal(one->reads, two->reads);
        free(one);
        free(two);
    }
}

static void another_seed_is_another_run(void **state)
{
    struct sim_result *one = run((struct sim_config){.seed = 1});
    struct sim_result *two = run((struct sim_config){.seed = 2});
    assert_int_not_equal(one->trace_hash, two->trace_hash);
    free(one);
    free(two);
}

static void assert_reached(const char *what, uint64_t count)
{
    bool may_be_none = strcmp(what, "too_hard") == 0 || strcmp(what, "terminated") == 0;
    if (count == 0 && !may_be_none) {
        fail_msg("no seed up to %d reached this: %s", REACH_SEEDS, what);
    }
}

/* A simulator that never gets into trouble proves nothing. */
static void the_seeds_reach_the_trouble_that_they_are_for(void **state)
{
    struct sim_result sum = {0};
    for (uint64_t seed = 1; seed <= REACH_SEEDS; seed++) {
        struct sim_result *r = run((struct sim_config){.seed = seed});
        if (r->failed) {
            print_error("seed %llu: %s\n", (unsigned long long)seed, r->failure);
        }
        assert_false(r->failed);
        sim_result_add(&sum, r);
        free(r);
    }
#define X(name, text) assert_reached(#name, sum.name);
    SIM_COUNTS(X)
#undef X
    assert_true(sum.acknowledged > 1000);
    assert_true(sum.reads > 1000);
    assert_true(sum.offices > 2 * REACH_SEEDS);
    assert_true(sum.crashes > REACH_SEEDS);
    assert_true(sum.judged > 10 * sum.too_hard);
}

/* The first seed that sees it is enough; without the defect that seed passes. Where the search begins is a
 * matter of time only: some defects show in one run of a hundred. */
static void assert_caught_from(uint64_t seed, struct sim_config config)
{
    for (config.seed = seed; config.seed < seed + DEFECT_SEEDS_MAX; config.seed++) {
        struct sim_result *r = run(config);
        bool failed = r->failed;
        free(r);
        if (failed) {
            r = run((struct sim_config){.seed = config.seed});
            assert_false(r->failed);
            free(r);
            return;
        }
    }
    fail_msg("none of %d seeds saw it", DEFECT_SEEDS_MAX);
}

static void assert_caught(struct sim_config config)
{
    assert_caught_from(1, config);
}

static void a_database_without_a_fence_is_caught(void **state)
{
    assert_caught((struct sim_config){.defect = FAKE_DB_NO_FENCE});
}

static void a_database_that_loses_commits_is_caught(void **state)
{
    assert_caught((struct sim_config){.defect = FAKE_DB_LOSES_COMMITS});
}

static void a_take_that_does_not_wait_for_a_pending_commit_is_caught(void **state)
{
    assert_caught((struct sim_config){.defect = FAKE_DB_TAKE_SKIPS_LOCK});
}

static void a_database_that_skips_bad_rows_is_caught(void **state)
{
    assert_caught((struct sim_config){.defect = FAKE_DB_SKIPS_BAD_ROWS});
}

static void a_commit_before_its_bad_rows_are_in_the_log_is_caught(void **state)
{
    assert_caught((struct sim_config){.defect = FAKE_DB_COMMITS_ISOLATED});
}

static void bad_rows_that_nobody_hears_of_are_caught(void **state)
{
    assert_caught((struct sim_config){.defect = FAKE_DB_HIDES_FAULTS});
}

static void a_rewind_that_forgets_what_is_in_flight_is_caught(void **state)
{
    assert_caught((struct sim_config){.node_defect = SIM_REWIND_FORGETS});
}

static void a_retention_that_runs_while_the_database_is_away_is_caught(void **state)
{
    assert_caught((struct sim_config){.node_defect = SIM_TRIMS_AWAY});
}

static void a_freshness_that_was_not_proved_is_caught(void **state)
{
    assert_caught_from(115, (struct sim_config){.node_defect = SIM_FRESH_UNPROVED});
}

/* The database is there again, and its rows too, after minutes of trouble with little else. */
static void minutes_of_outages_pass(void **state)
{
    struct sim_result *r = run((struct sim_config){.seed = 1, .outage_minutes = 3});
    if (r->failed) {
        print_error("%s\n", r->failure);
    }
    assert_false(r->failed);
    assert_true(r->virtual_ms >= 3 * 60 * 1000);
    assert_true(r->fair_spells > 0);
    free(r);
}

static void reads_without_a_lease_are_caught(void **state)
{
    assert_caught((struct sim_config){.node_defect = SIM_NO_LEASE});
}

static void retries_that_execute_again_are_caught(void **state)
{
    assert_caught((struct sim_config){.node_defect = SIM_SESSIONS_IGNORED});
}

static void a_first_try_that_executes_after_its_retry_was_refused_is_caught(void **state)
{
    assert_caught_from(60, (struct sim_config){.node_defect = SIM_REFUSALS_FORGOTTEN});
}

static void expiry_by_the_clock_of_one_node_is_caught(void **state)
{
    assert_caught((struct sim_config){.node_defect = SIM_LOCAL_EXPIRY});
}

static void an_answer_that_saw_a_write_in_flight_and_is_not_proved_is_caught(void **state)
{
    assert_caught((struct sim_config){.node_defect = SIM_CAPTURES_UNPROVED});
}

static void a_load_that_outlives_a_write_is_caught(void **state)
{
    assert_caught_from(720, (struct sim_config){.node_defect = SIM_LOADS_LIVE});
}

static void a_transaction_in_two_entries_is_caught(void **state)
{
    assert_caught((struct sim_config){.node_defect = SIM_TRANSACTIONS_SPLIT});
}

static void a_transaction_that_the_flush_cuts_is_caught(void **state)
{
    assert_caught((struct sim_config){.node_defect = SIM_UNTIED});
}

static void a_request_that_overtakes_another_of_its_connection_is_caught(void **state)
{
    assert_caught((struct sim_config){.node_defect = SIM_OVERTAKING});
}

static void a_write_that_is_replaced_though_its_version_was_told_is_caught(void **state)
{
    assert_caught((struct sim_config){.node_defect = SIM_TOLD_REPLACED});
}

/* Of these the tests of every run are the first part: the others need minutes to meet what they look for. An
 * argument chooses from all of them by name, with * and ?. */
int main(int argc, char **argv)
{
    const struct CMUnitTest quick[] = {
        cmocka_unit_test(the_same_seed_is_the_same_run),
        cmocka_unit_test(another_seed_is_another_run),
        cmocka_unit_test(a_database_without_a_fence_is_caught),
        cmocka_unit_test(a_database_that_loses_commits_is_caught),
        cmocka_unit_test(a_database_that_skips_bad_rows_is_caught),
        cmocka_unit_test(a_commit_before_its_bad_rows_are_in_the_log_is_caught),
        cmocka_unit_test(bad_rows_that_nobody_hears_of_are_caught),
        cmocka_unit_test(a_rewind_that_forgets_what_is_in_flight_is_caught),
        cmocka_unit_test(reads_without_a_lease_are_caught),
        cmocka_unit_test(retries_that_execute_again_are_caught),
        cmocka_unit_test(expiry_by_the_clock_of_one_node_is_caught),
        cmocka_unit_test(a_transaction_in_two_entries_is_caught),
        cmocka_unit_test(a_transaction_that_the_flush_cuts_is_caught),
        cmocka_unit_test(a_request_that_overtakes_another_of_its_connection_is_caught),
        cmocka_unit_test(a_write_that_is_replaced_though_its_version_was_told_is_caught),
    };
    const struct CMUnitTest slow[] = {
        cmocka_unit_test(the_seeds_reach_the_trouble_that_they_are_for),
        cmocka_unit_test(minutes_of_outages_pass),
        cmocka_unit_test(a_take_that_does_not_wait_for_a_pending_commit_is_caught),
        cmocka_unit_test(a_retention_that_runs_while_the_database_is_away_is_caught),
        cmocka_unit_test(a_freshness_that_was_not_proved_is_caught),
        cmocka_unit_test(a_first_try_that_executes_after_its_retry_was_refused_is_caught),
        cmocka_unit_test(an_answer_that_saw_a_write_in_flight_and_is_not_proved_is_caught),
        cmocka_unit_test(a_load_that_outlives_a_write_is_caught),
    };
    if (argc == 1) {
        return cmocka_run_group_tests(quick, NULL, NULL);
    }
    cmocka_set_test_filter(argv[1]);
    int failed = cmocka_run_group_tests(quick, NULL, NULL);
    return failed + cmocka_run_group_tests(slow, NULL, NULL);
}
