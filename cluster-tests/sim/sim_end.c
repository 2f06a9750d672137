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

struct sim_seat *sim_office(struct sim *sim, uint32_t group)
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
        if (key->group == group && r != NULL && !key->lost &&
            sim_record_expired(r, sim->history.groups[group].stamp_ms + SOON_MS)) {
            return key;
        }
    }
    return NULL;
}

/* The table quarantine has exactly the keys of the group's quarantine. */
static bool shows_quarantine(const struct sim *sim, uint32_t group, const struct state *state)
{
    uint64_t n = 0;
    for (size_t i = 0; i < sim->db.content.n_shown; i++) {
        const struct fake_shown *shown = &sim->db.content.shown[i];
        if (shown->group != group) {
            continue;
        }
        const struct state_entry *e = state_find(state, buf_bytes(&shown->key));
        if (e == NULL || e->quarantine == NULL || e->version != shown->version ||
            strcmp(e->quarantine->sqlstate, shown->sqlstate) != 0) {
            return false;
        }
        n++;
    }
    return n == state->quarantined;
}

/* What the database says of the group must be what the group says of itself, as of a time after the last
 * fault. NULL: it is; else what is not so. */
static const char *disagreement(const struct sim *sim, uint32_t group, const struct state *state)
{
    const struct fake_fence *fence = &sim->db.content.fences[group];
    if (fence->last_batch != state->last_batch) {
        return "the last batch";
    }
    if (fence->quarantined != state->quarantined || !shows_quarantine(sim, group, state)) {
        return "the quarantine";
    }
    if (fence->lost != state->lost) {
        return "what was lost";
    }
    return fence->recovering ? "recovering" : fence->fresh_as_of_us < sim->calm_us ? "how fresh it is" : NULL;
}

/* A leader in office, every replica at its index, nothing left to flush or to expire, but for what the
 * database refuses, and the database agrees. */
static bool group_settled(struct sim *sim, uint32_t group)
{
    struct sim_seat *leader = sim_office(sim, group);
    if (leader == NULL) {
        return false;
    }
    const struct state *state = group_state(leader->group);
    if (!state->claimed || state->queued_entries != 0 || state->batch_count != 0 ||
        (sim->repaired && state->quarantined != 0) || !sim_operators_tidy(state) ||
        disagreement(sim, group, state) != NULL) {
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
        struct sim_seat *leader = sim_office(sim, g);
        if (leader == NULL) {
            sim_history_fail(&sim->history, "group %" PRIu32 " has no leader long after all is well", g);
        } else if (!group_settled(sim, g)) {
            struct group_info info;
            const struct sim_key *key = to_expire(sim, g);
            const char *differs = disagreement(sim, g, group_state(leader->group));
            group_info(leader->group, sim_node_now_ms(leader->node), &info);
            sim_history_fail(&sim->history,
                "group %" PRIu32 " does not settle: node %u, flush %s (%s), applied %" PRIu64
                ", flushed %" PRIu64 ", dirty %" PRIu64 ", batches %" PRIu32 ", quarantine %" PRIu64
                ", lost %" PRIu64 "; %s is to expire; the database does not agree on %s",
                g, leader->node->index, info.flush_state, info.flush_error, info.applied_index,
                info.flushed_index, info.dirty_entries, info.batches_in_flight, info.quarantined, info.lost,
                key == NULL ? "nothing" : key->name, differs == NULL ? "nothing" : differs);
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

/* Is that row what @r wrote? */
static bool row_is(const struct fake_row *row, const struct sim_record *r)
{
    if (r == NULL || r->value == NULL) {
        return row == NULL;
    }
    return row != NULL && row->version == r->version && row->expires_at_ms == r->expires_at_ms &&
           row->type == r->type && value_same(r->type, buf_bytes(&row->value), value_bytes(r->value));
}

/* The database has exactly the newest write of each key, unless it is named as missing: then an older one. */
static void compare_database(struct sim *sim)
{
    for (unsigned k = 0; k < sim->n_keys; k++) {
        const struct sim_key *key = &sim->history.keys[k];
        const struct sim_record *newest = sim_history_newest(&sim->history, k);
        const struct fake_row *row = fake_db_find(&sim->db, bytes_from_text(key->name));
        bool named = newest != NULL && (key->quarantined || key->excused >= newest->version);
        const struct sim_record *expected = named ? sim_history_version(key, key->db_version) : newest;
        if (!row_is(row, expected)) {
            sim_history_fail(&sim->history,
                "%s: after everything was flushed the database has version %" PRIu64 ", not version %" PRIu64
                "; the newest write is version %" PRIu64 "%s",
                key->name, row == NULL ? 0 : row->version, expected == NULL ? 0 : expected->version,
                newest == NULL ? 0 : newest->version,
                newest != NULL && newest->value != NULL ? "" : " (a delete, or none)");
        }
    }
}

/* Every write that was acknowledged is there: by now, what the newest write of each key left must be read. */
static void read_everything(struct sim *sim)
{
    sim->group_memory_bytes = UINT64_MAX; /* keys that are read together must be in memory together */
    sim->evict_permille = 0;
    for (unsigned k = 0; k < sim->n_keys; k++) {
        struct sim_key *key = &sim->history.keys[k];
        const struct sim_record *newest = sim_history_newest(&sim->history, k);
        uint64_t version = newest == NULL ? 0 : newest->version;
        if (newest != NULL && version < key->acknowledged) {
            sim_history_fail(&sim->history,
                "%s: version %" PRIu64 " was acknowledged, the newest is %" PRIu64, key->name,
                key->acknowledged, version);
        }
        if (version > key->floor && !key->lost) {
            key->floor = version;
            key->gone = false;
        }
        struct sim_seat *leader = sim_office(sim, key->group);
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
    if (sim->config->outage_minutes != 0) {
        return; /* its clients have no lines */
    }
    for (unsigned k = 0; k < sim->n_keys; k++) {
        const struct sim_key *key = &sim->history.keys[k];
        const struct sim_record *newest = sim_history_newest(&sim->history, k);
        if (key->kind != SIM_COUNTER || newest == NULL || key->lost) {
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

static bool something_is_lost(const struct sim *sim)
{
    for (unsigned k = 0; k < sim->n_keys; k++) {
        if (sim->history.keys[k].lost) {
            return true;
        }
    }
    return false;
}

/* Could what the clients saw of each key have been one object? This asks nothing of the log. */
static void judge_lines(struct sim *sim)
{
    if (something_is_lost(sim)) {
        return;
    }
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

/* Replicas at one index have the same state. */
static void compare_replicas(struct sim *sim)
{
    for (uint32_t g = 0; g < sim->n_groups; g++) {
        const struct state *first = group_state(sim->nodes[0].seats[g].group);
        for (unsigned i = 1; i < sim->n_nodes; i++) {
            const struct state *other = group_state(sim->nodes[i].seats[g].group);
            if (first->applied_index == other->applied_index && state_hash(first) != state_hash(other)) {
                sim_history_fail(&sim->history,
                    "group %" PRIu32 ": nodes 0 and %u have different states at the end", g, i);
            }
        }
    }
}

void sim_compare(struct sim *sim)
{
    compare_replicas(sim);
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
