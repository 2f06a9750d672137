#include "cluster-tests/junk.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/buf.h"
#include "proto/frame.h"
#include "proto/limits.h"

enum { SHORT_JUNK_BYTES = 8192, QUIET_MS = 5 };

unsigned junk_random(uint64_t *random, unsigned below)
{
    *random ^= *random << 13; /* xorshift64 */
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return (unsigned)((*random >> 16) % below);
}

void junk_fill(uint64_t *random, uint8_t *out, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        out[i] = (uint8_t)junk_random(random, 256);
    }
}

size_t junk_frame(uint8_t *out, uint32_t announced, size_t sent)
{
    store_be32(out, announced);
    return FRAME_HEADER_BYTES + sent;
}

size_t junk_make(uint64_t *random, unsigned kind, uint8_t *out)
{
    junk_fill(random, out, SHORT_JUNK_BYTES);
    switch (kind) {
    case 0: /* noise */
        return 1 + junk_random(random, SHORT_JUNK_BYTES);
    case 1: /* the longest length */
        return junk_frame(out, UINT32_MAX, 1000);
    case 2: /* no length */
        return junk_frame(out, 0, 100);
    case 3: /* just above the limit */
        return junk_frame(out, LIMIT_FRAME_BYTES + 1, 4096);
    case 4: /* a frame of noise */
        return junk_frame(out, 500, 500);
    case 5: /* half a frame */
        return junk_frame(out, 8000, 4000);
    case 6: /* half a length */
        return 1 + junk_random(random, 3);
    case 7: /* another protocol */
        return (size_t)snprintf(
            (char *)out, SHORT_JUNK_BYTES, "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n");
    case 8: /* many tiny frames of noise */
        for (size_t i = 0; i + 6 <= SHORT_JUNK_BYTES; i += 6) {
            junk_frame(out + i, 2, 2);
        }
        return SHORT_JUNK_BYTES / 6 * 6;
    case 9: /* nothing at all */
        return 0;
    default: /* a flood of noise */
        junk_fill(random, out, JUNK_BYTES);
        return JUNK_BYTES;
    }
}

bool junk_address(const char *text, struct sockaddr_in *out)
{
    char host[64];
    unsigned port;
    if (sscanf(text, "%63[0-9.]:%u", host, &port) != 2 || port > UINT16_MAX) {
        return false;
    }
    *out = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    return inet_pton(AF_INET, host, &out->sin_addr) == 1;
}

int junk_dial(const struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof *address) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

void junk_throw(int fd, const void *data, size_t len)
{
    const char *next = data;
    while (len > 0) {
        ssize_t n = send(fd, next, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n <= 0) {
            return;
        }
        next += n;
        len -= (size_t)n;
    }
}

void junk_drain(int fd)
{
    char sink[4096];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (poll(&p, 1, QUIET_MS) > 0 && recv(fd, sink, sizeof sink, 0) > 0) {
    }
}
