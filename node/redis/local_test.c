/* Local commands, as transcripts: what is sent, and the whole reply with | for its line ends. The replies are
 * those of a Redis 7.0.15 in cluster mode, but for the numbers of this node. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/redis/cluster_view.h"
#include "node/redis/local.h"
#include "proto/slot.h"
#include "proto/value_type.h"

enum { KEYS_MAX = 256 };

struct fixture {
    struct redis_client *client, *other;
    struct redis_view_node nodes[3];
    unsigned leader[2];
    bool known[2];
    struct redis_node_view view;
    struct {
        char name[16];
        uint8_t type;
    } keys[KEYS_MAX];
    unsigned keys_n;
    uint64_t key_count;   /* what is told, if not 0 */
    uint32_t looks_asked; /* in all by the last command */
    bool all_asked;
    bool endless; /* the table has empty places only, and no end */
    uint64_t random;
    struct buf reply;
    char text[64 * 1024];
};

static void tell_group(void *data, uint32_t group, struct redis_view_group *out)
{
    (void)data;
    *out = (struct redis_view_group){.leads = group == 0,
        .serves = group == 0,
        .term = 4,
        .applied_index = 100 + group,
        .flushed_index = 90,
        .dirty_entries = 5 + group,
        .dirty_bytes = 500,
        .oldest_dirty_ms = 12,
        .expiring = 2,
        .flush_state = "running",
        .flush_error = group == 1 ? "first line\r\n# second line" : ""};
}

static void tell_clients(
    void *data, void (*visit)(void *visit_data, const struct redis_view_client *client), void *visit_data)
{
    struct fixture *f = data;
    struct redis_view_client client = {
        .client = f->client, .fd = 9, .age_s = 60, .idle_s = 1, .memory_bytes = 4096};
    visit(visit_data, &client);
    client = (struct redis_view_client){.client = f->other, .fd = 10};
    visit(visit_data, &client);
}

/* Like the real one: a cursor is a place, 0 begins and ends, any other number is harmless. */
static uint64_t scan(void *data, uint64_t cursor, uint32_t looks, bool all,
    void (*visit)(void *visit_data, struct bytes key, uint8_t type), void *visit_data)
{
    struct fixture *f = data;
    f->looks_asked += looks;
    f->all_asked = all;
    if (f->endless) {
        return 1;
    }
    for (; cursor < f->keys_n; cursor++, looks--) {
        if (looks == 0) {
            return cursor;
        }
        if (f->keys[cursor].name[0] != 0) { /* not an empty place of the table */
            visit(visit_data, bytes_from_text(f->keys[cursor].name), f->keys[cursor].type);
        }
    }
    return 0;
}

static uint64_t key_count(void *data, bool all)
{
    struct fixture *f = data;
    f->all_asked = all;
    return f->key_count != 0 ? f->key_count : f->keys_n;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->client = redis_client_create(8, "10.1.1.1:5000", "10.0.0.1:7000");
    f->other = redis_client_create(9, "10.1.1.2:5001", "10.0.0.1:7000");
    for (unsigned i = 0; i < 3; i++) {
        cluster_view_node_id("test", i + 1, f->nodes[i].id);
        snprintf(f->nodes[i].host, sizeof(f->nodes[i].host), "10.0.0.%u", i + 1);
        f->nodes[i].port = 7000 + i;
        f->nodes[i].heard = true;
    }
    f->leader[1] = 1;
    f->view = (struct redis_node_view){.nodes = f->nodes,
        .n_nodes = 3,
        .group_count = 2,
        .leader = f->leader,
        .leader_known = f->known,
        .epoch = 7,
        .replicas_acknowledged = 1,
        .cluster_name = "test",
        .version = "0.1.0",
        .process_id = 77,
        .uptime_s = 90000,
        .now_us = 1700000000123456,
        .run_id = "0123",
        .connections_max = 1000,
        .memory_max_bytes = 1073741824,
        .port = 7000,
        .config_file = "/etc/wbnode.conf",
        .data_dir = "/var/lib/wbnode",
        .idle_timeout_s = 300,
        .data = f,
        .group = tell_group,
        .each_client = tell_clients,
        .scan = scan,
        .key_count = key_count};
    buf_init(&f->reply);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    redis_client_free(f->client);
    redis_client_free(f->other);
    buf_deinit(&f->reply);
    free(f);
    return 0;
}

