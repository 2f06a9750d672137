/* Hostile clients of one node's Redis port, which leads a group: halves of commands, huge lengths, bombs,
 * floods of MULTI, pipelines and long replies that nobody reads, clients that come and go with commands under
 * way, also while the database is away. The node's memory stays within what is promised, nobody loses an
 * office because of them, and the friends' calls all succeed (what they felt is printed). */
#include "cluster-tests/siege.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster-tests/redis_ask.h"
#include "cluster-tests/redis_call.h"
#include "cluster-tests/redis_flood.h"
#include "proto/base/alloc.h"

#define MIB ((uint64_t)1024 * 1024)

enum {
    CONNECTIONS_MAX = 1000,
    FRAME_TIMEOUT_MS = 2000,
    ATTACK_MS = 1000,
    FIELDS = 1000,
    FIELD_BYTES = 1000,
    HASHES = 4,
    WAITERS = 300,
    WAITS = 64,
    AWAIT_MS = 30000,
    CONNECTIONS_ALONE = 2, /* that ask here */
};

/* limits.client_bytes as it is set below; MULTI may keep as much again; over it each connection may hold its
 * share (rpc/server.h). */
#define CLIENT_BYTES (64 * MIB)
#define SHARE_BYTES  (64 * 1024)
/* malloc's pools and what they lose between large buffers that come and go, replies that are being written,
 * the log in memory. */
#ifdef __SANITIZE_ADDRESS__
#define SLACK_BYTES (64 * MIB + 512 * MIB) /* what is freed is kept for a while, to be recognised */
#else
#define SLACK_BYTES (64 * MIB)
#endif
#define GROWTH_MAX (2 * CLIENT_BYTES + CONNECTIONS_MAX * SHARE_BYTES + SLACK_BYTES)

/* ---- What they send. In @begin once, then @repeat as often as @times says; K stands for a key of the group.
 * ---- */

struct attack_of_redis {
    const char *words;
    unsigned connections;
    const char *begin, *repeat;
    unsigned times;
    bool come_and_go;
};

