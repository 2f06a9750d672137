#include "cluster-tests/linear_cache.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/bytes.h"

enum { CAP_FIRST = 64 };

void linear_cache_init(struct linear_cache *c, size_t words, size_t bytes_max)
{
    *c = (struct linear_cache){.words = words, .bytes_max = bytes_max, .cap = CAP_FIRST};
    c->keys = xmalloc(c->cap * words * sizeof *c->keys);
    c->table_cap = 2 * c->cap;
    c->table = xcalloc(c->table_cap, sizeof *c->table);
}

void linear_cache_deinit(struct linear_cache *c)
{
    free(c->keys);
    free(c->table);
    *c = (struct linear_cache){0};
}

static uint32_t first_place(const struct linear_cache *c, const uint64_t *key)
{
    return (uint32_t)bytes_hash(bytes_of(key, c->words * sizeof *key), 0) & (c->table_cap - 1);
}

static uint32_t next_place(const struct linear_cache *c, uint32_t place)
{
    return (place + 1) & (c->table_cap - 1);
}

static int grow(struct linear_cache *c)
{
    size_t key_bytes = c->words * sizeof *c->keys;
    size_t grown = (size_t)c->cap * 2;
    /* The old keys and the new ones, and the new table, are there at once. */
    if (grown > UINT32_MAX / 2 || grown > c->bytes_max / (key_bytes + key_bytes / 2 + 2 * sizeof *c->table)) {
        return -1;
    }
    c->cap = (uint32_t)grown;
    c->keys = xrealloc(c->keys, grown * key_bytes);
    free(c->table);
    c->table_cap = 2 * c->cap;
    c->table = xcalloc(c->table_cap, sizeof *c->table);
    for (uint32_t i = 0; i < c->n; i++) {
        uint32_t place = first_place(c, c->keys + i * c->words);
        while (c->table[place] != 0) {
            place = next_place(c, place);
        }
        c->table[place] = i + 1;
    }
    return 0;
}

enum linear_cache_answer linear_cache_add(struct linear_cache *c, const uint64_t *key)
{
    size_t key_bytes = c->words * sizeof *key;
    uint32_t place = first_place(c, key);
    for (; c->table[place] != 0; place = next_place(c, place)) {
        if (memcmp(c->keys + (c->table[place] - 1) * c->words, key, key_bytes) == 0) {
            return LINEAR_CACHE_KNOWN;
        }
    }
    if (c->n == c->cap) {
        if (grow(c) != 0) {
            return LINEAR_CACHE_FULL;
        }
        for (place = first_place(c, key); c->table[place] != 0; place = next_place(c, place)) {
        }
    }
    memcpy(c->keys + c->n * c->words, key, key_bytes);
    c->table[place] = ++c->n;
    return LINEAR_CACHE_ADDED;
}
