/* String commands as transcripts: what is said, and what Redis 7.0 replies to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "node/redis/transaction_fake.h"
#include "proto/fields.h"
#include "proto/limits.h"

#define NOW_MS         UINT64_C(1700000000000)
#define WRONGTYPE      "-WRONGTYPE Operation against a key holding the wrong kind of value"
#define NOT_AN_INTEGER "-ERR value is not an integer or out of range"
#define TOO_LONG       "-ERR string exceeds maximum allowed size (proto-max-bulk-len)"

static int begin(void **state)
{
    static struct transaction t;
    fake_transaction_init(&t, NOW_MS);
    *state = &t;
    return 0;
}

static int end(void **state)
{
    fake_transaction_deinit(*state);
    return 0;
}

/* The key `hash` with one field, and a time to live. */
static void put_hash(struct transaction *t)
{
    struct buf fields;
    buf_init(&fields);
    fields_begin(&fields);
    fields_add(&fields, bytes_from_text("f"), bytes_from_text("v"));
    fields_end(&fields, 1);
    transaction_put(t, bytes_from_text("hash"), VALUE_HASH, value_create(buf_bytes(&fields)), NOW_MS + 5000);
    buf_deinit(&fields);
}

/* ---- SET ---- */

static void a_set_replaces_the_value_and_ends_its_time_to_live(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "SET k v", "+OK");
    assert_says(t, "GET k", "$1 v");
    assert_says(t, "SET k v PX 5000", "+OK");
    assert_says(t, "PTTL k", ":5000");
    assert_says(t, "SET k \"\"", "+OK");
    assert_says(t, "GET k", "$0 ");
    assert_says(t, "PTTL k", ":-1");
    put_hash(t);
    assert_says(t, "SET hash now-a-string", "+OK");
    assert_says(t, "GET hash", "$12 now-a-string");
    assert_says(t, "PTTL hash", ":-1");
}

static void set_takes_a_time_to_live_in_four_spellings(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "SET k v EX 7", "+OK");
    assert_says(t, "PTTL k", ":7000");
    assert_says(t, "SET k v pX 1", "+OK");
    assert_says(t, "PTTL k", ":1");
    assert_says(t, "SET k v exAT 1700000003", "+OK");
    assert_says(t, "PTTL k", ":3000");
    assert_says(t, "SET k v PXAT 1700000000004", "+OK");
    assert_says(t, "PTTL k", ":4");
    assert_says(t, "SET k v EX 10 ex 20", "+OK"); /* of one spelling the last one counts */
    assert_says(t, "TTL k", ":20");
}

static void set_with_a_time_that_has_passed_is_a_delete(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "SET k v", "+OK");
    assert_says(t, "SET k v PXAT 1700000000000", "+OK");
    assert_says(t, "EXISTS k", ":0");
    assert_says(t, "SET k v EXAT 1", "+OK");
    assert_says(t, "EXISTS k", ":0");
}

static void set_refuses_times_that_make_no_sense(void **state)
{
    struct transaction *t = *state;
    static const char *const times[] = {"EX 0", "EX -1", "PX 0", "PX -9223372036854775808", "EXAT 0",
        "PXAT -1", "EX 9223372036854775", "EX 9223372036854776", "EX 9223372036854775807",
        "PX 9223372036854775807", "EXAT 9223372036854776"};
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        char line[128];
        snprintf(line, sizeof line, "SET k v %s", times[i]);
        assert_says(t, line, "-ERR invalid expire time in 'set' command");
    }
    assert_says(t, "SET k v EX x", NOT_AN_INTEGER);
    assert_says(t, "SET k v PX 1.5", NOT_AN_INTEGER);
    assert_says(t, "SET k v EX NX", NOT_AN_INTEGER); /* the word is the time */
    assert_says(t, "EXISTS k", ":0");
}

