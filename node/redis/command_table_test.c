/* The table of commands: it can be searched, its rows make sense, and COMMAND tells it as Redis does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/redis/local.h"

static struct bytes b(const char *text)
{
    return bytes_from_text(text);
}

static void each_row_is_found_by_its_name_in_any_case(void **state)
{
    (void)state;
    uint32_t n;
    const struct redis_command *rows = redis_commands(&n);
    assert_true(n > 100);
    for (uint32_t i = 0; i < n; i++) {
        char name[64];
        assert_true(i == 0 || strcmp(rows[i - 1].name, rows[i].name) < 0);
        assert_true(strlen(rows[i].name) < sizeof(name));
        for (size_t k = 0; k <= strlen(rows[i].name); k++) {
            char c = rows[i].name[k];
            name[k] = (char)(k % 2 == 0 && c >= 'a' && c <= 'z' ? c - ('a' - 'A') : c);
        }
        assert_ptr_equal(redis_command_named(b(name)), &rows[i]);
        assert_ptr_equal(redis_command_find(b(name)), redis_command_is_sub(&rows[i]) ? NULL : &rows[i]);
    }
}

static void what_is_no_command_is_not_found(void **state)
{
    (void)state;
    static const char *const names[] = {"", "ge", "gett", "lpush", "client|id", "get ", "\xff",
        "a-name-that-is-longer-than-any-command-that-there-ever-was-in-redis"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_null(redis_command_find(b(names[i])));
    }
    assert_null(redis_command_find(bytes_of("get\0", 4)));
    assert_null(redis_command_find(bytes_of("g\0t", 3)));
}

/* Commands that the dispatcher has code of its own for. */
static bool is_session(const char *name)
{
    static const char *const names[] = {"client|reply", "discard", "exec", "multi", "quit", "reset",
        "unwatch", "watch", "wb.flushed", "wb.lag", "wb.waitflush"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static void each_row_makes_sense(void **state)
{
    (void)state;
    uint32_t n;
    const struct redis_command *rows = redis_commands(&n);
    for (uint32_t i = 0; i < n; i++) {
        const struct redis_command *row = &rows[i];
        bool container = redis_command_is_container(row), command = strcmp(row->name, "command") == 0;
        assert_non_null(row->since);
        assert_non_null(row->group);
        assert_non_null(row->summary);
        assert_non_null(row->acl);
        assert_true(row->arity != 0);
        assert_true((row->flags & REDIS_WRITE) == 0 || (row->flags & REDIS_READONLY) == 0);
        /* It is of exactly one kind. */
        assert_int_equal(
            (row->run != NULL) + (row->local != NULL) + is_session(row->name), container && !command ? 0 : 1);
        /* What runs on keys has keys, and says what it does to them; whether it writes is known. */
        if (row->run != NULL) {
            assert_true(row->first_key > 0);
            assert_true((row->flags & (REDIS_WRITE | REDIS_READONLY)) != 0);
        }
        assert_true(row->local == NULL || row->first_key == 0);
        assert_true((row->first_key > 0) == (row->key_flags != NULL));
        assert_true(row->first_key == 0 || row->key_step > 0);
        assert_true(row->blind == NULL || (row->flags & REDIS_WRITE) != 0);
        /* The smallest call has its first key. */
        assert_true(row->first_key < (row->arity < 0 ? -row->arity : row->arity));
        if (redis_command_is_refused(row)) {
            assert_true(redis_command_is_sub(row));
            assert_non_null(row->note);
        }
    }
}

static void subcommands_are_found_behind_their_containers(void **state)
{
    (void)state;
    struct bytes list[] = {b("CLIENT"), b("List")};
    const struct redis_command *client = redis_command_find(list[0]);
    assert_string_equal(redis_command_sub(client, list, 2)->name, "client|list");
    assert_null(redis_command_sub(client, list, 1));
    struct bytes unknown[] = {b("client"), b("nosuch")};
    assert_null(redis_command_sub(client, unknown, 2));
    struct bytes nested[] = {b("client"), b("client|list")};
    assert_null(redis_command_sub(client, nested, 2));
    struct bytes empty[] = {b("client"), b("")};
    assert_null(redis_command_sub(client, empty, 2));
    struct bytes get[] = {b("get"), b("list")};
    const struct redis_command *get_row = redis_command_find(get[0]);
    assert_ptr_equal(redis_command_sub(get_row, get, 2), get_row);
    struct bytes command[] = {b("command")};
    assert_string_equal(redis_command_sub(redis_command_find(command[0]), command, 1)->name, "command");
}

static void a_number_of_arguments_fits_or_not(void **state)
{
    (void)state;
    const struct redis_command *get = redis_command_find(b("get")), *mset = redis_command_find(b("mset"));
    assert_false(redis_command_arity_fits(get, 1));
    assert_true(redis_command_arity_fits(get, 2));
    assert_false(redis_command_arity_fits(get, 3));
    assert_false(redis_command_arity_fits(mset, 2));
    assert_true(redis_command_arity_fits(mset, 3));
    assert_true(redis_command_arity_fits(mset, UINT32_MAX));
}

static void keys_are_where_the_rows_say(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint32_t n, count, keys[3];
    } cases[] = {
        {"get", 2, 1, {1}},
        {"set", 7, 1, {1}},
        {"mget", 4, 3, {1, 2, 3}},
        {"mset", 5, 2, {1, 3}},
        {"mset", 4, 2, {1, 3}}, /* an odd one: run() refuses it */
        {"hset", 8, 1, {1}},
        {"del", 2, 1, {1}},
        {"watch", 3, 2, {1, 2}},
        {"copy", 6, 2, {1, 2}},
        {"rename", 3, 2, {1, 2}},
        {"object|encoding", 3, 1, {2}},
        {"memory|usage", 5, 1, {2}},
        {"wb.waitflush", 3, 1, {1}},
        {"ping", 2, 0, {0}},
        {"scan", 4, 0, {0}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint32_t found[4] = {0};
        const struct redis_command *command = redis_command_named(b(cases[i].name));
        assert_non_null(command);
        assert_int_equal(redis_command_keys(command, NULL, cases[i].n, found, 4), cases[i].count);
        assert_memory_equal(found, cases[i].keys, cases[i].count * sizeof(uint32_t));
    }
    /* Counted beyond the room that there is. */
    uint32_t two[2] = {0};
    assert_int_equal(redis_command_keys(redis_command_find(b("del")), NULL, 1000, two, 2), 999);
    assert_int_equal(two[1], 2);
}

static void what_is_refused_is_told_why(void **state)
{
    (void)state;
    assert_string_equal(redis_refusal(b("LPUSH")), "there are strings and hashes, no lists");
    assert_non_null(redis_refusal(b("flushall")));
    assert_null(redis_refusal(b("get")));
    assert_null(redis_refusal(b("lpus")));
    assert_null(redis_refusal(b("push")));
    assert_null(redis_refusal(b("lpush lpushx")));
    assert_null(redis_refusal(b("")));
    assert_null(redis_refusal(b("nosuch")));
}

static void nothing_is_both_supported_and_refused(void **state)
{
    (void)state;
    uint32_t n;
    const struct redis_command *rows = redis_commands(&n);
    for (uint32_t i = 0; i < n; i++) {
        assert_null(redis_refusal(b(rows[i].name)));
    }
}

/* ---- COMMAND, as a client reads it ---- */

static char reply_text[256 * 1024], reply_lines[sizeof(reply_text)]; /* the latter with \n for line ends */

/* The local command's reply, with | for line ends. */
static const char *ask(unsigned protocol, const char *line)
{
    char words[256];
    struct bytes args[16];
    uint32_t n = 0;
    strcpy(words, line);
    for (char *word = strtok(words, " "); word != NULL; word = strtok(NULL, " ")) {
        args[n++] = b(word);
    }
    struct buf reply;
    buf_init(&reply);
    struct resp_writer writer = {&reply, protocol};
    const struct redis_command *command = redis_command_sub(redis_command_find(args[0]), args, n);
    struct redis_local_call call = {.command = command, .args = args, .n = n, .out = &writer};
    command->local(&call);
    size_t len = 0;
    for (size_t i = 0; i < reply.len && len + 1 < sizeof(reply_text); i++) {
        if (reply.data[i] != '\r') {
            reply_lines[len] = (char)reply.data[i];
            reply_text[len++] = (char)(reply.data[i] == '\n' ? '|' : reply.data[i]);
        }
    }
    reply_text[len] = reply_lines[len] = 0;
    buf_deinit(&reply);
    return reply_text;
}

#define SPEC2                                                                                                \
    "*6|$5|flags|*2|+RO|+access|$12|begin_search|*4|$4|type|$5|index|$4|spec|*2|$5|index|:1|"                \
    "$9|find_keys|*4|$4|type|$5|range|$4|spec|*6|$7|lastkey|:0|$7|keystep|:1|$5|limit|:0|"
#define SPEC3                                                                                                \
    "%3|$5|flags|~2|+RO|+access|$12|begin_search|%2|$4|type|$5|index|$4|spec|%1|$5|index|:1|"                \
    "$9|find_keys|%2|$4|type|$5|range|$4|spec|%3|$7|lastkey|:0|$7|keystep|:1|$5|limit|:0|"

static void command_info_has_the_shape_of_redis_in_both_protocols(void **state)
{
    (void)state;
    assert_string_equal(ask(2, "command info get nosuch"),
        "*2|*10|$3|get|:2|*2|+readonly|+fast|:1|:1|:1|*3|+@read|+@string|+@fast|*0|*1|" SPEC2 "*0|$-1|");
    assert_string_equal(ask(3, "command info GET nosuch"),
        "*2|*10|$3|get|:2|~2|+readonly|+fast|:1|:1|:1|~3|+@read|+@string|+@fast|~0|~1|" SPEC3 "~0|_|");
    assert_string_equal(ask(3, "command info client|id"),
        "*1|*10|$9|client|id|:2|~3|+noscript|+loading|+stale|:0|:0|:0|~2|+@slow|+@connection|~0|~0|~0|");
    /* A container has its subcommands in it, the refused ones not. */
    assert_non_null(strstr(ask(2, "command info client"), "|$9|client|id|"));
    assert_null(strstr(ask(2, "command info client"), "|$11|client|kill|"));
    assert_string_equal(ask(2, "command info client|kill"), "*1|$-1|");
}

static void command_lists_as_many_as_it_counts(void **state)
{
    (void)state;
    char count[16], begin[16];
    strcpy(count, ask(2, "command count"));
    assert_int_equal(count[0], ':');
    begin[0] = '*';
    strcpy(begin + 1, count + 1);
    assert_memory_equal(ask(2, "command"), begin, strlen(begin));
    assert_memory_equal(ask(2, "command info"), begin, strlen(begin));
}

static void command_list_filters(void **state)
{
    (void)state;
    assert_string_equal(ask(2, "command list filterby pattern SETn*"), "*1|$5|setnx|");
    assert_string_equal(ask(2, "command list filterby aclcat transaction"),
        "*5|$7|discard|$4|exec|$5|multi|$7|unwatch|$5|watch|");
    assert_string_equal(ask(2, "command list filterby aclcat nosuch"), "*0|");
    assert_string_equal(ask(2, "command list filterby module x"), "*0|");
    assert_string_equal(ask(2, "command list filterby x y"), "-ERR syntax error|");
    assert_string_equal(ask(2, "command list x"), "-ERR syntax error|");
    assert_non_null(strstr(ask(2, "command list"), "|$10|wb.flushed|"));
}

static void command_getkeys_names_the_keys(void **state)
{
    (void)state;
    assert_string_equal(ask(2, "command getkeys mset a b c d"), "*2|$1|a|$1|c|");
    assert_string_equal(ask(2, "command getkeys object encoding k"), "*1|$1|k|");
    assert_string_equal(ask(2, "command getkeys wb.lag k"), "*1|$1|k|");
    assert_string_equal(ask(2, "command getkeys nosuch k"), "-ERR Invalid command specified|");
    assert_string_equal(ask(2, "command getkeys ping k"), "-ERR The command has no key arguments|");
    assert_string_equal(
        ask(2, "command getkeys get a b"), "-ERR Invalid number of arguments specified for command|");
    assert_string_equal(
        ask(3, "command getkeysandflags copy a b"), "*2|*2|$1|a|~2|+RO|+access|*2|$1|b|~2|+OW|+update|");
    assert_string_equal(ask(2, "command getkeysandflags set a b"), "*1|*2|$1|a|*2|+OW|+update|");
    assert_string_equal(ask(2, "command getkeysandflags set a b get"), "*1|*2|$1|a|*3|+RW|+access|+update|");
}

static void command_docs_tells_the_arguments(void **state)
{
    (void)state;
    assert_string_equal(ask(2, "command docs nosuch"), "*0|");
    assert_string_equal(ask(3, "command docs nosuch"), "%0|");
    assert_string_equal(ask(2, "command docs setnx"),
        "*2|$5|setnx|*8|$7|summary|$38|Store a string if the key is not there|$5|since|$5|1.0.0|"
        "$5|group|$6|string|$9|arguments|*2|"
        "*6|$4|name|$3|key|$4|type|$3|key|$14|key_spec_index|:0|"
        "*4|$4|name|$5|value|$4|type|$6|string|");
    /* One of two, a token alone, and values behind tokens. */
    assert_non_null(strstr(ask(3, "command docs set"),
        "|%4|$4|name|$6|choice|$4|type|$5|oneof|$5|flags|~1|+optional|$9|arguments|*2|"
        "%3|$4|name|$2|nx|$4|type|$10|pure-token|$5|token|$2|NX|"
        "%3|$4|name|$2|xx|$4|type|$10|pure-token|$5|token|$2|XX|"
        "%4|$4|name|$3|get|$4|type|$10|pure-token|$5|token|$3|GET|$5|flags|~1|+optional|"
        "%4|$4|name|$6|choice|$4|type|$5|oneof|$5|flags|~1|+optional|$9|arguments|*5|"
        "%3|$4|name|$7|seconds|$4|type|$7|integer|$5|token|$2|EX|"));
    /* Several things together, once or more. */
    assert_non_null(strstr(ask(2, "command docs hset"),
        "|*8|$4|name|$5|group|$4|type|$5|block|$5|flags|*1|+multiple|$9|arguments|*2|"
        "*4|$4|name|$5|field|$4|type|$6|string|*4|$4|name|$5|value|$4|type|$6|string|"));
    /* The second key has the second specification; an optional thing in an optional thing. */
    assert_non_null(
        strstr(ask(2, "command docs copy"), "|$11|destination|$4|type|$3|key|$14|key_spec_index|:1|"));
    assert_non_null(strstr(ask(2, "command docs hrandfield"),
        "|*8|$4|name|$5|group|$4|type|$5|block|$5|flags|*1|+optional|$9|arguments|*2|"
        "*4|$4|name|$5|count|$4|type|$7|integer|"
        "*8|$4|name|$10|withvalues|$4|type|$10|pure-token|$5|token|$10|WITHVALUES|$5|flags|*1|+optional|"));
    assert_non_null(strstr(ask(2, "command docs memory"), "|$11|subcommands|*4|$11|memory|help|*6|"));
}

/* Reads one reply as a client would, all of it: returns what is behind it. */
static const char *skip_reply(const char *at, const char *end)
{
    assert_true(at < end);
    char type = *at++;
    char *number_end;
    long n = strtol(at, &number_end, 10);
    const char *next = strchr(at, '\n');
    assert_non_null(next);
    next++;
    if (type == '$') {
        return n < 0 ? next : next + n + 1;
    }
    if (type == '*' || type == '%' || type == '~') {
        for (long i = 0; i < (type == '%' ? 2 * n : n); i++) {
            next = skip_reply(next, end);
        }
    }
    return next;
}

static void each_reply_of_command_is_whole(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "command", "command docs", "command list", "command help", "client help"};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        for (unsigned protocol = 2; protocol <= 3; protocol++) {
            ask(protocol, lines[i]);
            const char *end = reply_lines + strlen(reply_lines);
            assert_true(end - reply_lines < (ptrdiff_t)sizeof(reply_lines) - 1);
            assert_ptr_equal(skip_reply(reply_lines, end), end);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_row_is_found_by_its_name_in_any_case),
        cmocka_unit_test(what_is_no_command_is_not_found),
        cmocka_unit_test(each_row_makes_sense),
        cmocka_unit_test(subcommands_are_found_behind_their_containers),
        cmocka_unit_test(a_number_of_arguments_fits_or_not),
        cmocka_unit_test(keys_are_where_the_rows_say),
        cmocka_unit_test(what_is_refused_is_told_why),
        cmocka_unit_test(nothing_is_both_supported_and_refused),
        cmocka_unit_test(command_info_has_the_shape_of_redis_in_both_protocols),
        cmocka_unit_test(command_lists_as_many_as_it_counts),
        cmocka_unit_test(command_list_filters),
        cmocka_unit_test(command_getkeys_names_the_keys),
        cmocka_unit_test(command_docs_tells_the_arguments),
        cmocka_unit_test(each_reply_of_command_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
