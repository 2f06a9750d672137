#include "cluster-tests/evict/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum option_id { O_TRACE = 256, O_OBJECTS, O_SIZE, O_POLICY, O_KEYS, O_REQUESTS, O_SEED, O_JSON, O_HELP };

/* One row per option; getopt's table and the help come from here. */
static const struct {
    const char *name;
    const char *argument; /* NULL: none */
    enum option_id id;
    const char *help;
} rows[] = {
    {"trace", "NAME", O_TRACE, "only this one (default: all)"},
    {"objects", "KIND", O_OBJECTS, "sizes: equal, uniform or lognormal (default: the last two)"},
    {"size", "PERCENT", O_SIZE, "of the popular keys' bytes that the cache holds (default 1, 5, 10, 25)"},
    {"policy", "NAME", O_POLICY, "only this one (default: all)"},
    {"keys", "N", O_KEYS, "popular keys (default 100000)"},
    {"requests", "N", O_REQUESTS, "length of a trace (default 1000000)"},
    {"seed", "N", O_SEED, "of the random choices (default 1)"},
    {"json", NULL, O_JSON, "one JSON object a line instead of the table"},
    {"help", NULL, O_HELP, "this text"},
};
enum { ROWS = sizeof rows / sizeof *rows };

static void print_help(void)
{
    puts("Usage: wbevict [OPTIONS]\n\n"
         "Compares policies of eviction by the share of reads that find their key in memory.\n");
    for (size_t i = 0; i < ROWS; i++) {
        char left[64];
        snprintf(
            left, sizeof left, "--%s %s", rows[i].name, rows[i].argument != NULL ? rows[i].argument : "");
        printf("  %-20s %s\n", left, rows[i].help);
    }
    puts("\nTraces:");
    for (size_t i = 0; i < trace_kinds_n; i++) {
        printf("  %-20s %s\n", trace_kinds[i].name, trace_kinds[i].help);
    }
    puts("\nPolicies:");
    for (size_t i = 0; i < policy_kinds_n; i++) {
        printf("  %-20s %s\n", policy_kinds[i]->name, policy_kinds[i]->help);
    }
    puts("\nThe first quarter of a trace fills the cache and is not counted. The same seed gives the same "
         "table.\n"
         "Exit code: 0 done, 2 wrong usage.");
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

static bool parse_u32(const char *text, uint32_t min, uint32_t max, uint32_t *out)
{
    uint64_t v;
    if (!parse_u64(text, min, max, &v)) {
        return false;
    }
    *out = (uint32_t)v;
    return true;
}

static bool parse_trace(const char *name, const struct trace_kind **out)
{
    for (size_t i = 0; i < trace_kinds_n; i++) {
        if (strcmp(trace_kinds[i].name, name) == 0) {
            *out = &trace_kinds[i];
            return true;
        }
    }
    return false;
}

static bool parse_policy(const char *name, const struct policy_kind **out)
{
    for (size_t i = 0; i < policy_kinds_n; i++) {
        if (strcmp(policy_kinds[i]->name, name) == 0) {
            *out = policy_kinds[i];
            return true;
        }
    }
    return false;
}

static bool parse_objects(const char *name, int *out)
{
    for (int i = 0; i < TRACE_OBJECTS; i++) {
        if (strcmp(trace_objects_names[i], name) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

/* NULL when @value is fine, else what is wanted. */
static const char *take_option(int id, const char *value, struct study_options *o)
{
    switch (id) {
    case O_TRACE:
        return parse_trace(value, &o->trace) ? NULL : "the name of a trace; see wbevict --help";
    case O_OBJECTS:
        return parse_objects(value, &o->objects) ? NULL : "equal, uniform or lognormal";
    case O_SIZE:
        return parse_u32(value, 1, 100, &o->size_percent) ? NULL : "percent, from 1 to 100";
    case O_POLICY:
        return parse_policy(value, &o->policy) ? NULL : "the name of a policy; see wbevict --help";
    case O_KEYS:
        return parse_u32(value, 1000, 10000000, &o->keys) ? NULL : "a number from 1000 to 10000000";
    case O_REQUESTS:
        return parse_u32(value, 1, 1000000000, &o->requests) ? NULL : "a number from 1 to 1000000000";
    case O_SEED:
        return parse_u64(value, 0, UINT64_MAX, &o->seed) ? NULL : "a number";
    default:
        o->json = true;
        return NULL;
    }
}

int options_parse(int argc, char **argv, struct study_options *out)
{
    *out = (struct study_options){.objects = -1, .keys = 100000, .requests = 1000000, .seed = 1};
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
            fprintf(stderr, "wbevict: --%s wants %s\n", rows[row].name, wanted);
            return 2;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "wbevict: unexpected '%s'; see wbevict --help\n", argv[optind]);
        return 2;
    }
    return -1;
}
