#include "tools/wbbench/route.h"

#include <string.h>

#include "proto/slot.h"

bool route_init(struct route *r, const char *cluster)
{
    memset(r, 0, sizeof *r);
    memset(r->leaders, ROUTE_NONE, sizeof r->leaders);
    return node_list_init(&r->nodes, cluster);
}

static const char *address_of(const Wbrpc__TopologyReply *reply, uint64_t id)
{
    for (size_t i = 0; i < reply->n_nodes; i++) {
        if (reply->nodes[i]->id == id) {
            return reply->nodes[i]->client_address;
        }
    }
    return NULL;
}

bool route_learn(struct route *r, const Wbrpc__TopologyReply *reply)
{
    if (reply->group_count == 0 || reply->group_count > LIMIT_GROUPS ||
        (r->group_count != 0 && r->group_count != reply->group_count)) {
        return false;
    }
    r->group_count = reply->group_count;
    for (size_t i = 0; i < reply->n_groups; i++) {
        const char *address = address_of(reply, reply->groups[i]->leader_id);
        if (address != NULL && reply->groups[i]->group < r->group_count) {
            r->leaders[reply->groups[i]->group] = (int8_t)node_list_add(&r->nodes, bytes_from_text(address));
        }
    }
    return true;
}

uint32_t route_group(const struct route *r, struct bytes key)
{
    return slot_group(slot_of(key), r->group_count);
}

void route_forget_node(struct route *r, int node)
{
    for (uint32_t i = 0; i < r->group_count; i++) {
        if (r->leaders[i] == node) {
            r->leaders[i] = ROUTE_NONE;
        }
    }
}
