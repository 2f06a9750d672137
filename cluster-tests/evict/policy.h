/* What a policy of eviction is to the simulation: it knows the clean objects in memory and says which goes
 * next. */
#ifndef WB_TOOLS_WBEVICT_POLICY_H
#define WB_TOOLS_WBEVICT_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/list.h"

/* One key. While it is clean and in memory, `link` to `ghost_at` are its policy's; hits and queue survive its
 * being dirty, but not its eviction; ghost_at survives everything. */
struct object {
    uint32_t bytes;
    bool resident;
    bool dirty;
    uint64_t next_read; /* when it is read next without being written before; UINT64_MAX: never */
    struct list dirty_link;
    uint64_t clean_at;
    struct list link;
    uint8_t hits;
    uint8_t queue;
    uint32_t heap_place;
    uint64_t ghost_at;
};

struct policy_kind {
    const char *name;
    const char *help;
    /* @objects are all that there may be, @n of them; they outlive the policy. */
    void *(*create)(struct object *objects, uint32_t n);
    void (*destroy)(void *policy);
    /* @o came into memory, or became clean there. */
    void (*add)(void *policy, struct object *o);
    /* @o becomes dirty. */
    void (*remove)(void *policy, struct object *o);
    /* @o, in memory, was used; not by what brought it there. Also while it is dirty. */
    void (*touch)(void *policy, struct object *o);
    /* Choose an object, forget it, return it; NULL when there is none. */
    struct object *(*evict)(void *policy);
    /* Memory of the policy's own, beyond what the objects have; NULL: not worth naming. */
    uint64_t (*bytes)(const void *policy);
};

extern const struct policy_kind policy_lru, policy_clock1, policy_clock2, policy_sieve, policy_s3fifo,
    policy_s3fifo_1, policy_product, policy_belady;
extern const struct policy_kind *const policy_kinds[];
extern const size_t policy_kinds_n;

#endif
