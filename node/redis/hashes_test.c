/* Commands on hashes, as transcripts: what is said, and what Redis 7.0 replies to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "node/redis/transaction_fake.h"
#include "proto/base/alloc.h"
#include "proto/limits.h"

#define NOW_MS UINT64_C(1700000000000)

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

static void put_string(struct transaction *t, const char *key)
{
    transaction_put(t, bytes_from_text(key), VALUE_STRING, value_create(bytes_from_text("text")), 0);
}

/* ---- Set and get ---- */

static void fields_are_set_and_got(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "HSET h a 1 b 2", ":2");
    assert_says(t, "HSET h b 3 c 4 c 5", ":1");
    assert_says(t, "HGET h b", "$1 3");
    assert_says(t, "HGET h x", "$-1");
    assert_says(t, "HMGET h c x a c", "*4 $1 5 $-1 $1 1 $1 5");
    assert_says(t, "HGETALL h", "*6 $1 a $1 1 $1 b $1 3 $1 c $1 5");
    assert_says(t, "HKEYS h", "*3 $1 a $1 b $1 c");
    assert_says(t, "HVALS h", "*3 $1 1 $1 3 $1 5");
    assert_says(t, "HLEN h", ":3");
    assert_says(t, "HEXISTS h a", ":1");
    assert_says(t, "HEXISTS h x", ":0");
    assert_says(t, "HMSET h d four", "+OK");
    assert_says(t, "HSTRLEN h d", ":4");
    assert_says(t, "HSTRLEN h x", ":0");
    assert_says(t, "HSETNX h d 5", ":0");
    assert_says(t, "HSETNX h e 5", ":1");
    assert_says(t, "HMGET h d e", "*2 $4 four $1 5");
}

static void names_and_values_may_be_empty_and_any_bytes(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "HSET h \"\" \"\"", ":1");
    assert_says(t, "HGET h \"\"", "$0 ");
    assert_says(t, "HMGET h \"\" a", "*2 $0  $-1");
    assert_says(t, "HGETALL h", "*2 $0  $0 ");
    const struct bytes set[] = {
        bytes_from_text("HSET"), bytes_from_text("h"), bytes_of("\0\r\n", 3), bytes_of("\xff\0", 2)};
    fake_run_args(t, 2, set, 4);
    const struct bytes get[] = {bytes_from_text("HGET"), bytes_from_text("h"), bytes_of("\0\r\n", 3)};
    struct bytes reply = fake_run_args(t, 2, get, 3);
    assert_int_equal(reply.len, 8);
    assert_memory_equal(reply.data, "$2\r\n\xff\0\r\n", 8);
}

static void fields_stand_in_the_order_in_which_they_came(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "HSET h a 1 b 2 c 3", ":3");
    assert_says(t, "HSET h a 9", ":0");
    assert_says(t, "HKEYS h", "*3 $1 a $1 b $1 c");
    assert_says(t, "HDEL h a", ":1");
    assert_says(t, "HSET h a 1", ":1");
    assert_says(t, "HKEYS h", "*3 $1 b $1 c $1 a");
}

static void fields_are_removed_and_the_last_one_takes_the_key_with_it(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "HSET h a 1 b 2 c 3", ":3");
    assert_says(t, "HDEL h b x b", ":1");
    assert_says(t, "HKEYS h", "*2 $1 a $1 c");
    uint64_t writes = t->writes;
    assert_says(t, "HDEL h x y", ":0");
    assert_int_equal(t->writes, writes);
    assert_says(t, "HDEL h c a", ":2");
    assert_int_equal(t->n, 0);
    assert_says(t, "HDEL h a", ":0");
}

static void a_value_that_is_set_again_is_written_again(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "HSET h a 1", ":1");
    uint64_t writes = t->writes;
    assert_says(t, "HSET h a 1", ":0");
    assert_true(t->writes > writes);
    writes = t->writes;
    assert_says(t, "HSETNX h a 2", ":0");
    assert_int_equal(t->writes, writes);
}

static void every_write_keeps_the_time_to_live(void **state)
{
    struct transaction *t = *state;
    const char *lines[] = {
        "HSET h a 1", "HMSET h b 2", "HSETNX h c 3", "HINCRBY h a 1", "HINCRBYFLOAT h a 1.5", "HDEL h b"};
    assert_says(t, "HSET h z 0", ":1");
    t->keys[0].expires_at_ms = NOW_MS + 1000;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        uint64_t writes = t->writes;
        char line[32];
        snprintf(line, sizeof line, "%s", lines[i]);
        struct bytes args[4];
        uint32_t n = 0;
        for (char *rest = line, *word; (word = strtok_r(rest, " ", &rest)) != NULL;) {
            args[n++] = bytes_from_text(word);
        }
        assert_int_not_equal(fake_run_args(t, 2, args, n).data[0], '-');
        assert_true(t->writes > writes);
        assert_int_equal(t->n, 1);
        assert_int_equal(t->keys[0].expires_at_ms, NOW_MS + 1000);
    }
    t->now_ms += 1000;
    assert_says(t, "HLEN h", ":0");
    assert_says(t, "HSET h a 1", ":1");
    assert_int_equal(t->keys[0].expires_at_ms, 0);
}

