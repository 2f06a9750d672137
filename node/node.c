/* Happy path: requests come in by the front door during the poll phase of the loop; entries apply there too.
 * Before the loop blocks again, `prepare` runs one turn: every replica is polled, every group does what is
 * due, and the next time at which something is due without an event is set as a timer. So whatever arrived in
 * one loop turn is one log entry. Closing: hand leadership over, close the client port (which waits for the
 * last answers), then raft, then the database connections; each step starts when the one before has called
 * back. */
#include "node/node.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "flush/pg_flusher.h"
#include "flush/pg_loader.h"
#include "node/front.h"
#include "node/group.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "raft/raft_host.h"
#include "rpc/server.h"

enum {
    HAND_OVER_MS = 2000,
    CLOSE_GRACE_MS = 500,
    LOAD_TOKEN_BITS = 48,
};

/* One group of this node with what stands around it. */
struct seat {
    struct node *node;
    uint32_t index;
    struct group *group;
    struct pg_flusher *flusher;
};

struct node {
    uv_loop_t *loop;
    const struct config *config;
    const struct logger *logger;
    struct seat *seats;
    struct raft_host *raft;
    struct pg_loader *loader;
    struct rpc_server *server;
    struct front front;
    uv_prepare_t prepare;
    uv_timer_t timer;
    bool replaying; /* raft_host_start is applying what is on disk */
    bool stopping;
    bool hurried;
    unsigned closing; /* database handles and our own, still to close */
    uint64_t started_ms;
    uint64_t turned_ms; /* the last turn; ticks make sure that one comes every few milliseconds */
};

/* ---- What a group asks of us ---- */

static struct replica *replica_of(const struct seat *s)
{
    return raft_host_replica(s->node->raft, s->index);
}

static enum status env_propose(void *data, struct bytes entry, bool essential, uint64_t *index)
{
    return essential ? replica_propose_essential(replica_of(data), entry, index)
                     : replica_propose(replica_of(data), entry, index);
}

static enum status env_barrier(void *data, uint64_t token)
{
    return replica_barrier(replica_of(data), token);
}

static bool env_lease_valid(void *data)
{
    return replica_lease_valid(replica_of(data));
}

static void env_random(void *data, void *out, unsigned len)
{
    (void)data;
    random_bytes(out, len);
}

static bool env_seed(void *data, struct flush_identity *out)
{
    const struct seat *s = data;
    return group_identity(s->node->seats[0].group, out);
}

/* The loader is shared: a token tells whose load it is. */
static void env_load(
    void *data, uint64_t token, const struct flush_identity *id, const struct bytes *keys, uint32_t n)
{
    const struct seat *s = data;
    CHECK(token >> LOAD_TOKEN_BITS == 0);
    pg_loader_ops.load(s->node->loader, (uint64_t)s->index << LOAD_TOKEN_BITS | token, id, keys, n);
}

static const struct loader_ops seat_loader_ops = {.load = env_load};

static uint64_t own_token(uint64_t token)
{
    return token & ((UINT64_C(1) << LOAD_TOKEN_BITS) - 1);
}

static void on_loaded(void *data, uint64_t token, const struct load_result *result)
{
    const struct node *n = data;
    group_loader_events.loaded(n->seats[token >> LOAD_TOKEN_BITS].group, own_token(token), result);
}

static void on_load_failed(void *data, uint64_t token, const struct flush_error *error)
{
    const struct node *n = data;
    group_loader_events.load_failed(n->seats[token >> LOAD_TOKEN_BITS].group, own_token(token), error);
}

static const struct loader_events node_loader_events = {.loaded = on_loaded, .load_failed = on_load_failed};

/* ---- What a replica tells a group ---- */

static void on_apply(void *data, uint64_t index, struct bytes entry)
{
    const struct seat *s = data;
    group_on_apply(s->group, index, entry, s->node->replaying ? 0 : clock_boot_ms());
}

static void on_snapshot(void *data, struct buf *out)
{
    group_on_snapshot(((const struct seat *)data)->group, out);
}

static enum status on_restore(void *data, struct bytes snapshot)
{
    return group_on_restore(((const struct seat *)data)->group, snapshot);
}

static void on_gate_open(void *data, uint64_t term)
{
    group_on_gate_open(((const struct seat *)data)->group, term, clock_boot_ms());
}

static void on_gate_close(void *data)
{
    group_on_gate_close(((const struct seat *)data)->group);
}

static void on_barrier_done(void *data, uint64_t token)
{
    group_on_barrier(((const struct seat *)data)->group, token);
}

static const struct replica_ops seat_replica_ops = {
    .apply = on_apply,
    .snapshot = on_snapshot,
    .restore = on_restore,
    .gate_open = on_gate_open,
    .gate_close = on_gate_close,
    .barrier_done = on_barrier_done,
};