static void times_beyond_the_year_9999_are_taken_as_its_end(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "SET k v PXAT 9223372036854775807", "+OK");
    assert_says(t, "PEXPIRETIME k", ":253402300799999");
    assert_says(t, "SET k v PXAT 253402300799998", "+OK");
    assert_says(t, "PEXPIRETIME k", ":253402300799998");
    assert_says(t, "PSETEX k 9000000000000000000 v", "+OK");
    assert_says(t, "PEXPIRETIME k", ":253402300799999");
    assert_says(t, "GETEX k EXAT 9223372036854775", "$1 v");
    assert_says(t, "PEXPIRETIME k", ":253402300799999");
}

static void nx_and_xx_look_whether_the_key_is_there(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "SET k 1 XX", "$-1");
    assert_says(t, "EXISTS k", ":0");
    assert_says(t, "SET k 1 NX PX 5", "+OK");
    assert_says(t, "SET k 2 nx", "$-1");
    assert_says(t, "GET k", "$1 1");
    assert_says(t, "SET k 2 xx XX", "+OK");
    assert_says(t, "GET k", "$1 2");
    assert_says(t, "SET k 3 PX 5", "+OK");
    t->now_ms += 5; /* a key that is due is not there */
    assert_says(t, "SET k 4 XX", "$-1");
    assert_says(t, "SET k 4 NX", "+OK");
    assert_string_equal(fake_run(t, 3, "SET", "k", "5", "NX", NULL), "_\r\n");
}

static void get_replies_what_was_there_whether_or_not_it_is_set(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "SET k 1 GET", "$-1");
    assert_says(t, "SET k 2 GET", "$1 1");
    assert_says(t, "SET k 3 NX GET", "$1 2");
    assert_says(t, "GET k", "$1 2");
    assert_says(t, "SET none 3 XX GET", "$-1");
    assert_says(t, "EXISTS none", ":0");
    assert_says(t, "SET none 3 GET NX", "$-1");
    assert_says(t, "GET none", "$1 3");
    put_hash(t);
    assert_says(t, "SET hash v GET", WRONGTYPE);
    assert_says(t, "SET hash v GET NX", WRONGTYPE);
    assert_says(t, "TYPE hash", "+hash");
    assert_says(t, "SET hash v NX", "$-1");
}

static void keepttl_keeps_it(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "SET k 1 KEEPTTL", "+OK");
    assert_says(t, "PTTL k", ":-1");
    assert_says(t, "SET k 1 PX 500", "+OK");
    assert_says(t, "SET k 2 KEEPTTL GET", "$1 1");
    assert_says(t, "PTTL k", ":500");
    put_hash(t);
    assert_says(t, "SET hash v KEEPTTL", "+OK");
    assert_says(t, "PTTL hash", ":5000");
}

static void options_that_exclude_each_other_are_a_syntax_error(void **state)
{
    struct transaction *t = *state;
    static const char *const options[] = {"NX XX", "XX NX", "EX 1 PX 1", "PX 1 EXAT 1", "EX 1 KEEPTTL",
        "KEEPTTL EX 1", "EX", "NX PX", "PERSIST", "bogus", "EX 1 bogus", "EX 0 bogus", "EX x bogus", "7",
        "\"\"", "GET KEEPTTL PXAT 1"};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        char line[128];
        snprintf(line, sizeof line, "SET k v %s", options[i]);
        assert_says(t, line, "-ERR syntax error");
    }
    assert_int_equal(t->writes, 0);
}

static bool blind(const char *a, const char *b)
{
    struct bytes args[] = {bytes_from_text("set"), bytes_from_text("nx"), bytes_from_text("get"),
        bytes_from_text(a), bytes_from_text(b)};
    return redis_set_blind(args, 5);
}

