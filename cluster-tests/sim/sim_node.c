/* A simulated node: what node/node.c is to a real one. Its loop turns some time after something happened to
 * it, so that several events fall in one turn, as they do under load. */
#include <stdlib.h>
#include <string.h>

#include "cluster-tests/sim/sim.h"
#include "node/state_check.h"
#include "proto/base/arena.h"
#include "proto/base/check.h"
#include "proto/log_entry.h"

enum {
    TURN_DELAY_MAX_US = 400,
    WAKE_MIN_US = 50,
    EVICT_CALLS_MAX = 8,
    CONTACT_SLACK_MS = 2,
    CHECK_EVERY = 16, /* entries: the invariants cost a pass over everything */
};

uint64_t sim_node_now_ms(const struct sim_node *n)
{
    return n->sim->clock.now_us / 1000 + n->boot_offset_ms;
}

uint64_t sim_wall_ms(const struct sim *sim, int64_t offset_ms)
{
    return fake_db_true_us(&sim->clock) / 1000 + (uint64_t)offset_ms;
}

static uint64_t seat_now_ms(void *data)
{
    return sim_node_now_ms(data);
}

/* ---- What a group asks for ---- */

static enum status env_propose(void *data, struct bytes entry, bool essential, uint64_t *index)
{
    struct sim_seat *s = data;
    return essential ? replica_propose_essential(&s->replica, entry, index)
                     : replica_propose(&s->replica, entry, index);
}

static enum status env_barrier(void *data, uint64_t token)
{
    struct sim_seat *s = data;
    return replica_barrier(&s->replica, token);
}

/* Whoever claims to have heard from a leader must have been sent something, or have been one. (But libraft
 * also restarts the timer that this is taken from while it waits for its disk.) */
static uint64_t env_contact_age_ms(void *data)
{
    struct sim_seat *s = data;
    struct sim *sim = s->node->sim;
    if (s->closed) {
        return 0; /* a crash is being tidied up: nobody will hear it */
    }
    uint64_t age_ms = replica_contact_age_ms(&s->replica), now_us = sim->clock.now_us;
    uint64_t heard_us = s->io.heard_us > s->led_us ? s->io.heard_us : s->led_us;
    if (list_empty(&s->io.operations) && now_us - heard_us > (age_ms + CONTACT_SLACK_MS) * 1000) {
        sim_history_fail(&sim->history,
            "node %u group %u says that it heard from its leader %llu ms ago, but nothing has reached it for "
            "%llu ms",
            s->node->index, s->index, (unsigned long long)age_ms,
            (unsigned long long)(now_us - heard_us) / 1000);
    }
    return age_ms;
}

static bool env_lease_valid(void *data)
{
    struct sim_seat *s = data;
    return s->node->sim->config->node_defect == SIM_NO_LEASE || replica_lease_valid(&s->replica);
}

static void env_random(void *data, void *out, unsigned len)
{
    struct sim_seat *s = data;
    uint8_t *bytes = out;
    for (unsigned i = 0; i < len; i++) {
        bytes[i] = (uint8_t)sim_random(&s->node->sim->clock, 256);
    }
}

static bool env_seed(void *data, struct flush_identity *out)
{
    struct sim_seat *s = data;
    return group_identity(s->node->seats[0].group, out);
}

/* ---- What a replica tells a group ---- */

/* What the log says of the flush is what a trace is mostly read for. */
static void trace_entry(const struct sim_seat *s, uint64_t index, struct bytes raw)
{
    struct sim *sim = s->node->sim;
    struct arena arena;
    Wblog__Entry *entry;
    const struct state *state = group_state(s->group);
    const char *what = NULL;
    uint64_t batch = 0;
    arena_init(&arena);
    if (log_entry_decode(raw, &arena, &entry) == STATUS_OK) {
        switch (entry->command_case) {
        case WBLOG__ENTRY__COMMAND_FLUSH_BEGIN:
            what = entry->flush_begin->n_quarantined > 0 ? "RETRY" : "BEGIN";
            batch = index;
            break;
        case WBLOG__ENTRY__COMMAND_FLUSHED:
            what = "FLUSHED";
            batch = entry->flushed->batch;
            break;
        case WBLOG__ENTRY__COMMAND_FLUSH_ABORT:
            what = "ABORT";
            batch = entry->flush_abort->from_batch;
            break;
        case WBLOG__ENTRY__COMMAND_QUARANTINE:
            what = "QUARANTINE";
            batch = entry->quarantine->batch;
            break;
        case WBLOG__ENTRY__COMMAND_REWIND:
            what = "REWIND";
            batch = entry->rewind->last_batch;
            break;
        default:
            break;
        }
    }
    if (what != NULL) {
        sim_trace(sim,
            "group %u: at %llu %s %llu; last %llu, F %llu, %llu queued, %u in flight, %llu in quarantine",
            s->index, (unsigned long long)index, what, (unsigned long long)batch,
            (unsigned long long)state->last_batch, (unsigned long long)state_flushed_index(state),
            (unsigned long long)state->queued_entries, state->batch_count,
            (unsigned long long)state->quarantined);
    }
    arena_deinit(&arena);
}

