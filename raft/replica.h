/* One replica of one Raft group: libraft 0.22's classic API behind the few calls that the node needs.
 * It takes any raft_io (libuv's on a node, an in-memory one in the simulator) and touches no event loop.
 * Threading: one loop's thread. Nothing here calls back from inside the call that caused it, except that
 * replica_start() may restore what is on disk. apply, snapshot and restore come from within the raft_io's
 * callbacks, gate_open and barrier_done from replica_poll(), gate_close from replica_poll() or, if that did
 * not run in between, from just before the first apply or restore that is no longer ours, and at the latest
 * from just before replica_close's @cb.
 *
 * An in-memory raft_io must not call back from inside append, snapshot_put, snapshot_get or close. It need
 * not know libraft's completed requests (only its own libuv backend can fire them): none is used here. */
#ifndef WB_RAFT_REPLICA_H
#define WB_RAFT_REPLICA_H

#include <raft.h>

#include "proto/base/buf.h"
#include "proto/base/log.h"
#include "proto/base/status.h"
#include "raft/lease.h"

/* Upcalls. None may call replica_propose or replica_barrier; remember what is wanted and do it in the
 * next turn (after replica_poll). */
struct replica_ops {
    /* A committed command, on every replica, in log order. @entry borrows until return. */
    void (*apply)(void *data, uint64_t index, struct bytes entry);
    /* Append the whole replicated state to @out: at least one byte, and not beginning with LZ4's magic (04 22
     * 4d 18), which the library would take for its own compression. */
    void (*snapshot)(void *data, struct buf *out);
    /* Replace the whole state by @snapshot (borrowed). Anything but OK ends the process: it is corrupt. */
    enum status (*restore)(void *data, struct bytes snapshot);
    /* This replica leads @term, and a barrier of that term has applied: the office begins. */
    void (*gate_open)(void *data, uint64_t term);
    /* The office ends (another leader, a transfer, closing): whatever is pending has an unknown outcome.
     * Fires once for each gate_open. */
    void (*gate_close)(void *data);
    /* A barrier asked for by replica_barrier() while the gate is open has applied. Those that fail are
     * covered by gate_close. */
    void (*barrier_done)(void *data, uint64_t token);
};

struct replica_config {
    uint32_t group;
    uint64_t node_id;
    const char *address; /* our peer address, as in the configuration; borrowed until replica_init returns */
    unsigned election_timeout_ms;
    unsigned heartbeat_ms;
    uint64_t
        snapshot_log_bytes;     /* a snapshot is due when the log since the last one has more than
                                   max(this, the last snapshot's size), and up to 3/8 more by group and node */
    unsigned snapshot_trailing; /* entries kept after a snapshot, for slow followers; fewer when they would
                                   make up more than half of snapshot_log_bytes */
    unsigned max_inflight;      /* entries on their way to a follower, and in one message; 0 for the library's
                                   default   of 32. Keep what is proposed below it: over it the library sends an
                                   empty message   for each proposal and each answer */
    unsigned seed;           /* from the kernel's generator on a node, from the schedule in the simulator */
    uint64_t start_delay_ms; /* how long after replica_start no lease is given: one election timeout after
                                the process start */
    const struct logger *logger; /* may be NULL */
    /* Boot-time milliseconds, as lease.h wants them (virtual in the simulator). */
    uint64_t (*now_ms)(void *data);
    void *now_data;
};

struct replica {
    struct raft raft;
    struct raft_fsm fsm;
    struct replica_config config;
    const struct replica_ops *ops;
    void *data;
    struct lease lease;
    /* private from here on */
    struct replica_private *p;
};

/* A peer for the bootstrap configuration. */
struct replica_peer {
    uint64_t id;
    const char *address;
};

/* Prepare @r on @io (borrowed until closed). @ops and @data are borrowed.
 * On failure the message is in replica_errmsg(), and @r holds nothing: do not close it. */
enum status replica_init(struct replica *r, const struct replica_config *config, struct raft_io *io,
    const struct replica_ops *ops, void *data);

/* When the log is pristine, write the first configuration: all of @peers as voters. Then load and start.
 * INVALID: fewer than two peers (a sole voter could use an index and term twice after a crash).
 * On failure the message is in replica_errmsg(); still call replica_close. */
enum status replica_start(struct replica *r, const struct replica_peer *peers, unsigned n_peers);

/* Notice role changes and open or close the gate. Call it after each turn of the loop. */
void replica_poll(struct replica *r);

/* Append a command. @entry is an encoded log entry (log_entry.h); it is copied, and left to the caller.
 * Only while the gate is open. OK: it will apply, or gate_close comes. NOT_LEADER (also while a transfer is
 * prepared), NO_SPACE: nothing happened. *@index_out gets the log index it will have; it may be NULL. */
enum status replica_propose(struct replica *r, struct bytes entry, uint64_t *index_out);

/* The same for a small command that must go on when the disk is nearly full, as what lets the log be trimmed:
 * never NO_SPACE. */
enum status replica_propose_essential(struct replica *r, struct bytes entry, uint64_t *index_out);

/* Propose a barrier; ops->barrier_done(@token) follows unless the gate closes. It renews the lease. */
enum status replica_barrier(struct replica *r, uint64_t token);

/* May a value computed just now be answered as linearizable? (Leader of the gate's term, no transfer, lease
 * fresh.) Call it after the value was read. */
bool replica_lease_valid(struct replica *r);

/* Hand leadership over to @node_id (0: to the voter that holds most of the log). OK: it is prepared. From now
 * on nothing is proposed; when all that was proposed has applied, so that no outcome is unknown, the gate
 * closes and the target is told. If it does not come to that within an election timeout, everything is as
 * before and the gate stays open. Ends, either way, when replica_transferring() is false; who leads then is
 * in replica_info(). NOT_LEADER: the gate is not open. UNAVAILABLE: another transfer is under way. INVALID:
 * no such other voter. */
enum status replica_transfer(struct replica *r, uint64_t node_id);
bool replica_transferring(const struct replica *r);

/* Whether this node's disk is nearly full: then replica_propose answers NO_SPACE. What is in the log already
 * goes on. */
void replica_set_disk_low(struct replica *r, bool low);

/* What status reports. */
struct replica_info {
    const char *role; /* "leader", "follower", "candidate", "unavailable" */
    bool leader;
    bool gate_open;
    uint64_t leader_id; /* 0 when not known */
    uint64_t term;
    uint64_t last_index;
    uint64_t commit_index;
    uint64_t applied_index;
};
void replica_info(struct replica *r, struct replica_info *out);
/* As leader: the last log index known to be on @node_id's disk, 0 if not known. */
uint64_t replica_match_index(struct replica *r, uint64_t node_id);
/* Milliseconds since this replica last heard from a leader (an AppendEntries or InstallSnapshot of the term
 * that it knew then), or since its start if it never did; 0 when it leads under a valid lease. How old what
 * it has applied may be, at least as far as the leader's acknowledgements to others go. */
uint64_t replica_contact_age_ms(struct replica *r);
const char *replica_errmsg(struct replica *r);

/* Refuses everything from now on; @cb fires once, when raft has let go of @io, after gate_close if the gate
 * was open. */
void replica_close(struct replica *r, void (*cb)(struct replica *r));

#endif
