/* For tests of the Redis port: what its fixture adds, and what its clients say. The handler knows
 *   PING -> +PONG       ECHO x -> x         BIG n -> n bytes, read only      GROW n -> the same, as from a
 * write QUIT -> +OK, end    NOTHING -> no reply and holds them if the fixture was created so; then the last
 * one is answered first. */
#ifndef WB_RPC_RESP_TEST_HELP_H
#define WB_RPC_RESP_TEST_HELP_H

#include "rpc/resp_server.h"
#include "rpc/server_test_fixture.h"

enum { CLIENTS_MAX = 1024 };

/* On the heap, as struct fixture is. The rest is under the fixture's lock. */
struct resp_fixture {
    struct fixture *f;
    struct resp_server *server;
    unsigned opened, closed, refused;
    unsigned orphans; /* requests that were answered after their connection had gone */
    uint64_t ids[CLIENTS_MAX];
    char peer[64], local[64]; /* of the last one opened */
    /* What was seen of the connections when the last command was handled. */
    struct resp_conn_info seen[CLIENTS_MAX];
    unsigned n_seen;
};

/* Start a server with @limits; what is 0 of the address, connections_max, requests_max, output_max and
 * command_bytes_max gets a default. With @watch_log, fixture_await_log can be used. */
struct resp_fixture *resp_fixture_start(bool hold, bool watch_log, const struct resp_server_config *limits);
/* Wait for as many on_close; frees all. */
void resp_fixture_stop(struct resp_fixture *r);
/* The same, after fixture_begin_close was called. Returns how many commands came to the handler. */
unsigned resp_fixture_join(struct resp_fixture *r);
void resp_fixture_await_closed(struct resp_fixture *r, unsigned n);
unsigned resp_fixture_refused(struct resp_fixture *r);

void client_say(int fd, const char *text);
/* The next bytes are these. */
void client_expect_text(int fd, const char *text);
/* They are these, and then the connection ends. Closes @fd. */
void client_expect_last(int fd, const char *text);
/* A bulk string of @len bytes as BIG gives it, or an error: returns the error's first letter, else '$'. */
char client_expect_big(int fd, size_t len);
/* PING and its answer: so the server has seen all that was sent before, by whomever. */
void client_ping(int fd);

#endif
