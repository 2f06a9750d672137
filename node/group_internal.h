/* Inside of a group, for the files group*.c only. */
#ifndef WB_NODE_GROUP_INTERNAL_H
#define WB_NODE_GROUP_INTERNAL_H

#include "node/group.h"
#include "node/group_admin.h"
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
    AT_WAIT_ADMIN,   /* group.admin_waiters */
};

/* What others changed, and is still to be forgotten: see group_forget.c. */
struct forgetting {
    bool sweeping; /* all keys are looked at, some in each turn, from @cursor on; */
    bool again;    /* ... and once more from the beginning */
    uint64_t cursor;
    bool sweep_later; /* once more when F has come to @later_index */
    uint64_t later_index;
    struct heard_key *first, *last; /* keys that were in a batch in flight when they were heard */
    uint32_t n;
};

/* Which keys of the quarantine are to be tried: what the last walk over it found. */
struct retries {
    bool known;       /* nothing but time can have changed since */
    uint64_t changes; /* the state's quarantine_changes then */
    bool due;         /* one is due */
    uint64_t next_ms; /* else: when the next one is */
};

/* Each request looks for earlier ones of its connection: one list for all would be long with many clients. */
enum { GROUP_OVERTAKABLE_LISTS = 256 };

enum { GROUP_HEAVY_WORDS = 64 };

struct group {
    struct group_config config;
    struct group_env env;
    struct state state;
    struct overlay overlay;
    struct loads loads;
    struct forgetting forgetting;
    struct flush_session session;
    struct stamp_clock stamps;
    struct arena apply_arena;
    struct buf encode_buf;
    struct buf outcome_buf;

    bool gate_open;
    bool limits_proposed; /* in this term */
    uint64_t term;        /* of the open gate */
    uint64_t now_ms, wall_ms;

    struct list live;  /* all requests */
    struct list ready; /* to be evaluated in the next turn */
    struct list loading;
    /* Requests of several keys that have waited for loads, or that wait for a version, and are not evaluated
     * yet, by their connections. */
    struct list overtakable[GROUP_OVERTAKABLE_LISTS];
    uint64_t turn_work;                /* of this turn: see transaction_work; and bytes of values read */
    uint64_t turns;                    /* with something to evaluate */
    uint64_t heavy[GROUP_HEAVY_WORDS]; /* a bit for each connection (some share one) whose requests are much
                                          work */
    uint64_t last_number;              /* of a request */
    struct list lease_next;            /* answers for which a barrier is still to be proposed */
    struct list lease_now;             /* answers that wait for the barrier under way */
    uint64_t barrier_token;            /* the newest one proposed */
    bool barrier_pending;
    bool barrier_wanted; /* the flush wants to know that we still lead: a reading of the database's clock
                            waits */
    struct list flush_waiters;
    struct list admin_waiters; /* of GROUP_ADMIN: for their command to apply, or for the database's answer */
    uint64_t admin_token;      /* the newest load of theirs */
    uint64_t control_index, control_term; /* of the newest FlushControl that was proposed: one at a time */
    uint64_t flush_upto;                  /* the highest index that somebody waits for */
    uint64_t sweep_at_ms;                 /* next look at the deadlines */
    uint64_t due_counted_ms;
    uint64_t wake_ms; /* collected during a turn */

    uint32_t flush_pending; /* commands of the session that were proposed in this term and have not applied */
    struct retries retries;
    double flush_tokens; /* rows that the rate limit lets go now */
    uint64_t tokens_ms;  /* when it was reckoned */

    uint64_t expire_at_ms;       /* next look at the keys in memory that are due */
    uint64_t expiry_sweep_at_ms; /* next look at the rows in the database that are */
    bool expiry_sweeping;

    uint64_t rows_flushed, batches_flushed, writes_applied, load_selects, hits, misses, evicted, expired;
};

