#include "cluster-tests/sim/sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"

enum {
    STEPS_DEFAULT = 60,
    LINES_BYTES_MAX = 256 * 1024 * 1024,
    RETENTION_BYTES_DEFAULT = 64 * 1024 * 1024, /* more than there is */
    MINUTE_US = 60 * 1000 * 1000
};

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

static void on_commit(void *data, const struct fake_commit *commit)
{
    struct sim *sim = data;
    sim_trace(sim, "database: group %u batch %" PRIu64 " of %zu rows, without %zu", commit->group,
        commit->batch, commit->n, commit->n_refused);
    sim_history_commit(&sim->history, commit);
    sim->result->pairs_torn += sim_history_torn(&sim->history, commit);
}

static void on_changed(void *data, uint32_t group)
{
    struct sim *sim = data;
    sim_history_changed(&sim->history, group);
}

/* Sizes and times of this run: small, so that limits are met often. */
static void draw_shape(struct sim *sim)
{
    struct sim_clock *c = &sim->clock;
    sim->n_nodes = sim_chance(c, 150) ? 5 : 3;
    sim->n_groups = (unsigned)sim_between(c, 1, 3);
    sim->n_clients = (unsigned)sim_between(c, 2, SIM_CLIENTS_MAX);
    sim->n_keys = (unsigned)sim_between(c, 4, 24);
    sim->db.clock_offset_us = (int64_t)sim_between(c, 0, 8000000) - 4000000;
    sim->db.lock_timeout_us = sim_between(c, 100000, 1000000);
    sim->db.idle_timeout_us = sim_between(c, 500000, 3000000);
    sim->evict_permille = sim_chance(c, 300) ? 0 : (unsigned)sim_between(c, 1, 200);
    sim->group_memory_bytes = sim_chance(c, 300) ? sim_between(c, 500, 5000) : UINT64_MAX;
    sim->sessions_are_few = sim_chance(c, 250);
    bool outages = sim->config->outage_minutes != 0;
    sim->once = sim_chance(c, 60) && !outages;
    if (sim->once) {
        sim->n_keys = SIM_KEYS_MAX;
    }
    sim->travels = sim->once || outages || sim_chance(c, 500);
    sim->operated = sim_chance(c, 600);
    sim->group_config = (struct group_config){
        .group_count = sim->n_groups,
        .flush = {.age_ms = (unsigned)sim_between(c, 0, 60),
            .batch_rows = (uint32_t)sim_between(c, 1, 8),
            .batch_bytes = sim_between(c, 40, 4000),
            .in_flight = (unsigned)sim_between(c, 1, 5),
            .retry_min_ms = 5,
            .retry_max_ms = 200,
            .note_ms = (unsigned)sim_between(c, 20, 1000)},
        .dirty_bytes_max = sim_chance(c, 200) ? 200 : 1000000,
        .dirty_entries_max = 2000,
        .entry_target_bytes = sim_chance(c, 300) ? 200 : 0,
        .entries_in_flight = (unsigned)sim_between(c, 1, 8),
        .sessions_max = SESSIONS_DEFAULT,
        .session_bytes_max = SESSION_BYTES_DEFAULT,
        .expiry_sweep_ms = (unsigned)sim_between(c, 20, 1000),
        .retention_ms = sim_chance(c, 300) ? sim_between(c, 1, 500) : sim_between(c, 2000, 60000),
        .retention_bytes = sim_chance(c, 200) ? sim_between(c, 1, 4000) : RETENTION_BYTES_DEFAULT,
        .quarantine_retry_min_ms = (unsigned)sim_between(c, 5, 100),
        .quarantine_retry_max_ms = (unsigned)sim_between(c, 200, 2000),
    };
    if (sim->sessions_are_few) {
        sim->group_config.sessions_max = sim_between(c, 1, 6);
        sim->group_config.session_bytes_max = sim_between(c, 1, 3000);
    }
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

bool sim_run_until(struct sim *sim, uint64_t until_us)
{
    while (sim->clock.n > 0 && sim->clock.heap[0]->at_us <= until_us && !sim->history.failed) {
        step(sim);
    }
    return !sim->history.failed;
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
    for (unsigned i = 0; i < sim->n_clients; i++) {
        sim_client_deinit(&sim->clients[i]);
    }
    CHECK(list_empty(&sim->commands));
    sim_operators_deinit(sim);
    sim_travel_deinit(sim);
    fake_db_deinit(&sim->db);
    sim_net_deinit(&sim->net);
}

void sim_result_add(struct sim_result *sum, const struct sim_result *r)
{
#define X(name, text) sum->name += r->name;
    SIM_COUNTS(X)
#undef X
}

static void report(struct sim *sim)
{
    struct sim_result *r = sim->result;
    r->failed = sim->history.failed;
    memcpy(r->failure, sim->history.failure, sizeof r->failure);
    r->virtual_ms = sim->clock.now_us / 1000;
    r->writes = sim->history.writes;
    r->expired = sim->history.expired;
    r->reads = sim->history.reads;
    r->commits = sim->db.commits;
    r->flushed_rows = sim->history.flushed_rows;
    r->lost_answers = sim->db.lost_answers;
    r->takes = sim->db.takes;
    r->takes_that_waited = sim->db.takes_that_waited;
    r->refused_by_fence = sim->db.refused;
    r->isolations = sim->db.isolations;
    r->faults = sim->db.faults;
    r->commit_refusals = sim->db.commit_refusals;
    r->notes = sim->db.notes;
    r->lock_timeouts = sim->db.lock_timeouts;
    r->terminated = sim->db.terminated;
    r->slot_waits = sim->db.slot_waits;
    for (uint32_t g = 0; g < sim->n_groups; g++) {
        r->quarantined += sim->history.groups[g].quarantines;
        r->dropped += sim->history.groups[g].drops;
        r->rewinds += sim->history.groups[g].rewinds;
        r->lost_rows += sim->history.groups[g].losses;
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
    sim->db.on_changed = on_changed;
    sim->db.on_data = sim;
    sim->db.refuses = sim_rows_refused;
    sim->db.refuses_data = sim;
    list_init(&sim->ops);
    draw_shape(sim);
    sim_history_init(&sim->history, sim->n_keys, sim->n_groups);
    sim->history.db = &sim->db;
    sim->history.retention_is_by_time = sim->group_config.retention_bytes == RETENTION_BYTES_DEFAULT;
    for (unsigned k = 0; sim->once && k < sim->n_keys; k++) {
        sim->history.keys[k].kind = SIM_PLAIN;
    }
    history_init(&sim->lines, LINES_BYTES_MAX);
    sim_defect_set(config->node_defect);
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
    sim_travel_start(sim);
    sim_operators_start(sim);
    uint64_t end_us = (uint64_t)config->outage_minutes * MINUTE_US;
    while ((end_us != 0 ? sim->clock.now_us < end_us : sim->faults_left > 0) &&
           sim_run_until(sim, sim->clock.heap[0]->at_us)) {
    }
    sim->calm = true;
    if (!sim->history.failed) {
        sim_faults_stop(sim);
        sim->calm_us = fake_db_clock_us(&sim->db);
        /* What the database was slow with before is answered by then, if only with an error. */
        sim_run_until(sim, sim->clock.now_us + sim->db.slow_max_us);
        if (!sim->history.failed && sim_settle(sim)) {
            sim_compare(sim);
        }
    }
    report(sim);
    tear_down(sim);
    if (config->history != NULL) {
        (void)history_write(&sim->lines, config->history); /* the stream's error stays for who opened it */
    }
    history_deinit(&sim->lines);
    sim_history_deinit(&sim->history);
    sim_clock_deinit(&sim->clock);
    free(sim);
}
