#include "rpc/cluster_map.h"

#include <string.h>

#include "proto/base/check.h"
#include "proto/slot.h"

void cluster_map_init(struct cluster_map *map)
{
    *map = (struct cluster_map){0};
    for (unsigned i = 0; i < LIMIT_GROUPS; i++) {
        map->leaders[i] = CLUSTER_MAP_NOBODY;
    }
}

static bool address_usable(struct bytes text)
{
    struct address a;
    return text.len < ADDRESS_TEXT_BYTES && address_parse(text, &a) == STATUS_OK && a.host[0] != '\0' &&
           strspn(a.port, "0") != strlen(a.port);
}

int cluster_map_add(struct cluster_map *map, struct bytes address)
{
    if (!address_usable(address)) {
        return CLUSTER_MAP_NOBODY;
    }
    for (unsigned i = 0; i < map->n_nodes; i++) {
        const char *known = map->nodes[i].address;
        if (strlen(known) == address.len && memcmp(known, address.data, address.len) == 0) {
            return (int)i;
        }
    }
    if (map->n_nodes == CLUSTER_MAP_NODES_MAX) {
        return CLUSTER_MAP_NOBODY;
    }
    struct cluster_node *node = &map->nodes[map->n_nodes];
    *node = (struct cluster_node){0};
    memcpy(node->address, address.data, address.len);
    return (int)map->n_nodes++;
}

static struct bytes text_bytes(const char *text)
{
    return bytes_of(text, strlen(text));
}

static const Wbrpc__Node *node_by_id(const Wbrpc__TopologyReply *reply, uint64_t id)
{
    for (size_t i = 0; i < reply->n_nodes; i++) {
        if (reply->nodes[i]->id == id) {
            return reply->nodes[i];
        }
    }
    return NULL;
}

static bool reply_consistent(const struct cluster_map *map, const Wbrpc__TopologyReply *reply)
{
    if (reply->group_count == 0 || reply->group_count > LIMIT_GROUPS || reply->n_nodes == 0 ||
        reply->n_nodes > LIMIT_NODES || (map->group_count != 0 && map->group_count != reply->group_count)) {
        return false;
    }
    for (size_t i = 0; i < reply->n_nodes; i++) {
        if (!address_usable(text_bytes(reply->nodes[i]->client_address))) {
            return false;
        }
    }
    for (size_t i = 0; i < reply->n_groups; i++) {
        const Wbrpc__GroupLeader *g = reply->groups[i];
        if (g->group >= reply->group_count ||
            (g->leader_id != 0 && node_by_id(reply, g->leader_id) == NULL)) {
            return false;
        }
    }
    return true;
}

static void learn_nodes(struct cluster_map *map, const Wbrpc__TopologyReply *reply)
{
    for (unsigned i = 0; i < map->n_nodes; i++) {
        map->nodes[i].member = false;
    }
    for (size_t i = 0; i < reply->n_nodes; i++) {
        const Wbrpc__Node *said = reply->nodes[i];
        int at = cluster_map_add(map, text_bytes(said->client_address));
        if (at == CLUSTER_MAP_NOBODY) {
            continue;
        }
        struct cluster_node *node = &map->nodes[at];
        node->id = said->id;
        node->member = true;
        if (strlen(said->peer_address) < sizeof node->peer_address) {
            memcpy(node->peer_address, said->peer_address, strlen(said->peer_address) + 1);
        }
    }
}

static void learn_leader(struct cluster_map *map, uint32_t group, int said)
{
    int known = map->leaders[group];
    if (said == CLUSTER_MAP_NOBODY) {
        return; /* the node that answers has not heard: no reason to forget what another one said */
    }
    bool reachable = known != CLUSTER_MAP_NOBODY && !map->nodes[known].doubtful;
    if (said == known || (reachable && (map->firm[group] || map->nodes[said].doubtful))) {
        return;
    }
    map->leaders[group] = (int16_t)said;
    map->firm[group] = false;
}

enum status cluster_map_learn(struct cluster_map *map, const Wbrpc__TopologyReply *reply)
{
    if (!reply_consistent(map, reply)) {
        return STATUS_CORRUPT;
    }
    map->group_count = reply->group_count;
    learn_nodes(map, reply);
    for (size_t i = 0; i < reply->n_groups; i++) {
        const Wbrpc__Node *leader = node_by_id(reply, reply->groups[i]->leader_id);
        if (reply->groups[i]->leader_id != 0 && leader != NULL) {
            learn_leader(
                map, reply->groups[i]->group, cluster_map_add(map, text_bytes(leader->client_address)));
        }
    }
    return STATUS_OK;
}

int cluster_map_leader(const struct cluster_map *map, uint32_t group)
{
    CHECK(group < map->group_count);
    return map->leaders[group];
}

int cluster_map_redirect(struct cluster_map *map, uint32_t group, const char *address)
{
    CHECK(group < map->group_count);
    int node = cluster_map_add(map, text_bytes(address));
    map->leaders[group] = (int16_t)node;
    map->firm[group] = true;
    return node;
}

void cluster_map_forget(struct cluster_map *map, uint32_t group, int node)
{
    CHECK(group < map->group_count);
    if (map->leaders[group] == node) {
        map->leaders[group] = CLUSTER_MAP_NOBODY;
    }
}

void cluster_map_shake(struct cluster_map *map, uint32_t group, int node)
{
    CHECK(group < map->group_count);
    if (map->leaders[group] == node) {
        map->firm[group] = false;
    }
}

void cluster_map_doubt(struct cluster_map *map, int node, bool doubtful)
{
    CHECK(node >= 0 && (unsigned)node < map->n_nodes);
    map->nodes[node].doubtful = doubtful;
}

uint32_t cluster_map_group(const struct cluster_map *map, uint16_t slot)
{
    CHECK(map->group_count > 0);
    return slot_group(slot, map->group_count);
}
