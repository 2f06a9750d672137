/* Commands for keys of any type, as transcripts: what is said, and what Redis 7.0 replies to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "node/redis/transaction_fake.h"
#include "proto/fields.h"

#define NOW_MS         UINT64_C(1700000000000)
#define NOT_AN_INTEGER "-ERR value is not an integer or out of range"

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

/* @key with @count fields; the last one has a name and a value of so many bytes. */
static void put_hash(
    struct transaction *t, const char *key, uint32_t count, size_t name_len, size_t value_len)
{
    static const uint8_t zeros[128];
    struct buf fields;
    buf_init(&fields);
    fields_begin(&fields);
    for (uint32_t i = 1; i < count; i++) {
        char name[16];
        snprintf(name, sizeof name, "f%u", i);
        fields_add(&fields, bytes_from_text(name), bytes_from_text("v"));
    }
    fields_add(&fields, bytes_of(zeros, name_len), bytes_of(zeros, value_len));
    fields_end(&fields, count);
    transaction_put(t, bytes_from_text(key), VALUE_HASH, value_create(buf_bytes(&fields)), 0);
    buf_deinit(&fields);
}

static void keys_are_counted_as_often_as_they_are_named_but_deleted_once(void **state)
{
    struct transaction *t = *state;
    put_hash(t, "hash", 1, 1, 1);
    assert_says(t, "MSET a 1 b 2", "+OK");
    assert_says(t, "EXISTS a none a hash", ":3");
    assert_says(t, "TOUCH a none a", ":2");
    assert_says(t, "DEL a none a hash", ":2");
    assert_says(t, "UNLINK b", ":1");
    uint64_t writes = t->writes;
    assert_says(t, "DEL a b", ":0");
    assert_int_equal(t->writes, writes);
}

static void a_key_has_the_type_of_its_value(void **state)
{
    struct transaction *t = *state;
    put_hash(t, "hash", 1, 1, 1);
    assert_says(t, "SET string v", "+OK");
    assert_says(t, "TYPE hash", "+hash");
    assert_says(t, "TYPE string", "+string");
    assert_says(t, "TYPE none", "+none");
}

/* ---- Times to live ---- */

static void expire_takes_a_time_in_four_spellings(void **state)
{
    struct transaction *t = *state;
    put_hash(t, "k", 1, 1, 1);
    assert_says(t, "EXPIRE k 7", ":1");
    assert_says(t, "PTTL k", ":7000");
    assert_says(t, "PEXPIRE k 7", ":1");
    assert_says(t, "PTTL k", ":7");
    assert_says(t, "EXPIREAT k 1700000002", ":1");
    assert_says(t, "PTTL k", ":2000");
    assert_says(t, "PEXPIREAT k 1700000000003", ":1");
    assert_says(t, "PTTL k", ":3");
    assert_says(t, "TYPE k", "+hash");
    assert_says(t, "EXPIRE none 7", ":0");
}

static void a_time_to_live_is_told_in_four_spellings(void **state)
{
    struct transaction *t = *state;
    static const char *const commands[] = {"TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"};
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(fake_run(t, 2, commands[i], "none", NULL), ":-2\r\n");
        assert_says(t, "SET k v", "+OK");
        assert_string_equal(fake_run(t, 2, commands[i], "k", NULL), ":-1\r\n");
    }
    assert_says(t, "PEXPIREAT k 1700000001499", ":1");
    assert_says(t, "TTL k", ":1"); /* the nearest */
    assert_says(t, "PTTL k", ":1499");
    assert_says(t, "EXPIRETIME k", ":1700000001");
    assert_says(t, "PEXPIRETIME k", ":1700000001499");
    assert_says(t, "PEXPIREAT k 1700000001500", ":1");
    assert_says(t, "TTL k", ":2");
    assert_says(t, "EXPIRETIME k", ":1700000002");
    assert_says(t, "PEXPIRE k 499", ":1");
    assert_says(t, "TTL k", ":0");
    t->now_ms += 499;
    assert_says(t, "TTL k", ":-2");
}

