/* The first words on a connection between two nodes. The one that connects says hello; the other answers with
 * an ack that accepts or names the reason of its refusal. Only after the ack does libraft's own protocol
 * begin. Pure.
 *
 * hello: magic (8 bytes), version (2), length of the address (2), election timeout in ms (4), hash of the
 * cluster's name (8), group count (4), group (4), sender's id (8), id of the node that is meant (8), then the
 * sender's address. ack:   magic (8), version (2), verdict (2), zero (4). Numbers are big endian. */
#ifndef WB_RAFT_HANDSHAKE_H
#define WB_RAFT_HANDSHAKE_H

#include "proto/base/buf.h"
#include "proto/base/status.h"

enum {
    HANDSHAKE_PROTOCOL = 2, /* and what the log means: another one where replicas would apply it otherwise */
    HANDSHAKE_ADDRESS_BYTES_MAX = 255,
    HANDSHAKE_HELLO_HEAD_BYTES = 48,
    HANDSHAKE_HELLO_BYTES_MAX = HANDSHAKE_HELLO_HEAD_BYTES + HANDSHAKE_ADDRESS_BYTES_MAX,
    HANDSHAKE_ACK_BYTES = 16,
};

/* X(NAME, number on the wire, what a person reads). "here" is the node that refused. */
#define HANDSHAKE_VERDICT_MAP(X)                                                                             \
    X(ACCEPTED, 0, "accepted")                                                                               \
    X(GARBAGE, 1, "the first bytes are not those of a peer")                                                 \
    X(VERSION, 2, "the versions of the peer protocol differ: run the same release on all nodes")             \
    X(CLUSTER, 3, "the cluster names differ")                                                                \
    X(GROUP_COUNT, 4, "the group counts differ: they are fixed when a cluster is created")                   \
    X(GROUP, 5, "there is no such group here")                                                               \
    X(SENDER, 6, "the sender's node id is not in the list of nodes here, or is this node's own")             \
    X(TARGET, 7, "another node id was meant: an address in the sender's list of nodes is wrong")             \
    X(ADDRESS, 8, "the sender's own address is not the one in the list of nodes here")                       \
    X(ELECTION_TIMEOUT, 9, "the election timeouts differ: they must be equal on all nodes")                  \
    X(NOT_READY, 10, "the group is not started yet, or is closing")

enum handshake_verdict {
#define X(name, number, text) HANDSHAKE_##name = number,
    HANDSHAKE_VERDICT_MAP(X)
#undef X
        HANDSHAKE_VERDICTS /* how many there are */
};

struct handshake_hello {
    uint64_t cluster_hash;
    uint64_t sender_id;
    uint64_t target_id;
    uint32_t group_count;
    uint32_t group;
    uint32_t election_timeout_ms;
    char address[HANDSHAKE_ADDRESS_BYTES_MAX + 1];
};

/* A node as the configuration lists it; @address is borrowed. */
struct handshake_node {
    uint64_t id;
    const char *address;
};

/* What the answering node holds a hello against. */
struct handshake_self {
    uint64_t cluster_hash;
    uint64_t node_id;
    uint32_t group_count;
    uint32_t election_timeout_ms;
    const struct handshake_node *nodes; /* all of them, borrowed */
    unsigned n_nodes;
};

uint64_t handshake_cluster_hash(const char *cluster);

/* Append a hello to @out. @hello->address has 1 to HANDSHAKE_ADDRESS_BYTES_MAX bytes. */
void handshake_hello_encode(const struct handshake_hello *hello, struct buf *out);

/* Decode a hello from the start of @input.
 * OK: @out is set; exactly *@size bytes were the hello.
 * AGAIN: *@size is how many bytes are needed before it is worth another try. Never more than
 * HANDSHAKE_HELLO_BYTES_MAX. CORRUPT: *@verdict is GARBAGE or VERSION. */
enum status handshake_hello_parse(
    struct bytes input, struct handshake_hello *out, size_t *size, enum handshake_verdict *verdict);

/* May this sender talk to this node? */
enum handshake_verdict handshake_judge(
    const struct handshake_self *self, const struct handshake_hello *hello);

void handshake_ack_encode(enum handshake_verdict verdict, uint8_t out[HANDSHAKE_ACK_BYTES]);
/* Returns GARBAGE when the bytes are no ack, also when the verdict's number is not known here. */
enum handshake_verdict handshake_ack_parse(const uint8_t ack[HANDSHAKE_ACK_BYTES]);

/* "ELECTION_TIMEOUT", and the sentence. Never NULL. */
const char *handshake_verdict_name(enum handshake_verdict verdict);
const char *handshake_verdict_text(enum handshake_verdict verdict);

#endif
