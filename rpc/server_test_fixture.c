#include "rpc/server_test_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { RECEIVE_TIMEOUT_S = 20 };

/* ---- The server's side ---- */

void fixture_take(struct fixture *f, void *request)
{
    pthread_mutex_lock(&f->lock);
    f->handled++;
    f->connections_at_request = f->ops->connections(f->server);
    bool hold = f->hold;
    if (hold) {
        assert_true(f->n_held < HELD_MAX);
        f->held[f->n_held++] = request;
    }
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
    if (!hold) {
        f->ops->answer(f, request);
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
    uv_close((uv_handle_t *)&f->watch, NULL);
}

static void on_turn(uv_prepare_t *prepare)
{
    struct fixture *f = prepare->data;
    pthread_mutex_lock(&f->lock);
    f->turns++;
    if (!f->closed) {
        f->bytes = f->ops->bytes(f->server);
        f->connections = f->ops->connections(f->server);
        f->bytes_max = f->bytes > f->bytes_max ? f->bytes : f->bytes_max;
    }
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

static void stand_still(struct fixture *f)
{
    f->paused = true;
    while (f->pause) {
        pthread_cond_broadcast(&f->changed);
        pthread_cond_wait(&f->changed, &f->lock);
    }
    f->paused = false;
    pthread_cond_broadcast(&f->changed);
}

static void on_order(uv_async_t *async)
{
    struct fixture *f = async->data;
    pthread_mutex_lock(&f->lock);
    stand_still(f);
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
        f->ops->close(f->server, f->grace_ms, on_server_closed, f);
        pthread_mutex_lock(&f->lock);
        f->closing = true;
        pthread_cond_broadcast(&f->changed);
        pthread_mutex_unlock(&f->lock);
    }
    for (unsigned i = n; release && i > 0; i--) { /* any order will do */
        f->ops->answer(f, f->held[i - 1]);
    }
}

static void *run_loop(void *arg)
{
    struct fixture *f = arg;
    uv_run(&f->loop, UV_RUN_DEFAULT);
    return NULL;
}

struct fixture *fixture_create(bool hold, size_t answer_bytes)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->hold = hold;
    f->answer_bytes = answer_bytes;
    f->answer = calloc(1, answer_bytes + 1);
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    f->order.data = f;
    f->watch.data = f;
    assert_int_equal(uv_async_init(&f->loop, &f->order, on_order), 0);
    assert_int_equal(uv_prepare_init(&f->loop, &f->watch), 0);
    assert_int_equal(uv_prepare_start(&f->watch, on_turn), 0);
    return f;
}

void fixture_watch_log(struct fixture *f)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    f->log = fdopen(ends[0], "r");
    f->logger = (struct logger){.out = fdopen(ends[1], "w"), .level = LOG_INFO};
}

void fixture_run(struct fixture *f, const struct fixture_port *ops, void *server, unsigned port)
{
    f->ops = ops;
    f->server = server;
    f->port = port;
    assert_int_equal(pthread_create(&f->thread, NULL, run_loop, f), 0);
}

void fixture_release(struct fixture *f)
{
    pthread_mutex_lock(&f->lock);
    f->release = true;
    pthread_mutex_unlock(&f->lock);
    uv_async_send(&f->order);
}

static void set_pause(struct fixture *f, bool pause)
{
    pthread_mutex_lock(&f->lock);
    f->pause = pause;
    uv_async_send(&f->order);
    pthread_cond_broadcast(&f->changed);
    while (f->paused != pause) {
        pthread_cond_wait(&f->changed, &f->lock);
    }
    pthread_mutex_unlock(&f->lock);
}

void fixture_pause(struct fixture *f)
{
    set_pause(f, true);
}

void fixture_resume(struct fixture *f)
{
    set_pause(f, false);
}

void fixture_begin_close(struct fixture *f)
{
    pthread_mutex_lock(&f->lock);
    f->close = true;
    uv_async_send(&f->order);
    while (!f->closing) {
        pthread_cond_wait(&f->changed, &f->lock);
    }
    pthread_mutex_unlock(&f->lock);
}

unsigned fixture_join(struct fixture *f)
{
    assert_int_equal(pthread_join(f->thread, NULL), 0);
    assert_true(f->closed);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    pthread_mutex_destroy(&f->lock);
    pthread_cond_destroy(&f->changed);
    if (f->log != NULL) {
        fclose(f->log);
        fclose(f->logger.out);
    }
    unsigned n = f->handled;
    free(f->answer);
    free(f);
    return n;
}

void fixture_stop(struct fixture *f)
{
    fixture_begin_close(f);
    fixture_join(f);
}

unsigned fixture_handled(struct fixture *f)
{
    pthread_mutex_lock(&f->lock);
    unsigned n = f->handled;
    pthread_mutex_unlock(&f->lock);
    return n;
}

void fixture_await_handled(struct fixture *f, unsigned n)
{
    pthread_mutex_lock(&f->lock);
    while (f->handled < n) {
        pthread_cond_wait(&f->changed, &f->lock);
    }
    pthread_mutex_unlock(&f->lock);
}

static void await_bytes(struct fixture *f, size_t least, size_t most)
{
    pthread_mutex_lock(&f->lock);
    while (f->bytes < least || f->bytes > most) {
        pthread_cond_wait(&f->changed, &f->lock);
    }
    pthread_mutex_unlock(&f->lock);
}

void fixture_await_bytes_at_most(struct fixture *f, size_t bytes)
{
    await_bytes(f, 0, bytes);
}

void fixture_await_bytes_at_least(struct fixture *f, size_t bytes)
{
    await_bytes(f, bytes, SIZE_MAX);
}

size_t fixture_bytes_max(struct fixture *f)
{
    pthread_mutex_lock(&f->lock);
    size_t n = f->bytes_max;
    pthread_mutex_unlock(&f->lock);
    return n;
}

unsigned fixture_turns(struct fixture *f)
{
    pthread_mutex_lock(&f->lock);
    unsigned n = f->turns;
    pthread_mutex_unlock(&f->lock);
    return n;
}

unsigned fixture_await_turn(struct fixture *f)
{
    pthread_mutex_lock(&f->lock);
    unsigned turns = f->turns;
    while (f->turns == turns) {
        pthread_cond_wait(&f->changed, &f->lock);
    }
    unsigned connections = f->connections;
    pthread_mutex_unlock(&f->lock);
    return connections;
}

unsigned fixture_await_log(struct fixture *f, const char *text, const char *other)
{
    char line[1024];
    unsigned others = 0;
    do {
        assert_non_null(fgets(line, sizeof line, f->log));
        others += other != NULL && strstr(line, other) != NULL;
    } while (strstr(line, text) == NULL);
    return others;
}

/* ---- The client's side ---- */

int client_socket(void)
{
    struct timeval patience = {.tv_sec = RECEIVE_TIMEOUT_S};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    return fd;
}

int client_connect(struct fixture *f, int fd)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)f->port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

int client_dial(struct fixture *f)
{
    return client_connect(f, client_socket());
}

void client_send(int fd, const void *data, size_t len)
{
    const char *at = data;
    while (len > 0) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        assert_true(n > 0);
        at += n;
        len -= (size_t)n;
    }
}

bool client_receive_exactly(int fd, void *data, size_t len)
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

void client_expect_end(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, 0);
    assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
    close(fd);
}
