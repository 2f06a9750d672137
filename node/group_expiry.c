/* Keys whose time has come. In memory the leader finds them by the state's heap and proposes their deletion;
 * a row in the database whose key is not in memory is loaded, and then is one of those. */
#include "node/group_internal.h"
#include "proto/slot.h"

enum {
    EXPIRE_EVERY_MS = 10,
    EXPIRE_LOOKS = 2048, /* at due keys, in one turn */
    SWEEP_KEYS = 1000,
    SWEEP_LOADS_MAX = 4096, /* clients' misses come first */
    SWEEP_SOON_MS = 20,
    HEAP_DEPTH_MAX = 64,
};

/* Walk the due part of the heap, which is a tree at its top. */
static void expire_in_memory(struct group *g)
{
    uint64_t stamp_ms = group_stamp(g);
    const struct state_entry *first = state_next_expiring(&g->state);
    if (first == NULL) {
        return;
    }
    if (first->expires_at_ms > stamp_ms) {
        group_wake_at(g, g->now_ms + (first->expires_at_ms - stamp_ms));
        return;
    }
    if (g->now_ms < g->expire_at_ms) {
        group_wake_at(g, g->expire_at_ms);
        return;
    }
    g->expire_at_ms = g->now_ms + EXPIRE_EVERY_MS;
    group_wake_at(g, g->expire_at_ms);
    uint32_t todo[HEAP_DEPTH_MAX];
    unsigned n = 0, looks = 0;
    todo[n++] = 0;
    while (n > 0 && looks++ < EXPIRE_LOOKS) {
        uint32_t at = todo[--n];
        const struct state_entry *e = g->state.expiring[at];
        if (e->expires_at_ms > stamp_ms) {
            continue;
        }
        const struct pending_write *w = overlay_find(&g->overlay, state_entry_key(e));
        if (w == NULL && e->stale) {
            /* Perhaps it expires later by now, or not at all. */
            if (g->loads.n < SWEEP_LOADS_MAX) {
                loads_start(&g->loads, state_entry_key(e));
            }
        } else if (w == NULL) {
            bool more = !state_entry_dirty(e);
            if (more && group_over_budget(g, e->key_len, 1)) {
                return; /* later: readers do not see it any more anyway */
            }
            if (group_expire_key(g, state_entry_key(e)) == NO_ROOM) {
                return;
            }
        }
        for (uint32_t child = 2 * at + 2; child > 2 * at; child--) {
            if (child < g->state.expiring_n && n < HEAP_DEPTH_MAX) {
                todo[n++] = child;
            }
        }
    }
}

static void sweep_database(struct group *g)
{
    if (g->config.expiry_sweep_ms == 0 || g->expiry_sweeping) {
        return;
    }
    if (g->now_ms >= g->expiry_sweep_at_ms) {
        g->expiry_sweep_at_ms = g->now_ms + g->config.expiry_sweep_ms;
        if (g->loads.n < SWEEP_LOADS_MAX && !group_over_budget(g, 0, SWEEP_KEYS)) {
            g->expiry_sweeping = true;
            g->env.loader->find_expired(g->env.loader_data, 0, group_stamp(g), SWEEP_KEYS);
        }
    }
    group_wake_at(g, g->expiry_sweep_at_ms);
}

void group_drive_expiry(struct group *g)
{
    enum status status;
    const char *message;
    if (group_serves(g, &status, &message)) {
        expire_in_memory(g);
        sweep_database(g);
    }
}

/* Nothing is concluded from the keys alone: what has become of them meanwhile, the load tells. */
void group_expired_found(void *data, uint64_t token, const struct bytes *keys, uint32_t n)
{
    struct group *g = data;
    (void)token;
    g->expiry_sweeping = false;
    if (!g->gate_open) {
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (slot_group(slot_of(keys[i]), g->config.group_count) == g->config.group &&
            overlay_find(&g->overlay, keys[i]) == NULL && group_known(g, keys[i]) == NULL) {
            loads_start(&g->loads, keys[i]);
        }
    }
    if (n == SWEEP_KEYS) {
        g->expiry_sweep_at_ms = g->now_ms + SWEEP_SOON_MS;
    }
}
