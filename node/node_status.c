/* What a node says about itself and the cluster. */
#include <stdio.h>
#include <unistd.h>

#include "node/node_internal.h"
#include "proto/base/clock.h"

/* ---- What the front door asks ---- */

static struct group *front_group(void *data, uint32_t group)
{
    return ((struct node *)data)->seats[group].group;
}

static const char *front_leader_address(void *data, uint32_t group)
{
    const struct node *n = data;
    struct replica_info info;
    replica_info(raft_host_replica(n->raft, group), &info);
    if (info.leader_id == n->config->node_id) {
        return NULL; /* elected, but not in office yet: ask again */
    }
    for (unsigned i = 0; i < n->config->n_nodes; i++) {
        if (n->config->nodes[i].id == info.leader_id) {
            return n->config->nodes[i].client;
        }
    }
    return NULL;
}

static void front_topology(void *data, struct arena *arena, Wbrpc__TopologyReply *out)
{
    const struct node *n = data;
    const struct config *config = n->config;
    out->group_count = config->groups;
    out->n_nodes = config->n_nodes;
    out->nodes = arena_alloc(arena, config->n_nodes * sizeof(Wbrpc__Node *));
    for (unsigned i = 0; i < config->n_nodes; i++) {
        Wbrpc__Node *node = arena_alloc(arena, sizeof *node);
        wbrpc__node__init(node);
        node->id = config->nodes[i].id;
        node->client_address = (char *)(uintptr_t)config->nodes[i].client;
        node->peer_address = (char *)(uintptr_t)config->nodes[i].peer;
        out->nodes[i] = node;
    }
    out->n_groups = config->groups;
    out->groups = arena_alloc(arena, config->groups * sizeof(Wbrpc__GroupLeader *));
    for (uint32_t i = 0; i < config->groups; i++) {
        struct replica_info info;
        replica_info(raft_host_replica(n->raft, i), &info);
        Wbrpc__GroupLeader *leader = arena_alloc(arena, sizeof *leader);
        wbrpc__group_leader__init(leader);
        leader->group = i;
        leader->leader_id = info.leader_id;
        out->groups[i] = leader;
    }
}

uint64_t node_resident_bytes(void)
{
    unsigned long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f != NULL) {
        if (fscanf(f, "%*s %llu", &pages) != 1) {
            pages = 0;
        }
        fclose(f);
    }
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static Wbrpc__FlushSettings *flush_settings(const struct group_info *info, struct arena *arena)
{
    Wbrpc__FlushSettings *out = arena_alloc(arena, sizeof *out);
    wbrpc__flush_settings__init(out);
    out->has_paused = out->has_rows_per_second = out->has_batch_rows = 1;
    out->has_batch_bytes = out->has_age_ms = 1;
    out->paused = info->paused;
    out->rows_per_second = info->rows_per_second;
    out->batch_rows = info->settings.batch_rows;
    out->batch_bytes = info->settings.batch_bytes;
    out->age_ms = info->settings.age_ms;
    return out;
}

