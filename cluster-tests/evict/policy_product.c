/* The product's own policy, node/evict.c, as one more: each object has a real entry of the cache state. */
#include <stdlib.h>

#include "node/evict.h"
#include "node/state.h"
#include "proto/base/alloc.h"
#include "cluster-tests/evict/policy.h"

struct product {
    struct evict *evict;
    struct object *objects;
    uint32_t n;
    struct state_entry **entries; /* of the objects, in their order */
};

static void *create(struct object *objects, uint32_t n)
{
    struct product *p = xcalloc(1, sizeof *p);
    p->evict = evict_create();
    p->objects = objects;
    p->n = n;
    p->entries = xcalloc(n, sizeof(struct state_entry *));
    for (uint32_t i = 0; i < n; i++) {
        p->entries[i] = xcalloc(1, sizeof(struct state_entry));
        list_init(&p->entries[i]->queued.link);
        p->entries[i]->version = i; /* the way back to the object */
        p->entries[i]->hash = (i + 1) * 0x9e3779b97f4a7c15ULL;
        p->entries[i]->hash ^= p->entries[i]->hash >> 32;
        p->entries[i]->hash *= 0xbf58476d1ce4e5b9ULL;
        p->entries[i]->key_len = objects[i].bytes;
    }
    return p;
}

static void destroy(void *policy)
{
    struct product *p = policy;
    evict_destroy(p->evict);
    for (uint32_t i = 0; i < p->n; i++) {
        free(p->entries[i]);
    }
    free(p->entries);
    free(p);
}

static struct state_entry *entry_of(const struct product *p, const struct object *o)
{
    return p->entries[o - p->objects];
}

static uint64_t bytes_of_entry(const struct state_entry *e)
{
    return e->key_len;
}

static void add(void *policy, struct object *o)
{
    struct product *p = policy;
    evict_add(p->evict, entry_of(p, o), o->bytes);
}

static void remove_object(void *policy, struct object *o)
{
    struct product *p = policy;
    evict_remove(p->evict, entry_of(p, o), o->bytes);
}

static void touch(void *policy, struct object *o)
{
    evict_touch(entry_of(policy, o));
}

static struct object *evict(void *policy)
{
    struct product *p = policy;
    struct state_entry *e = evict_choose(p->evict, bytes_of_entry);
    if (e == NULL) {
        return NULL;
    }
    evict_remove(p->evict, e, bytes_of_entry(e));
    e->evict_hits = 0; /* as the state frees it, and makes a new one when the key comes back */
    e->evict_queue = 0;
    return &p->objects[e->version];
}

static uint64_t bytes(const void *policy)
{
    const struct product *p = policy;
    return evict_bytes(p->evict);
}

const struct policy_kind policy_product = {.name = "product",
    .help = "node/evict.c, what the nodes do",
    .create = create,
    .destroy = destroy,
    .add = add,
    .remove = remove_object,
    .touch = touch,
    .evict = evict,
    .bytes = bytes};
