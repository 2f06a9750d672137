/* A raft_io with the rules that libraft leaves to its user. It wraps any implementation in place: fill `io`,
 * then call guarded_io_wrap(), then hand &io to replica_init().
 *
 * - time: the caller's clock, read afresh (libuv's cached one back-dates timers after a stall)
 * - send: bounded by a send_window per peer; never fails, a message that cannot be sent is a lost message. An
 *   empty AppendEntries right behind what it follows is not sent at all, but for a tick's heartbeat
 * - receive: an InstallSnapshot that would meet another snapshot half done is dropped (the library would
 *   crash)
 * - disk: any error ends the process: the library goes on as if it had written, so that an acknowledgement
 *   could be false. The node comes back from its peers
 * - tick: looks for what the library hides from its user: a segment that it cannot prepare (a full disk) is
 *   tried again for ever and its appends hang, a write that failed is tried again with a wrong pointer. So an
 *   append that does not end, or a write that says it failed, ends the process; a snapshot that does not end
 *   is told in the log
 * - truncate: needs room for a copy of a segment, and a failure is never reported: without room the process
 *   ends before it
 * - closing: what completes late is cancelled cleanly (the library would free memory that it never set)
 *
 * It also remembers when each peer was last heard from. Threading: the loop's thread. */
#ifndef WB_RAFT_GUARDED_IO_H
#define WB_RAFT_GUARDED_IO_H

#include "raft/replica.h"
#include "raft/send_window.h"

#include "proto/limits.h"

enum {
    GUARDED_IO_MESSAGES_MAX = 128,
    /* The library has up to 32 entries of about 1 MB in flight to a peer; the log holds them anyway. */
    GUARDED_IO_BYTES_MAX = 32 * 1024 * 1024,
    /* Far longer than a disk that works takes for a write, shorter than people wait. The loop's time: what
     * the process spent stopped does not count. */
    GUARDED_IO_APPEND_MS_MAX = 10 * 1000,
    GUARDED_IO_SNAPSHOT_MS_MAX = 30 * 1000,
};

struct guarded_io_config {
    uint32_t group;
    const struct logger *logger;      /* may be NULL */
    const struct replica_peer *peers; /* all nodes; borrowed as long as the io lives */
    unsigned n_peers;                 /* at most LIMIT_NODES */
    uint64_t (*now_ms)(void *data);   /* monotonic */
    void *now_data;
    /* Is there room on the disk for what a truncation writes? NULL: yes. */
    bool (*has_room)(void *data);
    void *room_data;
};

/* Calls of one kind that have not ended, and for how long none of them has. */
struct guarded_pending {
    unsigned count;
    uint64_t stalled_ms;
};

/* The last AppendEntries that was sent to a peer. */
struct guarded_sent {
    uint64_t ms;
    raft_term term;
    raft_index end; /* of its last entry, or of the one before it; 0: there was none */
};

struct guarded_io {
    struct raft_io io; /* must be the first member */
    /* private from here on */
    struct guarded_io_config config;
    struct raft_io inner; /* the functions of the wrapped implementation */
    raft_io_recv_cb recv;
    raft_io_tick_cb tick;
    unsigned tick_ms;
    uint64_t ticked_ms; /* 0: never */
    bool ticking;       /* within the library's tick */
    struct guarded_pending appends;
    struct guarded_pending puts;
    bool closing;
    raft_index next_index; /* where the last append ended; 0: not known */
    raft_index got_index;  /* of the last snapshot read */
    raft_term got_term;
    struct {
        struct send_window window;
        struct guarded_sent sent;
        uint64_t heard_ms;
    } peers[LIMIT_NODES];
};

/* Put the guards around the implementation that @g->io already holds. */
void guarded_io_wrap(struct guarded_io *g, const struct guarded_io_config *config);

/* When a message of @peer_id's last arrived, 0 for never. */
uint64_t guarded_io_heard_ms(const struct guarded_io *g, uint64_t peer_id);

#endif
