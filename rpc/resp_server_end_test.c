/* Clients of the Redis port that do not read, do not finish, or go away; how connections end; memory. */
#include "rpc/resp_test_help.h"

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

enum { KIB = 1024, MIB = 1024 * 1024 };

static void say_big(int fd, const char *name, size_t len)
{
    char text[64];
    snprintf(text, sizeof text, "%s %zu\r\n", name, len);
    client_say(fd, text);
}

/* The beginning of a SET with a value of @announced bytes, of which @sent come. */
static void say_part(int fd, size_t announced, size_t sent)
{
    char head[64];
    snprintf(head, sizeof head, "*2\r\n$4\r\nECHO\r\n$%zu\r\n", announced);
    client_say(fd, head);
    char *bytes = calloc(1, sent + 1);
    client_send(fd, bytes, sent);
    free(bytes);
}

/* ---- Those who do not read ---- */

static void a_client_that_never_reads_costs_bounded_memory_and_hinders_nobody(void **state)
{
    enum { N = 800, REPLY = 64 * KIB, OUTPUT_MAX = MIB };
    struct resp_fixture *r =
        resp_fixture_start(false, false, &(struct resp_server_config){.output_max = OUTPUT_MAX});
    int deaf = client_dial(r->f), other = client_dial(r->f);
    for (int i = 0; i < N; i++) {
        say_big(deaf, "BIG", REPLY);
    }
    for (int i = 0; i < 50; i++) {
        client_ping(other);
    }
    /* What the kernel takes is its own affair (some megabytes); far from N replies were made. */
    assert_true(fixture_handled(r->f) < 50 + N / 2);
    assert_true(fixture_bytes_max(r->f) <= 4 * OUTPUT_MAX);
    for (int i = 0; i < N; i++) {
        assert_int_equal(client_expect_big(deaf, REPLY), '$'); /* and when it reads, it gets them all */
    }
    close(deaf);
    close(other);
    resp_fixture_stop(r);
}

/* They are no output yet, but they are in memory. */
static void replies_that_wait_for_an_earlier_one_stop_the_reading_too(void **state)
{
    enum { REPLY = 300 * KIB };
    struct resp_fixture *r =
        resp_fixture_start(true, false, &(struct resp_server_config){.output_max = MIB, .requests_max = 4});
    int fd = client_dial(r->f);
    for (int i = 0; i < 20; i++) {
        say_big(fd, "BIG", REPLY);
    }
    fixture_await_handled(r->f, 4);
    fixture_release(r->f); /* the last one first */
    for (int i = 0; i < 20; i++) {
        assert_int_equal(client_expect_big(fd, REPLY), '$');
    }
    assert_true(fixture_bytes_max(r->f) <= 5 * MIB);
    close(fd);
    resp_fixture_stop(r);
}

