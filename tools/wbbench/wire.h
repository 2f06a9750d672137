/* The client protocol as the load needs it: requests that are encoded once and then only patched, and answers
 * of which only the few fields that count are read. Pure. Everything else (topology) goes through protobuf-c.
 */
#ifndef WB_TOOLS_WBBENCH_WIRE_H
#define WB_TOOLS_WBBENCH_WIRE_H

#include "proto/base/buf.h"

/* Request ids from here on, below WIRE_ID_END, all take four bytes, so that they can be patched in place. */
#define WIRE_ID_FIRST (UINT32_C(1) << 21)
#define WIRE_ID_END   (UINT32_C(1) << 28)

/* One frame with holes for the id and the key. */
struct wire_template {
    struct buf frame;
    size_t id_at;
    size_t key_at;
    size_t key_len;
};

/* Prepare a set of one key of @key_len (>= 1) bytes to @value, or a get. The node answers within
 * @deadline_ms. */
void wire_template_set(struct wire_template *t, size_t key_len, struct bytes value, uint32_t deadline_ms);
void wire_template_get(struct wire_template *t, size_t key_len, uint32_t deadline_ms);
void wire_template_deinit(struct wire_template *t);
/* Append the frame with @id and @key (key_len bytes) to @out. */
void wire_request(const struct wire_template *t, uint32_t id, const char *key, struct buf *out);
/* Append a topology request. */
void wire_topology_request(uint32_t id, struct buf *out);

struct wire_answer {
    uint64_t id;
    uint32_t status;
    uint32_t retry_after_ms;
    struct bytes leader; /* borrows from the payload; empty when not given */
    struct bytes message;
    bool found; /* of the first result */
    bool has_topology;
};
/* Read one Response. False when the bytes are no such message. */
bool wire_answer_parse(struct bytes payload, struct wire_answer *out);

#endif
