/* wbdemo: what tools/quickstart shows. Writes through the cluster, kills a leader in the middle, waits for
 * the flush, and compares every acknowledged key with PostgreSQL. Exit code 0 only when nothing acknowledged
 * is missing. */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/clock.h"
#include "tools/wbdemo/verify.h"
#include "tools/wbdemo/writer.h"

enum { EXIT_LOST = 1, EXIT_USAGE = 2, EXIT_FAILED = 4 };
enum { FLUSH_PATIENCE_MS = 60000, KEYS_MAX = 10000000 };

struct options {
    struct writer_options writer;
    const char *database;
    const char *schema;
    uint32_t keys;
};

static void print_help(void)
{
    puts("Usage: wbdemo [OPTIONS]\n"
         "\n"
         "Writes keys demo:NNNNNNNN through the cluster, waits for the flush, and compares every "
         "acknowledged write\n"
         "with PostgreSQL.\n"
         "\n"
         "  --cluster HOST:PORT,...  (default: $WBCACHE_CLUSTER)\n"
         "  --database DSN           the cluster's database, as libpq takes it (default: $WBCACHE_DATABASE)\n"
         "  --schema NAME            where the cluster keeps its tables (default wb)\n"
         "  --keys N                 different keys (default 20000)\n"
         "  --writes N               writes (default 200000)\n"
         "  --at-half COMMAND        shell command to run in the middle; $WBDEMO_NODE is the leader of group "
         "0\n"
         "\n"
         "Exit code: 0 nothing acknowledged is missing, 1 something is, 2 wrong usage, 4 it could not be "
         "tried.");
}

static bool parse_count(const char *text, uint64_t max, uint64_t *out)
{
    char *end;
    unsigned long long v = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || v == 0 || v > max) {
        fprintf(stderr, "wbdemo: '%s' is not a number from 1 to %" PRIu64 "\n", text, max);
        return false;
    }
    *out = v;
    return true;
}