static void on_apply(void *data, uint64_t index, struct bytes entry)
{
    struct sim_seat *s = data;
    struct sim *sim = s->node->sim;
    group_on_apply(s->group, index, entry, s->starting ? 0 : sim_node_now_ms(s->node));
    if (index > sim->history.groups[s->index].newest) {
        trace_entry(s, index, entry);
    }
    sim_history_applied(&sim->history, s->index, index, entry, group_state(s->group));
    if (index % CHECK_EVERY == 0) {
        state_check_invariants(group_state(s->group));
        sessions_check(&group_state(s->group)->sessions);
    }
    uint32_t in_flight = group_state(s->group)->batch_count;
    sim->result->deep_pipelines += in_flight > 1;
}

static void on_snapshot(void *data, struct buf *out)
{
    struct sim_seat *s = data;
    /* libraft will say that the snapshot is of its commit index. */
    uint64_t applied = group_state(s->group)->applied_index, commit = raft_commit_index(&s->replica.raft);
    if (applied > commit) {
        sim_history_fail(&s->node->sim->history,
            "node %u group %u: a snapshot of index %llu is taken of the state at %llu", s->node->index,
            s->index, (unsigned long long)commit, (unsigned long long)applied);
    }
    group_on_snapshot(s->group, out);
}

static enum status on_restore(void *data, struct bytes snapshot)
{
    struct sim_seat *s = data;
    struct sim *sim = s->node->sim;
    enum status status = group_on_restore(s->group, snapshot);
    if (status == STATUS_OK) {
        sim->result->snapshots_installed += !s->starting;
        sim_trace(sim, "node %u group %u: restored to %llu", s->node->index, s->index,
            (unsigned long long)group_state(s->group)->applied_index);
        sim_history_restored(&sim->history, s->index, group_state(s->group));
    } else {
        sim_history_fail(
            &sim->history, "node %u group %u: a snapshot cannot be restored", s->node->index, s->index);
    }
    return status;
}

static void on_gate_open(void *data, uint64_t term)
{
    struct sim_seat *s = data;
    struct sim *sim = s->node->sim;
    sim->result->offices++;
    s->gate_term = term;
    sim_trace(
        sim, "node %u group %u: office of term %llu", s->node->index, s->index, (unsigned long long)term);
    group_on_gate_open(s->group, term, sim_node_now_ms(s->node));
}

static void on_gate_close(void *data)
{
    struct sim_seat *s = data;
    s->gate_term = 0;
    sim_trace(s->node->sim, "node %u group %u: office ends", s->node->index, s->index);
    group_on_gate_close(s->group);
}

static void on_barrier_done(void *data, uint64_t token)
{
    struct sim_seat *s = data;
    group_on_barrier(s->group, token);
}

static const struct replica_ops seat_ops = {
    .apply = on_apply,
    .snapshot = on_snapshot,
    .restore = on_restore,
    .gate_open = on_gate_open,
    .gate_close = on_gate_close,
    .barrier_done = on_barrier_done,
};

/* ---- The loop ---- */

static void on_wake(struct sim_event *event)
{
    (void)event; /* the turn follows, as after every event of this process */
}

/* Nothing that the simulator does to a cluster needs an operator. */
static void check_not_halted(const struct sim_seat *s)
{
    struct sim *sim = s->node->sim;
    struct group_info info;
    group_info(s->group, sim_node_now_ms(s->node), &info);
    if (info.gate_open && strcmp(info.flush_state, "halted") == 0) {
        sim_history_fail(&sim->history, "node %u group %u: the flush is halted: %s", s->node->index, s->index,
            info.flush_error);
    }
}

/* At times, and when there is too much. What goes makes the table smaller only little by little, hence more
 * than one call; but with nothing clean left to go, what remains is dirty. */
