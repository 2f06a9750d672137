/* What a Redis client asks of the objects that a judge follows, and what the replies say in the judge's words
 * (history.h). Some objects are one key or one field of a hash; some are several of them that are only ever
 * written, read and deleted together, so that they are one object as well, unless somebody sees a part of a
 * write. Pure.
 *
 * A reply is judged by itself first: parts that differ, and sums within one transaction that do not follow
 * each other, are wrong whatever else happened. The rest is for linear_check. What Redis has and the judge
 * does not is said in its words, as exactly as these can:
 *
 *     HSET k f v      replies whether the field was there: a cas with that condition, which it satisfied
 *     a swap          SET GET, MULTI GET SET EXEC, WATCH GET MULTI SET EXEC: getdel of what was there, and
 *                     set; or cas if absent. (So somebody who sees nothing between the two goes unnoticed;
 *                     two swaps of one value do not.)
 *     a watched sum   WATCH GET n MULTI SET n+d EXEC: incr by d
 *
 * Without a reply, each of them is the write alone. */
#ifndef WB_CLUSTER_TESTS_REDIS_CALL_H
#define WB_CLUSTER_TESTS_REDIS_CALL_H

#include "cluster-tests/history.h"
#include "cluster-tests/redis/reply.h"
#include "proto/base/buf.h"

enum { REDIS_NAME_BYTES = 48, REDIS_VALUE_BYTES = 64, REDIS_PARTS = 3 };

enum redis_kind {
    REDIS_COUNTER,       /* a string that is only added to, never negative numbers */
    REDIS_TEXT,          /* a string */
    REDIS_FIELD_COUNTER, /* the only field of a hash; like COUNTER */
    REDIS_FIELD,         /* the only field of a hash */
    REDIS_FAMILY,        /* strings of one slot, with one value */
    REDIS_RECORD,        /* fields of a hash, with one value */
    REDIS_KINDS
};

struct redis_object {
    enum redis_kind kind;
    char name[REDIS_NAME_BYTES]; /* in histories. The key, or what the keys have in braces */
};

bool redis_kind_is_hash(enum redis_kind kind);
bool redis_kind_is_counter(enum redis_kind kind);
/* How many keys @o has, at most REDIS_PARTS. */
unsigned redis_object_keys(const struct redis_object *o);
/* Append its key number @i to @out. */
void redis_object_key(const struct redis_object *o, unsigned i, struct buf *out);
/* How many fields each of its keys has (0: they are strings), and their names: static, with all kinds of
 * bytes. */
unsigned redis_object_fields(const struct redis_object *o);
struct bytes redis_object_field(const struct redis_object *o, unsigned i);

/* How an object is used. X(NAME, words) */
#define REDIS_FORM_MAP(X)                                                                                    \
    X(READ, "GET, HGET, MGET, HMGET")                                                                        \
    X(READ_ALL, "HGETALL")                                                                                   \
    X(READ_MULTI, "MULTI GET... EXEC")                                                                       \
    X(WRITE, "SET, HSET, MSET")                                                                              \
    X(WRITE_MULTI, "MULTI SET... EXEC")                                                                      \
    X(WRITE_ABSENT, "SET NX, HSETNX, MSETNX")                                                                \
    X(WRITE_PRESENT, "SET XX")                                                                               \
    X(SWAP, "SET GET")                                                                                       \
    X(SWAP_MULTI, "MULTI GET SET EXEC")                                                                      \
    X(CHANGE, "WATCH GET MULTI SET EXEC")                                                                    \
    X(APPEND, "APPEND")                                                                                      \
    X(ADD, "INCRBY, HINCRBY")                                                                                \
    X(ADD_MULTI, "MULTI INCRBY... EXEC")                                                                     \
    X(REMOVE, "DEL")                                                                                         \
    X(REMOVE_FIELDS, "HDEL")                                                                                 \
    X(TAKE, "GETDEL")

enum redis_form {
#define X(name, words) REDIS_FORM_##name,
    REDIS_FORM_MAP(X)
#undef X
        REDIS_FORMS
};

const char *redis_form_words(enum redis_form form);
/* Is it asked within MULTI and EXEC? */
bool redis_form_is_transaction(enum redis_form form);
/* Out of 100 uses of an object of @kind, so many are @form; CHANGE, which needs two steps, is none of them.
 */
unsigned redis_form_percent(enum redis_kind kind, enum redis_form form);

struct redis_call {
    const struct redis_object *object;
    enum redis_form form;
    struct bytes value; /* what is written or appended */
    int64_t delta;      /* ADD; ADD_MULTI: of two steps, 1 and the rest; CHANGE of a counter */
    /* CHANGE: what was read after WATCH. */
    bool found;
    struct bytes before;
};

/* Append the commands. Returns how many replies they have; the last one says what came of it. A CHANGE is
 * what comes after WATCH and the read. */
unsigned redis_call_encode(const struct redis_call *call, struct buf *out);
/* Append WATCH for all keys of the object, with one reply, and the READ of it, with another. */
void redis_call_encode_watch(const struct redis_object *object, struct buf *out);
/* What a CHANGE leaves at a counter. */
int64_t redis_call_changed_number(const struct redis_call *call);
/* Append any command. */
void redis_command(struct buf *out, const char *const *words, unsigned n);

/* What became of a call. X(NAME, words) */
#define REDIS_ANSWER_MAP(X)                                                                                  \
    X(RESULT, "answered")                                                                                    \
    X(CONFLICT, "refused by WATCH")                                                                          \
    X(MOVED, "MOVED")                                                                                        \
    X(CLUSTERDOWN, "CLUSTERDOWN")                                                                            \
    X(TRYAGAIN, "TRYAGAIN")                                                                                  \
    X(EXECABORT, "EXECABORT")                                                                                \
    X(OOM, "OOM")                                                                                            \
    X(DATABASEDOWN, "DATABASEDOWN")                                                                          \
    X(TIMEOUT, "TIMEOUT")                                                                                    \
    X(REFUSED, "no connection")                                                                              \
    X(UNKNOWN, "UNKNOWN")                                                                                    \
    X(CLOSED, "connection lost")                                                                             \
    X(WRONG, "wrong")

enum redis_answer {
#define X(name, words) REDIS_ANSWER_##name,
    REDIS_ANSWER_MAP(X)
#undef X
        REDIS_ANSWERS
};

const char *redis_answer_words(enum redis_answer answer);
/* Does it say that nothing was done, neither a read nor a write? */
bool redis_answer_not_done(enum redis_answer answer);

/* One event for the history. */
struct redis_effect {
    enum history_op op;
    struct history_arg arg;
    struct history_result result;
};

enum { REDIS_EFFECTS_MAX = 2 };

struct redis_outcome {
    enum redis_answer answer;
    unsigned n; /* 0 unless answer is RESULT; they came one directly after the other */
    struct redis_effect effects[REDIS_EFFECTS_MAX]; /* borrow from the call and the reply */
    const char *why;                                /* of WRONG */
};

/* What @reply, the last one, makes of @call. */
struct redis_outcome redis_call_settle(const struct redis_call *call, const struct reply *reply);
/* What a follower's reply to a READ makes of it: of several keys, some may be missing in its memory. RESULT
 * with n == 0: it has none of them. */
struct redis_outcome redis_call_settle_stale(const struct redis_call *call, const struct reply *reply);
/* What the call did, if it did anything, when no reply tells. False: it changes nothing. */
bool redis_call_unknown(const struct redis_call *call, struct redis_effect *out);

#endif
