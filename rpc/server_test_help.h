/* For tests of the client port: what its fixture adds, and what its clients say. */
#ifndef WB_RPC_SERVER_TEST_HELP_H
#define WB_RPC_SERVER_TEST_HELP_H

#include "proto/frame.h"
#include "proto/limits.h"
#include "rpc/request_codec.h"
#include "rpc/server.h"
#include "rpc/server_test_fixture.h"

/* Start the server with @limits; what is 0 of the address, connections_max, requests_max and output_max gets
 * a default. */
void fixture_start(struct fixture *f, const struct rpc_server_config *limits);

/* Append a get of @n keys to @out. */
void client_put_gets(struct buf *out, uint64_t id, size_t n);
/* Append a get of one key, or a set of a value of @len bytes, to @out; or send it. */
void client_put_get(struct buf *out, uint64_t id);
void client_put_set(struct buf *out, uint64_t id, size_t len);
void client_send_get(int fd, uint64_t id);
void client_send_set(int fd, uint64_t id, size_t len);
/* The beginning of a frame: a header that announces @announced bytes, and @sent of them. */
void client_send_part(int fd, uint32_t announced, size_t sent);
/* The next answer; NULL at the end of the connection. Free it with wbrpc__response__free_unpacked. */
Wbrpc__Response *client_receive(int fd);
void client_expect(int fd, uint64_t id, int status);
/* An orderly end: the goodbye, and nothing after it. Closes @fd. */
void client_expect_goodbye(int fd);

#endif
