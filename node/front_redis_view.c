/* What local commands see of the node: the node fills in what it knows, connections and keys are added here.
 */
#include "node/front_redis_internal.h"
#include "proto/base/clock.h"

/* ---- Groups ---- */

static struct group *group_at(const struct front_redis *f, uint32_t group)
{
    return f->config.ops->group(f->config.data, group);
}

static void view_group(void *data, uint32_t group, struct redis_view_group *out)
{
    const struct front_redis *f = data;
    struct group_info info;
    group_info(group_at(f, group), clock_boot_ms(), &info);
    *out = (struct redis_view_group){
        .leads = info.gate_open,
        .serves = info.gate_open && info.born && info.claimed,
        .term = f->config.ops->term(f->config.data, group),
        .applied_index = info.applied_index,
        .flushed_index = info.flushed_index,
        .dirty_entries = info.dirty_entries,
        .dirty_bytes = info.dirty_bytes,
        .oldest_dirty_ms = info.oldest_dirty_ms,
        .quarantined = info.quarantined,
        .lost = info.lost,
        .entries = info.entries,
        .memory_bytes = info.bytes,
        .rows_flushed = info.rows_flushed,
        .expiring = info.expiring,
        .hits = info.hits,
        .misses = info.misses,
        .evicted = info.evicted,
        .expired = info.expired,
        .writes = info.writes_applied,
        .loads = info.loads,
        .paused = info.paused,
        .recovering = info.recovering,
        .flush_state = info.flush_state,
        .flush_error = info.flush_error,
        .fresh_as_of_us = info.fresh_as_of_us,
    };
}

/* ---- Clients ---- */

struct client_visit {
    void (*visit)(void *visit_data, const struct redis_view_client *client);
    void *visit_data;
    uint64_t now_ms;
    uint64_t n;
};

static uint64_t seconds_since(uint64_t now_ms, uint64_t then_ms)
{
    return now_ms > then_ms ? (now_ms - then_ms) / 1000 : 0;
}

static void visit_conn(void *data, const struct resp_conn_info *info)
{
    struct client_visit *v = data;
    v->n++;
    const struct redis_conn *c = info->client;
    const struct redis_view_client client = {
        .client = c->client,
        .fd = info->fd,
        .age_s = seconds_since(v->now_ms, info->opened_ms),
        .idle_s = seconds_since(v->now_ms, info->active_ms),
        .input_bytes = info->input_bytes,
        .input_free_bytes = info->input_free_bytes,
        .output_bytes = info->output_bytes,
        .memory_bytes = info->memory_bytes,
    };
    v->visit(v->visit_data, &client);
}

static void each_client(
    void *data, void (*visit)(void *visit_data, const struct redis_view_client *client), void *visit_data)
{
    enum { KEYS_PER_CLIENT = 4 }; /* its line is longer */
    struct front_redis *f = data;
    struct client_visit v = {.visit = visit, .visit_data = visit_data, .now_ms = clock_boot_ms()};
    if (f->server != NULL) {
        resp_server_each(f->server, visit_conn, &v);
    }
    f->local_work += v.n * KEYS_PER_CLIENT;
}

/* ---- Keys ---- */

/* A cursor for clients: the group + 1 in the lowest bits, and what is its state's above. States leave more
 * low bits 0 than are cut (see state_scan: so many as their table has buckets are used, from the top), and
 * what is left are 49 bits: some clients keep cursors as floating point numbers, which have room for 53. */
enum { GROUP_BITS = 9, CUT_BITS = 24 };

struct key_visit {
    void (*visit)(void *visit_data, struct bytes key, uint8_t type);
    void *visit_data;
    uint64_t stamp_ms;
    uint64_t looked;
};

static void visit_entry(void *data, const struct state_entry *e)
{
    struct key_visit *v = data;
    v->looked++;
    if (!e->stale && (e->expires_at_ms == 0 || e->expires_at_ms > v->stamp_ms)) {
        v->visit(v->visit_data, state_entry_key(e), e->type);
    }
}

static bool is_shown(const struct front_redis *f, uint32_t group, bool all)
{
    return all || group_leads(group_at(f, group));
}

/* The @n'th of the groups that are shown, counted round and round; group_count when there is none. */
static uint64_t nth_shown(const struct front_redis *f, uint64_t n, bool all)
{
    uint32_t shown = 0;
    for (uint32_t i = 0; i < f->config.group_count; i++) {
        shown += is_shown(f, i, all);
    }
    for (uint32_t i = 0, left = shown == 0 ? 0 : (uint32_t)(n % shown); i < f->config.group_count; i++) {
        if (is_shown(f, i, all) && left-- == 0) {
            return i;
        }
    }
    return f->config.group_count;
}

static uint64_t scan(void *data, uint64_t cursor, uint32_t looks, bool all,
    void (*visit)(void *visit_data, struct bytes key, uint8_t type), void *visit_data)
{
    enum { PLACES_PER_KEY = 64 }; /* an empty place of the table is passed quickly */
    struct front_redis *f = data;
    uint64_t tag = cursor & ((1 << GROUP_BITS) - 1);
    /* A number that is no cursor of ours is somewhere in one of the groups: RANDOMKEY begins so. */
    uint64_t group = tag == 0 ? 0 : tag <= f->config.group_count ? tag - 1 : nth_shown(f, tag, all);
    uint64_t at = cursor >> GROUP_BITS << CUT_BITS;
    for (; group < f->config.group_count && !is_shown(f, (uint32_t)group, all); group++) {
        at = 0;
    }
    if (group >= f->config.group_count) {
        return 0;
    }
    const struct state *s = group_state(group_at(f, (uint32_t)group));
    struct key_visit v = {.visit = visit, .visit_data = visit_data, .stamp_ms = s->stamp_ms};
    at = state_scan(s, at, looks, visit_entry, &v);
    f->local_work += v.looked + looks / PLACES_PER_KEY;
    if (at == 0) {
        do {
            group++;
        } while (group < f->config.group_count && !is_shown(f, (uint32_t)group, all));
        if (group >= f->config.group_count) {
            return 0;
        }
    }
    return at >> CUT_BITS << GROUP_BITS | (group + 1);
}

static uint64_t key_count(void *data, bool all)
{
    const struct front_redis *f = data;
    uint64_t n = 0;
    for (uint32_t i = 0; i < f->config.group_count; i++) {
        if (is_shown(f, i, all)) {
            n += group_state(group_at(f, i))->present;
        }
    }
    return n;
}

const struct redis_node_view *redis_view(struct front_redis *f)
{
    if (!f->view_fresh) {
        f->view_fresh = true;
        f->config.ops->view(f->config.data, &f->view);
        f->view.data = f;
        f->view.group = view_group;
        f->view.each_client = each_client;
        f->view.scan = scan;
        f->view.key_count = key_count;
    }
    return &f->view;
}
