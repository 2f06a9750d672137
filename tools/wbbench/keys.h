/* Which key comes next: a random generator and the distributions of keys. Pure: the same seed gives the same
 * keys. */
#ifndef WB_TOOLS_WBBENCH_KEYS_H
#define WB_TOOLS_WBBENCH_KEYS_H

#include <stdint.h>

enum keys_distribution { KEYS_UNIFORM, KEYS_ZIPF, KEYS_SEQUENTIAL };

struct keys {
    uint64_t count;
    enum keys_distribution distribution;
    uint64_t random; /* state of splitmix64 */
    uint64_t next;   /* KEYS_SEQUENTIAL: 0, 1, 2, ... and again from 0 */
    /* zipf; Gray et al., "Quickly generating billion-record synthetic databases", SIGMOD 1994 */
    double theta;
    double alpha;
    double zeta;
    double eta;
    double second; /* 1 + 0.5 ^ theta */
};

/* Choose among 0..@count-1; @count is 1..2^31. @theta (0 < theta < 1) is for KEYS_ZIPF: the smaller a key's
 * rank, the likelier; the ranks are scattered over the keys. Takes O(count) time for KEYS_ZIPF. */
void keys_init(
    struct keys *k, uint64_t count, enum keys_distribution distribution, double theta, uint64_t seed);
uint64_t keys_next(struct keys *k);
/* The rank before it is scattered: 0 is the hottest. */
uint64_t keys_next_rank(struct keys *k);
/* A number in [0, 1) from the same generator. */
double keys_random(struct keys *k);

#endif
