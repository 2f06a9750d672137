/* Transactions of Redis' clients: MULTI, EXEC, DISCARD, WATCH, with a real group behind them. The transcripts
 * are what a redis-server 7.0.15 in cluster mode says. */
#include "node/front_redis_test_help.h"

#include <string.h>

#define CROSSSLOT "-CROSSSLOT Keys in request don't hash to the same slot\r\n"
#define EXECABORT "-EXECABORT Transaction discarded because of previous errors.\r\n"
#define OK        "+OK\r\n"
#define QUEUED    "+QUEUED\r\n"

static void redis_own_transcripts(void **state)
{
    /* clang-format off */
    static const char *const lines[] = {
        "EXEC", "-ERR EXEC without MULTI\r\n",
        "DISCARD", "-ERR DISCARD without MULTI\r\n",
        "MULTI", OK,
        "MULTI", "-ERR MULTI calls can not be nested\r\n",
        "SET a 1", QUEUED,
        "EXEC", "*1\r\n+OK\r\n",
        "GET a", "$1\r\n1\r\n",
        /* what is refused without being spoilt */
        "MULTI", OK,
        "WATCH a", "-ERR WATCH inside MULTI is not allowed\r\n",
        "SET a 2", QUEUED,
        "EXEC", "*1\r\n+OK\r\n",
        "UNWATCH", OK,
        "UNWATCH x", "-ERR wrong number of arguments for 'unwatch' command\r\n",
        "EXEC x",
            "-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command\r\n",
        /* what spoils a transaction */
        "MULTI", OK,
        "NOSUCH", "-ERR unknown command 'NOSUCH', with args beginning with: \r\n",
        "SET a 3", QUEUED,
        "EXEC", EXECABORT,
        "MULTI", OK,
        "GET", "-ERR wrong number of arguments for 'get' command\r\n",
        "GET a", QUEUED,
        "EXEC", EXECABORT,
        "MULTI", OK,
        "MGET a b", CROSSSLOT,
        "EXEC", EXECABORT,
        "EXEC", "-ERR EXEC without MULTI\r\n",
        "MULTI", OK,
        "DISCARD x", "-ERR wrong number of arguments for 'discard' command\r\n",
        "EXEC", EXECABORT,
        /* different slots */
        "MULTI", OK,
        "SET a 3", QUEUED,
        "SET b 3", QUEUED,
        "EXEC", CROSSSLOT,
        "PING", "+PONG\r\n",
        "EXEC", "-ERR EXEC without MULTI\r\n",
        "MULTI", OK,
        "SET a 3", QUEUED,
        "SET b 3", QUEUED,
        "NOSUCH", "-ERR unknown command 'NOSUCH', with args beginning with: \r\n",
        "EXEC", CROSSSLOT,
        "GET a", "$1\r\n2\r\n",
        /* commands without keys */
        "MULTI", OK,
        "UNWATCH", QUEUED,
        "PING", QUEUED,
        "EXEC", "*2\r\n+OK\r\n+PONG\r\n",
        "MULTI", OK,
        "EXEC", "*0\r\n",
        "MULTI", OK,
        "DISCARD", OK,
        "EXEC", "-ERR EXEC without MULTI\r\n",
        "MULTI", OK,
        "RESET", "+RESET\r\n",
        "EXEC", "-ERR EXEC without MULTI\r\n",
        /* one that fails does not stop the others */
        "SET a x", OK,
        "MULTI", OK,
        "INCR a", QUEUED,
        "SET a 1", QUEUED,
        "GET a", QUEUED,
        "EXEC", "*3\r\n-ERR value is not an integer or out of range\r\n+OK\r\n$1\r\n1\r\n",
        "MULTI", OK,
        "SET a 9", QUEUED,
        "DISCARD", OK,
        "GET a", "$1\r\n1\r\n",
        /* watched keys */
        "WATCH a b", CROSSSLOT,
        "WATCH", "-ERR wrong number of arguments for 'watch' command\r\n",
        "WATCH a", OK,
        "SET a 5", OK,
        "MULTI", OK,
        "GET a", QUEUED,
        "EXEC", "*-1\r\n",
        "MULTI", OK,
        "GET a", QUEUED,
        "EXEC", "*1\r\n$1\r\n5\r\n",
        "WATCH a", OK,
        "SET a 6", OK,
        "UNWATCH", OK,
        "MULTI", OK,
        "EXEC", "*0\r\n",
        "WATCH a", OK,
        "MULTI", OK,
        "DISCARD", OK,
        "SET a 7", OK,
        "MULTI", OK,
        "EXEC", "*0\r\n",
        NULL,
    };
    /* clang-format on */
    struct redis_bench b;
    redis_bench_init(&b, 1);
    assert_transcript(&b, lines);
    redis_bench_deinit(&b);
}

