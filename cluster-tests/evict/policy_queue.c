/* Policies with one queue: LRU, CLOCK with one and with two bits, SIEVE; and the list of all policies. */
#include <stdlib.h>

#include "proto/base/alloc.h"
#include "cluster-tests/evict/policy.h"

const struct policy_kind *const policy_kinds[] = {&policy_lru, &policy_clock1, &policy_clock2, &policy_sieve,
    &policy_s3fifo, &policy_s3fifo_1, &policy_product, &policy_belady};
const size_t policy_kinds_n = sizeof policy_kinds / sizeof *policy_kinds;

struct queue {
    struct list objects; /* of link, the oldest first */
    struct list *hand;   /* SIEVE: what is looked at next; may be the head of the list */
    uint8_t hits_max;
};

static struct object *object_of(struct list *link)
{
    return list_entry(link, struct object, link);
}

static void *create_with(uint8_t hits_max)
{
    struct queue *q = xcalloc(1, sizeof *q);
    list_init(&q->objects);
    q->hand = &q->objects;
    q->hits_max = hits_max;
    return q;
}

static void *create_one_bit(struct object *objects, uint32_t n)
{
    return create_with(1);
}

static void *create_two_bits(struct object *objects, uint32_t n)
{
    return create_with(3);
}

static void destroy(void *policy)
{
    free(policy);
}

static void add(void *policy, struct object *o)
{
    struct queue *q = policy;
    list_push_back(&q->objects, &o->link);
}

static void remove_object(void *policy, struct object *o)
{
    struct queue *q = policy;
    if (q->hand == &o->link) {
        q->hand = o->link.next;
    }
    list_remove(&o->link);
}

static void count_hit(void *policy, struct object *o)
{
    const struct queue *q = policy;
    o->hits += o->hits < q->hits_max;
}

/* ---- LRU ---- */

static void lru_touch(void *policy, struct object *o)
{
    struct queue *q = policy;
    if (!o->dirty) {
        list_remove(&o->link);
        list_push_back(&q->objects, &o->link);
    }
}

static struct object *lru_evict(void *policy)
{
    struct queue *q = policy;
    struct list *oldest = list_pop_front(&q->objects);
    return oldest == NULL ? NULL : object_of(oldest);
}

const struct policy_kind policy_lru = {.name = "lru",
    .help = "the least recently used",
    .create = create_one_bit,
    .destroy = destroy,
    .add = add,
    .remove = remove_object,
    .touch = lru_touch,
    .evict = lru_evict};

/* ---- CLOCK: a queue whose oldest goes, or, when it was hit, loses a hit and becomes the newest. ---- */

static struct object *clock_evict(void *policy)
{
    struct queue *q = policy;
    struct list *oldest;
    while ((oldest = list_pop_front(&q->objects)) != NULL) {
        struct object *o = object_of(oldest);
        if (o->hits == 0) {
            return o;
        }
        o->hits--;
        list_push_back(&q->objects, oldest);
    }
    return NULL;
}

const struct policy_kind policy_clock1 = {.name = "clock1",
    .help = "CLOCK with one bit (second chance)",
    .create = create_one_bit,
    .destroy = destroy,
    .add = add,
    .remove = remove_object,
    .touch = count_hit,
    .evict = clock_evict};

const struct policy_kind policy_clock2 = {.name = "clock2",
    .help = "CLOCK with two bits, counting to 3",
    .create = create_two_bits,
    .destroy = destroy,
    .add = add,
    .remove = remove_object,
    .touch = count_hit,
    .evict = clock_evict};

/* ---- SIEVE: Zhang et al., "SIEVE is Simpler than LRU: an Efficient Turn-Key Eviction Algorithm for Web
 * Caches", NSDI 2024. The hand goes from the oldest to the newest and round again. What was visited stays
 * where it is and loses its bit; the first that was not visited goes. New objects come behind the newest.
 * ---- */

static struct object *sieve_evict(void *policy)
{
    struct queue *q = policy;
    if (list_empty(&q->objects)) {
        return NULL;
    }
    for (;;) {
        if (q->hand == &q->objects) {
            q->hand = q->objects.next;
        }
        struct object *o = object_of(q->hand);
        if (o->hits == 0) {
            remove_object(q, o);
            return o;
        }
        o->hits = 0;
        q->hand = q->hand->next;
    }
}

const struct policy_kind policy_sieve = {.name = "sieve",
    .help = "SIEVE (NSDI 2024)",
    .create = create_one_bit,
    .destroy = destroy,
    .add = add,
    .remove = remove_object,
    .touch = count_hit,
    .evict = sieve_evict};
