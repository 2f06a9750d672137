/* The client port on a loop in its own thread, against raw sockets that behave well, badly, or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/frame.h"
#include "proto/limits.h"
#include "proto/pb.h"
#include "rpc/request_codec.h"
#include "rpc/server.h"

enum { HELD_MAX = 4096, RECEIVE_TIMEOUT_S = 20 };

/* What the handler does: answer at once with answer_bytes of value, or hold requests until release() is
 * called. */
struct fixture {
    pthread_t thread;
    uv_loop_t loop;
    uv_async_t order;
    struct rpc_server *server;
    unsigned port;
    bool hold;
    size_t answer_bytes;
    char *answer;
    /* under the lock */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool release, close; /* orders to the loop's thread */
    unsigned grace_ms;
    struct rpc_request *held[HELD_MAX];
    unsigned n_held, handled;
    bool closing, closed;
};

static void reply(struct fixture *f, struct rpc_request *request)
{
    Wbrpc__Response response = WBRPC__RESPONSE__INIT;
    Wbrpc__Result result = WBRPC__RESULT__INIT;
    Wbrpc__Result *results[] = {&result};
    result.found = true;
    result.has_value = true;
    result.value.data = (uint8_t *)f->answer;
    result.value.len = f->answer_bytes;
    response.n_results = 1;
    response.results = results;
    rpc_reply(request, &response);
}

static void on_request(void *data, struct rpc_request *request)
{
    struct fixture *f = data;
    pthread_mutex_lock(&f->lock);
    f->handled++;
    bool hold = f->hold;
    if (hold) {
        assert_true(f->n_held < HELD_MAX);
        f->held[f->n_held++] = request;
    }
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
    if (!hold) {
        reply(f, request);
    }
}

static void on_server_closed(void *data)
{
    struct fixture *f = data;
    pthread_mutex_lock(&f->lock);
    f->closed = true;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
    uv_close((uv_handle_t *)&f->order, NULL);
}

static void on_order(uv_async_t *async)
{
    struct fixture *f = async->data;
    pthread_mutex_lock(&f->lock);
    bool release = f->release;
    bool close_it = f->close;
    unsigned n = f->n_held;
    f->release = false;
    f->close = false;
    if (release) {
        f->n_held = 0;
        f->hold = false;
    }
    pthread_mutex_unlock(&f->lock);
    if (close_it) {
        rpc_server_close(f->server, f->grace_ms, on_server_closed, f);
        pthread_mutex_lock(&f->lock);
        f->closing = true;
        pthread_cond_broadcast(&f->changed);
        pthread_mutex_unlock(&f->lock);
    }
    for (unsigned i = n; release && i > 0; i--) { /* any order will do */
        reply(f, f->held[i - 1]);
    }
}

static void *run_loop(void *arg)
{
    struct fixture *f = arg;
    uv_run(&f->loop, UV_RUN_DEFAULT);
    return NULL;
}

static void start(struct fixture *f, const struct rpc_server_config *limits)
{
    char errmsg[256];
    struct rpc_server_config config = *limits;
    size_t answer_bytes = f->answer_bytes;
    bool hold = f->hold;
    *f = (struct fixture){.hold = hold, .answer_bytes = answer_bytes, .answer = calloc(1, answer_bytes + 1)};
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    f->order.data = f;
    assert_int_equal(uv_async_init(&f->loop, &f->order, on_order), 0);
    config.address = config.address != NULL ? config.address : "127.0.0.1:0";
    config.connections_max = config.connections_max != 0 ? config.connections_max : 100;
    config.requests_max = config.requests_max != 0 ? config.requests_max : 1000;
    config.output_max = config.output_max != 0 ? config.output_max : 1024 * 1024;
    config.on_request = on_request;
    config.data = f;
    assert_int_equal(rpc_server_start(&f->loop, &config, &f->server, errmsg, sizeof errmsg), STATUS_OK);
    f->port = rpc_server_port(f->server);
    assert_int_equal(pthread_create(&f->thread, NULL, run_loop, f), 0);
}

