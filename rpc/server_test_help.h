/* For tests of the client port: a server on a loop in its own thread, and raw sockets that talk to it. What
 * fails here fails the test. */
#ifndef WB_RPC_SERVER_TEST_HELP_H
#define WB_RPC_SERVER_TEST_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pthread.h>

#include <cmocka.h>

#include "proto/frame.h"
#include "proto/limits.h"
#include "rpc/request_codec.h"
#include "rpc/server.h"

enum { HELD_MAX = 4096 };

/* What the handler does: answer at once with answer_bytes of value, or hold requests until fixture_release.
 * On the heap: a failed test leaves its server running. */
struct fixture {
    pthread_t thread;
    uv_loop_t loop;
    uv_async_t order;
    uv_prepare_t watch;
    struct rpc_server *server;
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
    struct rpc_request *held[HELD_MAX];
    unsigned n_held, handled;
    bool closing, closed, paused;
    unsigned turns;                  /* of the loop */
    size_t bytes, bytes_max;         /* rpc_server_client_bytes at the end of a turn, now and at most */
    unsigned connections;            /* at the end of a turn */
    unsigned connections_at_request; /* when the last request was handled */
};

struct fixture *fixture_create(bool hold, size_t answer_bytes);
/* Before fixture_start. */
void fixture_watch_log(struct fixture *f);
/* Start the server with @limits; what is 0 of the address, connections_max, requests_max and output_max gets
 * a default. */
void fixture_start(struct fixture *f, const struct rpc_server_config *limits);
/* Answer what is held, and from now on everything at once. */
void fixture_release(struct fixture *f);
/* Let the loop's thread stand still, and go on. Both return when it does. */
void fixture_pause(struct fixture *f);
void fixture_resume(struct fixture *f);
/* Returns once rpc_server_close has returned. */
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
/* Append a get of @n keys to @out. */
void client_put_gets(struct buf *out, uint64_t id, size_t n);
/* Append a get of one key, or a set of a value of @len bytes, to @out; or send it. */
void client_put_get(struct buf *out, uint64_t id);
void client_put_set(struct buf *out, uint64_t id, size_t len);
void client_send_get(int fd, uint64_t id);
void client_send_set(int fd, uint64_t id, size_t len);
/* The beginning of a frame: a header that announces @announced bytes, and @sent of them. */
void client_send_part(int fd, uint32_t announced, size_t sent);
bool client_receive_exactly(int fd, void *data, size_t len);
/* The next answer; NULL at the end of the connection. Free it with wbrpc__response__free_unpacked. */
Wbrpc__Response *client_receive(int fd);
void client_expect(int fd, uint64_t id, int status);
/* End of file, or a reset, and not a timeout of ours. Closes @fd. */
void client_expect_end(int fd);
/* An orderly end: the goodbye, and nothing after it. Closes @fd. */
void client_expect_goodbye(int fd);

#endif
