#include "tools/wbbench/keys.h"

#include <math.h>

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

void keys_init(
    struct keys *k, uint64_t count, enum keys_distribution distribution, double theta, uint64_t seed)
{
    *k = (struct keys){.count = count, .distribution = distribution, .random = seed, .theta = theta};
    if (distribution != KEYS_ZIPF) {
        return;
    }
    for (uint64_t i = 1; i <= count; i++) {
        k->zeta += pow(1.0 / (double)i, theta);
    }
    k->second = 1.0 + pow(0.5, theta);
    k->alpha = 1.0 / (1.0 - theta);
    k->eta = (1.0 - pow(2.0 / (double)count, 1.0 - theta)) / (1.0 - k->second / k->zeta);
}

double keys_random(struct keys *k)
{
    return (double)(next_random(&k->random) >> 11) * 0x1.0p-53;
}

uint64_t keys_next_rank(struct keys *k)
{
    if (k->distribution == KEYS_SEQUENTIAL) {
        return k->next++ % k->count;
    }
    double u = keys_random(k);
    uint64_t rank;
    if (k->distribution == KEYS_UNIFORM) {
        rank = (uint64_t)(u * (double)k->count);
    } else {
        double uz = u * k->zeta;
        if (uz < 1.0) {
            return 0;
        }
        rank = uz < k->second ? 1 : (uint64_t)((double)k->count * pow(k->eta * u - k->eta + 1.0, k->alpha));
    }
    return rank < k->count ? rank : k->count - 1;
}

uint64_t keys_next(struct keys *k)
{
    uint64_t rank = keys_next_rank(k);
    /* A prime above 2^31 shares no factor with any count allowed: each rank gets a key of its own. */
    return k->distribution == KEYS_ZIPF ? rank * 2654435761ULL % k->count : rank;
}
