/* Replies of a Redis server (RESP2), as the load needs them. Pure. Source: the RESP protocol specification.
 */
#ifndef WB_TOOLS_WBBENCH_REDIS_REPLY_H
#define WB_TOOLS_WBBENCH_REDIS_REPLY_H

#include "proto/base/bytes.h"
#include "proto/base/status.h"

enum redis_reply_kind {
    REDIS_STATUS,  /* "+OK": text */
    REDIS_ERROR,   /* "-ERR ...": text, without the minus */
    REDIS_INTEGER, /* number */
    REDIS_BULK,    /* text */
    REDIS_NULL,    /* a null bulk string or a null array */
    REDIS_ARRAY, /* number: how many replies are in it; text: their bytes, to be parsed one after the other */
};

struct redis_reply {
    enum redis_reply_kind kind;
    int64_t number;
    struct bytes text; /* borrows from the input */
};

/* Take one whole reply from the beginning of @input: STATUS_OK, and *@consumed is its length. STATUS_AGAIN:
 * it is not all there. STATUS_CORRUPT: this is no reply (or arrays in arrays deeper than 8, which no server
 * sends). */
enum status redis_reply_parse(struct bytes input, struct redis_reply *out, size_t *consumed);

/* The first word of an error's text, cut at @out_len - 1 bytes; anything but letters, digits and _ is a '?',
 * so that a strange server cannot write to a terminal. */
void redis_error_word(struct bytes text, char *out, size_t out_len);
/* An array of two integers, each at least 1: what WAITAOF 1 1 answers when it was done. */
bool redis_reply_is_synced(const struct redis_reply *reply);

#endif
