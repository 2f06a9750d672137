/* Operators: they stop the flush and let it go on, change its settings, look at the quarantine, have it tried
 * again or give it up, and say that they have seen a loss. Their requests go straight to a group, as those of
 * clients. */
#include <stdlib.h>
#include <string.h>

#include "cluster-tests/sim/sim.h"
#include "node/group_admin.h"
#include "proto/base/alloc.h"

enum {
    EVERY_MIN_US = 20 * 1000,
    EVERY_MAX_US = 1500 * 1000,
    TIDY_EVERY_US = 100 * 1000,
    DEADLINE_MS = 1000,
    LOOKS = 50,
    QUARANTINED_PERMILLE = 400,
    GIVE_UP_PERMILLE = 200
};

struct sim_command {
    struct list link; /* in sim->commands */
    struct sim *sim;
    uint32_t group;
    struct group_request request;
    struct group_admin admin;
    struct bytes keys[SIM_KEYS_MAX];
};

/* What a verification reports must be so: without travels, and but for what was lost, nothing ever is. */
static void judge_differences(const struct sim_command *c)
{
    struct sim *sim = c->sim;
    for (uint32_t i = 0; i < c->admin.n_differences && sim->result->travels == 0; i++) {
        const struct admin_difference *d = &c->admin.differences[i];
        const struct sim_key *key =
            sim_history_key(&sim->history, bytes_of(c->admin.names.data + d->key_at, d->key_len));
        if (key == NULL || !key->lost) {
            sim_history_fail(&sim->history,
                "a verification of group %u reports %s as different (kind %d, version %llu, of the row "
                "%llu), but "
                "nobody else writes to the database",
                c->group, key == NULL ? "?" : key->name, (int)d->kind, (unsigned long long)d->version,
                (unsigned long long)d->row_version);
        }
    }
}

static void on_done(struct group_request *request)
{
    struct sim_command *c = list_entry(request, struct sim_command, request);
    struct sim *sim = c->sim;
    if (request->status == STATUS_OK) {
        sim->result->commands++;
        sim->result->compared += c->admin.compared;
        judge_differences(c);
    } else if (request->status == STATUS_INVALID || request->status == STATUS_INTERNAL) {
        sim_history_fail(&sim->history, "an operator's request of kind %d was answered with %s: %s",
            (int)c->admin.kind, status_name((int)request->status),
            request->message == NULL ? "" : request->message);
    }
    group_admin_deinit(&c->admin);
    list_remove(&c->link);
    free(c);
}

static struct sim_node *leader_of(struct sim *sim, uint32_t group)
{
    for (unsigned i = 0; i < sim->n_nodes; i++) {
        struct sim_node *n = &sim->nodes[i];
        if (n->alive && !n->crashing && !n->gate.paused && n->seats[group].gate_term != 0) {
            return n;
        }
    }
    return NULL;
}

static struct sim_command *command_create(struct sim *sim, uint32_t group, enum group_admin_kind kind)
{
    struct sim_command *c = xcalloc(1, sizeof *c);
    c->sim = sim;
    c->group = group;
    group_admin_init(&c->admin);
    c->admin.kind = kind;
    c->admin.keys = c->keys;
    c->request = (struct group_request){.op = GROUP_ADMIN, .admin = &c->admin, .done = on_done};
    list_push_back(&sim->commands, &c->link);
    return c;
}

/* Each key of the group with this chance; one that is in quarantine more likely. */
static void add_keys(struct sim_command *c, unsigned permille)
{
    struct sim *sim = c->sim;
    for (unsigned k = 0; k < sim->n_keys; k++) {
        const struct sim_key *key = &sim->history.keys[k];
        if (key->group == c->group &&
            sim_chance(&sim->clock, key->quarantined ? QUARANTINED_PERMILLE : permille)) {
            c->keys[c->admin.n++] = bytes_from_text(sim->history.keys[k].name);
        }
    }
}

static void submit(struct sim_command *c, struct sim_node *n)
{
    c->request.deadline_ms = sim_node_now_ms(n) + DEADLINE_MS;
    group_submit(n->seats[c->group].group, &c->request);
    sim_node_touch(n);
}