static void only_conditions_get_and_keepttl_make_a_set_look(void **state)
{
    (void)state;
    assert_true(redis_set_blind((struct bytes[3]){{0}}, 3));
    assert_true(blind("EX", "10"));
    assert_false(blind("EX", "get")); /* an error, whatever it looks at */
    assert_false(blind("nx", "keepttl"));
    assert_false(blind("bogus", "XX"));
    assert_false(blind("GeT", "x"));
    assert_false(blind("KEEPTTL", ""));
    assert_true(redis_always_blind(NULL, 0));
}

static void the_older_spellings_of_set(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "SETEX k 5 v", "+OK");
    assert_says(t, "PTTL k", ":5000");
    assert_says(t, "PSETEX k 5 v", "+OK");
    assert_says(t, "PTTL k", ":5");
    assert_says(t, "SETEX k 0 v", "-ERR invalid expire time in 'setex' command");
    assert_says(t, "PSETEX k -1 v", "-ERR invalid expire time in 'psetex' command");
    assert_says(t, "PSETEX k v 1", NOT_AN_INTEGER);
    assert_says(t, "SETNX k w", ":0");
    assert_says(t, "SETNX new w", ":1");
    assert_says(t, "GETSET k w", "$1 v");
    assert_says(t, "PTTL k", ":-1");
    assert_says(t, "GETSET newer w", "$-1");
    put_hash(t);
    assert_says(t, "GETSET hash w", WRONGTYPE);
    assert_says(t, "SETNX hash w", ":0");
}

/* ---- GETEX and GETDEL ---- */

static void getex_changes_only_the_time_to_live(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "SET k v", "+OK");
    assert_says(t, "GETEX k EX 5", "$1 v");
    assert_says(t, "PTTL k", ":5000");
    assert_says(t, "GETEX k", "$1 v");
    assert_says(t, "PTTL k", ":5000");
    assert_says(t, "GETEX k PERSIST", "$1 v");
    assert_says(t, "PTTL k", ":-1");
    uint64_t writes = t->writes;
    assert_says(t, "GETEX k", "$1 v");
    assert_says(t, "GETEX k persist PERSIST", "$1 v");
    assert_int_equal(t->writes, writes); /* there was nothing to do */
    assert_says(t, "GETEX k PXAT 1700000000000", "$1 v");
    assert_says(t, "EXISTS k", ":0");
}

static void getex_looks_at_its_options_then_the_key_then_the_time(void **state)
{
    struct transaction *t = *state;
    put_hash(t);
    assert_says(t, "SET k v", "+OK");
    assert_says(t, "GETEX hash EX 0 bogus", "-ERR syntax error");
    assert_says(t, "GETEX hash EX 0", WRONGTYPE);
    assert_says(t, "GETEX none EX x", "$-1");
    assert_says(t, "GETEX k EX x", NOT_AN_INTEGER);
    assert_says(t, "GETEX k EXAT 0", "-ERR invalid expire time in 'getex' command");
    assert_says(t, "GETEX k PX 1 PERSIST", "-ERR syntax error");
    assert_says(t, "GETEX k PERSIST EX 1", "-ERR syntax error");
    assert_says(t, "GETEX k KEEPTTL", "-ERR syntax error");
    assert_says(t, "GETEX k NX", "-ERR syntax error");
    assert_says(t, "PTTL k", ":-1");
}

static void getdel_takes_the_key_away(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "SET k v", "+OK");
    assert_says(t, "GETDEL k", "$1 v");
    assert_says(t, "GETDEL k", "$-1");
    put_hash(t);
    assert_says(t, "GETDEL hash", WRONGTYPE);
    assert_says(t, "EXISTS hash", ":1");
}

/* ---- Several keys ---- */

static void mget_takes_other_types_as_not_there(void **state)
{
    struct transaction *t = *state;
    put_hash(t);
    assert_says(t, "MSET a 1 b 2 a 3", "+OK");
    assert_says(t, "MGET a none hash b a", "*5 $1 3 $-1 $-1 $1 2 $1 3");
    assert_string_equal(fake_run(t, 3, "MGET", "none", NULL), "*1\r\n_\r\n");
    assert_says(t, "GET hash", WRONGTYPE);
    assert_says(t, "STRLEN hash", WRONGTYPE);
    assert_says(t, "STRLEN a", ":1");
    assert_says(t, "STRLEN none", ":0");
}

