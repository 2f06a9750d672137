/* The Redis front door with a real group behind it: what commands come to, where they are sent, and what
 * waits. */
#include "node/front_redis_test_help.h"

#include <string.h>

#include "proto/log_entry.h"

#define CROSSSLOT "-CROSSSLOT Keys in request don't hash to the same slot\r\n"
#define DOWN      "-CLUSTERDOWN The cluster is down\r\n"
/* Of the key "a". */
#define MOVED_A "-MOVED 15495 10.0.0.2:7002\r\n"

/* ---- Commands ---- */

static void a_write_is_answered_when_it_has_applied(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    struct redis_call_of_test *set = redis_bench_send(&b, b.conn, "SET a 1");
    redis_bench_turn(&b);
    assert_false(set->done);
    fixture_commit(&b.f, UINT32_MAX);
    assert_reply(set, "+OK\r\n");
    assert_asked(&b, "get a", "$1\r\n1\r\n");
    redis_bench_deinit(&b);
}

static void a_command_sees_what_its_connection_wrote_before(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    struct redis_call_of_test *set = redis_bench_send(&b, b.conn, "SET a 1");
    struct redis_call_of_test *incr = redis_bench_send(&b, b.conn, "INCR a");
    struct redis_call_of_test *get = redis_bench_send(&b, b.conn, "GET a");
    struct redis_call_of_test *count = redis_bench_send(&b, b.conn, "DBSIZE");
    struct redis_call_of_test *ping = redis_bench_send(&b, b.conn, "PING");
    assert_false(ping->done); /* behind DBSIZE, which looks at what the others wrote */
    redis_bench_settle(&b);
    assert_reply(set, "+OK\r\n");
    assert_reply(incr, ":2\r\n");
    assert_reply(get, "$1\r\n2\r\n");
    assert_reply(count, ":1\r\n");
    assert_reply(ping, "+PONG\r\n");
    redis_bench_deinit(&b);
}

static void what_is_no_command_is_refused_with_redis_words(void **state)
{
    /* clang-format off */
    static const char *const lines[] = {
        "NOSUCH x y", "-ERR unknown command 'NOSUCH', with args beginning with: 'x' 'y' \r\n",
        "GET", "-ERR wrong number of arguments for 'get' command\r\n",
        "GET a b", "-ERR wrong number of arguments for 'get' command\r\n",
        "CLIENT", "-ERR wrong number of arguments for 'client' command\r\n",
        "CLIENT nosuch", "-ERR unknown subcommand 'nosuch'. Try CLIENT HELP.\r\n",
        "CLIENT REPLY", "-ERR wrong number of arguments for 'client|reply' command\r\n",
        "MGET a b", CROSSSLOT,
        "MSET a 1 b", CROSSSLOT,
        "MSET a 1 a", "-ERR wrong number of arguments for 'mset' command\r\n",
        "MGET {a}b {a}c {a}b", "*3\r\n$-1\r\n$-1\r\n$-1\r\n",
        NULL,
    };
    /* clang-format on */
    struct redis_bench b;
    redis_bench_init(&b, 1);
    assert_transcript(&b, lines);
    redis_bench_deinit(&b);
}

static void a_command_that_is_not_supported_says_why(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    const char *reply = redis_bench_ask(&b, b.conn, "LPUSH list x");
    assert_begins(reply, "-ERR unknown command 'LPUSH': ");
    assert_int_equal(b.f.proposals, b.f.last_index - b.f.barriers);
    redis_bench_deinit(&b);
}

