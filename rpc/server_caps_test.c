/* The caps of the client port on connections, and of one connection on requests and answers. */
#include "rpc/server_test_help.h"

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

static void a_connection_over_the_cap_is_told_so_and_closed_and_the_others_are_served(void **state)
{
    struct fixture *f = fixture_create(false, 0);
    fixture_watch_log(f);
    fixture_start(f, &(struct rpc_server_config){.connections_max = 2});
    int a = client_dial(f);
    int b = client_dial(f);
    client_send_get(a, 1);
    client_expect(a, 1, STATUS_OK);
    client_send_get(b, 2);
    client_expect(b, 2, STATUS_OK);
    for (int i = 0; i < 2; i++) {
        int more = client_dial(f);
        client_expect(more, 0, STATUS_OVERLOADED);
        client_expect_end(more);
    }
    client_send_get(a, 3);
    client_expect(a, 3, STATUS_OK);
    close(b);
    assert_int_equal(fixture_await_log(f, "clients-below-capacity", "clients-at-capacity"), 1);
    int c = client_dial(f); /* there is room again */
    client_send_get(c, 4);
    client_expect(c, 4, STATUS_OK);
    close(a);
    close(c);
    fixture_stop(f);
}

/* What a client sent before it was refused is no reason to reset what it is told. */
static void a_refused_connection_that_spoke_already_is_told_so(void **state)
{
    struct fixture *f = fixture_create(false, 0);
    fixture_start(f, &(struct rpc_server_config){.connections_max = 1});
    int first = client_dial(f);
    client_send_get(first, 1);
    client_expect(first, 1, STATUS_OK);
    fixture_pause(f);
    int more = client_dial(f);
    client_send_get(more, 2);
    fixture_resume(f);
    client_expect(more, 0, STATUS_OVERLOADED);
    client_expect_end(more);
    assert_int_equal(fixture_handled(f), 1);
    close(first);
    fixture_stop(f);
}

static void over_requests_max_the_socket_is_not_read(void **state)
{
    struct fixture *f = fixture_create(true, 0);
    fixture_start(f, &(struct rpc_server_config){.requests_max = 4});
    int fd = client_dial(f);
    for (uint64_t id = 1; id <= 10; id++) {
        client_send_get(fd, id);
    }
    fixture_await_handled(f, 4);
    /* Another connection's turn shows that the first one had every chance. */
    int other = client_dial(f);
    client_send_get(other, 99);
    fixture_await_handled(f, 5);
    assert_int_equal(fixture_handled(f), 5);
    fixture_release(f); /* from here on it answers at once */
    unsigned long long seen = 0;
    for (int i = 0; i < 10; i++) {
        Wbrpc__Response *response = client_receive(fd);
        assert_non_null(response);
        seen |= 1ull << response->id;
        wbrpc__response__free_unpacked(response, NULL);
    }
    assert_true(seen == 0x7fe);
    client_expect(other, 99, STATUS_OK);
    close(fd);
    close(other);
    fixture_stop(f);
}

static void a_client_that_never_reads_costs_bounded_memory_and_hinders_nobody(void **state)
{
    enum { N = 800, ANSWER = 64 * 1024, OUTPUT_MAX = 1024 * 1024 };
    struct fixture *f = fixture_create(false, ANSWER);
    fixture_start(f, &(struct rpc_server_config){.output_max = OUTPUT_MAX});
    int deaf = client_dial(f);
    for (uint64_t id = 1; id <= N; id++) {
        client_send_get(deaf, id);
    }
    int other = client_dial(f);
    for (uint64_t id = 1; id <= 50; id++) {
        client_send_get(other, id);
        client_expect(other, id, STATUS_OK);
    }
    /* What the kernel takes is its own affair (some megabytes); far from N answers were made. */
    assert_true(fixture_handled(f) < 50 + N / 2);
    for (uint64_t id = 1; id <= N; id++) {
        client_expect(deaf, id, STATUS_OK); /* and when it reads, it gets them all */
    }
    close(deaf);
    close(other);
    fixture_stop(f);
}

