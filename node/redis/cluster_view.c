/* Which node is what, for clients of Redis Cluster. */
#include "node/redis/cluster_view.h"

#include <string.h>
#include <xxhash.h>

#include "proto/base/buf.h"
#include "proto/slot.h"

void cluster_view_node_id(const char *cluster_name, uint64_t node_id, char out[REDIS_NODE_ID_CHARS + 1])
{
    /* 160 bits: a hash of 128, and half of one with another seed. */
    uint8_t number[8], digest[2 * sizeof(XXH128_canonical_t)];
    store_le64(number, node_id);
    for (unsigned i = 0; i < 2; i++) {
        XXH64_hash_t seed = XXH3_64bits_withSeed(number, sizeof(number), i);
        XXH128_canonical_t canonical;
        XXH128_canonicalFromHash(&canonical, XXH3_128bits_withSeed(cluster_name, strlen(cluster_name), seed));
        memcpy(digest + i * sizeof(canonical), &canonical, sizeof(canonical));
    }
    for (unsigned i = 0; i < REDIS_NODE_ID_CHARS / 2; i++) {
        out[2 * i] = "0123456789abcdef"[digest[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
    }
    out[REDIS_NODE_ID_CHARS] = 0;
}

unsigned cluster_view_ranges(const struct redis_node_view *view, struct cluster_range *out)
{
    unsigned n = 0;
    for (uint32_t g = 0; g < view->group_count; g++) {
        uint16_t last = (uint16_t)(slot_first(g + 1, view->group_count) - 1);
        if (n > 0 && out[n - 1].master == view->leader[g]) {
            out[n - 1].last = last;
        } else {
            out[n++] =
                (struct cluster_range){view->leader[g], (uint16_t)slot_first(g, view->group_count), last};
        }
    }
    return n;
}

unsigned cluster_view_master(const struct redis_node_view *view, unsigned node)
{
    bool master[LIMIT_NODES] = {false};
    for (uint32_t g = 0; g < view->group_count; g++) {
        master[view->leader[g]] = true;
    }
    if (master[node]) {
        return node;
    }
    unsigned masters[LIMIT_NODES], n = 0, replicas_before = 0;
    for (unsigned i = 0; i < view->n_nodes; i++) {
        if (master[i]) {
            masters[n++] = i;
        } else if (i < node) {
            replicas_before++;
        }
    }
    return masters[replicas_before % n];
}

unsigned cluster_view_find(const struct redis_node_view *view, struct bytes id)
{
    for (unsigned i = 0; i < view->n_nodes; i++) {
        if (bytes_equal(id, bytes_from_text(view->nodes[i].id))) {
            return i;
        }
    }
    return view->n_nodes;
}

bool cluster_view_majority(const struct redis_node_view *view)
{
    unsigned heard = 0;
    for (unsigned i = 0; i < view->n_nodes; i++) {
        heard += i == view->self || view->nodes[i].heard;
    }
    return heard * 2 > view->n_nodes;
}
