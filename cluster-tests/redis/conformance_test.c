/* Ours against a real redis-server: the same commands to both, every reply compared. See README.md. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster-tests/redis/random_part.h"
#include "cluster-tests/redis/reference.h"
#include "cluster-tests/redis/script_part.h"
#include "cluster-tests/redis/show.h"
#include "cluster-tests/scenario.h"
#include "proto/base/alloc.h"
#include "proto/base/clock.h"

enum { TESTS = 4, SEQUENCES = 100000, LANES = 128, SHOWN = 10, OUTPUT_BYTES = 16384, ADDRESSES_BYTES = 512 };

static const char *const script_names[] = {
    "strings.resp",
    "numbers.resp",
    "hashes.resp",
    "keys.resp",
    "expiry.resp",
    "transactions.resp",
    "connection.resp",
    "server.resp",
    "protocol.resp",
    "refused.resp",
    "valkey.resp",
};
enum { SCRIPTS = sizeof script_names / sizeof script_names[0] };

struct options {
    uint64_t seed, sequences, sequence;
    bool one_sequence; /* only that number */
    unsigned lanes, shown;
    const char *peer;   /* somebody else to compare with the reference */
    const char *ours;   /* a cluster that runs */
    const char *script; /* only that file */
    bool lockstep;
    bool valkey; /* it is the reference */
    bool keep;
};

struct conformance {
    struct options options;
    struct reference redis, valkey;
    struct cluster cluster;
    char ours[ADDRESSES_BYTES];
    bool refuses;
    struct script scripts[SCRIPTS];
    bool started;
    unsigned passed;
};

/* ---- Beginning and end ---- */

/* Of NAME='VALUE' in what tools/cluster env says. */
static void find_addresses(struct conformance *c)
{
    char *output = xmalloc(OUTPUT_BYTES);
    int code = cluster_tool(&c->cluster, (const char *const[]){"env", NULL}, output, OUTPUT_BYTES);
    const char *at = strstr(output, "WBCACHE_REDIS=");
    if (code == 0 && at != NULL) {
        at += strlen("WBCACHE_REDIS=");
        at += *at == '\'';
        snprintf(c->ours, sizeof c->ours, "%.*s", (int)strcspn(at, "'\n"), at);
    }
    free(output);
    assert_string_not_equal(c->ours, "");
}

static bool read_scripts(struct conformance *c)
{
    for (unsigned i = 0; i < SCRIPTS; i++) {
        char path[512], error[512];
        snprintf(path, sizeof path, "%s/%s", WB_REDIS_SCRIPTS, script_names[i]);
        if (!script_read(&c->scripts[i], path, error, sizeof error)) {
            show("%s: %s", script_names[i], error);
            return false;
        }
    }
    return true;
}

static bool start_reference(struct reference *r, enum reference_kind kind, const char *name)
{
    char error[256];
    if (!reference_start(r, kind, error, sizeof error)) {
        show("%s: %s", name, error);
        return false;
    }
    struct wire w;
    struct reply reply;
    bool asked = wire_open(&w, r->address) && wire_send(&w, bytes_from_text("INFO server\r\n")) &&
                 wire_receive(&w, &reply);
    const char *version = !asked ? NULL : memmem(reply.text.data, reply.text.len, "redis_version:", 14);
    const char *own = !asked ? NULL : memmem(reply.text.data, reply.text.len, "valkey_version:", 15);
    version = own != NULL ? own : version;
    if (version != NULL) {
        show("the reference %s says %.*s", name, (int)strcspn(version, "\r"), version);
    }
    wire_close(&w);
    return version != NULL;
}

/* A test like the others, since starting a cluster can fail like one. */
static void both_sides_start(void **state)
{
    struct conformance *c = *state;
    const struct options *o = &c->options;
    show("seed %" PRIu64, o->seed);
    assert_true(read_scripts(c));
    assert_true(start_reference(&c->redis, o->valkey ? REFERENCE_VALKEY : REFERENCE_REDIS, "server"));
    assert_true(start_reference(&c->valkey, REFERENCE_VALKEY, "for what Redis 7.0 does not have"));
    c->refuses = o->peer == NULL;
    if (o->peer != NULL || o->ours != NULL) {
        snprintf(c->ours, sizeof c->ours, "%s", o->peer != NULL ? o->peer : o->ours);
    } else {
        cluster_start(&c->cluster, NULL);
        find_addresses(c);
    }
    c->started = true;
    c->passed++;
}

static void end(struct conformance *c)
{
    cluster_end(&c->cluster, c->options.keep || c->passed < TESTS);
    reference_stop(&c->redis);
    reference_stop(&c->valkey);
    for (unsigned i = 0; i < SCRIPTS; i++) {
        script_free(&c->scripts[i]);
    }
}

/* ---- Tests ---- */

static void every_scripted_reply_is_that_of_the_reference(void **state)
{
    struct conformance *c = *state;
    assert_true(c->started);
    const struct script_part part = {.references = {c->redis.address, c->refuses ? c->valkey.address : NULL},
        .ours = c->ours,
        .refuses = c->refuses};
    struct script_result all = {0};
    for (unsigned i = 0; i < SCRIPTS; i++) {
        if (c->options.script == NULL || strcmp(c->options.script, script_names[i]) == 0) {
            script_part_run(&part, &c->scripts[i], script_names[i], &all);
        }
    }
    show("scripts: %u cases, %" PRIu64 " replies, %u differences%s", all.cases, all.replies, all.differences,
        c->refuses ? "" : " (what ours refuses was left out)");
    assert_true(all.cases > 0 || (c->options.script != NULL && strcmp(c->options.script, "none") == 0));
    assert_true(all.left_out == 0 || !c->refuses);
    assert_int_equal(all.broken, 0);
    assert_int_equal(all.differences, 0);
    c->passed++;
}

