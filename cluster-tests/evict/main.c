/* wbevict: which policy of eviction finds most reads in memory? trace.c makes the requests, simulate.c runs
 * them through a cache, policy_*.c are the policies, of which policy_product.c is the product's own. */
#include <inttypes.h>
#include <stdio.h>

#include "cluster-tests/evict/options.h"
#include "cluster-tests/evict/simulate.h"

enum { POLICIES_MAX = 16, SIZES = 4 };
static const uint32_t sizes_percent[SIZES] = {1, 5, 10, 25};

/* Sums over the rows of the table. */
struct means {
    uint32_t rows;
    double hit_share[POLICIES_MAX];
    double byte_hit_share[POLICIES_MAX];
};

static bool wanted(const struct study_options *options, size_t policy)
{
    return options->policy == NULL || options->policy == policy_kinds[policy];
}

static double share(uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0 : (double)part / (double)whole;
}

static void print_head(const struct study_options *options)
{
    printf("| trace | objects | cache |");
    for (size_t p = 0; p < policy_kinds_n; p++) {
        if (wanted(options, p)) {
            printf(" %s |", policy_kinds[p]->name);
        }
    }
    printf("\n|---|---|---|");
    for (size_t p = 0; p < policy_kinds_n; p++) {
        if (wanted(options, p)) {
            printf("---|");
        }
    }
    puts("");
}

static void print_json(const struct trace_kind *kind, const struct trace_options *t, const char *policy,
    uint32_t size_percent, const struct simulation *s)
{
    printf("{\"trace\":\"%s\",\"objects\":\"%s\",\"cache_percent\":%" PRIu32
           ",\"policy\":\"%s\",\"reads\":%" PRIu64
           ",\"hit_ratio\":%.6f,\"byte_hit_ratio\":%.6f,\"evictions\":%" PRIu64
           ",\"policy_bytes_per_entry\":%.2f,\"keys\":%" PRIu32 ",\"requests\":%" PRIu32 ",\"seed\":%" PRIu64
           "}\n",
        kind->name, trace_objects_names[t->objects], size_percent, policy, s->reads, share(s->hits, s->reads),
        share(s->hit_bytes, s->read_bytes), s->evictions, s->policy_bytes_max, t->keys, t->requests, t->seed);
}

/* One row of the table: all policies over one trace. */
static void study(const struct study_options *options, const struct trace_kind *kind,
    enum trace_objects objects, uint32_t size_percent, struct means *means)
{
    struct trace_options t = {.keys = options->keys,
        .requests = options->requests,
        .cache = size_percent / 100.0,
        .objects = objects,
        .seed = options->seed};
    struct trace trace;
    trace_init(&trace, kind, &t);
    if (!options->json) {
        printf("| %s | %s | %" PRIu32 " %% |", kind->name, trace_objects_names[objects], size_percent);
    }
    for (size_t p = 0; p < policy_kinds_n; p++) {
        if (!wanted(options, p)) {
            continue;
        }
        struct simulation s;
        simulate(&trace, policy_kinds[p], &s);
        means->hit_share[p] += share(s.hits, s.reads);
        means->byte_hit_share[p] += share(s.hit_bytes, s.read_bytes);
        if (options->json) {
            print_json(kind, &t, policy_kinds[p]->name, size_percent, &s);
        } else {
            printf(" %.4f |", share(s.hits, s.reads));
        }
        fflush(stdout);
    }
    if (!options->json) {
        puts("");
    }
    means->rows++;
    trace_deinit(&trace);
}

static void print_means(const struct study_options *options, const struct means *means)
{
    const char *names[] = {"of reads", "of bytes read"};
    const double *sums[] = {means->hit_share, means->byte_hit_share};
    for (size_t i = 0; i < 2; i++) {
        printf("| **mean**, %s | | |", names[i]);
        for (size_t p = 0; p < policy_kinds_n; p++) {
            if (wanted(options, p)) {
                printf(" %.4f |", sums[i][p] / means->rows);
            }
        }
        puts("");
    }
}

int main(int argc, char **argv)
{
    struct study_options options;
    int rc = options_parse(argc, argv, &options);
    if (rc >= 0) {
        return rc;
    }
    struct means means = {0};
    if (!options.json) {
        print_head(&options);
    }
    for (size_t k = 0; k < trace_kinds_n; k++) {
        for (int objects = 0; objects < TRACE_OBJECTS; objects++) {
            bool skip = (options.trace != NULL && options.trace != &trace_kinds[k]) ||
                        (options.objects == -1 ? objects == TRACE_EQUAL : options.objects != objects);
            for (size_t i = 0; !skip && i < (options.size_percent != 0 ? 1 : SIZES); i++) {
                uint32_t percent = options.size_percent != 0 ? options.size_percent : sizes_percent[i];
                study(&options, &trace_kinds[k], (enum trace_objects)objects, percent, &means);
            }
        }
    }
    if (!options.json) {
        print_means(&options, &means);
    }
    return 0;
}
