#include "tools/wbbench/histogram.h"

#include <math.h>
#include <string.h>

enum { PARTS = 1 << HISTOGRAM_PART_BITS };

/* Bucket row r >= 1 holds the values with r more bits than a part number has, shifted right by r - 1. */
static unsigned bucket_of(uint64_t value)
{
    if (value < PARTS) {
        return (unsigned)value;
    }
    unsigned shift = 63U - (unsigned)__builtin_clzll(value) - HISTOGRAM_PART_BITS;
    return ((shift + 1) << HISTOGRAM_PART_BITS) + (unsigned)(value >> shift) - PARTS;
}

/* The largest value that falls into @bucket. */
static uint64_t bucket_end(unsigned bucket)
{
    if (bucket < 2 * PARTS) {
        return bucket;
    }
    unsigned shift = (bucket >> HISTOGRAM_PART_BITS) - 1;
    uint64_t top = (uint64_t)(bucket & (PARTS - 1)) + PARTS;
    return (top << shift) + (((uint64_t)1 << shift) - 1);
}

void histogram_init(struct histogram *h)
{
    memset(h, 0, sizeof *h);
    h->min = UINT64_MAX;
}

void histogram_add(struct histogram *h, uint64_t value)
{
    h->count++;
    h->sum += (double)value;
    h->buckets[bucket_of(value)]++;
    if (value > h->max) {
        h->max = value;
    }
    if (value < h->min) {
        h->min = value;
    }
}

uint64_t histogram_percentile(const struct histogram *h, double percent)
{
    /* A hair less, so that 99.9 % of 1,000 is rank 999 though 0.999 is not a binary fraction. */
    uint64_t rank = (uint64_t)ceil(percent / 100.0 * (double)h->count * (1 - 1e-12));
    uint64_t seen = 0;
    if (rank == 0) {
        rank = 1;
    }
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen >= rank) {
            uint64_t end = bucket_end(i);
            return end < h->max ? end : h->max;
        }
    }
    return h->max;
}

double histogram_mean(const struct histogram *h)
{
    return h->count == 0 ? 0 : h->sum / (double)h->count;
}
