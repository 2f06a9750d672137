/* status and lag: what the nodes say about themselves, put together for the whole cluster. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tools/wbclient/commands.h"

/* One replica with the node that reported it. */
struct view {
    const struct wbcache_node_status *node;
    const struct wbcache_group_status *group;
};

/* The most believable leader's view of @group: a ready leader before one that is not, the newest term first.
 * An old leader that does not know yet that it was replaced has a smaller term. */
static struct view leader_view(const struct wbcache_status *status, uint32_t group)
{
    struct view best = {NULL, NULL};
    for (size_t i = 0; i < status->n_nodes; i++) {
        const struct wbcache_node_status *node = &status->nodes[i];
        for (size_t j = 0; node->code == WBCACHE_OK && j < node->n_groups; j++) {
            const struct wbcache_group_status *g = &node->groups[j];
            if (g->group == group && strcmp(g->role, "leader") == 0 &&
                (best.group == NULL || g->term > best.group->term)) {
                best = (struct view){node, g};
            }
        }
    }
    return best;
}

static uint32_t group_count(const struct wbcache_status *status)
{
    for (size_t i = 0; i < status->n_nodes; i++) {
        if (status->nodes[i].code == WBCACHE_OK) {
            return status->nodes[i].group_count;
        }
    }
    return 0;
}

static uint64_t lag_of(const struct wbcache_group_status *g)
{
    return g->applied_index > g->flushed_index ? g->applied_index - g->flushed_index : 0;
}

/* ---- for people ---- */

struct text {
    char s[32];
};

static struct text human_bytes(uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    struct text t;
    double v = (double)bytes;
    size_t unit = 0;
    while (v >= 1024 && unit < sizeof units / sizeof *units - 1) {
        v /= 1024;
        unit++;
    }
    snprintf(t.s, sizeof t.s, unit == 0 || v >= 100 ? "%.0f %s" : "%.1f %s", v, units[unit]);
    return t;
}

static struct text human_ms(uint64_t ms)
{
    struct text t;
    uint64_t s = ms / 1000;
    if (ms == 0) {
        snprintf(t.s, sizeof t.s, "-");
    } else if (s < 10) {
        snprintf(t.s, sizeof t.s, "%" PRIu64 " ms", ms);
    } else if (s < 120) {
        snprintf(t.s, sizeof t.s, "%" PRIu64 " s", s);
    } else if (s < 7200) {
        snprintf(t.s, sizeof t.s, "%" PRIu64 " min", s / 60);
    } else if (s < 172800) {
        snprintf(t.s, sizeof t.s, "%" PRIu64 " h", s / 3600);
    } else {
        snprintf(t.s, sizeof t.s, "%" PRIu64 " d", s / 86400);
    }
    return t;
}

static void print_nodes(const struct wbcache_status *status)
{
    printf("%-5s %-24s %-6s %-9s %11s %10s %18s\n", "node", "address", "up", "uptime", "connections",
        "memory", "cache");
    for (size_t i = 0; i < status->n_nodes; i++) {
        const struct wbcache_node_status *n = &status->nodes[i];
        char id[24] = "?";
        if (n->node_id != 0) {
            snprintf(id, sizeof id, "%" PRIu64, n->node_id);
        }
        if (n->code == WBCACHE_OK) {
            char cache[48] = "-";
            if (n->memory_max_bytes != 0) { /* how much of memory_max the keys in memory take */
                snprintf(cache, sizeof cache, "%s (%.0f %%)", human_bytes(n->cache_bytes).s,
                    100.0 * (double)n->cache_bytes / (double)n->memory_max_bytes);
            }
            printf("%-5s %-24s %-6s %-9s %11" PRIu64 " %10s %18s\n", id, n->client_address, "yes",
                human_ms(n->uptime_ms).s, n->connections, human_bytes(n->memory_bytes).s, cache);
        } else {
            printf("%-5s %-24s no     (%s)\n", id, n->client_address, wbcache_code_name(n->code));
        }
    }
}

static void print_group_header(void)
{
    printf("\n%-5s %-9s %-5s %6s %10s %10s %8s %8s %10s %8s  %s\n", "group", "role", "node", "term",
        "applied", "flushed", "lag", "dirty", "bytes", "oldest", "flush");
}

