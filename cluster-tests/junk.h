/* Bytes that no friend would send, and where to send them. Nothing here fails a test: a process that attacks
 * can use it, too. Threading: any. */
#ifndef WB_CLUSTER_TESTS_JUNK_H
#define WB_CLUSTER_TESTS_JUNK_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { JUNK_KINDS = 11, JUNK_BYTES = 256 * 1024 };

/* A number below @below; *@random is the state of the generator, not 0. */
unsigned junk_random(uint64_t *random, unsigned below);
void junk_fill(uint64_t *random, uint8_t *out, size_t len);
/* Put a frame's header, which announces @announced bytes, before what @out has from its fifth byte on.
 * Returns the size of the header and @sent bytes. */
size_t junk_frame(uint8_t *out, uint32_t announced, size_t sent);
/* Junk of @kind (below JUNK_KINDS) into @out, which has room for JUNK_BYTES. Returns its size, which may be
 * 0. */
size_t junk_make(uint64_t *random, unsigned kind, uint8_t *out);

/* "127.0.0.1:7101" as an address. False when it is none. */
bool junk_address(const char *text, struct sockaddr_in *out);
/* A connected socket, or -1. */
int junk_dial(const struct sockaddr_in *address);
/* Send as much as is taken now; whoever is on the other end may close at any moment. */
void junk_throw(int fd, const void *data, size_t len);
/* Read until the other end closes, or says nothing for a moment. */
void junk_drain(int fd);

#endif