static const struct attack_of_redis attacks[] = {
    {"half a command", 900, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$100000\r\n", "0123456789", 500, false},
    {"a value of 512 MiB is announced", 300, "*2\r\n$4\r\nECHO\r\n$536870912\r\n", "0123456789abcdef", 60000,
        false},
    {"lengths that cannot be", 300, "*3\r\n$3\r\nSET\r\n$99999999999\r\n", "", 0, true},
    {"a million empty arguments", 100, "*1000000\r\n", "$0\r\n\r\n", 1000000, false},
    {"two thousand million arguments", 300, "*2147483647\r\n", "$0\r\n\r\n", 200000, false},
    {"a line without an end", 300, "SET a ", "\\x\"'", 20000, false},
    {"MULTI, and 40,000 small commands", 500, "MULTI\r\n", "*3\r\n$3\r\nSET\r\n$1\r\nK\r\n$1\r\nz\r\n", 40000,
        false},
    {"MULTI, and large commands", 200, "MULTI\r\n", "ECHO 0123456789012345678901234567890123456789\r\n",
        80000, false},
    {"WATCH of many keys", 300, "", "WATCH K K1 K2 K3 K4 K5 K6 K7\r\n", 400, false},
    {"500,000 PINGs", 20, "", "PING\r\n", 500000, false},
    {"500,000 GETs", 20, "", "GET K\r\n", 500000, false},
    {"hashes of 1 MiB", 100, "", "HGETALL Khash0\r\nHGETALL Khash1\r\nHGETALL Khash2\r\nHGETALL Khash3\r\n",
        100, false},
    {"commands that are not there", 100, "",
        "SUBSCRIBE x\r\nMONITOR\r\nDEBUG SLEEP 9\r\nEVAL x 0\r\nFLUSHALL\r\nSHUTDOWN\r\n", 5000, false},
    {"a browser", 200, "POST / HTTP/1.1\r\nHost: x\r\n\r\n", "", 0, true},
    {"all keys, nodes, clients, documents", 50, "",
        "KEYS *\r\nCLUSTER NODES\r\nCOMMAND DOCS\r\nCLIENT LIST\r\nINFO\r\n", 200, false},
    {"WATCH, MULTI, EXEC, WB.WAITFLUSH, and away", 300,
        "WATCH K\r\nMULTI\r\nINCR K\r\nGET Knobody\r\nEXEC\r\nWB.WAITFLUSH K 0\r\n", "", 0, true},
};

/* Append @text with @key in the place of each K that begins a word. */
static void put_with_key(struct buf *out, const char *text, const char *key)
{
    for (const char *c = text; *c != '\0'; c++) {
        bool here = *c == 'K' && c > text && (c[-1] == ' ' || c[-1] == '\n');
        buf_append(out, here ? key : c, here ? strlen(key) : 1);
    }
}

/* The same with the length of the word before it, which stands there as $1. */
static void put_repeated(struct buf *out, const struct attack_of_redis *a, const char *key)
{
    struct buf once;
    char text[256], length[48];
    const char *bulk = strstr(a->repeat, "$1\r\nK");
    buf_init(&once);
    snprintf(text, sizeof text, "%s", a->repeat);
    if (bulk != NULL) {
        snprintf(length, sizeof length, "$%zu\r\nK", strlen(key));
        snprintf(text, sizeof text, "%.*s%s%s", (int)(bulk - a->repeat), a->repeat, length, bulk + 5);
    }
    put_with_key(&once, text, key);
    for (unsigned i = 0; i < a->times; i++) {
        buf_append(out, once.data, once.len);
    }
    buf_deinit(&once);
}

/* ---- Attacks ---- */

static struct sockaddr_in redis_address(struct siege *g)
{
    char all[REDIS_ASK_ADDRESSES_BYTES], *at = all;
    struct sockaddr_in address;
    redis_ask_addresses(&g->scenario->cluster, all);
    for (unsigned node = 1; node < g->node; node++) {
        at += strcspn(at, ",") + 1;
    }
    at[strcspn(at, ",")] = '\0';
    assert_true(junk_address(at, &address));
    return address;
}

static void survive(struct siege *g, const struct sockaddr_in *address, const struct attack_of_redis *a)
{
    struct buf payload;
    buf_init(&payload);
    put_with_key(&payload, a->begin, g->prefix);
    put_repeated(&payload, a, g->prefix);
    g->resident_bytes = process_resident_bytes(g->pid);
    siege_window_begin(g);
    pid_t pid = redis_flood_start(&(struct redis_flood){.address = *address,
        .connections = a->connections,
        .payload = bytes_of(payload.data, payload.len),
        .come_and_go = a->come_and_go});
    assert_true(pid > 0);
    siege_window_pass(g, ATTACK_MS);
    redis_flood_stop(pid);
    buf_deinit(&payload);
    (void)siege_window_end(g, a->words);
    uint64_t growth = siege_growth_bytes(g);
    say("    %u connections; the node grew by %" PRIu64 " MiB; allowed: %" PRIu64 " MiB", a->connections,
        growth / MIB, GROWTH_MAX / MIB);
    assert_true(growth <= GROWTH_MAX);
}

static void store_hashes(struct siege *g, struct redis_ask *a)
{
    char value[FIELD_BYTES + 1], key[64], field[16];
    memset(value, 'v', FIELD_BYTES);
    value[FIELD_BYTES] = '\0';
    for (unsigned i = 0; i < HASHES; i++) {
        snprintf(key, sizeof key, "%shash%u", g->prefix, i);
        for (unsigned j = 0; j < FIELDS; j += 25) {
            const char *words[REDIS_ASK_WORDS_MAX] = {"HSET", key};
            char fields[25][sizeof field];
            for (unsigned k = 0; k < 25; k++) {
                snprintf(fields[k], sizeof fields[k], "f%u", j + k);
                words[2 + 2 * k] = fields[k];
                words[3 + 2 * k] = value;
            }
            redis_ask_expect(a, words, ":25");
        }
    }
}

/* ---- Those who wait and are gone ---- */

static bool the_waiters_are_gone(struct cluster *c, void *data)
{
    (void)c;
    struct reply r = redis_ask(data, (const char *const[]){"INFO", "clients", NULL});
    const char *at = memmem(r.text.data, r.text.len, "connected_clients:", strlen("connected_clients:"));
    assert_non_null(at);
    return strtoul(at + strlen("connected_clients:"), NULL, 10) <= CONNECTIONS_ALONE;
}

static void who_waits_for_the_database_and_goes_leaves_nothing(
    struct siege *g, const struct sockaddr_in *address, struct redis_ask *a)
{
    const struct attack_of_redis waits = {
        "WB.WAITFLUSH without the database, and away", WAITERS, "", "WB.WAITFLUSH K 0\r\n", WAITS, true};
    char key[64];
    cluster_pg_stop(&g->scenario->cluster, false);
    snprintf(key, sizeof key, "%s", g->prefix);
    redis_ask_expect(a, (const char *const[]){"SET", key, "x", NULL}, "+OK"); /* and INFO is that node's */
    survive(g, address, &waits);
    cluster_wait(&g->scenario->cluster, "nobody is connected any more", AWAIT_MS, the_waiters_are_gone, a);
    cluster_pg_start(&g->scenario->cluster);
}

static void strangers_at_the_redis_port_disturb_nobody(void **state)
{
    struct siege g;
    struct redis_ask a;
    char timeout[48];
    snprintf(timeout, sizeof timeout, "limits.frame_timeout_ms=%d", FRAME_TIMEOUT_MS);
    const char *const settings[] = {"limits.client_bytes=64MiB", "limits.connections=1000", timeout, NULL};
    siege_begin(&g, *state, settings);
    struct sockaddr_in address = redis_address(&g);
    redis_ask_init(&a, &g.scenario->cluster);
    store_hashes(&g, &a);
    struct health before = health_of(&g.scenario->cluster);
    for (size_t i = 0; i < sizeof attacks / sizeof attacks[0]; i++) {
        survive(&g, &address, &attacks[i]);
    }
    who_waits_for_the_database_and_goes_leaves_nothing(&g, &address, &a);
    siege_end(&g);
    struct health after = health_of(&g.scenario->cluster);
    assert_int_equal(after.terms, before.terms);
    redis_ask_deinit(&a);
    g.scenario->passed = true;
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 0, 0);
    const struct CMUnitTest tests[] = {
        scenario_test(strangers_at_the_redis_port_disturb_nobody, &options),
    };
    return cmocka_run_group_tests_name("redis_hostile", tests, NULL, NULL);
}