static void keys_may_be_empty_but_not_too_long_nor_too_many(void **state)
{
    enum { MANY = 4098 };
    static char key[LIMIT_KEY_BYTES + 1];
    static struct bytes args[MANY];
    struct redis_bench b;
    redis_bench_init(&b, 1);
    memset(key, 'k', sizeof key);
    struct bytes get[] = {bytes_from_text("GET"), bytes_of(key, LIMIT_KEY_BYTES + 1)};
    assert_begins(
        (const char *)redis_bench_send_args(&b, b.conn, get, 2)->reply.data, "-ERR key is too long");
    get[1].len = LIMIT_KEY_BYTES;
    struct redis_call_of_test *call = redis_bench_send_args(&b, b.conn, get, 2);
    redis_bench_settle(&b);
    assert_reply(call, "$-1\r\n");
    assert_asked(&b, "SET  empty", "+OK\r\n");
    assert_asked(&b, "GET ", "$5\r\nempty\r\n");
    args[0] = bytes_from_text("EXISTS");
    for (int i = 1; i < MANY; i++) {
        args[i] = bytes_from_text("");
    }
    assert_begins(
        (const char *)redis_bench_send_args(&b, b.conn, args, MANY)->reply.data, "-ERR too many keys");
    call = redis_bench_send_args(&b, b.conn, args, MANY - 1);
    redis_bench_settle(&b);
    assert_reply(call, ":4096\r\n");
    redis_bench_deinit(&b);
}

static void a_reply_that_would_be_far_too_big_is_refused(void **state)
{
    enum { BIG = 500 * 1024, TIMES = 100 };
    static char value[BIG];
    struct bytes args[TIMES + 1] = {bytes_from_text("SET"), bytes_from_text("a"), bytes_of(value, BIG)};
    struct redis_bench b;
    redis_bench_init(&b, 1);
    struct redis_call_of_test *set = redis_bench_send_args(&b, b.conn, args, 3);
    redis_bench_settle(&b);
    assert_reply(set, "+OK\r\n");
    args[0] = bytes_from_text("MGET");
    for (int i = 1; i <= TIMES; i++) {
        args[i] = bytes_from_text("a");
    }
    struct redis_call_of_test *get = redis_bench_send_args(&b, b.conn, args, TIMES + 1);
    redis_bench_settle(&b);
    assert_begins((const char *)get->reply.data, "-TOOBIG ");
    get = redis_bench_send_args(&b, b.conn, args, 10);
    redis_bench_settle(&b);
    assert_true(get->done && get->reply.len > (size_t)9 * BIG);
    assert_asked(&b, "HSET h f v", ":1\r\n");
    assert_asked(&b, "HRANDFIELD h -2", "*2\r\n$1\r\nf\r\n$1\r\nf\r\n");
    assert_begins(redis_bench_ask(&b, b.conn, "HRANDFIELD h -10000000"), "-ERR the reply would be");
    assert_begins(
        redis_bench_ask(&b, b.conn, "HRANDFIELD h -4000000000000000000"), "-ERR the reply would be");
    redis_bench_deinit(&b);
}

/* ---- Outcomes ---- */

static void a_full_dirty_budget_is_oom(void **state)
{
    enum { BIG = 600 * 1024 };
    static char value[BIG];
    struct bytes args[] = {bytes_from_text("SET"), bytes_from_text("a"), bytes_of(value, BIG)};
    struct redis_bench b;
    redis_bench_init(&b, 1);
    struct redis_call_of_test *set = redis_bench_send_args(&b, b.conn, args, 3);
    redis_bench_settle(&b);
    assert_reply(set, "+OK\r\n");
    args[1] = bytes_from_text("b");
    set = redis_bench_send_args(&b, b.conn, args, 3);
    redis_bench_settle(&b);
    assert_begins((const char *)set->reply.data, "-OOM command not allowed");
    assert_asked(&b, "STRLEN a", ":614400\r\n");
    redis_bench_deinit(&b);
}

static void without_the_database_a_miss_says_so(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    b.answer_loads = false;
    struct redis_call_of_test *get = redis_bench_send(&b, b.conn, "GET a");
    redis_bench_turn(&b);
    loader_fail(&b.f, "connection refused");
    redis_bench_turn(&b);
    assert_true(get->done);
    assert_begins((const char *)get->reply.data, "-DATABASEDOWN ");
    assert_asked(&b, "SET a blindly", "+OK\r\n");
    redis_bench_deinit(&b);
}

static void what_takes_too_long_is_timeout_or_unknown(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    b.answer_loads = false;
    struct redis_call_of_test *get = redis_bench_send(&b, b.conn, "GET a");
    struct redis_call_of_test *set = redis_bench_send(&b, b.conn, "SET b 1");
    redis_bench_turn(&b);
    redis_bench_pass(&b, TIMEOUT_MS + SWEEP_MS);
    assert_true(get->done && set->done);
    assert_begins((const char *)get->reply.data, "-TIMEOUT ");
    assert_begins((const char *)set->reply.data, "-UNKNOWN the outcome is unknown");
    assert_false(set->close_after);
    redis_bench_deinit(&b);
}

