/* How connections of the client port end: by silence, with the server, without a word. */
#include "rpc/server_test_help.h"

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

static void silence_in_the_middle_of_a_frame_ends_the_connection(void **state)
{
    struct fixture *f = fixture_create(false, 0);
    fixture_start(f, &(struct rpc_server_config){.idle_timeout_ms = 80});
    int half = client_dial(f);
    int quiet = client_dial(f);
    client_send(half, "\x00\x00\x00\x10half", 8);
    client_expect_goodbye(half);
    client_expect_goodbye(quiet);
    fixture_stop(f);
}

static void a_connection_that_waits_for_its_answer_is_not_idle(void **state)
{
    struct fixture *f = fixture_create(true, 0);
    fixture_start(f, &(struct rpc_server_config){.idle_timeout_ms = 80});
    int waiting = client_dial(f);
    client_send_get(waiting, 3);
    fixture_await_handled(f, 1);
    int quiet = client_dial(f);
    client_expect_goodbye(quiet); /* so a whole timeout has passed */
    fixture_release(f);
    client_expect(waiting, 3, STATUS_OK);
    client_expect_goodbye(waiting);
    fixture_stop(f);
}

static void a_reply_after_its_connection_has_gone_is_dropped(void **state)
{
    struct fixture *f = fixture_create(true, 100000);
    fixture_start(f, &(struct rpc_server_config){0});
    struct linger reset = {.l_onoff = 1};
    int fd = client_dial(f);
    for (uint64_t id = 1; id <= 3; id++) {
        client_send_get(fd, id);
    }
    fixture_await_handled(f, 3);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(fd);
    int other = client_dial(f); /* a turn later than the reset */
    client_send_get(other, 4);
    fixture_await_handled(f, 4);
    fixture_release(f);
    client_expect(other, 4, STATUS_OK);
    close(other);
    fixture_stop(f);
}

static void closing_lets_pending_requests_be_answered_within_the_grace(void **state)
{
    struct fixture *f = fixture_create(true, 10);
    fixture_start(f, &(struct rpc_server_config){0});
    f->grace_ms = 20000;
    int fd = client_dial(f);
    client_send_get(fd, 1);
    fixture_await_handled(f, 1);
    fixture_begin_close(f);
    client_send_get(fd, 2); /* not taken any more, and the goodbye says so */
    fixture_release(f);
    client_expect(fd, 1, STATUS_OK);
    client_expect_goodbye(fd);
    assert_int_equal(fixture_join(f), 1);
}

static void requests_that_come_after_the_goodbye_are_discarded_not_reset(void **state)
{
    struct fixture *f = fixture_create(false, 10);
    fixture_start(f, &(struct rpc_server_config){0});
    f->grace_ms = 20000;
    int fd = client_dial(f);
    client_send_get(fd, 1);
    client_expect(fd, 1, STATUS_OK);
    fixture_begin_close(f);
    client_expect(fd, 0, STATUS_SHUTTING_DOWN);
    for (uint64_t id = 2; id < 1000; id++) {
        client_send_get(fd, id); /* a reset would make one of them fail */
    }
    char byte;
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    close(fd); /* the server has waited for this, and long less than its grace */
    assert_int_equal(fixture_join(f), 1);
}

static void requests_held_back_by_a_cap_are_not_taken_before_the_goodbye(void **state)
{
    struct fixture *f = fixture_create(true, 0);
    fixture_start(f, &(struct rpc_server_config){.requests_max = 2});
    f->grace_ms = 20000;
    int fd = client_dial(f);
    struct buf out;
    buf_init(&out);
    for (uint64_t id = 1; id <= 5; id++) {
        client_put_get(&out, id);
    }
    client_send(fd, out.data, out.len);
    buf_deinit(&out);
    fixture_await_handled(f, 2);
    fixture_begin_close(f);
    fixture_release(f);
    client_expect(fd, 2, STATUS_OK);
    client_expect(fd, 1, STATUS_OK);
    client_expect_goodbye(fd);
    assert_int_equal(fixture_join(f), 2);
}

static void the_grace_ends_for_a_client_that_does_not_close(void **state)
{
    struct fixture *f = fixture_create(false, 10);
    fixture_start(f, &(struct rpc_server_config){0});
    f->grace_ms = 50;
    int fd = client_dial(f);
    client_send_get(fd, 1);
    client_expect(fd, 1, STATUS_OK);
    fixture_begin_close(f);
    fixture_join(f);
    client_expect_goodbye(fd);
}

static void closing_without_grace_waits_for_the_handlers_replies_only(void **state)
{
    struct fixture *f = fixture_create(true, 10);
    fixture_start(f, &(struct rpc_server_config){0});
    int fd = client_dial(f);
    client_send_get(fd, 1);
    fixture_await_handled(f, 1);
    fixture_begin_close(f);
    client_expect_end(fd); /* at once; the request is still with the handler */
    pthread_mutex_lock(&f->lock);
    assert_false(f->closed);
    pthread_mutex_unlock(&f->lock);
    fixture_release(f);
    fixture_join(f);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(silence_in_the_middle_of_a_frame_ends_the_connection),
        cmocka_unit_test(a_connection_that_waits_for_its_answer_is_not_idle),
        cmocka_unit_test(a_reply_after_its_connection_has_gone_is_dropped),
        cmocka_unit_test(closing_lets_pending_requests_be_answered_within_the_grace),
        cmocka_unit_test(requests_that_come_after_the_goodbye_are_discarded_not_reset),
        cmocka_unit_test(requests_held_back_by_a_cap_are_not_taken_before_the_goodbye),
        cmocka_unit_test(the_grace_ends_for_a_client_that_does_not_close),
        cmocka_unit_test(closing_without_grace_waits_for_the_handlers_replies_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
