/* The linker replaces each call of a function F from another file by one of __wrap_F (option --wrap), and
 * gives us the original as __real_F. The wrappers have no argument of ours, so the defect is a variable of
 * this file. */
#include "cluster-tests/sim/sim_defects.h"

#include "node/group_internal.h"
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
