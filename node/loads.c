#include "node/loads.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"

enum { LOAD_BUCKETS = 4096 };

void loads_init(struct loads *l, uint64_t hash_seed)
{
    *l = (struct loads){.bucket_count = LOAD_BUCKETS, .hash_seed = hash_seed};
    l->buckets = xcalloc(LOAD_BUCKETS, sizeof(struct load *));
    list_init(&l->fresh);
    list_init(&l->sent);
    list_init(&l->held);
    list_init(&l->overtaken);
}

void loads_deinit(struct loads *l)
{
    loads_cancel_all(l);
    free(l->buckets);
}

static struct load **link_of(const struct loads *l, struct bytes key, uint64_t hash)
{
    struct load **link = &l->buckets[hash & (l->bucket_count - 1)];
    while (*link != NULL && !((*link)->hash == hash && bytes_equal((*link)->key, key))) {
        link = &(*link)->next_in_bucket;
    }
    return link;
}

struct load *loads_find(const struct loads *l, struct bytes key)
{
    return l->n == 0 ? NULL : *link_of(l, key, bytes_hash(key, l->hash_seed));
}

static struct load *start(struct loads *l, struct bytes key)
{
    uint64_t hash = bytes_hash(key, l->hash_seed);
    struct load **link = link_of(l, key, hash);
    if (*link != NULL) {
        return *link;
    }
    struct load *load = xmalloc(sizeof *load + key.len);
    *load = (struct load){.hash = hash};
    if (key.len > 0) {
        memcpy(load->key_data, key.data, key.len);
    }
    load->key = bytes_of(load->key_data, key.len);
    list_init(&load->waits);
    list_push_back(&l->fresh, &load->link);
    l->fresh_n++;
    *link = load;
    l->n++;
    return load;
}

void loads_start(struct loads *l, struct bytes key)
{
    start(l, key);
}

void loads_wait(struct loads *l, struct bytes key, struct group_request *request)
{
    struct load_wait *wait = xmalloc(sizeof *wait);
    wait->request = request;
    wait->load = start(l, key);
    list_push_back(&wait->load->waits, &wait->of_load);
    list_push_back(&request->load_waits, &wait->of_request);
}

static void drop_wait(struct load_wait *wait)
{
    list_remove(&wait->of_load);
    list_remove(&wait->of_request);
    free(wait);
}

void loads_forget_request(struct group_request *request)
{
    list_for_each (it, next, &request->load_waits) {
        drop_wait(list_entry(it, struct load_wait, of_request));
    }
}

void loads_key_written(struct loads *l, struct bytes key)
{
    struct load *load = loads_find(l, key);
    if (load != NULL) {
        load->dead = true;
        l->written_n += !load->written;
        load->written = true;
    }
}

void loads_key_heard(struct loads *l, struct bytes key)
{
    struct load *load = loads_find(l, key);
    if (load != NULL) {
        load->overtaken = true;
    }
}

void loads_all_heard(struct loads *l)
{
    list_for_each (batch, next_batch, &l->sent) {
        list_for_each (it, next, &list_entry(batch, struct load_batch, link)->loads) {
            list_entry(it, struct load, link)->overtaken = true;
        }
    }
}

struct load_batch *loads_next_batch(struct loads *l, uint32_t max, uint64_t last_batch)
{
    if (l->fresh_n == 0) {
        return NULL;
    }
    struct load_batch *batch = xcalloc(1, sizeof *batch);
    batch->token = ++l->last_token;
    batch->last_batch = last_batch;
    list_init(&batch->loads);
    while (batch->n < max && l->fresh_n > 0) {
        list_push_back(&batch->loads, list_pop_front(&l->fresh));
        l->fresh_n--;
        batch->n++;
    }
    list_push_back(&l->sent, &batch->link);
    return batch;
}

struct load_batch *loads_batch_done(struct loads *l, uint64_t token)
{
    list_for_each (it, next, &l->sent) {
        struct load_batch *batch = list_entry(it, struct load_batch, link);
        if (batch->token == token) {
            list_remove(it);
            return batch;
        }
    }
    return NULL;
}

static void unlink_load(struct loads *l, struct load *load)
{
    struct load **link = link_of(l, load->key, load->hash);
    CHECK(*link == load);
    *link = load->next_in_bucket;
    l->n--;
    l->written_n -= load->written;
    list_remove(&load->link);
}

void loads_end(struct loads *l, struct load *load, struct list *ready)
{
    list_for_each (it, next, &load->waits) {
        struct load_wait *wait = list_entry(it, struct load_wait, of_load);
        struct group_request *request = wait->request;
        drop_wait(wait);
        if (list_empty(&request->load_waits)) {
            list_remove(&request->link);
            list_push_back(ready, &request->link);
        }
    }
    unlink_load(l, load);
    if (load->overtaken && !load->dead) {
        list_push_back(&l->overtaken, &load->link);
    } else {
        free(load);
    }
}

void loads_hold(struct loads *l, struct load *load)
{
    list_remove(&load->link);
    list_push_back(&l->held, &load->link);
}

struct load *loads_next_overtaken(struct loads *l)
{
    struct list *node = list_pop_front(&l->overtaken);
    return node == NULL ? NULL : list_entry(node, struct load, link);
}

void loads_again(struct loads *l, struct load *load)
{
    list_remove(&load->link);
    load->overtaken = false; /* it will be read anew */
    list_push_back(&l->fresh, &load->link);
    l->fresh_n++;
}

void loads_batch_free(struct load_batch *batch)
{
    CHECK(list_empty(&batch->loads));
    list_remove(&batch->link);
    free(batch);
}

static void cancel_list(struct loads *l, struct list *loads)
{
    list_for_each (it, next, loads) {
        struct load *load = list_entry(it, struct load, link);
        CHECK(list_empty(&load->waits));
        unlink_load(l, load);
        free(load);
    }
}

void loads_cancel_all(struct loads *l)
{
    cancel_list(l, &l->fresh);
    l->fresh_n = 0;
    cancel_list(l, &l->held);
    for (struct load *load; (load = loads_next_overtaken(l)) != NULL;) {
        free(load);
    }
    list_for_each (it, next, &l->sent) {
        struct load_batch *batch = list_entry(it, struct load_batch, link);
        cancel_list(l, &batch->loads);
        loads_batch_free(batch);
    }
}
