/* CLUSTER: the cluster as clients of Redis Cluster see it (cluster_view.h), in the four forms that they ask
 * for. */
#include <inttypes.h>
#include <stdio.h>

#include "node/redis/cluster_view.h"
#include "node/redis/local.h"
#include "node/redis/local_util.h"
#include "node/redis/number.h"
#include "proto/slot.h"

/* A replica that nobody hears is not offered to clients; a master always is, since its slots have no other
 * one yet. */
static bool is_offered_replica(const struct redis_node_view *view, unsigned node, unsigned master)
{
    return node != master && cluster_view_master(view, node) == master &&
           (node == view->self || view->nodes[node].heard);
}

static void reply_slots_node(struct redis_local_call *c, const struct redis_view_node *node)
{
    resp_array(c->out, 4);
    resp_text(c->out, node->host);
    resp_integer(c->out, node->port);
    resp_text(c->out, node->id);
    resp_map(c->out, 0);
}

void redis_local_cluster_slots(struct redis_local_call *c)
{
    struct cluster_range ranges[LIMIT_GROUPS];
    const struct redis_node_view *view = c->view;
    unsigned n = cluster_view_ranges(view, ranges);
    resp_array(c->out, n);
    for (unsigned r = 0; r < n; r++) {
        unsigned master = ranges[r].master, replicas = 0;
        for (unsigned i = 0; i < view->n_nodes; i++) {
            replicas += is_offered_replica(view, i, master);
        }
        resp_array(c->out, 3 + replicas);
        resp_integer(c->out, ranges[r].first);
        resp_integer(c->out, ranges[r].last);
        reply_slots_node(c, &view->nodes[master]);
        for (unsigned i = 0; i < view->n_nodes; i++) {
            if (is_offered_replica(view, i, master)) {
                reply_slots_node(c, &view->nodes[i]);
            }
        }
    }
}

static void reply_shard_node(struct redis_local_call *c, unsigned i, bool master)
{
    const struct redis_view_node *node = &c->view->nodes[i];
    resp_map(c->out, 7);
    resp_text(c->out, "id");
    resp_text(c->out, node->id);
    resp_text(c->out, "port");
    resp_integer(c->out, node->port);
    resp_text(c->out, "ip");
    resp_text(c->out, node->host);
    resp_text(c->out, "endpoint");
    resp_text(c->out, node->host);
    resp_text(c->out, "role");
    resp_text(c->out, master ? "master" : "replica");
    /* Nodes don't tell one another how far they are; each group has a log of its own anyway. */
    resp_text(c->out, "replication-offset");
    resp_integer(c->out, 0);
    resp_text(c->out, "health");
    resp_text(c->out, i == c->view->self || node->heard ? "online" : "fail");
}

static void reply_shard(
    struct redis_local_call *c, unsigned master, const struct cluster_range *ranges, unsigned ranges_n)
{
    unsigned own = 0, nodes = 0;
    for (unsigned r = 0; r < ranges_n; r++) {
        own += ranges[r].master == master;
    }
    for (unsigned i = 0; i < c->view->n_nodes; i++) {
        nodes += cluster_view_master(c->view, i) == master;
    }
    resp_map(c->out, 2);
    resp_text(c->out, "slots");
    resp_array(c->out, 2 * (size_t)own);
    for (unsigned r = 0; r < ranges_n; r++) {
        if (ranges[r].master == master) {
            resp_integer(c->out, ranges[r].first);
            resp_integer(c->out, ranges[r].last);
        }
    }
    resp_text(c->out, "nodes");
    resp_array(c->out, nodes);
    reply_shard_node(c, master, true);
    for (unsigned i = 0; i < c->view->n_nodes; i++) {
        if (i != master && cluster_view_master(c->view, i) == master) {
            reply_shard_node(c, i, false);
        }
    }
}

void redis_local_cluster_shards(struct redis_local_call *c)
{
    struct cluster_range ranges[LIMIT_GROUPS];
    unsigned ranges_n = cluster_view_ranges(c->view, ranges), masters = 0;
    for (unsigned i = 0; i < c->view->n_nodes; i++) {
        masters += cluster_view_master(c->view, i) == i;
    }
    resp_array(c->out, masters);
    for (unsigned i = 0; i < c->view->n_nodes; i++) {
        if (cluster_view_master(c->view, i) == i) {
            reply_shard(c, i, ranges, ranges_n);
        }
    }
}