static void a_time_that_has_passed_deletes(void **state)
{
    struct transaction *t = *state;
    static const char *const lines[] = {"EXPIRE k 0", "EXPIRE k -1", "EXPIRE k -9223372036854775",
        "PEXPIRE k 0", "PEXPIRE k -9223372036854775808", "EXPIREAT k 0", "EXPIREAT k 1700000000",
        "PEXPIREAT k 1700000000000", "PEXPIREAT k -1", "EXPIRE k -1 LT"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        assert_says(t, "SET k v", "+OK");
        assert_says(t, lines[i], ":1");
        assert_says(t, "EXISTS k", ":0");
        assert_says(t, lines[i], ":0");
    }
    assert_says(t, "SET k v", "+OK");
    assert_says(t, "PEXPIREAT k 1700000000001", ":1");
    assert_says(t, "EXISTS k", ":1");
}

static void times_that_do_not_fit_are_refused_before_the_key_is_looked_at(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "EXPIRE none 9223372036854776", "-ERR invalid expire time in 'expire' command");
    assert_says(t, "EXPIRE none 9223372036854775", "-ERR invalid expire time in 'expire' command");
    assert_says(t, "EXPIRE none -9223372036854776", "-ERR invalid expire time in 'expire' command");
    assert_says(t, "EXPIREAT none 9223372036854776", "-ERR invalid expire time in 'expireat' command");
    assert_says(t, "EXPIREAT none 9223372036854775", ":0");
    assert_says(t, "PEXPIRE none 9223372036854775807", "-ERR invalid expire time in 'pexpire' command");
    assert_says(t, "PEXPIREAT none 9223372036854775807", ":0");
    assert_says(t, "PEXPIREAT none 9223372036854775808", NOT_AN_INTEGER);
    assert_says(t, "EXPIRE none x", NOT_AN_INTEGER);
}

static void times_beyond_the_year_9999_are_taken_as_its_end(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "SET k v", "+OK");
    assert_says(t, "PEXPIREAT k 9223372036854775807", ":1");
    assert_says(t, "PEXPIRETIME k", ":253402300799999");
    assert_says(t, "PEXPIREAT k 9223372036854775806 GT", ":0"); /* what is stored would be the same */
    assert_says(t, "PEXPIREAT k 9223372036854775806 LT", ":0");
    assert_says(t, "PEXPIREAT k 253402300799998 LT", ":1");
    assert_says(t, "PEXPIRETIME k", ":253402300799998");
}

