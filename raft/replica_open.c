/* How a replica begins and ends: libraft's settings, the first configuration, the load, the close. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "raft/replica_private.h"

enum {
    CATCH_UP_ROUNDS = 100,
    CATCH_UP_ROUND_MS = 50 * 1000,
};

enum status replica_init(struct replica *r, const struct replica_config *config, struct raft_io *io,
    const struct replica_ops *ops, void *data)
{
    CHECK(config->heartbeat_ms > 0 && config->heartbeat_ms < config->election_timeout_ms);
    memset(r, 0, sizeof *r);
    r->config = *config;
    r->config.address = NULL; /* borrowed until here only; the library has its own copy */
    r->ops = ops;
    r->data = data;
    replica_fsm_init(r, &r->fsm);
    int rv = raft_init(&r->raft, io, &r->fsm, config->node_id, config->address);
    if (rv != 0) {
        return rv == RAFT_NOMEM ? STATUS_NOMEM : STATUS_IO;
    }
    r->p = xcalloc(1, sizeof *r->p);
    list_init(&r->p->inflight);
    r->p->seen_state = -1;
    r->raft.data = r;
    r->raft.tracer = NULL;
    r->raft.legacy.step_cb = replica_step_cb;
    raft_seed(&r->raft, config->seed);
    /* In this order: the library triples a pair of 150 and 15 that it finds when the election timeout is set.
     */
    raft_set_election_timeout(&r->raft, config->election_timeout_ms);
    raft_set_heartbeat_timeout(&r->raft, config->heartbeat_ms);
    raft_set_pre_vote(&r->raft, true);
    raft_set_capacity_threshold(&r->raft, 0); /* the default one can make a refused entry look acknowledged */
    raft_set_snapshot_threshold(&r->raft, REPLICA_SNAPSHOT_NEVER);
    raft_set_snapshot_trailing(&r->raft, config->snapshot_trailing > 0 ? config->snapshot_trailing : 1);
    raft_set_max_catch_up_rounds(&r->raft, CATCH_UP_ROUNDS);
    raft_set_max_catch_up_round_duration(&r->raft, CATCH_UP_ROUND_MS);
    if (config->max_inflight != 0) {
        raft_set_max_inflight_entries(&r->raft, config->max_inflight);
    }
    lease_init(&r->lease, config->election_timeout_ms, UINT64_MAX);
    return STATUS_OK;
}

static enum status status_of(int rv)
{
    switch (rv) {
    case 0:
        return STATUS_OK;
    case RAFT_NOMEM:
        return STATUS_NOMEM;
    case RAFT_CORRUPT:
    case RAFT_MALFORMED:
        return STATUS_CORRUPT;
    default:
        return STATUS_IO;
    }
}

static enum status start_failed(struct replica *r, const char *what, int rv)
{
    struct replica_private *p = r->p;
    const char *detail = p->restore_errmsg[0] != '\0' ? p->restore_errmsg : raft_errmsg(&r->raft);
    enum status status = status_of(rv);
    if (status == STATUS_CORRUPT) {
        snprintf(p->errmsg, sizeof p->errmsg,
            "group %" PRIu32
            ": the log on disk is corrupt (%s): move this node's data folder away and let the node join "
            "again under a new node id; never under the old one, because it may have forgotten votes and "
            "entries",
            r->config.group, detail);
    } else {
        snprintf(p->errmsg, sizeof p->errmsg, "group %" PRIu32 ": %s failed: %s (%s)", r->config.group, what,
            raft_strerror(rv), detail);
    }
    return status;
}

/* Does nothing on a log that has content. */
static int bootstrap(struct replica *r, const struct replica_peer *peers, unsigned n_peers)
{
    struct raft_configuration configuration;
    raft_configuration_init(&configuration);
    int rv = 0;
    for (unsigned i = 0; i < n_peers && rv == 0; i++) {
        rv = raft_configuration_add(&configuration, peers[i].id, peers[i].address, RAFT_VOTER);
    }
    if (rv == 0) {
        rv = raft_bootstrap(&r->raft, &configuration);
    }
    raft_configuration_close(&configuration);
    return rv == RAFT_CANTBOOTSTRAP ? 0 : rv;
}

/* ---- Hearing the leader ---- */

/* A message that only a leader sends, of no older term than ours. (The library's own election timer is no
 * witness: it starts anew for other reasons, too.) */
static bool comes_from_a_leader(const struct raft *raft, const struct raft_message *message)
{
    raft_term term = raft_current_term((struct raft *)(uintptr_t)raft);
    return (message->type == RAFT_APPEND_ENTRIES && message->append_entries.term >= term) ||
           (message->type == RAFT_INSTALL_SNAPSHOT && message->install_snapshot.term >= term);
}

static void listening_recv(struct raft_io *io, struct raft_message *message)
{
    const struct raft *raft = io->data;
    struct replica *r = raft->data;
    if (comes_from_a_leader(raft, message)) {
        r->p->contact_ms = io->time(io);
    }
    r->p->recv(io, message);
}

static int listening_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
    const struct raft *raft = io->data;
    struct replica *r = raft->data;
    r->p->recv = recv;
    io->start = r->p->io_start;
    return io->start(io, msecs, tick, listening_recv);
}

/* ---- Starting ---- */

enum status replica_start(struct replica *r, const struct replica_peer *peers, unsigned n_peers)
{
    struct replica_private *p = r->p;
    if (n_peers < 2) {
        snprintf(p->errmsg, sizeof p->errmsg,
            "a cluster needs at least two nodes, and three to survive the loss of one");
        return STATUS_INVALID;
    }
    int rv = bootstrap(r, peers, n_peers);
    if (rv != 0) {
        return start_failed(r, "writing the first configuration", rv);
    }
    r->raft.errmsg[0] = '\0';
    p->io_start = r->raft.io->start;
    r->raft.io->start = listening_start;
    r->p->start_ms = r->raft.io->time(r->raft.io);
    lease_init(&r->lease, r->config.election_timeout_ms, replica_now_ms(r) + r->config.start_delay_ms);
    rv = raft_start(&r->raft);
    if (rv != 0) {
        return start_failed(r, "loading the log", rv);
    }
    /* The tick stays what it was at start. Without this a write after a pause would wait for a tick. */
    raft_set_heartbeat_timeout(&r->raft, 1);
    p->started = true;
    return STATUS_OK;
}

static void closed_cb(struct raft *raft)
{
    struct replica *r = raft->data;
    void (*cb)(struct replica *) = r->p->close_cb;
    replica_gate_close(r);
    free(r->p);
    r->p = NULL;
    if (cb != NULL) {
        cb(r);
    }
}

void replica_close(struct replica *r, void (*cb)(struct replica *r))
{
    CHECK(!r->p->closing);
    r->p->closing = true;
    r->p->close_cb = cb;
    raft_close(&r->raft, closed_cb);
}