static void a_transaction_is_one_log_entry_and_nobody_sees_half_of_it(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    void *other = redis_bench_connect(&b, 8);
    unsigned before = b.f.proposals;
    redis_bench_send(&b, b.conn, "MULTI");
    redis_bench_send(&b, b.conn, "SET {a}1 x");
    redis_bench_send(&b, b.conn, "SET {a}2 y");
    redis_bench_send(&b, b.conn, "DEL {a}3");
    struct redis_call_of_test *exec = redis_bench_send(&b, b.conn, "EXEC");
    struct redis_call_of_test *own = redis_bench_send(&b, b.conn, "GET {a}2");
    struct redis_call_of_test *get = redis_bench_send(&b, other, "MGET {a}1 {a}2");
    redis_bench_settle(&b);
    assert_int_equal(b.f.proposals, before + 1);
    assert_reply(exec, "*3\r\n+OK\r\n+OK\r\n:0\r\n");
    assert_reply(own, "$1\r\ny\r\n");
    const char *seen = (const char *)get->reply.data;
    assert_true(
        strcmp(seen, "*2\r\n$1\r\nx\r\n$1\r\ny\r\n") == 0 || strcmp(seen, "*2\r\n$-1\r\n$-1\r\n") == 0);
    redis_bench_disconnect(&b, other);
    redis_bench_deinit(&b);
}

static void a_watched_key_that_others_wrote_stops_the_transaction(void **state)
{
    static const char *const changes[] = {"SET a 2", "DEL a", "INCR a", "PEXPIRE a 100000"};
    struct redis_bench b;
    redis_bench_init(&b, 1);
    void *other = redis_bench_connect(&b, 8);
    for (int i = 0; i < 4; i++) {
        assert_asked(&b, "SET a 1", OK);
        assert_asked(&b, "WATCH a", OK);
        assert_asked(&b, "MULTI", OK);
        assert_asked(&b, "SET a 3", QUEUED);
        assert_int_not_equal(redis_bench_ask(&b, other, changes[i])[0], '-');
        assert_asked(&b, "EXEC", "*-1\r\n");
        assert_asked(&b, "WATCH a", OK);
        assert_asked(&b, "MULTI", OK);
        assert_asked(&b, "GET a", QUEUED);
        redis_bench_ask(&b, other, "GET a"); /* a read is no write */
        assert_begins(redis_bench_ask(&b, b.conn, "EXEC"), "*1\r\n");
    }
    redis_bench_disconnect(&b, other);
    redis_bench_deinit(&b);
}

static void a_key_that_is_not_there_can_be_watched(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    void *other = redis_bench_connect(&b, 8);
    for (int i = 0; i < 2; i++) {
        assert_asked(&b, "WATCH new", OK);
        assert_asked(&b, "MULTI", OK);
        assert_asked(&b, "SET new mine", QUEUED);
        if (i == 0) {
            assert_string_equal(redis_bench_ask(&b, other, "SET new theirs"), OK);
        }
        assert_asked(&b, "EXEC", i == 0 ? "*-1\r\n" : "*1\r\n+OK\r\n");
        assert_asked(&b, "GETDEL new", i == 0 ? "$6\r\ntheirs\r\n" : "$4\r\nmine\r\n");
    }
    redis_bench_disconnect(&b, other);
    redis_bench_deinit(&b);
}