static void draw_settings(struct sim_command *c)
{
    struct sim_clock *clock = &c->sim->clock;
    struct state_control *control = &c->admin.control;
    c->admin.set = true;
    if (sim_chance(clock, 400)) {
        c->admin.has_paused = true;
        control->paused = sim_chance(clock, 500);
    }
    if (sim_chance(clock, 300)) {
        control->has_batch_rows = true;
        control->batch_rows = (uint32_t)sim_between(clock, 1, 10);
    }
    if (sim_chance(clock, 200)) {
        control->has_age_ms = true;
        control->age_ms = (uint32_t)sim_between(clock, 0, 100);
    }
    if (sim_chance(clock, 200)) {
        control->has_rows_per_second = true;
        control->rows_per_second = (uint32_t)sim_between(clock, 0, 200);
    }
}

static struct sim_command *draw(struct sim *sim, uint32_t group)
{
    static const enum group_admin_kind kinds[] = {ADMIN_CONTROL, ADMIN_CONTROL, ADMIN_CONTROL,
        ADMIN_QUARANTINE_LIST, ADMIN_QUARANTINE_RETRY, ADMIN_QUARANTINE_RETRY, ADMIN_QUARANTINE_DROP,
        ADMIN_KEY_STATUS, ADMIN_VERIFY, ADMIN_VERIFY};
    struct sim_clock *clock = &sim->clock;
    enum group_admin_kind kind = kinds[sim_random(clock, sizeof kinds / sizeof *kinds)];
    if (sim_history_quarantine_size(&sim->history, group) > 0 && sim_chance(clock, GIVE_UP_PERMILLE)) {
        kind = ADMIN_QUARANTINE_DROP;
    }
    struct sim_command *c = command_create(sim, group, kind);
    switch (kind) {
    case ADMIN_CONTROL:
        c->admin.reset = sim_chance(clock, 300);
        c->admin.acknowledge_loss = sim_chance(clock, 100);
        if (!c->admin.reset) {
            draw_settings(c);
        }
        break;
    case ADMIN_QUARANTINE_LIST:
        c->admin.count = (uint32_t)sim_between(clock, 1, 5);
        c->admin.values = sim_chance(clock, 500);
        break;
    case ADMIN_QUARANTINE_RETRY:
        if (sim_chance(clock, 500)) { /* none: all of them */
            add_keys(c, 300);
        }
        break;
    case ADMIN_QUARANTINE_DROP:
    case ADMIN_KEY_STATUS:
        add_keys(c, 100);
        if (c->admin.n == 0) {
            c->admin.kind = ADMIN_QUARANTINE_LIST; /* these two want to be told which */
        }
        break;
    default:
        c->admin.count = LOOKS;
        c->admin.one_in = 1;
    }
    return c;
}

/* Nothing is stopped, and the settings are those of the configuration. */
bool sim_operators_tidy(const struct state *s)
{
    const struct state_control *c = &s->control;
    return !c->paused && !c->has_rows_per_second && !c->has_batch_rows && !c->has_batch_bytes &&
           !c->has_age_ms;
}

static void tidy(struct sim *sim)
{
    for (uint32_t g = 0; g < sim->n_groups; g++) {
        struct sim_node *n = leader_of(sim, g);
        if (n != NULL && !sim_operators_tidy(group_state(n->seats[g].group))) {
            struct sim_command *c = command_create(sim, g, ADMIN_CONTROL);
            c->admin.reset = true;
            submit(c, n);
        }
    }
}

static void on_operator(struct sim_event *event)
{
    struct sim *sim = list_entry(event, struct sim, operator_);
    uint64_t in_us = TIDY_EVERY_US;
    if (sim->calm || sim->fair) {
        tidy(sim);
    } else {
        uint32_t group = (uint32_t)sim_random(&sim->clock, sim->n_groups);
        struct sim_node *n = leader_of(sim, group);
        if (n != NULL) {
            submit(draw(sim, group), n);
        }
        in_us = sim_between(&sim->clock, EVERY_MIN_US, EVERY_MAX_US);
    }
    sim_schedule(&sim->clock, &sim->operator_, NULL, in_us, on_operator);
}

void sim_operators_start(struct sim *sim)
{
    list_init(&sim->commands);
    if (sim->operated) {
        sim_schedule(&sim->clock, &sim->operator_, NULL, EVERY_MAX_US, on_operator);
    }
}

void sim_operators_deinit(struct sim *sim)
{
    sim_cancel(&sim->clock, &sim->operator_);
}