static void *seat_of_group(void *data, uint32_t group)
{
    return &((struct node *)data)->seats[group];
}

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
    for (uint32_t i = 0; i < n->config->groups; i++) {
        uint64_t at = group_turn(n->seats[i].group, now, wall);
        wake = at < wake ? at : wake;
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

static uint64_t resident_bytes(void)
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

static Wbrpc__GroupStatus *group_status(const struct seat *s, struct arena *arena)
{
    struct replica_info raft;
    struct group_info info;
    replica_info(replica_of(s), &raft);
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
    out->flush_error = info.flush_error[0] == '\0' ? NULL : (char *)(uintptr_t)info.flush_error;
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
    return out;
}

static void front_status(void *data, struct arena *arena, Wbrpc__StatusReply *out)
{
    const struct node *n = data;
    out->node_id = n->config->node_id;
    out->version = (char *)(uintptr_t)WB_VERSION;
    out->uptime_ms = clock_boot_ms() - n->started_ms;
    out->connections = rpc_server_connections(n->server);
    out->memory_bytes = resident_bytes();
    out->requests = rpc_server_requests(n->server);
    out->group_count = n->config->groups;
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

static const struct front_ops node_front_ops = {
    .group = front_group,
    .leader_address = front_leader_address,
    .topology = front_topology,
    .status = front_status,
};

/* ---- Start ---- */

static struct pg_limits database_limits(const struct config *config)
{
    return (struct pg_limits){
        .connect_timeout_ms = config->flush.connect_timeout_ms,
        .lock_timeout_ms = config->flush.lock_timeout_ms,
        .statement_timeout_ms = config->flush.statement_timeout_ms,
    };
}

static struct flush_settings flush_settings(const struct config *config)
{
    return (struct flush_settings){
        .age_ms = config->flush.age_ms,
        .batch_rows = config->flush.batch_rows,
        .batch_bytes = config->flush.batch_bytes,
        .in_flight = config->flush.in_flight,
        .retry_min_ms = config->flush.retry_min_ms,
        .retry_max_ms = config->flush.retry_max_ms,
    };
}

static bool make_seats(struct node *n, bool adopt)
{
    const struct config *config = n->config;
    struct pg_loader_config loader = {
        .dsn = config->database,
        .schema = config->schema,
        .node_id = config->node_id,
        .limits = database_limits(config),
        .backoff_min_ms = config->flush.retry_min_ms,
        .backoff_max_ms = config->flush.retry_max_ms,
        .logger = n->logger,
    };
    n->loader = pg_loader_create(n->loop, &loader, &node_loader_events, n);
    if (n->loader == NULL) {
        return false;
    }
    n->seats = xcalloc(config->groups, sizeof *n->seats);
    for (uint32_t i = 0; i < config->groups; i++) {
        struct seat *s = &n->seats[i];
        s->node = n;
        s->index = i;
        struct group_config group = {
            .group = i,
            .group_count = config->groups,
            .node_id = config->node_id,
            .adopt = adopt,
            .flush = flush_settings(config),
            .dirty_bytes_max = config->limits.dirty_bytes,
            .dirty_entries_max = config->limits.dirty_entries,
        };
        random_bytes(&group.hash_seed, sizeof group.hash_seed);
        random_bytes(&group.random_seed, sizeof group.random_seed);
        struct pg_flusher_config flusher = {
            .dsn = config->database,
            .schema = config->schema,
            .node_id = config->node_id,
            .group = i,
            .limits = database_limits(config),
            .logger = n->logger,
        };
        struct group_env env = {
            .data = s,
            .propose = env_propose,
            .barrier = env_barrier,
            .lease_valid = env_lease_valid,
            .random = env_random,
            .seed = env_seed,
            .flusher = &pg_flusher_ops,
            .loader = &seat_loader_ops,
            .loader_data = s,
        };
        /* The two need each other: the flusher's events go to the group's session. */
        s->group = group_create(&group, &env);
        s->flusher =
            pg_flusher_create(n->loop, &flusher, group_flusher_events(), group_flusher_events_data(s->group));
        CHECK(s->flusher != NULL); /* the schema's name passed the loader */
        group_set_flusher(s->group, s->flusher);
    }
    return true;
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
        .idle_timeout_ms = config->limits.idle_timeout_ms,
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
    uv_prepare_init(loop, &n->prepare);
    uv_timer_init(loop, &n->timer);
    n->prepare.data = n;
    n->timer.data = n;
    n->closing = 2;

    if (!make_seats(n, adopt)) {
        snprintf(errmsg, len, "schema \"%s\" is not a name that PostgreSQL takes", config->schema);
        n->stopping = true;
        close_raft(n);
        return STATUS_INVALID;
    }
    enum status status = start_raft(n, errmsg, len);
    if (status == STATUS_OK) {
        status = start_server(n, errmsg, len);
    }
    if (status != STATUS_OK) {
        n->stopping = true;
        close_raft(n);
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

static void close_server(void *data)
{
    struct node *n = data;
    /* What could not be handed over is still ours, but nobody may wait for it any more. */
    for (uint32_t i = 0; i < n->config->groups; i++) {
        group_on_gate_close(n->seats[i].group);
    }
    rpc_server_close(n->server, n->hurried ? 0 : CLOSE_GRACE_MS, close_raft, n);
}

void node_stop(struct node *n)
{
    if (n->stopping) {
        n->hurried = true;
        return;
    }
    n->stopping = true;
    n->front.closing = true;
    raft_host_hand_over(n->raft, HAND_OVER_MS, close_server, n);
}
