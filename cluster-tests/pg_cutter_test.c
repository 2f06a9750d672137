/* The wire that breaks, by itself: the test holds both of its ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cluster-tests/pg_cutter.h"
#include "proto/base/alloc.h"

enum { CONNECTIONS = 2 };

struct wires {
    struct pg_cutter *cutter;
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
    w->cutter = pg_cutter_start(ntohs(address.sin_port));
    assert_non_null(w->cutter);
    for (int i = 0; i < CONNECTIONS; i++) {
        address = on_loopback(pg_cutter_port(w->cutter));
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
    pg_cutter_stop(w->cutter);
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

/* An end, or a reset where bytes were under way to it. */
static void expect_end(int fd)
{
    char byte;
    assert_true(recv(fd, &byte, 1, 0) <= 0);
}

static void what_passes_on_the_chosen_connection_is_counted(void **state)
{
    struct wires *w = *state;
    send_text(w->node[0], "before");
    expect_text(w->server[0], "before");
    pg_cutter_arm(w->cutter, w->client_port[0], PG_TEST_CLIENT, PG_CUTTER_NEVER);
    send_text(w->node[0], "question");
    expect_text(w->server[0], "question");
    send_text(w->server[0], "yes");
    expect_text(w->node[0], "yes");
    send_text(w->node[1], "another");
    expect_text(w->server[1], "another");
    assert_int_equal(pg_cutter_bytes(w->cutter, PG_TEST_CLIENT), 8);
    assert_int_equal(pg_cutter_bytes(w->cutter, PG_TEST_SERVER), 3);
    assert_false(pg_cutter_struck(w->cutter));
}

static void a_question_is_cut_behind_each_of_its_bytes(void **state)
{
    struct wires *w = *state;
    pg_cutter_arm(w->cutter, w->client_port[0], PG_TEST_CLIENT, 5);
    send_text(w->node[0], "que");
    expect_text(w->server[0], "que");
    assert_false(pg_cutter_struck(w->cutter));
    send_text(w->node[0], "stion");
    expect_text(w->server[0], "st");
    expect_end(w->server[0]);
    expect_end(w->node[0]);
    assert_true(pg_cutter_struck(w->cutter));
    assert_int_equal(pg_cutter_bytes(w->cutter, PG_TEST_CLIENT), 5);
    send_text(w->node[1], "alive");
    expect_text(w->server[1], "alive");
}

static void of_an_answer_not_even_the_first_byte_need_come_through(void **state)
{
    struct wires *w = *state;
    pg_cutter_arm(w->cutter, w->client_port[1], PG_TEST_SERVER, 0);
    send_text(w->node[1], "question");
    expect_text(w->server[1], "question");
    send_text(w->server[1], "answer");
    expect_end(w->node[1]);
    assert_true(pg_cutter_struck(w->cutter));
    assert_int_equal(pg_cutter_bytes(w->cutter, PG_TEST_SERVER), 0);
}

static void just_as_many_bytes_as_are_allowed_cut_nothing(void **state)
{
    struct wires *w = *state;
    pg_cutter_arm(w->cutter, w->client_port[0], PG_TEST_CLIENT, 8);
    send_text(w->node[0], "question");
    expect_text(w->server[0], "question");
    send_text(w->server[0], "answer");
    expect_text(w->node[0], "answer");
    assert_false(pg_cutter_struck(w->cutter));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_passes_on_the_chosen_connection_is_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(a_question_is_cut_behind_each_of_its_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(
            of_an_answer_not_even_the_first_byte_need_come_through, setup, teardown),
        cmocka_unit_test_setup_teardown(just_as_many_bytes_as_are_allowed_cut_nothing, setup, teardown),
    };
    return cmocka_run_group_tests_name("pg_cutter", tests, NULL, NULL);
}