static void a_write_whose_leader_is_deposed_is_unknown(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    struct redis_call_of_test *set = redis_bench_send(&b, b.conn, "SET a 1");
    redis_bench_turn(&b);
    fixture_depose(&b.f);
    assert_true(set->done && !set->close_after);
    assert_begins((const char *)set->reply.data, "-UNKNOWN the outcome is unknown");
    redis_bench_deinit(&b);
}

static void a_full_disk_is_nospace(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    b.f.propose_status = STATUS_NO_SPACE;
    assert_begins(redis_bench_ask(&b, b.conn, "SET a 1"), "-NOSPACE ");
    redis_bench_deinit(&b);
}

static void a_transaction_larger_than_an_entry_is_too_big(void **state)
{
    enum { BIG = 600 * 1024 };
    static char value[BIG];
    struct bytes v = bytes_of(value, BIG);
    struct bytes args[] = {bytes_from_text("MSET"), bytes_from_text("{a}1"), v, bytes_from_text("{a}2"), v};
    struct redis_bench b;
    redis_bench_init(&b, 1);
    struct redis_call_of_test *set = redis_bench_send_args(&b, b.conn, args, 5);
    redis_bench_settle(&b);
    assert_begins((const char *)set->reply.data, "-TOOBIG ");
    assert_asked(&b, "EXISTS {a}1 {a}2", ":0\r\n");
    redis_bench_deinit(&b);
}

/* ---- Another leader ---- */

static void a_follower_names_the_leader_and_reads_for_whom_it_may(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    assert_asked(&b, "SET a 1", "+OK\r\n");
    fixture_depose(&b.f);
    b.leader = 1;
    assert_asked(&b, "GET a", MOVED_A);
    assert_asked(&b, "SET a 2", MOVED_A);
    assert_asked(&b, "READONLY", "+OK\r\n");
    assert_asked(&b, "GET a", "$1\r\n1\r\n");
    assert_asked(&b, "SET a 2", MOVED_A);
    assert_asked(&b, "WB.LAG a", MOVED_A);
    assert_asked(&b, "MULTI", "+OK\r\n");
    assert_asked(&b, "GET a", "+QUEUED\r\n");
    assert_asked(&b, "EXEC", "*1\r\n$1\r\n1\r\n");
    assert_asked(&b, "MULTI", "+OK\r\n");
    assert_asked(&b, "SET a 2", MOVED_A);
    assert_asked(&b, "EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n");
    assert_asked(&b, "READWRITE", "+OK\r\n");
    assert_asked(&b, "GET a", MOVED_A);
    redis_bench_deinit(&b);
}

static void deposed_between_question_and_answer_it_says_moved(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    struct redis_call_of_test *get = redis_bench_send(&b, b.conn, "GET a");
    b.leader = 1;
    fixture_depose(&b.f);
    assert_reply(get, MOVED_A);
    redis_bench_deinit(&b);
}

static void without_a_leader_commands_wait_and_are_done_in_their_order(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    b.leader_known = false;
    struct redis_call_of_test *first = redis_bench_send(&b, b.conn, "APPEND a 1");
    fixture_depose(&b.f); /* it has reached the group, and comes back */
    struct redis_call_of_test *second = redis_bench_send(&b, b.conn, "APPEND a 2");
    struct redis_call_of_test *get = redis_bench_send(&b, b.conn, "GET a");
    redis_bench_pass(&b, LEADER_WAIT_MS - 1);
    assert_false(first->done || second->done || get->done);
    assert_int_equal(front_redis_wake_ms(b.front), b.f.now_ms + 1);
    b.leader_known = true; /* it is this node, though not in office yet */
    redis_bench_turn(&b);
    assert_false(first->done);
    fixture_elect(&b.f, 2, 0);
    redis_bench_settle(&b);
    assert_reply(first, ":1\r\n");
    assert_reply(second, ":2\r\n");
    assert_reply(get, "$2\r\n12\r\n");
    assert_int_equal(front_redis_wake_ms(b.front), UINT64_MAX);
    redis_bench_deinit(&b);
}

