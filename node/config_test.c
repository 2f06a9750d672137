/* Most rows are text -> what is said about it. The text of a row follows a good beginning, so that a row
 * shows only what it is about; in messages FILE stands for the file's path. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "node/config.h"

/* Lines 1 to 6. */
#define NODES                                                                                                \
    "node \"1\" { peer = \"h1:1\" client = \"h1:2\" }\n"                                                     \
    "node \"2\" { peer = \"h2:1\" client = \"h2:2\" }\n"                                                     \
    "node \"3\" { peer = \"h3:1\" client = \"h3:2\" }\n"
#define GOOD                                                                                                 \
    "node_id = 2\n"                                                                                          \
    "data_dir = \"/d\"\n"                                                                                    \
    "database = \"dbname=x\"\n" NODES

struct file {
    char path[64];
};

static void file_write(struct file *f, const char *text)
{
    strcpy(f->path, "/tmp/wbnode-config-XXXXXX");
    int fd = mkstemp(f->path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static enum status load_text(const char *text, struct config *out, char *errmsg, size_t len)
{
    struct file f;
    file_write(&f, text);
    char message[512] = "";
    enum status status = config_load(f.path, out, message, sizeof message);
    unlink(f.path);
    if (status == STATUS_OK) {
        snprintf(errmsg, len, "%s", message);
        return status;
    }
    assert_int_equal(strncmp(message, f.path, strlen(f.path)), 0);
    snprintf(errmsg, len, "FILE%s", message + strlen(f.path));
    return status;
}

static void a_short_file_gets_every_default(void **state)
{
    struct config c;
    char errmsg[512];
    assert_int_equal(load_text(GOOD, &c, errmsg, sizeof errmsg), STATUS_OK);
    assert_string_equal(errmsg, "");
    assert_string_equal(c.cluster, "wbcache");
    assert_int_equal(c.node_id, 2);
    assert_string_equal(c.data_dir, "/d");
    assert_int_equal(c.groups, 3);
    assert_string_equal(c.database, "dbname=x");
    assert_string_equal(c.schema, "wb");
    assert_int_equal(c.log_level, LOG_INFO);
    assert_false(c.allow_few_nodes);
    assert_false(c.watch);
    assert_int_equal(c.n_nodes, 3);
    assert_int_equal(c.nodes[2].id, 3);
    assert_string_equal(c.nodes[2].peer, "h3:1");
    assert_string_equal(c.nodes[2].client, "h3:2");
    assert_null(c.nodes[2].redis);
    assert_ptr_equal(config_self(&c), &c.nodes[1]);
    assert_int_equal(c.raft.election_timeout_ms, 300);
    assert_int_equal(c.raft.heartbeat_ms, 50);
    assert_int_equal(c.raft.snapshot_log_bytes, 44040192);
    assert_int_equal(c.raft.snapshot_trailing, 8192);
    assert_int_equal(c.raft.spread_stable_ms, 3000);
    assert_int_equal(c.flush.age_ms, 500);
    assert_int_equal(c.flush.batch_rows, 5000);
    assert_int_equal(c.flush.batch_bytes, 4194304);
    assert_int_equal(c.flush.in_flight, 2);
    assert_int_equal(c.flush.retry_min_ms, 50);
    assert_int_equal(c.flush.retry_max_ms, 3000);
    assert_int_equal(c.flush.connect_timeout_ms, 3000);
    assert_int_equal(c.flush.lock_timeout_ms, 5000);
    assert_int_equal(c.flush.statement_timeout_ms, 60000);
    assert_int_equal(c.flush.expiry_sweep_ms, 5000);
    assert_int_equal(c.flush.note_ms, 1000);
    assert_int_equal(c.flush.retention_s, 120);
    assert_int_equal(c.flush.retention_bytes, 22369621);
    assert_int_equal(c.flush.connections, 4);
    assert_int_equal(c.flush.quarantine_retry_min_ms, 1000);
    assert_int_equal(c.flush.quarantine_retry_max_ms, 300000);
    assert_int_equal(c.redis.request_timeout_ms, 5000);
    assert_int_equal(c.redis.leader_wait_ms, 1500);
    assert_int_equal(c.limits.memory_max, 2147483648);
    assert_int_equal(c.limits.dirty_bytes, 268435456);
    assert_int_equal(c.limits.dirty_entries, 699050);
    assert_int_equal(c.limits.sessions, 10000);
    assert_int_equal(c.limits.session_bytes, 16777216);
    assert_int_equal(c.limits.connections, 10000);
    assert_int_equal(c.limits.requests_per_connection, 4096);
    assert_int_equal(c.limits.output_bytes, 8388608);
    assert_int_equal(c.limits.client_bytes, 268435456);
    assert_int_equal(c.limits.idle_timeout_ms, 0);
    assert_int_equal(c.limits.frame_timeout_ms, 10000);
    assert_int_equal(c.limits.disk_free_min_bytes, 268435456);
    config_deinit(&c);
}

static void every_option_can_be_set(void **state)
{
    struct config c;
    char errmsg[512];
    enum status status = load_text(GOOD
        "cluster = \"shop-1.a\"\ngroups = 16\nschema = \"cache_2\"\nlog_level = \"debug\"\nallow_few_nodes = "
        "true\nwatch = true\n"
        "raft { election_timeout_ms = 1000 heartbeat_ms = 101 snapshot_log_bytes = 4096 snapshot_trailing = "
        "102\n"
        "  spread_stable_ms = 103 }\n"
        "flush { age_ms = 201 batch_rows = 202 batch_bytes = 4203 in_flight = 4 retry_min_ms = 205\n"
        "  retry_max_ms = 206 connect_timeout_ms = 207 lock_timeout_ms = 208 statement_timeout_ms = 209\n"
        "  expiry_sweep_ms = 210 note_ms = 211 retention_s = 0 retention_bytes = 4213 connections = 214\n"
        "  quarantine_retry_min_ms = 215 quarantine_retry_max_ms = 216 }\n"
        "redis { request_timeout_ms = 401 leader_wait_ms = 402 }\n"
        "limits { memory_max = 17000001 dirty_bytes = 65537 dirty_entries = 302 sessions = 308 session_bytes "
        "= "
        "4309\n"
        "  connections = 303 requests_per_connection = 304 output_bytes = 4305 client_bytes = 33554433\n"
        "  idle_timeout_ms = 306 frame_timeout_ms = 311 disk_free_min_bytes = 307 }\n",
        &c, errmsg, sizeof errmsg);
    assert_string_equal(errmsg, "");
    assert_int_equal(status, STATUS_OK);
    assert_string_equal(c.cluster, "shop-1.a");
    assert_int_equal(c.groups, 16);
    assert_string_equal(c.schema, "cache_2");
    assert_int_equal(c.log_level, LOG_DEBUG);
    assert_true(c.allow_few_nodes);
    assert_true(c.watch);
    assert_int_equal(c.raft.election_timeout_ms, 1000);
    assert_int_equal(c.raft.heartbeat_ms, 101);
    assert_int_equal(c.raft.snapshot_log_bytes, 4096);
    assert_int_equal(c.raft.snapshot_trailing, 102);
    assert_int_equal(c.raft.spread_stable_ms, 103);
    assert_int_equal(c.flush.age_ms, 201);
    assert_int_equal(c.flush.batch_rows, 202);
    assert_int_equal(c.flush.batch_bytes, 4203);
    assert_int_equal(c.flush.in_flight, 4);
    assert_int_equal(c.flush.retry_min_ms, 205);
    assert_int_equal(c.flush.retry_max_ms, 206);
    assert_int_equal(c.flush.connect_timeout_ms, 207);
    assert_int_equal(c.flush.lock_timeout_ms, 208);
    assert_int_equal(c.flush.statement_timeout_ms, 209);
    assert_int_equal(c.flush.expiry_sweep_ms, 210);
    assert_int_equal(c.flush.note_ms, 211);
    assert_int_equal(c.flush.retention_s, 0);
    assert_int_equal(c.flush.retention_bytes, 4213);
    assert_int_equal(c.flush.connections, 214);
    assert_int_equal(c.flush.quarantine_retry_min_ms, 215);
    assert_int_equal(c.flush.quarantine_retry_max_ms, 216);
    assert_int_equal(c.limits.memory_max, 17000001);
    assert_int_equal(c.limits.sessions, 308);
    assert_int_equal(c.limits.session_bytes, 4309);
    assert_int_equal(c.limits.client_bytes, 33554433);
    assert_int_equal(c.limits.frame_timeout_ms, 311);
    assert_int_equal(c.limits.dirty_bytes, 65537);
    assert_int_equal(c.limits.dirty_entries, 302);
    assert_int_equal(c.limits.connections, 303);
    assert_int_equal(c.limits.requests_per_connection, 304);
    assert_int_equal(c.limits.output_bytes, 4305);
    assert_int_equal(c.limits.idle_timeout_ms, 306);
    assert_int_equal(c.limits.disk_free_min_bytes, 307);
    config_deinit(&c);
}

static void sizes_may_have_units(void **state)
{
    struct {
        const char *text;
        uint64_t want;
    } rows[] = {{"65536", 65536}, {"\"65536\"", 65536}, {"\"64KiB\"", 65536}, {"64KiB", 65536},
        {"\"64 KiB\"", 65536}, {"\"3MiB\"", 3145728}, {"\"5GiB\"", UINT64_C(5368709120)},
        {"\"1TiB\"", UINT64_C(1099511627776)}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[1024];
        char errmsg[512];
        struct config c;
        snprintf(text, sizeof text, GOOD "raft { snapshot_log_bytes = %s }\n", rows[i].text);
        enum status status = load_text(text, &c, errmsg, sizeof errmsg);
        assert_string_equal(errmsg, "");
        assert_int_equal(status, STATUS_OK);
        assert_int_equal(c.raft.snapshot_log_bytes, rows[i].want);
        config_deinit(&c);
    }
}

/* What is not given is a part of memory_max, between bounds; what is given stays. */
static void what_waits_and_what_is_remembered_follows_from_memory_max(void **state)
{
    enum { KIB = 1024, MIB = 1024 * 1024 };
    struct {
        const char *text;
        uint64_t dirty_bytes, dirty_entries, session_bytes, snapshot_log_bytes, retention_bytes;
    } rows[] = {
        {"groups = 1\nlimits { memory_max = \"16MiB\" }", 8 * MIB, 16 * 1024, MIB, MIB, MIB},
        {"groups = 3\nlimits { memory_max = \"64MiB\" }", 11184810, 21845, 1398101, MIB, MIB},
        {"groups = 256\nlimits { memory_max = \"32MiB\" }", 64 * KIB, 128, 64 * KIB, MIB, 64 * KIB},
        {"groups = 1\nlimits { memory_max = \"1TiB\" }", 256 * MIB, 1000000, 16 * MIB, 128 * MIB,
            32768 * (uint64_t)MIB},
        {"groups = 4\nlimits { memory_max = \"16MiB\" }\nflush { retention_bytes = \"1MiB\" }", 2 * MIB, 4096,
            256 * KIB, MIB, MIB},
        {"groups = 16\nlimits { memory_max = \"16MiB\" }", 512 * KIB, 1024, 64 * KIB, MIB, 256 * KIB},
        {"groups = 1\nlimits { memory_max = \"1GiB\" dirty_bytes = \"300MiB\" dirty_entries = 77 "
         "session_bytes "
         "= \"5KiB\" }\nraft { snapshot_log_bytes = \"6KiB\" }",
            300 * MIB, 77, 5 * KIB, 6 * KIB, 32 * MIB},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[1024];
        char errmsg[512];
        struct config c;
        snprintf(text, sizeof text, GOOD "%s\n", rows[i].text);
        enum status status = load_text(text, &c, errmsg, sizeof errmsg);
        if (status != STATUS_OK) {
            fail_msg("row %zu: %s", i, errmsg);
        }
        assert_int_equal(c.limits.dirty_bytes, rows[i].dirty_bytes);
        assert_int_equal(c.limits.dirty_entries, rows[i].dirty_entries);
        assert_int_equal(c.limits.session_bytes, rows[i].session_bytes);
        assert_int_equal(c.raft.snapshot_log_bytes, rows[i].snapshot_log_bytes);
        assert_int_equal(c.flush.retention_bytes, rows[i].retention_bytes);
        config_deinit(&c);
    }
}

static void the_form_of_addresses_is_checked(void **state)
{
    struct {
        const char *address;
        bool good;
    } rows[] = {
        {"db.example.org:7101", true},
        {"10.0.0.1:1", true},
        {"a_b-c:65535", true},
        {"[::1]:7101", true},
        {"[fe80::1%eth0]:7101", true},
        {"", false},
        {":", false},
        {"host", false},
        {"host:", false},
        {":7101", false},
        {"host:0", false},
        {"host:07101", false},
        {"host:65536", false},
        {"host:99999999999999999999", false},
        {"host:-1", false},
        {"host:+1", false},
        {"host:71 01", false},
        {"ho st:7101", false},
        {"host:name", false},
        {"::1:7101", false},
        {"[]:7101", false},
        {"[host]:7101", false},
        {"[::1:7101", false},
        {"::1]:7101", false},
        {"a:b:7101", false},
        {"host/x:7101", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[1024];
        char errmsg[512];
        char want[512];
        struct config c;
        snprintf(
            text, sizeof text, GOOD "node \"4\" {\n client = \"h4:2\"\n peer = \"%s\"\n}\n", rows[i].address);
        snprintf(want, sizeof want,
            "FILE:9: peer must be HOST:PORT (an IPv6 host in brackets, a port from 1 to 65535), not \"%s\"",
            rows[i].address);
        enum status status = load_text(text, &c, errmsg, sizeof errmsg);
        assert_string_equal(errmsg, rows[i].good ? "" : want);
        assert_int_equal(status, rows[i].good ? STATUS_OK : STATUS_INVALID);
        if (rows[i].good) {
            config_deinit(&c);
        }
    }
}

static void every_mistake_is_told_with_its_line(void **state)
{
    struct {
        const char *text;
        const char *want;
    } rows[] = {
#define ID       "node_id = 1\n"
#define DIR      "data_dir = \"/d\"\n"
#define DB       "database = \"x\"\n"
#define CHARS_64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define NUMBER   "must be a whole number from "
#define SIZES    " in bytes (or with KiB, MiB, GiB), not "
        /* not known, not of its type, not in its range */
        {GOOD "colour = 1\n", "FILE:7: no such option 'colour'"},
        {GOOD "raft {\n\n colour = 1\n}\n", "FILE:9: no such option 'colour'"},
        {GOOD "colours { }\n", "FILE:7: no such option 'colours'"},
        {GOOD "age_ms = 5\n", "FILE:7: no such option 'age_ms'"},
        {GOOD "groups = \"three\"\n", "FILE:7: groups " NUMBER "1 to 256, not \"three\""},
        {GOOD "groups = 0\n", "FILE:7: groups " NUMBER "1 to 256, not \"0\""},
        {GOOD "groups = 257\n", "FILE:7: groups " NUMBER "1 to 256, not \"257\""},
        {GOOD "groups = -1\n", "FILE:7: groups " NUMBER "1 to 256, not \"-1\""},
        {GOOD "groups = 1.5\n", "FILE:7: groups " NUMBER "1 to 256, not \"1.5\""},
        {GOOD "groups = \"\"\n", "FILE:7: groups " NUMBER "1 to 256, not \"\""},
        {GOOD "groups = 18446744073709551617\n",
            "FILE:7: groups " NUMBER "1 to 256, not \"18446744073709551617\""},
        {GOOD "groups { }\n", "FILE:7: missing equal sign after option 'groups'"},
        {GOOD "raft = 3\n", "FILE:7: missing opening brace for section 'raft'"},
        {GOOD "watch = perhaps\n", "FILE:7: watch must be true or false, not \"perhaps\""},
        {GOOD "watch = true\nwatch = true\n", "FILE:8: watch is given twice"},
        {GOOD "allow_few_nodes = perhaps\n",
            "FILE:7: allow_few_nodes must be true or false, not \"perhaps\""},
        {GOOD "flush {\n age_ms = \"5s\"\n}\n",
            "FILE:8: age_ms " NUMBER "0 to 86400000 in milliseconds, not \"5s\""},
        {GOOD "flush {\n in_flight = 17\n}\n", "FILE:8: in_flight " NUMBER "1 to 16, not \"17\""},
        {GOOD "raft {\n snapshot_trailing = 63\n}\n",
            "FILE:8: snapshot_trailing " NUMBER "64 to 10000000, not \"63\""},
        {GOOD "flush {\n batch_bytes = \"4MB\"\n}\n",
            "FILE:8: batch_bytes must be a size from 4096 to 134217728" SIZES "\"4MB\""},
        {GOOD "flush {\n batch_bytes = \"1GiB\"\n}\n",
            "FILE:8: batch_bytes must be a size from 4096 to 134217728" SIZES "\"1GiB\""},
        {GOOD "flush {\n batch_bytes = \"KiB\"\n}\n",
            "FILE:8: batch_bytes must be a size from 4096 to 134217728" SIZES "\"KiB\""},
        {GOOD "flush {\n batch_bytes = \"18014398509481985KiB\"\n}\n",
            "FILE:8: batch_bytes must be a size from 4096 to 134217728" SIZES "\"18014398509481985KiB\""},
        {GOOD "log_level = \"loud\"\n", "FILE:7: log_level must be error, warn, info or debug, not \"loud\""},
        {GOOD "schema = \"1x\"\n",
            "FILE:7: schema must be 1 to 63 lower case letters, digits or '_', and not begin "
            "with a digit, not \"1x\""},
        {GOOD "cluster = \"a b\"\n",
            "FILE:7: cluster must be 1 to 64 letters, digits, '.', '_' or '-', not \"a b\""},
        /* missing, twice */
        {DIR DB NODES, "FILE:6: node_id is missing: which of the nodes is this one?"},
        {ID DB NODES, "FILE:6: data_dir is missing: it must be the path of a folder"},
        {ID DIR NODES,
            "FILE:6: database is missing: it must be a connection string, such as \"host=db1 dbname=shop "
            "user=wbcache\""},
        {ID DIR "database = \"\"\n" NODES, "FILE:3: database must be a connection string, such as \"host=db1 "
                                           "dbname=shop user=wbcache\", not \"\""},
        {GOOD "groups = 3\n\ngroups = 3\n", "FILE:9: groups is given twice"},
        {GOOD "database = \"dbname=y\"\n", "FILE:7: database is given twice"},
        {GOOD "raft { }\nraft {\n}\n", "FILE:9: section raft is given twice"},
        {GOOD "node \"4\" { peer = \"h4:1\"\n client = \"h4:2\"\n peer = \"h4:3\" }\n",
            "FILE:9: peer is given twice"},
        /* nodes */
        {ID DIR DB, "FILE:4: there is no node section: each node of the cluster needs one"},
        {"node_id = 4\n" DIR DB NODES, "FILE:1: node_id is 4, but there is no section node \"4\""},
        {GOOD "node \"2\" { peer = \"h4:1\" client = \"h4:2\" }\n", "FILE:7: found duplicate title '2'"},
        {GOOD "node \"02\" { peer = \"h4:1\" client = \"h4:2\" }\n",
            "FILE:7: a node's title must be its id, a whole number from 1 to 4294967295, not \"02\""},
        {GOOD "node \"0\" { peer = \"h4:1\" client = \"h4:2\" }\n",
            "FILE:7: a node's title must be its id, a whole number from 1 to 4294967295, not \"0\""},
        {GOOD "node \"x\" { peer = \"h4:1\" client = \"h4:2\" }\n",
            "FILE:7: a node's title must be its id, a whole number from 1 to 4294967295, not \"x\""},
        {GOOD "node \"4\" {\n peer = \"h4:1\"\n}\n",
            "FILE:9: node \"4\" needs a line client = \"HOST:PORT\""},
        {GOOD "node \"4\" {\n client = \"h4:1\"\n}\n",
            "FILE:9: node \"4\" needs a line peer = \"HOST:PORT\""},
        {GOOD "node \"4\" {\n peer = \"h4:1\"\n client = \"H4:1\"\n}\n",
            "FILE:9: client \"H4:1\" is already in use, in line 8"},
        {GOOD "node \"4\" {\n peer = \"h4:1\"\n client = \"h2:1\"\n}\n",
            "FILE:9: client \"h2:1\" is already in use, in line 5"},
        {ID DIR DB "node \"1\" { peer = \"h1:1\" client = \"h1:2\" }\n",
            "FILE:5: 1 node cannot survive the loss of one: describe at least 3 nodes, or set "
            "allow_few_nodes = true "
            "where losing data is acceptable"},
        {ID DIR DB "node \"1\" { peer = \"h1:1\" client = \"h1:2\" }\nnode \"2\" { peer = \"a:1\" client = "
                   "\"a:2\" }\n",
            "FILE:6: 2 nodes cannot survive the loss of one: describe at least 3 nodes, or set "
            "allow_few_nodes = true "
            "where losing data is acceptable"},
        /* several options together */
        {GOOD "raft {\n heartbeat_ms = 101\n}\n",
            "FILE:9: election_timeout_ms (300) must be at least 3 * heartbeat_ms (101)"},
        {GOOD "flush {\n retry_max_ms = 49\n}\n",
            "FILE:9: retry_max_ms (49) must not be less than retry_min_ms (50)"},
        {GOOD "flush {\n quarantine_retry_max_ms = 999\n}\n",
            "FILE:9: quarantine_retry_max_ms (999) must not be less than quarantine_retry_min_ms (1000)"},
        {GOOD "flush {\n connections = 257\n}\n",
            "FILE:8: connections must be a whole number from 1 to 256, not \"257\""},
        {GOOD "flush {\n retention_s = 86401\n}\n",
            "FILE:8: retention_s must be a whole number from 0 to 86400, not \"86401\""},
        {GOOD "groups = 4\nlimits { memory_max = \"16MiB\" }\nflush {\n retention_bytes = 1048577\n}\n",
            "FILE:11: retention_bytes (1048577) of 4 groups is more than a quarter of memory_max (16777216): "
            "what is "
            "retained stays in memory; raise memory_max, or lower retention_bytes"},
        {GOOD "limits {\n memory_max = \"15MiB\"\n}\n",
            "FILE:8: memory_max must be a size from 16777216 to 1099511627776" SIZES "\"15MiB\""},
        {GOOD "limits {\n sessions = 0\n}\n", "FILE:8: sessions " NUMBER "1 to 1000000, not \"0\""},
        {GOOD "limits {\n session_bytes = 4095\n}\n",
            "FILE:8: session_bytes must be a size from 4096 to 1099511627776" SIZES "\"4095\""},
        {GOOD "limits {\n frame_timeout_ms = 86400001\n}\n",
            "FILE:8: frame_timeout_ms " NUMBER "0 to 86400000 in milliseconds, not \"86400001\""},
        {GOOD "flush {\n expiry_sweep_ms = -1\n}\n",
            "FILE:8: expiry_sweep_ms " NUMBER "0 to 86400000 in milliseconds, not \"-1\""},
        {GOOD "groups = 1\nlimits {\n memory_max = \"16MiB\"\n dirty_bytes = \"13MiB\"\n}\n",
            "FILE:11: dirty_bytes (13631488) of 1 groups is more than three quarters of memory_max "
            "(16777216): what "
            "waits for the database stays in memory; raise memory_max, or lower dirty_bytes"},
        {GOOD "groups = 256\nlimits {\n memory_max = \"16MiB\"\n}\n", /* each has its least */
            "FILE:10: dirty_bytes (65536) of 256 groups is more than three quarters of memory_max "
            "(16777216): what "
            "waits for the database stays in memory; raise memory_max, or lower dirty_bytes"},
        /* the Redis port */
        {GOOD "node \"4\" {\n peer = \"h4:1\"\n client = \"h4:2\"\n redis = \"h4:3\"\n}\n",
            "FILE:11: node \"4\" has a line redis = \"HOST:PORT\", and node \"1\" has none: all nodes have "
            "one, or "
            "none"},
        {ID DIR DB "node \"1\" {\n peer = \"h:1\"\n client = \"h:2\"\n redis = \"h:3\"\n}\n"
                   "node \"2\" {\n peer = \"h:4\"\n client = \"h:5\"\n}\n",
            "FILE:12: node \"2\" has no line redis = \"HOST:PORT\", and node \"1\" has one: all nodes have "
            "one, or "
            "none"},
        {GOOD "node \"4\" {\n peer = \"h4:1\"\n client = \"h4:2\"\n redis = \"H4:1\"\n}\n",
            "FILE:10: redis \"H4:1\" is already in use, in line 8"},
        {GOOD "node \"4\" {\n redis = \"h4\"\n}\n",
            "FILE:8: redis must be HOST:PORT (an IPv6 host in brackets, a port from 1 to 65535), not \"h4\""},
        {GOOD "node \"4\" {\n redis = \"" CHARS_64 ":1\"\n}\n",
            "FILE:8: the host of redis must have at most 63 characters, not \"" CHARS_64 ":1\""},
        {GOOD "redis {\n leader_wait_ms = -1\n}\n",
            "FILE:8: leader_wait_ms " NUMBER "0 to 86400000 in milliseconds, not \"-1\""},
        {GOOD "redis {\n request_timeout_ms = 9\n}\n",
            "FILE:8: request_timeout_ms " NUMBER "10 to 86400000 in milliseconds, not \"9\""},
        {GOOD "redis { }\nredis {\n}\n", "FILE:9: section redis is given twice"},
        /* no configuration at all */
        {"", "FILE:1: node_id is missing: which of the nodes is this one?"},
        {GOOD "raft {\n", "FILE:8: section raft is not closed"},
        {GOOD "node \"4\" { peer = \"h4:1\" client = \"h4:2\"", "FILE:8: section node is not closed"},
        {GOOD "\"(context)\" = 1\n", "FILE:7: this is not understood"},
        {GOOD "raft {\n}\n}\n", "FILE:9: unexpected closing brace"},
        {GOOD "groups\n", "FILE:8: missing equal sign after option 'groups'"},
        {GOOD "groups =\n", "FILE:8: groups " NUMBER "1 to 256, not \"end-of-file\""},
        {GOOD "end-of-file = 1\n", "FILE:8: end-of-file is given twice"},
        {GOOD "= 3\n", "FILE:7: unexpected token '='"},
        {GOOD "cluster = \"x\n", "FILE:8: premature end of file"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char errmsg[512];
        struct config c;
        memset(&c, 0x5a, sizeof c);
        enum status status = load_text(rows[i].text, &c, errmsg, sizeof errmsg);
        if (status != STATUS_INVALID || strcmp(errmsg, rows[i].want) != 0) {
            fail_msg("row %zu: %s, \"%s\", want \"%s\"", i, status_name(status), errmsg, rows[i].want);
        }
        for (size_t byte = 0; byte < sizeof c; byte++) { /* untouched */
            assert_int_equal(((const uint8_t *)&c)[byte], 0x5a);
        }
    }
}

static void at_most_nine_nodes_are_taken(void **state)
{
    for (int n = 8; n <= 12; n++) {
        char text[2048] = "node_id = 1\ndata_dir = \"/d\"\ndatabase = \"x\"\n";
        for (int i = 1; i <= n; i++) {
            snprintf(text + strlen(text), sizeof text - strlen(text),
                "node \"%d\" { peer = \"h%d:1\" client = \"h%d:2\" }\n", i, i, i);
        }
        char errmsg[512];
        struct config c;
        enum status status = load_text(text, &c, errmsg, sizeof errmsg);
        assert_string_equal(errmsg, n <= 9 ? "" : "FILE:13: too many node sections: at most 9");
        assert_int_equal(status, n <= 9 ? STATUS_OK : STATUS_INVALID);
        if (n <= 9) {
            assert_int_equal(c.n_nodes, n);
            config_deinit(&c);
        }
    }
}

static void line_ends_comments_and_variables_are_understood(void **state)
{
    setenv("WBNODE_CONFIG_TEST", "secret", 1);
    const char *rows[] = {"groups = 7\r\n", "groups = 7", "# x\n// x\n/* x\n x */ groups = 7 # x",
        "groups\n=\n7", "groups=7", "groups = '7'"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[1024];
        char errmsg[512];
        struct config c;
        snprintf(text, sizeof text,
            "node_id = 1\r\ndata_dir = '/d'\ndatabase = \"password=${WBNODE_CONFIG_TEST}\"\n" NODES "%s",
            rows[i]);
        enum status status = load_text(text, &c, errmsg, sizeof errmsg);
        assert_string_equal(errmsg, "");
        assert_int_equal(status, STATUS_OK);
        assert_int_equal(c.groups, 7);
        assert_string_equal(c.database, "password=secret");
        config_deinit(&c);
    }
}

static void the_redis_port_of_each_node_is_taken(void **state)
{
    for (int n = 3; n <= 10; n++) {
        char text[2048] = "node_id = 1\ndata_dir = \"/d\"\ndatabase = \"x\"\n";
        for (int i = 1; i <= n; i++) {
            snprintf(text + strlen(text), sizeof text - strlen(text),
                "node \"%d\" { peer = \"h%d:1\" client = \"h%d:2\" redis = \"[::%d]:6379\" }\n", i, i, i, i);
        }
        char errmsg[512];
        struct config c;
        enum status status = load_text(text, &c, errmsg, sizeof errmsg);
        assert_string_equal(errmsg, n <= 9 ? "" : "FILE:13: too many node sections: at most 9");
        if (status == STATUS_OK) {
            assert_string_equal(c.nodes[n - 1].client + 2, ":2");
            assert_string_equal(c.nodes[1].redis, "[::2]:6379");
            assert_non_null(strstr(c.path, "wbnode-config-"));
            config_deinit(&c);
        }
    }
}

static void few_nodes_are_taken_when_that_is_meant(void **state)
{
    struct config c;
    char errmsg[512];
    const char *text = "allow_few_nodes = true\nnode_id = 1\ndata_dir = \"/d\"\ndatabase = \"x\"\n"
                       "node \"1\" { peer = \"h1:1\" client = \"h1:2\" }\n";
    assert_int_equal(load_text(text, &c, errmsg, sizeof errmsg), STATUS_OK);
    assert_int_equal(c.n_nodes, 1);
    config_deinit(&c);
}

static void a_file_that_cannot_be_read_is_named(void **state)
{
    struct config c;
    char errmsg[512];
    assert_int_equal(config_load("/nonexistent/wbnode.conf", &c, errmsg, sizeof errmsg), STATUS_IO);
    assert_string_equal(errmsg, "/nonexistent/wbnode.conf: cannot be read: No such file or directory");
}

static void what_is_no_text_file_is_refused(void **state)
{
    struct config c;
    char errmsg[512];
    assert_int_equal(config_load("/tmp", &c, errmsg, sizeof errmsg), STATUS_IO);
    assert_string_equal(errmsg, "/tmp: cannot be read: Is a directory");
    assert_int_equal(config_load("/dev/zero", &c, errmsg, sizeof errmsg), STATUS_INVALID);
    assert_string_equal(
        errmsg, "/dev/zero:1: this is no configuration file: it is too long, or has a zero byte");
}

static void a_message_is_cut_to_the_room_for_it(void **state)
{
    struct file f;
    file_write(&f, GOOD "groups = 0\n");
    for (size_t len = 1; len < 60; len++) {
        char errmsg[64];
        memset(errmsg, 'x', sizeof errmsg);
        struct config c;
        assert_int_equal(config_load(f.path, &c, errmsg, len), STATUS_INVALID);
        assert_int_equal(strlen(errmsg), len - 1);
        assert_int_equal(errmsg[len], 'x');
    }
    unlink(f.path);
}

static void the_example_file_loads_and_shows_the_defaults(void **state)
{
    struct config c;
    char errmsg[512] = "";
    assert_int_equal(
        config_load(WB_SOURCE_DIR "/node/wbnode.conf.example", &c, errmsg, sizeof errmsg), STATUS_OK);
    assert_string_equal(errmsg, "");
    assert_int_equal(c.n_nodes, 3);
    assert_string_equal(c.schema, "wb");
    config_deinit(&c);

    /* With the '#' before options taken away it must load too, and say the same numbers. */
    FILE *in = fopen(WB_SOURCE_DIR "/node/wbnode.conf.example", "r");
    assert_non_null(in);
    char text[16384] = "";
    char line[256];
    unsigned shown = 0;
    while (fgets(line, sizeof line, in) != NULL) {
        char *hash = strchr(line, '#');
        if (hash != NULL && hash[1] != ' ' && strchr(hash, '=') != NULL) {
            *hash = ' ';
            shown++;
        }
        assert_true(strlen(text) + strlen(line) < sizeof text);
        strcat(text, line);
    }
    fclose(in);
    struct config d;
    enum status status = load_text(text, &d, errmsg, sizeof errmsg);
    assert_string_equal(errmsg, "");
    assert_int_equal(status, STATUS_OK);
    assert_int_equal(shown, 41); /* all options but the three that must be given */
    struct config plain;
    assert_int_equal(load_text(GOOD, &plain, errmsg, sizeof errmsg), STATUS_OK);
    assert_string_equal(d.cluster, plain.cluster);
    assert_string_equal(d.schema, plain.schema);
    assert_int_equal(d.groups, plain.groups);
    assert_int_equal(d.log_level, plain.log_level);
    assert_int_equal(d.allow_few_nodes, plain.allow_few_nodes);
    assert_int_equal(d.watch, plain.watch);
    assert_memory_equal(&d.raft, &plain.raft, sizeof d.raft);
    assert_memory_equal(&d.flush, &plain.flush, sizeof d.flush);
    assert_memory_equal(&d.redis, &plain.redis, sizeof d.redis);
    assert_memory_equal(&d.limits, &plain.limits, sizeof d.limits);
    config_deinit(&d);
    config_deinit(&plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_short_file_gets_every_default),
        cmocka_unit_test(every_option_can_be_set),
        cmocka_unit_test(sizes_may_have_units),
        cmocka_unit_test(what_waits_and_what_is_remembered_follows_from_memory_max),
        cmocka_unit_test(the_form_of_addresses_is_checked),
        cmocka_unit_test(every_mistake_is_told_with_its_line),
        cmocka_unit_test(at_most_nine_nodes_are_taken),
        cmocka_unit_test(line_ends_comments_and_variables_are_understood),
        cmocka_unit_test(the_redis_port_of_each_node_is_taken),
        cmocka_unit_test(few_nodes_are_taken_when_that_is_meant),
        cmocka_unit_test(a_file_that_cannot_be_read_is_named),
        cmocka_unit_test(what_is_no_text_file_is_refused),
        cmocka_unit_test(a_message_is_cut_to_the_room_for_it),
        cmocka_unit_test(the_example_file_loads_and_shows_the_defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
