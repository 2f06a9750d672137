/* Clients of the client port that mean harm, or are broken: unfinished messages, too many bytes, too many
 * connections. Others must not notice. */
#include "rpc/server_test_help.h"

#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { KIB = 1024, MIB = 1024 * 1024, FRAME_TIMEOUT_MS = 100 };

/* ---- Unfinished messages ---- */

static void a_message_that_is_not_finished_in_time_ends_its_connection_with_a_word(void **state)
{
    struct fixture *f = fixture_create(false, 5);
    fixture_start(f, &(struct rpc_server_config){.frame_timeout_ms = FRAME_TIMEOUT_MS});
    int quiet = client_dial(f);
    int half = client_dial(f), header = client_dial(f);
    client_send_get(half, 1);
    client_send_part(half, 100, 40);
    client_send(header, "\0", 1);
    client_expect(half, 1, STATUS_OK);
    client_expect(half, 0, STATUS_TIMEOUT);
    client_expect_end(half);
    client_expect(header, 0, STATUS_TIMEOUT);
    client_expect_end(header);
    client_send_get(quiet, 2); /* who begins nothing has all the time */
    client_expect(quiet, 2, STATUS_OK);
    close(quiet);
    fixture_stop(f);
}

static void bytes_that_drip_give_a_message_no_more_time(void **state)
{
    struct fixture *f = fixture_create(false, 5);
    fixture_start(f, &(struct rpc_server_config){.frame_timeout_ms = FRAME_TIMEOUT_MS});
    int fd = client_dial(f);
    client_send_part(fd, MIB, 0);
    struct pollfd answer = {.fd = fd, .events = POLLIN};
    unsigned drops = 0;
    while (poll(&answer, 1, 5) == 0) {
        client_send(fd, "x", 1);
        assert_true(++drops < MIB); /* long before the message is whole */
    }
    client_expect(fd, 0, STATUS_TIMEOUT);
    client_expect_end(fd);
    fixture_stop(f);
}

static void the_time_of_a_message_rests_while_the_node_does_not_read_it(void **state)
{
    struct fixture *f = fixture_create(true, 5);
    fixture_start(f, &(struct rpc_server_config){.requests_max = 1, .frame_timeout_ms = FRAME_TIMEOUT_MS});
    struct buf two;
    buf_init(&two);
    client_put_get(&two, 1);
    client_put_get(&two, 2);
    int fd = client_dial(f);
    client_send(fd, two.data, two.len - 3);
    fixture_await_handled(f, 1); /* its only place is taken */
    for (int i = 0; i < 2; i++) {
        int late = client_dial(f);
        client_send_part(late, 100, 10);
        client_expect(late, 0, STATUS_TIMEOUT); /* so this much time has passed */
        client_expect_end(late);
    }
    client_send(fd, two.data + two.len - 3, 3);
    fixture_release(f);
    client_expect(fd, 1, STATUS_OK);
    client_expect(fd, 2, STATUS_OK);
    buf_deinit(&two);
    close(fd);
    fixture_stop(f);
}

static void a_length_above_the_limit_is_refused_when_its_header_is_there(void **state)
{
    struct fixture *f = fixture_create(false, 5);
    fixture_start(f, &(struct rpc_server_config){0});
    uint32_t announced[] = {LIMIT_FRAME_BYTES + 1, UINT32_MAX};
    for (int i = 0; i < 2; i++) {
        int fd = client_dial(f);
        client_send_part(fd, announced[i], 0);
        client_expect(fd, 0, STATUS_TOO_BIG);
        client_expect_end(fd);
    }
    assert_true(fixture_bytes_max(f) <= 16 * KIB);
    fixture_stop(f);
}

