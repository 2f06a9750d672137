/* The client of the fake database that reads: a loader in a simulated node. */
#include <stdlib.h>
#include <string.h>

#include "cluster-tests/sim/fake_server.h"
#include "proto/base/alloc.h"

struct load {
    struct sim_event event;
    struct list link;
    struct fake_loader *loader;
    uint64_t token;
    struct flush_identity identity;
    struct buf keys; /* each with its length before it, native order */
    /* the answer, as of one moment at the server */
    bool failed, fence_found, in_recovery;
    uint64_t last_batch;
    struct load_row *rows;
    struct buf *copies; /* key and value of each row */
    uint32_t n;
    size_t value_bytes;
    struct bytes *later; /* borrowed from keys */
    uint32_t later_n;
};

static void load_free(struct load *load)
{
    sim_cancel(load->loader->db->clock, &load->event);
    list_remove(&load->link);
    buf_deinit(&load->keys);
    for (uint32_t i = 0; i < load->n; i++) {
        buf_deinit(&load->copies[2 * i]);
        buf_deinit(&load->copies[2 * i + 1]);
    }
    free(load->copies);
    free(load->rows);
    free(load->later);
    free(load);
}

static void load_answered(struct sim_event *event)
{
    struct load *load = list_entry(event, struct load, event);
    struct fake_loader *l = load->loader;
    if (load->failed) {
        struct flush_error error;
        fake_error(&error, FLUSH_ERROR_OUTAGE, "", "could not connect to server");
        l->events->load_failed(l->events_data, load->token, &error);
    } else {
        struct load_result result = {.rows = load->rows,
            .n = load->n,
            .later = load->later,
            .later_n = load->later_n,
            .fence_found = load->fence_found,
            .in_recovery = load->in_recovery,
            .last_batch = load->last_batch};
        l->events->loaded(l->events_data, load->token, &result);
    }
    load_free(load);
}

static void read_row(struct load *load, struct bytes key)
{
    const struct fake_row *row = fake_db_find(load->loader->db, key);
    if (row == NULL) {
        return;
    }
    if (load->n > 0 && load->value_bytes + row->value.len > load->loader->db->load_bytes_max) {
        load->later[load->later_n++] = key;
        return;
    }
    load->value_bytes += row->value.len;
    struct buf *copy = &load->copies[2 * (size_t)load->n];
    buf_append(&copy[0], row->key.data, row->key.len);
    buf_append(&copy[1], row->value.data, row->value.len);
    load->rows[load->n++] = (struct load_row){.key = buf_bytes(&copy[0]),
        .value = buf_bytes(&copy[1]),
        .type = row->type,
        .version = row->version,
        .expires_at_ms = row->expires_at_ms};
}

static void load_arrived(struct sim_event *event)
{
    struct load *load = list_entry(event, struct load, event);
    struct fake_loader *l = load->loader;
    struct fake_db *db = l->db;
    load->failed = db->down || sim_chance(db->clock, db->cut_permille);
    load->in_recovery = db->standby;
    if (!load->failed) {
        for (size_t at = 0; at < load->keys.len;) {
            uint32_t len = load_le32(load->keys.data + at);
            read_row(load, bytes_of(load->keys.data + at + 4, len));
            at += 4 + (size_t)len;
        }
        const struct fake_fence *fence = &db->content.fences[load->identity.group];
        load->fence_found = fence->present && fence->group_count == load->identity.group_count &&
                            memcmp(fence->cluster_id, load->identity.cluster_id, CLUSTER_ID_BYTES) == 0;
        load->last_batch = fence->last_batch;
    }
    uint64_t delay_us = fake_db_latency(db);
    if (sim_chance(db->clock, db->slow_permille)) {
        delay_us = sim_between(db->clock, delay_us, db->slow_max_us);
    }
    sim_schedule(db->clock, &load->event, l->gate, delay_us, load_answered);
}

static void loader_load(
    void *loader, uint64_t token, const struct flush_identity *id, const struct bytes *keys, uint32_t n)
{
    struct fake_loader *l = loader;
    struct load *load = xcalloc(1, sizeof *load);
    load->loader = l;
    load->token = token;
    load->identity = *id;
    buf_init(&load->keys);
    for (uint32_t i = 0; i < n; i++) {
        uint8_t len[4];
        store_le32(len, (uint32_t)keys[i].len);
        buf_append(&load->keys, len, sizeof len);
        buf_append(&load->keys, keys[i].data, keys[i].len);
    }
    load->rows = xcalloc(n, sizeof *load->rows);
    load->copies = xcalloc(2 * (size_t)n, sizeof *load->copies);
    load->later = xcalloc(n, sizeof *load->later);
    list_push_back(&l->loads, &load->link);
    sim_schedule(l->db->clock, &load->event, NULL, fake_db_latency(l->db), load_arrived);
}

