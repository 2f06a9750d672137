/* What commands of Redis' clients may cost the node: work in one turn, memory, and what happens beyond it;
 * and that nothing overtakes a WATCH. With a real group behind the front. */
#include "node/front_redis_test_help.h"

#include <string.h>

#include "node/front_redis_internal.h"
#include "node/group_internal.h"

#define OK     "+OK\r\n"
#define QUEUED "+QUEUED\r\n"

enum { BUDGET_BYTES = 16 * 1024 }; /* redis_bench's, for what clients may have the front keep */

/* A pipelining client reads behind its WATCH; what it read must not be older than what is watched, or it
 * would write over what it never saw. */
static void a_read_behind_a_watch_sees_what_is_watched(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    void *other = redis_bench_connect(&b, 8), *third = redis_bench_connect(&b, 9);
    assert_asked(&b, "SET a 0", OK);
    redis_bench_send(&b, other, "SET b 1");
    redis_bench_turn(&b); /* in flight */
    redis_bench_send(&b, other, "SET a 1");
    redis_bench_send(&b, third, "SET a 2"); /* in the open entry, without a version so far */
    struct redis_call_of_test *watch = redis_bench_send(&b, b.conn, "WATCH a");
    struct redis_call_of_test *get = redis_bench_send(&b, b.conn, "GET a");
    redis_bench_turn(&b);
    fixture_commit(&b.f, 1); /* the open entry goes on its way */
    redis_bench_send(&b, other, "SET a 3");
    redis_bench_settle(&b);
    redis_bench_settle(&b);
    assert_reply(watch, OK);
    bool newest = strcmp((const char *)get->reply.data, "$1\r\n3\r\n") == 0;
    assert_asked(&b, "MULTI", OK);
    assert_asked(&b, "APPEND a x", QUEUED);
    const char *exec = redis_bench_ask(&b, b.conn, "EXEC");
    assert_true(newest || strcmp(exec, "*-1\r\n") == 0);
    redis_bench_disconnect(&b, other);
    redis_bench_disconnect(&b, third);
    redis_bench_deinit(&b);
}

/* WATCH with @n keys of the slot of {w}, from number @from on. */
static struct redis_call_of_test *watch_many(struct redis_bench *b, void *conn, unsigned from, unsigned n)
{
    static char names[REDIS_WATCHED_MAX][16];
    static struct bytes args[REDIS_WATCHED_MAX + 1];
    args[0] = bytes_from_text("WATCH");
    for (unsigned i = 0; i < n; i++) {
        snprintf(names[i], sizeof names[i], "{w}%u", from + i);
        args[i + 1] = bytes_from_text(names[i]);
    }
    return redis_bench_send_args(b, conn, args, n + 1);
}

static void watches_sent_together_are_as_limited_as_others(void **state)
{
    enum { EACH = 100 };
    struct redis_bench b;
    redis_bench_init(&b, 1);
    b.front->config.multi_bytes_max = 1 << 20;
    struct redis_call_of_test *last = NULL;
    for (unsigned i = 0; i <= REDIS_WATCHED_MAX / EACH; i++) {
        last = watch_many(&b, b.conn, i * EACH, EACH);
    }
    for (int i = 0; i < 3; i++) {
        redis_bench_settle(&b);
    }
    assert_reply(last, "-ERR too many keys: at most 1024 can be watched\r\n");
    redis_bench_deinit(&b);
}

static void what_is_watched_counts_as_memory(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    void *other = redis_bench_connect(&b, 8);
    watch_many(&b, b.conn, 0, 100);
    redis_bench_settle(&b);
    watch_many(&b, b.conn, 100, 100);
    redis_bench_settle(&b);
    struct redis_call_of_test *more = watch_many(&b, other, 0, 200);
    redis_bench_settle(&b);
    assert_begins((const char *)more->reply.data, "-OOM ");
    assert_asked(&b, "UNWATCH", OK);
    more = watch_many(&b, other, 0, 100);
    redis_bench_settle(&b);
    assert_reply(more, OK);
    assert_true(b.front->multi_bytes > 0);
    /* neither EXEC nor the connection's end leaves anything behind */
    assert_string_equal(redis_bench_ask(&b, other, "MULTI"), OK);
    assert_string_equal(redis_bench_ask(&b, other, "EXEC"), "*0\r\n");
    assert_int_equal(b.front->multi_bytes, 0);
    watch_many(&b, other, 0, 100);
    redis_bench_disconnect(&b, other); /* before the answer */
    redis_bench_settle(&b);
    assert_int_equal(b.front->multi_bytes, 0);
    watch_many(&b, b.conn, 0, 100);
    redis_bench_settle(&b);
    assert_asked(&b, "RESET", "+RESET\r\n");
    assert_int_equal(b.front->multi_bytes, 0);
    redis_bench_deinit(&b);
}

