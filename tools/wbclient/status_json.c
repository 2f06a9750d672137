/* The cluster's status as JSON: everything that the library tells. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tools/wbclient/status_view.h"

static void set_u64(json_t *object, const char *name, uint64_t value)
{
    json_object_set_new(object, name, json_integer((json_int_t)value));
}

json_t *settings_json(const struct wbcache_flush_settings *settings)
{
    json_t *o = json_object();
    if (settings->has_paused) {
        json_object_set_new(o, "paused", json_boolean(settings->paused));
    }
#define SETTING(name)                                                                                        \
    if (settings->has_##name) {                                                                              \
        set_u64(o, #name, settings->name);                                                                   \
    }
    SETTING(rows_per_second)
    SETTING(batch_rows)
    SETTING(batch_bytes)
    SETTING(age_ms)
#undef SETTING
    return o;
}

static json_t *group_json(const struct wbcache_group_status *g)
{
    json_t *o = json_object();
    set_u64(o, "group", g->group);
    json_object_set_new(o, "role", json_string(g->role));
    json_object_set_new(o, "ready", json_boolean(g->ready));
    json_object_set_new(o, "flush_state", json_string(g->flush_state));
    json_object_set_new(o, "flush_error", json_string(g->flush_error));
    json_object_set_new(o, "flush_error_class", json_string(g->flush_error_class));
    json_object_set_new(o, "flush_error_sqlstate", json_string(g->flush_error_sqlstate));
    json_object_set_new(o, "recovering", json_boolean(g->recovering));
    json_object_set_new(o, "watched", json_boolean(g->watched));
    json_object_set_new(o, "paused", json_boolean(g->settings.paused));
    json_object_set_new(o, "flush_settings", settings_json(&g->settings));
    set_u64(o, "lag_entries", status_lag(g));
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
    NUMBER(flush_error_ms);
    NUMBER(quarantined);
    NUMBER(retained);
    NUMBER(retained_bytes);
    NUMBER(retained_batches);
    NUMBER(rewinds);
    NUMBER(lost);
    NUMBER(lost_ms);
    NUMBER(fresh_as_of_ms);
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
    set_u64(o, "database_connections", n->database_connections);
    set_u64(o, "database_connections_used", n->database_connections_used);
    json_t *groups = json_array();
    for (size_t i = 0; i < n->n_groups; i++) {
        json_array_append_new(groups, group_json(&n->groups[i]));
    }
    json_object_set_new(o, "groups", groups);
    return o;
}

json_t *status_json(const struct wbcache_status *status)
{
    uint32_t count = status_group_count(status);
    uint32_t ready = 0;
    json_t *groups = json_array();
    for (uint32_t group = 0; group < count; group++) {
        struct view leader = status_leader(status, group);
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
