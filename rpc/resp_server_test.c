/* The Redis port: replies in the order of commands, what is not the protocol, what is too big, who is
 * connected. */
#include "rpc/resp_test_help.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/buf.h"

enum { KIB = 1024, MIB = 1024 * 1024 };

static void put_text(struct buf *out, const char *text)
{
    buf_append(out, text, strlen(text));
}

/* An ECHO of @len bytes, each of which is @c; and its reply. */
static void put_echo(struct buf *out, char c, size_t len)
{
    char head[64];
    snprintf(head, sizeof head, "*2\r\n$4\r\nECHO\r\n$%zu\r\n", len);
    put_text(out, head);
    uint8_t *at = buf_reserve(out, len);
    assert_non_null(at);
    memset(at, c, len);
    out->len += len;
    put_text(out, "\r\n");
}

static void expect_echo(int fd, char c, size_t len)
{
    char head[32];
    snprintf(head, sizeof head, "$%zu\r\n", len);
    client_expect_text(fd, head);
    char *body = malloc(len + 2);
    assert_non_null(body);
    assert_true(client_receive_exactly(fd, body, len + 2));
    for (size_t i = 0; i < len; i++) {
        assert_true(body[i] == c);
    }
    assert_memory_equal(body + len, "\r\n", 2);
    free(body);
}

static void commands_are_answered_inline_or_not_and_byte_by_byte(void **state)
{
    struct resp_fixture *r = resp_fixture_start(false, false, &(struct resp_server_config){0});
    int fd = client_dial(r->f);
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const char *text = "PING\r\n*2\r\n$4\r\nECHO\r\n$3\r\na\r\n\r\nECHO \"x\\ty\"\nNO\r\n";
    for (size_t i = 0; i < strlen(text); i++) {
        client_send(fd, text + i, 1);
    }
    client_expect_text(fd, "+PONG\r\n$3\r\na\r\n\r\n$3\r\nx\ty\r\n-ERR unknown command\r\n");
    client_say(fd, text);
    client_expect_text(fd, "+PONG\r\n$3\r\na\r\n\r\n$3\r\nx\ty\r\n-ERR unknown command\r\n");
    close(fd);
    resp_fixture_stop(r);
}

static void replies_come_in_the_order_of_commands_whoever_is_answered_first(void **state)
{
    enum { N = 500 };
    struct resp_fixture *r = resp_fixture_start(true, false, &(struct resp_server_config){0});
    int fd = client_dial(r->f);
    struct buf out;
    buf_init(&out);
    for (int i = 0; i < N; i++) {
        char text[64];
        snprintf(text, sizeof text, i % 3 == 2 ? "NOTHING\r\n" : "ECHO %d\r\n", i);
        put_text(&out, text);
    }
    client_send(fd, out.data, out.len);
    fixture_await_handled(r->f, N);
    fixture_release(r->f); /* the last one first */
    for (int i = 0; i < N; i++) {
        char number[16], text[64];
        snprintf(number, sizeof number, "%d", i);
        snprintf(text, sizeof text, "$%zu\r\n%s\r\n", strlen(number), number);
        client_expect_text(fd, i % 3 == 2 ? "" : text);
    }
    buf_deinit(&out);
    close(fd);
    resp_fixture_stop(r);
}

static void a_hundred_thousand_commands_at_once_cost_bounded_memory(void **state)
{
    enum { N = 100000, MAX = 16 };
    struct resp_fixture *r = resp_fixture_start(
        false, false, &(struct resp_server_config){.requests_max = MAX, .output_max = 64 * KIB});
    int fd = client_dial(r->f);
    struct buf out;
    buf_init(&out);
    for (int i = 0; i < N; i++) {
        put_text(&out, "*1\r\n$4\r\nPING\r\n");
    }
    client_send(fd, out.data, out.len);
    shutdown(fd, SHUT_WR); /* the replies are still owed */
    for (int i = 0; i < N; i++) {
        client_expect_text(fd, "+PONG\r\n");
    }
    client_expect_end(fd);
    assert_true(fixture_bytes_max(r->f) <= 512 * KIB);
    assert_int_equal(fixture_handled(r->f), N);
    buf_deinit(&out);
    resp_fixture_stop(r);
}

