#include "cluster-tests/evict/trace.h"

#include <math.h>
#include <stdlib.h>

#include "proto/base/alloc.h"

const char *const trace_objects_names[TRACE_OBJECTS] = {"equal", "uniform", "lognormal"};

/* name, skew, scan, loop, writes, shifting, help */
const struct trace_kind trace_kinds[] = {
    {"zipf-0.7", 0.7, 0, 0, 0, false, "reads of popular keys, little skew"},
    {"zipf-0.9", 0.9, 0, 0, 0, false, "the same, more skew"},
    {"zipf-1.0", 1.0, 0, 0, 0, false, "the same, more skew"},
    {"zipf-1.2", 1.2, 0, 0, 0, false, "the same, much skew"},
    {"scan", 0.9, 0.2, 0, 0, false, "a fifth are scans of keys that don't come again"},
    {"loop", 0.9, 0, 0.2, 0, false, "a fifth are loops over more than the cache holds"},
    {"scan-loop", 0.9, 0.2, 0.2, 0, false, "both"},
    {"shift", 0.9, 0, 0, 0, true, "the popular keys move all the time"},
    {"writes", 0.9, 0, 0, 0.3, false, "three of ten are writes"},
    {"mixed", 0.9, 0.1, 0.1, 0.3, true, "all of this at once"},
};
const size_t trace_kinds_n = sizeof trace_kinds / sizeof *trace_kinds;

enum { SHIFTS = 200 }; /* how often popularity moves on, by 1 / SHIFTS of the keys each time */
static const double loop_per_cache = 1.2;
static const uint32_t bytes_min = 48, bytes_mean = 256, bytes_max = 16384;

struct generator {
    const struct trace_kind *kind;
    const struct trace_options *options;
    uint64_t random;    /* state of splitmix64 */
    double *cumulative; /* of the ranks' weights */
    uint32_t loop_keys;
    uint32_t loop_next; /* 0..loop_keys - 1 */
    uint32_t scan_next; /* 0 at first, and never again */
};

static uint64_t next_random(struct generator *g)
{
    uint64_t z = (g->random += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

/* In [0, 1). */
static double next_share(struct generator *g)
{
    return (double)(next_random(g) >> 11) * 0x1.0p-53;
}

/* About normal: mean 0, deviation 1. */
static double next_normal(struct generator *g)
{
    double sum = -6;
    for (int i = 0; i < 12; i++) {
        sum += next_share(g);
    }
    return sum;
}

static uint32_t next_bytes(struct generator *g)
{
    double bytes = bytes_mean;
    if (g->options->objects == TRACE_UNIFORM) {
        bytes = bytes_min + next_share(g) * 2 * (bytes_mean - bytes_min);
    } else if (g->options->objects == TRACE_LOGNORMAL) {
        bytes = exp(log(bytes_mean) + 1.2 * next_normal(g));
    }
    return bytes < bytes_min ? bytes_min : bytes > bytes_max ? bytes_max : (uint32_t)bytes;
}

static void weigh_ranks(struct generator *g)
{
    uint32_t n = g->options->keys;
    g->cumulative = xmalloc(n * sizeof *g->cumulative);
    double sum = 0;
    for (uint32_t rank = 0; rank < n; rank++) {
        sum += pow(rank + 1.0, -g->kind->skew);
        g->cumulative[rank] = sum;
    }
}

static uint32_t next_rank(struct generator *g)
{
    double wanted = next_share(g) * g->cumulative[g->options->keys - 1];
    uint32_t low = 0;
    uint32_t high = g->options->keys - 1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (g->cumulative[middle] > wanted) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

static struct trace_request next_popular(struct generator *g, uint32_t now)
{
    const struct trace_options *o = g->options;
    uint64_t moved = 0;
    if (g->kind->shifting) {
        moved = (uint64_t)now * SHIFTS / o->requests * (o->keys / SHIFTS);
    }
    uint32_t key = (uint32_t)((next_rank(g) + moved) % o->keys);
    /* Scans and loops only read, so the popular keys' share of writes is higher. */
    double writes = g->kind->writes / (1 - g->kind->scan - g->kind->loop);
    return (struct trace_request){.key = key, .write = next_share(g) < writes};
}

/* A period has as many requests as there are popular keys. In its first part every other request is a scan's,
 * in its second a loop's: what is read in sequence is interleaved with other work. */
static struct trace_request next_request(struct generator *g, uint32_t now)
{
    uint32_t keys = g->options->keys;
    double place = (double)(now % keys) / keys;
    if (now % 2 == 0 && place < 2 * g->kind->scan) {
        return (struct trace_request){.key = keys + g->loop_keys + g->scan_next++};
    }
    if (now % 2 == 0 && place >= 2 * g->kind->scan && place < 2 * (g->kind->scan + g->kind->loop)) {
        uint32_t key = keys + g->loop_next;
        g->loop_next = (g->loop_next + 1) % g->loop_keys;
        return (struct trace_request){.key = key};
    }
    return next_popular(g, now);
}

void trace_init(struct trace *t, const struct trace_kind *kind, const struct trace_options *options)
{
    struct generator g = {.kind = kind, .options = options, .random = options->seed};
    g.loop_keys = (uint32_t)(options->keys * options->cache * loop_per_cache) + 1;
    weigh_ranks(&g);
    *t = (struct trace){.requests_n = options->requests, .cache = options->cache};
    t->requests = xcalloc(options->requests, sizeof *t->requests);
    for (uint32_t i = 0; i < options->requests; i++) {
        t->requests[i] = next_request(&g, i);
    }
    t->keys_n = options->keys + g.loop_keys + g.scan_next;
    t->bytes = xcalloc(t->keys_n, sizeof *t->bytes);
    for (uint32_t k = 0; k < t->keys_n; k++) {
        t->bytes[k] = next_bytes(&g);
        t->footprint += k < options->keys ? t->bytes[k] : 0;
    }
    free(g.cumulative);
}

void trace_deinit(struct trace *t)
{
    free(t->requests);
    free(t->bytes);
}
