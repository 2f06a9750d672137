/* Who may talk to a node on its peer port, and what strangers can do there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/check.h"
#include "raft/handshake.h"
#include "raft/peer_address.h"
#include "raft/peer_port.h"
#include "raft/test_cluster.h"

/* ---- A raw connection ---- */

struct stranger {
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    struct bytes to_send;
    uint8_t received[64];
    size_t received_len;
    bool connected;
    bool ended; /* the node closed it */
    bool closed;
};

static void stranger_closed_cb(uv_handle_t *handle)
{
    ((struct stranger *)handle->data)->closed = true;
}

static void stranger_alloc_cb(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct stranger *s = handle->data;
    *buf =
        uv_buf_init((char *)s->received + s->received_len, (unsigned)(sizeof s->received - s->received_len));
}

static void stranger_read_cb(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct stranger *s = stream->data;
    if (n < 0) {
        s->ended = true;
        uv_close((uv_handle_t *)stream, stranger_closed_cb);
        return;
    }
    s->received_len += (size_t)n;
}

static void stranger_connected_cb(uv_connect_t *req, int status)
{
    struct stranger *s = req->data;
    assert_int_equal(status, 0);
    s->connected = true;
    assert_int_equal(uv_read_start((uv_stream_t *)&s->tcp, stranger_alloc_cb, stranger_read_cb), 0);
    if (s->to_send.len > 0) {
        uv_buf_t buf = uv_buf_init((char *)(uintptr_t)s->to_send.data, (unsigned)s->to_send.len);
        assert_int_equal(uv_write(&s->write, (uv_stream_t *)&s->tcp, &buf, 1, NULL), 0);
    }
}

static void stranger_connect(struct stranger *s, struct test_node *n, struct bytes to_send)
{
    memset(s, 0, sizeof *s);
    struct peer_address address;
    struct sockaddr_in to;
    assert_true(peer_address_parse(n->address, &address));
    assert_int_equal(uv_ip4_addr(address.host, atoi(address.port), &to), 0);
    assert_int_equal(uv_tcp_init(&n->cluster->loop, &s->tcp), 0);
    s->tcp.data = s;
    s->connect.data = s;
    s->to_send = to_send;
    assert_int_equal(uv_tcp_connect(&s->connect, &s->tcp, (struct sockaddr *)&to, stranger_connected_cb), 0);
}

static struct test_node *wait_leader(struct test_cluster *c)
{
    TEST_WAIT(c, test_leader(c, 0) != NULL);
    return test_leader(c, 0);
}

/* ---- Strangers ---- */

static void garbage_is_closed_at_once_and_nobody_else_notices(void **state)
{
    struct test_cluster c;
    test_cluster_open(&c, 1);
    test_cluster_open_nodes(&c);
    struct test_node *leader = wait_leader(&c);
    static const char *const texts[] = {"GET / HTTP/1.1\r\n\r\n", "\x89WBPEER!", "x"};
    for (unsigned i = 0; i < 3; i++) {
        struct stranger s;
        stranger_connect(&s, leader, bytes_from_text(texts[i]));
        TEST_WAIT(&c, s.closed);
        assert_int_equal(s.received_len, 0);
    }
    assert_true(test_logged(leader, "peer-refused"));
    assert_true(test_logged(leader, "reason=GARBAGE"));
    test_propose(&c, 0, 20, 256);
    TEST_WAIT(&c, test_applied(&c, 0, 20));
    assert_int_equal(leader->groups[0].gates_closed, 0);
    test_cluster_close(&c);
}

static void a_silent_connection_is_closed_by_its_timeout(void **state)
{
    struct test_cluster c;
    test_cluster_open(&c, 1);
    test_cluster_open_nodes(&c);
    struct stranger silent;
    struct stranger halfway;
    static const uint8_t some[] = {0x89, 'W', 'B', 'P', 'E', 'E', '\r', '\n', 0};
    stranger_connect(&silent, &c.nodes[0], bytes_of(NULL, 0));
    stranger_connect(&halfway, &c.nodes[0], bytes_of(some, sizeof some));
    TEST_WAIT(&c, silent.closed && halfway.closed);
    test_cluster_close(&c);
}

