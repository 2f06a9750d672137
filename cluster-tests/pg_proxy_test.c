/* The slow wire itself, without PostgreSQL: an echo stands at its other end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cluster-tests/pg_proxy.h"
#include "proto/base/alloc.h"

enum { CONNECTIONS = 2 };

/* Two connections through the proxy; the test holds both ends. */
struct wires {
    struct pg_proxy *proxy;
    int listener;
    int node[CONNECTIONS];
    int server[CONNECTIONS];
    uint16_t client_port[CONNECTIONS];
};

static struct sockaddr_in on_loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int setup(void **state)
{
    struct wires *w = xcalloc(1, sizeof *w);
    w->listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = on_loopback(0);
    socklen_t len = sizeof address;
    assert_int_equal(bind(w->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(w->listener, 8), 0);
    assert_int_equal(getsockname(w->listener, (struct sockaddr *)&address, &len), 0);
    w->proxy = pg_proxy_start(ntohs(address.sin_port));
    assert_non_null(w->proxy);
    for (int i = 0; i < CONNECTIONS; i++) {
        address = on_loopback(pg_proxy_port(w->proxy));
        w->node[i] = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(w->node[i], (struct sockaddr *)&address, sizeof address), 0);
        len = sizeof address;
        w->server[i] = accept(w->listener, (struct sockaddr *)&address, &len);
        assert_true(w->server[i] >= 0);
        w->client_port[i] = ntohs(address.sin_port);
    }
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct wires *w = *state;
    pg_proxy_stop(w->proxy);
    for (int i = 0; i < CONNECTIONS; i++) {
        close(w->node[i]);
        close(w->server[i]);
    }
    close(w->listener);
    free(w);
    return 0;
}

static void send_text(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void expect_text(int fd, const char *text)
{
    char got[64];
    size_t len = strlen(text);
    assert_int_equal(recv(fd, got, len, MSG_WAITALL), len);
    assert_memory_equal(got, text, len);
}

static void await_held(struct pg_proxy *p, uint64_t bytes)
{
    while (pg_proxy_held_bytes(p) < bytes) {
        poll(NULL, 0, 1);
    }
}

static void bytes_go_both_ways(void **state)
{
    struct wires *w = *state;
    send_text(w->node[0], "question");
    expect_text(w->server[0], "question");
    send_text(w->server[0], "answer");
    expect_text(w->node[0], "answer");
}

static void a_held_connection_keeps_what_the_node_sends_and_no_other_does(void **state)
{
    struct wires *w = *state;
    pg_proxy_hold(w->proxy, w->client_port[0]);
    send_text(w->node[0], "late ");
    await_held(w->proxy, 5);
    send_text(w->node[1], "other");
    expect_text(w->server[1], "other");
    send_text(w->server[0], "notice"); /* the way back is open */
    expect_text(w->node[0], "notice");
    struct pollfd p = {.fd = w->server[0], .events = POLLIN};
    assert_int_equal(poll(&p, 1, 0), 0);
    send_text(w->node[0], "and more");
    await_held(w->proxy, 13);
    pg_proxy_release(w->proxy);
    expect_text(w->server[0], "late and more");
    send_text(w->node[0], "at once");
    expect_text(w->server[0], "at once");
}

static void a_closed_end_closes_the_other(void **state)
{
    struct wires *w = *state;
    char byte;
    shutdown(w->node[0], SHUT_RDWR);
    assert_int_equal(recv(w->server[0], &byte, 1, 0), 0);
    shutdown(w->server[1], SHUT_RDWR);
    assert_int_equal(recv(w->node[1], &byte, 1, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bytes_go_both_ways, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_held_connection_keeps_what_the_node_sends_and_no_other_does, setup, teardown),
        cmocka_unit_test_setup_teardown(a_closed_end_closes_the_other, setup, teardown),
    };
    return cmocka_run_group_tests_name("pg_proxy", tests, NULL, NULL);
}
