/* S3-FIFO: Yang et al., "FIFO Queues are All You Need for Cache Eviction", SOSP 2023.
 *
 * New objects enter a small queue of a tenth of the bytes. Its oldest moves to the main queue when it was
 * used often enough there, else it goes and its name stays as a ghost. What comes back while its ghost is
 * remembered enters the main queue at once. The main queue is a CLOCK with two bits. There are as many ghosts
 * as objects in the main queue. How often is often enough: the paper says more than once; s3fifo-1 takes
 * once.
 *
 * The ghosts here are exact: an object is one while no more than so many became ghosts after it. */
#include <stdlib.h>

#include "proto/base/alloc.h"
#include "cluster-tests/evict/policy.h"

enum { QUEUE_NONE, QUEUE_SMALL, QUEUE_MAIN };
enum { HITS_MAX = 3, SMALL_PERCENT = 10 };

struct s3fifo {
    struct list small, main; /* of link, the oldest first */
    uint64_t small_bytes, main_bytes;
    uint64_t main_n;
    uint64_t ghosts; /* that ever were */
    uint8_t hits_to_main;
};

static void *create_with(uint8_t hits_to_main)
{
    struct s3fifo *s = xcalloc(1, sizeof *s);
    list_init(&s->small);
    list_init(&s->main);
    s->hits_to_main = hits_to_main;
    return s;
}

static void *create_twice(struct object *objects, uint32_t n)
{
    return create_with(2);
}

static void *create_once(struct object *objects, uint32_t n)
{
    return create_with(1);
}

static void destroy(void *policy)
{
    free(policy);
}

static void enter(struct s3fifo *s, struct object *o, uint8_t queue)
{
    bool small = queue == QUEUE_SMALL;
    o->queue = queue;
    list_push_back(small ? &s->small : &s->main, &o->link);
    *(small ? &s->small_bytes : &s->main_bytes) += o->bytes;
    s->main_n += !small;
}

static void leave(struct s3fifo *s, struct object *o)
{
    bool small = o->queue == QUEUE_SMALL;
    list_remove(&o->link);
    *(small ? &s->small_bytes : &s->main_bytes) -= o->bytes;
    s->main_n -= !small;
}

static void add(void *policy, struct object *o)
{
    struct s3fifo *s = policy;
    uint8_t queue = o->queue;
    if (queue == QUEUE_NONE) {
        bool ghost = o->ghost_at != 0 && s->ghosts - o->ghost_at < s->main_n;
        queue = ghost ? QUEUE_MAIN : QUEUE_SMALL;
        o->ghost_at = 0;
    }
    enter(s, o, queue);
}

static void remove_object(void *policy, struct object *o)
{
    leave(policy, o);
}

static void touch(void *policy, struct object *o)
{
    o->hits += o->hits < HITS_MAX;
}

static struct object *evict(void *policy)
{
    struct s3fifo *s = policy;
    for (;;) {
        bool small = !list_empty(&s->small) &&
                     (list_empty(&s->main) ||
                         s->small_bytes * 100 >= (s->small_bytes + s->main_bytes) * SMALL_PERCENT);
        struct list *queue = small ? &s->small : &s->main;
        if (list_empty(queue)) {
            return NULL;
        }
        struct object *o = list_entry(queue->next, struct object, link);
        leave(s, o);
        if (small && o->hits >= s->hits_to_main) {
            o->hits = 0;
            enter(s, o, QUEUE_MAIN);
        } else if (small) {
            o->ghost_at = ++s->ghosts;
            return o;
        } else if (o->hits > 0) {
            o->hits--;
            enter(s, o, QUEUE_MAIN);
        } else {
            return o;
        }
    }
}

const struct policy_kind policy_s3fifo = {.name = "s3fifo",
    .help = "S3-FIFO (SOSP 2023): two hits lead to the main queue",
    .create = create_twice,
    .destroy = destroy,
    .add = add,
    .remove = remove_object,
    .touch = touch,
    .evict = evict};

const struct policy_kind policy_s3fifo_1 = {.name = "s3fifo-1",
    .help = "S3-FIFO, but one hit leads to the main queue",
    .create = create_once,
    .destroy = destroy,
    .add = add,
    .remove = remove_object,
    .touch = touch,
    .evict = evict};
