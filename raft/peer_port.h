/* The one TCP port on which a node talks to its peers, for all groups. For each group it offers a
 * raft_uv_transport, whose connections go through the handshake first (handshake.h). A shell on libuv; the
 * loop's thread.
 *
 * A stranger on the port is closed: at the first bytes that are not a hello's, after HANDSHAKE_TIMEOUT_MS, or
 * when PENDING_MAX newer connections wait. Refusals are logged with their reason on both sides, each kind for
 * each peer at most once in LOG_PAUSE_MS. */
#ifndef WB_RAFT_PEER_PORT_H
#define WB_RAFT_PEER_PORT_H

#include <raft/uv.h>

#include "raft/replica.h"

enum {
    PEER_PORT_HANDSHAKE_TIMEOUT_MS = 2000,
    PEER_PORT_CONNECT_TIMEOUT_MS = 1000,
    PEER_PORT_PENDING_MAX = 256,
    PEER_PORT_LOG_PAUSE_MS = 30 * 1000,
};

struct peer_port;

struct peer_port_config {
    uv_loop_t *loop;
    uint64_t node_id;
    const char *cluster;              /* borrowed until peer_port_open returns */
    const struct replica_peer *peers; /* all nodes with ourselves; borrowed until closed */
    unsigned n_peers;
    uint32_t group_count;
    uint32_t election_timeout_ms;
    const struct logger *logger; /* may be NULL; borrowed until closed */
};

/* Listen on the address of @config->node_id. On failure @errmsg says why, and a handle may still be closing:
 * run the loop once more before closing it. */
enum status peer_port_open(
    const struct peer_port_config *config, struct peer_port **out, char *errmsg, size_t len);

/* The transport of @group: for raft_uv_init(). Lives until the port's close has called back. */
struct raft_uv_transport *peer_port_transport(struct peer_port *port, uint32_t group);

/* Connections that have not finished their handshake. */
unsigned peer_port_pending(const struct peer_port *port);

/* Stop listening and close what is pending. Every transport that was used must have been closed before (by
 * the library, in raft_close). @cb fires once, when all handles are closed; the port is gone after it. */
void peer_port_close(struct peer_port *port, void (*cb)(void *data), void *data);

#endif
