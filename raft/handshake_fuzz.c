/* A libFuzzer target for the first words on the peer port: hellos and acks. Build and run with tools/fuzz.
 *
 * The input's first byte chooses how the others are taken: as the hello itself, or as changes to a good one.
 * Whatever they are: a hello that parses encodes to the same bytes; it is judged the same however it was cut;
 * what is missing is never more than a hello can have; and every ack says a verdict that has a name. */
#include <string.h>

#include "proto/base/check.h"
#include "raft/handshake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Outcome of one parse; the fields that its status does not set stay 0. */
struct parsed {
    enum status status;
    struct handshake_hello hello;
    size_t size;
    enum handshake_verdict verdict;
};

static struct parsed parse(struct bytes input)
{
    struct parsed p = {.verdict = HANDSHAKE_ACCEPTED};
    p.status = handshake_hello_parse(input, &p.hello, &p.size, &p.verdict);
    switch (p.status) {
    case STATUS_OK:
        CHECK(p.size > HANDSHAKE_HELLO_HEAD_BYTES && p.size <= input.len);
        break;
    case STATUS_AGAIN:
        CHECK(p.size > input.len && p.size <= HANDSHAKE_HELLO_BYTES_MAX);
        break;
    default:
        CHECK(p.status == STATUS_CORRUPT);
        CHECK(p.verdict == HANDSHAKE_GARBAGE || p.verdict == HANDSHAKE_VERSION);
    }
    return p;
}

static void check_verdict(enum handshake_verdict verdict)
{
    uint8_t ack[HANDSHAKE_ACK_BYTES];
    CHECK(handshake_verdict_name(verdict) != NULL && handshake_verdict_text(verdict) != NULL);
    CHECK((unsigned)verdict < HANDSHAKE_VERDICTS);
    handshake_ack_encode(verdict, ack);
    CHECK(handshake_ack_parse(ack) == verdict);
}

static void check_hello(struct bytes input)
{
    static const struct handshake_node nodes[] = {{1, "10.0.0.1:9000"}, {2, "10.0.0.2:9000"}};
    const struct handshake_self self = {.cluster_hash = handshake_cluster_hash("fuzz"),
        .node_id = 1,
        .group_count = 3,
        .election_timeout_ms = 300,
        .nodes = nodes,
        .n_nodes = 2};
    struct parsed whole = parse(input);
    for (size_t len = 0; len < input.len && len <= HANDSHAKE_HELLO_BYTES_MAX; len++) {
        struct parsed part = parse(bytes_of(input.data, len));
        CHECK(part.status == STATUS_AGAIN || part.status == whole.status);
        if (part.status != STATUS_AGAIN) {
            CHECK(part.size == whole.size && part.verdict == whole.verdict);
        }
    }
    if (whole.status == STATUS_CORRUPT) {
        check_verdict(whole.verdict);
    }
    if (whole.status == STATUS_OK) {
        struct buf packed;
        buf_init(&packed);
        handshake_hello_encode(&whole.hello, &packed);
        CHECK(bytes_equal(buf_bytes(&packed), bytes_of(input.data, whole.size)));
        buf_deinit(&packed);
        check_verdict(handshake_judge(&self, &whole.hello));
    }
}

static void check_ack(struct bytes input)
{
    uint8_t ack[HANDSHAKE_ACK_BYTES];
    handshake_ack_encode(HANDSHAKE_TARGET, ack);
    for (size_t i = 0; i < input.len; i++) {
        ack[i % sizeof ack] ^= input.data[i];
    }
    check_verdict(handshake_ack_parse(ack));
    if (input.len >= sizeof ack) {
        check_verdict(handshake_ack_parse(input.data));
    }
}

/* A good hello, with @changes over it, and what of them is left behind it. */
static void changed_hello(struct bytes changes, struct buf *out)
{
    const struct handshake_hello good = {.cluster_hash = handshake_cluster_hash("fuzz"),
        .sender_id = 2,
        .target_id = 1,
        .group_count = 3,
        .group = 1,
        .election_timeout_ms = 300,
        .address = "10.0.0.2:9000"};
    handshake_hello_encode(&good, out);
    size_t over = changes.len < out->len ? changes.len : out->len;
    for (size_t i = 0; i < over; i++) {
        out->data[i] ^= changes.data[i];
    }
    buf_append(out, changes.data + over, changes.len - over);
    CHECK(!out->failed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct bytes rest = bytes_of(data + 1, size - 1);
    switch (data[0] % 3) {
    case 0:
        check_hello(rest);
        break;
    case 1: {
        struct buf hello;
        buf_init(&hello);
        changed_hello(rest, &hello);
        check_hello(buf_bytes(&hello));
        buf_deinit(&hello);
        break;
    }
    default:
        check_ack(rest);
    }
    return 0;
}