static void whoever_waited_for_a_leader_elsewhere_is_sent_there(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    fixture_depose(&b.f);
    b.leader_known = false;
    struct redis_call_of_test *get = redis_bench_send(&b, b.conn, "GET a");
    redis_bench_turn(&b);
    assert_false(get->done);
    b.leader = 1;
    b.leader_known = true;
    redis_bench_turn(&b);
    assert_reply(get, MOVED_A);
    redis_bench_deinit(&b);
}

static void nobody_waits_longer_than_agreed(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    fixture_depose(&b.f);
    b.leader_known = false;
    struct redis_call_of_test *get = redis_bench_send(&b, b.conn, "GET a");
    redis_bench_pass(&b, LEADER_WAIT_MS);
    assert_reply(get, DOWN);
    assert_false(get->close_after);
    redis_bench_deinit(&b);
}

static void a_group_that_is_being_set_up_is_waited_for(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    fixture_deinit(&b.f);
    fixture_init(&b.f, 0, false, false);
    struct redis_call_of_test *get = redis_bench_send(&b, b.conn, "GET a");
    redis_bench_turn(&b);
    redis_bench_pass(&b, 100);
    assert_false(get->done);
    assert_true(front_redis_wake_ms(b.front) <= b.f.now_ms + 100);
    fixture_make_ready(&b.f);
    redis_bench_pass(&b, 100);
    redis_bench_settle(&b);
    assert_reply(get, "$-1\r\n");
    redis_bench_deinit(&b);
}

/* The log refuses the write, while a later read of the same connection waits for the database. */
static void a_write_that_was_overtaken_is_not_tried_again(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    b.answer_loads = false;
    struct redis_call_of_test *set = redis_bench_send(&b, b.conn, "SET a 1");
    struct redis_call_of_test *get = redis_bench_send(&b, b.conn, "GET b");
    b.f.propose_status = STATUS_NOT_LEADER;
    redis_bench_turn(&b);
    b.f.propose_status = STATUS_OK;
    redis_bench_turn(&b);
    fixture_commit(&b.f, UINT32_MAX);
    assert_false(set->done || get->done);
    loader_answer(&b.f, NULL, NULL, 0);
    redis_bench_turn(&b);
    assert_reply(get, "$-1\r\n");
    assert_reply(set, DOWN);
    assert_asked(&b, "STRLEN b", ":0\r\n");
    redis_bench_deinit(&b);
}

static void a_write_that_nobody_overtook_is_tried_again(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    struct redis_call_of_test *set = redis_bench_send(&b, b.conn, "SET a 1");
    b.f.propose_status = STATUS_NOT_LEADER;
    redis_bench_turn(&b);
    assert_false(set->done);
    b.f.propose_status = STATUS_OK;
    redis_bench_settle(&b);
    assert_reply(set, "+OK\r\n");
    redis_bench_deinit(&b);
}

/* ---- Connections ---- */

static void replies_can_be_switched_off(void **state)
{
    /* clang-format off */
    static const char *const lines[] = {
        "CLIENT REPLY OFF", "",
        "PING", "",
        "SET a 1", "",
        "NOSUCH", "",
        "CLIENT REPLY SKIP", "",
        "CLIENT REPLY ON", "+OK\r\n",
        "GET a", "$1\r\n1\r\n",
        "CLIENT REPLY SKIP", "",
        "GET a", "",
        "GET a", "$1\r\n1\r\n",
        "CLIENT REPLY nosuch", "-ERR syntax error\r\n",
        "CLIENT REPLY OFF", "",
        "RESET", "+RESET\r\n",
        "PING", "+PONG\r\n",
        NULL,
    };
    /* clang-format on */
    struct redis_bench b;
    redis_bench_init(&b, 1);
    assert_transcript(&b, lines);
    redis_bench_deinit(&b);
}

