#include "tools/wbbench/redis_map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"

bool redis_map_init(struct redis_map *m, const char *servers)
{
    memset(m->owners, NODE_NONE, sizeof m->owners);
    return node_list_init(&m->nodes, servers);
}

void redis_map_give_all(struct redis_map *m, int node)
{
    memset(m->owners, node, sizeof m->owners);
}

/* The node at @host and @port; without a host it is @asked's. */
static int node_at(struct redis_map *m, int asked, struct bytes host, int64_t port)
{
    const char *own = m->nodes.addresses[asked];
    char address[NODE_ADDRESS_BYTES];
    if (host.len == 0) {
        host = bytes_of(own, (size_t)(strrchr(own, ':') - own));
    }
    int n = snprintf(
        address, sizeof address, "%.*s:%lld", (int)host.len, (const char *)host.data, (long long)port);
    return n < 0 || (size_t)n >= sizeof address || port < 1 || port > 65535
               ? NODE_NONE
               : node_list_add(&m->nodes, bytes_of(address, (size_t)n));
}

/* Take the next reply of an array's content. */
static bool next(struct bytes *rest, enum redis_reply_kind kind, struct redis_reply *out)
{
    size_t used;
    if (redis_reply_parse(*rest, out, &used) != STATUS_OK) {
        return false;
    }
    *rest = bytes_of(rest->data + used, rest->len - used);
    return out->kind == kind || (kind == REDIS_BULK && out->kind == REDIS_NULL);
}

/* One element: first slot, last slot, master [host, port, ...], replicas. */
static bool learn_range(struct redis_map *m, int asked, const struct redis_reply *range)
{
    struct bytes rest = range->text;
    struct redis_reply first, last, master, host, port;
    if (!next(&rest, REDIS_INTEGER, &first) || !next(&rest, REDIS_INTEGER, &last) ||
        !next(&rest, REDIS_ARRAY, &master)) {
        return false;
    }
    rest = master.text;
    if (!next(&rest, REDIS_BULK, &host) || !next(&rest, REDIS_INTEGER, &port) || first.number < 0 ||
        first.number > last.number || last.number >= SLOT_COUNT) {
        return false;
    }
    int node = node_at(m, asked, host.kind == REDIS_NULL ? bytes_of(NULL, 0) : host.text, port.number);
    if (node == NODE_NONE) {
        return false;
    }
    memset(m->owners + first.number, node, (size_t)(last.number - first.number + 1));
    return true;
}

bool redis_map_learn(struct redis_map *m, int asked, const struct redis_reply *slots)
{
    if (slots->kind != REDIS_ARRAY) {
        return false;
    }
    struct redis_map new;
    new.nodes = m->nodes;
    memset(new.owners, NODE_NONE, sizeof new.owners);
    struct bytes rest = slots->text;
    for (int64_t i = 0; i < slots->number; i++) {
        struct redis_reply range;
        if (!next(&rest, REDIS_ARRAY, &range) || !learn_range(&new, asked, &range)) {
            return false;
        }
    }
    if (memchr(new.owners, NODE_NONE, sizeof new.owners) != NULL) {
        return false;
    }
    *m = new;
    return true;
}

bool redis_map_moved(struct redis_map *m, int asked, struct bytes error, int *node)
{
    char text[NODE_ADDRESS_BYTES + 32];
    unsigned slot, port;
    int at = 0;
    if (error.len >= sizeof text) {
        return false;
    }
    memcpy(text, error.data, error.len);
    text[error.len] = '\0';
    if (sscanf(text, "MOVED %u %n", &slot, &at) != 1 || at == 0 || slot >= SLOT_COUNT) {
        return false;
    }
    const char *host = text + at, *colon = strrchr(host, ':');
    if (colon == NULL || sscanf(colon + 1, "%u", &port) != 1) {
        return false;
    }
    int found = node_at(m, asked, bytes_of(host, (size_t)(colon - host)), port);
    if (found == NODE_NONE) {
        return false;
    }
    m->owners[slot] = (int8_t)found;
    *node = found;
    return true;
}

void redis_keys_init(struct redis_keys *k, uint32_t count, uint16_t *slots)
{
    *k = (struct redis_keys){.count = count, .slots = slots, .by_node = xcalloc(count, sizeof *k->by_node)};
}

void redis_keys_deinit(struct redis_keys *k)
{
    free(k->slots);
    free(k->by_node);
}

static int owner(const struct redis_keys *k, const struct redis_map *map, uint32_t key)
{
    int node = map->owners[k->slots != NULL ? k->slots[key] : 0];
    CHECK(node >= 0 && node < LIMIT_NODES);
    return node;
}

void redis_keys_sort(struct redis_keys *k, const struct redis_map *map)
{
    uint32_t at[LIMIT_NODES] = {0};
    for (uint32_t i = 0; i < k->count; i++) {
        at[owner(k, map, i)]++;
    }
    uint32_t sum = 0;
    for (int n = 0; n < LIMIT_NODES; n++) {
        uint32_t many = at[n];
        k->first[n] = sum;
        at[n] = sum;
        sum += many;
    }
    k->first[LIMIT_NODES] = sum;
    for (uint32_t i = 0; i < k->count; i++) {
        k->by_node[at[owner(k, map, i)]++] = i;
    }
}

uint32_t redis_keys_of(const struct redis_keys *k, int node)
{
    return k->first[node + 1] - k->first[node];
}

uint32_t redis_keys_at(const struct redis_keys *k, int node, uint32_t i)
{
    return k->by_node[k->first[node] + i];
}
