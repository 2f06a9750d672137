/* The end of a run: when all is healed the cluster must settle, and what it, the database and the clients
 * hold must agree. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cluster-tests/counter_sum.h"
#include "cluster-tests/linear.h"
#include "cluster-tests/sim/sim.h"
#include "node/state_check.h"
#include "proto/base/check.h"

enum {
    SETTLE_MS = 60000,
    READ_MS = 10000,
    CHUNK_MS = 50,
    SOON_MS = 20000, /* what expires within this is waited for */
};

static struct sim_seat *office(struct sim *sim, uint32_t group)
{
    struct sim_seat *found = NULL;
    for (unsigned i = 0; i < sim->n_nodes; i++) {
        struct sim_node *n = &sim->nodes[i];
        struct sim_seat *s = &n->seats[group];
        if (n->alive && !n->crashing && s->gate_term != 0 &&
            (found == NULL || s->gate_term > found->gate_term)) {
            found = s;
        }
    }
    return found;
}

/* A key of @group that has expired, or will soon, and is not deleted; NULL when there is none. */
static const struct sim_key *to_expire(const struct sim *sim, uint32_t group)
{
    for (unsigned k = 0; k < sim->n_keys; k++) {
        const struct sim_key *key = &sim->history.keys[k];
        const struct sim_record *r = sim_history_newest(&sim->history, k);
        if (key->group == group && r != NULL &&
            sim_record_expired(r, sim->history.groups[group].stamp_ms + SOON_MS)) {
            return key;
        }
    }
    return NULL;
}

/* A leader in office, every replica at its index, and nothing left to flush or to expire. */
static bool group_settled(struct sim *sim, uint32_t group)
{
    struct sim_seat *leader = office(sim, group);
    if (leader == NULL) {
        return false;
    }
    const struct state *state = group_state(leader->group);
    if (!state->claimed || state->queued_entries != 0 || state->batched_entries != 0 ||
        state->batch_count != 0) {
        return false;
    }
    for (unsigned i = 0; i < sim->n_nodes; i++) {
        struct sim_node *n = &sim->nodes[i];
        if (!n->alive || group_state(n->seats[group].group)->applied_index != state->applied_index) {
            return false;
        }
    }
    return to_expire(sim, group) == NULL;
}

static bool settled(struct sim *sim)
{
    for (uint32_t g = 0; g < sim->n_groups; g++) {
        if (!group_settled(sim, g)) {
            return false;
        }
    }
    return list_empty(&sim->ops);
}

static void fail_unsettled(struct sim *sim)
{
    for (uint32_t g = 0; g < sim->n_groups; g++) {
        struct sim_seat *leader = office(sim, g);
        if (leader == NULL) {
            sim_history_fail(&sim->history, "group %" PRIu32 " has no leader long after all is well", g);
        } else if (!group_settled(sim, g)) {
            struct group_info info;
            const struct sim_key *key = to_expire(sim, g);
            group_info(leader->group, sim_node_now_ms(leader->node), &info);
            sim_history_fail(&sim->history,
                "group %" PRIu32 " does not settle: node %u, flush %s (%s), applied %" PRIu64
                ", flushed %" PRIu64 ", dirty %" PRIu64 ", batches %" PRIu32 ", %s is to expire",
                g, leader->node->index, info.flush_state, info.flush_error, info.applied_index,
                info.flushed_index, info.dirty_entries, info.batches_in_flight,
                key == NULL ? "nothing" : key->name);
        }
    }
    sim_history_fail(&sim->history, "requests are not answered long after all is well");
}

bool sim_settle(struct sim *sim)
{
    uint64_t end_us = sim->clock.now_us + (uint64_t)SETTLE_MS * 1000;
    do {
        if (!sim_run_until(sim, sim->clock.now_us + (uint64_t)CHUNK_MS * 1000)) {
            return false;
        }
        sim->clock.now_us += (uint64_t)CHUNK_MS * 1000 * (sim->clock.n == 0);
    } while (!settled(sim) && sim->clock.now_us < end_us);
    if (!settled(sim)) {
        fail_unsettled(sim);
    }
    return !sim->history.failed;
}