static void too_many_strangers_push_out_the_oldest(void **state)
{
    enum { MORE = 8 };
    struct test_cluster c;
    test_cluster_open(&c, 1);
    test_cluster_open_nodes(&c);
    wait_leader(&c);
    struct stranger *crowd = calloc(PEER_PORT_PENDING_MAX + MORE, sizeof *crowd);
    assert_non_null(crowd);
    for (unsigned i = 0; i < PEER_PORT_PENDING_MAX + MORE; i++) {
        stranger_connect(&crowd[i], &c.nodes[0], bytes_of(NULL, 0));
        TEST_WAIT(&c, crowd[i].connected);
    }
    TEST_WAIT(&c, crowd[MORE - 1].closed);
    assert_true(test_logged(&c.nodes[0], "peer-handshakes-dropped"));
    for (unsigned i = 0; i < PEER_PORT_PENDING_MAX + MORE; i++) {
        TEST_WAIT(&c, crowd[i].closed);
    }
    free(crowd);
    test_cluster_close(&c);
}

static void a_peer_of_another_version_gets_an_answer_that_says_so(void **state)
{
    struct test_cluster c;
    test_cluster_open(&c, 1);
    test_cluster_open_nodes(&c);
    struct handshake_hello hello = {.sender_id = 2, .target_id = 1, .group_count = 1, .address = "x:1"};
    struct buf bytes;
    buf_init(&bytes);
    handshake_hello_encode(&hello, &bytes);
    bytes.data[9]++;
    struct stranger s;
    stranger_connect(&s, &c.nodes[0], buf_bytes(&bytes));
    TEST_WAIT(&c, s.closed);
    assert_int_equal(s.received_len, HANDSHAKE_ACK_BYTES);
    assert_int_equal(handshake_ack_parse(s.received), HANDSHAKE_VERSION);
    buf_deinit(&bytes);
    test_cluster_close(&c);
}

/* ---- Peers with another configuration ---- */

/* Nodes 1 and 2 form a majority; node 3 starts with @config and must be refused for @reason, on both sides.
 */
static void expect_refusal(struct test_cluster *c, const struct raft_host_config *config, const char *reason)
{
    test_node_open(&c->nodes[0]);
    test_node_open(&c->nodes[1]);
    wait_leader(c);
    test_node_open_as(&c->nodes[2], config);
    char here[64];
    snprintf(here, sizeof here, "reason=%s", reason);
    TEST_WAIT(c, test_logged(&c->nodes[2], "refused-by-peer") && test_logged(&c->nodes[2], here));
    TEST_WAIT(c, test_logged(&c->nodes[0], "peer-refused") && test_logged(&c->nodes[0], here));
    test_propose(c, 0, 10, 64);
    TEST_WAIT(c, c->nodes[0].groups[0].count == 10 && c->nodes[1].groups[0].count == 10);
    assert_int_equal(c->nodes[2].groups[0].count, 0);
    test_cluster_close(c);
}

static void another_cluster_name_is_refused_with_its_reason(void **state)
{
    struct test_cluster c;
    test_cluster_open(&c, 1);
    struct raft_host_config config = c.config;
    config.cluster = "other";
    expect_refusal(&c, &config, "CLUSTER");
}

static void another_group_count_is_refused_with_its_reason(void **state)
{
    struct test_cluster c;
    test_cluster_open(&c, 1);
    struct raft_host_config config = c.config;
    config.group_count = 2;
    expect_refusal(&c, &config, "GROUP_COUNT");
}

