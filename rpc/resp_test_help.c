#include "rpc/resp_test_help.h"

#include <sys/socket.h>
#include <unistd.h>

#include "rpc/resp_writer.h"

/* ---- The server's side ---- */

struct client {
    struct resp_fixture *r;
    uint64_t id;
};

static bool is(const struct resp_request *request, const char *name)
{
    return bytes_equal(request->args[0], bytes_from_text(name));
}

static void put_big(struct resp_writer *w, struct bytes count)
{
    char digits[32];
    snprintf(digits, sizeof digits, "%.*s", (int)count.len, (const char *)count.data);
    size_t len = strtoul(digits, NULL, 10);
    void *x = malloc(len + 1);
    assert_non_null(x);
    memset(x, 'x', len);
    resp_bulk(w, bytes_of(x, len));
    free(x);
}

static void answer(struct fixture *f, void *data)
{
    struct resp_request *request = data;
    struct resp_writer w = {.out = &request->reply, .protocol = 2};
    assert_int_equal(request->reply.len, 0);
    assert_true((request->conn == NULL) == (request->client == NULL));
    if (request->conn == NULL) {
        struct resp_fixture *r = f->user;
        pthread_mutex_lock(&f->lock);
        r->orphans++;
        pthread_mutex_unlock(&f->lock);
    }
    if (is(request, "PING")) {
        resp_simple(&w, "PONG");
    } else if (is(request, "QUIT")) {
        resp_simple(&w, "OK");
        request->close_after = true;
    } else if (is(request, "ECHO") && request->n == 2) {
        resp_bulk(&w, request->args[1]);
    } else if ((is(request, "BIG") || is(request, "GROW")) && request->n == 2) {
        put_big(&w, request->args[1]);
        request->read_only = is(request, "BIG");
    } else if (!is(request, "NOTHING")) {
        resp_error(&w, "ERR unknown command");
    }
    resp_reply(request);
}

static void *on_open(void *data, struct resp_conn *conn, uint64_t id, const char *peer, const char *local)
{
    struct resp_fixture *r = data;
    struct client *client = malloc(sizeof *client);
    assert_non_null(client);
    assert_non_null(conn);
    *client = (struct client){.r = r, .id = id};
    pthread_mutex_lock(&r->f->lock);
    r->ids[r->opened++ % CLIENTS_MAX] = id;
    snprintf(r->peer, sizeof r->peer, "%s", peer);
    snprintf(r->local, sizeof r->local, "%s", local);
    pthread_mutex_unlock(&r->f->lock);
    return client;
}

static void on_close(void *data, void *client)
{
    struct resp_fixture *r = data;
    assert_ptr_equal(((struct client *)client)->r, r);
    free(client);
    pthread_mutex_lock(&r->f->lock);
    r->closed++;
    pthread_cond_broadcast(&r->f->changed);
    pthread_mutex_unlock(&r->f->lock);
}

static void on_refused(void *data, void *client)
{
    struct resp_fixture *r = data;
    assert_ptr_equal(((struct client *)client)->r, r);
    pthread_mutex_lock(&r->f->lock);
    r->refused++;
    pthread_mutex_unlock(&r->f->lock);
}

static void visit(void *data, const struct resp_conn_info *info)
{
    struct resp_fixture *r = data;
    assert_true(r->n_seen < CLIENTS_MAX);
    assert_true(((struct client *)info->client)->id == info->id);
    r->seen[r->n_seen++] = *info;
}

static void on_request(void *data, struct resp_request *request)
{
    struct resp_fixture *r = data;
    assert_ptr_equal(((struct client *)request->client)->r, r);
    assert_ptr_equal(request->server, r->server);
    pthread_mutex_lock(&r->f->lock);
    r->n_seen = 0;
    resp_server_each(r->server, visit, r);
    pthread_mutex_unlock(&r->f->lock);
    fixture_take(r->f, request);
}