static void print_group(const struct wbcache_node_status *node, const struct wbcache_group_status *g)
{
    bool leader = strcmp(g->role, "leader") == 0;
    printf("%-5" PRIu32 " %-9s %-5" PRIu64 " %6" PRIu64 " %10" PRIu64 " %10" PRIu64 " %8" PRIu64 " %8" PRIu64
           " %10s %8s  %s%s\n",
        g->group, leader && !g->ready ? "starting" : g->role, node->node_id, g->term, g->applied_index,
        g->flushed_index, lag_of(g), g->dirty_entries, human_bytes(g->dirty_bytes).s,
        human_ms(g->oldest_dirty_ms).s, g->flush_state, leader && !g->ready ? " (not ready)" : "");
    if (g->flush_error[0] != '\0') {
        printf("      last error: %s\n", g->flush_error);
    }
}

static void print_followers(const struct wbcache_status *status, uint32_t group, struct view leader)
{
    for (size_t i = 0; i < status->n_nodes; i++) {
        const struct wbcache_node_status *node = &status->nodes[i];
        for (size_t j = 0; node->code == WBCACHE_OK && j < node->n_groups; j++) {
            if (node->groups[j].group == group && &node->groups[j] != leader.group) {
                print_group(node, &node->groups[j]);
            }
        }
    }
}

static void print_groups(const struct wbcache_status *status, bool all)
{
    uint32_t n = group_count(status);
    uint32_t unled = 0;
    print_group_header();
    for (uint32_t group = 0; group < n; group++) {
        struct view leader = leader_view(status, group);
        if (leader.group != NULL) {
            print_group(leader.node, leader.group);
        } else {
            printf("%-5" PRIu32 " no leader\n", group);
            unled++;
        }
        if (all) {
            print_followers(status, group, leader);
        }
    }
    if (unled > 0) {
        printf("\n%" PRIu32 " of %" PRIu32 " groups have no leader: a majority of the nodes must be up.\n",
            unled, n);
    }
}

/* ---- for programs ---- */

static void set_u64(json_t *object, const char *name, uint64_t value)
{
    json_object_set_new(object, name, json_integer((json_int_t)value));
}

static json_t *group_json(const struct wbcache_group_status *g)
{
    json_t *o = json_object();
    set_u64(o, "group", g->group);
    json_object_set_new(o, "role", json_string(g->role));
    json_object_set_new(o, "ready", json_boolean(g->ready));
    json_object_set_new(o, "flush_state", json_string(g->flush_state));
    json_object_set_new(o, "flush_error", json_string(g->flush_error));
    set_u64(o, "lag_entries", lag_of(g));
/* Every plain number of the struct under its own name. */
#define NUMBER(name) set_u64(o, #name, g->name)
    NUMBER(leader_id);
    NUMBER(term);
    NUMBER(last_index);
    NUMBER(commit_index);
    NUMBER(applied_index);
    NUMBER(flushed_index);
    NUMBER(last_batch);
    NUMBER(dirty_entries);
    NUMBER(dirty_bytes);
    NUMBER(oldest_dirty_ms);
    NUMBER(batches_in_flight);
    NUMBER(entries);
    NUMBER(bytes);
    NUMBER(rows_flushed);
    NUMBER(batches_flushed);
    NUMBER(writes_applied);
    NUMBER(loads);
    NUMBER(epoch);
    NUMBER(hits);
    NUMBER(misses);
    NUMBER(flush_failures);
    NUMBER(fenced);
    NUMBER(evicted);
    NUMBER(expired);
    NUMBER(expiring);
    NUMBER(sessions);
    NUMBER(session_results);
    NUMBER(session_bytes);
    NUMBER(contact_age_ms);
#undef NUMBER
    /* A hash has 64 bits, and JSON's integers are signed. */
    char hash[24];
    snprintf(hash, sizeof hash, "%016" PRIx64, g->state_hash);
    json_object_set_new(o, "state_hash", json_string(hash));
    return o;
}

static json_t *node_json(const struct wbcache_node_status *n)
{
    bool up = n->code == WBCACHE_OK;
    json_t *o = json_object();
    set_u64(o, "id", n->node_id);
    json_object_set_new(o, "address", json_string(n->client_address));
    json_object_set_new(o, "up", json_boolean(up));
    json_object_set_new(o, "peer_address", json_string(n->peer_address));
    if (!up) {
        json_object_set_new(o, "error", json_string(wbcache_code_name(n->code)));
        return o;
    }
    json_object_set_new(o, "version", json_string(n->version));
    json_object_set_new(o, "cluster_id", json_string(n->cluster_id));
    set_u64(o, "uptime_ms", n->uptime_ms);
    set_u64(o, "connections", n->connections);
    set_u64(o, "memory_bytes", n->memory_bytes);
    set_u64(o, "cache_bytes", n->cache_bytes);
    set_u64(o, "memory_max_bytes", n->memory_max_bytes);
    set_u64(o, "requests", n->requests);
    json_t *groups = json_array();
    for (size_t i = 0; i < n->n_groups; i++) {
        json_array_append_new(groups, group_json(&n->groups[i]));
    }
    json_object_set_new(o, "groups", groups);
    return o;
}