static void after_quit_nothing_is_done(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    struct redis_call_of_test *set = redis_bench_send(&b, b.conn, "SET a 1");
    struct redis_call_of_test *quit = redis_bench_send(&b, b.conn, "quit now");
    struct redis_call_of_test *late = redis_bench_send(&b, b.conn, "SET a 2");
    redis_bench_settle(&b);
    assert_reply(set, "+OK\r\n");
    assert_reply(quit, "+OK\r\n");
    assert_true(quit->close_after);
    assert_reply(late, "");
    void *other = redis_bench_connect(&b, 8);
    assert_string_equal(redis_bench_ask(&b, other, "GET a"), "$1\r\n1\r\n");
    redis_bench_disconnect(&b, other);
    redis_bench_deinit(&b);
}

static void a_connection_may_end_with_commands_under_way(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    void *other = redis_bench_connect(&b, 8);
    struct redis_call_of_test *watch = redis_bench_send(&b, other, "WATCH a");
    struct redis_call_of_test *multi = redis_bench_send(&b, other, "MULTI");
    struct redis_call_of_test *queued = redis_bench_send(&b, other, "SET a 1");
    struct redis_call_of_test *exec = redis_bench_send(&b, other, "EXEC");
    struct redis_call_of_test *later = redis_bench_send(&b, other, "PING");
    assert_true(multi->done && queued->done && !exec->done && !later->done);
    redis_bench_disconnect(&b, other);
    assert_true(exec->done && later->done); /* not done, and nobody listens */
    redis_bench_settle(&b);
    assert_true(watch->done);
    assert_asked(&b, "EXISTS a", ":0\r\n");

    other = redis_bench_connect(&b, 9);
    fixture_depose(&b.f);
    b.leader_known = false;
    struct redis_call_of_test *waiting = redis_bench_send(&b, other, "SET a 1");
    redis_bench_disconnect(&b, other);
    redis_bench_pass(&b, LEADER_WAIT_MS);
    assert_true(waiting->done);
    redis_bench_deinit(&b);
}

static void a_node_that_stops_sends_its_clients_away(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    void *other = redis_bench_connect(&b, 8), *third = redis_bench_connect(&b, 9);
    struct redis_call_of_test *watch = redis_bench_send(&b, other, "WATCH a");
    redis_bench_send(&b, other, "MULTI");
    struct redis_call_of_test *held = redis_bench_send(&b, other, "EXEC");
    front_redis_stop(b.front);
    assert_reply(held, DOWN);
    assert_true(held->close_after);
    redis_bench_settle(&b);
    assert_reply(watch, "+OK\r\n"); /* the group goes on with what it has */
    struct redis_call_of_test *get = redis_bench_send(&b, b.conn, "GET a");
    assert_reply(get, DOWN);
    assert_true(get->close_after);
    assert_string_equal(redis_bench_ask(&b, third, "PING"), "+PONG\r\n");
    fixture_depose(&b.f);
    b.leader = 1;
    get = redis_bench_send(&b, third, "GET a");
    assert_reply(get, MOVED_A);
    assert_false(get->close_after);
    redis_bench_disconnect(&b, other);
    redis_bench_disconnect(&b, third);
    redis_bench_deinit(&b);
}

static void who_waits_for_a_leader_hears_of_the_stop(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    fixture_depose(&b.f);
    b.leader_known = false;
    struct redis_call_of_test *get = redis_bench_send(&b, b.conn, "GET a");
    assert_false(get->done);
    front_redis_stop(b.front);
    assert_reply(get, DOWN);
    assert_true(get->close_after);
    redis_bench_deinit(&b);
}

/* ---- Keys in memory ---- */

static void a_scan_shows_every_key_once(void **state)
{
    enum { N = 200 };
    struct redis_bench b;
    char words[64];
    bool seen[N] = {false};
    unsigned n = 0, steps = 0;
    redis_bench_init(&b, 1);
    for (int i = 0; i < N; i++) {
        snprintf(words, sizeof words, "SET key:%d v", i);
        assert_asked(&b, words, "+OK\r\n");
    }
    assert_asked(&b, "DEL key:0", ":1\r\n");
    assert_asked(&b, "DBSIZE", ":199\r\n");
    unsigned long long cursor = 0;
    do {
        snprintf(words, sizeof words, "SCAN %llu COUNT 10", cursor);
        const char *reply = redis_bench_ask(&b, b.conn, words);
        assert_begins(reply, "*2\r\n$");
        cursor = strtoull(strstr(reply + 4, "\r\n") + 2, NULL, 10);
        for (const char *key = strstr(reply, "key:"); key != NULL; key = strstr(key + 4, "key:")) {
            assert_false(seen[atoi(key + 4)]);
            seen[atoi(key + 4)] = true;
            n++;
        }
        assert_true(++steps <= N);
        assert_true(cursor < (1ULL << 53));
    } while (cursor != 0);
    assert_int_equal(n, N - 1);
    assert_false(seen[0]);
    assert_true(steps > 5);
    redis_bench_deinit(&b);
}

