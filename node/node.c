/* Happy path: requests come in by the front door during the poll phase of the loop; entries apply there too.
 * Before the loop blocks again, `prepare` runs one turn: every replica is polled, every group does what is
 * due, and the next time at which something is due without an event is set as a timer. So whatever arrived in
 * one loop turn is one log entry. Closing: hand leadership over, close the client port (which waits for the
 * last answers) and the one for Redis, then raft, then the database connections; each step starts when the
 * one before has called back. */
#include "node/node.h"

#include <stdio.h>
#include <stdlib.h>

#include "node/node_internal.h"
#include "proto/base/alloc.h"
#include "proto/base/clock.h"

enum {
    HAND_OVER_MS = 2000,
    CLOSE_GRACE_MS = 500,
};

/* ---- The turn ---- */

static void on_timer(uv_timer_t *timer)
{
    (void)timer; /* waking the loop is all: the turn follows */
}

/* A process that was stopped for so long runs its timers first when it goes on, and steps down by them. Its
 * sockets may hold news that matter to the office that is about to end, as the database's refusal of its last
 * flush: hear them first. */
static bool was_stopped(struct node *n, uint64_t now)
{
    bool stopped = n->turned_ms != 0 && now > n->turned_ms + n->config->raft.election_timeout_ms;
    n->turned_ms = now;
    return stopped;
}

static void turn(struct node *n)
{
    uint64_t now = clock_boot_ms();
    if (was_stopped(n, now)) {
        log_warn(n->logger, "stalled", "detail=\"nothing ran for longer than an election timeout\"");
        uv_timer_start(&n->timer, on_timer, 0, 0);
        return;
    }
    raft_host_poll(n->raft);
    uint64_t wall = clock_wall_ms();
    uint64_t wake = UINT64_MAX;
    if (n->redis.front != NULL) {
        front_redis_turn(n->redis.front, now);
    }
    for (uint32_t i = 0; i < n->config->groups; i++) {
        uint64_t at = group_turn(n->seats[i].group, now, wall);
        wake = at < wake ? at : wake;
    }
    if (n->redis.front != NULL) {
        uint64_t at = front_redis_wake_ms(n->redis.front);
        wake = at < wake ? at : wake;
    }
    node_tell_news(n, now);
    if (node_evict(n)) {
        wake = now + 1;
    }
    if (wake == UINT64_MAX) {
        uv_timer_stop(&n->timer);
    } else {
        uv_update_time(n->loop);
        uv_timer_start(&n->timer, on_timer, wake > now ? wake - now : 0, 0);
    }
}

static void on_prepare(uv_prepare_t *prepare)
{
    turn(prepare->data);
}

/* ---- Start ---- */

static void *seat_of_group(void *data, uint32_t group)
{
    return &((struct node *)data)->seats[group];
}

static enum status start_raft(struct node *n, char *errmsg, size_t len)
{
    const struct config *config = n->config;
    struct replica_peer peers[LIMIT_NODES];
    for (unsigned i = 0; i < config->n_nodes; i++) {
        peers[i] = (struct replica_peer){.id = config->nodes[i].id, .address = config->nodes[i].peer};
    }
    struct raft_host_config host = {
        .loop = n->loop,
        .data_dir = config->data_dir,
        .cluster = config->cluster,
        .node_id = config->node_id,
        .peers = peers,
        .n_peers = config->n_nodes,
        .group_count = config->groups,
        .election_timeout_ms = config->raft.election_timeout_ms,
        .heartbeat_ms = config->raft.heartbeat_ms,
        .snapshot_log_bytes = config->raft.snapshot_log_bytes,
        .snapshot_trailing = config->raft.snapshot_trailing,
        .disk_free_min_bytes = config->limits.disk_free_min_bytes,
        .spread_stable_ms = config->raft.spread_stable_ms,
        .logger = n->logger,
        .ops = &seat_replica_ops,
        .group_data = seat_of_group,
        .data = n,
    };
    enum status status = raft_host_create(&host, &n->raft, errmsg, len);
    if (status != STATUS_OK) {
        n->raft = NULL;
        return status;
    }
    n->replaying = true;
    status = raft_host_start(n->raft, errmsg, len);
    n->replaying = false;
    for (uint32_t i = 0; status == STATUS_OK && i < config->groups; i++) {
        struct replica_info info;
        replica_info(raft_host_replica(n->raft, i), &info);
        n->seats[i].replay_until = info.last_index;
    }
    return status;
}

static enum status start_server(struct node *n, char *errmsg, size_t len)
{
    const struct config *config = n->config;
    struct rpc_server_config server = {
        .address = config_self(config)->client,
        .connections_max = config->limits.connections,
        .requests_max = config->limits.requests_per_connection,
        .output_max = config->limits.output_bytes,
        .client_bytes_max = config->limits.client_bytes,
        .idle_timeout_ms = config->limits.idle_timeout_ms,
        .frame_timeout_ms = config->limits.frame_timeout_ms,
        .logger = n->logger,
        .on_request = front_on_request,
        .data = &n->front,
    };
    return rpc_server_start(n->loop, &server, &n->server, errmsg, len);
}

