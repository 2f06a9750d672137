/* Requests to and from bytes. Pure.
 *
 * Decoding looks at the bytes before it unpacks them: a small frame can hold so many empty fields that the
 * unpacked message is many times larger, and what a stranger can make us allocate must be bounded. Encoding
 * is in two steps: the operation is packed once, and each attempt puts its own id and deadline before it. */
#ifndef WB_RPC_REQUEST_CODEC_H
#define WB_RPC_REQUEST_CODEC_H

#include "proto/base/arena.h"
#include "proto/base/buf.h"
#include "proto/base/status.h"
#include "proto/client.pb-c.h"

/* Decode @payload into @arena.
 * OK: *@out is the message; its operation may still be one that this version does not know (op_case 0).
 * TOO_BIG: more fields than any request needs (above LIMIT_REQUEST_KEYS keys); *@id is the request's, if it
 * was seen. INVALID: no such message, or several operations in it. *@out is set on OK only; *@id is always
 * set, 0 when not known. */
enum status request_decode(
    struct bytes payload, struct arena *arena, const Wbrpc__Request **out, uint64_t *id);

/* Append the operation @op (a WBRPC__REQUEST__OP_*, whose numbers are the fields') with its @message to
 * @body. */
void request_body(struct buf *body, Wbrpc__Request__OpCase op, const ProtobufCMessage *message);
/* Append what goes beside it in every attempt. */
void request_body_level(struct buf *body, Wbrpc__Level level);
void request_body_stale(struct buf *body);

/* A write's place in its session. */
struct request_once {
    uint64_t session;
    uint64_t sequence;
    uint64_t first_awaited;
    bool retry;
};
/* Append a whole frame: @id, @deadline_ms, @once (NULL: none), and a @body made by request_body. */
void request_frame(
    struct buf *out, uint64_t id, uint32_t deadline_ms, const struct request_once *once, struct bytes body);

#endif
