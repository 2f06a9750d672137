/* Run the simulated cluster for one seed or many. */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "cluster-tests/sim/sim.h"

static const char usage[] =
    "usage: wbsim --seeds FROM..TO | --seed S  [--steps N | --outages MINUTES] [--verbose] [--counts]\n"
    "             [--history F] [--defect NAME]\n"
    "Simulates a cluster with faults drawn from each seed and checks every promise after every step.\n"
    "  --steps N      faults per seed (default 60)\n"
    "  --outages M    instead of those: M minutes by the cluster's own time, with trouble of the database's\n"
    "  --verbose      the whole trace\n"
    "  --counts       what the seeds reached together\n"
    "  --history F    write what the clients of the last seed saw to the file F, for wbcheck\n"
    "  --defect NAME  break something on purpose: no-fence, loses-commits, take-skips-lock, skips-bad-rows,\n"
    "                 commits-isolated, hides-faults, lease, sessions-ignored, refusals-forgotten,\n"
    "                 local-expiry, loads-live, captures-unproved, rewind-forgets, trims-away,\n"
    "                 fresh-unproved, transactions-split, untied, overtaking, told-replaced\n"
    "Exit status: 0 all seeds passed, 1 a seed failed (it is named, with its trace), 2 wrong arguments.\n";

struct arguments {
    uint64_t from, to;
    unsigned steps;
    bool verbose, counts;
    const char *history;
    struct sim_config config;
};

static bool parse_number(const char *text, char **end, uint64_t *out)
{
    if (*text < '0' || *text > '9') {
        return false;
    }
    *out = strtoull(text, end, 10);
    return true;
}

static bool parse_range(const char *text, struct arguments *a)
{
    char *end;
    if (!parse_number(text, &end, &a->from) || strncmp(end, "..", 2) != 0) {
        return false;
    }
    return parse_number(end + 2, &end, &a->to) && *end == '\0' && a->from <= a->to;
}

static bool parse_defect(const char *text, struct sim_config *config)
{
    for (int i = FAKE_DB_SOUND + 1; i < FAKE_DB_DEFECTS; i++) {
        if (strcmp(text, fake_db_defect_name((enum fake_db_defect)i)) == 0) {
            config->defect = (enum fake_db_defect)i;
            return true;
        }
    }
    for (int i = SIM_SOUND + 1; i < SIM_DEFECTS; i++) {
        if (strcmp(text, sim_defect_name((enum sim_defect)i)) == 0) {
            config->node_defect = (enum sim_defect)i;
            return true;
        }
    }
    return false;
}

static bool parse(int argc, char **argv, struct arguments *a)
{
    static const struct option options[] = {
        {"seeds", required_argument, NULL, 'r'},
        {"seed", required_argument, NULL, 's'},
        {"steps", required_argument, NULL, 'n'},
        {"outages", required_argument, NULL, 'o'},
        {"verbose", no_argument, NULL, 'v'},
        {"defect", required_argument, NULL, 'd'},
        {"counts", no_argument, NULL, 'c'},
        {"history", required_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    bool seeded = false;
    char *end;
    uint64_t number;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'r':
            if (!parse_range(optarg, a)) {
                return false;
            }
            seeded = true;
            break;
        case 's':
            if (!parse_number(optarg, &end, &a->from) || *end != '\0') {
                return false;
            }
            a->to = a->from;
            seeded = true;
            break;
        case 'n':
            if (!parse_number(optarg, &end, &number) || *end != '\0' || number == 0 || number > 1000000) {
                return false;
            }
            a->steps = (unsigned)number;
            break;
        case 'o':
            if (!parse_number(optarg, &end, &number) || *end != '\0' || number == 0 || number > 1000) {
                return false;
            }
            a->config.outage_minutes = (unsigned)number;
            break;
        case 'v':
            a->verbose = true;
            break;
        case 'c':
            a->counts = true;
            break;
        case 'h':
            a->history = optarg;
            break;
        case 'd':
            if (!parse_defect(optarg, &a->config)) {
                return false;
            }
            break;
        default:
            return false;
        }
    }
    return seeded && optind == argc;
}

static void print_failure(uint64_t seed, const struct arguments *a, const struct sim_result *r)
{
    printf("seed %" PRIu64 " FAILED: %s\n", seed, r->failure);
    if (!a->verbose) {
        for (unsigned i = 0; i < r->trace_lines; i++) {
            printf("  %s\n", r->trace[i]);
        }
    }
    printf("again: wbsim --seed %" PRIu64 " --verbose", seed);
    if (a->steps != 0) {
        printf(" --steps %u", a->steps);
    }
    if (a->config.outage_minutes != 0) {
        printf(" --outages %u", a->config.outage_minutes);
    }
    printf("\n");
}

/* A CHECK of ours, or libraft, ended the process: say where. Only for this; hence a variable of the file. */
static volatile sig_atomic_t running_seed_high, running_seed_low;

static void on_abort(int signal_number)
{
    /* NOLINTBEGIN(bugprone-signal-handler) */
    fflush(stdout); /* the trace; nothing is to be saved any more if this fails */
    fprintf(stderr, "seed %" PRIu64 " FAILED: the process was aborted\n",
        (uint64_t)(uint32_t)running_seed_high << 32 | (uint32_t)running_seed_low);
    /* NOLINTEND(bugprone-signal-handler) */
    signal(signal_number, SIG_DFL);
}

int main(int argc, char **argv)
{
    struct arguments a = {0};
    if (!parse(argc, argv, &a)) {
        fputs(usage, stderr);
        return 2;
    }
    struct sim_result *r = malloc(sizeof *r), *sum = calloc(1, sizeof *sum);
    if (r == NULL || sum == NULL) {
        fputs("wbsim: out of memory\n", stderr);
        free(r);
        free(sum);
        return 2;
    }
    FILE *history = a.history == NULL ? NULL : fopen(a.history, "w");
    if (a.history != NULL && history == NULL) {
        perror(a.history);
        free(r);
        free(sum);
        return 2;
    }
    signal(SIGABRT, on_abort);
    uint64_t failed = 0;
    for (uint64_t seed = a.from;; seed++) {
        running_seed_high = (sig_atomic_t)(uint32_t)(seed >> 32);
        running_seed_low = (sig_atomic_t)(uint32_t)seed;
        a.config.seed = seed;
        a.config.steps = a.steps;
        a.config.trace = a.verbose ? stdout : NULL;
        a.config.history = seed == a.to ? history : NULL;
        sim_run(&a.config, r);
        if (r->failed) {
            failed++;
            print_failure(seed, &a, r);
        }
        sim_result_add(sum, r);
        if (seed == a.to) {
            break;
        }
    }
    printf("%" PRIu64 " seeds, %" PRIu64 " failed: %" PRIu64 " s of virtual time, %" PRIu64
           " offices, %" PRIu64 " writes, %" PRIu64 " commits\n",
        a.to - a.from + 1, failed, sum->virtual_ms / 1000, sum->offices, sum->writes, sum->commits);
    if (a.counts) {
#define X(name, text) printf("%12" PRIu64 "  %s\n", sum->name, text);
        SIM_COUNTS(X)
#undef X
    }
    free(sum);
    free(r);
    if (history != NULL && fclose(history) != 0) {
        perror(a.history);
        return 2;
    }
    return failed == 0 ? 0 : 1;
}