/* ---- Errors ---- */

static void a_key_that_is_not_there_is_a_hash_without_fields(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "HGET h a", "$-1");
    assert_says(t, "HMGET h a b", "*2 $-1 $-1");
    assert_says(t, "HGETALL h", "*0");
    assert_says(t, "HKEYS h", "*0");
    assert_says(t, "HVALS h", "*0");
    assert_says(t, "HLEN h", ":0");
    assert_says(t, "HEXISTS h a", ":0");
    assert_says(t, "HSTRLEN h a", ":0");
    assert_says(t, "HDEL h a", ":0");
    assert_says(t, "HSCAN h 0", "*2 $1 0 *0");
    assert_says(t, "HSCAN h 7 NONSENSE", "*2 $1 0 *0"); /* Redis does not look at it either */
    assert_says(t, "HRANDFIELD h", "$-1");
    assert_says(t, "HRANDFIELD h 3", "*0");
    assert_says(t, "HRANDFIELD h -3 WITHVALUES", "*0");
    assert_int_equal(t->n, 0);
}

static void another_type_is_refused(void **state)
{
    struct transaction *t = *state;
    const char *lines[] = {"HSET s a 1", "HMSET s a 1", "HSETNX s a 1", "HGET s a", "HMGET s a", "HGETALL s",
        "HDEL s a", "HEXISTS s a", "HLEN s", "HKEYS s", "HVALS s", "HSTRLEN s a", "HINCRBY s a 1",
        "HINCRBYFLOAT s a 1", "HSCAN s 0", "HSCAN s 0 NONSENSE", "HRANDFIELD s", "HRANDFIELD s 0"};
    put_string(t, "s");
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        assert_says(t, lines[i], "-WRONGTYPE Operation against a key holding the wrong kind of value");
    }
    assert_int_equal(t->keys[0].type, VALUE_STRING);
}

static void what_is_wrong_with_the_arguments_is_said_before_what_is_wrong_with_the_key(void **state)
{
    struct transaction *t = *state;
    put_string(t, "s");
    assert_says(t, "HSET s a 1 b", "-ERR wrong number of arguments for 'hset' command");
    assert_says(t, "HMSET s a 1 b", "-ERR wrong number of arguments for 'hmset' command");
    assert_says(t, "HINCRBY s a x", "-ERR value is not an integer or out of range");
    assert_says(t, "HINCRBYFLOAT s a x", "-ERR value is not a valid float");
    assert_says(t, "HINCRBYFLOAT s a inf", "-ERR value is NaN or Infinity");
    assert_says(t, "HSCAN s x", "-ERR invalid cursor");
    assert_says(t, "HRANDFIELD s x", "-ERR value is not an integer or out of range");
    assert_says(t, "HRANDFIELD s 1 x", "-ERR syntax error");
}

static void a_hash_that_would_be_too_big_is_refused(void **state)
{
    enum { HEADER = 4 + 1 + 1 + 3 }; /* the count; "a" with its length; the value's length */
    struct transaction *t = *state;
    uint8_t *big = xcalloc(1, LIMIT_VALUE_BYTES);
    struct bytes args[] = {bytes_from_text("HSET"), bytes_from_text("h"), bytes_from_text("a"),
        bytes_of(big, LIMIT_VALUE_BYTES - HEADER + 1)};
    struct bytes reply = fake_run_args(t, 2, args, 4);
    const char *refusal = "-ERR hash exceeds maximum allowed size (1048576 bytes with all of its fields)\r\n";
    assert_int_equal(reply.len, strlen(refusal));
    assert_memory_equal(reply.data, refusal, reply.len);
    assert_int_equal(t->writes, 0);
    args[3].len--;
    assert_memory_equal(fake_run_args(t, 2, args, 4).data, ":1\r\n", 4);
    assert_int_equal(t->keys[0].value->len, LIMIT_VALUE_BYTES);
    assert_says(
        t, "HINCRBY h n 1", "-ERR hash exceeds maximum allowed size (1048576 bytes with all of its fields)");
    assert_says(
        t, "HSETNX h n 1", "-ERR hash exceeds maximum allowed size (1048576 bytes with all of its fields)");
    assert_says(t, "HSET h a 1", ":0");

    /* a small command cannot have a reply of any size */
    args[0] = bytes_from_text("HSET");
    args[3].len = LIMIT_VALUE_BYTES / 2;
    fake_run_args(t, 2, args, 4);
    struct bytes many[64] = {bytes_from_text("HMGET"), bytes_from_text("h")};
    for (uint32_t i = 2; i < 64; i++) {
        many[i] = bytes_from_text("a");
    }
    refusal = "-ERR the reply would be longer than 16777216 bytes: ask for fewer fields at a time\r\n";
    assert_memory_equal(fake_run_args(t, 2, many, 64).data, refusal, strlen(refusal));
    assert_memory_equal(fake_run_args(t, 2, many, 34).data, "*32\r\n", 5);
    assert_says(t, "HRANDFIELD h -1000 WITHVALUES",
        "-ERR the reply would be longer than 16777216 bytes: ask for fewer fields at a time");
    assert_says(t, "HRANDFIELD h -9223372036854775807",
        "-ERR the reply would be longer than 16777216 bytes: ask for fewer fields at a time");
    free(big);
}