static void another_election_timeout_is_refused_with_its_reason(void **state)
{
    struct test_cluster c;
    test_cluster_open(&c, 1);
    struct raft_host_config config = c.config;
    config.election_timeout_ms = 400; /* not the 500 of the others */
    expect_refusal(&c, &config, "ELECTION_TIMEOUT");
}

static unsigned count_of(const char *text, const char *what)
{
    unsigned n = 0;
    for (const char *at = strstr(text, what); at != NULL; at = strstr(at + 1, what)) {
        n++;
    }
    return n;
}

static void a_refused_peer_that_keeps_trying_does_not_flood_the_log(void **state)
{
    struct test_cluster c;
    test_cluster_open(&c, 1);
    struct raft_host_config config = c.config;
    config.cluster = "other";
    test_node_open(&c.nodes[0]);
    test_node_open_as(&c.nodes[2], &config);
    TEST_WAIT(&c, test_logged(&c.nodes[0], "peer-refused"));
    /* Three strangers of the same kind make three more refusals, for sure. */
    struct handshake_hello hello = {
        .cluster_hash = handshake_cluster_hash("other"), .sender_id = 3, .target_id = 1, .group_count = 1};
    snprintf(hello.address, sizeof hello.address, "%s", c.nodes[2].address);
    struct buf bytes;
    buf_init(&bytes);
    handshake_hello_encode(&hello, &bytes);
    for (unsigned i = 0; i < 3; i++) {
        struct stranger s;
        stranger_connect(&s, &c.nodes[0], buf_bytes(&bytes));
        TEST_WAIT(&c, s.closed);
        assert_int_equal(handshake_ack_parse(s.received), HANDSHAKE_CLUSTER);
    }
    buf_deinit(&bytes);
    assert_int_equal(count_of(c.nodes[0].log_text, "peer-refused"), 1);
    test_cluster_close(&c);
}

/* ---- Names ---- */

static void peers_are_found_by_name_too(void **state)
{
    struct test_cluster c;
    test_cluster_open(&c, 1);
    for (unsigned i = 0; i < TEST_NODES; i++) {
        struct peer_address address;
        assert_true(peer_address_parse(c.nodes[i].address, &address));
        snprintf(c.nodes[i].address, sizeof c.nodes[i].address, "localhost:%s", address.port);
    }
    test_cluster_open_nodes(&c);
    wait_leader(&c);
    test_propose(&c, 0, 10, 64);
    TEST_WAIT(&c, test_applied(&c, 0, 10));
    test_cluster_close(&c);
}

static void addresses_are_host_and_port_with_ipv6_in_brackets(void **state)
{
    struct peer_address a;
    assert_true(peer_address_parse("10.0.0.1:9000", &a));
    assert_string_equal(a.host, "10.0.0.1");
    assert_string_equal(a.port, "9000");
    assert_true(peer_address_parse("[fe80::1]:65535", &a));
    assert_string_equal(a.host, "fe80::1");
    assert_true(peer_address_parse("node-1.example:1", &a));
    static const char *const wrong[] = {"", ":", "host", "host:", ":1", "host:0", "host:65536", "host:1x",
        "fe80::1:9000", "[]:1", "host:123456", "host:-1"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_false(peer_address_parse(wrong[i], &a));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(garbage_is_closed_at_once_and_nobody_else_notices),
        cmocka_unit_test(a_silent_connection_is_closed_by_its_timeout),
        cmocka_unit_test(too_many_strangers_push_out_the_oldest),
        cmocka_unit_test(a_peer_of_another_version_gets_an_answer_that_says_so),
        cmocka_unit_test(another_cluster_name_is_refused_with_its_reason),
        cmocka_unit_test(another_group_count_is_refused_with_its_reason),
        cmocka_unit_test(another_election_timeout_is_refused_with_its_reason),
        cmocka_unit_test(a_refused_peer_that_keeps_trying_does_not_flood_the_log),
        cmocka_unit_test(peers_are_found_by_name_too),
        cmocka_unit_test(addresses_are_host_and_port_with_ipv6_in_brackets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