/* However much the others send: their commands are done in many turns, and between them come those of all. */
static void who_sends_little_is_served_between_those_who_send_much(void **state)
{
    enum { MANY = 20, COMMANDS = 20000, PER_TURN = 5000 };
    struct resp_fixture *r = resp_fixture_start(false, false,
        &(struct resp_server_config){.requests_max = 2 * COMMANDS, .output_max = 16 * 1024 * 1024});
    struct buf pings;
    buf_init(&pings);
    for (int i = 0; i < COMMANDS; i++) {
        buf_append(&pings, "PING\r\n", 6);
    }
    int fds[MANY], other = client_dial(r->f);
    for (int i = 0; i < MANY; i++) {
        fds[i] = client_dial(r->f);
    }
    fixture_pause(r->f); /* all of it is there in one turn */
    unsigned turns = fixture_turns(r->f);
    for (int i = 0; i < MANY; i++) {
        int large = 4 * COMMANDS * 6;
        setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &large, sizeof large);
        client_send(fds[i], pings.data, pings.len);
    }
    client_say(other, "ECHO here\r\n");
    fixture_resume(r->f);
    client_expect_text(other, "$4\r\nhere\r\n");
    assert_true(fixture_handled(r->f) < MANY * COMMANDS / 2);
    for (int i = 0; i < MANY; i++) {
        for (int j = 0; j < COMMANDS; j++) {
            client_expect_text(fds[i], "+PONG\r\n");
        }
        close(fds[i]);
    }
    assert_true(fixture_turns(r->f) - turns >= MANY * COMMANDS / PER_TURN);
    buf_deinit(&pings);
    close(other);
    resp_fixture_stop(r);
}

static void over_requests_max_nothing_is_taken_until_something_is_answered(void **state)
{
    struct resp_fixture *r = resp_fixture_start(true, false, &(struct resp_server_config){.requests_max = 4});
    int fd = client_dial(r->f), other = client_dial(r->f);
    for (int i = 0; i < 10; i++) {
        client_say(fd, "PING\r\n");
    }
    fixture_await_handled(r->f, 4);
    client_say(other, "PING\r\n"); /* its turn shows that the first one had every chance */
    fixture_await_handled(r->f, 5);
    assert_int_equal(fixture_handled(r->f), 5);
    fixture_release(r->f);
    for (int i = 0; i < 10; i++) {
        client_expect_text(fd, "+PONG\r\n");
    }
    client_expect_text(other, "+PONG\r\n");
    close(fd);
    close(other);
    resp_fixture_stop(r);
}

static void commands_of_all_sizes_keep_their_bytes_until_they_are_answered(void **state)
{
    size_t sizes[] = {0, 1, 100, 4000, 8 * KIB, 20 * KIB, 64 * KIB, 300 * KIB, MIB, 3, 9 * KIB, 7};
    enum { N = sizeof sizes / sizeof sizes[0] };
    struct resp_fixture *r =
        resp_fixture_start(true, false, &(struct resp_server_config){.output_max = 8 * MIB});
    int fd = client_dial(r->f);
    struct buf out;
    buf_init(&out);
    for (int i = 0; i < N; i++) {
        put_echo(&out, (char)('a' + i), sizes[i]);
    }
    client_send(fd, out.data, out.len);
    fixture_await_handled(r->f, N);
    fixture_release(r->f);
    for (int i = 0; i < N; i++) {
        expect_echo(fd, (char)('a' + i), sizes[i]);
    }
    buf_deinit(&out);
    fixture_await_bytes_at_most(r->f, 0); /* and give everything back */
    close(fd);
    resp_fixture_stop(r);
}

static void nothing_is_answered_to_empty_commands(void **state)
{
    struct resp_fixture *r = resp_fixture_start(false, false, &(struct resp_server_config){0});
    int fd = client_dial(r->f);
    client_say(fd, "\r\n*0\r\n*-1\r\n\r\nNOTHING\r\nPING\r\n");
    client_expect_text(fd, "+PONG\r\n");
    assert_int_equal(fixture_handled(r->f), 2);
    close(fd);
    resp_fixture_stop(r);
}

