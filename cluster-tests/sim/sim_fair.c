/* Times without faults, in which clients go on writing: the flush must keep up with them, whatever went wrong
 * before, and the database must say how fresh it is. */
#include "cluster-tests/sim/sim.h"

enum {
    SPELL_US = 8000 * 1000,
    AGE_SLACK_MS =
        1500,       /* a batch that waits for the one before, in a cluster that has only just come to rest */
    REST_MS = 5000, /* a group that has given its connection to others says less often how fresh it is */
};

static void check_group(struct sim *sim, uint32_t group)
{
    struct sim_seat *leader = sim_office(sim, group);
    const struct fake_fence *fence = &sim->db.content.fences[group];
    struct group_info info;
    if (leader == NULL) {
        sim_history_fail(&sim->history, "group %u has no leader after a time without faults", group);
        return;
    }
    if (!sim_operators_tidy(group_state(leader->group))) {
        return; /* an operator's request came late */
    }
    group_info(leader->group, sim_node_now_ms(leader->node), &info);
    if (info.oldest_dirty_ms > sim->group_config.flush.age_ms + AGE_SLACK_MS) {
        sim_history_fail(&sim->history,
            "group %u: after a time without faults the oldest write that the database does not have is of "
            "%llu ms "
            "ago (flush %s: %s)",
            group, (unsigned long long)info.oldest_dirty_ms, info.flush_state, info.flush_error);
    }
    uint64_t age_ms = (uint64_t)(fake_db_clock_us(&sim->db) - fence->fresh_as_of_us) / 1000;
    uint64_t most_ms =
        sim->group_config.flush.age_ms + 2 * sim->group_config.flush.note_ms + REST_MS + AGE_SLACK_MS;
    if (fence->recovering || age_ms > most_ms) {
        sim_history_fail(&sim->history,
            "group %u: after a time without faults the database says that it is fresh as of %llu ms ago, %s",
            group, (unsigned long long)age_ms, fence->recovering ? "and recovering" : "and well");
    }
}

/* What the database takes again must not stay in quarantine: it is tried again and again, whatever others are
 * there. */
static void check_quarantine(struct sim *sim)
{
    for (unsigned k = 0; k < sim->n_keys; k++) {
        const struct sim_key *key = &sim->history.keys[k];
        struct sim_seat *leader = sim_office(sim, key->group);
        if (key->quarantined && sim->rules[k].until_us <= sim->fair_us && leader != NULL &&
            sim_operators_tidy(group_state(leader->group))) {
            sim_history_fail(&sim->history,
                "%s is still in quarantine after a time without faults, in which the database would have "
                "taken it",
                key->name);
        }
    }
}

static void on_fair_end(struct sim_event *event)
{
    struct sim *sim = list_entry(event, struct sim, fair_end);
    sim->fair = false;
    for (uint32_t g = 0; g < sim->n_groups; g++) {
        check_group(sim, g);
    }
    check_quarantine(sim);
    sim->result->fair_spells++;
    sim->db.cut_permille = sim->fair_cut;
    sim->db.transient_permille = sim->fair_transient;
    sim->db.slow_permille = sim->fair_slow;
    sim_faults_go_on(sim);
}

void sim_fair_begin(struct sim *sim)
{
    sim_trace(sim, "a time without faults");
    sim->fair = true;
    sim->fair_us = sim->clock.now_us;
    sim->fair_cut = sim->db.cut_permille;
    sim->fair_transient = sim->db.transient_permille;
    sim->fair_slow = sim->db.slow_permille;
    sim_faults_heal(sim);
    sim_schedule(&sim->clock, &sim->fair_end, NULL, SPELL_US + sim->db.slow_max_us, on_fair_end);
}
