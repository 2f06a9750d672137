/* What a connection has received and not yet understood: bytes in, whole frames out. Both ends use it, and
 * the Redis port does with a parser of its own instead of frames. Pure.
 *
 * The buffer grows only with bytes that really came, never by what a length announces: its size is at most
 * max(CONN_INPUT_KEEP_BYTES, twice what was received of the frame at hand + CONN_INPUT_FIRST_BYTES). */
#ifndef WB_RPC_CONN_INPUT_H
#define WB_RPC_CONN_INPUT_H

#include "proto/base/buf.h"
#include "proto/base/status.h"

enum {
    CONN_INPUT_FIRST_BYTES = 4 * 1024, /* room for the first read, and the least room for any */
    CONN_INPUT_KEEP_BYTES = 64 * 1024, /* a busy connection keeps so much, and no more, between frames */
};

struct conn_input {
    struct buf buf; /* received; the first @taken bytes have been handed out as frames */
    size_t taken;
    size_t frame_max; /* longest payload */
    bool filled;      /* the last read used all of its room: the next one gets more */
    bool failed;      /* a length was not acceptable: nothing can be found after it */
};

void conn_input_init(struct conn_input *in, size_t frame_max);
void conn_input_deinit(struct conn_input *in);
/* Forget all that was received. */
void conn_input_clear(struct conn_input *in);

/* Where the next bytes may be put: *@room of them, at least CONN_INPUT_FIRST_BYTES. Frames handed out before
 * are no longer valid. NULL when there is no memory. */
uint8_t *conn_input_room(struct conn_input *in, size_t *room);
/* How much more memory that may take than there is now. */
size_t conn_input_growth(const struct conn_input *in);
/* @len bytes were put there. */
void conn_input_received(struct conn_input *in, size_t len);

/* The next whole frame's payload, borrowed until conn_input_room or _clear.
 * AGAIN: more bytes are needed. TOO_BIG, from then on always: a length of 0 or above frame_max. */
enum status conn_input_next(struct conn_input *in, struct bytes *payload);

/* Without frames: all that is received and not handed out, borrowed until conn_input_room or _clear. */
struct bytes conn_input_rest(const struct conn_input *in);
/* The first @len bytes of it are handed out. */
void conn_input_take(struct conn_input *in, size_t len);
/* Give the buffer with all that was handed out of it away: to @to, which is empty. What was not is kept, in a
 * new one. Bytes handed out before stay where they are. */
void conn_input_give(struct conn_input *in, struct buf *to);

/* Received, and not handed out. */
size_t conn_input_pending(const struct conn_input *in);
/* Would conn_input_next give a frame? */
bool conn_input_whole(const struct conn_input *in);

/* No frame handed out is needed any more: give back what a big one took, if little is pending; with @all
 * everything, if nothing is. (conn_input_room does the first, but only when the peer sends again.) */
void conn_input_trim(struct conn_input *in, bool all);

#endif