static void close_raft(void *data);

enum status node_start(uv_loop_t *loop, const struct config *config, bool adopt, const struct logger *logger,
    struct node **out, char *errmsg, size_t len)
{
    struct node *n = xcalloc(1, sizeof *n);
    n->loop = loop;
    n->config = config;
    n->logger = logger;
    n->started_ms = clock_boot_ms();
    n->front = (struct front){.ops = &node_front_ops, .data = n, .group_count = config->groups};
    random_bytes(&n->front.scan_tag, sizeof n->front.scan_tag);
    uv_prepare_init(loop, &n->prepare);
    uv_timer_init(loop, &n->timer);
    n->prepare.data = n;
    n->timer.data = n;
    n->closing = 2;

    if (!node_make_seats(n, adopt)) {
        snprintf(errmsg, len, "schema \"%s\" is not a name that PostgreSQL takes", config->schema);
        n->stopping = true;
        close_raft(n);
        return STATUS_INVALID;
    }
    node_watch(n);
    enum status status = start_raft(n, errmsg, len);
    if (status == STATUS_OK) {
        status = start_server(n, errmsg, len);
    }
    if (status == STATUS_OK) {
        status = node_start_redis(n, errmsg, len);
    }
    if (status != STATUS_OK) {
        n->stopping = true;
        if (n->server != NULL) {
            rpc_server_close(n->server, 0, close_raft, n);
        } else {
            close_raft(n);
        }
        return status;
    }
    /* Started after the server's own, so that the turn's answers leave in the same loop turn. */
    uv_prepare_start(&n->prepare, on_prepare);
    log_info(logger, "started", "version=%s groups=%u nodes=%u data=%s", WB_VERSION, config->groups,
        config->n_nodes, config->data_dir);
    *out = n;
    return STATUS_OK;
}
/* ---- Stop ---- */

static void one_closed(struct node *n)
{
    if (--n->closing > 0) {
        return;
    }
    for (uint32_t i = 0; n->seats != NULL && i < n->config->groups; i++) {
        group_destroy(n->seats[i].group);
    }
    if (n->redis.front != NULL) {
        front_redis_destroy(n->redis.front);
    }
    free(n->seats);
    free(n);
}

static void database_closed(void *data)
{
    one_closed(data);
}

static void handle_closed(uv_handle_t *handle)
{
    one_closed(handle->data);
}

static void raft_closed(void *data)
{
    struct node *n = data;
    /* Requests that were taken after the gates closed are refused by a last turn. */
    for (uint32_t i = 0; n->seats != NULL && i < n->config->groups; i++) {
        group_on_gate_close(n->seats[i].group);
        group_turn(n->seats[i].group, clock_boot_ms(), clock_wall_ms());
        n->closing++;
        pg_flusher_close(n->seats[i].flusher, database_closed, n);
    }
    if (n->loader != NULL) {
        n->closing++;
        pg_loader_close(n->loader, database_closed, n);
    }
    if (n->watcher != NULL) {
        n->closing++;
        pg_watcher_close(n->watcher, database_closed, n);
    }
    uv_close((uv_handle_t *)&n->prepare, handle_closed);
    uv_close((uv_handle_t *)&n->timer, handle_closed);
}

static void close_raft(void *data)
{
    struct node *n = data;
    uv_prepare_stop(&n->prepare);
    uv_timer_stop(&n->timer);
    n->server = NULL;
    if (n->raft == NULL) {
        raft_closed(n);
        return;
    }
    raft_host_close(n->raft, raft_closed, n);
}

static void server_closed(void *data)
{
    struct node *n = data;
    if (--n->servers == 0) {
        close_raft(n);
    }
}

static void close_servers(void *data)
{
    struct node *n = data;
    /* What could not be handed over is still ours, but nobody may wait for it any more. */
    for (uint32_t i = 0; i < n->config->groups; i++) {
        group_on_gate_close(n->seats[i].group);
    }
    unsigned grace_ms = n->hurried ? 0 : CLOSE_GRACE_MS;
    n->servers = n->redis.server != NULL ? 2 : 1;
    rpc_server_close(n->server, grace_ms, server_closed, n);
    if (n->redis.server != NULL) {
        resp_server_close(n->redis.server, grace_ms, server_closed, n);
    }
}

void node_stop(struct node *n)
{
    if (n->stopping) {
        n->hurried = true;
        return;
    }
    n->stopping = true;
    n->front.closing = true;
    if (n->redis.front != NULL) {
        front_redis_stop(n->redis.front);
    }
    raft_host_hand_over(n->raft, HAND_OVER_MS, close_servers, n);
}
