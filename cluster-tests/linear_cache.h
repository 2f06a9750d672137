/* A set of keys of one fixed size: the places that a search has been to. Only grows, up to a limit. Pure. */
#ifndef WB_CLUSTER_TESTS_LINEAR_CACHE_H
#define WB_CLUSTER_TESTS_LINEAR_CACHE_H

#include <stddef.h>
#include <stdint.h>

struct linear_cache {
    size_t words; /* of 64 bits, in a key */
    uint64_t *keys;
    uint32_t n, cap;
    uint32_t *table; /* open hash table of 1 + the key's number; 0: free */
    uint32_t table_cap;
    size_t bytes_max;
};

enum linear_cache_answer { LINEAR_CACHE_ADDED, LINEAR_CACHE_KNOWN, LINEAR_CACHE_FULL };

/* Keys of @words words; at most @bytes_max of memory, also while it grows (but a small first piece always).
 */
void linear_cache_init(struct linear_cache *c, size_t words, size_t bytes_max);
void linear_cache_deinit(struct linear_cache *c);
/* Add a copy of @key. FULL: it is new, and there is no room for it. */
enum linear_cache_answer linear_cache_add(struct linear_cache *c, const uint64_t *key);

#endif
