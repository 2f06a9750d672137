#include "rpc/server_test_help.h"

#include <sys/socket.h>
#include <unistd.h>

#include "proto/pb.h"

/* ---- The server's side ---- */

static void answer(struct fixture *f, void *request)
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
    fixture_take(data, request);
}

static void close_server(void *server, unsigned grace_ms, void (*cb)(void *data), void *data)
{
    rpc_server_close(server, grace_ms, cb, data);
}

static size_t server_bytes(const void *server)
{
    return rpc_server_client_bytes(server);
}

static unsigned server_connections(const void *server)
{
    return rpc_server_connections(server);
}

void fixture_start(struct fixture *f, const struct rpc_server_config *limits)
{
    static const struct fixture_port ops = {
        .answer = answer, .close = close_server, .bytes = server_bytes, .connections = server_connections};
    char errmsg[256];
    struct rpc_server *server;
    struct rpc_server_config config = *limits;
    config.address = config.address != NULL ? config.address : "127.0.0.1:0";
    config.connections_max = config.connections_max != 0 ? config.connections_max : 100;
    config.requests_max = config.requests_max != 0 ? config.requests_max : 1000;
    config.output_max = config.output_max != 0 ? config.output_max : 1024 * 1024;
    config.logger = f->log != NULL ? &f->logger : NULL;
    config.on_request = on_request;
    config.data = f;
    assert_int_equal(rpc_server_start(&f->loop, &config, &server, errmsg, sizeof errmsg), STATUS_OK);
    fixture_run(f, &ops, server, rpc_server_port(server));
}

/* ---- The client's side ---- */

static void put(struct buf *out, uint64_t id, Wbrpc__Request__OpCase op, const ProtobufCMessage *message)
{
    struct buf body;
    buf_init(&body);
    request_body(&body, op, message);
    request_frame(out, id, 1000, NULL, buf_bytes(&body));
    buf_deinit(&body);
}

void client_put_gets(struct buf *out, uint64_t id, size_t n)
{
    Wbrpc__Keys keys = WBRPC__KEYS__INIT;
    keys.keys = calloc(n, sizeof *keys.keys);
    for (keys.n_keys = 0; keys.n_keys < n; keys.n_keys++) {
        keys.keys[keys.n_keys] = pb_borrow(bytes_of("key", 3));
    }
    put(out, id, WBRPC__REQUEST__OP_GET, &keys.base);
    free(keys.keys);
}

void client_put_get(struct buf *out, uint64_t id)
{
    client_put_gets(out, id, 1);
}

void client_put_set(struct buf *out, uint64_t id, size_t len)
{
    Wbrpc__Set set = WBRPC__SET__INIT;
    Wbrpc__KeyValue entry = WBRPC__KEY_VALUE__INIT;
    Wbrpc__KeyValue *entries[] = {&entry};
    uint8_t *value = calloc(1, len + 1);
    entry.key = pb_borrow(bytes_of("key", 3));
    entry.value = pb_borrow(bytes_of(value, len));
    set.n_entries = 1;
    set.entries = entries;
    put(out, id, WBRPC__REQUEST__OP_SET, &set.base);
    free(value);
}

static void send_and_free(int fd, struct buf *out)
{
    client_send(fd, out->data, out->len);
    buf_deinit(out);
}

void client_send_get(int fd, uint64_t id)
{
    struct buf out;
    buf_init(&out);
    client_put_get(&out, id);
    send_and_free(fd, &out);
}

void client_send_set(int fd, uint64_t id, size_t len)
{
    struct buf out;
    buf_init(&out);
    client_put_set(&out, id, len);
    send_and_free(fd, &out);
}

void client_send_part(int fd, uint32_t announced, size_t sent)
{
    struct buf out;
    buf_init(&out);
    frame_begin(&out, announced);
    uint8_t *at = buf_reserve(&out, sent);
    assert_non_null(at);
    memset(at, 'x', sent);
    out.len += sent;
    send_and_free(fd, &out);
}

Wbrpc__Response *client_receive(int fd)
{
    uint8_t header[FRAME_HEADER_BYTES];
    if (!client_receive_exactly(fd, header, sizeof header)) {
        return NULL;
    }
    uint32_t len = load_be32(header);
    uint8_t *payload = malloc(len);
    assert_true(client_receive_exactly(fd, payload, len));
    Wbrpc__Response *response = wbrpc__response__unpack(NULL, len, payload);
    free(payload);
    assert_non_null(response);
    return response;
}

void client_expect(int fd, uint64_t id, int status)
{
    Wbrpc__Response *response = client_receive(fd);
    assert_non_null(response);
    assert_int_equal(response->id, id);
    assert_int_equal(response->status, status);
    if (id == 0) {
        assert_non_null(response->message);
    }
    wbrpc__response__free_unpacked(response, NULL);
}

void client_expect_goodbye(int fd)
{
    char byte;
    client_expect(fd, 0, STATUS_SHUTTING_DOWN);
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    close(fd);
}
