/* A group's place in a node: what it asks goes to its replica, its flusher and the loader that all groups
 * share; what its replica and the loader tell goes to it. */
#include <inttypes.h>
#include <stdlib.h>

#include "node/node_internal.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"

enum { LOAD_TOKEN_BITS = 48 };

/* ---- What a group asks of us ---- */

struct replica *seat_replica(const struct seat *s)
{
    return raft_host_replica(s->node->raft, s->index);
}

static enum status env_propose(void *data, struct bytes entry, bool essential, uint64_t *index)
{
    return essential ? replica_propose_essential(seat_replica(data), entry, index)
                     : replica_propose(seat_replica(data), entry, index);
}

static enum status env_barrier(void *data, uint64_t token)
{
    return replica_barrier(seat_replica(data), token);
}

static bool env_lease_valid(void *data)
{
    return replica_lease_valid(seat_replica(data));
}

static uint64_t env_contact_age_ms(void *data)
{
    return replica_contact_age_ms(seat_replica(data));
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

static void env_find_expired(void *data, uint64_t token, uint64_t before_ms, uint32_t keys_max)
{
    const struct seat *s = data;
    CHECK(token >> LOAD_TOKEN_BITS == 0);
    pg_loader_ops.find_expired(
        s->node->loader, (uint64_t)s->index << LOAD_TOKEN_BITS | token, before_ms, keys_max);
}

static const struct loader_ops seat_loader_ops = {.load = env_load, .find_expired = env_find_expired};

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

static void on_expired_found(void *data, uint64_t token, const struct bytes *keys, uint32_t n)
{
    const struct node *node = data;
    group_loader_events.expired_found(node->seats[token >> LOAD_TOKEN_BITS].group, own_token(token), keys, n);
}

static const struct loader_events node_loader_events = {
    .loaded = on_loaded, .load_failed = on_load_failed, .expired_found = on_expired_found};

/* ---- What a replica tells a group ---- */

static void on_apply(void *data, uint64_t index, struct bytes entry)
{
    const struct seat *s = data;
    bool replayed = s->node->replaying || index <= s->replay_until;
    group_on_apply(s->group, index, entry, replayed ? 0 : clock_boot_ms());
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
    const struct seat *s = data;
    int64_t offset_ms;
    if (group_clock_is_off(s->group, clock_boot_ms(), clock_wall_ms(), &offset_ms)) {
        log_warn(s->node->logger, "clock-off",
            "group=%" PRIu32 " offset_ms=%" PRId64
            " detail=\"this node's clock and the cluster's stamps disagree: check the nodes' clocks\"",
            s->index, offset_ms);
    }
    group_on_gate_open(s->group, term, clock_boot_ms());
    if (s->node->watched) {
        /* What a follower hears of a key may come before the cluster's own older write to it does: then the
         * write makes a copy that nobody takes away again. */
        group_forget_all_clean(s->group);
    }
}

static void on_gate_close(void *data)
{
    group_on_gate_close(((const struct seat *)data)->group);
}

static void on_barrier_done(void *data, uint64_t token)
{
    group_on_barrier(((const struct seat *)data)->group, token);
}

const struct replica_ops seat_replica_ops = {
    .apply = on_apply,
    .snapshot = on_snapshot,
    .restore = on_restore,
    .gate_open = on_gate_open,
    .gate_close = on_gate_close,
    .barrier_done = on_barrier_done,
};

/* ---- Making them ---- */

struct pg_limits node_database_limits(const struct config *config)
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
        .note_ms = config->flush.note_ms,
    };
}

bool node_make_seats(struct node *n, bool adopt)
{
    const struct config *config = n->config;
    struct pg_loader_config loader = {
        .dsn = config->database,
        .schema = config->schema,
        .node_id = config->node_id,
        .limits = node_database_limits(config),
        .backoff_min_ms = config->flush.retry_min_ms,
        .backoff_max_ms = config->flush.retry_max_ms,
        .logger = n->logger,
    };
    n->loader = pg_loader_create(n->loop, &loader, &node_loader_events, n);
    if (n->loader == NULL) {
        return false;
    }
    flush_slots_init(&n->slots, config->flush.connections);
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
            .retention_ms = (uint64_t)config->flush.retention_s * 1000,
            .retention_bytes = config->flush.retention_s == 0 ? 0 : config->flush.retention_bytes,
            .quarantine_retry_min_ms = config->flush.quarantine_retry_min_ms,
            .quarantine_retry_max_ms = config->flush.quarantine_retry_max_ms,
            .sessions_max = config->limits.sessions,
            .session_bytes_max = config->limits.session_bytes,
            .expiry_sweep_ms = config->flush.expiry_sweep_ms,
        };
        random_bytes(&group.hash_seed, sizeof group.hash_seed);
        random_bytes(&group.random_seed, sizeof group.random_seed);
        struct pg_flusher_config flusher = {
            .dsn = config->database,
            .schema = config->schema,
            .node_id = config->node_id,
            .group = i,
            .limits = node_database_limits(config),
            .slots = &n->slots,
            .logger = n->logger,
        };
        struct group_env env = {
            .data = s,
            .propose = env_propose,
            .barrier = env_barrier,
            .lease_valid = env_lease_valid,
            .contact_age_ms = env_contact_age_ms,
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