static void msetnx_sets_all_or_nothing(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "MSETNX a 1 b 2 a 3", ":1");
    assert_says(t, "MGET a b", "*2 $1 3 $1 2");
    assert_says(t, "MSETNX c 1 a 4", ":0");
    assert_says(t, "EXISTS c", ":0");
    put_hash(t);
    assert_says(t, "MSETNX c 1 hash 4", ":0");
    assert_says(t, "MSETNX c 1 d", "-ERR wrong number of arguments for 'msetnx' command");
    assert_says(t, "MSET c 1 d", "-ERR wrong number of arguments for 'mset' command");
    assert_says(t, "EXISTS c d", ":0");
}

/* ---- Numbers ---- */

static void incr_and_decr_keep_the_time_to_live(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "INCR k", ":1");
    assert_says(t, "PTTL k", ":-1");
    assert_says(t, "SET k 10 PX 100", "+OK");
    assert_says(t, "INCR k", ":11");
    assert_says(t, "INCRBY k 31", ":42");
    assert_says(t, "DECR k", ":41");
    assert_says(t, "DECRBY k -1", ":42");
    assert_says(t, "INCRBYFLOAT k 0.5", "$4 42.5");
    assert_says(t, "PTTL k", ":100");
    assert_says(t, "DECR none", ":-1");
}

static void what_is_no_number_cannot_be_counted(void **state)
{
    struct transaction *t = *state;
    put_hash(t);
    assert_says(t, "SET k x", "+OK");
    assert_says(t, "INCR k", NOT_AN_INTEGER);
    assert_says(t, "SET k 01", "+OK");
    assert_says(t, "DECR k", NOT_AN_INTEGER);
    assert_says(t, "INCR hash", WRONGTYPE);
    assert_says(t, "INCRBY hash x", NOT_AN_INTEGER); /* the argument first */
    assert_says(t, "INCRBYFLOAT hash x", WRONGTYPE); /* but here the type */
    assert_says(t, "INCRBYFLOAT none x", "-ERR value is not a valid float");
    assert_says(t, "SET k x", "+OK");
    assert_says(t, "INCRBYFLOAT k 1", "-ERR value is not a valid float");
}

static void a_number_that_would_not_fit_is_refused(void **state)
{
    struct transaction *t = *state;
    const char *overflow = "-ERR increment or decrement would overflow";
    assert_says(t, "SET k 9223372036854775807", "+OK");
    assert_says(t, "INCR k", overflow);
    assert_says(t, "INCRBY k 9223372036854775807", overflow);
    assert_says(t, "INCRBY k -9223372036854775808", ":-1");
    assert_says(t, "DECRBY k 9223372036854775807", ":-9223372036854775808");
    assert_says(t, "DECR k", overflow);
    assert_says(t, "INCRBY k -1", overflow);
    assert_says(t, "DECRBY k -9223372036854775808", "-ERR decrement would overflow");
    assert_says(t, "INCRBYFLOAT k inf", "-ERR increment would produce NaN or Infinity");
    assert_says(t, "SET k -inf", "+OK");
    assert_says(t, "INCRBYFLOAT k inf", "-ERR increment would produce NaN or Infinity");
    assert_says(t, "GET k", "$4 -inf");
}

static void floats_are_added_as_long_doubles(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "SET k 0.1", "+OK");
    assert_says(t, "INCRBYFLOAT k 0.2", "$3 0.3");
    assert_says(t, "INCRBYFLOAT k -0.3", "$1 0");
    assert_says(t, "INCRBYFLOAT k 5.0e3", "$4 5000");
    assert_says(t, "INCRBYFLOAT k 1e17", "$18 100000000000005000");
    assert_says(t, "GET k", "$18 100000000000005000");
}