/* They are composed when they are found, and told when it is certain that we still lead. */
static void replies_that_may_not_be_told_yet_take_no_more_memory_than_agreed(void **state)
{
    enum { GETS = 10, BIG = 5000 };
    static char value[BIG];
    struct bytes set[] = {bytes_from_text("SET"), bytes_from_text("a"), bytes_of(value, BIG)};
    struct redis_bench b;
    struct redis_call_of_test *gets[GETS];
    redis_bench_init(&b, 1);
    redis_bench_send_args(&b, b.conn, set, 3);
    redis_bench_settle(&b);
    b.f.lease = false;
    for (int i = 0; i < GETS; i++) {
        gets[i] = redis_bench_send(&b, b.conn, "GET a");
    }
    redis_bench_turn(&b);
    assert_in_range(b.front->composed_bytes, BIG, BUDGET_BYTES + 2 * BIG);
    group_on_barrier(b.f.group, b.f.barrier_token);
    redis_bench_settle(&b);
    int refused = 0;
    for (int i = 0; i < GETS; i++) {
        assert_true(gets[i]->done);
        refused += strstr((const char *)gets[i]->reply.data, "-OOM command not allowed: the replies") != NULL;
    }
    assert_in_range(refused, GETS - BUDGET_BYTES / BIG - 2, GETS - 1);
    assert_int_equal(b.front->composed_bytes, 0);
    b.f.lease = true;
    assert_begins(redis_bench_ask(&b, b.conn, "GET a"), "$5000\r\n");
    redis_bench_deinit(&b);
}

static void walks_over_all_keys_leave_the_other_turns_something(void **state)
{
    enum { KEYS = 3000, WALKS = 100 };
    static char names[KEYS][16];
    static struct bytes args[2 * 1000 + 1];
    struct redis_bench b;
    struct redis_call_of_test *walks[WALKS];
    redis_bench_init(&b, 1);
    b.front->config.multi_bytes_max = 1 << 20;
    b.f.group->config.dirty_entries_max = 2 * KEYS;
    for (int i = 0; i < KEYS; i += 1000) {
        args[0] = bytes_from_text("MSET");
        for (int k = 0; k < 1000; k++) {
            snprintf(names[i + k], sizeof names[0], "{a}%d", i + k);
            args[1 + 2 * k] = args[2 + 2 * k] = bytes_from_text(names[i + k]);
        }
        redis_bench_send_args(&b, b.conn, args, 2001);
        redis_bench_settle(&b);
    }
    for (int i = 0; i < WALKS; i++) {
        walks[i] = redis_bench_send(&b, b.conn, i % 2 == 0 ? "KEYS none" : "CLUSTER COUNTKEYSINSLOT 0");
    }
    unsigned turns = 0;
    for (int done = 0; done < WALKS; turns++) {
        int before = done;
        while (done < WALKS && walks[done]->done) {
            done++;
        }
        assert_in_range(done - before, 0, 20);
        assert_true(done == WALKS || front_redis_wake_ms(b.front) <= b.f.now_ms); /* it goes on at once */
        redis_bench_turn(&b);
    }
    assert_in_range(turns, WALKS / 20, WALKS);

    /* Who asks for many does not keep others waiting. */
    void *other = redis_bench_connect(&b, 8);
    redis_bench_forget(&b);
    for (int i = 0; i < WALKS; i++) {
        walks[i] = redis_bench_send(&b, b.conn, "KEYS none");
    }
    assert_true(redis_bench_send(&b, other, "PING")->done);
    struct redis_call_of_test *keys = redis_bench_send(&b, other, "KEYS none");
    for (int i = 0; i < 4; i++) {
        redis_bench_turn(&b);
    }
    assert_true(keys->done && !walks[WALKS - 1]->done);
    while (!walks[WALKS - 1]->done) {
        redis_bench_turn(&b);
    }
    redis_bench_disconnect(&b, other);

    /* In a transaction there are no turns in between. */
    for (int group = 0; group < 2; group++) { /* with a group, and without one */
        assert_asked(&b, "MULTI", OK);
        redis_bench_forget(&b);
        for (int i = 0; i < 200; i++) {
            assert_reply(redis_bench_send(&b, b.conn, "KEYS none"), QUEUED);
        }
        assert_asked(&b, group ? "GET a" : "PING", QUEUED);
        assert_begins(redis_bench_ask(&b, b.conn, "EXEC"), "-TOOBIG ");
    }
    redis_bench_deinit(&b);
}