/* A line as CLUSTER NODES and REPLICAS have it, without its end. */
static void print_node(struct buf *out, const struct redis_node_view *view, unsigned i)
{
    const struct redis_view_node *node = &view->nodes[i];
    unsigned master = cluster_view_master(view, i);
    bool self = i == view->self, heard = self || node->heard;
    local_print(out, "%s %s:%u@%u %s%s%s %s 0 %" PRIu64 " %" PRIu64 " %s", node->id, node->host, node->port,
        node->peer_port, self ? "myself," : "", master == i ? "master" : "slave", heard ? "" : ",fail?",
        master == i ? "-" : view->nodes[master].id, self || !heard ? 0 : view->now_us / 1000, view->epoch,
        heard ? "connected" : "disconnected");
    struct cluster_range ranges[LIMIT_GROUPS];
    unsigned n = cluster_view_ranges(view, ranges);
    for (unsigned r = 0; r < n; r++) {
        if (ranges[r].master != i) {
            continue;
        }
        if (ranges[r].first == ranges[r].last) {
            local_print(out, " %u", ranges[r].first);
        } else {
            local_print(out, " %u-%u", ranges[r].first, ranges[r].last);
        }
    }
}

void redis_local_cluster_nodes(struct redis_local_call *c)
{
    struct buf text;
    buf_init(&text);
    for (unsigned i = 0; i < c->view->n_nodes; i++) {
        print_node(&text, c->view, i);
        local_print(&text, "\n");
    }
    resp_verbatim(c->out, buf_bytes(&text));
    buf_deinit(&text);
}

void redis_local_cluster_info(struct redis_local_call *c)
{
    struct buf text;
    unsigned masters = 0;
    for (unsigned i = 0; i < c->view->n_nodes; i++) {
        masters += cluster_view_master(c->view, i) == i;
    }
    struct cluster_range ranges[LIMIT_GROUPS];
    unsigned n = cluster_view_ranges(c->view, ranges), slots_silent = 0;
    for (unsigned r = 0; r < n; r++) {
        unsigned master = ranges[r].master;
        if (master != c->view->self && !c->view->nodes[master].heard) {
            slots_silent += ranges[r].last - ranges[r].first + 1U;
        }
    }
    buf_init(&text);
    local_print(&text, "cluster_state:%s\r\n", cluster_view_majority(c->view) ? "ok" : "fail");
    local_print(
        &text, "cluster_slots_assigned:%d\r\ncluster_slots_ok:%u\r\n", SLOT_COUNT, SLOT_COUNT - slots_silent);
    local_print(&text, "cluster_slots_pfail:%u\r\ncluster_slots_fail:0\r\n", slots_silent);
    local_print(&text, "cluster_known_nodes:%u\r\ncluster_size:%u\r\n", c->view->n_nodes, masters);
    local_print(&text, "cluster_current_epoch:%" PRIu64 "\r\ncluster_my_epoch:%" PRIu64 "\r\n",
        c->view->epoch, c->view->epoch);
    local_print(&text, "cluster_stats_messages_sent:0\r\ncluster_stats_messages_received:0\r\n");
    local_print(&text, "total_cluster_links_buffer_limit_exceeded:0\r\n");
    resp_verbatim(c->out, buf_bytes(&text));
    buf_deinit(&text);
}

void redis_local_cluster_myid(struct redis_local_call *c)
{
    resp_text(c->out, c->view->nodes[c->view->self].id);
}

void redis_local_cluster_myshardid(struct redis_local_call *c)
{
    resp_text(c->out, c->view->nodes[cluster_view_master(c->view, c->view->self)].id);
}

void redis_local_cluster_keyslot(struct redis_local_call *c)
{
    resp_integer(c->out, slot_of(c->args[2]));
}

void redis_local_cluster_links(struct redis_local_call *c)
{
    resp_array(c->out, 0);
}

/* The node that args[2] names; n_nodes, and the error is said: there is none. */
static unsigned named_node(struct redis_local_call *c)
{
    unsigned node = cluster_view_find(c->view, c->args[2]);
    if (node == c->view->n_nodes) {
        local_error_with(c->out, "ERR Unknown node ", c->args[2], "");
    }
    return node;
}

void redis_local_cluster_count_failure_reports(struct redis_local_call *c)
{
    if (named_node(c) != c->view->n_nodes) {
        resp_integer(c->out, 0);
    }
}

void redis_local_cluster_replicas(struct redis_local_call *c)
{
    unsigned master = named_node(c), n = 0;
    if (master == c->view->n_nodes) {
        return;
    }
    if (cluster_view_master(c->view, master) != master) {
        resp_error(c->out, "ERR The specified node is not a master");
        return;
    }
    for (unsigned i = 0; i < c->view->n_nodes; i++) {
        n += i != master && cluster_view_master(c->view, i) == master;
    }
    resp_array(c->out, n);
    for (unsigned i = 0; i < c->view->n_nodes; i++) {
        if (i != master && cluster_view_master(c->view, i) == master) {
            struct buf line;
            buf_init(&line);
            print_node(&line, c->view, i);
            resp_bulk(c->out, buf_bytes(&line));
            buf_deinit(&line);
        }
    }
}
