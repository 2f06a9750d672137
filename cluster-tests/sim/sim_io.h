/* A raft_io of our own for real libraft: a virtual disk and a virtual network on the virtual clock.
 *
 * Contract, as read from libraft 0.22's uv backend: appends, truncations and installed snapshots reach the
 * disk in the order of the calls; a snapshot that was taken (trailing > 0) comes after those before it, but
 * holds up none behind it; term and vote are durable when the call returns; what is handed in stays the
 * caller's until its callback; what is handed out belongs to libraft. No callback fires inside the call that
 * caused it, but send's, when the io is closing, will not send that message, or has copied its entries.
 *
 * A crash is sim_io_crash, then raft_close: what the disk had not finished is lost, but for a random prefix;
 * nothing that happens between the two reaches disk or network. A restart is a new sim_io on the same disk.
 */
#ifndef WB_SIM_IO_H
#define WB_SIM_IO_H

#include <raft.h>

#include "cluster-tests/sim/sim_disk.h"
#include "cluster-tests/sim/sim_net.h"

enum { SIM_DISK_MAX_US = 3000 };

struct sim_io {
    struct raft_io io; /* give this to libraft */
    struct sim_clock *clock;
    struct sim_net *net;
    struct sim_disk *disk;
    struct sim_gate *gate;
    unsigned group, node;              /* place in the network; the server's id is node + 1 */
    uint64_t time_offset_ms;           /* this machine's boot clock is ahead by so much */
    uint64_t disk_min_us, disk_max_us; /* of one operation: at first up to SIM_DISK_MAX_US */
    uint64_t heard_us; /* when something came last, from the network or the disk; 0: nothing did */
    /* private */
    bool dead, closing;
    unsigned tick_ms;
    raft_io_tick_cb tick_cb;
    raft_io_recv_cb recv_cb;
    raft_io_close_cb close_cb;
    struct sim_event tick, close;
    uint64_t next_index;          /* of the next append */
    uint64_t last_done_us;        /* when the newest ordered operation is on the disk */
    uint64_t got_index, got_term; /* of the snapshot that libraft read last */
    struct list operations, gets, sends;
};

void sim_io_init(struct sim_io *s, struct sim_clock *clock, struct sim_net *net, struct sim_disk *disk,
    struct sim_gate *gate, unsigned group, unsigned node);
/* After libraft's close callback, or when libraft was never given it. */
void sim_io_deinit(struct sim_io *s);
/* Power off. Then close the raft that runs on it. */
void sim_io_crash(struct sim_io *s);

/* For the network: may @s (or NULL) be handed messages, and do it. Takes what @message points to. */
bool sim_io_listens(const struct sim_io *s);
void sim_io_receive(struct sim_io *s, struct raft_message *message);

/* This server's name in configurations. Static memory. */
const char *sim_io_address(unsigned node);

#endif