/* ---- Our own commands ---- */

static void wb_flushed_says_whether_a_key_is_in_the_database(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    struct redis_call_of_test *set = redis_bench_send(&b, b.conn, "SET a 1");
    struct redis_call_of_test *flushed = redis_bench_send(&b, b.conn, "WB.FLUSHED a");
    redis_bench_settle(&b);
    assert_reply(set, "+OK\r\n");
    assert_true(flushed->done);
    const char *reply = (const char *)flushed->reply.data;
    assert_begins(reply, "*18\r\n$7\r\nversion\r\n:");
    assert_non_null(strstr(reply, "$5\r\ndirty\r\n:1\r\n"));
    assert_non_null(strstr(reply, "$11\r\nquarantined\r\n:0\r\n$8\r\nsqlstate\r\n$-1\r\n"));
    redis_bench_pass(&b, 200);
    redis_bench_settle(&b);
    assert_int_equal(b.f.sent_n, 1);
    db_committed(&b.f, b.f.sent[0].id);
    redis_bench_settle(&b);
    assert_asked(&b, "HELLO 3 NOSUCH", "-ERR Syntax error in HELLO option 'NOSUCH'\r\n");
    reply = redis_bench_ask(&b, b.conn, "wb.flushed a");
    assert_non_null(strstr(reply, "$5\r\ndirty\r\n:0\r\n"));
    redis_bench_deinit(&b);
}

static void wb_waitflush_waits_for_the_database_or_its_time(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    assert_asked(&b, "SET a 1", "+OK\r\n");
    struct redis_call_of_test *wait = redis_bench_send(&b, b.conn, "WB.WAITFLUSH a 60000");
    struct redis_call_of_test *get = redis_bench_send(&b, b.conn, "GET a");
    redis_bench_settle(&b);
    assert_reply(get, "$1\r\n1\r\n"); /* the connection goes on */
    assert_false(wait->done);
    redis_bench_pass(&b, 200);
    redis_bench_settle(&b);
    assert_int_equal(b.f.sent_n, 1);
    db_committed(&b.f, b.f.sent[0].id);
    redis_bench_settle(&b);
    assert_reply(wait, ":1\r\n");
    assert_asked(&b, "WB.WAITFLUSH a 0", ":1\r\n"); /* nothing is dirty */

    assert_asked(&b, "SET a 2", "+OK\r\n");
    wait = redis_bench_send(&b, b.conn, "WB.WAITFLUSH a 50");
    redis_bench_settle(&b);
    redis_bench_pass(&b, 50 + SWEEP_MS);
    assert_reply(wait, ":0\r\n");
    assert_asked(&b, "WB.WAITFLUSH a x", "-ERR timeout is not an integer or out of range\r\n");
    assert_asked(&b, "WB.WAITFLUSH a -1", "-ERR timeout is negative\r\n");
    redis_bench_deinit(&b);
}

static void wb_waitflush_ends_with_its_connection(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    assert_asked(&b, "SET a 1", "+OK\r\n");
    void *conn = redis_bench_connect(&b, 77);
    struct redis_call_of_test *wait = redis_bench_send(&b, conn, "WB.WAITFLUSH a 0");
    struct redis_call_of_test *stays = redis_bench_send(&b, b.conn, "WB.WAITFLUSH a 0");
    redis_bench_settle(&b);
    assert_false(wait->done);
    redis_bench_disconnect(&b, conn);
    redis_bench_pass(&b, SWEEP_MS + 1);
    assert_true(wait->done); /* whatever it says: nobody hears it */
    assert_false(stays->done);
    redis_bench_pass(&b, 200);
    redis_bench_settle(&b);
    db_committed(&b.f, b.f.sent[b.f.sent_n - 1].id);
    redis_bench_settle(&b);
    assert_reply(stays, ":1\r\n");
    redis_bench_deinit(&b);
}