static Wbrpc__GroupStatus *group_status(const struct seat *s, struct arena *arena)
{
    struct replica_info raft;
    struct group_info info;
    replica_info(seat_replica(s), &raft);
    group_info(s->group, clock_boot_ms(), &info);
    Wbrpc__GroupStatus *out = arena_alloc(arena, sizeof *out);
    wbrpc__group_status__init(out);
    out->group = s->index;
    out->role = (char *)(uintptr_t)raft.role;
    out->ready = raft.gate_open && info.claimed;
    out->leader_id = raft.leader_id;
    out->term = raft.term;
    out->last_index = raft.last_index;
    out->commit_index = raft.commit_index;
    /* Barriers and configurations are applied too, without the group seeing them. */
    out->applied_index = raft.applied_index;
    out->flushed_index = info.dirty_entries == 0 ? raft.applied_index : info.flushed_index;
    out->last_batch = info.last_batch;
    out->dirty_entries = info.dirty_entries;
    out->dirty_bytes = info.dirty_bytes;
    out->oldest_dirty_ms = info.oldest_dirty_ms;
    out->batches_in_flight = info.batches_in_flight;
    out->entries = info.entries;
    out->bytes = info.bytes;
    out->flush_state = (char *)(uintptr_t)info.flush_state;
    if (info.flush_error[0] != '\0') {
        out->flush_error = (char *)(uintptr_t)info.flush_error;
        out->flush_error_class = (char *)(uintptr_t)info.flush_error_class;
        out->flush_error_sqlstate = (char *)(uintptr_t)info.flush_error_sqlstate;
    }
    out->flush_settings = flush_settings(&info, arena);
    out->rows_flushed = info.rows_flushed;
    out->batches_flushed = info.batches_flushed;
    out->writes_applied = info.writes_applied;
    out->loads = info.loads;
    const struct state *state = group_state(s->group);
    out->state_hash = state_hash_is_cheap(state) ? state_hash(state) : 0;
    out->epoch = info.epoch;
    out->hits = info.hits;
    out->misses = info.misses;
    out->flush_failures = info.flush_failures;
    out->fenced = info.fenced;
#define OPTIONAL(field, value) out->has_##field = 1, out->field = (value)
    OPTIONAL(evicted, info.evicted);
    OPTIONAL(expired, info.expired);
    OPTIONAL(expiring, info.expiring);
    OPTIONAL(sessions, info.sessions);
    OPTIONAL(session_results, info.session_results);
    OPTIONAL(session_bytes, info.session_bytes);
    OPTIONAL(contact_age_ms, replica_contact_age_ms(seat_replica(s)));
    OPTIONAL(quarantined, info.quarantined);
    OPTIONAL(retained, info.retained);
    OPTIONAL(retained_bytes, info.retained_bytes);
    OPTIONAL(retained_batches, info.retained_batches);
    OPTIONAL(recovering, info.recovering);
    OPTIONAL(rewinds, info.rewinds);
    OPTIONAL(lost, info.lost);
    OPTIONAL(lost_ms, info.lost_ms);
    OPTIONAL(flush_error_ms, info.flush_error_ms);
    OPTIONAL(fresh_as_of_ms, info.fresh_as_of_us > 0 ? (uint64_t)info.fresh_as_of_us / 1000 : 0);
    OPTIONAL(watched, s->node->watched);
#undef OPTIONAL
    return out;
}

static void front_status(void *data, struct arena *arena, Wbrpc__StatusReply *out)
{
    const struct node *n = data;
    out->node_id = n->config->node_id;
    out->version = (char *)(uintptr_t)WB_VERSION;
    out->uptime_ms = clock_boot_ms() - n->started_ms;
    out->connections = rpc_server_connections(n->server);
    out->memory_bytes = node_resident_bytes();
    out->requests = rpc_server_requests(n->server);
    out->group_count = n->config->groups;
    out->has_cache_bytes = 1;
    out->cache_bytes = node_memory(n);
    out->has_memory_max_bytes = 1;
    out->memory_max_bytes = n->config->limits.memory_max;
    out->has_database_connections = out->has_database_connections_used = 1;
    out->database_connections = n->slots.max;
    out->database_connections_used = n->slots.used;
    struct flush_identity id;
    if (group_identity(n->seats[0].group, &id)) {
        char *hex = arena_alloc(arena, 2 * CLUSTER_ID_BYTES + 1);
        for (int i = 0; i < CLUSTER_ID_BYTES; i++) {
            snprintf(hex + 2 * (size_t)i, 3, "%02x", id.cluster_id[i]);
        }
        out->cluster_id = hex;
    }
    out->n_groups = n->config->groups;
    out->groups = arena_alloc(arena, n->config->groups * sizeof(Wbrpc__GroupStatus *));
    for (uint32_t i = 0; i < n->config->groups; i++) {
        out->groups[i] = group_status(&n->seats[i], arena);
    }
}

static void front_set_database_connections(void *data, unsigned connections)
{
    flush_slots_resize(&((struct node *)data)->slots, connections);
}

const struct front_ops node_front_ops = {
    .group = front_group,
    .leader_address = front_leader_address,
    .set_database_connections = front_set_database_connections,
    .topology = front_topology,
    .status = front_status,
};
