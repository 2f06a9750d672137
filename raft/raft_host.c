#include "raft/raft_host.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/limits.h"
#include "raft/data_dir.h"
#include "raft/guarded_io.h"
#include "raft/peer_port.h"
#include "raft/segment_fill.h"
#include "raft/spread.h"

enum {
    CONNECT_RETRY_MS = 200,
    DISK_CHECK_MS = 1000,
    TRUNCATE_ROOM_BYTES = 16 * 1024 * 1024, /* two segments: the copy of a cut one, and one being prepared */
    SPREAD_COOLDOWN_TIMEOUTS = 2,           /* in election timeouts: a transfer takes less than one */
    HAND_OVER_TRIES = 2, /* for each group: when all nodes stop at once, it would go round between them */
};

struct host_group {
    struct raft_host *host;
    uint32_t group;
    struct guarded_io io;
    struct replica replica;
    bool io_ready;      /* raft_uv_init done */
    bool replica_ready; /* replica_init done */
    uint64_t move_to;   /* the spreading's transfer under way, 0 for none */
    unsigned hand_over_tries;
};

struct raft_host {
    struct raft_host_config config;
    struct replica_peer peers[LIMIT_NODES]; /* with copies of the addresses */
    struct data_dir dir;
    bool dir_ready;
    struct peer_port *port;
    struct host_group *groups;
    bool started;
    bool closing;
    unsigned open; /* replicas that still close */

    struct spread spread;
    struct spread_view *views; /* scratch, one per group */

    bool disk_low;
    uint64_t disk_checked_ms; /* 0: never */

    uv_timer_t hand_over_timer;
    bool handing_over; /* stays true when done: the host is about to close */
    void (*hand_over_cb)(void *data);
    void *hand_over_data;

    void (*close_cb)(void *data);
    void *close_data;
};

static uint64_t boot_ms(void *data)
{
    return clock_boot_ms();
}

/* The library's timers must not run while the machine sleeps: its followers would all campaign at once on
 * waking. */
static uint64_t monotonic_ms(void *data)
{
    return uv_hrtime() / 1000000u;
}

/* ---- Create and start ---- */

static enum status invalid(char *errmsg, size_t len, const char *text)
{
    snprintf(errmsg, len, "%s", text);
    return STATUS_INVALID;
}

static enum status check_config(const struct raft_host_config *c, char *errmsg, size_t len)
{
    if (c->n_peers < 2 || c->n_peers > LIMIT_NODES) {
        return invalid(errmsg, len, "a cluster has 2 to 9 nodes, and needs 3 to survive the loss of one");
    }
    if (c->group_count < 1 || c->group_count > LIMIT_GROUPS) {
        return invalid(errmsg, len, "a cluster has 1 to 256 groups");
    }
    if (c->heartbeat_ms == 0 || c->election_timeout_ms < 3 * c->heartbeat_ms) {
        return invalid(errmsg, len, "the election timeout must be at least three heartbeats");
    }
    bool self_found = false;
    for (unsigned i = 0; i < c->n_peers; i++) {
        size_t address_len = strlen(c->peers[i].address);
        if (c->peers[i].id == 0 || address_len == 0 || address_len > 255) {
            return invalid(errmsg, len, "each node needs an id above 0 and an address of at most 255 bytes");
        }
        for (unsigned j = 0; j < i; j++) {
            if (c->peers[j].id == c->peers[i].id || strcmp(c->peers[j].address, c->peers[i].address) == 0) {
                return invalid(errmsg, len, "two nodes have the same id or the same peer address");
            }
        }
        self_found = self_found || c->peers[i].id == c->node_id;
    }
    return self_found ? STATUS_OK : invalid(errmsg, len, "this node's id is not in the list of nodes");
}

static const char *own_address(const struct raft_host *host)
{
    for (unsigned i = 0; i < host->config.n_peers; i++) {
        if (host->peers[i].id == host->config.node_id) {
            return host->peers[i].address;
        }
    }
    CHECK(!"our own id is in the list");
    return NULL;
}

static bool has_room_to_truncate(void *data)
{
    const struct raft_host *host = data;
    uint64_t free_bytes;
    return data_dir_free_bytes(&host->dir, &free_bytes) != STATUS_OK || free_bytes >= TRUNCATE_ROOM_BYTES;
}