static void what_is_not_the_protocol_is_told_behind_the_replies_owed_and_ends_the_connection(void **state)
{
    struct {
        const char *bytes, *error;
    } rows[] = {
        {"*x\r\n", "-ERR Protocol error: invalid multibulk length\r\n"},
        {"*1\r\n$-1\r\n", "-ERR Protocol error: invalid bulk length\r\n"},
        {"*1\r\nx\r\n", "-ERR Protocol error: expected '$', got 'x'\r\n"},
        {"*1\r\n\x1b\r\n", "-ERR Protocol error: expected '$', got '\x1b'\r\n"},
        {"ECHO \"a\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"},
    };
    enum { N = sizeof rows / sizeof rows[0] };
    struct resp_fixture *r = resp_fixture_start(true, true, &(struct resp_server_config){0});
    int fds[N];
    for (int i = 0; i < N; i++) {
        fds[i] = client_dial(r->f);
        client_say(fds[i], "PING\r\n");
        client_say(fds[i], rows[i].bytes);
        client_say(fds[i], "PING\r\n"); /* nothing is understood behind it */
    }
    fixture_await_log(r->f, "expected '$', got '?'", NULL); /* no bytes of theirs in the log */
    fixture_await_handled(r->f, N);
    fixture_release(r->f);
    for (int i = 0; i < N; i++) {
        client_expect_text(fds[i], "+PONG\r\n");
        client_expect_last(fds[i], rows[i].error);
    }
    assert_int_equal(fixture_handled(r->f), N);
    resp_fixture_stop(r);
}

static void a_command_that_is_too_big_is_skipped_and_told_in_its_turn(void **state)
{
    struct resp_fixture *r =
        resp_fixture_start(true, false, &(struct resp_server_config){.command_bytes_max = 100 * KIB});
    int fd = client_dial(r->f);
    struct buf out;
    buf_init(&out);
    put_text(&out, "ECHO 1\r\n");
    put_echo(&out, 'x', 3 * MIB);
    put_text(&out, "ECHO 2\r\n");
    client_send(fd, out.data, out.len);
    fixture_await_handled(r->f, 2);
    assert_int_equal(resp_fixture_refused(r), 1);
    assert_true(fixture_bytes_max(r->f) <= 400 * KIB);
    fixture_release(r->f);
    client_expect_text(fd, "$1\r\n1\r\n");
    client_expect_text(fd,
        "-ERR command 'ECHO' is too long: at most 102400 bytes with its arguments; it was not "
        "executed\r\n");
    client_expect_text(fd, "$1\r\n2\r\n");
    buf_deinit(&out);
    close(fd);
    resp_fixture_stop(r);
}

static void after_quit_the_connection_ends_and_nothing_more_is_done(void **state)
{
    struct resp_fixture *r = resp_fixture_start(false, false, &(struct resp_server_config){0});
    int fd = client_dial(r->f);
    client_say(fd, "PING\r\nQUIT\r\nPING\r\n");
    client_expect_last(fd, "+PONG\r\n+OK\r\n");
    assert_int_equal(fixture_handled(r->f), 2);
    resp_fixture_stop(r);
}

static void what_was_under_way_behind_a_quit_is_not_replied(void **state)
{
    struct resp_fixture *r = resp_fixture_start(true, false, &(struct resp_server_config){0});
    int fd = client_dial(r->f);
    client_say(fd, "ECHO 1\r\nQUIT\r\nECHO 2\r\n");
    fixture_await_handled(r->f, 3);
    fixture_release(r->f);
    client_expect_last(fd, "$1\r\n1\r\n+OK\r\n");
    resp_fixture_stop(r);
}

static void over_connections_max_the_reason_is_redis_own(void **state)
{
    struct resp_fixture *r =
        resp_fixture_start(false, true, &(struct resp_server_config){.connections_max = 1});
    int fd = client_dial(r->f);
    client_ping(fd);
    client_expect_last(client_dial(r->f), "-ERR max number of clients reached\r\n");
    fixture_await_log(r->f, "redis-clients-at-capacity", NULL);
    client_ping(fd);
    close(fd);
    resp_fixture_stop(r);
}