/* Answer what is held, and from now on everything at once. */
static void release(struct fixture *f)
{
    pthread_mutex_lock(&f->lock);
    f->release = true;
    pthread_mutex_unlock(&f->lock);
    uv_async_send(&f->order);
}

/* Returns once rpc_server_close has returned. */
static void begin_close(struct fixture *f)
{
    pthread_mutex_lock(&f->lock);
    f->close = true;
    uv_async_send(&f->order);
    while (!f->closing) {
        pthread_cond_wait(&f->changed, &f->lock);
    }
    pthread_mutex_unlock(&f->lock);
}

static void await_handled(struct fixture *f, unsigned n)
{
    pthread_mutex_lock(&f->lock);
    while (f->handled < n) {
        pthread_cond_wait(&f->changed, &f->lock);
    }
    pthread_mutex_unlock(&f->lock);
}

static unsigned handled(struct fixture *f)
{
    pthread_mutex_lock(&f->lock);
    unsigned n = f->handled;
    pthread_mutex_unlock(&f->lock);
    return n;
}

static void join(struct fixture *f)
{
    assert_int_equal(pthread_join(f->thread, NULL), 0);
    assert_true(f->closed);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    pthread_mutex_destroy(&f->lock);
    pthread_cond_destroy(&f->changed);
    free(f->answer);
}

static void stop(struct fixture *f)
{
    begin_close(f);
    join(f);
}

/* ---- The client's side ---- */

static int dial(struct fixture *f)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)f->port)};
    struct timeval patience = {.tv_sec = RECEIVE_TIMEOUT_S};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void put_get(struct buf *out, uint64_t id)
{
    struct buf body;
    Wbrpc__Keys keys = WBRPC__KEYS__INIT;
    ProtobufCBinaryData key = pb_borrow(bytes_of("key", 3));
    keys.n_keys = 1;
    keys.keys = &key;
    buf_init(&body);
    request_body(&body, WBRPC__REQUEST__OP_GET, &keys.base);
    request_frame(out, id, 1000, buf_bytes(&body));
    buf_deinit(&body);
}

static void send_bytes(int fd, const void *data, size_t len)
{
    const char *at = data;
    while (len > 0) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        assert_true(n > 0);
        at += n;
        len -= (size_t)n;
    }
}

static void send_get(int fd, uint64_t id)
{
    struct buf out;
    buf_init(&out);
    put_get(&out, id);
    send_bytes(fd, out.data, out.len);
    buf_deinit(&out);
}

static bool receive_exactly(int fd, void *data, size_t len)
{
    char *at = data;
    while (len > 0) {
        ssize_t n = recv(fd, at, len, 0);
        if (n <= 0) {
            return false;
        }
        at += n;
        len -= (size_t)n;
    }
    return true;
}

/* The next answer; NULL at the end of the connection. Free it with wbrpc__response__free_unpacked. */
static Wbrpc__Response *receive(int fd)
{
    uint8_t header[FRAME_HEADER_BYTES];
    if (!receive_exactly(fd, header, sizeof header)) {
        return NULL;
    }
    uint32_t len = load_be32(header);
    uint8_t *payload = malloc(len);
    assert_true(receive_exactly(fd, payload, len));
    Wbrpc__Response *response = wbrpc__response__unpack(NULL, len, payload);
    free(payload);
    assert_non_null(response);
    return response;
}

static void expect(int fd, uint64_t id, int status)
{
    Wbrpc__Response *response = receive(fd);
    assert_non_null(response);
    assert_int_equal(response->id, id);
    assert_int_equal(response->status, status);
    wbrpc__response__free_unpacked(response, NULL);
}

/* End of file, or a reset, and not a timeout of ours. */
static void expect_end(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, 0);
    assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
    close(fd);
}

/* An orderly end: the goodbye, and nothing after it. */
static void expect_goodbye(int fd)
{
    char byte;
    expect(fd, 0, STATUS_SHUTTING_DOWN);
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    close(fd);
}