static void memory_is_taken_for_what_came_and_not_for_what_is_announced(void **state)
{
    enum { N = 64 };
    struct fixture *f = fixture_create(false, 5);
    fixture_start(f, &(struct rpc_server_config){0});
    int fds[N];
    for (int i = 0; i < N; i++) {
        fds[i] = client_dial(f);
        client_send_part(fds[i], LIMIT_FRAME_BYTES, 10);
    }
    fixture_await_bytes_at_least(f, N * 4 * KIB); /* all are heard */
    for (int i = 0; i < N; i++) {
        client_send(fds[i], "x", 1); /* now the header is known when memory is taken */
    }
    int other = client_dial(f);
    client_send_get(other, 1);
    client_expect(other, 1, STATUS_OK);
    assert_true(fixture_bytes_max(f) <= (N + 4) * 8 * KIB);
    for (int i = 0; i < N; i++) {
        close(fds[i]);
    }
    close(other);
    fixture_stop(f);
}

static void a_connection_gives_the_memory_of_a_big_message_back(void **state)
{
    struct fixture *f = fixture_create(false, 5);
    fixture_start(f, &(struct rpc_server_config){0});
    int fd = client_dial(f);
    struct buf message;
    buf_init(&message);
    client_put_set(&message, 1, MIB);
    client_send(fd, message.data, message.len - 1);
    fixture_await_bytes_at_least(f, MIB);
    client_send(fd, message.data + message.len - 1, 1);
    client_expect(fd, 1, STATUS_OK);
    fixture_await_bytes_at_most(f, 0); /* though it sends nothing more */
    client_send_get(fd, 2);
    client_expect(fd, 2, STATUS_OK);
    buf_deinit(&message);
    close(fd);
    fixture_stop(f);
}

/* ---- client_bytes_max ---- */

