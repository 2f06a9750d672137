/* INFO: the sections that Redis has, with what is true here, and our own, `# WriteBehind`. */
#include <inttypes.h>
#include <string.h>

#include "node/redis/cluster_view.h"
#include "node/redis/local.h"
#include "node/redis/local_util.h"
#include "node/redis/number.h"

/* Over all groups, or those that this node leads. */
struct sums {
    unsigned led, groups;
    uint64_t keys, expiring, hits, misses, evicted, expired, writes, loads, applied;
    uint64_t dirty_entries, dirty_bytes, oldest_dirty_ms, quarantined, lost, rows_flushed;
    bool paused, recovering;
    int64_t fresh_as_of_us;
};

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void sum_groups(const struct redis_node_view *view, struct sums *s)
{
    *s = (struct sums){.groups = view->group_count};
    for (uint32_t i = 0; i < view->group_count; i++) {
        struct redis_view_group g = {.flush_state = "", .flush_error = ""};
        view->group(view->data, i, &g);
        s->hits += g.hits;
        s->misses += g.misses;
        s->evicted += g.evicted;
        s->expired += g.expired;
        s->writes += g.writes;
        s->loads += g.loads;
        s->applied += g.applied_index;
        if (!g.leads) {
            continue;
        }
        s->led++;
        s->expiring += g.expiring;
        s->dirty_entries += g.dirty_entries;
        s->dirty_bytes += g.dirty_bytes;
        s->oldest_dirty_ms = larger(s->oldest_dirty_ms, g.oldest_dirty_ms);
        s->quarantined += g.quarantined;
        s->lost += g.lost;
        s->rows_flushed += g.rows_flushed;
        s->paused = s->paused || g.paused;
        s->recovering = s->recovering || g.recovering;
        if (s->led == 1 || g.fresh_as_of_us < s->fresh_as_of_us) {
            s->fresh_as_of_us = g.fresh_as_of_us;
        }
    }
    s->keys = view->key_count(view->data, false);
}

static void print_human(struct buf *out, const char *name, uint64_t bytes)
{
    static const char units[] = "BKMGT";
    double number = (double)bytes;
    unsigned unit = 0;
    while (number >= 1024 && unit + 2 < sizeof(units)) {
        number /= 1024;
        unit++;
    }
    local_print(out, unit == 0 ? "%s:%.0f%c\r\n" : "%s:%.2f%c\r\n", name, number, units[unit]);
}

static void print_server(struct buf *out, const struct redis_node_view *view, const struct sums *s)
{
    (void)s;
    local_print(
        out, "# Server\r\nredis_version:" LOCAL_REDIS_VERSION "\r\nwbcache_version:%s\r\n", view->version);
    local_print(out, "redis_mode:cluster\r\narch_bits:%zu\r\nmultiplexing_api:epoll\r\n", sizeof(void *) * 8);
    local_print(out, "process_id:%" PRIu64 "\r\nrun_id:%s\r\ntcp_port:%u\r\n", view->process_id, view->run_id,
        view->port);
    local_print(out,
        "server_time_usec:%" PRIu64 "\r\nuptime_in_seconds:%" PRIu64 "\r\nuptime_in_days:%" PRIu64 "\r\n",
        view->now_us, view->uptime_s, view->uptime_s / 86400);
    local_print(out, "config_file:%s\r\nio_threads_active:0\r\n", view->config_file);
}

static void print_clients(struct buf *out, const struct redis_node_view *view, const struct sums *s)
{
    (void)s;
    local_print(out, "# Clients\r\nconnected_clients:%" PRIu64 "\r\nmaxclients:%" PRIu64 "\r\n",
        view->connections, view->connections_max);
    local_print(out, "blocked_clients:0\r\ntracking_clients:0\r\n");
}

static void print_memory(struct buf *out, const struct redis_node_view *view, const struct sums *s)
{
    (void)s;
    local_print(out, "# Memory\r\nused_memory:%" PRIu64 "\r\n", view->memory_bytes);
    print_human(out, "used_memory_human", view->memory_bytes);
    local_print(out, "used_memory_dataset:%" PRIu64 "\r\nmem_clients_normal:%" PRIu64 "\r\n",
        view->cache_bytes, view->client_bytes);
    local_print(out, "maxmemory:%" PRIu64 "\r\n", view->memory_max_bytes);
    print_human(out, "maxmemory_human", view->memory_max_bytes);
    local_print(out, "maxmemory_policy:noeviction\r\n");
}

