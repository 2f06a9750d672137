#include "tools/wbbench/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/limits.h"

enum option_id {
    O_CLUSTER = 256,
    O_CLIENTS,
    O_PIPELINE,
    O_KEYS,
    O_PREFIX,
    O_VALUE,
    O_RATIO,
    O_DISTRIBUTION,
    O_THETA,
    O_SECONDS,
    O_REQUESTS,
    O_DEADLINE,
    O_SEED,
    O_FILL,
    O_JSON,
    O_HELP,
};

/* One row per option; getopt's table and the help come from here. */
static const struct {
    const char *name;
    const char *argument; /* NULL: none */
    enum option_id id;
    const char *help;
} rows[] = {
    {"cluster", "HOST:PORT,...", O_CLUSTER, "nodes to ask first (default: $WBCACHE_CLUSTER)"},
    {"clients", "N", O_CLIENTS, "closed-loop clients, each with its own connections (default 50)"},
    {"pipeline", "P", O_PIPELINE, "requests that each client keeps under way (default 1)"},
    {"keys", "K", O_KEYS, "different keys (default 100000)"},
    {"key-prefix", "S", O_PREFIX, "what keys begin with, before 12 digits (default key:)"},
    {"value-bytes", "B", O_VALUE, "size of values (default 100)"},
    {"ratio", "R", O_RATIO, "share of reads, 0 to 1 (default 0: writes only)"},
    {"distribution", "uniform|zipf", O_DISTRIBUTION, "how keys are chosen (default uniform)"},
    {"theta", "T", O_THETA, "skew of zipf, above 0 and below 1 (default 0.99)"},
    {"seconds", "S", O_SECONDS, "how long (default 10, unless --requests is given)"},
    {"requests", "N", O_REQUESTS, "how many requests"},
    {"deadline", "MS", O_DEADLINE, "of each request (default 5000)"},
    {"seed", "N", O_SEED, "of the random choices (default 1)"},
    {"fill", NULL, O_FILL, "first set every key once, unmeasured"},
    {"json", NULL, O_JSON, "the result as one JSON object"},
    {"help", NULL, O_HELP, "this text"},
};
enum { ROWS = sizeof rows / sizeof *rows };

static void print_help(void)
{
    puts("Usage: wbbench [OPTIONS]\n       wbbench flush [OPTIONS]\n       wbbench redis [OPTIONS]\n\n"
         "Puts load on a wbcache cluster and measures it. `wbbench flush --help`: the speed of its flush.\n"
         "`wbbench redis --help`: load over the Redis protocol.\n");
    for (size_t i = 0; i < ROWS; i++) {
        char left[64];
        snprintf(
            left, sizeof left, "--%s %s", rows[i].name, rows[i].argument != NULL ? rows[i].argument : "");
        printf("  %-28s %s\n", left, rows[i].help);
    }
    puts("\n"
         "Only requests answered OK count for throughput and latency; latency runs from the first try to the "
         "answer,\n"
         "redirects and retries included. The load is closed-loop: a client that waits for a slow answer "
         "sends nothing\n"
         "meanwhile, so a pause shows as few slow requests, not as the many that would have come. Look at "
         "the longest\n"
         "pause for that. Exit code: 0 done, 2 wrong usage, 4 no cluster, or nothing was answered OK.");
}

static bool parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *out)
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

static bool parse_unsigned(const char *text, unsigned min, unsigned max, unsigned *out)
{
    uint64_t v;
    if (!parse_u64(text, min, max, &v)) {
        return false;
    }
    *out = (unsigned)v;
    return true;
}

static bool parse_share(const char *text, double *out)
{
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end != '\0' || !(v >= 0 && v <= 1)) {
        return false;
    }
    *out = v;
    return true;
}

static bool parse_distribution(const char *text, enum keys_distribution *out)
{
    if (strcmp(text, "uniform") == 0) {
        *out = KEYS_UNIFORM;
    } else if (strcmp(text, "zipf") == 0) {
        *out = KEYS_ZIPF;
    } else {
        return false;
    }
    return true;
}

/* NULL when @value is fine, else what is wanted. */
static const char *take_option(int id, const char *value, struct bench_options *o)
{
    switch (id) {
    case O_CLUSTER:
        o->cluster = value;
        return NULL;
    case O_CLIENTS:
        return parse_unsigned(value, 1, 10000, &o->clients) ? NULL : "a number from 1 to 10000";
    case O_PIPELINE:
        return parse_unsigned(value, 1, 10000, &o->pipeline) ? NULL : "a number from 1 to 10000";
    case O_KEYS:
        return parse_u64(value, 1, 1U << 31, &o->keys) ? NULL : "a number from 1 to 2147483648";
    case O_PREFIX:
        o->key_prefix = value;
        return strlen(value) <= LIMIT_KEY_BYTES - 12 ? NULL : "at most 1012 bytes";
    case O_VALUE:
        return parse_unsigned(value, 0, LIMIT_VALUE_BYTES, &o->value_bytes) ? NULL
                                                                            : "bytes, from 0 to 1048576";
    case O_RATIO:
        return parse_share(value, &o->ratio) ? NULL : "a number from 0 to 1";
    case O_DISTRIBUTION:
        return parse_distribution(value, &o->distribution) ? NULL : "uniform or zipf";
    case O_THETA:
        return parse_share(value, &o->theta) && o->theta > 0 && o->theta < 1 ? NULL
                                                                             : "a number between 0 and 1";
    case O_SECONDS:
        return parse_unsigned(value, 1, 86400, &o->seconds) ? NULL : "seconds, from 1 to 86400";
    case O_REQUESTS:
        return parse_u64(value, 1, UINT64_MAX - 1, &o->requests) ? NULL : "a number from 1";
    case O_DEADLINE:
        return parse_unsigned(value, 1, 3600000, &o->deadline_ms) ? NULL : "milliseconds, from 1 to 3600000";
    case O_SEED:
        return parse_u64(value, 0, UINT64_MAX, &o->seed) ? NULL : "a number";
    case O_FILL:
        o->fill = true;
        return NULL;
    default:
        o->json = true;
        return NULL;
    }
}

int options_parse(int argc, char **argv, struct bench_options *out)
{
    *out = (struct bench_options){.cluster = getenv("WBCACHE_CLUSTER"),
        .clients = 50,
        .pipeline = 1,
        .keys = 100000,
        .key_prefix = "key:",
        .value_bytes = 100,
        .theta = 0.99,
        .deadline_ms = 5000,
        .seed = 1};
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
        fprintf(stderr, "wbbench: unexpected '%s'; see wbbench --help\n", argv[optind]);
        return 2;
    }
    if (out->cluster == NULL || out->cluster[0] == '\0') {
        fputs("wbbench: no cluster is given: use --cluster HOST:PORT,... or set WBCACHE_CLUSTER\n", stderr);
        return 2;
    }
    if (out->seconds == 0 && out->requests == 0) {
        out->seconds = 10;
    }
    return -1;
}