static void over_the_total_the_unfinished_are_closed_and_the_others_go_on(void **state)
{
    enum { N = 40, SENT = 200 * KIB, MAX = MIB };
    struct fixture *f = fixture_create(false, 5);
    fixture_start(f, &(struct rpc_server_config){.client_bytes_max = MAX});
    int fds[N];
    int other = client_dial(f);
    for (int i = 0; i < N; i++) {
        fds[i] = client_dial(f);
        client_send_part(fds[i], 2 * SENT, SENT);
    }
    fixture_await_bytes_at_least(f, MAX + 1);
    for (uint64_t id = 1; id <= 100; id++) {
        client_send_get(other, id);
        client_expect(other, id, STATUS_OK);
    }
    fixture_await_bytes_at_most(f, MAX);
    assert_true(fixture_bytes_max(f) <= MAX + N * 32 * KIB + 512 * KIB);
    Wbrpc__Response *word = NULL;
    struct pollfd polled[N];
    for (int i = 0; i < N; i++) {
        polled[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
    }
    assert_true(poll(polled, N, 20000) > 0);
    for (int i = 0; i < N && word == NULL; i++) {
        word = polled[i].revents != 0 ? client_receive(fds[i]) : NULL;
    }
    assert_non_null(word);
    assert_int_equal(word->id, 0);
    assert_int_equal(word->status, STATUS_OVERLOADED);
    wbrpc__response__free_unpacked(word, NULL);
    client_send_get(other, 101);
    client_expect(other, 101, STATUS_OK);
    for (int i = 0; i < N; i++) {
        close(fds[i]);
    }
    close(other);
    fixture_stop(f);
}

static void over_the_total_the_largest_goes_first(void **state)
{
    enum { FIRST = 100 * KIB, MAX = 600 * KIB };
    struct fixture *f = fixture_create(false, 5);
    fixture_start(f, &(struct rpc_server_config){.client_bytes_max = MAX});
    int large = client_dial(f), small = client_dial(f);
    struct buf message;
    buf_init(&message);
    client_put_set(&message, 7, 300 * KIB);
    client_send_part(large, 2 * MIB, 500 * KIB);
    fixture_await_bytes_at_least(f, 500 * KIB);
    client_send(small, message.data, FIRST);
    client_expect(large, 0, STATUS_OVERLOADED);
    client_expect_end(large);
    fixture_await_bytes_at_most(f, MAX);
    client_send(small, message.data + FIRST, message.len - FIRST);
    client_expect(small, 7, STATUS_OK);
    buf_deinit(&message);
    close(small);
    fixture_stop(f);
}

static void a_pipeline_over_the_total_waits_and_others_with_little_are_served(void **state)
{
    enum { N = 800, MAX = 256 * KIB };
    struct fixture *f = fixture_create(true, 5);
    fixture_start(f, &(struct rpc_server_config){.client_bytes_max = MAX});
    int greedy = client_dial(f), other = client_dial(f);
    struct buf out;
    buf_init(&out);
    for (uint64_t id = 1; id <= N; id++) {
        client_put_get(&out, id);
    }
    client_send(greedy, out.data, out.len);
    fixture_await_bytes_at_least(f, MAX + 1);
    unsigned taken = fixture_handled(f);
    assert_true(taken < N);
    client_send_get(other, 1);
    fixture_await_handled(f, taken + 1);
    assert_int_equal(fixture_handled(f), taken + 1); /* and the greedy one still waits */
    fixture_release(f);
    client_expect(other, 1, STATUS_OK);
    bool seen[N + 1] = {false};
    for (int i = 0; i < N; i++) {
        Wbrpc__Response *response = client_receive(greedy);
        assert_non_null(response);
        assert_int_equal(response->status, STATUS_OK);
        assert_false(seen[response->id]);
        seen[response->id] = true;
        wbrpc__response__free_unpacked(response, NULL);
    }
    buf_deinit(&out);
    close(greedy);
    close(other);
    fixture_stop(f);
}

/* Fill the server with more than @bytes of requests, which the handler holds. */
static int fill_with_requests(struct fixture *f, unsigned n, size_t bytes)
{
    int fd = client_dial(f);
    struct buf out;
    buf_init(&out);
    for (uint64_t id = 1; id <= n; id++) {
        client_put_get(&out, id);
    }
    client_send(fd, out.data, out.len);
    fixture_await_bytes_at_least(f, bytes + 1);
    buf_deinit(&out);
    return fd;
}

static void who_waits_for_room_goes_on_when_the_others_hold_less(void **state)
{
    enum { MAX = 256 * KIB };
    struct fixture *f = fixture_create(true, 5);
    fixture_start(f, &(struct rpc_server_config){.client_bytes_max = MAX});
    int greedy = fill_with_requests(f, 800, MAX);
    int other = client_dial(f);
    client_send_set(other, 1, 150 * KIB);
    fixture_await_bytes_at_least(f, MAX + 16 * KIB); /* the beginning of it, as far as its share goes */
    fixture_release(f);
    client_expect(other, 1, STATUS_OK);
    close(greedy);
    close(other);
    fixture_stop(f);
}

static void over_the_total_a_request_that_needs_much_is_refused_and_a_small_one_is_served(void **state)
{
    enum { MAX = 256 * KIB };
    struct fixture *f = fixture_create(true, 5);
    fixture_start(f, &(struct rpc_server_config){.client_bytes_max = MAX});
    int greedy = fill_with_requests(f, 800, MAX);
    unsigned taken = fixture_handled(f);
    int other = client_dial(f);
    struct buf message;
    buf_init(&message);
    client_put_gets(&message, 1, 2000); /* 10 KiB, from which far more is made */
    client_send(other, message.data, message.len);
    client_expect(other, 1, STATUS_OVERLOADED);
    assert_int_equal(fixture_handled(f), taken); /* nothing was done */
    client_send_set(other, 2, 100);
    fixture_await_handled(f, taken + 1);
    fixture_release(f);
    client_expect(other, 2, STATUS_OK);
    buf_deinit(&message);
    close(greedy);
    close(other);
    fixture_stop(f);
}

/* Or several would wait for each other. */
static void a_message_that_is_itself_what_is_too_much_is_refused_in_the_end(void **state)
{
    struct fixture *f = fixture_create(false, 5);
    fixture_start(f, &(struct rpc_server_config){.client_bytes_max = 256 * KIB});
    int fd = client_dial(f);
    client_send_set(fd, 1, 300 * KIB);
    client_expect(fd, 1, STATUS_OVERLOADED);
    client_send_get(fd, 2);
    client_expect(fd, 2, STATUS_OK);
    close(fd);
    fixture_stop(f);
}

/* It may still have the buffers of busier times. */
static void over_the_total_who_was_busy_before_is_served(void **state)
{
    enum { MAX = 256 * KIB, BUSY = 3000 };
    struct fixture *f = fixture_create(false, 5);
    fixture_start(f, &(struct rpc_server_config){.client_bytes_max = MAX, .requests_max = BUSY});
    int other = client_dial(f);
    struct buf out;
    buf_init(&out);
    for (uint64_t id = 1; id <= BUSY; id++) {
        client_put_get(&out, id);
    }
    client_send(other, out.data, out.len);
    for (uint64_t id = 1; id <= BUSY; id++) {
        client_expect(other, id, STATUS_OK);
    }
    int large = client_dial(f);
    client_send_part(large, 2 * MIB, 600 * KIB);
    fixture_await_bytes_at_least(f, MAX + 1);
    client_send_get(other, 9);
    client_expect(other, 9, STATUS_OK);
    buf_deinit(&out);
    close(large);
    close(other);
    fixture_stop(f);
}

static void a_deaf_client_over_the_total_is_closed(void **state)
{
    enum { DEAF = 3, ANSWER = 250 * KIB, MAX = MIB, ROUNDS_MAX = 500 };
    struct fixture *f = fixture_create(false, ANSWER);
    fixture_start(f, &(struct rpc_server_config){.client_bytes_max = MAX, .output_max = 64 * MIB});
    int deaf[DEAF];
    struct buf get;
    buf_init(&get);
    client_put_get(&get, 1);
    for (int i = 0; i < DEAF; i++) {
        deaf[i] = client_dial(f);
    }
    /* First the kernel takes what comes; then the server holds it, takes no more, and waits for a second. */
    unsigned rounds = 0;
    do {
        for (int i = 0; i < DEAF; i++) {
            /* Nothing is said if it is closed already. */
            (void)!send(deaf[i], get.data, get.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        }
        assert_true(++rounds < ROUNDS_MAX);
    } while (fixture_await_turn(f) == DEAF || rounds < 5);
    fixture_await_bytes_at_most(f, MAX);
    assert_true(fixture_bytes_max(f) > MAX);
    assert_true(fixture_bytes_max(f) <= 2 * MAX);
    buf_deinit(&get);
    for (int i = 0; i < DEAF; i++) {
        close(deaf[i]);
    }
    fixture_stop(f);
}

/* ---- Many at once ---- */

static void a_crowd_that_wants_in_does_not_hold_up_who_is_in(void **state)
{
    enum { CROWD = 400 };
    struct fixture *f = fixture_create(false, 5);
    fixture_start(f, &(struct rpc_server_config){.connections_max = 2 * CROWD});
    int in = client_dial(f);
    client_send_get(in, 1);
    client_expect(in, 1, STATUS_OK);
    fixture_pause(f);
    int fds[CROWD];
    for (int i = 0; i < CROWD; i++) {
        fds[i] = client_dial(f);
    }
    client_send_get(in, 2); /* behind them all */
    fixture_resume(f);
    client_expect(in, 2, STATUS_OK);
    pthread_mutex_lock(&f->lock);
    unsigned accepted = f->connections_at_request;
    pthread_mutex_unlock(&f->lock);
    assert_true(accepted <= 1 + 2 * 64); /* a turn's worth or two */
    for (int i = 0; i < CROWD; i++) {
        client_send_get(fds[i], 3);
        client_expect(fds[i], 3, STATUS_OK);
        close(fds[i]);
    }
    close(in);
    fixture_stop(f);
}

static void without_file_descriptors_accepting_rests_and_is_logged_once(void **state)
{
    struct fixture *f = fixture_create(false, 5);
    fixture_watch_log(f);
    fixture_start(f, &(struct rpc_server_config){.idle_timeout_ms = 200});
    int quiet[3], late = client_socket(), in = client_dial(f);
    for (int i = 0; i < 3; i++) {
        quiet[i] = client_dial(f);
    }
    client_send_get(in, 1);
    client_expect(in, 1, STATUS_OK);
    struct rlimit normal, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &normal), 0);
    none = normal;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    client_connect(f, late);
    fixture_await_log(f, "accept-failed", NULL);
    unsigned turns = fixture_turns(f);
    for (int i = 0; i < 3; i++) {
        client_expect_goodbye(quiet[i]); /* time goes by */
    }
    client_send_get(in, 2); /* who is in is served, if not idle for too long itself */
    Wbrpc__Response *response = client_receive(in);
    assert_non_null(response);
    wbrpc__response__free_unpacked(response, NULL);
    assert_true(fixture_turns(f) - turns < 500); /* and the loop sleeps in between */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &normal), 0);
    client_send_get(late, 3);
    client_expect(late, 3, STATUS_OK);
    assert_int_equal(fixture_await_log(f, "accept-again", "accept-failed"), 0);
    close(in);
    close(late);
    fixture_stop(f);
}

