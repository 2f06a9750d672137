#include "tools/wbbench/flush_options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/limits.h"
#include "tools/wbbench/flush_figures.h"
#include "tools/wbbench/flush_peer.h"
#include "tools/wbbench/flush_rows.h"

enum option_id { O_CLUSTER = 256, O_DATABASE, O_SCHEMA, O_KEYS, O_DRAIN, O_VALUE, O_RUNS, O_JSON, O_HELP };
enum { ROWS_MAX = 100000000 };

/* One row per option; getopt's table and the help come from here. */
static const struct {
    const char *name;
    const char *argument; /* NULL: none */
    enum option_id id;
    const char *help;
} rows[] = {
    {"cluster", "HOST:PORT,...", O_CLUSTER, "nodes to ask first (default: $WBCACHE_CLUSTER)"},
    {"database", "DSN", O_DATABASE, "the cluster's database, as libpq takes it (default: $WBCACHE_DATABASE)"},
    {"schema", "NAME", O_SCHEMA, "where the cluster keeps its tables (default wb)"},
    {"keys", "N", O_KEYS, "rows that are updated, and inserted (default 100000)"},
    {"drain", "N", O_DRAIN,
        "also drain so many dirty keys that are new to the database, once (default: not)"},
    {"value-bytes", "B", O_VALUE, "size of values (default 100)"},
    {"runs", "N", O_RUNS, "each figure is the median of so many runs, in turns (default 3)"},
    {"json", NULL, O_JSON, "the result as one JSON object"},
    {"help", NULL, O_HELP, "this text"},
};
enum { ROWS = sizeof rows / sizeof *rows };

static const char explanation[] =
    "\n"
    "All rows are written to the cluster, in a random order, while its flush is paused. Then it goes\n"
    "on, and the time runs until the flushed index of every group has reached its last write.\n"
    "The peer writes the same rows, in a random order too, into a table of the same shape "
    "(schema\n" FLUSH_PEER_SCHEMA
    ", dropped at the end): sorted binary arrays, one INSERT .. SELECT unnest ..\n"
    "ON CONFLICT DO UPDATE a transaction, pipelined, with a connection for each group, and batches of\n"
    "1,000, 5,000 and 10,000 rows, of which the fastest counts.\n"
    "Keys that begin with " FLUSH_KEY_PREFIX
    " are the benchmark's: they are deleted at its end. The database's role\n"
    "must be allowed to create a schema. Not beside other load.\n"
    "Exit code: 0 done, 2 wrong usage, 4 it could not be measured.";

static void print_help(void)
{
    puts("Usage: wbbench flush [OPTIONS]\n\n"
         "Measures how fast a cluster's flush writes to PostgreSQL, beside the best hand-written batch "
         "upsert.\n");
    for (size_t i = 0; i < ROWS; i++) {
        char left[64];
        snprintf(
            left, sizeof left, "--%s %s", rows[i].name, rows[i].argument != NULL ? rows[i].argument : "");
        printf("  %-28s %s\n", left, rows[i].help);
    }
    puts(explanation);
}

static bool parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || v < min || v > max) {
        return false;
    }
    *out = v;
    return true;
}

/* NULL when @value is fine, else what is wanted. */
static const char *take_option(int id, const char *value, struct flush_options *o)
{
    uint64_t v;
    switch (id) {
    case O_CLUSTER:
        o->cluster = value;
        return NULL;
    case O_DATABASE:
        o->database = value;
        return NULL;
    case O_SCHEMA:
        o->schema = value;
        return NULL;
    case O_KEYS:
        if (!parse_number(value, 1, ROWS_MAX, &v)) {
            return "a number from 1 to 100000000";
        }
        o->keys = (uint32_t)v;
        return NULL;
    case O_DRAIN:
        if (!parse_number(value, 0, ROWS_MAX, &v)) {
            return "a number from 0 to 100000000";
        }
        o->drain = (uint32_t)v;
        return NULL;
    case O_VALUE:
        if (!parse_number(value, FLUSH_MARK_BYTES, 4096, &v)) {
            return "bytes, from 8 to 4096";
        }
        o->value_bytes = (unsigned)v;
        return NULL;
    case O_RUNS:
        if (!parse_number(value, 1, FLUSH_RUNS_MAX, &v)) {
            return "a number from 1 to 99";
        }
        o->runs = (unsigned)v;
        return NULL;
    default:
        o->json = true;
        return NULL;
    }
}

static bool empty(const char *text)
{
    return text == NULL || text[0] == '\0';
}

int flush_options_parse(int argc, char **argv, struct flush_options *out)
{
    *out = (struct flush_options){.cluster = getenv("WBCACHE_CLUSTER"),
        .database = getenv("WBCACHE_DATABASE"),
        .schema = "wb",
        .keys = 100000,
        .value_bytes = 100,
        .runs = 3};
    struct option table[ROWS + 1] = {0};
    for (size_t i = 0; i < ROWS; i++) {
        table[i].name = rows[i].name;
        table[i].has_arg = rows[i].argument != NULL ? required_argument : no_argument;
        table[i].val = rows[i].id;
    }
    int id;
    int row = 0;
    while ((id = getopt_long(argc, argv, "h", table, &row)) != -1) {
        if (id == O_HELP || id == 'h') {
            print_help();
            return 0;
        }
        if (id == '?') {
            return 2;
        }
        const char *wanted = take_option(id, optarg, out);
        if (wanted != NULL) {
            fprintf(stderr, "wbbench: --%s wants %s\n", rows[row].name, wanted);
            return 2;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "wbbench: unexpected '%s'; see wbbench flush --help\n", argv[optind]);
        return 2;
    }
    if (empty(out->cluster) || empty(out->database)) {
        fputs("wbbench: flush needs the cluster and its database: use --cluster HOST:PORT,... and --database "
              "DSN, "
              "or set\n  WBCACHE_CLUSTER and WBCACHE_DATABASE (tools/cluster env prints them)\n",
            stderr);
        return 2;
    }
    return -1;
}