static void a_transaction_looks_at_large_hashes_only_so_often(void **state)
{
    enum { BIG = 1000 * 1000 };
    static char value[BIG];
    struct bytes set[] = {
        bytes_from_text("HSET"), bytes_from_text("h"), bytes_from_text("f"), bytes_of(value, BIG)};
    struct redis_bench b;
    redis_bench_init(&b, 1);
    b.front->config.multi_bytes_max = 1 << 20;
    b.f.group->config.dirty_bytes_max = 64 << 20;
    redis_bench_send_args(&b, b.conn, set, 4);
    redis_bench_settle(&b);
    for (int many = 0; many < 2; many++) {
        redis_bench_forget(&b);
        assert_asked(&b, "MULTI", OK);
        assert_asked(&b, "SET {h}2 x", QUEUED);
        for (int i = 0; i < (many ? 180 : 60); i++) {
            assert_reply(redis_bench_send(&b, b.conn, "HEXISTS h g"), QUEUED);
        }
        assert_begins(redis_bench_ask(&b, b.conn, "EXEC"), many ? "-TOOBIG " : "*61\r\n");
        assert_asked(&b, "GETDEL {h}2", many ? "$-1\r\n" : "$1\r\nx\r\n"); /* nothing of it was done */
    }
    redis_bench_deinit(&b);
}

static void a_transaction_without_keys_whose_reply_is_too_big_says_so(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    b.front->config.multi_bytes_max = 1 << 20;
    assert_asked(&b, "MULTI", OK);
    for (int i = 0; i < 450; i++) {
        assert_reply(redis_bench_send(&b, b.conn, "COMMAND DOCS"), QUEUED);
    }
    assert_begins(redis_bench_ask(&b, b.conn, "EXEC"), "-TOOBIG ");
    assert_asked(&b, "PING", "+PONG\r\n");
    redis_bench_deinit(&b);
}

static void a_transaction_may_use_a_key_as_often_as_it_likes(void **state)
{
    enum { INCRS = 4200 };
    struct redis_bench b;
    redis_bench_init(&b, 1);
    b.front->config.multi_bytes_max = 8 << 20;
    struct redis_conn *c = b.conn;
    assert_asked(&b, "MULTI", OK);
    for (int i = 0; i < INCRS; i += 400) {
        for (int k = 0; k < 400; k++) {
            redis_bench_send(&b, b.conn, "INCR a");
        }
        redis_bench_forget(&b);
    }
    assert_int_equal(c->client->queued, 4400);
    assert_begins(redis_bench_ask(&b, b.conn, "EXEC"), "*4400\r\n:1\r\n:2\r\n");
    assert_asked(&b, "GET a", "$4\r\n4400\r\n");
    redis_bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_read_behind_a_watch_sees_what_is_watched),
        cmocka_unit_test(watches_sent_together_are_as_limited_as_others),
        cmocka_unit_test(what_is_watched_counts_as_memory),
        cmocka_unit_test(replies_that_may_not_be_told_yet_take_no_more_memory_than_agreed),
        cmocka_unit_test(walks_over_all_keys_leave_the_other_turns_something),
        cmocka_unit_test(a_transaction_looks_at_large_hashes_only_so_often),
        cmocka_unit_test(a_transaction_without_keys_whose_reply_is_too_big_says_so),
        cmocka_unit_test(a_transaction_may_use_a_key_as_often_as_it_likes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