static void evict(struct sim_seat *s)
{
    struct sim *sim = s->node->sim;
    const struct state *state = group_state(s->group);
    uint64_t entries = state->entries + state->absences, most = sim->group_memory_bytes;
    if (sim_chance(&sim->clock, sim->evict_permille)) {
        group_evict(s->group, sim_between(&sim->clock, 1, 2 * group_memory(s->group)));
    }
    for (unsigned calls = 0; group_memory(s->group) > most && calls < EVICT_CALLS_MAX; calls++) {
        group_evict(s->group, group_memory(s->group) - most);
    }
    sim->result->evicted += entries - (state->entries + state->absences);
    if (group_memory(s->group) > most && state->clean_bytes > 0) {
        sim_history_fail(&sim->history,
            "node %u group %u: it has %llu bytes, %llu of them clean, and may have %llu", s->node->index,
            s->index, (unsigned long long)group_memory(s->group), (unsigned long long)state->clean_bytes,
            (unsigned long long)most);
    }
}

static void on_turn(struct sim_event *event)
{
    struct sim_node *n = list_entry(event, struct sim_node, turn);
    struct sim *sim = n->sim;
    uint64_t now_ms = sim_node_now_ms(n);
    uint64_t wall_ms = sim_wall_ms(sim, n->wall_offset_ms);
    uint64_t wake_ms = UINT64_MAX;
    for (uint32_t g = 0; g < sim->n_groups; g++) {
        struct sim_seat *s = &n->seats[g];
        bool led = s->gate_term != 0;
        replica_poll(&s->replica);
        s->led_us = led || s->gate_term != 0 ? sim->clock.now_us : s->led_us;
    }
    for (uint32_t g = 0; g < sim->n_groups; g++) {
        uint64_t at_ms = group_turn(n->seats[g].group, now_ms, wall_ms);
        wake_ms = at_ms < wake_ms ? at_ms : wake_ms;
        check_not_halted(&n->seats[g]);
    }
    for (uint32_t g = 0; g < sim->n_groups; g++) {
        evict(&n->seats[g]);
    }
    sim_cancel(&sim->clock, &n->wake);
    if (wake_ms != UINT64_MAX) {
        uint64_t delay_us = wake_ms > now_ms ? (wake_ms - now_ms) * 1000 : WAKE_MIN_US;
        sim_schedule(&sim->clock, &n->wake, &n->gate, delay_us, on_wake);
    }
    sim->turned = n;
}

void sim_node_touch(struct sim_node *n)
{
    if (n->alive && !n->crashing && !sim_scheduled(&n->turn)) {
        sim_schedule(
            &n->sim->clock, &n->turn, &n->gate, sim_random(&n->sim->clock, TURN_DELAY_MAX_US), on_turn);
    }
}

/* ---- Life and death ---- */

static void seat_boot(struct sim_seat *s)
{
    struct sim_node *n = s->node;
    struct sim *sim = n->sim;
    sim_io_init(&s->io, &sim->clock, &sim->net, &s->disk, &n->gate, s->index, n->index);
    s->io.time_offset_ms = n->boot_offset_ms;
    s->closed = false;
    s->gate_term = 0;
    s->led_us = sim->clock.now_us; /* it counts from its start */
    struct group_config group = sim->group_config;
    group.group = s->index;
    group.node_id = n->index + 1;
    group.hash_seed = sim_random(&sim->clock, UINT64_MAX);
    group.random_seed = (uint32_t)sim_random(&sim->clock, UINT32_MAX);
    struct group_env env = {
        .data = s,
        .propose = env_propose,
        .barrier = env_barrier,
        .lease_valid = env_lease_valid,
        .contact_age_ms = env_contact_age_ms,
        .random = env_random,
        .seed = env_seed,
        .flusher = &fake_flusher_ops,
        .flusher_data = &s->flusher,
        .loader = &fake_loader_ops,
        .loader_data = &s->loader,
    };
    s->group = group_create(&group, &env);
    fake_flusher_init(&s->flusher, &sim->db, &n->slots, &n->gate, group_flusher_events(),
        group_flusher_events_data(s->group));
    fake_loader_init(&s->loader, &sim->db, &n->gate, &group_loader_events, s->group);
}

