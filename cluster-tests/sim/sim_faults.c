/* What goes wrong, and when: drawn from the seed. */
#include "cluster-tests/sim/sim.h"

enum {
    LAG_STEPS = 4,
    LAG_STEP_US = 200 * 1000,
    LAG_STEP_EVERY_US = 450 * 1000,
    ADVERSARY_MAX_US = 2000 * 1000,
    CLOCK_STEP_MAX_US = 2000 * 1000,
    OUTAGE_MAX_US = 20 * 1000 * 1000,
    EVERY_MIN_US = 5 * 1000,
    EVERY_MAX_US = 300 * 1000,
    OUTAGE_EVERY_MAX_US = 3000 * 1000,
};

static void on_restart(struct sim_event *event)
{
    struct sim_node *n = list_entry(event, struct sim_node, fate);
    if (n->crashing) { /* its memory is still being released */
        sim_schedule(&n->sim->clock, &n->fate, NULL, 100, on_restart);
        return;
    }
    if (!n->alive) {
        sim_node_boot(n);
    }
}

static void on_resume(struct sim_event *event)
{
    sim_node_resume(list_entry(event, struct sim_node, fate));
}

static struct sim_node *any_node(struct sim *sim)
{
    return &sim->nodes[sim_random(&sim->clock, sim->n_nodes)];
}

/* A node that leads some group, or just any. */
static struct sim_node *leading_node(struct sim *sim)
{
    uint32_t g = (uint32_t)sim_random(&sim->clock, sim->n_groups);
    for (unsigned i = 0; i < sim->n_nodes; i++) {
        struct sim_node *n = &sim->nodes[i];
        if (n->alive && n->seats[g].gate_term != 0) {
            return n;
        }
    }
    return any_node(sim);
}

static uint64_t some_time_us(struct sim *sim)
{
    /* Mostly short, at times longer than an election. */
    return 1000 * (sim_chance(&sim->clock, 300) ? sim_between(&sim->clock, 300, 2000)
                                                : sim_between(&sim->clock, 1, 200));
}

static void crash(struct sim *sim, struct sim_node *n)
{
    if (n->alive && !n->crashing) {
        sim_node_crash(n);
        sim_schedule(&sim->clock, &n->fate, NULL, some_time_us(sim), on_restart);
    }
}

static void crash_all(struct sim *sim)
{
    for (unsigned i = 0; i < sim->n_nodes; i++) {
        crash(sim, &sim->nodes[i]);
    }
}

static void pause_one(struct sim *sim)
{
    struct sim_node *n = sim_chance(&sim->clock, 500) ? leading_node(sim) : any_node(sim);
    if (n->alive && !n->crashing && !n->gate.paused) {
        sim_node_pause(n);
        sim_schedule(&sim->clock, &n->fate, NULL, some_time_us(sim), on_resume);
    }
}

static void cut_links(struct sim *sim)
{
    unsigned from = sim_chance(&sim->clock, 600) ? leading_node(sim)->index : any_node(sim)->index;
    bool both = sim_chance(&sim->clock, 500);
    bool isolate = sim_chance(&sim->clock, 500);
    for (unsigned to = 0; to < sim->n_nodes; to++) {
        if (isolate || sim_chance(&sim->clock, 400)) {
            sim_net_cut(&sim->net, from, to, true);
            if (both) {
                sim_net_cut(&sim->net, to, from, true);
            }
        }
    }
    sim_trace(sim, "network: node %u is cut off%s%s", from, isolate ? "" : " from some",
        both ? "" : ", outwards only");
}

static void transfer(struct sim *sim)
{
    struct sim_node *n = any_node(sim);
    uint32_t g = (uint32_t)sim_random(&sim->clock, sim->n_groups);
    if (n->alive && !n->crashing && !n->gate.paused && n->seats[g].gate_term != 0) {
        uint64_t to = sim_random(&sim->clock, sim->n_nodes + 1);
        sim_trace(sim, "node %u group %u: hands over to %llu", n->index, g, (unsigned long long)to);
        (void)replica_transfer(&n->seats[g].replica, to); /* it may refuse */
        sim_node_touch(n);
    }
}

static void slow_disk(struct sim *sim)
{
    struct sim_node *n = any_node(sim);
    for (uint32_t g = 0; n->alive && g < sim->n_groups; g++) {
        n->seats[g].io.disk_max_us = 1000 * sim_between(&sim->clock, 3, 100);
    }
}

/* All is well again, but for what crashed or stopped, which has its own time. */
static void on_fair_weather(struct sim_event *event)
{
    struct sim *sim = list_entry(event, struct sim, weather);
    sim_trace(sim, "network and database are as they should be");
    sim_net_heal(&sim->net);
    sim_cancel(&sim->clock, &sim->lag);
    sim->lagged = false;
    sim->net.loss_permille = 0;
    sim->net.latency_max_us = 2000;
    fake_db_set_down(&sim->db, false);
    sim_travel_settle(sim);
}

