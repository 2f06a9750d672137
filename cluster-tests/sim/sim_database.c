/* What the log says of the database, against what is there.
 *
 * Of each key the state says which of its writes the database has: all before its oldest dirty one, or all.
 * That must be true of the database in which the log's last batch is; the flushed index follows from it. When
 * another database is there, which does not have that batch, nothing can be said until the log has heard of
 * it (REWIND). What is missing then for good must have been counted. */
#include <inttypes.h>

#include "cluster-tests/sim/sim_history.h"
#include "proto/pb.h"

/* ---- What is there ---- */

static const struct fake_fence *fence_of(const struct sim_history *h, uint32_t group)
{
    return h->db == NULL ? NULL : &h->db->content.fences[group];
}

static void check_written(
    struct sim_history *h, const struct fake_commit *commit, const struct fake_write *w, struct sim_key *key)
{
    const struct sim_record *expected = sim_history_newest_before(key, commit->batch);
    if (key->group != commit->group || expected == NULL) {
        sim_history_fail(
            h, "batch %" PRIu64 " has %s, which was not written before it", commit->batch, key->name);
        return;
    }
    bool equal = w->deleted ? expected->value == NULL
                            : expected->value != NULL && expected->version == w->version &&
                                  expected->type == w->type && expected->expires_at_ms == w->expires_at_ms &&
                                  value_same(w->type, value_bytes(expected->value), w->value);
    if (!equal) {
        sim_history_fail(
            h, "batch %" PRIu64 " has not the value that %s had when it began", commit->batch, key->name);
    }
    if (expected->version < key->db_version) {
        sim_history_fail(h,
            "%s goes back in the database, from version %" PRIu64 " to %" PRIu64 " (batch %" PRIu64 ")",
            key->name, key->db_version, expected->version, commit->batch);
    }
    key->db_version = expected->version;
    key->db_most = expected->version > key->db_most ? expected->version : key->db_most;
    key->batch = commit->batch;
    key->batch_stamp_ms = 0; /* until the log says it */
}

void sim_history_commit(struct sim_history *h, const struct fake_commit *commit)
{
    for (size_t i = 0; i < commit->n; i++) {
        struct sim_key *key = sim_history_key(h, commit->writes[i].key);
        if (key == NULL) {
            sim_history_fail(h, "batch %" PRIu64 " has a key that nobody ever wrote", commit->batch);
            return;
        }
        check_written(h, commit, &commit->writes[i], key);
        h->flushed_rows++;
    }
    for (size_t i = 0; i < commit->n_refused; i++) {
        const struct sim_key *key = sim_history_key(h, commit->refused[i].key);
        if (key != NULL && key->refused_batch < commit->batch) {
            sim_history_fail(h,
                "batch %" PRIu64
                " commits without %s, which the database refused, and the log has not heard of it",
                commit->batch, key->name);
        }
    }
}

void sim_history_database(const struct sim_history *h, uint64_t *versions)
{
    for (unsigned k = 0; k < h->n_keys; k++) {
        versions[k] = h->keys[k].db_version;
    }
}

void sim_history_travelled(struct sim_history *h, const uint64_t *versions)
{
    h->travelled = true;
    for (unsigned k = 0; k < h->n_keys; k++) {
        h->keys[k].db_version = versions[k];
    }
    for (unsigned g = 0; h->db != NULL && g < SIM_GROUPS_MAX; g++) {
        h->groups[g].fresh_us = h->db->content.fences[g].fresh_as_of_us;
        h->groups[g].travel_index = h->groups[g].newest + 1;
    }
}

/* ---- fresh_as_of ---- */

/* The newest write of which somebody was told before @time_us, or NULL. */
static const struct sim_record *newest_told(const struct sim_key *key, int64_t time_us)
{
    for (size_t i = key->n; i > 0; i--) {
        const struct sim_record *r = &key->records[i - 1];
        if (r->told_us != 0 && r->told_us < time_us) {
            return r;
        }
    }
    return NULL;
}

static struct bytes database_value(const struct sim_key *key)
{
    const struct sim_record *r = sim_history_version(key, key->db_version);
    return r == NULL || r->value == NULL ? bytes_of(NULL, 0) : value_bytes(r->value);
}

