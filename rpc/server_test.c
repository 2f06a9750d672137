/* The client port: requests, answers, what is not understood, where it listens. */
#include "rpc/server_test_help.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <unistd.h>

static void a_request_that_arrives_byte_by_byte_is_answered(void **state)
{
    struct fixture *f = fixture_create(false, 5);
    fixture_start(f, &(struct rpc_server_config){0});
    int fd = client_dial(f);
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct buf out;
    buf_init(&out);
    client_put_get(&out, 7);
    client_put_get(&out, 8);
    for (size_t i = 0; i < out.len; i++) {
        client_send(fd, out.data + i, 1);
    }
    buf_deinit(&out);
    client_expect(fd, 7, STATUS_OK);
    client_expect(fd, 8, STATUS_OK);
    close(fd);
    fixture_stop(f);
}

static void thousands_of_pipelined_requests_are_answered_in_order(void **state)
{
    enum { N = 5000 };
    struct fixture *f = fixture_create(false, 5);
    fixture_start(f, &(struct rpc_server_config){.requests_max = 16});
    int fd = client_dial(f);
    struct buf out;
    buf_init(&out);
    for (uint64_t id = 1; id <= N; id++) {
        client_put_get(&out, id);
    }
    client_send(fd, out.data, out.len);
    shutdown(fd, SHUT_WR); /* the answers are still owed */
    buf_deinit(&out);
    for (uint64_t id = 1; id <= N; id++) {
        client_expect(fd, id, STATUS_OK);
    }
    client_expect_end(fd);
    fixture_stop(f);
}

static void garbage_is_answered_and_the_connection_closed(void **state)
{
    struct {
        const char *bytes;
        size_t len;
        int status;
    } rows[] = {
        {"\xff\xff\xff\xff", 4, STATUS_TOO_BIG}, {"\x00\x00\x00\x00", 4, STATUS_TOO_BIG},
        {"\x00\x40\x00\x01", 4, STATUS_TOO_BIG}, {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, STATUS_TOO_BIG},
        {"\x00\x00\x00\x04\xff\xff\xff\xff", 8, STATUS_INVALID},
        {"\x00\x00\x00\x02\x12\x00", 6, STATUS_INVALID},     /* no id */
        {"\x00\x00\x00\x03\x08\x01\x52", 7, STATUS_INVALID}, /* a get cut off */
    };
    struct fixture *f = fixture_create(false, 0);
    fixture_start(f, &(struct rpc_server_config){0});
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int fd = client_dial(f);
        client_send_get(fd, 1);
        client_send(fd, rows[i].bytes, rows[i].len);
        client_send_get(fd, 2); /* nothing is understood after it */
        client_expect(fd, 1, STATUS_OK);
        client_expect(fd, 0, rows[i].status);
        client_expect_end(fd);
    }
    assert_int_equal(fixture_handled(f), sizeof rows / sizeof rows[0]);
    fixture_stop(f);
}

static void an_unknown_operation_is_invalid_and_the_connection_stays(void **state)
{
    struct fixture *f = fixture_create(false, 0);
    fixture_start(f, &(struct rpc_server_config){0});
    int fd = client_dial(f);
    client_send(fd, "\x00\x00\x00\x06\x08\x05\xfa\x07\x01x", 10); /* id 5, field 127 */
    client_expect(fd, 5, STATUS_INVALID);
    client_send_get(fd, 6);
    client_expect(fd, 6, STATUS_OK);
    assert_int_equal(fixture_handled(f), 1);
    close(fd);
    fixture_stop(f);
}

static void too_many_keys_are_refused_and_the_connection_stays(void **state)
{
    struct fixture *f = fixture_create(false, 0);
    struct buf body, out;
    Wbrpc__Keys keys = WBRPC__KEYS__INIT;
    ProtobufCBinaryData *list = calloc(LIMIT_REQUEST_KEYS + 1, sizeof *list);
    fixture_start(f, &(struct rpc_server_config){0});
    int fd = client_dial(f);
    buf_init(&body);
    buf_init(&out);
    keys.keys = list;
    keys.n_keys = LIMIT_REQUEST_KEYS + 1;
    request_body(&body, WBRPC__REQUEST__OP_GET, &keys.base);
    request_frame(&out, 9, 1, NULL, buf_bytes(&body));
    client_send(fd, out.data, out.len);
    client_expect(fd, 9, STATUS_TOO_BIG);
    client_send_get(fd, 10);
    client_expect(fd, 10, STATUS_OK);
    free(list);
    buf_deinit(&body);
    buf_deinit(&out);
    close(fd);
    fixture_stop(f);
}

static void an_answer_above_the_frames_limit_becomes_too_big(void **state)
{
    struct fixture *f = fixture_create(false, LIMIT_FRAME_BYTES);
    fixture_start(f, &(struct rpc_server_config){0});
    int fd = client_dial(f);
    client_send_get(fd, 1);
    client_expect(fd, 1, STATUS_TOO_BIG);
    close(fd);
    fixture_stop(f);
}

static void never_called(void *data, struct rpc_request *request)
{
    fail();
}

static void addresses_that_cannot_be_listened_on_are_refused_with_words(void **state)
{
    uv_loop_t loop;
    char errmsg[256];
    struct rpc_server *server = NULL;
    struct fixture *f = fixture_create(false, 0);
    char taken[32];
    fixture_start(f, &(struct rpc_server_config){0});
    snprintf(taken, sizeof taken, "127.0.0.1:%u", f->port);
    const char *bad[] = {"", "nonsense", "127.0.0.1", "127.0.0.1:99999", "192.0.2.1:0", taken};
    assert_int_equal(uv_loop_init(&loop), 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct rpc_server_config config = {.address = bad[i], .on_request = never_called};
        errmsg[0] = '\0';
        assert_int_not_equal(rpc_server_start(&loop, &config, &server, errmsg, sizeof errmsg), STATUS_OK);
        assert_true(strlen(errmsg) > 10);
        assert_null(server);
    }
    assert_int_equal(uv_loop_close(&loop), 0); /* nothing is left behind */
    fixture_stop(f);
}

static void names_and_every_address_can_be_listened_on(void **state)
{
    const char *rows[] = {"localhost:0", ":0"};
    for (size_t i = 0; i < 2; i++) {
        struct fixture *f = fixture_create(false, 0);
        fixture_start(f, &(struct rpc_server_config){.address = rows[i]});
        assert_true(f->port > 0);
        if (i == 1) { /* localhost may be IPv6 only; every address has IPv4 */
            int fd = client_dial(f);
            client_send_get(fd, 1);
            client_expect(fd, 1, STATUS_OK);
            close(fd);
        }
        fixture_stop(f);
    }
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_that_arrives_byte_by_byte_is_answered),
        cmocka_unit_test(thousands_of_pipelined_requests_are_answered_in_order),
        cmocka_unit_test(garbage_is_answered_and_the_connection_closed),
        cmocka_unit_test(an_unknown_operation_is_invalid_and_the_connection_stays),
        cmocka_unit_test(too_many_keys_are_refused_and_the_connection_stays),
        cmocka_unit_test(an_answer_above_the_frames_limit_becomes_too_big),
        cmocka_unit_test(addresses_that_cannot_be_listened_on_are_refused_with_words),
        cmocka_unit_test(names_and_every_address_can_be_listened_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
