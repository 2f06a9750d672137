/* The promises, held through the Redis port: clients of all manners use strings, hashes and transactions of a
 * few hot and some cold keys while leaders are killed, paused and led away, and PostgreSQL is away at times.
 * What each of them asked and was answered is a history; the history of each object must be one that a single
 * object could have given. Errors that say that nothing was done are taken at their word, and so is READONLY.
 *
 *     redis_promises_test --rounds 1000 --seed 1 --history all.jsonl
 *
 * Round n has the seed S + n: `--seed S+n --rounds 1` draws the same operations and faults again (not the
 * same timing: these are real processes). --history FILE writes what all rounds did, for wbcheck. */
#include "cluster-tests/scenario.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster-tests/counter_sum.h"
#include "cluster-tests/faults.h"
#include "cluster-tests/linear.h"
#include "cluster-tests/redis_callers.h"
#include "cluster-tests/redis_rows.h"
#include "cluster-tests/sql.h"
#include "proto/base/alloc.h"
#include "proto/base/clock.h"
#include "proto/slot.h"

enum {
    PATIENT = 3,
    HASTY = 2,
    PIPING = 3,
    CHANGING = 3,
    FLOODING = 1,
    STALE = 2,
    FLOOD = 240, /* counters: three times what one group may leave unflushed */
    PAUSE_MEAN_MS = 12,
    PATIENCE_MS = 20000,
    FAULTS_MS = 2000,
    FLOOD_MS = 250,
    FLOODS_MAX = 8, /* at most so many times FLOOD_MS in one go */
    AWAY_EVERY = 3, /* rounds */
    HISTORY_BYTES_MAX = 64 * 1024 * 1024,
    READER = 1000, /* the client that reads everything at the end, in the history */
    READER_MS = 30000,
    SETTLE_MS = 10000,
    OUTPUT_BYTES = 16384,
    ADDRESSES_BYTES = 512,
    SAY_EVERY = 5,
    ROUNDS_FOR_ALL = 6, /* fewer replay something, and need not show everything */
};

static const char *history_path; /* --history */

/* How many objects of each kind, and how many of them are hot. */
static const struct {
    const char *word;
    unsigned n, hot;
} kinds[REDIS_KINDS] = {
    [REDIS_COUNTER] = {"counter", 4, 2},
    [REDIS_TEXT] = {"text", 6, 2},
    [REDIS_FIELD_COUNTER] = {"field-counter", 3, 1},
    [REDIS_FIELD] = {"field", 5, 1},
    [REDIS_FAMILY] = {"family", 4, 1},
    [REDIS_RECORD] = {"record", 4, 1},
};

struct redis_promises {
    struct scenario *s;
    char addresses[ADDRESSES_BYTES];
    struct redis_callers *callers;
    struct redis_caller reader;
    struct redis_piece piece; /* the reader's */
    struct faults faults;
    PGconn *conn;
    FILE *all; /* what --history names, or NULL */
    struct redis_world world;
    struct redis_found found[REDIS_OBJECTS_MAX]; /* at the end of the round */
    uint64_t seed;                               /* of this round */
    char seed_text[24];                          /* in all keys of this round */
    uint64_t operations, unknown, steps;
    uint64_t counters, counters_exact;
    uint64_t away; /* rounds */
    struct redis_rows_count rows;
};

/* ---- The objects ---- */

static unsigned add_object(struct redis_promises *p, enum redis_kind kind, const char *word)
{
    struct redis_world *w = &p->world;
    struct redis_object *o = &w->objects[w->n];
    *o = (struct redis_object){.kind = kind};
    snprintf(o->name, sizeof o->name, "%s-%u-%s", word, w->n, p->seed_text);
    return w->n++;
}

