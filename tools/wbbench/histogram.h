/* A histogram of durations with bounded relative error: log-linear buckets, as HdrHistogram has them. Pure.
 * Values below 2^8 are exact; above, each power of two is cut in 128 equal parts, so that a reported value is
 * at most 1/128 (0.8 %) above the true one. Nothing is allocated, whatever the range. */
#ifndef WB_TOOLS_WBBENCH_HISTOGRAM_H
#define WB_TOOLS_WBBENCH_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_PART_BITS = 7, HISTOGRAM_BUCKETS = (64 - HISTOGRAM_PART_BITS + 1) << HISTOGRAM_PART_BITS };

struct histogram {
    uint64_t count;
    uint64_t max; /* exact */
    uint64_t min; /* exact; UINT64_MAX when empty */
    double sum;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_init(struct histogram *h);
void histogram_add(struct histogram *h, uint64_t value);
/* The smallest value so that at least @percent percent of all values are not above it, rounded up to its
 * bucket's end but never above max. 0 when empty. @percent is 0..100. */
uint64_t histogram_percentile(const struct histogram *h, double percent);
double histogram_mean(const struct histogram *h);

#endif
