/* The life of an office, which is this replica's leadership of one term:
 *
 *   CLOSED --(we lead a term: propose a barrier)--> OPENING --(it applied)--> OPEN
 *      ^                                               |                        |
 *      +----------(leadership, term or log lost; or handed over)----------------+
 *
 * What we propose is kept in order in `inflight` until its index applied. No callback of libraft's is used
 * for that: they only come from its own libuv backend, and matching by index while the office is unbroken
 * says the same. An office is unbroken if we have been the leader of its term ever since: then what lies at
 * an index is what we put there. `lost` is set by the step callback, which sees each single step: a role that
 * changed and changed back between two polls would otherwise go unnoticed. */
#include "raft/replica_private.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/limits.h"

_Noreturn void replica_fatal(struct replica *r, const char *what, int rv)
{
    log_error(r->config.logger, "raft-failed",
        "group=%" PRIu32 " call=%s status=%d error=\"%s\" detail=\"%s\"", r->config.group, what, rv,
        raft_strerror(rv), raft_errmsg(&r->raft));
    abort();
}

uint64_t replica_now_ms(const struct replica *r)
{
    return r->config.now_ms(r->config.now_data);
}

static bool leads_term(struct replica *r, uint64_t term)
{
    return raft_state(&r->raft) == RAFT_LEADER && raft_current_term(&r->raft) == term;
}

/* Have we led the office's term without a break? */
static bool office_unbroken(struct replica *r)
{
    struct replica_private *p = r->p;
    return p->gate != GATE_CLOSED && !p->lost && !p->closing && leads_term(r, p->term);
}

/* ---- The office ---- */

/* When leadership is lost the library drops all pending requests before anyone can see the new state, so
 * their memory is ours again here. While we still lead, the gate closes only with nothing in flight. */
static void forget_inflight(struct replica *r)
{
    for (struct list *node; (node = list_pop_front(&r->p->inflight)) != NULL;) {
        free(list_entry(node, struct inflight, link));
    }
}

void replica_gate_close(struct replica *r)
{
    struct replica_private *p = r->p;
    bool was_open = p->gate == GATE_OPEN;
    p->gate = GATE_CLOSED;
    p->lost = false;
    lease_void(&r->lease, replica_now_ms(r));
    forget_inflight(r);
    if (was_open) {
        log_info(
            r->config.logger, "gate-closed", "group=%" PRIu32 " term=%" PRIu64, r->config.group, p->term);
        r->ops->gate_close(r->data);
    }
}

/* Submit the request in @item, which raft_apply or raft_barrier just took (@rv 0) or refused. */
static enum status submitted(struct replica *r, struct inflight *item, const char *what, int rv)
{
    switch (rv) {
    case 0:
        list_push_back(&r->p->inflight, &item->link);
        return STATUS_OK;
    case RAFT_NOTLEADER:
        free(item);
        return STATUS_NOT_LEADER;
    case RAFT_NOSPACE:
        free(item);
        return STATUS_NO_SPACE;
    default: /* the library's log and its record of terms may disagree now: it must not take another step */
        replica_fatal(r, what, rv);
    }
}

static struct inflight *inflight_create(struct replica *r, enum inflight_kind kind, uint64_t token)
{
    struct inflight *item = xcalloc(1, sizeof *item);
    item->kind = kind;
    item->token = token;
    item->proposed_ms = replica_now_ms(r); /* before the proposal: the lease counts from here */
    return item;
}

static enum status submit_barrier(struct replica *r, enum inflight_kind kind, uint64_t token)
{
    struct inflight *item = inflight_create(r, kind, token);
    item->index = raft_last_index(&r->raft) + 1;
    int rv = raft_barrier(&r->raft, &item->req.barrier, NULL);
    return submitted(r, item, "raft_barrier", rv);
}

static void gate_begin_opening(struct replica *r)
{
    struct replica_private *p = r->p;
    p->gate = GATE_OPENING;
    p->term = raft_current_term(&r->raft);
    p->lost = false;
    if (submit_barrier(r, INFLIGHT_GATE_BARRIER, 0) != STATUS_OK) {
        p->gate = GATE_CLOSED; /* a transfer is ending: the next poll tries again */
    }
}

static void inflight_applied(struct replica *r, struct inflight *item)
{
    lease_renew(&r->lease, item->proposed_ms);
    switch (item->kind) {
    case INFLIGHT_COMMAND:
        break;
    case INFLIGHT_GATE_BARRIER:
        r->p->gate = GATE_OPEN;
        log_info(
            r->config.logger, "gate-open", "group=%" PRIu32 " term=%" PRIu64, r->config.group, r->p->term);
        r->ops->gate_open(r->data, r->p->term);
        break;
    case INFLIGHT_BARRIER:
        r->ops->barrier_done(r->data, item->token);
        break;
    }
}

/* Take what has applied out of `inflight`. Only in an unbroken office. */
static void settle(struct replica *r)
{
    struct replica_private *p = r->p;
    uint64_t applied = raft_last_applied(&r->raft);
    while (!list_empty(&p->inflight)) {
        struct inflight *item = list_entry(p->inflight.next, struct inflight, link);
        if (item->index > applied) {
            return;
        }
        list_remove(&item->link);
        inflight_applied(r, item);
        free(item);
    }
}

