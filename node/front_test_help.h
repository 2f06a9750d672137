/* For tests of the front door: a real group behind it, and a fake rpc layer before it. rpc_reply packs the
 * answer, as the real one does, frees the request, and unpacks the answer for the test. */
#ifndef WB_NODE_FRONT_TEST_HELP_H
#define WB_NODE_FRONT_TEST_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "node/front.h"
#include "node/group_fixture.h"
#include "proto/pb.h"

/* SWEEP_MS: so long after a deadline its request is answered for sure. */
enum { SCAN_TAG = 0xbeef, CONN = 7, DEADLINE_MS = 5000, STALE_AGE_MS = 1234, SWEEP_MS = 1000 };

struct bench {
    struct fixture f;
    struct front front;
    const char *leader;   /* what the front is told about it */
    uint32_t asked_group; /* the group that it asked for last */
};

struct call {
    struct rpc_request rpc;
    Wbrpc__Response *answer;
};

/* A front of @group_count groups, all of which are the same one. Its database has nothing. */
void bench_init(struct bench *b, uint32_t group_count);
void bench_deinit(struct bench *b);
/* Give @msg to the front; @c must live until it is answered, and owns the answer. */
void bench_send(struct bench *b, struct call *c, Wbrpc__Request *msg);
/* Let the group do what is to be done. */
void bench_settle(struct bench *b);
/* Both: the answer to @msg, until the next one. The teardown of each test that asks frees the last. */
const Wbrpc__Response *bench_ask(struct bench *b, Wbrpc__Request *msg);
int bench_forget_answer(void **state);
#define FRONT_TEST(f) cmocka_unit_test_teardown(f, bench_forget_answer)

/* @s as a field of a message. */
ProtobufCBinaryData text(const char *s);

/* A request with one key in each of the messages that a test may want; the caller picks one by op_case. */
struct words {
    Wbrpc__Request msg;
    ProtobufCBinaryData key;
    Wbrpc__Keys keys;
    Wbrpc__KeyValue entry;
    Wbrpc__KeyValue *entries[1];
    Wbrpc__Set set;
    Wbrpc__Del del;
    Wbrpc__Incr incr;
    Wbrpc__Append append;
    Wbrpc__Expire expire;
    Wbrpc__Once once;
    Wbrpc__Flush flush;
    Wbrpc__Wait wait;
    Wbrpc__Scan scan;
    Wbrpc__OpenSession open_session;
    Wbrpc__Topology topology;
    Wbrpc__NodeStatus status;
};
Wbrpc__Request *words(struct words *w, Wbrpc__Request__OpCase op, const char *key, const char *value);
#define WORDS(w, op, key, value) words(w, WBRPC__REQUEST__OP_##op, key, value)
/* Ask with nothing but a key and a value. */
const Wbrpc__Response *bench_ask_simply(
    struct bench *b, Wbrpc__Request__OpCase op, const char *key, const char *value);
#define ASK(b, op, key, value) bench_ask_simply(b, WBRPC__REQUEST__OP_##op, key, value)

/* The one result of an answer with @status. */
const Wbrpc__Result *only_result(const Wbrpc__Response *answer, int status);
/* @r has the value @want, or none (NULL). */
void assert_text(const Wbrpc__Result *r, const char *want);

#endif