static bool may_be_torn(const struct sim_group_history *g, const struct sim_key *key,
    const struct sim_key *partner, uint64_t batch)
{
    return key->quarantine_index > key->whole_index || partner->quarantine_index > key->whole_index ||
           g->travel_index >= key->whole_index || g->cut_batch > key->whole_index || g->cut_batch == batch;
}

unsigned sim_history_torn(struct sim_history *h, const struct fake_commit *commit)
{
    const struct sim_group_history *g = &h->groups[commit->group];
    unsigned torn = 0;
    for (unsigned k = 0; k + 1 < h->n_keys; k += 2) {
        struct sim_key *key = &h->keys[k];
        if (key->kind != SIM_PURSE || key->group != commit->group) {
            continue;
        }
        const struct sim_key *partner = &h->keys[sim_history_partner(h, k)];
        if (sim_purses_match(database_value(key), database_value(partner))) {
            key->whole_index = g->newest;
            continue;
        }
        torn++;
        if (!may_be_torn(g, key, partner, commit->batch)) {
            sim_history_fail(h, "batch %" PRIu64 " commits half of a move between %s and %s", commit->batch,
                key->name, partner->name);
        }
    }
    return torn;
}

void sim_history_changed(struct sim_history *h, uint32_t group)
{
    const struct fake_fence *fence = fence_of(h, group);
    struct sim_group_history *g = &h->groups[group];
    uint64_t missing = 0;
    if (fence->fresh_as_of_us < g->fresh_us) {
        sim_history_fail(h, "group %" PRIu32 ": fresh_as_of goes back, from %" PRId64 " to %" PRId64, group,
            g->fresh_us, fence->fresh_as_of_us);
    }
    g->fresh_us = fence->fresh_as_of_us;
    if (fence->fresh_as_of_us > fake_db_clock_us(h->db)) {
        sim_history_fail(h, "group %" PRIu32 ": fresh_as_of is in the future", group);
    }
    for (unsigned k = 0; k < h->n_keys && !fence->recovering; k++) {
        const struct sim_key *key = &h->keys[k];
        const struct sim_record *r = key->group == group ? newest_told(key, fence->fresh_as_of_us) : NULL;
        if (r == NULL || key->db_version >= r->version || key->excused >= r->version) {
            continue;
        }
        if (!key->quarantined) {
            sim_history_fail(h,
                "%s: fresh_as_of is %" PRId64 ", but version %" PRIu64
                ", of which somebody was told at %" PRId64
                ", is not in the database, which has version %" PRIu64,
                key->name, fence->fresh_as_of_us, r->version, r->told_us, key->db_version);
        }
        missing++;
    }
    if (missing > fence->quarantined) {
        sim_history_fail(h,
            "group %" PRIu32 ": the database says that %" PRIu64
            " rows are in quarantine, but it lacks %" PRIu64,
            group, fence->quarantined, missing);
    }
}

/* ---- What the log says ---- */

static uint64_t least(uint64_t a, uint64_t b)
{
    return b != 0 && b < a ? b : a;
}

/* The newest write of @key that the state says the database has, if it is not there and nothing excuses that.
 */
static const struct sim_record *missing(const struct sim_key *key, const struct state *state)
{
    const struct state_entry *e = state_find(state, bytes_from_text(key->name));
    uint64_t first_dirty = UINT64_MAX;
    if (e != NULL && e->quarantine != NULL) {
        return NULL; /* whatever it lacks of this key, the key is named */
    }
    if (e != NULL) {
        first_dirty = least(least(first_dirty, e->queued.first_dirty), e->batched.first_dirty);
    }
    const struct sim_record *r = sim_history_newest_before(key, first_dirty);
    return r != NULL && r->version > key->db_version && r->version > key->excused ? r : NULL;
}