/* ---- Tests ---- */

static void a_request_that_arrives_byte_by_byte_is_answered(void **state)
{
    struct fixture f = {.answer_bytes = 5};
    start(&f, &(struct rpc_server_config){0});
    int fd = dial(&f);
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct buf out;
    buf_init(&out);
    put_get(&out, 7);
    put_get(&out, 8);
    for (size_t i = 0; i < out.len; i++) {
        send_bytes(fd, out.data + i, 1);
    }
    buf_deinit(&out);
    expect(fd, 7, STATUS_OK);
    expect(fd, 8, STATUS_OK);
    close(fd);
    stop(&f);
}

static void thousands_of_pipelined_requests_are_answered_in_order(void **state)
{
    enum { N = 5000 };
    struct fixture f = {.answer_bytes = 5};
    start(&f, &(struct rpc_server_config){.requests_max = 16});
    int fd = dial(&f);
    struct buf out;
    buf_init(&out);
    for (uint64_t id = 1; id <= N; id++) {
        put_get(&out, id);
    }
    send_bytes(fd, out.data, out.len);
    shutdown(fd, SHUT_WR); /* the answers are still owed */
    buf_deinit(&out);
    for (uint64_t id = 1; id <= N; id++) {
        expect(fd, id, STATUS_OK);
    }
    expect_end(fd);
    stop(&f);
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
    struct fixture f = {0};
    start(&f, &(struct rpc_server_config){0});
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int fd = dial(&f);
        send_get(fd, 1);
        send_bytes(fd, rows[i].bytes, rows[i].len);
        send_get(fd, 2); /* nothing is understood after it */
        expect(fd, 1, STATUS_OK);
        expect(fd, 0, rows[i].status);
        expect_end(fd);
    }
    assert_int_equal(handled(&f), sizeof rows / sizeof rows[0]);
    stop(&f);
}

static void an_unknown_operation_is_invalid_and_the_connection_stays(void **state)
{
    struct fixture f = {0};
    start(&f, &(struct rpc_server_config){0});
    int fd = dial(&f);
    send_bytes(fd, "\x00\x00\x00\x06\x08\x05\xfa\x07\x01x", 10); /* id 5, field 127 */
    expect(fd, 5, STATUS_INVALID);
    send_get(fd, 6);
    expect(fd, 6, STATUS_OK);
    assert_int_equal(handled(&f), 1);
    close(fd);
    stop(&f);
}

static void too_many_keys_are_refused_and_the_connection_stays(void **state)
{
    struct fixture f = {0};
    struct buf body, out;
    Wbrpc__Keys keys = WBRPC__KEYS__INIT;
    ProtobufCBinaryData *list = calloc(LIMIT_REQUEST_KEYS + 1, sizeof *list);
    start(&f, &(struct rpc_server_config){0});
    int fd = dial(&f);
    buf_init(&body);
    buf_init(&out);
    keys.keys = list;
    keys.n_keys = LIMIT_REQUEST_KEYS + 1;
    request_body(&body, WBRPC__REQUEST__OP_DEL, &keys.base);
    request_frame(&out, 9, 1, buf_bytes(&body));
    send_bytes(fd, out.data, out.len);
    expect(fd, 9, STATUS_TOO_BIG);
    send_get(fd, 10);
    expect(fd, 10, STATUS_OK);
    free(list);
    buf_deinit(&body);
    buf_deinit(&out);
    close(fd);
    stop(&f);
}

static void silence_in_the_middle_of_a_frame_ends_the_connection(void **state)
{
    struct fixture f = {0};
    start(&f, &(struct rpc_server_config){.idle_timeout_ms = 80});
    int half = dial(&f);
    int quiet = dial(&f);
    send_bytes(half, "\x00\x00\x00\x10half", 8);
    expect_goodbye(half);
    expect_goodbye(quiet);
    stop(&f);
}