static void connections_are_told_with_their_addresses_and_what_they_hold(void **state)
{
    struct resp_fixture *r = resp_fixture_start(false, false, &(struct resp_server_config){0});
    struct sockaddr_in mine = {0};
    socklen_t len = sizeof mine;
    char peer[64], local[64];
    int first = client_dial(r->f);
    client_ping(first);
    int second = client_dial(r->f);
    client_ping(second);
    int gone = client_dial(r->f);
    client_say(gone, "QUIT\r\n");
    client_expect_text(gone, "+OK\r\n"); /* the server waits for its end, and counts it no more */
    client_say(second, "PING\r\nECHO abc");
    client_expect_text(second, "+PONG\r\n");
    client_ping(first);
    snprintf(local, sizeof local, "127.0.0.1:%u", r->f->port);
    pthread_mutex_lock(&r->f->lock);
    assert_int_equal(r->opened, 3);
    assert_int_equal(r->n_seen, 2);
    for (int i = 0; i < 2; i++) {
        const struct resp_conn_info *info = &r->seen[i];
        assert_true(info->id == r->ids[i]);
        assert_true(info->fd >= 0);
        assert_true(info->opened_ms > 0 && info->active_ms >= info->opened_ms);
        assert_true(info->memory_bytes >= info->input_bytes + info->input_free_bytes);
    }
    assert_int_equal(r->seen[1].input_bytes, 8);
    assert_string_equal(r->local, local);
    pthread_mutex_unlock(&r->f->lock);
    close(second);
    int last = client_dial(r->f);
    client_ping(last);
    assert_int_equal(getsockname(last, (struct sockaddr *)&mine, &len), 0);
    snprintf(peer, sizeof peer, "127.0.0.1:%u", ntohs(mine.sin_port));
    pthread_mutex_lock(&r->f->lock);
    assert_string_equal(r->peer, peer);
    pthread_mutex_unlock(&r->f->lock);
    close(gone);
    close(first);
    close(last);
    resp_fixture_await_closed(r, 4);
    assert_true(resp_server_connections_total(r->server) == 4);
    resp_fixture_stop(r);
}

static void an_ipv4_client_of_every_address_is_told_as_one(void **state)
{
    struct resp_fixture *r = resp_fixture_start(false, false, &(struct resp_server_config){.address = ":0"});
    int fd = client_dial(r->f);
    client_ping(fd);
    pthread_mutex_lock(&r->f->lock);
    assert_memory_equal(r->peer, "127.0.0.1:", 10);
    pthread_mutex_unlock(&r->f->lock);
    close(fd);
    resp_fixture_stop(r);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_are_answered_inline_or_not_and_byte_by_byte),
        cmocka_unit_test(replies_come_in_the_order_of_commands_whoever_is_answered_first),
        cmocka_unit_test(a_hundred_thousand_commands_at_once_cost_bounded_memory),
        cmocka_unit_test(who_sends_little_is_served_between_those_who_send_much),
        cmocka_unit_test(over_requests_max_nothing_is_taken_until_something_is_answered),
        cmocka_unit_test(commands_of_all_sizes_keep_their_bytes_until_they_are_answered),
        cmocka_unit_test(nothing_is_answered_to_empty_commands),
        cmocka_unit_test(what_is_not_the_protocol_is_told_behind_the_replies_owed_and_ends_the_connection),
        cmocka_unit_test(a_command_that_is_too_big_is_skipped_and_told_in_its_turn),
        cmocka_unit_test(after_quit_the_connection_ends_and_nothing_more_is_done),
        cmocka_unit_test(what_was_under_way_behind_a_quit_is_not_replied),
        cmocka_unit_test(over_connections_max_the_reason_is_redis_own),
        cmocka_unit_test(connections_are_told_with_their_addresses_and_what_they_hold),
        cmocka_unit_test(an_ipv4_client_of_every_address_is_told_as_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