static void add_key(struct fixture *f, const char *name, uint8_t type)
{
    assert_true(f->keys_n < KEYS_MAX);
    snprintf(f->keys[f->keys_n].name, sizeof(f->keys[0].name), "%s", name);
    f->keys[f->keys_n++].type = type;
}

static const char *run_args(struct fixture *f, const struct bytes *args, uint32_t n)
{
    struct resp_writer writer = {&f->reply, f->client->protocol};
    const struct redis_command *command = redis_command_find(args[0]);
    assert_non_null(command);
    command = redis_command_sub(command, args, n);
    assert_non_null(command);
    assert_non_null(command->local);
    buf_clear(&f->reply);
    f->looks_asked = 0;
    if (redis_command_arity_fits(command, n)) {
        struct redis_local_call call = {.command = command,
            .args = args,
            .n = n,
            .client = f->client,
            .view = &f->view,
            .out = &writer,
            .random = f->random};
        f->client->last = command;
        command->local(&call);
    } else {
        redis_error_arity(&writer, command);
    }
    size_t len = 0;
    for (size_t i = 0; i < f->reply.len; i++) {
        assert_true(len + 1 < sizeof(f->text));
        if (f->reply.data[i] != '\r') {
            f->text[len++] = (char)(f->reply.data[i] == '\n' ? '|' : f->reply.data[i]);
        }
    }
    f->text[len] = 0;
    return f->text;
}

/* The words of @line; _ is an empty one. */
static const char *run(struct fixture *f, const char *line)
{
    char words[256];
    struct bytes args[16];
    uint32_t n = 0;
    assert_true(strlen(line) < sizeof(words));
    strcpy(words, line);
    for (char *word = strtok(words, " "); word != NULL; word = strtok(NULL, " ")) {
        assert_true(n < 16);
        args[n++] = bytes_from_text(strcmp(word, "_") == 0 ? "" : word);
    }
    return run_args(f, args, n);
}

struct line {
    const char *sent, *reply;
};

static void transcript(struct fixture *f, const struct line *lines, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *reply = run(f, lines[i].sent);
        if (strcmp(reply, lines[i].reply) != 0) {
            print_error("%s\n", lines[i].sent);
        }
        assert_string_equal(reply, lines[i].reply);
    }
}

#define TRANSCRIPT(f, ...)                                                                                   \
    transcript(f, (const struct line[]){__VA_ARGS__},                                                        \
        sizeof((const struct line[]){__VA_ARGS__}) / sizeof(struct line))

#define HELLO2(role)                                                                                         \
    "*14|$6|server|$5|redis|$7|version|$6|7.0.15|$5|proto|:2|$2|id|:8|$4|mode|$7|cluster|$4|role|" role      \
    "$7|modules|*0|"
#define HELLO3                                                                                               \
    "%7|$6|server|$5|redis|$7|version|$6|7.0.15|$5|proto|:3|$2|id|:8|$4|mode|$7|cluster|$4|role|$6|master|$" \
    "7|modules|*0|"

static void hello_chooses_the_protocol(void **state)
{
    struct fixture *f = *state;
    TRANSCRIPT(f, {"hello", HELLO2("$6|master|")}, {"hello 2", HELLO2("$6|master|")}, {"HELLO 3", HELLO3},
        {"hello", HELLO3}, {"client getname", "_|"},
        /* What is refused changes nothing. */
        {"hello 2 x", "-ERR Syntax error in HELLO option 'x'|"}, {"hello", HELLO3},
        {"hello 2 setname a auth default x", HELLO2("$6|master|")}, {"client getname", "$1|a|"});
    f->leader[0] = 2;
    assert_string_equal(run(f, "hello 2"), HELLO2("$7|replica|"));
}