static void a_connection_that_waits_for_its_answer_is_not_idle(void **state)
{
    struct fixture f = {.hold = true};
    start(&f, &(struct rpc_server_config){.idle_timeout_ms = 80});
    int waiting = dial(&f);
    send_get(waiting, 3);
    await_handled(&f, 1);
    int quiet = dial(&f);
    expect_goodbye(quiet); /* so a whole timeout has passed */
    release(&f);
    expect(waiting, 3, STATUS_OK);
    expect_goodbye(waiting);
    stop(&f);
}

static void connections_over_the_cap_are_closed_and_the_others_served(void **state)
{
    struct fixture f = {0};
    start(&f, &(struct rpc_server_config){.connections_max = 2});
    int a = dial(&f);
    int b = dial(&f);
    send_get(a, 1);
    expect(a, 1, STATUS_OK);
    send_get(b, 2);
    expect(b, 2, STATUS_OK);
    expect_end(dial(&f));
    expect_end(dial(&f));
    send_get(a, 3);
    expect(a, 3, STATUS_OK);
    close(a);
    close(b);
    stop(&f);
}

static void over_requests_max_the_socket_is_not_read(void **state)
{
    struct fixture f = {.hold = true};
    start(&f, &(struct rpc_server_config){.requests_max = 4});
    int fd = dial(&f);
    for (uint64_t id = 1; id <= 10; id++) {
        send_get(fd, id);
    }
    await_handled(&f, 4);
    /* Another connection's turn shows that the first one had every chance. */
    int other = dial(&f);
    send_get(other, 99);
    await_handled(&f, 5);
    assert_int_equal(handled(&f), 5);
    release(&f); /* from here on it answers at once */
    unsigned long long seen = 0;
    for (int i = 0; i < 10; i++) {
        Wbrpc__Response *response = receive(fd);
        assert_non_null(response);
        seen |= 1ull << response->id;
        wbrpc__response__free_unpacked(response, NULL);
    }
    assert_true(seen == 0x7fe);
    expect(other, 99, STATUS_OK);
    close(fd);
    close(other);
    stop(&f);
}

static void a_client_that_never_reads_costs_bounded_memory_and_hinders_nobody(void **state)
{
    enum { N = 800, ANSWER = 64 * 1024, OUTPUT_MAX = 1024 * 1024 };
    struct fixture f = {.answer_bytes = ANSWER};
    start(&f, &(struct rpc_server_config){.output_max = OUTPUT_MAX});
    int deaf = dial(&f);
    for (uint64_t id = 1; id <= N; id++) {
        send_get(deaf, id);
    }
    int other = dial(&f);
    for (uint64_t id = 1; id <= 50; id++) {
        send_get(other, id);
        expect(other, id, STATUS_OK);
    }
    /* What the kernel takes is its own affair (some megabytes); far from N answers were made. */
    assert_true(handled(&f) < 50 + N / 2);
    for (uint64_t id = 1; id <= N; id++) {
        expect(deaf, id, STATUS_OK); /* and when it reads, it gets them all */
    }
    close(deaf);
    close(other);
    stop(&f);
}

static void a_deaf_client_is_closed_after_the_idle_timeout(void **state)
{
    struct fixture f = {.answer_bytes = 1024 * 1024};
    start(&f, &(struct rpc_server_config){.output_max = 1024 * 1024, .idle_timeout_ms = 80});
    int deaf = dial(&f);
    for (uint64_t id = 1; id <= 64; id++) {
        send_get(deaf, id);
    }
    await_handled(&f, 2);
    for (int i = 0; i < 3; i++) {
        expect_goodbye(dial(&f)); /* a quiet connection ends after a whole timeout */
    }
    /* What had been written before can still be read; then the connection ends before all was answered. */
    unsigned whole = 0;
    char *value = malloc(2 * 1024 * 1024);
    uint8_t header[FRAME_HEADER_BYTES];
    while (receive_exactly(deaf, header, sizeof header) && receive_exactly(deaf, value, load_be32(header))) {
        whole++;
    }
    free(value);
    assert_true(whole < 64);
    close(deaf);
    stop(&f);
}