void replica_step_cb(struct raft *raft)
{
    struct replica *r = raft->data;
    if (r->p->gate != GATE_CLOSED && !leads_term(r, r->p->term)) {
        r->p->lost = true;
    }
}

/* ---- Transfer ---- */

static void transfer_send(struct replica *r)
{
    struct replica_private *p = r->p;
    /* Void before the library is told: the target may win without waiting for an election timeout. */
    lease_void(&r->lease, replica_now_ms(r));
    int rv = raft_transfer(&r->raft, &p->transfer_req, p->target_id, NULL);
    if (rv != 0) {
        log_warn(r->config.logger, "transfer-refused", "group=%" PRIu32 " to=%" PRIu64 " error=\"%s\"",
            r->config.group, p->target_id, raft_strerror(rv));
        p->transfer = TRANSFER_NONE;
        return;
    }
    log_info(r->config.logger, "transfer", "group=%" PRIu32 " term=%" PRIu64 " to=%" PRIu64, r->config.group,
        p->term, p->target_id);
    p->transfer = TRANSFER_SENT;
    replica_gate_close(r);
}

/* The library tells the target as soon as that caught up with what it was last sent, the target ignores it
 * unless its log ends where ours does, and it is told only once. So we wait ourselves. */
static bool target_caught_up(struct replica *r)
{
    return replica_match_index(r, r->p->target_id) == raft_last_index(&r->raft);
}

static void transfer_poll(struct replica *r)
{
    struct replica_private *p = r->p;
    switch (p->transfer) {
    case TRANSFER_NONE:
        return;
    case TRANSFER_DRAINING:
        if (!office_unbroken(r)) {
            p->transfer = TRANSFER_NONE;
        } else if (list_empty(&p->inflight) && target_caught_up(r)) {
            transfer_send(r);
        } else if (replica_now_ms(r) >= p->drain_until_ms) {
            log_warn(r->config.logger, "transfer-given-up",
                "group=%" PRIu32 " reason=\"the entries under way or the target did not get ready in time\"",
                r->config.group);
            p->transfer = TRANSFER_NONE;
        }
        return;
    case TRANSFER_SENT: /* the library forgets the request when a new leader is known, or it gave up */
        if (r->raft.transfer == NULL) {
            p->transfer = TRANSFER_NONE;
        }
        return;
    }
}

static bool is_other_voter(const struct replica *r, const struct raft_server *server)
{
    return server->id != r->config.node_id && server->role == RAFT_VOTER;
}

/* The other voter @node_id, or, for 0, the one that holds most of the log; 0 if there is none. */
static uint64_t choose_target(struct replica *r, uint64_t node_id)
{
    uint64_t best = 0;
    uint64_t best_match = 0;
    for (unsigned i = 0; i < r->raft.configuration.n; i++) {
        const struct raft_server *server = &r->raft.configuration.servers[i];
        if (!is_other_voter(r, server) || (node_id != 0 && server->id != node_id)) {
            continue;
        }
        uint64_t match = replica_match_index(r, server->id);
        if (best == 0 || match > best_match) {
            best = server->id;
            best_match = match;
        }
    }
    return best;
}

enum status replica_transfer(struct replica *r, uint64_t node_id)
{
    struct replica_private *p = r->p;
    if (p->gate != GATE_OPEN || !office_unbroken(r)) {
        return STATUS_NOT_LEADER;
    }
    if (p->transfer != TRANSFER_NONE) {
        return STATUS_UNAVAILABLE;
    }
    uint64_t target_id = choose_target(r, node_id);
    if (target_id == 0) {
        return STATUS_INVALID;
    }
    p->transfer = TRANSFER_DRAINING;
    p->target_id = target_id;
    p->drain_until_ms = replica_now_ms(r) + r->config.election_timeout_ms;
    return STATUS_OK;
}

bool replica_transferring(const struct replica *r)
{
    return r->p->transfer != TRANSFER_NONE;
}

/* ---- Poll ---- */

static void log_role(struct replica *r)
{
    struct replica_private *p = r->p;
    struct replica_info info;
    replica_info(r, &info);
    int state = (int)raft_state(&r->raft);
    if (state == p->seen_state && info.term == p->seen_term && info.leader_id == p->seen_leader) {
        return;
    }
    p->seen_state = state;
    p->seen_term = info.term;
    p->seen_leader = info.leader_id;
    log_info(r->config.logger, "role",
        "group=%" PRIu32 " role=%s term=%" PRIu64 " leader=%" PRIu64 " last=%" PRIu64 " applied=%" PRIu64,
        r->config.group, info.role, info.term, info.leader_id, info.last_index, info.applied_index);
}

/* While we lead certainly, we are in contact with the leader. */
static void note_own_lead(struct replica *r)
{
    if (replica_lease_valid(r)) {
        r->p->contact_ms = r->raft.io->time(r->raft.io);
    }
}

