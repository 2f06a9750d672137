/* Belady's rule: what is read again last goes first. The optimum for objects of equal sizes; for others
 * nearly so. It looks into the future, so it is a mark to measure by. A binary heap, the latest at its top.
 */
#include <stdlib.h>

#include "proto/base/alloc.h"
#include "cluster-tests/evict/policy.h"

struct belady {
    struct object **heap;
    uint32_t n;
};

static void *create(struct object *objects, uint32_t n)
{
    struct belady *b = xcalloc(1, sizeof *b);
    b->heap = xcalloc(n, sizeof(struct object *));
    return b;
}

static void destroy(void *policy)
{
    struct belady *b = policy;
    free(b->heap);
    free(b);
}

static void put(struct belady *b, uint32_t place, struct object *o)
{
    b->heap[place] = o;
    o->heap_place = place;
}

/* Move @o, to whom @place belongs, to where it should be. */
static void settle(struct belady *b, uint32_t place, struct object *o)
{
    while (place > 0 && b->heap[(place - 1) / 2]->next_read < o->next_read) {
        put(b, place, b->heap[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    for (;;) {
        uint32_t child = 2 * place + 1;
        if (child + 1 < b->n && b->heap[child + 1]->next_read > b->heap[child]->next_read) {
            child++;
        }
        if (child >= b->n || b->heap[child]->next_read <= o->next_read) {
            break;
        }
        put(b, place, b->heap[child]);
        place = child;
    }
    put(b, place, o);
}

static void add(void *policy, struct object *o)
{
    struct belady *b = policy;
    b->n++;
    settle(b, b->n - 1, o);
}

static void remove_object(void *policy, struct object *o)
{
    struct belady *b = policy;
    struct object *last = b->heap[--b->n];
    if (last != o) {
        settle(b, o->heap_place, last);
    }
}

static void touch(void *policy, struct object *o)
{
    if (!o->dirty) {
        settle(policy, o->heap_place, o);
    }
}

static struct object *evict(void *policy)
{
    struct belady *b = policy;
    if (b->n == 0) {
        return NULL;
    }
    struct object *o = b->heap[0];
    remove_object(b, o);
    return o;
}

const struct policy_kind policy_belady = {.name = "belady",
    .help = "Belady's rule: needs to know the future",
    .create = create,
    .destroy = destroy,
    .add = add,
    .remove = remove_object,
    .touch = touch,
    .evict = evict};