/* ---- Ranges ---- */

static void getrange_counts_from_either_end(void **state)
{
    struct transaction *t = *state;
    put_hash(t);
    assert_says(t, "SET k hello", "+OK");
    static const struct {
        const char *range, *want;
    } rows[] = {{"0 0", "$1 h"}, {"0 -1", "$5 hello"}, {"1 3", "$3 ell"}, {"-3 -2", "$2 ll"},
        {"-100 1", "$2 he"}, {"3 100", "$2 lo"}, {"4 3", "$0 "}, {"5 9", "$0 "}, {"-1 -3", "$0 "},
        {"-100 -99", "$1 h"}, {"-99 -100", "$0 "}, {"-9223372036854775808 9223372036854775807", "$5 hello"},
        {"9223372036854775807 -9223372036854775808", "$0 "}, {"x 1", NOT_AN_INTEGER},
        {"0 9223372036854775808", NOT_AN_INTEGER}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char line[128];
        snprintf(line, sizeof line, "GETRANGE k %s", rows[i].range);
        assert_says(t, line, rows[i].want);
        snprintf(line, sizeof line, "SUBSTR k %s", rows[i].range);
        assert_says(t, line, rows[i].want);
    }
    assert_says(t, "GETRANGE none 0 -1", "$0 ");
    assert_says(t, "SET empty \"\"", "+OK");
    assert_says(t, "GETRANGE empty 0 -1", "$0 ");
    assert_says(t, "GETRANGE empty -100 -99", "$0 ");
    assert_says(t, "GETRANGE hash x 0", NOT_AN_INTEGER);
    assert_says(t, "GETRANGE hash 0 0", WRONGTYPE);
}

static void setrange_overwrites_and_pads_with_zeros(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "SET k hello PX 100", "+OK");
    assert_says(t, "SETRANGE k 1 a", ":5");
    assert_says(t, "GET k", "$5 hallo");
    assert_says(t, "SETRANGE k 3 -there", ":9");
    assert_says(t, "GET k", "$9 hal-there");
    assert_says(t, "PTTL k", ":100");
    assert_says(t, "SETRANGE k 11 x", ":12");
    struct bytes get[] = {bytes_from_text("get"), bytes_from_text("k")};
    assert_true(bytes_equal(fake_run_args(t, 2, get, 2), bytes_of("$12\r\nhal-there\0\0x\r\n", 19)));
    assert_says(t, "SETRANGE new 0 x", ":1");
    assert_says(t, "GET new", "$1 x");
}

static void setrange_looks_at_its_offset_then_the_type_then_the_length(void **state)
{
    struct transaction *t = *state;
    put_hash(t);
    assert_says(t, "SETRANGE hash x v", NOT_AN_INTEGER);
    assert_says(t, "SETRANGE hash -1 v", "-ERR offset is out of range");
    assert_says(t, "SETRANGE hash 9223372036854775807 \"\"", WRONGTYPE);
    assert_says(t, "SETRANGE none 9223372036854775807 \"\"", ":0"); /* writes nothing, wherever */
    assert_says(t, "EXISTS none", ":0");
    assert_says(t, "SETRANGE none 9223372036854775807 v", TOO_LONG);
    assert_says(t, "SET k abc", "+OK");
    assert_says(t, "SETRANGE k 9223372036854775807 \"\"", ":3");
}

static void append_extends_what_is_there(void **state)
{
    struct transaction *t = *state;
    put_hash(t);
    assert_says(t, "APPEND k ab", ":2");
    assert_says(t, "PEXPIRE k 100", ":1");
    assert_says(t, "APPEND k \"\"", ":2");
    assert_says(t, "APPEND k c", ":3");
    assert_says(t, "GET k", "$3 abc");
    assert_says(t, "PTTL k", ":100");
    assert_says(t, "APPEND empty \"\"", ":0");
    assert_says(t, "EXISTS empty", ":1");
    assert_says(t, "APPEND hash x", WRONGTYPE);
}

