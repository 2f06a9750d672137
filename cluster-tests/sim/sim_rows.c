/* Rows that the database refuses: by key, for a while or for good, always or by what is written. */
#include "cluster-tests/sim/sim.h"

enum {
    REFUSED_KEYS_MAX = 3,
    SOME_PERMILLE = 400, /* of the versions, where not all are refused */
    WHILE_MAX_US = 3000 * 1000
};

static unsigned key_number(const struct sim *sim, struct bytes name)
{
    unsigned k = 0;
    while (k < sim->n_keys && !bytes_equal(bytes_from_text(sim->history.keys[k].name), name)) {
        k++;
    }
    return k;
}

bool sim_rows_refused(void *data, const struct fake_write *write, struct fake_refusal *out)
{
    struct sim *sim = data;
    unsigned k = key_number(sim, write->key);
    if (k == sim->n_keys || sim->rules[k].until_us <= sim->clock.now_us) {
        return false;
    }
    const struct sim_rule *rule = &sim->rules[k];
    uint8_t version[8];
    store_le64(version, write->version);
    bool some = bytes_hash(bytes_of(version, sizeof version), k) % 1000 < SOME_PERMILLE;
    *out = rule->why;
    return rule->all || (!write->deleted && some);
}

void sim_rows_refuse(struct sim *sim)
{
    static const struct fake_refusal whys[] = {
        {FAKE_AT_STATEMENT, "23514", "new row violates check constraint"},
        {FAKE_AT_STATEMENT, "23502", "null value violates not-null constraint"},
        {FAKE_AT_STATEMENT, "P0001", "a trigger does not want it"},
        {FAKE_AT_COMMIT, "23503", "insert or update violates foreign key constraint"},
        {FAKE_COMMIT_ONLY, "23505", "duplicate key value violates unique constraint"},
    };
    struct sim_clock *c = &sim->clock;
    uint64_t keys = sim_chance(c, 100) ? sim->n_keys : sim_between(c, 1, REFUSED_KEYS_MAX);
    bool for_good = sim_chance(c, 200);
    uint64_t until_us = for_good ? UINT64_MAX : c->now_us + sim_between(c, 1000, WHILE_MAX_US);
    for (uint64_t i = 0; i < keys; i++) {
        struct sim_rule *rule = &sim->rules[sim_random(c, sim->n_keys)];
        *rule = (struct sim_rule){.until_us = until_us,
            .all = sim_chance(c, 600),
            .why = whys[sim_random(c, sizeof whys / sizeof *whys)]};
    }
    sim_trace(sim, "database: refuses rows of up to %llu keys%s", (unsigned long long)keys,
        for_good ? ", for good" : "");
}

void sim_rows_repair(struct sim *sim)
{
    for (unsigned k = 0; k < sim->n_keys; k++) {
        sim->rules[k].until_us = 0;
    }
    sim->repaired = true;
}
