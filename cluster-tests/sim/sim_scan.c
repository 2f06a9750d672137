/* Scans: what was in the node's memory at each of its requests must be given. (Only of a stale scan is it
 * known what that was: it is answered as soon as the node has looked.) */
#include <stdlib.h>
#include <string.h>

#include "cluster-tests/sim/sim.h"
#include "proto/base/alloc.h"

enum { LOOKS_MAX = 8, SIM_NO_KEY = SIM_KEYS_MAX };

static struct sim_scan *scan_create(struct sim_client *c, uint32_t group, unsigned node)
{
    static const char *const prefixes[] = {"", "", "key", "key1"};
    struct sim *sim = c->sim;
    struct sim_scan *scan = xmalloc(sizeof *scan);
    *scan = (struct sim_scan){.node = node,
        .life = sim->nodes[node].life,
        .group = group,
        .stale = sim_chance(&sim->clock, 700),
        .prefix = prefixes[sim_random(&sim->clock, sizeof prefixes / sizeof *prefixes)],
        .looks = (uint32_t)sim_between(&sim->clock, 1, LOOKS_MAX),
        .present = UINT32_MAX};
    return scan;
}

struct sim_op *sim_scan_step(struct sim_client *c, unsigned *node)
{
    struct sim *sim = c->sim;
    unsigned key = (unsigned)sim_random(&sim->clock, sim->n_keys);
    if (c->scanning) {
        return NULL;
    }
    if (c->scan == NULL) {
        c->scan = scan_create(c, sim->history.keys[key].group, *node);
    }
    while (sim->history.keys[key].group != c->scan->group) {
        key = (key + 1) % sim->n_keys;
    }
    c->scanning = true;
    *node = c->scan->node;
    struct sim_op *op = sim_op_create(sim, SIM_SCAN, &key, 1);
    op->stale = c->scan->stale;
    op->scan = c->scan;
    return op;
}

static bool has_prefix(struct bytes key, const char *prefix)
{
    size_t len = strlen(prefix);
    return key.len >= len && memcmp(key.data, prefix, len) == 0;
}

void sim_scan_seen(struct sim_try *t)
{
    struct sim *sim = t->op->sim;
    struct sim_scan *scan = t->op->scan;
    if (t->op->resolved) {
        return; /* it was given up */
    }
    const struct state *state = group_state(sim->nodes[t->node].seats[scan->group].group);
    uint32_t present = 0;
    for (unsigned k = 0; k < sim->n_keys; k++) {
        struct bytes name = bytes_from_text(sim->history.keys[k].name);
        const struct state_entry *e = state_find(state, name);
        bool there = state_entry_present(e) && (e->expires_at_ms == 0 || e->expires_at_ms > state->stamp_ms);
        present |= (uint32_t)(there && has_prefix(name, scan->prefix)) << k;
    }
    scan->present &= scan->stale ? present : 0;
}

static unsigned key_number(const struct sim *sim, struct bytes name)
{
    for (unsigned k = 0; k < sim->n_keys; k++) {
        if (bytes_equal(bytes_from_text(sim->history.keys[k].name), name)) {
            return k;
        }
    }
    return SIM_NO_KEY;
}

static bool ever_there(const struct sim_key *key)
{
    for (size_t i = 0; i < key->n; i++) {
        if (key->records[i].value != NULL) {
            return true;
        }
    }
    return false;
}

uint32_t sim_scan_judge(struct sim_try *t)
{
    struct sim_op *op = t->op;
    struct sim_history *h = &op->sim->history;
    struct bytes keys = buf_bytes(&t->scan.keys);
    uint32_t given = 0;
    for (size_t at = 0; at < keys.len;) {
        uint32_t len = load_le32(keys.data + at);
        unsigned k = key_number(op->sim, bytes_of(keys.data + at + 4, len));
        at += 4 + (size_t)len;
        if (k == SIM_NO_KEY || h->keys[k].group != op->group || !ever_there(&h->keys[k])) {
            sim_history_fail(h, "a scan of group %u gave a key that it never had", (unsigned)op->group);
            return given;
        }
        if (!has_prefix(bytes_from_text(h->keys[k].name), t->prefix)) {
            sim_history_fail(h, "a scan for '%s' gave %s", t->prefix, h->keys[k].name);
        }
        if (!op->stale) {
            sim_history_exists(h, k, &op->befores[k], true);
        }
        given |= UINT32_C(1) << k;
    }
    return given;
}

static void end(struct sim_client *c)
{
    free(c->scan);
    c->scan = NULL;
}

void sim_scan_answered(struct sim_op *op, const struct sim_try *t)
{
    struct sim *sim = op->sim;
    struct sim_client *c = op->client;
    struct sim_scan *scan = c->scan;
    c->scanning = false;
    op->scan = NULL;
    if (t == NULL || sim->nodes[scan->node].life != scan->life) {
        end(c);
        return;
    }
    scan->given |= t->given;
    scan->cursor = t->scan.cursor;
    if (scan->cursor != 0) {
        return;
    }
    uint32_t missing = scan->present & ~scan->given;
    for (unsigned k = 0; k < sim->n_keys; k++) {
        if ((missing >> k & 1) != 0 && sim->history.keys[k].group == scan->group) {
            sim_history_fail(&sim->history,
                "a scan of node %u did not give %s, which was there from the first request to the last",
                scan->node, sim->history.keys[k].name);
        }
    }
    sim->result->scans++;
    end(c);
}