static void print_persistence(struct buf *out, const struct redis_node_view *view, const struct sums *s)
{
    (void)view;
    /* The log is our append-only file. `loading` is what clients wait for at connect. */
    local_print(out,
        "# Persistence\r\nloading:0\r\nasync_loading:0\r\nrdb_changes_since_last_save:%" PRIu64 "\r\n",
        s->dirty_entries);
    local_print(out, "rdb_bgsave_in_progress:0\r\naof_enabled:1\r\naof_rewrite_in_progress:0\r\n"
                     "aof_rewrite_scheduled:0\r\naof_last_write_status:ok\r\n");
}

static void print_stats(struct buf *out, const struct redis_node_view *view, const struct sums *s)
{
    local_print(out,
        "# Stats\r\ntotal_connections_received:%" PRIu64 "\r\ntotal_commands_processed:%" PRIu64 "\r\n",
        view->connections_total, view->commands_total);
    local_print(out, "expired_keys:%" PRIu64 "\r\nevicted_keys:%" PRIu64 "\r\n", s->expired, s->evicted);
    local_print(out, "keyspace_hits:%" PRIu64 "\r\nkeyspace_misses:%" PRIu64 "\r\n", s->hits, s->misses);
}

static void print_replication(struct buf *out, const struct redis_node_view *view, const struct sums *s)
{
    unsigned master = cluster_view_master(view, view->self), replicas = 0;
    local_print(out, "# Replication\r\n");
    if (master != view->self) {
        local_print(out, "role:slave\r\nmaster_host:%s\r\nmaster_port:%u\r\nmaster_link_status:%s\r\n",
            view->nodes[master].host, view->nodes[master].port, view->nodes[master].heard ? "up" : "down");
        local_print(out, "slave_read_only:1\r\n");
    } else {
        local_print(out, "role:master\r\n");
    }
    for (unsigned i = 0; i < view->n_nodes; i++) {
        replicas += i != view->self && cluster_view_master(view, i) == view->self;
    }
    local_print(out, "connected_slaves:%u\r\n", replicas);
    for (unsigned i = 0, n = 0; i < view->n_nodes; i++) {
        if (i != view->self && cluster_view_master(view, i) == view->self) {
            local_print(out, "slave%u:ip=%s,port=%u,state=%s\r\n", n++, view->nodes[i].host,
                view->nodes[i].port, view->nodes[i].heard ? "online" : "wait_bgsave");
        }
    }
    local_print(out, "master_repl_offset:%" PRIu64 "\r\n", s->applied);
}

static void print_cpu(struct buf *out, const struct redis_node_view *view, const struct sums *s)
{
    (void)s;
    local_print(
        out, "# CPU\r\nused_cpu_sys:%.6f\r\nused_cpu_user:%.6f\r\n", view->cpu_system_s, view->cpu_user_s);
}

static void print_modules(struct buf *out, const struct redis_node_view *view, const struct sums *s)
{
    (void)view;
    (void)s;
    local_print(out, "# Modules\r\n");
}

static void print_errorstats(struct buf *out, const struct redis_node_view *view, const struct sums *s)
{
    (void)view;
    (void)s;
    local_print(out, "# Errorstats\r\n");
}

static void print_cluster(struct buf *out, const struct redis_node_view *view, const struct sums *s)
{
    (void)view;
    (void)s;
    local_print(out, "# Cluster\r\ncluster_enabled:1\r\n");
}

static void print_keyspace(struct buf *out, const struct redis_node_view *view, const struct sums *s)
{
    (void)view;
    local_print(out, "# Keyspace\r\n");
    if (s->keys > 0) {
        local_print(out, "db0:keys=%" PRIu64 ",expires=%" PRIu64 ",avg_ttl=0\r\n", s->keys, s->expiring);
    }
}