static void an_expire_may_have_conditions(void **state)
{
    struct transaction *t = *state;
    static const struct {
        const char *had, *condition, *want; /* of an expire to 100 */
    } rows[] = {
        {"", "NX", ":1"},
        {"", "XX", ":0"},
        {"", "GT", ":0"},
        {"", "LT", ":1"},
        {"", "XX LT", ":0"},
        {"", "XX GT", ":0"},
        {"50", "NX", ":0"},
        {"50", "xx", ":1"},
        {"50", "gT", ":1"},
        {"50", "LT", ":0"},
        {"50", "XX GT", ":1"},
        {"100", "GT", ":0"},
        {"100", "LT", ":0"},
        {"100", "XX XX", ":1"},
        {"150", "GT", ":0"},
        {"150", "LT", ":1"},
        {"150", "GT XX", ":0"},
        {"150", "LT XX LT", ":1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char line[64];
        assert_says(t, "SET k v", "+OK");
        if (rows[i].had[0] != '\0') {
            snprintf(line, sizeof line, "PEXPIRE k %s", rows[i].had);
            assert_says(t, line, ":1");
        }
        snprintf(line, sizeof line, "PEXPIRE k 100 %s", rows[i].condition);
        assert_says(t, line, rows[i].want);
        snprintf(line, sizeof line, ":%s",
            rows[i].want[1] == '1'   ? "100"
            : rows[i].had[0] != '\0' ? rows[i].had
                                     : "-1");
        assert_says(t, "PTTL k", line);
    }
    assert_says(t, "PEXPIRE none 100 LT", ":0");
    assert_says(t, "PEXPIRE k -5 GT", ":0");
}

static void conditions_that_exclude_each_other_are_refused_first_of_all(void **state)
{
    struct transaction *t = *state;
    const char *with_nx = "-ERR NX and XX, GT or LT options at the same time are not compatible";
    assert_says(t, "EXPIRE none x NX XX", with_nx);
    assert_says(t, "EXPIRE none x GT NX", with_nx);
    assert_says(t, "EXPIRE none x NX LT", with_nx);
    assert_says(t, "EXPIRE none x LT NX GT", with_nx);
    assert_says(t, "EXPIRE none x GT LT", "-ERR GT and LT options at the same time are not compatible");
    assert_says(t, "EXPIRE none x GT XX LT", "-ERR GT and LT options at the same time are not compatible");
    assert_says(t, "EXPIRE none x NX XX Bogus", "-ERR Unsupported option Bogus");
    assert_says(t, "EXPIRE none x \"\" NX", "-ERR Unsupported option ");
    assert_says(t, "EXPIRE none x EX 10", "-ERR Unsupported option EX");
}

static void an_unknown_option_is_told_whole_up_to_a_nul_without_line_ends(void **state)
{
    struct transaction *t = *state;
    char option[3000], want[3100] = "-ERR Unsupported option ";
    memset(option, 'x', sizeof option);
    option[1] = '\n';
    option[2900] = '\0';
    strcat(want, option);
    *strchr(want, '\n') = ' ';
    strcat(want, "\r\n");
    struct bytes args[] = {bytes_from_text("expire"), bytes_from_text("k"), bytes_from_text("1"),
        bytes_of(option, sizeof option)};
    assert_true(bytes_equal(fake_run_args(t, 2, args, 4), bytes_from_text(want)));
}

static void persist_takes_the_time_to_live_away(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "PERSIST none", ":0");
    assert_says(t, "SET k v PX 10", "+OK");
    assert_says(t, "PERSIST k", ":1");
    assert_says(t, "PTTL k", ":-1");
    assert_says(t, "GET k", "$1 v");
    uint64_t writes = t->writes;
    assert_says(t, "PERSIST k", ":0");
    assert_int_equal(t->writes, writes);
}

/* ---- RENAME and COPY ---- */

static void rename_takes_type_and_time_to_live_along(void **state)
{
    struct transaction *t = *state;
    put_hash(t, "from", 1, 1, 1);
    assert_says(t, "PEXPIRE from 100", ":1");
    assert_says(t, "SET to v", "+OK");
    assert_says(t, "RENAME from to", "+OK");
    assert_says(t, "TYPE to", "+hash");
    assert_says(t, "PTTL to", ":100");
    assert_says(t, "EXISTS from", ":0");
    assert_says(t, "RENAME from to", "-ERR no such key");
    assert_says(t, "SET from v", "+OK");
    assert_says(t, "RENAMENX from to", ":0");
    assert_says(t, "TYPE to", "+hash");
    assert_says(t, "RENAMENX from new", ":1");
    assert_says(t, "GET new", "$1 v");
    assert_says(t, "PTTL new", ":-1");
    assert_says(t, "RENAMENX from new", "-ERR no such key");
}

static void renaming_a_key_to_itself_writes_nothing(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "RENAME k k", "-ERR no such key");
    assert_says(t, "SET k v PX 10", "+OK");
    uint64_t writes = t->writes;
    assert_says(t, "RENAME k k", "+OK");
    assert_says(t, "RENAMENX k k", ":0");
    assert_int_equal(t->writes, writes);
    assert_says(t, "PTTL k", ":10");
}

static void copy_takes_type_and_time_to_live_along(void **state)
{
    struct transaction *t = *state;
    put_hash(t, "from", 1, 1, 1);
    assert_says(t, "PEXPIRE from 100", ":1");
    assert_says(t, "COPY from to", ":1");
    assert_says(t, "TYPE to", "+hash");
    assert_says(t, "PTTL to", ":100");
    assert_says(t, "TYPE from", "+hash");
    assert_says(t, "SET from v", "+OK");
    assert_says(t, "COPY from to", ":0");
    assert_says(t, "TYPE to", "+hash");
    assert_says(t, "COPY from to db 0 REPLACE replace", ":1");
    assert_says(t, "GET to", "$1 v");
    assert_says(t, "PTTL to", ":-1");
    assert_says(t, "COPY none to REPLACE", ":0");
    assert_says(t, "GET to", "$1 v");
}

