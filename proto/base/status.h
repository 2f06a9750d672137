/* What a call, or a request over the wire, came to. One row of the table per status: its number on the
 * wire (fixed for ever), its name, and the sentence that a person reads. */
#ifndef WB_PROTO_BASE_STATUS_H
#define WB_PROTO_BASE_STATUS_H

/* X(NAME, number, text) */
#define STATUS_MAP(X)                                                                                        \
    X(OK, 0, "done")                                                                                         \
    X(NOT_FOUND, 1, "no such key")                                                                           \
    X(NOT_LEADER, 2, "this node does not lead the key's group; nothing was done")                            \
    X(UNAVAILABLE, 3, "the group has no leader or is not ready yet; nothing was done; try again")            \
    X(UNKNOWN, 4, "the outcome is unknown: the write may or may not have happened")                          \
    X(TIMEOUT, 5, "the deadline passed")                                                                     \
    X(OVERLOADED, 6, "too much waits to be written to the database; nothing was done; try again later")      \
    X(INVALID, 7, "the request is not valid")                                                                \
    X(TOO_BIG, 8, "the key, the value or the request is too big")                                            \
    X(CROSS_GROUP, 9, "the keys of one request belong to different groups")                                  \
    X(DATABASE_DOWN, 10, "the key is not in memory and the database cannot be reached")                      \
    X(HALTED, 11, "the group is halted until an operator acts; see its message")                             \
    X(SHUTTING_DOWN, 12, "the node is shutting down; nothing was done")                                      \
    X(CLOSED, 13, "the connection was closed")                                                               \
    X(CORRUPT, 14, "the data is not what was written")                                                       \
    X(IO, 15, "an input or output error")                                                                    \
    X(NOMEM, 16, "out of memory")                                                                            \
    X(INTERNAL, 17, "an internal error")                                                                     \
    X(AGAIN, 18, "not enough bytes yet")                                                                     \
    X(NO_SPACE, 19, "the node's disk is nearly full; nothing was done")                                      \
    X(NOT_FLUSHED, 20, "done and replicated, but not yet in the database when the deadline came")            \
    X(CONDITION_FAILED, 21, "the condition does not hold; nothing was done")                                 \
    X(NOT_A_NUMBER, 22, "the value is not a decimal number of 64 bits; nothing was done")                    \
    X(OUT_OF_RANGE, 23, "the sum is beyond a number of 64 bits; nothing was done")                           \
    X(WRONG_TYPE, 24, "the key holds another type of value; nothing was done")                               \
    X(SESSION_EXPIRED, 25, "the session, or what it did under this sequence, is not known any more")         \
    X(QUARANTINED, 26, "done and replicated, but the database refuses the row: it is in quarantine")

enum status {
#define X(name, number, text) STATUS_##name = number,
    STATUS_MAP(X)
#undef X
};

/* The name ("NOT_LEADER") and the sentence; never NULL, also for a number from a newer peer. */
const char *status_name(int status);
const char *status_text(int status);

#endif