static void seat_start(struct sim_seat *s)
{
    struct sim_node *n = s->node;
    struct sim *sim = n->sim;
    struct replica_config config = sim->replica_config;
    config.group = s->index;
    config.node_id = n->index + 1;
    config.address = sim_io_address(n->index);
    config.seed = (unsigned)sim_random(&sim->clock, UINT32_MAX);
    config.now_ms = seat_now_ms;
    config.now_data = n;
    CHECK(replica_init(&s->replica, &config, &s->io.io, &seat_ops, s) == STATUS_OK);
    struct replica_peer peers[SIM_NODES_MAX];
    for (unsigned i = 0; i < sim->n_nodes; i++) {
        peers[i] = (struct replica_peer){.id = i + 1, .address = sim_io_address(i)};
    }
    s->starting = true;
    if (replica_start(&s->replica, peers, sim->n_nodes) != STATUS_OK) {
        sim_history_fail(&sim->history, "node %u group %u does not start: %s", n->index, s->index,
            replica_errmsg(&s->replica));
    }
    s->starting = false;
}

void sim_node_boot(struct sim_node *n)
{
    CHECK(!n->alive);
    struct sim *sim = n->sim;
    sim_cancel(&sim->clock, &n->fate);
    sim_trace(sim, "node %u: starts", n->index);
    n->alive = true;
    n->life = ++sim->lives;
    n->boot_offset_ms = sim_between(&sim->clock, 1000, 100000);
    fake_slots_init(&n->slots, (unsigned)sim_between(&sim->clock, 1, sim->n_groups));
    for (uint32_t g = 0; g < sim->n_groups; g++) {
        seat_boot(&n->seats[g]);
    }
    for (uint32_t g = 0; g < sim->n_groups; g++) {
        seat_start(&n->seats[g]);
    }
    sim_node_touch(n);
}

static void seat_closed(struct replica *r)
{
    struct sim_seat *s = list_entry(r, struct sim_seat, replica);
    struct sim_node *n = s->node;
    s->closed = true;
    for (uint32_t g = 0; g < n->sim->n_groups; g++) {
        if (!n->seats[g].closed) {
            return;
        }
    }
    uint64_t now_ms = sim_node_now_ms(n);
    for (uint32_t g = 0; g < n->sim->n_groups; g++) {
        s = &n->seats[g];
        group_turn(s->group, now_ms, sim_wall_ms(n->sim, 0)); /* requests that came without an office */
        fake_loader_deinit(&s->loader);                       /* ... and made it load something */
        group_destroy(s->group);
        s->group = NULL;
        sim_io_deinit(&s->io);
    }
    n->alive = false;
    n->crashing = false;
}

void sim_node_crash(struct sim_node *n)
{
    CHECK(n->alive && !n->crashing);
    struct sim *sim = n->sim;
    sim_trace(sim, "node %u: crashes", n->index);
    sim->result->crashes++;
    n->crashing = true;
    sim_cancel(&sim->clock, &n->turn);
    sim_cancel(&sim->clock, &n->wake);
    sim_cancel(&sim->clock, &n->fate);
    for (uint32_t g = 0; g < sim->n_groups; g++) {
        struct sim_seat *s = &n->seats[g];
        sim_io_crash(&s->io);
        fake_flusher_deinit(&s->flusher);
        fake_loader_deinit(&s->loader);
        replica_close(&s->replica, seat_closed);
    }
    sim_gate_resume(&sim->clock, &n->gate);
}

void sim_node_pause(struct sim_node *n)
{
    sim_trace(n->sim, "node %u: stops", n->index);
    sim_gate_pause(&n->gate);
}

void sim_node_resume(struct sim_node *n)
{
    sim_trace(n->sim, "node %u: goes on", n->index);
    sim_cancel(&n->sim->clock, &n->fate);
    sim_gate_resume(&n->sim->clock, &n->gate);
}

void sim_node_init(struct sim *sim, unsigned index)
{
    struct sim_node *n = &sim->nodes[index];
    n->sim = sim;
    n->index = index;
    sim_gate_init(&n->gate, n);
    n->wall_offset_ms = (int64_t)sim_between(&sim->clock, 0, 4000) - 2000;
    for (uint32_t g = 0; g < sim->n_groups; g++) {
        n->seats[g].node = n;
        n->seats[g].index = g;
        sim_disk_init(&n->seats[g].disk);
    }
}

void sim_node_deinit(struct sim_node *n)
{
    CHECK(!n->alive);
    for (uint32_t g = 0; g < n->sim->n_groups; g++) {
        sim_disk_deinit(&n->seats[g].disk);
    }
}