static void hello_refuses_in_the_words_of_redis(void **state)
{
    TRANSCRIPT(*state, {"hello 4", "-NOPROTO unsupported protocol version|"},
        {"hello 1", "-NOPROTO unsupported protocol version|"},
        {"hello x", "-ERR Protocol version is not an integer or out of range|"},
        {"hello _", "-ERR Protocol version is not an integer or out of range|"},
        {"hello 3 setname", "-ERR Syntax error in HELLO option 'setname'|"},
        {"hello 3 auth a", "-ERR Syntax error in HELLO option 'auth'|"},
        {"hello 3 auth nobody x", "-WRONGPASS invalid username-password pair or user is disabled.|"},
        {"hello 3 setname \x01",
            "-ERR Client names cannot contain spaces, newlines or special characters.|"});
    struct fixture *f = *state;
    assert_int_equal(f->client->protocol, 2);
    assert_null(f->client->name);
}

static void any_password_of_the_default_user_is_right(void **state)
{
    TRANSCRIPT(*state, {"auth x", "+OK|"}, {"auth default x", "+OK|"},
        {"auth x y", "-WRONGPASS invalid username-password pair or user is disabled.|"},
        {"auth x y z", "-ERR syntax error|"}, {"auth", "-ERR wrong number of arguments for 'auth' command|"});
}

static void small_questions_are_answered(void **state)
{
    struct fixture *f = *state;
    TRANSCRIPT(f, {"ping", "+PONG|"}, {"ping a", "$1|a|"},
        {"ping a b", "-ERR wrong number of arguments for 'ping' command|"}, {"echo _", "$0||"},
        {"time", "*2|$10|1700000000|$6|123456|"}, {"select 0", "+OK|"},
        {"select 1", "-ERR SELECT is not allowed in cluster mode|"},
        {"select -1", "-ERR SELECT is not allowed in cluster mode|"},
        {"select x", "-ERR value is not an integer or out of range|"},
        {"select 2147483648", "-ERR value is out of range, value must between -2147483648 and 2147483647|"},
        {"readonly", "+OK|"});
    assert_true(f->client->readonly);
    assert_string_equal(run(f, "readwrite"), "+OK|");
    assert_false(f->client->readonly);
    assert_string_equal(run(f, "asking"), "+OK|");
    assert_true(f->client->asking);
}

static void wait_answers_at_once_with_what_holds(void **state)
{
    TRANSCRIPT(*state, {"wait 0 0", ":1|"}, {"wait 5 1000", ":1|"},
        {"wait x 0", "-ERR value is not an integer or out of range|"},
        {"wait 0 x", "-ERR timeout is not an integer or out of range|"},
        {"wait 0 -1", "-ERR timeout is negative|"}, {"waitaof 1 1 0", "*2|:1|:1|"},
        {"waitaof 0 9 0", "*2|:1|:1|"},
        {"waitaof 2 0 0", "-ERR value is out of range, value must between 0 and 1|"},
        {"waitaof x 0 0", "-ERR value is not an integer or out of range|"},
        {"waitaof 0 -1 0", "-ERR value is out of range, must be positive|"},
        {"waitaof 0 x 0", "-ERR value is out of range, must be positive|"},
        {"waitaof 0 0 x", "-ERR timeout is not an integer or out of range|"},
        {"waitaof 0 0 -1", "-ERR timeout is negative|"});
}

