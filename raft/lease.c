#include "raft/lease.h"

enum { LEASE_MARGIN_PERCENT = 10 };

void lease_init(struct lease *l, unsigned election_timeout_ms, uint64_t not_before_ms)
{
    *l = (struct lease){
        .duration_ms = election_timeout_ms - (uint64_t)election_timeout_ms * LEASE_MARGIN_PERCENT / 100,
        .not_before_ms = not_before_ms,
    };
}

void lease_renew(struct lease *l, uint64_t proposed_ms)
{
    if (proposed_ms <= l->void_since_ms) {
        return;
    }
    uint64_t until_ms = proposed_ms + l->duration_ms;
    if (until_ms > l->until_ms) {
        l->until_ms = until_ms;
    }
}

void lease_void(struct lease *l, uint64_t now_ms)
{
    l->until_ms = 0;
    l->void_since_ms = now_ms;
}

bool lease_valid(const struct lease *l, uint64_t now_ms)
{
    return now_ms >= l->not_before_ms && now_ms < l->until_ms;
}
