#include "tools/wbbench/redis_options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum option_id {
    O_SERVERS = 256,
    O_CLUSTER,
    O_COMMAND,
    O_WAIT_AOF,
    O_CLIENTS,
    O_PIPELINE,
    O_KEYS,
    O_PREFIX,
    O_VALUE,
    O_WARM_UP,
    O_SECONDS,
    O_SEED,
    O_FILL,
    O_CPU,
    O_JSON,
    O_HELP,
};

/* One row per option; getopt's table and the help come from here. */
static const struct {
    const char *name;
    const char *argument; /* NULL: none; in brackets: may be left out */
    enum option_id id;
    const char *help;
} rows[] = {
    {"servers", "HOST:PORT,...", O_SERVERS, "whom to load, or to ask first (default: $WBCACHE_REDIS)"},
    {"cluster", NULL, O_CLUSTER, "ask for CLUSTER SLOTS, and load all masters"},
    {"command", "set|get", O_COMMAND, "default set"},
    {"wait-aof", "[burst|after]", O_WAIT_AOF,
        "WAITAOF 1 1 behind each SET; or once for a write's SETs, see below"},
    {"clients", "N", O_CLIENTS, "connections, each of which waits for its answers (default 50)"},
    {"pipeline", "P", O_PIPELINE, "commands that a connection sends in one write (default 1)"},
    {"keys", "K", O_KEYS, "different keys, chosen uniformly (default 100000)"},
    {"key-prefix", "S", O_PREFIX, "what keys begin with, before 12 digits (default key:)"},
    {"value-bytes", "B", O_VALUE, "size of values (default 100)"},
    {"warm-up", "S", O_WARM_UP, "seconds before the measured ones (default 1)"},
    {"seconds", "S", O_SECONDS, "how long (default 10); 0: only --fill"},
    {"seed", "N", O_SEED, "of the random choices (default 1)"},
    {"fill", NULL, O_FILL, "first set every key once, unmeasured and without WAITAOF"},
    {"cpu", "NAME=PID,...", O_CPU, "also print the processor time of these processes and their children"},
    {"json", NULL, O_JSON, "the result as one JSON object"},
    {"help", NULL, O_HELP, "this text"},
};
enum { ROWS = sizeof rows / sizeof *rows };

static const char explanation[] =
    "\n"
    "A connection sends its next commands when all those before are answered (closed loop); the time of "
    "each\n"
    "runs from the write to its own answer. With --cluster a connection belongs to one master and draws "
    "keys\n"
    "of its slots. MOVED is counted and followed; every other error is counted by its first word, and any\n"
    "makes the run fail, as does a connection that breaks. A SET with --wait-aof is done when both are\n"
    "answered and WAITAOF says at least 1 and 1. --wait-aof=burst: one WAITAOF in the same write, behind "
    "its\n"
    "SETs; --wait-aof=after: one in a write of its own, when they are answered, which with pipeline 1 is "
    "what\n"
    "a plain client does.\n"
    "Exit code: 0 done, 2 wrong usage, 4 there were errors, or no server.";

