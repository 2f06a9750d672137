#include "cluster-tests/sim/sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"

enum { STEPS_DEFAULT = 60, SETTLE_MS = 60000, READ_MS = 10000, CHUNK_MS = 50 };

void sim_trace(struct sim *sim, const char *format, ...)
{
    struct sim_result *result = sim->result;
    if (sim->quiet) {
        return;
    }
    if (result->trace_lines == SIM_TRACE_LINES) {
        memmove(result->trace[0], result->trace[1], sizeof result->trace - sizeof result->trace[0]);
        result->trace_lines--;
    }
    char *line = result->trace[result->trace_lines++];
    int len = snprintf(line, SIM_TRACE_BYTES, "%6" PRIu64 ".%03" PRIu64 " ms  ", sim->clock.now_us / 1000,
        sim->clock.now_us % 1000);
    va_list args;
    va_start(args, format);
    vsnprintf(line + len, SIM_TRACE_BYTES - (size_t)len, format, args);
    va_end(args);
    result->trace_hash = bytes_hash(bytes_from_text(line), result->trace_hash);
    if (sim->config->trace != NULL) {
        fprintf(sim->config->trace, "%s\n", line);
    }
}

static void on_commit(void *data, uint32_t group, uint64_t batch, const struct fake_write *writes, size_t n)
{
    struct sim *sim = data;
    sim_trace(sim, "database: group %u batch %" PRIu64 " of %zu rows", group, batch, n);
    sim_history_commit(&sim->history, group, batch, writes, n);
}

/* Sizes and times of this run: small, so that limits are met often. */
static void draw_shape(struct sim *sim)
{
    struct sim_clock *c = &sim->clock;
    sim->n_nodes = sim_chance(c, 150) ? 5 : 3;
    sim->n_groups = (unsigned)sim_between(c, 1, 3);
    sim->n_clients = (unsigned)sim_between(c, 2, SIM_CLIENTS_MAX);
    sim->n_keys = (unsigned)sim_between(c, 3, 24);
    sim->group_config = (struct group_config){
        .group_count = sim->n_groups,
        .flush = {.age_ms = (unsigned)sim_between(c, 0, 60),
            .batch_rows = (uint32_t)sim_between(c, 1, 8),
            .batch_bytes = sim_between(c, 40, 4000),
            .in_flight = (unsigned)sim_between(c, 1, 5),
            .retry_min_ms = 5,
            .retry_max_ms = 200},
        .dirty_bytes_max = sim_chance(c, 200) ? 200 : 1000000,
        .dirty_entries_max = 1000,
        .entry_target_bytes = sim_chance(c, 300) ? 200 : 0,
        .entries_in_flight = (unsigned)sim_between(c, 1, 8),
    };
    sim->replica_config = (struct replica_config){
        .election_timeout_ms = 300,
        .heartbeat_ms = 30,
        .snapshot_log_bytes = sim_between(c, 500, 20000),
        /* Never fewer than what may be under way to a follower, twice: the configuration refuses less as
           well. */
        .snapshot_trailing = (unsigned)sim_between(c, 8, 50),
        .max_inflight = 4,
        .start_delay_ms = 300,
    };
}

/* One event, and the turn of the loop that it causes. */
static void step(struct sim *sim)
{
    struct sim_gate *gate;
    sim->turned = NULL;
    CHECK(sim_step(&sim->clock, &gate));
    if (gate != NULL && sim->turned == NULL) {
        sim_node_touch(gate->owner);
    }
}

static bool run_until(struct sim *sim, uint64_t until_us)
{
    while (sim->clock.n > 0 && sim->clock.heap[0]->at_us <= until_us && !sim->history.failed) {
        step(sim);
    }
    return !sim->history.failed;
}

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

/* A leader in office, every replica at its index, and nothing left to flush. */
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
    return true;
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
            group_info(leader->group, sim_node_now_ms(leader->node), &info);
            sim_history_fail(&sim->history,
                "group %" PRIu32 " does not settle: node %u, flush %s (%s), applied %" PRIu64
                ", flushed %" PRIu64 ", dirty %" PRIu64 ", batches %" PRIu32,
                g, leader->node->index, info.flush_state, info.flush_error, info.applied_index,
                info.flushed_index, info.dirty_entries, info.batches_in_flight);
        }
    }
    sim_history_fail(&sim->history, "requests are not answered long after all is well");
}