static void check_keys(struct sim_history *h, uint32_t group, const struct state *state)
{
    uint64_t flushed_index = state_flushed_index(state);
    for (unsigned k = 0; k < h->n_keys; k++) {
        const struct sim_key *key = &h->keys[k];
        const struct sim_record *r = key->group == group ? missing(key, state) : NULL;
        if (r != NULL) {
            sim_history_fail(h,
                "group %" PRIu32 " says that all of %s up to %" PRIu64 " is flushed, and F is %" PRIu64
                ", but it was written at %" PRIu64 " as version %" PRIu64
                " and the database has version %" PRIu64,
                group, key->name, r->index, flushed_index, r->index, r->version, key->db_version);
        }
        r = key->group == group && !key->quarantined ? sim_history_newest_before(key, flushed_index + 1)
                                                     : NULL;
        if (r != NULL && r->version > key->db_version && r->version > key->excused) {
            sim_history_fail(h,
                "group %" PRIu32 " says that all up to %" PRIu64 " is flushed, but %s was written at %" PRIu64
                " as version %" PRIu64 " and the database has version %" PRIu64,
                group, flushed_index, key->name, r->index, r->version, key->db_version);
        }
    }
}

/* Which keys are in quarantine? Those that left it without being written, by a drop, are given up. */
static void see_quarantine(struct sim_history *h, uint32_t group, uint64_t index, const Wblog__Entry *entry,
    const struct state *state)
{
    struct sim_group_history *g = &h->groups[group];
    for (unsigned k = 0; k < h->n_keys; k++) {
        struct sim_key *key = &h->keys[k];
        if (key->group != group) {
            continue;
        }
        const struct state_entry *e = state_find(state, bytes_from_text(key->name));
        bool now = e != NULL && e->quarantine != NULL;
        bool dropped = key->quarantined && !now &&
                       entry->command_case == WBLOG__ENTRY__COMMAND_QUARANTINE_DROP &&
                       bytes_equal(pb_bytes(entry->quarantine_drop->key), bytes_from_text(key->name));
        if (dropped) {
            key->excused = sim_history_newest_before(key, UINT64_MAX)->version;
            key->lost = true;
            g->drops++;
        }
        g->quarantines += now && !key->quarantined;
        key->quarantine_index = now || key->quarantined ? index : key->quarantine_index;
        key->quarantined = now;
    }
}

unsigned sim_history_quarantine_size(const struct sim_history *h, uint32_t group)
{
    unsigned n = 0;
    for (unsigned k = 0; k < h->n_keys; k++) {
        n += h->keys[k].group == group && h->keys[k].quarantined;
    }
    return n;
}

static void see_faults(struct sim_history *h, const Wblog__Quarantine *quarantine)
{
    for (size_t i = 0; i < quarantine->n_faults; i++) {
        struct sim_key *key = sim_history_key(h, pb_bytes(quarantine->faults[i]->key));
        if (key == NULL) {
            sim_history_fail(h, "a key is put in quarantine that nobody ever wrote");
        } else if (quarantine->batch > key->refused_batch) {
            key->refused_batch = quarantine->batch;
        }
    }
}

static void see_flushed(
    struct sim_history *h, uint32_t group, const Wblog__Entry *entry, const struct state *state)
{
    struct sim_group_history *g = &h->groups[group];
    if (state->last_batch == g->last_batch) {
        return; /* ignored */
    }
    g->batch_stamp_ms = state->stamp_ms;
    for (unsigned k = 0; k < h->n_keys; k++) {
        struct sim_key *key = &h->keys[k];
        if (key->group == group && key->batch == entry->flushed->batch) {
            key->batch_stamp_ms = state->stamp_ms;
        }
    }
}

static bool each_was_written_once(const struct sim_history *h, uint32_t group)
{
    for (unsigned k = 0; k < h->n_keys; k++) {
        if (h->keys[k].group == group && h->keys[k].n > 1) {
            return false;
        }
    }
    return true;
}

/* It is not written again, so it must have been in the database for longer than anything is remembered. */
static void check_forgotten(struct sim_history *h, const struct sim_key *key, const struct state *state)
{
    const struct sim_group_history *g = &h->groups[key->group];
    if (h->retention_is_by_time && state->retention_named && key->batch_stamp_ms != 0 &&
        key->batch_stamp_ms + state->retention_ms >= g->batch_stamp_ms) {
        sim_history_fail(h,
            "%s: the database went back, and it is not written again, though it was flushed at %" PRIu64
            ", the last batch at %" PRIu64 ", and %" PRIu64 " ms are remembered",
            key->name, key->batch_stamp_ms, g->batch_stamp_ms, state->retention_ms);
    }
}

