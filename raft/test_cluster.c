#include "raft/test_cluster.h"

#include <arpa/inet.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"

#include <cmocka.h>

enum { GUARD_MS = 60 * 1000 };

/* ---- The state machine ---- */

static void apply(void *data, uint64_t index, struct bytes entry)
{
    struct test_group *g = data;
    CHECK(index > g->last_index);
    g->last_index = index;
    g->count++;
    g->hash = bytes_hash(entry, g->hash);
    if (g->on_apply != NULL) {
        g->on_apply(g, entry);
    }
}

static void snapshot(void *data, struct buf *out)
{
    struct test_group *g = data;
    g->snapshots++;
    buf_append_be64(out, g->count);
    buf_append_be64(out, g->hash);
}

static enum status restore(void *data, struct bytes snapshot_bytes)
{
    struct test_group *g = data;
    if (snapshot_bytes.len != 16) {
        return STATUS_CORRUPT;
    }
    g->restores++;
    g->count = load_be64(snapshot_bytes.data);
    g->hash = load_be64(snapshot_bytes.data + 8);
    return STATUS_OK;
}

static void gate_open(void *data, uint64_t term)
{
    struct test_group *g = data;
    CHECK(!g->gate_open);
    g->gate_open = true;
    g->gates_opened++;
}

static void gate_close(void *data)
{
    struct test_group *g = data;
    CHECK(g->gate_open);
    g->gate_open = false;
    g->gates_closed++;
}

static void barrier_done(void *data, uint64_t token)
{
    struct test_group *g = data;
    g->barrier_token = token;
}

static const struct replica_ops ops = {
    .apply = apply,
    .snapshot = snapshot,
    .restore = restore,
    .gate_open = gate_open,
    .gate_close = gate_close,
    .barrier_done = barrier_done,
};

static void *group_data(void *data, uint32_t group)
{
    struct test_node *n = data;
    n->groups[group] = (struct test_group){.node = n, .group = group, .on_apply = n->groups[group].on_apply};
    return &n->groups[group];
}

/* ---- The cluster ---- */

static void check_cb(uv_check_t *check)
{
    struct test_cluster *c = check->data;
    for (unsigned i = 0; i < TEST_NODES; i++) {
        if (c->nodes[i].host != NULL) {
            raft_host_poll(c->nodes[i].host);
        }
    }
}

static void guard_cb(uv_timer_t *timer)
{
    struct test_cluster *c = timer->data;
    c->expired = true;
}

/* A port of the kernel's choice. A socket bound to it, but not listening, keeps others from getting it, and
 * lets those in who say SO_REUSEADDR as libuv does. */
static void reserve_port(struct test_node *n)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int on = 1;
    n->reserved_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(n->reserved_fd >= 0);
    CHECK(setsockopt(n->reserved_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0);
    CHECK(bind(n->reserved_fd, (struct sockaddr *)&address, len) == 0);
    CHECK(getsockname(n->reserved_fd, (struct sockaddr *)&address, &len) == 0);
    snprintf(n->address, sizeof n->address, "127.0.0.1:%d", ntohs(address.sin_port));
}

void test_cluster_open(struct test_cluster *c, uint32_t group_count)
{
    memset(c, 0, sizeof *c);
    signal(SIGPIPE, SIG_IGN);
    CHECK(uv_loop_init(&c->loop) == 0);
    CHECK(uv_check_init(&c->loop, &c->check) == 0);
    CHECK(uv_timer_init(&c->loop, &c->guard) == 0);
    c->check.data = c;
    c->guard.data = c;
    CHECK(uv_check_start(&c->check, check_cb) == 0);
    const char *base = getenv("TMPDIR");
    snprintf(c->dir, sizeof c->dir, "%s/wb-raft-XXXXXX", base != NULL ? base : "/tmp");
    CHECK(mkdtemp(c->dir) != NULL);
    for (unsigned i = 0; i < TEST_NODES; i++) {
        struct test_node *n = &c->nodes[i];
        n->cluster = c;
        n->id = i + 1;
        snprintf(n->dir, sizeof n->dir, "%s/node-%u", c->dir, i + 1);
        reserve_port(n);
        FILE *out = open_memstream(&n->log_text, &n->log_len);
        CHECK(out != NULL);
        n->logger = (struct logger){.out = out, .level = LOG_DEBUG, .node_id = n->id};
        c->peers[i] = (struct replica_peer){.id = n->id, .address = n->address};
    }
    c->config = (struct raft_host_config){
        .loop = &c->loop,
        .cluster = "test",
        .peers = c->peers,
        .n_peers = TEST_NODES,
        .group_count = group_count,
        .election_timeout_ms = 500,
        .heartbeat_ms = 40,
        .snapshot_log_bytes = UINT64_C(64) * 1024 * 1024,
        .snapshot_trailing = 1024,
        .ops = &ops,
        .group_data = group_data,
    };
}