/* ---- group.c ---- */
/* The one way for a request to end. Its results are kept where @status says that there are some. */
void group_finish(struct group *g, struct group_request *r, enum status status, const char *message);
void group_move(struct group_request *r, enum request_where where, struct list *list);
uint64_t group_stamp(struct group *g);
/* Propose a command at once; anything but OK: nothing happened. */
enum status group_propose_entry(
    struct group *g, Wblog__Entry *entry, uint64_t seq, bool essential, uint64_t *index);
/* Let @r wait until the flushed index is @index. */
void group_wait_flush(struct group *g, struct group_request *r, uint64_t index);
/* Wake the group at @at_ms at the latest. */
void group_wake_at(struct group *g, uint64_t at_ms);

/* ---- group_request.c ---- */

/* What evaluating one request came to. */
enum evaluated {
    EVALUATED, /* it was answered, or waits for something */
    NO_ROOM,   /* the open entry is full, and so is the pipeline, or the entry was refused: it and all behind
                  it stay ready */
};

/* Evaluate what is ready, and propose what was collected. */
void group_evaluate_ready(struct group *g);
void group_propose_open(struct group *g);
/* Is the group open for business? If not, *@status and *@message say why. */
bool group_serves(const struct group *g, enum status *status, const char **message);
/* Make room for @bytes in @writes more writes. False also when the open entry was refused on the way: what
 * the caller found out against it is no longer true, and must be evaluated again. */
bool group_make_room(struct group *g, size_t bytes, uint32_t writes);
/* Would @bytes and @entries more be over the dirty budget? */
bool group_over_budget(const struct group *g, uint64_t bytes, uint64_t entries);

/* A key as the next operation finds it. */
struct group_current {
    struct operation_current now;
    struct pending_write *pending; /* the write that it is from; NULL: the table */
    bool due; /* its expiry has come, but by no committed stamp: `now` says absent; see group_expire_if_due */
};
/* False: neither the overlay nor the table knows it. */
bool group_current(struct group *g, struct bytes key, uint64_t stamp_ms, struct group_current *out);
/* Propose to delete @key, whose expiry has come. */
enum evaluated group_expire_key(struct group *g, struct bytes key);
/* The same if it is due; otherwise nothing. First of all for each key of a request: proposing can move what
 * is in the open entry. */
enum evaluated group_expire_if_due(struct group *g, struct bytes key, uint64_t stamp_ms);
void group_clear_results(struct group_request *r);

/* Let @r wait for the load of @key. False: there are too many, and @r was refused. */
bool group_wait_load(struct group *g, struct group_request *r, struct bytes key);
/* Let @r, an update or a transaction, or a read by the leader, wait until those of its keys are known that
 * must be, and behind earlier requests of its connection that wait likewise: they keep their order. True: it
 * waits, or was refused. */
bool group_wait_misses(struct group *g, struct group_request *r);
/* Let @r, an update or a transaction, be evaluated again when @p has applied: it must know a version that @p
 * will have. Later requests of its connection wait behind it. */
void group_wait_again(struct group *g, struct group_request *r, struct proposal *p);
/* What writing @len bytes (0: a delete) to @key can add to what is dirty. */
void group_growth(const struct group *g, struct bytes key, size_t len, uint64_t *bytes, uint64_t *entries);
/* @r is answered, with @status and what is in its results, once @seen (NULL: nothing) has applied and we are
 * certainly still the leader. */
void group_answer(struct group *g, struct group_request *r, enum status status, struct proposal *seen);
/* Finish an answered request, or let it wait for a barrier. */
void group_prove(struct group *g, struct group_request *r);
/* Whichever of the two was proposed later. NULL counts as long ago. */
struct proposal *group_newer(struct proposal *a, struct proposal *b);

/* ---- group_transaction.c ---- */
enum evaluated group_eval_transaction(struct group *g, struct group_request *r);