static void make_world(struct redis_promises *p, uint64_t seed)
{
    struct redis_world *w = &p->world;
    p->seed = seed;
    snprintf(p->seed_text, sizeof p->seed_text, "%016" PRIx64, seed);
    w->n = w->n_hot = w->n_cold = w->n_own = 0;
    for (unsigned kind = 0; kind < REDIS_KINDS; kind++) {
        for (unsigned i = 0; i < kinds[kind].n; i++) {
            unsigned object = add_object(p, (enum redis_kind)kind, kinds[kind].word);
            if (i < kinds[kind].hot) {
                w->hot[w->n_hot++] = object;
            } else {
                w->cold[w->n_cold++] = object;
            }
        }
    }
    for (unsigned i = 0; i < PIPING; i++) {
        w->own[w->n_own++] = add_object(p, i % 2 == 0 ? REDIS_TEXT : REDIS_FIELD, "own");
    }
    w->flood = w->n;
    for (w->n_flood = 0; w->n_flood < FLOOD; w->n_flood++) {
        add_object(p, REDIS_COUNTER, "flood");
    }
}

/* ---- One round ---- */

/* Keep the round's history as a file, and fail. */
static void fail_round(const struct redis_promises *p, const struct history *h, const char *why)
{
    char path[192];
    snprintf(path, sizeof path, "%s/history-%" PRIu64 ".jsonl", p->s->cluster.dir, p->seed);
    FILE *out = fopen(path, "w");
    bool kept = out != NULL && history_write(h, out) == STATUS_OK;
    if (out != NULL) {
        kept = fclose(out) == 0 && kept;
    }
    say("the round with seed %" PRIu64 " failed; try it again with --seed %" PRIu64 " --rounds 1", p->seed,
        p->seed);
    say("its history %s: %s", kept ? "is kept; judge it again with wbcheck" : "could not be written", path);
    fail_msg("%s", why);
}

/* Flood under faults, until so many more increments were answered or, in vain, refused. */
static void flood(struct redis_promises *p, uint64_t answered_more, uint64_t refused_more)
{
    uint64_t answered, refused, answered_before, refused_before;
    redis_callers_flooded(p->callers, &answered_before, &refused_before);
    redis_callers_flood(p->callers, true);
    for (unsigned i = 0; i < FLOODS_MAX; i++) {
        faults_run(&p->faults, p->seed + (answered_more + i) * (UINT64_MAX / 5), FLOOD_MS);
        redis_callers_flooded(p->callers, &answered, &refused);
        if (answered - answered_before >= answered_more && refused - refused_before >= refused_more) {
            break;
        }
    }
    redis_callers_flood(p->callers, false);
}

static void hurt(struct redis_promises *p)
{
    if (p->seed % AWAY_EVERY != 0) {
        faults_run(&p->faults, p->seed, FAULTS_MS);
        return;
    }
    /* First, all counters are in memory and in PostgreSQL: then they can be added to without it, and need
     * more of what may be left unflushed than there is. */
    flood(p, 4 * FLOOD, 0);
    faults_run(&p->faults, p->seed, FLOOD_MS);
    cluster_pg_stop(&p->s->cluster, p->seed % 2 == 0);
    flood(p, 0, FLOOD);
    cluster_pg_start(&p->s->cluster);
    p->away++;
    faults_run(&p->faults, p->seed + UINT64_MAX / 3, FAULTS_MS / 2);
}

/* Read object number @i as one more client, with all fields when it has some. */
static void read_object(struct redis_promises *p, unsigned i)
{
    struct redis_caller *reader = &p->reader;
    const struct redis_object *o = &p->world.objects[i];
    uint64_t until_ms = clock_boot_ms() + READER_MS;
    enum redis_answer answer;
    do {
        redis_piece_clear(&p->piece);
        redis_caller_add(
            reader, &p->piece, o, redis_object_fields(o) > 0 ? REDIS_FORM_READ_ALL : REDIS_FORM_READ);
        answer = redis_caller_do(reader, &p->piece);
    } while (answer != REDIS_ANSWER_RESULT && answer != REDIS_ANSWER_WRONG && clock_boot_ms() < until_ms);
    if (answer != REDIS_ANSWER_RESULT) {
        char why[400];
        snprintf(why, sizeof why, "%s cannot be read at the end: %s: %s", o->name, redis_answer_words(answer),
            reader->numbers.error);
        fail_round(p, &reader->history, why);
    }
    const struct history_result *result = &reader->history.events[reader->history.n_events - 1].result;
    p->found[i] = (struct redis_found){.found = result->found, .value = result->value};
}