/* What is missing for good must be counted. @first: nothing was written twice yet. */
static void judge_losses(struct sim_history *h, uint32_t group, const struct state *state, bool first)
{
    struct sim_group_history *g = &h->groups[group];
    uint64_t counted = g->lost_unjudged, gone = 0;
    for (unsigned k = 0; k < h->n_keys; k++) {
        struct sim_key *key = &h->keys[k];
        const struct sim_record *r = key->group == group ? missing(key, state) : NULL;
        if (r != NULL) {
            check_forgotten(h, key, state);
            key->excused = r->version;
            key->lost = true;
            gone++;
        }
    }
    if (counted < gone || (first && counted != gone && each_was_written_once(h, group))) {
        sim_history_fail(h,
            "group %" PRIu32 ": the database went back to batch %" PRIu64 "; %" PRIu64
            " rows are counted as lost, but %" PRIu64 " are",
            group, state->last_batch, counted, gone);
    }
    g->losses += gone;
    g->lost_unjudged = 0;
    g->judge_later = false;
}

/* The log has heard that the database is another one. If that is yet another one by now, a standby perhaps,
 * what is missing is seen when it is that one again. */
static void see_rewind(struct sim_history *h, uint32_t group, const struct state *state)
{
    struct sim_group_history *g = &h->groups[group];
    const struct fake_fence *fence = fence_of(h, group);
    if (!h->travelled) {
        sim_history_fail(h,
            "group %" PRIu32 ": the log says that the database is at batch %" PRIu64
            " after all, but it never was another one",
            group, state->last_batch);
    }
    g->lost_unjudged += state->lost - g->lost;
    g->judge_later = fence == NULL || !fake_fence_has(fence, state->last_batch);
    if (!g->judge_later) {
        /* What was written again after the first time was written twice. */
        judge_losses(h, group, state, !g->rewound && fence->last_batch == state->last_batch);
    }
    g->rewound = true;
}

/* The flushed index goes back only when the database did. */
static void check_flushed_index(
    struct sim_history *h, uint32_t group, uint64_t index, const struct state *state)
{
    struct sim_group_history *g = &h->groups[group];
    uint64_t flushed_index = state_flushed_index(state);
    if (flushed_index < g->flushed_index && state->rewinds == g->rewinds) {
        sim_history_fail(h,
            "group %" PRIu32 ": the flushed index went back from %" PRIu64 " to %" PRIu64 " at %" PRIu64,
            group, g->flushed_index, flushed_index, index);
    }
    if (flushed_index < g->flushed_index && !state_recovering(state)) {
        sim_history_fail(h,
            "group %" PRIu32 ": the flushed index went back from %" PRIu64 " to %" PRIu64 " at %" PRIu64
            ", and it does not say that it is recovering",
            group, g->flushed_index, flushed_index, index);
    }
    g->flushed_index = flushed_index;
}

void sim_history_says(struct sim_history *h, uint32_t group, uint64_t index, const Wblog__Entry *entry,
    const struct state *state)
{
    struct sim_group_history *g = &h->groups[group];
    const struct fake_fence *fence = fence_of(h, group);
    see_quarantine(h, group, index, entry, state);
    if (state_recovering(state)) {
        g->travel_index = index;
    }
    if (entry->command_case == WBLOG__ENTRY__COMMAND_QUARANTINE) {
        see_faults(h, entry->quarantine);
    } else if (entry->command_case == WBLOG__ENTRY__COMMAND_FLUSHED) {
        see_flushed(h, group, entry, state);
    } else if (entry->command_case == WBLOG__ENTRY__COMMAND_FLUSH_BEGIN && entry->flush_begin->cut) {
        g->cut_batch = index;
    } else if (entry->command_case == WBLOG__ENTRY__COMMAND_REWIND && state->last_batch != g->last_batch) {
        see_rewind(h, group, state);
    }
    check_flushed_index(h, group, index, state);
    g->last_batch = state->last_batch;
    g->rewinds = state->rewinds;
    g->lost = state->lost;
    if (g->judge_later && fence != NULL && fake_fence_has(fence, state->last_batch)) {
        judge_losses(h, group, state, false);
    }
    if (fence == NULL || fake_fence_has(fence, state->last_batch)) {
        check_keys(h, group, state);
    }
}
