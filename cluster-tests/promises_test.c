/* Exactly once, and linearizable, whatever happens to the leaders: many clients do all kinds of operations on
 * a few hot and some cold keys while leaders are killed, paused and led away. What every client asked and was
 * answered is a history; the history of each key must be one that a single object could have given.
 *
 *     promises_test --rounds 5000 --seed 1 --history all.jsonl
 *
 * Round n has the seed S + n: `--seed S+n --rounds 1` draws the same operations and faults again (not the
 * same timing: these are real processes). --history FILE writes what all rounds did, for wbcheck or any other
 * judge. */
#include "cluster-tests/scenario.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster-tests/callers.h"
#include "cluster-tests/counter_sum.h"
#include "cluster-tests/faults.h"
#include "cluster-tests/linear.h"
#include "proto/base/clock.h"

enum {
    CALLERS = 14,
    HASTY = 3,
    SLEEPY = 3,
    COUNTERS = 6,
    HOT_COUNTERS = 2,
    KEYS = 18,
    HOT_OTHERS = 2,
    PAUSE_MEAN_MS = 15,
    FAULTS_MS = 2000,
    PATIENT_DEADLINE_MS = 20000,
    READER_DEADLINE_MS = 30000,
    HISTORY_BYTES_MAX = 64 * 1024 * 1024,
    READER = 1000, /* the client that reads everything at the end, in the history */
    SAY_EVERY = 10,
};

static const char *history_path; /* --history */

struct promises {
    struct scenario *s;
    struct callers *callers;
    struct faults faults;
    struct wbcache *reader;
    FILE *all; /* what --history names, or NULL */
    uint64_t operations, steps;
    uint64_t counters, counters_exact; /* read at the ends of rounds; those without a doubt */
};

/* ---- One round ---- */

static void make_keys(struct callers_keys *keys, uint64_t seed)
{
    *keys = (struct callers_keys){
        .counters = COUNTERS, .all = KEYS, .hot_counters = HOT_COUNTERS, .hot_others = HOT_OTHERS};
    for (unsigned i = 0; i < KEYS; i++) {
        snprintf(keys->names[i], sizeof keys->names[i], "%s%u-%016" PRIx64, i < COUNTERS ? "counter" : "any",
            i, seed);
    }
}

/* Keep the round's history as a file, and fail. */
static void fail_round(const struct promises *p, const struct history *h, uint64_t seed, const char *why)
{
    char path[192];
    snprintf(path, sizeof path, "%s/history-%" PRIu64 ".jsonl", p->s->cluster.dir, seed);
    FILE *out = fopen(path, "w");
    bool kept = out != NULL && history_write(h, out) == STATUS_OK;
    if (out != NULL) {
        kept = fclose(out) == 0 && kept;
    }
    say("the round with seed %" PRIu64 " failed; try it again with --seed %" PRIu64 " --rounds 1", seed,
        seed);
    say("its history %s: %s", kept ? "is kept; judge it again with wbcheck" : "could not be written", path);
    fail_msg("%s", why);
}

/* Read @key as one more client. True: *@number is its value (0: it is not there), if that is a number. */
static void read_key(struct promises *p, struct history *h, uint64_t seed, const char *key, int64_t *number)
{
    size_t event;
    const struct history_arg arg = {0};
    struct bytes name = bytes_from_text(key);
    if (history_begin(h, READER, HISTORY_GET, name, &arg, clock_boot_ns(), &event) != STATUS_OK) {
        fail_round(p, h, seed, "the history is full");
    }
    void *value = NULL;
    size_t value_len = 0;
    uint64_t version = 0;
    int code = wbcache_get(p->reader, key, name.len, &value, &value_len, &version);
    struct history_result result = {.outcome = HISTORY_OK,
        .found = code == WBCACHE_OK,
        .value = bytes_of(value, value_len),
        .version = version};
    if (code == WBCACHE_OK || code == WBCACHE_NOT_FOUND) {
        history_end(h, event, &result, clock_boot_ns());
    } else {
        history_end_failed(h, event);
        fail_round(p, h, seed, wbcache_errmsg(p->reader));
    }
    *number = code == WBCACHE_OK ? strtoll(value, NULL, 10) : 0; /* a 0 byte follows the value */
    free(value);
}

static void judge_sum(
    struct promises *p, const struct history *h, uint64_t seed, const char *key, int64_t value)
{
    struct counter_sum sum = counter_sum(h, bytes_from_text(key), value);
    p->counters++;
    p->counters_exact += sum.exact ? 1 : 0;
    if (!sum.possible) {
        char why[256];
        snprintf(why, sizeof why,
            "%s is %" PRId64 ", but its %" PRIu64 " acknowledged increments add up to %" PRId64
            " (and %" PRIu64 " are unknown)",
            key, value, sum.acknowledged_count, sum.acknowledged, sum.unknown_count);
        fail_round(p, h, seed, why);
    }
}

static void judge_history(struct promises *p, const struct history *h, uint64_t seed)
{
    struct linear_report report;
    enum linear_status status = linear_check(h, NULL, &report);
    p->operations += report.known + report.unknown;
    p->steps += report.steps;
    if (status != LINEAR_LINEARIZABLE) {
        printf("%.*s\n", (int)report.explanation.len, (const char *)report.explanation.data);
        linear_report_deinit(&report);
        fail_round(p, h, seed, linear_status_text(status));
    }
    linear_report_deinit(&report);
}

static void keep_history(struct promises *p, const struct history *h)
{
    if (p->all != NULL && (history_write(h, p->all) != STATUS_OK || fflush(p->all) != 0)) {
        fail_msg("%s: %s", history_path, strerror(errno));
    }
}