static void read_all(struct redis_promises *p)
{
    for (unsigned i = 0; i < p->world.n; i++) {
        read_object(p, i);
    }
}

static void judge_sum(struct redis_promises *p, const struct history *h, unsigned i)
{
    const struct redis_object *o = &p->world.objects[i];
    char text[REDIS_VALUE_BYTES] = "0";
    if (p->found[i].found) {
        snprintf(text, sizeof text, "%.*s", (int)p->found[i].value.len, (const char *)p->found[i].value.data);
    }
    struct counter_sum sum = counter_sum(h, bytes_from_text(o->name), strtoll(text, NULL, 10));
    p->counters++;
    p->counters_exact += sum.exact ? 1 : 0;
    if (!sum.possible) {
        char why[256];
        snprintf(why, sizeof why,
            "%s is %s, but its %" PRIu64 " acknowledged increments add up to %" PRId64 " (and %" PRIu64
            " are unknown)",
            o->name, text, sum.acknowledged_count, sum.acknowledged, sum.unknown_count);
        fail_round(p, h, why);
    }
}

static void judge_history(struct redis_promises *p, const struct history *h)
{
    struct linear_report report;
    enum linear_status status = linear_check(h, NULL, &report);
    p->operations += report.known + report.unknown;
    p->unknown += report.unknown;
    p->steps += report.steps;
    if (status != LINEAR_LINEARIZABLE) {
        printf("%.*s\n", (int)report.explanation.len, (const char *)report.explanation.data);
        linear_report_deinit(&report);
        fail_round(p, h, linear_status_text(status));
    }
    linear_report_deinit(&report);
}

/* ---- PostgreSQL ---- */

/* Ask the leader of object number @i to wait until PostgreSQL has all of its group. */
static bool wait_flush(struct redis_promises *p, unsigned i)
{
    struct redis_client *client = &p->reader.client;
    const char *const words[] = {"WB.WAITFLUSH", p->world.objects[i].name, "5000"};
    unsigned node = p->reader.hint[i];
    struct buf out;
    struct reply reply;
    int64_t flushed = 0;
    buf_init(&out);
    redis_command(&out, words, 3);
    bool replied = redis_client_connect(client, node) && redis_client_send(client, node, buf_bytes(&out)) &&
                   redis_client_receive(client, node, READER_MS, &reply);
    buf_deinit(&out);
    return replied && reply.type == ':' && reply_number(&reply, &flushed) && flushed == 1;
}

static bool wait_all_flushed(struct redis_promises *p)
{
    for (unsigned group = 0; group < p->s->cluster.groups; group++) {
        unsigned i = 0;
        while (i < p->world.n && slot_group(slot_of(bytes_from_text(p->world.objects[i].name)),
                                     p->s->cluster.groups) != group) {
            i++;
        }
        assert_true(i < p->world.n);
        if (!wait_flush(p, i)) {
            return false;
        }
    }
    return true;
}

/* A connection to PostgreSQL, which may have been stopped since there was one. */
static bool connect_database(struct redis_promises *p)
{
    if (p->conn != NULL && PQstatus(p->conn) != CONNECTION_OK) {
        PQfinish(p->conn);
        p->conn = NULL;
    }
    if (p->conn == NULL) {
        p->conn = sql_connect(p->s->cluster.database);
    }
    return p->conn != NULL;
}

/* In the end: an operation of unknown outcome may still happen while this looks. */
static void compare_with_database(struct redis_promises *p, const struct history *h)
{
    uint64_t until_ms = clock_boot_ms() + SETTLE_MS;
    struct redis_rows_count count;
    char why[256] = "PostgreSQL does not get what is in the cache";
    while (!wait_all_flushed(p) || !connect_database(p) ||
           !redis_rows_equal(
               p->conn, p->seed_text, p->world.objects, p->found, p->world.n, &count, why, sizeof why)) {
        if (clock_boot_ms() >= until_ms) {
            fail_round(p, h, why);
        }
        pass_ms(100);
        read_all(p);
    }
    p->rows.strings += count.strings;
    p->rows.fields += count.fields;
}

/* ---- A round, and all of them ---- */

