/* The leader's read lease. Pure.
 * lease = (time before the entry was proposed) + election timeout - margin, renewed by each entry that was
 * proposed and committed in this term. It holds because any next leader must hold that entry, so it heard of
 * it after the proposal, and cannot campaign for an election timeout from then on. Void from just before a
 * leadership transfer on, and renewed afterwards only by entries proposed later. */
#ifndef WB_RAFT_LEASE_H
#define WB_RAFT_LEASE_H

#include <stdbool.h>
#include <stdint.h>

struct lease {
    uint64_t duration_ms;   /* election timeout less a margin of 10 % */
    uint64_t not_before_ms; /* no lease until one election timeout after the process start */
    uint64_t until_ms;      /* 0: none */
    uint64_t void_since_ms; /* entries proposed at or before this renew nothing */
};

void lease_init(struct lease *l, unsigned election_timeout_ms, uint64_t not_before_ms);
/* An entry proposed at @proposed_ms in the current term has been committed in it. */
void lease_renew(struct lease *l, uint64_t proposed_ms);
/* Leadership is lost or about to be handed over. */
void lease_void(struct lease *l, uint64_t now_ms);
bool lease_valid(const struct lease *l, uint64_t now_ms);

#endif