/* The database has exactly the newest write of each key. */
static void compare_database(struct sim *sim)
{
    for (unsigned k = 0; k < sim->n_keys; k++) {
        const struct sim_key *key = &sim->history.keys[k];
        const struct sim_record *newest = sim_history_newest(&sim->history, k);
        const struct fake_row *row = fake_db_find(&sim->db, bytes_from_text(key->name));
        bool expected = newest != NULL && newest->value != NULL;
        bool equal =
            expected == (row != NULL) &&
            (row == NULL || (row->version == newest->version && row->expires_at_ms == newest->expires_at_ms &&
                                bytes_equal(buf_bytes(&row->value), value_bytes(newest->value))));
        if (!equal) {
            sim_history_fail(&sim->history,
                "%s: after everything was flushed the database has version %" PRIu64
                ", the newest write is version %" PRIu64 "%s",
                key->name, row == NULL ? 0 : row->version, newest == NULL ? 0 : newest->version,
                expected ? "" : " (a delete, or none)");
        }
    }
}

/* Every write that was acknowledged is there: by now, what the newest write of each key left must be read. */
static void read_everything(struct sim *sim)
{
    for (unsigned k = 0; k < sim->n_keys; k++) {
        struct sim_key *key = &sim->history.keys[k];
        const struct sim_record *newest = sim_history_newest(&sim->history, k);
        uint64_t version = newest == NULL ? 0 : newest->version;
        if (newest != NULL && version < key->acknowledged) {
            sim_history_fail(&sim->history,
                "%s: version %" PRIu64 " was acknowledged, the newest is %" PRIu64, key->name,
                key->acknowledged, version);
        }
        if (version > key->floor) {
            key->floor = version;
            key->gone = false;
        }
        struct sim_seat *leader = office(sim, key->group);
        CHECK(leader != NULL);
        sim_read(sim, k, leader->node->index);
    }
    uint64_t reads = sim->history.reads;
    uint64_t end_us = sim->clock.now_us + (uint64_t)READ_MS * 1000;
    while (!list_empty(&sim->ops) && sim->clock.now_us < end_us &&
           sim_run_until(sim, sim->clock.heap[0]->at_us)) {
    }
    if (sim->history.reads - reads != sim->n_keys) {
        sim_history_fail(&sim->history, "only %" PRIu64 " of %u keys could be read at the end",
            sim->history.reads - reads, sim->n_keys);
    }
}

/* A counter is what its acknowledged increments add up to, and some of those of which nobody knows. */
static void add_up_counters(struct sim *sim)
{
    for (unsigned k = 0; k < sim->n_keys; k++) {
        const struct sim_key *key = &sim->history.keys[k];
        const struct sim_record *newest = sim_history_newest(&sim->history, k);
        if (key->kind != SIM_COUNTER || newest == NULL) {
            continue;
        }
        int64_t value = sim_history_number(value_bytes(newest->value));
        struct counter_sum sum = counter_sum(&sim->lines, bytes_from_text(key->name), value);
        if (!sum.possible) {
            sim_history_fail(&sim->history,
                "%s is %" PRId64 ", but its %" PRIu64 " acknowledged increments add up to %" PRId64
                ", and no part of the %" PRIu64 " that nobody knows of makes up the difference",
                key->name, value, sum.acknowledged_count, sum.acknowledged, sum.unknown_count);
        }
    }
}

/* Could what the clients saw of each key have been one object? This asks nothing of the log. */
static void judge_lines(struct sim *sim)
{
    /* What is too hard within this is left to the judge above, the log. */
    static const struct linear_limits limits = {.steps_max = 100000, .memory_bytes_max = 32 * 1024 * 1024};
    struct linear_report report;
    if (linear_check(&sim->lines, &limits, &report) == LINEAR_NOT_LINEARIZABLE) {
        sim_history_fail(&sim->history, "what the clients saw is not linearizable: %.*s",
            (int)report.explanation.len, (const char *)report.explanation.data);
    }
    sim->result->judged += report.keys - report.keys_too_hard;
    sim->result->too_hard += report.keys_too_hard;
    linear_report_deinit(&report);
}

void sim_compare(struct sim *sim)
{
    compare_database(sim);
    read_everything(sim);
    add_up_counters(sim);
    judge_lines(sim);
    for (unsigned i = 0; i < sim->n_nodes; i++) {
        for (uint32_t g = 0; g < sim->n_groups; g++) {
            state_check_invariants(group_state(sim->nodes[i].seats[g].group));
            sessions_check(&group_state(sim->nodes[i].seats[g].group)->sessions);
        }
    }
}