/* -1: go on; else exit with that code. */
static int parse_options(int argc, char **argv, struct options *o)
{
    static const struct option table[] = {
        {"cluster", required_argument, NULL, 'c'},
        {"database", required_argument, NULL, 'd'},
        {"schema", required_argument, NULL, 's'},
        {"keys", required_argument, NULL, 'k'},
        {"writes", required_argument, NULL, 'w'},
        {"at-half", required_argument, NULL, 'a'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int c;
    uint64_t number;
    while ((c = getopt_long(argc, argv, "h", table, NULL)) != -1) {
        switch (c) {
        case 'c':
            o->writer.cluster = optarg;
            break;
        case 'd':
            o->database = optarg;
            break;
        case 's':
            o->schema = optarg;
            break;
        case 'k':
            if (!parse_count(optarg, KEYS_MAX, &number)) {
                return EXIT_USAGE;
            }
            o->keys = (uint32_t)number;
            break;
        case 'w':
            if (!parse_count(optarg, UINT32_MAX / 2, &o->writer.writes)) {
                return EXIT_USAGE;
            }
            break;
        case 'a':
            o->writer.at_half = optarg;
            break;
        case 'h':
            print_help();
            return 0;
        default:
            return EXIT_USAGE;
        }
    }
    if (o->writer.cluster == NULL || o->database == NULL || optind < argc) {
        fputs("wbdemo: --cluster and --database are needed; see wbdemo --help\n", stderr);
        return EXIT_USAGE;
    }
    return -1;
}

static void print_writes(const struct writer_report *r)
{
    uint64_t worst = 0;
    printf("  %" PRIu64 " writes acknowledged in %.1f s (%.0f a second)\n", r->acknowledged,
        (double)r->elapsed_ms / 1000, (double)r->acknowledged * 1000 / (double)(r->elapsed_ms + 1));
    printf("  %" PRIu64 " with an unknown outcome, %" PRIu64 " refused\n", r->unknown, r->refused);
    if (r->last_refusal[0] != '\0') {
        printf("  the last refusal was %s\n", r->last_refusal);
    }
    if (r->node == 0) {
        return;
    }
    for (uint32_t g = 0; g < r->group_count; g++) {
        if (r->led[g]) {
            printf("  group %" PRIu32 " was led by node %" PRIu64 ": it took no writes for %.2f s\n", g,
                r->node, (double)r->pause_ms[g] / 1000);
        } else if (r->pause_ms[g] > worst) {
            worst = r->pause_ms[g];
        }
    }
    printf("  the other groups' longest pause was %.2f s\n", (double)worst / 1000);
}

static bool wait_for_flush(const char *cluster)
{
    struct wbcache *cache = NULL;
    struct wbcache_options options = {.deadline_ms = FLUSH_PATIENCE_MS};
    uint64_t start = clock_boot_ms();
    int code = wbcache_open(&cache, cluster, &options);
    if (code == WBCACHE_OK) {
        code = wbcache_flush(cache);
    }
    if (code == WBCACHE_OK) {
        printf("  everything was in PostgreSQL %.2f s later\n", (double)(clock_boot_ms() - start) / 1000);
    } else {
        fprintf(stderr, "wbdemo: the flush did not end: %s: %s\n", wbcache_code_name(code),
            cache != NULL ? wbcache_errmsg(cache) : wbcache_strerror(code));
    }
    wbcache_close(cache);
    return code == WBCACHE_OK;
}

static int print_verdict(const struct verify_report *v)
{
    printf("  %" PRIu32 " keys hold exactly their last acknowledged write\n", v->right);
    if (v->unknown_happened + v->unknown_did_not > 0) {
        printf("  %" PRIu32 " keys had a write with an unknown outcome: %" PRIu32
               " of them happened, %" PRIu32 " did not; both are right\n",
            v->unknown_happened + v->unknown_did_not, v->unknown_happened, v->unknown_did_not);
    }
    if (v->missing + v->wrong == 0) {
        puts("  nothing acknowledged is missing");
        return 0;
    }
    printf("  LOST: %" PRIu32 " acknowledged keys have no row, %" PRIu32 " have a wrong one (%s)\n",
        v->missing, v->wrong, v->example);
    return EXIT_LOST;
}

int main(int argc, char **argv)
{
    struct options o = {.writer = {.cluster = getenv("WBCACHE_CLUSTER"), .writes = 200000},
        .database = getenv("WBCACHE_DATABASE"),
        .schema = "wb",
        .keys = 20000};
    int rc = parse_options(argc, argv, &o);
    if (rc >= 0) {
        return rc;
    }
    signal(SIGPIPE, SIG_IGN);
    uint64_t run;
    random_bytes(&run, sizeof run);
    struct ledger ledger;
    ledger_init(&ledger, o.keys, run);
    struct writer_report written;
    struct verify_report verified;
    char errmsg[512];
    rc = EXIT_FAILED;
    if (!writer_run(&o.writer, &ledger, &written, errmsg, sizeof errmsg)) {
        fprintf(stderr, "wbdemo: the cluster cannot be used: %s\n", errmsg);
        goto out_ledger;
    }
    print_writes(&written);
    if (written.command_status != 0) {
        fprintf(stderr, "wbdemo: the command in the middle failed\n");
        goto out_ledger;
    }
    if (!wait_for_flush(o.writer.cluster)) {
        goto out_ledger;
    }
    if (!verify_run(&ledger, o.database, o.schema, &verified, errmsg, sizeof errmsg)) {
        fprintf(stderr, "wbdemo: PostgreSQL cannot be read: %s\n", errmsg);
        goto out_ledger;
    }
    rc = print_verdict(&verified);
    if (rc == 0 && written.acknowledged == 0) {
        fputs("wbdemo: no write was acknowledged, so nothing is shown\n", stderr);
        rc = EXIT_FAILED;
    }
out_ledger:
    ledger_deinit(&ledger);
    return rc;
}
