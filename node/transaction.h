/* A transaction: what one request reads and writes of several keys of a group, evaluated as one step by the
 * leader. All of its writes are in one log entry, or nothing happens, and, but for exceptions
 * that state_apply_flush_begin names, in one batch of the flush. Pure.
 *
 * The requester's function is called when each key that it may look at is known. It sees the newest proposed
 * values and its own writes. It can be called again for the same request, when what it found out could not be
 * proposed: so each call begins its answer anew. Its answer may be told to nobody before the request is done
 * as OK. */
#ifndef WB_NODE_TRANSACTION_H
#define WB_NODE_TRANSACTION_H

#include "node/value.h"

struct transaction;

/* A key as the transaction finds it. */
struct transaction_value {
    struct value
        *value; /* NULL: not there; borrowed until the transaction writes this key or its function returns */
    uint8_t type;           /* enum value_type */
    uint64_t expires_at_ms; /* 0: never */
    /* For who wants to know whether the key was written in between: the version of what is there, or of the
     * delete that is remembered; 0 when neither is. Not known (then it is 0) for a write that has no log
     * index yet. */
    bool version_known;
    uint64_t version;
};

/* What the request named as its keys is all that may be given here; of a blind key only the latter two. */
void transaction_get(struct transaction *t, struct bytes key, struct transaction_value *out);
/* @value: at most LIMIT_VALUE_BYTES; its reference is taken over. An expiry that is not after
 * transaction_now_ms is a delete. Of several writes of a key the last one counts. Not in a stale or read-only
 * request. */
void transaction_put(
    struct transaction *t, struct bytes key, uint8_t type, struct value *value, uint64_t expires_at_ms);
void transaction_delete(struct transaction *t, struct bytes key);
/* The time for which expiries are judged: the leader's stamp, in milliseconds since 1970. It never goes back.
 */
uint64_t transaction_now_ms(const struct transaction *t);
/* The work that it was so far, in bytes that had to be looked at or written. What its function does beside
 * reading and writing it adds itself: a group evaluates only so much in one turn. */
uint64_t transaction_work(const struct transaction *t);
void transaction_add_work(struct transaction *t, uint64_t bytes);

#endif
