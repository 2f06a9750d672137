/* For tests of the Redis front door: a real group behind it, and fake connections before it. Commands are
 * written as people type them (words with one space between; no quotes), replies are compared byte for byte.
 */
#ifndef WB_NODE_FRONT_REDIS_TEST_HELP_H
#define WB_NODE_FRONT_REDIS_TEST_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "node/front_redis.h"
#include "node/group_fixture.h"

/* SWEEP_MS: so long after a deadline its request is answered for sure. */
enum { TIMEOUT_MS = 5000, LEADER_WAIT_MS = 1500, SWEEP_MS = 1000, CALLS_MAX = 512 };

/* One command, with its reply. */
struct redis_call_of_test {
    struct resp_request request;
    bool done, close_after;
    struct buf reply; /* with a 0 behind it */
};

struct redis_bench {
    struct fixture f;
    struct front_redis *front;
    void *conn; /* the connection that most tests do with */
    struct redis_view_node nodes[3];
    unsigned leader; /* of every group: an index into nodes; 0 is this node */
    bool leader_known;
    bool answer_loads; /* the database has nothing, and says so at once */
    struct redis_call_of_test *calls[CALLS_MAX];
    unsigned calls_n;
};

/* A front of @group_count groups, all of which are the same one, which is ready and leads. */
void redis_bench_init(struct redis_bench *b, uint32_t group_count);
/* Closes `conn` as well. */
void redis_bench_deinit(struct redis_bench *b);
void *redis_bench_connect(struct redis_bench *b, uint64_t id);
void redis_bench_disconnect(struct redis_bench *b, void *conn);
/* Give a command to the front, and leave it there. */
struct redis_call_of_test *redis_bench_send(struct redis_bench *b, void *conn, const char *words);
struct redis_call_of_test *redis_bench_send_args(
    struct redis_bench *b, void *conn, const struct bytes *args, uint32_t n);
/* One turn of the loop; several, with what they propose committed. */
void redis_bench_turn(struct redis_bench *b);
void redis_bench_settle(struct redis_bench *b);
void redis_bench_pass(struct redis_bench *b, uint64_t ms);
/* Forget all calls, which must be done: there is room for CALLS_MAX again. */
void redis_bench_forget(struct redis_bench *b);
/* Send, settle: its reply. It must be there. */
const char *redis_bench_ask(struct redis_bench *b, void *conn, const char *words);
/* The same on `conn`, with the reply that must come. */
void assert_asked(struct redis_bench *b, const char *words, const char *reply);
/* Pairs of words and replies, the last one NULL. */
void assert_transcript(struct redis_bench *b, const char *const *lines);
void assert_reply(const struct redis_call_of_test *call, const char *reply);
void assert_begins(const char *reply, const char *with);

#endif