static void a_write_in_flight_is_seen_by_watch(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    struct redis_call_of_test *set = redis_bench_send(&b, b.conn, "SET a 1");
    struct redis_call_of_test *watch = redis_bench_send(&b, b.conn, "WATCH a");
    redis_bench_settle(&b);
    assert_reply(set, OK);
    assert_reply(watch, OK);
    assert_asked(&b, "MULTI", OK);
    assert_asked(&b, "INCR a", QUEUED);
    assert_asked(&b, "EXEC", "*1\r\n:2\r\n");
    redis_bench_deinit(&b);
}

static void watched_keys_of_another_slot_are_crossslot(void **state)
{
    /* clang-format off */
    static const char *const lines[] = {
        "WATCH a", OK,
        "MULTI", OK,
        "SET b 1", QUEUED,
        "EXEC", CROSSSLOT,
        "WATCH a", OK,
        "WATCH b", OK,
        "MULTI", OK,
        "PING", QUEUED,
        "EXEC", CROSSSLOT,
        "MULTI", OK,
        "SET b 1", QUEUED,
        "EXEC", "*1\r\n+OK\r\n",
        NULL,
    };
    /* clang-format on */
    struct redis_bench b;
    redis_bench_init(&b, 1);
    assert_transcript(&b, lines);
    redis_bench_deinit(&b);
}

static void an_exec_waits_for_the_watch_before_it(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    void *other = redis_bench_connect(&b, 8);
    assert_asked(&b, "SET a 1", OK);
    struct redis_call_of_test *calls[] = {
        redis_bench_send(&b, b.conn, "WATCH a"),
        redis_bench_send(&b, b.conn, "MULTI"),
        redis_bench_send(&b, b.conn, "INCR a"),
        redis_bench_send(&b, b.conn, "EXEC"),
        redis_bench_send(&b, b.conn, "GET a"),
        redis_bench_send(&b, b.conn, "MULTI"),
        redis_bench_send(&b, b.conn, "EXEC"),
    };
    static const char *const replies[] = {OK, OK, QUEUED, "*1\r\n:2\r\n", "$1\r\n2\r\n", OK, "*0\r\n"};
    assert_false(calls[3]->done || calls[4]->done || calls[5]->done);
    redis_bench_settle(&b);
    for (int i = 0; i < 7; i++) {
        assert_reply(calls[i], replies[i]);
    }

    /* What comes between the WATCH's answer and the EXEC counts. */
    struct redis_call_of_test *watch = redis_bench_send(&b, b.conn, "WATCH a");
    redis_bench_send(&b, b.conn, "MULTI");
    redis_bench_send(&b, b.conn, "INCR a");
    struct redis_call_of_test *exec = redis_bench_send(&b, b.conn, "EXEC");
    redis_bench_turn(&b);
    assert_true(watch->done && !exec->done);
    assert_int_equal(front_redis_wake_ms(b.front), b.f.now_ms); /* the next turn goes on with it */
    struct redis_call_of_test *set = redis_bench_send(&b, other, "SET a 3");
    redis_bench_settle(&b);
    assert_reply(set, OK);
    assert_reply(exec, "*-1\r\n");
    redis_bench_disconnect(&b, other);
    redis_bench_deinit(&b);
}

static void a_transaction_begun_behind_a_watch_that_fails_is_not_executed(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    b.answer_loads = false;
    struct redis_call_of_test *watch = redis_bench_send(&b, b.conn, "WATCH a");
    struct redis_call_of_test *multi = redis_bench_send(&b, b.conn, "MULTI");
    struct redis_call_of_test *ping = redis_bench_send(&b, b.conn, "PING");
    struct redis_call_of_test *exec = redis_bench_send(&b, b.conn, "EXEC");
    redis_bench_turn(&b);
    loader_fail(&b.f, "connection refused");
    redis_bench_settle(&b);
    assert_begins((const char *)watch->reply.data, "-DATABASEDOWN ");
    assert_true(multi->done && ping->done);
    assert_reply(exec, EXECABORT);
    assert_asked(&b, "MULTI", OK);
    assert_asked(&b, "EXEC", "*0\r\n");
    redis_bench_deinit(&b);
}