static void begin_reading(struct redis_promises *p)
{
    history_deinit(&p->reader.history);
    history_init(&p->reader.history, HISTORY_BYTES_MAX);
    redis_caller_objects(&p->reader, p->world.objects, p->world.n, p->seed);
}

static void keep_history(struct redis_promises *p, const struct history *h)
{
    if (p->all != NULL && (history_write(h, p->all) != STATUS_OK || fflush(p->all) != 0)) {
        fail_msg("%s: %s", history_path, strerror(errno));
    }
}

static void run_round(struct redis_promises *p, uint64_t seed)
{
    struct history h;
    history_init(&h, 2 * (size_t)HISTORY_BYTES_MAX);
    make_world(p, seed);
    begin_reading(p);
    redis_callers_start(p->callers, seed, &p->world);
    hurt(p);
    faults_heal(&p->faults);
    enum status status = redis_callers_stop(p->callers, &h);
    struct redis_callers_numbers n = redis_callers_numbers(p->callers);
    if (status != STATUS_OK || n.callers.error[0] != '\0') {
        fail_round(p, &h, n.callers.error[0] != '\0' ? n.callers.error : "a history is full");
    }
    read_all(p);
    for (unsigned i = 0; i < p->world.n; i++) {
        if (redis_kind_is_counter(p->world.objects[i].kind)) {
            judge_sum(p, &h, i);
        }
    }
    assert_int_equal(history_merge(&h, &p->reader.history), STATUS_OK);
    keep_history(p, &h);
    judge_history(p, &h);
    compare_with_database(p, &h);
    history_deinit(&h);
}

static void say_numbers(const struct redis_promises *p, unsigned rounds)
{
    struct redis_callers_numbers n = redis_callers_numbers(p->callers);
    say("  %u rounds: %" PRIu64 " operations judged, %" PRIu64
        " of them unknown; a patient client waited %" PRIu64 " ms at most",
        rounds, p->operations, p->unknown, n.callers.slowest_ms);
    say("    %" PRIu64 " kills, %" PRIu64 " pauses, %" PRIu64 " hand-overs, %" PRIu64
        " times without a quorum, %" PRIu64 " times without PostgreSQL",
        p->faults.kills, p->faults.pauses, p->faults.hand_overs, p->faults.no_quorum, p->away);
    say("    %" PRIu64 " of %" PRIu64 " counters are exactly the acknowledged sum; %" PRIu64
        " rows and %" PRIu64 " fields in PostgreSQL are what the cache has",
        p->counters_exact, p->counters, p->rows.strings, p->rows.fields);
}

static void say_answers(const struct redis_caller_numbers *n)
{
    for (unsigned answer = 0; answer < REDIS_ANSWERS; answer++) {
        say("  %s: %" PRIu64 " (%" PRIu64 " of them to single increments)",
            redis_answer_words((enum redis_answer)answer), n->answers[answer], n->add_answers[answer]);
    }
}

/* A test that hurt nobody has shown nothing. */
static void expect_trouble(
    const struct redis_promises *p, const struct redis_caller_numbers *n, unsigned rounds)
{
    assert_true(p->faults.kills + p->faults.pauses + p->faults.hand_overs >= rounds);
    assert_true(n->slow > 0);
    assert_true(n->answers[REDIS_ANSWER_MOVED] > 0);
    assert_true(n->answers[REDIS_ANSWER_CONFLICT] > 0);
    assert_true(n->answers[REDIS_ANSWER_UNKNOWN] + n->answers[REDIS_ANSWER_CLOSED] > 0);
    assert_true(p->away > 0 && n->add_answers[REDIS_ANSWER_OOM] > 0);
}