static void a_client_has_a_name(void **state)
{
    struct fixture *f = *state;
    TRANSCRIPT(f, {"client getname", "$-1|"}, {"client setname ok!~", "+OK|"}, {"client getname", "$4|ok!~|"},
        {"client setname _", "+OK|"}, {"client getname", "$-1|"}, {"client id", ":8|"},
        {"client setinfo lib-name redis-py", "+OK|"}, {"client setinfo LIB-VER 1.0", "+OK|"},
        {"client setinfo foo 1", "-ERR Unrecognized option 'foo'|"},
        {"client setname", "-ERR wrong number of arguments for 'client|setname' command|"});
    struct bytes args[] = {bytes_from_text("client"), bytes_from_text("setname"), bytes_from_text("a b")};
    static const char error[] = "-ERR Client names cannot contain spaces, newlines or special characters.|";
    assert_string_equal(run_args(f, args, 3), error);
    args[2] = bytes_from_text("\x7f");
    assert_string_equal(run_args(f, args, 3), error);
    args[2] = bytes_of("a\0b", 3);
    assert_string_equal(run_args(f, args, 3), error);
    struct bytes info[] = {bytes_from_text("client"), bytes_from_text("setinfo"), bytes_from_text("LIB-ver"),
        bytes_from_text("a\n")};
    assert_string_equal(
        run_args(f, info, 4), "-ERR LIB-ver cannot contain spaces, newlines or special characters.|");
}

#define FIRST_LINE(flags)                                                                                    \
    "id=8 addr=10.1.1.1:5000 laddr=10.0.0.1:7000 fd=9 name=me age=60 idle=1 flags=" flags                    \
    " db=0 sub=0 psub=0 ssub=0 multi=-1 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 "  \
    "omem=0 tot-mem=4096 events=r "
#define SECOND_LINE                                                                                          \
    "id=9 addr=10.1.1.2:5001 laddr=10.0.0.1:7000 fd=10 name= age=0 idle=0 flags=N db=0 sub=0 psub=0 ssub=0 " \
    "multi=-1 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r "  \
    "cmd=NULL user=default redir=-1 resp=2 lib-name= lib-ver=|"

/* Without the length before it. */
static const char *text_of(const char *reply)
{
    assert_true(reply[0] == '$' || reply[0] == '=');
    return strchr(reply, '|') + 1;
}

static void client_list_shows_connections(void **state)
{
    struct fixture *f = *state;
    run(f, "client setname me");
    assert_string_equal(text_of(run(f, "client list")),
        FIRST_LINE("N") "cmd=client|list user=default redir=-1 resp=2 lib-name= lib-ver=|" SECOND_LINE "|");
    assert_string_equal(text_of(run(f, "client list type NORMAL")),
        FIRST_LINE("N") "cmd=client|list user=default redir=-1 resp=2 lib-name= lib-ver=|" SECOND_LINE "|");
    assert_string_equal(text_of(run(f, "client list id 9 9 7")), SECOND_LINE "|");
    run(f, "readonly");
    run(f, "client no-evict on");
    run(f, "client no-touch ON");
    run(f, "hello 3");
    assert_string_equal(text_of(run(f, "client info")),
        "txt:" FIRST_LINE("reT") "cmd=client|info user=default redir=-1 resp=3 lib-name= lib-ver=||");
    f->client->in_multi = true;
    f->client->queued = 3;
    assert_non_null(strstr(run(f, "client info"), " flags=xreT "));
    assert_non_null(strstr(run(f, "client info"), " multi=3 "));
}

static void client_list_refuses_in_the_words_of_redis(void **state)
{
    TRANSCRIPT(*state, {"client list type replica", "$0||"}, {"client list type pubsub", "$0||"},
        {"client list type nosuch", "-ERR Unknown client type 'nosuch'|"},
        {"client list type", "-ERR syntax error|"}, {"client list id", "-ERR syntax error|"},
        {"client list id x", "-ERR Invalid client ID|"}, {"client list id 1 x", "-ERR Invalid client ID|"},
        {"client list foo", "-ERR syntax error|"}, {"client list type normal id 1", "-ERR syntax error|"},
        {"client no-evict x", "-ERR syntax error|"});
}

static void what_is_not_supported_is_refused_with_words(void **state)
{
    TRANSCRIPT(*state,
        {"client kill x", "-ERR CLIENT KILL is not supported: connections end by themselves or by the "
                          "limits of the configuration|"},
        {"client kill", "-ERR wrong number of arguments for 'client|kill' command|"},
        {"config set a b",
            "-ERR CONFIG SET is not supported: the configuration is a file: see docs/operations.md|"},
        {"cluster set-config-epoch 1", "-ERR CLUSTER SET-CONFIG-EPOCH is not supported: nodes and slots are "
                                       "in the configuration of the cluster|"});
}

