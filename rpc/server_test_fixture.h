/* For tests of the ports: a server on a loop in its own thread, which answers, or holds what comes until it
 * is told to. What a port is, its own test help says (server_test_help.h, resp_test_help.h). What fails here
 * fails the test. */
#ifndef WB_RPC_SERVER_TEST_FIXTURE_H
#define WB_RPC_SERVER_TEST_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pthread.h>

#include <cmocka.h>
#include <uv.h>

#include "proto/base/log.h"
#include "proto/base/status.h"

enum { HELD_MAX = 4096 };

struct fixture;

/* The port under test; @server is what fixture_run was given. */
struct fixture_port {
    void (*answer)(struct fixture *f, void *request);
    void (*close)(void *server, unsigned grace_ms, void (*cb)(void *data), void *data);
    size_t (*bytes)(const void *server);
    unsigned (*connections)(const void *server);
};

/* What the handler does: answer at once with answer_bytes of value, or hold requests until fixture_release.
 * On the heap: a failed test leaves its server running. */
struct fixture {
    pthread_t thread;
    uv_loop_t loop;
    uv_async_t order;
    uv_prepare_t watch;
    const struct fixture_port *ops;
    void *user; /* the test help's own */
    void *server;
    unsigned port;
    size_t answer_bytes;
    char *answer;
    struct logger logger;
    FILE *log; /* what the server logs, if fixture_watch_log was called */
    unsigned grace_ms;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* under the lock */
    bool hold, release, close, pause; /* orders to the loop's thread */
    void *held[HELD_MAX];
    unsigned n_held, handled;
    bool closing, closed, paused;
    unsigned turns;                  /* of the loop */
    size_t bytes, bytes_max;         /* the memory for clients at the end of a turn, now and at most */
    unsigned connections;            /* at the end of a turn */
    unsigned connections_at_request; /* when the last request was handled */
};

struct fixture *fixture_create(bool hold, size_t answer_bytes);
/* Before its server is started. */
void fixture_watch_log(struct fixture *f);
/* The server runs, in a loop that has not run yet: it does from now on. */
void fixture_run(struct fixture *f, const struct fixture_port *ops, void *server, unsigned port);
/* For the port's handler, in the loop's thread: @request is answered, or held. */
void fixture_take(struct fixture *f, void *request);
/* Answer what is held, and from now on everything at once. */
void fixture_release(struct fixture *f);
/* Let the loop's thread stand still, and go on. Both return when it does. */
void fixture_pause(struct fixture *f);
void fixture_resume(struct fixture *f);
/* Returns once the call that closes has returned. */
void fixture_begin_close(struct fixture *f);
/* Wait for the end after fixture_begin_close; frees @f. Returns how many requests came to the handler. */
unsigned fixture_join(struct fixture *f);
/* Both. */
void fixture_stop(struct fixture *f);

/* Requests that came to the handler. */
unsigned fixture_handled(struct fixture *f);
void fixture_await_handled(struct fixture *f, unsigned n);
/* Wait until the server holds at most, or at least, so much for its clients. */
void fixture_await_bytes_at_most(struct fixture *f, size_t bytes);
void fixture_await_bytes_at_least(struct fixture *f, size_t bytes);
size_t fixture_bytes_max(struct fixture *f);
unsigned fixture_turns(struct fixture *f);
/* Wait for the end of the next turn of the loop. Returns how many connections the server has then. */
unsigned fixture_await_turn(struct fixture *f);
/* Read the log up to a line with @text. Returns how many lines with @other (may be NULL) came before it. */
unsigned fixture_await_log(struct fixture *f, const char *text, const char *other);

/* ---- The client's side ---- */

/* A socket that gives up after a while; connected to the server. */
int client_socket(void);
int client_connect(struct fixture *f, int fd);
int client_dial(struct fixture *f);
void client_send(int fd, const void *data, size_t len);
bool client_receive_exactly(int fd, void *data, size_t len);
/* End of file, or a reset, and not a timeout of ours. Closes @fd. */
void client_expect_end(int fd);

#endif