static void copy_stays_in_the_one_database(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "SET k v", "+OK");
    assert_says(t, "COPY k k", "-ERR source and destination objects are the same");
    assert_says(t, "COPY none none", "-ERR source and destination objects are the same");
    assert_says(t, "COPY k to DB 1", "-ERR Copying to another database is not allowed in cluster mode");
    assert_says(t, "COPY k k DB 15", "-ERR Copying to another database is not allowed in cluster mode");
    assert_says(t, "COPY k to DB 16", "-ERR DB index is out of range");
    assert_says(t, "COPY k to DB -1", "-ERR DB index is out of range");
    assert_says(t, "COPY k to DB 2147483648",
        "-ERR value is out of range, value must between -2147483648 and 2147483647");
    assert_says(t, "COPY k to DB -2147483649",
        "-ERR value is out of range, value must between -2147483648 and 2147483647");
    assert_says(t, "COPY k to DB x", NOT_AN_INTEGER);
    assert_says(t, "COPY k to DB x bogus", NOT_AN_INTEGER);
    assert_says(t, "COPY k to DB 1 bogus", "-ERR syntax error");
    assert_says(t, "COPY k to DB", "-ERR syntax error");
    assert_says(t, "EXISTS to", ":0");
    assert_says(t, "COPY k to DB 1 DB 0", ":1");
}

/* ---- OBJECT and MEMORY ---- */

static void encodings_are_those_that_redis_would_choose(void **state)
{
    struct transaction *t = *state;
    static const struct {
        const char *value, *want;
    } rows[] = {
        {"12", "$3 int"},
        {"-9223372036854775808", "$3 int"},
        {"9223372036854775808", "$6 embstr"},
        {"012", "$6 embstr"},
        {"\"\"", "$6 embstr"},
        {"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "$6 embstr"},
        {"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "$3 raw"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char line[128];
        snprintf(line, sizeof line, "SET k %s", rows[i].value);
        assert_says(t, line, "+OK");
        assert_says(t, "OBJECT ENCODING k", rows[i].want);
    }
    put_hash(t, "h", 512, 64, 64);
    assert_says(t, "OBJECT encoding h", "$8 listpack");
    put_hash(t, "h", 513, 1, 1);
    assert_says(t, "OBJECT ENCODING h", "$9 hashtable");
    put_hash(t, "h", 2, 65, 1);
    assert_says(t, "OBJECT ENCODING h", "$9 hashtable");
    put_hash(t, "h", 2, 1, 65);
    assert_says(t, "OBJECT ENCODING h", "$9 hashtable");
}

static void small_numbers_are_shared_objects(void **state)
{
    struct transaction *t = *state;
    put_hash(t, "h", 1, 1, 1);
    assert_says(t, "OBJECT REFCOUNT h", ":1");
    assert_says(t, "MSET a 0 b 9999 c 10000 d -1 e x", "+OK");
    assert_says(t, "OBJECT REFCOUNT a", ":2147483647");
    assert_says(t, "OBJECT REFCOUNT b", ":2147483647");
    assert_says(t, "OBJECT REFCOUNT c", ":1");
    assert_says(t, "OBJECT REFCOUNT d", ":1");
    assert_says(t, "OBJECT REFCOUNT e", ":1");
}

static void what_is_not_tracked_is_an_error_and_of_no_key_null(void **state)
{
    struct transaction *t = *state;
    static const char *const subcommands[] = {"ENCODING", "REFCOUNT", "IDLETIME", "FREQ"};
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(fake_run(t, 2, "OBJECT", subcommands[i], "none", NULL), "$-1\r\n");
        assert_string_equal(fake_run(t, 3, "OBJECT", subcommands[i], "none", NULL), "_\r\n");
    }
    assert_says(t, "SET k v", "+OK");
    assert_says(t, "OBJECT FREQ k",
        "-ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when "
        "switching between policies at runtime LRU and LFU data will take some time to adjust.");
    assert_says(
        t, "OBJECT IDLETIME k", "-ERR the idle time of keys is not tracked: eviction here does not go by it");
}

static long long usage(struct transaction *t, const char *key)
{
    const char *reply = fake_run(t, 2, "MEMORY", "USAGE", key, "SAMPLES", "0", NULL);
    assert_int_equal(reply[0], ':');
    return atoll(reply + 1);
}

static void memory_usage_grows_with_key_and_value(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "MSET k vvvvv kkkkk v k3 \"\"", "+OK");
    assert_true(usage(t, "k3") > 2);
    assert_int_equal(usage(t, "k") - usage(t, "k3"), 5 - 1);
    assert_int_equal(usage(t, "kkkkk"), usage(t, "k"));
}