static void config_get_finds_names_and_patterns(void **state)
{
    struct fixture *f = *state;
    TRANSCRIPT(f, {"config get save", "*2|$4|save|$0||"}, {"config get SAVE", "*2|$4|SAVE|$0||"},
        {"config get SAVE save s[a]ve", "*2|$4|SAVE|$0||"}, {"config get nosuch", "*0|"},
        {"config get append*", "*4|$11|appendfsync|$6|always|$10|appendonly|$3|yes|"},
        {"config get MAXMEMORY*", "*4|$9|maxmemory|$10|1073741824|$16|maxmemory-policy|$10|noeviction|"},
        {"config get timeout port", "*4|$4|port|$4|7000|$7|timeout|$3|300|"},
        {"config get dir bind", "*4|$4|bind|$8|10.0.0.1|$3|dir|$15|/var/lib/wbnode|"},
        {"config get min-replicas-to-write", "*2|$21|min-replicas-to-write|$1|1|"},
        {"config get", "-ERR wrong number of arguments for 'config|get' command|"}, {"hello 3", HELLO3},
        {"config get save", "%1|$4|save|$0||"}, {"config get nosuch", "%0|"});
    char longest[300];
    memset(longest, '*', sizeof(longest));
    struct bytes args[] = {
        bytes_from_text("config"), bytes_from_text("get"), bytes_of(longest, sizeof(longest))};
    assert_string_equal(run_args(f, args, 3), "%0|");
}

static void info_has_the_sections_that_are_asked_for(void **state)
{
    struct fixture *f = *state;
    TRANSCRIPT(f, {"info nosuch", "$0||"}, {"info cluster", "$30|# Cluster|cluster_enabled:1||"},
        {"info CLUSTER nosuch cluster", "$30|# Cluster|cluster_enabled:1||"},
        {"info cluster modules", "$43|# Modules||# Cluster|cluster_enabled:1||"},
        {"info keyspace", "$12|# Keyspace||"});
    add_key(f, "k", VALUE_STRING);
    assert_string_equal(run(f, "info keyspace"), "$44|# Keyspace|db0:keys=1,expires=2,avg_ttl=0||");
    char all[sizeof(f->text)];
    strcpy(all, run(f, "info"));
    assert_string_equal(run(f, "info everything"), all);
    assert_string_equal(run(f, "info all"), all);
    assert_string_equal(run(f, "info default"), all);
    static const char *const parts[] = {
        "# Server|redis_version:7.0.15|wbcache_version:0.1.0|redis_mode:cluster|",
        "|uptime_in_seconds:90000|uptime_in_days:1|", "|# Clients|", "|# Memory|", "|maxmemory_human:1.00G|",
        "|# Persistence|loading:0|", "|# Stats|",
        "|# Replication|role:master|connected_slaves:1|slave0:ip=10.0.0.3,", "|# CPU|",
        "|# Cluster|cluster_enabled:1|", "|# WriteBehind|cluster_name:test|groups:2|groups_led:1|"};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        assert_non_null(strstr(all, parts[i]));
    }
    run(f, "hello 3");
    assert_string_equal(run(f, "info cluster"), "=34|txt:# Cluster|cluster_enabled:1||");
}

static void info_tells_a_replica_of_its_master(void **state)
{
    struct fixture *f = *state;
    f->leader[0] = f->leader[1] = 2;
    assert_string_equal(text_of(run(f, "info replication")),
        "# "
        "Replication|role:slave|master_host:10.0.0.3|master_port:7002|master_link_status:up|slave_read_only:"
        "1|"
        "connected_slaves:0|master_repl_offset:201||");
}