static void print_help(void)
{
    puts("Usage: wbbench redis [OPTIONS]\n\nPuts load on a server, or a cluster, that speaks the Redis "
         "protocol.\n");
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

static bool parse_unsigned(const char *text, unsigned min, unsigned max, unsigned *out)
{
    uint64_t v;
    if (!parse_number(text, min, max, &v)) {
        return false;
    }
    *out = (unsigned)v;
    return true;
}

static bool parse_seconds(const char *text, unsigned *out_ms)
{
    if (!parse_unsigned(text, 0, 86400, out_ms)) {
        return false;
    }
    *out_ms *= 1000;
    return true;
}

/* NAME=PID,PID,... */
static bool parse_kind(const char *text, struct redis_load_options *o)
{
    const char *equals = strchr(text, '=');
    if (o->n_kinds == REDIS_KINDS || equals == NULL || equals == text || equals - text >= REDIS_WORD_BYTES) {
        return false;
    }
    struct redis_kind kind = {.n = 0};
    memcpy(kind.name, text, (size_t)(equals - text));
    for (const char *p = equals; *p != '\0';) {
        char *end;
        long pid = strtol(p + 1, &end, 10);
        if (end == p + 1 || pid < 1 || pid > INT32_MAX || (*end != '\0' && *end != ',') ||
            kind.n == REDIS_KIND_PIDS) {
            return false;
        }
        kind.pids[kind.n++] = (int)pid;
        p = end;
    }
    o->kinds[o->n_kinds++] = kind;
    return true;
}

/* NULL when @value is fine, else what is wanted. */
static const char *take_number(int id, const char *value, struct redis_load_options *o)
{
    switch (id) {
    case O_CLIENTS:
        return parse_unsigned(value, 1, 10000, &o->clients) ? NULL : "a number from 1 to 10000";
    case O_PIPELINE:
        return parse_unsigned(value, 1, 10000, &o->pipeline) ? NULL : "a number from 1 to 10000";
    case O_KEYS:
        return parse_unsigned(value, 1, 100000000, &o->keys) ? NULL : "a number from 1 to 100000000";
    case O_VALUE:
        return parse_unsigned(value, 0, LIMIT_VALUE_BYTES, &o->value_bytes) ? NULL
                                                                            : "bytes, from 0 to 1048576";
    case O_WARM_UP:
        return parse_seconds(value, &o->warm_up_ms) ? NULL : "seconds, from 0 to 86400";
    case O_SECONDS:
        return parse_seconds(value, &o->measured_ms) ? NULL : "seconds, from 0 to 86400";
    default:
        return parse_number(value, 0, UINT64_MAX, &o->seed) ? NULL : "a number";
    }
}

static const char *take_wait(const char *value, struct redis_load_options *o)
{
    if (value == NULL) {
        o->wait = REDIS_WAIT_EACH;
    } else if (strcmp(value, "burst") == 0) {
        o->wait = REDIS_WAIT_BURST;
    } else if (strcmp(value, "after") == 0) {
        o->wait = REDIS_WAIT_AFTER;
    } else {
        return "nothing, =burst or =after";
    }
    return NULL;
}

static const char *take_option(int id, const char *value, struct redis_options *o)
{
    switch (id) {
    case O_SERVERS:
        o->load.servers = value;
        return NULL;
    case O_CLUSTER:
        o->load.cluster = true;
        return NULL;
    case O_COMMAND:
        o->load.command = strcmp(value, "get") == 0 ? REDIS_GET : REDIS_SET;
        return strcmp(value, "get") == 0 || strcmp(value, "set") == 0 ? NULL : "set or get";
    case O_WAIT_AOF:
        return take_wait(value, &o->load);
    case O_PREFIX:
        o->load.key_prefix = value;
        return strlen(value) <= LIMIT_KEY_BYTES - REDIS_KEY_DIGITS ? NULL : "at most 1012 bytes";
    case O_CPU:
        return parse_kind(value, &o->load) ? NULL : "NAME=PID,PID,..., and is given at most 8 times";
    case O_FILL:
        o->fill = true;
        return NULL;
    case O_JSON:
        o->json = true;
        return NULL;
    default:
        return take_number(id, value, &o->load);
    }
}

/* NULL when they go together. */
static const char *check_together(const struct redis_options *o)
{
    if (o->load.servers == NULL || o->load.servers[0] == '\0') {
        return "no server is given: use --servers HOST:PORT,... or set WBCACHE_REDIS";
    }
    if (o->load.wait != REDIS_WAIT_NONE && (o->load.cluster || o->load.command == REDIS_GET)) {
        return "--wait-aof is for SETs to one server, not for --cluster";
    }
    if (o->load.measured_ms == 0 && !o->fill) {
        return "--seconds 0 without --fill does nothing";
    }
    return NULL;
}

int redis_options_parse(int argc, char **argv, struct redis_options *out)
{
    *out = (struct redis_options){.load = {.servers = getenv("WBCACHE_REDIS"),
                                      .clients = 50,
                                      .pipeline = 1,
                                      .keys = 100000,
                                      .key_prefix = "key:",
                                      .value_bytes = 100,
                                      .warm_up_ms = 1000,
                                      .measured_ms = 10000,
                                      .patience_ms = 10000,
                                      .seed = 1}};
    struct option table[ROWS + 1] = {0};
    for (size_t i = 0; i < ROWS; i++) {
        const char *argument = rows[i].argument;
        table[i].name = rows[i].name;
        table[i].has_arg =
            argument == NULL ? no_argument : (argument[0] == '[' ? optional_argument : required_argument);
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
        fprintf(stderr, "wbbench: unexpected '%s'; see wbbench redis --help\n", argv[optind]);
        return 2;
    }
    const char *wrong = check_together(out);
    if (wrong != NULL) {
        fprintf(stderr, "wbbench: %s\n", wrong);
        return 2;
    }
    return -1;
}