/* ---- Protocol 3 ---- */

static void protocol_3_has_maps_and_pairs(void **state)
{
    struct transaction *t = *state;
    assert_string_equal(fake_run(t, 3, "HGETALL", "h", NULL), "%0\r\n");
    assert_string_equal(fake_run(t, 3, "HGET", "h", "a", NULL), "_\r\n");
    assert_string_equal(fake_run(t, 3, "HRANDFIELD", "h", NULL), "_\r\n");
    assert_string_equal(fake_run(t, 3, "HRANDFIELD", "h", "1", "WITHVALUES", NULL), "*0\r\n");
    fake_run(t, 3, "HSET", "h", "a", "1", "b", "2", NULL);
    assert_string_equal(
        fake_run(t, 3, "HGETALL", "h", NULL), "%2\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n");
    assert_string_equal(fake_run(t, 3, "HMGET", "h", "x", "a", NULL), "*2\r\n_\r\n$1\r\n1\r\n");
    assert_string_equal(fake_run(t, 3, "HRANDFIELD", "h", "5", "withvalues", NULL),
        "*2\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n*2\r\n$1\r\nb\r\n$1\r\n2\r\n");
    assert_string_equal(fake_run(t, 3, "HSCAN", "h", "0", NULL),
        "*2\r\n$1\r\n0\r\n*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n");
    assert_string_equal(fake_run(t, 3, "HINCRBYFLOAT", "h", "a", "0.5", NULL), "$3\r\n1.5\r\n");
    fake_run(t, 3, "HDEL", "h", "b", NULL);
    assert_string_equal(fake_run(t, 3, "HRANDFIELD", "h", "-2", "WITHVALUES", NULL),
        "*2\r\n*2\r\n$1\r\na\r\n$3\r\n1.5\r\n*2\r\n$1\r\na\r\n$3\r\n1.5\r\n");
}

/* ---- Numbers ---- */

static void whole_numbers_are_added(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "HINCRBY h n 5", ":5");
    assert_says(t, "HINCRBY h n -7", ":-2");
    assert_says(t, "HGET h n", "$2 -2");
    assert_says(t, "HSET h n 9223372036854775806 x 1x empty \"\"", ":2");
    assert_says(t, "HINCRBY h n 2", "-ERR increment or decrement would overflow");
    assert_says(t, "HINCRBY h n 1", ":9223372036854775807");
    assert_says(t, "HINCRBY h m -9223372036854775808", ":-9223372036854775808");
    assert_says(t, "HINCRBY h m -1", "-ERR increment or decrement would overflow");
    assert_says(t, "HINCRBY h m 9223372036854775808", "-ERR value is not an integer or out of range");
    assert_says(t, "HINCRBY h m 1.0", "-ERR value is not an integer or out of range");
    assert_says(t, "HINCRBY h x 1", "-ERR hash value is not an integer");
    assert_says(t, "HINCRBY h empty 1", "-ERR hash value is not an integer");
    assert_says(t, "HKEYS h", "*4 $1 n $1 x $5 empty $1 m");
}

static void decimals_are_added(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "HINCRBYFLOAT h f 10.5", "$4 10.5");
    assert_says(t, "HINCRBYFLOAT h f 0.1", "$4 10.6");
    assert_says(t, "HINCRBYFLOAT h f -10.6", "$1 0");
    assert_says(t, "HINCRBYFLOAT h f 5.0e3", "$4 5000");
    assert_says(t, "HGET h f", "$4 5000");
    assert_says(t, "HSET h x 1x i inf big 1e4932", ":3");
    assert_says(t, "HINCRBYFLOAT h x 1", "-ERR hash value is not a float");
    assert_says(t, "HINCRBYFLOAT h i 1", "-ERR increment would produce NaN or Infinity");
    assert_says(t, "HINCRBYFLOAT h big 1e4932", "-ERR increment would produce NaN or Infinity");
    assert_says(t, "HINCRBYFLOAT h f nan", "-ERR value is not a valid float");
    assert_says(t, "HINCRBYFLOAT h f -inf", "-ERR value is NaN or Infinity");
    assert_says(t, "HGET h f", "$4 5000");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(fields_are_set_and_got),
        TEST(names_and_values_may_be_empty_and_any_bytes),
        TEST(fields_stand_in_the_order_in_which_they_came),
        TEST(fields_are_removed_and_the_last_one_takes_the_key_with_it),
        TEST(a_value_that_is_set_again_is_written_again),
        TEST(every_write_keeps_the_time_to_live),
        TEST(a_key_that_is_not_there_is_a_hash_without_fields),
        TEST(another_type_is_refused),
        TEST(what_is_wrong_with_the_arguments_is_said_before_what_is_wrong_with_the_key),
        TEST(a_hash_that_would_be_too_big_is_refused),
        TEST(protocol_3_has_maps_and_pairs),
        TEST(whole_numbers_are_added),
        TEST(decimals_are_added),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