static enum status init_io(struct host_group *g, char *errmsg, size_t len)
{
    struct raft_host *host = g->host;
    char path[1024];
    segment_fill_link();
    if (!data_dir_group_path(&host->dir, g->group, path, sizeof path)) {
        return invalid(errmsg, len, "the data folder's path is too long");
    }
    int rv = raft_uv_init(&g->io.io, host->config.loop, path, peer_port_transport(host->port, g->group));
    if (rv != 0) {
        snprintf(errmsg, len, "group %" PRIu32 ": cannot use %s: %s", g->group, path, g->io.io.errmsg);
        return STATUS_IO;
    }
    raft_uv_set_auto_recovery(&g->io.io, false); /* it would drop acknowledged entries to get going again */
    raft_uv_set_tracer(&g->io.io, NULL);
    raft_uv_set_connect_retry_delay(&g->io.io, CONNECT_RETRY_MS);
    guarded_io_wrap(&g->io, &(struct guarded_io_config){
                                .group = g->group,
                                .logger = host->config.logger,
                                .peers = host->peers,
                                .n_peers = host->config.n_peers,
                                .now_ms = monotonic_ms,
                                .has_room = has_room_to_truncate,
                                .room_data = host,
                            });
    g->io_ready = true;
    return STATUS_OK;
}

static enum status init_group(struct host_group *g, char *errmsg, size_t len)
{
    struct raft_host *host = g->host;
    enum status status = init_io(g, errmsg, len);
    if (status != STATUS_OK) {
        return status;
    }
    const struct raft_host_config *c = &host->config;
    unsigned seed;
    random_bytes(&seed, sizeof seed);
    const struct replica_config config = {
        .group = g->group,
        .node_id = c->node_id,
        .address = own_address(host),
        .election_timeout_ms = c->election_timeout_ms,
        .heartbeat_ms = c->heartbeat_ms,
        .snapshot_log_bytes = c->snapshot_log_bytes,
        .snapshot_trailing = c->snapshot_trailing,
        .seed = seed,
        .start_delay_ms = c->election_timeout_ms,
        .logger = c->logger,
        .now_ms = boot_ms,
    };
    status = replica_init(&g->replica, &config, &g->io.io, c->ops, c->group_data(c->data, g->group));
    if (status != STATUS_OK) {
        snprintf(errmsg, len, "group %" PRIu32 ": %s", g->group, replica_errmsg(&g->replica));
        return status;
    }
    g->replica_ready = true;
    return STATUS_OK;
}

static void init_spread(struct raft_host *host)
{
    const struct raft_host_config *c = &host->config;
    uint64_t ids[LIMIT_NODES];
    for (unsigned i = 0; i < c->n_peers; i++) {
        ids[i] = c->peers[i].id;
    }
    spread_init(&host->spread,
        &(struct spread_config){
            .self_id = c->node_id,
            .group_count = c->group_count,
            .stable_ms = c->spread_stable_ms,
            .break_ms = c->election_timeout_ms,
            .cooldown_ms = (uint64_t)c->election_timeout_ms * SPREAD_COOLDOWN_TIMEOUTS,
        },
        ids, c->n_peers);
}

static enum status open_all(struct raft_host *host, char *errmsg, size_t len)
{
    const struct raft_host_config *c = &host->config;
    const struct data_dir_identity identity = {
        .cluster = c->cluster, .node_id = c->node_id, .group_count = c->group_count};
    enum status status = data_dir_open(&host->dir, c->data_dir, &identity, errmsg, len);
    if (status != STATUS_OK) {
        return status;
    }
    host->dir_ready = true;
    const struct peer_port_config port = {
        .loop = c->loop,
        .node_id = c->node_id,
        .cluster = c->cluster,
        .peers = host->peers,
        .n_peers = c->n_peers,
        .group_count = c->group_count,
        .election_timeout_ms = c->election_timeout_ms,
        .logger = c->logger,
    };
    status = peer_port_open(&port, &host->port, errmsg, len);
    for (uint32_t g = 0; g < c->group_count && status == STATUS_OK; g++) {
        status = init_group(&host->groups[g], errmsg, len);
    }
    return status;
}

enum status raft_host_create(
    const struct raft_host_config *config, struct raft_host **out, char *errmsg, size_t len)
{
    enum status status = check_config(config, errmsg, len);
    if (status != STATUS_OK) {
        return status;
    }
    struct raft_host *host = xcalloc(1, sizeof *host);
    host->config = *config;
    for (unsigned i = 0; i < config->n_peers; i++) {
        host->peers[i] =
            (struct replica_peer){.id = config->peers[i].id, .address = xstrdup(config->peers[i].address)};
    }
    host->config.peers = host->peers;
    host->groups = xcalloc(config->group_count, sizeof *host->groups);
    host->views = xcalloc(config->group_count, sizeof *host->views);
    for (uint32_t g = 0; g < config->group_count; g++) {
        host->groups[g].host = host;
        host->groups[g].group = g;
    }
    CHECK(uv_timer_init(config->loop, &host->hand_over_timer) == 0);
    host->hand_over_timer.data = host;
    init_spread(host);
    status = open_all(host, errmsg, len);
    host->config.data_dir = NULL; /* borrowed until here only */
    host->config.cluster = NULL;
    if (status != STATUS_OK) {
        raft_host_close(host, NULL, NULL);
        return status;
    }
    *out = host;
    return STATUS_OK;
}