static void run_round(struct promises *p, uint64_t seed)
{
    struct callers_keys keys;
    make_keys(&keys, seed);
    struct history h;
    history_init(&h, HISTORY_BYTES_MAX);
    callers_start(p->callers, seed, &keys);
    faults_run(&p->faults, seed, FAULTS_MS);
    faults_heal(&p->faults);
    enum status status = callers_stop(p->callers, &h);
    struct callers_numbers n = callers_numbers(p->callers);
    if (status != STATUS_OK || n.wrong > 0) {
        fail_round(p, &h, seed, n.wrong > 0 ? n.error : "a history is full");
    }
    int64_t numbers[KEYS];
    for (unsigned i = 0; i < KEYS; i++) {
        read_key(p, &h, seed, keys.names[i], &numbers[i]);
    }
    keep_history(p, &h);
    for (unsigned i = 0; i < COUNTERS; i++) {
        judge_sum(p, &h, seed, keys.names[i], numbers[i]);
    }
    judge_history(p, &h, seed);
    history_deinit(&h);
}

/* ---- All of them ---- */

static void say_numbers(const struct promises *p, unsigned rounds)
{
    struct callers_numbers n = callers_numbers(p->callers);
    say("  %u rounds: %" PRIu64 " operations judged, %" PRIu64 " answered (%" PRIu64
        " of them late), %" PRIu64 " not done, %" PRIu64 " unknown",
        rounds, p->operations, n.answered, n.slow, n.not_done, n.unknown);
    say("    %" PRIu64 " kills, %" PRIu64 " pauses, %" PRIu64 " hand-overs, %" PRIu64
        " times without a quorum; a patient client waited %" PRIu64 " ms at most",
        p->faults.kills, p->faults.pauses, p->faults.hand_overs, p->faults.no_quorum, n.slowest_ms);
}

static void expect_enough_happened(const struct promises *p, unsigned rounds)
{
    struct callers_numbers n = callers_numbers(p->callers);
    for (unsigned op = 0; op < HISTORY_OPS; op++) {
        say("  %s: %" PRIu64, history_op_word((enum history_op)op), n.asked[op]);
        assert_true(n.asked[op] > 0);
    }
    say("  %" PRIu64 " of %" PRIu64 " counters are exactly the acknowledged sum; %" PRIu64
        " steps of the judge",
        p->counters_exact, p->counters, p->steps);
    /* A test that hurt nobody has shown nothing. */
    assert_true(p->faults.kills + p->faults.pauses + p->faults.hand_overs >= rounds);
    assert_true(n.slow > 0);
    /* The library tries again until the deadline, and every fault is over before that. */
    assert_int_equal(n.unknown_of_patient, 0);
}

static void open_reader(struct promises *p)
{
    const struct wbcache_options options = {.deadline_ms = READER_DEADLINE_MS};
    if (wbcache_open(&p->reader, p->s->cluster.addresses, &options) != WBCACHE_OK) {
        fail_msg("%s", wbcache_errmsg(p->reader));
    }
}

static void run_rounds(struct promises *p)
{
    struct scenario *s = p->s;
    open_reader(p);
    if (history_path != NULL && (p->all = fopen(history_path, "w")) == NULL) {
        fail_msg("%s: %s", history_path, strerror(errno));
    }
    say("%u rounds: %d clients on %d keys, and faults for %d ms", s->options.rounds, CALLERS, KEYS,
        FAULTS_MS);
    for (unsigned round = 0; round < s->options.rounds; round++) {
        run_round(p, s->options.seed + round);
        if ((round + 1) % SAY_EVERY == 0 || round + 1 == s->options.rounds) {
            say_numbers(p, round + 1);
        }
    }
    expect_enough_happened(p, s->options.rounds);
}

static void clients_see_one_object_for_each_key_whatever_happens_to_leaders(void **state)
{
    struct scenario *s = *state;
    /* Snapshots are taken all the time, so that sessions come back from them; leaders are spread again soon,
     * by transfers under load; rows are flushed soon, so that a node that was restarted has to load them. */
    cluster_start(&s->cluster,
        &(struct cluster_options){.settings = {"raft.snapshot_log_bytes=262144", "raft.snapshot_trailing=64",
                                      "raft.spread_stable_ms=1000", "flush.age_ms=50"}});
    struct promises p = {.s = s};
    faults_init(&p.faults, &s->cluster);
    p.callers = callers_create(&(struct callers_config){.cluster = s->cluster.addresses,
        .callers = CALLERS,
        .hasty = HASTY,
        .sleepy = SLEEPY,
        .patient_deadline_ms = PATIENT_DEADLINE_MS,
        .pause_mean_ms = PAUSE_MEAN_MS,
        .history_bytes_max = HISTORY_BYTES_MAX});
    run_rounds(&p);
    callers_destroy(p.callers);
    wbcache_close(p.reader);
    if (p.all != NULL) {
        assert_int_equal(fclose(p.all), 0);
    }
    s->passed = true;
}

/* Take --history FILE out of the arguments: the rest is every scenario's. */
static void take_history_option(int *argc, char **argv)
{
    int kept = 1;
    for (int i = 1; i < *argc; i++) {
        if (strcmp(argv[i], "--history") == 0 && i + 1 < *argc) {
            history_path = argv[++i];
        } else {
            argv[kept++] = argv[i];
        }
    }
    *argc = kept;
    argv[kept] = NULL;
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    take_history_option(&argc, argv);
    scenario_options(&options, argc, argv, 50, 0);
    const struct CMUnitTest tests[] = {
        scenario_test(clients_see_one_object_for_each_key_whatever_happens_to_leaders, &options),
    };
    return cmocka_run_group_tests_name("promises", tests, NULL, NULL);
}