static void the_section_of_our_own_sums_the_groups_that_are_led(void **state)
{
    struct fixture *f = *state;
    const char *text = run(f, "info writebehind");
    assert_non_null(strstr(text, "|dirty_entries:5|dirty_bytes:500|oldest_dirty_ms:12|"));
    assert_non_null(strstr(text, "|group0:role=leader,serves=1,term=4,applied_index=100,flushed_index=90,"));
    assert_non_null(strstr(text, "|group1:role=follower,serves=0,"));
    /* PostgreSQL's words cannot break the lines. */
    assert_non_null(strstr(text, "|group1_flush_error:first line  # second line|"));
}

static void scan_walks_through_the_keys(void **state)
{
    struct fixture *f = *state;
    add_key(f, "a1", VALUE_STRING);
    add_key(f, "a2", VALUE_HASH);
    add_key(f, "b1", VALUE_STRING);
    TRANSCRIPT(f, {"scan 0", "*2|$1|0|*3|$2|a1|$2|a2|$2|b1|"}, {"scan 0 count 2", "*2|$1|2|*2|$2|a1|$2|a2|"},
        {"scan 2 count 2", "*2|$1|0|*1|$2|b1|"}, {"scan 0 match a*", "*2|$1|0|*2|$2|a1|$2|a2|"},
        {"scan 0 type hash", "*2|$1|0|*1|$2|a2|"}, {"scan 0 TYPE String match *1", "*2|$1|0|*2|$2|a1|$2|b1|"},
        {"scan 0 type list", "*2|$1|0|*0|"}, {"scan 0 match x match b*", "*2|$1|0|*1|$2|b1|"},
        {"scan 99", "*2|$1|0|*0|"}, {"scan -1", "*2|$1|0|*0|"}, {"scan _", "*2|$1|0|*3|$2|a1|$2|a2|$2|b1|"},
        {"scan +2", "*2|$1|0|*1|$2|b1|"}, {"scan 18446744073709551615", "*2|$1|0|*0|"});
}

static void scan_refuses_in_the_words_of_redis(void **state)
{
    TRANSCRIPT(*state, {"scan x", "-ERR invalid cursor|"}, {"scan 0x", "-ERR invalid cursor|"},
        {"scan -", "-ERR invalid cursor|"}, {"scan 18446744073709551616", "-ERR invalid cursor|"},
        {"scan x foo bar", "-ERR invalid cursor|"}, {"scan 0 foo bar", "-ERR syntax error|"},
        {"scan 0 count", "-ERR syntax error|"}, {"scan 0 count 0", "-ERR syntax error|"},
        {"scan 0 count x", "-ERR value is not an integer or out of range|"},
        {"scan 0 match", "-ERR syntax error|"}, {"scan 0 type", "-ERR syntax error|"});
}

static void a_step_of_a_scan_is_bounded_whatever_count_says(void **state)
{
    struct fixture *f = *state;
    run(f, "scan 0");
    assert_int_equal(f->looks_asked, 10);
    run(f, "scan 0 count 9223372036854775807");
    assert_int_equal(f->looks_asked, LIMIT_SCAN_LOOKS);
    f->endless = true;
    assert_string_equal(run(f, "scan 0"), "*2|$1|1|*0|");
    assert_int_equal(f->looks_asked, LIMIT_SCAN_LOOKS);
}

static void empty_places_do_not_make_a_step_empty(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 100; i++) {
        add_key(f, "", VALUE_STRING);
    }
    add_key(f, "a", VALUE_STRING);
    add_key(f, "b", VALUE_HASH);
    add_key(f, "c", VALUE_STRING);
    TRANSCRIPT(f, {"scan 0 count 2", "*2|$3|102|*2|$1|a|$1|b|"}, {"scan 0", "*2|$1|0|*3|$1|a|$1|b|$1|c|"},
        /* Keys that are not asked for count as seen. */
        {"scan 0 count 2 type hash", "*2|$3|102|*1|$1|b|"});
}