static void a_watch_that_was_forgotten_before_its_answer_watches_nothing(void **state)
{
    static const char *const words[] = {"UNWATCH", "RESET"};
    struct redis_bench b;
    redis_bench_init(&b, 1);
    for (int i = 0; i < 2; i++) {
        redis_bench_send(&b, b.conn, "WATCH a");
        redis_bench_send(&b, b.conn, words[i]);
        redis_bench_settle(&b);
        assert_asked(&b, "SET a 1", OK);
        assert_asked(&b, "MULTI", OK);
        assert_asked(&b, "EXEC", "*0\r\n");
    }
    redis_bench_deinit(&b);
}

static void a_transaction_waits_for_a_leader_as_a_whole(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    assert_asked(&b, "WATCH a", OK);
    fixture_depose(&b.f);
    b.leader_known = false;
    assert_asked(&b, "MULTI", OK);
    assert_asked(&b, "APPEND a x", QUEUED);
    assert_asked(&b, "STRLEN a", QUEUED);
    struct redis_call_of_test *exec = redis_bench_send(&b, b.conn, "EXEC");
    redis_bench_turn(&b);
    assert_false(exec->done);
    fixture_elect(&b.f, 2, 0);
    redis_bench_settle(&b);
    assert_reply(exec, "*2\r\n:1\r\n:1\r\n");

    fixture_depose(&b.f);
    assert_asked(&b, "MULTI", OK);
    assert_asked(&b, "APPEND a x", QUEUED);
    exec = redis_bench_send(&b, b.conn, "EXEC");
    redis_bench_pass(&b, LEADER_WAIT_MS);
    assert_reply(exec, "-CLUSTERDOWN The cluster is down\r\n");
    assert_asked(&b, "EXEC", "-ERR EXEC without MULTI\r\n");
    redis_bench_deinit(&b);
}

static void hello_inside_a_transaction_changes_what_follows(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    assert_asked(&b, "MULTI", OK);
    assert_asked(&b, "HGETALL h", QUEUED);
    assert_asked(&b, "HELLO 3", QUEUED);
    assert_asked(&b, "HGETALL h", QUEUED);
    const char *reply = redis_bench_ask(&b, b.conn, "EXEC");
    assert_begins(reply, "*3\r\n*0\r\n%7\r\n");
    assert_string_equal(reply + strlen(reply) - strlen("%0\r\n"), "%0\r\n");
    assert_asked(&b, "WATCH h", OK);
    assert_asked(&b, "SET h 1", OK);
    assert_asked(&b, "MULTI", OK);
    assert_asked(&b, "EXEC", "_\r\n");
    redis_bench_deinit(&b);
}

/* A client that pipelines sends more before the answer; the EXEC waits for a load meanwhile. */
static void nothing_overtakes_a_transaction_that_asks_for_settings(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    b.answer_loads = false;
    redis_bench_send(&b, b.conn, "MULTI");
    redis_bench_send(&b, b.conn, "INCR unknown");
    redis_bench_send(&b, b.conn, "CLIENT GETNAME");
    redis_bench_send(&b, b.conn, "HELLO 3");
    struct redis_call_of_test *exec = redis_bench_send(&b, b.conn, "EXEC");
    struct redis_call_of_test *name = redis_bench_send(&b, b.conn, "CLIENT SETNAME late");
    struct redis_call_of_test *get = redis_bench_send(&b, b.conn, "GET none");
    redis_bench_turn(&b);
    loader_answer(&b.f, NULL, NULL, 0);
    b.answer_loads = true;
    redis_bench_settle(&b);
    redis_bench_settle(&b);
    assert_begins((const char *)exec->reply.data, "*3\r\n:1\r\n$-1\r\n%7\r\n");
    assert_reply(name, OK);
    assert_reply(get, "_\r\n");
    assert_asked(&b, "CLIENT GETNAME", "$4\r\nlate\r\n");
    redis_bench_deinit(&b);
}