uint64_t replica_contact_age_ms(struct replica *r)
{
    note_own_lead(r);
    raft_time now_ms = r->raft.io->time(r->raft.io);
    raft_time since_ms = r->p->contact_ms != 0 ? r->p->contact_ms : r->p->start_ms;
    return now_ms > since_ms ? now_ms - since_ms : 0;
}

void replica_poll(struct replica *r)
{
    struct replica_private *p = r->p;
    if (!p->started || p->closing) {
        return;
    }
    log_role(r);
    note_own_lead(r);
    replica_snapshot_check_due(r);
    if (p->gate != GATE_CLOSED) {
        if (office_unbroken(r)) {
            settle(r);
        } else {
            replica_gate_close(r);
        }
    }
    transfer_poll(r);
    if (p->gate == GATE_CLOSED && p->transfer == TRANSFER_NONE && raft_state(&r->raft) == RAFT_LEADER &&
        raft_transferee(&r->raft) == 0) {
        gate_begin_opening(r);
    }
}

/* ---- Calls while it runs ---- */

static enum status propose(struct replica *r, struct bytes entry, bool needs_space, uint64_t *index_out)
{
    struct replica_private *p = r->p;
    /* Any other length would be refused only after the library counted the entry as appended. */
    CHECK(entry.len > 0 && entry.len % 8 == 0 && entry.len <= LIMIT_ENTRY_BYTES);
    if (p->gate != GATE_OPEN || !office_unbroken(r) || p->transfer != TRANSFER_NONE) {
        return STATUS_NOT_LEADER;
    }
    if (p->disk_low && needs_space) {
        return STATUS_NO_SPACE;
    }
    struct raft_buffer buf = {.base = raft_malloc(entry.len), .len = entry.len};
    CHECK(buf.base != NULL);
    memcpy(buf.base, entry.data, entry.len);
    struct inflight *item = inflight_create(r, INFLIGHT_COMMAND, 0);
    uint64_t index = raft_last_index(&r->raft) + 1;
    item->index = index;
    int rv = raft_apply(&r->raft, &item->req.apply, &buf, 1, NULL);
    enum status status = submitted(r, item, "raft_apply", rv);
    if (status != STATUS_OK) {
        raft_free(buf.base); /* the library takes it on success only */
        return status;
    }
    if (index_out != NULL) {
        *index_out = index;
    }
    return STATUS_OK;
}

enum status replica_propose(struct replica *r, struct bytes entry, uint64_t *index_out)
{
    return propose(r, entry, true, index_out);
}

enum status replica_propose_essential(struct replica *r, struct bytes entry, uint64_t *index_out)
{
    return propose(r, entry, false, index_out);
}

enum status replica_barrier(struct replica *r, uint64_t token)
{
    struct replica_private *p = r->p;
    if (p->gate != GATE_OPEN || !office_unbroken(r) || p->transfer != TRANSFER_NONE) {
        return STATUS_NOT_LEADER;
    }
    return submit_barrier(r, INFLIGHT_BARRIER, token);
}

bool replica_lease_valid(struct replica *r)
{
    struct replica_private *p = r->p;
    if (p->gate != GATE_OPEN || !office_unbroken(r) || p->transfer == TRANSFER_SENT ||
        raft_transferee(&r->raft) != 0) {
        return false;
    }
    /* Count what applied since the last poll. */
    uint64_t applied = raft_last_applied(&r->raft);
    list_for_each (node, tmp, &p->inflight) {
        struct inflight *item = list_entry(node, struct inflight, link);
        if (item->index > applied) {
            break;
        }
        lease_renew(&r->lease, item->proposed_ms);
    }
    return lease_valid(&r->lease, replica_now_ms(r));
}

void replica_set_disk_low(struct replica *r, bool low)
{
    r->p->disk_low = low;
}

void replica_info(struct replica *r, struct replica_info *out)
{
    static const char *const roles[] = {
        [RAFT_UNAVAILABLE] = "unavailable",
        [RAFT_FOLLOWER] = "follower",
        [RAFT_CANDIDATE] = "candidate",
        [RAFT_LEADER] = "leader",
    };
    struct raft *raft = &r->raft;
    raft_id leader_id = 0;
    const char *leader_address = NULL;
    raft_leader(raft, &leader_id, &leader_address);
    *out = (struct replica_info){
        .role = roles[raft_state(raft)],
        .leader = raft_state(raft) == RAFT_LEADER,
        .gate_open = r->p->gate == GATE_OPEN && office_unbroken(r),
        .leader_id = leader_id,
        .term = raft_current_term(raft),
        .last_index = raft_last_index(raft),
        .commit_index = raft_commit_index(raft),
        .applied_index = raft_last_applied(raft),
    };
}

uint64_t replica_match_index(struct replica *r, uint64_t node_id)
{
    raft_index index = 0;
    return raft_match_index(&r->raft, node_id, &index) == 0 ? index : 0;
}

const char *replica_errmsg(struct replica *r)
{
    return r->p != NULL && r->p->errmsg[0] != '\0' ? r->p->errmsg : raft_errmsg(&r->raft);
}
