/* The database goes back in time: another server answers, which has what the first one had some time ago; and
 * it may go forward again, when the first one returns. */
#include "cluster-tests/sim/sim.h"

enum { COPY_MAX_US = 500 * 1000 };

static void copy_of_now(struct sim *sim, struct sim_copy *copy)
{
    fake_content_deinit(&copy->content);
    fake_content_copy(&copy->content, &sim->db.content);
    sim_history_database(&sim->history, copy->versions);
    copy->made = true;
}

static void become(struct sim *sim, const struct sim_copy *copy)
{
    fake_db_become(&sim->db, &copy->content);
    sim_history_travelled(&sim->history, copy->versions);
    sim->result->travels++;
    for (uint32_t g = 0; g < sim->n_groups; g++) {
        sim_trace(sim, "database: group %u is at batch %llu now", g,
            (unsigned long long)sim->db.content.fences[g].last_batch);
    }
}

/* A copy of a database that nobody has claimed yet would be another story. */
static bool is_claimed(const struct sim *sim)
{
    for (uint32_t g = 0; g < sim->n_groups; g++) {
        if (!sim->db.content.fences[g].present) {
            return false;
        }
    }
    return true;
}

static void on_copy(struct sim_event *event)
{
    struct sim *sim = list_entry(event, struct sim, copying);
    if (is_claimed(sim)) {
        copy_of_now(sim, &sim->copies[sim_random(&sim->clock, SIM_COPIES)]);
    }
    sim_schedule(&sim->clock, &sim->copying, NULL, sim_between(&sim->clock, 1000, COPY_MAX_US), on_copy);
}

void sim_travel_start(struct sim *sim)
{
    if (sim->travels) {
        sim_schedule(&sim->clock, &sim->copying, NULL, COPY_MAX_US, on_copy);
    }
}

bool sim_travel(struct sim *sim, bool standby)
{
    const struct sim_copy *copy = &sim->copies[sim_random(&sim->clock, SIM_COPIES)];
    bool returns = sim->primary.made && sim_chance(&sim->clock, 300);
    if (!sim->travels || sim->db.standby || (!copy->made && !returns)) {
        return false;
    }
    if (returns) {
        sim_trace(sim, "database: the old primary returns");
        become(sim, &sim->primary);
        return true;
    }
    copy_of_now(sim, &sim->primary);
    sim_trace(sim, standby ? "database: a standby answers" : "database: it goes back in time");
    become(sim, copy);
    fake_db_set_standby(&sim->db, standby);
    return true;
}

void sim_travel_settle(struct sim *sim)
{
    if (!sim->db.standby) {
        return;
    }
    bool promoted = sim_chance(&sim->clock, 500);
    sim_trace(sim, promoted ? "database: the standby is promoted" : "database: the primary is back");
    if (!promoted) {
        become(sim, &sim->primary);
    }
    fake_db_set_standby(&sim->db, false);
}

void sim_travel_stop(struct sim *sim)
{
    sim_cancel(&sim->clock, &sim->copying);
    sim_travel_settle(sim);
}

void sim_travel_deinit(struct sim *sim)
{
    sim_cancel(&sim->clock, &sim->copying);
    for (unsigned i = 0; i < SIM_COPIES; i++) {
        fake_content_deinit(&sim->copies[i].content);
    }
    fake_content_deinit(&sim->primary.content);
}