static void what_is_queued_takes_no_more_memory_than_agreed(void **state)
{
    enum { BIG = 10 * 1024 };
    static char value[BIG];
    struct bytes set[] = {bytes_from_text("SET"), bytes_from_text("a"), bytes_of(value, BIG)};
    struct redis_bench b;
    redis_bench_init(&b, 1); /* 16 KiB for all connections */
    void *other = redis_bench_connect(&b, 8);
    assert_asked(&b, "MULTI", OK);
    assert_string_equal(redis_bench_ask(&b, other, "MULTI"), OK);
    assert_reply(redis_bench_send_args(&b, b.conn, set, 3), QUEUED);
    assert_begins((const char *)redis_bench_send_args(&b, other, set, 3)->reply.data, "-OOM ");
    assert_string_equal(redis_bench_ask(&b, other, "EXEC"), EXECABORT);
    assert_asked(&b, "EXEC", "*1\r\n+OK\r\n");
    assert_string_equal(redis_bench_ask(&b, other, "MULTI"), OK);
    assert_reply(redis_bench_send_args(&b, other, set, 3), QUEUED); /* there is room again */
    redis_bench_disconnect(&b, other);
    assert_asked(&b, "MULTI", OK);
    assert_reply(redis_bench_send_args(&b, b.conn, set, 3), QUEUED);
    assert_asked(&b, "RESET", "+RESET\r\n");
    assert_asked(&b, "MULTI", OK);
    assert_reply(redis_bench_send_args(&b, b.conn, set, 3), QUEUED);
    redis_bench_deinit(&b);
}

static void client_reply_has_no_place_in_a_transaction(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    assert_asked(&b, "MULTI", OK);
    assert_asked(&b, "CLIENT REPLY OFF", "-ERR Command not allowed inside a transaction\r\n");
    assert_asked(&b, "EXEC", EXECABORT);
    redis_bench_deinit(&b);
}

/* A command over command_bytes_max never comes here. */
static void a_transaction_does_not_run_without_what_the_server_refused(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    assert_asked(&b, "MULTI", OK);
    assert_asked(&b, "SET a 1", QUEUED);
    front_redis_on_refused(b.front, b.conn);
    assert_asked(&b, "EXEC", EXECABORT);
    assert_asked(&b, "GET a", "$-1\r\n");
    /* held behind an EXEC that waits for its WATCH */
    struct redis_call_of_test *exec[2];
    redis_bench_send(&b, b.conn, "WATCH a");
    redis_bench_send(&b, b.conn, "MULTI");
    redis_bench_send(&b, b.conn, "SET a 2");
    exec[0] = redis_bench_send(&b, b.conn, "EXEC");
    redis_bench_send(&b, b.conn, "MULTI");
    front_redis_on_refused(b.front, b.conn);
    redis_bench_send(&b, b.conn, "SET a 3");
    exec[1] = redis_bench_send(&b, b.conn, "EXEC");
    assert_false(exec[0]->done);
    redis_bench_settle(&b);
    assert_reply(exec[0], "*1\r\n+OK\r\n");
    assert_reply(exec[1], EXECABORT);
    assert_asked(&b, "GET a", "$1\r\n2\r\n");
    /* and that was all */
    assert_asked(&b, "MULTI", OK);
    assert_asked(&b, "SET a 4", QUEUED);
    assert_asked(&b, "EXEC", "*1\r\n+OK\r\n");
    redis_bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(redis_own_transcripts),
        cmocka_unit_test(a_transaction_is_one_log_entry_and_nobody_sees_half_of_it),
        cmocka_unit_test(a_watched_key_that_others_wrote_stops_the_transaction),
        cmocka_unit_test(a_key_that_is_not_there_can_be_watched),
        cmocka_unit_test(a_write_in_flight_is_seen_by_watch),
        cmocka_unit_test(watched_keys_of_another_slot_are_crossslot),
        cmocka_unit_test(an_exec_waits_for_the_watch_before_it),
        cmocka_unit_test(a_transaction_begun_behind_a_watch_that_fails_is_not_executed),
        cmocka_unit_test(a_watch_that_was_forgotten_before_its_answer_watches_nothing),
        cmocka_unit_test(a_transaction_waits_for_a_leader_as_a_whole),
        cmocka_unit_test(hello_inside_a_transaction_changes_what_follows),
        cmocka_unit_test(nothing_overtakes_a_transaction_that_asks_for_settings),
        cmocka_unit_test(what_is_queued_takes_no_more_memory_than_agreed),
        cmocka_unit_test(client_reply_has_no_place_in_a_transaction),
        cmocka_unit_test(a_transaction_does_not_run_without_what_the_server_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