static void keys_of_followed_groups_are_for_those_who_said_readonly(void **state)
{
    static const char *const lines[] = {"scan 0", "keys *", "randomkey", "dbsize"};
    struct fixture *f = *state;
    for (unsigned i = 0; i < 4; i++) {
        f->client->readonly = false;
        run(f, lines[i]);
        assert_false(f->all_asked);
        f->client->readonly = true;
        run(f, lines[i]);
        assert_true(f->all_asked);
    }
}

static void keys_and_dbsize_see_all(void **state)
{
    struct fixture *f = *state;
    TRANSCRIPT(f, {"keys *", "*0|"}, {"dbsize", ":0|"}, {"randomkey", "$-1|"});
    add_key(f, "a1", VALUE_STRING);
    add_key(f, "b1", VALUE_HASH);
    TRANSCRIPT(f, {"keys *", "*2|$2|a1|$2|b1|"}, {"keys ?1", "*2|$2|a1|$2|b1|"}, {"keys a*", "*1|$2|a1|"},
        {"keys nosuch", "*0|"}, {"dbsize", ":2|"});
    f->key_count = 200001;
    TRANSCRIPT(f,
        {"keys *", "-ERR too many keys to look at all of them at once (more than 200000): use SCAN|"},
        {"cluster countkeysinslot 1",
            "-ERR too many keys to look at all of them at once (more than 200000): use SCAN|"},
        {"dbsize", ":200001|"});
}

static void each_key_can_be_the_random_one(void **state)
{
    struct fixture *f = *state;
    unsigned seen[8] = {0};
    char name[16];
    for (unsigned i = 0; i < 8; i++) {
        snprintf(name, sizeof(name), "k%u", i);
        add_key(f, name, VALUE_STRING);
    }
    for (unsigned i = 0; i < 800; i++) {
        f->random = 0x9e3779b97f4a7c15U * (i + 1);
        const char *reply = run(f, "randomkey");
        assert_memory_equal(reply, "$2|k", 4);
        assert_in_range(reply[4], '0', '7');
        seen[reply[4] - '0']++;
    }
    for (unsigned i = 0; i < 8; i++) {
        assert_in_range(seen[i], 40, 200);
    }
}

static void keys_of_a_slot_are_counted_and_told(void **state)
{
    struct fixture *f = *state;
    add_key(f, "a", VALUE_STRING); /* of slot 15495 */
    add_key(f, "b", VALUE_STRING);
    add_key(f, "{a}2", VALUE_HASH);
    TRANSCRIPT(f, {"cluster keyslot a", ":15495|"}, {"cluster keyslot {a}2", ":15495|"},
        {"cluster countkeysinslot 15495", ":2|"}, {"cluster countkeysinslot 0", ":0|"},
        {"cluster getkeysinslot 15495 10", "*2|$1|a|$4|{a}2|"}, {"cluster getkeysinslot 15495 1", "*1|$1|a|"},
        {"cluster getkeysinslot 15495 0", "*0|"}, {"cluster countkeysinslot 16384", "-ERR Invalid slot|"},
        {"cluster countkeysinslot -1", "-ERR Invalid slot|"},
        {"cluster countkeysinslot x", "-ERR value is not an integer or out of range|"},
        {"cluster getkeysinslot 16384 1", "-ERR Invalid slot or number of keys|"},
        {"cluster getkeysinslot 1 -1", "-ERR Invalid slot or number of keys|"},
        {"cluster getkeysinslot 1 x", "-ERR value is not an integer or out of range|"});
}

static void the_rest_of_the_local_commands_answer(void **state)
{
    struct fixture *f = *state;
    TRANSCRIPT(f, {"client getredir", ":-1|"},
        {"client trackinginfo", "*6|$5|flags|*1|$3|off|$8|redirect|:-1|$8|prefixes|*0|"},
        {"cluster links", "*0|"}, {"cluster count-failure-reports x", "-ERR Unknown node x|"},
        {"hello 3", HELLO3},
        {"client trackinginfo", "%3|$5|flags|~1|$3|off|$8|redirect|:-1|$8|prefixes|*0|"});
    assert_memory_equal(run(f, "object help"), "*11|+OBJECT <subcommand>", 24);
    assert_non_null(strstr(run(f, "object help"), "|+HELP|+    What subcommands there are.|"));
}