/* ---- group_read.c ---- */
/* Is the key as it has applied the answer for @r, although @w (NULL: nothing) is in flight? NULL: no. */
const struct state_entry *group_applied_will_do(const struct group *g, const struct group_request *r,
    struct bytes key, const struct pending_write *w, uint64_t stamp_ms);
/* Must some key of @r be read from what is in flight? Then all are, or half of another request would be seen.
 */
bool group_must_see_flight(struct group *g, const struct group_request *r, uint64_t stamp_ms);
/* A stale read takes what this replica has. True: @r waits for keys that must come from the database, or was
 * refused.
 */
bool group_wait_unknown(struct group *g, struct group_request *r);
/* The @i'th key was read. The read that brought it into memory does not count. */
void group_touch(struct group *g, const struct group_request *r, uint32_t i);
enum evaluated group_eval_read(struct group *g, struct group_request *r);
enum evaluated group_eval_stale(struct group *g, struct group_request *r);
enum evaluated group_eval_scan(struct group *g, struct group_request *r);
enum evaluated group_eval_wait(struct group *g, struct group_request *r);

/* ---- group_update.c ---- */
enum evaluated group_eval_update(struct group *g, struct group_request *r);
enum evaluated group_eval_open_session(struct group *g, struct group_request *r);
/* Our proposal @p has applied as entry @index: answer those whom it answers. */
void group_answer_proposal(struct group *g, struct proposal *p, uint64_t index);

/* ---- group_expiry.c ---- */
/* Delete what is due in memory; look for what is due in the database. */
void group_drive_expiry(struct group *g);
/* See loader_events. */
void group_expired_found(void *data, uint64_t token, const struct bytes *keys, uint32_t n);

/* ---- group_load.c ---- */
void group_send_loads(struct group *g);
/* Forget all loads, and let nobody wait for one: the office begins or ends, or the state was replaced. */
void group_cancel_loads(struct group *g);

/* ---- group_forget.c ---- */
/* The entry of @key, if what it says holds: NULL also when somebody else may have changed the row. */
struct state_entry *group_known(const struct group *g, struct bytes key);
/* Forget what is due. */
void group_drive_forget(struct group *g);
void group_forget_deinit(struct group *g);

/* ---- group_admin.c ---- */
enum evaluated group_eval_admin(struct group *g, struct group_request *r);
/* A QuarantineDrop (@effect: what state_apply_quarantine_drop said), FlushControl, LossAcknowledged or Forget
 * of this office has applied as @index. */
void group_admin_applied(struct group *g, uint64_t index, bool effect);
/* @r, of GROUP_ADMIN, cannot be answered: its office ends, or its time is over. Finishes it, wherever it is:
 * with UNKNOWN when some of what it asks for is in the log, else with @status. */
void group_admin_end(struct group *g, struct group_request *r, enum status status, const char *message);

/* ---- group_verify.c ---- */
enum evaluated group_eval_verify(struct group *g, struct group_request *r);
void group_verify_free(struct verify *v); /* NULL is allowed */
/* The database's answer to a load of an admin's (its token has ADMIN_TOKEN set); nobody may wait for it any
 * more. (A node that shares a loader among its groups takes the bits above for itself.) */
#define ADMIN_TOKEN (UINT64_C(1) << 47)
void group_admin_loaded(struct group *g, uint64_t token, const struct load_result *result);
void group_admin_load_failed(struct group *g, uint64_t token, const struct flush_error *error);

/* ---- group_flush.c ---- */
/* The flush's settings in force: what operators set, else the configuration's. */
struct flush_settings group_flush_settings(const struct group *g);
void group_drive_flush(struct group *g);
/* A FlushBegin of ours has applied; @batch is NULL when it moved nothing. */
void group_flush_begun(struct group *g, struct state_batch *batch);
/* Is @q to be tried now? *@in_ms, if not NULL, becomes the time until then (0: now). */
bool group_retry_due(struct group *g, const struct state_quarantine *q, uint64_t *in_ms);

#endif