static void wb_lag_says_how_far_the_group_is_behind(void **state)
{
    struct redis_bench b;
    redis_bench_init(&b, 1);
    assert_asked(&b, "SET a 1", "+OK\r\n");
    const char *reply = redis_bench_ask(&b, b.conn, "WB.LAG a");
    assert_begins(
        reply, "*20\r\n$5\r\ngroup\r\n:0\r\n$13\r\ndirty-entries\r\n:1\r\n$11\r\ndirty-bytes\r\n:2\r\n");
    assert_asked(&b, "MULTI", "+OK\r\n");
    assert_asked(&b, "WB.LAG a", "-ERR Command not allowed inside a transaction\r\n");
    redis_bench_deinit(&b);
}

static void a_browser_is_sent_away_before_its_body_is_looked_at(void **state)
{
    static const char *const heads[] = {"POST / HTTP/1.1", "post /", "Host: example"};
    for (size_t i = 0; i < 3; i++) {
        struct redis_bench b;
        redis_bench_init(&b, 1);
        struct redis_call_of_test *head = redis_bench_send(&b, b.conn, heads[i]);
        struct redis_call_of_test *body = redis_bench_send(&b, b.conn, "SET k v");
        redis_bench_settle(&b);
        assert_true(head->done && head->close_after);
        assert_reply(head, "");
        assert_reply(body, "");
        void *other = redis_bench_connect(&b, 77);
        assert_string_equal(redis_bench_ask(&b, other, "GET k"), "$-1\r\n");
        redis_bench_disconnect(&b, other);
        redis_bench_deinit(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_write_is_answered_when_it_has_applied),
        cmocka_unit_test(a_command_sees_what_its_connection_wrote_before),
        cmocka_unit_test(what_is_no_command_is_refused_with_redis_words),
        cmocka_unit_test(a_command_that_is_not_supported_says_why),
        cmocka_unit_test(keys_may_be_empty_but_not_too_long_nor_too_many),
        cmocka_unit_test(a_reply_that_would_be_far_too_big_is_refused),
        cmocka_unit_test(a_full_dirty_budget_is_oom),
        cmocka_unit_test(without_the_database_a_miss_says_so),
        cmocka_unit_test(what_takes_too_long_is_timeout_or_unknown),
        cmocka_unit_test(a_write_whose_leader_is_deposed_is_unknown),
        cmocka_unit_test(a_full_disk_is_nospace),
        cmocka_unit_test(a_transaction_larger_than_an_entry_is_too_big),
        cmocka_unit_test(a_follower_names_the_leader_and_reads_for_whom_it_may),
        cmocka_unit_test(deposed_between_question_and_answer_it_says_moved),
        cmocka_unit_test(without_a_leader_commands_wait_and_are_done_in_their_order),
        cmocka_unit_test(whoever_waited_for_a_leader_elsewhere_is_sent_there),
        cmocka_unit_test(nobody_waits_longer_than_agreed),
        cmocka_unit_test(a_group_that_is_being_set_up_is_waited_for),
        cmocka_unit_test(a_write_that_was_overtaken_is_not_tried_again),
        cmocka_unit_test(a_write_that_nobody_overtook_is_tried_again),
        cmocka_unit_test(replies_can_be_switched_off),
        cmocka_unit_test(after_quit_nothing_is_done),
        cmocka_unit_test(a_browser_is_sent_away_before_its_body_is_looked_at),
        cmocka_unit_test(a_connection_may_end_with_commands_under_way),
        cmocka_unit_test(a_node_that_stops_sends_its_clients_away),
        cmocka_unit_test(who_waits_for_a_leader_hears_of_the_stop),
        cmocka_unit_test(a_scan_shows_every_key_once),
        cmocka_unit_test(wb_flushed_says_whether_a_key_is_in_the_database),
        cmocka_unit_test(wb_waitflush_waits_for_the_database_or_its_time),
        cmocka_unit_test(wb_waitflush_ends_with_its_connection),
        cmocka_unit_test(wb_lag_says_how_far_the_group_is_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