static void long_answers_held_for_a_deaf_client_become_overloaded(void **state)
{
    enum { N = 200, ANSWER = 255 * 1024, OUTPUT_MAX = 64 * 1024 };
    struct fixture f = {.hold = true, .answer_bytes = ANSWER};
    start(&f, &(struct rpc_server_config){.output_max = OUTPUT_MAX});
    int deaf = dial(&f);
    for (uint64_t id = 1; id <= N; id++) {
        send_get(deaf, id);
    }
    await_handled(&f, N);
    release(&f); /* all in one turn: the caps on reading come too late */
    unsigned refused = 0;
    for (int i = 0; i < N; i++) {
        Wbrpc__Response *response = receive(deaf);
        assert_non_null(response);
        refused += response->status == STATUS_OVERLOADED;
        wbrpc__response__free_unpacked(response, NULL);
    }
    assert_int_equal(refused, N - 2); /* the second one is above four times the cap */
    close(deaf);
    stop(&f);
}

static void an_answer_above_the_frames_limit_becomes_too_big(void **state)
{
    struct fixture f = {.answer_bytes = LIMIT_FRAME_BYTES};
    start(&f, &(struct rpc_server_config){0});
    int fd = dial(&f);
    send_get(fd, 1);
    expect(fd, 1, STATUS_TOO_BIG);
    close(fd);
    stop(&f);
}

static void a_reply_after_its_connection_has_gone_is_dropped(void **state)
{
    struct fixture f = {.hold = true, .answer_bytes = 100000};
    start(&f, &(struct rpc_server_config){0});
    struct linger reset = {.l_onoff = 1};
    int fd = dial(&f);
    for (uint64_t id = 1; id <= 3; id++) {
        send_get(fd, id);
    }
    await_handled(&f, 3);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(fd);
    int other = dial(&f); /* a turn later than the reset */
    send_get(other, 4);
    await_handled(&f, 4);
    release(&f);
    expect(other, 4, STATUS_OK);
    close(other);
    stop(&f);
}

static void closing_lets_pending_requests_be_answered_within_the_grace(void **state)
{
    struct fixture f = {.hold = true, .answer_bytes = 10};
    start(&f, &(struct rpc_server_config){0});
    f.grace_ms = 20000;
    int fd = dial(&f);
    send_get(fd, 1);
    await_handled(&f, 1);
    begin_close(&f);
    send_get(fd, 2); /* not taken any more, and the goodbye says so */
    release(&f);
    expect(fd, 1, STATUS_OK);
    expect_goodbye(fd);
    join(&f);
    assert_int_equal(f.handled, 1);
}

static void requests_that_come_after_the_goodbye_are_discarded_not_reset(void **state)
{
    struct fixture f = {.answer_bytes = 10};
    start(&f, &(struct rpc_server_config){0});
    f.grace_ms = 20000;
    int fd = dial(&f);
    send_get(fd, 1);
    expect(fd, 1, STATUS_OK);
    begin_close(&f);
    expect(fd, 0, STATUS_SHUTTING_DOWN);
    for (uint64_t id = 2; id < 1000; id++) {
        send_get(fd, id); /* a reset would make one of them fail */
    }
    char byte;
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    close(fd); /* the server has waited for this, and long less than its grace */
    join(&f);
    assert_int_equal(f.handled, 1);
}

static void requests_held_back_by_a_cap_are_not_taken_before_the_goodbye(void **state)
{
    struct fixture f = {.hold = true};
    start(&f, &(struct rpc_server_config){.requests_max = 2});
    f.grace_ms = 20000;
    int fd = dial(&f);
    struct buf out;
    buf_init(&out);
    for (uint64_t id = 1; id <= 5; id++) {
        put_get(&out, id);
    }
    send_bytes(fd, out.data, out.len);
    buf_deinit(&out);
    await_handled(&f, 2);
    begin_close(&f);
    release(&f);
    expect(fd, 2, STATUS_OK);
    expect(fd, 1, STATUS_OK);
    expect_goodbye(fd);
    join(&f);
    assert_int_equal(f.handled, 2);
}