enum status raft_host_start(struct raft_host *host, char *errmsg, size_t len)
{
    for (uint32_t g = 0; g < host->config.group_count; g++) {
        struct replica *r = &host->groups[g].replica;
        enum status status = replica_start(r, host->peers, host->config.n_peers);
        if (status != STATUS_OK) {
            snprintf(errmsg, len, "%s", replica_errmsg(r));
            return status;
        }
    }
    host->started = true;
    return STATUS_OK;
}

struct replica *raft_host_replica(struct raft_host *host, uint32_t group)
{
    CHECK(group < host->config.group_count);
    return &host->groups[group].replica;
}

/* ---- Disk space ---- */

/* The library retries for ever and silently when it cannot prepare a segment, so space is watched before it
 * is gone. When it is gone all the same, guarded_io ends the process. */
static void check_disk(struct raft_host *host, uint64_t now_ms)
{
    if (host->disk_checked_ms != 0 && now_ms < host->disk_checked_ms + DISK_CHECK_MS) {
        return;
    }
    host->disk_checked_ms = now_ms;
    uint64_t free_bytes;
    if (data_dir_free_bytes(&host->dir, &free_bytes) != STATUS_OK) {
        return;
    }
    bool low = free_bytes < host->config.disk_free_min_bytes;
    if (low == host->disk_low) {
        return;
    }
    host->disk_low = low;
    if (low) {
        log_error(host->config.logger, "disk-low",
            "folder=%s free=%" PRIu64 " min=%" PRIu64
            " text=\"groups led by this node refuse writes until there is space\"",
            host->dir.path, free_bytes, host->config.disk_free_min_bytes);
    } else {
        log_info(host->config.logger, "disk-ok", "folder=%s free=%" PRIu64, host->dir.path, free_bytes);
    }
    for (uint32_t g = 0; g < host->config.group_count; g++) {
        replica_set_disk_low(&host->groups[g].replica, low);
    }
}

/* ---- Who leads what ---- */

static void hear_peers(struct raft_host *host)
{
    for (uint32_t g = 0; g < host->config.group_count; g++) {
        for (unsigned i = 0; i < host->config.n_peers; i++) {
            spread_heard(&host->spread, host->peers[i].id,
                guarded_io_heard_ms(&host->groups[g].io, host->peers[i].id));
        }
    }
}

static void fill_view(struct host_group *g, uint64_t now_ms, struct spread_view *view)
{
    struct raft_host *host = g->host;
    struct replica_info info;
    replica_info(&g->replica, &info);
    *view = (struct spread_view){
        .leader_id = info.leader_id,
        .ours = info.gate_open && !replica_transferring(&g->replica),
        .last_index = info.last_index,
    };
    if (info.gate_open) {
        spread_led(&host->spread, g->group, info.term, now_ms);
    }
    for (unsigned i = 0; i < host->config.n_peers && view->ours; i++) {
        view->match[i] = replica_match_index(&g->replica, host->peers[i].id);
    }
}

/* A transfer begun by the spreading ends when the replica says so; whether it worked shows in who leads. */
static void follow_move(struct host_group *g, uint64_t now_ms)
{
    if (g->move_to == 0 || replica_transferring(&g->replica)) {
        return;
    }
    struct replica_info info;
    replica_info(&g->replica, &info);
    spread_ended(&g->host->spread, g->group, info.leader_id == g->move_to, now_ms);
    g->move_to = 0;
}

static void spread_leaders(struct raft_host *host, uint64_t now_ms)
{
    for (uint32_t g = 0; g < host->config.group_count; g++) {
        follow_move(&host->groups[g], now_ms);
        fill_view(&host->groups[g], now_ms, &host->views[g]);
    }
    struct spread_move move;
    if (!spread_plan(&host->spread, host->views, now_ms, &move)) {
        return;
    }
    spread_tried(&host->spread, now_ms);
    if (replica_transfer(&host->groups[move.group].replica, move.target_id) == STATUS_OK) {
        host->groups[move.group].move_to = move.target_id;
        log_info(host->config.logger, "spread", "group=%" PRIu32 " to=%" PRIu64, move.group, move.target_id);
    }
}