static void close_server(void *server, unsigned grace_ms, void (*cb)(void *data), void *data)
{
    resp_server_close(server, grace_ms, cb, data);
}

static size_t server_bytes(const void *server)
{
    return resp_server_client_bytes(server);
}

static unsigned server_connections(const void *server)
{
    return resp_server_connections(server);
}

struct resp_fixture *resp_fixture_start(bool hold, bool watch_log, const struct resp_server_config *limits)
{
    static const struct fixture_port ops = {
        .answer = answer, .close = close_server, .bytes = server_bytes, .connections = server_connections};
    struct resp_fixture *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->f = fixture_create(hold, 0);
    r->f->user = r;
    if (watch_log) {
        fixture_watch_log(r->f);
    }
    char errmsg[256];
    struct resp_server_config config = *limits;
    config.address = config.address != NULL ? config.address : "127.0.0.1:0";
    config.connections_max = config.connections_max != 0 ? config.connections_max : 100;
    config.requests_max = config.requests_max != 0 ? config.requests_max : 1000;
    config.output_max = config.output_max != 0 ? config.output_max : 1024 * 1024;
    config.command_bytes_max = config.command_bytes_max != 0 ? config.command_bytes_max : 4 * 1024 * 1024;
    config.logger = watch_log ? &r->f->logger : NULL;
    config.on_open = on_open;
    config.on_request = on_request;
    config.on_refused = on_refused;
    config.on_close = on_close;
    config.data = r;
    assert_int_equal(resp_server_start(&r->f->loop, &config, &r->server, errmsg, sizeof errmsg), STATUS_OK);
    fixture_run(r->f, &ops, r->server, resp_server_port(r->server));
    return r;
}

unsigned resp_fixture_join(struct resp_fixture *r)
{
    unsigned handled = fixture_join(r->f);
    assert_int_equal(r->opened, r->closed);
    free(r);
    return handled;
}

void resp_fixture_stop(struct resp_fixture *r)
{
    fixture_begin_close(r->f);
    resp_fixture_join(r);
}

void resp_fixture_await_closed(struct resp_fixture *r, unsigned n)
{
    pthread_mutex_lock(&r->f->lock);
    while (r->closed < n) {
        pthread_cond_wait(&r->f->changed, &r->f->lock);
    }
    pthread_mutex_unlock(&r->f->lock);
}

unsigned resp_fixture_refused(struct resp_fixture *r)
{
    pthread_mutex_lock(&r->f->lock);
    unsigned n = r->refused;
    pthread_mutex_unlock(&r->f->lock);
    return n;
}

/* ---- The client's side ---- */

void client_say(int fd, const char *text)
{
    client_send(fd, text, strlen(text));
}

void client_expect_text(int fd, const char *text)
{
    size_t len = strlen(text);
    char *got = calloc(1, len + 1);
    assert_non_null(got);
    client_receive_exactly(fd, got, len);
    assert_string_equal(got, text);
    free(got);
}

void client_expect_last(int fd, const char *text)
{
    client_expect_text(fd, text);
    client_expect_end(fd);
}

char client_expect_big(int fd, size_t len)
{
    char head[512];
    size_t n = 0;
    do {
        assert_true(n < sizeof head - 1);
        assert_true(client_receive_exactly(fd, head + n, 1));
    } while (head[n++] != '\n');
    head[n] = '\0';
    if (head[0] == '-') {
        return head[1];
    }
    assert_int_equal(head[0], '$');
    assert_int_equal(strtoul(head + 1, NULL, 10), len);
    char *body = malloc(len + 2);
    assert_non_null(body);
    assert_true(client_receive_exactly(fd, body, len + 2));
    for (size_t i = 0; i < len; i++) {
        assert_true(body[i] == 'x');
    }
    free(body);
    return '$';
}

void client_ping(int fd)
{
    client_say(fd, "PING\r\n");
    client_expect_text(fd, "+PONG\r\n");
}