static void a_reset_client_is_as_new(void **state)
{
    struct fixture *f = *state;
    run(f, "hello 3 setname a");
    run(f, "readonly");
    run(f, "client no-evict on");
    f->client->in_multi = true;
    f->client->queued = 1;
    redis_client_reset(f->client);
    assert_int_equal(f->client->protocol, 2);
    assert_int_equal(f->client->id, 8);
    assert_null(f->client->name);
    assert_false(f->client->readonly || f->client->no_evict || f->client->in_multi);
    assert_int_equal(f->client->queued, 0);
}

static void what_a_connection_calls_itself_is_short(void **state)
{
    static char name[1025];
    struct fixture *f = *state;
    struct bytes args[] = {bytes_from_text("CLIENT"), bytes_from_text("SETNAME"), bytes_of(name, 1024)};
    struct bytes info[] = {bytes_from_text("CLIENT"), bytes_from_text("SETINFO"), bytes_from_text("lib-ver"),
        bytes_of(name, 1025)};
    memset(name, 'n', sizeof(name));
    assert_string_equal(run_args(f, args, 3), "+OK|");
    args[2].len = 1025;
    assert_string_equal(run_args(f, args, 3), "-ERR Client names cannot be longer than 1024 bytes|");
    assert_string_equal(run_args(f, info, 4), "-ERR lib-ver cannot be longer than 1024 bytes|");
    assert_int_equal(strlen(f->client->name), 1024);
}

static void a_pattern_that_costs_too_much_is_refused(void **state)
{
    static char pattern[4 * 1024 * 1024];
    struct fixture *f = *state;
    struct bytes keys[] = {bytes_from_text("KEYS"), bytes_of(pattern, sizeof(pattern))};
    struct bytes scan[] = {bytes_from_text("SCAN"), bytes_from_text("0"), bytes_from_text("MATCH"),
        bytes_of(pattern, sizeof(pattern))};
    memset(pattern, 'x', sizeof(pattern));
    memcpy(pattern, "*[", 2);
    memcpy(pattern + sizeof(pattern) - 2, "]b", 2);
    f->keys_n = 8;
    for (unsigned i = 0; i < f->keys_n; i++) {
        snprintf(f->keys[i].name, sizeof(f->keys[i].name), "key-%u", i);
    }
    const char *refused = "-ERR the pattern takes too long to compare: use a simpler one|";
    assert_string_equal(run_args(f, keys, 2), refused);
    assert_string_equal(run_args(f, scan, 4), refused);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(hello_chooses_the_protocol),
        TEST(hello_refuses_in_the_words_of_redis),
        TEST(any_password_of_the_default_user_is_right),
        TEST(small_questions_are_answered),
        TEST(wait_answers_at_once_with_what_holds),
        TEST(a_client_has_a_name),
        TEST(client_list_shows_connections),
        TEST(client_list_refuses_in_the_words_of_redis),
        TEST(what_is_not_supported_is_refused_with_words),
        TEST(config_get_finds_names_and_patterns),
        TEST(info_has_the_sections_that_are_asked_for),
        TEST(info_tells_a_replica_of_its_master),
        TEST(the_section_of_our_own_sums_the_groups_that_are_led),
        TEST(scan_walks_through_the_keys),
        TEST(scan_refuses_in_the_words_of_redis),
        TEST(a_step_of_a_scan_is_bounded_whatever_count_says),
        TEST(empty_places_do_not_make_a_step_empty),
        TEST(keys_of_followed_groups_are_for_those_who_said_readonly),
        TEST(keys_and_dbsize_see_all),
        TEST(each_key_can_be_the_random_one),
        TEST(keys_of_a_slot_are_counted_and_told),
        TEST(the_rest_of_the_local_commands_answer),
        TEST(a_reset_client_is_as_new),
        TEST(what_a_connection_calls_itself_is_short),
        TEST(a_pattern_that_costs_too_much_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