static json_t *status_json(const struct wbcache_status *status)
{
    uint32_t count = group_count(status);
    uint32_t ready = 0;
    json_t *groups = json_array();
    for (uint32_t group = 0; group < count; group++) {
        struct view leader = leader_view(status, group);
        json_t *g;
        if (leader.group != NULL) {
            g = group_json(leader.group);
            json_object_set_new(g, "leader_address", json_string(leader.node->client_address));
            ready += leader.group->ready;
        } else {
            g = json_pack("{s:i, s:i, s:b}", "group", (int)group, "leader_id", 0, "ready", 0);
        }
        json_array_append_new(groups, g);
    }
    json_t *nodes = json_array();
    for (size_t i = 0; i < status->n_nodes; i++) {
        json_array_append_new(nodes, node_json(&status->nodes[i]));
    }
    return json_pack("{s:i, s:i, s:o, s:o}", "group_count", (int)count, "ready_groups", (int)ready, "groups",
        groups, "nodes", nodes);
}

/* ---- the commands ---- */

int command_status(struct session *s, const struct bytes *args, size_t n)
{
    bool all = n == 1;
    if (all && !bytes_equal(args[0], bytes_from_text("--all"))) {
        return session_usage(s, "usage: status [--all]");
    }
    struct wbcache_status *status;
    int code = wbcache_status(s->cache, &status);
    if (code != WBCACHE_OK) {
        return session_report(s, code, wbcache_errmsg(s->cache));
    }
    if (s->json) {
        session_print_json(status_json(status));
    } else {
        print_nodes(status);
        print_groups(status, all);
    }
    wbcache_status_free(status);
    return EXIT_DONE;
}

struct lag {
    uint64_t entries;
    uint64_t dirty_entries;
    uint64_t dirty_bytes;
    uint64_t oldest_ms;
    uint32_t unled;
};

static void lag_add(struct lag *total, const struct wbcache_group_status *g)
{
    total->entries += lag_of(g);
    total->dirty_entries += g->dirty_entries;
    total->dirty_bytes += g->dirty_bytes;
    if (g->oldest_dirty_ms > total->oldest_ms) {
        total->oldest_ms = g->oldest_dirty_ms;
    }
}

static void print_lag_line(const char *what, const struct lag *l)
{
    printf("%-8s %8" PRIu64 " entries behind, %8" PRIu64 " dirty keys, %10s, oldest %s\n", what, l->entries,
        l->dirty_entries, human_bytes(l->dirty_bytes).s, human_ms(l->oldest_ms).s);
}

static json_t *lag_json(const struct lag *l)
{
    json_t *o = json_object();
    set_u64(o, "lag_entries", l->entries);
    set_u64(o, "dirty_entries", l->dirty_entries);
    set_u64(o, "dirty_bytes", l->dirty_bytes);
    set_u64(o, "oldest_dirty_ms", l->oldest_ms);
    return o;
}

int command_lag(struct session *s, const struct bytes *args, size_t n)
{
    struct wbcache_status *status;
    int code = wbcache_status(s->cache, &status);
    if (code != WBCACHE_OK) {
        return session_report(s, code, wbcache_errmsg(s->cache));
    }
    struct lag total = {0};
    json_t *groups = json_array();
    for (uint32_t group = 0; group < group_count(status); group++) {
        struct view leader = leader_view(status, group);
        struct lag one = {.unled = leader.group == NULL};
        if (leader.group != NULL) {
            lag_add(&one, leader.group);
            lag_add(&total, leader.group);
        }
        total.unled += one.unled;
        if (s->json) {
            json_t *o = lag_json(&one);
            set_u64(o, "group", group);
            json_object_set_new(o, "known", json_boolean(!one.unled));
            json_array_append_new(groups, o);
        } else {
            char name[24];
            snprintf(name, sizeof name, "group %" PRIu32, group);
            if (one.unled) {
                printf("%-8s has no leader: its lag is not known\n", name);
            } else {
                print_lag_line(name, &one);
            }
        }
    }
    if (s->json) {
        session_print_json(json_pack(
            "{s:o, s:o, s:i}", "groups", groups, "total", lag_json(&total), "unled", (int)total.unled));
    } else {
        json_decref(groups);
        print_lag_line(total.unled == 0 ? "total" : "known", &total);
    }
    wbcache_status_free(status);
    return total.unled == 0 ? EXIT_DONE : EXIT_FAILED;
}