static void print_group(struct buf *out, uint32_t i, const struct redis_view_group *g)
{
    local_print(out, "group%" PRIu32 ":role=%s,serves=%d,term=%" PRIu64 ",applied_index=%" PRIu64, i,
        g->leads ? "leader" : "follower", g->serves, g->term, g->applied_index);
    local_print(out, ",flushed_index=%" PRIu64 ",dirty_entries=%" PRIu64 ",dirty_bytes=%" PRIu64,
        g->flushed_index, g->dirty_entries, g->dirty_bytes);
    local_print(out, ",oldest_dirty_ms=%" PRIu64 ",quarantined=%" PRIu64 ",lost=%" PRIu64 ",entries=%" PRIu64,
        g->oldest_dirty_ms, g->quarantined, g->lost, g->entries);
    local_print(out, ",memory_bytes=%" PRIu64 ",rows_flushed=%" PRIu64 ",fresh_as_of_us=%" PRId64,
        g->memory_bytes, g->rows_flushed, g->fresh_as_of_us);
    local_print(out, ",paused=%d,recovering=%d,flush_state=%s\r\n", g->paused, g->recovering, g->flush_state);
    if (g->flush_error[0] != 0) {
        local_print(out, "group%" PRIu32 "_flush_error:", i);
        /* PostgreSQL's words have lines; INFO's lines are not to be broken by them. */
        for (const char *at = g->flush_error; *at != 0; at++) {
            buf_append_u8(out, (uint8_t)(*at == '\r' || *at == '\n' ? ' ' : *at));
        }
        local_print(out, "\r\n");
    }
}

static void print_write_behind(struct buf *out, const struct redis_node_view *view, const struct sums *s)
{
    local_print(out, "# WriteBehind\r\ncluster_name:%s\r\ngroups:%u\r\ngroups_led:%u\r\n", view->cluster_name,
        s->groups, s->led);
    local_print(out,
        "dirty_entries:%" PRIu64 "\r\ndirty_bytes:%" PRIu64 "\r\noldest_dirty_ms:%" PRIu64 "\r\n",
        s->dirty_entries, s->dirty_bytes, s->oldest_dirty_ms);
    local_print(out, "quarantined:%" PRIu64 "\r\nlost:%" PRIu64 "\r\nrows_flushed:%" PRIu64 "\r\n",
        s->quarantined, s->lost, s->rows_flushed);
    local_print(out, "writes:%" PRIu64 "\r\nloads:%" PRIu64 "\r\nfresh_as_of_us:%" PRId64 "\r\n", s->writes,
        s->loads, s->fresh_as_of_us);
    local_print(out, "flush_paused:%d\r\nrecovering:%d\r\n", s->paused, s->recovering);
    for (uint32_t i = 0; i < view->group_count; i++) {
        struct redis_view_group g = {.flush_state = "", .flush_error = ""};
        view->group(view->data, i, &g);
        print_group(out, i, &g);
    }
}

static const struct section {
    const char *name;
    void (*print)(struct buf *out, const struct redis_node_view *view, const struct sums *s);
} sections[] = {
    {"server", print_server},
    {"clients", print_clients},
    {"memory", print_memory},
    {"persistence", print_persistence},
    {"stats", print_stats},
    {"replication", print_replication},
    {"cpu", print_cpu},
    {"modules", print_modules},
    {"errorstats", print_errorstats},
    {"cluster", print_cluster},
    {"keyspace", print_keyspace},
    {"writebehind", print_write_behind},
};

enum { SECTIONS_N = sizeof(sections) / sizeof(sections[0]) };

static bool means_all(struct bytes name)
{
    return redis_word_is(name, "all") || redis_word_is(name, "default") || redis_word_is(name, "everything");
}

void redis_local_info(struct redis_local_call *c)
{
    bool wanted[SECTIONS_N] = {false};
    for (unsigned i = 0; i < SECTIONS_N; i++) {
        wanted[i] = c->n == 1;
    }
    for (uint32_t a = 1; a < c->n; a++) {
        for (unsigned i = 0; i < SECTIONS_N; i++) {
            wanted[i] = wanted[i] || means_all(c->args[a]) || redis_word_is(c->args[a], sections[i].name);
        }
    }
    struct buf text;
    struct sums sums;
    buf_init(&text);
    sum_groups(c->view, &sums);
    for (unsigned i = 0; i < SECTIONS_N; i++) {
        if (wanted[i]) {
            buf_append(&text, "\r\n", text.len > 0 ? 2 : 0);
            sections[i].print(&text, c->view, &sums);
        }
    }
    resp_verbatim(c->out, buf_bytes(&text));
    buf_deinit(&text);
}
