/* Inside of a group, for the files group*.c only. */
#ifndef WB_NODE_GROUP_INTERNAL_H
#define WB_NODE_GROUP_INTERNAL_H

#include "node/group.h"
#include "node/loads.h"
#include "node/overlay.h"
#include "node/stamp.h"
#include "proto/base/arena.h"
#include "proto/log_entry.h"

/* Where a request is in its life: see the drawing in group.h. The list that it is in goes with it. */
enum request_where {
    AT_READY,        /* group.ready */
    AT_WAIT_OVERLAY, /* proposal.readers */
    AT_WAIT_APPLY,   /* proposal.writers: what it wrote may be in the log */
    AT_WAIT_LOAD,    /* group.loading */
    AT_WAIT_LEASE,   /* group.lease_next or lease_now */
    AT_WAIT_FLUSH,   /* group.flush_waiters */
};

struct group {
    struct group_config config;
    struct group_env env;
    struct state state;
    struct overlay overlay;
    struct loads loads;
    struct flush_session session;
    struct stamp_clock stamps;
    struct arena apply_arena;
    struct buf encode_buf;

    bool gate_open;
    uint64_t term; /* of the open gate */
    uint64_t now_ms, wall_ms;

    struct list live;  /* all requests */
    struct list ready; /* to be evaluated in the next turn */
    struct list loading;
    struct list lease_next; /* reads for which a barrier is still to be proposed */
    struct list lease_now;  /* reads that wait for the barrier under way */
    uint64_t barrier_token; /* the newest one proposed */
    bool barrier_pending;
    struct list flush_waiters;
    uint64_t flush_upto;  /* the highest index that somebody waits for */
    uint64_t sweep_at_ms; /* next look at the deadlines */
    uint64_t due_counted_ms;
    uint64_t wake_ms; /* collected during a turn */

    uint64_t rows_flushed, batches_flushed, writes_applied, load_selects, hits, misses;
};

/* ---- group.c ---- */
/* The one way for a request to end. */
void group_finish(struct group *g, struct group_request *r, enum status status, const char *message);
void group_move(struct group_request *r, enum request_where where, struct list *list);
uint64_t group_stamp(struct group *g);
/* Propose a command at once; anything but OK: nothing happened. */
enum status group_propose_entry(
    struct group *g, Wblog__Entry *entry, uint64_t seq, bool essential, uint64_t *index);

/* ---- group_request.c ---- */
/* Evaluate what is ready, and propose what was collected. */
void group_evaluate_ready(struct group *g);
void group_propose_open(struct group *g);
/* Is the group open for business? If not, *@status and *@message say why. */
bool group_serves(const struct group *g, enum status *status, const char **message);

/* ---- group_load.c ---- */
void group_send_loads(struct group *g);

/* ---- group_flush.c ---- */
void group_drive_flush(struct group *g);
/* A FlushBegin of ours has applied; @batch is NULL when it moved nothing. */
void group_flush_begun(struct group *g, struct state_batch *batch);

#endif