/* A search for expired rows. */
struct search {
    struct sim_event event;
    struct list link;
    struct fake_loader *loader;
    uint64_t token, before_ms;
    uint32_t keys_max;
    struct bytes *keys; /* the answer; each is malloc'd */
    uint32_t n;
};

static void search_free(struct search *search)
{
    sim_cancel(search->loader->db->clock, &search->event);
    list_remove(&search->link);
    for (uint32_t i = 0; i < search->n; i++) {
        free((void *)(uintptr_t)search->keys[i].data);
    }
    free(search->keys);
    free(search);
}

static void search_answered(struct sim_event *event)
{
    struct search *search = list_entry(event, struct search, event);
    struct fake_loader *l = search->loader;
    l->events->expired_found(l->events_data, search->token, search->keys, search->n);
    search_free(search);
}

static const struct fake_row **row_of(const void *element)
{
    return (const struct fake_row **)(uintptr_t)element;
}

static int by_expiry(const void *a, const void *b)
{
    uint64_t left = (*row_of(a))->expires_at_ms, right = (*row_of(b))->expires_at_ms;
    return left < right ? -1 : left > right;
}

static void search_table(struct search *search)
{
    const struct fake_db *db = search->loader->db;
    const struct fake_row **found = xcalloc(db->content.n_rows + 1, sizeof *found);
    size_t n = 0;
    for (size_t i = 0; i < db->content.n_rows; i++) {
        if (db->content.rows[i].expires_at_ms != 0 && db->content.rows[i].expires_at_ms < search->before_ms) {
            found[n++] = &db->content.rows[i];
        }
    }
    qsort((void *)(uintptr_t)found, n, sizeof *found, by_expiry);
    search->n = n < search->keys_max ? (uint32_t)n : search->keys_max;
    search->keys = xcalloc((size_t)search->n + 1, sizeof *search->keys);
    for (uint32_t i = 0; i < search->n; i++) {
        struct bytes key = buf_bytes(&found[i]->key);
        uint8_t *copy = xmalloc(key.len + 1);
        if (key.len > 0) {
            memcpy(copy, key.data, key.len);
        }
        search->keys[i] = bytes_of(copy, key.len);
    }
    free((void *)(uintptr_t)found);
}

/* What cannot be searched has no expired rows. */
static void search_arrived(struct sim_event *event)
{
    struct search *search = list_entry(event, struct search, event);
    struct fake_loader *l = search->loader;
    struct fake_db *db = l->db;
    if (!db->down && !db->standby && !sim_chance(db->clock, db->cut_permille)) {
        search_table(search);
    }
    uint64_t delay_us = fake_db_latency(db);
    if (sim_chance(db->clock, db->slow_permille)) {
        delay_us = sim_between(db->clock, delay_us, db->slow_max_us);
    }
    sim_schedule(db->clock, &search->event, l->gate, delay_us, search_answered);
}

static void loader_find_expired(void *loader, uint64_t token, uint64_t before_ms, uint32_t keys_max)
{
    struct fake_loader *l = loader;
    struct search *search = xcalloc(1, sizeof *search);
    search->loader = l;
    search->token = token;
    search->before_ms = before_ms;
    search->keys_max = keys_max;
    list_push_back(&l->searches, &search->link);
    sim_schedule(l->db->clock, &search->event, NULL, fake_db_latency(l->db), search_arrived);
}

const struct loader_ops fake_loader_ops = {.load = loader_load, .find_expired = loader_find_expired};

void fake_loader_init(struct fake_loader *l, struct fake_db *db, struct sim_gate *gate,
    const struct loader_events *events, void *events_data)
{
    *l = (struct fake_loader){.db = db, .gate = gate, .events = events, .events_data = events_data};
    list_init(&l->loads);
    list_init(&l->searches);
}

void fake_loader_deinit(struct fake_loader *l)
{
    while (!list_empty(&l->loads)) {
        load_free(list_entry(l->loads.next, struct load, link));
    }
    while (!list_empty(&l->searches)) {
        search_free(list_entry(l->searches.next, struct search, link));
    }
}
