/* The linker replaces each call of a function F from another file by one of __wrap_F (option --wrap), and
 * gives us the original as __real_F. The wrappers have no argument of ours, so the defect is a variable of
 * this file. */
#include "cluster-tests/sim/sim_defects.h"

#include "node/group_internal.h"
#include "node/state_internal.h"
#include "proto/base/check.h"

static enum sim_defect active;

const char *sim_defect_name(enum sim_defect defect)
{
    static const char *const names[SIM_DEFECTS] = {
        [SIM_NO_LEASE] = "lease",
        [SIM_SESSIONS_IGNORED] = "sessions-ignored",
        [SIM_REFUSALS_FORGOTTEN] = "refusals-forgotten",
        [SIM_LOCAL_EXPIRY] = "local-expiry",
        [SIM_LOADS_LIVE] = "loads-live",
        [SIM_CAPTURES_UNPROVED] = "captures-unproved",
        [SIM_REWIND_FORGETS] = "rewind-forgets",
        [SIM_TRIMS_AWAY] = "trims-away",
        [SIM_FRESH_UNPROVED] = "fresh-unproved",
    };
    return names[defect];
}

void sim_defect_set(enum sim_defect defect)
{
    active = defect;
}

void __real_loads_key_written(struct loads *l, struct bytes key);
void __wrap_loads_key_written(struct loads *l, struct bytes key);
void __wrap_loads_key_written(struct loads *l, struct bytes key)
{
    if (active != SIM_LOADS_LIVE) {
        __real_loads_key_written(l, key);
    }
}

enum evaluated __real_group_expire_if_due(struct group *g, struct bytes key, uint64_t stamp_ms);
enum evaluated __wrap_group_expire_if_due(struct group *g, struct bytes key, uint64_t stamp_ms);
enum evaluated __wrap_group_expire_if_due(struct group *g, struct bytes key, uint64_t stamp_ms)
{
    return active == SIM_LOCAL_EXPIRY ? EVALUATED : __real_group_expire_if_due(g, key, stamp_ms);
}

void __real_group_answer(struct group *g, struct group_request *r, enum status status, struct proposal *seen);
void __wrap_group_answer(struct group *g, struct group_request *r, enum status status, struct proposal *seen);
void __wrap_group_answer(struct group *g, struct group_request *r, enum status status, struct proposal *seen)
{
    __real_group_answer(g, r, status, seen);
    if (active == SIM_CAPTURES_UNPROVED && seen != NULL) {
        r->lease_proved = true; /* it waits in seen's list of readers */
    }
}

static void forget_batch(struct state *s, struct state_batch *b)
{
    list_for_each (link, tmp, &b->places) {
        struct state_entry *e = state_batch_entry(link);
        state_batch_leave(s, e);
        state_settle(s, e);
    }
}

bool __real_state_apply_rewind(struct state *s, uint64_t last_batch);
bool __wrap_state_apply_rewind(struct state *s, uint64_t last_batch);
bool __wrap_state_apply_rewind(struct state *s, uint64_t last_batch)
{
    if (active == SIM_REWIND_FORGETS && last_batch != s->last_batch) {
        list_for_each (link, tmp, &s->batches) {
            forget_batch(s, list_entry(link, struct state_batch, link));
        }
    }
    return __real_state_apply_rewind(s, last_batch);
}

void __real_state_apply_begin(struct state *s, uint64_t index, uint64_t stamp_ms);
void __wrap_state_apply_begin(struct state *s, uint64_t index, uint64_t stamp_ms);
void __wrap_state_apply_begin(struct state *s, uint64_t index, uint64_t stamp_ms)
{
    __real_state_apply_begin(s, index, stamp_ms);
    if (active == SIM_TRIMS_AWAY && s->retention_named) {
        state_trim(s);
    }
}

uint64_t __real_flush_session_turn(struct flush_session *s, const struct flush_view *view, uint64_t now_ms);
uint64_t __wrap_flush_session_turn(struct flush_session *s, const struct flush_view *view, uint64_t now_ms);
uint64_t __wrap_flush_session_turn(struct flush_session *s, const struct flush_view *view, uint64_t now_ms)
{
    struct flush_view seen = *view;
    seen.certain = seen.certain || active == SIM_FRESH_UNPROVED;
    return __real_flush_session_turn(s, &seen, now_ms);
}