/* Run the words and a last argument of @len bytes; is it answered TOO_LONG? */
static bool too_long(struct transaction *t, const char *const *words, uint32_t n, size_t len)
{
    struct bytes args[8];
    char *last = calloc(len + 1, 1);
    assert_non_null(last);
    for (uint32_t i = 0; i < n; i++) {
        args[i] = bytes_from_text(words[i]);
    }
    args[n] = bytes_of(last, len);
    struct bytes reply = fake_run_args(t, 2, args, n + 1);
    bool refused = bytes_equal(reply, bytes_from_text(TOO_LONG "\r\n"));
    assert_true(refused || reply.data[0] != '-');
    free(last);
    return refused;
}

static void no_string_becomes_longer_than_a_value_may_be(void **state)
{
    struct transaction *t = *state;
    static const char *const lines[][4] = {{"set", "k"}, {"setnx", "k"}, {"getset", "k"},
        {"setex", "k", "10"}, {"psetex", "k", "10"}, {"mset", "a", "1", "k"}, {"msetnx", "a", "1", "k"},
        {"append", "k"}, {"setrange", "k", "0"}};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        uint32_t n = 2;
        while (n < 4 && lines[i][n] != NULL) {
            n++;
        }
        fake_run(t, 2, "DEL", "k", "a", NULL);
        assert_true(too_long(t, lines[i], n, LIMIT_VALUE_BYTES + 1));
        assert_says(t, "EXISTS k a", ":0");
        assert_false(too_long(t, lines[i], n, LIMIT_VALUE_BYTES));
        assert_says(t, "STRLEN k", ":1048576");
    }
    assert_says(t, "APPEND k x", TOO_LONG);
    assert_says(t, "SETRANGE k 1048576 x", TOO_LONG);
    assert_says(t, "SETRANGE k 1048577 x", TOO_LONG);
    assert_says(t, "SETRANGE k 1048575 x", ":1048576");
    assert_says(t, "GETRANGE k -1 -1", "$1 x");
    assert_says(t, "SETRANGE none 1048575 x", ":1048576");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(a_set_replaces_the_value_and_ends_its_time_to_live),
        TEST(set_takes_a_time_to_live_in_four_spellings),
        TEST(set_with_a_time_that_has_passed_is_a_delete),
        TEST(set_refuses_times_that_make_no_sense),
        TEST(times_beyond_the_year_9999_are_taken_as_its_end),
        TEST(nx_and_xx_look_whether_the_key_is_there),
        TEST(get_replies_what_was_there_whether_or_not_it_is_set),
        TEST(keepttl_keeps_it),
        TEST(options_that_exclude_each_other_are_a_syntax_error),
        TEST(only_conditions_get_and_keepttl_make_a_set_look),
        TEST(the_older_spellings_of_set),
        TEST(getex_changes_only_the_time_to_live),
        TEST(getex_looks_at_its_options_then_the_key_then_the_time),
        TEST(getdel_takes_the_key_away),
        TEST(mget_takes_other_types_as_not_there),
        TEST(msetnx_sets_all_or_nothing),
        TEST(incr_and_decr_keep_the_time_to_live),
        TEST(what_is_no_number_cannot_be_counted),
        TEST(a_number_that_would_not_fit_is_refused),
        TEST(floats_are_added_as_long_doubles),
        TEST(getrange_counts_from_either_end),
        TEST(setrange_overwrites_and_pads_with_zeros),
        TEST(setrange_looks_at_its_offset_then_the_type_then_the_length),
        TEST(append_extends_what_is_there),
        TEST(no_string_becomes_longer_than_a_value_may_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
