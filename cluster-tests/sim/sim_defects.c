/* The linker replaces each call of a function F from another file by one of __wrap_F (option --wrap), and
 * gives us the original as __real_F. The wrappers have no argument of ours, so the defect is a variable of
 * this file. */
#include "cluster-tests/sim/sim_defects.h"

#include "node/group_internal.h"
#include "node/state_internal.h"
#include "proto/base/check.h"

static enum sim_defect active;
static unsigned
    split_writes; /* of the transaction that is being evaluated, so far, and one more; 0: none is */

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
        [SIM_TRANSACTIONS_SPLIT] = "transactions-split",
        [SIM_UNTIED] = "untied",
        [SIM_OVERTAKING] = "overtaking",
        [SIM_TOLD_REPLACED] = "told-replaced",
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

void __real_state_apply_tie(struct state *s, struct bytes key);
void __wrap_state_apply_tie(struct state *s, struct bytes key);
void __wrap_state_apply_tie(struct state *s, struct bytes key)
{
    if (active != SIM_UNTIED) {
        __real_state_apply_tie(s, key);
    }
}

enum evaluated __real_group_eval_transaction(struct group *g, struct group_request *r);
enum evaluated __wrap_group_eval_transaction(struct group *g, struct group_request *r);
enum evaluated __wrap_group_eval_transaction(struct group *g, struct group_request *r)
{
    split_writes = 1;
    enum evaluated evaluated = __real_group_eval_transaction(g, r);
    split_writes = 0;
    return evaluated;
}

struct pending_write *__real_overlay_add(struct overlay *o, struct bytes key, uint8_t type,
    struct value *value, uint64_t expires_at_ms, uint64_t conn_id);
struct pending_write *__wrap_overlay_add(struct overlay *o, struct bytes key, uint8_t type,
    struct value *value, uint64_t expires_at_ms, uint64_t conn_id);
struct pending_write *__wrap_overlay_add(struct overlay *o, struct bytes key, uint8_t type,
    struct value *value, uint64_t expires_at_ms, uint64_t conn_id)
{
    if (active == SIM_TRANSACTIONS_SPLIT && split_writes != 0 && split_writes++ > 1) {
        group_propose_open(list_entry(o, struct group, overlay));
    }
    return __real_overlay_add(o, key, type, value, expires_at_ms, conn_id);
}

bool __real_group_wait_misses(struct group *g, struct group_request *r);
bool __wrap_group_wait_misses(struct group *g, struct group_request *r);
bool __wrap_group_wait_misses(struct group *g, struct group_request *r)
{
    const uint64_t lone = UINT64_C(1) << 32; /* no other request is of that connection */
    uint64_t conn_id = r->conn_id;
    r->conn_id = active == SIM_OVERTAKING ? lone + r->number : conn_id;
    bool waits = __real_group_wait_misses(g, r);
    r->conn_id = conn_id;
    return waits;
}

enum evaluated __real_group_eval_read(struct group *g, struct group_request *r);
enum evaluated __wrap_group_eval_read(struct group *g, struct group_request *r);
enum evaluated __wrap_group_eval_read(struct group *g, struct group_request *r)
{
    struct pending_write *replaceable[LIMIT_REQUEST_KEYS];
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->n && active == SIM_TOLD_REPLACED; i++) {
        struct pending_write *w = overlay_find(&g->overlay, r->keys[i]);
        if (w != NULL && w->replaceable && w->proposal == g->overlay.open) {
            replaceable[n++] = w;
        }
    }
    const struct proposal *open = g->overlay.open;
    enum evaluated evaluated = __real_group_eval_read(g, r);
    for (uint32_t i = 0; i < n && g->overlay.open == open; i++) {
        replaceable[i]->replaceable = true;
    }
    return evaluated;
}