static void a_deaf_client_is_closed_after_the_idle_timeout(void **state)
{
    struct fixture *f = fixture_create(false, 1024 * 1024);
    fixture_start(f, &(struct rpc_server_config){.output_max = 1024 * 1024, .idle_timeout_ms = 80});
    int deaf = client_dial(f);
    for (uint64_t id = 1; id <= 64; id++) {
        client_send_get(deaf, id);
    }
    fixture_await_handled(f, 2);
    for (int i = 0; i < 3; i++) {
        client_expect_goodbye(client_dial(f)); /* a quiet connection ends after a whole timeout */
    }
    /* What had been written before can still be read; then the connection ends before all was answered. */
    unsigned whole = 0;
    char *value = malloc(2 * 1024 * 1024);
    uint8_t header[FRAME_HEADER_BYTES];
    while (client_receive_exactly(deaf, header, sizeof header) &&
           client_receive_exactly(deaf, value, load_be32(header))) {
        whole++;
    }
    free(value);
    assert_true(whole < 64);
    close(deaf);
    fixture_stop(f);
}

static void long_answers_held_for_a_deaf_client_become_overloaded(void **state)
{
    enum { N = 200, ANSWER = 255 * 1024, OUTPUT_MAX = 64 * 1024 };
    struct fixture *f = fixture_create(true, ANSWER);
    fixture_start(f, &(struct rpc_server_config){.output_max = OUTPUT_MAX});
    int deaf = client_dial(f);
    for (uint64_t id = 1; id <= N; id++) {
        client_send_get(deaf, id);
    }
    fixture_await_handled(f, N);
    fixture_release(f); /* all in one turn: the caps on reading come too late */
    unsigned refused = 0;
    for (int i = 0; i < N; i++) {
        Wbrpc__Response *response = client_receive(deaf);
        assert_non_null(response);
        refused += response->status == STATUS_OVERLOADED;
        wbrpc__response__free_unpacked(response, NULL);
    }
    assert_int_equal(refused, N - 2); /* the second one is above four times the cap */
    close(deaf);
    fixture_stop(f);
}

/* Nobody may be told that nothing was done when it was. */
static void long_answers_to_writes_that_do_not_fit_are_unknown(void **state)
{
    enum { N = 20, ANSWER = 255 * 1024, OUTPUT_MAX = 64 * 1024 };
    struct fixture *f = fixture_create(true, ANSWER);
    fixture_start(f, &(struct rpc_server_config){.output_max = OUTPUT_MAX});
    int deaf = client_dial(f);
    for (uint64_t id = 1; id <= N; id++) {
        client_send_set(deaf, id, 10);
    }
    fixture_await_handled(f, N);
    fixture_release(f);
    unsigned unknown = 0;
    for (int i = 0; i < N; i++) {
        Wbrpc__Response *response = client_receive(deaf);
        assert_non_null(response);
        assert_true(response->status == STATUS_OK || response->status == STATUS_UNKNOWN);
        unknown += response->status == STATUS_UNKNOWN;
        wbrpc__response__free_unpacked(response, NULL);
    }
    assert_int_equal(unknown, N - 2);
    close(deaf);
    fixture_stop(f);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_over_the_cap_is_told_so_and_closed_and_the_others_are_served),
        cmocka_unit_test(a_refused_connection_that_spoke_already_is_told_so),
        cmocka_unit_test(over_requests_max_the_socket_is_not_read),
        cmocka_unit_test(a_client_that_never_reads_costs_bounded_memory_and_hinders_nobody),
        cmocka_unit_test(a_deaf_client_is_closed_after_the_idle_timeout),
        cmocka_unit_test(long_answers_held_for_a_deaf_client_become_overloaded),
        cmocka_unit_test(long_answers_to_writes_that_do_not_fit_are_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
