/* Bytes that no friend would send, on both ports of every node while a load runs: nobody else notices. */
#include "cluster-tests/scenario.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cluster-tests/verify.h"
#include "proto/base/alloc.h"

enum {
    KEYS = 600,
    JUNK_BYTES = 256 * 1024,
    HALF_OPEN = 32, /* connections for each port that stay in the middle of a frame */
    PORTS_MAX = 2 * CLUSTER_NODES_MAX,
    AWAIT_MS = 30000,
    MEMORY_GROWTH_MAX_BYTES = 64 * 1024 * 1024,
    LOG_GROWTH_MAX_BYTES = 8 * 1024 * 1024,
};

struct target {
    struct sockaddr_in address;
    unsigned node;
};

static struct target target_of(const char *address, unsigned node)
{
    struct target t = {.node = node};
    char host[64];
    unsigned port;
    if (sscanf(address, "%63[0-9.]:%u", host, &port) != 2) {
        fail_msg("no address: '%s'", address);
    }
    t.address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    assert_int_equal(inet_pton(AF_INET, host, &t.address.sin_addr), 1);
    return t;
}

static unsigned find_targets(struct cluster *c, struct target *out)
{
    struct wbcache_status *status = cluster_status(c);
    assert_non_null(status);
    unsigned n = 0;
    for (unsigned node = 1; node <= c->nodes; node++) {
        const struct wbcache_node_status *s = cluster_node(status, node);
        assert_non_null(s);
        out[n++] = target_of(s->client_address, node);
        out[n++] = target_of(s->peer_address, node);
    }
    wbcache_status_free(status);
    return n;
}

static int dial(const struct target *t)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (connect(fd, (const struct sockaddr *)&t->address, sizeof t->address) != 0) {
        close(fd);
        fail_msg("node %u does not accept connections", t->node);
    }
    return fd;
}

/* Send as much as is taken; whoever is on the other end may close at any moment. */
static void throw_bytes(int fd, const void *data, size_t len)
{
    const char *next = data;
    while (len > 0) {
        ssize_t n = send(fd, next, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n <= 0) {
            return;
        }
        next += n;
        len -= (size_t)n;
    }
}

/* Read until the other end closes or says nothing for a moment. */
static void drain(int fd)
{
    char sink[4096];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (poll(&p, 1, 5) > 0 && recv(fd, sink, sizeof sink, 0) > 0) {
    }
}

static void fill_random(struct scenario *s, uint8_t *out, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        out[i] = (uint8_t)scenario_random(s, 256);
    }
}

/* A frame's length, then fewer, other or no bytes. */
static size_t framed(uint8_t *junk, uint32_t announced, size_t sent)
{
    uint32_t big_endian = htonl(announced);
    memcpy(junk, &big_endian, sizeof big_endian);
    return sizeof big_endian + sent;
}

static size_t make_junk(struct scenario *s, unsigned kind, uint8_t *junk)
{
    fill_random(s, junk, 8192);
    switch (kind) {
    case 0: /* noise */
        return 1 + scenario_random(s, 8192);
    case 1: /* the longest length */
        return framed(junk, 0xffffffff, 1000);
    case 2: /* no length */
        return framed(junk, 0, 100);
    case 3: /* just above the limit */
        return framed(junk, 4 * 1024 * 1024 + 1, 4096);
    case 4: /* a frame of noise */
        return framed(junk, 500, 500);
    case 5: /* half a frame */
        return framed(junk, 8000, 4000);
    case 6: /* half a length */
        return 1 + scenario_random(s, 3);
    case 7: /* another protocol */
        return (size_t)snprintf(
            (char *)junk, 8192, "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n");
    case 8: /* many tiny frames of noise */
        for (size_t i = 0; i + 6 <= 8192; i += 6) {
            framed(junk + i, 2, 2);
        }
        return 8190;
    case 9: /* nothing at all */
        return 0;
    default: /* a flood of noise */
        fill_random(s, junk, JUNK_BYTES);
        return JUNK_BYTES;
    }
}
enum { JUNK_KINDS = 11 };

