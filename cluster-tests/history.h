/* What clients asked of the cluster, what they were told, and when: the evidence for the judge in linear.h,
 * and, as a file, for any other checker.
 *
 * A recorder belongs to one thread; several of them, with one clock, are merged when the run is over. Keys
 * and values are stored once, however often they are seen. Pure, but for history_write and history_read.
 *
 * THE FILE has one JSON object a line, UTF-8, each line ended by "\n", in the order of start_ns:
 *
 *     {"client":3,"op":"set","key":"k1","arg":{"value":"x"},"result":{"version":7},"start_ns":10,"end_ns":25}
 *
 * All of "client", "op", "key", "arg" and "start_ns" are always there. "result" and "end_ns" are there when
 * the outcome is known; without them the operation may have happened at any time from its start on, or never.
 * Operations that certainly did not happen are not in the file. There are no other fields. All numbers are
 * integers and exact: from 0 to 2^63-1 (delta and number: signed, 64 bits), so don't read them as doubles.
 *
 *   client    who asked. A client may have several operations under way
 *   start_ns  when it was asked, end_ns when it was answered, on one clock for all clients, from any zero.
 *             end_ns >= start_ns. An operation that ends at the time at which another starts is concurrent to
 * it key       BYTES. Every key is absent before the first line BYTES     a string, when they are UTF-8 text
 * without U+0000; else {"base64":"..."} (RFC 4648, with padding) VERSION   of a value, as the cluster told:
 * unique for each write, and rising with the order of the writes to a key. "version" is left out where it was
 * not told, and where nothing was there or written
 *
 *   op       arg                                    result
 *   get      {}                                     {"value":BYTES,"version":VERSION}: of that value
 *                                                   {"value":null}: the key is not there
 *   set      {"value":BYTES}                        {"version":VERSION}: of this write
 *   del      {}                                     {"found":true,"version":VERSION}: it was there; of this
 * write
 *                                                   {"found":false}: it was not there; nothing was written
 *   getdel   {}                                     {"value":BYTES,"version":VERSION}: the value before; the
 *                                                   version is that of this write (the delete)
 *                                                   {"value":null}: it was not there; nothing was written
 *   incr     {"delta":N}                            {"number":N,"version":VERSION}: the sum; of this write
 *                                                   {"error":"not_a_number","version":VERSION}: of what is
 * there
 *                                                   {"error":"out_of_range","version":VERSION}: of what is
 * there append   {"value":BYTES}                        {"length":N,"version":VERSION}: of the whole value,
 * in bytes cas      {"if":"absent","value":BYTES}          {"version":VERSION}: it was set; of this write
 *            {"if":"present","value":BYTES}         {"error":"condition_failed","version":VERSION}: nothing
 * was
 *            {"if":"version","version":V,           done; of what is there. With "if":"version" it is never
 * left "value":BYTES}                        out: 0 says that nothing is there. ("if":"version" with V 0
 *                                                   holds when the key is not there.)
 *
 * A number is a value of decimal digits as printf's %d writes it; an absent key counts as 0 and as empty. A
 * write without a result that told its version has one all the same. Limits of size and expiry are not part
 * of the model: record a write that was refused as too big as failed. */
#ifndef WB_CLUSTER_TESTS_HISTORY_H
#define WB_CLUSTER_TESTS_HISTORY_H

#include <stdio.h>

#include "proto/base/bytes.h"
#include "proto/base/status.h"

/* X(NAME, word in the file) */
#define HISTORY_OP_MAP(X)                                                                                    \
    X(GET, "get")                                                                                            \
    X(SET, "set")                                                                                            \
    X(DEL, "del")                                                                                            \
    X(INCR, "incr")                                                                                          \
    X(APPEND, "append")                                                                                      \
    X(CAS, "cas")                                                                                            \
    X(GETDEL, "getdel")

enum history_op {
#define X(name, word) HISTORY_##name,
    HISTORY_OP_MAP(X)
#undef X
        HISTORY_OPS
};

enum history_condition { HISTORY_IF_ABSENT, HISTORY_IF_PRESENT, HISTORY_IF_VERSION };

