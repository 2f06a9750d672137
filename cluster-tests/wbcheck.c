/* wbcheck: read a history file and judge it. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cluster-tests/linear.h"

static const char usage[] =
    "usage: wbcheck FILE [--json] [--steps N] [--memory MIB]\n"
    "Judges whether the history in FILE ('-': standard input) is linearizable, key by key. The file has one "
    "JSON\n"
    "object a line; the format is described in cluster-tests/history.h.\n"
    "  --json         the verdict as one JSON object\n"
    "  --steps N      give a key up after so many steps (default 200000000)\n"
    "  --memory MIB   or when the search needs more memory (default 1024)\n"
    "Exit status: 0 linearizable, 1 not linearizable, 2 wrong arguments or a bad file, 3 too hard to say.\n";

enum { EXIT_LINEARIZABLE, EXIT_NOT_LINEARIZABLE, EXIT_BAD, EXIT_TOO_HARD };

/* A file is read to memory as a whole. */
#define HISTORY_BYTES_MAX ((size_t)16 << 30)

struct arguments {
    const char *path;
    bool json;
    struct linear_limits limits;
};

/* How the operations of one kind ended. */
struct totals {
    uint64_t ok, refused, unknown;
};

static bool parse_number(const char *text, uint64_t max, uint64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == '\0' && errno == 0 && *out > 0 && *out <= max;
}

static bool parse(int argc, char **argv, struct arguments *a)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'},
        {"steps", required_argument, NULL, 's'},
        {"memory", required_argument, NULL, 'm'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    uint64_t number;
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (option == 'j') {
            a->json = true;
        } else if (option == 's' && parse_number(optarg, UINT64_MAX, &number)) {
            a->limits.steps_max = number;
        } else if (option == 'm' && parse_number(optarg, SIZE_MAX >> 20, &number)) {
            a->limits.memory_bytes_max = (size_t)number << 20;
        } else if (option == 'h') {
            fputs(usage, stdout);
            exit(EXIT_SUCCESS);
        } else {
            return false;
        }
    }
    a->path = argc - optind == 1 ? argv[optind] : NULL;
    return a->path != NULL;
}

static bool read_file(const char *path, struct history *h)
{
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *in = is_stdin ? stdin : fopen(path, "r");
    if (in == NULL) {
        fprintf(stderr, "wbcheck: %s: %s\n", path, strerror(errno));
        return false;
    }
    char why[512];
    enum status status = history_read(h, in, why, sizeof why);
    if (status != STATUS_OK) {
        fprintf(stderr, "wbcheck: %s: %s\n", path, why);
    }
    if (!is_stdin) {
        fclose(in);
    }
    return status == STATUS_OK;
}

static void count(const struct history *h, struct totals totals[HISTORY_OPS])
{
    for (size_t i = 0; i < h->n_events; i++) {
        struct totals *t = &totals[h->events[i].op];
        enum history_outcome outcome = h->events[i].result.outcome;
        t->ok += outcome == HISTORY_OK;
        t->unknown += outcome == HISTORY_UNKNOWN;
        t->refused += outcome != HISTORY_OK && outcome != HISTORY_UNKNOWN;
    }
}

static void print_text(const struct linear_report *report, const struct totals totals[HISTORY_OPS])
{
    printf("%-8s %10s %10s %10s\n", "op", "ok", "refused", "unknown");
    for (int op = 0; op < HISTORY_OPS; op++) {
        const struct totals *t = &totals[op];
        if (t->ok + t->refused + t->unknown > 0) {
            printf("%-8s %10" PRIu64 " %10" PRIu64 " %10" PRIu64 "\n", history_op_word((enum history_op)op),
                t->ok, t->refused, t->unknown);
        }
    }
    printf("keys=%zu not_linearizable=%zu too_hard=%zu steps=%" PRIu64 "\n", report->keys,
        report->keys_not_linearizable, report->keys_too_hard, report->steps);
    if (report->explanation.len > 0) {
        fwrite(report->explanation.data, 1, report->explanation.len, stdout);
    }
    printf("%s\n", linear_status_text(report->status));
}

static void put(json_t *object, const char *name, uint64_t number)
{
    json_object_set_new(object, name, json_integer((json_int_t)number));
}

static void print_json(const struct linear_report *report, const struct totals totals[HISTORY_OPS])
{
    json_t *out = json_object();
    json_object_set_new(out, "verdict", json_string(linear_status_text(report->status)));
    put(out, "keys", report->keys);
    put(out, "keys_not_linearizable", report->keys_not_linearizable);
    put(out, "keys_too_hard", report->keys_too_hard);
    put(out, "known", report->known);
    put(out, "unknown", report->unknown);
    put(out, "unknown_ignored", report->unknown_ignored);
    put(out, "steps", report->steps);
    json_t *ops = json_object();
    for (int op = 0; op < HISTORY_OPS; op++) {
        json_t *of_op = json_object();
        put(of_op, "ok", totals[op].ok);
        put(of_op, "refused", totals[op].refused);
        put(of_op, "unknown", totals[op].unknown);
        json_object_set_new(ops, history_op_word((enum history_op)op), of_op);
    }
    json_object_set_new(out, "ops", ops);
    const char *words = report->explanation.len > 0 ? (const char *)report->explanation.data : "";
    json_object_set_new(out, "explanation", json_stringn(words, report->explanation.len));
    json_dumpf(out, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(out);
}

static int exit_status(enum linear_status status)
{
    switch (status) {
    case LINEAR_LINEARIZABLE:
        return EXIT_LINEARIZABLE;
    case LINEAR_NOT_LINEARIZABLE:
        return EXIT_NOT_LINEARIZABLE;
    case LINEAR_TOO_HARD:
        break;
    }
    return EXIT_TOO_HARD;
}

int main(int argc, char **argv)
{
    struct arguments arguments = {0};
    if (!parse(argc, argv, &arguments)) {
        fputs(usage, stderr);
        return EXIT_BAD;
    }
    struct history history;
    history_init(&history, HISTORY_BYTES_MAX);
    int result = EXIT_BAD;
    if (read_file(arguments.path, &history)) {
        struct totals totals[HISTORY_OPS] = {{0}};
        count(&history, totals);
        struct linear_report report;
        linear_check(&history, &arguments.limits, &report);
        (arguments.json ? print_json : print_text)(&report, totals);
        result = exit_status(report.status);
        linear_report_deinit(&report);
    }
    history_deinit(&history);
    return result;
}