static void expect_enough_happened(const struct redis_promises *p, unsigned rounds)
{
    struct redis_callers_numbers n = redis_callers_numbers(p->callers);
    for (unsigned form = 0; form < REDIS_FORMS; form++) {
        say("  %s: %" PRIu64, redis_form_words((enum redis_form)form), n.callers.asked[form]);
        assert_true(n.callers.asked[form] > 0);
    }
    say_answers(&n.callers);
    say("  %" PRIu64 " replies to pieces showed no older state than the one before; %" PRIu64
        " steps of the judge",
        n.callers.ordered, p->steps);
    assert_true(n.callers.ordered > 0);
    for (unsigned node = 0; node < p->s->cluster.nodes; node++) {
        say("  node %u showed %" PRIu64 " values to READONLY clients", node + 1, n.stale_reads[node]);
        assert_true(n.stale_reads[node] > 0);
    }
    say("  %" PRIu64 " of these were older than what the same connection had shown", n.stale_gone_back);
    if (rounds >= ROUNDS_FOR_ALL) {
        expect_trouble(p, &n.callers, rounds);
    }
    /* Every fault is over before patience is. */
    assert_int_equal(n.callers.given_up, 0);
}

static void run_rounds(struct redis_promises *p)
{
    const struct scenario_options *options = &p->s->options;
    if (history_path != NULL && (p->all = fopen(history_path, "w")) == NULL) {
        fail_msg("%s: %s", history_path, strerror(errno));
    }
    say("%u rounds of faults for %d ms", options->rounds, FAULTS_MS);
    for (unsigned round = 0; round < options->rounds; round++) {
        run_round(p, options->seed + round);
        if ((round + 1) % SAY_EVERY == 0 || round + 1 == options->rounds) {
            say_numbers(p, round + 1);
        }
    }
    expect_enough_happened(p, options->rounds);
}

/* WBCACHE_REDIS=..., perhaps quoted, in what tools/cluster env says. */
static void find_addresses(struct redis_promises *p)
{
    char *output = xmalloc(OUTPUT_BYTES);
    int code = cluster_tool(&p->s->cluster, (const char *const[]){"env", NULL}, output, OUTPUT_BYTES);
    static const char name[] = "WBCACHE_REDIS=";
    const char *at = code == 0 ? strstr(output, name) : NULL;
    if (at != NULL) {
        at += sizeof name - 1;
        at += *at == '\'';
        snprintf(p->addresses, sizeof p->addresses, "%.*s", (int)strcspn(at, "'\n"), at);
    }
    free(output);
    assert_string_not_equal(p->addresses, "");
}

static void redis_clients_see_one_object_for_each_key_whatever_happens(void **state)
{
    struct scenario *s = *state;
    /* Snapshots all the time, leaders spread again soon, rows flushed soon: as in promises_test. Little may
     * be left unflushed, and commands end soon, so that there are all kinds of errors. */
    cluster_start(
        &s->cluster, &(struct cluster_options){
                         .settings = {"raft.snapshot_log_bytes=262144", "raft.snapshot_trailing=64",
                             "raft.spread_stable_ms=1000", "flush.age_ms=50", "limits.dirty_entries=80",
                             "redis.request_timeout_ms=800", "redis.leader_wait_ms=400"}});
    struct redis_promises *p = xcalloc(1, sizeof *p);
    p->s = s;
    find_addresses(p);
    faults_init(&p->faults, &s->cluster);
    redis_caller_init(&p->reader, p->addresses, READER, HISTORY_BYTES_MAX);
    p->reader.patience_ms = p->reader.reply_ms = READER_MS;
    p->callers = redis_callers_create(&(struct redis_callers_config){.addresses = p->addresses,
        .n = {[REDIS_PATIENT] = PATIENT,
            [REDIS_HASTY] = HASTY,
            [REDIS_PIPING] = PIPING,
            [REDIS_CHANGING] = CHANGING,
            [REDIS_FLOODING] = FLOODING,
            [REDIS_STALE] = STALE},
        .patience_ms = PATIENCE_MS,
        .pause_mean_ms = PAUSE_MEAN_MS,
        .history_bytes_max = HISTORY_BYTES_MAX});
    run_rounds(p);
    redis_callers_destroy(p->callers);
    redis_caller_deinit(&p->reader);
    PQfinish(p->conn);
    if (p->all != NULL) {
        assert_int_equal(fclose(p->all), 0);
    }
    free(p);
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
    scenario_options(&options, argc, argv, 12, 0);
    const struct CMUnitTest tests[] = {
        scenario_test(redis_clients_see_one_object_for_each_key_whatever_happens, &options),
    };
    return cmocka_run_group_tests_name("redis_promises", tests, NULL, NULL);
}
