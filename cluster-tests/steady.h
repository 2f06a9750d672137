/* The friends of a cluster: small writes and reads of one group at a steady rate, timed. A stall counts for
 * every call that should have begun in it: latencies begin when the call was due, not when its thread came to
 * it.
 *
 * What is read must be what the same thread wrote last, to the byte. Threading: the calls below from one
 * thread; the friends are threads of their own. */
#ifndef WB_CLUSTER_TESTS_STEADY_H
#define WB_CLUSTER_TESTS_STEADY_H

#include <stdbool.h>
#include <stdint.h>

struct steady_config {
    const char *cluster;       /* addresses; borrowed until steady_stop */
    unsigned group;            /* whose keys they use */
    unsigned threads;          /* each writes a key, then reads it, in turns */
    unsigned calls_per_second; /* by all threads together */
};

struct steady_times {
    uint64_t calls;
    uint64_t p50_us, p99_us, max_us; /* 0 without calls */
};
/* Of one window. */
struct steady_numbers {
    struct steady_times writes;
    struct steady_times reads;
    uint64_t failed; /* calls with another result than OK */
    uint64_t wrong;  /* reads of something else than was written */
    char error[160]; /* the first of them, in words */
};

struct steady;

/* Heap object; never NULL. The first window begins. */
struct steady *steady_start(const struct steady_config *config);
/* Begin a new window; returns the numbers of the one that ends. */
struct steady_numbers steady_window(struct steady *s);
/* End: all threads are joined, @s is freed. NULL is allowed. */
void steady_stop(struct steady *s);

#endif
