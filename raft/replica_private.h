/* What replica.c (the office and what is proposed in it), replica_fsm.c (what libraft asks of the state) and
 * replica_open.c (init, start, close) share. */
#ifndef WB_RAFT_REPLICA_PRIVATE_H
#define WB_RAFT_REPLICA_PRIVATE_H

#include <limits.h>

#include "proto/base/list.h"
#include "raft/replica.h"

enum { REPLICA_SNAPSHOT_NEVER = INT_MAX }; /* the library's threshold in entries; ours is in bytes */

enum gate { GATE_CLOSED, GATE_OPENING, GATE_OPEN };
enum transfer { TRANSFER_NONE, TRANSFER_DRAINING, TRANSFER_SENT };
enum inflight_kind { INFLIGHT_COMMAND, INFLIGHT_GATE_BARRIER, INFLIGHT_BARRIER };

struct inflight {
    struct list link;
    union {
        struct raft_apply apply;
        struct raft_barrier barrier;
    } req; /* the library links it in its own list until the index applied or leadership is lost */
    enum inflight_kind kind;
    uint64_t index;
    uint64_t proposed_ms;
    uint64_t token;
};

struct replica_private {
    enum gate gate;
    uint64_t term; /* of the office */
    bool lost;     /* the office ended, in some step since the last poll */
    bool started;
    bool closing;
    bool disk_low;
    struct list inflight;

    enum transfer transfer;
    uint64_t target_id;
    uint64_t drain_until_ms;
    struct raft_transfer transfer_req;

    uint64_t log_bytes;      /* of commands applied since the last snapshot */
    uint64_t snapshot_index; /* of the last snapshot taken or restored */
    uint64_t snapshot_bytes; /* its size */
    bool restored;           /* snapshot_index is to be taken from last_applied */
    struct buf snapshot_buf; /* read by a thread of the pool until finalize */
    struct raft_buffer snapshot_view;

    int seen_state;
    uint64_t seen_term;
    uint64_t seen_leader;

    raft_time contact_ms; /* the library's time when a leader was heard last; 0: never */
    raft_time start_ms;   /* the same clock at the start */
    int (*io_start)(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv);
    raft_io_recv_cb recv; /* the library's: we listen before it */
    void (*close_cb)(struct replica *r);
    char restore_errmsg[256];
    char errmsg[768];
};

/* An error of the library's after which it must not take another step. */
_Noreturn void replica_fatal(struct replica *r, const char *what, int rv);
uint64_t replica_now_ms(const struct replica *r);

/* End the office, if there is one: void the lease, forget what is in flight, tell the node. */
void replica_gate_close(struct replica *r);
/* libraft's step callback: only notes that the office was lost. */
void replica_step_cb(struct raft *raft);

/* Set in @fsm what libraft calls. */
void replica_fsm_init(struct replica *r, struct raft_fsm *fsm);
/* Have a snapshot taken soon if the log has grown enough. */
void replica_snapshot_check_due(struct replica *r);

#endif
