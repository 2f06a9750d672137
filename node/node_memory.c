/* memory_max: what all groups of a node may hold in memory for keys. Each group forgets clean entries in
 * proportion to how much it has of them; those of a group that another node leads count four times, because
 * they serve nobody while that node lives. */
#include <inttypes.h>

#include "node/node_internal.h"

/* A turn gives back so much at most: several milliseconds' worth. The rest follows in the next. */
enum { EVICT_BYTES_MAX = 1024 * 1024, FOLLOWED_WEIGHT = 4 };

uint64_t node_memory(const struct node *n)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < n->config->groups; i++) {
        bytes += group_memory(n->seats[i].group);
    }
    return bytes;
}

static uint64_t worth_least(const struct seat *s)
{
    struct group_info info;
    group_info(s->group, 0, &info);
    return info.clean_bytes * (info.gate_open ? 1 : FOLLOWED_WEIGHT);
}

bool node_evict(struct node *n)
{
    uint64_t held = node_memory(n), max = n->config->limits.memory_max;
    if (held <= max) {
        return false;
    }
    uint64_t over = held - max;
    uint64_t bytes = over < EVICT_BYTES_MAX ? over : EVICT_BYTES_MAX;
    uint64_t weights = 0;
    for (uint32_t i = 0; i < n->config->groups; i++) {
        weights += worth_least(&n->seats[i]);
    }
    if (weights == 0) {
        return false; /* what is left waits for the database: that has a budget of its own */
    }
    for (uint32_t i = 0; i < n->config->groups; i++) {
        uint64_t weight = worth_least(&n->seats[i]);
        if (weight > 0) {
            group_evict(n->seats[i].group, (uint64_t)((double)bytes * (double)weight / (double)weights) + 1);
        }
    }
    return over > bytes;
}
