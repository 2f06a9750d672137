#include "cluster-tests/scenario.h"

#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proto/base/alloc.h"
#include "proto/base/clock.h"

static unsigned number_from_environment(const char *name, unsigned otherwise)
{
    const char *text = getenv(name);
    return text == NULL || *text == '\0' ? otherwise : (unsigned)strtoul(text, NULL, 10);
}

void scenario_options(struct scenario_options *o, int argc, char **argv, unsigned rounds, unsigned seconds)
{
    o->rounds = number_from_environment("WBCACHE_TEST_ROUNDS", rounds);
    o->seconds = number_from_environment("WBCACHE_TEST_SECONDS", seconds);
    const char *seed = getenv("WBCACHE_TEST_SEED");
    random_bytes(&o->seed, sizeof o->seed);
    if (seed != NULL) {
        o->seed = strtoull(seed, NULL, 10);
    }
    o->keep = false;
    static const struct option known[] = {
        {"rounds", required_argument, NULL, 'r'},
        {"seconds", required_argument, NULL, 's'},
        {"minutes", required_argument, NULL, 'm'},
        {"seed", required_argument, NULL, 'x'},
        {"keep", no_argument, NULL, 'k'},
        {NULL, 0, NULL, 0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (c) {
        case 'r':
            o->rounds = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 's':
            o->seconds = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'm':
            o->seconds = 60 * (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'x':
            o->seed = strtoull(optarg, NULL, 10);
            break;
        case 'k':
            o->keep = true;
            break;
        default:
            fprintf(
                stderr, "Usage: %s [--rounds N] [--seconds N | --minutes N] [--seed N] [--keep]\n", argv[0]);
            exit(2);
        }
    }
}

int scenario_setup(void **state)
{
    const struct scenario_options *options = *state;
    struct scenario *s = xcalloc(1, sizeof *s);
    s->options = *options;
    s->random = options->seed | 1;
    s->cluster.guardian_fd = -1;
    s->other.guardian_fd = -1;
    *state = s;
    say("seed %" PRIu64, options->seed);
    return 0;
}

int scenario_teardown(void **state)
{
    struct scenario *s = *state;
    load_stop(s->load);
    bool keep = !s->passed || s->options.keep;
    cluster_end(&s->other, keep);
    cluster_end(&s->cluster, keep);
    ledger_destroy(s->ledger);
    free(s);
    return 0;
}

void say(const char *format, ...)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* of stdout and of the program's first line */
    static uint64_t first_ms;
    pthread_mutex_lock(&mutex);
    uint64_t now_ms = clock_boot_ms();
    if (first_ms == 0) {
        first_ms = now_ms;
    }
    printf("%4" PRIu64 ".%03" PRIu64 "  ", (now_ms - first_ms) / 1000, (now_ms - first_ms) % 1000);
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
    pthread_mutex_unlock(&mutex);
}

unsigned scenario_random(struct scenario *s, unsigned below)
{
    s->random ^= s->random << 13; /* xorshift64 */
    s->random ^= s->random >> 7;
    s->random ^= s->random << 17;
    return (unsigned)((s->random >> 16) % below);
}

void pass_ms(unsigned ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&t, &t) != 0) {
    }
}

void scenario_stop_load(struct scenario *s)
{
    struct load_numbers n = load_stop(s->load);
    s->load = NULL;
    say("  load stopped: %" PRIu64 " acknowledged, %" PRIu64 " unknown, %" PRIu64 " refused%s%s",
        n.acknowledged, n.unknown, n.refused, n.error[0] == '\0' ? "" : "; newest error: ", n.error);
    if (ledger_totals(s->ledger).violations > 0) {
        fail_msg("%s", ledger_violation(s->ledger));
    }
}