/* What was asked. Zero it, then set what the operation has. */
struct history_arg {
    struct bytes value;               /* set, append, cas */
    int64_t delta;                    /* incr */
    enum history_condition condition; /* cas */
    uint64_t if_version;              /* cas with HISTORY_IF_VERSION; 0: the key is not there */
};

/* How it ended. */
enum history_outcome {
    HISTORY_UNKNOWN, /* it may have happened at any time since its start, may still happen, or never */
    HISTORY_OK,
    HISTORY_CONDITION_FAILED, /* cas */
    HISTORY_NOT_A_NUMBER,     /* incr */
    HISTORY_OUT_OF_RANGE,     /* incr */
};

/* What was answered. Zero it, then set what the operation has. */
struct history_result {
    enum history_outcome outcome; /* not UNKNOWN: that is history_end_unknown's */
    bool found;                   /* get, getdel: `value` was there; del: the key was there */
    struct bytes value;           /* get, getdel, when found */
    int64_t number;               /* incr: the sum */
    uint64_t length;              /* append */
    uint64_t version; /* of this write; get and all errors: of what is there; 0: not told, or nothing */
};

struct history_event {
    uint64_t client;
    enum history_op op;
    struct bytes key; /* all bytes are the history's, until it is deinited; equal ones share memory */
    struct history_arg arg;
    struct history_result result; /* outcome UNKNOWN: nothing else is set */
    uint64_t start_ns;
    uint64_t end_ns; /* 0 when UNKNOWN */
};

/* All but events and n_events is the recorder's own. */
struct history {
    struct history_event
        *events;     /* in the order of their beginnings, as far as no failed one left its place */
    size_t n_events; /* with those that are dropped: see history_event_live */
    size_t events_cap;
    uint8_t *states;   /* of each event: under way, ended, dropped */
    size_t *free_list; /* places of dropped events, to be used again */
    size_t n_free, free_cap;
    struct history_blob **blobs; /* the pool of keys and values: an open hash table */
    size_t n_blobs, blobs_cap;
    size_t bytes, bytes_max;
};

/* @bytes_max bounds what the history holds, in bytes: see history_begin. */
void history_init(struct history *h, size_t bytes_max);
void history_deinit(struct history *h);

/* @client is about to ask for @op. @key and @arg are copied. OK: *@handle is to be given to exactly one of
 * the history_end_ calls. OVERLOADED: the history is full. Then do not do the operation: a history that lacks
 * one is a wrong one. (Answers to what is under way may go beyond bytes_max.) */
enum status history_begin(struct history *h, uint64_t client, enum history_op op, struct bytes key,
    const struct history_arg *arg, uint64_t start_ns, size_t *handle);
/* It was answered. @result is copied; what its operation does not have is ignored. */
void history_end(struct history *h, size_t handle, const struct history_result *result, uint64_t end_ns);
/* It may or may not have happened, or may still happen. What is never ended counts as this. */
void history_end_unknown(struct history *h, size_t handle);
/* It certainly did not happen: it drops out. */
void history_end_failed(struct history *h, size_t handle);

/* Is event number @i part of the history, i.e. not one that failed? */
bool history_event_live(const struct history *h, size_t i);
/* Add the events of @from, which stays as it is. What is under way there is unknown here. OVERLOADED: it does
 * not fit; then a part of it has been added. */
enum status history_merge(struct history *h, const struct history *from);

/* Write the file, see above. INVALID: a number beyond 2^63-1; IO: @out failed; errno is set. @out is borrowed
 * and not closed; a part may have been written. */
enum status history_write(const struct history *h, FILE *out);
/* Read a file into @h, which is inited and empty, under its bytes_max. @in is borrowed. On anything but OK
 * @why (of @why_len bytes) is a sentence with the number of the line: INVALID: the line is not as above, or
 * the last line is cut; OVERLOADED: it is more than bytes_max; IO: reading failed. */
enum status history_read(struct history *h, FILE *in, char *why, size_t why_len);

/* The word of the file: "get". */
const char *history_op_word(enum history_op op);
const char *history_condition_word(enum history_condition condition);
/* "condition_failed"; NULL for UNKNOWN and OK. */
const char *history_error_word(enum history_outcome outcome);

#endif
