#include "raft/peer_address.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
    USER_TIMEOUT_MS = 5000, /* unacknowledged data: the connection is given up */
    KEEPALIVE_IDLE_S = 2,
    KEEPALIVE_INTERVAL_S = 1,
    KEEPALIVE_COUNT = 4,
};

static bool valid_port(const char *port)
{
    size_t len = strlen(port);
    if (len == 0 || len > PEER_PORT_BYTES_MAX || strspn(port, "0123456789") != len) {
        return false;
    }
    long number = strtol(port, NULL, 10);
    return number >= 1 && number <= 65535;
}

bool peer_address_parse(const char *text, struct peer_address *out)
{
    const char *host = text;
    const char *colon = strrchr(text, ':');
    if (colon == NULL || !valid_port(colon + 1)) {
        return false;
    }
    size_t host_len = (size_t)(colon - text);
    bool bracketed = host_len >= 2 && host[0] == '[' && host[host_len - 1] == ']';
    if (bracketed) {
        host++;
        host_len -= 2;
    } else if (memchr(host, ':', host_len) != NULL) {
        return false; /* an IPv6 address without brackets: where it ends is a guess */
    }
    if (host_len == 0 || host_len > PEER_HOST_BYTES_MAX) {
        return false;
    }
    memcpy(out->host, host, host_len);
    out->host[host_len] = '\0';
    snprintf(out->port, sizeof out->port, "%s", colon + 1);
    return true;
}

static void set_option(int fd, int level, int option, int value)
{
    (void)setsockopt(fd, level, option, &value, sizeof value);
}

void peer_socket_tune(uv_tcp_t *tcp)
{
    uv_os_fd_t fd;
    if (uv_fileno((uv_handle_t *)tcp, &fd) != 0) {
        return;
    }
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS);
}
