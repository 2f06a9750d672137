#include "cluster-tests/evict/simulate.h"

#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"

struct cache {
    const struct policy_kind *kind;
    void *policy;
    struct object *objects;
    struct list dirty; /* of dirty_link, in the order in which they become clean */
    uint64_t used;
    uint64_t now; /* number of the request */
    uint64_t dirty_for;
    struct simulation *out;
};

/* When each request's key is next read without being written before; UINT64_MAX: never. To be freed. */
static uint64_t *find_next_reads(const struct trace *t)
{
    uint64_t *next = xcalloc(t->requests_n, sizeof *next);
    uint64_t *of_key = xcalloc(t->keys_n, sizeof *of_key);
    for (uint32_t k = 0; k < t->keys_n; k++) {
        of_key[k] = UINT64_MAX;
    }
    for (uint32_t i = t->requests_n; i-- > 0;) {
        struct trace_request r = t->requests[i];
        next[i] = of_key[r.key];
        of_key[r.key] = r.write ? UINT64_MAX : i;
    }
    free(of_key);
    return next;
}

static void bring_in(struct cache *c, struct object *o)
{
    o->resident = true;
    c->used += o->bytes;
    c->out->resident_n++;
}

/* The flush was here. */
static void clean_what_is_due(struct cache *c)
{
    list_for_each (link, tmp, &c->dirty) {
        struct object *o = list_entry(link, struct object, dirty_link);
        if (o->clean_at > c->now) {
            return;
        }
        list_remove(link);
        o->dirty = false;
        c->out->dirty_n--;
        c->kind->add(c->policy, o);
    }
}

static void evict_what_is_too_much(struct cache *c)
{
    while (c->used > c->out->capacity) {
        struct object *o = c->kind->evict(c->policy);
        if (o == NULL) {
            return; /* all is dirty */
        }
        CHECK(o->resident && !o->dirty);
        o->resident = false;
        o->hits = 0;
        o->queue = 0;
        c->used -= o->bytes;
        c->out->resident_n--;
        c->out->evictions++;
    }
}

static void read_object(struct cache *c, struct object *o, bool counted)
{
    if (counted) {
        c->out->reads++;
        c->out->read_bytes += o->bytes;
        c->out->hits += o->resident;
        c->out->hit_bytes += o->resident ? o->bytes : 0;
    }
    if (o->resident) {
        c->kind->touch(c->policy, o);
    } else {
        bring_in(c, o);
        c->kind->add(c->policy, o);
    }
}

static void write_object(struct cache *c, struct object *o)
{
    if (o->resident) {
        c->kind->touch(c->policy, o);
    } else {
        bring_in(c, o);
        o->dirty = true;
    }
    if (!o->dirty) {
        c->kind->remove(c->policy, o);
        o->dirty = true;
    } else if (!list_empty(&o->dirty_link)) {
        return; /* it is flushed in its turn, with its newest value */
    }
    o->clean_at = c->now + c->dirty_for;
    c->out->dirty_n++;
    list_push_back(&c->dirty, &o->dirty_link);
}

static void count_memory(struct cache *c)
{
    c->out->used_max = c->used > c->out->used_max ? c->used : c->out->used_max;
    uint64_t clean = c->out->resident_n - c->out->dirty_n;
    if (c->kind->bytes != NULL && clean >= 100) {
        double share = (double)c->kind->bytes(c->policy) / (double)clean;
        c->out->policy_bytes_max = share > c->out->policy_bytes_max ? share : c->out->policy_bytes_max;
    }
}

void simulate(const struct trace *t, const struct policy_kind *kind, struct simulation *out)
{
    *out = (struct simulation){.capacity = (uint64_t)((double)t->footprint * t->cache)};
    CHECK(t->keys_n > 0);
    struct cache c = {.kind = kind, .out = out};
    uint64_t *next_reads = find_next_reads(t);
    c.objects = xcalloc(t->keys_n, sizeof *c.objects);
    uint64_t bytes_all = 0;
    for (uint32_t k = 0; k < t->keys_n; k++) {
        c.objects[k].bytes = t->bytes[k];
        list_init(&c.objects[k].link);
        list_init(&c.objects[k].dirty_link);
        bytes_all += t->bytes[k];
    }
    c.dirty_for = out->capacity / (bytes_all / t->keys_n + 1) / 2 + 1;
    list_init(&c.dirty);
    c.policy = kind->create(c.objects, t->keys_n);
    for (c.now = 0; c.now < t->requests_n; c.now++) {
        struct object *o = &c.objects[t->requests[c.now].key];
        o->next_read = next_reads[c.now];
        clean_what_is_due(&c);
        if (t->requests[c.now].write) {
            write_object(&c, o);
        } else {
            read_object(&c, o, c.now >= t->requests_n / 4);
        }
        evict_what_is_too_much(&c);
        count_memory(&c);
    }
    kind->destroy(c.policy);
    free(c.objects);
    free(next_reads);
}
