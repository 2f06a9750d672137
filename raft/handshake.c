#include "raft/handshake.h"

#include <string.h>

#include "proto/base/check.h"

/* With bytes that a text protocol would never send, and that a line ending conversion would break. */
static const uint8_t hello_magic[8] = {0x89, 'W', 'B', 'P', 'E', 'E', '\r', '\n'};
static const uint8_t ack_magic[8] = {0x89, 'W', 'B', 'A', 'C', 'K', '\r', '\n'};

static const struct {
    const char *name;
    const char *text;
} verdicts[HANDSHAKE_VERDICTS] = {
#define X(name, number, text) [number] = {#name, text},
    HANDSHAKE_VERDICT_MAP(X)
#undef X
};

static uint16_t load_be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

uint64_t handshake_cluster_hash(const char *cluster)
{
    return bytes_hash(bytes_from_text(cluster), 0);
}

void handshake_hello_encode(const struct handshake_hello *hello, struct buf *out)
{
    size_t address_len = strlen(hello->address);
    CHECK(address_len > 0 && address_len <= HANDSHAKE_ADDRESS_BYTES_MAX);
    buf_append(out, hello_magic, sizeof hello_magic);
    buf_append_be16(out, HANDSHAKE_PROTOCOL);
    buf_append_be16(out, (uint16_t)address_len);
    buf_append_be32(out, hello->election_timeout_ms);
    buf_append_be64(out, hello->cluster_hash);
    buf_append_be32(out, hello->group_count);
    buf_append_be32(out, hello->group);
    buf_append_be64(out, hello->sender_id);
    buf_append_be64(out, hello->target_id);
    buf_append(out, hello->address, address_len);
}

enum status handshake_hello_parse(
    struct bytes input, struct handshake_hello *out, size_t *size, enum handshake_verdict *verdict)
{
    const uint8_t *p = input.data;
    size_t magic_len = input.len < sizeof hello_magic ? input.len : sizeof hello_magic;
    if (magic_len > 0 && memcmp(p, hello_magic, magic_len) != 0) {
        *verdict = HANDSHAKE_GARBAGE; /* a stranger need not send all of the head to be known as one */
        return STATUS_CORRUPT;
    }
    if (input.len < HANDSHAKE_HELLO_HEAD_BYTES) {
        *size = HANDSHAKE_HELLO_HEAD_BYTES;
        return STATUS_AGAIN;
    }
    if (load_be16(p + 8) != HANDSHAKE_PROTOCOL) {
        *verdict = HANDSHAKE_VERSION;
        return STATUS_CORRUPT;
    }
    size_t address_len = load_be16(p + 10);
    if (address_len == 0 || address_len > HANDSHAKE_ADDRESS_BYTES_MAX) {
        *verdict = HANDSHAKE_GARBAGE;
        return STATUS_CORRUPT;
    }
    *size = HANDSHAKE_HELLO_HEAD_BYTES + address_len;
    if (input.len < *size) {
        return STATUS_AGAIN;
    }
    const uint8_t *address = p + HANDSHAKE_HELLO_HEAD_BYTES;
    if (memchr(address, '\0', address_len) != NULL) {
        *verdict = HANDSHAKE_GARBAGE;
        return STATUS_CORRUPT;
    }
    *out = (struct handshake_hello){
        .election_timeout_ms = load_be32(p + 12),
        .cluster_hash = load_be64(p + 16),
        .group_count = load_be32(p + 24),
        .group = load_be32(p + 28),
        .sender_id = load_be64(p + 32),
        .target_id = load_be64(p + 40),
    };
    memcpy(out->address, address, address_len);
    return STATUS_OK;
}

static const struct handshake_node *find_node(const struct handshake_self *self, uint64_t id)
{
    for (unsigned i = 0; i < self->n_nodes; i++) {
        if (self->nodes[i].id == id) {
            return &self->nodes[i];
        }
    }
    return NULL;
}

enum handshake_verdict handshake_judge(const struct handshake_self *self, const struct handshake_hello *hello)
{
    if (hello->cluster_hash != self->cluster_hash) {
        return HANDSHAKE_CLUSTER;
    }
    if (hello->group_count != self->group_count) {
        return HANDSHAKE_GROUP_COUNT;
    }
    if (hello->target_id != self->node_id) {
        return HANDSHAKE_TARGET;
    }
    const struct handshake_node *sender = find_node(self, hello->sender_id);
    if (sender == NULL || hello->sender_id == self->node_id) {
        return HANDSHAKE_SENDER;
    }
    if (strcmp(sender->address, hello->address) != 0) {
        return HANDSHAKE_ADDRESS;
    }
    /* The lease rests on it: a peer with a shorter timeout could win an election within our lease. */
    if (hello->election_timeout_ms != self->election_timeout_ms) {
        return HANDSHAKE_ELECTION_TIMEOUT;
    }
    if (hello->group >= self->group_count) {
        return HANDSHAKE_GROUP;
    }
    return HANDSHAKE_ACCEPTED;
}

void handshake_ack_encode(enum handshake_verdict verdict, uint8_t out[HANDSHAKE_ACK_BYTES])
{
    memset(out, 0, HANDSHAKE_ACK_BYTES);
    memcpy(out, ack_magic, sizeof ack_magic);
    out[9] = HANDSHAKE_PROTOCOL;
    out[11] = (uint8_t)verdict;
}

enum handshake_verdict handshake_ack_parse(const uint8_t ack[HANDSHAKE_ACK_BYTES])
{
    if (memcmp(ack, ack_magic, sizeof ack_magic) != 0) {
        return HANDSHAKE_GARBAGE;
    }
    /* The verdict's place is the same in all versions, so that a version mismatch can be told. */
    uint16_t number = load_be16(ack + 10);
    return number < HANDSHAKE_VERDICTS ? (enum handshake_verdict)number : HANDSHAKE_GARBAGE;
}

const char *handshake_verdict_name(enum handshake_verdict verdict)
{
    return (unsigned)verdict < HANDSHAKE_VERDICTS ? verdicts[verdict].name : "UNRECOGNISED";
}

const char *handshake_verdict_text(enum handshake_verdict verdict)
{
    return (unsigned)verdict < HANDSHAKE_VERDICTS ? verdicts[verdict].text
                                                  : "a reason that this version does not know";
}