static void the_grace_ends_for_a_client_that_does_not_close(void **state)
{
    struct fixture f = {.answer_bytes = 10};
    start(&f, &(struct rpc_server_config){0});
    f.grace_ms = 50;
    int fd = dial(&f);
    send_get(fd, 1);
    expect(fd, 1, STATUS_OK);
    begin_close(&f);
    join(&f);
    expect_goodbye(fd);
}

static void closing_without_grace_waits_for_the_handlers_replies_only(void **state)
{
    struct fixture f = {.hold = true, .answer_bytes = 10};
    start(&f, &(struct rpc_server_config){0});
    int fd = dial(&f);
    send_get(fd, 1);
    await_handled(&f, 1);
    begin_close(&f);
    expect_end(fd); /* at once; the request is still with the handler */
    pthread_mutex_lock(&f.lock);
    assert_false(f.closed);
    pthread_mutex_unlock(&f.lock);
    release(&f);
    join(&f);
}

static void addresses_that_cannot_be_listened_on_are_refused_with_words(void **state)
{
    uv_loop_t loop;
    char errmsg[256];
    struct rpc_server *server = NULL;
    struct fixture f = {0};
    char taken[32];
    start(&f, &(struct rpc_server_config){0});
    snprintf(taken, sizeof taken, "127.0.0.1:%u", f.port);
    const char *bad[] = {"", "nonsense", "127.0.0.1", "127.0.0.1:99999", "192.0.2.1:0", taken};
    assert_int_equal(uv_loop_init(&loop), 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct rpc_server_config config = {.address = bad[i], .on_request = on_request};
        errmsg[0] = '\0';
        assert_int_not_equal(rpc_server_start(&loop, &config, &server, errmsg, sizeof errmsg), STATUS_OK);
        assert_true(strlen(errmsg) > 10);
        assert_null(server);
    }
    assert_int_equal(uv_loop_close(&loop), 0); /* nothing is left behind */
    stop(&f);
}

static void names_and_every_address_can_be_listened_on(void **state)
{
    const char *rows[] = {"localhost:0", ":0"};
    for (size_t i = 0; i < 2; i++) {
        struct fixture f = {0};
        start(&f, &(struct rpc_server_config){.address = rows[i]});
        assert_true(f.port > 0);
        if (i == 1) { /* localhost may be IPv6 only; every address has IPv4 */
            int fd = dial(&f);
            send_get(fd, 1);
            expect(fd, 1, STATUS_OK);
            close(fd);
        }
        stop(&f);
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
        cmocka_unit_test(silence_in_the_middle_of_a_frame_ends_the_connection),
        cmocka_unit_test(a_connection_that_waits_for_its_answer_is_not_idle),
        cmocka_unit_test(connections_over_the_cap_are_closed_and_the_others_served),
        cmocka_unit_test(over_requests_max_the_socket_is_not_read),
        cmocka_unit_test(a_client_that_never_reads_costs_bounded_memory_and_hinders_nobody),
        cmocka_unit_test(a_deaf_client_is_closed_after_the_idle_timeout),
        cmocka_unit_test(long_answers_held_for_a_deaf_client_become_overloaded),
        cmocka_unit_test(an_answer_above_the_frames_limit_becomes_too_big),
        cmocka_unit_test(a_reply_after_its_connection_has_gone_is_dropped),
        cmocka_unit_test(closing_lets_pending_requests_be_answered_within_the_grace),
        cmocka_unit_test(requests_that_come_after_the_goodbye_are_discarded_not_reset),
        cmocka_unit_test(requests_held_back_by_a_cap_are_not_taken_before_the_goodbye),
        cmocka_unit_test(the_grace_ends_for_a_client_that_does_not_close),
        cmocka_unit_test(closing_without_grace_waits_for_the_handlers_replies_only),
        cmocka_unit_test(addresses_that_cannot_be_listened_on_are_refused_with_words),
        cmocka_unit_test(names_and_every_address_can_be_listened_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
