/* The network between simulated servers: latency, loss, and links that are cut in one direction or both.
 * Messages of one pair arrive in their order, as they do over TCP; a message that is lost stays lost, as with
 * a broken connection. */
#ifndef WB_SIM_NET_H
#define WB_SIM_NET_H

#include <raft.h>

#include "cluster-tests/sim/sim_clock.h"
#include "proto/limits.h"

enum { SIM_NODES_MAX = 7, SIM_GROUPS_MAX = 4 };

struct sim_io;

struct sim_net {
    struct sim_clock *clock;
    uint64_t latency_min_us, latency_max_us;
    unsigned loss_permille;
    bool cut[SIM_NODES_MAX][SIM_NODES_MAX];             /* [from][to] */
    uint64_t detour_us[SIM_NODES_MAX][SIM_NODES_MAX];   /* [from][to]: they are so much longer on their way */
    struct sim_io *ends[SIM_GROUPS_MAX][SIM_NODES_MAX]; /* NULL: that server is down */
    uint64_t last_arrival_us[SIM_GROUPS_MAX][SIM_NODES_MAX][SIM_NODES_MAX];
    struct list flying; /* messages on their way */
    uint64_t sent, lost;
};

void sim_net_init(struct sim_net *net, struct sim_clock *clock);
/* Frees the messages on their way. */
void sim_net_deinit(struct sim_net *net);
void sim_net_cut(struct sim_net *net, unsigned from, unsigned to, bool cut);
void sim_net_heal(struct sim_net *net);
/* When a message sent now on this link arrives, behind those sent before; false: it is lost. */
bool sim_net_arrival(struct sim_net *net, unsigned group, unsigned from, unsigned to, uint64_t *delay_us);

/* Send a copy of @message, or lose it. */
void sim_net_send(
    struct sim_net *net, unsigned group, unsigned from, unsigned to, const struct raft_message *message);
/* Free what a message that was copied holds (not the message). */
void sim_message_release(struct raft_message *message);

#endif