static void random_bytes_end_their_connections_and_disturb_nobody(void **state)
{
    enum { N = 300, BYTES = 2000 };
    struct fixture *f = fixture_create(false, 5);
    fixture_start(
        f, &(struct rpc_server_config){.frame_timeout_ms = FRAME_TIMEOUT_MS, .client_bytes_max = MIB});
    uint64_t seed = 20, random = seed;
    print_message("seed %llu\n", (unsigned long long)seed);
    int other = client_dial(f);
    for (uint64_t i = 1; i <= N; i++) {
        uint8_t junk[BYTES];
        for (int b = 0; b < BYTES; b++) {
            random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            junk[b] = (uint8_t)(random >> 56);
        }
        int fd = client_dial(f);
        client_send(fd, junk, sizeof junk);
        client_send_get(other, i);
        client_expect(other, i, STATUS_OK);
        Wbrpc__Response *word = client_receive(fd);
        assert_non_null(word);
        assert_int_equal(word->id, 0);
        wbrpc__response__free_unpacked(word, NULL);
        client_expect_end(fd);
    }
    assert_int_equal(fixture_handled(f), N);
    close(other);
    fixture_stop(f);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_that_is_not_finished_in_time_ends_its_connection_with_a_word),
        cmocka_unit_test(bytes_that_drip_give_a_message_no_more_time),
        cmocka_unit_test(the_time_of_a_message_rests_while_the_node_does_not_read_it),
        cmocka_unit_test(a_length_above_the_limit_is_refused_when_its_header_is_there),
        cmocka_unit_test(memory_is_taken_for_what_came_and_not_for_what_is_announced),
        cmocka_unit_test(a_connection_gives_the_memory_of_a_big_message_back),
        cmocka_unit_test(over_the_total_the_unfinished_are_closed_and_the_others_go_on),
        cmocka_unit_test(over_the_total_the_largest_goes_first),
        cmocka_unit_test(a_pipeline_over_the_total_waits_and_others_with_little_are_served),
        cmocka_unit_test(who_waits_for_room_goes_on_when_the_others_hold_less),
        cmocka_unit_test(over_the_total_a_request_that_needs_much_is_refused_and_a_small_one_is_served),
        cmocka_unit_test(a_message_that_is_itself_what_is_too_much_is_refused_in_the_end),
        cmocka_unit_test(over_the_total_who_was_busy_before_is_served),
        cmocka_unit_test(a_deaf_client_over_the_total_is_closed),
        cmocka_unit_test(a_crowd_that_wants_in_does_not_hold_up_who_is_in),
        cmocka_unit_test(without_file_descriptors_accepting_rests_and_is_logged_once),
        cmocka_unit_test(random_bytes_end_their_connections_and_disturb_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