static void dump_logs(struct test_cluster *c)
{
    for (unsigned i = 0; i < TEST_NODES; i++) {
        fprintf(stderr, "---- log of node %u:\n%s\n", i + 1, c->nodes[i].log_text);
    }
}

void test_node_open_as(struct test_node *n, const struct raft_host_config *config)
{
    char errmsg[1024] = "";
    struct raft_host_config own = *config;
    own.node_id = n->id;
    own.data_dir = n->dir;
    own.logger = &n->logger;
    own.data = n;
    if (raft_host_create(&own, &n->host, errmsg, sizeof errmsg) != STATUS_OK ||
        raft_host_start(n->host, errmsg, sizeof errmsg) != STATUS_OK) {
        fail_msg("node %u does not start: %s", (unsigned)n->id, errmsg);
    }
}

void test_node_open(struct test_node *n)
{
    test_node_open_as(n, &n->cluster->config);
}

void test_cluster_open_nodes(struct test_cluster *c)
{
    for (unsigned i = 0; i < TEST_NODES; i++) {
        test_node_open(&c->nodes[i]);
    }
}

static void host_closed(void *data)
{
    struct test_node *n = data;
    n->host = NULL;
}

void test_node_close(struct test_node *n)
{
    raft_host_close(n->host, host_closed, n);
    TEST_WAIT(n->cluster, n->host == NULL);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

void test_cluster_close(struct test_cluster *c)
{
    for (unsigned i = 0; i < TEST_NODES; i++) {
        struct test_node *n = &c->nodes[i];
        if (n->host != NULL) {
            test_node_close(n);
        }
        for (uint32_t g = 0; g < c->config.group_count; g++) {
            assert_false(n->groups[g].gate_open);
            assert_int_equal(n->groups[g].gates_opened, n->groups[g].gates_closed);
        }
        close(n->reserved_fd);
        fclose(n->logger.out);
        free(n->log_text);
    }
    uv_close((uv_handle_t *)&c->check, NULL);
    uv_close((uv_handle_t *)&c->guard, NULL);
    uv_run(&c->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&c->loop), 0);
    nftw(c->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void test_wait_begin(struct test_cluster *c)
{
    c->expired = false;
    uv_update_time(&c->loop);
    CHECK(uv_timer_start(&c->guard, guard_cb, GUARD_MS, 0) == 0);
}

void test_wait_turn(struct test_cluster *c, const char *what, const char *file, int line)
{
    uv_run(&c->loop, UV_RUN_ONCE);
    if (c->expired) {
        dump_logs(c);
        fail_msg("%s:%d: never came true: %s", file, line, what);
    }
}

struct test_node *test_leader(struct test_cluster *c, uint32_t group)
{
    for (unsigned i = 0; i < TEST_NODES; i++) {
        struct replica_info info;
        if (c->nodes[i].host == NULL || !c->nodes[i].groups[group].gate_open) {
            continue;
        }
        replica_info(raft_host_replica(c->nodes[i].host, group), &info);
        if (info.gate_open) {
            return &c->nodes[i];
        }
    }
    return NULL;
}

struct test_node *test_other(struct test_cluster *c, const struct test_node *n)
{
    return &c->nodes[n->id % TEST_NODES];
}

void test_propose(struct test_cluster *c, uint32_t group, unsigned n, size_t bytes)
{
    struct test_node *leader = test_leader(c, group);
    assert_non_null(leader);
    uint8_t *entry = xcalloc(1, bytes);
    for (unsigned i = 0; i < n; i++) {
        store_le32(entry, i);
        uint64_t index = 0;
        assert_int_equal(
            replica_propose(raft_host_replica(leader->host, group), bytes_of(entry, bytes), &index),
            STATUS_OK);
        assert_true(index > 0);
    }
    free(entry);
}

bool test_applied(struct test_cluster *c, uint32_t group, uint64_t count)
{
    uint64_t hash = 0;
    for (unsigned i = 0; i < TEST_NODES; i++) {
        const struct test_group *g = &c->nodes[i].groups[group];
        if (c->nodes[i].host == NULL) {
            continue;
        }
        if (g->count != count) {
            return false;
        }
        hash = hash == 0 ? g->hash : hash;
        assert_true(g->hash == hash);
    }
    return true;
}

bool test_logged(const struct test_node *n, const char *text)
{
    return n->log_text != NULL && strstr(n->log_text, text) != NULL;
}