static void memory_usage_looks_at_its_options_first(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "MEMORY USAGE none", "$-1");
    assert_says(t, "MEMORY USAGE none samples 5 SAMPLES 1", "$-1");
    assert_says(t, "MEMORY USAGE none SAMPLES x", NOT_AN_INTEGER);
    assert_says(t, "MEMORY USAGE none SAMPLES -1", "-ERR syntax error");
    assert_says(t, "MEMORY USAGE none SAMPLES", "-ERR syntax error");
    assert_says(t, "MEMORY USAGE none bogus 1", "-ERR syntax error");
}

/* ---- Errors that all commands share ---- */

static void unknown_commands_are_told_with_what_they_begin(void **state)
{
    (void)state;
    static const struct {
        uint32_t n;
        const char *args[4], *want;
    } rows[] = {
        {1, {"foo"}, "-ERR unknown command 'foo', with args beginning with: \r\n"},
        {3, {"foo", "a\nb", ""}, "-ERR unknown command 'foo', with args beginning with: 'a b' '' \r\n"},
        {3,
            {"x",
                "0123456789012345678901234567890123456789012345678901234567890123456789"
                "012345678901234567890123456789012345678901234567890123",
                "abc"},
            "-ERR unknown command 'x', with args beginning with: "
            "'0123456789012345678901234567890123456789012345678901234567890123456789"
            "012345678901234567890123456789012345678901234567890123' 'a' \r\n"},
    };
    struct buf out;
    buf_init(&out);
    struct resp_writer w = {.out = &out, .protocol = 2};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bytes args[4];
        for (uint32_t a = 0; a < rows[i].n; a++) {
            args[a] = bytes_from_text(rows[i].args[a]);
        }
        buf_clear(&out);
        redis_error_unknown(&w, args, rows[i].n);
        buf_append_u8(&out, '\0');
        assert_string_equal((const char *)out.data, rows[i].want);
    }
    buf_clear(&out);
    const struct bytes sub[] = {bytes_from_text("oBject"), bytes_of("Foo\0bar", 7)};
    redis_error_unknown_sub(&w, sub, 2);
    buf_append_u8(&out, '\0');
    assert_string_equal((const char *)out.data, "-ERR unknown subcommand 'Foo'. Try OBJECT HELP.\r\n");
    buf_deinit(&out);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(keys_are_counted_as_often_as_they_are_named_but_deleted_once),
        TEST(a_key_has_the_type_of_its_value),
        TEST(expire_takes_a_time_in_four_spellings),
        TEST(a_time_to_live_is_told_in_four_spellings),
        TEST(a_time_that_has_passed_deletes),
        TEST(times_that_do_not_fit_are_refused_before_the_key_is_looked_at),
        TEST(times_beyond_the_year_9999_are_taken_as_its_end),
        TEST(an_expire_may_have_conditions),
        TEST(conditions_that_exclude_each_other_are_refused_first_of_all),
        TEST(an_unknown_option_is_told_whole_up_to_a_nul_without_line_ends),
        TEST(persist_takes_the_time_to_live_away),
        TEST(rename_takes_type_and_time_to_live_along),
        TEST(renaming_a_key_to_itself_writes_nothing),
        TEST(copy_takes_type_and_time_to_live_along),
        TEST(copy_stays_in_the_one_database),
        TEST(encodings_are_those_that_redis_would_choose),
        TEST(small_numbers_are_shared_objects),
        TEST(what_is_not_tracked_is_an_error_and_of_no_key_null),
        TEST(memory_usage_grows_with_key_and_value),
        TEST(memory_usage_looks_at_its_options_first),
        TEST(unknown_commands_are_told_with_what_they_begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