/* A leader hears from the others later and later, so slowly that it stays in office; then nobody hears it any
 * more. So it is the last one to notice that there is another leader, and has much in flight that is long
 * committed. */
static void on_lag(struct sim_event *event)
{
    struct sim *sim = list_entry(event, struct sim, lag);
    struct sim_net *net = &sim->net;
    bool last = sim->lag_step++ == LAG_STEPS;
    for (unsigned i = 0; i < sim->n_nodes; i++) {
        if (last) {
            sim_net_cut(net, sim->lagging, i, true);
        } else {
            net->detour_us[i][sim->lagging] += LAG_STEP_US;
        }
    }
    sim_trace(sim, last ? "network: nobody hears node %u" : "network: node %u hears late", sim->lagging);
    if (!last) {
        sim_schedule(&sim->clock, &sim->lag, NULL, LAG_STEP_EVERY_US, on_lag);
    } else {
        sim_schedule(
            &sim->clock, &sim->weather, NULL, 1000 * sim_between(&sim->clock, 700, 1500), on_fair_weather);
    }
}

static void lag(struct sim *sim)
{
    if (!sim->lagged && !sim_scheduled(&sim->weather)) {
        sim->lagged = true;
        sim->lagging = leading_node(sim)->index;
        sim->lag_step = 0;
        sim_schedule(&sim->clock, &sim->lag, NULL, 0, on_lag);
    }
}

/* Somebody sets a node's clock, now and then quite wrong. */
static void set_clock(struct sim *sim)
{
    struct sim_node *n = any_node(sim);
    int64_t most_ms = sim_chance(&sim->clock, 200) ? 600 * 1000 : 3000;
    n->wall_offset_ms = (int64_t)sim_between(&sim->clock, 0, 2 * (uint64_t)most_ms) - most_ms;
    sim->result->clocks_set++;
    sim_trace(sim, "node %u: its clock is set, to %lld ms ahead", n->index, (long long)n->wall_offset_ms);
}

/* Somebody else locks a fence row, or the table, and gives it back. */
static void on_adversary_gone(struct sim_event *event)
{
    struct sim *sim = list_entry(event, struct sim, adversary);
    for (uint32_t g = 0; g < sim->n_groups; g++) {
        fake_db_lock_fence(&sim->db, g, false);
    }
    fake_db_lock_rows(&sim->db, false);
}

static void lock_something(struct sim *sim)
{
    if (sim_scheduled(&sim->adversary)) {
        return;
    }
    uint32_t g = (uint32_t)sim_random(&sim->clock, sim->n_groups + 1);
    if (g < sim->n_groups) {
        sim_trace(sim, "database: somebody locks the fence row of group %u", g);
        fake_db_lock_fence(&sim->db, g, true);
    } else {
        sim_trace(sim, "database: somebody locks the table");
        fake_db_lock_rows(&sim->db, true);
    }
    sim_schedule(&sim->clock, &sim->adversary, NULL, sim_between(&sim->clock, 1000, ADVERSARY_MAX_US),
        on_adversary_gone);
}

/* The database is another one, at times together with a change of leader; at times it answers as a standby
 * first. */
static void travel(struct sim *sim)
{
    bool standby = sim_chance(&sim->clock, 300);
    if (sim_travel(sim, standby) && sim_chance(&sim->clock, 400)) {
        crash(sim, leading_node(sim));
    }
}

static void set_server_clock(struct sim *sim)
{
    sim->db.clock_offset_us += (int64_t)sim_random(&sim->clock, CLOCK_STEP_MAX_US);
}

/* ---- What happens next ---- */

static void take_database_down(struct sim *sim)
{
    sim_trace(sim, "database: down");
    fake_db_set_down(&sim->db, true);
}

static void trouble_with_database(struct sim *sim)
{
    switch (sim_random(&sim->clock, 8)) {
    case 0:
        take_database_down(sim);
        break;
    case 1:
    case 2:
        sim_rows_refuse(sim);
        break;
    case 3:
    case 4:
        lock_something(sim);
        break;
    case 5:
    case 6:
        travel(sim);
        break;
    default:
        set_server_clock(sim);
        break;
    }
}