bool raft_host_peer_answers(const struct raft_host *host, uint64_t node_id)
{
    return spread_answers(&host->spread, node_id, monotonic_ms(NULL));
}

/* ---- Handing over ---- */

static void hand_over_finish(struct raft_host *host)
{
    void (*cb)(void *) = host->hand_over_cb;
    host->hand_over_cb = NULL;
    uv_timer_stop(&host->hand_over_timer);
    if (cb != NULL) {
        cb(host->hand_over_data);
    }
}

static void hand_over_timeout_cb(uv_timer_t *timer)
{
    hand_over_finish(timer->data);
}

static void hand_over_step(struct raft_host *host, uint64_t now_ms)
{
    bool leads = false;
    for (uint32_t g = 0; g < host->config.group_count; g++) {
        struct host_group *group = &host->groups[g];
        struct replica_info info;
        replica_info(&group->replica, &info);
        bool may_try = group->hand_over_tries < HAND_OVER_TRIES;
        leads = leads || (info.leader && may_try) || replica_transferring(&group->replica);
        fill_view(group, now_ms, &host->views[g]);
        if (host->views[g].ours && may_try) {
            uint64_t target = spread_best_follower(&host->spread, &host->views[g], now_ms);
            if (target != 0 && replica_transfer(&group->replica, target) == STATUS_OK) {
                group->hand_over_tries++; /* refused: the next turn tries again */
            }
        }
    }
    if (!leads) {
        hand_over_finish(host);
    }
}

void raft_host_hand_over(struct raft_host *host, unsigned timeout_ms, void (*cb)(void *data), void *data)
{
    CHECK(host->hand_over_cb == NULL && !host->closing);
    host->handing_over = true;
    host->hand_over_cb = cb;
    host->hand_over_data = data;
    CHECK(uv_timer_start(&host->hand_over_timer, hand_over_timeout_cb, timeout_ms, 0) == 0);
}

void raft_host_poll(struct raft_host *host)
{
    if (!host->started || host->closing) {
        return;
    }
    uint64_t now_ms = monotonic_ms(NULL);
    check_disk(host, now_ms);
    for (uint32_t g = 0; g < host->config.group_count; g++) {
        replica_poll(&host->groups[g].replica);
    }
    hear_peers(host);
    if (host->handing_over) {
        if (host->hand_over_cb != NULL) {
            hand_over_step(host, now_ms);
        }
    } else if (host->config.spread_stable_ms != 0) {
        spread_leaders(host, now_ms);
    }
}

/* ---- Close: the replicas, then their ios, then the port, then the rest ---- */

static void timer_closed_cb(uv_handle_t *handle)
{
    struct raft_host *host = handle->data;
    if (host->dir_ready) {
        data_dir_close(&host->dir);
    }
    for (unsigned i = 0; i < host->config.n_peers; i++) {
        free((char *)(uintptr_t)host->peers[i].address);
    }
    free(host->groups);
    free(host->views);
    void (*cb)(void *) = host->close_cb;
    void *data = host->close_data;
    free(host);
    if (cb != NULL) {
        cb(data);
    }
}

static void port_closed(void *data)
{
    struct raft_host *host = data;
    uv_close((uv_handle_t *)&host->hand_over_timer, timer_closed_cb);
}

static void replicas_closed(struct raft_host *host)
{
    for (uint32_t g = 0; g < host->config.group_count; g++) {
        if (host->groups[g].io_ready) {
            raft_uv_close(&host->groups[g].io.io);
        }
    }
    if (host->port != NULL) {
        peer_port_close(host->port, port_closed, host);
    } else {
        port_closed(host);
    }
}

static void replica_closed(struct replica *r)
{
    struct host_group *g = (struct host_group *)(void *)((char *)r - offsetof(struct host_group, replica));
    if (--g->host->open == 0) {
        replicas_closed(g->host);
    }
}

void raft_host_close(struct raft_host *host, void (*cb)(void *data), void *data)
{
    CHECK(!host->closing);
    host->closing = true;
    host->close_cb = cb;
    host->close_data = data;
    hand_over_finish(host);
    host->open = 1; /* held until all closes were asked for */
    for (uint32_t g = 0; g < host->config.group_count; g++) {
        if (host->groups[g].replica_ready) {
            host->open++;
            replica_close(&host->groups[g].replica, replica_closed);
        }
    }
    if (--host->open == 0) {
        replicas_closed(host);
    }
}
