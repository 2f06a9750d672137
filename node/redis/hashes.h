/* What the files of the hash commands share. Pure. */
#ifndef WB_NODE_REDIS_HASHES_H
#define WB_NODE_REDIS_HASHES_H

#include "node/redis/command.h"
#include "proto/fields.h"

/* A key's hash, before the command. */
struct hash {
    struct bytes fields; /* see fields.h; no bytes: there is no such key. Borrowed until the key is written */
    uint64_t expires_at_ms; /* which writing it keeps; 0: never */
};

/* The hash under the command's key. False: another type is there, and the reply says so. */
bool hash_read(struct redis_call *c, struct hash *out);
/* Its fields become @fields, which is freed; the key goes when there are none. False: they are too big,
 * nothing was written, and the reply says so. */
bool hash_write(struct redis_call *c, const struct hash *before, struct buf *fields);

/* A command may ask for a field many times, so a small one could make a reply of any size. One command
 * replies at most about so many bytes; over that it replies with hash_reply_too_long instead. */
enum { HASH_REPLY_BYTES_MAX = 16 * 1024 * 1024 };
void hash_reply_too_long(struct redis_call *c);

#endif