static bool settle(struct sim *sim)
{
    uint64_t end_us = sim->clock.now_us + (uint64_t)SETTLE_MS * 1000;
    do {
        if (!run_until(sim, sim->clock.now_us + (uint64_t)CHUNK_MS * 1000)) {
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
        bool expected = newest != NULL && newest->serial != 0;
        if (expected != (row != NULL) || (row != NULL && row->version != newest->version)) {
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
        if (newest != NULL && newest->version < key->floor) {
            sim_history_fail(&sim->history,
                "%s: version %" PRIu64 " was acknowledged, the newest is %" PRIu64, key->name, key->floor,
                newest->version);
        }
        key->floor = newest == NULL ? 0 : newest->version;
        struct sim_seat *leader = office(sim, key->group);
        CHECK(leader != NULL);
        sim_read(sim, k, leader->node->index);
    }
    uint64_t reads = sim->history.reads;
    uint64_t end_us = sim->clock.now_us + (uint64_t)READ_MS * 1000;
    while (
        !list_empty(&sim->ops) && sim->clock.now_us < end_us && run_until(sim, sim->clock.heap[0]->at_us)) {
    }
    if (sim->history.reads - reads != sim->n_keys) {
        sim_history_fail(&sim->history, "only %" PRIu64 " of %u keys could be read at the end",
            sim->history.reads - reads, sim->n_keys);
    }
}

/* Switch everything off and release it; nothing is checked any more. */
static void tear_down(struct sim *sim)
{
    struct sim_gate *gate;
    sim->quiet = true;
    for (unsigned i = 0; i < sim->n_nodes; i++) {
        struct sim_node *n = &sim->nodes[i];
        if (n->alive && !n->crashing) {
            sim_node_crash(n);
        }
        sim_cancel(&sim->clock, &n->fate);
        while (n->alive) {
            CHECK(sim_step(&sim->clock, &gate));
            for (unsigned j = 0; j < sim->n_nodes; j++) {
                sim_cancel(&sim->clock, &sim->nodes[j].fate);
            }
        }
    }
    for (unsigned i = 0; i < sim->n_nodes; i++) {
        sim_node_deinit(&sim->nodes[i]);
    }
    sim_ops_deinit(sim);
    fake_db_deinit(&sim->db);
    sim_net_deinit(&sim->net);
}

static void report(struct sim *sim)
{
    struct sim_result *r = sim->result;
    r->failed = sim->history.failed;
    memcpy(r->failure, sim->history.failure, sizeof r->failure);
    r->virtual_ms = sim->clock.now_us / 1000;
    r->writes = sim->history.writes;
    r->acknowledged = sim->history.acknowledged;
    r->reads = sim->history.reads;
    r->commits = sim->db.commits;
    r->flushed_rows = sim->history.flushed_rows;
    r->lost_answers = sim->db.lost_answers;
    r->takes = sim->db.takes;
    r->takes_that_waited = sim->db.takes_that_waited;
    r->refused_by_fence = sim->db.refused;
    for (uint32_t g = 0; g < sim->n_groups; g++) {
        r->many_keys += sim->history.groups[g].many_keys;
        r->entries += sim->history.groups[g].newest;
    }
    sim_trace(sim,
        "%s: %" PRIu64 " writes, %" PRIu64 " acknowledged, %" PRIu64 " reads, %" PRIu64 " commits of %" PRIu64
        " rows, %" PRIu64 " lost answers, %" PRIu64 " offices, %" PRIu64 " crashes",
        r->failed ? "FAILED" : "passed", r->writes, r->acknowledged, r->reads, r->commits, r->flushed_rows,
        r->lost_answers, r->offices, r->crashes);
}

void sim_run(const struct sim_config *config, struct sim_result *result)
{
    memset(result, 0, sizeof *result);
    struct sim *sim = xcalloc(1, sizeof *sim);
    sim->config = config;
    sim->result = result;
    sim_clock_init(&sim->clock, config->seed);
    sim_net_init(&sim->net, &sim->clock);
    fake_db_init(&sim->db, &sim->clock);
    sim->db.defect = config->defect;
    sim->db.on_commit = on_commit;
    sim->db.on_commit_data = sim;
    list_init(&sim->ops);
    draw_shape(sim);
    sim_history_init(&sim->history, sim->n_keys, sim->n_groups);
    sim_trace(sim, "seed %" PRIu64 ": %u nodes, %u groups, %u keys, %u clients", config->seed, sim->n_nodes,
        sim->n_groups, sim->n_keys, sim->n_clients);
    for (unsigned i = 0; i < sim->n_nodes; i++) {
        sim_node_init(sim, i);
        sim_node_boot(&sim->nodes[i]);
    }
    for (unsigned i = 0; i < sim->n_clients; i++) {
        sim_client_init(sim, i);
    }
    sim->faults_left = config->steps == 0 ? STEPS_DEFAULT : config->steps;
    sim_faults_start(sim);
    while (sim->faults_left > 0 && run_until(sim, sim->clock.heap[0]->at_us)) {
    }
    sim->calm = true;
    if (!sim->history.failed) {
        sim_faults_stop(sim);
        /* What the database was slow with before is answered by then, if only with an error. */
        run_until(sim, sim->clock.now_us + sim->db.slow_max_us);
        if (!sim->history.failed && settle(sim)) {
            compare_database(sim);
            read_everything(sim);
        }
    }
    report(sim);
    tear_down(sim);
    sim_history_deinit(&sim->history);
    sim_clock_deinit(&sim->clock);
    free(sim);
}
