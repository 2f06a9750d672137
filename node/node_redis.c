/* The port for clients of Redis: opening it, and what is told there of this node and the cluster. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "node/node_internal.h"
#include "node/redis/cluster_view.h"
#include "proto/base/clock.h"

/* How much memory the process has is a question to the kernel: not for each command. */
enum { RESIDENT_MS = 100 };

/* ---- The view ---- */

static struct group *front_group(void *data, uint32_t group)
{
    return ((struct node *)data)->seats[group].group;
}

static uint64_t front_term(void *data, uint32_t group)
{
    struct replica_info info;
    replica_info(seat_replica(&((struct node *)data)->seats[group]), &info);
    return info.term;
}

static unsigned index_of_node(const struct node *n, uint64_t id)
{
    unsigned i = 0;
    while (i < n->config->n_nodes && n->config->nodes[i].id != id) {
        i++;
    }
    return i;
}

static int front_leader(void *data, uint32_t group)
{
    const struct node *n = data;
    struct replica_info info;
    replica_info(seat_replica(&n->seats[group]), &info);
    unsigned leader = index_of_node(n, info.leader_id);
    return leader < n->config->n_nodes ? (int)leader : -1;
}

/* Who leads what, and whom do we hear. A follower hears its leaders only: of the others it thinks no ill. */
static uint64_t look_at_groups(struct node *n)
{
    struct node_redis *r = &n->redis;
    const struct config *config = n->config;
    uint64_t terms = 0;
    bool leads = false, heard[LIMIT_NODES] = {false};
    for (uint32_t i = 0; i < config->groups; i++) {
        struct replica_info info;
        replica_info(seat_replica(&n->seats[i]), &info);
        unsigned leader = index_of_node(n, info.leader_id);
        r->leader_known[i] = leader < config->n_nodes;
        if (r->leader_known[i]) {
            r->leader[i] = leader;
            heard[leader] |=
                replica_contact_age_ms(seat_replica(&n->seats[i])) <= config->raft.election_timeout_ms;
        }
        terms += info.term;
        leads |= info.leader;
    }
    for (unsigned i = 0; i < config->n_nodes; i++) {
        r->nodes[i].heard =
            i == r->self || heard[i] || !leads || raft_host_peer_answers(n->raft, config->nodes[i].id);
    }
    return terms;
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

/* Finer than the milliseconds that stamps are made of: TIME tells it. */
static uint64_t wall_us(void)
{
    struct timespec t = {0};
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void front_view(void *data, struct redis_node_view *out)
{
    struct node *n = data;
    struct node_redis *r = &n->redis;
    uint64_t now_ms = clock_boot_ms();
    struct rusage usage = {0};
    getrusage(RUSAGE_SELF, &usage);
    if (r->resident_ms == 0 || now_ms - r->resident_ms >= RESIDENT_MS) {
        r->resident_bytes = node_resident_bytes();
        r->resident_ms = now_ms;
    }
    *out = (struct redis_node_view){
        .nodes = r->nodes,
        .n_nodes = n->config->n_nodes,
        .self = r->self,
        .group_count = n->config->groups,
        .leader = r->leader,
        .leader_known = r->leader_known,
        .epoch = look_at_groups(n),
        .replicas_acknowledged = n->config->n_nodes / 2,
        .cluster_name = n->config->cluster,
        .version = WB_VERSION,
        .process_id = (uint64_t)getpid(),
        .uptime_s = (now_ms - n->started_ms) / 1000,
        .now_us = wall_us(),
        .run_id = r->run_id,
        .connections = resp_server_connections(r->server),
        .connections_total = resp_server_connections_total(r->server),
        .connections_max = n->config->limits.connections,
        .commands_total = resp_server_requests(r->server),
        .memory_bytes = r->resident_bytes,
        .memory_max_bytes = n->config->limits.memory_max,
        .cache_bytes = node_memory(n),
        .client_bytes = resp_server_client_bytes(r->server),
        .port = resp_server_port(r->server),
        .config_file = n->config->path,
        .data_dir = n->config->data_dir,
        .idle_timeout_s = n->config->limits.idle_timeout_ms / 1000,
        .cpu_user_s = seconds(usage.ru_utime),
        .cpu_system_s = seconds(usage.ru_stime),
    };
}

static const struct front_redis_ops redis_ops = {
    .group = front_group, .view = front_view, .leader = front_leader, .term = front_term};

/* ---- Opening ---- */

static unsigned port_of(const char *address)
{
    return (unsigned)strtoul(strrchr(address, ':') + 1, NULL, 10);
}

/* Without the brackets of an IPv6 host. The configuration knows that it fits. */
static void host_of(const char *address, char *out, size_t len)
{
    const char *end = strrchr(address, ':');
    if (*address == '[') {
        address++;
        end--;
    }
    snprintf(out, len, "%.*s", (int)(end - address), address);
}

static void describe_nodes(struct node *n)
{
    const struct config *config = n->config;
    struct node_redis *r = &n->redis;
    for (unsigned i = 0; i < config->n_nodes; i++) {
        struct redis_view_node *node = &r->nodes[i];
        cluster_view_node_id(config->cluster, config->nodes[i].id, node->id);
        host_of(config->nodes[i].redis, node->host, sizeof node->host);
        node->port = port_of(config->nodes[i].redis);
        node->peer_port = port_of(config->nodes[i].peer);
    }
    r->self = index_of_node(n, config->node_id);
    for (uint32_t i = 0; i < config->groups; i++) {
        r->leader[i] = i % config->n_nodes; /* until one is known: every slot is somebody's */
    }
    uint8_t random[20];
    random_bytes(random, sizeof random);
    for (size_t i = 0; i < sizeof random; i++) {
        snprintf(r->run_id + 2 * i, 3, "%02x", random[i]);
    }
}

enum status node_start_redis(struct node *n, char *errmsg, size_t len)
{
    const struct config *config = n->config;
    struct node_redis *r = &n->redis;
    if (config_self(config)->redis == NULL) {
        return STATUS_OK;
    }
    describe_nodes(n);
    struct front_redis_config front = {
        .ops = &redis_ops,
        .data = n,
        .group_count = config->groups,
        .request_timeout_ms = config->redis.request_timeout_ms,
        .leader_wait_ms = config->redis.leader_wait_ms,
        .multi_bytes_max = config->limits.client_bytes,
    };
    random_bytes(&front.random_seed, sizeof front.random_seed);
    r->front = front_redis_create(&front);
    struct resp_server_config server = {
        .address = config_self(config)->redis,
        .connections_max = config->limits.connections,
        .requests_max = config->limits.requests_per_connection,
        .output_max = config->limits.output_bytes,
        .client_bytes_max = config->limits.client_bytes,
        .command_bytes_max = LIMIT_FRAME_BYTES,
        .idle_timeout_ms = config->limits.idle_timeout_ms,
        .frame_timeout_ms = config->limits.frame_timeout_ms,
        .logger = n->logger,
        .on_open = front_redis_on_open,
        .on_request = front_redis_on_request,
        .on_refused = front_redis_on_refused,
        .on_close = front_redis_on_close,
        .data = r->front,
    };
    enum status status = resp_server_start(n->loop, &server, &r->server, errmsg, len);
    if (status == STATUS_OK) {
        front_redis_set_server(r->front, r->server);
    }
    return status;
}