static void attack(struct scenario *s, const struct target *targets, unsigned n)
{
    uint8_t *junk = xmalloc(JUNK_BYTES);
    for (unsigned kind = 0; kind < JUNK_KINDS; kind++) {
        for (unsigned i = 0; i < n; i++) {
            size_t len = make_junk(s, kind, junk);
            int fd = dial(&targets[i]);
            throw_bytes(fd, junk, len);
            drain(fd);
            close(fd);
        }
    }
    free(junk);
}

struct health {
    pid_t pids[CLUSTER_NODES_MAX + 1];
    uint64_t resident[CLUSTER_NODES_MAX + 1];
    long log[CLUSTER_NODES_MAX + 1];
    uint64_t terms;
};

static struct health health_of(struct cluster *c)
{
    struct health h = {0};
    cluster_refresh(c);
    for (unsigned node = 1; node <= c->nodes; node++) {
        h.pids[node] = c->pids[node];
        h.resident[node] = process_resident_bytes(c->pids[node]);
        h.log[node] = cluster_log_place(c, node);
    }
    struct wbcache_status *status = cluster_status(c);
    assert_non_null(status);
    for (unsigned group = 0; group < c->groups; group++) {
        const struct wbcache_group_status *g = cluster_leader_of(status, group, NULL);
        assert_non_null(g);
        h.terms += g->term;
    }
    wbcache_status_free(status);
    return h;
}

static void expect_healthy(struct cluster *c, const struct health *before)
{
    struct health after = health_of(c);
    assert_int_equal(after.terms, before->terms);
    for (unsigned node = 1; node <= c->nodes; node++) {
        assert_true(after.pids[node] != 0);
        assert_int_equal(after.pids[node], before->pids[node]);
        say("  node %u: memory %" PRIu64 " -> %" PRIu64 " KiB, log +%ld bytes", node,
            before->resident[node] / 1024, after.resident[node] / 1024, after.log[node] - before->log[node]);
        assert_true(after.resident[node] < before->resident[node] + MEMORY_GROWTH_MAX_BYTES);
        assert_true(after.log[node] < before->log[node] + LOG_GROWTH_MAX_BYTES);
    }
}

static void garbage_on_every_port_disturbs_nobody(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    /* Terms are compared, so leaders stay where they are. */
    cluster_start(c, &(struct cluster_options){.settings = {"raft.spread_stable_ms=0"}});
    s->ledger = ledger_create("garbage", KEYS);
    s->load = load_start(&(struct load_config){
        .cluster = c->addresses, .ledger = s->ledger, .groups = c->groups, .writes_per_second = 1500});
    assert_true(load_await(s->load, -1, 500, AWAIT_MS));
    struct target targets[PORTS_MAX];
    unsigned n = find_targets(c, targets);
    struct health before = health_of(c);
    load_watch_gaps(s->load);

    say("%d connections stay in the middle of a frame on each of %u ports", HALF_OPEN, n);
    int half_open[PORTS_MAX * HALF_OPEN];
    uint8_t half[64];
    for (unsigned i = 0; i < n * HALF_OPEN; i++) {
        half_open[i] = dial(&targets[i % n]);
        fill_random(s, half, sizeof half);
        throw_bytes(half_open[i], half, framed(half, 4 * 1024 * 1024, 40));
    }
    say("%d kinds of garbage, %u times, to each port", JUNK_KINDS, s->options.rounds);
    for (unsigned round = 0; round < s->options.rounds; round++) {
        attack(s, targets, n);
    }
    assert_true(load_await(s->load, -1, 200, AWAIT_MS));
    struct load_numbers numbers = load_numbers(s->load);
    say("  the load: %" PRIu64 " unknown, %" PRIu64 " refused, longest time without a write %" PRIu64 " ms",
        numbers.unknown, numbers.refused, load_longest_gap_ms(s->load));
    assert_int_equal(numbers.unknown, 0);
    assert_int_equal(numbers.refused, 0);
    expect_healthy(c, &before);
    for (unsigned i = 0; i < n * HALF_OPEN; i++) {
        close(half_open[i]);
    }
    scenario_stop_load(s);
    verify_all(c, s->ledger);
    s->passed = true;
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 5, 0);
    const struct CMUnitTest tests[] = {
        scenario_test(garbage_on_every_port_disturbs_nobody, &options),
    };
    return cmocka_run_group_tests_name("garbage", tests, NULL, NULL);
}