static void every_command_that_is_listed_is_in_a_script(void **state)
{
    struct conformance *c = *state;
    assert_true(c->started);
    if (c->refuses) {
        assert_int_equal(script_part_missing(c->ours, c->scripts, SCRIPTS), 0);
    }
    c->passed++;
}

static void random_sequences_get_the_same_replies(void **state)
{
    struct conformance *c = *state;
    const struct options *o = &c->options;
    assert_true(c->started);
    const struct random_part part = {
        .reference = c->redis.address,
        .ours = c->ours,
        .refuses = c->refuses,
        .seed = o->seed,
        .first = o->one_sequence ? o->sequence : 0,
        .count = o->one_sequence ? 1 : o->sequences,
        .lanes = o->one_sequence ? 1 : o->lanes,
        .lockstep = o->lockstep,
        .shown_max = o->shown,
        .replay = "redis_conformance_test --script none",
    };
    uint64_t begun_ms = clock_boot_ms();
    struct random_result r = random_part_run(&part);
    show("random: seed %" PRIu64 ", %" PRIu64 " sequences, %" PRIu64 " replies in %" PRIu64
         " ms, %u kinds of differences, %" PRIu64 " begun anew for a new leader",
        o->seed, r.sequences, r.replies, clock_boot_ms() - begun_ms, r.differences, r.settled_again);
    assert_false(r.broken);
    assert_int_equal(r.differences, 0);
    assert_int_equal(r.sequences, part.count);
    c->passed++;
}

/* ---- Options ---- */

static void usage(const char *program)
{
    fprintf(stderr,
        "Usage: %s [OPTIONS]\n"
        "  --sequences N     random sequences (default %d); also WBCACHE_TEST_ROUNDS\n"
        "  --seed S          their seed (default: from the kernel); also WBCACHE_TEST_SEED\n"
        "  --sequence N      only this one\n"
        "  --lanes N         so many at the same time (default %d)\n"
        "  --lockstep        one command at a time: tells whether a difference is the order's fault\n"
        "  --differences N   stop after so many kinds of differences (default %d)\n"
        "  --script FILE     only this script; \"none\": only random sequences\n"
        "  --ours A,B,...    compare with a cluster that runs\n"
        "  --peer HOST:PORT  compare with another server; what ours refuses is left out\n"
        "  --valkey          Valkey is the reference\n"
        "  --keep            leave the cluster's folder\n",
        program, SEQUENCES, LANES, SHOWN);
    exit(2);
}

static uint64_t number_from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL || *text == '\0' ? otherwise : strtoull(text, NULL, 10);
}

static void read_options(struct options *o, int argc, char **argv)
{
    static const struct option known[] = {
        {"sequences", required_argument, NULL, 'n'},
        {"seed", required_argument, NULL, 's'},
        {"sequence", required_argument, NULL, '1'},
        {"lanes", required_argument, NULL, 'l'},
        {"differences", required_argument, NULL, 'd'},
        {"script", required_argument, NULL, 'f'},
        {"ours", required_argument, NULL, 'o'},
        {"peer", required_argument, NULL, 'p'},
        {"lockstep", no_argument, NULL, 'w'},
        {"valkey", no_argument, NULL, 'v'},
        {"keep", no_argument, NULL, 'k'},
        {NULL, 0, NULL, 0},
    };
    random_bytes(&o->seed, sizeof o->seed);
    o->seed = number_from_environment("WBCACHE_TEST_SEED", o->seed >> 16);
    o->sequences = number_from_environment("WBCACHE_TEST_ROUNDS", SEQUENCES);
    o->lanes = LANES;
    o->shown = SHOWN;
    int option;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case 'n':
            o->sequences = strtoull(optarg, NULL, 10);
            break;
        case 's':
            o->seed = strtoull(optarg, NULL, 10);
            break;
        case '1':
            o->sequence = strtoull(optarg, NULL, 10);
            o->one_sequence = true;
            break;
        case 'l':
            o->lanes = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'd':
            o->shown = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'f':
            o->script = optarg;
            break;
        case 'o':
            o->ours = optarg;
            break;
        case 'p':
            o->peer = optarg;
            break;
        case 'w':
            o->lockstep = true;
            break;
        case 'v':
            o->valkey = true;
            break;
        case 'k':
            o->keep = true;
            break;
        default:
            usage(argv[0]);
        }
    }
    if (o->lanes < 2 || o->shown < 1 || o->shown > RANDOM_SHOWN_MAX || optind < argc) {
        usage(argv[0]);
    }
}

int main(int argc, char **argv)
{
    struct conformance *c = xcalloc(1, sizeof *c);
    c->cluster.guardian_fd = -1;
    read_options(&c->options, argc, argv);
    const struct CMUnitTest tests[TESTS] = {
        cmocka_unit_test_prestate(both_sides_start, c),
        cmocka_unit_test_prestate(every_scripted_reply_is_that_of_the_reference, c),
        cmocka_unit_test_prestate(every_command_that_is_listed_is_in_a_script, c),
        cmocka_unit_test_prestate(random_sequences_get_the_same_replies, c),
    };
    int failed = cmocka_run_group_tests_name("conformance", tests, NULL, NULL);
    end(c);
    free(c);
    return failed;
}