static void over_the_total_a_deaf_client_is_closed(void **state)
{
    enum { N = 40, MAX = MIB };
    struct resp_fixture *r = resp_fixture_start(
        false, false, &(struct resp_server_config){.client_bytes_max = MAX, .output_max = 64 * MIB});
    int deaf = client_dial(r->f), other = client_dial(r->f), size = 4 * KIB;
    setsockopt(deaf, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    for (int i = 0; i < N; i++) {
        say_big(deaf, "BIG", MIB);
    }
    resp_fixture_await_closed(r, 1);
    client_ping(other);
    fixture_await_bytes_at_most(r->f, MAX);
    close(deaf);
    close(other);
    resp_fixture_stop(r);
}

static void over_the_total_long_replies_become_errors_that_say_what_is_known(void **state)
{
    enum { N = 10, REPLY = 300 * KIB, MAX = MIB };
    struct resp_fixture *r = resp_fixture_start(
        true, false, &(struct resp_server_config){.client_bytes_max = MAX, .output_max = 64 * MIB});
    int fd = client_dial(r->f);
    for (int i = 0; i < N; i++) {
        say_big(fd, i % 2 == 0 ? "BIG" : "GROW", REPLY);
    }
    client_say(fd, "ECHO short\r\n");
    fixture_await_handled(r->f, N + 1);
    fixture_release(r->f); /* all in one turn, the last one first: that is what there is room for */
    unsigned whole = 0;
    for (int i = 0; i < N; i++) {
        char first = client_expect_big(fd, REPLY);
        whole += first == '$';
        assert_true(first == '$' || first == (i % 2 == 0 ? 'O' : 'U')); /* OOM, UNKNOWN */
    }
    assert_in_range(whole, 3, 6);
    client_expect_text(fd, "$5\r\nshort\r\n");
    close(fd);
    resp_fixture_stop(r);
}

/* ---- Those who do not finish ---- */

static void silence_ends_a_connection_without_a_word(void **state)
{
    struct resp_fixture *r =
        resp_fixture_start(false, false, &(struct resp_server_config){.idle_timeout_ms = 80});
    int half = client_dial(r->f), quiet = client_dial(r->f);
    client_say(half, "PING\r\nPIN");
    client_expect_last(half, "+PONG\r\n");
    client_expect_end(quiet);
    resp_fixture_stop(r);
}

static void a_command_that_is_not_finished_in_time_ends_its_connection_with_a_word(void **state)
{
    struct resp_fixture *r = resp_fixture_start(
        false, false, &(struct resp_server_config){.frame_timeout_ms = 100, .command_bytes_max = KIB});
    int half = client_dial(r->f), skipped = client_dial(r->f), quiet = client_dial(r->f);
    client_say(half, "*2\r\n$4\r\nECHO\r\n$5\r\nab");
    say_part(skipped, 100 * KIB, 50 * KIB);
    const char *word = "-ERR a message was begun and not finished in time; the connection will be closed\r\n";
    client_expect_last(half, word);
    client_expect_last(skipped, word);
    client_ping(quiet); /* who begins nothing has all the time */
    close(quiet);
    resp_fixture_stop(r);
}

static void memory_is_taken_for_what_came_and_not_for_what_is_announced(void **state)
{
    enum { N = 64 };
    struct resp_fixture *r =
        resp_fixture_start(false, false, &(struct resp_server_config){.command_bytes_max = 512 * MIB});
    int fds[N];
    for (int i = 0; i < N; i++) {
        fds[i] = client_dial(r->f);
        say_part(fds[i], 500 * MIB, 10);
    }
    fixture_await_bytes_at_least(r->f, N * 4 * KIB); /* all are heard */
    for (int i = 0; i < N; i++) {
        client_send(fds[i], "x", 1); /* now the length is known when memory is taken */
    }
    int other = client_dial(r->f);
    client_ping(other);
    assert_true(fixture_bytes_max(r->f) <= (N + 4) * 8 * KIB);
    for (int i = 0; i < N; i++) {
        close(fds[i]);
    }
    close(other);
    resp_fixture_stop(r);
}

static void over_the_total_the_unfinished_are_closed_with_a_word_and_the_others_go_on(void **state)
{
    enum { MAX = 600 * KIB };
    struct resp_fixture *r =
        resp_fixture_start(false, false, &(struct resp_server_config){.client_bytes_max = MAX});
    int large = client_dial(r->f), other = client_dial(r->f);
    say_part(large, 2 * MIB, 700 * KIB);
    fixture_await_bytes_at_least(r->f, MAX + 1);
    for (int i = 0; i < 100; i++) {
        client_ping(other);
    }
    client_expect_last(large, "-OOM the node's memory for clients is used up, and this connection does not "
                              "get on with its message; the "
                              "connection will be closed\r\n");
    fixture_await_bytes_at_most(r->f, MAX);
    client_ping(other);
    close(other);
    resp_fixture_stop(r);
}

static void a_command_that_is_itself_what_is_too_much_is_refused_in_the_end(void **state)
{
    struct resp_fixture *r =
        resp_fixture_start(false, false, &(struct resp_server_config){.client_bytes_max = 256 * KIB});
    int fd = client_dial(r->f);
    say_part(fd, 300 * KIB, 300 * KIB);
    client_say(fd, "\r\n");
    client_expect_text(
        fd, "-OOM the node's memory for clients is used up; nothing was done; try again later\r\n");
    assert_int_equal(resp_fixture_refused(r), 1);
    client_ping(fd);
    close(fd);
    resp_fixture_stop(r);
}

static void expect_lines(int fd, unsigned n)
{
    char c;
    while (n > 0) {
        assert_true(client_receive_exactly(fd, &c, 1));
        n -= c == '\n';
    }
}

/* A refusal leaves when the replies before it have left: to refuse would take more memory, not less. */
static void over_the_total_nothing_is_refused_behind_a_command_that_waits(void **state)
{
    enum { N = 20, PINGS = 2000, MAX = 256 * KIB, SHARE = 32 * KIB, SETTLE_TURNS = 8 };
    struct resp_fixture *r =
        resp_fixture_start(true, false, &(struct resp_server_config){.client_bytes_max = MAX});
    struct buf pings;
    buf_init(&pings);
    for (int i = 0; i < PINGS; i++) {
        buf_append(&pings, "PING\r\n", 6);
    }
    int fds[N];
    for (int i = 0; i < N; i++) {
        fds[i] = client_dial(r->f);
        client_send(fds[i], pings.data, pings.len);
    }
    fixture_await_bytes_at_least(r->f, MAX + 1);
    for (int i = 0; i < SETTLE_TURNS; i++) { /* of the sweeps, which would refuse after a second */
        fixture_await_turn(r->f);
    }
    assert_true(resp_fixture_refused(r) <= N); /* the one for which the share was too small */
    assert_true(fixture_bytes_max(r->f) <= MAX + N * 2 * SHARE);
    fixture_release(r->f);
    for (int i = 0; i < N; i++) {
        expect_lines(fds[i], PINGS);
        close(fds[i]);
    }
    buf_deinit(&pings);
    resp_fixture_stop(r);
}

static void random_bytes_disturb_nobody(void **state)
{
    enum { N = 300, BYTES = 2000 };
    struct resp_fixture *r = resp_fixture_start(
        false, false, &(struct resp_server_config){.frame_timeout_ms = 100, .client_bytes_max = MIB});
    uint64_t seed = 20, random = seed;
    print_message("seed %llu\n", (unsigned long long)seed);
    int other = client_dial(r->f);
    for (int i = 0; i < N; i++) {
        uint8_t junk[BYTES];
        for (int b = 0; b < BYTES; b++) {
            random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            junk[b] = (uint8_t)(random >> 56);
        }
        junk[0] = (uint8_t)(i % 2 == 0 ? '*' : junk[0]);
        int fd = client_dial(r->f);
        client_send(fd, junk, sizeof junk);
        client_ping(other);
        close(fd);
    }
    client_ping(other);
    close(other);
    resp_fixture_await_closed(r, N + 1);
    resp_fixture_stop(r);
}

/* ---- Ends ---- */

static void a_reply_after_its_connection_has_gone_is_dropped(void **state)
{
    struct resp_fixture *r = resp_fixture_start(true, false, &(struct resp_server_config){0});
    struct linger reset = {.l_onoff = 1};
    int fd = client_dial(r->f), other = client_dial(r->f);
    client_say(fd, "ECHO 1\r\nBIG 100000\r\nQUIT\r\n");
    fixture_await_handled(r->f, 3);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(fd);
    resp_fixture_await_closed(r, 1);
    client_say(other, "ECHO 4\r\n");
    fixture_await_handled(r->f, 4);
    fixture_release(r->f);
    client_expect_text(other, "$1\r\n4\r\n");
    client_ping(other); /* the released ones are all answered by then */
    pthread_mutex_lock(&r->f->lock);
    assert_int_equal(r->orphans, 3);
    pthread_mutex_unlock(&r->f->lock);
    close(other);
    resp_fixture_stop(r);
}

/* What they wait for may take for ever. Of the second one nothing is read any more, so its end is not read,
 * too. */
static void who_is_gone_and_waits_is_closed_when_nothing_comes_of_it(void **state)
{
    struct resp_fixture *r = resp_fixture_start(
        true, false, &(struct resp_server_config){.requests_max = 4, .frame_timeout_ms = 100});
    int few = client_dial(r->f), full = client_dial(r->f), here = client_dial(r->f);
    client_say(few, "PING\r\n");
    client_say(full, "PING\r\nPING\r\nPING\r\nPING\r\nPING\r\n");
    client_say(here, "PING\r\n");
    fixture_await_handled(r->f, 6);
    close(few);
    close(full);
    resp_fixture_await_closed(r, 2);
    fixture_release(r->f);
    client_expect_text(here, "+PONG\r\n"); /* who is there waits as long as it takes */
    close(here);
    resp_fixture_stop(r);
}

/* Answered, but behind one that is not: these replies never get their turn. */
static void replies_that_wait_when_their_connection_goes_are_freed(void **state)
{
    struct resp_fixture *r = resp_fixture_start(true, false, &(struct resp_server_config){0});
    struct linger reset = {.l_onoff = 1};
    int fd = client_dial(r->f), other = client_dial(r->f);
    client_say(fd, "ECHO first\r\n");
    fixture_await_handled(r->f, 1);
    pthread_mutex_lock(&r->f->lock);
    void *first = r->f->held[0]; /* the test keeps it: it is not released with the others */
    r->f->n_held = 0;
    pthread_mutex_unlock(&r->f->lock);
    client_say(fd, "BIG 100000\r\nECHO 2\r\nBIG 100000\r\n");
    fixture_await_handled(r->f, 4);
    fixture_release(r->f);
    fixture_await_bytes_at_least(r->f, 200000);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(fd);
    resp_fixture_await_closed(r, 1);
    fixture_await_bytes_at_most(r->f, 16 * KIB); /* the first one only */
    pthread_mutex_lock(&r->f->lock);
    r->f->held[r->f->n_held++] = first;
    pthread_mutex_unlock(&r->f->lock);
    fixture_release(r->f);
    fixture_await_bytes_at_most(r->f, 0);
    client_ping(other);
    close(other);
    resp_fixture_stop(r);
}

static void closing_sends_the_replies_owed_within_the_grace_and_no_word_more(void **state)
{
    struct resp_fixture *r = resp_fixture_start(true, false, &(struct resp_server_config){0});
    r->f->grace_ms = 20000;
    int fd = client_dial(r->f), idle = client_dial(r->f);
    client_say(fd, "ECHO 1\r\nECHO 2\r\n");
    fixture_await_handled(r->f, 2);
    fixture_begin_close(r->f);
    client_say(fd, "ECHO 3\r\n"); /* not taken any more */
    fixture_release(r->f);
    client_expect_last(fd, "$1\r\n1\r\n$1\r\n2\r\n");
    client_expect_end(idle);
    assert_int_equal(resp_fixture_join(r), 2);
}

static void closing_without_grace_waits_for_the_handlers_replies_only(void **state)
{
    struct resp_fixture *r = resp_fixture_start(true, false, &(struct resp_server_config){0});
    int fd = client_dial(r->f);
    client_say(fd, "PING\r\n");
    fixture_await_handled(r->f, 1);
    fixture_begin_close(r->f);
    client_expect_end(fd); /* at once; the command is still with the handler */
    pthread_mutex_lock(&r->f->lock);
    assert_false(r->f->closed);
    pthread_mutex_unlock(&r->f->lock);
    fixture_release(r->f);
    resp_fixture_join(r);
}

static void every_connection_that_begins_ends_once(void **state)
{
    enum { N = 200 };
    struct resp_fixture *r =
        resp_fixture_start(false, false, &(struct resp_server_config){.connections_max = 2 * N});
    int fds[N];
    for (int i = 0; i < N; i++) {
        fds[i] = client_dial(r->f);
    }
    for (int i = 0; i < N; i++) {
        client_say(fds[i], i % 4 == 0 ? "QUIT\r\n" : i % 4 == 1 ? "*x\r\n" : "PING\r\n");
        if (i % 4 != 3) {
            close(fds[i]);
        }
    }
    resp_fixture_await_closed(r, 3 * N / 4);
    for (int i = 3; i < N; i += 4) {
        client_expect_text(fds[i], "+PONG\r\n");
    }
    fixture_begin_close(r->f);
    for (int i = 3; i < N; i += 4) {
        client_expect_end(fds[i]);
    }
    resp_fixture_join(r); /* which compares */
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_that_never_reads_costs_bounded_memory_and_hinders_nobody),
        cmocka_unit_test(replies_that_wait_for_an_earlier_one_stop_the_reading_too),
        cmocka_unit_test(over_the_total_a_deaf_client_is_closed),
        cmocka_unit_test(over_the_total_long_replies_become_errors_that_say_what_is_known),
        cmocka_unit_test(silence_ends_a_connection_without_a_word),
        cmocka_unit_test(a_command_that_is_not_finished_in_time_ends_its_connection_with_a_word),
        cmocka_unit_test(memory_is_taken_for_what_came_and_not_for_what_is_announced),
        cmocka_unit_test(over_the_total_the_unfinished_are_closed_with_a_word_and_the_others_go_on),
        cmocka_unit_test(a_command_that_is_itself_what_is_too_much_is_refused_in_the_end),
        cmocka_unit_test(over_the_total_nothing_is_refused_behind_a_command_that_waits),
        cmocka_unit_test(random_bytes_disturb_nobody),
        cmocka_unit_test(a_reply_after_its_connection_has_gone_is_dropped),
        cmocka_unit_test(who_is_gone_and_waits_is_closed_when_nothing_comes_of_it),
        cmocka_unit_test(replies_that_wait_when_their_connection_goes_are_freed),
        cmocka_unit_test(closing_sends_the_replies_owed_within_the_grace_and_no_word_more),
        cmocka_unit_test(closing_without_grace_waits_for_the_handlers_replies_only),
        cmocka_unit_test(every_connection_that_begins_ends_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