static void trouble_with_nodes(struct sim *sim)
{
    switch (sim_random(&sim->clock, 15)) {
    case 0:
        crash(sim, any_node(sim));
        break;
    case 1:
    case 2:
    case 3:
        crash(sim, leading_node(sim));
        break;
    case 4:
        if (sim_chance(&sim->clock, 300)) {
            crash_all(sim);
        }
        break;
    case 5:
    case 6:
        pause_one(sim);
        break;
    case 7:
    case 8:
        cut_links(sim);
        break;
    case 9:
        sim->net.loss_permille = (unsigned)sim_random(&sim->clock, 200);
        sim->net.latency_max_us = 1000 * sim_between(&sim->clock, 2, 60);
        break;
    case 10:
    case 11:
        transfer(sim);
        break;
    case 12:
        slow_disk(sim);
        break;
    case 13:
        set_clock(sim);
        break;
    default:
        lag(sim);
        break;
    }
}

static bool is_foul(const struct sim *sim)
{
    bool foul = sim->db.down || sim->db.standby || sim->net.loss_permille > 0;
    for (unsigned i = 0; i < sim->n_nodes * SIM_NODES_MAX; i++) {
        foul = foul || sim->net.cut[i / SIM_NODES_MAX][i % SIM_NODES_MAX];
    }
    return foul;
}

static uint64_t foul_weather_us(struct sim *sim)
{
    if (sim->config->outage_minutes != 0 && sim_chance(&sim->clock, 200)) {
        return sim_random(&sim->clock, OUTAGE_MAX_US);
    }
    return sim_chance(&sim->clock, 400) ? 1000 * sim_between(&sim->clock, 300, 1200) : some_time_us(sim);
}

static void on_fault(struct sim_event *event);

static void schedule_fault(struct sim *sim)
{
    uint64_t most_us = sim->config->outage_minutes != 0 ? OUTAGE_EVERY_MAX_US : EVERY_MAX_US;
    sim_schedule(&sim->clock, &sim->fault, NULL, sim_between(&sim->clock, EVERY_MIN_US, most_us), on_fault);
}

static void on_fault(struct sim_event *event)
{
    struct sim *sim = list_entry(event, struct sim, fault);
    bool outage = sim->config->outage_minutes != 0;
    if (sim->faults_left == 0) {
        return;
    }
    sim->faults_left -= !outage;
    if (sim->lagged) {
        schedule_fault(sim);
        return;
    }
    uint64_t die = sim_random(&sim->clock, 100);
    if (die < 2 || (outage && die < 6)) {
        sim_fair_begin(sim); /* it goes on after that */
        return;
    }
    if (die < (outage ? 80 : 30)) {
        trouble_with_database(sim);
    } else if (die < 90) {
        trouble_with_nodes(sim);
    } /* else a quiet time */
    if (is_foul(sim) && !sim_scheduled(&sim->weather)) {
        sim_schedule(&sim->clock, &sim->weather, NULL, foul_weather_us(sim), on_fair_weather);
    }
    schedule_fault(sim);
}

void sim_faults_go_on(struct sim *sim)
{
    schedule_fault(sim);
}

void sim_faults_start(struct sim *sim)
{
    struct fake_db *db = &sim->db;
    db->cut_permille = (unsigned)sim_random(&sim->clock, 40);
    db->transient_permille = (unsigned)sim_random(&sim->clock, 20);
    db->slow_permille = (unsigned)sim_random(&sim->clock, 60);
    db->slow_max_us = 1000 * sim_between(&sim->clock, 20, 3000);
    sim_schedule(&sim->clock, &sim->fault, NULL, 1000 * sim_between(&sim->clock, 100, 1500), on_fault);
}

void sim_faults_heal(struct sim *sim)
{
    sim_cancel(&sim->clock, &sim->fault);
    sim_cancel(&sim->clock, &sim->weather);
    sim_cancel(&sim->clock, &sim->lag);
    sim_cancel(&sim->clock, &sim->adversary);
    on_fair_weather(&sim->weather);
    on_adversary_gone(&sim->adversary);
    sim->db.cut_permille = 0;
    sim->db.transient_permille = 0;
    sim->db.slow_permille = 0;
    for (unsigned i = 0; i < sim->n_nodes; i++) {
        struct sim_node *n = &sim->nodes[i];
        sim_node_resume(n);
        for (uint32_t g = 0; g < sim->n_groups; g++) {
            n->seats[g].io.disk_max_us = SIM_DISK_MAX_US;
        }
        if (!n->alive || n->crashing) {
            sim_schedule(&sim->clock, &n->fate, NULL, 1, on_restart);
        }
    }
}

void sim_faults_stop(struct sim *sim)
{
    sim->faults_left = 0;
    sim_cancel(&sim->clock, &sim->fair_end);
    sim->fair = false;
    sim_faults_heal(sim);
    sim_travel_stop(sim);
    if (sim_chance(&sim->clock, 500)) {
        sim_rows_repair(sim);
    }
}
